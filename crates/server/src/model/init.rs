//! `afield init`: a model file for an existing database, ready to run, with a reason beside each
//! proposal.

use super::propose::{self, Names, Proposal, comment, line, quoted};
use crate::catalog::Catalog;

/// What the catalog does not say.
#[derive(Clone, Copy, Debug)]
pub struct InitOptions<'a> {
    /// The database, as `[server] database` names it.
    pub database_url: &'a str,
    /// The secret's file, relative to the model file.
    pub secret_file: &'a str,
}

/// The text of `afield.toml` for this database. It parses, and resolves against the same catalog.
pub fn generate(catalog: &Catalog, options: &InitOptions<'_>) -> String {
    let mut text = header(options);
    let mut names = Names::default();
    let mut left_out = String::new();
    let mut entities = 0;
    let on_device: Vec<String> = (catalog.tables.iter())
        .filter(|table| propose::left_out(table).is_none())
        .map(|table| table.name.clone())
        .collect();
    for table in &catalog.tables {
        match propose::propose(catalog, table, &on_device, &mut names) {
            Proposal::Entity { section, .. } => {
                entities += 1;
                text.push('\n');
                text.push_str(&section);
            }
            Proposal::LeftOut(reason) => {
                let name = table.name.escape_debug();
                comment(&mut left_out, &format!("- `{name}`: {reason}"));
            }
        }
    }
    if entities == 0 {
        text.push('\n');
        comment(
            &mut text,
            "No table of this database can be synchronised yet.",
        );
    }
    if !left_out.is_empty() {
        text.push('\n');
        comment(&mut text, "Left out:");
        text.push_str(&left_out);
    }
    text
}

fn header(options: &InitOptions<'_>) -> String {
    let mut text = String::new();
    comment(
        &mut text,
        "Which tables go to devices, with which attributes, whose rows, and how. Proposed by \
         `afield init` from the database; edit it, and add tables with `afield add TABLE`.",
    );
    text.push('\n');
    line(&mut text, "[server]");
    line(
        &mut text,
        &format!("database = {}", quoted(options.database_url)),
    );
    line(&mut text, "listen = \"127.0.0.1:4100\"");
    text.push('\n');
    line(&mut text, "[auth]");
    comment(
        &mut text,
        "Signs the users' tokens (HS256). Keep it out of version control.",
    );
    line(
        &mut text,
        &format!("secret_file = {}", quoted(options.secret_file)),
    );
    text.push('\n');
    line(&mut text, "[model]");
    comment(
        &mut text,
        "Raise it when devices must be able to tell models apart.",
    );
    line(&mut text, "version = 1");
    text
}
