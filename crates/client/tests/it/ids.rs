//! Identifiers that the server makes: temporary ones on the device, real ones with the outcome.

use afield::protocol::{
    Code, FIRST_TEMPORARY, Identifier, Key, Model, Op, Origin, Pattern, Type, Value, Verdict,
};
use afield::{Outgoing, Params, Store, SyncStore};

use crate::world::{
    World, answer, attributes, entity, execute, id, int, model, outcome, pull, query, refer,
    request, text,
};

/// A sheet with parts, parts with remarks, and photos of sheets; a local-only note of a sheet.
pub(crate) fn sheets() -> Model {
    use Identifier::{Natural, Server, Uuid};
    use Pattern::{LastWriteWins, LocalOnly};
    let sheet = [
        ("id", Type::Integer),
        ("title", Type::Text),
        ("next_id", Type::Integer),
    ];
    let mut sheet = entity("sheet", LastWriteWins, Server, 1, &sheet);
    refer(&mut sheet, &["next_id"], "sheet");
    let part = [
        ("sheet_id", Type::Integer),
        ("no", Type::Integer),
        ("name", Type::Text),
    ];
    let mut part = entity("part", LastWriteWins, Natural, 2, &part);
    refer(&mut part, &["sheet_id"], "sheet");
    let remark = [
        ("sheet_id", Type::Integer),
        ("part_no", Type::Integer),
        ("k", Type::Text),
        ("said", Type::Text),
    ];
    let mut remark = entity("remark", LastWriteWins, Natural, 3, &remark);
    refer(&mut remark, &["sheet_id", "part_no"], "part");
    let photo = [
        ("id", Type::Uuid),
        ("sheet_id", Type::Integer),
        ("caption", Type::Text),
    ];
    let mut photo = entity("photo", LastWriteWins, Uuid, 1, &photo);
    refer(&mut photo, &["sheet_id"], "sheet");
    let note = [
        ("id", Type::Uuid),
        ("sheet_id", Type::Integer),
        ("body", Type::Text),
    ];
    let mut note = entity("note", LocalOnly, Uuid, 1, &note);
    refer(&mut note, &["sheet_id"], "sheet");
    let label = [("word", Type::Text), ("colour", Type::Text)];
    let label = entity("label", LastWriteWins, Natural, 1, &label);
    let tag = [("word", Type::Text), ("photo_id", Type::Uuid)];
    let mut tag = entity("tag", LastWriteWins, Natural, 2, &tag);
    refer(&mut tag, &["word"], "label");
    refer(&mut tag, &["photo_id"], "photo");
    model(vec![remark, part, photo, sheet, note, tag, label])
}

pub(crate) fn world() -> World {
    let world = World::with(sheets());
    pull(&mut world.sync(), &[], "t1");
    world
}

/// The n-th temporary identifier of a table.
pub(crate) fn temporary(n: i64) -> Value {
    int(FIRST_TEMPORARY + n)
}

pub(crate) fn create_sheet(store: &mut Store, title: &str) -> Value {
    let key = store.create("sheet", &attributes([("title", text(title))]));
    key.unwrap().remove(0)
}

/// An applied change whose row has this identifier now.
pub(crate) fn renamed(key: &[Value]) -> Verdict {
    Verdict {
        key: Some(key.to_vec()),
        ..Verdict::applied()
    }
}

/// Stores one group's verdicts.
pub(crate) fn settle(sync: &mut SyncStore, sent: &Outgoing, at: usize, verdicts: Vec<Verdict>) {
    let outcome = outcome(sent.groups[at].id, verdicts);
    sync.store_outcomes(sent.request, &[outcome]).unwrap();
}

