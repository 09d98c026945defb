//! The same on PostgreSQL: what a sync costs server and database together, and what the capture
//! costs the team.
//!
//! The database is one of its own, started for the run; its CPU seconds are those of all its
//! processes, the ended ones included.

mod crowd;
mod download;
mod pulls;
mod push;
mod triggers;

use std::error::Error;
use std::fs;
use std::path::Path;

use afield_testbed::postgres::{Cluster, Database};
use postgres::Client;

pub(crate) use self::crowd::run as crowd;
pub(crate) use self::download::run as download;
pub(crate) use self::pulls::run as pulls;
pub(crate) use self::push::run as push;
pub(crate) use self::triggers::run as triggers;
use super::process::cpu_seconds;
use super::rows::Visit;
use super::served::Served;

/// The table of the benches as a team would have it there.
const TABLE: &str = "CREATE TABLE visit (
  id uuid PRIMARY KEY, site text, street text, city text, planned date,
  minutes integer, score double precision, done boolean, phone text, notes text);
  CREATE INDEX visit_planned ON visit (planned)";

/// A database and the `afield` server in front of it.
struct Team {
    database: Database,
    served: Served,
    /// The process that all of the database's processes are children of.
    postmaster: String,
}

impl Team {
    /// Makes the database with `sql` and then `fill`, and the model with `init`, which `edit` may
    /// change.
    fn start(
        afield: &Path,
        sql: &str,
        fill: impl FnOnce(&mut Client) -> Result<(), Box<dyn Error>>,
        edit: impl FnOnce(String) -> String,
    ) -> Result<Self, Box<dyn Error>> {
        let database = Cluster::shared().database(sql);
        fill(&mut database.connect())?;
        // As after a while in use: nothing is left to be cleaned up while it is measured.
        database.connect().batch_execute("VACUUM ANALYZE")?;
        let served = Served::on(afield, &database.url, edit)?;
        Ok(Self {
            postmaster: postmaster(&database)?,
            database,
            served,
        })
    }

    /// With the rows of the benches, all of them everybody's.
    fn with_visits(afield: &Path, rows: &[Visit]) -> Result<Self, Box<dyn Error>> {
        let fill = |client: &mut Client| insert(client, rows);
        Self::start(afield, TABLE, fill, |proposed| unlimited(&proposed))
    }

    /// CPU seconds of the database so far.
    fn database_cpu(&self) -> Result<f64, Box<dyn Error>> {
        database_cpu(&self.postmaster)
    }
}

/// A model that takes as many requests as there are.
fn unlimited(proposed: &str) -> String {
    format!("{proposed}\n[limits]\ndevice_rate = 60000\n")
}

fn postmaster(database: &Database) -> Result<String, Box<dyn Error>> {
    // Connected until its parent is known.
    let mut client = database.connect();
    let row = client.query_one("SELECT pg_backend_pid()", &[])?;
    let backend: i32 = row.get(0);
    parent(&backend.to_string()).ok_or_else(|| "the database's process has no parent".into())
}

/// CPU seconds of all processes below one, those that ended included.
fn database_cpu(postmaster: &str) -> Result<f64, Box<dyn Error>> {
    let mut seconds = cpu_seconds(postmaster)? + super::process::reaped_cpu_seconds(postmaster)?;
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(process) = name.to_str().filter(|name| name.parse::<u32>().is_ok()) else {
            continue;
        };
        if parent(process).as_deref() == Some(postmaster) {
            seconds += cpu_seconds(process).unwrap_or(0.0);
        }
    }
    Ok(seconds)
}

fn parent(process: &str) -> Option<String> {
    let stat = fs::read_to_string(Path::new("/proc").join(process).join("stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1).map(str::to_owned)
}

/// Copies the rows in.
fn insert(client: &mut Client, rows: &[Visit]) -> Result<(), Box<dyn Error>> {
    use std::io::Write as _;
    let mut writer = client.copy_in("COPY visit FROM STDIN")?;
    for row in rows {
        writer.write_all(row.copied().as_bytes())?;
    }
    writer.finish()?;
    Ok(())
}
