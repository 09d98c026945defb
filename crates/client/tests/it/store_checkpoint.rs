//! Behind which of the server's checkpoints a group was made.

use afield::protocol::{Code, Verdict};

use crate::world::{World, execute, request, settle};

/// What each group of the next request says.
fn checkpoints(world: &World, sync: &mut afield::SyncStore) -> Vec<Vec<u8>> {
    let outgoing = request(sync);
    let groups = world.groups(&outgoing).into_iter();
    groups.map(|group| group.checkpoint).collect()
}

/// It is the newest that was stored when the change was made: never a later one, which might be
/// newer than the change's first journey.
#[test]
fn p2_a_group_has_the_checkpoint_of_its_making() {
    let world = World::new();
    let (mut store, mut sync) = (world.store(), world.sync());
    execute(&mut store, "INSERT INTO label VALUES ('first')").unwrap();
    assert_eq!(checkpoints(&world, &mut sync), [b""]);
    // It came, and is not stored yet.
    sync.reached(b"one".to_vec());
    execute(&mut store, "INSERT INTO label VALUES ('second')").unwrap();
    assert_eq!(checkpoints(&world, &mut sync), [b"", b""]);
    sync.finished(None).unwrap();
    execute(&mut store, "INSERT INTO label VALUES ('third')").unwrap();
    sync.reached(b"two".to_vec());
    sync.finished(Some(&Code::UNREACHABLE)).unwrap();
    drop(sync);
    let mut sync = world.sync();
    execute(&mut store, "INSERT INTO label VALUES ('fourth')").unwrap();
    let found = checkpoints(&world, &mut sync);
    assert_eq!(found, [&b""[..], b"", b"one", b"two"]);
    // An answer that says none leaves it.
    sync.reached(Vec::new());
    sync.finished(None).unwrap();
    assert_eq!(checkpoints(&world, &mut sync), found);
}

/// Two syncs of one store are answered side by side, and neither knows of the other: the next one
/// tells the server of both, and then of the one that stands for them.
#[test]
fn p1_answers_side_by_side_are_both_told() {
    let world = World::new();
    let told = |sync: &mut afield::SyncStore| request(sync).checkpoints;
    let (mut left, mut right) = (world.sync(), world.sync());
    assert_eq!(told(&mut left), Vec::<Vec<u8>>::new());
    left.reached(b"old".to_vec());
    left.finished(None).unwrap();
    assert_eq!(told(&mut left), [b"old"]);
    assert_eq!(told(&mut right), [b"old"]);
    right.reached(b"newer".to_vec());
    right.finished(None).unwrap();
    left.reached(b"new".to_vec());
    // It asks again before it stores that, and gets no answer.
    assert_eq!(told(&mut left), [b"newer"]);
    left.finished(None).unwrap();
    assert_eq!(told(&mut right), [&b"new"[..], b"newer"]);
    // The same again stands for the other.
    right.reached(b"newer".to_vec());
    right.finished(None).unwrap();
    assert_eq!(told(&mut left), [b"newer"]);
    assert_eq!(told(&mut world.sync()), [b"newer"]);
}

/// What is folded together is as old as its older half.
#[test]
fn p2_a_folded_group_keeps_the_older_checkpoint() {
    let world = World::new();
    let (mut store, mut sync) = (world.store(), world.sync());
    sync.reached(b"one".to_vec());
    sync.finished(None).unwrap();
    execute(&mut store, "INSERT INTO stock VALUES ('x', 1, 5, NULL)").unwrap();
    sync.reached(b"two".to_vec());
    sync.finished(None).unwrap();
    execute(&mut store, "UPDATE stock SET amount = 6").unwrap();
    assert_eq!(checkpoints(&world, &mut sync), [b"one"]);
}

/// With the outcomes it is stored in their transaction; what its user decides then is of now.
#[test]
fn p2_what_goes_again_has_the_newest_checkpoint() {
    let world = World::new();
    let (mut store, mut sync) = (world.store(), world.sync());
    execute(&mut store, "INSERT INTO label VALUES ('old')").unwrap();
    let sent = request(&mut sync);
    sync.reached(b"later".to_vec());
    let refused = Verdict::rejected(Code::CONSTRAINT, "no");
    settle(&mut sync, &sent, &refused);
    drop(sync);
    let parked = store.changes().unwrap();
    store.retry(&parked[0].change, None).unwrap();
    assert_eq!(checkpoints(&world, &mut world.sync()), [b"later"]);
}

/// What waits in a store of an earlier version goes as it would have.
#[test]
fn p1_a_store_of_an_earlier_version_gets_the_columns() {
    let world = World::new();
    execute(&mut world.store(), "INSERT INTO label VALUES ('old')").unwrap();
    world
        .plain()
        .execute_batch(
            "ALTER TABLE afield_group DROP COLUMN checkpoint; \
             ALTER TABLE afield_meta DROP COLUMN checkpoint",
        )
        .unwrap();
    let (mut store, mut sync) = (world.store(), world.sync());
    sync.reached(b"one".to_vec());
    sync.finished(None).unwrap();
    execute(&mut store, "INSERT INTO label VALUES ('new')").unwrap();
    assert_eq!(checkpoints(&world, &mut sync), [&b""[..], b"one"]);
}
