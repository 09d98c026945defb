//! Hooks as commands of the shell, from the command line and over JSON lines.

use serde_json::{Value as Json, json};

use crate::support::{Repl, Site, afield};

const SHOP: &str = "CREATE TABLE contact (id INTEGER NOT NULL PRIMARY KEY, name TEXT, phone TEXT);
    INSERT INTO contact VALUES (17, 'Ann', '030 12'), (18, 'Ben', NULL)";

/// What the hook after a sync was told, one object for each time.
fn told(site: &Site) -> Vec<Json> {
    let lines = std::fs::read_to_string(site.path().join("told")).unwrap_or_default();
    let objects = serde_json::Deserializer::from_str(&lines).into_iter();
    objects.map(Result::unwrap).collect()
}

#[test]
fn commands_run_before_a_sync_sends_and_after_rows_came() {
    let site = Site::new(SHOP);
    site.device_ok(&["sync", "--after-apply", "cat >> told"]);
    let first = json!({ "unit": "main", "changed": { "contact": [17, 18] } });
    assert_eq!(told(&site), [first]);
    site.device_ok(&["update", "contact", "17", "name=Anna"]);
    // The last moment: what the hook writes is sent by the same sync.
    let write = format!(
        "{} device phone update contact 18 phone=$AFIELD_UNIT-7",
        env!("CARGO_BIN_EXE_afield")
    );
    site.device_ok(&["sync", "--unit", "main", "--before-send", &write]);
    let sql = "SELECT name || ' ' || coalesce(phone, '') FROM contact ORDER BY id";
    assert_eq!(site.ask(sql), ["Anna 030 12", "Ben main-7"]);
}

#[test]
fn a_hook_that_fails_stops_nothing() {
    let site = Site::new(SHOP);
    let out = site.device(&["sync", "--budget", "30", "--before-send", "exit 3"]);
    assert_eq!(out.status.code(), Some(0));
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(said.contains("hook `exit 3`"), "{said}");
    assert!(site.device_ok(&["list", "contact"]).contains("Ben"));
}

#[test]
fn the_hooks_are_of_every_sync_of_the_process() {
    let site = Site::new(SHOP);
    let mut command = afield(site.path());
    command.args(["device", "phone", "--server", &site.address, "--repl"]);
    command.args(["--after-apply", "cat >> told"]);
    command.env("AFIELD_TOKEN", &site.token);
    let mut repl = Repl::start(command);
    repl.ok(r#"{"do":"sync"}"#);
    site.write("UPDATE contact SET name = 'Bea' WHERE id = 18");
    repl.ok(r#"{"do":"sync"}"#);
    // The hook of the second is waited for by the third.
    repl.ok(r#"{"do":"sync"}"#);
    let told = told(&site);
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(told[1]["changed"], json!({ "contact": [18] }));
}
