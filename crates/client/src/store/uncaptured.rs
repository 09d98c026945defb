//! Rows that only this device has, or has otherwise than the server: written while no trigger
//! captured it, or damaged. Nobody can tell which, so nothing of them is thrown away unseen.
//!
//! A comparison notes them as they are, before anything is repaired; a repair notes them once more
//! in its own transaction, should they have changed since. What stood here stays readable for as
//! long as settled changes do, and can be typed again, which is then a change like any other.
//!
//! A row that the server once brought and says is no longer this user's leaves nothing but its
//! identifier: what leaves the scope leaves the device.

use std::collections::{HashMap, HashSet};

use afield_protocol::codec::cbor::{read_attributes, read_key, write_attributes, write_key};
use afield_protocol::{Attributes, Fetch, Frame, Key, Page, PageEnd, Value};
use rusqlite::{OptionalExtension, params};

use super::Store;
use super::db::{Db, Loaded};
use super::overlay;
use super::page::{self, Done, PageApplied};
use super::sync_store::SyncStore;
use super::tables::Table;
use super::verify::{Difference, DifferentRow};
use crate::error::Error;

/// Rows that are noted at most and wait for their repair: what is not noted is not repaired.
const UNCAPTURED_MAX: i64 = 10_000;

/// A row that this device has otherwise than the server.
#[derive(Clone, Debug, PartialEq)]
pub struct UncapturedRow {
    /// The local entity.
    pub entity: String,
    /// Its identifier.
    pub key: Key,
    /// Whether the server has no such row for this user; otherwise it has another content.
    pub only_here: bool,
    /// What stands, or stood, here: all attributes but the identifier's. `None` if the row had come
    /// from the server and is no longer this user's.
    pub content: Option<Attributes>,
    /// When it was found, in milliseconds since 1970.
    pub found_ms: i64,
    /// When the server's took its place; `None` if it is still here.
    pub repaired_ms: Option<i64>,
}

impl Store {
    /// Rows that a comparison with the server found only here, or with another content, as they
    /// are here; those that were repaired stay listed as they were, for two weeks.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn uncaptured(&self) -> Result<Vec<UncapturedRow>, Error> {
        let sql = "SELECT entity, key, kind = 'only-here', content, found_at, repaired_at \
                   FROM afield_uncaptured ORDER BY n";
        let mut statement = self.db.conn.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let (key, content): (Vec<u8>, Option<Vec<u8>>) = (row.get(1)?, row.get(3)?);
            found.push(UncapturedRow {
                entity: row.get(0)?,
                key: read_key(&key)?,
                only_here: row.get(2)?,
                content: content.map(|it| read_attributes(&it)).transpose()?,
                found_ms: row.get(4)?,
                repaired_ms: row.get(5)?,
            });
        }
        Ok(found)
    }
}

impl SyncStore {
    /// Notes rows that differ, as they are here. Gives the identifiers of those that may be
    /// repaired: all of them, unless too many wait already.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn note_uncaptured(
        &mut self,
        entity: &str,
        rows: &[DifferentRow],
    ) -> Result<Vec<Key>, Error> {
        self.db.write("uncaptured", |db| {
            let loaded = db.loaded()?;
            let table = loaded.table(entity)?;
            let mut noted = Vec::new();
            for row in rows {
                let only_here = match row.difference {
                    Difference::Missing => None,
                    Difference::Changed => Some(false),
                    Difference::Extra => Some(true),
                };
                let is_noted = match only_here {
                    Some(only_here) => note(db, table, &row.key, only_here)?,
                    None => true,
                };
                noted.extend(is_noted.then(|| row.key.clone()));
            }
            Ok(noted)
        })
    }

    /// Applies a page that brings rows which this device asked for because they differ. What
    /// stands here is noted in the same transaction. Gives the rows that were answered, and which
    /// of them are other than they were.
    ///
    /// # Errors
    /// Those of [`SyncStore::apply_page`].
    pub fn repair_page(
        &mut self,
        request: i64,
        (page, content, end): (&Page, &[Frame], &PageEnd),
        asked: &[Fetch],
    ) -> Result<(PageApplied, Repaired), Error> {
        // Either all of it is lost with the power, or nothing: then it can be asked for again.
        self.synchronous("NORMAL")?;
        let (done, repaired) = self.db.write("repair", |db| {
            let loaded = db.loaded()?;
            let before = before(db, &loaded, asked, content)?;
            let done = page::apply(db, request, page, content, end)?;
            if done.page == PageApplied::Overtaken {
                return Ok((done, Repaired::default()));
            }
            let repaired = after(db, &loaded, before)?;
            Ok((done, repaired))
        })?;
        let Done { page, left } = done;
        self.rows_left |= left;
        Ok((page, repaired))
    }
}

