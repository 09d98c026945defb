//! Scopes: which rows of an entity are whose, as SQL over the team's tables.
//!
//! ```text
//!   pull:  what is held ──► keys of the rows that have it ──► … ──► values of the row's own column
//!   push:  the row's own column ──► rows it leads to ──► … ──► is it held?
//! ```
//!
//! What could go wrong here, and why it does not:
//!
//! - A token's text becomes SQL, or makes the database fail: it is bound, as the type's own bytes,
//!   which are made here; what is no value of the type is null ([`fill`]).
//! - Two values are equal in one place and not in another: each class has one form, and what has
//!   none is refused ([`class`]).
//! - A name means another table or operator by the search path: ours are written with their schema.
//! - A team's query sees the columns of the row that it is asked about, and changes its meaning: it
//!   stands in a `WITH` of the whole statement.
//! - Two orders of text cannot be compared: that of the column which is sought is named.

mod asks;
mod check;
mod chosen;
mod class;
mod fill;
mod now;
mod pull;
mod query;
mod questions;
mod statements;
#[cfg(test)]
mod tests;

use std::ops::Range;

use tokio_postgres::Transaction;

pub(super) use self::asks::{Asks, Bound};
use self::asks::{Holes, Token};
use self::check::{Ends, Step};
use self::chosen::ChosenSql;
pub(super) use self::class::Compared;
pub(super) use self::now::Now;
pub(super) use self::pull::ScopedPull;
pub(super) use self::questions::Questions;
pub(super) use self::statements::ByValue;
use super::shape::Shape;
use crate::resolved::{NamedScope, Scope, ServerEntity};
use crate::storage::StorageError;

/// An entity's scope over its table.
#[derive(Debug)]
pub(super) struct ScopeSql {
    /// The columns of the row itself that decide, each once and in the table's order: what marks
    /// carry, in this order.
    pub columns: Vec<Compared>,
    /// The conditions of all ways in, one after another.
    pub conditions: Vec<ConditionSql>,
    /// Which conditions each way in has.
    pub ways: Vec<Range<usize>>,
    /// The tables that say what is held, by name in SQL and oid, as far as they are known.
    pub tables: Vec<(String, u32)>,
}

/// A condition.
#[derive(Debug)]
pub(super) struct ConditionSql {
    /// Where its column stands in [`ScopeSql::columns`].
    pub column: usize,
    /// The way that it belongs to.
    pub way: usize,
    /// The steps from the row's column to the value.
    path: Vec<Step>,
    /// The value's column: the row's own, or that of the last step.
    last: Compared,
    holds: HoldsSql,
    /// Lists the values that are held, as bytes; see [`ScopeSql::asked`].
    list: Option<Asks>,
}

/// Where what is held comes from.
#[derive(Debug)]
enum HoldsSql {
    Token(Token),
    Query(query::TeamQuery),
    Chosen(ChosenSql),
}

impl ScopeSql {
    /// Compiles the scope of `entity`; `None` if all rows are everyone's.
    ///
    /// # Errors
    /// Something in it cannot be compared exactly, or does not exist.
    pub(super) async fn compile(
        tx: &Transaction<'_>,
        scopes: &[NamedScope],
        entity: &ServerEntity,
        shape: &Shape,
    ) -> Result<Option<Self>, StorageError> {
        check::told(entity)?;
        let whose = format!("`{}`: its scope", entity.local.name);
        Self::of(tx, scopes, &entity.scope, shape, &whose).await
    }

    /// Compiles one of the rules about whose rows these are; `whose` begins what is said of it.
    ///
    /// # Errors
    /// As [`ScopeSql::compile`].
    pub(super) async fn of(
        tx: &Transaction<'_>,
        scopes: &[NamedScope],
        scope: &Scope,
        shape: &Shape,
        whose: &str,
    ) -> Result<Option<Self>, StorageError> {
        let Scope::Ways(ways) = scope else {
            return Ok(None);
        };
        let columns = check::columns(whose, shape, scope)?;
        let mut compiled = Self {
            columns,
            conditions: Vec::new(),
            ways: Vec::new(),
            tables: Vec::new(),
        };
        for (way, conditions) in ways.iter().enumerate() {
            let first = compiled.conditions.len();
            for condition in conditions {
                let known = |column: &Compared| column.name == condition.column;
                let column = compiled.columns.iter().position(known).unwrap_or(0);
                let own = compiled.columns[column].clone();
                let Ends { path, last } = check::ends(tx, whose, shape, &own, condition).await?;
                compiled
                    .tables
                    .extend(path.iter().map(|step| (step.table.clone(), step.oid)));
                let holds = check::holds(tx, whose, scopes, &last, condition).await?;
                let condition = ConditionSql {
                    column,
                    way,
                    path,
                    last: last.column,
                    holds,
                    list: None,
                };
                let list = condition.list(&own);
                check::can_be_asked(tx, whose, &list).await?;
                compiled.conditions.push(ConditionSql {
                    list: Some(list),
                    ..condition
                });
            }
            compiled.ways.push(first..compiled.conditions.len());
        }
        check::can_be_told(tx, whose, shape, &compiled).await?;
        Ok(Some(compiled))
    }

