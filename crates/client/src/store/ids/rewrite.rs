//! Renaming rows when an outcome brings another identifier than the device gave.
//!
//! Visible rows are never renamed in place: their changes are, and the copies of the server's
//! rows beside them, and then the rows are computed again under both names. So a row that a pull
//! brought under its real identifier before the outcome came is one with the user's own.
//!
//! What was frozen stays as it was sent; outcomes keep the names under which they came.

use std::collections::{BTreeMap, BTreeSet};

use afield_protocol::codec::cbor::{read_attributes, read_key, write_attributes, write_key};
use afield_protocol::{Attributes, Code, Key, Op, Value, is_temporary, zoo};
use rusqlite::{OptionalExtension, params};

use super::super::db::{Db, Loaded};
use super::super::sql::quoted;
use super::super::tables::Table;
use super::super::{again, overlay, page};
use super::rows::{Row, Stored, Touched, rename};
use crate::error::Error;

/// The other identifiers that some outcomes brought.
#[derive(Debug, Default)]
pub(in crate::store) struct Renames {
    /// For each entity: what its temporary identifiers became.
    numbers: BTreeMap<String, BTreeMap<i64, i64>>,
    /// Rows with another identifier, and the change that made each.
    rows: Vec<(i64, Row, Key)>,
    /// Whether the server's numbers become temporary again.
    is_back: bool,
}

impl Renames {
    /// Of numbers that rows have no more, because the server lost them.
    pub(in crate::store) fn back() -> Self {
        Self {
            is_back: true,
            ..Self::default()
        }
    }

    /// Notes that a change was lost. If it created a row that the server numbered, that is called
    /// as the device called it before.
    pub(in crate::store) fn add_lost(
        &mut self,
        db: &Db,
        loaded: &Loaded,
        entity: &str,
        key: &[u8],
        op: Op,
    ) -> Result<(), Error> {
        let is_numbered = loaded.table(entity).is_ok_and(Table::numbers_itself);
        if op != Op::Create || !is_numbered {
            return Ok(());
        }
        let sql = "SELECT min(temporary) FROM afield_ids WHERE entity = ?1 AND real = ?2";
        for value in read_key(key)? {
            let Value::Integer(real) = value else {
                continue;
            };
            let temporary: Option<i64> = (db.conn.prepare_cached(sql)?)
                .query_row(params![entity, real], |row| row.get(0))?;
            if let Some(temporary) = temporary {
                let numbers = self.numbers.entry(entity.to_owned()).or_default();
                numbers.insert(real, temporary);
            }
        }
        Ok(())
    }

    /// Notes that the outcome of change `n`, of the row `key`, brought `new`.
    pub(in crate::store) fn add(
        &mut self,
        loaded: &Loaded,
        n: i64,
        entity: &str,
        key: &[u8],
        new: &Key,
    ) -> Result<(), Error> {
        // The entity may have left the model since.
        let Ok(table) = loaded.table(entity) else {
            return Ok(());
        };
        check(table, new)?;
        let mut old = read_key(key)?;
        // A temporary identifier that was used for a second row, after the first was deleted, is
        // the first one's: the second is renamed alone.
        self.replace(table, &mut old);
        for ((old, new), numbered) in old.iter().zip(new).zip(&table.numbered) {
            let (Value::Integer(temporary), Value::Integer(real)) = (old, new) else {
                continue;
            };
            if let Some(numbered) = numbered
                && is_temporary(old)
                && temporary != real
            {
                let numbers = self.numbers.entry(numbered.clone()).or_default();
                numbers.insert(*temporary, *real);
            }
        }
        self.replace(table, &mut old);
        if old != *new {
            let row = (entity.to_owned(), write_key(&old));
            self.rows.push((n, row, new.clone()));
        }
        Ok(())
    }

