//! Proposes a local entity for a table: the section of the model file, with the reason for each
//! choice beside it. Shared by `init` and `add`.

mod rules;

use std::collections::HashSet;
use std::fmt::Write as _;

use afield_protocol::limits::NAME_BYTES;
use afield_protocol::{Identifier, Pattern, Type};

use super::owner::own_rows;
use super::resolve::{
    Hidden, hidden, identifier_of, name_problem, table_problem, too_high_problem,
};
use crate::catalog::{Catalog, Column, ROWS_COUNTED_MAX, Table, TableKind};

/// Bytes in one cell above which a column of bytes is proposed as left out: a page of such rows
/// would take minutes on a slow network.
const LARGE_BYTES: u64 = 64 * 1024;

/// Rows above which the warning about `everyone` speaks of the size too.
const MANY_ROWS: u64 = 10_000;

/// What is proposed for a table.
pub(super) enum Proposal {
    /// A section of the file.
    Entity {
        /// The local name.
        name: String,
        /// The section's text.
        section: String,
    },
    /// Why there is none, and what to do.
    LeftOut(String),
}

/// Local names given so far; case does not count.
#[derive(Default)]
pub(super) struct Names(HashSet<String>);

impl Names {
    pub(super) fn add(&mut self, name: &str) {
        self.0.insert(name.to_ascii_lowercase());
    }

    /// A name for devices that is as near to the server's as their rules allow.
    fn choose(&mut self, name: &str, is_attribute: bool) -> String {
        let mut base: String = name
            .chars()
            .map(|c| if c.is_control() { '_' } else { c })
            .collect();
        if base.is_empty() {
            base.push_str("unnamed");
        }
        if base.len() > NAME_BYTES {
            base.truncate(base.floor_char_boundary(NAME_BYTES - 8));
        }
        if name_problem(&base, is_attribute).is_some() {
            base.insert_str(0, "x_");
            base.truncate(base.floor_char_boundary(NAME_BYTES - 6));
        }
        let mut chosen = base.clone();
        let mut number = 2;
        while !self.0.insert(chosen.to_ascii_lowercase()) {
            chosen = format!(
                "{}_{number}",
                base.get(..base.floor_char_boundary(NAME_BYTES - 8))
                    .unwrap_or(&base)
            );
            number += 1;
        }
        chosen
    }
}

/// The proposal for `table` under a local name that `names` does not have yet, beside the tables
/// of `on_device`.
pub(super) fn propose(
    catalog: &Catalog,
    table: &Table,
    on_device: &[String],
    names: &mut Names,
) -> Proposal {
    if let Some(reason) = left_out(table) {
        return Proposal::LeftOut(reason);
    }
    let name = names.choose(&table.title, false);
    let mut section = section(table, &name);
    if pattern(table).0 == Pattern::LastWriteWins {
        let columns: Vec<String> = (table.columns.iter())
            .filter(|column| !is_too_large(table, column) && column.left_out.is_none())
            .map(|column| column.name.clone())
            .collect();
        let hidden = hidden(catalog, table, on_device, &columns);
        may_reference(&mut section, table, &hidden);
        let is_hidden = |column: &Column| hidden.iter().any(|one| one.column == column.name);
        let is_written = |column: &Column| columns.contains(&column.name) && !is_hidden(column);
        // A table of its own in the file, so it stands behind everything else of the entity.
        rules::rules(&mut section, &name, table, is_written);
    }
    Proposal::Entity { name, section }
}

/// Why nothing is proposed for a table, if nothing is, and what to do.
pub(super) fn left_out(table: &Table) -> Option<String> {
    if let Some(problem) = table_problem(table) {
        return Some(match possible_key(table) {
            Some(key) => format!("{problem}. {key}"),
            None => problem.to_owned(),
        });
    }
    if table
        .measured
        .as_ref()
        .is_some_and(|measured| measured.has_null_key)
    {
        return Some(
            "holds rows whose primary key is NULL, which no device could name: give them a key, \
             then run `afield add`"
                .to_owned(),
        );
    }
    if identifier_of(table) == Identifier::Server
        && let Some(problem) = too_high_problem(table)
    {
        return Some(format!(
            "{problem}. To have it on devices for reading, add it by hand with id = \"natural\" \
             and pattern = \"read-only-optimized\""
        ));
    }
    None
}

/// How a table without a primary key could get one: columns that are unique and never null.
fn possible_key(table: &Table) -> Option<String> {
    if table.kind != TableKind::Ordinary || !table.primary_key.is_empty() {
        return None;
    }
    let is_set = |name: &String| table.column(name).is_some_and(|column| column.not_null);
    let mut unique = table.unique.iter();
    let columns = unique.find(|columns| columns.iter().all(is_set))?;
    let columns: Vec<String> = columns.iter().map(|name| quote(name)).collect();
    let columns = columns.join(", ");
    Some(format!(
        "A unique index over ({columns}), never null, could be it: ALTER TABLE {} ADD PRIMARY KEY \
         ({columns})",
        table.quoted
    ))
}

