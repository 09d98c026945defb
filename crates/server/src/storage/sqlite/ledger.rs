//! The ledger's tables.

use afield_protocol::codec::write_verdicts;
use afield_protocol::{Group, GroupHash, GroupId, Verdict};
use rusqlite::{Connection, OptionalExtension};

use super::error::While;
use crate::storage::StorageError;
use crate::storage::push::{Entry, Temporary, folded, is_applied};

const DOING: &str = "reading the ledger";

const NUMBERS: &str = "reading the numbers that rows were given";

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
    let entry = |(hash, verdicts, absorbed_by): Stored| {
        Entry::read(id, hash, verdicts.as_deref(), absorbed_by)
    };
    found.map(entry).transpose()
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
    let applied = is_applied(verdicts);
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
    for id in folded(group, verdicts) {
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

/// The number that a row was given when one of `groups`, or one that has absorbed it, created it.
pub(super) fn given(
    conn: &Connection,
    user: &str,
    groups: &[GroupId],
    row: &Temporary,
) -> Result<Option<i64>, StorageError> {
    let mut statement = conn
        .prepare_cached(
            "SELECT number FROM afield_number WHERE user = ?1 AND entity = ?3 AND temporary = ?4 \
             AND group_id IN (?2, (SELECT absorbed_by FROM afield_ledger \
               WHERE user = ?1 AND group_id = ?2))",
        )
        .while_(NUMBERS)?;
    for group in groups {
        let number = statement
            .query_row((user, group.0, &row.0, row.1), |row| row.get(0))
            .optional()
            .while_(NUMBERS)?;
        if number.is_some() {
            return Ok(number);
        }
    }
    Ok(None)
}

/// Keeps the numbers that the creates of `group` gave.
pub(super) fn keep_numbers(
    conn: &Connection,
    user: &str,
    group: GroupId,
    made: &[(Temporary, i64)],
) -> Result<(), StorageError> {
    for ((entity, temporary), number) in made {
        conn.prepare_cached(
            "INSERT INTO afield_number (user, group_id, entity, temporary, number) \
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
        )
        .and_then(|mut statement| statement.execute((user, group.0, entity, temporary, number)))
        .while_("writing the ledger")?;
    }
    Ok(())
}
