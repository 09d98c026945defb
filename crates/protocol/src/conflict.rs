//! Who wins: the one rule that decides what a change does to the row as it is now.
//!
//! A pure function of base (the row as the user saw it), now (the row as the server has it) and
//! the change; the table is in the docs under "Who wins". The server asks it at push, the device
//! when a pulled row meets a change that is still unsent.

use crate::change::{Attributes, Change, Op};
use crate::code::Code;
use crate::model::Merge;
use crate::value::Value;

/// What counts as a conflict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The change that arrives last stands.
    LastWriteWins,
    /// A change of a row that somebody else changed waits for a decision.
    Detect(Merge),
}

/// The server's row for a change.
#[derive(Clone, Debug, PartialEq)]
pub enum Now {
    /// The row is there and the user's.
    Present(Attributes),
    /// No row has this identifier.
    Absent,
    /// A row has this identifier, but it is not this user's. For updates and deletes this is
    /// told no differently from [`Now::Absent`].
    Foreign,
    /// The row is there but counts as deleted.
    SoftDeleted(Attributes),
}

/// What the server does about a change.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Write these values (for a delete: delete the row).
    Apply {
        /// Final values of the attributes to write.
        set: Attributes,
        /// Values this replaces although the user never saw them.
        overwritten: Attributes,
    },
    /// The row already is as the change wants it.
    Nothing,
    /// A person decides.
    Conflict(Code),
    /// Refused.
    Rejected(Code),
}

/// Decides what `change` does to the row `now`; `counters` are sent as differences.
pub fn decide(rule: Rule, counters: &[String], change: &Change, now: &Now) -> Decision {
    match change.op {
        Op::Create => create(change, now),
        Op::Update => update(rule, counters, change, now),
        Op::Delete => delete(rule, change, now),
    }
}

fn create(change: &Change, now: &Now) -> Decision {
    match now {
        Now::Absent => apply(change.set.clone()),
        Now::Foreign => Decision::Rejected(Code::KEY_TAKEN),
        Now::SoftDeleted(_) => apply(change.set.clone()),
        Now::Present(row) if holds(row, &change.set) => Decision::Nothing,
        Now::Present(_) => Decision::Conflict(Code::KEY_EXISTS),
    }
}

fn update(rule: Rule, counters: &[String], change: &Change, now: &Now) -> Decision {
    let Now::Present(row) = now else {
        return Decision::Rejected(Code::GONE);
    };
    let Some(set) = counted(counters, change, row) else {
        return Decision::Rejected(Code::TYPE_MISMATCH);
    };
    let moved = |name: &String| !counters.contains(name) && differs(row, &change.base, name);
    let disputed: Attributes = set
        .iter()
        .filter(|(name, value)| moved(name) && row.get(*name) != Some(value))
        .filter_map(|(name, _)| Some((name.clone(), row.get(name)?.clone())))
        .collect();
    if holds(row, &set) {
        return Decision::Nothing;
    }
    let conflict = match rule {
        Rule::LastWriteWins => false,
        Rule::Detect(Merge::Attribute) => !disputed.is_empty(),
        Rule::Detect(Merge::Record) => change.base.keys().chain(set.keys()).any(moved),
    };
    if conflict {
        return Decision::Conflict(Code::ROW_CHANGED);
    }
    Decision::Apply {
        set,
        overwritten: disputed,
    }
}

fn delete(rule: Rule, change: &Change, now: &Now) -> Decision {
    let Now::Present(row) = now else {
        return Decision::Nothing;
    };
    let changed: Attributes = change
        .base
        .keys()
        .filter(|name| differs(row, &change.base, name))
        .filter_map(|name| Some((name.clone(), row.get(name)?.clone())))
        .collect();
    if rule != Rule::LastWriteWins && !changed.is_empty() {
        return Decision::Conflict(Code::ROW_CHANGED);
    }
    Decision::Apply {
        set: Attributes::new(),
        overwritten: changed,
    }
}

fn apply(set: Attributes) -> Decision {
    Decision::Apply {
        set,
        overwritten: Attributes::new(),
    }
}

/// Whether `row` already has every value of `set`.
fn holds(row: &Attributes, set: &Attributes) -> bool {
    set.iter().all(|(name, value)| row.get(name) == Some(value))
}

/// Whether `row` has another value for `name` than the user saw. What `base` does not mention he
/// never saw; what `row` does not have any more cannot have changed.
fn differs(row: &Attributes, base: &Attributes, name: &String) -> bool {
    row.contains_key(name) && base.get(name) != row.get(name)
}

/// The values to write: counters become the row's value plus the user's difference. `None` if a
/// counter is not a number or leaves its range.
fn counted(counters: &[String], change: &Change, row: &Attributes) -> Option<Attributes> {
    let mut set = change.set.clone();
    for name in counters {
        let Some(value) = set.get_mut(name) else {
            continue;
        };
        let before = change.base.get(name).unwrap_or(&Value::Null);
        let now = row.get(name).unwrap_or(&Value::Null);
        *value = count(before, now, value)?;
    }
    Some(set)
}

