//! Groups that come in pieces, kept until they are whole.

use afield_protocol::limits::PARTS_OF_USER_BYTES;
use afield_protocol::zoo::crash_point;
use afield_protocol::{GroupId, GroupOutcome, Part};
use rusqlite::{Connection, TransactionBehavior};

use super::SqliteStorage;
use super::error::{While, crashed};
use super::ledger;
use crate::storage::push::{self, Entry};
use crate::storage::{PartTaken, StorageError};

const DOING: &str = "keeping a part of a group";

/// How long a group that is not whole is kept after its last piece came.
const KEPT_SECONDS: i64 = 14 * 24 * 60 * 60;

/// See [`crate::storage::Storage::take_part`].
pub(super) fn take(
    storage: &SqliteStorage,
    user: &str,
    part: &Part,
) -> Result<PartTaken, StorageError> {
    let conn = &mut *storage.writer();
    let now = storage.seconds(conn)?;
    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .while_(DOING)?;
    // Verdicts with values of a row are told only to whom the row is shown now. Which row it is
    // the whole group says, so it comes once more, as a repeat.
    if let Some(Entry::Settled { hash, verdicts }) = ledger::find(&tx, user, part.group)?
        && hash == part.hash
        && !verdicts.iter().any(push::tells)
    {
        let group = part.group;
        return Ok(PartTaken::Known(GroupOutcome { group, verdicts }));
    }
    tx.execute(
        "DELETE FROM afield_part WHERE came < ?1",
        [now - KEPT_SECONDS],
    )
    .while_(DOING)?;
    // A group's length is part of what it is: with another one this is another beginning.
    tx.execute(
        "DELETE FROM afield_part WHERE user = ?1 AND group_id = ?2 AND total <> ?3",
        (user, part.group.0, part.total),
    )
    .while_(DOING)?;
    let mut kept = kept(&tx, user, part.group)?;
    if part.at == kept && !part.bytes.is_empty() {
        tx.execute(
            "INSERT INTO afield_part (user, group_id, at, total, bytes, came) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            (user, part.group.0, part.at, part.total, &part.bytes, now),
        )
        .while_(DOING)?;
        kept += u32::try_from(part.bytes.len()).unwrap_or(u32::MAX);
        make_room(&tx, user, part.group)?;
    }
    tx.execute(
        "UPDATE afield_part SET came = ?3 WHERE user = ?1 AND group_id = ?2",
        (user, part.group.0, now),
    )
    .while_(DOING)?;
    let taken = if kept == part.total {
        PartTaken::Whole(whole(&tx, user, part.group)?)
    } else {
        PartTaken::Kept(kept)
    };
    crash_point("server-part-before-commit").map_err(crashed)?;
    tx.commit().while_(DOING)?;
    crash_point("server-part-after-commit").map_err(crashed)?;
    Ok(taken)
}

/// See [`crate::storage::Storage::forget_parts`].
pub(super) fn forget(
    storage: &SqliteStorage,
    user: &str,
    group: GroupId,
) -> Result<(), StorageError> {
    storage
        .writer()
        .execute(
            "DELETE FROM afield_part WHERE user = ?1 AND group_id = ?2",
            (user, group.0),
        )
        .while_("forgetting the parts of a group")?;
    Ok(())
}

/// How many of the group's first bytes are here.
fn kept(conn: &Connection, user: &str, group: GroupId) -> Result<u32, StorageError> {
    conn.prepare_cached(
        "SELECT coalesce(sum(length(bytes)), 0) FROM afield_part \
         WHERE user = ?1 AND group_id = ?2",
    )
    .and_then(|mut statement| statement.query_row((user, group.0), |row| row.get(0)))
    .while_(DOING)
}

fn whole(conn: &Connection, user: &str, group: GroupId) -> Result<Vec<u8>, StorageError> {
    let read = || {
        let mut statement = conn.prepare_cached(
            "SELECT bytes FROM afield_part WHERE user = ?1 AND group_id = ?2 ORDER BY at",
        )?;
        let mut rows = statement.query((user, group.0))?;
        let mut whole = Vec::new();
        while let Some(row) = rows.next()? {
            whole.extend_from_slice(row.get_ref(0)?.as_blob()?);
        }
        Ok(whole)
    };
    read().while_(DOING)
}

/// Forgets the user's oldest other groups while he has more than the limit.
fn make_room(conn: &Connection, user: &str, present: GroupId) -> Result<(), StorageError> {
    conn.execute(
        "DELETE FROM afield_part WHERE user = ?1 AND group_id IN ( \
           SELECT group_id FROM ( \
             SELECT group_id, sum(sum(length(bytes))) OVER ( \
               ORDER BY group_id = ?2 DESC, max(came) DESC, group_id) AS up_to \
             FROM afield_part WHERE user = ?1 GROUP BY group_id) \
           WHERE up_to > ?3 AND group_id <> ?2)",
        (
            user,
            present.0,
            i64::try_from(PARTS_OF_USER_BYTES).unwrap_or(i64::MAX),
        ),
    )
    .while_(DOING)?;
    Ok(())
}
