//! The statements that write a row.

use afield_protocol::{Attributes, Change};
use rusqlite::{Connection, params_from_iter};

use super::entity::{EntityTable, Row, RowPlace};
use super::raw::Raw;
use super::sql_text::quote;
use crate::storage::push::{Beside, Written, made_by};

// OR ABORT everywhere: without it, a constraint of the team that says ON CONFLICT REPLACE would
// delete somebody's row to make room for this one.

pub(super) fn create(
    conn: &Connection,
    table: &EntityTable,
    change: &Change,
    set: &Attributes,
) -> rusqlite::Result<Written<RowPlace>> {
    let mut columns = Vec::new();
    let mut cells = Vec::new();
    let given = match made_by(table, change) {
        Some(_) => &[],
        None => change.key.as_slice(),
    };
    for (at, column) in table.entity.columns.iter().enumerate() {
        let name = table.entity.local.attributes.get(at).map(|a| &a.name);
        let value = given.get(at).or_else(|| set.get(name?));
        if let Some(value) = value {
            columns.push(quote(&column.name));
            cells.push(table.form(at).write(value));
        }
    }
    let holes = vec!["?"; columns.len()].join(", ");
    let values = if columns.is_empty() {
        "DEFAULT VALUES".to_owned()
    } else {
        format!("({}) VALUES ({holes})", columns.join(", "))
    };
    let sql = format!(
        "INSERT OR ABORT INTO {} {values}",
        quote(&table.schema.name)
    );
    if conn
        .prepare_cached(&sql)?
        .execute(params_from_iter(cells))?
        == 0
    {
        return Ok(Written::Nothing);
    }
    // By rowid first: a trigger may have given the row another key.
    let rowid = table
        .schema
        .rowid
        .is_some()
        .then(|| conn.last_insert_rowid());
    match table.find_by_rowid(conn, rowid)? {
        Some(row) => Ok(Written::Row(Some(row))),
        None => Ok(Written::Row(table.find(conn, &change.key)?)),
    }
}

/// Writes the values of a change to a row, and a cell beside them.
pub(super) fn update(
    conn: &Connection,
    table: &EntityTable,
    row: &Row,
    set: &Attributes,
    beside: Option<Beside<'_>>,
) -> rusqlite::Result<Written<RowPlace>> {
    let mut cells = row.place.key.clone();
    let mut assignments = Vec::new();
    for (at, column) in table.entity.columns.iter().enumerate() {
        let name = table.entity.local.attributes.get(at).map(|a| &a.name);
        // A cell whose canonical form does not change keeps its spelling.
        let value = name
            .and_then(|name| set.get(name))
            .filter(|v| Some(*v) != row.values.get(at));
        if let Some(value) = value {
            cells.push(table.form(at).write(value));
            assignments.push(format!("{} = ?{}", quote(&column.name), cells.len()));
        }
    }
    if let Some(Beside { column, value }) = beside {
        cells.push(match &table.deletion {
            Some(deletion) => deletion.form.write(value),
            None => Raw::from_value(value),
        });
        assignments.push(format!("{} = ?{}", quote(column), cells.len()));
    }
    if assignments.is_empty() {
        return Ok(Written::Row(None));
    }
    let sql = format!(
        "UPDATE OR ABORT {} SET {} WHERE {}",
        quote(&table.schema.name),
        assignments.join(", "),
        table.key_is()
    );
    if conn
        .prepare_cached(&sql)?
        .execute(params_from_iter(cells))?
        == 0
    {
        return Ok(Written::Nothing);
    }
    match table.find_by_rowid(conn, row.place.rowid)? {
        Some(row) => Ok(Written::Row(Some(row))),
        None => Ok(Written::Row(table.with_stored_key(conn, &row.place.key)?)),
    }
}

pub(super) fn delete(
    conn: &Connection,
    table: &EntityTable,
    row: &Row,
) -> rusqlite::Result<Written<RowPlace>> {
    let sql = format!(
        "DELETE FROM {} WHERE {}",
        quote(&table.schema.name),
        table.key_is()
    );
    let rows = conn
        .prepare_cached(&sql)?
        .execute(params_from_iter(&row.place.key))?;
    Ok(if rows == 0 {
        Written::Nothing
    } else {
        Written::Row(None)
    })
}

/// The number that the table would give to its next row.
pub(super) fn next_number(conn: &Connection, table: &EntityTable) -> rusqlite::Result<i64> {
    let key = table.entity.columns.first().map_or("rowid", |c| &c.name);
    let sql = format!(
        "SELECT coalesce(max({}), 0) FROM {}",
        quote(key),
        quote(&table.schema.name)
    );
    let highest: i64 = conn.query_row(&sql, [], |row| row.get(0))?;
    let has_sequence = conn
        .prepare_cached("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'")?
        .exists([])?;
    let counted: Option<i64> = if has_sequence {
        conn.prepare_cached("SELECT max(seq) FROM sqlite_sequence WHERE name = ?1 COLLATE NOCASE")?
            .query_row([&table.schema.name], |row| row.get(0))?
    } else {
        None
    };
    Ok(highest.max(counted.unwrap_or(0)).saturating_add(1))
}
