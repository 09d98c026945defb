//! `write` and `write_to` on every kind of change.

use afield_protocol::codec::write_verdicts;
use afield_protocol::{Change, Code, FIRST_TEMPORARY, Op, Value, VerdictKind};

use super::super::pushes::{assert_refused, cell, change, create, delete, update};
use super::{codes, dump, push, push_one, saw};
use crate::storage::conformance::Database;

const T: i64 = FIRST_TEMPORARY;

fn memo(op: Op, id: &str, values: &[(&str, Value)]) -> Change {
    change(op, "memo", vec![id.into()], values)
}

fn letter(op: Op, id: &str, values: &[(&str, Value)]) -> Change {
    change(op, "letter", vec![id.into()], values)
}

/// A memo of the team that another wrote is read, and not changed: whatever the edit, whether it
/// conflicts, would change nothing, or was written by who never saw it.
pub fn p7_only_rows_that_may_be_written_are_written(db: &mut dyn Database) {
    let before = dump(db);
    let seen = || [("words", Value::from("seen"))];
    let words = |to: &str| memo(Op::Update, "b", &[("words", to.into())]);
    for (id, change) in (1..).zip([
        words("x"),
        saw(words("x"), &seen()),
        saw(words("x"), &[("words", "stale".into())]),
        saw(words("seen"), &seen()),
        memo(Op::Update, "b", &[("author", "ada".into())]),
        memo(Op::Update, "b", &[("team", "blue".into())]),
        memo(Op::Update, "b", &[]),
        delete("memo", "b"),
        saw(delete("memo", "b"), &seen()),
        saw(delete("memo", "b"), &[("words", "stale".into())]),
    ]) {
        let shown = format!("{change:?}");
        let verdict = push_one(db, id, change);
        assert_refused(&verdict, Code::FORBIDDEN, None);
        assert_eq!(verdict.theirs, None, "{shown}");
        let message = verdict.message.unwrap_or_default();
        assert!(message.contains("`author`"), "{message}");
        assert!(!message.contains("bob"), "{message}");
    }
    assert_eq!(dump(db), before, "something was written");
    let stale = saw(
        memo(Op::Update, "a", &[("words", "x".into())]),
        &[("words", "stale".into())],
    );
    assert_eq!(codes(&push(db, 20, vec![stale])), ["row-changed"]);
    let mine = |to: &str| {
        saw(
            memo(Op::Update, "a", &[("words", to.into())]),
            &[("words", "mine".into())],
        )
    };
    assert_eq!(codes(&push(db, 21, vec![mine("x")])), ["applied"]);
    // Its own author may give it away, and then not take it back.
    let away = saw(
        memo(Op::Update, "a", &[("author", "bob".into())]),
        &[("author", "ada".into())],
    );
    assert_eq!(codes(&push(db, 22, vec![away])), ["applied"]);
    let back = memo(Op::Update, "a", &[("author", "ada".into())]);
    assert_eq!(codes(&push(db, 23, vec![back])), ["forbidden"]);
    assert_eq!(
        codes(&push(db, 24, vec![delete("memo", "a")])),
        ["forbidden"]
    );
    // A create has no row before, and is asked for the row after alone.
    let new = |team: &str| {
        create(
            "memo",
            "n",
            &[("team", team.into()), ("author", "x".into())],
        )
    };
    assert_eq!(codes(&push(db, 25, vec![new("blue")])), ["forbidden"]);
    assert_eq!(codes(&push(db, 26, vec![new("red")])), ["applied"]);
    let taken = create("memo", "b", &[("words", "x".into())]);
    assert_eq!(codes(&push(db, 27, vec![taken])), ["key-exists"]);
}

/// `write` never reaches beyond the scope, whatever it says: not by its author's name, and not as
/// everyone's. Rows of others and none are answered alike.
pub fn p7_who_may_write_everything_still_writes_only_what_he_reads(db: &mut dyn Database) {
    let before = dump(db);
    let mut id = 0;
    for (entity, foreign, missing) in [("memo", "c", "z"), ("memo", "d", "z"), ("wide", "b", "z")] {
        let forged = |op, key: &str| {
            let owner = if entity == "wide" { "owner" } else { "author" };
            let set: &[(&str, Value)] = match op {
                Op::Delete => &[],
                _ => &[("words", "x".into()), (owner, "ada".into())],
            };
            change(op, entity, vec![key.into()], set)
        };
        for op in [Op::Update, Op::Delete] {
            let mut answer = |key: &str| {
                id += 1;
                push(db, id, vec![forged(op, key)])
            };
            let (one, other) = (answer(foreign), answer(missing));
            assert_eq!(write_verdicts(&one), write_verdicts(&other), "{entity}");
        }
        id += 1;
        let create = push_one(db, id, forged(Op::Create, foreign));
        assert_refused(&create, Code::KEY_TAKEN, None);
    }
    assert_eq!(dump(db), before, "something was written");
    let mine = update("wide", "a", &[("words", "x".into())]);
    assert_eq!(codes(&push(db, 90, vec![mine])), ["applied"]);
    let away = update("wide", "a", &[("owner", "eve".into())]);
    assert_eq!(
        codes(&push(db, 91, vec![away])),
        ["forbidden"],
        "what it may become is the scope still"
    );
    assert_eq!(codes(&push(db, 92, vec![delete("wide", "a")])), ["applied"]);
}

