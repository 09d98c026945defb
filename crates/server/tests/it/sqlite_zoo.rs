//! The suite on a storage with planted faults: a suite that does not notice them proves nothing.
//! And a server that dies at every point at which it writes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use afield_protocol::zoo;
use afield_protocol::{Attributes, Change, Group, GroupId, Op, Value};
use afield_server::storage::conformance::{self as suite, Database, Replica, assert_same};

use crate::sqlite_database::SqliteDatabase;

type Case = fn(&mut dyn Database);

/// Each fault and a case that must fail with it.
const FAULTS: [(&str, Case); 16] = [
    (
        "server-skips-ledger",
        suite::p2_a_repeat_gets_the_same_answer_and_no_effect,
    ),
    (
        "server-forgets-refusals",
        suite::p2_a_refusal_is_repeated_even_when_its_reason_is_gone,
    ),
    (
        "server-ignores-hash",
        suite::p2_an_altered_repeat_is_refused,
    ),
    (
        "server-group-not-atomic",
        suite::p6_a_refused_change_refuses_its_group_and_no_other,
    ),
    (
        "server-delta-skips-one",
        suite::p5_delta_brings_inserts_updates_and_deletes,
    ),
    (
        "server-cut-forgets-the-rest",
        suite::p5_pages_of_every_size_lose_nothing,
    ),
    (
        "server-scan-forgets-closing-delta",
        suite::p5_writes_between_pages_of_a_first_download_arrive,
    ),
    (
        "server-no-epoch-check",
        suite::p5_a_restored_copy_is_noticed,
    ),
    (
        "server-no-epoch-check",
        suite::p5_a_restored_copy_that_grew_past_the_device_is_noticed,
    ),
    (
        "server-beacon-ahead",
        suite::p5_a_restored_copy_is_noticed_in_its_last_epoch,
    ),
    ("server-replace-not-marked", replaced_rows_arrive),
    (
        "server-origin-ignored",
        suite::children_are_attached_to_their_parent,
    ),
    (
        "server-origin-ignored",
        suite::p1_temporary_identifiers_of_nothing_are_refused,
    ),
    (
        "server-dependants-not-held",
        suite::p8_only_what_depends_waits,
    ),
    (
        "server-dependants-not-held",
        suite::p1_a_child_that_comes_before_its_parent_is_not_lost,
    ),
    (
        "server-counter-overwrites",
        suite::p6_counters_of_two_devices_add_up,
    ),
];

fn replaced_rows_arrive(db: &mut dyn Database) {
    for seed in 0..20 {
        suite::random_writers(db, seed, &|rng| {
            let (id, code) = (rng.u32(..5), rng.u32(..5));
            format!("REPLACE INTO stock (id, code) VALUES ({id}, 'c{code}')")
        });
    }
}

#[test]
fn planted_faults_are_found() {
    for (fault, case) in FAULTS {
        case(&mut SqliteDatabase::new());
        zoo::plant(Some(fault));
        let found = catch_unwind(AssertUnwindSafe(|| case(&mut SqliteDatabase::new())));
        zoo::plant(None);
        assert!(found.is_err(), "nothing noticed {fault}");
    }
}

fn group(id: u8, op: Op, shelf: i64) -> Group {
    Group::new(
        GroupId([id; 16]),
        vec![Change {
            entity: "stock".into(),
            op,
            key: vec![Value::from(1)],
            base: Attributes::new(),
            set: Attributes::from([("shelf".into(), shelf.into())]),
        }],
    )
}

#[test]
fn p2_p5_a_server_that_dies_anywhere_repeats_its_answers() {
    for point in 0.. {
        let mut db = SqliteDatabase::new();
        let mut device = Replica::default();
        zoo::crash_after(Some(point));
        let died = catch_unwind(AssertUnwindSafe(|| session(&db, &mut device))).is_err();
        zoo::crash_after(None);
        db.restart();
        session(&db, &mut device);
        assert_eq!(
            db.query("SELECT shelf FROM stock"),
            [[Value::from(7)]],
            "point {point}"
        );
        assert_same(&db, &device, &["stock"]);
        assert_eq!(device.resets, 0);
        if !died {
            assert!(point >= 4, "only {point} points were met");
            return;
        }
    }
}

/// Pushes and pulls; panics where the server dies.
fn session(db: &SqliteDatabase, device: &mut Replica) {
    for group in [group(1, Op::Create, 5), group(2, Op::Update, 7)] {
        let outcomes = db
            .storage()
            .push(
                db.model(),
                &afield_server::storage::Caller::user("ada"),
                &[group],
            )
            .unwrap();
        assert!(outcomes[0].is_applied());
        device.pull(db, &["stock"], 10);
    }
}
