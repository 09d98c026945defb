//! Pages of more than one: staged, and switched in one moment.

use afield::protocol::{Attribute, Code, Value, Verdict};
use afield::{PageApplied, Store};

use crate::stock::{amount, filled, gone, key, listed, pairs, stock};
use crate::world::{World, answer, at, attributes, int, page, pull, query, request, settle, text};

#[test]
fn p4_staged_pages_survive_reopening_and_switch_at_once() {
    let (world, mut store) = filled();
    let asked = request(&mut world.sync());
    let first = [stock(&world, &[("x", 1, 6), ("y", 1, 1), ("z", 1, 1)])];
    let done = answer(&mut world.sync(), &asked, &first, "p1", false);
    assert_eq!(done, PageApplied::Staged { rows: 3 });
    assert_eq!(listed(&store), pairs(&[("x", 5)]));
    assert!(store.status().unwrap().downloading.is_empty());
    let mut sync = world.sync();
    let asked = request(&mut sync);
    assert_eq!(asked.pull, at(&asked.pull, "p1"));
    // What is staged changes once more before the end: rows and removals, the later one counts.
    let second = [gone(&[("y", 1)]), stock(&world, &[("w", 1, 1)])];
    answer(&mut sync, &asked, &second, "p2", false);
    assert_eq!(listed(&store), pairs(&[("x", 5)]));
    let last = [
        stock(&world, &[("z", 1, 2)]),
        gone(&[("w", 1), ("nobody", 1)]),
    ];
    let asked = request(&mut sync);
    let done = answer(&mut sync, &asked, &last, "t2", true);
    assert!(matches!(done, PageApplied::Applied { .. }));
    assert_eq!(listed(&store), pairs(&[("x", 6), ("z", 2)]));
    let asked = request(&mut sync);
    assert_eq!(asked.pull, at(&asked.pull, "t2"));
    let staged = query(&store, "SELECT count(*) FROM afield_stage_stock");
    assert_eq!(staged, [[int(0)]]);
}

/// A reader on another connection sees the state before or the state after, whatever happens
/// while its transaction is open.
#[test]
fn p4_the_switch_is_atomic_for_a_concurrent_reader() {
    let (world, _store) = filled();
    let mut sync = world.sync();
    let rows: Vec<(String, i64, i64)> = (0..500).map(|n| (format!("p{n}"), n, 10)).collect();
    let rows: Vec<_> = rows.iter().map(|(p, n, a)| (p.as_str(), *n, *a)).collect();
    pull(&mut sync, &[gone(&[("x", 1)]), stock(&world, &rows)], "t2");
    let sum = |conn: &rusqlite::Connection| -> i64 {
        conn.query_row("SELECT sum(amount) FROM stock", [], |row| row.get(0))
            .unwrap()
    };
    let (before, during) = (world.plain(), world.plain());
    before.execute_batch("BEGIN").unwrap();
    assert_eq!(sum(&before), 5_000);
    // The server moves 5 from each odd row to the even one before it, in several pages.
    let moved: Vec<_> = rows
        .iter()
        .map(|(p, n, _)| (*p, *n, if n % 2 == 0 { 15 } else { 5 }))
        .collect();
    for (at, part) in moved.chunks(100).enumerate() {
        let asked = request(&mut sync);
        answer(
            &mut sync,
            &asked,
            &[stock(&world, part)],
            &format!("s{at}"),
            false,
        );
        assert_eq!(sum(&during), 5_000);
        assert_eq!(
            during.query_row("SELECT max(amount) FROM stock", [], |r| r.get(0)),
            Ok(10)
        );
    }
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let conn = world.plain();
            let mut seen = std::collections::BTreeSet::new();
            while !seen.contains(&15) {
                conn.execute_batch("BEGIN").unwrap();
                let max: i64 = conn
                    .query_row("SELECT max(amount) FROM stock", [], |row| row.get(0))
                    .unwrap();
                assert_eq!(sum(&conn), 5_000);
                let min = "SELECT min(amount) FROM stock";
                let min: i64 = conn.query_row(min, [], |row| row.get(0)).unwrap();
                assert!(
                    (max, min) == (10, 10) || (max, min) == (15, 5),
                    "{max} {min}"
                );
                seen.insert(max);
                conn.execute_batch("COMMIT").unwrap();
            }
        });
        let asked = request(&mut sync);
        answer(&mut sync, &asked, &[], "t3", true);
        reader.join().unwrap();
    });
    let max = "SELECT max(amount) FROM stock";
    assert_eq!(
        before.query_row(max, [], |row| row.get(0)),
        Ok(10),
        "its snapshot stays"
    );
    before.execute_batch("COMMIT").unwrap();
    assert_eq!(before.query_row(max, [], |row| row.get(0)), Ok(15));
}

