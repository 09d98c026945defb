//! Cases of pushing what the server refuses.

use afield_protocol::{Code, Op, Value};

use super::pushes::{
    VISIT, assert_refused, change, company, create, delete, group, push, push_one, update,
};
use super::{Database, table};

/// All or none within a group, in every position of the culprit; the groups around it flow.
pub fn p6_a_refused_change_refuses_its_group_and_no_other(db: &mut dyn Database) {
    db.execute("INSERT INTO company VALUES ('z', 'Taken', 1)");
    for culprit in 0..3_u8 {
        let name = |at: u8| {
            if at == culprit {
                "Taken".into()
            } else {
                format!("n{culprit}{at}")
            }
        };
        let row = |at: u8| {
            create(
                "company",
                format!("c{culprit}{at}"),
                &[("name", name(at).into())],
            )
        };
        let lone = |at: i64| {
            let key = vec![i64::from(culprit).into(), at.into()];
            vec![change(Op::Create, "line", key, &[])]
        };
        let outcomes = push(
            db,
            &[
                group(culprit * 10 + 1, lone(1)),
                group(culprit * 10 + 2, vec![row(0), row(1), row(2)]),
                group(culprit * 10 + 3, lone(2)),
            ],
        );
        assert!(outcomes[0].is_applied() && outcomes[2].is_applied());
        for (at, verdict) in outcomes[1].verdicts.iter().enumerate() {
            if at == usize::from(culprit) {
                assert_refused(verdict, Code::UNIQUE, Some("name"));
            } else {
                assert_refused(verdict, Code::GROUP_REFUSED, None);
                let message = verdict.message.as_deref().unwrap_or("");
                assert!(
                    message.contains(&format!("change {}", culprit + 1)),
                    "{message}"
                );
            }
        }
    }
    assert_eq!(table(db, "company").len(), 1);
    assert_eq!(table(db, "line").len(), 6);
}

/// Every kind of constraint has its code and names the attribute.
pub fn p6_constraints_become_codes(db: &mut dyn Database) {
    company(db);
    let name = |name: &str| ("name", Value::from(name));
    for (id, refused, code, attribute) in [
        (
            1,
            create("company", "b", &[name("Able")]),
            Code::UNIQUE,
            "name",
        ),
        (2, create("company", "b", &[]), Code::NOT_NULL, "name"),
        (
            3,
            create("company", "b", &[name("Bee"), ("rank", (-1).into())]),
            Code::CHECK_FAILED,
            "rank",
        ),
        (
            4,
            update("company", "a", &[("rank", (-1).into())]),
            Code::CHECK_FAILED,
            "rank",
        ),
        (
            5,
            update("company", "a", &[("name", Value::Null)]),
            Code::NOT_NULL,
            "name",
        ),
        (
            6,
            create("visit", VISIT, &[("company", "none".into())]),
            Code::REFERENCE,
            "company",
        ),
    ] {
        let verdict = push_one(db, id, refused);
        assert_refused(&verdict, code, Some(attribute));
        assert!(verdict.message.is_some());
    }
    db.execute("INSERT INTO stock (id, shelf, bin) VALUES (1, 1, 1)");
    let taken = [("shelf", Value::from(1)), ("bin", Value::from(1))];
    assert_refused(
        &push_one(db, 7, create("stock", 2, &taken)),
        Code::UNIQUE,
        Some("shelf"),
    );
    assert_eq!(
        (table(db, "company").len(), table(db, "visit").len()),
        (1, 0)
    );
}

/// The commit finds the broken reference; its group alone is refused, and stays refused.
pub fn p6_a_missing_reference_refuses_only_its_group(db: &mut dyn Database) {
    company(db);
    let groups = [
        group(1, vec![create("company", "b", &[("name", "Bee".into())])]),
        group(
            2,
            vec![
                create("stock", 1, &[]),
                create("visit", VISIT, &[("company", "none".into())]),
            ],
        ),
        group(3, vec![create("stock", 2, &[])]),
    ];
    let outcomes = push(db, &groups);
    assert!(outcomes[0].is_applied() && outcomes[2].is_applied());
    assert_refused(&outcomes[1].verdicts[0], Code::GROUP_REFUSED, None);
    assert_refused(&outcomes[1].verdicts[1], Code::REFERENCE, Some("company"));
    db.execute("INSERT INTO company VALUES ('none', 'Now', 1)");
    assert_eq!(push(db, &groups), outcomes);
    assert_eq!((table(db, "stock").len(), table(db, "visit").len()), (1, 0));
}

/// A delete that would leave rows of others pointing nowhere.
pub fn p6_a_reference_that_a_delete_breaks_is_refused(db: &mut dyn Database) {
    company(db);
    db.execute(&format!(
        "INSERT INTO visit (id, company) VALUES ('{VISIT}', 'a')"
    ));
    assert_refused(
        &push_one(db, 1, delete("company", "a")),
        Code::REFERENCE,
        None,
    );
    assert_eq!(table(db, "company").len(), 1);
    let both = group(2, vec![delete("company", "a"), delete("visit", VISIT)]);
    assert!(push(db, &[both])[0].is_applied());
}

/// What the model does not allow never reaches the table.
pub fn p6_unwritable_changes_are_rejected_with_a_code(db: &mut dyn Database) {
    company(db);
    for (id, refused, code, attribute) in [
        (1, create("nothing", 1, &[]), Code::UNKNOWN_ENTITY, None),
        (2, create("rate", 1, &[]), Code::READ_ONLY, None),
        (
            3,
            create("stock", 1, &[("nothing", 1.into())]),
            Code::UNKNOWN_ATTRIBUTE,
            Some("nothing"),
        ),
        (
            4,
            create("stock", 1, &[("shelf", "x".into())]),
            Code::TYPE_MISMATCH,
            Some("shelf"),
        ),
        (
            5,
            create("stock", "x", &[]),
            Code::TYPE_MISMATCH,
            Some("id"),
        ),
        (
            6,
            create("stock", Value::Null, &[]),
            Code::IDENTIFIER_MISSING,
            Some("id"),
        ),
        (7, create("line", 1, &[]), Code::IDENTIFIER_MISSING, None),
        (
            8,
            update("company", "a", &[("code", "b".into())]),
            Code::IDENTIFIER_CHANGED,
            Some("code"),
        ),
        (
            9,
            create("visit", "NOT-A-UUID", &[]),
            Code::TYPE_MISMATCH,
            Some("id"),
        ),
    ] {
        assert_refused(&push_one(db, id, refused), code, attribute);
    }
    assert_eq!(
        (table(db, "stock").len(), table(db, "company").len()),
        (0, 1)
    );
}
