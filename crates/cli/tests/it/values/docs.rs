//! The table for users says of every type where it is held, and names tests that there are.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::table::{COLUMNS, lines};
use crate::support::doc;

/// The cells of each row of a table, from the heading on.
fn table<'d>(doc: &'d str, heading: &str) -> Vec<Vec<&'d str>> {
    let (_, behind) = doc.split_once(heading).unwrap();
    let rows = behind
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let cells = |row: &'d str| row.trim_matches('|').split(" | ").map(str::trim).collect();
    rows.map(cells).collect()
}

/// The words that stand in backticks.
fn named(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn every_line_of_the_documented_table_is_held_by_a_test() {
    let doc = doc("values.md");
    let types = table(&doc, "| type | on the device |");
    let held: Vec<&str> = types
        .iter()
        .flat_map(|row| named(row[row.len() - 1]))
        .collect();
    let columns: BTreeSet<&str> = COLUMNS.iter().map(|(at, _)| *at).collect();
    assert_eq!(held.iter().copied().collect::<BTreeSet<_>>(), columns);
    assert_eq!(held.len(), columns.len(), "one line holds each");
    let lines = lines();
    for at in columns {
        let count = lines.iter().filter(|line| line.at == at).count();
        assert!(count >= 7, "{at}: {count}");
    }
    assert_eq!(types.len(), 13);
    let tests = table(&doc, "| where a value is seen |");
    let names: Vec<&str> = tests.iter().flat_map(|row| named(row[1])).collect();
    assert!(names.len() >= 12, "{names:?}");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/values");
    let sources: String = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    for name in names {
        assert!(sources.contains(&format!("fn {name}()")), "{name}");
    }
}
