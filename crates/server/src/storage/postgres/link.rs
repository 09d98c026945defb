//! A connection with its statements prepared, and how it plans.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use afield_protocol::Code;
use futures_util::FutureExt;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row, Statement};

use super::connect::connect;
use super::error::While;
use crate::model::file::PostgresUrl;
use crate::storage::StorageError;

/// How every connection is set. Cells travel in forms that do not depend on the role's settings.
/// Plans depend on no statistics: every statement of a pull is a few ranges of indexes, and what a
/// planner believes of a table that has just been filled must not change that.
const SETTINGS: &str = "
    SET TimeZone = 'UTC'; SET DateStyle = 'ISO'; SET IntervalStyle = 'postgres';
    SET bytea_output = 'hex'; SET extra_float_digits = 1; SET client_encoding = 'UTF8';
    SET jit = off; SET max_parallel_workers_per_gather = 0;
    SET plan_cache_mode = force_generic_plan;
    SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off;
    SET enable_hashjoin = off; SET enable_mergejoin = off; SET enable_hashagg = off;
    SET lock_timeout = '5s'; SET statement_timeout = '60s';
    SET idle_in_transaction_session_timeout = '60s';
    SET synchronous_commit = on; SET default_transaction_isolation = 'read committed'";

/// What a table may grow by before its statements are planned anew: a few pages.
const GROWS_BYTES: i64 = 64 * 1024;

/// For what is not ours, until the transaction ends: the team's queries and the catalogs are
/// planned as everywhere else.
const PLANNED_BY_RANGES: &str = "
    SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off;
    SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off;
    SET LOCAL enable_hashagg = off";

pub(super) const PLANNED_AS_EVER: &str = "
    SET LOCAL enable_seqscan = on; SET LOCAL enable_sort = on; SET LOCAL enable_bitmapscan = on;
    SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on; SET LOCAL enable_hashagg = on";

/// The same as [`PLANNED_AS_EVER`], as columns of a statement: for those that follow it.
pub(super) const AS_EVER: &str = "set_config('enable_seqscan', 'on', true), \
    set_config('enable_sort', 'on', true), set_config('enable_bitmapscan', 'on', true), \
    set_config('enable_hashjoin', 'on', true), set_config('enable_mergejoin', 'on', true), \
    set_config('enable_hashagg', 'on', true)";

/// The states of statements that fail because a table, or something that captures it, is another
/// one than when it was looked at.
const OF_OTHER_TABLES: [&str; 7] = [
    "0A000", "26000", "42703", "42804", "42883", "42P01", "42P18",
];

/// The states of a connection that ends.
const OF_AN_END: [&str; 4] = ["57P01", "57P02", "57P03", "25P03"];

/// A connection in a request's hands.
pub(super) struct Link {
    pub client: Client,
    /// The oid of its database.
    pub database: u32,
    statements: RefCell<HashMap<String, Statement>>,
    /// How large tables were, in bytes, when statements over them were planned.
    planned: RefCell<HashMap<u32, i64>>,
    /// The state of the last statement that failed.
    pub(super) failed: RefCell<Option<String>>,
    pub(super) is_open: Cell<bool>,
    /// Whether the transaction plans as ever.
    is_as_ever: Cell<bool>,
}

