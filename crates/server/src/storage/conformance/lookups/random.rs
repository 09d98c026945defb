//! Random writes to rows, to what they show and to what leads there, against small pages.

use super::super::seeds;
use super::{Database, ShowingDevice, all};

const SEEDS: u64 = 40;
const STEPS: usize = 60;

/// Runs [`random_lookups`].
pub fn p5_random_writes_against_random_pages_of_lookups(db: &mut dyn Database) {
    for seed in seeds(db, SEEDS) {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            random_lookups(db, seed, &all());
        }));
        assert!(result.is_ok(), "seed {seed}");
    }
}

/// Writes, restarts and pulls drawn from `seed`.
pub fn random_lookups(db: &mut dyn Database, seed: u64, of: &[&'static str]) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut entities = of.to_vec();
    rng.shuffle(&mut entities);
    let entities = &entities[..rng.usize(1..4)];
    let tables = entities.iter().chain(&["firm", "region", "holder"]);
    let empty: Vec<String> = tables.map(|table| format!("DELETE FROM {table}")).collect();
    db.execute(&empty.join("; "));
    let mut devices = ["u1", "u1", "u2"].map(ShowingDevice::of);
    for _ in 0..STEPS {
        match rng.u32(..40) {
            0 => db.restart(),
            1..=22 => {
                let count = if rng.bool() { 1 } else { rng.usize(2..9) };
                let sql = (0..count).map(|_| statement(&mut rng, entities));
                db.execute(&sql.collect::<Vec<_>>().join("; "));
            }
            23..=36 => {
                let rows_max = rng.usize(1..5);
                devices[rng.usize(..3)].page(db, entities, rows_max);
            }
            _ => {
                let rows_max = rng.usize(1..9);
                devices[rng.usize(..3)].pull(db, entities, rows_max);
            }
        }
    }
    let is_whole = entities.iter().any(|entity| entity.starts_with("whole"));
    for mut device in devices {
        device.pull(db, entities, 3);
        assert!(
            is_whole || device.resets == 0,
            "nothing gave a reason to start over"
        );
    }
}

/// A write over few keys and few values, so that they meet.
fn statement(rng: &mut fastrand::Rng, entities: &[&str]) -> String {
    let firm = ["'f1'", "'f2'", "'f3'", "NULL"];
    let code = ["'a'", "'b'", "'c'", "NULL"];
    let region = ["1", "2", "3", "NULL"];
    let (one, other, word) = (rng.usize(..3), rng.usize(..3), rng.u32(..1_000));
    let (user, area) = (rng.u32(1..3), rng.u32(1..4));
    match rng.u32(..20) {
        0..=2 => format!(
            "INSERT INTO firm VALUES ({}, 'n{word}', {}, NULL, '') ON CONFLICT (id) DO UPDATE \
             SET name = excluded.name, region_id = excluded.region_id",
            firm[one],
            region[rng.usize(..4)]
        ),
        3 => format!("UPDATE firm SET name = 'n{word}' WHERE id = {}", firm[one]),
        4 => format!(
            "UPDATE firm SET region_id = {} WHERE id = {}",
            region[rng.usize(..4)],
            firm[one]
        ),
        5 => format!(
            "UPDATE firm SET code = NULL WHERE code = {}; UPDATE firm SET code = {} WHERE id = {}",
            code[other], code[other], firm[one]
        ),
        6 => format!("DELETE FROM firm WHERE id = {}", firm[one]),
        7 => format!(
            "UPDATE firm SET id = {} WHERE id = {} AND NOT EXISTS \
             (SELECT 1 FROM firm WHERE id = {})",
            firm[other], firm[one], firm[other]
        ),
        8 | 9 => format!(
            "INSERT INTO region VALUES ({}, 'r{word}', '') ON CONFLICT (id) DO UPDATE \
             SET name = excluded.name",
            region[one]
        ),
        10 => format!("DELETE FROM region WHERE id = {}", region[one]),
        11 => format!("INSERT INTO holder VALUES ('u{user}', {area})"),
        12 => format!("DELETE FROM holder WHERE who = 'u{user}' AND area = {area}"),
        _ => {
            let entity = entities[rng.usize(..entities.len())];
            own(rng, entity, word)
        }
    }
}

fn own(rng: &mut fastrand::Rng, entity: &str, word: u32) -> String {
    let (id, other) = (rng.u32(1..16), rng.u32(1..16));
    if entity == "tree" {
        return match rng.u32(..6) {
            0 => format!("DELETE FROM tree WHERE id = {id}"),
            1 => format!("UPDATE tree SET name = 't{word}' WHERE id = {id}"),
            _ => format!(
                "INSERT INTO tree VALUES ({id}, {other}, 't{word}') ON CONFLICT (id) DO UPDATE \
                 SET parent_id = excluded.parent_id"
            ),
        };
    }
    let firm = ["'f1'", "'f2'", "'f3'", "NULL"][rng.usize(..4)];
    let code = ["'a'", "'b'", "'c'", "NULL"][rng.usize(..4)];
    let (owner, area) = (rng.u32(1..3), rng.u32(1..4));
    let (part, keys) = match entity {
        "area_job" => ("'p', ", "id, part"),
        _ => ("", "id"),
    };
    match rng.u32(..8) {
        0 => format!("DELETE FROM {entity} WHERE id = {id}"),
        1 => format!("UPDATE {entity} SET firm_id = {firm} WHERE id = {id}"),
        2 => format!("UPDATE {entity} SET boss_code = {code}, area = {area} WHERE id = {id}"),
        3 => format!(
            "UPDATE {entity} SET id = {other} WHERE id = {id} \
             AND NOT EXISTS (SELECT 1 FROM {entity} WHERE id = {other})"
        ),
        _ => format!(
            "INSERT INTO {entity} VALUES \
             ({id}, {part}{firm}, {code}, 'u{owner}', {area}, 'w{word}') \
             ON CONFLICT ({keys}) DO UPDATE SET firm_id = excluded.firm_id, \
             owner = excluded.owner, words = excluded.words"
        ),
    }
}
