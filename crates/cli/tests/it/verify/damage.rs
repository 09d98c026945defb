//! What is found, how it is told, and what its repair costs and leaves alone.

use afield::engine::{CheckPolicy, Differing, SyncStatus};
use afield::native::{Client, ClientOptions};
use afield::protocol::Value;
use afield::{ChangeState, Params};

use super::{Device, VISITS, count, rows_of, unseen, verified, verify, world};

#[test]
fn p5_a_device_that_missed_nothing_is_equal() {
    let world = world();
    let ann = world.downloaded("phone", "ann");
    let bob = world.downloaded("pad", "bob");
    for device in [&ann, &bob] {
        let report = verify(device, false);
        let verified = report.verified.unwrap();
        assert!(verified.equal && verified.equal_now, "{verified:?}");
        assert_eq!(verified.differences, []);
        assert_eq!(report.pulled, 0);
        let status = device.client.store().status().unwrap().verify;
        assert!(status.verified_ms.is_some() && status.found == 0);
    }
    // Edits of every kind on both sides, on their way and settled: still equal.
    world.team_writes(
        "DELETE FROM member WHERE user_id = 'ann' AND region = 2;
         UPDATE company SET name = 'Adler & Sons' WHERE id = 1;
         UPDATE visit SET is_active = 1 - is_active WHERE id > 'v070';
         UPDATE visit SET region = 1 WHERE id < 'v020';
         DELETE FROM task WHERE id % 5 = 0; UPDATE shift SET day = date('now') WHERE id < 4",
    );
    ann.write("UPDATE visit SET words = 'mine', amount = NULL WHERE id = 'v012'");
    ann.write("INSERT INTO visit (id, owner, words) VALUES ('new', 'ann', 'new')");
    ann.write("DELETE FROM visit WHERE id = 'v024'; INSERT INTO task (title) VALUES ('x')");
    ann.write("UPDATE shift SET day = '2020-01-01' WHERE id = 20");
    // One that leaves the window below its change stays here, and is none of the server's any more.
    ann.write("UPDATE shift SET words = 'mine' WHERE id = 21");
    world.team_writes("UPDATE shift SET day = '2000-01-01' WHERE id = 21");
    assert!(verified(&ann, false).equal, "with changes that wait");
    let below = "SELECT 1 FROM afield_server_shift WHERE id = 21 AND day < '2001'";
    assert!(ann.read(below).is_some());
    assert_eq!(ann.count(ChangeState::Pending), 6);
    ann.sync();
    assert!(verified(&ann, false).equal, "with changes that are settled");
    assert!(verified(&bob, true).equal);
    ann.sync();
    assert!(verified(&ann, false).equal, "with changes that are over");
}

/// What is done unseen, to which entity, and how many rows are missing, changed, extra by it.
const DAMAGE: [(&str, &str, [u64; 3]); 11] = [
    ("DELETE FROM visit WHERE id = 'v003'", "visit", [1, 0, 0]),
    (
        "UPDATE visit SET words = 'x' WHERE id = 'v006'",
        "visit",
        [0, 1, 0],
    ),
    (
        "UPDATE visit SET company_name = 'x' WHERE id = 'v000'",
        "visit",
        [0, 1, 0],
    ),
    (
        "UPDATE visit SET amount = amount + 1e-9 WHERE id = 'v006'",
        "visit",
        [0, 1, 0],
    ),
    (
        "UPDATE afield_scope_visit SET afield_scope_2 = NULL WHERE id = 'v000'",
        "visit",
        [0, 1, 0],
    ),
    (
        "INSERT INTO visit (id, words) VALUES ('extra', 'mine')",
        "visit",
        [0, 0, 1],
    ),
    ("DELETE FROM task WHERE id IN (3, 4)", "task", [2, 0, 0]),
    (
        "UPDATE shift SET words = NULL WHERE id = 15",
        "shift",
        [0, 1, 0],
    ),
    (
        "UPDATE price SET cents = 8 WHERE name = 'text'",
        "price",
        [0, 1, 0],
    ),
    ("INSERT INTO price VALUES ('p9', 99, 1)", "price", [0, 0, 1]),
    ("DELETE FROM company", "company", [2, 0, 0]),
];

