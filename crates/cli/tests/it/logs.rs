//! Logs from end to end: devices, a server and whoever looks, as processes, on SQLite and on
//! PostgreSQL.

use std::fs;
use std::path::Path;

use afield_testbed::postgres::{Cluster, Database};
use serde_json::{Value as Json, json};

use crate::support::{Site, afield, texts};

const SHOP: &str = "
    CREATE TABLE contact (id INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL);
    INSERT INTO contact VALUES (1, 'Ann');";

const MODEL: &str = r#"
    [local.contact]
    from = "contact"
    pattern = "last-write-wins"
    attributes = ["name"]
    scope = "everyone"
"#;

/// A shop on either database.
struct Shop {
    site: Site,
    _postgres: Option<Database>,
}

impl Shop {
    fn on_sqlite() -> Self {
        Self {
            site: Site::with(SHOP, Some(MODEL)),
            _postgres: None,
        }
    }

    fn on_postgres() -> Self {
        let database = Cluster::shared().database(SHOP);
        Self {
            site: Site::on_with(&database.url, MODEL),
            _postgres: Some(database),
        }
    }

    /// A command of a device that must succeed.
    fn device(&self, store: &str, words: &[&str]) -> String {
        let output = self.site.device_of(store, words);
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {out}{err}");
        out
    }

    /// What of its log waits on a device.
    fn waits(&self, store: &str) -> Vec<Json> {
        let out = self.device(store, &["logs", "--json"]);
        let listed: Json = serde_json::from_str(&out).unwrap();
        listed["entries"].as_array().unwrap().clone()
    }

    /// `afield logs`, and how it ended.
    fn logs(&self, words: &[&str]) -> (Option<i32>, String) {
        let mut command = afield(self.site.path());
        let output = command.arg("logs").args(words).output().unwrap();
        let (out, err) = texts(&output);
        (output.status.code(), out + &err)
    }

    fn entries(&self, words: &[&str]) -> Vec<Json> {
        let words: Vec<_> = words.iter().copied().chain(["--json"]).collect();
        let (exit, out) = self.logs(&words);
        assert_eq!(exit, Some(0), "{out}");
        let listed: Json = serde_json::from_str(&out).unwrap();
        listed["entries"].as_array().unwrap().clone()
    }

    fn messages(&self, words: &[&str]) -> Vec<String> {
        let entries = self.entries(words).into_iter();
        let word = |entry: Json| entry["message"].as_str().unwrap().to_owned();
        entries.map(word).collect()
    }
}

/// What is logged offline comes with the next sync, once, and leaves the device.
fn a_log_comes_with_the_syncs(shop: &Shop) {
    assert_eq!(
        shop.logs(&[]).1,
        "No device said anything of the kind.\n",
        "before anybody said anything"
    );
    shop.device("phone", &["sync"]);
    shop.device("phone", &["log", "warn", "camera", "no light"]);
    shop.device("phone", &["log", "info", "camera", "42 pictures"]);
    shop.device("phone", &["update", "contact", "1", "name=Anna"]);
    assert_eq!(shop.waits("phone").len(), 2);
    for _ in 0..2 {
        shop.device("phone", &["sync"]);
        assert_eq!(shop.messages(&[]), ["no light", "42 pictures"]);
        assert_eq!(shop.waits("phone"), Vec::<Json>::new());
    }
    shop.device("tablet", &["sync"]);
    shop.device("tablet", &["log", "error", "scanner", "broken\n\u{1b}[2J"]);
    shop.device("tablet", &["sync"]);
    let warned = shop.entries(&["--level", "warn"]);
    let seen: Vec<_> = warned.iter().map(|it| &it["level"]).collect();
    assert_eq!(seen, [&json!("warn"), &json!("error")]);
    assert_ne!(warned[0]["device"], warned[1]["device"]);
    let device = warned[1]["device"].as_str().unwrap();
    let of_tablet = shop.messages(&["--device", device, "--since", "2h"]);
    assert_eq!(of_tablet, ["broken\n\u{1b}[2J"]);
    assert_eq!(shop.messages(&["--module", "camera"]).len(), 2);
    assert_eq!(shop.messages(&["--user", "nobody"]), [""; 0]);
    let user = warned[0]["user"].as_str().unwrap();
    assert_eq!(shop.messages(&["--user", user, "--limit", "1"]), of_tablet);
    let (_, shown) = shop.logs(&["--limit", "1"]);
    assert!(shown.contains("There are older ones") && shown.contains("broken"));
    assert!(!shown.contains('\u{1b}'), "a device writes no terminal");
    let (exit, told) = shop.logs(&["--since", "yesterday"]);
    assert_eq!(exit, Some(2), "{told}");
}

#[test]
fn p1_a_log_comes_with_the_syncs_on_sqlite() {
    a_log_comes_with_the_syncs(&Shop::on_sqlite());
}

#[test]
fn p1_a_log_comes_with_the_syncs_on_postgres() {
    a_log_comes_with_the_syncs(&Shop::on_postgres());
}

/// A copy of a device sends what both had, and what each said since: all of it is there, once.
#[test]
fn p2_a_copied_device_doubles_nothing() {
    let shop = Shop::on_sqlite();
    shop.device("phone", &["sync"]);
    shop.device("phone", &["log", "info", "app", "both"]);
    let path = shop.site.path();
    copy(&path.join("phone"), &path.join("copy"));
    for store in ["phone", "copy"] {
        shop.device(store, &["log", "info", "app", store]);
        shop.device(store, &["sync"]);
    }
    assert_eq!(shop.messages(&[]), ["both", "phone", "copy"]);
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}
