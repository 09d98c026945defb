//! A sync with nothing new, of a user who holds one value of a scope and of one who holds 500.

use std::error::Error;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use rusqlite::Connection;

use super::process::cpu_seconds;
use super::served::Served;
use super::{Arguments, median};

/// Values in the table, each with as many rows.
const REGIONS: i64 = 1_000;
/// Values that the second user holds.
const MANY: i64 = 500;
/// What the second user may cost more, in milliseconds of the server's CPU.
const LIMIT_MS: f64 = 2.0;

const TABLES: &str = "
  CREATE TABLE region_member (user_id TEXT, region_id INTEGER, PRIMARY KEY (user_id, region_id));
  CREATE TABLE site (id INTEGER PRIMARY KEY, region_id INTEGER NOT NULL);
  CREATE INDEX site_region ON site (region_id, id);
  CREATE TABLE visit (
    id INTEGER PRIMARY KEY, region_id INTEGER NOT NULL,
    site_id INTEGER NOT NULL REFERENCES site (id));
  CREATE INDEX visit_region ON visit (region_id, id);
  CREATE INDEX visit_site ON visit (site_id, id);";

/// Measures and prints.
#[expect(clippy::print_stdout, reason = "a program for people")]
pub(crate) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let rows = arguments.rows;
    println!("A sync with nothing new, {rows} rows on the server, {REGIONS} values.");
    let [one, many] = measure(arguments, BY_COLUMN)?;
    println!("  by a column: server CPU with 1 value held {one:.2} ms, with {MANY} {many:.2} ms");
    let more = many - one;
    println!("  difference {more:.2} ms, limit {LIMIT_MS} ms");
    let [one, many] = measure(arguments, BY_PATH)?;
    println!(
        "  by a path through {} rows: {one:.2} ms and {many:.2} ms",
        sites(rows)
    );
    if more > LIMIT_MS {
        return Err("a user with many values costs more than the limit".into());
    }
    Ok(())
}

/// Milliseconds of the server's CPU for a sync of either user.
fn measure(arguments: &Arguments, entity: &str) -> Result<[f64; 2], Box<dyn Error>> {
    let rows = arguments.rows;
    let model = format!("{MODEL}{entity}");
    let served = Served::start(&arguments.afield, |db| fill(db, rows), |_| model)?;
    let mut users = [
        Device::open(&served, "one")?,
        Device::open(&served, "many")?,
    ];
    let mut rounds = [Vec::new(), Vec::new()];
    for device in &mut users {
        device.sync()?;
    }
    for _ in 0..arguments.rounds {
        for (device, milliseconds) in users.iter_mut().zip(&mut rounds) {
            let before = served.cpu_seconds()?;
            for _ in 0..arguments.syncs {
                device.sync()?;
            }
            let seconds = served.cpu_seconds()? - before;
            milliseconds.push(seconds * 1e3 / f64::from(arguments.syncs));
        }
    }
    Ok(rounds.map(median))
}

/// The model in place of the proposed one.
const MODEL: &str = r#"
[server]
database = "sqlite:team.db"

[limits]
device_rate = 60000

[auth]
secret_file = ".afield/secret"

[scope.regions]
query = "SELECT region_id FROM region_member WHERE user_id = :user"

[local.visit]
from = "visit"
pattern = "last-write-wins"
attributes = ["region_id", "site_id"]
"#;

const BY_COLUMN: &str = r#"scope = "region_id in regions""#;
const BY_PATH: &str = r#"scope = "site_id.region_id in regions""#;

/// So many rows of the table that the path leads through, for so many visits.
fn sites(rows: usize) -> usize {
    (rows / 10).max(1)
}

fn fill(db: &mut Connection, rows: usize) -> rusqlite::Result<()> {
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let (sites, rows) = (count(sites(rows)), count(rows));
    let transaction = db.transaction()?;
    transaction.execute_batch(TABLES)?;
    let numbers = "CREATE TEMP TABLE n AS WITH RECURSIVE n (v) AS \
                   (SELECT 1 UNION ALL SELECT v + 1 FROM n WHERE v < ?1) SELECT v FROM n";
    transaction.execute(numbers, [rows.max(REGIONS)])?;
    for (user, held) in [("one", 1), ("many", MANY)] {
        let sql = "INSERT INTO region_member SELECT ?1, v FROM n WHERE v <= ?2";
        transaction.execute(sql, (user, held))?;
    }
    let sql = "INSERT INTO site SELECT v, 1 + v % ?1 FROM n WHERE v <= ?2";
    transaction.execute(sql, [REGIONS, sites])?;
    let sql = "INSERT INTO visit SELECT v, 1 + v % ?1, 1 + v % ?2 FROM n WHERE v <= ?3";
    transaction.execute(sql, [REGIONS, sites, rows])?;
    transaction.commit()
}

/// A device that stays open, driven by JSON lines.
pub(crate) struct Device {
    process: Child,
    requests: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Device {
    pub(crate) fn open(served: &Served, user: &str) -> Result<Self, Box<dyn Error>> {
        let mut command = served.device(user, &["--repl"])?;
        let mut process = command.stdin(Stdio::piped()).spawn()?;
        let requests = process.stdin.take().ok_or("the device takes no input")?;
        let answers = process.stdout.take().ok_or("the device has no output")?;
        Ok(Self {
            process,
            requests,
            answers: BufReader::new(answers).lines(),
        })
    }

    /// Synchronises; gives the report.
    pub(crate) fn sync(&mut self) -> Result<serde_json::Value, Box<dyn Error>> {
        let answer = self.ask(r#"{"do":"sync"}"#)?;
        match answer["status"].as_str() {
            Some("completed") => Ok(answer),
            _ => Err(format!("the sync failed: {answer}").into()),
        }
    }

    /// CPU seconds of its process so far.
    pub(crate) fn cpu_seconds(&self) -> std::io::Result<f64> {
        cpu_seconds(&self.process.id().to_string())
    }

    /// Sends a line and gives the answer.
    pub(crate) fn ask(&mut self, line: &str) -> Result<serde_json::Value, Box<dyn Error>> {
        writeln!(self.requests, "{line}")?;
        let answer = self.answers.next().ok_or("the device ended")??;
        Ok(serde_json::from_str(&answer)?)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
