//! Changes that the team's database refuses, and changes that replace somebody else's.

use std::thread;

use afield::ChangeState;
use afield::engine::SyncStatus;
use afield::protocol::codec::read_verdicts;
use afield::protocol::{Code, Value, VerdictKind};

use rusqlite::types::Value as Cell;

use crate::proxy::{Fault, Gate};
use crate::world::{Device, World, rows};

const TAKEN: &str = "00000000-0000-4000-8000-000000000001";
const DELETED: &str = "00000000-0000-4000-8000-000000000002";

/// What a device does, and how the server must answer.
struct Bad {
    sql: String,
    code: Code,
    attribute: Option<&'static str>,
}

fn bad_changes() -> Vec<Bad> {
    let visit = |n: u32| format!("00000000-0000-4000-8000-0000000001{n:02}");
    let bad = |sql: String, code, attribute| Bad {
        sql,
        code,
        attribute,
    };
    let (one, two, three, four, five) = (visit(1), visit(2), visit(3), visit(4), visit(5));
    let insert = "INSERT INTO visit (id, place";
    vec![
        bad(
            format!("{insert}, code) VALUES ('{one}', 'a', 'taken')"),
            Code::UNIQUE,
            Some("code"),
        ),
        bad(
            format!("INSERT INTO visit (id, note) VALUES ('{two}', 'no place')"),
            Code::NOT_NULL,
            Some("place"),
        ),
        bad(
            format!("{insert}, score) VALUES ('{three}', 'c', -1)"),
            Code::CHECK_FAILED,
            Some("score"),
        ),
        bad(
            format!("INSERT INTO finding VALUES ('{four}', 1, 'an orphan')"),
            Code::REFERENCE,
            Some("visit_id"),
        ),
        bad(
            format!("{insert}, note) VALUES ('{five}', 'e', 'forbidden')"),
            Code::CONSTRAINT,
            None,
        ),
        bad(
            format!("UPDATE visit SET note = 'too late' WHERE id = '{DELETED}'"),
            Code::GONE,
            None,
        ),
        bad(
            "INSERT INTO account VALUES ('cash', 1, 'mine')".to_owned(),
            Code::KEY_EXISTS,
            None,
        ),
        bad(
            "UPDATE mirror SET tag = 'fine'".to_owned(),
            Code::CONSTRAINT,
            None,
        ),
    ]
}

/// The team's rules, rows, and what it did while the device was away.
fn prepare(world: &World) -> Device {
    world.team_writes(&format!(
        "INSERT INTO visit (id, place, code) VALUES ('{TAKEN}', 'harbour', 'taken'); \
         INSERT INTO visit (id, place) VALUES ('{DELETED}', 'market'); \
         INSERT INTO mirror VALUES ('m', 0, 'zero'); \
         CREATE TRIGGER rule BEFORE INSERT ON visit WHEN NEW.note = 'forbidden' \
         BEGIN SELECT RAISE(ABORT, 'not on a Sunday'); END; \
         CREATE TRIGGER hard BEFORE UPDATE ON mirror \
         BEGIN SELECT RAISE(ROLLBACK, 'nobody writes here'); END"
    ));
    let device = world.downloaded("phone", "ann");
    world.team_writes(&format!(
        "DELETE FROM visit WHERE id = '{DELETED}'; INSERT INTO account VALUES ('cash', 2, 'team')"
    ));
    device
}

