//! Groups that were made before everything that the ledger remembers.

use afield_protocol::{
    Change, Checkpoint, Code, Group, GroupOutcome, Op, Theirs, Value, Verdict, VerdictKind,
};

use super::super::pushes::{cell, change, create, delete, group, push, set, update};
use super::super::{Database, Replica};
use super::{KEPT, count, purge};

const PAPERS: [&str; 3] = ["paper", "card", "slip"];

/// The checkpoint that a device has after a sync now.
fn checkpoint(db: &dyn Database) -> Checkpoint {
    Replica::default().pull(db, &["stock"], 100);
    db.storage().checkpoint()
}

fn made(id: u8, checkpoint: &Checkpoint, changes: Vec<Change>) -> Group {
    Group {
        checkpoint: checkpoint.clone(),
        ..group(id, changes)
    }
}

/// Lets the ledger forget everything up to now.
fn forget(db: &mut dyn Database, now: i64) {
    db.execute("INSERT INTO stock (words) VALUES ('time passes')");
    purge(db, now);
    db.execute("INSERT INTO stock (words) VALUES ('time passes')");
    purge(db, now + 4 * KEPT);
    assert_eq!(count(db, "afield_ledger"), 0);
}

fn one(db: &dyn Database, group: &Group) -> Verdict {
    let outcome: GroupOutcome = push(db, std::slice::from_ref(group)).remove(0);
    let mut verdicts = outcome.verdicts;
    verdicts.remove(0)
}

/// A counter went up once, a row was made and deleted again: neither happens twice.
pub fn p2_what_the_ledger_forgot_is_not_applied_again(db: &mut dyn Database) {
    db.execute("INSERT INTO paper VALUES (1, 1, 1, 10, NULL)");
    let seen = checkpoint(db);
    let mut count = update("paper", 1, &[("n", 13.into())]);
    count.base = set(&[("n", 10.into())]);
    let groups = [
        made(1, &seen, vec![count]),
        made(2, &seen, vec![create("paper", 2, &[("a", 5.into())])]),
    ];
    for group in &groups {
        assert_eq!(one(db, group), Verdict::applied());
    }
    db.execute("DELETE FROM paper WHERE id = 2");
    forget(db, 2_000);
    for _ in 0..2 {
        let verdict = one(db, &groups[0]);
        assert_eq!(verdict.code, Some(Code::UNKNOWN_BEFORE));
        assert!(matches!(verdict.theirs, Some(Theirs::Row(row)) if row["n"] == 13.into()));
        let verdict = one(db, &groups[1]);
        assert_eq!(verdict.code, Some(Code::UNKNOWN_BEFORE));
        assert_eq!(verdict.theirs, Some(Theirs::Gone));
    }
    assert_eq!(
        cell(db, "SELECT CAST(sum(n) AS BIGINT) FROM paper"),
        Some(13.into())
    );
    // The ledger has that answer now: nothing is asked anew when the clock goes on.
    db.execute("UPDATE paper SET n = 99");
    assert_eq!(one(db, &groups[0]).code, Some(Code::UNKNOWN_BEFORE));
}

/// What is sent; the row as it is, or none; how it ends.
type Cell = (
    Op,
    &'static [(&'static str, i64)],
    Option<[i64; 2]>,
    &'static str,
);

const CELLS: [Cell; 12] = [
    (Op::Create, &[("a", 1), ("b", 2)], Some([1, 2]), "applied"),
    (Op::Create, &[("a", 1)], Some([1, 2]), "applied"),
    (
        Op::Create,
        &[("a", 1), ("b", 2)],
        Some([1, 3]),
        "unknown-before",
    ),
    (Op::Create, &[("a", 1), ("b", 2)], None, "unknown-before"),
    (Op::Update, &[("a", 5)], Some([5, 2]), "applied"),
    (Op::Update, &[("a", 5)], Some([1, 2]), "unknown-before"),
    (
        Op::Update,
        &[("a", 5), ("b", 6)],
        Some([5, 2]),
        "unknown-before",
    ),
    (Op::Update, &[("n", 12)], Some([1, 2]), "unknown-before"),
    (Op::Update, &[("a", 5)], None, "gone"),
    (Op::Delete, &[], None, "applied"),
    (Op::Delete, &[], Some([1, 2]), "unknown-before"),
    (Op::Create, &[], Some([1, 2]), "applied"),
];

