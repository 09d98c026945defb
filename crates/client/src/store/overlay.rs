//! Overlays: changes laid over the server's rows.
//!
//! The visible row is never patched in place. It is recomputed, from the server's row and the
//! changes that are still overlays, whenever either of them changes; so it cannot drift.

use afield_protocol::codec::cbor::{read_attributes, read_key};
use afield_protocol::{Attributes, Op, Value};
use rusqlite::params;

use super::conflict::counted;
use super::db::{Db, Loaded};
use super::tables::Table;
use crate::error::Error;

/// Recomputes the visible row of an identifier that has, or had, overlays. When none is left the
/// visible row becomes the server's, and the copy of that is dropped. Says whether the server has
/// the row, if there is a copy that tells.
pub(crate) fn release(
    db: &Db,
    loaded: &Loaded,
    entity: &str,
    key: &[u8],
) -> Result<Option<bool>, Error> {
    // The entity may have left the model while changes of it were parked.
    let Ok(table) = loaded.table(entity) else {
        return Ok(None);
    };
    let values = read_key(key)?;
    let overlays = overlays(db, entity, key, i64::MAX)?;
    // A row that is as it should be is not written: the app's connection would call it a write of
    // the user's, and refuse it where an attribute is read-only.
    if overlays.is_empty() {
        let Some((exists, is_seen)) = table.is_seen(&db.conn, &values)? else {
            return Ok(None);
        };
        if !is_seen {
            let server = table.server_row(&db.conn, &values)?.flatten();
            table.put_row(&db.conn, &values, server.as_deref())?;
        }
        table.drop_server_row(&db.conn, &values)?;
        return Ok(Some(exists));
    }
    let Some(server) = table.server_row(&db.conn, &values)? else {
        return Ok(None);
    };
    let exists = server.is_some();
    let visible = overlays
        .into_iter()
        .fold(server, |row, overlay| lay(table, &values, row, &overlay));
    if table.row(&db.conn, &values)? != visible {
        table.put_row(&db.conn, &values, visible.as_deref())?;
    }
    Ok(Some(exists))
}

/// The row as change `n` left it, with what pulls have brought below it since.
pub(super) fn up_to(
    db: &Db,
    table: &Table,
    key: &[u8],
    n: i64,
) -> Result<Option<Vec<Value>>, Error> {
    let values = read_key(key)?;
    let server = table.server_row(&db.conn, &values)?.flatten();
    let overlays = overlays(db, &table.entity.name, key, n)?.into_iter();
    Ok(overlays.fold(server, |row, overlay| lay(table, &values, row, &overlay)))
}

/// Identifiers of an entity that have a copy of the server's row.
pub(crate) fn keys(db: &Db, table: &Table) -> Result<Vec<Vec<Value>>, Error> {
    let sql = format!("SELECT {} FROM {}", table.key_columns, table.server);
    let mut statement = db.conn.prepare_cached(&sql)?;
    let width = table.entity.key_width;
    let rows = statement.query_map([], |row| super::sql::values(row, 0, width))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What an overlay does to its row.
struct Overlay {
    op: Op,
    base: Attributes,
    set: Attributes,
}

/// The overlays of a row up to change `n`, oldest first.
fn overlays(db: &Db, entity: &str, key: &[u8], n: i64) -> Result<Vec<Overlay>, Error> {
    let sql = "SELECT op, base, sets FROM afield_change \
               WHERE overlay = 1 AND entity = ?1 AND key = ?2 AND n <= ?3 ORDER BY n";
    let mut statement = db.conn.prepare_cached(sql)?;
    let mut rows = statement.query(params![entity, key, n])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (op, base, set): (String, Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        found.push(Overlay {
            op: super::outbox::op(&op)?,
            base: read_attributes(&base)?,
            set: read_attributes(&set)?,
        });
    }
    Ok(found)
}

/// Lays one change over a row. An update of a row that the server no longer has keeps showing
/// the user's own version, until its outcome says what became of it. Without a base, which was
/// erased when another outcome called the row gone, there is no such version to show: what was
/// typed is a part of a row.
fn lay(
    table: &Table,
    key: &[Value],
    row: Option<Vec<Value>>,
    overlay: &Overlay,
) -> Option<Vec<Value>> {
    let is_fragment = overlay.op == Op::Update && overlay.base.is_empty();
    if overlay.op == Op::Delete || (row.is_none() && is_fragment) {
        return None;
    }
    let attributes = &table.entity.attributes;
    let mut row = row.unwrap_or_else(|| {
        let mut row = key.to_vec();
        row.extend(table.entity.values().iter().map(|attribute| {
            overlay
                .base
                .get(&attribute.name)
                .cloned()
                .unwrap_or(Value::Null)
        }));
        row
    });
    for (attribute, cell) in attributes.iter().zip(&mut row) {
        if let Some(value) = overlay.set.get(&attribute.name) {
            *cell = if overlay.op == Op::Update && attribute.counter {
                // Others count too: their row, and the difference that was made here.
                counted(&overlay.base, Some(cell), &attribute.name, value)
            } else {
                value.clone()
            };
        }
    }
    Some(row)
}
