//! A server whose database is set back to a backup, or goes on as a copy of it: what it lost is on
//! the devices, and comes back as their users want.

use std::path::{Path, PathBuf};

use afield::engine::SyncStatus;
use afield::protocol::Code;
use afield::{ChangeInfo, ChangeState};

use crate::proxy::Fault;
use crate::sites::{AUDIT, ENTITIES, tables, times};
use crate::world::{Device, World, server_settings};

const SCHEMA: &str = "
    CREATE TABLE site (id TEXT PRIMARY KEY NOT NULL, name TEXT, n INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE job (id INTEGER PRIMARY KEY AUTOINCREMENT, site TEXT, words TEXT);
    CREATE TABLE step (job INTEGER NOT NULL REFERENCES job (id), pos INTEGER NOT NULL, words TEXT,
      PRIMARY KEY (job, pos));
    CREATE TABLE audit (n INTEGER PRIMARY KEY, words TEXT);
    INSERT INTO site VALUES ('s1', 'one', 0), ('s2', 'two', 0), ('s4', 'four', 0),
      ('s5', 'five', 10);
    INSERT INTO job VALUES (1, 's1', 'paint'), (2, 's1', 'sweep');
    INSERT INTO step VALUES (1, 1, 'primer');
";

/// What the device wrote between the backup and the restore, all of it applied; a group each.
const LOST: [&str; 6] = [
    "INSERT INTO job (site, words) VALUES ('s9', 'dig'); \
     INSERT INTO step (job, pos, words) SELECT max(id), 1, 'spade' FROM job",
    "UPDATE job SET words = 'dig deep' WHERE words = 'dig'",
    "UPDATE site SET name = 'uno' WHERE id = 's1'",
    "UPDATE site SET n = n + 7 WHERE id = 's5'",
    "DELETE FROM site WHERE id = 's4'",
    "UPDATE job SET words = 'scrub' WHERE id = 2",
];

/// How many changes these are.
const LOST_CHANGES: usize = 7;

/// A device that worked before and after a backup, with one group on its way and two unsent, all of
/// them behind what the restore takes; and the backup.
fn worked() -> (World, Device, PathBuf) {
    let world = World::of(SCHEMA, &(server_settings(3) + ENTITIES), AUDIT);
    let device = world.downloaded("phone", "ann");
    device.write("INSERT INTO site (id, name) VALUES ('s9', 'nine')");
    assert_eq!(device.sync().status, SyncStatus::Completed);
    let backup = world.backup("backup.sqlite");
    for sql in LOST {
        device.write(sql);
        assert_eq!(device.sync().status, SyncStatus::Completed);
    }
    assert_eq!(device.sync().status, SyncStatus::Completed);
    assert_eq!(number(&device), 3, "the server gave the job a number");
    device.write("INSERT INTO step (job, pos, words) VALUES (3, 3, 'mattock')");
    world.proxy.rule(|_| Fault::LoseAnswer);
    assert_eq!(device.sync().status, SyncStatus::Failed);
    assert_eq!(times(&world, "+mattock"), 1);
    world.proxy.heal();
    device.write("INSERT INTO step (job, pos, words) VALUES (3, 2, 'bucket')");
    device.write("UPDATE site SET name = 'dos' WHERE id = 's2'");
    (world, device, backup)
}

/// What the device calls the job that it made.
fn number(device: &Device) -> i64 {
    let sql = "SELECT id FROM job WHERE words LIKE 'dig%'";
    device.read(sql).unwrap().parse().unwrap()
}

fn lost(device: &Device) -> Vec<ChangeInfo> {
    let mut changes = device.changes();
    changes.retain(|change| change.code == Some(Code::LOST_BY_RESTORE));
    changes
}

/// What its user sees of what he wrote, wherever the server is.
fn check_seen(device: &Device) {
    let name = |id: &str| device.read(&format!("SELECT name FROM site WHERE id = '{id}'"));
    assert_eq!(name("s1").as_deref(), Some("uno"));
    assert_eq!(name("s2").as_deref(), Some("dos"));
    assert_eq!(name("s4"), None);
    let n = device.read("SELECT n FROM site WHERE id = 's5'");
    assert_eq!(n.as_deref(), Some("17"));
    let words = |id: i64| device.read(&format!("SELECT words FROM job WHERE id = {id}"));
    assert_eq!(words(2).as_deref(), Some("scrub"));
    assert_eq!(words(number(device)).as_deref(), Some("dig deep"));
    let steps = format!(
        "SELECT group_concat(words) FROM (SELECT words FROM step WHERE job = {} ORDER BY pos)",
        number(device)
    );
    let steps = device.read(&steps);
    assert_eq!(steps.as_deref(), Some("spade,bucket,mattock"));
}

fn check_equal(world: &World, device: &Device) {
    assert_eq!(tables(&device.raw()), tables(&world.team()));
}

/// Everything took effect once, the job under a number of its own.
fn check_back(world: &World, device: &Device) {
    check_seen(device);
    check_equal(world, device);
    for words in [
        "+dig", "dig deep", "+spade", "+mattock", "+bucket", "s1uno0", "s5five17", "-s4", "s2dos0",
        "scrub",
    ] {
        assert_eq!(times(world, words), 1, "{words}");
    }
    let theirs = device.read("SELECT words FROM job WHERE id = 3");
    assert_eq!(theirs.as_deref(), Some("theirs"));
    let open = device.count(ChangeState::Parked) + device.count(ChangeState::Held);
    assert_eq!(open + device.count(ChangeState::Pending), 0);
}

/// The team makes a job on the restored server, which gets the number that the device's had.
fn restore(world: &mut World, backup: &Path) {
    world.restore(backup);
    world.team_writes("INSERT INTO job (site, words) VALUES ('s1', 'theirs')");
    assert_eq!(
        world.value("SELECT id FROM job WHERE words = 'theirs'"),
        3.into()
    );
}

#[test]
fn p1_p2_p3_what_a_restore_took_comes_back_on_its_users_word() {
    let (mut world, device, backup) = worked();
    restore(&mut world, &backup);
    let report = device.sync();
    assert_eq!(report.status, SyncStatus::Incomplete, "{report:?}");
    assert_eq!(lost(&device).len(), LOST_CHANGES);
    assert_eq!(device.count(ChangeState::Parked), LOST_CHANGES);
    // What does not build on them went on.
    assert_eq!(times(&world, "s2dos0"), 1);
    assert_eq!(device.count(ChangeState::Held), 2);
    assert!(number(&device) >= 1 << 52);
    check_seen(&device);
    // It is asked once.
    device.sync();
    assert_eq!(lost(&device).len(), LOST_CHANGES);
    check_seen(&device);
    for _ in 0..LOST_CHANGES {
        let Some(change) = lost(&device).first().map(|change| change.change.clone()) else {
            break;
        };
        device.client.store().retry(&change, None).unwrap();
        check_seen(&device);
    }
    assert_eq!(device.sync().status, SyncStatus::Completed);
    device.sync();
    assert_eq!(number(&device), 4);
    check_back(&world, &device);
}

#[test]
fn p1_p2_what_a_restore_took_is_sent_again_by_policy() {
    let (mut world, device, backup) = worked();
    restore(&mut world, &backup);
    device.client.resend_lost(true);
    assert_eq!(device.sync().status, SyncStatus::Completed);
    device.sync();
    check_back(&world, &device);
    assert_eq!(device.sync().pushed, 0);
}

/// What was written about rows that the restore took, or set back, is for its user to look at: the
/// number may be another row's. What speaks of rows that are as they were goes, in the same sync.
#[test]
fn p1_p8_what_speaks_of_rows_that_are_others_now_waits_for_its_user() {
    let world = World::of(SCHEMA, &(server_settings(3) + ENTITIES), AUDIT);
    let backup = world.backup("backup.sqlite");
    world.team_writes(
        "INSERT INTO job (site, words) VALUES ('s1', 'lost'); \
         UPDATE job SET words = 'set back' WHERE id = 2",
    );
    let mut world = world;
    let device = world.downloaded("phone", "ann");
    for sql in [
        "INSERT INTO step VALUES (3, 1, 'of another')",
        "INSERT INTO step VALUES (2, 1, 'of one set back')",
        "INSERT INTO step VALUES (1, 2, 'of the same')",
        "UPDATE job SET site = 's2' WHERE id = 3",
        "UPDATE job SET site = 's2' WHERE id = 1",
        "UPDATE step SET words = 'more of another' WHERE job = 3",
    ] {
        device.write(sql);
    }
    restore(&mut world, &backup);
    assert_eq!(device.sync().status, SyncStatus::Incomplete);
    assert_eq!(times(&world, "+of the same"), 1);
    assert_eq!(
        world.value("SELECT site FROM job WHERE id = 1"),
        "s2".to_owned().into()
    );
    let changes = device.changes();
    let parked = changes.iter().filter(|it| it.state == ChangeState::Parked);
    let parked: Vec<_> = parked.map(|it| it.code.clone().unwrap()).collect();
    assert_eq!(parked, vec![Code::OTHER_ROW; parked.len()]);
    assert_eq!(parked.len(), 4, "{changes:?}");
    let words = "SELECT words FROM step WHERE job = 3";
    assert_eq!(device.read(words).as_deref(), Some("more of another"));
    // He looks, and wants one of them; the others he drops.
    for change in changes
        .iter()
        .filter(|it| it.state == ChangeState::Parked)
        .rev()
    {
        let mut store = device.client.store();
        match change.set.get("words") == Some(&"of one set back".into()) {
            true => drop(store.retry(&change.change, None).unwrap()),
            false => store.drop_change(&change.change).unwrap(),
        }
    }
    assert_eq!(device.sync().status, SyncStatus::Completed);
    device.sync();
    check_equal(&world, &device);
    assert_eq!(times(&world, "+of one set back"), 1);
    assert_eq!(times(&world, "+of another"), 0);
}

/// What had been settled about such a row is compared like what was not sent yet, also if its user
/// wants it back long after: by then he is told that the row is another one.
#[test]
fn p1_p8_what_a_restore_took_of_a_row_that_is_another_one_now_says_so() {
    let mut world = World::of(SCHEMA, &(server_settings(3) + ENTITIES), AUDIT);
    let backup = world.backup("backup.sqlite");
    world.team_writes("INSERT INTO job (site, words) VALUES ('s1', 'lost')");
    let device = world.downloaded("phone", "ann");
    for sql in [
        "INSERT INTO step VALUES (3, 1, 'of another')",
        "INSERT INTO step VALUES (1, 2, 'of the same')",
        "UPDATE step SET words = 'more of another' WHERE job = 3",
    ] {
        device.write(sql);
        assert_eq!(device.sync().status, SyncStatus::Completed);
    }
    device.sync();
    restore(&mut world, &backup);
    for _ in 0..2 {
        device.sync();
    }
    let code = |words: &str| {
        let changes = device.changes();
        let mut changes = changes.into_iter();
        let found = changes.find(|it| it.set.get("words") == Some(&words.into()));
        found.unwrap().code
    };
    assert_eq!(code("of another"), Some(Code::OTHER_ROW));
    assert_eq!(code("more of another"), Some(Code::OTHER_ROW));
    assert_eq!(code("of the same"), Some(Code::LOST_BY_RESTORE));
    // He sends back what was lost, and nothing of it gets into somebody else's job.
    for change in lost(&device) {
        device.client.store().retry(&change.change, None).unwrap();
    }
    device.sync();
    assert_eq!(times(&world, "+of the same"), 1);
    assert_eq!(times(&world, "+of another"), 0);
    // It is told once, also to a device whose server is set back a second time.
    restore(&mut world, &backup);
    device.sync();
    let outcomes = device.client.store().outcomes(0).unwrap();
    let of = |code: Code| {
        let found = outcomes.iter().filter(|it| it.code.as_ref() == Some(&code));
        found.count()
    };
    assert_eq!((of(Code::OTHER_ROW), of(Code::LOST_BY_RESTORE)), (2, 4));
    for change in device.changes().into_iter().rev() {
        if change.state == ChangeState::Parked {
            device.client.store().drop_change(&change.change).unwrap();
        }
    }
    assert_eq!(device.sync().status, SyncStatus::Completed);
    device.sync();
    check_equal(&world, &device);
}

/// It has nothing to offer, and says so.
#[test]
fn p5_a_device_that_never_wrote_goes_on_after_a_restore() {
    let (mut world, device, backup) = worked();
    drop(device);
    let reader = world.downloaded("tablet", "bob");
    assert_eq!(reader.sync().status, SyncStatus::Completed);
    restore(&mut world, &backup);
    assert_eq!(reader.sync().status, SyncStatus::Completed);
    check_equal(&world, &reader);
}

/// Its user gives all of it up: the device is as the server, and nothing of it is sent.
#[test]
fn p3_p8_what_a_restore_took_is_given_up() {
    let (mut world, device, backup) = worked();
    restore(&mut world, &backup);
    device.sync();
    while let Some(change) = lost(&device)
        .into_iter()
        .find(|it| it.state == ChangeState::Parked)
    {
        device.client.store().drop_change(&change.change).unwrap();
    }
    assert_eq!(device.sync().status, SyncStatus::Completed);
    device.sync();
    check_equal(&world, &device);
    for (words, expected) in [("+dig", 0), ("+mattock", 0), ("s1uno0", 0), ("s2dos0", 1)] {
        assert_eq!(times(&world, words), expected, "{words}");
    }
}

/// Two databases that grew from one, the device on one and then the other, and back again: each has
/// everything once that its user wanted there.
#[test]
fn p1_p2_what_only_one_of_two_copies_has_comes_to_the_other() {
    let (mut world, device, fork) = worked();
    device.sync();
    let here = world.backup("here.sqlite");
    restore(&mut world, &fork);
    device.client.resend_lost(true);
    device.sync();
    device.sync();
    check_back(&world, &device);
    // Back on the first one everything is there already: it says so of what comes again.
    world.restore(&here);
    device.sync();
    for words in ["+dig", "+spade", "+mattock", "+bucket", "s1uno0", "-s4"] {
        assert_eq!(times(&world, words), 1, "{words}");
    }
    assert_eq!(world.value("SELECT n FROM site WHERE id = 's5'"), 17.into());
}

/// A connection that dies while it is asked, and a process that does: it is asked again.
#[test]
fn p1_a_connection_that_dies_while_history_is_asked_loses_nothing() {
    for bytes in [0, 30, 60, 90, 120, 200] {
        let (mut world, device, backup) = worked();
        restore(&mut world, &backup);
        let mut nth = 0;
        world.proxy.rule(move |request| {
            nth += usize::from(request.is_sync());
            match nth {
                1 | 2 => Fault::CutAnswer(bytes),
                _ => Fault::Pass,
            }
        });
        device.sync();
        world.proxy.heal();
        device.sync();
        assert_eq!(lost(&device).len(), LOST_CHANGES, "cut at {bytes}");
        check_seen(&device);
    }
}
