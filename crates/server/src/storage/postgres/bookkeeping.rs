//! Afield's own tables: what makes them, and what brings those of an earlier version up to date.

use super::run::Statement;

/// The bookkeeping, documented column by column; a paragraph for each thing, with its reason.
pub const TABLES_SQL: &str = include_str!("tables.sql");

/// The version of [`TABLES_SQL`].
pub const SCHEMA_VERSION: i32 = 3;

/// What brings each earlier version to the next one: the version, and the tables that it has not,
/// each made by its paragraph of [`TABLES_SQL`].
const UPGRADES: [(i32, &[&str]); 2] = [
    (1, &["afield.inbox_group", "afield.inbox"]),
    (2, &["afield.device_log"]),
];

/// What makes the bookkeeping where there is none.
pub(super) fn creation() -> Vec<Statement> {
    let paragraphs = TABLES_SQL.split("\n\n");
    paragraphs.map(|text| statement(text.trim())).collect()
}

/// What brings the bookkeeping of version `from` to [`SCHEMA_VERSION`].
pub(super) fn upgrades(from: i32) -> Vec<Statement> {
    let missing = UPGRADES.iter().filter(|(of, _)| *of >= from);
    let missing = missing.flat_map(|(_, tables)| tables.iter());
    let made = missing.filter_map(|table| {
        let begins = format!("CREATE TABLE {table} (");
        let mut paragraphs = TABLES_SQL.split("\n\n");
        paragraphs.find(|text| text.contains(&begins))
    });
    let mut found: Vec<Statement> = made.map(|text| statement(text.trim())).collect();
    if from != SCHEMA_VERSION {
        let sql = format!("UPDATE afield.node SET schema_version = {SCHEMA_VERSION}");
        found.push(Statement::of(sql, "notes the version of the bookkeeping"));
    }
    // The functions hold no data: they are made anew where their text differs.
    found
}

/// The bookkeeping's own functions: name, body, what makes them.
pub(super) fn functions() -> Vec<(&'static str, &'static str, Statement)> {
    let paragraphs = TABLES_SQL.split("\n\n").map(str::trim);
    let functions = paragraphs.filter_map(|text| {
        let (_, behind) = text.split_once("CREATE FUNCTION afield.")?;
        let name = behind.split('(').next()?;
        let body = behind.split("$afield$").nth(1)?;
        let mut made = statement(text);
        made.sql = made
            .sql
            .replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION");
        Some((name, body, made))
    });
    functions.collect()
}

/// A paragraph: comments, which say why, then SQL.
fn statement(paragraph: &str) -> Statement {
    let is_comment = |line: &&str| line.starts_with("--");
    let reason = paragraph.lines().take_while(is_comment);
    let reason: Vec<&str> = reason.map(|line| line.trim_start_matches("-- ")).collect();
    let sql: Vec<&str> = paragraph.lines().skip_while(is_comment).collect();
    Statement::of(sql.join("\n").trim_end_matches(';'), reason.join(" "))
}
