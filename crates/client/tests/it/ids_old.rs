//! Temporary identifiers that somebody still holds after the server gave the real ones.

use afield::protocol::{Attributes, Code, Op, Value, Verdict};
use afield::{ChangeInfo, Params, Store, SyncStore};

use crate::ids::{create_sheet, none_left, renamed, settle, temporary, world};
use crate::store_crash::dies_everywhere_in;
use crate::world::{World, attributes, execute, id, int, pull, query, request, text};

/// A sheet that was created as 2^52+1 and is 41 now, pulled and without overlays.
fn known() -> (World, Store, SyncStore) {
    let world = world();
    let (mut store, mut sync) = (world.store(), world.sync());
    assert_eq!(create_sheet(&mut store, "a"), temporary(1));
    let sent = request(&mut sync);
    settle(&mut sync, &sent, 0, vec![renamed(&[int(41)])]);
    let rows = world.rows("sheet", &[&[int(41), text("a"), int(5)]]);
    pull(&mut sync, &[rows], "t2");
    let shown = query(&store, "SELECT * FROM sheet");
    assert_eq!(shown, [[int(41), text("a"), int(5)]]);
    (world, store, sync)
}

fn newest(store: &mut Store) -> ChangeInfo {
    store.changes().unwrap().pop().unwrap()
}

#[test]
fn p3_entity_actions_understand_an_old_identifier() {
    let (_world, mut store, _sync) = known();
    let old = temporary(1);
    let key = std::slice::from_ref(&old);
    let row = store.get("sheet", key).unwrap().unwrap();
    assert_eq!(row["id"], int(41));
    let set = attributes([("title", text("b")), ("next_id", old.clone())]);
    store.update("sheet", key, &set).unwrap();
    let shown = query(&store, "SELECT * FROM sheet");
    assert_eq!(shown, [[int(41), text("b"), int(41)]]);
    let again = attributes([("id", old.clone()), ("title", text("c"))]);
    assert_eq!(store.create_or_update("sheet", &again).unwrap(), [int(41)]);
    let taken = store.create("sheet", &again).unwrap_err();
    assert_eq!(*taken.code(), Code::KEY_EXISTS);
    let part = attributes([("sheet_id", old.clone()), ("no", int(1))]);
    assert_eq!(store.create("part", &part).unwrap(), [int(41), int(1)]);
    let part = [old.clone(), int(1)];
    let named = attributes([("name", text("lid"))]);
    store.update("part", &part, &named).unwrap();
    assert!(store.get("part", &part).unwrap().is_some());
    store.delete("part", &part).unwrap();
    store.delete("sheet", key).unwrap();
    assert!(query(&store, "SELECT * FROM sheet").is_empty());
    none_left(&mut store);
}

#[test]
fn p3_actions_find_what_sql_wrote_under_an_old_identifier_before_them() {
    let old = temporary(1);
    let insert = "INSERT INTO part (sheet_id, no, name) VALUES (?1, 1, 'lid')";
    for sheet in [&old, &int(41)] {
        let (_world, mut store, _sync) = known();
        let key = [sheet.clone(), int(1)];
        let whole = attributes([("sheet_id", sheet.clone()), ("no", int(1))]);
        store
            .transaction(|tx| {
                tx.execute(insert, &Params::from([old.clone()]))?;
                if *sheet == old {
                    assert!(tx.get("part", &key)?.is_some());
                    let taken = tx.create("part", &whole).unwrap_err();
                    assert_eq!(*taken.code(), Code::KEY_EXISTS);
                }
                tx.update("part", &key, &attributes([("name", text("box"))]))
            })
            .unwrap();
        let change = newest(&mut store);
        assert_eq!((change.op, change.key), (Op::Create, vec![int(41), int(1)]));
        assert_eq!(change.set["name"], text("box"));
        let parts = query(&store, "SELECT sheet_id, no, name FROM part");
        assert_eq!(parts, [[int(41), int(1), text("box")]]);
        none_left(&mut store);
        let (_world, mut store, _sync) = known();
        store
            .transaction(|tx| {
                tx.execute(insert, &Params::from([old.clone()]))?;
                tx.delete("part", &key)
            })
            .unwrap();
        assert!(query(&store, "SELECT * FROM part").is_empty());
    }
    // A second row under the old identifier is the first one, to actions as well.
    let (_world, mut store, _sync) = known();
    let second = "INSERT INTO sheet (id, title) VALUES (?1, 'b')";
    let again = attributes([("id", old.clone()), ("next_id", old.clone())]);
    store
        .transaction(|tx| {
            tx.execute(second, &Params::from([old.clone()]))?;
            tx.create_or_update("sheet", &again)
        })
        .unwrap();
    let shown = query(&store, "SELECT * FROM sheet");
    assert_eq!(shown, [[int(41), text("b"), int(41)]]);
    none_left(&mut store);
}

