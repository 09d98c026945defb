//! The model's tables as the database has them, reloaded whenever its schema changes.

use std::collections::HashMap;

use afield_protocol::Code;
use rusqlite::Connection;

use super::entity::EntityTable;
use super::error::{While, lasting};
use super::references;
use crate::resolved::{ServerColumn, ServerModel};
use crate::storage::StorageError;
use crate::storage::push::Table;

/// All entities over their tables, at one version of the schema.
#[derive(Debug)]
pub(super) struct Tables {
    model: ServerModel,
    schema_version: i64,
    entities: HashMap<String, EntityTable>,
    /// Since which change number an entity's marks are whole.
    since: HashMap<String, i64>,
}

impl Tables {
    pub(super) fn load(conn: &Connection, model: &ServerModel) -> Result<Self, StorageError> {
        let mut entities = HashMap::new();
        let mut since = HashMap::new();
        for entity in &model.entities {
            let name = &entity.local.name;
            let table = EntityTable::load(conn, model, entity)?;
            let is_number = |key: &ServerColumn| table.schema.is_numbered_by(&key.name);
            if table.is_numbered() && !entity.columns.first().is_some_and(is_number) {
                return Err(lasting(format!(
                    "`{name}`: `{}` does not number its rows (its key is no INTEGER PRIMARY KEY); \
                     remove `id` from the model",
                    table.schema.name
                )));
            }
            if !entity.local.insert_only {
                let mut whole_from = 0;
                for captured in std::iter::once(&table.schema.name).chain(&table.lookups.sources) {
                    let from: i64 = conn
                        .query_row(
                            "SELECT since FROM afield_table WHERE name = ?1",
                            [captured],
                            |row| row.get(0),
                        )
                        .while_("reading since when a table is captured")?;
                    whole_from = from.max(whole_from);
                }
                since.insert(name.clone(), whole_from);
            }
            let references = references::asked(conn, model, &table);
            let references = references.while_("reading the references of a table")?;
            entities.insert(name.clone(), table.asking(references));
        }
        Ok(Self {
            model: model.clone(),
            schema_version: schema_version(conn)?,
            entities,
            since,
        })
    }

    /// Whether it still describes what this transaction sees.
    pub(super) fn is_current(
        &self,
        conn: &Connection,
        model: &ServerModel,
    ) -> Result<bool, StorageError> {
        let is_same = self.model.entities == model.entities && self.model.scopes == model.scopes;
        Ok(is_same && self.schema_version == schema_version(conn)?)
    }

    pub(super) fn entity(&self, name: &str) -> Option<&EntityTable> {
        self.entities.get(name)
    }

    /// The entity of a pull, which must exist, and since which change number its marks are whole:
    /// never, if its rows do not go to devices.
    pub(super) fn pulled(&self, name: &str) -> Result<(&EntityTable, i64), StorageError> {
        match self.entities.get(name) {
            Some(entity) => Ok((entity, self.since.get(name).copied().unwrap_or(i64::MAX))),
            None => Err(StorageError {
                code: Code::UNKNOWN_ENTITY,
                message: format!("the model has no synchronised entity `{name}`"),
                is_retryable: false,
            }),
        }
    }
}

fn schema_version(conn: &Connection) -> Result<i64, StorageError> {
    conn.prepare_cached("PRAGMA schema_version")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .while_("reading the version of the schema")
}
