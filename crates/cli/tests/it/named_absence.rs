//! A device that was away for longer than the server remembers, with twelve unsent changes.

use std::path::{Path, PathBuf};

use afield::protocol::Code;
use afield::{ChangeInfo, ChangeState, RowState};

use crate::named_child::Child;
use crate::proxy::{Fault, Gate};
use crate::sites::{AUDIT, ENTITIES, tables, times};
use crate::world::{Device, World, afield, copy_folder, eventually, server_settings};

const SCHEMA: &str = "
    CREATE TABLE site (id TEXT PRIMARY KEY NOT NULL, name TEXT, n INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE job (id INTEGER PRIMARY KEY AUTOINCREMENT, site TEXT, words TEXT);
    CREATE TABLE step (job INTEGER NOT NULL REFERENCES job (id), pos INTEGER NOT NULL, words TEXT,
      PRIMARY KEY (job, pos));
    CREATE TABLE audit (n INTEGER PRIMARY KEY, words TEXT);
    INSERT INTO site VALUES ('s1', 'one', 0), ('s2', 'two', 0), ('s3', 'three', 10),
      ('s4', 'four', 0), ('s5', 'five', 0), ('s6', 'six', 0);
    INSERT INTO job VALUES (1, 's1', 'paint'), (2, 's1', 'sweep'), (3, 's3', 'mow');
    INSERT INTO step VALUES (1, 1, 'primer');
";

/// A world in which a device made twelve changes, of which one was applied and never heard of;
/// and the team went on. The device is closed.
fn twelve() -> (World, PathBuf) {
    let world = World::of(SCHEMA, &(server_settings(3) + ENTITIES), AUDIT);
    let device = world.downloaded("phone", "ann");
    let second = device.sync();
    assert_eq!(second.outcomes.len(), 0);
    device.write("UPDATE site SET n = n + 7 WHERE id = 's5'");
    lose_answer(&world, &device);
    for sql in [
        "INSERT INTO site (id, name) VALUES ('s9', 'nine')",
        "INSERT INTO job (site, words) VALUES ('s9', 'dig'); \
         INSERT INTO step (job, pos, words) SELECT max(id), 1, 'spade' FROM job",
        "INSERT INTO step VALUES (1, 2, 'coat')",
        "UPDATE site SET name = 'uno' WHERE id = 's1'",
        "UPDATE site SET name = 'dos' WHERE id = 's2'",
        "UPDATE job SET words = 'scrub' WHERE id = 2",
        "UPDATE site SET n = n + 5 WHERE id = 's3'",
        "DELETE FROM site WHERE id = 's4'",
        "DELETE FROM job WHERE id = 3",
        "UPDATE step SET words = 'undercoat' WHERE job = 1 AND pos = 1",
        "UPDATE job SET words = 'dig deep' WHERE words = 'dig'",
    ] {
        device.write(sql);
    }
    let (pending, sent) = (ChangeState::Pending, ChangeState::Sent);
    assert_eq!((device.count(pending), device.count(sent)), (12, 1));
    world.team_writes(
        "DELETE FROM site WHERE id IN ('s2', 's6'); DELETE FROM job WHERE id = 3;
         UPDATE job SET words = 'vacuum' WHERE id = 2; UPDATE site SET n = n + 1 WHERE id = 's3';
         INSERT INTO site VALUES ('s10', 'ten', 0)",
    );
    let folder = device.client.folder().path().to_owned();
    (world, folder)
}

fn lose_answer(world: &World, device: &Device) {
    world.proxy.rule(|request| match request.is_sync() {
        true => Fault::LoseAnswer,
        false => Fault::Pass,
    });
    eventually("it is applied", || {
        device.sync();
        world.value("SELECT n FROM site WHERE id = 's5'") == 7.into()
    });
    world.proxy.heal();
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

/// A fault at a gate.
type Death = Box<dyn Fn(Gate) -> Fault + Send>;

/// What a process that synchronises meets, and dies of: at which of its requests.
fn deaths() -> Vec<(usize, Death)> {
    let mut all: Vec<(usize, Death)> = vec![
        (0, Box::new(Fault::HoldRequest)),
        (1, Box::new(Fault::HoldRequest)),
        (0, Box::new(Fault::HoldAnswer)),
        (1, Box::new(Fault::HoldAnswer)),
    ];
    for bytes in [
        0, 1, 20, 60, 90, 120, 150, 200, 300, 400, 500, 600, 700, 800, 900, 1_000,
    ] {
        all.push((0, Box::new(move |gate| Fault::HoldAnswerAt(bytes, gate))));
    }
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
    for (at, (request, fault)) in deaths.into_iter().enumerate() {
        let place = format!("death {at}");
        world.restore(&server);
        let _ = std::fs::remove_dir_all(&folder);
        copy_folder(&store, &folder);
        reached += usize::from(die(&world, &folder, request, fault));
        if at % 3 == 0 {
            world.kill_server();
            world.start_server();
        }
        let device = Device::reopen(&folder, "ann");
        check_settled(&world, &device, &place);
    }
    assert!(
        reached >= 15,
        "only {reached} of 20 came to the place where they die"
    );
}

/// Lets a process synchronise until it meets the fault, and kills it there. Whether it did.
fn die(world: &World, folder: &Path, nth: usize, fault: Death) -> bool {
    let gate = Gate::default();
    let (held, mut seen) = (gate.clone(), 0);
    world.proxy.rule(move |request| {
        if !request.is_sync() {
            return Fault::Pass;
        }
        seen += 1;
        match seen - 1 == nth {
            true => fault(held.clone()),
            false => Fault::Pass,
        }
    });
    let child = Child::start("sync", folder, "", 0);
    let store = Device::reopen(folder, "ann");
    eventually("it dies, or has nothing to do any more", || {
        gate.is_reached() || store.client.store().status().unwrap().pending == 0
    });
    let is_reached = gate.is_reached();
    drop(store);
    child.kill();
    gate.open();
    world.proxy.heal();
    is_reached
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
