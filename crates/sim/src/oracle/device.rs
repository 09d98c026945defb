//! What a device shows, against the server's states and against what its user typed.
//!
//! A position that a device holds names one state of the server. The device must show exactly
//! that state, with those of its own changes on top that the state cannot contain yet. A change
//! that is settled, and whose effect that state may contain, may be on top or not.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::rc::Rc;

use afield_protocol::{Code, Op, Value, VerdictKind};

use super::device_log::Known;
use super::server::ServerRecord;
use super::tagged::device::TaggedDevice;
use super::view::{Entry, GroupState, View};
use crate::app;
use crate::rows::{RowName, Rows, display, display_name};
use crate::scoped;
use crate::statements::Settled;
use crate::violation::{Promise, Violation};

/// What the oracle knows about one device.
#[derive(Clone, Default)]
pub(crate) struct DeviceRecord {
    /// Whose it is.
    pub(crate) user: usize,
    /// Marked texts that its user may have typed on it.
    pub(crate) typed: HashSet<String>,
    /// The projects that are open on it, and until when.
    pub(crate) open: BTreeMap<i64, i64>,
    /// Those that it asked for last.
    pub(crate) asked: BTreeSet<i64>,
    /// Its file as it was at the last look.
    pub(crate) view: View,
    /// Every value that it ever showed.
    pub(crate) shown: HashSet<(RowName, usize, Value)>,
    /// What it is known to hold.
    pub(super) known: Known,
    /// What is known of its tagged rows.
    pub(crate) tagged: TaggedDevice,
}

/// Changes of one row that may or may not be on top, of which all combinations are tried.
const OPTIONAL_MAX: usize = 8;

/// How a change bears on what the device must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overlay {
    /// It is on top.
    Must,
    /// The server's state may contain it already.
    May,
    /// It is not.
    Not,
    /// It is not: the server refused it because the row is gone. What was settled before it may
    /// have ended with it.
    Gone,
}

impl DeviceRecord {
    /// Of a user's new device.
    pub(crate) fn of(user: usize) -> Self {
        Self {
            user,
            ..Self::default()
        }
    }

    /// Its user is about to type this.
    pub(crate) fn will_type(&mut self, edits: &[Settled]) {
        let values = edits.iter().flat_map(|edit| &edit.set);
        let texts = values.filter_map(|(_, value)| scoped::marked(value));
        self.typed.extend(texts.map(str::to_owned));
    }

    /// Looks at the device's file and checks all that must hold at any moment.
    pub(crate) fn check(&mut self, view: View, server: &ServerRecord) -> Result<(), Violation> {
        if view.has_model {
            self.check_log(&view, server)?;
            for entity in app::keyed() {
                check_entity(&view, server, self.user, entity)?;
            }
            self.tagged.check(&view, server)?;
            self.note_shown(&view);
        }
        self.view = view;
        Ok(())
    }

    fn note_shown(&mut self, view: &View) {
        let visible = view.visible.iter().enumerate();
        for (entity, rows) in visible.filter(|(entity, _)| app::is_keyed(*entity)) {
            let old = self.view.visible.get(entity);
            for (key, row) in rows {
                if old.and_then(|old| old.get(key)) == Some(row) {
                    continue;
                }
                for (at, value) in row.iter().enumerate().skip(app::key_width(entity)) {
                    self.shown
                        .insert(((entity, key.clone()), at, value.clone()));
                }
            }
        }
    }
}

/// The state that an entity of a user's device stands for; none while its first download grows.
pub(super) fn state_of(
    view: &View,
    server: &ServerRecord,
    user: usize,
    entity: usize,
) -> Result<Option<usize>, Violation> {
    let (position, is_complete) = &view.standing[entity];
    if !is_complete {
        return Ok(None);
    }
    let token = position.as_deref().unwrap_or(&[]);
    match server.state_of((user, entity), token) {
        Some(state) => Ok(Some(state)),
        None => Err(Violation::new(
            Promise::P4,
            "a device stands only at positions that the server completed",
            format!("{}: position {token:02x?}", app::name(entity)),
        )),
    }
}

/// The server's rows that are under the changes of a user's device.
pub(super) fn rows_under(view: &View, server: &ServerRecord, of: (usize, usize)) -> Rc<Rows> {
    let token = view.standing[of.1].0.as_deref().unwrap_or(&[]);
    server.rows_at(of, token)
}

