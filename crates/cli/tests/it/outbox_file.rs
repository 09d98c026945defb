//! Changes that travel in a file, end to end: devices, a server and its database as processes, on
//! SQLite and on PostgreSQL.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value as Json, json};

use crate::proxy::{Fault, Proxy};
use crate::shop::{MODEL, Shop};
use crate::support::{afield, doc, succeed, texts};

impl Shop {
    /// `afield import`, and how it ended.
    fn import(&self, words: &[&str]) -> (Option<i32>, String) {
        self.beside("import", words)
    }

    /// What a new device gets of the server's rows.
    fn rows(&self, sql: &str) -> Json {
        let _ = fs::remove_dir_all(self.site.path().join("reader"));
        self.device("reader", &["sync"], 0);
        self.json("reader", &["sql", sql])["rows"].clone()
    }

    /// A week's work without a network, in a file: an edit, an order with two lines in
    /// transactions of their own, and three that were taken from the stock.
    fn a_week(&self) {
        self.device("phone", &["sync"], 0);
        self.device("phone", &["update", "contact", "1", "phone=11"], 0);
        let order = self.json("phone", &["create", "orders", "label=new"]);
        let order = order["id"].to_string();
        for pos in ["1", "2"] {
            let (no, pos) = (format!("order_no={order}"), format!("pos={pos}"));
            self.device("phone", &["create", "line", &no, &pos, "words=w"], 0);
        }
        let taken = "UPDATE stock SET amount = amount - 3";
        self.device("phone", &["sql", taken], 0);
        self.device("phone", &["export", "ann.outbox"], 0);
    }

    /// Everything of that week is there, once.
    fn has_the_week(&self) {
        let sql = "SELECT (SELECT phone FROM contact WHERE id = 1), \
                   (SELECT group_concat(label) FROM (SELECT label FROM orders ORDER BY label)), \
                   (SELECT count(*) FROM line WHERE order_no = \
                      (SELECT id FROM orders WHERE label = 'new')), \
                   (SELECT amount FROM stock)";
        assert_eq!(self.rows(sql), json!([["11", "new,taken", 2, 7]]));
    }

    fn lose(&self, store: &str) {
        fs::remove_dir_all(self.site.path().join(store)).unwrap();
    }
}

fn a_lost_phones_work_comes_from_a_new_one(shop: &Shop) {
    shop.a_week();
    shop.lose("phone");
    // Before its first sync, with nothing but the model.
    let words = ["--model", "afield.toml", "import", "ann.outbox"];
    let said = shop.device("tablet", &words, 0);
    assert!(said.contains("5 changes (5 to be sent)"), "{said}");
    let seen = shop.json("tablet", &["sql", "SELECT label FROM orders"]);
    assert_eq!(seen["rows"], json!([["new"]]));
    shop.is_settled(&["tablet"]);
    shop.has_the_week();
    let again = shop.json("tablet", &["import", "ann.outbox"]);
    assert_eq!((&again["groups"], &again["known"]), (&json!(0), &json!(5)));
    shop.is_settled(&["tablet"]);
    shop.has_the_week();
}

#[test]
fn p1_p2_a_lost_phones_work_comes_from_a_new_one_on_sqlite() {
    a_lost_phones_work_comes_from_a_new_one(&Shop::on_sqlite());
}

#[test]
fn p1_p2_a_lost_phones_work_comes_from_a_new_one_on_postgres() {
    a_lost_phones_work_comes_from_a_new_one(&Shop::on_postgres());
}

/// Both send it; the first one's answer is lost.
fn whoever_comes_first_it_takes_effect_once(shop: &Shop, order: [&str; 2]) {
    shop.a_week();
    shop.device("tablet", &["sync"], 0);
    shop.device("tablet", &["import", "ann.outbox"], 0);
    let upstream = shop.site.address.trim_start_matches("http://");
    let proxy = Proxy::start(upstream.parse().unwrap());
    let is_first = AtomicBool::new(true);
    proxy.rule(move |request| {
        let loses = request.is_sync() && is_first.swap(false, Ordering::SeqCst);
        match loses {
            true => Fault::LoseAnswer,
            false => Fault::Pass,
        }
    });
    let mut command = afield(shop.site.path());
    command.args(["device", order[0], "--server", proxy.url(), "sync"]);
    command.env("AFIELD_TOKEN", &shop.site.token);
    command.output().unwrap();
    assert_eq!(proxy.broken(), 1);
    shop.device(order[1], &["sync"], 0);
    shop.is_settled(&order);
    shop.has_the_week();
    let (exit, said) = shop.import(&["ann.outbox"]);
    assert_eq!(exit, Some(0), "{said}");
    shop.is_settled(&order);
    shop.has_the_week();
}