/// A missing row, one too many and a changed cell: each is found, counted under its scope, and
/// repaired by sending just that row.
#[test]
fn p5_differences_are_found_counted_and_repaired_narrowly() {
    let world = world();
    let device = world.downloaded("phone", "ann");
    let before = rows_of(&device);
    for (sql, entity, [missing, changed, extra]) in DAMAGE {
        unseen(&device.file(), sql);
        let damaged = rows_of(&device);
        assert_ne!(damaged, before, "{sql}");
        let found = verified(&device, false);
        assert!(!found.equal && !found.equal_now, "{sql}");
        assert_eq!(
            [found.missing, found.changed, found.extra],
            [missing, changed, extra],
            "{sql}"
        );
        let differences = &found.differences;
        assert_eq!(
            differences.iter().map(|it| it.count).sum::<u64>(),
            found.found(),
            "{sql}"
        );
        assert!(differences.iter().all(|it| it.entity == entity), "{sql}");
        let has_scope = entity == "visit" && extra == 0;
        assert!(
            differences.iter().all(|it| it.scope.is_some() == has_scope),
            "{sql}"
        );
        assert_eq!(
            (found.repaired, rows_of(&device)),
            (0, damaged),
            "nothing is repaired: {sql}"
        );
        let report = verify(&device, true);
        let repaired = report.verified.unwrap();
        assert_eq!((repaired.equal, repaired.equal_now), (false, true), "{sql}");
        assert_eq!(repaired.differences, found.differences, "{sql}");
        assert_eq!(repaired.repaired, found.found(), "{sql}");
        assert_eq!(
            report.pulled,
            found.found(),
            "p9: rows that travelled: {sql}"
        );
        assert_eq!(rows_of(&device), before, "{sql}");
        assert!(verified(&device, false).equal, "{sql}");
    }
    let status = device.client.store().status().unwrap().verify;
    let all: u64 = DAMAGE.iter().flat_map(|(.., counts)| counts).sum();
    assert_eq!((status.repaired, status.found), (all, 2 * all));
    assert_eq!(status.uncaptured, 0);
}

/// What is listed, in the order of the identifiers.
fn shown(device: &Device) -> Vec<afield::UncapturedRow> {
    let mut shown = device.client.store().uncaptured().unwrap();
    shown.sort_by_key(|row| row.key[0].to_string());
    shown
}

/// Rows that only the device has are shown with what is in them, before and after their repair.
#[test]
fn p6_what_only_the_device_has_is_shown_before_it_is_repaired() {
    let world = world();
    let device = world.downloaded("phone", "ann");
    let sql = "INSERT INTO visit (id, words, amount) VALUES ('extra', 'typed', 7);
               UPDATE visit SET words = 'typed over' WHERE id = 'v006';
               DELETE FROM visit WHERE id = 'v015'";
    unseen(&device.file(), sql);
    assert_eq!(verified(&device, false).found(), 3);
    let rows = shown(&device);
    let told = |at: usize| {
        let row = &rows[at];
        let words = row.content.as_ref().unwrap()["words"].clone();
        (
            row.key[0].to_string(),
            row.only_here,
            words,
            row.repaired_ms,
        )
    };
    assert_eq!(rows.len(), 2, "what is missing has nothing to show");
    let expected = ("extra".to_owned(), true, Value::from("typed"), None);
    assert_eq!(told(0), expected);
    let expected = ("v006".to_owned(), false, "typed over".into(), None);
    assert_eq!(told(1), expected);
    assert_eq!(
        device
            .read("SELECT words FROM visit WHERE id = 'extra'")
            .unwrap(),
        "typed"
    );
    // It changes once more before the repair: what is repaired is what is kept.
    unseen(
        &device.file(),
        "UPDATE visit SET words = 'at last' WHERE id = 'extra'",
    );
    assert!(verified(&device, true).equal_now);
    assert_eq!(
        device.read("SELECT words FROM visit WHERE id = 'extra'"),
        None
    );
    let rows = shown(&device);
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[0].content.as_ref().unwrap()["words"], "at last".into());
    assert!(rows.iter().all(|row| row.repaired_ms.is_some()));
    // What was typed can be typed again, and is a change then.
    let mut row = rows[0].content.clone().unwrap();
    row.retain(|name, _| ["words", "amount"].contains(&name.as_str()));
    row.insert("id".into(), "extra".into());
    row.insert("owner".into(), "ann".into());
    device.client.store().create("visit", &row).unwrap();
    assert_eq!(device.sync().status, SyncStatus::Completed);
    assert_eq!(
        count(&world, "SELECT count(*) FROM visit WHERE words = 'at last'"),
        1
    );
}

