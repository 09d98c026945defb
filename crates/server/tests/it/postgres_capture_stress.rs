//! Many writers at once, every kind of transaction, delays in all of them; readers that have marks
//! alone keep a copy and compare it with the table in each pull's own snapshot. In the same run a
//! reader goes by the time of the latest change, as platforms document it, to show what that loses.
//!
//! A few seconds by default. `AFIELD_STRESS="20 30"` runs 20 seeds of 30 seconds.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use afield_protocol::Type;
use afield_server::resolved::ServerModel;
use afield_server::storage::conformance::server_model;
use afield_server::storage::postgres::{
    Captured, ScopeValues, Snapshot, beacon, check_capture, hold, purge, touched,
};
use afield_testbed::postgres::Database;
use fastrand::Rng;
use postgres::Client as Blocking;
use tokio_postgres::{Client, IsolationLevel};

use crate::postgres_support::{
    by_columns, capture_of, connect, database, made, prepared, run, url,
};
use crate::postgres_writers::{Rows, Writer, by_time, pause, seeds_and_seconds, select, stamped};

const TABLES: &str = "
    CREATE TABLE item (id int PRIMARY KEY, region text, words text, modified timestamptz);
    CREATE TABLE swap (id int PRIMARY KEY DEFERRABLE, region text, words text);
    CREATE TABLE log (id int, region text, words text, PRIMARY KEY (id, region))
      PARTITION BY LIST (region);
    CREATE TABLE log_n PARTITION OF log FOR VALUES IN ('n');
    CREATE TABLE log_s PARTITION OF log FOR VALUES IN ('s', 'w');
    INSERT INTO item SELECT i, 'n', 'first' FROM generate_series(1, 100) i;
    INSERT INTO swap SELECT i, 'n', 'first' FROM generate_series(1, 30) i;
    INSERT INTO log SELECT i, 'n', 'first' FROM generate_series(1, 50) i";

const WRITERS: u64 = 10;

fn model() -> ServerModel {
    let attributes = [
        ("id", Type::Integer),
        ("region", Type::Text),
        ("words", Type::Text),
    ];
    let mut item = made("item", 1, &attributes);
    item.scope = by_columns(&["region"]);
    server_model(vec![
        item,
        made("swap", 1, &attributes),
        made("log", 2, &attributes),
    ])
}

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Transactions that ran at the old snapshot are taken for seen.
    RunningForgotten,
    /// A trigger is missing, and nobody checks.
    NoTrigger(&'static str),
    /// A mark is left as its first writer made it.
    FirstWriterStays,
}

/// What a run counted.
#[derive(Debug, Default)]
struct Counts {
    commits: AtomicU64,
    refused: AtomicU64,
    pulls: AtomicU64,
    keys: AtomicU64,
    loads: AtomicU64,
    wrong: AtomicU64,
    /// The first wrong pull.
    told: Mutex<Option<String>>,
}

struct Stress {
    database: Database,
    seed: u64,
    seconds: u64,
    fault: Fault,
    over: AtomicBool,
    counts: Counts,
}

