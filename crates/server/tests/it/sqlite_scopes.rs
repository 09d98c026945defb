//! Scopes on SQLite: what is special about its statements, its bookkeeping and its speed.

use std::sync::Arc;

use afield_protocol::codec::Format;
use afield_protocol::{Code, Frame, Pattern, Type};
use afield_server::resolved::{Holds, NamedScope, Scope, ServerEntity, ServerModel};
use afield_server::storage::conformance::{
    Database, SCOPED, ScopedDevice, condition, entity, random_scopes, server_model,
};
use afield_server::storage::sqlite::{SqliteStorage, plan, prepare, warnings};

use crate::http_support::client::Ask;
use crate::http_support::{Server, auth, kinds};
use crate::sqlite_database::SqliteDatabase;

fn zeros(bytes: &mut [u8]) {
    bytes.fill(0);
}

const MEMBERS: &str = "CREATE TABLE region_member (user_id TEXT, region_id INTEGER);
    CREATE TABLE firm (id TEXT PRIMARY KEY, region_id INTEGER);";

/// `area_task` over a table of the test's own.
fn area(scope: Scope) -> ServerModel {
    let mut task = entity(
        "area_task",
        Pattern::ReadOnlyOptimized,
        1,
        &[
            ("id", Type::Integer),
            ("code", Type::Text),
            ("region_id", Type::Integer),
        ],
    );
    task.local.scope = scope.widths();
    task.scope = scope;
    let mut model = server_model(vec![task]);
    model.scopes = vec![NamedScope {
        name: "regions".into(),
        query: "SELECT region_id FROM region_member WHERE user_id = :user".into(),
        chosen: None,
    }];
    model
}

fn by_region() -> Scope {
    let holds = Holds::Scope("regions".into());
    Scope::Ways(vec![vec![condition("region_id", &[], holds)]])
}

const TASKS: &str =
    "CREATE TABLE area_task (id INTEGER PRIMARY KEY, code TEXT UNIQUE, region_id INTEGER);
    CREATE INDEX task_region ON area_task (region_id);";

/// Rows that REPLACE deletes leave the devices of those whose rows they were.
#[test]
fn p5_replaced_rows_leave_their_scopes() {
    for recursive_triggers in [false, true] {
        let schema = format!("{MEMBERS}{TASKS}");
        let db =
            SqliteDatabase::with(&schema, area(by_region())).recursive_triggers(recursive_triggers);
        db.execute(
            "INSERT INTO region_member VALUES ('ada', 1), ('ada', 2), ('bob', 2), ('bob', 3);
             INSERT INTO area_task VALUES (1, 'a', 1), (2, 'b', 2), (3, 'c', 3), (4, 'd', NULL),
               (5, 'e', 1), (6, 'f', 2), (7, 'g', 3)",
        );
        let mut devices = [ScopedDevice::of("ada", None), ScopedDevice::of("bob", None)];
        for sql in [
            "SELECT 1",
            "REPLACE INTO area_task VALUES (1, 'a', 3)",
            "REPLACE INTO area_task VALUES (8, 'b', 1)",
            "UPDATE OR REPLACE area_task SET code = 'c' WHERE id = 4",
            "UPDATE OR REPLACE area_task SET id = 6, region_id = 1 WHERE id = 7",
            "INSERT OR IGNORE INTO area_task VALUES (6, 'x', 2), (9, 'e', 3)",
            "REPLACE INTO area_task SELECT id + 1, code, region_id % 3 + 1 FROM area_task",
            "UPDATE area_task SET region_id = NULL WHERE region_id = 2",
            "UPDATE area_task SET id = -id, region_id = 2 WHERE region_id IS NULL",
            "DELETE FROM area_task",
        ] {
            db.foreign().execute_batch(sql).unwrap();
            for device in &mut devices {
                device.is_strict = false;
                device.pull(&db, &["area_task"], 2);
                assert_eq!(device.resets, 0);
            }
        }
    }
}

/// Without any memory of lists every page of a change asks, and everything else is the same.
#[test]
fn p5_the_memory_of_lists_only_saves_rounds() {
    let mut db = SqliteDatabase::new().list_memory(0);
    for seed in 0..12 {
        random_scopes(&mut db, 1_000 + seed);
    }
    db.execute("DELETE FROM region_member; INSERT INTO region_member VALUES ('ada', 1)");
    db.execute(
        "DELETE FROM area_task; INSERT INTO area_task (id, region_id) VALUES (1, 1), (2, 2)",
    );
    let mut ada = ScopedDevice::of("ada", None);
    ada.pull(&db, &["area_task"], 1);
    db.execute("INSERT INTO region_member VALUES ('ada', 2)");
    ada.pull(&db, &["area_task"], 10);
    assert_eq!((ada.asked, ada.resets), (1, 0));
}

