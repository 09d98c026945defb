//! `--repl`: the documented examples, errors, and what survives a kill.

use serde_json::{Value as Json, json};

use crate::support::{Repl, Site, afield, doc};

const NOTES: &str = "CREATE TABLE note (id TEXT NOT NULL PRIMARY KEY, text TEXT, big INTEGER,
    photo BLOB, score REAL);
    INSERT INTO note VALUES ('a', 'first', 9007199254740993, x'00ff', 1.5)";

#[test]
fn every_documented_example_answers_as_documented() {
    let doc = doc("repl.md");
    let sql = doc.split("```sql\n").nth(1).unwrap();
    let site = Site::new(sql.split("```").next().unwrap());
    let mut repl = site.repl("phone");
    let mut examples = 0;
    let mut answer = Json::Null;
    let mut headings: Vec<String> = Vec::new();
    let mut inside = false;
    let mut name = String::new();
    // The first made the database; others are what somebody else writes meanwhile.
    let mut meanwhile = doc.split("```sql\n").skip(2);
    for line in doc.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            headings.push(heading.to_owned());
        } else if line == "```sql" && !headings.is_empty() {
            let sql = meanwhile.next().unwrap().split("```").next().unwrap();
            site.write(sql);
        } else if line.starts_with("```") {
            inside = line == "```jsonl";
        } else if !inside {
        } else if let Some(request) = line.strip_prefix("> ") {
            answer = repl.line(&request.replace("CHANGE", &name));
            name = named(&answer).unwrap_or(name);
        } else if let Some(expected) = line.strip_prefix("< ") {
            let expected: Json = serde_json::from_str(expected).unwrap();
            assert!(
                fits(&expected, &answer),
                "documented: {expected}\nanswered:   {answer}"
            );
            examples += 1;
        }
    }
    assert!(examples >= 25, "{examples}");
    let refused = repl.line(r#"{"do":"nothing"}"#);
    let known = refused["error"]["message"].as_str().unwrap();
    let verbs = known.split("there are: ").nth(1).unwrap().split(", ");
    for verb in verbs {
        assert!(
            headings.iter().any(|heading| heading == verb),
            "{verb} is not documented"
        );
    }
    assert_eq!(repl.end(), (Some(0), String::new()));
}

/// The name of a change that an answer shows.
fn named(answer: &Json) -> Option<String> {
    match answer {
        Json::Object(fields) => {
            let name = fields.get("change").or_else(|| fields.get("conflict"));
            let name = name.and_then(Json::as_str).map(str::to_owned);
            name.or_else(|| fields.values().find_map(named))
        }
        Json::Array(parts) => parts.iter().rev().find_map(named),
        _ => None,
    }
}

/// Whether an answer is as documented; `…` stands for anything.
fn fits(expected: &Json, answer: &Json) -> bool {
    match (expected, answer) {
        (Json::String(any), _) if any == "…" => true,
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, v)| b.get(k).is_some_and(|w| fits(v, w)))
        }
        (Json::Array(a), Json::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(v, w)| fits(v, w))
        }
        (a, b) => a == b,
    }
}

