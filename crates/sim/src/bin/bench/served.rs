//! A team's database with the `afield` server in front of it, as a process of its own.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rusqlite::Connection;
use tempfile::TempDir;

use super::process::{cpu_seconds, peak_mib, rss_kib};
use super::rows::{INDEX, TABLE, Visit, insert};

/// A server until it is dropped, however the round ends.
pub(crate) struct Served {
    folder: TempDir,
    afield: PathBuf,
    server: Child,
    url: String,
}

impl Served {
    /// Makes the database with `fill`, and the model with `init`, which `edit` may change.
    pub(crate) fn start(
        afield: &Path,
        fill: impl FnOnce(&mut Connection) -> rusqlite::Result<()>,
        edit: impl FnOnce(String) -> String,
    ) -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let mut db = Connection::open(folder.path().join("team.db"))?;
        fill(&mut db)?;
        db.close().map_err(|(_, error)| error)?;
        Self::over(folder, afield, "team.db", edit)
    }

    /// On a database that is there.
    pub(crate) fn on(
        afield: &Path,
        database: &str,
        edit: impl FnOnce(String) -> String,
    ) -> Result<Self, Box<dyn Error>> {
        Self::over(tempfile::tempdir()?, afield, database, edit)
    }

    fn over(
        folder: TempDir,
        afield: &Path,
        database: &str,
        edit: impl FnOnce(String) -> String,
    ) -> Result<Self, Box<dyn Error>> {
        let run = |words: &[&str]| output(&mut command(afield, folder.path(), words));
        run(&["init", "--from", database])?;
        let model = folder.path().join("afield.toml");
        std::fs::write(&model, edit(std::fs::read_to_string(&model)?))?;
        run(&["prepare"])?;
        let words = ["serve", "--listen", "127.0.0.1:0", "--once-ready-print"];
        let mut serve = command(afield, folder.path(), &words);
        let mut server = serve.stdout(Stdio::piped()).spawn()?;
        let stdout = server.stdout.take().ok_or("the server has no output")?;
        let mut served = Self {
            folder,
            afield: afield.to_owned(),
            server,
            url: String::new(),
        };
        BufReader::new(stdout).read_line(&mut served.url)?;
        Ok(served)
    }

    /// The same with the rows of the benches, all of them everybody's.
    pub(crate) fn with_visits(afield: &Path, rows: &[Visit]) -> Result<Self, Box<dyn Error>> {
        let fill = |db: &mut Connection| {
            db.execute_batch(TABLE)?;
            insert(db, rows)?;
            db.execute_batch(INDEX)
        };
        Self::start(afield, fill, |proposed| {
            format!("{proposed}\n[limits]\ndevice_rate = 60000\n")
        })
    }

    /// The folder that all of it is in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The team's database, as another program opens it.
    pub(crate) fn database(&self) -> rusqlite::Result<Connection> {
        let db = Connection::open(self.folder.path().join("team.db"))?;
        db.busy_timeout(std::time::Duration::from_secs(10))?;
        Ok(db)
    }

    /// Host and port of the server.
    pub(crate) fn address(&self) -> &str {
        self.url.trim().trim_start_matches("http://")
    }

    /// A token of `user`.
    pub(crate) fn token(&self, user: &str) -> Result<String, Box<dyn Error>> {
        let words = ["token", "--user", user];
        let token = output(&mut command(&self.afield, self.folder.path(), &words))?;
        Ok(token.trim().to_owned())
    }

    /// The program with the token of `user`, as a device that is told where the server is.
    pub(crate) fn device(&self, user: &str, words: &[&str]) -> Result<Command, Box<dyn Error>> {
        let folder = self.folder.path();
        let token = self.token(user)?;
        let url = self.url.trim();
        let device = ["device", "store", "--user", user, "--server", url];
        let mut device = command(&self.afield, folder, &device);
        device
            .args(words)
            .env("AFIELD_TOKEN", token)
            .stdout(Stdio::piped());
        Ok(device)
    }

    /// CPU seconds of the server so far.
    pub(crate) fn cpu_seconds(&self) -> std::io::Result<f64> {
        cpu_seconds(&self.server.id().to_string())
    }

    /// The server's resident set now, in KiB.
    pub(crate) fn rss_kib(&self) -> f64 {
        rss_kib(&self.server.id().to_string()).unwrap_or(0.0)
    }

    /// The server's largest resident set so far, in MiB.
    pub(crate) fn peak_mib(&self) -> f64 {
        peak_mib(&self.server.id().to_string()).unwrap_or(0.0)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn command(afield: &Path, folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(afield);
    command
        .current_dir(folder)
        .args(words)
        .stdin(Stdio::null())
        .env("RUST_LOG", "warn");
    command
}

fn output(command: &mut Command) -> Result<String, Box<dyn Error>> {
    let output = command.stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{command:?} failed: {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
