//! Rows below changes that are seen otherwise than they should be: what is seen is the server's row
//! with the changes laid over it, unless something was written that nobody captured.
//!
//! No question to the server takes part; it belongs to a comparison because a device that shows
//! something else does not show the server's rows either.

use afield_protocol::codec::cbor::write_key;
use afield_protocol::digest::RowHasher;
use afield_protocol::{Entity, Value};

use super::sync_store::SyncStore;
use super::verify::{Difference, DifferentRow};
use super::{overlay, page, uncaptured};
use crate::error::Error;

impl SyncStore {
    /// Rows of an entity that carry changes and are seen otherwise than these make them. They are
    /// noted as they are; with `repair` they are computed again in the same transaction.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn check_overlaid(
        &mut self,
        entity: &str,
        repair: bool,
    ) -> Result<Vec<DifferentRow>, Error> {
        self.synchronous("NORMAL")?;
        self.db.write("overlaid", |db| {
            let loaded = db.loaded()?;
            let table = loaded.table(entity)?;
            let mut found = Vec::new();
            for key in overlay::keys(db, table)? {
                let bytes = write_key(&key);
                let expected = overlay::up_to(db, table, &bytes, i64::MAX)?;
                let seen = table.row(&db.conn, &key)?;
                if same(&table.entity, expected.as_deref(), seen.as_deref()) {
                    continue;
                }
                let difference = match (&expected, &seen) {
                    (_, None) => Difference::Missing,
                    (None, Some(_)) => Difference::Extra,
                    (Some(_), Some(_)) => Difference::Changed,
                };
                let is_noted = match &seen {
                    Some(row) => uncaptured::note_row(db, table, &key, row, false)?,
                    None => true,
                };
                if repair && is_noted {
                    overlay::release(db, &loaded, entity, &bytes)?;
                    uncaptured::repaired(db, entity, &bytes)?;
                    page::touch(db, entity)?;
                }
                db.crash_point("overlaid-row")?;
                let value = uncaptured::first_value(db, table, &key)?;
                found.push(DifferentRow {
                    key,
                    difference,
                    value,
                });
            }
            Ok(found)
        })
    }
}

/// Whether two rows are one, as columns keep them.
fn same(entity: &Entity, a: Option<&[Value]>, b: Option<&[Value]>) -> bool {
    let mut hasher = RowHasher::new(entity);
    let mut hash = |row: &[Value]| hasher.row(row.iter().map(Value::as_ref), &[]);
    a.map(&mut hash) == b.map(&mut hash)
}
