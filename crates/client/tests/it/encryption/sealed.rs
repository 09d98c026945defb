//! What opens an encrypted store, and what does not.

use std::path::Path;

use afield::native::{Client, ClientOptions, KeySource};
use afield::protocol::{Code, Value};
use afield::{ExportOptions, Key, Params, Store, SyncStore};
use tempfile::{TempDir, tempdir};

use super::*;
use crate::world::query;

fn rows(store: &Store) -> Vec<Vec<Value>> {
    query(store, "SELECT title FROM sheet ORDER BY title")
}

/// A copy of the store's files as they are while it is open: what a killed process leaves.
fn killed(world: &World) -> TempDir {
    let folder = tempdir().unwrap();
    for name in files(world) {
        std::fs::copy(world.dir.path().join(&name), folder.path().join(&name)).unwrap();
    }
    folder
}

fn open_at(folder: &Path, key: Option<&Key>, world: &World) -> Result<Store, afield::Error> {
    let path = folder.join("ann.afield");
    SyncStore::open_with(&path, USER, key, world.env())?;
    Store::open_with(&path, USER, key, world.env())
}

#[test]
fn a_new_store_is_encrypted_from_its_first_byte() {
    let world = empty();
    let key = key(1);
    let mut store = open(&world, &key).unwrap();
    store.install_first(&world.model).unwrap();
    create_sheet(&mut store, WORDS);
    for name in files(&world) {
        assert!(!is_plain(&world.dir.path().join(name)));
    }
    assert_eq!(rows(&store), [[text(WORDS)]]);
    drop(store);
    assert_eq!(rows(&open(&world, &key).unwrap()), [[text(WORDS)]]);
    assert_eq!(files(&world), ["ann.afield"]);
}

#[test]
fn p1_a_wrong_key_leaves_every_byte_as_it_was() {
    let world = empty();
    let right = key(1);
    let mut store = open(&world, &right).unwrap();
    fill(&mut store, &mut sync(&world, &right), &world);
    let closed = {
        let folder = killed(&world);
        drop(open_at(folder.path(), Some(&right), &world).unwrap());
        folder
    };
    for folder in [killed(&world), closed] {
        let before = bytes(folder.path());
        for (wrong, expected) in [(Some(key(2)), Code::KEY_WRONG), (None, Code::KEY_MISSING)] {
            let error = open_at(folder.path(), wrong.as_ref(), &world)
                .err()
                .unwrap();
            assert_eq!(*error.code(), expected, "{error}");
            assert!(error.to_string().contains("ann.afield"), "{error}");
            let shown = format!("{error} {error:?}");
            assert!(
                !shown.contains(&digits(1)) && !shown.contains(&digits(2)),
                "{shown}"
            );
            assert!(before == bytes(folder.path()), "a byte changed");
        }
        let path = folder.path().join("ann.afield");
        let again = Store::rekey(&path, USER, &key(2), &key(3), world.env());
        assert_eq!(code(again), Some(Code::KEY_WRONG));
        assert!(before == bytes(folder.path()), "a byte changed");
        let found = open_at(folder.path(), Some(&right), &world).unwrap();
        assert_eq!(rows(&found), rows(&store));
    }
    // Both kinds of leftovers were there: a log that was not moved, and none.
    assert_eq!(killed(&world).path().read_dir().unwrap().count(), 3);
}

#[test]
fn p1_a_power_cut_that_tears_the_first_page_is_no_wrong_key() {
    let world = empty();
    let right = key(1);
    let mut store = open(&world, &right).unwrap();
    store.install_first(&world.model).unwrap();
    create_sheet(&mut store, WORDS);
    let folder = killed(&world);
    let path = folder.path().join("ann.afield");
    // The log with the page was being moved into the file.
    let mut torn = std::fs::read(&path).unwrap();
    torn.resize(4_096, 0);
    torn[2_048..].fill(0xa5);
    std::fs::write(&path, torn).unwrap();
    let before = bytes(folder.path());
    let wrong = open_at(folder.path(), Some(&key(2)), &world);
    assert_eq!(code(wrong), Some(Code::KEY_WRONG));
    assert!(before == bytes(folder.path()), "a byte changed");
    let found = open_at(folder.path(), Some(&right), &world).unwrap();
    assert_eq!(rows(&found), [[text(WORDS)]]);
}

#[test]
fn a_plain_store_stays_plain_without_a_key() {
    let world = filled();
    let before = everything(&world.plain());
    drop((world.store(), world.sync()));
    assert!(is_plain(&world.path()));
    assert_eq!(everything(&world.plain()), before);
}

