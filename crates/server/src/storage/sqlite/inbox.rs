//! The tables of the inbox: see [`crate::storage::inbox`].

use afield_protocol::codec::{read_verdicts, write_verdicts};
use afield_protocol::limits::INBOX_GROUPS;
use afield_protocol::{Closed, Closing, Decided, GroupId, Verdict};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::SqliteStorage;
use super::error::While;
use super::push::Writes;
use crate::resolved::ServerModel;
use crate::storage::inbox::{
    Choice, Columns, Decide, DecideOutcome, INBOX_OF_USER, InboxEntry, InboxQuery, Noted, Refused,
    TOLD_BYTES, damaged, id, read_group,
};
use crate::storage::push::{Commit, Made, Transaction as _, decide as apply, told_again};
use crate::storage::{Caller, StorageError};

const WRITING: &str = "writing the inbox";

const READING: &str = "reading the inbox";

/// Notes a refused group of `caller`, unless it is noted, and forgets what is too much of his.
pub(super) fn note(
    conn: &Connection,
    caller: &Caller,
    group: GroupId,
    noted: &Noted,
    at: i64,
) -> Result<(), StorageError> {
    let user = &caller.user;
    let known = "SELECT 1 FROM afield_inbox_group WHERE user = ?1 AND group_id = ?2";
    let is_known = conn
        .prepare_cached(known)
        .and_then(|mut statement| statement.exists(params![user, group.0]));
    if is_known.while_(WRITING)? {
        return Ok(());
    }
    let write = || -> rusqlite::Result<()> {
        let count = i64::try_from(noted.entries.len()).unwrap_or(i64::MAX);
        let sql = "UPDATE afield_node SET inbox_n = inbox_n + ?1 RETURNING inbox_n - ?1 + 1";
        let first: i64 = conn
            .prepare_cached(sql)?
            .query_row([count], |row| row.get(0))?;
        let sql = "INSERT INTO afield_inbox_group \
                   (user, group_id, n, device, claims, content, at, state) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'open')";
        let claims = serde_json::Value::Object(caller.claims.clone()).to_string();
        let (device, content) = (&caller.device, &noted.content);
        conn.prepare_cached(sql)?
            .execute(params![user, group.0, first, device, claims, content, at])?;
        let sql = "INSERT INTO afield_inbox (n, user, group_id, at, entity, key, op, result, \
                   code, attribute, message, base, mine, theirs) \
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
        let mut insert = conn.prepare_cached(sql)?;
        for (n, entry) in (first..).zip(&noted.entries) {
            insert.execute(params![
                n,
                user,
                group.0,
                entry.place,
                entry.entity,
                entry.key,
                entry.op,
                entry.result,
                entry.code,
                entry.attribute,
                entry.message,
                entry.base,
                entry.mine,
                entry.theirs,
            ])?;
        }
        forget_too_much(conn, user)
    };
    write().while_(WRITING)
}

/// Of more groups than are kept of a user those leave first that nobody need look at, then the
/// oldest; what his device is still to be told stays.
fn forget_too_much(conn: &Connection, user: &str) -> rusqlite::Result<()> {
    let sql = "SELECT count(*) FROM afield_inbox_group WHERE user = ?1";
    let count: i64 = conn
        .prepare_cached(sql)?
        .query_row([user], |row| row.get(0))?;
    let most = i64::try_from(INBOX_OF_USER).unwrap_or(i64::MAX);
    if count <= most {
        return Ok(());
    }
    let too_much = "SELECT group_id FROM afield_inbox_group WHERE user = ?1 \
                    AND (state <> 'decided' OR told) ORDER BY state = 'open', n LIMIT ?2";
    let mut statement = conn.prepare_cached(too_much)?;
    let groups = statement.query_map(params![user, count - most], |row| row.get(0))?;
    let groups: Vec<Vec<u8>> = groups.collect::<Result<_, _>>()?;
    for group in groups {
        for table in ["afield_inbox", "afield_inbox_group"] {
            let sql = format!("DELETE FROM {table} WHERE user = ?1 AND group_id = ?2");
            conn.prepare_cached(&sql)?.execute(params![user, group])?;
        }
    }
    Ok(())
}

/// Notes that `group` stands in the place of refused ones.
pub(super) fn sent_again(
    conn: &Connection,
    user: &str,
    group: GroupId,
    refused: &[GroupId],
    at: i64,
) -> Result<(), StorageError> {
    let sql = "UPDATE afield_inbox_group SET state = 'closed', decision = 'sent-again', \
               decided_at = ?4, into_id = ?3 \
               WHERE user = ?1 AND group_id = ?2 AND state = 'open'";
    let mut statement = conn.prepare_cached(sql).while_(WRITING)?;
    for old in refused {
        let values = params![user, old.0, group.0, at];
        statement.execute(values).while_(WRITING)?;
    }
    Ok(())
}