/// A row that left the scope unnoticed is no row of this user's: nothing of it is kept.
#[test]
fn p7_of_a_row_that_is_no_longer_the_users_nothing_is_kept() {
    let world = world();
    let device = world.downloaded("phone", "ann");
    let team = world.path().join("team.sqlite");
    let sql = "UPDATE visit SET owner = 'bob', region = 3, words = 'secret' WHERE id = 'v000'";
    unseen(&team, sql);
    let found = verified(&device, false);
    assert_eq!((found.extra, found.found()), (1, 1));
    let shown = device.client.store().uncaptured().unwrap();
    assert_eq!((shown.len(), shown[0].content.clone()), (1, None));
    assert!(verified(&device, true).equal_now);
    assert_eq!(device.read("SELECT 1 FROM visit WHERE id = 'v000'"), None);
    // One that was repaired while it was the user's, and leaves behind that.
    unseen(
        &device.file(),
        "UPDATE visit SET words = 'w?' WHERE id = 'v003'",
    );
    assert!(verified(&device, true).equal_now);
    let kept = |device: &Device| {
        device.client.store().uncaptured().unwrap()[1]
            .content
            .clone()
    };
    assert!(kept(&device).is_some());
    world.team_writes("UPDATE visit SET owner = 'bob', region = 3 WHERE id = 'v003'");
    device.sync();
    assert_eq!(
        kept(&device),
        None,
        "what leaves the scope leaves the device"
    );
}

/// Writes that the team's triggers did not see: no pull brings them, a comparison does.
#[test]
fn p5_what_the_triggers_of_the_team_did_not_see_is_found() {
    let world = world();
    let device = world.downloaded("phone", "ann");
    let team = world.path().join("team.sqlite");
    let sql = "UPDATE visit SET words = 'bypassed' WHERE id = 'v003';
               DELETE FROM task WHERE id = 7;
               INSERT INTO visit (id, owner) VALUES ('bypass', 'ann'), ('his', 'bob');
               UPDATE company SET name = 'quietly' WHERE id = 2";
    unseen(&team, sql);
    assert_eq!(device.sync().pulled, 0);
    let found = verified(&device, true);
    // The company, and each visit that shows its name.
    let shows = "SELECT count(*) FROM visit WHERE company_name = 'quietly'";
    let shows: u64 = device.read(shows).unwrap().parse().unwrap();
    assert!(shows > 3);
    assert_eq!((found.missing, found.extra), (1, 1), "{found:?}");
    assert_eq!(found.changed, 1 + 1 + shows);
    assert!(found.equal_now);
    assert_eq!(
        device
            .read("SELECT words FROM visit WHERE id = 'v003'")
            .unwrap(),
        "bypassed"
    );
    assert_eq!(device.read("SELECT 1 FROM visit WHERE id = 'his'"), None);
}

/// Changes that wait on damaged rows are neither a difference nor lost with the repair.
#[test]
fn p3_changes_on_damaged_rows_survive_the_repair() {
    let world = world();
    let device = world.downloaded("phone", "ann");
    device.write("UPDATE visit SET words = 'mine' WHERE id = 'v000'");
    device.write("UPDATE visit SET amount = 1 WHERE id = 'v006'");
    device.write("DELETE FROM visit WHERE id = 'v012'");
    device.write("UPDATE visit SET words = 'gone below' WHERE id = 'v018'");
    assert!(verified(&device, false).equal);
    let changes = device.changes();
    // The copies of the server's rows below these changes, and rows beside them.
    let sql = "UPDATE afield_server_visit SET amount = -1 WHERE id = 'v000';
               UPDATE visit SET words = 'typed unseen' WHERE id = 'v021';
               UPDATE afield_server_visit SET words = 'x' WHERE id = 'v012';
               UPDATE afield_server_visit SET existed = 0, words = NULL WHERE id = 'v018'";
    unseen(&device.file(), sql);
    let found = verified(&device, true);
    assert_eq!(
        [found.missing, found.changed, found.extra],
        [1, 3, 0],
        "{found:?}"
    );
    assert!(found.equal_now);
    let cell = |sql: &str| device.read(sql);
    assert_eq!(device.changes(), changes, "the outbox is as it was");
    assert_eq!(
        cell("SELECT words FROM visit WHERE id = 'v000'").unwrap(),
        "mine"
    );
    assert_eq!(
        cell("SELECT amount FROM visit WHERE id = 'v000'").unwrap(),
        "0.5"
    );
    assert_eq!(
        cell("SELECT amount FROM visit WHERE id = 'v006'").unwrap(),
        "1.0"
    );
    assert_eq!(cell("SELECT 1 FROM visit WHERE id = 'v012'"), None);
    assert_eq!(
        cell("SELECT words FROM visit WHERE id = 'v018'").unwrap(),
        "gone below"
    );
    assert_eq!(device.sync().status, SyncStatus::Completed);
    assert_eq!(
        count(&world, "SELECT count(*) FROM visit WHERE words = 'mine'"),
        1
    );
    assert_eq!(
        count(
            &world,
            "SELECT count(*) FROM visit WHERE id = 'v012' AND is_active"
        ),
        0
    );
    assert!(verified(&device, false).equal);
}

