//! A PostgreSQL server that belongs to one process: made in a temporary folder, reached over
//! loopback, gone when the process ends, however it ends.
//!
//! ```text
//! this process ──pipe──► sh: waits for the pipe to close, stops the server, removes the folder
//!              ──SQL───► postgres
//! ```
//!
//! Databases are copies of a template that runs its SQL once, so that a test's own database costs
//! a few hundredths of a second.

#![expect(clippy::expect_used, reason = "without its database no test can go on")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock};

use ::postgres::{Client, NoTls};
use tempfile::TempDir;

/// Where to look for the programs, in place of the usual folders.
const PROGRAMS: &str = "AFIELD_POSTGRES";

/// Starts of a server, each at another port that was free a moment before.
const STARTS: usize = 5;

/// Attempts to copy what a running server writes to.
const COPIES: usize = 5;

/// Who runs the server where this process is the superuser, which PostgreSQL refuses: nobody.
const NOBODY: u32 = 65_534;

/// What a server is started with: nothing of it must outlive the process, so nothing waits for the
/// disk. Two-phase commits and logical replication are there to be tested with.
const SETTINGS: [&str; 8] = [
    "fsync=off",
    "full_page_writes=off",
    "listen_addresses=127.0.0.1",
    "max_connections=300",
    "max_prepared_transactions=50",
    "wal_level=logical",
    "shared_buffers=128MB",
    "timezone=UTC",
];

/// A running server.
#[derive(Debug)]
pub struct Cluster {
    port: u16,
    programs: PathBuf,
    folder: PathBuf,
    /// Hash of a template's SQL, and the database that was made with it.
    templates: Mutex<HashMap<String, String>>,
}

/// A database of one test; the server drops it with everything else.
#[derive(Clone, Debug)]
pub struct Database {
    /// `postgres://…`, as the superuser.
    pub url: String,
    /// Its name.
    pub name: String,
}

