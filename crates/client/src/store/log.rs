//! The app's log: kept here within bounds, sent with the syncs that there are anyway.
//!
//! ```text
//!   Store::log ──► afield_log ──► behind the groups of a request ──► the server has it ──► gone
//! ```
//!
//! An entry leaves when the server says that it has it, so one whose answer was lost comes again
//! and is known by its id. Where there are too many the oldest leave, and one entry in their place
//! says how many they were.

use afield_protocol::limits::{LOG_BYTES, LOG_ENTRIES, LOG_MESSAGE_BYTES, LOG_MODULE_BYTES};
use afield_protocol::{Code, Level, LogEntry, cut};
use rusqlite::{OptionalExtension as _, Row, params};

use super::Store;
use super::db::Db;
use super::sync_store::SyncStore;
use crate::error::Error;

/// Entries that wait on a device at most: what an app says in a day or two, and few enough to be
/// counted with every one that comes.
pub const LOG_KEPT: i64 = 1_000;

/// Bytes of them: eight requests, and nothing beside the rows of an app.
pub const LOG_KEPT_BYTES: i64 = 256 * 1024;

/// What an entry counts for besides its texts.
const ENTRY_BYTES: i64 = 64;

/// The module of what the library itself says.
const OWN_MODULE: &str = "afield";

/// What stands in the place of dropped entries, beside their number.
const DROPPED: &str = "entries were dropped: the log was full";

/// A sync that fails as one before it is not said again for so long, while that waits.
const SAID_MS: i64 = 60 * 60 * 1_000;

const COLUMNS: &str = "id, n, at, level, module, message, dropped";

impl Store {
    /// Adds an entry to the log, which goes to the server with the syncs that there are. It is in
    /// the file when this returns, as changes are; only a power cut may take the newest entries.
    ///
    /// A `module` of more than 64 bytes and a `message` of more than 2,048 are cut. Of more than
    /// [`LOG_KEPT`] entries, or [`LOG_KEPT_BYTES`], the oldest are dropped, and an entry in their
    /// place says how many. Put no personal data in, and no passwords: everybody who may look at
    /// the server's log reads it.
    ///
    /// # Errors
    /// The store cannot be written; nothing else is touched by that.
    pub fn log(&mut self, level: Level, module: &str, message: &str) -> Result<(), Error> {
        // What the app writes is worth a wait for the disk, what it says of itself is not.
        self.db.conn.pragma_update(None, "synchronous", "NORMAL")?;
        let result = self.db.write("log", |db| add(db, level, module, message));
        self.db.conn.pragma_update(None, "synchronous", "FULL")?;
        result
    }

    /// The entries that the server is not known to have, oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn logs(&self) -> Result<Vec<LogEntry>, Error> {
        waiting(&self.db, usize::MAX, i64::MAX)
    }
}

impl SyncStore {
    /// Whether the server is to be asked if it takes the log: it has not shown yet that it does.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn asks_log(&self) -> Result<bool, Error> {
        let sql = "SELECT NOT logs FROM afield_meta";
        let mut statement = self.db.conn.prepare_cached(sql)?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    /// Forgets the entries that the server has, up to number `to`, and notes that it takes them.
    ///
    /// # Errors
    /// The store cannot be written; they are sent again.
    pub fn logged(&mut self, to: i64) -> Result<(), Error> {
        if to <= 0 && !self.asks_log()? {
            return Ok(());
        }
        // What is lost with the power is sent again, and known there.
        self.synchronous("NORMAL")?;
        self.db.write("logged", |db| {
            takes(db, true)?;
            let sql = "DELETE FROM afield_log WHERE n <= ?1";
            db.conn.prepare_cached(sql)?.execute([to])?;
            Ok(())
        })
    }

    /// Notes that the server does not take the log: it is of an earlier version.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn log_refused(&mut self) -> Result<(), Error> {
        self.db.write("log-refused", |db| takes(db, false))
    }
}

fn takes(db: &Db, does: bool) -> Result<(), Error> {
    let sql = "UPDATE afield_meta SET logs = ?1 WHERE logs <> ?1";
    db.conn.prepare_cached(sql)?.execute([does])?;
    Ok(())
}

/// What the next request tells of it, if the server takes that.
pub(super) fn of_request(db: &Db) -> Result<Vec<LogEntry>, Error> {
    let sql = "SELECT logs FROM afield_meta";
    let takes: bool = (db.conn.prepare_cached(sql)?).query_row([], |row| row.get(0))?;
    match takes {
        true => {
            let bytes = i64::try_from(LOG_BYTES).unwrap_or(i64::MAX);
            waiting(db, LOG_ENTRIES, bytes)
        }
        false => Ok(Vec::new()),
    }
}

