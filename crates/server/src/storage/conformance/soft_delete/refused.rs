//! Soft deletes that the database takes back, and rows that the author may not write.

use afield_protocol::{Code, Value, Verdict};

use super::super::Database;
use super::super::pushes::{assert_refused, cell, create, delete, group, push, push_one, update};

/// A delete behind which the row still lives was none, and its group is refused with it.
pub fn p6_a_database_that_keeps_the_row_refuses_the_delete(db: &mut dyn Database) {
    db.execute("INSERT INTO item VALUES ('kept', 'one', 1, TRUE), ('other', 'two', 2, TRUE)");
    let when = "NEW.id = 'kept' AND NOT NEW.is_active";
    db.execute(&db.after_update(
        "item",
        when,
        "UPDATE item SET is_active = TRUE WHERE id = NEW.id;",
    ));
    let sent = group(1, vec![delete("item", "other"), delete("item", "kept")]);
    let verdicts = push(db, &[sent]).remove(0).verdicts;
    assert_refused(&verdicts[0], Code::GROUP_REFUSED, None);
    assert_refused(&verdicts[1], Code::CONSTRAINT, None);
    let live = cell(db, "SELECT count(*) FROM item WHERE is_active");
    assert_eq!(live, Some(Value::Integer(2)));
}

/// Everybody reads an offer, its owner writes it. To the others a deleted one is gone, and its
/// identifier is not theirs to use again.
pub fn p7_rows_that_others_write_are_revived_by_nobody_else(db: &mut dyn Database) {
    db.execute("INSERT INTO offer VALUES ('x', 'eve', 'hers', FALSE), ('y', 'ada', 'old', FALSE)");
    let made = |id: &str| {
        let values = [("owner", "ada".into()), ("words", "new".into())];
        create("offer", id, &values)
    };
    let refused = push_one(db, 1, made("x"));
    assert_refused(&refused, Code::FORBIDDEN, None);
    let edit = update("offer", "x", &[("words", "z".into())]);
    assert_refused(&push_one(db, 2, edit), Code::GONE, None);
    assert_eq!(push_one(db, 3, delete("offer", "x")), Verdict::applied());
    assert_eq!(push_one(db, 4, made("y")), Verdict::applied());
    let rows = db.query("SELECT owner, words, is_active FROM offer ORDER BY id");
    let hers: [Value; 3] = ["eve".into(), "hers".into(), 0.into()];
    assert_eq!(rows, [hers, ["ada".into(), "new".into(), 1.into()]]);
}
