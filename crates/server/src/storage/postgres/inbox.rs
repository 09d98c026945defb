//! The tables of the inbox: see [`crate::storage::inbox`].

use std::cell::Cell;

use afield_protocol::codec::{read_verdicts, write_verdicts};
use afield_protocol::limits::INBOX_GROUPS;
use afield_protocol::{Closed, Closing, Decided, GroupId, Verdict};
use tokio_postgres::Row;

use super::link::Link;
use super::push::{Writes, run_again};
use super::{PostgresStorage, epoch};
use crate::resolved::ServerModel;
use crate::storage::inbox::{
    Choice, Columns, Decide, DecideOutcome, INBOX_OF_USER, InboxEntry, InboxQuery, Noted, Refused,
    TOLD_BYTES, damaged, id, read_group, shown,
};
use crate::storage::push::{Made, Transaction as _, decide as apply, told_again};
use crate::storage::{Caller, StorageError};

const WRITING: &str = "writing the inbox";

const READING: &str = "reading the inbox";

/// Notes a refused group of `caller`, unless it is noted, and forgets what is too much of his.
pub(super) async fn note(
    link: &Link,
    caller: &Caller,
    group: GroupId,
    noted: &Noted,
    at: i64,
) -> Result<(), StorageError> {
    let sql = "WITH e AS (INSERT INTO afield.inbox (user_name, group_id, at_place, entity, key, \
               op, result, code, attribute, message, base, mine, theirs) \
               SELECT $1, $2, e.place, e.entity, e.key, e.op, e.result, e.code, e.attribute, \
               e.message, e.base, e.mine, e.theirs FROM unnest($7::int[], $8::text[], $9::text[], \
               $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], \
               $16::text[], $17::text[]) e (place, entity, key, op, result, code, attribute, \
               message, base, mine, theirs) ORDER BY e.place ON CONFLICT DO NOTHING RETURNING n) \
               INSERT INTO afield.inbox_group \
               (user_name, group_id, n, device, claims, content, at, state) \
               SELECT $1, $2, min(e.n), $3, $4, $5, $6, 'open' FROM e HAVING count(*) > 0 \
               ON CONFLICT DO NOTHING";
    let claims = serde_json::Value::Object(caller.claims.clone()).to_string();
    let (device, id) = (shown(&caller.device), group.0.as_slice());
    let entries = &noted.entries;
    let places = entries
        .iter()
        .map(|it| i32::try_from(it.place).unwrap_or(i32::MAX));
    let places: Vec<i32> = places.collect();
    let entities: Vec<&str> = entries.iter().map(|it| it.entity.as_str()).collect();
    let keys: Vec<&str> = entries.iter().map(|it| it.key.as_str()).collect();
    let ops: Vec<&str> = entries.iter().map(|it| it.op).collect();
    let results: Vec<&str> = entries.iter().map(|it| it.result).collect();
    let codes: Vec<Option<&str>> = entries.iter().map(|it| it.code.as_deref()).collect();
    let named: Vec<Option<&str>> = entries.iter().map(|it| it.attribute.as_deref()).collect();
    let told: Vec<Option<&str>> = entries.iter().map(|it| it.message.as_deref()).collect();
    let bases: Vec<Option<&str>> = entries.iter().map(|it| it.base.as_deref()).collect();
    let mine: Vec<Option<&str>> = entries.iter().map(|it| it.mine.as_deref()).collect();
    let theirs: Vec<Option<&str>> = entries.iter().map(|it| it.theirs.as_deref()).collect();
    link.execute(
        sql,
        &[
            &caller.user,
            &id,
            &device,
            &claims,
            &noted.content,
            &at,
            &places,
            &entities,
            &keys,
            &ops,
            &results,
            &codes,
            &named,
            &told,
            &bases,
            &mine,
            &theirs,
        ],
        WRITING,
    )
    .await?;
    forget_too_much(link, &caller.user).await
}

