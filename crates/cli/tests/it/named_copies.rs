//! Copies: a cloned device, a restored database, two servers grown from one.

use std::collections::HashSet;
use std::fs;

use afield::engine::SyncStatus;
use afield::protocol::Attributes;
use afield::{ChangeState, Resolution};

use crate::proxy::Fault;
use crate::world::{Device, World, copy_folder, server_settings};

/// A device with a settled change, one that was sent and lost its answer, and one unsent; in the
/// folder `phone`, closed.
fn worked_with(world: &World, answer: Fault) -> [String; 3] {
    let device = world.downloaded("phone", "ann");
    let settled = device.create_visit("harbour", "settled");
    assert_eq!(device.sync().status, SyncStatus::Completed);
    let sent = device.create_visit("market", "sent");
    world.proxy.rule(move |_| answer.clone());
    assert_eq!(device.sync().status, SyncStatus::Failed);
    world.proxy.heal();
    let unsent = device.create_visit("station", "unsent");
    let states = ["settled", "sent", "unsent"].map(|note| device.states("note", note));
    assert_eq!(
        states.concat(),
        [
            ChangeState::Settled,
            ChangeState::Sent,
            ChangeState::Pending
        ]
    );
    [settled, sent, unsent]
}

fn clone_of(world: &World, name: &str) -> Device {
    let copy = world.path().join(name);
    copy_folder(&world.path().join("phone"), &copy);
    Device::reopen(&copy, "ann")
}

#[test]
fn p2_a_cloned_device_sends_everything_once_and_both_go_on() {
    for answer in [Fault::LoseAnswer, Fault::LoseRequest] {
        let world = World::new();
        let ids = worked_with(&world, answer);
        let clone = clone_of(&world, "clone");
        let first = Device::reopen(&world.path().join("phone"), "ann");
        for (name, device) in [("first", &first), ("clone", &clone)] {
            device.create_visit("new", &format!("{name} made"));
            for (at, id) in ids.iter().take(2).enumerate() {
                device.write(&format!(
                    "UPDATE visit SET {} = '{name} on {at}' WHERE id = '{id}'",
                    if name == "first" { "special" } else { "code" }
                ));
            }
            device.write(&format!(
                "INSERT INTO finding VALUES ('{}', {at}, '{name} found')",
                ids[2],
                at = name.len() + usize::from(name == "clone")
            ));
        }
        for device in [&first, &clone, &first, &clone] {
            assert_eq!(device.sync().status, SyncStatus::Completed);
        }
        for note in ["settled", "sent", "unsent", "first made", "clone made"] {
            assert_eq!(world.effects("visit", "note", note), 1, "{note}");
        }
        for (name, attribute) in [("first", "special"), ("clone", "code")] {
            for at in 0..2 {
                let value = format!("{name} on {at}");
                assert_eq!(world.effects("visit", attribute, &value), 1, "{value}");
            }
            assert_eq!(
                world.effects("finding", "text", &format!("{name} found")),
                1
            );
        }
        for device in [&first, &clone] {
            world.drain(device);
            assert_eq!(device.count(ChangeState::Settled), device.changes().len());
        }
    }
}

#[test]
fn p2_p6_an_unsent_change_that_both_copies_edit_ends_once_and_the_other_is_visible() {
    let world = World::new();
    let [_, _, unsent] = worked_with(&world, Fault::LoseAnswer);
    let clone = clone_of(&world, "clone");
    let first = Device::reopen(&world.path().join("phone"), "ann");
    // The newest group is unsent, so the edit is folded into it, under another id on each copy.
    first.write(&format!(
        "UPDATE visit SET note = 'first' WHERE id = '{unsent}'"
    ));
    clone.write(&format!(
        "UPDATE visit SET note = 'clone' WHERE id = '{unsent}'"
    ));
    assert_eq!(first.sync().status, SyncStatus::Completed);
    let report = clone.sync();
    assert_eq!(report.status, SyncStatus::Incomplete, "{report:?}");
    assert_eq!(world.effects("visit", "note", "first"), 1);
    assert_eq!(world.effects("visit", "note", "clone"), 0);
    let parked: Vec<_> = clone
        .changes()
        .into_iter()
        .filter(|c| c.state == ChangeState::Parked)
        .collect();
    assert_eq!(parked.len(), 1);
    assert_eq!(parked[0].set["note"], "clone".into());
    assert_eq!(parked[0].theirs.as_ref().unwrap()["note"], "first".into());
    assert_eq!(clone.client.store().status().unwrap().conflicts, 1);
    world.drain(&first);
    // The clone, too, goes on with everything else.
    clone.create_visit("new", "made later");
    assert_eq!(clone.sync().pushed, 1);
}

