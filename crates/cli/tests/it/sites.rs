//! Sites, their jobs and the steps of these, for tests of what becomes of changes when a server
//! forgets or is set back.

use afield::ChangeState;

use crate::proxy::Fault;
use crate::world::{Device, World, eventually, rows, server_settings};

const SCHEMA: &str = "
    CREATE TABLE site (id TEXT PRIMARY KEY NOT NULL, name TEXT, n INTEGER NOT NULL DEFAULT 0);
    CREATE TABLE job (id INTEGER PRIMARY KEY AUTOINCREMENT, site TEXT, words TEXT);
    CREATE TABLE step (job INTEGER NOT NULL REFERENCES job (id), pos INTEGER NOT NULL, words TEXT,
      PRIMARY KEY (job, pos));
    CREATE TABLE audit (n INTEGER PRIMARY KEY, words TEXT);
    INSERT INTO site VALUES ('s1', 'one', 0), ('s2', 'two', 0), ('s3', 'three', 10),
      ('s4', 'four', 0), ('s5', 'five', 0), ('s6', 'six', 0), ('s7', 'seven', 0),
      ('s8', 'eight', 0), ('s11', 'eleven', 0);
    INSERT INTO job VALUES (1, 's1', 'paint'), (2, 's1', 'sweep'), (3, 's3', 'mow');
    INSERT INTO step VALUES (1, 1, 'primer');
";

/// What a device writes without sending it: eleven groups behind one whose answer is lost.
const UNSENT: [&str; 11] = [
    "INSERT INTO site (id, name) VALUES ('s9', 'nine')",
    "INSERT INTO job (site, words) VALUES ('s9', 'dig'); \
     INSERT INTO step (job, pos, words) SELECT max(id), 1, 'spade' FROM job",
    "INSERT INTO step VALUES (1, 2, 'coat')",
    "UPDATE site SET name = 'uno' WHERE id = 's1'",
    "UPDATE site SET name = 'dos' WHERE id = 's2'",
    "UPDATE job SET words = 'scrub' WHERE id = 2",
    "UPDATE site SET n = n + 5 WHERE id = 's3'",
    "DELETE FROM site WHERE id = 's4'",
    "DELETE FROM job WHERE id = 3",
    "UPDATE step SET words = 'undercoat' WHERE job = 1 AND pos = 1",
    "UPDATE job SET words = 'dig deep' WHERE words = 'dig'",
];

/// What the team writes meanwhile: rows that the device edited, deleted, or adds to.
pub(crate) const MEANWHILE: &str = "
    DELETE FROM site WHERE id IN ('s2', 's6'); DELETE FROM job WHERE id = 3;
    UPDATE job SET words = 'vacuum' WHERE id = 2; UPDATE site SET n = n + 1 WHERE id = 's3';
    INSERT INTO site VALUES ('s10', 'ten', 0)";

/// A world of sites, and a device that has downloaded.
pub(crate) fn sites() -> (World, Device) {
    let world = World::of(SCHEMA, &(server_settings(3) + ENTITIES), AUDIT);
    let device = world.downloaded("phone", "ann");
    let second = device.sync();
    assert_eq!(second.outcomes.len(), 0);
    (world, device)
}

/// Writes twelve changes, of which one is applied and never heard of.
pub(crate) fn write_twelve(world: &World, device: &Device) {
    device.write("UPDATE site SET n = n + 7 WHERE id = 's5'");
    lose_answer(world, device);
    for sql in UNSENT {
        device.write(sql);
    }
    let (pending, sent) = (ChangeState::Pending, ChangeState::Sent);
    assert_eq!((device.count(pending), device.count(sent)), (12, 1));
}

fn lose_answer(world: &World, device: &Device) {
    world.proxy.rule(|request| match request.is_sync() {
        true => Fault::LoseAnswer,
        false => Fault::Pass,
    });
    eventually("it is applied", || {
        device.sync();
        world.value("SELECT n FROM site WHERE id = 's5'") == 7.into()
    });
    world.proxy.heal();
}

/// Everything that is written to the server's tables, by whomever.
pub(crate) const AUDIT: &str = "
    CREATE TRIGGER a1 AFTER INSERT ON site BEGIN
      INSERT INTO audit (words) VALUES ('+' || NEW.id); END;
    CREATE TRIGGER a2 AFTER UPDATE ON site BEGIN
      INSERT INTO audit (words) VALUES (NEW.id || NEW.name || NEW.n); END;
    CREATE TRIGGER a3 AFTER DELETE ON site BEGIN
      INSERT INTO audit (words) VALUES ('-' || OLD.id); END;
    CREATE TRIGGER a4 AFTER INSERT ON job BEGIN
      INSERT INTO audit (words) VALUES ('+' || NEW.words); END;
    CREATE TRIGGER a5 AFTER UPDATE ON job BEGIN
      INSERT INTO audit (words) VALUES (NEW.words); END;
    CREATE TRIGGER a6 AFTER INSERT ON step BEGIN
      INSERT INTO audit (words) VALUES ('+' || NEW.words); END;
    CREATE TRIGGER a7 AFTER UPDATE ON step BEGIN
      INSERT INTO audit (words) VALUES (NEW.words); END;
";

pub(crate) const ENTITIES: &str = r#"
[local.site]
from = "site"
pattern = "last-write-wins"
attributes = ["name", "n"]
counter = ["n"]
scope = "everyone"
[local.job]
from = "job"
pattern = "detect-conflicts"
attributes = ["site", "words"]
id = "server"
scope = "everyone"
[local.step]
from = "step"
pattern = "last-write-wins"
attributes = ["words"]
scope = "everyone"
"#;

const TABLES: [&str; 3] = [
    "SELECT id, name, n FROM site ORDER BY id",
    "SELECT id, site, words FROM job ORDER BY id",
    "SELECT job, pos, words FROM step ORDER BY job, pos",
];

/// What the three tables hold, on either side.
pub(crate) fn tables(conn: &rusqlite::Connection) -> Vec<Vec<Vec<rusqlite::types::Value>>> {
    TABLES.iter().map(|sql| rows(conn, sql)).collect()
}

/// How often something was written to the server's tables.
pub(crate) fn times(world: &World, words: &str) -> i64 {
    let sql = "SELECT count(*) FROM audit WHERE words = ?1";
    let team = world.team();
    team.query_row(sql, [words], |row| row.get(0)).unwrap()
}
