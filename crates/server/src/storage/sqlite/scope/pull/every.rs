//! Every row that a device should have by the values that it has, once.
//!
//! The rows of each value of the first condition of each way are read, as a download does it; a row
//! counts where its first way in that holds is the one whose value is being read, so that no memory
//! of rows is needed.

use afield_protocol::Key;
use rusqlite::{Connection, Row};

use super::super::super::cell::Canonical;
use super::super::super::page::{EntityWriter, PageWriter, Reading};
use super::ScopedPull;

/// Takes a row's cells and the numbers that bring it; says whether to go on.
pub(in super::super::super) type EachRow<'f> =
    dyn FnMut(&[Canonical<'_>], &[Option<i64>]) -> rusqlite::Result<bool> + 'f;

impl ScopedPull<'_> {
    /// Calls `each` with every row, in no particular order.
    pub(in super::super::super) fn each_row(
        &self,
        conn: &Connection,
        each: &mut EachRow<'_>,
    ) -> rusqlite::Result<()> {
        for (at, way) in self.scope.ways.iter().enumerate() {
            let first = way.start;
            let Some(condition) = self.scope.conditions.get(first) else {
                continue;
            };
            let sql = &self.sql.first[condition.column];
            let mut statement = conn.prepare_cached(sql)?;
            for (_, value) in self.now.values(first) {
                let mut rows = statement.query([value])?;
                while let Some(row) = rows.next()? {
                    if self.first_way(row)? == Some(at)
                        && self.table.is_sent(row, self.window.as_ref())?
                        && !self.with_row(row, each)?
                    {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    /// The first way in by which a row is the user's.
    fn first_way(&self, row: &Row<'_>) -> rusqlite::Result<Option<usize>> {
        let held = self.numbers(&self.scope_cells(row)?, None);
        let holds = |at: usize| held.get(at).is_some_and(Option::is_some);
        let mut ways = self.scope.ways.iter();
        Ok(ways.position(|way| way.clone().all(holds)))
    }

    fn with_row(&self, row: &Row<'_>, each: &mut EachRow<'_>) -> rusqlite::Result<bool> {
        let held = self.numbers(&self.scope_cells(row)?, None);
        let mut brought = Vec::with_capacity(held.len());
        for way in &self.scope.ways {
            let numbers = held.get(way.clone()).unwrap_or(&[]);
            let holds = numbers.iter().all(Option::is_some);
            brought.extend(numbers.iter().map(|number| number.filter(|_| holds)));
        }
        each(&self.table.cells(row)?, &brought)
    }

    /// Delivers rows that the device asks for by their identifiers, as far as the page goes.
    pub(in super::super::super) fn fetch(
        &self,
        conn: &Connection,
        page: &mut PageWriter,
        keys: &[Key],
    ) -> rusqlite::Result<()> {
        let beside = |row: &Row<'_>| {
            let held = self.numbers(&self.scope_cells(row)?, None);
            Ok(self.beside(&held))
        };
        let reading = Reading {
            sql: &self.sql.by_key,
            beside: &beside,
            window: self.window.as_ref(),
        };
        EntityWriter::new(page, self.table).fetch(conn, keys, &reading)
    }
}
