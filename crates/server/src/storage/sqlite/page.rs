//! What SQLite's rows become in a page: which of them are sent, and which are told to be gone.

use std::collections::HashSet;

use afield_protocol::zoo::planted;
use afield_protocol::{Key, Value, Window};
use rusqlite::{Connection, Row, params_from_iter};

use super::cell::Canonical;
use super::entity::EntityTable;
use super::raw::{Raw, write_raw_key};
use crate::storage::page::Content;
pub(super) use crate::storage::page::PageWriter;

/// How marked rows are read, and which of them are the user's.
pub(super) struct Reading<'l, 'a> {
    /// The statement that finds a row by its stored key.
    pub sql: &'l str,
    /// What stands behind the row's attributes; `None` if the row is not the user's.
    pub beside: &'l dyn Fn(&Row<'_>) -> rusqlite::Result<Option<Vec<Canonical<'a>>>>,
    /// Which rows devices have for a time: for those that merely show what changed.
    pub window: Option<&'l Window>,
}

/// One entity's part of a page.
pub(super) struct EntityWriter<'a> {
    content: Content<'a>,
    table: &'a EntityTable,
}

impl<'a> EntityWriter<'a> {
    pub(super) fn new(page: &'a mut PageWriter, table: &'a EntityTable) -> Self {
        Self {
            content: Content::new(page, &table.entity.local),
            table,
        }
    }

    /// The page that it is a part of.
    pub(super) fn page(&self) -> &PageWriter {
        self.content.page
    }

    pub(super) fn row(&mut self, cells: &[Canonical<'_>]) {
        self.content.row(cells.iter().map(Canonical::as_ref));
    }

    /// Delivers the row that was marked under a stored key, or that it is gone.
    pub(super) fn touched(
        &mut self,
        conn: &Connection,
        raw: &[Raw],
        reading: &Reading<'_, '_>,
    ) -> rusqlite::Result<()> {
        let key = self.table.canonical_key(raw);
        let mut is_there = self.row_of(conn, raw, &key, reading)?;
        // The same identifier may live on in another spelling.
        for other in self.table.spellings(&key) {
            if !is_there && other != raw {
                is_there = self.row_of(conn, &other, &key, reading)?;
            }
        }
        if !is_there {
            self.gone(key);
        }
        Ok(())
    }

    /// Delivers the rows that a device asks for by their identifiers, as far as the page goes.
    pub(super) fn fetch(
        mut self,
        conn: &Connection,
        keys: &[Key],
        reading: &Reading<'_, '_>,
    ) -> rusqlite::Result<()> {
        let width = self.table.key_width();
        for key in keys.iter().filter(|key| key.len() == width) {
            if self.page().is_full() {
                break;
            }
            self.asked_for(conn, key, reading)?;
        }
        self.finish();
        Ok(())
    }

    /// Delivers the row that a device asks for by its identifier, or that it is gone.
    fn asked_for(
        &mut self,
        conn: &Connection,
        key: &[Value],
        reading: &Reading<'_, '_>,
    ) -> rusqlite::Result<()> {
        for raw in self.table.spellings(key) {
            if self.row_of(conn, &raw, key, reading)? {
                return Ok(());
            }
        }
        self.gone(key.to_vec());
        Ok(())
    }

    /// Delivers a row that shows what changed elsewhere, once a page and if it is the user's. False
    /// if the page is full, and it must come again.
    pub(super) fn shown(
        &mut self,
        row: &Row<'_>,
        reading: &Reading<'_, '_>,
        told: &mut HashSet<Vec<u8>>,
    ) -> rusqlite::Result<bool> {
        if !self.table.is_sent(row, reading.window)? {
            return Ok(true);
        }
        let Some(beside) = (reading.beside)(row)? else {
            return Ok(true);
        };
        let key = write_raw_key(&self.table.raw_key(row, 0)?);
        if told.contains(&key) {
            return Ok(true);
        }
        if self.page().is_full() {
            return Ok(false);
        }
        told.insert(key);
        let mut cells = self.table.cells(row)?;
        cells.extend(beside);
        self.row(&cells);
        Ok(true)
    }

    /// Delivers the row with this stored key, if it is the user's. False if the device, which
    /// compares byte by byte, would not find it under `key`.
    fn row_of(
        &mut self,
        conn: &Connection,
        raw: &[Raw],
        key: &[Value],
        reading: &Reading<'_, '_>,
    ) -> rusqlite::Result<bool> {
        let table = self.table;
        let mut statement = conn.prepare_cached(reading.sql)?;
        let mut rows = statement.query(params_from_iter(raw))?;
        let Some(row) = rows.next()? else {
            return Ok(false);
        };
        let is_told = match planted("server-window-exit-is-gone") {
            true => table.is_sent(row, reading.window)?,
            false => table.is_alive(row)?,
        };
        if !is_told {
            return Ok(false);
        }
        let Some(beside) = (reading.beside)(row)? else {
            return Ok(false);
        };
        let mut cells = table.cells(row)?;
        let is_it = cells
            .iter()
            .zip(key)
            .all(|(cell, part)| cell.as_ref() == part.as_ref());
        cells.extend(beside);
        self.row(&cells);
        Ok(is_it)
    }

    fn gone(&mut self, key: Key) {
        self.content.gone(key);
    }

    pub(super) fn finish(self) {
        self.content.finish();
    }
}
