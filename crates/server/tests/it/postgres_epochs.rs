//! Histories of a PostgreSQL: what becomes of positions when it is started anew, crashes, or is
//! shared by several servers.

use std::sync::Arc;

use afield_protocol::{Checkpoint, Code, Frame};
use afield_server::storage::Storage;
use afield_server::storage::conformance::{Database, Replica, assert_same};

use crate::http_support::{Server, kinds, problem};
use crate::postgres_database::PostgresDatabase;

const STOCK: [&str; 1] = ["stock"];

fn fill(db: &PostgresDatabase) {
    db.execute("INSERT INTO stock (id, words) SELECT n, 'w' FROM generate_series(1, 30) n");
}

/// The server runs on while PostgreSQL is started anew, in order or by a crash.
#[test]
fn p5_a_start_of_the_database_continues_what_the_beacon_has_seen() {
    let db = PostgresDatabase::alone();
    fill(&db);
    let mut idle = Replica::default();
    idle.pull(&db, &STOCK, 100);
    let mut halfway = Replica::default();
    halfway.page(&db, &STOCK, 10, usize::MAX);
    for mode in ["fast", "immediate"] {
        db.own().duties().unwrap();
        let epoch = db.storage().epoch();
        db.start_database_again(mode);
        db.execute("DELETE FROM stock WHERE id = 1; UPDATE stock SET words = words || 'x'");
        let mut device = idle.clone();
        device.pull(&db, &STOCK, 7);
        assert_ne!(db.storage().epoch(), epoch, "another one has begun");
        let mut other = halfway.clone();
        other.pull(&db, &STOCK, 7);
        for device in [&device, &other] {
            assert_eq!(device.resets, 0, "{mode}");
            assert_same(&db, device, &STOCK);
        }
        assert!(db.storage().knows(&db.storage().checkpoint()).unwrap());
    }
}

/// What the beacon has not seen may be another history's; loading again is right in any.
#[test]
fn p5_what_no_beacon_has_seen_starts_over() {
    let db = PostgresDatabase::alone();
    fill(&db);
    db.own().duties().unwrap();
    db.execute("UPDATE stock SET words = 'late' WHERE id = 2");
    let mut device = Replica::default();
    device.pull(&db, &STOCK, 100);
    let checkpoint = db.storage().checkpoint();
    db.start_database_again("fast");
    assert!(!db.storage().knows(&checkpoint).unwrap());
    device.pull(&db, &STOCK, 7);
    assert_eq!(device.resets, 1);
    assert_same(&db, &device, &STOCK);
    device.pull(&db, &STOCK, 7);
    assert_eq!(device.resets, 1);
}

/// A standby takes over that has not received the last writes: whoever was told of them loads
/// again, all others go on. The server runs all the while.
#[test]
fn p5_a_standby_that_takes_over_lets_devices_go_on() {
    let db = PostgresDatabase::alone();
    fill(&db);
    db.cluster().back_up();
    let mut early = Replica::default();
    early.pull(&db, &STOCK, 100);
    db.execute("UPDATE stock SET words = 'received' WHERE id < 6; DELETE FROM stock WHERE id = 7");
    let mut on_time = early.clone();
    on_time.pull(&db, &STOCK, 100);
    db.own().duties().unwrap();
    let received = db.storage().checkpoint();
    db.cluster().ship();
    db.execute("UPDATE stock SET words = 'lost' WHERE id = 9; DELETE FROM stock WHERE id = 3");
    let mut late = on_time.clone();
    late.pull(&db, &STOCK, 100);
    let lost = db.storage().checkpoint();
    db.forget_foreign();
    db.cluster().take_over();
    let timeline = db.query("SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)");
    assert_eq!(timeline[0][0], "00000002".into());
    assert_eq!(
        db.query("SELECT id FROM stock WHERE words = 'lost'").len(),
        0
    );
    db.execute("UPDATE stock SET words = words || 'x' WHERE id BETWEEN 4 AND 12");
    for (device, resets) in [(&mut early, 0), (&mut on_time, 0), (&mut late, 1)] {
        device.pull(&db, &STOCK, 7);
        assert_eq!(device.resets, resets);
        assert_same(&db, device, &STOCK);
    }
    assert!(db.storage().knows(&received).unwrap());
    assert!(!db.storage().knows(&lost).unwrap());
}