impl Cluster {
    /// The server of this process, started when it is first asked for.
    ///
    /// # Panics
    /// PostgreSQL is not installed, or does not start: the message says what to do.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(|| match Self::start() {
            Ok(cluster) => cluster,
            Err(message) => panic!("{message}"),
        })
    }

    /// A server besides the shared one, for tests that break it.
    ///
    /// # Errors
    /// PostgreSQL is not installed, or does not start: says what to do.
    pub fn start() -> Result<Self, String> {
        let programs = programs()?;
        let folder = folder()?;
        let data = folder.path().join("data");
        let initdb = [
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
            "--pgdata",
        ];
        run(command(&programs.join("initdb")).args(initdb).arg(&data))?;
        let mut failure = String::new();
        for _ in 0..STARTS {
            let port = free_port()?;
            match start(&programs, &data, port) {
                Ok(()) => {
                    let folder = folder.keep();
                    keep(&programs, folder.clone())?;
                    return Ok(Self {
                        port,
                        programs,
                        folder,
                        templates: Mutex::default(),
                    });
                }
                Err(message) => failure = message,
            }
        }
        let log = fs::read_to_string(data.join("log")).unwrap_or_default();
        Err(format!("PostgreSQL does not start: {failure}\n{log}"))
    }

    /// A new database in which `sql` has run.
    ///
    /// # Panics
    /// The SQL fails.
    pub fn database(&self, sql: &str) -> Database {
        let mut server = self.connect("postgres");
        let mut templates = self.templates.lock().expect("no test holds it and panics");
        let template = match templates.get(sql) {
            Some(template) => template.clone(),
            None => {
                let template = format!("template_{}", templates.len());
                create(&mut server, &template, "template1");
                let done = self.connect(&template).batch_execute(sql);
                done.unwrap_or_else(|error| panic!("{}", told(&error)));
                templates.insert(sql.to_owned(), template.clone());
                template
            }
        };
        let name = format!("test_{:012x}", fastrand::u64(..1 << 48));
        create(&mut server, &name, &template);
        Database {
            url: self.url(&name),
            name,
        }
    }

    /// Stops the server: `fast` ends what is open in order, `immediate` is as good as a crash.
    ///
    /// # Errors
    /// It does not stop, or does not run.
    pub fn stop(&self, mode: &str) -> Result<(), String> {
        let mut stop = command(&self.programs.join("pg_ctl"));
        stop.args(["stop", "--wait", "--silent", "--mode", mode, "--pgdata"]);
        run(stop.arg(self.data()))
    }

    /// Starts the server again, at the same address.
    ///
    /// # Panics
    /// It does not start.
    pub fn start_again(&self) {
        if let Err(message) = start(&self.programs, &self.data(), self.port) {
            let log = fs::read_to_string(self.data().join("log")).unwrap_or_default();
            panic!("PostgreSQL does not start again: {message}\n{log}");
        }
    }

    /// Takes a copy of all databases while the server runs, in the place of one taken before.
    ///
    /// # Panics
    /// The copy fails.
    pub fn back_up(&self) {
        let (data, to) = (self.data(), self.folder.join("backup"));
        let copy = |from: &Path, to: &Path| {
            let once = |_| {
                run(command(Path::new("rm")).arg("-rf").arg(to)).expect("an old copy goes");
                run(command(Path::new("cp")).arg("-a").arg(from).arg(to))
            };
            // A file may go while it is copied.
            let copied = (0..COPIES).map(once).find(Result::is_ok);
            copied.expect("the server is copied").ok();
        };
        let mut client = self.connect("postgres");
        let mut told_by = |sql: &str| {
            let row = client.query_one(sql, &[]);
            row.unwrap_or_else(|error| panic!("{}", told(&error)))
        };
        told_by("SELECT pg_backup_start('copy', true)");
        copy(&data, &to);
        let label: String = told_by("SELECT labelfile FROM pg_backup_stop(false)").get(0);
        // The log up to the end of the copy is a part of it.
        copy(&data.join("pg_wal"), &to.join("pg_wal"));
        fs::write(to.join("backup_label"), label).expect("the copy says where it begins");
        run(command(Path::new("rm"))
            .arg("-f")
            .arg(to.join("postmaster.pid")))
        .expect("nobody runs on the copy");
    }

    /// Puts the copy in the place of the databases, and starts the server on it.
    ///
    /// # Panics
    /// There is no copy, or the server does not start.
    pub fn restore(&self) {
        self.put_back();
        self.start_again();
    }

    /// What is written from now on no standby receives.
    ///
    /// # Panics
    /// The log cannot be copied.
    pub fn ship(&self) {
        let switch = "CHECKPOINT; SELECT pg_switch_wal()";
        let done = self.connect("postgres").batch_execute(switch);
        done.unwrap_or_else(|error| panic!("{}", told(&error)));
        let to = self.folder.join("shipped");
        let log = self.data().join("pg_wal");
        run(command(Path::new("cp")).arg("-a").arg(log).arg(to)).expect("the log is copied");
    }

    /// Lets the copy take over, as a standby does that has received what was shipped: on a timeline
    /// of its own.
    ///
    /// # Panics
    /// There is no copy, or the server does not start.
    pub fn take_over(&self) {
        self.put_back();
        let settings = self.data().join("postgresql.auto.conf");
        let shipped = self.folder.join("shipped");
        let text = fs::read_to_string(&settings).expect("the copy has settings");
        let text = format!(
            "{text}\nrestore_command = 'cp \"{}/%f\" \"%p\"'\n",
            shipped.display()
        );
        fs::write(&settings, text).expect("the settings are written");
        fs::write(self.data().join("recovery.signal"), "").expect("the signal is written");
        self.start_again();
        let wait = "DO $$ BEGIN WHILE pg_is_in_recovery() LOOP PERFORM pg_sleep(0.02); \
                    END LOOP; END $$";
        let done = self.connect("postgres").batch_execute(wait);
        done.unwrap_or_else(|error| panic!("{}", told(&error)));
    }

    /// Stops the server, and puts the copy in the place of the databases.
    fn put_back(&self) {
        self.stop("immediate").expect("the server stops");
        let backup = self.folder.join("backup");
        run(command(Path::new("rm")).arg("-rf").arg(self.data())).expect("the data goes");
        let mut copy = command(Path::new("cp"));
        run(copy.arg("-a").arg(backup).arg(self.data())).expect("the copy takes its place");
        // The copy has what says that the server of the original runs.
        let lock = self.data().join(format!(".s.PGSQL.{}.lock", self.port));
        run(command(Path::new("rm")).arg("-f").arg(lock)).expect("the lock goes");
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The address of a database, as the superuser.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    fn connect(&self, database: &str) -> Client {
        Client::connect(&self.url(database), NoTls).unwrap_or_else(|e| panic!("{}", told(&e)))
    }
}

impl Database {
    /// Another program's connection.
    ///
    /// # Panics
    /// The server refuses it.
    pub fn connect(&self) -> Client {
        Client::connect(&self.url, NoTls).unwrap_or_else(|error| panic!("{}", told(&error)))
    }

    /// Runs statements as another program would.
    ///
    /// # Panics
    /// One of them fails.
    pub fn execute(&self, sql: &str) {
        let done = self.connect().batch_execute(sql);
        done.unwrap_or_else(|error| panic!("{}\n{sql}", told(&error)));
    }
}

/// What the database says: the error's own text leaves it out.
fn told(error: &::postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{}: {}", error.code().code(), error.message()),
        None => error.to_string(),
    }
}

fn start(programs: &Path, data: &Path, port: u16) -> Result<(), String> {
    let mut settings = SETTINGS.map(|setting| format!("-c {setting}")).join(" ");
    let _ = write!(settings, " -c unix_socket_directories={}", data.display());
    let mut start = command(&programs.join("pg_ctl"));
    start.args(["start", "--wait", "--silent", "--pgdata"]);
    start.arg(data).arg("--log").arg(data.join("log"));
    start.args(["--options", &format!("-p {port} {settings}")]);
    run(&mut start)
}

