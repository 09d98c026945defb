//! A real PostgreSQL with a server on it.

use std::cell::RefCell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use afield_protocol::{Type, Value};
use afield_server::model::file::PostgresUrl;
use afield_server::resolved::ServerModel;
use afield_server::storage::Storage;
use afield_server::storage::conformance::{Database, for_postgres, model, schema};
use afield_server::storage::postgres::PostgresStorage;
use afield_server::storage::postgres::cell::{Form, Stored, Wire};
use afield_testbed::postgres::{Cluster, Database as Made};
use postgres::Client;

use crate::postgres_support::prepare_url;

/// The tables of the conformance suite.
pub(crate) fn tables() -> String {
    for_postgres(&schema("INTEGER PRIMARY KEY AUTOINCREMENT"))
}

/// A database, the program that writes to it beside the server, and the server.
pub(crate) struct PostgresDatabase {
    /// The cluster, if it is of this database alone.
    cluster: Option<Cluster>,
    pub(crate) database: Made,
    pub(crate) model: ServerModel,
    /// Another program's connection, made when it is needed.
    foreign: RefCell<Option<Client>>,
    storage: Option<PostgresStorage>,
    clock: Arc<AtomicI64>,
}

impl PostgresDatabase {
    /// With the tables of the conformance suite.
    pub(crate) fn new() -> Self {
        Self::with(&tables(), model())
    }

    /// With other tables.
    pub(crate) fn with(schema: &str, model: ServerModel) -> Self {
        Self::in_cluster(None, schema, model)
    }

    /// With the tables of the conformance suite, in a cluster that can be copied and restored, and
    /// in which nothing else happens.
    pub(crate) fn alone() -> Self {
        Self::alone_with(&tables(), model())
    }

    /// The same with other tables.
    pub(crate) fn alone_with(schema: &str, model: ServerModel) -> Self {
        let cluster = Cluster::start().unwrap();
        Self::in_cluster(Some(cluster), schema, model)
    }

    fn in_cluster(cluster: Option<Cluster>, schema: &str, model: ServerModel) -> Self {
        let database = cluster.as_ref().unwrap_or_else(|| Cluster::shared());
        let database = database.database(schema);
        prepare_url(&database.url, &model).unwrap();
        let mut made = Self {
            cluster,
            database,
            model,
            foreign: RefCell::default(),
            storage: None,
            clock: Arc::new(AtomicI64::new(1_000)),
        };
        made.start();
        made
    }

    /// Another server on the same database, with a program that writes beside it.
    pub(crate) fn aside(&self) -> Self {
        let database = Made {
            url: self.database.url.clone(),
            name: self.database.name.clone(),
        };
        Self {
            cluster: None,
            database,
            model: self.model.clone(),
            foreign: RefCell::default(),
            storage: Some(self.another()),
            clock: Arc::clone(&self.clock),
        }
    }

    /// The cluster of this database alone.
    pub(crate) fn cluster(&self) -> &Cluster {
        self.cluster.as_ref().unwrap()
    }

    /// The storage by its own name.
    pub(crate) fn own(&self) -> &PostgresStorage {
        self.storage.as_ref().unwrap()
    }

    /// The address of the database.
    pub(crate) fn url(&self) -> PostgresUrl {
        PostgresUrl::parse(&self.database.url, Path::new("")).unwrap()
    }

    /// Another server on the same database.
    pub(crate) fn another(&self) -> PostgresStorage {
        let storage = PostgresStorage::open(&self.url(), &self.model).unwrap();
        let clock = Arc::clone(&self.clock);
        storage.with_clock(move || clock.load(Ordering::SeqCst))
    }

    /// Lets another server answer from now on; gives the one that did.
    pub(crate) fn answered_by(&mut self, other: PostgresStorage) -> PostgresStorage {
        self.storage.replace(other).unwrap()
    }

    fn start(&mut self) {
        self.storage = Some(self.another());
    }

    /// Stops PostgreSQL and starts it again under the running server.
    pub(crate) fn start_database_again(&self, mode: &str) {
        self.foreign.take();
        self.cluster().stop(mode).unwrap();
        self.cluster().start_again();
    }

