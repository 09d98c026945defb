//! What devices are told of decisions.

use afield_protocol::{Closed, Closing, Decided, FIRST_TEMPORARY, VerdictKind};

use super::*;

fn decisions(db: &dyn Database, caller: &Caller) -> Vec<Decided> {
    let decided = db.storage().decisions(db.model(), caller);
    decided.expect("the database works")
}

/// The device that sent the group is told until it says that it knows; no other, and no other user.
pub fn p7_a_decision_is_told_to_its_device_until_it_says_so(db: &mut dyn Database) {
    let n = conflict(db, 1);
    assert_eq!(decisions(db, &ada()), []);
    let corrected = Choice::Set(attributes(&[("b", 7.into())]));
    assert_eq!(decide(db, n, corrected, 9), DecideOutcome::Done);
    for _ in 0..2 {
        let told = decisions(db, &ada());
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].group, told[0].into), (id(1), Some(id(9))));
        assert_eq!((told[0].by.as_str(), told[0].at_ms), ("dora", 1_000_000));
        let verdict = &told[0].verdicts[0];
        assert_eq!(verdict.kind, VerdictKind::Applied);
        assert_eq!(verdict.values, attributes(&[("b", 7.into())]));
        db.restart();
    }
    let others = [
        Caller::user("ada"),
        Caller {
            device: DEVICE.into(),
            ..Caller::user("eve")
        },
    ];
    let told = Closed {
        group: id(1),
        how: Closing::Told,
    };
    for other in &others {
        assert_eq!(decisions(db, other), []);
    }
    let say = |user: &str| db.storage().close(user, &[told]).expect("it is noted");
    say("eve");
    assert_eq!(decisions(db, &ada()).len(), 1);
    say("ada");
    assert_eq!(decisions(db, &ada()), []);
    assert!(all(db)[0].told);
}

/// What a device says itself does not hide from it what was decided here.
pub fn p6_a_device_that_decided_too_is_told(db: &mut dyn Database) {
    let n = conflict(db, 1);
    assert_eq!(decide(db, n, Choice::Theirs, 9), DecideOutcome::Done);
    let own = Closed {
        group: id(1),
        how: Closing::Mine,
    };
    db.storage().close("ada", &[own]).expect("it is noted");
    let told = decisions(db, &ada());
    assert_eq!((told[0].into, told[0].verdicts.len()), (None, 0));
    let entry = all(db).remove(0);
    assert_eq!(entry.decision.as_deref(), Some("theirs"));
    assert!(!entry.told);
}

/// The identifier that a create got is told with it.
pub fn p2_a_decision_tells_new_identifiers(db: &mut dyn Database) {
    db.execute("INSERT INTO orders (label, total) VALUES ('taken', 1)");
    let made = create("orders", FIRST_TEMPORARY, &[("label", "taken".into())]);
    db.storage()
        .push(db.model(), &ada(), &[group(1, vec![made])])
        .expect("the push works");
    db.execute("UPDATE orders SET label = 'other'");
    assert_eq!(
        decide(db, all(db)[0].n, Choice::Mine, 9),
        DecideOutcome::Done
    );
    let number = number(db, "SELECT id FROM orders WHERE label = 'taken'");
    let told = decisions(db, &ada()).remove(0);
    let key = told.verdicts[0].key.clone();
    assert_eq!(key, number.map(|number| vec![number.into()]));
}

/// A checkpoint that goes out behind a decision contains it: a restore to before is noticed.
pub fn p1_a_checkpoint_behind_a_decision_contains_it(db: &mut dyn Database) {
    let n = conflict(db, 1);
    db.copy();
    assert_eq!(decide(db, n, Choice::Mine, 9), DecideOutcome::Done);
    assert_eq!(decisions(db, &ada()).len(), 1);
    let seen = db.storage().checkpoint();
    assert!(db.storage().knows(&seen).expect("the database works"));
    db.restore();
    assert!(!db.storage().knows(&seen).expect("the database works"));
    let offered = afield_protocol::History {
        checkpoint: seen,
        groups: vec![id(9)],
    };
    let lost = db.storage().lost("ada", &[offered]);
    assert_eq!(lost.expect("the database works"), [id(9)]);
}

/// One row of Ada's that the decision hands on: its values are not hers to see any more.
pub fn p7_a_decision_tells_nothing_of_rows_that_left(db: &mut dyn Database) {
    let n = conflict(db, 1);
    let corrected = Choice::Set(attributes(&[("b", 7.into())]));
    assert_eq!(decide(db, n, corrected, 9), DecideOutcome::Done);
    db.execute("DELETE FROM card");
    let told = decisions(db, &ada()).remove(0);
    assert_eq!(told.verdicts[0].values, attributes(&[]));
}