/// `now + (after - before)`; null counts as zero, and setting null sets null.
/// A counter as the row has it after somebody who saw `before` wrote `after`, and the row has
/// `now`. `None` if one of them is not a number or the sum leaves its range.
pub fn count(before: &Value, now: &Value, after: &Value) -> Option<Value> {
    let zero = Value::Integer(0);
    let or_zero = |value| if Value::is_null(value) { &zero } else { value };
    match (or_zero(before), or_zero(now), after) {
        (_, _, Value::Null) => Some(Value::Null),
        (Value::Integer(before), Value::Integer(now), Value::Integer(after)) => {
            let sum = i128::from(*now) + i128::from(*after) - i128::from(*before);
            i64::try_from(sum).ok().map(Value::Integer)
        }
        (before, now, after) => {
            let sum = number(now)? + (number(after)? - number(before)?);
            sum.is_finite().then_some(Value::Real(sum))
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "one of the operands is a real already"
)]
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(n) => Some(*n as f64),
        Value::Real(x) => Some(*x),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: [Rule; 3] = [
        Rule::LastWriteWins,
        Rule::Detect(Merge::Record),
        Rule::Detect(Merge::Attribute),
    ];

    fn row(a: i64, b: i64) -> Attributes {
        Attributes::from([("a".into(), a.into()), ("b".into(), b.into())])
    }

    fn set(a: i64) -> Attributes {
        Attributes::from([("a".into(), a.into())])
    }

    fn change(op: Op, set: Attributes) -> Change {
        let base = if op == Op::Create {
            Attributes::new()
        } else {
            row(1, 1)
        };
        Change {
            entity: "e".into(),
            op,
            key: vec![1.into()],
            base,
            set,
        }
    }

    fn applied(set: Attributes, overwritten: Attributes) -> Decision {
        Decision::Apply { set, overwritten }
    }

    /// Runs one line of the table: the decision under each of the three rules.
    fn line(change: &Change, now: &Now, expected: [Decision; 3]) {
        for (rule, expected) in RULES.into_iter().zip(expected) {
            assert_eq!(
                decide(rule, &[], change, now),
                expected,
                "{rule:?} {change:?} {now:?}"
            );
        }
    }

    fn same(decision: Decision) -> [Decision; 3] {
        [decision.clone(), decision.clone(), decision]
    }

    #[test]
    fn updates() {
        let update = change(Op::Update, set(2));
        let plain = || applied(set(2), Attributes::new());
        let conflict = || Decision::Conflict(Code::ROW_CHANGED);
        line(&update, &Now::Present(row(1, 1)), same(plain()));
        line(
            &update,
            &Now::Present(row(1, 9)),
            [plain(), conflict(), plain()],
        );
        line(
            &update,
            &Now::Present(row(9, 1)),
            [applied(set(2), set(9)), conflict(), conflict()],
        );
        line(&update, &Now::Present(row(2, 1)), same(Decision::Nothing));
        for now in [Now::Absent, Now::Foreign, Now::SoftDeleted(row(1, 1))] {
            line(&update, &now, same(Decision::Rejected(Code::GONE)));
        }
    }

    #[test]
    fn deletes() {
        let delete = change(Op::Delete, Attributes::new());
        let conflict = || Decision::Conflict(Code::ROW_CHANGED);
        let empty = Attributes::new;
        line(
            &delete,
            &Now::Present(row(1, 1)),
            same(applied(empty(), empty())),
        );
        line(
            &delete,
            &Now::Present(row(9, 1)),
            [applied(empty(), set(9)), conflict(), conflict()],
        );
        for now in [Now::Absent, Now::Foreign, Now::SoftDeleted(row(1, 1))] {
            line(&delete, &now, same(Decision::Nothing));
        }
    }

    #[test]
    fn creates() {
        let create = change(Op::Create, set(2));
        line(
            &create,
            &Now::Absent,
            same(applied(set(2), Attributes::new())),
        );
        line(&create, &Now::Present(row(2, 7)), same(Decision::Nothing));
        line(
            &create,
            &Now::Present(row(3, 7)),
            same(Decision::Conflict(Code::KEY_EXISTS)),
        );
        line(
            &create,
            &Now::Foreign,
            same(Decision::Rejected(Code::KEY_TAKEN)),
        );
        line(
            &create,
            &Now::SoftDeleted(row(3, 7)),
            same(applied(set(2), Attributes::new())),
        );
    }

    #[test]
    fn counters_add_up_under_every_rule() {
        let update = change(Op::Update, set(3));
        for rule in [Rule::LastWriteWins, Rule::Detect(Merge::Attribute)] {
            let decision = decide(rule, &["a".into()], &update, &Now::Present(row(10, 1)));
            assert_eq!(decision, applied(set(12), Attributes::new()), "{rule:?}");
        }
        let far = decide(
            Rule::LastWriteWins,
            &["a".into()],
            &update,
            &Now::Present(row(i64::MAX, 1)),
        );
        assert_eq!(far, Decision::Rejected(Code::TYPE_MISMATCH));
    }
}
