//! Connections that die after so many bytes.

use afield::ChangeState;
use afield::engine::SyncStatus;

use crate::world::{Device, PATIENCE, World, eventually, now};

/// Bytes of one photo's data: 100 of them are a megabyte.
const PHOTO: u64 = 10_240;

#[test]
fn p8_p9_a_30_mb_delta_arrives_over_a_connection_that_dies_every_5_mb() {
    let world = World::new();
    let device = world.downloaded("phone", "ann");
    take_photos(&world, 3_000);
    world.team_writes("INSERT INTO account VALUES ('last', 0, 'after the photos')");
    let answered = world.proxy.answered();
    world.proxy.connections_live(5_000_000);
    sync_to_the_end(&device);
    check_bytes(&world, answered, 3_000);
    assert!(
        world.proxy.answered() > 5_000_000,
        "it did take several connections"
    );
    world.check_equal(&device);
}

#[test]
fn p8_p9_a_first_download_arrives_over_a_connection_that_dies_every_300_kb() {
    let world = World::new();
    take_photos(&world, 600);
    world.team_writes("INSERT INTO account VALUES ('cash', 0, 'there')");
    let device = world.device("phone", "ann");
    world.proxy.connections_live(300_000);
    sync_to_the_end(&device);
    check_bytes(&world, 0, 600);
    world.check_equal(&device);
    let status = device.client.store().status().unwrap();
    assert!(status.downloading.is_empty(), "{status:?}");
}

#[test]
fn p8_an_outbox_of_2_mb_leaves_over_a_connection_that_dies_every_300_kb() {
    let world = World::new();
    let device = world.downloaded("phone", "ann");
    for at in 0..40 {
        device.write(&format!(
            "INSERT INTO photo VALUES ({at}, 1, randomblob(50000))"
        ));
    }
    world.proxy.connections_live(300_000);
    eventually("the outbox drains", || {
        device.sync();
        device.count(ChangeState::Settled) == 40
    });
    world.proxy.heal();
    world.drain(&device);
    assert_eq!(world.value("SELECT count(*) FROM photo"), 40.into());
}

/// One transaction is one group: 300 photos of 10 KB, and then an edit of one of them.
fn take_photos_at_once(device: &Device) {
    device.write(
        "WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 300) \
         INSERT INTO photo SELECT id, 1, randomblob(10240) FROM n",
    );
    device.write("UPDATE photo SET data = x'01' WHERE id = 7");
    device.create_visit("harbour", "beside the photos");
}

fn check_photos(world: &World, device: &Device) {
    world.proxy.heal();
    world.drain(device);
    assert_eq!(world.value("SELECT count(*) FROM photo"), 300.into());
    let edited = "SELECT count(*) FROM photo WHERE length(data) = 1";
    assert_eq!(world.value(edited), 1.into());
    assert_eq!(world.value("SELECT count(*) FROM afield_part"), 0.into());
    assert_eq!(device.count(ChangeState::Settled), 302);
    world.check_equal(device);
}

#[test]
fn p8_a_transaction_of_3_mb_leaves_over_a_connection_that_dies_every_200_kb() {
    let world = World::new();
    let device = world.downloaded("phone", "ann");
    take_photos_at_once(&device);
    world.proxy.connections_live(200_000);
    eventually("the rest does not wait", || {
        device.sync();
        world.effects("visit", "note", "beside the photos") == 1
    });
    eventually("the group arrives", || {
        device.sync();
        device.count(ChangeState::Settled) == 302
    });
    check_photos(&world, &device);
}

#[test]
fn p2_a_server_killed_while_it_takes_the_parts_of_a_transaction() {
    let mut world = World::new();
    let device = world.downloaded("phone", "ann");
    take_photos_at_once(&device);
    let team = world.team();
    for wanted in [1, 700_000, 1_500_000, 2_900_000] {
        world.proxy.connections_live(400_000);
        let kept = || {
            let sql = "SELECT coalesce(sum(length(bytes)), 0) FROM afield_part";
            team.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
        };
        eventually("parts come", || {
            device.sync();
            kept() >= wanted || device.count(ChangeState::Settled) == 302
        });
        world.kill_server();
        world.start_server();
    }
    check_photos(&world, &device);
}

/// Rows of the team's, all in one transaction.
fn take_photos(world: &World, count: u64) {
    let sql = "WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < ?1) \
               INSERT INTO photo SELECT id, 1, randomblob(?2) FROM n";
    let bound = [count, PHOTO].map(|n| i64::try_from(n).unwrap());
    world.team().execute(sql, bound).unwrap();
}

/// Syncs again and again, as long as each sync brings something.
fn sync_to_the_end(device: &Device) {
    let begin = now();
    loop {
        let report = device.sync();
        if report.status == SyncStatus::Completed {
            return;
        }
        assert!(report.pulled > 0, "a sync that brought nothing: {report:?}");
        assert!(begin.elapsed() < PATIENCE, "it takes too long: {report:?}");
    }
}

/// What a broken connection had brought is not brought again.
fn check_bytes(world: &World, before: u64, photos: u64) {
    let (came, needed) = (world.proxy.answered() - before, photos * PHOTO);
    assert!(
        came >= needed && came * 2 < needed * 3,
        "{came} bytes came for {needed}"
    );
}
