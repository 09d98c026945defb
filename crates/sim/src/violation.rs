//! A promise that a world did not keep.

use std::fmt;

/// The promises of the design, as far as a simulation can see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Promise {
    /// Nothing saved is lost.
    P1,
    /// Exactly once.
    P2,
    /// Read your writes.
    P3,
    /// Whole states.
    P4,
    /// Nothing missed.
    P5,
    /// One visible outcome.
    P6,
    /// Nothing foreign.
    P7,
    /// It always moves on.
    P8,
    /// Not a promise but what all of them rest on: no call fails without a reason.
    Sound,
}

impl Promise {
    /// What it promises, in the design's words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::P1 => "P1 nothing saved is lost",
            Self::P2 => "P2 exactly once",
            Self::P3 => "P3 read your writes",
            Self::P4 => "P4 whole states",
            Self::P5 => "P5 nothing missed",
            Self::P6 => "P6 one visible outcome",
            Self::P7 => "P7 nothing foreign",
            Self::P8 => "P8 it always moves on",
            Self::Sound => "no call fails without a reason",
        }
    }
}

/// What was seen.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Violation {
    pub(crate) promise: Promise,
    /// What must always hold.
    pub(crate) invariant: &'static str,
    /// What was found instead.
    pub(crate) detail: String,
}

impl Violation {
    pub(crate) fn new(
        promise: Promise,
        invariant: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            promise,
            invariant,
            detail: detail.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let promise = self.promise.words();
        write!(f, "{promise}: {}\n  {}", self.invariant, self.detail)
    }
}

impl From<rusqlite::Error> for Violation {
    fn from(error: rusqlite::Error) -> Self {
        Self::new(
            Promise::Sound,
            "the oracle can read every file",
            error.to_string(),
        )
    }
}

impl From<std::io::Error> for Violation {
    fn from(error: std::io::Error) -> Self {
        Self::new(
            Promise::Sound,
            "the simulated disk works",
            error.to_string(),
        )
    }
}
