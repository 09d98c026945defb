//! Cases of what depends on a change that did not take effect.
//!
//! A device sends its whole outbox at once. What could go wrong: an edit on top of a refused one
//! is applied without it; a child of a refused row is attached to another, or refused for good
//! although its parent is mended later; one refused row stops everything.

use std::slice::from_ref;

use afield_protocol::{Change, Code, Group, GroupId, GroupOutcome, Op, Value};

use super::numbers::{T, T2, line, number, order, with_origins};
use super::pushes::{
    VISIT, assert_refused, cell, company, create, delete, group, push, set, update,
};
use super::{Database, table};

/// How a group ends: applied, or every change of it with this code.
fn assert_ends(outcome: &GroupOutcome, code: Option<Code>) {
    match code {
        None => assert!(outcome.is_applied(), "{outcome:?}"),
        Some(code) => {
            for verdict in &outcome.verdicts {
                assert_refused(verdict, code.clone(), verdict.attribute.as_deref());
            }
        }
    }
}

fn assert_end(outcomes: &[GroupOutcome], codes: &[Option<Code>]) {
    for (outcome, code) in outcomes.iter().zip(codes) {
        assert_ends(outcome, code.clone());
    }
}

const WAITS: Option<Code> = Some(Code::WAITS_FOR);

fn below_zero(temporary: i64) -> Change {
    create("orders", temporary, &[("total", (-1).into())])
}

/// The same group again under another id, as a device sends what was refused or waited.
fn again(of: &Group, id: u8, origins: &[(i64, u8)]) -> Group {
    Group {
        absorbed: vec![of.id],
        ..with_origins(id, origins, of.changes.clone())
    }
}

/// What was refused stands in the base of the next edit of its row. By record that edit would be a
/// conflict of the user with himself, so it waits; by attribute it goes on.
pub fn p6_nobody_conflicts_with_what_was_refused_of_himself(db: &mut dyn Database) {
    for (entity, code) in [("card", WAITS), ("slip", None)] {
        db.execute(&format!(
            "INSERT INTO {entity} (id, a, b, n) VALUES (1, 1, 1, 1)"
        ));
        let edit = |name: &str, value: i64, order: Value| Change {
            base: set(&[
                ("a", 1.into()),
                ("b", 1.into()),
                ("n", 1.into()),
                ("order_no", order),
            ]),
            ..update(entity, 1, &[(name, value.into())])
        };
        let id = if code.is_some() { 10 } else { 20 };
        let groups = [
            group(id, vec![edit("order_no", 99, Value::Null)]),
            group(id + 1, vec![edit("a", 2, 99.into())]),
        ];
        let outcomes = push(db, &groups);
        assert_end(&outcomes, &[Some(Code::REFERENCE), code]);
    }
}

/// Children of a refused parent, all of their group, wait; the rest flows. The answer stays, even
/// when the reason is gone, and the mended parent takes the children with it.
pub fn p8_children_of_a_refused_parent_wait(db: &mut dyn Database) {
    db.execute("INSERT INTO orders (id, label) VALUES (1, 'taken')");
    let groups = [
        group(1, vec![order(T, "taken")]),
        with_origins(
            2,
            &[(T, 1)],
            vec![create("stock", 1, &[]), line(Op::Create, T, 1, "")],
        ),
        group(3, vec![order(T2, "fine")]),
        with_origins(4, &[(T2, 3)], vec![line(Op::Create, T2, 1, "")]),
        // On top of what waits.
        group(5, vec![update("stock", 1, &[("words", "w".into())])]),
    ];
    let outcomes = push(db, &groups);
    assert_end(&outcomes, &[Some(Code::UNIQUE), WAITS, None, None, WAITS]);
    db.execute("UPDATE orders SET label = 'freed' WHERE id = 1");
    assert_eq!(push(db, &groups), outcomes);
    assert!(table(db, "stock").is_empty());
    let mended = [
        again(&groups[0], 11, &[]),
        again(&groups[1], 12, &[(T, 11)]),
        again(&groups[4], 15, &[]),
    ];
    let outcomes = push(db, &mended);
    assert!(
        outcomes.iter().all(GroupOutcome::is_applied),
        "{outcomes:?}"
    );
    let lines = db.query("SELECT order_no FROM order_line ORDER BY order_no");
    let mut expected = [number(db, "taken"), number(db, "fine")];
    expected.sort_unstable();
    assert_eq!(lines, expected.map(|number| [Value::from(number)]));
    assert_eq!(push(db, &mended), outcomes);
}

