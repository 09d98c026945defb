//! Rows that count as deleted, on real devices over real HTTP.

use rusqlite::Connection;
use serde_json::Value as Json;

use crate::support::{Site, afield, succeed, texts};

const SQL: &str = "
    CREATE TABLE part (
      id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, is_active BOOLEAN NOT NULL DEFAULT 1
    );
    CREATE TABLE line (
      id TEXT PRIMARY KEY, part INTEGER REFERENCES part (id), words TEXT, removed TIMESTAMP
    );
    INSERT INTO part (name, is_active) VALUES ('bolt', 1), ('nut', 0), ('nail', 1);
    INSERT INTO line VALUES ('l1', 1, 'one', NULL), ('l2', 3, 'two', NULL);";

const ENTITIES: &str = r#"
[local.part]
from = "part"
pattern = "last-write-wins"
attributes = ["name"]
scope = "everyone"
delete = "is_active = false"
[local.line]
from = "line"
pattern = "detect-conflicts"
attributes = ["part", "words", "removed"]
scope = "everyone"
delete = "removed is not null"
"#;

/// What a device of a user answers.
fn device(site: &Site, user: &str, words: &[&str]) -> Json {
    let token = succeed(site.path(), &format!("token --user {user}"));
    let mut command = afield(site.path());
    command.args(["device", user, "--server", &site.address, "--json"]);
    command.args(words).env("AFIELD_TOKEN", token.trim());
    let (out, err) = texts(&command.output().unwrap());
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{words:?}: {out}{err}: {error}"))
}

fn texts_of(path: &std::path::Path, sql: &str) -> Vec<String> {
    let conn = Connection::open(path).unwrap();
    let mut statement = conn.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Names on a device.
fn names(site: &Site, user: &str) -> Vec<String> {
    let path = site.path().join(user).join(format!("{user}.afield"));
    texts_of(&path, "SELECT id || ':' || name FROM part ORDER BY id")
}

fn server(site: &Site, sql: &str) -> Vec<String> {
    texts_of(&site.path().join("shop.sqlite"), sql)
}

const PARTS: &str = "SELECT id || ':' || name || ':' || is_active FROM part ORDER BY id";

/// Ann deletes; the row stays on the server and leaves Bob's device. Bob's late edit of it is
/// parked as gone; the dispatcher brings the row back, and both have it again.
#[test]
fn p1_a_delete_hides_the_row_everywhere_and_a_revived_one_comes_again() {
    let site = Site::with(SQL, Some(ENTITIES));
    for user in ["ann", "bob"] {
        device(&site, user, &["sync"]);
        assert_eq!(names(&site, user), ["1:bolt", "3:nail"]);
    }
    device(&site, "ann", &["sql", "DELETE FROM part WHERE id = 1"]);
    let report = device(&site, "ann", &["sync"]);
    assert_eq!(report["status"], "completed", "{report}");
    assert_eq!(server(&site, PARTS), ["1:bolt:0", "2:nut:0", "3:nail:1"]);
    device(&site, "bob", &["update", "part", "1", "name=late"]);
    let report = device(&site, "bob", &["sync"]);
    assert_eq!(report["status"], "incomplete", "{report}");
    let changes = device(&site, "bob", &["changes"]).to_string();
    assert!(
        changes.contains("\"gone\"") && changes.contains("late"),
        "{changes}"
    );
    assert_eq!(names(&site, "bob"), ["3:nail"]);
    let database = Connection::open(site.path().join("shop.sqlite")).unwrap();
    let revive = "UPDATE part SET is_active = 1 WHERE id = 1";
    database.execute_batch(revive).unwrap();
    device(&site, "ann", &["sync"]);
    assert_eq!(names(&site, "ann"), ["1:bolt", "3:nail"]);
}

/// Everything about one row in one transaction on the device: made, edited, deleted; and a delete
/// whose column is among the attributes gets the server's time.
#[test]
fn p1_new_rows_are_deleted_as_well_and_the_time_is_the_servers() {
    let site = Site::with(SQL, Some(ENTITIES));
    device(&site, "ann", &["sync"]);
    device(
        &site,
        "ann",
        &["sql", "INSERT INTO part (name) VALUES ('screw')"],
    );
    device(&site, "ann", &["sync"]);
    assert_eq!(names(&site, "ann"), ["1:bolt", "3:nail", "4:screw"]);
    let sql = "DELETE FROM part WHERE name = 'screw'; DELETE FROM line WHERE id = 'l1'";
    device(&site, "ann", &["sql", sql]);
    let report = device(&site, "ann", &["sync"]);
    assert_eq!(report["status"], "completed", "{report}");
    assert_eq!(server(&site, PARTS)[3], "4:screw:0");
    let lines = server(&site, "SELECT id FROM line WHERE removed LIKE '20__-__-%'");
    assert_eq!(lines, ["l1"]);
    // A row of the same identifier brings it back.
    device(&site, "bob", &["sync"]);
    let again = "INSERT INTO line (id, part, words) VALUES ('l1', 1, 'again')";
    device(&site, "bob", &["sql", again]);
    let report = device(&site, "bob", &["sync"]);
    assert_eq!(report["status"], "completed", "{report}");
    let lines = "SELECT id || words || (removed IS NULL) FROM line ORDER BY id";
    assert_eq!(server(&site, lines), ["l1again1", "l2two1"]);
    // A line of a part that is gone for everybody refers to nothing.
    let lost = "INSERT INTO line (id, part, words) VALUES ('l3', 2, 'lost')";
    device(&site, "bob", &["sql", lost]);
    let report = device(&site, "bob", &["sync"]);
    assert_eq!(report["status"], "incomplete", "{report}");
    let changes = device(&site, "bob", &["changes"]).to_string();
    assert!(changes.contains("\"reference\""), "{changes}");
}
