//! `erase = true`: of rows that left, nothing stays in any byte of any file of the store.

use std::path::{Path, PathBuf};

use afield::protocol::zoo::crash_after;
use afield::protocol::{Frame, Held, Identifier, Model, Pattern, Type, Value, Verdict};
use afield::{Store, SyncStore};
use rusqlite::Connection;

use crate::world::{
    USER, World, answer, attributes, entity, int, model, page, pull, query, request, settle, text,
};

/// What stands in every row that leaves, with the row's number.
const SECRET: &str = "secret-";

/// Rows: enough that SQLite moves cells between pages.
const ROWS: i64 = 2_000;

fn erasing(erase: bool) -> Model {
    let visit = [
        ("id", Type::Text),
        ("words", Type::Text),
        ("more", Type::Text),
    ];
    let made = |name: &str| {
        let mut made = entity(name, Pattern::LastWriteWins, Identifier::Natural, 1, &visit);
        made.erase = erase;
        made.indexes = vec![vec!["words".into()]];
        made
    };
    let mut scoped = made("visit");
    scoped.scope = vec![1];
    let mut sent = made("reading");
    sent.insert_only = true;
    let mut kept = made("place");
    kept.erase = false;
    model(vec![scoped, made("note"), sent, kept])
}

fn world(erase: bool) -> World {
    World::with(erasing(erase))
}

fn secret(id: i64) -> String {
    format!("{SECRET}{id:05}-")
}

/// A row; every part of it says which one it is.
fn row(id: i64, length: usize) -> [Value; 3] {
    let secret = secret(id);
    let long = format!("{secret}more{}", "m".repeat(length));
    [
        text(&format!("{secret}key")),
        text(&format!("{secret}words")),
        text(&long),
    ]
}

/// Rows in an order that lets pages be split everywhere, with the value 7 or 8.
fn rows(world: &World, entity: &str, scoped: bool) -> Vec<Frame> {
    let mut rng = fastrand::Rng::with_seed(3);
    let mut ids: Vec<i64> = (0..ROWS).collect();
    rng.shuffle(&mut ids);
    let cells: Vec<Vec<Value>> = ids
        .iter()
        .map(|id| {
            let mut cells = row(*id, rng.usize(..600)).to_vec();
            cells.extend(scoped.then(|| int(7 + i64::from(stays(*id)))));
            cells
        })
        .collect();
    let cells: Vec<&[Value]> = cells.iter().map(Vec::as_slice).collect();
    let mut frames = vec![world.rows(entity, &cells)];
    frames.extend(scoped.then(|| held(&[7, 8], &[])));
    frames
}

fn stays(id: i64) -> bool {
    id % 3 == 0
}

fn held(gained: &[i64], lost: &[i64]) -> Frame {
    Frame::Held(Held {
        entity: "visit".into(),
        gained: gained.to_vec(),
        lost: lost.to_vec(),
    })
}

/// Writes as a program does that knows nothing of Afield and overwrites nothing: rows shrink,
/// grow, and are as they were.
fn foreign_writes(world: &World) {
    let conn = world.plain();
    conn.pragma_update(None, "secure_delete", "OFF").unwrap();
    let tables = ["visit", "note"];
    for table in tables {
        conn.execute_batch(&format!(
            "BEGIN; CREATE TEMP TABLE was AS SELECT * FROM {table};
             UPDATE {table} SET more = substr(more, 1, 30);
             UPDATE {table} SET more = (SELECT more FROM was WHERE was.id = {table}.id);
             DROP TABLE temp.was; COMMIT"
        ))
        .unwrap();
    }
}

/// How many of these rows can be found in the files of a folder.
fn found(folder: &Path, ids: impl Iterator<Item = i64>) -> usize {
    let mut all = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            all.extend(std::fs::read(path).unwrap());
        }
    }
    let mut there = std::collections::HashSet::new();
    let needle = SECRET.as_bytes();
    for at in memchr_all(&all, needle) {
        if let Some(number) = all.get(at + needle.len()..at + needle.len() + 5) {
            there.insert(number.to_vec());
        }
    }
    let is_there = |id: &i64| there.contains(format!("{id:05}").as_bytes());
    ids.filter(is_there).count()
}

