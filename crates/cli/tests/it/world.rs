//! The world of these tests: a team's database, the real server before it, devices, and the
//! audit that sees every effect.
//!
//! ```text
//!   Device ──► Proxy ──► afield serve ──► team.sqlite ──► audit
//!                             ▲                ▲
//!                             │                └── the team's own writes
//!                             └── a process: killed, restarted
//! ```

mod device;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use afield::engine::SyncStatus;
use afield::native::{ClientOptions, Folder};
use afield::protocol::codec::{Format, FrameReader};
use afield::protocol::{Frame, Group, GroupOutcome, Model};
use rusqlite::types::Value as Cell;
use rusqlite::{Connection, OpenFlags};

use crate::proxy::{Proxy, Request};

pub(crate) use self::device::Device;

/// Longest wait for anything, on a machine with much else to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Pause between two looks at something that nobody announces.
const LOOK: Duration = Duration::from_millis(20);

/// What the team brings. `account` is where sums must stay as they are.
const SCHEMA: &str = "
    CREATE TABLE visit (
      id UUID NOT NULL PRIMARY KEY,
      place TEXT NOT NULL,
      score INTEGER CHECK (score BETWEEN 0 AND 1000000),
      code TEXT UNIQUE,
      note TEXT,
      special TEXT
    );
    CREATE TABLE finding (
      visit_id UUID NOT NULL REFERENCES visit (id),
      number INTEGER NOT NULL,
      text TEXT,
      PRIMARY KEY (visit_id, number)
    );
    CREATE TABLE account (name TEXT NOT NULL PRIMARY KEY, amount INTEGER NOT NULL, tag TEXT);
    CREATE TABLE mirror (name TEXT NOT NULL PRIMARY KEY, amount INTEGER NOT NULL, tag TEXT);
    CREATE TABLE price (name TEXT NOT NULL PRIMARY KEY, amount INTEGER NOT NULL, tag TEXT);
    CREATE TABLE news (name TEXT NOT NULL PRIMARY KEY, amount INTEGER NOT NULL, tag TEXT);
    CREATE TABLE photo (id INTEGER NOT NULL, part INTEGER NOT NULL, data BLOB,
      PRIMARY KEY (id, part));
    CREATE TABLE audit (n INTEGER PRIMARY KEY, entity TEXT, op TEXT, old TEXT, new TEXT);
";

