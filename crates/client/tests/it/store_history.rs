//! How long, and how much, of what was settled is kept.

use afield::protocol::Verdict;
use afield::{ChangeState, RequestCaps, Store};

use crate::world::{World, execute, pull, request, settle};

const DAY: i64 = 24 * 60 * 60 * 1_000;

fn settled(store: &mut Store) -> usize {
    let changes = store.changes().unwrap();
    let is_settled = |state| state == ChangeState::Settled;
    changes.iter().filter(|it| is_settled(it.state)).count()
}

/// It is counted from the end of a change, and not from when it was made: what waited for a month
/// may be lost by a restore tomorrow.
#[test]
fn p1_what_was_settled_is_kept_for_a_fortnight_from_then_on() {
    let world = World::new();
    let (mut store, mut sync) = (world.store(), world.sync());
    execute(&mut store, "INSERT INTO label VALUES ('old')").unwrap();
    world.pass_ms(30 * DAY);
    let sent = request(&mut sync);
    settle(&mut sync, &sent, &Verdict::applied());
    sync.finished(None).unwrap();
    pull(&mut sync, &[], "t1");
    for (days, kept) in [(0, 1), (13, 1), (2, 0)] {
        world.pass_ms(days * DAY);
        sync.finished(None).unwrap();
        assert_eq!(settled(&mut store), kept, "{days}");
    }
}

/// The newest stay, whatever their number, as long as there are no more than 32 MiB of them.
#[test]
fn p9_no_more_than_so_much_is_kept() {
    let world = World::new();
    let (mut store, mut sync) = (world.store(), world.sync());
    let long = "x".repeat(1 << 20);
    for n in 0..24 {
        let sql = format!("INSERT INTO label VALUES ('{n:02}{long}')");
        execute(&mut store, &sql).unwrap();
        let caps = RequestCaps {
            part: usize::MAX,
            ..RequestCaps::default()
        };
        let sent = sync.next_request(None, true, caps).unwrap();
        assert_eq!(sent.groups.len(), 1);
        settle(&mut sync, &sent, &Verdict::applied());
    }
    assert_eq!(settled(&mut store), 24);
    pull(&mut sync, &[], "t1");
    sync.finished(None).unwrap();
    let left = store.changes().unwrap();
    // A megabyte each in what was typed, and in what was sent; the first ones went.
    assert!(left.len() < 17 && left.len() > 8, "{}", left.len());
    let newest = left.last().unwrap().key[0].to_string();
    assert!(newest.starts_with("23"));
    let groups: i64 = world
        .plain()
        .query_row("SELECT count(*) FROM afield_group", [], |row| row.get(0))
        .unwrap();
    assert_eq!(groups, i64::try_from(left.len()).unwrap());
}
