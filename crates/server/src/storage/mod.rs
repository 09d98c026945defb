//! Storage: whole decisions, each inside one transaction of the team's database.
//!
//! One trait, one conformance suite. A storage decides nothing about conflicts itself: the rule
//! is [`afield_protocol::conflict::decide`].

#[cfg(feature = "conformance")]
pub mod conformance;
mod digests;
mod estimate;
pub mod inbox;
mod lists;
pub mod live;
pub mod log;
mod page;
pub mod postgres;
mod push;
pub mod sqlite;
pub mod why;
mod window;

use afield_protocol::{
    Checkpoint, Chosen, Closed, Code, Decided, Fetch, Frame, Group, GroupId, GroupOutcome, Held,
    History, LogEntry, PageEnd, Part, Position, Verify,
};
use serde_json::{Map, Value as Json};

use self::inbox::{Decide, DecideOutcome, InboxEntry, InboxQuery};
use self::live::{Look, Moment, Touched, Watched};
use self::log::{LogLine, LogQuery};
use crate::resolved::ServerModel;

/// What a server needs of a database.
pub trait Storage: Send + Sync {
    /// The current epoch: one unbroken history of this database.
    fn epoch(&self) -> [u8; 8];

    /// How far this history has come, as far as it is known to be durable: what devices make from
    /// now on they make behind it.
    fn checkpoint(&self) -> Checkpoint;

    /// Whether this history contains what a device was told with that checkpoint: the database was
    /// not set back since, and is no copy from before. One that is empty says nothing, and is
    /// contained.
    ///
    /// # Errors
    /// The database failed.
    fn knows(&self, checkpoint: &Checkpoint) -> Result<bool, StorageError>;

    /// The same, right behind a page that this storage has read: it may go by what that has shown.
    ///
    /// # Errors
    /// The database failed.
    fn knows_as_read(&self, checkpoint: &Checkpoint) -> Result<bool, StorageError> {
        self.knows(checkpoint)
    }

    /// Which groups of `user`, applied as far as a device knows, this history never had: the ledger
    /// does not know them, and they did not leave it by age either.
    ///
    /// # Errors
    /// The database failed.
    fn lost(&self, user: &str, offered: &[History]) -> Result<Vec<GroupId>, StorageError>;

    /// Forgets marks, devices' logs and ledger entries that are older than the retention, in
    /// transactions of a few hundred rows, and asks `goes_on` between them. What is forgotten is
    /// noted first, so that it may end at any of them.
    ///
    /// # Errors
    /// The database failed.
    fn purge(
        &self,
        retention: Retention,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Purged, StorageError>;

    /// One page, read in one snapshot: the changes since the caller's positions, or a piece of a
    /// download that these positions say is unfinished.
    ///
    /// # Errors
    /// The database failed. A position that this database cannot continue from is no error: the
    /// page starts that entity over. [`Code::HELD_WANTED`]: the request must say which values of
    /// its scope the device has rows of.
    fn pull(&self, model: &ServerModel, request: &PullRequest) -> Result<PulledPage, StorageError>;

    /// Applies groups in order, each whole or not at all and in one transaction with its ledger
    /// entry. A group that the ledger knows is answered as it was the first time.
    ///
    /// # Errors
    /// The database failed; no group is applied then, or only groups whose ledger entries say
    /// so, which makes a repeat of the same request safe.
    fn push(
        &self,
        model: &ServerModel,
        caller: &Caller,
        groups: &[Group],
    ) -> Result<Vec<GroupOutcome>, StorageError>;

    /// Keeps a piece of a large group, durably, if it is the next one. Applies nothing.
    ///
    /// # Errors
    /// The database failed; the piece may come again.
    fn take_part(&self, user: &str, part: &Part) -> Result<PartTaken, StorageError>;

    /// Forgets the pieces of a group: it was applied or refused, or is not what it should be.
    ///
    /// # Errors
    /// The database failed.
    fn forget_parts(&self, user: &str, group: GroupId) -> Result<(), StorageError>;

    /// Groups that were refused, change by change in the order of their numbers.
    ///
    /// # Errors
    /// The database failed.
    fn inbox(&self, query: &InboxQuery) -> Result<Vec<InboxEntry>, StorageError>;

    /// Decides about a refused group, in one transaction with what follows from it. Nothing is
    /// changed unless it is [`DecideOutcome::Done`].
    ///
    /// # Errors
    /// The database failed; nothing is decided then, or the entry says that it is.
    fn decide(&self, model: &ServerModel, decide: &Decide) -> Result<DecideOutcome, StorageError>;

    /// What was decided about groups that the caller's device sent and does not know yet, some at
    /// once, oldest first. The checkpoint that goes out behind it lies behind these decisions.
    ///
    /// # Errors
    /// The database failed.
    fn decisions(&self, model: &ServerModel, caller: &Caller)
    -> Result<Vec<Decided>, StorageError>;

    /// Notes what became of refused groups of `user` on their device.
    ///
    /// # Errors
    /// The database failed; the device says it again.
    fn close(&self, user: &str, closed: &[Closed]) -> Result<(), StorageError>;

    /// Keeps entries of the log of the caller's device, in one transaction: those that he sent
    /// before are passed over, and of too many the rest is dropped, with a note.
    ///
    /// # Errors
    /// The database failed; the entries may come again.
    fn log(&self, caller: &Caller, entries: &[LogEntry]) -> Result<(), StorageError>;

    /// The newest entries of devices' logs, in the order in which they came.
    ///
    /// # Errors
    /// The database failed.
    fn logs(&self, query: &LogQuery) -> Result<Vec<LogLine>, StorageError>;

    /// Does what must be done about once a second, once for all servers of a database, and says
    /// what the team should know of it, for the log.
    ///
    /// # Errors
    /// The database failed; it is done the next time.
    fn tend(&self) -> Result<Vec<String>, StorageError> {
        Ok(Vec::new())
    }

    /// Looks for what was touched since another look, in one snapshot. `asked` is told what was
    /// found and says whose holdings are to be asked in the same snapshot. Without another look
    /// nothing is found: the first one says from where on the next ones see.
    ///
    /// # Errors
    /// The database failed; the next look goes on from the same moment.
    fn look(
        &self,
        model: &ServerModel,
        since: Option<&Moment>,
        watched: &Watched,
        asked: &mut dyn FnMut(&Touched) -> Vec<Caller>,
    ) -> Result<Look, StorageError>;

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    /// There is none.
    fn health(&self) -> Result<(), StorageError>;
}

/// How long a server remembers, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Which rows were touched: a device that stayed away for longer loads its tables again. What
    /// devices' logs say is kept as long.
    pub marks: i64,
    /// What became of groups: one that a device made longer ago is not applied unasked.
    pub ledger: i64,
}

