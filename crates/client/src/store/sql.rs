//! Between SQLite's values and ours, and SQLite's errors and ours.

use afield_protocol::{Attributes, Code, Entity, Value, ValueRef};
use rusqlite::types::{ToSqlOutput, ValueRef as SqlRef};
use rusqlite::{ErrorCode, Row, ToSql};

use crate::error::Error;

/// A name as SQL writes it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string as SQL writes it.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A value bound to a statement.
pub(crate) struct Bound<'a>(pub(crate) ValueRef<'a>);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            ValueRef::Null => SqlRef::Null,
            ValueRef::Integer(n) => SqlRef::Integer(n),
            ValueRef::Real(x) => SqlRef::Real(x),
            ValueRef::Text(text) => SqlRef::Text(text.as_bytes()),
            ValueRef::Bytes(bytes) => SqlRef::Blob(bytes),
        }))
    }
}

/// Parameters of a statement from values.
pub(crate) fn bound<'a>(
    values: impl IntoIterator<Item = &'a Value>,
) -> rusqlite::ParamsFromIter<Vec<Bound<'a>>> {
    let values: Vec<_> = values
        .into_iter()
        .map(|value| Bound(value.as_ref()))
        .collect();
    rusqlite::params_from_iter(values)
}

/// An owned value of ours. Text that is not UTF-8 (only another program can write it) is kept as
/// bytes rather than changed.
pub(crate) fn value(stored: SqlRef<'_>) -> Value {
    match stored {
        SqlRef::Null => Value::Null,
        SqlRef::Integer(n) => Value::Integer(n),
        SqlRef::Real(x) => Value::Real(x),
        SqlRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => Value::Bytes(text.to_vec()),
        },
        SqlRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
    }
}

/// The values of `count` columns from column `first` on.
pub(crate) fn values(row: &Row<'_>, first: usize, count: usize) -> rusqlite::Result<Vec<Value>> {
    (first..first + count)
        .map(|at| Ok(value(row.get_ref(at)?)))
        .collect()
}

/// The attributes of a row that are not its identifier, by name: what changes and conflicts speak
/// of. Lookups are none of it, since they are other rows' values.
pub(crate) fn row_attributes(entity: &Entity, row: &[Value]) -> Attributes {
    let pairs = entity.attributes.iter().zip(row).skip(entity.key_width);
    pairs
        .filter(|(attribute, _)| !attribute.lookup)
        .map(|(attribute, value)| (attribute.name.clone(), value.clone()))
        .collect()
}

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        let text = match &error {
            rusqlite::Error::SqliteFailure(_, Some(text)) => text.clone(),
            other => other.to_string(),
        };
        if let Some(own) = refused_by_trigger(&text) {
            return own.caused_by(error);
        }
        let extended = error.sqlite_error().map(|error| error.extended_code);
        if extended == Some(rusqlite::ffi::SQLITE_CONSTRAINT_COMMITHOOK) {
            return super::db::ended_transaction().caused_by(error);
        }
        let (code, message) = match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
                Code::STORE_LOCKED,
                format!("the store is being written by another process: {text}"),
            ),
            // The one column that SQLite itself keeps to integers is an identifier.
            Some(ErrorCode::TypeMismatch) => (
                Code::TYPE_MISMATCH,
                format!("an identifier is not an integer: {text}"),
            ),
            Some(ErrorCode::DiskFull) => (Code::STORE_FULL, format!("no space left: {text}")),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => (
                Code::STORE_DAMAGED,
                format!("the store cannot be read: {text}"),
            ),
            Some(
                ErrorCode::CannotOpen
                | ErrorCode::ReadOnly
                | ErrorCode::PermissionDenied
                | ErrorCode::SystemIoFailure,
            ) => (
                Code::STORE_DAMAGED,
                format!("the store's file cannot be used: {text}"),
            ),
            _ => (Code::SQL, text),
        };
        Self::new(code, message).caused_by(error)
    }
}

/// Reads the message that a trigger of ours raises: `afield:CODE:ATTRIBUTE:message`.
fn refused_by_trigger(text: &str) -> Option<Error> {
    let mut parts = text.strip_prefix("afield:")?.splitn(3, ':');
    let (code, attribute, message) = (parts.next()?, parts.next()?, parts.next()?);
    let error = Error::new(Code::parse(code), message);
    Some(if attribute.is_empty() {
        error
    } else {
        error.of_attribute(attribute.replace("%3A", ":").replace("%25", "%"))
    })
}
