//! The text of `bookkeeping.sql` and the tables that come out of it.

use std::collections::BTreeMap;

use afield::Params;

use crate::world::World;

const TEXT: &str = concat!(
    include_str!("../../src/store/bookkeeping.sql"),
    include_str!("../../src/store/told.sql"),
    include_str!("../../src/store/held.sql"),
    include_str!("../../src/store/network.sql"),
    include_str!("../../src/store/chosen.sql"),
    include_str!("../../src/store/erase.sql"),
    include_str!("../../src/store/unit.sql"),
    include_str!("../../src/store/course.sql"),
    include_str!("../../src/store/session.sql"),
    include_str!("../../src/store/verify.sql"),
    include_str!("../../src/store/inbox.sql"),
    include_str!("../../src/store/waits.sql"),
    include_str!("../../src/store/log.sql"),
    include_str!("../../src/store/left.sql"),
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

#[test]
fn a_query_asked_before_shows_the_columns_that_came_since() {
    let world = World::new();
    let store = world.store();
    let plain = world.plain();
    plain.execute_batch("CREATE TABLE own (a)").unwrap();
    let columns = || {
        let found = store.query("SELECT * FROM own", &Params::none()).unwrap();
        let widths: Vec<usize> = found.rows.iter().map(Vec::len).collect();
        (found.columns, widths)
    };
    assert_eq!(columns(), (vec!["a".to_owned()], vec![]));
    plain.execute_batch("ALTER TABLE own ADD b").unwrap();
    let both = || vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(columns(), (both(), vec![]));
    plain
        .execute_batch("INSERT INTO own VALUES (1, 2); ALTER TABLE own ADD c")
        .unwrap();
    let all = [both(), vec!["c".to_owned()]].concat();
    assert_eq!(columns(), (all, vec![3]));
    plain
        .execute_batch("ALTER TABLE own DROP b; ALTER TABLE own DROP c")
        .unwrap();
    assert_eq!(columns(), (vec!["a".to_owned()], vec![1]));
}

#[test]
fn a_sync_leaves_no_large_log_behind() {
    let world = World::new();
    let mut sync = world.sync();
    let log = world.path().with_extension("afield-wal");
    let bytes = || std::fs::metadata(&log).map_or(0, |file| file.len());
    let plain = world.plain();
    let fill = |bytes: u32| {
        let sql = format!("CREATE TABLE big AS SELECT zeroblob({bytes}) AS b");
        plain.execute_batch(&sql).unwrap();
    };
    fill(100_000);
    sync.finished(None).unwrap();
    assert!(bytes() > 100_000, "a small log stays: it costs nothing");
    plain.execute_batch("DROP TABLE big").unwrap();
    fill(3_000_000);
    sync.finished(None).unwrap();
    assert_eq!(bytes(), 0);
}
