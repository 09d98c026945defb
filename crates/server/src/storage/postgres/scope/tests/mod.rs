//! Scopes over real tables with columns of every kind: what is equal, what is refused, what
//! strangers say, and how it is looked up.

mod equal;
mod names;
mod plans;
mod refused;
mod said;

use afield_testbed::postgres::{Cluster, Database};
use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls};

use super::super::cell::Stored;
use super::super::shape::Shape;
use super::ScopeSql;
use super::asks::Bound;
use super::now::Now;
use super::now::bytes;
use crate::resolved::{Condition, Holds, Hop, NamedScope, Scope};
use crate::storage::lists::Asking;
use crate::storage::{Caller, StorageError};

/// A database of its own, and a connection.
pub(super) struct Bench {
    _database: Database,
    pub runtime: Runtime,
    pub client: Client,
}

impl Bench {
    pub(super) fn new(sql: &str) -> Self {
        let database = Cluster::shared().database(sql);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.unwrap();
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&database.url, NoTls).await.unwrap();
            tokio::spawn(connection);
            client
        });
        Self {
            _database: database,
            runtime,
            client,
        }
    }

    pub(super) fn run(&self, sql: &str) {
        self.runtime
            .block_on(self.client.batch_execute(sql))
            .unwrap();
    }

    pub(super) fn compile(
        &mut self,
        scopes: &[NamedScope],
        condition: Condition,
    ) -> Result<ScopeSql, StorageError> {
        let scope = Scope::Ways(vec![vec![condition]]);
        self.runtime.block_on(async {
            let tx = self.client.transaction().await.unwrap();
            let shape = Shape::named(&tx, "t").await?;
            let whose = "`t`: its scope";
            let compiled = ScopeSql::of(&tx, scopes, &scope, &shape, whose).await?;
            Ok(compiled.unwrap())
        })
    }

    pub(super) fn query(&self, sql: &str, bound: &[Bound]) -> Vec<tokio_postgres::Row> {
        let bound: Vec<&(dyn ToSql + Sync)> = bound.iter().map(|one| &**one as _).collect();
        let found = self.runtime.block_on(self.client.query(sql, &bound));
        found.unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    pub(super) fn now(&self, scope: &ScopeSql, asking: Asking<'_>) -> Now {
        let answer = scope.asked(0, asking.values_max).map(|(sql, asks)| {
            let found = self.query(&sql, &asks.bound(asking));
            bytes(&found)
        });
        scope.now(&[5; 32], "t", asking, vec![answer])
    }

    /// Whose the rows of `t` are.
    pub(super) fn rows(&self, scope: &ScopeSql, asking: Asking<'_>) -> Rows {
        let now = self.now(scope, asking);
        let asks = scope.predicate("afield_row", 1, "afield_list");
        let sql = asks.statement(&format!(
            "SELECT id, {}, coalesce({}, false) FROM t AS afield_row ORDER BY id",
            scope.columns[0].identity("afield_row"),
            asks.sql
        ));
        let found = self.query(&sql, &asks.bound(asking));
        let row = |row: &tokio_postgres::Row| {
            let Stored(identity) = row.get(1);
            let is_held = identity.is_some_and(|bytes| now.number(0, bytes).is_some());
            (row.get(0), is_held, row.get(2))
        };
        found.iter().map(row).collect()
    }
}

/// For each row of `t`: its id, and whether the values held and the condition say it is the user's.
pub(super) type Rows = Vec<(i32, bool, bool)>;

pub(super) fn condition(column: &str, path: &[(&str, &str, &str)], holds: Holds) -> Condition {
    let hop = |(table, key, column): &(&str, &str, &str)| Hop {
        table: (*table).into(),
        key: (*key).into(),
        column: (*column).into(),
    };
    Condition {
        column: column.into(),
        path: path.iter().map(hop).collect(),
        holds,
    }
}

pub(super) fn named(query: &str) -> NamedScope {
    NamedScope {
        name: "s".into(),
        query: query.into(),
        chosen: None,
    }
}

pub(super) fn by_query() -> Holds {
    Holds::Scope("s".into())
}

pub(super) fn asking(caller: &Caller) -> Asking<'_> {
    Asking {
        caller,
        chosen: &[],
        values_max: 1_000,
    }
}

pub(super) const TYPES: &str = "
    CREATE TYPE mood AS ENUM ('ok', 'so so', 'it''s', '');
    CREATE DOMAIN small AS int CHECK (VALUE < 1000000000);
    CREATE DOMAIN words AS text;
    CREATE DOMAIN moods AS mood;";

pub(super) const NUMBERS: &[&str] = &["0", "7", "-7", "32767"];
pub(super) const TEXTS: &[&str] = &[
    "''",
    "'a'",
    "'A'",
    "'a '",
    "' a'",
    "'é'",
    "'e\u{301}'",
    "'7'",
];
pub(super) const WORDS: &[&str] = &["'ok'", "'so so'", "'it''s'", "''"];
pub(super) const DAYS: &[&str] = &[
    "'2026-01-01'",
    "'infinity'",
    "'-infinity'",
    "'0044-03-15 BC'",
];
