//! Pulls of single entities from a large table: with nothing new, with ten rows changed, of a user
//! with many values, and while a transaction is held open.

use std::error::Error;

use super::super::scopes::Device;
use super::super::target::Targets;
use super::super::{Arguments, median};
use super::{Team, unlimited};
use postgres::Client;

/// Rows of the table.
const ROWS: i64 = 1_000_000;
/// Values, each with as many rows.
const REGIONS: i64 = 1_000;
/// Rows that change while a transaction is held open.
const CHANGED: i64 = 300_000;

const TABLES: &str = "
  CREATE TABLE member (user_id text, region_id integer, PRIMARY KEY (user_id, region_id));
  CREATE TABLE visit (id integer PRIMARY KEY, region_id integer NOT NULL, note text);
  CREATE INDEX visit_region ON visit (region_id, id);";

const MODEL: &str = r#"
[scope.regions]
query = "SELECT region_id FROM member WHERE user_id = :user"

[local.visit]
from = "visit"
pattern = "read-only-optimized"
attributes = ["region_id", "note"]
scope = "region_id in regions"
"#;

/// Measures and prints.
#[expect(clippy::print_stdout, reason = "a program for people")]
pub(crate) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    println!("Pulls from a table of {ROWS} rows in PostgreSQL, {REGIONS} values.");
    let model = |proposed: String| {
        let head = proposed.split("[local.").next().unwrap_or_default();
        let head: String = (head.lines())
            .take_while(|line| !line.starts_with("[unit") && !line.starts_with("[scope"))
            .flat_map(|line| [line, "\n"])
            .collect();
        unlimited(&(head + MODEL))
    };
    let team = Team::start(&arguments.afield, TABLES, fill, model)?;
    let mut one = Device::open(&team.served, "one")?;
    let mut many = Device::open(&team.served, "many")?;
    one.sync()?;
    many.sync()?;
    let mut targets = Targets::default();
    let rounds = Rounds {
        arguments,
        team: &team,
    };
    let nothing = rounds.of(&mut one, None)?;
    targets.at_most("nothing new: database", nothing[0], 0.150, "ms");
    targets.at_most(
        "nothing new: server and database",
        nothing[0] + nothing[1],
        0.5,
        "ms",
    );
    let changed = rounds.of(&mut one, Some(10))?;
    targets.at_most("10 rows changed: database", changed[0], 0.300, "ms");
    let values = rounds.of(&mut many, None)?;
    targets.at_most("500 values: database", values[0], 2.0, "ms");
    let mut open = team.database.connect();
    let mut held = open.transaction()?;
    held.execute("UPDATE visit SET note = 'held' WHERE id = 1", &[])?;
    let sql = "UPDATE visit SET note = 'meanwhile' WHERE id > 1 AND id <= $1";
    team.database
        .connect()
        .execute(sql, &[&i32::try_from(CHANGED)?])?;
    one.sync()?;
    many.sync()?;
    let nothing = rounds.of(&mut one, None)?;
    targets.at_most("held open, nothing new: database", nothing[0], 0.150, "ms");
    let changed = rounds.of(&mut one, Some(10))?;
    targets.at_most(
        "held open, 10 rows changed: database",
        changed[0],
        0.300,
        "ms",
    );
    held.rollback()?;
    targets.finish()
}

struct Rounds<'a> {
    arguments: &'a Arguments,
    team: &'a Team,
}

impl Rounds<'_> {
    /// Milliseconds of the database's and the server's CPU for a sync, before each of which so many
    /// rows of the first value change; what the change itself costs is taken off.
    fn of(&self, device: &mut Device, changed: Option<i32>) -> Result<[f64; 2], Box<dyn Error>> {
        let mut client = self.team.database.connect();
        let syncs = match changed {
            None => self.arguments.syncs,
            Some(_) => self.arguments.syncs / 4,
        };
        let mut figures: [Vec<f64>; 2] = Default::default();
        for _ in 0..self.arguments.rounds {
            let mut database = 0.0;
            let before = self.team.served.cpu_seconds()?;
            let from = self.team.database_cpu()?;
            for _ in 0..syncs {
                if let Some(changed) = changed {
                    let start = self.team.database_cpu()?;
                    change(&mut client, changed)?;
                    database -= self.team.database_cpu()? - start;
                }
                device.sync()?;
            }
            database += self.team.database_cpu()? - from;
            let server = self.team.served.cpu_seconds()? - before;
            let each = |seconds: f64| seconds * 1e3 / f64::from(syncs);
            figures[0].push(each(database));
            figures[1].push(each(server));
        }
        Ok(figures.map(median))
    }
}

fn change(client: &mut Client, count: i32) -> Result<(), Box<dyn Error>> {
    let sql = "UPDATE visit SET note = coalesce(note, '') || 'x' WHERE id IN ( \
               SELECT id FROM visit WHERE region_id = 1 ORDER BY id DESC LIMIT $1)";
    client.execute(sql, &[&i64::from(count)])?;
    Ok(())
}

fn fill(client: &mut Client) -> Result<(), Box<dyn Error>> {
    client.batch_execute(&format!(
        "INSERT INTO member SELECT 'one', 1;
         INSERT INTO member SELECT 'many', n FROM generate_series(1, {REGIONS} / 2) n;
         INSERT INTO visit SELECT n, 1 + n % {REGIONS}, 'a note of some length ' || n
         FROM generate_series(1, {ROWS}) n"
    ))?;
    Ok(())
}
