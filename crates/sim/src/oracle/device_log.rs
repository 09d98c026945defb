//! What a device holds of its user's work, against what the user did.
//!
//! The oracle compares the app's tables before and after each write, whoever made it, and looks
//! for exactly that in the outbox. From then on a group may not vanish or change, except by being
//! folded into another one, or by being undone before it was sent.

use std::collections::{BTreeMap, HashMap, HashSet};

use afield_protocol::{Attributes, Code, GroupId, Key, Op, Value};

use super::Counts;
use super::audit::Effect;
use super::device::DeviceRecord;
use super::folded::Written;
use super::server::ServerRecord;
use super::view::{Entry, GroupState, View};
use crate::app;
use crate::rows::{RowName, display_name};
use crate::timed;
use crate::violation::{Promise, Violation};

/// A row before and after a write.
pub(crate) type Difference = (Option<Vec<Value>>, Option<Vec<Value>>);

/// What a device is known to hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    /// Groups that were seen in it.
    groups: BTreeMap<GroupId, Group>,
    /// Rows written by the newest write, to be looked for at the next look.
    fresh: BTreeMap<RowName, Difference>,
    /// Rows that another process wrote, until they are sealed.
    unsealed: BTreeMap<RowName, Difference>,
}

#[derive(Clone, Debug)]
struct Group {
    state: GroupState,
    content: Content,
    /// What another process wrote, if this group came of it: not durable before its seal is.
    unsealed: BTreeMap<RowName, Difference>,
    /// What it said before something that another process wrote was folded into it, and that.
    former: Option<(Content, BTreeMap<RowName, Difference>)>,
}

type Content = Vec<(RowName, Op, Attributes)>;

impl DeviceRecord {
    /// A user's write returned, or may have happened: notes what it did to the tables. Gives
    /// what took effect, for the count of intents.
    pub(crate) fn wrote(&mut self, after: &View, by_other: bool, intents: &mut Counts) {
        for entity in app::keyed_written() {
            let none = crate::rows::Rows::new();
            let old = self.view.visible.get(entity).unwrap_or(&none);
            let new = after.visible.get(entity).unwrap_or(&none);
            let keys: HashSet<&Vec<u8>> = old.keys().chain(new.keys()).collect();
            for key in keys {
                let (before, now) = (old.get(key), new.get(key));
                if before == now {
                    continue;
                }
                let name = (entity, key.clone());
                intend(intents, &name, before, now);
                let written = match by_other {
                    true => &mut self.known.unsealed,
                    false => &mut self.known.fresh,
                };
                let place = written.entry(name);
                let place = place.or_insert_with(|| (before.cloned(), None));
                place.1 = now.cloned();
            }
        }
    }

    /// The device lost power: what another process wrote, and a seal that was not durable took
    /// up, has to be sealed again. Whatever was sent was durable before.
    pub(crate) fn lost_power(&mut self, view: &View) {
        let present: HashSet<GroupId> = view.log.iter().map(|entry| entry.group).collect();
        let groups = std::mem::take(&mut self.known.groups);
        for (id, mut group) in groups {
            let is_undone = group.state == GroupState::Pending
                && !group.unsealed.is_empty()
                && !present.contains(&id);
            if is_undone {
                self.known.unsealed.extend(group.unsealed);
                continue;
            }
            if let Some((former, unsealed)) = group.former.take()
                && self::groups(view)
                    .get(&id)
                    .is_some_and(|now| content(now) == former)
            {
                group.content = former;
                self.known.unsealed.extend(unsealed);
            }
            self.known.groups.insert(id, group);
        }
    }

    /// The power went in the middle of a write: nobody knows whether it happened.
    pub(crate) fn may_have_written(name: &RowName, set: &[(usize, Value)], intents: &mut Counts) {
        intents.add(name, Effect::Insert);
        intents.add(name, Effect::Delete);
        for (at, value) in set {
            intents.add(name, Effect::Set(*at, value.clone()));
        }
    }

