//! The databases behind the servers that are sent forgeries: both have the tables of rights.

use std::sync::Arc;

use afield_protocol::Group;
use afield_server::resolved::ServerModel;
use afield_server::storage::conformance::{for_postgres, rights_model, rights_schema};
use afield_server::storage::sqlite::{SqliteStorage, prepare};
use afield_server::storage::{Caller, Storage};
use rusqlite::Connection;
use rusqlite::types::Value as Cell;
use tempfile::TempDir;

use crate::http_support::Server;
use crate::postgres_database::PostgresDatabase;

/// The database behind the server.
pub(crate) enum Behind {
    /// And its folder, which goes with it.
    Sqlite(
        Connection,
        #[expect(dead_code, reason = "it is dropped")] TempDir,
    ),
    Postgres(Box<PostgresDatabase>),
}

/// Who pushed what before anybody else.
pub(crate) type First = (Caller, Group);

/// What a table holds, row by row.
pub(crate) type Dump = Vec<(String, Vec<String>)>;

fn served(storage: impl Storage + 'static, model: ServerModel, first: &First) -> Server {
    let outcomes = storage
        .push(&model, &first.0, std::slice::from_ref(&first.1))
        .unwrap();
    assert!(outcomes[0].is_applied(), "{outcomes:?}");
    Server::start_on(Arc::new(storage) as Arc<dyn Storage>, model)
}

pub(crate) fn on_sqlite(first: &First) -> (Server, Behind) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("team.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(&rights_schema(NUMBERED)).unwrap();
    let model = rights_model();
    let random = |bytes: &mut [u8]| bytes.fill(4);
    prepare(&path, &model, random).unwrap();
    let storage = SqliteStorage::open(&path, &model, random).unwrap();
    (served(storage, model, first), Behind::Sqlite(conn, folder))
}

pub(crate) fn on_postgres(first: &First) -> (Server, Behind) {
    let schema = for_postgres(&rights_schema(NUMBERED));
    let database = PostgresDatabase::with(&schema, rights_model());
    let server = served(database.another(), rights_model(), first);
    (server, Behind::Postgres(Box::new(database)))
}

/// As the schema calls a key that the database numbers.
const NUMBERED: &str = "INTEGER PRIMARY KEY AUTOINCREMENT";

impl Behind {
    /// Every row of every table, the team's and those of Afield's that a push may write, but the
    /// ledger's and the inbox's, which note what was refused.
    pub(crate) fn dump(&self) -> Dump {
        match self {
            Self::Sqlite(conn, _) => dump(conn),
            Self::Postgres(database) => database.foreign(|client| {
                let sql = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables \
                           WHERE schemaname IN ('public', 'afield') AND tablename NOT IN \
                           ('ledger', 'epoch', 'beacon', 'inbox', 'inbox_group') \
                           ORDER BY 1";
                let names = client.query(sql, &[]).unwrap();
                let names = names.iter().map(|row| row.get::<_, String>(0));
                let rows = |name: String| {
                    let sql = format!("SELECT t::text FROM {name} t ORDER BY 1");
                    let rows = client.query(&sql, &[]).unwrap();
                    (name, rows.iter().map(|row| row.get(0)).collect())
                };
                names.map(rows).collect()
            }),
        }
    }
}

fn dump(conn: &Connection) -> Dump {
    let mut names = conn
        .prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' \
             AND name NOT IN ('afield_ledger', 'afield_epoch', 'afield_inbox', \
             'afield_inbox_group') ORDER BY name",
        )
        .unwrap();
    let names = names.query_map([], |row| row.get(0)).unwrap();
    names
        .map(|name| {
            let name: String = name.unwrap();
            // The number of the inbox's newest entry is the inbox's too.
            let of = match name.as_str() {
                "afield_node" => "schema_version, incarnation, code_key, horizon, ledger_horizon",
                _ => "*",
            };
            let mut rows = conn
                .prepare(&format!("SELECT {of} FROM \"{name}\""))
                .unwrap();
            let width = rows.column_count();
            let row = |row: &rusqlite::Row<'_>| {
                let cells = (0..width).map(|at| row.get::<_, Cell>(at));
                Ok(format!("{:?}", cells.collect::<Result<Vec<_>, _>>()?))
            };
            let rows = rows.query_map([], row).unwrap().map(Result::unwrap);
            (name, rows.collect())
        })
        .collect()
}
