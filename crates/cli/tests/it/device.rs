//! `afield device`: what a person types and reads, and the exit codes.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::support::{Site, afield, run, succeed, texts};

const SHOP: &str = "CREATE TABLE contact (region TEXT NOT NULL, id INTEGER NOT NULL,
    name TEXT NOT NULL CHECK (length(name) > 1), phone TEXT, vip BOOLEAN, PRIMARY KEY (region, id));
    INSERT INTO contact VALUES ('north', 1, 'Ann', '030', TRUE), ('north', 2, 'Bob', NULL, FALSE);
    CREATE TABLE city (code TEXT NOT NULL PRIMARY KEY, name TEXT);
    INSERT INTO city VALUES ('BN', 'Bonn')";

#[test]
fn a_person_reads_writes_and_synchronises() {
    let site = Site::new(SHOP);
    let out = site.device_ok(&["sync"]);
    assert!(
        out.contains("3 rows received") && out.contains("Up to date."),
        "{out}"
    );

    let out = site.device_ok(&["list", "contact"]);
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines[0], "region  id  name  phone  vip", "{out}");
    assert_eq!(lines[2], "north    1  Ann     030  true", "{out}");
    assert_eq!(lines[3], "north    2  Bob          false", "{out}");

    let words = ["update", "contact", "north", "1", "phone=030 99", "vip=no"];
    assert_eq!(site.device_ok(&words), "Updated contact north 1.\n");
    let words = [
        "create",
        "contact",
        "region=south",
        "id=-7",
        "name=Cem",
        "phone=null",
    ];
    assert_eq!(site.device_ok(&words), "Created contact south -7.\n");
    assert_eq!(
        site.device_ok(&["delete", "contact", "north", "2"]),
        "Deleted contact north 2.\n"
    );
    let out = site.device_ok(&["get", "contact", "south", "-7"]);
    assert!(
        out.contains("name    Cem\n") && out.contains("phone   NULL\n"),
        "{out}"
    );
    let out = site.device_ok(&["sql", "UPDATE city SET name = upper(name)"]);
    assert_eq!(out, "1 row changed.\n");
    let out = site.device_ok(&["sql", "SELECT name FROM city"]);
    assert!(out.ends_with("BONN\n"), "{out}");
    let out = site.device_ok(&["status"]);
    assert!(out.contains("4 changes wait to be sent"), "{out}");
    let out = site.device_ok(&["changes"]);
    assert_eq!(
        out.lines()
            .filter(|line| line.starts_with("to be sent"))
            .count(),
        4,
        "{out}"
    );

    let out = site.device_ok(&["sync"]);
    assert!(out.contains("4 changes applied, 0 not"), "{out}");
    let out = site.device_ok(&["status"]);
    assert!(
        out.starts_with("Up to date.\nNothing waits to be sent.\n"),
        "{out}"
    );
    let sql = "SELECT name || ':' || coalesce(phone, '-') || ':' || coalesce(vip, '-') \
               FROM contact ORDER BY region";
    assert_eq!(site.ask(sql), ["Ann:030 99:0", "Cem:-:-"]);
    assert_eq!(site.ask("SELECT name FROM city"), ["BONN"]);
}

#[test]
fn p6_what_the_server_refuses_is_shown_and_kept() {
    let site = Site::new(SHOP);
    site.device_ok(&["sync"]);
    site.device_ok(&["create", "contact", "region=south", "id=1", "name=X"]);
    let output = site.device(&["sync"]);
    assert_eq!(output.status.code(), Some(1));
    let (out, _) = texts(&output);
    assert!(
        out.contains("create contact south 1: rejected: check (name)"),
        "{out}"
    );
    let out = site.device_ok(&["status"]);
    assert!(out.contains("1 change was not applied"), "{out}");
    assert!(site.device_ok(&["outcomes"]).contains("rejected"));
    assert!(site.device_ok(&["changes"]).contains("not applied"));
    assert!(
        site.device_ok(&["get", "contact", "south", "1"])
            .contains('X')
    );
    let status = site.device_json(&["status"]);
    assert_eq!(
        (&status["parked"], &status["up_to_date"]),
        (&json!(1), &json!(false))
    );
    // The standing change does not make a later sync incomplete.
    site.device_ok(&["sync"]);
}

#[test]
fn scripts_get_json() {
    let site = Site::new(SHOP);
    let sync = site.device_json(&["sync"]);
    assert_eq!(
        (&sync["status"], &sync["pulled"]),
        (&json!("completed"), &json!(3))
    );
    let list = site.device_json(&["list", "contact", "--where", "id > 1 -- a comment"]);
    assert_eq!(list["rows"], json!([["north", 2, "Bob", null, false]]));
    let created = site.device_json(&["create", "contact", "region=s", "id=5", "name:=\"null\""]);
    assert_eq!(created, json!({ "id": ["s", 5] }));
    let found = site.device_json(&["get", "contact", "s", "5"]);
    assert_eq!(found["row"]["name"], "null");
    let changes = site.device_json(&["changes"]);
    assert_eq!(changes["changes"][0]["set"], json!({ "name": "null" }));
    let refused = site.device_json(&["get", "contact", "s", "6"]);
    assert_eq!(refused["error"]["code"], "not-found");
    let model = site.device_json(&["entities"]);
    assert_eq!(model["entities"].as_array().unwrap().len(), 2);
}

