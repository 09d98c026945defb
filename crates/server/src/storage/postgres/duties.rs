//! What a prepared database needs now and then: a sign of life, a look at the capture, and that old
//! marks are forgotten. Any number of servers may do it at once.

use std::time::Duration;

use tokio_postgres::{Client, Transaction};

use super::capture::mark_table;
use super::epoch::{self, Epoch};
use super::error::While;
use super::link::Link;
use crate::storage::StorageError;

/// A capture that is not what it was; devices load its table again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The table's name when it was captured.
    pub table: String,
    /// What differs, for the log.
    pub difference: String,
}

/// What was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Marks.
    pub marks: u64,
    /// Transactions from this one on are whole; `None`: no beacon is old enough.
    pub horizon: Option<u64>,
}

/// Pages of a table of marks that one transaction looks at.
pub(super) const PAGES: i64 = 64;

/// Seconds between two beacons that are kept: by them it is told what is older than the retention.
const APART: i64 = 60;

/// What servers agree by on who does the duties: "afield" and a number in ASCII.
const DUTIES: i64 = 0x61_6669_656c_6432;

/// Notes how far the database has come.
///
/// # Errors
/// The database failed.
pub async fn beacon(client: &Client) -> Result<(), StorageError> {
    let sql = "INSERT INTO afield.beacon DEFAULT VALUES ON CONFLICT DO NOTHING";
    client.execute(sql, &[]).await.while_("noting a beacon")?;
    Ok(())
}

/// Notes how far the present epoch has come, if it has come any further, and now and then what time
/// it is; unless another server is about to.
pub(super) async fn keep_beacons(link: &Link, now: i64) -> Result<Option<Epoch>, StorageError> {
    let doing = "noting a beacon";
    link.begin("BEGIN", doing).await?;
    let sql = "SELECT pg_try_advisory_xact_lock($1)";
    let is_mine: bool = link.query_one(sql, &[&DUTIES], doing).await?.get(0);
    let mut epoch = None;
    if is_mine {
        epoch = epoch::keep_in(link).await?;
        if epoch.is_some() {
            note(link, now, APART).await?;
        }
    }
    link.commit(doing).await?;
    Ok(epoch)
}

/// Notes the time, unless one was noted less than `apart` seconds before.
pub(super) async fn note(link: &Link, now: i64, apart: i64) -> Result<(), StorageError> {
    let sql = "INSERT INTO afield.beacon (at) SELECT to_timestamp($1::int8) WHERE NOT EXISTS \
               (SELECT FROM afield.beacon WHERE at > to_timestamp($1::int8 - $2::int8)) \
               ON CONFLICT DO NOTHING";
    link.execute(sql, &[&now, &apart], "noting a beacon")
        .await?;
    Ok(())
}

/// Compares triggers, columns and partitions with what they were, and notes a reset for each
/// capture where something could have gone unmarked. Writes nothing if all is as it was.
///
/// # Errors
/// The database failed.
pub async fn check_capture(client: &Client) -> Result<Vec<Changed>, StorageError> {
    let sql = "SELECT c.table_name, k.difference FROM afield.check_capture() k \
               JOIN afield.capture c ON c.id = k.changed ORDER BY c.id";
    let rows = client
        .query(sql, &[])
        .await
        .while_("checking the capture")?;
    let changed = |row: &tokio_postgres::Row| Changed {
        table: row.get(0),
        difference: row.get(1),
    };
    Ok(rows.iter().map(changed).collect())
}

