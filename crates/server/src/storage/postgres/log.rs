//! The table of devices' logs: see [`crate::storage::log`].

use afield_protocol::{Level, LogEntry};
use tokio_postgres::Row;

use super::PostgresStorage;
use super::link::Link;
use crate::storage::inbox::shown;
use crate::storage::log::{
    Columns, DROPPED, LOG_BATCH, LOG_KEPT, LOG_OF_USER_A_DAY, LogLine, LogQuery, OWN_MODULE, day,
    storable, words,
};
use crate::storage::{Caller, StorageError};

const WRITING: &str = "writing the log";

const READING: &str = "reading the log";

/// See [`crate::storage::Storage::log`].
pub(super) fn log(
    storage: &PostgresStorage,
    caller: &Caller,
    entries: &[LogEntry],
) -> Result<(), StorageError> {
    let entries = storable(entries);
    storage.pool.with(async |link| {
        let now = storage.seconds(link).await?;
        link.begin("BEGIN", WRITING).await?;
        // The entries of one user come one after another: what is known burns no number, and what
        // is taken in a day is counted.
        let sql = "SELECT pg_advisory_xact_lock(hashtextextended($1, 2))";
        link.query(sql, &[&caller.user], WRITING).await?;
        keep(link, caller, &entries, now).await?;
        link.commit(WRITING).await
    })
}

async fn keep(
    link: &Link,
    caller: &Caller,
    entries: &[LogEntry],
    now: i64,
) -> Result<(), StorageError> {
    let (begins, note) = day(now);
    let (user, device) = (&caller.user, shown(&caller.device));
    let ids: Vec<&[u8]> = entries.iter().map(|it| it.id.as_slice()).collect();
    let dropped: Vec<i64> = entries.iter().map(|it| i64::from(it.dropped)).collect();
    let sql = "UPDATE afield.device_log l SET dropped = e.dropped \
               FROM unnest($2::bytea[], $3::int8[]) e (id, dropped) \
               WHERE l.user_name = $1 AND l.entry_id = e.id AND l.dropped < e.dropped";
    link.execute(sql, &[user, &ids, &dropped], WRITING).await?;
    let sql = "WITH new AS (
          SELECT e.* FROM unnest($2::bytea[], $3::int8[], $4::int8[], $5::text[], $6::text[], \
            $7::text[]) WITH ORDINALITY e (id, dropped, at_ms, level, module, message, place)
          WHERE NOT EXISTS (SELECT FROM afield.device_log l \
            WHERE l.user_name = $1 AND l.entry_id = e.id)
        ), room AS (
          SELECT greatest(0, $8::int8 - count(*)) AS entries FROM afield.device_log
          WHERE user_name = $1 AND came >= $9
        ), kept AS (
          INSERT INTO afield.device_log \
            (user_name, entry_id, device, at_ms, came, level, module, message, dropped)
          SELECT $1, id, $10, at_ms, $11, level, module, message, dropped FROM new \
          ORDER BY place LIMIT (SELECT entries FROM room) RETURNING n
        )
        SELECT (SELECT count(*) FROM new) - (SELECT count(*) FROM kept)";
    let at: Vec<i64> = entries.iter().map(|it| it.at_ms).collect();
    let levels: Vec<&str> = entries.iter().map(|it| it.level.as_str()).collect();
    let modules: Vec<&str> = entries.iter().map(|it| it.module.as_str()).collect();
    let messages: Vec<&str> = entries.iter().map(|it| it.message.as_str()).collect();
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 11] = [
        user,
        &ids,
        &dropped,
        &at,
        &levels,
        &modules,
        &messages,
        &LOG_OF_USER_A_DAY,
        &begins,
        &device,
        &now,
    ];
    let too_many: i64 = link.query_one(sql, &values, WRITING).await?.get(0);
    if too_many > 0 {
        say_dropped(link, (user, &device), &note, too_many, now).await?;
    }
    let sql = "DELETE FROM afield.device_log WHERE ctid = ANY (ARRAY( \
               SELECT ctid FROM afield.device_log \
               WHERE n <= (SELECT max(n) FROM afield.device_log) - $1::int8 \
               ORDER BY n LIMIT $2 FOR UPDATE SKIP LOCKED))";
    link.execute(sql, &[&LOG_KEPT, &LOG_BATCH], WRITING)
        .await
        .map(drop)
}

/// One entry for all that is dropped of a user in a day.
async fn say_dropped(
    link: &Link,
    (user, device): (&String, &String),
    note: &[u8],
    dropped: i64,
    now: i64,
) -> Result<(), StorageError> {
    let sql = "UPDATE afield.device_log SET dropped = dropped + $3, device = $4 \
               WHERE user_name = $1 AND entry_id = $2";
    let told = (link.execute(sql, &[user, &note, &dropped, device], WRITING)).await?;
    if told > 0 {
        return Ok(());
    }
    let sql = "INSERT INTO afield.device_log \
               (user_name, entry_id, device, at_ms, came, level, module, message, dropped) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    let (at, level) = (now.saturating_mul(1_000), Level::Warn.as_str());
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 9] = [
        user,
        &note,
        device,
        &at,
        &now,
        &level,
        &OWN_MODULE,
        &DROPPED,
        &dropped,
    ];
    link.execute(sql, &values, WRITING).await.map(drop)
}

/// See [`crate::storage::Storage::logs`].
pub(super) fn logs(
    storage: &PostgresStorage,
    query: &LogQuery,
) -> Result<Vec<LogLine>, StorageError> {
    let sql = "SELECT n, user_name, device, at_ms, came, level, module, message, dropped \
               FROM afield.device_log WHERE ($1::text IS NULL OR user_name = $1) \
               AND ($2::text IS NULL OR device = $2) AND ($3::text IS NULL OR module = $3) \
               AND came >= $4 AND level = ANY ($5) ORDER BY n DESC LIMIT $6";
    let most = i64::try_from(query.most).unwrap_or(i64::MAX);
    let levels = words(query.level);
    let rows = storage.pool.with(async |link| {
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 6] = [
            &query.user,
            &query.device,
            &query.module,
            &query.since,
            &levels,
            &most,
        ];
        link.query(sql, &values, READING).await
    })?;
    rows.iter().rev().map(|row| columns(row).line()).collect()
}

fn columns(row: &Row) -> Columns {
    Columns {
        line: (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4)),
        level: row.get(5),
        text: (row.get(6), row.get(7)),
        dropped: row.get(8),
    }
}

/// Forgets entries that came before `before`, the oldest of all that are kept, while `goes_on`.
pub(super) async fn forget(
    link: &Link,
    before: i64,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<u64, StorageError> {
    let sql = "DELETE FROM afield.device_log WHERE came < $1 AND ctid = ANY (ARRAY( \
               SELECT ctid FROM afield.device_log ORDER BY n LIMIT $2 FOR UPDATE SKIP LOCKED))";
    let mut gone = 0;
    while goes_on() {
        let batch = link.execute(sql, &[&before, &LOG_BATCH], WRITING).await?;
        gone += batch;
        if i64::try_from(batch) != Ok(LOG_BATCH) {
            break;
        }
    }
    Ok(gone)
}
