//! A device that was away for longer than the server remembers, with twelve unsent changes.

use std::path::PathBuf;

use afield::protocol::Code;
use afield::{ChangeInfo, ChangeState, RowState};

use crate::deaths::{Death, Place, die};
use crate::sites::{MEANWHILE, sites, tables, times, write_twelve};
use crate::world::{Device, World, afield, copy_folder, eventually};

/// A world in which a device made twelve changes, of which one was applied and never heard of;
/// and the team went on. The device is closed.
fn twelve() -> (World, PathBuf) {
    let (world, device) = sites();
    write_twelve(&world, &device);
    world.team_writes(MEANWHILE);
    let folder = device.client.folder().path().to_owned();
    (world, folder)
}

/// So many days go by for everything that the server remembers, and it forgets.
fn days_pass(world: &World, days: i64) {
    let later = format!("UPDATE afield_moment SET at = at - {days} * 86400");
    world.team_writes(&later);
    afield(world.path(), &["purge"]);
    world.team_writes(&later);
    afield(world.path(), &["purge"]);
    assert_eq!(
        world.value("SELECT count(*) FROM afield_mark_site"),
        0.into()
    );
}

/// Each of the twelve has its one outcome, and took effect once if it did.
fn check_settled(world: &World, device: &Device, place: &str) {
    eventually("everything is sent", || {
        device.sync();
        device.client.store().status().unwrap().pending == 0
    });
    for words in [
        "+s9",
        "+dig",
        "+spade",
        "+coat",
        "s1uno0",
        "s3three16",
        "-s4",
        "undercoat",
        "dig deep",
        "s5five7",
    ] {
        assert_eq!(times(world, words), 1, "{place}: {words}");
    }
    for words in ["+s2", "+s6", "scrub"] {
        assert_eq!(times(world, words), 0, "{place}: {words}");
    }
    let parked = device.changes();
    let mut parked: Vec<_> = (parked.iter())
        .filter(|change| change.state == ChangeState::Parked)
        .map(|change| {
            (
                change.entity.as_str(),
                change.code.as_ref().unwrap().as_str(),
            )
        })
        .collect();
    parked.sort_unstable();
    assert_eq!(
        parked,
        [("job", "row-changed"), ("site", "gone")],
        "{place}"
    );
    let mut store = device.client.store();
    let state = store.row_state("job", &[2.into()]).unwrap();
    assert_eq!(state, RowState::Conflict, "{place}");
    let name = store.conflicts().unwrap()[0].conflict.clone();
    store.resolve(&name, &afield::Resolution::Theirs).unwrap();
    let gone = store.changes().unwrap();
    let gone = gone
        .iter()
        .find(|change| change.state == ChangeState::Parked);
    store.drop_change(&gone.unwrap().change).unwrap();
    drop(store);
    device.sync();
    assert_eq!(tables(&device.raw()), tables(&world.team()), "{place}");
    assert_eq!(device.count(ChangeState::Parked), 0, "{place}");
}

#[test]
fn p1_p2_p5_a_device_that_was_away_for_longer_than_the_retention() {
    let (world, folder) = twelve();
    days_pass(&world, 100);
    assert_ne!(world.value("SELECT count(*) FROM afield_ledger"), 0.into());
    let device = Device::reopen(&folder, "ann");
    check_settled(&world, &device, "undisturbed");
}

/// Where a process that synchronises dies, of an answer without questions.
fn deaths() -> Vec<Death> {
    let at = |request, place| Death { request, place };
    let mut all = vec![
        at(0, Place::Request),
        at(1, Place::Request),
        at(0, Place::Answer),
        at(1, Place::Answer),
    ];
    let bytes = [
        0, 1, 20, 60, 90, 120, 150, 200, 300, 400, 500, 600, 700, 800, 900, 1_000,
    ];
    all.extend(bytes.map(|bytes| at(0, Place::Byte(bytes))));
    all
}

