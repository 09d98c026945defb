//! What was on the server under a tag, and since when.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use afield_protocol::codec::cbor::read_key;
use afield_protocol::{Value, is_temporary};

use super::rows::{Lost, TaggedRow, check_references, tagged};
use crate::app;
use crate::oracle::audit::{Effect, Line};
use crate::oracle::server::ServerRecord;
use crate::rows::{RowName, Rows};
use crate::tag::{Tag, tag_place};
use crate::violation::{Promise, Violation};

/// What belongs to the present history of the server alone.
#[derive(Clone, Debug, Default)]
pub(crate) struct TagHistory {
    tags: HashMap<RowName, Tag>,
    /// How often pushes made a row with this tag.
    made: HashMap<Tag, usize>,
}

/// What was ever on the server, in any history.
#[derive(Clone, Debug, Default)]
pub(crate) struct TagMemory {
    /// The first state that had a value in an attribute of an entity.
    first: HashMap<(usize, usize, Value), usize>,
    deleted: HashSet<Tag>,
    deleted_rows: HashSet<RowName>,
    /// On which devices users decided to make a row again that had gone, one after the other.
    again: HashMap<Tag, Vec<usize>>,
}

impl TagHistory {
    fn note(&mut self, line: &Line, memory: &mut TagMemory, state: usize) {
        let entity = line.row.0;
        match &line.effect {
            Effect::Insert | Effect::Remove => {}
            Effect::Delete => {
                memory.deleted.extend(self.tags.remove(&line.row));
                memory.deleted_rows.insert(line.row.clone());
            }
            Effect::Set(at, value) => {
                if *at == tag_place(entity)
                    && let Some(tag) = Tag::of(value)
                {
                    if line.is_push {
                        *self.made.entry(tag.clone()).or_default() += 1;
                    }
                    memory
                        .deleted
                        .extend(self.tags.insert(line.row.clone(), tag));
                }
                let cell = (entity, *at, value.clone());
                memory.first.entry(cell).or_insert(state);
            }
        }
    }
}

impl ServerRecord {
    /// Notes what was logged of tagged rows, and checks their tables as they are now.
    pub(crate) fn note_tagged(&mut self, lines: &[Line]) -> Result<(), Violation> {
        let now = self.now();
        let mut history = std::mem::take(&mut self.history.tagged);
        if history.tags.is_empty() {
            self.take_stock(&mut history)?;
        }
        let is_tagged = |line: &&Line| app::TAGGED.contains(&line.row.0);
        let mut any = false;
        for line in lines.iter().filter(is_tagged) {
            history.note(line, &mut self.tagged, now);
            any = true;
        }
        self.history.tagged = history;
        match any {
            true => self.check_tables(),
            false => Ok(()),
        }
    }

    /// Rows that were there before anything was logged.
    fn take_stock(&mut self, history: &mut TagHistory) -> Result<(), Violation> {
        let now = self.now();
        for row in self.tagged_rows(now)? {
            let entity = row.tag.entity();
            for (at, value) in row.values.iter().enumerate() {
                let cell = (entity, at, value.clone());
                self.tagged.first.entry(cell).or_insert(now);
            }
            let name = (entity, afield_protocol::codec::cbor::write_key(row.key()));
            history.tags.insert(name, row.tag);
        }
        Ok(())
    }

    /// All tagged rows of a state.
    pub(crate) fn tagged_rows(&self, state: usize) -> Result<Vec<TaggedRow>, Violation> {
        let mut found = Vec::new();
        for entity in app::TAGGED {
            found.extend(tagged(entity, &self.rows(state, entity))?);
        }
        Ok(found)
    }

    fn check_tables(&self) -> Result<(), Violation> {
        let rows = self.tagged_rows(self.now())?;
        for row in &rows {
            let ids = match row.tag.entity() {
                app::REMARK => &[0, 1, 3][..],
                _ => &[0][..],
            };
            if ids.iter().any(|at| is_temporary(&row.values[*at])) {
                let invariant = "no temporary identifier is ever on the server";
                let detail = format!("{}: {:?}", row.tag, row.values);
                return Err(Violation::new(Promise::P4, invariant, detail));
            }
        }
        let lost = Lost {
            is_restored: self.is_restored,
            ..Lost::default()
        };
        check_references(&rows, &lost)?;
        for (tag, times) in &self.history.tagged.made {
            let allowed = 1 + self.tagged.again.get(tag).map_or(0, Vec::len);
            if *times > allowed {
                let invariant = "a row is made at most once";
                let detail = format!("{tag} was made {times} times, its user did it {allowed}");
                return Err(Violation::new(Promise::P2, invariant, detail));
            }
        }
        Ok(())
    }

    /// A user, who was told that a row has gone, decided to make it again. If it is there by now,
    /// only the user of a copy of his device can have decided the same: then there are two.
    pub(crate) fn may_make_again(&mut self, tag: &Tag, device: usize) {
        let is_gone = self.tagged_row(self.now(), tag).is_none();
        let again = self.tagged.again.entry(tag.clone()).or_default();
        if is_gone || again.last().is_some_and(|last| *last != device) {
            again.push(device);
        }
    }

    /// The first state that had this value, which is typed once, in this attribute.
    pub(crate) fn first_state(&self, entity: usize, at: usize, value: &Value) -> Option<usize> {
        let cell = (entity, at, value.clone());
        self.tagged.first.get(&cell).copied()
    }

    /// Whether a row with this tag was ever on the server.
    pub(crate) fn was_there(&self, tag: &Tag) -> bool {
        let tag_at = tag_place(tag.entity());
        self.first_state(tag.entity(), tag_at, &tag.value())
            .is_some()
    }

    /// Whether a row with this tag was ever deleted on the server.
    pub(crate) fn was_deleted(&self, tag: &Tag) -> bool {
        self.tagged.deleted.contains(tag)
    }

    /// Tagged rows that were ever deleted on the server.
    pub(super) fn deleted_rows(&self) -> impl Iterator<Item = &RowName> {
        self.tagged.deleted_rows.iter()
    }

    /// The row with this tag in a state.
    pub(crate) fn tagged_row(&self, state: usize, tag: &Tag) -> Option<Vec<Value>> {
        let rows: Rc<Rows> = self.rows(state, tag.entity());
        let at = tag_place(tag.entity());
        let is_it = |row: &&Vec<Value>| Tag::of(&row[at]).as_ref() == Some(tag);
        rows.values().find(is_it).cloned()
    }

    /// Whether a state has a row with this name.
    pub(crate) fn has_name(&self, state: usize, entity: usize, name: &str) -> bool {
        let at = tag_place(entity);
        let rows = self.rows(state, entity);
        rows.values()
            .any(|row| Tag::of(&row[at]).is_some_and(|tag| tag.name() == name))
    }
}

/// The row's identifier as values.
pub(super) fn key_of(row: &RowName) -> Vec<Value> {
    read_key(&row.1).unwrap_or_default()
}
