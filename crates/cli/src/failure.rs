//! How a command fails: what went wrong, and the exit code that scripts see.

use std::fmt;

use afield_protocol::Code;
use afield_server::model::ModelError;
use afield_server::storage::StorageError;
use afield_server::storage::sqlite::catalog::CatalogError;

/// Refused or incomplete; the output says what.
pub(crate) const REFUSED: u8 = 1;
/// The command was used in a way it does not understand.
pub(crate) const USAGE: u8 = 2;
/// The server cannot be reached.
pub(crate) const UNREACHABLE: u8 = 3;
/// Sign-in is needed.
pub(crate) const SIGN_IN: u8 = 4;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The exit code.
    pub(crate) exit: u8,
    /// The stable code.
    pub(crate) code: String,
    /// For a person: what, where, and what to do.
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn refused(code: &str, message: impl Into<String>) -> Self {
        Self {
            exit: REFUSED,
            code: code.to_owned(),
            message: message.into(),
        }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            exit: USAGE,
            code: "usage".to_owned(),
            message: message.into(),
        }
    }
}

/// The exit code for what went wrong between device and server.
pub(crate) fn exit(code: &Code) -> u8 {
    if *code == Code::SIGN_IN {
        SIGN_IN
    } else if *code == Code::PLAIN_HTTP {
        USAGE
    } else if [
        Code::UNREACHABLE,
        Code::TIMEOUT,
        Code::INTERRUPTED,
        Code::BUSY,
    ]
    .contains(code)
    {
        UNREACHABLE
    } else {
        REFUSED
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<afield::Error> for Failure {
    fn from(error: afield::Error) -> Self {
        Self {
            exit: exit(error.code()),
            code: error.code().to_string(),
            message: error.to_string(),
        }
    }
}

impl From<Vec<ModelError>> for Failure {
    fn from(errors: Vec<ModelError>) -> Self {
        let code = errors
            .first()
            .map_or("model".to_owned(), |error| error.code.to_string());
        let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
        Self::refused(&code, lines.join("\n"))
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::refused(error.code.as_str(), error.message)
    }
}

impl From<CatalogError> for Failure {
    fn from(error: CatalogError) -> Self {
        Self::refused(error.code.as_str(), error.message)
    }
}
