//! One message after another between a device and the server, each looked at on its way.

use std::collections::HashSet;

use afield::ChangeState;
use afield::engine::{Event, Failure};
use afield_protocol::{
    Change, Code, Frame, Group, GroupOutcome, Op, RowBlock, Value, Verdict, VerdictKind,
};

use crate::device::Link;
use crate::model::Entity;
use crate::plan::Fate;
use crate::server::{Answer, Page};
use crate::text::shown;
use crate::watch::Rows;
use crate::world::World;
use crate::wrong::{Done, Wrong};

/// How a device learns that an answer broke off.
pub(crate) fn interrupted() -> Failure {
    Failure::new(Code::INTERRUPTED, "drawn")
}

/// A key as the watch has it.
fn joined(key: &[Value]) -> String {
    let key: Vec<String> = key.iter().map(|value| shown(value.as_ref())).collect();
    key.join(",")
}

impl World<'_> {
    /// A sync goes on by one message.
    pub(crate) fn step(&mut self, at: usize, fate: Fate) -> Done {
        match std::mem::take(&mut self.devices[at].link) {
            Link::Idle => Ok(()),
            Link::Model => {
                let json = self.server.model.device.to_json();
                self.devices[at].give(Event::Model(&json))
            }
            Link::Pause => self.devices[at].give(Event::Waited),
            Link::Request(body) => self.carry(at, &body, fate),
            Link::Answer(answer) => self.read_on(at, answer, fate),
        }
    }

    fn carry(&mut self, at: usize, body: &[u8], fate: Fate) -> Done {
        let lost = |code| Event::Failed(Failure::new(code, "drawn"));
        if fate == Fate::LoseRequest {
            self.seen.cut += 1;
            return self.devices[at].give(lost(Code::UNREACHABLE));
        }
        let request = self.server.read(body)?;
        if !request.groups.is_empty() && self.is_busy() {
            let mut failure = Failure::new(Code::BUSY, "somebody else is writing");
            failure.status = Some(503);
            return self.devices[at].give(Event::Failed(failure));
        }
        let outcomes = self.push(at, &request.groups)?;
        let answer = self.server.answer(request, outcomes)?;
        if fate == Fate::LoseAnswer {
            self.seen.cut += 1;
            return self.devices[at].give(lost(Code::TIMEOUT));
        }
        self.devices[at].link = Link::Answer(answer);
        Ok(())
    }

    fn read_on(&mut self, at: usize, mut answer: Answer, fate: Fate) -> Done {
        if fate != Fate::Arrives {
            self.seen.cut += 1;
            return self.devices[at].give(Event::Failed(interrupted()));
        }
        let user = self.devices[at].user;
        let page = match answer.bytes.is_empty() || answer.next.is_none() {
            true => {
                let caller = self.callers[user].clone();
                self.server.page(&caller, &mut answer)?
            }
            // The outcomes first.
            false => None,
        };
        let mut windows = Vec::new();
        if let Some(page) = &page {
            self.seen.pages += 1;
            self.check_page(at, page)?;
            windows = self.windows(at, page)?;
        }
        let bytes = std::mem::take(&mut answer.bytes);
        if let Some(mark) = self.watch.foreign(user, at, &bytes) {
            let detail = format!("d{at} is sent <m{mark}>");
            return Err(Wrong::new("nothing foreign is sent", detail));
        }
        let is_whole = answer.next.is_none();
        self.devices[at].link = Link::Answer(answer);
        self.devices[at].give(Event::Bytes(&bytes))?;
        if let Some(page) = page {
            self.arrived(at, &page, &windows)?;
        }
        // Unless the engine wants something else by now, it waits for the end.
        if is_whole && matches!(self.devices[at].link, Link::Answer(_)) {
            self.devices[at].link = Link::Idle;
            self.devices[at].give(Event::Closed)?;
        }
        Ok(())
    }

    /// A page is on the device.
    fn arrived(&mut self, at: usize, page: &Page, windows: &[(usize, i64)]) -> Done {
        if !page.is_complete {
            self.seen.staged += 1;
            return self.check_rows(at).map(|_| ());
        }
        self.seen.complete += 1;
        let user = self.devices[at].user;
        for (entity, _) in &page.to {
            let place = self.place(entity)?;
            let window = windows.iter().find(|(of, _)| *of == place);
            let rows = match window {
                None => self.watch.views[user][place].clone(),
                Some((_, instant)) => {
                    let (schema, caller) = (&self.plan.schema, &self.callers[user]);
                    let entity = &self.plan.model.entities[place];
                    self.watch.in_window(schema, entity, caller, *instant)?
                }
            };
            self.seen.compared_rows += rows.len() as u64;
            self.devices[at].has[place] = Some(rows);
        }
        self.check_rows(at)?;
        self.check_foreign(at)
    }

    /// The instants of the windows of a page: the time at which its pull began, and never one
    /// before that of the position it goes on from.
    fn windows(&mut self, at: usize, page: &Page) -> Done<Vec<(usize, i64)>> {
        let mut found = Vec::new();
        let resets = page.frames.iter().find_map(|frame| match frame {
            Frame::Page(page) => Some(page.reset.clone()),
            _ => None,
        });
        for ((entity, from), (_, to)) in page.from.iter().zip(&page.to) {
            let place = self.place(entity)?;
            let Some(keep) = self.plan.model.entities[place].keep else {
                continue;
            };
            let is_reset = resets.iter().flatten().any(|reset| reset == entity);
            let from = from.clone().unwrap_or_default();
            let before = self.instants.get(&(entity.clone(), from)).copied();
            let now = self.server.now();
            let expected = match before {
                None => vec![now],
                // A position that counts no more says nothing of time either.
                Some((instant, _)) if is_reset => vec![now.max(instant), now],
                Some((instant, true)) => vec![now.max(instant)],
                // One entity of a unit may be through before the others.
                Some((instant, false)) => vec![instant, now.max(instant)],
            };
            let table = &self.plan.schema.tables[self.plan.model.entities[place].table];
            let kind = table.due.unwrap_or_default();
            let told = page.frames.iter().find_map(|frame| match frame {
                Frame::Window(window) if window.entity == *entity => Some(window.bound.clone()),
                _ => None,
            });
            let mut instant = None;
            for candidate in &expected {
                let bound = self.watch.time(kind, candidate + keep.hours * 3_600)?;
                if instant.is_none() && told.as_ref() == Some(&bound) {
                    instant = Some(*candidate);
                }
            }
            let Some(instant) = instant else {
                let detail = format!("d{at}: {entity} {told:?}; it is one of {expected:?}");
                return Err(Wrong::new("a window moves as time does", detail));
            };
            self.seen.windows += 1;
            let key = (entity.clone(), to.clone());
            self.instants.insert(key, (instant, page.is_complete));
            found.push((place, instant));
        }
        Ok(found)
    }

    /// What a page says is so in the state that it was read from.
    fn check_page(&mut self, at: usize, page: &Page) -> Done {
        let user = self.devices[at].user;
        for frame in &page.frames {
            match frame {
                Frame::Rows(block) => self.check_block(at, block)?,
                Frame::Gone { entity, keys } => {
                    let place = self.place(entity)?;
                    self.seen.left += keys.len() as u64;
                    for key in keys {
                        let key = joined(key);
                        if self.is_exact && !self.watch.knows(user, place, &key) {
                            let detail = format!("d{at}: {entity} {key}");
                            return Err(Wrong::new("what is gone once was the user's", detail));
                        }
                    }
                }
                Frame::Held(held) => self.seen.lists += held.lost.len() as u64,
                _ => {}
            }
        }
        Ok(())
    }

    fn check_block(&self, at: usize, block: &RowBlock) -> Done {
        let place = self.place(&block.entity)?;
        let entity = &self.plan.model.entities[place];
        let columns = entity.names(&self.plan.schema);
        if block.columns[..columns.len().min(block.columns.len())] != columns {
            let detail = format!("{:?} in place of {columns:?}", block.columns);
            return Err(Wrong::new("rows have the entity's attributes", detail));
        }
        let width = self.plan.schema.tables[entity.table].key_columns().len();
        let mine = &self.watch.views[self.devices[at].user][place];
        block.for_each(|cells| {
            let cells: Vec<String> = cells.iter().map(|cell| shown(cell.as_ref())).collect();
            let (key, row) = (cells[..width].join(","), cells[..columns.len()].join(","));
            match mine.get(&key) {
                Some(expected) if *expected == row => Ok(()),
                expected => {
                    let detail = format!("d{at}: {}: {row}; in SQL {expected:?}", block.entity);
                    Err(Wrong::new(
                        "a row that is sent is the user's, as it is",
                        detail,
                    ))
                }
            }
        })
    }

    fn place(&self, entity: &str) -> Done<usize> {
        let mut all = self.plan.model.entities.iter();
        let place = all.position(|it| it.name == entity);
        place.ok_or_else(|| Wrong::new("pages speak of entities of the model", entity))
    }

    /// The device shows the state that its newest complete page came from, but for rows with
    /// changes of its own; says how many these are.
    pub(crate) fn check_rows(&self, at: usize) -> Done<usize> {
        let device = &self.devices[at];
        let mut changed = 0;
        for (place, has) in device.has.iter().enumerate() {
            let Some(has) = has else { continue };
            let Some((shows, own)) = self.shown(at, place)? else {
                continue;
            };
            changed += own.len();
            let expected: Rows = has
                .iter()
                .filter(|(key, _)| !own.contains(key))
                .map(|(key, row)| (key.clone(), row.clone()))
                .collect();
            if shows != expected {
                let lacks = |a: &Rows, b: &Rows| -> Vec<String> {
                    let lacking = a.iter().filter(|(key, row)| b.get(*key) != Some(row));
                    lacking.map(|(_, row)| row.clone()).collect()
                };
                let detail = format!(
                    "d{at}: {}: in SQL only: {:?}; on the device only: {:?}",
                    self.plan.model.entities[place].name,
                    lacks(&expected, &shows),
                    lacks(&shows, &expected)
                );
                return Err(Wrong::new("a device shows what plain SQL says", detail));
            }
        }
        Ok(changed)
    }

    fn shown(&self, at: usize, place: usize) -> Done<Option<(Rows, Vec<String>)>> {
        let device = &self.devices[at];
        match device.has_model()? {
            false => Ok(None),
            true => device
                .rows(&self.plan.schema, &self.plan.model, place)
                .map(Some),
        }
    }

    /// Nothing in a device's files was never for its user.
    pub(crate) fn check_foreign(&self, at: usize) -> Done {
        let device = &self.devices[at];
        match self.watch.foreign(device.user, at, &device.file_bytes()?) {
            None => Ok(()),
            Some(mark) => {
                let detail = format!("d{at} has <m{mark}>");
                Err(Wrong::new("nothing foreign is on a device", detail))
            }
        }
    }

    /// After a sync of everything, nothing is left in a device's tables of rows that have left.
    pub(crate) fn check_left(&mut self, at: usize) -> Done {
        let mut on_their_way = HashSet::new();
        for change in self.devices[at].store()?.changes()? {
            use ChangeState::{Held, Pending, Sent};
            if matches!(change.state, Held | Pending | Sent) {
                let table = self.plan.model.entities[self.place(&change.entity)?].table;
                on_their_way.insert((table, joined(&change.key)));
            }
        }
        let is_due = self.devices[at].store()?.status()?.erase_due;
        let device = &self.devices[at];
        let (model, who) = (&self.plan.model, (device.user, at));
        for (table, bytes) in device.contents()? {
            let all = |_: &Entity| true;
            if let Some(mark) = self.watch.left(model, all, who, &on_their_way, &bytes) {
                let detail = format!("d{at}: <m{mark}> in {table}");
                return Err(Wrong::new(
                    "what leaves the scope leaves the device",
                    detail,
                ));
            }
        }
        let bytes = device.file_bytes()?;
        let erased = |entity: &Entity| entity.erase;
        if !is_due && let Some(mark) = self.watch.left(model, erased, who, &on_their_way, &bytes) {
            let detail = format!("d{at}: <m{mark}>");
            return Err(Wrong::new("what is to be erased is in no byte", detail));
        }
        Ok(())
    }

    /// The server applies groups, and what they did is looked at.
    fn push(&mut self, at: usize, groups: &[Group]) -> Done<Vec<GroupOutcome>> {
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        // Of what was only for a moment, inside a transaction, the watch sees nothing.
        let changes: usize = groups.iter().map(|group| group.changes.len()).sum();
        self.is_exact &= changes == 1;
        let user = self.devices[at].user;
        let before = self.watch.tables.clone();
        let one = match groups {
            [group] if group.changes.len() == 1 => Some(self.place(&group.changes[0].entity)?),
            _ => None,
        };
        let rights = match one {
            Some(place) => self.rights(place, user)?,
            None => Rights::default(),
        };
        let outcomes = self.server.push(&self.callers[user], groups)?;
        self.look()?;
        for (group, outcome) in groups.iter().zip(&outcomes) {
            for (change, verdict) in group.changes.iter().zip(&outcome.verdicts) {
                self.judged(at, change, verdict)?;
            }
        }
        if let Some(place) = one {
            let is_delete = groups[0].changes[0].op == Op::Delete;
            self.check_right(at, place, &before, (&rights, is_delete))?;
        }
        Ok(outcomes)
    }

    fn judged(&mut self, at: usize, change: &Change, verdict: &Verdict) -> Done {
        let (entity, op) = (&change.entity, change.op);
        let key = joined(&change.key);
        self.say(format!("       {op:?} {entity} {key}: {verdict:?}"));
        match verdict.kind {
            VerdictKind::Applied => self.seen.applied += 1,
            VerdictKind::Conflict => self.seen.conflicts += 1,
            VerdictKind::Rejected => self.seen.refused += 1,
        }
        if op == Op::Delete && verdict.kind == VerdictKind::Applied {
            let table = self.plan.model.entities[self.place(entity)?].table;
            self.watch.deleted(at, table, key);
        }
        Ok(())
    }

    /// What a user may do with the rows of an entity as they are now.
    fn rights(&self, place: usize, user: usize) -> Done<Rights> {
        let entity = &self.plan.model.entities[place];
        let (schema, caller) = (&self.plan.schema, &self.callers[user]);
        let keys = |rule| self.watch.keys_for(schema, entity, rule, caller);
        let mut may_change = keys(&entity.scope)?;
        let mut may_leave = may_change.clone();
        if let Some(write) = &entity.write {
            let some = keys(write)?;
            may_change.retain(|key| some.contains(key));
        }
        if let Some(write_to) = &entity.write_to {
            may_leave = keys(write_to)?;
        }
        Ok(Rights {
            may_change,
            may_leave,
        })
    }

    /// A change of one row wrote nothing but what its user may: the row was his to change, or was
    /// not there, and is what he may leave behind, or is not there.
    fn check_right(
        &self,
        at: usize,
        place: usize,
        tables: &[Rows],
        (before, is_delete): (&Rights, bool),
    ) -> Done {
        let entity = &self.plan.model.entities[place];
        let after = self.rights(place, self.devices[at].user)?;
        let (had, has) = (&tables[entity.table], &self.watch.tables[entity.table]);
        // A reference that is set to null with the row it names is nobody's write.
        let mut own = self.plan.schema.tables[entity.table].foreign.iter();
        if own.any(|foreign| foreign.target == entity.table && !foreign.action.is_empty()) {
            return Ok(());
        }
        for key in had.keys().chain(has.keys()) {
            let (was, is) = (had.get(key), has.get(key));
            if was == is {
                continue;
            }
            let was_his = was.is_none() || before.may_change.contains(key);
            // A delete may be a row that stays and counts as deleted.
            let is_his = is.is_none() || is_delete || after.may_leave.contains(key);
            if !was_his || !is_his {
                let detail = format!("d{at}: {} {key}: {was:?} became {is:?}", entity.name);
                return Err(Wrong::new("nobody writes what he may not", detail));
            }
        }
        Ok(())
    }
}

/// Keys of rows.
#[derive(Default)]
struct Rights {
    /// Of rows in the scope that may be changed.
    may_change: HashSet<String>,
    /// Of rows as they may be left behind.
    may_leave: HashSet<String>,
}
