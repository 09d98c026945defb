//! The model's tables as the database has them, looked at again whenever they turn out to be
//! others.

use std::collections::HashMap;

use afield_protocol::Code;

use super::entity::EntityTable;
use super::error::While;
use super::pool::{Link, PLANNED_AS_EVER};
use super::prepare::installed;
use crate::resolved::ServerModel;
use crate::storage::StorageError;

const DOING: &str = "looking at the tables of the model";

/// All entities over their tables.
#[derive(Debug)]
pub(super) struct Tables {
    model: ServerModel,
    entities: HashMap<String, EntityTable>,
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
        let captures = installed(tx, model).await?;
        let mut entities = HashMap::new();
        for entity in &model.entities {
            let table = EntityTable::load(tx, model, entity, &captures).await?;
            entities.insert(entity.local.name.clone(), table);
        }
        Ok(Self {
            model: model.clone(),
            entities,
        })
    }

    /// Whether they are the tables of this model.
    pub(super) fn is_of(&self, model: &ServerModel) -> bool {
        self.model.entities == model.entities && self.model.scopes == model.scopes
    }

    #[allow(dead_code, reason = "pushes and scopes ask for it")]
    pub(super) fn entity(&self, name: &str) -> Option<&EntityTable> {
        self.entities.get(name)
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
