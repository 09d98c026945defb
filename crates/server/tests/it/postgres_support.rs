//! What the tests of PostgreSQL share: connections, a role that is no superuser, and models.

use std::path::Path;

use afield_protocol::{Pattern, Type};
use afield_server::model::file::PostgresUrl;
use afield_server::resolved::{Condition, Holds, Scope, ServerEntity, ServerModel};
use afield_server::storage::StorageError;
use afield_server::storage::conformance::{entity, server_model};
use afield_server::storage::postgres::{
    Captured, Report, ScopeValues, Session, Snapshot, Statement, captured, touched,
};
use afield_testbed::postgres::{Cluster, Database};
use tokio_postgres::{Client, NoTls};

/// The SQL that makes roles before the first database of a test is made.
const ROLES: &str = "
    DO $$ BEGIN
      PERFORM pg_advisory_lock(1);
      IF to_regrole('owner') IS NULL THEN
        CREATE ROLE owner LOGIN; CREATE ROLE app LOGIN; CREATE ROLE other LOGIN;
      END IF;
      PERFORM pg_advisory_unlock(1);
      EXECUTE format('GRANT CREATE ON DATABASE %I TO owner', current_database());
    END $$;
    GRANT ALL ON SCHEMA public TO owner; GRANT USAGE ON SCHEMA public TO app, other;
    SET ROLE owner;
";

/// A database whose tables, made by `sql`, belong to the role `owner`, which may make schemas in
/// it and is nobody special otherwise; `app` may write to all of them.
pub(crate) fn database(sql: &str) -> Database {
    roles();
    let grant = "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA public \
                 TO app";
    let database = Cluster::shared().database(&format!("{ROLES}{sql};{grant}"));
    let name = &database.name;
    database.execute(&format!(
        "GRANT CREATE, TEMPORARY ON DATABASE {name} TO owner"
    ));
    database
}

fn roles() {
    static MADE: std::sync::OnceLock<Database> = std::sync::OnceLock::new();
    MADE.get_or_init(|| Cluster::shared().database(ROLES));
}

/// The address of a database for one of its roles.
pub(crate) fn url(database: &Database, role: &str) -> String {
    database.url.replace("://postgres@", &format!("://{role}@"))
}

/// Runs what needs connections of its own kind.
pub(crate) fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread();
    runtime_of(runtime).block_on(work)
}

fn runtime_of(mut builder: tokio::runtime::Builder) -> tokio::runtime::Runtime {
    builder.enable_all().build().unwrap()
}

/// A connection.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Everything of a kind from one statement: the first column as text.
pub(crate) fn texts(database: &Database, sql: &str) -> Vec<String> {
    apart(|| {
        let rows = database.connect().query(sql, &[]);
        let rows = rows.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        rows.iter().map(|row| row.get(0)).collect()
    })
}

/// A model of one entity over a table of its name.
pub(crate) fn model_of(name: &str, key_width: usize, attributes: &[(&str, Type)]) -> ServerModel {
    server_model(vec![made(name, key_width, attributes)])
}

/// An entity that everybody may write, with a table of its name.
pub(crate) fn made(name: &str, key_width: usize, attributes: &[(&str, Type)]) -> ServerEntity {
    entity(name, Pattern::LastWriteWins, key_width, attributes)
}

/// A scope: each way in by one column of the row's own that holds a claim.
pub(crate) fn by_columns(columns: &[&str]) -> Scope {
    let way = |column: &&str| {
        vec![Condition {
            column: (*column).to_owned(),
            path: Vec::new(),
            holds: Holds::Claim((*column).to_owned()),
        }]
    };
    Scope::Ways(columns.iter().map(way).collect())
}

/// Prepares as `owner`.
pub(crate) fn prepared(database: &Database, model: &ServerModel) {
    prepare_url(&url(database, "owner"), model).unwrap();
}

/// The capture of a table.
pub(crate) async fn capture_of(client: &Client, table: &str) -> Captured {
    let captures = captured(client).await.unwrap();
    let of_table = |c: &Captured| c.table == table;
    captures.into_iter().find(of_table).unwrap()
}

/// Runs statements, from wherever.
pub(crate) fn execute(database: &Database, sql: &str) {
    apart(|| database.execute(sql));
}

/// On a thread of its own: the blocking client has a runtime inside.
pub(crate) fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| scope.spawn(work).join().unwrap())
}

/// A connection that writes, and one that asks what was touched since it last did.
pub(crate) struct Watch {
    pub(crate) writer: Client,
    pub(crate) reader: Client,
    pub(crate) capture: Captured,
    pub(crate) since: Snapshot,
}

impl Watch {
    pub(crate) async fn of(database: &Database, table: &str) -> Self {
        let reader = connect(&url(database, "owner")).await;
        let capture = capture_of(&reader, table).await;
        let mut watch = Self {
            writer: connect(&database.url).await,
            reader,
            capture,
            since: "3:3:".parse().unwrap(),
        };
        watch.all().await;
        watch
    }

    /// Keys, `/` between their parts, in order; `reset` if there is one.
    pub(crate) async fn all(&mut self) -> Vec<String> {
        self.of_scopes(None).await
    }

    pub(crate) async fn of_scopes(&mut self, scopes: Option<&[ScopeValues]>) -> Vec<String> {
        let found = touched(&self.reader, &self.capture, &self.since, scopes)
            .await
            .unwrap();
        self.since = found.snapshot;
        let mut keys: Vec<String> = found.keys.iter().map(|key| key.join("/")).collect();
        keys.sort();
        match found.is_reset {
            true => vec!["reset".to_owned()],
            false => keys,
        }
    }

    pub(crate) async fn after(&mut self, sql: &str) -> Vec<String> {
        let done = self.writer.batch_execute(sql).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
        self.all().await
    }
}

/// Values of one column.
pub(crate) fn values(column: usize, values: &[&str]) -> Vec<ScopeValues> {
    let values = values.iter().map(|value| (*value).to_owned()).collect();
    vec![ScopeValues { column, values }]
}

/// A command's connection.
pub(crate) fn session(url: &str) -> Session {
    let url = PostgresUrl::parse(url, Path::new("")).unwrap();
    Session::connect(&url).unwrap()
}

pub(crate) fn plan_url(url: &str, model: &ServerModel) -> Result<Vec<Statement>, StorageError> {
    session(url).plan(model)
}

pub(crate) fn prepare_url(url: &str, model: &ServerModel) -> Result<Report, StorageError> {
    session(url).prepare(model)
}

pub(crate) fn remove_url(url: &str) -> Result<Vec<Statement>, StorageError> {
    session(url).remove()
}
