//! The content of a page: rows in blocks, identifiers of rows that are gone, within the limits.

use afield_protocol::limits::ROWS_FRAME_BYTES;
use afield_protocol::{Entity, Frame, Key, RowBlockWriter, ValueRef};

/// Rows or marks that one page looks at for one entity, whether they are sent or not: what is
/// mostly somebody else's, or out of a window, takes more pages, none of which lasts.
pub(super) const LOOKED_AT_MAX: usize = 20_000;

/// The content of a page, within its limits.
pub(super) struct PageWriter {
    pub frames: Vec<Frame>,
    rows_max: usize,
    rows_left: usize,
    bytes_left: usize,
}

impl PageWriter {
    pub(super) fn new(rows_max: usize, bytes_max: usize) -> Self {
        // At least one row, or nothing would ever move on.
        let rows_max = rows_max.max(1);
        Self {
            frames: Vec::new(),
            rows_max,
            rows_left: rows_max,
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

    /// How many rows are in it.
    pub(super) fn rows(&self) -> usize {
        self.rows_max - self.rows_left
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

/// One entity's part of a page.
pub(super) struct Content<'a> {
    pub page: &'a mut PageWriter,
    entity: &'a str,
    block: RowBlockWriter,
    gone: Vec<Key>,
    gone_bytes: usize,
}

impl<'a> Content<'a> {
    pub(super) fn new(page: &'a mut PageWriter, entity: &'a Entity) -> Self {
        Self {
            page,
            entity: &entity.name,
            block: RowBlockWriter::new(&entity.name, &entity.columns()),
            gone: Vec::new(),
            gone_bytes: 0,
        }
    }

    /// Delivers a row.
    pub(super) fn row<'r>(&mut self, cells: impl Iterator<Item = ValueRef<'r>> + Clone) {
        let bytes: usize = cells.clone().map(size_at_most).sum();
        if self.block.size() + bytes > ROWS_FRAME_BYTES {
            self.flush_rows();
        }
        let before = self.block.size();
        self.block.push(cells);
        self.page.count(self.block.size() - before);
    }

    /// Says that there is no row of this identifier.
    pub(super) fn gone(&mut self, key: Key) {
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
                entity: self.entity.to_owned(),
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
