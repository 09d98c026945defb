//! Projects that people open and close on their devices, over real HTTP.

use afield::engine::SyncStatus;
use serde_json::{Value as Json, json};

use crate::support::{Repl, afield, succeed};
use crate::world::{Device, World, server_settings};

const SCHEMA: &str = "
    CREATE TABLE project_member (
      user_id TEXT NOT NULL, project_id INTEGER NOT NULL, PRIMARY KEY (user_id, project_id)
    );
    CREATE TABLE project (id INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL);
    CREATE TABLE visit (
      id INTEGER PRIMARY KEY NOT NULL, project_id INTEGER NOT NULL REFERENCES project (id),
      words TEXT
    );
    CREATE INDEX visit_project ON visit (project_id);
    CREATE TABLE remark (
      id INTEGER PRIMARY KEY NOT NULL, visit_id INTEGER NOT NULL REFERENCES visit (id), words TEXT
    );
    CREATE INDEX remark_visit ON remark (visit_id);
    INSERT INTO project VALUES (1, 'one'), (2, 'two'), (3, 'three'), (4, 'four');
    INSERT INTO project_member VALUES ('ann', 1), ('ann', 2), ('ann', 3), ('bob', 4);
    INSERT INTO visit VALUES (10, 1, 'v1'), (20, 2, 'v2'), (30, 3, 'v3'), (40, 4, 'marker-bob');
    INSERT INTO remark VALUES (1, 10, 'r1'), (2, 20, 'r2'), (3, 30, 'r3'), (4, 40, 'marker-bob');
";

fn model() -> String {
    server_settings(5_000)
        + r#"
[local.visit]
from = "visit"
pattern = "last-write-wins"
attributes = ["project_id", "words"]
may_reference = ["project_id"]
scope = "project_id in projects"
[local.remark]
from = "remark"
pattern = "detect-conflicts"
attributes = ["visit_id", "words"]
scope = "visit_id.project_id in projects"
[scope.projects]
chosen = "SELECT 1 FROM project_member WHERE user_id = :user AND project_id = :value"
keep_chosen = "7 days"
"#
}

fn world() -> World {
    World::of(SCHEMA, &model(), "")
}

fn choose(device: &Device, project: i64) {
    let mut store = device.client.store();
    store.choose("projects", project).unwrap();
}

fn sync(device: &Device) {
    let report = device.sync();
    assert_eq!(report.status, SyncStatus::Completed, "{report:?}");
}

/// The visits and remarks that a device has.
fn ids(device: &Device) -> String {
    let sql = "SELECT (SELECT coalesce(group_concat(id), '') FROM visit) || '/' || \
               (SELECT coalesce(group_concat(id), '') FROM remark)";
    device.read(sql).unwrap()
}

#[test]
fn p7_open_projects_come_and_closed_ones_leave() {
    let world = world();
    let ann = world.downloaded("phone", "ann");
    assert_eq!(ids(&ann), "/");
    for project in [1, 4, 99] {
        choose(&ann, project);
    }
    sync(&ann);
    assert_eq!(ids(&ann), "10/1", "hers and nothing else");
    choose(&ann, 2);
    sync(&ann);
    assert_eq!(ids(&ann), "10,20/1,2");
    assert!(ann.client.store().unchoose("projects", 1).unwrap());
    assert_eq!(ids(&ann), "10,20/1,2", "until the next sync");
    sync(&ann);
    assert_eq!(ids(&ann), "20/2");
    // The choice runs out.
    let path = ann.file();
    let raw = rusqlite::Connection::open(path).unwrap();
    raw.execute_batch("UPDATE afield_chosen SET until = 1")
        .unwrap();
    sync(&ann);
    assert_eq!(ids(&ann), "/");
    assert!(ann.client.store().chosen(None).unwrap().is_empty());
}

#[test]
fn p7_a_choice_that_is_allowed_no_more_or_at_last() {
    let world = world();
    let ann = world.downloaded("phone", "ann");
    choose(&ann, 1);
    choose(&ann, 4);
    sync(&ann);
    world.team_writes("DELETE FROM project_member WHERE project_id = 1");
    sync(&ann);
    assert_eq!(ids(&ann), "/");
    world.team_writes("INSERT INTO project_member VALUES ('ann', 4), ('ann', 1)");
    sync(&ann);
    assert_eq!(ids(&ann), "10,40/1,4", "it stayed chosen all the time");
}

