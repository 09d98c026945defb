//! The model's tables as the database has them, looked at again whenever they turn out to be
//! others.

use std::collections::HashMap;

use afield_protocol::Code;

use super::entity::EntityTable;
use super::error::While;
use super::link::{Link, PLANNED_AS_EVER};
use super::prepare::installed;
use super::push::has_deferrable;
use super::scope_reads::ScopeReads;
use crate::resolved::ServerModel;
use crate::storage::StorageError;

const DOING: &str = "looking at the tables of the model";

/// Tells apart which triggers the database has, those of its constraints included, and which of
/// them are switched off: what else a write does may be another thing then.
pub(super) const TRIGGERS: &str = "(SELECT count(*) || ' ' || \
    coalesce(sum(t.oid::bigint * ascii(t.tgenabled)), 0) FROM pg_catalog.pg_trigger t)";

/// All entities over their tables.
#[derive(Debug)]
pub(super) struct Tables {
    model: ServerModel,
    entities: HashMap<String, EntityTable>,
    has_deferrable: bool,
    triggers: String,
}

impl Tables {
    /// Holds a model against the database, which must be prepared for it.
    pub(super) async fn load(link: &mut Link, model: &ServerModel) -> Result<Self, StorageError> {
        let tx = link.client.transaction().await.while_(DOING)?;
        let loaded = Self::load_in(&tx, model).await;
        // Awaited: dropped, it would stay open until the connection is used again.
        let ended = tx.rollback().await;
        let loaded = loaded?;
        ended.while_(DOING)?;
        Ok(loaded)
    }

    async fn load_in(
        tx: &tokio_postgres::Transaction<'_>,
        model: &ServerModel,
    ) -> Result<Self, StorageError> {
        tx.batch_execute(PLANNED_AS_EVER).await.while_(DOING)?;
        // First, so that what changes meanwhile is noticed with the next push.
        let sql = format!("SELECT {TRIGGERS}");
        let triggers = tx.query_one(&sql, &[]).await.while_(DOING)?.get(0);
        let captures = installed(tx, model).await?;
        let reads = ScopeReads::of(tx, &model.scopes).await?;
        let mut entities = HashMap::new();
        for entity in &model.entities {
            let table = EntityTable::load(tx, model, entity, &captures, &reads).await?;
            entities.insert(entity.local.name.clone(), table);
        }
        Ok(Self {
            model: model.clone(),
            entities,
            has_deferrable: has_deferrable(tx).await?,
            triggers,
        })
    }

    /// Whether they are the tables of this model.
    pub(super) fn is_of(&self, model: &ServerModel) -> bool {
        self.model.entities == model.entities && self.model.scopes == model.scopes
    }

    pub(super) fn entity(&self, name: &str) -> Option<&EntityTable> {
        self.entities.get(name)
    }

    /// Whether anything in the database is looked at only when a transaction ends.
    pub(super) fn has_deferrable(&self) -> bool {
        self.has_deferrable
    }

    /// Whether they were looked at when the database had these triggers, see [`TRIGGERS`].
    pub(super) fn have(&self, triggers: &str) -> bool {
        self.triggers == triggers
    }

    /// The entity of a pull, which must exist.
    pub(super) fn pulled(&self, name: &str) -> Result<&EntityTable, StorageError> {
        self.entities.get(name).ok_or_else(|| StorageError {
            code: Code::UNKNOWN_ENTITY,
            message: format!("the model has no synchronised entity `{name}`"),
            is_retryable: false,
        })
    }
}
