//! The ledger's tables.

use afield_protocol::codec::write_verdicts;
use afield_protocol::{Group, GroupHash, GroupId, Verdict};
use tokio_postgres::Row;

use super::super::error::lasting;
use super::super::link::Link;
use crate::storage::StorageError;
use crate::storage::push::{Entry, Temporary, folded, is_applied};

const READING: &str = "reading the ledger";

const NUMBERS: &str = "reading the numbers that rows were given";

const WRITING: &str = "writing the ledger";

/// What is known of `user`'s group.
pub(in super::super) async fn find(
    link: &Link,
    user: &str,
    id: GroupId,
) -> Result<Option<Entry>, StorageError> {
    let sql = "SELECT hash, verdicts, absorbed_by FROM afield.ledger \
               WHERE user_name = $1 AND group_id = $2";
    let rows = link.query(sql, &[&user, &id.0.as_slice()], READING).await?;
    rows.first().map(|row| entry(id, row, 0)).transpose()
}

/// An entry whose hash, verdicts and absorber stand in a row from a column on.
pub(super) fn entry(id: GroupId, row: &Row, first: usize) -> Result<Entry, StorageError> {
    let hash: Option<&[u8]> = row.get(first);
    let hash: Option<GroupHash> = match hash.map(TryInto::try_into) {
        None => None,
        Some(Ok(hash)) => Some(hash),
        Some(Err(_)) => return Err(lasting(format!("{READING}: group {id} has an odd hash"))),
    };
    let by: Option<&[u8]> = row.get(first + 2);
    let by = by.and_then(|by| by.try_into().ok());
    Entry::read(id, hash, row.get(first + 1), by)
}

/// Whether one of these groups took effect.
pub(super) async fn took_effect(
    link: &Link,
    user: &str,
    groups: &[GroupId],
) -> Result<bool, StorageError> {
    if groups.is_empty() {
        return Ok(false);
    }
    let ids: Vec<&[u8]> = groups.iter().map(|id| id.0.as_slice()).collect();
    let sql = "SELECT EXISTS (SELECT FROM afield.ledger \
               WHERE user_name = $1 AND group_id = ANY ($2) AND applied)";
    let row = link.query_one(sql, &[&user, &ids], READING).await?;
    Ok(row.get(0))
}

/// Notes what became of `group`, and that the groups folded into it took effect with it.
pub(super) async fn record(
    link: &Link,
    user: &str,
    group: &Group,
    verdicts: &[Verdict],
    at: i64,
) -> Result<(), StorageError> {
    let id = group.id.0.as_slice();
    let (hash, applied) = (group.hash(), is_applied(verdicts));
    let told = write_verdicts(verdicts);
    let sql = "INSERT INTO afield.ledger (user_name, group_id, hash, verdicts, applied, at) \
               VALUES ($1, $2, $3, $4, $5, $6) \
               ON CONFLICT (user_name, group_id) DO UPDATE \
               SET hash = excluded.hash, verdicts = excluded.verdicts, at = excluded.at, \
               xid = excluded.xid";
    let hash: &[u8] = hash.as_ref();
    link.execute(sql, &[&user, &id, &hash, &told, &applied, &at], WRITING)
        .await?;
    let folded: Vec<&[u8]> = folded(group, verdicts)
        .iter()
        .map(|id| id.0.as_slice())
        .collect();
    if folded.is_empty() {
        return Ok(());
    }
    let sql = "INSERT INTO afield.ledger (user_name, group_id, applied, absorbed_by, at) \
               SELECT $1, f.id, true, $3, $4 FROM unnest($2::bytea[]) f (id) \
               ON CONFLICT (user_name, group_id) DO UPDATE \
               SET applied = true, absorbed_by = excluded.absorbed_by, xid = excluded.xid";
    link.execute(sql, &[&user, &folded, &id, &at], WRITING)
        .await?;
    Ok(())
}

/// The number that a row was given when one of `groups`, or one that has absorbed it, created it.
pub(super) async fn given(
    link: &Link,
    user: &str,
    groups: &[GroupId],
    (entity, temporary): &Temporary,
) -> Result<Option<i64>, StorageError> {
    let sql = "SELECT n.number FROM unnest($2::bytea[]) WITH ORDINALITY g (id, at) \
               JOIN afield.number n ON n.user_name = $1 AND n.entity = $3 AND n.temporary = $4 \
               AND (n.group_id = g.id OR n.group_id = (SELECT l.absorbed_by FROM afield.ledger l \
                 WHERE l.user_name = $1 AND l.group_id = g.id)) ORDER BY g.at LIMIT 1";
    let ids: Vec<&[u8]> = groups.iter().map(|id| id.0.as_slice()).collect();
    let rows = link
        .query(sql, &[&user, &ids, entity, temporary], NUMBERS)
        .await?;
    Ok(rows.first().map(|row| row.get(0)))
}

/// Keeps the numbers that the creates of `group` gave.
pub(super) async fn keep_numbers(
    link: &Link,
    user: &str,
    group: GroupId,
    made: &[(Temporary, i64)],
) -> Result<(), StorageError> {
    if made.is_empty() {
        return Ok(());
    }
    let entities: Vec<&str> = made.iter().map(|((name, _), _)| name.as_str()).collect();
    let temporaries: Vec<i64> = made.iter().map(|((_, id), _)| *id).collect();
    let numbers: Vec<i64> = made.iter().map(|(_, number)| *number).collect();
    let sql = "INSERT INTO afield.number (user_name, group_id, entity, temporary, number) \
               SELECT $1, $2, m.entity, m.temporary, m.number \
               FROM unnest($3::text[], $4::bigint[], $5::bigint[]) m (entity, temporary, number) \
               ON CONFLICT DO NOTHING";
    let id = group.0.as_slice();
    link.execute(
        sql,
        &[&user, &id, &entities, &temporaries, &numbers],
        WRITING,
    )
    .await?;
    Ok(())
}
