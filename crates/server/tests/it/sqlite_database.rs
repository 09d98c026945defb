//! A real SQLite file with a server on it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use afield_protocol::Value;
use afield_server::resolved::ServerModel;
use afield_server::storage::Storage;
use afield_server::storage::conformance::{Database, model, schema};
use afield_server::storage::sqlite::{SqliteStorage, prepare};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

/// The tables of the conformance suite.
pub(crate) fn tables() -> String {
    schema("INTEGER PRIMARY KEY AUTOINCREMENT")
}

/// A database file, the program that writes to it beside the server, and the server.
pub(crate) struct SqliteDatabase {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) model: ServerModel,
    /// Another program's connection; none while the file is copied.
    foreign: Option<Connection>,
    storage: Option<SqliteStorage>,
    recursive_triggers: bool,
    list_memory: Option<usize>,
    limits: Option<(usize, usize)>,
    clock: Arc<AtomicI64>,
    random: fastrand::Rng,
}

impl SqliteDatabase {
    /// With the tables of the conformance suite.
    pub(crate) fn new() -> Self {
        Self::with(&tables(), model())
    }

    /// With other tables.
    pub(crate) fn with(schema: &str, model: ServerModel) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let conn = Connection::open(folder.path().join("team.db")).unwrap();
        conn.execute_batch(schema).unwrap();
        drop(conn);
        let mut database = Self {
            folder,
            model,
            foreign: None,
            storage: None,
            recursive_triggers: false,
            list_memory: None,
            limits: None,
            clock: Arc::new(AtomicI64::new(1_000)),
            random: fastrand::Rng::with_seed(7),
        };
        let random = &mut database.random;
        prepare(
            &database.folder.path().join("team.db"),
            &database.model,
            |b| random.fill(b),
        )
        .unwrap();
        database.start();
        database
    }

    /// Whether the foreign program has `recursive_triggers` on.
    pub(crate) fn recursive_triggers(mut self, on: bool) -> Self {
        self.recursive_triggers = on;
        self.stop();
        self.start();
        self
    }

    /// How many bytes the server may remember of what users hold.
    pub(crate) fn list_memory(mut self, bytes: usize) -> Self {
        self.list_memory = Some(bytes);
        self.stop();
        self.start();
        self
    }

    /// How many values of a scope the server looks up, and changes of a group it takes.
    pub(crate) fn limits(mut self, scope_values: usize, group_changes: usize) -> Self {
        self.limits = Some((scope_values, group_changes));
        self.stop();
        self.start();
        self
    }

    /// The storage itself, for a server.
    pub(crate) fn take_storage(&mut self) -> SqliteStorage {
        self.storage.take().unwrap()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().join("team.db")
    }

    /// The foreign program's connection.
    pub(crate) fn foreign(&self) -> &Connection {
        self.foreign.as_ref().unwrap()
    }

    pub(crate) fn start(&mut self) {
        let random = &mut self.random;
        let path = self.folder.path().join("team.db");
        let storage = SqliteStorage::open(&path, &self.model, |b| random.fill(b)).unwrap();
        let clock = Arc::clone(&self.clock);
        let storage = storage.with_clock(move || clock.load(Ordering::SeqCst));
        let storage = match self.limits {
            Some((values, changes)) => storage.with_limits(values, changes),
            None => storage,
        };
        self.storage = Some(match self.list_memory {
            Some(bytes) => storage.with_list_memory(bytes),
            None => storage,
        });
        let foreign = Connection::open(&path).unwrap();
        // As fast as it gets: these tests do not cut the power.
        foreign.pragma_update(None, "synchronous", "off").unwrap();
        foreign.pragma_update(None, "foreign_keys", true).unwrap();
        foreign
            .pragma_update(None, "recursive_triggers", self.recursive_triggers)
            .unwrap();
        self.foreign = Some(foreign);
    }

    pub(crate) fn stop(&mut self) {
        self.storage = None;
        self.foreign = None;
    }

    fn backup(&self) -> PathBuf {
        self.folder.path().join("copy.db")
    }
}

impl Database for SqliteDatabase {
    fn storage(&self) -> &dyn Storage {
        self.storage.as_ref().unwrap()
    }

    fn model(&self) -> &ServerModel {
        &self.model
    }

    fn execute(&self, sql: &str) {
        let run = || {
            self.foreign()
                .execute_batch(&format!("BEGIN; {sql}; COMMIT"))
        };
        if let Err(error) = run() {
            panic!("{sql}: {error}");
        }
    }

    fn query(&self, sql: &str) -> Vec<Vec<Value>> {
        let mut statement = self.foreign().prepare(sql).unwrap();
        let width = statement.column_count();
        let cell = |value: ValueRef<'_>| match value {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(n) => Value::Integer(n),
            ValueRef::Real(x) => Value::Real(x),
            ValueRef::Text(text) => Value::Text(String::from_utf8(text.to_vec()).unwrap()),
            ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
        };
        statement
            .query_map([], |row| {
                (0..width).map(|at| Ok(cell(row.get_ref(at)?))).collect()
            })
            .unwrap()
            .collect::<rusqlite::Result<_>>()
            .unwrap()
    }

    fn set_time(&mut self, seconds: i64) {
        self.clock.store(seconds, Ordering::SeqCst);
    }

    fn restart(&mut self) {
        self.stop();
        self.start();
    }

    fn copy(&mut self) {
        // With the log moved into it the file is whole, and nobody writes meanwhile.
        let moved = self.query("PRAGMA wal_checkpoint(TRUNCATE)");
        assert_eq!(moved[0][0], Value::Integer(0), "the log is moved");
        std::fs::copy(self.path(), self.backup()).unwrap();
    }

    fn restore(&mut self) {
        self.stop();
        std::fs::copy(self.backup(), self.path()).unwrap();
        self.start();
    }
}
