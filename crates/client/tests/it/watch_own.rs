//! Watches of what this process commits: exactly once for each transaction that touched what the
//! query reads.

use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use afield::native::{Client, SyncOptions};
use afield::protocol::{Code, Value, Verdict};
use afield::{Error, Params, Store, Watch};
use tempfile::{TempDir, tempdir};

use crate::native_driver::note;
use crate::native_server::{Reply, Server, client};

/// A client whose watches nobody's thread looks after.
fn opened(script: Vec<Reply>) -> (TempDir, Client) {
    let folder = tempdir().unwrap();
    let server = Server::start(script);
    let client = client(folder.path(), &server);
    (folder, client)
}

fn execute(store: &mut Store, sql: &str) {
    let run = store.transaction(|tx| tx.execute(sql, &Params::none()));
    run.unwrap();
}

/// Asserts that each watch counted so many commits since the last look.
fn assert_counts<const N: usize>(watches: [(&Watch, u64); N]) {
    for (at, (watch, expected)) in watches.into_iter().enumerate() {
        assert_eq!(watch.take(), expected, "watch {at}");
    }
}

#[test]
fn a_commit_is_told_once_to_whom_it_concerns() {
    let (_folder, client) = opened(vec![]);
    let mut store = client.store();
    execute(
        &mut store,
        "CREATE TABLE own (x); CREATE VIEW starred AS SELECT * FROM note WHERE stars > 3;
         CREATE VIEW pairs AS SELECT * FROM own JOIN place ON place.id = own.x;",
    );
    let notes = store.watch("SELECT count(*) FROM note").unwrap();
    let places = store.watch("SELECT * FROM place").unwrap();
    let starred = store.watch("SELECT * FROM starred").unwrap();
    let pairs = store.watch("SELECT 1 FROM pairs").unwrap();
    let inner = store
        .watch("SELECT 1 WHERE EXISTS (SELECT * FROM \"NOTE\")")
        .unwrap();
    assert_counts([
        (&notes, 0),
        (&places, 0),
        (&starred, 0),
        (&pairs, 0),
        (&inner, 0),
    ]);

    store.create("note", &note("a", "x")).unwrap();
    assert_counts([
        (&notes, 1),
        (&places, 0),
        (&starred, 1),
        (&pairs, 0),
        (&inner, 1),
    ]);

    // Many statements, one transaction.
    let many = "UPDATE note SET text = 'y'; INSERT INTO note (id) VALUES ('b');
                INSERT INTO own VALUES (1), (2);";
    execute(&mut store, many);
    assert_counts([
        (&notes, 1),
        (&places, 0),
        (&starred, 1),
        (&pairs, 1),
        (&inner, 1),
    ]);

    // A whole table at once, which SQLite would do without visiting the rows.
    execute(&mut store, "DELETE FROM own");
    assert_counts([
        (&notes, 0),
        (&places, 0),
        (&starred, 0),
        (&pairs, 1),
        (&inner, 0),
    ]);

    // The same table again after another: nothing is remembered from the transaction before.
    execute(&mut store, "INSERT INTO own VALUES (3)");
    execute(&mut store, "INSERT INTO own VALUES (4)");
    assert_counts([(&pairs, 2), (&notes, 0)]);
    store.status().unwrap();
    store.changes().unwrap();
    assert_counts([(&notes, 0), (&pairs, 0)]);
}

#[test]
fn what_is_rolled_back_is_not_told() {
    let (_folder, client) = opened(vec![]);
    let mut store = client.store();
    execute(&mut store, "CREATE TABLE own (x)");
    let notes = store.watch("SELECT * FROM note").unwrap();
    let own = store.watch("SELECT * FROM own").unwrap();
    let failed = store.transaction(|tx| {
        tx.create("note", &note("a", "x"))?;
        tx.execute("INSERT INTO own VALUES (1)", &Params::none())?;
        Err::<(), _>(Error::new(Code::SQL, "no"))
    });
    assert!(failed.is_err());
    assert_counts([(&notes, 0), (&own, 0)]);
    // Part of a transaction: of entities it is known exactly.
    let sql = "SAVEPOINT s; INSERT INTO note (id) VALUES ('a'); ROLLBACK TO s; RELEASE s";
    execute(&mut store, sql);
    assert_counts([(&notes, 0)]);
    execute(&mut store, "INSERT INTO own VALUES (1)");
    assert_counts([(&notes, 0), (&own, 1)]);
}

#[test]
fn tables_that_no_hook_reports_are_told_of_too() {
    let (_folder, client) = opened(vec![]);
    let mut store = client.store();
    execute(
        &mut store,
        "CREATE TABLE pairs (a, b, PRIMARY KEY (a, b)) WITHOUT ROWID; CREATE TABLE own (x);
         CREATE TRIGGER mirror AFTER INSERT ON own BEGIN INSERT INTO pairs VALUES (new.x, 1); END",
    );
    let pairs = store.watch("SELECT * FROM pairs").unwrap();
    execute(&mut store, "INSERT INTO own VALUES (1)");
    assert_counts([(&pairs, 1)]);
}