#[test]
fn p1_edits_of_a_project_that_was_closed_reach_the_server() {
    let world = world();
    let ann = world.downloaded("phone", "ann");
    choose(&ann, 1);
    sync(&ann);
    ann.write("UPDATE visit SET words = 'typed' WHERE id = 10");
    ann.write("UPDATE remark SET words = 'typed too' WHERE id = 1");
    ann.write("INSERT INTO visit (id, project_id, words) VALUES (50, 3, 'made')");
    ann.client.store().unchoose("projects", 1).unwrap();
    sync(&ann);
    assert_eq!(ids(&ann), "/");
    let written = "SELECT group_concat(words) FROM (SELECT words FROM visit WHERE id IN (10, 50) \
                   UNION ALL SELECT words FROM remark WHERE id = 1)";
    let expected = "typed,made,typed too".to_owned();
    assert_eq!(world.value(written), rusqlite::types::Value::Text(expected));
    // A project that is nobody's of hers is forbidden whatever she has open.
    choose(&ann, 4);
    sync(&ann);
    ann.write("INSERT INTO visit (id, project_id, words) VALUES (51, 4, 'forged')");
    assert_eq!(ann.sync().status, SyncStatus::Incomplete);
    let mut store = ann.client.store();
    let outcome = store.outcomes(0).unwrap().pop().unwrap();
    assert_eq!(outcome.code.unwrap().as_str(), "forbidden");
    assert_eq!(store.status().unwrap().parked, 1);
}

/// What a row says that has left is not shown: it comes back with the choice, and then the conflict
/// is decided like any other. Nobody's words are lost or overwritten unseen meanwhile.
#[test]
fn p6_a_conflict_on_a_row_whose_choice_ran_out_waits_for_the_row() {
    let world = world();
    let ann = world.downloaded("phone", "ann");
    choose(&ann, 1);
    sync(&ann);
    ann.write("UPDATE remark SET words = 'mine' WHERE id = 1");
    world.team_writes("UPDATE remark SET words = 'theirs' WHERE id = 1");
    ann.client.store().unchoose("projects", 1).unwrap();
    assert_eq!(ann.sync().status, SyncStatus::Incomplete);
    let open = |device: &Device| device.client.store().conflicts().unwrap().remove(0);
    assert_eq!(open(&ann).theirs, None);
    assert_eq!(open(&ann).mine.unwrap()["words"], "mine".into());
    choose(&ann, 1);
    sync(&ann);
    let conflict = open(&ann);
    assert_eq!(conflict.theirs.unwrap()["words"], "theirs".into());
    let take = afield::Resolution::Mine;
    ann.client
        .store()
        .resolve(&conflict.conflict, &take)
        .unwrap();
    sync(&ann);
    let words = world.value("SELECT words FROM remark WHERE id = 1");
    assert_eq!(words, rusqlite::types::Value::Text("mine".into()));
}

#[test]
fn p5_two_devices_of_one_user_have_their_own_projects_open() {
    let mut world = world();
    let phone = world.downloaded("phone", "ann");
    let tablet = world.downloaded("tablet", "ann");
    choose(&phone, 1);
    choose(&tablet, 2);
    choose(&tablet, 3);
    for _ in 0..2 {
        sync(&phone);
        sync(&tablet);
        assert_eq!(
            (ids(&phone).as_str(), ids(&tablet).as_str()),
            ("10/1", "20,30/2,3")
        );
        world.team_writes("UPDATE visit SET words = words || '!'");
        sync(&tablet);
        sync(&phone);
        world.start_server();
    }
    assert_eq!(
        phone.read("SELECT words FROM visit").as_deref(),
        Some("v1!!")
    );
    // A copy of the tablet's store that chooses otherwise.
    choose(&phone, 2);
    tablet.client.store().unchoose("projects", 2).unwrap();
    sync(&phone);
    sync(&tablet);
    assert_eq!(
        (ids(&phone).as_str(), ids(&tablet).as_str()),
        ("10,20/1,2", "30/3")
    );
}

