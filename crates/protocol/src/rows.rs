//! Rows on the wire: arrays under one column header.

use minicbor::Decoder;

use crate::codec::{Malformed, cbor};
use crate::value::{Type, ValueRef};

/// Rows of one entity, each an array of cells in the order of `columns`.
///
/// The cells stay encoded until they are read, so that a page never becomes a tree in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct RowBlock {
    /// The local entity.
    pub entity: String,
    /// Local attribute names; the identifier's come first.
    pub columns: Vec<String>,
    /// How many rows.
    pub count: usize,
    /// The cells of all rows, one after another, in CBOR.
    pub(crate) cells: Vec<u8>,
}

impl RowBlock {
    /// Calls `row` with the cells of each row in turn.
    ///
    /// # Errors
    /// The cells are malformed (those of a block that was read are not), or `row` fails.
    pub fn for_each<E: From<Malformed>>(
        &self,
        mut row: impl FnMut(&[Cell<'_>]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut decoder = Decoder::new(&self.cells);
        let mut cells = Vec::with_capacity(self.columns.len());
        if self.columns.is_empty() && self.count > 0 {
            return Err(Malformed::new("rows: no columns").into());
        }
        for _ in 0..self.count {
            cells.clear();
            for _ in 0..self.columns.len() {
                cells.push(cbor::cell(&mut decoder)?);
            }
            row(&cells)?;
        }
        if decoder.position() == self.cells.len() {
            Ok(())
        } else {
            Err(Malformed::new("rows: cells left over").into())
        }
    }
}

pub use crate::codec::cbor::Cell;

/// Gathers rows into a [`RowBlock`].
#[derive(Debug)]
pub struct RowBlockWriter {
    block: RowBlock,
    types: Vec<Type>,
}

impl RowBlockWriter {
    /// Starts a block of `entity` with these columns.
    pub fn new(entity: &str, columns: &[(String, Type)]) -> Self {
        Self {
            block: RowBlock {
                entity: entity.to_owned(),
                columns: columns.iter().map(|(name, _)| name.clone()).collect(),
                count: 0,
                cells: Vec::new(),
            },
            types: columns.iter().map(|(_, kind)| *kind).collect(),
        }
    }

    /// Adds a row: one value for each column, in order.
    pub fn push<'a>(&mut self, row: impl IntoIterator<Item = ValueRef<'a>>) {
        let mut cells = 0;
        for (value, kind) in row.into_iter().zip(&self.types) {
            cbor::write_value(&mut self.block.cells, *kind, value);
            cells += 1;
        }
        assert_eq!(cells, self.types.len(), "a row has a value for each column");
        self.block.count += 1;
    }

    /// Encoded size so far, in bytes.
    pub fn size(&self) -> usize {
        self.block.cells.len()
    }

    /// Whether no row was added since the last [`RowBlockWriter::take`].
    pub fn is_empty(&self) -> bool {
        self.block.count == 0
    }

    /// Hands out the rows gathered so far and starts over.
    pub fn take(&mut self) -> RowBlock {
        let fresh = RowBlock {
            entity: self.block.entity.clone(),
            columns: self.block.columns.clone(),
            count: 0,
            cells: Vec::with_capacity(self.block.cells.len()),
        };
        std::mem::replace(&mut self.block, fresh)
    }
}