/// See [`crate::storage::Storage::close`].
pub(super) fn close(
    storage: &SqliteStorage,
    user: &str,
    closed: &[Closed],
) -> Result<(), StorageError> {
    let mut conn = storage.writer();
    let now = storage.seconds(&conn)?;
    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .while_(WRITING)?;
    for closed in closed {
        close_one(&tx, user, *closed, now).while_(WRITING)?;
    }
    tx.commit().while_(WRITING)
}

fn close_one(tx: &Transaction<'_>, user: &str, closed: Closed, now: i64) -> rusqlite::Result<()> {
    let group = closed.group.0;
    if closed.how == Closing::Told {
        let sql = "UPDATE afield_inbox_group SET told = 1 \
                   WHERE user = ?1 AND group_id = ?2 AND state = 'decided'";
        tx.prepare_cached(sql)?.execute(params![user, group])?;
        return Ok(());
    }
    // That it was sent again says less than how its user decided.
    let sql = "UPDATE afield_inbox_group SET state = 'closed', decision = ?3, decided_at = ?4 \
               WHERE user = ?1 AND group_id = ?2 \
               AND (state = 'open' OR state = 'closed' AND decision = 'sent-again')";
    let values = params![user, group, closed.how.as_str(), now];
    tx.prepare_cached(sql)?.execute(values).map(drop)
}

/// See [`crate::storage::Storage::inbox`].
pub(super) fn entries(
    storage: &SqliteStorage,
    query: &InboxQuery,
) -> Result<Vec<InboxEntry>, StorageError> {
    let sql = "SELECT i.n, i.user, g.device, i.group_id, i.at, g.at, i.entity, i.key, i.op, \
               i.result, i.code, i.attribute, i.message, i.base, i.mine, i.theirs, g.state, \
               g.decision, g.decided_by, g.decided_at, g.into_id, g.told \
               FROM afield_inbox AS i JOIN afield_inbox_group AS g USING (user, group_id) \
               WHERE (?1 IS NULL OR i.user = ?1) AND (?2 IS NULL OR i.entity = ?2) \
               AND (?3 IS NULL OR (i.user, i.group_id) = \
                 (SELECT user, group_id FROM afield_inbox WHERE n = ?3)) \
               AND (?4 OR g.state = 'open') ORDER BY i.n LIMIT ?5";
    let most = i64::try_from(query.most).unwrap_or(i64::MAX);
    let read = |conn: &mut Connection| {
        let mut statement = conn.prepare_cached(sql)?;
        let values = params![query.user, query.entity, query.group_of, query.all, most];
        let rows = statement.query_map(values, columns)?;
        rows.collect::<Result<Vec<_>, _>>()
    };
    let found = storage.reading(|conn| read(conn).while_(READING))?;
    found.into_iter().map(Columns::entry).collect()
}

fn columns(row: &Row<'_>) -> rusqlite::Result<Columns> {
    Ok(Columns {
        n: row.get(0)?,
        user: row.get(1)?,
        device: row.get(2)?,
        group: row.get(3)?,
        place: row.get(4)?,
        at: row.get(5)?,
        entity: row.get(6)?,
        key: row.get(7)?,
        op: row.get(8)?,
        result: row.get(9)?,
        code: row.get(10)?,
        attribute: row.get(11)?,
        message: row.get(12)?,
        base: row.get(13)?,
        mine: row.get(14)?,
        theirs: row.get(15)?,
        state: row.get(16)?,
        decision: row.get(17)?,
        decided_by: row.get(18)?,
        decided_at: row.get(19)?,
        into: row.get(20)?,
        told: row.get(21)?,
    })
}

/// What is kept of the group that has entry `n`.
fn refused(conn: &Connection, n: i64) -> Result<Option<Refused>, StorageError> {
    let sql = "SELECT g.user, g.claims, g.device, g.group_id, i.at, g.state = 'open', g.content, \
               EXISTS (SELECT 1 FROM afield_inbox AS k WHERE k.user = g.user \
                 AND k.group_id = g.group_id AND k.code = 'absorbed-known') \
               FROM afield_inbox AS i JOIN afield_inbox_group AS g USING (user, group_id) \
               WHERE i.n = ?1";
    type Stored = (
        String,
        String,
        String,
        Vec<u8>,
        i64,
        bool,
        Option<Vec<u8>>,
        bool,
    );
    let read = |row: &Row<'_>| -> rusqlite::Result<Stored> {
        Ok((
            row.get(0)?,
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?,
            row.get(5)?,
            row.get(6)?,
            row.get(7)?,
        ))
    };
    let found = conn
        .prepare_cached(sql)
        .and_then(|mut statement| statement.query_row([n], read).optional())
        .while_(READING)?;
    let Some((user, claims, device, group, place, is_open, content, is_known_in_part)) = found
    else {
        return Ok(None);
    };
    let claims = serde_json::from_str(&claims).map_err(|_| damaged("claims in the inbox"))?;
    Ok(Some(Refused {
        caller: Caller {
            user,
            claims,
            device,
        },
        group: id(&group)?,
        place: usize::try_from(place).unwrap_or(0),
        is_open,
        content,
        is_known_in_part,
    }))
}

