//! An entity over its table, as the rules of a push ask for it.

use afield_protocol::{Type, Value};
use tokio_postgres::Transaction;

use super::super::columns::{KeyColumn, ReadColumn};
use super::super::deletion::Deletion;
use super::super::entity::EntityTable;
use super::super::scope::ScopeSql;
use super::super::scope_reads::ScopeReads;
use super::super::shape::Shape;
use super::super::statements::is_it;
use super::ahead::{AheadSql, can_be_listed};
use super::learn::Learned;
use super::rows::{Deciding, PushSql, select, spelled};
use crate::resolved::{Scope, ServerEntity, ServerModel};
use crate::storage::StorageError;
use crate::storage::push::{Deleting, Table};

/// What a push knows of an entity.
#[derive(Debug)]
pub(in super::super) struct PushTable {
    pub learned: Learned,
    pub sql: PushSql,
    /// How many changes of it are decided at once; `None` if they cannot be.
    pub ahead: Option<AheadSql>,
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
        (shape, reads): (&Shape, &ScopeReads),
        (columns, key, deletion): (&[ReadColumn], &[KeyColumn], &Option<Deletion>),
    ) -> Result<Self, StorageError> {
        let beside = deletion.as_ref().filter(|deletion| deletion.is_beside);
        let select = select(columns, beside.map(|deletion| &deletion.column));
        let table = shape.sql();
        let learned = Learned::of(tx, model, entity, shape, reads).await?;
        let compiled = async |scope: &Scope, key: &str| {
            let whose = format!("`{}`: its `{key}`", entity.local.name);
            ScopeSql::of(tx, &model.scopes, scope, shape, &whose).await
        };
        let scope = compiled(&entity.scope, "scope").await?;
        let before = match &entity.write {
            Some(write) => compiled(write, "write").await?,
            None => None,
        };
        let after = compiled(entity.becomes(), "write_to").await?;
        let scopes = [scope.as_ref(), before.as_ref(), after.as_ref()];
        let parts = (select.as_str(), is_it(key), key.len());
        let deciding = deciding(shape, entity, &learned)?;
        let is_listed = columns.iter().all(can_be_listed);
        let can_be_ahead = is_listed && !learned.does_more && deletion.is_none();
        Ok(Self {
            sql: PushSql::of(&table, (parts.0, &parts.1, parts.2), scopes, deciding),
            ahead: can_be_ahead
                .then(|| AheadSql::of(&table, &select, (entity, columns, key), scopes)),
            learned,
        })
    }
}

/// The columns that decide about what rows of an entity become, each once.
fn deciding(
    shape: &Shape,
    entity: &ServerEntity,
    learned: &Learned,
) -> Result<Vec<Deciding>, StorageError> {
    let mut found: Vec<Deciding> = Vec::new();
    let mut names: Vec<&String> = entity.becomes().conditions().map(|it| &it.column).collect();
    names.sort();
    names.dedup();
    for name in names {
        let attribute = entity
            .columns
            .iter()
            .position(|column| column.name == *name);
        let kind = attribute
            .and_then(|at| entity.columns.get(at))
            .map(|column| column.kind);
        found.push(Deciding {
            attribute,
            column: ReadColumn::new(shape.column(name)?, kind.unwrap_or(Type::Text)),
            default: learned.defaults.get(name).cloned(),
        });
    }
    Ok(found)
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
