//! Pushes to entities with lookups.

use afield_protocol::{Change, Code, Theirs, VerdictKind};

use super::super::pushes::{create, group, set, update};
use super::{Database, ShowingDevice, fill};
use crate::storage::Caller;

/// Pushes one change as Ada; returns its verdict.
fn push(db: &dyn Database, id: u8, change: Change) -> afield_protocol::Verdict {
    let groups = [group(id, vec![change])];
    let outcomes = db.storage().push(db.model(), &Caller::user("ada"), &groups);
    outcomes
        .expect("the push works")
        .remove(0)
        .verdicts
        .remove(0)
}

/// Another value of a lookup is nobody's change of the row, even if a base speaks of it; and what
/// a conflict shows of the server's row has no lookups.
pub fn p6_lookups_are_no_conflict(db: &mut dyn Database) {
    fill(db);
    db.execute("UPDATE firm SET name = 'renamed' WHERE id = 'f1'");
    let mut change = update("own_job", 6, &[("words", "mine".into())]);
    change.base = set(&[
        ("firm_id", "f1".into()),
        ("boss_code", "a".into()),
        ("owner", "ada".into()),
        ("area", 0.into()),
        ("words", "w6".into()),
        ("firm_name", "Adler".into()),
    ]);
    let verdict = push(db, 1, change.clone());
    assert_eq!(verdict.kind, VerdictKind::Applied, "{verdict:?}");
    change.set = set(&[("words", "mine again".into())]);
    let verdict = push(db, 2, change);
    assert_eq!(verdict.kind, VerdictKind::Conflict, "{verdict:?}");
    let Some(Theirs::Row(theirs)) = verdict.theirs else {
        panic!("a conflict shows the row");
    };
    let names: Vec<&str> = theirs.keys().map(String::as_str).collect();
    assert_eq!(names, ["area", "boss_code", "firm_id", "owner", "words"]);
    let mut ada = ShowingDevice::of("ada");
    ada.pull(db, &["own_job"], 500);
}

/// Whoever forges a change that sets a lookup is refused, and nothing is written anywhere.
pub fn p7_a_lookup_is_never_written(db: &mut dyn Database) {
    fill(db);
    let before = db.query("SELECT * FROM firm, own_job ORDER BY 1, 6");
    let forged = [
        update("own_job", 6, &[("firm_name", "mine".into())]),
        update(
            "own_job",
            6,
            &[("words", "x".into()), ("region_name", "mine".into())],
        ),
        create(
            "own_job",
            77,
            &[("owner", "ada".into()), ("boss_name", "mine".into())],
        ),
    ];
    for (change, id) in forged.into_iter().zip(1..) {
        let verdict = push(db, id, change);
        assert_eq!(verdict.kind, VerdictKind::Rejected, "{verdict:?}");
        assert_eq!(verdict.code, Some(Code::READ_ONLY), "{verdict:?}");
    }
    let after = db.query("SELECT * FROM firm, own_job ORDER BY 1, 6");
    assert_eq!(before, after);
}