/// A device that has nothing to send meets a database that was set back: it is asked what was
/// settled, and gets no page and no checkpoint of the new history before.
#[test]
fn p1_a_request_for_rows_alone_notices_a_restore() {
    let db = PostgresDatabase::alone();
    fill(&db);
    let server = Server::start_on(Arc::new(db.another()), db.model.clone());
    let pulled = |told: &[Checkpoint]| {
        let mut hello = server.hello(&[("stock", None)]);
        hello.checkpoints = told.to_vec();
        server.synced(&[Frame::Hello(hello), Frame::End])
    };
    let settled = |frames: &[Frame]| {
        let mut settled = frames.iter().filter_map(|frame| match frame {
            Frame::Settled { checkpoint } => Some(checkpoint.clone()),
            _ => None,
        });
        settled.next().unwrap()
    };
    let kept = settled(&pulled(&[]));
    db.own().duties().unwrap();
    db.cluster().back_up();
    db.execute("UPDATE stock SET words = 'lost' WHERE id = 3");
    let lost = settled(&pulled(std::slice::from_ref(&kept)));
    db.forget_foreign();
    db.cluster().restore();
    // At first the server knows nothing of it; then it does.
    let both = vec![kept.clone(), lost.clone()];
    for told in [vec![lost.clone()], vec![lost], both] {
        let frames = pulled(&told);
        assert_eq!(kinds(&frames), ["welcome", "problem"]);
        assert_eq!(*problem(&frames), Code::HISTORY_WANTED);
    }
    let frames = pulled(std::slice::from_ref(&kept));
    assert_eq!(kinds(&frames).last(), Some(&"end"), "{frames:?}");
}

/// Any server goes on from what any other has told.
#[test]
fn p5_servers_that_share_a_database_share_positions() {
    let mut db = PostgresDatabase::new();
    fill(&db);
    let mut device = Replica::default();
    let mut other = db.another();
    assert_eq!(db.storage().epoch(), other.epoch());
    device.page(&db, &STOCK, 3, usize::MAX);
    for round in 1..30 {
        other = db.answered_by(other);
        db.execute(&format!(
            "UPDATE stock SET words = 'r{round}' WHERE id % 7 = {round} % 7; \
             DELETE FROM stock WHERE id = {round}"
        ));
        device.page(&db, &STOCK, 2, usize::MAX);
        other.duties().unwrap();
    }
    device.pull(&db, &STOCK, 2);
    assert_eq!(device.resets, 0);
    assert_same(&db, &device, &STOCK);
}

/// The team commits without waiting for the disk, and PostgreSQL would take its time: what a device
/// is told is there after a crash all the same, and the device goes on.
#[test]
fn p5_nothing_is_told_that_a_crash_would_take_back() {
    let db = PostgresDatabase::alone();
    fill(&db);
    db.foreign(|client| {
        for setting in [
            "wal_writer_delay = '10s'",
            "wal_writer_flush_after = '1GB'",
            "fsync = on",
        ] {
            client
                .batch_execute(&format!("ALTER SYSTEM SET {setting}"))
                .unwrap();
        }
        client
            .batch_execute("SELECT pg_reload_conf(); SET synchronous_commit = off")
            .unwrap();
    });
    let mut device = Replica::default();
    for round in 0..5 {
        db.execute(&format!(
            "INSERT INTO stock (id, words) VALUES (100 + {round}, 'unflushed')"
        ));
        device.pull(&db, &STOCK, 100);
        let flushed =
            "SELECT pg_current_wal_flush_lsn() >= pg_current_wal_insert_lsn() - 1000::numeric";
        assert_eq!(
            db.query(flushed)[0][0],
            1.into(),
            "what was told is on disk"
        );
    }
    // Nobody was told of this.
    db.execute("INSERT INTO stock (id, words) VALUES (999, 'lost')");
    db.start_database_again("immediate");
    device.pull(&db, &STOCK, 100);
    assert_eq!(
        device.resets, 0,
        "its position was noted when it was given out"
    );
    assert!(db.query("SELECT id FROM stock WHERE id = 104").len() == 1);
    assert_same(&db, &device, &STOCK);
}

