//! Comparing: the server's rows as this device knows them, held against the server's digests.
//!
//! ```text
//! a row without changes          what is seen
//! a row below unsettled changes  afield_server_<entity>
//! a row that was just written    afield_before_<entity>, until it is sealed
//! ```
//!
//! All of it is read in one snapshot of the file, without its write lock: the user goes on
//! writing. The positions are read in the same snapshot. If they are not those that the page
//! brought, the answer speaks of another state, and nothing is compared.

use std::collections::HashMap;

use afield_protocol::codec::cbor::write_key;
use afield_protocol::digest::{RowHash, RowHasher, Sum};
use afield_protocol::{
    Digest, Entity, Frame, HashedRow, Hashes, Key, PageEnd, ValueRef, Window, zoo,
};
use rusqlite::Row;
use rusqlite::types::ValueRef as SqlRef;

use super::db::{Db, Loaded};
use super::page::standing;
use super::sql::value;
use super::sync_store::SyncStore;
use super::tables::Table;
use crate::error::Error;

/// What a comparison found of one entity.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The local entity.
    pub entity: String,
    /// How many bits name a bucket.
    pub depth: u8,
    /// What it was.
    pub what: FoundWhat,
}

/// What a comparison found.
#[derive(Clone, Debug, PartialEq)]
pub enum FoundWhat {
    /// The server does not count so many rows.
    NotCounted,
    /// Buckets whose rows differ, each with how many rows the side has that has more of them, and
    /// how many rows that side has in all buckets. No bucket: both sides are equal.
    Buckets {
        /// Number and rows of each.
        differing: Vec<(u32, u64)>,
        /// Rows of all buckets.
        rows: u64,
    },
    /// Rows that differ.
    Rows(Vec<DifferentRow>),
}

/// How a row differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// The device lacks it.
    Missing,
    /// The device has it otherwise.
    Changed,
    /// Only the device has it.
    Extra,
}

/// A row that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct DifferentRow {
    /// Its identifier.
    pub key: Key,
    /// How.
    pub difference: Difference,
    /// A value of its scope that brings it, as the number that the server made of it.
    pub value: Option<i64>,
}

impl SyncStore {
    /// Holds the answers of a page that was complete, and was applied, against the server's rows
    /// as this device has them. `None` if its positions are others by now: nothing can be said.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn compare(
        &mut self,
        end: &PageEnd,
        windows: &[Window],
        asked: &[(String, Vec<u32>)],
        answers: &[Frame],
    ) -> Result<Option<Vec<Found>>, Error> {
        self.db.reload()?;
        let loaded = self.db.loaded()?;
        self.db.conn.execute_batch("BEGIN")?;
        let found = compared(&self.db, &loaded, end, windows, asked, answers);
        // Nothing was written.
        self.db.conn.execute_batch("COMMIT")?;
        found
    }
}

fn compared(
    db: &Db,
    loaded: &Loaded,
    end: &PageEnd,
    windows: &[Window],
    asked: &[(String, Vec<u32>)],
    answers: &[Frame],
) -> Result<Option<Vec<Found>>, Error> {
    let mut found = Vec::new();
    for (entity, position) in &end.to {
        // Another process may have installed another model, or pulled further.
        if loaded.table(entity).is_err() || standing(db, entity)?.newest() != Some(position) {
            return Ok(None);
        }
    }
    for answer in answers {
        let (Frame::Digest(Digest { entity, .. }) | Frame::Hashes(Hashes { entity, .. })) = answer
        else {
            continue;
        };
        let own = Own {
            db,
            table: loaded.table(entity)?,
            window: windows.iter().find(|window| window.entity == *entity),
        };
        found.push(match answer {
            Frame::Hashes(hashes) => {
                let buckets = asked.iter().find(|(name, _)| name == entity);
                own.rows(hashes, buckets.map_or(&[], |(_, buckets)| buckets))?
            }
            Frame::Digest(digest) => own.sums(digest)?,
            _ => continue,
        });
    }
    Ok(Some(found))
}

/// Takes a row's cells and the numbers that brought it.
type TakeRow<'f> = dyn FnMut(&[ValueRef<'_>], &[Option<i64>]) -> Result<(), Error> + 'f;

/// The server's rows of an entity, as this device has them.
struct Own<'a> {
    db: &'a Db,
    table: &'a Table,
    window: Option<&'a Window>,
}

