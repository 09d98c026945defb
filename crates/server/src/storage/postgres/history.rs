//! Which history this database has: how a server notices that it was set back to a backup, or goes
//! on as a copy, and which groups went with that.

use afield_protocol::{Checkpoint, GroupId, History};

use super::PostgresStorage;
use super::epoch::{self, IS_NOW};
use super::link::Link;
use super::marks::Snapshot;
use super::position::open_checkpoint;
use crate::position::CodeKey;
use crate::storage::StorageError;

const DOING: &str = "reading the epochs";

/// See [`crate::storage::Storage::knows`].
pub(super) fn knows(
    storage: &PostgresStorage,
    checkpoint: &Checkpoint,
) -> Result<bool, StorageError> {
    // It says nothing, so it says nothing wrong: a device that never heard of any history.
    if checkpoint.is_empty() {
        return Ok(true);
    }
    let Some((epoch, told)) = open_checkpoint(&storage.code_key, checkpoint) else {
        return Ok(false);
    };
    let knows = storage
        .pool
        .with(async |link| contains(link, epoch, &told).await)?;
    if !knows {
        // What the device is told instead must not be of a history that is over.
        storage.begin_epoch()?;
    }
    Ok(knows)
}

/// See [`crate::storage::Storage::knows_as_read`]: a page is given out only if the epoch in which
/// it was read is noted here, or a later one. So a checkpoint of the epoch that is noted is of this
/// history, without another question.
pub(super) fn knows_as_read(
    storage: &PostgresStorage,
    checkpoint: &Checkpoint,
) -> Result<bool, StorageError> {
    let now = storage.known_epoch();
    match open_checkpoint(&storage.code_key, checkpoint) {
        Some((epoch, told)) if epoch == now.epoch && told.xmax <= now.durable.xmax => Ok(true),
        _ => knows(storage, checkpoint),
    }
}

/// Whether everything that a snapshot of an epoch sees is in the history of this database.
pub(super) async fn contains(
    link: &Link,
    epoch: [u8; 8],
    told: &Snapshot,
) -> Result<bool, StorageError> {
    let sql = format!(
        "SELECT e.epoch = $1, pg_current_snapshot()::text FROM afield.node n, afield.epoch e \
         WHERE e.number = (SELECT max(number) FROM afield.epoch) AND {IS_NOW}"
    );
    let rows = link.query(&sql, &[&epoch.as_slice()], DOING).await?;
    match rows.first() {
        Some(row) if row.get(0) => Ok(told.xmax <= epoch::snapshot(row.get(1))?.xmax),
        _ => {
            let beacon = epoch::beacon(link, epoch).await?;
            Ok(beacon.is_some_and(|beacon| beacon.contains(told)))
        }
    }
}

/// What a checkpoint sees, if that is in the history of this database.
pub(super) async fn known(
    link: &Link,
    key: &CodeKey,
    checkpoint: &Checkpoint,
) -> Result<Option<Snapshot>, StorageError> {
    let Some((epoch, told)) = open_checkpoint(key, checkpoint) else {
        return Ok(None);
    };
    Ok(contains(link, epoch, &told).await?.then_some(told))
}

/// See [`crate::storage::Storage::lost`].
pub(super) fn lost(
    storage: &PostgresStorage,
    user: &str,
    offered: &[History],
) -> Result<Vec<GroupId>, StorageError> {
    // The checkpoint that goes with the answer must not be of a history that is over.
    storage.begin_epoch()?;
    storage.pool.with(async |link| {
        let mut lost = Vec::new();
        for history in offered {
            let told = open_checkpoint(&storage.code_key, &history.checkpoint);
            // Its outcome was told in this history, so it was applied in it; what is missing of
            // that was forgotten in time.
            if let Some((epoch, told)) = told
                && contains(link, epoch, &told).await?
            {
                continue;
            }
            lost.extend(unknown(link, user, &history.groups).await?);
        }
        Ok(lost)
    })
}

/// The groups among these that the ledger does not know, in their order.
async fn unknown(
    link: &Link,
    user: &str,
    groups: &[GroupId],
) -> Result<Vec<GroupId>, StorageError> {
    let sql = "SELECT group_id FROM afield.ledger \
               WHERE user_name = $1 AND group_id = ANY ($2::bytea[])";
    let ids: Vec<&[u8]> = groups.iter().map(|group| group.0.as_slice()).collect();
    let rows = link
        .query(sql, &[&user, &ids], "reading the ledger")
        .await?;
    let known: Vec<&[u8]> = rows.iter().map(|row| row.get(0)).collect();
    let is_unknown = |group: &&GroupId| !known.contains(&group.0.as_slice());
    Ok(groups.iter().filter(is_unknown).copied().collect())
}
