//! What came in one request with a change that was refused, and depends on it.
//!
//! A device sends a whole outbox at once, before it can know what becomes of the first group.
//! What was written on top of a refused change must not be applied without it.

use afield_protocol::dependence::{Blocked, Stopped};
use afield_protocol::{Group, Model, Verdict, VerdictKind};

use super::numbers::Numbers;
use super::transaction::Transaction;
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
#[derive(Clone)]
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
    pub(super) fn hold(
        &self,
        tx: &impl Transaction,
        group: &Group,
        numbers: &Numbers,
    ) -> Option<String> {
        if self.blocked.is_empty() {
            return None;
        }
        let changes = numbers.put_all(tx, &group.changes);
        let held = changes
            .iter()
            .find(|change| self.blocked.holds(self.model, (*change).into()))?;
        let entity = &held.entity;
        Some(format!(
            "its change of `{entity}` depends on one before it that was not applied"
        ))
    }

    /// Adds what did not take effect of a group.
    pub(super) fn add(&mut self, tx: &impl Transaction, group: &Group, settled: &Settled) {
        let is_applied = |verdict: &Verdict| verdict.kind == VerdictKind::Applied;
        if settled.verdicts.iter().all(is_applied) {
            return;
        }
        let changes = settled.numbers.put_all(tx, &group.changes);
        for (change, verdict) in changes.iter().zip(&settled.verdicts) {
            if let Some(stopped) = Stopped::of(self.model, change, verdict) {
                self.blocked.add(change.into(), stopped);
            }
        }
    }
}