/// A job with a state that is checked, and a count.
const JOBS: (&str, &str) = (
    "CREATE TABLE job (
       id INTEGER NOT NULL PRIMARY KEY,
       state TEXT NOT NULL CHECK (state <> 'wrong'),
       hours INTEGER NOT NULL
     );
     INSERT INTO job VALUES (1, 'new', 0), (2, 'new', 0);",
    r#"
    [local.job]
    from = "job"
    pattern = "last-write-wins"
    attributes = ["state", "hours"]
    counter = ["hours"]
    scope = "everyone"
    "#,
);

#[test]
fn p2_a_count_that_a_copy_of_the_device_sent_too_counts_once() {
    for decided in [Resolution::Mine, Resolution::Merged(good())] {
        let world = World::of(JOBS.0, &(server_settings(5_000) + JOBS.1), "");
        let phone = world.downloaded("phone", "ann");
        phone.write(
            "UPDATE job SET state = iif(id = 1, 'wrong', state), hours = iif(id = 2, 3, hours)",
        );
        assert_eq!(phone.sync().status, SyncStatus::Incomplete);
        drop(phone);
        let clone = clone_of(&world, "clone");
        let phone = Device::reopen(&world.path().join("phone"), "ann");
        for device in [&clone, &phone] {
            let mut parked = device.changes();
            parked.retain(|change| change.set.contains_key("state"));
            let store = &mut device.client.store();
            store.retry(&parked[0].change, Some(&good())).unwrap();
        }
        assert_eq!(clone.sync().status, SyncStatus::Completed);
        assert_eq!(phone.sync().status, SyncStatus::Incomplete);
        let open = phone.client.store().conflicts().unwrap();
        assert_eq!(open.len(), 2, "{open:?}");
        assert_eq!(open[1].mine.as_ref().unwrap()["hours"], 3.into());
        let hours = || world.value("SELECT hours FROM job WHERE id = 2");
        phone
            .client
            .store()
            .resolve(&open[0].conflict, &decided)
            .unwrap();
        phone.sync();
        assert_eq!(hours(), 3.into(), "the other one is not decided");
        phone
            .client
            .store()
            .resolve(&open[1].conflict, &Resolution::Mine)
            .unwrap();
        for device in [&phone, &clone] {
            assert_eq!(device.sync().status, SyncStatus::Completed);
            assert_eq!(
                device.read("SELECT hours FROM job WHERE id = 2").unwrap(),
                "3"
            );
        }
        assert_eq!(hours(), 3.into());
    }
}

fn good() -> Attributes {
    Attributes::from([("state".into(), "good".into())])
}

