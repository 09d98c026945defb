//! Epochs: which unbroken history of the database a snapshot belongs to.
//!
//! ```text
//!   start of PostgreSQL: epoch A ──●beacon────●beacon──► stop      all of A up to its last beacon
//!                                  │backup              └─ B ──►   is also a part of B's history
//!                                  └─ start of the copy: C ──►    and C knows A up to the backup
//! ```
//!
//! Several servers share one database and see one epoch. Another one begins when PostgreSQL is
//! started, promoted or copied, which each page's first statement tells. Within an epoch what a
//! snapshot sees only grows. A snapshot of an older one counts if the last beacon that this
//! database has of it sees everything that the snapshot sees: the transaction that wrote the
//! beacon, and with it all that it saw, is in this history.
//!
//! What could go wrong: a snapshot counts that sees a transaction which is not here (a device would
//! miss what took its place). So containment is held against single transactions, not against
//! positions of a log, which a copy counts on from the same number.

use tokio_postgres::Row;

use super::error::lasting;
use super::link::Link;
use super::marks::Snapshot;
use crate::storage::StorageError;

/// That an epoch is the present one: of `n`, the node, and `e`, an epoch.
pub(super) const IS_NOW: &str = "e.incarnation = n.incarnation \
    AND e.timeline = substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) \
    AND e.started = pg_postmaster_start_time()";

/// What servers wait for each other by when they begin an epoch, and when one of them does the
/// duties of all: "afield" and a number in ASCII.
const BEGINS: i64 = 0x61_6669_656c_6431;

/// Epochs that are remembered. A device that was away for more starts than this loads its tables
/// again.
const KEPT: i64 = 1_000;

const DOING: &str = "reading the epoch";

/// An epoch, and what of it is known to be durable.
#[derive(Clone, Debug)]
pub(super) struct Epoch {
    /// Its place among the epochs of this database.
    pub number: i64,
    pub epoch: [u8; 8],
    /// The newest snapshot that a device may be told of.
    pub durable: Snapshot,
}

/// How far the history of an epoch reaches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Beacon {
    /// The transaction that wrote it.
    pub xid: u64,
    /// What that saw.
    pub snapshot: Snapshot,
}

impl Beacon {
    /// Whether everything that a snapshot of this epoch sees is a part of its history.
    pub(super) fn contains(&self, snapshot: &Snapshot) -> bool {
        let Self { xid, snapshot: own } = self;
        let is_hidden = |xid: &u64| snapshot.running.binary_search(xid).is_ok();
        let mut running = own.running.iter().take_while(|xid| **xid < snapshot.xmax);
        // However far it is ahead: the first of what ended since is not hidden.
        running.all(|other| other == xid || is_hidden(other))
            && (own.xmax..snapshot.xmax).all(|other| other == *xid || is_hidden(&other))
    }
}

/// A snapshot as a statement's text.
pub(super) fn snapshot(text: &str) -> Result<Snapshot, StorageError> {
    text.parse()
        .map_err(|_| lasting("PostgreSQL answers with no snapshot"))
}

/// A transaction's number as a statement's text.
pub(super) fn xid(text: &str) -> Result<u64, StorageError> {
    text.parse()
        .map_err(|_| lasting("PostgreSQL answers with no number of a transaction"))
}

/// The eight bytes of an epoch.
pub(super) fn bytes(bytes: &[u8]) -> Result<[u8; 8], StorageError> {
    bytes
        .try_into()
        .map_err(|_| lasting("`afield.epoch` has an epoch that is none"))
}

fn beacon_of(row: &Row, at: usize) -> Result<Beacon, StorageError> {
    Ok(Beacon {
        xid: xid(row.get(at))?,
        snapshot: snapshot(row.get(at + 1))?,
    })
}