/// Runs it; what the timestamp pattern ended with: missing, ghosts, stale.
fn stress(seed: u64, seconds: u64, fault: Fault) -> (Counts, [usize; 3]) {
    let database = database(&format!("{TABLES};{}", stamped("item")));
    prepared(&database, &model());
    if let Fault::NoTrigger(name) = fault {
        database.execute(&format!("DROP TRIGGER {name} ON item"));
    }
    if fault == Fault::FirstWriterStays {
        for of in ["row_1", "statement_1"] {
            let sql = format!("SELECT pg_get_functiondef('afield.{of}'::regproc)");
            let text = crate::postgres_support::texts(&database, &sql).remove(0);
            database.execute(&text.replace(
                "DO UPDATE SET xid = excluded.xid WHERE m.xid <> excluded.xid",
                "DO NOTHING",
            ));
        }
    }
    let stress = Arc::new(Stress {
        database,
        seed,
        seconds,
        fault,
        over: AtomicBool::new(false),
        counts: Counts::default(),
    });
    let writers: Vec<_> = (0..WRITERS)
        .map(|at| stress.apart(move |s| s.write(at)))
        .collect();
    let regions = ["n", "s"].map(str::to_owned).to_vec();
    let of_regions = vec![ScopeValues {
        column: 0,
        values: regions,
    }];
    let mut readers = vec![
        stress.apart(|s| run(s.keep())),
        stress.apart(|s| run(s.read("item", None, 3_000))),
    ];
    readers.push(stress.apart(|s| run(s.read("item", Some(of_regions), 40))));
    for table in ["item", "swap", "log"] {
        readers.push(stress.apart(move |s| run(s.read(table, None, 80))));
    }
    let by_time = stress.apart(|s| by_time(&s.database.url, "item", &s.over));
    // Readers go on until no writer is left, and pull once more.
    for writer in writers {
        writer.join().unwrap();
    }
    stress.over.store(true, Ordering::Release);
    for reader in readers {
        reader.join().unwrap();
    }
    let lost = by_time.join().unwrap();
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

    /// One who writes, in transactions of every kind.
    fn write(&self, at: u64) {
        let writer = Writer {
            url: &self.database.url,
            name: &format!("{}-{at}", self.database.name),
            seed: self.seed * 1_000 + at,
            is_long: at == 0,
        };
        let (commits, refused) = writer.write(self.transactions(at), operation);
        self.counts.commits.fetch_add(commits, Ordering::Relaxed);
        self.counts.refused.fetch_add(refused, Ordering::Relaxed);
    }

    /// So many transactions that all writers end at about the same time, when the seconds are over.
    fn transactions(&self, at: u64) -> u64 {
        let of_all = 12 * self.seconds;
        if at == 0 { of_all / 6 } else { of_all }
    }

    /// What servers do besides: all the while.
    async fn keep(&self) {
        let mut client = connect(&url(&self.database, "owner")).await;
        while !self.is_over() {
            beacon(&client).await.unwrap();
            if self.fault == Fault::None {
                let changed = check_capture(&client).await.unwrap();
                // A partition that was emptied has another file: that is seen, and harmless.
                assert!(
                    changed.iter().all(|c| c.table != "public.item"),
                    "{changed:?}"
                );
            }
            purge(&mut client, Duration::from_secs(1), &mut || true)
                .await
                .unwrap();
            pause(&client, 300).await;
        }
    }

    /// One who has marks alone.
    async fn read(&self, table: &str, scopes: Option<Vec<ScopeValues>>, pause_ms: u64) {
        let mut client = connect(&url(&self.database, "owner")).await;
        let capture = capture_of(&client, &format!("public.{table}")).await;
        let mut rng = Rng::with_seed(self.seed ^ pause_ms);
        let (mut rows, mut since) = (Rows::new(), "3:3:".parse().unwrap());
        loop {
            let is_last = self.is_over();
            since = self
                .pull(&mut client, &capture, scopes.as_deref(), &since, &mut rows)
                .await;
            if is_last {
                return;
            }
            pause(&client, rng.u64(1..pause_ms)).await;
        }
    }

    async fn pull(
        &self,
        client: &mut Client,
        capture: &Captured,
        scopes: Option<&[ScopeValues]>,
        since: &Snapshot,
        rows: &mut Rows,
    ) -> Snapshot {
        let level = IsolationLevel::RepeatableRead;
        let tx = client
            .build_transaction()
            .isolation_level(level)
            .start()
            .await
            .unwrap();
        hold(&tx, &[capture]).await.unwrap();
        let asked = match self.fault {
            Fault::RunningForgotten => Snapshot {
                running: Vec::new(),
                ..since.clone()
            },
            _ => since.clone(),
        };
        let found = touched(&tx, capture, &asked, scopes).await.unwrap();
        let (table, key) = (&capture.table, key_of(capture));
        let held = match scopes {
            Some(scopes) => format!("region = ANY (ARRAY['{}'])", scopes[0].values.join("','")),
            // Nobody holds null: rows of no value are on no device.
            None if !capture.scope.is_empty() => "region IS NOT NULL".to_owned(),
            None => "true".to_owned(),
        };
        if found.is_reset || found.is_forgotten {
            *rows = select(
                &tx,
                &format!("SELECT {key}, words FROM {table} WHERE {held}"),
                &[],
            )
            .await;
            self.counts.loads.fetch_add(1, Ordering::Relaxed);
        } else {
            let keys: Vec<String> = found.keys.iter().map(|key| key.join("/")).collect();
            let sql = format!("SELECT {key}, words FROM {table} WHERE {key} = ANY ($1) AND {held}");
            let changed = select(&tx, &sql, &[&keys]).await;
            keys.iter().for_each(|key| drop(rows.remove(key)));
            rows.extend(changed);
            self.counts
                .keys
                .fetch_add(keys.len() as u64, Ordering::Relaxed);
        }
        let sql = format!("SELECT {key}, words FROM {table} WHERE {held}");
        let truth = select(&tx, &sql, &[]).await;
        tx.commit().await.unwrap();
        self.counts.pulls.fetch_add(1, Ordering::Relaxed);
        if *rows != truth {
            let told = format!(
                "{table}, {held}, since {since}: {}",
                difference(rows, &truth)
            );
            self.counts.told.lock().unwrap().get_or_insert(told);
            self.counts.wrong.fetch_add(1, Ordering::Relaxed);
        }
        found.snapshot
    }
}

fn difference(rows: &Rows, truth: &Rows) -> String {
    let keys = rows.keys().chain(truth.keys());
    let differ = keys.filter(|key| rows.get(*key) != truth.get(*key));
    let told = differ.map(|key| format!("{key}: {:?}, not {:?}", rows.get(key), truth.get(key)));
    told.collect::<Vec<_>>().join("; ")
}

fn key_of(capture: &Captured) -> String {
    let parts: Vec<String> = capture
        .key
        .iter()
        .map(|name| format!("{name}::text"))
        .collect();
    parts.join(" || '/' || ")
}

