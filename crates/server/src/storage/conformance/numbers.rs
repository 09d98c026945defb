//! Cases of identifiers that the server makes.
//!
//! What could lose, double or misplace a row: the same temporary identifier on two devices; a
//! copy of a device; a repeat after the numbers are known; a child that comes before its parent,
//! in its group or in time; a row created twice; rows that refer to each other.

use afield_protocol::{
    Change, Code, FIRST_TEMPORARY, Group, GroupId, GroupOutcome, Op, Origin, Theirs, Value, Verdict,
};

use super::pushes::{
    assert_refused, cell, change, create, delete, group, push, push_one, set, update,
};
use super::{Database, Replica, assert_same, table};

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

fn assert_applied(outcomes: &[GroupOutcome]) {
    assert!(
        outcomes.iter().all(GroupOutcome::is_applied),
        "{outcomes:?}"
    );
}

fn told(verdict: &Verdict) -> i64 {
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
        group(
            1,
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

/// Two devices of one user count from the same identifier; each child finds its own parent.
pub fn p2_the_same_temporary_identifier_of_two_devices_is_two_rows(db: &mut dyn Database) {
    assert_applied(&push(db, &[group(1, vec![order(T, "mine")])]));
    assert_applied(&push(db, &[group(2, vec![order(T, "other")])]));
    let child = |id, parent| with_origins(id, &[(T, parent)], vec![line(Op::Create, T, 1, "")]);
    assert_applied(&push(db, &[child(3, 1)]));
    assert_applied(&push(db, &[child(4, 2)]));
    for label in ["mine", "other"] {
        let order = number(db, label);
        let sql = format!("SELECT count(*) FROM order_line WHERE order_no = {order}");
        assert_eq!(cell(db, &sql), Some(1.into()), "{label}");
    }
}

/// A copy of a device sends the same group, and then something of its own on the same row.
pub fn p2_a_copy_of_a_device_means_the_same_rows(db: &mut dyn Database) {
    let parent = group(1, vec![order(T, "a")]);
    let child = |id, pos| with_origins(id, &[(T, 1)], vec![line(Op::Create, T, pos, "")]);
    let own = group(5, vec![order(T2, "of the first")]);
    let copied = group(6, vec![order(T2, "of the copy")]);
    let first = push(db, &[parent.clone(), child(2, 1), own]);
    assert_eq!(push(db, &[parent, child(2, 1)]), first[..2]);
    assert_applied(&push(db, &[child(3, 2), copied]));
    let rows = db.query("SELECT DISTINCT order_no FROM order_line");
    assert_eq!(rows, [[Value::from(number(db, "a"))]]);
    assert_eq!(
        (table(db, "order_line").len(), table(db, "orders").len()),
        (2, 3)
    );
}

/// The device knows the number by now, but the group was frozen with the temporary identifier:
/// the answer is the same, and what somebody wrote meanwhile stays.
pub fn p2_a_repeat_after_the_number_is_known_changes_nothing(db: &mut dyn Database) {
    let groups = [
        group(1, vec![order(T, "a")]),
        with_origins(
            2,
            &[(T, 1)],
            vec![update("orders", T, &[("total", 5.into())])],
        ),
    ];
    let first = push(db, &groups);
    assert_applied(&first);
    let a = number(db, "a");
    let edit = group(3, vec![update("orders", a, &[("total", 6.into())])]);
    assert_applied(&push(db, &[edit]));
    assert_eq!(push(db, &groups[1..]), first[1..]);
    assert_eq!(push(db, &groups), first);
    assert_eq!(cell(db, "SELECT total FROM orders"), Some(6.into()));
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
        .push(db.model(), "bob", &[child, never])
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

/// The same row twice in a group is one row; deleted and created again it keeps its number.
pub fn p2_a_row_created_twice_is_one_row(db: &mut dyn Database) {
    let twice = group(1, vec![order(T, "a"), order(T, "a")]);
    let other = group(2, vec![order(T, "b"), order(T, "c")]);
    let outcomes = push(db, &[twice, other]);
    assert!(outcomes[0].is_applied(), "{outcomes:?}");
    assert_refused(&outcomes[1].verdicts[1], Code::KEY_EXISTS, None);
    assert_eq!(table(db, "orders").len(), 1);
    let a = number(db, "a");
    let again = push(
        db,
        &[
            with_origins(3, &[(T, 1)], vec![delete("orders", T)]),
            with_origins(4, &[(T, 1)], vec![order(T, "again")]),
        ],
    );
    assert_applied(&again);
    assert_eq!((number(db, "again"), told(&again[1].verdicts[0])), (a, a));
}

/// A group that came already as part of another one, or whose parts did: the conflict shows the
/// row that they created, and its number, instead of creating another.
pub fn p2_known_parts_show_the_rows_that_they_created(db: &mut dyn Database) {
    let instead = |id: u8, of: u8, changes| Group {
        absorbed: vec![GroupId([of; 16])],
        ..group(id, changes)
    };
    let more = |label: &str| vec![order(T, label), line(Op::Create, T, 1, "more")];
    for (late, groups) in [
        (
            1,
            [
                group(1, vec![order(T, "part")]),
                instead(2, 1, more("whole")),
            ],
        ),
        (
            3,
            [
                instead(4, 3, more("part, folded")),
                group(3, vec![order(T, "part")]),
            ],
        ),
    ] {
        let [first, second] = groups;
        let outcomes = push(db, &[first]);
        assert!(outcomes[0].is_applied(), "{outcomes:?}");
        let label = if late == 1 { "part" } else { "part, folded" };
        let made = number(db, label);
        let outcome = push(db, &[second]).remove(0);
        let verdict = &outcome.verdicts[0];
        assert_refused(verdict, Code::ABSORBED_KNOWN, None);
        assert_eq!(told(verdict), made);
        match &verdict.theirs {
            Some(Theirs::Row(row)) => assert_eq!(row.get("label"), Some(&label.into())),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(table(db, "orders").len(), 2);
    // Another's row is found through its origin.
    let edit = |id: u8, absorbed: &[u8]| Group {
        absorbed: absorbed.iter().map(|id| GroupId([*id; 16])).collect(),
        ..with_origins(
            id,
            &[(T, 1)],
            vec![update("orders", T, &[("total", 1.into())])],
        )
    };
    assert_applied(&push(db, &[edit(5, &[])]));
    let known = push(db, &[edit(6, &[5])]).remove(0).verdicts.remove(0);
    assert_refused(&known, Code::ABSORBED_KNOWN, None);
    let Some(Theirs::Row(row)) = known.theirs else {
        panic!("the row is there");
    };
    assert_eq!(row.get("label"), Some(&"part".into()));
}