/// What nobody captured on a row that carries a change is shown, and gives way to the change.
#[test]
fn p6_an_uncaptured_write_on_an_edited_row_is_shown_too() {
    let world = world();
    let device = world.downloaded("phone", "ann");
    device.write("UPDATE visit SET words = 'mine' WHERE id = 'v000'");
    device.write("DELETE FROM visit WHERE id = 'v003'");
    let changes = device.changes();
    let sql = "UPDATE visit SET words = 'over mine', amount = 99 WHERE id = 'v000';
               INSERT INTO visit (id, words) VALUES ('v003', 'back again')";
    unseen(&device.file(), sql);
    let found = verified(&device, false);
    assert_eq!(
        [found.missing, found.changed, found.extra],
        [0, 1, 1],
        "{found:?}"
    );
    assert!(!found.equal && !found.equal_now);
    let rows = shown(&device);
    let words = |at: usize| rows[at].content.as_ref().unwrap()["words"].to_string();
    assert_eq!(
        (rows.len(), words(0), words(1)),
        (2, "over mine".into(), "back again".into())
    );
    let found = verified(&device, true);
    assert_eq!(
        (found.found(), found.repaired, found.equal_now),
        (2, 2, true)
    );
    assert_eq!(
        device
            .read("SELECT words FROM visit WHERE id = 'v000'")
            .unwrap(),
        "mine"
    );
    assert_eq!(
        device
            .read("SELECT amount FROM visit WHERE id = 'v000'")
            .unwrap(),
        "0.5"
    );
    assert_eq!(device.read("SELECT 1 FROM visit WHERE id = 'v003'"), None);
    assert_eq!(device.changes(), changes);
    assert!(shown(&device).iter().all(|row| row.repaired_ms.is_some()));
    assert!(verified(&device, false).equal);
    // The server's copy below it is damaged too: what was typed over it is kept all the same.
    let sql = "UPDATE visit SET words = 'once more' WHERE id = 'v000';
               UPDATE afield_server_visit SET amount = 3 WHERE id = 'v000'";
    unseen(&device.file(), sql);
    let found = verified(&device, true);
    assert_eq!(
        (found.found(), found.repaired, found.equal_now),
        (1, 1, true)
    );
    let kept = |row: &afield::UncapturedRow| {
        row.content
            .as_ref()
            .is_some_and(|content| content["words"] == "once more".into())
    };
    assert!(shown(&device).iter().any(kept));
}

/// A write of another program that is not sealed yet is a change like any other.
#[test]
fn p3_what_was_written_a_moment_ago_is_no_difference() {
    let world = world();
    let device = world.downloaded("phone", "ann");
    let conn = rusqlite::Connection::open(device.file()).unwrap();
    conn.execute_batch("UPDATE visit SET words = 'elsewhere' WHERE id = 'v000'")
        .unwrap();
    assert!(verified(&device, true).equal);
    assert_eq!(device.changes().len(), 1);
    assert_eq!(
        device
            .read("SELECT words FROM visit WHERE id = 'v000'")
            .unwrap(),
        "elsewhere"
    );
}