/// A name in SQL.
fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// References to what is not on devices, each of which a person may allow.
fn may_reference(text: &mut String, table: &Table, hidden: &[Hidden<'_>]) {
    if hidden.is_empty() {
        return;
    }
    let said = hidden
        .iter()
        .map(|one| format!("`{}` refers to {}", one.column.escape_debug(), one.why));
    let said: Vec<String> = said.collect();
    let mut locals = Names::default();
    let local = |column: &Column| {
        let local = locals.choose(&column.name, true);
        let is_it = hidden.iter().any(|one| one.column == column.name);
        is_it.then(|| quoted(&local))
    };
    let names: Vec<String> = table.columns.iter().filter_map(local).collect();
    comment(
        text,
        &format!(
            "{}: devices only read it, because the database would tell them which rows are there \
             (and create no rows where it is required). If they may, add the next line.",
            said.join(", ")
        ),
    );
    line(text, &format!("# may_reference = [{}]", names.join(", ")));
}

fn section(table: &Table, name: &str) -> String {
    let (pattern, reason) = pattern(table);
    let mut text = String::new();
    comment(
        &mut text,
        &format!("{}. {}", rows(table), identifier(table)),
    );
    line(&mut text, &format!("[local.{}]", key(name)));
    line(&mut text, &format!("from = {}", quoted(&table.name)));
    comment(&mut text, &reason);
    line(
        &mut text,
        &format!("pattern = {}", quoted(pattern.as_str())),
    );
    line(&mut text, "attributes = [");
    let mut locals = Names::default();
    for column in &table.columns {
        attribute(&mut text, table, column, &mut locals);
    }
    line(&mut text, "]");
    match own_rows(table) {
        None => comment(&mut text, &scope_warning(table)),
        Some((column, own)) => {
            comment(&mut text, &own_warning(table, column));
            line(&mut text, &format!("# {own}"));
        }
    }
    line(&mut text, "scope = \"everyone\"");
    text
}

fn pattern(table: &Table) -> (Pattern, String) {
    let has_odd_key = table
        .measured
        .as_ref()
        .is_some_and(|measured| measured.odd_uuids.iter().any(|column| table.is_key(column)));
    if has_odd_key {
        return (
            Pattern::ReadOnlyOptimized,
            "Read-only: some ids are no UUIDs in lower-case text, so that ids made on devices \
             would be of another kind."
                .to_owned(),
        );
    }
    if numbers_a_part(table) {
        return (
            Pattern::ReadOnlyOptimized,
            "Read-only: the database numbers a part of the key, which nobody could give to a row \
             that was made on a device."
                .to_owned(),
        );
    }
    let reason = match identifier_of(table) {
        Identifier::Uuid => {
            "Both ways: devices make UUIDs themselves, so rows can be created without a network. \
             The last change to arrive stands."
        }
        Identifier::Server => {
            return (
                Pattern::LastWriteWins,
                format!(
                    "Both ways: the database numbers new rows ({}). On a device a new row has a \
                     temporary number until it was sent. The last change to arrive stands.",
                    table.identity.words()
                ),
            );
        }
        Identifier::Natural => {
            "Both ways: a row's key means something, so the app gives it to new rows. The last \
             change to arrive stands."
        }
    };
    (Pattern::LastWriteWins, reason.to_owned())
}

/// Whether the database numbers one of several columns of the key.
fn numbers_a_part(table: &Table) -> bool {
    let mut keys = table.primary_key.iter().filter_map(|key| table.column(key));
    let is_numbered = |column: &Column| {
        column.kind == Type::Integer && column.has_default && column.default.is_none()
    };
    table.primary_key.len() > 1 && keys.any(is_numbered)
}

fn identifier(table: &Table) -> String {
    let names: Vec<String> = table
        .primary_key
        .iter()
        .map(|key| format!("`{}`", key.escape_debug()))
        .collect();
    let names = names.join(", ");
    let kind = match identifier_of(table) {
        Identifier::Server => "numbered by the database",
        Identifier::Uuid => "a UUID",
        Identifier::Natural if table.primary_key.len() > 1 => "given by the app",
        Identifier::Natural if table.is_rowid_key => {
            "assumed to be given by the app (INTEGER PRIMARY KEY without AUTOINCREMENT). If the \
             database numbers the rows, add the line id = \"server\""
        }
        Identifier::Natural => "given by the app",
    };
    format!("Identifier: {names}, {kind}.")
}

fn rows(table: &Table) -> String {
    match &table.measured {
        None => "Rows not counted".to_owned(),
        Some(measured) if measured.rows == 1 => "1 row".to_owned(),
        Some(measured) if measured.rows >= ROWS_COUNTED_MAX => {
            format!("{} rows or more", thousands(measured.rows))
        }
        Some(measured) => format!("{} rows", thousands(measured.rows)),
    }
}

fn scope_warning(table: &Table) -> String {
    format!(
        "WARNING: every user gets every row. Take this section out unless all may see all.{}",
        size_warning(table)
    )
}

fn own_warning(table: &Table, column: &Column) -> String {
    let nobodys = match column.not_null {
        true => "",
        false => " (rows where it is null are nobody's then)",
    };
    format!(
        "WARNING: every user gets every row. `{}` looks like the user whose row it is: if all may \
         not see all, use the next line in place of the one behind it{nobodys}.{}",
        column.name.escape_debug(),
        size_warning(table)
    )
}

fn size_warning(table: &Table) -> &'static str {
    let measured = table.measured.as_ref();
    match measured.is_some_and(|measured| measured.rows > MANY_ROWS) {
        true => " It has many rows: mind the first download.",
        false => "",
    }
}

