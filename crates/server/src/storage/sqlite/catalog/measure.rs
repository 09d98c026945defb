//! A bounded look at the rows, for `init`: how many, how large, which keys no device could name.

use afield_protocol::{Type, ValueRef};
use rusqlite::Connection;

use super::CatalogError;
use crate::catalog::{Catalog, Measured, ROWS_COUNTED_MAX, Table, TableKind};

/// Rows looked at for the size of bytes and the look of UUIDs.
const SAMPLE_ROWS: u32 = 1_000;

/// Fills in [`Table::measured`] of every ordinary table.
///
/// # Errors
/// The database cannot be read.
pub fn measure(connection: &Connection, catalog: &mut Catalog) -> Result<(), CatalogError> {
    for table in &mut catalog.tables {
        if table.kind == TableKind::Ordinary {
            table.measured = Some(measure_table(connection, table)?);
        }
    }
    Ok(())
}

fn measure_table(connection: &Connection, table: &Table) -> rusqlite::Result<Measured> {
    let from = quoted(&table.name);
    let mut measured = Measured {
        rows: connection.query_row(
            &format!("SELECT count(*) FROM (SELECT 1 FROM {from} LIMIT {ROWS_COUNTED_MAX})"),
            [],
            |row| row.get::<_, i64>(0).map(i64::unsigned_abs),
        )?,
        ..Measured::default()
    };
    for key in &table.primary_key {
        let key = quoted(key);
        let sql = format!(
            "SELECT EXISTS (SELECT 1 FROM (SELECT {key} AS k FROM {from} LIMIT \
             {ROWS_COUNTED_MAX}) WHERE k IS NULL)"
        );
        measured.has_null_key |= connection.query_row(&sql, [], |row| row.get::<_, bool>(0))?;
    }
    for column in &table.columns {
        if column.kind == Type::Bytes && !column.generated {
            let size = largest(connection, &from, &column.name)?;
            measured.largest.push((column.name.clone(), size));
        }
        if column.kind == Type::Uuid && has_odd_uuid(connection, &from, &column.name)? {
            measured.odd_uuids.push(column.name.clone());
        }
    }
    Ok(measured)
}

fn largest(connection: &Connection, from: &str, column: &str) -> rusqlite::Result<u64> {
    let column = quoted(column);
    let sql = format!(
        "SELECT coalesce(max(octet_length(v)), 0) FROM \
         (SELECT {column} AS v FROM {from} LIMIT {SAMPLE_ROWS})"
    );
    connection.query_row(&sql, [], |row| row.get::<_, i64>(0).map(i64::unsigned_abs))
}

fn has_odd_uuid(connection: &Connection, from: &str, column: &str) -> rusqlite::Result<bool> {
    let column = quoted(column);
    let sql = format!("SELECT {column} FROM {from} WHERE {column} IS NOT NULL LIMIT {SAMPLE_ROWS}");
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let is_uuid = match row.get_ref(0)? {
            rusqlite::types::ValueRef::Text(bytes) => std::str::from_utf8(bytes)
                .is_ok_and(|text| Type::Uuid.accepts(ValueRef::Text(text))),
            _ => false,
        };
        if !is_uuid {
            return Ok(true);
        }
    }
    Ok(false)
}

/// An identifier in SQL, whatever it contains.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
