//! Which history this database has: how a server notices that it was set back to a backup, or goes
//! on as a copy, and which groups went with that.
//!
//! ```text
//!   epoch A ──────●───────────────► beacon of A: nothing above it was ever told to a device
//!                 │backup
//!                 └── epoch B ────► of A this database knows the beacon at the backup, and devices
//!                                   that say more heard it from another history
//! ```

use afield_protocol::zoo::planted;
use afield_protocol::{Checkpoint, GroupId, History};
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::error::While;
use super::{SqliteStorage, ledger, replaced};
use crate::position::open_checkpoint;
use crate::storage::StorageError;

const DOING: &str = "reading the epochs";

/// The highest change number that was told to a device in an epoch; none of an epoch that this
/// database does not know.
pub(super) fn beacon(conn: &Connection, epoch: [u8; 8]) -> Result<Option<i64>, StorageError> {
    conn.prepare_cached("SELECT beacon FROM afield_epoch WHERE epoch = ?1")
        .and_then(|mut statement| statement.query_row([epoch], |row| row.get(0)).optional())
        .while_(DOING)
}

/// Makes the beacon of the running epoch as high as the change number is now, so that it is durable
/// with what the transaction wrote. Gives that number.
///
/// # Errors
/// The file under the running server is another one than it was.
pub(super) fn raise(tx: &Transaction<'_>, epoch: [u8; 8]) -> Result<i64, StorageError> {
    let doing = "writing the beacon";
    let before = beacon(tx, epoch)?.ok_or_else(replaced)?;
    let change: i64 = tx
        .prepare_cached("SELECT change FROM afield_clock")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .while_(doing)?;
    if change > before && !planted("server-push-untold") {
        tx.prepare_cached("UPDATE afield_epoch SET beacon = ?1 WHERE epoch = ?2")
            .and_then(|mut statement| statement.execute((change, epoch)))
            .while_(doing)?;
    }
    Ok(match planted("server-push-untold") {
        true => before,
        false => change.max(before),
    })
}

/// See [`crate::storage::Storage::knows`].
pub(super) fn knows(
    storage: &SqliteStorage,
    checkpoint: &Checkpoint,
) -> Result<bool, StorageError> {
    // It says nothing, so it says nothing wrong: a device that never heard of any history.
    if checkpoint.is_empty() || planted("server-history-unnoticed") {
        return Ok(true);
    }
    match open_checkpoint(&storage.code_key, checkpoint) {
        Some((epoch, change)) if epoch == storage.epoch && change <= storage.told() => Ok(true),
        Some(place) => storage.reading(|conn| contains(conn, place)),
        None => Ok(false),
    }
}

/// Whether a change number of an epoch lies in the history of this database.
fn contains(conn: &Connection, (epoch, change): ([u8; 8], i64)) -> Result<bool, StorageError> {
    Ok(beacon(conn, epoch)?.is_some_and(|beacon| change <= beacon))
}

/// See [`crate::storage::Storage::lost`].
pub(super) fn lost(
    storage: &SqliteStorage,
    user: &str,
    offered: &[History],
) -> Result<Vec<GroupId>, StorageError> {
    storage.reading(|conn| {
        let tx = conn.transaction().while_("beginning to read")?;
        let mut lost = Vec::new();
        for history in offered {
            let place = open_checkpoint(&storage.code_key, &history.checkpoint);
            // Its outcome was told in this history, so it was applied in it; what is missing of
            // that was forgotten in time.
            if let Some(place) = place
                && contains(&tx, place)?
            {
                continue;
            }
            for group in &history.groups {
                if !ledger::knows(&tx, user, *group)? {
                    lost.push(*group);
                }
            }
        }
        Ok(lost)
    })
}