fn memchr_all<'a>(all: &'a [u8], needle: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let first = needle[0];
    (0..all.len()).filter(move |at| all[*at] == first && all[*at..].starts_with(needle))
}

fn left() -> impl Iterator<Item = i64> {
    (0..ROWS).filter(|id| !stays(*id))
}

fn kept() -> impl Iterator<Item = i64> {
    (0..ROWS).filter(|id| stays(*id))
}

fn due(store: &mut Store) -> bool {
    store.status().unwrap().erase_due
}

/// A store whose rows other programs have rewritten, and from which the value 7 has just gone.
fn lost(erase: bool) -> (World, SyncStore) {
    let world = world(erase);
    let mut sync = world.sync();
    pull(&mut sync, &rows(&world, "visit", true), "a");
    foreign_writes(&world);
    pull(&mut sync, &[held(&[], &[7])], "b");
    (world, sync)
}

#[test]
fn p7_with_erase_nothing_stays_and_without_it_copies_do() {
    let (world, mut sync) = lost(false);
    sync.finished(None).unwrap();
    let copies = found(world.dir.path(), left());
    assert!(copies > 0, "what this test looks for is not there");
    assert!(!due(&mut world.store()));

    let (world, mut sync) = lost(true);
    assert!(due(&mut world.store()));
    let ids = "SELECT group_concat(rowid || id) FROM (SELECT rowid, id FROM visit ORDER BY id)";
    let before = query(&world.store(), ids);
    sync.finished(None).unwrap();
    assert_eq!(found(world.dir.path(), left()), 0);
    assert_eq!(
        found(world.dir.path(), kept()),
        kept().count(),
        "and all the others are there"
    );
    assert!(!due(&mut world.store()));
    assert_eq!(
        query(&world.store(), ids),
        before,
        "rows keep SQLite's own numbers"
    );
}

#[test]
fn p7_rows_that_are_gone_and_rows_of_a_fresh_start_are_erased_too() {
    for fresh in [false, true] {
        let world = world(true);
        let mut sync = world.sync();
        pull(&mut sync, &rows(&world, "note", false), "a");
        foreign_writes(&world);
        let asked = request(&mut sync);
        if fresh {
            let cells: Vec<Vec<Value>> = kept().map(|id| row(id, 9).to_vec()).collect();
            let cells: Vec<&[Value]> = cells.iter().map(Vec::as_slice).collect();
            let content = [world.rows("note", &cells)];
            let pulled = page(
                &mut sync,
                asked.request,
                &asked.pull,
                &content,
                "b",
                true,
                &["note"],
            );
            pulled.unwrap();
        } else {
            let gone = Frame::Gone {
                entity: "note".into(),
                keys: left().map(|id| vec![row(id, 0)[0].clone()]).collect(),
            };
            answer(&mut sync, &asked, &[gone], "b", true);
        }
        sync.finished(None).unwrap();
        assert_eq!(found(world.dir.path(), left()), 0, "fresh start: {fresh}");
        assert_eq!(found(world.dir.path(), kept()), kept().count());
    }
}

/// The history forgets the row too, the user's own delete included; what he typed stays.
#[test]
fn p7_what_the_history_holds_of_the_row_goes_with_it() {
    let world = world(true);
    let (mut store, mut sync) = (world.store(), world.sync());
    pull(&mut sync, &rows(&world, "note", false), "a");
    let key = |id: i64| vec![row(id, 0)[0].clone()];
    let set = attributes([("words", text("typed by the user"))]);
    store.update("note", &key(1), &set).unwrap();
    store.delete("note", &key(2)).unwrap();
    let asked = request(&mut sync);
    settle(&mut sync, &asked, &Verdict::applied());
    let gone = Frame::Gone {
        entity: "note".into(),
        keys: vec![key(1), key(2)],
    };
    answer(&mut sync, &asked, &[gone], "b", true);
    sync.finished(None).unwrap();
    let bytes = std::fs::read(world.path()).unwrap();
    let holds = |needle: &str| {
        !needle.is_empty() && {
            let needle = needle.as_bytes();
            memchr_all(&bytes, needle).next().is_some()
        }
    };
    for id in [1, 2] {
        assert!(!holds(&format!("{}more", secret(id))), "{id}");
        assert!(!holds(&format!("{}words", secret(id))), "{id}");
    }
    assert!(holds("typed by the user"));
    assert!(holds(&format!("{}more", secret(3))));
}