/// An entity of the model: its name, how wide its identifier is, its columns, its pattern.
type Entity = (&'static str, usize, &'static [&'static str], &'static str);

const BOTH_WAYS: &str = "last-write-wins";

/// Every entity.
const ENTITIES: [Entity; 7] = [
    (
        "visit",
        1,
        &["id", "place", "score", "code", "note", "special"],
        BOTH_WAYS,
    ),
    ("finding", 2, &["visit_id", "number", "text"], BOTH_WAYS),
    ("account", 1, &["name", "amount", "tag"], BOTH_WAYS),
    ("mirror", 1, &["name", "amount", "tag"], BOTH_WAYS),
    ("price", 1, &["name", "amount", "tag"], "read-only"),
    ("news", 1, &["name", "amount", "tag"], "read-only-optimized"),
    ("photo", 2, &["id", "part", "data"], BOTH_WAYS),
];

/// A team with its server, in a folder of its own.
pub(crate) struct World {
    /// In front of the server; devices know no other address.
    pub(crate) proxy: Proxy,
    folder: tempfile::TempDir,
    server: Option<Server>,
}

/// A server process.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl World {
    /// A world with empty tables and pages of the default size.
    pub(crate) fn new() -> Self {
        Self::with_pages(5_000)
    }

    /// A world whose server cuts pages after so many rows.
    pub(crate) fn with_pages(rows: usize) -> Self {
        let model = server_settings(rows) + &model_file();
        Self::of(SCHEMA, &model, &audit_triggers())
    }

    /// A world of other tables and entities; `prepared` is run once capture is in place.
    pub(crate) fn of(schema: &str, model: &str, prepared: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let team = folder.path().join("team.sqlite");
        let conn = Connection::open(&team).unwrap();
        conn.execute_batch(schema).unwrap();
        fs::write(folder.path().join("secret"), "0123456789abcdef".repeat(4)).unwrap();
        fs::write(folder.path().join("afield.toml"), model).unwrap();
        afield(folder.path(), &["prepare"]);
        conn.execute_batch(prepared).unwrap();
        let server = start(folder.path());
        let proxy = Proxy::start(server.address);
        Self {
            proxy,
            folder,
            server: Some(server),
        }
    }

    /// The folder that everything lies in.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The team's database file.
    pub(crate) fn database(&self) -> PathBuf {
        self.path().join("team.sqlite")
    }

    /// A connection of the team's own.
    pub(crate) fn team(&self) -> Connection {
        team(&self.database())
    }

    /// Where the server itself listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.as_ref().expect("the server runs").address
    }

    /// Ends the server as a power cut would; nothing of it is told.
    pub(crate) fn kill_server(&mut self) {
        self.server = None;
    }

    /// Starts the server again, behind the same proxy.
    pub(crate) fn start_server(&mut self) {
        self.server = None;
        let server = start(self.path());
        self.proxy.set_upstream(server.address);
        self.server = Some(server);
    }

    /// Stops the server, puts `copy` in the place of its database, and starts it again.
    pub(crate) fn restore(&mut self, copy: &Path) {
        self.kill_server();
        for ending in ["-wal", "-shm"] {
            let _ = fs::remove_file(format!("{}{ending}", self.database().display()));
        }
        fs::copy(copy, self.database()).unwrap();
        self.start_server();
    }

    /// A whole copy of the team's database as it is now.
    pub(crate) fn backup(&self, name: &str) -> PathBuf {
        let copy = self.path().join(name);
        let sql = "VACUUM INTO ?1";
        let path = copy.to_str().unwrap();
        self.team().execute(sql, [path]).unwrap();
        copy
    }

    /// A token for `user`.
    pub(crate) fn token(&self, user: &str) -> String {
        afield(self.path(), &["token", "--user", user])
    }

    /// A new device of `user`, in a folder of its own.
    pub(crate) fn device(&self, name: &str, user: &str) -> Device {
        let folder = self.path().join(name);
        let mut options = ClientOptions::new(&folder, user);
        options.server = Some(self.proxy.url().to_owned());
        options.token = Some(self.token(user));
        options.remember_token = true;
        Device::open(options)
    }

    /// A new device that has downloaded.
    pub(crate) fn downloaded(&self, name: &str, user: &str) -> Device {
        let device = self.device(name, user);
        let report = device.sync();
        assert_eq!(report.status, SyncStatus::Completed, "{report:?}");
        device
    }

    /// Counts how often a value was written to the server's table: new there, whatever it was.
    pub(crate) fn effects(&self, entity: &str, attribute: &str, value: &str) -> i64 {
        let sql = format!(
            "SELECT count(*) FROM audit WHERE entity = ?1 AND new ->> '{attribute}' = ?2 \
             AND (old IS NULL OR old ->> '{attribute}' IS NOT ?2)"
        );
        let count = self
            .team()
            .query_row(&sql, [entity, value], |row| row.get(0));
        count.unwrap()
    }

    /// One value of the team's database.
    pub(crate) fn value(&self, sql: &str) -> Cell {
        self.team().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Runs statements of the team's.
    pub(crate) fn team_writes(&self, sql: &str) {
        self.team().execute_batch(sql).unwrap();
    }

    /// Syncs until nothing waits any more, then holds the device against the server.
    pub(crate) fn drain(&self, device: &Device) {
        eventually("the outbox drains", || {
            let report = device.sync();
            let status = device.client.store().status().unwrap();
            report.status != SyncStatus::Failed && status.pending == 0
        });
        self.check_equal(device);
    }

    /// Checks that the device holds exactly the server's rows, parked changes aside.
    pub(crate) fn check_equal(&self, device: &Device) {
        let (team, store) = (self.team(), device.raw());
        for (entity, width, columns, _) in ENTITIES {
            let (key, all) = (columns[..width].join(", "), columns.join(", "));
            let sql = format!("SELECT {all} FROM {entity} ORDER BY {key}");
            let (here, there) = (rows(&store, &sql), rows(&team, &sql));
            if here != there {
                let only_here: Vec<_> = here.iter().filter(|row| !there.contains(row)).collect();
                let only_there: Vec<_> = there.iter().filter(|row| !here.contains(row)).collect();
                panic!(
                    "{entity}: only on the device {only_here:?}, only on the server {only_there:?}"
                );
            }
        }
    }
}

/// Opens a file that another process writes, to read it.
pub(crate) fn reader(path: &Path) -> Connection {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    conn.busy_timeout(PATIENCE).unwrap();
    conn
}

/// A connection of a team's own to its database.
pub(crate) fn team(database: &Path) -> Connection {
    let conn = Connection::open(database).unwrap();
    conn.busy_timeout(PATIENCE).unwrap();
    conn.pragma_update(None, "synchronous", "OFF").unwrap();
    conn
}

/// Every row that a query finds.
pub(crate) fn rows(conn: &Connection, sql: &str) -> Vec<Vec<Cell>> {
    let mut statement = conn.prepare(sql).unwrap();
    let width = statement.column_count();
    let read = |row: &rusqlite::Row<'_>| (0..width).map(|at| row.get(at)).collect();
    let found = statement.query_map([], read).unwrap();
    found.map(|row| row.unwrap()).collect()
}

/// The token's folder of a store.
pub(crate) fn database_in(folder: &Path, user: &str) -> PathBuf {
    Folder::new(folder).database(user).unwrap()
}

/// Copies a store's folder, as somebody who clones a device would.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

