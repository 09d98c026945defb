//! What the device should hold, by the rules in the docs: written a second time, in plain
//! collections, so that the store has something to be compared with.

use std::collections::{BTreeMap, BTreeSet};

use afield::protocol::codec::cbor::write_key;
use afield::protocol::{Attributes, Code, GroupId, Op, Theirs, Value, Verdict, VerdictKind};

use super::derive::changed;

/// A row's entity and identifier.
pub(super) type RowId = (String, Vec<u8>);

/// Rows without their identifiers.
pub(super) type Snapshot = BTreeMap<RowId, Attributes>;

/// Nulls that entity actions set explicitly.
pub(super) type Mentions = BTreeSet<(RowId, String)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Pending,
    Sent,
    Settled,
    Parked,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Change {
    pub(super) row: RowId,
    pub(super) op: Op,
    pub(super) base: Attributes,
    pub(super) set: Attributes,
    overlay: bool,
    seen_from: Option<i64>,
    in_conflict: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) id: Option<GroupId>,
    /// Identities that it had before it said something else.
    pub(super) former: Vec<GroupId>,
    pub(super) state: State,
    pub(super) bytes: Option<Vec<u8>>,
    pub(super) changes: Vec<Change>,
}

impl Outgoing {
    /// It says something else now: a copy of the device may have sent it as it was.
    pub(super) fn becomes_another(&mut self) {
        self.former.extend(self.id.take());
    }
}

/// Where an entity's download stands.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing {
    position: Option<u64>,
    complete: bool,
    staged: Option<Staged>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Staged {
    position: u64,
    starts_over: bool,
    rows: BTreeMap<RowId, Option<Attributes>>,
}

/// One page in the model's terms.
pub(super) struct Page {
    pub(super) request: i64,
    /// Entities with the positions before and after.
    pub(super) entities: Vec<(String, Option<u64>, u64)>,
    pub(super) reset: Vec<String>,
    pub(super) rows: Vec<(RowId, Option<Attributes>)>,
    pub(super) complete: bool,
}

impl Page {
    fn speaks_of(&self, entity: &str) -> bool {
        self.entities.iter().any(|(name, ..)| name == entity)
    }
}

impl Standing {
    /// The position that the next page must continue from.
    pub(super) fn newest(&self) -> Option<u64> {
        let staged = self.staged.as_ref().map(|staged| staged.position);
        staged.or(self.position)
    }
}

impl Change {
    pub(super) fn new(row: &RowId, op: Op, base: Attributes, set: Attributes) -> Self {
        Self {
            row: row.clone(),
            op,
            base,
            set,
            overlay: true,
            seen_from: None,
            in_conflict: false,
        }
    }

    /// Makes it what it is together with a later change of its row, if it may be. Without a set
    /// nothing is left of an update; a create that ends as a delete never was.
    fn fold(&mut self, new: &Self, server: Option<&Attributes>) -> bool {
        let base = self.base.clone();
        let back = |name: &String, value: &Value| {
            base.get(name) == Some(value) && server.and_then(|row| row.get(name)) == Some(value)
        };
        match (self.op, new.op) {
            (Op::Create, Op::Update) => self.set.extend(new.set.clone()),
            (Op::Create, Op::Delete) if server.is_none() => {
                self.op = Op::Update;
                self.set.clear();
            }
            (Op::Update, Op::Update) => {
                self.set.extend(new.set.clone());
                self.set.retain(|name, value| !back(name, value));
            }
            (Op::Update, Op::Delete) => {
                self.op = Op::Delete;
                self.set.clear();
            }
            (Op::Delete, Op::Create) if server.is_some() => {
                self.op = Op::Update;
                self.set = base
                    .keys()
                    .map(|name| (name.clone(), Value::Null))
                    .collect();
                self.set.extend(new.set.clone());
                self.set.retain(|name, value| !back(name, value));
            }
            _ => return false,
        }
        true
    }

    fn is_nothing(&self) -> bool {
        self.op == Op::Update && self.set.is_empty()
    }
}

#[derive(Default)]
pub(super) struct Device {
    /// A row of each entity with every attribute null.
    pub(super) blank: BTreeMap<String, Attributes>,
    pub(super) groups: Vec<Outgoing>,
    /// The server's rows as pulled.
    pub(super) pulled: Snapshot,
    pub(super) standings: BTreeMap<String, Standing>,
    pub(super) newest_request: i64,
    /// What was visible when the outbox was last sealed.
    pub(super) sealed: Snapshot,
    /// What temporary identifiers became.
    pub(super) ids: BTreeMap<i64, i64>,
    /// Changes (group, place) whose outcomes brought another identifier than they have.
    pub(super) renames: Vec<(usize, usize, Vec<u8>)>,
}

