//! Storage in an SQLite file: the team's own, with Afield's bookkeeping beside their tables.
//!
//! ```text
//!   prepare ──► marks (triggers) ──► afield_mark_…      pull ──► positions, rows
//!                  ▲                                      ▲
//!   any writer ────┘        push ──► the team's tables ───┘
//!                             └────► afield_ledger
//! ```
//!
//! Writers of one SQLite database wait for each other, so a change number that is taken inside
//! the writing transaction is also the order of commits: whoever sees number `n` sees every
//! change up to `n`.
//!
//! There is one connection that writes, behind a mutex, and a few that read. None is held while
//! anything but SQLite is waited for.

mod captures;
pub mod catalog;
mod cell;
mod column;
mod constraint;
mod deletion;
mod entity;
mod error;
mod history;
mod inbox;
mod ledger;
mod live;
mod log;
mod lookups;
mod marks;
mod page;
mod parts;
mod prepare;
mod pull;
mod purge;
mod push;
mod raw;
mod references;
mod schema;
mod scope;
mod sql_text;
mod statements;
mod tables;
mod why;
mod window;
mod write;
mod writes;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use afield_protocol::zoo::{crash_point, planted};
use afield_protocol::{
    Checkpoint, Closed, Decided, Group, GroupId, GroupOutcome, History, LogEntry, Part, limits,
};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use self::error::{While, crashed, lasting};
pub use self::prepare::{
    Report, SCHEMA_VERSION, Statement, TABLES_SQL, new_incarnation, plan, prepare, remove, warnings,
};
use self::scope::{LISTS_BYTES, Lists};
use self::tables::Tables;
pub use self::why::why;
use super::inbox::{Decide, DecideOutcome, InboxEntry, InboxQuery};
use super::live::{Look, Moment, Touched, Watched};
use super::log::{LogLine, LogQuery};
use super::{Caller, PartTaken, PullRequest, PulledPage, Purged, Retention, Storage, StorageError};
use crate::position::{self, CodeKey};
use crate::resolved::ServerModel;

/// Connections that read, kept open between requests. More requests than this at once open their
/// own and close them again.
const READERS_KEPT: usize = 8;

/// Pages that a reading connection keeps, in KiB. A download reads rows in the order of their keys,
/// which is not the order in which they lie: with SQLite's own 2 MiB nearly every row of a larger
/// table is a page read again.
const READER_CACHE_KIB: i64 = 32 * 1024;

/// Statements that a connection keeps prepared: a handful for each entity of a large model.
const STATEMENTS_KEPT: usize = 256;

/// Epochs that are remembered. A device that was away for more server starts than this loads its
/// tables again.
const EPOCHS_KEPT: u32 = 1_000;

/// A team's SQLite database.
pub struct SqliteStorage {
    path: PathBuf,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
    epoch: [u8; 8],
    /// Whether it answers no device: it has no epoch.
    is_beside: bool,
    code_key: CodeKey,
    /// The highest beacon that is known to be durable.
    beacon: AtomicI64,
    tables: Mutex<Arc<Tables>>,
    clock: Option<Box<dyn Fn() -> i64 + Send + Sync>>,
    lists: Lists,
    looking: live::Looking,
    scope_values_max: usize,
    group_changes_max: usize,
}

