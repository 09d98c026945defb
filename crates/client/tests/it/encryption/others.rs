//! Others who have the store open while it gets a key: no write of theirs is lost.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use afield::protocol::Code;
use afield::protocol::zoo::crash_after;
use rusqlite::{Connection, ErrorCode};

use super::*;

/// The store's file, for the process that writes into it.
const FILE: &str = "AFIELD_TEST_PLAIN_WRITER";

#[test]
fn p1_who_has_it_open_is_not_locked_out() {
    let world = filled();
    let before = everything(&world.plain());
    let refused = || {
        let error = open(&world, &key(1)).err().unwrap();
        assert_eq!(*error.code(), Code::STORE_LOCKED, "{error}");
        assert!(error.is_retryable());
        assert!(is_plain(&world.path()));
    };
    // A connection of ours, one of another program that reads, and one that writes.
    let store = world.store();
    refused();
    drop(store);
    let other = world.plain();
    other
        .query_row("SELECT * FROM label", [], |_| Ok(()))
        .unwrap();
    refused();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    refused();
    other
        .execute_batch("UPDATE log SET said = 'kept'; COMMIT")
        .unwrap();
    drop(other);
    drop(open(&world, &key(1)).unwrap());
    let mut after = everything(&raw(&world.path(), 1));
    assert!(after.iter().any(|line| line.contains("kept")));
    after.retain(|line| !line.starts_with("log ["));
    assert!(
        before
            .iter()
            .filter(|line| !line.starts_with("log ["))
            .eq(&after)
    );
}

#[test]
fn p1_who_had_the_old_file_cannot_write_into_it() {
    // Whether it was overwritten, or the process died before that.
    for dies in [None, Some("rename-on-disk")] {
        let world = filled();
        // It has the file, and no lock: it has read nothing yet.
        let other = Connection::open(world.path()).unwrap();
        let mut points = 0;
        while is_plain(&world.path()) {
            crash_after(dies.map(|_| points));
            let _ = open(&world, &key(1));
            crash_after(None);
            points += 1;
            assert!(points < 50);
        }
        let written = other.execute_batch("INSERT INTO log VALUES ('lost')");
        let code = written.unwrap_err().sqlite_error_code();
        let expected = match dies {
            None => ErrorCode::NotADatabase,
            Some(_) => ErrorCode::ReadOnly,
        };
        assert_eq!(code, Some(expected));
        drop(other);
        drop(open(&world, &key(1)).unwrap());
        assert_eq!(files(&world), ["ann.afield"]);
    }
}

/// Writes a row after the other into the plain store, opening it anew each time or keeping it
/// open, and says so once it is durable, until the store cannot be written in this way any more.
#[test]
#[ignore = "the other process of the tests in this module, started by them"]
fn writer() {
    let Ok(path) = std::env::var(FILE) else {
        return;
    };
    let mut said = std::io::stdout();
    let mut kept = None;
    for n in 0.. {
        let conn = match kept.take() {
            Some(conn) => conn,
            None => Connection::open(&path).unwrap(),
        };
        let sql = "INSERT INTO label (word) VALUES (?1)";
        match conn.execute(sql, [format!("written {n:06}")]) {
            Ok(_) => writeln!(said, "\nwritten {n:06}").unwrap(),
            Err(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {}
                code => {
                    writeln!(said, "\nend {code:?}").unwrap();
                    return;
                }
            },
        }
        if n % 7 < 3 {
            kept = Some(conn);
        }
    }
}

fn start(path: &Path, said: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "encryption::others::writer",
            "--ignored",
            "--nocapture",
        ])
        .env(FILE, path)
        .stdout(File::create(said).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn p1_nothing_that_another_process_writes_meanwhile_is_lost() {
    for _ in 0..5 {
        let world = filled();
        let said = world.dir.path().join("said");
        let mut child = start(&world.path(), &said);
        let text = || std::fs::read_to_string(&said).unwrap();
        while !text().contains("written") {
            assert!(child.try_wait().unwrap().is_none(), "{}", text());
        }
        let mut refused = 0;
        loop {
            match open(&world, &key(1)) {
                Ok(_) => break,
                Err(error) => assert_eq!(*error.code(), Code::STORE_LOCKED, "{error}"),
            }
            refused += 1;
            assert!(refused < 10_000, "it never gets in");
        }
        assert!(child.wait().unwrap().success());
        let text = text();
        assert!(text.contains("\nend "), "{text}");
        let written: Vec<_> = text
            .lines()
            .filter(|line| line.starts_with("written"))
            .collect();
        let conn = raw(&world.path(), 1);
        let sql = "SELECT count(*) FROM label WHERE word LIKE 'written%'";
        let found: i64 = conn.query_row(sql, [], |row| row.get(0)).unwrap();
        for word in &written {
            let sql = "SELECT 1 FROM label WHERE word = ?1";
            assert!(
                conn.prepare(sql).unwrap().exists([word]).unwrap(),
                "{word} is lost"
            );
        }
        let more = found - i64::try_from(written.len()).unwrap();
        assert!((0..=1).contains(&more), "{more} that were not said");
    }
}

#[test]
fn p1_two_that_encrypt_it_at_once_make_one_store() {
    let world = filled();
    let before = everything(&world.plain());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Err(error) = open(&world, &key(1)) {
                    assert_eq!(*error.code(), Code::STORE_LOCKED, "{error}");
                }
            });
        }
    });
    assert_eq!(everything(&raw(&world.path(), 1)), before);
    assert_eq!(files(&world), ["ann.afield"]);
}
