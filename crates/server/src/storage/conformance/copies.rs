//! Cases of temporary identifiers that come more than once: the same one of two devices, a copy of
//! a device, a repeat after the numbers are known, a row created twice.

use afield_protocol::{Code, Group, GroupId, Op, Theirs, Value};

use super::numbers::{T, T2, assert_applied, line, number, order, told, with_origins};
use super::pushes::{assert_refused, cell, delete, group, push, update};
use super::{Database, table};

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
    // The row of a folded group is the one that its successor created.
    let child = with_origins(7, &[(T, 3)], vec![line(Op::Create, T, 2, "folded")]);
    assert_applied(&push(db, &[child]));
    let found = cell(db, "SELECT order_no FROM order_line WHERE words = 'folded'");
    assert_eq!(found, Some(number(db, "part, folded").into()));
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
