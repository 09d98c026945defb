//! The messages of one sync: what a request and its answer are made of.
//!
//! ```text
//! request:  hello, held*, chosen*, (verify | fetch)*, closed?, group*, part?, log?,
//!           end
//! answer:   welcome, outcome*, received?, settled, inbox?, logged?,
//!           ( page, window*, (rows | gone | held)*, (digest | hashes)*, page-end )*, end
//!           … or a problem in place of anything after welcome
//!
//! request:  hello, history*, end               after the problem `history-wanted`
//! answer:   welcome, lost, settled, end
//! ```
//!
//! Outcomes come before rows. `settled` says that the outcomes are whole, so that the device can
//! store them without waiting for rows; `page-end` says the same of a page.

use crate::change::{Group, GroupHash, GroupId, Key};
use crate::code::Code;
use crate::digest::{RowHash, Sum};
use crate::inbox::{Closed, Decided};
use crate::log::LogEntry;
use crate::outcome::GroupOutcome;
use crate::rows::RowBlock;
use crate::value::{Value, ValueRef};

/// An authenticated token of the server: exactly which changes of one entity a device has seen,
/// and how far an unfinished download of it has come. Opaque to the device.
pub type Position = Vec<u8>;

/// An opaque token of the server's: how far its history has come, of all entities together.
pub type Checkpoint = Vec<u8>;

/// Opens a request.
#[derive(Clone, Debug, PartialEq)]
pub struct Hello {
    /// The version of these messages.
    pub protocol: u32,
    /// The fingerprint of the model that the device's tables were made from; the server refuses
    /// another with `model-changed`, and the device fetches it.
    pub model: String,
    /// The device's random identity, for logs; no decision rests on it.
    pub device: String,
    /// The sync unit to pull, for logs; what is pulled is in `pull`.
    pub unit: String,
    /// What to pull: each entity with the device's position, `None` before its first download.
    /// Empty when the request only sends.
    pub pull: Vec<(String, Option<Position>)>,
    /// The newest checkpoint that the device has; several, if syncs of one store were answered
    /// side by side. A server whose history one of them is not of applies nothing and answers
    /// `history-wanted`.
    pub checkpoints: Vec<Checkpoint>,
}

/// Opens an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Welcome {
    /// The version of these messages.
    pub protocol: u32,
    /// The server's current epoch: one unbroken history of its database.
    pub epoch: [u8; 8],
}

/// A piece of a group that is larger than a connection should carry at once. The server keeps the
/// pieces and applies the group when it has the last one.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The group.
    pub group: GroupId,
    /// Its hash, so that a group that took effect meanwhile is known again.
    pub hash: GroupHash,
    /// How many bytes the group's frame has, in CBOR.
    pub total: u32,
    /// Where this piece begins in them.
    pub at: u32,
    /// The piece.
    pub bytes: Vec<u8>,
}

/// How far the server has a group that comes in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The group.
    pub group: GroupId,
    /// How many of its first bytes the server keeps: where the next piece begins.
    pub bytes: u32,
}

/// Values of its scope that a user holds, as far as a device has their rows. Each is a number that
/// the server makes of the value; what it stands for only the server knows.
///
/// In a request: all values whose rows the device has of an entity, for a server that asked with
/// `held-wanted`. In a page: what changes in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The local entity.
    pub entity: String,
    /// The device now has the rows of these.
    pub gained: Vec<i64>,
    /// The user holds these no more: rows that nothing else brings leave the device.
    pub lost: Vec<i64>,
}

/// Values of a scope that the app on this device wants now. Who asks gets rows by those of them
/// that the scope's query allows him; the others are passed over without a word.
#[derive(Clone, Debug, PartialEq)]
pub struct Chosen {
    /// The name of the scope.
    pub scope: String,
    /// The values in canonical form.
    pub values: Vec<Value>,
}

/// How an attribute is held against a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Before,
    /// `<=`
    UpTo,
    /// `>`
    After,
    /// `>=`
    From,
}

impl Comparison {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Before, Self::UpTo, Self::After, Self::From];

    /// Its sign.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Before => "<",
            Self::UpTo => "<=",
            Self::After => ">",
            Self::From => ">=",
        }
    }

    /// The one with this sign.
    pub fn parse(sign: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == sign)
    }

    /// Whether it holds for more values as time passes, and not for fewer.
    pub fn grows(self) -> bool {
        matches!(self, Self::Before | Self::UpTo)
    }

    /// Whether it holds between two texts, byte by byte.
    pub fn holds(self, value: &str, bound: &str) -> bool {
        match self {
            Self::Before => value < bound,
            Self::UpTo => value <= bound,
            Self::After => value > bound,
            Self::From => value >= bound,
        }
    }
}

/// Which rows of an entity stay on the device with a page: those whose attribute is text that
/// begins with a digit, as a time does, and compares so with the bound. Others leave, unless they
/// carry changes that are not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The local entity.
    pub entity: String,
    /// Its attribute: a date, datetime or instant.
    pub attribute: String,
    /// How the attribute of a row that stays compares with the bound.
    pub keep: Comparison,
    /// A canonical value of the attribute's type.
    pub bound: String,
}

