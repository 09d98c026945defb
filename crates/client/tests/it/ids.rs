//! Identifiers that the server makes: temporary ones on the device, real ones with the outcome.

use afield::protocol::{
    Code, FIRST_TEMPORARY, Identifier, Key, Model, Op, Origin, Pattern, Type, Value, Verdict,
};
use afield::{Outgoing, Params, Store, SyncStore};

use crate::world::{
    World, attributes, entity, execute, id, int, model, outcome, pull, query, refer, request, text,
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
    let shade = [("id", Type::Integer), ("word", Type::Text)];
    let mut shade = entity("shade", LastWriteWins, Natural, 1, &shade);
    refer(&mut shade, &["word"], "label");
    let entities = vec![remark, part, photo, sheet, note, shade, tag, label];
    model(entities)
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
    let key = [sheet, int(1)];
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