    /// Whether nothing is noted.
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.numbers.is_empty() && self.rows.is_empty()
    }

    /// What the row `key` is called by what is noted so far, if it has another name.
    pub(in crate::store) fn name(
        &self,
        loaded: &Loaded,
        entity: &str,
        key: &[u8],
    ) -> Result<Option<Key>, Error> {
        let Ok(table) = loaded.table(entity) else {
            return Ok(None);
        };
        let mut values = read_key(key)?;
        Ok(self.replace(table, &mut values).then_some(values))
    }

    /// Renames rows, references to them and everything that is kept of them.
    pub(in crate::store) fn apply(self, db: &mut Db, loaded: &Loaded) -> Result<(), Error> {
        let mut touched = Touched::default();
        match self.is_back {
            false => self.remember(db)?,
            true => self.forget(db)?,
        }
        for table in &loaded.tables {
            if self.concerns(table) {
                if table.entity.is_synced() {
                    self.renumber(db, table, &mut touched)?;
                } else {
                    self.renumber_local(db, table)?;
                }
            }
        }
        for (n, row, new) in self.rows {
            rename(db, loaded, n, row, new, &mut touched)?;
        }
        for group in &touched.groups {
            other_group(db, *group, self.is_back)?;
        }
        show(db, loaded, &touched)
    }

    /// Keeps what each temporary identifier became.
    fn remember(&self, db: &Db) -> Result<(), Error> {
        let sql = "INSERT INTO afield_ids (entity, temporary, real) VALUES (?1, ?2, ?3) \
                   ON CONFLICT (entity, temporary) DO UPDATE SET real = excluded.real";
        let mut statement = db.conn.prepare_cached(sql)?;
        for (entity, numbers) in &self.numbers {
            for (temporary, real) in numbers {
                statement.execute(params![entity, temporary, real])?;
                db.crash_point("rename-remembered")?;
            }
        }
        Ok(())
    }

    /// Temporary identifiers whose row is lost mean that row on this device again.
    fn forget(&self, db: &Db) -> Result<(), Error> {
        let sql = "DELETE FROM afield_ids WHERE entity = ?1 AND real = ?2";
        let mut statement = db.conn.prepare_cached(sql)?;
        for (entity, numbers) in &self.numbers {
            for real in numbers.keys() {
                statement.execute(params![entity, real])?;
                db.crash_point("rename-forgotten")?;
            }
        }
        Ok(())
    }

    /// Whether a column of `table` may hold one of the numbers.
    fn concerns(&self, table: &Table) -> bool {
        let forgets = zoo::planted("ids-forget-references");
        let mut numbered = table.numbered.iter().flatten();
        numbered.any(|entity| {
            self.numbers.contains_key(entity) && !(forgets && *entity != table.entity.name)
        })
    }

    fn number(&self, numbered: Option<&String>, value: &Value) -> Option<Value> {
        let Value::Integer(temporary) = value else {
            return None;
        };
        let real = self.numbers.get(numbered?)?.get(temporary)?;
        Some(Value::Integer(*real))
    }

    /// Puts numbers in place in the first columns of a row; says whether there was any.
    fn replace(&self, table: &Table, values: &mut [Value]) -> bool {
        let mut any = false;
        for (value, numbered) in values.iter_mut().zip(&table.numbered) {
            if let Some(real) = self.number(numbered.as_ref(), value) {
                *value = real;
                any = true;
            }
        }
        any
    }

    fn replace_attributes(&self, table: &Table, values: &mut Attributes) -> bool {
        let mut any = false;
        for (attribute, numbered) in table.entity.attributes.iter().zip(&table.numbered) {
            if let Some(value) = values.get_mut(&attribute.name)
                && let Some(real) = self.number(numbered.as_ref(), value)
            {
                *value = real;
                any = true;
            }
        }
        any
    }

    /// Puts numbers in place in the changes of an entity.
    fn renumber(&self, db: &Db, table: &Table, touched: &mut Touched) -> Result<(), Error> {
        let name = &table.entity.name;
        let mut found = Vec::new();
        for mut stored in self.candidates(db, table)? {
            let (mut key, mut base) = (read_key(&stored.key)?, read_attributes(&stored.base)?);
            let mut sets = read_attributes(&stored.sets)?;
            let any = self.replace(table, &mut key);
            let any = self.replace_attributes(table, &mut base) || any;
            if self.replace_attributes(table, &mut sets) || any {
                let key = write_key(&key);
                let renamed = (name.clone(), stored.key, key.clone());
                touched.rows.insert(renamed);
                stored.key = key;
                stored.base = write_attributes(&base);
                stored.sets = write_attributes(&sets);
                found.push(stored);
            }
        }
        for stored in found {
            stored.write(db, touched)?;
            db.crash_point("rename-change")?;
        }
        Ok(())
    }

    /// Changes that may hold one of the numbers. Where only the identifier can, the index finds
    /// them; elsewhere they are looked through for the byte that begins every number so great.
    fn candidates(&self, db: &Db, table: &Table) -> Result<Vec<Stored>, Error> {
        let name = &table.entity.name;
        let references = table.numbered.iter().skip(table.entity.key_width);
        let is_own_key = table.numbers_itself() && references.flatten().next().is_none();
        if self.is_back {
            // The server's numbers have no mark that sets them apart.
            let sql = "SELECT n, key, base, sets, op = 'create' FROM afield_change \
                       WHERE entity = ?1";
            return Stored::read(db, sql, params![name]);
        }
        if !is_own_key {
            let sql = "SELECT n, key, base, sets, op = 'create' FROM afield_change \
                       WHERE entity = ?1 AND (instr(key, x'1b') \
                       OR instr(base, x'1b') OR instr(sets, x'1b'))";
            return Stored::read(db, sql, params![name]);
        }
        let sql = "SELECT n, key, base, sets, op = 'create' FROM afield_change \
                   WHERE entity = ?1 AND key = ?2";
        let mut found = Vec::new();
        for temporary in self.numbers.get(name).into_iter().flat_map(BTreeMap::keys) {
            let key = write_key(&[Value::Integer(*temporary)]);
            found.extend(Stored::read(db, sql, params![name, key])?);
        }
        Ok(found)
    }

    /// Rows of local-only entities have no changes to be computed from.
    fn renumber_local(&self, db: &Db, table: &Table) -> Result<(), Error> {
        for (attribute, numbered) in table.entity.attributes.iter().zip(&table.numbered) {
            let numbers = numbered.as_ref().and_then(|name| self.numbers.get(name));
            for (temporary, real) in numbers.into_iter().flatten() {
                // If the app has a row of its own under the real number, both stay.
                let sql = format!(
                    "UPDATE OR IGNORE {} SET {column} = ?2 WHERE {column} = ?1",
                    table.name,
                    column = quoted(&attribute.name)
                );
                let renamed = db.conn.prepare_cached(&sql)?.execute([temporary, real])?;
                if renamed > 0 {
                    page::touch(db, &table.entity.name)?;
                }
            }
        }
        db.crash_point("rename-local")
    }
}