impl std::fmt::Debug for SqliteStorage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStorage")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl SqliteStorage {
    /// Opens a prepared database and begins a new epoch; `random` fills a buffer with random
    /// bytes.
    ///
    /// # Errors
    /// The database is not prepared for this model (run `afield prepare`), or cannot be written.
    pub fn open(
        path: &Path,
        model: &ServerModel,
        mut random: impl FnMut(&mut [u8]),
    ) -> Result<Self, StorageError> {
        let mut storage = Self::open_beside(path, model)?;
        let mut epoch = [0; 8];
        random(&mut epoch);
        let beacon = begin_epoch(&mut storage.writer(), epoch)?;
        storage.beacon = AtomicI64::new(beacon);
        (storage.epoch, storage.is_beside) = (epoch, false);
        Ok(storage)
    }

    /// Opens a prepared database to look at the inbox and to decide, beside servers or without one.
    /// No device may be answered by it.
    ///
    /// # Errors
    /// As [`SqliteStorage::open`].
    pub fn open_beside(path: &Path, model: &ServerModel) -> Result<Self, StorageError> {
        let doing = "opening the database";
        let conn = prepare::open_existing(path)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        prepare::check(&conn, model)?;
        conn.pragma_update(None, "journal_mode", "wal")
            .while_(doing)?;
        conn.pragma_update(None, "synchronous", "full")
            .while_(doing)?;
        conn.pragma_update(None, "foreign_keys", true)
            .while_(doing)?;
        let tables = Tables::load(&conn, model)?;
        let code_key = conn
            .query_row("SELECT code_key FROM afield_node", [], |row| row.get(0))
            .while_("reading the key of the positions")?;
        Ok(Self {
            path: path.to_owned(),
            writer: Mutex::new(conn),
            readers: Mutex::new(Vec::new()),
            epoch: [0; 8],
            is_beside: true,
            code_key,
            beacon: AtomicI64::new(0),
            tables: Mutex::new(Arc::new(tables)),
            clock: None,
            lists: Lists::new(LISTS_BYTES),
            looking: live::Looking::default(),
            scope_values_max: limits::SCOPE_VALUES_MAX,
            group_changes_max: limits::GROUP_CHANGES_MAX,
        })
    }

    /// Remembers so many bytes of lists of what users hold; without any, devices must say it
    /// whenever it changed.
    #[must_use]
    pub fn with_list_memory(mut self, bytes: usize) -> Self {
        self.lists = Lists::new(bytes);
        self
    }

    /// Looks up so many values of a scope for a user, and takes so many changes in one group.
    #[must_use]
    pub fn with_limits(mut self, scope_values: usize, group_changes: usize) -> Self {
        self.scope_values_max = scope_values;
        self.group_changes_max = group_changes;
        self
    }

    /// Takes the seconds since 1970 that the ledger notes, and by which it is purged, from `clock`
    /// instead of SQLite's own.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        self.clock = Some(Box::new(clock));
        self
    }

    fn seconds(&self, conn: &Connection) -> Result<i64, StorageError> {
        match &self.clock {
            Some(clock) => Ok(clock()),
            None => conn
                .query_row("SELECT CAST(strftime('%s', 'now') AS INTEGER)", [], |row| {
                    row.get(0)
                })
                .while_("reading the clock"),
        }
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `read` on a connection of its own.
    fn reading<T>(
        &self,
        read: impl FnOnce(&mut Connection) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let kept = || self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let pooled = kept().pop();
        let mut conn = match pooled {
            Some(conn) => conn,
            None => self.open_reader()?,
        };
        let result = read(&mut conn);
        let mut kept = kept();
        if conn.is_autocommit() && kept.len() < READERS_KEPT {
            kept.push(conn);
        }
        result
    }

    fn open_reader(&self) -> Result<Connection, StorageError> {
        let conn = prepare::open_existing(&self.path)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        conn.pragma_update(None, "query_only", true)
            .and_then(|()| conn.pragma_update(None, "cache_size", -READER_CACHE_KIB))
            .and_then(|()| rusqlite::vtab::array::load_module(&conn))
            .while_("opening the database")?;
        Ok(conn)
    }

    /// The tables of `model` as they are in this transaction of `conn`.
    fn tables(&self, conn: &Connection, model: &ServerModel) -> Result<Arc<Tables>, StorageError> {
        let known = || self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        let current = Arc::clone(&known());
        if current.is_current(conn, model)? {
            return Ok(current);
        }
        prepare::check(conn, model)?;
        let fresh = Arc::new(Tables::load(conn, model)?);
        *known() = Arc::clone(&fresh);
        Ok(fresh)
    }

    /// The highest change number that devices may have been told of.
    fn told(&self) -> i64 {
        self.beacon.load(Ordering::Acquire)
    }

    /// Makes it durable that positions up to `change` were given out.
    fn raise_beacon(&self, change: i64) -> Result<(), StorageError> {
        let doing = "writing the beacon";
        if change <= self.told() {
            return Ok(());
        }
        // The planted fault promises what did not happen yet.
        let raised = if planted("server-beacon-ahead") {
            change + 1_000
        } else {
            change
        };
        let mut conn = self.writer();
        let tx = conn
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .while_(doing)?;
        let rows = tx
            .prepare_cached("UPDATE afield_epoch SET beacon = max(beacon, ?1) WHERE epoch = ?2")
            .and_then(|mut statement| statement.execute((raised, self.epoch)))
            .while_(doing)?;
        if rows != 1 {
            return Err(replaced());
        }
        crash_point("server-beacon-before-commit").map_err(crashed)?;
        tx.commit().while_(doing)?;
        self.beacon.fetch_max(change, Ordering::AcqRel);
        crash_point("server-beacon-after-commit").map_err(crashed)
    }
}

