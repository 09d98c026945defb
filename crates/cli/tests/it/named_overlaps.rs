//! Edits and syncs that overlap with a sync of the same rows.

use std::thread;

use afield::ChangeState;
use afield::engine::{Direction, SyncStatus};

use crate::proxy::{Fault, Gate};
use crate::world::{Device, World};

/// The row of these tests.
const ID: &str = "00000000-0000-4000-8000-000000000001";

/// Where a request is held up while the user goes on typing.
#[derive(Clone, Copy, Debug)]
enum Place {
    OnItsWay,
    Answered,
    HalfAnswered,
}

#[test]
fn p3_an_edit_made_while_its_row_is_in_flight_stays() {
    for place in [Place::OnItsWay, Place::Answered, Place::HalfAnswered] {
        let world = World::new();
        let device = world.downloaded("phone", "ann");
        let id = device.create_visit("harbour", "zero");
        assert_eq!(device.sync().status, SyncStatus::Completed);
        device.write(&format!(
            "UPDATE visit SET note = 'one', score = 1 WHERE id = '{id}'"
        ));

        let gate = Gate::default();
        let held = gate.clone();
        world.proxy.rule(move |_| match place {
            Place::OnItsWay => Fault::HoldRequest(held.clone()),
            Place::Answered => Fault::HoldAnswer(held.clone()),
            Place::HalfAnswered => Fault::HoldAnswerAt(40, held.clone()),
        });
        let seen = || device.read("SELECT note || ' ' || score || ' ' || place FROM visit");
        let report = thread::scope(|scope| {
            let sync = scope.spawn(|| device.sync());
            gate.wait_reached();
            device.write("UPDATE visit SET note = 'two'");
            assert_eq!(seen().as_deref(), Some("two 1 harbour"), "{place:?}");
            device.write("UPDATE visit SET note = 'three', place = 'market'");
            world.team_writes("UPDATE visit SET special = 'team'");
            gate.open();
            sync.join().unwrap()
        });
        assert_eq!(
            report.status,
            SyncStatus::Completed,
            "{place:?}: {report:?}"
        );
        assert_eq!(seen().as_deref(), Some("three 1 market"), "{place:?}");
        assert_eq!(device.states("note", "three"), [ChangeState::Pending]);
        world.proxy.heal();
        world.drain(&device);
        assert_eq!(seen().as_deref(), Some("three 1 market"), "{place:?}");
        for (note, times) in [("zero", 1), ("one", 1), ("two", 0), ("three", 1)] {
            assert_eq!(
                world.effects("visit", "note", note),
                times,
                "{place:?} {note}"
            );
        }
    }
}

