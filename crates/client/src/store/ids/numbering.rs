//! Tables whose rows the server numbers: `INTEGER PRIMARY KEY AUTOINCREMENT`, beginning at 2^52.
//!
//! A row that the app inserts without an identifier so gets a temporary one from SQLite itself,
//! right in `last_insert_rowid()` and RETURNING, on any connection. It is never given again, not
//! even when the table is made anew.

use afield_protocol::{Entity, FIRST_TEMPORARY, Identifier, Model, zoo};
use rusqlite::params;

use super::super::db::Db;
use super::super::sql::quoted;
use super::super::tables::Table;
use crate::error::Error;

impl Table {
    /// Notes which columns hold identifiers that the server makes.
    pub(in crate::store) fn numbered(mut self, model: &Model) -> Self {
        let attributes = self.entity.attributes.iter();
        let numbered = attributes.map(|attribute| {
            let by = model.numbered_by(&self.entity, &attribute.name);
            by.map(|entity| entity.name.clone())
        });
        self.numbered = numbered.collect();
        self
    }

    /// Whether the identifiers of its own rows are made by the server.
    pub(in crate::store) fn numbers_itself(&self) -> bool {
        self.entity.identifier == Identifier::Server
    }

    pub(in crate::store) fn create_numbered_table(&self) -> String {
        let key = format!("{} INTEGER PRIMARY KEY AUTOINCREMENT", self.key_columns);
        let rest = (self.entity.key_width..self.width()).map(|at| self.column(at, true));
        let columns: Vec<_> = std::iter::once(key).chain(rest).collect();
        format!("CREATE TABLE {} ({})", self.name, columns.join(", "))
    }

    /// Records a row whose identifier the INSERT left out: before the INSERT nobody knows it
    /// (NEW has -1 there). A trigger of the app's may have come first and changed the row, which
    /// is then recorded as if it had been there; sealing knows better.
    pub(in crate::store) fn capture_numbered(&self) -> Option<String> {
        self.numbers_itself().then(|| {
            format!(
                "CREATE TRIGGER {trigger} AFTER INSERT ON {table} BEGIN \
                 INSERT INTO {before} (existed, {key}) SELECT 0, NEW.{key} \
                 WHERE NOT EXISTS (SELECT 1 FROM {before} AS b WHERE {recorded}); END",
                trigger = quoted(&format!("afield_numbered_{}", self.entity.name)),
                table = self.name,
                before = self.before,
                key = self.key_columns,
                recorded = self.same_key("b", "NEW"),
            )
        })
    }
}

/// The highest identifier that an entity's table ever gave.
pub(in crate::store) fn highest(db: &Db, entity: &Entity) -> Result<Option<i64>, Error> {
    let sql = "SELECT max(seq) FROM sqlite_sequence WHERE name = ?1 COLLATE NOCASE";
    Ok(db
        .conn
        .prepare_cached(sql)?
        .query_row([&entity.name], |row| row.get(0))?)
}

/// Lets an entity's table give no identifier up to `number` any more.
pub(in crate::store) fn raise(db: &Db, entity: &Entity, number: i64) -> Result<(), Error> {
    if highest(db, entity)?.is_some_and(|given| given >= number) {
        return Ok(());
    }
    let sql = "DELETE FROM sqlite_sequence WHERE name = ?1 COLLATE NOCASE";
    db.conn.prepare_cached(sql)?.execute([&entity.name])?;
    keep(db, entity, Some(number))
}

/// Keeps that number, which SQLite has forgotten with the table.
pub(in crate::store) fn keep(db: &Db, entity: &Entity, highest: Option<i64>) -> Result<(), Error> {
    if let Some(highest) = highest
        && !zoo::planted("ids-reuse")
    {
        let sql = "INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)";
        db.conn.execute(sql, params![entity.name, highest])?;
    }
    Ok(())
}

/// Lets a new table number its rows from 2^52 on, above every number that was ever given.
pub(in crate::store) fn seed(db: &Db, table: &Table) -> Result<(), Error> {
    if !table.numbers_itself() || zoo::planted("ids-reuse") {
        return Ok(());
    }
    let entity = &table.entity;
    let sql = "SELECT max(temporary) FROM afield_ids WHERE entity = ?1 COLLATE NOCASE";
    let known: Option<i64> = db.conn.query_row(sql, [&entity.name], |row| row.get(0))?;
    let first = [highest(db, entity)?, known, Some(FIRST_TEMPORARY)];
    let first = first.into_iter().max().flatten();
    let sql = "DELETE FROM sqlite_sequence WHERE name = ?1 COLLATE NOCASE";
    db.conn.execute(sql, [&entity.name])?;
    let sql = "INSERT INTO sqlite_sequence (name, seq) VALUES (?1, ?2)";
    db.conn.execute(sql, params![entity.name, first])?;
    Ok(())
}