#[test]
fn exit_codes_tell_what_is_needed() {
    let mut site = Site::new(SHOP);
    let code = |words: &[&str]| site.device(words).status.code();
    assert_eq!(code(&["sync"]), Some(0));
    assert_eq!(code(&["get", "contact", "north", "99"]), Some(1));
    assert_eq!(
        code(&["update", "contact", "north", "1", "nope=1"]),
        Some(1)
    );
    assert_eq!(code(&["update", "contact", "north", "1", "phone"]), Some(2));
    assert_eq!(code(&["update", "contact", "north"]), Some(2));
    assert_eq!(code(&["fly"]), Some(2));
    assert_eq!(
        code(&["sync", "--server", "http://sync.example.com"]),
        Some(2)
    );
    assert_eq!(code(&["sync", "--token", "nonsense"]), Some(4));
    assert_eq!(code(&["sync"]), Some(0));
    site.stop();
    assert_eq!(site.device(&["sync"]).status.code(), Some(3));
    assert_eq!(site.device(&["list", "contact"]).status.code(), Some(0));
}

#[test]
fn the_store_remembers_server_and_token() {
    let site = Site::new(SHOP);
    site.device_ok(&["sync"]);
    let out = succeed(site.path(), "device phone sync");
    assert!(out.contains("Up to date."), "{out}");
    let output = run(site.path(), "device tablet --user ann sync");
    assert_eq!(output.status.code(), Some(3), "no server known");
    let words = format!("device tablet --user ann --server {} sync", site.address);
    let output = run(site.path(), &words);
    assert_eq!(output.status.code(), Some(4), "nobody signed in");
    assert!(texts(&output).1.contains("give a token"));
}

#[test]
fn whose_store_is_meant() {
    let site = Site::new(SHOP);
    let says = |words: &str, code: i32, says: &str| {
        let output = run(site.path(), words);
        let (_, err) = texts(&output);
        assert_eq!(output.status.code(), Some(code), "{words}: {err}");
        assert!(err.contains(says), "{words}: {err}");
    };
    says("device phone status", 2, "--user");
    says("device phone --user ann status", 2, "ann has no store");
    assert!(
        !site.path().join("phone").exists(),
        "a question made a folder"
    );
    // The token names the user.
    site.device_ok(&["sync"]);
    succeed(site.path(), "device phone status");
    succeed(site.path(), "device phone --user bob@x.org open");
    assert!(site.path().join("phone/bob%40x.org.afield").exists());
    says("device phone status", 2, "ann, bob@x.org");
    succeed(site.path(), "device phone --user ann status");
    site.device_ok(&["status"]);
    let words = format!("device phone --user bob@x.org --token {} sync", site.token);
    says(&words, 4, "nobody's changes are sent with another's token");
}

#[test]
fn a_store_can_begin_with_a_model_and_no_server() {
    let site = Site::new(SHOP);
    let create =
        "device phone --user ann --model afield.toml create contact region=s id=1 name=Eva";
    succeed(site.path(), create);
    let out = succeed(site.path(), "device phone status");
    assert!(out.contains("1 change waits to be sent"), "{out}");
    site.device_ok(&["sync"]);
    assert_eq!(
        site.ask("SELECT name FROM contact WHERE region = 's'"),
        ["Eva"]
    );
}

#[cfg(unix)]
#[test]
fn p1_ctrl_c_ends_a_sync_and_loses_nothing() {
    let site = Site::new(SHOP);
    site.device_ok(&["sync"]);
    site.device_ok(&["update", "city", "BN", "name=Beuel"]);
    // A server that takes the request and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    let device = afield(site.path())
        .args(["device", "phone", "--server", &address, "sync"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (stream, _) = silent.accept().unwrap();
    let mut head = String::new();
    BufReader::new(&stream).read_line(&mut head).unwrap();
    assert!(head.starts_with("POST /v1/sync"), "{head}");
    let pid = device.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &pid])
            .status()
            .unwrap()
            .success()
    );
    let output = device.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(texts(&output).1.contains("interrupted"));
    let mut rest = Vec::new();
    let _ = (&stream).read_to_end(&mut rest);

    let out = site.device_ok(&["status"]);
    assert!(out.contains("1 change waits to be sent"), "{out}");
    site.device_ok(&["sync"]);
    assert_eq!(site.ask("SELECT name FROM city"), ["Beuel"]);
}
