//! Writes with an identifier that is not the row's any more.
//!
//! Another process, or a statement of the app's, may hold a temporary identifier after the server
//! gave the real one, and insert with it: a row that refers to it, or the row itself once more.
//! Before what was captured becomes a group, such rows are made what they would be had the app
//! known the real identifier.

use afield_protocol::{Value, zoo};
use rusqlite::Connection;
use rusqlite::config::DbConfig;

use super::super::db::{Db, Loaded};
use super::super::page::touch;
use super::super::sql::{bound, literal, quoted, values};
use super::super::tables::Table;
use super::translate;
use crate::error::Error;

/// Renames captured rows that carry old identifiers. Runs inside a write transaction, before
/// the capture tables are read.
pub(in crate::store) fn rename(db: &Db, loaded: &Loaded) -> Result<(), Error> {
    let holds_numbers = |table: &Table| table.numbered.iter().any(Option::is_some);
    if !loaded.tables.iter().any(holds_numbers) {
        return Ok(());
    }
    let any = db
        .conn
        .prepare_cached("SELECT 1 FROM afield_ids LIMIT 1")?
        .exists([])?;
    if !any || zoo::planted("ids-old-not-translated") {
        return Ok(());
    }
    let mut found = Vec::new();
    for table in &loaded.tables {
        if table.entity.is_written() && holds_numbers(table) {
            let keys = outdated(db, table)?;
            found.extend(keys.into_iter().map(|key| (table, key)));
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    let _uncaptured = Uncaptured::new(&db.conn)?;
    for (table, key) in &found {
        rename_row(db, table, key)?;
        touch(db, &table.entity.name)?;
        db.crash_point("rename-captured")?;
    }
    Ok(())
}

/// Captured rows that hold a temporary identifier of which the real one is known.
fn outdated(db: &Db, table: &Table) -> Result<Vec<Vec<Value>>, Error> {
    let columns = table.entity.attributes.iter().zip(&table.numbered);
    let tests = columns.filter_map(|(attribute, entity)| {
        let column = quoted(&attribute.name);
        Some(format!(
            "EXISTS (SELECT 1 FROM afield_ids AS i \
             WHERE i.entity = {} AND i.temporary = t.{column})",
            literal(entity.as_ref()?)
        ))
    });
    // CROSS JOIN: what was captured leads, however large the table is.
    let sql = format!(
        "SELECT {} FROM {} AS b CROSS JOIN {} AS t ON {} WHERE {} ORDER BY b.rowid",
        table.prefixed("t", table.entity.key()),
        table.before,
        table.name,
        table.same_key("t", "b"),
        tests.collect::<Vec<_>>().join(" OR ")
    );
    let mut statement = db.conn.prepare_cached(&sql)?;
    let width = table.entity.key_width;
    let rows = statement.query_map([], |row| values(row, 0, width))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn rename_row(db: &Db, table: &Table, key: &[Value]) -> Result<(), Error> {
    let Some(typed) = table.row(&db.conn, key)? else {
        return Ok(());
    };
    let mut renamed = typed;
    translate(&db.conn, table, &mut renamed)?;
    let new_key = renamed
        .get(..table.entity.key_width)
        .unwrap_or(&[])
        .to_vec();
    if new_key == key {
        return table.put_row(&db.conn, key, Some(&renamed));
    }
    // Nothing was there under the old identifier; what matters is the row under the real one.
    let real = table.row(&db.conn, &new_key)?;
    let forget = table.delete_from(&table.before);
    db.conn.prepare_cached(&forget)?.execute(bound(key))?;
    record_before(db, table, &new_key, real.as_deref())?;
    table.put_row(&db.conn, key, None)?;
    let now = match real {
        Some(real) => typed_over(table, real, renamed),
        None => renamed,
    };
    table.put_row(&db.conn, &new_key, Some(&now))
}

/// The real row with what the app typed into the second one. As in any captured INSERT, null
/// counts as not mentioned.
fn typed_over(table: &Table, real: Vec<Value>, typed: Vec<Value>) -> Vec<Value> {
    let cells = real.into_iter().zip(typed).zip(&table.entity.attributes);
    cells
        .map(|((real, typed), attribute)| match typed {
            Value::Null => real,
            _ if attribute.read_only => real,
            typed => typed,
        })
        .collect()
}

/// Captures a row as the triggers would have.
fn record_before(
    db: &Db,
    table: &Table,
    key: &[Value],
    row: Option<&[Value]>,
) -> Result<(), Error> {
    let sql = format!("SELECT 1 FROM {} WHERE {}", table.before, table.key_bound());
    if db.conn.prepare_cached(&sql)?.exists(bound(key))? {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO {} (existed, {}) VALUES ({}, {})",
        table.before,
        table.columns,
        i32::from(row.is_some()),
        table.marks()
    );
    let mut padded = row.map_or_else(|| key.to_vec(), <[Value]>::to_vec);
    padded.resize(table.width(), Value::Null);
    db.conn.prepare_cached(&sql)?.execute(bound(&padded))?;
    Ok(())
}

/// Triggers and foreign keys of a connection are off while this lives, so that what is renamed is
/// neither captured nor refused. Whatever happens meanwhile, they are as before afterwards.
pub(in super::super) struct Uncaptured<'a> {
    conn: &'a Connection,
    before: [(DbConfig, bool); 2],
}

impl<'a> Uncaptured<'a> {
    pub(in super::super) fn new(conn: &'a Connection) -> Result<Self, Error> {
        let switches = [
            DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER,
            DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY,
        ];
        let [triggers, keys] = switches;
        let before = [
            (triggers, conn.db_config(triggers)?),
            (keys, conn.db_config(keys)?),
        ];
        let guard = Self { conn, before };
        for switch in switches {
            conn.set_db_config(switch, false)?;
        }
        Ok(guard)
    }
}

impl Drop for Uncaptured<'_> {
    fn drop(&mut self) {
        for (switch, before) in self.before {
            // It sets a flag of the connection, and fails for flags that SQLite does not know.
            let _ = self.conn.set_db_config(switch, before);
        }
    }
}
