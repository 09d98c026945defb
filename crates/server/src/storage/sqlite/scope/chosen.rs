//! Scopes whose values the app chooses: what the query allows, as SQL.
//!
//! ```text
//!   pull:  values that the device chose ──► those that the query allows ──► path ──► column
//!   push:  the row's own column ──► path ──► its value ──► does the query allow it?
//! ```
//!
//! A pull holds what is chosen *and* allowed. Who may write a row is asked of the row's own value:
//! rights never depend on what a device happens to have open.
//!
//! The query is asked about an expression, not a parameter, so that one statement asks about many
//! values. The expression is a `CASE`, which has neither a type nor a collation of its own: it is
//! compared exactly as a bound value would be, by a pull and by a push.

use std::rc::Rc;

use afield_protocol::zoo::planted;
use afield_protocol::{Chosen, Type, Value};
use rusqlite::types::Value as Bound;
use rusqlite::{Connection, Statement};

use super::super::cell::{Form, Spelling};
use super::super::error::{While, lasting};
use super::super::raw::Raw;
use super::super::schema::Affinity;
use super::super::sql_text::{quote, with_expression};
use super::{bare, now, stored_as};
use crate::resolved::{Hop, NamedScope};
use crate::storage::StorageError;

/// The values of one scope that a device chose, as a list.
const PARAMETER: &str = ":afield_chosen";

/// A chosen scope, where a condition names it.
#[derive(Debug)]
pub(super) struct ChosenSql {
    scope: String,
    form: Form,
    query: String,
}

impl ChosenSql {
    /// `None` if the scope is none whose values are chosen.
    pub(super) fn of(scope: Option<&NamedScope>) -> Option<Self> {
        let scope = scope?;
        Some(Self {
            scope: scope.name.clone(),
            form: Form {
                kind: scope.chosen?,
                scale: None,
                spelling: Spelling::Canonical,
                affinity: Affinity::Blob,
                declared: String::new(),
                is_bounded: false,
            },
            query: bare(&scope.query).to_owned(),
        })
    }

    /// Lists the values that are chosen and allowed, in the form of a column of `affinity`.
    pub(super) fn list(&self, affinity: Affinity) -> String {
        format!(
            "SELECT v FROM (SELECT {} AS v FROM (SELECT value AS v FROM rarray({PARAMETER}))) \
             AS afield_value WHERE v IS NOT NULL AND v IS NOT x'' AND {}",
            stored_as(affinity),
            match planted("server-chosen-unchecked") {
                true => "1".to_owned(),
                false => self.allows("afield_value.v"),
            },
        )
    }

    /// The condition that the value behind a row's own `column` is allowed.
    pub(super) fn is_allowed(&self, column: &str, path: &[Hop]) -> String {
        if planted("server-push-counts-nothing-as-chosen") {
            return "0".to_owned();
        }
        let mut value = "afield_own.v".to_owned();
        // Without a FROM of its own, the name of the column can only mean that of the row.
        let mut from = format!("(SELECT {} AS v) AS afield_own", quote(column));
        for (at, hop) in path.iter().enumerate() {
            let alias = format!("afield_hop{at}");
            from.push_str(&format!(
                " JOIN {} AS {alias} ON {alias}.{} = {value}",
                quote(&hop.table),
                quote(&hop.key)
            ));
            value = format!("{alias}.{}", quote(&hop.column));
        }
        format!(
            "EXISTS (SELECT 1 FROM {from} WHERE {value} IS NOT NULL AND {value} IS NOT x'' AND {})",
            self.allows(&value)
        )
    }

    /// Whether the query says yes to `value`: with a row that is neither null nor 0, so that
    /// `SELECT EXISTS (…)` and `SELECT count(*) …` mean what they say.
    fn allows(&self, value: &str) -> String {
        let value = format!("(CASE WHEN 1 THEN {value} END)");
        format!(
            "EXISTS (WITH afield_answer (v) AS (\n{}\n) \
             SELECT 1 FROM afield_answer WHERE v IS NOT NULL AND +v <> 0)",
            with_expression(&self.query, "value", &value)
        )
    }

    /// Binds what the device chose, in each form in which a column may have it; what has another
    /// type is nothing that anybody holds.
    pub(super) fn bind(
        &self,
        statement: &mut Statement<'_>,
        chosen: &[Chosen],
    ) -> rusqlite::Result<()> {
        let Some(at) = statement.parameter_index(PARAMETER)? else {
            return Ok(());
        };
        let of_it = chosen.iter().filter(|chosen| chosen.scope == self.scope);
        let values: Vec<Raw> = of_it
            .flat_map(|chosen| &chosen.values)
            .filter(|value| !value.is_null() && self.form.kind.accepts(value.as_ref()))
            .flat_map(|value| self.stored(value))
            .collect();
        let values: Rc<Vec<Bound>> = now::bound(values.iter());
        statement.raw_bind_parameter(at, values)
    }

    fn stored(&self, value: &Value) -> Vec<Raw> {
        match self.form.spellings() {
            [] => vec![self.form.write(value)],
            all => all
                .iter()
                .map(|it| self.form.write_as(*it, value))
                .collect(),
        }
    }

    /// Fails on a query that cannot be asked.
    pub(super) fn check(&self, conn: &Connection, whose: &str) -> Result<(), StorageError> {
        let scope = &self.scope;
        if matches!(self.form.kind, Type::Real | Type::Bytes | Type::Json)
            || self.query.to_ascii_lowercase().contains("afield_")
        {
            return Err(lasting(format!(
                "{whose}: the scope `{scope}` has values or names that cannot be asked about"
            )));
        }
        let sql = format!("SELECT {}", self.allows("NULL"));
        let statement = conn
            .prepare(&sql)
            .while_(&format!("reading the query of the scope `{scope}`"))?;
        let mut asked = 1..=statement.parameter_count();
        if asked.any(|at| statement.parameter_name(at) == Some(":value")) {
            return Err(lasting(format!(
                "{whose}: `:value` stands where it cannot be asked in the scope `{scope}`"
            )));
        }
        Ok(())
    }
}