#[test]
fn files_that_are_no_stores_are_not_encrypted() {
    let world = World::new();
    let path = world.dir.path().join("other.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)")
        .unwrap();
    drop(conn);
    let before = bytes(world.dir.path());
    let key = key(1);
    let other = Store::open_with(&path, USER, Some(&key), world.env());
    assert_eq!(code(other), Some(Code::STORE_DAMAGED));
    let bobs = Store::open_with(&world.path(), "bob", Some(&key), world.env());
    assert_eq!(code(bobs), Some(Code::FORBIDDEN));
    assert!(before == bytes(world.dir.path()), "a byte changed");
}

#[test]
fn a_new_encrypted_store_may_be_opened_by_many_at_once() {
    for round in 0..10 {
        let world = World::new();
        let path = world.dir.path().join(format!("new{round}.afield"));
        std::thread::scope(|scope| {
            let open = |n: i64| {
                let key = Some(key(1));
                let mut store = Store::open_with(&path, USER, key.as_ref(), world.env()).unwrap();
                store.install_first(&world.model).unwrap();
                SyncStore::open_with(&path, USER, key.as_ref(), world.env()).unwrap();
                let row = attributes([("word", text(&n.to_string()))]);
                store.create("label", &row).unwrap();
            };
            let threads: Vec<_> = (0..6).map(|n| scope.spawn(move || open(n))).collect();
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
        });
        let mut store = Store::open_with(&path, USER, Some(&key(1)), world.env()).unwrap();
        assert_eq!(store.changes().unwrap().len(), 6);
    }
}

#[test]
fn a_client_asks_its_source_and_its_watches_have_the_key() {
    let folder = tempdir().unwrap();
    let hex = folder.path().join("key");
    std::fs::write(&hex, digits(4)).unwrap();
    let options = |source| {
        let options = ClientOptions::new(folder.path().join("phone"), USER);
        ClientOptions {
            model: Some(sheets()),
            ..options.key(source)
        }
    };
    let client = Client::open(options(KeySource::File(hex.clone()))).unwrap();
    let watch = client.watch("SELECT title FROM sheet").unwrap();
    create_sheet(&mut client.store(), WORDS);
    assert_eq!(watch.take(), 1);
    drop(client);
    let other = options(KeySource::callback(|| Ok(key(5))));
    assert_eq!(code(Client::open(other.clone())), Some(Code::KEY_WRONG));
    let missing = options(KeySource::Environment("AFIELD_TEST_NOT_SET".into()));
    assert_eq!(code(Client::open(missing)), Some(Code::KEY_MISSING));
    let now = options(KeySource::File(hex));
    Client::rekey(&now, &KeySource::callback(|| Ok(key(5)))).unwrap();
    // Again, as after a crash that kept the answer from being seen.
    Client::rekey(&now, &KeySource::callback(|| Ok(key(5)))).unwrap();
    assert_eq!(code(Client::open(now)), Some(Code::KEY_WRONG));
    let client = Client::open(other).unwrap();
    let found = client
        .store()
        .query("SELECT title FROM sheet", &Params::none());
    assert_eq!(found.unwrap().rows, [[text(WORDS)]]);
}

#[test]
fn a_damaged_encrypted_store_says_so_and_is_not_thrown_away() {
    let world = empty();
    let key = key(1);
    let mut store = open(&world, &key).unwrap();
    store.install_first(&world.model).unwrap();
    for n in 0..200 {
        create_sheet(&mut store, &format!("{WORDS} {n}"));
    }
    drop(store);
    let whole = std::fs::read(world.path()).unwrap();
    let mut seen = 0;
    for at in (4_096..whole.len()).step_by(4_096) {
        let mut bytes = whole.clone();
        bytes[at..at + 8].fill(0xa5);
        std::fs::write(world.path(), &bytes).unwrap();
        let used = open(&world, &key).and_then(|mut store| {
            execute(&mut store, "UPDATE sheet SET title = title || '!'")?;
            store.changes().map(|_| ())
        });
        if let Err(error) = used {
            assert_eq!(*error.code(), Code::STORE_DAMAGED, "page at {at}: {error}");
            seen += 1;
        }
        assert!(std::fs::metadata(world.path()).unwrap().len() >= whole.len() as u64);
    }
    assert!(seen > 10, "only {seen} pages mattered");
}

#[test]
fn p7_an_encrypted_store_makes_no_readable_file_unasked() {
    let world = empty();
    let key = key(1);
    let mut store = open(&world, &key).unwrap();
    store.install_first(&world.model).unwrap();
    create_sheet(&mut store, WORDS);
    let path = world.dir.path().join("outbox");
    let options = ExportOptions::default();
    let refused = store.export(&path, &options).unwrap_err();
    assert_eq!(refused.code().as_str(), "plain-file");
    assert!(!path.exists());
    let plain = ExportOptions {
        plain: true,
        ..options
    };
    assert_eq!(store.export(&path, &plain).unwrap().changes.ready, 1);
    let other = World::with(sheets());
    assert_eq!(other.store().import(&path).unwrap().groups, 1);
}
