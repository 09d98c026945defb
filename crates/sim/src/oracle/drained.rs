//! What must be true once nothing fails any more and every device has synchronised a few times.

use std::collections::{BTreeSet, HashSet};
use std::rc::Rc;

use afield_protocol::codec::cbor::{read_key, write_key};
use afield_protocol::{Code, GroupId, Op, Value};

use super::device::{DeviceRecord, is_erased, is_own, lay, rows_under, state_of};
use super::server::ServerRecord;
use super::view::{Entry, GroupState};
use crate::app;
use crate::rows::{RowName, display, display_name};
use crate::timed;
use crate::violation::{Promise, Violation};

impl DeviceRecord {
    /// Nothing waits but what depends on a parked change, or on one that the team's trigger
    /// fails on while it is `poisoned`.
    pub(crate) fn check_drained(&self, poisoned: bool) -> Result<(), Violation> {
        let mut stuck = Stuck::default();
        let mut log = self.view.log.as_slice();
        while let Some(first) = log.first() {
            let length = log
                .iter()
                .take_while(|entry| entry.group == first.group)
                .count();
            let (group, rest) = log.split_at(length);
            log = rest;
            let is_stuck = match first.state {
                GroupState::Settled | GroupState::Dropped => false,
                GroupState::Parked => true,
                GroupState::Pending | GroupState::Sent => {
                    let is_excused = poisoned && group.iter().any(is_poison) || stuck.holds(group);
                    if !is_excused {
                        let invariant = match poisoned {
                            true => "a bad change delays only what depends on it",
                            false => "after the last fault everything drains",
                        };
                        let detail = format!("group {}: {group:?}", first.group);
                        return Err(Violation::new(Promise::P8, invariant, detail));
                    }
                    true
                }
            };
            if is_stuck {
                stuck
                    .rows
                    .extend(group.iter().map(|entry| entry.row.clone()));
            }
        }
        Ok(())
    }

    /// What is settled here is in the server's history as it is now, or it would be lost.
    pub(crate) fn check_history(&self, server: &ServerRecord) -> Result<(), Violation> {
        let log = self.view.log.iter().chain(&self.view.tagged_log);
        for entry in log.filter(|entry| entry.state == GroupState::Settled) {
            if !server.contains(entry.group) {
                let invariant = "what is settled on a device is in the server's history";
                return Err(Violation::new(Promise::P1, invariant, format!("{entry:?}")));
            }
        }
        Ok(())
    }

    /// What its user took back, or gave up with what it depended on, never took effect. A copy of
    /// the device may have sent it, and then `copied` names its group.
    pub(crate) fn check_given_up(
        &self,
        server: &ServerRecord,
        copied: &HashSet<GroupId>,
    ) -> Result<(), Violation> {
        let log = self.view.log.iter().chain(&self.view.tagged_log);
        for entry in log.filter(|entry| entry.state == GroupState::Dropped) {
            let ended = self.view.outcomes.contains_key(&(entry.group, entry.at));
            // What is left of a group may go on without it, in the group's place.
            if !ended && server.has_applied(entry.group) && !copied.contains(&entry.group) {
                let invariant = "what is given up takes no effect";
                return Err(Violation::new(Promise::P6, invariant, format!("{entry:?}")));
            }
        }
        Ok(())
    }

    /// What is sent depends on nothing that is parked: not on a row whose creation was refused,
    /// not on an attribute whose change was.
    pub(crate) fn check_sent(
        &self,
        sent: &HashSet<GroupId>,
        server: &ServerRecord,
    ) -> Result<(), Violation> {
        // What is gone is decided: a later change of the row gets that answer. And what was gone at
        // some time holds nothing back: there was no row any more that it could be wrong about.
        let parked = |entry: &&Entry| {
            let is_there = entry.op == Op::Create
                || state_of(&self.view, server, self.user, entry.row.0)
                    .ok()
                    .flatten()
                    .is_none_or(|_| {
                        let of = (self.user, entry.row.0);
                        let rows = rows_under(&self.view, server, of);
                        rows.contains_key(&entry.row.1)
                    });
            let is_over = self.is_gone(entry) || is_erased(entry);
            entry.state == GroupState::Parked && !is_over && is_there
        };
        self.tagged
            .check_sent(&self.view, |entry| sent.contains(&entry.group))?;
        for (at, entry) in self.view.log.iter().enumerate() {
            if !sent.contains(&entry.group) || entry.state == GroupState::Parked {
                continue;
            }
            for before in self.view.log[..at].iter().filter(parked) {
                let shares = before.set.keys().any(|name| entry.set.contains_key(name));
                let is_bound = match before.op {
                    Op::Create => {
                        before.row == entry.row || refers(entry) == Some(before.row.clone())
                    }
                    Op::Update => before.row == entry.row && shares,
                    Op::Delete => false,
                };
                if is_bound {
                    let invariant = "what depends on a parked change is held";
                    let detail = format!("{entry:?} depends on {before:?}");
                    return Err(Violation::new(Promise::P8, invariant, detail));
                }
            }
        }
        Ok(())
    }

