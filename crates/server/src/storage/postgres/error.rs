//! PostgreSQL's errors as storage errors.

use afield_protocol::Code;
use tokio_postgres::error::SqlState;

use crate::storage::StorageError;

/// An error that a repeat of the same request will meet again.
pub(super) fn lasting(message: impl Into<String>) -> StorageError {
    StorageError {
        code: Code::INTERNAL,
        message: message.into(),
        is_retryable: false,
    }
}

/// What the caller was doing when PostgreSQL failed, for the server's log.
pub(super) trait While<T> {
    /// Names what was being done.
    fn while_(self, doing: &str) -> Result<T, StorageError>;
}

impl<T> While<T> for Result<T, tokio_postgres::Error> {
    fn while_(self, doing: &str) -> Result<T, StorageError> {
        self.map_err(|error| storage_error(&error, doing))
    }
}

/// Whether a lock was waited for as long as this connection waits.
pub(super) fn is_lock_timeout(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

fn storage_error(error: &tokio_postgres::Error, doing: &str) -> StorageError {
    let state = error.code().map_or("", SqlState::code);
    // Locks, deadlocks and serialization: 40 and 55P03. Connections and resources: 08, 53, 57.
    let is_busy = state.starts_with("40") || state == SqlState::LOCK_NOT_AVAILABLE.code();
    let is_passing = ["08", "53", "57"].iter().any(|c| state.starts_with(c)) || error.is_closed();
    StorageError {
        code: if is_busy { Code::BUSY } else { Code::INTERNAL },
        message: format!("{doing}: {}", without_values(error)),
        is_retryable: is_busy || is_passing,
    }
}

/// The error's text without anything that came from a row: of errors about data and constraints,
/// and of those that a team's `RAISE` makes, only the state.
fn without_values(error: &tokio_postgres::Error) -> String {
    let Some(told) = error.as_db_error() else {
        return error.to_string();
    };
    let state = told.code().code();
    match ["22", "23", "P0"]
        .iter()
        .any(|class| state.starts_with(class))
    {
        true => format!("PostgreSQL refused it (SQLSTATE {state})"),
        false => format!("{} (SQLSTATE {state})", told.message()),
    }
}
