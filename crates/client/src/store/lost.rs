//! Groups that took effect, and then did not: the server's database was set back to before them, or
//! goes on as a copy that never had them.
//!
//! ```text
//!   settled ──the server does not know it──► parked `lost-by-restore` ──retry──► pending
//! ```
//!
//! The server notices by the checkpoint of a request, applies nothing of it, and asks what was
//! settled: a later change must not be judged while an earlier one that it builds on is missing.
//! What it never had is laid over the rows again, so that the user reads what he wrote. Rows that
//! the server had numbered are called by their temporary identifiers again: it may have given the
//! number to another row since.

use std::collections::BTreeMap;

use afield_protocol::codec::cbor::{read_attributes, read_key, write_attributes};
use afield_protocol::{
    Attributes, Checkpoint, Code, GroupId, GroupOutcome, History, Op, Value, Verdict, zoo,
};
use rusqlite::{OptionalExtension, params};

use super::db::{Db, Loaded};
use super::ids::rewrite::Renames;
use super::status::OutcomeInfo;
use super::sync_store::SyncStore;
use super::tables::Table;
use super::{again, checkpoint, conflict, doubt, outcome};
use crate::error::Error;

/// Groups that one request offers.
const OFFERED: i64 = 1_000;

/// What the server is told of the groups that took effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// The device's identity.
    pub device: String,
    /// The model's fingerprint.
    pub fingerprint: String,
    /// The newest checkpoints.
    pub checkpoints: Vec<Checkpoint>,
    /// The groups, oldest first.
    pub history: Vec<History>,
    /// The place of the last one in the outbox; the next offer goes on behind it.
    pub last: i64,
    /// Whether there are more.
    pub more: bool,
}

impl SyncStore {
    /// The groups that took effect as far as this device knows and still remembers, from behind
    /// place `after` of the outbox on.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn offer(&mut self, after: i64) -> Result<Offer, Error> {
        let fingerprint = self.db.loaded()?.fingerprint.clone();
        let checkpoints = checkpoint::told(&self.db)?;
        self.told.clone_from(&checkpoints);
        let conn = &self.db.conn;
        let device = conn.query_row("SELECT device FROM afield_meta", [], |row| row.get(0))?;
        let sql = "SELECT n, id, checkpoint FROM afield_group \
                   WHERE state = 'settled' AND n > ?1 ORDER BY n LIMIT ?2";
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query([after, OFFERED])?;
        let (mut history, mut last, mut count) = (Vec::<History>::new(), after, 0);
        while let Some(row) = rows.next()? {
            last = row.get(0)?;
            count += 1;
            let (id, checkpoint): ([u8; 16], Checkpoint) = (row.get(1)?, row.get(2)?);
            match history.last_mut().filter(|it| it.checkpoint == checkpoint) {
                Some(history) => history.groups.push(GroupId(id)),
                None => history.push(History {
                    checkpoint,
                    groups: vec![GroupId(id)],
                }),
            }
        }
        if history.is_empty() {
            // Nothing is something to say, too: it ends the question.
            history.push(History {
                checkpoint: Checkpoint::new(),
                groups: Vec::new(),
            });
        }
        Ok(Offer {
            device,
            fingerprint,
            checkpoints,
            history,
            last,
            more: count == OFFERED,
        })
    }

    /// Sends groups that a restore of the server's database took again, without asking; they are
    /// parked until somebody decides otherwise. Off at first.
    pub fn resend_lost(&mut self, resends: bool) {
        self.resends_lost = resends;
    }

    /// Parks the groups that the server never had. With the last answer to all that was offered,
    /// `reached` is its checkpoint: from then on this device is of that history.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn store_lost(
        &mut self,
        groups: &[GroupId],
        reached: Option<&Checkpoint>,
    ) -> Result<Vec<OutcomeInfo>, Error> {
        self.synchronous("FULL")?;
        let (resends, told) = (self.resends_lost, &self.told);
        let outcomes = self.db.write("lost", |db| {
            if let Some(reached) = reached {
                checkpoint::keep(db, reached, told)?;
            }
            let outcomes = park(db, groups)?;
            if reached.is_some() {
                let loaded = db.loaded()?;
                doubt::begin(db, &loaded)?;
                doubt::park_imported(db, &loaded)?;
            }
            if resends && reached.is_some() {
                resend(db)?;
            }
            Ok(outcomes)
        })?;
        if let Some(reached) = reached {
            self.reached(reached.clone());
        }
        Ok(if resends { Vec::new() } else { outcomes })
    }
}

/// A change of a lost group.
struct Change {
    entity: String,
    key: Vec<u8>,
    op: Op,
    base: Attributes,
    set: Attributes,
    /// Whether it still lies over its row: no pull has shown that row since.
    is_overlay: bool,
}

