//! References: only to rows that the user could read, and those of others are like none.

use afield_protocol::codec::write_verdicts;
use afield_protocol::{Change, Code, FIRST_TEMPORARY, Group, Op, Origin, Value};

use super::super::pushes::{assert_refused, cell, change, create, group, update};
use super::tables::{FOREIGN, MINE, MISSING};
use super::{ada, codes, dump, push, push_as, push_one, saw, site};
use crate::storage::conformance::Database;

const T: i64 = FIRST_TEMPORARY;
const NEW: &str = "0190b3a1-5c1e-7cc3-98a1-00000000000d";

/// A change that names a row, Eve's row, that of nobody, and the attribute that holds it.
type Naming = (fn(Value) -> Change, Value, Value, &'static str);

fn namings() -> [Naming; 5] {
    [
        (
            |id| update("site", MINE, &[("buddy", id)]),
            FOREIGN.into(),
            MISSING.into(),
            "buddy",
        ),
        (
            |id| {
                site(
                    Op::Create,
                    NEW,
                    &[("region", "north".into()), ("buddy", id)],
                )
            },
            FOREIGN.into(),
            MISSING.into(),
            "buddy",
        ),
        (
            |id| create("task", T, &[("owner", "ada".into()), ("site", id)]),
            FOREIGN.into(),
            MISSING.into(),
            "site",
        ),
        (
            |id| create("task", T, &[("owner", "ada".into()), ("parent", id)]),
            2.into(),
            99.into(),
            "parent",
        ),
        (
            |id| create("seat", "s2", &[("who", "bob".into()), ("project", id)]),
            2.into(),
            3.into(),
            "",
        ),
    ]
}

/// Every way to name a row of another table, with Eve's row and with none: the verdicts are the
/// same, byte by byte, and say which attribute it is.
pub fn p7_references_to_rows_of_others_are_references_to_nothing(db: &mut dyn Database) {
    let before = dump(db);
    let north = || ("region", Value::from("north"));
    let mut id = 0;
    let mut answer = |changes: Vec<Change>| {
        id += 1;
        push_as(db, &ada(), &[group(id, changes)])
            .remove(0)
            .verdicts
    };
    for (make, foreign, missing, attribute) in namings() {
        let shown = format!("{:?}", make(foreign.clone()));
        let beside = || update("site", MINE, &[("title", "beside".into()), north()]);
        for alone in [true, false] {
            let group = |value: &Value| match alone {
                true => vec![make(value.clone())],
                false => vec![beside(), make(value.clone()), beside()],
            };
            let (one, other) = (answer(group(&foreign)), answer(group(&missing)));
            assert_eq!(write_verdicts(&one), write_verdicts(&other), "{shown}");
            // A seat of somebody else is refused for that, whatever it refers to.
            let at = usize::from(!alone);
            match attribute {
                "" => assert_refused(&one[at], Code::FORBIDDEN, Some("who")),
                name => assert_refused(&one[at], Code::REFERENCE, Some(name)),
            }
        }
    }
    assert_eq!(dump(db), before, "something was written");
}

/// All parts or none; the database knows nothing of this one.
pub fn p7_composite_references_are_asked(db: &mut dyn Database) {
    let pin = |id: i64, hall: Value, place: Value| {
        let values = [("owner", "ada".into()), ("hall", hall), ("place", place)];
        create("pin", id, &values)
    };
    assert_eq!(
        codes(&push(db, 1, vec![pin(10, 1.into(), 1.into())])),
        ["applied"]
    );
    assert_eq!(
        codes(&push(db, 2, vec![pin(11, 2.into(), Value::Null)])),
        ["applied"]
    );
    assert_eq!(
        codes(&push(db, 3, vec![pin(12, Value::Null, 2.into())])),
        ["applied"]
    );
    for (id, hall, place) in [(4, 2, 2), (5, 2, 7), (6, 1, 7)] {
        let verdict = push_one(db, id, pin(13, hall.into(), place.into()));
        assert_refused(&verdict, Code::REFERENCE, Some("hall"));
    }
    // One half is set, and the other is there already.
    let half = |place: i64| update("pin", 10, &[("place", place.into())]);
    assert_refused(&push_one(db, 7, half(7)), Code::REFERENCE, Some("hall"));
    let other = update("pin", 11, &[("place", 2.into())]);
    assert_refused(&push_one(db, 8, other), Code::REFERENCE, Some("hall"));
    assert_eq!(codes(&push(db, 9, vec![half(2)])), ["applied"]);
}

/// Rows of everyone are left to the database's foreign key, where it has one.
pub fn p7_references_are_asked_where_the_database_does_not(db: &mut dyn Database) {
    let pin = |kind: &str| create("pin", 20, &[("owner", "ada".into()), ("kind", kind.into())]);
    assert_refused(&push_one(db, 1, pin("none")), Code::REFERENCE, Some("kind"));
    assert_eq!(codes(&push(db, 2, vec![pin("k")])), ["applied"]);
}

/// What a row refers to may have left the user since: that blocks no edit of the row.
pub fn p3_a_reference_that_is_not_changed_is_not_asked_again(db: &mut dyn Database) {
    db.execute(
        "INSERT INTO shelf VALUES (1, 3, 'red', ''); UPDATE pin SET place = 3 WHERE id = 1; \
         UPDATE shelf SET owner = 'blue' WHERE place = 3 AND hall = 1",
    );
    let edit = |values: &[(&str, Value)]| update("pin", 1, values);
    assert_eq!(
        codes(&push(db, 1, vec![edit(&[("kind", Value::Null)])])),
        ["applied"]
    );
    let same = [
        ("hall", 1.into()),
        ("place", 3.into()),
        ("kind", "k".into()),
    ];
    assert_eq!(codes(&push(db, 2, vec![edit(&same)])), ["applied"]);
    let away = [("hall", Value::Null), ("place", Value::Null)];
    assert_eq!(codes(&push(db, 3, vec![edit(&away)])), ["applied"]);
    let again = [("hall", 1.into()), ("place", 3.into())];
    assert_eq!(codes(&push(db, 4, vec![edit(&again)])), ["reference"]);
}

/// Created earlier in the envelope, earlier or later in the group, under whatever identifier; and
/// not if what creates them is refused.
pub fn p8_references_to_rows_of_the_same_envelope_are_fine(db: &mut dyn Database) {
    let new = |region: &str| site(Op::Create, NEW, &[("region", region.into())]);
    let buddy = || saw(update("site", MINE, &[("buddy", NEW.into())]), &[]);
    let outcomes = push_as(
        db,
        &ada(),
        &[group(1, vec![new("south")]), group(2, vec![buddy()])],
    );
    assert_eq!(codes(&outcomes[0].verdicts), ["forbidden"]);
    assert_ne!(codes(&outcomes[1].verdicts), ["applied"], "{outcomes:?}");
    let outcomes = push_as(
        db,
        &ada(),
        &[group(3, vec![new("north")]), group(4, vec![buddy()])],
    );
    assert!(
        outcomes
            .iter()
            .all(afield_protocol::GroupOutcome::is_applied),
        "{outcomes:?}"
    );
    db.execute("UPDATE site SET buddy = NULL; DELETE FROM site WHERE title IS NULL");
    assert_eq!(
        codes(&push(db, 5, vec![buddy(), new("north")])),
        ["applied", "applied"]
    );
    let shelf = change(
        Op::Create,
        "shelf",
        vec![4.into(), 4.into()],
        &[("owner", "red".into())],
    );
    let values = [
        ("owner", "ada".into()),
        ("hall", 4.into()),
        ("place", 4.into()),
    ];
    let pin = create("pin", 30, &values);
    assert_eq!(
        codes(&push(db, 6, vec![pin, shelf])),
        ["applied", "applied"]
    );
}

/// A child before its parent, and one of another group; and a parent that left since.
pub fn p7_references_by_temporary_identifiers_are_asked_too(db: &mut dyn Database) {
    let task = |id: i64, parent: i64| {
        create(
            "task",
            id,
            &[("owner", "ada".into()), ("parent", parent.into())],
        )
    };
    let verdicts = push(
        db,
        7,
        vec![
            task(T + 1, T),
            create("task", T, &[("owner", "ada".into())]),
        ],
    );
    assert_eq!(codes(&verdicts), ["applied", "applied"], "{verdicts:?}");
    let origin = Origin {
        entity: "task".into(),
        temporary: T,
        group: group(7, Vec::new()).id,
        at: 1,
    };
    let child = Group {
        origins: vec![origin],
        ..group(8, vec![task(T + 2, T)])
    };
    assert!(push_as(db, &ada(), std::slice::from_ref(&child))[0].is_applied());
    let children = "SELECT count(DISTINCT parent) * 10 + count(parent) FROM task";
    assert_eq!(cell(db, children), Some(12.into()));
    // The parent is another's meanwhile: the number is known, the row is none of his.
    db.execute("UPDATE task SET owner = 'eve' WHERE id IN (SELECT parent FROM task)");
    let late = Group {
        id: group(9, Vec::new()).id,
        ..child
    };
    assert_eq!(
        codes(&push_as(db, &ada(), &[late])[0].verdicts),
        ["reference"]
    );
}