/// By itself a sync compares when the last comparison is old enough, and repairs.
#[test]
fn p5_a_sync_verifies_when_it_is_due() {
    let world = world();
    let phone = world.downloaded("phone", "ann");
    let folder = phone.client.folder().path().to_owned();
    drop(phone);
    let open = |check: Option<CheckPolicy>| Device {
        client: Client::open(ClientOptions {
            check,
            ..ClientOptions::new(&folder, "ann")
        })
        .unwrap(),
    };
    let policy = |every_ms, repair| Some(CheckPolicy { every_ms, repair });
    let device = open(policy(60_000, true));
    assert_eq!(
        device.sync().verified,
        None,
        "the clock of a new store begins"
    );
    unseen(&device.file(), "DELETE FROM visit WHERE id = 'v003'");
    assert_eq!(device.sync().verified, None, "not due");
    let age = "UPDATE afield_verify SET checked_at = checked_at - 120000";
    unseen(&device.file(), age);
    drop(device);
    let never = open(None);
    assert_eq!(never.sync().verified, None, "switched off");
    drop(never);
    let device = open(policy(60_000, true));
    let report = device.sync();
    assert_eq!(report.status, SyncStatus::Completed);
    let found = report.verified.unwrap();
    assert_eq!(
        (found.missing, found.repaired, found.equal_now),
        (1, 1, true)
    );
    assert_eq!(device.sync().verified, None, "not due again");
    unseen(
        &device.file(),
        "UPDATE visit SET words = 'typed' WHERE id = 'v003'",
    );
    unseen(&device.file(), age);
    drop(device);
    let shows = open(policy(60_000, false));
    let found = shows.sync().verified.unwrap();
    assert_eq!(
        (found.changed, found.repaired, found.equal_now),
        (1, 0, false)
    );
    let status = shows.client.store().status().unwrap().verify;
    assert_eq!((status.uncaptured, status.verified_ms), (1, None));
    assert_eq!(
        shows
            .read("SELECT words FROM visit WHERE id = 'v003'")
            .unwrap(),
        "typed"
    );
}

/// What stands beside the team's writers while it verifies: each answer speaks of one state.
#[test]
fn p5_the_server_changes_while_it_is_compared() {
    let world = world();
    let device = world.downloaded("phone", "ann");
    unseen(
        &device.file(),
        "DELETE FROM visit WHERE id IN ('v000', 'v003', 'v006')",
    );
    let stop = std::sync::atomic::AtomicBool::new(false);
    let is_stopped = || stop.load(std::sync::atomic::Ordering::SeqCst);
    std::thread::scope(|scope| {
        let writes = scope.spawn(|| {
            let mut n = 0;
            // Whatever becomes of the other side, this one ends.
            while !is_stopped() && n < 3_000 {
                n += 1;
                world.team_writes(&format!(
                    "UPDATE visit SET words = 'n{n}' WHERE id = 'v0{:02}';
                     DELETE FROM visit WHERE id = 'n{}';
                     INSERT INTO visit (id, owner) VALUES ('n{n}', 'ann')",
                    10 + n % (VISITS - 10),
                    n - 1
                ));
            }
            n
        });
        let found = verified(&device, true);
        assert_eq!((found.found(), found.equal_now), (3, true), "{found:?}");
        for _ in 0..10 {
            let found = verified(&device, false);
            assert!(found.equal, "{found:?}");
        }
        stop.store(true, std::sync::atomic::Ordering::SeqCst);
        assert!(writes.join().unwrap() > 3);
    });
}

/// A table that lost most of its rows comes back, in more than one step.
#[test]
fn p9_many_differences_take_bounded_steps() {
    let world = world();
    world.team_writes(
        "INSERT INTO company SELECT 100 + a.id * 1000 + b.id, 'c' FROM task a, task b",
    );
    let device = world.downloaded("phone", "ann");
    let rows = device.read("SELECT count(*) FROM company").unwrap();
    let lost = unseen(&device.file(), "DELETE FROM company WHERE id % 10 > 1");
    assert!(lost > 1_000);
    let report = verify(&device, true);
    let found = report.verified.unwrap();
    assert_eq!((found.missing, found.repaired), (lost as u64, lost as u64));
    assert!(found.equal_now);
    assert_eq!(report.pulled, lost as u64);
    assert_eq!(device.read("SELECT count(*) FROM company").unwrap(), rows);
    assert_eq!(
        found.differences,
        [Differing {
            entity: "company".into(),
            scope: None,
            count: lost as u64
        }]
    );
    let kept = device
        .client
        .store()
        .query("SELECT * FROM afield_uncaptured", &Params::none());
    assert!(kept.unwrap().rows.is_empty());
}
