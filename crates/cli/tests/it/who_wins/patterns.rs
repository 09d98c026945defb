//! Beside the table: entities that devices only read, and those that they only send.

use afield::protocol::{Attributes, Code, Value, VerdictKind};
use afield::{ChangeState, Params, Resolution};

use super::lose_answer;
use crate::world::{Device, World, rows, server_settings};

const SCHEMA: &str = "
    CREATE TABLE whole (id INTEGER NOT NULL PRIMARY KEY, a INTEGER);
    CREATE TABLE delta (id INTEGER NOT NULL PRIMARY KEY, a INTEGER);
    CREATE TABLE reading (id INTEGER NOT NULL PRIMARY KEY, a INTEGER);
    INSERT INTO whole VALUES (1, 1), (2, 1);
    INSERT INTO delta VALUES (1, 1), (2, 1);
";

const MODEL: &str = r#"
    [local.whole]
    from = "whole"
    pattern = "read-only"
    attributes = ["a"]
    scope = "everyone"
    [local.delta]
    from = "delta"
    pattern = "read-only-optimized"
    attributes = ["a"]
    scope = "everyone"
    [local.reading]
    from = "reading"
    pattern = "PATTERN"
    attributes = ["a"]
    insert_only = true
    scope = "everyone"
"#;

const SENDING: [&str; 2] = ["last-write-wins", "detect-conflicts"];

fn world(pattern: &str) -> World {
    let model = server_settings(5_000) + &MODEL.replace("PATTERN", pattern);
    World::of(SCHEMA, &model, "")
}

fn refusal(device: &Device, sql: &str) -> Code {
    let mut store = device.client.store();
    let written = store.transaction(|tx| tx.execute(sql, &Params::none()));
    written.expect_err(sql).code().clone()
}

#[test]
fn p6_a_row_that_is_only_read_is_changed_by_the_server_alone() {
    let world = world(SENDING[0]);
    let device = world.downloaded("phone", "ann");
    for entity in ["whole", "delta"] {
        for sql in [
            format!("UPDATE {entity} SET a = 2 WHERE id = 1"),
            format!("DELETE FROM {entity} WHERE id = 1"),
            format!("INSERT INTO {entity} VALUES (3, 1)"),
        ] {
            assert_eq!(refusal(&device, &sql), Code::READ_ONLY, "{sql}");
        }
    }
    assert_eq!(device.changes(), []);
    for lost in [false, true] {
        world.team_writes(
            "UPDATE whole SET a = a + 8;
             INSERT INTO whole SELECT max(id) + 1, 1 FROM whole;
             UPDATE delta SET a = a + 8;
             DELETE FROM delta WHERE id = 2",
        );
        if lost {
            lose_answer(&world, &device);
        }
        device.sync();
        for entity in ["whole", "delta"] {
            let sql = format!("SELECT * FROM {entity} ORDER BY id");
            assert_eq!(
                rows(&device.raw(), &sql),
                rows(&world.team(), &sql),
                "{sql}"
            );
        }
    }
}

/// How the second one's reading ends: what the first one made, what became of the second one's.
type Case = (&'static str, VerdictKind, Option<Code>);

#[test]
fn p2_p6_a_row_that_is_only_sent_is_created_once_and_never_changed() {
    let cases: [Case; 3] = [
        ("no such key", VerdictKind::Applied, None),
        ("equal values", VerdictKind::Applied, None),
        (
            "other values",
            VerdictKind::Conflict,
            Some(Code::KEY_EXISTS),
        ),
    ];
    for pattern in SENDING {
        for lost in [false, true] {
            let world = world(pattern);
            let [first, second] = ["ann", "ben"].map(|user| world.downloaded(user, user));
            first.write("INSERT INTO reading VALUES (2, 7), (3, 8)");
            first.sync();
            // One transaction each.
            for id in 1..=3 {
                second.write(&format!("INSERT INTO reading VALUES ({id}, 7)"));
                for sql in ["UPDATE reading SET a = 9", "DELETE FROM reading"] {
                    let sql = format!("{sql} WHERE id = {id}");
                    assert_eq!(refusal(&second, &sql), Code::INSERT_ONLY, "{sql}");
                }
            }
            if lost {
                lose_answer(&world, &second);
            }
            second.sync();
            first.sync();
            let found = second.client.store().outcomes(0).unwrap();
            let found = found.into_iter().map(|it| (it.result, it.code));
            let expected = cases.clone().map(|(_, result, code)| (result, code));
            assert_eq!(found.collect::<Vec<_>>(), expected, "{pattern}, {lost}");
            // What is applied leaves the device; what is not stays until somebody decides.
            let kept = "SELECT id, a FROM reading";
            assert_eq!(rows(&first.raw(), kept), [[]; 0]);
            assert_eq!(rows(&second.raw(), kept), [[3.into(), 7.into()]]);
            let there = "SELECT a FROM reading ORDER BY id";
            let server = || rows(&world.team(), there);
            assert_eq!(server(), [[7.into()], [7.into()], [8.into()]]);
            match lost {
                true => insist(&world, &second),
                false => give_way(&world, &second),
            }
        }
    }
}

fn open_conflict(device: &Device) -> String {
    let open = device.client.store().conflicts().unwrap().remove(0);
    assert_eq!(open.theirs.unwrap()["a"], Value::Integer(8));
    assert_eq!(open.mine.unwrap()["a"], Value::Integer(7));
    open.conflict
}

fn give_way(world: &World, device: &Device) {
    let open = open_conflict(device);
    let mut store = device.client.store();
    store.resolve(&open, &Resolution::Theirs).unwrap();
    drop(store);
    ended(world, device);
}

/// The row was made once, and devices change none of these: who insists is told to give way, and
/// keeps what he has until he does.
fn insist(world: &World, device: &Device) {
    let open = open_conflict(device);
    for mine in [
        Resolution::Mine,
        Resolution::Merged(Attributes::from([("a".into(), 5.into())])),
    ] {
        let refused = device.client.store().resolve(&open, &mine).unwrap_err();
        assert_eq!(*refused.code(), Code::INSERT_ONLY, "{refused}");
    }
    device.sync();
    assert_eq!(rows(&device.raw(), "SELECT a FROM reading"), [[7.into()]]);
    give_way(world, device);
}

fn ended(world: &World, device: &Device) {
    device.sync();
    assert_eq!(rows(&device.raw(), "SELECT a FROM reading"), [[]; 0]);
    assert!(device.count(ChangeState::Dropped) > 0);
    assert_eq!(device.client.store().status().unwrap().parked, 0);
    assert_eq!(world.value("SELECT a FROM reading WHERE id = 3"), 8.into());
}
