//! What an outcome with another identifier does: everything that has the old name is renamed.

use afield::protocol::{Code, Op, Value, Verdict};
use afield::{Outgoing, Store, SyncStore};

use crate::ids::{create_sheet, none_left, renamed, settle, temporary, world};
use crate::store_crash::dies_everywhere_in;
use crate::world::{World, answer, attributes, id, int, outcome, pull, query, request, text};

/// A sheet with children made before and after it was sent, in its group and in others.
fn family(world: &World) -> (Store, SyncStore, Outgoing, Value) {
    let (mut store, mut sync) = (world.store(), world.sync());
    let sheet = store.transaction(|tx| {
        let sheet = tx.create("sheet", &attributes([("title", text("a"))]))?;
        let sheet = sheet[0].clone();
        tx.create(
            "part",
            &attributes([("sheet_id", sheet.clone()), ("no", int(1))]),
        )?;
        Ok(sheet)
    });
    let sheet = sheet.unwrap();
    let photo = |n| attributes([("id", id(n)), ("sheet_id", sheet.clone())]);
    store.create("photo", &photo(1)).unwrap();
    let remark = attributes([
        ("sheet_id", sheet.clone()),
        ("part_no", int(1)),
        ("k", text("x")),
    ]);
    store.create("remark", &remark).unwrap();
    let sent = request(&mut sync);
    store.create("photo", &photo(2)).unwrap();
    let key = [sheet.clone(), int(1), text("x")];
    let said = attributes([("said", text("hm"))]);
    store.update("remark", &key, &said).unwrap();
    let next = attributes([("next_id", sheet.clone()), ("title", text("b"))]);
    store
        .update("sheet", std::slice::from_ref(&sheet), &next)
        .unwrap();
    let note = attributes([("id", id(9)), ("sheet_id", sheet.clone())]);
    store.create("note", &note).unwrap();
    (store, sync, sent, sheet)
}

fn check_family(store: &mut Store) {
    none_left(store);
    for (sql, found) in [
        (
            "SELECT id, title, next_id FROM sheet",
            vec![int(41), text("b"), int(41)],
        ),
        ("SELECT sheet_id, no FROM part", vec![int(41), int(1)]),
        (
            "SELECT sheet_id, part_no, k, said FROM remark",
            vec![int(41), int(1), text("x"), text("hm")],
        ),
        ("SELECT sheet_id, id FROM note", vec![int(41), id(9)]),
    ] {
        assert_eq!(query(store, sql), [found], "{sql}");
    }
    let photos = query(store, "SELECT id, sheet_id FROM photo ORDER BY id");
    assert_eq!(photos, [[id(1), int(41)], [id(2), int(41)]]);
}

#[test]
fn p3_the_outcome_renames_the_row_and_everything_that_refers_to_it() {
    let world = world();
    let (mut store, mut sync, sent, sheet) = family(&world);
    let before: Vec<_> = sent.groups.iter().map(|g| g.bytes.clone()).collect();
    let watch = store.watch("SELECT * FROM remark").unwrap();
    settle(
        &mut sync,
        &sent,
        0,
        vec![renamed(&[int(41)]), Verdict::applied()],
    );
    check_family(&mut store);
    store.watches().look();
    assert_eq!(watch.take(), 1, "who reads a renamed row is told");
    let outcomes = store.outcomes(0).unwrap();
    let names: Vec<_> = outcomes
        .iter()
        .map(|o| (o.key.clone(), o.new_key.clone()))
        .collect();
    let child = (vec![sheet.clone(), int(1)], Some(vec![int(41), int(1)]));
    assert_eq!(names, [(vec![sheet], Some(vec![int(41)])), child]);
    // What was sent stays as it was sent; what was not is sent with the real one.
    let again = request(&mut sync);
    let bytes: Vec<_> = again.groups.iter().map(|g| g.bytes.clone()).collect();
    assert_eq!(bytes[..2], before[1..]);
    for group in &world.groups(&again)[2..] {
        assert!(group.origins.is_empty(), "{group:?}");
    }
    // The same outcome once more, as after a lost answer.
    let changes = store.changes().unwrap();
    settle(
        &mut sync,
        &sent,
        0,
        vec![renamed(&[int(41)]), Verdict::applied()],
    );
    assert_eq!(store.changes().unwrap(), changes);
    assert_eq!(store.outcomes(0).unwrap(), outcomes);
    check_family(&mut store);
    // The pull brings the same rows, and nothing stays of the overlays.
    let applied = vec![Verdict::applied(); 1];
    for at in 0..again.groups.len() {
        settle(&mut sync, &again, at, applied.clone());
    }
    let null = Value::Null;
    let rows = [
        world.rows("sheet", &[&[int(41), text("b"), int(41)]]),
        world.rows("part", &[&[int(41), int(1), null.clone()]]),
        world.rows("remark", &[&[int(41), int(1), text("x"), text("hm")]]),
        world.rows(
            "photo",
            &[&[id(1), int(41), null.clone()], &[id(2), int(41), null]],
        ),
    ];
    answer(&mut sync, &again, &rows, "t2", true);
    check_family(&mut store);
    for table in ["sheet", "part", "remark", "photo"] {
        let sql = format!("SELECT * FROM afield_server_{table}");
        assert!(query(&store, &sql).is_empty(), "{table}");
    }
}

