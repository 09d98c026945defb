//! The app's log on the device: what is kept of it, what is sent, and what leaves.

use afield::protocol::limits::{LOG_BYTES, LOG_ENTRIES};
use afield::protocol::{Code, Level, LogEntry};
use afield::{LOG_KEPT, LOG_KEPT_BYTES, RequestCaps, Store};

use crate::store_crash::dies_everywhere;
use crate::world::{World, request};

fn say(store: &mut Store, message: &str) {
    store.log(Level::Info, "camera", message).unwrap();
}

fn messages(entries: &[LogEntry]) -> Vec<&str> {
    entries.iter().map(|it| it.message.as_str()).collect()
}

/// A store whose server takes the log.
fn taken() -> World {
    let world = World::new();
    world.sync().logged(0).unwrap();
    world
}

#[test]
fn entries_are_kept_in_order_with_the_devices_time() {
    let world = World::new();
    let mut store = world.store();
    say(&mut store, "one");
    world.pass_ms(7);
    store.log(Level::Error, "scanner", "two\0").unwrap();
    drop(store);
    let found = world.store().logs().unwrap();
    assert_eq!(messages(&found), ["one", "two\0"]);
    assert_eq!(found[1].at_ms - found[0].at_ms, 7);
    let second = (found[1].level, found[1].module.as_str(), found[1].dropped);
    assert_eq!(second, (Level::Error, "scanner", 0));
    assert_ne!(found[0].id, found[1].id);
}

#[test]
fn long_texts_are_cut_and_say_so() {
    let world = World::new();
    let mut store = world.store();
    let long = "ü".repeat(3_000);
    store.log(Level::Warn, &long, &long).unwrap();
    let found = store.logs().unwrap().remove(0);
    assert!(found.is_short() && found.module.len() > 60 && found.message.len() > 2_040);
    assert!(found.module.ends_with("ü…") && found.message.ends_with("ü…"));
}

#[test]
fn p9_the_oldest_leave_and_an_entry_says_how_many() {
    let world = World::new();
    let mut store = world.store();
    for n in 0..LOG_KEPT + 25 {
        say(&mut store, &n.to_string());
    }
    let found = store.logs().unwrap();
    assert_eq!(i64::try_from(found.len()), Ok(LOG_KEPT));
    assert_eq!((found[0].dropped, found[0].level), (26, Level::Warn));
    assert_eq!(found[1].message, "26");
    assert_eq!(found.last().unwrap().message, (LOG_KEPT + 24).to_string());
    assert!(found.windows(2).all(|pair| pair[0].n < pair[1].n));
    let total: u32 = found.iter().map(|it| it.dropped.max(1)).sum();
    assert_eq!(i64::from(total), LOG_KEPT + 25, "none is lost unsaid");
}

#[test]
fn p9_the_log_is_bounded_in_bytes() {
    let world = World::new();
    let mut store = world.store();
    let long = "x".repeat(2_000);
    for _ in 0..300 {
        say(&mut store, &long);
    }
    let found = store.logs().unwrap();
    let bytes: usize = (found.iter())
        .map(|it| it.module.len() + it.message.len())
        .sum();
    assert!(i64::try_from(bytes).unwrap() <= LOG_KEPT_BYTES);
    assert!(found.len() > 100 && found[0].dropped > 100);
    let total: u32 = found.iter().map(|it| it.dropped.max(1)).sum();
    assert_eq!(total, 300);
}

#[test]
fn p1_a_full_log_dies_whole() {
    let full = |world: &World| {
        let mut store = world.store();
        for n in 0..LOG_KEPT {
            say(&mut store, &n.to_string());
        }
    };
    let full_once = |world: &World| {
        // Thousands of commits at every point of the test would be slow.
        if world.store().logs().unwrap().is_empty() {
            full(world);
        }
    };
    dies_everywhere(2, full_once, |world| {
        world.store().log(Level::Info, "camera", "one more")
    });
}