impl Window {
    /// Whether a row stays that has this value.
    pub fn keeps(&self, value: ValueRef<'_>) -> bool {
        let ValueRef::Text(text) = value else {
            return false;
        };
        text.starts_with(|c: char| c.is_ascii_digit()) && self.keep.holds(text, &self.bound)
    }
}

/// Groups that this device knows to be settled, offered to a server whose history is another one
/// than it was.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// The checkpoint that came with their outcomes.
    pub checkpoint: Checkpoint,
    /// The groups, oldest first.
    pub groups: Vec<GroupId>,
}

/// Asks for digests of the rows that the device should have of an entity, as they are in the
/// snapshot of the page that completes the pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verify {
    /// The local entity, one of the request's `pull`.
    pub entity: String,
    /// The rows are spread over 2^depth buckets by the hash of their identifier.
    pub depth: u8,
    /// The buckets whose rows are to be listed, each with its hash; the sums of all buckets if
    /// there are none.
    pub buckets: Vec<u32>,
}

/// Asks for rows by their identifiers: those that differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Fetch {
    /// The local entity, one of the request's `pull`.
    pub entity: String,
    /// Which rows.
    pub keys: Vec<Key>,
}

/// The sums of an entity's buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// The local entity.
    pub entity: String,
    /// There are 2^depth buckets.
    pub depth: u8,
    /// One for each bucket; none if the server does not count so many rows.
    pub sums: Vec<Sum>,
}

/// A row in a list of hashes.
#[derive(Clone, Debug, PartialEq)]
pub struct HashedRow {
    /// Its identifier.
    pub key: Key,
    /// Its hash.
    pub hash: RowHash,
    /// A value of its scope that brings it, as a number; none if its scope has no values.
    pub value: Option<i64>,
}

/// The rows of some buckets, each with its hash.
#[derive(Clone, Debug, PartialEq)]
pub struct Hashes {
    /// The local entity.
    pub entity: String,
    /// There are 2^depth buckets.
    pub depth: u8,
    /// Whether these are all rows of the buckets that were asked for: there may be too many.
    pub complete: bool,
    /// The rows, in any order.
    pub rows: Vec<HashedRow>,
}

/// Opens a page.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// The positions this page continues from; it is applied only if they are still the
    /// device's.
    pub from: Vec<(String, Option<Position>)>,
    /// Entities that start over with this page: the rows from here on replace all that the
    /// device holds of them.
    pub reset: Vec<String>,
}

/// Closes a page.
#[derive(Clone, Debug, PartialEq)]
pub struct PageEnd {
    /// The positions after this page, for every entity of its `from`.
    pub to: Vec<(String, Position)>,
    /// Whether the entities are now, together, as the server had them at one snapshot.
    pub complete: bool,
    /// How many rows are still to come, if the server knows: for progress only.
    pub remaining: Option<u64>,
}

/// The request cannot be answered, or not further.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// What went wrong.
    pub code: Code,
    /// For a person.
    pub message: String,
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    /// Opens a request.
    Hello(Hello),
    /// A change group.
    Group(Group),
    /// Opens an answer.
    Welcome(Welcome),
    /// What became of a group.
    Outcome(GroupOutcome),
    /// All outcomes of this answer have been sent.
    Settled {
        /// How far the server's history has come; what the device makes from now on, it makes
        /// behind it. Empty if that is not said.
        checkpoint: Checkpoint,
    },
    /// Opens a page.
    Page(Page),
    /// Rows of a page: each replaces what the device has under its identifier.
    Rows(RowBlock),
    /// Identifiers of rows that are no longer the user's, or no longer there.
    Gone {
        /// The local entity.
        entity: String,
        /// Which rows.
        keys: Vec<Key>,
    },
    /// Closes a page.
    PageEnd(PageEnd),
    /// Closes a request or an answer.
    End,
    /// Closes an answer that cannot be completed.
    Problem(Problem),
    /// A piece of a large group.
    Part(Part),
    /// How far the server has a large group.
    Received(Received),
    /// Values of a scope.
    Held(Held),
    /// Which rows stay.
    Window(Window),
    /// What the app chose.
    Chosen(Chosen),
    /// Groups that the device knows to be settled.
    History(History),
    /// Those of them that this history of the server's never had.
    Lost {
        /// The groups, in the order in which they were offered.
        groups: Vec<GroupId>,
    },
    /// Asks for digests.
    Verify(Verify),
    /// Asks for rows that differ.
    Fetch(Fetch),
    /// The sums of buckets.
    Digest(Digest),
    /// The rows of buckets, hashed.
    Hashes(Hashes),
    /// What was decided on the server about groups of this device that it had refused.
    Inbox {
        /// One for each group, oldest first.
        decided: Vec<Decided>,
    },
    /// What became on the device of groups that the server had refused.
    Closed {
        /// One for each group.
        groups: Vec<Closed>,
    },
    /// Entries of the device's log.
    Log {
        /// The oldest first.
        entries: Vec<LogEntry>,
    },
    /// That the server takes a device's log, and what it has of it.
    Logged {
        /// The number of the newest entry of the request; 0 if it had none.
        to: i64,
    },
}