#[test]
fn p1_p2_p4_it_is_killed_at_twenty_points_when_it_comes_back() {
    let (mut world, folder) = twelve();
    days_pass(&world, 100);
    let (server, store) = (world.backup("away.sqlite"), world.path().join("away"));
    copy_folder(&folder, &store);
    let deaths = deaths();
    assert_eq!(deaths.len(), 20);
    let mut reached = 0;
    for (at, death) in deaths.into_iter().enumerate() {
        let place = format!("death {at}");
        world.restore(&server);
        let _ = std::fs::remove_dir_all(&folder);
        copy_folder(&store, &folder);
        reached += usize::from(die(&mut world, &folder, "", death, at % 3 == 0));
        let device = Device::reopen(&folder, "ann");
        check_settled(&world, &device, &place);
    }
    assert!(
        reached >= 15,
        "only {reached} of 20 came to the place where they die"
    );
}

/// The ledger is forgotten too: nothing is applied unasked, no counter goes up twice, no deleted
/// row comes back; and what its user decides about, drains.
#[test]
fn p2_p8_what_the_ledger_forgot_waits_for_its_user() {
    let (world, folder) = twelve();
    days_pass(&world, 400);
    assert_eq!(world.value("SELECT count(*) FROM afield_ledger"), 0.into());
    let before = tables(&world.team());
    let device = Device::reopen(&folder, "ann");
    eventually("everything is sent", || {
        device.sync();
        device.client.store().status().unwrap().pending == 0
    });
    assert_eq!(
        tables(&world.team()),
        before,
        "something was applied unasked"
    );
    let changes = device.changes();
    let count = |code: &str| {
        let has = |change: &&ChangeInfo| {
            change
                .code
                .as_ref()
                .is_some_and(|found| found.as_str() == code)
        };
        changes.iter().filter(has).count()
    };
    // s1, s3, s5, s9, job 2, the new job, both steps; and s4, of which the row is there.
    assert_eq!(count("unknown-before"), 9, "{changes:?}");
    assert_eq!(count("gone"), 1);
    // Its user sees what he typed, and wants all of it, but for the count that he knows of.
    assert_eq!(
        device
            .read("SELECT name FROM site WHERE id = 's1'")
            .as_deref(),
        Some("uno")
    );
    let rounds = decide_all(&device);
    device.sync();
    assert_eq!(tables(&device.raw()), tables(&world.team()));
    for (words, expected) in [
        ("+s9", 1),
        ("+dig", 1),
        ("+spade", 1),
        ("+coat", 1),
        ("s1uno0", 1),
        ("s3three16", 1),
        ("-s4", 1),
        ("undercoat", 1),
        ("s5five7", 1),
        ("scrub", 1),
        ("+s2", 0),
    ] {
        assert_eq!(
            times(&world, words),
            expected,
            "{words}, after {rounds} rounds"
        );
    }
}

/// Its user insists on everything, but on the count that he knows of; and gives up what is gone.
fn decide_all(device: &Device) -> u32 {
    let mut rounds = 0;
    eventually("all is decided", || {
        rounds += 1;
        let mut store = device.client.store();
        for conflict in store.conflicts().unwrap() {
            let is_count = conflict.key == [afield::protocol::Value::from("s5")];
            let decision = match is_count {
                true => afield::Resolution::Theirs,
                false => afield::Resolution::Mine,
            };
            let _ = store.resolve(&conflict.conflict, &decision);
        }
        let is_gone = |change: &&ChangeInfo| {
            let code = change.code.as_ref().map(Code::as_str);
            change.state == ChangeState::Parked && code == Some("gone")
        };
        for change in store.changes().unwrap().iter().filter(is_gone) {
            let _ = store.drop_change(&change.change);
        }
        drop(store);
        device.sync();
        let status = device.client.store().status().unwrap();
        status.pending == 0 && device.count(ChangeState::Parked) == 0
    });
    rounds
}
