//! Cases of pushing.

use afield_protocol::{
    Attributes, Change, Code, Group, GroupId, GroupOutcome, Op, Theirs, Value, Verdict, VerdictKind,
};

use super::{Database, Replica, assert_same, table};
use crate::storage::Caller;

pub(super) const VISIT: &str = "0190b3a1-5c1e-7cc3-98a1-000000000001";

pub(super) fn set(values: &[(&str, Value)]) -> Attributes {
    values
        .iter()
        .map(|(name, value)| ((*name).to_owned(), value.clone()))
        .collect()
}

pub(super) fn change(op: Op, entity: &str, key: Vec<Value>, values: &[(&str, Value)]) -> Change {
    Change {
        entity: entity.into(),
        op,
        key,
        base: Attributes::new(),
        set: set(values),
    }
}

pub(super) fn create(entity: &str, key: impl Into<Value>, values: &[(&str, Value)]) -> Change {
    change(Op::Create, entity, vec![key.into()], values)
}

pub(super) fn update(entity: &str, key: impl Into<Value>, values: &[(&str, Value)]) -> Change {
    change(Op::Update, entity, vec![key.into()], values)
}

pub(super) fn delete(entity: &str, key: impl Into<Value>) -> Change {
    change(Op::Delete, entity, vec![key.into()], &[])
}

pub(super) fn group(id: u8, changes: Vec<Change>) -> Group {
    Group::new(GroupId([id; 16]), changes)
}

pub(super) fn push(db: &dyn Database, groups: &[Group]) -> Vec<GroupOutcome> {
    let outcomes = db
        .storage()
        .push(db.model(), &Caller::user("ada"), groups)
        .expect("the push works");
    assert_eq!(outcomes.len(), groups.len());
    for (outcome, group) in outcomes.iter().zip(groups) {
        assert_eq!(outcome.group, group.id);
        assert_eq!(outcome.verdicts.len(), group.changes.len());
    }
    outcomes
}

/// Pushes one change and returns its verdict.
pub(super) fn push_one(db: &dyn Database, id: u8, change: Change) -> Verdict {
    push(db, &[group(id, vec![change])])
        .remove(0)
        .verdicts
        .remove(0)
}

pub(super) fn assert_refused(verdict: &Verdict, code: Code, attribute: Option<&str>) {
    assert_ne!(verdict.kind, VerdictKind::Applied, "{verdict:?}");
    assert_eq!(verdict.code, Some(code), "{verdict:?}");
    assert_eq!(verdict.attribute.as_deref(), attribute, "{verdict:?}");
}

pub(super) fn cell(db: &dyn Database, sql: &str) -> Option<Value> {
    db.query(sql).into_iter().flatten().next()
}

pub(super) fn company(db: &dyn Database) {
    db.execute("INSERT INTO company VALUES ('a', 'Able', 1)");
}

/// The three things a device does, and a pull that then holds what the table holds.
pub fn p6_create_update_and_delete_are_applied(db: &mut dyn Database) {
    company(db);
    let made = [("company", "a".into()), ("note", "n".into())];
    let edited = [("note", Value::Null), ("minutes", 5.into())];
    let edit = Change {
        base: set(&[("note", "n".into()), ("minutes", Value::Null)]),
        ..update("visit", VISIT, &edited)
    };
    let groups = [
        group(1, vec![create("visit", VISIT, &made)]),
        group(2, vec![edit]),
    ];
    let outcomes = push(db, &groups);
    assert!(
        outcomes.iter().all(|o| o.verdicts == [Verdict::applied()]),
        "{outcomes:?}"
    );
    let rows = db.query("SELECT company, note, minutes FROM visit");
    assert_eq!(rows, [[Value::from("a"), Value::Null, Value::from(5)]]);
    let mut device = Replica::default();
    device.pull(db, &["visit"], 10);
    assert_same(db, &device, &["visit"]);
    assert_eq!(push_one(db, 3, delete("visit", VISIT)), Verdict::applied());
    device.pull(db, &["visit"], 10);
    assert!(device.rows("visit").is_empty());
    assert_eq!(push_one(db, 4, delete("visit", VISIT)), Verdict::applied());
    assert_refused(
        &push_one(db, 5, update("visit", VISIT, &[("note", "x".into())])),
        Code::GONE,
        None,
    );
}