/// No table of the app's and no change holds a temporary identifier any more.
pub(crate) fn none_left(store: &mut Store) {
    for sql in [
        "SELECT id FROM sheet WHERE id >= 1 << 52 OR next_id >= 1 << 52",
        "SELECT no FROM part WHERE sheet_id >= 1 << 52",
        "SELECT k FROM remark WHERE sheet_id >= 1 << 52",
        "SELECT id FROM photo WHERE sheet_id >= 1 << 52",
        "SELECT id FROM note WHERE sheet_id >= 1 << 52",
        "SELECT sheet_id FROM afield_server_part WHERE sheet_id >= 1 << 52",
        "SELECT id FROM afield_server_sheet WHERE id >= 1 << 52",
    ] {
        assert!(query(store, sql).is_empty(), "{sql}");
    }
    let is_temporary =
        |value: &Value| matches!(value, Value::Integer(id) if *id >= FIRST_TEMPORARY);
    for change in store.changes().unwrap() {
        let values = change.key.iter().chain(change.base.values());
        let left = values.chain(change.set.values()).any(is_temporary);
        assert!(!left, "{change:?}");
    }
}

#[test]
fn an_identifier_left_out_is_temporary_on_any_connection() {
    let world = world();
    let mut store = world.store();
    assert_eq!(create_sheet(&mut store, "a"), temporary(1));
    let made = store.transaction(|tx| {
        let sql = "INSERT INTO sheet (title) VALUES ('b'), ('c')";
        tx.execute(sql, &Params::none())
    });
    assert_eq!(made.unwrap().last_insert_id, Some(FIRST_TEMPORARY + 3));
    let plain = world.plain();
    let sql = "INSERT INTO sheet DEFAULT VALUES RETURNING id";
    let made: i64 = plain.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(
        (made, made),
        (FIRST_TEMPORARY + 4, plain.last_insert_rowid())
    );
    let changes = store.changes().unwrap();
    let keys: Vec<Key> = changes.iter().map(|c| c.key.clone()).collect();
    assert_eq!(keys, [1, 2, 3, 4].map(|n| vec![temporary(n)]));
    assert!(changes.iter().all(|change| change.op == Op::Create));
    let given = store.create("sheet", &attributes([("id", int(7))]));
    assert_eq!(given.unwrap(), [int(7)]);
    let failed = execute(&mut store, "INSERT INTO sheet (id) VALUES ('x')").unwrap_err();
    assert_eq!(*failed.code(), Code::TYPE_MISMATCH);
}

#[test]
fn p1_a_trigger_of_the_apps_that_comes_first_hides_no_create() {
    let world = world();
    let triggers = "CREATE TRIGGER mine AFTER INSERT ON sheet WHEN NEW.title = 'fix' BEGIN \
                    UPDATE sheet SET title = 'fixed' WHERE id = NEW.id; END; \
                    CREATE TRIGGER undo AFTER INSERT ON sheet WHEN NEW.title = 'undo' BEGIN \
                    DELETE FROM sheet WHERE id = NEW.id; END; \
                    CREATE TRIGGER skip BEFORE INSERT ON sheet WHEN NEW.title = 'skip' BEGIN \
                    SELECT RAISE(IGNORE); END;";
    world.plain().execute_batch(triggers).unwrap();
    for sql in [
        "INSERT INTO sheet (title) VALUES ('undo'), ('fix'), ('skip'), ('undo')",
        "REPLACE INTO sheet (id, title) VALUES (NULL, 'undo')",
    ] {
        world.plain().execute_batch(sql).unwrap();
    }
    let mut store = world.store();
    let changes = store.changes().unwrap();
    assert_eq!(changes.len(), 1, "{changes:?}");
    assert_eq!(changes[0].op, Op::Create);
    assert_eq!(changes[0].set, attributes([("title", text("fixed"))]));
    let skipped = store.create("sheet", &attributes([("title", text("skip"))]));
    assert_eq!(*skipped.unwrap_err().code(), Code::SQL);
}

