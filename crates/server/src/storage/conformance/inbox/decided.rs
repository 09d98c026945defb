//! Decisions: what becomes of the rows, and who was first.

use afield_protocol::{Code, FIRST_TEMPORARY, Group, Origin};

use super::super::pushes::{cell, company, delete};
use super::*;
use crate::storage::inbox::InboxState;

const T: i64 = FIRST_TEMPORARY;

/// What was typed, over the row as it is now; once. The ledger says that the refused group took
/// effect, so that its user's own version comes too late.
pub fn p2_mine_is_applied_once(db: &mut dyn Database) {
    let n = conflict(db, 1);
    db.execute("UPDATE card SET b = 6 WHERE id = 1");
    assert_eq!(decide(db, n, Choice::Mine, 9), DecideOutcome::Done);
    let row = || {
        (
            number(db, "SELECT a FROM card"),
            number(db, "SELECT b FROM card"),
        )
    };
    assert_eq!(row(), (Some(2), Some(6)));
    let entry = all(db).remove(0);
    assert_eq!(entry.state, InboxState::Decided);
    assert_eq!(entry.decision.as_deref(), Some("mine"));
    assert_eq!(entry.decided_by.as_deref(), Some("dora"));
    assert_eq!((entry.decided_at, entry.into), (Some(1_000), Some(id(9))));
    for choice in [Choice::Mine, Choice::Theirs] {
        assert_eq!(decide(db, n, choice, 8), DecideOutcome::Already);
    }
    let late = Group {
        absorbed: vec![id(1)],
        ..group(
            2,
            vec![saw(
                update("card", 1, &[("a", 3.into())]),
                &[("a", 9.into())],
            )],
        )
    };
    let verdict = push(db, &[late]).remove(0).verdicts.remove(0);
    assert_eq!(verdict.code, Some(Code::ABSORBED_KNOWN));
    assert_eq!(row(), (Some(2), Some(6)));
    assert_eq!(decide(db, 1_000, Choice::Mine, 7), DecideOutcome::Unknown);
}

/// Its user was faster: nothing is decided.
pub fn p2_a_decision_behind_the_users_own_does_nothing(db: &mut dyn Database) {
    let n = conflict(db, 1);
    let own = Group {
        absorbed: vec![id(1)],
        ..group(
            2,
            vec![saw(
                update("card", 1, &[("a", 3.into())]),
                &[
                    ("a", 9.into()),
                    ("b", 5.into()),
                    ("n", 10.into()),
                    ("order_no", Value::Null),
                ],
            )],
        )
    };
    assert!(push(db, &[own])[0].is_applied());
    assert_eq!(decide(db, n, Choice::Mine, 9), DecideOutcome::Already);
    assert_eq!(number(db, "SELECT a FROM card"), Some(3));
}

/// The row stays; nobody applies the group any more unless its user sends it again.
pub fn p6_theirs_leaves_the_row(db: &mut dyn Database) {
    let n = conflict(db, 1);
    assert_eq!(decide(db, n, Choice::Theirs, 9), DecideOutcome::Done);
    assert_eq!(number(db, "SELECT a FROM card"), Some(9));
    let entry = all(db).remove(0);
    assert_eq!((entry.state, entry.into), (InboxState::Decided, None));
}

/// A value that a constraint refuses is corrected, and the whole group with it is applied. Until
/// then nothing of it is, and nothing is decided.
pub fn p6_set_corrects_a_change_of_its_group(db: &mut dyn Database) {
    company(db);
    let visit = "0190b3a1-5c1e-7cc3-98a1-000000000001";
    let changes = vec![
        create("visit", visit, &[("company", "b".into())]),
        create(
            "company",
            "b",
            &[("name", "Able".into()), ("rank", 3.into())],
        ),
    ];
    db.storage()
        .push(db.model(), &ada(), &[group(1, changes)])
        .expect("the push works");
    let found = all(db);
    let (first, second) = (found[0].n, found[1].n);
    let refused = |outcome| match outcome {
        DecideOutcome::Refused { place, verdict } => (place, verdict.code, verdict.attribute),
        other => panic!("{other:?}"),
    };
    let taken = (1, Some(Code::UNIQUE), Some("name".to_owned()));
    assert_eq!(refused(decide(db, first, Choice::Mine, 9)), taken);
    let negative = attributes(&[("name", "Bee".into()), ("rank", (-1).into())]);
    let failed = (1, Some(Code::CHECK_FAILED), Some("rank".to_owned()));
    assert_eq!(
        refused(decide(db, second, Choice::Set(negative), 9)),
        failed
    );
    let unknown = attributes(&[("nothing", 1.into())]);
    let odd = (1, Some(Code::UNKNOWN_ATTRIBUTE), Some("nothing".to_owned()));
    assert_eq!(refused(decide(db, second, Choice::Set(unknown), 9)), odd);
    assert_eq!(number(db, "SELECT count(*) FROM company"), Some(1));
    assert_eq!(number(db, "SELECT count(*) FROM visit"), Some(0));
    assert_eq!(all(db), found, "nothing is decided");
    let good = attributes(&[("name", "Bee".into())]);
    assert_eq!(
        decide(db, second, Choice::Set(good), 9),
        DecideOutcome::Done
    );
    let name = cell(db, "SELECT name FROM company WHERE code = 'b'");
    assert_eq!(name, Some("Bee".into()));
    assert_eq!(number(db, "SELECT count(*) FROM visit"), Some(1));
    assert!(all(db).iter().all(|it| it.state == InboxState::Decided));
}

