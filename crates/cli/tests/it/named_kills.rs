//! Processes that die in the middle: the device's and the server's.

use std::path::{Path, PathBuf};
use std::thread;

use afield::ChangeState;

use crate::named_child::Child;
use crate::proxy::{Fault, Gate};
use crate::world::{Device, World, eventually, rows};

/// Bytes of an answer after which somebody dies; beyond its end means after it.
const ANSWER_BYTES: [u64; 8] = [0, 1, 13, 40, 60, 90, 150, 400];

/// A device that has downloaded, closed again.
fn closed_device(world: &World) -> PathBuf {
    let device = world.downloaded("phone", "ann");
    device.client.folder().path().to_owned()
}

/// Makes one change, lets a process send it, and kills that at the gate.
fn push_and_die(world: &World, folder: &Path, note: &str, fault: impl Fn(Gate) -> Fault) {
    let device = Device::reopen(folder, "ann");
    let id = device.create_visit("harbour", note);
    device.write(&format!("INSERT INTO finding VALUES ('{id}', 1, '{note}')"));
    drop(device);
    let gate = Gate::default();
    let held = fault(gate.clone());
    world.proxy.rule(move |request| {
        if request.is_sync() {
            held.clone()
        } else {
            Fault::Pass
        }
    });
    let child = Child::start("sync", folder, "", 0);
    gate.wait_reached();
    child.kill();
    gate.open();
    world.proxy.heal();

    let device = Device::reopen(folder, "ann");
    let states = device.states("note", note);
    let may_be = [
        ChangeState::Pending,
        ChangeState::Sent,
        ChangeState::Settled,
    ];
    assert!(
        matches!(states.as_slice(), [state] if may_be.contains(state)),
        "{note}: {states:?}"
    );
    let read = device.read(&format!("SELECT note FROM visit WHERE id = '{id}'"));
    assert_eq!(read.as_deref(), Some(note));
    // What was sent stays as it was sent, though its row is edited before it is sent again.
    device.write(&format!(
        "UPDATE visit SET special = '{note}' WHERE id = '{id}'"
    ));
    world.drain(&device);
    assert_eq!(device.states("note", note), [ChangeState::Settled]);
    assert_eq!(world.effects("visit", "special", note), 1, "{note}");
    for (entity, attribute) in [("visit", "note"), ("finding", "text")] {
        assert_eq!(world.effects(entity, attribute, note), 1, "{note}");
    }
}

#[test]
fn p1_p2_a_device_killed_while_it_pushes() {
    let world = World::new();
    let folder = closed_device(&world);
    push_and_die(
        &world,
        &folder,
        "before the server hears",
        Fault::HoldRequest,
    );
    push_and_die(&world, &folder, "after the last byte", Fault::HoldAnswer);
    for bytes in ANSWER_BYTES.into_iter().take_while(|bytes| *bytes < 100) {
        let note = format!("after {bytes} bytes");
        push_and_die(&world, &folder, &note, |gate| {
            Fault::HoldAnswerAt(bytes, gate)
        });
    }
}

#[test]
fn p4_p5_a_device_killed_while_it_applies() {
    // 300 rows in 15 pages, all in one transaction of the team's, round after round.
    let world = World::with_pages(20);
    world.team_writes(
        "WITH RECURSIVE n (at) AS (SELECT 0 UNION ALL SELECT at + 1 FROM n WHERE at < 149) \
         INSERT INTO account SELECT 'a' || at, 0, '0' FROM n; \
         INSERT INTO mirror SELECT 'm' || name, 0, '0' FROM account; \
         INSERT INTO price SELECT name, amount, tag FROM account WHERE name LIKE '%7'; \
         INSERT INTO news SELECT name, amount, tag FROM price",
    );
    let folder = closed_device(&world);
    let store = Device::reopen(&folder, "ann").raw();
    for round in 1..=10_u64 {
        world.team_writes(&format!(
            "BEGIN; UPDATE account SET tag = '{round}'; UPDATE mirror SET tag = '{round}'; \
             UPDATE price SET tag = '{round}'; UPDATE news SET tag = '{round}'; COMMIT"
        ));
        // Half of the rounds at a byte, the others wherever it then happens to be.
        let gate = Gate::default();
        let (held, bytes) = (gate.clone(), round * 700);
        world.proxy.rule(move |request| match request.is_sync() {
            true if round % 2 == 0 => Fault::HoldAnswerAt(bytes, held.clone()),
            _ => Fault::Pass,
        });
        let answered = world.proxy.answered();
        let child = Child::start("sync", &folder, "", 0);
        match round % 2 {
            0 => gate.wait_reached(),
            _ => eventually("bytes come", || world.proxy.answered() >= answered + bytes),
        }
        child.kill();
        gate.open();
        world.proxy.heal();
        let tags = "SELECT count(DISTINCT tag) FROM \
                    (SELECT tag FROM account UNION ALL SELECT tag FROM mirror \
             UNION ALL SELECT tag FROM price UNION ALL SELECT tag FROM news)";
        assert_eq!(
            rows(&store, tags)[0][0],
            1.into(),
            "round {round}: half a sync"
        );
        // Every other round the next sync finds what this one left behind, and more changes.
        if round % 3 == 0 {
            world.drain(&Device::reopen(&folder, "ann"));
        }
    }
    world.drain(&Device::reopen(&folder, "ann"));
}

