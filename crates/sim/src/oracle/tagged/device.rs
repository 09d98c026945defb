//! What a device shows and holds of tagged rows, against what its user typed.

use std::collections::{HashMap, HashSet};

use afield_protocol::codec::cbor::write_key;
use afield_protocol::{Key, Op, Value, is_temporary};

use super::rows::{Lost, TaggedRow, check_references, integer};
use super::server::key_of;
use crate::app;
use crate::oracle::device::{is_erased, state_of};
use crate::oracle::server::ServerRecord;
use crate::oracle::view::{Entry, GroupState, View};
use crate::rows::{RowName, display};
use crate::tag::{HITS, Tag, tag_place, typed_places};
use crate::violation::{Promise, Violation};

/// What the oracle knows about one device's tagged rows.
#[derive(Clone, Default)]
pub(crate) struct TaggedDevice {
    /// Which row every identifier ever stood for.
    names: HashMap<RowName, Tag>,
    /// The identifier that the app was given when it made a row.
    pub(crate) remembered: HashMap<Tag, Key>,
    /// What the user typed last, by row and attribute.
    typed: HashMap<(Tag, usize), Value>,
    /// Rows that the user deleted.
    deleted: HashSet<Tag>,
    /// Those that had an unsent change then, with what that was: it may be folded into the
    /// deletion, and the deletion of a row that was never sent is nothing at all.
    overtaken: HashMap<Tag, Op>,
    /// Every value that it ever showed.
    pub(crate) shown: HashSet<(Tag, usize, Value)>,
}

/// A row by its tag, and whether its identifier is temporary: while a row that was sent comes back
/// with a pull before its outcome does, both are there.
type Twin<'a> = (&'a Tag, bool);

impl TaggedDevice {
    /// Notes what a write did to the tables; gives by how much it counted which rows up.
    pub(crate) fn wrote(&mut self, before: &View, after: &View) -> Vec<(Tag, i64)> {
        let (old, new) = (twins(before), twins(after));
        let mut counted = Vec::new();
        for (twin, row) in &new {
            let was = old.get(twin);
            let is_new = |at: usize| was.is_none_or(|was| was.values[at] != row.values[at]);
            let entity = row.tag.entity();
            let tag_at = tag_place(entity);
            for at in typed_places(entity).iter().copied().chain([tag_at]) {
                if is_new(at) && !row.values[at].is_null() {
                    let cell = (row.tag.clone(), at);
                    self.typed.insert(cell, row.values[at].clone());
                }
            }
            if entity == app::ORDER && is_new(HITS) {
                let number = |row: &TaggedRow| integer(&row.values[HITS]).unwrap_or(0);
                let by = number(row) - was.map_or(0, |was| number(was));
                counted.push((row.tag.clone(), by));
            }
        }
        for (tag, _) in old.keys().filter(|twin| !new.contains_key(*twin)) {
            self.deleted.insert((*tag).clone());
            let mut log = before.tagged_log.iter().rev();
            let is_unsent = |entry: &&Entry| entry.state == GroupState::Pending;
            let unsent = log.find(|e| is_unsent(e) && self.tags(e).contains(tag));
            let captured = old.values().filter(|row| row.tag == **tag).any(|row| {
                let name = (tag.entity(), write_key(row.key()));
                before.captured.contains(&name)
            });
            let op = unsent.map(|entry| entry.op);
            if let Some(op) = op.or(captured.then_some(Op::Update)) {
                self.overtaken.insert((*tag).clone(), op);
            }
            self.typed.retain(|(typed, _), _| typed != *tag);
        }
        counted
    }

    /// The app decided that a value stands, or was shown one to decide about.
    pub(crate) fn was_shown(&mut self, tag: &Tag, at: usize, value: &Value) {
        self.shown.insert((tag.clone(), at, value.clone()));
    }

    /// The user typed a value into a row that is not written at once.
    pub(crate) fn typed(&mut self, tag: &Tag, at: usize, value: Value) {
        self.typed.insert((tag.clone(), at), value);
    }

