//! The query of a scope, as the team wrote it, inside larger statements.
//!
//! It is prepared by itself first: only what is one whole statement there can be trusted to stay
//! between its parentheses. What PostgreSQL takes its parameters for is written behind them, so
//! that they mean the same wherever it stands.

use std::collections::HashMap;

use tokio_postgres::Transaction;
use tokio_postgres::types::Type as SqlType;

use super::super::error::{While, lasting};
use super::super::query::parameters::{numbered, replaced};
use super::asks::{Holes, Token};
use super::class::{Class, Compared};
use super::fill::Fill;
use crate::resolved::NamedScope;
use crate::storage::StorageError;

/// A query and what is known of it.
#[derive(Clone, Debug)]
pub(super) struct TeamQuery {
    sql: String,
    /// The type of each parameter.
    fills: HashMap<String, Fill>,
    /// The type of its one column.
    found: SqlType,
}

impl TeamQuery {
    /// Asks PostgreSQL what a query is; `value` is what it is asked about, if it is one of a
    /// chosen scope.
    ///
    /// # Errors
    /// It is no query of one column that only reads, or its parameters are of types that a token
    /// cannot say.
    pub(super) async fn read(
        tx: &Transaction<'_>,
        scope: &NamedScope,
        value: Option<&Compared>,
    ) -> Result<Self, StorageError> {
        let name = &scope.name;
        let doing = format!("reading the query of the scope `{name}`");
        let sql = bare(&scope.query).to_owned();
        let wrong = |what: String| lasting(format!("{doing}: {what}"));
        if sql.contains('\0') {
            return Err(wrong("it has a zero byte".to_owned()));
        }
        let asked = match value {
            None => sql.clone(),
            Some(value) => with_value(&sql, &format!("(NULL::{})", value.class.sql())),
        };
        let numbered = numbered(&asked).map_err(|(_, what)| wrong(format!("it {what}")))?;
        for parameter in &numbered.names {
            if Self::token(parameter).is_none() {
                return Err(lasting(format!(
                    "the query of the scope `{name}` has the parameter `:{parameter}`; there are \
                     `:user` and `:claim_NAME`"
                )));
            }
        }
        let statement = tx.prepare(&numbered.sql).await.while_(&doing)?;
        let [column] = statement.columns() else {
            return Err(lasting(format!(
                "the query of the scope `{name}` must be a SELECT of one column"
            )));
        };
        let mut fills = HashMap::new();
        for (parameter, kind) in numbered.names.iter().zip(statement.params()) {
            let own = (kind.schema() == "pg_catalog").then(|| Fill::of_type(kind.name()));
            let fill = own.flatten().ok_or_else(|| {
                wrong(format!(
                    "`:{parameter}` stands where PostgreSQL takes it for a `{}`, which a token \
                     does not say; cast it there: `:{parameter}::text`",
                    kind.name()
                ))
            })?;
            fills.insert(parameter.clone(), fill);
        }
        let found = column.type_().clone();
        let read = Self { sql, fills, found };
        read.only_reads(tx, value, &doing).await?;
        Ok(read)
    }

    /// Fails if it would write or lock anything: a read-only transaction begins it, with nothing to
    /// find.
    async fn only_reads(
        &self,
        tx: &Transaction<'_>,
        value: Option<&Compared>,
        doing: &str,
    ) -> Result<(), StorageError> {
        let value = value.map(|value| format!("(NULL::{})", value.class.sql()));
        let sql = self.with(|_, fill| format!("(NULL::{})", fill.sql), value.as_deref());
        let begin = "SAVEPOINT afield_query; SET LOCAL transaction_read_only = on";
        tx.batch_execute(begin).await.while_(doing)?;
        let sql = format!("SELECT FROM (\n{sql}\n) AS afield_query LIMIT 0");
        tx.execute(&sql, &[]).await.while_(doing)?;
        let end = "ROLLBACK TO afield_query; RELEASE afield_query";
        tx.batch_execute(end).await.while_(doing)
    }

    /// The class of what it finds.
    pub(super) fn class(&self) -> Option<Class> {
        Class::of_type(&self.found)
    }

    /// The name of the type that it finds.
    pub(super) fn type_name(&self) -> &str {
        self.found.name()
    }

    /// The query with its parameters.
    pub(super) fn sql(&self, holes: &mut Holes, value: Option<&str>) -> String {
        let hole = |name: &str, fill| match Self::token(name) {
            Some(token) => holes.token(token, fill),
            None => "NULL".to_owned(),
        };
        self.with(hole, value)
    }

    /// Whether `answer`, a value that it found, says yes: it is neither null nor false nor 0, so
    /// that `SELECT EXISTS (…)` and `SELECT count(*) …` mean what they say.
    pub(super) fn says_yes(&self, answer: &str) -> String {
        match self.found.name() {
            "bool" => answer.to_owned(),
            "int2" | "int4" | "int8" | "numeric" | "float4" | "float8" => {
                format!("{answer} OPERATOR(pg_catalog.<>) 0")
            }
            _ => format!("{answer} IS NOT NULL"),
        }
    }

    fn with(&self, mut hole: impl FnMut(&str, Fill) -> String, value: Option<&str>) -> String {
        replaced(&self.sql, |name| match (self.fills.get(name), value) {
            (Some(fill), _) => hole(name, *fill),
            (None, Some(value)) => value.to_owned(),
            // It was read, so every other name is known.
            (None, None) => "NULL".to_owned(),
        })
    }

    fn token(name: &str) -> Option<Token> {
        match name.strip_prefix("claim_") {
            Some(claim) => Some(Token::Claim(claim.to_owned())),
            None => (name == "user").then_some(Token::User),
        }
    }
}

/// A query with `value` in the place of `:value`.
fn with_value(sql: &str, value: &str) -> String {
    replaced(sql, |name| match name {
        "value" => value.to_owned(),
        name => format!(":{name}"),
    })
}

/// A query without the semicolons at its end, where it becomes part of another.
fn bare(query: &str) -> &str {
    query.trim_end_matches(|c: char| c == ';' || c.is_whitespace())
}
