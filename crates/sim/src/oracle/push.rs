//! What a push did, against what it said it did.

use std::collections::{HashMap, HashSet};

use afield_protocol::codec::cbor::write_key;
use afield_protocol::{Change, Code, Group, GroupOutcome, Op, Value, Verdict, VerdictKind};

use super::Counts;
use super::audit::{Effect, Line};
use super::server::{Answer, ServerRecord};
use super::tagged::device::TaggedDevice;
use crate::app;
use crate::rows::{RowName, display_name};
use crate::violation::{Promise, Violation};

/// A push as the oracle saw it.
pub(crate) struct Pushed<'a> {
    pub(crate) groups: &'a [Group],
    /// Nothing if the push failed or the server died in it.
    pub(crate) outcomes: Option<&'a [GroupOutcome]>,
    /// What the audit logged meanwhile.
    pub(crate) lines: &'a [Line],
    /// The number of the state before it.
    pub(crate) before: usize,
    /// Who sent it.
    pub(crate) user: usize,
    /// Everything that users typed.
    pub(crate) intents: &'a Counts,
    /// What the device that sent it ever showed.
    pub(crate) shown: &'a HashSet<(RowName, usize, Value)>,
    /// What is known of that device's tagged rows.
    pub(crate) tagged: &'a TaggedDevice,
}

impl Pushed<'_> {
    /// How many changes of the push set this cell to this value: a user may set one back.
    fn writers(&self, row: &RowName, at: usize, value: &Value) -> usize {
        let changes = self.groups.iter().flat_map(|group| &group.changes);
        changes
            .filter(|change| row_of(change).as_ref() == Some(row))
            .filter(|change| unique_values(change).any(|set| set == (at, value)))
            .count()
    }
}

/// The row of a change; none if the entity is unknown.
pub(crate) fn row_of(change: &Change) -> Option<RowName> {
    Some((app::place(&change.entity)?, write_key(&change.key)))
}

/// The unique values that a change sets, by place of the attribute.
pub(crate) fn unique_values(change: &Change) -> impl Iterator<Item = (usize, &Value)> {
    let entity = app::place(&change.entity).unwrap_or(app::DRAFT);
    let place = move |name: &String| {
        (0..app::width(entity)).find(|at| app::attribute_name(entity, *at) == name)
    };
    let values = change
        .set
        .iter()
        .filter_map(move |(name, value)| Some((place(name)?, value)));
    values.filter(move |(at, value)| app::is_unique(entity, *at) && !value.is_null())
}

impl ServerRecord {
    /// Checks a push against the promises, and notes its outcomes.
    pub(crate) fn check_push(&mut self, push: &Pushed<'_>) -> Result<(), Violation> {
        self.check_timed_rights(push)?;
        self.at_most_once(push)?;
        self.check_replaced(push)?;
        self.check_rights(push)?;
        let now = self.now();
        for group in push.groups {
            self.history.first_push.entry(group.id).or_insert(now);
        }
        let Some(outcomes) = push.outcomes else {
            return Ok(());
        };
        let ids = outcomes.iter().map(|outcome| outcome.group);
        if !ids.eq(push.groups.iter().map(|group| group.id)) {
            let detail = format!("{} groups, {} outcomes", push.groups.len(), outcomes.len());
            let invariant = "a push answers each of its groups, in order";
            return Err(Violation::new(Promise::P6, invariant, detail));
        }
        let is_new = |group: &Group| !self.history.ledger.contains_key(&group.id);
        let is_new: Vec<bool> = push.groups.iter().map(is_new).collect();
        for (group, _) in push
            .groups
            .iter()
            .zip(&is_new)
            .filter(|(_, is_new)| **is_new)
        {
            match push.lines.is_empty() {
                true => self.idle.insert(group.id),
                false => self.idle.remove(&group.id),
            };
        }
        self.check_waits(push, outcomes, &is_new)?;
        for (group, outcome) in push.groups.iter().zip(outcomes) {
            self.check_told(push, group, outcome)?;
            self.check_group(push, group, outcome)?;
            let since = self
                .history
                .first_push
                .get(&group.id)
                .copied()
                .unwrap_or(now);
            self.gave_answer(Answer {
                outcome: outcome.clone(),
                since,
                given: now,
            });
        }
        Ok(())
    }

    /// No typed value, creation or deletion takes effect more often than users made it.
    fn at_most_once(&self, push: &Pushed<'_>) -> Result<(), Violation> {
        let is_keyed = |line: &&Line| line.is_push && app::is_keyed(line.row.0);
        for line in push.lines.iter().filter(is_keyed) {
            if let Effect::Set(at, value) = &line.effect
                && (value.is_null() || !app::is_unique(line.row.0, *at))
            {
                continue;
            }
            let (wanted, happened) = (
                push.intents.of(&line.row, &line.effect),
                self.history.effects.of(&line.row, &line.effect),
            );
            if happened > wanted {
                let detail = format!(
                    "{}: {:?} took effect {happened} times, users did it {wanted} times",
                    display_name(&line.row),
                    line.effect
                );
                let invariant = "what a user did takes effect at most once";
                return Err(Violation::new(Promise::P2, invariant, detail));
            }
        }
        Ok(())
    }

