//! Pushes to tables with rows that count as deleted.

use afield_protocol::{
    Change, Code, FIRST_TEMPORARY, Group, Origin, Theirs, Value, Verdict, VerdictKind,
};

use super::super::Database;
use super::super::mirror::Mirror;
use super::super::pushes::{assert_refused, cell, create, delete, group, push_one, set, update};
use crate::storage::Caller;

fn item(db: &dyn Database, is_active: bool) {
    db.execute(&format!(
        "INSERT INTO item VALUES ('a', 'one', 10, {is_active})"
    ));
}

fn item_now(db: &dyn Database) -> Vec<Vec<Value>> {
    db.query("SELECT label, tally, is_active FROM item WHERE id = 'a'")
}

fn saw(change: Change, base: &[(&str, Value)]) -> Change {
    Change {
        base: set(base),
        ..change
    }
}

/// The row stays, and is gone for devices.
pub fn p6_a_delete_makes_the_condition_hold(db: &mut dyn Database) {
    item(db, true);
    let mut other = Mirror::of(&Caller::user("eve"));
    other.pull(db, &["item"], 10);
    assert_eq!(push_one(db, 1, delete("item", "a")), Verdict::applied());
    assert_eq!(item_now(db), [["one".into(), 10.into(), Value::from(0)]]);
    other.pull(db, &["item"], 10);
    assert!(other.keys("item").is_empty());
    // Twice is no mistake.
    assert_eq!(push_one(db, 2, delete("item", "a")), Verdict::applied());
}

/// Where any value will do, it is the time.
pub fn p6_a_delete_sets_the_servers_time(db: &mut dyn Database) {
    db.execute("INSERT INTO memo VALUES ('x', 'words', NULL)");
    let verdict = push_one(db, 1, delete("memo", "x"));
    assert_eq!(verdict, Verdict::applied());
    let Some(Value::Text(at)) = cell(db, "SELECT removed_at FROM memo") else {
        panic!("no time was set");
    };
    let is_time = at.get(10..11).is_some_and(|c| c == " " || c == "T");
    assert!(is_time && at.len() >= 19, "{at}");
    assert_eq!(cell(db, "SELECT words FROM memo"), Some("words".into()));
}

/// An update finds nothing, whether the row is not there or counts as deleted.
pub fn p6_soft_deleted_rows_are_gone_for_pushes(db: &mut dyn Database) {
    item(db, false);
    let edit = update("item", "a", &[("label", "x".into())]);
    let verdict = push_one(db, 1, edit.clone());
    assert_refused(&verdict, Code::GONE, None);
    assert_eq!(verdict.theirs, None);
    // Even one that would not change anything, or would set the row free if it could.
    let same = update("item", "a", &[("label", "one".into())]);
    assert_refused(&push_one(db, 2, same), Code::GONE, None);
    db.execute("INSERT INTO memo VALUES ('x', 'words', '2024-02-29 10:00:00')");
    let freed = update("memo", "x", &[("removed_at", Value::Null)]);
    assert_refused(&push_one(db, 3, freed), Code::GONE, None);
    assert_eq!(item_now(db), [["one".into(), 10.into(), Value::from(0)]]);
    // A group of which a part took effect through a copy says that nothing is there.
    let absorbed = group(4, vec![create("item", "b", &[])]);
    let caller = Caller::user("ada");
    let applied = db.storage().push(db.model(), &caller, &[absorbed]);
    applied.expect("the push works");
    let folded = Group {
        absorbed: vec![afield_protocol::GroupId([4; 16])],
        ..group(5, vec![edit])
    };
    let outcomes = db.storage().push(db.model(), &caller, &[folded]);
    let verdict = outcomes
        .expect("the push works")
        .remove(0)
        .verdicts
        .remove(0);
    assert_eq!(verdict.code, Some(Code::ABSORBED_KNOWN));
    assert_eq!(verdict.theirs, Some(Theirs::Gone));
}

