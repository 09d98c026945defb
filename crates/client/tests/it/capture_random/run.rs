//! One seed.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use afield::protocol::codec::cbor::write_key;
use afield::protocol::{Attributes, Code, Entity, GroupId, Model, Value, Verdict};
use afield::{Environment, Error, Params, Store, SyncStore};
use fastrand::Rng;
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use tempfile::TempDir;

use super::actions::{action, savepoint};
use super::check::difference;
use super::device::{Device, Mentions, Page, RowId, Snapshot, State};
use super::schema::{APP, TEMPORARY, entities};
use super::server::{Server, empty};
use super::statements::statement;
use crate::world::{Seeded, USER, uuid};

/// Steps of a seed before everything is drained.
const STEPS: u32 = 45;

/// Store files to start from, with and without an app's own things.
pub(super) struct Templates {
    folder: TempDir,
    model: Model,
}

impl Templates {
    pub(super) fn new() -> Self {
        let templates = Self {
            folder: tempfile::tempdir().unwrap(),
            model: entities(),
        };
        for app in [false, true] {
            let path = templates.path(app);
            let mut store = Store::open(&path, USER, env(0)).unwrap();
            store.install_first(&templates.model).unwrap();
            drop(store);
            let conn = Connection::open(&path).unwrap();
            if app {
                conn.execute_batch(APP).unwrap();
            }
            conn.pragma_update(None, "wal_checkpoint", "TRUNCATE")
                .unwrap();
        }
        templates
    }

    fn path(&self, app: bool) -> PathBuf {
        self.folder.path().join(if app { "app" } else { "plain" })
    }
}

fn env(seed: u64) -> Box<dyn Environment> {
    Box::new(Seeded {
        clock: Arc::new(AtomicI64::new(1_700_000_000_000)),
        random: Rng::with_seed(seed),
    })
}

/// Everything of one seed.
pub(super) struct World<'a> {
    pub(super) model: &'a Model,
    pub(super) rng: Rng,
    pub(super) app: bool,
    pub(super) store: Store,
    pub(super) syncs: [SyncStore; 2],
    pub(super) plains: [Connection; 3],
    pub(super) reader: Connection,
    pub(super) device: Device,
    pub(super) server: Server,
    pub(super) flights: Vec<Flight>,
    pub(super) log: Vec<String>,
    pub(super) faults: bool,
}

/// A request on its way, and its answer.
pub(super) struct Flight {
    pub(super) request: i64,
    pub(super) groups: Vec<afield::protocol::Group>,
    pub(super) pull: Vec<(String, Option<u64>)>,
    pub(super) answer: Option<Answer>,
}

pub(super) struct Answer {
    pub(super) outcomes: Option<Vec<(GroupId, Vec<Verdict>)>>,
    pub(super) pages: std::collections::VecDeque<Page>,
}

/// Runs one seed; the failure says what it did.
pub(super) fn seed(templates: &Templates, seed: u64) -> Result<(), String> {
    let mut rng = Rng::with_seed(seed);
    let app = rng.bool();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    std::fs::copy(templates.path(app), &path).unwrap();
    let plain = |recursive: bool| {
        let conn = Connection::open(&path).unwrap();
        conn.pragma_update(None, "synchronous", "OFF").unwrap();
        conn.pragma_update(None, "recursive_triggers", recursive)
            .unwrap();
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, false)
            .unwrap();
        conn
    };
    let temporary = plain(rng.bool());
    temporary.execute_batch(TEMPORARY).unwrap();
    let mut world = World {
        model: &templates.model,
        app,
        store: Store::open(&path, USER, env(seed + 1)).unwrap(),
        syncs: [2, 3].map(|n| SyncStore::open(&path, USER, env(seed * 7 + n)).unwrap()),
        plains: [plain(false), plain(true), temporary],
        reader: plain(false),
        device: Device::default(),
        server: Server::default(),
        flights: Vec::new(),
        log: Vec::new(),
        faults: rng.u32(..3) > 0,
        rng,
    };
    for entity in world
        .model
        .entities
        .iter()
        .filter(|entity| entity.is_synced())
    {
        world
            .device
            .standings
            .entry(entity.name.clone())
            .or_default();
        let nulls = entity
            .values()
            .iter()
            .map(|a| (a.name.clone(), Value::Null));
        world
            .device
            .blank
            .insert(entity.name.clone(), nulls.collect());
    }
    world.run().map_err(|failure| {
        let log = world.log.join("\n");
        format!("{failure}\n--- what it did:\n{log}")
    })
}