impl Device {
    /// Somebody holds the write lock: what was written since then is one group.
    pub(super) fn seal(&mut self, now: &Snapshot, mentions: &Mentions) {
        let now = &self.today(now);
        let before = std::mem::replace(&mut self.sealed, now.clone());
        let rows: BTreeSet<&RowId> = before.keys().chain(now.keys()).collect();
        let changes = rows
            .into_iter()
            .filter_map(|row| changed(row, before.get(row), now.get(row), mentions));
        let changes: Vec<Change> = changes.collect();
        if changes.is_empty() || self.folded(&changes) {
            return;
        }
        self.groups.push(Outgoing {
            id: None,
            former: Vec::new(),
            state: State::Pending,
            bytes: None,
            changes,
        });
    }

    fn folded(&mut self, changes: &[Change]) -> bool {
        match changes {
            [change] => self.fold(change) || self.fold_into_conflict(change),
            _ => false,
        }
    }

    /// Folds a change into the last group, if that is unsent and of the same one row.
    fn fold(&mut self, new: &Change) -> bool {
        let server = self.pulled.get(&new.row).cloned();
        let Some(last) = self.groups.last_mut() else {
            return false;
        };
        let [old] = last.changes.as_mut_slice() else {
            return false;
        };
        if last.state != State::Pending || old.row != new.row {
            return false;
        }
        if !old.fold(new, server.as_ref()) {
            return false;
        }
        if old.is_nothing() {
            self.groups.pop();
        } else {
            last.becomes_another();
        }
        true
    }

    /// Folds a change into the one of its row that is in conflict, if it is the newest there and
    /// something is left.
    fn fold_into_conflict(&mut self, new: &Change) -> bool {
        let server = self.pulled.get(&new.row).cloned();
        let waits = |group: &&mut Outgoing| group.state != State::Settled;
        let mut groups = self.groups.iter_mut().filter(waits).rev();
        let of_row = |change: &Change| change.row == new.row && change.overlay;
        let Some(group) = groups.find(|group| group.changes.iter().any(of_row)) else {
            return false;
        };
        let is_parked = group.state == State::Parked;
        let Some(old) = group.changes.iter_mut().find(|change| of_row(change)) else {
            return false;
        };
        let mut folded = old.clone();
        if !is_parked || !old.in_conflict || !folded.fold(new, server.as_ref()) {
            return false;
        }
        if folded.is_nothing() {
            return false;
        }
        *old = folded;
        true
    }

    /// What the user should see.
    pub(super) fn visible(&self) -> Snapshot {
        let mut visible = self.pulled.clone();
        for change in self.groups.iter().flat_map(|group| &group.changes) {
            if !change.overlay {
                continue;
            }
            if change.op == Op::Delete {
                visible.remove(&change.row);
                continue;
            }
            // What was typed alone is no row.
            let is_fragment = change.op == Op::Update && change.base.is_empty();
            if is_fragment && !visible.contains_key(&change.row) {
                continue;
            }
            let row = visible.entry(change.row.clone()).or_insert_with(|| {
                let mut row = self.blank[&change.row.0].clone();
                row.extend(change.base.clone());
                row
            });
            row.extend(change.set.clone());
        }
        visible
    }

    /// The groups that the next request may carry, if nothing holds any of them.
    pub(super) fn sendable(&self) -> impl Iterator<Item = &Outgoing> {
        let waits = |group: &&Outgoing| matches!(group.state, State::Pending | State::Sent);
        self.groups.iter().filter(waits)
    }

    pub(super) fn any_parked(&self) -> bool {
        self.groups.iter().any(|group| group.state == State::Parked)
    }

    /// A group left in a request: it is frozen. Gives what was sent before, if it was.
    pub(super) fn sent(&mut self, id: GroupId, bytes: &[u8]) -> Result<(), String> {
        let found = self.groups.iter_mut().find(|group| group.id == Some(id));
        let group = found.ok_or_else(|| format!("group {id} is not in the model"))?;
        match &group.bytes {
            Some(before) if before != bytes => Err(format!("group {id} changed after freezing")),
            Some(_) => Ok(()),
            None => {
                group.bytes = Some(bytes.to_vec());
                group.state = State::Sent;
                Ok(())
            }
        }
    }

