//! Rows that stay for a time, or count as deleted and stay in their table.
//!
//! The oracle knows the time by which each position was given: pages say it in their bounds, and
//! each is held against the world's own clock. Which rows count as deleted, and whose a shift is,
//! it asks the database by SQL of its own.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use afield_protocol::codec::cbor::write_key;
use afield_protocol::{Change, Code, Frame, Group, Op, Position, Value, Verdict, VerdictKind};
use afield_server::storage::PulledPage;
use rusqlite::Connection;

use super::audit::{Effect, Line};
use super::push::{Pushed, row_of};
use super::server::ServerRecord;
use crate::app;
use crate::rows::{self, RowName, Rows, display_name};
use crate::violation::{Promise, Violation};
use crate::{scoped, timed};

/// The rows of these entities in one state that do not count as deleted.
#[derive(Debug, Default)]
pub(super) struct Alive {
    events: Rc<Rows>,
    cards: Rc<Rows>,
    /// By user.
    shifts: Vec<Rc<Rows>>,
}

/// What is known of them beyond the states.
#[derive(Debug, Default)]
pub(crate) struct TimedMemory {
    /// The instant of a pull, in seconds since 1970, by a user's position of an entity.
    instants: HashMap<(usize, usize, Vec<u8>), i64>,
    /// Whose a shift ever was, if only for a moment.
    owners: HashMap<Vec<u8>, HashSet<Value>>,
}

impl TimedMemory {
    /// Whether a user may be told that a row is gone.
    pub(super) fn may_know(&self, user: usize, (entity, key): &RowName) -> bool {
        let name = Value::Text(scoped::user(user));
        let was_his = |owners: &HashSet<Value>| owners.contains(&name);
        *entity != app::SHIFT || self.owners.get(key).is_some_and(was_his)
    }

    /// Notes whose shifts were.
    pub(super) fn note(&mut self, shifts: &Rows, lines: &[Line]) {
        let place = app::attribute_place(app::SHIFT, "owner");
        for (key, row) in shifts {
            let owners = self.owners.entry(key.clone()).or_default();
            owners.insert(row[place].clone());
        }
        for line in lines.iter().filter(|line| line.row.0 == app::SHIFT) {
            if let Effect::Set(at, owner) = &line.effect
                && *at == place
            {
                let owners = self.owners.entry(line.row.1.clone()).or_default();
                owners.extend([owner.clone(), line.old.clone()]);
            }
        }
    }
}

impl Alive {
    /// Asks the database; nothing if the world has no such rows.
    pub(super) fn read(conn: &Connection) -> Result<Self, Violation> {
        if !has_table(conn, app::SHIFT)? {
            return Ok(Self::default());
        }
        let read = |entity: usize, owner: Option<String>| {
            let (columns, table) = (app::columns(entity).join(", "), app::table(entity));
            let alive = timed::is_alive(entity, &table);
            let sql = format!(
                "SELECT {columns} FROM {table} WHERE {alive} AND ?1 IS {}",
                match entity {
                    app::SHIFT => "owner",
                    _ => "NULL",
                }
            );
            rows::read_with(conn, entity, &sql, &[&owner]).map(Rc::new)
        };
        let users = 0..scoped::USERS as usize;
        let shifts = users.map(|user| read(app::SHIFT, Some(scoped::user(user))));
        Ok(Self {
            events: read(app::EVENT, None)?,
            cards: read(app::CARD, None)?,
            shifts: shifts.collect::<Result<_, _>>()?,
        })
    }

    /// The rows of an entity that are a user's.
    pub(super) fn rows(&self, user: usize, entity: usize) -> Rc<Rows> {
        match entity {
            app::EVENT => Rc::clone(&self.events),
            app::CARD => Rc::clone(&self.cards),
            _ => self.shifts.get(user).map(Rc::clone).unwrap_or_default(),
        }
    }
}

/// Whether the team's database has the table of an entity.
pub(super) fn has_table(conn: &Connection, entity: usize) -> Result<bool, Violation> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)";
    let name = app::table(entity).replace('"', "");
    Ok(conn
        .prepare_cached(sql)?
        .query_row([name], |row| row.get(0))?)
}

impl ServerRecord {
    /// The instant by which a user's position of an entity was given.
    pub(crate) fn instant_of(&self, (user, entity): (usize, usize), token: &[u8]) -> Option<i64> {
        let name = (user, entity, token.to_vec());
        self.timed.instants.get(&name).copied()
    }

