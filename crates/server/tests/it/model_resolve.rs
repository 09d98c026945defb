//! The model held against a database.

use std::path::Path;

use afield_protocol::{Identifier, Literal, Merge, Pattern, Reference, Type};
use afield_server::model::file::Overrides;
use afield_server::model::{ModelError, ModelFile, resolve};
use afield_server::resolved::ServerModel;

use crate::model_catalog::database;

const SCHEMA: &str = "
CREATE TABLE company (code TEXT, region INT, name TEXT NOT NULL, PRIMARY KEY (region, code));
CREATE TABLE visit (id UUID PRIMARY KEY, city TEXT DEFAULT 'Linz', note TEXT, ssn TEXT,
  fee DECIMAL(8,2), code TEXT, region INT, parent UUID REFERENCES visit, n INT AS (1),
  FOREIGN KEY (code, region) REFERENCES company(code, region));
CREATE INDEX visit_id ON visit(id);
CREATE UNIQUE INDEX visit_city ON visit(city, note);
CREATE INDEX visit_city_only ON visit(city);
CREATE INDEX visit_ssn ON visit(note, ssn);
CREATE TABLE counted (id INTEGER PRIMARY KEY AUTOINCREMENT, a TEXT);
CREATE TABLE plain (id INTEGER PRIMARY KEY, a TEXT);
CREATE TABLE stock (id INTEGER PRIMARY KEY, n INTEGER, x REAL, a TEXT, d DECIMAL(5,1),
  g INTEGER AS (n + 1), other INTEGER REFERENCES plain);
CREATE TABLE keyless (a TEXT);
CREATE VIEW shown AS SELECT * FROM plain;
";

fn entity(name: &str, from: &str, pattern: &str, attributes: &str) -> String {
    format!(
        "[local.{name}]\nfrom = \"{from}\"\npattern = \"{pattern}\"\nattributes = {attributes}\n\
         scope = \"everyone\"\n"
    )
}

fn resolved(entities: &str) -> Result<ServerModel, Vec<ModelError>> {
    let (_connection, catalog) = database(SCHEMA);
    let text = format!("[server]\ndatabase = \"sqlite:x.db\"\n{entities}");
    let path = Path::new("afield.toml");
    let file = ModelFile::parse(&text, path, &Overrides::default())?;
    resolve(&file, &catalog)
}

fn visit() -> String {
    entity(
        "visit",
        "visit",
        "last-write-wins",
        "[\"note\", { town = \"city\" }, \"fee\", \"code\", \"region\", \"parent\", \"n\"]",
    )
}

#[test]
fn attributes_find_their_columns_identifier_first() {
    let model = resolved(&visit()).unwrap();
    let entity = model.entity("visit").unwrap();
    let local: Vec<&str> = entity
        .local
        .attributes
        .iter()
        .map(|a| a.name.as_str())
        .collect();
    assert_eq!(
        local,
        ["id", "note", "town", "fee", "code", "region", "parent", "n"]
    );
    let columns: Vec<&str> = entity.columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(
        columns,
        ["id", "note", "city", "fee", "code", "region", "parent", "n"]
    );
    assert_eq!(entity.local.identifier, Identifier::Uuid);
    assert_eq!(entity.columns[3].scale, Some(2));
    let town = entity.local.attribute("town").unwrap();
    assert_eq!(town.default, Some(Literal::Text("Linz".into())));
    assert!(
        entity.local.attribute("n").unwrap().read_only,
        "computed by the database"
    );
    assert_eq!(model.device.units[0].name, "main");
}

#[test]
fn references_and_indexes_come_from_the_tables() {
    let company = entity(
        "firm",
        "company",
        "read-only",
        "[{ area = \"region\" }, \"name\"]",
    );
    let model = resolved(&format!("{}{company}", visit())).unwrap();
    let firm = model.entity("firm").unwrap();
    assert_eq!(
        (firm.local.key_width, firm.local.identifier),
        (2, Identifier::Natural)
    );
    assert_eq!(firm.local.key()[0].name, "area");
    let visit = &model.entity("visit").unwrap().local;
    let reference = |attributes: &[&str], entity: &str| Reference {
        attributes: attributes.iter().map(|&a| a.to_owned()).collect(),
        entity: entity.to_owned(),
    };
    // In the order of the other's key, whatever the constraint's.
    let expected = [
        reference(&["parent"], "visit"),
        reference(&["region", "code"], "firm"),
    ];
    assert_eq!(visit.references, expected);
    // Not the identifier's, not one that another begins with; of (note, ssn) what is there.
    assert_eq!(
        visit.indexes,
        [
            vec!["town", "note"],
            vec!["note"],
            vec!["parent"],
            vec!["code", "region"]
        ]
    );
}

