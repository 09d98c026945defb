//! Rows, parents and rights that move.

use afield_protocol::Frame;

use super::{Database, SCOPED, ScopedDevice, ada, bob, fill, run};

/// Frames of a page beside its first and last.
fn content(page: &crate::storage::PulledPage) -> &[Frame] {
    page.frames.get(1..page.frames.len() - 1).unwrap()
}

/// The first download, in pages of every size.
pub fn p7_a_first_download_brings_the_scope_and_nothing_else(db: &mut dyn Database) {
    fill(db);
    for rows_max in [1, 2, 3, 7, 1_000] {
        for mut device in [ada(), bob(), ScopedDevice::of("eve", None)] {
            device.pull(db, &SCOPED, rows_max);
            assert_eq!(device.resets, 0);
            let delivered = device.delivered;
            let page = device.page(db, &SCOPED, rows_max);
            assert!(
                page.end.complete && content(&page).is_empty(),
                "nothing is new"
            );
            assert_eq!(device.delivered, delivered);
        }
    }
    let mut eve = ScopedDevice::of("eve", None);
    eve.pull(db, &SCOPED, 10);
    assert_eq!(
        (eve.delivered, eve.told),
        (0, 3),
        "her own name alone is hers"
    );
}

/// A row's own columns change: it comes, it goes, it stays by another way.
pub fn p7_rows_enter_and_leave_by_their_own_columns(db: &mut dyn Database) {
    fill(db);
    let (mut ada, mut bob) = (ada(), bob());
    ada.pull(db, &SCOPED, 100);
    bob.pull(db, &SCOPED, 100);
    for entity in SCOPED {
        for set in [
            "owner = 'bob'",
            "owner = 'ada'",
            "owner = NULL",
            "region_id = 3",
            "region_id = 1",
            "region_id = 2",
            "region_id = NULL, owner = 'ada'",
            "region_id = 2, firm_id = 'f1', team = 'red'",
            "firm_id = 'f3'",
            "firm_id = 'f2', region_id = 4",
            "team = 'blue', owner = 'bob'",
            "team = 'red', region_id = 1",
            "team = NULL, region_id = NULL, firm_id = NULL, owner = NULL",
        ] {
            let sql = format!("UPDATE {entity} SET {set} WHERE words IN ('w3', 'w7', 'w8')");
            run(db, &mut [&mut ada, &mut bob], &sql);
            ada.pull(db, &SCOPED, 2);
            bob.pull(db, &SCOPED, 2);
        }
    }
    assert_eq!(ada.asked + bob.asked, 0, "nobody's values changed");
}

/// One transaction takes rows through many values, and leaves as many marks of each: a page may end
/// before them or behind them.
pub fn p1_a_page_ends_between_rows_and_never_between_marks_of_one(db: &mut dyn Database) {
    fill(db);
    let (mut ada, mut bob) = (ada(), bob());
    ada.pull(db, &SCOPED, 100);
    bob.pull(db, &SCOPED, 100);
    let moved = |entity: &str, team: &str, last: &str, passed: i32| -> String {
        let regions = (10..10 + passed).map(|region| region.to_string());
        let moves = regions.chain([last.to_owned()]).map(|region| {
            format!(
                "UPDATE {entity} SET owner = 'ada', team = '{team}', region_id = {region} \
                 WHERE words IN ('w2', 'w3', 'w7', 'w8');"
            )
        });
        moves.collect()
    };
    for (rows_max, passed) in [(1, 2), (1, 40), (2, 3), (2, 300), (3, 5), (50, 90)] {
        for (last, team) in [("1", "red"), ("4", "blue"), ("2", "blue"), ("NULL", "red")] {
            let sql = ["both_task", "any_task"].map(|entity| moved(entity, team, last, passed));
            run(db, &mut [&mut ada, &mut bob], &sql.concat());
            ada.pull(db, &SCOPED, rows_max);
            bob.pull(db, &SCOPED, rows_max);
        }
    }
    // More marks of each row than any statement gives.
    run(db, &mut [&mut ada], &moved("both_task", "red", "2", 2_500));
    ada.pull(db, &SCOPED, 2);
}

