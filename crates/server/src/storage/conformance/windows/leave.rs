//! Rows in a window of the past: they leave as time passes.

use afield_protocol::{Type, Value, VerdictKind};

use super::super::Database;
use super::super::pushes::{cell, delete, push_one, update};
use super::tables::{START, device, ids, instant, pull_at, put, put_as, shift};

const PAST: [&str; 2] = ["log", "past_job"];

/// A download leaves out what is not in the window; the bound itself belongs to `>=` alone.
pub fn p5_downloads_bring_what_is_in_the_window(db: &mut dyn Database) {
    for entity in PAST {
        for (id, seconds) in [(1, -101), (2, -100), (3, -99), (4, 0), (5, 1_000)] {
            put(db, entity, id, seconds);
        }
    }
    for rows_max in [1, 2, 100] {
        let mut device = device(0);
        pull_at(db, &mut device, &PAST, 0, rows_max);
        assert_eq!(ids(&device, "log"), [3, 4, 5]);
        assert_eq!(ids(&device, "past_job"), [2, 3, 4, 5]);
        assert_eq!(device.windows["log"].bound, instant(-100));
    }
}

/// Nothing is sent for it: the device is told the bound.
pub fn p5_rows_leave_as_time_passes(db: &mut dyn Database) {
    for entity in PAST {
        for id in 0..50 {
            put(db, entity, id, id * 10);
        }
    }
    let mut device = device(0);
    pull_at(db, &mut device, &PAST, 0, 7);
    let delivered = device.delivered;
    for (seconds, left) in [(150, 44), (300, 29), (599, 0)] {
        pull_at(db, &mut device, &PAST, seconds, 7);
        assert_eq!(ids(&device, "log").len(), left, "{seconds}");
    }
    assert_eq!(device.delivered, delivered);
    assert!(device.resets.is_empty());
}

/// An edit brings a row in that no device had, and takes one out that all had.
pub fn p5_edits_bring_rows_in_and_take_them_out(db: &mut dyn Database) {
    for entity in PAST {
        put(db, entity, 1, -500);
        put(db, entity, 2, 0);
    }
    let mut device = device(0);
    pull_at(db, &mut device, &PAST, 0, 10);
    assert_eq!(ids(&device, "log"), [2]);
    for entity in PAST {
        shift(db, entity, 1, 5);
        shift(db, entity, 2, -500);
    }
    pull_at(db, &mut device, &PAST, 10, 1);
    assert_eq!(ids(&device, "log"), [1]);
    // And back, after it had left by time.
    pull_at(db, &mut device, &PAST, 1_000, 1);
    assert_eq!(ids(&device, "log"), Vec::<i64>::new());
    for entity in PAST {
        shift(db, entity, 1, 990);
    }
    pull_at(db, &mut device, &PAST, 1_001, 1);
    assert_eq!(ids(&device, "past_job"), [1]);
}

/// A window is no right: what is out of it is edited, deleted and made as ever.
pub fn p6_pushes_ignore_the_window(db: &mut dyn Database) {
    // The clock of the storage stands in 1970, and the row is not in any window of today.
    for (at, entity) in ["log", "plan", "job"].into_iter().enumerate() {
        let group = u8::try_from(at).unwrap() * 8;
        put(db, entity, 1, 50_000_000);
        put(db, entity, 2, -1_000_000_000);
        for id in [1, 2] {
            let edit = update(entity, id, &[("at", instant(3).into())]);
            let number = group + u8::try_from(id).unwrap();
            let verdict = push_one(db, number, edit);
            assert_eq!(verdict.kind, VerdictKind::Applied, "{entity} {verdict:?}");
        }
        let verdict = push_one(db, group + 4, delete(entity, 2));
        assert_eq!(verdict.kind, VerdictKind::Applied, "{verdict:?}");
    }
    assert_eq!(cell(db, "SELECT count(*) FROM job"), Some(1.into()));
}

