//! Groups that come in pieces, kept until they are whole.

use afield_protocol::codec::read_verdicts;
use afield_protocol::limits::PARTS_OF_USER_BYTES;
use afield_protocol::{GroupId, GroupOutcome, Part, Theirs, Verdict};

use super::PostgresStorage;
use super::error::lasting;
use super::link::Link;
use crate::storage::{PartTaken, StorageError};

const DOING: &str = "keeping a part of a group";

/// How long a group that is not whole is kept after its last piece came.
const KEPT_SECONDS: i64 = 14 * 24 * 60 * 60;

/// See [`crate::storage::Storage::take_part`].
pub(super) fn take(
    storage: &PostgresStorage,
    user: &str,
    part: &Part,
) -> Result<PartTaken, StorageError> {
    storage.pool.with(async |link| {
        let now = storage.seconds(link).await?;
        link.begin("BEGIN", DOING).await?;
        // The pieces of one user come one after another.
        let sql = "SELECT pg_advisory_xact_lock(hashtextextended($1, 1))";
        link.query(sql, &[&user], DOING).await?;
        let taken = take_in(link, user, part, now).await?;
        link.commit(DOING).await?;
        Ok(taken)
    })
}

async fn take_in(
    link: &Link,
    user: &str,
    part: &Part,
    now: i64,
) -> Result<PartTaken, StorageError> {
    let group = part.group.0.as_slice();
    if let Some(verdicts) = settled(link, user, part).await? {
        let group = part.group;
        return Ok(PartTaken::Known(GroupOutcome { group, verdicts }));
    }
    let sql = "DELETE FROM afield.part WHERE came < $1";
    link.execute(sql, &[&(now - KEPT_SECONDS)], DOING).await?;
    // A group's length is part of what it is: with another one this is another beginning.
    let total = i64::from(part.total);
    let sql = "DELETE FROM afield.part WHERE user_name = $1 AND group_id = $2 AND total <> $3";
    link.execute(sql, &[&user, &group, &total], DOING).await?;
    let sql = "SELECT coalesce(sum(length(bytes)), 0)::int8 FROM afield.part \
               WHERE user_name = $1 AND group_id = $2";
    let row = link.query_one(sql, &[&user, &group], DOING).await?;
    let mut kept: i64 = row.get(0);
    if i64::from(part.at) == kept && !part.bytes.is_empty() {
        let sql = "INSERT INTO afield.part (user_name, group_id, at_byte, total, bytes, came) \
                   VALUES ($1, $2, $3, $4, $5, $6)";
        let bytes = part.bytes.as_slice();
        link.execute(sql, &[&user, &group, &kept, &total, &bytes, &now], DOING)
            .await?;
        kept += i64::try_from(part.bytes.len()).unwrap_or(i64::MAX);
        make_room(link, user, part.group).await?;
    }
    let sql = "UPDATE afield.part SET came = $3 WHERE user_name = $1 AND group_id = $2";
    link.execute(sql, &[&user, &group, &now], DOING).await?;
    Ok(match kept == total {
        true => PartTaken::Whole(whole(link, user, part.group).await?),
        false => PartTaken::Kept(u32::try_from(kept).unwrap_or(u32::MAX)),
    })
}

/// What became of the group, if it is settled and everybody may be told: verdicts with values of a
/// row are told only to whom the row is shown now. Which row it is the whole group says, so it
/// comes once more, as a repeat.
async fn settled(
    link: &Link,
    user: &str,
    part: &Part,
) -> Result<Option<Vec<Verdict>>, StorageError> {
    let sql = "SELECT verdicts FROM afield.ledger \
               WHERE user_name = $1 AND group_id = $2 AND hash = $3";
    let (group, hash) = (part.group.0.as_slice(), part.hash.as_slice());
    let rows = link.query(sql, &[&user, &group, &hash], DOING).await?;
    let Some(verdicts) = rows.first().and_then(|row| row.get::<_, Option<&[u8]>>(0)) else {
        return Ok(None);
    };
    let verdicts = read_verdicts(verdicts)
        .map_err(|error| lasting(format!("{DOING}: group {}: {error}", part.group)))?;
    Ok(Some(verdicts).filter(|verdicts| !verdicts.iter().any(tells)))
}

/// Whether a verdict has values of a row in it.
fn tells(verdict: &Verdict) -> bool {
    matches!(verdict.theirs, Some(Theirs::Row(_)))
        || !verdict.values.is_empty()
        || !verdict.overwritten.is_empty()
}

async fn whole(link: &Link, user: &str, group: GroupId) -> Result<Vec<u8>, StorageError> {
    let sql = "SELECT bytes FROM afield.part WHERE user_name = $1 AND group_id = $2 \
               ORDER BY at_byte";
    let rows = link
        .query(sql, &[&user, &group.0.as_slice()], DOING)
        .await?;
    let pieces: Vec<&[u8]> = rows.iter().map(|row| row.get(0)).collect();
    Ok(pieces.concat())
}

/// Forgets the user's oldest other groups while he has more than the limit.
async fn make_room(link: &Link, user: &str, present: GroupId) -> Result<(), StorageError> {
    let sql = "DELETE FROM afield.part WHERE user_name = $1 AND group_id IN ( \
                 SELECT group_id FROM ( \
                   SELECT group_id, sum(sum(length(bytes))) OVER ( \
                     ORDER BY group_id = $2 DESC, max(came) DESC, group_id) AS up_to \
                   FROM afield.part WHERE user_name = $1 GROUP BY group_id) kept \
                 WHERE up_to > $3::int8 AND group_id <> $2)";
    let most = i64::try_from(PARTS_OF_USER_BYTES).unwrap_or(i64::MAX);
    link.execute(sql, &[&user, &present.0.as_slice(), &most], DOING)
        .await?;
    Ok(())
}

/// See [`crate::storage::Storage::forget_parts`].
pub(super) fn forget(
    storage: &PostgresStorage,
    user: &str,
    group: GroupId,
) -> Result<(), StorageError> {
    storage.pool.with(async |link| {
        let sql = "DELETE FROM afield.part WHERE user_name = $1 AND group_id = $2";
        let doing = "forgetting the parts of a group";
        link.execute(sql, &[&user, &group.0.as_slice()], doing)
            .await?;
        Ok(())
    })
}
