//! What became of a change: final, one per change.

use crate::change::{Attributes, GroupId, Key};
use crate::code::Code;

/// How a change ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VerdictKind {
    /// It took effect, or the server's row was already so.
    Applied,
    /// Somebody else's version stands against it; a person decides.
    Conflict,
    /// The server refuses it; the code says why.
    Rejected,
}

impl VerdictKind {
    /// The stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Conflict => "conflict",
            Self::Rejected => "rejected",
        }
    }

    /// The kind for a stable word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Applied, Self::Conflict, Self::Rejected]
            .into_iter()
            .find(|k| k.as_str() == word)
    }
}

/// The server's side of a conflict.
#[derive(Clone, Debug, PartialEq)]
pub enum Theirs {
    /// The row as the server has it, without the identifier.
    Row(Attributes),
    /// The server has no such row for this user.
    Gone,
}

/// The final outcome of one change.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// How it ended.
    pub kind: VerdictKind,
    /// Why, unless applied.
    pub code: Option<Code>,
    /// The attribute that the code speaks of.
    pub attribute: Option<String>,
    /// For a person.
    pub message: Option<String>,
    /// The identifier that the server gave, where it is not the one sent.
    pub key: Option<Key>,
    /// Values that ended other than they were sent, as a trigger or column type made them.
    pub values: Attributes,
    /// The server's row, with a conflict.
    pub theirs: Option<Theirs>,
    /// What a last-write-wins change replaced without having seen it. Kept in the ledger and
    /// told to nobody but its author.
    pub overwritten: Attributes,
}

impl Verdict {
    /// The change took effect as it was sent.
    pub fn applied() -> Self {
        Self {
            kind: VerdictKind::Applied,
            code: None,
            attribute: None,
            message: None,
            key: None,
            values: Attributes::new(),
            theirs: None,
            overwritten: Attributes::new(),
        }
    }

    /// The change is refused.
    pub fn rejected(code: Code, message: impl Into<String>) -> Self {
        Self {
            kind: VerdictKind::Rejected,
            code: Some(code),
            message: Some(message.into()),
            ..Self::applied()
        }
    }

    /// Somebody else's version stands against the change.
    pub fn conflict(code: Code, theirs: Theirs) -> Self {
        Self {
            kind: VerdictKind::Conflict,
            code: Some(code),
            theirs: Some(theirs),
            ..Self::applied()
        }
    }
}

/// The outcomes of a group's changes, in the group's order.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupOutcome {
    /// Which group.
    pub group: GroupId,
    /// One for each change.
    pub verdicts: Vec<Verdict>,
}

impl GroupOutcome {
    /// Whether every change took effect; a group is applied whole or not at all.
    pub fn is_applied(&self) -> bool {
        self.verdicts
            .iter()
            .all(|verdict| verdict.kind == VerdictKind::Applied)
    }
}