#[test]
fn p8_p6_a_bad_change_of_each_kind_is_parked_with_its_reason_and_the_rest_flows() {
    let world = World::new();
    let device = prepare(&world);
    let bad = bad_changes();
    for (at, bad) in bad.iter().enumerate() {
        device.create_visit("between", &format!("good{at}"));
        device.write(&bad.sql);
    }
    device.create_visit("between", "good at the end");
    let report = device.sync();
    assert_eq!(report.status, SyncStatus::Incomplete, "{report:?}");
    assert_eq!(report.pushed as usize, bad.len() + 1);
    assert_eq!(
        report.outcomes.len(),
        2 * bad.len() + 1,
        "one outcome for each change"
    );
    for at in 0..bad.len() {
        assert_eq!(world.effects("visit", "note", &format!("good{at}")), 1);
    }
    let refused = report
        .outcomes
        .iter()
        .filter(|o| o.result != VerdictKind::Applied);
    for (outcome, bad) in refused.zip(&bad) {
        assert_eq!(
            outcome.code.as_ref(),
            Some(&bad.code),
            "{}: {outcome:?}",
            bad.sql
        );
        assert_eq!(outcome.attribute.as_deref(), bad.attribute, "{}", bad.sql);
        let is_conflict = outcome.result == VerdictKind::Conflict;
        assert!(is_conflict || outcome.message.is_some(), "{}", bad.sql);
    }
    let status = device.client.store().status().unwrap();
    assert_eq!((status.pending, status.parked as usize), (0, bad.len()));
    // What the user typed is still there to be read, and parked is no obstacle to anything.
    assert_eq!(device.states("code", "taken"), [ChangeState::Parked]);
    assert_eq!(device.states("note", "too late"), [ChangeState::Parked]);
    assert_eq!(
        device.read("SELECT amount FROM account").as_deref(),
        Some("1")
    );
    let theirs = device
        .changes()
        .into_iter()
        .find_map(|change| change.theirs);
    assert_eq!(theirs.unwrap()["amount"], Value::from(2));
    device.create_visit("later", "later");
    let report = device.sync();
    assert_eq!(report.status, SyncStatus::Completed, "{report:?}");
    assert_eq!(world.effects("visit", "note", "later"), 1);
    let changed = "SELECT count(*) FROM audit WHERE new LIKE '%mine%' OR new LIKE '%orphan%' \
                   OR new LIKE '%forbidden%' OR new LIKE '%too late%'";
    assert_eq!(world.value(changed), 0.into());
}

#[test]
fn p8_a_bad_change_refuses_its_group_and_holds_what_depends_on_it() {
    let world = World::new();
    let device = prepare(&world);
    let group = "00000000-0000-4000-8000-0000000002";
    device.write(&format!(
        "INSERT INTO visit (id, place, note) VALUES ('{group}01', 'a', 'whole or not'); \
         INSERT INTO visit (id, place, score) VALUES ('{group}02', 'b', -1); \
         INSERT INTO account VALUES ('linked', 1, 'linked')"
    ));
    device.write(&format!(
        "INSERT INTO finding VALUES ('{group}01', 1, 'dependant')"
    ));
    device.write(&format!(
        "UPDATE visit SET special = 'edit' WHERE id = '{group}02'"
    ));
    device.write("INSERT INTO account VALUES ('free', 1, 'free')");
    let report = device.sync();
    assert_eq!(report.status, SyncStatus::Incomplete, "{report:?}");
    let codes: Vec<_> = report
        .outcomes
        .iter()
        .filter_map(|o| o.code.clone())
        .collect();
    let count = |code| codes.iter().filter(|c| **c == code).count();
    assert_eq!(
        (count(Code::GROUP_REFUSED), count(Code::CHECK_FAILED)),
        (2, 1),
        "{codes:?}"
    );
    assert_eq!(
        world.value("SELECT count(*) FROM visit WHERE id LIKE '%0000002%'"),
        0.into()
    );
    assert_eq!(world.effects("account", "tag", "linked"), 0);
    assert_eq!(world.effects("account", "tag", "free"), 1);

    // Sent in one request with its predecessor, a dependant is answered by the server; sent
    // later it is held. Either way it is not lost, and visible.
    for (attribute, value) in [("text", "dependant"), ("special", "edit")] {
        let states = device.states(attribute, value);
        let waits = [ChangeState::Parked, ChangeState::Held];
        assert!(
            matches!(states.as_slice(), [state] if waits.contains(state)),
            "{states:?}"
        );
    }
    device.write(&format!(
        "INSERT INTO finding VALUES ('{group}01', 2, 'later')"
    ));
    let report = device.sync();
    assert_eq!(report.pushed, 0, "{report:?}");
    assert_eq!(device.states("text", "later"), [ChangeState::Held]);
    assert_eq!(
        device.read("SELECT count(*) FROM finding").as_deref(),
        Some("2")
    );
}

