//! The row before a change and the row after it.

use afield_protocol::{Change, Code, FIRST_TEMPORARY, Op, Value, Verdict};

use super::super::pushes::{assert_refused, cell, change, create, delete, group, set, update};
use super::tables::{FOREIGN, MINE, MISSING};
use super::{ada, codes, dump, eve, member, push, push_as, push_one, retitle, saw, site};
use crate::storage::conformance::Database;

const T: i64 = FIRST_TEMPORARY;

/// Changes whose rows would not be Ada's, each with the attribute that its refusal names.
fn leaving() -> Vec<(Change, Option<&'static str>)> {
    let shelf = |op, owner: Value| {
        let place = if op == Op::Create { 9 } else { 1 };
        let values = [("owner", owner)];
        let shelf = change(op, "shelf", vec![1.into(), place.into()], &values);
        saw(shelf, &[("owner", "red".into())])
    };
    let task = |values: &[(&str, Value)]| create("task", T, values);
    vec![
        (
            site(Op::Update, MINE, &[("region", "south".into())]),
            Some("region"),
        ),
        (
            site(Op::Update, MINE, &[("region", Value::Null)]),
            Some("region"),
        ),
        (
            site(Op::Update, MINE, &[("region", "nowhere".into())]),
            Some("region"),
        ),
        (
            site(Op::Create, MISSING, &[("region", "south".into())]),
            Some("region"),
        ),
        (
            site(Op::Create, MISSING, &[("region", Value::Null)]),
            Some("region"),
        ),
        (site(Op::Create, MISSING, &[("title", "x".into())]), None),
        (site(Op::Create, MISSING, &[]), None),
        (shelf(Op::Update, "blue".into()), Some("owner")),
        (shelf(Op::Update, Value::Null), Some("owner")),
        (shelf(Op::Update, "RED".into()), Some("owner")),
        (shelf(Op::Create, "blue".into()), Some("owner")),
        (member("x", "eve", "north"), Some("who")),
        (
            update("member", "ma", &[("who", "eve".into())]),
            Some("who"),
        ),
        (task(&[("owner", "eve".into())]), Some("owner")),
        (
            task(&[("owner", "eve".into()), ("site", FOREIGN.into())]),
            Some("site"),
        ),
        (task(&[("label", "x".into())]), None),
        (create("project", T, &[("name", "x".into())]), None),
        (create("project", 7, &[("name", "x".into())]), None),
    ]
}

/// Into another scope, into none, and out of one of two ways without the other.
pub fn p7_rows_do_not_end_outside_the_scope(db: &mut dyn Database) {
    let before = dump(db);
    for (id, (change, attribute)) in (1..).zip(leaving()) {
        let shown = format!("{change:?}");
        let verdict = push_one(db, id, change);
        assert_refused(&verdict, Code::FORBIDDEN, attribute);
        let message = verdict.message.clone().unwrap_or_default();
        assert!(
            !message.contains("eve") && !message.contains("south"),
            "{message}"
        );
        let bare = Verdict::rejected(Code::FORBIDDEN, message);
        assert_eq!(
            Verdict {
                attribute: None,
                ..verdict
            },
            bare,
            "{shown}"
        );
        assert_eq!(dump(db), before, "{shown}");
    }
    // One way in is enough, whichever it is.
    let by_site = update("task", 1, &[("owner", "eve".into())]);
    let by_site = saw(by_site, &[("owner", "ada".into())]);
    assert_eq!(codes(&push(db, 100, vec![by_site])), ["applied"]);
    let neither = update("task", 1, &[("site", Value::Null)]);
    let neither = saw(neither, &[("site", MINE.into())]);
    assert_eq!(codes(&push(db, 101, vec![neither])), ["forbidden"]);
}

