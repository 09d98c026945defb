//! The values that a user holds in one snapshot, in the form in which SQLite stores them.

use std::rc::Rc;

use rusqlite::Connection;
use rusqlite::types::Value as Bound;

use super::super::raw::{Raw, read_raw_key, write_raw_key};
use super::{Asking, ScopeSql};
use crate::position::CodeKey;
use crate::storage::lists::{self, Numbering};

/// The values held now.
pub(in super::super) type Now = lists::Now<Raw>;

/// Asks the database what is held.
pub(in super::super) fn ask(
    conn: &Connection,
    key: &CodeKey,
    entity: &str,
    scope: &ScopeSql,
    asking: Asking<'_>,
) -> rusqlite::Result<Now> {
    let mut now = Now::new();
    for (at, condition) in scope.conditions.iter().enumerate() {
        let column = &scope.columns[condition.column];
        let numbering = Numbering::of(key, (entity, column), &scope.ways, at);
        let held = scope.held(conn, at, asking)?;
        now.is_over |= held.len() > asking.values_max;
        let held = held.iter().filter_map(comparable);
        now.condition(&numbering, held.map(|value| (bytes_of(&value), value)));
    }
    Ok(now)
}

/// Values for a statement that takes a list.
pub(in super::super) fn bound<'v>(values: impl Iterator<Item = &'v Raw>) -> Rc<Vec<Bound>> {
    let value = |value: &Raw| match value {
        Raw::Null => Bound::Null,
        Raw::Integer(n) => Bound::Integer(*n),
        Raw::Real(x) => Bound::Real(*x),
        Raw::Text(text) => Bound::Text(String::from_utf8_lossy(text).into_owned()),
        Raw::Blob(bytes) => Bound::Blob(bytes.clone()),
    };
    Rc::new(values.map(value).collect())
}

/// The same of their [bytes](bytes_of).
pub(in super::super) fn bound_bytes<'v>(values: impl Iterator<Item = &'v [u8]>) -> Rc<Vec<Bound>> {
    let cells: Vec<Raw> = values.filter_map(read_raw_key).flatten().collect();
    bound(cells.iter())
}

/// The bytes under which a stored cell is looked up: the same for what SQL calls equal.
pub(in super::super) fn bytes_of(cell: &Raw) -> Vec<u8> {
    write_raw_key(std::slice::from_ref(&whole(cell)))
}

/// A value that is compared here as SQL does; nothing else is ever held. The empty blob stands
/// for null in marks.
fn comparable(value: &Raw) -> Option<Raw> {
    match value {
        Raw::Null => None,
        Raw::Blob(bytes) if bytes.is_empty() => None,
        Raw::Text(text) if std::str::from_utf8(text).is_err() => None,
        _ => Some(whole(value)),
    }
}

/// A whole number as an integer: to SQL 7.0 is 7.
fn whole(value: &Raw) -> Raw {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    match value {
        Raw::Real(x) if x.fract() == 0.0 && *x >= -LIMIT && *x < LIMIT => Raw::Integer(*x as i64),
        other => other.clone(),
    }
}