impl Storage for SqliteStorage {
    fn epoch(&self) -> [u8; 8] {
        self.epoch
    }

    fn checkpoint(&self) -> Checkpoint {
        position::seal_checkpoint(&self.code_key, self.epoch, self.told())
    }

    fn knows(&self, checkpoint: &Checkpoint) -> Result<bool, StorageError> {
        history::knows(self, checkpoint)
    }

    fn lost(&self, user: &str, offered: &[History]) -> Result<Vec<GroupId>, StorageError> {
        history::lost(self, user, offered)
    }

    fn purge(
        &self,
        retention: Retention,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Purged, StorageError> {
        purge::purge(self, retention, goes_on)
    }

    fn pull(&self, model: &ServerModel, request: &PullRequest) -> Result<PulledPage, StorageError> {
        // Read before the snapshot is taken, so that the snapshot cannot be older.
        let beacon = self.told();
        let (page, change) = self.reading(|conn| {
            let tx = conn.transaction().while_("beginning to read")?;
            let tables = self.tables(&tx, model)?;
            pull::pull(&tx, &tables, self, beacon, request)
        })?;
        self.raise_beacon(change)?;
        Ok(page)
    }

    fn push(
        &self,
        model: &ServerModel,
        caller: &Caller,
        groups: &[Group],
    ) -> Result<Vec<GroupOutcome>, StorageError> {
        push::push(self, model, caller, groups)
    }

    fn take_part(&self, user: &str, part: &Part) -> Result<PartTaken, StorageError> {
        parts::take(self, user, part)
    }

    fn forget_parts(&self, user: &str, group: GroupId) -> Result<(), StorageError> {
        parts::forget(self, user, group)
    }

    fn look(
        &self,
        model: &ServerModel,
        since: Option<&Moment>,
        watched: &Watched,
        asked: &mut dyn FnMut(&Touched) -> Vec<Caller>,
    ) -> Result<Look, StorageError> {
        live::look(self, model, since, watched, asked)
    }

    fn inbox(&self, query: &InboxQuery) -> Result<Vec<InboxEntry>, StorageError> {
        inbox::entries(self, query)
    }

    fn decide(&self, model: &ServerModel, decide: &Decide) -> Result<DecideOutcome, StorageError> {
        inbox::decide(self, model, decide)
    }

    fn decisions(
        &self,
        model: &ServerModel,
        caller: &Caller,
    ) -> Result<Vec<Decided>, StorageError> {
        inbox::decisions(self, model, caller)
    }

    fn close(&self, user: &str, closed: &[Closed]) -> Result<(), StorageError> {
        inbox::close(self, user, closed)
    }

    fn log(&self, caller: &Caller, entries: &[LogEntry]) -> Result<(), StorageError> {
        log::log(self, caller, entries)
    }

    fn logs(&self, query: &LogQuery) -> Result<Vec<LogLine>, StorageError> {
        log::logs(self, query)
    }

    fn health(&self) -> Result<(), StorageError> {
        self.reading(|conn| {
            conn.query_row("SELECT change FROM afield_clock", [], |_| Ok(()))
                .while_("reading the change number")
        })
    }
}

/// Writes the new epoch; returns the change number at which it begins.
fn begin_epoch(conn: &mut Connection, epoch: [u8; 8]) -> Result<i64, StorageError> {
    let doing = "beginning an epoch";
    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .while_(doing)?;
    let change: Option<i64> = tx
        .query_row("SELECT change FROM afield_clock", [], |row| row.get(0))
        .optional()
        .while_(doing)?;
    let change = change.ok_or_else(|| {
        lasting("afield_clock is empty: run `afield prepare --remove`, then `afield prepare`")
    })?;
    tx.execute(
        "INSERT INTO afield_epoch (epoch, beacon) VALUES (?1, ?2)",
        (epoch, change),
    )
    .while_(doing)?;
    tx.execute(
        "DELETE FROM afield_epoch WHERE number <= (SELECT max(number) FROM afield_epoch) - ?1",
        [EPOCHS_KEPT],
    )
    .while_(doing)?;
    crash_point("server-epoch-before-commit").map_err(crashed)?;
    tx.commit().while_(doing)?;
    crash_point("server-epoch-after-commit").map_err(crashed)?;
    Ok(change)
}

/// The file under the running server is another one than it was.
fn replaced() -> StorageError {
    lasting(
        "the database was restored or replaced while the server was running: restart the server",
    )
}
