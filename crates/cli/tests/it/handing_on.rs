//! Jobs that are handed on and made for others, on real devices over real HTTP.

use rusqlite::Connection;
use serde_json::Value as Json;

use crate::support::{Site, afield, texts};

const SQL: &str = "
    CREATE TABLE job (id INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT, title TEXT);
    CREATE INDEX job_owner ON job (owner);
    CREATE TABLE step (
      id TEXT PRIMARY KEY, job INTEGER REFERENCES job (id) DEFERRABLE INITIALLY DEFERRED,
      words TEXT
    );
    CREATE INDEX step_job ON step (job);
    INSERT INTO job (owner, title) VALUES ('ann', 'first'), ('bob', 'second'), ('ann', 'third');
    INSERT INTO step VALUES
      ('p1', 1, 'one'), ('p2', 1, 'two'), ('p3', 2, 'three'), ('p4', 3, 'x');";

const ENTITIES: &str = r#"
[local.job]
from = "job"
pattern = "last-write-wins"
attributes = ["owner", "title"]
scope = "owner = :user"
write_to = "everyone"
[local.step]
from = "step"
pattern = "detect-conflicts"
attributes = ["job", "words"]
scope = "job.owner = :user"
write_to = "everyone"
"#;

/// What a device of a user answers.
fn device(site: &Site, user: &str, words: &[&str]) -> Json {
    let token = crate::support::succeed(site.path(), &format!("token --user {user}"));
    let mut command = afield(site.path());
    command.args(["device", user, "--server", &site.address, "--json"]);
    command.args(words).env("AFIELD_TOKEN", token.trim());
    let (out, err) = texts(&command.output().unwrap());
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{words:?}: {out}{err}: {error}"))
}

/// The rows of a device, as `id:value`.
fn rows(site: &Site, user: &str, sql: &str) -> Vec<String> {
    let path = site.path().join(user).join(format!("{user}.afield"));
    let conn = Connection::open(path).unwrap();
    let mut statement = conn.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

const JOBS: &str = "SELECT id || ':' || title FROM job ORDER BY id";
const STEPS: &str = "SELECT id || ':' || words FROM step ORDER BY id";

/// In one transaction a step is edited, another deleted, and the job handed on, as it comes from
/// a device: the job first. All of it arrives at the other's, and leaves its author's device.
#[test]
fn p1_a_job_is_handed_on_with_the_last_edits_of_its_steps() {
    let site = Site::with(SQL, Some(ENTITIES));
    device(&site, "ann", &["sync"]);
    device(&site, "bob", &["sync"]);
    let sql = "UPDATE step SET words = 'done' WHERE id = 'p1'; DELETE FROM step WHERE id = 'p2'; \
               UPDATE job SET owner = 'bob' WHERE id = 1";
    device(&site, "ann", &["sql", sql]);
    let report = device(&site, "ann", &["sync"]);
    assert_eq!(report["status"], "completed", "{report}");
    assert_eq!(rows(&site, "ann", JOBS), ["3:third"]);
    assert_eq!(rows(&site, "ann", STEPS), ["p4:x"]);
    device(&site, "bob", &["sync"]);
    assert_eq!(rows(&site, "bob", JOBS), ["1:first", "2:second"]);
    assert_eq!(rows(&site, "bob", STEPS), ["p1:done", "p3:three"]);
    let changes = device(&site, "ann", &["changes"]);
    let mut states = changes["changes"].as_array().unwrap().iter();
    assert!(
        states.all(|change| change["state"] == "settled"),
        "{changes}"
    );
}

/// A new job for somebody else, with a step of its own, under a temporary number.
#[test]
fn p1_a_job_for_somebody_else_arrives_there_with_its_step() {
    let site = Site::with(SQL, Some(ENTITIES));
    device(&site, "ann", &["sync"]);
    let sql = "INSERT INTO job (owner, title) VALUES ('bob', 'for bob'); \
               INSERT INTO step VALUES ('n1', last_insert_rowid(), 'first things')";
    device(&site, "ann", &["sql", sql]);
    assert_eq!(rows(&site, "ann", JOBS).len(), 3, "read your writes");
    let report = device(&site, "ann", &["sync"]);
    assert_eq!(report["status"], "completed", "{report}");
    assert_eq!(rows(&site, "ann", JOBS), ["1:first", "3:third"]);
    assert_eq!(rows(&site, "ann", STEPS), ["p1:one", "p2:two", "p4:x"]);
    device(&site, "bob", &["sync"]);
    assert_eq!(rows(&site, "bob", JOBS), ["2:second", "4:for bob"]);
    assert_eq!(rows(&site, "bob", STEPS), ["n1:first things", "p3:three"]);
}

/// An edit behind the handing on is parked as gone, with what was typed; nothing of the row stays.
#[test]
fn p7_an_edit_behind_the_handing_on_is_parked_and_keeps_what_was_typed() {
    let site = Site::with(SQL, Some(ENTITIES));
    device(&site, "ann", &["sync"]);
    device(&site, "ann", &["update", "job", "1", "owner=bob"]);
    device(&site, "ann", &["update", "step", "p1", "words=late"]);
    let report = device(&site, "ann", &["sync"]);
    assert_eq!(report["status"], "incomplete", "{report}");
    let changes = device(&site, "ann", &["changes"]);
    let shown = changes.to_string();
    assert!(
        shown.contains("\"gone\"") && shown.contains("late"),
        "{shown}"
    );
    assert!(!shown.contains("\"one\""), "{shown}");
    assert_eq!(rows(&site, "ann", JOBS), ["3:third"]);
}
