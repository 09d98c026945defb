//! `write` and `write_to`, as the model file says them.

use std::path::Path;

use afield_server::model::add::add;
use afield_server::model::file::Overrides;
use afield_server::model::init::{InitOptions, generate};
use afield_server::model::{Checked, ModelError, ModelFile, check, resolve};
use afield_server::resolved::{Condition, Holds, Scope};
use afield_server::storage::sqlite::catalog::SqliteQueries;

use crate::model_catalog::database;
use crate::model_scope::{NAMED, SCHEMA};

/// The model with these lines, from line 8 on, held against the schema.
fn held(pattern: &str, lines: &str) -> Result<Checked, Vec<ModelError>> {
    let text = format!(
        "[server]\ndatabase = \"sqlite:x.db\"\n[local.visit]\nfrom = \"visit\"\n\
         pattern = \"{pattern}\"\nattributes = [\"city\"]\nscope = \"user_id = :user\"\n\
         {lines}\n{NAMED}"
    );
    let (connection, catalog) = database(SCHEMA);
    let queries = SqliteQueries::new(connection).unwrap();
    let file = ModelFile::parse(&text, Path::new("afield.toml"), &Overrides::default())?;
    check(&file, &catalog, &queries)
}

fn writes(lines: &str) -> (Option<Scope>, Option<Scope>) {
    let checked = held("last-write-wins", lines).unwrap_or_else(|e| panic!("{lines}: {e:#?}"));
    let visit = checked.model.entity("visit").unwrap();
    assert_eq!(
        visit.local.scope,
        [1],
        "devices are told of the scope alone"
    );
    (visit.write.clone(), visit.write_to.clone())
}

fn user(column: &str) -> Scope {
    Scope::Ways(vec![vec![Condition {
        column: column.to_owned(),
        path: Vec::new(),
        holds: Holds::User,
    }]])
}

#[test]
fn what_may_be_written_is_said_like_a_scope() {
    assert_eq!(writes(""), (None, None));
    assert_eq!(
        writes("write = \"city = :user\""),
        (Some(user("city")), None)
    );
    assert_eq!(
        writes("write = 'everyone'\nwrite_to = '(CITY = :user)'"),
        (Some(Scope::Everyone), Some(user("city")))
    );
    let (_, to) = writes("write_to = 'company_id.region_id in regions and city = :claim.c'");
    let Some(Scope::Ways(ways)) = to else {
        panic!("{to:?}");
    };
    assert_eq!(ways[0].len(), 2);
    assert_eq!(ways[0][0].path[0].table, "company");
}

#[test]
fn a_scope_that_is_used_by_a_rule_alone_is_used() {
    let checked = held(
        "last-write-wins",
        "write = 'company_id.region_id in regions'\nwrite_to = 'company_id.region_code in codes'",
    );
    let warnings: Vec<String> = checked
        .unwrap()
        .warnings
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(
        !warnings.concat().contains("no entity uses it"),
        "{warnings:#?}"
    );
}

#[test]
fn mistakes_name_the_rule_and_what_to_do() {
    for (pattern, lines, expected) in [
        (
            "last-write-wins",
            "write = 'town = :user'",
            "afield.toml:8:10: [local.visit] write: the table `visit` has no column `town`",
        ),
        (
            "last-write-wins",
            "write = 'everyone'\nwrite_to = 'city ='",
            "9:19: [local.visit] write_to: expected `:user` or `:claim.NAME` behind `=`",
        ),
        (
            "last-write-wins",
            "write_to = 'fee = :user'",
            "8:13: [local.visit] write_to: `fee` is real",
        ),
        (
            "last-write-wins",
            "write_to = 'everyone or city = :user'",
            "8:13: [local.visit] write_to: `everyone` stands alone",
        ),
        (
            "last-write-wins",
            "write = 'city in nowhere'",
            "[local.visit] write: there is no [scope.nowhere]",
        ),
        ("last-write-wins", "write = 7", "8:9: [local.visit] write"),
        (
            "read-only",
            "write = 'everyone'",
            "8:9: [local.visit] write: devices do not write with the pattern `read-only`; remove",
        ),
        (
            "read-only-optimized",
            "write_to = 'city = :user'",
            "[local.visit] write_to: devices do not write with",
        ),
        (
            "last-write-wins",
            "insert_only = true\nwrite = 'city = :user'",
            "9:9: [local.visit] write: rows are only created (`insert_only`), and never changed",
        ),
    ] {
        let errors = held(pattern, lines).expect_err(lines);
        let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(
            shown.iter().any(|line| line.contains(expected)),
            "{lines}: {expected}: {shown:#?}"
        );
    }
    assert!(
        held(
            "last-write-wins",
            "insert_only = true\nwrite_to = 'everyone'"
        )
        .is_ok()
    );
}