/// Parks groups that are settled, each change with its outcome. Others are passed over: an answer
/// may come twice.
fn park(db: &mut Db, groups: &[GroupId]) -> Result<Vec<OutcomeInfo>, Error> {
    let loaded = db.loaded()?;
    let mut lost = BTreeMap::new();
    for id in groups {
        let sql = "SELECT n FROM afield_group WHERE id = ?1 AND state = 'settled'";
        let found: Option<i64> = (db.conn.prepare_cached(sql)?)
            .query_row([id.0], |row| row.get(0))
            .optional()?;
        if let Some(n) = found {
            lost.insert(n, (*id, changes(db, n)?));
        }
    }
    if lost.is_empty() || zoo::planted("lost-not-parked") {
        return Ok(Vec::new());
    }
    let mut renames = Renames::back();
    for (n, (_, changes)) in lost.iter().rev() {
        for change in changes.iter().rev() {
            take_back(db, &loaded, change)?;
            renames.add_lost(db, &loaded, &change.entity, &change.key, change.op)?;
        }
        if zoo::planted("lost-not-laid") {
            continue;
        }
        // Of a row that left meanwhile nothing is to be seen but a row that the user made.
        let sql = "UPDATE afield_change SET overlay = op = 'create' OR base <> ?2, \
                   seen_from = NULL, theirs = NULL, refreshed = 0 WHERE group_n = ?1";
        let erased = write_attributes(&Attributes::new());
        db.conn.prepare_cached(sql)?.execute(params![n, erased])?;
        db.crash_point("lost-laid")?;
    }
    renames.apply(db, &loaded)?;
    let mut outcomes = Vec::new();
    for (n, (group, changes)) in lost {
        let sql = "UPDATE afield_group SET state = 'sent' WHERE n = ?1";
        db.conn.prepare_cached(sql)?.execute([n])?;
        let message = "the server's database was set back to before this change";
        let verdict = Verdict::rejected(Code::LOST_BY_RESTORE, message);
        outcomes.push(GroupOutcome {
            group,
            verdicts: vec![verdict; changes.len()],
        });
    }
    Ok(outcome::store(db, 0, &outcomes)?.outcomes)
}

fn changes(db: &Db, group: i64) -> Result<Vec<Change>, Error> {
    let sql = "SELECT entity, key, op, base, sets, overlay FROM afield_change \
               WHERE group_n = ?1 ORDER BY at";
    let mut statement = db.conn.prepare_cached(sql)?;
    let mut rows = statement.query([group])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (op, base, set): (String, Vec<u8>, Vec<u8>) = (row.get(2)?, row.get(3)?, row.get(4)?);
        found.push(Change {
            entity: row.get(0)?,
            key: row.get(1)?,
            op: super::outbox::op(&op)?,
            base: read_attributes(&base)?,
            set: read_attributes(&set)?,
            is_overlay: row.get(5)?,
        });
    }
    Ok(found)
}

/// Takes a change that pulls have shown out of the server's row, as far as it is known here, so
/// that it can be laid over it again. The next pull brings the row as it is.
fn take_back(db: &Db, loaded: &Loaded, change: &Change) -> Result<(), Error> {
    // The entity may have left the model since.
    let Ok(table) = loaded.table(&change.entity) else {
        return Ok(());
    };
    let key = read_key(&change.key)?;
    let server = table.known_row(&db.conn, &key)?;
    let before = match change.is_overlay {
        true => server,
        false => without(table, &key, server, change),
    };
    table.put_server_row(&db.conn, &key, before.as_deref())
}

/// A row as it was before a change that it contains.
fn without(
    table: &Table,
    key: &[Value],
    row: Option<Vec<Value>>,
    change: &Change,
) -> Option<Vec<Value>> {
    match change.op {
        Op::Create => None,
        Op::Update => {
            let mut row = row?;
            for (attribute, cell) in table.entity.attributes.iter().zip(&mut row) {
                let name = &attribute.name;
                let Some((set, before)) = change.set.get(name).zip(change.base.get(name)) else {
                    continue;
                };
                *cell = match attribute.counter {
                    // The difference that was made, the other way round.
                    true => {
                        let made = Attributes::from([(name.clone(), set.clone())]);
                        conflict::counted(&made, Some(cell), name, before)
                    }
                    false => before.clone(),
                };
            }
            Some(row)
        }
        Op::Delete if change.base.is_empty() => row,
        Op::Delete => {
            let value = |name| change.base.get(name).cloned().unwrap_or(Value::Null);
            let values = table.entity.values().iter().map(|it| value(&it.name));
            Some(key.iter().cloned().chain(values).collect())
        }
    }
}

/// Sends everything that was lost again, oldest first.
fn resend(db: &mut Db) -> Result<(), Error> {
    let loaded = db.loaded()?;
    let sql = "SELECT DISTINCT g.n FROM afield_group AS g \
               JOIN afield_outcome AS o ON o.group_id = g.id \
               WHERE g.state = 'parked' AND o.code = ?1 ORDER BY g.n";
    let mut statement = db.conn.prepare_cached(sql)?;
    let lost = statement.query_map([Code::LOST_BY_RESTORE.as_str()], |row| row.get(0))?;
    let lost: Vec<i64> = lost.collect::<Result<_, _>>()?;
    drop(statement);
    for group in lost {
        let mates = conflict::Parked::of_group(db, group)?;
        again::resume(db, &loaded, group)?;
        let rows = mates.iter().map(|it| (it.entity.clone(), it.key.clone()));
        again::recompute(db, &loaded, &rows.collect())?;
    }
    Ok(())
}
