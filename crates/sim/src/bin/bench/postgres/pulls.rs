//! Pulls of single entities from a large table: with nothing new, with ten rows changed, of a user
//! with many values, through a lookup, and while a transaction is held open.

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
/// What the lookup shows, each in as many rows.
const SITES: i64 = 10_000;
/// Rows that change while a transaction is held open.
const CHANGED: i64 = 300_000;

pub(super) const TABLES: &str = "
  CREATE TABLE member (user_id text, region_id integer, PRIMARY KEY (user_id, region_id));
  CREATE TABLE site (id integer PRIMARY KEY, name text);
  CREATE TABLE visit (id integer PRIMARY KEY, region_id integer NOT NULL,
    site_id integer NOT NULL REFERENCES site (id), note text);
  CREATE INDEX visit_region ON visit (region_id, id);
  CREATE INDEX visit_site ON visit (site_id, id);";

const MODEL: &str = r#"
[scope.regions]
query = "SELECT region_id FROM member WHERE user_id = :user"

[local.visit]
from = "visit"
pattern = "read-only-optimized"
attributes = ["region_id", "note"]
scope = "region_id in regions"
"#;

/// The same, and what a lookup shows.
const SHOWN: &str = r#"
[local.visit.lookup]
site_name = "site_id.name"
"#;

/// Measures and prints.
#[expect(clippy::print_stdout, reason = "a program for people")]
pub(crate) fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    println!("Pulls from a table of {ROWS} rows in PostgreSQL, {REGIONS} values.");
    let filled = |client: &mut Client| {
        let (rows, regions) = (ROWS, REGIONS);
        fill(client, Size { rows, regions })
    };
    let mut targets = Targets::default();
    let shown = {
        let team = Team::start(&arguments.afield, TABLES, filled, model(SHOWN))?;
        let mut one = Device::open(&team.served, "one")?;
        one.sync()?;
        let rounds = Rounds {
            arguments,
            team: &team,
        };
        rounds.of(&mut one, None)?
    };
    let team = Team::start(&arguments.afield, TABLES, filled, model(""))?;
    let mut one = Device::open(&team.served, "one")?;
    let mut many = Device::open(&team.served, "many")?;
    one.sync()?;
    many.sync()?;
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
    let more = shown[0] - nothing[0];
    targets.at_most("what a lookup adds: database", more, 0.100, "ms");
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

/// The model in place of the proposed one, with `more` behind the entity.
pub(super) fn model(more: &str) -> impl FnOnce(String) -> String {
    move |proposed| {
        let head = proposed.split("[local.").next().unwrap_or_default();
        let head: String = (head.lines())
            .take_while(|line| !line.starts_with("[unit") && !line.starts_with("[scope"))
            .flat_map(|line| [line, "\n"])
            .collect();
        unlimited(&format!("{head}{MODEL}{more}"))
    }
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
            for sync in 0..syncs {
                if let Some(changed) = changed {
                    let start = self.team.database_cpu()?;
                    change(&mut client, changed, sync)?;
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

/// Others each time: a row that changes again and again while a transaction is held open has all
/// its versions, and is slow to find whoever looks for it.
fn change(client: &mut Client, count: i32, sync: u32) -> Result<(), Box<dyn Error>> {
    let sql = "UPDATE visit SET note = coalesce(note, '') || 'x' WHERE id IN ( \
               SELECT id FROM visit WHERE region_id = 1 ORDER BY id OFFSET $1 LIMIT $2)";
    let first = i64::from(sync) * i64::from(count) % (ROWS / REGIONS);
    client.execute(sql, &[&first, &i64::from(count)])?;
    Ok(())
}

/// How many rows, and how many values of the scope; each has as many rows.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub rows: i64,
    pub regions: i64,
}

pub(super) fn fill(client: &mut Client, size: Size) -> Result<(), Box<dyn Error>> {
    let Size { rows, regions } = size;
    client.batch_execute(&format!(
        "INSERT INTO member SELECT 'one', 1;
         INSERT INTO member SELECT 'many', n FROM generate_series(1, {regions} / 2) n;
         INSERT INTO site SELECT n, 'site ' || n FROM generate_series(1, {SITES}) n;
         INSERT INTO visit SELECT n, 1 + n % {regions}, 1 + n % {SITES},
           'a note of some length ' || n
         FROM generate_series(1, {rows}) n"
    ))?;
    Ok(())
}