/// The refusal stands in the ledger: from an earlier request, or repeated in this one.
pub fn p8_a_refusal_in_the_ledger_holds_its_dependants(db: &mut dyn Database) {
    let parent = group(1, vec![below_zero(T)]);
    let named = group(
        2,
        vec![create(
            "company",
            "c",
            &[("rank", (-1).into()), ("name", "c".into())],
        )],
    );
    assert_end(
        &push(db, &[parent, named.clone()]),
        &[Some(Code::CHECK_FAILED), Some(Code::CHECK_FAILED)],
    );
    let child = with_origins(3, &[(T, 1)], vec![line(Op::Create, T, 1, "")]);
    assert_end(&push(db, &[child]), &[WAITS]);
    let edit = |id| group(id, vec![update("company", "c", &[("rank", 1.into())])]);
    // Without the refused group beside it, nobody can know that the row was ever to come.
    assert_end(&push(db, &[edit(4)]), &[Some(Code::GONE)]);
    assert_end(
        &push(db, &[named, edit(5)]),
        &[Some(Code::CHECK_FAILED), WAITS],
    );
    // What waits holds others, also when it is repeated.
    let waiting = [
        edit(5),
        group(6, vec![update("company", "c", &[("name", "d".into())])]),
    ];
    assert_end(&push(db, &waiting), &[WAITS, WAITS]);
}

/// The child came first, in an envelope of its own; then its parent's repeat.
pub fn p1_a_child_that_comes_before_its_parent_is_not_lost(db: &mut dyn Database) {
    let parent = group(1, vec![order(T, "a")]);
    let child = with_origins(2, &[(T, 1)], vec![line(Op::Create, T, 1, "")]);
    assert_end(&push(db, from_ref(&child)), &[WAITS]);
    assert_end(&push(db, from_ref(&parent)), &[None]);
    assert_end(&push(db, &[parent, child.clone()]), &[None, WAITS]);
    assert!(
        table(db, "order_line").is_empty(),
        "the answer is final for this id"
    );
    let both = [again(&child, 3, &[(T, 1)]), again(&child, 4, &[(T, 1)])];
    let outcomes = push(db, &both);
    assert_end(&outcomes, &[None, Some(Code::ABSORBED_KNOWN)]);
    assert_eq!(table(db, "order_line").len(), 1);
}

/// After a refused update the same attribute waits and others flow; after a conflict the whole
/// row waits; what is gone holds nothing.
pub fn p8_only_what_depends_waits(db: &mut dyn Database) {
    db.execute("INSERT INTO orders (id, total) VALUES (1, 1)");
    db.execute("INSERT INTO slip (id, a, b) VALUES (1, 9, 1)");
    let total =
        |id: u8, total: i64| group(id, vec![update("orders", 1, &[("total", total.into())])]);
    let slip = |id: u8, base: &[(&str, Value)], values: &[(&str, Value)]| {
        let mut edit = update("slip", 1, values);
        edit.base = set(base);
        group(id, vec![edit])
    };
    let seen = [("a", Value::from(1)), ("b", Value::from(1))];
    let outcomes = push(
        db,
        &[
            total(1, -1),
            group(3, vec![update("orders", 1, &[("label", "l".into())])]),
            // What waits holds its whole row.
            total(2, 2),
            group(4, vec![delete("orders", 1)]),
            slip(5, &seen, &[("a", 2.into())]),
            slip(6, &seen, &[("b", 2.into())]),
            group(7, vec![update("paper", 5, &[("a", 1.into())])]),
            group(8, vec![create("paper", 5, &[])]),
        ],
    );
    let ends = [
        Some(Code::CHECK_FAILED),
        None,
        WAITS,
        WAITS,
        Some(Code::ROW_CHANGED),
        WAITS,
        Some(Code::GONE),
        None,
    ];
    assert_end(&outcomes, &ends);
    let row = db.query("SELECT total, label FROM orders");
    assert_eq!(row, [[Value::from(1), "l".into()]]);
    assert_eq!(cell(db, "SELECT b FROM slip"), Some(1.into()));
}

