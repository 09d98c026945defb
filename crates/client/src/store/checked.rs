//! When rows were last compared with the server's, and what came of it.

use afield_protocol::Model;
use rusqlite::{OptionalExtension, params};

use super::db::Db;
use super::sync_store::SyncStore;
use crate::error::Error;

/// How a comparison of a unit ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Entities whose rows are exactly the server's.
    pub equal: Vec<String>,
    /// Whether they are of all entities that were compared.
    pub all_equal: bool,
    /// Rows that differed.
    pub found: u64,
    /// Rows that were repaired.
    pub repaired: u64,
}

/// What a store says of its comparisons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyStatus {
    /// Since when nothing else is known than that all units are exactly the server's, in
    /// milliseconds since 1970: the oldest of their newest proofs. `None` while one has no proof,
    /// or differed since.
    pub verified_ms: Option<i64>,
    /// Rows that were found to differ, of all times.
    pub found: u64,
    /// Rows that were repaired, of all times.
    pub repaired: u64,
    /// Rows that only this device has, or has otherwise, and that are still here.
    pub uncaptured: u64,
}

impl SyncStore {
    /// Whether the rows of a unit were last compared longer ago than `every_ms`. A store that has
    /// just been made has what the server sent a moment ago: its time begins to run now.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn is_check_due(&mut self, unit: &str, every_ms: i64) -> Result<bool, Error> {
        let now = self.now_ms();
        let sql = "SELECT checked_at FROM afield_verify WHERE unit = ?1";
        let checked: Option<i64> = (self.db.conn.prepare_cached(sql)?)
            .query_row([unit], |row| row.get(0))
            .optional()?;
        if let Some(checked) = checked {
            // A clock that was ahead for a while must not put checks off for ever.
            return Ok(now.abs_diff(checked) >= every_ms.unsigned_abs());
        }
        self.db.write("check-begins", |db| {
            let sql = "INSERT OR IGNORE INTO afield_verify (unit, checked_at) VALUES (?1, ?2)";
            db.conn.execute(sql, params![unit, now])?;
            Ok(false)
        })
    }

    /// Notes how a comparison of a unit ended.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn note_checked(&mut self, unit: &str, checked: &Checked) -> Result<(), Error> {
        self.db.write("checked", |db| {
            let now = db.env.now_ms();
            for entity in &checked.equal {
                let sql = "UPDATE afield_uncaptured SET repaired_at = ?2 \
                           WHERE entity = ?1 AND repaired_at IS NULL";
                db.conn.execute(sql, params![entity, now])?;
            }
            db.crash_point("checked-entities")?;
            let sql = "INSERT INTO afield_verify (unit, checked_at, verified_at, found, repaired) \
                       VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (unit) DO UPDATE SET \
                       checked_at = excluded.checked_at, verified_at = excluded.verified_at, \
                       found = found + excluded.found, repaired = repaired + excluded.repaired";
            let verified = checked.all_equal.then_some(now);
            let (found, repaired) = (number(checked.found), number(checked.repaired));
            let values = params![unit, now, verified, found, repaired];
            db.conn.execute(sql, values)?;
            Ok(())
        })
    }
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

pub(super) fn status(db: &Db, model: Option<&Model>) -> Result<VerifyStatus, Error> {
    let sql = "SELECT coalesce(sum(found), 0), coalesce(sum(repaired), 0), \
               (SELECT count(*) FROM afield_uncaptured WHERE repaired_at IS NULL) \
               FROM afield_verify";
    let count = |at: usize, row: &rusqlite::Row<'_>| -> rusqlite::Result<u64> {
        Ok(row.get::<_, i64>(at)?.unsigned_abs())
    };
    let mut status = db.conn.query_row(sql, [], |row| {
        Ok(VerifyStatus {
            verified_ms: None,
            found: count(0, row)?,
            repaired: count(1, row)?,
            uncaptured: count(2, row)?,
        })
    })?;
    let sql = "SELECT verified_at FROM afield_verify WHERE unit = ?1";
    let mut statement = db.conn.prepare_cached(sql)?;
    let units = model.map_or(&[][..], |model| &model.units);
    for (at, unit) in units.iter().enumerate() {
        let verified: Option<i64> = statement
            .query_row([&unit.name], |row| row.get(0))
            .optional()?
            .flatten();
        status.verified_ms = match (at, status.verified_ms, verified) {
            (0, _, verified) => verified,
            (_, Some(oldest), Some(verified)) => Some(oldest.min(verified)),
            _ => None,
        };
    }
    Ok(status)
}
