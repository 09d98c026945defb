//! What a later write makes of a create in open conflict: a transaction of that one row is folded
//! into it. In the keyed entities nothing else can be in conflict.

use std::collections::BTreeMap;

use afield_protocol::{Attributes, Op, VerdictKind};

use super::device_log::Difference;
use super::view::{Entry, GroupState, View};
use crate::app;
use crate::rows::RowName;

/// What was written since the last look.
pub(super) struct Written {
    /// By another process, sealed since, as one group.
    pub(super) sealed: BTreeMap<RowName, Difference>,
    /// By the app.
    pub(super) fresh: BTreeMap<RowName, Difference>,
}

impl Written {
    pub(super) fn contains(&self, name: &RowName) -> bool {
        self.sealed.contains_key(name) || self.fresh.contains_key(name)
    }

    /// The transactions that wrote this row and no other, in their order.
    fn alone<'a>(&'a self, name: &'a RowName) -> impl Iterator<Item = &'a Difference> {
        let transactions = [&self.sealed, &self.fresh].into_iter();
        let alone = transactions.filter(|rows| rows.len() == 1);
        alone.filter_map(move |rows| rows.get(name))
    }

    /// What is folded into `entry`, as it was at the last look: all that was typed since.
    pub(super) fn folded(&self, before: &View, entry: &Entry) -> Attributes {
        let mut set = Attributes::new();
        if is_foldable(before, entry) {
            for difference in self.alone(&entry.row) {
                set.extend(differences(entry.row.0, difference));
            }
        }
        set
    }
}

/// Whether an edit of the row would be folded into this change.
fn is_foldable(view: &View, entry: &Entry) -> bool {
    let ended = view.outcomes.get(&(entry.group, entry.at));
    let is_conflict = ended
        .and_then(|ended| ended.first())
        .is_some_and(|(kind, _)| *kind == VerdictKind::Conflict);
    let is_over = |state| matches!(state, GroupState::Settled | GroupState::Dropped);
    let unfinished = |other: &&Entry| !is_over(other.state);
    let newest = view.entries(&entry.row).rfind(unfinished);
    entry.op == Op::Create
        && entry.state == GroupState::Parked
        && is_conflict
        && newest == Some(entry)
}

/// The values that an update typed; none if the row was made or deleted.
fn differences(entity: usize, (before, after): &Difference) -> Attributes {
    let (Some(before), Some(after)) = (before, after) else {
        return Attributes::new();
    };
    let places = app::key_width(entity)..app::stored(entity);
    let typed = places.filter(|at| before[*at] != after[*at]);
    typed
        .map(|at| {
            (
                app::attribute_name(entity, at).to_owned(),
                after[at].clone(),
            )
        })
        .collect()
}
