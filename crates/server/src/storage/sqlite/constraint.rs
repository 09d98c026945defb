//! SQLite's refusals as verdicts that a person understands.

use afield_protocol::{Code, Verdict};
use rusqlite::{Error, ErrorCode, ffi};

use super::entity::EntityTable;

/// Longest text of a database's rule or trigger that is passed on.
const RULE_CHARS: usize = 500;

/// The verdict for an error that the change itself is to blame for; `None` for all others.
pub(super) fn refusal(error: &Error, table: &EntityTable) -> Option<Verdict> {
    let Error::SqliteFailure(failure, text) = error else {
        return None;
    };
    let text = text.as_deref().unwrap_or("");
    let place = Place::read(text, table);
    Some(match failure.extended_code {
        ffi::SQLITE_CONSTRAINT_UNIQUE
        | ffi::SQLITE_CONSTRAINT_PRIMARYKEY
        | ffi::SQLITE_CONSTRAINT_ROWID => place.verdict(
            Code::UNIQUE,
            &format!("another row already has this {}", place.words),
        ),
        ffi::SQLITE_CONSTRAINT_NOTNULL if place.attribute.is_none() => place.verdict(
            Code::NOT_NULL,
            &format!(
                "the server's table needs a value for {}, and devices do not send it: give it a \
                 default, or add it to the model",
                place.words
            ),
        ),
        ffi::SQLITE_CONSTRAINT_NOTNULL => {
            place.verdict(Code::NOT_NULL, &format!("{} needs a value", place.words))
        }
        ffi::SQLITE_CONSTRAINT_CHECK => check(text, table),
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => {
            Verdict::rejected(Code::REFERENCE, "a row that this refers to is not there")
        }
        ffi::SQLITE_CONSTRAINT_TRIGGER => Verdict::rejected(Code::CONSTRAINT, shortened(text)),
        ffi::SQLITE_CONSTRAINT_DATATYPE => datatype(text, table),
        ffi::SQLITE_MISMATCH => Verdict::rejected(
            Code::TYPE_MISMATCH,
            "the server's database cannot store this value in its column",
        ),
        ffi::SQLITE_TOOBIG => Verdict::rejected(
            Code::TOO_LARGE,
            "a value is larger than the server's database can store",
        ),
        _ if failure.code == ErrorCode::ConstraintViolation => {
            Verdict::rejected(Code::CONSTRAINT, shortened(text))
        }
        _ => return None,
    })
}

/// Which columns a message speaks of.
struct Place {
    attribute: Option<String>,
    words: String,
}

impl Place {
    /// Reads `… failed: table.column, table.column`.
    fn read(text: &str, table: &EntityTable) -> Self {
        let list = text.split_once("failed: ").map_or(text, |(_, list)| list);
        let prefix = format!("{}.", table.schema.name);
        let columns: Vec<&str> = list
            .split(", ")
            .filter_map(|part| part.strip_prefix(prefix.as_str()))
            .collect();
        let named: Vec<String> = columns.iter().map(|c| local_name(table, c)).collect();
        let attributes: Vec<Option<&str>> = columns.iter().map(|c| attribute(table, c)).collect();
        let attribute = attributes.first().copied().flatten();
        Self {
            attribute: attribute.map(str::to_owned),
            words: if named.is_empty() {
                format!("value ({})", shortened(list))
            } else {
                named.join(" and ")
            },
        }
    }

    fn verdict(&self, code: Code, message: &str) -> Verdict {
        Verdict {
            attribute: self.attribute.clone(),
            ..Verdict::rejected(code, message)
        }
    }
}

fn attribute<'t>(table: &'t EntityTable, column: &str) -> Option<&'t str> {
    let entity = &table.entity;
    let at = entity
        .columns
        .iter()
        .position(|c| c.name.eq_ignore_ascii_case(column))?;
    Some(&entity.local.attributes.get(at)?.name)
}

fn local_name(table: &EntityTable, column: &str) -> String {
    match attribute(table, column) {
        Some(name) => format!("`{name}`"),
        None => format!("`{column}` of the server's `{}`", table.schema.name),
    }
}

/// A failed CHECK is named, or shown as it was written; the attribute is the one column that
/// its text mentions.
fn check(text: &str, table: &EntityTable) -> Verdict {
    let rule = text.split_once("failed: ").map_or(text, |(_, rule)| rule);
    let mentions = |column: &str| {
        rule.split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .any(|word| word.eq_ignore_ascii_case(column))
    };
    let mut mentioned = table
        .entity
        .columns
        .iter()
        .filter(|column| mentions(&column.name));
    let attribute = match (mentioned.next(), mentioned.next()) {
        (Some(only), None) => attribute(table, &only.name),
        _ => None,
    };
    let message = format!(
        "a rule of the server's database refuses it: {}",
        shortened(rule)
    );
    Verdict {
        attribute: attribute.map(str::to_owned),
        ..Verdict::rejected(Code::CHECK_FAILED, message)
    }
}

/// `cannot store TEXT value in INTEGER column table.column`, of a STRICT table.
fn datatype(text: &str, table: &EntityTable) -> Verdict {
    let column = text
        .rsplit_once(" column ")
        .and_then(|(_, place)| place.strip_prefix(&format!("{}.", table.schema.name)));
    Verdict {
        attribute: column.and_then(|c| attribute(table, c)).map(str::to_owned),
        ..Verdict::rejected(Code::TYPE_MISMATCH, shortened(text))
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(RULE_CHARS).collect()
}
