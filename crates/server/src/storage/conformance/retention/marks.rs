//! Devices that were away for longer than marks are kept.

use super::super::mirror::Mirror;
use super::super::pushes::{create, push_one};
use super::super::{Database, Replica, assert_same};
use super::{KEPT, count, purge};
use crate::storage::{Caller, Retention};

const TABLES: [&str; 2] = ["stock", "line"];

fn fill(db: &dyn Database) {
    for id in 1..=20 {
        db.execute(&format!(
            "INSERT INTO stock (id, words) VALUES ({id}, 'old');
             INSERT INTO line VALUES ({id}, 1, 'old')"
        ));
    }
}

/// One that came within the retention goes on; one that did not loads its tables again. Rows that
/// were deleted meanwhile are on neither.
pub fn p5_a_device_that_was_away_for_longer_starts_over(db: &mut dyn Database) {
    fill(db);
    let mut away = Replica::default();
    away.pull(db, &TABLES, 7);
    db.execute("DELETE FROM stock WHERE id < 5; UPDATE line SET words = 'new' WHERE pos = 1");
    purge(db, 2_000);
    let mut here = Replica::default();
    here.pull(db, &TABLES, 7);
    purge(db, 2_000 + KEPT);
    db.execute("DELETE FROM stock WHERE id = 9; INSERT INTO line VALUES (99, 1, 'newer')");
    purge(db, 2_100 + KEPT);
    for _ in 0..2 {
        away.pull(db, &TABLES, 7);
        here.pull(db, &TABLES, 7);
        assert_same(db, &away, &TABLES);
        assert_same(db, &here, &TABLES);
    }
    // What the second one had seen was there when the time was noted, or later.
    assert_eq!((away.resets, here.resets), (2, 0));
    assert_eq!(count(db, "stock"), 15);
}

/// A download that began before the horizon has no delta to end with.
pub fn p5_a_download_from_before_the_horizon_starts_over(db: &mut dyn Database) {
    fill(db);
    let mut device = Replica::default();
    device.page(db, &TABLES, 7, usize::MAX);
    db.execute("DELETE FROM stock WHERE id < 3");
    purge(db, 2_000);
    purge(db, 2_000 + KEPT);
    device.pull(db, &TABLES, 7);
    assert_same(db, &device, &TABLES);
    assert!(device.resets > 0);
}

/// The horizon stands before anything goes, whatever becomes of the rest.
pub fn p5_a_purge_that_stops_anywhere_loses_nothing(db: &mut dyn Database) {
    fill(db);
    let mut before = Replica::default();
    before.pull(db, &TABLES, 7);
    db.execute("DELETE FROM stock WHERE id < 5; DELETE FROM line WHERE visit_no < 5");
    purge(db, 2_000);
    db.set_time(2_000 + KEPT);
    for batches in 0..4 {
        let mut left = batches;
        let mut goes_on = || {
            left -= 1;
            left >= 0
        };
        let purged = db.storage().purge(Retention::of(KEPT), &mut goes_on);
        purged.expect("the purge works");
        db.restart();
        let mut device = before.clone();
        device.pull(db, &TABLES, 7);
        assert_same(db, &device, &TABLES);
        assert_eq!(device.resets, 2, "after {batches} batches");
    }
}

/// Tables with scopes and without, the ledger, and the numbers of rows that groups made.
pub fn p9_what_is_older_than_the_retention_is_forgotten(db: &mut dyn Database) {
    fill(db);
    db.execute("INSERT INTO company VALUES ('a', 'Able', 1)");
    assert_eq!(
        push_one(
            db,
            1,
            create("orders", afield_protocol::FIRST_TEMPORARY, &[])
        )
        .code,
        None
    );
    let marks = [
        "afield_mark_stock",
        "afield_mark_line",
        "afield_mark_orders",
    ];
    let counts = |db: &dyn Database| marks.map(|table| count(db, table));
    let ledger = |db: &dyn Database| [count(db, "afield_ledger"), count(db, "afield_number")];
    purge(db, 2_000);
    assert_eq!((counts(db), ledger(db)), ([20, 20, 1], [1, 1]));
    db.execute("UPDATE stock SET words = 'new' WHERE id < 4");
    let purged = purge(db, 2_000 + KEPT);
    assert!(purged.marks > 0 && purged.groups == 0, "{purged:?}");
    assert_eq!((counts(db), ledger(db)), ([3, 0, 0], [1, 1]));
    let purged = purge(db, 2_000 + 4 * KEPT);
    assert_eq!(purged.groups, 1);
    assert_eq!(ledger(db), [0, 0]);
    // What was written since the last time that was noted then is there, and goes in its turn.
    purge(db, 2_000 + 6 * KEPT);
    assert_eq!(counts(db), [0, 0, 0]);
    // Many more than go in one transaction.
    db.execute(
        "WITH RECURSIVE n (at) AS (SELECT 100 UNION ALL SELECT at + 1 FROM n WHERE at < 2599) \
         INSERT INTO stock (id) SELECT at FROM n",
    );
    purge(db, 2_000 + 7 * KEPT);
    assert_eq!(purge(db, 2_000 + 8 * KEPT).marks, 2_500);
    assert_eq!(counts(db), [0, 0, 0]);
    // Moments are forgotten like everything else.
    for round in 0..50 {
        db.execute("UPDATE stock SET words = words || 'x' WHERE id = 1");
        purge(db, 20_000 + round * KEPT);
    }
    assert!(count(db, "afield_moment") <= 7, "moments pile up");
    assert!(count(db, "afield_mark_stock") == 1);
}

/// Which of both times is wrong nobody can tell, and waiting loses nothing.
pub fn nothing_is_forgotten_while_the_clock_is_behind(db: &mut dyn Database) {
    fill(db);
    let mut device = Mirror::of(&Caller::user("ada"));
    device.pull(db, &TABLES, 7);
    purge(db, 50_000);
    for now in [0, -5, 49_999] {
        db.restart();
        let purged = purge(db, now);
        assert!(purged.is_clock_behind && purged.marks == 0, "{purged:?}");
    }
    db.execute("DELETE FROM stock WHERE id = 1");
    device.pull(db, &TABLES, 7);
    assert!(device.resets.is_empty());
    assert!(!purge(db, 50_000).is_clock_behind);
}