fn check_entity(
    view: &View,
    server: &ServerRecord,
    user: usize,
    entity: usize,
) -> Result<(), Violation> {
    let Some(state) = state_of(view, server, user, entity)? else {
        return Ok(());
    };
    let rows = rows_under(view, server, (user, entity));
    let token = view.standing[entity].0.as_deref().unwrap_or(&[]);
    let kept = server.kept(Rc::clone(&rows), (user, entity), token);
    let visible = &view.visible[entity];
    let written: BTreeSet<&Vec<u8>> = view
        .log
        .iter()
        .filter(|entry| entry.row.0 == entity)
        .map(|entry| &entry.row.1)
        .collect();
    let keys: BTreeSet<&Vec<u8>> = rows.keys().chain(visible.keys()).collect();
    for key in keys.into_iter().chain(written.iter().copied()) {
        let name = (entity, key.clone());
        // What another process wrote a moment ago is checked when it is sealed.
        if view.captured.contains(&name) {
            continue;
        }
        let shown = visible.get(key);
        if !written.contains(key) {
            if shown != kept.get(key) {
                return Err(wrong(&name, state, shown, kept.get(key)));
            }
            continue;
        }
        check_written(view, server, &name, (state, &rows, &kept))?;
    }
    Ok(())
}

/// A row that the user wrote at some time.
fn check_written(
    view: &View,
    server: &ServerRecord,
    name: &RowName,
    (state, rows, kept): (usize, &Rows, &Rows),
) -> Result<(), Violation> {
    let entries: Vec<&Entry> = view.entries(name).collect();
    if state < server.set_back && entries.iter().any(|entry| was_lost(view, server, entry)) {
        // The device knows that this is another state than the server's, and has no other yet.
        return Ok(());
    }
    let (base, overlays) = overlays(view, server, &entries, rows.get(&name.1), state);
    let shown = view.row(name);
    let optional = overlays.iter().filter(|o| **o == Overlay::May).count();
    let is_there = || {
        let mut ways = 0..1_u32 << optional.min(OPTIONAL_MAX);
        ways.any(|dropped| visible(&entries, &overlays, base, dropped).as_ref() == shown)
    };
    let has_left = base.is_some() && !kept.contains_key(&name.1);
    if is_there() || has_left && may_have_left(&entries, &overlays, shown) {
        return Ok(());
    }
    let expected = visible(&entries, &overlays, base, 0);
    let mut violation = wrong(name, state, shown, expected.as_ref());
    if overlays.contains(&Overlay::Must) {
        violation.promise = Promise::P3;
        violation.invariant = "what the user wrote stays on top until the server's rows contain it";
    }
    for (entry, overlay) in entries.iter().zip(&overlays) {
        let since: Vec<usize> = (server.answers(entry.group).iter())
            .map(|answer| answer.since)
            .collect();
        violation.detail += &format!(
            "\n    {:?} {:?}, answered in state {since:?}, {overlay:?} be on top: {:?}",
            entry.op, entry.state, entry.set
        );
    }
    Err(violation)
}

/// Whether a row that does not stay may be shown so: not at all if no change of it is unsettled, or
/// as it was made here after it had left.
fn may_have_left(entries: &[&Entry], overlays: &[Overlay], shown: Option<&Vec<Value>>) -> bool {
    let made = entries.iter().rposition(|entry| entry.op == Op::Create);
    let is_bound = overlays.contains(&Overlay::Must);
    match made {
        None => shown.is_none() && !is_bound,
        Some(made) => {
            let (entries, overlays) = (&entries[made..], &overlays[made..]);
            shown.is_none() && !is_bound || visible(entries, overlays, None, 0).as_ref() == shown
        }
    }
}

/// What is visible of a row if of the changes that may be on top those in `dropped`, by bits,
/// are not.
fn visible(
    entries: &[&Entry],
    overlays: &[Overlay],
    base: Option<&Vec<Value>>,
    mut dropped: u32,
) -> Option<Vec<Value>> {
    let mut row = base.cloned();
    for (entry, overlay) in entries.iter().zip(overlays) {
        let is_laid = match overlay {
            Overlay::Must => true,
            Overlay::May => {
                let is_laid = dropped & 1 == 0;
                dropped >>= 1;
                is_laid
            }
            Overlay::Not | Overlay::Gone => false,
        };
        if is_laid {
            row = lay(entry, row);
        }
    }
    row
}