    /// Ends the foreign program's connection.
    pub(crate) fn forget_foreign(&self) {
        self.foreign.take();
    }

    /// Calls `work` with the foreign program's connection.
    pub(crate) fn foreign<T>(&self, work: impl FnOnce(&mut Client) -> T) -> T {
        let mut foreign = self.foreign.borrow_mut();
        work(foreign.get_or_insert_with(|| self.database.connect()))
    }
}

/// A cell as the devices' type that is nearest to its own.
fn value(row: &postgres::Row, at: usize) -> Value {
    let name = row.columns()[at].type_().name().to_owned();
    let wire = Wire::of(&name, false);
    let kind = match wire {
        Wire::Bool => Type::Boolean,
        Wire::Int2 | Wire::Int4 | Wire::Int8 => Type::Integer,
        Wire::Float4 | Wire::Float8 => Type::Real,
        Wire::Numeric => Type::Decimal,
        Wire::Uuid => Type::Uuid,
        Wire::Bytea => Type::Bytes,
        Wire::Date => Type::Date,
        Wire::Time => Type::Time,
        Wire::Timestamp => Type::Datetime,
        Wire::Timestamptz => Type::Instant,
        Wire::Text | Wire::Json | Wire::Jsonb | Wire::Other => Type::Text,
    };
    let cell: Stored<'_> = row.get(at);
    let value = Form { kind, wire }.read(cell).unwrap();
    value.as_ref().to_value()
}

impl Database for PostgresDatabase {
    fn storage(&self) -> &dyn Storage {
        self.own()
    }

    fn model(&self) -> &ServerModel {
        &self.model
    }

    fn execute(&self, sql: &str) {
        let sql = format!("BEGIN; {sql}; COMMIT");
        let done = self.foreign(|client| client.batch_execute(&sql));
        if let Err(error) = done {
            panic!("{sql}: {error:?}");
        }
    }

    fn query(&self, sql: &str) -> Vec<Vec<Value>> {
        let rows = self.foreign(|client| client.query(sql, &[]));
        let rows = rows.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        let cells = |row: &postgres::Row| (0..row.len()).map(|at| value(row, at)).collect();
        rows.iter().map(cells).collect()
    }

    fn bookkeeping(&self, name: &str) -> String {
        match name.strip_prefix("afield_mark_") {
            Some(table) => {
                let sql = format!(
                    "SELECT 'afield.mark_' || id FROM afield.capture \
                     WHERE kind = 'rows' AND table_name = 'public.{table}'"
                );
                match self.query(&sql).remove(0).remove(0) {
                    Value::Text(name) => name,
                    other => panic!("no name: {other:?}"),
                }
            }
            None => name
                .replace("afield_moment", "afield.beacon")
                .replace("afield_", "afield."),
        }
    }

    fn has_epochs_of_its_own(&self) -> bool {
        false
    }

    fn keeps_spellings(&self) -> bool {
        false
    }

    fn after_update(&self, table: &str, when: &str, then: &str) -> String {
        format!(
            "CREATE FUNCTION after_update_{table}() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN {then} RETURN NULL; END $$; \
             CREATE TRIGGER after_update_{table} AFTER UPDATE ON {table} FOR EACH ROW \
             WHEN ({when}) EXECUTE FUNCTION after_update_{table}()"
        )
    }

    fn seeds_of(&self, all: u64) -> u64 {
        all.div_ceil(4)
    }

    fn set_time(&mut self, seconds: i64) {
        self.clock.store(seconds, Ordering::SeqCst);
    }

    fn restart(&mut self) {
        self.storage = None;
        self.start();
    }

    fn copy(&mut self) {
        // A backup is older than a second.
        self.own().duties().unwrap();
        self.cluster().back_up();
    }

    fn restore(&mut self) {
        (self.storage, *self.foreign.get_mut()) = (None, None);
        self.cluster().restore();
        self.start();
    }
}

impl Drop for PostgresDatabase {
    /// A cluster of its own is of no use to anybody else.
    fn drop(&mut self) {
        if let Some(cluster) = &self.cluster {
            let _ = cluster.stop("immediate");
        }
    }
}
