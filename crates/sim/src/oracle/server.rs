//! The server's record: the states it was in, the positions it gave, the answers it sent.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use afield_protocol::{Code, GroupId, GroupOutcome, Value};
use rusqlite::Connection;

use super::Counts;
use super::audit::{self, Effect, GRANTS, Line};
use super::scopes::{Mine, ScopeMemory};
use super::tagged::server::{TagHistory, TagMemory};
use super::timed::{Alive, TimedMemory};
use crate::app::{self, Kinds};
use crate::rows::{self, Rows};
use crate::violation::{Promise, Violation};
use crate::{jobs, scoped};

/// All synced entities' rows after one commit, and whose those are that are not everyone's.
struct State {
    rows: Vec<Rc<Rows>>,
    mine: Rc<Vec<Mine>>,
    alive: Rc<Alive>,
}

/// What the oracle knows about the server.
#[derive(Default)]
pub(crate) struct ServerRecord {
    /// After each commit that the oracle saw. Their numbers only grow, even when the server is
    /// set back to an earlier copy.
    states: Vec<State>,
    /// Which state a user's token of an entity stands for, if the entity was complete with it.
    positions: HashMap<(usize, usize, Vec<u8>), Stand>,
    /// What there is beyond what every world has.
    pub(crate) kinds: Kinds,
    /// Every outcome that was ever given for a group.
    answers: HashMap<GroupId, Vec<Answer>>,
    /// What belongs to the present history alone.
    pub(super) history: History,
    backup: Option<History>,
    /// Whether it ever went back to a copy.
    pub(super) is_restored: bool,
    /// The number of the first state after it last did.
    pub(super) set_back: usize,
    /// Groups that it said it lost.
    lost: HashSet<GroupId>,
    /// Groups with which nothing was written when they were applied: what they want was there.
    pub(super) idle: HashSet<GroupId>,
    /// What tagged rows ever were.
    pub(super) tagged: TagMemory,
    /// What rows that are not everyone's ever were, and whose.
    pub(super) scoped: ScopeMemory,
    /// What is known of rows that stay for a time.
    pub(super) timed: TimedMemory,
}

/// What a position stands for.
#[derive(Default)]
struct Stand {
    state: usize,
    /// The projects that were open on the device that got it.
    open: Rc<BTreeSet<i64>>,
}

/// An outcome with the number of the first state that may hold its effect, and of the state in
/// which it was given.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) outcome: GroupOutcome,
    pub(crate) since: usize,
    pub(crate) given: usize,
}

/// What a restore takes back.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    /// Lines of the audit that were read.
    audited: i64,
    /// Effects of pushes.
    pub(super) effects: Counts,
    /// First outcome of each group.
    pub(super) ledger: HashMap<GroupId, GroupOutcome>,
    /// Groups in whose place another one was applied.
    pub(super) replaced: HashSet<GroupId>,
    /// The state in which a group was pushed first.
    pub(super) first_push: HashMap<GroupId, usize>,
    /// The tagged rows.
    pub(super) tagged: TagHistory,
}

impl ServerRecord {
    /// Reads the server's tables after what may have been a commit; gives what the audit logged.
    pub(crate) fn observe(&mut self, conn: &Connection) -> Result<Vec<Line>, Violation> {
        let (lines, last) = audit::read(conn, self.history.audited)?;
        if lines.is_empty() && !self.states.is_empty() {
            return Ok(lines);
        }
        self.history.audited = last;
        let written = |entity| {
            let is_shown = [app::JOB, app::VAN].contains(&entity);
            let mut lines = lines.iter().map(|line| line.row.0);
            lines.any(|at| at == entity || is_shown && [app::PROJECT, GRANTS].contains(&at))
        };
        let rows: Result<Vec<Rc<Rows>>, Violation> = (0..app::ENTITIES)
            .map(|entity| match self.states.last() {
                Some(before) if !written(entity) => Ok(Rc::clone(&before.rows[entity])),
                _ => Ok(Rc::new(self.read_entity(conn, entity)?)),
            })
            .collect();
        let rows = rows?;
        let is_scoped = app::SCOPED.into_iter().chain([GRANTS]).any(written);
        let mine = match self.states.last() {
            Some(before) if !is_scoped => Rc::clone(&before.mine),
            _ => self.read_mine(conn, &rows, &lines)?,
        };
        let is_timed = app::TIMED.into_iter().any(written);
        let alive = match self.states.last() {
            Some(before) if !is_timed => Rc::clone(&before.alive),
            _ => Rc::new(Alive::read(conn)?),
        };
        self.timed.note(&rows[app::SHIFT], &lines);
        self.states.push(State { rows, mine, alive });
        for line in lines.iter().filter(|line| line.is_push) {
            self.history.effects.add(&line.row, line.effect.clone());
        }
        self.note_tagged(&lines)?;
        Ok(lines)
    }

