//! A group that makes the server fail: it waits with what depends on it, the rest flows.

use std::collections::HashSet;

use afield::ChangeState;
use afield::engine::SyncStatus;

use crate::world::{Device, World, eventually};

/// Groups in the outbox.
const GROUPS: usize = 100;

/// A trigger of the team's that fails on one value, with an error that is no constraint.
const FAILS_ON_A_VALUE: &str = "CREATE TRIGGER mistake AFTER INSERT ON visit \
     WHEN NEW.note LIKE 'poison%' BEGIN SELECT json_extract('no json', '$'); END";

/// A trigger of the team's that names a table which is not there, on one attribute.
const NAMES_A_MISSING_TABLE: &str = "CREATE TRIGGER mistake AFTER UPDATE OF special ON visit \
     BEGIN INSERT INTO not_there VALUES (NEW.special); END";

const MENDED: &str = "DROP TRIGGER mistake";

#[test]
fn p8_one_group_that_fails_waits_alone_and_99_are_applied() {
    let world = World::new();
    world.team_writes(FAILS_ON_A_VALUE);
    let device = world.downloaded("phone", "ann");
    fill_outbox(&device, &[57]);
    let report = device.sync();
    // Completed would be a lie, and failed too: everything else went through.
    assert_eq!(report.status, SyncStatus::Incomplete, "{report:?}");
    assert_eq!((report.pushed, report.backed_off), (99, 1));
    assert_eq!(world.value("SELECT count(*) FROM visit"), 99.into());
    assert_eq!(device.states("note", "poison57"), [ChangeState::Sent]);
    assert_eq!(
        device.read("SELECT count(*) FROM visit").as_deref(),
        Some("100")
    );

    world.team_writes(MENDED);
    eventually("the last one is applied", || {
        device.sync();
        world.effects("visit", "note", "poison57") == 1
    });
    world.drain(&device);
    check_all_applied_once(&world, &device, &[57]);
}

#[test]
fn p8_several_failing_groups_wait_wherever_they_stand() {
    let places: [&[usize]; 5] = [&[0], &[99], &[0, 99], &[49, 50], &[20, 21, 80]];
    for poison in places {
        let world = World::new();
        world.team_writes(FAILS_ON_A_VALUE);
        let device = world.downloaded("phone", "ann");
        fill_outbox(&device, poison);
        let report = device.sync();
        assert_eq!(
            report.status,
            SyncStatus::Incomplete,
            "{poison:?}: {report:?}"
        );
        assert_eq!(report.pushed as usize, GROUPS - poison.len(), "{poison:?}");
        assert_eq!(device.count(ChangeState::Sent), poison.len(), "{poison:?}");
        // Asked again at once, the failing ones are left in peace, and the sync says so.
        device.create_visit("later", "later");
        let report = device.sync();
        assert_eq!((report.pushed, report.backed_off), (1, 0), "{poison:?}");
        world.team_writes(MENDED);
        world.drain(&device);
        check_all_applied_once(&world, &device, poison);
    }
}

#[test]
fn p8_more_failing_groups_than_one_sync_tries_do_not_stop_the_rest() {
    let world = World::new();
    world.team_writes(FAILS_ON_A_VALUE);
    let device = world.downloaded("phone", "ann");
    let poison: Vec<usize> = (0..8).collect();
    fill_outbox(&device, &poison);
    eventually("the rest is applied", || {
        device.sync();
        device.count(ChangeState::Settled) == GROUPS - poison.len()
    });
    world.team_writes(MENDED);
    world.drain(&device);
    check_all_applied_once(&world, &device, &poison);
}

#[test]
fn p8_what_depends_on_a_failing_group_is_held_and_others_flow() {
    let world = World::new();
    world.team_writes(NAMES_A_MISSING_TABLE);
    let device = world.downloaded("phone", "ann");
    let row = device.create_visit("harbour", "fine");
    let other = device.create_visit("market", "fine too");
    assert_eq!(device.sync().status, SyncStatus::Completed);

    device.write(&format!(
        "UPDATE visit SET special = 'x' WHERE id = '{row}'"
    ));
    device.write(&format!(
        "UPDATE visit SET special = 'y', note = 'created' WHERE id = '{other}'"
    ));
    device.write(&format!(
        "INSERT INTO finding VALUES ('{other}', 1, 'refers to a known row')"
    ));
    // Not before something else is in between: next to the first edit it would be part of it.
    device.write(&format!(
        "UPDATE visit SET note = 'after' WHERE id = '{row}'"
    ));
    device.write("INSERT INTO account VALUES ('cash', 0, 'unconcerned')");
    let report = device.sync();
    assert_eq!(report.status, SyncStatus::Incomplete, "{report:?}");
    assert_eq!(world.effects("account", "tag", "unconcerned"), 1);
    assert_eq!(world.effects("finding", "text", "refers to a known row"), 1);
    assert_eq!(world.effects("visit", "note", "after"), 0);
    assert_eq!(device.states("note", "after"), [ChangeState::Held]);
    let status = device.client.store().status().unwrap();
    assert_eq!((status.pending, status.held, status.parked), (2, 1, 0));

    world.team_writes(MENDED);
    eventually("everything is applied", || {
        device.sync();
        device.count(ChangeState::Settled) == device.changes().len()
    });
    world.drain(&device);
    for note in ["after", "created"] {
        assert_eq!(world.effects("visit", "note", note), 1, "{note}");
    }
}

#[test]
fn p8_a_create_that_fails_holds_what_refers_to_it() {
    let world = World::new();
    world.team_writes(FAILS_ON_A_VALUE);
    let device = world.downloaded("phone", "ann");
    let poison = device.create_visit("harbour", "poison");
    device.write(&format!(
        "INSERT INTO finding VALUES ('{poison}', 1, 'child')"
    ));
    device.write(&format!(
        "INSERT INTO finding VALUES ('{poison}', 2, 'child, in one transaction with'); \
         INSERT INTO account VALUES ('linked', 0, 'linked')"
    ));
    device.write("UPDATE account SET amount = 1 WHERE name = 'linked'");
    device.write("INSERT INTO account VALUES ('cash', 0, 'unconcerned')");
    let report = device.sync();
    assert_eq!(report.status, SyncStatus::Incomplete, "{report:?}");
    assert_eq!(
        world.value("SELECT group_concat(name) FROM account"),
        "cash".to_owned().into()
    );
    assert_eq!(device.count(ChangeState::Held), 4);
    world.team_writes(MENDED);
    eventually("everything is applied", || {
        device.sync();
        device.count(ChangeState::Settled) == device.changes().len()
    });
    world.drain(&device);
    assert_eq!(world.value("SELECT count(*) FROM finding"), 2.into());
}

fn fill_outbox(device: &Device, poison: &[usize]) {
    for at in 0..GROUPS {
        let kind = if poison.contains(&at) {
            "poison"
        } else {
            "fine"
        };
        device.create_visit("harbour", &format!("{kind}{at}"));
    }
}

fn check_all_applied_once(world: &World, device: &Device, poison: &[usize]) {
    let fine = (0..GROUPS)
        .filter(|at| !poison.contains(at))
        .map(|at| format!("fine{at}"));
    let all: HashSet<String> = fine
        .chain(poison.iter().map(|at| format!("poison{at}")))
        .collect();
    for note in all {
        assert_eq!(world.effects("visit", "note", &note), 1, "{note}");
    }
    assert_eq!(device.count(ChangeState::Settled), device.changes().len());
}
