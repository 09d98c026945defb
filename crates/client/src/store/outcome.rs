//! Storing outcomes: the transaction in which a change leaves the outbox.

use std::collections::BTreeSet;

use afield_protocol::codec::cbor::{read_attributes, read_key, write_attributes, write_key};
use afield_protocol::{Code, GroupId, GroupOutcome, Key, Theirs, Verdict, VerdictKind, zoo};
use rusqlite::{OptionalExtension, params};

use super::db::{Db, Loaded};
use super::ids::rewrite::Renames;
use super::status::OutcomeInfo;
use super::{conflict, erase, overlay, rebase, vacuum};
use crate::error::Error;

/// A change of the group that an outcome speaks of.
struct Settling {
    n: i64,
    entity: String,
    key: Vec<u8>,
    op: String,
    base: Vec<u8>,
    sets: Vec<u8>,
}

/// What became of the outcomes of an answer.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// The final ones, in order.
    pub(super) outcomes: Vec<OutcomeInfo>,
    /// Groups that wait for others and go again, by their place in the outbox.
    pub(super) sent_back: Vec<i64>,
}

/// Stores the outcomes of request `request` and recomputes the rows they concern. Outcomes of
/// groups that are settled already, or not this device's, are ignored. Runs inside a write
/// transaction.
pub(super) fn store(db: &mut Db, request: i64, outcomes: &[GroupOutcome]) -> Result<Stored, Error> {
    let loaded = db.loaded()?;
    let seen_from = seen_from(db, request)?;
    let mut stored = Stored::default();
    let mut rows = BTreeSet::new();
    let mut entities = BTreeSet::new();
    let mut renames = Renames::default();
    for outcome in outcomes {
        let Some(group) = unsettled(db, outcome.group)? else {
            continue;
        };
        let changes = changes(db, group)?;
        if changes.len() != outcome.verdicts.len() {
            let message = format!(
                "the outcome of group {} has the wrong length",
                outcome.group
            );
            return Err(Error::new(Code::MALFORMED, message));
        }
        let waits = |verdict: &Verdict| verdict.code.as_ref() == Some(&Code::WAITS_FOR);
        if !outcome.is_applied() && outcome.verdicts.iter().any(waits) {
            // Not final: the server only says that something else comes first.
            super::again::requeue(db, group)?;
            stored.sent_back.push(group);
            continue;
        }
        let state = match outcome.is_applied() {
            _ if zoo::planted("outcome-without-settling") => "sent",
            true => "settled",
            false => "parked",
        };
        // What was applied lies in the history up to here, and nowhere else.
        let sql = "UPDATE afield_group SET state = ?2, not_before = 0, \
                   checkpoint = (SELECT checkpoint FROM afield_meta) WHERE n = ?1";
        db.conn
            .prepare_cached(sql)?
            .execute(params![group, state])?;
        for (at, (change, verdict)) in changes.into_iter().zip(&outcome.verdicts).enumerate() {
            let is_seen = settle(db, &loaded, seen_from, &change, verdict)?;
            if let Some(key) = &verdict.key {
                renames.add(&loaded, change.n, &change.entity, &change.key, key)?;
            }
            let new_key = match &verdict.key {
                Some(key) => Some(key.clone()),
                None if renames.is_empty() => None,
                None => renames.name(&loaded, &change.entity, &change.key)?,
            };
            let ended = record(db, &change, outcome, at, verdict, new_key)?;
            stored.outcomes.push(ended);
            db.crash_point("outcome")?;
            entities.insert(change.entity.clone());
            if is_seen {
                rows.insert((change.entity, change.key));
            }
        }
        if outcome.is_applied() {
            forget_sent_only(db, &loaded, group)?;
        }
    }
    renames.apply(db, &loaded)?;
    for (entity, key) in rows {
        overlay::release(db, &loaded, &entity, &key)?;
        db.crash_point("outcome-row")?;
    }
    entities
        .iter()
        .try_for_each(|entity| super::page::touch(db, entity))?;
    Ok(stored)
}

