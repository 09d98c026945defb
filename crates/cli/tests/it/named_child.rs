//! Other processes: this test's own program again, in a role, so that it can be killed.
//!
//! | role | does |
//! |---|---|
//! | `sync` | synchronises until its input ends; by the name `resend` it resends what was lost |
//! | `actions` | transfers, through the store, one after another |
//! | `sql` | transfers, as a program that knows nothing of Afield |
//! | `reader` | reads until its input ends, and says what it saw that must not be |

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;

use afield::Params;
use afield::engine::Direction;
use afield::native::{Client, ClientOptions};
use rusqlite::Connection;

use crate::world::{PATIENCE, database_in, reader, rows};

/// What says which role a process has: role, folder, name, count.
const ROLE: &str = "AFIELD_NAMED_ROLE";

/// The name of a process that sends what a restore took again, unasked.
pub(crate) const RESEND: &str = "resend";

/// What stands before every line that is for the test.
const MARK: &str = "@ ";

/// Accounts between which transfers are made.
pub(crate) const ACCOUNTS: usize = 10;

/// What each account begins with.
pub(crate) const AMOUNT: i64 = 100;

/// A process in a role.
pub(crate) struct Child {
    process: std::process::Child,
    said: Mutex<Receiver<String>>,
}

impl Child {
    /// Starts a process in `role` for Ann's store in `folder`.
    pub(crate) fn start(role: &str, folder: &Path, name: &str, count: usize) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let folder = folder.to_str().unwrap();
        command
            .args(["named_child::role", "--exact", "--ignored", "--nocapture"])
            .env(ROLE, [role, folder, name, &count.to_string()].join("\n"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let stdout = process.stdout.take().unwrap();
        let (sender, said) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(line) = line.strip_prefix(MARK) {
                    let _ = sender.send(line.to_owned());
                }
            }
        });
        let said = Mutex::new(said);
        Self { process, said }
    }

    /// The next line that it says; none if it has ended.
    pub(crate) fn line(&self) -> Option<String> {
        match self.said.lock().unwrap().recv_timeout(PATIENCE) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("a process said nothing for {PATIENCE:?}"),
        }
    }

    /// Lets it come to its end; gives what it still said.
    pub(crate) fn finish(mut self) -> Vec<String> {
        drop(self.process.stdin.take());
        let said = std::iter::from_fn(|| self.line()).collect();
        assert!(
            self.process.wait().unwrap().success(),
            "a process failed: {said:?}"
        );
        said
    }

    /// Kills it on the spot.
    pub(crate) fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Two accounts and an amount, for the transfer `at` of the writer `name`.
pub(crate) fn transfer(name: &str, at: usize) -> (usize, usize, i64) {
    let salt = name.len();
    let from = (at * 7 + salt) % ACCOUNTS;
    let to = (from + 1 + at % (ACCOUNTS - 1)) % ACCOUNTS;
    (from, to, i64::try_from(at % 9).unwrap() + 1)
}

/// Accounts, as the team has them before anybody transfers.
pub(crate) fn accounts() -> String {
    let make = |at| format!("INSERT INTO account VALUES ('a{at}', {AMOUNT}, 'new');");
    (0..ACCOUNTS).map(make).collect()
}

/// The statements of a transfer: two accounts, and a row of its own that says it was made.
fn statements(name: &str, at: usize) -> String {
    let (from, to, amount) = transfer(name, at);
    format!(
        "UPDATE account SET amount = amount - {amount} WHERE name = 'a{from}'; \
         UPDATE account SET amount = amount + {amount} WHERE name = 'a{to}'; \
         INSERT INTO mirror VALUES ('{name}-{at}', {amount}, '{name}-{at}')"
    )
}

#[test]
#[ignore = "a process of another test, not a test"]
fn role() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let parts: Vec<&str> = role.split('\n').collect();
    let [role, folder, name, count] = parts[..] else {
        panic!("a role has four parts");
    };
    let (folder, count) = (Path::new(folder), count.parse().unwrap());
    // The harness has begun a line.
    println!();
    match role {
        "sync" => sync(folder, name),
        "actions" => actions(folder, name, count),
        "sql" => sql(folder, name, count),
        "reader" => read(folder),
        _ => panic!("no role {role}"),
    }
}

/// Whether the test has closed this process's input.
fn told_to_end() -> Arc<AtomicBool> {
    let told = Arc::new(AtomicBool::new(false));
    let telling = Arc::clone(&told);
    thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        telling.store(true, Ordering::SeqCst);
    });
    told
}

/// Says a line to the test.
#[expect(clippy::print_stdout, reason = "this is how a process speaks")]
fn say(line: &str) {
    println!("{MARK}{line}");
}

fn sync(folder: &Path, policy: &str) {
    let told = told_to_end();
    let client = Client::open(ClientOptions::new(folder, "ann")).unwrap();
    client.resend_lost(policy == RESEND);
    while !told.load(Ordering::SeqCst) {
        let report = client.sync(None, Direction::Both).unwrap();
        say(report.status.as_str());
    }
}

fn actions(folder: &Path, name: &str, count: usize) {
    let client = Client::open(ClientOptions::new(folder, "ann")).unwrap();
    for at in 0..count {
        let write = statements(name, at);
        let mut store = client.store();
        store
            .transaction(|tx| tx.execute(&write, &Params::none()))
            .unwrap();
        let written = format!("SELECT 1 FROM mirror WHERE tag = '{name}-{at}'");
        let found = store.query(&written, &Params::none()).unwrap();
        assert_eq!(found.rows.len(), 1, "what was written is read");
        say(&format!("{name}-{at}"));
    }
}

fn sql(folder: &Path, name: &str, count: usize) {
    let conn = Connection::open(database_in(folder, "ann")).unwrap();
    conn.busy_timeout(PATIENCE).unwrap();
    for at in 0..count {
        let write = format!("BEGIN IMMEDIATE; {}; COMMIT", statements(name, at));
        conn.execute_batch(&write).unwrap();
        say(&format!("{name}-{at}"));
    }
}

/// Reads the tables that the team writes together, in one snapshot each time.
fn read(folder: &Path) {
    let told = told_to_end();
    let conn = reader(&database_in(folder, "ann"));
    let (mut reads, mut states) = (0_u64, std::collections::HashSet::new());
    while !told.load(Ordering::SeqCst) {
        let sql = "SELECT count(DISTINCT tag), sum(amount), count(*), min(tag) FROM \
                   (SELECT tag, amount FROM account UNION ALL SELECT tag, amount FROM mirror \
                   UNION ALL SELECT tag, 0 FROM price UNION ALL SELECT tag, 0 FROM news)";
        let seen = rows(&conn, sql).remove(0);
        if seen[0] != 1.into() || seen[1] != 0.into() {
            say(&format!("wrong: {seen:?}"));
        }
        states.insert(format!("{:?}", seen[3]));
        reads += 1;
    }
    say(&format!("{reads} reads of {} states", states.len()));
}
