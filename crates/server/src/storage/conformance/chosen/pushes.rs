//! Who may write does not depend on what a device has open.

use afield_protocol::{Code, Value};

use super::super::Database;
use super::super::pushes::{assert_refused, cell, create, delete, push_one, update};
use super::ChoosingDevice;

fn words(db: &dyn Database, visit: i64) -> Option<Value> {
    cell(db, &format!("SELECT words FROM visit WHERE id = {visit}"))
}

/// A push says nothing of what is chosen: the edit of a row whose choice ran out is applied.
pub fn p3_what_may_be_written_does_not_depend_on_the_choice(db: &mut dyn Database) {
    let mut ada = ChoosingDevice::of("ada").choosing(&[1]);
    ada.pull(db, &["visit"], 100);
    ada.choose(&[]);
    let verdicts = [
        push_one(db, 1, update("visit", 10, &[("words", "late".into())])),
        push_one(db, 2, create("visit", 12, &[("project_id", 2.into())])),
        push_one(db, 3, update("visit", 12, &[("project_id", 3.into())])),
        push_one(db, 4, update("remark", 1, &[("words", "late".into())])),
        push_one(db, 5, delete("visit", 11)),
        push_one(db, 6, update("sheet", 3, &[("words", "late".into())])),
    ];
    for verdict in verdicts {
        assert_eq!(verdict.code, None, "{verdict:?}");
    }
    assert_eq!(words(db, 10), Some("late".into()));
    assert_eq!(words(db, 11), None);
    ada.pull(db, &["visit"], 100);
    assert_eq!(
        ada.ids("visit"),
        [0; 0],
        "it is written, and not on this device"
    );
}

/// Rows of a value that the user may not choose are not his, whatever he sends.
pub fn p7_rows_that_could_not_be_chosen_are_not_written(db: &mut dyn Database) {
    let before = super::super::rights::dump(db);
    for (id, visit) in [(1, 40), (2, 50), (3, 60), (4, 99)] {
        let verdict = push_one(db, id, update("visit", visit, &[("words", "mine".into())]));
        assert_refused(&verdict, Code::GONE, None);
    }
    let forbidden = [
        create("visit", 13, &[("project_id", 4.into())]),
        create("visit", 14, &[("project_id", 99.into())]),
        create("visit", 15, &[("project_id", Value::Null)]),
        update("visit", 10, &[("project_id", 4.into())]),
        update("visit", 10, &[("project_id", 99.into())]),
    ];
    for (at, change) in forbidden.into_iter().enumerate() {
        let verdict = push_one(db, 20 + at as u8, change);
        assert_refused(&verdict, Code::FORBIDDEN, Some("project_id"));
    }
    let verdict = push_one(db, 30, update("sheet", 4, &[("words", "mine".into())]));
    assert_refused(&verdict, Code::GONE, None);
    let verdict = push_one(db, 31, update("remark", 4, &[("words", "mine".into())]));
    assert_refused(&verdict, Code::GONE, None);
    let verdict = push_one(db, 32, create("visit", 40, &[("project_id", 1.into())]));
    assert_refused(&verdict, Code::KEY_TAKEN, None);
    assert_eq!(super::super::rights::dump(db), before);
}

/// A reference may name a row that is not on this device, if it could be.
pub fn p7_references_to_rows_that_could_be_chosen_are_fine(db: &mut dyn Database) {
    let verdict = push_one(db, 1, create("remark", 7, &[("visit_id", 20.into())]));
    assert_eq!(verdict.code, None, "{verdict:?}");
    for (id, visit) in [(2, 40), (3, 99)] {
        let verdict = push_one(
            db,
            id,
            create("remark", 10 + i64::from(id), &[("visit_id", visit.into())]),
        );
        let code = verdict.code.clone().expect("it is refused");
        let is_alike = code == Code::FORBIDDEN;
        assert!(is_alike, "{verdict:?}");
    }
}