    /// Checks the log of a device against everything known about it.
    pub(super) fn check_log(
        &mut self,
        view: &View,
        server: &ServerRecord,
    ) -> Result<(), Violation> {
        let mut sealed = BTreeMap::new();
        let is_captured = |name: &RowName| view.captured.contains(name);
        if !self.known.unsealed.keys().any(is_captured) {
            sealed = std::mem::take(&mut self.known.unsealed);
        }
        let fresh = std::mem::take(&mut self.known.fresh);
        let written = Written { sealed, fresh };
        self.check_known(view, server, &written)?;
        let Written { sealed, fresh } = written;
        // What both wrote is looked for once: one may have undone what the other did.
        let mut both = sealed.clone();
        for (name, difference) in fresh {
            both.entry(name).or_insert_with(|| (difference.0, None)).1 = difference.1;
        }
        for (name, difference) in &both {
            self.find_written(view, name, difference)?;
        }
        check_outcomes(view, server)?;
        self.note(view, &sealed);
        Ok(())
    }

    /// No group vanished, and none changed.
    fn check_known(
        &self,
        view: &View,
        server: &ServerRecord,
        written: &Written,
    ) -> Result<(), Violation> {
        let groups = groups(view);
        let absorbed: HashSet<GroupId> = view
            .log
            .iter()
            .flat_map(|entry| entry.absorbed.iter().copied())
            .collect();
        for (id, known) in &self.known.groups {
            let Some(entries) = groups.get(id) else {
                let is_undone = known.state == GroupState::Pending
                    && matches!(known.content.as_slice(), [(name, ..)] if written.contains(name));
                let may_go = known.state == GroupState::Pending
                    || server.made_wait(*id)
                    || server.is_lost(*id);
                if absorbed.contains(id) && may_go || is_undone {
                    continue;
                }
                let detail = format!("group {id}, {:?}: {:?}", known.state, names(known));
                let invariant = "a group leaves the outbox only with its outcome";
                return Err(Violation::new(Promise::P1, invariant, detail));
            };
            let state = entries[0].state;
            let is_lost = state == GroupState::Parked && server.is_lost(*id);
            if state < known.state || known.state.is_final() && state != known.state && !is_lost {
                let detail = format!("group {id} was {:?}, is {state:?}", known.state);
                let invariant = "a group never goes back";
                return Err(Violation::new(Promise::P1, invariant, detail));
            }
            if content(entries) != self.content_now(id, known, written) {
                let detail = format!("group {id} was {:?}, is {entries:?}", known.content);
                let invariant = "what a group says never changes";
                return Err(Violation::new(Promise::P2, invariant, detail));
            }
        }
        Ok(())
    }

    /// What a group must say after what was written since the last look.
    fn content_now(&self, id: &GroupId, known: &Group, written: &Written) -> Content {
        let mut content = known.content.clone();
        let before = self.view.log.iter().filter(|entry| entry.group == *id);
        for ((_, _, set), entry) in content.iter_mut().zip(before) {
            set.extend(written.folded(&self.view, entry));
        }
        content
    }

    /// What was written is in the outbox.
    fn find_written(
        &self,
        view: &View,
        name: &RowName,
        (before, after): &Difference,
    ) -> Result<(), Violation> {
        if before == after {
            return Ok(());
        }
        let lost = |what: String| {
            let detail = format!("{}: {what}", display_name(name));
            let invariant = "what was written is in the outbox";
            Err(Violation::new(Promise::P1, invariant, detail))
        };
        let newest = view.entries(name).next_back();
        let former = self.view.entries(name).next_back();
        let former = former.filter(|entry| entry.state == GroupState::Pending);
        let Some(after) = after else {
            let is_undone = former.is_some_and(|entry| entry.op == Op::Create) || before.is_none();
            return match newest {
                Some(entry) if entry.op == Op::Delete && !entry.state.is_final() => Ok(()),
                _ if is_undone => Ok(()),
                _ => lost("its deletion".into()),
            };
        };
        for at in app::key_width(name.0)..app::stored(name.0) {
            let value = &after[at];
            if before.as_ref().is_some_and(|before| before[at] == *value)
                || before.is_none() && value.is_null()
            {
                continue;
            }
            let attribute = app::attribute_name(name.0, at);
            let setting = view
                .entries(name)
                .rev()
                .find_map(|entry| setting_of(entry, attribute));
            let is_undone = former.is_some_and(|entry| entry.base.get(attribute) == Some(value));
            // A write on top of it of which nobody knows whether it happened, and which did.
            let is_overtaken = (view.entries(name))
                .any(|e| setting_of(e, attribute) == Some(value))
                && (view.entries(name)).any(|entry| {
                    entry.base.get(attribute) == Some(value) && entry.set.contains_key(attribute)
                });
            if setting != Some(value) && !is_undone && !is_overtaken {
                return lost(format!("{attribute} = {value}"));
            }
        }
        Ok(())
    }

