//! Random damage among random edits: after a repair the device has exactly the server's rows, and
//! every edit is where it was.

use afield::engine::SyncStatus;
use afield::protocol::Value;
use rusqlite::config::DbConfig;

use super::{Device, PATIENCE, unseen, verified, world};
use crate::world::World;

/// A sequence of numbers that a seed decides.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.roll(choices.len() as u64)).unwrap()]
    }
}

/// Cases of an ordinary run; `AFIELD_CASES=0..300` runs others.
fn cases() -> std::ops::Range<u64> {
    let text = std::env::var("AFIELD_CASES").unwrap_or_else(|_| "0..8".into());
    let (from, to) = text.split_once("..").unwrap();
    from.parse().unwrap()..to.parse().unwrap()
}

/// What somebody writes: by anybody, on either side.
fn write(dice: &mut Dice, tag: &str) -> String {
    let visit = format!("v{:03}", dice.roll(100));
    let n = dice.roll(40);
    let owner = dice.of(&["'ann'", "'bob'", "NULL"]);
    let region = dice.of(&["1", "2", "3", "NULL"]);
    match dice.roll(12) {
        0 => format!("DELETE FROM visit WHERE id = '{visit}'"),
        1 => format!("UPDATE visit SET words = '{tag}' WHERE id = '{visit}'"),
        2 => format!("UPDATE visit SET amount = {n} / 7.0, photo = NULL WHERE id = '{visit}'"),
        3 => format!(
            "UPDATE visit SET words = '{tag}', amount = 1 \
             WHERE id > 'v0{n:02}' AND id < 'v0{n:02}z'"
        ),
        4 => format!(
            "INSERT OR IGNORE INTO visit (id, owner, region, words) \
             VALUES ('{visit}', {owner}, {region}, '{tag}')"
        ),
        5 => format!("DELETE FROM task WHERE id = {n}"),
        6 => format!("UPDATE task SET title = '{tag}' WHERE id = {n}"),
        7 => format!("INSERT INTO task (title) VALUES ('{tag}')"),
        8 => format!("UPDATE shift SET words = '{tag}' WHERE id = {n}"),
        9 => format!(
            "UPDATE shift SET day = date('now', '{n} days') WHERE id = {}",
            n + 1
        ),
        10 => format!(
            "INSERT OR IGNORE INTO shift VALUES ({}, '{tag}', date('now'))",
            n + 50
        ),
        _ => format!("DELETE FROM shift WHERE id = {n}"),
    }
}

/// What nobody captures; on the device bookkeeping is hit too.
fn damage(dice: &mut Dice, tag: &str) -> String {
    let (visit, n) = (format!("v{:03}", dice.roll(100)), dice.roll(30));
    match dice.roll(9) {
        0 => format!("DELETE FROM company WHERE id = {}", 1 + n % 2),
        1 => format!("UPDATE company SET name = '{tag}' WHERE id = {}", 1 + n % 2),
        2 => format!("DELETE FROM price WHERE name = 'p{n}'"),
        3 => format!("INSERT OR IGNORE INTO price VALUES ('q{n}', 7, {n})"),
        4 => format!("UPDATE visit SET company_name = '{tag}' WHERE id = '{visit}'"),
        _ => write(dice, tag),
    }
}

fn device_damage(dice: &mut Dice, tag: &str) -> String {
    let (visit, n) = (format!("v{:03}", dice.roll(100)), dice.roll(30));
    match dice.roll(8) {
        0 => format!("DELETE FROM afield_scope_visit WHERE id = '{visit}'"),
        1 => format!("UPDATE afield_scope_visit SET afield_scope_1 = {n} WHERE id = '{visit}'"),
        2 => format!("UPDATE afield_server_visit SET words = '{tag}' WHERE id < 'v0{n:02}'"),
        3 => format!("UPDATE afield_server_task SET title = '{tag}' WHERE id < {n}"),
        _ => damage(dice, tag),
    }
}

/// The rows that ann should have of each entity, by the team's tables, and as her device has the
/// server's rows.
fn check(world: &World, device: &Device, case: u64) {
    let below = |name: &str, columns: &str| {
        let same = match name {
            "price" => "o.name = t.name AND o.grade = t.grade",
            _ => "o.id = t.id",
        };
        format!(
            "SELECT {columns} FROM {name} AS t \
             WHERE NOT EXISTS (SELECT 1 FROM afield_server_{name} AS o WHERE {same}) \
             UNION ALL SELECT {columns} FROM afield_server_{name} WHERE existed ORDER BY 1, 2"
        )
    };
    let visit = "id, owner, region, company_id, words, amount, photo";
    let scope = "is_active AND (owner = 'ann' OR \
                 region IN (SELECT region FROM member WHERE user_id = 'ann'))";
    let truth = [
        (
            "visit",
            format!("{visit}, company_name"),
            format!(
                "SELECT {visit}, (SELECT name FROM company WHERE id = company_id) FROM visit \
                 WHERE {scope} ORDER BY 1, 2"
            ),
        ),
        (
            "company",
            "id, name".into(),
            "SELECT id, name FROM company ORDER BY 1, 2".into(),
        ),
        (
            "task",
            "id, visit_id, title".into(),
            "SELECT id, visit_id, title FROM task ORDER BY 1, 2".into(),
        ),
        (
            "price",
            "name, grade, CAST(cents AS TEXT)".into(),
            "SELECT name, grade, CAST(cents AS TEXT) FROM price ORDER BY 1, 2".into(),
        ),
    ];
    let team = world.team();
    for (entity, columns, sql) in truth {
        let expected = crate::world::rows(&team, &sql);
        let found = crate::world::rows(&device.raw(), &below(entity, &columns));
        assert_eq!(found, expected, "case {case}: {entity}");
    }
}

