//! Devices that listen for news, as processes over real HTTP, on SQLite and on PostgreSQL.

use afield_testbed::postgres::{Cluster, Database};
use serde_json::{Value as Json, json};

use crate::support::{Repl, Site};

const SQL: &str = "
    CREATE TABLE contact (id INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL);
    INSERT INTO contact VALUES (1, 'Ann');";

const MODEL: &str = r#"
    [local.contact]
    from = "contact"
    pattern = "detect-conflicts"
    attributes = ["name"]
    scope = "everyone"
"#;

/// Reads the events of a device until one fits.
fn until(repl: &mut Repl, since: &mut u64, fits: impl Fn(&Json) -> bool) {
    for _ in 0..100 {
        let request = json!({ "do": "events", "since": *since, "timeout_s": 30 });
        let answer = repl.ask(&request);
        for event in answer["events"].as_array().unwrap() {
            *since = event["n"].as_u64().unwrap();
            if fits(event) {
                return;
            }
        }
    }
    panic!("it never came");
}

fn names(repl: &mut Repl) -> Json {
    repl.ask(&json!({ "do": "query", "sql": "SELECT name FROM contact ORDER BY id" }))["rows"]
        .clone()
}

/// What one device writes, and what somebody writes into the database, is on the other one without
/// anybody asking.
fn news_reach(site: &Site, database: Option<&Database>) {
    let quiet = json!({
        "do": "start", "on_online": false, "on_resume": false, "on_write_ms": 1, "retry": null,
    });
    let mut phone = site.repl("phone");
    let mut tablet = site.repl("tablet");
    for repl in [&mut phone, &mut tablet] {
        assert_eq!(repl.ok(r#"{"do":"sync"}"#)["status"], "completed");
        assert_eq!(repl.ask(&quiet)["live"], true);
    }
    let is_up_to_date =
        |is: bool| move |event: &Json| event["event"] == "up-to-date" && event["up_to_date"] == is;
    let received = |event: &Json| event["event"] == "completed" && event["pulled"] == 1;
    let mut seen = 0;
    until(&mut tablet, &mut seen, is_up_to_date(true));
    let create = json!({
        "do": "action", "entity": "contact", "action": "create", "row": { "id": 2, "name": "Bob" },
    });
    assert_eq!(phone.ask(&create)["ok"], true);
    until(&mut tablet, &mut seen, received);
    assert_eq!(names(&mut tablet), json!([["Ann"], ["Bob"]]));
    let sql = "UPDATE contact SET name = 'Anna' WHERE id = 1";
    match database {
        Some(database) => database.execute(sql),
        None => site.write(sql),
    }
    until(&mut tablet, &mut seen, received);
    assert_eq!(names(&mut tablet), json!([["Anna"], ["Bob"]]));
    let status = tablet.ok(r#"{"do":"status"}"#);
    assert_eq!(status["network"]["online"], true, "{status}");
    assert_eq!(phone.end().0, Some(0));
    assert_eq!(tablet.end().0, Some(0));
}

#[test]
fn p5_news_reach_a_device_that_listens() {
    news_reach(&Site::with(SQL, Some(MODEL)), None);
}

#[test]
fn p5_news_reach_a_device_that_listens_on_postgres() {
    let database = Cluster::shared().database(SQL);
    let site = Site::on_with(&database.url, MODEL);
    news_reach(&site, Some(&database));
}
