//! A first download: server and device each one process, over loopback HTTP.

use std::error::Error;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use rusqlite::Connection;

use super::process::{children_cpu_seconds, cpu_seconds, peak_mib};
use super::rows::{TABLE, Visit, insert, visits};
use super::served::Served;
use super::{Arguments, median};

/// How often a device's memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What one round measured.
#[derive(Clone, Copy, Debug)]
struct Round {
    plain: f64,
    device: f64,
    server: f64,
    device_mib: f64,
    server_mib: f64,
    wire_bytes: f64,
}

/// Measures and prints.
#[expect(clippy::print_stdout, reason = "a program for people")]
pub(crate) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let rows = visits(arguments.rows);
    println!(
        "First download of {} rows, 10 attributes, about 300 bytes each.",
        rows.len()
    );
    let mut rounds = Vec::new();
    for number in 1..=arguments.rounds {
        let round = round(arguments, &rows)?;
        println!("  round {number}: {round:.2?}");
        rounds.push(round);
    }
    let median = |field: fn(&Round) -> f64| median(rounds.iter().map(field).collect());
    let plain = median(|r| r.plain);
    let (device, server) = (median(|r| r.device), median(|r| r.server));
    println!("  L, a prepared INSERT of the same rows in one transaction: {plain:.2} s CPU");
    println!("  device {device:.2} s = {:.2} L", device / plain);
    println!("  server {server:.2} s = {:.2} L", server / plain);
    println!(
        "  both   {:.2} s = {:.2} L",
        device + server,
        (device + server) / plain
    );
    println!(
        "  peak memory: device {:.0} MiB, server {:.0} MiB",
        median(|r| r.device_mib),
        median(|r| r.server_mib)
    );
    println!("  wire: {:.1} MB", median(|r| r.wire_bytes) / 1e6);
    Ok(())
}

fn round(arguments: &Arguments, rows: &[Visit]) -> Result<Round, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let plain = plain(folder.path(), rows)?;
    let fill = |db: &mut Connection| {
        db.execute_batch(TABLE)?;
        insert(db, rows)
    };
    let served = Served::start(&arguments.afield, fill, |proposed| proposed)?;
    let mut device = served.device("bench", &["--json", "sync"])?;
    let (server_before, device_before) = (served.cpu_seconds()?, children_cpu_seconds()?);
    let (device_mib, report) = watch(device.spawn()?)?;
    Ok(Round {
        plain,
        device: children_cpu_seconds()? - device_before,
        server: served.cpu_seconds()? - server_before,
        device_mib,
        server_mib: served.peak_mib(),
        wire_bytes: received(&report, rows.len())?,
    })
}

/// CPU seconds of the plain INSERT, default settings.
fn plain(folder: &Path, rows: &[Visit]) -> Result<f64, Box<dyn Error>> {
    let mut db = Connection::open(folder.join("plain.db"))?;
    db.execute_batch(TABLE)?;
    let before = cpu_seconds("self")?;
    insert(&mut db, rows)?;
    Ok(cpu_seconds("self")? - before)
}

/// Waits for the device and watches its memory meanwhile.
fn watch(mut device: Child) -> Result<(f64, String), Box<dyn Error>> {
    let pid = device.id().to_string();
    let stdout = device.stdout.take().ok_or("the device has no output")?;
    let reader = std::thread::spawn(move || std::io::read_to_string(stdout));
    let mut peak: f64 = 0.0;
    let status = loop {
        peak = peak_mib(&pid).map_or(peak, |mib| mib.max(peak));
        match device.try_wait()? {
            Some(status) => break status,
            // Looking is cheap beside what is measured, and it must not miss the peak.
            None => std::thread::park_timeout(LOOK_EVERY),
        }
    };
    let report = reader.join().map_err(|_| "the reader panicked")??;
    if !status.success() {
        return Err(format!("the device failed: {status}: {report}").into());
    }
    Ok((peak, report))
}

/// Checks that every row came, and says how many bytes they took.
fn received(report: &str, rows: usize) -> Result<f64, Box<dyn Error>> {
    let report: serde_json::Value = serde_json::from_str(report)?;
    if report["pulled"].as_u64() != Some(rows as u64) {
        return Err(format!("the device pulled {} of {rows} rows", report["pulled"]).into());
    }
    Ok(report["bytes_received"].as_f64().unwrap_or(0.0))
}