    /// The number of the present state.
    pub(crate) fn now(&self) -> usize {
        self.states.len().saturating_sub(1)
    }

    /// The rows of an entity in a state.
    pub(crate) fn rows(&self, state: usize, entity: usize) -> Rc<Rows> {
        match self.states.get(state) {
            Some(state) => Rc::clone(&state.rows[entity]),
            None => Rc::default(),
        }
    }

    /// The rows of an entity in a state that are a user's, and do not count as deleted.
    pub(crate) fn rows_of(&self, state: usize, user: usize, entity: usize) -> Rc<Rows> {
        match scoped::place(entity) {
            None if app::TIMED.contains(&entity) => {
                let state = self.states.get(state);
                state.map_or_else(Rc::default, |state| state.alive.rows(user, entity))
            }
            None => self.rows(state, entity),
            Some(at) => {
                let mine = self.mine(state, user);
                mine.map_or_else(Rc::default, |mine| Rc::clone(&mine.rows[at]))
            }
        }
    }

    /// What a user holds and may see in a state.
    pub(super) fn mine(&self, state: usize, user: usize) -> Option<&Mine> {
        self.states.get(state)?.mine.get(user)
    }

    /// Notes that `token` was given to a user as the position of a complete entity, just now.
    pub(crate) fn gave_position(
        &mut self,
        of: (usize, usize),
        token: &[u8],
        open: &Rc<BTreeSet<i64>>,
    ) {
        let (state, open) = (self.now(), Rc::clone(open));
        self.positions
            .insert(name(of, token), Stand { state, open });
    }

    /// The state that a complete position of a user and an entity stands for.
    pub(crate) fn state_of(&self, of: (usize, usize), token: &[u8]) -> Option<usize> {
        self.positions
            .get(&name(of, token))
            .map(|stand| stand.state)
    }

    /// The rows that a user's device has at a position, as far as that is known.
    pub(crate) fn rows_at(&self, (user, entity): (usize, usize), token: &[u8]) -> Rc<Rows> {
        match self.positions.get(&name((user, entity), token)) {
            Some(stand) => self.rows_open(stand.state, (user, entity), &stand.open),
            None => Rc::default(),
        }
    }

    /// The rows of a user in a state, where these projects are open.
    pub(crate) fn rows_open(
        &self,
        state: usize,
        (user, entity): (usize, usize),
        open: &BTreeSet<i64>,
    ) -> Rc<Rows> {
        let rows = self.rows_of(state, user, entity);
        if !app::JOBS.contains(&entity) {
            return rows;
        }
        let is_open = |row: &[Value]| jobs::is_open(entity, row, user, open);
        let open = rows.iter().filter(|(_, row)| is_open(row));
        Rc::new(open.map(|(key, row)| (key.clone(), row.clone())).collect())
    }

    /// Notes an outcome that was sent.
    pub(super) fn gave_answer(&mut self, answer: Answer) {
        self.answers
            .entry(answer.outcome.group)
            .or_default()
            .push(answer);
    }

