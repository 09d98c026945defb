//! `afield prepare`: what it leaves behind, and what the server says about a database that is
//! not prepared, or no longer.

use afield_protocol::{Pattern, Type};
use afield_server::resolved::ServerModel;
use afield_server::storage::conformance::{
    Database, Replica, assert_same, entity, model, server_model,
};
use afield_server::storage::sqlite::{SqliteStorage, TABLES_SQL, plan, prepare, remove};
use rusqlite::Connection;

use crate::sqlite_database::{SqliteDatabase, tables};

fn zeros(bytes: &mut [u8]) {
    bytes.fill(0);
}

/// The whole schema and the data of a file, as text.
fn dump(path: &std::path::Path) -> String {
    let conn = Connection::open(path).unwrap();
    let list = |sql: &str| -> Vec<String> {
        let mut statement = conn.prepare(sql).unwrap();
        let width = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| -> rusqlite::Result<String> {
            (0..width)
                .map(|at| Ok(format!("{:?}|", row.get_ref(at)?)))
                .collect()
        };
        statement
            .query_map([], row)
            .unwrap()
            .map(Result::unwrap)
            .collect()
    };
    let mut lines = list("SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY 1, 2");
    for pragma in [
        "journal_mode",
        "user_version",
        "application_id",
        "foreign_key_check",
    ] {
        lines.extend(list(&format!("PRAGMA {pragma}")));
    }
    let tables = conn
        .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<rusqlite::Result<Vec<String>>>()
        .unwrap();
    for table in tables {
        lines.push(table.clone());
        lines.extend(list(&format!("SELECT * FROM \"{table}\" ORDER BY 1, 2")));
    }
    lines.join("\n")
}

#[test]
fn remove_leaves_nothing_behind() {
    for mode in ["delete", "wal", "truncate"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("team.db");
        let conn = Connection::open(&path).unwrap();
        conn.pragma_update(None, "journal_mode", mode).unwrap();
        conn.execute_batch(&tables()).unwrap();
        conn.execute_batch(
            "CREATE TABLE afield_of_dreams (id INTEGER PRIMARY KEY, n INTEGER);
             CREATE TRIGGER afield_corn AFTER INSERT ON stock BEGIN SELECT 1; END;
             INSERT INTO stock (id, words) VALUES (1, 'x'), (2, 'y')",
        )
        .unwrap();
        drop(conn);
        let before = dump(&path);
        prepare(&path, &model(), zeros).unwrap();
        assert_ne!(dump(&path), before);
        SqliteStorage::open(&path, &model(), zeros).unwrap();
        remove(&path).unwrap();
        assert_eq!(dump(&path), before, "{mode}");
        assert!(remove(&path).unwrap().is_empty());
        let error = SqliteStorage::open(&path, &model(), zeros).unwrap_err();
        assert!(error.message.contains("run `afield prepare`"), "{error}");
    }
}

#[test]
fn a_plan_changes_nothing_and_says_what_is_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("team.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch(&tables())
        .unwrap();
    let before = dump(&path);
    let planned = plan(&path, &model()).unwrap();
    assert_eq!(dump(&path), before);
    assert!(planned.iter().all(|statement| !statement.reason.is_empty()));
    let report = prepare(&path, &model(), zeros).unwrap();
    assert_eq!(report.statements, planned);
    assert_eq!(
        report.tables,
        [
            "company",
            "visit",
            "part",
            "line",
            "rate",
            "stock",
            "orders",
            "order_line",
            "remark",
            "paper",
            "card",
            "slip",
            "own_task",
            "area_task",
            "firm_task",
            "both_task",
            "any_task",
            "team_task",
            "whole_task"
        ],
        "all but `event`, whose rows only come from devices"
    );
    assert!(
        plan(&path, &model()).unwrap().is_empty(),
        "everything is in place"
    );
    assert!(
        prepare(&path, &model(), zeros)
            .unwrap()
            .statements
            .is_empty()
    );
}

#[test]
fn a_failed_preparation_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("team.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch(&tables())
        .unwrap();
    let before = dump(&path);
    let keyless = entity("stock", Pattern::ReadOnly, 1, &[("words", Type::Text)]);
    let missing = entity("nothing", Pattern::ReadOnly, 1, &[("id", Type::Integer)]);
    for broken in [keyless, missing] {
        let mut model = model();
        model.entities.push(broken);
        prepare(&path, &model, zeros).unwrap_err();
        assert_eq!(dump(&path), before);
    }
    let absent = folder.path().join("absent.db");
    prepare(&absent, &model(), zeros).unwrap_err();
    assert!(!absent.exists(), "a mistyped path makes no database");
}

#[test]
fn views_and_virtual_tables_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("team.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE VIEW v AS SELECT 1 AS id")
        .unwrap();
    let view = server_model(vec![entity(
        "v",
        Pattern::ReadOnly,
        1,
        &[("id", Type::Integer)],
    )]);
    let error = prepare(&path, &view, zeros).unwrap_err();
    assert!(error.message.contains("`v` is a view"), "{error}");
}

