//! Names, search paths, and the plans of what is asked.

use afield_protocol::Type;
use serde_json::json;

use super::super::super::name::TableName;
use super::super::class::Class;
use super::*;

#[test]
fn p9_no_more_values_are_read_than_may_be_looked_up() {
    let mut bench = Bench::new("CREATE TABLE t (id int PRIMARY KEY, c int)");
    let scopes = [named("SELECT generate_series(1, 100)::int")];
    let scope = bench
        .compile(&scopes, condition("c", &[], by_query()))
        .unwrap();
    let caller = Caller::user("ada");
    for (values_max, read, is_over) in [(99, 100, true), (100, 100, false), (5, 6, true)] {
        let asking = Asking {
            values_max,
            ..asking(&caller)
        };
        let now = bench.now(&scope, asking);
        assert_eq!((now.all().count(), now.is_over), (read, is_over));
    }
}

/// Names that could end early, and a search path that offers other tables and operators.
#[test]
fn p7_no_name_and_no_search_path_turns_a_scope_into_another() {
    let mut bench = Bench::new(
        "CREATE SCHEMA evil; CREATE SCHEMA \"o\"\"dd\";
         CREATE TYPE \"o\"\"dd\".\"mo'od\" AS ENUM ('a', 'b');
         CREATE TABLE t (id int PRIMARY KEY, \"c\"\"; --\" text, n numeric,
           e \"o\"\"dd\".\"mo'od\");
         CREATE TABLE \"o\"\"dd\".\"p;\" (\"k\"\"'\" text, \"v :user\" text);
         INSERT INTO t VALUES (1, 'x', 1.0, 'a'), (2, 'y', 2, 'b');
         INSERT INTO \"o\"\"dd\".\"p;\" VALUES ('x', 'ada'), ('y', 'eve');
         CREATE TABLE evil.t (id int, \"c\"\"; --\" text, n numeric);
         CREATE FUNCTION evil.yes(text, text) RETURNS bool LANGUAGE sql AS 'SELECT true';
         CREATE FUNCTION evil.yes(numeric, numeric) RETURNS bool LANGUAGE sql AS 'SELECT true';
         CREATE OPERATOR evil.= (LEFTARG = text, RIGHTARG = text, FUNCTION = evil.yes);
         CREATE OPERATOR evil.= (LEFTARG = numeric, RIGHTARG = numeric, FUNCTION = evil.yes);
         CREATE FUNCTION evil.trim_scale(numeric) RETURNS numeric LANGUAGE sql AS 'SELECT 7.0';
         CREATE FUNCTION evil.unnest(anyarray) RETURNS SETOF text LANGUAGE sql AS 'SELECT ''x''';
         CREATE DOMAIN evil.text AS text; CREATE DOMAIN evil.numeric AS numeric;",
    );
    let path = [("o\"dd.p;", "k\"'", "v :user")];
    let mut caller = Caller::user("ada");
    caller.claims.insert("n".into(), json!("1"));
    caller.claims.insert("e".into(), json!("b"));
    let claim = |name: &str| Holds::Claim(name.into());
    for (condition, expected) in [
        (condition("c\"; --", &path[..], Holds::User), [true, false]),
        (condition("n", &[], claim("n")), [true, false]),
        (condition("e", &[], claim("e")), [false, true]),
    ] {
        let place = condition.column.clone();
        let condition = Condition {
            path: (condition.path.into_iter())
                .map(|hop| Hop {
                    table: TableName::new("o\"dd", "p;").to_string(),
                    ..hop
                })
                .collect(),
            ..condition
        };
        bench.run("SET search_path = public");
        let scope = bench.compile(&[], condition).unwrap();
        bench.run("SET search_path = evil, pg_catalog, public");
        let now = bench.now(&scope, asking(&caller));
        let asks = scope.predicate("r", 1, "l");
        let identity = scope.columns[0].identity("r");
        let from = format!(
            "SELECT {identity}, {} FROM public.t AS r ORDER BY id",
            asks.sql
        );
        let found = bench.query(&asks.statement(&from), &asks.bound(asking(&caller)));
        for (row, expected) in found.iter().zip(expected) {
            let Stored(identity) = row.get(0);
            assert_eq!(
                now.number(0, identity.unwrap()).is_some(),
                expected,
                "{place}"
            );
            assert_eq!(row.get::<_, bool>(1), expected, "{place}");
        }
    }
}

/// A query keeps its meaning inside the condition of a row: the row's columns are no names in it.
#[test]
fn p7_a_query_does_not_see_the_row_that_is_asked_about() {
    let mut bench = Bench::new(
        "CREATE TABLE t (id int PRIMARY KEY, c int, w text); CREATE TABLE m (n int, w text);
         INSERT INTO t VALUES (1, 1, 'x'); INSERT INTO m VALUES (1, 'y')",
    );
    let scopes = [named("SELECT n FROM m WHERE w = 'x'")];
    let scope = bench
        .compile(&scopes, condition("c", &[], by_query()))
        .unwrap();
    bench.run("ALTER TABLE m DROP COLUMN w");
    let asks = scope.predicate("r", 1, "l");
    let sql = asks.statement(&format!("SELECT {} FROM t AS r", asks.sql));
    assert!(bench.runtime.block_on(bench.client.prepare(&sql)).is_err());
}

/// The cost follows what is held and asked about, never the tables.
#[test]
fn p9_every_step_follows_an_index() {
    let mut bench = Bench::new(TYPES);
    bench.run("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan");
    for (own, kind) in [
        ("int4", "int8"),
        ("text COLLATE \"C\"", "text COLLATE \"C\""),
        ("varchar(9)", "varchar(20)"),
        ("char(9)", "char(9)"),
        ("uuid", "uuid"),
        ("numeric", "numeric(9, 2)"),
        ("mood", "mood"),
        ("name", "name"),
    ] {
        bench.run(&format!(
            "DROP TABLE IF EXISTS t, firm, m; CREATE TABLE t (id int PRIMARY KEY, c {own});
             CREATE TABLE firm (id {kind} PRIMARY KEY, region {own});
             CREATE INDEX ON firm (region);
             CREATE TABLE m (user_id text, n {own}, PRIMARY KEY (user_id, n));
             CREATE INDEX ON m (n);
             CREATE INDEX ON t (c)"
        ));
        let query = "SELECT n FROM m WHERE user_id = :user";
        let chosen = NamedScope {
            chosen: Class::named(kind.split('(').next().unwrap().split(' ').next().unwrap())
                .map_or(Some(Type::Text), |class| class.fill().kind()),
            ..named("SELECT true FROM m WHERE user_id = :user AND n = :value")
        };
        for scope in [named(query), chosen] {
            for path in [&[][..], &[("firm", "id", "region")]] {
                let way = condition("c", path, by_query());
                let compiled = bench.compile(std::slice::from_ref(&scope), way).unwrap();
                let asks = compiled.predicate("r", 1, "l");
                let asked = format!("SELECT FROM t AS r WHERE r.id = 1 AND {}", asks.sql);
                let list = compiled.asked(0, 500).unwrap().0;
                let held = format!(
                    "SELECT FROM t AS r WHERE r.c = {}",
                    compiled.columns[0].given(1)
                );
                for sql in [asks.statement(&asked), list, held] {
                    let plan = plan(&bench, &sql);
                    assert!(!plan.contains("Seq Scan"), "{own}: {sql}:\n{plan}");
                    assert!(
                        !plan.contains("Index Scan using m_pkey on m\n"),
                        "{sql}:\n{plan}"
                    );
                }
            }
        }
    }
}

fn plan(bench: &Bench, sql: &str) -> String {
    let prepared = bench.runtime.block_on(bench.client.prepare(sql)).unwrap();
    let nulls: Vec<&str> = prepared.params().iter().map(|_| "NULL").collect();
    bench.run(&format!("PREPARE afield_plan AS {sql}"));
    let given = match nulls.is_empty() {
        true => String::new(),
        false => format!("({})", nulls.join(", ")),
    };
    let lines = bench.query(&format!("EXPLAIN EXECUTE afield_plan{given}"), &[]);
    bench.run("DEALLOCATE afield_plan");
    let lines: Vec<String> = lines.iter().map(|row| row.get(0)).collect();
    lines.join("\n")
}