#[test]
fn p2_a_temporary_identifier_is_never_given_again() {
    let world = world();
    let mut store = world.store();
    for _ in 0..3 {
        let sheet = create_sheet(&mut store, "a");
        store.delete("sheet", &[sheet]).unwrap();
    }
    assert!(store.changes().unwrap().is_empty());
    // The entity changes, leaves and comes back: its table is made anew each time.
    let mut other = world.model.clone();
    let sheet = other.entities.iter_mut().find(|e| e.name == "sheet");
    sheet.unwrap().attributes[1].kind = Type::Json;
    let mut without = world.model.clone();
    without.entities.retain(|e| e.name == "label");
    without.units[0].entities = vec!["label".into()];
    for model in [&other, &without, &world.model] {
        world.sync().install(model).unwrap();
    }
    assert_eq!(create_sheet(&mut store, "b"), temporary(4));
}

#[test]
fn p2_a_frozen_group_says_who_creates_the_rows_it_refers_to() {
    let world = world();
    let (mut store, mut sync) = (world.store(), world.sync());
    let sheet = store.transaction(|tx| {
        tx.create("label", &attributes([("word", text("red"))]))?;
        let sheet = tx.create("sheet", &attributes([]))?.remove(0);
        let part = [("sheet_id", sheet.clone()), ("no", int(1))];
        tx.create("part", &attributes(part))?;
        Ok(sheet)
    });
    let sheet = sheet.unwrap();
    let photo = [("id", id(1)), ("sheet_id", sheet.clone())];
    store.create("photo", &attributes(photo)).unwrap();
    let key = [sheet.clone(), int(1)];
    store
        .update("part", &key, &attributes([("name", text("lid"))]))
        .unwrap();
    let sent = request(&mut sync);
    let groups = world.groups(&sent);
    let at = (groups[0].changes.iter()).position(|c| c.entity == "sheet");
    let origin = Origin {
        entity: "sheet".into(),
        temporary: FIRST_TEMPORARY + 1,
        group: groups[0].id,
        at: u32::try_from(at.unwrap()).unwrap(),
    };
    let origins: Vec<_> = groups.iter().map(|group| group.origins.clone()).collect();
    assert_eq!(origins, [vec![], vec![origin.clone()], vec![origin]]);
}

/// A sheet with children made before and after it was sent, in its group and in others.
fn family(world: &World) -> (Store, SyncStore, Outgoing, Value) {
    let (mut store, mut sync) = (world.store(), world.sync());
    let sheet = store.transaction(|tx| {
        let sheet = tx.create("sheet", &attributes([("title", text("a"))]))?;
        let sheet = sheet[0].clone();
        tx.create(
            "part",
            &attributes([("sheet_id", sheet.clone()), ("no", int(1))]),
        )?;
        Ok(sheet)
    });
    let sheet = sheet.unwrap();
    let photo = |n| attributes([("id", id(n)), ("sheet_id", sheet.clone())]);
    store.create("photo", &photo(1)).unwrap();
    let remark = attributes([
        ("sheet_id", sheet.clone()),
        ("part_no", int(1)),
        ("k", text("x")),
    ]);
    store.create("remark", &remark).unwrap();
    let sent = request(&mut sync);
    store.create("photo", &photo(2)).unwrap();
    let key = [sheet.clone(), int(1), text("x")];
    let said = attributes([("said", text("hm"))]);
    store.update("remark", &key, &said).unwrap();
    let next = attributes([("next_id", sheet.clone()), ("title", text("b"))]);
    store
        .update("sheet", std::slice::from_ref(&sheet), &next)
        .unwrap();
    let note = attributes([("id", id(9)), ("sheet_id", sheet.clone())]);
    store.create("note", &note).unwrap();
    (store, sync, sent, sheet)
}

fn check_family(store: &mut Store) {
    none_left(store);
    for (sql, found) in [
        (
            "SELECT id, title, next_id FROM sheet",
            vec![int(41), text("b"), int(41)],
        ),
        ("SELECT sheet_id, no FROM part", vec![int(41), int(1)]),
        (
            "SELECT sheet_id, part_no, k, said FROM remark",
            vec![int(41), int(1), text("x"), text("hm")],
        ),
        ("SELECT sheet_id, id FROM note", vec![int(41), id(9)]),
    ] {
        assert_eq!(query(store, sql), [found], "{sql}");
    }
    let photos = query(store, "SELECT id, sheet_id FROM photo ORDER BY id");
    assert_eq!(photos, [[id(1), int(41)], [id(2), int(41)]]);
}