#[test]
fn a_local_only_entity_has_no_rules() {
    let text = "[server]\ndatabase = \"sqlite:x.db\"\n[local.draft]\nwrite = \"everyone\"\n\
                write_to = \"everyone\"\n[local.draft.attribute]\ntitle = \"text\"\n";
    let errors = ModelFile::parse(text, Path::new("a.toml"), &Overrides::default()).unwrap_err();
    let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(shown.len(), 2, "{shown:#?}");
    assert!(
        shown
            .iter()
            .all(|line| line.contains("needs a server entity"))
    );
}

/// A model of these entities over tables of which some are left out.
fn referring(entities: &str) -> Result<Checked, Vec<ModelError>> {
    const TABLES: &str = "
        CREATE TABLE kind (code TEXT PRIMARY KEY);
        CREATE TABLE site (id TEXT PRIMARY KEY, code TEXT UNIQUE, a TEXT, b TEXT, UNIQUE (a, b));
        CREATE TABLE task (id TEXT PRIMARY KEY, site TEXT REFERENCES site (id),
          kind TEXT REFERENCES kind (code), must TEXT NOT NULL REFERENCES kind (code),
          other TEXT NOT NULL DEFAULT 'k' REFERENCES kind, by_code TEXT REFERENCES site (code),
          a TEXT, b TEXT, both TEXT REFERENCES site (id) REFERENCES kind (code), note TEXT,
          lost TEXT REFERENCES nowhere (id), FOREIGN KEY (a, b) REFERENCES site (a, b));
        CREATE TABLE twin (id TEXT PRIMARY KEY REFERENCES task (id), words TEXT);
        CREATE TABLE pair (x TEXT, y TEXT, PRIMARY KEY (x, y));
        CREATE TABLE mate (id TEXT PRIMARY KEY, x TEXT, y TEXT,
          FOREIGN KEY (x, y) REFERENCES pair (x, y));";
    let text = format!("[server]\ndatabase = \"sqlite:x.db\"\n{entities}");
    let (connection, catalog) = database(TABLES);
    let queries = SqliteQueries::new(connection).unwrap();
    let file = ModelFile::parse(&text, Path::new("afield.toml"), &Overrides::default())?;
    check(&file, &catalog, &queries)
}

/// An entity of everyone; more of its keys may follow.
fn lww(table: &str, attributes: &str) -> String {
    format!(
        "[local.{table}]\nfrom = \"{table}\"\npattern = \"last-write-wins\"\n\
         attributes = [{attributes}]\nscope = \"everyone\"\n"
    )
}

const OF_TASK: &str = "\"site\", \"kind\", \"must\", \"other\", \"by_code\", \"a\", \"b\", \
                       \"both\", \"note\", \"lost\"";

fn read_only(checked: &Checked, entity: &str) -> Vec<String> {
    let entity = &checked.model.entity(entity).unwrap().local;
    let mut fixed = entity.attributes.iter().filter(|a| a.read_only);
    fixed.by_ref().map(|a| a.name.clone()).collect()
}

#[test]
fn p7_what_refers_to_no_device_is_read_only_unless_it_is_listed() {
    let both = lww("site", "\"code\"") + &lww("task", OF_TASK);
    let checked = referring(&both).unwrap();
    assert_eq!(
        read_only(&checked, "task"),
        ["kind", "must", "other", "by_code", "a", "b", "both", "lost"]
    );
    let warned: Vec<String> = checked.warnings.iter().map(ToString::to_string).collect();
    for expected in [
        "11:23: [local.task] attributes: `kind` refers to `kind`, which is not on devices, so \
         devices only read it; list it in `may_reference`",
        "`must` refers to `kind`, which is not on devices, so devices only read it, and create \
         no rows, which need it; list",
        "`other` refers to `kind`, which is not on devices, so devices only read it; list",
        "`by_code` refers to `site` by what is not its identifier",
        "`lost` refers to `nowhere`, which is not on devices",
    ] {
        let is_said = warned.iter().any(|line| line.contains(expected));
        assert!(is_said, "{expected}: {warned:#?}");
    }
    assert_eq!(warned.len(), 8, "{warned:#?}");

    let listed = both + "may_reference = [\"kind\", \"by_code\", \"a\", \"b\", \"both\"]\n";
    let checked = referring(&listed).unwrap();
    assert_eq!(read_only(&checked, "task"), ["must", "other", "lost"]);
    // What is on devices is a reference, and asked for.
    let whole = lww("site", "\"code\"") + &lww("kind", "") + &lww("task", OF_TASK);
    let checked = referring(&whole).unwrap();
    assert_eq!(read_only(&checked, "task"), ["by_code", "a", "b", "lost"]);
    // Said by the model already, and where devices do not write anyway.
    let said = lww("task", "\"kind\"") + "read_only = [\"kind\"]\n";
    let checked = referring(&said).unwrap();
    assert_eq!(read_only(&checked, "task"), ["kind"]);
    assert_eq!(checked.warnings, []);
    let reading = lww("task", "\"kind\"").replace("last-write-wins", "read-only");
    assert_eq!(referring(&reading).unwrap().warnings, []);
}

