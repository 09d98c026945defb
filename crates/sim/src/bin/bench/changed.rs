//! One per cent of the rows changed on the server: the cost follows the changed rows.

use std::error::Error;

use super::device::USER;
use super::scopes::Device;
use super::served::Served;
use super::target::Targets;
use super::{Arguments, median};

/// Rows that change each time, in every table.
const CHANGED: usize = 1_000;
/// Changes in a round: one alone takes less than the system counts.
const TIMES: usize = 20;
/// What the same rows may cost more in a table ten times as large: its trees are a level deeper,
/// and the rows lie on ten times as many pages.
const LIMIT: f64 = 2.0;

/// Measures and prints.
#[expect(clippy::print_stdout, reason = "a program for people")]
pub(crate) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let (large, small) = (arguments.rows, arguments.rows / 10);
    println!("{CHANGED} rows changed on the server, of {large} and of {small}.");
    let (of_large, of_small) = (measure(arguments, large)?, measure(arguments, small)?);
    for (rows, (server, device)) in [(large, of_large), (small, of_small)] {
        println!("  of {rows}: server {server:.2} ms, device {device:.2} ms of CPU");
    }
    let ratio = (of_large.0 + of_large.1) / (of_small.0 + of_small.1);
    let mut targets = Targets::default();
    let what = "CPU of both, as a multiple of that of a tenth of the table";
    targets.at_most(what, ratio, LIMIT, "times");
    targets.finish()
}

/// Milliseconds of CPU of the server and of the device for one such sync.
fn measure(arguments: &Arguments, rows: usize) -> Result<(f64, f64), Box<dyn Error>> {
    let served = Served::with_visits(&arguments.afield, &super::rows::visits(rows))?;
    let mut device = Device::open(&served, USER)?;
    device.sync()?;
    let team = served.database()?;
    let parts = rows / CHANGED;
    let (mut server_ms, mut device_ms) = (Vec::new(), Vec::new());
    for _ in 0..arguments.rounds {
        let (mut on_server, mut on_device) = (0.0, 0.0);
        for time in 0..TIMES {
            let sql = "UPDATE visit SET minutes = minutes + 1 WHERE rowid % ?1 = ?2";
            let changed = team.execute(sql, (parts as i64, (time % parts) as i64))?;
            let before = (served.cpu_seconds()?, device.cpu_seconds()?);
            let pulled = device.sync()?["pulled"].as_u64();
            if pulled != Some(changed as u64) {
                return Err(format!("{changed} rows changed, {pulled:?} came").into());
            }
            on_server += served.cpu_seconds()? - before.0;
            on_device += device.cpu_seconds()? - before.1;
        }
        server_ms.push(on_server * 1e3 / TIMES as f64);
        device_ms.push(on_device * 1e3 / TIMES as f64);
    }
    Ok((median(server_ms), median(device_ms)))
}
