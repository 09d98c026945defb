//! Scopes over tables of every kind: what is equal, what is refused, what is looked up how.

use afield_protocol::{Attribute, Entity, Identifier, Model, Pattern, Type};
use rusqlite::Connection;
use serde_json::json;

use super::super::entity::EntityTable;
use super::super::marks::Capture;
use super::super::raw::Raw;
use super::now::{Now, bytes_of};
use super::*;
use crate::resolved::{Hop, ServerColumn, ServerModel};

const KEY: [u8; 32] = [5; 32];

fn condition(column: &str, path: &[(&str, &str, &str)], holds: Holds) -> Condition {
    let hop = |(table, key, column): &(&str, &str, &str)| Hop {
        table: (*table).into(),
        key: (*key).into(),
        column: (*column).into(),
    };
    Condition {
        column: column.into(),
        path: path.iter().map(hop).collect(),
        holds,
    }
}

fn named(query: &str) -> NamedScope {
    NamedScope {
        name: "s".into(),
        query: query.into(),
    }
}

fn by_query() -> Holds {
    Holds::Scope("s".into())
}

/// The table `t` of these statements with one way in.
fn load(
    conn: &Connection,
    sql: &str,
    key: &[&str],
    way: Vec<Condition>,
    query: &str,
) -> Result<EntityTable, StorageError> {
    conn.execute_batch(sql).unwrap();
    let scope = Scope::Ways(vec![way]);
    let attribute = |name: &&str| Attribute::new(*name, Type::Text);
    let column = |name: &&str| ServerColumn {
        name: (*name).into(),
        kind: Type::Text,
        scale: None,
    };
    let local = Entity {
        scope: scope.widths(),
        ..Entity::new(
            "t",
            Pattern::ReadOnlyOptimized,
            Identifier::Natural,
            key.len(),
            key.iter().map(attribute).collect(),
        )
    };
    let entity = ServerEntity {
        scope,
        ..ServerEntity::new(local, "t", key.iter().map(column).collect())
    };
    let model = ServerModel {
        device: Model {
            version: 1,
            units: Vec::new(),
            entities: vec![entity.local.clone()],
        },
        entities: vec![entity.clone()],
        scopes: vec![named(query)],
    };
    EntityTable::load(conn, &model, &entity)
}

/// Literals that SQLite compares in surprising ways.
const ZOO: [&str; 31] = [
    "7",
    "'7'",
    "' 7 '",
    "'7.0'",
    "7.0",
    "'07'",
    "'7a'",
    "x'37'",
    "1e3",
    "'1e3'",
    "'abc'",
    "'ABC'",
    "9007199254740993",
    "9007199254740992.0",
    "'9007199254740993'",
    "-0.0",
    "0",
    "'-0'",
    "1e300",
    "9223372036854775807",
    "9223372036854775808.0",
    "'0x10'",
    "16",
    "NULL",
    "'inf'",
    "9e999",
    "'true'",
    "1",
    "0.1",
    "'0.1'",
    "''",
];

/// A value is held or not, whoever is asked: the sets here, the predicate for pushes, or SQL that
/// compares the row's column with what the query finds.
#[test]
fn p7_values_are_equal_here_exactly_if_they_are_in_sql() {
    for declared in [
        "INTEGER",
        "TEXT",
        "REAL",
        "NUMERIC",
        "",
        "BLOB",
        "VARCHAR(9)",
        "BOOLEAN",
    ] {
        for held in ZOO {
            let conn = Connection::open_in_memory().unwrap();
            let sql = format!(
                "CREATE TABLE t (id INTEGER PRIMARY KEY, c {declared});
                 CREATE TABLE bag (v); INSERT INTO bag VALUES ({held})"
            );
            let way = vec![condition("c", &[], by_query())];
            let table = load(&conn, &sql, &["id"], way, "SELECT +v FROM bag").unwrap();
            let caller = Caller::user("ada");
            let (scope, _) = table.scoped().unwrap();
            let now = Now::ask(&conn, &KEY, "t", scope, &caller).unwrap();
            for (id, cell) in (0_i64..).zip(ZOO) {
                let insert = format!("INSERT INTO t VALUES ({id}, {cell})");
                conn.execute_batch(&insert).unwrap();
                let sql =
                    "SELECT c, EXISTS (SELECT 1 FROM bag WHERE t.c = +v) FROM t WHERE id = ?1";
                let (stored, is_held) = conn
                    .query_row(sql, [id], |row| {
                        let stored = Raw::from_stored(row.get_ref(0)?);
                        Ok((stored, row.get::<_, bool>(1)?))
                    })
                    .unwrap();
                let place = format!("{cell} in a column {declared:?}, {held} held");
                let here = now.number(0, &bytes_of(&stored)).is_some();
                assert_eq!(here, is_held, "{place}");
                let key = [Raw::Integer(id)];
                let is_mine = table.is_in_scope(&conn, &caller, &key).unwrap();
                assert_eq!(is_mine, is_held, "pushes: {place}");
            }
        }
    }
}