fn attribute(text: &mut String, table: &Table, column: &Column, locals: &mut Names) {
    let local = locals.choose(&column.name, true);
    let item = if local == column.name {
        quoted(&local)
    } else {
        format!("{{ {} = {} }}", key(&local), quoted(&column.name))
    };
    let left_out = match &column.left_out {
        None if is_too_large(table, column) => {
            let kib = largest(table, column) / 1024;
            Some(format!("up to {kib} KiB in one row"))
        }
        reason => reason.as_deref().map(rules::one_line),
    };
    if let Some(reason) = left_out {
        let required = if column.not_null && !column.has_default && !column.generated {
            "; required, so devices cannot create rows without it"
        } else {
            ""
        };
        line(
            text,
            &format!("    # {item},  # left out: {reason}{required}"),
        );
        return;
    }
    match note(table, column) {
        Some(note) => line(text, &format!("    {item},  # {note}")),
        None => line(text, &format!("    {item},")),
    }
}

/// What a person should know of a column.
fn note(table: &Table, column: &Column) -> Option<String> {
    let is_odd = |measured: &crate::catalog::Measured| measured.odd_uuids.contains(&column.name);
    if column.generated {
        return Some("computed by the database, so devices only read it".to_owned());
    }
    if !column.is_kind_known {
        let declared = column.declared.escape_debug();
        return Some(match column.declared.as_str() {
            "" => "no declared type: sent as text".to_owned(),
            _ => format!("{declared}: no type that Afield knows, sent as text"),
        });
    }
    if column.kind == Type::Uuid && table.measured.as_ref().is_some_and(is_odd) {
        return Some("some values are no UUIDs in lower-case text: sent as they are".to_owned());
    }
    None
}

/// Whether a column is proposed as left out.
fn is_too_large(table: &Table, column: &Column) -> bool {
    largest(table, column) > LARGE_BYTES && !table.is_key(&column.name)
}

fn largest(table: &Table, column: &Column) -> u64 {
    let sizes = table.measured.iter().flat_map(|measured| &measured.largest);
    sizes
        .filter(|(name, _)| *name == column.name)
        .map(|(_, size)| *size)
        .max()
        .unwrap_or(0)
}

/// Adds a line.
pub(super) fn line(text: &mut String, content: &str) {
    text.push_str(content);
    text.push('\n');
}

/// Adds a comment, broken into lines that fit a screen.
pub(super) fn comment(text: &mut String, content: &str) {
    let mut width = 0;
    for word in content.split(' ') {
        if width > 0 && width + 1 + word.chars().count() > 98 {
            text.push('\n');
            width = 0;
        }
        let before = if width == 0 { "# " } else { " " };
        let _ = write!(text, "{before}{word}");
        width += before.len() + word.chars().count();
    }
    text.push('\n');
}

/// A TOML string.
pub(super) fn quoted(content: &str) -> String {
    let mut text = String::from('"');
    for c in content.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(text, "\\u{:04X}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// A TOML key, bare where that is possible.
pub(super) fn key(name: &str) -> String {
    let is_bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !name.is_empty() && name.chars().all(is_bare) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_the_rules_and_differ() {
        let mut names = Names::default();
        let long = "é".repeat(200);
        let chosen: Vec<String> = ["", "a\nb", "a_b", "A_B", "rowid", "afield_x", &long, &long]
            .iter()
            .map(|name| names.choose(name, true))
            .collect();
        assert_eq!(
            chosen[..6],
            ["unnamed", "a_b", "a_b_2", "A_B_3", "x_rowid", "x_afield_x"]
        );
        assert_ne!(chosen[6], chosen[7]);
        for name in &chosen {
            assert_eq!(name_problem(name, true), None, "{name}");
        }
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }
}
