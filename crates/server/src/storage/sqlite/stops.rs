//! What came in one request with a change that was refused, and depends on it.
//!
//! A device sends a whole outbox at once, before it can know what becomes of the first group.
//! What was written on top of a refused change must not be applied without it.

use afield_protocol::dependence::{Blocked, Step, Stopped};
use afield_protocol::{Change, Code, Group, Merge, Model, Pattern, Verdict, VerdictKind};

use super::numbers::Numbers;
use super::tables::Tables;
use crate::resolved::ServerModel;

/// A group that was applied or refused, now or when it came first.
pub(super) struct Settled {
    /// One for each change.
    pub verdicts: Vec<Verdict>,
    /// The rows that the group names by temporary identifiers. Of a refused group, those of other
    /// groups only: the numbers of its own rows went back, and the next rows get them.
    pub numbers: Numbers,
}

/// The changes of a request that did not take effect so far.
pub(super) struct Stops<'a> {
    model: &'a Model,
    blocked: Blocked,
}

impl<'a> Stops<'a> {
    pub(super) fn new(model: &'a ServerModel) -> Self {
        Self {
            model: &model.device,
            blocked: Blocked::default(),
        }
    }

    /// Why `group` must wait, if it must.
    pub(super) fn hold(&self, tables: &Tables, group: &Group, numbers: &Numbers) -> Option<String> {
        if self.blocked.is_empty() {
            return None;
        }
        let changes = numbers.put_all(tables, &group.changes);
        let held = changes
            .iter()
            .find(|change| self.blocked.holds(self.model, step(change)))?;
        let entity = &held.entity;
        Some(format!(
            "its change of `{entity}` depends on one before it that was not applied"
        ))
    }

    fn is_by_record(&self, change: &Change) -> bool {
        let entity = self.model.entity(&change.entity);
        entity.is_some_and(|entity| {
            entity.pattern == Pattern::DetectConflicts && entity.merge == Merge::Record
        })
    }

    /// Adds what did not take effect of a group.
    pub(super) fn add(&mut self, tables: &Tables, group: &Group, settled: &Settled) {
        let is_applied = |verdict: &Verdict| verdict.kind == VerdictKind::Applied;
        if settled.verdicts.iter().all(is_applied) {
            return;
        }
        let changes = settled.numbers.put_all(tables, &group.changes);
        for (change, verdict) in changes.iter().zip(&settled.verdicts) {
            if let Some(stopped) = stopped(verdict) {
                // By record, the refused value in a later edit's base would be a conflict of the
                // user with himself.
                let stopped = if self.is_by_record(change) {
                    Stopped::Undecided
                } else {
                    stopped
                };
                self.blocked.add(step(change), stopped);
            }
        }
    }
}

/// How a change stands in the way of others, if it does: what was refused because its row is gone
/// does not, since the others meet the same fate.
fn stopped(verdict: &Verdict) -> Option<Stopped> {
    match (verdict.kind, &verdict.code) {
        (VerdictKind::Applied, _) => None,
        (_, Some(code)) if *code == Code::GONE => None,
        (_, Some(code)) if *code == Code::WAITS_FOR => Some(Stopped::Undecided),
        (VerdictKind::Conflict, _) => Some(Stopped::Undecided),
        (VerdictKind::Rejected, _) => Some(Stopped::Refused),
    }
}

fn step(change: &Change) -> Step<'_> {
    Step {
        entity: &change.entity,
        key: &change.key,
        op: change.op,
        base: &change.base,
        set: &change.set,
    }
}