#[test]
fn p5_p9_a_device_killed_again_and_again_during_its_first_download() {
    let world = World::with_pages(50);
    world.team_writes(
        "WITH RECURSIVE n (at) AS (SELECT 0 UNION ALL SELECT at + 1 FROM n WHERE at < 2999) \
         INSERT INTO photo SELECT at, 1, randomblob(1000) FROM n",
    );
    let folder = world.path().join("phone");
    drop(world.device("phone", "ann"));
    for kill in 1..=8_u64 {
        let (gate, before) = (Gate::default(), world.proxy.answered());
        // A download that the gate does not stop could end before it is killed.
        let bytes = 70_000 + 9_000 * kill;
        let (held, stop) = (gate.clone(), bytes + 50_000 * (kill % 2));
        world.proxy.rule(move |request| match request.is_sync() {
            true => Fault::HoldAnswerAt(stop, held.clone()),
            false => Fault::Pass,
        });
        let child = Child::start("sync", &folder, "", 0);
        match kill % 2 {
            0 => gate.wait_reached(),
            _ => eventually("bytes come", || world.proxy.answered() >= before + bytes),
        }
        child.kill();
        gate.open();
        // Rows change under the unfinished download, before and behind where it stands.
        world.team_writes(&format!(
            "UPDATE photo SET data = randomblob(900) WHERE id % 100 = {kill}; \
             DELETE FROM photo WHERE id % 100 = {kill} + 50"
        ));
    }
    world.proxy.heal();
    let device = Device::reopen(&folder, "ann");
    world.drain(&device);
    assert_eq!(
        device.read("SELECT count(*) FROM photo").as_deref(),
        Some("2760")
    );
}

#[test]
fn p1_p2_a_server_killed_while_it_applies_pushes() {
    let mut world = World::new();
    let device = world.downloaded("phone", "ann");
    let mut made = 0;
    for wanted in [0, 1, 900, 1_500, 2_100] {
        // 25 groups of 100 changes: three requests.
        for _ in 0..25 {
            let rows = (0..100).map(|at| format!("('n{}', 0, 'n{}')", made + at, made + at));
            let rows = rows.collect::<Vec<_>>().join(", ");
            device.write(&format!("INSERT INTO account VALUES {rows}"));
            made += 100;
        }
        let (team, before) = (world.team(), made - 2_500);
        let audited =
            || rows(&team, "SELECT count(*) FROM audit WHERE op = 'insert'")[0][0].clone();
        let count = || match audited() {
            rusqlite::types::Value::Integer(n) => n - before,
            other => panic!("{other:?}"),
        };
        let reached = Gate::default();
        let passing = reached.clone();
        passing.open();
        world
            .proxy
            .rule(move |_| Fault::HoldRequest(passing.clone()));
        thread::scope(|scope| {
            scope.spawn(|| device.sync());
            reached.wait_reached();
            eventually("the server applies", || count() >= wanted);
            world.kill_server();
            assert_eq!(count() % 100, 0, "half a group is on the server");
            world.start_server();
        });
        world.proxy.heal();
        world.drain(&device);
    }
    let twice = "SELECT count(*), count(DISTINCT new ->> 'name') FROM audit WHERE op = 'insert'";
    assert_eq!(rows(&world.team(), twice)[0], [made.into(), made.into()]);
    assert_eq!(
        device.count(ChangeState::Settled),
        usize::try_from(made).unwrap()
    );
}

#[test]
fn p5_a_server_killed_while_it_answers() {
    let mut world = World::with_pages(20);
    let device = world.downloaded("phone", "ann");
    for (round, bytes) in ANSWER_BYTES.into_iter().chain([2_000, 9_000]).enumerate() {
        world.team_writes(&format!(
            "WITH RECURSIVE n (at) AS (SELECT 0 UNION ALL SELECT at + 1 FROM n WHERE at < 299) \
             INSERT INTO account SELECT '{round}-' || at, at, 'round {round}' FROM n; \
             DELETE FROM account WHERE amount % 10 = {round}"
        ));
        device.create_visit("harbour", &format!("visit {round}"));
        let gate = Gate::default();
        let mut held = Some(gate.clone());
        world.proxy.rule(move |_| {
            let held = held.take();
            held.map_or(Fault::Pass, |gate| Fault::HoldAnswerAt(bytes, gate))
        });
        thread::scope(|scope| {
            scope.spawn(|| device.sync());
            gate.wait_reached();
            world.kill_server();
            gate.open();
            world.start_server();
        });
        world.drain(&device);
        assert_eq!(world.effects("visit", "note", &format!("visit {round}")), 1);
    }
}
