//! How a case fails.

use std::fmt;

use afield_server::model::ModelError;

/// Either nothing went wrong, or this did.
pub(crate) type Done<T = ()> = Result<T, Wrong>;

/// Something that must not happen.
#[derive(Clone, Debug)]
pub(crate) struct Wrong {
    /// The rule that was broken: a shorter case must break the same one.
    pub(crate) rule: String,
    /// What exactly was seen.
    pub(crate) detail: String,
}

impl Wrong {
    pub(crate) fn new(rule: &str, detail: impl Into<String>) -> Self {
        Self {
            rule: rule.to_owned(),
            detail: detail.into(),
        }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.detail)
    }
}

impl From<rusqlite::Error> for Wrong {
    fn from(error: rusqlite::Error) -> Self {
        Self::new("the test's own SQL works", error.to_string())
    }
}

impl From<std::io::Error> for Wrong {
    fn from(error: std::io::Error) -> Self {
        Self::new("files can be used", error.to_string())
    }
}

impl From<afield::Error> for Wrong {
    fn from(error: afield::Error) -> Self {
        let detail = format!("{}: {error}", error.code());
        Self::new("no call to the store fails without a reason", detail)
    }
}

impl From<afield_server::storage::StorageError> for Wrong {
    fn from(error: afield_server::storage::StorageError) -> Self {
        let detail = format!("{}: {error}", error.code);
        Self::new("the server does not fail", detail)
    }
}

impl From<afield_protocol::codec::Malformed> for Wrong {
    fn from(error: afield_protocol::codec::Malformed) -> Self {
        Self::new("messages can be read", error.to_string())
    }
}

impl From<Vec<ModelError>> for Wrong {
    fn from(errors: Vec<ModelError>) -> Self {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Self::new("a model that is right is taken", lines.join("\n"))
    }
}
