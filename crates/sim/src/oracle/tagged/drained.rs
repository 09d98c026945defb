//! What must be true of tagged rows once every conflict is decided, every refusal settled, and
//! everything sent.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::rows::integer;
use crate::app;
use crate::oracle::server::ServerRecord;
use crate::oracle::view::{GroupState, View};
use crate::rows::display;
use crate::tag::{HITS, Tag};
use crate::violation::{Promise, Violation};

/// What orders' counters should stand at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters {
    expected: HashMap<Tag, i64>,
    /// Those of which nobody can say: some of what was typed was given up, or went with a power
    /// cut or a server's history.
    unknown: HashSet<Tag>,
}

impl Counters {
    /// Somebody counted a row up, or made it with this count.
    pub(crate) fn add(&mut self, tag: &Tag, by: i64) {
        *self.expected.entry(tag.clone()).or_default() += by;
    }

    /// Nobody can say any more.
    pub(crate) fn forget(&mut self, tag: &Tag) {
        self.unknown.insert(tag.clone());
    }

    /// Of all of them.
    pub(crate) fn forget_all(&mut self) {
        self.unknown.extend(self.expected.keys().cloned());
    }

    /// Every difference was added once.
    pub(crate) fn check(&self, server: &ServerRecord) -> Result<(), Violation> {
        for row in server.tagged_rows(server.now())? {
            let Some(expected) = self.expected.get(&row.tag) else {
                continue;
            };
            let stands = integer(&row.values[HITS.min(row.values.len() - 1)]);
            let is_known = row.tag.entity() == app::ORDER && !self.unknown.contains(&row.tag);
            if is_known && stands != Some(*expected) {
                let invariant = "a counter is the sum of what everybody added, each once";
                let detail = format!("{}: {stands:?}, should be {expected}", row.tag);
                return Err(Violation::new(Promise::P2, invariant, detail));
            }
        }
        Ok(())
    }
}

fn is_over(state: GroupState) -> bool {
    matches!(state, GroupState::Settled | GroupState::Dropped)
}

/// How many changes are parked, held or unsent.
pub(crate) fn unsettled(view: &View) -> usize {
    let log = view.tagged_log.iter();
    log.filter(|entry| !is_over(entry.state)).count()
}

/// Nothing is parked, held or unsent any more.
pub(crate) fn check_settled(view: &View) -> Result<(), Violation> {
    match view.tagged_log.iter().find(|entry| !is_over(entry.state)) {
        None => Ok(()),
        Some(entry) => {
            let ended = view.outcomes.get(&(entry.group, entry.at));
            let invariant = "once all is decided, everything drains";
            let detail = format!("{entry:?}, {ended:?}");
            Err(Violation::new(Promise::P8, invariant, detail))
        }
    }
}

/// The device shows exactly the server's rows.
pub(crate) fn check_same(view: &View, server: &ServerRecord) -> Result<(), Violation> {
    for entity in app::TAGGED {
        let rows = server.rows(server.now(), entity);
        let shown = &view.visible[entity];
        let mut keys: BTreeMap<&Vec<u8>, ()> = rows.keys().map(|key| (key, ())).collect();
        keys.extend(shown.keys().map(|key| (key, ())));
        let mut keys = keys.into_keys();
        if let Some(key) = keys.find(|key| rows.get(*key) != shown.get(*key)) {
            let detail = format!(
                "{}: shows {}; the server has {}",
                app::name(entity),
                display(entity, shown.get(key)),
                display(entity, rows.get(key))
            );
            let invariant = "in the end every device has exactly the server's rows";
            return Err(Violation::new(Promise::P5, invariant, detail));
        }
    }
    Ok(())
}
