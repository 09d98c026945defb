//! Tables as the oracle holds them: whole, in memory, ordered by identifier.

use std::collections::BTreeMap;

use afield_protocol::Value;
use afield_protocol::codec::cbor::write_key;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, ToSql};

use crate::app;

/// Rows by the canonical bytes of their identifier, each with all its attributes in order.
pub(crate) type Rows = BTreeMap<Vec<u8>, Vec<Value>>;

/// A row of an entity: place of the entity, and the identifier's canonical bytes.
pub(crate) type RowName = (usize, Vec<u8>);

/// Reads all rows that `sql` gives; the columns are the attributes of `entity` in order.
pub(crate) fn read(conn: &Connection, entity: usize, sql: &str) -> rusqlite::Result<Rows> {
    read_with(conn, entity, sql, &[])
}

/// The same with parameters.
pub(crate) fn read_with(
    conn: &Connection,
    entity: usize,
    sql: &str,
    params: &[&dyn ToSql],
) -> rusqlite::Result<Rows> {
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Rows::new();
    while let Some(row) = rows.next()? {
        let row = values(row, 0, app::width(entity))?;
        found.insert(write_key(&row[..app::key_width(entity)]), row);
    }
    Ok(found)
}

/// Values of `count` columns from `first` on.
pub(crate) fn values(
    row: &rusqlite::Row<'_>,
    first: usize,
    count: usize,
) -> rusqlite::Result<Vec<Value>> {
    (first..first + count)
        .map(|at| Ok(value(row.get_ref(at)?)))
        .collect()
}

/// A stored value as a value of the protocol.
pub(crate) fn value(stored: ValueRef<'_>) -> Value {
    match stored {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(n) => Value::Integer(n),
        ValueRef::Real(x) => Value::Real(x),
        ValueRef::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
    }
}

/// A value as a parameter of a statement.
pub(crate) struct Bound<'a>(pub(crate) &'a Value);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self.0 {
            Value::Null => ValueRef::Null,
            Value::Integer(n) => ValueRef::Integer(*n),
            Value::Real(x) => ValueRef::Real(*x),
            Value::Text(text) => ValueRef::Text(text.as_bytes()),
            Value::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

/// A row for people.
pub(crate) fn display(entity: usize, row: Option<&Vec<Value>>) -> String {
    let Some(row) = row else {
        return "no row".to_owned();
    };
    let cells = row.iter().enumerate();
    let cells = cells.map(|(at, value)| format!("{}={value}", app::attribute_name(entity, at)));
    cells.collect::<Vec<_>>().join(" ")
}

/// A row's name for people.
pub(crate) fn display_name((entity, key): &RowName) -> String {
    let key = afield_protocol::codec::cbor::read_key(key).unwrap_or_default();
    let key: Vec<String> = key.iter().map(ToString::to_string).collect();
    format!("{} {}", app::name(*entity), key.join(","))
}

/// A stored number as a place in a list.
pub(crate) fn place(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<usize> {
    let stored: i64 = row.get(column)?;
    Ok(usize::try_from(stored).unwrap_or(usize::MAX))
}