#[test]
fn p2_lost_answers_and_late_ones() {
    let world = world();
    let (mut store, mut sync, lost, sheet) = family(&world);
    // The answer is lost: the same bytes go again, with what was written meanwhile.
    let again = request(&mut sync);
    let (before, more) = again.groups.split_at(lost.groups.len());
    assert_eq!(before, lost.groups);
    for frozen in more {
        let group = world.group(frozen);
        let origins: Vec<_> = group
            .origins
            .iter()
            .map(|o| (o.group, o.temporary))
            .collect();
        let Value::Integer(temporary) = sheet else {
            panic!("{sheet:?}");
        };
        assert_eq!(origins, [(lost.groups[0].id, temporary)]);
    }
    let photo = attributes([("id", id(3)), ("sheet_id", sheet)]);
    store.create("photo", &photo).unwrap();
    let verdicts = vec![renamed(&[int(41)]), Verdict::applied()];
    settle(&mut world.sync(), &again, 0, verdicts.clone());
    let frozen = "SELECT frozen FROM afield_group WHERE frozen IS NOT NULL ORDER BY n";
    let bytes = again
        .groups
        .iter()
        .map(|group| vec![Value::Bytes(group.bytes.clone())]);
    assert_eq!(query(&store, frozen), bytes.collect::<Vec<_>>());
    // Then the lost one comes after all.
    let changes = store.changes().unwrap();
    settle(&mut sync, &lost, 0, verdicts);
    assert_eq!(store.changes().unwrap(), changes);
    none_left(&mut store);
    let photos = query(&store, "SELECT sheet_id FROM photo");
    assert_eq!(photos, [[int(41)], [int(41)], [int(41)]]);
    let sent = world.groups(&request(&mut sync));
    let last = sent.last().unwrap();
    assert_eq!(
        (last.origins.len(), &last.changes[0].set["sheet_id"]),
        (0, &int(41))
    );
}

#[test]
fn p2_what_gets_real_identifiers_before_it_is_sent_is_another_group() {
    let world = world();
    let (mut store, mut sync) = (world.store(), world.sync());
    let sheet = create_sheet(&mut store, "a");
    let sent = request(&mut sync);
    let photo = |n, sheet: &Value| attributes([("id", id(n)), ("sheet_id", sheet.clone())]);
    store.create("photo", &photo(1, &sheet)).unwrap();
    store
        .transaction(|tx| {
            tx.create("photo", &photo(2, &sheet))?;
            tx.create("photo", &photo(3, &sheet))
        })
        .unwrap();
    store
        .create("label", &attributes([("word", text("x"))]))
        .unwrap();
    // A copy of the device sends what the server takes under these ids, with what it says now.
    let before: Vec<_> = store.changes().unwrap().iter().map(|c| c.group).collect();
    settle(&mut sync, &sent, 0, vec![renamed(&[int(41)])]);
    let groups = world.groups(&request(&mut sync));
    let absorbed: Vec<_> = groups.iter().map(|group| group.absorbed.clone()).collect();
    assert_eq!(absorbed, [vec![before[1]], vec![before[2]], vec![]]);
    assert!(groups[..2].iter().all(|group| !before.contains(&group.id)));
    assert_eq!(groups[2].id, before[4]);
}

