//! The conflict rule against its table, restated on its own: first which line of the table an
//! encounter belongs to, then what the line says.

use std::collections::BTreeSet;

use afield_protocol::conflict::{Decision, Now, Rule, decide};
use afield_protocol::{Attributes, Change, Code, Merge, Op, Value};
use proptest::prelude::*;

/// The lines of the table, and those of a key that nobody is told about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Line {
    UpdateUnchanged,
    UpdateOthersChanged,
    UpdateSameChanged,
    UpdateSameValues,
    UpdateGone,
    DeleteUnchanged,
    DeleteChanged,
    DeleteGone,
    CreateNew,
    CreateEqual,
    CreateOther,
    CreateForeign,
    CreateSoftDeleted,
}

/// What a line says, in the words of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Says {
    Applied,
    NothingToDo,
    Conflict(&'static str),
    Rejected(&'static str),
}

use Line::*;
use Says::*;

const CHANGED: Says = Conflict("row-changed");

/// Line, then last-write-wins, detect by record, detect by attribute.
const TABLE: [(Line, [Says; 3]); 13] = [
    (UpdateUnchanged, [Applied, Applied, Applied]),
    (UpdateOthersChanged, [Applied, CHANGED, Applied]),
    (UpdateSameChanged, [Applied, CHANGED, CHANGED]),
    (UpdateSameValues, [NothingToDo, NothingToDo, NothingToDo]),
    (UpdateGone, [Rejected("gone"); 3]),
    (DeleteUnchanged, [Applied, Applied, Applied]),
    (DeleteChanged, [Applied, CHANGED, CHANGED]),
    (DeleteGone, [NothingToDo, NothingToDo, NothingToDo]),
    (CreateNew, [Applied, Applied, Applied]),
    (CreateEqual, [NothingToDo, NothingToDo, NothingToDo]),
    (CreateOther, [Conflict("key-exists"); 3]),
    (CreateForeign, [Rejected("key-taken"); 3]),
    (CreateSoftDeleted, [Applied, Applied, Applied]),
];

/// The table as the specification shows it.
pub(crate) fn rows() -> Vec<String> {
    let row = |(line, says): &(Line, [Says; 3])| {
        let (did, meanwhile) = words(*line);
        let [last, record, attribute] = says.map(|says| match says {
            Applied => "applied".to_owned(),
            NothingToDo => "applied, nothing to do".to_owned(),
            Conflict(code) => format!("conflict `{code}`"),
            Rejected(code) => format!("rejected `{code}`"),
        });
        format!("| {did} | {meanwhile} | {last} | {record} | {attribute} |")
    };
    TABLE.iter().map(row).collect()
}

fn words(line: Line) -> (&'static str, &'static str) {
    match line {
        UpdateUnchanged => ("update", "unchanged"),
        UpdateOthersChanged => ("update", "changed other attributes"),
        UpdateSameChanged => ("update", "changed the same attribute, other value"),
        UpdateSameValues => ("update", "changed to the same values"),
        UpdateGone => ("update", "gone"),
        DeleteUnchanged => ("delete", "unchanged"),
        DeleteChanged => ("delete", "changed"),
        DeleteGone => ("delete", "gone"),
        CreateNew => ("create", "no such key"),
        CreateEqual => ("create", "key exists, equal values"),
        CreateOther => ("create", "key exists, other values"),
        CreateForeign => ("create", "key exists, not in scope"),
        CreateSoftDeleted => ("create", "key exists, soft-deleted"),
    }
}

const RULES: [Rule; 3] = [
    Rule::LastWriteWins,
    Rule::Detect(Merge::Record),
    Rule::Detect(Merge::Attribute),
];

/// Attributes that the server changed since the user saw the row. What the base does not mention
/// the user never saw: if he sets it, it counts as changed. What the row does not have any more
/// cannot have changed.
fn changed(change: &Change, row: &Attributes) -> BTreeSet<String> {
    let seen = change.base.keys();
    let mentioned = seen.chain(change.set.keys());
    mentioned
        .filter(|name| row.contains_key(*name) && change.base.get(*name) != row.get(*name))
        .cloned()
        .collect()
}

/// Attributes that the change sets to another value than the row has.
fn different(change: &Change, row: &Attributes) -> BTreeSet<String> {
    let other = |(name, value): &(&String, &Value)| row.get(*name) != Some(*value);
    change
        .set
        .iter()
        .filter(other)
        .map(|(name, _)| name.clone())
        .collect()
}

fn line(change: &Change, now: &Now) -> Line {
    match (change.op, now) {
        (Op::Create, Now::Absent) => CreateNew,
        (Op::Create, Now::Foreign) => CreateForeign,
        (Op::Create, Now::SoftDeleted(_)) => CreateSoftDeleted,
        (Op::Create, Now::Present(row)) if different(change, row).is_empty() => CreateEqual,
        (Op::Create, Now::Present(_)) => CreateOther,
        (Op::Update, Now::Present(row)) => {
            let (changed, different) = (changed(change, row), different(change, row));
            if different.is_empty() {
                UpdateSameValues
            } else if changed.is_empty() {
                UpdateUnchanged
            } else if changed.is_disjoint(&different) {
                UpdateOthersChanged
            } else {
                UpdateSameChanged
            }
        }
        (Op::Update, _) => UpdateGone,
        (Op::Delete, Now::Present(row)) if changed(change, row).is_empty() => DeleteUnchanged,
        (Op::Delete, Now::Present(_)) => DeleteChanged,
        (Op::Delete, _) => DeleteGone,
    }
}

fn says(decision: &Decision) -> Says {
    let word = |code: &Code| {
        let known = Code::GLOSSARY
            .iter()
            .find(|(word, ..)| *word == code.as_str());
        known.expect("decisions have known codes").0
    };
    match decision {
        Decision::Apply { .. } => Applied,
        Decision::Nothing => NothingToDo,
        Decision::Conflict(code) => Conflict(word(code)),
        Decision::Rejected(code) => Rejected(word(code)),
    }
}

/// What an applied change replaced although the user never saw it, so that it is on record.
fn overwritten(change: &Change, now: &Now) -> Attributes {
    let Now::Present(row) = now else {
        return Attributes::new();
    };
    let mut names = changed(change, row);
    if change.op == Op::Update {
        names.retain(|name| different(change, row).contains(name));
    }
    names
        .into_iter()
        .map(|name| (name.clone(), row[&name].clone()))
        .collect()
}

/// Few names and few values, so that every line comes up; nulls, and names that are missing.
fn attributes() -> impl Strategy<Value = Attributes> {
    let value = prop_oneof![Just(Value::Null), (1..3_i64).prop_map(Value::Integer)];
    proptest::collection::btree_map("[abc]", value, 0..4)
}

fn encounter() -> impl Strategy<Value = (Change, Now)> {
    let op = prop::sample::select(vec![Op::Create, Op::Update, Op::Delete]);
    let now = prop_oneof![
        4 => attributes().prop_map(Now::Present),
        1 => attributes().prop_map(Now::SoftDeleted),
        1 => prop::sample::select(vec![Now::Absent, Now::Foreign]),
    ];
    (op, attributes(), attributes(), now).prop_map(|(op, base, set, now)| {
        let change = Change {
            entity: "e".into(),
            op,
            key: vec![1.into()],
            base: if op == Op::Create {
                Attributes::new()
            } else {
                base
            },
            set: if op == Op::Delete {
                Attributes::new()
            } else {
                set
            },
        };
        (change, now)
    })
}

fn check(change: &Change, now: &Now) -> Result<Line, TestCaseError> {
    let line = line(change, now);
    let (_, expected) = TABLE
        .iter()
        .find(|(of, _)| *of == line)
        .expect("the table is whole");
    for (rule, expected) in RULES.into_iter().zip(expected) {
        let decision = decide(rule, &[], change, now);
        prop_assert_eq!(says(&decision), *expected, "{:?} {:?}", line, rule);
        if let Decision::Apply {
            set,
            overwritten: found,
        } = decision
        {
            prop_assert_eq!(&set, &change.set);
            prop_assert_eq!(found, overwritten(change, now), "{:?} {:?}", line, rule);
        }
    }
    Ok(line)
}

#[test]
fn p6_every_encounter_ends_as_the_table_says() {
    let config = ProptestConfig {
        failure_persistence: None,
        cases: 10_000,
        ..ProptestConfig::default()
    };
    let lines = std::cell::RefCell::new(BTreeSet::new());
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let run = runner.run(&encounter(), |(change, now)| {
        lines.borrow_mut().insert(check(&change, &now)?);
        Ok(())
    });
    run.unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(
        lines.borrow().len(),
        TABLE.len(),
        "every line came up: {lines:?}"
    );
}

proptest! {
    /// Two devices that add to a counter add both, whatever the rule and whoever comes first.
    #[test]
    fn counters_add_up_in_any_order(
        start in -1000..1000_i64,
        steps in proptest::collection::vec(-1000..1000_i64, 1..6),
        rule in prop::sample::select(RULES.to_vec()),
    ) {
        let mut row = start;
        for step in &steps {
            row = match decide(rule, &["n".into()], &counted(start, start + step), &present(row)) {
                Decision::Apply { set, overwritten } => {
                    prop_assert!(overwritten.is_empty());
                    let Some(Value::Integer(n)) = set.get("n") else { panic!("{set:?}") };
                    *n
                }
                Decision::Nothing => row,
                other => panic!("{other:?}"),
            };
        }
        prop_assert_eq!(row, start + steps.iter().sum::<i64>());
    }
}

fn counted(before: i64, after: i64) -> Change {
    Change {
        entity: "e".into(),
        op: Op::Update,
        key: vec![1.into()],
        base: Attributes::from([("n".into(), before.into())]),
        set: Attributes::from([("n".into(), after.into())]),
    }
}

fn present(n: impl Into<Value>) -> Now {
    Now::Present(Attributes::from([("n".into(), n.into())]))
}

fn count(before: impl Into<Value>, now: impl Into<Value>, after: impl Into<Value>) -> Decision {
    let mut change = counted(0, 0);
    change.base.insert("n".into(), before.into());
    change.set.insert("n".into(), after.into());
    decide(Rule::LastWriteWins, &["n".into()], &change, &present(now))
}

#[test]
fn a_counter_counts_wherever_the_result_has_a_value() {
    let applied = |n: Value| Decision::Apply {
        set: Attributes::from([("n".into(), n)]),
        overwritten: Attributes::new(),
    };
    let refused = Decision::Rejected(Code::TYPE_MISMATCH);
    assert_eq!(count(-2, -10, i64::MAX), applied((i64::MAX - 8).into()));
    assert_eq!(count(0, 1, i64::MAX), refused);
    assert_eq!(count(Value::Null, Value::Null, 3), applied(3.into()));
    assert_eq!(count(0.5, 2, 1.0), applied(2.5.into()));
    assert_eq!(count(f64::INFINITY, 1.0, f64::INFINITY), refused);
    assert_eq!(count(0.0, 1e308, 1.7e308), refused);
    assert_eq!(count(0, "NaN", 1), refused);
    assert_eq!(count(1, 5, Value::Null), applied(Value::Null));
}

#[test]
fn what_the_user_never_saw_is_not_overwritten_unnoticed() {
    let mut change = counted(1, 2);
    change.base.clear();
    let overwritten = Attributes::from([("n".into(), 9.into())]);
    let set = change.set.clone();
    let decision = decide(Rule::LastWriteWins, &[], &change, &present(9));
    assert_eq!(decision, Decision::Apply { set, overwritten });
    for merge in [Merge::Record, Merge::Attribute] {
        let decision = decide(Rule::Detect(merge), &[], &change, &present(9));
        assert_eq!(decision, Decision::Conflict(Code::ROW_CHANGED), "{merge:?}");
    }
}