/// Parameters of a statement.
pub(super) type Parameters<'p> = &'p [&'p (dyn ToSql + Sync)];

impl Link {
    pub(super) async fn connect(url: &PostgresUrl) -> Result<Self, StorageError> {
        let client = connect(url).await?;
        client
            .batch_execute(SETTINGS)
            .await
            .while_("setting a connection up")?;
        let sql = "SELECT oid FROM pg_database WHERE datname = current_database()";
        let database = client.query_one(sql, &[]).await;
        let database = database.while_("setting a connection up")?.get(0);
        Ok(Self {
            client,
            database,
            statements: RefCell::default(),
            planned: RefCell::default(),
            failed: RefCell::default(),
            is_open: Cell::new(false),
            is_as_ever: Cell::new(false),
        })
    }

    /// The prepared form of a statement, which is planned by ranges.
    pub(super) async fn prepare(&self, sql: &str, doing: &str) -> Result<Statement, StorageError> {
        if self.is_as_ever.replace(false) {
            self.send(PLANNED_BY_RANGES);
        }
        let known = self.statements.borrow().get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.noted(self.client.prepare(sql).await, doing)?;
        let mut statements = self.statements.borrow_mut();
        statements.insert(sql.to_owned(), statement.clone());
        Ok(statement)
    }

    /// All rows of a statement, which says itself how many these are at most.
    pub(super) async fn query(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
        doing: &str,
    ) -> Result<Vec<Row>, StorageError> {
        let statement = self.prepare(sql, doing).await?;
        self.noted(self.client.query(&statement, parameters).await, doing)
    }

    /// The one row of a statement.
    pub(super) async fn query_one(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
        doing: &str,
    ) -> Result<Row, StorageError> {
        let statement = self.prepare(sql, doing).await?;
        self.noted(self.client.query_one(&statement, parameters).await, doing)
    }

    /// The number that a statement counts.
    pub(super) async fn counted(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
        doing: &str,
    ) -> Result<usize, StorageError> {
        let row = self.query_one(sql, parameters, doing).await?;
        let counted: i64 = row.get(0);
        Ok(usize::try_from(counted).unwrap_or(usize::MAX))
    }

    /// Runs a statement; gives how many rows it wrote.
    pub(super) async fn execute(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
        doing: &str,
    ) -> Result<u64, StorageError> {
        let statement = self.prepare(sql, doing).await?;
        self.noted(self.client.execute(&statement, parameters).await, doing)
    }

    /// Runs statements without parameters.
    pub(super) async fn run(&self, sql: &str, doing: &str) -> Result<(), StorageError> {
        self.noted(self.client.batch_execute(sql).await, doing)
    }

    /// Begins a transaction; what is still open when the connection is given back is undone.
    pub(super) async fn begin(&self, sql: &str, doing: &str) -> Result<(), StorageError> {
        self.is_open.set(true);
        self.run(sql, doing).await
    }

    /// Ends it and keeps what it wrote.
    pub(super) async fn commit(&self, doing: &str) -> Result<(), StorageError> {
        self.run("COMMIT", doing).await?;
        self.has_ended_transaction();
        Ok(())
    }

    /// Ends a transaction that wrote nothing, without waiting for it.
    pub(super) async fn end_reading(&self) {
        self.send("COMMIT");
        self.has_ended_transaction();
        // What drives the connection takes its turn, and writes it.
        tokio::task::yield_now().await;
    }

    pub(super) fn has_ended_transaction(&self) {
        self.is_open.set(false);
        self.is_as_ever.set(false);
    }

    /// Notes that the transaction plans as ever until the next statement is prepared.
    pub(super) fn plans_as_ever(&self) {
        self.is_as_ever.set(true);
    }

    /// Sends statements without waiting for what becomes of them. They stand in front of what is
    /// sent later.
    fn send(&self, sql: &str) {
        let _ = self.client.batch_execute(sql).now_or_never();
    }

    /// Remembers why a statement failed.
    pub(super) fn noted<T>(
        &self,
        result: Result<T, tokio_postgres::Error>,
        doing: &str,
    ) -> Result<T, StorageError> {
        if let Err(error) = &result {
            let state = error.code().map(|state| state.code().to_owned());
            // What follows in an aborted transaction says nothing.
            if state.as_deref() != Some("25P02") {
                *self.failed.borrow_mut() = state;
            }
        }
        result.while_(doing)
    }

    /// Plans are kept, and to who plans over an empty table every index is as good as the right
    /// one. So statements are forgotten when a table has become twice as large since, until the
    /// right one is the cheapest by far.
    pub(super) fn has_sizes(&self, tables: &[u32], sizes: &[i64]) {
        let mut planned = self.planned.borrow_mut();
        let mut sized = tables.iter().zip(sizes);
        let has_grown = |(table, size): (&u32, &i64)| {
            let planned = planned.get(table);
            planned.is_some_and(|planned| *size > 2 * planned + GROWS_BYTES)
        };
        if sized.any(has_grown) {
            self.statements.borrow_mut().clear();
            planned.clear();
        }
        for (table, size) in tables.iter().zip(sizes) {
            planned.entry(*table).or_insert(*size);
        }
    }

    /// How many statements are prepared.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        self.statements.borrow().len()
    }

    /// A table is another one than when it was looked at.
    pub(super) fn other_tables(&self, doing: &str) -> StorageError {
        *self.failed.borrow_mut() = Some(OF_OTHER_TABLES[0].to_owned());
        StorageError {
            code: Code::INTERNAL,
            message: format!("{doing}: a table of the model was changed"),
            is_retryable: true,
        }
    }

    /// Whether the last failure came of a table that is another one now.
    pub(super) fn has_met_other_tables(&self) -> bool {
        let failed = self.failed.borrow();
        failed
            .as_deref()
            .is_some_and(|state| OF_OTHER_TABLES.contains(&state))
    }

    /// Forgets its statements: they are those of other tables.
    pub(super) fn forget(&self) {
        self.statements.borrow_mut().clear();
        self.failed.take();
    }

    pub(super) fn has_ended(&self) -> bool {
        let failed = self.failed.borrow();
        let is_end = |state: &str| OF_AN_END.contains(&state) || state.starts_with("08");
        self.client.is_closed() || failed.as_deref().is_some_and(is_end)
    }
}
