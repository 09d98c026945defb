//! Windows: which rows devices have at an instant, and which have come in since an earlier one.
//!
//! A row is held against the bound in canonical form, as devices do it. The range of an index that
//! finds the rows which came in is a few days wider than need be, since a table may store an
//! instant with any offset: every row of it is held against both bounds.

use afield_protocol::{Type, Window};
use rusqlite::{Connection, Row, params_from_iter};

use super::entity::EntityTable;
use super::raw::{Raw, read_raw_key};
use crate::resolved::Keep;
use crate::storage::page::LOOKED_AT_MAX;
use crate::storage::window::window;

pub(super) use crate::storage::window::{Instants, label};

/// Seconds of a day.
const DAY: i64 = 86_400;

/// The place behind which rows that came in go on, as a position has it: the attribute and the
/// key. `None` too if none was read yet.
pub(super) fn place(bytes: &[u8], width: usize) -> Option<Vec<Raw>> {
    read_raw_key(bytes).filter(|cells| cells.len() == width)
}

fn kind(table: &EntityTable, keep: &Keep) -> Type {
    table.form(keep.attribute).kind
}

impl EntityTable {
    /// Which rows devices have at an instant.
    pub(super) fn window(&self, at: Option<i64>) -> Option<Window> {
        window(&self.entity, at)
    }

    /// Whether a row goes to devices: it does not count as deleted, and is in the window.
    pub(super) fn is_sent(&self, row: &Row<'_>, window: Option<&Window>) -> rusqlite::Result<bool> {
        let (Some(keep), Some(window)) = (&self.entity.keep, window) else {
            return self.is_alive(row);
        };
        let cell = self.form(keep.attribute).read(row.get_ref(keep.attribute)?);
        Ok(window.keeps(cell.as_ref()) && self.is_alive(row)?)
    }

    /// Calls `each` with the rows that have come into the window between two instants, in the
    /// order of attribute and key, until it says that no more fit. Gives the place behind which
    /// to go on, if there may be more.
    pub(super) fn entering(
        &self,
        conn: &Connection,
        (before, at): (i64, i64),
        after: Option<&[Raw]>,
        each: &mut dyn FnMut(&Row<'_>) -> rusqlite::Result<bool>,
    ) -> rusqlite::Result<Option<Vec<Raw>>> {
        let (Some(keep), Some(sql)) = (&self.entity.keep, self.entering_sql()) else {
            return Ok(None);
        };
        let (was, is) = (self.window(Some(before)), self.window(Some(at)));
        let day = |at: i64, days: i64| {
            let seconds = at.saturating_add(keep.seconds).saturating_add(days * DAY);
            Raw::from_value(&Type::Date.at(seconds))
        };
        let offset = i64::from(kind(self, keep) == Type::Instant);
        let end = day(at, 1 + offset);
        let (sql, cells) = match after {
            None => (&sql.0, vec![day(before, -offset), end]),
            Some(place) => (&sql.1, self.behind_place(place, end)),
        };
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query(params_from_iter(cells))?;
        let (mut last, mut looked_at) = (None, 0);
        while let Some(row) = rows.next()? {
            // Only the next row tells whether there are more.
            if last.is_some() {
                return Ok(last);
            }
            looked_at += 1;
            let has_come = self.is_sent(row, is.as_ref())? && !self.is_sent(row, was.as_ref())?;
            let is_full = has_come && each(row)?;
            if is_full || looked_at >= LOOKED_AT_MAX {
                let attribute = Raw::from_stored(row.get_ref(keep.attribute)?);
                let key = self.raw_key(row, 0)?;
                last = Some(std::iter::once(attribute).chain(key).collect());
            }
        }
        Ok(None)
    }

    /// Whether any row has come in, among those for which `is_mine` holds.
    pub(super) fn any_entered(
        &self,
        conn: &Connection,
        span: (i64, i64),
        is_mine: &dyn Fn(&Row<'_>) -> rusqlite::Result<bool>,
    ) -> rusqlite::Result<bool> {
        let mut after = None;
        loop {
            let mut has_one = false;
            let mut each = |row: &Row<'_>| {
                has_one |= is_mine(row)?;
                Ok(has_one)
            };
            after = self.entering(conn, span, after.as_deref(), &mut each)?;
            if has_one || after.is_none() {
                return Ok(has_one);
            }
        }
    }

    /// The parameters of the statement that goes on behind a place.
    fn behind_place(&self, place: &[Raw], end: Raw) -> Vec<Raw> {
        let (attribute, key) = match place.split_first() {
            Some((attribute, key)) => (attribute.clone(), key),
            None => (Raw::Null, place),
        };
        let mut cells = vec![attribute];
        cells.extend(self.behind(key));
        cells.push(end);
        cells
    }
}