fn create(server: &mut Client, name: &str, template: &str) {
    let sql = format!("CREATE DATABASE {name} TEMPLATE {template}");
    server
        .batch_execute(&sql)
        .unwrap_or_else(|error| panic!("{}", told(&error)));
}

/// The folder with the newest PostgreSQL's programs.
fn programs() -> Result<PathBuf, String> {
    let named = std::env::var_os(PROGRAMS).map(PathBuf::from);
    let debian = folders(Path::new("/usr/lib/postgresql"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let all = named.into_iter().chain(debian).chain(path);
    let needed = ["initdb", "pg_ctl", "postgres"];
    all.into_iter()
        .find(|folder| needed.iter().all(|name| folder.join(name).is_file()))
        .ok_or_else(|| {
            format!(
                "PostgreSQL's programs (initdb, pg_ctl, postgres) are not here; install them \
                 (apt-get install --yes postgresql), or say in {PROGRAMS} which folder has them"
            )
        })
}

/// Debian's folders, the newest version first.
fn folders(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let version = |path: PathBuf| {
        let number: u32 = path.file_name()?.to_str()?.parse().ok()?;
        Some((number, path.join("bin")))
    };
    let mut found: Vec<_> = entries.filter_map(|it| version(it.path())).collect();
    found.sort_unstable_by(|a, b| b.cmp(a));
    found.into_iter().map(|(_, path)| path).collect()
}

fn is_superuser() -> bool {
    rustix::process::geteuid().is_root()
}

/// A temporary folder that whoever runs the server may write to.
fn folder() -> Result<TempDir, String> {
    let made = tempfile::Builder::new().prefix("afield-pg-").tempdir();
    let folder = made.map_err(|error| format!("no temporary folder: {error}"))?;
    if is_superuser() {
        std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY))
            .map_err(|error| format!("{}: {error}", folder.path().display()))?;
    }
    Ok(folder)
}

/// A command as the user who runs the server.
fn command(program: &Path) -> Command {
    if !is_superuser() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.arg(program);
    command
}

fn run(command: &mut Command) -> Result<(), String> {
    let words = format!("{command:?}");
    // Not inherited: the server would hold the caller's pipes open.
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let output = command
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| format!("{words}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!(
            "{words}: {}",
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

fn free_port() -> Result<u16, String> {
    let listener = TcpListener::bind(("127.0.0.1", 0));
    let address = listener.and_then(|listener| listener.local_addr());
    Ok(address
        .map_err(|error| format!("no free port: {error}"))?
        .port())
}

/// Sees to it that the server ends with this process: the pipe closes whatever becomes of it.
fn keep(programs: &Path, folder: PathBuf) -> Result<(), String> {
    let script = "trap '' INT TERM HUP; cat > /dev/null; \
                  \"$0\" stop --mode immediate --silent --pgdata \"$1/data\"; rm -rf \"$1\"";
    let mut keeper = command(Path::new("/bin/sh"));
    keeper.args(["-c", script]).arg(programs.join("pg_ctl"));
    keeper.arg(folder).stdin(Stdio::piped());
    keeper.stdout(Stdio::null()).stderr(Stdio::null());
    let started = keeper.spawn();
    let keeper = started.map_err(|error| format!("the server's keeper: {error}"))?;
    // Its end of the pipe stays open as long as this process lives.
    std::mem::forget(keeper);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_a_copy_of_its_template() {
        let cluster = Cluster::shared();
        let sql = "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)";
        let (one, two) = (cluster.database(sql), cluster.database(sql));
        one.execute("INSERT INTO t VALUES (2)");
        let count = |database: &Database| -> i64 {
            let row = database.connect().query_one("SELECT count(*) FROM t", &[]);
            row.unwrap().get(0)
        };
        assert_eq!((count(&one), count(&two)), (2, 1));
    }

    #[test]
    #[expect(
        clippy::disallowed_methods,
        reason = "another process takes its time to end"
    )]
    fn a_server_ends_with_its_process() {
        // A process that starts one, says where, and dies.
        if std::env::var_os("AFIELD_TESTBED_CHILD").is_some() {
            let cluster = Cluster::start().unwrap();
            println!("port {}", cluster.port);
            std::process::abort();
        }
        let this = std::env::current_exe().unwrap();
        let name = "postgres::tests::a_server_ends_with_its_process";
        let output = Command::new(this)
            .args([name, "--exact", "--nocapture"])
            .env("AFIELD_TESTBED_CHILD", "1")
            .output()
            .unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        let (_, port) = out.split_once("port ").unwrap();
        let port: u16 = port.split_whitespace().next().unwrap().parse().unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        let url = format!("postgres://postgres@127.0.0.1:{port}/postgres");
        while Client::connect(&url, NoTls).is_ok() {
            assert!(std::time::Instant::now() < until, "it is still there");
            std::thread::yield_now();
        }
    }
}