/// What became of rows that were fetched because they differ.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Repaired {
    /// The rows that the page answered, by entity.
    pub answered: Vec<(String, Key)>,
    /// Those of them that are other than they were, by entity and the identifier in canonical CBOR.
    pub rows: Vec<(String, Vec<u8>)>,
}

/// A row before its repair.
struct Before {
    entity: String,
    key: Key,
    known: Option<Vec<Value>>,
    seen: Option<Vec<Value>>,
    brought: Vec<Value>,
}

/// The rows that were asked for and that the page answers, as they are here.
fn before(
    db: &mut Db,
    loaded: &Loaded,
    asked: &[Fetch],
    content: &[Frame],
) -> Result<Vec<Before>, Error> {
    let answered = answered(loaded, content)?;
    let mut found = Vec::new();
    for Fetch { entity, keys } in asked {
        let table = loaded.table(entity)?;
        for key in keys {
            let Some(is_there) = answered.get(&(entity.as_str(), write_key(key))) else {
                continue;
            };
            let known = table.known_row(&db.conn, key)?;
            if known.is_some() {
                note(db, table, key, !is_there)?;
            }
            // What nobody captured on top of a change would be computed away.
            let seen = table.row(&db.conn, key)?;
            if let (Some(seen), Some(_)) = (&seen, table.server_row(&db.conn, key)?)
                && overlay::up_to(db, table, &write_key(key), i64::MAX)?.as_ref() != Some(seen)
            {
                note_row(db, table, key, seen, false)?;
            }
            found.push(Before {
                seen,
                entity: entity.clone(),
                key: key.clone(),
                brought: brought(db, table, key)?,
                known,
            });
        }
    }
    Ok(found)
}

/// What a page answers of each row: whether it is there.
fn answered<'c>(
    loaded: &Loaded,
    content: &'c [Frame],
) -> Result<HashMap<(&'c str, Vec<u8>), bool>, Error> {
    let mut answered = HashMap::new();
    for frame in content {
        match frame {
            Frame::Rows(block) => {
                let width = loaded.table(&block.entity)?.entity.key_width;
                block.for_each(|cells| {
                    let key = cells.iter().take(width);
                    let key: Key = key.map(|cell| cell.as_ref().to_value()).collect();
                    answered.insert((block.entity.as_str(), write_key(&key)), true);
                    Ok::<(), Error>(())
                })?;
            }
            Frame::Gone { entity, keys } => {
                let keys = keys
                    .iter()
                    .map(|key| ((entity.as_str(), write_key(key)), false));
                answered.extend(keys);
            }
            _ => {}
        }
    }
    Ok(answered)
}

/// Notes which rows are other than before. One that is as it was is no difference any more.
fn after(db: &mut Db, loaded: &Loaded, before: Vec<Before>) -> Result<Repaired, Error> {
    let now = db.env.now_ms();
    let mut repaired = Repaired::default();
    for was in before {
        let table = loaded.table(&was.entity)?;
        let known = table.known_row(&db.conn, &was.key)?;
        let is_same = known == was.known && table.row(&db.conn, &was.key)? == was.seen;
        let sql = match is_same {
            true => {
                "DELETE FROM afield_uncaptured \
                     WHERE entity = ?1 AND key = ?2 AND repaired_at IS NULL AND ?3 IS NOT NULL"
            }
            false => {
                "UPDATE afield_uncaptured SET repaired_at = ?3 \
                      WHERE entity = ?1 AND key = ?2 AND repaired_at IS NULL"
            }
        };
        let key = write_key(&was.key);
        (db.conn.prepare_cached(sql)?).execute(params![was.entity, key, now])?;
        db.crash_point("repaired")?;
        if !is_same || brought(db, table, &was.key)? != was.brought {
            repaired.rows.push((was.entity.clone(), key));
        }
        repaired.answered.push((was.entity, was.key));
    }
    Ok(repaired)
}

/// The numbers of the values that brought a row; none if nothing is known of it.
fn brought(db: &Db, table: &Table, key: &[Value]) -> Result<Vec<Value>, Error> {
    if table.scope_columns.is_empty() {
        return Ok(Vec::new());
    }
    let columns = table.scope_columns.join(", ");
    let sql = format!(
        "SELECT {columns} FROM {} WHERE {}",
        table.scope,
        table.key_bound()
    );
    let mut statement = db.conn.prepare_cached(&sql)?;
    let width = table.scope_columns.len();
    let row = statement.query_row(super::sql::bound(key), |row| {
        super::sql::values(row, 0, width)
    });
    Ok(row.optional()?.unwrap_or_default())
}

