//! Decisions of a device's user about what was not applied.

use afield::{ConflictInfo, Error, Resolution, Store};
use afield_protocol::{Attributes, Code, Op, Value, VerdictKind};

use super::World;
use super::device::{Done, unexplained};
use crate::action::Decision;
use crate::app;
use crate::oracle::device::is_erased;
use crate::oracle::view::{Entry, GroupState, View};
use crate::tag::{HITS, Tag, typed_places};
use crate::violation::{Promise, Violation};

/// A change that waits for a decision.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) entry: Entry,
    pub(super) is_conflict: bool,
    pub(super) code: Code,
}

impl Open {
    fn name(&self) -> String {
        format!("{}.{}", self.entry.group, self.entry.at)
    }

    /// What the user types instead of the value that was refused, or into a merged row.
    pub(super) fn typed(&self, decision: Decision, n: u32) -> Option<(usize, Value)> {
        let entity = self.entry.row.0;
        let at = match decision {
            Decision::Merged => typed_places(entity)[0],
            // Now and then he sends it again as it is.
            Decision::Retry if self.code == Code::CHECK_FAILED && !n.is_multiple_of(5) => 2,
            _ => return None,
        };
        Some((at, Value::Text(format!("w{n}.{at}"))))
    }
}

impl World {
    /// The user decides about one parked change of a tagged row, if there is one.
    pub(super) fn decide(
        &mut self,
        device: usize,
        pick: u32,
        decision: Decision,
        n: u32,
    ) -> Result<(), Violation> {
        let open = self.open(device);
        match open.get(pick as usize % open.len().max(1)).cloned() {
            Some(open) => self.decide_one(device, &open, decision, n),
            None => Ok(()),
        }
    }

    /// The user decides about this change.
    pub(super) fn decide_one(
        &mut self,
        device: usize,
        open: &Open,
        decision: Decision,
        n: u32,
    ) -> Result<(), Violation> {
        let decision = match (open.is_conflict, decision) {
            (true, Decision::Retry) | (false, Decision::Mine) => match open.is_conflict {
                true => Decision::Mine,
                false => Decision::Retry,
            },
            (false, Decision::Theirs) => Decision::Drop,
            (false, Decision::Merged) => Decision::Retry,
            // Nothing is left of the row but what was typed: no row can be made of that.
            (true, _) if is_erased(&open.entry) => Decision::Theirs,
            // A delete has no values to merge.
            (true, Decision::Merged) if open.entry.op == Op::Delete => Decision::Theirs,
            (_, decision) => decision,
        };
        self.say(|| {
            let (op, code) = (open.entry.op, &open.code);
            let tag = open.entry.set.get("tag").or(open.entry.base.get("tag"));
            format!("     d{device} {decision:?}: {op:?} {tag:?} ({code})")
        });
        let typed = open.typed(decision, n);
        let mut theirs = None;
        let done = self.devices[device]
            .with_store(|store| settle(store, open, decision, typed.as_ref(), &mut theirs))?;
        self.showed(device, open, theirs.as_ref());
        self.may_change(device, open, decision, theirs.as_ref());
        if let Some((at, value)) = &typed {
            let tagged = &mut self.records[device].tagged;
            let theirs = theirs.as_ref().and_then(|row| Tag::of(row.get("tag")?));
            for tag in tagged.tags(&open.entry).into_iter().chain(theirs) {
                tagged.was_shown(&tag, *at, value);
            }
        }
        match done {
            Done::Well(()) => self.tally.count("decided"),
            // Another change of its group is in conflict: that is decided first.
            Done::Refused(error) if *error.code() == Code::CONFLICT_OPEN => return Ok(()),
            Done::Refused(error) => return Err(unexplained("a decision", &error)),
            Done::Died { power } => return self.died(device, power),
        }
        self.decided(device, typed)
    }

    /// The user takes a change back, with its transaction, if one has no outcome yet.
    pub(super) fn undo(&mut self, device: usize, pick: u32) -> Result<(), Violation> {
        let view = &self.records[device].view;
        let log = view.log.iter().chain(&view.tagged_log);
        let open = log.filter(|it| matches!(it.state, GroupState::Pending | GroupState::Sent));
        let open: Vec<Entry> = open.cloned().collect();
        let Some(picked) = open.get(pick as usize % open.len().max(1)) else {
            return Ok(());
        };
        let name = format!("{}.{}", picked.group, picked.at);
        self.say(|| format!("     d{device} takes back {:?} {:?}", picked.op, picked.row));
        let done = self.devices[device].with_store(|store| store.undo(&name))?;
        let is_sent = |code: &Code| *code == Code::ALREADY_SENT;
        match done {
            Done::Refused(error) if is_sent(error.code()) && picked.state == GroupState::Sent => {
                self.tally.count("not taken back");
                return Ok(());
            }
            // Others need its row; or what another process wrote is one change with it by now.
            Done::Refused(error)
                if [Code::WAITS_FOR, Code::UNKNOWN_CHANGE].contains(error.code()) =>
            {
                return Ok(());
            }
            Done::Refused(error) => return Err(unexplained("taking back", &error)),
            Done::Well(_) => self.tally.count("taken back"),
            Done::Died { .. } => {}
        }
        for entry in open.iter().filter(|it| it.group == picked.group) {
            // It was never refused; with it goes what goes with a refused one.
            let given_up = Open {
                entry: entry.clone(),
                is_conflict: false,
                code: Code::GROUP_REFUSED,
            };
            self.may_change(device, &given_up, Decision::Drop, None);
        }
        match done {
            Done::Died { power } => self.died(device, power),
            _ => Ok(()),
        }
    }

