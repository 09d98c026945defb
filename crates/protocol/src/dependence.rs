//! What must wait for a change that did not take effect.
//!
//! The same rule on both sides: a device holds back what depends on a change that is parked or
//! backs off, and the server answers [`Code::WAITS_FOR`](crate::Code::WAITS_FOR) to what came in
//! one request with a change that it refuses.

use std::collections::{HashMap, HashSet};

use crate::change::{Attributes, Change, Key, Op};
use crate::code::Code;
use crate::codec::cbor::write_key;
use crate::model::{Merge, Model, Pattern};
use crate::outcome::{Verdict, VerdictKind};

/// A change, as far as others may depend on it.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The local entity.
    pub entity: &'a str,
    /// The row.
    pub key: &'a Key,
    /// What is done to it.
    pub op: Op,
    /// The row before, as far as it is known.
    pub base: &'a Attributes,
    /// What is set.
    pub set: &'a Attributes,
}

/// Why a change did not take effect, as far as it matters to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// It was refused: later edits of other attributes of its row go on.
    Refused,
    /// It was not tried, or a person decides between two versions of its row: its whole row waits.
    Undecided,
}

impl<'a> Step<'a> {
    /// A change by its parts.
    pub fn new(
        entity: &'a str,
        key: &'a Key,
        op: Op,
        base: &'a Attributes,
        set: &'a Attributes,
    ) -> Self {
        Self {
            entity,
            key,
            op,
            base,
            set,
        }
    }
}

impl<'a> From<&'a Change> for Step<'a> {
    fn from(change: &'a Change) -> Self {
        let (base, set) = (&change.base, &change.set);
        Self::new(&change.entity, &change.key, change.op, base, set)
    }
}

impl Stopped {
    /// How a change with this verdict stands in the way of later ones, if it does.
    pub fn of(model: &Model, change: &Change, verdict: &Verdict) -> Option<Self> {
        Self::by(model, &change.entity, verdict.kind, verdict.code.as_ref())
    }

    /// How a change of `entity` that ended so stands in the way of later ones, if it does. What
    /// was refused because its row is gone does not: the others meet the same fate. By record, the
    /// refused value in a later edit's base would be a conflict of the user with himself.
    pub fn by(model: &Model, entity: &str, kind: VerdictKind, code: Option<&Code>) -> Option<Self> {
        let is_by_record = || {
            let entity = model.entity(entity);
            entity.is_some_and(|entity| {
                entity.pattern == Pattern::DetectConflicts && entity.merge == Merge::Record
            })
        };
        match (kind, code) {
            (VerdictKind::Applied, _) => None,
            (_, Some(code)) if *code == Code::GONE => None,
            (_, Some(code)) if *code == Code::WAITS_FOR => Some(Self::Undecided),
            (VerdictKind::Conflict, _) => Some(Self::Undecided),
            (VerdictKind::Rejected, _) if is_by_record() => Some(Self::Undecided),
            (VerdictKind::Rejected, _) => Some(Self::Refused),
        }
    }
}

/// Everything that did not take effect so far, in the order of the outbox.
#[derive(Clone, Debug, Default)]
pub struct Blocked {
    /// Rows; with the attributes that wait, or none if the whole row does.
    rows: HashMap<(String, Vec<u8>), Option<HashSet<String>>>,
    /// Rows that do not exist on the server yet.
    creates: HashSet<(String, Vec<u8>)>,
}

impl Blocked {
    /// Whether nothing is stopped.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds a change that did not take effect.
    pub fn add(&mut self, step: Step<'_>, stopped: Stopped) {
        let row = (step.entity.to_owned(), write_key(step.key));
        if step.op == Op::Create {
            self.creates.insert(row.clone());
        }
        let entry = self.rows.entry(row).or_insert_with(|| Some(HashSet::new()));
        match entry {
            Some(names) if stopped == Stopped::Refused && step.op == Op::Update => {
                names.extend(step.set.keys().cloned());
            }
            _ => *entry = None,
        }
    }

    /// Whether a later change depends on one of these: the same row, or a reference to a row that
    /// one of them was to create.
    pub fn holds(&self, model: &Model, step: Step<'_>) -> bool {
        let row = (step.entity.to_owned(), write_key(step.key));
        let is_held = match self.rows.get(&row) {
            None => false,
            Some(None) => true,
            Some(Some(names)) if step.op == Op::Update => {
                step.set.keys().any(|name| names.contains(name))
            }
            Some(Some(names)) => !names.is_empty(),
        };
        is_held || self.refers(model, step)
    }

