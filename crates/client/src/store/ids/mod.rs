//! Identifiers that the server makes.
//!
//! ```text
//! INSERT ──► temporary identifier, from 2^52 on                              [`numbering`]
//! freeze ──► the group says which group creates the rows it refers to        [`origins`]
//! outcome ─► the real one: row, references, changes are renamed              [`rewrite`]
//! later ───► whoever still holds the temporary one is understood             [`captured`], here
//! ```
//!
//! `afield_ids` says for the life of the store what each temporary identifier became.

pub(super) mod captured;
pub(super) mod numbering;
pub(super) mod origins;
pub(super) mod rewrite;
mod rows;

use afield_protocol::{Attributes, Value, is_temporary, zoo};
use rusqlite::{Connection, OptionalExtension, params};

use super::tables::Table;
use crate::error::Error;

/// The server's identifier for a temporary one, if `value` is one and the server's is known.
fn real(conn: &Connection, entity: &str, value: &Value) -> Result<Option<Value>, Error> {
    let Value::Integer(temporary) = value else {
        return Ok(None);
    };
    if !is_temporary(value) || zoo::planted("ids-old-not-translated") {
        return Ok(None);
    }
    let sql = "SELECT real FROM afield_ids WHERE entity = ?1 AND temporary = ?2";
    let found = conn
        .prepare_cached(sql)?
        .query_row(params![entity, temporary], |row| row.get(0))
        .optional()?;
    Ok(found.map(Value::Integer))
}

/// Puts real identifiers in place of the temporary ones among `values`, which are a row's first
/// columns: a key or a whole row. Says whether there was any.
pub(super) fn translate(
    conn: &Connection,
    table: &Table,
    values: &mut [Value],
) -> Result<bool, Error> {
    let mut any = false;
    for (value, entity) in values.iter_mut().zip(&table.numbered) {
        let Some(entity) = entity else { continue };
        if let Some(real) = real(conn, entity, value)? {
            *value = real;
            any = true;
        }
    }
    Ok(any)
}

/// The same for attributes by name.
pub(super) fn translate_attributes(
    conn: &Connection,
    table: &Table,
    values: &mut Attributes,
) -> Result<(), Error> {
    for (attribute, entity) in table.entity.attributes.iter().zip(&table.numbered) {
        let (Some(entity), Some(value)) = (entity, values.get_mut(&attribute.name)) else {
            continue;
        };
        if let Some(real) = real(conn, entity, value)? {
            *value = real;
        }
    }
    Ok(())
}
