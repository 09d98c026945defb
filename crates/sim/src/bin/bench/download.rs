//! A first download: server and device each one process, over loopback HTTP.

use std::error::Error;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use rusqlite::Connection;

use super::device::{USER, bytes_of};
use super::process::{children_cpu_seconds, cpu_seconds, peak_mib};
use super::rows::{INDEX, TABLE, Visit, body, insert, visits};
use super::served::Served;
use super::target::Targets;
use super::{Arguments, median};

/// How often a device's memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// CPU of both processes, as a multiple of L.
const CPU: f64 = 3.0;
/// Bytes on the wire, as a multiple of one body of zstd of the same rows.
const WIRE: f64 = 1.1;
/// The level of zstd that this body is packed with.
const ZSTD_LEVEL: i32 = 3;
/// The device's files, as a multiple of the plain table with its indexes.
const FILES: f64 = 1.15;
/// Peak resident memory of either process in MiB, up to so many rows and beyond.
const MEMORY_MIB: (f64, f64) = (80.0, 150.0);
const MANY_ROWS: usize = 100_000;

/// What one round measured.
#[derive(Clone, Copy, Debug)]
struct Round {
    plain: f64,
    device: f64,
    server: f64,
    device_mib: f64,
    server_mib: f64,
    wire_bytes: f64,
    file_bytes: f64,
    plain_bytes: f64,
}

/// Measures and prints.
#[expect(clippy::print_stdout, reason = "a program for people")]
pub(crate) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let rows = visits(arguments.rows);
    println!(
        "First download of {} rows, 10 attributes, about 300 bytes each.",
        rows.len()
    );
    let body = body(&rows);
    let packed = zstd::bulk::compress(&body, ZSTD_LEVEL)?.len() as f64;
    println!(
        "  one body: {:.1} MB, packed {:.1} MB",
        body.len() as f64 / 1e6,
        packed / 1e6
    );
    drop(body);
    let mut rounds = Vec::new();
    for number in 1..=arguments.rounds {
        let round = round(arguments, &rows)?;
        println!("  round {number}: {round:.2?}");
        rounds.push(round);
    }
    let median = |field: fn(&Round) -> f64| median(rounds.iter().map(field).collect());
    let plain = median(|r| r.plain);
    println!("  L, a prepared INSERT of the same rows in one transaction: {plain:.2} s CPU");
    println!("  device {:.2} L", median(|r| r.device) / plain);
    println!("  server {:.2} L", median(|r| r.server) / plain);
    let both = median(|r| r.device + r.server) / plain;
    let memory = match rows.len() {
        ..=MANY_ROWS => MEMORY_MIB.0,
        _ => MEMORY_MIB.1,
    };
    let wire = median(|r| r.wire_bytes) / packed;
    let files = median(|r| r.file_bytes / r.plain_bytes);
    let mut targets = Targets::default();
    targets.at_most("CPU of both", both, CPU, "L");
    targets.at_most("wire", wire, WIRE, "of zstd -3");
    targets.at_most("the device's files", files, FILES, "of the table");
    targets.at_most(
        "memory of the device",
        median(|r| r.device_mib),
        memory,
        "MiB",
    );
    targets.at_most(
        "memory of the server",
        median(|r| r.server_mib),
        memory,
        "MiB",
    );
    targets.finish()
}

fn round(arguments: &Arguments, rows: &[Visit]) -> Result<Round, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let (plain, plain_bytes) = plain(folder.path(), rows)?;
    let served = Served::with_visits(&arguments.afield, rows)?;
    let mut device = served.device(USER, &["--json", "sync"])?;
    let (server_before, device_before) = (served.cpu_seconds()?, children_cpu_seconds()?);
    let (device_mib, report) = watch(device.spawn()?)?;
    Ok(Round {
        plain,
        device: children_cpu_seconds()? - device_before,
        server: served.cpu_seconds()? - server_before,
        device_mib,
        server_mib: served.peak_mib(),
        wire_bytes: received(&report, rows.len())?,
        file_bytes: bytes_of(&served.folder().join("store"))? as f64,
        plain_bytes,
    })
}

/// CPU seconds of the plain INSERT, default settings; then bytes of the file with its index.
pub(super) fn plain(folder: &Path, rows: &[Visit]) -> Result<(f64, f64), Box<dyn Error>> {
    let mut db = Connection::open(folder.join("plain.db"))?;
    db.execute_batch(TABLE)?;
    let before = cpu_seconds("self")?;
    insert(&mut db, rows)?;
    let seconds = cpu_seconds("self")? - before;
    db.execute_batch(INDEX)?;
    db.close().map_err(|(_, error)| error)?;
    Ok((seconds, bytes_of(folder)? as f64))
}

/// Waits for the device and watches its memory meanwhile.
pub(super) fn watch(mut device: Child) -> Result<(f64, String), Box<dyn Error>> {
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
pub(super) fn received(report: &str, rows: usize) -> Result<f64, Box<dyn Error>> {
    let report: serde_json::Value = serde_json::from_str(report)?;
    if report["pulled"].as_u64() != Some(rows as u64) {
        return Err(format!("the device pulled {} of {rows} rows", report["pulled"]).into());
    }
    Ok(report["bytes_received"].as_f64().unwrap_or(0.0))
}
