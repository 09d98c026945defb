//! Sending a group again, and keeping what a decision replaces.
//!
//! A group that goes again has a new id that absorbs the old one. Its old name stays with what was
//! decided about, in a group of the history. As long as a conflict of the group is open it stays
//! parked under its old id, so that its changes keep their names; what was decided waits in it.

use std::collections::BTreeSet;

use afield_protocol::codec::cbor::{read_key, write_attributes};
use afield_protocol::{Closing, Code, GroupId, Op, zoo};
use rusqlite::{OptionalExtension, params};

use super::conflict::{DECIDED, Parked};
use super::db::{Db, Loaded};
use super::seal::NEXT_CHANGE;
use super::sql::row_attributes;
use super::{inbox, overlay, page, rebase};
use crate::error::Error;

/// Makes a group pending again under a new id that absorbs the old one. What was sent under the
/// old one never takes effect: the server remembers that it did not. What somebody decided about,
/// or the server answered, is of now, and not of when it was made.
pub(super) fn requeue(db: &mut Db, group: i64) -> Result<GroupId, Error> {
    let (old, absorbed) = identity(db, group)?;
    let mut absorbed = match is_known(db, group, old)? {
        true => Vec::new(),
        false => absorbed,
    };
    absorbed.extend_from_slice(&old);
    let mut id = db.random_id();
    if zoo::planted("retry-same-id") {
        (id, absorbed) = (old, Vec::new());
    }
    let sql = "UPDATE afield_group SET id = ?2, absorbed = ?3, state = 'pending', frozen = NULL, \
               hash = NULL, received = 0, attempts = 0, not_before = 0, \
               checkpoint = (SELECT checkpoint FROM afield_meta) WHERE n = ?1";
    db.conn
        .prepare_cached(sql)?
        .execute(params![group, id, absorbed])?;
    db.crash_point("requeue")?;
    Ok(GroupId(id))
}

/// Gives a group that was not sent another id, which stands in the place of the old one.
pub(super) fn rename(db: &mut Db, group: i64) -> Result<(), Error> {
    let (old, mut absorbed) = identity(db, group)?;
    absorbed.extend_from_slice(&old);
    let id = db.random_id();
    let sql = "UPDATE afield_group SET id = ?2, absorbed = ?3 WHERE n = ?1";
    let values = params![group, id, absorbed];
    db.conn.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// Whether somebody saw that an absorbed group had been applied, and decided knowing that: only
/// this group itself must not take effect any more. The others would stand against it for ever.
fn is_known(db: &Db, group: i64, id: [u8; 16]) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM afield_change AS c JOIN afield_outcome AS o ON o.change_n = c.n \
               WHERE c.group_n IN (?1, ?2) AND o.group_id = ?3 AND o.code = ?4";
    let decided = decided(db, group, id)?.unwrap_or(group);
    let known = params![group, decided, id, Code::ABSORBED_KNOWN.as_str()];
    Ok(db.conn.prepare_cached(sql)?.exists(known)?)
}

/// A group's id and those that it absorbs.
fn identity(db: &Db, group: i64) -> Result<([u8; 16], Vec<u8>), Error> {
    let sql = "SELECT id, absorbed FROM afield_group WHERE n = ?1";
    let mut statement = db.conn.prepare_cached(sql)?;
    Ok(statement.query_row([group], |row| Ok((row.get(0)?, row.get(1)?)))?)
}

/// The group of the history that keeps what was decided of a group so far. While that one still
/// goes by its id, this one has another and says in whose place it stands.
fn decided(db: &Db, group: i64, id: [u8; 16]) -> Result<Option<i64>, Error> {
    let sql = "SELECT n FROM afield_group WHERE state = 'dropped' AND n > ?1 AND absorbed = ?2";
    let mut statement = db.conn.prepare_cached(sql)?;
    Ok(statement
        .query_row(params![group, id], |row| row.get(0))
        .optional()?)
}

/// The same, made if there is none yet.
fn history(db: &mut Db, group: i64) -> Result<i64, Error> {
    let (id, _) = identity(db, group)?;
    if let Some(decided) = decided(db, group, id)? {
        return Ok(decided);
    }
    let (own, now) = (db.random_id(), db.env.now_ms());
    let sql = "INSERT INTO afield_group (id, absorbed, state, made_at) \
               VALUES (?1, ?2, 'dropped', ?3)";
    db.conn
        .prepare_cached(sql)?
        .execute(params![own, id, now])?;
    Ok(db.conn.last_insert_rowid())
}

