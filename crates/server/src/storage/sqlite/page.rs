//! The content of a page: rows in blocks, identifiers of rows that are gone, within the limits.

use std::collections::HashSet;

use afield_protocol::limits::ROWS_FRAME_BYTES;
use afield_protocol::zoo::planted;
use afield_protocol::{Frame, Key, RowBlockWriter, Value, ValueRef, Window};
use rusqlite::{Connection, Row, params_from_iter};

use super::cell::Canonical;
use super::entity::EntityTable;
use super::raw::{Raw, write_raw_key};

/// The content of a page, within its limits.
pub(super) struct PageWriter {
    pub frames: Vec<Frame>,
    rows_left: usize,
    bytes_left: usize,
}

impl PageWriter {
    pub(super) fn new(rows_max: usize, bytes_max: usize) -> Self {
        Self {
            frames: Vec::new(),
            // At least one row, or nothing would ever move on.
            rows_left: rows_max.max(1),
            bytes_left: bytes_max.max(1),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows_left == 0 || self.bytes_left == 0
    }

    /// How many rows still fit.
    pub(super) fn rows_left(&self) -> usize {
        self.rows_left
    }

    /// Counts bytes that are no row.
    pub(super) fn count_bytes(&mut self, bytes: usize) {
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
    }

    fn count(&mut self, bytes: usize) {
        self.rows_left = self.rows_left.saturating_sub(1);
        self.count_bytes(bytes);
    }
}

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
    pub page: &'a mut PageWriter,
    table: &'a EntityTable,
    block: RowBlockWriter,
    gone: Vec<Key>,
    gone_bytes: usize,
}

impl<'a> EntityWriter<'a> {
    pub(super) fn new(page: &'a mut PageWriter, table: &'a EntityTable) -> Self {
        let local = &table.entity.local;
        Self {
            page,
            table,
            block: RowBlockWriter::new(&local.name, &local.columns()),
            gone: Vec::new(),
            gone_bytes: 0,
        }
    }

    pub(super) fn row(&mut self, cells: &[Canonical<'_>]) {
        let bytes: usize = cells.iter().map(|cell| size_at_most(cell.as_ref())).sum();
        if self.block.size() + bytes > ROWS_FRAME_BYTES {
            self.flush_rows();
        }
        let before = self.block.size();
        self.block.push(cells.iter().map(Canonical::as_ref));
        self.page.count(self.block.size() - before);
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
            if self.page.is_full() {
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
        if self.page.is_full() {
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
        let bytes: usize = key.iter().map(|part| size_at_most(part.as_ref())).sum();
        if self.gone_bytes + bytes > ROWS_FRAME_BYTES {
            self.flush_gone();
        }
        self.gone_bytes += bytes;
        self.gone.push(key);
        self.page.count(bytes);
    }

    pub(super) fn finish(mut self) {
        self.flush_rows();
        self.flush_gone();
    }

    fn flush_rows(&mut self) {
        if !self.block.is_empty() {
            self.page.frames.push(Frame::Rows(self.block.take()));
        }
    }

    fn flush_gone(&mut self) {
        if !self.gone.is_empty() {
            self.gone_bytes = 0;
            self.page.frames.push(Frame::Gone {
                entity: self.table.entity.local.name.clone(),
                keys: std::mem::take(&mut self.gone),
            });
        }
    }
}

/// What a value takes on the wire at most, in whichever form.
pub(super) fn size_at_most(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::Null => 1,
        ValueRef::Integer(_) | ValueRef::Real(_) => 9,
        ValueRef::Text(text) => text.len() + 14,
        ValueRef::Bytes(bytes) => bytes.len() + 9,
    }
}
