//! The table of devices' logs: see [`crate::storage::log`].

use afield_protocol::{Level, LogEntry};
use rusqlite::{Connection, Row, Transaction, TransactionBehavior, params};

use super::SqliteStorage;
use super::error::While;
use crate::storage::log::{
    Columns, DROPPED, LOG_BATCH, LOG_KEPT, LOG_OF_USER_A_DAY, LogLine, LogQuery, OWN_MODULE, day,
    storable, words,
};
use crate::storage::{Caller, StorageError};

const WRITING: &str = "writing the log";

const READING: &str = "reading the log";

const INSERT: &str = "INSERT INTO afield_device_log \
     (user, entry_id, device, at_ms, came, level, module, message, dropped) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";

/// See [`crate::storage::Storage::log`].
pub(super) fn log(
    storage: &SqliteStorage,
    caller: &Caller,
    entries: &[LogEntry],
) -> Result<(), StorageError> {
    let mut conn = storage.writer();
    let now = storage.seconds(&conn)?;
    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .while_(WRITING)?;
    keep(&tx, caller, &storable(entries), now).while_(WRITING)?;
    tx.commit().while_(WRITING)
}

fn keep(
    tx: &Transaction<'_>,
    caller: &Caller,
    entries: &[LogEntry],
    now: i64,
) -> rusqlite::Result<()> {
    let (begins, note) = day(now);
    let sql = "SELECT count(*) FROM afield_device_log WHERE user = ?1 AND came >= ?2";
    let mut taken: i64 =
        (tx.prepare_cached(sql)?).query_row(params![caller.user, begins], |row| row.get(0))?;
    let known = "SELECT 1 FROM afield_device_log WHERE user = ?1 AND entry_id = ?2";
    let mut known = tx.prepare_cached(known)?;
    let counted = "UPDATE afield_device_log SET dropped = ?3 \
                   WHERE user = ?1 AND entry_id = ?2 AND dropped < ?3";
    let mut insert = tx.prepare_cached(INSERT)?;
    let mut dropped = 0_i64;
    for entry in entries {
        if known.exists(params![caller.user, entry.id])? {
            let values = params![caller.user, entry.id, entry.dropped];
            tx.prepare_cached(counted)?.execute(values)?;
            continue;
        }
        if taken >= LOG_OF_USER_A_DAY {
            dropped += 1;
            continue;
        }
        taken += 1;
        insert.execute(params![
            caller.user,
            entry.id,
            caller.device,
            entry.at_ms,
            now,
            entry.level.as_str(),
            entry.module,
            entry.message,
            entry.dropped,
        ])?;
    }
    if dropped > 0 {
        say_dropped(tx, caller, note, dropped, now)?;
    }
    let sql = "DELETE FROM afield_device_log \
               WHERE n <= (SELECT max(n) FROM afield_device_log) - ?1";
    tx.prepare_cached(sql)?.execute([LOG_KEPT]).map(drop)
}

/// One entry for all that is dropped of a user in a day.
fn say_dropped(
    tx: &Transaction<'_>,
    caller: &Caller,
    note: [u8; 16],
    dropped: i64,
    now: i64,
) -> rusqlite::Result<()> {
    let sql = "UPDATE afield_device_log SET dropped = dropped + ?3, device = ?4 \
               WHERE user = ?1 AND entry_id = ?2";
    let values = params![caller.user, note, dropped, caller.device];
    if tx.prepare_cached(sql)?.execute(values)? > 0 {
        return Ok(());
    }
    let level = Level::Warn.as_str();
    (tx.prepare_cached(INSERT)?)
        .execute(params![
            caller.user,
            note,
            caller.device,
            now.saturating_mul(1_000),
            now,
            level,
            OWN_MODULE,
            DROPPED,
            dropped,
        ])
        .map(drop)
}

/// See [`crate::storage::Storage::logs`].
pub(super) fn logs(
    storage: &SqliteStorage,
    query: &LogQuery,
) -> Result<Vec<LogLine>, StorageError> {
    let levels: Vec<String> = (words(query.level).iter())
        .map(|word| format!("'{word}'"))
        .collect();
    let sql = format!(
        "SELECT n, user, device, at_ms, came, level, module, message, dropped \
         FROM afield_device_log WHERE (?1 IS NULL OR user = ?1) AND (?2 IS NULL OR device = ?2) \
         AND (?3 IS NULL OR module = ?3) AND came >= ?4 AND level IN ({}) \
         ORDER BY n DESC LIMIT ?5",
        levels.join(", ")
    );
    let most = i64::try_from(query.most).unwrap_or(i64::MAX);
    let read = |conn: &mut Connection| {
        let mut statement = conn.prepare_cached(&sql)?;
        let values = params![query.user, query.device, query.module, query.since, most];
        let rows = statement.query_map(values, columns)?;
        rows.collect::<Result<Vec<_>, _>>()
    };
    let found = storage.reading(|conn| read(conn).while_(READING))?;
    found.into_iter().rev().map(Columns::line).collect()
}

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok(Columns {
        line: (
            row.get(0)?,
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?,
        ),
        level: row.get(5)?,
        text: (row.get(6)?, row.get(7)?),
        dropped: row.get(8)?,
    })
}

/// Forgets entries that came before `before`, the oldest of all that are kept: how many, and
/// whether there may be more.
pub(super) fn forget(tx: &Transaction<'_>, before: i64) -> rusqlite::Result<(u64, bool)> {
    let sql = "DELETE FROM afield_device_log WHERE came < ?1 AND n IN \
               (SELECT n FROM afield_device_log ORDER BY n LIMIT ?2)";
    let gone = tx
        .prepare_cached(sql)?
        .execute(params![before, LOG_BATCH])?;
    Ok((gone as u64, i64::try_from(gone) == Ok(LOG_BATCH)))
}
