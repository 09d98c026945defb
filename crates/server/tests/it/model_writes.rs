//! `write` and `write_to`, as the model file says them.

use std::path::Path;

use afield_server::model::file::Overrides;
use afield_server::model::{Checked, ModelError, ModelFile, check};
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