/// See [`crate::storage::Storage::decide`].
pub(super) fn decide(
    storage: &SqliteStorage,
    model: &ServerModel,
    decide: &Decide,
) -> Result<DecideOutcome, StorageError> {
    let conn = &*storage.writer();
    let Some(known) = refused(conn, decide.n)? else {
        return Ok(DecideOutcome::Unknown);
    };
    let tx = Writes::begin(storage, conn, model, &known.caller)?;
    // Nobody else writes while this transaction is there.
    let Some(known) = refused(conn, decide.n)? else {
        return Ok(DecideOutcome::Unknown);
    };
    if !known.is_open {
        return Ok(DecideOutcome::Already);
    }
    if decide.choice == Choice::Theirs {
        decided(conn, &known, decide, None, tx.now())?;
        tx.commit()?;
        return Ok(DecideOutcome::Done);
    }
    let Some(group) = known.read()? else {
        return Ok(DecideOutcome::TooLarge);
    };
    let refusal = |place, verdict| DecideOutcome::Refused {
        place,
        verdict: Box::new(verdict),
    };
    let verdicts = match apply(&tx, &known, &group, decide)? {
        Made::Applied(verdicts) => verdicts,
        Made::Known => return Ok(DecideOutcome::Already),
        Made::SetsDeleted => return Ok(DecideOutcome::SetsDeleted),
        Made::Refused(place, verdict) => return Ok(refusal(place, verdict)),
    };
    decided(conn, &known, decide, Some(&verdicts), tx.now())?;
    Ok(match tx.commit()? {
        Commit::Durable => DecideOutcome::Done,
        Commit::BrokenReference => {
            let (place, verdict) = tx.culprit(&group.changes)?;
            refusal(place, verdict)
        }
    })
}

fn decided(
    conn: &Connection,
    known: &Refused,
    decide: &Decide,
    verdicts: Option<&[Verdict]>,
    now: i64,
) -> Result<(), StorageError> {
    let sql = "UPDATE afield_inbox_group SET state = 'decided', decision = ?3, decided_by = ?4, \
               decided_at = ?5, into_id = ?6, answer = ?7 WHERE user = ?1 AND group_id = ?2";
    conn.prepare_cached(sql)
        .and_then(|mut statement| {
            statement.execute(params![
                known.caller.user,
                known.group.0,
                decide.choice.as_str(),
                decide.by,
                now,
                verdicts.map(|_| decide.into.0),
                verdicts.map(write_verdicts),
            ])
        })
        .map(drop)
        .while_(WRITING)
}

/// A decision that a device does not know: group, the one in its place, by, at, answer, content.
type Untold = (
    Vec<u8>,
    Option<Vec<u8>>,
    String,
    i64,
    Option<Vec<u8>>,
    Option<Vec<u8>>,
);

fn untold(conn: &Connection, caller: &Caller, most: usize) -> rusqlite::Result<Vec<Untold>> {
    let sql = "SELECT group_id, into_id, decided_by, decided_at, answer, content \
               FROM afield_inbox_group \
               WHERE user = ?1 AND device = ?2 AND state = 'decided' AND NOT told \
               ORDER BY decided_at, n LIMIT ?3";
    let mut statement = conn.prepare_cached(sql)?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![caller.user, caller.device, most], |row| {
        Ok((
            row.get(0)?,
            row.get(1)?,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?,
            row.get(5)?,
        ))
    })?;
    rows.collect()
}

/// See [`crate::storage::Storage::decisions`].
pub(super) fn decisions(
    storage: &SqliteStorage,
    model: &ServerModel,
    caller: &Caller,
) -> Result<Vec<Decided>, StorageError> {
    let any = storage.reading(|conn| untold(conn, caller, 1).while_(READING))?;
    if any.is_empty() {
        return Ok(Vec::new());
    }
    let conn = &*storage.writer();
    let tx = Writes::begin(storage, conn, model, caller)?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    for (group, into, by, at, answer, content) in
        untold(conn, caller, INBOX_GROUPS).while_(READING)?
    {
        bytes += answer.as_ref().map_or(0, Vec::len);
        if bytes > TOLD_BYTES && !found.is_empty() {
            break;
        }
        let into = into.map(|bytes| id(&bytes)).transpose()?;
        let verdicts = match (into, answer, content) {
            (Some(into), Some(answer), Some(content)) => {
                let verdicts = read_verdicts(&answer).map_err(|_| damaged("odd verdicts"))?;
                told_again(&tx, &read_group(&content)?, into, verdicts)?
            }
            _ => Vec::new(),
        };
        found.push(Decided {
            group: id(&group)?,
            into,
            by,
            at_ms: at.saturating_mul(1_000),
            verdicts,
        });
    }
    // Nothing was written but the beacon: what goes out with this lies behind the decisions.
    tx.commit()?;
    Ok(found)
}
