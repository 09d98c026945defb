//! Random writers against a device that pulls pages of random sizes: after each complete pull
//! the device holds exactly what the tables hold.

use super::{Database, Replica, assert_same, seeds};

const SEEDS: u64 = 40;
const STEPS: usize = 40;

/// Runs [`random_writers`] with plain SQL.
pub fn p5_random_writers_against_random_pages(db: &mut dyn Database) {
    for seed in seeds(db, SEEDS) {
        random_writers(db, seed, &portable_write);
    }
}

/// Writes, restarts and pulls drawn from `seed`; `write` draws a statement.
pub fn random_writers(
    db: &mut dyn Database,
    seed: u64,
    write: &dyn Fn(&mut fastrand::Rng) -> String,
) {
    // Each seed begins with the same rows, so that it fails alone as it fails among others.
    db.execute("DELETE FROM stock; DELETE FROM line");
    let mut rng = fastrand::Rng::with_seed(seed);
    let entities = ["stock", "line"];
    let mut devices = [Replica::default(), Replica::default()];
    for step in 0..STEPS {
        match rng.u32(..20) {
            0 => db.restart(),
            1..=12 => db.execute(&write(&mut rng)),
            13..=17 => {
                let (rows, bytes) = page_size(&mut rng);
                let device = &mut devices[rng.usize(..2)];
                let page = device.page(db, &entities, rows, bytes);
                if page.end.complete {
                    same(db, device, &entities, seed, step);
                }
            }
            _ => {
                let rows = page_size(&mut rng).0;
                let device = &mut devices[rng.usize(..2)];
                device.pull(db, &entities, rows);
                same(db, device, &entities, seed, step);
            }
        }
    }
    for mut device in devices {
        device.pull(db, &entities, 3);
        same(db, &device, &entities, seed, STEPS);
        assert_eq!(
            device.resets, 0,
            "seed {seed}: nothing gave a reason to start over"
        );
    }
}

fn same(db: &dyn Database, device: &Replica, entities: &[&str], seed: u64, step: usize) {
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        assert_same(db, device, entities);
    }));
    assert!(result.is_ok(), "seed {seed}, step {step}");
}

fn page_size(rng: &mut fastrand::Rng) -> (usize, usize) {
    let bytes = if rng.u32(..4) == 0 {
        rng.usize(1..200)
    } else {
        usize::MAX
    };
    (rng.usize(1..8), bytes)
}

/// A statement that every database takes, over few keys, so that they meet.
fn portable_write(rng: &mut fastrand::Rng) -> String {
    let (id, other) = (rng.u32(1..15), rng.u32(1..15));
    let word = rng.u32(..1_000);
    match rng.u32(..8) {
        0 | 1 => format!(
            "INSERT INTO stock (id, words) VALUES ({id}, 'w{word}') \
             ON CONFLICT (id) DO UPDATE SET words = excluded.words"
        ),
        2 => format!("INSERT INTO stock (id, words) VALUES ({id}, 'x') ON CONFLICT DO NOTHING"),
        3 => format!("UPDATE stock SET words = 'u{word}' WHERE id BETWEEN {id} AND {other}"),
        4 => format!("DELETE FROM stock WHERE id BETWEEN {id} AND {other}"),
        5 => format!(
            "UPDATE stock SET id = {id} WHERE id = {other} \
             AND NOT EXISTS (SELECT 1 FROM stock WHERE id = {id})"
        ),
        6 => format!(
            "INSERT INTO line VALUES ({}, {id}, 'l{word}') \
             ON CONFLICT (visit_no, pos) DO UPDATE SET words = excluded.words",
            other % 3
        ),
        _ => format!("DELETE FROM line WHERE pos = {id}"),
    }
}
