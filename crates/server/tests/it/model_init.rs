//! The proposed model: nothing to edit before the first sync works.

use std::path::Path;

use afield_protocol::{Identifier, Pattern};
use afield_server::catalog::Catalog;
use afield_server::model::add::add;
use afield_server::model::file::Overrides;
use afield_server::model::init::{InitOptions, generate};
use afield_server::model::{ModelFile, resolve};
use afield_server::resolved::ServerModel;
use afield_server::storage::sqlite::catalog::{measure, read};
use rusqlite::Connection;

use crate::model_catalog::{database, nasty};

const OPTIONS: InitOptions<'_> = InitOptions {
    database_url: "sqlite:team.db",
    secret_file: ".afield/secret",
};

fn resolved(text: &str, catalog: &Catalog) -> ServerModel {
    let path = Path::new("afield.toml");
    let file = ModelFile::parse(text, path, &Overrides::default())
        .unwrap_or_else(|errors| panic!("{errors:#?}\n{text}"));
    assert_eq!(file.warnings, [], "{text}");
    resolve(&file, catalog).unwrap_or_else(|errors| panic!("{errors:#?}\n{text}"))
}

fn has_all_usable_tables(model: &ServerModel, catalog: &Catalog) {
    for table in &catalog.tables {
        let usable = !table.primary_key.is_empty()
            && table.measured.as_ref().is_some_and(|m| !m.has_null_key)
            && table.name != "real_key";
        let found = model
            .entities
            .iter()
            .any(|entity| entity.table == table.name);
        assert_eq!(found, usable, "{}", table.name);
    }
}

#[test]
fn a_nasty_database_gets_a_model_that_works_as_it_is() {
    let (_connection, catalog) = nasty();
    let text = generate(&catalog, &OPTIONS);
    let model = resolved(&text, &catalog);
    has_all_usable_tables(&model, &catalog);
    let pattern = |name: &str| model.entity(name).unwrap().local.pattern;
    assert_eq!(pattern("numbered"), Pattern::LastWriteWins);
    let identifier = |name: &str| model.entity(name).unwrap().local.identifier;
    assert_eq!(identifier("numbered"), Identifier::Server);
    assert_eq!(identifier("fake"), Identifier::Natural);
    assert_eq!(pattern("made"), Pattern::LastWriteWins);
    assert_eq!(
        pattern("photos"),
        Pattern::ReadOnlyOptimized,
        "ids in upper case"
    );
    for said in [
        "the database numbers new rows (AUTOINCREMENT)",
        "If the database numbers the rows, add the line id = \"server\"",
        "# \"photo\",  # left out: up to 195 KiB in one row",
        "`no_key`: without a primary key",
        "`good_view`: a view",
        "`search`: a virtual table",
        "`null_key`: holds rows whose primary key is NULL",
        "WARNING: every user gets every row",
        "computed by the database",
        "POINT: no type that Afield knows",
        "INTEGER PRIMARY KEY without AUTOINCREMENT",
    ] {
        // Comments are broken into lines.
        let flat = text.replace("\n# ", " ");
        assert!(flat.contains(said), "{said}\n{text}");
    }
    assert_eq!(
        generate(&catalog, &OPTIONS),
        text,
        "the same database, the same text"
    );
}

#[test]
fn adding_tables_one_by_one_gives_the_same_model() {
    let (_connection, catalog) = nasty();
    let path = Path::new("afield.toml");
    let all = resolved(&generate(&catalog, &OPTIONS), &catalog);
    let mut text = generate(&Catalog::default(), &OPTIONS);
    assert_eq!(resolved(&text, &catalog).entities, []);
    for table in &catalog.tables {
        match add(&text, path, &Overrides::default(), &catalog, &table.name) {
            Ok(longer) => {
                assert!(longer.starts_with(text.trim_end()), "what was there stays");
                text = longer;
            }
            Err(errors) => {
                assert!(
                    !all.entities.iter().any(|e| e.table == table.name),
                    "{errors:?}"
                );
            }
        }
    }
    assert_eq!(resolved(&text, &catalog), all);
}