/// With `erase`, a closed project leaves no byte in any file; nobody sees it in the middle of that.
#[test]
fn p7_nothing_of_a_closed_project_stays_in_the_files() {
    let model = model().replace("[local.remark]", "erase = true\n[local.remark]");
    let world = World::of(SCHEMA, &model, "");
    world.team_writes("UPDATE visit SET words = 'secret-' || id");
    let ann = world.downloaded("phone", "ann");
    choose(&ann, 1);
    choose(&ann, 2);
    sync(&ann);
    let holds = |needle: &str| {
        let folder = ann.file().parent().unwrap().to_owned();
        let files = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().path());
        let mut bytes = files
            .filter(|path| path.is_file())
            .map(|path| std::fs::read(path).unwrap());
        bytes.any(|bytes| {
            bytes
                .windows(needle.len())
                .any(|at| at == needle.as_bytes())
        })
    };
    assert!(holds("secret-10") && holds("secret-20"));
    ann.client.store().unchoose("projects", 1).unwrap();
    sync(&ann);
    assert!(!holds("secret-10") && holds("secret-20"));
    assert!(!ann.client.store().status().unwrap().erase_due);
}

/// `why` says whether he may choose it; where he has, only his devices know.
#[test]
fn p10_why_speaks_of_what_may_be_chosen() {
    let world = world();
    for (visit, is_allowed, words) in [
        (10, true, "[scope.projects] lets ann choose it"),
        (40, false, "[scope.projects] does not let ann choose it"),
    ] {
        let ask = |json: &str| {
            let mut command = afield(world.path());
            command.args(["why", "visit", &visit.to_string(), "--user", "ann"]);
            let output = command.args(json.split_whitespace()).output().unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        let text = ask("");
        assert!(text.contains(words), "{text}");
        let json: Json = serde_json::from_str(&ask("--json")).unwrap();
        assert_eq!(json["on_devices"], json!(is_allowed), "{json}");
        assert!(json.to_string().contains("\"from\":\"chosen\""), "{json}");
    }
}

#[test]
fn the_command_line_chooses_too() {
    let world = world();
    let token = world.token("ann");
    let device = |words: &str| {
        let url = world.proxy.url();
        let words =
            format!("device phone --server {url} --token {token} --user ann --json {words}");
        let out = succeed(world.path(), &words);
        serde_json::from_str::<Json>(&out).unwrap()
    };
    device("sync");
    let chosen = device("choose projects 1");
    assert_eq!(chosen["chosen"][0]["value"], json!(1));
    device("sync");
    let list = device("list visit");
    assert_eq!(list["rows"].as_array().unwrap().len(), 1, "{list}");
    assert_eq!(device("unchoose projects 1"), json!({ "unchosen": true }));
    assert_eq!(device("unchoose projects 1"), json!({ "unchosen": false }));
    assert_eq!(device("chosen"), json!({ "chosen": [] }));
    let mut command = afield(world.path());
    command.args(["device", "phone", "--repl"]);
    let mut repl = Repl::start(command);
    let refused = repl.line(r#"{"do":"choose","scope":"places","value":1}"#);
    assert_eq!(
        refused["error"]["code"],
        json!("unknown-scope"),
        "{refused}"
    );
    let refused = repl.line(r#"{"do":"choose","scope":"projects","value":"one"}"#);
    assert_eq!(
        refused["error"]["code"],
        json!("type-mismatch"),
        "{refused}"
    );
    repl.ok(r#"{"do":"choose","scope":"projects","value":2}"#);
    let chosen = repl.ok(r#"{"do":"chosen","scope":"projects"}"#);
    assert_eq!(chosen["chosen"][0]["value"], json!(2));
    assert!(chosen["chosen"][0]["until_ms"].as_i64().unwrap() > 1_700_000_000_000);
    let gone = repl.ok(r#"{"do":"unchoose","scope":"projects","value":2}"#);
    assert_eq!(gone["unchosen"], json!(true));
}
