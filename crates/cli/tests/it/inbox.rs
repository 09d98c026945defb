//! The inbox from end to end: devices, a server and somebody who decides, as processes, on SQLite
//! and on PostgreSQL.

use serde_json::{Value as Json, json};

use crate::shop::Shop;
use crate::support::doc;

impl Shop {
    fn device_json(&self, store: &str, words: &[&str]) -> Json {
        let words: Vec<_> = words.iter().copied().chain(["--json"]).collect();
        serde_json::from_str(&self.device(store, &words, 0)).unwrap()
    }

    /// `afield inbox`, and how it ended.
    fn inbox(&self, words: &[&str]) -> (Option<i32>, String) {
        self.beside("inbox", words)
    }

    fn entries(&self, words: &[&str]) -> Vec<Json> {
        let words: Vec<_> = words.iter().copied().chain(["--json"]).collect();
        let (exit, out) = self.inbox(&words);
        assert_eq!(exit, Some(0), "{out}");
        let listed: Json = serde_json::from_str(&out).unwrap();
        listed["entries"].as_array().unwrap().clone()
    }

    /// Number of the only open entry that is no mere mate.
    fn open(&self) -> String {
        let open = self.entries(&[]);
        assert_eq!(open.len(), 1, "{open:?}");
        open[0]["n"].to_string()
    }
}

/// Both devices change Ann's phone number; the phone's change is in conflict.
fn in_conflict(shop: &Shop) {
    for store in ["phone", "tablet"] {
        shop.device(store, &["sync"], 0);
    }
    shop.device("tablet", &["update", "contact", "1", "phone=22"], 0);
    shop.device("tablet", &["sync"], 0);
    shop.device("phone", &["update", "contact", "1", "phone=11"], 0);
    shop.device("phone", &["sync"], 1);
}