#[test]
fn adding_keeps_comments_and_joins_the_first_unit() {
    let (_connection, catalog) =
        database("CREATE TABLE a (id TEXT PRIMARY KEY); CREATE TABLE b (id TEXT PRIMARY KEY)");
    let path = Path::new("afield.toml");
    let text = "[server] # ours\r\ndatabase = \"sqlite:x\"\r\n[unit.u]\r\nentities = [\r\n  \
                \"a\", # first\r\n  ]\r\n[local.a]\r\nfrom = \"a\"\r\nattributes = []\r\n\
                pattern = \"read-only\"\r\nscope = \"everyone\" # last line";
    let longer = add(text, path, &Overrides::default(), &catalog, "b").unwrap();
    let expected_start = text.replace("\"a\", # first", "\"a\", \"b\", # first");
    assert!(longer.starts_with(&expected_start), "{longer}");
    assert!(
        !longer.replace("\r\n", "").contains('\n'),
        "line ends stay as they were"
    );
    let model = resolved(&longer, &catalog);
    assert_eq!(model.device.units[0].entities, ["a", "b"]);

    let twice = add(&longer, path, &Overrides::default(), &catalog, "B").unwrap_err();
    assert!(
        twice[0]
            .message
            .contains("is in the model already, as [local.b]"),
        "{twice:?}"
    );
    let missing = add(&longer, path, &Overrides::default(), &catalog, "c").unwrap_err();
    assert!(missing[0].message.contains("no table `c`"), "{missing:?}");
}

/// Where the numbers of rows reach those of devices, there is a reason instead of a section.
#[test]
fn numbers_that_reach_the_temporary_ones_are_left_out() {
    for fill in [
        "INSERT INTO t (id) VALUES (4503599627370496)",
        "INSERT INTO t (id) VALUES (4503599627370496); DELETE FROM t",
    ] {
        let sql = format!("CREATE TABLE t (id INTEGER PRIMARY KEY AUTOINCREMENT); {fill}");
        let (_connection, catalog) = database(&sql);
        let text = generate(&catalog, &OPTIONS);
        let flat = text.replace("\n# ", " ");
        assert!(
            flat.contains("- `t`: has given the number 4503599627370496"),
            "{text}"
        );
        assert_eq!(resolved(&text, &catalog).entities, []);
        let base = generate(&Catalog::default(), &OPTIONS);
        let path = Path::new("afield.toml");
        let refused = add(&base, path, &Overrides::default(), &catalog, "t").unwrap_err();
        assert!(refused[0].message.contains("2^52"), "{refused:?}");
        let by_hand = format!(
            "{base}[local.t]\nfrom = \"t\"\nscope = \"everyone\"\nattributes = []\n\
             pattern = \"read-only-optimized\"\n"
        );
        let file = ModelFile::parse(&by_hand, path, &Overrides::default()).unwrap();
        let errors = resolve(&file, &catalog).unwrap_err();
        assert!(
            errors[0].message.contains("write `id = \"natural\"`"),
            "{errors:?}"
        );
        let natural = resolved(&format!("{by_hand}id = \"natural\"\n"), &catalog);
        assert_eq!(natural.entities[0].local.identifier, Identifier::Natural);
    }
}

#[test]
fn an_inline_table_that_cannot_be_continued_is_an_error() {
    let (_connection, catalog) = database("CREATE TABLE b (id TEXT PRIMARY KEY)");
    let text = "local = { a = { attribute = { x = \"text\" } } }\n\
                server = { database = \"sqlite:x\" }\n";
    let errors = add(text, Path::new("f"), &Overrides::default(), &catalog, "b").unwrap_err();
    assert!(
        errors
            .iter()
            .any(|e| e.message.contains("under its own [local.NAME]")),
        "{errors:?}"
    );
}

/// Names that only work where they are quoted, or are none of ours.
const NAMES: [&str; 12] = [
    "a",
    "B",
    "order",
    "x y",
    "q\"q",
    "é",
    "rowid",
    "oid",
    "a.b",
    "#",
    "new\nline",
    "'",
];

/// Types as people declare them.
const TYPES: [&str; 12] = [
    "",
    "INTEGER",
    "TEXT",
    "UUID",
    "BLOB",
    "DECIMAL(5,1)",
    "REAL",
    "BOOL",
    "DATE",
    "WHAT",
    "JSON",
    "TIMESTAMP WITH TIME ZONE",
];

/// Values, whether they fit the type or not.
const VALUES: [&str; 8] = [
    "1",
    "-7",
    "'x'",
    "NULL",
    "x'00ff'",
    "2.5",
    "'2026-01-31'",
    "'{\"a\":1}'",
];

