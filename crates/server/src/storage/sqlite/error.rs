//! SQLite's errors as storage errors.

use afield_protocol::Code;
use afield_protocol::zoo::Crash;
use rusqlite::ErrorCode;

use crate::storage::StorageError;

/// An error that a repeat of the same request will meet again.
pub(super) fn lasting(message: impl Into<String>) -> StorageError {
    StorageError {
        code: Code::INTERNAL,
        message: message.into(),
        is_retryable: false,
    }
}

/// What the caller was doing when SQLite failed, for the server's log.
pub(super) trait While<T> {
    /// Names what was being done.
    fn while_(self, doing: &str) -> Result<T, StorageError>;
}

impl<T> While<T> for rusqlite::Result<T> {
    fn while_(self, doing: &str) -> Result<T, StorageError> {
        self.map_err(|error| storage_error(&error, doing))
    }
}

/// Maps an error that no change of a device is to blame for.
pub(super) fn storage_error(error: &rusqlite::Error, doing: &str) -> StorageError {
    let code = error.sqlite_error_code();
    let busy = matches!(
        code,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    );
    let passing = matches!(
        code,
        Some(ErrorCode::DiskFull | ErrorCode::OutOfMemory | ErrorCode::SystemIoFailure)
    );
    StorageError {
        code: if busy { Code::BUSY } else { Code::INTERNAL },
        message: format!("{doing}: {}", without_values(error)),
        is_retryable: busy || passing,
    }
}

/// The error's text without anything that came from a row: SQLite's own messages name tables and
/// columns, a team's `RAISE` may say anything.
fn without_values(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(failure, _)
            if failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_TRIGGER =>
        {
            "a trigger of the database refused it".to_owned()
        }
        other => other.to_string(),
    }
}

pub(super) fn crashed(crash: Crash) -> StorageError {
    StorageError {
        code: Code::INTERNAL,
        message: crash.to_string(),
        is_retryable: true,
    }
}
