//! Rows that count as deleted: which are. The column is read beside the attributes, if it is none
//! of them, and held against the model's value in canonical form.

use afield_protocol::{Type, Value, ValueRef};
use tokio_postgres::Row;

use super::columns::ReadColumn;
use super::error::lasting;
use super::key::stored;
use super::shape::Shape;
use crate::resolved::{DeletedWhen, ServerEntity};
use crate::storage::StorageError;

/// How the rows of a table count as deleted.
#[derive(Debug)]
pub(super) struct Deletion {
    /// The column's place in what the statements read.
    pub at: usize,
    /// Whether it is none of the attributes.
    pub is_beside: bool,
    pub column: ReadColumn,
    pub when: DeletedWhen,
    /// What it gets when the row is created anew and nothing else is said.
    pub revived: Value,
}

impl Deletion {
    /// How the rows of `entity` count as deleted, if they do.
    pub(super) fn learn(
        entity: &ServerEntity,
        shape: &Shape,
    ) -> Result<Option<Self>, StorageError> {
        let Some(delete) = &entity.delete else {
            return Ok(None);
        };
        let mut columns = entity.columns.iter();
        let place = columns.position(|column| column.name == delete.column.name);
        Ok(Some(Self {
            at: place.unwrap_or(entity.columns.len()),
            is_beside: place.is_none(),
            column: ReadColumn::of(shape, &delete.column)?,
            when: delete.when.clone(),
            revived: delete.revived.clone(),
        }))
    }

    /// Whether a row counts as deleted, whose attributes begin at `first`.
    pub(super) fn is_deleted(&self, row: &Row, first: usize) -> Result<bool, StorageError> {
        let cell = self.column.form.read(stored(row, first + self.at)?);
        let cell = cell.map_err(|error| lasting(error.to_string()))?;
        Ok(match (&self.when, cell.as_ref()) {
            (DeletedWhen::NotNull, cell) => cell != ValueRef::Null,
            // A column keeps its own number of digits.
            (DeletedWhen::Is(Value::Text(when)), ValueRef::Text(cell))
                if self.column.form.kind == Type::Decimal =>
            {
                shortest(when) == shortest(cell)
            }
            (DeletedWhen::Is(value), cell) => cell == value.as_ref(),
        })
    }
}

/// A decimal without the zeros at its end.
fn shortest(decimal: &str) -> &str {
    match decimal.contains('.') {
        true => decimal.trim_end_matches('0').trim_end_matches('.'),
        false => decimal,
    }
}