#[test]
fn local_only_entities_get_an_identifier() {
    let text = "[local.draft.attribute]\ntitle = \"text\"\n\
                [local.tag.attribute]\nname = \"text\"\nid = \"integer\"\n";
    let model = resolved(&format!("{}{text}", visit())).unwrap();
    let draft = model.device.entity("draft").unwrap();
    assert_eq!(
        (draft.pattern, draft.identifier),
        (Pattern::LocalOnly, Identifier::Uuid)
    );
    assert_eq!(
        (draft.key()[0].name.as_str(), draft.key()[0].kind),
        ("id", Type::Uuid)
    );
    let tag = model.device.entity("tag").unwrap();
    assert_eq!(
        (tag.identifier, tag.key()[0].kind),
        (Identifier::Natural, Type::Integer)
    );
    assert!(
        model.entity("draft").is_none(),
        "the server does not know it"
    );
    assert_eq!(model.device.units[0].entities, ["visit"]);
}

#[test]
fn the_server_numbers_what_the_table_or_the_model_says() {
    for (name, table, id, expected) in [
        ("c", "counted", "", Identifier::Server),
        ("c", "counted", "id = \"server\"\n", Identifier::Server),
        ("p", "plain", "", Identifier::Natural),
        ("p", "plain", "id = \"natural\"\n", Identifier::Natural),
        ("p", "plain", "id = \"server\"\n", Identifier::Server),
    ] {
        for pattern in ["read-only", "last-write-wins", "detect-conflicts"] {
            let text = entity(name, table, pattern, "[\"a\"]") + id;
            let model = resolved(&text).unwrap();
            let found = model.entity(name).unwrap().local.identifier;
            assert_eq!(found, expected, "{text}");
        }
    }
    let wide = "id = \"server\"\n";
    assert_named(vec![
        (
            entity("c", "counted", "last-write-wins", "[]") + "id = \"natural\"\n",
            "8:6: [local.c] id: `counted` numbers its rows itself (AUTOINCREMENT); remove `id`",
        ),
        (
            entity("f", "company", "last-write-wins", "[]") + wide,
            "[local.f] id: `company` does not number its rows",
        ),
    ]);
}

#[test]
fn patterns_and_what_goes_with_them_are_resolved() {
    let text = entity("s", "stock", "detect-conflicts", "[\"n\", \"x\", \"a\"]")
        + "merge = \"attribute\"\nstrict = true\ncounter = [\"n\", \"x\"]\n\
           insert_only = false\nerase = true\n";
    let model = resolved(&text).unwrap();
    let stock = &model.entity("s").unwrap().local;
    assert_eq!(
        (stock.pattern, stock.merge),
        (Pattern::DetectConflicts, Merge::Attribute)
    );
    assert!(stock.strict && !stock.insert_only && stock.erase);
    assert_eq!(stock.counters(), ["n", "x"]);
    let text = entity("s", "stock", "last-write-wins", "[\"n\"]") + "insert_only = true\n";
    let model = resolved(&text).unwrap();
    assert!(model.entity("s").unwrap().local.insert_only);
}

#[test]
fn keys_that_do_not_go_with_their_pattern_are_named() {
    let stock = |pattern: &str, key: &str| {
        let attributes = "[\"n\", \"a\", \"d\", \"g\", \"other\"]";
        entity("s", "stock", pattern, attributes) + key + "\n"
    };
    let lww = |key: &str| stock("last-write-wins", key);
    assert_named(vec![
        (
            lww("merge = \"attribute\""),
            "8:9: [local.s] merge: belongs to the pattern `detect-conflicts`, and this is \
             `last-write-wins`; change the pattern, or remove `merge`",
        ),
        (lww("strict = true"), "8:10: [local.s] strict: belongs to"),
        (lww("merge = \"records\""), "did you mean `record`?"),
        (lww("strict = \"yes\""), "true or false"),
        (
            lww("counter = [\"a\"]"),
            "8:12: [local.s] counter: `a` is text, and only",
        ),
        (
            lww("counter = [\"d\"]"),
            "counter: `d` is decimal, and only",
        ),
        (lww("counter = [\"id\"]"), "counter: `id` is the identifier"),
        (
            lww("counter = [\"m\"]"),
            "counter: `m` is none of `attributes`",
        ),
        (
            lww("counter = [\"g\"]"),
            "counter: `g` is computed by the database",
        ),
        (
            lww("counter = [\"other\"]"),
            "counter: `other` refers to another row",
        ),
        (
            lww("counter = [\"n\"]\nread_only = [\"n\"]"),
            "counter: `n` is in `read_only` too; remove it from one of them",
        ),
        (
            stock("read-only", "counter = [\"n\"]"),
            "counter: `n` is only read with the pattern `read-only`",
        ),
        (
            lww("counter = [\"n\"]\ninsert_only = true"),
            "counter: `n` is never changed after its row was created",
        ),
        (
            stock("read-only-optimized", "insert_only = true"),
            "8:15: [local.s] insert_only: devices do not write with the pattern \
             `read-only-optimized`; use `last-write-wins`, or remove `insert_only`",
        ),
        (
            "[local.d.attribute]\na = \"text\"\n[local.d]\ncounter = [\"a\"]\n".replacen(
                "[local.d.attribute]\na = \"text\"\n[local.d]\n",
                "[local.d]\nattribute = { a = \"text\" }\n",
                1,
            ),
            "needs a server entity",
        ),
    ]);
}

