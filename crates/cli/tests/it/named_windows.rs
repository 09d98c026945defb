//! Rows that devices have for a time, on real devices over real HTTP.

use rusqlite::Connection;
use serde_json::Value as Json;

use crate::support::{Site, afield, succeed, texts};

const SQL: &str = "
    CREATE TABLE visit (
      id INTEGER PRIMARY KEY, owner TEXT, words TEXT, modified_on TIMESTAMP
    );
    CREATE INDEX visit_modified_on ON visit (modified_on);
    CREATE INDEX visit_owner ON visit (owner);
    CREATE TABLE shift (id INTEGER PRIMARY KEY, words TEXT, day DATE);
    CREATE INDEX shift_day ON shift (day);
    INSERT INTO visit VALUES
      (1, 'ann', 'new', datetime('now', '-1 day')),
      (2, 'ann', 'old', datetime('now', '-15 days')),
      (3, 'bob', 'his', datetime('now', '-13 days')),
      (4, 'ann', 'never', NULL),
      (5, 'ann', 'edge', datetime('now', '-13 days'));
    INSERT INTO shift VALUES
      (1, 'today', date('now')), (2, 'soon', date('now', '+5 days')),
      (3, 'later', date('now', '+9 days')), (4, 'long ago', date('now', '-900 days'));";

const ENTITIES: &str = r#"
[local.visit]
from = "visit"
pattern = "last-write-wins"
attributes = ["owner", "words", "modified_on"]
scope = "owner = :user"
keep = "modified_on > now - 14 days"
[local.shift]
from = "shift"
pattern = "read-only-optimized"
attributes = ["words", "day"]
scope = "everyone"
keep = "day < now + 7 days"
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

/// The words of an entity's rows on a device.
fn words(site: &Site, user: &str, entity: &str) -> Vec<String> {
    let path = site.path().join(user).join(format!("{user}.afield"));
    let conn = Connection::open(path).unwrap();
    let sql = format!("SELECT words FROM {entity} ORDER BY id");
    let mut statement = conn.prepare(&sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

fn server(site: &Site, sql: &str) {
    let conn = Connection::open(site.path().join("shop.sqlite")).unwrap();
    conn.execute_batch(sql).unwrap();
}

fn sync(site: &Site, user: &str) {
    let report = device(site, user, &["sync"]);
    assert_eq!(report["status"], "completed", "{report}");
}

/// The last fortnight, the coming week; null is never in a window, and others' rows stay theirs.
#[test]
fn p5_devices_have_what_is_in_the_window_and_what_is_edited_comes_and_goes() {
    let site = Site::with(SQL, Some(ENTITIES));
    sync(&site, "ann");
    assert_eq!(words(&site, "ann", "visit"), ["new", "edge"]);
    assert_eq!(words(&site, "ann", "shift"), ["today", "soon", "long ago"]);
    // Edited elsewhere: one falls out, as if a day had passed, one comes back in.
    server(
        &site,
        "UPDATE visit SET modified_on = datetime(modified_on, '-2 days') WHERE id = 5;
         UPDATE visit SET modified_on = datetime('now') WHERE id = 2;
         UPDATE shift SET day = date(day, '+20 days') WHERE id = 2;
         UPDATE shift SET day = date(day, '-5 days') WHERE id = 3",
    );
    sync(&site, "ann");
    assert_eq!(words(&site, "ann", "visit"), ["new", "old"]);
    assert_eq!(words(&site, "ann", "shift"), ["today", "later", "long ago"]);
    let changes = device(&site, "ann", &["changes"]);
    assert_eq!(
        changes["changes"].as_array().map(Vec::len),
        Some(0),
        "{changes}"
    );
}

/// Ann edits a row that falls out of the window before she synchronises: the edit arrives, and is
/// not `gone`; then the row leaves. A new row from long ago is sent, and leaves.
#[test]
fn p1_edits_of_rows_that_fall_out_of_the_window_arrive() {
    let site = Site::with(SQL, Some(ENTITIES));
    sync(&site, "ann");
    device(&site, "ann", &["update", "visit", "5", "words=late edit"]);
    let old = "INSERT INTO visit VALUES (50, 'ann', 'minutes', '2001-01-01T00:00:00.000000')";
    let made = device(&site, "ann", &["sql", old]);
    assert!(made["error"].is_null(), "{made}");
    server(
        &site,
        "UPDATE visit SET modified_on = datetime('now', '-100 days') WHERE id = 5",
    );
    assert_eq!(
        words(&site, "ann", "visit"),
        ["new", "late edit", "minutes"]
    );
    sync(&site, "ann");
    sync(&site, "ann");
    assert_eq!(words(&site, "ann", "visit"), ["new"]);
    let conn = Connection::open(site.path().join("shop.sqlite")).unwrap();
    let mut statement = conn
        .prepare("SELECT words FROM visit WHERE id IN (5, 50) ORDER BY id")
        .unwrap();
    let rows = statement.query_map([], |row| row.get::<_, String>(0));
    let rows: Vec<_> = rows.unwrap().map(Result::unwrap).collect();
    assert_eq!(rows, ["late edit", "minutes"]);
}

/// A model with a wider window brings what the narrower one left out.
#[test]
fn p5_a_wider_window_brings_what_it_has_more() {
    let mut site = Site::with(SQL, Some(ENTITIES));
    sync(&site, "ann");
    let file = site.path().join("afield.toml");
    let model = std::fs::read_to_string(&file).unwrap();
    let wider = model
        .replace("14 days", "20 days")
        .replace("7 days", "10 days");
    std::fs::write(&file, wider).unwrap();
    site.restart();
    sync(&site, "ann");
    assert_eq!(words(&site, "ann", "visit"), ["new", "old", "edge"]);
    assert_eq!(
        words(&site, "ann", "shift"),
        ["today", "soon", "later", "long ago"]
    );
}
