//! Many writers at once, and devices that pull and push all the while over several servers: rows
//! move between scopes, their parents and grandparents too while children are made, grants come and
//! go, keys change, tables are emptied. Each complete page is held against the server's digests of
//! its snapshot, and in the end every device against plain SQL. In the same run a reader goes by
//! the time of the latest change, to show what that loses.
//!
//! A few seconds by default. `AFIELD_STRESS="20 30"` runs 20 seeds of 30 seconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use afield_protocol::{Attributes, Change, Group, GroupId, Op, Type, Value, VerdictKind};
use afield_server::resolved::{Holds, NamedScope, ServerModel};
use afield_server::storage::conformance::{Database, Mirror, condition, server_model};
use afield_server::storage::{Caller, Storage};
use fastrand::Rng;
use postgres::Client;

use crate::postgres_database::PostgresDatabase;
use crate::postgres_support::made;
use crate::postgres_writers::{Writer, by_time, seeds_and_seconds, stamped};

const TABLES: &str = "
    CREATE TABLE region_member (user_id text NOT NULL, region_id int);
    CREATE INDEX region_member_user ON region_member (user_id);
    CREATE TABLE firm (id int PRIMARY KEY, region_id int);
    CREATE INDEX firm_region ON firm (region_id);
    CREATE TABLE job (id int PRIMARY KEY, firm_id int, owner text, words text,
      modified timestamptz);
    CREATE INDEX job_firm ON job (firm_id, id);
    CREATE INDEX job_owner ON job (owner, id);
    CREATE TABLE part (id int PRIMARY KEY, job_id int, words text);
    CREATE INDEX part_job ON part (job_id, id);
    CREATE TABLE visit (id int, region_id int, words text, PRIMARY KEY (id, region_id))
      PARTITION BY LIST (region_id);
    CREATE TABLE visit_1 PARTITION OF visit FOR VALUES IN (1);
    CREATE TABLE visit_2 PARTITION OF visit FOR VALUES IN (2, 3);
    CREATE TABLE stock (id int PRIMARY KEY DEFERRABLE, words text);
    INSERT INTO region_member VALUES ('u0', 1), ('u1', 2), ('u1', 3);
    INSERT INTO firm SELECT i, 1 + i % 3 FROM generate_series(1, 12) i;
    INSERT INTO job SELECT i, 1 + i % 12, 'u' || i % 3, 'first' FROM generate_series(1, 120) i;
    INSERT INTO part SELECT i, 1 + i % 120, 'first' FROM generate_series(1, 150) i;
    INSERT INTO visit SELECT i, 1 + i % 3, 'first' FROM generate_series(1, 40) i;
    INSERT INTO stock SELECT i, 'first' FROM generate_series(1, 30) i";

const ENTITIES: [&str; 4] = ["job", "part", "visit", "stock"];

const WRITERS: u64 = 16;

/// Two devices of each user, each with a server of its own.
const DEVICES: [&str; 5] = ["u0", "u0", "u1", "u1", "u2"];

fn model() -> ServerModel {
    use Type::{Integer, Text};
    let regions = || Holds::Scope("regions".into());
    let of_firm = ("firm", "id", "region_id");
    let attributes = [
        ("id", Integer),
        ("firm_id", Integer),
        ("owner", Text),
        ("words", Text),
    ];
    let job = made("job", 1, &attributes).scoped(vec![
        vec![condition("owner", &[], Holds::User)],
        vec![condition("firm_id", &[of_firm], regions())],
    ]);
    let attributes = [("id", Integer), ("job_id", Integer), ("words", Text)];
    let path = [("job", "id", "firm_id"), of_firm];
    let way = vec![condition("job_id", &path, regions())];
    let part = made("part", 1, &attributes).scoped(vec![way]);
    let attributes = [("id", Integer), ("region_id", Integer), ("words", Text)];
    let way = vec![condition("region_id", &[], regions())];
    let visit = made("visit", 2, &attributes).scoped(vec![way]);
    let stock = made("stock", 1, &[("id", Integer), ("words", Text)]);
    ServerModel {
        scopes: vec![NamedScope {
            name: "regions".into(),
            query: "SELECT region_id FROM region_member WHERE user_id = :user".into(),
            chosen: None,
        }],
        ..server_model(vec![job, part, visit, stock])
    }
}

