//! Identifiers that this server makes, in the place of the temporary ones of a device.
//!
//! A temporary identifier means something on its own device only, and a copy of a device uses the
//! same ones for other rows. So it is never looked up alone, but always together with the group
//! that created the row: this group itself, or the *origin* that it names. The ledger keeps the
//! numbers of a group's creates by entity and temporary identifier. The place that an origin also
//! names is not needed here, so that a wrong one cannot bring another row.

use std::borrow::Cow;
use std::collections::HashMap;

use afield_protocol::zoo::planted;
use afield_protocol::{Attributes, Change, Group, Op, Value, is_temporary};

use super::transaction::{Table, Transaction};
use crate::storage::StorageError;

/// A row that has no number on its device yet: its entity, and its identifier there meanwhile.
pub(in crate::storage) type Temporary = (String, i64);

/// The numbers of the rows that a group names by temporary identifiers.
#[derive(Clone, Debug, Default)]
pub(super) struct Numbers(HashMap<Temporary, i64>);

/// What the ledger says about a group's origins.
pub(super) enum Origins {
    /// The rows that are there; what is missing refers to nothing.
    Known(Numbers),
    /// A group that creates one of the rows was not applied, or never came.
    Waits {
        /// The rows that are there all the same.
        known: Numbers,
        /// The entity of the row that is not.
        entity: String,
    },
}

/// A change with numbers in the place of temporary identifiers.
pub(super) struct Numbered<'c> {
    pub change: Cow<'c, Change>,
    /// A temporary identifier that has no number, and the attribute that holds it. That of the
    /// row which the change itself creates does not count.
    pub unknown: Option<(String, Temporary)>,
}

/// Looks up the rows that `group` says other groups create.
pub(super) fn of_origins(tx: &impl Transaction, group: &Group) -> Result<Origins, StorageError> {
    let mut known = Numbers::default();
    let mut missing = None;
    let others = group.origins.iter().filter(|o| o.group != group.id);
    for origin in others.filter(|_| !planted("server-origin-ignored")) {
        let row = (origin.entity.clone(), origin.temporary);
        match tx.given(&[origin.group], &row)? {
            Some(number) => {
                known.0.insert(row, number);
            }
            None if tx.took_effect(&[origin.group])? => {}
            None => missing = missing.or(Some(row.0)),
        }
    }
    Ok(match missing {
        Some(entity) => Origins::Waits { known, entity },
        None => Origins::Known(known),
    })
}

/// The row that a change creates under a temporary identifier.
pub(in crate::storage) fn made_by(table: &impl Table, change: &Change) -> Option<Temporary> {
    match change.key.as_slice() {
        [Value::Integer(id)] if change.op == Op::Create && table.is_numbered() => {
            is_temporary(&Value::Integer(*id)).then(|| (change.entity.clone(), *id))
        }
        _ => None,
    }
}

impl Numbers {
    /// The number of a row.
    pub(super) fn get(&self, row: &Temporary) -> Option<i64> {
        self.0.get(row).copied()
    }

    /// Notes the number of a row.
    pub(super) fn insert(&mut self, row: Temporary, number: i64) {
        self.0.insert(row, number);
    }

    /// The changes with the numbers that are known.
    pub(super) fn put_all<'c>(
        &self,
        tx: &impl Transaction,
        changes: &'c [Change],
    ) -> Cow<'c, [Change]> {
        if self.0.is_empty() {
            return Cow::Borrowed(changes);
        }
        let put = |change: &'c Change| match tx.table(&change.entity) {
            Some(table) => self.put(table, change).change.into_owned(),
            None => change.clone(),
        };
        Cow::Owned(changes.iter().map(put).collect())
    }

    /// One change with the numbers that are known.
    pub(super) fn put<'c>(&self, table: &impl Table, change: &'c Change) -> Numbered<'c> {
        let mut numbered = Numbered {
            change: Cow::Borrowed(change),
            unknown: None,
        };
        let own = made_by(table, change);
        let attributes = &table.entity().local.attributes;
        for (at, attribute) in attributes.iter().enumerate() {
            let Some(entity) = table.numbered_by(at) else {
                continue;
            };
            for place in [Place::Key(at), Place::Base, Place::Set] {
                let Some(Value::Integer(id)) = place.value(change, &attribute.name) else {
                    continue;
                };
                let row = (entity.to_owned(), *id);
                if !is_temporary(&Value::Integer(*id)) {
                    continue;
                }
                match self.get(&row) {
                    Some(number) => {
                        place.put(numbered.change.to_mut(), &attribute.name, number);
                    }
                    None if own.as_ref() == Some(&row) && matches!(place, Place::Key(_)) => {}
                    None if planted("server-origin-ignored") => {}
                    None => {
                        let unknown = (attribute.name.clone(), row);
                        numbered.unknown = numbered.unknown.or(Some(unknown));
                    }
                }
            }
        }
        numbered
    }
}

/// Where in a change an identifier stands.
#[derive(Clone, Copy)]
enum Place {
    Key(usize),
    Base,
    Set,
}

impl Place {
    fn value<'c>(self, change: &'c Change, name: &str) -> Option<&'c Value> {
        match self {
            Self::Key(at) => change.key.get(at),
            Self::Base => change.base.get(name),
            Self::Set => change.set.get(name),
        }
    }

    fn put(self, change: &mut Change, name: &str, number: i64) {
        let put_in = |attributes: &mut Attributes| {
            attributes.insert(name.to_owned(), Value::Integer(number));
        };
        match self {
            Self::Key(at) => {
                if let Some(part) = change.key.get_mut(at) {
                    *part = Value::Integer(number);
                }
            }
            Self::Base => put_in(&mut change.base),
            Self::Set => put_in(&mut change.set),
        }
    }
}
