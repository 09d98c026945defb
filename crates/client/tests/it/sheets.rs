//! What the tests of decisions share: sheets that two people write, remarks about them, and a
//! server of one rule that answers as the protocol decides.

use std::collections::BTreeMap;

use afield::protocol::conflict::{Decision, Now, Rule, decide};
use afield::protocol::dependence::{Blocked, Stopped};
use afield::protocol::{
    Attributes, Change, Code, Entity, Frame, Group, Identifier, Key, Merge, Model, Op, Pattern,
    Theirs, Type, Value, Verdict, VerdictKind,
};
use afield::{Outgoing, Store, SyncStore};

use crate::world::{
    World, answer, attributes, entity, int, model, outcome, pull, refer, request, text,
};

/// A sheet in conflict waits for a person; remarks refer to sheets; readings are only sent.
pub(crate) fn sheets(merge: Merge) -> Model {
    use Pattern::{DetectConflicts, LastWriteWins};
    let names = [
        ("id", Type::Text),
        ("a", Type::Text),
        ("b", Type::Text),
        ("visits", Type::Integer),
        ("made", Type::Text),
    ];
    let mut sheet = entity("sheet", DetectConflicts, Identifier::Natural, 1, &names);
    sheet.merge = merge;
    sheet.attributes[3].counter = true;
    sheet.attributes[4].read_only = true;
    let names = [
        ("id", Type::Integer),
        ("sheet", Type::Text),
        ("text", Type::Text),
    ];
    let mut remark = entity("remark", LastWriteWins, Identifier::Natural, 1, &names);
    refer(&mut remark, &["sheet"], "sheet");
    let names = [("id", Type::Integer), ("celsius", Type::Real)];
    let mut reading = entity("reading", LastWriteWins, Identifier::Natural, 1, &names);
    reading.insert_only = true;
    model(vec![sheet, remark, reading])
}

/// A device and a server with sheets.
pub(crate) struct Desk {
    pub(crate) world: World,
    pub(crate) store: Store,
    pub(crate) sync: SyncStore,
    /// The server's sheets.
    pub(crate) rows: BTreeMap<String, Attributes>,
    pulls: usize,
}

impl Desk {
    /// Sheets `s1` and `s2` on both sides.
    pub(crate) fn new() -> Self {
        Self::with(sheets(Merge::Record))
    }

    pub(crate) fn with(model: Model) -> Self {
        let world = World::with(model);
        let mut desk = Self {
            store: world.store(),
            sync: world.sync(),
            world,
            rows: BTreeMap::new(),
            pulls: 0,
        };
        for id in ["s1", "s2"] {
            desk.rows.insert(id.into(), sheet("a0", "b0", 5));
        }
        desk.pull();
        desk
    }

    /// Somebody else writes.
    pub(crate) fn theirs(&mut self, id: &str, name: &str, value: Value) {
        let row = self.rows.get_mut(id).unwrap();
        row.insert(name.to_owned(), value);
    }

    /// The user writes.
    pub(crate) fn mine(&mut self, id: &str, set: &Attributes) {
        self.store.update("sheet", &[text(id)], set).unwrap();
    }

    /// The user writes both sheets in one transaction.
    pub(crate) fn mine_together(&mut self, first: &Attributes, second: &Attributes) {
        self.store
            .transaction(|tx| {
                tx.update("sheet", &[text("s1")], first)?;
                tx.update("sheet", &[text("s2")], second)
            })
            .unwrap();
    }

    pub(crate) fn seen(&self, id: &str) -> Attributes {
        let mut store = self.world.store();
        let mut row = store.get("sheet", &[text(id)]).unwrap().unwrap();
        row.remove("id");
        row
    }

    fn frames(&self) -> Vec<Frame> {
        let cells = self.rows.iter().map(|(id, row)| {
            let mut cells = vec![text(id)];
            let names = ["a", "b", "visits", "made"];
            cells.extend(names.map(|name| row.get(name).cloned().unwrap_or(Value::Null)));
            cells
        });
        let cells: Vec<Vec<Value>> = cells.collect();
        let rows: Vec<&[Value]> = cells.iter().map(Vec::as_slice).collect();
        let gone = ["s1", "s2", "s3"].into_iter();
        let gone = gone.filter(|id| !self.rows.contains_key(*id));
        let keys: Vec<Key> = gone.map(|id| vec![text(id)]).collect();
        let entity = "sheet".to_owned();
        vec![
            self.world.rows("sheet", &rows),
            Frame::Gone { entity, keys },
        ]
    }

    pub(crate) fn pull(&mut self) {
        self.pulls += 1;
        let token = format!("p{}", self.pulls);
        let frames = self.frames();
        pull(&mut self.sync, &frames, &token);
    }

    /// The rows of the answer to a request that is not the newest.
    pub(crate) fn pull_late(&mut self, to: &Outgoing) {
        self.pulls += 1;
        let token = format!("p{}", self.pulls);
        let frames = self.frames();
        answer(&mut self.sync, to, &frames, &token, true);
    }

    /// Sends what there is; gives it with the verdicts by group, and applies or refuses it.
    pub(crate) fn push(&mut self) -> Vec<(Group, Vec<Verdict>)> {
        let outgoing = request(&mut self.sync);
        self.take(&outgoing)
    }

