//! What the first page of a download says of how many rows come behind it.

use super::{Database, Mirror, Replica, SCOPED, ScopedDevice, scopes};
use crate::storage::Caller;

/// Said once, of all that start over; nothing of deltas, and nothing when all is here.
pub fn a_download_says_how_many_rows_are_to_come(db: &mut dyn Database) {
    super::pulls::fill_stock(db, 25);
    db.execute("INSERT INTO company VALUES ('a', 'Able', 1), ('b', 'Bee', NULL)");
    let mut device = Replica::default();
    let entities = ["company", "stock"];
    let mut page = |most| {
        let page = device.page(db, &entities, most, usize::MAX);
        (page.end.complete, page.end.remaining)
    };
    assert_eq!(page(10), (false, Some(17)));
    assert_eq!(page(10), (false, None), "said once");
    assert_eq!(page(100), (true, None));
    db.execute("UPDATE stock SET bin = 7");
    assert_eq!(page(10), (false, None), "nobody counts a delta");
    let mut whole = Replica::default();
    let page = whole.page(db, &entities, 100, usize::MAX);
    assert_eq!((page.end.complete, page.end.remaining), (true, None));
}

/// A row that is here by another unit is none that is to come.
pub fn what_is_here_already_is_not_to_come(db: &mut dyn Database) {
    super::pulls::fill_stock(db, 25);
    db.execute("INSERT INTO company VALUES ('a', 'Able', 1), ('b', 'Bee', NULL)");
    let mut device = Replica::default();
    device.pull(db, &["company"], 10);
    let page = device.page(db, &["company", "stock"], 10, usize::MAX);
    assert_eq!(page.end.remaining, Some(15));
    let mut half = Replica::default();
    half.page(db, &["stock"], 10, usize::MAX);
    let page = half.page(db, &["company", "stock"], 1, usize::MAX);
    assert_eq!(page.end.remaining, None, "part of one is here");
}

/// Of a scope that counting the rows of the user's values does not decide nothing is said.
pub fn p7_what_is_to_come_counts_no_row_of_others(db: &mut dyn Database) {
    scopes::fill(db);
    for entity in SCOPED {
        let first = ScopedDevice::of("ada", Some("red")).page(db, &[entity], 1);
        let mut whole = ScopedDevice::of("ada", Some("red"));
        whole.pull(db, &[entity], 1_000);
        let others = whole.rows(entity).len() as u64 - 1;
        let expected = match entity {
            "both_task" | "any_task" => None,
            _ => Some(others),
        };
        assert!(others > 0, "{entity}");
        assert_eq!(first.end.remaining, expected, "{entity}");
    }
}

/// Rows that count as deleted are not counted: nobody is told that they were there.
pub fn p7_what_is_to_come_counts_no_deleted_row(db: &mut dyn Database) {
    db.execute(
        "INSERT INTO item VALUES ('a', 'live', 1, TRUE), ('b', 'dead', 2, FALSE),
           ('c', 'live', 3, TRUE), ('d', 'live', 3, TRUE)",
    );
    let page = Mirror::of(&Caller::user("ada")).page(db, &["item"], 1);
    assert_eq!((page.end.complete, page.end.remaining), (false, None));
}
