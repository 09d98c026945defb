//! `afield why`: a dispatcher's questions, and every answer there is.

use std::fs;
use std::path::Path;
use std::process::Output;

use rusqlite::Connection;
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use crate::support::{afield, texts};

const SQL: &str = "
    PRAGMA foreign_keys = OFF;
    CREATE TABLE region (id INTEGER PRIMARY KEY, name TEXT);
    CREATE TABLE company (id INTEGER PRIMARY KEY, region_id INTEGER REFERENCES region (id));
    CREATE TABLE member (who TEXT, region_id INTEGER);
    CREATE TABLE visit (
      id INTEGER PRIMARY KEY, company_id INTEGER REFERENCES company (id), owner TEXT, team TEXT,
      hidden INTEGER REFERENCES region (id)
    );
    CREATE TABLE stock (place TEXT, part INTEGER, owner TEXT, PRIMARY KEY (place, part));
    CREATE TABLE event (id INTEGER PRIMARY KEY, owner TEXT);
    CREATE TABLE code (code TEXT PRIMARY KEY, is_active BOOLEAN);
    CREATE TABLE shift (id INTEGER PRIMARY KEY, day DATE);
    INSERT INTO shift VALUES (1, '1999-12-31'), (2, '9999-12-31'), (3, NULL);
    INSERT INTO region VALUES (1, 'north'), (2, 'south');
    INSERT INTO company VALUES (10, 1), (20, 2), (30, NULL);
    INSERT INTO member VALUES ('ann', 1), ('many', 1);
    INSERT INTO member
      WITH RECURSIVE n (value) AS (SELECT 100 UNION ALL SELECT value + 1 FROM n WHERE value < 130)
      SELECT 'many', value FROM n;
    INSERT INTO visit VALUES (1, 10, 'bob', 'red', NULL), (2, 20, 'bob', 'red', NULL),
      (3, 30, NULL, NULL, NULL), (4, 99, 'bob', 'red', NULL), (5, NULL, 'ann', 'blue', 1);
    INSERT INTO stock VALUES ('shelf', -1, 'ann'), ('shelf', 2, 'bob');
    INSERT INTO event VALUES (1, 'ann');
    INSERT INTO code VALUES ('a', 1), ('b', 0);";

const MODEL: &str = r#"
[server]
database = "sqlite:team.db"
[auth]
secret_file = "secret"
[local.visit]
from = "visit"
pattern = "last-write-wins"
attributes = ["company_id", "owner", "team", "hidden"]
scope = "owner = :user or company_id.region_id in regions"
write = "team = :claim.team"
write_to = "team = :claim.team or owner = :user"
[local.company]
from = "company"
pattern = "read-only-optimized"
attributes = ["region_id"]
scope = "everyone"
[local.stock]
from = "stock"
pattern = "detect-conflicts"
attributes = ["owner"]
scope = "owner = :user"
[local.event]
from = "event"
pattern = "last-write-wins"
attributes = ["owner"]
scope = "owner = :user"
insert_only = true
[local.code]
from = "code"
pattern = "read-only"
attributes = []
scope = "everyone"
delete = "is_active = false"
[local.shift]
from = "shift"
pattern = "read-only"
attributes = ["day"]
scope = "everyone"
keep = "day > now - 14 days"
[local.draft]
[local.draft.attribute]
title = "text"
[scope.regions]
query = "SELECT region_id FROM member WHERE who = :user"
"#;

/// A folder with a model and a database that nobody has prepared.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let conn = Connection::open(folder.path().join("team.db")).unwrap();
    conn.execute_batch(SQL).unwrap();
    fs::write(folder.path().join("afield.toml"), MODEL).unwrap();
    folder
}

fn why(folder: &Path, words: &[&str]) -> Output {
    afield(folder).arg("why").args(words).output().unwrap()
}

/// What is said to people.
fn said(folder: &Path, words: &[&str]) -> String {
    let output = why(folder, words);
    let (out, err) = texts(&output);
    assert!(output.status.success(), "{words:?}: {out}{err}");
    out
}

/// What is said to scripts.
fn told(folder: &Path, words: &[&str]) -> Json {
    let words: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
    serde_json::from_str(&said(folder, &words)).unwrap()
}

/// The answers of the scope's conditions, way by way.
fn answers(told: &Json) -> Vec<Vec<&str>> {
    let ways = told["stages"][2]["rule"].as_array().unwrap();
    ways.iter()
        .map(|way| {
            let conditions = way["conditions"].as_array().unwrap().iter();
            conditions
                .map(|it| it["answer"].as_str().unwrap())
                .collect()
        })
        .collect()
}