#[test]
fn p7_rows_that_are_only_sent_are_erased_when_they_are_applied() {
    let world = world(true);
    let (mut store, mut sync) = (world.store(), world.sync());
    for id in 0..300 {
        let [id, words, more] = row(id, 300);
        let row = attributes([("id", id), ("words", words), ("more", more)]);
        store.create("reading", &row).unwrap();
    }
    let asked = request(&mut sync);
    settle(&mut sync, &asked, &Verdict::applied());
    sync.finished(None).unwrap();
    // Outcomes name the rows that were sent; nothing else is left of them.
    let bytes = std::fs::read(world.path()).unwrap();
    for part in ["words", "more"] {
        let left = (0..300).filter(|id| {
            let needle = format!("{}{part}", secret(*id));
            memchr_all(&bytes, needle.as_bytes()).next().is_some()
        });
        assert_eq!(left.count(), 0, "{part}");
    }
}

#[test]
fn p7_the_rows_of_an_entity_that_the_model_drops_are_erased() {
    let world = world(true);
    let mut sync = world.sync();
    pull(&mut sync, &rows(&world, "note", false), "a");
    foreign_writes(&world);
    let mut other = world.model.clone();
    other.entities.retain(|entity| entity.name != "note");
    other.units[0].entities.retain(|name| name != "note");
    sync.install(&other).unwrap();
    sync.finished(None).unwrap();
    assert_eq!(found(world.dir.path(), 0..ROWS), 0);
}

#[test]
fn p7_the_values_of_an_attribute_that_the_model_drops_are_erased() {
    let world = world(true);
    let mut sync = world.sync();
    let secrets: Vec<Vec<Value>> = (0..ROWS)
        .map(|id| vec![text(&id.to_string()), text(""), row(id, 300)[2].clone()])
        .collect();
    let cells: Vec<&[Value]> = secrets.iter().map(Vec::as_slice).collect();
    pull(&mut sync, &[world.rows("note", &cells)], "a");
    foreign_writes(&world);
    // And leaves pages free that nobody will need.
    let conn = world.plain();
    conn.pragma_update(None, "secure_delete", "OFF").unwrap();
    let copies = "CREATE TABLE copies AS SELECT a.more FROM note AS a, (VALUES (1), (2), (3), (4));
        DROP TABLE copies";
    conn.execute_batch(copies).unwrap();
    drop(conn);
    let mut other = world.model.clone();
    other.entities[1].attributes.pop();
    sync.install(&other).unwrap();
    sync.finished(None).unwrap();
    assert_eq!(
        query(&world.store(), "SELECT count(*) FROM note"),
        [[int(ROWS)]]
    );
    assert_eq!(found(world.dir.path(), 0..ROWS), 0);
}

/// Whoever switches it on fetches nothing again.
#[test]
fn p9_erase_is_switched_on_without_a_new_download() {
    let world = world(false);
    let mut sync = world.sync();
    pull(&mut sync, &rows(&world, "visit", true), "a");
    sync.install(&erasing(true)).unwrap();
    let asked = request(&mut sync);
    assert!(asked.pull.iter().all(|(_, position)| position.is_some()));
    pull(&mut sync, &[held(&[], &[7])], "b");
    sync.finished(None).unwrap();
    assert_eq!(found(world.dir.path(), left()), 0);
}

