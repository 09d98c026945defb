//! A process is killed while it gives a store a key: one whole store is left.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::world::Seeded;

/// The store's file, and the keys that it has and gets.
const CHILD: [&str; 3] = [
    "AFIELD_TEST_STORE",
    "AFIELD_TEST_OLD_KEY",
    "AFIELD_TEST_NEW_KEY",
];

/// Gives the store of the parent test a key, or another one.
#[test]
#[ignore = "the other process of the tests in this module, started by them"]
fn child() {
    let Ok(path) = std::env::var(CHILD[0]) else {
        return;
    };
    let key = |name| {
        std::env::var(name)
            .ok()
            .map(|digits| Key::from_hex(&digits).unwrap())
    };
    let env = Box::new(Seeded {
        clock: std::sync::Arc::default(),
        random: fastrand::Rng::with_seed(1),
    });
    let (path, new) = (Path::new(&path), key(CHILD[2]).unwrap());
    match key(CHILD[1]) {
        Some(old) => Store::rekey(path, USER, &old, &new, env).unwrap(),
        None => drop(Store::open_with(path, USER, Some(&new), env).unwrap()),
    }
}

fn start(world: &World, old: Option<u8>, new: u8) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([
            "--exact",
            "encryption::kills::child",
            "--ignored",
            "--nocapture",
        ])
        .env(CHILD[0], world.path())
        .env(CHILD[2], digits(new))
        .stdout(Stdio::null());
    if let Some(old) = old {
        command.env(CHILD[1], digits(old));
    }
    command.spawn().unwrap()
}

/// When to kill it: as soon as this is so.
type Moment = fn(&World, u64) -> bool;

fn length(world: &World, ending: &str) -> Option<u64> {
    let found = std::fs::metadata(beside(&world.path(), ending));
    found.ok().map(|found| found.len())
}

const MOMENTS: [Moment; 7] = [
    |_, _| true,
    |world, _| length(world, "-wal").is_some(),
    |world, _| length(world, "-new").is_some(),
    |world, full| length(world, "-new").is_some_and(|bytes| bytes > full / 3),
    |world, full| length(world, "-new").is_some_and(|bytes| bytes > full * 9 / 10),
    |world, _| length(world, "-old").is_some(),
    |world, _| length(world, "-old").is_some() && length(world, "-new").is_none(),
];

/// A store of some size, so that what happens to it takes its time.
fn large() -> World {
    let world = filled();
    let sql = "WITH n AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM n WHERE n < 20000) \
               INSERT INTO log (said) SELECT 'row ' || n || hex(randomblob(40)) FROM n";
    execute(&mut world.store(), sql).unwrap();
    world
}

/// Kills what gives `source` the key `new` at every moment, and looks at what is left.
fn killed_everywhere(source: &World, old: Option<u8>, new: u8) -> [u32; 2] {
    let before = match old {
        Some(old) => everything(&raw(&source.path(), old)),
        None => everything(&source.plain()),
    };
    let mut ends = [0, 0];
    let full = length(source, "").unwrap();
    for (at, moment) in MOMENTS.iter().enumerate() {
        let world = World::new();
        std::fs::copy(source.path(), world.path()).unwrap();
        let mut child = start(&world, old, new);
        while !moment(&world, full) && child.try_wait().unwrap().is_none() {}
        let _ = child.kill();
        child.wait().unwrap();
        let opens_new = open_raw(&world.path(), Some(new));
        let found = opens_new.or_else(|| open_raw(&world.path(), old));
        let is_new = found.is_some() && open_raw(&world.path(), Some(new)).is_some();
        assert_eq!(found, Some(before.clone()), "moment {at}");
        ends[usize::from(is_new)] += 1;
        // The next one gets through, and nothing of the first is left.
        assert!(start(&world, old, new).wait().unwrap().success());
        drop(open(&world, &key(new)).unwrap());
        assert_eq!(open_raw(&world.path(), Some(new)), Some(before.clone()));
        assert_eq!(files(&world), ["ann.afield"], "moment {at}");
    }
    ends
}

/// What is in the store, if it opens in this way.
fn open_raw(path: &Path, key: Option<u8>) -> Option<Vec<String>> {
    let conn = match key {
        Some(key) => raw(path, key),
        None => Connection::open(path).unwrap(),
    };
    let sql = "SELECT count(*) FROM sqlite_schema";
    let opens = conn.query_row(sql, [], |_| Ok(())).is_ok();
    opens.then(|| everything(&conn))
}

#[test]
fn p1_it_is_killed_while_it_encrypts() {
    let ends = killed_everywhere(&large(), None, 1);
    assert!(ends[0] > 0, "no kill came in time: {ends:?}");
}

#[test]
fn p1_it_is_killed_while_it_gives_a_new_key() {
    let world = large();
    drop(open(&world, &key(1)).unwrap());
    let ends = killed_everywhere(&world, Some(1), 2);
    assert!(ends[0] > 0, "no kill came in time: {ends:?}");
}