/// The culprit is named, in every place, and what the others did goes with it.
pub fn p7_a_group_that_ends_outside_leaves_nothing(db: &mut dyn Database) {
    let before = dump(db);
    let project = |name: &str| update("project", 1, &[("name", name.into())]);
    let kinds = [
        retitle(MINE, "edited"),
        delete("pin", 1),
        create("pin", 8, &[("owner", "ada".into())]),
    ];
    for culprit in 0..=kinds.len() {
        let mut changes = kinds.to_vec();
        changes.insert(
            culprit,
            site(Op::Create, MISSING, &[("region", "south".into())]),
        );
        let id = u8::try_from(culprit).expect("few") + 1;
        let outcomes = push_as(
            db,
            &ada(),
            &[group(id, changes), group(id + 10, vec![project("beside")])],
        );
        let mut expected = vec!["group-refused"; 4];
        expected[culprit] = "forbidden";
        assert_eq!(codes(&outcomes[0].verdicts), expected);
        assert_eq!(codes(&outcomes[1].verdicts), ["applied"], "the rest flows");
        db.execute("UPDATE project SET name = 'mine' WHERE id = 1");
        assert_eq!(dump(db), before);
    }
}

/// A box is its team's, and no device knows the column.
pub fn p7_a_scope_column_that_is_not_on_the_device_is_named(db: &mut dyn Database) {
    let verdict = push_one(db, 1, create("box", "n", &[("words", "w".into())]));
    assert_refused(&verdict, Code::FORBIDDEN, None);
    let message = verdict.message.unwrap_or_default();
    assert!(
        message.contains("`team`") && message.contains("add it"),
        "{message}"
    );
    let edit = saw(
        update("box", "a", &[("words", "w".into())]),
        &[("words", "mine".into())],
    );
    assert_eq!(codes(&push(db, 2, vec![edit])), ["applied"]);
    assert_eq!(cell(db, "SELECT count(*) FROM box"), Some(2.into()));
}

/// Grants, moves and memberships written before, by whomever, count; taken ones no longer.
pub fn p7_rights_are_asked_at_that_moment(db: &mut dyn Database) {
    assert_eq!(codes(&push(db, 1, vec![retitle(FOREIGN, "x")])), ["gone"]);
    db.execute("INSERT INTO member VALUES ('m2', 'ada', 'south')");
    assert_eq!(
        codes(&push(db, 2, vec![retitle(FOREIGN, "x")])),
        ["applied"]
    );
    db.execute("DELETE FROM member WHERE id = 'm2'");
    assert_eq!(codes(&push(db, 3, vec![retitle(FOREIGN, "y")])), ["gone"]);
    // Earlier in the same envelope: a membership, and a row that comes and goes with it.
    let outcomes = push_as(
        db,
        &ada(),
        &[
            group(4, vec![retitle(FOREIGN, "a")]),
            group(5, vec![member("m3", "ada", "south")]),
            group(6, vec![retitle(FOREIGN, "b")]),
            group(
                7,
                vec![site(Op::Update, MINE, &[("region", "south".into())])],
            ),
            group(8, vec![delete("member", "m3")]),
            group(9, vec![retitle(FOREIGN, "c")]),
            group(10, vec![retitle(MINE, "d")]),
            group(11, vec![delete("site", FOREIGN)]),
        ],
    );
    let found: Vec<_> = outcomes.iter().map(|o| codes(&o.verdicts)[0]).collect();
    let expected = [
        "gone", "applied", "applied", "applied", "applied", "gone", "gone", "applied",
    ];
    assert_eq!(found, expected);
    let titles = db.query("SELECT title FROM site ORDER BY id");
    assert_eq!(titles, [[Value::from("mine")], ["b".into()]]);
    // The row of a path's middle decides for the rows behind it.
    let edit = saw(
        update("task", 1, &[("label", "e".into())]),
        &[("label", "mine".into())],
    );
    db.execute("UPDATE task SET owner = 'eve'");
    assert_eq!(codes(&push(db, 12, vec![edit.clone()])), ["gone"]);
    assert!(push_as(db, &eve(), &[group(12, vec![edit])])[0].is_applied());
}

