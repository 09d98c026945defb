//! How long the user's own write waits while rows arrive.

use std::error::Error;
use std::process::Child;
use std::time::Duration;

use afield::Store;
use afield::protocol::Attributes;

use super::Arguments;
use super::device::{USER, database, now, open, percentile};
use super::rows::visits;
use super::served::Served;
use super::target::Targets;

/// Milliseconds that 99 of 100 writes wait at most.
const LIMIT_MS: f64 = 250.0;
/// What the user does between two writes.
const PAUSE: Duration = Duration::from_millis(2);

/// Measures and prints.
#[expect(clippy::print_stdout, reason = "a program for people")]
pub(crate) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let rows = visits(arguments.rows);
    println!("The user writes while {} rows arrive.", rows.len());
    let (mut first, mut more) = (Vec::new(), Vec::new());
    for _ in 0..arguments.rounds {
        let served = Served::with_visits(&arguments.afield, &rows)?;
        first.extend(write_during(&served)?);
        // Every row changes at once: more than a page, so it is staged, and switched.
        let all = "UPDATE visit SET minutes = minutes + 1";
        served.database()?.execute(all, [])?;
        more.extend(write_during(&served)?);
    }
    let mut targets = Targets::default();
    for (what, times) in [
        ("first download, p99", first),
        ("every row changed, p99", more),
    ] {
        let slowest = times.iter().max().copied().unwrap_or_default();
        println!("  {} writes, the slowest {slowest:.1?}", times.len());
        let waited = percentile(times, 99).as_secs_f64() * 1e3;
        targets.at_most(what, waited, LIMIT_MS, "ms");
    }
    targets.finish()
}

/// Writes again and again until a device's sync is over; gives what each write took.
fn write_during(served: &Served) -> Result<Vec<Duration>, Box<dyn Error>> {
    let mut device = served.device(USER, &["--json", "sync"])?.spawn()?;
    let mut times = Vec::new();
    let mut store = None;
    while device.try_wait()?.is_none() {
        match &mut store {
            Some(store) => times.push(write(store)?),
            // There is nothing to write to before the model has come.
            None => store = ready(served),
        }
        std::thread::park_timeout(PAUSE);
    }
    finished(&mut device)?;
    match times.len() {
        0 => Err("the sync was over before the first write".into()),
        _ => Ok(times),
    }
}

fn ready(served: &Served) -> Option<Store> {
    let path = database(served);
    let mut store = path.exists().then(|| open(&path).ok())??;
    store.model().is_ok().then_some(store)
}

fn write(store: &mut Store) -> Result<Duration, Box<dyn Error>> {
    let hex = format!("{:032x}", fastrand::u128(..));
    let (a, b, c, d) = (&hex[..8], &hex[8..12], &hex[13..16], &hex[17..20]);
    let id = format!("{a}-{b}-4{c}-8{d}-{}", &hex[20..]);
    let row = [("id", id.as_str()), ("site", "mine"), ("notes", "a note")];
    let row: Attributes = row
        .map(|(name, value)| (name.to_owned(), value.into()))
        .into();
    let start = now();
    store.create("visit", &row)?;
    Ok(start.elapsed())
}

fn finished(device: &mut Child) -> Result<(), Box<dyn Error>> {
    let status = device.wait()?;
    let stdout = device.stdout.take().ok_or("the device has no output")?;
    let report = std::io::read_to_string(stdout)?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("the device failed: {status}: {report}").into()),
    }
}
