//! Time itself: devices that were away, clocks that step back, databases that are replaced.

use super::super::Database;
use super::tables::{OF_INSTANTS, START, device, ids, instant, pull_at, put, shift};

/// Longer than the window reaches, with edits of all kinds meanwhile.
pub fn p5_a_device_that_was_long_away_catches_up(db: &mut dyn Database) {
    for entity in OF_INSTANTS {
        for id in 0..30 {
            put(db, entity, id, id * 20 - 300);
        }
    }
    let mut device = device(0);
    pull_at(db, &mut device, &OF_INSTANTS, 0, 4);
    for entity in OF_INSTANTS {
        shift(db, entity, 15, 100_000);
        shift(db, entity, 16, 50);
        shift(db, entity, 0, 99_990);
        db.execute(&format!("DELETE FROM {entity} WHERE id = 17"));
    }
    pull_at(db, &mut device, &OF_INSTANTS, 100_000, 4);
    assert_eq!(ids(&device, "log"), [0, 15]);
    assert_eq!(ids(&device, "plan").len(), 29);
}

/// The bound stays where it was, whichever process answers by whichever clock.
pub fn p5_a_clock_that_steps_back_moves_nothing(db: &mut dyn Database) {
    for entity in OF_INSTANTS {
        for id in 0..30 {
            put(db, entity, id, id * 20 - 300);
        }
    }
    let mut device = device(0);
    pull_at(db, &mut device, &OF_INSTANTS, 100, 4);
    let (log, plan) = (ids(&device, "log"), ids(&device, "plan"));
    let delivered = device.delivered;
    for seconds in [0, -1_000_000, 99, 100] {
        db.restart();
        pull_at(db, &mut device, &OF_INSTANTS, seconds, 4);
        assert_eq!(device.windows["log"].bound, instant(0));
        assert_eq!(ids(&device, "log"), log);
        assert_eq!(ids(&device, "plan"), plan);
    }
    assert_eq!(device.delivered, delivered);
    // What is edited meanwhile, arrives.
    shift(db, "log", 1, 1);
    shift(db, "plan", 29, 200);
    pull_at(db, &mut device, &OF_INSTANTS, -50, 4);
    assert!(ids(&device, "log").contains(&1) && ids(&device, "plan").contains(&29));
}

/// A position of a history that is gone says nothing of time either.
pub fn p5_a_restored_copy_starts_over_by_its_own_clock(db: &mut dyn Database) {
    for entity in OF_INSTANTS {
        put(db, entity, 1, 0);
    }
    db.copy();
    let mut device = device(0);
    for entity in OF_INSTANTS {
        put(db, entity, 2, 0);
    }
    pull_at(db, &mut device, &OF_INSTANTS, 50, 4);
    db.restore();
    device.windows.clear();
    pull_at(db, &mut device, &OF_INSTANTS, 10, 4);
    assert_eq!(device.windows["log"].bound, instant(-90));
    assert_eq!(device.resets.len(), OF_INSTANTS.len());
    assert_eq!(ids(&device, "plan"), [1]);
}

/// Positions under one window are none under another.
pub fn p5_another_window_starts_over(db: &mut dyn Database) {
    for id in 0..10 {
        put(db, "log", id, -50 * id);
    }
    let mut held = device(0);
    pull_at(db, &mut held, &["log"], 0, 4);
    let mut model = db.model().clone();
    let log = model.entities.iter_mut().find(|it| it.local.name == "log");
    log.unwrap().keep.as_mut().unwrap().seconds = -300;
    let request = crate::storage::PullRequest {
        chosen: Vec::new(),
        caller: held.caller.clone(),
        held: Vec::new(),
        now: START,
        entities: vec![("log".into(), held.positions.get("log").cloned())],
        rows_max: 100,
        bytes_max: usize::MAX,
        compare: Default::default(),
    };
    let page = db.storage().pull(&model, &request).expect("the pull works");
    let afield_protocol::Frame::Page(head) = &page.frames[0] else {
        panic!("a page begins with `page`");
    };
    assert_eq!(head.reset, ["log"]);
}

/// Idle pulls are empty, however time passes, as long as nothing comes in.
pub fn p9_nothing_is_sent_again_when_nothing_entered(db: &mut dyn Database) {
    for entity in OF_INSTANTS {
        for id in 0..30 {
            put(db, entity, id, id);
        }
        put(db, entity, 99, 1_000_000);
    }
    let mut device = device(0);
    pull_at(db, &mut device, &OF_INSTANTS, 0, 100);
    let delivered = device.delivered;
    for seconds in 1..20 {
        pull_at(db, &mut device, &OF_INSTANTS, seconds, 100);
    }
    assert_eq!(device.delivered, delivered);
    assert!(device.resets.is_empty());
}