/// Every way in which a team's schema change can leave writes unmarked.
#[test]
fn p5_a_schema_that_no_longer_fits_is_refused_until_prepared_again() {
    for change in [
        "DROP TRIGGER afield_after_update_stock",
        "DROP TRIGGER afield_before_insert_stock",
        "CREATE UNIQUE INDEX more ON stock (words)",
        "DROP INDEX afield_change_stock",
        "CREATE TABLE s2 (id INTEGER PRIMARY KEY, code TEXT, shelf INT, bin INT, words TEXT);
         INSERT INTO s2 SELECT * FROM stock; DROP TABLE stock; ALTER TABLE s2 RENAME TO stock",
    ] {
        let mut db = SqliteDatabase::new();
        db.execute("INSERT INTO stock (id, words) VALUES (1, 'a'), (2, 'b')");
        let mut device = Replica::default();
        device.pull(&db, &["stock", "line"], 10);
        db.execute(change);
        let request = afield_server::storage::PullRequest {
            caller: afield_server::storage::Caller::user("ada"),
            held: Vec::new(),
            now: 1_000,
            chosen: Vec::new(),
            entities: vec![("stock".into(), None)],
            rows_max: 1,
            bytes_max: 1,
            compare: Default::default(),
        };
        let error = db.storage().pull(db.model(), &request).unwrap_err();
        assert!(error.message.contains("run `afield prepare`"), "{error}");
        let error = db
            .storage()
            .push(
                db.model(),
                &afield_server::storage::Caller::user("ada"),
                &[group()],
            )
            .unwrap_err();
        assert!(error.message.contains("run `afield prepare`"), "{error}");
        db.execute("UPDATE stock SET words = 'unmarked' WHERE id = 1");
        db.stop();
        SqliteStorage::open(&db.path(), &db.model, zeros).unwrap_err();
        prepare(&db.path(), &db.model, zeros).unwrap();
        db.start();
        device.pull(&db, &["stock", "line"], 10);
        assert_eq!(device.resets, 1, "{change}: only this table starts over");
        assert_same(&db, &device, &["stock", "line"]);
    }
}

/// A database of version 1, which forgot nothing: it says what to do, and keeps its ledger.
#[test]
fn p2_bookkeeping_of_an_earlier_version_is_upgraded_and_keeps_the_ledger() {
    let mut db = SqliteDatabase::new();
    let caller = afield_server::storage::Caller::user("ada");
    let push = |db: &SqliteDatabase| db.storage().push(db.model(), &caller, &[group()]).unwrap();
    let first = push(&db);
    let mut device = Replica::default();
    device.pull(&db, &["stock"], 10);
    db.execute(
        "DROP TABLE afield_device_log; DROP TABLE afield_inbox; \
         DROP TABLE afield_inbox_group; \
         ALTER TABLE afield_node DROP COLUMN inbox_n; DROP TABLE afield_moment; \
         ALTER TABLE afield_ledger DROP COLUMN change; \
         ALTER TABLE afield_node DROP COLUMN ledger_horizon; \
         UPDATE afield_node SET schema_version = 1",
    );
    db.stop();
    let error = SqliteStorage::open(&db.path(), &db.model, zeros).unwrap_err();
    assert!(error.message.contains("run `afield prepare`"), "{error}");
    for _ in 0..2 {
        prepare(&db.path(), &db.model, zeros).unwrap();
    }
    db.start();
    assert_eq!(push(&db), first);
    assert_eq!(
        db.query("SELECT count(*) FROM afield_ledger")[0][0],
        1.into()
    );
    db.execute("INSERT INTO stock (id) VALUES (1)");
    device.pull(&db, &["stock"], 10);
    assert_same(&db, &device, &["stock"]);
    assert_eq!(device.resets, 0);
    let retention = afield_server::storage::Retention::of(100);
    db.storage().purge(retention, &mut || true).unwrap();
}

/// A database of version 2, which noted no refused changes: it says what to do, and notes them
/// then.
#[test]
fn p6_bookkeeping_without_an_inbox_is_upgraded() {
    let mut db = SqliteDatabase::new();
    db.execute(
        "DROP TABLE afield_device_log; DROP TABLE afield_inbox; \
         DROP TABLE afield_inbox_group; \
         ALTER TABLE afield_node DROP COLUMN inbox_n; UPDATE afield_node SET schema_version = 2",
    );
    db.stop();
    let error = SqliteStorage::open(&db.path(), &db.model, zeros).unwrap_err();
    assert!(error.message.contains("run `afield prepare`"), "{error}");
    for _ in 0..2 {
        prepare(&db.path(), &db.model, zeros).unwrap();
    }
    db.start();
    afield_server::storage::conformance::p6_a_conflict_is_noted_once(&mut db);
}