    fn note(&mut self, view: &View, sealed: &BTreeMap<RowName, Difference>) {
        let before = std::mem::take(&mut self.known.groups);
        for (id, entries) in groups(view) {
            let content = content(&entries);
            let (unsealed, former) = match before.get(&id) {
                Some(known) if known.content == content => {
                    (known.unsealed.clone(), known.former.clone())
                }
                Some(known) => {
                    let former = (known.content.clone(), sealed.clone());
                    (known.unsealed.clone(), Some(former))
                }
                None => (sealed.clone(), None),
            };
            let group = Group {
                state: entries[0].state,
                content,
                unsealed,
                former,
            };
            self.known.groups.insert(id, group);
        }
    }
}

/// What a change makes of an attribute, if anything: a row that is made again is empty where it
/// says nothing.
fn setting_of<'a>(entry: &'a Entry, attribute: &str) -> Option<&'a Value> {
    match entry.set.get(attribute) {
        None if entry.op == Op::Create => Some(&Value::Null),
        found => found,
    }
}

/// Counts what a write is meant to do, once for each time a user does it.
fn intend(
    intents: &mut Counts,
    name: &RowName,
    before: Option<&Vec<Value>>,
    now: Option<&Vec<Value>>,
) {
    let Some(now) = now else {
        intents.add(name, Effect::Delete);
        return;
    };
    if before.is_none() {
        intents.add(name, Effect::Insert);
    }
    // Whoever says so himself deletes the row, or brings it back.
    let says_deleted = |row: &Vec<Value>| timed::says_deleted(name.0, row);
    match (before.is_some_and(says_deleted), says_deleted(now)) {
        (false, true) => drop(intents.add(name, Effect::Delete)),
        (true, false) => drop(intents.add(name, Effect::Insert)),
        _ => {}
    }
    for at in app::key_width(name.0)..app::stored(name.0) {
        if before.is_none_or(|before| before[at] != now[at]) {
            intents.add(name, Effect::Set(at, now[at].clone()));
        }
    }
}

/// Each change of a settled or parked group has exactly the outcome that the server gave.
fn check_outcomes(view: &View, server: &ServerRecord) -> Result<(), Violation> {
    for entry in view.log.iter().chain(&view.tagged_log) {
        let ended = view
            .outcomes
            .get(&(entry.group, entry.at))
            .map_or(&[][..], Vec::as_slice);
        let detail = || {
            format!(
                "group {}.{}: {:?}, {ended:?}",
                entry.group, entry.at, entry.state
            )
        };
        let is_open = entry.state == GroupState::Dropped;
        if ended.len() != usize::from(entry.state.is_final()) && !(is_open && ended.is_empty()) {
            let invariant = "one outcome for each change, in the transaction that settles it";
            return Err(Violation::new(Promise::P6, invariant, detail()));
        }
        let Some((kind, code)) = ended.first() else {
            continue;
        };
        let given = server.answers(entry.group).iter().any(|answer| {
            let verdict = answer.outcome.verdicts.get(entry.at);
            verdict.is_some_and(|verdict| verdict.kind == *kind && verdict.code == *code)
        });
        let is_lost = *code == Some(Code::LOST_BY_RESTORE) && server.is_lost(entry.group);
        if !given && !is_lost {
            let invariant = "an outcome on a device is one that the server gave";
            return Err(Violation::new(Promise::P6, invariant, detail()));
        }
        let is_settled = entry.state == GroupState::Settled;
        if is_settled && *kind != afield_protocol::VerdictKind::Applied {
            let invariant = "a group is settled only if all of it was applied";
            return Err(Violation::new(Promise::P6, invariant, detail()));
        }
    }
    Ok(())
}

fn groups(view: &View) -> HashMap<GroupId, Vec<&Entry>> {
    let mut groups: HashMap<GroupId, Vec<&Entry>> = HashMap::new();
    for entry in &view.log {
        groups.entry(entry.group).or_default().push(entry);
    }
    groups
}

fn content(entries: &[&Entry]) -> Content {
    let content = entries.iter();
    content
        .map(|entry| (entry.row.clone(), entry.op, entry.set.clone()))
        .collect()
}

fn names(group: &Group) -> Vec<(String, Key)> {
    let names = group.content.iter();
    names
        .map(|(name, _, set)| (display_name(name), set.values().cloned().collect()))
        .collect()
}