#[test]
fn p3_the_outcome_renames_the_row_and_everything_that_refers_to_it() {
    let world = world();
    let (mut store, mut sync, sent, sheet) = family(&world);
    let before: Vec<_> = sent.groups.iter().map(|g| g.bytes.clone()).collect();
    let watch = store.watch("SELECT * FROM remark").unwrap();
    settle(
        &mut sync,
        &sent,
        0,
        vec![renamed(&[int(41)]), Verdict::applied()],
    );
    check_family(&mut store);
    store.watches().look();
    assert_eq!(watch.take(), 1, "who reads a renamed row is told");
    let outcomes = store.outcomes(0).unwrap();
    let names: Vec<_> = outcomes
        .iter()
        .map(|o| (o.key.clone(), o.new_key.clone()))
        .collect();
    let child = (vec![sheet.clone(), int(1)], Some(vec![int(41), int(1)]));
    assert_eq!(names, [(vec![sheet.clone()], Some(vec![int(41)])), child]);
    // What was sent stays as it was sent; what was not is sent with the real one.
    let again = request(&mut sync);
    let bytes: Vec<_> = again.groups.iter().map(|g| g.bytes.clone()).collect();
    assert_eq!(bytes[..2], before[1..]);
    for group in &world.groups(&again)[2..] {
        assert!(group.origins.is_empty(), "{group:?}");
    }
    // The same outcome once more, as after a lost answer.
    let changes = store.changes().unwrap();
    settle(
        &mut sync,
        &sent,
        0,
        vec![renamed(&[int(41)]), Verdict::applied()],
    );
    assert_eq!(store.changes().unwrap(), changes);
    assert_eq!(store.outcomes(0).unwrap(), outcomes);
    check_family(&mut store);
    // The pull brings the same rows, and nothing stays of the overlays.
    let applied = vec![Verdict::applied(); 1];
    for at in 0..again.groups.len() {
        settle(&mut sync, &again, at, applied.clone());
    }
    let null = Value::Null;
    let rows = [
        world.rows("sheet", &[&[int(41), text("b"), int(41)]]),
        world.rows("part", &[&[int(41), int(1), null.clone()]]),
        world.rows("remark", &[&[int(41), int(1), text("x"), text("hm")]]),
        world.rows(
            "photo",
            &[&[id(1), int(41), null.clone()], &[id(2), int(41), null]],
        ),
    ];
    answer(&mut sync, &again, &rows, "t2", true);
    check_family(&mut store);
    for table in ["sheet", "part", "remark", "photo"] {
        let sql = format!("SELECT * FROM afield_server_{table}");
        assert!(query(&store, &sql).is_empty(), "{table}");
    }
}

#[test]
fn p3_all_outcomes_of_a_batch_at_once() {
    let world = world();
    let (mut store, mut sync, sent, _) = family(&world);
    let verdicts = [
        vec![renamed(&[int(41)]), renamed(&[int(41), int(1)])],
        vec![Verdict::applied()],
        vec![renamed(&[int(41), int(1), text("x")])],
    ];
    let outcomes = sent.groups.iter().zip(verdicts);
    let outcomes: Vec<_> = outcomes.map(|(group, v)| outcome(group.id, v)).collect();
    sync.store_outcomes(sent.request, &outcomes).unwrap();
    check_family(&mut store);
}