#[test]
fn p7_claims_are_text_numbers_or_truth_values_and_nothing_else() {
    let conn = Connection::open_in_memory().unwrap();
    let way = vec![condition("c", &[], Holds::Claim("team".into()))];
    let sql = "CREATE TABLE t (id TEXT PRIMARY KEY, c);
        INSERT INTO t VALUES ('text', 'red'), ('one', 1), ('half', 0.5), ('null', NULL),
          ('list', '[]')";
    let table = load(&conn, sql, &["id"], way, "SELECT 1").unwrap();
    for (claim, expected) in [
        (json!("red"), Some("text")),
        (json!(1), Some("one")),
        (json!(true), Some("one")),
        (json!(0.5), Some("half")),
        (json!(null), None),
        (json!([]), None),
        (json!({}), None),
        (json!(["red"]), None),
        (json!(18_446_744_073_709_551_615_u64), None),
    ] {
        let mut caller = Caller::user("red");
        caller.claims.insert("team".into(), claim.clone());
        for id in ["text", "one", "half", "null", "list"] {
            let key = [Raw::Text(id.into())];
            let is_mine = table.is_in_scope(&conn, &caller, &key).unwrap();
            assert_eq!(is_mine, expected == Some(id), "{claim}: {id}");
        }
    }
    let key = [Raw::Text("null".into())];
    assert!(!table.is_in_scope(&conn, &Caller::user("x"), &key).unwrap());
}

const TABLES: &str = "
    CREATE TABLE t (
      id INTEGER PRIMARY KEY, n INTEGER, w TEXT, c TEXT COLLATE NOCASE, a
    );
    CREATE TABLE p (id INTEGER PRIMARY KEY, code TEXT, name TEXT COLLATE RTRIM, n INTEGER);
    CREATE TABLE m (user_id TEXT, n INTEGER, w TEXT);";

#[test]
fn what_cannot_be_compared_exactly_is_refused() {
    let by = |column: &str, path: &[(&str, &str, &str)]| condition(column, path, by_query());
    for (wrong, query, word) in [
        (
            by("gone", &[]),
            "SELECT 1",
            "`t.gone`, which does not exist",
        ),
        (by("c", &[]), "SELECT 1", "collation is NOCASE"),
        (
            by("n", &[]),
            "SELECT w FROM m",
            "`t.n` (INTEGER) with `scope `s`` (TEXT)",
        ),
        (by("w", &[]), "SELECT n FROM m", "CAST in the query"),
        (by("a", &[]), "SELECT n FROM m", "(BLOB)"),
        (
            by("n", &[("p", "code", "n")]),
            "SELECT 1",
            "`t.n` (INTEGER) with `p.code` (TEXT)",
        ),
        (
            by("w", &[("p", "name", "n")]),
            "SELECT 1",
            "collation is RTRIM",
        ),
        (
            by("n", &[("p", "id", "name")]),
            "SELECT 1",
            "collation is RTRIM",
        ),
        (
            by("n", &[("p", "id", "code")]),
            "SELECT n FROM m",
            "`p.code` (TEXT)",
        ),
        (by("n", &[("q", "id", "code")]), "SELECT 1", "no table `q`"),
        (by("n", &[]), "SELECT n, w FROM m", "one column"),
        (by("n", &[]), "DELETE FROM m", "one column"),
        (by("n", &[]), "SELECT n FROM m WHERE w = ?", "parameter"),
        (by("n", &[]), "SELECT n FROM m WHERE w = :me", "`:me`"),
        (by("n", &[]), "SELECT n FROM", "the query of the scope `s`"),
        (
            by("n", &[]),
            "SELECT 1; DELETE FROM m",
            "the query of the scope `s`",
        ),
        (
            condition("n", &[], Holds::Claim("a-b".into())),
            "SELECT 1",
            "letters, digits",
        ),
        (
            condition("n", &[], Holds::Scope("x".into())),
            "SELECT 1",
            "no scope `x`",
        ),
    ] {
        let conn = Connection::open_in_memory().unwrap();
        let error = load(&conn, TABLES, &["id"], vec![wrong], query).unwrap_err();
        assert!(error.message.contains(word), "{query}: {error}");
        assert!(!error.is_retryable);
    }
}