fn check(table: &Table, key: &Key) -> Result<(), Error> {
    let columns = table.entity.key();
    let mut pairs = columns.iter().zip(key);
    let fits = pairs.all(|(column, value)| !value.is_null() && column.kind.accepts(value.as_ref()));
    if fits && columns.len() == key.len() {
        return Ok(());
    }
    let message = format!(
        "an outcome brings something else than an identifier of `{}`",
        table.entity.name
    );
    Err(Error::new(Code::MALFORMED, message))
}

/// A group that was not sent and says something else now is another one, in place of the former: a
/// copy of the device may have sent that under its id, as it was. One that is on its way speaks of
/// rows by numbers that mean nothing any more, or another row: it goes again likewise.
fn other_group(db: &mut Db, group: i64, is_back: bool) -> Result<(), Error> {
    let sql = "SELECT 1 FROM afield_group WHERE n = ?1 AND state = 'sent'";
    if is_back && db.conn.prepare_cached(sql)?.exists([group])? {
        return again::requeue(db, group).map(|_| ());
    }
    let sql = "SELECT id, absorbed FROM afield_group \
               WHERE n = ?1 AND state = 'pending' AND frozen IS NULL";
    let unsent: Option<([u8; 16], Vec<u8>)> = db
        .conn
        .prepare_cached(sql)?
        .query_row([group], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((old, mut absorbed)) = unsent else {
        return Ok(());
    };
    absorbed.extend_from_slice(&old);
    let id = db.random_id();
    let sql = "UPDATE afield_group SET id = ?2, absorbed = ?3 WHERE n = ?1";
    db.conn
        .prepare_cached(sql)?
        .execute(params![group, id, absorbed])?;
    db.crash_point("rename-group")
}

/// Computes the rows again, under their old names and their new ones.
fn show(db: &Db, loaded: &Loaded, touched: &Touched) -> Result<(), Error> {
    let mut entities = BTreeSet::new();
    for (entity, old, new) in &touched.rows {
        let table = loaded.table(entity)?;
        if old != new {
            let key = read_key(new)?;
            // A row without a copy of the server's is the server's: a pull was faster.
            if table.server_row(&db.conn, &key)?.is_none() {
                let row = table.row(&db.conn, &key)?;
                table.put_server_row(&db.conn, &key, row.as_deref())?;
            }
            overlay::release(db, loaded, entity, old)?;
        }
        overlay::release(db, loaded, entity, new)?;
        entities.insert(entity);
        db.crash_point("rename-shown")?;
    }
    entities
        .into_iter()
        .try_for_each(|entity| page::touch(db, entity))
}
