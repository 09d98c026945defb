//! Scopes against transactions that commit in another order than they wrote.

use afield_protocol::Frame;
use afield_server::storage::Storage;
use afield_server::storage::conformance::{Database, SCOPED, ScopedDevice};
use postgres::Client;

use crate::postgres_database::PostgresDatabase;

const WRITERS: usize = 3;
const SEEDS: u64 = 12;
const STEPS: usize = 120;

/// A program that writes beside the others. Each has rows, parents and a user of its own, so that
/// none waits for another; what they write meets on the devices.
struct Writer {
    client: Client,
    number: usize,
    is_open: bool,
}

impl Writer {
    fn write(&mut self, rng: &mut fastrand::Rng, entities: &[&str]) {
        if !self.is_open {
            self.run("BEGIN");
            self.is_open = true;
        }
        let sql = self.statement(rng, entities);
        match rng.u32(..6) {
            // Numbers of subtransactions are those of the whole.
            0 => self.run(&format!("SAVEPOINT s; {sql}; ROLLBACK TO s; {sql}")),
            1 => self.run(&format!("SAVEPOINT s; {sql}; RELEASE s")),
            _ => self.run(&sql),
        }
    }

    fn end(&mut self, how: &str) {
        if std::mem::take(&mut self.is_open) {
            self.run(how);
        }
    }