#[test]
fn a_sync_tells_of_its_pages_and_outcomes() {
    let (_folder, client) = opened(vec![
        Reply::Notes(vec![("s", "server")]),
        Reply::Notes(vec![]),
        Reply::Verdicts(|_| Verdict::rejected(Code::GONE, "gone")),
    ]);
    let notes = client.store().watch("SELECT * FROM note").unwrap();
    let places = client.store().watch("SELECT * FROM place").unwrap();
    let outcomes = client
        .store()
        .watch("SELECT * FROM afield_outcome")
        .unwrap();
    client
        .sync_with(&SyncOptions::default(), &mut |_| {})
        .unwrap();
    assert_counts([(&notes, 1), (&places, 0), (&outcomes, 0)]);
    client
        .sync_with(&SyncOptions::default(), &mut |_| {})
        .unwrap();
    assert_counts([(&notes, 0), (&places, 0), (&outcomes, 0)]);

    let set = [("text".to_owned(), Value::from("mine"))].into();
    client.store().update("note", &["s".into()], &set).unwrap();
    assert_counts([(&notes, 1)]);
    client
        .sync_with(&SyncOptions::default(), &mut |_| {})
        .unwrap();
    assert_eq!(outcomes.take(), 1);
    assert!(notes.take() >= 1, "the row is gone");
    assert_counts([(&places, 0)]);
}

#[test]
fn rows_under_unsent_changes_are_told_of_when_they_change() {
    let (_folder, client) = opened(vec![
        Reply::Notes(vec![("s", "server")]),
        Reply::HangUp,
        Reply::HangUp,
        Reply::HangUp,
        Reply::HangUp,
        Reply::Notes(vec![("s", "newer")]),
    ]);
    client
        .sync_with(&SyncOptions::default(), &mut |_| {})
        .unwrap();
    let set = [("stars".to_owned(), Value::from(5))].into();
    client.store().update("note", &["s".into()], &set).unwrap();
    client
        .sync_with(&SyncOptions::default(), &mut |_| {})
        .unwrap();
    let notes = client.store().watch("SELECT * FROM note").unwrap();
    let receive = SyncOptions {
        direction: afield::engine::Direction::Receive,
        ..SyncOptions::default()
    };
    client.sync_with(&receive, &mut |_| {}).unwrap();
    assert_counts([(&notes, 1)]);
    let row = client.store().get("note", &["s".into()]).unwrap().unwrap();
    assert_eq!(
        (&row["text"], &row["stars"]),
        (&"newer".into(), &Value::from(5))
    );
}

#[test]
fn queries_that_cannot_be_watched_say_why() {
    let (_folder, client) = opened(vec![]);
    for (sql, says) in [
        ("SELECT 1", "reads no table"),
        ("SELECT * FROM nowhere", "nowhere"),
        ("DELETE FROM note", "writes"),
    ] {
        let error = client.store().watch(sql).unwrap_err();
        assert_eq!(error.code(), &Code::SQL);
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn a_view_that_changes_is_followed() {
    let (_folder, client) = opened(vec![]);
    let mut store = client.store();
    let setup = "CREATE TABLE old (x); CREATE TABLE new (x); CREATE VIEW v AS SELECT * FROM old";
    execute(&mut store, setup);
    let watch = store.watch("SELECT * FROM v").unwrap();
    execute(
        &mut store,
        "DROP VIEW v; CREATE VIEW v AS SELECT * FROM new",
    );
    watch.take();
    execute(&mut store, "INSERT INTO old VALUES (1)");
    assert_eq!(watch.take(), 0);
    execute(&mut store, "INSERT INTO new VALUES (1)");
    assert_eq!(watch.take(), 1);
}

#[test]
fn a_waiting_thread_wakes_up() {
    let (_folder, client) = opened(vec![]);
    let watch = client.store().watch("SELECT * FROM note").unwrap();
    let (ready, begun) = channel();
    let waiting = thread::spawn(move || {
        ready.send(()).unwrap();
        watch.wait(Duration::from_secs(10))
    });
    begun.recv().unwrap();
    client.store().create("note", &note("a", "x")).unwrap();
    assert_eq!(waiting.join().unwrap(), 1);
}

#[test]
fn dropped_watches_cost_nothing_and_new_ones_work() {
    let (_folder, client) = opened(vec![]);
    let mut store = client.store();
    drop(store.watch("SELECT * FROM note").unwrap());
    store.create("note", &note("a", "x")).unwrap();
    store.create("note", &note("b", "x")).unwrap();
    let watch = store.watch("SELECT * FROM note").unwrap();
    assert_eq!(watch.take(), 0);
    store.create("note", &note("c", "x")).unwrap();
    assert_eq!(watch.take(), 1);
}
