//! Entities that are written only while the server can be reached (`edit = "online"`).
//!
//! What counts is an answer of the server, for as long as it is fresh: nothing has to be taken
//! back when a process ends or dies, and whoever writes into the file is held to it.

use rusqlite::params;

use super::db::Db;
use super::tables::Table;
use super::triggers::raise;
use crate::error::Error;

impl Table {
    /// The statement that refuses a write while the server cannot be reached.
    pub(super) fn needs_network(&self) -> String {
        if !self.entity.edit_online {
            return String::new();
        }
        let message = format!(
            "{} is written only while the server can be reached; synchronise first",
            self.entity.name
        );
        let refuse = raise("edit-needs-network", "", &message);
        // The milliseconds since 1970, in the words of every SQLite.
        let now = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)";
        format!(
            "SELECT {refuse} WHERE NOT EXISTS \
             (SELECT 1 FROM afield_network WHERE online_until > {now});"
        )
    }
}

/// Notes that the server answered just now, or that it cannot be reached.
pub(super) fn note(db: &mut Db, is_online: bool) -> Result<(), Error> {
    let is_needed = |db: &Db| {
        let loaded = db.loaded.as_ref();
        loaded.is_some_and(|loaded| loaded.model.entities.iter().any(|it| it.edit_online))
    };
    db.reload()?;
    if !is_needed(db) {
        return Ok(());
    }
    let until = match is_online {
        true => {
            let freshness_ms = db.loaded()?.model.limits.freshness_ms;
            db.env.now_ms().saturating_add(freshness_ms)
        }
        false => 0,
    };
    db.write("network", |db| {
        let sql = "UPDATE afield_network SET online_until = ?1 WHERE online_until <> ?1";
        db.conn.execute(sql, params![until])?;
        Ok(())
    })
}
