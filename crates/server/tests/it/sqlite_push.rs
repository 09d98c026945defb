//! Pushing into tables whose triggers and constraints have a mind of their own.

use afield_protocol::{
    Attributes, Change, Code, Group, GroupId, GroupOutcome, Op, Pattern, Type, Value, Verdict,
    VerdictKind,
};
use afield_server::resolved::ServerModel;
use afield_server::storage::StorageError;
use afield_server::storage::conformance::{Database, entity, server_model};
use afield_server::storage::sqlite::SqliteStorage;

use crate::sqlite_database::SqliteDatabase;

fn table(attributes: &[(&str, Type)]) -> ServerModel {
    server_model(vec![entity("t", Pattern::LastWriteWins, 1, attributes)])
}

fn text_table() -> ServerModel {
    table(&[
        ("id", Type::Text),
        ("name", Type::Text),
        ("n", Type::Integer),
    ])
}

fn change(op: Op, key: &str, set: &[(&str, Value)]) -> Change {
    Change {
        entity: "t".into(),
        op,
        key: vec![key.into()],
        base: Attributes::new(),
        set: set
            .iter()
            .map(|(name, value)| ((*name).into(), value.clone()))
            .collect(),
    }
}

fn group(id: u8, changes: Vec<Change>) -> Group {
    Group::new(GroupId([id; 16]), changes)
}

fn try_push(db: &SqliteDatabase, groups: &[Group]) -> Result<Vec<GroupOutcome>, StorageError> {
    db.storage().push(
        db.model(),
        &afield_server::storage::Caller::user("ada"),
        groups,
    )
}

fn push_one(db: &SqliteDatabase, id: u8, change: Change) -> Verdict {
    try_push(db, &[group(id, vec![change])])
        .unwrap()
        .remove(0)
        .verdicts
        .remove(0)
}

fn rows(db: &SqliteDatabase) -> Vec<Vec<Value>> {
    db.query("SELECT id, name FROM t ORDER BY id")
}

#[test]
fn p3_what_a_trigger_makes_of_values_and_keys_is_told() {
    for without_rowid in ["", "WITHOUT ROWID"] {
        let db = SqliteDatabase::with(
            &format!(
                "CREATE TABLE t (id TEXT PRIMARY KEY, name TEXT, n INTEGER) {without_rowid};
                 CREATE TRIGGER norm_i AFTER INSERT ON t BEGIN
                   UPDATE t SET name = trim(lower(name)) WHERE id = NEW.id; END;
                 CREATE TRIGGER norm_u AFTER UPDATE OF name ON t BEGIN
                   UPDATE t SET name = trim(lower(name)) WHERE id = NEW.id; END"
            ),
            text_table(),
        );
        let verdict = push_one(&db, 1, change(Op::Create, "k", &[("name", " AbC ".into())]));
        assert_eq!(verdict.kind, VerdictKind::Applied);
        assert_eq!(
            verdict.values,
            Attributes::from([("name".into(), "abc".into())])
        );
        let verdict = push_one(
            &db,
            2,
            change(Op::Update, "k", &[("name", "X".into()), ("n", 1.into())]),
        );
        assert_eq!(
            verdict.values,
            Attributes::from([("name".into(), "x".into())])
        );
    }
}

#[test]
fn another_key_than_was_sent_is_told() {
    let db = SqliteDatabase::with(
        "CREATE TABLE t (id TEXT PRIMARY KEY, name TEXT, n INTEGER);
         CREATE TRIGGER norm AFTER INSERT ON t BEGIN
           UPDATE t SET id = upper(id) WHERE id = NEW.id; END",
        text_table(),
    );
    let verdict = push_one(&db, 1, change(Op::Create, "k", &[("name", "x".into())]));
    assert_eq!(verdict.key, Some(vec!["K".into()]));
    assert!(verdict.values.is_empty());
    let nocase = SqliteDatabase::with(
        "CREATE TABLE t (id TEXT PRIMARY KEY COLLATE NOCASE, name TEXT, n INTEGER);
         INSERT INTO t VALUES ('A', 'same', 1)",
        text_table(),
    );
    let same = push_one(
        &nocase,
        1,
        change(Op::Create, "a", &[("name", "same".into())]),
    );
    assert_eq!(
        (same.kind, same.key),
        (VerdictKind::Applied, Some(vec!["A".into()]))
    );
    let other = push_one(
        &nocase,
        2,
        change(Op::Create, "a", &[("name", "other".into())]),
    );
    assert_eq!(other.code, Some(Code::KEY_EXISTS));
}

