//! Cases of identifiers that the server makes.
//!
//! What could lose, double or misplace a row: a child that comes before its parent, in its group
//! or in time; an identifier that nobody knows, or that another user means; rows that refer to
//! each other. What copies of a device and repeats could do is in `copies.rs`.

use afield_protocol::{
    Change, Code, FIRST_TEMPORARY, Group, GroupId, GroupOutcome, Op, Origin, Value, Verdict,
};

use super::pushes::{
    assert_refused, cell, change, create, delete, group, push, push_one, set, update,
};
use super::{Database, Replica, assert_same, table};
use crate::storage::Caller;

/// The first identifiers that a device gives meanwhile.
pub(super) const T: i64 = FIRST_TEMPORARY;
pub(super) const T2: i64 = FIRST_TEMPORARY + 1;

/// A group that names rows of `orders` by temporary identifiers: which group creates each.
pub(super) fn with_origins(id: u8, origins: &[(i64, u8)], changes: Vec<Change>) -> Group {
    let origin = |(temporary, group): &(i64, u8)| Origin {
        entity: "orders".into(),
        temporary: *temporary,
        group: GroupId([*group; 16]),
        at: 0,
    };
    Group {
        origins: origins.iter().map(origin).collect(),
        ..group(id, changes)
    }
}

/// The create of an order.
pub(super) fn order(temporary: i64, label: &str) -> Change {
    create("orders", temporary, &[("label", label.into())])
}

/// The create of a line of an order.
pub(super) fn line(op: Op, order: i64, pos: i64, words: &str) -> Change {
    let key = vec![order.into(), pos.into()];
    let words = [("words", words.into())];
    change(
        op,
        "order_line",
        key,
        if op == Op::Delete { &[] } else { &words },
    )
}

/// The number of the order with this label.
pub(super) fn number(db: &dyn Database, label: &str) -> i64 {
    let found = cell(
        db,
        &format!("SELECT id FROM orders WHERE label = '{label}'"),
    );
    match found {
        Some(Value::Integer(number)) => number,
        other => panic!("the order {label} has {other:?}"),
    }
}

/// Fails unless all groups took effect.
pub(super) fn assert_applied(outcomes: &[GroupOutcome]) {
    assert!(
        outcomes.iter().all(GroupOutcome::is_applied),
        "{outcomes:?}"
    );
}

/// The number that an outcome tells.
pub(super) fn told(verdict: &Verdict) -> i64 {
    match verdict.key.as_deref() {
        Some([Value::Integer(number)]) => *number,
        other => panic!("no number but {other:?}"),
    }
}

/// The outcome brings the number; a repeat brings the same one and no second row. An identifier
/// that no device makes is taken as it is.
pub fn p2_a_temporary_identifier_gets_a_number_once(db: &mut dyn Database) {
    let groups = [
        group(1, vec![order(T, "a"), order(T2, "b")]),
        group(2, vec![create("orders", T + 2, &[])]),
        group(3, vec![order(70, "c")]),
    ];
    let first = push(db, &groups);
    assert_applied(&first);
    assert_eq!(told(&first[0].verdicts[0]), number(db, "a"));
    assert_eq!(told(&first[0].verdicts[1]), number(db, "b"));
    assert!(told(&first[1].verdicts[0]) < FIRST_TEMPORARY);
    assert_eq!((number(db, "c"), &first[2].verdicts[0].key), (70, &None));
    assert_eq!(push(db, &groups), first);
    db.restart();
    assert_eq!(push(db, &groups), first);
    assert_eq!(table(db, "orders").len(), 4);
    let mut device = Replica::default();
    device.pull(db, &["orders"], 10);
    assert_same(db, &device, &["orders"]);
}

/// Before and after it in its group, in later groups of its request and of later ones, in keys
/// of two parts and over two entities.
pub fn children_are_attached_to_their_parent(db: &mut dyn Database) {
    db.execute("INSERT INTO orders (id, label) VALUES (40, 'other')");
    let remark = |id: i64, pos: i64| {
        let values = [("order_no", T.into()), ("pos", pos.into())];
        create("remark", id, &values)
    };
    let together = [
        // An origin that names the group itself says nothing new.
        with_origins(
            1,
            &[(T, 1)],
            vec![
                line(Op::Create, T, 1, "before"),
                order(T, "a"),
                line(Op::Create, T, 2, ""),
            ],
        ),
        with_origins(
            2,
            &[(T, 1)],
            vec![line(Op::Create, T, 3, "next"), remark(1, 3)],
        ),
    ];
    let outcomes = push(db, &together);
    assert_applied(&outcomes);
    let later = [with_origins(
        3,
        &[(T, 1)],
        vec![
            line(Op::Create, T, 4, "later"),
            line(Op::Update, T, 1, "edited"),
            line(Op::Delete, T, 2, ""),
            remark(2, 4),
            update("orders", T, &[("total", 5.into())]),
        ],
    )];
    assert_applied(&push(db, &later));
    let a = number(db, "a");
    assert_eq!(told(&outcomes[0].verdicts[1]), a);
    let key = outcomes[0].verdicts[0].key.as_deref();
    assert_eq!(key, Some([a.into(), 1.into()].as_slice()));
    let lines = db.query("SELECT order_no, pos, words FROM order_line ORDER BY pos");
    let row = |pos: i64, words: &str| [a.into(), pos.into(), words.into()];
    assert_eq!(lines, [row(1, "edited"), row(3, "next"), row(4, "later")]);
    let remarks = db.query("SELECT order_no, pos FROM remark ORDER BY id");
    assert_eq!(remarks, [[a, 3], [a, 4]].map(|row| row.map(Value::from)));
    assert_eq!(
        cell(db, "SELECT total FROM orders WHERE label = 'a'"),
        Some(5.into())
    );
    let mut repeat = push(db, &together);
    repeat.extend(push(db, &later));
    assert_eq!(table(db, "order_line").len(), 3);
}

