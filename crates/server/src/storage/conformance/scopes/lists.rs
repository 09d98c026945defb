//! What the device has: values gained and lost in the middle, lists that are forgotten, forged
//! ones, and other people's positions.

use std::collections::BTreeMap;

use afield_protocol::{Code, Held};

use super::{Database, SCOPED, ScopedDevice, ada, bob, fill, run};
use crate::storage::PullRequest;

/// Runs a statement after each of the first pages, and pulls to the end.
fn between(db: &mut dyn Database, device: &mut ScopedDevice, rows_max: usize, sql: &[&str]) {
    let mut statements = sql.iter();
    for _ in 0..1_000 {
        if device.page(db, &SCOPED, rows_max).end.complete && statements.len() == 0 {
            return;
        }
        if let Some(sql) = statements.next() {
            run(db, &mut [device], sql);
        }
    }
    panic!("the pull never ends");
}

/// Rights and rows that change while a download is on its way, at every size of page.
pub fn p5_values_change_in_the_middle_of_downloads(db: &mut dyn Database) {
    fill(db);
    let changes = [
        "INSERT INTO region_member VALUES ('ada', 3)",
        "UPDATE firm SET region_id = 1 WHERE id = 'f3'",
        "DELETE FROM region_member WHERE user_id = 'ada' AND region_id = 2",
        "UPDATE area_task SET region_id = 2 WHERE region_id = 1",
        "DELETE FROM area_task WHERE id IN (3, 4, 5); UPDATE own_task SET owner = 'bob'",
        "INSERT INTO region_member VALUES ('ada', 2)",
        "UPDATE area_task SET region_id = 1 WHERE id < 12; UPDATE own_task SET owner = 'ada'",
        "DELETE FROM region_member WHERE user_id = 'ada'",
        "UPDATE both_task SET region_id = 4 WHERE region_id = 1",
        "INSERT INTO region_member VALUES ('ada', 1), ('ada', 4)",
        "UPDATE any_task SET id = 'm' || id WHERE part = 0",
        "UPDATE both_task SET owner = 'ada'; DELETE FROM any_task WHERE part = 1",
        "DELETE FROM firm WHERE id = 'f1'; UPDATE firm_task SET firm_id = 'f2'",
        "DELETE FROM firm WHERE id = 'f1'; INSERT INTO firm VALUES ('f1', 4);
         UPDATE firm SET region_id = 4 WHERE id = 'f2'",
    ];
    for first in 0..changes.len() {
        for rows_max in [1, 2, 5] {
            between(db, &mut ada(), rows_max, &changes[first..]);
            between(db, &mut bob(), rows_max, &changes[..first]);
        }
    }
}

/// A value that is lost during its own scan takes what it had brought, and comes whole again.
pub fn p7_a_value_lost_during_its_scan_takes_its_rows_along(db: &mut dyn Database) {
    db.execute("INSERT INTO region_member VALUES ('ada', 1)");
    let rows: Vec<String> = (0..20)
        .map(|id| format!("({id}, NULL, {}, NULL, NULL, 'w')", 1 + id % 2))
        .collect();
    db.execute(&format!("INSERT INTO area_task VALUES {}", rows.join(", ")));
    let mut ada = ada();
    ada.page(db, &["area_task"], 3);
    assert_eq!(ada.rows("area_task").len(), 3);
    run(
        db,
        &mut [&mut ada],
        "UPDATE region_member SET region_id = 2",
    );
    ada.page(db, &["area_task"], 3);
    assert_eq!(
        (ada.rows("area_task").len(), ada.told),
        (3, 1),
        "1 went, 2 has begun"
    );
    run(
        db,
        &mut [&mut ada],
        "UPDATE region_member SET region_id = 1",
    );
    ada.pull(db, &["area_task"], 3);
    assert_eq!(ada.delivered, 3 + 3 + 10);
}

/// A value that is lost and gained again within one download takes part twice: what went
/// meanwhile is not kept by the second time.
pub fn p7_a_value_regained_within_a_download_brings_only_what_is_there(db: &mut dyn Database) {
    fill(db);
    let mut ada = ada();
    ada.pull(db, &["area_task", "both_task"], 100);
    run(
        db,
        &mut [&mut ada],
        "UPDATE area_task SET words = 'much to say'",
    );
    for rows_max in [1, 2] {
        for (sql, pages) in [
            (
                "DELETE FROM region_member WHERE user_id = 'ada' AND region_id = 1",
                1,
            ),
            ("DELETE FROM area_task WHERE id IN (0, 5)", 1),
            ("UPDATE area_task SET region_id = 1 WHERE id IN (10, 11)", 3),
            ("INSERT INTO region_member VALUES ('ada', 1)", 1),
            ("UPDATE area_task SET words = 'again'", 2),
        ] {
            run(db, &mut [&mut ada], sql);
            for _ in 0..pages {
                ada.page(db, &["area_task", "both_task"], rows_max);
            }
        }
        ada.pull(db, &["area_task", "both_task"], rows_max);
    }
}

