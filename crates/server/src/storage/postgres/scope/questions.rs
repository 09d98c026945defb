//! What is held is asked in the snapshot of each page: all questions of all its entities at once.

use futures_util::future::try_join_all;
use tokio_postgres::Statement;
use tokio_postgres::types::ToSql;

use super::super::entity::EntityTable;
use super::super::link::Link;
use super::asks::Bound;
use super::now::{Now, bytes};
use crate::position::CodeKey;
use crate::storage::StorageError;
use crate::storage::lists::Asking;

/// The questions of a page.
pub(in super::super) struct Questions<'a> {
    entities: Vec<(&'a str, &'a EntityTable)>,
    asking: Asking<'a>,
    all: Vec<Question>,
}

/// What is held for one condition.
struct Question {
    entity: usize,
    condition: usize,
    statement: Statement,
    bound: Vec<Bound>,
    doing: String,
}

impl<'a> Questions<'a> {
    /// Makes them ready, so that they can be sent in one go with what begins the page.
    pub(in super::super) async fn prepare(
        link: &Link,
        entities: Vec<(&'a str, &'a EntityTable)>,
        asking: Asking<'a>,
    ) -> Result<Self, StorageError> {
        let mut all = Vec::new();
        for (entity, (name, table)) in entities.iter().enumerate() {
            let doing = format!("asking for the values of the scope of `{name}`");
            // Of rows that go to nobody nothing is held.
            let pulled = table.scoped().filter(|_| table.capture.is_some());
            let Some((scope, _)) = pulled else {
                continue;
            };
            for condition in 0..scope.conditions.len() {
                let Some((sql, asks)) = scope.asked(condition, asking.values_max) else {
                    continue;
                };
                all.push(Question {
                    entity,
                    condition,
                    statement: link.prepare(&sql, &doing).await?,
                    bound: asks.bound(asking),
                    doing: doing.clone(),
                });
            }
        }
        Ok(Self {
            entities,
            asking,
            all,
        })
    }

    /// Whether the database is asked anything.
    pub(in super::super) fn are_any(&self) -> bool {
        !self.all.is_empty()
    }

    /// What is held of each entity; `None` where all rows are everyone's. To be asked behind
    /// statements that have the team's queries planned as ever.
    ///
    /// # Errors
    /// The database failed, or somebody holds more values than are looked up.
    pub(in super::super) async fn answers(
        &self,
        link: &Link,
        key: &CodeKey,
    ) -> Result<Vec<Option<Now>>, StorageError> {
        let mut answers: Vec<Vec<Option<Vec<Vec<u8>>>>> = (self.entities.iter())
            .map(|(_, table)| vec![None; table.scoped().map_or(0, |it| it.0.conditions.len())])
            .collect();
        if !self.all.is_empty() {
            let asked = self.all.iter().map(|question| question.ask(link));
            let found = try_join_all(asked).await?;
            for (question, found) in self.all.iter().zip(found) {
                let place = answers.get_mut(question.entity);
                if let Some(place) = place.and_then(|of| of.get_mut(question.condition)) {
                    *place = Some(found);
                }
            }
        }
        let mut all = Vec::new();
        for ((name, table), answers) in self.entities.iter().zip(answers) {
            let scoped = table.scoped();
            let now = scoped.map(|(scope, _)| scope.now(key, name, self.asking, answers));
            if now.as_ref().is_some_and(|now| now.is_over) {
                return Err(self.asking.too_many(name));
            }
            all.push(now);
        }
        Ok(all)
    }
}

impl Question {
    async fn ask(&self, link: &Link) -> Result<Vec<Vec<u8>>, StorageError> {
        let bound: Vec<&(dyn ToSql + Sync)> = self.bound.iter().map(|one| &**one as _).collect();
        let found = link.client.query(&self.statement, &bound).await;
        Ok(bytes(&link.noted(found, &self.doing)?))
    }
}
