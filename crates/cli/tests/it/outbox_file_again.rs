//! Files of changes that go on meanwhile: a second file of the same device, decisions on both
//! devices, rows that leave.

use std::fs;

use serde_json::{Value as Json, json};

use crate::shop::{MODEL, Shop};
use crate::support::succeed;

/// What the changes of a device that are not settled set, with where they stand.
fn open(shop: &Shop, store: &str) -> Vec<(Json, Json)> {
    let changes = shop.json(store, &["changes"]);
    let changes = changes["changes"].as_array().unwrap().iter();
    let open = changes.filter(|it| it["state"] != "settled" && it["state"] != "dropped");
    open.map(|it| (it["state"].clone(), it["set"].clone()))
        .collect()
}

fn parked(shop: &Shop, store: &str) -> String {
    let changes = shop.json(store, &["changes"]);
    let mut changes = changes["changes"].as_array().unwrap().iter();
    let parked = changes.find(|it| it["state"] == "parked").unwrap();
    parked["change"].as_str().unwrap().to_owned()
}

fn both(shop: &Shop) {
    for store in ["phone", "tablet"] {
        shop.device(store, &["sync"], 0);
    }
}

/// Ann's edit of a phone number is in conflict on her phone.
fn in_conflict(shop: &Shop) {
    both(shop);
    shop.device("phone", &["update", "contact", "1", "phone=11"], 0);
    shop.site
        .write("UPDATE contact SET phone = '99' WHERE id = 1");
    shop.device("phone", &["sync"], 1);
}

/// What is typed into a conflict is folded into the parked change, under its id, which whoever took
/// the first file knows.
#[test]
fn p1_what_was_typed_into_a_conflict_after_one_file_comes_with_the_next() {
    what_is_typed_comes_with_the_next_file("phone", "tablet");
}

/// A conflict has come to the tablet with a file; what `from` types into it comes to `to`.
fn what_is_typed_comes_with_the_next_file(from: &str, to: &str) {
    let shop = Shop::on_sqlite();
    in_conflict(&shop);
    shop.device("phone", &["export", "first"], 0);
    shop.device("tablet", &["import", "first"], 0);
    shop.device(from, &["update", "contact", "1", "name=Later"], 0);
    shop.device(from, &["logout", "--export", "second"], 0);
    shop.device(to, &["import", "second"], 0);
    let here = open(&shop, to);
    let is_there = here.iter().any(|(_, set)| set["name"] == "Later");
    assert!(is_there, "what was typed is nowhere any more: {here:?}");
}

/// The same there and back: the device that made the first file knows its own group.
#[test]
fn p1_what_was_typed_on_the_other_device_comes_back_with_its_file() {
    what_is_typed_comes_with_the_next_file("tablet", "phone");
}

/// The log-out removes the file that it has just made.
#[test]
fn p1_a_file_under_the_name_of_the_token_is_refused_or_kept() {
    let shop = Shop::on_sqlite();
    shop.device("phone", &["sync"], 0);
    shop.device("phone", &["update", "contact", "1", "phone=11"], 0);
    let words = ["logout", "--export", "phone/ann.token", "--force"];
    let output = shop.site.device_of("phone", &words);
    let is_file = shop.site.path().join("phone/ann.token").exists();
    let is_store = shop.site.path().join("phone/ann.afield").exists();
    assert!(is_store || is_file, "neither store nor file: {output:?}");
}

