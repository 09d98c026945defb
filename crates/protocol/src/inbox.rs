//! Decisions about refused groups that are made on the other side.

use crate::change::GroupId;
use crate::outcome::Verdict;

/// What somebody decided on the server about a group of this device that it had refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Decided {
    /// The group.
    pub group: GroupId,
    /// The group that was applied in its place; `None` if it was dropped.
    pub into: Option<GroupId>,
    /// Who decided, for people.
    pub by: String,
    /// When, by the server's clock, in milliseconds since 1970, for people.
    pub at_ms: i64,
    /// One for each change of the group if it was applied, none if it was dropped. Their values
    /// are those that ended other than they were sent in the group.
    pub verdicts: Vec<Verdict>,
}

/// What became on a device of a group that the server had refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The group.
    pub group: GroupId,
    /// What became of it.
    pub how: Closing,
}

/// How a refused group was settled on its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Closing {
    /// What the server told of it is stored.
    Told,
    /// Sent again with the user's values.
    Mine,
    /// Given up for the server's row.
    Theirs,
    /// Sent again with values of both.
    Merged,
    /// Sent again, perhaps corrected.
    SentAgain,
    /// Given up.
    Dropped,
}

impl Closing {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Told,
        Self::Mine,
        Self::Theirs,
        Self::Merged,
        Self::SentAgain,
        Self::Dropped,
    ];

    /// The stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Told => "told",
            Self::Mine => "mine",
            Self::Theirs => "theirs",
            Self::Merged => "merged",
            Self::SentAgain => "sent-again",
            Self::Dropped => "dropped",
        }
    }

    /// The one with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == word)
    }
}
