//! Local entities as Rust types: what the code that `afield generate rust` writes stands on.
//!
//! The generated file has a struct for each local entity, one for its identifier, one to create a
//! row and one to change it; the entity actions are the methods of [`Entity`], [`Create`] and
//! [`Write`]. An entity that the device may not write has no such methods, so that the compiler
//! says what the store would refuse.
//!
//! ```text
//!   Contact::update(&mut store, &id, &ContactPatch { phone: "12".into(), ..Default::default() })
//!      │                 │                              │
//!      Write             Actions: a Store, its guard,   Field: absent, null or a value
//!                        or a Transaction
//! ```

mod actions;
mod field;
mod row;
mod watch;

use afield_protocol::{Attributes, Code, Key};

pub use actions::Actions;
pub use field::{Field, Scalar};
pub use row::{KeyParts, Row, Set};
pub use watch::{RowWatch, Watching};

use crate::error::Error;
use crate::store::{Params, quoted};

/// A typed identifier.
pub trait Id: Sized {
    /// Puts its parts into a key, in key order.
    fn write(&self, key: &mut KeyParts);

    /// Takes its parts from a key, in key order.
    ///
    /// # Errors
    /// The key has other parts.
    fn read(key: &mut KeyParts) -> Result<Self, Error>;
}

/// What a change mentions: the attributes of a new row, or those that an update sets.
pub trait Mentions {
    /// Puts what is mentioned into `set`.
    fn write(&self, set: &mut Set);
}

/// A local entity: what everybody may do with its rows.
pub trait Entity: Sized {
    /// The local entity's name in the model.
    const NAME: &'static str;

    /// Its identifier.
    type Id: Id;

    /// The identifier of this row.
    fn id(&self) -> Self::Id;

    /// Takes the attributes from a row that was read.
    ///
    /// # Errors
    /// A cell has another type than the model says, or the store does not have the attribute.
    fn read(row: &mut Row<'_>) -> Result<Self, Error>;

    /// The row of an identifier, if this device has it.
    ///
    /// # Errors
    /// The store has no such entity or attribute, or a cell has another type than the model says.
    fn get(on: &mut impl Actions, id: &Self::Id) -> Result<Option<Self>, Error> {
        let row = on.row(Self::NAME, &key_of(id))?;
        row.map(|row| {
            let (names, values): (Vec<_>, Vec<_>) = row.into_iter().unzip();
            Self::read(&mut Row::new(Self::NAME, &names, values))
        })
        .transpose()
    }

    /// The rows that a clause selects: what follows `FROM` and the entity's name in SQL, as in
    /// `WHERE district = ?1 ORDER BY name LIMIT 20`. An empty clause gives every row.
    ///
    /// # Errors
    /// The clause is wrong, or a cell has another type than the model says.
    fn query(
        on: &mut impl Actions,
        clause: &str,
        params: impl Into<Params>,
    ) -> Result<Vec<Self>, Error> {
        let rows = match on.rows(&select(Self::NAME, clause), &params.into()) {
            Ok(rows) => rows,
            Err(error) => return Err(explained(on, Self::NAME, error)),
        };
        let columns = rows.columns;
        let read = |values| Self::read(&mut Row::new(Self::NAME, &columns, values));
        rows.rows.into_iter().map(read).collect()
    }

    /// Watches the rows that a clause selects, as [`Entity::query`] takes it: tells when they may
    /// have changed, whoever changed them, and reads them again.
    ///
    /// # Errors
    /// The clause is wrong.
    fn watch(
        on: impl Watching,
        clause: &str,
        params: impl Into<Params>,
    ) -> Result<RowWatch<Self>, Error> {
        let watch = on.watching(&select(Self::NAME, clause))?;
        Ok(RowWatch::new(watch, clause, params.into()))
    }
}

/// An entity in which the device may create rows.
pub trait Create: Entity {
    /// A row to be created.
    type New: Mentions;