#[test]
fn a_reset_removes_rows_not_listed_and_keeps_what_the_user_typed() {
    let (world, mut store) = filled();
    let mut sync = world.sync();
    let rows = [("a", 1, 1), ("b", 1, 2), ("c", 1, 3), ("d", 1, 4)];
    pull(&mut sync, &[stock(&world, &rows)], "t2");
    let set = |store: &mut Store, place: &str, n| {
        store
            .update("stock", &[text(place), int(1)], &amount(n))
            .unwrap();
    };
    set(&mut store, "a", 11);
    let sent = request(&mut sync);
    settle(
        &mut sync,
        &sent,
        &Verdict::rejected(Code::CHECK_FAILED, "no"),
    );
    set(&mut store, "b", 12);
    set(&mut store, "x", 15);
    store.delete("stock", &[text("c"), int(1)]).unwrap();
    let new = attributes([("place", text("new")), ("part", int(1)), ("amount", int(9))]);
    store.create("stock", &new).unwrap();
    let mut begin_over = |rows: &[(&str, i64, i64)], position: &str| {
        let asked = request(&mut sync);
        let first = [stock(&world, rows)];
        let (number, from) = (asked.request, &asked.pull);
        page(&mut sync, number, from, &first, position, false, &["stock"]).unwrap();
    };
    begin_over(&[("a", 1, 21), ("gone again", 1, 1)], "r1");
    // Once more from the start: what was staged before does not count.
    begin_over(&[("a", 1, 31), ("c", 1, 33)], "r2");
    let asked = request(&mut sync);
    answer(
        &mut sync,
        &asked,
        &[stock(&world, &[("e", 1, 5)])],
        "t3",
        true,
    );
    // d and the row staged first are gone; b and x too, but the user's edits are unsettled.
    let expected = [("a", 11), ("b", 12), ("e", 5), ("new", 9), ("x", 15)];
    assert_eq!(listed(&store), pairs(&expected));
    let server = "SELECT place, existed, amount FROM afield_server_stock ORDER BY place";
    assert_eq!(
        query(&store, server),
        [
            [text("a"), int(1), int(31)],
            [text("b"), int(0), Value::Null],
            [text("c"), int(1), int(33)],
            [text("new"), int(0), Value::Null],
            [text("x"), int(0), Value::Null],
        ]
    );
    assert_eq!(store.changes().unwrap().len(), 5);
}

#[test]
fn rows_that_stay_keep_their_place_in_the_file() {
    // An app's full-text index refers to rows by rowid.
    let (world, store) = filled();
    let mut sync = world.sync();
    pull(
        &mut sync,
        &[stock(&world, &[("a", 1, 1), ("b", 1, 2), ("c", 1, 3)])],
        "t2",
    );
    let rowids = "SELECT place, rowid FROM stock ORDER BY place";
    let before = query(&store, rowids);
    let asked = request(&mut sync);
    let staged = [stock(&world, &[("a", 1, 11), ("x", 1, 55)])];
    answer(&mut sync, &asked, &staged, "s1", false);
    let asked = request(&mut sync);
    answer(
        &mut sync,
        &asked,
        &[stock(&world, &[("b", 1, 12)])],
        "t3",
        true,
    );
    assert_eq!(
        listed(&store),
        pairs(&[("a", 11), ("b", 12), ("c", 3), ("x", 55)])
    );
    assert_eq!(query(&store, rowids), before);
    store_update_and_settle(&world, 99);
    assert_eq!(query(&store, rowids), before);
}

#[test]
fn p4_entities_that_started_at_different_times_meet_in_one_page() {
    let (world, mut store) = filled();
    let mut sync = world.sync();
    // label has another identifier in a changed model, so it downloads anew beside entities that
    // are complete.
    let mut model = world.model.clone();
    let label = model
        .entities
        .iter_mut()
        .find(|e| e.name == "label")
        .unwrap();
    label
        .attributes
        .push(Attribute::new("colour", afield::protocol::Type::Text));
    label.attributes[0].name = "term".into();
    sync.install(&model).unwrap();
    let mut world = world;
    world.model = model;
    let asked = request(&mut sync);
    let fresh: Vec<_> = asked
        .pull
        .iter()
        .filter(|(_, position)| position.is_none())
        .collect();
    assert_eq!(fresh.len(), 1);
    let content = [
        world.rows("label", &[&[text("a"), text("red")]]),
        stock(&world, &[("x", 1, 6)]),
    ];
    answer(&mut sync, &asked, &content, "p1", false);
    assert_eq!(listed(&store), pairs(&[("x", 5)]));
    assert_eq!(query(&store, "SELECT colour FROM label"), [[text("red")]]);
    assert_eq!(store.status().unwrap().downloading, ["label"]);
    let asked = request(&mut sync);
    answer(&mut sync, &asked, &[], "t2", true);
    assert_eq!(listed(&store), pairs(&[("x", 6)]));
    assert!(store.status().unwrap().downloading.is_empty());
}

fn store_update_and_settle(world: &World, n: i64) {
    let (mut store, mut sync) = (world.store(), world.sync());
    store.update("stock", &key(), &amount(n)).unwrap();
    let sent = request(&mut sync);
    settle(&mut sync, &sent, &Verdict::applied());
    answer(
        &mut sync,
        &sent,
        &[stock(world, &[("x", 1, n)])],
        &format!("u{n}"),
        true,
    );
}
