//! Rows that count as deleted: which are, how one becomes one, and how it comes back.
//!
//! The column is read beside the attributes, if it is none of them, and held against the model's
//! value in canonical form: so a table that spells its truth values in several ways is understood
//! in all of them.

use afield_protocol::zoo::planted;
use afield_protocol::{Attributes, Type, Value};
use rusqlite::{Connection, Row};

use super::cell::Form;
use super::entity::{EntityTable, FoundRow};
use super::error::{While, lasting};
use super::raw::Raw;
use super::schema::TableSchema;
use super::write::{Beside, Written, update};
use crate::resolved::{DeletedWhen, ServerEntity};
use crate::storage::StorageError;

/// How the rows of a table count as deleted.
#[derive(Debug)]
pub(super) struct Deletion {
    /// The column's place in what the statements read.
    at: usize,
    /// Its name, if it is none of the attributes.
    pub beside: Option<String>,
    column: String,
    form: Form,
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

    /// Makes a row a deleted one, at a time in seconds since 1970.
    pub(super) fn delete(
        &self,
        conn: &Connection,
        table: &EntityTable,
        row: &FoundRow,
        now: i64,
    ) -> rusqlite::Result<Written> {
        let value = match &self.when {
            DeletedWhen::Is(value) => value.clone(),
            DeletedWhen::NotNull if self.form.kind == Type::Text => Type::Instant.at(now),
            DeletedWhen::NotNull => self.form.kind.at(now),
        };
        let beside = self.beside(&value);
        let written = update(conn, table, row, &Attributes::new(), Some(beside))?;
        // No row is left behind that its author would have to be allowed to leave.
        Ok(match written {
            Written::Row(Some(row)) if !row.is_deleted => Written::Kept,
            Written::Row(_) => Written::Row(None),
            other => other,
        })
    }

    /// Writes what a create says to a deleted row of its key, which thereby is none any more;
    /// unless the create itself says that it is.
    pub(super) fn revive(
        &self,
        conn: &Connection,
        table: &EntityTable,
        row: &FoundRow,
        set: &Attributes,
    ) -> rusqlite::Result<Written> {
        let attribute = table.entity.local.attributes.get(self.at);
        let is_said = attribute.is_some_and(|attribute| set.contains_key(&attribute.name));
        let revives = !is_said && !planted("server-create-does-not-revive");
        let beside = revives.then(|| self.beside(&self.revived));
        update(conn, table, row, set, beside)
    }

    fn beside(&self, value: &Value) -> Beside<'_> {
        Beside {
            column: &self.column,
            cell: self.form.write(value),
        }
    }
}