/// The order in time decides, however the table spells it.
pub fn p5_every_spelling_of_a_time_counts(db: &mut dyn Database) {
    let blank = |seconds| instant(seconds)[..19].replace('T', " ");
    // 2027-01-15T08:00:00Z, as people far away write it.
    let spelled = [
        (1, 1, blank(1)),
        (2, 0, "2027-01-15T22:00:00+14:00".to_owned()),
        (3, 0, "2027-01-14 20:00:00-12:00".to_owned()),
        (4, 0, "2027-01-15 08:00".to_owned()),
        (5, 1, "2027-01-15T08:00:01Z".to_owned()),
    ];
    for entity in ["log", "past_job", "plan", "job", "rota"] {
        for (id, seconds, text) in &spelled {
            put_as(db, entity, *id, *seconds, text);
        }
    }
    let mut past = device(0);
    pull_at(db, &mut past, &PAST, 100, 1);
    assert_eq!(ids(&past, "log"), [1, 5]);
    let mut coming = device(0);
    let entities = ["plan", "job", "rota"];
    for (seconds, plan, job) in [
        (-101, &[][..], &[][..]),
        (-100, &[2, 3, 4], &[]),
        (-99, &[1, 2, 3, 4, 5], &[2, 3, 4]),
        (-98, &[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5]),
    ] {
        pull_at(db, &mut coming, &entities, seconds, 1);
        assert_eq!(ids(&coming, "plan"), plan, "{seconds}");
        assert_eq!(ids(&coming, "job"), job, "{seconds}");
    }
    // Days, one of them with its midnight.
    db.execute(
        "INSERT INTO leaf VALUES ('a', '2027-01-21'), ('b', '2027-01-22 00:00:00'),
           ('c', '2027-01-23')",
    );
    let mut leaves = device(0);
    for (seconds, expected) in [(0, 1), (86_400 - 8 * 3_600, 2), (2 * 86_400, 3)] {
        leaves.now = START + seconds;
        leaves.pull(db, &["leaf"], 1);
        assert_eq!(leaves.keys("leaf").len(), expected, "{seconds}");
    }
    let bound = leaves.windows["leaf"].bound.clone();
    assert_eq!(Value::from(bound), Type::Date.at(START + 9 * 86_400));
}

/// Null, numbers, bytes and words never are in a window, whichever way it opens.
pub fn p5_what_is_no_time_is_in_no_window(db: &mut dyn Database) {
    let odd: &[&str] = match db.keeps_spellings() {
        true => &[
            "NULL",
            "7",
            "-1e300",
            "x'32303237'",
            "''",
            "'soon'",
            "'never'",
        ],
        false => &[
            "NULL",
            "'infinity'",
            "'-infinity'",
            "'0044-03-15 BC'",
            "'12024-01-01'",
        ],
    };
    let entities = ["log", "past_job", "plan", "job", "rota"];
    for entity in entities {
        for (id, cell) in odd.iter().enumerate() {
            let sql = format!("INSERT INTO {entity} VALUES ({id}, 'ada', {cell}, NULL, false)");
            db.execute(&sql);
        }
        put(db, entity, 99, 0);
    }
    let mut device = device(0);
    pull_at(db, &mut device, &entities, 0, 1);
    for entity in entities {
        db.execute(&format!("UPDATE {entity} SET is_off = false"));
    }
    pull_at(db, &mut device, &entities, 50, 1);
    pull_at(db, &mut device, &["plan", "job", "rota"], 1_000_000, 1);
    assert_eq!(ids(&device, "plan"), [99]);
}

/// A scan of a value that a user gains goes by the window too.
pub fn p5_a_value_gained_brings_what_is_in_the_window(db: &mut dyn Database) {
    for entity in ["past_job", "job"] {
        for id in 0..20 {
            put(db, entity, id, id * 20 - 200);
        }
        db.execute(&format!(
            "UPDATE {entity} SET owner = 'eve' WHERE id % 2 = 0"
        ));
    }
    let mut device = device(0);
    pull_at(db, &mut device, &["past_job", "job"], 0, 2);
    // Another's device, with the same positions, is asked what it has and begins with nothing.
    device.caller.user = "eve".into();
    pull_at(db, &mut device, &["past_job", "job"], 10, 2);
    assert!(!ids(&device, "job").is_empty());
}
