//! Programs that write all at once, in transactions of every kind with delays in them, and one that
//! reads by the time of the latest change, as platforms document it, to show what that loses.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use fastrand::Rng;
use postgres::{Client as Blocking, NoTls};
use tokio_postgres::{Client, GenericClient};

use crate::postgres_support::{connect, run};

/// Rows by key.
pub(crate) type Rows = BTreeMap<String, String>;

/// One statement or a few, of a name that may go into rows.
pub(crate) type Operation = fn(&mut Blocking, &mut Rng, &str) -> Result<(), postgres::Error>;

/// A program that writes.
pub(crate) struct Writer<'a> {
    pub(crate) url: &'a str,
    /// Of no other in the cluster.
    pub(crate) name: &'a str,
    pub(crate) seed: u64,
    /// Whether its transactions stay open while many others commit.
    pub(crate) is_long: bool,
}

/// What the database may refuse where many write at once: serialization, deadlock, a key that is
/// taken, a lock that is not given, a partition that there is none of, a constraint.
const EXPECTED: [&str; 6] = ["40001", "40P01", "23505", "55P03", "23514", "23503"];

impl Writer<'_> {
    /// Runs so many transactions; tells how many ended as they should, and how many were refused.
    pub(crate) fn write(&self, transactions: u64, operation: Operation) -> (u64, u64) {
        let mut rng = Rng::with_seed(self.seed);
        let mut client = Blocking::connect(self.url, NoTls).unwrap();
        client
            .batch_execute("SET lock_timeout = '1s'; SET deadlock_timeout = '50ms'")
            .unwrap();
        let (mut done, mut refused) = (0, 0);
        for number in 0..transactions {
            let name = format!("{}-{number}", self.name);
            match self.transaction(&mut client, &mut rng, &name, operation) {
                Ok(()) => done += 1,
                Err(error) => {
                    let state = error.code().map(|state| state.code().to_owned());
                    let is_expected = state.is_some_and(|state| EXPECTED.contains(&&*state));
                    assert!(is_expected, "{error:?}");
                    client.batch_execute("ROLLBACK").unwrap();
                    refused += 1;
                }
            }
        }
        (done, refused)
    }

    fn transaction(
        &self,
        client: &mut Blocking,
        rng: &mut Rng,
        name: &str,
        operation: Operation,
    ) -> Result<(), postgres::Error> {
        let level = [
            "READ COMMITTED",
            "READ COMMITTED",
            "REPEATABLE READ",
            "SERIALIZABLE",
        ];
        client.batch_execute(&format!("BEGIN ISOLATION LEVEL {}", level[rng.usize(..4)]))?;
        for at in 0..rng.usize(1..5) {
            if rng.u32(..5) == 0 {
                client.batch_execute("SAVEPOINT s")?;
                operation(client, rng, &format!("{name}-{at}-undone"))?;
                delay(client, rng, false)?;
                client.batch_execute(["ROLLBACK TO s", "RELEASE s"][rng.usize(..2)])?;
            }
            operation(client, rng, &format!("{name}-{at}"))?;
            delay(client, rng, self.is_long)?;
        }
        match rng.u32(..10) {
            0 => client.batch_execute("ROLLBACK"),
            1 => {
                client.batch_execute(&format!("PREPARE TRANSACTION '{name}'"))?;
                delay(client, rng, self.is_long)?;
                let end = ["COMMIT", "COMMIT", "ROLLBACK"][rng.usize(..3)];
                client.batch_execute(&format!("{end} PREPARED '{name}'"))
            }
            _ => client.batch_execute("COMMIT"),
        }
    }
}

/// Delays are random: none, some, and now and then one that many others commit within.
fn delay(client: &mut Blocking, rng: &mut Rng, is_long: bool) -> Result<(), postgres::Error> {
    let ms = match rng.u32(..10) {
        0..4 => 0,
        4..9 => rng.u32(1..20),
        _ => rng.u32(20..150),
    };
    let ms = match (is_long, rng.u32(..12)) {
        (false, _) => ms,
        (true, 0) => ms + 2_000,
        (true, _) => ms + 150,
    };
    let seconds = f64::from(ms) / 1_000.0;
    client.execute("SELECT pg_sleep($1)", &[&seconds]).map(drop)
}

/// What the time of the latest change needs of a table with `id` and `modified`: a stamp on what is
/// written, and a list of what is gone.
pub(crate) fn stamped(table: &str) -> String {
    format!(
        "CREATE TABLE tomb (id int, at timestamptz DEFAULT clock_timestamp());
         CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN NEW.modified := clock_timestamp(); RETURN NEW; END';
         CREATE FUNCTION bury() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN INSERT INTO tomb (id) VALUES (OLD.id); RETURN NULL; END';
         CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON {table}
           FOR EACH ROW EXECUTE FUNCTION stamp();
         CREATE TRIGGER bury AFTER DELETE OR UPDATE OF id ON {table}
           FOR EACH ROW EXECUTE FUNCTION bury()"
    )
}

/// Asks for what is not older than the server's clock was at the last time, until it is over and
/// once more; tells how many rows are missing then, gone but here, and stale.
pub(crate) fn by_time(url: &str, table: &str, over: &AtomicBool) -> [usize; 3] {
    run(read_by_time(url, table, over))
}

async fn read_by_time(url: &str, table: &str, over: &AtomicBool) -> [usize; 3] {
    let client = connect(url).await;
    let (mut rows, mut last) = (Rows::new(), "-infinity".to_owned());
    let changed =
        format!("SELECT id::text, words FROM {table} WHERE modified >= $1::text::timestamptz");
    let gone = format!(
        "SELECT id::text, '' FROM tomb t WHERE at >= $1::text::timestamptz \
         AND NOT EXISTS (SELECT FROM {table} o WHERE o.id = t.id)"
    );
    loop {
        let is_last = over.load(Ordering::Acquire);
        let clock = "SELECT clock_timestamp()::text";
        let clock = client.query_one(clock, &[]).await.unwrap();
        let changed = select(&client, &changed, &[&last]).await;
        for id in select(&client, &gone, &[&last]).await.keys() {
            rows.remove(id);
        }
        rows.extend(changed);
        last = clock.get(0);
        if is_last {
            break;
        }
        pause(&client, 50).await;
    }
    let truth = format!("SELECT id::text, words FROM {table}");
    let truth = select(&client, &truth, &[]).await;
    let missing = truth.keys().filter(|key| !rows.contains_key(*key)).count();
    let ghosts = rows.keys().filter(|key| !truth.contains_key(*key)).count();
    let stale = rows
        .iter()
        .filter(|(key, words)| truth.get(*key).is_some_and(|w| w != *words));
    [missing, ghosts, stale.count()]
}

/// The rows of a query of key and words.
pub(crate) async fn select(
    client: &impl GenericClient,
    sql: &str,
    parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)],
) -> Rows {
    let rows = client.query(sql, parameters).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// Lets the database wait.
pub(crate) async fn pause(client: &Client, ms: u64) {
    let seconds = ms as f64 / 1_000.0;
    let sql = "SELECT pg_sleep($1)";
    client.execute(sql, &[&seconds]).await.unwrap();
}

/// How many seeds, and seconds of each: two of two, or what `AFIELD_STRESS` says.
pub(crate) fn seeds_and_seconds() -> (u64, u64) {
    let Ok(text) = std::env::var("AFIELD_STRESS") else {
        return (2, 2);
    };
    let numbers: Vec<u64> = text.split(' ').map(|word| word.parse().unwrap()).collect();
    (numbers[0], numbers[1])
}