/// A reference that nothing stands behind is found at the commit, or before: nothing is decided.
pub fn p6_a_decision_cannot_break_a_reference(db: &mut dyn Database) {
    let visit = "0190b3a1-5c1e-7cc3-98a1-000000000001";
    let lost = [("company", "none".into())];
    push(db, &[group(1, vec![create("visit", visit, &lost)])]);
    let n = all(db)[0].n;
    match decide(db, n, Choice::Mine, 9) {
        DecideOutcome::Refused { place: 0, verdict } => {
            assert_eq!(verdict.code, Some(Code::REFERENCE));
        }
        other => panic!("{other:?}"),
    }
    db.execute("INSERT INTO company VALUES ('none', 'None', 1)");
    assert_eq!(decide(db, n, Choice::Mine, 8), DecideOutcome::Done);
    assert_eq!(number(db, "SELECT count(*) FROM visit"), Some(1));
}

/// Deletes: of a row that changed meanwhile, with values that it cannot have, of one that is gone.
/// An update of a row that is gone is gone for everybody.
pub fn p6_deletes_and_gone_rows_are_decided(db: &mut dyn Database) {
    db.execute("INSERT INTO card VALUES (1, 9, 5, 10, NULL)");
    db.execute("INSERT INTO card VALUES (2, 9, 5, 10, NULL)");
    let gone = saw(delete("card", 1), &[("a", 1.into())]);
    let also = saw(delete("card", 2), &[("a", 1.into())]);
    let lost = update("card", 3, &[("a", 1.into())]);
    push(
        db,
        &[
            group(1, vec![gone]),
            group(2, vec![also]),
            group(3, vec![lost]),
        ],
    );
    let numbers: Vec<i64> = all(db).iter().map(|it| it.n).collect();
    let values = Choice::Set(attributes(&[("a", 1.into())]));
    assert_eq!(
        decide(db, numbers[0], values, 9),
        DecideOutcome::SetsDeleted
    );
    assert_eq!(decide(db, numbers[0], Choice::Mine, 9), DecideOutcome::Done);
    db.execute("DELETE FROM card WHERE id = 2");
    assert_eq!(decide(db, numbers[1], Choice::Mine, 8), DecideOutcome::Done);
    assert_eq!(number(db, "SELECT count(*) FROM card"), Some(0));
    match decide(db, numbers[2], Choice::Mine, 7) {
        DecideOutcome::Refused { verdict, .. } => assert_eq!(verdict.code, Some(Code::GONE)),
        other => panic!("{other:?}"),
    }
}

/// A counter is still the difference that was made; a corrected one is the whole number.
pub fn p6_counters_are_decided_as_differences(db: &mut dyn Database) {
    db.execute("INSERT INTO card VALUES (1, 9, 5, 10, NULL)");
    db.execute("INSERT INTO card VALUES (2, 9, 5, 10, NULL)");
    let seen = [("a", 1.into()), ("n", 10.into())];
    let mine = |id| {
        let values = [("a", 2.into()), ("n", 13.into())];
        saw(update("card", id, &values), &seen)
    };
    push(db, &[group(1, vec![mine(1)]), group(2, vec![mine(2)])]);
    db.execute("UPDATE card SET n = 20");
    let numbers: Vec<i64> = all(db).iter().map(|it| it.n).collect();
    assert_eq!(decide(db, numbers[0], Choice::Mine, 9), DecideOutcome::Done);
    let whole = Choice::Set(attributes(&[("n", 7.into())]));
    assert_eq!(decide(db, numbers[1], whole, 8), DecideOutcome::Done);
    let n = |id| number(db, &format!("SELECT n FROM card WHERE id = {id}"));
    assert_eq!((n(1), n(2)), (Some(23), Some(7)));
}

