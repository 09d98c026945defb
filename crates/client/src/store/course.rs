//! How far a download has come, kept from one sync to the next.

use rusqlite::{OptionalExtension, params};

use super::db::Db;
use super::sync_store::SyncStore;
use crate::error::Error;

/// A download that a sync did not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Rows that are here.
    pub rows: u64,
    /// Rows that are to come, by the server's estimate.
    pub remaining: u64,
}

/// Keeps what a sync leaves behind of the unit that it was at, and forgets units that are all here.
pub(super) fn keep(
    db: &Db,
    begun: Option<(&str, Begun)>,
    received: &[(String, i64)],
) -> Result<(), Error> {
    let sql = "DELETE FROM afield_course WHERE unit = ?1";
    for (unit, _) in received {
        db.conn.prepare_cached(sql)?.execute([unit])?;
    }
    let Some((unit, begun)) = begun else {
        return Ok(());
    };
    let sql = "INSERT INTO afield_course (unit, rows, remaining) VALUES (?1, ?2, ?3) \
               ON CONFLICT (unit) DO UPDATE \
               SET rows = excluded.rows, remaining = excluded.remaining";
    let number = |rows: u64| i64::try_from(rows).unwrap_or(i64::MAX);
    let values = params![unit, number(begun.rows), number(begun.remaining)];
    db.conn.prepare_cached(sql)?.execute(values)?;
    db.crash_point("course")
}

impl SyncStore {
    /// How far the download of a unit had come, if an earlier sync did not end it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn begun(&self, unit: &str) -> Result<Option<Begun>, Error> {
        let sql = "SELECT rows, remaining FROM afield_course WHERE unit = ?1";
        let mut select = self.db.conn.prepare_cached(sql)?;
        let begun = select.query_row([unit], |row| {
            let (rows, remaining): (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok(Begun {
                rows: rows.unsigned_abs(),
                remaining: remaining.unsigned_abs(),
            })
        });
        Ok(begun.optional()?)
    }
}
