//! Watches of what another process commits: a real one, this very test binary once more.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use afield::native::Client;
use afield::protocol::{Code, Value};
use afield::{Params, Watch};
use rusqlite::Connection;
use tempfile::tempdir;

use crate::native_driver::{note, texts};
use crate::native_server::{Server, client};

const FILE: &str = "AFIELD_TEST_SECOND_PROCESS";

/// What the second process runs: each line of its input, as plain SQL on the file.
#[test]
#[ignore = "the other process of the tests in this module, started by them"]
fn second_process() {
    let file = std::env::var(FILE).unwrap();
    let connection = Connection::open(file).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    println!("\nready");
    for line in std::io::stdin().lines() {
        connection.execute_batch(&line.unwrap()).unwrap();
        println!("done");
    }
}

struct Second {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Second {
    fn start(file: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "watch_process::second_process",
                "--ignored",
                "--nocapture",
            ])
            .env(FILE, file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut second = Self {
            child,
            input,
            output,
        };
        second.expect("ready");
        second
    }

    /// Runs SQL there, and returns when it is committed.
    fn run(&mut self, sql: &str) {
        writeln!(self.input, "{sql}").unwrap();
        self.expect("done");
    }

    fn expect(&mut self, word: &str) {
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "it ended");
            if line.trim() == word {
                return;
            }
        }
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn opened(folder: &Path) -> (Client, Second) {
    let server = Server::start([]);
    let client = client(folder, &server);
    let second = Second::start(&folder.join("ann.afield"));
    (client, second)
}

/// Waits for a watch, no longer than it promises.
#[expect(clippy::disallowed_methods, reason = "the promise is about real time")]
fn fires_within_a_second(watch: &Watch) -> u64 {
    let begun = Instant::now();
    let count = watch.wait(Duration::from_secs(5));
    let took = begun.elapsed();
    // One second is promised; a loaded test machine is given another.
    assert!(took < Duration::from_secs(2), "{took:?}");
    count
}

#[test]
fn another_process_is_noticed_within_a_second() {
    let folder = tempdir().unwrap();
    let (client, mut second) = opened(folder.path());
    let notes = client.watch("SELECT * FROM note").unwrap();
    let places = client.watch("SELECT * FROM place").unwrap();
    for round in 0..3 {
        second.run(&format!(
            "INSERT INTO note (id, text) VALUES ('{round}', 'x')"
        ));
        assert_eq!(fires_within_a_second(&notes), 1);
        assert_eq!(places.take(), 0);
        assert_eq!(texts(&client).len(), round + 1);
    }
}

#[test]
fn another_process_is_noticed_in_tables_that_are_no_entities() {
    let folder = tempdir().unwrap();
    let (client, mut second) = opened(folder.path());
    second.run("CREATE TABLE own (x)");
    let own = client.watch("SELECT * FROM own").unwrap();
    second.run("INSERT INTO own VALUES (1)");
    assert_eq!(fires_within_a_second(&own), 1);
    second.run("DELETE FROM own");
    assert_eq!(fires_within_a_second(&own), 1);
}

#[test]
fn what_another_process_rolls_back_is_not_told() {
    let folder = tempdir().unwrap();
    let (client, mut second) = opened(folder.path());
    let notes = client.store().watch("SELECT * FROM note").unwrap();
    let watches = client.store().watches();
    second.run("BEGIN; INSERT INTO note (id) VALUES ('a'); ROLLBACK");
    watches.look();
    assert_eq!(notes.take(), 0);
    second.run("INSERT INTO note (id) VALUES ('a')");
    watches.look();
    assert_eq!(notes.take(), 1);
    watches.look();
    assert_eq!(notes.take(), 0);
}

#[test]
fn our_commits_and_theirs_are_told_apart() {
    let folder = tempdir().unwrap();
    let (client, mut second) = opened(folder.path());
    second.run("CREATE TABLE own (x); CREATE TABLE other (x)");
    let notes = client.store().watch("SELECT * FROM note").unwrap();
    let own = client.store().watch("SELECT * FROM own").unwrap();
    let watches = client.store().watches();
    let execute = |sql: &str| {
        let mut store = client.store();
        let run = store.transaction(|tx| tx.execute(sql, &Params::none()));
        run.unwrap();
    };
    // Ours alone: another table of ours is nobody's business, and a look finds nothing more.
    execute("INSERT INTO other VALUES (1)");
    client.store().create("note", &note("a", "x")).unwrap();
    watches.look();
    assert_eq!((notes.take(), own.take()), (1, 0));
    // Theirs between two of ours, not looked for: our next commit tells of it.
    second.run("INSERT INTO own VALUES (1)");
    execute("INSERT INTO other VALUES (2)");
    assert_eq!((notes.take(), own.take()), (0, 1));
    watches.look();
    assert_eq!((notes.take(), own.take()), (0, 0));
    // Of one entity, both: two commits, and at least one call after each.
    second.run("INSERT INTO note (id) VALUES ('b')");
    client.store().create("note", &note("c", "x")).unwrap();
    watches.look();
    assert!((1..=2).contains(&notes.take()));
    // What a rolled-back transaction of ours saw of theirs is still told.
    second.run("INSERT INTO note (id) VALUES ('d')");
    let failed = client.store().transaction(|tx| {
        tx.create("note", &note("e", "x"))?;
        Err::<(), _>(afield::Error::new(Code::SQL, "no"))
    });
    assert!(failed.is_err());
    watches.look();
    assert_eq!(notes.take(), 1);
    let sql = "SELECT count(*) FROM note";
    let found = client.store().query(sql, &Params::none()).unwrap().rows;
    assert_eq!(found, [[Value::from(4)]]);
}

#[test]
fn no_commit_of_another_process_is_missed_between_ours() {
    let folder = tempdir().unwrap();
    let (client, mut second) = opened(folder.path());
    second.run("CREATE TABLE own (x); CREATE TABLE other (x)");
    let own = client.store().watch("SELECT * FROM own").unwrap();
    let watches = client.store().watches();
    for round in 0..40 {
        own.take();
        thread::scope(|scope| {
            scope.spawn(|| second.run("INSERT INTO own VALUES (1)"));
            for _ in 0..3 {
                let sql = "INSERT INTO other VALUES (1)";
                let run = client
                    .store()
                    .transaction(|tx| tx.execute(sql, &Params::none()));
                run.unwrap();
            }
        });
        watches.look();
        assert_eq!(own.take(), 1, "round {round}");
    }
}
