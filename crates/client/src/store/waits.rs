//! Which groups are held, written down for whoever reads the file.
//!
//! [`held`](super::held) says it from the whole outbox and the clock. Other programs cannot, so
//! each write transaction ends by noting it for the groups from the first one on that it changed:
//! a group depends only on what stands before it. As long as nothing is parked and nothing backs
//! off there is nothing to note; an edit that follows another one knows that without a look.

use std::collections::BTreeMap;

use afield_protocol::dependence::Blocked;
use rusqlite::hooks::Action;
use rusqlite::params;

use super::db::Db;
use super::outbox::{Queue, Waiting, waiting};
use crate::error::Error;

/// Stands for the end of a pause where a group waits for a decision.
const PARKED: i64 = 0;

/// What a transaction wrote of the outbox, as SQLite's update hook saw it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    group: Option<i64>,
    change: Option<i64>,
    outcome: bool,
    /// Whether a group that was there is another one now: only so does one begin to stop others.
    regrouped: bool,
}

impl Written {
    /// Notes a row of a table.
    pub(super) fn note(&mut self, action: Action, table: &str, n: i64) {
        let first = |before: Option<i64>| Some(before.map_or(n, |before| before.min(n)));
        match table {
            "afield_group" => {
                self.group = first(self.group);
                self.regrouped |= action != Action::SQLITE_INSERT;
            }
            "afield_change" => self.change = first(self.change),
            "afield_outcome" => self.outcome = true,
            _ => {}
        }
    }

    /// Takes everything for changed.
    pub(super) fn note_all(&mut self) {
        self.outcome = true;
    }

    fn is_any(self) -> bool {
        self.group.is_some() || self.change.is_some() || self.outcome
    }

    /// The first group that may stand otherwise than before.
    fn first(self, db: &Db) -> Result<i64, Error> {
        if self.outcome {
            return Ok(0);
        }
        let mut first = self.group.unwrap_or(i64::MAX);
        if let Some(change) = self.change {
            // If the change is gone its group is that of the one before it, or comes after that.
            let sql = "SELECT min(group_n) FROM afield_change WHERE n >= \
                       coalesce((SELECT max(n) FROM afield_change WHERE n < ?1), 0)";
            let mut select = db.conn.prepare_cached(sql)?;
            let group: Option<i64> = select.query_row([change], |row| row.get(0))?;
            first = first.min(group.unwrap_or(i64::MAX));
        }
        Ok(first)
    }
}

/// Notes what is held, at the end of a transaction that wrote this. Says whether nothing stops
/// anything; `was_calm` if it is known that so it was when the transaction began.
pub(super) fn refresh(db: &mut Db, written: Written, was_calm: bool) -> Result<bool, Error> {
    if was_calm && !written.regrouped && !written.outcome {
        return Ok(true);
    }
    if !written.is_any() || !db.has_model() {
        return Ok(false);
    }
    let sql = "SELECT EXISTS (SELECT 1 FROM afield_group WHERE state = 'parked') \
               OR EXISTS (SELECT 1 FROM afield_group WHERE not_before > 0), \
               EXISTS (SELECT 1 FROM afield_waits)";
    let mut select = db.conn.prepare_cached(sql)?;
    let (stopped, noted) = select.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    drop(select);
    if stopped {
        note(db, written.first(db)?)?;
    } else if noted {
        db.conn.execute("DELETE FROM afield_waits", [])?;
        db.crash_point("held-noted")?;
    }
    Ok(!stopped)
}

/// Notes what is held from group `first` on.
fn note(db: &mut Db, first: i64) -> Result<(), Error> {
    let loaded = db.loaded()?;
    // What stands in the way, by the end of its pause: each of them is over by itself.
    let mut stopped: BTreeMap<i64, Blocked> = BTreeMap::new();
    for (n, until) in before(db, first)? {
        if let Some(waiting) = waiting(db, n)? {
            waiting.block(stopped.entry(until).or_default())?;
        }
    }
    let mut held = Vec::new();
    let mut queue = Queue::behind(first.saturating_sub(1));
    while let Some(waiting) = queue.next(db)? {
        if waiting.state == "parked" {
            waiting.block(stopped.entry(PARKED).or_default())?;
            continue;
        }
        for (until, blocked) in &mut stopped {
            if waiting.is_held(blocked, &loaded.model)? {
                waiting.block(blocked)?;
                held.push((waiting.n, *until));
            }
        }
        if let Some(until) = pause(&waiting) {
            waiting.block(stopped.entry(until).or_default())?;
        }
    }
    store(db, first, &held)
}

fn pause(waiting: &Waiting) -> Option<i64> {
    (waiting.not_before > 0).then_some(waiting.not_before)
}

/// Groups before `first` that stand in the way of others, and until when.
fn before(db: &Db, first: i64) -> Result<Vec<(i64, i64)>, Error> {
    let sql = "SELECT n, 0 FROM afield_group WHERE state = 'parked' AND n < ?1 \
               UNION SELECT n, not_before FROM afield_group WHERE not_before > 0 \
               AND state IN ('pending', 'sent') AND n < ?1 \
               UNION SELECT group_n, until FROM afield_waits WHERE group_n < ?1 ORDER BY 1";
    let mut select = db.conn.prepare_cached(sql)?;
    let found = select.query_map([first], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Writes only what is otherwise than before: most often nothing.
fn store(db: &Db, first: i64, held: &[(i64, i64)]) -> Result<(), Error> {
    let sql = "SELECT group_n, until FROM afield_waits WHERE group_n >= ?1 ORDER BY group_n, until";
    let mut select = db.conn.prepare_cached(sql)?;
    let noted = select.query_map([first], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let noted: Vec<(i64, i64)> = noted.collect::<Result<_, _>>()?;
    drop(select);
    if noted == held {
        return Ok(());
    }
    let sql = "DELETE FROM afield_waits WHERE group_n >= ?1";
    db.conn.prepare_cached(sql)?.execute([first])?;
    db.crash_point("held-noted")?;
    let sql = "INSERT INTO afield_waits (group_n, until) VALUES (?1, ?2)";
    for (group, until) in held {
        db.conn
            .prepare_cached(sql)?
            .execute(params![group, until])?;
        db.crash_point("held-noted")?;
    }
    Ok(())
}