#[test]
fn each_reason_is_told_with_the_values_on_the_way() {
    let folder = folder();
    let path = folder.path();
    for (words, on_devices, expected) in [
        // By its company's region.
        (
            ["visit", "1", "--user", "ann"],
            true,
            [["others-held"], ["held"]],
        ),
        // Of another region.
        (
            ["visit", "2", "--user", "ann"],
            false,
            [["others-held"], ["others-held"]],
        ),
        // Null in the column itself, and at the end of the path.
        (["visit", "3", "--user", "ann"], false, [["null"], ["null"]]),
        // A company that is not there.
        (
            ["visit", "4", "--user", "ann"],
            false,
            [["others-held"], ["broken"]],
        ),
        // His own, and null where the path begins.
        (["visit", "5", "--user", "ann"], true, [["held"], ["null"]]),
        // Somebody whom the query does not know.
        (
            ["visit", "1", "--user", "eve"],
            false,
            [["others-held"], ["nothing-held"]],
        ),
        // No such row.
        (
            ["visit", "9", "--user", "ann"],
            false,
            [["no-row"], ["no-row"]],
        ),
    ] {
        let told = told(path, &words);
        assert_eq!(told["on_devices"], on_devices, "{words:?}: {told}");
        assert_eq!(answers(&told), expected, "{words:?}: {told}");
        assert_eq!(told["exists"], words[1] != "9", "{told}");
    }
}

#[test]
fn people_read_the_path_step_by_step() {
    let folder = folder();
    let path = folder.path();
    let text = said(path, &["visit", "2", "--user", "ann"]);
    for line in [
        "visit 2 does not go to ann's devices.",
        "yes row      the table `visit` has such a row",
        "yes pattern  last-write-wins: devices read and write it",
        "NO  scope    none of 2 ways lets it in:",
        "NO  owner = :user",
        "owner is 'bob'",
        "the user is 'ann'",
        "NO  company_id.region_id in regions",
        "company_id is 20 -> company with id 20: region_id is 2",
        "[scope.regions] finds 1",
        "NO  write    it is not in the user's scope: a change of it is answered as if it were not",
        "read-only on every device: hidden",
    ] {
        assert!(text.contains(line), "{line}:\n{text}");
    }
    for (words, line) in [
        (
            ["visit", "4", "--user", "ann"],
            "company_id is 99 -> no row of company has id 99",
        ),
        (["visit", "3", "--user", "ann"], "null is nobody's"),
        (
            ["visit", "9", "--user", "ann"],
            "NO  row      the table `visit` has no such row",
        ),
        (
            ["visit", "1", "--user", "eve"],
            "[scope.regions] finds nothing for eve",
        ),
        (["visit", "2", "--user", "many"], "(32 in all)"),
        (
            ["visit", "1", "--user", "ann"],
            "the token has no claim `team`; if it should, ask with",
        ),
        (
            ["company", "10", "--user", "ann"],
            "NO  write    no device writes this entity",
        ),
        (
            ["code", "a", "--user", "ann"],
            "yes scope    everyone: every user gets every row",
        ),
        (
            ["event", "1", "--user", "ann"],
            "NO  pattern  last-write-wins: devices create its rows",
        ),
        (
            ["visit", "1", "--user", "ann"],
            "visit 1 goes to ann's devices, with the next sync.",
        ),
    ] {
        let text = said(path, &words);
        assert!(text.contains(line), "{line}:\n{text}");
    }
}

#[test]
fn who_may_write_and_what_it_may_become_is_told_too() {
    let folder = folder();
    let path = folder.path();
    let ask = |claim: &str| {
        let words = ["visit", "1", "--user", "ann", "--claim", claim];
        let told = told(path, &words);
        let may = |key: &str| told[key]["may"].as_bool().unwrap();
        let first = &told["write"]["rule"][0]["conditions"][0];
        (
            may("write"),
            may("write_to"),
            first["answer"].as_str().unwrap().to_owned(),
        )
    };
    assert_eq!(ask("team=\"red\""), (true, true, "held".to_owned()));
    assert_eq!(
        ask("team=\"blue\""),
        (false, false, "others-held".to_owned())
    );
    assert_eq!(
        ask("team=[\"red\"]"),
        (false, false, "claim-unusable".to_owned())
    );
    assert_eq!(ask("other=1"), (false, false, "claim-missing".to_owned()));
    // What `write` would allow, out of the scope.
    let words = ["visit", "2", "--user", "ann", "--claim", "team=\"red\""];
    let outside = told(path, &words);
    assert_eq!(outside["write"]["may"], false);
    assert_eq!(outside["write"]["barred"], "out-of-scope");
    let event = told(path, &["event", "1", "--user", "ann"]);
    assert_eq!(event["write"]["barred"], "insert-only");
    assert_eq!(event["on_devices"], false);
    let stock = told(path, &["stock", "shelf", "-1", "--user", "ann"]);
    assert_eq!(stock["write"]["key"], "scope");
    assert_eq!(stock["write"]["may"], true);
}