/// Keeps a parked change as it was, with its outcome, before it goes again as something else.
pub(super) fn record(db: &mut Db, parked: &Parked) -> Result<(), Error> {
    let group = history(db, parked.group_n)?;
    let sql = format!(
        "INSERT INTO afield_change \
         (n, group_n, at, entity, key, op, base, sets, overlay, theirs) \
         VALUES ({NEXT_CHANGE}, ?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8)"
    );
    db.conn.prepare_cached(&sql)?.execute(params![
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
pub(super) fn leave(
    db: &mut Db,
    loaded: &Loaded,
    group: i64,
    changes: &[i64],
) -> Result<(), Error> {
    let kept = history(db, group)?;
    db.crash_point("drop-group")?;
    // What was decided otherwise before has its record at this place already.
    let at = "CASE WHEN EXISTS (SELECT 1 FROM afield_change AS k \
              WHERE k.group_n = ?2 AND k.at = afield_change.at) \
              THEN (SELECT max(at) + 1 FROM afield_change WHERE group_n IN (?2, ?3)) \
              ELSE at END";
    for n in changes {
        let sql = if zoo::planted("drop-forgets-record") {
            "DELETE FROM afield_change WHERE n = ?1 AND ?2 AND ?3".to_owned()
        } else {
            format!("UPDATE afield_change SET group_n = ?2, overlay = 0, at = {at} WHERE n = ?1")
        };
        db.conn.prepare_cached(&sql)?.execute([*n, kept, group])?;
        db.crash_point("drop-change")?;
    }
    resume(db, loaded, group)
}

/// Sends again what is left of a group, unless a conflict in it is still open: what nobody decided
/// about may have been applied already, and whoever sends it again may do it twice.
pub(super) fn resume(db: &mut Db, loaded: &Loaded, group: i64) -> Result<(), Error> {
    let left = Parked::of_group(db, group)?;
    if left.iter().any(Parked::is_conflict) {
        return Ok(());
    }
    let (id, absorbed) = identity(db, group)?;
    let decided = decided(db, group, id)?;
    let sql = "SELECT 1 FROM afield_group WHERE n = ?1 AND state = 'parked'";
    let was_parked = db.conn.prepare_cached(sql)?.exists([group])?;
    let sql = "SELECT 1 FROM afield_change WHERE group_n = ?1";
    let is_left = db.conn.prepare_cached(sql)?.exists([group])?;
    let absorbed = match is_left {
        true => {
            requeue(db, group)?;
            Vec::new()
        }
        false => {
            let sql = "DELETE FROM afield_group WHERE n = ?1";
            db.conn.prepare_cached(sql)?.execute([group])?;
            absorbed
        }
    };
    if let Some(decided) = decided.filter(|_| !zoo::planted("retry-same-id")) {
        give_name(db, decided, id, &absorbed)?;
    }
    if was_parked {
        let how = match is_left {
            true => Closing::SentAgain,
            false => Closing::Dropped,
        };
        inbox::close(db, GroupId(id), how)?;
    }
    renumber(db, group)?;
    count_from_server(db, loaded, &left)?;
    rebase::resumed(db, loaded, group)
}

/// The name under which it was decided is free now: the history has it.
fn give_name(db: &Db, decided: i64, id: [u8; 16], absorbed: &[u8]) -> Result<(), Error> {
    let sql = "UPDATE afield_group SET id = ?2, absorbed = ?3 WHERE n = ?1";
    let name = params![decided, id, absorbed];
    db.conn.prepare_cached(sql)?.execute(name)?;
    Ok(())
}

/// A parked group was applied on the server in the place of this one, under another id: it goes on
/// as if it had been sent under that, and its outcome is to be stored.
pub(super) fn became(db: &mut Db, group: i64, into: GroupId) -> Result<(), Error> {
    let (old, mut absorbed) = identity(db, group)?;
    let decided = decided(db, group, old)?;
    absorbed.extend_from_slice(&old);
    let sql = "UPDATE afield_group SET id = ?2, absorbed = ?3, state = 'sent', frozen = NULL, \
               hash = NULL, received = 0, attempts = 0, not_before = 0 WHERE n = ?1";
    let values = params![group, into.0, absorbed];
    db.conn.prepare_cached(sql)?.execute(values)?;
    db.crash_point("became")?;
    if let Some(decided) = decided {
        give_name(db, decided, old, &[])?;
    }
    renumber(db, group)
}

/// Where a counter's base was erased with its row, and the row is back, the user's number stands:
/// what is sent is its difference to the server's.
fn count_from_server(db: &Db, loaded: &Loaded, changes: &[Parked]) -> Result<(), Error> {
    for change in changes.iter().filter(|change| change.op == Op::Update) {
        let Ok(table) = loaded.table(&change.entity) else {
            continue;
        };
        let mut missing = table.entity.counters();
        missing.retain(|name| change.set.contains_key(name) && !change.base.contains_key(name));
        if missing.is_empty() {
            continue;
        }
        let server = table.known_row(&db.conn, &read_key(&change.key)?)?;
        let Some(server) = server.map(|row| row_attributes(&table.entity, &row)) else {
            continue;
        };
        let mut base = change.base.clone();
        base.extend(
            server
                .into_iter()
                .filter(|(name, _)| missing.contains(name)),
        );
        let sql = "UPDATE afield_change SET base = ?2 WHERE n = ?1";
        let bound = params![change.n, write_attributes(&base)];
        db.conn.prepare_cached(sql)?.execute(bound)?;
    }
    Ok(())
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
            let sql = format!(
                "UPDATE afield_change AS c SET overlay = 1 \
                 WHERE entity = ?1 AND key = ?2 AND overlay = 0 AND (op = 'create' OR ?3) \
                 AND EXISTS (SELECT 1 FROM afield_group AS g \
                             WHERE g.n = c.group_n AND (g.state = 'pending' OR {DECIDED}))"
            );
            let again = params![entity, key, now.is_some()];
            if db.conn.prepare_cached(&sql)?.execute(again)? > 0 && server.is_none() {
                table.put_server_row(&db.conn, &values, now.as_deref())?;
            }
        }
        overlay::release(db, loaded, entity, key)?;
        page::touch(db, entity)?;
        db.crash_point("decision-row")?;
    }
    Ok(())
}