/// The process is killed between the page and the end of the sync: whoever opens the store next
/// finds that it is due.
#[test]
fn p7_a_process_that_was_killed_is_made_up_for_by_the_next_one() {
    let (world, sync) = lost(true);
    // The files as a kill leaves them, log included.
    let place = tempfile::tempdir().unwrap();
    let copy = copied(&world, place.path());
    drop(sync);
    assert!(found(place.path(), left()) > 0);
    drop(SyncStore::open(&copy, USER, world.env()).unwrap());
    assert_eq!(found(place.path(), left()), 0);
    assert!(!due(&mut Store::open(&copy, USER, world.env()).unwrap()));
}

fn copied(world: &World, to: &Path) -> PathBuf {
    for file in std::fs::read_dir(world.dir.path()).unwrap() {
        let path = file.unwrap().path();
        std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
    to.join(world.path().file_name().unwrap())
}

/// It dies at every step of erasing; the next one finishes.
#[test]
fn p7_dying_while_it_erases_leaves_it_due() {
    for point in 0..10 {
        let (world, mut sync) = lost(true);
        crash_after(Some(point));
        let erased = sync.erase();
        crash_after(None);
        if erased.is_ok() {
            assert!(point >= 2, "there are no points to die at");
            return;
        }
        drop(sync);
        let mut store = world.store();
        assert!(due(&mut store), "forgotten at point {point}");
        drop(store);
        drop(world.sync());
        assert_eq!(found(world.dir.path(), left()), 0, "point {point}");
    }
    panic!("erasing never ends");
}

/// Whoever reads keeps his snapshot and waits for nothing; it is done when he is through.
#[test]
fn p7_a_reader_puts_erasing_off_and_it_is_not_forgotten() {
    for reopened in [false, true] {
        let (world, mut sync) = lost(true);
        let reader = reading(&world);
        sync.finished(None).unwrap();
        assert!(!sync.erase().unwrap());
        assert_eq!(count(&reader), kept().count() as i64);
        let mut store = world.store();
        assert!(due(&mut store), "and the status says so");
        reader.execute_batch("COMMIT").unwrap();
        drop(reader);
        if reopened {
            drop(sync);
            drop(store);
            drop(world.sync());
        } else {
            pull(&mut sync, &[], "c");
            sync.finished(None).unwrap();
            assert!(!due(&mut store));
        }
        assert_eq!(
            found(world.dir.path(), left()),
            0,
            "opened again: {reopened}"
        );
    }
}

fn reading(world: &World) -> Connection {
    let reader = world.plain();
    reader.execute_batch("BEGIN").unwrap();
    count(&reader);
    reader
}

fn count(conn: &Connection) -> i64 {
    let sql = "SELECT count(*) FROM visit";
    conn.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// So does somebody in the middle of a write, who loses nothing by it.
#[test]
fn p3_a_writer_puts_erasing_off_and_loses_nothing() {
    let (world, mut sync) = lost(true);
    let writer = world.plain();
    let write = "BEGIN IMMEDIATE; INSERT INTO note (id, words) VALUES ('n', 'mine')";
    writer.execute_batch(write).unwrap();
    assert!(!sync.erase().unwrap());
    writer.execute_batch("COMMIT").unwrap();
    assert!(sync.erase().unwrap());
    assert_eq!(found(world.dir.path(), left()), 0);
    let mut store = world.store();
    assert_eq!(query(&store, "SELECT words FROM note"), [[text("mine")]]);
    assert_eq!(store.status().unwrap().pending, 1);
}

/// Rows of an entity without it cost no rewriting.
#[test]
fn p9_entities_without_erase_rewrite_nothing() {
    let world = world(true);
    let mut sync = world.sync();
    pull(&mut sync, &rows(&world, "place", false), "a");
    let keys = left().map(|id| vec![row(id, 0)[0].clone()]).collect();
    let gone = Frame::Gone {
        entity: "place".into(),
        keys,
    };
    pull(&mut sync, &[gone], "b");
    assert!(!due(&mut world.store()));
}