    /// The rows of a state that time leaves to who stands at this position.
    pub(crate) fn kept(&self, rows: Rc<Rows>, of: (usize, usize), token: &[u8]) -> Rc<Rows> {
        if timed::time_place(of.1).is_none() {
            return rows;
        }
        let Some(at) = self.instant_of(of, token) else {
            return Rc::default();
        };
        let stays = |(_, row): &(&Vec<u8>, &Vec<Value>)| timed::stays(of.1, row, at);
        let kept = rows.iter().filter(stays);
        Rc::new(kept.map(|(key, row)| (key.clone(), row.clone())).collect())
    }

    /// The bounds that a page tells are those of the world's time `now`, or of the time that stands
    /// still since the pull began, and never of an earlier one than was told before.
    pub(crate) fn check_bounds(
        &mut self,
        user: usize,
        from: &[(String, Option<Position>)],
        page: &PulledPage,
        now: i64,
    ) -> Result<(), Violation> {
        let is_reset = |name: &str| {
            let mut frames = page.frames.iter();
            frames.any(|f| matches!(f, Frame::Page(page) if page.reset.iter().any(|e| e == name)))
        };
        for (name, token) in &page.end.to {
            let Some(entity) = app::place(name).filter(|at| timed::time_place(*at).is_some())
            else {
                continue;
            };
            let bounds = page.frames.iter().filter_map(|frame| match frame {
                Frame::Window(window) if window.entity == *name => Some(&window.bound),
                _ => None,
            });
            let bounds: Vec<&String> = bounds.collect();
            let told = match bounds.as_slice() {
                [bound] => timed::instant(entity, bound),
                _ => None,
            };
            let since = from.iter().find(|(entity, _)| entity == name);
            let since = since.and_then(|(_, token)| token.as_deref());
            let before = since.and_then(|token| self.instant_of((user, entity), token));
            let is_whole = since.is_some_and(|t| self.state_of((user, entity), t).is_some());
            let mut allowed = vec![before.map_or(now, |before| before.max(now))];
            allowed.extend(before.filter(|_| !is_whole));
            allowed.extend(is_reset(name).then_some(now));
            let Some(told) = told.filter(|told| allowed.contains(told)) else {
                let invariant = "a bound is that of the server's time, which never goes back";
                let detail = format!("user{user} {name}: {bounds:?}; now {now}, before {before:?}");
                return Err(Violation::new(Promise::P5, invariant, detail));
            };
            let name = (user, entity, token.to_vec());
            self.timed.instants.insert(name, told);
        }
        Ok(())
    }

    /// Nobody is told that such a row is gone while it is there for him, in its window or not.
    pub(super) fn check_gone(
        &self,
        user: usize,
        mut names: impl Iterator<Item = RowName>,
    ) -> Result<(), Violation> {
        let is_there = |(entity, key): &RowName| {
            let rows = self.rows_of(self.now(), user, *entity);
            rows.contains_key(key)
        };
        match names.find(is_there) {
            None => Ok(()),
            Some(name) => {
                let invariant = "a row that is there is not told as gone";
                let detail = format!("user{user}: {}", display_name(&name));
                Err(Violation::new(Promise::P4, invariant, detail))
            }
        }
    }

    /// What a push wrote to such rows.
    pub(super) fn check_timed_rights(&self, push: &Pushed<'_>) -> Result<(), Violation> {
        let lines = push.lines.iter();
        for line in lines.filter(|line| line.is_push && app::TIMED.contains(&line.row.0)) {
            let (entity, key) = &line.row;
            let fail = |promise, invariant| {
                let of = display_name(&line.row);
                let detail = format!("user{}: {of} {:?}", push.user, line.effect);
                Err(Violation::new(promise, invariant, detail))
            };
            if line.effect == Effect::Remove {
                return fail(Promise::P1, "no device removes a row that is to stay");
            }
            if *entity != app::SHIFT {
                continue;
            }
            let his = |state: usize| {
                let rows = self.rows(state, app::SHIFT);
                let owner = rows.get(key).map(|row| row[1].clone());
                owner.is_none_or(|owner| owner == Value::Text(scoped::user(push.user)))
            };
            if !his(push.before) {
                return fail(Promise::P7, "nobody writes what is not his");
            }
            if !his(self.now()) {
                return fail(Promise::P7, "what somebody wrote is his");
            }
            if let Effect::Set(at, card) = &line.effect
                && *at == app::attribute_place(app::SHIFT, "card")
                && !card.is_null()
                && !self.is_card(push, card)
            {
                return fail(Promise::P7, "nobody refers to what counts as deleted");
            }
        }
        Ok(())
    }