    /// The device shows the server's rows, and on top only what is parked or held.
    pub(crate) fn check_converged(&self, server: &ServerRecord) -> Result<(), Violation> {
        let now = server.now();
        for entity in app::keyed() {
            let rows = server.rows_open(now, (self.user, entity), &self.asked);
            let token = self.view.standing[entity].0.as_deref().unwrap_or(&[]);
            let kept = server.kept(Rc::clone(&rows), (self.user, entity), token);
            let shown = &self.view.visible[entity];
            let keys: BTreeSet<&Vec<u8>> = rows.keys().chain(shown.keys()).collect();
            for key in keys {
                let name = (entity, key.clone());
                // What time takes away stays under a change that is not settled.
                let is_unsettled = |entry: &Entry| {
                    !matches!(entry.state, GroupState::Settled | GroupState::Dropped)
                };
                let may_stay = self.view.entries(&name).any(is_unsettled);
                let stays = rows.get(key).filter(|_| may_stay);
                let bases = [kept.get(key), stays.or(kept.get(key))];
                let ways = bases.iter().flat_map(|base| [(base, false), (base, true)]);
                let mut expected = ways.map(|(base, all)| self.expected(&name, *base, all));
                if !expected.any(|row| row.as_ref() == shown.get(key)) {
                    let mut detail = format!(
                        "{}: shows {}; the server has {}",
                        display_name(&name),
                        display(entity, shown.get(key)),
                        display(entity, kept.get(key))
                    );
                    for entry in self.view.entries(&name) {
                        let ended = self.view.outcomes.get(&(entry.group, entry.at));
                        detail += &format!("\n    {entry:?}, {ended:?}");
                    }
                    let invariant = "in the end every device has exactly the server's rows";
                    return Err(Violation::new(Promise::P5, invariant, detail));
                }
            }
        }
        Ok(())
    }

    /// Where time decides which rows a device has, it has those of the server's time by now, or of
    /// a later one that it was told before.
    pub(crate) fn check_time(&self, server: &ServerRecord, now: i64) -> Result<(), Violation> {
        for entity in app::keyed().filter(|at| timed::time_place(*at).is_some()) {
            let token = self.view.standing[entity].0.as_deref().unwrap_or(&[]);
            let at = server.instant_of((self.user, entity), token);
            if at.is_some_and(|at| at < now) {
                let invariant = "in the end every device has the rows of the server's time";
                let detail = format!("{}: {at:?}, it is {now}", app::name(entity));
                return Err(Violation::new(Promise::P5, invariant, detail));
            }
        }
        Ok(())
    }

    /// Whether the server refused a change because its row is gone.
    fn is_gone(&self, entry: &Entry) -> bool {
        let ended = self.view.outcomes.get(&(entry.group, entry.at));
        let code = ended.and_then(|ended| ended.first()?.1.as_ref());
        code == Some(&Code::GONE)
    }

    /// The row as it should be shown; changes of a row that the server never accepted, and calls
    /// gone, may be shown with `all`.
    fn expected(
        &self,
        name: &RowName,
        server: Option<&Vec<Value>>,
        all: bool,
    ) -> Option<Vec<Value>> {
        let entries: Vec<&Entry> = self.view.entries(name).collect();
        let all = all && is_own(&entries);
        entries
            .into_iter()
            .filter(|entry| !matches!(entry.state, GroupState::Settled | GroupState::Dropped))
            .filter(|entry| all || !self.is_gone(entry))
            .fold(server.cloned(), |row, entry| {
                // Of a row that is gone only what the user typed stays, and not in sight.
                let is_gone = is_erased(entry) || row.is_none() && entry.op != Op::Create;
                match entry.state == GroupState::Parked && is_gone {
                    true => row,
                    false => lay(entry, row),
                }
            })
    }
}

/// The row that a change makes its own row refer to.
fn refers(entry: &Entry) -> Option<RowName> {
    let (entity, attribute) = match entry.row.0 {
        app::VISIT => (app::SITE, "site"),
        app::SITE => (app::REGION, "region"),
        app::TASK => (app::SHOP, "shop"),
        app::SHIFT => (app::CARD, "card"),
        app::JOB => (app::PROJECT, "project"),
        _ => return None,
    };
    let key = entry.set.get(attribute)?.clone();
    Some((entity, write_key(&[key])))
}

fn is_poison(entry: &Entry) -> bool {
    let mut values = entry.set.values();
    values.any(|value| matches!(value, Value::Text(text) if text.starts_with(app::POISON)))
}

/// Rows of groups that are not settled.
#[derive(Default)]
struct Stuck {
    rows: BTreeSet<RowName>,
}

impl Stuck {
    /// Whether a group shares a row with these, or refers to one.
    fn holds(&self, group: &[Entry]) -> bool {
        group.iter().any(|entry| {
            self.rows.contains(&entry.row)
                || refers(entry).is_some_and(|target| self.rows.contains(&target))
                || self.is_referred_to(entry)
        })
    }

    /// A row may wait for others that refer to it, which must go first.
    fn is_referred_to(&self, entry: &Entry) -> bool {
        entry.op == Op::Delete
            && read_key(&entry.row.1).is_ok()
            && [
                (app::SITE, app::VISIT),
                (app::SHOP, app::TASK),
                (app::CARD, app::SHIFT),
                (app::PROJECT, app::JOB),
            ]
            .iter()
            .any(|(to, from)| {
                let mut rows = self.rows.iter();
                entry.row.0 == *to && rows.any(|(entity, _)| entity == from)
            })
    }
}
