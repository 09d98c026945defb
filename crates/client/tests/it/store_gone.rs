//! P7: of a row that is gone only what the user typed stays on the device.

use afield::protocol::{Code, Frame, Theirs, Value, Verdict};
use afield::{ChangeState, Store};

use crate::world::{
    World, answer, at, attributes, execute, id, int, page, pull, query, request, settle, text,
};

/// What must not be found when the row is gone.
const SECRET: &str = "secret-of-the-server";
/// What the user typed and may find again.
const TYPED: &str = "typed-by-the-user";

fn key() -> [Value; 2] {
    [text("x"), int(1)]
}

fn row(world: &World, amount: i64, note: &str) -> Frame {
    world.rows("stock", &[&[text("x"), int(1), int(amount), text(note)]])
}

fn gone() -> Frame {
    Frame::Gone {
        entity: "stock".into(),
        keys: vec![key().to_vec()],
    }
}

fn secret(extra: &str) -> String {
    format!("{SECRET}{extra}{}", "-padding".repeat(40))
}

/// A row with a secret, an edit of it applied and seen, and more of the secret everywhere.
fn world() -> (World, Store) {
    let world = World::new();
    pull(&mut world.sync(), &[row(&world, 5, &secret("1"))], "t1");
    let store = world.store();
    (world, store)
}

/// How often the secret stands in the file, after everything is in the main file.
fn found_in_file(world: &World, needle: &str) -> usize {
    let plain = world.plain();
    plain
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    let bytes = std::fs::read(world.path()).unwrap();
    bytes
        .windows(needle.len())
        .filter(|at| *at == needle.as_bytes())
        .count()
}

fn applied_edit(world: &World, store: &mut Store) {
    let mut sync = world.sync();
    store
        .update("stock", &key(), &attributes([("amount", int(6))]))
        .unwrap();
    let sent = request(&mut sync);
    settle(&mut sync, &sent, &Verdict::applied());
    answer(&mut sync, &sent, &[row(world, 6, &secret("2"))], "t2", true);
}

#[test]
fn p7_a_gone_row_is_erased_everywhere() {
    let (world, mut store) = world();
    applied_edit(&world, &mut store);
    let mut sync = world.sync();
    // In staging, in a base that was sent, in one that was not, and in the row.
    let asked = request(&mut sync);
    answer(
        &mut sync,
        &asked,
        &[row(&world, 6, &secret("3"))],
        "p1",
        false,
    );
    store
        .update("stock", &key(), &attributes([("note", text(TYPED))]))
        .unwrap();
    let sent = request(&mut sync);
    store
        .update("stock", &key(), &attributes([("amount", int(7))]))
        .unwrap();
    assert!(found_in_file(&world, SECRET) > 0);
    settle(&mut sync, &sent, &Verdict::rejected(Code::GONE, "gone"));
    assert_eq!(
        query(&store, "SELECT amount, note FROM stock"),
        [[int(7), text(&secret("2"))]]
    );
    let last = request(&mut sync);
    settle(&mut sync, &last, &Verdict::rejected(Code::GONE, "gone"));
    pull(&mut sync, &[gone()], "p2");
    assert!(query(&store, "SELECT * FROM stock").is_empty());
    assert!(query(&store, "SELECT * FROM afield_stage_stock").is_empty());
    let changes = store.changes().unwrap();
    let typed: Vec<_> = changes.iter().map(|change| change.set.clone()).collect();
    assert_eq!(typed[1], attributes([("note", text(TYPED))]));
    assert_eq!(typed[2], attributes([("amount", int(7))]));
    assert!(
        changes
            .iter()
            .all(|change| change.base.is_empty() && change.theirs.is_none())
    );
    assert_eq!(changes[1].state, ChangeState::Parked);
    assert_eq!(found_in_file(&world, SECRET), 0);
    assert!(found_in_file(&world, TYPED) > 0);
}

#[test]
fn p5_a_gone_outcome_alone_takes_no_row_away() {
    // It may be older than the device's position, or of a history that the server went back
    // from; then no pull mentions the row, because nothing happened to it.
    let (world, mut store) = world();
    store
        .update("stock", &key(), &attributes([("note", text(TYPED))]))
        .unwrap();
    let mut sync = world.sync();
    let sent = request(&mut sync);
    settle(&mut sync, &sent, &Verdict::rejected(Code::GONE, "gone"));
    answer(&mut sync, &sent, &[], "t2", true);
    assert_eq!(
        query(&store, "SELECT amount, note FROM stock"),
        [[int(5), text(&secret("1"))]]
    );
    assert_eq!(store.changes().unwrap()[0].state, ChangeState::Parked);
}

#[test]
fn p7_a_row_that_leaves_with_a_pull_is_erased_with_its_history() {
    let (world, mut store) = world();
    applied_edit(&world, &mut store);
    pull(&mut world.sync(), &[gone()], "t3");
    assert!(query(&store, "SELECT * FROM stock").is_empty());
    let change = &store.changes().unwrap()[0];
    assert_eq!(
        (&change.set, change.base.len()),
        (&attributes([("amount", int(6))]), 0)
    );
    assert_eq!(found_in_file(&world, SECRET), 0);
}