    /// The outcomes that were sent for a group.
    pub(crate) fn answers(&self, group: GroupId) -> &[Answer] {
        self.answers.get(&group).map_or(&[], Vec::as_slice)
    }

    /// Whether the server said that a restore took a group.
    pub(crate) fn is_lost(&self, group: GroupId) -> bool {
        self.lost.contains(&group)
    }

    /// Whether the present history has a group.
    fn has(&self, group: GroupId) -> bool {
        self.settled(group) || self.history.replaced.contains(&group)
    }

    /// Whether what a group wants is in the present history: itself, or all of it without it.
    pub(crate) fn contains(&self, group: GroupId) -> bool {
        self.has(group) || self.idle.contains(&group)
    }

    /// What a device offered is lost if the present history has it not, and only then.
    pub(crate) fn check_lost(
        &mut self,
        offered: &[afield_protocol::History],
        lost: &[GroupId],
    ) -> Result<(), Violation> {
        for group in offered.iter().flat_map(|history| &history.groups) {
            let is_known = self.has(*group);
            let is_lost = lost.contains(group);
            if is_known == is_lost && (is_lost || !self.contains(*group)) {
                let (promise, invariant) = match is_known {
                    true => (Promise::P2, "what the server has is not called lost"),
                    false => (Promise::P1, "what a restore took is told to the device"),
                };
                return Err(Violation::new(promise, invariant, group.to_string()));
            }
        }
        self.lost.extend(lost);
        Ok(())
    }

    /// Whether the server told a group to wait for another one: that is not its end.
    pub(crate) fn made_wait(&self, group: GroupId) -> bool {
        let code = Some(Code::WAITS_FOR);
        let mut answers = self.answers(group).iter();
        answers.any(|answer| answer.outcome.verdicts.iter().any(|v| v.code == code))
    }

    /// Whether the server has settled a group, in the present history.
    pub(crate) fn settled(&self, group: GroupId) -> bool {
        self.history.ledger.contains_key(&group)
    }

    /// Whether the server has applied a group under its own id, in the present history.
    pub(crate) fn has_applied(&self, group: GroupId) -> bool {
        let answer = self.history.ledger.get(&group);
        answer.is_some_and(GroupOutcome::is_applied)
    }

    /// The server's file was copied.
    pub(crate) fn backed_up(&mut self) {
        self.backup = Some(self.history.clone());
    }

    /// The server went back to the copy.
    pub(crate) fn restored(&mut self, conn: &Connection) -> Result<(), Violation> {
        self.is_restored = true;
        self.set_back = self.states.len();
        self.history = self.backup.clone().unwrap_or_default();
        let rows: Result<Vec<Rc<Rows>>, Violation> = (0..app::ENTITIES)
            .map(|entity| Ok(Rc::new(self.read_entity(conn, entity)?)))
            .collect();
        let rows = rows?;
        let mine = self.read_mine(conn, &rows, &[])?;
        let alive = Rc::new(Alive::read(conn)?);
        self.timed.note(&rows[app::SHIFT], &[]);
        self.states.push(State { rows, mine, alive });
        Ok(())
    }

    fn read_entity(&self, conn: &Connection, entity: usize) -> Result<Rows, Violation> {
        if entity == app::DRAFT || !self.kinds.has(entity) {
            return Ok(Rows::new());
        }
        let columns = app::columns(entity).join(", ");
        let sql = format!("SELECT {columns} FROM {}", app::table(entity));
        Ok(rows::read(conn, entity, &sql)?)
    }

    /// How often pushes gave a cell this value, in the present history.
    pub(crate) fn effects(&self, row: &(usize, Vec<u8>), at: usize, value: &Value) -> u32 {
        self.history
            .effects
            .of(row, &Effect::Set(at, value.clone()))
    }
}

/// A token's name in the record: where all rows are everyone's, so is the token.
fn name((user, entity): (usize, usize), token: &[u8]) -> (usize, usize, Vec<u8>) {
    let user = if scoped::is_everyones(entity) {
        0
    } else {
        user
    };
    (user, entity, token.to_vec())
}
