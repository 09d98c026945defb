//! Rewriting the file: what `erase = true` of an entity adds to deleting its rows.
//!
//! ```text
//!   rows leave, and in the same transaction: afield_erase
//!                                               │
//!   end of a sync, opening for one ─────────────┴──► log emptied ─► VACUUM ─► log emptied ─► done
//!                                      a reader or a writer is there: later ──┘
//! ```
//!
//! Deleted cells are overwritten (`secure_delete`), but not every copy of them: SQLite leaves some
//! in the gaps of pages when it moves cells between pages, and programs that do not overwrite
//! leave old versions behind. Only a file that is written anew from what is there has none of it.
//! That it must be is part of the transaction in which the rows leave, so that it is not forgotten
//! by a process that dies, and done as soon as nobody else reads or writes.

use rusqlite::{OptionalExtension, params};

use super::db::Db;
use super::tables::Table;
use crate::error::Error;

/// Notes that something of rows of this entity was deleted, if it is to be erased for good.
pub(super) fn due(db: &Db, table: &Table) -> Result<(), Error> {
    match table.entity.erase {
        true => due_for(db),
        false => Ok(()),
    }
}

/// Notes that something was deleted that is to be erased for good.
pub(super) fn due_for(db: &Db) -> Result<(), Error> {
    let sql = "INSERT INTO afield_erase (one, times, done) VALUES (1, 1, 0) \
               ON CONFLICT (one) DO UPDATE SET times = times + 1";
    db.conn.prepare_cached(sql)?.execute([])?;
    db.crash_point("erase-due")
}

/// Whether something is still to be erased.
pub(super) fn is_due(db: &Db) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM afield_erase WHERE done < times";
    Ok(db.conn.prepare_cached(sql)?.exists([])?)
}

/// Writes the file anew if that is due. False if it is still due: others read or write.
///
/// # Errors
/// The file cannot be written; it is still due then, and what it held is there.
pub(super) fn vacuum(db: &mut Db) -> Result<bool, Error> {
    let sql = "SELECT times FROM afield_erase WHERE done < times";
    let times: Option<i64> = (db.conn.prepare_cached(sql)?)
        .query_row([], |row| row.get(0))
        .optional()?;
    let Some(times) = times else {
        return Ok(true);
    };
    // Who reads now would keep the old pages in the log, beside a copy of the whole file.
    if !db.empty_log()? || !db.vacuum()? {
        return Ok(false);
    }
    db.crash_point("rewritten")?;
    if !db.empty_log()? {
        return Ok(false);
    }
    db.crash_point("log-emptied")?;
    // What left since then is still there.
    let sql = "UPDATE afield_erase SET done = max(done, ?1) RETURNING done >= times";
    let mut statement = db.conn.prepare_cached(sql)?;
    Ok(statement.query_row(params![times], |row| row.get(0))?)
}