/// The place in the outbox of a group that waits for its outcome.
fn unsettled(db: &Db, id: GroupId) -> Result<Option<i64>, Error> {
    let sql = "SELECT n FROM afield_group WHERE id = ?1 AND state IN ('pending', 'sent')";
    let mut statement = db.conn.prepare_cached(sql)?;
    let group = statement.query_row([id.0], |row| row.get(0));
    Ok(group.optional()?)
}

/// The first request whose complete pull contains what the answer to `request` applied: this one,
/// whose rows come after its outcomes, unless others have been sent since. Their rows may have
/// been read before the change was applied.
fn seen_from(db: &Db, request: i64) -> Result<i64, Error> {
    let sql = "SELECT request FROM afield_meta";
    let newest: i64 = db
        .conn
        .prepare_cached(sql)?
        .query_row([], |row| row.get(0))?;
    let is_newest = request == newest || zoo::planted("overlay-ends-by-number");
    Ok(if is_newest { request } else { newest + 1 })
}

fn changes(db: &Db, group: i64) -> Result<Vec<Settling>, Error> {
    let sql = "SELECT n, entity, key, op, base, sets FROM afield_change \
               WHERE group_n = ?1 ORDER BY at";
    let mut statement = db.conn.prepare_cached(sql)?;
    let rows = statement.query_map([group], |row| {
        Ok(Settling {
            n: row.get(0)?,
            entity: row.get(1)?,
            key: row.get(2)?,
            op: row.get(3)?,
            base: row.get(4)?,
            sets: row.get(5)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Changes what the overlay is, by the verdict. An applied change stays an overlay until a pull
/// has seen it; a refused one until the app decides. Says whether the row may be seen otherwise
/// than before.
fn settle(
    db: &Db,
    loaded: &Loaded,
    seen_from: i64,
    change: &Settling,
    verdict: &Verdict,
) -> Result<bool, Error> {
    match verdict.kind {
        VerdictKind::Applied => applied(db, loaded, seen_from, change, verdict),
        _ => not_applied(db, loaded, change, verdict).map(|()| true),
    }
}

fn applied(
    db: &Db,
    loaded: &Loaded,
    seen_from: i64,
    change: &Settling,
    verdict: &Verdict,
) -> Result<bool, Error> {
    let (entity, key, n) = (&change.entity, &change.key, change.n);
    let mut sets = read_attributes(&change.sets)?;
    let counters = match verdict.values.is_empty() {
        true => Vec::new(),
        false => rebase::counters(loaded, entity),
    };
    // A counter stays the difference that the user made.
    let values = verdict.values.iter();
    let values = values.filter(|(name, _)| change.op != "update" || !counters.contains(name));
    sets.extend(values.map(|(name, value)| (name.clone(), value.clone())));
    if verdict.values.is_empty() {
        let sql = "UPDATE afield_change SET seen_from = ?2 WHERE n = ?1";
        db.conn
            .prepare_cached(sql)?
            .execute(params![n, seen_from])?;
    } else {
        let sql = "UPDATE afield_change SET seen_from = ?2, sets = ?3 WHERE n = ?1";
        let values = params![n, seen_from, write_attributes(&sets)];
        db.conn.prepare_cached(sql)?.execute(values)?;
    }
    rebase::known(db, loaded, entity, key, n, &sets)?;
    let is_last = rebase::became(db, loaded, entity, key, n, sets)?;
    let leaves = loaded
        .table(entity)
        .is_ok_and(|table| table.entity.insert_only);
    Ok(leaves || !is_last || !verdict.values.is_empty() || verdict.key.is_some())
}

fn not_applied(
    db: &Db,
    loaded: &Loaded,
    change: &Settling,
    verdict: &Verdict,
) -> Result<(), Error> {
    match verdict.kind {
        VerdictKind::Applied => Ok(()),
        VerdictKind::Conflict => {
            if verdict.code.as_ref() == Some(&Code::ABSORBED_KNOWN) {
                conflict::count_as_seen(db, loaded, &change.entity, &change.key, change.n)?;
            }
            let theirs = match &verdict.theirs {
                Some(Theirs::Row(row)) => Some(write_attributes(row)),
                Some(Theirs::Gone) | None => None,
            };
            let sql = "UPDATE afield_change SET theirs = ?2, refreshed = 0 WHERE n = ?1";
            db.conn
                .prepare_cached(sql)?
                .execute(params![change.n, theirs])?;
            match &verdict.theirs {
                // The answer has just shown the row: whatever a pull said before, it is there.
                Some(Theirs::Row(_)) => Ok(()),
                _ => erase::given_up(db, loaded, &change.entity, &change.key),
            }
        }
        VerdictKind::Rejected if verdict.code.as_ref() == Some(&Code::GONE) => {
            // The entity may have left the model since.
            match loaded.table(&change.entity) {
                Ok(table) => erase::row(db, table, &change.key),
                Err(_) => Ok(()),
            }
        }
        // It was on the server once, and those behind it are made on it: it goes first again.
        VerdictKind::Rejected if verdict.code.as_ref() == Some(&Code::LOST_BY_RESTORE) => Ok(()),
        VerdictKind::Rejected => {
            not_on_server(db, loaded, change)?;
            erase::given_up(db, loaded, &change.entity, &change.key)
        }
    }
}

/// Later edits flow past a refused one. Its values are not on the server, so they are not in
/// their bases either, where any change of a row counts as a conflict.
fn not_on_server(db: &Db, loaded: &Loaded, change: &Settling) -> Result<(), Error> {
    if !rebase::detects_conflicts(loaded, &change.entity) || change.op != "update" {
        return Ok(());
    }
    let (base, sets) = (
        read_attributes(&change.base)?,
        read_attributes(&change.sets)?,
    );
    let before = super::decide::before(&base, &sets);
    rebase::undone(db, loaded, &change.entity, &change.key, change.n, before)
}

/// Rows that are sent and forgotten leave with their changes, now that the group is applied.
fn forget_sent_only(db: &Db, loaded: &Loaded, group: i64) -> Result<(), Error> {
    let mut forgotten = 0;
    for table in loaded
        .tables
        .iter()
        .filter(|table| table.entity.insert_only)
    {
        let sql = "DELETE FROM afield_change WHERE group_n = ?1 AND entity = ?2";
        let values = params![group, table.entity.name];
        let gone = db.conn.prepare_cached(sql)?.execute(values)?;
        if gone > 0 {
            vacuum::due(db, table)?;
        }
        forgotten += gone;
    }
    if forgotten > 0 {
        db.crash_point("forget")?;
        let sql = "UPDATE afield_group SET frozen = NULL WHERE n = ?1";
        db.conn.prepare_cached(sql)?.execute([group])?;
        let sql = "DELETE FROM afield_group WHERE n = ?1 \
                   AND NOT EXISTS (SELECT 1 FROM afield_change WHERE group_n = ?1)";
        db.conn.prepare_cached(sql)?.execute([group])?;
    }
    Ok(())
}

fn record(
    db: &mut Db,
    change: &Settling,
    outcome: &GroupOutcome,
    at: usize,
    verdict: &Verdict,
    new_key: Option<Key>,
) -> Result<OutcomeInfo, Error> {
    let now = db.env.now_ms();
    let sql = "INSERT INTO afield_outcome \
               (change_n, group_id, at, entity, key, op, result, code, attribute, message, \
                new_key, stored_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    db.conn.prepare_cached(sql)?.execute(params![
        change.n,
        outcome.group.0,
        i64::try_from(at).unwrap_or(i64::MAX),
        change.entity,
        change.key,
        change.op,
        verdict.kind.as_str(),
        verdict.code.as_ref().map(Code::as_str),
        verdict.attribute,
        verdict.message,
        new_key.as_ref().map(|key| write_key(key)),
        now,
    ])?;
    Ok(OutcomeInfo {
        n: db.conn.last_insert_rowid(),
        change: super::status::change_name(&outcome.group, at),
        entity: change.entity.clone(),
        key: read_key(&change.key)?,
        op: super::outbox::op(&change.op)?,
        result: verdict.kind,
        code: verdict.code.clone(),
        attribute: verdict.attribute.clone(),
        message: verdict.message.clone(),
        new_key,
    })
}