/// A database made at random out of awkward pieces, with some rows.
pub(crate) fn random_database(seed: u64) -> String {
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut sql = String::new();
    let mut tables = NAMES;
    random.shuffle(&mut tables);
    for table in &tables[..random.usize(1..6)] {
        let mut columns = NAMES;
        random.shuffle(&mut columns);
        let columns = &columns[..random.usize(1..7)];
        let mut parts: Vec<String> = columns
            .iter()
            .map(|name| format!("{} {}", quoted(name), TYPES[random.usize(..TYPES.len())]))
            .collect();
        let has_key = random.u8(..5) > 0;
        if has_key {
            let width = random.usize(1..=columns.len().min(3));
            let key: Vec<String> = columns[..width].iter().map(|name| quoted(name)).collect();
            parts.push(format!("PRIMARY KEY ({})", key.join(", ")));
        }
        if random.bool() {
            let target = quoted(tables[random.usize(..tables.len())]);
            parts.push(format!(
                "FOREIGN KEY ({}) REFERENCES {target}",
                quoted(columns[0])
            ));
        }
        let kind = if has_key && random.bool() {
            " WITHOUT ROWID"
        } else {
            ""
        };
        sql += &format!(
            "CREATE TABLE {} ({}){kind};\n",
            quoted(table),
            parts.join(", ")
        );
        for _ in 0..random.usize(..6) {
            let values: Vec<&str> = columns
                .iter()
                .map(|_| VALUES[random.usize(..VALUES.len())])
                .collect();
            let values = values.join(", ");
            sql += &format!(
                "INSERT OR IGNORE INTO {} VALUES ({values});\n",
                quoted(table)
            );
        }
    }
    format!("PRAGMA foreign_keys = OFF;\n{sql}")
}

/// Runs `sql`; a random row may not fit its table.
pub(crate) fn fill(connection: &Connection, sql: &str) {
    for statement in sql.split_inclusive(";\n") {
        if let Err(error) = connection.execute_batch(statement) {
            assert!(
                statement.contains("INSERT OR IGNORE"),
                "{statement}: {error}"
            );
        }
    }
}

#[test]
fn random_databases_get_models_that_work() {
    for seed in 0..300 {
        let sql = random_database(seed);
        let connection = Connection::open_in_memory().unwrap();
        fill(&connection, &sql);
        let mut catalog = read(&connection).unwrap();
        measure(&connection, &mut catalog).unwrap();
        let text = generate(&catalog, &OPTIONS);
        let model = resolved(&text, &catalog);
        let left = text.contains("Left out:");
        assert!(
            left || model.entities.len() == catalog.tables.len(),
            "seed {seed}: {sql}\n{text}"
        );
    }
}

/// The line that `init` shows beside its warning can be used as it stands.
#[test]
fn a_column_that_looks_like_the_user_is_shown_with_the_scope_to_use() {
    for (columns, expected) in [
        ("owner TEXT", "# scope = \"owner = :user\""),
        ("UserId UUID, note TEXT", "# scope = \"UserId = :user\""),
        ("user_id INTEGER", "# scope = \"user_id = :claim.user_id\""),
        (
            "user_id TEXT, assigned_to TEXT",
            "# scope = \"assigned_to = :user\"",
        ),
        ("a INT REFERENCES users", "# scope = \"a = :claim.a\""),
        (
            "\"in\" TEXT REFERENCES Users(name)",
            "# scope = \"\\\"in\\\" = :user\"",
        ),
        ("created_by TEXT", ""),
        ("owner TEXT COLLATE NOCASE", ""),
        ("owner REAL", ""),
        ("a INT REFERENCES parties", ""),
    ] {
        let (_connection, catalog) = database(&format!(
            "CREATE TABLE t (id TEXT PRIMARY KEY, {columns});
             CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT UNIQUE)"
        ));
        let text = generate(&catalog, &OPTIONS);
        let everyone = resolved(&text, &catalog);
        assert!(
            everyone
                .entities
                .iter()
                .all(|entity| entity.scope.is_everyone())
        );
        let shown = text.lines().find(|line| line.starts_with("# scope = "));
        assert_eq!(shown.unwrap_or_default(), expected, "{columns}\n{text}");
        let flat = text.replace("\n# ", " ");
        assert!(
            flat.contains("WARNING: every user gets every row."),
            "{text}"
        );
        assert!(
            flat.contains("Take this section out unless all may see all."),
            "{text}"
        );
        if shown.is_some() {
            let narrowed = text.replacen(
                &format!("{expected}\nscope = \"everyone\""),
                &expected[2..],
                1,
            );
            let model = resolved(&narrowed, &catalog);
            assert!(
                !model.entity("t").unwrap().scope.is_everyone(),
                "{narrowed}"
            );
        }
    }
}
