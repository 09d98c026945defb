//! The team's side of the day: its database, its model file, its server.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use afield_server::http::router;
use afield_server::model::ModelFile;
use afield_server::model::file::Overrides;
use afield_server::serve::{ServeOptions, serve_until};
use rusqlite::{Connection, Params};
use serde_json::Map;
use tokio::sync::oneshot;

use super::super::ask::sqlite;
use super::super::sample;
use crate::database::sqlite_file;
use crate::failure::Failure;
use crate::model::{InitArgs, ModelArgs, init, random, resolved};
use crate::output::Output;
use crate::server::{issue, state};

/// What the auditors of the sample city ask for.
const AUDIT: &str = include_str!("audit.sql");

/// What the day adds to the model of the sample: pages so small that a download shows how far it
/// is, and a first pause so short that a day fits into a minute.
const SETTINGS: &str = "\n[limits]\npage_rows = 500\n\n[sync]\nretry_interval = \"1 s\"\n";

/// The upgrade of the afternoon: a new column, and it goes to devices.
const MIGRATION: &str = "ALTER TABLE inspection ADD COLUMN follow_up_on DATE";
const EDITS: [(&str, &str); 2] = [
    ("version = 1", "version = 2"),
    (
        "\"score\", \"notes\",",
        "\"score\", \"notes\", \"follow_up_on\",",
    ),
];

/// Longest wait of the team's own connection for the server's, and the other way round.
const BUSY: Duration = Duration::from_secs(10);

/// The team's database, its model file, and its server while that runs.
pub(super) struct Site {
    model: PathBuf,
    database: PathBuf,
    /// A connection of the team's own, as its other programs have.
    team: Connection,
    server: Option<Server>,
}

/// A server on threads of its own.
struct Server {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<(), Failure>>,
}

impl Site {
    /// Makes the sample database in `folder`, its model, and what change capture needs.
    pub(super) fn make(folder: &Path) -> Result<Self, Failure> {
        let (database, model) = (folder.join("inspections.db"), folder.join("afield.toml"));
        sample::make(&database).map_err(|error| sqlite(&error))?;
        init(&InitArgs::new(&database, &model), &Output::silent())?;
        write(&model, &format!("{}{SETTINGS}", sample::MODEL))?;
        let site = Self {
            team: connect(&database)?,
            model,
            database,
            server: None,
        };
        site.prepare()?;
        site.write(AUDIT)?;
        Ok(site)
    }

    fn file(&self) -> Result<ModelFile, Failure> {
        Ok(ModelFile::read(&self.model, &Overrides::default())?)
    }

    fn prepare(&self) -> Result<(), Failure> {
        let file = self.file()?;
        let database = sqlite_file(&file, "preparing")?;
        afield_server::storage::sqlite::prepare(database, &resolved(&file)?, random)?;
        Ok(())
    }

    /// What the commands of the program take to find this site.
    pub(super) fn model_args(&self) -> ModelArgs {
        ModelArgs {
            model: self.model.clone(),
            database: None,
        }
    }

    /// A token for `user` that ends in `ttl_s` seconds.
    pub(super) fn token(&self, user: &str, ttl_s: i64) -> Result<String, Failure> {
        issue(&self.file()?, user, &Map::new(), ttl_s)
    }

    /// Starts the server; gives its address.
    pub(super) fn start(&mut self, listen: SocketAddr) -> Result<SocketAddr, Failure> {
        let file = self.file()?;
        let state = state(&file, &Output::silent())?;
        let options = ServeOptions::within(listen, &file.limits);
        let (stop, told) = oneshot::channel();
        let (ready, address) = mpsc::channel();
        let thread = thread::spawn(move || {
            let failed = |error: String| Failure::refused("serve", error);
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()
                .map_err(|error| failed(error.to_string()))?;
            let ending = state.clone();
            let until = async move {
                // A day that is over without stopping its server ends it too.
                let _ = told.await;
                ending.end_live();
            };
            let tell = |address| {
                // Nobody waits only if the day is over.
                let _ = ready.send(address);
            };
            let served = serve_until(&options, router(state), until, tell);
            runtime
                .block_on(served)
                .map_err(|error| failed(error.to_string()))
        });
        match address.recv() {
            Ok(address) => {
                self.server = Some(Server { stop, thread });
                Ok(address)
            }
            Err(_) => Err(match thread.join() {
                Ok(Err(failure)) => failure,
                _ => Failure::refused("internal", "the server did not start"),
            }),
        }
    }

    /// Stops the server, and waits until it has ended.
    pub(super) fn stop(&mut self) -> Result<(), Failure> {
        let Some(Server { stop, thread }) = self.server.take() else {
            return Ok(());
        };
        // It has ended by itself if nobody hears this; how is said next.
        let _ = stop.send(());
        let ended = thread.join();
        ended.unwrap_or_else(|_| Err(Failure::refused("internal", "the server broke down")))
    }

    /// Changes the table and the model file, as a team does for a new version of its app.
    pub(super) fn upgrade(&self) -> Result<(), Failure> {
        self.write(MIGRATION)?;
        let read = fs::read_to_string(&self.model);
        let mut text = read.map_err(|error| Failure::refused("file", error.to_string()))?;
        for (before, after) in EDITS {
            if text.matches(before).count() != 1 {
                let message = format!("{}: `{before}` does not stand once", self.model.display());
                return Err(Failure::refused("demo", message));
            }
            text = text.replace(before, after);
        }
        write(&self.model, &text)?;
        self.prepare()
    }

    /// Another connection of the team's, for somebody who works beside the day.
    pub(super) fn desk(&self) -> Result<Connection, Failure> {
        connect(&self.database)
    }

    /// Somebody of the team runs SQL.
    pub(super) fn write(&self, sql: &str) -> Result<(), Failure> {
        self.team.execute_batch(sql).map_err(|error| sqlite(&error))
    }

    /// One number of the team's database.
    pub(super) fn count(&self, sql: &str, params: impl Params) -> Result<u64, Failure> {
        let count = self.team.query_row(sql, params, |row| row.get(0));
        let count: i64 = count.map_err(|error| sqlite(&error))?;
        Ok(count.unsigned_abs())
    }

    /// One text of the team's database.
    pub(super) fn text(&self, sql: &str, params: impl Params) -> Result<String, Failure> {
        let text = self.team.query_row(sql, params, |row| row.get(0));
        text.map_err(|error| sqlite(&error))
    }

    /// How many writes the auditors have seen.
    pub(super) fn effects(&self) -> Result<u64, Failure> {
        self.count("SELECT count(*) FROM audit", [])
    }
}

fn connect(database: &Path) -> Result<Connection, Failure> {
    let open = || -> rusqlite::Result<Connection> {
        let team = Connection::open(database)?;
        team.busy_timeout(BUSY)?;
        Ok(team)
    };
    open().map_err(|error| sqlite(&error))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let failed =
        |error| Failure::refused("file", format!("cannot write {}: {error}", path.display()));
    fs::write(path, text).map_err(failed)
}
