//! Pages and overlays: what a pull writes, when it shows, and what stays on top of it.

use afield::PageApplied;
use afield::protocol::{Code, Frame, Value};

use crate::stock::{amount, filled, gone, key, listed, pairs, stock};
use crate::world::{World, answer, at, id, int, page, pull, query, request, text};

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
    let of_stock = asked.pull.iter().filter(|(e, _)| e == "stock");
    let only_stock: Vec<_> = of_stock.cloned().collect();
    let checkpoint = Vec::new();
    for content in [
        vec![rows.clone(), Frame::Settled { checkpoint }],
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