#[test]
fn only_a_server_that_takes_it_gets_it_behind_the_last_groups() {
    let world = World::new();
    let (mut store, mut sync) = (world.store(), world.sync());
    say(&mut store, "one");
    assert!(sync.asks_log().unwrap());
    assert_eq!(request(&mut sync).log, []);
    sync.logged(0).unwrap();
    assert!(!sync.asks_log().unwrap());
    assert_eq!(messages(&request(&mut sync).log), ["one"]);
    let without = RequestCaps {
        log: false,
        ..RequestCaps::default()
    };
    assert_eq!(sync.next_request(None, true, without).unwrap().log, []);
    sync.log_refused().unwrap();
    assert!(sync.asks_log().unwrap());
    assert_eq!(request(&mut sync).log, []);
    assert_eq!(messages(&store.logs().unwrap()), ["one"]);
}

#[test]
fn p2_what_was_answered_leaves_and_what_was_not_comes_again_as_it_was() {
    let world = taken();
    let (mut store, mut sync) = (world.store(), world.sync());
    say(&mut store, "one");
    say(&mut store, "two");
    let sent = request(&mut sync).log;
    // The answer is lost, and the app goes on.
    say(&mut store, "three");
    let again = request(&mut sync).log;
    assert_eq!(again[..2], sent);
    sync.logged(sent[1].n).unwrap();
    assert_eq!(messages(&store.logs().unwrap()), ["three"]);
    sync.logged(again[2].n).unwrap();
    assert_eq!(store.logs().unwrap(), []);
    // An answer that comes late takes nothing that was written since.
    say(&mut store, "four");
    sync.logged(again[2].n).unwrap();
    assert_eq!(messages(&store.logs().unwrap()), ["four"]);
}

#[test]
fn p2_a_note_that_was_sent_is_counted_on_under_its_id() {
    let world = taken();
    let (mut store, mut sync) = (world.store(), world.sync());
    for n in 0..=LOG_KEPT {
        say(&mut store, &n.to_string());
    }
    let sent = request(&mut sync).log;
    assert!(sent.len() <= LOG_ENTRIES && sent.len() > 100);
    assert_eq!(sent[0].dropped, 2);
    for n in 0..10 {
        say(&mut store, &n.to_string());
    }
    let again = request(&mut sync).log;
    assert_eq!((again[0].id, again[0].dropped), (sent[0].id, 12));
    // The server has all of them, so that nothing was lost after all.
    sync.logged(sent.last().unwrap().n).unwrap();
    let left = store.logs().unwrap();
    assert_eq!(left.iter().filter(|it| it.dropped > 0).count(), 0);
    assert_eq!(left[0].n, sent.last().unwrap().n + 1);
}

#[test]
fn p9_a_request_carries_a_part_of_it() {
    let world = taken();
    let (mut store, mut sync) = (world.store(), world.sync());
    for _ in 0..40 {
        say(&mut store, &"x".repeat(2_000));
    }
    let sent = request(&mut sync).log;
    let bytes: usize = sent.iter().map(|it| it.message.len()).sum();
    assert!(bytes <= LOG_BYTES && sent.len() > 10, "{bytes}");
    sync.logged(sent.last().unwrap().n).unwrap();
    let next = request(&mut sync).log;
    assert_eq!(next[0].n, sent.last().unwrap().n + 1);
}

#[test]
fn a_sync_that_fails_is_said_by_its_code_once_while_that_waits() {
    let world = taken();
    let (store, mut sync) = (world.store(), world.sync());
    for code in [Code::UNREACHABLE, Code::UNREACHABLE, Code::INTERRUPTED] {
        sync.finished(Some(&code)).unwrap();
    }
    sync.finished(None).unwrap();
    let found = store.logs().unwrap();
    assert_eq!(messages(&found), ["a sync failed: unreachable"]);
    assert_eq!(found[0].module, "afield");
    sync.finished(Some(&Code::SIGN_IN)).unwrap();
    world.pass_ms(2 * 60 * 60 * 1_000);
    sync.finished(Some(&Code::UNREACHABLE)).unwrap();
    assert_eq!(store.logs().unwrap().len(), 3);
}

#[test]
fn a_store_of_an_earlier_version_gets_a_log() {
    let world = World::new();
    let sql = "DROP TABLE afield_log; ALTER TABLE afield_meta DROP COLUMN logs";
    world.plain().execute_batch(sql).unwrap();
    let mut store = world.store();
    say(&mut store, "one");
    assert_eq!(messages(&store.logs().unwrap()), ["one"]);
    assert!(world.sync().asks_log().unwrap());
}