#[test]
fn p3_a_pull_that_brings_the_row_before_its_outcome() {
    for staged in [false, true] {
        let world = world();
        let (mut store, mut sync, sent, _) = family(&world);
        // Another sync of this store was faster.
        let rows = [
            world.rows("sheet", &[&[int(41), text("a"), Value::Null]]),
            world.rows("part", &[&[int(41), int(1), text("theirs")]]),
        ];
        let second = sync.next_request(Some("main"), false, afield::RequestCaps::default());
        let second = second.unwrap();
        answer(&mut sync, &second, &rows, "t2", !staged);
        if !staged {
            let edit = attributes([("name", text("mine"))]);
            store.update("part", &[int(41), int(1)], &edit).unwrap();
            let ids = query(&store, "SELECT id FROM sheet ORDER BY id");
            assert_eq!(ids, [[int(41)], [temporary(1)]]);
        }
        settle(
            &mut sync,
            &sent,
            0,
            vec![renamed(&[int(41)]), Verdict::applied()],
        );
        check_family(&mut store);
        if staged {
            let third = sync.next_request(Some("main"), false, afield::RequestCaps::default());
            answer(&mut sync, &third.unwrap(), &[], "t3", true);
            check_family(&mut store);
        }
        let name = if staged { "theirs" } else { "mine" };
        let names = query(&store, "SELECT name FROM part");
        assert_eq!(names, [[text(name)]]);
    }
}

#[test]
fn a_row_that_the_user_deleted_meanwhile_is_deleted_under_its_real_name() {
    let world = world();
    let (mut store, mut sync) = (world.store(), world.sync());
    let sheet = create_sheet(&mut store, "a");
    let sent = request(&mut sync);
    store.delete("sheet", &[sheet]).unwrap();
    settle(&mut sync, &sent, 0, vec![renamed(&[int(41)])]);
    assert!(query(&store, "SELECT * FROM sheet").is_empty());
    let again = request(&mut sync);
    let groups = world.groups(&again);
    assert_eq!(groups[0].changes[0].key, [int(41)]);
    assert_eq!(groups[0].changes[0].op, Op::Delete);
}

#[test]
fn any_create_may_get_another_identifier() {
    let world = world();
    let (mut store, mut sync) = (world.store(), world.sync());
    store
        .create("label", &attributes([("word", text("Red"))]))
        .unwrap();
    store.create("photo", &attributes([("id", id(1))])).unwrap();
    let tag = attributes([("word", text("Red")), ("photo_id", id(1))]);
    store.create("tag", &tag).unwrap();
    let sent = request(&mut sync);
    let key = [text("Red")];
    let colour = attributes([("colour", text("#f00"))]);
    store.update("label", &key, &colour).unwrap();
    // The user deletes it, and makes another one under the name that the first one lost.
    settle(&mut sync, &sent, 0, vec![renamed(&[text("red")])]);
    settle(&mut sync, &sent, 1, vec![renamed(&[id(77)])]);
    store
        .create("label", &attributes([("word", text("Red"))]))
        .unwrap();
    let labels = query(&store, "SELECT word, colour FROM label ORDER BY word DESC");
    assert_eq!(
        labels,
        [[text("red"), text("#f00")], [text("Red"), Value::Null]]
    );
    let tags = query(&store, "SELECT word, photo_id FROM tag");
    assert_eq!(tags, [[text("red"), id(77)]]);
    assert_eq!(query(&store, "SELECT id FROM photo"), [[id(77)]]);
    let again = world.groups(&request(&mut sync));
    assert_eq!(
        again[0].changes[0].key,
        [text("Red"), id(1)],
        "it was sent so"
    );
    assert_eq!(again[1].changes[0].key, [text("red")]);
}

#[test]
fn p6_an_outcome_with_something_else_than_an_identifier_changes_nothing() {
    let world = world();
    let (mut store, mut sync) = (world.store(), world.sync());
    let sheet = create_sheet(&mut store, "a");
    let sent = request(&mut sync);
    for key in [
        vec![],
        vec![text("x")],
        vec![Value::Null],
        vec![int(1), int(2)],
    ] {
        let outcome = outcome(sent.groups[0].id, vec![renamed(&key)]);
        let failed = sync.store_outcomes(sent.request, &[outcome]).unwrap_err();
        assert_eq!(*failed.code(), Code::MALFORMED, "{key:?}");
    }
    assert!(store.outcomes(0).unwrap().is_empty());
    assert_eq!(query(&store, "SELECT id FROM sheet"), [[sheet]]);
}
