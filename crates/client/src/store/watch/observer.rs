//! The connection that looks on: it notices commits, resolves queries, and never writes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use afield_protocol::Code;
use rusqlite::Connection;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};

use super::{Reads, held};
use crate::error::Error;
use crate::key::Key;
use crate::store::cipher;

/// How long a look waits for a lock; then the next look is as good.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// The connection.
#[derive(Debug)]
pub(super) struct Observer {
    pub(super) conn: Connection,
    version: Option<i64>,
    schema: Option<i64>,
    /// Tables that statements prepared just now read.
    read: Arc<Mutex<BTreeSet<String>>>,
}

impl Observer {
    pub(super) fn open(path: &Path, key: Option<&Key>) -> Result<Self, Error> {
        let mut conn = cipher::connect(path, key)?;
        conn.busy_timeout(BUSY_TIMEOUT)?;
        conn.pragma_update(None, "query_only", true)?;
        let read = Arc::<Mutex<BTreeSet<String>>>::default();
        let collected = read.clone();
        conn.authorizer(Some(move |context: AuthContext<'_>| {
            if let AuthAction::Read { table_name, .. } = context.action {
                held(&collected).insert(table_name.to_ascii_lowercase());
            }
            Authorization::Allow
        }))?;
        Ok(Self {
            conn,
            version: None,
            schema: None,
            read,
        })
    }

    pub(super) fn somebody_committed(&mut self) -> bool {
        let version = data_version(&self.conn).ok();
        let changed = version.is_none() || version != self.version;
        self.version = version;
        changed
    }

    pub(super) fn schema_changed(&mut self) -> bool {
        let sql = "PRAGMA schema_version";
        let schema = self.conn.query_row(sql, [], |row| row.get(0)).ok();
        let changed = schema.is_none() || schema != self.schema;
        self.schema = schema;
        changed
    }

    /// Resolves what a query reads, by what SQLite asks leave for when it prepares it.
    pub(super) fn reads(&mut self, sql: &str) -> Result<Reads, Error> {
        // Running a statement is what makes SQLite notice that the schema changed.
        let entities = touched(&self.conn)?;
        held(&self.read).clear();
        let statement = self.conn.prepare(sql)?;
        if !statement.readonly() {
            let message = "only a query can be watched; this statement writes";
            return Err(Error::new(Code::SQL, message));
        }
        drop(statement);
        let names = std::mem::take(&mut *held(&self.read));
        let sql = "SELECT lower(name) FROM pragma_table_list \
                   WHERE schema = 'main' AND type IN ('table', 'virtual', 'shadow')";
        let mut statement = self.conn.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut reads = Reads::default();
        while let Some(row) = rows.next()? {
            let name: String = row.get(0)?;
            if !names.contains(&name) {
                continue;
            }
            if entities.contains_key(&name) {
                reads.entities.insert(name);
            } else {
                reads.tables.insert(name);
            }
        }
        Ok(reads)
    }
}

/// The counters of all entities, by name in lower case.
pub(super) fn touched(conn: &Connection) -> Result<BTreeMap<String, i64>, Error> {
    let sql = "SELECT lower(name), touched FROM afield_entity";
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Changes when, and only when, another connection committed.
pub(in crate::store) fn data_version(conn: &Connection) -> Result<i64, Error> {
    let sql = "PRAGMA data_version";
    Ok(conn.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
}