    /// The power went in the middle of a write: what the log holds of it was typed.
    pub(crate) fn may_have_typed(&mut self, tag: &Tag, set: &[(usize, Value)], after: &View) {
        let entity = tag.entity();
        let typed = typed_places(entity)
            .iter()
            .copied()
            .chain([tag_place(entity)]);
        for at in typed {
            let attribute = app::attribute_name(entity, at);
            for (_, value) in set.iter().filter(|(place, _)| *place == at) {
                let holds = |entry: &Entry| entry.set.get(attribute) == Some(value);
                if after.tagged_log.iter().any(holds) {
                    self.typed(tag, at, value.clone());
                }
            }
        }
    }

    /// Whether an unsent change of a row may have ended with the row's deletion.
    pub(crate) fn is_overtaken(&self, tag: &Tag) -> bool {
        self.overtaken.contains_key(tag)
    }

    /// Rows that were made and deleted again before anybody heard of them.
    pub(crate) fn unmade(&self) -> impl Iterator<Item = &Tag> {
        let unmade = self.overtaken.iter();
        unmade.filter_map(|(tag, op)| (*op == Op::Create).then_some(tag))
    }

    /// Looks at a device's file.
    pub(crate) fn check(&mut self, view: &View, server: &ServerRecord) -> Result<(), Violation> {
        self.check_names(view)?;
        check_references(&view.tagged, &lost(view, server))?;
        check_ids(view)?;
        self.check_untouched(view, server)?;
        self.check_typed(view, server)?;
        self.check_deleted(view, server)?;
        for row in &view.tagged {
            for (at, value) in row.values.iter().enumerate() {
                self.was_shown(&row.tag, at, value);
            }
        }
        Ok(())
    }

    /// An identifier stands for one row for ever.
    fn check_names(&mut self, view: &View) -> Result<(), Violation> {
        for row in &view.tagged {
            let entity = row.tag.entity();
            let name = (entity, write_key(row.key()));
            let before = self.names.insert(name, row.tag.clone());
            if let Some(before) = before.filter(|before| *before != row.tag && entity != app::LINE)
            {
                let invariant = "an identifier stands for one row for ever";
                let detail = format!("{:?} was {before} and is {}", row.key(), row.tag);
                return Err(Violation::new(Promise::P4, invariant, detail));
            }
        }
        Ok(())
    }

    /// The rows that an entry of the log is about.
    pub(crate) fn tags(&self, entry: &Entry) -> Vec<Tag> {
        let mut tags: Vec<Tag> = [&entry.set, &entry.base]
            .iter()
            .filter_map(|values| Tag::of(values.get("tag")?))
            .collect();
        if tags.is_empty() {
            tags.extend(self.names.get(&entry.row).cloned());
        }
        tags
    }

    /// Rows that the user never touched are as the server had them.
    fn check_untouched(&self, view: &View, server: &ServerRecord) -> Result<(), Violation> {
        let touched: HashSet<Tag> = view.tagged_log.iter().flat_map(|e| self.tags(e)).collect();
        let keys: HashSet<&RowName> = view.tagged_log.iter().map(|entry| &entry.row).collect();
        for entity in app::TAGGED {
            let Some(state) = state_of(view, server, 0, entity)? else {
                continue;
            };
            let rows = server.rows(state, entity);
            let shown = &view.visible[entity];
            let all: HashSet<&Vec<u8>> = rows.keys().chain(shown.keys()).collect();
            for key in all {
                let name = (entity, key.clone());
                if keys.contains(&name) || view.captured.contains(&name) {
                    continue;
                }
                let (theirs, ours) = (rows.get(key), shown.get(key));
                let tags = [theirs, ours].map(|row| Tag::of(&row?[tag_place(entity)]));
                if theirs == ours || tags.iter().flatten().any(|tag| touched.contains(tag)) {
                    continue;
                }
                let detail = format!(
                    "{} {:?}: shows {}; the server had {} (state {state})",
                    app::name(entity),
                    key_of(&name),
                    display(entity, ours),
                    display(entity, theirs)
                );
                let invariant = "rows that the user never touched are as the server had them";
                return Err(Violation::new(Promise::P4, invariant, detail));
            }
        }
        Ok(())
    }