    /// Whether a card was there before a push or after it, or is written by it.
    fn is_card(&self, push: &Pushed<'_>, card: &Value) -> bool {
        let key = write_key(std::slice::from_ref(card));
        let mut states = [push.before, self.now()].into_iter();
        states.any(|state| {
            let cards = self.rows_of(state, push.user, app::CARD);
            cards.contains_key(&key)
        }) || is_written(push, None, &(app::CARD, key))
    }

    /// A change of such a row was applied or refused for a reason that is so, in some state since
    /// its group came first.
    pub(super) fn check_timed_reason(
        &self,
        push: &Pushed<'_>,
        group: &Group,
        change: &Change,
        verdict: &Verdict,
    ) -> Result<(), Violation> {
        let Some(name) = row_of(change).filter(|name| app::TIMED.contains(&name.0)) else {
            return Ok(());
        };
        let first = self.history.first_push.get(&group.id).copied();
        let states = first.unwrap_or(push.before).saturating_sub(1)..=self.now();
        let states = states.start().min(&push.before).to_owned()..=self.now();
        let any = |holds: &dyn Fn(usize) -> bool| states.clone().any(holds);
        let is_mine = |state: usize| {
            let rows = self.rows_of(state, push.user, name.0);
            rows.contains_key(&name.1)
        };
        let is_there = |state: usize| self.rows(state, name.0).contains_key(&name.1);
        let is_blurred = is_written(push, Some(change), &name);
        let is_so = match &verdict.code {
            _ if is_blurred => true,
            _ if verdict.kind == VerdictKind::Applied => match change.op {
                Op::Create => says_deleted(change) || any(&is_mine),
                Op::Update => any(&is_mine),
                Op::Delete => any(&|state| !is_mine(state)),
            },
            None => false,
            Some(code) if *code == Code::GONE => any(&|state| !is_mine(state)),
            Some(code) if *code == Code::KEY_EXISTS => any(&is_mine),
            Some(code) if *code == Code::KEY_TAKEN => any(&|s| is_there(s) && !is_mine(s)),
            Some(code) if *code == Code::FORBIDDEN => {
                name.0 == app::SHIFT && any(&|state| self.is_handed_on(push, state, change, &name))
            }
            Some(code) if *code == Code::REFERENCE => {
                let card = change.set.get("card").filter(|card| !card.is_null());
                let key = card.map(|card| (app::CARD, write_key(std::slice::from_ref(card))));
                key.is_some_and(|card| {
                    let lacks = |s| !(self.rows_of(s, push.user, app::CARD)).contains_key(&card.1);
                    any(&lacks) || is_written(push, None, &card)
                })
            }
            Some(code) if *code == Code::ABSORBED_KNOWN => self.is_absorbed(group),
            Some(code) => *code == Code::GROUP_REFUSED || *code == Code::WAITS_FOR,
        };
        if is_so {
            return Ok(());
        }
        let invariant = "a change is applied or refused for a reason that is so";
        let detail = format!(
            "user{} group {}: {change:?}: {verdict:?}",
            push.user, group.id
        );
        Err(Violation::new(Promise::P6, invariant, detail))
    }

    /// Whether a change would make its shift somebody else's.
    fn is_handed_on(
        &self,
        push: &Pushed<'_>,
        state: usize,
        change: &Change,
        name: &RowName,
    ) -> bool {
        let rows = self.rows(state, app::SHIFT);
        let before = rows.get(&name.1).map(|row| row[1].clone());
        let owner = change.set.get("owner").cloned().or(before);
        owner != Some(Value::Text(scoped::user(push.user)))
    }
}

/// Whether a change of a push, another one than `this`, is of this row.
fn is_written(push: &Pushed<'_>, this: Option<&Change>, name: &RowName) -> bool {
    let mut changes = push.groups.iter().flat_map(|group| &group.changes);
    changes.any(|other| {
        !this.is_some_and(|this| std::ptr::eq(this, other)) && row_of(other).as_ref() == Some(name)
    })
}

/// Whether a create says itself that its row counts as deleted.
fn says_deleted(change: &Change) -> bool {
    change.set.get("active") == Some(&Value::Integer(0))
}
