//! Pages and overlays: what a pull writes, when it shows, and what stays on top of it.

use afield::protocol::{Attributes, Code, Frame, Theirs, Value, Verdict};
use afield::{PageApplied, RequestCaps, Store};

use crate::world::{
    World, answer, at, attributes, execute, id, int, page, pull, query, request, settle, text,
};

const X: &str = "SELECT amount FROM stock WHERE place = 'x' AND part = 1";

fn amount(n: i64) -> Attributes {
    attributes([("amount", int(n))])
}

fn key() -> [Value; 2] {
    [text("x"), int(1)]
}

fn stock(world: &World, rows: &[(&str, i64, i64)]) -> Frame {
    let rows: Vec<_> = rows
        .iter()
        .map(|(place, part, amount)| [text(place), int(*part), int(*amount), Value::Null])
        .collect();
    let rows: Vec<&[Value]> = rows.iter().map(|row| row.as_slice()).collect();
    world.rows("stock", &rows)
}

fn gone(keys: &[(&str, i64)]) -> Frame {
    Frame::Gone {
        entity: "stock".into(),
        keys: keys
            .iter()
            .map(|(place, part)| vec![text(place), int(*part)])
            .collect(),
    }
}

/// A store whose first download is through: stock x 1 has amount 5.
fn filled() -> (World, Store) {
    let world = World::new();
    pull(&mut world.sync(), &[stock(&world, &[("x", 1, 5)])], "t1");
    let store = world.store();
    (world, store)
}

fn listed(store: &Store) -> Vec<(String, i64)> {
    let rows = query(
        store,
        "SELECT place, amount FROM stock ORDER BY place, part",
    );
    rows.into_iter()
        .map(|row| match row.as_slice() {
            [Value::Text(place), Value::Integer(amount)] => (place.clone(), *amount),
            other => panic!("{other:?}"),
        })
        .collect()
}

fn pairs(rows: &[(&str, i64)]) -> Vec<(String, i64)> {
    rows.iter()
        .map(|(place, n)| ((*place).to_owned(), *n))
        .collect()
}

#[test]
fn applying_rows_never_fails_on_data() {
    let world = World::new();
    let mut sync = world.sync();
    // An app's own table that refers to ours, as its ORM may have made it.
    world
        .plain()
        .execute_batch("CREATE TABLE mine (contact TEXT REFERENCES contact (id))")
        .unwrap();
    let odd = [
        world.rows(
            "visit",
            &[
                &[id(1), id(99), text("same"), text("not a number")],
                &[id(2), int(7), text("same"), Value::Null],
                &[
                    text("no uuid"),
                    Value::Null,
                    Value::Bytes(vec![0]),
                    Value::Real(1.5),
                ],
                &[int(3), Value::Null, text("a\0b"), Value::Integer(1)],
            ],
        ),
        world.rows(
            "contact",
            &[
                &[
                    id(1),
                    text("x"),
                    Value::Null,
                    text("1"),
                    int(7),
                    Value::Null,
                ],
                &[
                    id(2),
                    Value::Null,
                    Value::Null,
                    text("1"),
                    text("NaN"),
                    Value::Null,
                ],
            ],
        ),
        world.rows(
            "stock",
            &[
                &[text("x"), text("one"), Value::Null, Value::Null],
                &[Value::Bytes(vec![1]), int(1), Value::Real(0.5), Value::Null],
            ],
        ),
    ];
    pull(&mut sync, &odd, "t1");
    let store = world.store();
    assert_eq!(query(&store, "SELECT count(*) FROM visit"), [[int(4)]]);
    let sql = "SELECT score, typeof(score) FROM visit WHERE id = '";
    let cell = query(&store, &format!("{sql}{}'", crate::world::uuid(1)));
    assert_eq!(cell, [[text("not a number"), text("text")]]);
    let mine = format!("INSERT INTO mine VALUES ('{}')", crate::world::uuid(1));
    world.plain().execute_batch(&mine).unwrap();
    pull(
        &mut sync,
        &[Frame::Gone {
            entity: "contact".into(),
            keys: vec![vec![id(1)]],
        }],
        "t2",
    );
    assert_eq!(query(&store, "SELECT count(*) FROM contact"), [[int(1)]]);
}

#[test]
fn a_page_is_not_captured() {
    let (world, mut store) = filled();
    let mut sync = world.sync();
    pull(
        &mut sync,
        &[stock(&world, &[("x", 1, 6), ("y", 1, 1)])],
        "t2",
    );
    pull(&mut sync, &[gone(&[("y", 1)])], "t3");
    assert!(store.changes().unwrap().is_empty());
    assert!(request(&mut sync).groups.is_empty());
}

#[test]
fn p4_a_page_from_other_positions_is_dropped() {
    let (world, store) = filled();
    let mut sync = world.sync();
    let asked = request(&mut sync);
    answer(
        &mut sync,
        &asked,
        &[stock(&world, &[("x", 1, 6)])],
        "t2",
        true,
    );
    for late in [true, false] {
        let content = [stock(&world, &[("x", 1, 4), ("y", 1, 1)])];
        assert_eq!(
            answer(&mut sync, &asked, &content, "t9", late),
            PageApplied::Overtaken
        );
    }
    assert_eq!(listed(&store), pairs(&[("x", 6)]));
    let now = request(&mut sync);
    assert_eq!(now.pull, at(&now.pull, "t2"));
}

