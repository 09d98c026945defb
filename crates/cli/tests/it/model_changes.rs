//! A team changes its model and its tables while devices are away with work that was not sent.

use afield::engine::{Report, SyncStatus};
use afield::protocol::{Code, Value};
use afield::{ChangeInfo, ChangeState};

use crate::proxy::Fault;
use crate::world::{Device, World, afield, rows, server_settings};

const SCHEMA: &str = "
    CREATE TABLE job (id TEXT PRIMARY KEY NOT NULL, words TEXT, amount INTEGER, note TEXT);
    CREATE TABLE tool (id TEXT PRIMARY KEY NOT NULL, name TEXT);
    CREATE TABLE audit (n INTEGER PRIMARY KEY, words TEXT);
    INSERT INTO job VALUES ('a', 'paint', 1, 'n'), ('b', 'sweep', 2, NULL), ('c', 'dig', 3, 'n');
    INSERT INTO tool VALUES ('t', 'spade');
";

const AUDIT: &str = "
    CREATE TRIGGER noticed AFTER UPDATE ON job BEGIN
      INSERT INTO audit (words) VALUES (NEW.words); END;
";

const BEFORE: &str = r#"
[local.job]
from = "job"
pattern = "detect-conflicts"
attributes = ["words", "amount", "note"]
scope = "everyone"
[local.tool]
from = "tool"
pattern = "last-write-wins"
attributes = ["name"]
scope = "everyone"
"#;

/// `note` is gone, `amount` is text, `colour` is new; `tool` is gone and `place` is new.
const AFTER: &str = r#"
[local.job]
from = "job"
pattern = "detect-conflicts"
attributes = ["words", "amount", "colour"]
scope = "everyone"
[local.place]
from = "place"
pattern = "last-write-wins"
attributes = ["name"]
scope = "everyone"
"#;

const MIGRATION: &str = "
    ALTER TABLE job RENAME TO job_before;
    CREATE TABLE job (id TEXT PRIMARY KEY NOT NULL, words TEXT, amount TEXT, note TEXT,
      colour TEXT DEFAULT 'red');
    INSERT INTO job (id, words, amount, note) SELECT * FROM job_before;
    DROP TABLE job_before;
    CREATE TABLE place (id TEXT PRIMARY KEY NOT NULL, name TEXT);
    INSERT INTO place VALUES ('p', 'yard');
";

fn settings(version: u32, least: u32) -> String {
    server_settings(2)
        .replace("version = 1\n", &format!("version = {version}\n"))
        .replace("[auth]", &format!("min_version = {least}\n[auth]"))
}

fn world() -> World {
    World::of(SCHEMA, &(settings(1, 1) + BEFORE), AUDIT)
}

/// The team stops its server, migrates, and starts it with another model.
fn migrate(world: &mut World, sql: &str, model: &str) {
    world.kill_server();
    world.team_writes(sql);
    std::fs::write(world.path().join("afield.toml"), model).unwrap();
    afield(world.path(), &["prepare"]);
    world.start_server();
}

fn error(report: &Report) -> Code {
    let (code, _) = report.error.as_ref().expect("the sync failed");
    code.clone()
}

fn of(device: &Device, attribute: &str) -> ChangeInfo {
    let mut changes = device.changes();
    changes.retain(|change| change.set.contains_key(attribute));
    assert_eq!(changes.len(), 1, "{changes:?}");
    changes.remove(0)
}

fn times(world: &World, words: &str) -> i64 {
    let sql = "SELECT count(*) FROM audit WHERE words = ?1";
    let team = world.team();
    team.query_row(sql, [words], |row| row.get(0)).unwrap()
}

fn jobs(world: &World) -> Vec<Vec<rusqlite::types::Value>> {
    rows(
        &world.team(),
        "SELECT id, words, amount FROM job ORDER BY id",
    )
}

fn job(id: &str, words: &str, amount: &str) -> Vec<rusqlite::types::Value> {
    [id, words, amount]
        .map(|text| text.to_owned().into())
        .into()
}

