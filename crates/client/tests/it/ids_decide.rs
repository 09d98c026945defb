//! Temporary identifiers and changes that are refused, wait and are decided.

use afield::protocol::{Code, FIRST_TEMPORARY, Op, Verdict};
use afield::{Outgoing, Store, SyncStore};

use crate::ids::{create_sheet, none_left, renamed, settle, sheets, temporary, world};
use crate::world::{World, attributes, id, int, query, request, text};

/// A sheet and a photo of it, sent in two groups; the sheet is refused and the photo waits.
fn refused(world: &World) -> (Store, SyncStore, Outgoing) {
    let (mut store, mut sync) = (world.store(), world.sync());
    let sheet = create_sheet(&mut store, "a");
    let photo = attributes([("id", id(1)), ("sheet_id", sheet)]);
    store.create("photo", &photo).unwrap();
    let sent = request(&mut sync);
    let no = Verdict::rejected(Code::CHECK_FAILED, "no");
    settle(&mut sync, &sent, 0, vec![no]);
    let waits = Verdict::rejected(Code::WAITS_FOR, "the sheet");
    settle(&mut sync, &sent, 1, vec![waits]);
    (store, sync, sent)
}

#[test]
fn p3_a_refused_create_goes_again_and_what_waits_for_it_finds_it() {
    let world = world();
    let (mut store, mut sync, first) = refused(&world);
    assert!(request(&mut sync).groups.is_empty(), "the photo is held");
    let changes = store.changes().unwrap();
    let set = attributes([("title", text("b")), ("next_id", temporary(1))]);
    store.retry(&changes[0].change, Some(&set)).unwrap();
    // What was sent back waits for the next sync.
    let mut sync = world.sync();
    let sent = request(&mut sync);
    let groups = world.groups(&sent);
    assert_eq!(groups.len(), 2);
    let sheet = groups
        .iter()
        .find(|g| g.changes[0].entity == "sheet")
        .unwrap();
    let photo = groups
        .iter()
        .find(|g| g.changes[0].entity == "photo")
        .unwrap();
    assert_eq!(sheet.absorbed, [first.groups[0].id]);
    assert_eq!(photo.absorbed, [first.groups[1].id]);
    let origin = &photo.origins[0];
    assert_eq!(
        (origin.group, origin.temporary),
        (sheet.id, FIRST_TEMPORARY + 1)
    );
    let at = groups.iter().position(|g| g.id == sheet.id).unwrap();
    settle(&mut sync, &sent, at, vec![renamed(&[int(41)])]);
    none_left(&mut store);
    let shown = query(&store, "SELECT * FROM sheet");
    assert_eq!(shown, [[int(41), text("b"), int(41)]]);
    assert_eq!(query(&store, "SELECT sheet_id FROM photo"), [[int(41)]]);
    let row = store.row_state("sheet", &[temporary(1)]).unwrap();
    assert_eq!(row, store.row_state("sheet", &[int(41)]).unwrap());
}

#[test]
fn p1_dropping_a_create_takes_what_refers_to_its_temporary_identifier() {
    let world = world();
    let (mut store, mut sync, _) = refused(&world);
    let changes = store.changes().unwrap();
    store.drop_change(&changes[0].change).unwrap();
    assert!(query(&store, "SELECT id FROM sheet").is_empty());
    assert!(query(&store, "SELECT id FROM photo").is_empty());
    assert!(request(&mut sync).groups.is_empty());
    assert_eq!(create_sheet(&mut store, "b"), temporary(2));
}

#[test]
fn p3_a_row_that_is_sent_and_forgotten_takes_its_identifier_along() {
    let mut model = sheets();
    let sheet = model.entities.iter_mut().find(|e| e.name == "sheet");
    sheet.unwrap().insert_only = true;
    let world = World::with(model);
    let (mut store, mut sync) = (world.store(), world.sync());
    let sheet = create_sheet(&mut store, "a");
    let photo = attributes([("id", id(1)), ("sheet_id", sheet)]);
    store.create("photo", &photo).unwrap();
    world
        .plain()
        .execute_batch("INSERT INTO sheet DEFAULT VALUES")
        .unwrap();
    let sent = request(&mut sync);
    settle(&mut sync, &sent, 0, vec![renamed(&[int(41)])]);
    settle(&mut sync, &sent, 2, vec![renamed(&[int(42)])]);
    none_left(&mut store);
    assert!(query(&store, "SELECT id FROM sheet").is_empty());
    assert_eq!(query(&store, "SELECT sheet_id FROM photo"), [[int(41)]]);
    let left: Vec<_> = store.changes().unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!((left[0].op, left[0].entity.as_str()), (Op::Create, "photo"));
}