#[test]
fn malformed_pages_change_nothing() {
    let (world, mut store) = filled();
    let mut sync = world.sync();
    let asked = request(&mut sync);
    let rows = stock(&world, &[("y", 1, 1)]);
    let foreign = Frame::Rows(match world.rows("label", &[&[text("a")]]) {
        Frame::Rows(block) => block,
        other => panic!("{other:?}"),
    });
    let only_stock: Vec<_> = asked
        .pull
        .iter()
        .filter(|(e, _)| e == "stock")
        .cloned()
        .collect();
    for content in [
        vec![rows.clone(), Frame::Settled],
        vec![rows.clone(), foreign],
        vec![
            rows,
            Frame::Gone {
                entity: "stock".into(),
                keys: vec![vec![int(1)]],
            },
        ],
    ] {
        let done = page(
            &mut sync,
            asked.request,
            &only_stock,
            &content,
            "t2",
            true,
            &[],
        );
        assert_eq!(*done.unwrap_err().code(), Code::MALFORMED, "{content:?}");
    }
    let unknown = [("nothing".to_owned(), None)];
    assert!(page(&mut sync, asked.request, &unknown, &[], "t2", true, &[]).is_err());
    let twice = afield::protocol::Page {
        from: asked.pull[..2].to_vec(),
        reset: Vec::new(),
    };
    let name = asked.pull[0].0.clone();
    let end = afield::protocol::PageEnd {
        to: vec![(name.clone(), b"t".to_vec()), (name, b"u".to_vec())],
        complete: true,
        remaining: None,
    };
    let done = sync.apply_page(asked.request, &twice, &[], &end);
    assert_eq!(*done.unwrap_err().code(), Code::MALFORMED);
    let unnamed = page(
        &mut sync,
        asked.request,
        &only_stock,
        &[],
        "t2",
        true,
        &["label"],
    );
    assert_eq!(*unnamed.unwrap_err().code(), Code::MALFORMED);
    assert_eq!(listed(&store), pairs(&[("x", 5)]));
    let now = request(&mut sync);
    assert_eq!(now.pull, asked.pull);
    assert!(store.status().unwrap().downloading.is_empty());
}

#[test]
fn p4_a_first_download_shows_while_it_grows_and_says_so() {
    let world = World::new();
    let (mut store, mut sync) = (world.store(), world.sync());
    assert!(
        store
            .status()
            .unwrap()
            .downloading
            .contains(&"stock".to_owned())
    );
    let asked = request(&mut sync);
    let reset = ["stock"];
    let first = [stock(&world, &[("x", 1, 5)])];
    // A server may say of a first download that it starts over; there is nothing to replace.
    let done = page(
        &mut sync,
        asked.request,
        &asked.pull,
        &first,
        "p1",
        false,
        &reset,
    )
    .unwrap();
    assert_eq!(done, PageApplied::Applied { rows: 1 });
    assert_eq!(listed(&store), pairs(&[("x", 5)]));
    assert!(
        store
            .status()
            .unwrap()
            .downloading
            .contains(&"stock".to_owned())
    );
    // The user edits while it grows, and the rest comes after a restart.
    store.update("stock", &key(), &amount(7)).unwrap();
    drop(sync);
    let mut sync = world.sync();
    let asked = request(&mut sync);
    assert_eq!(asked.pull, at(&asked.pull, "p1"));
    let rest = [stock(&world, &[("x", 1, 6), ("y", 1, 1)])];
    answer(&mut sync, &asked, &rest, "p2", true);
    assert_eq!(listed(&store), pairs(&[("x", 7), ("y", 1)]));
    assert!(store.status().unwrap().downloading.is_empty());
}

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
    let asked = request(&mut sync);
    let first = [stock(&world, &[("a", 1, 21), ("gone again", 1, 1)])];
    page(
        &mut sync,
        asked.request,
        &asked.pull,
        &first,
        "r1",
        false,
        &["stock"],
    )
    .unwrap();
    // Once more from the start: what was staged before does not count.
    let asked = request(&mut sync);
    let first = [stock(&world, &[("a", 1, 31), ("c", 1, 33)])];
    page(
        &mut sync,
        asked.request,
        &asked.pull,
        &first,
        "r2",
        false,
        &["stock"],
    )
    .unwrap();
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
fn p4_entities_that_started_at_different_times_meet_in_one_page() {
    let (world, mut store) = filled();
    let mut sync = world.sync();
    // label is remade by a changed model, so it downloads anew beside entities that are complete.
    let mut model = world.model.clone();
    let label = model
        .entities
        .iter_mut()
        .find(|e| e.name == "label")
        .unwrap();
    label.attributes.push(crate::world::attribute(
        "colour",
        afield::protocol::Type::Text,
    ));
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
