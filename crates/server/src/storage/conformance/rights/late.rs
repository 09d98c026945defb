//! The order of a group's changes, where one of them takes a row from its author.

use afield_protocol::{Change, Value};

use super::super::pushes::{cell, delete, update};
use super::{codes, dump, push, saw};
use crate::storage::conformance::Database;

fn hand_on(job: i64) -> Change {
    update("job", job, &[("owner", "bob".into())])
}

fn note(step: &str, seen: &str, words: &str) -> Change {
    saw(
        update("step", step, &[("words", words.into())]),
        &[("words", seen.into())],
    )
}

fn stamp(words: &str) -> Change {
    update("stamp", "t1", &[("words", words.into())])
}

/// A device sends what is referred to before what refers to it: the job that is handed on, then
/// the steps that were edited before it was.
pub fn p8_what_is_handed_on_comes_last_whatever_the_order(db: &mut dyn Database) {
    let steps = || {
        vec![
            hand_on(1),
            note("p1", "one", "a"),
            note("p2", "two", "b"),
            stamp("c"),
        ]
    };
    let texts = "SELECT words FROM step WHERE job = 1 UNION ALL SELECT words FROM stamp \
                 WHERE id = 't1' ORDER BY words";
    for (id, turn) in (1..).zip(0..4) {
        let mut changes = steps();
        changes.rotate_left(turn);
        let verdicts = push(db, id, changes);
        assert_eq!(codes(&verdicts), ["applied"; 4], "{verdicts:?}");
        assert_eq!(db.query(texts), [["a".into()], ["b".into()], ["c".into()]]);
        db.execute(
            "UPDATE job SET owner = 'ada' WHERE id = 1; UPDATE stamp SET words = 'one' \
             WHERE id = 't1'; UPDATE step SET words = 'one' WHERE id = 'p1'; \
             UPDATE step SET words = 'two' WHERE id = 'p2'",
        );
    }
    // One after the other: the step goes to another job, which is handed on too.
    let moved = saw(
        update("step", "p1", &[("job", 4.into())]),
        &[("job", 1.into())],
    );
    let verdicts = push(db, 10, vec![hand_on(4), hand_on(1), moved, stamp("d")]);
    assert_eq!(codes(&verdicts), ["applied"; 4], "{verdicts:?}");
    let moved = "SELECT step.job || stamp.words FROM step JOIN stamp ON step.id = stamp.step \
                 WHERE stamp.id = 't1'";
    assert_eq!(cell(db, moved), Some("4d".into()));
}

/// It would have nothing to do any more, and the row would stay for ever.
pub fn p1_a_delete_behind_what_is_handed_on_is_done(db: &mut dyn Database) {
    let seen = saw(delete("step", "p2"), &[("words", "two".into())]);
    let verdicts = push(db, 1, vec![hand_on(1), stamp("x"), seen]);
    assert_eq!(codes(&verdicts), ["applied"; 3]);
    let left = "SELECT count(*) FROM step WHERE id = 'p2'";
    assert_eq!(cell(db, left), Some(0.into()));
    assert_eq!(
        cell(db, "SELECT owner FROM job WHERE id = 1"),
        Some("bob".into())
    );
    // Of rows that are not there, or another's, there is nothing to do.
    let verdicts = push(
        db,
        2,
        vec![hand_on(4), delete("step", "p3"), delete("step", "p9")],
    );
    assert_eq!(codes(&verdicts), ["applied"; 3]);
    let left = "SELECT count(*) FROM step WHERE id = 'p3'";
    assert_eq!(cell(db, left), Some(1.into()));
}

/// What is handed on is handed on, for the changes of that very row.
pub fn p7_several_changes_of_one_row_keep_their_order(db: &mut dyn Database) {
    let before = dump(db);
    let title = || update("job", 1, &[("title", "x".into())]);
    let verdicts = push(db, 1, vec![hand_on(1), title()]);
    assert_eq!(codes(&verdicts), ["group-refused", "gone"]);
    let back = update("job", 1, &[("owner", "ada".into())]);
    let verdicts = push(db, 2, vec![hand_on(1), note("p1", "one", "a"), back]);
    assert_eq!(verdicts[2].code, Some(afield_protocol::Code::GONE));
    assert_eq!(dump(db), before);
    let verdicts = push(db, 3, vec![title(), hand_on(1)]);
    assert_eq!(codes(&verdicts), ["applied", "applied"]);
}

/// Another order is tried only for rows that were the author's before: what he opens himself, and
/// closes again, is not.
pub fn p7_a_forged_order_opens_nothing(db: &mut dyn Database) {
    let before = dump(db);
    let take = || update("step", "p3", &[("words", "x".into())]);
    let lead = |step: &str, job: i64| update("step", step, &[("job", job.into())]);
    let groups: [Vec<Change>; 7] = [
        vec![hand_on(1), take()],
        vec![take(), hand_on(1)],
        vec![hand_on(1), take(), note("p1", "one", "a")],
        vec![hand_on(3), take()],
        vec![update("job", 3, &[("owner", "ada".into())]), take()],
        vec![lead("p1", 3), take()],
        vec![hand_on(1), lead("p3", 4), delete("job", 3)],
    ];
    for (id, changes) in (1..).zip(groups) {
        let shown = format!("{changes:?}");
        let verdicts = push(db, id, changes);
        let told = format!("{verdicts:?}");
        assert!(!told.contains(super::MARKER), "{told}");
        assert_eq!(dump(db), before, "{shown}: {told}");
    }
    let edit = update("memo", "b", &[("words", Value::from("x"))]);
    let verdicts = push(db, 20, vec![hand_on(1), edit]);
    assert_eq!(codes(&verdicts), ["group-refused", "forbidden"]);
    assert_eq!(dump(db), before);
}