/// A repeat, with or without a restart between, does nothing and says what was said.
pub fn p2_a_repeat_gets_the_same_answer_and_no_effect(db: &mut dyn Database) {
    let groups = [
        group(1, vec![create("stock", 1, &[("words", "w".into())])]),
        group(2, vec![create("stock", 1, &[("words", "other".into())])]),
    ];
    let first = push(db, &groups);
    assert_eq!(push(db, &groups), first);
    db.restart();
    assert_eq!(push(db, &groups), first);
    assert!(push(db, &[group(3, vec![delete("stock", 1)])])[0].is_applied());
    assert_eq!(push(db, &groups[..1]), first[..1]);
    // Nothing of a row that is no longer there.
    let silent = Verdict {
        theirs: Some(Theirs::Gone),
        ..first[1].verdicts[0].clone()
    };
    assert_eq!(push(db, &groups[1..])[0].verdicts, [silent]);
    assert!(
        table(db, "stock").is_empty(),
        "the repeated create did not bring the row back"
    );
    assert_refused(&first[1].verdicts[0], Code::KEY_EXISTS, None);
}

/// Somebody edits the row before the repeat of a lost answer comes: his edit stays.
pub fn p2_a_foreign_edit_between_lost_answer_and_repeat_stays(db: &mut dyn Database) {
    db.execute("INSERT INTO stock (id, words) VALUES (1, 'before')");
    let groups = [group(
        1,
        vec![update("stock", 1, &[("words", "mine".into())])],
    )];
    let first = push(db, &groups);
    db.execute("UPDATE stock SET words = 'theirs' WHERE id = 1");
    assert_eq!(push(db, &groups), first);
    assert_eq!(cell(db, "SELECT words FROM stock"), Some("theirs".into()));
}

/// The answer is final, whatever has changed since.
pub fn p2_a_refusal_is_repeated_even_when_its_reason_is_gone(db: &mut dyn Database) {
    db.execute("INSERT INTO stock (id, code) VALUES (1, 'taken')");
    let groups = [group(
        1,
        vec![create("stock", 2, &[("code", "taken".into())])],
    )];
    let first = push(db, &groups);
    assert_refused(&first[0].verdicts[0], Code::UNIQUE, Some("code"));
    db.execute("DELETE FROM stock");
    assert_eq!(push(db, &groups), first);
    assert!(table(db, "stock").is_empty());
}

/// The same id with other contents is never applied.
pub fn p2_an_altered_repeat_is_refused(db: &mut dyn Database) {
    let first = push(
        db,
        &[group(1, vec![create("stock", 1, &[("words", "a".into())])])],
    );
    let altered = vec![
        create("stock", 1, &[("words", "b".into())]),
        create("stock", 2, &[("words", "b".into())]),
    ];
    let outcome = push(db, &[group(1, altered)]).remove(0);
    for verdict in &outcome.verdicts {
        assert_refused(verdict, Code::HASH_MISMATCH, None);
    }
    assert_eq!(table(db, "stock").len(), 1);
    let again = push(
        db,
        &[group(1, vec![create("stock", 1, &[("words", "a".into())])])],
    );
    assert_eq!(
        again, first,
        "the altered one changed nothing in the ledger"
    );
}

/// A copy of the device sent a part alone; the folded group must not apply it again.
pub fn p2_known_parts_of_a_folded_group_make_a_conflict(db: &mut dyn Database) {
    push(
        db,
        &[group(1, vec![create("stock", 1, &[("words", "a".into())])])],
    );
    let mut folded = group(2, vec![create("stock", 1, &[("words", "b".into())])]);
    folded.absorbed = vec![GroupId([9; 16]), GroupId([1; 16])];
    let outcomes = push(db, std::slice::from_ref(&folded));
    let verdict = &outcomes[0].verdicts[0];
    assert_refused(verdict, Code::ABSORBED_KNOWN, None);
    let Some(Theirs::Row(row)) = &verdict.theirs else {
        panic!("{verdict:?}");
    };
    assert_eq!(row.get("words"), Some(&"a".into()));
    assert_eq!(cell(db, "SELECT words FROM stock"), Some("a".into()));
    assert_eq!(push(db, &[folded]), outcomes);
}