#[test]
fn p1_p5_a_server_restored_from_a_copy_and_grown_past_the_device() {
    for growth in [0, 1, 40] {
        let mut world = World::new();
        let device = world.downloaded("phone", "ann");
        device.create_visit("harbour", "before the copy");
        assert_eq!(device.sync().status, SyncStatus::Completed);
        let copy = world.backup("copy.sqlite");
        // What the copy does not know: a create, an edit and a delete, ours and theirs.
        device.create_visit("market", "after the copy");
        device.write("UPDATE visit SET special = 'lost edit' WHERE note = 'before the copy'");
        world.team_writes("INSERT INTO account VALUES ('lost', 0, 'lost')");
        world.team_writes("INSERT INTO account VALUES ('moved', 0, 'lost too')");
        assert_eq!(device.sync().status, SyncStatus::Completed);
        // One was applied and the device does not know, two are unsent.
        device.create_visit("station", "unanswered");
        world.proxy.rule(|_| Fault::LoseAnswer);
        assert_eq!(device.sync().status, SyncStatus::Failed);
        assert_eq!(world.effects("visit", "note", "unanswered"), 1);
        world.proxy.heal();
        device.create_visit("station", "unsent");
        device.write("UPDATE visit SET code = 'unsent edit' WHERE note = 'before the copy'");

        world.restore(&copy);
        for at in 0..growth {
            world.team_writes(&format!(
                "INSERT INTO mirror VALUES ('m{at}', {at}, 'grown')"
            ));
        }
        if growth > 0 {
            world.team_writes("INSERT INTO account VALUES ('moved', 1, 'another')");
        }
        let report = device.sync();
        assert_eq!(
            report.status,
            SyncStatus::Incomplete,
            "growth {growth}: {report:?}"
        );
        assert_eq!(world.effects("visit", "note", "unanswered"), 1);
        assert_eq!(world.effects("visit", "note", "unsent"), 1);
        assert_eq!(world.effects("visit", "code", "unsent edit"), 1);
        assert_eq!(
            world.value("SELECT count(*) FROM account WHERE name = 'lost'"),
            0.into()
        );
        // What the restore lost is not on the server; its user still sees it, and decides.
        assert_eq!(world.effects("visit", "note", "after the copy"), 0);
        assert_eq!(
            device
                .read("SELECT 1 FROM visit WHERE note = 'after the copy'")
                .as_deref(),
            Some("1")
        );
        for (attribute, value) in [("note", "after the copy"), ("special", "lost edit")] {
            assert_eq!(device.states(attribute, value), [ChangeState::Parked]);
        }
        for change in device.changes() {
            if change.state == ChangeState::Parked {
                let mut store = device.client.store();
                store.retry(&change.change, None).unwrap();
            }
        }
        world.drain(&device);
        assert_eq!(world.effects("visit", "note", "after the copy"), 1);
        assert_eq!(world.effects("visit", "special", "lost edit"), 1);
    }
}

#[test]
fn p5_two_servers_grown_from_one_copy() {
    let mut world = World::new();
    world.team_writes("INSERT INTO account VALUES ('common', 0, 'common')");
    let device = world.downloaded("phone", "ann");
    device.client.resend_lost(true);
    let copy = world.backup("fork.sqlite");
    let grow = |world: &World, name: &str| {
        for at in 0..5 {
            let tag = format!("{name}{at}");
            world.team_writes(&format!(
                "INSERT INTO account VALUES ('{tag}', {at}, '{tag}')"
            ));
        }
        world.team_writes(&format!(
            "UPDATE account SET tag = '{name}' WHERE name = 'common'"
        ));
    };
    grow(&world, "left");
    device.create_visit("harbour", "for the left");
    world.drain(&device);
    // The left one goes on without us; the right one has come as far by other changes.
    let left = world.backup("left.sqlite");
    world.restore(&copy);
    grow(&world, "right");
    device.create_visit("market", "for the right");
    world.drain(&device);
    let names = |device: &Device| -> HashSet<String> {
        let list = device
            .read("SELECT group_concat(name) FROM account")
            .unwrap();
        list.split(',').map(str::to_owned).collect()
    };
    assert!(names(&device).contains("right4") && !names(&device).contains("left4"));
    // And back again.
    world.restore(&left);
    device.create_visit("station", "for the left again");
    world.drain(&device);
    assert!(names(&device).contains("left4") && !names(&device).contains("right4"));
    assert_eq!(world.effects("visit", "note", "for the left"), 1);
    assert_eq!(world.effects("visit", "note", "for the left again"), 1);
    assert!(fs::exists(&left).unwrap());
}
