//! What is equal: here, in the condition of a push, and in SQL.

use afield_protocol::{Chosen, Type, Value};

use super::super::super::cell::Form;
use super::*;

/// The types of a row's column and of what a query finds, and literals for both.
const KINDS: &[(&str, &str, &[&str])] = &[
    ("int2", "int8", NUMBERS),
    ("int4", "int4", NUMBERS),
    ("int8", "int2", NUMBERS),
    ("small", "int8", NUMBERS),
    (
        "numeric",
        "numeric(20, 4)",
        &[
            "0", "0.00", "1.5", "1.50", "1500", "1500.000", "-0.0001", "'NaN'",
        ],
    ),
    ("text", "varchar(20)", TEXTS),
    ("varchar(9)", "text", TEXTS),
    ("text COLLATE \"C\"", "text COLLATE \"POSIX\"", TEXTS),
    ("words", "name", TEXTS),
    ("name", "text", TEXTS),
    ("char(5)", "char(9)", TEXTS),
    ("mood", "mood", WORDS),
    ("moods", "mood", WORDS),
    ("mood", "moods", WORDS),
    (
        "uuid",
        "uuid",
        &[
            "'0190b3a1-5c1e-7cc3-98a1-0123456789ab'",
            "'00000000-0000-0000-0000-000000000000'",
        ],
    ),
    ("bool", "bool", &["true", "false"]),
    ("date", "date", DAYS),
    (
        "time",
        "time(3)",
        &["'00:00'", "'24:00'", "'12:00:00.5'", "'12:00:00.500'"],
    ),
    ("timestamp", "timestamp", DAYS),
    ("timestamptz", "timestamptz", DAYS),
    ("bytea", "bytea", &["''", "'a'", "'\\x00'"]),
];

/// A value is held or not, whoever is asked: the sets here, the condition for pushes, or SQL that
/// compares the row's column with what the query finds. Straight, and by a row in between.
#[test]
fn p7_values_are_equal_here_exactly_if_they_are_in_sql() {
    let mut held_ones = 0;
    let mut bench = Bench::new(TYPES);
    for (row, held, literals) in KINDS {
        bench.run(&format!(
            "DROP TABLE IF EXISTS t, p, bag; CREATE TABLE t (id int PRIMARY KEY, c {row});
             CREATE TABLE p (k {row}, c {row}); CREATE TABLE bag (v {held})"
        ));
        for (at, literal) in literals.iter().enumerate() {
            bench.run(&format!("INSERT INTO t VALUES ({at}, {literal})"));
        }
        bench.run("INSERT INTO t VALUES (100, NULL); INSERT INTO p SELECT c, c FROM t");
        let straight = bench.compile(
            &[named("SELECT v FROM bag")],
            condition("c", &[], by_query()),
        );
        let path = condition("c", &[("p", "k", "c")], by_query());
        let led = bench.compile(&[named("SELECT v FROM bag; ")], path);
        let caller = Caller::user("ada");
        for literal in literals.iter().chain(&["NULL"]) {
            bench.run(&format!("TRUNCATE bag; INSERT INTO bag VALUES ({literal})"));
            let how = match *literals {
                TEXTS => " COLLATE \"C\"",
                WORDS => "::mood",
                _ => "",
            };
            let sql = format!("SELECT coalesce(c{how} = v{how}, false) FROM t, bag ORDER BY id");
            let found = bench.query(&sql, &[]);
            let equal: Vec<bool> = found.iter().map(|row| row.get(0)).collect();
            for scope in [&straight, &led] {
                let scope = scope
                    .as_ref()
                    .unwrap_or_else(|error| panic!("{row}: {error}"));
                let rows = bench.rows(scope, asking(&caller));
                for ((id, here, pushed), equal) in rows.iter().zip(&equal) {
                    let place = format!("row {id} of {row}, {literal} of {held}");
                    assert_eq!(here, equal, "held: {place}");
                    assert_eq!(pushed, equal, "push: {place}");
                    held_ones += i32::from(*equal);
                }
            }
        }
    }
    assert!(held_ones > 150, "{held_ones}");
}

