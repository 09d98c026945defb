//! The ledger: what became of every group that a user sent, so that a repeat takes no effect
//! and gets the same answer.

use afield_protocol::codec::{read_verdicts, write_verdicts};
use afield_protocol::zoo::planted;
use afield_protocol::{Group, GroupHash, GroupId, Verdict};
use rusqlite::{Connection, OptionalExtension};

use super::error::{While, lasting};
use crate::storage::StorageError;

const DOING: &str = "reading the ledger";

/// What the ledger knows of a group.
pub(super) enum Entry {
    /// It came, and this became of it.
    Settled {
        hash: GroupHash,
        verdicts: Vec<Verdict>,
    },
    /// It took effect as part of a later group of the same device, before it came itself.
    Folded {
        /// That group.
        by: GroupId,
    },
}

/// What is known of `user`'s group.
pub(super) fn find(
    conn: &Connection,
    user: &str,
    id: GroupId,
) -> Result<Option<Entry>, StorageError> {
    type Stored = (Option<GroupHash>, Option<Vec<u8>>, Option<[u8; 16]>);
    let found: Option<Stored> = conn
        .prepare_cached(
            "SELECT hash, verdicts, absorbed_by FROM afield_ledger \
             WHERE user = ?1 AND group_id = ?2",
        )
        .and_then(|mut statement| {
            statement
                .query_row((user, id.0), |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })
                .optional()
        })
        .while_(DOING)?;
    match found {
        None => Ok(None),
        Some((Some(hash), Some(verdicts), _)) => {
            let verdicts = read_verdicts(&verdicts)
                .map_err(|error| lasting(format!("{DOING}: group {id}: {error}")))?;
            Ok(Some(Entry::Settled { hash, verdicts }))
        }
        Some((.., by)) => Ok(Some(Entry::Folded {
            by: GroupId(by.unwrap_or_default()),
        })),
    }
}

/// Whether anything is known of `user`'s group.
pub(super) fn knows(conn: &Connection, user: &str, id: GroupId) -> Result<bool, StorageError> {
    conn.prepare_cached("SELECT 1 FROM afield_ledger WHERE user = ?1 AND group_id = ?2")
        .and_then(|mut statement| statement.exists((user, id.0)))
        .while_(DOING)
}

/// Whether one of these groups took effect.
pub(super) fn took_effect(
    conn: &Connection,
    user: &str,
    groups: &[GroupId],
) -> Result<bool, StorageError> {
    let mut statement = conn
        .prepare_cached("SELECT 1 FROM afield_ledger WHERE user = ?1 AND group_id = ?2 AND applied")
        .while_(DOING)?;
    for id in groups {
        if statement.exists((user, id.0)).while_(DOING)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Notes what became of `group`, and that the groups folded into it took effect with it.
pub(super) fn record(
    conn: &Connection,
    user: &str,
    group: &Group,
    verdicts: &[Verdict],
    at: i64,
) -> Result<(), StorageError> {
    let doing = "writing the ledger";
    let applied = verdicts
        .iter()
        .all(|v| v.kind == afield_protocol::VerdictKind::Applied);
    if planted("server-skips-ledger") || (planted("server-forgets-refusals") && !applied) {
        return Ok(());
    }
    conn.prepare_cached(
        "INSERT INTO afield_ledger (user, group_id, hash, verdicts, applied, at, change) \
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, change FROM afield_clock WHERE 1 \
         ON CONFLICT (user, group_id) DO UPDATE \
         SET hash = excluded.hash, verdicts = excluded.verdicts, at = excluded.at, \
         change = excluded.change",
    )
    .and_then(|mut statement| {
        let verdicts = write_verdicts(verdicts);
        statement.execute((user, group.id.0, group.hash(), verdicts, applied, at))
    })
    .while_(doing)?;
    let folded = if applied {
        group.absorbed.as_slice()
    } else {
        &[]
    };
    for id in folded {
        conn.prepare_cached(
            "INSERT INTO afield_ledger (user, group_id, applied, absorbed_by, at, change) \
             SELECT ?1, ?2, 1, ?3, ?4, change FROM afield_clock WHERE 1 \
             ON CONFLICT (user, group_id) DO UPDATE \
             SET applied = 1, absorbed_by = excluded.absorbed_by, change = excluded.change",
        )
        .and_then(|mut statement| statement.execute((user, id.0, group.id.0, at)))
        .while_(doing)?;
    }
    Ok(())
}
