//! The app's own SQL.

use std::collections::BTreeMap;

use afield_protocol::{Code, Value};
use rusqlite::Statement;
use rusqlite::fallible_iterator::FallibleIterator as _;

use super::sql::{Bound, values};
use super::{Store, Transaction};
use crate::error::Error;

/// Parameters of a statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Params {
    /// `?1`, `?2`, …
    Positional(Vec<Value>),
    /// `:name`, `@name` or `$name`, without the sign.
    Named(BTreeMap<String, Value>),
}

impl Params {
    /// No parameters.
    pub fn none() -> Self {
        Self::Positional(Vec::new())
    }
}

impl<const N: usize> From<[Value; N]> for Params {
    fn from(values: [Value; N]) -> Self {
        Self::Positional(values.into())
    }
}

/// What a query found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    /// Column names.
    pub columns: Vec<String>,
    /// Rows, each with a value for every column.
    pub rows: Vec<Vec<Value>>,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The table; an entity's name, if it is one.
    pub table: String,
    /// The column.
    pub column: String,
}

/// What a statement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Executed {
    /// Rows inserted, updated or deleted by the statements themselves.
    pub rows_changed: u64,
    /// The rowid of the row inserted last, if a statement inserted one.
    pub last_insert_id: Option<i64>,
}

impl Store {
    /// Whether this is one statement that reads and gives rows, as [`Store::query`] takes it.
    pub fn is_query(&self, sql: &str) -> bool {
        let statement = self.db.conn.prepare(sql);
        statement.is_ok_and(|statement| statement.readonly() && statement.column_count() > 0)
    }

    /// Runs a query that writes nothing.
    ///
    /// # Errors
    /// The statement is wrong, or writes.
    pub fn query(&self, sql: &str, params: &Params) -> Result<Rows, Error> {
        let mut statement = self.db.conn.prepare_cached(sql)?;
        // SQLite counts BEGIN, SAVEPOINT and some pragmas among what reads; they have no columns.
        if !statement.readonly() || statement.column_count() == 0 {
            let message = "a query may not write; execute the statement instead";
            return Err(Error::new(Code::SQL, message));
        }
        read(&mut statement, params)
    }

    /// Where each column of a query comes from, if from a table's column and not an expression.
    ///
    /// # Errors
    /// The statement is wrong.
    pub fn origins(&self, sql: &str) -> Result<Vec<Option<Origin>>, Error> {
        // Prepared now, so that it is of the tables as they are.
        let statement = self.db.conn.prepare(sql)?;
        let origins = statement.columns_with_metadata().map(|column| {
            Some(Origin {
                table: column.table_name()?.to_owned(),
                column: column.origin_name()?.to_owned(),
            })
        });
        Ok(origins.collect())
    }
}

impl Transaction<'_> {
    /// Runs a query.
    ///
    /// # Errors
    /// The statement is wrong.
    pub fn query(&self, sql: &str, params: &Params) -> Result<Rows, Error> {
        read(&mut *self.db.conn.prepare_cached(sql)?, params)
    }

    /// Runs one or several statements, separated by `;`. Parameters are given to each of them.
    ///
    /// # Errors
    /// A statement is wrong or refused, or tries to end the transaction. What the statements
    /// before it wrote stays in the transaction, which fails as a whole when the step passes the
    /// error on.
    pub fn execute(&mut self, sql: &str, params: &Params) -> Result<Executed, Error> {
        let mut inserted = false;
        let mut rows_changed = 0;
        let mut batch = rusqlite::Batch::new(&self.db.conn, sql);
        while let Some(mut statement) = batch.next()? {
            bind(&mut statement, params)?;
            inserted |= starts_with_insert(statement.expanded_sql().unwrap_or_default().as_str());
            let writes = !statement.readonly();
            let mut rows = statement.raw_query();
            while rows.next()?.is_some() {}
            drop(rows);
            if writes {
                rows_changed += self.db.conn.changes();
            }
            if self.db.conn.is_autocommit() {
                return Err(super::db::ended_transaction());
            }
        }
        let id = inserted.then(|| self.db.conn.last_insert_rowid());
        Ok(Executed {
            rows_changed,
            last_insert_id: id,
        })
    }
}

fn starts_with_insert(sql: &str) -> bool {
    let word = sql
        .trim_start()
        .get(..7)
        .unwrap_or_default()
        .to_ascii_lowercase();
    word.starts_with("insert") || word == "replace"
}

fn read(statement: &mut Statement<'_>, params: &Params) -> Result<Rows, Error> {
    bind(statement, params)?;
    let mut rows = statement.raw_query();
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let width = row.as_ref().column_count();
        found.push(values(row, 0, width)?);
    }
    drop(rows);
    // Only now: a statement that was kept learns in its first step that a table has changed.
    let columns = statement.column_names().map(str::to_owned);
    Ok(Rows {
        columns: columns.collect(),
        rows: found,
    })
}

fn bind(statement: &mut Statement<'_>, params: &Params) -> Result<(), Error> {
    match params {
        Params::Positional(values) => {
            let wanted = statement.parameter_count();
            if values.len() < wanted {
                let message = format!(
                    "the statement has {wanted} parameters, {} were given",
                    values.len()
                );
                return Err(Error::new(Code::SQL, message));
            }
            for (at, value) in values.iter().take(wanted).enumerate() {
                statement.raw_bind_parameter(at + 1, Bound(value.as_ref()))?;
            }
        }
        Params::Named(values) => {
            for at in 1..=statement.parameter_count() {
                let name = statement.parameter_name(at).unwrap_or_default();
                let value = values.get(name.trim_start_matches([':', '@', '$']));
                let value = value.ok_or_else(|| {
                    Error::new(Code::SQL, format!("the parameter `{name}` has no value"))
                })?;
                let value = value.clone();
                statement.raw_bind_parameter(at, Bound(value.as_ref()))?;
            }
        }
    }
    Ok(())
}