    /// What was typed is kept, and visible until the server's rows contain it.
    fn check_typed(&self, view: &View, server: &ServerRecord) -> Result<(), Violation> {
        let visible: HashSet<(usize, usize, &Value)> = (view.tagged.iter())
            .flat_map(|row| {
                let cells = row.values.iter().enumerate();
                cells.map(|(at, value)| (row.tag.entity(), at, value))
            })
            .collect();
        for ((tag, at), value) in &self.typed {
            // Values are unique: a row may get another tag when its user prefers somebody else's.
            let entity = tag.entity();
            if visible.contains(&(entity, *at, value)) {
                continue;
            }
            let attribute = app::attribute_name(entity, *at);
            let holds = |entry: &&Entry| entry.set.get(attribute) == Some(value);
            let entries: Vec<&Entry> = view.tagged_log.iter().filter(holds).collect();
            let first = server.first_state(entity, *at, value);
            let detail = || {
                let rows: Vec<_> = view.tagged.iter().filter(|row| row.tag == *tag).collect();
                format!("{tag} {attribute} = {value}: the device shows {rows:?}, holds {entries:?}")
            };
            if entries.is_empty() && first.is_none() {
                let invariant = "what was typed is kept";
                return Err(Violation::new(Promise::P1, invariant, detail()));
            }
            let is_given_up = !entries.is_empty()
                && (entries.iter()).all(|entry| match entry.state {
                    GroupState::Dropped => true,
                    GroupState::Parked => is_erased(entry),
                    _ => false,
                });
            let state = state_of(view, server, 0, entity)?;
            let is_known = match (first, state) {
                (Some(first), Some(state)) => first <= state,
                (Some(_), None) => true,
                (None, _) => false,
            };
            // What the user typed into a row that is gone stays, and not in sight.
            let is_gone = server.was_there(tag)
                && state.is_some_and(|state| server.tagged_row(state, tag).is_none());
            if !(is_given_up || is_known || is_gone) {
                let invariant = "what was typed is visible until the server's rows contain it";
                return Err(Violation::new(Promise::P3, invariant, detail()));
            }
        }
        Ok(())
    }

    /// A deletion is in the log, unless the row never left the device.
    fn check_deleted(&self, view: &View, server: &ServerRecord) -> Result<(), Violation> {
        // What another process did a moment ago is looked for when it is sealed.
        let deleted = self.deleted.iter().filter(|_| !view.has_captured(true));
        for tag in deleted {
            let is_replaced = |entry: &Entry| {
                entry.op == Op::Delete || entry.set.contains_key("tag") && entry.op == Op::Update
            };
            let mut entries = view.tagged_log.iter();
            let is_held = entries.any(|e| is_replaced(e) && self.tags(e).contains(tag));
            // A copy of the device may have sent what was taken back here.
            let is_create = |entry: &Entry| entry.op == Op::Create;
            let mut entries = view.tagged_log.iter();
            let is_unmade = self.unmade().any(|unmade| unmade == tag)
                && !entries.any(|e| is_create(e) && self.tags(e).contains(tag));
            if !is_unmade && server.was_there(tag) && !server.was_deleted(tag) && !is_held {
                let invariant = "what was deleted is in the outbox";
                return Err(Violation::new(Promise::P1, invariant, tag.to_string()));
            }
        }
        Ok(())
    }

