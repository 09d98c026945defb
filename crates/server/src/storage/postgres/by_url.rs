//! Preparing by address, for a command line: each blocks on a runtime of its own.

use tokio_postgres::{Client, NoTls};

use super::error::{While, lasting};
use super::prepare::{Report, plan, prepare, remove};
use super::run::Statement;
use crate::resolved::ServerModel;
use crate::storage::StorageError;

/// As [`plan`], of the database at `url`; blocks.
///
/// # Errors
/// As [`plan`], or the database cannot be reached.
pub fn plan_url(url: &str, model: &ServerModel) -> Result<Vec<Statement>, StorageError> {
    connected(url, async |client| plan(client, model).await)
}

/// As [`prepare`], of the database at `url`; blocks.
///
/// # Errors
/// As [`prepare`], or the database cannot be reached.
pub fn prepare_url(url: &str, model: &ServerModel) -> Result<Report, StorageError> {
    connected(url, async |client| prepare(client, model).await)
}

/// As [`remove`], of the database at `url`; blocks.
///
/// # Errors
/// As [`remove`], or the database cannot be reached.
pub fn remove_url(url: &str) -> Result<Vec<Statement>, StorageError> {
    connected(url, async |client| remove(client).await)
}

fn connected<T>(
    url: &str,
    work: impl AsyncFnOnce(&mut Client) -> Result<T, StorageError>,
) -> Result<T, StorageError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| lasting(format!("connecting to the database: {error}")))?;
    runtime.block_on(async {
        let connected = tokio_postgres::connect(url, NoTls).await;
        let (mut client, connection) = connected.while_("connecting to the database")?;
        // It ends with the client; what breaks it, the client is told.
        let driven = tokio::spawn(connection);
        let done = work(&mut client).await;
        drop(client);
        let _ = driven.await;
        done
    })
}