fn a_conflict_is_decided_and_both_devices_hold_the_same(shop: &Shop) {
    in_conflict(shop);
    let open = shop.entries(&["--user", "ann", "--entity", "contact"]);
    assert_eq!(open.len(), 1);
    let entry = &open[0];
    assert_eq!(
        (&entry["user"], &entry["id"], &entry["code"]),
        (&json!("ann"), &json!(1), &json!("row-changed"))
    );
    assert_eq!(entry["base"], json!({ "name": "Ann", "phone": "1" }));
    assert_eq!(entry["mine"], json!({ "phone": "11" }));
    assert_eq!(entry["theirs"], json!({ "name": "Ann", "phone": "22" }));
    assert_eq!(shop.entries(&["--user", "eve"]), Vec::<Json>::new());
    let n = shop.open();
    let (_, shown) = shop.inbox(&["show", &n]);
    for part in [
        "contact 1 by ann",
        "row-changed",
        "phone",
        "11",
        "22",
        "Nobody has decided",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let (exit, said) = shop.inbox(&["decide", &n, "--set", "phone=33", "--by", "dora"]);
    assert_eq!(exit, Some(0), "{said}");
    assert!(
        said.contains("The device is told with its next sync"),
        "{said}"
    );
    assert_eq!(shop.entries(&[]), Vec::<Json>::new());
    let (exit, said) = shop.inbox(&["decide", &n, "--theirs"]);
    assert_eq!(exit, Some(1));
    assert!(said.contains("set, by dora"), "{said}");

    shop.device("phone", &["sync"], 0);
    assert!(
        shop.device("phone", &["get", "contact", "1"], 0)
            .contains("33")
    );
    let changes = shop.device_json("phone", &["changes"]);
    let changes = changes["changes"].as_array().unwrap();
    let states: Vec<_> = changes.iter().map(|it| &it["state"]).collect();
    assert_eq!(states.len(), 2, "{changes:?}");
    for change in changes {
        assert_eq!(change["decided"]["by"], json!("dora"));
        assert_eq!(change["decided"]["what"], json!("applied"));
    }
    let said = shop.device("phone", &["changes"], 0);
    assert!(said.contains("applied on the server by dora"), "{said}");
    let said = shop.device("phone", &["status"], 0);
    assert!(said.contains("decided on the server"), "{said}");
    assert_eq!(shop.entries(&["--all"])[0]["told"], json!(false));
    shop.is_settled(&["phone", "tablet"]);
    assert_eq!(shop.entries(&["--all"])[0]["told"], json!(true));
}

#[test]
fn p6_a_conflict_is_decided_and_both_devices_hold_the_same_on_sqlite() {
    a_conflict_is_decided_and_both_devices_hold_the_same(&Shop::on_sqlite());
}

#[test]
fn p6_a_conflict_is_decided_and_both_devices_hold_the_same_on_postgres() {
    a_conflict_is_decided_and_both_devices_hold_the_same(&Shop::on_postgres());
}

/// A refused order with a line that waits for it: a constraint refuses the decision too, until the
/// label is corrected. Then both get there, under the number that the server gave.
fn a_refused_create_is_corrected_and_its_line_follows(shop: &Shop) {
    shop.device("phone", &["sync"], 0);
    let order = "INSERT INTO orders (label) VALUES ('taken')";
    shop.device("phone", &["sql", order], 0);
    shop.device("phone", &["sync"], 1);
    let line = "INSERT INTO line (order_no, pos, words) SELECT max(id), 1, 'w' FROM orders";
    shop.device("phone", &["sql", line], 0);
    let n = shop.open();
    let (exit, said) = shop.inbox(&["decide", &n, "--mine"]);
    assert_eq!(exit, Some(1), "{said}");
    for part in [
        "nothing is decided",
        "unique (label)",
        "--set NAME=VALUE",
        "--theirs",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(shop.open(), n);
    let (exit, said) = shop.inbox(&["decide", &n, "--set", "label=free"]);
    assert_eq!(exit, Some(0), "{said}");
    shop.device("phone", &["sync"], 0);
    shop.is_settled(&["phone"]);
    let seen = shop.device_json("phone", &["sql", "SELECT label, words FROM orders, line"]);
    assert!(seen.to_string().contains("free"), "{seen}");
    let sql = "SELECT count(*) AS n FROM line WHERE order_no < 1000000";
    let seen = shop.device_json("phone", &["sql", sql]);
    assert!(seen.to_string().contains('1'), "{seen}");
}

#[test]
fn p8_a_refused_create_is_corrected_and_its_line_follows_on_sqlite() {
    a_refused_create_is_corrected_and_its_line_follows(&Shop::on_sqlite());
}

#[test]
fn p8_a_refused_create_is_corrected_and_its_line_follows_on_postgres() {
    a_refused_create_is_corrected_and_its_line_follows(&Shop::on_postgres());
}

/// The user decides: the entry closes, however he decides, and says how.
fn what_a_user_decides_closes_the_entry(shop: &Shop) {
    in_conflict(shop);
    shop.device("phone", &["update", "contact", "2", "name=null"], 0);
    shop.device("phone", &["sync"], 1);
    assert_eq!(shop.entries(&[]).len(), 2);
    let changes = shop.device_json("phone", &["changes"]);
    for change in changes["changes"].as_array().unwrap() {
        let name = change["change"].as_str().unwrap();
        match change["id"] == json!(1) {
            true => shop.device("phone", &["resolve", name, "mine"], 0),
            false => shop.device("phone", &["drop", name], 0),
        };
    }
    shop.device("phone", &["sync"], 0);
    shop.device("phone", &["sync"], 0);
    let closed = shop.entries(&["--all"]);
    let how: Vec<_> = closed
        .iter()
        .map(|it| (&it["state"], &it["decision"]))
        .collect();
    let word = json!("closed");
    assert_eq!(how, [(&word, &json!("mine")), (&word, &json!("dropped"))]);
    let n = closed[0]["n"].to_string();
    let (exit, said) = shop.inbox(&["decide", &n, "--theirs"]);
    assert_eq!(exit, Some(1));
    assert!(said.contains("mine, by its user"), "{said}");
    shop.is_settled(&["phone", "tablet"]);
}

#[test]
fn p6_what_a_user_decides_closes_the_entry_on_sqlite() {
    what_a_user_decides_closes_the_entry(&Shop::on_sqlite());
}

#[test]
fn p6_what_a_user_decides_closes_the_entry_on_postgres() {
    what_a_user_decides_closes_the_entry(&Shop::on_postgres());
}

/// Both decide: the dispatcher was first, and the user hears of it in plain words.
#[test]
fn p2_who_decides_second_is_told() {
    let shop = Shop::on_sqlite();
    in_conflict(&shop);
    let n = shop.open();
    let changes = shop.device_json("phone", &["changes"]);
    let name = changes["changes"][0]["change"].as_str().unwrap().to_owned();
    shop.device("phone", &["resolve", &name, "phone=44"], 0);
    let (exit, said) = shop.inbox(&["decide", &n, "--mine", "--by", "dora"]);
    assert_eq!(exit, Some(0), "{said}");
    shop.device("phone", &["sync"], 1);
    let said = shop.device("phone", &["changes"], 0);
    assert!(said.contains("after it was decided here"), "{said}");
    let open = shop.entries(&[]);
    assert_eq!(open[0]["code"], json!("absorbed-known"));
    assert_eq!(open[0]["mine"], json!({ "phone": "44" }));
    assert_eq!(open[0]["theirs"]["phone"], json!("11"));
    let n = open[0]["n"].to_string();
    assert_eq!(shop.inbox(&["decide", &n, "--mine"]).0, Some(0));
    shop.is_settled(&["phone", "tablet"]);
    assert!(
        shop.device("phone", &["get", "contact", "1"], 0)
            .contains("44")
    );
}

/// It works beside a server and without one, and what is wrong is said.
#[test]
fn decisions_need_no_server_and_errors_name_the_remedy() {
    let mut shop = Shop::on_sqlite();
    in_conflict(&shop);
    shop.site.stop();
    let n = shop.open();
    for (words, exit, part) in [
        (vec!["show", "999"], 1, "there is no entry 999"),
        (vec!["decide", "999", "--mine"], 1, "there is no entry 999"),
        (vec!["decide", &n], 2, "--mine"),
        (
            vec!["decide", &n, "--mine", "--theirs"],
            2,
            "cannot be used with",
        ),
        (
            vec!["decide", &n, "--set", "odd=1"],
            1,
            "no attribute `odd`",
        ),
        (vec!["decide", &n, "--theirs", "--by", "dora"], 0, "Dropped"),
        (vec![], 0, "Nothing waits for a decision"),
    ] {
        let (ended, said) = shop.inbox(&words);
        assert_eq!(ended, Some(exit), "{words:?}: {said}");
        assert!(said.contains(part), "{words:?}: {said}");
    }
    shop.write("UPDATE contact SET name = 'Anna' WHERE id = 1");
    shop.site.restart();
    shop.device("phone", &["sync"], 0);
    shop.is_settled(&["phone"]);
    let kept = shop.device_json("phone", &["changes"]);
    assert_eq!(kept["changes"][0]["set"], json!({ "phone": "11" }));
    assert_eq!(kept["changes"][0]["decided"]["what"], json!("dropped"));
}

/// Every command of the page is one that there is.
#[test]
fn the_page_shows_commands_that_work() {
    let page = doc("inbox.md");
    let shop = Shop::on_sqlite();
    let commands = page
        .lines()
        .filter_map(|line| line.trim().strip_prefix("afield inbox"));
    let mut count = 0;
    for command in commands {
        let words = command.split("  ").next().unwrap_or_default();
        let words: Vec<&str> = words.split_whitespace().collect();
        let (exit, said) = shop.inbox(&words);
        assert_ne!(exit, Some(2), "{words:?}: {said}");
        count += 1;
    }
    assert!(count >= 5, "{count}");
}
