//! Entity actions: what every local entity can do, checked against the model before SQLite is
//! asked, so that errors name the attribute.

use afield_protocol::{Attributes, Code, Entity, Identifier, Key, Type, Value, is_temporary};

use rusqlite::Connection;

use super::db::Db;
use super::sql::{bound, quoted, values};
use super::tables::Table;
use super::{Store, Transaction, ids};
use crate::error::Error;

/// More rows than this are deleted by `delete_all` only when confirmed, since it deletes on the
/// server too.
const DELETE_ALL_UNCONFIRMED: i64 = 100;

impl Store {
    /// The row of an identifier.
    ///
    /// # Errors
    /// There is no such entity, or the identifier has another shape.
    pub fn get(&mut self, entity: &str, key: &[Value]) -> Result<Option<Attributes>, Error> {
        if let Some(row) = self.get_at_once(entity, key) {
            return Ok(Some(row));
        }
        self.db.reload()?;
        let loaded = self.db.loaded()?;
        let table = loaded.table(entity)?;
        let mut key = current_key(&self.db.conn, table, key)?;
        let mut row = table.row(&self.db.conn, &key)?;
        // A sync may have renamed it between the two looks.
        if row.is_none() && ids::translate(&self.db.conn, table, &mut key)? {
            row = table.row(&self.db.conn, &key)?;
        }
        Ok(row.map(|row| whole(&table.entity, row)))
    }

    /// The row, if it is there under this very identifier and the model is still the one that is
    /// loaded, which the same look tells. Anything else, errors too, is for a closer look.
    fn get_at_once(&self, entity: &str, key: &[Value]) -> Option<Attributes> {
        let loaded = self.db.loaded.as_ref()?;
        let table = loaded.table(entity).ok()?;
        let key = checked_key(&table.entity, key).ok()?;
        if key.iter().any(is_temporary) {
            return None;
        }
        let mut statement = self.db.conn.prepare_cached(&table.sql.row_of_model).ok()?;
        let mut rows = statement.query(bound(&key)).ok()?;
        let row = rows.next().ok()??;
        if row.get_ref(0).ok()?.as_str().ok()? != loaded.fingerprint {
            return None;
        }
        let row = values(row, 1, table.width()).ok()?;
        Some(whole(&table.entity, row))
    }

    /// Creates a row in a transaction of its own; see [`Transaction::create`].
    ///
    /// # Errors
    /// Those of [`Transaction::create`].
    pub fn create(&mut self, entity: &str, row: &Attributes) -> Result<Key, Error> {
        self.transaction(|tx| tx.create(entity, row))
    }

    /// Updates a row in a transaction of its own; see [`Transaction::update`].
    ///
    /// # Errors
    /// Those of [`Transaction::update`].
    pub fn update(&mut self, entity: &str, key: &[Value], set: &Attributes) -> Result<(), Error> {
        self.transaction(|tx| tx.update(entity, key, set))
    }

    /// Deletes a row in a transaction of its own; see [`Transaction::delete`].
    ///
    /// # Errors
    /// Those of [`Transaction::delete`].
    pub fn delete(&mut self, entity: &str, key: &[Value]) -> Result<(), Error> {
        self.transaction(|tx| tx.delete(entity, key))
    }

    /// Creates or updates a row in a transaction of its own; see
    /// [`Transaction::create_or_update`].
    ///
    /// # Errors
    /// Those of [`Transaction::create_or_update`].
    pub fn create_or_update(&mut self, entity: &str, row: &Attributes) -> Result<Key, Error> {
        self.transaction(|tx| tx.create_or_update(entity, row))
    }

    /// Creates or updates rows in one transaction: all of them, or none.
    ///
    /// # Errors
    /// Those of [`Transaction::create_or_update`]; the message names the row.
    pub fn create_or_update_all(
        &mut self,
        entity: &str,
        rows: &[Attributes],
    ) -> Result<Vec<Key>, Error> {
        self.transaction(|tx| {
            rows.iter()
                .map(|row| tx.create_or_update(entity, row))
                .collect()
        })
    }

    /// Deletes every row, in a transaction of its own; see [`Transaction::delete_all`].
    ///
    /// # Errors
    /// Those of [`Transaction::delete_all`].
    pub fn delete_all(&mut self, entity: &str, confirmed: bool) -> Result<u64, Error> {
        self.transaction(|tx| tx.delete_all(entity, confirmed))
    }
}

