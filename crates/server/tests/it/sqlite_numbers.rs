//! Identifiers that SQLite makes, in tables whose triggers and sequences have a mind of their own.

use afield_protocol::{
    Attributes, Change, Code, FIRST_TEMPORARY, Group, GroupId, GroupOutcome, Identifier, Op,
    Origin, Pattern, Reference, Type, Value, Verdict, VerdictKind,
};
use afield_server::resolved::ServerModel;
use afield_server::storage::conformance::{Database, entity, server_model};
use afield_server::storage::sqlite::{SqliteStorage, prepare};

use crate::sqlite_database::{SqliteDatabase, tables};

const T: i64 = FIRST_TEMPORARY;
const T2: i64 = FIRST_TEMPORARY + 1;

const NUMBERED: &str = "id INTEGER PRIMARY KEY AUTOINCREMENT";

/// A table that numbers its rows, with its own columns and triggers; rows may refer to others.
fn numbered(key: &str, rest: &str) -> SqliteDatabase {
    let schema = format!("CREATE TABLE t ({key}, name TEXT, up INTEGER, n INTEGER); {rest}");
    SqliteDatabase::with(&schema, model())
}

fn model() -> ServerModel {
    let columns = [
        ("id", Type::Integer),
        ("name", Type::Text),
        ("up", Type::Integer),
        ("n", Type::Integer),
    ];
    let mut t = entity("t", Pattern::LastWriteWins, 1, &columns);
    t.local.identifier = Identifier::Server;
    t.local.attributes[3].counter = true;
    t.local.references.push(Reference {
        attributes: vec!["up".into()],
        entity: "t".into(),
    });
    server_model(vec![t])
}

fn create(id: i64, set: &[(&str, Value)]) -> Change {
    Change {
        entity: "t".into(),
        op: Op::Create,
        key: vec![id.into()],
        base: Attributes::new(),
        set: (set.iter())
            .map(|(name, value)| ((*name).into(), value.clone()))
            .collect(),
    }
}

fn group(id: u8, changes: Vec<Change>) -> Group {
    Group::new(GroupId([id; 16]), changes)
}

fn push(db: &SqliteDatabase, groups: &[Group]) -> Vec<GroupOutcome> {
    db.storage()
        .push(
            db.model(),
            &afield_server::storage::Caller::user("ada"),
            groups,
        )
        .unwrap()
}

fn push_one(db: &SqliteDatabase, id: u8, change: Change) -> Verdict {
    push(db, &[group(id, vec![change])])
        .remove(0)
        .verdicts
        .remove(0)
}

fn key(id: i64) -> Option<Vec<Value>> {
    Some(vec![id.into()])
}

/// Rows that triggers insert elsewhere, and into the table itself, are not taken for the row.
#[test]
fn p1_a_triggers_own_inserts_are_not_the_row() {
    let db = numbered(
        NUMBERED,
        "CREATE TABLE log (id INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT);
         INSERT INTO log (id, what) VALUES (500, 'old');
         CREATE TRIGGER before BEFORE INSERT ON t WHEN NEW.name = 'two' BEGIN
           INSERT INTO t (name) VALUES ('by a trigger'); END;
         CREATE TRIGGER logged AFTER INSERT ON t BEGIN
           INSERT INTO log (what) VALUES (NEW.name); END;",
    );
    let groups = [group(
        1,
        vec![
            create(T, &[("name", "two".into())]),
            create(T2, &[("name", "child".into()), ("up", T.into())]),
        ],
    )];
    let outcome = push(&db, &groups).remove(0);
    assert!(outcome.is_applied(), "{outcome:?}");
    let two = db.query("SELECT id FROM t WHERE name = 'two'").remove(0);
    assert_eq!(outcome.verdicts[0].key, Some(two.clone()));
    assert_eq!(db.query("SELECT up FROM t WHERE name = 'child'"), [two]);
}

/// A trigger moves the row away: it was applied, it has no number, and nothing can refer to it.
#[test]
fn p6_a_row_without_a_number_is_told_and_not_guessed() {
    let db = numbered(
        NUMBERED,
        "CREATE TRIGGER away AFTER INSERT ON t WHEN NEW.name = 'away' BEGIN
           DELETE FROM t WHERE id = NEW.id; END;",
    );
    let away = || create(T, &[("name", "away".into())]);
    assert_eq!(push_one(&db, 1, away()), Verdict::applied());
    let child = create(T2, &[("up", T.into())]);
    let later = Group {
        origins: vec![Origin {
            entity: "t".into(),
            temporary: T,
            group: GroupId([1; 16]),
            at: 0,
        }],
        ..group(2, vec![child.clone()])
    };
    for refused in [
        later,
        group(3, vec![child.clone(), away()]),
        group(4, vec![away(), child]),
    ] {
        let outcome = push(&db, &[refused]).remove(0);
        let codes: Vec<_> = outcome
            .verdicts
            .iter()
            .filter_map(|v| v.code.clone())
            .collect();
        assert!(codes.contains(&Code::REFERENCE), "{outcome:?}");
    }
    assert!(db.query("SELECT * FROM t").is_empty());
}

