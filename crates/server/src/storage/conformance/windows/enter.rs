//! Rows in a window of the future: they come in as time passes.

use super::super::Database;
use super::tables::{START, assert_exact, device, ids, pull_at, put, shift};
use crate::storage::Caller;

const COMING: [&str; 2] = ["plan", "job"];

/// Without any mark.
pub fn p5_rows_enter_as_time_passes(db: &mut dyn Database) {
    for entity in COMING {
        for (id, seconds) in [(1, 99), (2, 100), (3, 101), (4, 5_000)] {
            put(db, entity, id, seconds);
        }
    }
    let mut device = device(0);
    pull_at(db, &mut device, &COMING, 0, 10);
    assert_eq!(ids(&device, "plan"), [1, 2]);
    assert_eq!(ids(&device, "job"), [1]);
    pull_at(db, &mut device, &COMING, 1, 10);
    assert_eq!(ids(&device, "plan"), [1, 2, 3]);
    assert_eq!(ids(&device, "job"), [1, 2]);
    pull_at(db, &mut device, &COMING, 10_000, 10);
    assert_eq!(ids(&device, "job"), [1, 2, 3, 4]);
    assert!(device.resets.is_empty());
}

/// More than a page holds.
pub fn p5_rows_enter_in_pages_of_every_size(db: &mut dyn Database) {
    for entity in COMING {
        for id in 0..40 {
            put(db, entity, id, 150 + (id * 7) % 40);
        }
    }
    for rows_max in [1, 2, 3, 39, 40, 41] {
        let mut device = device(0);
        pull_at(db, &mut device, &COMING, 0, rows_max);
        assert!(ids(&device, "plan").is_empty());
        pull_at(db, &mut device, &COMING, 70, rows_max);
        assert_eq!(device.delivered, 41, "{rows_max}");
        pull_at(db, &mut device, &COMING, 500, rows_max);
        assert_eq!(device.delivered, 80, "each row once");
    }
}

/// A page ends between rows of the very same instant, and the next goes on by their keys.
pub fn p5_rows_of_one_instant_are_cut_without_loss(db: &mut dyn Database) {
    for entity in COMING {
        for id in [7, 3, 9, 1, 5] {
            put(db, entity, id, 200);
        }
        put(db, entity, 4, 199);
        put(db, entity, 6, 201);
    }
    for rows_max in [1, 2, 3, 4] {
        let mut device = device(0);
        pull_at(db, &mut device, &COMING, 0, rows_max);
        pull_at(db, &mut device, &COMING, 150, rows_max);
        assert_eq!(device.delivered, 14, "each row once");
    }
}

/// Rows move, come and go, in front of and behind the place that the pages have reached.
pub fn p5_rows_enter_and_are_modified_in_the_same_pull(db: &mut dyn Database) {
    for entity in COMING {
        for id in 0..12 {
            put(db, entity, id, 150 + id);
        }
    }
    let mut device = device(0);
    pull_at(db, &mut device, &COMING, 0, 1);
    device.now = START + 100;
    for _ in 0..4 {
        assert!(!device.page(db, &COMING, 1).end.complete);
    }
    for entity in COMING {
        // One behind moves in front and out of the window; those in front move behind it.
        shift(db, entity, 0, 160);
        shift(db, entity, 1, 9_000);
        shift(db, entity, 10, 140);
        shift(db, entity, 11, 9_000);
        db.execute(&format!("DELETE FROM {entity} WHERE id IN (2, 9)"));
        put(db, entity, 50, 155);
        put(db, entity, 51, 10);
    }
    // Time goes on meanwhile; this pull stays at its instant.
    pull_at(db, &mut device, &COMING, 5_000, 1);
    assert!(!ids(&device, "plan").contains(&1));
    pull_at(db, &mut device, &COMING, 10_000, 1);
    assert_eq!(ids(&device, "plan").len(), 12);
}

/// Time passes between the pages of a download.
pub fn p5_rows_enter_while_a_download_is_under_way(db: &mut dyn Database) {
    for entity in COMING {
        for id in 0..20 {
            put(db, entity, id, id * 20);
        }
    }
    let mut device = device(0);
    for page in 0..100 {
        device.now = START + page * 9;
        if device.page(db, &COMING, 1).end.complete {
            break;
        }
    }
    for entity in COMING {
        assert_exact(db, &device, entity);
    }
    pull_at(db, &mut device, &COMING, 1_000, 1);
    assert_eq!(ids(&device, "plan").len(), 20);
}

/// What comes into the window is sent to whom it belongs.
pub fn p5_rows_enter_within_scopes_alone(db: &mut dyn Database) {
    for id in 0..20 {
        put(db, "job", id, 150 + id);
    }
    db.execute("UPDATE job SET owner = 'eve' WHERE id % 3 = 0");
    let mut ada = device(0);
    let mut eve = device(0);
    eve.caller = Caller::user("eve");
    for (device, expected) in [(&mut ada, 13), (&mut eve, 7)] {
        pull_at(db, device, &["job"], 0, 3);
        pull_at(db, device, &["job"], 60, 3);
        pull_at(db, device, &["job"], 80, 3);
        assert_eq!(ids(device, "job").len(), expected);
        assert_eq!(
            device.delivered, expected,
            "no row of another's, and each once"
        );
    }
    // Somebody else's that has come in unseen, is handed over.
    db.execute("UPDATE job SET owner = 'ada' WHERE id = 0");
    pull_at(db, &mut ada, &["job"], 81, 3);
    pull_at(db, &mut eve, &["job"], 81, 3);
}

/// A row that counts as deleted comes in when it is brought back.
pub fn p5_soft_deleted_rows_do_not_enter(db: &mut dyn Database) {
    for id in 0..4 {
        put(db, "plan", id, 150);
    }
    db.execute("UPDATE plan SET is_off = true WHERE id < 2");
    let mut device = device(0);
    pull_at(db, &mut device, &["plan"], 0, 1);
    pull_at(db, &mut device, &["plan"], 60, 1);
    assert_eq!(ids(&device, "plan"), [2, 3]);
    db.execute("UPDATE plan SET is_off = NOT is_off");
    pull_at(db, &mut device, &["plan"], 61, 1);
    assert_eq!(ids(&device, "plan"), [0, 1]);
}

/// What is sent whole is sent whole again, but only if something came in.
pub fn read_only_entities_start_over_when_a_row_enters(db: &mut dyn Database) {
    for id in 0..4 {
        put(db, "rota", id, id * 100);
    }
    let mut device = device(0);
    pull_at(db, &mut device, &["rota"], 0, 1);
    assert_eq!(ids(&device, "rota"), [0]);
    pull_at(db, &mut device, &["rota"], 1, 1);
    assert_eq!((ids(&device, "rota"), device.resets.len()), (vec![0, 1], 1));
    let delivered = device.delivered;
    pull_at(db, &mut device, &["rota"], 90, 1);
    assert_eq!((device.delivered, device.resets.len()), (delivered, 1));
    pull_at(db, &mut device, &["rota"], 900, 1);
    assert_eq!(ids(&device, "rota"), [0, 1, 2, 3]);
}
