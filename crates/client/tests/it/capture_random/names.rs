//! What rows are called: temporary identifiers, and what outcomes make of them.

use std::collections::{BTreeMap, BTreeSet};

use afield::protocol::codec::cbor::{read_key, write_key};
use afield::protocol::{Attributes, Group, GroupId, Op, Value, is_temporary};

use super::device::{Device, RowId, Snapshot, State};
use super::schema::NUMBERED;

/// Entities whose identifiers begin with a job's.
fn is_keyed(entity: &str) -> bool {
    entity == "job" || entity == "part"
}

/// The attribute by which one entity refers to another.
fn reference(from: &str, to: &str) -> Option<&'static str> {
    match (from, to) {
        ("task", "job") => Some(NUMBERED),
        ("visit" | "job", "note") => Some("note_id"),
        _ => None,
    }
}

/// The job in a row's identifier.
fn job_in_key(row: &RowId) -> Option<Value> {
    let key = is_keyed(&row.0).then(|| read_key(&row.1).unwrap());
    key.and_then(|key| key.first().cloned())
}

/// The row with another job in its identifier.
fn with_job(row: &RowId, job: &Value) -> RowId {
    let mut key = read_key(&row.1).unwrap();
    key[0] = job.clone();
    (row.0.clone(), write_key(&key))
}

fn renumber(ids: &BTreeMap<i64, i64>, value: &Value) -> Option<Value> {
    match value {
        Value::Integer(id) => ids.get(id).map(|id| Value::Integer(*id)),
        _ => None,
    }
}

fn renumber_row(ids: &BTreeMap<i64, i64>, row: &mut RowId) {
    if let Some(job) = job_in_key(row).and_then(|job| renumber(ids, &job)) {
        *row = with_job(row, &job);
    }
}

fn renumber_attributes(ids: &BTreeMap<i64, i64>, values: &mut Attributes) {
    if let Some(value) = values.get_mut(NUMBERED)
        && let Some(job) = renumber(ids, value)
    {
        *value = job;
    }
}

impl Device {
    /// The visible rows with today's identifiers. A second row under an old one is the row that
    /// has the new one, as far as it says anything.
    pub(super) fn today(&self, now: &Snapshot) -> Snapshot {
        let mut today = Snapshot::new();
        let mut old = Vec::new();
        for (row, content) in now {
            let (mut new, mut content) = (row.clone(), content.clone());
            renumber_row(&self.ids, &mut new);
            renumber_attributes(&self.ids, &mut content);
            if new == *row {
                today.insert(new, content);
            } else {
                old.push((new, content));
            }
        }
        for (row, mut content) in old {
            if let Some(real) = today.get_mut(&row) {
                content.retain(|_, value| !value.is_null());
                real.extend(content);
            } else {
                today.insert(row, content);
            }
        }
        today
    }

    /// Renames what the outcomes of one answer named.
    pub(super) fn rename(&mut self) {
        let mut batch = BTreeMap::new();
        let mut alone = Vec::new();
        for (group, at, new) in std::mem::take(&mut self.renames) {
            let mut row = self.groups[group].changes[at].row.clone();
            renumber_row(&batch, &mut row);
            let key = read_key(&new).unwrap();
            if let (Some(Value::Integer(old)), Value::Integer(real)) = (job_in_key(&row), &key[0])
                && is_temporary(&Value::Integer(old))
                && old != *real
            {
                batch.insert(old, *real);
                renumber_row(&batch, &mut row);
            }
            if row.1 != new {
                alone.push((group, at, row, new));
            }
        }
        let before = self.groups.clone();
        for change in self.groups.iter_mut().flat_map(|group| &mut group.changes) {
            renumber_row(&batch, &mut change.row);
            renumber_attributes(&batch, &mut change.base);
            renumber_attributes(&batch, &mut change.set);
        }
        self.ids.extend(batch);
        for (group, at, row, new) in alone {
            self.rename_alone((group, at), &row, &new);
        }
        for (group, before) in self.groups.iter_mut().zip(before) {
            if group.state == State::Pending && group.changes != before.changes {
                group.becomes_another();
            }
        }
        self.sealed = self.visible();
    }

    /// Renames a row whose identifier another row may have as well: its changes from its create
    /// on, until the next create, and what refers to it from then on.
    fn rename_alone(&mut self, from: (usize, usize), row: &RowId, new: &[u8]) {
        let (old, new) = (read_key(&row.1).unwrap(), read_key(new).unwrap());
        let (mut ended, mut redirected) = (false, BTreeSet::new());
        let mut parts = BTreeSet::new();
        for (g, group) in self.groups.iter_mut().enumerate() {
            for (c, change) in group.changes.iter_mut().enumerate() {
                if (g, c) < from {
                    continue;
                }
                let unnamed = change.row.clone();
                ended |= (g, c) > from && unnamed == *row && change.op == Op::Create;
                if unnamed == *row && !ended {
                    change.row.1 = write_key(&new);
                }
                if row.0 == "job"
                    && unnamed.0 == "part"
                    && job_in_key(&unnamed).as_ref() == old.first()
                {
                    // A part of the server's is of another job.
                    if change.op == Op::Create {
                        parts.insert(unnamed.clone());
                    }
                    if parts.contains(&unnamed) {
                        change.row = with_job(&unnamed, &new[0]);
                    }
                }
                let Some(name) = reference(&unnamed.0, &row.0) else {
                    continue;
                };
                let his_own = redirected.contains(&unnamed);
                let values = [
                    change.set.get_mut(name),
                    change.base.get_mut(name).filter(|_| his_own),
                ];
                for value in values.into_iter().flatten() {
                    if *value == old[0] {
                        *value = new[0].clone();
                        redirected.insert(unnamed.clone());
                    }
                }
            }
        }
    }

    /// A group that is frozen now names the creates of the temporary identifiers in it.
    pub(super) fn origins(&self, group: &Group) -> Result<(), String> {
        let here = self.groups.iter().position(|g| g.id == Some(group.id));
        let here = here.ok_or("a group that the outbox does not have")?;
        let mut expected = BTreeSet::new();
        for change in &group.changes {
            let in_key = is_keyed(&change.entity).then(|| change.key[0].clone());
            let values = [change.base.get(NUMBERED), change.set.get(NUMBERED)];
            for value in values.into_iter().flatten().chain(&in_key) {
                if let Value::Integer(id) = value
                    && is_temporary(value)
                    && let Some(create) = self.create_of(here, value)
                    && create.0 != here
                {
                    let id: (i64, Option<GroupId>, u32) = (
                        *id,
                        self.groups[create.0].id,
                        u32::try_from(create.1).unwrap(),
                    );
                    expected.insert(id);
                }
            }
        }
        let said = group.origins.iter();
        let said: BTreeSet<_> = said.map(|o| (o.temporary, Some(o.group), o.at)).collect();
        if said == expected && said.len() == group.origins.len() {
            return Ok(());
        }
        Err(format!("origins {said:?}, expected {expected:?}"))
    }

    /// The newest create of a job up to a group, or the newest behind it: its group and its
    /// place there.
    fn create_of(&self, until: usize, job: &Value) -> Option<(usize, usize)> {
        let row = ("job".to_owned(), write_key(std::slice::from_ref(job)));
        let creates = self.groups.iter().enumerate().rev();
        let creates: Vec<_> = creates
            .filter_map(|(g, group)| {
                let create = |c: &super::device::Change| c.row == row && c.op == Op::Create;
                Some((g, group.changes.iter().position(create)?))
            })
            .collect();
        let before = creates.iter().find(|(g, _)| *g <= until);
        before.or(creates.first()).copied()
    }
}