#[test]
fn queries_of_every_shape_are_asked() {
    for query in [
        "SELECT n FROM m WHERE user_id = :user AND w IS NOT :claim_team -- a comment",
        "WITH x AS (SELECT n FROM m) SELECT n FROM x; ",
        "VALUES (1), (2)",
        "SELECT CAST(w AS INTEGER) FROM m UNION SELECT n FROM m",
    ] {
        let conn = Connection::open_in_memory().unwrap();
        let table = load(
            &conn,
            TABLES,
            &["id"],
            vec![condition("n", &[], by_query())],
            query,
        )
        .unwrap();
        let (scope, _) = table.scoped().unwrap();
        scope.held(&conn, 0, &Caller::user("ada")).unwrap();
    }
}

/// The cost of a pull follows the values held and what changed, never the table.
#[test]
fn p9_every_statement_of_a_scoped_pull_follows_an_index() {
    for (sql, key) in [
        (
            "CREATE TABLE t (id INTEGER PRIMARY KEY, c INTEGER); CREATE INDEX i ON t (c)",
            &["id"][..],
        ),
        (
            "CREATE TABLE t (id TEXT PRIMARY KEY, c TEXT); CREATE INDEX i ON t (c, id)",
            &["id"],
        ),
        (
            "CREATE TABLE t (a TEXT, b INT, c, PRIMARY KEY (b, a)) WITHOUT ROWID;
             CREATE INDEX i ON t (c)",
            &["a", "b"],
        ),
        (
            "CREATE TABLE t (a TEXT NOT NULL, b INT NOT NULL, c REAL, PRIMARY KEY (a, b));
             CREATE INDEX i ON t (c, a, b)",
            &["a", "b"],
        ),
    ] {
        let conn = Connection::open_in_memory().unwrap();
        rusqlite::vtab::array::load_module(&conn).unwrap();
        let way = vec![condition("c", &[], Holds::User)];
        let table = load(&conn, sql, key, way, "SELECT 1").unwrap();
        conn.execute_batch("CREATE TABLE afield_clock (change)")
            .unwrap();
        let names: Vec<String> = key.iter().map(|name| (*name).to_owned()).collect();
        for object in Capture::new(&table.schema, &names, &["c".into()]).objects() {
            conn.execute_batch(&object.sql).unwrap();
        }
        let (_, scoped) = table.scoped().unwrap();
        let rows = [&scoped.by_key, &scoped.first[0], &scoped.after[0]];
        for statement in rows {
            let plan = plan(&conn, statement);
            assert!(plan.starts_with("SEARCH t"), "{sql}: {statement}: {plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{sql}: {statement}: {plan}");
        }
        let marks = plan(&conn, &scoped.marks[0]);
        assert!(
            marks.contains("SEARCH m USING") && marks.contains("afield_scope1_t"),
            "{marks}"
        );
        assert!(
            marks.contains("(scope1=? AND change>? AND change<?)"),
            "{marks}"
        );
        assert!(!marks.contains("TEMP B-TREE"), "{marks}");
    }
}

fn plan(conn: &Connection, sql: &str) -> String {
    let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let steps = statement.raw_query().mapped(|row| row.get::<_, String>(3));
    steps.map(Result::unwrap).collect::<Vec<_>>().join("; ")
}
