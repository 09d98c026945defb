//! Temporary identifiers of a file: they are the numbers of another device.
//!
//! They stand in bytes that must not change. So each of them means one row here, too: this device
//! gives none of them any more, and a file with one that it gave to another row is refused whole.

use std::collections::{BTreeMap, BTreeSet};

use afield_protocol::{Change, Code, FIRST_TEMPORARY, Op, Value, is_temporary};

use crate::error::Error;
use crate::store::db::{Db, Loaded};
use crate::store::ids::numbering;
use crate::store::ids::origins::temporaries;
use crate::store::tables::Table;

/// A temporary identifier and its entity.
type Temporary = (String, i64);

/// The temporary identifiers of a file.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// For each entity the highest that this device had given before.
    given: BTreeMap<String, i64>,
    /// Those that mean the same row here and in the file.
    same: BTreeSet<Temporary>,
    /// Those that stand in what came.
    named: BTreeSet<Temporary>,
}

impl Numbers {
    /// Adds those of a group, before anything of it is written. If the group, or another version
    /// of it, `is_here` already, the rows that it creates are the same.
    pub(super) fn add(
        &mut self,
        db: &Db,
        loaded: &Loaded,
        changes: &[Change],
        is_here: bool,
    ) -> Result<(), Error> {
        for (entity, number) in temporaries(loaded, changes) {
            if !self.given.contains_key(entity) {
                let given = numbering::highest(db, &loaded.table(entity)?.entity)?;
                let given = given.unwrap_or(FIRST_TEMPORARY);
                self.given.insert(entity.to_owned(), given);
            }
            if !is_here {
                self.named.insert((entity.to_owned(), number));
            }
        }
        for made in changes.iter().filter_map(|change| made(loaded, change)) {
            if is_here {
                self.same.insert(made);
            } else if self.was_given(&made) && !self.same.contains(&made) {
                return Err(taken(&made));
            } else {
                self.same.insert(made);
            }
        }
        Ok(())
    }

    /// Checks that each means one row, and keeps this device from giving them.
    pub(super) fn end(&self, db: &Db, loaded: &Loaded) -> Result<(), Error> {
        let mut unknown = self.named.difference(&self.same);
        if let Some(taken_one) = unknown.find(|it| self.was_given(it)) {
            return Err(taken(taken_one));
        }
        for (entity, number) in &self.named {
            numbering::raise(db, &loaded.table(entity)?.entity, *number)?;
        }
        Ok(())
    }

    fn was_given(&self, (entity, number): &Temporary) -> bool {
        let given = self.given.get(entity);
        given.is_some_and(|given| number <= given)
    }
}

/// The temporary identifier of a row that a change makes.
fn made(loaded: &Loaded, change: &Change) -> Option<Temporary> {
    let table = loaded.table(&change.entity).ok();
    let is_numbered = table.is_some_and(Table::numbers_itself);
    match change.key.as_slice() {
        [value @ Value::Integer(number)]
            if is_numbered && change.op == Op::Create && is_temporary(value) =>
        {
            Some((change.entity.clone(), *number))
        }
        _ => None,
    }
}

fn taken((entity, number): &Temporary) -> Error {
    let message = format!(
        "the file calls a row of `{entity}` {number}, which may be another row here: import it \
         into a new store of the same user's, or on the server; nothing was imported"
    );
    Error::new(Code::TEMPORARY_TAKEN, message)
}