/// What the user sees of rows that carry his changes.
fn edits(device: &Device) -> Vec<Vec<Value>> {
    let sql = "SELECT c.entity, c.key, c.op, c.base, c.sets, c.overlay, g.state \
               FROM afield_change AS c JOIN afield_group AS g ON g.n = c.group_n ORDER BY c.n";
    device
        .client
        .store()
        .query(sql, &afield::Params::none())
        .unwrap()
        .rows
}

/// The cells of a visit that changes in the outbox have set, as they are seen.
fn typed(device: &Device) -> Vec<Vec<Value>> {
    let sql = "SELECT v.id, v.words FROM visit AS v JOIN afield_server_visit AS s ON s.id = v.id \
               WHERE v.words LIKE 'mine%' ORDER BY v.id";
    device
        .client
        .store()
        .query(sql, &afield::Params::none())
        .unwrap()
        .rows
}

fn has_server_row(device: &Device, id: &Value) -> bool {
    let sql = format!("SELECT 1 FROM afield_server_visit WHERE existed AND id = '{id}'");
    device.read(&sql).is_some()
}

fn case(world: &World, device: &Device, case: u64) {
    let dice = &mut Dice(0x9e37_79b9_7f4a_7c15 ^ (case + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9));
    for at in 0..dice.roll(4) {
        let sql = write(dice, &format!("team {case} {at}"));
        // A visit that tasks refer to stays.
        let _ = world.team().execute_batch(&sql);
    }
    if dice.roll(3) > 0 {
        let report = device.sync();
        assert_ne!(
            report.status,
            SyncStatus::Failed,
            "case {case}: {:?}",
            report.error
        );
    }
    for at in 0..dice.roll(5) {
        device.write(&write(dice, &format!("mine {case} {at}")));
    }
    let (before, seen) = (edits(device), typed(device));
    for at in 0..=dice.roll(5) {
        unseen(
            &device.file(),
            &device_damage(dice, &format!("damage {case} {at}")),
        );
    }
    if dice.roll(2) == 0 {
        team_unseen(world, &damage(dice, &format!("bypass {case}")));
    }
    let found = verified(device, true);
    assert!(found.equal_now, "case {case}: {found:?}");
    assert!(found.repaired <= found.found(), "case {case}: {found:?}");
    check(world, device, case);
    let after = edits(device);
    let kept = before.iter().all(|edit| {
        // A row that is gone ends as an overlay, or loses its base; what was typed stays.
        let same = |other: &&Vec<Value>| {
            (&other[..3], &other[4], &other[6]) == (&edit[..3], &edit[4], &edit[6])
        };
        after.iter().any(|other| same(&other))
    });
    assert!(
        kept && before.len() == after.len(),
        "case {case}: {before:?}\n{after:?}"
    );
    let now = typed(device);
    let still = |row: &&Vec<Value>| now.contains(row);
    let lost: Vec<_> = seen.iter().filter(|row| !still(row)).collect();
    // A row that is not there any more shows nothing; else what was typed is seen.
    let is_gone = |row: &&&Vec<Value>| !has_server_row(device, &row[0]);
    let gone = lost.iter().filter(is_gone).count();
    assert_eq!(lost.len(), gone, "case {case}: {lost:?} vanished");
    let found = verified(device, false);
    assert!(found.equal, "case {case}: {found:?}");
}

/// The team's triggers are switched off; those that keep its own tables whole do not matter here.
fn team_unseen(world: &World, sql: &str) {
    let conn = world.team();
    conn.busy_timeout(PATIENCE).unwrap();
    conn.pragma_update(None, "foreign_keys", false).unwrap();
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)
        .unwrap();
    // What names a column that only devices have does nothing here.
    let _ = conn.execute_batch(sql);
}

#[test]
fn p5_random_damage_among_random_edits_is_repaired() {
    let world = world();
    let device = world.downloaded("phone", "ann");
    for number in cases() {
        case(&world, &device, number);
    }
    let status = device.client.store().status().unwrap().verify;
    assert!(status.found > 5 && status.uncaptured == 0, "{status:?}");
}
