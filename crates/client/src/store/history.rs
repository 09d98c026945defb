//! History: what became of groups stays readable for a while, and can be offered to a server that
//! lost it.

use rusqlite::params;

use super::db::{Db, Loaded};
use super::{inbox, vacuum};
use crate::error::Error;

/// How long: from the last that became of a group on, however long before it was made.
pub(super) const HISTORY_MS: i64 = 14 * 24 * 60 * 60 * 1_000;

/// How much: what was typed, what was there before, and the bytes that were sent. It is the app's
/// space, on a device that may have little.
const HISTORY_BYTES: i64 = 32 * 1024 * 1024;

/// Groups that are over since before `?1`, by their place in the outbox.
const OLD: &str = "SELECT g.n FROM afield_group AS g \
     WHERE g.state IN ('settled', 'dropped') AND g.made_at < ?1 \
     AND NOT EXISTS (SELECT 1 FROM afield_change AS c JOIN afield_outcome AS o ON o.change_n = c.n \
                     WHERE c.group_n = g.n AND o.stored_at >= ?1)";

/// Those up to place `?1`.
const UP_TO: &str = "SELECT n FROM afield_group WHERE state IN ('settled', 'dropped') AND n <= ?1";

/// The newest one that is too much: with those behind it there are more than `?1` bytes.
const TOO_MUCH: &str = "SELECT max(n) FROM (SELECT g.n, sum(coalesce(length(g.frozen), 0) + \
       (SELECT coalesce(sum(length(key) + length(base) + length(sets) \
                            + coalesce(length(theirs), 0)), 0) \
        FROM afield_change WHERE group_n = g.n)) OVER (ORDER BY g.n DESC) AS bytes \
     FROM afield_group AS g WHERE g.state IN ('settled', 'dropped')) WHERE bytes > ?1";

/// Bytes of all groups, settled or not.
const BYTES: &str = "SELECT (SELECT coalesce(sum(length(frozen)), 0) FROM afield_group) + \
     (SELECT coalesce(sum(length(key) + length(base) + length(sets) \
                          + coalesce(length(theirs), 0)), 0) FROM afield_change)";

/// Drops history that is old enough, and, if it `grew`, the oldest of what is too much. What an
/// overlay needs stays.
pub(super) fn prune(db: &Db, now: i64, grew: bool) -> Result<(), Error> {
    drop_groups(db, OLD, now - HISTORY_MS)?;
    let bytes = |sql| -> rusqlite::Result<i64> {
        db.conn.prepare_cached(sql)?.query_row([], |row| row.get(0))
    };
    if grew && bytes(BYTES)? > HISTORY_BYTES {
        let mut statement = db.conn.prepare_cached(TOO_MUCH)?;
        let newest: Option<i64> = statement.query_row([HISTORY_BYTES], |row| row.get(0))?;
        if let Some(newest) = newest {
            drop_groups(db, UP_TO, newest)?;
        }
    }
    let sql = "DELETE FROM afield_outcome WHERE stored_at < ?1 \
               AND NOT EXISTS (SELECT 1 FROM afield_change WHERE n = change_n)";
    let before = now - HISTORY_MS;
    db.conn.prepare_cached(sql)?.execute([before])?;
    inbox::prune(db, before)?;
    db.crash_point("prune")
}

fn drop_groups(db: &Db, which: &str, bound: i64) -> Result<(), Error> {
    if let Some(loaded) = &db.loaded {
        erase_later(db, loaded, which, bound)?;
    }
    for sql in [
        format!("DELETE FROM afield_change WHERE overlay = 0 AND group_n IN ({which})"),
        format!(
            "DELETE FROM afield_group WHERE n IN ({which}) \
             AND NOT EXISTS (SELECT 1 FROM afield_change WHERE group_n = afield_group.n)"
        ),
    ] {
        db.conn.prepare_cached(&sql)?.execute([bound])?;
        db.crash_point("prune")?;
    }
    Ok(())
}

/// Notes that what goes of entities with `erase` is to be erased.
fn erase_later(db: &Db, loaded: &Loaded, which: &str, bound: i64) -> Result<(), Error> {
    let sql = format!(
        "SELECT 1 FROM afield_change WHERE entity = ?2 AND overlay = 0 AND group_n IN ({which})"
    );
    for table in loaded.tables.iter().filter(|table| table.entity.erase) {
        let values = params![bound, table.entity.name];
        if db.conn.prepare_cached(&sql)?.exists(values)? {
            vacuum::due(db, table)?;
        }
    }
    Ok(())
}