/// A database of version 3, which kept no logs of devices: it says what to do, and keeps them then.
#[test]
fn bookkeeping_without_logs_is_upgraded() {
    let mut db = SqliteDatabase::new();
    db.execute("DROP TABLE afield_device_log; UPDATE afield_node SET schema_version = 3");
    db.stop();
    let error = SqliteStorage::open(&db.path(), &db.model, zeros).unwrap_err();
    assert!(error.message.contains("run `afield prepare`"), "{error}");
    for _ in 0..2 {
        prepare(&db.path(), &db.model, zeros).unwrap();
    }
    db.start();
    afield_server::storage::conformance::p2_an_entry_of_a_log_is_kept_once(&mut db);
}

fn group() -> afield_protocol::Group {
    afield_protocol::Group::new(afield_protocol::GroupId([1; 16]), Vec::new())
}

#[test]
fn p5_renamed_key_columns_go_on_when_the_model_follows() {
    let table = |key: &str| {
        let mut entity = entity("t", Pattern::ReadOnlyOptimized, 1, &[("id", Type::Integer)]);
        entity.columns[0].name = key.to_owned();
        server_model(vec![entity])
    };
    let mut db = SqliteDatabase::with("CREATE TABLE t (id INTEGER PRIMARY KEY)", table("id"));
    db.execute("INSERT INTO t VALUES (1), (2)");
    db.execute("ALTER TABLE t RENAME COLUMN id TO nr");
    db.execute("INSERT INTO t VALUES (3)");
    db.stop();
    let error = SqliteStorage::open(&db.path(), &db.model, zeros).unwrap_err();
    assert!(error.message.contains("no column `id`"), "{error}");
    db.model = table("nr");
    prepare(&db.path(), &db.model, zeros).unwrap();
    db.start();
    let mut device = Replica::default();
    device.pull(&db, &["t"], 1);
    assert_eq!(device.rows("t").len(), 3);
}

#[test]
fn p5_a_renamed_table_starts_over_under_its_new_name() {
    let named = |table: &str| {
        let mut entity = entity("t", Pattern::ReadOnlyOptimized, 1, &[("id", Type::Integer)]);
        entity.table = table.to_owned();
        server_model(vec![entity])
    };
    let mut db = SqliteDatabase::with("CREATE TABLE t (id INTEGER PRIMARY KEY)", named("t"));
    db.execute("INSERT INTO t VALUES (1), (2)");
    let mut device = Replica::default();
    device.pull(&db, &["t"], 10);
    db.execute("ALTER TABLE t RENAME TO u");
    db.execute("DELETE FROM u WHERE id = 1");
    db.stop();
    db.model = named("u");
    SqliteStorage::open(&db.path(), &db.model, zeros).unwrap_err();
    let report = prepare(&db.path(), &db.model, zeros).unwrap();
    assert!(
        report
            .statements
            .iter()
            .any(|s| s.sql.contains("DROP TRIGGER")),
        "the old ones go"
    );
    db.start();
    device.pull(&db, &["t"], 10);
    assert_eq!((device.resets, device.rows("t").len()), (1, 1));
}

#[test]
fn p5_a_table_that_leaves_the_model_and_comes_back_starts_over() {
    let mut db = SqliteDatabase::new();
    db.execute("INSERT INTO stock (id) VALUES (1), (2)");
    let mut device = Replica::default();
    device.pull(&db, &["stock", "line"], 10);
    let whole = db.model.clone();
    let without = ServerModel {
        entities: whole
            .entities
            .iter()
            .filter(|e| e.table != "stock")
            .cloned()
            .collect(),
        ..whole.clone()
    };
    db.stop();
    prepare(&db.path(), &without, zeros).unwrap();
    Connection::open(db.path())
        .unwrap()
        .execute_batch("DELETE FROM stock WHERE id = 1")
        .unwrap();
    prepare(&db.path(), &whole, zeros).unwrap();
    db.start();
    device.pull(&db, &["stock", "line"], 10);
    assert_eq!(device.resets, 1);
    assert_same(&db, &device, &["stock", "line"]);
}

#[test]
fn the_documented_tables_are_the_ones_in_the_database() {
    let db = SqliteDatabase::new();
    let mut columns = db
        .foreign()
        .prepare(
            "SELECT t.name, c.name FROM pragma_table_list t, pragma_table_xinfo(t.name) c
             WHERE t.name LIKE 'afield\\_%' ESCAPE '\\'
             AND t.name NOT LIKE 'afield\\_mark%' ESCAPE '\\'",
        )
        .unwrap();
    let columns: Vec<(String, String)> = columns
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap();
    assert!(columns.len() > 15);
    for (table, column) in columns {
        let text = TABLES_SQL
            .split(&format!("CREATE TABLE {table} ("))
            .nth(1)
            .unwrap();
        let text = text.split(";\n").next().unwrap();
        let line = text
            .lines()
            .find(|line| line.trim().starts_with(&format!("{column} ")));
        assert!(
            line.is_some_and(|line| line.contains("-- ")),
            "{table}.{column} has no comment"
        );
    }
}
