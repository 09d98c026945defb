//! Rows that are handed on, or made for others.

use afield_protocol::codec::Format;
use afield_protocol::{
    Change, Code, FIRST_TEMPORARY, Group, Origin, Position, Theirs, Value, Verdict, VerdictKind,
};

use super::super::pushes::{assert_refused, cell, create, delete, group, update};
use super::{ada, codes, nothing, push, push_as, push_one, saw};
use crate::storage::conformance::Database;
use crate::storage::{Caller, PullRequest};

const T: i64 = FIRST_TEMPORARY;

fn red(who: &str) -> Caller {
    let mut caller = Caller::user(who);
    caller.claims.insert("team".into(), "red".into());
    caller
}

/// Job 1 to Bob.
fn hand_on() -> Change {
    saw(
        update("job", 1, &[("owner", "bob".into())]),
        &[("owner", "ada".into())],
    )
}

/// It is applied, and leaves its old owner with his next pull; its new one gets it with his.
pub fn p1_a_row_is_handed_on_and_leaves(db: &mut dyn Database) {
    let (first, position) = pull(db, &ada(), None);
    assert!(first.contains("mine") && first.contains("other"), "{first}");
    let (theirs, bobs) = pull(db, &red("bob"), None);
    assert!(!theirs.contains("mine"), "{theirs}");
    assert_eq!(push_one(db, 1, hand_on()), Verdict::applied());
    let (delta, _) = pull(db, &ada(), Some(position));
    assert!(
        delta.contains("\"gone\"") && !delta.contains("mine"),
        "{delta}"
    );
    let (delta, _) = pull(db, &red("bob"), Some(bobs));
    assert!(delta.contains("mine"), "{delta}");
    let (fresh, _) = pull(db, &ada(), None);
    assert!(
        !fresh.contains("mine") && fresh.contains("other"),
        "{fresh}"
    );
}

/// What a pull of the jobs brings, as JSON lines, and the position after it.
fn pull(db: &dyn Database, caller: &Caller, from: Option<Position>) -> (String, Position) {
    let request = PullRequest {
        caller: caller.clone(),
        held: Vec::new(),
        now: 1_000,
        chosen: Vec::new(),
        entities: vec![("job".into(), from)],
        rows_max: 100,
        bytes_max: usize::MAX,
        compare: Default::default(),
    };
    let page = db.storage().pull(db.model(), &request);
    let page = page.expect("the pull works");
    assert!(page.end.complete);
    let mut text = Vec::new();
    for frame in &page.frames {
        Format::JsonLines.write(&db.model().device, frame, &mut text);
    }
    let (_, position) = page.end.to[0].clone();
    (String::from_utf8_lossy(&text).into_owned(), position)
}

/// In a group behind it, and from a copy of the device that did not know.
pub fn p7_a_row_handed_on_is_nobodys_to_edit_any_more(db: &mut dyn Database) {
    let title = |to: &str| update("job", 1, &[("title", to.into())]);
    let outcomes = push_as(
        db,
        &ada(),
        &[
            group(1, vec![title("first")]),
            group(2, vec![hand_on()]),
            group(3, vec![title("late")]),
            group(4, vec![update("step", "p1", &[("words", "late".into())])]),
            group(5, vec![delete("job", 1)]),
            group(6, vec![hand_on()]),
        ],
    );
    let found: Vec<_> = outcomes.iter().map(|o| codes(&o.verdicts)[0]).collect();
    let expected = ["applied", "applied", "gone", "gone", "applied", "gone"];
    assert_eq!(found, expected);
    let job = "SELECT owner || ':' || title FROM job WHERE id = 1";
    assert_eq!(cell(db, job), Some("bob:first".into()));
    let edit = update("job", 1, &[("title", "bob's".into())]);
    assert!(push_as(db, &red("bob"), &[group(7, vec![edit])])[0].is_applied());
}

