//! `write` and `write_to`: what of the rows in his scope a user may change, and into what.
//!
//! Neither lets anybody at a row that is not in his scope: whether a row is there for him is
//! asked first, and by the scope alone. These are asked of rows that he may read, or has made.

use rusqlite::Connection;

use super::entity::EntityTable;
use super::raw::Raw;
use super::schema::TableSchema;
use super::scope::ScopeSql;
use super::sql_text::quote;
use crate::resolved::{Scope, ServerEntity, ServerModel};
use crate::storage::{Caller, StorageError};

/// A rule of the model about the rows that a user may write.
#[derive(Debug)]
enum Rule {
    /// The model says nothing: it is the scope.
    Scope,
    /// Every row.
    Everyone,
    /// The statement that asks it of the row with a stored key.
    Asked(String),
}

/// An entity's rules.
#[derive(Debug)]
pub(super) struct Writes {
    before: Rule,
    after: Rule,
}

impl Writes {
    /// Compiles the rules of `entity`; `key_is` is the condition on a stored key.
    ///
    /// # Errors
    /// Something in them cannot be compared exactly, or does not exist.
    pub(super) fn compile(
        conn: &Connection,
        model: &ServerModel,
        entity: &ServerEntity,
        schema: &TableSchema,
        key_is: &str,
    ) -> Result<Self, StorageError> {
        let rule = |key: &str, scope: Option<&Scope>| {
            let Some(scope) = scope else {
                return Ok(Rule::Scope);
            };
            let whose = format!("`{}`: its `{key}`", entity.local.name);
            let compiled = ScopeSql::of(conn, &model.scopes, scope, schema, &whose)?;
            Ok(compiled.map_or(Rule::Everyone, |compiled| {
                let table = quote(&schema.name);
                let holds = compiled.predicate();
                Rule::Asked(format!(
                    "SELECT EXISTS (SELECT 1 FROM {table} WHERE {key_is} AND {holds})"
                ))
            }))
        };
        Ok(Self {
            before: rule("write", entity.write.as_ref())?,
            after: rule("write_to", entity.write_to.as_ref())?,
        })
    }
}

impl EntityTable {
    /// Whether a row in the caller's scope may be changed and deleted by him.
    pub(super) fn may_write(
        &self,
        conn: &Connection,
        caller: &Caller,
        raw_key: &[Raw],
    ) -> rusqlite::Result<bool> {
        match &self.writes.before {
            Rule::Scope | Rule::Everyone => Ok(true),
            Rule::Asked(sql) => self.asked(conn, caller, sql, raw_key),
        }
    }

    /// Whether the caller may leave the row as it is now, having written it.
    pub(super) fn may_become(
        &self,
        conn: &Connection,
        caller: &Caller,
        raw_key: &[Raw],
    ) -> rusqlite::Result<bool> {
        match &self.writes.after {
            Rule::Scope => self.is_in_scope(conn, caller, raw_key),
            Rule::Everyone => Ok(true),
            Rule::Asked(sql) => self.asked(conn, caller, sql, raw_key),
        }
    }
}
