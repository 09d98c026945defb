//! Lookups on the device: read, never written, and no part of what is sent or in conflict.

use afield::protocol::{
    Attribute, Attributes, Code, Entity, Frame, Identifier, Model, Pattern, Theirs, Type, Value,
    Verdict,
};
use afield::{Resolution, Store};

use crate::world::{
    World, answer, attributes, entity, execute, int, model, pull, query, request, settle, text,
};

/// A visit with a note and a rank, and the name of its company.
fn visits() -> Model {
    let own = [
        ("id", Type::Integer),
        ("company_id", Type::Integer),
        ("note", Type::Text),
    ];
    let mut visit = entity(
        "visit",
        Pattern::DetectConflicts,
        Identifier::Natural,
        1,
        &own,
    );
    let mut name = Attribute::new("company_name", Type::Text);
    (name.read_only, name.lookup) = (true, true);
    visit.attributes.push(name);
    model(vec![visit])
}

fn row(world: &World, note: &str, company: &str) -> Frame {
    world.rows("visit", &[&[int(1), int(7), text(note), text(company)]])
}

fn filled() -> (World, Store) {
    let world = World::with(visits());
    pull(&mut world.sync(), &[row(&world, "a", "Adler")], "t1");
    let store = world.store();
    (world, store)
}

const SHOWN: &str = "SELECT note, company_name FROM visit WHERE id = 1";

fn base() -> Attributes {
    attributes([("company_id", int(7)), ("note", text("a"))])
}

#[test]
fn p3_an_overlay_shows_the_newest_lookup_and_speaks_of_none() {
    let (world, mut store) = filled();
    let mut sync = world.sync();
    let note = |note: &str| attributes([("note", text(note))]);
    store.update("visit", &[int(1)], &note("b")).unwrap();
    pull(&mut sync, &[row(&world, "a", "renamed")], "t2");
    assert_eq!(query(&store, SHOWN), [[text("b"), text("renamed")]]);
    let sent = request(&mut sync);
    let change = world.groups(&sent)[0].changes[0].clone();
    assert_eq!((change.base, change.set), (base(), note("b")));
    settle(&mut sync, &sent, &Verdict::applied());
    answer(&mut sync, &sent, &[row(&world, "b", "again")], "t3", true);
    assert_eq!(query(&store, SHOWN), [[text("b"), text("again")]]);
    store.delete("visit", &[int(1)]).unwrap();
    let deleted = request(&mut sync);
    let change = world.groups(&deleted)[0].changes[0].clone();
    assert!(!change.base.contains_key("company_name"), "{change:?}");
}

#[test]
fn p7_no_write_reaches_a_lookup() {
    let (world, mut store) = filled();
    let plain = world.plain();
    for sql in [
        "UPDATE visit SET company_name = 'mine'",
        "UPDATE visit SET company_name = NULL, note = 'x'",
        "INSERT INTO visit (id, company_name) VALUES (2, 'mine')",
        "INSERT OR REPLACE INTO visit VALUES (1, 7, 'x', 'Adler')",
    ] {
        let error = execute(&mut store, sql).unwrap_err();
        assert_eq!(error.code(), &Code::READ_ONLY, "{sql}");
        assert_eq!(error.attribute(), Some("company_name"), "{sql}");
        assert!(error.to_string().contains("is a lookup"), "{error}");
        plain.execute_batch(sql).unwrap_err();
    }
    let set = attributes([("company_name", text("mine"))]);
    let error = store.update("visit", &[int(1)], &set).unwrap_err();
    assert_eq!(error.code(), &Code::READ_ONLY);
    assert_eq!(query(&store, SHOWN), [[text("a"), text("Adler")]]);
    assert!(request(&mut world.sync()).groups.is_empty());
}

/// A row that is replaced by itself is no change, so that no pull would bring its lookup again.
#[test]
fn p4_a_row_that_is_made_again_keeps_its_lookup() {
    let (world, mut store) = filled();
    let again = "INSERT OR REPLACE INTO visit (id, company_id, note) VALUES (1, 7, 'a')";
    execute(&mut store, again).unwrap();
    assert_eq!(query(&store, SHOWN), [[text("a"), text("Adler")]]);
    world.plain().execute_batch(again).unwrap();
    world
        .plain()
        .execute_batch(
            "DELETE FROM visit; INSERT INTO visit (id, company_id, note) VALUES (1, 7, 'a')",
        )
        .unwrap();
    let mut sync = world.sync();
    assert!(request(&mut sync).groups.is_empty());
    assert_eq!(query(&store, SHOWN), [[text("a"), text("Adler")]]);
    execute(&mut store, &again.replace("'a'", "'b'")).unwrap();
    assert_eq!(query(&store, SHOWN), [[text("b"), text("Adler")]]);
    let change = world.groups(&request(&mut sync))[0].changes[0].clone();
    let set = attributes([("note", text("b"))]);
    assert_eq!((change.base, change.set), (base(), set));
}

