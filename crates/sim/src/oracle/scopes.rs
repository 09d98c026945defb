//! Whose rows are: by the oracle's own SQL, for every state of the server. A page tells a user of
//! his rows alone; a push writes them alone, and refers to them alone.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use afield_protocol::codec::Malformed;
use afield_protocol::codec::cbor::{read_key, write_key};
use afield_protocol::{Change, Code, Frame, Group, GroupOutcome, Op, RowBlock};
use afield_protocol::{Theirs, Value, Verdict, VerdictKind};
use rusqlite::Connection;

use super::audit::{Effect, Line};
use super::push::{Pushed, row_of};
use super::server::ServerRecord;
use crate::app;
use crate::rows::{self, RowName, Rows, display_name};
use crate::violation::{Promise, Violation};
use crate::{jobs, scoped, timed};

/// What a user may see in one state, and what he holds.
#[derive(Debug, Default)]
pub(crate) struct Mine {
    /// Of each entity whose rows are not everyone's.
    pub(super) rows: Vec<Rc<Rows>>,
    districts: BTreeSet<i64>,
    teams: BTreeSet<i64>,
    seats: BTreeSet<i64>,
}

/// Values that a user held.
#[derive(Debug, Default)]
struct Held {
    districts: BTreeSet<i64>,
    teams: BTreeSet<i64>,
    seats: BTreeSet<i64>,
    shops: HashSet<Vec<u8>>,
}

/// What rows that are not everyone's ever were, in whatever history.
#[derive(Debug, Default)]
pub(crate) struct ScopeMemory {
    /// By user: what he held at some time, and the shops that he held by it.
    held: Vec<Held>,
    /// What decided at some time whose a row was: a shop's district; a task's shop, team and owner;
    /// a project's identifier; a job's project and owner.
    deciding: HashMap<RowName, HashSet<Vec<Value>>>,
    /// Rows that one transaction wrote more than once: whose they were in between, marks know.
    flapped: HashSet<RowName>,
    /// The rows in which each text stood.
    pub(super) texts: HashMap<String, BTreeSet<RowName>>,
    /// By user: texts that stood in his rows.
    pub(super) seen: Vec<HashSet<String>>,
}

/// The places of the attributes that decide, of each such entity.
const DECIDING: [std::ops::Range<usize>; 4] = [1..2, 1..4, 0..1, 1..3];

impl ScopeMemory {
    /// Whether a user may be told that a row is gone. A mark tells what decided when the row was
    /// written, not what its user held at that moment: a value that was lost and came back between
    /// two pulls counts as held throughout.
    fn may_know(&self, user: usize, name: &RowName) -> bool {
        let held = &self.held[user];
        let was_mine = |deciding: &Vec<Value>| match deciding.as_slice() {
            [project] if name.0 == app::PROJECT => holds(&held.seats, project),
            [project, owner] => {
                *owner == Value::Text(scoped::user(user)) || holds(&held.seats, project)
            }
            [district] => holds(&held.districts, district),
            [shop, team, owner] => {
                *owner == Value::Text(scoped::user(user))
                    || holds(&held.teams, team)
                        && held.shops.contains(&write_key(std::slice::from_ref(shop)))
            }
            _ => false,
        };
        let mut deciding = self.deciding.get(name).into_iter().flatten();
        deciding.any(was_mine) || self.flapped.contains(name)
    }
}

impl ServerRecord {
    /// Asks the database whose rows are, and notes it.
    pub(super) fn read_mine(
        &mut self,
        conn: &Connection,
        all: &[Rc<Rows>],
        lines: &[Line],
    ) -> Result<Rc<Vec<Mine>>, Violation> {
        let users = 0..scoped::USERS as usize;
        let mine: Result<Vec<Mine>, _> = users.map(|user| self.mine_now(conn, user)).collect();
        let mine = mine?;
        let memory = &mut self.scoped;
        memory.held.resize_with(mine.len(), Held::default);
        memory.seen.resize_with(mine.len(), HashSet::new);
        for entity in app::SCOPED {
            for (key, row) in all[entity].iter() {
                let name = (entity, key.clone());
                let deciding = row[DECIDING[entity - app::SHOP].clone()].to_vec();
                memory.deciding.entry(name).or_default().insert(deciding);
                for text in row.iter().filter_map(scoped::marked) {
                    let of = memory.texts.entry(text.to_owned()).or_default();
                    of.insert((entity, key.clone()));
                }
            }
        }
        for (user, mine) in mine.iter().enumerate() {
            let held = &mut memory.held[user];
            held.districts.extend(&mine.districts);
            held.teams.extend(&mine.teams);
            held.seats.extend(&mine.seats);
            held.shops.extend(mine.rows[0].keys().cloned());
            for row in mine.rows.iter().flat_map(|rows| rows.values()) {
                let texts = row.iter().filter_map(scoped::marked);
                memory.seen[user].extend(texts.map(str::to_owned));
            }
        }
        memory.flapped.extend(written_twice(lines));
        Ok(Rc::new(mine))
    }

