//! What rows show after one change of what they show.

use super::{Database, ShowingDevice, all, fill};

/// Chains of two, null on the way, and references to nothing.
pub fn p5_lookups_come_with_their_rows(db: &mut dyn Database) {
    fill(db);
    for rows_max in [1, 5, 500] {
        for user in ["ada", "bob", "eve"] {
            ShowingDevice::of(user).pull(db, &all(), rows_max);
        }
    }
    let shown = db.query(&super::schema::truth("job", "ada"));
    let text = |row: usize, at: usize| shown[row][at].to_string();
    assert_eq!((text(0, 6), text(0, 7)), ("Adler".into(), "north".into()));
    assert!(shown[2][7].is_null() && !shown[2][6].is_null());
    assert!(shown[3][7].is_null() && shown[4][6].is_null());
}

/// One mark: exactly the rows that show it come again.
pub fn p5_a_renamed_source_brings_the_rows_that_show_it(db: &mut dyn Database) {
    fill(db);
    for (sql, expected) in [
        ("UPDATE firm SET name = 'Adler & Co' WHERE id = 'f1'", 8),
        ("UPDATE region SET name = 'north-east' WHERE id = 1", 4),
        ("UPDATE firm SET name = 'Cech & Co' WHERE id = 'f3'", 4),
        ("UPDATE firm SET name = 'Dorn & Co' WHERE id = 'f4'", 4),
        ("UPDATE region SET name = NULL WHERE id = 3", 0),
    ] {
        let mut device = ShowingDevice::of("ada");
        device.pull(db, &["job"], 500);
        db.execute(sql);
        assert_eq!(device.brought(db, &["job"], 500), expected, "{sql}");
        assert_eq!((device.resets, device.gone), (0, 0), "{sql}");
        assert_eq!(device.brought(db, &["job"], 500), 0, "{sql}");
    }
}

/// A firm's phone is on no row of another entity.
pub fn p9_what_no_lookup_reads_brings_nothing(db: &mut dyn Database) {
    fill(db);
    let mut device = ShowingDevice::of("ada");
    device.pull(db, &all(), 500);
    db.execute("UPDATE firm SET phone = '1', name = name; UPDATE region SET note = 'x'");
    assert_eq!(device.brought(db, &all(), 500), 0);
    assert_eq!(device.resets, 0);
}

/// A deleted source is null, one that is made again has its value again.
pub fn p5_a_source_that_leaves_and_comes_back(db: &mut dyn Database) {
    fill(db);
    let mut device = ShowingDevice::of("ada");
    device.pull(db, &all(), 500);
    for sql in [
        "DELETE FROM firm WHERE id = 'f1'",
        "INSERT INTO firm VALUES ('f1', 'Adler II', 2, 'a', '')",
        "DELETE FROM region WHERE id = 2",
        "INSERT INTO region VALUES (9, 'nine', ''), (2, 'two', '')",
        "INSERT INTO firm VALUES ('f5', 'Erl', 9, 'e', '')",
        "DELETE FROM firm; DELETE FROM region",
    ] {
        db.execute(sql);
        assert!(device.brought(db, &all(), 3) > 0, "{sql}");
    }
}

/// What stands between a row and its lookup refers to another row.
pub fn p5_rows_on_the_way_lead_elsewhere(db: &mut dyn Database) {
    fill(db);
    let mut device = ShowingDevice::of("ada");
    device.pull(db, &all(), 500);
    for sql in [
        "UPDATE firm SET region_id = 3 WHERE id = 'f1'",
        "UPDATE firm SET region_id = NULL WHERE id = 'f2'",
        "UPDATE firm SET region_id = 8 WHERE id = 'f1'",
        "UPDATE firm SET region_id = 1; UPDATE region SET name = 'all'",
        "UPDATE firm SET region_id = 2 WHERE id = 'f3'; UPDATE region SET name = 'x' WHERE id = 1",
    ] {
        db.execute(sql);
        assert!(device.brought(db, &all(), 2) > 0, "{sql}");
    }
}