/// A reference that only the commit finds broken refuses its group, and the groups after it know.
pub fn p8_a_broken_reference_holds_its_dependants(db: &mut dyn Database) {
    company(db);
    let orphan = |temporary: i64| create("orders", temporary, &[("parent", 999.into())]);
    let groups = [
        group(
            1,
            vec![create("visit", VISIT, &[("company", "none".into())])],
        ),
        group(2, vec![update("visit", VISIT, &[("company", "a".into())])]),
        group(3, vec![orphan(T), line(Op::Create, T, 1, "")]),
        with_origins(4, &[(T, 3)], vec![line(Op::Create, T, 2, "")]),
        group(5, vec![order(T2, "fine")]),
        with_origins(6, &[(T2, 5)], vec![line(Op::Create, T2, 1, "")]),
        group(7, vec![update("company", "a", &[("rank", (-1).into())])]),
        group(8, vec![update("company", "a", &[("rank", 2.into())])]),
    ];
    let outcomes = push(db, &groups);
    assert_end(&outcomes[..2], &[Some(Code::REFERENCE), WAITS]);
    assert_refused(&outcomes[2].verdicts[0], Code::REFERENCE, Some("parent"));
    assert_refused(&outcomes[2].verdicts[1], Code::GROUP_REFUSED, None);
    assert_end(&outcomes[3..6], &[WAITS, None, None]);
    assert_end(&outcomes[6..], &[Some(Code::CHECK_FAILED), WAITS]);
    let lines = db.query("SELECT order_no FROM order_line");
    assert_eq!(lines, [[Value::from(number(db, "fine"))]]);
    assert_eq!(push(db, &groups), outcomes);
}

/// A refused row's number goes back and the next row gets it: that is another row.
pub fn p8_a_number_that_went_back_holds_nobody(db: &mut dyn Database) {
    let groups = [
        group(1, vec![order(T, "a"), below_zero(T2)]),
        group(2, vec![order(T + 2, "b")]),
        with_origins(
            3,
            &[(T + 2, 2)],
            vec![update("orders", T + 2, &[("total", 1.into())])],
        ),
    ];
    let outcomes = push(db, &groups);
    assert_refused(&outcomes[0].verdicts[0], Code::GROUP_REFUSED, None);
    assert_end(&outcomes[1..], &[None, None]);
    assert_eq!(cell(db, "SELECT total FROM orders"), Some(1.into()));
}

/// The same row under its temporary identifier and under its number, in one request.
pub fn p8_a_row_under_both_identifiers_is_one_row(db: &mut dyn Database) {
    assert_end(&push(db, &[group(1, vec![order(T, "a")])]), &[None]);
    let a = number(db, "a");
    let total = |key: i64, total: i64| vec![update("orders", key, &[("total", total.into())])];
    let outcomes = push(
        db,
        &[
            with_origins(2, &[(T, 1)], total(T, -1)),
            group(3, total(a, 2)),
        ],
    );
    assert_end(&outcomes, &[Some(Code::CHECK_FAILED), WAITS]);
    let outcomes = push(
        db,
        &[
            group(4, total(a, -1)),
            with_origins(5, &[(T, 1)], total(T, 2)),
        ],
    );
    assert_end(&outcomes, &[Some(Code::CHECK_FAILED), WAITS]);
    let id = |id: u8| GroupId([id; 16]);
    let copy = Group {
        absorbed: vec![id(3), id(5)],
        ..group(6, total(a, 7))
    };
    assert_end(&push(db, &[copy]), &[None]);
    assert_eq!(cell(db, "SELECT total FROM orders"), Some(7.into()));
}
