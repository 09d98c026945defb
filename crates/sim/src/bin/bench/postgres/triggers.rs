//! What the capture costs the team's own writes.

use std::error::Error;

use super::super::target::Targets;
use super::super::{Arguments, median};
use super::{Team, unlimited};
use postgres::Client;

/// Rows of each table.
const ROWS: i32 = 1_000_000;
/// Rows that are updated in one statement, others in each round.
const BULK: i32 = 100_000;
/// Single statements of a kind in a round.
const SINGLE: i32 = 2_000;
/// Rounds, each with all tables in turn.
const ROUNDS: usize = 5;

/// Three tables of one form: two that nobody captures, the second as a control.
const TABLES: [&str; 3] = ["captured", "plain", "control"];

/// Measures and prints.
#[expect(clippy::print_stdout, reason = "a program for people")]
pub(crate) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    println!("The team's own writes to PostgreSQL, with capture and without.");
    let tables: String = TABLES.map(table).concat();
    let model = |proposed: String| {
        let (mut kept, mut is_kept) = (String::new(), true);
        for line in proposed.lines() {
            if line.starts_with('[') {
                is_kept = !line.contains("plain") && !line.contains("control");
            }
            if is_kept && !line.contains("\"plain\"") {
                kept += &format!("{line}\n");
            }
        }
        unlimited(&kept)
    };
    let team = Team::start(&arguments.afield, &tables, |_| Ok(()), model)?;
    let mut client = team.database.connect();
    client.batch_execute("SET synchronous_commit = off")?;
    let backend = client.query_one("SELECT pg_backend_pid()", &[])?;
    let backend = backend.get::<_, i32>(0).to_string();
    let mut singles: [[Vec<f64>; 3]; 3] = Default::default();
    let mut bulks: [[Vec<f64>; 2]; 3] = Default::default();
    for round in 0..ROUNDS {
        for (at, table) in TABLES.iter().enumerate() {
            for (kind, all) in singles[at].iter_mut().enumerate() {
                all.push(single(&mut client, &backend, table, kind, round)?);
            }
        }
        for (at, table) in TABLES.iter().enumerate() {
            let [cpu, wall] = bulk(&mut client, &backend, table, round)?;
            bulks[at][0].push(cpu);
            bulks[at][1].push(wall);
        }
    }
    let mut targets = Targets::default();
    let singles = singles.map(|kinds| kinds.map(median));
    for (kind, name) in [(0, "INSERT"), (1, "UPDATE"), (2, "DELETE")] {
        let [with, without, control] = [0, 1, 2].map(|at| singles[at][kind]);
        println!(
            "  {name} of one row: {without:.0} us without, {with:.0} us with, control {:.2}",
            control / without
        );
        // Whichever of both limits is kept.
        let over = (with / without / 2.4).min((with - without) / 200.0);
        targets.at_most("of the limit (2.4 times, or 200 us)", over, 1.0, "");
    }
    let bulks = bulks.map(|both| both.map(median));
    let ratio = |what: usize, at: usize| bulks[at][what] / bulks[1][what];
    println!(
        "  UPDATE of {BULK} rows: {:.2} s of CPU without, control {:.2}",
        bulks[1][0],
        ratio(0, 2)
    );
    targets.at_most("bulk UPDATE, CPU", ratio(0, 0), 1.4, "times");
    targets.at_most("bulk UPDATE, wall", ratio(1, 0), 2.2, "times");
    targets.finish()
}

fn table(name: &str) -> String {
    format!(
        "CREATE TABLE {name} (id integer PRIMARY KEY, region integer NOT NULL, owner text, \
         note text, planned date, minutes integer);
         CREATE INDEX {name}_region ON {name} (region); CREATE INDEX {name}_owner ON {name} (owner);
         INSERT INTO {name} SELECT n, n % 1000, 'owner ' || n % 100, repeat('some words ', 8),
           '2026-01-01'::date + n % 300, n % 60 FROM generate_series(1, {ROWS}) n;"
    )
}

/// Microseconds of the backend's CPU for one statement of a kind.
fn single(
    client: &mut Client,
    backend: &str,
    table: &str,
    kind: usize,
    round: usize,
) -> Result<f64, Box<dyn Error>> {
    let first = ROWS + 1 + i32::try_from(round)? * SINGLE;
    let (sql, first) = match kind {
        0 => (
            format!("INSERT INTO {table} VALUES ($1, $1 % 1000, 'new', 'words', '2026-05-05', 5)"),
            first,
        ),
        1 => (
            format!("UPDATE {table} SET note = note || 'x' WHERE id = $1"),
            1 + i32::try_from(round)? * SINGLE,
        ),
        _ => (format!("DELETE FROM {table} WHERE id = $1"), first),
    };
    let statement = client.prepare(&sql)?;
    let before = on_cpu(backend)?;
    for id in first..first + SINGLE {
        client.execute(&statement, &[&id])?;
    }
    Ok((on_cpu(backend)? - before) * 1e6 / f64::from(SINGLE))
}

/// Seconds of the backend's CPU, and of the clock, for an update of many rows.
fn bulk(
    client: &mut Client,
    backend: &str,
    table: &str,
    round: usize,
) -> Result<[f64; 2], Box<dyn Error>> {
    client.batch_execute("CHECKPOINT")?;
    let first = i32::try_from(round)? * BULK;
    let last = first + BULK;
    let sql =
        format!("UPDATE {table} SET minutes = minutes + 1 WHERE id > {first} AND id <= {last}");
    let (before, start) = (on_cpu(backend)?, super::super::device::now());
    client.batch_execute(&sql)?;
    let wall = start.elapsed().as_secs_f64();
    Ok([on_cpu(backend)? - before, wall])
}

/// Seconds that a process was on a CPU, to the nanosecond.
fn on_cpu(process: &str) -> Result<f64, Box<dyn Error>> {
    let text = std::fs::read_to_string(format!("/proc/{process}/schedstat"))?;
    let nanos = text.split_whitespace().next().ok_or("no schedstat")?;
    Ok(nanos.parse::<f64>()? / 1e9)
}
