//! What is noted of refused groups, and what is not.

use afield_protocol::{Closed, Closing, Code, VerdictKind};
use serde_json::json;

use super::super::pushes::company;
use super::super::retention::{KEPT, purge};
use super::*;
use crate::storage::inbox::{INBOX_CHANGES, INBOX_OF_USER, InboxState};

/// A conflict with both versions and what was seen; a repeat, here and after a restart, notes
/// nothing more.
pub fn p6_a_conflict_is_noted_once(db: &mut dyn Database) {
    let n = conflict(db, 1);
    let entry = all(db).remove(0);
    assert_eq!((entry.n, entry.user.as_str()), (n, "ada"));
    assert_eq!((entry.device.as_str(), entry.group), (DEVICE, id(1)));
    assert_eq!((entry.at, entry.place), (1_000, 0));
    assert_eq!((entry.entity.as_str(), entry.op), ("card", Op::Update));
    assert_eq!(entry.key, json!([1]));
    assert_eq!(entry.result, VerdictKind::Conflict);
    assert_eq!(entry.code, Some(Code::ROW_CHANGED));
    let base = json!({ "a": 1, "b": 5, "n": 10, "order_no": null });
    assert_eq!(entry.base, Some(base));
    assert_eq!(entry.mine, Some(json!({ "a": 2 })));
    let theirs = json!({ "a": 9, "b": 5, "n": 10, "order_no": null });
    assert_eq!(entry.theirs, Some(theirs));
    assert_eq!(entry.state, InboxState::Open);
    for _ in 0..2 {
        let seen = [("a", 1.into()), ("b", 5.into()), ("n", 10.into())];
        let again = saw(update("card", 1, &[("a", 2.into())]), &seen);
        push(db, &[group(1, vec![again])]);
        assert_eq!(all(db).len(), 1);
        db.restart();
    }
}

/// Of a group each change is noted, in order; what was applied, and what comes again by itself, is
/// not. A name that the model does not have, with a zero in it, is no reason to fail.
pub fn p6_every_change_of_a_refused_group_is_noted(db: &mut dyn Database) {
    company(db);
    let odd = "no\0thing";
    push(
        db,
        &[
            group(1, vec![create("stock", 1, &[])]),
            group(
                2,
                vec![
                    create("stock", 2, &[("words", "w".into())]),
                    create("company", "b", &[("name", "Able".into())]),
                ],
            ),
            group(3, vec![update("stock", 2, &[("words", "behind".into())])]),
            group(4, vec![create(odd, 1, &[])]),
        ],
    );
    let found = all(db);
    let seen: Vec<_> = found
        .iter()
        .map(|it| (it.group, it.place, it.code.as_ref().map(Code::as_str)))
        .collect();
    assert_eq!(
        seen,
        [
            (id(2), 0, Some("group-refused")),
            (id(2), 1, Some("unique")),
            (id(4), 0, Some("unknown-entity")),
        ],
        "the third waits for the second, and is sent again"
    );
    assert!(found.windows(2).all(|two| two[0].n < two[1].n));
    assert_eq!(found[1].theirs, None);
    assert_eq!(found[2].entity, "no\u{fffd}thing");
}

/// A group that stands in the place of a refused one closes it, and only its own user's.
pub fn p6_a_group_that_is_sent_again_closes_its_entry(db: &mut dyn Database) {
    let n = conflict(db, 1);
    let again = |byte| afield_protocol::Group {
        absorbed: vec![id(1)],
        ..group(
            byte,
            vec![saw(
                update("card", 1, &[("a", 3.into())]),
                &[("a", 9.into())],
            )],
        )
    };
    let eve = Caller::user("eve");
    db.storage()
        .push(db.model(), &eve, &[again(7)])
        .expect("the push works");
    let state = |db: &dyn Database| {
        let entry = all(db).into_iter().rfind(|it| it.n == n);
        let entry = entry.expect("it is noted");
        (entry.state, entry.decision, entry.into)
    };
    assert_eq!(state(db), (InboxState::Open, None, None));
    push(db, &[again(2)]);
    let word = Some("sent-again".to_owned());
    assert_eq!(state(db), (InboxState::Closed, word, Some(id(2))));
    assert_eq!(decide(db, n, Choice::Mine, 9), DecideOutcome::Already);
    let how = |how| Closed { group: id(1), how };
    let close = |user, how| db.storage().close(user, &[how]).expect("it is noted");
    close("eve", how(Closing::Dropped));
    close("ada", how(Closing::Mine));
    close("ada", how(Closing::Dropped));
    assert_eq!(
        state(db).1.as_deref(),
        Some("mine"),
        "the first that is told"
    );
}

/// A user keeps so many refused groups; the oldest leave, what his device must be told stays, and
/// no push fails for it. A large group is noted without its values.
pub fn p9_the_inbox_is_bounded(db: &mut dyn Database) {
    let n = conflict(db, 1);
    assert_eq!(decide(db, n, Choice::Theirs, 9), DecideOutcome::Done);
    let most = INBOX_OF_USER + 20;
    let group_of = |at: usize| {
        let mut bytes = [2; 16];
        bytes[..8].copy_from_slice(&at.to_be_bytes());
        let change = update("stock", 1_000_000 + at as i64, &[("words", "w".into())]);
        afield_protocol::Group::new(GroupId(bytes), vec![change])
    };
    let groups: Vec<_> = (0..most).map(group_of).collect();
    for some in groups.chunks(200) {
        let outcomes = db.storage().push(db.model(), &ada(), some);
        assert_eq!(outcomes.expect("the push works").len(), some.len());
    }
    let found = all(db);
    assert_eq!(found.len(), INBOX_OF_USER);
    assert_eq!(found[0].n, n, "its device does not know yet");
    let newest = format!("[{}]", 1_000_000 + most - 1);
    assert_eq!(found[INBOX_OF_USER - 1].key.to_string(), newest);
    let many = (0..=INBOX_CHANGES as i64)
        .map(|at| create("line", at, &[]))
        .collect();
    db.storage()
        .push(db.model(), &ada(), &[group(3, many)])
        .expect("the push works");
    let entry = all(db).pop().expect("it is noted");
    assert_eq!((entry.group, entry.mine), (id(3), None));
    assert_eq!(
        decide(db, entry.n, Choice::Mine, 8),
        DecideOutcome::TooLarge
    );
    assert_eq!(decide(db, entry.n, Choice::Theirs, 8), DecideOutcome::Done);
}

/// What the ledger forgets, the inbox forgets.
pub fn p9_the_inbox_is_forgotten_with_the_ledger(db: &mut dyn Database) {
    let n = conflict(db, 1);
    db.execute("INSERT INTO stock (words) VALUES ('time passes')");
    purge(db, 2_000);
    db.execute("INSERT INTO stock (words) VALUES ('time passes')");
    assert_eq!(all(db).len(), 1);
    purge(db, 2_000 + 4 * KEPT);
    assert_eq!(all(db), []);
    assert_eq!(decide(db, n, Choice::Mine, 9), DecideOutcome::Unknown);
    // Its number is not given again.
    db.execute("DELETE FROM card");
    assert!(conflict(db, 2) > n);
}
