//! Answers that are lost, requests that come twice, edits that overlap with a sync.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::thread;

use afield::ChangeState;
use afield::engine::SyncStatus;
use afield::protocol::{Code, Frame, Value, VerdictKind};

use crate::proxy::{Fault, Request, send};
use crate::world::{Device, World, body, frames, groups, outcomes};

/// Devices that lose answers side by side, and how many each.
const DEVICES: usize = 8;
const LOST_EACH: usize = 25;

#[test]
fn p2_200_lost_answers_have_one_effect() {
    let world = World::new();
    let names: Vec<String> = (0..DEVICES).map(|n| format!("device{n}")).collect();
    let devices: Vec<Device> = names.iter().map(|n| world.downloaded(n, "ann")).collect();
    let model = devices[0].model();
    let (seen, lost) = (Arc::new(Mutex::new(HashSet::new())), Arc::default());
    let count: Arc<Mutex<usize>> = Arc::clone(&lost);
    world.proxy.rule(move |request| {
        let mut seen = seen.lock().unwrap();
        let groups = groups(&model, request);
        // Every group's first request is lost; a sync may split them up for the second.
        let fresh = groups.iter().filter(|group| seen.insert(group.id)).count();
        if fresh == 0 {
            return Fault::Pass;
        }
        *count.lock().unwrap() += 1;
        Fault::LoseAnswer
    });
    thread::scope(|scope| {
        for (name, device) in names.iter().zip(&devices) {
            scope
                .spawn(move || (0..LOST_EACH).for_each(|round| edit_and_sync(name, device, round)));
        }
    });
    assert_eq!(*lost.lock().unwrap(), DEVICES * LOST_EACH);
    for device in &devices {
        world.drain(device);
        assert_eq!(device.count(ChangeState::Settled), device.changes().len());
        assert_eq!(device.changes().len(), LOST_EACH * 3);
    }
    for name in names {
        for round in 0..LOST_EACH {
            assert_eq!(
                world.effects("visit", "note", &format!("{name}-{round}")),
                1
            );
            assert_eq!(
                world.effects("finding", "text", &format!("{name}-{round}")),
                1
            );
            assert_eq!(
                world.effects("visit", "place", &format!("{name}-{round}")),
                1
            );
        }
    }
}

/// One group of two creates, one group of an update, one sync that goes through.
fn edit_and_sync(name: &str, device: &Device, round: usize) {
    let tag = format!("{name}-{round}");
    device.write(&format!(
        "INSERT INTO visit (id, place, note) VALUES (lower(printf('%s-0000-4000-8000-%s', \
         substr(hex(randomblob(4)), 1, 8), hex(randomblob(6)))), 'new', '{tag}'); \
         INSERT INTO finding SELECT id, {round}, '{tag}' FROM visit WHERE note = '{tag}'"
    ));
    device.write(&format!(
        "UPDATE visit SET place = '{tag}' WHERE note = '{tag}'"
    ));
    let report = device.sync();
    assert_eq!(report.status, SyncStatus::Completed, "{report:?}");
    assert_eq!(report.pushed, 3);
}

#[test]
fn p2_a_request_that_comes_twice_and_again_much_later_has_one_effect() {
    let world = World::new();
    let device = world.downloaded("phone", "ann");
    let kept: Arc<Mutex<Vec<Request>>> = Arc::default();
    let keeping = Arc::clone(&kept);
    let model = device.model();
    world.proxy.rule(move |request| {
        if !groups(&model, request).is_empty() {
            keeping.lock().unwrap().push(request.clone());
        }
        Fault::Twice
    });
    let id = device.create_visit("harbour", "first");
    device.write("INSERT INTO account VALUES ('cash', 5, 'made')");
    assert_eq!(device.sync().status, SyncStatus::Completed);
    device.write(&format!(
        "UPDATE visit SET note = 'second' WHERE id = '{id}'"
    ));
    device.write("DELETE FROM account WHERE name = 'cash'");
    assert_eq!(device.sync().status, SyncStatus::Completed);
    world.team_writes("INSERT INTO account VALUES ('cash', 7, 'team')");
    world.team_writes("UPDATE visit SET note = 'team'");

    let kept = kept.lock().unwrap().clone();
    for request in kept.iter().chain(&kept) {
        let verdicts = outcomes(&device.model(), &send(world.address(), request));
        assert!(
            verdicts
                .iter()
                .all(afield::protocol::GroupOutcome::is_applied)
        );
    }
    for note in ["first", "second", "team"] {
        assert_eq!(world.effects("visit", "note", note), 1, "{note}");
    }
    assert_eq!(world.effects("account", "tag", "made"), 1);
    world.drain(&device);
    assert_eq!(
        device.read("SELECT amount FROM account").as_deref(),
        Some("7")
    );
    assert_eq!(
        device.read("SELECT note FROM visit").as_deref(),
        Some("team")
    );
}