    /// What a page tells of such entities: rows as they are, of this user; and that a row is gone
    /// only if it may have been his.
    pub(crate) fn check_page(&self, user: usize, frames: &[Frame]) -> Result<(), Violation> {
        for frame in frames {
            match frame {
                Frame::Rows(block) => self.check_block(user, block)?,
                Frame::Gone { entity, keys } => {
                    let Some(entity) = app::place(entity) else {
                        continue;
                    };
                    let mut names = keys.iter().map(|key| (entity, write_key(key)));
                    if app::TIMED.contains(&entity) {
                        self.check_gone(user, names.clone())?;
                    }
                    if scoped::is_everyones(entity) {
                        continue;
                    }
                    let may_know = |name: &RowName| match scoped::place(name.0) {
                        Some(_) => self.scoped.may_know(user, name),
                        None => self.timed.may_know(user, name),
                    };
                    if let Some(name) = names.find(|name| !may_know(name)) {
                        let detail = format!("user{user}: {} is gone", display_name(&name));
                        let invariant = "nobody is told of a row that was never his";
                        return Err(Violation::new(Promise::P7, invariant, detail));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn check_block(&self, user: usize, block: &RowBlock) -> Result<(), Violation> {
        let is_told = |at: &usize| app::SCOPED.contains(at) || app::TIMED.contains(at);
        let Some(entity) = app::place(&block.entity).filter(is_told) else {
            return Ok(());
        };
        let mine = self.rows_of(self.now(), user, entity);
        let width = app::width(entity);
        let (mut foreign, mut is_there) = (None, false);
        let read = block.for_each(|cells| {
            let row = cells
                .iter()
                .take(width)
                .map(|cell| cell.as_ref().to_value());
            let row: Vec<Value> = row.collect();
            let key = write_key(&row[..app::key_width(entity)]);
            if mine.get(&key) != Some(&row) {
                is_there = self.rows(self.now(), entity).get(&key) == Some(&row);
                foreign = Some(rows::display(entity, Some(&row)));
            }
            Ok::<(), Malformed>(())
        });
        if let Err(error) = read {
            let invariant = "a page can be read";
            return Err(Violation::new(Promise::Sound, invariant, error.to_string()));
        }
        match foreign {
            None => Ok(()),
            Some(row) => {
                let invariant = match is_there && timed::is_soft(entity) {
                    true => "a row that counts as deleted is never told",
                    false => "a page has rows of its user alone",
                };
                let detail = format!("user{user}: {} {row}", app::name(entity));
                Err(Violation::new(Promise::P7, invariant, detail))
            }
        }
    }

    /// What a push wrote was its user's before and is afterwards, and refers to what he can read.
    pub(super) fn check_rights(&self, push: &Pushed<'_>) -> Result<(), Violation> {
        let is_scoped = |line: &&Line| line.is_push && app::SCOPED.contains(&line.row.0);
        let lines: Vec<&Line> = push.lines.iter().filter(is_scoped).collect();
        let made: HashSet<&RowName> = (lines.iter())
            .filter(|line| line.effect == Effect::Insert)
            .map(|line| &line.row)
            .collect();
        let has_parents = |entity| {
            let parent = reference(entity).map(|(_, parent)| parent);
            lines.iter().any(|line| Some(line.row.0) == parent)
        };
        for line in &lines {
            let (entity, key) = &line.row;
            let fail = |invariant| {
                let detail = format!(
                    "user{}: {} {:?}",
                    push.user,
                    display_name(&line.row),
                    line.effect
                );
                Err(Violation::new(Promise::P7, invariant, detail))
            };
            let mine = |state| self.rows_of(state, push.user, *entity);
            if !made.contains(&line.row) && !mine(push.before).contains_key(key) {
                return fail("nobody writes what is not his");
            }
            let is_there = self.rows(self.now(), *entity).contains_key(key);
            // A shop that moves or goes behind the task of the same push takes it along.
            let may_have_left = has_parents(*entity);
            if is_there && !may_have_left && !mine(self.now()).contains_key(key) {
                return fail("what somebody wrote is his");
            }
            if let Effect::Set(at, parent) = &line.effect
                && let Some((attribute, to)) = reference(*entity)
                && *at == app::attribute_place(*entity, attribute)
                && !parent.is_null()
                && !self.reads(push, to, parent)
            {
                return fail("nobody refers to what he cannot read");
            }
            if let Effect::Set(at, value) = &line.effect
                && jobs::breaks(*entity, *at, value)
            {
                let invariant = "nobody writes what breaks a rule";
                let detail = format!("{}: {:?}", display_name(&line.row), line.effect);
                return Err(Violation::new(Promise::P6, invariant, detail));
            }
        }
        Ok(())
    }

    fn reads(&self, push: &Pushed<'_>, to: usize, parent: &Value) -> bool {
        let key = write_key(std::slice::from_ref(parent));
        let mut states = [push.before, self.now()].into_iter();
        states.any(|state| self.rows_of(state, push.user, to).contains_key(&key))
    }

    fn mine_now(&self, conn: &Connection, user: usize) -> Result<Mine, Violation> {
        let name = scoped::user(user);
        let rows = |entity: usize| {
            if !self.kinds.has(entity) {
                return Ok(Rc::default());
            }
            let columns = app::columns(entity).join(", ");
            let (table, is_mine) = (app::table(entity), scoped::is_mine(entity));
            let sql = format!("SELECT {columns} FROM {table} WHERE {is_mine}");
            rows::read_with(conn, entity, &sql, &[&name]).map(Rc::new)
        };
        let held = |sql: &str| -> rusqlite::Result<BTreeSet<i64>> {
            let mut statement = conn.prepare_cached(sql)?;
            let found = statement.query_map([&name], |row| row.get(0))?;
            found.collect()
        };
        Ok(Mine {
            rows: app::SCOPED
                .map(rows)
                .into_iter()
                .collect::<Result<_, _>>()?,
            districts: held("SELECT district FROM member WHERE user = ?1")?,
            teams: held("SELECT team FROM crew WHERE user = ?1")?,
            seats: held("SELECT project FROM seat WHERE user = ?1")?,
        })
    }

    /// What verdicts tell of such rows is of the user's own.
    pub(super) fn check_told(
        &self,
        push: &Pushed<'_>,
        group: &Group,
        outcome: &GroupOutcome,
    ) -> Result<(), Violation> {
        for (change, verdict) in group.changes.iter().zip(&outcome.verdicts) {
            let Some(name) = row_of(change).filter(|name| app::SCOPED.contains(&name.0)) else {
                continue;
            };
            let tells = matches!(verdict.theirs, Some(Theirs::Row(_)))
                || !verdict.values.is_empty()
                || !verdict.overwritten.is_empty();
            if tells && !self.is_or_was_mine(push, &name) {
                let invariant = "a verdict tells of its user's rows alone";
                let detail = format!("user{}: {}: {verdict:?}", push.user, display_name(&name));
                return Err(Violation::new(Promise::P7, invariant, detail));
            }
        }
        Ok(())
    }

    /// Whether a row was the user's before a push, or is after it.
    fn is_or_was_mine(&self, push: &Pushed<'_>, name: &RowName) -> bool {
        let mut states = [push.before, self.now()].into_iter();
        states.any(|state| self.rows_of(state, push.user, name.0).contains_key(&name.1))
    }

    /// Whether a repeated group got its answer, without what is not there for its user by now.
    pub(super) fn is_same_answer(
        &self,
        user: usize,
        group: &Group,
        first: &GroupOutcome,
        again: &GroupOutcome,
    ) -> bool {
        let verdicts = first.verdicts.iter().zip(&again.verdicts);
        let mut all = group.changes.iter().zip(verdicts);
        first.group == again.group
            && first.verdicts.len() == again.verdicts.len()
            && all.all(|(change, (first, again))| {
                let is_there = app::place(&change.entity).is_some_and(|entity| {
                    let key = first.key.as_ref().unwrap_or(&change.key);
                    let rows = self.rows_of(self.now(), user, entity);
                    rows.contains_key(&write_key(key))
                });
                first == again || !is_there && silent(first) == *again
            })
    }

    /// A change of such a row was refused for a reason that is so.
    pub(super) fn check_scoped_reason(
        &self,
        push: &Pushed<'_>,
        group: &Group,
        change: &Change,
        verdict: &Verdict,
    ) -> Result<(), Violation> {
        let Some(name) = row_of(change).filter(|name| app::SCOPED.contains(&name.0)) else {
            return Ok(());
        };
        let Some(code) = verdict
            .code
            .as_ref()
            .filter(|_| verdict.kind != VerdictKind::Applied)
        else {
            return Ok(());
        };
        let states = [push.before, self.now()];
        let mine = |state: usize| self.rows_of(state, push.user, name.0);
        let is_mine = |state: &usize| mine(*state).contains_key(&name.1);
        let others = push.groups.iter().flat_map(|group| &group.changes);
        // What other changes of the same push did in between, no state says.
        let is_blurred = others
            .filter(|other| !std::ptr::eq(*other, change))
            .filter_map(row_of)
            .any(|other| other == name || [app::SHOP, app::PROJECT].contains(&other.0));
        let is_so = match code {
            code if *code == Code::GONE => is_blurred || !states.iter().all(is_mine),
            code if *code == Code::FORBIDDEN => {
                is_blurred || self.would_be_foreign(push, change, &name)
            }
            code if *code == Code::KEY_TAKEN => {
                let is_there = |state: &usize| self.rows(*state, name.0).contains_key(&name.1);
                is_blurred || states.iter().any(|s| is_there(s) && !is_mine(s))
            }
            code if *code == Code::KEY_EXISTS => is_blurred || states.iter().any(is_mine),
            code if *code == Code::REFERENCE => reference(name.0).is_some_and(|(attribute, to)| {
                let parent = change.set.get(attribute).filter(|value| !value.is_null());
                let reads = |parent| {
                    let key = write_key(std::slice::from_ref(parent));
                    let mut states = states.into_iter();
                    states.all(|s| self.rows_of(s, push.user, to).contains_key(&key))
                };
                parent.is_some_and(|parent| is_blurred || !reads(parent))
            }),
            code if jobs::is_rule(code) => {
                let place = |name: &String| app::attribute_place(app::JOB, name);
                let mut set = change.set.iter();
                let title = change.set.contains_key("title");
                name.0 == app::JOB
                    && (set.any(|(at, value)| jobs::breaks(app::JOB, place(at), value))
                        || change.op == Op::Create && !title)
            }
            code if *code == Code::ABSORBED_KNOWN => self.is_absorbed(group),
            code => *code == Code::GROUP_REFUSED || *code == Code::WAITS_FOR,
        };
        if is_so {
            return Ok(());
        }
        let invariant = "a change is refused for a reason that is so";
        let detail = format!(
            "user{} group {}: {change:?}: {verdict:?}",
            push.user, group.id
        );
        Err(Violation::new(Promise::P6, invariant, detail))
    }

    /// Whether a change would make its row somebody else's.
    fn would_be_foreign(&self, push: &Pushed<'_>, change: &Change, name: &RowName) -> bool {
        let before = self.rows_of(push.before, push.user, name.0);
        let before = before.get(&name.1);
        if change.op == Op::Update && before.is_none() || change.op == Op::Delete {
            return false;
        }
        let value = |attribute: &str| {
            let place = app::attribute_place(name.0, attribute);
            let set = change.set.get(attribute).cloned();
            set.or_else(|| before.map(|row| row[place].clone()))
                .unwrap_or(Value::Null)
        };
        let Some(mine) = self.mine(push.before, push.user) else {
            return true;
        };
        let is_owner = || value("owner") == Value::Text(scoped::user(push.user));
        match name.0 {
            app::SHOP => return !holds(&mine.districts, &value("district")),
            app::PROJECT => {
                let key = read_key(&name.1).unwrap_or_default();
                return !key.first().is_some_and(|id| holds(&mine.seats, id));
            }
            app::JOB => return !(is_owner() || holds(&mine.seats, &value("project"))),
            _ => {}
        }
        let shops = self.rows(push.before, app::SHOP);
        let shop = shops.get(&write_key(&[value("shop")]));
        let district = app::attribute_place(app::SHOP, "district");
        let in_district = shop.is_some_and(|shop| holds(&mine.districts, &shop[district]));
        !(is_owner() || in_district && holds(&mine.teams, &value("team")))
    }
}

/// The attribute of such an entity that refers to another one, and that.
fn reference(entity: usize) -> Option<(&'static str, usize)> {
    match entity {
        app::TASK => Some(("shop", app::SHOP)),
        app::JOB => Some(("project", app::PROJECT)),
        _ => None,
    }
}

fn holds(held: &BTreeSet<i64>, value: &Value) -> bool {
    matches!(value, Value::Integer(n) if held.contains(n))
}

/// Rows that the lines of one transaction wrote more than once.
fn written_twice(lines: &[Line]) -> HashSet<RowName> {
    let mut found = HashSet::new();
    let mut places: BTreeMap<&RowName, Vec<Option<usize>>> = BTreeMap::new();
    for line in lines
        .iter()
        .filter(|line| app::SCOPED.contains(&line.row.0))
    {
        let place = match line.effect {
            Effect::Set(at, _) => Some(at),
            Effect::Insert | Effect::Delete | Effect::Remove => None,
        };
        let written = places.entry(&line.row).or_default();
        let is_deleted = line.effect == Effect::Delete && !written.is_empty();
        if is_deleted || written.contains(&place) {
            found.insert(line.row.clone());
        }
        written.push(place);
    }
    found
}

/// A verdict without what it tells of the row.
fn silent(verdict: &Verdict) -> Verdict {
    Verdict {
        values: Default::default(),
        overwritten: Default::default(),
        theirs: verdict.theirs.as_ref().map(|_| Theirs::Gone),
        ..verdict.clone()
    }
}
