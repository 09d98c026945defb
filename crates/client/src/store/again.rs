//! Sending a group again, and keeping what a decision replaces.
//!
//! A group that goes again has a new id that absorbs the old one. Its old name stays with what was
//! decided about, in a group of the history.

use std::collections::BTreeSet;

use afield_protocol::codec::cbor::{read_key, write_attributes};
use afield_protocol::{Code, GroupId, zoo};
use rusqlite::params;

use super::conflict::Parked;
use super::db::{Db, Loaded};
use super::{overlay, page};
use crate::error::Error;

/// Makes a group pending again under a new id that absorbs the old one. What was sent under the
/// old one never takes effect: the server remembers that it did not.
pub(super) fn requeue(db: &mut Db, group: i64) -> Result<GroupId, Error> {
    let sql = "SELECT id, absorbed FROM afield_group WHERE n = ?1";
    let (old, absorbed): ([u8; 16], Vec<u8>) = db
        .conn
        .prepare_cached(sql)?
        .query_row([group], |row| Ok((row.get(0)?, row.get(1)?)))?;
    // Somebody saw that an absorbed group had been applied, and decided knowing that: only this
    // group itself must not take effect any more. The others would stand against it for ever.
    let sql = "SELECT 1 FROM afield_change AS c JOIN afield_outcome AS o ON o.change_n = c.n \
               WHERE c.group_n = ?1 AND o.group_id = ?2 AND o.code = ?3";
    let known = params![group, old, Code::ABSORBED_KNOWN.as_str()];
    let mut absorbed = match db.conn.prepare_cached(sql)?.exists(known)? {
        true => Vec::new(),
        false => absorbed,
    };
    absorbed.extend_from_slice(&old);
    let mut id = db.random_id();
    if zoo::planted("retry-same-id") {
        (id, absorbed) = (old, Vec::new());
    }
    let sql = "UPDATE afield_group SET id = ?2, absorbed = ?3, state = 'pending', frozen = NULL, \
               hash = NULL, received = 0, attempts = 0, not_before = 0 WHERE n = ?1";
    db.conn
        .prepare_cached(sql)?
        .execute(params![group, id, absorbed])?;
    db.crash_point("requeue")?;
    Ok(GroupId(id))
}

/// Makes a group of the history that keeps a name, and gives its number.
fn history(db: &mut Db, id: GroupId) -> Result<i64, Error> {
    let now = db.env.now_ms();
    let taken = "SELECT 1 FROM afield_group WHERE id = ?1";
    let is_taken = db.conn.prepare_cached(taken)?.exists([id.0])?;
    let id = if is_taken { db.random_id() } else { id.0 };
    let sql = "INSERT INTO afield_group (id, absorbed, state, made_at) \
               VALUES (?1, x'', 'dropped', ?2)";
    db.conn.prepare_cached(sql)?.execute(params![id, now])?;
    Ok(db.conn.last_insert_rowid())
}

/// Keeps a parked change as it was, with its outcome, before it goes again as something else.
pub(super) fn record(db: &mut Db, parked: &Parked) -> Result<(), Error> {
    let group = history(db, parked.group)?;
    let sql = "INSERT INTO afield_change \
               (group_n, at, entity, key, op, base, sets, overlay, theirs) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8)";
    db.conn.prepare_cached(sql)?.execute(params![
        group,
        parked.at,
        parked.entity,
        parked.key,
        parked.op.as_str(),
        write_attributes(&parked.base),
        write_attributes(&parked.set),
        parked.theirs.as_ref().map(write_attributes),
    ])?;
    let kept = db.conn.last_insert_rowid();
    let sql = "UPDATE afield_outcome SET change_n = ?2 WHERE change_n = ?1 AND group_id = ?3";
    db.conn
        .prepare_cached(sql)?
        .execute(params![parked.n, kept, parked.group.0])?;
    db.crash_point("decision-record")
}

/// Takes changes of a group out of their rows and out of what is sent; what is left of the group
/// goes again.
pub(super) fn leave(db: &mut Db, group: i64, changes: &[i64]) -> Result<(), Error> {
    let sql = "SELECT id, (SELECT count(*) FROM afield_change WHERE group_n = afield_group.n) \
               FROM afield_group WHERE n = ?1";
    let (id, size): ([u8; 16], i64) = db
        .conn
        .prepare_cached(sql)?
        .query_row([group], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let is_whole = usize::try_from(size) == Ok(changes.len());
    let kept = if is_whole {
        let now = db.env.now_ms();
        let sql = "UPDATE afield_group SET state = 'dropped', frozen = NULL, made_at = ?2 \
                   WHERE n = ?1";
        db.conn.prepare_cached(sql)?.execute([group, now])?;
        group
    } else {
        requeue(db, group)?;
        history(db, GroupId(id))?
    };
    db.crash_point("drop-group")?;
    for n in changes {
        let sql = if zoo::planted("drop-forgets-record") {
            "DELETE FROM afield_change WHERE n = ?1 AND ?2"
        } else {
            "UPDATE afield_change SET group_n = ?2, overlay = 0 WHERE n = ?1"
        };
        db.conn.prepare_cached(sql)?.execute([*n, kept])?;
        db.crash_point("drop-change")?;
    }
    if is_whole {
        return Ok(());
    }
    renumber(db, group)
}

/// A change's place is the place of its verdict.
fn renumber(db: &Db, group: i64) -> Result<(), Error> {
    let sql = "SELECT n FROM afield_change WHERE group_n = ?1 ORDER BY at";
    let mut statement = db.conn.prepare_cached(sql)?;
    let rest = statement.query_map([group], |row| row.get(0))?;
    let rest: Vec<i64> = rest.collect::<Result<_, _>>()?;
    let sql = "UPDATE afield_change SET at = ?2 WHERE n = ?1 AND at <> ?2";
    for (at, n) in rest.into_iter().enumerate() {
        let at = i64::try_from(at).unwrap_or(i64::MAX);
        db.conn.prepare_cached(sql)?.execute([n, at])?;
    }
    Ok(())
}

/// Recomputes rows after a decision. A change that goes again is laid over its row again, if that
/// row is there or it makes it.
pub(super) fn recompute(
    db: &Db,
    loaded: &Loaded,
    rows: &BTreeSet<(String, Vec<u8>)>,
) -> Result<(), Error> {
    for (entity, key) in rows {
        if let Ok(table) = loaded.table(entity) {
            let values = read_key(key)?;
            let server = table.server_row(&db.conn, &values)?;
            let now = match &server {
                Some(server) => server.clone(),
                None => table.row(&db.conn, &values)?,
            };
            let sql = "UPDATE afield_change SET overlay = 1 \
                       WHERE entity = ?1 AND key = ?2 AND overlay = 0 AND (op = 'create' OR ?3) \
                       AND group_n IN (SELECT n FROM afield_group WHERE state = 'pending')";
            let again = params![entity, key, now.is_some()];
            if db.conn.prepare_cached(sql)?.execute(again)? > 0 && server.is_none() {
                table.put_server_row(&db.conn, &values, now.as_deref())?;
            }
        }
        overlay::release(db, loaded, entity, key)?;
        page::touch(db, entity)?;
        db.crash_point("decision-row")?;
    }
    Ok(())
}
