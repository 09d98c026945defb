//! Pulls of tables with rows that count as deleted.

use afield_protocol::Value;

use super::super::mirror::Mirror;
use super::super::{Database, Rows, replica};
use crate::storage::Caller;

fn ada() -> Mirror {
    Mirror::of(&Caller::user("ada"))
}

/// Fails unless the device holds what a query finds.
fn assert_holds(db: &dyn Database, device: &Mirror, entity: &str, sql: &str) {
    let rows = db.query(sql).into_iter();
    let expected: Rows = rows
        .map(|row| (replica::key_bytes(&row[..1]), row))
        .collect();
    assert_eq!(device.rows(entity), expected, "{entity} differs");
}

const LIVE_ITEMS: &str = "SELECT id, label, tally FROM item WHERE is_active";

/// A download leaves them out.
pub fn p5_soft_deleted_rows_are_not_there_for_pulls(db: &mut dyn Database) {
    db.execute(
        "INSERT INTO item VALUES ('a', 'live', 1, TRUE), ('b', 'dead', 2, FALSE),
           ('c', 'live', 3, TRUE);
         INSERT INTO memo VALUES ('x', 'live', NULL), ('y', 'dead', '2024-02-29 10:00:00')",
    );
    let mut device = ada();
    device.pull(db, &["item", "memo"], 10);
    assert_eq!(device.keys("item"), [Value::from("a"), "c".into()]);
    assert_eq!(device.keys("memo"), [Value::from("x")]);
}

/// A delta says `gone` of one that has become one, and brings one that is none any more.
pub fn p5_soft_deleted_rows_leave_and_revived_ones_come_again(db: &mut dyn Database) {
    db.execute("INSERT INTO item VALUES ('a', 'one', 1, TRUE), ('b', 'two', 2, TRUE)");
    let mut device = ada();
    device.pull(db, &["item"], 10);
    db.execute("UPDATE item SET is_active = FALSE WHERE id = 'a'");
    device.pull(db, &["item"], 10);
    assert_eq!(device.keys("item"), [Value::from("b")]);
    // What happens to it meanwhile is nobody's business.
    db.execute("UPDATE item SET label = 'edited' WHERE id = 'a'");
    device.pull(db, &["item"], 10);
    assert_eq!(device.keys("item"), [Value::from("b")]);
    db.execute("UPDATE item SET is_active = TRUE WHERE id = 'a'");
    device.pull(db, &["item"], 10);
    assert_holds(db, &device, "item", LIVE_ITEMS);
    assert!(device.resets.is_empty());
}

/// Pages of one row, with deleted rows at both ends and between.
pub fn p5_pages_move_on_over_soft_deleted_rows(db: &mut dyn Database) {
    for at in 0..40 {
        let is_active = at % 7 == 3;
        db.execute(&format!(
            "INSERT INTO item VALUES ('k{at:02}', 'x', {at}, {is_active})"
        ));
    }
    for rows_max in [1, 2, 100] {
        let mut device = ada();
        device.pull(db, &["item"], rows_max);
        assert_holds(db, &device, "item", LIVE_ITEMS);
    }
}

/// Rows become deleted, and come back, behind and in front of a download under way.
pub fn p5_soft_deletes_between_pages_of_a_download_arrive(db: &mut dyn Database) {
    for at in 0..10 {
        let is_active = at % 2 == 0;
        db.execute(&format!(
            "INSERT INTO item VALUES ('k{at}', 'x', {at}, {is_active})"
        ));
    }
    let mut device = ada();
    for _ in 0..2 {
        assert!(!device.page(db, &["item"], 1).end.complete);
    }
    db.execute("UPDATE item SET is_active = NOT is_active");
    device.pull(db, &["item"], 1);
    assert_holds(db, &device, "item", LIVE_ITEMS);
}

/// A truth value is what it means, however the table spells it. What is no truth value at all is
/// not the one that counts.
pub fn p5_every_spelling_of_the_value_counts(db: &mut dyn Database) {
    let [naught, perhaps] = match db.keeps_spellings() {
        true => ["0.0", "'perhaps'"],
        false => ["'no'", "NULL"],
    };
    db.execute(&format!(
        "INSERT INTO item VALUES ('a', 'dead', 1, 'false'), ('b', 'dead', 2, 'F'),
           ('c', 'dead', 3, {naught}), ('d', 'live', 4, 'true'), ('e', 'live', 5, {perhaps})"
    ));
    let mut device = ada();
    device.pull(db, &["item"], 10);
    assert_eq!(device.keys("item"), [Value::from("d"), "e".into()]);
}

/// In an entity whose rows are not everyone's: downloads of values, deltas, and values gained.
pub fn p5_soft_deletes_work_within_scopes(db: &mut dyn Database) {
    db.execute(
        "INSERT INTO piece VALUES (1, 'ada', 'one', 'open'), (2, 'ada', 'two', 'dead'),
           (3, 'eve', 'three', 'open'), (4, 'ada', 'four', 'open')",
    );
    let mut device = ada();
    device.pull(db, &["piece"], 1);
    let mine = "SELECT id, owner, words FROM piece WHERE owner = 'ada' AND state <> 'dead'";
    assert_holds(db, &device, "piece", mine);
    db.execute(
        "UPDATE piece SET state = 'dead' WHERE id = 4;
         UPDATE piece SET state = 'open' WHERE id = 2;
         UPDATE piece SET owner = 'ada', state = 'dead' WHERE id = 3",
    );
    device.pull(db, &["piece"], 1);
    assert_holds(db, &device, "piece", mine);
    assert_eq!(device.rows("piece").len(), 2);
    db.execute("UPDATE piece SET state = 'open' WHERE id = 3");
    device.pull(db, &["piece"], 1);
    assert_holds(db, &device, "piece", mine);
}

/// A whole entity is sent again, without the row.
pub fn read_only_entities_start_over_without_soft_deleted_rows(db: &mut dyn Database) {
    db.execute("INSERT INTO rate VALUES (1, 'a', TRUE), (2, 'b', NULL)");
    let mut device = ada();
    device.pull(db, &["rate"], 10);
    assert_eq!(device.keys("rate"), [Value::from(1), 2.into()]);
    db.execute("UPDATE rate SET is_active = FALSE WHERE id = 1");
    device.pull(db, &["rate"], 10);
    assert_eq!(device.keys("rate"), [Value::from(2)]);
    assert_eq!(device.resets, ["rate"]);
}