/// A create under a temporary identifier gets its number with the decision, and what its device
/// made on it meanwhile finds it by the refused group.
pub fn p1_what_depends_on_a_decided_create_finds_its_row(db: &mut dyn Database) {
    db.execute("INSERT INTO orders (label, total) VALUES ('taken', 1)");
    push(
        db,
        &[group(
            1,
            vec![create("orders", T, &[("label", "taken".into())])],
        )],
    );
    let n = all(db)[0].n;
    let free = Choice::Set(attributes(&[("label", "free".into())]));
    assert_eq!(decide(db, n, free, 9), DecideOutcome::Done);
    let made = number(db, "SELECT id FROM orders WHERE label = 'free'");
    let line = Change {
        key: vec![T.into(), 1.into()],
        ..create("order_line", T, &[("words", "w".into())])
    };
    let child = Group {
        origins: vec![Origin {
            entity: "orders".into(),
            temporary: T,
            group: id(1),
            at: 0,
        }],
        ..group(2, vec![line])
    };
    assert!(push(db, &[child])[0].is_applied());
    assert_eq!(number(db, "SELECT order_no FROM order_line"), made);
}

/// A create of a row that is there becomes an update of it.
pub fn p6_a_create_over_a_row_that_exists_is_decided(db: &mut dyn Database) {
    db.execute("INSERT INTO stock (id, shelf, words) VALUES (1, 3, 'theirs')");
    push(
        db,
        &[group(
            1,
            vec![create("stock", 1, &[("words", "mine".into())])],
        )],
    );
    let n = all(db)[0].n;
    assert_eq!(decide(db, n, Choice::Mine, 9), DecideOutcome::Done);
    let rows = db.query("SELECT shelf, words FROM stock");
    assert_eq!(rows, [[Value::from(3), "mine".into()]]);
}

/// A decision may do what its user may: by his claims when the change came, and by what he holds
/// now. For the tables of the rights.
pub fn p7_a_decision_has_the_rights_of_its_user(db: &mut dyn Database) {
    db.execute("INSERT INTO shelf VALUES (5, 5, 'blue', 'marker-eve')");
    let site = "0190b3a1-5c1e-7cc3-98a1-000000000003";
    let shelf = Change {
        key: vec![5.into(), 5.into()],
        ..create("shelf", 5, &[("owner", "red".into())])
    };
    let groups = [
        group(1, vec![create("pin", 3, &[("owner", "eve".into())])]),
        group(2, vec![shelf]),
        group(3, vec![create("site", site, &[("region", "south".into())])]),
    ];
    let red = super::super::rights::ada();
    db.storage()
        .push(db.model(), &red, &groups)
        .expect("the push works");
    let numbers: Vec<i64> = all(db).iter().map(|it| it.n).collect();
    let code = |outcome| match outcome {
        DecideOutcome::Refused { verdict, .. } => verdict.code,
        other => panic!("{other:?}"),
    };
    let forbidden = Some(Code::FORBIDDEN);
    assert_eq!(code(decide(db, numbers[0], Choice::Mine, 9)), forbidden);
    let hers = Choice::Set(attributes(&[("owner", "ada".into())]));
    assert_eq!(decide(db, numbers[0], hers, 9), DecideOutcome::Done);
    let taken = Some(Code::KEY_TAKEN);
    assert_eq!(code(decide(db, numbers[1], Choice::Mine, 8)), taken);
    db.execute("DELETE FROM shelf WHERE hall = 5");
    assert_eq!(decide(db, numbers[1], Choice::Mine, 8), DecideOutcome::Done);
    assert_eq!(code(decide(db, numbers[2], Choice::Mine, 7)), forbidden);
    db.execute("INSERT INTO member VALUES ('more', 'ada', 'south')");
    assert_eq!(decide(db, numbers[2], Choice::Mine, 7), DecideOutcome::Done);
    // Nothing of Eve's is in what was noted of Ada's.
    let noted = format!("{:?}", all(db));
    assert!(!noted.contains(super::super::rights::MARKER), "{noted}");
}