/// Of more groups than are kept of a user those leave first that nobody need look at, then the
/// oldest; what his device is still to be told stays.
async fn forget_too_much(link: &Link, user: &String) -> Result<(), StorageError> {
    let sql = "WITH gone AS (DELETE FROM afield.inbox_group WHERE user_name = $1 AND group_id IN (\
               SELECT group_id FROM afield.inbox_group WHERE user_name = $1 \
               AND (state <> 'decided' OR told) ORDER BY state = 'open', n LIMIT greatest(0, \
               (SELECT count(*) FROM afield.inbox_group WHERE user_name = $1) - $2::bigint)) \
               RETURNING group_id) \
               DELETE FROM afield.inbox i USING gone \
               WHERE i.user_name = $1 AND i.group_id = gone.group_id";
    let most = i64::try_from(INBOX_OF_USER).unwrap_or(i64::MAX);
    link.execute(sql, &[user, &most], WRITING).await.map(drop)
}

/// Notes that groups stand in the place of refused ones: pairs of these.
pub(super) async fn sent_again(
    link: &Link,
    user: &str,
    pairs: &[(GroupId, GroupId)],
    at: i64,
) -> Result<(), StorageError> {
    if pairs.is_empty() {
        return Ok(());
    }
    let sql = "UPDATE afield.inbox_group g SET state = 'closed', decision = 'sent-again', \
               decided_at = $2, into_id = p.by FROM unnest($3::bytea[], $4::bytea[]) p (old, by) \
               WHERE g.user_name = $1 AND g.group_id = p.old AND g.state = 'open'";
    let old: Vec<&[u8]> = pairs.iter().map(|(old, _)| old.0.as_slice()).collect();
    let by: Vec<&[u8]> = pairs.iter().map(|(_, by)| by.0.as_slice()).collect();
    link.execute(sql, &[&user, &at, &old, &by], WRITING)
        .await
        .map(drop)
}

/// See [`crate::storage::Storage::close`].
pub(super) fn close(
    storage: &PostgresStorage,
    user: &str,
    closed: &[Closed],
) -> Result<(), StorageError> {
    let (told, others): (Vec<Closed>, Vec<Closed>) =
        closed.iter().partition(|it| it.how == Closing::Told);
    let ids = |closed: &[Closed]| -> Vec<Vec<u8>> {
        closed.iter().map(|it| it.group.0.to_vec()).collect()
    };
    let (told, closed) = (ids(&told), ids(&others));
    let how: Vec<&str> = others.iter().map(|it| it.how.as_str()).collect();
    storage.pool.with(async |link| {
        let now = storage.seconds(link).await?;
        if !told.is_empty() {
            let sql = "UPDATE afield.inbox_group SET told = true \
                       WHERE user_name = $1 AND group_id = ANY ($2) AND state = 'decided'";
            link.execute(sql, &[&user, &told], WRITING).await?;
        }
        if !closed.is_empty() {
            // That it was sent again says less than how its user decided.
            let sql = "UPDATE afield.inbox_group g SET state = 'closed', decision = c.how, \
                       decided_at = $2 FROM unnest($3::bytea[], $4::text[]) c (id, how) \
                       WHERE g.user_name = $1 AND g.group_id = c.id AND (g.state = 'open' \
                       OR g.state = 'closed' AND g.decision = 'sent-again')";
            link.execute(sql, &[&user, &now, &closed, &how], WRITING)
                .await?;
        }
        Ok(())
    })
}

