//! Opening: other users' files, files that are no stores, several processes at once.

use std::path::Path;
use std::process::{Child, Command};

use afield::protocol::Code;
use afield::{Store, SyncStore};

use crate::world::{Seeded, USER, World, attributes, execute, int, pull, query, request, text};

fn opened(world: &World, path: &Path, user: &str) -> Result<(), afield::Error> {
    Store::open(path, user, world.env()).map(drop)?;
    SyncStore::open(path, user, world.env()).map(drop)
}

/// Expects the file to be refused with `code`, its bytes and its folder as they were.
fn refused(world: &World, path: &Path, user: &str, code: &Code) {
    let list = || {
        let folder = std::fs::read_dir(path.parent().unwrap()).unwrap();
        let mut names: Vec<_> = folder.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let (bytes, names) = (std::fs::read(path).ok(), list());
    let error = opened(world, path, user).expect_err("refused");
    assert_eq!(error.code(), code, "{error}");
    let shown = path.display().to_string();
    assert!(
        error.to_string().contains(&shown),
        "{error} should name the file"
    );
    assert_eq!(std::fs::read(path).ok(), bytes, "the file changed");
    assert_eq!(list(), names, "files were made beside it");
}

#[test]
fn p7_a_store_of_another_user_is_refused() {
    let world = World::new();
    execute(&mut world.store(), "INSERT INTO label VALUES ('a')").unwrap();
    refused(&world, &world.path(), "bob", &Code::FORBIDDEN);
    assert_eq!(query(&world.store(), "SELECT * FROM label"), [[text("a")]]);
}

#[test]
fn files_that_are_no_stores_are_refused_and_stay() {
    let world = World::new();
    let file = |name: &str, bytes: &[u8]| {
        let path = world.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let damaged = &Code::STORE_DAMAGED;
    refused(&world, &file("short.txt", b"hello"), USER, damaged);
    refused(
        &world,
        &file("long.txt", &b"hello, world\n".repeat(1_000)),
        USER,
        damaged,
    );
    let other = world.dir.path().join("other.db");
    let conn = rusqlite::Connection::open(&other).unwrap();
    conn.execute_batch("CREATE TABLE theirs (a); INSERT INTO theirs VALUES (1)")
        .unwrap();
    drop(conn);
    refused(&world, &other, USER, damaged);
    refused(&world, world.dir.path(), USER, damaged);
    let nowhere = world.dir.path().join("no").join("folder.afield");
    let error = opened(&world, &nowhere, USER).unwrap_err();
    assert_eq!(error.code(), damaged);
}

#[test]
fn a_store_of_a_newer_version_is_refused_and_stays() {
    let world = World::new();
    world
        .plain()
        .execute_batch("UPDATE afield_meta SET format = 99")
        .unwrap();
    refused(&world, &world.path(), USER, &Code::UPDATE_REQUIRED);
}

#[test]
fn an_empty_file_becomes_a_store() {
    let world = World::new();
    let path = world.dir.path().join("empty.afield");
    std::fs::write(&path, b"").unwrap();
    opened(&world, &path, USER).unwrap();
}

#[test]
fn a_damaged_store_says_so_and_is_not_thrown_away() {
    let world = World::new();
    let rows: Vec<String> = (0..2_000).map(|n| format!("('word {n}')")).collect();
    let sql = format!("INSERT INTO label VALUES {}", rows.join(", "));
    execute(&mut world.store(), &sql).unwrap();
    drop(world.store());
    let whole = std::fs::read(world.path()).unwrap();
    let mut seen = 0;
    for at in (4_096..whole.len()).step_by(4_096) {
        let mut bytes = whole.clone();
        bytes[at..at + 200].fill(0xa5);
        std::fs::write(world.path(), &bytes).unwrap();
        let used = Store::open(&world.path(), USER, world.env()).and_then(|mut store| {
            store.status()?;
            execute(&mut store, "UPDATE label SET word = word")?;
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
fn a_file_that_cannot_be_written_says_so() {
    let world = World::new();
    drop(world.store());
    let folder = world.dir.path();
    let mut permissions = std::fs::metadata(world.path()).unwrap().permissions();
    permissions.set_readonly(true);
    std::fs::set_permissions(world.path(), permissions).unwrap();
    let may_write = std::fs::OpenOptions::new()
        .write(true)
        .open(world.path())
        .is_ok();
    if may_write {
        // The superuser may write anything; the file was opened for that in vain.
        return;
    }
    let result = Store::open(&world.path(), USER, world.env())
        .and_then(|mut store| execute(&mut store, "INSERT INTO label VALUES ('a')"));
    let error = result.unwrap_err();
    assert_eq!(
        *error.code(),
        Code::STORE_DAMAGED,
        "{error} in {}",
        folder.display()
    );
}

#[test]
fn a_new_store_may_be_opened_by_many_at_once() {
    for round in 0..10 {
        let world = World::new();
        let path = world.dir.path().join(format!("new{round}.afield"));
        std::thread::scope(|scope| {
            let open = || {
                let mut store = Store::open(&path, USER, world.env()).unwrap();
                store.install_first(&world.model).unwrap();
                SyncStore::open(&path, USER, world.env()).unwrap();
                let word = scope_word();
                let row = attributes([("word", text(&word))]);
                store.create("label", &row).unwrap();
            };
            let threads: Vec<_> = (0..6).map(|_| scope.spawn(open)).collect();
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
        });
        let mut store = Store::open(&path, USER, world.env()).unwrap();
        assert_eq!(store.changes().unwrap().len(), 6);
    }
}

fn scope_word() -> String {
    format!("{:?}", std::thread::current().id())
}

/// The file and the part that a child process plays; it is this test binary once more.
const CHILD: (&str, &str) = ("AFIELD_TEST_STORE", "AFIELD_TEST_PART");
const ROUNDS: i64 = 40;
const ROWS: i64 = 5;

fn start(world: &World, part: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "store_open::child", "--ignored", "--nocapture"])
        .env(CHILD.0, world.path())
        .env(CHILD.1, part)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap()
}

/// Writes transactions of several rows into the store of the parent test.
#[test]
#[ignore = "run by p1_transactions_of_other_processes_stay_whole"]
fn child() {
    let (Ok(path), Ok(part)) = (std::env::var(CHILD.0), std::env::var(CHILD.1)) else {
        return;
    };
    let words = |round: i64| (0..ROWS).map(move |n| format!("{round} {n}"));
    if part == "plain" {
        let mut conn = rusqlite::Connection::open(path).unwrap();
        conn.busy_timeout(std::time::Duration::from_secs(60))
            .unwrap();
        for round in 0..ROUNDS {
            let tx = conn.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate);
            let tx = tx.unwrap();
            for word in words(round) {
                tx.execute("INSERT INTO label VALUES (?1)", [format!("plain {word}")])
                    .unwrap();
            }
            tx.commit().unwrap();
        }
    } else {
        let env = Seeded {
            clock: std::sync::Arc::default(),
            random: fastrand::Rng::with_seed(u64::from(std::process::id()) << 32),
        };
        let mut store = Store::open(Path::new(&path), USER, Box::new(env)).unwrap();
        for round in 0..ROUNDS {
            store
                .transaction(|tx| {
                    for word in words(round) {
                        let row = attributes([("word", text(&format!("store {word}")))]);
                        tx.create("label", &row)?;
                    }
                    Ok(())
                })
                .unwrap();
        }
    }
}

/// Waits until somebody committed since this was asked last; false once all children ended.
///
/// Whoever writes only after that leaves the others room: SQLite's write lock is not fair, and a
/// process that never pauses can keep another from it for a minute.
fn they_commit(watcher: &rusqlite::Connection, children: &mut [Child]) -> bool {
    let version = || -> i64 {
        let sql = "SELECT data_version FROM pragma_data_version";
        watcher.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    let before = version();
    while version() == before {
        let runs = |child: &mut Child| child.try_wait().unwrap().is_none();
        if !children.iter_mut().any(runs) {
            return false;
        }
        std::thread::yield_now();
    }
    true
}

#[test]
fn p1_transactions_of_other_processes_stay_whole() {
    let world = World::new();
    let mut children = [start(&world, "plain"), start(&world, "store")];
    let (mut store, mut sync) = (world.store(), world.sync());
    let watcher = rusqlite::Connection::open(world.path()).unwrap();
    let mut own = 0;
    while they_commit(&watcher, &mut children) {
        store
            .transaction(|tx| {
                tx.create(
                    "stock",
                    &attributes([("place", text("own")), ("part", int(own))]),
                )?;
                tx.create(
                    "label",
                    &attributes([("word", text(&format!("own {own}")))]),
                )
            })
            .unwrap();
        own += 1;
        request(&mut sync);
    }
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    // Envelopes are cut; all of them together.
    let caps = afield::RequestCaps {
        changes: usize::MAX,
        ..afield::RequestCaps::default()
    };
    let all = sync.next_request(None, true, caps).unwrap();
    let mut labels = 0;
    for group in world.groups(&all) {
        let mut rounds = std::collections::BTreeMap::new();
        for change in &group.changes {
            let word = match &change.key[0] {
                afield::protocol::Value::Text(word) => word.clone(),
                other => panic!("{other:?}"),
            };
            let round = word
                .rsplit_once(' ')
                .map_or("own".to_owned(), |(round, _)| round.to_owned());
            *rounds.entry(round).or_insert(0) += 1;
            labels += i64::from(change.entity == "label");
        }
        for (round, rows) in &rounds {
            let whole = if round.starts_with("own") { 2 } else { ROWS };
            assert_eq!(*rows, whole, "{round} is torn: {rounds:?}");
        }
        let is_ours = |round: &&String| !round.starts_with("plain");
        assert!(
            rounds.keys().filter(is_ours).count() <= 1,
            "two of our own in one: {rounds:?}"
        );
        let ours = rounds.keys().any(|round| is_ours(&round));
        assert!(!ours || rounds.len() == 1, "ours with others: {rounds:?}");
    }
    assert_eq!(labels, 2 * ROUNDS * ROWS + own);
    pull(&mut sync, &[], "t1");
}
