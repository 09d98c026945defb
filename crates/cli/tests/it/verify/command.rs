//! `afield device STORE verify`, `uncaptured`, the same over JSON lines, and what a forger is told.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use rusqlite::Connection;
use serde_json::{Value as Json, json};

use super::{ENTITIES, SCHEMA, unseen};
use crate::support::{Site, texts};

const ROWS: &str = "
    INSERT INTO visit (id, owner, words) VALUES ('a', 'ann', 'one'), ('b', 'ann', 'two'),
      ('c', 'bob', 'his');
    INSERT INTO price VALUES ('p', 1, 5);";

fn site() -> Site {
    Site::with(&format!("{SCHEMA}{ROWS}"), Some(ENTITIES))
}

fn store(site: &Site) -> std::path::PathBuf {
    site.path().join("phone").join("ann.afield")
}

#[test]
fn p10_the_command_says_what_it_found_and_its_exit_code_too() {
    let site = site();
    site.device_ok(&["sync"]);
    assert!(
        site.device_ok(&["verify"])
            .contains("exactly the server's rows")
    );
    assert!(
        site.device_ok(&["status"])
            .contains("Compared with the server, and equal: just now")
    );
    let sql = "UPDATE visit SET words = 'typed' WHERE id = 'a'; DELETE FROM price;
               INSERT INTO visit (id, words) VALUES ('x', 'extra')";
    unseen(&store(&site), sql);
    let output = site.device(&["verify"]);
    let (out, _) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{out}");
    for part in [
        "price: 1 row differ",
        "Missing here: 1; other here: 1; only here: 1",
        "typed",
        "extra",
        "Nothing was repaired",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    assert!(
        site.device_ok(&["status"])
            .contains("differ from the server's: 2")
    );
    assert!(site.device_ok(&["uncaptured"]).contains("only here"));
    let output = site.device(&["verify", "--repair"]);
    let (out, _) = texts(&output);
    assert!(
        output.status.success() && out.contains("3 rows repaired"),
        "{out}"
    );
    let told = site.device_json(&["uncaptured"]);
    let first = &told["uncaptured"][0];
    assert_eq!(first["id"], "a", "{told}");
    assert_eq!(first["content"]["words"], "typed");
    assert!(first["repaired"].is_string());
    let status = site.device_json(&["status"]);
    assert_eq!(status["verify"]["repaired"], 3, "{status}");
    assert_eq!(status["verify"]["uncaptured"], 0);
}

#[test]
fn p10_over_json_lines_too() {
    let site = site();
    let mut repl = site.repl("phone");
    repl.ok(r#"{"do":"sync"}"#);
    let nothing = json!({
        "ok": true, "equal": true, "equal_now": true, "differences": [], "missing": 0,
        "changed": 0, "extra": 0, "repaired": 0, "unknown": [], "uncaptured": [],
    });
    assert_eq!(repl.ok(r#"{"do":"verify"}"#), nothing);
    unseen(
        &store(&site),
        "UPDATE visit SET words = 'typed' WHERE id = 'a'",
    );
    let told = repl.ok(r#"{"do":"verify"}"#);
    assert_eq!(
        (&told["equal"], &told["equal_now"]),
        (&false.into(), &false.into()),
        "{told}"
    );
    let difference = &told["differences"][0];
    assert_eq!(
        (&difference["entity"], &difference["count"]),
        (&"visit".into(), &1.into())
    );
    assert!(
        !difference["scope"].is_null(),
        "the value that brings it: {told}"
    );
    assert_eq!(told["uncaptured"][0]["content"]["words"], "typed", "{told}");
    let told = repl.ok(r#"{"do":"verify","repair":true}"#);
    assert_eq!(
        (&told["repaired"], &told["equal_now"]),
        (&1.into(), &true.into()),
        "{told}"
    );
    assert_eq!(repl.ok(r#"{"do":"verify"}"#), nothing);
    let told = repl.ok(r#"{"do":"uncaptured"}"#);
    assert_eq!(told["uncaptured"].as_array().unwrap().len(), 1, "{told}");
    let refused = repl.line(r#"{"do":"verify","repair":"yes"}"#);
    assert_eq!(refused["error"]["code"], "malformed");
    let refused = repl.line(r#"{"do":"verify","unit":"none"}"#);
    assert_eq!(refused["error"]["code"], "unknown-unit", "{refused}");
}

#[test]
fn p10_without_a_server_nothing_is_said_to_be_equal() {
    let mut site = site();
    let mut repl = site.repl("phone");
    repl.ok(r#"{"do":"sync"}"#);
    site.stop();
    let told = repl.line(r#"{"do":"verify","timeout_s":20}"#);
    assert_eq!(told["ok"], false, "{told}");
    assert_eq!(told["error"]["code"], "unreachable", "{told}");
}

/// Posts JSON lines as ann; gives the status and the answer's lines.
fn post(site: &Site, lines: &[Json]) -> (u16, Vec<Json>) {
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let address = site.address.trim_start_matches("http://");
    let mut stream = TcpStream::connect(address).unwrap();
    // Of version 1.0, so that the answer comes in one piece.
    let head = format!(
        "POST /v1/sync HTTP/1.0\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
         Content-Type: application/jsonl\r\nAccept: application/jsonl\r\n\
         Content-Length: {}\r\n\r\n",
        site.token,
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, lines) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let lines = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    (status, lines.collect())
}

/// What a forger asks for.
struct Forger {
    fingerprint: String,
}

impl Forger {
    fn of(site: &Site) -> Self {
        let conn = Connection::open(store(site)).unwrap();
        let sql = "SELECT fingerprint FROM afield_meta";
        let fingerprint = conn.query_row(sql, [], |row| row.get(0)).unwrap();
        Self { fingerprint }
    }

    fn hello(&self, pull: &str) -> Json {
        json!({
            "frame": "hello", "protocol": 1, "model": self.fingerprint, "device": "forger",
            "unit": "main", "pull": { pull: null },
        })
    }
}

fn ask(entity: &str, depth: u32, buckets: &[u32]) -> Json {
    json!({ "frame": "verify", "entity": entity, "depth": depth, "buckets": buckets })
}

fn fetch(keys: &Json) -> Json {
    json!({ "frame": "fetch", "entity": "visit", "keys": keys })
}

/// Whoever asks by hand learns of his own rows, and nothing else: not by any bucket, nor by the
/// identifier of another's row, nor by an entity that he does not pull.
#[test]
fn p7_forged_questions_tell_nothing() {
    let site = site();
    site.device_ok(&["sync"]);
    let forger = Forger::of(&site);
    let visit = || forger.hello("visit");
    let end = json!({ "frame": "end" });
    let (status, answer) = post(
        &site,
        &[
            visit(),
            ask("visit", 0, &[]),
            ask("visit", 0, &[0]),
            fetch(&json!([["a"], ["c"], ["none"]])),
            end.clone(),
        ],
    );
    assert_eq!(status, 200, "{answer:?}");
    let frame = |name: &str| answer.iter().find(|line| line["frame"] == name).unwrap();
    assert_eq!(frame("digest")["sums"][0]["rows"], 2);
    assert_eq!(frame("hashes")["rows"].as_array().unwrap().len(), 2);
    assert_eq!(
        frame("gone")["keys"],
        json!([["c"], ["none"]]),
        "foreign and missing alike"
    );
    assert!(!answer.iter().any(|line| line.to_string().contains("his")));
    let refusals = [
        vec![ask("price", 0, &[])],
        vec![ask("no_such", 0, &[])],
        vec![ask("visit", 0, &[]), ask("visit", 3, &[])],
        vec![ask("visit", 2, &[4])],
        vec![ask("visit", 13, &[])],
        vec![fetch(&json!([["a"]])), fetch(&json!([["b"]]))],
        vec![fetch(&Json::Array(vec![json!(["a"]); 5_001]))],
        vec![json!({ "frame": "digest", "entity": "visit", "depth": 0, "sums": [] })],
    ];
    for forged in refusals {
        let mut lines = vec![visit()];
        lines.extend(forged.iter().cloned());
        lines.push(end.clone());
        let (status, answer) = post(&site, &lines);
        assert_eq!(
            (status, &answer[0]["code"]),
            (400, &"malformed".into()),
            "{answer:?}"
        );
    }
    // Rows that never go to a device are not counted either.
    let (status, answer) = post(&site, &[forger.hello("remark"), ask("remark", 0, &[]), end]);
    let is_digest = |line: &Json| line["frame"] == "digest";
    assert!(status == 200 && !answer.iter().any(is_digest), "{answer:?}");
}