#[test]
fn p7_an_identifier_that_refers_to_no_device_is_never_created() {
    let checked = referring(&lww("twin", "\"words\"")).unwrap();
    assert_eq!(read_only(&checked, "twin"), ["id"]);
    let warned = checked.warnings[0].to_string();
    assert!(
        warned.contains("so devices create no rows; list it"),
        "{warned}"
    );
    let listed = lww("twin", "\"words\"") + "may_reference = [\"id\"]\n";
    assert!(read_only(&referring(&listed).unwrap(), "twin").is_empty());
    let there = lww("task", "\"note\"") + &lww("twin", "\"words\"");
    assert!(read_only(&referring(&there).unwrap(), "twin").is_empty());
}

#[test]
fn p7_half_of_a_reference_is_hidden_with_the_other_half() {
    let half = lww("pair", "") + &lww("mate", "\"x\"");
    let checked = referring(&half).unwrap();
    assert_eq!(read_only(&checked, "mate"), ["x"]);
    let warned = checked.warnings[0].to_string();
    assert!(
        warned.contains("with columns that are not on devices"),
        "{warned}"
    );
    let whole = lww("pair", "") + &lww("mate", "\"x\", \"y\"");
    assert!(read_only(&referring(&whole).unwrap(), "mate").is_empty());
}

#[test]
fn mistakes_in_may_reference_are_named() {
    for (listed, expected) in [
        (
            "\"knid\"",
            "may_reference: `knid` is none of `attributes`; did you mean",
        ),
        (
            "\"note\"",
            "`note` is no foreign key, so it refers to no other row",
        ),
        ("7", "may_reference"),
    ] {
        let text = lww("task", "\"kind\", \"note\"") + &format!("may_reference = [{listed}]\n");
        let errors = referring(&text).expect_err(listed);
        let shown: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(shown.concat().contains(expected), "{expected}: {shown:#?}");
    }
    let both = lww("task", "\"kind\"") + "read_only = [\"kind\"]\nmay_reference = [\"kind\"]\n";
    let errors = referring(&both).unwrap_err();
    assert!(errors[0].to_string().contains("is in `read_only` too"));
    let reading = lww("task", "\"kind\"").replace("last-write-wins", "read-only")
        + "may_reference = [\"kind\"]\n";
    let errors = referring(&reading).unwrap_err();
    assert!(
        errors[0]
            .to_string()
            .contains("is only read with the pattern")
    );
    // Harmless: the other entity was added later.
    let there = lww("kind", "") + &lww("task", "\"kind\"") + "may_reference = [\"kind\"]\n";
    let checked = referring(&there).unwrap();
    let warned = checked.warnings[0].to_string();
    assert!(warned.contains("which is on devices"), "{warned}");
}

/// The first sync works without it, and so do all edits but these.
#[test]
fn what_refers_to_no_device_is_proposed_as_a_line_to_take() {
    let (_, catalog) = database(
        "CREATE TABLE kind (code TEXT);
         CREATE TABLE site (id TEXT PRIMARY KEY, \"rowid\" TEXT REFERENCES kind (code));
         CREATE TABLE task (id TEXT PRIMARY KEY, site TEXT REFERENCES site (id), note TEXT);",
    );
    let options = InitOptions {
        database_url: "sqlite:x.db",
        secret_file: "secret",
    };
    let text = generate(&catalog, &options);
    assert!(
        text.contains("\n# may_reference = [\"x_rowid\"]\n"),
        "{text}"
    );
    assert_eq!(text.matches("may_reference").count(), 1, "{text}");
    assert!(
        text.contains("`rowid` refers to `kind`, which is not on devices:"),
        "{text}"
    );
    let resolved = |text: &str| {
        let file = ModelFile::parse(text, Path::new("a.toml"), &Overrides::default()).unwrap();
        resolve(&file, &catalog).unwrap()
    };
    let is_fixed = |text: &str| {
        let model = resolved(text);
        let site = &model.entity("site").unwrap().local;
        site.attribute("x_rowid").unwrap().read_only
    };
    assert!(is_fixed(&text));
    assert!(!is_fixed(&text.replace("# may_reference", "may_reference")));
    // One table after the other: what is there already is no secret.
    let begin = "[server]\ndatabase = \"sqlite:x.db\"\n[auth]\nsecret_file = \"s\"\n";
    let add = |text: &str, table: &str| {
        let path = Path::new("a.toml");
        add(text, path, &Overrides::default(), &catalog, table).unwrap()
    };
    let task = add(begin, "task");
    assert!(task.contains("# may_reference = [\"site\"]"), "{task}");
    let both = add(&add(begin, "site"), "task");
    assert!(!both.contains("may_reference = [\"site\"]"), "{both}");
}