/// Rights change; no row is touched.
pub fn p5_a_grant_brings_untouched_rows_and_its_end_takes_them(db: &mut dyn Database) {
    fill(db);
    let mut ada = ada();
    ada.pull(db, &SCOPED, 100);
    for sql in [
        "INSERT INTO region_member VALUES ('ada', 3)",
        "DELETE FROM region_member WHERE user_id = 'ada' AND region_id = 1",
        "UPDATE region_member SET region_id = 1 WHERE user_id = 'ada' AND region_id = 2",
        "INSERT INTO region_member VALUES ('ada', 3), ('ada', NULL), ('ada', 99)",
        "DELETE FROM region_member WHERE user_id = 'ada'",
        "INSERT INTO region_member VALUES ('ada', 4), ('ada', 2), ('ada', 1)",
    ] {
        run(db, &mut [&mut ada], sql);
        ada.pull(db, &SCOPED, 3);
    }
    ada.caller.claims.insert("team".into(), "blue".into());
    ada.pull(db, &SCOPED, 3);
    ada.caller.claims.clear();
    ada.pull(db, &SCOPED, 3);
    assert_eq!(ada.asked, 0, "the server remembers what it told");
}

/// What a path leads through moves, and its rows with it.
pub fn p5_a_moved_parent_moves_its_rows(db: &mut dyn Database) {
    fill(db);
    let entities = ["firm_task", "any_task"];
    let (mut ada, mut bob) = (ada(), bob());
    ada.pull(db, &entities, 100);
    bob.pull(db, &entities, 100);
    for sql in [
        "UPDATE firm SET region_id = 3 WHERE id = 'f1'",
        "UPDATE firm SET region_id = 1 WHERE id = 'f3'",
        "UPDATE firm SET region_id = 1 WHERE id = 'f4';
         INSERT INTO firm_task VALUES (100, NULL, NULL, 'f4', NULL, 'with its parent')",
        "DELETE FROM firm WHERE id = 'f2'",
        "INSERT INTO firm VALUES ('f2', 2); DELETE FROM firm_task WHERE firm_id = 'f4'",
        "UPDATE firm SET region_id = NULL",
    ] {
        run(db, &mut [&mut ada, &mut bob], sql);
        ada.pull(db, &entities, 2);
        bob.pull(db, &entities, 2);
    }
}

/// A row with three ways in leaves with the last of them, in whatever order they go.
pub fn p5_a_row_leaves_with_its_last_way_in(db: &mut dyn Database) {
    fill(db);
    let ends = [
        "UPDATE any_task SET owner = NULL WHERE id = 'x'",
        "DELETE FROM region_member WHERE user_id = 'ada' AND region_id = 2",
        "UPDATE firm SET region_id = 4 WHERE id = 'f1'",
    ];
    for order in [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ] {
        db.execute(
            "DELETE FROM any_task WHERE id = 'x'; UPDATE firm SET region_id = 1 WHERE id = 'f1';
             DELETE FROM region_member WHERE user_id = 'ada';
             INSERT INTO region_member VALUES ('ada', 1), ('ada', 2);
             INSERT INTO any_task VALUES ('x', 1, 'ada', 2, 'f1', 'red', 'three ways')",
        );
        let mut ada = ada();
        ada.pull(db, &["any_task"], 100);
        let has_it = |ada: &ScopedDevice| {
            let rows = ada.rows("any_task");
            rows.values()
                .any(|row| row.last() == Some(&"three ways".into()))
        };
        for end in order {
            assert!(has_it(&ada), "{order:?}");
            run(db, &mut [&mut ada], ends[end]);
            ada.pull(db, &["any_task"], 1);
        }
        assert!(!has_it(&ada), "{order:?}");
    }
}

/// Values that come and go between two pulls, with and without writes meanwhile.
pub fn p5_values_that_flap_lose_nothing(db: &mut dyn Database) {
    fill(db);
    let mut ada = ada();
    ada.pull(db, &SCOPED, 100);
    for sql in [
        "DELETE FROM region_member WHERE user_id = 'ada';
         INSERT INTO region_member VALUES ('ada', 2), ('ada', 1)",
        "UPDATE firm SET region_id = 4 WHERE id = 'f1';
         UPDATE firm_task SET words = 'meanwhile' WHERE firm_id = 'f1';
         DELETE FROM firm_task WHERE id = 2;
         UPDATE firm SET region_id = 1 WHERE id = 'f1'",
        "DELETE FROM region_member WHERE user_id = 'ada' AND region_id = 1;
         UPDATE area_task SET region_id = 4 WHERE id = 0;
         UPDATE both_task SET region_id = 1, owner = 'ada' WHERE id IN (4, 5);
         UPDATE any_task SET region_id = 1 WHERE part = 1;
         DELETE FROM whole_task WHERE region_id = 1;
         INSERT INTO region_member VALUES ('ada', 1)",
        "UPDATE area_task SET region_id = 3 WHERE id = 5; UPDATE area_task SET region_id = 1",
    ] {
        run(db, &mut [&mut ada], sql);
        ada.pull(db, &SCOPED, 3);
    }
    assert_eq!(ada.asked, 0);
}