    /// What is sent shares nothing with an open conflict, and no attribute with a refused change.
    pub(crate) fn check_sent(
        &self,
        view: &View,
        is_sent: impl Fn(&Entry) -> bool,
    ) -> Result<(), Violation> {
        let code = |entry: &Entry| {
            let ended = view.outcomes.get(&(entry.group, entry.at));
            ended.and_then(|ended| ended.first().cloned())
        };
        for (at, entry) in view.tagged_log.iter().enumerate() {
            if !is_sent(entry) || entry.state == GroupState::Parked {
                continue;
            }
            let is_open = |before: &&Entry| before.state == GroupState::Parked;
            for before in view.tagged_log[..at].iter().filter(is_open) {
                let shares = before.set.keys().any(|name| entry.set.contains_key(name));
                let is_conflict = matches!(
                    code(before),
                    Some((afield_protocol::VerdictKind::Conflict, _))
                );
                let is_erased = before.base.is_empty() && before.op != Op::Create;
                let is_bound = before.row == entry.row
                    && !is_erased
                    && (is_conflict
                        || before.op == Op::Create
                        || before.op == Op::Update && shares && !view_gone(code(before)));
                if is_bound {
                    let invariant = "what depends on a parked change is held";
                    let detail = format!("{entry:?} depends on {before:?}");
                    return Err(Violation::new(Promise::P8, invariant, detail));
                }
            }
        }
        Ok(())
    }
}

/// Rows that a reference may point to though they are not there.
fn lost(view: &View, server: &ServerRecord) -> Lost {
    let log = view.tagged_log.iter();
    let deleted = log.filter(|entry| entry.op == Op::Delete && entry.state != GroupState::Dropped);
    let deleted = deleted.map(|entry| &entry.row).chain(server.deleted_rows());
    let deleted = deleted.filter_map(|row| Some((row.0, integer(key_of(row).first()?)?)));
    Lost {
        is_restored: server.is_restored,
        deleted: deleted.collect(),
        growing: (app::TAGGED.iter().copied())
            .filter(|entity| !view.standing[*entity].1)
            .collect(),
    }
}

fn view_gone(ended: Option<crate::oracle::view::Ended>) -> bool {
    ended.is_some_and(|(_, code)| code == Some(afield_protocol::Code::GONE))
}

fn twins(view: &View) -> HashMap<Twin<'_>, &TaggedRow> {
    let rows = view.tagged.iter();
    rows.map(|row| ((&row.tag, row.is_temporary()), row))
        .collect()
}

/// A temporary identifier that the server has replaced stands nowhere any more.
fn check_ids(view: &View) -> Result<(), Violation> {
    let is_old = |target: usize, value: &Value| {
        is_temporary(value) && integer(value).is_some_and(|id| view.ids.contains_key(&(target, id)))
    };
    for row in &view.tagged {
        let places: &[(usize, usize)] = match row.tag.entity() {
            app::ORDER => &[(0, app::ORDER)],
            app::LINE => &[(0, app::ORDER)],
            _ => &[(0, app::REMARK), (1, app::ORDER), (3, app::REMARK)],
        };
        let mut places = places.iter();
        if places.any(|(at, target)| is_old(*target, &row.values[*at])) {
            let invariant = "a replaced identifier stands nowhere any more";
            let detail = format!("{}: {:?}", row.tag, row.values);
            return Err(Violation::new(Promise::P4, invariant, detail));
        }
    }
    for entry in &view.tagged_log {
        let places: &[(&str, usize)] = match entry.row.0 {
            app::REMARK => &[("order_id", app::ORDER), ("parent_id", app::REMARK)],
            _ => &[],
        };
        let target = if entry.row.0 == app::REMARK {
            app::REMARK
        } else {
            app::ORDER
        };
        let key_is_old = key_of(&entry.row)
            .first()
            .is_some_and(|id| is_old(target, id));
        let value_is_old = places.iter().any(|(name, target)| {
            let values = [entry.set.get(*name), entry.base.get(*name)];
            values.into_iter().flatten().any(|id| is_old(*target, id))
        });
        // What was dropped is history; nothing is made of it any more.
        if (key_is_old || value_is_old) && entry.state == GroupState::Pending {
            let invariant = "a replaced identifier stands nowhere any more";
            return Err(Violation::new(Promise::P4, invariant, format!("{entry:?}")));
        }
    }
    Ok(())
}