/// What the user saw is put into the server's words too, or he would conflict with himself.
pub fn p3_temporary_identifiers_in_a_base_are_no_conflict(db: &mut dyn Database) {
    assert_applied(&push(db, &[group(1, vec![order(T, "a"), order(T2, "b")])]));
    for (id, entity) in [(10, "card"), (20, "slip"), (30, "paper")] {
        let made = create(entity, 1, &[("order_no", T.into()), ("a", 1.into())]);
        let mut edit = update(entity, 1, &[("order_no", T2.into())]);
        edit.base = set(&[("order_no", T.into()), ("a", 1.into())]);
        let groups = [
            with_origins(id, &[(T, 1)], vec![made]),
            with_origins(id + 1, &[(T, 1), (T2, 1)], vec![edit]),
        ];
        let outcomes = push(db, &groups);
        assert_applied(&outcomes);
        assert_eq!(
            outcomes[1].verdicts,
            [Verdict::applied()],
            "nothing was overwritten"
        );
        let found = cell(db, &format!("SELECT order_no FROM {entity}"));
        assert_eq!(found, Some(number(db, "b").into()));
    }
}

/// Nobody knows which row is meant: nothing is guessed, and nothing stored as it is.
pub fn p1_temporary_identifiers_of_nothing_are_refused(db: &mut dyn Database) {
    db.execute("INSERT INTO paper (id, a) VALUES (1, 1)");
    let mut seen = update("paper", 1, &[("a", 2.into())]);
    seen.base = set(&[("order_no", T.into())]);
    for (id, refused, attribute) in [
        (1, update("orders", T, &[("total", 1.into())]), "id"),
        (2, delete("orders", T), "id"),
        (3, line(Op::Create, T, 1, ""), "order_no"),
        (4, create("paper", 2, &[("order_no", T.into())]), "order_no"),
        (5, update("paper", 1, &[("order_no", T.into())]), "order_no"),
        (6, seen, "order_no"),
    ] {
        assert_refused(&push_one(db, id, refused), Code::REFERENCE, Some(attribute));
    }
    // The group is known, and it created no such row.
    let made = group(7, vec![order(T2, "a")]);
    let child = with_origins(8, &[(T, 7)], vec![line(Op::Create, T, 1, "")]);
    let outcomes = push(db, &[made, child]);
    assert_refused(&outcomes[1].verdicts[0], Code::REFERENCE, Some("order_no"));
    assert!(table(db, "order_line").is_empty());
    assert_eq!(
        cell(db, "SELECT count(*) FROM paper WHERE a = 1"),
        Some(1.into())
    );
    // Not an identifier of anything: a number like any other.
    assert_eq!(
        push_one(db, 9, create("paper", T, &[("a", T.into())])),
        Verdict::applied()
    );
}

/// A group of another user is as unknown as one that never came.
pub fn p7_origins_of_other_users_are_unknown(db: &mut dyn Database) {
    assert_applied(&push(db, &[group(1, vec![order(T, "hers")])]));
    let child = with_origins(2, &[(T, 1)], vec![line(Op::Create, T, 1, "")]);
    let never = with_origins(3, &[(T, 99)], vec![line(Op::Create, T, 1, "")]);
    let outcomes = db
        .storage()
        .push(db.model(), &Caller::user("bob"), &[child, never])
        .unwrap();
    for outcome in &outcomes {
        assert_refused(&outcome.verdicts[0], Code::WAITS_FOR, None);
        assert_eq!(outcome.verdicts, outcomes[0].verdicts);
    }
    assert!(table(db, "order_line").is_empty());
}

/// Rows of one group that refer to themselves, to each other, and to what comes after them.
pub fn rows_that_refer_in_a_circle_are_created(db: &mut dyn Database) {
    let under = |temporary: i64, label: &str, parent: i64| {
        let values = [("label", label.into()), ("parent", parent.into())];
        create("orders", temporary, &values)
    };
    let outcomes = push(
        db,
        &[
            group(1, vec![under(T, "self", T)]),
            group(
                2,
                vec![
                    under(T, "a", T2),
                    under(T2, "b", T),
                    line(Op::Create, T2, 1, ""),
                ],
            ),
            group(
                3,
                vec![
                    under(T, "child", T2),
                    under(T2, "root", T + 2),
                    order(T + 2, "top"),
                ],
            ),
        ],
    );
    assert_applied(&outcomes);
    for (label, parent) in [
        ("self", "self"),
        ("a", "b"),
        ("b", "a"),
        ("child", "root"),
        ("root", "top"),
    ] {
        let found = cell(
            db,
            &format!("SELECT parent FROM orders WHERE label = '{label}'"),
        );
        assert_eq!(found, Some(number(db, parent).into()), "{label}");
    }
    assert_eq!(told(&outcomes[1].verdicts[1]), number(db, "b"));
    assert_eq!(
        cell(db, "SELECT order_no FROM order_line"),
        Some(number(db, "b").into())
    );
}
