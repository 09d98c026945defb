//! Queries of scopes, held against a PostgreSQL: described, and never run.

use afield_server::catalog::{Queries as _, QueryProblem, QueryShape};
use afield_server::storage::postgres::Session;
use afield_testbed::postgres::{Cluster, Database};

use crate::postgres_catalog::session;

const TEAM: &str = "
    CREATE SCHEMA sales;
    CREATE TABLE region (id int PRIMARY KEY, name text);
    CREATE TABLE member (user_id text, region_id int REFERENCES region, note text);
    CREATE INDEX member_user ON member (user_id);
    CREATE TABLE sales.\"Deal\" (id uuid PRIMARY KEY, \"Owner\" text);
    CREATE VIEW shown AS
        SELECT m.user_id, m.region_id FROM member m JOIN region r ON r.id = m.region_id;
    CREATE TABLE parted (id int PRIMARY KEY, owner text) PARTITION BY LIST (id);
    CREATE TABLE part_1 PARTITION OF parted FOR VALUES IN (1);
    CREATE SCHEMA afield;
    CREATE TABLE afield.ledger (id int);
    CREATE SEQUENCE s;
    CREATE FUNCTION grow() RETURNS int LANGUAGE sql AS
        'INSERT INTO member VALUES (''x'') RETURNING 1';
    CREATE FUNCTION mine(who text) RETURNS SETOF int LANGUAGE sql STABLE AS
        'SELECT region_id FROM member WHERE user_id = who';
    INSERT INTO member VALUES ('ann', NULL, 'x');
    ANALYZE; -- The planner knows now how small everything is.
";

fn team() -> (Database, Session) {
    let database = Cluster::shared().database(TEAM);
    let session = session(&database.url);
    (database, session)
}

fn shape(session: &Session, sql: &str) -> QueryShape {
    session
        .describe(sql)
        .unwrap_or_else(|problem| panic!("{sql}: {problem}"))
}

fn problem(session: &Session, sql: &str) -> QueryProblem {
    session.describe(sql).expect_err(sql)
}

#[test]
fn a_query_says_what_it_finds_needs_and_reads() {
    let (_database, session) = team();
    let found = shape(
        &session,
        "SELECT region_id FROM member WHERE user_id = :user",
    );
    assert_eq!(found.columns.len(), 1);
    assert_eq!(found.columns[0].name, "region_id");
    let origin = Some(("member".to_owned(), "region_id".to_owned()));
    assert_eq!(found.columns[0].origin, origin);
    assert_eq!(found.parameters, [":user"]);
    assert_eq!(found.tables, ["member"]);
    assert!(found.scanned.is_empty(), "{found:?}");

    let sql = "SELECT \"Owner\" || '', id FROM sales.\"Deal\" d WHERE \"Owner\" = :claim_x::text";
    let found = shape(&session, sql);
    assert_eq!(found.columns[0].origin, None, "an expression");
    let origin = Some(("sales.Deal".to_owned(), "id".to_owned()));
    assert_eq!(found.columns[1].origin, origin);
    assert_eq!(
        (found.tables, found.scanned),
        (vec!["sales.Deal".into()], vec!["d".into()])
    );
    assert_eq!(found.parameters, [":claim_x"]);
}

/// Views count with what stands behind them, and so does what the planner would not read.
#[test]
fn every_table_that_a_query_reads_is_named() {
    let (_database, session) = team();
    for (sql, tables) in [
        (
            "SELECT region_id FROM shown WHERE user_id = :user",
            "member region shown",
        ),
        (
            "SELECT region_id FROM member WHERE false AND user_id = :user",
            "member",
        ),
        (
            "SELECT m.region_id FROM member m LEFT JOIN region r ON r.id = m.region_id",
            "member region",
        ),
        (
            "WITH a AS (SELECT id FROM region) SELECT id FROM a",
            "region",
        ),
        (
            "SELECT (SELECT max(id) FROM region) FROM member",
            "member region",
        ),
        ("SELECT id FROM parted WHERE owner = :user", "parted"),
        ("SELECT id FROM part_1 WHERE owner = :user", "parted"),
        ("SELECT mine FROM mine(:user)", "member"),
        ("VALUES (1), (2)", ""),
        (
            "SELECT id FROM region UNION SELECT region_id FROM member",
            "member region",
        ),
    ] {
        assert_eq!(shape(&session, sql).tables.join(" "), tables, "{sql}");
    }
}

#[test]
fn what_is_read_as_a_whole_is_told_by_the_name_in_the_query() {
    let (_database, session) = team();
    for (sql, scanned) in [
        (
            "SELECT 1 FROM member WHERE user_id = :user AND region_id = :value",
            "",
        ),
        (
            "SELECT 1 FROM member AS m WHERE note = :user AND region_id = :value",
            "m",
        ),
        ("SELECT 1 FROM region WHERE id = :value AND :user = ''", ""),
        ("SELECT 1 FROM region WHERE name = :value", "region"),
    ] {
        assert_eq!(shape(&session, sql).scanned.join(" "), scanned, "{sql}");
    }
}

#[test]
fn a_mistake_says_where_and_what() {
    let (_database, session) = team();
    for (sql, at, message) in [
        (
            "SELECT é.x, nothing FROM member",
            Some(7),
            "missing FROM-clause",
        ),
        (
            "SELECT :user, region FROM member",
            Some(14),
            "\"region\" does not exist",
        ),
        ("SELECT $1", Some(7), "parameters have names"),
        ("SELECT 'x", Some(7), "does not end"),
        ("SELECT 1 FROM nowhere", Some(14), "does not exist"),
        ("SELECT 1; SELECT 2", None, "holds several statements"),
        ("SELECT 1) AS a, (SELECT 2", Some(8), "syntax error"),
        ("", None, "finds nothing"),
        (
            "SELECT id FROM afield.ledger",
            None,
            "Afield's own bookkeeping",
        ),
    ] {
        let problem = problem(&session, sql);
        assert!(problem.message.contains(message), "{sql}: {problem}");
        assert_eq!(problem.at, at, "{sql}: {problem}");
    }
}

#[test]
fn nothing_is_written_and_nothing_that_writes_is_taken() {
    let (database, session) = team();
    for sql in [
        "INSERT INTO member VALUES ('x') RETURNING region_id",
        "WITH w AS (INSERT INTO member VALUES ('x') RETURNING region_id) SELECT region_id FROM w",
        "UPDATE member SET note = 'y' RETURNING region_id",
        "DELETE FROM member RETURNING region_id",
        "SELECT region_id INTO other FROM member",
        "SELECT region_id FROM member FOR UPDATE",
        "CREATE TABLE other (id int)",
        "DROP TABLE member",
        "SHOW server_version",
        "EXPLAIN ANALYZE DELETE FROM member",
        "COMMIT",
        "SET search_path = x",
        "COPY member TO STDOUT",
    ] {
        problem(&session, sql);
    }
    // A function that writes is not called.
    shape(&session, "SELECT grow() + nextval('s')::int");
    let row = database.connect().query_one(
        "SELECT (SELECT count(*) FROM member WHERE note = 'x'), (SELECT count(*) FROM member), \
         (SELECT is_called FROM s)",
        &[],
    );
    let row = row.unwrap();
    assert_eq!(
        (
            row.get::<_, i64>(0),
            row.get::<_, i64>(1),
            row.get::<_, bool>(2)
        ),
        (1, 1, false)
    );
    // And the session is as good as before.
    assert_eq!(shape(&session, "SELECT id FROM region").tables, ["region"]);
}