/// The present epoch, which begins now if nobody has noticed that it has. Durable when it returns.
pub(super) async fn begin(link: &Link) -> Result<Epoch, StorageError> {
    let doing = "beginning an epoch";
    link.begin("BEGIN", doing).await?;
    link.query("SELECT pg_advisory_xact_lock($1)", &[&BEGINS], doing)
        .await?;
    let made = format!(
        "INSERT INTO afield.epoch (incarnation, timeline, started) \
         SELECT n.incarnation, substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8), \
         pg_postmaster_start_time() FROM afield.node n WHERE NOT EXISTS (\
         SELECT FROM afield.epoch e WHERE {IS_NOW} \
         AND e.number = (SELECT max(number) FROM afield.epoch))"
    );
    link.execute(&made, &[], doing).await?;
    let sql = "DELETE FROM afield.epoch WHERE number <= \
               (SELECT max(number) FROM afield.epoch) - $1";
    link.execute(sql, &[&KEPT], doing).await?;
    let epoch = raise_in(link).await?;
    link.commit(doing).await?;
    epoch.ok_or_else(|| lasting("`afield.node` has lost its row: run `afield prepare`"))
}

/// Writes the beacon of the present epoch, so that all that it sees is durable when it returns.
/// `None` if the present epoch has not begun yet.
pub(super) async fn raise(link: &Link) -> Result<Option<Epoch>, StorageError> {
    let doing = "writing the beacon";
    link.begin("BEGIN; SET LOCAL synchronous_commit = on", doing)
        .await?;
    let epoch = raise_in(link).await?;
    link.commit(doing).await?;
    Ok(epoch)
}

/// The same inside a transaction that commits synchronously; what is told counts from then on.
pub(super) async fn raise_in(link: &Link) -> Result<Option<Epoch>, StorageError> {
    let sql = format!(
        "UPDATE afield.epoch e SET beacon_xid = pg_current_xact_id(), \
         beacon = pg_current_snapshot(), at = clock_timestamp() FROM afield.node n \
         WHERE e.number = (SELECT max(number) FROM afield.epoch) AND {IS_NOW} \
         RETURNING e.number, e.epoch, e.beacon::text"
    );
    let rows = link.query(&sql, &[], "writing the beacon").await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    Ok(Some(Epoch {
        number: row.get(0),
        epoch: bytes(row.get(1))?,
        durable: snapshot(row.get(2))?,
    }))
}

/// Writes the beacon if anything has happened since, inside a transaction.
pub(super) async fn keep_in(link: &Link) -> Result<Option<Epoch>, StorageError> {
    let sql = "SELECT pg_current_snapshot()::text, e.beacon_xid::text, e.beacon::text \
               FROM afield.epoch e ORDER BY e.number DESC LIMIT 1";
    let rows = link.query(sql, &[], DOING).await?;
    let is_all = match rows.first() {
        Some(row) => beacon_of(row, 1)?.contains(&snapshot(row.get(0))?),
        None => false,
    };
    match is_all {
        true => Ok(None),
        false => raise_in(link).await,
    }
}

/// The last beacon that this database has of an epoch.
pub(super) async fn beacon(link: &Link, epoch: [u8; 8]) -> Result<Option<Beacon>, StorageError> {
    let sql = "SELECT beacon_xid::text, beacon::text FROM afield.epoch WHERE epoch = $1";
    let rows = link.query(sql, &[&epoch.as_slice()], DOING).await?;
    rows.first().map(|row| beacon_of(row, 0)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every snapshot of few transactions against every beacon, held against sets.
    #[test]
    fn p5_a_beacon_contains_what_it_sees_and_nothing_else() {
        let mut all = Vec::new();
        for xmax in 1..=6_u64 {
            for hidden in 0..1_u64 << (xmax - 1) {
                let running: Vec<u64> = (1..xmax).filter(|x| hidden >> (x - 1) & 1 == 1).collect();
                let xmin = running.first().copied().unwrap_or(xmax);
                all.push(Snapshot {
                    xmin,
                    xmax,
                    running,
                });
            }
        }
        for own in &all {
            for xid in own.xmax..=7 {
                let beacon = Beacon {
                    xid,
                    snapshot: own.clone(),
                };
                for told in &all {
                    let is_within = (1..8)
                        .filter(|x| told.sees(*x))
                        .all(|x| own.sees(x) || x == xid);
                    assert_eq!(beacon.contains(told), is_within, "{told} in {beacon:?}");
                }
            }
        }
    }
}