/// The rows of an entity that are a user's, in plain SQL.
fn truth(entity: &str, user: &str) -> String {
    let regions = format!("SELECT region_id FROM region_member WHERE user_id = '{user}'");
    let firms = format!("SELECT id FROM firm WHERE region_id IN ({regions})");
    match entity {
        "job" => format!(
            "SELECT id, firm_id, owner, words FROM job WHERE owner = '{user}' \
             OR firm_id IN ({firms})"
        ),
        "part" => format!(
            "SELECT id, job_id, words FROM part WHERE job_id IN \
             (SELECT id FROM job WHERE firm_id IN ({firms}))"
        ),
        "visit" => format!("SELECT id, region_id, words FROM visit WHERE region_id IN ({regions})"),
        _ => "SELECT id, words FROM stock".into(),
    }
}

/// What a run counted.
#[derive(Debug, Default)]
struct Counts {
    commits: AtomicU64,
    refused: AtomicU64,
    pages: AtomicU64,
    rows: AtomicU64,
    resets: AtomicU64,
    pushed: AtomicU64,
    /// Devices that end with other rows than the server.
    wrong: AtomicU64,
}

struct Stress {
    url: String,
    name: String,
    seed: u64,
    seconds: u64,
    /// Nothing is broken on purpose.
    is_whole: bool,
    over: AtomicBool,
    counts: Counts,
}

/// Runs it; what the timestamp pattern ended with: missing, ghosts, stale. `broken` is run behind
/// the back of the servers.
fn stress(seed: u64, seconds: u64, broken: Option<&str>) -> (Counts, [usize; 3]) {
    let db = PostgresDatabase::with(&format!("{TABLES};{}", stamped("job")), model());
    let asides = DEVICES.map(|user| (user, db.aside()));
    broken.into_iter().for_each(|sql| db.execute(sql));
    let stress = Arc::new(Stress {
        url: db.database.url.clone(),
        name: db.database.name.clone(),
        seed,
        seconds,
        is_whole: broken.is_none(),
        over: AtomicBool::new(false),
        counts: Counts::default(),
    });
    let writers: Vec<_> = (0..WRITERS)
        .map(|at| stress.apart(move |s| s.write(at)))
        .collect();
    let device =
        |(at, (user, aside))| stress.apart(move |s| (s.device(&aside, at, user), aside, at, user));
    let devices: Vec<_> = (0..).zip(asides).map(device).collect();
    let keeper = stress.apart(move |s| s.keep(&db));
    let reader = stress.apart(|s| by_time(&s.url, "job", &s.over));
    for writer in writers {
        writer.join().unwrap();
    }
    stress.over.store(true, Ordering::Release);
    // Devices write too: all of them are through before any of them is looked at.
    let devices: Vec<_> = devices.into_iter().map(JoinHandle::join).collect();
    for device in devices {
        let ended = device.and_then(|(mut device, aside, at, user)| {
            let ends = stress.apart(move |s| s.ends(&mut device, &aside, (at, user)));
            ends.join()
        });
        // It has told what is wrong.
        if ended.is_err() {
            stress.counts.wrong.fetch_add(1, Ordering::Relaxed);
        }
    }
    keeper.join().unwrap();
    let lost = reader.join().unwrap();
    (Arc::into_inner(stress).unwrap().counts, lost)
}

impl Stress {
    fn apart<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let own = Arc::clone(self);
        thread::spawn(move || work(&own))
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    fn write(&self, at: u64) {
        let writer = Writer {
            url: &self.url,
            name: &format!("{}-{at}", self.name),
            seed: self.seed * 1_000 + at,
            is_long: at == 0,
        };
        let of_all = 8 * self.seconds;
        let transactions = if at == 0 { of_all / 6 } else { of_all };
        let (commits, refused) = writer.write(transactions, operation);
        self.counts.commits.fetch_add(commits, Ordering::Relaxed);
        self.counts.refused.fetch_add(refused, Ordering::Relaxed);
    }

    /// What a server does each second.
    fn keep(&self, db: &PostgresDatabase) {
        while !self.is_over() {
            if self.is_whole {
                let told = db.own().tend().unwrap();
                let is_of_capture = |told: &&String| told.contains("unmarked");
                let of_capture: Vec<_> = told.iter().filter(is_of_capture).collect();
                // A partition that was emptied has another file: that is seen, and harmless.
                assert!(
                    of_capture.iter().all(|told| !told.contains("job")),
                    "{told:?}"
                );
            }
            db.foreign(|client| wait(client, 300));
        }
    }

