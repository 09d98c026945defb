//! What is forgotten: marks and ledger entries that are older than the retention.
//!
//! Both are numbered by the change number, so time is needed only to say which number was reached
//! how long ago: `afield_moment` notes that now and then. A horizon is raised, durably, before
//! anything below it goes: a server that stops in between has forgotten nothing that it still
//! claims to know. Rows go a few hundred at a time, so that nobody waits for long.

use std::sync::atomic::Ordering;

use afield_protocol::zoo::crash_point;
use rusqlite::types::Value as Cell;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params_from_iter};

use super::error::{While, crashed};
use super::marks::mark_table;
use super::sql_text::quote;
use super::{SqliteStorage, history, log};
use crate::storage::{Purged, Retention, StorageError};

const DOING: &str = "forgetting what is older than the retention";

/// Rows that are looked at in one go, and deleted in one transaction at most.
const BATCH: usize = 1_000;

/// Times that are noted while the marks are kept: so much later, in parts of that, they go.
const MOMENTS: i64 = 100;

/// The longest time between two, in seconds.
const MOMENT_MAX: i64 = 3_600;

/// See [`crate::storage::Storage::purge`].
pub(super) fn purge(
    storage: &SqliteStorage,
    retention: Retention,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<Purged, StorageError> {
    let mut purged = Purged::default();
    let Some(horizons) = raise(storage, retention)? else {
        purged.is_clock_behind = true;
        return Ok(purged);
    };
    crash_point("server-purge-raised").map_err(crashed)?;
    let mut tables = vec![Old::ledger(horizons.ledger)];
    tables.extend(storage.reading(|conn| marks(conn, horizons.marks).while_(DOING))?);
    for table in tables.iter().filter(|table| table.horizon > 0) {
        let mut after = None;
        while goes_on() {
            let batch = storage.reading(|conn| table.batch(conn, after.take()).while_(DOING))?;
            let Some(batch) = batch else { break };
            if batch.has_old {
                let gone = in_turn(storage, |tx| table.delete(tx, &batch).while_(DOING))?;
                crash_point("server-purge-batch").map_err(crashed)?;
                match table.is_ledger {
                    true => purged.groups += gone,
                    false => purged.marks += gone,
                }
            }
            after = Some(batch.last);
        }
    }
    let before = horizons.log_before;
    let mut may_be_more = true;
    while may_be_more && goes_on() {
        let (gone, more) = in_turn(storage, |tx| log::forget(tx, before).while_(DOING))?;
        purged.logs += gone;
        may_be_more = more;
    }
    Ok(purged)
}

/// Up to which change number all is forgotten.
struct Horizons {
    marks: i64,
    ledger: i64,
    /// When what came last of the logs that are forgotten, itself left out.
    log_before: i64,
}

/// Notes the time, and raises the horizons. `None` if the clock is behind what was noted before.
fn raise(storage: &SqliteStorage, retention: Retention) -> Result<Option<Horizons>, StorageError> {
    in_turn(storage, |tx| {
        let now = storage.seconds(tx)?;
        raise_at(tx, now, retention).while_(DOING)
    })
}

fn raise_at(
    tx: &Transaction<'_>,
    now: i64,
    retention: Retention,
) -> rusqlite::Result<Option<Horizons>> {
    let newest: Option<i64> = tx
        .query_row("SELECT max(at) FROM afield_moment", [], |row| row.get(0))
        .optional()?
        .flatten();
    // Whichever of both is wrong: nothing is lost by waiting.
    if newest.is_some_and(|newest| newest > now) {
        return Ok(None);
    }
    let apart = (retention.marks / MOMENTS).clamp(1, MOMENT_MAX);
    if newest.is_none_or(|newest| newest + apart <= now) {
        let sql = "INSERT OR IGNORE INTO afield_moment (change, at) \
                   SELECT change, ?1 FROM afield_clock";
        tx.execute(sql, [now])?;
    }
    let reached = |before: i64| -> rusqlite::Result<i64> {
        let sql = "SELECT coalesce(max(change), 0) FROM afield_moment WHERE at <= ?1";
        tx.query_row(sql, [before], |row| row.get(0))
    };
    let (marks, ledger) = (
        reached(now.saturating_sub(retention.marks))?,
        reached(now.saturating_sub(retention.ledger))?,
    );
    let sql = "UPDATE afield_node SET horizon = max(horizon, ?1), \
               ledger_horizon = max(ledger_horizon, ?2)";
    tx.execute(sql, [marks, ledger])?;
    tx.execute("DELETE FROM afield_moment WHERE change < ?1", [ledger])?;
    let sql = "SELECT horizon, ledger_horizon FROM afield_node";
    let horizons = tx.query_row(sql, [], |row| {
        Ok(Horizons {
            marks: row.get(0)?,
            ledger: row.get(1)?,
            log_before: now.saturating_sub(retention.marks),
        })
    })?;
    Ok(Some(horizons))
}

/// A transaction of its own, of the database that this server opened.
fn in_turn<T>(
    storage: &SqliteStorage,
    write: impl FnOnce(&Transaction<'_>) -> Result<T, StorageError>,
) -> Result<T, StorageError> {
    let mut conn = storage.writer();
    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .while_(DOING)?;
    // Devices are told from now on of nothing that lies before what is forgotten here.
    let told = history::raise(&tx, storage.epoch)?;
    let done = write(&tx)?;
    tx.commit().while_(DOING)?;
    storage.beacon.fetch_max(told, Ordering::AcqRel);
    Ok(done)
}

/// A primary key.
type Key = Vec<Cell>;

/// Rows that follow one another.
struct Batch {
    /// The key in front of the first; none for the first of all.
    after: Option<Key>,
    /// The last one's.
    last: Key,
    /// Whether any was old when it was read.
    has_old: bool,
}

/// A table of which rows are forgotten.
struct Old {
    name: String,
    /// Its primary key.
    key: Vec<String>,
    horizon: i64,
    is_ledger: bool,
}

/// The tables of marks.
fn marks(conn: &Connection, horizon: i64) -> rusqlite::Result<Vec<Old>> {
    let mut captured = conn.prepare("SELECT name FROM afield_table ORDER BY name")?;
    let names = captured.query_map([], |row| row.get::<_, String>(0))?;
    let mut key =
        conn.prepare("SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk")?;
    let mut tables = Vec::new();
    for name in names {
        let name = mark_table(&name?);
        let columns = key.query_map([&name], |row| row.get::<_, String>(0))?;
        tables.push(Old {
            key: columns
                .map(|name| Ok(quote(&name?)))
                .collect::<Result<_, rusqlite::Error>>()?,
            name,
            horizon,
            is_ledger: false,
        });
    }
    Ok(tables)
}

impl Old {
    fn ledger(horizon: i64) -> Self {
        Self {
            name: "afield_ledger".into(),
            key: vec!["user".into(), "group_id".into()],
            horizon,
            is_ledger: true,
        }
    }

    /// The next rows behind a key, whatever their age; none if there are no more.
    fn batch(&self, conn: &Connection, after: Option<Key>) -> rusqlite::Result<Option<Batch>> {
        let (name, key) = (quote(&self.name), self.key.join(", "));
        let behind = match &after {
            Some(_) => format!("WHERE ({key}) > ({})", self.holes()),
            None => String::new(),
        };
        let sql = format!("SELECT {key}, change FROM {name} {behind} ORDER BY {key} LIMIT {BATCH}");
        let mut statement = conn.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(after.iter().flatten()))?;
        let (mut last, mut has_old) = (None, false);
        while let Some(row) = rows.next()? {
            has_old |= row.get::<_, i64>(self.key.len())? <= self.horizon;
            last = Some(
                (0..self.key.len())
                    .map(|at| row.get(at))
                    .collect::<Result<_, _>>()?,
            );
        }
        drop(rows);
        Ok(last.map(|last| Batch {
            after,
            last,
            has_old,
        }))
    }

    /// Deletes what is old in a batch, as it is now.
    fn delete(&self, tx: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<u64> {
        let (name, key, holes) = (quote(&self.name), self.key.join(", "), self.holes());
        let behind = match batch.after {
            Some(_) => format!("AND ({key}) > ({holes})"),
            None => String::new(),
        };
        let old = format!("FROM {name} WHERE change <= ? {behind} AND ({key}) <= ({holes})");
        let mut cells = vec![Cell::Integer(self.horizon)];
        cells.extend(batch.after.iter().flatten().cloned());
        cells.extend(batch.last.iter().cloned());
        if self.is_ledger {
            for table in ["afield_number", "afield_inbox", "afield_inbox_group"] {
                let sql = format!("DELETE FROM {table} WHERE ({key}) IN (SELECT {key} {old})");
                tx.prepare_cached(&sql)?.execute(params_from_iter(&cells))?;
            }
        }
        let sql = format!("DELETE {old}");
        let gone = tx.prepare_cached(&sql)?.execute(params_from_iter(cells))?;
        Ok(gone as u64)
    }

    fn holes(&self) -> String {
        vec!["?"; self.key.len()].join(", ")
    }
}