    /// Creates a row and returns its identifier.
    ///
    /// # Errors
    /// The identifier exists or is missing, or a value is refused.
    fn create(on: &mut impl Actions, row: &Self::New) -> Result<Self::Id, Error> {
        let set = set_of(row);
        id_of(Self::NAME, on.write(|tx| tx.create(Self::NAME, &set))?)
    }
}

/// An entity whose rows the device may change.
pub trait Write: Create {
    /// What an update sets; attributes that it does not mention stay as they are.
    type Patch: Mentions;

    /// Creates the row, or sets the attributes that it mentions if it exists.
    ///
    /// # Errors
    /// The identifier is missing, or a value is refused.
    fn create_or_update(on: &mut impl Actions, row: &Self::New) -> Result<Self::Id, Error> {
        let set = set_of(row);
        let key = on.write(|tx| tx.create_or_update(Self::NAME, &set))?;
        id_of(Self::NAME, key)
    }

    /// Creates or updates rows in one transaction: all of them, or none.
    ///
    /// # Errors
    /// Those of [`Write::create_or_update`], for the first row that has one.
    fn create_or_update_all(
        on: &mut impl Actions,
        rows: &[Self::New],
    ) -> Result<Vec<Self::Id>, Error> {
        on.write(|tx| {
            let each = |row| Self::create_or_update(tx, row);
            rows.iter().map(each).collect()
        })
    }

    /// Sets the attributes that `patch` mentions.
    ///
    /// # Errors
    /// There is no such row, or a value is refused.
    fn update(on: &mut impl Actions, id: &Self::Id, patch: &Self::Patch) -> Result<(), Error> {
        let (key, set) = (key_of(id), set_of(patch));
        on.write(|tx| tx.update(Self::NAME, &key, &set))
    }

    /// Deletes a row.
    ///
    /// # Errors
    /// There is no such row.
    fn delete(on: &mut impl Actions, id: &Self::Id) -> Result<(), Error> {
        let key = key_of(id);
        on.write(|tx| tx.delete(Self::NAME, &key))
    }

    /// Deletes every row of the entity, on the server too, and says how many.
    ///
    /// # Errors
    /// There are more than 100, and it is not `confirmed`.
    fn delete_all(on: &mut impl Actions, confirmed: bool) -> Result<u64, Error> {
        on.write(|tx| tx.delete_all(Self::NAME, confirmed))
    }
}

/// The parts of an identifier, as the untyped actions and [`ChangeInfo`](crate::ChangeInfo) have
/// them.
pub fn key_of(id: &impl Id) -> Key {
    let mut key = KeyParts::default();
    id.write(&mut key);
    key.into_key()
}

/// The typed identifier of `key`, a row of `entity`.
///
/// # Errors
/// The key has other parts than the generated code knows.
pub fn id_of<I: Id>(entity: &'static str, key: Key) -> Result<I, Error> {
    I::read(&mut KeyParts::of(entity, key))
}

/// What is mentioned, as the untyped actions take it.
pub fn set_of(mentions: &impl Mentions) -> Attributes {
    let mut set = Set::default();
    mentions.write(&mut set);
    set.into_attributes()
}

fn select(entity: &str, clause: &str) -> String {
    let table = quoted(entity);
    format!("SELECT {table}.* FROM {table} {clause}")
}

/// Tells a mistake in the clause from a store that has no such entity.
fn explained(on: &mut impl Actions, entity: &str, error: Error) -> Error {
    let probe = select(entity, "LIMIT 0");
    match on.rows(&probe, &Params::none()) {
        Err(_) if *error.code() == Code::SQL => stale(entity, "the entity"),
        _ => error,
    }
}

/// The generated code and the store come from different models.
fn stale(entity: &str, what: &str) -> Error {
    let message = format!(
        "this store's model does not have {what} `{entity}`, which the generated code names: run \
         `afield generate rust` on the model that the server serves, or synchronise"
    );
    Error::new(Code::UNKNOWN_ATTRIBUTE, message)
}