#[test]
fn p6_a_row_that_a_trigger_moves_away_was_applied() {
    let db = SqliteDatabase::with(
        "CREATE TABLE t (id TEXT PRIMARY KEY, name TEXT, n INTEGER);
         CREATE TABLE moved (id TEXT);
         CREATE TRIGGER away AFTER INSERT ON t BEGIN
           INSERT INTO moved VALUES (NEW.id); DELETE FROM t WHERE id = NEW.id; END",
        text_table(),
    );
    assert_eq!(
        push_one(&db, 1, change(Op::Create, "k", &[])),
        Verdict::applied()
    );
    assert_eq!(db.query("SELECT id FROM moved"), [[Value::from("k")]]);
}

#[test]
fn p6_triggers_that_refuse_become_codes() {
    let db = SqliteDatabase::with(
        "CREATE TABLE t (id TEXT PRIMARY KEY, name TEXT, n INTEGER);
         CREATE TRIGGER a BEFORE INSERT ON t WHEN NEW.name = 'abort'
           BEGIN SELECT RAISE(ABORT, 'not on Sundays'); END;
         CREATE TRIGGER f BEFORE INSERT ON t WHEN NEW.name = 'fail'
           BEGIN SELECT RAISE(FAIL, 'failed'); END;
         CREATE TRIGGER i BEFORE INSERT ON t WHEN NEW.name = 'ignore'
           BEGIN SELECT RAISE(IGNORE); END;
         CREATE TRIGGER r BEFORE INSERT ON t WHEN NEW.name = 'rollback'
           BEGIN SELECT RAISE(ROLLBACK, 'all of it'); END;
         CREATE TRIGGER d BEFORE DELETE ON t BEGIN SELECT RAISE(IGNORE); END",
        text_table(),
    );
    let create = |id: u8, name: &str| {
        group(
            id,
            vec![change(
                Op::Create,
                &format!("k{id}"),
                &[("name", name.into())],
            )],
        )
    };
    let groups = [
        create(1, "fine"),
        create(2, "abort"),
        create(3, "fail"),
        create(4, "ignore"),
        create(5, "rollback"),
        create(6, "fine"),
    ];
    let outcomes = try_push(&db, &groups).unwrap();
    for (outcome, applied) in outcomes
        .iter()
        .zip([true, false, false, false, false, true])
    {
        assert_eq!(outcome.is_applied(), applied, "{outcome:?}");
    }
    assert_eq!(
        outcomes[1].verdicts[0].message.as_deref(),
        Some("not on Sundays")
    );
    assert_eq!(outcomes[4].verdicts[0].code, Some(Code::CONSTRAINT));
    assert_eq!(rows(&db).len(), 2);
    assert_eq!(
        try_push(&db, &groups).unwrap(),
        outcomes,
        "a repeat gets the same answers"
    );
    let ignored = push_one(&db, 7, change(Op::Delete, "k1", &[]));
    assert_eq!(ignored.code, Some(Code::CONSTRAINT));
}

/// A trigger that names a missing table is nobody's mistake on a device: nothing of the
/// envelope stays, and the same envelope is applied once the server works again.
#[test]
fn p2_a_failing_server_leaves_nothing_and_answers_later() {
    let db = SqliteDatabase::with(
        "CREATE TABLE t (id TEXT PRIMARY KEY, name TEXT, n INTEGER);
         CREATE TRIGGER broken AFTER INSERT ON t WHEN NEW.name = 'bad'
           BEGIN INSERT INTO audit VALUES (NEW.id); END",
        text_table(),
    );
    let groups = [
        group(1, vec![change(Op::Create, "a", &[("name", "good".into())])]),
        group(2, vec![change(Op::Create, "b", &[("name", "bad".into())])]),
    ];
    let error = try_push(&db, &groups).unwrap_err();
    assert_eq!(error.code, Code::INTERNAL);
    assert!(error.message.contains("audit"), "{error}");
    assert!(rows(&db).is_empty());
    assert!(db.query("SELECT * FROM afield_ledger").is_empty());
    db.execute("CREATE TABLE audit (id TEXT)");
    let outcomes = try_push(&db, &groups).unwrap();
    assert!(outcomes.iter().all(GroupOutcome::is_applied));
    assert_eq!(rows(&db).len(), 2);
}