/// The folded group came first; the part that a copy of the device still has comes after it.
pub fn p2_parts_of_a_folded_group_that_come_late_make_a_conflict(db: &mut dyn Database) {
    let mut folded = group(2, vec![create("stock", 1, &[("words", "later".into())])]);
    folded.absorbed = vec![GroupId([1; 16])];
    assert!(push(db, &[folded])[0].is_applied());
    let part = [group(
        1,
        vec![update("stock", 1, &[("words", "earlier".into())])],
    )];
    let outcomes = push(db, &part);
    assert_refused(&outcomes[0].verdicts[0], Code::ABSORBED_KNOWN, None);
    assert_eq!(push(db, &part), outcomes);
    assert_eq!(cell(db, "SELECT words FROM stock"), Some("later".into()));
}

/// Children before their parents, and parents deleted before their children.
pub fn order_within_a_group_does_not_matter_to_references(db: &mut dyn Database) {
    let outcomes = push(
        db,
        &[group(
            1,
            vec![
                create("visit", VISIT, &[("company", "new".into())]),
                create("company", "new", &[("name", "New".into())]),
            ],
        )],
    );
    assert!(outcomes[0].is_applied(), "{outcomes:?}");
    assert_eq!(table(db, "visit").len(), 1);
}

/// The value that nobody on the device saw.
pub fn p6_what_last_write_wins_replaces_is_in_the_verdict(db: &mut dyn Database) {
    db.execute("INSERT INTO stock (id, words, shelf) VALUES (1, 'unseen', 4)");
    let mut mine = update("stock", 1, &[("words", "mine".into())]);
    mine.base = set(&[("words", "seen".into()), ("shelf", 4.into())]);
    let verdict = push_one(db, 1, mine);
    assert_eq!(verdict.kind, VerdictKind::Applied);
    assert_eq!(verdict.overwritten, set(&[("words", "unseen".into())]));
    let mut gone = delete("stock", 1);
    gone.base = set(&[("words", "mine".into()), ("shelf", 3.into())]);
    assert_eq!(
        push_one(db, 2, gone).overwritten,
        set(&[("shelf", 4.into())])
    );
    assert!(table(db, "stock").is_empty());
}

/// A conflict shows the row it is about.
pub fn p6_conflicts_carry_the_servers_row(db: &mut dyn Database) {
    company(db);
    let verdict = push_one(db, 1, create("company", "a", &[("name", "Other".into())]));
    assert_refused(&verdict, Code::KEY_EXISTS, None);
    let row = set(&[("name", "Able".into()), ("rank", 1.into())]);
    assert_eq!(verdict.theirs, Some(Theirs::Row(row)));
    let same = push_one(db, 2, create("company", "a", &[("name", "Able".into())]));
    assert_eq!(same, Verdict::applied());
}

/// Identifiers of more than one part, and of text that SQL might misread.
pub fn composite_and_text_keys_are_written(db: &mut dyn Database) {
    let key = |pos: i64| vec![Value::from(1), Value::from(pos)];
    let line = |op, pos, values: &[(&str, Value)]| change(op, "line", key(pos), values);
    let odd = "o'dd \"key\" %ü";
    let outcomes = push(
        db,
        &[
            group(
                1,
                vec![
                    line(Op::Create, 1, &[("words", "x".into())]),
                    line(Op::Create, 2, &[]),
                ],
            ),
            group(
                2,
                vec![
                    line(Op::Update, 1, &[("words", "y".into())]),
                    line(Op::Delete, 2, &[]),
                ],
            ),
            group(3, vec![create("company", odd, &[("name", "Odd".into())])]),
            group(4, vec![update("company", odd, &[("rank", 7.into())])]),
        ],
    );
    assert!(
        outcomes.iter().all(GroupOutcome::is_applied),
        "{outcomes:?}"
    );
    assert_eq!(
        db.query("SELECT * FROM line"),
        [[1.into(), 1.into(), Value::from("y")]]
    );
    assert_eq!(cell(db, "SELECT rank FROM company"), Some(7.into()));
    let mut device = Replica::default();
    device.pull(db, &["line", "company"], 1);
    assert_same(db, &device, &["line", "company"]);
}

/// Two users whose devices made the same id do not see each other's answers.
pub fn ledgers_of_users_are_apart(db: &mut dyn Database) {
    let mine = group(1, vec![create("stock", 1, &[])]);
    let theirs = group(1, vec![create("stock", 2, &[])]);
    assert!(push(db, &[mine])[0].is_applied());
    let outcomes = db
        .storage()
        .push(db.model(), &Caller::user("bob"), &[theirs])
        .expect("the push works");
    assert!(outcomes[0].is_applied());
    assert_eq!(table(db, "stock").len(), 2);
}
