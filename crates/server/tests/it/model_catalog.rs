//! Any valid SQLite database can be read.

use afield_protocol::{Literal, Type};
use afield_server::catalog::{Catalog, Identity, Table, TableKind};
use afield_server::storage::sqlite::catalog::{measure, read, read_file};
use rusqlite::Connection;

/// A database with everything that SQLite lets a team do to its tables.
pub(crate) const NASTY: &str = r#"
CREATE TABLE "order" ("select" INTEGER PRIMARY KEY, "Group By" TEXT, "a""b" TEXT, [c d] INT);
CREATE TABLE MixedCase (Id TEXT PRIMARY KEY, Parent TEXT REFERENCES mixedcase(id), NAME text);
CREATE TABLE numbered (id INTEGER PRIMARY KEY AUTOINCREMENT, 'quoted name' TEXT DEFAULT 'it''s');
CREATE TABLE fake (id INTEGER PRIMARY KEY, note TEXT DEFAULT 'AUTOINCREMENT' /* AUTOINCREMENT */);
CREATE TABLE descending (id INTEGER PRIMARY KEY DESC, x INT);
CREATE TABLE int_key (id INT PRIMARY KEY, x);
CREATE TABLE composite (b TEXT, a INTEGER, v REAL, PRIMARY KEY (a, b)) WITHOUT ROWID;
CREATE TABLE strict_one (id TEXT PRIMARY KEY, n INTEGER NOT NULL DEFAULT -1, x ANY) STRICT;
CREATE TABLE made (id UUID PRIMARY KEY, n INT, twice INT AS (n * 2), kept INT AS (n + 1) STORED);
CREATE TABLE no_key (a, b TEXT);
CREATE TABLE real_key (id DOUBLE PRIMARY KEY, a);
CREATE TABLE null_key (id TEXT PRIMARY KEY, a);
INSERT INTO null_key VALUES (NULL, 1);
CREATE TABLE "" ("" TEXT PRIMARY KEY, rowid TEXT, afield_x TEXT);
CREATE TABLE "new
line # ""x"" \ 'y'" ("tab	key" TEXT PRIMARY KEY, "💥" BLOB, "e
f" TEXT);
CREATE TABLE lost (id TEXT PRIMARY KEY, a REFERENCES nowhere(id), b REFERENCES nowhere);
CREATE TABLE child (id TEXT PRIMARY KEY, pa INT, pb TEXT, n INTEGER REFERENCES numbered,
  FOREIGN KEY (pb, pa) REFERENCES composite(b, a), FOREIGN KEY (pa, pb) REFERENCES composite);
CREATE INDEX child_n ON child(n);
CREATE INDEX child_expression ON child(lower(pb));
CREATE UNIQUE INDEX child_part ON child(pb) WHERE n > 3;
CREATE UNIQUE INDEX child_unique ON child(pb, n);
CREATE TABLE typed (id CHAR(36) PRIMARY KEY, d DECIMAL(10, 2) DEFAULT 0, at TIMESTAMPTZ,
  day DATE DEFAULT CURRENT_DATE, flag BOOLEAN DEFAULT TRUE, place POINT, doc JSON);
CREATE VIEW good_view AS SELECT id FROM numbered;
CREATE VIEW broken_view AS SELECT * FROM nowhere;
CREATE VIRTUAL TABLE search USING fts5(body);
CREATE TABLE afield_mark (x);
CREATE TABLE photos (id UUID PRIMARY KEY, photo BLOB, thumb BLOB);
INSERT INTO photos VALUES ('0190B3A1-5C1E-7CC3-98A1-0123456789AB', zeroblob(200000), x'00');
"#;

pub(crate) fn nasty() -> (Connection, Catalog) {
    database(NASTY)
}

pub(crate) fn database(sql: &str) -> (Connection, Catalog) {
    let connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(sql).unwrap();
    let mut catalog = read(&connection).unwrap();
    measure(&connection, &mut catalog).unwrap();
    (connection, catalog)
}

fn names(columns: &[String]) -> Vec<&str> {
    columns.iter().map(String::as_str).collect()
}

#[test]
fn every_table_of_a_nasty_database_is_read() {
    let (_connection, catalog) = nasty();
    let table = |name: &str| -> &Table { catalog.table(name).unwrap_or_else(|| panic!("{name}")) };
    assert_eq!(table("order").column("a\"b").unwrap().kind, Type::Text);
    assert_eq!(table("MIXEDCASE").name, "MixedCase");
    assert_eq!(table("good_view").kind, TableKind::View);
    assert_eq!(table("broken_view").kind, TableKind::View);
    assert_eq!(table("search").kind, TableKind::Virtual);
    assert_eq!(table("search_data").kind, TableKind::Shadow);
    assert!(table("").column("").is_some());
    assert!(catalog.table("afield_mark").is_none() && catalog.table("sqlite_sequence").is_none());
    assert!(table("no_key").primary_key.is_empty());
    assert_eq!(names(&table("composite").primary_key), ["a", "b"]);
    let made = table("made");
    assert!(made.column("twice").unwrap().generated && made.column("kept").unwrap().generated);
    assert!(!made.column("n").unwrap().generated);
}

