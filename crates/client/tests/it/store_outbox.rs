//! Folding, freezing, and what waits for what.

use afield::protocol::{Attributes, Code, Op, Theirs, Value, Verdict};
use afield::{ChangeState, RequestCaps, Store};

use crate::world::{World, attributes, execute, int, outcome, pull, query, request, settle, text};

/// Op, base and set of the changes of each group.
fn groups(store: &mut Store) -> Vec<Vec<(Op, Attributes, Attributes)>> {
    let mut found: Vec<(_, Vec<_>)> = Vec::new();
    for change in store.changes().unwrap() {
        let content = (change.op, change.base, change.set);
        match found.last_mut().filter(|(group, _)| *group == change.group) {
            Some((_, changes)) => changes.push(content),
            None => found.push((change.group, vec![content])),
        }
    }
    found.into_iter().map(|(_, changes)| changes).collect()
}

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

fn row(n: i64) -> Attributes {
    attributes([("amount", int(n)), ("note", Value::Null)])
}

#[test]
fn edits_of_one_row_fold_into_the_last_group() {
    let world = World::new();
    stock(&world, &[("x", 1, 5)]);
    let mut store = world.store();
    for n in 6..9 {
        store
            .update("stock", &[text("x"), int(1)], &amount(n))
            .unwrap();
    }
    assert_eq!(groups(&mut store), [[(Op::Update, row(5), amount(8))]]);
    let group = &world.groups(&request(&mut world.sync()))[0];
    assert_eq!(group.absorbed.len(), 2);
    assert!(!group.absorbed.contains(&group.id));
    assert_ne!(group.absorbed[0], group.absorbed[1]);
}

#[test]
fn another_row_between_keeps_edits_apart() {
    let world = World::new();
    stock(&world, &[("x", 1, 5), ("x", 2, 5)]);
    let mut store = world.store();
    for (part, n) in [(1, 6), (2, 6), (1, 7)] {
        store
            .update("stock", &[text("x"), int(part)], &amount(n))
            .unwrap();
    }
    let first = (Op::Update, row(5), amount(6));
    let last = (Op::Update, row(6), amount(7));
    assert_eq!(groups(&mut store), [[first.clone()], [first], [last]]);
}

#[test]
fn a_group_of_two_rows_takes_nothing_in() {
    let world = World::new();
    stock(&world, &[("x", 1, 5), ("x", 2, 5)]);
    let mut store = world.store();
    execute(&mut store, "UPDATE stock SET amount = 6").unwrap();
    store
        .update("stock", &[text("x"), int(2)], &amount(7))
        .unwrap();
    execute(&mut store, "UPDATE stock SET amount = 8").unwrap();
    let lengths: Vec<_> = groups(&mut store).iter().map(Vec::len).collect();
    assert_eq!(lengths, [2, 1, 2]);
}

#[test]
fn p3_a_frozen_group_takes_nothing_in_and_is_sent_again_byte_for_byte() {
    let world = World::new();
    stock(&world, &[("x", 1, 5)]);
    let (mut store, mut sync) = (world.store(), world.sync());
    store
        .update("stock", &[text("x"), int(1)], &amount(6))
        .unwrap();
    let first = request(&mut sync);
    store
        .update("stock", &[text("x"), int(1)], &amount(7))
        .unwrap();
    world.plain().execute_batch("DELETE FROM stock").unwrap();
    let again = request(&mut sync);
    assert_eq!(again.groups[0], first.groups[0]);
    assert_eq!(
        again.groups.len(),
        2,
        "the later edit and the delete are one group"
    );
    assert_eq!(world.group(&again.groups[1]).changes[0].op, Op::Delete);
    assert_ne!(again.groups[1].id, first.groups[0].id);
    let reopened = request(&mut world.sync());
    assert_eq!(reopened.groups, again.groups);
    // The stored bytes are what counts, not what this version would make of the changes.
    world
        .plain()
        .execute_batch("UPDATE afield_group SET frozen = x'00' WHERE n = 1")
        .unwrap();
    assert_eq!(request(&mut sync).groups[0].bytes, [0]);
}

#[test]
fn create_and_delete_before_sending_vanish() {
    let world = World::new();
    let mut store = world.store();
    store
        .create("label", &attributes([("word", text("a"))]))
        .unwrap();
    store.delete("label", &[text("a")]).unwrap();
    assert!(store.changes().unwrap().is_empty());
    assert!(request(&mut world.sync()).groups.is_empty());
    // And no trace of an overlay: the server's row with this key is shown when it comes.
    pull(
        &mut world.sync(),
        &[world.rows("label", &[&[text("a")]])],
        "t1",
    );
    assert_eq!(query(&store, "SELECT * FROM label"), [[text("a")]]);
}