#[test]
fn p1_p2_p6_a_device_with_unsent_work_comes_back_to_another_model() {
    let mut world = world();
    let device = world.downloaded("phone", "ann");
    // One group is applied and its answer lost: it goes again as the very bytes that were sent.
    device.write("UPDATE job SET words = 'paint twice', amount = 10 WHERE id = 'a'");
    world.proxy.rule(|_| Fault::LoseAnswer);
    assert_eq!(device.sync().status, SyncStatus::Failed);
    world.proxy.heal();
    assert_eq!(times(&world, "paint twice"), 1);
    device.write("UPDATE job SET amount = 20 WHERE id = 'b'");
    device.write("UPDATE job SET note = 'typed', words = 'dig deep' WHERE id = 'c'");
    device.write("UPDATE tool SET name = 'mattock'");
    device.write("INSERT INTO job (id, words, amount) VALUES ('d', 'new', 4)");
    migrate(&mut world, MIGRATION, &(settings(2, 1) + AFTER));
    world.team_writes(AUDIT);
    let report = device.sync();
    assert_eq!(report.status, SyncStatus::Incomplete, "{report:?}");
    assert!(report.model_changed);
    let expected = [
        job("a", "paint twice", "10"),
        job("b", "sweep", "20"),
        job("c", "dig", "3"),
        job("d", "new", "4"),
    ];
    assert_eq!(jobs(&world), expected);
    assert_eq!(times(&world, "paint twice"), 1);
    // What the model has no place for any more is parked, with what was typed.
    let note = of(&device, "note");
    assert_eq!(note.state, ChangeState::Parked);
    assert_eq!(note.code, Some(Code::UNKNOWN_ATTRIBUTE));
    assert_eq!(note.attribute.as_deref(), Some("note"));
    assert_eq!(note.set["note"], Value::from("typed"));
    let tool = of(&device, "name");
    assert_eq!(tool.state, ChangeState::Parked);
    assert_eq!(tool.code, Some(Code::UNKNOWN_ENTITY));
    // The new attribute and the new entity are here.
    let read = |sql: &str| device.read(sql);
    let colour = read("SELECT colour FROM job WHERE id = 'b'");
    assert_eq!(colour.as_deref(), Some("red"));
    assert_eq!(read("SELECT name FROM place").as_deref(), Some("yard"));
    let words = read("SELECT words FROM job WHERE id = 'c'");
    assert_eq!(words.as_deref(), Some("dig deep"), "what he wrote");
    // On his word the rest of it goes; the other is given up.
    device.client.store().retry(&note.change, None).unwrap();
    device.client.store().drop_change(&tool.change).unwrap();
    assert_eq!(device.sync().status, SyncStatus::Completed);
    assert_eq!(jobs(&world)[2], job("c", "dig deep", "3"));
    assert_eq!(device.count(ChangeState::Parked), 0);
}

/// A table of the app's own stands where the new model wants one.
fn in_the_way(device: &Device) -> rusqlite::Connection {
    let own = crate::world::team(&device.file());
    let sql = "CREATE TABLE place (x); INSERT INTO place VALUES (1)";
    own.execute_batch(sql).unwrap();
    own
}

#[test]
fn p1_p8_an_upgrade_that_fails_changes_nothing_and_sending_goes_on() {
    let mut world = world();
    let device = world.downloaded("phone", "ann");
    let own = in_the_way(&device);
    device.write("UPDATE job SET words = 'sweep well' WHERE id = 'b'");
    migrate(&mut world, MIGRATION, &(settings(2, 1) + AFTER));
    for words in ["sweep well", "sweep again"] {
        device.write(&format!("UPDATE job SET words = '{words}' WHERE id = 'b'"));
        let report = device.sync();
        assert_eq!(error(&report), Code::UPGRADE_FAILED, "{report:?}");
        assert_eq!(jobs(&world)[1], job("b", words, "2"));
        // The old model stays in use.
        let seen = device.read("SELECT words || note FROM job WHERE id = 'a'");
        assert_eq!(seen.as_deref(), Some("paintn"));
    }
    let status = afield(world.path(), &["device", "phone", "--json", "status"]);
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    let failed = &status["upgrade_failed"];
    assert_eq!(failed["code"], "upgrade-failed");
    assert_eq!(failed["cause"]["code"], "update-required");
    let cause = failed["cause"]["message"].as_str().unwrap();
    assert!(cause.contains("`place`"), "{cause}");
    let status = afield(world.path(), &["device", "phone", "status"]);
    assert!(status.contains("upgrade-failed"), "{status}");
    let log = std::fs::read_to_string(world.path().join("serve.log")).unwrap();
    let told = log.matches("a device could not take the model").count();
    assert_eq!(told, 1, "{log}");
    assert!(
        log.contains("update-required") && log.contains("ann"),
        "{log}"
    );
    // Once nothing is in the way it goes by itself.
    own.execute_batch("DROP TABLE place").unwrap();
    device.write("UPDATE job SET amount = 9 WHERE id = 'a'");
    let report = device.sync();
    assert_eq!(report.status, SyncStatus::Completed, "{report:?}");
    assert_eq!(jobs(&world)[0], job("a", "paint", "9"));
    let status = device.client.store().status().unwrap();
    assert_eq!(status.upgrade_failed, None);
    assert!(status.downloading.is_empty());
}

