//! Several threads and programs at once, and databases that change under a running server.

use std::sync::Barrier;

use afield_protocol::{Attributes, Change, Group, GroupId, Op};
use afield_server::storage::conformance::{Database, Replica, assert_same, model};
use afield_server::storage::{Caller, PullRequest};
use rusqlite::Connection;

use crate::sqlite_database::SqliteDatabase;

const WRITES: i64 = 150;

/// Another program moves amounts between rows, devices push, other devices pull: every complete
/// pull sees whole transactions, and the last one sees everything.
#[test]
fn p4_p5_complete_pulls_see_whole_transactions_while_others_write() {
    let db = SqliteDatabase::new();
    db.execute("INSERT INTO stock (id, shelf) VALUES (1, 100), (2, 0), (3, 0)");
    let path = db.path();
    let model = model();
    let storage = db.storage();
    let start = &Barrier::new(4);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let conn = Connection::open(&path).unwrap();
            conn.busy_timeout(std::time::Duration::from_secs(10))
                .unwrap();
            start.wait();
            for n in 0..WRITES {
                let (from, to) = (n % 3 + 1, (n + 1) % 3 + 1);
                conn.execute_batch(&format!(
                    "BEGIN IMMEDIATE;
                     UPDATE stock SET shelf = shelf - 1 WHERE id = {from};
                     REPLACE INTO stock
                     SELECT id, code, shelf + 1, bin, words FROM stock WHERE id = {to};
                     COMMIT"
                ))
                .unwrap();
            }
        });
        scope.spawn(|| {
            start.wait();
            for n in 0..WRITES {
                let mut id = [0; 16];
                id[..8].copy_from_slice(&n.to_be_bytes());
                let group = Group::new(
                    GroupId(id),
                    vec![Change {
                        entity: "line".into(),
                        op: Op::Create,
                        key: vec![1.into(), n.into()],
                        base: Attributes::new(),
                        set: Attributes::new(),
                    }],
                );
                let ada = Caller::user("ada");
                assert!(storage.push(&model, &ada, &[group]).unwrap()[0].is_applied());
            }
        });
        for rows_max in [2, 100] {
            let model = &model;
            scope.spawn(move || {
                let seen = Seen { storage, model };
                let mut device = Replica::default();
                start.wait();
                for _ in 0..60 {
                    device.pull(&seen, &["stock", "line"], rows_max);
                    let sum: i64 = device
                        .rows("stock")
                        .values()
                        .map(|row| number(&row[2]))
                        .sum();
                    assert_eq!(sum, 100, "half of a transaction arrived");
                }
            });
        }
    });
    let mut device = Replica::default();
    device.pull(&db, &["stock", "line"], 1_000);
    assert_eq!(device.rows("line").len(), usize::try_from(WRITES).unwrap());
    assert_same(&db, &device, &["stock", "line"]);
}

fn number(value: &afield_protocol::Value) -> i64 {
    match value {
        afield_protocol::Value::Integer(n) => *n,
        other => panic!("{other:?}"),
    }
}

/// A storage that threads share; the other things of a database are not theirs.
struct Seen<'a> {
    storage: &'a dyn afield_server::storage::Storage,
    model: &'a afield_server::resolved::ServerModel,
}

impl Database for Seen<'_> {
    fn storage(&self) -> &dyn afield_server::storage::Storage {
        self.storage
    }

    fn model(&self) -> &afield_server::resolved::ServerModel {
        self.model
    }

    fn execute(&self, _sql: &str) {
        unreachable!("threads only pull");
    }

    fn query(&self, _sql: &str) -> Vec<Vec<afield_protocol::Value>> {
        unreachable!("threads only pull");
    }

    fn set_time(&mut self, _seconds: i64) {}
    fn restart(&mut self) {}
    fn copy(&mut self) {}
    fn restore(&mut self) {}
}

/// An older copy was put over the database with SQLite's own tools, which a running server does
/// not notice by its file.
#[test]
fn p5_a_database_restored_under_a_running_server_is_noticed() {
    for restored in [
        "DELETE FROM afield_epoch",
        "UPDATE afield_epoch SET beacon = beacon - 1",
    ] {
        let db = SqliteDatabase::new();
        db.execute("INSERT INTO stock (id) VALUES (1)");
        Replica::default().pull(&db, &["stock"], 10);
        db.execute(restored);
        let request = PullRequest {
            caller: Caller::user("ada"),
            held: Vec::new(),
            now: 1_000,
            chosen: Vec::new(),
            entities: vec![("stock".into(), None)],
            rows_max: 10,
            bytes_max: 10,
            compare: Default::default(),
        };
        let error = db.storage().pull(db.model(), &request).unwrap_err();
        assert!(error.message.contains("restart the server"), "{error}");
    }
}

/// A pull that finds nothing new writes nothing; one that does writes one beacon.
#[test]
fn p9_pulls_write_only_when_the_number_moved() {
    let db = SqliteDatabase::new();
    db.execute("INSERT INTO stock (id) VALUES (1)");
    let mut device = Replica::default();
    device.pull(&db, &["stock"], 10);
    let version = || db.query("PRAGMA data_version");
    let before = version();
    for _ in 0..5 {
        device.pull(&db, &["stock", "line", "rate"], 10);
    }
    assert_eq!(version(), before);
    db.execute("INSERT INTO stock (id) VALUES (2)");
    device.pull(&db, &["stock"], 10);
    assert_ne!(version(), before);
}

/// Columns and tables that a team adds are no reason to stop.
#[test]
fn a_schema_that_grows_beside_the_model_does_not_disturb() {
    let db = SqliteDatabase::new();
    db.execute("INSERT INTO stock (id) VALUES (1)");
    let mut device = Replica::default();
    device.pull(&db, &["stock"], 10);
    db.execute(
        "ALTER TABLE stock ADD COLUMN more TEXT; CREATE TABLE further (id INTEGER);
         CREATE INDEX plain ON stock (words); UPDATE stock SET more = 'x'",
    );
    device.pull(&db, &["stock"], 10);
    assert_eq!((device.resets, device.delivered), (0, 2));
}
