//! The queries of scopes, held against the database.

use afield_server::catalog::Queries as _;
use afield_server::storage::sqlite::catalog::SqliteQueries;

use crate::model_scope::{NAMED, SCHEMA, held};

const USED: &str = "\"company_id.region_id in mine\"";

/// What is said about the scope `mine` with this query, in TOML, in line 9.
fn said(query: &str) -> Result<Vec<String>, Vec<String>> {
    let shown = |all: &[afield_server::model::ModelError]| -> Vec<String> {
        all.iter().map(ToString::to_string).collect()
    };
    match held(USED, &format!("[scope.mine]\nquery = {query}\n")) {
        Ok(checked) => Ok(shown(&checked.warnings)),
        Err(errors) => Err(shown(&errors)),
    }
}

#[test]
fn good_queries_are_taken_as_they_are() {
    for query in [
        "SELECT region_id FROM region_member WHERE user_id = :user",
        "SELECT DISTINCT region_id + 0 FROM region_member WHERE user_id IN (:user, :claim_team)",
        "WITH RECURSIVE r(id) AS (SELECT :claim_region UNION SELECT id + 1 FROM r WHERE id < 9) \
         SELECT id FROM r",
        "SELECT region_id FROM region_member WHERE user_id = :user UNION VALUES (:claim_x) \
         -- end",
        "SELECT id FROM region WHERE name = lower(:user) AND :user < date('now') ;\n ; ",
    ] {
        assert_eq!(said(&format!("'''{query}'''")), Ok(Vec::new()), "{query}");
    }
    let model = held(USED, "[scope.mine]\nquery = \"SELECT :user ; \"\n")
        .unwrap()
        .model;
    assert_eq!(model.scope("mine").unwrap().query, "SELECT :user");
}

/// Queries in TOML that cannot be used, and what must be said about each.
const UNUSABLE: &[(&str, &str)] = &[
    (
        "''",
        "9:10: [scope.mine] query: is empty; write a SELECT of one column",
    ),
    ("' ; '", "9:10: [scope.mine] query: is empty"),
    ("'-- nothing'", "9:10: [scope.mine] query: finds nothing"),
    (
        "'SELEC 1'",
        "9:10: [scope.mine] query: SQLite says: near \"SELEC\": syntax error",
    ),
    (
        "'SELECT region_id FROM region_membr'",
        "SQLite says: no such table: region_membr",
    ),
    (
        "'''\nSELECT regio\nFROM region_member'''",
        "10:8: [scope.mine] query: SQLite says: no such column: regio",
    ),
    (
        "'SELECT 1 FROM region; SELECT 2'",
        "9:10: [scope.mine] query: holds several statements",
    ),
    ("'SELECT 1; DROP TABLE region'", "other than reading"),
    (
        "'DELETE FROM region'",
        "9:10: [scope.mine] query: does something other than reading",
    ),
    (
        "'INSERT INTO region VALUES (1,2,3) RETURNING id'",
        "other than reading",
    ),
    (
        "'UPDATE region SET id = 1 RETURNING id'",
        "other than reading",
    ),
    ("'PRAGMA user_version'", "other than reading"),
    ("'SELECT * FROM pragma_table_list'", "finds 6 columns"),
    ("'ATTACH \"x\" AS y'", "other than reading"),
    ("'BEGIN'", "other than reading"),
    ("'VACUUM'", ""),
    ("'EXPLAIN SELECT 1'", "other than reading"),
    ("'SELECT load_extension(:user)'", ""),
    (
        "'SELECT change FROM afield_mark'",
        "SQLite says: no such table",
    ),
    (
        "'SELECT * FROM region_member WHERE user_id = :user'",
        "9:10: [scope.mine] query: finds 3 columns (`user_id`, `region_id`, `region_code`)",
    ),
    (
        "'SELECT id FROM region WHERE name = :usr'",
        "9:45: [scope.mine] query: the parameter `:usr` is unknown; did you mean `user`?",
    ),
    (
        "'SELECT id FROM region WHERE name = ?'",
        "9:45: [scope.mine] query: the parameter `?`",
    ),
    (
        "'SELECT id FROM region WHERE name = ?2'",
        "parameters have names: `:user`",
    ),
    (
        "'SELECT id FROM region WHERE name = @user'",
        "the parameter `@user` is unknown; write `:user`",
    ),
    (
        "'SELECT id FROM region WHERE name = $claim_x'",
        "`$claim_x` is unknown; write `:claim_x`",
    ),
    (
        "'SELECT id FROM region WHERE name = :claim_'",
        "the parameter `:claim_` is unknown",
    ),
    (
        "'SELECT id FROM region WHERE name = :value'",
        "`:value` is unknown; only a scope with `chosen` has one",
    ),
];

#[test]
fn a_query_that_cannot_be_used_is_named_with_line_column_and_what_sqlite_says() {
    let mut unsaid = Vec::new();
    for (query, expected) in UNUSABLE {
        let errors = said(query).expect_err(query);
        if !errors.iter().any(|line| line.contains(expected)) {
            unsaid.push(format!("{query}: {expected}: {errors:#?}"));
        }
        assert!(
            errors
                .iter()
                .all(|line| line.contains("[scope.mine] query: ")),
            "{errors:#?}"
        );
    }
    assert!(unsaid.is_empty(), "{}", unsaid.join("\n"));
}

#[test]
fn what_is_unused_or_the_same_for_all_is_said() {
    let warnings = said("'SELECT id FROM region'").unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].starts_with("afield.toml:9:9: [scope.mine] query: asks for neither `:user`"),
        "{warnings:?}"
    );
    let unused = held("'user_id = :user'", NAMED).unwrap().warnings;
    assert_eq!(unused.len(), 2, "{unused:?}");
    assert_eq!(
        unused[0].to_string(),
        "afield.toml:8:8: [scope.regions]: no entity uses it; write `COLUMN in regions` in a \
         scope, or remove it"
    );
}

#[test]
fn p7_asking_about_a_query_changes_nothing_and_reads_no_bookkeeping() {
    let sql = format!(
        "{SCHEMA} CREATE TABLE afield_mark (x); INSERT INTO region VALUES (1, \
     'a', 'b');
        CREATE VIEW shown AS SELECT m.region_id FROM region_member m JOIN region r ON r.id \
         = m.region_id;"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("team.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute_batch(&sql).unwrap();
    drop(connection);
    let before = std::fs::read(&path).unwrap();
    let queries = SqliteQueries::open(&path).unwrap();
    let own = queries.describe("SELECT x FROM Afield_Mark").unwrap_err();
    assert!(own.message.contains("Afield's own bookkeeping"), "{own}");
    for sql in [
        "DELETE FROM region",
        "DROP TABLE region",
        "SELECT 1; DELETE FROM region",
    ] {
        assert!(queries.describe(sql).is_err(), "{sql}");
    }
    let shape = queries.describe("SELECT region_id FROM shown").unwrap();
    assert_eq!(shape.tables, ["region", "region_member", "shown"]);
    assert_eq!(
        shape.columns[0].origin,
        Some(("region_member".to_owned(), "region_id".to_owned()))
    );
    // A query that ends the parentheses it is put into is no query at all.
    assert!(queries.describe("SELECT 1) UNION SELECT (2").is_err());
    drop(queries);
    assert_eq!(std::fs::read(&path).unwrap(), before);
}
