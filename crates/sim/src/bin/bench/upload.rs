//! Edits made offline, sent and settled.

use std::error::Error;

use rusqlite::Connection;

use super::device::{USER, database, open, set};
use super::process::{children_cpu_seconds, cpu_seconds};
use super::rows::{Visit, visits};
use super::served::Served;
use super::target::Targets;
use super::{Arguments, median};

/// Edits, each a transaction of its own.
const EDITS: usize = 10_000;
/// How often the same updates are made on the prepared file: once takes a few ticks of the clock.
const PLAIN: u32 = 5;
/// As a multiple of the same updates in one transaction on the prepared file.
const LIMIT: f64 = 4.0;

/// Measures and prints.
#[expect(clippy::print_stdout, reason = "a program for people")]
pub(crate) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let rows = visits(arguments.rows);
    println!(
        "{EDITS} offline edits of {} rows, sent and settled.",
        rows.len()
    );
    let (mut plain, mut server, mut device) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=arguments.rounds {
        let round = round(arguments, &rows)?;
        println!("  round {number}, s of CPU: {round:.3?}");
        plain.push(round[0]);
        server.push(round[1]);
        device.push(round[2]);
    }
    let (plain, server, device) = (median(plain), median(server), median(device));
    println!("  the same updates in one transaction: {plain:.3} s of CPU");
    println!(
        "  server {:.2} times, device {:.2} times",
        server / plain,
        device / plain
    );
    let mut targets = Targets::default();
    targets.at_most("CPU of both", (server + device) / plain, LIMIT, "times");
    targets.finish()
}

/// CPU seconds: of the plain updates, of the server, of the device.
fn round(arguments: &Arguments, rows: &[Visit]) -> Result<[f64; 3], Box<dyn Error>> {
    let served = Served::with_visits(&arguments.afield, rows)?;
    let copy = served.folder().join("copy.db");
    let sql = "VACUUM INTO ?1";
    served.database()?.execute(sql, [copy.to_string_lossy()])?;
    let again = served.folder().join("again.db");
    let mut seconds = 0.0;
    for _ in 0..PLAIN {
        std::fs::copy(&copy, &again)?;
        seconds += plain(&again, rows)?;
    }
    let plain = seconds / f64::from(PLAIN);
    sync(&served, 0)?;
    let mut store = open(&database(&served))?;
    for (at, row) in edited(rows) {
        store.update("visit", &[row.id().into()], &set("minutes", at))?;
    }
    drop(store);
    let before = (served.cpu_seconds()?, children_cpu_seconds()?);
    sync(&served, EDITS.min(rows.len()))?;
    let device = children_cpu_seconds()? - before.1;
    Ok([plain, served.cpu_seconds()? - before.0, device])
}

/// The rows to edit, and the value that each gets.
fn edited(rows: &[Visit]) -> impl Iterator<Item = (i64, &Visit)> {
    (1_000..).zip(rows.iter().take(EDITS))
}

fn plain(path: &std::path::Path, rows: &[Visit]) -> Result<f64, Box<dyn Error>> {
    let mut db = Connection::open(path)?;
    let before = cpu_seconds("self")?;
    let transaction = db.transaction()?;
    let mut update = transaction.prepare("UPDATE visit SET minutes = ?1 WHERE id = ?2")?;
    for (at, row) in edited(rows) {
        update.execute((at, row.id()))?;
    }
    drop(update);
    transaction.commit()?;
    Ok(cpu_seconds("self")? - before)
}

/// Runs a device that must get so many changes applied.
fn sync(served: &Served, pushed: usize) -> Result<(), Box<dyn Error>> {
    let output = served.device(USER, &["--json", "sync"])?.output()?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    match report["pushed"].as_u64() == Some(pushed as u64) && report["status"] == "completed" {
        true => Ok(()),
        false => Err(format!("{pushed} changes were to be applied: {report}").into()),
    }
}