impl World<'_> {
    fn run(&mut self) -> Result<(), String> {
        for _ in 0..STEPS {
            match self.rng.u32(..20) {
                0..5 => self.own_transaction()?,
                5..11 => self.plain_transaction(),
                11 | 12 => self.foreign_write(),
                13 | 14 if self.flights.len() < 3 => self.request(usize::MAX)?,
                15 => self.process(),
                16..19 => self.deliver()?,
                _ => self.check()?,
            }
        }
        self.drain()
    }

    /// The visible rows of all written entities and the read-only one.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut all = Snapshot::new();
        for entity in self
            .model
            .entities
            .iter()
            .filter(|entity| entity.is_synced())
        {
            let names: Vec<_> = entity
                .attributes
                .iter()
                .map(|a| format!("\"{}\"", a.name))
                .collect();
            let sql = format!("SELECT {} FROM \"{}\"", names.join(", "), entity.name);
            let mut statement = self.reader.prepare_cached(&sql).unwrap();
            let mut rows = statement.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let cells: Vec<Value> = (0..names.len()).map(|at| cell(row, at)).collect();
                let (id, content) = take_apart(entity, &cells);
                all.insert(id, content);
            }
        }
        all
    }

    fn own_transaction(&mut self) -> Result<(), String> {
        let before = self.snapshot();
        let (app, steps) = (self.app, self.rng.u32(1..5));
        let (careless, fails) = (self.rng.bool(), self.rng.u32(..8) == 0);
        let (rng, log) = (&mut self.rng, &mut self.log);
        log.push("own transaction".into());
        let done = self.store.transaction(|tx| {
            let mut mentions = Mentions::new();
            let mut open = 0;
            for _ in 0..steps {
                let result = match rng.u32(..4) {
                    0 => action(tx, rng, log, &mut mentions),
                    1 => savepoint(rng, &mut open, |sql| {
                        log.push(format!("  {sql}"));
                        tx.execute(sql, &Params::none()).map(|_| ())
                    }),
                    _ => {
                        let sql = statement(rng, app);
                        log.push(format!("  {sql}"));
                        tx.execute(&sql, &Params::none()).map(|_| ())
                    }
                };
                if let Err(error) = result {
                    log.push(format!("    {error}"));
                    if !careless {
                        return Err(error);
                    }
                }
            }
            match fails {
                true => Err(Error::new(Code::SQL, "changed its mind")),
                false => Ok(mentions),
            }
        });
        match done {
            Ok(mentions) => {
                self.device.seal(&before, &Mentions::new());
                let after = self.snapshot();
                self.device.seal(&after, &mentions);
                self.visible()
            }
            Err(error) => {
                self.log.push(format!("  failed: {error}"));
                let same = self.snapshot() == before;
                same.then_some(())
                    .ok_or_else(|| "a failed transaction left something".into())
            }
        }
    }

    fn plain_transaction(&mut self) {
        let which = self.rng.usize(..self.plains.len());
        let conn = &self.plains[which];
        let (rng, log, app) = (&mut self.rng, &mut self.log, self.app);
        log.push(format!("plain transaction {which}"));
        let mut run = |sql: &str| {
            let result = conn.execute_batch(sql);
            let note = result.as_ref().err().map(|error| format!(": {error}"));
            log.push(format!("  {sql}{}", note.unwrap_or_default()));
            result
        };
        if rng.u32(..3) == 0 {
            let _ = run(&statement(rng, app));
            return;
        }
        run("BEGIN").unwrap();
        let mut open = 0;
        for _ in 0..rng.u32(1..6) {
            // An app that goes on after errors: SQLite says what each of them undid.
            let _ = match rng.u32(..4) {
                0 => savepoint(rng, &mut open, |sql| run(sql).map_err(Error::from)),
                _ => run(&statement(rng, app)).map_err(Error::from),
            };
        }
        let end = if rng.u32(..6) == 0 {
            "ROLLBACK"
        } else {
            "COMMIT"
        };
        if !conn.is_autocommit() {
            run(end).unwrap();
        }
    }

    fn foreign_write(&mut self) {
        let written = self
            .model
            .entities
            .iter()
            .filter(|entity| entity.is_synced());
        let written: Vec<&Entity> = written.collect();
        let entity = written[self.rng.usize(..written.len())];
        let n = self.rng.i64(1..4);
        let key = match entity.name.as_str() {
            "note" | "fixed" => vec![Value::Text(format!("n{n}"))],
            "visit" => vec![Value::Integer(n)],
            "cell" => vec![Value::Integer(n), Value::from("a")],
            "item" => vec![Value::Text(uuid(n.unsigned_abs()))],
            "job" => vec![Value::Integer(n)],
            "task" => vec![Value::Text(format!("n{n}"))],
            "part" => vec![Value::Integer(n), Value::Integer(1)],
            _ => vec![Value::Text(format!("w{n}"))],
        };
        let mut content = empty(self.model, &entity.name);
        if let Some(name) = entity
            .values()
            .last()
            .map(|attribute| attribute.name.clone())
        {
            let kind = entity
                .attribute(&name)
                .map(|attribute| attribute.kind.sqlite());
            let value = match kind {
                Some("INTEGER") => Value::Integer(self.rng.i64(10..13)),
                Some("REAL") => Value::Real(self.rng.f64()),
                _ => Value::Text(format!("s{}", self.rng.u32(..3))),
            };
            content.insert(name, value);
        }
        let row = (entity.name.clone(), write_key(&key));
        let content = (self.rng.u32(..4) > 0).then_some(content);
        self.log
            .push(format!("foreign write {} {key:?} {content:?}", row.0));
        self.server.put(row, content);
    }

    /// The visible rows are what the rules say.
    pub(super) fn visible(&self) -> Result<(), String> {
        let (actual, expected) = (self.snapshot(), self.device.visible());
        match actual == expected {
            true => Ok(()),
            false => {
                let groups = &self.device.groups;
                let rows = difference(&actual, &expected);
                Err(format!("visible {rows}\nthe outbox should be {groups:#?}"))
            }
        }
    }

    /// The outbox and the history are what the rules say. Asking is a moment of the engine.
    pub(super) fn check(&mut self) -> Result<(), String> {
        let now = self.snapshot();
        let changes = self.store.changes().map_err(|e| e.to_string())?;
        self.device.seal(&now, &Mentions::new());
        self.log.push("check".into());
        self.device.check(&changes)?;
        self.visible()
    }

    /// After the last fault everything flows: then device and server hold the same.
    fn drain(&mut self) -> Result<(), String> {
        self.faults = false;
        self.flights.clear();
        for _ in 0..200 {
            self.request(usize::MAX)?;
            let idle = self.flights[0].groups.is_empty() && !self.flights[0].pull.is_empty();
            self.process();
            while !self.flights.is_empty() {
                self.deliver_part(0)?;
            }
            let seen = !idle || self.device.pulled != self.server.rows;
            if !seen {
                break;
            }
        }
        self.check()?;
        if self.device.pulled != self.server.rows {
            return Err("the pulls do not end with the server's rows".into());
        }
        let waits = |state| matches!(state, State::Pending | State::Sent);
        if !self.device.any_parked() {
            let left = self
                .device
                .groups
                .iter()
                .filter(|group| waits(group.state))
                .count();
            let (visible, server) = (self.snapshot(), &self.server.rows);
            if left > 0 || visible != *server {
                return Err(format!("{left} left; {}", difference(&visible, server)));
            }
        }
        Ok(())
    }
}

fn cell(row: &rusqlite::Row<'_>, at: usize) -> Value {
    use rusqlite::types::Value as Sql;
    match row.get::<_, Sql>(at).unwrap() {
        Sql::Null => Value::Null,
        Sql::Integer(n) => Value::Integer(n),
        Sql::Real(x) => Value::Real(x),
        Sql::Text(text) => Value::Text(text),
        Sql::Blob(bytes) => Value::Bytes(bytes),
    }
}

fn take_apart(entity: &Entity, cells: &[Value]) -> (RowId, Attributes) {
    let (key, values) = cells.split_at(entity.key_width);
    let names = entity
        .values()
        .iter()
        .map(|attribute| attribute.name.clone());
    let content = names.zip(values.iter().cloned()).collect();
    ((entity.name.clone(), write_key(key)), content)
}
