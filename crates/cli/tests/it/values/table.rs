//! The table of values: for each column, what is written and what becomes of it.

mod moments;
mod numbers;
mod words;

use afield::protocol::Value;
use rusqlite::types::Value as Cell;

/// A column of the team's: the entity that it stands in, and how it was declared.
pub(super) const COLUMNS: [(&str, &str); 16] = [
    ("text", "TEXT"),
    ("integer", "INTEGER"),
    ("real", "REAL"),
    ("decimal", "DECIMAL"),
    ("scaled", "DECIMAL(10,2)"),
    ("exact", "DECIMAL_TEXT(60,10)"),
    ("boolean", "BOOLEAN"),
    ("date", "DATE"),
    ("time", "TIME"),
    ("instant", "TIMESTAMPTZ"),
    ("datetime", "DATETIME"),
    ("uuid", "UUID"),
    ("bytes", "BLOB"),
    ("json", "JSON"),
    ("json_text", "JSON_TEXT"),
    ("one_of", "TEXT"),
];

/// What becomes of a value that is written in one way.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum End {
    /// This value is in every place.
    Is(Value),
    /// The statement or action that writes it is refused, with this code.
    Refused(&'static str),
    /// The server refuses it, with this code; it waits on the device.
    Parked(&'static str),
}

/// A value, and what becomes of it by each way of writing.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// The entity.
    pub(super) at: &'static str,
    pub(super) given: Value,
    /// By an entity action on a device.
    pub(super) action: End,
    /// By plain SQL on a device.
    pub(super) sql: End,
    /// By plain SQL on the server.
    pub(super) team: End,
    /// What the server's column has then, if it is not the value itself.
    pub(super) column: Option<Cell>,
}

impl Line {
    pub(super) fn action(self, action: End) -> Self {
        Self { action, ..self }
    }

    pub(super) fn sql(self, sql: End) -> Self {
        Self { sql, ..self }
    }

    pub(super) fn team(self, team: End) -> Self {
        Self { team, ..self }
    }

    pub(super) fn column(self, cell: impl Into<Cell>) -> Self {
        let column = Some(cell.into());
        Self { column, ..self }
    }
}

/// A value that is what it is in every place.
pub(super) fn same(at: &'static str, value: impl Into<Value>) -> Line {
    let given = value.into();
    let end = End::Is(given.clone());
    Line {
        at,
        action: end.clone(),
        sql: end.clone(),
        team: end,
        given,
        column: None,
    }
}

/// One that an entity action and the server bring into canonical form, and SQL may not write.
pub(super) fn form(at: &'static str, given: impl Into<Value>, canonical: &str) -> Line {
    same(at, given)
        .action(is(canonical))
        .sql(MISTYPED)
        .team(is(canonical))
}

/// One that devices refuse, and that is delivered as it is stored where the team wrote it.
pub(super) fn bad(at: &'static str, given: impl Into<Value>) -> Line {
    same(at, given).action(MISTYPED).sql(MISTYPED)
}

/// One that the column would change, so that the server refuses it.
pub(super) fn unkept(at: &'static str, given: &str, by_the_team: impl Into<Value>) -> Line {
    same(at, given)
        .action(UNKEPT)
        .sql(UNKEPT)
        .team(is(by_the_team))
}

pub(super) fn is(value: impl Into<Value>) -> End {
    End::Is(value.into())
}

pub(super) const MISTYPED: End = End::Refused("type-mismatch");

pub(super) const UNKEPT: End = End::Parked("type-mismatch");

/// Every line.
pub(super) fn lines() -> Vec<Line> {
    let mut lines: Vec<Line> = (COLUMNS.iter())
        .map(|(at, _)| same(at, Value::Null))
        .collect();
    lines.extend(words::lines());
    lines.extend(numbers::lines());
    lines.extend(moments::lines());
    lines
}
