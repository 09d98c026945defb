//! Which tables lookups read, and so have marks of their own.

use rusqlite::Connection;

use super::super::captures::pulled;
use super::super::error::lasting;
use super::super::schema::TableSchema;
use crate::resolved::{Hop, ServerModel};
use crate::storage::StorageError;

/// A table that lookups read, by a key that is referred to.
#[derive(Debug)]
pub(in super::super) struct Source {
    /// What its marks go by: `afield_source1_company`. No table of the team's is called so.
    pub name: String,
    pub schema: TableSchema,
    /// The column that references name.
    pub key: String,
    /// The columns that lookups read: their own changes are marked, no others.
    pub columns: Vec<String>,
}

impl Source {
    /// The source that the last step of a path reads.
    pub(super) fn of<'s>(sources: &'s [Self], path: &[Hop]) -> Result<&'s Self, StorageError> {
        let is_it = |source: &&Self, hop: &Hop| {
            source.schema.name.eq_ignore_ascii_case(&hop.table)
                && source.key.eq_ignore_ascii_case(&hop.key)
        };
        let found = path
            .last()
            .and_then(|hop| sources.iter().find(|source| is_it(source, hop)));
        found.ok_or_else(|| lasting("a lookup leads nowhere"))
    }
}

/// All sources of a model, in an order that only the model decides.
pub(in super::super) fn sources(
    conn: &Connection,
    model: &ServerModel,
) -> Result<Vec<Source>, StorageError> {
    let lookups = pulled(model).flat_map(|entity| &entity.lookups);
    let mut hops: Vec<&Hop> = lookups.flat_map(|lookup| &lookup.path).collect();
    let place = |hop: &Hop| {
        let parts = [&hop.table, &hop.key, &hop.column];
        parts.map(|name| name.to_lowercase())
    };
    hops.sort_by_key(|hop| place(hop));
    let mut found: Vec<Source> = Vec::new();
    for hop in hops {
        let last = found.last_mut().filter(|last| {
            last.schema.name.eq_ignore_ascii_case(&hop.table)
                && last.key.eq_ignore_ascii_case(&hop.key)
        });
        if let Some(source) = last {
            source.read(&hop.column)?;
            continue;
        }
        let schema = TableSchema::read(conn, &hop.table)?;
        let key = named(&schema, &hop.key)?;
        if schema.unique_over(&[&key]).is_none() {
            return Err(lasting(format!(
                "`{}.{key}` does not identify a row, and a lookup goes through it",
                schema.name
            )));
        }
        let same = |source: &&Source| source.schema.name == schema.name;
        let number = found.iter().filter(same).count() + 1;
        let mut source = Source {
            name: format!("afield_source{number}_{}", schema.name),
            schema,
            key,
            columns: Vec::new(),
        };
        source.read(&hop.column)?;
        found.push(source);
    }
    Ok(found)
}

impl Source {
    fn read(&mut self, column: &str) -> Result<(), StorageError> {
        let column = named(&self.schema, column)?;
        if !self.columns.contains(&column) {
            self.columns.push(column);
        }
        Ok(())
    }
}

/// A column's name as the table has it.
fn named(schema: &TableSchema, column: &str) -> Result<String, StorageError> {
    let found = schema.column(column);
    let found = found.ok_or_else(|| {
        let table = &schema.name;
        lasting(format!(
            "a lookup names `{table}.{column}`, which does not exist"
        ))
    })?;
    Ok(found.name.clone())
}