    /// The server takes a request, and its outcomes arrive.
    pub(crate) fn take(&mut self, outgoing: &Outgoing) -> Vec<(Group, Vec<Verdict>)> {
        let mut done = Vec::new();
        let mut blocked = Blocked::default();
        for group in self.world.groups(outgoing) {
            let holds = |change: &Change| blocked.holds(&self.world.model, change.into());
            let verdicts = if group.changes.iter().any(holds) {
                let waits = Verdict::rejected(Code::WAITS_FOR, "something else comes first");
                vec![waits; group.changes.len()]
            } else {
                self.decide(&group)
            };
            for (change, verdict) in group.changes.iter().zip(&verdicts) {
                if let Some(stopped) = Stopped::of(&self.world.model, change, verdict) {
                    blocked.add(change.into(), stopped);
                }
            }
            let stored = [outcome(group.id, verdicts.clone())];
            self.sync.store_outcomes(outgoing.request, &stored).unwrap();
            done.push((group, verdicts));
        }
        done
    }

    /// The same, and the rows that come with the answer.
    pub(crate) fn round(&mut self) -> Vec<(Group, Vec<Verdict>)> {
        let outgoing = request(&mut self.sync);
        let done = self.take(&outgoing);
        self.pulls += 1;
        let token = format!("p{}", self.pulls);
        let frames = self.frames();
        answer(&mut self.sync, &outgoing, &frames, &token, true);
        self.sync.finished(None).unwrap();
        done
    }

    fn decide(&mut self, group: &Group) -> Vec<Verdict> {
        let before = self.rows.clone();
        let mut verdicts = Vec::new();
        for change in &group.changes {
            let verdict = self.one(change);
            let refused = verdict.kind != VerdictKind::Applied;
            verdicts.push(verdict);
            if refused {
                self.rows = before;
                let count = group.changes.len();
                let mut all = vec![Verdict::rejected(Code::GROUP_REFUSED, "with another"); count];
                let at = verdicts.len() - 1;
                all[at] = verdicts.swap_remove(at);
                return all;
            }
        }
        verdicts
    }

    fn one(&mut self, change: &Change) -> Verdict {
        if change.set.values().any(|value| *value == text("bad")) {
            return Verdict::rejected(Code::CHECK_FAILED, "no");
        }
        if change.set.contains_key("made") {
            return Verdict::rejected(Code::READ_ONLY, "made is not yours");
        }
        if change.entity != "sheet" {
            return Verdict::applied();
        }
        let Value::Text(id) = &change.key[0] else {
            panic!("{change:?}");
        };
        let now = self.rows.get(id).cloned().map_or(Now::Absent, Now::Present);
        let entity: &Entity = self.world.model.entity("sheet").unwrap();
        let rule = Rule::Detect(entity.merge);
        match decide(rule, &entity.counters(), change, &now) {
            Decision::Apply { .. } if change.op == Op::Delete => {
                self.rows.remove(id);
            }
            Decision::Apply { set, .. } => self.rows.entry(id.clone()).or_default().extend(set),
            Decision::Nothing => {}
            Decision::Conflict(code) => {
                let theirs = self.rows.get(id).cloned();
                let theirs = theirs.map_or(Theirs::Gone, Theirs::Row);
                return Verdict::conflict(code, theirs);
            }
            Decision::Rejected(code) => return Verdict::rejected(code, "no"),
        }
        Verdict::applied()
    }

    /// The only open conflict's name.
    pub(crate) fn conflict(&mut self) -> String {
        let mut open = self.store.conflicts().unwrap();
        assert_eq!(open.len(), 1, "{open:?}");
        open.remove(0).conflict
    }

    /// The change that is parked with this code.
    pub(crate) fn culprit_of(&mut self, code: &str) -> String {
        let found = self.store.changes().unwrap().into_iter();
        let mut found = found.filter(|change| {
            let why = change.code.as_ref().map(Code::as_str);
            change.state == afield::ChangeState::Parked && why == Some(code)
        });
        found.next().unwrap().change
    }

    /// The only change that is parked on its own account.
    pub(crate) fn culprit(&mut self) -> String {
        let mut found = self.store.changes().unwrap();
        found.retain(|change| {
            change.state == afield::ChangeState::Parked && change.code != Some(Code::GROUP_REFUSED)
        });
        assert_eq!(found.len(), 1, "{found:?}");
        found.remove(0).change
    }
}

pub(crate) fn sheet(a: &str, b: &str, visits: i64) -> Attributes {
    attributes([
        ("a", text(a)),
        ("b", text(b)),
        ("visits", int(visits)),
        ("made", text("m")),
    ])
}

pub(crate) fn set(name: &str, value: &str) -> Attributes {
    attributes([(name, text(value))])
}

/// The kinds of verdicts of a push, one for each group.
pub(crate) fn ends(done: &[(Group, Vec<Verdict>)]) -> Vec<&'static str> {
    let end = |(_, verdicts): &(Group, Vec<Verdict>)| {
        let refused = |verdict: &&Verdict| verdict.kind != VerdictKind::Applied;
        let culprit = verdicts.iter().find(refused);
        culprit.map_or("applied", |verdict| verdict.kind.as_str())
    };
    done.iter().map(end).collect()
}