impl Transaction<'_> {
    /// Creates a row and returns its identifier. A UUID that is left out is made here; in place
    /// of a number that the server makes stands a temporary one, until the outcome brings it.
    ///
    /// # Errors
    /// The identifier exists, a value has another type, or the entity is read-only.
    pub fn create(&mut self, entity: &str, row: &Attributes) -> Result<Key, Error> {
        let loaded = self.loaded()?;
        let table = loaded.table(entity)?;
        let (key, set) = self.split(table, row)?;
        let Some(key) = key else {
            return self.insert(table, &[], &set);
        };
        if table.row(&self.db.conn, &key)?.is_some() {
            let message = format!("{entity} {} exists already", display_key(&key));
            return Err(Error::new(Code::KEY_EXISTS, message));
        }
        self.insert(table, &key, &set)
    }

    /// Sets attributes of a row; those not mentioned stay.
    ///
    /// # Errors
    /// There is no such row, a value has another type, or an attribute is read-only.
    pub fn update(&mut self, entity: &str, key: &[Value], set: &Attributes) -> Result<(), Error> {
        let loaded = self.loaded()?;
        let table = loaded.table(entity)?;
        let key = self.named_key(table, key)?;
        let set = current(&self.db.conn, table, set)?;
        for (attribute, given) in table.entity.key().iter().zip(&key) {
            if set.get(&attribute.name).is_some_and(|value| value != given) {
                let message = format!("{entity}.{} is the identifier", attribute.name);
                return Err(Error::new(Code::IDENTIFIER_CHANGED, message));
            }
        }
        let is_key = |name: &String| table.entity.key().iter().any(|a| a.name == *name);
        let set: Vec<_> = set.into_iter().filter(|(name, _)| !is_key(name)).collect();
        if set.is_empty() {
            return self.written(table, &key, |db| {
                Ok(usize::from(table.row(&db.conn, &key)?.is_some()))
            });
        }
        let sets = set.iter().enumerate();
        let sets: Vec<_> = sets
            .map(|(at, (name, _))| format!("{} = ?{}", quoted(name), at + 1))
            .collect();
        let keys = table.entity.key().iter().enumerate();
        let keys = keys.map(|(at, a)| format!("{} = ?{}", quoted(&a.name), at + 1 + set.len()));
        let sql = format!(
            "UPDATE {} SET {} WHERE {}",
            table.name,
            sets.join(", "),
            keys.collect::<Vec<_>>().join(" AND ")
        );
        self.written(table, &key, |db| {
            let params = bound(set.iter().map(|(_, value)| value).chain(&key));
            Ok(db.conn.prepare_cached(&sql)?.execute(params)?)
        })
    }

    /// Creates the row, or sets the attributes mentioned if it exists.
    ///
    /// # Errors
    /// Those of [`Transaction::create`] and [`Transaction::update`].
    pub fn create_or_update(&mut self, entity: &str, row: &Attributes) -> Result<Key, Error> {
        let loaded = self.loaded()?;
        let table = loaded.table(entity)?;
        let (key, set) = self.split(table, row)?;
        let Some(key) = key else {
            return self.insert(table, &[], &set);
        };
        match table.row(&self.db.conn, &key)? {
            Some(_) => self.update(entity, &key, &set).map(|()| key),
            None => self.insert(table, &key, &set),
        }
    }

    /// Deletes a row.
    ///
    /// # Errors
    /// There is no such row, or the entity is read-only.
    pub fn delete(&mut self, entity: &str, key: &[Value]) -> Result<(), Error> {
        let loaded = self.loaded()?;
        let table = loaded.table(entity)?;
        let key = self.named_key(table, key)?;
        self.written(table, &key, |db| {
            let mut statement = db.conn.prepare_cached(&table.sql.delete)?;
            Ok(statement.execute(bound(&key))?)
        })
    }

    /// Deletes every row of the entity, on the server too; returns how many.
    ///
    /// # Errors
    /// More than 100 rows and not confirmed.
    pub fn delete_all(&mut self, entity: &str, confirmed: bool) -> Result<u64, Error> {
        let loaded = self.loaded()?;
        let table = loaded.table(entity)?;
        let sql = format!("SELECT count(*) FROM {}", table.name);
        let rows: i64 = self.db.conn.query_row(&sql, [], |row| row.get(0))?;
        if rows > DELETE_ALL_UNCONFIRMED && !confirmed && table.entity.is_written() {
            let message = format!("delete_all would delete {rows} rows of {entity} on the server");
            return Err(Error::new(Code::DELETE_ALL_UNCONFIRMED, message));
        }
        self.db
            .conn
            .execute(&format!("DELETE FROM {}", table.name), [])?;
        Ok(rows.unsigned_abs())
    }

    /// The row of an identifier, as this transaction sees it.
    ///
    /// # Errors
    /// There is no such entity, or the identifier has another shape.
    pub fn get(&self, entity: &str, key: &[Value]) -> Result<Option<Attributes>, Error> {
        let loaded = self.loaded()?;
        let table = loaded.table(entity)?;
        let key = self.named_key(table, key)?;
        Ok(table
            .row(&self.db.conn, &key)?
            .map(|row| whole(&table.entity, row)))
    }

    fn loaded(&self) -> Result<std::sync::Arc<super::Loaded>, Error> {
        match &self.loaded {
            Some(loaded) => Ok(loaded.clone()),
            None => self.db.loaded(),
        }
    }

    /// The row's identifier as it is today. If SQL wrote the row earlier in this transaction under
    /// the old one, it is renamed now instead of when the transaction is sealed.
    fn named_key(&self, table: &Table, key: &[Value]) -> Result<Key, Error> {
        let given = checked_key(&table.entity, key)?;
        let key = current_key(&self.db.conn, table, &given)?;
        if key != given && table.row(&self.db.conn, &given)?.is_some() {
            ids::captured::rename(self.db, &*self.loaded()?)?;
        }
        Ok(key)
    }

    /// Writes a row that is to be there. If it is not, SQL may have written it under its old
    /// identifier earlier in this transaction.
    fn written(
        &self,
        table: &Table,
        key: &[Value],
        write: impl Fn(&Db) -> Result<usize, Error>,
    ) -> Result<(), Error> {
        if write(self.db)? > 0 {
            return Ok(());
        }
        ids::captured::rename(self.db, &*self.loaded()?)?;
        match write(self.db)? {
            0 => Err(not_found(&table.entity.name, key)),
            _ => Ok(()),
        }
    }

    /// Inserts a row and gives its identifier, which SQLite makes where `key` is empty.
    fn insert(&mut self, table: &Table, key: &[Value], set: &Attributes) -> Result<Key, Error> {
        let given = table.entity.key().iter().take(key.len()).map(|a| &a.name);
        let names: Vec<_> = given.chain(set.keys()).map(|name| quoted(name)).collect();
        let marks = (1..=names.len())
            .map(|n| format!("?{n}"))
            .collect::<Vec<_>>()
            .join(", ");
        let values = match names.is_empty() {
            true => "DEFAULT VALUES".to_owned(),
            false => format!("({}) VALUES ({marks})", names.join(", ")),
        };
        let key = if key.is_empty() {
            let sql = format!(
                "INSERT INTO {} {values} RETURNING {}",
                table.name, table.key_columns
            );
            let mut statement = self.db.conn.prepare_cached(&sql)?;
            let made = statement.query_map(bound(set.values()), |row| row.get(0))?;
            made.map(|id| Ok(Value::Integer(id?)))
                .collect::<Result<Key, Error>>()?
        } else {
            let sql = format!("INSERT INTO {} {values}", table.name);
            let mut statement = self.db.conn.prepare_cached(&sql)?;
            statement.execute(bound(key.iter().chain(set.values())))?;
            key.to_vec()
        };
        if key.is_empty() {
            let message = format!("a trigger of the app's skipped the row of {}", table.name);
            return Err(Error::new(Code::SQL, message));
        }
        for (name, _) in set.iter().filter(|(_, value)| value.is_null()) {
            self.mentions
                .insert((table.entity.name.clone(), key.clone(), name.clone()));
        }
        Ok(key)
    }

    /// Takes a row apart into identifier and the rest, making a UUID that is missing. There is
    /// none yet if the server makes it and the row has none.
    fn split(
        &mut self,
        table: &Table,
        row: &Attributes,
    ) -> Result<(Option<Key>, Attributes), Error> {
        let entity = &table.entity;
        let given = entity.key().iter().map(|it| row.get(&it.name).cloned());
        if let Some(given) = given.collect::<Option<Key>>() {
            self.named_key(table, &given)?;
        }
        let mut set = current(&self.db.conn, table, row)?;
        let mut key = Vec::new();
        for attribute in entity.key() {
            let value = match set.remove(&attribute.name) {
                Some(value) if !value.is_null() => value,
                _ if entity.identifier == Identifier::Uuid && attribute.kind == Type::Uuid => {
                    Value::Text(self.new_uuid())
                }
                _ if entity.identifier == Identifier::Server => return Ok((None, set)),
                _ => {
                    let message = format!("{}.{} needs a value", entity.name, attribute.name);
                    let error = Error::new(Code::IDENTIFIER_MISSING, message);
                    return Err(error.of_attribute(&attribute.name));
                }
            };
            key.push(value);
        }
        Ok((Some(key), set))
    }

    /// A UUID of version 7 (RFC 9562): time first, so that rows made one after another lie side
    /// by side in the index, the rest random.
    fn new_uuid(&mut self) -> String {
        let millis = u64::try_from(self.db.env.now_ms()).unwrap_or(0);
        let mut bytes = self.db.random_id();
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        bytes[6] = (bytes[6] & 0x0f) | 0x70;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!(
            "{}-{}-{}-{}-{}",
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..]
        )
    }
}