#[test]
fn p6_last_write_wins_and_what_it_replaced_is_in_the_ledger() {
    let world = World::new();
    world.team_writes(&format!(
        "INSERT INTO visit (id, place, note, score) VALUES ('{TAKEN}', 'harbour', 'zero', 1)"
    ));
    let ann = world.downloaded("ann-phone", "ann");
    let ben = world.downloaded("ben-phone", "ben");
    ann.write("UPDATE visit SET note = 'anns', score = 2");
    ben.write("UPDATE visit SET note = 'bens', place = 'market'");
    assert_eq!(ann.sync().status, SyncStatus::Completed);
    assert_eq!(ben.sync().status, SyncStatus::Completed);
    world.drain(&ann);
    world.drain(&ben);
    let row = "SELECT note || ' ' || place || ' ' || score FROM visit";
    assert_eq!(world.value(row), "bens market 2".to_owned().into());
    for device in [&ann, &ben] {
        assert_eq!(device.read(row).as_deref(), Some("bens market 2"));
        assert_eq!(device.count(ChangeState::Settled), 1);
    }
    let overwritten = |user: &str| {
        let sql = "SELECT verdicts FROM afield_ledger WHERE user = ?1";
        let verdicts: Vec<u8> = world.team().query_row(sql, [user], |r| r.get(0)).unwrap();
        read_verdicts(&verdicts).unwrap().remove(0).overwritten
    };
    let expected = [("note".to_owned(), Value::from("anns"))];
    assert_eq!(overwritten("ben"), expected.into());
    assert!(overwritten("ann").is_empty());
}

#[test]
fn p2_a_refusal_whose_answer_was_lost_stays_a_refusal() {
    let world = World::new();
    let device = prepare(&world);
    device.write(&bad_changes().remove(0).sql);
    let (team, mut asked) = (world.team(), 0);
    world.proxy.rule(move |_| {
        asked += 1;
        if asked == 1 {
            return Fault::LoseAnswer;
        }
        // The reason is gone, the verdict is not.
        team.execute_batch("UPDATE visit SET code = 'free'")
            .unwrap();
        Fault::Pass
    });
    let report = device.sync();
    assert_eq!(report.status, SyncStatus::Incomplete, "{report:?}");
    assert_eq!(report.outcomes[0].code, Some(Code::UNIQUE));
    assert_eq!(
        world.effects("visit", "code", "taken"),
        1,
        "only the team's"
    );
}

#[test]
fn p6_what_the_server_made_of_an_edit_is_no_foreign_edit_to_the_next() {
    let world = World::new();
    world.team_writes(&format!(
        "INSERT INTO visit (id, place, note) VALUES ('{TAKEN}', 'harbour', 'ZERO'); \
         CREATE TRIGGER upper AFTER UPDATE OF note ON visit WHEN NEW.note <> upper(NEW.note) \
         BEGIN UPDATE visit SET note = upper(NEW.note) WHERE id = NEW.id; END"
    ));
    let device = world.downloaded("phone", "ann");
    device.write("UPDATE visit SET note = 'one'");
    let gate = Gate::default();
    let mut held = Some(gate.clone());
    world.proxy.rule(move |_| match held.take() {
        Some(gate) => Fault::HoldAnswer(gate),
        None => Fault::Pass,
    });
    thread::scope(|scope| {
        scope.spawn(|| device.sync());
        gate.wait_reached();
        device.write("UPDATE visit SET note = 'two'");
        gate.open();
    });
    world.drain(&device);
    assert_eq!(
        device.read("SELECT note FROM visit").as_deref(),
        Some("TWO")
    );
    let ledger = rows(&world.team(), "SELECT verdicts FROM afield_ledger");
    assert_eq!(ledger.len(), 2);
    for entry in ledger {
        let Cell::Blob(verdicts) = &entry[0] else {
            panic!("{entry:?}");
        };
        let verdicts = read_verdicts(verdicts).unwrap();
        assert!(verdicts[0].overwritten.is_empty(), "{verdicts:?}");
    }
}