/// Notes a row as it is here. False if too many are noted already.
fn note(db: &mut Db, table: &Table, key: &Key, only_here: bool) -> Result<bool, Error> {
    match table.known_row(&db.conn, key)? {
        Some(row) => note_row(db, table, key, &row, only_here),
        None => Ok(true),
    }
}

/// The same of a row that is not the server's row as it is known here.
pub(super) fn note_row(
    db: &mut Db,
    table: &Table,
    key: &Key,
    row: &[Value],
    only_here: bool,
) -> Result<bool, Error> {
    let entity = &table.entity;
    let sql = "SELECT 1 FROM afield_uncaptured \
               WHERE entity = ?1 AND key = ?2 AND repaired_at IS NULL";
    let bytes = write_key(key);
    let is_known = (db.conn.prepare_cached(sql)?).exists(params![entity.name, bytes])?;
    let sql = "SELECT count(*) FROM afield_uncaptured";
    let count: i64 = (db.conn.prepare_cached(sql)?).query_row([], |row| row.get(0))?;
    if !is_known && count >= UNCAPTURED_MAX {
        return Ok(false);
    }
    let came = match entity.scope.is_empty() {
        true => entity.erase,
        false => !brought(db, table, key)?.is_empty(),
    };
    let content = (!only_here || !came).then(|| {
        let named = entity.attributes.iter().zip(row).skip(entity.key_width);
        let named = named.map(|(attribute, value)| (attribute.name.clone(), value.clone()));
        write_attributes(&named.collect::<Attributes>())
    });
    let kind = match only_here {
        true => "only-here",
        false => "other-content",
    };
    let sql = "INSERT INTO afield_uncaptured (entity, key, kind, content, found_at) \
               VALUES (?1, ?2, ?3, ?4, ?5) \
               ON CONFLICT (entity, key) WHERE repaired_at IS NULL \
               DO UPDATE SET kind = excluded.kind, content = excluded.content";
    let now = db.env.now_ms();
    (db.conn.prepare_cached(sql)?).execute(params![entity.name, bytes, kind, content, now])?;
    db.crash_point("uncaptured-noted")?;
    Ok(true)
}

/// Notes that the server's row, and the changes laid over it, took the place of what was noted.
pub(super) fn repaired(db: &mut Db, entity: &str, key: &[u8]) -> Result<(), Error> {
    let now = db.env.now_ms();
    let sql = "UPDATE afield_uncaptured SET repaired_at = ?3 \
               WHERE entity = ?1 AND key = ?2 AND repaired_at IS NULL";
    (db.conn.prepare_cached(sql)?).execute(params![entity, key, now])?;
    Ok(())
}

/// A value of its scope that brought a row.
pub(super) fn first_value(db: &Db, table: &Table, key: &[Value]) -> Result<Option<i64>, Error> {
    let values = brought(db, table, key)?.into_iter();
    let number = |value| match value {
        Value::Integer(number) => Some(number),
        _ => None,
    };
    Ok(values.filter_map(number).next())
}

/// Forgets what rows had here that the server had too and that left with a page.
pub(super) fn left(db: &Db, table: &Table) -> Result<(), Error> {
    let sql = "SELECT key FROM afield_uncaptured \
               WHERE entity = ?1 AND kind = 'other-content' AND content IS NOT NULL";
    let mut statement = db.conn.prepare_cached(sql)?;
    let name = &table.entity.name;
    let keys = statement.query_map([name], |row| row.get::<_, Vec<u8>>(0))?;
    let keys: HashSet<Vec<u8>> = keys.collect::<Result<_, _>>()?;
    for key in keys {
        if table.known_row(&db.conn, &read_key(&key)?)?.is_none() {
            let sql = "UPDATE afield_uncaptured SET content = NULL \
                       WHERE entity = ?1 AND key = ?2 AND kind = 'other-content'";
            db.conn.prepare_cached(sql)?.execute(params![name, key])?;
            super::vacuum::due(db, table)?;
        }
    }
    Ok(())
}

/// Forgets rows that were repaired before `before`.
pub(super) fn prune(db: &Db, before: i64) -> Result<(), Error> {
    let sql = "DELETE FROM afield_uncaptured WHERE repaired_at < ?1";
    db.conn.prepare_cached(sql)?.execute([before])?;
    Ok(())
}
