//! Keys on the command line.

use std::fs;
use std::path::Path;

use crate::support::{Site, afield, texts};

const SHOP: &str = "CREATE TABLE city (code TEXT NOT NULL PRIMARY KEY, name TEXT);
    INSERT INTO city VALUES ('BN', 'Bonn')";

/// Runs `afield device phone` with these words; gives the exit code and what it said.
fn device(site: &Site, environment: &[(&str, &str)], words: &[&str]) -> (i32, String, String) {
    let mut command = afield(site.path());
    command.args(["device", "phone"]).args(words);
    let output = command.envs(environment.iter().copied()).output().unwrap();
    let (out, err) = texts(&output);
    (output.status.code().unwrap(), out, err)
}

fn key(site: &Site, name: &str, digit: &str) -> String {
    let digits = digit.repeat(64);
    fs::write(site.path().join(name), format!("{digits}\n")).unwrap();
    digits
}

/// Expects `code`, and nothing said besides: not by the cipher's library, and not the key.
fn refused(site: &Site, environment: &[(&str, &str)], words: &[&str], code: &str, digits: &str) {
    let (exit, out, err) = device(site, environment, words);
    assert_eq!(
        (exit, &*out, err.lines().count()),
        (1, "", 1),
        "{words:?} {err}"
    );
    assert!(!err.contains(digits), "{words:?} {err}");
    let (exit, out, err) = device(site, environment, &[words, &["--json"]].concat());
    assert_eq!((exit, &*err), (1, ""), "{words:?}");
    assert!(
        out.contains(&format!("\"code\":\"{code}\"")),
        "{words:?} {out}"
    );
    assert!(!out.contains(digits), "{words:?} {out}");
}

fn is_plain(path: &Path) -> bool {
    fs::read(path).unwrap().starts_with(b"SQLite format 3\0")
}

#[test]
#[cfg(not(feature = "encryption"))]
fn a_program_that_cannot_encrypt_takes_no_key() {
    let site = Site::new(SHOP);
    site.device_ok(&["sync"]);
    let path = site.path().join("phone/ann.afield");
    let digits = key(&site, "key", "7");
    let before = fs::read(&path).unwrap();
    for (environment, words) in [
        (&[][..], &["--key-file", "key", "status"][..]),
        (&[("AFIELD_KEY", &*digits)], &["status"]),
        (
            &[("AFIELD_KEY", &*digits)],
            &["rekey", "--new-key-file", "key"],
        ),
        (&[("AFIELD_KEY", &*digits)], &["--user", "bob", "open"]),
    ] {
        refused(&site, environment, words, "no-encryption", &digits);
    }
    assert!(before == fs::read(&path).unwrap(), "a byte changed");
    assert!(!site.path().join("phone/bob.afield").exists());
    assert!(is_plain(&path));
}

#[test]
#[cfg(feature = "encryption")]
fn a_store_is_encrypted_and_gets_another_key() {
    let site = Site::new(SHOP);
    let (one, two) = (key(&site, "one", "1"), key(&site, "two", "2"));
    site.device_ok(&["sync"]);
    site.device_ok(&["create", "city", "code=K", "name=Cologne"]);
    let path = site.path().join("phone/ann.afield");
    assert!(is_plain(&path));

    // The first command with a key encrypts it; what was to be sent still is.
    let (code, out, err) = device(&site, &[], &["--key-file", "one", "status"]);
    assert_eq!((code, &*err), (0, ""));
    assert!(out.contains("1 change waits to be sent"), "{out}");
    assert!(!is_plain(&path));

    let before = fs::read(&path).unwrap();
    for (environment, words, expected) in [
        (&[][..], &["status"][..], "key-missing"),
        (&[("AFIELD_KEY", &*two)], &["status"], "key-wrong"),
        (&[("AFIELD_KEY", "secret")], &["status"], "key-malformed"),
        (&[], &["--key-file", "none", "status"], "key-missing"),
        (
            &[],
            &["--key-file", "two", "rekey", "--new-key-file", "none"],
            "key-missing",
        ),
    ] {
        for digits in [&one, &two] {
            refused(&site, environment, words, expected, digits);
        }
    }
    assert!(before == fs::read(&path).unwrap(), "a byte changed");

    let environment = [("AFIELD_KEY", &*one), ("AFIELD_NEW_KEY", &*two)];
    // The second time it has that key already, as if the first had died before it could say so.
    for _ in 0..2 {
        let (code, out, err) = device(&site, &environment, &["rekey", "--json"]);
        assert_eq!((code, &*err), (0, ""));
        assert_eq!(out, "{\"rekeyed\":true,\"user\":\"ann\"}\n");
    }
    refused(
        &site,
        &[("AFIELD_KEY", &*one)],
        &["status"],
        "key-wrong",
        &one,
    );
    let (code, out, err) = device(&site, &[], &["--key-file", "two", "sync"]);
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("1 change applied"), "{out}");
}

#[test]
#[cfg(feature = "encryption")]
fn a_new_store_never_was_plain() {
    let site = Site::new(SHOP);
    key(&site, "key", "a");
    let words = ["--user", "bob", "--key-file", "key", "open"];
    let (code, _, err) = device(&site, &[], &words);
    assert_eq!(code, 0, "{err}");
    assert!(!is_plain(&site.path().join("phone/bob.afield")));
}