#[test]
fn p3_all_outcomes_of_a_batch_at_once() {
    let world = world();
    let (mut store, mut sync, sent, _) = family(&world);
    let verdicts = [
        vec![renamed(&[int(41)]), renamed(&[int(41), int(1)])],
        vec![Verdict::applied()],
        vec![renamed(&[int(41), int(1), text("x")])],
    ];
    let outcomes = sent.groups.iter().zip(verdicts);
    let outcomes: Vec<_> = outcomes.map(|(group, v)| outcome(group.id, v)).collect();
    sync.store_outcomes(sent.request, &outcomes).unwrap();
    check_family(&mut store);
}

#[test]
fn p3_a_pull_that_brings_the_row_before_its_outcome() {
    for staged in [false, true] {
        let world = world();
        let (mut store, mut sync, sent, _) = family(&world);
        // Another sync of this store was faster.
        let rows = [
            world.rows("sheet", &[&[int(41), text("a"), Value::Null]]),
            world.rows("part", &[&[int(41), int(1), text("theirs")]]),
        ];
        let second = sync.next_request(Some("main"), false, afield::RequestCaps::default());
        let second = second.unwrap();
        answer(&mut sync, &second, &rows, "t2", !staged);
        if !staged {
            let edit = attributes([("name", text("mine"))]);
            store.update("part", &[int(41), int(1)], &edit).unwrap();
            let ids = query(&store, "SELECT id FROM sheet ORDER BY id");
            assert_eq!(ids, [[int(41)], [temporary(1)]]);
        }
        settle(
            &mut sync,
            &sent,
            0,
            vec![renamed(&[int(41)]), Verdict::applied()],
        );
        check_family(&mut store);
        if staged {
            let third = sync.next_request(Some("main"), false, afield::RequestCaps::default());
            answer(&mut sync, &third.unwrap(), &[], "t3", true);
            check_family(&mut store);
        }
        let name = if staged { "theirs" } else { "mine" };
        let names = query(&store, "SELECT name FROM part");
        assert_eq!(names, [[text(name)]]);
    }
}

#[test]
fn a_row_that_the_user_deleted_meanwhile_is_deleted_under_its_real_name() {
    let world = world();
    let (mut store, mut sync) = (world.store(), world.sync());
    let sheet = create_sheet(&mut store, "a");
    let sent = request(&mut sync);
    store.delete("sheet", &[sheet]).unwrap();
    settle(&mut sync, &sent, 0, vec![renamed(&[int(41)])]);
    assert!(query(&store, "SELECT * FROM sheet").is_empty());
    let again = request(&mut sync);
    let groups = world.groups(&again);
    assert_eq!(groups[0].changes[0].key, [int(41)]);
    assert_eq!(groups[0].changes[0].op, Op::Delete);
}

#[test]
fn any_create_may_get_another_identifier() {
    let world = world();
    let (mut store, mut sync) = (world.store(), world.sync());
    store
        .create("label", &attributes([("word", text("Red"))]))
        .unwrap();
    store.create("photo", &attributes([("id", id(1))])).unwrap();
    let tag = attributes([("word", text("Red")), ("photo_id", id(1))]);
    store.create("tag", &tag).unwrap();
    let sent = request(&mut sync);
    let key = [text("Red")];
    let colour = attributes([("colour", text("#f00"))]);
    store.update("label", &key, &colour).unwrap();
    settle(&mut sync, &sent, 0, vec![renamed(&[text("red")])]);
    settle(&mut sync, &sent, 1, vec![renamed(&[id(77)])]);
    store
        .create("label", &attributes([("word", text("Red"))]))
        .unwrap();
    let labels = query(&store, "SELECT word, colour FROM label ORDER BY word DESC");
    assert_eq!(
        labels,
        [[text("red"), text("#f00")], [text("Red"), Value::Null]]
    );
    let tags = query(&store, "SELECT word, photo_id FROM tag");
    assert_eq!(tags, [[text("red"), id(77)]]);
    assert_eq!(query(&store, "SELECT id FROM photo"), [[id(77)]]);
    let again = world.groups(&request(&mut sync));
    assert_eq!(
        again[0].changes[0].key,
        [text("Red"), id(1)],
        "it was sent so"
    );
    assert_eq!(again[1].changes[0].key, [text("red")]);
}

