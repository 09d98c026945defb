//! `keep`, as the model file says it.

use std::path::Path;

use afield_protocol::Comparison;
use afield_server::model::file::Overrides;
use afield_server::model::{Checked, ModelError, ModelFile, check};
use afield_server::resolved::Keep;
use afield_server::storage::sqlite::catalog::SqliteQueries;

use crate::model_catalog::database;

const SCHEMA: &str = "
CREATE TABLE visit (id INTEGER PRIMARY KEY, modified_on TIMESTAMP, day DATE, starts DATETIME,
  name TEXT, hidden TIMESTAMP, \"on\" DATE);
CREATE INDEX visit_day ON visit (day);";

/// The model with these lines, from line 7 on, held against the schema.
fn held(lines: &str) -> Result<Checked, Vec<ModelError>> {
    let text = format!(
        "[server]\ndatabase = \"sqlite:x.db\"\n[local.visit]\nfrom = \"visit\"\n\
         scope = \"everyone\"\nattributes = [{{ changed = \"modified_on\" }}, \"day\", \
         \"starts\", \"name\", \"on\"]\n{lines}\n"
    );
    let (connection, catalog) = database(SCHEMA);
    let queries = SqliteQueries::new(connection).unwrap();
    let file = ModelFile::parse(&text, Path::new("afield.toml"), &Overrides::default())?;
    check(&file, &catalog, &queries)
}

fn keep(text: &str) -> Result<Checked, Vec<ModelError>> {
    held(&format!("pattern = \"last-write-wins\"\nkeep = '{text}'"))
}

#[test]
fn a_column_a_comparison_and_a_duration_make_a_window() {
    use Comparison::{After, Before, From, UpTo};
    for (text, attribute, comparison, seconds) in [
        ("modified_on > now - 14 days", 1, After, -14 * 86_400),
        ("MODIFIED_ON>=NOW-1 day", 1, From, -86_400),
        ("day < now + 36 h", 2, Before, 36 * 3_600),
        ("starts <= now + 90 min", 3, UpTo, 5_400),
        ("starts <= now", 3, UpTo, 0),
        ("\"on\" > now + 2s", 5, After, 2),
    ] {
        let checked = keep(text).unwrap_or_else(|errors| panic!("{text}: {errors:#?}"));
        let visit = checked.model.entity("visit").unwrap();
        let expected = Keep {
            attribute,
            comparison,
            seconds,
        };
        assert_eq!(visit.keep.as_ref(), Some(&expected), "{text}");
        let name = visit.local.attributes[attribute].name.clone();
        assert!(
            visit.local.indexes.contains(&vec![name]),
            "{text}: devices have an index"
        );
    }
    let none = held("pattern = \"read-only\"").unwrap();
    assert_eq!(none.model.entity("visit").unwrap().keep, None);
}

/// A mistake in the text, the column where it stands, and a part of what is said of it.
const MISTAKES: &[(&str, usize, &str)] = &[
    ("", 9, "expected a column, found the end"),
    (
        "day",
        12,
        "expected `<`, `<=`, `>` or `>=` behind the column",
    ),
    (
        "day = now",
        13,
        "expected `<`, `<=`, `>` or `>=` behind the column",
    ),
    (
        "day >",
        14,
        "expected `now` behind the comparison, found the end",
    ),
    (
        "day > today",
        15,
        "expected `now` behind the comparison, found `today`",
    ),
    (
        "day > now 14 days",
        19,
        "expected `+` or `-` and a duration behind `now`",
    ),
    (
        "day > now - 14",
        21,
        "is no duration: write a whole number and a unit",
    ),
    (
        "day > now - 2 weeks",
        21,
        "is no duration: write a whole number and a unit",
    ),
    (
        "day > now - 2 days and x",
        21,
        "is no duration: write a whole number and a unit",
    ),
    ("day > now - 1500 ms", 21, "whole seconds, up to 36500 days"),
    (
        "day > now - 40000 days",
        21,
        "whole seconds, up to 36500 days",
    ),
    ("day != now", 13, "`!` has no meaning here"),
    ("dya > now", 9, "has no column `dya`; did you mean `day`"),
    (
        "changed > now",
        9,
        "`changed` is the local name of the column `modified_on`: write that",
    ),
    (
        "name > now",
        9,
        "is text, and a window needs a date, a datetime or an instant",
    ),
    ("hidden > now", 9, "is none of the attributes"),
];

#[test]
fn every_mistake_has_its_place_and_remedy() {
    for &(text, column, part) in MISTAKES {
        let errors = keep(text).expect_err(text);
        let [error] = errors.as_slice() else {
            panic!("{text}: {errors:#?}");
        };
        let place = (error.place.line, error.place.column);
        assert_eq!(place, (8, column), "{text}: {error}");
        assert!(error.message.contains(part), "{text}: {error}");
        assert!(error.message.starts_with("[local.visit] keep"), "{error}");
    }
    let lines = "pattern = \"last-write-wins\"\ninsert_only = true\nkeep = \"day > now\"";
    let errors = held(lines).unwrap_err();
    assert!(errors[0].message.contains("insert_only"), "{errors:#?}");
}

/// Only a window that rows come into by time is read by a range of its column.
#[test]
fn a_missing_index_is_warned_of_with_the_statement_that_makes_it() {
    let warnings = |text| keep(text).unwrap().warnings;
    assert!(warnings("day < now").is_empty());
    assert!(warnings("starts > now").is_empty());
    let found = warnings("starts < now");
    let message = &found[0].message;
    let index = "CREATE INDEX \"visit_starts\" ON \"visit\" (\"starts\")";
    assert!(message.ends_with(index), "{message}");
    assert_eq!((found[0].place.line, found[0].place.column), (8, 9));
}
