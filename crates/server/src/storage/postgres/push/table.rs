//! An entity over its table, as the rules of a push ask for it.

use afield_protocol::Value;

use super::super::entity::EntityTable;
use super::rows::spelled;
use super::{Learned, PushSql};
use crate::resolved::ServerEntity;
use crate::storage::push::{Deleting, Table};

/// What a push knows of an entity.
#[derive(Debug)]
pub(in super::super) struct PushTable {
    pub learned: Learned,
    pub sql: PushSql,
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
            column: deletion.name.as_str(),
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
