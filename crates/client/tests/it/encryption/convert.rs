//! A store gets a key, or another one: everything is in it afterwards, whenever the process dies.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};

use afield::protocol::zoo::crash_after;

use super::*;
use crate::world::query;

#[test]
fn p1_a_plain_store_keeps_everything_when_it_is_encrypted() {
    let world = filled();
    let before = everything(&world.plain());
    let mut old = File::open(world.path()).unwrap();
    drop(open(&world, &key(1)).unwrap());
    assert_eq!(files(&world), ["ann.afield"]);
    assert_eq!(everything(&raw(&world.path(), 1)), before);
    // Nothing is left in the old file, for whoever still has it.
    let mut left = Vec::new();
    old.seek(SeekFrom::Start(0)).unwrap();
    old.read_to_end(&mut left).unwrap();
    assert!(!left.is_empty() && left.iter().all(|byte| *byte == 0));
    // What is under way goes on: the same bytes under the same ids.
    let mut side = sync(&world, &key(1));
    assert_eq!(request(&mut side).groups.len(), 4);
    let mut store = open(&world, &key(1)).unwrap();
    let next = create_sheet(&mut store, "next");
    assert_eq!(next, int(afield::protocol::FIRST_TEMPORARY + 4));
    let found = query(
        &store,
        "SELECT log.said FROM log JOIN words ON words.rowid = log.rowid \
                               WHERE words MATCH 'd'",
    );
    assert_eq!(found, [[text("d")]]);
}

#[test]
fn p1_the_log_of_a_killed_process_is_encrypted_too() {
    let world = filled();
    // The write-ahead log is not moved while somebody has the store open; its files are what a
    // killed process leaves.
    let mut store = world.store();
    create_sheet(&mut store, "only in the log");
    let before = everything(&world.plain());
    let left = tempfile::tempdir().unwrap();
    for name in files(&world) {
        std::fs::copy(world.dir.path().join(&name), left.path().join(&name)).unwrap();
    }
    let path = left.path().join("ann.afield");
    drop(Store::open_with(&path, USER, Some(&key(1)), world.env()).unwrap());
    assert_eq!(everything(&raw(&path, 1)), before);
}

/// Lets `change` die at its first crash point, its second, and so on. Each time one of `keys` opens
/// what is left, with everything in it, and the next to open it leaves one file.
fn dies_everywhere(make: impl Fn() -> World, keys: [Option<u8>; 2], change: impl Fn(&World)) {
    let opened = |world: &World, n: Option<u8>| match n {
        Some(n) => raw(&world.path(), n),
        None => Connection::open(world.path()).unwrap(),
    };
    let mut ends = [0, 0];
    for point in 0..100 {
        let world = make();
        let before = everything(&opened(&world, keys[0]));
        let mut old = File::open(world.path()).unwrap();
        crash_after(Some(point));
        change(&world);
        let has_died = afield::protocol::zoo::crash_points_left().is_none();
        crash_after(None);
        let sql = "SELECT count(*) FROM sqlite_schema";
        let opens = |n: &Option<u8>| opened(&world, *n).query_row(sql, [], |_| Ok(())).is_ok();
        let at = keys.iter().position(opens).expect("one key opens it");
        assert_eq!(
            everything(&opened(&world, keys[at])),
            before,
            "point {point}"
        );
        ends[at] += 1;
        change(&world);
        assert_eq!(
            everything(&opened(&world, keys[1])),
            before,
            "point {point}"
        );
        assert_eq!(files(&world), ["ann.afield"], "point {point}");
        let mut left = Vec::new();
        old.read_to_end(&mut left).unwrap();
        assert!(
            left.iter().all(|byte| *byte == 0),
            "the old file, point {point}"
        );
        if !has_died {
            assert!(ends[0] >= 5 && ends[1] >= 4, "{ends:?}");
            return;
        }
    }
    panic!("it never ends");
}

#[test]
fn p1_encrypting_dies_at_every_step() {
    dies_everywhere(filled, [None, Some(1)], |world| {
        let _ = open(world, &key(1));
    });
}

#[test]
fn p1_a_new_key_dies_at_every_step() {
    let make = || {
        let world = filled();
        drop(open(&world, &key(1)).unwrap());
        world
    };
    dies_everywhere(make, [Some(1), Some(2)], |world| {
        let _ = Store::rekey(&world.path(), USER, &key(1), &key(2), world.env());
    });
}

#[test]
fn p1_a_new_key_keeps_everything_and_the_old_one_is_none() {
    let world = filled();
    drop(open(&world, &key(1)).unwrap());
    let before = everything(&raw(&world.path(), 1));
    let rekey =
        |old: u8, new: u8| Store::rekey(&world.path(), USER, &key(old), &key(new), world.env());
    rekey(1, 2).unwrap();
    assert_eq!(code(open(&world, &key(1))), Some(Code::KEY_WRONG));
    assert_eq!(everything(&raw(&world.path(), 2)), before);
    assert_eq!(code(rekey(1, 3)), Some(Code::KEY_WRONG));
    rekey(2, 1).unwrap();
    assert_eq!(everything(&raw(&world.path(), 1)), before);
    // While it is open it keeps its key.
    let store = open(&world, &key(1)).unwrap();
    assert_eq!(code(rekey(1, 2)), Some(Code::STORE_LOCKED));
    drop(store);
    rekey(1, 2).unwrap();
    assert_eq!(everything(&raw(&world.path(), 2)), before);
}

#[test]
fn p1_no_space_for_the_copy_leaves_the_plain_store() {
    let world = filled();
    let before = everything(&world.plain());
    // The copy cannot be made where a folder has its name.
    std::fs::create_dir(beside(&world.path(), "-new")).unwrap();
    assert!(open(&world, &key(1)).is_err());
    std::fs::remove_dir(beside(&world.path(), "-new")).unwrap();
    assert!(is_plain(&world.path()));
    assert_eq!(everything(&world.plain()), before);
    assert_eq!(files(&world), ["ann.afield"]);
    drop(world.store());
    drop(open(&world, &key(1)).unwrap());
    assert_eq!(everything(&raw(&world.path(), 1)), before);
}
