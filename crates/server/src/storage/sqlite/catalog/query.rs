//! Asks SQLite about the query of a scope: it is prepared and never run.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, Error, Statement};

use super::{CatalogError, open};
use crate::catalog::{Queries, QueryColumn, QueryProblem, QueryShape};

/// An SQLite database that is asked about queries, on a connection of its own that can only read.
#[derive(Debug)]
pub struct SqliteQueries {
    connection: Connection,
    seen: Arc<Mutex<Seen>>,
}

/// What SQLite asked to be allowed while it prepared a statement.
#[derive(Debug, Default)]
struct Seen {
    tables: BTreeSet<String>,
    /// The first thing that was not allowed.
    refused: Option<&'static str>,
}

impl SqliteQueries {
    /// Opens the database file for reading only.
    ///
    /// # Errors
    /// There is no such file, or it is no SQLite database.
    pub fn open(path: &Path) -> Result<Self, CatalogError> {
        Self::new(open(path)?)
    }

    /// Asks over this connection, which then allows nothing but queries.
    ///
    /// # Errors
    /// SQLite takes no authorizer.
    pub fn new(mut connection: Connection) -> Result<Self, CatalogError> {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let noted = Arc::clone(&seen);
        connection.authorizer(Some(move |asked: AuthContext<'_>| {
            let mut seen = noted.lock().unwrap_or_else(PoisonError::into_inner);
            seen.allow(asked.action)
        }))?;
        Ok(Self { connection, seen })
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prepared(&self, sql: &str) -> Result<Statement<'_>, QueryProblem> {
        *self.seen() = Seen::default();
        let prepared = self.connection.prepare(sql);
        if let Some(refused) = self.seen().refused {
            return Err(problem(refused));
        }
        prepared.map_err(|error| match error {
            Error::MultipleStatement => problem(
                "holds several statements; write one SELECT, and combine with UNION what must be",
            ),
            Error::SqlInputError { msg, offset, .. } => QueryProblem {
                at: usize::try_from(offset).ok(),
                message: format!("SQLite says: {msg}"),
            },
            Error::SqliteFailure(_, Some(message)) => problem(&format!("SQLite says: {message}")),
            other => problem(&format!("SQLite says: {other}")),
        })
    }
}

impl Queries for SqliteQueries {
    fn describe(&self, sql: &str) -> Result<QueryShape, QueryProblem> {
        let statement = self.prepared(sql)?;
        if statement.column_count() == 0 {
            return Err(problem("finds nothing; write a SELECT of one column"));
        }
        if !statement.readonly() || statement.is_explain() != 0 {
            return Err(problem(ONLY_QUERIES));
        }
        let mut shape = QueryShape {
            columns: columns(&statement),
            parameters: parameters(&statement),
            tables: self.seen().tables.iter().cloned().collect(),
            scanned: Vec::new(),
        };
        drop(statement);
        // Pulls put it into larger statements.
        if self
            .prepared(&format!("SELECT * FROM (\n{sql}\n)"))
            .is_err()
        {
            return Err(problem(
                "cannot stand in parentheses as a part of a larger query; write one plain SELECT",
            ));
        }
        shape.scanned = self.scanned(sql)?;
        Ok(shape)
    }
}

impl SqliteQueries {
    /// What the plan of a query reads as a whole.
    fn scanned(&self, sql: &str) -> Result<Vec<String>, QueryProblem> {
        let mut statement = self.prepared(&format!("EXPLAIN QUERY PLAN\n{sql}"))?;
        let steps = statement.raw_query().mapped(|row| row.get::<_, String>(3));
        let mut found: Vec<String> = Vec::new();
        for step in steps {
            let step = step.map_err(|error| problem(&format!("SQLite says: {error}")))?;
            let scanned = step.strip_prefix("SCAN ");
            let automatic = || {
                step.strip_prefix("SEARCH ")
                    .filter(|it| it.contains(" AUTOMATIC "))
            };
            let Some(rest) = scanned.or_else(automatic) else {
                continue;
            };
            let name = rest.split(" USING ").next().unwrap_or(rest);
            let is_table = !name.starts_with('(') && name != "CONSTANT ROW";
            if is_table && !found.iter().any(|known| known == name) {
                found.push(name.to_owned());
            }
        }
        Ok(found)
    }
}

const ONLY_QUERIES: &str =
    "does something other than reading; write one SELECT, which changes nothing";

impl Seen {
    fn allow(&mut self, action: AuthAction<'_>) -> Authorization {
        let refused = match action {
            AuthAction::Select | AuthAction::Recursive => return Authorization::Allow,
            AuthAction::Function { function_name }
                if !function_name.eq_ignore_ascii_case("load_extension") =>
            {
                return Authorization::Allow;
            }
            AuthAction::Read { table_name, .. } if !is_own(table_name) => {
                self.tables.insert(table_name.to_owned());
                return Authorization::Allow;
            }
            AuthAction::Read { .. } => {
                "reads Afield's own bookkeeping, which changes with every sync; read the team's \
                 tables"
            }
            _ => ONLY_QUERIES,
        };
        self.refused.get_or_insert(refused);
        Authorization::Deny
    }
}

fn is_own(table: &str) -> bool {
    let start = table.get(..7);
    start.is_some_and(|start| start.eq_ignore_ascii_case("afield_"))
}

fn columns(statement: &Statement<'_>) -> Vec<QueryColumn> {
    let columns = statement.columns_with_metadata().map(|column| QueryColumn {
        name: column.name().to_owned(),
        origin: column
            .table_name()
            .zip(column.origin_name())
            .map(|(table, name)| (table.to_owned(), name.to_owned())),
    });
    columns.collect()
}

fn parameters(statement: &Statement<'_>) -> Vec<String> {
    let numbers = 1..=statement.parameter_count();
    let names = numbers.map(|at| statement.parameter_name(at).unwrap_or("?").to_owned());
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn problem(message: &str) -> QueryProblem {
    QueryProblem {
        at: None,
        message: message.to_owned(),
    }
}