/// `--force` takes the store of somebody else's on the same device.
#[test]
fn p1_a_file_does_not_replace_the_store_of_another_user() {
    let mut shop = Shop::on_sqlite();
    let ann = shop.site.token.clone();
    let bob = succeed(shop.site.path(), "token --user bob");
    shop.site.token = bob.trim().to_owned();
    shop.device("phone", &["--user", "bob", "sync"], 0);
    let words = ["--user", "bob", "update", "contact", "2", "phone=22"];
    shop.device("phone", &words, 0);
    shop.site.token = ann;
    shop.device("phone", &["--user", "ann", "sync"], 0);
    let words = ["--user", "ann", "update", "contact", "1", "phone=11"];
    shop.device("phone", &words, 0);
    let words = ["--user", "ann", "export", "phone/bob.afield", "--force"];
    shop.site.device_of("phone", &words);
    let store = fs::read(shop.site.path().join("phone/bob.afield")).unwrap();
    assert!(store.starts_with(b"SQLite format 3"), "Bob's store is gone");
}

/// The base of a change, and the bytes that were sent, speak of a row that left its user's scope.
/// On the device that made the file they were erased with the row.
#[test]
fn p7_of_a_conflict_about_a_row_that_left_nothing_but_what_was_typed_comes() {
    let scoped = MODEL.replacen("scope = \"everyone\"", "scope = \"name = :claim.who\"", 1);
    let mut shop = Shop::with(&scoped);
    let token = "token --user ann --claim who=\"Ann\"";
    shop.site.token = succeed(shop.site.path(), token).trim().to_owned();
    in_conflict(&shop);
    shop.device("phone", &["export", "file"], 0);
    shop.site
        .write("UPDATE contact SET name = 'Zed' WHERE id = 1");
    both_whatever(&shop);
    shop.device("tablet", &["import", "file"], 0);
    both_whatever(&shop);
    let bases = |store: &str| {
        let changes = shop.json(store, &["changes"]);
        changes["changes"][0]["base"].clone()
    };
    assert_eq!(bases("phone"), json!({}));
    assert_eq!(bases("tablet"), json!({}), "shown after a whole sync");
}

fn both_whatever(shop: &Shop) {
    for store in ["phone", "tablet"] {
        shop.site.device_of(store, &["sync"]);
    }
}

/// What its user decided to send again has another id and the same content as what is parked.
#[test]
fn p6_a_change_that_was_sent_again_is_sent_by_the_next_file_too() {
    let shop = Shop::on_sqlite();
    both(&shop);
    shop.device("phone", &["create", "orders", "label=taken"], 0);
    shop.device("phone", &["sync"], 1);
    shop.device("phone", &["export", "first"], 0);
    shop.device("tablet", &["import", "first"], 0);
    shop.site.write("UPDATE orders SET label = 'free'");
    shop.device("phone", &["retry", &parked(&shop, "phone")], 0);
    shop.device("phone", &["logout", "--export", "second"], 0);
    shop.device("tablet", &["import", "second"], 0);
    shop.site.device_of("tablet", &["sync"]);
    let there = shop.site.ask("SELECT label FROM orders ORDER BY label");
    assert_eq!(there, ["free", "taken"], "{:?}", open(&shop, "tablet"));
}

/// It does not wait behind the very change in whose place it stands.
#[test]
fn p1_a_corrected_change_takes_the_place_of_the_one_that_is_parked_here() {
    let shop = Shop::on_sqlite();
    both(&shop);
    shop.device("phone", &["create", "orders", "label=taken"], 0);
    shop.device("phone", &["sync"], 1);
    shop.device("phone", &["export", "first"], 0);
    shop.device("tablet", &["import", "first"], 0);
    let words = ["retry", &parked(&shop, "phone"), "label=fixed"];
    shop.device("phone", &words, 0);
    shop.device("phone", &["logout", "--export", "second"], 0);
    shop.device("tablet", &["import", "second"], 0);
    shop.site.device_of("tablet", &["sync"]);
    let here = open(&shop, "tablet");
    if !here.is_empty() {
        shop.device("tablet", &["drop", &parked(&shop, "tablet")], 0);
        shop.site.device_of("tablet", &["sync"]);
    }
    let there = shop.site.ask("SELECT label FROM orders ORDER BY label");
    assert_eq!(there, ["fixed", "taken"], "before the drop: {here:?}");
}
