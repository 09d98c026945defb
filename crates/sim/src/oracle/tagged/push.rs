//! What a push did to tagged rows, and whether a refusal has its reason.

use afield_protocol::codec::cbor::write_key;
use afield_protocol::{Change, Code, Group, GroupOutcome, Op, Value, Verdict, VerdictKind};

use crate::app;
use crate::oracle::audit::{Effect, Line};
use crate::oracle::push::Pushed;
use crate::oracle::server::ServerRecord;
use crate::tag::{HITS, Tag, tag_place};
use crate::violation::{Promise, Violation};

impl ServerRecord {
    /// What a push replaced or deleted in entities that detect conflicts, its author had seen.
    pub(crate) fn check_replaced(&self, push: &Pushed<'_>) -> Result<(), Violation> {
        let mut seen_rows = std::collections::HashSet::new();
        let is_bound =
            |line: &&Line| line.is_push && (line.row.0 == app::ORDER || line.row.0 == app::LINE);
        for line in push.lines.iter().filter(is_bound) {
            let entity = line.row.0;
            let rows = self.rows(push.before, entity);
            let Some(before) = rows.get(&line.row.1) else {
                continue;
            };
            if !seen_rows.insert((line.row.clone(), line.effect.clone())) {
                continue;
            }
            let Some(tag) = Tag::of(&before[tag_place(entity)]) else {
                continue;
            };
            let is_whole = entity == app::LINE || line.effect == Effect::Delete;
            let places: Vec<usize> = match &line.effect {
                _ if is_whole => (app::key_width(entity)..app::width(entity)).collect(),
                Effect::Set(at, _) => vec![*at],
                _ => Vec::new(),
            };
            let is_unseen = |at: &usize| {
                let is_counter = entity == app::ORDER && *at == HITS;
                let value = &before[*at];
                let cell = (tag.clone(), *at, value.clone());
                !(is_counter || value.is_null() || push.tagged.shown.contains(&cell))
            };
            if let Some(at) = places.into_iter().find(is_unseen) {
                let invariant = "nobody overwrites what he has not seen";
                let detail = format!(
                    "{tag} {} = {} by {:?}",
                    app::attribute_name(entity, at),
                    before[at],
                    line.effect
                );
                return Err(Violation::new(Promise::P6, invariant, detail));
            }
        }
        Ok(())
    }

    /// A change of a tagged row was refused for a reason that is so.
    pub(crate) fn check_reason(
        &self,
        push: &Pushed<'_>,
        group: &Group,
        change: &Change,
        verdict: &Verdict,
    ) -> Result<(), Violation> {
        let Some(entity) = app::place(&change.entity).filter(|at| app::TAGGED.contains(at)) else {
            return Ok(());
        };
        let Some(code) = verdict
            .code
            .as_ref()
            .filter(|_| verdict.kind != VerdictKind::Applied)
        else {
            return Ok(());
        };
        let states = [push.before, self.now()];
        let is_so = match code {
            code if *code == Code::CHECK_FAILED => {
                let is_bad =
                    |v: &Value| matches!(v, Value::Text(text) if text.starts_with(app::BAD));
                change.set.values().any(is_bad)
            }
            code if *code == Code::REFERENCE => {
                let deletes = |change: &Change| change.op == Op::Delete;
                group.changes.iter().any(deletes)
                    || change.op == Op::Create
                        && states.iter().any(|state| self.lacks_parent(*state, change))
            }
            code if *code == Code::GONE => match change.base.get("tag").and_then(Tag::of) {
                Some(tag) => states.iter().any(|s| self.tagged_row(*s, &tag).is_none()),
                None => true,
            },
            code if *code == Code::ROW_CHANGED => states
                .iter()
                .any(|state| self.is_changed(*state, entity, change)),
            code if *code == Code::KEY_EXISTS => {
                let key = write_key(&change.key);
                let is_there = |state: &usize| {
                    self.rows(*state, entity).contains_key(&key)
                        || change
                            .set
                            .get("tag")
                            .and_then(Tag::of)
                            .is_some_and(|tag| self.has_line(*state, &tag, change.key.get(1)))
                };
                states.iter().any(is_there)
            }
            code if *code == Code::ABSORBED_KNOWN => self.is_absorbed(group),
            code => *code == Code::GROUP_REFUSED || *code == Code::WAITS_FOR,
        };
        if is_so {
            return Ok(());
        }
        let invariant = "a change is refused for a reason that is so";
        let detail = format!("group {}: {change:?}: {verdict:?}", group.id);
        Err(Violation::new(Promise::P6, invariant, detail))
    }