    /// A device that pulls and pushes until no writer is left.
    fn device(&self, db: &PostgresDatabase, number: u64, user: &str) -> Mirror {
        let mut rng = Rng::with_seed(self.seed * 77 + number);
        let mut device = Mirror::of(&Caller::user(user));
        while !self.is_over() {
            match rng.u32(..10) {
                0..6 => drop(device.page(db, &ENTITIES, rng.usize(1..80))),
                6..9 => device.pull(db, &ENTITIES, rng.usize(20..200)),
                // Who pushes looks at the triggers.
                _ if self.is_whole => self.push(db, &device, &mut rng),
                _ => {}
            }
            self.counts.pages.fetch_add(1, Ordering::Relaxed);
            db.foreign(|client| wait(client, rng.u64(1..120)));
        }
        device
    }

    /// Pulls once more, and has what the server has.
    fn ends(&self, device: &mut Mirror, db: &PostgresDatabase, (number, user): (u64, &str)) {
        device.pull(db, &ENTITIES, 50);
        let of = &self.counts;
        of.rows
            .fetch_add(device.delivered as u64, Ordering::Relaxed);
        of.resets
            .fetch_add(device.resets.len() as u64, Ordering::Relaxed);
        for entity in ENTITIES {
            let mut held: Vec<String> = told(device.rows(entity).into_values());
            let mut expected = told(db.query(&truth(entity, user)));
            held.sort();
            expected.sort();
            let missing: Vec<_> = expected.iter().filter(|row| !held.contains(row)).collect();
            let ghosts: Vec<_> = held.iter().filter(|row| !expected.contains(row)).collect();
            assert!(
                held == expected,
                "seed {}, device {number} of {user}, {entity}: missing {missing:?}, \
                 not the server's {ghosts:?}",
                self.seed
            );
        }
    }

    /// Edits a row that it holds.
    fn push(&self, db: &PostgresDatabase, device: &Mirror, rng: &mut Rng) {
        let keys = device.keys("job");
        let Some(key) = rng.choice(&keys) else {
            return;
        };
        let words = Value::Text(format!("pushed {}", rng.u32(..)));
        let change = Change {
            entity: "job".into(),
            op: Op::Update,
            key: vec![key.clone()],
            base: Attributes::new(),
            set: [("words".to_owned(), words)].into(),
        };
        let group = Group::new(GroupId(rng.u128(..).to_le_bytes()), vec![change]);
        let outcomes = db.storage().push(db.model(), &device.caller, &[group]);
        match outcomes {
            Ok(outcomes) => {
                let is_applied = outcomes[0].verdicts[0].kind == VerdictKind::Applied;
                let count = u64::from(is_applied);
                self.counts.pushed.fetch_add(count, Ordering::Relaxed);
            }
            // Its device would send it again.
            Err(error) => assert!(error.is_retryable, "{error}"),
        }
    }
}

fn told(rows: impl IntoIterator<Item = Vec<Value>>) -> Vec<String> {
    rows.into_iter().map(|row| format!("{row:?}")).collect()
}

fn wait(client: &mut Client, ms: u64) {
    let seconds = Duration::from_millis(ms).as_secs_f64();
    client.execute("SELECT pg_sleep($1)", &[&seconds]).unwrap();
}

/// A number, or null now and then.
fn maybe(rng: &mut Rng, number: u32) -> String {
    match rng.u32(..6) {
        0 => "NULL".into(),
        _ => number.to_string(),
    }
}