/// The server's row under a row's changes, and how each of them bears on what is visible.
fn overlays<'a>(
    view: &View,
    server: &ServerRecord,
    entries: &[&Entry],
    base: Option<&'a Vec<Value>>,
    state: usize,
) -> (Option<&'a Vec<Value>>, Vec<Overlay>) {
    let mut overlays: Vec<Overlay> = entries
        .iter()
        .map(|entry| overlay(view, server, entry, state))
        .collect();
    if is_own(entries) {
        // What was done to a row that the server never accepted stays with it.
        for (entry, overlay) in entries.iter().zip(&mut overlays) {
            if entry.state == GroupState::Parked && *overlay != Overlay::Must {
                *overlay = Overlay::May;
            }
        }
    }
    let is_gone = overlays.contains(&Overlay::Gone);
    if (is_gone || base.is_none()) && entries.iter().any(|entry| entry.op != Op::Create) {
        // Of a row that is gone only what the user typed stays, and not in sight.
        for (entry, overlay) in entries.iter().zip(&mut overlays) {
            let ends = match entry.state {
                GroupState::Settled => is_gone,
                GroupState::Parked => entry.op != Op::Create,
                GroupState::Dropped => true,
                GroupState::Pending | GroupState::Sent => false,
            };
            if ends && *overlay == Overlay::Must {
                *overlay = Overlay::May;
            }
        }
    }
    (base, overlays)
}

/// Whether the row of a refused change was gone at some time: then its base is erased, and the
/// change is never on top again.
pub(crate) fn is_erased(entry: &Entry) -> bool {
    entry.op != Op::Create && entry.base.is_empty()
}

/// Whether a restore of the server's took the change, also if it goes again by now.
fn was_lost(view: &View, server: &ServerRecord, entry: &Entry) -> bool {
    let ended = view.outcomes.get(&(entry.group, entry.at));
    let code = ended.and_then(|ended| ended.first()?.1.as_ref());
    code == Some(&Code::LOST_BY_RESTORE) || entry.absorbed.iter().any(|id| server.is_lost(*id))
}

/// Whether the device made the row and the server refused it.
pub(super) fn is_own(entries: &[&Entry]) -> bool {
    entries
        .iter()
        .any(|entry| entry.op == Op::Create && entry.state == GroupState::Parked)
}

fn overlay(view: &View, server: &ServerRecord, entry: &Entry, state: usize) -> Overlay {
    let ended = view
        .outcomes
        .get(&(entry.group, entry.at))
        .and_then(|ended| ended.first());
    let answers = server.answers(entry.group);
    let since = answers.iter().map(|a| a.since).min().unwrap_or(0);
    let given = answers.iter().map(|a| a.given).max().unwrap_or(0);
    match (entry.state, ended) {
        (GroupState::Parked, Some((VerdictKind::Rejected, Some(code)))) if *code == Code::GONE => {
            if given > state {
                Overlay::Gone
            } else {
                Overlay::Not
            }
        }
        (GroupState::Parked, _) if is_erased(entry) => Overlay::May,
        (GroupState::Pending | GroupState::Sent, _)
            if is_erased(entry) && was_lost(view, server, entry) =>
        {
            Overlay::May
        }
        (GroupState::Pending | GroupState::Sent | GroupState::Parked, _) => Overlay::Must,
        (GroupState::Dropped, _) => Overlay::Not,
        (GroupState::Settled, _) if since > state => Overlay::Must,
        (GroupState::Settled, _) => Overlay::May,
    }
}

/// Lays a change over a row, as the docs say it is done.
pub(super) fn lay(entry: &Entry, row: Option<Vec<Value>>) -> Option<Vec<Value>> {
    if entry.op == Op::Delete {
        return None;
    }
    let entity = entry.row.0;
    let mut row = row.unwrap_or_else(|| {
        let key = afield_protocol::codec::cbor::read_key(&entry.row.1).unwrap_or_default();
        let values = (key.len()..app::width(entity)).map(|at| {
            let name = app::attribute_name(entity, at);
            entry.base.get(name).cloned().unwrap_or(Value::Null)
        });
        key.iter().cloned().chain(values).collect()
    });
    for (at, cell) in row.iter_mut().enumerate() {
        if let Some(value) = entry.set.get(app::attribute_name(entity, at)) {
            *cell = value.clone();
        }
    }
    Some(row)
}

fn shown_instead(
    name: &RowName,
    state: usize,
    shown: Option<&Vec<Value>>,
    expected: Option<&Vec<Value>>,
) -> String {
    format!(
        "{}: shows {}; expected {} (server's state {state})",
        display_name(name),
        display(name.0, shown),
        display(name.0, expected)
    )
}

fn wrong(
    name: &RowName,
    state: usize,
    shown: Option<&Vec<Value>>,
    expected: Option<&Vec<Value>>,
) -> Violation {
    let detail = shown_instead(name, state, shown, expected);
    Violation::new(
        Promise::P4,
        "a device shows a state that the server had, with its own changes on top",
        detail,
    )
}
