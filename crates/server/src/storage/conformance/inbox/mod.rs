//! Cases of refused groups: that they are noted once, what somebody can make of them, and what
//! their devices are told.

mod decided;
mod noted;
mod told;

use afield_protocol::{Attributes, Change, GroupId, Op, Value};

pub use self::decided::*;
pub use self::noted::*;
pub use self::told::*;
use super::Database;
use super::pushes::{create, group, push, set, update};
use crate::storage::Caller;
use crate::storage::inbox::{Choice, Decide, DecideOutcome, InboxEntry, InboxQuery};

const DEVICE: &str = "phone";

/// Ada on her phone.
fn ada() -> Caller {
    Caller {
        device: DEVICE.into(),
        ..Caller::user("ada")
    }
}

/// Every entry, oldest first.
fn all(db: &dyn Database) -> Vec<InboxEntry> {
    let query = InboxQuery {
        all: true,
        most: 10_000,
        ..InboxQuery::default()
    };
    db.storage().inbox(&query).expect("the inbox is read")
}

fn id(byte: u8) -> GroupId {
    GroupId([byte; 16])
}

/// Decides about the group of an entry, under the id of so many bytes.
fn decide(db: &dyn Database, n: i64, choice: Choice, into: u8) -> DecideOutcome {
    let wish = Decide {
        n,
        choice,
        by: "dora".into(),
        into: id(into),
    };
    let decided = db.storage().decide(db.model(), &wish);
    decided.expect("the database works")
}

/// An update that saw `base`.
fn saw(change: Change, base: &[(&str, Value)]) -> Change {
    Change {
        base: set(base),
        ..change
    }
}

/// A card that Ada and somebody else changed: she made `a` 2, and he 9. The number of its entry.
fn conflict(db: &dyn Database, byte: u8) -> i64 {
    db.execute("INSERT INTO card VALUES (1, 9, 5, 10, NULL)");
    let seen = [
        ("a", 1.into()),
        ("b", 5.into()),
        ("n", 10.into()),
        ("order_no", Value::Null),
    ];
    let mine = saw(update("card", 1, &[("a", 2.into())]), &seen);
    let outcomes = db
        .storage()
        .push(db.model(), &ada(), &[group(byte, vec![mine])])
        .expect("the push works");
    assert_eq!(outcomes[0].verdicts[0].kind.as_str(), "conflict");
    all(db).last().expect("it is noted").n
}

/// What a query gives as one cell.
fn number(db: &dyn Database, sql: &str) -> Option<i64> {
    match db.query(sql).into_iter().flatten().next() {
        Some(Value::Integer(n)) => Some(n),
        _ => None,
    }
}

fn attributes(values: &[(&str, Value)]) -> Attributes {
    set(values)
}