/// Every kind of change under every rule: applied where nothing is to be done, else a conflict
/// with the row as it is. Nothing is written.
pub fn p2_every_cell_of_unknown_before(db: &mut dyn Database) {
    let seen = checkpoint(db);
    forget(db, 2_000);
    let mut id: u8 = 0;
    for (op, values, row, end) in CELLS {
        for entity in PAPERS {
            id += 1;
            if let Some([a, b]) = row {
                db.execute(&format!(
                    "INSERT INTO {entity} VALUES ({id}, {a}, {b}, 10, NULL)"
                ));
            }
            let values: Vec<(&str, Value)> = values
                .iter()
                .map(|(name, n)| (*name, (*n).into()))
                .collect();
            let mut change = change(op, entity, vec![i64::from(id).into()], &values);
            if op != Op::Create {
                change.base = set(&[("a", 1.into()), ("b", 2.into()), ("n", 10.into())]);
            }
            let rows = format!("SELECT a, b, n FROM {entity} WHERE id = {id}");
            let before = db.query(&rows);
            let verdict = one(db, &made(id, &seen, vec![change]));
            let place = format!("{op:?} {values:?} on {row:?} of {entity}");
            let ended = verdict.code.as_ref().map_or("applied", Code::as_str);
            assert_eq!(ended, end, "{place}");
            let theirs = match &verdict.theirs {
                Some(Theirs::Row(row)) => Some([row["a"].clone(), row["b"].clone()]),
                _ => None,
            };
            let told = (end == "unknown-before").then_some(row).flatten();
            assert_eq!(theirs, told.map(|row| row.map(Value::from)), "{place}");
            assert_eq!(db.query(&rows), before, "{place}");
        }
    }
}

/// A device that was in touch since then is not asked about what it did.
pub fn p1_what_was_made_since_is_applied_as_ever(db: &mut dyn Database) {
    db.execute("INSERT INTO paper VALUES (1, 1, 1, 10, NULL)");
    forget(db, 2_000);
    let seen = checkpoint(db);
    let mut count = update("paper", 1, &[("n", 13.into())]);
    count.base = set(&[("n", 10.into())]);
    assert_eq!(one(db, &made(1, &seen, vec![count])), Verdict::applied());
    db.restart();
    // Also from an epoch before this one.
    let gone = made(2, &seen, vec![delete("paper", 1)]);
    assert_eq!(one(db, &gone), Verdict::applied());
    assert_eq!(count_of(db), 0);
}

fn count_of(db: &dyn Database) -> i64 {
    count(db, "paper")
}

/// All or nothing, also of what may have been.
pub fn p2_a_group_with_one_open_change_is_not_applied_in_part(db: &mut dyn Database) {
    db.execute("INSERT INTO paper VALUES (1, 5, 1, 10, NULL), (2, 1, 1, 10, NULL)");
    let seen = checkpoint(db);
    forget(db, 2_000);
    let changes = vec![
        update("paper", 1, &[("a", 5.into())]),
        update("paper", 2, &[("a", 5.into())]),
    ];
    let outcome = push(db, &[made(1, &seen, changes)]).remove(0);
    let codes: Vec<Option<&str>> = (outcome.verdicts.iter())
        .map(|v| v.code.as_ref().map(Code::as_str))
        .collect();
    assert_eq!(codes, [Some("group-refused"), Some("unknown-before")]);
    assert_eq!(outcome.verdicts[1].kind, VerdictKind::Conflict);
    assert_eq!(
        cell(db, "SELECT CAST(sum(a) AS BIGINT) FROM paper"),
        Some(6.into())
    );
}

/// None at all, a forged one, one of another database: all are older than everything.
pub fn p2_checkpoints_of_other_histories_are_none(db: &mut dyn Database) {
    db.execute("INSERT INTO paper VALUES (1, 1, 1, 10, NULL)");
    let seen = checkpoint(db);
    let edit = |id: u8, checkpoint: &Checkpoint, a: i64| {
        let mut edit = update("paper", 1, &[("a", a.into())]);
        edit.base = set(&[("a", (a - 1).into())]);
        made(id, checkpoint, vec![edit])
    };
    // As long as nothing is forgotten, it makes no difference.
    assert_eq!(one(db, &edit(1, &Checkpoint::new(), 2)), Verdict::applied());
    forget(db, 2_000);
    let newer = checkpoint(db);
    let mut forged = newer.clone();
    if let Some(last) = forged.last_mut() {
        *last ^= 1;
    }
    for (id, token) in [
        (2, Checkpoint::new()),
        (3, forged),
        (4, b"junk".to_vec()),
        (5, seen),
    ] {
        let verdict = one(db, &edit(id, &token, 40 + i64::from(id)));
        assert_eq!(verdict.code, Some(Code::UNKNOWN_BEFORE), "{token:?}");
    }
    assert_eq!(one(db, &edit(6, &newer, 3)), Verdict::applied());
    // A position is no checkpoint.
    let mut device = Replica::default();
    device.pull(db, &["paper"], 100);
    let position = device.positions["paper"].clone();
    assert_eq!(
        one(db, &edit(7, &position, 8)).code,
        Some(Code::UNKNOWN_BEFORE)
    );
    assert_eq!(cell(db, "SELECT a FROM paper"), Some(3.into()));
}