/// See [`crate::storage::Storage::inbox`].
pub(super) fn entries(
    storage: &PostgresStorage,
    query: &InboxQuery,
) -> Result<Vec<InboxEntry>, StorageError> {
    let sql = "SELECT i.n, i.user_name, g.device, i.group_id, i.at_place::int8, g.at, i.entity, \
               i.key, i.op, i.result, i.code, i.attribute, i.message, i.base, i.mine, i.theirs, \
               g.state, g.decision, g.decided_by, g.decided_at, g.into_id, g.told \
               FROM afield.inbox i JOIN afield.inbox_group g USING (user_name, group_id) \
               WHERE ($1::text IS NULL OR i.user_name = $1) \
               AND ($2::text IS NULL OR i.entity = $2) \
               AND ($3::int8 IS NULL OR (i.user_name, i.group_id) = \
                 (SELECT user_name, group_id FROM afield.inbox WHERE n = $3)) \
               AND ($4 OR g.state = 'open') ORDER BY i.n LIMIT $5";
    let most = i64::try_from(query.most).unwrap_or(i64::MAX);
    let rows = storage.pool.with(async |link| {
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 5] = [
            &query.user,
            &query.entity,
            &query.group_of,
            &query.all,
            &most,
        ];
        link.query(sql, &values, READING).await
    })?;
    rows.iter().map(|row| columns(row).entry()).collect()
}

fn columns(row: &Row) -> Columns {
    Columns {
        n: row.get(0),
        user: row.get(1),
        device: row.get(2),
        group: row.get(3),
        place: row.get(4),
        at: row.get(5),
        entity: row.get(6),
        key: row.get(7),
        op: row.get(8),
        result: row.get(9),
        code: row.get(10),
        attribute: row.get(11),
        message: row.get(12),
        base: row.get(13),
        mine: row.get(14),
        theirs: row.get(15),
        state: row.get(16),
        decision: row.get(17),
        decided_by: row.get(18),
        decided_at: row.get(19),
        into: row.get(20),
        told: row.get(21),
    }
}

/// What is kept of the group that has entry `n`.
async fn refused(link: &Link, n: i64) -> Result<Option<Refused>, StorageError> {
    let sql = "SELECT g.user_name, g.claims, g.device, g.group_id, i.at_place::int8, \
               g.state = 'open', g.content, \
               EXISTS (SELECT FROM afield.inbox k WHERE k.user_name = g.user_name \
                 AND k.group_id = g.group_id AND k.code = 'absorbed-known') \
               FROM afield.inbox i JOIN afield.inbox_group g USING (user_name, group_id) \
               WHERE i.n = $1";
    let rows = link.query(sql, &[&n], READING).await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let claims: &str = row.get(1);
    let claims = serde_json::from_str(claims).map_err(|_| damaged("claims in the inbox"))?;
    Ok(Some(Refused {
        caller: Caller {
            user: row.get(0),
            claims,
            device: row.get(2),
        },
        group: id(row.get(3))?,
        place: usize::try_from(row.get::<_, i64>(4)).unwrap_or(0),
        is_open: row.get(5),
        content: row.get(6),
        is_known_in_part: row.get(7),
    }))
}

/// See [`crate::storage::Storage::decide`].
pub(super) fn decide(
    storage: &PostgresStorage,
    model: &ServerModel,
    decide: &Decide,
) -> Result<DecideOutcome, StorageError> {
    let known = storage
        .pool
        .with(async |link| refused(link, decide.n).await)?;
    let Some(known) = known else {
        return Ok(DecideOutcome::Unknown);
    };
    run_again(storage, model, |tables, remedy: &Cell<_>| {
        // It waits for pushes of this user, and they for it.
        let tx = Writes::begin(storage, tables, &known.caller, remedy)?;
        in_transaction(&tx, decide)
    })
}

fn in_transaction(tx: &Writes<'_>, decide: &Decide) -> Result<DecideOutcome, StorageError> {
    let known = tx.waiting(async |link| refused(link, decide.n).await)?;
    let Some(known) = known else {
        return Ok(DecideOutcome::Unknown);
    };
    if !known.is_open {
        return Ok(DecideOutcome::Already);
    }
    let verdicts = match (&decide.choice, known.read()?) {
        (Choice::Theirs, _) => None,
        (_, None) => return Ok(DecideOutcome::TooLarge),
        (_, Some(group)) => match apply(tx, &known, &group, decide)? {
            Made::Applied(verdicts) => Some(verdicts),
            Made::Known => return Ok(DecideOutcome::Already),
            Made::SetsDeleted => return Ok(DecideOutcome::SetsDeleted),
            Made::Refused(place, verdict) => {
                return Ok(DecideOutcome::Refused {
                    place,
                    verdict: Box::new(verdict),
                });
            }
        },
    };
    let (verdicts, now) = (verdicts.as_deref(), tx.now());
    tx.waiting(async |link| decided(link, &known, decide, verdicts, now).await)?;
    tx.commit()?;
    Ok(DecideOutcome::Done)
}

