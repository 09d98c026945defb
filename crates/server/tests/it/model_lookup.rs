//! `[local.NAME.lookup]` held against a database.

use std::path::Path;

use afield_protocol::Type;
use afield_server::model::file::Overrides;
use afield_server::model::{Checked, ModelError, ModelFile, check};
use afield_server::resolved::{Hop, Lookup};
use afield_server::storage::sqlite::catalog::SqliteQueries;

use crate::model_catalog::database;

const SCHEMA: &str = r#"
CREATE TABLE region (id INTEGER PRIMARY KEY, code TEXT UNIQUE, name TEXT, "odd name" TEXT);
CREATE TABLE company (id INTEGER PRIMARY KEY, region_id INTEGER REFERENCES region,
  region_code TEXT REFERENCES region(code), fee DECIMAL(8,2), secret TEXT);
CREATE INDEX company_region ON company(region_id);
CREATE TABLE visit (id TEXT PRIMARY KEY, company_id INTEGER REFERENCES company(id),
  note TEXT, a INTEGER, b INTEGER, lost INTEGER REFERENCES nowhere(id),
  soft TEXT COLLATE NOCASE REFERENCES region(code), wrong TEXT REFERENCES company(id),
  parent TEXT REFERENCES visit(id), FOREIGN KEY (a, b) REFERENCES pair(a, b));
CREATE INDEX visit_company ON visit(company_id, id);
CREATE TABLE pair (a INTEGER, b INTEGER, words TEXT, PRIMARY KEY (a, b));
"#;

/// The local company, if there is one: its devices write it.
const COMPANY: &str = "[local.company]\nfrom = \"company\"\npattern = \"last-write-wins\"\n\
                       attributes = [\"fee\"]\nscope = \"everyone\"\nnever = [\"secret\"]\n";

/// Visits with this lookup, in line 10, beside `more`.
fn held(keys: &str, lookup: &str, more: &str) -> Result<Checked, Vec<ModelError>> {
    let text = format!(
        "[server]\ndatabase = \"sqlite:x.db\"\n[local.visit]\nfrom = \"visit\"\n\
         pattern = \"last-write-wins\"\nattributes = [\"company_id\", \"note\"]\n\
         scope = \"everyone\"\n{keys}\n[local.visit.lookup]\n{lookup}\n{more}"
    );
    let (connection, catalog) = database(SCHEMA);
    let queries = SqliteQueries::new(connection).unwrap();
    let file = ModelFile::parse(&text, Path::new("afield.toml"), &Overrides::default())?;
    check(&file, &catalog, &queries)
}

fn hop(table: &str, key: &str, column: &str) -> Hop {
    Hop {
        table: table.to_owned(),
        key: key.to_owned(),
        column: column.to_owned(),
    }
}

#[test]
fn lookups_find_their_columns_behind_all_others() {
    let lookups = "price = \"company_id.fee\"\nname = 'COMPANY_ID.region_code.\"odd name\"'\n\
                   up = \"parent.parent.note\"";
    let checked = held("", lookups, COMPANY).unwrap();
    let visit = checked.model.entity("visit").unwrap();
    let attributes: Vec<_> = (visit.local.attributes.iter())
        .map(|a| (a.name.as_str(), a.kind, a.read_only, a.lookup))
        .collect();
    assert_eq!(
        attributes,
        [
            ("id", Type::Text, false, false),
            ("company_id", Type::Integer, false, false),
            ("note", Type::Text, false, false),
            ("price", Type::Decimal, true, true),
            ("name", Type::Text, true, true),
            ("up", Type::Text, true, true),
        ]
    );
    assert_eq!(visit.columns.len(), 3);
    let lookup = |column: &str, path, scale| Lookup {
        column: column.to_owned(),
        path,
        scale,
    };
    assert_eq!(
        visit.lookups,
        [
            lookup("company_id", vec![hop("company", "id", "fee")], Some(2)),
            lookup(
                "company_id",
                vec![
                    hop("company", "id", "region_code"),
                    hop("region", "code", "odd name"),
                ],
                None
            ),
            lookup(
                "parent",
                vec![hop("visit", "id", "parent"), hop("visit", "id", "note")],
                None
            ),
        ]
    );
    let warnings: Vec<String> = checked.warnings.iter().map(|w| w.message.clone()).collect();
    assert_eq!(warnings.len(), 2, "{warnings:#?}");
    assert!(
        warnings[0]
            .ends_with("CREATE INDEX \"company_region_code\" ON \"company\" (\"region_code\")")
    );
    assert!(
        warnings[1].ends_with("CREATE INDEX \"visit_parent\" ON \"visit\" (\"parent\", \"id\")")
    );
}