/// Somebody whose device has the attribute may say himself that the row is deleted.
pub fn p6_a_users_own_update_may_delete(db: &mut dyn Database) {
    db.execute("INSERT INTO memo VALUES ('x', 'words', NULL)");
    let mut other = Mirror::of(&Caller::user("eve"));
    other.pull(db, &["memo"], 10);
    let gone = [("removed_at", "2024-02-29T10:00:00.000000Z".into())];
    let base = [("removed_at", Value::Null), ("words", "words".into())];
    let verdict = push_one(db, 1, saw(update("memo", "x", &gone), &base));
    assert_eq!(verdict, Verdict::applied());
    other.pull(db, &["memo"], 10);
    assert!(other.keys("memo").is_empty());
    let late = update("memo", "x", &[("words", "late".into())]);
    assert_refused(&push_one(db, 2, late), Code::GONE, None);
}

/// A conflict that is told again shows no row that counts as deleted by now.
pub fn p7_a_repeat_tells_nothing_of_a_soft_deleted_row(db: &mut dyn Database) {
    item(db, true);
    let taken = create("item", "a", &[("label", "mine".into())]);
    let first = push_one(db, 1, taken.clone());
    assert!(matches!(first.theirs, Some(Theirs::Row(_))), "{first:?}");
    assert_eq!(push_one(db, 1, taken.clone()), first);
    db.execute("UPDATE item SET is_active = FALSE");
    assert_eq!(push_one(db, 1, taken).theirs, Some(Theirs::Gone));
}

/// The row of the same identifier lives again, with what the create says and, where it says
/// nothing, with what was there.
pub fn p6_a_create_revives_as_an_update(db: &mut dyn Database) {
    item(db, false);
    let mut other = Mirror::of(&Caller::user("eve"));
    other.pull(db, &["item"], 10);
    let made = create("item", "a", &[("label", "new".into())]);
    assert_eq!(push_one(db, 1, made), Verdict::applied());
    assert_eq!(item_now(db), [["new".into(), 10.into(), Value::from(1)]]);
    other.pull(db, &["item"], 10);
    assert_eq!(other.keys("item"), [Value::from("a")]);
    // A live row is a conflict as ever.
    let again = create("item", "a", &[("label", "newer".into())]);
    assert_refused(&push_one(db, 2, again), Code::KEY_EXISTS, None);
    // What the create says of the deciding attribute itself, stands.
    db.execute("INSERT INTO memo VALUES ('x', 'old', '2024-02-29 10:00:00')");
    let values = [("words", "new".into()), ("removed_at", Value::Null)];
    let verdict = push_one(db, 3, create("memo", "x", &values));
    assert_eq!(verdict, Verdict::applied());
    let now = db.query("SELECT words, removed_at FROM memo WHERE id = 'x'");
    assert_eq!(now, [["new".into(), Value::Null]]);
}

/// A delete of what somebody else changed waits for a decision; so it does here.
pub fn p6_soft_deletes_follow_the_conflict_kind(db: &mut dyn Database) {
    db.execute("INSERT INTO memo VALUES ('x', 'theirs', NULL)");
    let base = [("words", "old".into()), ("removed_at", Value::Null)];
    let verdict = push_one(db, 1, saw(delete("memo", "x"), &base));
    assert_refused(&verdict, Code::ROW_CHANGED, None);
    assert!(matches!(verdict.theirs, Some(Theirs::Row(_))));
    assert_eq!(cell(db, "SELECT removed_at FROM memo"), Some(Value::Null));
    let base = [("words", "theirs".into()), ("removed_at", Value::Null)];
    let verdict = push_one(db, 2, saw(delete("memo", "x"), &base));
    assert_eq!(verdict, Verdict::applied());
    // Behind it a create of the key is no conflict.
    let verdict = push_one(db, 3, create("memo", "x", &[("words", "new".into())]));
    assert_eq!(verdict, Verdict::applied());
    assert_eq!(cell(db, "SELECT removed_at FROM memo"), Some(Value::Null));
}

/// Nobody revives what is not his.
pub fn p7_a_foreign_soft_deleted_row_is_a_taken_identifier(db: &mut dyn Database) {
    db.execute("INSERT INTO piece VALUES (7, 'eve', 'hers', 'dead'), (8, 'ada', 'his', 'dead')");
    let made = |id: i64| {
        create(
            "piece",
            id,
            &[("owner", "ada".into()), ("words", "x".into())],
        )
    };
    assert_refused(&push_one(db, 1, made(7)), Code::KEY_TAKEN, None);
    let deleted = push_one(db, 2, delete("piece", 7));
    assert_eq!(deleted, Verdict::applied());
    assert_eq!(push_one(db, 3, made(8)), Verdict::applied());
    let rows = db.query("SELECT owner, words, state FROM piece ORDER BY id");
    let hers: [Value; 3] = ["eve".into(), "hers".into(), "dead".into()];
    assert_eq!(rows, [hers, ["ada".into(), "x".into(), "open".into()]]);
    // And into another's hands it is not revived either.
    db.execute("UPDATE piece SET state = 'dead' WHERE id = 8");
    let given = create("piece", 8, &[("owner", "eve".into())]);
    let verdict = push_one(db, 4, given);
    assert_refused(&verdict, Code::FORBIDDEN, Some("owner"));
    let state = cell(db, "SELECT state FROM piece WHERE id = 8");
    assert_eq!(state, Some("dead".into()));
}

