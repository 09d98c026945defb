//! Scopes over tables of every kind: what is equal, what is refused, what is looked up how.

use afield_protocol::{Attribute, Chosen, Entity, Identifier, Model, Pattern, Type, Value};
use rusqlite::Connection;
use serde_json::json;

use super::super::entity::EntityTable;
use super::super::marks::Capture;
use super::super::raw::Raw;
use super::now::{self, bytes_of};
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
        chosen: None,
    }
}

fn asking(caller: &Caller) -> Asking<'_> {
    Asking {
        caller,
        chosen: &[],
        values_max: usize::MAX,
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
            chosen: Vec::new(),
            limits: Default::default(),
            sync: Default::default(),
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
            let now = now::ask(&conn, &KEY, "t", scope, asking(&caller)).unwrap();
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
        scope.held(&conn, 0, asking(&Caller::user("ada"))).unwrap();
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

/// What a pull would hold if it were chosen is what a push allows, whatever the columns are like
/// and on whichever side of `=` the value stands.
#[test]
fn p7_a_push_allows_what_a_pull_would_hold() {
    let (mut compared, mut held) = (0, 0);
    for (row, of) in [
        ("TEXT", "TEXT COLLATE NOCASE"),
        ("TEXT", "INTEGER"),
        ("TEXT", ""),
        ("INTEGER", "TEXT"),
        ("INTEGER", "REAL"),
        ("NUMERIC", ""),
        ("", "TEXT COLLATE RTRIM"),
        ("", "INTEGER"),
    ] {
        for query in [
            "SELECT 1 FROM m WHERE n = :value",
            "SELECT 1 FROM m WHERE :value = n",
        ] {
            for kind in [Type::Text, Type::Integer] {
                let found = pulls_and_pushes(row, of, query, kind);
                for (pulled, pushed, value) in found {
                    assert_eq!(pulled, pushed, "{row} {of} {query} {value:?}");
                    compared += 1;
                    held += i32::from(pulled);
                }
            }
        }
    }
    assert!(compared > 200 && held > 100, "{compared} {held}");
}

/// For each row whose value has this type: whether a pull holds the value, and a push allows it.
fn pulls_and_pushes(row: &str, of: &str, query: &str, kind: Type) -> Vec<(bool, bool, Raw)> {
    let conn = Connection::open_in_memory().unwrap();
    rusqlite::vtab::array::load_module(&conn).unwrap();
    conn.execute_batch(&format!(
        "CREATE TABLE m (n {of}); CREATE TABLE t (id INTEGER PRIMARY KEY, c {row});"
    ))
    .unwrap();
    for (at, literal) in ZOO.iter().enumerate() {
        let into = if at % 3 == 0 { "m (n)" } else { "t (c)" };
        let both = format!("INSERT INTO {into} VALUES ({literal})");
        conn.execute_batch(&both).unwrap();
    }
    conn.execute_batch("INSERT INTO t (c) SELECT n FROM m; INSERT INTO t (c) VALUES ('Abc ')")
        .unwrap();
    let scopes = [NamedScope {
        chosen: Some(kind),
        ..named(query)
    }];
    let local = Entity {
        scope: vec![1],
        ..Entity::new(
            "t",
            Pattern::LastWriteWins,
            Identifier::Natural,
            1,
            vec![Attribute::new("id", Type::Integer)],
        )
    };
    let entity = ServerEntity {
        scope: Scope::Ways(vec![vec![condition("c", &[], by_query())]]),
        ..ServerEntity::new(local, "t", Vec::new())
    };
    let schema = TableSchema::read(&conn, "t").unwrap();
    let scope = ScopeSql::compile(&conn, &scopes, &entity, &schema);
    let scope = scope.unwrap().unwrap();
    let sql = format!("SELECT c, {} FROM t", scope.predicate());
    let mut rows = conn.prepare(&sql).unwrap();
    let rows = rows.query_map([], |row| {
        Ok((Raw::from_stored(row.get_ref(0)?), row.get::<_, bool>(1)?))
    });
    let mut found = Vec::new();
    for row in rows.unwrap() {
        let (value, pushed) = row.unwrap();
        let chosen = match &value {
            Raw::Integer(n) => Value::Integer(*n),
            Raw::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
            _ => continue,
        };
        if !kind.accepts(chosen.as_ref()) {
            continue;
        }
        let chosen = [Chosen {
            scope: "s".into(),
            values: vec![chosen],
        }];
        let caller = Caller::user("ada");
        let asking = Asking {
            caller: &caller,
            chosen: &chosen,
            values_max: usize::MAX,
        };
        let held = scope.held(&conn, 0, asking).unwrap();
        found.push((held.contains(&value), pushed, value));
    }
    found
}

/// Whether a value may be chosen is a point of an index, for a pull and for a push; a path costs
/// a push one row of each table that it leads through.
#[test]
fn p9_every_question_about_a_choice_follows_an_index() {
    let conn = Connection::open_in_memory().unwrap();
    rusqlite::vtab::array::load_module(&conn).unwrap();
    conn.execute_batch(
        "CREATE TABLE m (user_id TEXT, n INT, PRIMARY KEY (user_id, n));
         CREATE TABLE firm (id INTEGER PRIMARY KEY, n INT); CREATE INDEX firm_n ON firm (n);
         CREATE TABLE t (id INTEGER PRIMARY KEY, firm INT, n INT);",
    )
    .unwrap();
    let schema = TableSchema::read(&conn, "t").unwrap();
    let query = "SELECT 1 FROM m WHERE user_id = :user AND n = :value";
    let scopes = [NamedScope {
        chosen: Some(Type::Integer),
        ..named(query)
    }];
    for way in [
        condition("n", &[], by_query()),
        condition("firm", &[("firm", "id", "n")], by_query()),
    ] {
        let local = Entity {
            scope: vec![1],
            ..Entity::new(
                "t",
                Pattern::LastWriteWins,
                Identifier::Natural,
                1,
                vec![Attribute::new("id", Type::Integer)],
            )
        };
        let entity = ServerEntity {
            scope: Scope::Ways(vec![vec![way]]),
            ..ServerEntity::new(local, "t", Vec::new())
        };
        let scope = ScopeSql::compile(&conn, &scopes, &entity, &schema);
        let scope = scope.unwrap().unwrap();
        let push = format!("SELECT 1 FROM t WHERE id = 1 AND {}", scope.predicate());
        for sql in [&push, &scope.conditions[0].list] {
            let plan = plan(&conn, sql);
            assert!(plan.contains("SEARCH m USING"), "{sql}: {plan}");
            for table in ["m", "t", "firm"] {
                assert!(!plan.contains(&format!("SCAN {table}")), "{sql}: {plan}");
            }
        }
    }
}

fn plan(conn: &Connection, sql: &str) -> String {
    let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let steps = statement.raw_query().mapped(|row| row.get::<_, String>(3));
    steps.map(Result::unwrap).collect::<Vec<_>>().join("; ")
}
