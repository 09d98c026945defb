//! Which tables a model needs captured, and what marks of them must say.

use rusqlite::Connection;

use super::error::lasting;
use super::lookups;
use super::marks::{Capture, Object};
use super::schema::TableSchema;
use super::scope::{self, ScopeSql};
use crate::resolved::{ServerEntity, ServerModel};
use crate::storage::StorageError;

/// A table of the team as the database has it, and what its marks carry.
pub(super) struct Captured {
    /// What its marks go by: the table, or a source of lookups.
    pub name: String,
    pub schema: TableSchema,
    /// Key columns, in the order of the local entity's identifier.
    key: Vec<String>,
    /// The columns that the entity's scope compares.
    scope: Vec<String>,
    /// Of a source of lookups: the columns that they read.
    read: Option<Vec<String>>,
}

impl Captured {
    /// Everything that captures the table, in the order in which it is made.
    pub(super) fn objects(&self) -> Vec<Object> {
        let capture = Capture::new(&self.schema, &self.key, &self.scope);
        match &self.read {
            Some(read) => capture.of_source(&self.name, read).objects(),
            None => capture.objects(),
        }
    }
}

/// The tables of the model, each once, then what its lookups read.
pub(super) fn captures(
    conn: &Connection,
    model: &ServerModel,
) -> Result<Vec<Captured>, StorageError> {
    let mut found: Vec<Captured> = Vec::new();
    for entity in pulled(model) {
        let schema = TableSchema::read(conn, &entity.table)?;
        let key = key(entity, &schema)?;
        // What cannot be compared is refused before anything is captured.
        ScopeSql::compile(conn, &model.scopes, entity, &schema)?;
        let scope = scope::columns(&schema, &entity.scope);
        match found.iter().find(|known| known.schema.name == schema.name) {
            Some(known) if known.key == key && known.scope == scope => {}
            Some(known) => {
                let what = match known.key == key {
                    true => "scopes over different columns",
                    false => "different identifiers",
                };
                return Err(lasting(format!(
                    "`{}` stands in the model twice with {what}; that is not available yet",
                    schema.name
                )));
            }
            None => found.push(Captured {
                name: schema.name.clone(),
                schema,
                key,
                scope,
                read: None,
            }),
        }
    }
    let sources = lookups::sources(conn, model)?.into_iter();
    found.extend(sources.map(|source| Captured {
        name: source.name,
        schema: source.schema,
        key: vec![source.key],
        scope: Vec::new(),
        read: Some(source.columns),
    }));
    Ok(found)
}

/// What pulls are slow for, each with its remedy.
pub(super) fn warnings(
    conn: &Connection,
    model: &ServerModel,
) -> Result<Vec<String>, StorageError> {
    let mut found = Vec::new();
    for entity in pulled(model) {
        let schema = TableSchema::read(conn, &entity.table)?;
        found.extend(scope::missing_indexes(conn, entity, &schema)?);
        found.extend(lookups::missing_indexes(conn, entity, &schema)?);
    }
    Ok(found)
}

/// Rows that only come from devices are never pulled: marks of them would be of no use.
pub(super) fn pulled(model: &ServerModel) -> impl Iterator<Item = &ServerEntity> {
    let entities = model.entities.iter();
    entities.filter(|entity| !entity.local.insert_only)
}

fn key(entity: &ServerEntity, schema: &TableSchema) -> Result<Vec<String>, StorageError> {
    let columns = entity.columns.get(..entity.local.key_width).unwrap_or(&[]);
    let mut key = Vec::new();
    for column in columns {
        let column = schema
            .column(&column.name)
            .ok_or_else(|| lasting(format!("`{}` has no column `{}`", schema.name, column.name)))?;
        key.push(column.name.clone());
    }
    let names: Vec<&str> = key.iter().map(String::as_str).collect();
    if key.is_empty() || schema.unique_over(&names).is_none() {
        return Err(lasting(format!(
            "`{}`: ({}) is neither its primary key nor unique, so it cannot identify a row",
            schema.name,
            key.join(", ")
        )));
    }
    Ok(key)
}
