//! Random writes, grants and moves against devices of several users with small pages. Each page
//! is watched, and each complete one compared with plain SQL.

use super::super::seeds;
use super::{Database, SCOPED, ScopedDevice, run};

const SEEDS: u64 = 60;
const STEPS: usize = 60;

/// Runs [`random_scopes`].
pub fn p7_random_scopes_against_random_pages(db: &mut dyn Database) {
    for seed in seeds(db, SEEDS) {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            random_scopes(db, seed);
        }));
        assert!(result.is_ok(), "seed {seed}");
    }
}

/// Writes, restarts and pulls drawn from `seed`.
pub fn random_scopes(db: &mut dyn Database, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut all = SCOPED;
    rng.shuffle(&mut all);
    let entities = &all[..rng.usize(1..4)];
    let tables = entities.iter().chain(&["firm", "region_member"]);
    let empty: Vec<String> = tables.map(|table| format!("DELETE FROM {table}")).collect();
    db.execute(&empty.join("; "));
    let mut devices = [
        ScopedDevice::of("u1", Some("t1")),
        ScopedDevice::of("u1", Some("t1")),
        ScopedDevice::of("u2", Some("t2")),
        ScopedDevice::of("u3", None),
    ];
    let is_strict = seed.is_multiple_of(2);
    for device in &mut devices {
        device.is_strict = is_strict;
    }
    for _ in 0..STEPS {
        match rng.u32(..40) {
            0 => db.restart(),
            1..=22 => {
                let statements = match rng.u32(..4) {
                    0 => rng.usize(2..6),
                    _ => 1,
                };
                let mut sql: Vec<String> = (0..statements)
                    .map(|_| statement(&mut rng, entities))
                    .collect();
                // Of a transaction with one write to the rows nothing stays but its end.
                let mut rows = 0;
                sql.retain(|sql| {
                    let is_row = entities.iter().any(|entity| sql.contains(entity));
                    rows += usize::from(is_row);
                    !is_strict || !is_row || rows == 1
                });
                let mut watched: Vec<&mut ScopedDevice> = devices.iter_mut().collect();
                run(db, &mut watched, &sql.join("; "));
            }
            23..=36 => {
                let device = &mut devices[rng.usize(..4)];
                device.page(db, entities, rng.usize(1..5));
            }
            _ => {
                let device = &mut devices[rng.usize(..4)];
                device.pull(db, entities, rng.usize(1..9));
            }
        }
    }
    for mut device in devices {
        device.pull(db, entities, 3);
        let is_whole = entities.contains(&"whole_task");
        assert!(
            is_whole || device.resets == 0,
            "nothing gave a reason to start over"
        );
    }
}

/// A write over few keys and few values, so that they meet.
pub(in super::super) fn statement(rng: &mut fastrand::Rng, entities: &[&str]) -> String {
    let entity = entities[rng.usize(..entities.len())];
    let (id, other) = (rng.u32(1..12), rng.u32(1..12));
    let keyed = |id: u32| match entity {
        "any_task" => (
            format!("id = 'k{}' AND part = {}", id / 3, id % 3),
            format!("'k{}', {}", id / 3, id % 3),
        ),
        _ => (format!("id = {id}"), id.to_string()),
    };
    let (is_key, key) = keyed(id);
    let conflict = if entity == "any_task" {
        "id, part"
    } else {
        "id"
    };
    let owner = ["'u1'", "'u2'", "'u3'", "NULL"][rng.usize(..4)];
    let region = ["1", "2", "3", "NULL"][rng.usize(..4)];
    let firm = ["'f1'", "'f2'", "'f3'", "NULL"][rng.usize(..4)];
    let team = ["'t1'", "'t2'", "NULL"][rng.usize(..3)];
    let user = rng.u32(1..4);
    let word = rng.u32(..1_000);
    match rng.u32(..16) {
        0..=4 => format!(
            "INSERT INTO {entity} VALUES ({key}, {owner}, {region}, {firm}, {team}, 'w{word}') \
             ON CONFLICT ({conflict}) DO UPDATE SET owner = excluded.owner, \
             region_id = excluded.region_id, words = excluded.words"
        ),
        5 => format!("UPDATE {entity} SET region_id = {region} WHERE {is_key}"),
        6 => format!("UPDATE {entity} SET owner = {owner} WHERE region_id = {region}"),
        7 => format!("UPDATE {entity} SET firm_id = {firm}, team = {team} WHERE {is_key}"),
        8 => format!("DELETE FROM {entity} WHERE {is_key}"),
        9 => format!("DELETE FROM {entity} WHERE region_id = {region} OR firm_id = {firm}"),
        10 if entity != "any_task" => format!(
            "UPDATE {entity} SET id = {other} WHERE {is_key} \
             AND NOT EXISTS (SELECT 1 FROM {entity} WHERE id = {other})"
        ),
        10 | 11 => format!("INSERT INTO region_member VALUES ('u{user}', {region})"),
        12 => {
            format!("DELETE FROM region_member WHERE user_id = 'u{user}' AND region_id = {region}")
        }
        13 => format!("UPDATE firm SET region_id = {region} WHERE id = {firm}"),
        14 => format!(
            "INSERT INTO firm SELECT 'f{user}', {region} \
             WHERE NOT EXISTS (SELECT 1 FROM firm WHERE id = 'f{user}')"
        ),
        _ => format!(
            "DELETE FROM region_member WHERE user_id = 'u{user}'; \
             INSERT INTO region_member VALUES ('u{user}', {region}), ('u{user}', 1)"
        ),
    }
}
