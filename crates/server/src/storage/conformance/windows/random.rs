//! Random writes, random clocks and random page sizes; what is held must be exactly right.

use super::super::Database;
use super::super::mirror::Mirror;
use super::super::seeds;
use super::tables::{OF_INSTANTS, START, assert_exact, instant};
use crate::storage::Caller;

const SEEDS: u64 = 12;
const STEPS: usize = 120;

/// Several devices of two users, all entities at once.
pub fn p5_random_windows_hold_exactly_what_they_should(db: &mut dyn Database) {
    random_windows(db, &OF_INSTANTS);
}

/// The same with some of the entities.
pub fn random_windows(db: &mut dyn Database, entities: &[&str]) {
    for seed in seeds(db, SEEDS) {
        let mut random = fastrand::Rng::with_seed(seed);
        let users = ["ada", "ada", "eve"];
        let mut devices: Vec<Mirror> = users.map(|user| Mirror::of(&Caller::user(user))).into();
        let mut now = 0;
        for _ in 0..STEPS {
            match random.u8(..10) {
                0..6 => write(db, &mut random, entities, now),
                6 => now += random.i64(-60..200),
                7 => now += random.i64(0..30),
                _ => {
                    let device = random.choice(&mut devices).expect("there are devices");
                    pull(db, &mut random, entities, device, &mut now);
                }
            }
        }
        for device in &mut devices {
            pull(db, &mut random, entities, device, &mut now);
        }
        for entity in entities {
            db.execute(&format!("DELETE FROM {entity}"));
        }
    }
}

fn write(db: &dyn Database, random: &mut fastrand::Rng, entities: &[&str], now: i64) {
    let entity = entities[random.usize(..entities.len())];
    let id = random.i64(..25);
    let at = now + random.i64(-150..150);
    let canonical = instant(at);
    let spelled = match random.u8(..3) {
        0 => canonical.clone(),
        1 => canonical[..19].replace('T', " "),
        _ => {
            let hours = random.i64(1..15);
            format!("{}+{hours:02}:00", &instant(at + hours * 3_600)[..19])
        }
    };
    let owner = ["ada", "eve"][random.usize(..2)];
    let sql = match random.u8(..8) {
        0 => format!("DELETE FROM {entity} WHERE id = {id}"),
        1 => format!("UPDATE {entity} SET is_off = NOT is_off WHERE id = {id}"),
        2 => format!("UPDATE {entity} SET owner = '{owner}' WHERE id = {id}"),
        3 => format!(
            "UPDATE {entity} SET at = '{spelled}', canonical = '{canonical}' WHERE id = {id}"
        ),
        _ => format!(
            "DELETE FROM {entity} WHERE id = {id}; INSERT INTO {entity} VALUES \
             ({id}, '{owner}', '{spelled}', '{canonical}', false)"
        ),
    };
    db.execute(&sql);
}

/// Pulls with writes and time between the pages.
fn pull(
    db: &dyn Database,
    random: &mut fastrand::Rng,
    entities: &[&str],
    device: &mut Mirror,
    now: &mut i64,
) {
    let rows_max = [1, 2, 5, 100][random.usize(..4)];
    for page in 0.. {
        assert!(page < 5_000, "the pull never ends");
        device.now = START + *now;
        if device.page(db, entities, rows_max).end.complete {
            break;
        }
        if page < 30 && random.u8(..3) == 0 {
            write(db, random, entities, *now);
            *now += random.i64(-5..20);
        }
    }
    for entity in entities {
        assert_exact(db, device, entity);
    }
}
