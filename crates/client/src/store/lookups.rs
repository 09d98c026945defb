//! Lookups on the device, and other read-only values, which nothing here may lose.
//!
//! No write sets them. But a row that is deleted and made again, as `INSERT OR REPLACE` does it, is
//! empty there, and if nothing else differs there is no change of it at all: no pull would bring
//! the values again. So they are put back when the row is sealed.

use afield_protocol::{Value, zoo};

use super::db::Db;
use super::ids::captured::Uncaptured;
use super::tables::Table;
use crate::error::Error;

/// The row as it should be, if it lost lookups or read-only values since it was captured.
pub(super) fn lost(
    table: &Table,
    before: Option<&[Value]>,
    now: Option<&[Value]>,
) -> Option<Vec<Value>> {
    let (before, mut row) = (before?, now?.to_vec());
    let attributes = table.entity.attributes.iter().zip(before);
    let mut differs = false;
    for ((attribute, before), cell) in attributes.zip(&mut row) {
        let is_kept = attribute.lookup || (attribute.read_only && cell.is_null());
        if is_kept && cell != before {
            cell.clone_from(before);
            differs = true;
        }
    }
    differs.then_some(row)
}

/// A row that was made again behind its own delete is an edit of the server's, and shows what that
/// shows.
pub(super) fn show_again(db: &Db, table: &Table, key: &[Value]) -> Result<(), Error> {
    let server = table.server_row(&db.conn, key)?.flatten();
    let now = table.row(&db.conn, key)?;
    let bare = lost(table, server.as_deref(), now.as_deref());
    put_back(db, table, bare.as_slice())
}

/// Writes these rows, uncaptured.
pub(super) fn put_back(db: &Db, table: &Table, rows: &[Vec<Value>]) -> Result<(), Error> {
    if rows.is_empty() || zoo::planted("lookups-lost-on-replace") {
        return Ok(());
    }
    let _uncaptured = Uncaptured::new(&db.conn)?;
    for row in rows {
        let key = row.get(..table.entity.key_width).unwrap_or(&[]);
        table.put_row(&db.conn, key, Some(row))?;
        db.crash_point("put-lookups-back")?;
    }
    super::page::touch(db, &table.entity.name)
}

/// Whether a lookup is seen with this value: who hands back a row as it was shown writes nothing.
pub(super) fn is_seen(
    db: &Db,
    table: &Table,
    key: &[Value],
    name: &str,
    value: &Value,
) -> Result<bool, Error> {
    let row = table.row(&db.conn, key)?;
    let attributes = table.entity.attributes.iter();
    let seen = attributes.zip(row.iter().flatten());
    let mut seen = seen.filter(|(attribute, _)| attribute.name == name);
    Ok(seen.any(|(_, cell)| cell == value))
}
