//! One connection for a command: plain functions that wait, on a runtime of their own.

use tokio::runtime::{Builder, Runtime};
use tokio_postgres::Client;

use super::prepare::{self, Report, Statement};
use super::{catalog, connect, query};
use crate::catalog::{Catalog, Queries, QueryProblem, QueryShape};
use crate::model::file::PostgresUrl;
use crate::resolved::ServerModel;
use crate::storage::StorageError;
use afield_protocol::Code;

/// A connection to a team's PostgreSQL.
pub struct Session {
    runtime: Runtime,
    client: Client,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    /// Connects. Not to be called, nor anything of it, from asynchronous code.
    ///
    /// # Errors
    /// As [`connect`](connect::connect).
    pub fn connect(url: &PostgresUrl) -> Result<Self, StorageError> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| StorageError {
            code: Code::UNREACHABLE,
            message: format!("the system gives no means to wait for a connection: {error}"),
            is_retryable: true,
        })?;
        let client = runtime.block_on(connect::connect(url))?;
        Ok(Self { runtime, client })
    }

    /// What the database has.
    ///
    /// # Errors
    /// As [`catalog::read`].
    pub fn catalog(&self) -> Result<Catalog, StorageError> {
        self.runtime.block_on(catalog::read(&self.client))
    }

    /// What the database has, and with bounds how much of it.
    ///
    /// # Errors
    /// As [`catalog::read_measured`].
    pub fn catalog_measured(&self) -> Result<Catalog, StorageError> {
        self.runtime.block_on(catalog::read_measured(&self.client))
    }

    /// The statements that [`Session::prepare`] would run. Changes nothing.
    ///
    /// # Errors
    /// As [`prepare::plan`].
    pub fn plan(&mut self, model: &ServerModel) -> Result<Vec<Statement>, StorageError> {
        self.runtime
            .block_on(prepare::plan(&mut self.client, model))
    }

    /// Installs or upgrades change capture.
    ///
    /// # Errors
    /// As [`prepare::prepare`].
    pub fn prepare(&mut self, model: &ServerModel) -> Result<Report, StorageError> {
        self.runtime
            .block_on(prepare::prepare(&mut self.client, model))
    }

    /// Takes change capture out; gives the statements that were run.
    ///
    /// # Errors
    /// As [`prepare::remove`].
    pub fn remove(&mut self) -> Result<Vec<Statement>, StorageError> {
        self.runtime.block_on(prepare::remove(&mut self.client))
    }

    /// Says that this is another database than devices knew: they load their tables again.
    ///
    /// # Errors
    /// The database is not prepared, or failed.
    pub fn new_incarnation(&mut self) -> Result<(), StorageError> {
        self.runtime
            .block_on(prepare::new_incarnation(&mut self.client))
    }
}

impl Queries for Session {
    fn describe(&self, sql: &str) -> Result<QueryShape, QueryProblem> {
        self.runtime.block_on(query::describe(&self.client, sql))
    }
}
