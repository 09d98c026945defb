//! What is forgotten: marks and ledger entries that are older than the retention.
//!
//! Both name transactions, so time is needed only to say which of these had ended how long ago:
//! `afield.beacon` notes that now and then. A horizon is raised, durably, before anything below it
//! goes: a server that stops in between has forgotten nothing that it still claims to know. Rows go
//! a few pages at a time, so that nobody waits for long.

use std::cell::RefCell;

use super::PostgresStorage;
use super::capture::mark_table;
use super::duties::{PAGES, note, sweep};
use super::epoch::{self, Epoch};
use super::link::Link;
use super::log;
use crate::storage::{Purged, Retention, StorageError};

const DOING: &str = "forgetting what is older than the retention";

/// Groups that are forgotten in one transaction.
const BATCH: i64 = 1_000;

/// Times that are noted while the marks are kept: so much later, in parts of that, they go.
const MOMENTS: i64 = 100;

/// The longest time between two, in seconds.
const MOMENT_MAX: i64 = 3_600;

/// Up to which transaction, itself left out, all is forgotten.
struct Horizons {
    marks: String,
    ledger: String,
}

/// See [`crate::storage::Storage::purge`].
pub(super) fn purge(
    storage: &PostgresStorage,
    retention: Retention,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<Purged, StorageError> {
    let goes_on = RefCell::new(goes_on);
    let (purged, epoch) = storage.pool.with(async |link| {
        let mut purged = Purged::default();
        let now = storage.seconds(link).await?;
        let Some((horizons, epoch)) = raise(link, now, retention).await? else {
            purged.is_clock_behind = true;
            return Ok((purged, None));
        };
        let goes_on = &mut || (goes_on.borrow_mut())();
        purged.groups = groups(link, &horizons.ledger, goes_on).await?;
        purged.marks = marks(link, &horizons.marks, goes_on).await?;
        let before = now.saturating_sub(retention.marks);
        purged.logs = log::forget(link, before, goes_on).await?;
        Ok((purged, epoch))
    })?;
    // Devices are told from now on of nothing that lies before what is forgotten here.
    if let Some(epoch) = epoch {
        storage.learn(epoch);
    }
    Ok(purged)
}

/// Notes the time, and raises the horizons. `None` if the clock is behind what was noted before.
async fn raise(
    link: &Link,
    now: i64,
    retention: Retention,
) -> Result<Option<(Horizons, Option<Epoch>)>, StorageError> {
    link.begin("BEGIN", DOING).await?;
    let sql = "SELECT floor(extract(epoch FROM max(at)))::int8 FROM afield.beacon";
    let newest: Option<i64> = link.query_one(sql, &[], DOING).await?.get(0);
    // Whichever of both is wrong: nothing is lost by waiting.
    if newest.is_some_and(|newest| newest > now) {
        link.commit(DOING).await?;
        return Ok(None);
    }
    let epoch = epoch::raise_in(link).await?;
    note(link, now, (retention.marks / MOMENTS).clamp(1, MOMENT_MAX)).await?;
    let (marks, _) = reached(link, now.saturating_sub(retention.marks)).await?;
    let (ledger, at) = reached(link, now.saturating_sub(retention.ledger)).await?;
    let sql = "UPDATE afield.node SET horizon = greatest(horizon, $1::text::xid8), \
               ledger_horizon = greatest(ledger_horizon, $2::text::xid8) \
               RETURNING horizon::text, ledger_horizon::text";
    let row = link.query_one(sql, &[&marks, &ledger], DOING).await?;
    let horizons = Horizons {
        marks: row.get(0),
        ledger: row.get(1),
    };
    let sql = "DELETE FROM afield.reset WHERE xid < $1::text::xid8";
    link.execute(sql, &[&horizons.marks], DOING).await?;
    let sql = "DELETE FROM afield.beacon WHERE at < $1::text::timestamptz";
    link.execute(sql, &[&at], DOING).await?;
    link.commit(DOING).await?;
    Ok(Some((horizons, epoch)))
}

/// The oldest transaction that was running at the last time noted up to `before`, and that time;
/// 0 if none was noted.
async fn reached(link: &Link, before: i64) -> Result<(String, String), StorageError> {
    let sql = "SELECT pg_snapshot_xmin(snapshot)::text, at::text FROM afield.beacon \
               WHERE at <= to_timestamp($1::int8) ORDER BY at DESC LIMIT 1";
    let rows = link.query(sql, &[&before], DOING).await?;
    Ok(match rows.first() {
        Some(row) => (row.get(0), row.get(1)),
        None => ("0".to_owned(), "-infinity".to_owned()),
    })
}

async fn groups(
    link: &Link,
    horizon: &String,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<u64, StorageError> {
    let sql = "
        WITH old AS (
          DELETE FROM afield.ledger WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM afield.ledger WHERE xid < $1::text::xid8
            ORDER BY xid LIMIT $2 FOR UPDATE SKIP LOCKED))
          RETURNING user_name, group_id
        ), numbers AS (
          DELETE FROM afield.number n USING old
          WHERE n.user_name = old.user_name AND n.group_id = old.group_id
        ), entries AS (
          DELETE FROM afield.inbox i USING old
          WHERE i.user_name = old.user_name AND i.group_id = old.group_id
        ), inbox AS (
          DELETE FROM afield.inbox_group g USING old
          WHERE g.user_name = old.user_name AND g.group_id = old.group_id
        )
        SELECT count(*) FROM old";
    let mut gone = 0;
    while goes_on() {
        let row = link.query_one(sql, &[&horizon, &BATCH], DOING).await?;
        let batch: i64 = row.get(0);
        gone += batch.unsigned_abs();
        if batch < BATCH {
            break;
        }
    }
    Ok(gone)
}

async fn marks(
    link: &Link,
    horizon: &String,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<u64, StorageError> {
    let sql = "SELECT id FROM afield.capture ORDER BY id";
    let ids = link.query(sql, &[], DOING).await?;
    let mut gone = 0;
    for id in ids.iter().map(|row| row.get::<_, i32>(0)) {
        let mark = mark_table(id);
        let sql = "SELECT pg_relation_size($1::text::regclass) \
                   / current_setting('block_size')::int8";
        let pages: i64 = link.query_one(sql, &[&mark], DOING).await?.get(0);
        let mut first = 0;
        while first < pages && goes_on() {
            // Its text is another one for each place: not one to be kept prepared.
            let swept = link.client.execute(&sweep(&mark, first), &[horizon]).await;
            gone += link.noted(swept, DOING)?;
            first += PAGES;
        }
    }
    Ok(gone)
}