#[test]
fn a_value_back_at_its_base_vanishes() {
    let world = World::new();
    stock(&world, &[("x", 1, 5)]);
    let mut store = world.store();
    store
        .update("stock", &[text("x"), int(1)], &amount(6))
        .unwrap();
    store
        .update("stock", &[text("x"), int(1)], &amount(5))
        .unwrap();
    assert!(store.changes().unwrap().is_empty());
    stock(&world, &[("x", 1, 9)]);
    assert_eq!(query(&store, "SELECT amount FROM stock"), [[int(9)]]);
}

#[test]
fn p1_a_value_back_at_its_base_is_kept_if_the_server_moved_on() {
    let world = World::new();
    stock(&world, &[("x", 1, 5)]);
    let mut store = world.store();
    store
        .update("stock", &[text("x"), int(1)], &amount(6))
        .unwrap();
    stock(&world, &[("x", 1, 9)]);
    assert_eq!(query(&store, "SELECT amount FROM stock"), [[int(6)]]);
    store
        .update("stock", &[text("x"), int(1)], &amount(5))
        .unwrap();
    assert_eq!(groups(&mut store), [[(Op::Update, row(5), amount(5))]]);
    assert_eq!(query(&store, "SELECT amount FROM stock"), [[int(5)]]);
}

#[test]
fn delete_and_create_of_one_key_are_an_update() {
    let world = World::new();
    stock(&world, &[("x", 1, 5)]);
    let mut store = world.store();
    store.delete("stock", &[text("x"), int(1)]).unwrap();
    let new = attributes([("place", text("x")), ("part", int(1)), ("note", text("n"))]);
    store.create("stock", &new).unwrap();
    let set = attributes([("amount", Value::Null), ("note", text("n"))]);
    assert_eq!(groups(&mut store), [[(Op::Update, row(5), set)]]);
}

#[test]
fn p1_delete_and_create_stay_apart_if_the_server_deleted_the_row_too() {
    let world = World::new();
    stock(&world, &[("x", 1, 5)]);
    let mut store = world.store();
    store.delete("stock", &[text("x"), int(1)]).unwrap();
    let gone = afield::protocol::Frame::Gone {
        entity: "stock".into(),
        keys: vec![vec![text("x"), int(1)]],
    };
    pull(&mut world.sync(), &[gone], "t9");
    let new = attributes([("place", text("x")), ("part", int(1)), ("amount", int(7))]);
    store.create("stock", &new).unwrap();
    let ops: Vec<_> = groups(&mut store).iter().map(|group| group[0].0).collect();
    assert_eq!(ops, [Op::Delete, Op::Create]);
    assert_eq!(query(&store, "SELECT amount FROM stock"), [[int(7)]]);
}

#[test]
fn group_ids_are_unique() {
    let world = World::new();
    let mut store = world.store();
    let mut seen = std::collections::HashSet::new();
    for n in 0..200 {
        execute(&mut store, &format!("INSERT INTO label VALUES ('{n}')")).unwrap();
    }
    for change in store.changes().unwrap() {
        assert!(seen.insert(change.group));
    }
}

#[test]
fn p9_the_envelope_is_cut_at_group_borders() {
    let world = World::new();
    let mut store = world.store();
    for n in 0..5 {
        let sql = format!("INSERT INTO label VALUES ('{n}a'), ('{n}b')");
        execute(&mut store, &sql).unwrap();
    }
    let mut sync = world.sync();
    let mut ask = |caps| {
        let outgoing = sync.next_request(None, true, caps).unwrap();
        (outgoing.groups.len(), outgoing.more)
    };
    let caps = RequestCaps::default();
    assert_eq!(ask(RequestCaps { groups: 2, ..caps }), (2, true));
    assert_eq!(ask(RequestCaps { changes: 5, ..caps }), (2, true));
    assert_eq!(
        ask(RequestCaps { changes: 1, ..caps }),
        (1, true),
        "one always goes"
    );
    assert_eq!(ask(RequestCaps { bytes: 1, ..caps }), (1, true));
    assert_eq!(ask(RequestCaps { groups: 5, ..caps }), (5, false));
    assert_eq!(ask(caps), (5, false));
}

#[test]
fn outcomes_of_unknown_groups_are_ignored_and_twice_is_once() {
    let world = World::new();
    let (mut store, mut sync) = (world.store(), world.sync());
    execute(&mut store, "INSERT INTO label VALUES ('a')").unwrap();
    let sent = request(&mut sync);
    let unknown = outcome(afield::protocol::GroupId([9; 16]), vec![Verdict::applied()]);
    assert!(
        sync.store_outcomes(sent.request, &[unknown])
            .unwrap()
            .is_empty()
    );
    assert_eq!(store.status().unwrap().pending, 1);
    let applied = outcome(sent.groups[0].id, vec![Verdict::applied()]);
    let both = [
        applied.clone(),
        outcome(
            sent.groups[0].id,
            vec![Verdict::rejected(Code::CHECK_FAILED, "no")],
        ),
    ];
    assert_eq!(sync.store_outcomes(sent.request, &both).unwrap().len(), 1);
    assert!(
        sync.store_outcomes(sent.request + 1, &[applied])
            .unwrap()
            .is_empty()
    );
    let outcomes = store.outcomes(0).unwrap();
    assert_eq!(outcomes.len(), 1);
    assert!(store.outcomes(outcomes[0].n).unwrap().is_empty());
    assert_eq!(store.changes().unwrap()[0].state, ChangeState::Settled);
    assert!(request(&mut sync).groups.is_empty());
}