#[test]
fn an_identifier_of_several_parts_is_given_part_by_part() {
    let folder = folder();
    let path = folder.path();
    let mine = told(path, &["stock", "shelf", "-1", "--user", "ann"]);
    assert_eq!(mine["id"], json!(["shelf", -1]));
    assert_eq!(mine["on_devices"], true);
    let theirs = said(path, &["stock", "shelf", "2", "--user", "ann"]);
    assert!(theirs.contains("does not go to ann's devices"), "{theirs}");
    for (words, code, says) in [
        (
            &["stock", "shelf", "--user", "ann"][..],
            2,
            "has 2 parts: PLACE PART",
        ),
        (
            &["stock", "shelf", "2", "3", "--user", "ann"],
            2,
            "`3` is too much",
        ),
        (
            &["stock", "shelf", "x", "--user", "ann"],
            1,
            "stock.part expects",
        ),
        (
            &["vist", "1", "--user", "ann"],
            1,
            "the model has no entity `vist`; it has: visit,",
        ),
        (
            &["draft", "1", "--user", "ann"],
            1,
            "`draft` lives on devices alone",
        ),
        (&["visit", "1"], 2, "--user"),
        (
            &["visit", "1", "--user", "ann", "--claim", "team=red"],
            2,
            "text needs quotes",
        ),
    ] {
        let output = why(path, words);
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {out}{err}");
        assert!(err.contains(says), "{words:?}: {err}");
    }
}

#[test]
fn the_answer_for_scripts_keeps_its_shape() {
    let folder = folder();
    let words = ["visit", "1", "--user", "ann", "--claim", "team=\"red\""];
    let team = json!({
        "condition": "team = :claim.team", "answer": "held", "column": "team", "value": "red",
        "steps": [],
        "held": { "from": "claim", "claim": "team", "given": true, "count": 1, "values": ["red"] },
    });
    let owner = json!({
        "condition": "owner = :user", "answer": "others-held", "column": "owner", "value": "bob",
        "steps": [], "held": { "from": "user", "count": 1, "values": ["ann"] },
    });
    let region = json!({
        "condition": "company_id.region_id in regions", "answer": "held", "column": "company_id",
        "value": 10,
        "steps": [{
            "table": "company", "key": "id", "wanted": 10, "found": true, "column": "region_id",
            "value": 1,
        }],
        "held": {
            "from": "query", "scope": "regions", "count": 1, "values": [1],
            "query": "SELECT region_id FROM member WHERE who = :user",
        },
    });
    let way = |holds: bool, condition: &Json| json!({ "holds": holds, "conditions": [condition] });
    let expected = json!({
        "entity": "visit", "table": "visit", "id": 1, "user": "ann", "exists": true,
        "on_devices": true,
        "stages": [
            { "name": "row", "lets": true },
            { "name": "pattern", "lets": true, "pattern": "last-write-wins" },
            { "name": "scope", "lets": true, "rule": [way(false, &owner), way(true, &region)] },
        ],
        "write": {
            "may": true, "barred": null, "key": "write", "rule": [way(true, &team)],
        },
        "write_to": {
            "may": true, "barred": null, "key": "write_to",
            "rule": [way(true, &team), way(false, &owner)],
        },
        "read_only": ["hidden"],
    });
    assert_eq!(told(folder.path(), &words), expected);
}

/// Asked beside a server, or on a database that nobody may write.
#[test]
fn nothing_is_written() {
    let folder = folder();
    let path = folder.path();
    let file = path.join("team.db");
    let before = fs::read(&file).unwrap();
    let mut rights = fs::metadata(&file).unwrap().permissions();
    rights.set_readonly(true);
    fs::set_permissions(&file, rights).unwrap();
    said(path, &["visit", "1", "--user", "ann"]);
    assert_eq!(fs::read(&file).unwrap(), before);
}

/// A row that is there and counts as deleted is named as such.
#[test]
fn a_soft_deleted_row_is_told_from_one_that_is_not_there() {
    let folder = folder();
    let words = |id| ["why", "code", id, "--user", "ann", "--json"];
    for (id, exists, lets) in [("a", true, true), ("b", true, false), ("c", false, false)] {
        let output = afield(folder.path()).args(words(id)).output().unwrap();
        let (out, err) = texts(&output);
        let told: Json = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
        assert_eq!(told["exists"], exists, "{told}");
        assert_eq!(told["on_devices"], lets, "{told}");
        let delete = json!({ "name": "delete", "lets": lets, "column": "is_active" });
        assert_eq!(told["stages"][1], delete, "{told}");
    }
}

/// A row that is out of the window is named as such.
#[test]
fn a_row_out_of_the_window_is_named_as_such() {
    let folder = folder();
    for (id, lets) in [("1", false), ("2", true), ("3", false), ("4", false)] {
        let words = ["why", "shift", id, "--user", "ann"];
        let output = afield(folder.path()).args(words).arg("--json").output();
        let (out, err) = texts(&output.unwrap());
        let told: Json = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
        assert_eq!(told["on_devices"], lets, "{told}");
        let stage = &told["stages"][3];
        assert_eq!(
            (&stage["name"], &stage["lets"]),
            (&json!("window"), &json!(lets))
        );
        assert_eq!(
            (&stage["attribute"], &stage["keep"]),
            (&json!("day"), &json!(">"))
        );
        let (out, _) = texts(&afield(folder.path()).args(words).output().unwrap());
        assert!(out.contains("window   day > 20"), "{out}");
    }
}
