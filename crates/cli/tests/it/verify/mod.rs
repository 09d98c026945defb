//! Whether a device has exactly the server's rows: compared, shown, repaired; over real HTTP, with
//! a real server and real files.

mod command;
mod damage;
mod random;

use afield::engine::{Report, SyncStatus, Verified};
use afield::native::VerifyOptions;
use afield::protocol::Value;
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::world::{Device, PATIENCE, World, server_settings};

/// One entity of each kind: a scope of two ways with a lookup and a soft delete, rows that the
/// server numbers, a window, everyone's rows, sent whole, and rows that are never pulled.
const SCHEMA: &str = "
    CREATE TABLE member (user_id TEXT NOT NULL, region INTEGER NOT NULL);
    CREATE TABLE company (id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE visit (
      id TEXT NOT NULL PRIMARY KEY, owner TEXT, region INTEGER,
      company_id INTEGER REFERENCES company (id), words TEXT, amount REAL, photo BLOB,
      is_active BOOLEAN NOT NULL DEFAULT 1
    );
    CREATE INDEX visit_owner ON visit (owner);
    CREATE INDEX visit_region ON visit (region);
    CREATE INDEX visit_company ON visit (company_id);
    CREATE TABLE task (
      id INTEGER PRIMARY KEY AUTOINCREMENT, visit_id TEXT REFERENCES visit (id), title TEXT
    );
    CREATE TABLE shift (id INTEGER PRIMARY KEY, words TEXT, day DATE);
    CREATE INDEX shift_day ON shift (day);
    CREATE TABLE price (
      name TEXT NOT NULL, grade INTEGER NOT NULL, cents, PRIMARY KEY (name, grade)
    );
    CREATE TABLE remark (id INTEGER PRIMARY KEY AUTOINCREMENT, words TEXT);
    INSERT INTO member VALUES ('ann', 1), ('ann', 2), ('bob', 2), ('bob', 3);
    INSERT INTO company VALUES (1, 'Adler'), (2, 'Bauer');";

const ENTITIES: &str = r#"
[scope.regions]
query = "SELECT region FROM member WHERE user_id = :user"

[local.visit]
from = "visit"
pattern = "detect-conflicts"
attributes = ["owner", "region", "company_id", "words", "amount", "photo"]
scope = "owner = :user or region in regions"
delete = "is_active = false"
[local.visit.lookup]
company_name = "company_id.name"

[local.company]
from = "company"
pattern = "read-only-optimized"
attributes = ["name"]
scope = "everyone"

[local.task]
from = "task"
pattern = "last-write-wins"
attributes = ["visit_id", "title"]
id = "server"
scope = "everyone"

[local.shift]
from = "shift"
pattern = "last-write-wins"
attributes = ["words", "day"]
scope = "everyone"
keep = "day > now - 14 days"

[local.price]
from = "price"
pattern = "read-only"
attributes = ["cents"]
scope = "everyone"

[local.remark]
from = "remark"
pattern = "last-write-wins"
insert_only = true
attributes = ["words"]
scope = "everyone"
"#;

/// Every entity whose rows devices have, with the columns that identify a row.
const PULLED: [&str; 5] = ["visit", "company", "task", "shift", "price"];

/// Visits of each owner and region, and some rows of all others.
const VISITS: usize = 90;

fn world() -> World {
    let world = World::of(SCHEMA, &(server_settings(50) + ENTITIES), "");
    let visit = |n: usize| {
        let owner = ["'ann'", "'bob'", "NULL"][n % 3];
        let region = ["1", "2", "3", "NULL"][n % 4];
        let company = ["1", "2", "NULL"][n % 3];
        let active = u8::from(n % 10 != 9);
        format!("('v{n:03}', {owner}, {region}, {company}, 'w{n}', {n}.5, x'00ff', {active})")
    };
    let visits: Vec<String> = (0..VISITS).map(visit).collect();
    world.team_writes(&format!("INSERT INTO visit VALUES {}", visits.join(", ")));
    world.team_writes(
        "INSERT INTO task (visit_id, title) SELECT id, 't ' || id FROM visit WHERE id < 'v040';
         INSERT INTO shift SELECT n, 'day ' || n, date('now', (n - 20) || ' days') FROM (
           SELECT row_number() OVER () AS n FROM visit WHERE id < 'v030');
         INSERT INTO price SELECT 'p' || (n / 3), n % 3, n * 10 FROM (
           SELECT row_number() OVER () AS n FROM visit WHERE id < 'v030');
         INSERT INTO price VALUES ('text', 1, '7'), ('real', 1, 7.0), ('odd', 1, 'seven')",
    );
    world
}

fn verify(device: &Device, repair: bool) -> Report {
    let options = VerifyOptions {
        unit: None,
        repair,
        deadline: Some(PATIENCE),
    };
    let report = device.client.verify(&options).unwrap();
    assert_eq!(report.status, SyncStatus::Completed, "{:?}", report.error);
    report
}

fn verified(device: &Device, repair: bool) -> Verified {
    *verify(device, repair).verified.unwrap()
}

/// Writes to the device's file, or the team's, with nobody capturing or marking it.
fn unseen(file: &std::path::Path, sql: &str) -> usize {
    let conn = Connection::open(file).unwrap();
    conn.busy_timeout(PATIENCE).unwrap();
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)
        .unwrap();
    conn.execute_batch(sql).unwrap();
    usize::try_from(conn.total_changes()).unwrap()
}

/// Everything that the store has beside its bookkeeping of times and numbers: rows, the server's
/// rows below changes, and what brought them.
fn rows_of(device: &Device) -> Vec<Vec<Vec<Value>>> {
    let tables = PULLED.iter().flat_map(|name| {
        ["", "afield_server_", "afield_scope_"].map(|prefix| format!("{prefix}{name}"))
    });
    let known = |table: &String| {
        let sql = format!("SELECT 1 FROM sqlite_schema WHERE name = '{table}'");
        device.read(&sql).is_some()
    };
    let read = |table: String| {
        let sql = format!("SELECT * FROM {table} ORDER BY 1, 2");
        let rows = device.client.store().query(&sql, &afield::Params::none());
        rows.unwrap().rows
    };
    tables.filter(known).map(read).collect()
}

/// A number that the team's database answers.
fn count(world: &World, sql: &str) -> i64 {
    match world.value(sql) {
        rusqlite::types::Value::Integer(n) => n,
        other => panic!("{sql}: {other:?}"),
    }
}