#[test]
fn p2_whoever_comes_first_it_takes_effect_once_on_sqlite() {
    whoever_comes_first_it_takes_effect_once(&Shop::on_sqlite(), ["phone", "tablet"]);
    whoever_comes_first_it_takes_effect_once(&Shop::on_sqlite(), ["tablet", "phone"]);
}

#[test]
fn p2_whoever_comes_first_it_takes_effect_once_on_postgres() {
    whoever_comes_first_it_takes_effect_once(&Shop::on_postgres(), ["phone", "tablet"]);
    whoever_comes_first_it_takes_effect_once(&Shop::on_postgres(), ["tablet", "phone"]);
}

fn the_server_takes_the_file_and_the_device_hears_of_it(shop: &Shop) {
    shop.a_week();
    let (exit, shown) = shop.import(&["ann.outbox", "--dry-run"]);
    assert_eq!(exit, Some(0), "{shown}");
    for part in [
        "A file of ann's",
        "5 changes in 5 transactions",
        "ready",
        "phone=11",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert_eq!(shop.rows("SELECT amount FROM stock"), json!([[10]]));
    let (exit, first) = shop.import(&["ann.outbox", "--user", "ann", "--json"]);
    assert_eq!(exit, Some(0), "{first}");
    shop.has_the_week();
    let (exit, second) = shop.import(&["ann.outbox", "--user", "ann", "--json"]);
    assert_eq!((exit, &second), (Some(0), &first));
    shop.has_the_week();
    shop.is_settled(&["phone"]);
    let outcomes = shop.json("phone", &["outcomes"]);
    let outcomes = outcomes["outcomes"].as_array().unwrap();
    assert_eq!(outcomes.len(), 5);
    assert!(outcomes.iter().all(|it| it["result"] == "applied"));
    shop.device("tablet", &["sync"], 0);
    shop.device("tablet", &["import", "ann.outbox"], 0);
    shop.is_settled(&["tablet"]);
    shop.has_the_week();
}

#[test]
fn p2_the_server_takes_the_file_and_the_device_hears_of_it_on_sqlite() {
    the_server_takes_the_file_and_the_device_hears_of_it(&Shop::on_sqlite());
}

#[test]
fn p2_the_server_takes_the_file_and_the_device_hears_of_it_on_postgres() {
    the_server_takes_the_file_and_the_device_hears_of_it(&Shop::on_postgres());
}

/// A phone number is in conflict; an order will be refused, and its line waits for it; another
/// phone number will be in conflict, and the name behind it waits; the stock flows.
fn some_are_refused(shop: &Shop) {
    for store in ["phone", "tablet"] {
        shop.device(store, &["sync"], 0);
    }
    shop.device("tablet", &["update", "contact", "1", "phone=22"], 0);
    shop.device("tablet", &["sync"], 0);
    shop.device("phone", &["update", "contact", "1", "phone=11"], 0);
    shop.device("phone", &["sync"], 1);
    shop.device("phone", &["update", "contact", "1", "name=Anna"], 0);
    shop.device("tablet", &["update", "contact", "2", "phone=77"], 0);
    shop.device("tablet", &["sync"], 0);
    let order = shop.json("phone", &["create", "orders", "label=taken"]);
    let no = format!("order_no={}", order["id"]);
    shop.device("phone", &["create", "line", &no, "pos=1", "words=w"], 0);
    shop.device("phone", &["update", "contact", "2", "phone=88"], 0);
    let taken = "UPDATE stock SET amount = amount - 3";
    shop.device("phone", &["sql", taken], 0);
    shop.device("phone", &["update", "contact", "2", "name=Bobby"], 0);
}

fn what_is_refused_waits_for_its_user(shop: &Shop) {
    some_are_refused(shop);
    shop.device("phone", &["export", "ann.outbox"], 0);
    let import = || {
        let (exit, said) = shop.import(&["ann.outbox", "--json"]);
        assert_eq!(exit, Some(1), "{said}");
        let said: Json = serde_json::from_str(&said).unwrap();
        let changes = said["changes"].as_array().unwrap().clone();
        let facts = changes.iter().map(|it| {
            let facts = (&it["entity"], &it["result"], &it["code"]);
            json!([facts.0, facts.1, facts.2])
        });
        (Json::Array(facts.collect()), changes)
    };
    let (facts, changes) = import();
    let expected = json!([
        ["contact", "parked", "row-changed"],
        ["orders", "rejected", "unique"],
        ["line", "waits", null],
        ["contact", "conflict", "row-changed"],
        ["stock", "applied", null],
        ["contact", "waits", null],
    ]);
    assert_eq!(facts, expected);
    assert!(changes[0]["inbox"].is_number() && changes[1]["inbox"].is_number());
    assert_eq!(import().0, expected);
    assert_eq!(shop.rows("SELECT amount FROM stock"), json!([[7]]));

    // On another device of his he decides, with what he typed since.
    shop.lose("phone");
    shop.lose("tablet");
    shop.device("tablet", &["sync"], 0);
    shop.device("tablet", &["import", "ann.outbox"], 0);
    shop.device("tablet", &["sync"], 1);
    let conflicts = shop.json("tablet", &["conflicts"]);
    let conflicts = conflicts["conflicts"].as_array().unwrap();
    assert_eq!(conflicts.len(), 2);
    for conflict in conflicts {
        let conflict = conflict["conflict"].as_str().unwrap();
        shop.device("tablet", &["resolve", conflict, "mine"], 0);
    }
    let changes = shop.json("tablet", &["changes"]);
    let changes = changes["changes"].as_array().unwrap();
    let refused = changes.iter().find(|it| it["code"] == "unique").unwrap();
    let refused = refused["change"].as_str().unwrap();
    shop.device("tablet", &["retry", refused, "label=free"], 0);
    shop.is_settled(&["tablet"]);
    let sql = "SELECT name, phone, (SELECT count(*) FROM line JOIN orders ON id = order_no \
               WHERE label = 'free'), (SELECT amount FROM stock) FROM contact WHERE id = 1";
    assert_eq!(shop.rows(sql), json!([["Anna", "11", 1, 7]]));
    let sql = "SELECT name, phone FROM contact WHERE id = 2";
    assert_eq!(shop.rows(sql), json!([["Bobby", "88"]]));
}

#[test]
fn p6_p8_what_is_refused_waits_for_its_user_on_sqlite() {
    what_is_refused_waits_for_its_user(&Shop::on_sqlite());
}

#[test]
fn p6_p8_what_is_refused_waits_for_its_user_on_postgres() {
    what_is_refused_waits_for_its_user(&Shop::on_postgres());
}

#[test]
fn p7_a_file_has_its_users_rights_and_nobody_elses() {
    let scoped = MODEL.replacen("scope = \"everyone\"", "scope = \"name = :claim.who\"", 1);
    let mut shop = Shop::with(&scoped);
    let token = "token --user ann --claim who=\"Ann\"";
    shop.site.token = succeed(shop.site.path(), token).trim().to_owned();
    shop.a_week();
    for (words, exit, part) in [
        (
            &["ann.outbox", "--user", "eve"][..],
            1,
            "changes of `ann`, not of `eve`",
        ),
        (&["ann.outbox"], 1, "the claim `who` of the user's token"),
        (&["missing"], 1, "No such file"),
        (&["afield.toml"], 1, "no file of changes"),
        (&["ann.outbox", "--claim", "who"], 2, "NAME=JSON"),
        (&["ann.outbox", "--claim", "who=\"Bob\""], 1, "gone"),
    ] {
        let (ended, said) = shop.import(words);
        assert_eq!(ended, Some(exit), "{words:?}: {said}");
        assert!(said.contains(part), "{words:?}: {said}");
    }
    assert_eq!(shop.rows("SELECT phone FROM contact"), json!([["1"]]));
    let eve = succeed(shop.site.path(), "token --user eve --claim who=\"Ann\"");
    shop.site.token = eve.trim().to_owned();
    let said = shop.device(
        "evil",
        &["--model", "afield.toml", "import", "ann.outbox"],
        1,
    );
    assert!(said.contains("changes of `ann`"), "{said}");
}

#[test]
fn p2_a_file_from_before_the_server_was_set_back_is_for_a_device() {
    let mut shop = Shop::on_sqlite();
    let database = shop.site.path().join("shop.sqlite");
    let backup = shop.site.path().join("backup");
    shop.site.stop();
    fs::copy(&database, &backup).unwrap();
    shop.site.restart();
    shop.a_week();
    shop.site.stop();
    for ending in ["-wal", "-shm"] {
        let _ = fs::remove_file(shop.site.path().join(format!("shop.sqlite{ending}")));
    }
    fs::copy(&backup, &database).unwrap();
    shop.site.restart();
    let (exit, said) = shop.import(&["ann.outbox"]);
    assert_eq!(exit, Some(1), "{said}");
    assert!(said.contains("set back since the file was made"), "{said}");
    shop.device("tablet", &["sync"], 0);
    shop.device("tablet", &["import", "ann.outbox"], 0);
    shop.is_settled(&["tablet"]);
    shop.has_the_week();
}

#[test]
fn p9_a_transaction_that_is_larger_than_the_server_takes_is_refused_as_in_a_sync() {
    let shop = Shop::with(&format!("[limits]\ngroup_changes_max = 100\n{MODEL}"));
    shop.device("phone", &["sync"], 0);
    let many = "WITH RECURSIVE n (i) AS (SELECT 9 UNION ALL SELECT i + 1 FROM n WHERE i < 200) \
                INSERT INTO contact SELECT i, 'n', 'p' FROM n";
    shop.device("phone", &["sql", many], 0);
    shop.device("phone", &["sql", "UPDATE stock SET amount = 4"], 0);
    shop.device("phone", &["export", "ann.outbox"], 0);
    let (exit, said) = shop.import(&["ann.outbox"]);
    assert_eq!(exit, Some(1));
    assert!(said.contains("group-too-large"), "{said}");
    assert_eq!(shop.rows("SELECT amount FROM stock"), json!([[4]]));
}

#[test]
fn p1_who_logs_out_with_a_file_leaves_nothing_behind_and_loses_nothing() {
    let shop = Shop::on_sqlite();
    shop.a_week();
    let refused = shop.device("phone", &["logout"], 1);
    assert!(refused.contains("export them to a file"), "{refused}");
    let stays = shop.device("phone", &["logout", "--export", "ann.outbox"], 1);
    assert!(stays.contains("is there already"), "{stays}");
    assert_eq!(shop.json("phone", &["status"])["pending"], json!(5));
    let words = ["logout", "--export", "nowhere/ann.outbox"];
    shop.device("phone", &words, 1);
    shop.device("phone", &["logout", "--export", "x", "--keep"], 2);
    shop.device("phone", &["logout", "--force"], 2);
    assert_eq!(shop.json("phone", &["status"])["pending"], json!(5));
    let said = shop.device("phone", &["logout", "--export", "ann.outbox", "--force"], 0);
    assert!(said.contains("Nothing of ann's is left"), "{said}");
    assert!(!shop.site.path().join("phone/ann.afield").exists());
    shop.device(
        "phone",
        &["--model", "afield.toml", "import", "ann.outbox"],
        0,
    );
    shop.is_settled(&["phone"]);
    shop.has_the_week();
    // Nothing is left to be sent: there is no file, and he may go.
    let said = shop.device("phone", &["logout", "--export", "none"], 0);
    assert!(said.contains("nothing was left to be sent"), "{said}");
    assert!(!shop.site.path().join("none").exists());
}

#[test]
fn p1_the_repl_logs_out_with_a_file() {
    let shop = Shop::on_sqlite();
    shop.a_week();
    let mut repl = shop.site.repl("phone");
    let refused = repl.line(r#"{"do":"logout","export":"ann.outbox"}"#);
    assert_eq!(refused["error"]["code"], "file-exists", "{refused}");
    let refused = repl.line(r#"{"do":"logout","export":"x","keep":true}"#);
    assert_eq!(refused["error"]["code"], "malformed", "{refused}");
    assert_eq!(repl.ok(r#"{"do":"status"}"#)["pending"], 5);
    let left = repl.ok(r#"{"do":"logout","export":"ann.outbox","force":true}"#);
    assert_eq!((&left["pending"], &left["groups"]), (&json!(5), &json!(5)));
    assert!(!shop.site.path().join("phone/ann.afield").exists());
}

#[test]
fn the_page_shows_commands_that_there_are() {
    let page = doc("outbox-file.md");
    let shop = Shop::on_sqlite();
    shop.a_week();
    shop.device("tablet", &["sync"], 0);
    fs::remove_file(shop.site.path().join("ann.outbox")).unwrap();
    let mut count = 0;
    for line in page.lines().filter(|line| line.starts_with("afield ")) {
        let command = line.split("  ").next().unwrap();
        let words = command.split_whitespace().skip(1);
        let words: Vec<&str> = words.map(|word| word.trim_matches('\'')).collect();
        let output = afield(shop.site.path()).args(&words).output().unwrap();
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {out}{err}");
        count += 1;
    }
    assert!(count >= 5, "{count}");
}