    /// Changes that were refused or are in conflict themselves, oldest first.
    pub(super) fn open(&self, device: usize) -> Vec<Open> {
        let view = &self.records[device].view;
        let parked = view.tagged_log.iter();
        // What is decided and waits for the others of its group has its record already.
        let is_record = |kept: &Entry, entry: &Entry| {
            let of = (kept.absorbed.as_slice(), kept.at);
            kept.state == GroupState::Dropped && of == (&[entry.group], entry.at)
        };
        let is_decided = |entry: &Entry| {
            let mut log = view.tagged_log.iter();
            log.any(|kept| is_record(kept, entry))
        };
        let parked = parked.filter(|entry| entry.state == GroupState::Parked && !is_decided(entry));
        let open = parked.filter_map(|entry| {
            let (kind, code) = view.outcomes.get(&(entry.group, entry.at))?.first()?;
            let code = code.clone().filter(|code| *code != Code::GROUP_REFUSED)?;
            Some(Open {
                entry: entry.clone(),
                is_conflict: *kind == VerdictKind::Conflict,
                code,
            })
        });
        open.collect()
    }

    /// The app showed the server's row.
    fn showed(&mut self, device: usize, open: &Open, theirs: Option<&Attributes>) {
        let tagged = &mut self.records[device].tagged;
        let entity = open.entry.row.0;
        let mut tags = tagged.tags(&open.entry);
        tags.extend(theirs.and_then(|row| Tag::of(row.get("tag")?)));
        for (name, value) in theirs.into_iter().flatten() {
            let at = app::attribute_place(entity, name);
            tags.iter().for_each(|tag| tagged.was_shown(tag, at, value));
        }
    }

    /// What a decision may make of rows and of counters.
    fn may_change(
        &mut self,
        device: usize,
        open: &Open,
        decision: Decision,
        theirs: Option<&Attributes>,
    ) {
        let tags = self.records[device].tagged.tags(&open.entry);
        let is_again =
            open.is_conflict && theirs.is_none() && !matches!(decision, Decision::Theirs);
        for tag in &tags {
            if is_again {
                self.server_record.may_make_again(tag, device);
                self.counters.forget(tag);
            }
        }
        if open.code == Code::ABSORBED_KNOWN {
            // Whether a copy counted the same, its user alone can tell.
            tags.iter().for_each(|tag| self.counters.forget(tag));
        }
        if matches!(decision, Decision::Mine | Decision::Retry) {
            return;
        }
        // With a deletion goes what was folded into it.
        let tagged = &self.records[device].tagged;
        let is_delete = open.entry.op == Op::Delete;
        for tag in tags
            .iter()
            .filter(|tag| is_delete && tagged.is_overtaken(tag))
        {
            self.counters.forget(tag);
        }
        // With what is given up goes what was counted, of later changes too.
        let hits = app::attribute_name(app::ORDER, HITS);
        let record = &self.records[device];
        let counted = record.view.tagged_log.iter();
        for entry in counted.filter(|entry| entry.set.contains_key(hits)) {
            let concerned = record.tagged.tags(entry);
            for tag in concerned.iter().filter(|tag| tags.contains(tag)) {
                self.counters.forget(tag);
            }
        }
    }

    /// What the user typed with his decision is what he reads.
    fn decided(&mut self, device: usize, typed: Option<(usize, Value)>) -> Result<(), Violation> {
        let Some((at, value)) = typed else {
            return Ok(());
        };
        let view = View::read(&self.devices[device].other)?;
        let mut rows = view.tagged.iter();
        let Some(row) = rows.find(|row| row.values.get(at) == Some(&value)) else {
            // A later edit may be on top; and what is decided waits for the others of its group.
            let is_open =
                |entry: &Entry| matches!(entry.state, GroupState::Pending | GroupState::Parked);
            let mut log = view.tagged_log.iter();
            if log.any(|entry| is_open(entry) && entry.set.values().any(|set| *set == value)) {
                return Ok(());
            }
            let invariant = "what the user writes is what the user reads";
            let detail = format!("d{device}: {value} is in no row");
            return Err(Violation::new(Promise::P3, invariant, detail));
        };
        let tagged = &mut self.records[device].tagged;
        tagged.typed(&row.tag, at, value);
        Ok(())
    }
}

/// Carries a decision out.
fn settle(
    store: &mut Store,
    open: &Open,
    decision: Decision,
    typed: Option<&(usize, Value)>,
    theirs: &mut Option<Attributes>,
) -> Result<(), Error> {
    let name = open.name();
    let conflicts: Vec<ConflictInfo> = store.conflicts()?;
    let shown = conflicts.into_iter().find(|shown| shown.conflict == name);
    *theirs = shown.and_then(|shown| shown.theirs);
    let entity = open.entry.row.0;
    let values: Option<Attributes> = typed.map(|(at, value)| {
        let name = app::attribute_name(entity, *at).to_owned();
        Attributes::from([(name, value.clone())])
    });
    match decision {
        Decision::Mine => store.resolve(&name, &Resolution::Mine).map(drop),
        Decision::Theirs => store.resolve(&name, &Resolution::Theirs).map(drop),
        Decision::Merged => {
            let values = values.unwrap_or_default();
            store.resolve(&name, &Resolution::Merged(values)).map(drop)
        }
        Decision::Retry => store.retry(&name, values.as_ref()).map(drop),
        Decision::Drop => store.drop_change(&name),
    }
}
