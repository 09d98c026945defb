//! Cases of counters and of entities whose rows only come from devices.

use afield_protocol::{Change, Code, FIRST_TEMPORARY, Value, Verdict, VerdictKind};

use super::pushes::{assert_refused, cell, create, delete, group, push, push_one, set, update};
use super::{Database, Replica, table};

/// Somebody who saw `seen` counted on to `now`.
fn counted(entity: &str, seen: i64, now: i64) -> Change {
    let mut edit = update(entity, 1, &[("n", now.into())]);
    edit.base = set(&[("a", 1.into()), ("n", seen.into())]);
    edit
}

/// Two devices add to what they saw, and both additions count; the answers speak of no value,
/// since what was sent is a difference.
pub fn p6_counters_of_two_devices_add_up(db: &mut dyn Database) {
    for (id, entity) in [(10, "paper"), (20, "card"), (30, "slip")] {
        let made = create(entity, 1, &[("a", 1.into()), ("n", 10.into())]);
        assert_eq!(push_one(db, id, made), Verdict::applied());
        let groups = [
            group(id + 1, vec![counted(entity, 10, 11)]),
            group(id + 2, vec![counted(entity, 10, 13)]),
            group(id + 3, vec![counted(entity, 10, 8)]),
        ];
        for group in &groups {
            let outcome = push(db, std::slice::from_ref(group)).remove(0);
            assert_eq!(outcome.verdicts, [Verdict::applied()], "{entity}");
        }
        // Lost answers are answered again, and add nothing.
        assert!(push(db, &groups).iter().all(|outcome| outcome.is_applied()));
        let sql = format!("SELECT n FROM {entity}");
        assert_eq!(cell(db, &sql), Some(12.into()), "{entity}");
        let far = push_one(db, id + 4, counted(entity, 0, i64::MAX));
        assert_refused(&far, Code::TYPE_MISMATCH, None);
        assert_eq!(cell(db, &sql), Some(12.into()), "{entity}");
    }
}

/// A create is numbered and answered again; anything else is refused, also of a row that is gone.
pub fn insert_only_rows_are_created_and_nothing_else(db: &mut dyn Database) {
    let made = create("event", FIRST_TEMPORARY, &[("words", "w".into())]);
    let groups = [group(1, vec![made])];
    let first = push(db, &groups);
    let verdict = &first[0].verdicts[0];
    assert_eq!(verdict.kind, VerdictKind::Applied);
    let key = verdict.key.clone().expect("the number is told");
    assert_eq!(push(db, &groups), first);
    for (id, refused) in [
        (2, update("event", key[0].clone(), &[("words", "x".into())])),
        (3, delete("event", key[0].clone())),
        (4, delete("event", 4_000)),
    ] {
        assert_refused(&push_one(db, id, refused), Code::INSERT_ONLY, None);
    }
    assert_eq!(db.query("SELECT words FROM event"), [[Value::from("w")]]);
    assert_eq!(table(db, "event").len(), 1);
}

/// Rows that only come from devices go to none, and keep no page from being complete.
pub fn insert_only_rows_are_never_pulled(db: &mut dyn Database) {
    db.execute("INSERT INTO event (words) VALUES ('theirs'); INSERT INTO stock (id) VALUES (1)");
    let mut device = Replica::default();
    for round in 1..4 {
        device.pull(db, &["event", "stock"], 1);
        device.pull(db, &["event"], 1);
        assert!(device.rows("event").is_empty());
        assert_eq!(device.rows("stock").len(), round);
        let id = round + 1;
        db.execute(&format!(
            "INSERT INTO event (words) VALUES ('more'); INSERT INTO stock (id) VALUES ({id})"
        ));
        db.restart();
    }
    assert_eq!(device.resets, 0);
}
