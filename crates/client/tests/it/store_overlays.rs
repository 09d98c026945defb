//! Overlays: what the user wrote stays on top of what a pull brings.

use afield::protocol::{Code, Theirs, Value, Verdict};
use afield::{PageApplied, RequestCaps};

use crate::stock::{X, amount, filled, gone, key, stock};
use crate::world::{
    answer, at, attributes, execute, int, page, pull, query, request, settle, text,
};

#[test]
fn p3_an_edit_while_its_row_is_in_flight_stays() {
    let (world, mut store) = filled();
    let mut sync = world.sync();
    store.update("stock", &key(), &amount(6)).unwrap();
    let sent = request(&mut sync);
    store.update("stock", &key(), &amount(7)).unwrap();
    settle(&mut sync, &sent, &Verdict::applied());
    assert_eq!(query(&store, X), [[int(7)]]);
    answer(
        &mut sync,
        &sent,
        &[stock(&world, &[("x", 1, 6)])],
        "t2",
        true,
    );
    assert_eq!(query(&store, X), [[int(7)]]);
    let next = request(&mut sync);
    let change = world.groups(&next)[0].changes[0].clone();
    assert_eq!((change.base, change.set), (amount(6), amount(7)));
    settle(&mut sync, &next, &Verdict::applied());
    answer(
        &mut sync,
        &next,
        &[stock(&world, &[("x", 1, 7)])],
        "t3",
        true,
    );
    assert_eq!(query(&store, X), [[int(7)]]);
    assert_eq!(
        query(&store, "SELECT count(*) FROM afield_server_stock"),
        [[int(0)]]
    );
}

#[test]
fn p3_a_settled_edit_stays_until_a_pull_that_was_asked_for_after_it() {
    let (world, mut store) = filled();
    let (mut sync, mut other) = (world.sync(), world.sync());
    store.update("stock", &key(), &amount(6)).unwrap();
    let sent = sync
        .next_request(None, true, RequestCaps::default())
        .unwrap();
    // Another sync of the same store asks before the outcome is here; its answer, made before
    // the push, comes after the outcome.
    let early = other
        .next_request(Some("main"), false, RequestCaps::default())
        .unwrap();
    settle(&mut sync, &sent, &Verdict::applied());
    answer(&mut other, &early, &[], "t2", true);
    assert_eq!(
        query(&store, X),
        [[int(6)]],
        "the pull did not contain the edit"
    );
    let later = other
        .next_request(Some("main"), false, RequestCaps::default())
        .unwrap();
    answer(
        &mut other,
        &later,
        &[stock(&world, &[("x", 1, 8)])],
        "t3",
        true,
    );
    assert_eq!(query(&store, X), [[int(8)]]);
}

#[test]
fn p3_a_settled_edit_stays_over_pages_that_are_not_complete() {
    let (world, mut store) = filled();
    let mut sync = world.sync();
    store.update("stock", &key(), &amount(6)).unwrap();
    let sent = request(&mut sync);
    settle(&mut sync, &sent, &Verdict::applied());
    answer(
        &mut sync,
        &sent,
        &[stock(&world, &[("y", 1, 1)])],
        "p1",
        false,
    );
    assert_eq!(query(&store, X), [[int(6)]]);
    let pulled = at(&sent.pull, "p1");
    let last = [stock(&world, &[("x", 1, 6)])];
    page(&mut sync, sent.request, &pulled, &last, "t2", true, &[]).unwrap();
    assert_eq!(query(&store, X), [[int(6)]]);
    assert_eq!(
        query(&store, "SELECT count(*) FROM afield_server_stock"),
        [[int(0)]]
    );
}

#[test]
fn p3_pulls_do_not_cover_unsent_edits() {
    let (world, mut store) = filled();
    let mut sync = world.sync();
    pull(
        &mut sync,
        &[stock(&world, &[("y", 1, 1), ("z", 1, 1)])],
        "t2",
    );
    store.update("stock", &key(), &amount(6)).unwrap();
    store.delete("stock", &[text("y"), int(1)]).unwrap();
    // By plain SQL, not sealed yet when the page comes.
    world
        .plain()
        .execute_batch("UPDATE stock SET amount = 7 WHERE place = 'z'")
        .unwrap();
    let theirs = [
        world.rows("stock", &[&[text("x"), int(1), int(50), text("theirs")]]),
        stock(&world, &[("y", 1, 51)]),
        gone(&[("z", 1)]),
    ];
    pull(&mut sync, &theirs, "t3");
    let rows = query(
        &store,
        "SELECT place, amount, note FROM stock ORDER BY place",
    );
    assert_eq!(
        rows,
        [
            [text("x"), int(6), text("theirs")],
            [text("z"), int(7), Value::Null],
        ]
    );
}

#[test]
fn what_the_server_made_of_a_value_shows_with_the_outcome() {
    let (world, mut store) = filled();
    let mut sync = world.sync();
    let note = |word: &str| attributes([("note", text(word))]);
    store.update("stock", &key(), &note(" a ")).unwrap();
    let sent = request(&mut sync);
    let trimmed = Verdict {
        values: note("a"),
        ..Verdict::applied()
    };
    settle(&mut sync, &sent, &trimmed);
    let shown = query(&store, "SELECT note FROM stock");
    assert_eq!(shown, [[text("a")]]);
}

#[test]
fn a_refused_delete_shows_nothing_until_decided_and_theirs_is_kept() {
    let (world, mut store) = filled();
    let mut sync = world.sync();
    store.delete("stock", &key()).unwrap();
    let sent = request(&mut sync);
    let theirs = attributes([("amount", int(9)), ("note", Value::Null)]);
    let conflict = Verdict::conflict(Code::ROW_CHANGED, Theirs::Row(theirs.clone()));
    settle(&mut sync, &sent, &conflict);
    answer(
        &mut sync,
        &sent,
        &[stock(&world, &[("x", 1, 9)])],
        "t2",
        true,
    );
    assert!(query(&store, X).is_empty());
    assert_eq!(store.changes().unwrap()[0].theirs, Some(theirs));
    let server = "SELECT existed, amount FROM afield_server_stock";
    assert_eq!(query(&store, server), [[int(1), int(9)]]);
}

#[test]
fn two_sync_stores_on_one_file_do_not_undo_each_other() {
    let (world, mut store) = filled();
    let (mut one, mut two) = (world.sync(), world.sync());
    execute(&mut store, "INSERT INTO label VALUES ('a')").unwrap();
    let (first, second) = (request(&mut one), request(&mut two));
    assert_ne!(first.request, second.request);
    assert_eq!(
        first.groups, second.groups,
        "the same bytes, so the server answers the same"
    );
    settle(&mut two, &second, &Verdict::applied());
    answer(
        &mut two,
        &second,
        &[world.rows("label", &[&[text("a")]])],
        "t2",
        true,
    );
    settle(&mut one, &first, &Verdict::applied());
    assert_eq!(
        answer(&mut one, &first, &[], "t2", true),
        PageApplied::Overtaken
    );
    assert_eq!(query(&store, "SELECT word FROM label"), [[text("a")]]);
    assert_eq!(store.outcomes(0).unwrap().len(), 1);
    assert_eq!(store.status().unwrap().pending, 0);
}