/// What a pull would hold if it were chosen is what a push allows.
#[test]
fn p7_a_push_allows_what_a_pull_would_hold() {
    let (mut compared, mut held) = (0, 0);
    let mut bench = Bench::new(TYPES);
    for (row, of, kind, literals) in [
        ("int4", "int8", Type::Integer, NUMBERS),
        ("int8", "int2", Type::Integer, NUMBERS),
        (
            "numeric",
            "numeric",
            Type::Decimal,
            &["1.5", "1.50", "0"][..],
        ),
        ("text", "text COLLATE \"C\"", Type::Text, TEXTS),
        (
            "text COLLATE \"C\"",
            "varchar(9) COLLATE \"POSIX\"",
            Type::Text,
            TEXTS,
        ),
        ("char(5)", "char(3)", Type::Text, TEXTS),
        ("char(5)", "text", Type::Text, TEXTS),
        ("mood", "mood", Type::Text, WORDS),
        ("bool", "bool", Type::Boolean, &["true", "false"]),
        ("date", "date", Type::Date, DAYS),
        ("timestamptz", "timestamptz", Type::Instant, DAYS),
        (
            "uuid",
            "uuid",
            Type::Uuid,
            &["'0190b3a1-5c1e-7cc3-98a1-0123456789ab'"],
        ),
    ] {
        for query in [
            "SELECT n IS NOT NULL FROM m WHERE n = :value",
            "SELECT count(*) FROM m WHERE :value = n",
            "SELECT EXISTS (SELECT FROM m WHERE n = :value)",
            "SELECT 'yes' FROM m WHERE n = :value AND :user <> 'eve'",
        ] {
            bench.run(&format!(
                "DROP TABLE IF EXISTS m, t; CREATE TABLE m (n {of});
                 CREATE TABLE t (id int PRIMARY KEY, c {row})"
            ));
            for (at, literal) in literals.iter().enumerate() {
                bench.run(&format!("INSERT INTO t VALUES ({at}, {literal})"));
                if at % 2 == 0 {
                    bench.run(&format!("INSERT INTO m VALUES ({literal})"));
                }
            }
            let scope = NamedScope {
                chosen: Some(kind),
                ..named(query)
            };
            let scope = bench.compile(&[scope], condition("c", &[], by_query()));
            let scope = scope.unwrap_or_else(|error| panic!("{row} {query}: {error}"));
            for (pulled, pushed, value) in pulls_and_pushes(&bench, &scope, kind) {
                assert_eq!(pulled, pushed, "{row} {of} {query} {value:?}");
                compared += 1;
                held += i32::from(pulled);
            }
        }
    }
    assert!(compared > 150 && held > 80, "{compared} {held}");
}

/// For each row whose value has this type: whether a pull holds the value, and a push allows it.
fn pulls_and_pushes(bench: &Bench, scope: &ScopeSql, kind: Type) -> Vec<(bool, bool, Value)> {
    let form = Form {
        kind,
        wire: scope.columns[0].class.fill().wire,
    };
    let sql = format!("SELECT id, {} FROM t", scope.columns[0].identity("t"));
    let mut found = Vec::new();
    for row in bench.query(&sql, &[]) {
        let value = form.read(row.get(1)).unwrap().as_ref().to_value();
        if !kind.accepts(value.as_ref()) {
            continue;
        }
        let chosen = [Chosen {
            scope: "s".into(),
            values: vec![value.clone()],
        }];
        let caller = Caller::user("ada");
        let asking = Asking {
            caller: &caller,
            chosen: &chosen,
            values_max: 10,
        };
        let rows = bench.rows(scope, asking);
        let (_, pulled, pushed) = rows.iter().find(|it| it.0 == row.get::<_, i32>(0)).unwrap();
        found.push((*pulled, *pushed, value));
    }
    found
}