impl Own<'_> {
    fn sums(&self, digest: &Digest) -> Result<Found, Error> {
        let buckets = 1 << digest.depth;
        let what = if digest.sums.len() == buckets {
            let mut own = vec![Sum::default(); buckets];
            let entity = &self.table.entity;
            let mut hasher = RowHasher::new(entity);
            self.each(&mut |cells, brought| {
                let key = cells.iter().take(entity.key_width).copied();
                let bucket = hasher.bucket(key, digest.depth);
                if let Some(sum) = own.get_mut(bucket) {
                    sum.add(&hasher.row(cells.iter().copied(), brought));
                }
                Ok(())
            })?;
            differing(&own, &digest.sums)
        } else {
            FoundWhat::NotCounted
        };
        Ok(Found {
            entity: digest.entity.clone(),
            depth: digest.depth,
            what,
        })
    }

    fn rows(&self, hashes: &Hashes, buckets: &[u32]) -> Result<Found, Error> {
        let entity = &self.table.entity;
        let mut hasher = RowHasher::new(entity);
        let server: HashMap<Vec<u8>, &HashedRow> = (hashes.rows.iter())
            .map(|row| (write_key(&row.key), row))
            .collect();
        let mut own: HashMap<Vec<u8>, RowHash> = HashMap::new();
        let mut different = Vec::new();
        self.each(&mut |cells, brought| {
            let key = || cells.iter().take(entity.key_width).copied();
            let bucket = u32::try_from(hasher.bucket(key(), hashes.depth));
            if !bucket.is_ok_and(|bucket| buckets.contains(&bucket)) {
                return Ok(());
            }
            let key: Key = key().map(ValueRef::to_value).collect();
            let bytes = write_key(&key);
            let hash = hasher.row(cells.iter().copied(), brought);
            let difference = match server.get(&bytes) {
                Some(row) if row.hash == hash => None,
                Some(_) => Some(Difference::Changed),
                // A list that is cut says nothing of what is not in it.
                None => hashes.complete.then_some(Difference::Extra),
            };
            let value = match server.get(&bytes) {
                Some(row) => row.value,
                None => brought.iter().copied().flatten().next(),
            };
            own.insert(bytes, hash);
            different.extend(difference.map(|difference| DifferentRow {
                key,
                difference,
                value,
            }));
            Ok(())
        })?;
        for (bytes, row) in &server {
            if !own.contains_key(bytes) {
                different.push(DifferentRow {
                    key: row.key.clone(),
                    difference: Difference::Missing,
                    value: row.value,
                });
            }
        }
        different.sort_by_key(|row| write_key(&row.key));
        Ok(Found {
            entity: hashes.entity.clone(),
            depth: hashes.depth,
            what: FoundWhat::Rows(different),
        })
    }

    /// Calls `take` with each row that the server should have sent, and the numbers that brought
    /// it.
    fn each(&self, take: &mut TakeRow<'_>) -> Result<(), Error> {
        let bound = self.window.and_then(|window| {
            let mut attributes = self.table.entity.attributes.iter();
            let at = attributes.position(|attribute| attribute.name == window.attribute)?;
            Some((at, window))
        });
        for sql in statements(self.table) {
            let mut statement = self.db.conn.prepare_cached(&sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let cells = cells(row, &self.table.entity)?;
                // Rows that do not stay are here only below changes that are not settled.
                let stays = |(at, window): (usize, &Window)| window.keeps(cells[at]);
                if bound.is_none_or(stays) {
                    take(&cells, &brought(row, self.table)?)?;
                }
            }
        }
        Ok(())
    }
}

/// The statements that read the server's rows: those that nobody changed, those below changes, and
/// those that were changed a moment ago.
fn statements(table: &Table) -> [String; 3] {
    let Table {
        name,
        server,
        before,
        scope,
        ..
    } = table;
    let columns = table.prefixed("t", &table.entity.attributes);
    let (numbers, joined) = match table.scope_columns.as_slice() {
        [] => (String::new(), String::new()),
        columns => {
            let columns: String = columns.iter().map(|it| format!(", w.{it}")).collect();
            let same = table.same_key("w", "t");
            (columns, format!(" LEFT JOIN {scope} AS w ON {same}"))
        }
    };
    let is_in = |other: &str| {
        let same = table.same_key("o", "t");
        format!("EXISTS (SELECT 1 FROM {other} AS o WHERE {same})")
    };
    let select = |from: &str, condition: String| {
        format!("SELECT {columns}{numbers} FROM {from} AS t{joined} WHERE {condition}")
    };
    let untouched = match zoo::planted("verify-forgets-overlays") {
        true => "TRUE".to_owned(),
        false => format!("NOT {} AND NOT {}", is_in(server), is_in(before)),
    };
    [
        select(name, untouched),
        select(server, "t.existed = 1".to_owned()),
        select(before, format!("t.existed = 1 AND NOT {}", is_in(server))),
    ]
}

fn cells<'r>(row: &'r Row<'_>, entity: &Entity) -> rusqlite::Result<Vec<ValueRef<'r>>> {
    let cell = |at| {
        Ok(match row.get_ref(at)? {
            SqlRef::Null => ValueRef::Null,
            SqlRef::Integer(n) => ValueRef::Integer(n),
            SqlRef::Real(x) => ValueRef::Real(x),
            SqlRef::Text(text) => match std::str::from_utf8(text) {
                Ok(text) => ValueRef::Text(text),
                Err(_) => ValueRef::Bytes(text),
            },
            SqlRef::Blob(bytes) => ValueRef::Bytes(bytes),
        })
    };
    (0..entity.attributes.len()).map(cell).collect()
}

fn brought(row: &Row<'_>, table: &Table) -> rusqlite::Result<Vec<Option<i64>>> {
    let first = table.width();
    let numbers = first..first + table.scope_columns.len();
    numbers
        .map(|at| {
            Ok(match value(row.get_ref(at)?) {
                afield_protocol::Value::Integer(number) => Some(number),
                _ => None,
            })
        })
        .collect()
}

/// Holds the sums of both sides against each other.
fn differing(own: &[Sum], server: &[Sum]) -> FoundWhat {
    let pairs = || own.iter().zip(server);
    let differing = (0..)
        .zip(pairs())
        .filter(|(_, (own, server))| own != server);
    let more = |(own, server): (&Sum, &Sum)| own.rows.max(server.rows);
    FoundWhat::Buckets {
        differing: differing.map(|(at, pair)| (at, more(pair))).collect(),
        rows: pairs().map(more).fold(0, u64::saturating_add),
    }
}