fn operation(client: &mut Client, rng: &mut Rng, words: &str) -> Result<(), postgres::Error> {
    let (a, b, p) = (rng.u32(1..150), rng.u32(1..150), rng.u32(1..200));
    let (c, d) = (rng.u32(1..30), rng.u32(1..30));
    let firm = rng.u32(1..13);
    let (of_firm, number) = (maybe(rng, firm), rng.u32(1..4));
    let region = maybe(rng, number);
    let user = rng.u32(..3);
    let owner = ["NULL".to_owned(), format!("'u{user}'")][rng.usize(..2)].clone();
    let sql = match rng.u32(..40) {
        0..4 => format!(
            "INSERT INTO job VALUES ({a}, {of_firm}, {owner}, '{words}') ON CONFLICT (id) \
             DO UPDATE SET words = excluded.words, firm_id = excluded.firm_id"
        ),
        4..7 => format!("UPDATE job SET words = '{words}' WHERE id = {a}"),
        7..9 => format!("UPDATE job SET firm_id = {of_firm} WHERE id = {a}"),
        9 => format!("UPDATE job SET owner = {owner} WHERE id = {a}"),
        10..12 => format!("DELETE FROM job WHERE id = {a}"),
        12..14 => format!("UPDATE firm SET region_id = {region} WHERE id = {firm}"),
        14 => format!(
            "DELETE FROM firm WHERE id = {firm}; INSERT INTO firm VALUES ({firm}, {region})"
        ),
        15..18 => format!("INSERT INTO region_member VALUES ('u{user}', {number})"),
        18..20 => {
            format!("DELETE FROM region_member WHERE user_id = 'u{user}' AND region_id = {number}")
        }
        20..24 => format!(
            "INSERT INTO part VALUES ({p}, {a}, '{words}') ON CONFLICT (id) \
             DO UPDATE SET job_id = excluded.job_id, words = excluded.words"
        ),
        24..26 => format!("UPDATE part SET job_id = {b} WHERE id = {p}"),
        26 => format!("DELETE FROM part WHERE id = {p}"),
        27 => format!("UPDATE job SET id = {b} WHERE id = {a}"),
        28..30 => {
            format!("INSERT INTO visit VALUES ({c}, {number}, '{words}') ON CONFLICT DO NOTHING")
        }
        30..32 => format!("UPDATE visit SET region_id = {number} WHERE id = {c}"),
        32 => format!("DELETE FROM visit WHERE id = {c}"),
        33..35 => format!(
            "UPDATE stock SET id = CASE id WHEN {c} THEN {d} ELSE {c} END WHERE id IN ({c}, {d})"
        ),
        35 => format!("INSERT INTO stock VALUES ({c}, '{words}')"),
        36 => format!("DELETE FROM stock WHERE id = {c}"),
        37 => format!(
            "DELETE FROM job WHERE id = {a}; \
             INSERT INTO job VALUES ({a}, {of_firm}, {owner}, '{words}')"
        ),
        38 => format!("UPDATE job SET words = '{words}', firm_id = firm_id WHERE id % 9 = {c} % 9"),
        _ if rng.u32(..6) == 0 => ["TRUNCATE stock", "TRUNCATE visit_1"][rng.usize(..2)].into(),
        _ => format!("UPDATE stock SET words = '{words}' WHERE id = {c}"),
    };
    client.batch_execute(&sql)
}

#[test]
fn p4_p5_p7_devices_are_in_sync_whatever_the_order_of_commits() {
    let (seeds, seconds) = seeds_and_seconds();
    let mut lost = 0;
    for seed in 1..=seeds {
        let (counts, by_time) = stress(seed, seconds, None);
        println!("seed {seed}: {counts:?}; by time: missing, ghosts, stale {by_time:?}");
        assert_eq!(counts.wrong.into_inner(), 0, "seed {seed}");
        let (commits, pushed) = (counts.commits.into_inner(), counts.pushed.into_inner());
        assert!(
            commits > counts.refused.into_inner() / 4 && pushed > 0,
            "seed {seed}"
        );
        lost += by_time.iter().sum::<usize>();
    }
    // Were this not so, the stress would be none.
    assert!(lost > 0);
}

/// A table whose writes leave no marks: devices end up wrong. (What users hold is asked anew with
/// each pull, so holes there are none.)
#[test]
fn the_stress_of_devices_sees_a_hole_in_the_marks() {
    for table in ["job", "part", "stock"] {
        let sql = format!(
            "DO $$ DECLARE t text; BEGIN FOR t IN SELECT tgname FROM pg_trigger \
             WHERE tgrelid = '{table}'::regclass AND tgname LIKE 'afield%' LOOP \
             EXECUTE format('DROP TRIGGER %I ON {table}', t); END LOOP; END $$"
        );
        let is_seen = |seed| {
            let (counts, _) = stress(seed, 1, Some(&sql));
            println!("{table}: {counts:?}");
            counts.wrong.into_inner() > 0
        };
        assert!((1..=5).any(is_seen), "{table}");
    }
}
