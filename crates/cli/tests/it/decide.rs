//! Deciding on the command line, and the example in `docs/device.md`.

use serde_json::json;

use crate::support::{Site, doc, texts};

const SHOP: &str = "CREATE TABLE contact (id INTEGER NOT NULL PRIMARY KEY,
    name TEXT NOT NULL CHECK (length(name) > 1), phone TEXT);
    INSERT INTO contact VALUES (17, 'Ann', '030 12')";

/// The name of the only change that is parked.
fn parked(site: &Site) -> String {
    let changes = site.device_json(&["changes"]);
    let changes = changes["changes"].as_array().unwrap();
    let mut parked = changes.iter().filter(|it| it["state"] == "parked");
    let name = parked.next().unwrap()["change"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(parked.next().is_none(), "{changes:?}");
    name
}

fn refused(site: &Site) -> String {
    site.device_ok(&["sync"]);
    site.device_ok(&["update", "contact", "17", "name=A"]);
    assert_eq!(site.device(&["sync"]).status.code(), Some(1));
    parked(site)
}

#[test]
fn a_refused_change_names_what_settles_it_and_is_sent_again() {
    let site = Site::new(SHOP);
    let name = refused(&site);
    let out = site.device_ok(&["changes"]);
    assert!(out.contains("check (name)"), "{out}");
    assert!(
        out.contains(&format!("retry {name} NAME=VALUE…, or drop {name}")),
        "{out}"
    );
    assert!(
        site.device_ok(&["status"])
            .contains("`changes` says why and what to do")
    );
    let held = ["update", "contact", "17", "name=Anna"];
    site.device_ok(&held);
    let out = site.device_ok(&["changes"]);
    assert!(out.contains(&format!("settle {name} first")), "{out}");
    let out = site.device_ok(&["retry", &name[..8], "name=Anne"]);
    assert_eq!(out, "It goes with the next sync.\n");
    site.device_ok(&["sync"]);
    assert_eq!(site.ask("SELECT name FROM contact"), ["Anna"]);
    assert!(
        site.device_ok(&["changes"])
            .contains("was not applied: check")
    );
}

#[test]
fn a_refused_change_is_given_up() {
    let site = Site::new(SHOP);
    let name = refused(&site);
    let dropped = site.device_json(&["drop", &name]);
    assert_eq!(dropped, json!({ "change": name }));
    assert!(site.device_ok(&["get", "contact", "17"]).contains("Ann\n"));
    let changes = site.device_json(&["changes"]);
    assert_eq!(changes["changes"][0]["state"], "dropped");
    assert_eq!(changes["changes"][0]["set"], json!({ "name": "A" }));
    let again = site.device(&["drop", &name]);
    assert_eq!(again.status.code(), Some(1));
    assert!(
        texts(&again).1.contains("was decided already"),
        "{:?}",
        texts(&again)
    );
}

#[test]
fn what_was_not_sent_is_taken_back_and_what_was_sent_is_not() {
    let site = Site::new(SHOP);
    site.device_ok(&["sync"]);
    site.device_ok(&["update", "contact", "17", "name=Anna"]);
    let name = |state: &str| {
        let changes = site.device_json(&["changes"]);
        let changes = changes["changes"].as_array().unwrap().iter();
        let mut found = changes.filter(|it| it["state"] == state);
        found.next().unwrap()["change"].as_str().unwrap().to_owned()
    };
    let unsent = name("pending");
    let taken_back = site.device_json(&["undo", &unsent[..8]]);
    assert_eq!(taken_back, json!({ "changes": [unsent] }));
    assert!(site.device_ok(&["get", "contact", "17"]).contains("Ann\n"));
    assert!(site.device_ok(&["changes"]).contains("given up"));
    site.device_ok(&["update", "contact", "17", "name=Anne"]);
    site.device_ok(&["sync"]);
    let sent = site.device_json(&["undo", &name("settled")]);
    assert_eq!(sent["error"]["code"], "already-sent");
    assert_eq!(site.ask("SELECT name FROM contact"), ["Anne"]);
    let none = site.device(&["undo", &unsent[..8]]);
    assert_eq!(none.status.code(), Some(1));
}

#[test]
fn a_decision_about_nothing_is_refused() {
    let site = Site::new(SHOP);
    site.device_ok(&["sync"]);
    for words in [
        ["retry", "3f2a"].as_slice(),
        &["drop", ""],
        &["resolve", "3f2a", "mine"],
    ] {
        let refused = site.device_json(words);
        assert_eq!(refused["error"]["code"], "unknown-change", "{words:?}");
        assert_eq!(site.device(words).status.code(), Some(1));
    }
    assert_eq!(site.device(&["resolve", "3f2a"]).status.code(), Some(2));
    assert_eq!(site.device_ok(&["conflicts"]), "No conflicts.\n");
}

/// Runs the commands of the second example in `docs/device.md`, and compares what they print;
/// `…` stands for whatever is there, and CHANGE for the conflict's name.
#[test]
fn the_documented_conflict_is_decided_as_documented() {
    let doc = doc("device.md");
    let section = doc.split("## Deciding").nth(1).unwrap();
    let example = section.split("```console\n").nth(1).unwrap();
    let example = example.split("```").next().unwrap();
    let site = Site::new(SHOP);
    site.device_ok(&["sync"]);
    site.write("INSERT INTO contact VALUES (18, 'Gil', '0221 7')");
    let mut commands = 0;
    for step in example.split("$ afield device phone ").skip(1) {
        let (command, expected) = step.split_once('\n').unwrap();
        let command = match command.contains("CHANGE") {
            true => command.replace("CHANGE", &parked(&site)),
            false => command.to_owned(),
        };
        let words: Vec<&str> = command.split(' ').collect();
        let (out, _) = texts(&site.device(&words));
        let known = expected.lines().flat_map(|line| line.split('…'));
        let mut rest = out.trim();
        for part in known {
            let part = part.trim();
            let at = rest.find(part);
            assert!(at.is_some(), "{command}: {part:?} is not in {out}");
            rest = &rest[at.unwrap() + part.len()..];
        }
        commands += 1;
    }
    assert_eq!(commands, 6);
    assert_eq!(
        site.ask("SELECT name || phone FROM contact WHERE id = 18"),
        ["Gilda0221 7"]
    );
}
