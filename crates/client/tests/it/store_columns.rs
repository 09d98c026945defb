//! The text of `bookkeeping.sql` and the tables that come out of it.

use std::collections::BTreeMap;

use crate::world::World;

const TEXT: &str = concat!(
    include_str!("../../src/store/bookkeeping.sql"),
    include_str!("../../src/store/told.sql"),
    include_str!("../../src/store/held.sql"),
    include_str!("../../src/store/network.sql"),
    include_str!("../../src/store/chosen.sql"),
    include_str!("../../src/store/erase.sql"),
    include_str!("../../src/store/verify.sql"),
);

/// Tables with their columns, each with what the text says of it.
fn documented() -> BTreeMap<String, Vec<(String, String)>> {
    let mut tables = BTreeMap::new();
    let mut current: Option<(String, Vec<_>)> = None;
    for line in TEXT.lines() {
        if let Some(rest) = line.strip_prefix("CREATE TABLE ") {
            current = Some((rest.trim_end_matches(" (").to_owned(), Vec::new()));
        } else if line.starts_with(')') {
            tables.extend(current.take());
        } else if let Some((_, columns)) = &mut current {
            if line.starts_with("  PRIMARY KEY") {
                continue;
            }
            let (definition, comment) = line.split_once("--").unwrap_or((line, ""));
            let name = definition.split_whitespace().next().unwrap_or_default();
            columns.push((name.to_owned(), comment.trim().to_owned()));
        }
    }
    tables
}

#[test]
fn every_column_of_the_bookkeeping_is_documented_and_there() {
    let world = World::new();
    let conn = world.plain();
    let documented = documented();
    let own = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'afield\\_%' \
               ESCAPE '\\' AND name NOT GLOB 'afield_before_*' AND name NOT GLOB 'afield_server_*' \
               AND name NOT GLOB 'afield_stage_*'";
    let mut names = conn.prepare(own).unwrap();
    let names = names.query_map([], |row| row.get::<_, String>(0)).unwrap();
    let mut names: Vec<String> = names.collect::<Result<_, _>>().unwrap();
    names.sort();
    assert_eq!(names, documented.keys().cloned().collect::<Vec<_>>());
    for (table, columns) in documented {
        let mut actual = conn
            .prepare(&format!("SELECT name FROM pragma_table_info('{table}')"))
            .unwrap();
        let actual = actual.query_map([], |row| row.get::<_, String>(0)).unwrap();
        let actual: Vec<String> = actual.collect::<Result<_, _>>().unwrap();
        let names: Vec<_> = columns.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(actual, names, "{table}");
        for (column, comment) in columns {
            assert!(comment.len() > 5, "{table}.{column} says nothing of itself");
        }
    }
}

#[test]
fn every_table_says_above_itself_what_its_rows_are() {
    let lines: Vec<&str> = TEXT.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        if line.starts_with("CREATE TABLE") {
            assert!(lines[at - 1].starts_with("-- "), "{line}");
        }
    }
}