/// A constraint that says ON CONFLICT REPLACE must not delete somebody's row for a device.
#[test]
fn p1_a_push_replaces_no_other_row() {
    let db = SqliteDatabase::with(
        "CREATE TABLE t (id TEXT PRIMARY KEY, name TEXT UNIQUE ON CONFLICT REPLACE, n INTEGER);
         INSERT INTO t VALUES ('theirs', 'x', 1), ('mine', 'y', 2)",
        text_table(),
    );
    for (id, change) in [
        (1, change(Op::Create, "new", &[("name", "x".into())])),
        (2, change(Op::Update, "mine", &[("name", "x".into())])),
    ] {
        let verdict = push_one(&db, id, change);
        assert_eq!(
            (verdict.code, verdict.attribute.as_deref()),
            (Some(Code::UNIQUE), Some("name"))
        );
    }
    assert_eq!(rows(&db).len(), 2);
}

#[test]
fn p6_strict_tables_and_hidden_columns_explain_themselves() {
    let db = SqliteDatabase::with(
        "CREATE TABLE t (id TEXT PRIMARY KEY, name INTEGER, n INTEGER, secret TEXT NOT NULL) \
         STRICT",
        text_table(),
    );
    let verdict = push_one(&db, 1, change(Op::Create, "a", &[]));
    assert_eq!(
        (verdict.code, verdict.attribute),
        (Some(Code::NOT_NULL), None)
    );
    assert!(verdict.message.unwrap().contains("add it to the model"));
    db.execute("INSERT INTO t VALUES ('b', 1, 1, 's')");
    let verdict = push_one(&db, 2, change(Op::Update, "b", &[("name", "word".into())]));
    assert_eq!(verdict.code, Some(Code::TYPE_MISMATCH));
    assert_eq!(verdict.attribute.as_deref(), Some("name"));
}

#[test]
fn p9_a_group_over_the_limit_is_refused_and_the_rest_flows() {
    let db = SqliteDatabase::with(
        "CREATE TABLE t (id TEXT PRIMARY KEY, name TEXT, n INTEGER)",
        text_table(),
    );
    let many = afield_protocol::limits::GROUP_CHANGES_MAX + 1;
    let large = (0..many)
        .map(|n| change(Op::Create, &format!("k{n}"), &[]))
        .collect();
    let outcomes = try_push(
        &db,
        &[
            group(1, large),
            group(2, vec![change(Op::Create, "k", &[])]),
        ],
    )
    .unwrap();
    assert!(
        outcomes[0]
            .verdicts
            .iter()
            .all(|v| v.code == Some(Code::GROUP_TOO_LARGE))
    );
    assert!(outcomes[1].is_applied());
    assert_eq!(rows(&db).len(), 1);
}

/// A model made by hand says that a table numbers its rows, which it does not.
#[test]
fn a_table_without_numbers_is_refused_at_the_start() {
    for table in [
        "CREATE TABLE t (id INT PRIMARY KEY)",
        "CREATE TABLE t (id INTEGER PRIMARY KEY) WITHOUT ROWID",
    ] {
        let mut db = SqliteDatabase::with(table, table_model());
        db.stop();
        db.model.entities[0].local.identifier = afield_protocol::Identifier::Server;
        let error = SqliteStorage::open(&db.path(), &db.model, |b| b.fill(1)).unwrap_err();
        assert!(
            error.message.contains("does not number its rows"),
            "{error}"
        );
    }
}

fn table_model() -> ServerModel {
    table(&[("id", Type::Integer)])
}