/// The database's own foreign key is content with the row; a push is not.
pub fn p7_references_to_soft_deleted_rows_are_references_to_nothing(db: &mut dyn Database) {
    item(db, false);
    let line = |id: &str| create("line", id, &[("item", "a".into())]);
    let verdict = push_one(db, 1, line("l"));
    assert_refused(&verdict, Code::REFERENCE, Some("item"));
    assert_eq!(cell(db, "SELECT count(*) FROM line"), Some(0.into()));
    // With the create that revives it in the same transaction, in either order, it is fine.
    let both = group(2, vec![line("l"), create("item", "a", &[])]);
    let outcomes = db
        .storage()
        .push(db.model(), &Caller::user("ada"), &[both])
        .expect("the push works");
    assert_eq!(
        outcomes[0].verdicts,
        [Verdict::applied(), Verdict::applied()]
    );
}

/// What refers to a deleted row stays, and can be edited on.
pub fn p3_a_delete_of_a_parent_touches_no_child(db: &mut dyn Database) {
    item(db, true);
    db.execute("INSERT INTO line VALUES ('l', 'a', 'old')");
    assert_eq!(push_one(db, 1, delete("item", "a")), Verdict::applied());
    let edit = update("line", "l", &[("words", "new".into())]);
    assert_eq!(push_one(db, 2, edit).kind, VerdictKind::Applied);
    let rows = db.query("SELECT id, item, words FROM line");
    assert_eq!(rows, [["l".into(), "a".into(), Value::from("new")]]);
}

/// Rows that the server numbers: made, deleted and updated by the device's own identifiers.
pub fn p6_numbered_rows_are_soft_deleted_by_their_temporary_identifiers(db: &mut dyn Database) {
    let caller = Caller::user("ada");
    let made = create("piece", FIRST_TEMPORARY, &[("owner", "ada".into())]);
    let from = |id, change| Group {
        origins: vec![Origin {
            entity: "piece".into(),
            temporary: FIRST_TEMPORARY,
            group: afield_protocol::GroupId([1; 16]),
            at: 0,
        }],
        ..group(id, vec![change])
    };
    let edit = update("piece", FIRST_TEMPORARY, &[("words", "x".into())]);
    let groups = [
        group(1, vec![made]),
        from(2, delete("piece", FIRST_TEMPORARY)),
        from(3, edit),
    ];
    let outcomes = db.storage().push(db.model(), &caller, &groups);
    let outcomes = outcomes.expect("the push works");
    let codes: Vec<_> = outcomes
        .iter()
        .map(|o| o.verdicts[0].code.clone())
        .collect();
    assert_eq!(codes, [None, None, Some(Code::GONE)]);
    let rows = db.query("SELECT owner, words, state FROM piece");
    assert_eq!(rows, [["ada".into(), Value::Null, Value::from("dead")]]);
}

/// A difference to a row that is gone is not added to it.
pub fn p6_counters_of_soft_deleted_rows_do_not_count(db: &mut dyn Database) {
    item(db, false);
    let edit = || {
        saw(
            update("item", "a", &[("tally", 4.into())]),
            &[("tally", 1.into())],
        )
    };
    assert_refused(&push_one(db, 1, edit()), Code::GONE, None);
    assert_eq!(item_now(db), [["one".into(), 10.into(), Value::from(0)]]);
    // Revived, it has what the create says, and counts on from there.
    let made = create("item", "a", &[("tally", 5.into())]);
    assert_eq!(push_one(db, 2, made), Verdict::applied());
    push_one(db, 3, edit());
    assert_eq!(item_now(db), [["one".into(), 8.into(), Value::from(1)]]);
}