/// Marks speak of the columns that the scope compares; where these change, devices start over.
#[test]
fn p5_another_scope_makes_other_marks_and_devices_start_over() {
    let schema = format!("{MEMBERS}{TASKS}");
    let mut db = SqliteDatabase::with(&schema, area(by_region()));
    db.execute(
        "INSERT INTO region_member VALUES ('ada', 1);
         INSERT INTO area_task VALUES (1, 'ada', 1), (2, 'bob', 2), (3, 'eve', 1)",
    );
    let mut ada = ScopedDevice::of("ada", None);
    ada.pull(&db, &["area_task"], 10);
    let by_owner = Scope::Ways(vec![vec![condition("code", &[], Holds::User)]]);
    let both = Scope::Ways(vec![
        vec![condition("code", &[], Holds::User)],
        vec![condition("region_id", &[], Holds::Scope("regions".into()))],
    ]);
    for (resets, scope) in [
        (1, by_owner),
        (2, both),
        (3, Scope::Everyone),
        (4, by_region()),
    ] {
        db.stop();
        let model = area(scope.clone());
        let error = SqliteStorage::open(&db.path(), &model, zeros).unwrap_err();
        assert!(error.message.contains("run `afield prepare`"), "{error}");
        let planned = plan(&db.path(), &model).unwrap();
        assert!(!planned.is_empty());
        let report = prepare(&db.path(), &model, zeros).unwrap();
        assert_eq!(report.statements, planned);
        db.model = model;
        db.start();
        let request = ada.request(&["area_task"], 10);
        let page = db.storage().pull(db.model(), &request).unwrap();
        let Some(Frame::Page(head)) = page.frames.first() else {
            panic!("a page begins with `page`");
        };
        assert_eq!(head.reset, ["area_task"], "{resets}");
        ada.positions.extend(page.end.to);
    }
}

/// The same columns, but other ways: every value has another number.
#[test]
fn p7_the_same_columns_in_other_ways_take_every_row_anew() {
    let own = || condition("owner", &[], Holds::User);
    let area = || condition("region_id", &[], Holds::Scope("regions".into()));
    let change = |db: &mut SqliteDatabase, ways: Vec<Vec<_>>| {
        db.stop();
        let at = |e: &&mut ServerEntity| e.local.name == "both_task";
        let task = db.model.entities.iter_mut().find(at).unwrap();
        *task = task.clone().scoped(ways);
        db.start();
    };
    let mut db = SqliteDatabase::new();
    db.execute(
        "INSERT INTO region_member VALUES ('ada', 1);
         INSERT INTO both_task (id, owner, region_id) VALUES (1, 'ada', 1),
           (2, 'ada', 2), (3, 'x', 1)",
    );
    let mut ada = ScopedDevice::of("ada", None);
    ada.pull(&db, &["both_task"], 10);
    assert_eq!(ada.rows("both_task").len(), 1);
    change(&mut db, vec![vec![own()], vec![area()]]);
    let held = ada.held(&["both_task"]);
    let error = db
        .storage()
        .pull(db.model(), &ada.request(&["both_task"], 10));
    assert_eq!(error.unwrap_err().code, Code::HELD_WANTED);
    let mut asked = ada.request(&["both_task"], 10);
    asked.held = held.clone();
    let page = db.storage().pull(db.model(), &asked).unwrap();
    let told = page.frames.iter().find_map(|frame| match frame {
        Frame::Held(held) => Some(held),
        _ => None,
    });
    assert_eq!(
        (told.unwrap().gained.len(), &told.unwrap().lost),
        (2, &held[0].gained)
    );
}

#[test]
fn missing_indexes_of_a_scope_are_named() {
    let hop = [("firm", "id", "region_id")];
    let firm = condition("code", &hop, Holds::Scope("regions".into()));
    let region = condition("region_id", &[], Holds::Scope("regions".into()));
    let model = area(Scope::Ways(vec![vec![firm, region]]));
    let schema = format!("{MEMBERS}{TASKS}");
    let db = SqliteDatabase::with(&schema, model.clone());
    let found = warnings(&db.path(), &model).unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("CREATE INDEX \"firm_region_id\" ON \"firm\" (\"region_id\")"));
    db.execute("CREATE INDEX f ON firm (region_id); DROP INDEX task_region");
    let found = warnings(&db.path(), &model).unwrap();
    let index = "CREATE INDEX \"area_task_region_id_id\" ON \"area_task\" (\"region_id\", \"id\")";
    assert!(found.len() == 1 && found[0].contains(index), "{found:?}");
    db.execute(found[0].split_once(": ").unwrap().1);
    assert!(warnings(&db.path(), &model).unwrap().is_empty());
}

