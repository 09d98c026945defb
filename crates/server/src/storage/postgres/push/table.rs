//! An entity over its table, as the rules of a push ask for it.

use afield_protocol::Value;
use tokio_postgres::Transaction;

use super::super::columns::{KeyColumn, ReadColumn};
use super::super::deletion::Deletion;
use super::super::entity::EntityTable;
use super::super::shape::Shape;
use super::super::statements::is_it;
use super::learn::Learned;
use super::rows::{PushSql, select, spelled};
use crate::resolved::{ServerEntity, ServerModel};
use crate::storage::StorageError;
use crate::storage::push::{Deleting, Table};

/// What a push knows of an entity.
#[derive(Debug)]
pub(in super::super) struct PushTable {
    pub learned: Learned,
    pub sql: PushSql,
}

impl PushTable {
    /// What a push must know of the table of `entity`.
    ///
    /// # Errors
    /// The database failed, or a rule of the model cannot be asked.
    pub(in super::super) async fn of(
        tx: &Transaction<'_>,
        model: &ServerModel,
        entity: &ServerEntity,
        shape: &Shape,
        (columns, key, deletion): (&[ReadColumn], &[KeyColumn], &Option<Deletion>),
    ) -> Result<Self, StorageError> {
        let beside = deletion.as_ref().filter(|deletion| deletion.is_beside);
        let select = select(columns, beside.map(|deletion| &deletion.column));
        let learned = Learned::of(tx, model, entity, &shape.sql()).await?;
        let sql = PushSql::of(tx, &model.scopes, entity, shape, (&select, &is_it(key))).await?;
        Ok(Self { learned, sql })
    }
}

impl EntityTable {
    pub(super) fn learned(&self) -> &Learned {
        &self.push.learned
    }

    pub(super) fn push_sql(&self) -> &PushSql {
        &self.push.sql
    }
}

impl Table for EntityTable {
    fn entity(&self) -> &ServerEntity {
        &self.entity
    }

    fn numbered_by(&self, attribute: usize) -> Option<&str> {
        self.numbered_by.get(attribute)?.as_deref()
    }

    fn counters(&self) -> &[String] {
        &self.counters
    }

    fn deletion(&self) -> Option<Deleting<'_>> {
        let deletion = self.deletion.as_ref()?;
        Some(Deleting {
            column: &deletion.column.name,
            attribute: (!deletion.is_beside).then_some(deletion.at),
            kind: deletion.column.form.kind,
            when: &deletion.when,
            revived: &deletion.revived,
        })
    }

    fn spelled(&self, attribute: usize, value: &Value) -> Option<Value> {
        let column = self.entity.columns.get(attribute)?;
        spelled(column.kind, column.scale, value)
    }

    fn asks_reference(&self, reference: usize) -> bool {
        let asked = self.learned().asked.get(reference);
        asked.copied().unwrap_or(true)
    }
}