async fn decided(
    link: &Link,
    known: &Refused,
    decide: &Decide,
    verdicts: Option<&[Verdict]>,
    now: i64,
) -> Result<(), StorageError> {
    let sql = "UPDATE afield.inbox_group SET state = 'decided', decision = $3, decided_by = $4, \
               decided_at = $5, into_id = $6, answer = $7 WHERE user_name = $1 AND group_id = $2";
    let (into, answer) = (
        verdicts.map(|_| decide.into.0.to_vec()),
        verdicts.map(write_verdicts),
    );
    let (id, word, by) = (
        known.group.0.as_slice(),
        decide.choice.as_str(),
        shown(&decide.by),
    );
    let values: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
        [&known.caller.user, &id, &word, &by, &now, &into, &answer];
    link.execute(sql, &values, WRITING).await.map(drop)
}

/// Decisions that a device does not know.
async fn untold(link: &Link, caller: &Caller, most: usize) -> Result<Vec<Row>, StorageError> {
    let sql = "SELECT group_id, into_id, decided_by, decided_at, answer, content \
               FROM afield.inbox_group WHERE user_name = $1 AND device = $2 \
               AND state = 'decided' AND NOT told ORDER BY decided_at, n LIMIT $3";
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let device = shown(&caller.device);
    link.query(sql, &[&caller.user, &device, &most], READING)
        .await
}

/// See [`crate::storage::Storage::decisions`].
pub(super) fn decisions(
    storage: &PostgresStorage,
    model: &ServerModel,
    caller: &Caller,
) -> Result<Vec<Decided>, StorageError> {
    let any = storage
        .pool
        .with(async |link| untold(link, caller, 1).await)?;
    if any.is_empty() {
        return Ok(Vec::new());
    }
    let found = run_again(storage, model, |tables, remedy: &Cell<_>| {
        let tx = Writes::begin(storage, tables, caller, remedy)?;
        let rows = tx.waiting(async |link| untold(link, caller, INBOX_GROUPS).await)?;
        let (mut found, mut bytes) = (Vec::new(), 0);
        for row in &rows {
            bytes += row.get::<_, Option<&[u8]>>(4).map_or(0, <[u8]>::len);
            if bytes > TOLD_BYTES && !found.is_empty() {
                break;
            }
            found.push(told(&tx, row)?);
        }
        tx.commit()?;
        Ok(found)
    })?;
    // What goes out with this lies behind the decisions.
    let raised = storage.pool.with(async |link| epoch::raise(link).await)?;
    match raised {
        Some(epoch) => storage.learn(epoch),
        None => storage.begin_epoch()?,
    }
    Ok(found)
}

fn told(tx: &Writes<'_>, row: &Row) -> Result<Decided, StorageError> {
    let into: Option<&[u8]> = row.get(1);
    let into = into.map(id).transpose()?;
    let (answer, content): (Option<&[u8]>, Option<&[u8]>) = (row.get(4), row.get(5));
    let verdicts = match (into, answer, content) {
        (Some(into), Some(answer), Some(content)) => {
            let verdicts = read_verdicts(answer).map_err(|_| damaged("odd verdicts"))?;
            told_again(tx, &read_group(content)?, into, verdicts)?
        }
        _ => Vec::new(),
    };
    Ok(Decided {
        group: id(row.get(0))?,
        into,
        by: row.get(2),
        at_ms: row.get::<_, i64>(3).saturating_mul(1_000),
        verdicts,
    })
}