/// Neither at once nor in a repeat: what the author overwrote unseen was read by him no more, and
/// what became of the row is another's. The ledger keeps it, and tells it if the row comes back.
pub fn p7_nothing_is_told_of_a_row_that_was_handed_on(db: &mut dyn Database) {
    db.execute("UPDATE job SET title = 'unseen' WHERE id = 1");
    let unseen = saw(
        update("job", 1, &[("owner", "bob".into()), ("title", "x".into())]),
        &[("owner", "ada".into()), ("title", "mine".into())],
    );
    let groups = [group(1, vec![unseen])];
    for _ in 0..2 {
        let verdicts = push_as(db, &ada(), &groups).remove(0).verdicts;
        assert_eq!(verdicts, [Verdict::applied()]);
    }
    db.execute("UPDATE job SET owner = 'ada' WHERE id = 1");
    let verdict = push_as(db, &ada(), &groups).remove(0).verdicts.remove(0);
    assert_eq!(
        verdict.overwritten,
        [("title".to_owned(), "unseen".into())].into(),
        "the ledger has it"
    );
    // A conflict of a group that hands on shows the row only as long as it is the user's.
    let stale = saw(
        update("step", "p1", &[("words", "x".into())]),
        &[("words", "stale".into())],
    );
    let groups = [group(2, vec![hand_on(), stale])];
    let verdicts = push_as(db, &ada(), &groups).remove(0).verdicts;
    assert_eq!(codes(&verdicts), ["group-refused", "row-changed"]);
    assert!(matches!(verdicts[1].theirs, Some(Theirs::Row(_))));
    db.execute("UPDATE job SET owner = 'bob' WHERE id = 1");
    let verdicts = push_as(db, &ada(), &groups).remove(0).verdicts;
    assert_eq!(verdicts[1].theirs, Some(Theirs::Gone));
    assert_eq!(verdicts[0].values, nothing());
}

/// A job for Bob is numbered like any other; a step of it comes in the same transaction, and no
/// later: a row that was made for others is referred to like theirs.
pub fn p1_rows_made_for_others_have_their_numbers_and_their_children(db: &mut dyn Database) {
    let job = |id: i64, owner: &str| {
        create(
            "job",
            id,
            &[("owner", owner.into()), ("team", "red".into())],
        )
    };
    let step = |id: &str, job: Value| create("step", id, &[("job", job)]);
    let made = group(1, vec![job(T, "bob"), step("s1", T.into())]);
    let outcome = push_as(db, &ada(), std::slice::from_ref(&made)).remove(0);
    assert!(outcome.is_applied(), "{outcome:?}");
    let Some([Value::Integer(number)]) = outcome.verdicts[0].key.as_deref() else {
        panic!("{outcome:?}");
    };
    let owner = format!("SELECT owner FROM job WHERE id = {number}");
    assert_eq!(cell(db, &owner), Some("bob".into()));
    let parent = "SELECT job FROM step WHERE id = 's1'";
    assert_eq!(cell(db, parent), Some((*number).into()));
    let repeat = push_as(db, &ada(), std::slice::from_ref(&made)).remove(0);
    assert_eq!(repeat, outcome);
    // Before its parent, and as a row that refers to one of its own kind.
    let twins = group(
        2,
        vec![step("s2", T.into()), job(T, "bob"), job(T + 1, "eve")],
    );
    assert!(push_as(db, &ada(), &[twins])[0].is_applied());
    let child = update(
        "job",
        1,
        &[("owner", "bob".into()), ("parent", (T + 5).into())],
    );
    let both = group(3, vec![child, job(T + 5, "bob")]);
    assert!(push_as(db, &ada(), &[both])[0].is_applied());
    let origin = Origin {
        entity: "job".into(),
        temporary: T,
        group: made.id,
        at: 0,
    };
    let late = Group {
        origins: vec![origin],
        ..group(4, vec![step("s3", T.into())])
    };
    let verdict = push_as(db, &ada(), &[late]).remove(0).verdicts.remove(0);
    assert_refused(&verdict, Code::REFERENCE, Some("job"));
    for (id, job) in [(5, *number), (6, 3), (7, 99)] {
        let foreign = push(db, id, vec![step("s4", job.into())]);
        assert_eq!(codes(&foreign), ["reference"], "{job}");
    }
    assert_eq!(
        push_one(db, 8, step("s4", 4.into())).kind,
        VerdictKind::Applied
    );
}
