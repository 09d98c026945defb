//! Rules, from the statement that is refused on the device to the server that refuses the rest;
//! and entities that are edited online.

use rusqlite::Connection;
use serde_json::json;

use crate::support::{Site, texts};

const TABLES: &str = "CREATE TABLE contact (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, phone TEXT, visits INTEGER NOT NULL DEFAULT 0);
    INSERT INTO contact VALUES (1, 'Ann, who has a long name', 'ask her', 900)";

const MODEL: &str = r#"
[local.contact]
from = "contact"
pattern = "last-write-wins"
attributes = ["name", "phone", "visits"]
counter = ["visits"]
scope = "everyone"
[local.contact.rule]
name = { required = true, max_length = 8 }
phone = { matches = "^[0-9 ]+$" }
visits = { max = 10 }
"#;

/// A connection of another program to the device's file.
fn other_program(site: &Site) -> Connection {
    Connection::open(site.path().join("phone/ann.afield")).unwrap()
}

#[test]
fn a_value_that_breaks_a_rule_is_refused_where_it_is_written() {
    let site = Site::with(TABLES, Some(MODEL));
    let mut phone = site.repl("phone");
    assert_eq!(phone.ask(&json!({"do": "sync"}))["status"], "completed");
    for (sql, code, attribute) in [
        ("INSERT INTO contact (id) VALUES (2)", "not-null", "name"),
        (
            "INSERT INTO contact (id, name) VALUES (2, 'Benjamin F.')",
            "too-long",
            "name",
        ),
        ("UPDATE contact SET phone = 'none'", "no-match", "phone"),
        ("UPDATE contact SET visits = 11", "out-of-range", "visits"),
    ] {
        let answer = phone.ask(&json!({"do": "exec", "sql": sql}));
        assert_eq!(answer["error"]["code"], code, "{sql}: {answer}");
        assert_eq!(answer["error"]["attribute"], attribute, "{sql}: {answer}");
    }
    assert!(
        other_program(&site)
            .execute("UPDATE contact SET name = NULL", [])
            .is_err()
    );
    // What the team's row has already is nobody's mistake: another attribute is written.
    let update = json!({"do": "action", "entity": "contact", "action": "update", "id": 1,
                        "row": {"phone": "030 1"}});
    assert_eq!(phone.ask(&update)["ok"], true);
    assert_eq!(phone.ask(&json!({"do": "sync"}))["status"], "completed");
    assert_eq!(
        site.ask("SELECT name || phone FROM contact"),
        ["Ann, who has a long name030 1"]
    );
}

#[test]
fn p6_what_another_program_wrote_is_refused_by_the_server_and_mended() {
    let site = Site::with(TABLES, Some(MODEL));
    let mut phone = site.repl("phone");
    phone.ask(&json!({"do": "sync"}));
    other_program(&site)
        .execute(
            "INSERT INTO contact (id, name, phone) VALUES (2, 'Ben', 'none')",
            [],
        )
        .unwrap();
    let report = phone.ask(&json!({"do": "sync"}));
    assert_eq!(report["status"], "incomplete", "{report}");
    let outcome = &report["outcomes"][0];
    assert_eq!(outcome["code"], "no-match", "{report}");
    assert_eq!(outcome["attribute"], "phone", "{report}");
    assert_eq!(
        site.ask("SELECT name FROM contact").len(),
        1,
        "nothing of it was written"
    );
    let change = phone.ask(&json!({"do": "changes"}))["changes"][0]["change"].clone();
    let retry = |value: &str| json!({"do": "retry", "change": change, "set": {"phone": value}});
    assert_eq!(phone.ask(&retry("still none"))["error"]["code"], "no-match");
    assert_eq!(phone.ask(&retry("040 2"))["ok"], true);
    assert_eq!(phone.ask(&json!({"do": "sync"}))["status"], "completed");
    assert_eq!(
        site.ask("SELECT phone FROM contact WHERE id = 2"),
        ["040 2"]
    );
}

/// Two devices add five each to a counter whose rule allows ten: what counts is the sum.
#[test]
fn p6_a_counter_is_held_to_its_rule_where_it_is_added_up() {
    let site = Site::with(TABLES, Some(MODEL));
    site.write("UPDATE contact SET visits = 0");
    let mut devices = ["one", "two", "three"].map(|store| site.repl(store));
    for device in &mut devices {
        device.ask(&json!({"do": "sync"}));
        device.ask(&json!({"do": "exec", "sql": "UPDATE contact SET visits = visits + 5"}));
    }
    let status = devices.each_mut().map(|device| {
        let report = device.ask(&json!({"do": "sync"}));
        (
            report["status"].clone(),
            report["outcomes"][0]["code"].clone(),
        )
    });
    assert_eq!(status[1].0, "completed");
    assert_eq!(status[2], (json!("incomplete"), json!("out-of-range")));
    assert_eq!(site.ask("SELECT CAST(visits AS TEXT) FROM contact"), ["10"]);
}

#[test]
fn p10_what_is_edited_online_is_locked_until_the_server_answered() {
    let model = format!("{MODEL}\n[unit.desk]\nentities = [\"contact\"]\nedit = \"online\"\n");
    let mut site = Site::with(TABLES, Some(&model));
    let mut phone = site.repl("phone");
    phone.ask(&json!({"do": "sync"}));
    let edit = json!({"do": "exec", "sql": "UPDATE contact SET phone = '1'"});
    assert_eq!(phone.ask(&edit)["ok"], true, "the server has just answered");
    assert_eq!(
        phone.ask(&json!({"do": "network", "online": false}))["ok"],
        true
    );
    assert_eq!(phone.ask(&edit)["error"]["code"], "edit-needs-network");
    assert!(
        other_program(&site)
            .execute("DELETE FROM contact", [])
            .is_err()
    );
    // That there is a network says nothing of the server.
    phone.ask(&json!({"do": "network", "online": true}));
    assert_eq!(phone.ask(&edit)["error"]["code"], "edit-needs-network");
    // What was written while it was reached is sent, and the answer unlocks.
    assert_eq!(phone.ask(&json!({"do": "sync"}))["pushed"], 1);
    assert_eq!(phone.ask(&edit)["ok"], true);
    site.stop();
    let failed = phone.ask(&json!({"do": "sync"}));
    assert_eq!(failed["error"]["code"], "unreachable", "{failed}");
    assert_eq!(phone.end().0, Some(0));
    let (_, told) = texts(&site.device(&["update", "contact", "1", "phone=2"]));
    assert!(
        told.contains("only while the server can be reached"),
        "{told}"
    );
}