/// One process of PostgreSQL is killed: it recovers from its log without a new start, so the epoch
/// stays, and numbers of transactions that never came to disk are given out again.
#[test]
fn p5_a_recovery_within_an_epoch_loses_nothing() {
    let db = PostgresDatabase::alone();
    fill(&db);
    let unflushed = "ALTER SYSTEM SET wal_writer_delay = '10s'";
    db.foreign(|client| {
        client.batch_execute(unflushed).unwrap();
        client.batch_execute("SELECT pg_reload_conf()").unwrap();
    });
    let epoch = db.storage().epoch();
    let mut device = Replica::default();
    for round in 0..3 {
        db.execute("SET LOCAL synchronous_commit = off; UPDATE stock SET words = words || 'a'");
        device.pull(&db, &STOCK, 100);
        db.execute("SET LOCAL synchronous_commit = off; UPDATE stock SET words = words || 'lost'");
        let mut victim = db.database.connect();
        let pid: i32 = victim
            .query_one("SELECT pg_backend_pid()", &[])
            .unwrap()
            .get(0);
        let killed = std::process::Command::new("kill")
            .args(["-9", &pid.to_string()])
            .status();
        assert!(killed.unwrap().success());
        db.forget_foreign();
        wait_until_it_answers(&db);
        for _ in 0..round {
            db.execute("UPDATE stock SET words = words || 'b' WHERE id = 3");
        }
        device.pull(&db, &STOCK, 100);
        assert_same(&db, &device, &STOCK);
    }
    assert_eq!(db.storage().epoch(), epoch);
    assert_eq!(device.resets, 0);
}

/// PostgreSQL ends the other processes first, in its own time.
#[expect(
    clippy::disallowed_methods,
    reason = "another process takes its time to recover"
)]
fn wait_until_it_answers(db: &PostgresDatabase) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let mut answered = 0;
    while answered < 20 {
        assert!(std::time::Instant::now() < until, "it does not recover");
        let client = postgres::Client::connect(&db.database.url, postgres::NoTls);
        let is_there = client.is_ok_and(|mut client| client.simple_query("SELECT 1").is_ok());
        answered = if is_there { answered + 1 } else { 0 };
        std::thread::yield_now();
    }
}

/// A copy made by a template goes on under the same start of the same cluster.
#[test]
fn p7_a_database_made_from_another_one_is_no_history_of_it() {
    let db = PostgresDatabase::alone();
    fill(&db);
    let name = format!("{}_copy", db.database.name);
    db.foreign(|client| {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = current_database() AND pid <> pg_backend_pid()";
        client.batch_execute(end).unwrap();
    });
    db.forget_foreign();
    let mut maker =
        postgres::Client::connect(&db.cluster().url("postgres"), postgres::NoTls).unwrap();
    let sql = format!("CREATE DATABASE {name} TEMPLATE {}", db.database.name);
    maker.batch_execute(&sql).unwrap();
    let url = db.cluster().url(&name);
    let url =
        afield_server::model::file::PostgresUrl::parse(&url, std::path::Path::new("")).unwrap();
    let opened = afield_server::storage::postgres::PostgresStorage::open(&url, &db.model);
    let message = opened.unwrap_err().message;
    assert!(message.contains("copy"), "{message}");
    // The server whose connections were ended goes on.
    let mut device = Replica::default();
    device.pull(&db, &STOCK, 100);
    assert_same(&db, &device, &STOCK);
}
