//! Cases of what a server forgets: marks and ledger entries that are older than the retention.

mod ledger;
mod marks;
mod random;

pub use self::ledger::*;
pub use self::marks::*;
pub use self::random::*;
use super::Database;
use crate::storage::{Purged, Retention};

/// How long marks are kept in these cases, in seconds; the ledger four times as long.
pub(super) const KEPT: i64 = 1_000;

/// More batches than any of these cases has.
const BATCHES: usize = 1_000;

/// Lets time pass, and forgets what is too old, all of it.
pub(super) fn purge(db: &mut dyn Database, now: i64) -> Purged {
    db.set_time(now);
    let mut batches = 0;
    let mut goes_on = || {
        batches += 1;
        assert!(batches < BATCHES, "the purge goes over the same rows again");
        true
    };
    db.storage()
        .purge(Retention::of(KEPT), &mut goes_on)
        .expect("the purge works")
}

/// How many rows a table has.
fn count(db: &dyn Database, table: &str) -> i64 {
    let table = db.bookkeeping(table);
    match super::pushes::cell(db, &format!("SELECT count(*) FROM {table}")) {
        Some(afield_protocol::Value::Integer(n)) => n,
        other => panic!("{table}: {other:?}"),
    }
}