#[test]
fn p3_a_row_made_later_under_the_same_identifier_is_another_one() {
    let world = world();
    let (mut store, mut sync) = (world.store(), world.sync());
    let red = attributes([("word", text("Red"))]);
    store.create("label", &red).unwrap();
    let sent = request(&mut sync);
    store.delete("label", &[text("Red")]).unwrap();
    store.create("label", &red).unwrap();
    settle(&mut sync, &sent, 0, vec![renamed(&[text("red")])]);
    assert_eq!(query(&store, "SELECT word FROM label"), [[text("Red")]]);
    let changes = store.changes().unwrap();
    let keys: Vec<_> = changes.iter().map(|c| (c.op, c.key[0].clone())).collect();
    let expected = [
        (Op::Create, "red"),
        (Op::Delete, "red"),
        (Op::Create, "Red"),
    ];
    assert_eq!(keys, expected.map(|(op, word)| (op, text(word))));
}

#[test]
fn p3_what_the_user_saw_of_others_keeps_its_name() {
    let world = world();
    let (mut store, mut sync) = (world.store(), world.sync());
    // The server's row refers to something that is called the same.
    let theirs = world.rows("shade", &[&[int(1), text("Red")], &[int(2), Value::Null]]);
    let tag = world.rows("tag", &[&[text("Red"), id(5)]]);
    pull(&mut sync, &[theirs, tag], "t2");
    store
        .create("label", &attributes([("word", text("Red"))]))
        .unwrap();
    let word = |word| attributes([("word", word)]);
    store
        .update("shade", &[int(2)], &word(text("Red")))
        .unwrap();
    let sent = request(&mut sync);
    store
        .update("shade", &[int(1)], &word(text("blue")))
        .unwrap();
    store
        .update("shade", &[int(2)], &word(text("green")))
        .unwrap();
    store.delete("tag", &[text("Red"), id(5)]).unwrap();
    settle(&mut sync, &sent, 0, vec![renamed(&[text("red")])]);
    let changes = store.changes().unwrap();
    assert_eq!(
        changes[4].key,
        [text("Red"), id(5)],
        "the server's own name"
    );
    let base = |at: usize| changes[at].base["word"].clone();
    assert_eq!(changes[1].set, word(text("red")), "his own reference");
    assert_eq!(base(2), text("Red"), "somebody else's");
    assert_eq!(base(3), text("red"), "on top of his own");
}

#[test]
fn p6_an_outcome_with_something_else_than_an_identifier_changes_nothing() {
    let world = world();
    let (mut store, mut sync) = (world.store(), world.sync());
    let sheet = create_sheet(&mut store, "a");
    let sent = request(&mut sync);
    for key in [
        vec![],
        vec![text("x")],
        vec![Value::Null],
        vec![int(1), int(2)],
    ] {
        let outcome = outcome(sent.groups[0].id, vec![renamed(&key)]);
        let failed = sync.store_outcomes(sent.request, &[outcome]).unwrap_err();
        assert_eq!(*failed.code(), Code::MALFORMED, "{key:?}");
    }
    assert!(store.outcomes(0).unwrap().is_empty());
    assert_eq!(query(&store, "SELECT id FROM sheet"), [[sheet]]);
}

#[test]
fn p1_renaming_is_done_whole_or_not_at_all() {
    dies_everywhere_in(
        world,
        12,
        |world| drop(family(world)),
        |world| {
            let group = world.store().changes()?[0].group;
            let verdicts = vec![renamed(&[int(41)]), Verdict::applied()];
            let outcomes = [outcome(group, verdicts)];
            world.sync().store_outcomes(2, &outcomes).map(|_| ())
        },
    );
}

#[test]
fn p1_renaming_a_row_of_the_apps_naming_is_done_whole_or_not_at_all() {
    let prepare = |world: &World| {
        let mut store = world.store();
        let label = attributes([("word", text("Red"))]);
        store.create("label", &label).unwrap();
        let tag = attributes([("word", text("Red")), ("photo_id", id(1))]);
        store.create("tag", &tag).unwrap();
        request(&mut world.sync());
    };
    dies_everywhere_in(world, 6, prepare, |world| {
        let group = world.store().changes()?[0].group;
        let outcomes = [outcome(group, vec![renamed(&[text("red")])])];
        world.sync().store_outcomes(2, &outcomes).map(|_| ())
    });
}
