//! Lookups from the team's database to a device and back: over real HTTP, with a real server.

use afield::ChangeState;
use afield::engine::SyncStatus;
use afield::protocol::{Code, Value};
use rusqlite::types::Value as Cell;

use crate::world::{Device, World, rows, server_settings};

/// Rows that show one company: more than a page has.
const VISITS: usize = 60;

const SCHEMA: &str = "
    CREATE TABLE region (id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE company (
      id INTEGER PRIMARY KEY, name TEXT, phone TEXT, region_id INTEGER REFERENCES region (id)
    );
    CREATE INDEX company_region ON company (region_id);
    CREATE TABLE visit (
      id INTEGER PRIMARY KEY, who TEXT NOT NULL,
      company_id INTEGER REFERENCES company (id) ON DELETE SET NULL, note TEXT
    );
    CREATE INDEX visit_company ON visit (company_id);
    CREATE INDEX visit_who ON visit (who);
    INSERT INTO region VALUES (1, 'north'), (2, 'south');
    INSERT INTO company VALUES (1, 'Adler', NULL, 1), (2, 'Bauer', NULL, NULL);";

/// Regions are on no device, and are captured all the same.
const ENTITIES: &str = r#"
[local.company]
from = "company"
pattern = "read-only-optimized"
attributes = ["name"]
scope = "everyone"

[local.visit]
from = "visit"
pattern = "detect-conflicts"
attributes = ["who", "company_id", "note"]
scope = "who = :user"
[local.visit.lookup]
company_name = "company_id.name"
region_name = "company_id.region_id.name"
"#;

fn world() -> (World, Device) {
    let world = World::of(SCHEMA, &(server_settings(7) + ENTITIES), "");
    let visit = |id: usize| {
        let company = ["1", "1", "2", "NULL"][id % 4];
        format!("({id}, 'ann', {company}, 'note {id}')")
    };
    let visits: Vec<String> = (1..=VISITS).map(visit).collect();
    world.team_writes(&format!(
        "INSERT INTO visit VALUES {}, (1000, 'bob', 1, 'his')",
        visits.join(", ")
    ));
    let device = world.downloaded("phone", "ann");
    check(&world, &device);
    (world, device)
}

/// The device shows Ann's visits as the team's database joins them.
fn check(world: &World, device: &Device) {
    let here = "SELECT id, company_id, note, company_name, region_name FROM visit ORDER BY id";
    let there = "SELECT v.id, v.company_id, v.note, c.name, r.name FROM visit AS v \
                 LEFT JOIN company AS c ON c.id = v.company_id \
                 LEFT JOIN region AS r ON r.id = c.region_id WHERE v.who = 'ann' ORDER BY v.id";
    assert_eq!(rows(&device.raw(), here), rows(&world.team(), there));
}

fn synced(world: &World, device: &Device) {
    let report = device.sync();
    assert_eq!(report.status, SyncStatus::Completed, "{report:?}");
    check(world, device);
}

#[test]
fn p5_what_rows_show_follows_its_sources() {
    let (world, device) = world();
    for sql in [
        "UPDATE company SET name = 'Adler & Co' WHERE id = 1",
        "UPDATE region SET name = 'north-east' WHERE id = 1",
        "UPDATE company SET region_id = 2 WHERE id = 1",
        "UPDATE company SET region_id = 1 WHERE id = 2",
        "UPDATE company SET region_id = NULL; DELETE FROM region",
        "PRAGMA foreign_keys = off; DELETE FROM company WHERE id = 1",
        "INSERT INTO company VALUES (1, 'Adler again', NULL, NULL)",
        "UPDATE visit SET company_id = 2 WHERE company_id IS NULL; DELETE FROM visit WHERE id < 9",
    ] {
        world.team_writes(sql);
        synced(&world, &device);
    }
    assert_eq!(
        device.read("SELECT count(*) FROM visit WHERE who = 'bob'"),
        Some("0".into())
    );
}

#[test]
fn p3_an_edit_of_a_row_whose_source_was_renamed_is_no_conflict() {
    let (world, device) = world();
    device.write("UPDATE visit SET note = 'mine' WHERE id = 1");
    device.write("UPDATE visit SET company_id = 2 WHERE id = 4");
    world.team_writes("UPDATE company SET name = 'renamed'; UPDATE region SET name = 'too'");
    synced(&world, &device);
    assert_eq!(device.count(ChangeState::Parked), 0);
    let shown = "SELECT note || company_name || region_name FROM visit WHERE id = 1";
    assert_eq!(device.read(shown), Some("minerenamedtoo".into()));
    let moved = "SELECT company_name FROM visit WHERE id = 4";
    assert_eq!(device.read(moved), Some("renamed".into()));
    let note = world.value("SELECT note FROM visit WHERE id = 1");
    assert_eq!(note, Cell::Text("mine".into()));
}

#[test]
fn p7_lookups_are_not_written() {
    let (world, device) = world();
    for sql in [
        "UPDATE visit SET company_name = 'mine' WHERE id = 1",
        "UPDATE visit SET note = 'x', region_name = NULL WHERE id = 1",
        "INSERT INTO visit (id, who, company_name) VALUES (777, 'ann', 'mine')",
    ] {
        let error = device
            .client
            .store()
            .transaction(|tx| tx.execute(sql, &afield::Params::none()))
            .unwrap_err();
        assert_eq!(error.code(), &Code::READ_ONLY, "{sql}: {error}");
        let plain = rusqlite::Connection::open(device.file()).unwrap();
        let error = plain.execute_batch(sql).unwrap_err().to_string();
        assert!(error.contains("afield:read-only:"), "{sql}: {error}");
    }
    let set = [("region_name".to_owned(), Value::from("mine"))].into();
    let error = device.client.store().update("visit", &[1.into()], &set);
    assert_eq!(error.unwrap_err().code(), &Code::READ_ONLY);
    device.write("INSERT INTO visit (id, who, company_id) VALUES (777, 'ann', 1)");
    let fresh = "SELECT company_name FROM visit WHERE id = 777";
    assert_eq!(device.read(fresh), None);
    synced(&world, &device);
    assert_eq!(device.read(fresh), Some("Adler".into()));
}

#[test]
fn p9_prepare_shows_and_removes_what_lookups_need() {
    let (world, device) = world();
    drop(device);
    let team = world.team();
    let captured = rows(&team, "SELECT name FROM afield_table ORDER BY name");
    let names = [
        "afield_source1_company",
        "afield_source1_region",
        "company",
        "visit",
    ];
    assert_eq!(captured, names.map(|name| vec![Cell::Text(name.into())]));
    let mut world = world;
    drop(team);
    world.kill_server();
    let removed = crate::support::succeed(world.path(), "prepare --remove");
    assert!(removed.contains("nothing of Afield is left"), "{removed}");
    let left = world.value("SELECT count(*) FROM sqlite_schema WHERE name LIKE '%afield%'");
    assert_eq!(left, Cell::Integer(0));
    let plan = crate::support::succeed(world.path(), "prepare --dry-run");
    assert!(
        plan.contains("CREATE TABLE \"afield_source1_region\""),
        "{plan}"
    );
    assert!(!plan.contains("no index"), "{plan}");
    world.team_writes("DROP INDEX visit_company");
    let plan = crate::support::succeed(world.path(), "prepare --dry-run");
    assert!(
        plan.contains("CREATE INDEX \"visit_company_id_id\" ON \"visit\" (\"company_id\", \"id\")"),
        "{plan}"
    );
}
