//! A first download from PostgreSQL.

use std::error::Error;

use super::super::device::USER;
use super::super::download::{plain, received, watch};
use super::super::process::children_cpu_seconds;
use super::super::rows::visits;
use super::super::target::Targets;
use super::super::{Arguments, median};
use super::Team;

/// CPU of device, server and database, as a multiple of L.
const CPU: f64 = 3.0;

/// Measures and prints.
#[expect(clippy::print_stdout, reason = "a program for people")]
pub(crate) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let rows = visits(arguments.rows);
    println!("First download of {} rows from PostgreSQL.", rows.len());
    let team = Team::with_visits(&arguments.afield, &rows)?;
    let mut all: [Vec<f64>; 4] = Default::default();
    let mut memory = Vec::new();
    for number in 1..=arguments.rounds {
        let folder = tempfile::tempdir()?;
        let (plain, _) = plain(folder.path(), &rows)?;
        let _ = std::fs::remove_dir_all(team.served.folder().join("store"));
        let mut device = team.served.device(USER, &["--json", "sync"])?;
        let before = (
            children_cpu_seconds()?,
            team.served.cpu_seconds()?,
            team.database_cpu()?,
        );
        let (_, report) = watch(device.spawn()?)?;
        received(&report, rows.len())?;
        let round = [
            plain,
            children_cpu_seconds()? - before.0,
            team.served.cpu_seconds()? - before.1,
            team.database_cpu()? - before.2,
        ];
        println!("  round {number}, L, device, server, database: {round:.2?} s");
        all.iter_mut()
            .zip(round)
            .for_each(|(all, one)| all.push(one));
        memory.push(team.served.peak_mib());
    }
    let [l, device, server, database] = all.map(median);
    println!(
        "  device {:.2} L, server {:.2} L, database {:.2} L; memory of the server {:.0} MiB",
        device / l,
        server / l,
        database / l,
        median(memory)
    );
    let mut targets = Targets::default();
    targets.at_most("CPU of all", (device + server + database) / l, CPU, "L");
    targets.finish()
}