/// A job goes to anybody of its team, and to no other team's; a delete is asked for no row after.
pub fn p7_rows_become_only_what_they_may_become(db: &mut dyn Database) {
    let before = dump(db);
    let blue = || ("team", Value::from("blue"));
    let null = || ("team", Value::Null);
    let eve = || ("owner", Value::from("eve"));
    let mine = || ("owner", Value::from("ada"));
    for (id, (change, attribute)) in (1..).zip([
        (update("job", 1, &[blue()]), Some("team")),
        (update("job", 1, &[null()]), Some("team")),
        (update("job", 1, &[eve(), blue()]), Some("team")),
        (create("job", T, &[mine(), blue()]), Some("team")),
        (create("job", T, &[mine()]), None),
        (create("job", T, &[eve()]), None),
    ]) {
        let shown = format!("{change:?}");
        let verdict = push_one(db, id, change);
        assert_refused(&verdict, Code::FORBIDDEN, attribute);
        let message = verdict.message.unwrap_or_default();
        assert!(message.contains("`team`"), "{shown}: {message}");
        assert!(!message.contains("blue"), "{shown}: {message}");
    }
    assert_eq!(dump(db), before, "something was written");
    let red = || ("team", Value::from("red"));
    for (id, change) in [
        (20, update("job", 1, &[("title", "x".into())])),
        (21, create("job", T, &[mine(), red()])),
        (22, create("job", T, &[eve(), red()])),
        (23, update("job", 1, &[("owner", "bob".into())])),
        (24, delete("step", "p4")),
        (25, delete("job", 4)),
    ] {
        let shown = format!("{change:?}");
        let verdict = push_one(db, id, change);
        assert_eq!(verdict.kind, VerdictKind::Applied, "{shown}: {verdict:?}");
    }
    let jobs = "SELECT count(*) FROM job WHERE team = 'red' AND owner IN ('eve', 'bob')";
    assert_eq!(cell(db, jobs), Some(3.into()));
}

/// Everybody reads every letter; only its sender writes it, and in his own name.
pub fn p7_both_rules_count_where_a_row_is_read_by_everyone(db: &mut dyn Database) {
    let before = dump(db);
    let sender = |name: &str| ("sender", Value::from(name));
    let words = || ("words", Value::from("x"));
    for (id, (change, code)) in (1..).zip([
        (letter(Op::Update, "b", &[words()]), "forbidden"),
        (letter(Op::Update, "b", &[sender("ada")]), "forbidden"),
        (letter(Op::Delete, "b", &[]), "forbidden"),
        (letter(Op::Update, "a", &[sender("bob")]), "forbidden"),
        (letter(Op::Update, "a", &[sender("ADA")]), "forbidden"),
        (letter(Op::Update, "z", &[words()]), "gone"),
        (letter(Op::Delete, "z", &[]), "applied"),
        (letter(Op::Create, "n", &[words()]), "forbidden"),
        (letter(Op::Create, "n", &[sender("bob")]), "forbidden"),
        (letter(Op::Create, "b", &[words()]), "key-exists"),
    ]) {
        let shown = format!("{change:?}");
        assert_eq!(codes(&push(db, id, vec![change])), [code], "{shown}");
    }
    // In a group too, and nothing of it stays.
    let group = vec![
        letter(Op::Update, "a", &[words()]),
        letter(Op::Update, "b", &[words()]),
    ];
    assert_eq!(codes(&push(db, 20, group)), ["group-refused", "forbidden"]);
    assert_eq!(dump(db), before, "something was written");
    for (id, change) in [
        (30, letter(Op::Create, "n", &[sender("ada")])),
        (31, letter(Op::Update, "n", &[words()])),
        (32, letter(Op::Delete, "n", &[])),
    ] {
        assert_eq!(codes(&push(db, id, vec![change])), ["applied"]);
    }
}

/// What refers to tables that are on no device is not written: neither a value that would be there
/// nor one that would not tells anything, alone or behind others.
pub fn p7_hidden_references_tell_nothing(db: &mut dyn Database) {
    let before = dump(db);
    let badge = |op, id: &str, set: &[(&str, Value)]| change(op, "badge", vec![id.into()], set);
    let mut id = 0;
    let mut answer = |changes: Vec<Change>| {
        id += 1;
        write_verdicts(&push(db, id, changes))
    };
    for op in [Op::Create, Op::Update] {
        let key = if op == Op::Create { "n" } else { "k" };
        let one = |secret: &str| vec![badge(op, key, &[("secret", secret.into())])];
        let beside = |secret: &str| {
            let words = badge(Op::Update, "k", &[("words", "x".into())]);
            let mut changes = one(secret);
            changes.insert(0, words);
            changes
        };
        assert_eq!(answer(one("m")), answer(one("z")));
        assert_eq!(answer(beside("m")), answer(beside("z")));
    }
    let own = |id: &str| vec![badge(Op::Create, id, &[("owner", "ada".into())])];
    assert_eq!(answer(own("m")), answer(own("z")));
    assert_eq!(dump(db), before, "something was written");
    let verdict = push_one(db, 100, badge(Op::Update, "k", &[("secret", "m".into())]));
    assert_refused(&verdict, Code::READ_ONLY, Some("secret"));
    let verdict = push_one(db, 101, own("m").remove(0));
    assert_refused(&verdict, Code::READ_ONLY, Some("id"));
    let words = badge(Op::Update, "k", &[("words", "x".into())]);
    assert_eq!(codes(&push(db, 102, vec![words])), ["applied"]);
    assert_eq!(
        codes(&push(db, 103, vec![delete("badge", "k")])),
        ["applied"]
    );
}