/// Keys of visits, a lookup, and what is said of it.
const MISTAKES: [(&str, &str, &str); 18] = [
    (
        "",
        "x = \"company_id.nam\"",
        "the table `company` has no column `nam`",
    ),
    (
        "",
        "x = \"compani_id.fee\"",
        "the table `visit` has no column `compani_id`",
    ),
    ("", "x = \"note.fee\"", "`visit.note` is no foreign key"),
    (
        "",
        "x = \"a.words\"",
        "is part of a foreign key of several columns",
    ),
    ("", "x = \"lost.id\"", "which is no table with such a key"),
    ("", "x = \"soft.name\"", "would lead to the same row"),
    ("", "x = \"wrong.fee\"", "such values are never found equal"),
    (
        "",
        "x = \"company_id.secret\"",
        "must never leave the server (`never`",
    ),
    ("", "x = \"note\"", "goes through no foreign key"),
    ("", "x = \"company_id.\"", "expected a column behind `.`"),
    ("", "x = \"company_id.fee or 1\"", "expected `.` or the end"),
    ("", "x = 7", "expects text in quotes"),
    (
        "",
        "note = \"company_id.fee\"",
        "an attribute is called `note` already",
    ),
    (
        "",
        "ID = \"company_id.fee\"",
        "an attribute is called `ID` already",
    ),
    ("", "rowid = \"company_id.fee\"", "SQLite's own word"),
    (
        "read_only = [\"x\"]",
        "x = \"company_id.fee\"",
        "is a lookup, which is read-only as it is",
    ),
    (
        "counter = [\"x\"]",
        "x = \"company_id.fee\"",
        "is a lookup, which is read-only as it is",
    ),
    (
        "insert_only = true",
        "x = \"company_id.fee\"",
        "would always be empty",
    ),
];

#[test]
fn mistakes_say_where_and_what_to_do() {
    for (keys, lookup, message) in MISTAKES {
        let errors = held(keys, lookup, COMPANY).expect_err(lookup);
        assert_eq!(errors.len(), 1, "{lookup}: {errors:#?}");
        let expected = if message.starts_with("is a lookup") {
            8
        } else {
            10
        };
        assert_eq!(errors[0].place.line, expected, "{}", errors[0]);
        assert!(errors[0].message.contains(message), "{}", errors[0]);
    }
    let long = format!("x = \"{}note\"", "parent.".repeat(17));
    let errors = held("", &long, COMPANY).unwrap_err();
    assert!(
        errors[0].message.contains("more than 16 foreign keys"),
        "{}",
        errors[0]
    );
}

/// A reference that the user can set to anything would show him any row: he must be asked.
#[test]
fn p7_a_lookup_through_a_reference_that_nobody_checks_is_refused() {
    let may = "may_reference = [\"company_id\"]";
    let lookup = "fee = \"company_id.fee\"";
    let errors = held(may, lookup, "").unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:#?}");
    assert_eq!(errors[0].place.line, 10);
    let remedy = "Remove `company_id` from `may_reference` of [local.visit]";
    assert!(errors[0].message.contains(remedy), "{}", errors[0]);
    for (keys, more) in [
        ("", ""),
        ("read_only = [\"company_id\"]", ""),
        ("", COMPANY),
    ] {
        held(keys, lookup, more).unwrap();
    }
    held("", "name = \"parent.note\"", "").unwrap();
    // The second step is as good a hole: devices write `region_id` of companies.
    let lookup = "region = \"company_id.region_id.name\"";
    let company =
        |column: &str, more: &str| COMPANY.replace("\"fee\"", &format!("\"{column}\"")) + more;
    held("", lookup, COMPANY).unwrap();
    held("", lookup, &company("region_id", "")).unwrap();
    let open = company("region_id", "may_reference = [\"region_id\"]\n");
    let errors = held("", lookup, &open).unwrap_err();
    assert!(
        errors[0].message.contains("`company.region_id`"),
        "{}",
        errors[0]
    );
    // A reference to another key than the identifier is asked by nobody either.
    let region = "[local.region]\nfrom = \"region\"\npattern = \"read-only\"\n\
                  attributes = [\"name\"]\nscope = \"everyone\"\n";
    held("", lookup, &company("region_id", region)).unwrap();
    let open = company("region_code", "may_reference = [\"region_code\"]\n") + region;
    let errors = held("", "region = \"company_id.region_code.name\"", &open).unwrap_err();
    assert!(
        errors[0].message.contains("`company.region_code`"),
        "{}",
        errors[0]
    );
}
