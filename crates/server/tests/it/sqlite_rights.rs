//! Whose rows, where triggers of the team's move them, and where a key has several spellings.

use afield_protocol::{
    Attributes, Change, Code, FIRST_TEMPORARY, Group, GroupId, GroupOutcome, Op, Type, Value,
    Verdict, VerdictKind,
};
use afield_server::resolved::{Condition, Holds, Scope, ServerModel};
use afield_server::storage::Caller;
use afield_server::storage::conformance::{
    Database, ada, entity, eve, rights_model, rights_schema, server_model,
};

use crate::sqlite_database::SqliteDatabase;

const MINE: &str = "0190b3a1-5c1e-7cc3-98a1-00000000000a";
const FOREIGN: &str = "0190b3a1-5c1e-7cc3-98a1-00000000000b";

fn database(extra: &str) -> SqliteDatabase {
    let tables = rights_schema("INTEGER PRIMARY KEY AUTOINCREMENT");
    SqliteDatabase::with(&format!("{tables}; {extra}"), rights_model())
}

fn change(op: Op, entity: &str, key: Value, set: &[(&str, Value)]) -> Change {
    let named = |(name, value): &(&str, Value)| ((*name).to_owned(), value.clone());
    Change {
        entity: entity.into(),
        op,
        key: vec![key],
        base: Attributes::new(),
        set: set.iter().map(named).collect(),
    }
}

fn group(id: u8, changes: Vec<Change>) -> Group {
    Group {
        id: GroupId([id; 16]),
        absorbed: Vec::new(),
        origins: Vec::new(),
        changes,
        checkpoint: Vec::new(),
    }
}

fn push(db: &SqliteDatabase, caller: &Caller, groups: &[Group]) -> Vec<GroupOutcome> {
    db.storage().push(db.model(), caller, groups).unwrap()
}

fn push_one(db: &SqliteDatabase, id: u8, change: Change) -> Verdict {
    push(db, &ada(), &[group(id, vec![change])])
        .remove(0)
        .verdicts
        .remove(0)
}

fn sites(db: &SqliteDatabase) -> Vec<Vec<Value>> {
    db.query("SELECT id, region, title FROM site ORDER BY id")
}

#[test]
fn p7_a_trigger_that_moves_the_row_away_makes_the_change_forbidden() {
    let db = database(
        "CREATE TRIGGER moved AFTER UPDATE OF title ON site WHEN NEW.title = 'sell' BEGIN
           UPDATE site SET region = 'south' WHERE id = NEW.id; END;
         CREATE TRIGGER born AFTER INSERT ON site WHEN NEW.title = 'sell' BEGIN
           UPDATE site SET region = 'south' WHERE id = NEW.id; END;
         CREATE TRIGGER other AFTER UPDATE OF kind ON pin BEGIN
           UPDATE site SET region = 'south' WHERE region = 'north'; END",
    );
    let before = sites(&db);
    let sell = || change(Op::Update, "site", MINE.into(), &[("title", "sell".into())]);
    let verdict = push_one(&db, 1, sell());
    assert_eq!(verdict.code, Some(Code::FORBIDDEN));
    assert!(verdict.values.is_empty());
    let new = "0190b3a1-5c1e-7cc3-98a1-00000000000d";
    let values = [("title", "sell".into()), ("region", "north".into())];
    let verdict = push_one(&db, 2, change(Op::Create, "site", new.into(), &values));
    assert_eq!(verdict.code, Some(Code::FORBIDDEN));
    // Another change of the group sets off the trigger: behind this one in the end, wherever it
    // stands.
    let edit = change(Op::Update, "site", MINE.into(), &[("title", "x".into())]);
    let pin = change(Op::Update, "pin", 1.into(), &[("kind", Value::Null)]);
    for (id, changes, culprit) in [
        (3, vec![edit.clone(), pin.clone()], 0),
        (4, vec![pin.clone(), edit], 1),
    ] {
        let verdicts = push(&db, &ada(), &[group(id, changes)]).remove(0).verdicts;
        let code = verdicts[culprit].code.clone();
        assert_eq!(code, Some(Code::FORBIDDEN), "{verdicts:?}");
    }
    assert_eq!(sites(&db), before);
    // What a trigger does to other rows is the team's own.
    assert_eq!(push_one(&db, 5, pin).kind, VerdictKind::Applied);
    assert_ne!(sites(&db), before);
}

#[test]
fn a_trigger_may_set_the_scope_of_a_create_or_take_the_row_away() {
    let db = database(
        "CREATE TRIGGER owned AFTER INSERT ON box WHEN NEW.team IS NULL BEGIN
           UPDATE box SET team = 'red' WHERE id = NEW.id; END;
         CREATE TRIGGER done AFTER UPDATE OF title ON site WHEN NEW.title = 'done' BEGIN
           DELETE FROM site WHERE id = NEW.id; END",
    );
    let words = [("words", "w".into())];
    let verdict = push_one(&db, 1, change(Op::Create, "box", "n".into(), &words));
    assert_eq!(verdict, Verdict::applied());
    let done = change(Op::Update, "site", MINE.into(), &[("title", "done".into())]);
    db.execute("DELETE FROM task");
    assert_eq!(push_one(&db, 2, done).kind, VerdictKind::Applied);
    assert_eq!(sites(&db).len(), 1);
}

