//! What an edit may cost, in things that can be counted: statements planned and pages written.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use afield_protocol::{Attribute, Attributes, Type, Value};
use rusqlite::hooks::{AuthContext, Authorization};

use super::full::{Counting, model};
use super::ids::captured::Uncaptured;
use super::{RequestCaps, Store, SyncStore};

const ROWS: i64 = 40;

/// A page in the write-ahead log, with its head.
const FRAME: u64 = 4096 + 24;

fn word(n: i64, text: &str) -> Attributes {
    Attributes::from([
        ("id".into(), Value::Text(format!("w{n}"))),
        ("text".into(), Value::Text(text.into())),
    ])
}

fn edit(store: &mut Store, n: i64, text: &str) {
    let set = Attributes::from([("text".into(), Value::Text(text.into()))]);
    store
        .update("word", &[format!("w{n}").into()], &set)
        .unwrap();
}

/// A store with rows of the server's, the tables as `lay_out` makes them.
fn store(folder: &tempfile::TempDir, lay_out: &str) -> Store {
    let path = folder.path().join("s");
    let mut store = Store::open(&path, "ann", Box::new(Counting(0))).unwrap();
    store.install_first(&model()).unwrap();
    store.db.conn.execute_batch(lay_out).unwrap();
    let uncaptured = Uncaptured::new(&store.db.conn).unwrap();
    for n in 0..ROWS {
        let sql = "INSERT INTO word (id, text) VALUES ('w' || ?1, 'a')";
        store.db.conn.execute(sql, [n]).unwrap();
    }
    drop(uncaptured);
    store
}

#[test]
fn an_edit_plans_nothing_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(&folder, "");
    // SQLite asks for leave when it plans a statement, and not when it runs one.
    let asked = Arc::<AtomicU64>::default();
    let count = asked.clone();
    let asks = move |_: AuthContext<'_>| {
        count.fetch_add(1, Ordering::SeqCst);
        Authorization::Allow
    };
    store.db.conn.authorizer(Some(asks)).unwrap();
    let mut edit_and_read = |n: i64| {
        edit(&mut store, n, "b");
        let found = store.get("word", &[format!("w{n}").into()]).unwrap();
        assert_eq!(found, Some(word(n, "b")));
    };
    (0..2).for_each(&mut edit_and_read);
    assert!(asked.swap(0, Ordering::SeqCst) > 0);
    (2..ROWS).for_each(&mut edit_and_read);
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

/// Pages that ten edits of rows of the server's write.
fn pages_of_ten_edits(lay_out: &str) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(&folder, lay_out);
    let before = store.db.log_bytes();
    (0..10).for_each(|n| edit(&mut store, n, "b"));
    (store.db.log_bytes() - before) / FRAME
}

#[test]
fn an_edit_writes_few_pages() {
    // The row; two of what is captured; the counter; the server's row; three trees each of the
    // group and of the change.
    assert_eq!(pages_of_ten_edits(""), 10 * 11);
    // An index of the server's rows, and the numbers of groups and changes.
    assert_eq!(pages_of_ten_edits(BEFORE), 10 * 13);
}

#[test]
fn a_change_is_not_taken_for_one_whose_outcome_is_kept_longer() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(&folder, "");
    let sql = "INSERT INTO afield_outcome \
               (change_n, group_id, at, entity, key, op, result, code, stored_at) \
               VALUES (77, x'00', 0, 'word', x'00', 'create', 'rejected', 'gone', 1)";
    store.db.conn.execute(sql, []).unwrap();
    edit(&mut store, 3, "b");
    let last = "SELECT max(n) FROM afield_change";
    let last: i64 = store.db.conn.query_row(last, [], |row| row.get(0)).unwrap();
    assert_eq!(last, 78);
    let changes = store.changes().unwrap();
    assert!(changes.iter().all(|change| change.code.is_none()));
}

#[test]
fn a_read_shows_the_model_that_somebody_else_installed() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(&folder, "");
    let key = [Value::from("w1")];
    assert_eq!(store.get("word", &key).unwrap(), Some(word(1, "a")));
    let mut other = model();
    let more = Attribute::new("more", Type::Text);
    other.entities[0].attributes.push(more);
    let path = folder.path().join("s");
    let mut sync = SyncStore::open(&path, "ann", Box::new(Counting(100))).unwrap();
    sync.install(&other).unwrap();
    let row = store.get("word", &key).unwrap().unwrap();
    assert_eq!(row["more"], Value::Null);
    let set = Attributes::from([("more".into(), "m".into())]);
    store.update("word", &key, &set).unwrap();
    let row = store.get("word", &key).unwrap().unwrap();
    assert_eq!(row["more"], "m".into());
}

/// Tables as stores have them that were made before they were made leaner.
const BEFORE: &str = "\
    DROP TABLE afield_server_word;
    CREATE TABLE afield_server_word
      (existed INTEGER NOT NULL, \"id\" TEXT NOT NULL, \"text\" TEXT, PRIMARY KEY (\"id\"));
    DROP TABLE afield_change;
    DROP TABLE afield_group;
    CREATE TABLE afield_group (
      n INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, absorbed BLOB NOT NULL,
      state TEXT NOT NULL, frozen BLOB, hash BLOB, received INTEGER NOT NULL DEFAULT 0,
      made_at INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
      not_before INTEGER NOT NULL DEFAULT 0, checkpoint BLOB NOT NULL DEFAULT x'');
    CREATE INDEX afield_group_state ON afield_group (state, n);
    CREATE TABLE afield_change (
      n INTEGER PRIMARY KEY AUTOINCREMENT,
      group_n INTEGER NOT NULL REFERENCES afield_group (n), at INTEGER NOT NULL,
      entity TEXT NOT NULL, key BLOB NOT NULL, op TEXT NOT NULL, base BLOB NOT NULL,
      sets BLOB NOT NULL, overlay INTEGER NOT NULL DEFAULT 1, seen_from INTEGER, theirs BLOB,
      refreshed INTEGER NOT NULL DEFAULT 0);
    CREATE INDEX afield_change_group ON afield_change (group_n, at);
    CREATE INDEX afield_change_row ON afield_change (entity, key, n);";

#[test]
fn p1_a_store_laid_out_as_before_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(&folder, BEFORE);
    edit(&mut store, 1, "b");
    edit(&mut store, 2, "b");
    edit(&mut store, 1, "c");
    edit(&mut store, 1, "d");
    let sets = |store: &mut Store| -> Vec<_> {
        let changes = store.changes().unwrap().into_iter();
        changes.map(|change| change.set["text"].clone()).collect()
    };
    assert_eq!(sets(&mut store), ["b", "b", "d"].map(Value::from));
    drop(store);
    let path = folder.path().join("s");
    let mut store = Store::open(&path, "ann", Box::new(Counting(50))).unwrap();
    edit(&mut store, 3, "e");
    assert_eq!(sets(&mut store), ["b", "b", "d", "e"].map(Value::from));
    let mut sync = SyncStore::open(&path, "ann", Box::new(Counting(100))).unwrap();
    let sent = sync.next_request(Some("main"), true, RequestCaps::default());
    let sent: usize = sent.unwrap().groups.iter().map(|group| group.changes).sum();
    assert_eq!(sent, 4);
}
