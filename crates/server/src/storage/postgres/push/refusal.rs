//! PostgreSQL's refusals as verdicts that a person understands.
//!
//! The states are those of the manual's appendix "PostgreSQL Error Codes". What names a column or a
//! constraint comes in fields of its own, so no text of a message is taken apart; the detail, which
//! shows values of rows, is never passed on.

use afield_protocol::{Code, Verdict};
use tokio_postgres::error::DbError;

use super::learn::{Constraint, Learned};
use crate::resolved::ServerEntity;

/// Longest text of a database's rule or trigger that is passed on.
const RULE_CHARS: usize = 500;

/// The table that a change writes.
pub(super) struct Target<'a> {
    pub entity: &'a ServerEntity,
    pub learned: &'a Learned,
    pub is_delete: bool,
}

/// The verdict for an error that the change itself is to blame for; `None` for all others.
pub(super) fn refusal(error: &DbError, target: &Target<'_>) -> Option<Verdict> {
    let state = error.code().code();
    let place = Place::of(error, target);
    Some(match state {
        "23505" => place.verdict(
            Code::UNIQUE,
            format!("another row already has this {}", place.words),
        ),
        "23502" if place.attribute.is_none() => place.verdict(
            Code::NOT_NULL,
            format!(
                "the server's table needs a value for {}, and devices do not send it: give it a \
                 default, or add it to the model",
                place.words
            ),
        ),
        "23502" => place.verdict(Code::NOT_NULL, format!("{} needs a value", place.words)),
        "23514" => place.verdict(
            Code::CHECK_FAILED,
            format!(
                "a rule of the server's database refuses it: {}",
                place.rule(error)
            ),
        ),
        "23503" | "23001" => reference(error, target, &place),
        "23P01" => place.verdict(
            Code::CONSTRAINT,
            format!(
                "it does not go together with another row: {}",
                place.rule(error)
            ),
        ),
        "22001" => place.verdict(
            Code::TOO_LONG,
            "a text is longer than its column of the server's database",
        ),
        "22003" => place.verdict(
            Code::OUT_OF_RANGE,
            "a number is out of the range of its column of the server's database",
        ),
        "54000" | "54001" => place.verdict(
            Code::TOO_LARGE,
            "a value is larger than the server's database can store",
        ),
        // Row-level security; a role without the right on the table is no mistake of the change.
        "42501" if error.routine() == Some("ExecWithCheckOptions") => place.verdict(
            Code::FORBIDDEN,
            "a row-level security policy of the server's database refuses it",
        ),
        "44000" => place.verdict(
            Code::FORBIDDEN,
            "the row would not be one that the server's database shows",
        ),
        _ if state.starts_with("22") => place.verdict(
            Code::TYPE_MISMATCH,
            "the server's database cannot store this value in its column",
        ),
        // What a trigger raises: its words are for the user.
        _ if state.starts_with("P0") || state.starts_with("23") => {
            place.verdict(Code::CONSTRAINT, shortened(error.message()))
        }
        _ if is_of_the_team(state) => place.verdict(Code::CONSTRAINT, shortened(error.message())),
        _ => return None,
    })
}

/// States that only `RAISE … USING ERRCODE` of the team's can have made: the standard's class for
/// such, and those that begin with a letter or a digit which it leaves to others.
fn is_of_the_team(state: &str) -> bool {
    if state.starts_with("45") {
        return true;
    }
    let is_standard = |first: char| matches!(first, '0'..='4' | 'A'..='H');
    let is_postgres = ["53", "54", "55", "57", "58", "72", "F0", "HV", "P0", "XX"];
    !state.starts_with(is_standard) && !is_postgres.iter().any(|class| state.starts_with(class))
}

fn reference(error: &DbError, target: &Target<'_>, place: &Place<'_>) -> Verdict {
    let is_own = error.table().is_some_and(|table| is_table(target, table));
    match (target.is_delete, error.table()) {
        (true, Some(child)) => Verdict::rejected(
            Code::REFERENCE,
            format!("rows of `{child}` still refer to it"),
        ),
        (false, Some(child)) if !is_own => Verdict::rejected(
            Code::REFERENCE,
            format!("rows of `{child}` still refer to it as it was"),
        ),
        _ => place.verdict(Code::REFERENCE, "a row that this refers to is not there"),
    }
}

/// Whether a name is that of the entity's table, or of something that has its constraints: of a
/// partition's own name nothing is known here.
fn is_table(target: &Target<'_>, table: &str) -> bool {
    let name = super::super::name::TableName::parse(&target.entity.table);
    name.is_some_and(|name| name.table == table)
}

/// What an error speaks of.
struct Place<'a> {
    attribute: Option<String>,
    words: String,
    constraint: Option<&'a Constraint>,
}

impl<'a> Place<'a> {
    fn of(error: &DbError, target: &Target<'a>) -> Self {
        let constraints = &target.learned.constraints;
        let constraint = error.constraint().and_then(|name| constraints.get(name));
        let named: Vec<&str> = match (error.column(), constraint) {
            (Some(column), _) => vec![column],
            (None, Some(constraint)) => constraint.columns.iter().map(String::as_str).collect(),
            (None, None) => Vec::new(),
        };
        let attribute = |column: &str| attribute(target.entity, column);
        let words: Vec<String> = (named.iter())
            .map(|column| match attribute(column) {
                Some(name) => format!("`{name}`"),
                None => format!("`{column}` of the server's `{}`", target.entity.table),
            })
            .collect();
        let first = match (named.as_slice(), error.code().code()) {
            // Of a rule about several columns nobody knows which is wrong.
            ([_, _, ..], "23514") => None,
            (columns, _) => columns.first().and_then(|column| attribute(column)),
        };
        Self {
            attribute: first.map(str::to_owned),
            words: match words.is_empty() {
                true => format!("value ({})", error.constraint().unwrap_or("unnamed")),
                false => words.join(" and "),
            },
            constraint,
        }
    }

    /// A rule as it was written, or its name.
    fn rule(&self, error: &DbError) -> String {
        match (self.constraint, error.constraint()) {
            (Some(constraint), _) => shortened(&constraint.definition),
            (None, Some(name)) => shortened(name),
            (None, None) => "it has no name".to_owned(),
        }
    }

    fn verdict(&self, code: Code, message: impl Into<String>) -> Verdict {
        Verdict {
            attribute: self.attribute.clone(),
            ..Verdict::rejected(code, message)
        }
    }
}

fn attribute<'e>(entity: &'e ServerEntity, column: &str) -> Option<&'e str> {
    let mut columns = entity.columns.iter();
    let at = columns.position(|known| known.name == column)?;
    Some(&entity.local.attributes.get(at)?.name)
}

fn shortened(text: &str) -> String {
    text.chars().take(RULE_CHARS).collect()
}