    /// An outcome was stored.
    pub(super) fn outcome(&mut self, request: i64, id: GroupId, verdicts: &[Verdict]) {
        let newest = self.newest_request;
        let seen_from = if request == newest {
            request
        } else {
            newest + 1
        };
        let at = self.groups.iter().position(|group| group.id == Some(id));
        let Some(at) = at.filter(|at| self.groups[*at].state == State::Sent) else {
            return;
        };
        let is_applied = verdicts
            .iter()
            .all(|verdict| verdict.kind == VerdictKind::Applied);
        self.groups[at].state = if is_applied {
            State::Settled
        } else {
            State::Parked
        };
        for (n, verdict) in verdicts.iter().enumerate() {
            if let Some(key) = &verdict.key {
                self.renames.push((at, n, write_key(key)));
            }
            let change = &mut self.groups[at].changes[n];
            let row = change.row.clone();
            change.in_conflict = verdict.kind == VerdictKind::Conflict;
            if verdict.kind == VerdictKind::Applied {
                change.seen_from = Some(seen_from);
                change.set.extend(verdict.values.clone());
                let became = change.set.clone();
                self.rebase(at, &row, became);
            } else if verdict.code == Some(Code::GONE) {
                self.gone(&row);
            } else if !matches!(verdict.theirs, Some(Theirs::Row(_))) {
                self.gone_if_pulled(&row);
            }
        }
    }

    fn rebase(&mut self, after: usize, row: &RowId, mut became: Attributes) {
        for group in self.groups.iter_mut().skip(after + 1) {
            for change in group
                .changes
                .iter_mut()
                .filter(|c| c.row == *row && c.overlay)
            {
                for (name, value) in &mut change.base {
                    if let (Some(became), State::Pending) = (became.get(name), group.state) {
                        *value = became.clone();
                    }
                }
                became.retain(|name, _| !change.set.contains_key(name));
            }
        }
    }

    /// An outcome says that a row is gone: of its changes only what the user typed stays. The row
    /// itself leaves with the pull that says so.
    fn gone(&mut self, row: &RowId) {
        self.erase(row, true, |_| true);
    }

    /// Up to a create that the user sees: what was before it is of another row.
    fn erase(&mut self, row: &RowId, told: bool, reaches: impl Fn(&Change) -> bool) {
        let own = |c: &Change| c.overlay && c.op == Op::Create && (!told || c.seen_from.is_none());
        for group in &mut self.groups {
            let is_kept = matches!(group.state, State::Pending | State::Sent);
            for change in group.changes.iter_mut().filter(|c| c.row == *row) {
                if own(change) {
                    return;
                }
                if !is_kept && reaches(change) {
                    change.base.clear();
                    change.overlay = false;
                }
            }
        }
    }

    /// A page was taken.
    pub(super) fn page(&mut self, page: &Page) {
        for (entity, _, to) in &page.entities {
            let standing = self.standings.entry(entity.clone()).or_default();
            let known = standing.position.is_some() || standing.staged.is_some();
            let starts_over = page.reset.contains(entity) && known;
            let at_once =
                !starts_over && standing.staged.is_none() && (page.complete || !standing.complete);
            let rows = page
                .rows
                .iter()
                .filter(|((name, _), _)| name == entity)
                .cloned();
            if at_once {
                standing.position = Some(*to);
                standing.complete |= page.complete;
                rows.for_each(|(row, content)| put(&mut self.pulled, row, content));
                continue;
            }
            if starts_over {
                standing.staged = Some(Staged {
                    starts_over,
                    ..Staged::default()
                });
            }
            let staged = standing.staged.get_or_insert_default();
            staged.rows.extend(rows);
            staged.position = *to;
            if page.complete
                && let Some(staged) = standing.staged.take()
            {
                standing.position = Some(*to);
                standing.complete = true;
                if staged.starts_over {
                    self.pulled.retain(|(name, _), _| name != entity);
                }
                for (row, content) in staged.rows {
                    put(&mut self.pulled, row, content);
                }
            }
        }
        if page.complete {
            self.complete(page);
        }
        self.sealed = self.visible();
    }

    fn complete(&mut self, page: &Page) {
        for change in self.groups.iter_mut().flat_map(|group| &mut group.changes) {
            let is_seen = change.seen_from.is_some_and(|from| from <= page.request);
            change.overlay &= !is_seen || !page.speaks_of(&change.row.0);
        }
        let rows: BTreeSet<RowId> = self
            .groups
            .iter()
            .flat_map(|group| &group.changes)
            .map(|change| change.row.clone())
            .collect();
        for row in rows.iter().filter(|row| page.speaks_of(&row.0)) {
            self.gone_if_pulled(row);
        }
    }

    /// A pull said that a row is gone: of its changes only what the user typed stays, apart from
    /// the deletes that made it so, and from applied changes that no pull has shown yet.
    fn gone_if_pulled(&mut self, row: &RowId) {
        if !self.pulled.contains_key(row) {
            self.erase(row, false, |change| {
                let is_applied = change.seen_from.is_some();
                !(is_applied && (change.overlay || change.op == Op::Delete))
            });
        }
    }
}

fn put(pulled: &mut Snapshot, row: RowId, content: Option<Attributes>) {
    match content {
        Some(content) => pulled.insert(row, content),
        None => pulled.remove(&row),
    };
}