/// What happens to a row: whether the server has it first, what is in flight, what is done
/// meanwhile, and the note in the end.
type Case = (bool, String, Vec<String>, Option<&'static str>);

fn cases() -> Vec<Case> {
    let made = |note: &str| make(note);
    let (edit, delete) = (
        "UPDATE visit SET note = 'edited'".to_owned(),
        "DELETE FROM visit".to_owned(),
    );
    vec![
        (false, made("one"), vec![delete.clone()], None),
        (
            false,
            made("one"),
            vec![delete.clone(), made("two")],
            Some("two"),
        ),
        (false, made("one"), vec![edit.clone(), delete.clone()], None),
        (true, edit.clone(), vec![delete.clone()], None),
        (
            true,
            edit.clone(),
            vec![delete.clone(), made("two")],
            Some("two"),
        ),
        (true, delete.clone(), vec![made("two")], Some("two")),
        (
            true,
            delete.clone(),
            vec![made("two"), edit],
            Some("edited"),
        ),
        (true, delete.clone(), vec![made("two"), delete], None),
    ]
}

fn make(note: &str) -> String {
    format!("INSERT INTO visit (id, place, note) VALUES ('{ID}', 'p', '{note}')")
}

#[test]
fn p3_a_row_deleted_or_made_anew_while_it_is_in_flight() {
    for (case, is_lost) in cases()
        .into_iter()
        .flat_map(|case| [(case.clone(), false), (case, true)])
    {
        let (exists, first, meanwhile, end) = &case;
        let world = World::new();
        if *exists {
            world.team_writes(&make("zero"));
        }
        let device = world.downloaded("phone", "ann");
        device.write(first);
        let gate = hold_the_first_answer(&world);
        thread::scope(|scope| {
            scope.spawn(|| device.sync());
            gate.wait_reached();
            meanwhile.iter().for_each(|sql| device.write(sql));
            if is_lost {
                // The answer comes too late: this sync is over.
                device.client.cancel();
            }
            gate.open();
        });
        let note = || device.read("SELECT note FROM visit");
        assert_eq!(note().as_deref(), *end, "{case:?}, lost: {is_lost}");
        world.drain(&device);
        assert_eq!(note().as_deref(), *end, "{case:?}, lost: {is_lost}");
        let settled = device.count(ChangeState::Settled);
        assert_eq!(settled, device.changes().len(), "{case:?}, lost: {is_lost}");
    }
}

#[test]
fn p3_an_edit_is_read_between_its_outcome_and_its_row() {
    let world = World::new();
    world.team_writes(&make("zero"));
    let device = world.downloaded("phone", "ann");
    device.write("UPDATE visit SET note = 'mine'");
    let report = device.client.sync(None, Direction::Send).unwrap();
    assert_eq!((report.status, report.pulled), (SyncStatus::Completed, 0));
    assert_eq!(device.states("note", "mine"), [ChangeState::Settled]);
    assert_eq!(
        device.read("SELECT note FROM visit").as_deref(),
        Some("mine")
    );
    world.drain(&device);
    assert_eq!(
        device.read("SELECT note FROM visit").as_deref(),
        Some("mine")
    );
}

#[test]
fn p3_an_older_answer_that_comes_late_does_not_hide_a_settled_edit() {
    let world = World::new();
    world.team_writes(&make("zero"));
    let device = world.downloaded("phone", "ann");
    let other = Device::reopen(device.client.folder().path(), "ann");
    world.team_writes("UPDATE visit SET note = 'desk'");
    let gate = hold_the_first_answer(&world);
    thread::scope(|scope| {
        // Its rows are read before the edit exists, and arrive after it is settled.
        let late = scope.spawn(|| device.client.sync(None, Direction::Receive).unwrap());
        gate.wait_reached();
        other.write("UPDATE visit SET note = 'mine'");
        other.client.sync(None, Direction::Send).unwrap();
        assert_eq!(other.states("note", "mine"), [ChangeState::Settled]);
        gate.open();
        late.join().unwrap()
    });
    assert_eq!(
        device.read("SELECT note FROM visit").as_deref(),
        Some("mine")
    );
    world.drain(&device);
    assert_eq!(
        device.read("SELECT note FROM visit").as_deref(),
        Some("mine")
    );
}

#[test]
fn p3_rows_read_before_a_push_that_was_slower_do_not_hide_it() {
    let world = World::new();
    world.team_writes(&make("zero"));
    let device = world.downloaded("phone", "ann");
    let other = Device::reopen(device.client.folder().path(), "ann");
    other.write("UPDATE visit SET note = 'mine'");
    let (slow, late) = (Gate::default(), Gate::default());
    let mut held = vec![
        Fault::HoldAnswer(late.clone()),
        Fault::HoldRequest(slow.clone()),
    ];
    world.proxy.rule(move |_| held.pop().unwrap_or(Fault::Pass));
    thread::scope(|scope| {
        // The push is the older request, and the younger one's rows are read before it arrives.
        let push = scope.spawn(|| other.client.sync(None, Direction::Send).unwrap());
        slow.wait_reached();
        world.team_writes("UPDATE visit SET note = 'desk'");
        let pull = scope.spawn(|| device.client.sync(None, Direction::Receive).unwrap());
        late.wait_reached();
        slow.open();
        push.join().unwrap();
        late.open();
        pull.join().unwrap();
    });
    assert_eq!(
        device.read("SELECT note FROM visit").as_deref(),
        Some("mine")
    );
    world.drain(&device);
    assert_eq!(
        device.read("SELECT note FROM visit").as_deref(),
        Some("mine")
    );
}

#[test]
fn p4_a_page_that_another_sync_has_overtaken_is_dropped() {
    let world = World::new();
    world.team_writes(&make("zero"));
    let device = world.downloaded("phone", "ann");
    let other = Device::reopen(device.client.folder().path(), "ann");
    world.team_writes("UPDATE visit SET note = 'old'");
    let gate = hold_the_first_answer(&world);
    let report = thread::scope(|scope| {
        let late = scope.spawn(|| device.sync());
        gate.wait_reached();
        world
            .team_writes("UPDATE visit SET note = 'new'; INSERT INTO account VALUES ('x', 1, 'x')");
        assert_eq!(other.sync().status, SyncStatus::Completed);
        assert_eq!(other.read("SELECT note FROM visit").as_deref(), Some("new"));
        gate.open();
        late.join().unwrap()
    });
    assert_eq!(report.status, SyncStatus::Completed, "{report:?}");
    assert_eq!(
        device.read("SELECT note FROM visit").as_deref(),
        Some("new")
    );
    world.check_equal(&device);
}

/// Lets the next answer wait at a gate, and no other.
fn hold_the_first_answer(world: &World) -> Gate {
    let gate = Gate::default();
    let mut held = Some(gate.clone());
    world.proxy.rule(move |_| match held.take() {
        Some(gate) => Fault::HoldAnswer(gate),
        None => Fault::Pass,
    });
    gate
}