/// A server that remembers nothing asks once, and goes on where it was.
pub fn p5_a_forgotten_list_is_asked_for(db: &mut dyn Database) {
    fill(db);
    let mut ada = ada();
    ada.pull(db, &SCOPED, 100);
    let delivered = ada.delivered;
    db.restart();
    ada.pull(db, &SCOPED, 100);
    assert_eq!(
        (ada.asked, ada.delivered),
        (0, delivered),
        "nothing changed"
    );
    run(
        db,
        &mut [&mut ada],
        "INSERT INTO region_member VALUES ('ada', 3)",
    );
    db.restart();
    ada.pull(db, &["area_task", "firm_task", "own_task"], 100);
    assert_eq!(ada.asked, 1);
    assert_eq!(ada.resets, 0);
    // In the middle of a download too, page after page.
    let mut bob = bob();
    for _ in 0..500 {
        if bob.page(db, &SCOPED, 2).end.complete {
            break;
        }
        db.restart();
    }
    bob.pull(db, &SCOPED, 2);
    assert!(bob.asked > 3);
    assert_eq!(bob.resets, 0);
}

/// A list that is not the position's starts the entity over, whatever the server remembers.
pub fn p7_forged_lists_start_over(db: &mut dyn Database) {
    fill(db);
    let mut ada = ada();
    ada.pull(db, &["area_task"], 100);
    let honest = ada.held(&["area_task"]).remove(0);
    let said = |gained: Vec<i64>| Held {
        gained,
        ..honest.clone()
    };
    let mut more = honest.gained.clone();
    more.push(4_711);
    for forged in [Vec::new(), vec![1, 2], honest.gained[1..].to_vec(), more] {
        let request = PullRequest {
            held: vec![said(forged)],
            ..ada.request(&["area_task"], 100)
        };
        let page = db.storage().pull(db.model(), &request).unwrap();
        let mut device = ada.clone();
        device.apply(db, &page);
        assert_eq!(device.resets, 1);
        assert_eq!(device.rows("area_task"), ada.rows("area_task"));
    }
    let request = PullRequest {
        held: vec![said(honest.gained.iter().rev().copied().collect())],
        ..ada.request(&["area_task"], 100)
    };
    ada.apply(db, &db.storage().pull(db.model(), &request).unwrap());
    assert_eq!(ada.resets, 0, "the order says nothing");
}

/// The positions of another user bring nothing of his.
pub fn p7_another_users_positions_bring_nothing_of_his(db: &mut dyn Database) {
    fill(db);
    let (mut ada, mut bob) = (ada(), bob());
    ada.pull(db, &SCOPED, 3);
    bob.page(db, &SCOPED, 3);
    // The device file goes from one to the other, finished and unfinished.
    for (mut device, user) in [(ada.clone(), "bob"), (bob.clone(), "ada"), (ada, "eve")] {
        device.caller.user = user.into();
        device.pull(db, &SCOPED, 3);
    }
    let stolen: BTreeMap<_, _> = bob.positions.clone();
    for restarts in [false, true] {
        if restarts {
            db.restart();
        }
        let mut eve = ScopedDevice::of("eve", None);
        eve.positions = stolen.clone();
        let request = eve.request(&SCOPED, 100);
        match db.storage().pull(db.model(), &request) {
            Ok(page) => eve.apply(db, &page),
            Err(error) => assert_eq!(error.code, Code::HELD_WANTED),
        }
        assert!(SCOPED.iter().all(|entity| eve.rows(entity).is_empty()));
    }
}

/// Hundreds of values, gained and lost in numbers, in pages of all sizes.
pub fn p5_hundreds_of_values(db: &mut dyn Database) {
    let mut values = Vec::new();
    let mut members = Vec::new();
    for id in 0..1_500 {
        let region = id % 500;
        values.push(format!("({id}, 'ada', {region}, NULL, NULL, 'w{id}')"));
        if id < 400 {
            members.push(format!("('ada', {id})"));
        }
    }
    for entity in ["area_task", "both_task"] {
        db.execute(&format!(
            "INSERT INTO {entity} VALUES {}",
            values.join(", ")
        ));
    }
    db.execute(&format!(
        "INSERT INTO region_member VALUES {}",
        members.join(", ")
    ));
    let entities = ["area_task", "both_task"];
    let mut ada = ada();
    ada.pull(db, &entities, 170);
    for sql in [
        "UPDATE area_task SET words = 'all'; UPDATE both_task SET words = 'all' WHERE id < 700",
        "UPDATE region_member SET region_id = region_id + 100",
        "UPDATE area_task SET region_id = 499 - region_id",
        "DELETE FROM region_member WHERE region_id > 101; DELETE FROM both_task WHERE id > 90",
    ] {
        run(db, &mut [&mut ada], sql);
        ada.pull(db, &entities, 170);
    }
    assert_eq!(ada.resets, 0);
}
