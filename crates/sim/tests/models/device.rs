//! A device: the real store on a real file, and the real engine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use afield::engine::{Command, Engine, Event, Report};
use afield::{Environment, Store, SyncStore};
use rusqlite::Connection;

use crate::model::Model;
use crate::oracle::shown_row;
use crate::schema::Schema;
use crate::server::Answer;
use crate::text::quoted;
use crate::watch::Rows;
use crate::wrong::{Done, Wrong};

/// Some Monday morning, in milliseconds since 1970.
const BEGINNING_MS: i64 = 1_795_000_000_000;

/// The one clock of a case.
#[derive(Clone)]
pub(crate) struct Clock(Arc<AtomicI64>);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(BEGINNING_MS)))
    }

    pub(crate) fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::Relaxed);
    }
}

struct Surroundings {
    clock: Clock,
    random: fastrand::Rng,
}

impl Environment for Surroundings {
    fn now_ms(&mut self) -> i64 {
        self.clock.0.load(Ordering::Relaxed)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        self.random.fill(bytes);
    }
}

/// A device.
pub(crate) struct Device {
    pub(crate) user: usize,
    name: &'static str,
    pub(crate) path: PathBuf,
    clock: Clock,
    seed: u64,
    store: Option<Store>,
    running: Option<(SyncStore, Engine)>,
    pub(crate) link: Link,
    /// The observer's connection, which is another program's too.
    pub(crate) other: Connection,
    /// For each entity what the server had when a page of it was last complete.
    pub(crate) has: Vec<Option<Rows>>,
    /// How the last sync ended.
    pub(crate) report: Option<Report>,
}

/// What a sync waits for.
#[derive(Default)]
pub(crate) enum Link {
    #[default]
    Idle,
    Model,
    Request(Vec<u8>),
    Answer(Answer),
    Pause,
}

impl Device {
    pub(crate) fn new(
        path: &Path,
        (user, name): (usize, &'static str),
        entities: usize,
        seed: u64,
        clock: &Clock,
    ) -> Done<Self> {
        Ok(Self {
            user,
            name,
            path: path.to_owned(),
            clock: clock.clone(),
            seed,
            store: None,
            running: None,
            link: Link::Idle,
            other: Connection::open(path)?,
            has: vec![None; entities],
            report: None,
        })
    }

    fn surroundings(&mut self) -> Box<Surroundings> {
        self.seed = self
            .seed
            .wrapping_mul(0x2545_f491_4f6c_dd1d)
            .wrapping_add(1);
        Box::new(Surroundings {
            clock: self.clock.clone(),
            random: fastrand::Rng::with_seed(self.seed),
        })
    }

    /// The app's store.
    pub(crate) fn store(&mut self) -> Done<&mut Store> {
        if self.store.is_none() {
            let env = self.surroundings();
            self.store = Some(Store::open(&self.path, self.name, env)?);
        }
        let closed = || Wrong::new("the store is open", "it is not");
        self.store.as_mut().ok_or_else(closed)
    }

    /// Gives the engine an event and takes note of what it wants.
    pub(crate) fn give(&mut self, event: Event<'_>) -> Done {
        if self.running.is_none() {
            let env = self.surroundings();
            let store = SyncStore::open(&self.path, self.name, env)?;
            self.running = Some((store, Engine::new()));
        }
        let Some((store, engine)) = &mut self.running else {
            return Ok(());
        };
        for command in engine.handle(store, event)? {
            match command {
                Command::FetchModel => self.link = Link::Model,
                Command::Send { body } => self.link = Link::Request(body),
                Command::Abort => self.link = Link::Idle,
                Command::Wait { ms } => {
                    self.clock.advance(ms);
                    self.link = Link::Pause;
                }
                Command::Progress(_) | Command::UnitCompleted(_) | Command::Outcomes(_) => {}
                Command::Finished(report) => {
                    self.link = Link::Idle;
                    self.report = Some(report);
                }
            }
        }
        Ok(())
    }

    /// The app ends, and begins anew when it is next used.
    pub(crate) fn close(&mut self) {
        self.store = None;
        self.running = None;
        self.link = Link::Idle;
    }

    /// Whether its tables were made.
    pub(crate) fn has_model(&self) -> Done<bool> {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE name = 'afield_change'";
        let has_tables: bool = self.other.query_row(sql, [], |row| row.get(0))?;
        if !has_tables {
            return Ok(false);
        }
        let sql = "SELECT model IS NOT NULL FROM afield_meta";
        Ok(self.other.query_row(sql, [], |row| row.get(0))?)
    }

    /// The rows of an entity that carry no change of this device's, and the keys of those that
    /// do.
    pub(crate) fn rows(
        &self,
        schema: &Schema,
        model: &Model,
        at: usize,
    ) -> Done<(Rows, Vec<String>)> {
        let entity = &model.entities[at];
        let names = entity.names(schema);
        let columns: Vec<String> = names.iter().map(|name| quoted(name)).collect();
        let width = schema.tables[entity.table].key_columns().len();
        let key = shown_row("", &columns[..width]);
        let mut changed: Vec<String> = Vec::new();
        for table in ["afield_server_", "afield_before_"] {
            let table = quoted(&format!("{table}{}", entity.name));
            if entity.is_written() {
                let sql = format!("SELECT {key} FROM {table}");
                let mut statement = self.other.prepare_cached(&sql)?;
                let keys = statement.query_map([], |row| row.get(0))?;
                changed.extend(keys.collect::<Result<Vec<String>, _>>()?);
            }
        }
        let sql = format!(
            "SELECT {key}, {} FROM {}",
            shown_row("", &columns),
            quoted(&entity.name)
        );
        let mut statement = self.other.prepare_cached(&sql)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut rows = rows.collect::<Result<Rows, _>>()?;
        rows.retain(|key, _| !changed.contains(key));
        Ok((rows, changed))
    }

    /// Every text and blob of every table, as bytes, by table.
    pub(crate) fn contents(&self) -> Done<Vec<(String, Vec<u8>)>> {
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table'";
        let mut statement = self.other.prepare(sql)?;
        let names = statement.query_map([], |row| row.get(0))?;
        let names: Vec<String> = names.collect::<Result<_, _>>()?;
        let mut all = Vec::new();
        for name in names {
            let mut bytes = Vec::new();
            let sql = format!("SELECT * FROM {}", quoted(&name));
            let mut statement = self.other.prepare_cached(&sql)?;
            let width = statement.column_count();
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                for at in 0..width {
                    match row.get_ref(at)? {
                        rusqlite::types::ValueRef::Text(text) => bytes.extend_from_slice(text),
                        rusqlite::types::ValueRef::Blob(blob) => bytes.extend_from_slice(blob),
                        _ => {}
                    }
                    bytes.push(0);
                }
            }
            all.push((name, bytes));
        }
        Ok(all)
    }

    /// What stands in its files.
    pub(crate) fn file_bytes(&self) -> Done<Vec<u8>> {
        let mut bytes = std::fs::read(&self.path)?;
        let mut log = self.path.as_os_str().to_owned();
        log.push("-wal");
        if let Ok(more) = std::fs::read(PathBuf::from(log)) {
            bytes.extend(more);
        }
        Ok(bytes)
    }
}