/// Deleted in one transaction and made again in the next: that is one edit of the row, which shows
/// what others say now. With equal values it is none at all.
#[test]
fn p3_a_row_deleted_and_made_again_later_shows_its_lookup() {
    for note in ["b", "a"] {
        let (world, mut store) = filled();
        execute(&mut store, "DELETE FROM visit").unwrap();
        pull(&mut world.sync(), &[row(&world, "a", "renamed")], "t2");
        let again = format!("INSERT INTO visit (id, company_id, note) VALUES (1, 7, '{note}')");
        execute(&mut store, &again).unwrap();
        assert_eq!(query(&store, SHOWN), [[text(note), text("renamed")]]);
        let mut sync = world.sync();
        let sent = world.groups(&request(&mut sync));
        assert_eq!(sent.len(), usize::from(note == "b"), "{sent:?}");
        assert_eq!(query(&store, SHOWN), [[text(note), text("renamed")]]);
    }
}

#[test]
fn p6_a_conflict_shows_no_lookups_and_a_merge_may_hand_them_back() {
    let (world, mut store) = filled();
    let mut sync = world.sync();
    let edit = attributes([("note", text("b"))]);
    store.update("visit", &[int(1)], &edit).unwrap();
    let sent = request(&mut sync);
    let theirs = attributes([("company_id", int(7)), ("note", text("c"))]);
    let conflict = Verdict::conflict(Code::ROW_CHANGED, Theirs::Row(theirs.clone()));
    settle(&mut sync, &sent, &conflict);
    answer(&mut sync, &sent, &[row(&world, "c", "renamed")], "t2", true);
    assert_eq!(query(&store, SHOWN), [[text("b"), text("renamed")]]);
    let open = store.conflicts().unwrap().remove(0);
    assert_eq!(open.theirs, Some(theirs));
    assert_eq!(open.attributes, ["note"]);
    let merged = |company: &str| {
        let values = [("note", text("b and c")), ("company_name", text(company))];
        Resolution::Merged(attributes(values))
    };
    let error = store.resolve(&open.conflict, &merged("mine")).unwrap_err();
    assert_eq!(error.code(), &Code::READ_ONLY);
    store.resolve(&open.conflict, &merged("renamed")).unwrap();
    let change = world.groups(&request(&mut sync))[0].changes[0].clone();
    assert_eq!(change.set, attributes([("note", text("b and c"))]));
    assert_eq!(query(&store, SHOWN), [[text("b and c"), text("renamed")]]);
}

#[test]
fn a_created_row_has_its_lookup_from_the_pull() {
    let (world, mut store) = filled();
    let mut sync = world.sync();
    let new = attributes([
        ("id", int(2)),
        ("company_id", int(7)),
        ("company_name", Value::Null),
    ]);
    store.create("visit", &new).unwrap();
    let sent = request(&mut sync);
    let change = world.groups(&sent)[0].changes[0].clone();
    assert_eq!(change.set, attributes([("company_id", int(7))]));
    settle(&mut sync, &sent, &Verdict::applied());
    let fresh = "SELECT company_name FROM visit WHERE id = 2";
    assert_eq!(query(&store, fresh), [[Value::Null]]);
    let rows = world.rows("visit", &[&[int(2), int(7), Value::Null, text("Adler")]]);
    answer(&mut sync, &sent, &[rows], "t2", true);
    assert_eq!(query(&store, fresh), [[text("Adler")]]);
}

/// The tables are made anew, and loaded again.
#[test]
fn a_model_that_gains_a_lookup_is_installed() {
    let plain = |model: Model| {
        let bare = |entity: Entity| Entity {
            attributes: entity
                .attributes
                .into_iter()
                .filter(|a| !a.lookup)
                .collect(),
            ..entity
        };
        Model {
            entities: model.entities.into_iter().map(bare).collect(),
            ..model
        }
    };
    let mut world = World::with(plain(visits()));
    let rows = world.rows("visit", &[&[int(1), int(7), text("a")]]);
    pull(&mut world.sync(), &[rows], "t1");
    world.model = visits();
    let mut sync = world.sync();
    sync.install(&world.model).unwrap();
    assert_eq!(request(&mut sync).pull, [("visit".to_owned(), None)]);
    pull(&mut sync, &[row(&world, "a", "Adler")], "t2");
    assert_eq!(query(&world.store(), SHOWN), [[text("a"), text("Adler")]]);
}