impl Retention {
    /// Marks for so many seconds, and the ledger four times as long: it is small, and nobody
    /// likes to decide about what he did long ago.
    pub fn of(seconds: i64) -> Self {
        Self {
            marks: seconds,
            ledger: seconds.saturating_mul(4),
        }
    }
}

/// What was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Marks of rows.
    pub marks: u64,
    /// Groups in the ledger, and what was noted of them in the inbox.
    pub groups: u64,
    /// Entries of devices' logs.
    pub logs: u64,
    /// Whether the clock is behind a time that it has said before: nothing is forgotten then.
    pub is_clock_behind: bool,
}

/// Who asks: what the token says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Caller {
    /// The user that it names.
    pub user: String,
    /// All its claims.
    pub claims: Map<String, Json>,
    /// The device that asks, as it calls itself; no right depends on it.
    pub device: String,
}

impl Caller {
    /// A user whose token claims nothing else.
    pub fn user(user: impl Into<String>) -> Self {
        Self {
            user: user.into(),
            ..Self::default()
        }
    }
}

/// Whose rows, since when, and how many at once.
#[derive(Clone, Debug)]
pub struct PullRequest {
    /// Who asks.
    pub caller: Caller,
    /// The values of its scopes that the device has rows of, where it says so.
    pub held: Vec<Held>,
    /// The server's time, in seconds since 1970.
    pub now: i64,
    /// The values that the app on the device chose, of scopes that are chosen from. They say what
    /// is pulled, never what may be written.
    pub chosen: Vec<Chosen>,
    /// Entities by local name with the device's positions.
    pub entities: Vec<(String, Option<Position>)>,
    /// Most rows in the page.
    pub rows_max: usize,
    /// Bytes after which the page ends.
    pub bytes_max: usize,
    /// What the device compares, once the page is complete.
    pub compare: Compare,
}

/// What a device compares with its own rows. It is answered in the page that is complete, in its
/// snapshot; entities that the request does not pull, and those whose rows do not go to devices,
/// are passed over.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compare {
    /// Digests and lists of hashes.
    pub verify: Vec<Verify>,
    /// Rows that differ.
    pub fetch: Vec<Fetch>,
}

/// A page: `page`, then `rows` and `gone`, then what was compared, then `page-end`.
#[derive(Clone, Debug, PartialEq)]
pub struct PulledPage {
    /// All its frames in order, the last one included.
    pub frames: Vec<Frame>,
    /// What the last frame says.
    pub end: PageEnd,
    /// The values whose rows the device has after this page, of each entity with a scope: what the
    /// request for the next page may say.
    pub held: Vec<Held>,
}

/// What became of a piece of a large group.
#[derive(Clone, Debug, PartialEq)]
pub enum PartTaken {
    /// So many of the group's first bytes are kept.
    Kept(u32),
    /// That was the last one: all bytes of the group. They stay until they are forgotten.
    Whole(Vec<u8>),
    /// The group was settled before.
    Known(GroupOutcome),
}

/// The database could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StorageError {
    /// The stable code.
    pub code: Code,
    /// For the server's log; may name tables, never holds row values.
    pub message: String,
    /// Whether the same request may succeed later.
    pub is_retryable: bool,
}