#[test]
fn only_autoincrement_numbers_rows() {
    let (_connection, catalog) = nasty();
    for (name, identity, is_rowid_key) in [
        ("numbered", Identity::Autoincrement, true),
        ("fake", Identity::None, true),
        ("order", Identity::None, true),
        ("descending", Identity::None, false),
        ("int_key", Identity::None, false),
        ("composite", Identity::None, false),
    ] {
        let table = catalog.table(name).unwrap();
        assert_eq!(
            (table.identity, table.is_rowid_key),
            (identity, is_rowid_key),
            "{name}"
        );
    }
}

#[test]
fn references_name_their_columns_or_none() {
    let (_connection, catalog) = nasty();
    let child = catalog.table("child").unwrap();
    let targets: Vec<(Vec<&str>, Vec<&str>)> = child
        .foreign_keys
        .iter()
        .map(|f| (names(&f.columns), names(&f.targets)))
        .collect();
    assert_eq!(
        targets,
        [
            (vec!["n"], vec!["id"]),
            (vec!["pb", "pa"], vec!["b", "a"]),
            (vec!["pa", "pb"], vec!["a", "b"]),
        ]
    );
    let lost = catalog.table("lost").unwrap();
    assert_eq!(names(&lost.foreign_keys[0].targets), ["id"]);
    assert!(lost.foreign_keys[1].targets.is_empty());
}

#[test]
fn indexes_are_those_of_plain_columns() {
    let (_connection, catalog) = nasty();
    let child = catalog.table("child").unwrap();
    assert_eq!(child.indexes, [vec!["n"], vec!["pb"], vec!["pb", "n"]]);
    assert_eq!(child.unique, [vec!["pb", "n"]]);
}

#[test]
fn types_and_literal_defaults_follow_the_declaration() {
    let (_connection, catalog) = nasty();
    let typed = catalog.table("typed").unwrap();
    let column = |name| typed.column(name).unwrap();
    assert_eq!(column("id").kind, Type::Text);
    assert_eq!(
        (column("d").precision, column("d").scale),
        (Some(10), Some(2))
    );
    assert_eq!(column("d").default, Some(Literal::Text("0".into())));
    assert_eq!(column("at").kind, Type::Instant);
    assert_eq!(column("day").default, None);
    assert_eq!(column("flag").default, Some(Literal::Integer(1)));
    assert!(column("place").kind == Type::Text && !column("place").is_kind_known);
    assert_eq!(column("doc").kind, Type::Json);
    let quoted = catalog
        .table("numbered")
        .unwrap()
        .column("quoted name")
        .unwrap();
    assert_eq!(quoted.default, Some(Literal::Text("it's".into())));
}

#[test]
fn measuring_finds_null_keys_large_bytes_and_odd_uuids() {
    let (_connection, catalog) = nasty();
    let measured = |name| catalog.table(name).unwrap().measured.clone().unwrap();
    assert!(measured("null_key").has_null_key && !measured("typed").has_null_key);
    assert_eq!(measured("photos").rows, 1);
    let sizes = measured("photos").largest;
    assert_eq!(
        sizes,
        [("photo".to_owned(), 200_000), ("thumb".to_owned(), 1)]
    );
    assert_eq!(measured("photos").odd_uuids, ["id"]);
}

#[test]
fn a_file_that_is_no_database_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notes.db");
    let missing = read_file(&path).unwrap_err();
    assert!(missing.message.contains("notes.db"), "{missing}");
    assert!(!path.exists(), "reading must not make the file");
    std::fs::write(&path, "these are no pages of a database ".repeat(200)).unwrap();
    assert!(read_file(&path).unwrap_err().message.contains("notes.db"));
}

#[test]
fn a_virtual_table_whose_module_is_not_there_is_listed() {
    let (connection, _) = database("CREATE TABLE a (id TEXT PRIMARY KEY)");
    connection
        .execute_batch(
            "PRAGMA writable_schema = ON;
             INSERT INTO sqlite_schema VALUES
               ('table', 'geo', 'geo', 0, 'CREATE VIRTUAL TABLE geo USING missing(x)');
             PRAGMA writable_schema = RESET;",
        )
        .unwrap();
    let mut catalog = read(&connection).unwrap();
    measure(&connection, &mut catalog).unwrap();
    assert_eq!(catalog.table("geo").unwrap().kind, TableKind::Virtual);
    assert!(catalog.table("a").unwrap().measured.is_some());
}