fn operation(client: &mut Blocking, rng: &mut Rng, words: &str) -> Result<(), postgres::Error> {
    let a = rng.u32(1..150);
    let b = (a + rng.u32(1..149)) % 150;
    let region = ["n", "s", "w"][rng.usize(..3)];
    let maybe = if rng.u32(..6) == 0 {
        "NULL".into()
    } else {
        format!("'{region}'")
    };
    let (c, d) = (rng.u32(1..30), rng.u32(1..30));
    let item = format!("INSERT INTO item VALUES ({a}, {maybe}, '{words}') ON CONFLICT");
    let sql = match rng.u32(..40) {
        0..4 => format!("{item} DO NOTHING"),
        4..8 => format!("{item} (id) DO UPDATE SET words = excluded.words"),
        8..12 => format!("UPDATE item SET words = '{words}' WHERE id = {a}"),
        12..15 => format!("DELETE FROM item WHERE id = {a}"),
        15..18 => format!("UPDATE item SET region = {maybe} WHERE id = {a}"),
        18..20 => format!("UPDATE item SET id = {b} WHERE id = {a}"),
        20 => format!("UPDATE item SET words = '{words}' WHERE id % 11 = {a} % 11"),
        21 => format!(
            "DELETE FROM item WHERE id = {a}; INSERT INTO item VALUES ({a}, {maybe}, '{words}')"
        ),
        22 => format!("UPDATE item SET words = words WHERE id = {a}"),
        23 => format!(
            "MERGE INTO item USING (VALUES ({a}), ({b})) s (id) ON s.id = item.id \
             WHEN MATCHED AND s.id % 2 = 0 THEN DELETE \
             WHEN MATCHED THEN UPDATE SET words = '{words}' \
             WHEN NOT MATCHED THEN INSERT (id, words) VALUES (s.id, '{words}')"
        ),
        24 => format!(
            "WITH gone AS (DELETE FROM item WHERE id = {a} RETURNING region) \
             UPDATE item SET region = gone.region, words = '{words}' FROM gone \
             WHERE item.id = {b}"
        ),
        25 => {
            let mut sink = client.copy_in("COPY item (id, region, words) FROM STDIN")?;
            let data = format!(
                "{}\t{region}\t{words}\n{}\t\\N\t{words}\n",
                a + 200,
                b + 400
            );
            let _ = sink.write_all(data.as_bytes());
            return sink.finish().map(drop);
        }
        26 => "DELETE FROM item WHERE id > 200 AND id % 3 = 0".into(),
        27 => format!(
            "SET LOCAL session_replication_role = replica; \
                       UPDATE item SET region = {maybe} WHERE id = {a}; \
                       SET LOCAL session_replication_role = origin"
        ),
        28..31 => format!(
            "UPDATE swap SET id = CASE id WHEN {c} THEN {d} ELSE {c} END WHERE id IN ({c}, {d})"
        ),
        31 => format!("DELETE FROM swap WHERE id = {c}"),
        32 => format!("INSERT INTO swap VALUES ({c}, 'n', '{words}')"),
        33 => format!("UPDATE swap SET words = '{words}' WHERE id = {c}"),
        34..37 => format!("UPDATE log SET region = '{region}', words = '{words}' WHERE id = {c}"),
        37 => format!("INSERT INTO log VALUES ({c}, '{region}', '{words}') ON CONFLICT DO NOTHING"),
        38 => format!("DELETE FROM log_s WHERE id = {c}"),
        _ if rng.u32(..8) == 0 => ["TRUNCATE swap", "TRUNCATE log_n"][rng.usize(..2)].into(),
        _ => format!("DELETE FROM log WHERE id = {c}"),
    };
    client.batch_execute(&sql)
}

#[test]
fn marks_lose_nothing_whatever_the_order_of_commits() {
    let (seeds, seconds) = seeds_and_seconds();
    let mut lost = 0;
    for seed in 1..=seeds {
        let (counts, by_time) = stress(seed, seconds, Fault::None);
        println!("seed {seed}: {counts:?}; by time: missing, ghosts, stale {by_time:?}");
        assert_eq!(
            counts.wrong.load(Ordering::Relaxed),
            0,
            "seed {seed}: {:?}",
            counts.told
        );
        assert!(
            counts.commits.into_inner() > counts.refused.into_inner() / 4,
            "seed {seed}"
        );
        lost += by_time.iter().sum::<usize>();
    }
    // Were this not so, the stress would be none.
    assert!(lost > 0);
}

#[test]
fn the_stress_sees_a_hole_in_the_marks() {
    for fault in [
        Fault::RunningForgotten,
        Fault::NoTrigger("afield_1_delete"),
        Fault::NoTrigger("afield_1_row"),
        Fault::FirstWriterStays,
    ] {
        let is_seen = |seed| {
            let (counts, _) = stress(seed, 1, fault);
            let counts = Counts {
                told: Mutex::default(),
                ..counts
            };
            println!("{fault:?}: {counts:?}");
            counts.wrong.into_inner() > 0
        };
        assert!((1..=5).any(is_seen), "{fault:?}");
    }
}