/// The team takes back what the device could not take: there is nothing it lags behind any more.
#[test]
fn p6_an_upgrade_that_failed_is_forgotten_when_the_model_is_as_before() {
    let mut world = world();
    let device = world.downloaded("phone", "ann");
    let _own = in_the_way(&device);
    let place = "CREATE TABLE place (id TEXT PRIMARY KEY NOT NULL, name TEXT)";
    let (_, entity) = AFTER.split_once("[local.place]").unwrap();
    let more = format!("{BEFORE}[local.place]{entity}");
    migrate(&mut world, place, &(settings(2, 1) + &more));
    assert_eq!(error(&device.sync()), Code::UPGRADE_FAILED);
    let failed = || device.client.store().status().unwrap().upgrade_failed;
    assert!(failed().is_some());
    migrate(&mut world, "", &(settings(1, 1) + BEFORE));
    assert_eq!(device.sync().status, SyncStatus::Completed);
    assert_eq!(failed(), None);
}

#[test]
fn p1_below_the_oldest_version_nothing_is_taken_and_nothing_is_lost() {
    let mut world = world();
    let device = world.downloaded("phone", "ann");
    let own = in_the_way(&device);
    device.write("UPDATE job SET words = 'sweep well' WHERE id = 'b'");
    migrate(&mut world, MIGRATION, &(settings(2, 2) + AFTER));
    for _ in 0..2 {
        let report = device.sync();
        assert_eq!(error(&report), Code::UPDATE_REQUIRED, "{report:?}");
        assert_eq!(jobs(&world)[1], job("b", "sweep", "2"), "nothing is taken");
        let words = of(&device, "words");
        assert_eq!(words.set["words"], Value::from("sweep well"));
        let status = device.client.store().status().unwrap();
        assert_eq!(status.pending, 1);
        assert_eq!(status.last_error, Some(Code::UPDATE_REQUIRED));
        assert!(status.upgrade_failed.is_some());
    }
    own.execute_batch("DROP TABLE place").unwrap();
    // A device that can take the model is refused once, takes it, and goes on in the same sync.
    let report = device.sync();
    assert_eq!(report.status, SyncStatus::Completed, "{report:?}");
    assert_eq!(jobs(&world)[1], job("b", "sweep well", "2"));
}

#[test]
fn p1_the_team_goes_back_to_the_model_before() {
    let mut world = world();
    let device = world.downloaded("phone", "ann");
    device.write("UPDATE job SET words = 'sweep well' WHERE id = 'b'");
    let without = BEFORE.replace(r#""amount", "note""#, r#""note""#);
    migrate(&mut world, "", &(settings(2, 1) + &without));
    device.write("UPDATE job SET amount = 7 WHERE id = 'c'");
    assert_eq!(device.sync().status, SyncStatus::Incomplete);
    let amount = of(&device, "amount");
    assert_eq!(amount.code, Some(Code::UNKNOWN_ATTRIBUTE));
    migrate(&mut world, "", &(settings(3, 1) + BEFORE));
    assert_eq!(device.sync().status, SyncStatus::Completed);
    // It is seen again, and goes on its author's word.
    let seen = device.read("SELECT amount FROM job WHERE id = 'c'");
    assert_eq!(seen.as_deref(), Some("7"));
    device.client.store().retry(&amount.change, None).unwrap();
    assert_eq!(device.sync().status, SyncStatus::Completed);
    let sql = "SELECT amount FROM job WHERE id = 'c'";
    assert_eq!(world.value(sql), 7.into());
}

#[test]
fn p5_p7_another_scope_and_another_column_of_the_same_shape_start_over() {
    let schema = "
        CREATE TABLE task (id TEXT PRIMARY KEY NOT NULL, owner TEXT, boss TEXT, a TEXT, b TEXT);
        INSERT INTO task VALUES ('1', 'ann', 'ann', 'a1', 'b1'), ('2', 'ann', 'bob', 'a2', 'b2'),
          ('3', 'bob', 'ann', 'a3', 'b3');
    ";
    let model = |attribute: &str, scope: &str| {
        let entity = format!(
            "[local.task]\nfrom = \"task\"\npattern = \"last-write-wins\"\n\
             attributes = [{{ words = \"{attribute}\" }}]\nscope = \"{scope} = :user\"\n"
        );
        settings(1, 1) + &entity
    };
    let mut world = World::of(schema, &model("a", "owner"), "");
    let device = world.downloaded("phone", "ann");
    let seen = || {
        let sql = "SELECT group_concat(words) FROM (SELECT words FROM task ORDER BY id)";
        device.read(sql)
    };
    assert_eq!(seen().as_deref(), Some("a1,a2"));
    migrate(&mut world, "", &model("b", "owner"));
    assert_eq!(device.sync().status, SyncStatus::Completed);
    assert_eq!(seen().as_deref(), Some("b1,b2"));
    migrate(&mut world, "", &model("b", "boss"));
    assert_eq!(device.sync().status, SyncStatus::Completed);
    assert_eq!(seen().as_deref(), Some("b1,b3"));
}