#[test]
fn an_outcome_of_the_wrong_length_changes_nothing() {
    let world = World::new();
    let (mut store, mut sync) = (world.store(), world.sync());
    execute(&mut store, "INSERT INTO label VALUES ('a')").unwrap();
    execute(&mut store, "INSERT INTO label VALUES ('b'), ('c')").unwrap();
    let sent = request(&mut sync);
    let outcomes = [
        outcome(sent.groups[0].id, vec![Verdict::applied()]),
        outcome(sent.groups[1].id, vec![Verdict::applied()]),
    ];
    let error = sync.store_outcomes(sent.request, &outcomes).unwrap_err();
    assert_eq!(*error.code(), Code::MALFORMED);
    assert!(store.outcomes(0).unwrap().is_empty());
    assert_eq!(store.status().unwrap().pending, 3);
}

#[test]
fn p6_a_conflict_keeps_both_versions() {
    let world = World::new();
    stock(&world, &[("x", 1, 5)]);
    let mut store = world.store();
    store
        .update("stock", &[text("x"), int(1)], &amount(6))
        .unwrap();
    let theirs = row(9);
    let conflict = Verdict::conflict(Code::ROW_CHANGED, Theirs::Row(theirs.clone()));
    settle(&mut world.sync(), &request(&mut world.sync()), &conflict);
    stock(&world, &[("x", 1, 9)]);
    let change = &store.changes().unwrap()[0];
    assert_eq!(change.state, ChangeState::Parked);
    assert_eq!((&change.set, &change.base), (&amount(6), &row(5)));
    assert_eq!(change.theirs.as_ref(), Some(&theirs));
    assert_eq!(query(&store, "SELECT amount FROM stock"), [[int(6)]]);
    let status = store.status().unwrap();
    assert_eq!((status.parked, status.conflicts, status.pending), (1, 1, 0));
}

/// Edits of one row with another row's between, so that they are groups of their own: every
/// later base becomes what the server made of the earlier edit.
#[test]
fn p6_all_later_unsent_edits_are_rebased_onto_what_their_predecessor_became() {
    let world = World::new();
    stock(&world, &[("x", 1, 5)]);
    let (mut store, mut sync) = (world.store(), world.sync());
    let key = [text("x"), int(1)];
    let note = |word: &str| attributes([("note", text(word))]);
    store.update("stock", &key, &note(" a ")).unwrap();
    let sent = request(&mut sync);
    store.update("stock", &key, &amount(6)).unwrap();
    execute(&mut store, "INSERT INTO label VALUES ('between')").unwrap();
    store.update("stock", &key, &amount(7)).unwrap();
    execute(&mut store, "INSERT INTO label VALUES ('again')").unwrap();
    store.update("stock", &key, &note("mine")).unwrap();
    execute(&mut store, "INSERT INTO label VALUES ('and again')").unwrap();
    store.delete("stock", &key).unwrap();
    let trimmed = Verdict {
        values: note("a"),
        ..Verdict::applied()
    };
    settle(&mut sync, &sent, &trimmed);
    let bases: Vec<_> = store.changes().unwrap();
    let bases: Vec<_> = bases
        .iter()
        .filter(|c| c.entity == "stock")
        .map(|c| &c.base)
        .collect();
    assert_eq!(
        bases[1],
        &attributes([("amount", int(5)), ("note", text("a"))])
    );
    assert_eq!(
        bases[2],
        &attributes([("amount", int(6)), ("note", text("a"))])
    );
    assert_eq!(
        bases[3],
        &attributes([("amount", int(7)), ("note", text("a"))])
    );
    assert_eq!(
        bases[4],
        &attributes([("amount", int(7)), ("note", text("mine"))])
    );
}

#[test]
fn p8_a_clock_that_is_set_back_keeps_no_group_waiting() {
    let world = World::new();
    let mut store = world.store();
    let new = attributes([("place", text("x")), ("part", int(1)), ("amount", int(1))]);
    store.create("stock", &new).unwrap();
    let mut sync = world.sync();
    world.pass_ms(1_000_000_000);
    let group = world.groups(&request(&mut sync))[0].id;
    sync.back_off(group, 5_000).unwrap();
    assert_eq!(sync.backs_off_for().unwrap(), Some(5_000));
    assert!(request(&mut sync).groups.is_empty());
    world.pass_ms(-1_000_000_000);
    assert_eq!(sync.backs_off_for().unwrap(), None);
    assert_eq!(request(&mut sync).groups.len(), 1);
}