/// Requests that cannot be served, each with the code of its answer.
const BAD_LINES: &[(&str, &str)] = &[
    ("nonsense", "malformed"),
    ("[1]", "malformed"),
    ("{}", "malformed"),
    (r#"{"do":1}"#, "malformed"),
    (r#"{"do":"login"}"#, "malformed"),
    (r#"{"do":"logout","keep":1}"#, "malformed"),
    (r#"{"do":"logout","keep":true,"discard":true}"#, "malformed"),
    (r#"{"do":"logout","export":1}"#, "malformed"),
    (r#"{"do":"export"}"#, "malformed"),
    (r#"{"do":"export","file":"x","force":1}"#, "malformed"),
    (r#"{"do":"import"}"#, "malformed"),
    (r#"{"do":"import","file":"missing"}"#, "file-unusable"),
    (r#"{"do":"trigger","discard_pending":1}"#, "malformed"),
    (r#"{"do":"trigger","direction":"up"}"#, "malformed"),
    (r#"{"do":"start","on_resume":1}"#, "malformed"),
    (r#"{"do":"start","on_write_ms":-1}"#, "malformed"),
    (r#"{"do":"start","interval_ms":999}"#, "malformed"),
    (r#"{"do":"start","retry":true}"#, "malformed"),
    (r#"{"do":"start","retry":{"first_ms":0}}"#, "malformed"),
    (
        r#"{"do":"start","retry":{"first_ms":9000,"longest_ms":8000}}"#,
        "malformed",
    ),
    (r#"{"do":"network","type":"6g"}"#, "malformed"),
    (r#"{"do":"network","metered":1}"#, "malformed"),
    (r#"{"do":"network","unmetered_only":["a"]}"#, "malformed"),
    (
        r#"{"do":"network","online":true,"type":"none"}"#,
        "malformed",
    ),
    (r#"{"do":"events","since":-1}"#, "malformed"),
    (r#"{"do":"events","timeout_s":"x"}"#, "malformed"),
    (r#"{"do":"wait"}"#, "malformed"),
    (r#"{"do":"wait","change":"x"}"#, "unknown-change"),
    (r#"{"do":"set_token"}"#, "malformed"),
    (r#"{"do":"set_token","token":"two words"}"#, "sign-in"),
    (r#"{"do":"exec"}"#, "malformed"),
    (r#"{"do":"exec","sql":"SELEKT"}"#, "sql"),
    (
        r#"{"do":"exec","sql":"INSERT INTO note (id) VALUES (?1)"}"#,
        "sql",
    ),
    (
        r#"{"do":"exec","sql":"SELECT 1","params":"x"}"#,
        "malformed",
    ),
    (
        r#"{"do":"exec","sql":"SELECT ?1","params":[[1]]}"#,
        "malformed",
    ),
    (r#"{"do":"exec","sql":"COMMIT"}"#, "sql"),
    (
        r#"{"do":"query","sql":"SELECT 1; DELETE FROM note"}"#,
        "sql",
    ),
    (
        r#"{"do":"action","entity":"nothing","action":"get","id":1}"#,
        "unknown-entity",
    ),
    (
        r#"{"do":"action","entity":"note","action":"dance","id":"a"}"#,
        "unknown-request",
    ),
    (
        r#"{"do":"action","entity":"note","action":"get"}"#,
        "malformed",
    ),
    (
        r#"{"do":"action","entity":"note","action":"get","id":[1,2]}"#,
        "identifier-missing",
    ),
    (
        r#"{"do":"action","entity":"note","action":"create","row":7}"#,
        "malformed",
    ),
    (
        r#"{"do":"action","entity":"note","action":"create","row":{}}"#,
        "identifier-missing",
    ),
    (
        r#"{"do":"action","entity":"note","action":"create","row":{"id":"a"}}"#,
        "key-exists",
    ),
    (
        r#"{"do":"action","entity":"note","action":"update","id":"zz","row":{"text":"x"}}"#,
        "not-found",
    ),
    (
        r#"{"do":"action","entity":"note","action":"update","id":"a","row":{"nope":1}}"#,
        "unknown-attribute",
    ),
    (r#"{"do":"transaction"}"#, "malformed"),
    (
        r#"{"do":"transaction","steps":[{"do":"sync"}]}"#,
        "malformed",
    ),
    (r#"{"do":"sync","direction":"up"}"#, "malformed"),
    (r#"{"do":"sync","timeout_s":-1}"#, "malformed"),
    (r#"{"do":"sync","unit":"nothing"}"#, "unknown-unit"),
    (r#"{"do":"outcomes","since":"x"}"#, "malformed"),
    (r#"{"do":"resolve","take":"mine"}"#, "malformed"),
    (
        r#"{"do":"resolve","conflict":"x","take":"ours"}"#,
        "malformed",
    ),
    (r#"{"do":"resolve","conflict":"x"}"#, "malformed"),
    (
        r#"{"do":"resolve","conflict":"x","take":"mine"}"#,
        "unknown-change",
    ),
    (
        r#"{"do":"resolve","conflict":"x","take":{"a":1}}"#,
        "unknown-change",
    ),
    (r#"{"do":"retry","change":7}"#, "malformed"),
    (r#"{"do":"retry","change":"x","set":[1]}"#, "unknown-change"),
    (r#"{"do":"retry","change":"x"}"#, "unknown-change"),
    (r#"{"do":"drop"}"#, "malformed"),
    (r#"{"do":"undo"}"#, "malformed"),
    (r#"{"do":"undo","change":"x.0"}"#, "unknown-change"),
    (r#"{"do":"drop","change":""}"#, "unknown-change"),
    (r#"{"do":"open","user":7}"#, "malformed"),
    (
        r#"{"do":"open","server":"http://sync.example.com"}"#,
        "plain-http",
    ),
];

#[test]
fn bad_input_is_answered_and_the_next_request_works() {
    let site = Site::new(NOTES);
    let mut repl = site.repl("phone");
    repl.ok(r#"{"do":"sync"}"#);
    for &(line, code) in BAD_LINES {
        let answer = repl.line(line);
        assert_eq!(answer["ok"], false, "{line}: {answer}");
        assert_eq!(answer["error"]["code"], code, "{line}: {answer}");
        assert!(!answer["error"]["message"].as_str().unwrap().is_empty());
    }
    repl.ok(r#"{"do":"open"}"#);
    let status = repl.ok(r#"{"do":"status"}"#);
    assert_eq!(status["pending"], 0, "{status}");
    assert_eq!(status["up_to_date"], true, "{status}");
    assert_eq!(repl.end(), (Some(0), String::new()));
}

#[test]
fn values_of_every_shape_go_there_and_back() {
    let site = Site::new(NOTES);
    let mut repl = site.repl("phone");
    repl.ok(r#"{"do":"sync"}"#);
    let query =
        r#"{"do":"query","sql":"SELECT id, text, big, photo, score, 1+1 FROM note ORDER BY id"}"#;
    let rows = json!([["a", "first", "9007199254740993", "AP8=", 1.5, 2]]);
    assert_eq!(repl.ok(query)["rows"], rows);
    repl.ok(
        "{\"do\":\"action\",\"entity\":\"note\",\"action\":\"create\",\"row\":{\"id\":\"ü\",\
         \"text\":\"x\\ny\",\"big\":\"-9007199254740993\",\"photo\":\"/w==\",\"score\":\"NaN\"}}",
    );
    repl.ok("{\"do\":\"exec\",\
         \"sql\":\"INSERT INTO note (id, photo, score) VALUES (:id, :photo, 2.0)\",\
         \"params\":{\"id\":\"b\",\"photo\":{\"base64\":\"AQ==\"}}}");
    let sync = repl.ok(r#"{"do":"sync"}"#);
    assert_eq!(sync["status"], "completed", "{sync}");
    let mut other = site.repl("tablet");
    other.ok(r#"{"do":"sync"}"#);
    let rows = json!([
        ["a", "first", "9007199254740993", "AP8=", 1.5, 2],
        ["b", null, null, "AQ==", 2.0, 2],
        ["ü", "x\ny", "-9007199254740993", "/w==", "NaN", 2],
    ]);
    assert_eq!(other.ok(query)["rows"], rows);
}

#[test]
fn p1_what_was_answered_survives_a_kill() {
    let site = Site::new(NOTES);
    site.repl("phone").ok(r#"{"do":"sync"}"#);
    let mut written = 0;
    for round in 0..4 {
        let mut repl = site.repl("phone");
        for _ in 0..=round {
            let line = format!(
                r#"{{"do":"action","entity":"note","action":"create","row":{{"id":"k{written}"}}}}"#
            );
            repl.ok(&line);
            written += 1;
        }
        repl.kill();
    }
    let mut repl = site.repl("phone");
    let count = repl.ok(r#"{"do":"query","sql":"SELECT count(*) FROM note WHERE id LIKE 'k%'"}"#);
    assert_eq!(count["rows"], json!([[written]]));
    assert_eq!(repl.ok(r#"{"do":"status"}"#)["pending"], written);
    let sync = repl.ok(r#"{"do":"sync"}"#);
    assert_eq!(
        (&sync["status"], &sync["pushed"]),
        (&json!("completed"), &json!(written))
    );
    assert_eq!(
        site.ask("SELECT CAST(count(*) AS TEXT) FROM note"),
        [(written + 1).to_string()]
    );
}

#[test]
fn p2_a_server_that_comes_back_gets_each_change_once() {
    let mut site = Site::new(NOTES);
    let mut repl = site.repl("phone");
    repl.ok(r#"{"do":"sync"}"#);
    repl.ok(r#"{"do":"exec","sql":"UPDATE note SET text = 'mine'"}"#);
    site.stop();
    let sync = repl.ok(r#"{"do":"sync","timeout_s":20}"#);
    assert_eq!(sync["status"], "failed");
    assert_eq!(sync["error"]["code"], "unreachable");
    let status = repl.ok(r#"{"do":"status"}"#);
    assert_eq!(
        (&status["pending"], &status["last_error"]),
        (&json!(1), &json!("unreachable"))
    );
    assert_eq!(site.ask("SELECT text FROM note"), ["first"]);
}

#[test]
fn one_process_may_open_several_users_stores() {
    let site = Site::new(NOTES);
    let mut command = afield(site.path());
    command.args(["device", "shared", "--server", &site.address, "--repl"]);
    let mut repl = Repl::start(command);
    let refused = repl.line(r#"{"do":"status"}"#);
    assert_eq!(refused["error"]["code"], "usage", "{refused}");
    let opened = repl.ok(&format!(
        r#"{{"do":"open","user":"ann","token":"{}"}}"#,
        site.token
    ));
    assert!(opened["store"].as_str().unwrap().ends_with("ann.afield"));
    repl.ok(r#"{"do":"sync"}"#);
    repl.ok(r#"{"do":"exec","sql":"UPDATE note SET text = 'by ann'"}"#);
    // Bob's store is his own, and Ann's token does not open it.
    let refused = repl.line(r#"{"do":"open","user":"bob"}"#);
    assert_eq!(refused["error"]["code"], "sign-in", "{refused}");
    repl.ok(r#"{"do":"open","user":"ann"}"#);
    assert_eq!(repl.ok(r#"{"do":"status"}"#)["pending"], 1);
}