    fn check_group(
        &mut self,
        push: &Pushed<'_>,
        group: &Group,
        outcome: &GroupOutcome,
    ) -> Result<(), Violation> {
        let fail = |promise, invariant, detail: String| {
            let detail = format!("group {}: {detail}", group.id);
            Err(Violation::new(promise, invariant, detail))
        };
        if outcome.verdicts.len() != group.changes.len() {
            let detail = format!("{:?}", outcome.verdicts);
            return fail(Promise::P6, "one verdict for each change", detail);
        }
        if outcome
            .verdicts
            .iter()
            .any(|v| v.code.as_ref() == Some(&Code::HASH_MISMATCH))
        {
            let invariant = "a group is always sent as it was sent first";
            return fail(Promise::P2, invariant, format!("{:?}", group.changes));
        }
        let applied = outcome
            .verdicts
            .iter()
            .filter(|v| v.kind == VerdictKind::Applied)
            .count();
        if applied != 0 && applied != outcome.verdicts.len() {
            let detail = format!("{:?}", outcome.verdicts);
            return fail(
                Promise::P2,
                "a group is applied whole or not at all",
                detail,
            );
        }
        if let Some(first) = self.history.ledger.get(&group.id) {
            if !self.is_same_answer(push.user, group, first, outcome) {
                let detail = format!("first {first:?}, then {outcome:?}");
                return fail(Promise::P2, "a repeated group gets the same answer", detail);
            }
            return Ok(());
        }
        self.history.ledger.insert(group.id, outcome.clone());
        if outcome.is_applied() {
            self.history.replaced.extend(&group.absorbed);
        }
        for (change, verdict) in group.changes.iter().zip(&outcome.verdicts) {
            self.check_change(push, change, verdict)?;
            self.check_reason(push, group, change, verdict)?;
            self.check_scoped_reason(push, group, change, verdict)?;
            self.check_timed_reason(push, group, change, verdict)?;
        }
        Ok(())
    }

    /// A change that is applied took effect; a refused one did not; what an applied one replaced
    /// was seen by its author, or the verdict holds it.
    fn check_change(
        &self,
        push: &Pushed<'_>,
        change: &Change,
        verdict: &Verdict,
    ) -> Result<(), Violation> {
        let Some(row) = row_of(change).filter(|row| app::is_keyed(row.0)) else {
            return Ok(());
        };
        let before = self.rows(push.before, row.0);
        let before = before.get(&row.1);
        let effects: HashMap<_, _> = (push.lines.iter())
            .filter(|line| line.is_push && line.row == row)
            .map(|line| (&line.effect, &line.old))
            .collect();
        for (at, value) in unique_values(change) {
            let old = effects.get(&Effect::Set(at, value.clone()));
            let cell = || {
                let name = app::attribute_name(row.0, at);
                format!("{} {name} = {value}", display_name(&row))
            };
            match (verdict.kind, old) {
                (VerdictKind::Applied, Some(old)) => overwritten(push, change, verdict, at, old)?,
                (VerdictKind::Applied, None) => {
                    let stands = before.is_some_and(|before| before[at] == *value);
                    if !stands && self.effects(&row, at, value) == 0 {
                        let invariant = "what is called applied took effect";
                        return Err(Violation::new(Promise::P1, invariant, cell()));
                    }
                }
                (_, Some(_)) if push.writers(&row, at, value) < 2 => {
                    let invariant = "what is refused takes no effect, its whole group included";
                    return Err(Violation::new(Promise::P2, invariant, cell()));
                }
                (_, _) => {}
            }
        }
        Ok(())
    }
}

/// The value `old` was replaced: its author must have seen it, or the verdict must hold it.
fn overwritten(
    push: &Pushed<'_>,
    change: &Change,
    verdict: &Verdict,
    at: usize,
    old: &Value,
) -> Result<(), Violation> {
    let Some(row) = row_of(change).filter(|_| change.op == Op::Update) else {
        return Ok(());
    };
    let name = app::attribute_name(row.0, at);
    if old.is_null() || verdict.overwritten.get(name) == Some(old) {
        return Ok(());
    }
    let is_seen = push.shown.contains(&(row.clone(), at, old.clone()));
    if change.base.get(name) == Some(old) && is_seen {
        return Ok(());
    }
    let detail = format!(
        "{} {name}: `{old}` was replaced; base {:?}, overwritten {:?}, shown before: {is_seen}",
        display_name(&row),
        change.base.get(name),
        verdict.overwritten.get(name)
    );
    let invariant = "what is overwritten unseen stands in the ledger";
    Err(Violation::new(Promise::P6, invariant, detail))
}