/// Transactions that have written and not ended for a minute, in words: what they wrote is on no
/// device before they end, and marks are kept from then on.
///
/// # Errors
/// The database failed.
pub(super) async fn held_back(link: &Link) -> Result<Vec<String>, StorageError> {
    let sql = "
        SELECT format('a transaction of `%s` (process %s, `%s`) has been open since %s UTC',
            a.usename, a.pid, a.application_name,
            to_char(a.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'))
        FROM pg_stat_activity a
        WHERE a.datname = current_database() AND a.backend_xid IS NOT NULL
          AND a.xact_start < clock_timestamp() - interval '1 minute'
        UNION ALL
        SELECT format('the prepared transaction `%s` of `%s` has waited since %s UTC',
            p.gid, p.owner, to_char(p.prepared AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS'))
        FROM pg_prepared_xacts p
        WHERE p.database = current_database()
          AND p.prepared < clock_timestamp() - interval '1 minute'
        ORDER BY 1";
    let rows = link
        .query(sql, &[], "looking for open transactions")
        .await?;
    let told = |row: &tokio_postgres::Row| {
        let who: String = row.get(0);
        format!("{who}: what it wrote is on no device before it ends")
    };
    Ok(rows.iter().map(told).collect())
}

/// Forgets marks that only checkpoints older than `keep` could ask for, in transactions of a few
/// pages, and asks `goes_on` between them. Each notes first how far it forgets.
///
/// # Errors
/// The database failed.
pub async fn purge(
    client: &mut Client,
    keep: Duration,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<Forgotten, StorageError> {
    let doing = "forgetting what is older than the retention";
    let sql = "SELECT at::text, pg_snapshot_xmin(snapshot)::text FROM afield.beacon \
               WHERE at <= clock_timestamp() - make_interval(secs => $1) \
               ORDER BY at DESC LIMIT 1";
    let Some(row) = (client.query_opt(sql, &[&keep.as_secs_f64()]).await).while_(doing)? else {
        return Ok(Forgotten::default());
    };
    let (at, horizon): (String, String) = (row.get(0), row.get(1));
    let mut forgotten = Forgotten {
        marks: 0,
        horizon: horizon.parse().ok(),
    };
    let tx = client.transaction().await.while_(doing)?;
    raise(&tx, &horizon).await?;
    let sql = "DELETE FROM afield.reset WHERE xid < $1::text::xid8";
    tx.execute(sql, &[&horizon]).await.while_(doing)?;
    let sql = "DELETE FROM afield.beacon WHERE at < $1::text::timestamptz";
    tx.execute(sql, &[&at]).await.while_(doing)?;
    tx.commit().await.while_(doing)?;
    let ids = client
        .query("SELECT id FROM afield.capture ORDER BY id", &[])
        .await;
    let ids: Vec<i32> = ids.while_(doing)?.iter().map(|row| row.get(0)).collect();
    for id in ids {
        let mark = mark_table(id);
        let sql =
            format!("SELECT pg_relation_size('{mark}') / current_setting('block_size')::int8");
        let pages: i64 = client.query_one(&sql, &[]).await.while_(doing)?.get(0);
        let mut first = 0;
        while first < pages && goes_on() {
            let tx = client.transaction().await.while_(doing)?;
            raise(&tx, &horizon).await?;
            let sql = sweep(&mark, first);
            forgotten.marks += tx.execute(&sql, &[&horizon]).await.while_(doing)?;
            tx.commit().await.while_(doing)?;
            first += PAGES;
        }
    }
    Ok(forgotten)
}

/// What forgets the marks of transactions before `$1` in [`PAGES`] pages of a table. Marks that
/// somebody is about to write anew are no longer old when he has.
pub(super) fn sweep(mark: &str, first: i64) -> String {
    format!(
        "DELETE FROM {mark} WHERE ctid = ANY (ARRAY(SELECT ctid FROM {mark} \
         WHERE xid < $1::text::xid8 AND ctid >= '({first},0)' AND ctid < '({},0)' \
         FOR UPDATE SKIP LOCKED))",
        first + PAGES
    )
}

/// Notes that marks of transactions before `horizon` may be gone.
async fn raise(tx: &Transaction<'_>, horizon: &str) -> Result<(), StorageError> {
    let sql = "UPDATE afield.node SET horizon = $1::text::xid8 WHERE horizon < $1::text::xid8";
    tx.execute(sql, &[&horizon])
        .await
        .while_("noting the horizon")?;
    Ok(())
}