#[test]
fn p1_another_process_refers_to_an_old_identifier() {
    let (world, mut store, mut sync) = known();
    let plain = world.plain();
    let old = 1_i64 << 52 | 1;
    plain
        .execute_batch(&format!(
            "INSERT INTO part (sheet_id, no, name) VALUES ({old}, 1, 'lid'); \
             INSERT INTO remark (sheet_id, part_no, k) VALUES ({old}, 1, 'x'); \
             INSERT INTO sheet (title, next_id) VALUES ('n', {old}); \
             INSERT INTO photo VALUES ('{}', {old}, 'p'); \
             UPDATE sheet SET next_id = {old} WHERE id = 41",
            crate::world::uuid(1)
        ))
        .unwrap();
    let sent = request(&mut sync);
    let groups = world.groups(&sent);
    let changes: Vec<_> = groups[0].changes.iter().collect();
    let find = |entity: &str, op| {
        changes
            .iter()
            .find(|c| (c.entity.as_str(), c.op) == (entity, op))
    };
    assert_eq!(find("part", Op::Create).unwrap().key, [int(41), int(1)]);
    let remark = find("remark", Op::Create).unwrap();
    assert_eq!(remark.key, [int(41), int(1), text("x")]);
    assert_eq!(find("sheet", Op::Create).unwrap().set["next_id"], int(41));
    assert_eq!(find("sheet", Op::Update).unwrap().set["next_id"], int(41));
    assert_eq!(find("photo", Op::Create).unwrap().set["sheet_id"], int(41));
    assert!(groups[0].origins.is_empty());
    let shown = query(&store, "SELECT sheet_id FROM remark");
    assert_eq!(shown, [[int(41)]]);
    // The new sheet is a temporary one still; the old identifiers are gone.
    let changes = vec![Verdict::applied(); groups[0].changes.len()];
    let created = groups[0]
        .changes
        .iter()
        .position(|c| c.key == [temporary(2)]);
    let mut verdicts = changes;
    verdicts[created.unwrap()] = renamed(&[int(42)]);
    settle(&mut sync, &sent, 0, verdicts);
    none_left(&mut store);
}

#[test]
fn p1_a_second_row_under_an_old_identifier_is_the_first_one() {
    let old = (1_i64 << 52) + 1;
    for statement in ["INSERT", "REPLACE", "INSERT OR IGNORE"] {
        let (world, mut store, _sync) = known();
        let sql = format!("{statement} INTO sheet (id, title) VALUES ({old}, 'b')");
        world.plain().execute_batch(&sql).unwrap();
        let change = newest(&mut store);
        assert_eq!(
            (change.key, change.op),
            (vec![int(41)], Op::Update),
            "{statement}"
        );
        assert_eq!(change.set, attributes([("title", text("b"))]));
        assert_eq!(
            change.base,
            attributes([("title", text("a")), ("next_id", int(5))])
        );
        let shown = query(&store, "SELECT * FROM sheet");
        assert_eq!(shown, [[int(41), text("b"), int(5)]]);
    }
    // With an edit of the real row in the same transaction, and an upsert on our connection.
    let (_world, mut store, _sync) = known();
    let sql = format!(
        "UPDATE sheet SET next_id = 6; INSERT INTO sheet (id, title) VALUES ({old}, 'b') \
         ON CONFLICT (id) DO UPDATE SET title = excluded.title"
    );
    execute(&mut store, &sql).unwrap();
    let change = newest(&mut store);
    assert_eq!(
        change.set,
        attributes([("title", text("b")), ("next_id", int(6))])
    );
    assert_eq!(query(&store, "SELECT count(*) FROM sheet"), [[int(1)]]);
    // What says nothing new is no change.
    let sql = format!("INSERT INTO sheet (id, title) VALUES ({old}, 'b')");
    let count = store.changes().unwrap().len();
    execute(&mut store, &sql).unwrap();
    assert_eq!(store.changes().unwrap().len(), count);
}