/// A device does not know in which order rights come about: a row before the membership that
/// makes it the user's, and one that the server numbers and the membership names.
pub fn p8_the_order_within_a_group_does_not_matter_to_rights(db: &mut dyn Database) {
    let new = site(Op::Create, MISSING, &[("region", "south".into())]);
    let verdicts = push(db, 1, vec![new, member("m3", "ada", "south")]);
    assert_eq!(codes(&verdicts), ["applied", "applied"]);
    let project = create("project", T, &[("name", "new".into())]);
    let seat = |id: &str| create("seat", id, &[("who", "ada".into()), ("project", T.into())]);
    for (id, changes) in [
        (2, vec![project.clone(), seat("s2")]),
        (3, vec![seat("s3"), project.clone()]),
    ] {
        let verdicts = push(db, id, changes);
        assert_eq!(codes(&verdicts), ["applied", "applied"], "{verdicts:?}");
    }
    let seated = "SELECT count(*) FROM project JOIN seat ON seat.project = project.id \
                  WHERE project.name = 'new' AND seat.who = 'ada'";
    assert_eq!(cell(db, seated), Some(2.into()));
    let foreign = create(
        "seat",
        "s4",
        &[("who", "eve".into()), ("project", T.into())],
    );
    let verdicts = push(db, 4, vec![project, foreign]);
    assert_eq!(codes(&verdicts), ["forbidden", "group-refused"]);
    assert_eq!(cell(db, "SELECT count(*) FROM project"), Some(4.into()));
}

/// What a change writes that is refused in the end never opens a row to another: no look at it,
/// no edit, and no delete that is gone again when the group is through.
pub fn p7_a_forged_grant_opens_nothing(db: &mut dyn Database) {
    let before = dump(db);
    let grant = || {
        let owner = [("owner", "blue".into()), ("words", "ada".into())];
        change(Op::Create, "shelf", vec![2.into(), 5.into()], &owner)
    };
    let back = || change(Op::Delete, "shelf", vec![2.into(), 5.into()], &[]);
    let look = || {
        saw(
            update("bin", 2, &[("words", "x".into())]),
            &[("words", "y".into())],
        )
    };
    let take = || {
        saw(
            delete("bin", 2),
            &[("words", super::MARKER.into()), ("hall", 2.into())],
        )
    };
    let groups: [Vec<Change>; 6] = [
        vec![grant(), look(), back()],
        vec![grant(), take(), back()],
        vec![grant(), look()],
        vec![grant(), take()],
        vec![look(), grant()],
        vec![take(), grant(), take(), back()],
    ];
    for (id, changes) in (1..).zip(groups) {
        let shown = format!("{changes:?}");
        let verdicts = push(db, id, changes);
        let told = format!("{verdicts:?}");
        assert!(
            !told.contains(super::MARKER) && !told.contains("theirs: Some"),
            "{told}"
        );
        assert_eq!(dump(db), before, "{shown}: {told}");
    }
}

/// Fine when it was written, and nobody's when the group is through.
pub fn p7_rows_that_leave_at_the_end_of_a_group_are_refused(db: &mut dyn Database) {
    let before = dump(db);
    let verdicts = push(db, 1, vec![retitle(MINE, "x"), delete("member", "ma")]);
    assert_eq!(codes(&verdicts), ["forbidden", "group-refused"]);
    assert_eq!(dump(db), before);
    let label = || update("task", 1, &[("label", "x".into()), ("owner", Value::Null)]);
    let seen = [("label", "mine".into()), ("owner", "ada".into())];
    let moved = site(Op::Update, MINE, &[("region", Value::Null)]);
    let verdicts = push(db, 2, vec![saw(label(), &seen), moved]);
    assert_eq!(codes(&verdicts), ["group-refused", "forbidden"]);
    assert_eq!(dump(db), before);
    assert_eq!(
        codes(&push(db, 3, vec![delete("member", "ma")])),
        ["applied"]
    );
    assert_eq!(set(&[]), super::nothing());
}
