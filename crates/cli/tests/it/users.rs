//! Several people on one device.

use serde_json::{Value as Json, json};

use crate::support::{Site, succeed, texts};

const NOTES: &str = "CREATE TABLE note (id TEXT NOT NULL PRIMARY KEY, owner TEXT, text TEXT);
    INSERT INTO note VALUES ('a', 'ann', 'Ann''s'), ('b', 'bob', 'Bob''s')";

const MODEL: &str = r#"
    [local.note]
    from = "note"
    pattern = "last-write-wins"
    attributes = ["owner", "text"]
    scope = "owner = :user"
    [local.draft.attribute]
    title = "text"
"#;

fn token(site: &Site, user: &str) -> String {
    succeed(site.path(), &format!("token --user {user}"))
        .trim()
        .to_owned()
}

fn notes(repl: &mut crate::support::Repl) -> Json {
    repl.ok(r#"{"do":"query","sql":"SELECT id, text FROM note ORDER BY id"}"#)["rows"].clone()
}

#[test]
fn p7_users_hand_a_device_over_and_nobody_sees_or_sends_anothers() {
    let site = Site::with(NOTES, Some(MODEL));
    let (ann, bob) = (token(&site, "ann"), token(&site, "bob"));
    let mut repl = site.repl("shared");
    let login = |user: &str, token: &str| json!({ "do": "login", "user": user, "token": token });
    assert_eq!(repl.ask(&login("ann", &ann))["pending"], 0);
    repl.ok(r#"{"do":"sync"}"#);
    repl.ok(r#"{"do":"exec","sql":"UPDATE note SET text = 'of the day'"}"#);
    let draft = json!({
        "do": "action", "entity": "draft", "action": "create", "row": { "title": "only here" },
    });
    assert_eq!(repl.ask(&draft)["ok"], true);
    let refused = repl.line(r#"{"do":"logout"}"#);
    assert_eq!(refused["error"]["code"], "unsent-work", "{refused}");
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.starts_with("1 change is not settled"), "{message}");
    assert_eq!(
        repl.ok(r#"{"do":"status"}"#)["pending"],
        1,
        "she is still there"
    );
    assert_eq!(repl.ok(r#"{"do":"logout","keep":true}"#)["pending"], 1);
    // Nobody opens her store without her token: not with Bob's, and not with none.
    let locked = repl.line(r#"{"do":"open","user":"ann"}"#);
    assert_eq!(locked["error"]["code"], "sign-in", "{locked}");
    let anothers = repl.ask(&login("ann", &bob));
    assert_eq!(anothers["error"]["code"], "sign-in", "{anothers}");
    assert_eq!(repl.ask(&login("bob", &bob))["pending"], 0);
    let synced = repl.ok(r#"{"do":"sync"}"#);
    assert_eq!(
        (&synced["status"], &synced["pushed"]),
        (&json!("completed"), &json!(0))
    );
    assert_eq!(notes(&mut repl), json!([["b", "Bob's"]]));
    assert_eq!(site.ask("SELECT text FROM note WHERE id = 'a'"), ["Ann's"]);
    assert_eq!(repl.ok(r#"{"do":"logout"}"#)["pending"], 0);
    assert_eq!(repl.ask(&login("ann", &ann))["pending"], 1, "kept for her");
    assert_eq!(notes(&mut repl), json!([["a", "of the day"]]));
    assert_eq!(repl.ok(r#"{"do":"sync"}"#)["pushed"], 1);
    assert_eq!(
        site.ask("SELECT text FROM note WHERE id = 'a'"),
        ["of the day"]
    );
    let drafts = repl.ok(r#"{"do":"query","sql":"SELECT title FROM draft"}"#);
    assert_eq!(
        drafts["rows"],
        json!([["only here"]]),
        "p1: what is nowhere else is kept"
    );
    assert_eq!(repl.end().0, Some(0));
}

#[test]
fn who_is_erased_leaves_nothing() {
    let site = Site::with(NOTES, Some(MODEL));
    let ann = token(&site, "ann");
    let words = |command: &[&str]| {
        let store = ["shared", "--user", "ann", "--token", &ann];
        let words: Vec<_> = store.iter().chain(command).copied().collect();
        let (folder, rest) = words.split_first().unwrap();
        site.device_of(folder, rest)
    };
    assert!(words(&["sync"]).status.success());
    let created = words(&["create", "note", "id=c", "owner=ann", "text=new"]);
    assert!(created.status.success(), "{:?}", texts(&created));
    let refused = words(&["logout"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        texts(&refused).1.contains("1 change is not settled"),
        "{:?}",
        texts(&refused)
    );
    let gone = words(&["logout", "--erase"]);
    assert!(gone.status.success(), "{:?}", texts(&gone));
    assert!(
        texts(&gone).0.contains("1 change given up"),
        "{:?}",
        texts(&gone)
    );
    let left = std::fs::read_dir(site.path().join("shared")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["files"], "the folder for files alone");
}