    /// Whether another group took effect in the place of this one, or of one that it absorbed.
    pub(in crate::oracle) fn is_absorbed(&self, group: &Group) -> bool {
        let is_replaced = |id| self.history.replaced.contains(id);
        is_replaced(&group.id)
            || group.absorbed.iter().any(|id| {
                let known = self.history.ledger.get(id);
                known.is_some_and(GroupOutcome::is_applied) || is_replaced(id)
            })
    }

    /// Whether what a new row belongs to is not there.
    fn lacks_parent(&self, state: usize, change: &Change) -> bool {
        let Some(tag) = change.set.get("tag").and_then(Tag::of) else {
            return true;
        };
        let has = |entity, name: &str| self.has_name(state, entity, name);
        let order = tag.order_name().is_none_or(|name| has(app::ORDER, name));
        let parent = tag.parent_name().is_none_or(|name| has(app::REMARK, name));
        let n = tag.line_number().map(Value::Integer);
        let line = tag.entity() != app::REMARK || self.has_line(state, &tag, n.as_ref());
        !(order && parent && line)
    }

    /// Whether there is a line at this place of the order that a row belongs to.
    fn has_line(&self, state: usize, owned: &Tag, n: Option<&Value>) -> bool {
        let rows = self.rows(state, app::LINE);
        rows.values().any(|row| {
            let tag = Tag::of(&row[tag_place(app::LINE)]);
            tag.is_some_and(|tag| tag.order_name() == owned.order_name()) && Some(&row[1]) == n
        })
    }

    /// Whether the row of a change is another than its author saw.
    fn is_changed(&self, state: usize, entity: usize, change: &Change) -> bool {
        let Some(tag) = change.base.get("tag").and_then(Tag::of) else {
            return true;
        };
        self.tagged_row(state, &tag).is_none_or(|row| {
            row.iter().enumerate().any(|(at, value)| {
                let base = change.base.get(app::attribute_name(entity, at));
                at >= app::key_width(entity) && base != Some(value)
            })
        })
    }

    /// What depends on a group that was refused in the same push waits for it.
    pub(crate) fn check_waits(
        &self,
        push: &Pushed<'_>,
        outcomes: &[GroupOutcome],
        is_new: &[bool],
    ) -> Result<(), Violation> {
        let all: Vec<_> = push.groups.iter().zip(outcomes).zip(is_new).collect();
        for (at, ((group, outcome), is_new)) in all.iter().enumerate() {
            let decided = outcome.verdicts.iter().filter(|v| !waits(v)).count();
            if !**is_new || decided == 0 {
                continue;
            }
            for ((former, refused), _) in all[..at].iter().filter(|(_, is_new)| **is_new) {
                let pairs = former.changes.iter().zip(&refused.verdicts);
                let stopped = |(change, verdict): &(&Change, &Verdict)| {
                    verdict.kind != VerdictKind::Applied
                        && verdict.code != Some(Code::GONE)
                        && group
                            .changes
                            .iter()
                            .any(|later| depends(later, change, verdict))
                };
                if let Some((change, _)) = pairs.clone().find(stopped) {
                    let invariant = "what depends on a refused change waits for it";
                    let detail = format!(
                        "group {} was decided ({:?}) though it depends on {change:?} of group {}",
                        group.id, outcome.verdicts, former.id
                    );
                    return Err(Violation::new(Promise::P8, invariant, detail));
                }
            }
        }
        Ok(())
    }
}

/// Whether a verdict says that the change was not tried.
fn waits(verdict: &Verdict) -> bool {
    let not_tried = [Code::WAITS_FOR, Code::ABSORBED_KNOWN, Code::GROUP_TOO_LARGE];
    verdict
        .code
        .as_ref()
        .is_some_and(|code| not_tried.contains(code))
}

/// Whether a change depends on an earlier one that was not applied.
fn depends(later: &Change, former: &Change, verdict: &Verdict) -> bool {
    let is_same = later.entity == former.entity && later.key == former.key;
    let is_undecided =
        verdict.kind == VerdictKind::Conflict || verdict.code == Some(Code::WAITS_FOR);
    let shares = later.set.keys().any(|name| former.set.contains_key(name));
    let is_child = former.op == Op::Create
        && former.entity == app::name(app::ORDER)
        && later.op == Op::Create
        && later.entity == app::name(app::LINE)
        && later.key.first() == former.key.first();
    is_child || is_same && (is_undecided || former.op == Op::Create || shares)
}