/// Checks names and brings values into canonical form.
fn checked(entity: &Entity, row: &Attributes) -> Result<Attributes, Error> {
    let check = |(name, value): (&String, &Value)| {
        let attribute = entity.attribute(name).ok_or_else(|| {
            let known: Vec<_> = entity.attributes.iter().map(|a| a.name.as_str()).collect();
            let message = format!(
                "{} has no attribute `{name}`; it has: {}",
                entity.name,
                known.join(", ")
            );
            Error::new(Code::UNKNOWN_ATTRIBUTE, message).of_attribute(name)
        })?;
        let value = attribute.kind.normalise(value.clone()).map_err(|error| {
            let message = format!("{}.{name} {error}", entity.name);
            Error::new(Code::TYPE_MISMATCH, message).of_attribute(name)
        })?;
        Ok((name.clone(), value))
    };
    row.iter().map(check).collect()
}

/// The row as checked, with today's identifiers in place of temporary ones.
pub(super) fn current(
    conn: &Connection,
    table: &Table,
    row: &Attributes,
) -> Result<Attributes, Error> {
    let mut row = checked(&table.entity, row)?;
    ids::translate_attributes(conn, table, &mut row)?;
    Ok(row)
}

/// The identifier as checked, likewise.
pub(super) fn current_key(conn: &Connection, table: &Table, key: &[Value]) -> Result<Key, Error> {
    let mut key = checked_key(&table.entity, key)?;
    ids::translate(conn, table, &mut key)?;
    Ok(key)
}