    fn refers(&self, model: &Model, step: Step<'_>) -> bool {
        let Some(entity) = model.entity(step.entity) else {
            return false;
        };
        let value = |name: &String| match entity.key().iter().position(|key| key.name == *name) {
            Some(at) => step.key.get(at).cloned(),
            None => step.set.get(name).or_else(|| step.base.get(name)).cloned(),
        };
        !self.creates.is_empty()
            && entity.references.iter().any(|reference| {
                // An update that leaves the reference alone refers to nothing new.
                let is_set = |name| step.op == Op::Create || step.set.contains_key(name);
                if !reference.attributes.iter().any(is_set) {
                    return false;
                }
                let key: Option<Key> = reference.attributes.iter().map(value).collect();
                key.is_some_and(|key| {
                    let target = (reference.entity.clone(), write_key(&key));
                    self.creates.contains(&target)
                })
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Attribute, Entity, Identifier, Pattern, Reference};
    use crate::value::{Type, Value};

    fn entity(name: &str, key_width: usize, names: &[&str]) -> Entity {
        let attribute = |name: &&str| Attribute::new(*name, Type::Integer);
        let attributes = names.iter().map(attribute).collect();
        Entity::new(
            name,
            Pattern::LastWriteWins,
            Identifier::Natural,
            key_width,
            attributes,
        )
    }

    /// A part of a sheet, and a note about a part.
    fn model() -> Model {
        let mut note = entity("note", 1, &["id", "sheet", "part", "text"]);
        note.references.push(Reference {
            attributes: vec!["sheet".into(), "part".into()],
            entity: "part".into(),
        });
        Model {
            version: 1,
            units: Vec::new(),
            entities: vec![entity("part", 2, &["sheet", "part", "a", "b"]), note],
            chosen: Vec::new(),
            limits: Default::default(),
            sync: Default::default(),
        }
    }

    fn attributes(pairs: &[(&str, i64)]) -> Attributes {
        let pairs = pairs.iter();
        pairs
            .map(|(n, v)| ((*n).to_owned(), Value::Integer(*v)))
            .collect()
    }

    struct Made(&'static str, Vec<i64>, Op, Attributes, Attributes);

    fn made(entity: &'static str, key: &[i64], op: Op, set: &[(&str, i64)]) -> Made {
        Made(entity, key.to_vec(), op, Attributes::new(), attributes(set))
    }

    impl Made {
        fn on(mut self, base: &[(&str, i64)]) -> Self {
            self.3 = attributes(base);
            self
        }

        fn with<T>(&self, look: impl FnOnce(Step<'_>) -> T) -> T {
            let key = self.1.iter().map(|n| Value::Integer(*n)).collect();
            look(Step {
                entity: self.0,
                key: &key,
                op: self.2,
                base: &self.3,
                set: &self.4,
            })
        }
    }

    fn holds(first: &Made, stopped: Stopped, later: &Made) -> bool {
        let mut blocked = Blocked::default();
        first.with(|step| blocked.add(step, stopped));
        later.with(|step| blocked.holds(&model(), step))
    }

    #[test]
    fn p8_a_refused_update_holds_its_attributes_and_an_undecided_one_its_row() {
        let first = made("part", &[1, 1], Op::Update, &[("a", 1)]);
        let other = made("part", &[1, 1], Op::Update, &[("b", 1)]);
        let elsewhere = made("part", &[1, 2], Op::Update, &[("a", 1)]);
        for (stopped, later, held) in [
            (Stopped::Refused, &first, true),
            (Stopped::Refused, &other, false),
            (
                Stopped::Refused,
                &made("part", &[1, 1], Op::Delete, &[]),
                true,
            ),
            (Stopped::Undecided, &other, true),
            (Stopped::Undecided, &elsewhere, false),
        ] {
            assert_eq!(
                holds(&first, stopped, later),
                held,
                "{stopped:?} {:?}",
                later.4
            );
        }
    }

    #[test]
    fn p8_a_create_holds_what_refers_to_its_row() {
        let create = made("part", &[1, 7], Op::Create, &[]);
        let note = |op, set: &[(&str, i64)]| made("note", &[1], op, set);
        for (later, held) in [
            (note(Op::Create, &[("sheet", 1), ("part", 7)]), true),
            (note(Op::Create, &[("sheet", 2), ("part", 7)]), false),
            (note(Op::Create, &[("sheet", 1)]), false),
            (
                note(Op::Update, &[("part", 7)]).on(&[("sheet", 1), ("part", 1)]),
                true,
            ),
            (
                note(Op::Update, &[("text", 7)]).on(&[("sheet", 1), ("part", 7)]),
                false,
            ),
        ] {
            assert_eq!(
                holds(&create, Stopped::Refused, &later),
                held,
                "{:?}",
                later.4
            );
        }
        let update = made("part", &[1, 7], Op::Update, &[("a", 1)]);
        let later = note(Op::Create, &[("sheet", 1), ("part", 7)]);
        assert!(!holds(&update, Stopped::Undecided, &later));
    }
}
