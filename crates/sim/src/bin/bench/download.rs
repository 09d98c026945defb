//! A first download: server and device each one process, over loopback HTTP.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rusqlite::Connection;

use super::Arguments;
use super::process::{children_cpu_seconds, cpu_seconds, peak_mib};
use super::rows::{TABLE, Visit, insert, visits};

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
    let median = |field: fn(&Round) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(field).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
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
    let team = folder.path().join("team.db");
    let mut db = Connection::open(&team)?;
    db.execute_batch(TABLE)?;
    insert(&mut db, rows)?;
    db.close().map_err(|(_, error)| error)?;
    let afield = |words: &[&str]| {
        let mut command = Command::new(&arguments.afield);
        command
            .current_dir(folder.path())
            .args(words)
            .stdin(Stdio::null())
            .env("RUST_LOG", "warn");
        command
    };
    output(&mut afield(&["init", "--from", "team.db"]))?;
    output(&mut afield(&["prepare"]))?;
    let token = output(&mut afield(&["token", "--user", "bench"]))?;
    let mut serve = afield(&["serve", "--listen", "127.0.0.1:0", "--once-ready-print"]);
    let mut server = Server(serve.stdout(Stdio::piped()).spawn()?);
    let mut url = String::new();
    let stdout = server.0.stdout.take().ok_or("the server has no output")?;
    BufReader::new(stdout).read_line(&mut url)?;
    let pid = server.0.id().to_string();
    let (server_before, device_before) = (cpu_seconds(&pid)?, children_cpu_seconds()?);
    let sync = [
        "device",
        "store",
        "--user",
        "bench",
        "--server",
        url.trim(),
        "--json",
        "sync",
    ];
    let device = afield(&sync)
        .env("AFIELD_TOKEN", token.trim())
        .stdout(Stdio::piped())
        .spawn()?;
    let (device_mib, report) = watch(device)?;
    Ok(Round {
        plain,
        device: children_cpu_seconds()? - device_before,
        server: cpu_seconds(&pid)? - server_before,
        device_mib,
        server_mib: peak_mib(&pid).unwrap_or(0.0),
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

/// Ends the server when the round is over, however it ends.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn output(command: &mut Command) -> Result<String, Box<dyn Error>> {
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{command:?} failed: {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
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