fn checked_key(entity: &Entity, key: &[Value]) -> Result<Key, Error> {
    if key.len() != entity.key_width {
        let names: Vec<_> = entity.key().iter().map(|a| a.name.as_str()).collect();
        let message = format!(
            "the identifier of {} has {} parts: {}",
            entity.name,
            names.len(),
            names.join(", ")
        );
        return Err(Error::new(Code::IDENTIFIER_MISSING, message));
    }
    let check = |(attribute, value): (&afield_protocol::Attribute, &Value)| {
        attribute.kind.normalise(value.clone()).map_err(|error| {
            let message = format!("{}.{} {error}", entity.name, attribute.name);
            Error::new(Code::TYPE_MISMATCH, message).of_attribute(&attribute.name)
        })
    };
    entity.key().iter().zip(key).map(check).collect()
}

fn whole(entity: &Entity, row: Vec<Value>) -> Attributes {
    let names = entity
        .attributes
        .iter()
        .map(|attribute| attribute.name.clone());
    names.zip(row).collect()
}

fn not_found(entity: &str, key: &[Value]) -> Error {
    let message = format!("{entity} {} is not on this device", display_key(key));
    Error::new(Code::NOT_FOUND, message)
}

fn display_key(key: &[Value]) -> String {
    key.iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ")
}