/// Null is held by nobody, and a row of nulls is nobody's.
pub fn p7_null_is_held_by_nobody(db: &mut dyn Database) {
    db.execute(
        "INSERT INTO region_member VALUES ('ada', NULL); INSERT INTO firm VALUES ('f', NULL)",
    );
    let mut ada = ScopedDevice::of("ada", None);
    ada.pull(db, &SCOPED, 10);
    for entity in SCOPED {
        let key = if entity == "any_task" { "'k', 1" } else { "1" };
        let sql = format!("INSERT INTO {entity} VALUES ({key}, NULL, NULL, NULL, NULL, 'w')");
        run(db, &mut [&mut ada], &sql);
        let update = format!("UPDATE {entity} SET firm_id = 'f', words = 'x'");
        run(db, &mut [&mut ada], &update);
    }
    let page = ada.page(db, &SCOPED, 10);
    assert!(page.end.complete && content(&page).is_empty());
}

/// Inserts, updates and deletes in foreign scopes, also in a large number: a page without content.
pub fn p7_foreign_writes_leave_no_trace(db: &mut dyn Database) {
    fill(db);
    let mut eve = ScopedDevice::of("eve", Some("green"));
    run(
        db,
        &mut [&mut eve],
        "INSERT INTO region_member VALUES ('eve', 77)",
    );
    eve.pull(db, &SCOPED, 10);
    for sql in [
        "UPDATE area_task SET words = 'x'; DELETE FROM area_task WHERE id < 9",
        "UPDATE own_task SET owner = 'bob'; DELETE FROM own_task WHERE id > 9",
        "UPDATE whole_task SET region_id = 4; UPDATE any_task SET words = 'y', team = 'red'",
        "DELETE FROM firm; DELETE FROM firm_task; DELETE FROM both_task; DELETE FROM team_task",
    ] {
        run(db, &mut [&mut eve], sql);
        let page = eve.page(db, &SCOPED, 1);
        assert!(page.end.complete && content(&page).is_empty(), "{sql}");
    }
    assert_eq!(
        eve.resets, 0,
        "a whole entity does not start over for others' rows"
    );
}

/// Rows that went before the user had any right to them are never named, not even as gone.
pub fn p7_rows_that_went_before_a_grant_are_never_named(db: &mut dyn Database) {
    fill(db);
    let mut ada = ada();
    ada.pull(db, &SCOPED, 100);
    for entity in SCOPED {
        let sql = format!("DELETE FROM {entity} WHERE region_id = 3 OR firm_id = 'f3'");
        run(db, &mut [&mut ada], &sql);
    }
    run(
        db,
        &mut [&mut ada],
        "UPDATE area_task SET region_id = 4 WHERE region_id = 3",
    );
    run(
        db,
        &mut [&mut ada],
        "INSERT INTO region_member VALUES ('ada', 3)",
    );
    ada.pull(db, &SCOPED, 1);
    run(
        db,
        &mut [&mut ada],
        "DELETE FROM region_member WHERE region_id = 3",
    );
    ada.pull(db, &SCOPED, 1);
}

/// An entity that is sent whole starts over when something in its scope changed, and only then.
pub fn read_only_starts_over_for_its_own_rows_and_values(db: &mut dyn Database) {
    fill(db);
    let mut ada = ada();
    ada.pull(db, &["whole_task"], 2);
    for (resets, sql) in [
        (0, "UPDATE whole_task SET words = 'x' WHERE region_id = 3"),
        (1, "UPDATE whole_task SET words = 'x' WHERE region_id = 1"),
        (2, "DELETE FROM whole_task WHERE region_id = 1 AND id < 9"),
        (3, "INSERT INTO region_member VALUES ('ada', 3)"),
        (
            4,
            "DELETE FROM region_member WHERE user_id = 'ada' AND region_id = 1",
        ),
        (4, "UPDATE whole_task SET words = 'y' WHERE region_id = 1"),
    ] {
        run(db, &mut [&mut ada], sql);
        ada.pull(db, &["whole_task"], 2);
        assert_eq!(ada.resets, resets, "{sql}");
    }
}