/// Model texts, and what must be said about each.
type Misfits = Vec<(String, &'static str)>;

#[track_caller]
fn assert_named(misfits: Misfits) {
    for (text, expected) in misfits {
        let errors = resolved(&text).expect_err(&text);
        let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(
            shown.iter().any(|line| line.contains(expected)),
            "{expected}: {shown:#?}"
        );
    }
}

#[test]
fn an_entity_that_does_not_fit_the_database_is_named_with_what_is_near() {
    let lww = "last-write-wins";
    assert_named(vec![
        (
            entity("v", "visits", lww, "[]"),
            "4:8: [local.v] from: the database has no table",
        ),
        (entity("v", "visits", lww, "[]"), "did you mean `visit`?"),
        (
            entity("v", "visit", lww, "[\"nota\"]"),
            "no column `nota`; did you mean `note`?",
        ),
        (
            entity("v", "visit", lww, "[\"note\", \"NOTE\"]"),
            "`note` stands twice",
        ),
        (
            entity("v", "visit", lww, "[\"note\", { Note = \"ssn\" }]"),
            "two are called `Note`",
        ),
        (
            entity("v", "visit", lww, "[{ id = \"note\" }]"),
            "two are called `id`",
        ),
        (
            entity("v", "visit", lww, "[{ rowid = \"note\" }]"),
            "SQLite's own word",
        ),
        (
            entity("afield_v", "visit", lww, "[]"),
            "begins with `afield_`",
        ),
        (
            entity("sqlite_v", "visit", lww, "[]"),
            "begins with `sqlite_`",
        ),
        (
            entity("\"\"", "visit", lww, "[]"),
            "must have 1 to 128 bytes",
        ),
        (
            entity("v", "keyless", lww, "[\"a\"]"),
            "without a primary key",
        ),
        (entity("v", "shown", lww, "[\"a\"]"), "`shown` is a view"),
    ]);
}

#[test]
fn entities_and_units_that_do_not_fit_together_are_named_with_what_is_near() {
    let lww = "last-write-wins";
    let many = format!(
        "{}{}",
        visit(),
        visit().replace("[local.visit]", "[local.VISIT]")
    );
    assert_named(vec![
        (many, "line 3 has this name already"),
        (
            visit() + &entity("w", "VISIT", lww, "[]"),
            "two local entities of one table",
        ),
        (
            visit() + "read_only = [\"city\"]\n",
            "is none of `attributes`; there is `code`",
        ),
        (visit() + "read_only = [\"id\"]\n", "is the identifier"),
        (visit() + "never = [\"id\"]\n", "always comes along"),
        (
            visit() + "never = [\"city\"]\n",
            "must never leave the server (`never`, line 8)",
        ),
        (visit() + "never = [\"sss\"]\n", "did you mean `ssn`?"),
        (
            visit() + "[unit.u]\nentities = [\"visti\"]\n",
            "did you mean `visit`?",
        ),
        (
            visit() + "[unit.u]\nentities = [\"visit\", \"visit\"]\n",
            "stands twice",
        ),
        (
            visit()
                + "[local.d.attribute]\na = \"text\"\n[unit.u]\nentities = [\"visit\", \"d\"]\n",
            "local-only",
        ),
        (
            visit() + &entity("p", "plain", lww, "[]") + "[unit.u]\nentities = [\"visit\"]\n",
            "[local.p]: in no unit",
        ),
        (visit() + "id = \"server\"\n", "does not number its rows"),
    ]);
}