    /// Whether queries of the team's say what is held.
    pub(super) fn has_queries(&self) -> bool {
        let mut holds = self.conditions.iter().map(|condition| &condition.holds);
        holds.any(|holds| !matches!(holds, HoldsSql::Token(_)))
    }

    /// Whether the app on a device chooses values of it.
    pub(super) fn is_chosen(&self) -> bool {
        let mut holds = self.conditions.iter().map(|condition| &condition.holds);
        holds.any(|holds| matches!(holds, HoldsSql::Chosen(_)))
    }

    /// The condition over `row`, a row of the table by its alias, that it is in the caller's scope:
    /// of values that are chosen, any that he may choose. Its parameters are numbered from `first`
    /// on; `name` is what the names of its `WITH` begin with, and another one for each condition of
    /// a statement.
    pub(super) fn predicate(&self, row: &str, first: usize, name: &str) -> Asks {
        let mut holes = Holes::from(first);
        let mut with = Vec::new();
        let mut ways = Vec::new();
        for way in &self.ways {
            let conditions = self.conditions.get(way.clone()).unwrap_or(&[]);
            let mut all = Vec::new();
            for condition in conditions {
                let own = &self.columns[condition.column];
                let list = format!("{name}{}", with.len());
                all.push(condition.is_held(own, row, &mut holes, (&mut with, &list)));
            }
            ways.push(format!("({})", all.join(" AND ")));
        }
        holes.asks(format!("({})", ways.join(" OR ")), with)
    }
}

impl ConditionSql {
    /// Lists the values of the row's own column, as bytes, that lead to what is held; perhaps some
    /// of them twice.
    fn list(&self, own: &Compared) -> Asks {
        let mut holes = Holes::from(1);
        let with = format!(
            "afield_held (afield_v) AS (\n{}\n)",
            self.values(&mut holes)
        );
        let mut found = "SELECT afield_held.afield_v FROM afield_held".to_owned();
        let mut sought = "h.afield_v".to_owned();
        for step in self.path.iter().rev() {
            let wanted = format!(
                "SELECT {} FROM ({found}) AS h (afield_v)",
                step.column.sought(&sought)
            );
            found = format!(
                "SELECT {} FROM {} AS r WHERE {} OPERATOR(pg_catalog.=) ANY ({wanted})",
                step.key.cell("r"),
                step.table,
                step.column.cell("r"),
            );
            sought = "h.afield_v".to_owned();
        }
        let found = format!(
            "WITH {with} SELECT {} FROM (SELECT {} FROM ({found}) AS h (afield_v)) AS o (afield_v) \
             WHERE o.afield_v IS NOT NULL",
            own.class.identity("o.afield_v"),
            own.sought(&sought),
        );
        holes.asks(found, Vec::new())
    }

    /// The condition over a row that what its own column leads to is held.
    fn is_held(
        &self,
        own: &Compared,
        row: &str,
        holes: &mut Holes,
        (with, list): (&mut Vec<String>, &str),
    ) -> String {
        let mut value = own.cell(row);
        let mut from = Vec::new();
        let mut leads = Vec::new();
        for (at, step) in self.path.iter().enumerate() {
            let alias = format!("afield_hop{at}");
            leads.push(format!(
                "{} OPERATOR(pg_catalog.=) {}",
                step.key.cell(&alias),
                step.key.sought(&value)
            ));
            from.push(format!("{} AS {alias}", step.table));
            value = step.column.cell(&alias);
        }
        let is_held = match &self.holds {
            HoldsSql::Chosen(chosen) => chosen.is_allowed(&self.last, &value, holes),
            _ => {
                let values = self.values(holes);
                with.push(format!("{list} (afield_v) AS (\n{values}\n)"));
                let sought = self.last.sought(&format!("{list}.afield_v"));
                format!("{value} OPERATOR(pg_catalog.=) ANY (SELECT {sought} FROM {list})")
            }
        };
        if from.is_empty() {
            return is_held;
        }
        leads.push(is_held);
        let (from, leads) = (from.join(", "), leads.join(" AND "));
        format!("EXISTS (SELECT FROM {from} WHERE {leads})")
    }

    /// The query for the values that are held at the end of the path.
    fn values(&self, holes: &mut Holes) -> String {
        let class = &self.last.class;
        match &self.holds {
            HoldsSql::Token(token) => {
                let given = holes.token(token.clone(), class.fill());
                format!("SELECT {}", class.taken(&given))
            }
            HoldsSql::Query(query) => format!(
                "SELECT {} FROM (\n{}\n) AS q (afield_v)",
                class.plain("q.afield_v"),
                query.sql(holes, None)
            ),
            HoldsSql::Chosen(chosen) => chosen.list(&self.last, holes),
        }
    }
}