/// Says that a sync failed, by its code alone: never what it was about.
pub(super) fn failed(db: &mut Db, code: &Code) -> Result<(), Error> {
    let message = format!("a sync failed: {}", code.as_str());
    let since = db.env.now_ms().saturating_sub(SAID_MS);
    let sql = "SELECT 1 FROM afield_log WHERE module = ?1 AND message = ?2 AND at > ?3";
    let said = (db.conn.prepare_cached(sql)?).exists(params![OWN_MODULE, message, since])?;
    match said || *code == Code::INTERRUPTED {
        true => Ok(()),
        false => add(db, Level::Warn, OWN_MODULE, &message),
    }
}

fn entry(row: &Row<'_>) -> rusqlite::Result<LogEntry> {
    let level: String = row.get(3)?;
    Ok(LogEntry {
        id: row.get(0)?,
        n: row.get(1)?,
        at_ms: row.get(2)?,
        level: Level::parse(&level).unwrap_or(Level::Error),
        module: row.get(4)?,
        message: row.get(5)?,
        dropped: row.get(6)?,
    })
}

/// The oldest entries: so many at most, of so many bytes.
fn waiting(db: &Db, most: usize, most_bytes: i64) -> Result<Vec<LogEntry>, Error> {
    let sql = format!("SELECT {COLUMNS} FROM afield_log ORDER BY n");
    let mut statement = db.conn.prepare_cached(&sql)?;
    let mut rows = statement.query([])?;
    let (mut found, mut bytes) = (Vec::new(), 0_i64);
    while let Some(row) = rows.next()? {
        let entry = entry(row)?;
        bytes = bytes.saturating_add(weight(&entry.module, &entry.message));
        if found.len() >= most || bytes > most_bytes {
            break;
        }
        found.push(entry);
    }
    Ok(found)
}

/// What an entry counts for.
fn weight(module: &str, message: &str) -> i64 {
    let bytes = i64::try_from(module.len() + message.len()).unwrap_or(i64::MAX);
    bytes.saturating_add(ENTRY_BYTES)
}

fn add(db: &mut Db, level: Level, module: &str, message: &str) -> Result<(), Error> {
    let (module, message) = (
        cut(module, LOG_MODULE_BYTES),
        cut(message, LOG_MESSAGE_BYTES),
    );
    let (id, at) = (db.random_id(), db.env.now_ms());
    let sql = "INSERT INTO afield_log (id, at, bytes, dropped, level, module, message) \
               VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6)";
    let bytes = weight(&module, &message);
    let values = params![id, at, bytes, level.as_str(), module, message];
    db.conn.prepare_cached(sql)?.execute(values)?;
    make_room(db)
}

/// Drops the oldest entries while there are too many, and notes how many these were in the place
/// of the newest of them. A note that is in the way is counted on under its id: the server may have
/// it already, and takes the higher number.
fn make_room(db: &mut Db) -> Result<(), Error> {
    let sql = "SELECT count(*), coalesce(sum(bytes), 0) FROM afield_log";
    let (mut count, mut bytes): (i64, i64) =
        (db.conn.prepare_cached(sql)?).query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let room = weight(OWN_MODULE, DROPPED);
    if count <= LOG_KEPT && bytes <= LOG_KEPT_BYTES {
        return Ok(());
    }
    let oldest = "SELECT n, at, bytes, dropped, id FROM afield_log ORDER BY n LIMIT 1";
    let (mut dropped, mut note, mut place) = (0_u32, None::<[u8; 16]>, (0_i64, 0_i64));
    while count >= LOG_KEPT || bytes + room > LOG_KEPT_BYTES {
        let row = |row: &Row<'_>| {
            Ok((
                (row.get(0)?, row.get(1)?),
                row.get::<_, i64>(2)?,
                row.get::<_, u32>(3)?,
                row.get(4)?,
            ))
        };
        let found = (db.conn.prepare_cached(oldest)?)
            .query_row([], row)
            .optional()?;
        let Some((at, freed, told, id)) = found else {
            break;
        };
        place = at;
        if told > 0 {
            note = note.or(Some(id));
        }
        dropped = dropped.saturating_add(told.max(1));
        (count, bytes) = (count - 1, bytes - freed);
        let sql = "DELETE FROM afield_log WHERE n = ?1";
        db.conn.prepare_cached(sql)?.execute([place.0])?;
    }
    let id = note.unwrap_or_else(|| db.random_id());
    let sql = "INSERT INTO afield_log (n, id, at, bytes, dropped, level, module, message) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let (n, at) = place;
    let level = Level::Warn.as_str();
    let values = params![n, id, at, room, dropped, level, OWN_MODULE, DROPPED];
    db.conn.prepare_cached(sql)?.execute(values)?;
    db.crash_point("log-note")
}
