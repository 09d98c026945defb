//! Whose a row is, and `write` and `write_to`: what of the rows in his scope a user may change, and
//! into what.
//!
//! Neither lets anybody at a row that is not in his scope: whether a row is there for him is
//! asked first, and by the scope alone. These are asked of rows that he may read, or has made.
#![allow(dead_code, reason = "pushes to PostgreSQL come on top of it")]

use tokio_postgres::Transaction;
use tokio_postgres::types::ToSql;

use super::columns::KeyColumn;
use super::entity::EntityTable;
use super::key::RawKey;
use super::pool::Link;
use super::scope::{Asks, ScopeSql};
use super::shape::Shape;
use super::statements::is_it;
use crate::resolved::{Scope, ServerEntity, ServerModel};
use crate::storage::lists::Asking;
use crate::storage::{Caller, StorageError};

const DOING: &str = "asking whose a row is";

/// A rule of the model about rows.
#[derive(Debug)]
enum Rule {
    /// Every row.
    Everyone,
    /// What must be asked of the row with a stored key, whose cells are the first parameters.
    Asked(Asks),
}

/// An entity's rules.
#[derive(Debug)]
pub(super) struct Writes {
    scope: Rule,
    before: Rule,
    /// `None`: it is the scope.
    after: Option<Rule>,
}

impl Writes {
    /// Compiles the rules of `entity`, whose scope is compiled.
    ///
    /// # Errors
    /// Something in them cannot be compared exactly, or does not exist.
    pub(super) async fn compile(
        tx: &Transaction<'_>,
        (model, entity): (&ServerModel, &ServerEntity),
        (shape, key): (&Shape, &[KeyColumn]),
        scope: Option<&ScopeSql>,
    ) -> Result<Self, StorageError> {
        let table = shape.sql();
        let rule = async |name: &str, scope: &Scope| {
            let whose = format!("`{}`: its `{name}`", entity.local.name);
            let compiled = ScopeSql::of(tx, &model.scopes, scope, shape, &whose).await?;
            Ok::<_, StorageError>(Rule::of(compiled.as_ref(), &table, key))
        };
        Ok(Self {
            scope: Rule::of(scope, &table, key),
            before: match &entity.write {
                Some(scope) => rule("write", scope).await?,
                None => Rule::Everyone,
            },
            after: match &entity.write_to {
                Some(scope) => Some(rule("write_to", scope).await?),
                None => None,
            },
        })
    }
}

impl Rule {
    fn of(scope: Option<&ScopeSql>, table: &str, key: &[KeyColumn]) -> Self {
        let Some(scope) = scope else {
            return Self::Everyone;
        };
        let asks = scope.predicate("r", key.len() + 1, "afield_list");
        let holds = format!(
            "SELECT EXISTS (SELECT FROM {table} r WHERE {} AND {})",
            is_it(key),
            asks.sql
        );
        Self::Asked(asks.whole(&holds))
    }
}

impl EntityTable {
    /// Whether there is a row with this stored key and it is in the caller's scope.
    pub(super) async fn is_in_scope(
        &self,
        link: &Link,
        caller: &Caller,
        key: &RawKey,
    ) -> Result<bool, StorageError> {
        match &self.writes.scope {
            Rule::Everyone => Ok(self.find_stored(link, key).await?.is_some()),
            rule => self.asked(link, caller, rule, key).await,
        }
    }

    /// Whether a row in the caller's scope may be changed and deleted by him.
    pub(super) async fn may_write(
        &self,
        link: &Link,
        caller: &Caller,
        key: &RawKey,
    ) -> Result<bool, StorageError> {
        self.asked(link, caller, &self.writes.before, key).await
    }

    /// Whether the caller may leave the row as it is now, having written it.
    pub(super) async fn may_become(
        &self,
        link: &Link,
        caller: &Caller,
        key: &RawKey,
    ) -> Result<bool, StorageError> {
        match &self.writes.after {
            Some(rule) => self.asked(link, caller, rule, key).await,
            None => self.is_in_scope(link, caller, key).await,
        }
    }

    /// What a rule says of the row with a stored key.
    async fn asked(
        &self,
        link: &Link,
        caller: &Caller,
        rule: &Rule,
        key: &RawKey,
    ) -> Result<bool, StorageError> {
        let Rule::Asked(asks) = rule else {
            return Ok(true);
        };
        let asking = Asking {
            caller,
            chosen: &[],
            values_max: usize::MAX,
        };
        let cells = key.0.iter().zip(&self.key);
        let cells: Vec<_> = cells.map(|(cell, key)| key.column.stored(cell)).collect();
        let bound = asks.bound(asking);
        let mut parameters: Vec<&(dyn ToSql + Sync)> = cells.iter().map(|cell| cell as _).collect();
        parameters.extend(bound.iter().map(|one| &**one as &(dyn ToSql + Sync)));
        Ok(link.query_one(&asks.sql, &parameters, DOING).await?.get(0))
    }
}
