//! The one error type of the library.

use std::fmt;

use afield_protocol::codec::Malformed;
use afield_protocol::{Code, ModelError, zoo};

/// What went wrong: a stable [`Code`] for programs, a message for people, and the place.
#[derive(Debug)]
pub struct Error {
    code: Code,
    message: String,
    attribute: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of our own.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            attribute: None,
            source: None,
        }
    }

    /// Names the attribute it speaks of.
    #[must_use]
    pub fn of_attribute(mut self, attribute: impl Into<String>) -> Self {
        self.attribute = Some(attribute.into());
        self
    }

    /// Keeps what caused it.
    #[must_use]
    pub fn caused_by(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The stable code.
    pub fn code(&self) -> &Code {
        &self.code
    }

    /// The attribute that the code speaks of.
    pub fn attribute(&self) -> Option<&str> {
        self.attribute.as_deref()
    }

    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        is_passing(&self.code)
    }
}

/// Whether what failed with this code may succeed later without anybody changing anything.
pub(crate) fn is_passing(code: &Code) -> bool {
    [
        Code::UNREACHABLE,
        Code::TIMEOUT,
        Code::INTERRUPTED,
        Code::INTERNAL,
        Code::BUSY,
        Code::STORE_LOCKED,
        Code::OVERTAKEN,
    ]
    .contains(code)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<Malformed> for Error {
    fn from(error: Malformed) -> Self {
        Self::new(Code::MALFORMED, error.to_string())
    }
}

impl From<ModelError> for Error {
    fn from(error: ModelError) -> Self {
        Self::new(Code::MALFORMED, error.to_string())
    }
}

impl From<zoo::Crash> for Error {
    fn from(crash: zoo::Crash) -> Self {
        Self::new(Code::INTERNAL, crash.to_string())
    }
}
