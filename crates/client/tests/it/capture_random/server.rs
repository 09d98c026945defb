//! A server in a few lines: rows, one number for each change, a ledger.

use std::collections::{BTreeMap, HashMap};

use afield::protocol::codec::cbor::{read_key, write_key};
use afield::protocol::{
    Attributes, Change, Code, Frame, Group, GroupId, Model, Op, RowBlockWriter, Theirs, Value,
    Verdict, VerdictKind, is_temporary,
};
use fastrand::Rng;

use super::device::{Page, RowId, Snapshot};
use super::schema::{DEFAULTED, NUMBERED};

/// What a trigger of the server's sometimes calls a row that the device calls `n4`.
const RENAMED: &str = "N4";

#[derive(Default)]
pub(super) struct Server {
    pub(super) rows: Snapshot,
    marks: BTreeMap<RowId, u64>,
    n: u64,
    highest_job: i64,
    ledger: HashMap<GroupId, Vec<Verdict>>,
}

impl Server {
    /// Somebody else writes a row.
    pub(super) fn put(&mut self, row: RowId, content: Option<Attributes>) {
        self.n += 1;
        self.marks.insert(row.clone(), self.n);
        match content {
            Some(content) => self.rows.insert(row, content),
            None => self.rows.remove(&row),
        };
    }

    /// Applies a group whole or refuses it; a group seen before gets the same answer.
    pub(super) fn push(&mut self, model: &Model, group: &Group, rng: &mut Rng) -> Vec<Verdict> {
        if let Some(verdicts) = self.ledger.get(&group.id) {
            return verdicts.clone();
        }
        for absorbed in &group.absorbed {
            assert!(
                !self.ledger.contains_key(absorbed),
                "an absorbed group had been sent"
            );
        }
        let mut rows = self.rows.clone();
        let mut jobs = self.jobs(&rows);
        let Some(mut changes) = self.named(group, &mut jobs) else {
            let refused = Verdict::rejected(Code::REFERENCE, "no such job");
            let verdicts = vec![refused; group.changes.len()];
            self.ledger.insert(group.id, verdicts.clone());
            return verdicts;
        };
        for change in &mut changes {
            if change.op == Op::Create && change.key == [Value::from("n4")] && rng.bool() {
                change.key = vec![Value::from(RENAMED)];
            }
        }
        let mut verdicts = Vec::new();
        for (change, sent) in changes.iter().zip(&group.changes) {
            let mut verdict = decide(model, &mut rows, change, rng);
            if change.key != sent.key {
                verdict.key = Some(change.key.clone());
            }
            verdicts.push(verdict);
        }
        if verdicts
            .iter()
            .all(|verdict| verdict.kind == VerdictKind::Applied)
        {
            self.highest_job = jobs;
            for change in &changes {
                let row = (change.entity.clone(), write_key(&change.key));
                let content = rows.get(&row).cloned();
                self.put(row, content);
            }
        } else {
            let applied = |verdict: &&mut Verdict| verdict.kind == VerdictKind::Applied;
            for verdict in verdicts.iter_mut().filter(applied) {
                *verdict = Verdict::rejected(Code::GROUP_REFUSED, "another change");
            }
            // What stands against a change may have another name, what was undone has none.
            for verdict in &mut verdicts {
                verdict.key = verdict.key.take().filter(|_| verdict.theirs.is_some());
            }
        }
        self.ledger.insert(group.id, verdicts.clone());
        verdicts
    }

    /// The highest number that a job ever had.
    fn jobs(&self, rows: &Snapshot) -> i64 {
        let jobs = rows.keys().filter(|(entity, _)| entity == "job");
        let ids = jobs.map(|(_, key)| match read_key(key).unwrap().as_slice() {
            [Value::Integer(id)] => *id,
            _ => 0,
        });
        ids.max().unwrap_or(0).max(self.highest_job)
    }

    /// The changes of a group with real identifiers in place of temporary ones: those of its own
    /// creates, and those that the creates of other groups got. `None` if one is unknown.
    fn named(&self, group: &Group, jobs: &mut i64) -> Option<Vec<Change>> {
        let mut ids = HashMap::new();
        for change in &group.changes {
            if change.entity == "job" && change.op == Op::Create && is_temporary(&change.key[0]) {
                *jobs += 1;
                ids.insert(change.key[0].clone(), Value::Integer(*jobs));
            }
        }
        for origin in &group.origins {
            let verdicts = self.ledger.get(&origin.group)?;
            let key = verdicts.get(origin.at as usize)?.key.as_ref()?;
            let known = ids.entry(Value::Integer(origin.temporary));
            known.or_insert_with(|| key[0].clone());
        }
        let mut changes = group.changes.clone();
        for change in &mut changes {
            let keyed = change.entity == "job" || change.entity == "part";
            let in_key = change.key.first_mut().filter(|_| keyed);
            let values = [change.base.get_mut(NUMBERED), change.set.get_mut(NUMBERED)];
            for value in values.into_iter().flatten().chain(in_key) {
                if is_temporary(value) {
                    *value = ids.get(value)?.clone();
                }
            }
        }
        Some(changes)
    }