#[test]
fn p2_an_altered_repeat_is_refused_and_the_first_effect_stands() {
    let world = World::new();
    let device = world.downloaded("phone", "ann");
    let kept: Arc<Mutex<Option<Request>>> = Arc::default();
    let keeping = Arc::clone(&kept);
    world.proxy.rule(move |request| {
        *keeping.lock().unwrap() = Some(request.clone());
        Fault::Pass
    });
    device.create_visit("harbour", "as it was");
    assert_eq!(device.sync().status, SyncStatus::Completed);
    let mut request = kept.lock().unwrap().clone().unwrap();
    let (model, before) = (device.model(), world.value("SELECT max(n) FROM audit"));

    let original = request.clone();
    let mut altered = frames(&model, &request.body);
    for frame in &mut altered {
        if let Frame::Group(group) = frame {
            group.changes[0]
                .set
                .insert("note".into(), Value::from("altered"));
        }
    }
    request.body = body(&model, &altered);
    let answer = outcomes(&model, &send(world.address(), &request));
    assert_eq!(answer.len(), 1);
    assert_eq!(answer[0].verdicts[0].kind, VerdictKind::Rejected);
    assert_eq!(answer[0].verdicts[0].code, Some(Code::HASH_MISMATCH));
    assert_eq!(world.value("SELECT max(n) FROM audit"), before);

    let answer = outcomes(&model, &send(world.address(), &original));
    assert!(answer[0].is_applied(), "the ledger keeps the first answer");
    assert_eq!(world.effects("visit", "note", "altered"), 0);
    world.drain(&device);
}

#[test]
fn p2_lost_answer_then_a_foreign_edit_then_the_repeat_leaves_the_foreign_edit() {
    let cases = [
        (
            "UPDATE visit SET note = 'desk'",
            "UPDATE visit SET note = 'mine'",
        ),
        (
            "UPDATE visit SET note = NULL",
            "UPDATE visit SET note = 'mine'",
        ),
        ("DELETE FROM visit", "UPDATE visit SET note = 'mine'"),
        (
            "INSERT INTO visit (id, place) SELECT '00000000-0000-4000-8000-000000000001', 'back'",
            "DELETE FROM visit",
        ),
    ];
    for (foreign, own) in cases {
        let world = World::new();
        world.team_writes(
            "INSERT INTO visit (id, place, note) \
             VALUES ('00000000-0000-4000-8000-000000000001', 'harbour', 'zero')",
        );
        let device = world.downloaded("phone", "ann");
        device.write(own);
        let (team, mut asked) = (world.team(), 0);
        world.proxy.rule(move |_| {
            asked += 1;
            if asked == 1 {
                return Fault::LoseAnswer;
            }
            if asked == 2 {
                team.execute_batch(foreign).unwrap();
            }
            Fault::Pass
        });
        let report = device.sync();
        assert_eq!(
            report.status,
            SyncStatus::Completed,
            "{foreign}: {report:?}"
        );
        world.drain(&device);
        let sql = "SELECT count(*) FROM audit WHERE entity = 'visit' AND n > 1";
        assert_eq!(
            world.value(sql),
            2.into(),
            "{foreign}: ours once, theirs once"
        );
        let last = "SELECT coalesce(note, place) FROM visit";
        let expected = match foreign {
            _ if foreign.contains("desk") => Some("desk"),
            _ if foreign.contains("NULL") => Some("harbour"),
            _ if foreign.contains("INSERT") => Some("back"),
            _ => None,
        };
        assert_eq!(device.read(last).as_deref(), expected, "{foreign}");
    }
}