    fn run(&mut self, sql: &str) {
        let done = self.client.batch_execute(sql);
        done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    fn statement(&self, rng: &mut fastrand::Rng, entities: &[&str]) -> String {
        let entity = entities[rng.usize(..entities.len())];
        let own = self.number;
        let (key, conflict, mine) = match entity {
            "any_task" => {
                let key = format!("'k{}', {own}", rng.u32(..4));
                (key, "id, part", format!("part = {own}"))
            }
            _ => {
                let key = (rng.usize(..4) * WRITERS + own).to_string();
                (key, "id", format!("id % {WRITERS} = {own}"))
            }
        };
        let owner = ["'u0'", "'u1'", "'u2'", "NULL"][rng.usize(..4)];
        let region = ["1", "2", "3", "NULL"][rng.usize(..4)];
        let firm = ["'f0'", "'f1'", "'f2'", "NULL"][rng.usize(..4)];
        let team = ["'t1'", "'t2'", "NULL"][rng.usize(..3)];
        let word = rng.u32(..1_000);
        match rng.u32(..12) {
            0..=3 => format!(
                "INSERT INTO {entity} VALUES ({key}, {owner}, {region}, {firm}, {team}, 'w{word}') \
                 ON CONFLICT ({conflict}) DO UPDATE SET owner = excluded.owner, \
                 region_id = excluded.region_id, words = excluded.words"
            ),
            4 => format!("UPDATE {entity} SET region_id = {region} WHERE {mine}"),
            5 => {
                format!("UPDATE {entity} SET owner = {owner} WHERE region_id = {region} AND {mine}")
            }
            6 => format!(
                "UPDATE {entity} SET firm_id = {firm}, team = {team} WHERE {mine} \
                 AND words < 'w5'"
            ),
            7 => format!("DELETE FROM {entity} WHERE {mine} AND region_id = {region}"),
            8 => format!("INSERT INTO region_member VALUES ('u{own}', {region})"),
            9 => format!(
                "DELETE FROM region_member WHERE user_id = 'u{own}' AND region_id = {region}"
            ),
            10 => format!("UPDATE firm SET region_id = {region} WHERE id = 'f{own}'"),
            _ => format!(
                "DELETE FROM firm WHERE id = 'f{own}'; INSERT INTO firm VALUES ('f{own}', {region})"
            ),
        }
    }
}

/// Transactions that stay open while others commit and devices pull page by page: whenever a page
/// is complete, the device has exactly what is committed.
#[test]
fn p5_p7_no_order_of_commits_loses_or_shows_a_row() {
    let db = PostgresDatabase::new();
    for seed in 0..SEEDS {
        let run = std::panic::AssertUnwindSafe(|| commits(&db, seed));
        assert!(std::panic::catch_unwind(run).is_ok(), "seed {seed}");
    }
}

fn commits(db: &PostgresDatabase, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut all = SCOPED;
    rng.shuffle(&mut all);
    let entities = &all[..rng.usize(1..4)];
    let tables = entities.iter().chain(&["firm", "region_member"]);
    let empty: Vec<String> = tables.map(|table| format!("DELETE FROM {table}")).collect();
    db.execute(&empty.join("; "));
    let mut devices = [
        ScopedDevice::of("u0", Some("t1")),
        ScopedDevice::of("u0", Some("t1")),
        ScopedDevice::of("u1", Some("t2")),
        ScopedDevice::of("u2", None),
    ];
    for device in &mut devices {
        device.is_strict = false;
    }
    let writer = |number| Writer {
        client: db.database.connect(),
        number,
        is_open: false,
    };
    let mut writers: Vec<Writer> = (0..WRITERS).map(writer).collect();
    for _ in 0..STEPS {
        let writer = &mut writers[rng.usize(..WRITERS)];
        match rng.u32(..20) {
            0..=9 => writer.write(&mut rng, entities),
            10 => writer.end("ROLLBACK"),
            11..=13 => {
                writer.end("COMMIT");
                devices.iter_mut().for_each(|device| device.note(db));
            }
            14..=18 => {
                devices[rng.usize(..4)].page(db, entities, rng.usize(1..5));
            }
            _ => devices[rng.usize(..4)].pull(db, entities, rng.usize(1..9)),
        }
    }
    writers.iter_mut().for_each(|writer| writer.end("COMMIT"));
    for mut device in devices {
        device.pull(db, entities, 3);
        let is_whole = entities.contains(&"whole_task");
        assert!(is_whole || device.resets == 0, "nothing gave a reason");
    }
}

/// Which condition of a way has the fewest values may change between two pages of a delta. The next
/// page goes on under the one that it began with: the numbers of others mean something else.
#[test]
fn p5_a_way_is_gone_through_by_one_condition() {
    let db = PostgresDatabase::new();
    for round in 0..12 {
        let team = format!("t{round}");
        db.execute(&format!(
            "DELETE FROM region_member; DELETE FROM firm; DELETE FROM any_task;
             INSERT INTO region_member VALUES ('ada', 1), ('ada', 2);
             INSERT INTO firm VALUES ('f1', 1), ('f2', 2);
             INSERT INTO any_task SELECT 'k' || n, n, NULL, NULL, 'f' || (1 + n % 2), '{team}', 'w'
             FROM generate_series(1, 10) n"
        ));
        let mut ada = ScopedDevice::of("ada", Some(&team));
        ada.pull(&db, &["any_task"], 100);
        db.execute("UPDATE any_task SET words = 'x'");
        ada.note(&db);
        ada.page(&db, &["any_task"], 3);
        db.execute("DELETE FROM firm WHERE id = 'f2'");
        ada.pull(&db, &["any_task"], 3);
        assert_eq!(ada.rows("any_task").len(), 5);
    }
}

/// A table of memberships that is emptied and filled again in one transaction: a pull that began
/// before it ended would find it empty, and take every row from the device.
#[test]
fn p4_memberships_that_are_written_anew_take_nothing_away() {
    let db = PostgresDatabase::new();
    db.execute(
        "INSERT INTO region_member VALUES ('ada', 1); INSERT INTO firm VALUES ('f1', 1);
         INSERT INTO area_task VALUES (1, NULL, 1, NULL, NULL, 'w');
         INSERT INTO firm_task VALUES (1, NULL, NULL, 'f1', NULL, 'w')",
    );
    let entities = ["area_task", "firm_task"];
    let mut ada = ScopedDevice::of("ada", None);
    ada.pull(&db, &entities, 10);
    for anew in [
        "TRUNCATE region_member; INSERT INTO region_member VALUES ('ada', 1)",
        "TRUNCATE firm; INSERT INTO firm VALUES ('f1', 1)",
        "ALTER TABLE region_member ALTER user_id TYPE varchar(99)",
        "ALTER TABLE firm ADD COLUMN made timestamptz DEFAULT clock_timestamp()",
    ] {
        let mut writer = db.database.connect();
        writer.batch_execute(&format!("BEGIN; {anew}")).unwrap();
        let request = ada.request(&entities, 10);
        let (server, model) = (db.own(), db.model().clone());
        let page = std::thread::scope(|threads| {
            let pulls = threads.spawn(|| server.pull(&model, &request).unwrap());
            let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' \
                         AND datname = current_database()";
            while db.query(waits) == [[0.into()]] {
                assert!(!pulls.is_finished(), "{anew}: the pull does not wait");
                std::thread::yield_now();
            }
            writer.batch_execute("COMMIT").unwrap();
            pulls.join().unwrap()
        });
        let is_held = |frame: &Frame| matches!(frame, Frame::Held(_) | Frame::Gone { .. });
        assert!(!page.frames.iter().any(is_held), "{anew}: {page:?}");
        assert!(page.end.complete, "{anew}");
        ada.pull(&db, &entities, 10);
    }
}