    /// The pages of an answer: what is marked above each position, in the order of the marks,
    /// cut at random.
    pub(super) fn pages(
        &self,
        request: i64,
        pull: &[(String, Option<u64>)],
        rng: &mut Rng,
    ) -> Vec<Page> {
        let again = |(entity, at): &(String, Option<u64>)| {
            (at.is_some() && rng.u32(..40) == 0).then(|| entity.clone())
        };
        let mut reset: Vec<String> = pull.iter().filter_map(again).collect();
        let from = |entity: &String| {
            let asked = pull.iter().find(|(name, _)| name == entity);
            asked
                .filter(|_| !reset.contains(entity))
                .and_then(|(_, at)| *at)
                .unwrap_or(0)
        };
        let mut marked: Vec<(&RowId, u64)> = self.marks.iter().map(|(row, n)| (row, *n)).collect();
        marked.retain(|((entity, _), n)| *n > from(entity));
        // Where everything is sent, what is not there needs no mention.
        marked.retain(|(row, _)| from(&row.0) > 0 || self.rows.contains_key(*row));
        marked.sort_by_key(|(_, n)| *n);
        let size = if rng.bool() {
            usize::MAX
        } else {
            rng.usize(1..4)
        };
        let mut at: BTreeMap<String, u64> = pull
            .iter()
            .map(|(entity, _)| (entity.clone(), from(entity)))
            .collect();
        let mut before: Vec<Option<u64>> = pull.iter().map(|(_, at)| *at).collect();
        let mut pages = Vec::new();
        let mut rest = marked.as_slice();
        loop {
            let (now, later) = rest.split_at(size.min(rest.len()));
            rest = later;
            let reached = now.last().map_or(0, |(_, n)| *n);
            let complete = rest.is_empty();
            for position in at.values_mut() {
                *position = if complete {
                    self.n
                } else {
                    reached.max(*position)
                };
            }
            let entities = pull.iter().zip(&before);
            let entities = entities.map(|((name, _), from)| (name.clone(), *from, at[name]));
            let content = now
                .iter()
                .map(|(row, _)| ((*row).clone(), self.rows.get(*row).cloned()));
            pages.push(Page {
                request,
                entities: entities.collect(),
                reset: std::mem::take(&mut reset),
                rows: content.collect(),
                complete,
            });
            before = pull.iter().map(|(name, _)| Some(at[name])).collect();
            if complete {
                return pages;
            }
        }
    }
}

fn decide(model: &Model, rows: &mut Snapshot, change: &Change, rng: &mut Rng) -> Verdict {
    if rng.u32(..40) == 0 {
        return Verdict::rejected(Code::CHECK_FAILED, "no");
    }
    let row = (change.entity.clone(), write_key(&change.key));
    let mut content = match (change.op, rows.get(&row)) {
        (Op::Delete, _) => {
            rows.remove(&row);
            return Verdict::applied();
        }
        (Op::Update, None) => return Verdict::rejected(Code::GONE, "gone"),
        (Op::Update, Some(now)) => now.clone(),
        (Op::Create, Some(now)) => {
            let same = change
                .set
                .iter()
                .all(|(name, value)| now.get(name) == Some(value));
            return match same {
                true => Verdict::applied(),
                false => Verdict::conflict(Code::KEY_EXISTS, Theirs::Row(now.clone())),
            };
        }
        (Op::Create, None) => empty(model, &change.entity),
    };
    content.extend(change.set.clone());
    let mut verdict = Verdict::applied();
    if let Some(Value::Text(text)) = change.set.get("a")
        && rng.u32(..6) == 0
    {
        let made = Value::Text(text.to_uppercase());
        verdict.values.insert("a".into(), made.clone());
        content.insert("a".into(), made);
    }
    rows.insert(row, content);
    verdict
}

/// A row with what the server's columns have by default.
pub(super) fn empty(model: &Model, entity: &str) -> Attributes {
    let values = model.entity(entity).unwrap().values().iter();
    values
        .map(|attribute| {
            let is_defaulted = (entity, attribute.name.as_str()) == DEFAULTED;
            let value = if is_defaulted {
                Value::Integer(0)
            } else {
                Value::Null
            };
            (attribute.name.clone(), value)
        })
        .collect()
}

/// The frames of a page, one for each row.
pub(super) fn frames(model: &Model, page: &Page) -> Vec<Frame> {
    let frame = |((entity, key), content): &(RowId, Option<Attributes>)| {
        let key = read_key(key).unwrap();
        let Some(content) = content else {
            return Frame::Gone {
                entity: entity.clone(),
                keys: vec![key],
            };
        };
        let shape = model.entity(entity).unwrap();
        let mut block = RowBlockWriter::new(entity, &shape.columns());
        let values = shape
            .values()
            .iter()
            .map(|attribute| &content[&attribute.name]);
        block.push(key.iter().chain(values).map(Value::as_ref));
        Frame::Rows(block.take())
    };
    page.rows.iter().map(frame).collect()
}