#[test]
fn p1_what_was_typed_under_an_old_identifier_stays_when_the_row_is_gone() {
    let (world, mut store, mut sync) = known();
    let pulled = sync.next_request(Some("main"), false, afield::RequestCaps::default());
    let gone = afield::protocol::Frame::Gone {
        entity: "sheet".into(),
        keys: vec![vec![int(41)]],
    };
    crate::world::answer(&mut sync, &pulled.unwrap(), &[gone], "t3", true);
    assert!(query(&store, "SELECT * FROM sheet").is_empty());
    let old = (1_i64 << 52) + 1;
    let sql = format!("INSERT INTO sheet (id, title) VALUES ({old}, 'b')");
    world.plain().execute_batch(&sql).unwrap();
    let change = newest(&mut store);
    assert_eq!((change.key, change.op), (vec![int(41)], Op::Create));
    assert_eq!(change.set, attributes([("title", text("b"))]));
    let shown = query(&store, "SELECT id, title FROM sheet");
    assert_eq!(shown, [[int(41), text("b")]]);
    // Deleted in the same transaction by its real name, and written again by its old one.
    let (_world, mut store, _sync) = known();
    let sql = format!("DELETE FROM sheet; INSERT INTO sheet (id, title) VALUES ({old}, 'b')");
    execute(&mut store, &sql).unwrap();
    let change = newest(&mut store);
    assert_eq!((change.key, change.op), (vec![int(41)], Op::Update));
    let set = attributes([("title", text("b")), ("next_id", Value::Null)]);
    assert_eq!(change.set, set);
    none_left(&mut store);
}

/// Renaming what was captured must not be captured, refused or passed on by anybody's triggers
/// and keys: the app's own tables may refer to ours.
#[test]
fn p8_an_old_identifier_stops_nothing() {
    let (world, mut store, mut sync) = known();
    let mine = "CREATE TABLE mine (sheet INTEGER REFERENCES sheet (id)); \
                CREATE TRIGGER no AFTER DELETE ON sheet BEGIN SELECT RAISE(ABORT, 'no'); END;";
    world.plain().execute_batch(mine).unwrap();
    let old = (1_i64 << 52) + 1;
    let sql = format!(
        "INSERT INTO sheet (id, title) VALUES ({old}, 'b'); INSERT INTO mine VALUES ({old})"
    );
    execute(&mut store, &sql).unwrap();
    let shown = query(&store, "SELECT id, title FROM sheet");
    assert_eq!(shown, [[int(41), text("b")]]);
    // Capture, and the app's triggers, work again afterwards.
    let refused = execute(&mut store, "DELETE FROM sheet").unwrap_err();
    assert_eq!(*refused.code(), Code::SQL);
    execute(&mut store, "UPDATE sheet SET title = 'c'").unwrap();
    assert_eq!(newest(&mut store).set["title"], text("c"));
    let orphan = execute(&mut store, "INSERT INTO mine VALUES (9)").unwrap_err();
    assert!(orphan.to_string().contains("FOREIGN KEY"), "{orphan}");
    let sent = request(&mut sync);
    assert_eq!(world.groups(&sent).len(), 1);
}

#[test]
fn p2_a_new_row_never_meets_an_old_identifier() {
    let (_world, mut store, _sync) = known();
    let row = Attributes::new();
    assert_eq!(store.create("sheet", &row).unwrap(), [temporary(2)]);
    let missing = store.get("sheet", &[temporary(9)]).unwrap();
    assert_eq!(missing, None);
    let photo = attributes([("id", id(1)), ("sheet_id", temporary(2))]);
    store.create("photo", &photo).unwrap();
    let shown = query(&store, "SELECT sheet_id FROM photo");
    assert_eq!(shown, [[temporary(2)]]);
}

#[test]
fn p1_translating_what_was_captured_is_done_whole_or_not_at_all() {
    let prepare = |world: &World| {
        let (mut store, mut sync) = (world.store(), world.sync());
        create_sheet(&mut store, "a");
        let sent = request(&mut sync);
        settle(&mut sync, &sent, 0, vec![renamed(&[int(41)])]);
        let old = (1_i64 << 52) + 1;
        let sql = format!(
            "INSERT INTO part VALUES ({old}, 1, 'lid'); INSERT INTO sheet VALUES ({old}, 'b', 1)"
        );
        world.plain().execute_batch(&sql).unwrap();
    };
    dies_everywhere_in(world, 4, prepare, |world| {
        execute(&mut world.store(), "INSERT INTO label VALUES ('x', 'y')")
    });
}
