//! What waits for what, and what flows past it.

use afield::protocol::{Attributes, Code, Frame, Op, Value, Verdict};
use afield::{ChangeState, Store};

use crate::world::{World, attributes, execute, id, int, pull, query, request, settle, text};

fn stock(world: &World, rows: &[(&str, i64, i64)]) {
    let rows: Vec<_> = rows
        .iter()
        .map(|(place, part, amount)| [text(place), int(*part), int(*amount), Value::Null])
        .collect();
    let rows: Vec<&[Value]> = rows.iter().map(|row| row.as_slice()).collect();
    let mut sync = world.sync();
    let token = format!("t{}", sync.now_ms());
    world.pass_ms(1);
    pull(&mut sync, &[world.rows("stock", &rows)], &token);
}

fn amount(n: i64) -> Attributes {
    attributes([("amount", int(n))])
}

/// Visits of contacts: which changes are sent while the first group is refused.
fn parked_create(verdict: &Verdict) -> (World, Store) {
    let world = World::new();
    let mut store = world.store();
    store
        .create("contact", &attributes([("id", id(1))]))
        .unwrap();
    settle(&mut world.sync(), &request(&mut world.sync()), verdict);
    (world, store)
}

fn refused() -> Verdict {
    Verdict::rejected(Code::CHECK_FAILED, "no")
}

#[test]
fn p8_what_depends_on_a_parked_change_is_held_and_the_rest_flows() {
    let (world, mut store) = parked_create(&refused());
    let visit = |n, contact| attributes([("id", id(n)), ("contact_id", id(contact))]);
    store.create("visit", &visit(11, 1)).unwrap();
    store.create("visit", &visit(12, 2)).unwrap();
    store
        .update("contact", &[id(1)], &attributes([("phone", text("5"))]))
        .unwrap();
    store
        .transaction(|tx| {
            tx.create("label", &attributes([("word", text("shares a group"))]))?;
            tx.update("visit", &[id(11)], &attributes([("score", int(1))]))
        })
        .unwrap();
    store
        .create("label", &attributes([("word", text("free"))]))
        .unwrap();
    let sent = world.groups(&request(&mut world.sync()));
    let keys: Vec<_> = sent
        .iter()
        .map(|group| group.changes[0].key[0].clone())
        .collect();
    assert_eq!(keys, [id(12), text("free")]);
    let status = store.status().unwrap();
    assert_eq!((status.parked, status.held, status.pending), (1, 4, 2));
    let held = store.changes().unwrap();
    let held = held
        .iter()
        .filter(|change| change.state == ChangeState::Held);
    assert_eq!(held.count(), 4);
}

#[test]
fn p8_other_attributes_of_a_row_with_a_parked_update_flow() {
    let world = World::new();
    stock(&world, &[("x", 1, 5), ("x", 2, 5)]);
    let mut store = world.store();
    store
        .update("stock", &[text("x"), int(1)], &amount(-1))
        .unwrap();
    settle(&mut world.sync(), &request(&mut world.sync()), &refused());
    let note = attributes([("note", text("n"))]);
    store.update("stock", &[text("x"), int(1)], &note).unwrap();
    store
        .update("stock", &[text("x"), int(2)], &amount(6))
        .unwrap();
    store
        .update("stock", &[text("x"), int(1)], &amount(-2))
        .unwrap();
    let sent = world.groups(&request(&mut world.sync()));
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].changes[0].set, note);
    assert_eq!(
        query(&store, "SELECT amount, note FROM stock"),
        [[int(-2), text("n")], [int(6), Value::Null]]
    );
}

#[test]
fn p8_a_group_that_backs_off_lets_others_pass_and_comes_back() {
    let world = World::new();
    stock(&world, &[("x", 1, 5), ("x", 2, 5)]);
    let (mut store, mut sync) = (world.store(), world.sync());
    store
        .update("stock", &[text("x"), int(1)], &amount(6))
        .unwrap();
    let first = request(&mut sync);
    sync.back_off(first.groups[0].id, 5_000).unwrap();
    assert_eq!(sync.attempts(first.groups[0].id).unwrap(), 1);
    store
        .update("stock", &[text("x"), int(2)], &amount(6))
        .unwrap();
    store
        .update("stock", &[text("x"), int(1)], &amount(7))
        .unwrap();
    let meanwhile = request(&mut sync);
    assert_eq!(meanwhile.groups.len(), 1);
    assert_eq!(world.group(&meanwhile.groups[0]).changes[0].key[1], int(2));
    world.pass_ms(5_000);
    let later = request(&mut sync);
    assert_eq!(later.groups.len(), 3);
    assert_eq!(later.groups[0], first.groups[0]);
}

#[test]
fn a_gone_row_may_be_made_again() {
    let world = World::new();
    stock(&world, &[("x", 1, 5)]);
    let mut store = world.store();
    store
        .update("stock", &[text("x"), int(1)], &amount(6))
        .unwrap();
    let gone = Verdict::rejected(Code::GONE, "gone");
    settle(&mut world.sync(), &request(&mut world.sync()), &gone);
    let keys = vec![vec![text("x"), int(1)]];
    let entity = "stock".into();
    pull(&mut world.sync(), &[Frame::Gone { entity, keys }], "t2");
    assert!(query(&store, "SELECT * FROM stock").is_empty());
    let new = attributes([("place", text("x")), ("part", int(1)), ("amount", int(7))]);
    store.create("stock", &new).unwrap();
    let sent = world.groups(&request(&mut world.sync()));
    assert_eq!(sent.len(), 1, "{:?}", store.changes());
    assert_eq!(sent[0].changes[0].op, Op::Create);
    assert_eq!(sent[0].changes[0].set, amount(7));
}

#[test]
fn a_group_too_large_is_parked_and_the_rest_flows() {
    let world = World::new();
    let mut store = world.store();
    let sql = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100001) \
               INSERT INTO label SELECT 'w' || i FROM n";
    execute(&mut store, sql).unwrap();
    execute(&mut store, "INSERT INTO label VALUES ('after')").unwrap();
    let sent = request(&mut world.sync());
    assert_eq!(sent.groups.len(), 1);
    assert_eq!(world.group(&sent.groups[0]).changes[0].key, [text("after")]);
    let outcomes = store.outcomes(0).unwrap();
    assert_eq!(outcomes.len(), 100_001);
    assert_eq!(outcomes[0].code, Some(Code::GROUP_TOO_LARGE));
    assert_eq!(
        query(&store, "SELECT count(*) FROM label"),
        [[int(100_002)]]
    );
}
