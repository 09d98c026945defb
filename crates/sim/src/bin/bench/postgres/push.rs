//! Edits made offline, sent and settled, with PostgreSQL on the server.

use std::error::Error;

use super::super::device::{USER, open, set};
use super::super::process::children_cpu_seconds;
use super::super::rows::visits;
use super::super::target::Targets;
use super::super::{Arguments, median};
use super::Team;

/// Edits, each a transaction of its own.
const EDITS: usize = 10_000;
/// As a multiple of one UPDATE of the same rows.
const LIMIT: f64 = 3.0;

/// Measures and prints.
#[expect(clippy::print_stdout, reason = "a program for people")]
pub(crate) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let rows = visits(arguments.rows.max(EDITS));
    println!(
        "{EDITS} offline edits of {} rows, sent to PostgreSQL and settled.",
        rows.len()
    );
    let mut all: [Vec<f64>; 4] = Default::default();
    for number in 1..=arguments.rounds {
        let team = Team::with_visits(&arguments.afield, &rows)?;
        sync(&team, 0)?;
        let ids: Vec<&str> = rows.iter().take(EDITS).map(|row| row.id()).collect();
        let mut values: Vec<i32> = (1_000..).take(EDITS).collect();
        let store = team
            .served
            .folder()
            .join("store")
            .join(format!("{USER}.afield"));
        let mut store = open(&store)?;
        for (id, value) in ids.iter().zip(&values) {
            store.update("visit", &[(*id).into()], &set("minutes", i64::from(*value)))?;
        }
        drop(store);
        let before = (
            children_cpu_seconds()?,
            team.served.cpu_seconds()?,
            team.database_cpu()?,
        );
        sync(&team, EDITS)?;
        let (device, server, database) = (
            children_cpu_seconds()? - before.0,
            team.served.cpu_seconds()? - before.1,
            team.database_cpu()? - before.2,
        );
        // The same rows in one statement of the team's, marks and all.
        values.iter_mut().for_each(|value| *value += 50_000);
        let ids: Vec<String> = ids.into_iter().map(str::to_owned).collect();
        let mut client = team.database.connect();
        let sql = "UPDATE visit r SET minutes = u.minutes \
                   FROM unnest($1::text[]::uuid[], $2::int[]) u (id, minutes) WHERE r.id = u.id";
        let before = team.database_cpu()?;
        client.execute(sql, &[&ids, &values])?;
        let plain = team.database_cpu()? - before;
        let round = [plain, device, server, database];
        println!("  round {number}, plain, device, server, database: {round:.3?} s");
        all.iter_mut()
            .zip(round)
            .for_each(|(all, one)| all.push(one));
    }
    let [plain, device, server, database] = all.map(median);
    println!(
        "  one UPDATE {plain:.3} s; server {:.2} times, database {:.2} times, device {:.2} times",
        server / plain,
        database / plain,
        device / plain
    );
    let mut targets = Targets::default();
    let both = (server + database) / plain;
    targets.at_most("CPU of server and database", both, LIMIT, "times");
    targets.finish()
}

/// Runs a device that must get so many changes applied.
fn sync(team: &Team, pushed: usize) -> Result<(), Box<dyn Error>> {
    let output = team.served.device(USER, &["--json", "sync"])?.output()?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    match report["pushed"].as_u64() == Some(pushed as u64) && report["status"] == "completed" {
        true => Ok(()),
        false => Err(format!("{pushed} changes were to be applied: {report}").into()),
    }
}
