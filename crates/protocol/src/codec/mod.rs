//! Frames as bytes: a CBOR sequence for machines, JSON lines for people and tests.
//!
//! On the wire each item of the CBOR sequence (RFC 8742) is an embedded data item (RFC 8949,
//! tag 24): a byte string that holds one frame. The length in front lets a receiver find the end
//! of a frame without parsing it, and refuse one that is too large before buffering it.

pub mod cbor;
mod cbor_frame;
mod cbor_read;
pub(crate) mod identity;
pub mod json;
mod json_frame;
mod json_read;
mod stream;
mod strict_json;
mod tagged;

pub(crate) use cbor_frame::TAG_EMBEDDED;
pub(crate) use cbor_read::read as read_frame;
pub(crate) use stream::embedded;
pub use stream::{Format, FrameReader, has_few_items};

use crate::code::Code;
use crate::frame::Frame;
use crate::model::Model;
use crate::outcome::Verdict;

/// A message that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {what}")]
pub struct Malformed {
    what: String,
    code: Code,
}

impl Malformed {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self::over(Code::MALFORMED, what)
    }

    /// It may be well-formed, but is over a limit.
    pub(crate) fn over(code: Code, what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            code,
        }
    }

    /// The stable code: [`Code::MALFORMED`] unless it is over a limit.
    pub fn code(&self) -> Code {
        self.code.clone()
    }
}

impl From<minicbor::decode::Error> for Malformed {
    fn from(error: minicbor::decode::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl Format {
    /// Appends `frame` to `out`, as one item of a CBOR sequence or one line of JSON.
    pub fn write(self, model: &Model, frame: &Frame, out: &mut Vec<u8>) {
        match self {
            Self::Cbor => cbor_frame::write(model, frame, out),
            Self::JsonLines => json_frame::write(model, frame, out),
        }
    }
}

/// Verdicts as the ledger keeps them; [`read_verdicts`] reads them.
pub fn write_verdicts(verdicts: &[Verdict]) -> Vec<u8> {
    cbor_frame::write_verdicts(verdicts)
}

/// Reads what [`write_verdicts`] wrote.
///
/// # Errors
/// The bytes are something else.
pub fn read_verdicts(bytes: &[u8]) -> Result<Vec<Verdict>, Malformed> {
    cbor_read::read_verdicts(bytes)
}
