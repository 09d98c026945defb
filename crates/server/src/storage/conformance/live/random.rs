//! Random writes, grants and moves against devices that synchronise when they are told to, and then
//! only. Whoever hears nothing must have everything.

use super::super::scopes::{SCOPED, ScopedDevice, statement};
use super::super::seeds;
use super::{Database, Heard, listening};

const SEEDS: u64 = 30;
const STEPS: usize = 40;

/// Runs [`random_news`].
pub fn p5_random_news_leave_no_device_behind(db: &mut dyn Database) {
    for seed in seeds(db, SEEDS) {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            random_news(db, seed);
        }));
        assert!(result.is_ok(), "seed {seed}");
    }
}

/// Writes and looks drawn from `seed`. Between a write and a look some device may synchronise
/// unasked, of which the look must not be misled.
pub fn random_news(db: &dyn Database, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let tables = SCOPED.iter().chain(&["firm", "region_member"]);
    let empty: Vec<String> = tables.map(|table| format!("DELETE FROM {table}")).collect();
    db.execute(&empty.join("; "));
    let mut devices = [
        ScopedDevice::of("u1", Some("t1")),
        ScopedDevice::of("u2", Some("t2")),
        ScopedDevice::of("u3", None),
    ];
    let callers: Vec<_> = devices.iter().map(|device| device.caller.clone()).collect();
    let mut to = listening(db, &callers);
    for device in &mut devices {
        device.is_strict = false;
        device.pull(db, &SCOPED, 1_000);
    }
    for _ in 0..STEPS {
        for _ in 0..rng.usize(1..4) {
            let statements = rng.usize(1..3);
            let sql: Vec<String> = (0..statements)
                .map(|_| statement(&mut rng, &SCOPED))
                .collect();
            db.execute(&sql.join("; "));
            for device in &mut devices {
                device.note(db);
            }
            if rng.u32(..3) == 0 {
                let device = &mut devices[rng.usize(..3)];
                let page = device.page(db, &SCOPED, 10_000);
                assert!(page.end.complete);
                if db.has_epochs_of_its_own() {
                    to.pulled(&device.caller, &page.held);
                }
            }
        }
        for (device, heard) in devices.iter_mut().zip(to.look(db.storage())) {
            let told: Vec<&str> = match &heard {
                Heard::News(entities) => entities.iter().map(String::as_str).collect(),
                Heard::Alive => Vec::new(),
                other => panic!("{other:?}"),
            };
            let told: Vec<&str> = SCOPED.into_iter().filter(|it| told.contains(it)).collect();
            let silent = SCOPED.into_iter().filter(|it| !told.contains(it));
            device.must_be_up_to_date(db, silent);
            if !told.is_empty() {
                device.pull(db, &told, 1_000);
            }
        }
    }
}