#[test]
fn p7_a_row_that_leaves_with_a_reset_is_erased_with_its_history() {
    let (world, mut store) = world();
    applied_edit(&world, &mut store);
    store
        .update("stock", &key(), &attributes([("note", text(TYPED))]))
        .unwrap();
    let mut sync = world.sync();
    let sent = request(&mut sync);
    let theirs = attributes([("amount", int(6)), ("note", text(&secret("4")))]);
    let conflict = Verdict::conflict(Code::ROW_CHANGED, Theirs::Row(theirs));
    settle(&mut sync, &sent, &conflict);
    page(
        &mut sync,
        sent.request,
        &sent.pull,
        &[],
        "r1",
        false,
        &["stock"],
    )
    .unwrap();
    let from = at(&sent.pull, "r1");
    page(&mut sync, sent.request, &from, &[], "t3", true, &[]).unwrap();
    assert!(query(&store, "SELECT * FROM stock").is_empty());
    let parked = &store.changes().unwrap()[1];
    assert_eq!(parked.state, ChangeState::Parked);
    assert_eq!(parked.set, attributes([("note", text(TYPED))]));
    assert!(parked.base.is_empty() && parked.theirs.is_none());
    assert_eq!(found_in_file(&world, SECRET), 0);
}

#[test]
fn p1_a_gone_row_keeps_unsent_edits_until_their_own_outcome() {
    let (world, mut store) = world();
    store
        .update("stock", &key(), &attributes([("note", text(TYPED))]))
        .unwrap();
    pull(&mut world.sync(), &[gone()], "t2");
    assert_eq!(
        query(&store, "SELECT amount, note FROM stock"),
        [[int(5), text(TYPED)]]
    );
    let mut sync = world.sync();
    let sent = request(&mut sync);
    assert_eq!(sent.groups.len(), 1);
    settle(&mut sync, &sent, &Verdict::rejected(Code::GONE, "gone"));
    assert!(query(&store, "SELECT * FROM stock").is_empty());
    assert_eq!(found_in_file(&world, SECRET), 0);
}

#[test]
fn p7_a_gone_row_is_erased_when_its_edit_is_refused_for_another_reason() {
    // A pull said so first, and then the group was refused for another of its changes.
    let (world, mut store) = world();
    store
        .update("stock", &key(), &attributes([("note", text(TYPED))]))
        .unwrap();
    pull(&mut world.sync(), &[gone()], "t2");
    let mut sync = world.sync();
    let sent = request(&mut sync);
    let verdict = Verdict::rejected(Code::GROUP_REFUSED, "another change of the group");
    settle(&mut sync, &sent, &verdict);
    assert!(query(&store, "SELECT * FROM stock").is_empty());
    assert_eq!(found_in_file(&world, SECRET), 0);
    let parked = &store.changes().unwrap()[0];
    assert_eq!(parked.set, attributes([("note", text(TYPED))]));
}

#[test]
fn p1_edits_of_a_row_that_was_never_accepted_stay_visible() {
    // The create is refused, and the edit behind it finds no row: nothing here was the server's.
    let world = World::new();
    let (mut store, mut sync) = (world.store(), world.sync());
    execute(&mut store, "INSERT INTO stock VALUES ('x', 1, 5, NULL)").unwrap();
    let first = request(&mut sync);
    store
        .update("stock", &key(), &attributes([("note", text(TYPED))]))
        .unwrap();
    let both = request(&mut sync);
    assert_eq!((first.groups.len(), both.groups.len()), (1, 2));
    let outcomes = [
        (
            both.groups[0].id,
            Verdict::rejected(Code::CHECK_FAILED, "no"),
        ),
        (both.groups[1].id, Verdict::rejected(Code::GONE, "gone")),
    ];
    let outcomes = outcomes.map(|(id, verdict)| crate::world::outcome(id, vec![verdict]));
    sync.store_outcomes(both.request, &outcomes).unwrap();
    answer(&mut sync, &both, &[gone()], "t1", true);
    let rows = query(&store, "SELECT amount, note FROM stock");
    assert_eq!(rows, [[int(5), text(TYPED)]]);
    assert_eq!(store.status().unwrap().parked, 2);
}

#[test]
fn a_settled_delete_keeps_what_it_deleted_in_the_history() {
    let (world, mut store) = world();
    let mut sync = world.sync();
    store.delete("stock", &key()).unwrap();
    let sent = request(&mut sync);
    settle(&mut sync, &sent, &Verdict::applied());
    answer(&mut sync, &sent, &[gone()], "t2", true);
    assert_eq!(store.changes().unwrap()[0].base["amount"], int(5));
}

#[test]
fn p7_a_row_that_left_is_erased_when_an_edit_that_only_waited_is_given_up() {
    let world = World::new();
    let visit = [id(11), Value::Null, text(&secret("1")), int(1)];
    pull(&mut world.sync(), &[world.rows("visit", &[&visit])], "t1");
    let mut store = world.store();
    store
        .create("contact", &attributes([("id", id(1))]))
        .unwrap();
    let mut sync = world.sync();
    let sent = request(&mut sync);
    settle(&mut sync, &sent, &Verdict::rejected(Code::FORBIDDEN, "no"));
    let edit = attributes([("contact_id", id(1)), ("title", text(TYPED))]);
    store.update("visit", &[id(11)], &edit).unwrap();
    let gone = Frame::Gone {
        entity: "visit".into(),
        keys: vec![vec![id(11)]],
    };
    pull(&mut sync, &[gone], "t2");
    let changes = store.changes().unwrap();
    let states: Vec<ChangeState> = changes.iter().map(|change| change.state).collect();
    assert_eq!(states, [ChangeState::Parked, ChangeState::Held]);
    // It takes along what depends on it.
    store.drop_change(&changes[0].change).unwrap();
    let changes = store.changes().unwrap();
    assert!(
        changes
            .iter()
            .all(|change| change.state == ChangeState::Dropped && change.base.is_empty())
    );
    assert_eq!(changes[1].set, edit);
    assert!(query(&store, "SELECT * FROM visit").is_empty());
    assert_eq!(found_in_file(&world, SECRET), 0);
}
