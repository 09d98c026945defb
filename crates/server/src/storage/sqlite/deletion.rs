//! Rows that count as deleted: which are.
//!
//! The column is read beside the attributes, if it is none of them, and held against the model's
//! value in canonical form: so a table that spells its truth values in several ways is understood
//! in all of them.

use afield_protocol::Value;
use rusqlite::{Connection, Row};

use super::cell::Form;
use super::error::{While, lasting};
use super::raw::Raw;
use super::schema::TableSchema;
use crate::resolved::{DeletedWhen, ServerEntity};
use crate::storage::StorageError;
use crate::storage::push::Deleting;

/// How the rows of a table count as deleted.
#[derive(Debug)]
pub(super) struct Deletion {
    /// The column's place in what the statements read.
    at: usize,
    /// Its name, if it is none of the attributes.
    pub beside: Option<String>,
    column: String,
    pub form: Form,
    when: DeletedWhen,
    revived: Value,
}

impl Deletion {
    /// How the rows of `entity` count as deleted, if they do.
    pub(super) fn learn(
        conn: &Connection,
        entity: &ServerEntity,
        schema: &TableSchema,
    ) -> Result<Option<Self>, StorageError> {
        let Some(delete) = &entity.delete else {
            return Ok(None);
        };
        let name = &delete.column.name;
        let found = schema
            .column(name)
            .ok_or_else(|| lasting(format!("`{}` has no column `{name}`", schema.name)))?;
        let (kind, scale) = (delete.column.kind, delete.column.scale);
        let form = Form::learn(conn, &schema.name, found, kind, scale)
            .while_("looking at how a column is spelled")?;
        let mut columns = entity.columns.iter();
        let place = columns.position(|column| column.name.eq_ignore_ascii_case(name));
        let when = match &delete.when {
            // As a cell with this value is read: a decimal has all its digits.
            DeletedWhen::Is(value) => {
                let raw = Raw::from_value(value);
                DeletedWhen::Is(form.read(raw.as_stored()).as_ref().to_value())
            }
            DeletedWhen::NotNull => DeletedWhen::NotNull,
        };
        Ok(Some(Self {
            at: place.unwrap_or(entity.columns.len()),
            beside: place.is_none().then(|| name.clone()),
            column: name.clone(),
            form,
            when,
            revived: delete.revived.clone(),
        }))
    }

    /// Whether a row counts as deleted.
    pub(super) fn is_deleted(&self, row: &Row<'_>) -> rusqlite::Result<bool> {
        let cell = self.form.read(row.get_ref(self.at)?);
        Ok(match &self.when {
            DeletedWhen::Is(value) => cell.as_ref() == value.as_ref(),
            DeletedWhen::NotNull => cell.as_ref().to_value() != Value::Null,
        })
    }

    /// The same, for a push.
    pub(super) fn deleting(&self) -> Deleting<'_> {
        Deleting {
            column: &self.column,
            attribute: self.beside.is_none().then_some(self.at),
            kind: self.form.kind,
            when: &self.when,
            revived: &self.revived,
        }
    }
}
