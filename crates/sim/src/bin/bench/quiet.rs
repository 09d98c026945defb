//! A sync with nothing new, of a device that stays open.

use std::error::Error;

use super::device::{USER, now, percentile};
use super::scopes::Device;
use super::served::Served;
use super::target::Targets;
use super::{Arguments, median};

/// Milliseconds of the server's CPU.
const SERVER_MS: f64 = 0.5;
/// Milliseconds until the device knows, in the middle.
const MEDIAN_MS: f64 = 3.0;

/// Measures and prints.
#[expect(clippy::print_stdout, reason = "a program for people")]
pub(crate) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let rows = super::rows::visits(arguments.rows);
    println!(
        "A sync with nothing new, {} rows on the device.",
        rows.len()
    );
    let served = Served::with_visits(&arguments.afield, &rows)?;
    let mut device = Device::open(&served, USER)?;
    device.sync()?;
    let (mut server, mut both, mut middle) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..arguments.rounds {
        let mut times = Vec::new();
        let before = (served.cpu_seconds()?, device.cpu_seconds()?);
        for _ in 0..arguments.syncs {
            let start = now();
            device.sync()?;
            times.push(start.elapsed());
        }
        let each = |seconds: f64| seconds * 1e3 / f64::from(arguments.syncs);
        let on_server = each(served.cpu_seconds()? - before.0);
        server.push(on_server);
        both.push(on_server + each(device.cpu_seconds()? - before.1));
        middle.push(percentile(times, 50).as_secs_f64() * 1e3);
    }
    let mut targets = Targets::default();
    println!("  CPU of both processes: {:.3} ms", median(both));
    targets.at_most("CPU of the server", median(server), SERVER_MS, "ms");
    targets.at_most("median until done", median(middle), MEDIAN_MS, "ms");
    targets.finish()
}
