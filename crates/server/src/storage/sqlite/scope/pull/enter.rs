//! The rows of an entity with a scope that have come into its window by time.
//!
//! They come before missing values are scanned: a scan goes by the instant of the pull, and so has
//! what came in under its value already. Rows are found by their attribute, whoever's they are, and
//! sent with the values that the device has.

use rusqlite::{Connection, Row};

use super::super::super::page::{EntityWriter, PageWriter};
use super::super::super::raw::write_raw_key;
use super::super::super::window::Instants;
use super::{Entering, ScopedPull};
use crate::position::Progress;

impl ScopedPull<'_> {
    /// Sends the rows that have come in, as far as the page goes.
    pub(super) fn enter(
        &mut self,
        conn: &Connection,
        page: &mut PageWriter,
        snapshot: i64,
    ) -> rusqlite::Result<()> {
        let (Some(Entering { before, after }), Some(at)) = (&self.entering, self.at) else {
            return Ok(());
        };
        if page.is_full() {
            return Ok(());
        }
        let before = *before;
        let mut content = EntityWriter::new(page, self.table);
        let mut has_read = after.is_some();
        let mut each = |row: &Row<'_>| {
            let held = self.numbers(&self.scope_cells(row)?, None);
            if let Some(beside) = self.beside(&held) {
                let mut cells = self.table.cells(row)?;
                cells.extend(beside);
                content.row(&cells);
                has_read = true;
            }
            Ok(content.page().is_full())
        };
        let span = (before, at);
        let last = (self.table).entering(conn, span, after.as_deref(), &mut each)?;
        content.finish();
        if has_read || last.is_some() {
            self.seen = Some(snapshot);
        }
        self.entering = last.map(|last| Entering {
            before,
            after: Some(last),
        });
        Ok(())
    }

    /// Whether a row that the device is entitled to has come in.
    pub(super) fn has_entered(
        &self,
        conn: &Connection,
        instants: Instants,
    ) -> rusqlite::Result<bool> {
        let Some(span) = instants.before.zip(instants.resumed) else {
            return Ok(false);
        };
        self.table.any_entered(conn, span, &|row| {
            let held = self.numbers(&self.scope_cells(row)?, None);
            Ok(self.beside(&held).is_some())
        })
    }
}

impl Entering {
    /// How far they have come, for a position.
    pub(super) fn progress(&self, seen: i64) -> Progress {
        let last = self.after.as_deref().map(write_raw_key);
        Progress::Entering {
            last: last.unwrap_or_default(),
            seen,
            before: self.before,
        }
    }
}
