//! Stores with a key: what opens them, what their files show, and how a store gets a key.

mod convert;
mod kills;
mod others;
mod scan;
mod sealed;

use std::path::{Path, PathBuf};

use afield::protocol::{Code, Frame, Theirs, Verdict};
use afield::{Key, Store, SyncStore};
use rusqlite::Connection;

use crate::ids::{create_sheet, sheets};
use crate::store_crash::contents;
use crate::world::{USER, World, attributes, execute, id, int, page, pull, request, settle, text};

/// What stands in the rows, so that it is found in files that are not encrypted.
const WORDS: &str = "plain to see";

fn digits(n: u8) -> String {
    format!("{n:02x}").repeat(32)
}

/// The n-th key.
fn key(n: u8) -> Key {
    Key::from_hex(&digits(n)).unwrap()
}

fn open(world: &World, key: &Key) -> Result<Store, afield::Error> {
    Store::open_with(&world.path(), USER, Some(key), world.env())
}

fn sync(world: &World, key: &Key) -> SyncStore {
    SyncStore::open_with(&world.path(), USER, Some(key), world.env()).unwrap()
}

/// A connection of another program that has the n-th key.
fn raw(path: &Path, n: u8) -> Connection {
    let conn = Connection::open(path).unwrap();
    let sql = format!("PRAGMA key = \"x'{}'\"", digits(n));
    conn.execute_batch(&sql).unwrap();
    conn
}

/// A world whose store is not there yet.
fn empty() -> World {
    let world = World::with(sheets());
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(beside(&world.path(), ending));
    }
    world
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    PathBuf::from(format!("{}{ending}", path.display()))
}

/// The names of the store's files.
fn files(world: &World) -> Vec<String> {
    let folder = std::fs::read_dir(world.dir.path()).unwrap();
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with("ann")).collect();
    names.sort();
    names
}

/// The name, the length and every byte of each of these files, without SQLite.
fn bytes(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

fn says(bytes: &[u8], words: &str) -> bool {
    bytes
        .windows(words.len())
        .any(|part| part == words.as_bytes())
}

fn is_plain(path: &Path) -> bool {
    std::fs::read(path)
        .unwrap()
        .starts_with(b"SQLite format 3\0")
}

fn code<T>(result: Result<T, afield::Error>) -> Option<Code> {
    result.err().map(|error| error.code().clone())
}

/// Everything a store may hold: the server's rows, a change that was sent and lost its answer,
/// one in conflict, one refused, temporary numbers, an outcome that waits for its page, and what
/// an app makes for itself beside it.
fn fill(store: &mut Store, sync: &mut SyncStore, world: &World) {
    store.install_first(&world.model).unwrap();
    let label = |n: u64, words: &str| {
        world.rows(
            "label",
            &[&[text(&format!("l{n}")), text(&format!("{WORDS} {words}"))]],
        )
    };
    pull(
        sync,
        &[label(1, "one"), label(2, "two"), label(3, "three")],
        "t1",
    );
    for n in 0..3 {
        create_sheet(store, &format!("{WORDS} sheet {n}"));
    }
    for n in 1..=2 {
        let set = attributes([("colour", text(&format!("{WORDS} mine {n}")))]);
        store
            .update("label", &[text(&format!("l{n}"))], &set)
            .unwrap();
    }
    let sent = request(sync);
    settle_some(sync, &sent);
    // Frozen, and its answer never came.
    let set = attributes([("colour", text(&format!("{WORDS} lost")))]);
    store.update("label", &[text("l3")], &set).unwrap();
    request(sync);
    let note = [("id", id(1)), ("body", text(WORDS))];
    store.create("note", &attributes(note)).unwrap();
    staged(sync, &label(4, "staged"));
    execute(store, OWN_TABLES).unwrap();
    execute(
        store,
        &format!("INSERT INTO log (said) VALUES ('{WORDS} log')"),
    )
    .unwrap();
    execute(store, "DELETE FROM log WHERE rowid < 5").unwrap();
}

/// One conflict and one refusal; the sheets stay under way.
fn settle_some(sync: &mut SyncStore, sent: &afield::Outgoing) {
    let theirs = attributes([("colour", text(&format!("{WORDS} theirs")))]);
    let mut only = sent.clone();
    let conflict = Verdict::conflict(Code::ROW_CHANGED, Theirs::Row(theirs));
    let refused = Verdict::rejected(Code::CHECK_FAILED, WORDS);
    for (at, verdict) in [(3, conflict), (4, refused)] {
        only.groups = vec![sent.groups[at].clone()];
        settle(sync, &only, &verdict);
    }
}

/// A page that is not the last one, and waits for it.
fn staged(sync: &mut SyncStore, rows: &Frame) {
    let next = sync
        .next_request(Some("main"), false, afield::RequestCaps::default())
        .unwrap();
    let content = [rows.clone()];
    page(sync, next.request, &next.pull, &content, "t2", false, &[]).unwrap();
}

/// Of every kind that a copy could get wrong.
const OWN_TABLES: &str = "
    CREATE TABLE log (said TEXT);
    CREATE TABLE \"it's \"\"odd\"\"\" (rowid TEXT, \"a b\" BLOB, c REAL, PRIMARY KEY (c, rowid))
      WITHOUT ROWID;
    CREATE TABLE made (a INTEGER, b TEXT GENERATED ALWAYS AS (a || '!') STORED, c AS (a * 2));
    CREATE TABLE counted (n INTEGER PRIMARY KEY AUTOINCREMENT, word TEXT UNIQUE, CHECK (n > 0));
    CREATE TABLE backwards (n INTEGER PRIMARY KEY DESC, word TEXT);
    CREATE TABLE strict (n INTEGER, any ANY) STRICT;
    CREATE UNIQUE INDEX log_said ON counted (lower(word)) WHERE word <> '';
    CREATE VIEW seen AS SELECT said FROM log;
    CREATE TRIGGER logged AFTER INSERT ON counted BEGIN INSERT INTO log VALUES (NEW.word); END;
    CREATE VIRTUAL TABLE words USING fts5 (said, content = 'log', content_rowid = 'rowid');
    INSERT INTO log (rowid, said) VALUES (3, 'a'), (7, 'b'), (5, 'c'), (9000000000, 'd');
    INSERT INTO words (words) VALUES ('rebuild');
    INSERT INTO \"it's \"\"odd\"\"\" VALUES ('x', x'00ff', -0.0), ('y', 'text', 1e300), ('z', 4, 3);
    INSERT INTO made (a) VALUES (1), (2);
    INSERT INTO counted VALUES (4503599627370500, 'far');
    DELETE FROM counted;
    INSERT INTO backwards VALUES (3, 'c'), (1, 'a');
    INSERT INTO strict VALUES (1, 'text'), (2, x'00'), (3, 2.5);
    ANALYZE";

/// A plain store with all of that, closed.
fn filled() -> World {
    let world = World::with(sheets());
    fill(&mut world.store(), &mut world.sync(), &world);
    let conn = world.plain();
    conn.execute_batch("PRAGMA user_version = 77; PRAGMA application_id = -5")
        .unwrap();
    world
}

/// What is in a file, headers included.
fn everything(conn: &Connection) -> Vec<String> {
    let mut found = contents(conn);
    for setting in ["user_version", "application_id", "auto_vacuum", "encoding"] {
        let sql = format!("PRAGMA {setting}");
        let value = conn.query_row(&sql, [], |row| row.get::<_, rusqlite::types::Value>(0));
        found.push(format!("{setting} {:?}", value.unwrap()));
    }
    found
}
