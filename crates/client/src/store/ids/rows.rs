//! Renaming one row and the changes that refer to it.
//!
//! A temporary number means one row wherever it stands. Any other identifier may be another row's
//! as well: one that the app made later, or one of the server's. So here the order of the changes
//! says which is meant.

use std::collections::BTreeSet;

use afield_protocol::codec::cbor::{read_attributes, read_key, write_attributes, write_key};
use afield_protocol::{Attributes, Key, zoo};
use rusqlite::params;

use super::super::db::{Db, Loaded};
use super::super::tables::Table;
use crate::error::Error;

/// A row: its entity, and its identifier in canonical CBOR.
pub(super) type Row = (String, Vec<u8>);

/// What a renaming changed.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Rows that were renamed or refer to such: entity, old and new identifier.
    pub(super) rows: BTreeSet<(String, Vec<u8>, Vec<u8>)>,
    /// Groups that say something else now, by their place in the outbox.
    pub(super) groups: BTreeSet<i64>,
}

/// Renames one row from change `n` on, which made it, and what later changes say of it.
pub(super) fn rename(
    db: &Db,
    loaded: &Loaded,
    n: i64,
    row: Row,
    new: Key,
    touched: &mut Touched,
) -> Result<(), Error> {
    let mut left = vec![(n, row, new)];
    // A model may refer in circles.
    let mut done = BTreeSet::new();
    while let Some((n, row, new)) = left.pop() {
        if !done.insert((n, row.clone())) {
            continue;
        }
        let (entity, old) = row;
        // A row that the app made later under the same identifier is another one.
        let sql = "UPDATE afield_change SET key = ?4 WHERE entity = ?1 AND key = ?2 AND n >= ?3 \
                   AND n < coalesce((SELECT min(n) FROM afield_change WHERE entity = ?1 \
                   AND key = ?2 AND n > ?3 AND op = 'create'), 9223372036854775807) \
                   RETURNING group_n";
        let bytes = write_key(&new);
        let values = params![entity, old, n, bytes];
        let mut statement = db.conn.prepare_cached(sql)?;
        let groups = statement.query_map(values, |row| row.get(0))?;
        for group in groups {
            touched.groups.insert(group?);
        }
        db.crash_point("rename-row")?;
        touched.rows.insert((entity.clone(), old.clone(), bytes));
        if zoo::planted("ids-forget-references") {
            continue;
        }
        let old = read_key(&old)?;
        for table in &loaded.tables {
            for reference in &table.entity.references {
                if reference.entity == entity {
                    let names = &reference.attributes;
                    left.extend(redirect(db, table, names, n, &old, &new, touched)?);
                }
            }
        }
    }
    Ok(())
}

/// Lets changes from `n` on that refer to `old` through the attributes `names` refer to `new`.
/// Gives the rows that this renames, each with the change that made it.
fn redirect(
    db: &Db,
    table: &Table,
    names: &[String],
    n: i64,
    old: &Key,
    new: &Key,
    touched: &mut Touched,
) -> Result<Vec<(i64, Row, Key)>, Error> {
    let sql = "SELECT n, key, base, sets, op = 'create' FROM afield_change \
               WHERE entity = ?1 AND n >= ?2 ORDER BY n";
    let name = &table.entity.name;
    let (mut renamed, mut redirected) = (Vec::new(), BTreeSet::new());
    let place = |name: &String| table.entity.key().iter().position(|key| key.name == *name);
    for mut stored in Stored::read(db, sql, params![name, n])? {
        let key = read_key(&stored.key)?;
        let (mut base, mut sets) = (
            read_attributes(&stored.base)?,
            read_attributes(&stored.sets)?,
        );
        let refers = |sets: &Attributes| {
            let value = |name| match place(name) {
                Some(at) => key.get(at),
                None => sets.get(name).or_else(|| base.get(name)),
            };
            let mut pairs = names.iter().zip(old);
            pairs.all(|(name, old)| value(name) == Some(old))
        };
        let (saw, says) = (refers(&Attributes::new()), refers(&sets));
        // A row of the server's that is called so refers to something else.
        if says && stored.is_create && names.iter().any(|name| place(name).is_some()) {
            let mut new_key = key.clone();
            for (name, new) in names.iter().zip(new) {
                if let Some(cell) = place(name).and_then(|at| new_key.get_mut(at)) {
                    *cell = new.clone();
                }
            }
            renamed.push((stored.n, (name.clone(), stored.key.clone()), new_key));
        }
        // In what the user saw, only his own earlier reference is meant.
        let mut any = says && put(&mut sets, names, new);
        any |= saw && redirected.contains(&stored.key) && put(&mut base, names, new);
        if any {
            redirected.insert(stored.key.clone());
            let name = name.clone();
            touched
                .rows
                .insert((name, stored.key.clone(), stored.key.clone()));
            stored.base = write_attributes(&base);
            stored.sets = write_attributes(&sets);
            stored.write(db, touched)?;
            db.crash_point("rename-reference")?;
        }
    }
    Ok(renamed)
}

/// Overwrites those of the attributes `names` that are there; says whether any is.
fn put(attributes: &mut Attributes, names: &[String], values: &Key) -> bool {
    let mut any = false;
    for (name, value) in names.iter().zip(values) {
        if let Some(cell) = attributes.get_mut(name) {
            *cell = value.clone();
            any = true;
        }
    }
    any
}

/// A change as it is stored, as far as names stand in it.
pub(super) struct Stored {
    pub(super) n: i64,
    pub(super) key: Vec<u8>,
    pub(super) base: Vec<u8>,
    pub(super) sets: Vec<u8>,
    is_create: bool,
}

impl Stored {
    pub(super) fn read(
        db: &Db,
        sql: &str,
        params: impl rusqlite::Params,
    ) -> Result<Vec<Self>, Error> {
        let mut statement = db.conn.prepare_cached(sql)?;
        let rows = statement.query_map(params, |row| {
            Ok(Self {
                n: row.get(0)?,
                key: row.get(1)?,
                base: row.get(2)?,
                sets: row.get(3)?,
                is_create: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub(super) fn write(&self, db: &Db, touched: &mut Touched) -> Result<(), Error> {
        let sql = "UPDATE afield_change SET key = ?2, base = ?3, sets = ?4 WHERE n = ?1 \
                   RETURNING group_n";
        let values = params![self.n, self.key, self.base, self.sets];
        let mut statement = db.conn.prepare_cached(sql)?;
        let group = statement.query_row(values, |row| row.get(0))?;
        touched.groups.insert(group);
        Ok(())
    }
}