/// Outcomes of a request stand, so the question stands in the stream behind them; also where
/// nothing was sent.
#[test]
fn held_wanted_is_asked_in_the_stream() {
    let schema = format!("{MEMBERS}{TASKS}");
    let mut db = SqliteDatabase::with(&schema, area(by_region()));
    db.execute(
        "INSERT INTO region_member VALUES ('ann', 1);
         INSERT INTO area_task VALUES (1, 'a', 1), (2, 'b', 2)",
    );
    let mut ann = ScopedDevice::of("ann", None);
    ann.pull(&db, &["area_task"], 10);
    db.execute("INSERT INTO region_member VALUES ('ann', 2)");
    db.stop();
    let storage = SqliteStorage::open(&db.path(), &db.model, |b| b.fill(9)).unwrap();
    let server = Server::start_on(Arc::new(storage), db.model.clone());
    let position = ann.positions.get("area_task").cloned();
    let hello = Frame::Hello(server.hello(&[("area_task", position)]));
    let ask = |frames: &[Frame]| {
        let token = auth()
            .issue(
                "ann",
                crate::http_support::NOW + 60,
                &serde_json::Map::new(),
            )
            .unwrap();
        let answer = Ask::sync(&token)
            .header("Content-Type", Format::JsonLines.media_type())
            .header("Accept", Format::JsonLines.media_type())
            .body(server.encode(Format::JsonLines, frames))
            .send(server.address);
        assert_eq!(answer.status, 200);
        server.decode(Format::JsonLines, &answer.body)
    };
    let frames = ask(&[hello.clone(), Frame::End]);
    assert_eq!(kinds(&frames), ["welcome", "settled", "problem"]);
    let Some(Frame::Problem(problem)) = frames.last() else {
        panic!("the answer ends with a problem");
    };
    assert_eq!(problem.code, Code::HELD_WANTED);
    let held = ann.held(&["area_task"]).remove(0);
    let frames = ask(&[hello, Frame::Held(held), Frame::End]);
    assert_eq!(frames.last(), Some(&Frame::End), "{:?}", kinds(&frames));
    let told = frames
        .iter()
        .any(|frame| matches!(frame, Frame::Held(held) if held.gained.len() == 1));
    assert!(told, "{:?}", kinds(&frames));
}

/// What a sync with nothing new costs, by the number of values: run it with
/// `--release -- --ignored --nocapture p9_nothing_new`.
#[test]
#[ignore = "measures"]
#[expect(clippy::disallowed_methods, reason = "it measures and tells")]
fn p9_nothing_new_costs_little_with_many_values() {
    let db = SqliteDatabase::new();
    let mut cost = Vec::new();
    for (user, values) in [("one", 1), ("many", 500)] {
        let members: Vec<String> = (0..values).map(|id| format!("('{user}', {id})")).collect();
        db.execute(&format!(
            "INSERT INTO region_member VALUES {}",
            members.join(", ")
        ));
        let mut device = ScopedDevice::of(user, None);
        device.pull(&db, &["area_task"], 5_000);
        // Others write meanwhile.
        db.execute("INSERT INTO area_task (id, region_id) VALUES (1, 9999) ON CONFLICT DO NOTHING");
        db.execute("UPDATE area_task SET words = 'x'");
        let request = device.request(&["area_task"], 5_000);
        let best = (0..200)
            .map(|_| {
                let began = std::time::Instant::now();
                let page = db.storage().pull(db.model(), &request).unwrap();
                assert!(page.end.complete && page.frames.len() == 2);
                began.elapsed()
            })
            .min();
        cost.push(best.unwrap());
    }
    let more = cost[1].saturating_sub(cost[0]);
    println!(
        "nothing new: 1 value {:?}, 500 values {:?}, {more:?} more",
        cost[0], cost[1]
    );
    assert!(more.as_micros() <= 2_000);
}

#[test]
fn every_scoped_entity_has_its_cases() {
    let db = SqliteDatabase::new();
    let scoped = db.model.entities.iter().filter(|e| !e.scope.is_everyone());
    let names: Vec<&str> = scoped.map(|e| e.local.name.as_str()).collect();
    assert_eq!(names, SCOPED);
}
