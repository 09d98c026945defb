//! A row of somebody else's and a row that is not there get the same answer, byte by byte.

use afield_protocol::codec::write_verdicts;
use afield_protocol::{Change, Code, Group, Op, Value, VerdictKind};

use super::super::pushes::{assert_refused, change, create, delete, group, set, update};
use super::tables::{FOREIGN, MINE, MISSING};
use super::{ada, dump, nothing, push_as, push_one, saw};
use crate::storage::conformance::Database;

/// An entity's key of Eve's row, that of no row, an attribute, and the value that Eve's row has.
type Kind = (&'static str, Vec<Value>, Vec<Value>, &'static str, Value);

fn kinds() -> Vec<Kind> {
    let marker = || Value::from(super::MARKER);
    vec![
        (
            "site",
            vec![FOREIGN.into()],
            vec![MISSING.into()],
            "title",
            marker(),
        ),
        ("task", vec![2.into()], vec![3.into()], "label", marker()),
        (
            "shelf",
            vec![2.into(), 2.into()],
            vec![2.into(), 9.into()],
            "words",
            marker(),
        ),
        ("pin", vec![2.into()], vec![3.into()], "kind", "k".into()),
        ("bin", vec![2.into()], vec![3.into()], "words", marker()),
        ("box", vec!["b".into()], vec!["c".into()], "words", marker()),
        (
            "member",
            vec!["me".into()],
            vec!["mx".into()],
            "region",
            "south".into(),
        ),
        ("project", vec![2.into()], vec![3.into()], "name", marker()),
    ]
}

/// Everything that can be done to a row but to create it: edits and deletes of somebody who saw
/// it as it is, otherwise, or not at all; of a counter, of its scope, of what it has already.
fn done_to(entity: &str, key: &[Value], name: &str, value: &Value) -> Vec<Vec<Change>> {
    let on = |op, values: &[(&str, Value)]| change(op, entity, key.to_vec(), values);
    let edit = || on(Op::Update, &[(name, "k".into())]);
    let same = || on(Op::Update, &[(name, value.clone())]);
    let single = [
        edit(),
        same(),
        saw(edit(), &[(name, value.clone())]),
        saw(edit(), &[(name, "stale".into())]),
        saw(same(), &[(name, "stale".into())]),
        on(Op::Update, &[]),
        on(Op::Update, &[("unknown", 1.into())]),
        on(Op::Delete, &[]),
        saw(on(Op::Delete, &[]), &[(name, value.clone())]),
        saw(on(Op::Delete, &[]), &[(name, "stale".into())]),
    ];
    let mut groups: Vec<Vec<Change>> = single.into_iter().map(|change| vec![change]).collect();
    groups.push(vec![on(Op::Delete, &[]), edit()]);
    groups.push(vec![edit(), on(Op::Delete, &[])]);
    groups
}

/// The whole outcome; only the identifiers that were sent differ, and none stands in it.
pub fn p7_foreign_and_missing_rows_are_answered_alike(db: &mut dyn Database) {
    let before = dump(db);
    let mut id = 0;
    let mut answer = |changes: Vec<Change>| {
        id += 1;
        let outcomes = push_as(db, &ada(), &[group(id, changes)]);
        write_verdicts(&outcomes[0].verdicts)
    };
    for (entity, foreign, missing, name, value) in kinds() {
        let foreign = done_to(entity, &foreign, name, &value);
        let missing = done_to(entity, &missing, name, &value);
        for (foreign, missing) in foreign.into_iter().zip(missing) {
            let shown = format!("{foreign:?}");
            assert_eq!(answer(foreign), answer(missing), "{shown}");
        }
    }
    assert_eq!(dump(db), before, "something was written");
    // Another region holds, and the answers are no longer alike.
    db.execute("INSERT INTO member VALUES ('ms', 'ada', 'south')");
    let edit = |id: &str| update("site", id, &[("title", "k".into())]);
    assert_ne!(answer(vec![edit(FOREIGN)]), answer(vec![edit(MISSING)]));
}

/// A group that was folded from one that took effect shows the rows as they are: but not these.
pub fn p7_foreign_rows_in_a_known_part_are_answered_alike(db: &mut dyn Database) {
    let known = group(1, vec![update("site", MINE, &[("title", "first".into())])]);
    assert!(push_as(db, &ada(), std::slice::from_ref(&known))[0].is_applied());
    let before = dump(db);
    let mut id = 1;
    let mut answer = |changes: Vec<Change>| {
        id += 1;
        let folded = Group {
            absorbed: vec![known.id],
            ..group(id, changes)
        };
        push_as(db, &ada(), &[folded]).remove(0).verdicts
    };
    for (entity, foreign, missing, name, value) in kinds() {
        let made = |key: &[Value]| vec![change(Op::Create, entity, key.to_vec(), &[])];
        let mut pairs: Vec<(Vec<Change>, Vec<Change>)> = done_to(entity, &foreign, name, &value)
            .into_iter()
            .zip(done_to(entity, &missing, name, &value))
            .collect();
        pairs.push((made(&foreign), made(&missing)));
        for (foreign, missing) in pairs {
            let shown = format!("{foreign:?}");
            let answers = (answer(foreign), answer(missing));
            assert_eq!(answers.0, answers.1, "{shown}");
        }
    }
    let mine = answer(vec![update("site", MINE, &[])]);
    assert!(
        format!("{mine:?}").contains("first"),
        "the user's own row is shown"
    );
    assert_eq!(dump(db), before, "something was written");
}

/// A create must be told that its identifier is taken, and is told no more.
pub fn p7_a_taken_identifier_tells_nothing_else(db: &mut dyn Database) {
    let before = dump(db);
    for (at, (entity, foreign, _, name, value)) in (1..).zip(kinds()) {
        let mut told = Vec::new();
        for (id, value) in [(at, value), (at + 100, Value::Null)] {
            let verdict = push_one(
                db,
                id,
                change(Op::Create, entity, foreign.clone(), &[(name, value)]),
            );
            assert_refused(&verdict, Code::KEY_TAKEN, None);
            assert_eq!(
                (&verdict.values, &verdict.overwritten),
                (&nothing(), &nothing())
            );
            assert_eq!(
                (&verdict.theirs, &verdict.key),
                (&None, &None),
                "{verdict:?}"
            );
            told.push(write_verdicts(&[verdict]));
        }
        assert_eq!(
            told[0], told[1],
            "{entity}: whether the values are the same is not told"
        );
    }
    assert_eq!(dump(db), before, "something was written");
    let own = create("site", MINE, &[("title", "mine".into())]);
    assert_eq!(push_one(db, 90, own).kind, VerdictKind::Applied);
    let own = create("site", MINE, &[("title", "x".into())]);
    let verdict = push_one(db, 91, own);
    assert_refused(&verdict, Code::KEY_EXISTS, None);
    assert!(verdict.theirs.is_some(), "the user's own row is shown");
    assert_eq!(
        push_one(db, 92, delete("site", FOREIGN)),
        push_one(db, 93, delete("site", MISSING))
    );
    assert_eq!(set(&[]), nothing());
}