/// Without AUTOINCREMENT, and with columns that the device does not have.
#[test]
fn a_key_without_a_sequence_is_numbered_too() {
    let db = numbered("id INTEGER PRIMARY KEY", "INSERT INTO t (id) VALUES (41);");
    let circle = vec![
        create(T, &[("up", T2.into())]),
        create(T2, &[("up", T.into())]),
    ];
    let outcomes = push(&db, &[group(1, vec![create(T, &[])]), group(2, circle)]);
    let keys: Vec<_> = (outcomes.iter().flat_map(|o| &o.verdicts))
        .map(|verdict| verdict.key.clone())
        .collect();
    assert_eq!(keys, [key(42), key(43), key(44)]);
    let ups = db.query("SELECT id, up FROM t WHERE up IS NOT NULL ORDER BY id");
    assert_eq!(ups, [[43, 44], [44, 43]].map(|row| row.map(Value::from)));
}

/// Numbers of deleted rows are not given again, also where they are needed beforehand.
#[test]
fn p1_a_circle_gets_numbers_that_no_row_had() {
    let db = numbered(NUMBERED, "INSERT INTO t (id) VALUES (9); DELETE FROM t;");
    let own = create(T, &[("up", T.into())]);
    assert_eq!(push_one(&db, 1, own).key, key(10));
    assert_eq!(db.query("SELECT up FROM t"), [[Value::from(10)]]);
    assert_eq!(push_one(&db, 2, create(T2, &[])).key, key(11));
}

/// A program took a number of the devices': the next rows would be taken for temporary ones.
#[test]
fn p1_numbers_beyond_the_devices_are_refused() {
    let db = numbered(NUMBERED, "");
    db.execute(&format!("INSERT INTO t (id, name) VALUES ({T}, 'theirs')"));
    let verdict = push_one(&db, 1, create(T, &[("name", "mine".into())]));
    assert_eq!(verdict.code, Some(Code::CONSTRAINT));
    assert!(verdict.message.unwrap().contains("2^52"));
    assert_eq!(db.query("SELECT name FROM t"), [[Value::from("theirs")]]);
}

/// What a trigger makes of a counter is no difference, so the answer does not speak of it.
#[test]
fn p6_a_counter_that_a_trigger_changes_is_not_told() {
    let db = numbered(
        NUMBERED,
        "INSERT INTO t (id, n) VALUES (1, 10);
         CREATE TRIGGER round AFTER UPDATE OF n ON t BEGIN
           UPDATE t SET n = NEW.n / 10 * 10 WHERE id = NEW.id; END;",
    );
    let edit = Change {
        op: Op::Update,
        base: [("n".to_owned(), 1.into())].into(),
        ..create(1, &[("n", 15.into())])
    };
    assert_eq!(push_one(&db, 1, edit), Verdict::applied());
    assert_eq!(db.query("SELECT n FROM t"), [[Value::from(20)]]);
}

/// A trigger that rolls back everything takes the numbers of the groups before it along: these
/// are applied again, and what depends on the refused one waits.
#[test]
fn p6_a_rollback_refuses_one_group_and_what_depends_on_it() {
    let db = numbered(
        NUMBERED,
        "CREATE TRIGGER r BEFORE INSERT ON t WHEN NEW.name = 'rollback'
           BEGIN SELECT RAISE(ROLLBACK, 'all of it'); END;",
    );
    let child = |id: u8, parent: u8, up: i64| Group {
        origins: vec![Origin {
            entity: "t".into(),
            temporary: up,
            group: GroupId([parent; 16]),
            at: 0,
        }],
        ..group(id, vec![create(T + i64::from(id), &[("up", up.into())])])
    };
    let groups = [
        group(1, vec![create(T, &[("name", "fine".into())])]),
        group(2, vec![create(T2, &[("name", "rollback".into())])]),
        child(3, 1, T),
        child(4, 2, T2),
    ];
    let outcomes = push(&db, &groups);
    let kinds: Vec<_> = (outcomes.iter())
        .map(|outcome| (outcome.verdicts[0].kind, outcome.verdicts[0].code.clone()))
        .collect();
    let refused = |code| (VerdictKind::Rejected, Some(code));
    let applied = || (VerdictKind::Applied, None);
    let expected = [
        applied(),
        refused(Code::CONSTRAINT),
        applied(),
        refused(Code::WAITS_FOR),
    ];
    assert_eq!(kinds, expected);
    let ups = db.query("SELECT up FROM t ORDER BY id");
    assert_eq!(ups, [[Value::Null], [Value::from(1)]]);
    assert_eq!(push(&db, &groups), outcomes);
}

/// A database that an earlier version prepared says what to do, and keeps its positions.
#[test]
fn a_database_prepared_earlier_is_prepared_again() {
    let mut db = SqliteDatabase::with(&tables(), afield_server::storage::conformance::model());
    db.execute("DROP TABLE afield_number");
    db.stop();
    let error = SqliteStorage::open(&db.path(), &db.model, |b| b.fill(1)).unwrap_err();
    assert!(error.message.contains("run `afield prepare`"), "{error}");
    let report = prepare(&db.path(), &db.model, |b| b.fill(1)).unwrap();
    assert_eq!(report.statements.len(), 1, "{report:?}");
    db.start();
}
