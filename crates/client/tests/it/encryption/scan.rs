//! No word of the user's is in any file, and nothing is said that should not be.

use std::path::Path;
use std::process::{Command, Stdio};

use afield::{Params, Resolution};
use tempfile::TempDir;

use super::*;
use crate::world::{Seeded, query};

/// The store's file and its key, if it has one.
const CHILD: [&str; 2] = ["AFIELD_TEST_SCANNED", "AFIELD_TEST_SCANNED_KEY"];

/// Works in the store of the parent test, and is killed in the middle of it.
#[test]
#[ignore = "the other process of the tests in this module, started by them"]
fn child() {
    let Ok(path) = std::env::var(CHILD[0]) else {
        return;
    };
    let key = std::env::var(CHILD[1]).ok();
    let key = key.map(|digits| Key::from_hex(&digits).unwrap());
    let world = World::with(sheets());
    let env = || {
        Box::new(Seeded {
            clock: std::sync::Arc::default(),
            random: fastrand::Rng::with_seed(fastrand::u64(..)),
        })
    };
    let path = Path::new(&path);
    let mut store = Store::open_with(path, USER, key.as_ref(), env()).unwrap();
    let mut sync = SyncStore::open_with(path, USER, key.as_ref(), env()).unwrap();
    fill(&mut store, &mut sync, &world);
    let conflict = store.conflicts().unwrap().remove(0).conflict;
    store.resolve(&conflict, &Resolution::Mine).unwrap();
    for n in 0..2_000 {
        create_sheet(&mut store, &format!("{WORDS} {n}"));
        if n % 500 == 0 {
            sync.erase().unwrap();
            let words = query(&store, "SELECT group_concat(title) FROM sheet");
            eprintln!("{} words", words.len());
        }
    }
    // What does not fit into memory is sorted in a temporary file, where that is allowed; it has
    // no name any more, so it is looked for among what this process has open.
    store
        .transaction(|tx| {
            tx.execute("CREATE TEMP TABLE sorted (title)", &Params::none())?;
            let sql = "INSERT INTO sorted SELECT a.title || b.title \
                       FROM sheet a, (SELECT title FROM sheet LIMIT 100) b ORDER BY 1";
            tx.execute(sql, &Params::none())
        })
        .unwrap();
    let mut temporary = Vec::new();
    for open in std::fs::read_dir("/proc/self/fd").unwrap() {
        let target = std::fs::read_link(open.unwrap().path()).unwrap_or_default();
        if target.display().to_string().contains("etilqs") {
            temporary.push(target);
        }
    }
    println!("\ntemporary files: {}", temporary.len());
    // As a power cut would: nothing is closed, no log is moved.
    std::process::abort();
}

/// What the child leaves: its folder, with what it said.
fn left(key: Option<u8>) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().join("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "encryption::scan::child",
            "--ignored",
            "--nocapture",
        ])
        .env(CHILD[0], folder.path().join("ann.afield"))
        .env("SQLITE_TMPDIR", temporary)
        .stdin(Stdio::null());
    if let Some(key) = key {
        command.env(CHILD[1], digits(key));
    }
    let done = command.output().unwrap();
    assert!(!done.status.success(), "it was not killed");
    std::fs::write(folder.path().join("output.log"), done.stdout).unwrap();
    std::fs::write(folder.path().join("errors.log"), done.stderr).unwrap();
    folder
}

/// The files that show the words, in all folders.
fn shown(folder: &Path, words: &str) -> Vec<String> {
    let mut files = bytes(folder);
    files.extend(bytes(&folder.join("temporary")));
    let shown = files.iter().filter(|(_, bytes)| says(bytes, words));
    shown
        .map(|(path, _)| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect()
}

#[test]
fn no_file_shows_what_is_in_an_encrypted_store() {
    let folder = left(Some(1));
    assert_eq!(shown(folder.path(), WORDS), [""; 0]);
    // Neither what the model calls things, nor the key.
    assert_eq!(shown(folder.path(), "afield_meta"), [""; 0]);
    assert_eq!(shown(folder.path(), &digits(1)), [""; 0]);
    let said = std::fs::read_to_string(folder.path().join("output.log")).unwrap();
    assert!(said.contains("temporary files: 0"), "{said}");
    let wal = std::fs::metadata(folder.path().join("ann.afield-wal")).unwrap();
    assert!(wal.len() > 100_000, "it was not killed in the middle");
    let found = raw(&folder.path().join("ann.afield"), 1);
    let sql = "SELECT count(*) FROM sheet WHERE title LIKE 'plain to see%'";
    let count: i64 = found.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(count, 2_003);
}

#[test]
fn the_scan_finds_it_in_a_plain_store() {
    let folder = left(None);
    let found = shown(folder.path(), WORDS);
    assert_eq!(found, ["ann.afield", "ann.afield-wal"]);
    let said = std::fs::read_to_string(folder.path().join("output.log")).unwrap();
    assert!(!said.contains("temporary files: 0"), "{said}");
}

#[test]
fn a_store_that_was_plain_shows_nothing_either() {
    let world = filled();
    assert!(shown_in(&world, WORDS));
    drop(open(&world, &key(1)).unwrap());
    assert!(!shown_in(&world, WORDS));
    assert!(!shown_in(&world, "afield_meta"));
    let mut store = open(&world, &key(1)).unwrap();
    create_sheet(&mut store, WORDS);
    Store::rekey(&world.path(), USER, &key(1), &key(2), world.env()).unwrap_err();
    assert!(!shown_in(&world, WORDS));
    drop(store);
    Store::rekey(&world.path(), USER, &key(1), &key(2), world.env()).unwrap();
    assert!(!shown_in(&world, WORDS));
}

fn shown_in(world: &World, words: &str) -> bool {
    let files = bytes(world.dir.path());
    files.iter().any(|(_, bytes)| says(bytes, words))
}

#[test]
fn what_is_put_aside_stays_in_memory() {
    let world = empty();
    let store = open(&world, &key(1)).unwrap();
    assert_eq!(query(&store, "SELECT * FROM pragma_temp_store"), [[int(2)]]);
    assert_eq!(
        query(&store, "SELECT * FROM pragma_journal_mode"),
        [[text("wal")]]
    );
    assert_eq!(
        query(&store, "SELECT * FROM pragma_cache_size"),
        [[int(-8_192)]]
    );
}
