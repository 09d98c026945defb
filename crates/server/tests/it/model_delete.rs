//! `delete`, as the model file says it.

use std::path::Path;

use afield_protocol::Value;
use afield_server::model::file::Overrides;
use afield_server::model::{ModelError, ModelFile, resolve};
use afield_server::resolved::{DeletedWhen, SoftDelete};

use crate::model_catalog::database;

const SCHEMA: &str = "
CREATE TABLE visit (id INTEGER PRIMARY KEY, is_active BOOLEAN NOT NULL DEFAULT 1, on_hold BOOLEAN,
  state TEXT NOT NULL DEFAULT 'open', \"end\" TIMESTAMP, day DATE, fee DECIMAL(8, 2), rank INTEGER,
  made TIMESTAMP NOT NULL, doc JSON, was_removed BOOLEAN AS (rank < 0), city TEXT);";

/// The model with these lines, from line 7 on, held against the schema.
fn held(lines: &str) -> Result<Option<SoftDelete>, Vec<ModelError>> {
    let text = format!(
        "[server]\ndatabase = \"sqlite:x.db\"\n[local.visit]\nfrom = \"visit\"\n\
         scope = \"everyone\"\nattributes = [{{ town = \"city\" }}]\n{lines}\n"
    );
    let (_, catalog) = database(SCHEMA);
    let file = ModelFile::parse(&text, Path::new("afield.toml"), &Overrides::default())?;
    let model = resolve(&file, &catalog)?;
    Ok(model.entity("visit").unwrap().delete.clone())
}

fn said(delete: &str) -> (String, DeletedWhen, Value) {
    let lines = format!("pattern = \"last-write-wins\"\ndelete = \"{delete}\"");
    let found = held(&lines).unwrap_or_else(|errors| panic!("{delete}: {errors:#?}"));
    let SoftDelete {
        column,
        when,
        revived,
    } = found.unwrap();
    (column.name, when, revived)
}

#[test]
fn a_column_and_a_value_make_a_deleted_row() {
    assert_eq!(held("pattern = \"read-only\""), Ok(None));
    let is = |value: Value| DeletedWhen::Is(value);
    for (text, column, when, revived) in [
        ("is_active = false", "is_active", is(0.into()), 1.into()),
        ("IS_ACTIVE=FALSE", "is_active", is(0.into()), 1.into()),
        ("on_hold = true", "on_hold", is(1.into()), 0.into()),
        ("state = 'dead'", "state", is("dead".into()), "open".into()),
        ("state = 'it''s'", "state", is("it's".into()), "open".into()),
        ("rank = -1", "rank", is((-1).into()), Value::Null),
        ("fee = 0", "fee", is("0".into()), Value::Null),
        (
            "day = '2024-02-29'",
            "day",
            is("2024-02-29".into()),
            Value::Null,
        ),
        ("day is not null", "day", DeletedWhen::NotNull, Value::Null),
    ] {
        assert_eq!(said(text), (column.to_owned(), when, revived), "{text}");
    }
    let (column, when, _) = said("\\\"end\\\" IS NOT NULL");
    assert_eq!((column.as_str(), when), ("end", DeletedWhen::NotNull));
}

/// A mistake in the text, the column where it stands, and a part of what is said of it.
const MISTAKES: &[(&str, usize, &str)] = &[
    ("", 11, "expected a column, found the end"),
    ("is_active", 20, "expected `= LITERAL` or `is not null`"),
    ("is_active < 1", 21, "expected `= LITERAL` or `is not null`"),
    (
        "is_active = ",
        22,
        "expected `true`, `false`, a number or a text in 'single",
    ),
    ("is_active = flase", 23, "did you mean `false`"),
    (
        "is_active = null",
        23,
        "nothing equals null; write `is not null`",
    ),
    (
        "is_active = false and rank = 1",
        29,
        "expected the end: one column decides",
    ),
    (
        "day is null",
        18,
        "rows that are null here cannot be the deleted ones",
    ),
    (
        "day is not",
        21,
        "expected `not null` behind `is`, found the end",
    ),
    ("state = 'x", 19, "has no end"),
    ("state != 1", 17, "`!` has no meaning here"),
    (
        "company.state = 1",
        18,
        "the column is one of the row itself",
    ),
    ("user = :user", 18, "who asks does not matter here"),
    (
        "active = false",
        11,
        "has no column `active`; did you mean `is_active`",
    ),
    (
        "town = 'x'",
        11,
        "`town` is the local name of the column `city`: write that",
    ),
    ("id = 1", 11, "is part of the identifier"),
    ("was_removed = true", 11, "is computed by the database"),
    (
        "is_active = 'no'",
        21,
        "is boolean, which is never 'no'; write `true` or `false`",
    ),
    (
        "is_active = 2",
        21,
        "is boolean, which is never 2; write `true` or `false`",
    ),
    (
        "rank = false",
        16,
        "is integer, which is never false; write a whole number",
    ),
    (
        "state = 1",
        17,
        "is text, which is never 1; write a text in 'single quotes'",
    ),
    (
        "day = '2024-02-30'",
        15,
        "is date, which is never '2024-02-30'",
    ),
    (
        "doc = '1'",
        15,
        "is json, which is never '1'; name a column of another type",
    ),
    (
        "rank is not null",
        16,
        "needs an instant, a datetime, a date or a text",
    ),
    (
        "made is not null",
        16,
        "can never be null, so every row would count as deleted",
    ),
];

#[test]
fn every_mistake_has_its_place_and_remedy() {
    for &(text, column, part) in MISTAKES {
        let lines = format!("pattern = \"last-write-wins\"\ndelete = \"{text}\"");
        let errors = held(&lines).expect_err(text);
        let [error] = errors.as_slice() else {
            panic!("{text}: {errors:#?}");
        };
        let place = (error.place.line, error.place.column);
        assert_eq!(place, (8, column), "{text}: {error}");
        assert!(error.message.contains(part), "{text}: {error}");
        assert!(error.message.starts_with("[local.visit] delete"), "{error}");
    }
}

#[test]
fn what_goes_with_no_soft_delete_is_said() {
    let lines = "pattern = \"last-write-wins\"\ninsert_only = true\ndelete = \"on_hold = true\"";
    let errors = held(lines).unwrap_err();
    assert!(errors[0].message.contains("insert_only"), "{errors:#?}");
    // What devices only read may be computed.
    let lines = "pattern = \"read-only\"\ndelete = \"was_removed = true\"";
    assert!(held(lines).is_ok());
    let local = "[server]\ndatabase = \"sqlite:x.db\"\n[local.x]\ndelete = \"a = 1\"\n\
                 [local.x.attribute]\na = \"text\"";
    let file = ModelFile::parse(local, Path::new("afield.toml"), &Overrides::default());
    let errors = file.unwrap_err();
    assert!(
        errors[0].message.contains("needs a server entity"),
        "{errors:#?}"
    );
}