#[test]
fn p7_values_that_a_trigger_made_are_not_repeated_to_who_lost_the_row() {
    let db = database(
        "CREATE TRIGGER norm AFTER UPDATE OF title ON site BEGIN
           UPDATE site SET title = 'made of ' || NEW.title WHERE id = NEW.id; END",
    );
    let edit = change(Op::Update, "site", MINE.into(), &[("title", "x".into())]);
    let groups = [group(1, vec![edit])];
    let first = push(&db, &ada(), &groups);
    assert_eq!(first[0].verdicts[0].values["title"], "made of x".into());
    assert_eq!(push(&db, &ada(), &groups), first);
    db.execute("UPDATE site SET region = 'south'");
    assert_eq!(push(&db, &ada(), &groups)[0].verdicts, [Verdict::applied()]);
    // Of a row that Eve makes, the number stays told: it is no value of anybody else's.
    let task = [("owner", "eve".into())];
    let made = [group(
        2,
        vec![change(Op::Create, "task", FIRST_TEMPORARY.into(), &task)],
    )];
    let first = push(&db, &eve(), &made);
    db.execute("UPDATE task SET owner = 'ada', site = NULL");
    assert_eq!(push(&db, &eve(), &made), first);
}

#[test]
fn p7_a_trigger_that_rolls_back_within_a_scope_refuses_its_group_alone() {
    let db = database(
        "CREATE TRIGGER no BEFORE UPDATE OF title ON site WHEN NEW.title = 'no' BEGIN
           SELECT RAISE(ROLLBACK, 'no'); END",
    );
    let title = |title: &str| change(Op::Update, "site", MINE.into(), &[("title", title.into())]);
    let pin = || change(Op::Update, "pin", 1.into(), &[("place", Value::Null)]);
    let foreign = change(Op::Update, "site", FOREIGN.into(), &[("title", "x".into())]);
    let groups = [
        group(1, vec![pin(), title("no"), pin()]),
        group(2, vec![foreign]),
        group(
            3,
            vec![change(
                Op::Update,
                "project",
                1.into(),
                &[("name", "fine".into())],
            )],
        ),
    ];
    let outcomes = push(&db, &ada(), &groups);
    let codes: Vec<_> = outcomes
        .iter()
        .map(|o| o.verdicts[0].code.clone())
        .collect();
    assert_eq!(codes, [Some(Code::GROUP_REFUSED), Some(Code::GONE), None]);
    assert_eq!(push(&db, &ada(), &groups), outcomes);
}

/// A table of UUIDs in capitals and as bytes, and one without a rowid: found, refused and
/// referred to as if they were spelled plainly.
#[test]
fn p7_rights_hold_for_every_spelling_of_an_identifier() {
    let lower = "0190b3a1-5c1e-7cc3-98a1-00000000000a";
    let other = "0190b3a1-5c1e-7cc3-98a1-00000000000b";
    for (kind, spelled) in [
        ("TEXT", |id: &str| format!("'{}'", id.to_uppercase())),
        ("TEXT", |id: &str| format!("'{}'", id.replace('-', ""))),
        ("BLOB", |id: &str| format!("x'{}'", id.replace('-', ""))),
    ] as [(&str, fn(&str) -> String); 3]
    {
        for without_rowid in ["", "WITHOUT ROWID"] {
            let (mine, foreign) = (spelled(lower), spelled(other));
            let sql = format!(
                "CREATE TABLE t (id {kind} PRIMARY KEY NOT NULL, owner TEXT, next {kind})
                 {without_rowid};
                 INSERT INTO t VALUES ({mine}, 'ada', NULL), ({foreign}, 'eve', {foreign})"
            );
            let db = SqliteDatabase::with(&sql, spelled_model());
            let before = db.query("SELECT quote(id), owner, quote(next) FROM t ORDER BY 2");
            let edit = |op, id: &str, set: &[(&str, Value)]| change(op, "t", id.into(), set);
            let next = |id: &str| edit(Op::Update, lower, &[("next", id.into())]);
            for (id, change, code) in [
                (
                    1,
                    edit(Op::Update, other, &[("owner", "ada".into())]),
                    Some(Code::GONE),
                ),
                (2, edit(Op::Delete, other, &[]), None),
                (
                    3,
                    edit(Op::Create, other, &[("owner", "ada".into())]),
                    Some(Code::KEY_TAKEN),
                ),
                (
                    4,
                    edit(Op::Update, lower, &[("owner", "eve".into())]),
                    Some(Code::FORBIDDEN),
                ),
                (5, next(other), Some(Code::REFERENCE)),
            ] {
                assert_eq!(push_one(&db, id, change).code, code, "{kind} {mine} {id}");
            }
            let after = db.query("SELECT quote(id), owner, quote(next) FROM t ORDER BY 2");
            assert_eq!(after, before, "{kind} {without_rowid}");
            assert_eq!(push_one(&db, 6, next(lower)).code, None, "to itself");
            assert_eq!(push_one(&db, 7, edit(Op::Delete, lower, &[])).code, None);
            assert_eq!(db.query("SELECT owner FROM t"), [[Value::from("eve")]]);
        }
    }
}

fn spelled_model() -> ServerModel {
    let attributes = [
        ("id", Type::Uuid),
        ("owner", Type::Text),
        ("next", Type::Uuid),
    ];
    let mut t = entity("t", afield_protocol::Pattern::LastWriteWins, 1, &attributes);
    t.scope = Scope::Ways(vec![vec![Condition {
        column: "owner".into(),
        path: Vec::new(),
        holds: Holds::User,
    }]]);
    t.local.scope = t.scope.widths();
    t.local.references = vec![afield_protocol::Reference {
        attributes: vec!["next".into()],
        entity: "t".into(),
    }];
    server_model(vec![t])
}