/// A key that references name is another one, with or without a row in its old place.
pub fn p5_keys_that_move(db: &mut dyn Database) {
    fill(db);
    let mut device = ShowingDevice::of("ada");
    device.pull(db, &all(), 500);
    for sql in [
        "UPDATE firm SET code = 'z' WHERE id = 'f1'",
        "UPDATE firm SET code = 'a' WHERE id = 'f2'",
        "UPDATE firm SET code = NULL WHERE id = 'f2'",
        "UPDATE firm SET id = 'f9' WHERE id = 'f1'",
        "UPDATE firm SET id = 'f1' WHERE id = 'f2'; UPDATE firm SET id = 'f2' WHERE id = 'f9'",
        "UPDATE region SET id = 1 - id WHERE id = 1",
    ] {
        db.execute(sql);
        assert!(device.brought(db, &all(), 2) > 0, "{sql}");
    }
}

/// A table that its own rows refer to, in a circle too.
pub fn p5_rows_that_lead_to_themselves(db: &mut dyn Database) {
    fill(db);
    let mut device = ShowingDevice::of("ada");
    device.pull(db, &["tree"], 500);
    for (sql, expected) in [
        ("UPDATE tree SET name = 'trunk' WHERE id = 1", 3),
        ("UPDATE tree SET name = 'rings' WHERE id = 4", 1),
        ("UPDATE tree SET parent_id = 3 WHERE id = 1", 3),
        ("DELETE FROM tree WHERE id = 2", 2),
    ] {
        db.execute(sql);
        assert_eq!(device.brought(db, &["tree"], 500), expected, "{sql}");
    }
}

/// An entity that is sent whole starts over for its own rows and what they show, for nothing else.
pub fn read_only_starts_over_for_what_it_shows(db: &mut dyn Database) {
    fill(db);
    let entities = ["whole_job", "whole_area_job"];
    let mut device = ShowingDevice::of("ada");
    device.pull(db, &entities, 500);
    // Ada's rows of `whole_area_job` are in area 1: firms f2, f5 and, by its code, f2 again.
    for (sql, resets) in [
        ("UPDATE region SET name = 'x' WHERE id = 3", 0),
        ("UPDATE firm SET phone = '2'", 0),
        ("UPDATE firm SET name = 'x' WHERE id = 'f1'", 1),
        ("UPDATE region SET name = 'y' WHERE id = 2", 2),
        ("UPDATE whole_job SET words = 'x' WHERE id = 1", 1),
    ] {
        device.resets = 0;
        db.execute(sql);
        device.pull(db, &entities, 500);
        assert_eq!(device.resets, resets, "{sql}");
    }
}

/// Who has no row that shows it is told nothing, and no row of another's by it.
pub fn p7_rows_of_others_are_not_told(db: &mut dyn Database) {
    fill(db);
    let entities = ["own_job", "area_job"];
    let (mut ada, mut eve) = (ShowingDevice::of("ada"), ShowingDevice::of("eve"));
    ada.pull(db, &entities, 500);
    eve.pull(db, &entities, 500);
    db.execute("UPDATE firm SET name = 'x' WHERE id = 'f1'");
    // By the firm: rows 0, 6, 12 and 18 are Ada's own; none of area 1, which has rows 1, 4, …
    // By its code: rows 0, 3, 6 and so on, of which every other one is hers.
    assert_eq!(ada.brought(db, &entities, 500), 4);
    db.execute("UPDATE firm SET name = 'y' WHERE id = 'f2'");
    // Its firm or its code: rows 1, 4, 7 and so on, of which her own, and all of area 1.
    assert_eq!(ada.brought(db, &entities, 500), 4 + 8);
    eve.pull(db, &entities, 500);
    assert_eq!((eve.rows, eve.gone, eve.resets), (0, 0, 0));
}
