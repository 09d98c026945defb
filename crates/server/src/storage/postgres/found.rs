//! Rows as tables have them: what a push asks of an entity's table.
#![allow(dead_code, reason = "pushes to PostgreSQL come on top of it")]

use afield_protocol::{Attributes, Identifier, Value};
use tokio_postgres::Row;

use super::cell::Param;
use super::columns::ReadColumn;
use super::entity::{EntityTable, as_parameter, read};
use super::key::RawKey;
use super::pool::Link;
use crate::storage::StorageError;

const DOING: &str = "reading a row";

/// A row as the table has it.
#[derive(Debug)]
pub(super) struct FoundRow {
    /// The key as it is stored.
    pub raw_key: RawKey,
    /// Canonical values of all attributes that are no lookups.
    pub values: Vec<Value>,
    /// Whether it counts as deleted.
    pub is_deleted: bool,
}

impl EntityTable {
    /// Whether the server makes the identifiers of its rows.
    pub(super) fn is_numbered(&self) -> bool {
        self.entity.local.identifier == Identifier::Server
    }

    /// The entity whose server-made identifiers an attribute holds.
    pub(super) fn numbered_by(&self, attribute: usize) -> Option<&str> {
        self.numbered_by.get(attribute)?.as_deref()
    }

    /// The row with this canonical key.
    pub(super) async fn find(
        &self,
        link: &Link,
        key: &[Value],
    ) -> Result<Option<FoundRow>, StorageError> {
        match self.named(key) {
            Some(cells) => self.found_by(link, &cells, "").await,
            None => Ok(None),
        }
    }

    /// The row with this canonical key, which nobody else changes until the transaction ends.
    pub(super) async fn find_locked(
        &self,
        link: &Link,
        key: &[Value],
    ) -> Result<Option<FoundRow>, StorageError> {
        match self.named(key) {
            Some(cells) => self.found_by(link, &cells, " FOR UPDATE").await,
            None => Ok(None),
        }
    }

    /// The row with this stored key.
    pub(super) async fn find_stored(
        &self,
        link: &Link,
        key: &RawKey,
    ) -> Result<Option<FoundRow>, StorageError> {
        let cells = key.0.iter().zip(&self.key);
        let cells: Vec<Param> = cells.map(|(cell, key)| key.column.stored(cell)).collect();
        self.found_by(link, &cells, "").await
    }

    async fn found_by(
        &self,
        link: &Link,
        cells: &[Param],
        lock: &str,
    ) -> Result<Option<FoundRow>, StorageError> {
        let sql = format!("{}{lock}", self.sql.by_key);
        let cells: Vec<_> = cells.iter().map(as_parameter).collect();
        let rows = link.query(&sql, &cells, DOING).await?;
        rows.first().map(|row| self.found(row)).transpose()
    }

    /// A row that [`Sql::by_key`] read, or any statement that reads the same columns first.
    pub(super) fn found(&self, row: &Row) -> Result<FoundRow, StorageError> {
        let cell = |(at, column): (usize, &ReadColumn)| {
            Ok(read(&column.form, row, at)?.as_ref().to_value())
        };
        let values = self.columns.iter().enumerate().map(cell);
        Ok(FoundRow {
            raw_key: self.raw_key(row, 0)?,
            values: values.collect::<Result<_, StorageError>>()?,
            is_deleted: !self.is_alive(row, 0)?,
        })
    }

    /// The attributes of a found row without its identifier and its lookups: what changes speak of.
    pub(super) fn attributes(&self, row: &FoundRow) -> Attributes {
        let named = self.entity.local.attributes.iter().zip(&row.values);
        named
            .skip(self.key_width())
            .map(|(attribute, value)| (attribute.name.clone(), value.clone()))
            .collect()
    }
}