/// The groups of a request.
pub(crate) fn groups(model: &Model, request: &Request) -> Vec<Group> {
    let frames = frames(model, &request.body);
    let group = |frame| match frame {
        Frame::Group(group) => Some(group),
        _ => None,
    };
    frames.into_iter().filter_map(group).collect()
}

/// The outcomes of an answer.
pub(crate) fn outcomes(model: &Model, answer: &[u8]) -> Vec<GroupOutcome> {
    let outcome = |frame| match frame {
        Frame::Outcome(outcome) => Some(outcome),
        _ => None,
    };
    frames(model, answer)
        .into_iter()
        .filter_map(outcome)
        .collect()
}

/// The frames of a body.
pub(crate) fn frames(model: &Model, body: &[u8]) -> Vec<Frame> {
    let mut reader = FrameReader::new(Format::Cbor);
    reader.push(body);
    std::iter::from_fn(|| reader.next(model).unwrap()).collect()
}

/// A body of these frames.
pub(crate) fn body(model: &Model, frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        Format::Cbor.write(model, frame, &mut bytes);
    }
    bytes
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = now();
    while !is_so() {
        assert!(
            begin.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        std::thread::park_timeout(LOOK);
    }
}

/// The clock, for deadlines.
#[expect(clippy::disallowed_methods, reason = "tests wait for real processes")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The part of a model file that is about the server.
pub(crate) fn server_settings(page_rows: usize) -> String {
    format!(
        "[server]\ndatabase = \"sqlite:team.sqlite\"\nlisten = \"127.0.0.1:0\"\n\
         [auth]\nsecret_file = \"secret\"\n[limits]\npage_rows = {page_rows}\n\
         [model]\nversion = 1\n"
    )
}

fn model_file() -> String {
    let mut text = String::new();
    for (entity, width, columns, pattern) in ENTITIES {
        text += &format!(
            "[local.{entity}]\nfrom = \"{entity}\"\npattern = \"{pattern}\"\n\
             attributes = {:?}\nscope = \"everyone\"\n",
            &columns[width..]
        );
    }
    text
}

/// Triggers of the team's own that note every effect, and where each group ends.
fn audit_triggers() -> String {
    let mut sql = String::new();
    let audited = |entity: &Entity| entity.3 == BOTH_WAYS && entity.0 != "photo";
    for (entity, _, columns, _) in ENTITIES.into_iter().filter(audited) {
        let object = |of: &str| {
            let pairs = columns.iter().map(|name| format!("'{name}', {of}.{name}"));
            format!("json_object({})", pairs.collect::<Vec<_>>().join(", "))
        };
        for (op, old, new) in [
            ("insert", "NULL", object("NEW")),
            ("update", &*object("OLD"), object("NEW")),
            ("delete", &*object("OLD"), "NULL".to_owned()),
        ] {
            sql += &format!(
                "CREATE TRIGGER audit_{op}_{entity} AFTER {op} ON {entity} BEGIN \
                 INSERT INTO audit (entity, op, old, new) \
                 VALUES ('{entity}', '{op}', {old}, {new}); END;\n"
            );
        }
    }
    sql + "CREATE TRIGGER audit_group AFTER INSERT ON afield_ledger BEGIN \
           INSERT INTO audit (entity, op, new) SELECT 'afield_ledger', 'group', \
           json_object('id', hex(NEW.group_id), 'applied', NEW.applied, \
           'sum', (SELECT sum(amount) FROM account)); END;"
}

/// Runs the program to its end; gives what it printed.
pub(crate) fn afield(folder: &Path, arguments: &[&str]) -> String {
    let mut command = program(folder);
    let output = command.args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "afield {arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_afield"));
    command.current_dir(folder);
    for name in [
        "AFIELD_MODEL",
        "AFIELD_DATABASE_URL",
        "AFIELD_LISTEN",
        "AFIELD_TOKEN",
        "AFIELD_SERVER",
        "AFIELD_KEY",
        "AFIELD_NEW_KEY",
    ] {
        command.env_remove(name);
    }
    command
}

/// Starts the server and waits until it accepts connections.
fn start(folder: &Path) -> Server {
    let log = fs::File::options()
        .create(true)
        .append(true)
        .open(folder.join("serve.log"));
    let mut command = program(folder);
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--once-ready-print"])
        .env("RUST_LOG", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log.unwrap());
    let mut process = command.spawn().unwrap();
    let stdout = process.stdout.take().unwrap();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = BufReader::new(stdout).read_line(&mut line);
        let _ = sender.send(line);
    });
    let line = receiver.recv_timeout(PATIENCE).unwrap_or_default();
    let address = line.trim().trim_start_matches("http://").parse();
    let said = || fs::read_to_string(folder.join("serve.log")).unwrap_or_default();
    let address = address.unwrap_or_else(|_| panic!("the server did not start: {}", said()));
    Server { process, address }
}
