//! What a user changed in a refused change after it was sent: nobody on the server saw it.
//!
//! It becomes a change of its own behind the one that was decided. Its base is what the user saw,
//! so the ordinary rule decides about it: where the decision left the row as he had it, it is
//! applied; where not, he is asked.

use afield_protocol::codec::cbor::read_key;
use afield_protocol::{Attributes, Change, Entity, Op, Value};

use super::super::conflict::Parked;
use super::super::db::{Db, Loaded};
use super::super::seal::{self, Derived};
use super::super::sql::row_attributes;
use super::super::tables::Table;
use super::super::{overlay, page, rebase};
use crate::error::Error;

/// What a user did besides.
pub(super) enum Rest {
    /// He set more values, or others.
    Set {
        /// These.
        set: Attributes,
        /// What he saw in their place.
        seen: Attributes,
        /// The row that he had then, as far as it is his to write.
        whole: Attributes,
    },
    /// He deleted the row.
    Delete,
}

/// A change that is to be made: what is done, what was seen, what is set.
type Made = (Op, Attributes, Attributes);

impl Rest {
    /// What `mate` is beyond what was sent of it.
    pub(super) fn of(mate: &Parked, sent: &Change) -> Option<Self> {
        if mate.op == Op::Delete {
            return (sent.op != Op::Delete).then_some(Self::Delete);
        }
        let mut whole = mate.base.clone();
        whole.extend(mate.set.clone());
        let mut set = Attributes::new();
        for (name, value) in &mate.set {
            if sent.set.get(name) != Some(value) {
                set.insert(name.clone(), value.clone());
            }
        }
        // Where he took back what was sent, the change sets nothing any more.
        for (name, value) in &sent.set {
            let now = whole.get(name).filter(|now| *now != value);
            if let Some(now) = now.filter(|_| !mate.set.contains_key(name)) {
                set.insert(name.clone(), now.clone());
            }
        }
        let seen = |name: &String| sent.set.get(name).or_else(|| mate.base.get(name));
        let seen = set
            .keys()
            .filter_map(|name| Some((name.clone(), seen(name)?.clone())));
        let seen = seen.collect();
        let is_made_again = sent.op == Op::Delete;
        (is_made_again || !set.is_empty()).then_some(Self::Set { set, seen, whole })
    }

    /// Makes it a change of its own, which is sent as any other. `n` is the one that was decided.
    pub(super) fn lay(self, db: &mut Db, loaded: &Loaded, n: i64) -> Result<(), Error> {
        let sql = "SELECT entity, key FROM afield_change WHERE n = ?1";
        let (entity, key): (String, Vec<u8>) = db
            .conn
            .prepare_cached(sql)?
            .query_row([n], |row| Ok((row.get(0)?, row.get(1)?)))?;
        // The entity may have left the model; what was typed is in the history.
        let Ok(table) = loaded.table(&entity) else {
            return Ok(());
        };
        let values = read_key(&key)?;
        let row = table.row(&db.conn, &values)?;
        let now = row.as_ref().map(|row| row_attributes(&table.entity, row));
        let later = rebase::set_behind(db, &entity, &key, n)?;
        let Some((op, base, set)) = later.and_then(|later| self.made(table, now, &later)) else {
            return Ok(());
        };
        table.keep_server_row(&db.conn, &values, row.as_deref())?;
        let group = seal::insert_group(db, &[])?;
        let change = Derived {
            entity: entity.clone(),
            rank: table.rank,
            key: key.clone(),
            op,
            base,
            set,
        };
        seal::insert_change(db, group, 0, &change)?;
        db.crash_point("rest")?;
        overlay::release(db, loaded, &entity, &key)?;
        page::touch(db, &entity)
    }

    /// As a change of the row `now`. What was set later, in changes that are there, is not set.
    fn made(self, table: &Table, now: Option<Attributes>, later: &Attributes) -> Option<Made> {
        let entity = &table.entity;
        match (self, now) {
            (Self::Delete, Some(row)) => Some((Op::Delete, row, Attributes::new())),
            (Self::Delete, None) => None,
            (Self::Set { mut set, seen, .. }, Some(row)) => {
                set.retain(|name, _| !later.contains_key(name) && is_written(entity, name));
                let mut base = row;
                let seen = seen.into_iter().filter(|(name, _)| set.contains_key(name));
                base.extend(seen);
                set.retain(|name, value| base.get(name) != Some(value));
                (!set.is_empty()).then_some((Op::Update, base, set))
            }
            // A row that the server numbers cannot be made again under its number.
            (Self::Set { .. }, None) if table.numbers_itself() => None,
            (Self::Set { mut whole, .. }, None) => {
                whole.retain(|name, value| is_written(entity, name) && *value != Value::Null);
                Some((Op::Create, Attributes::new(), whole))
            }
        }
    }
}

fn is_written(entity: &Entity, name: &str) -> bool {
    let attribute = entity.attribute(name);
    attribute.is_some_and(|attribute| !attribute.read_only)
}
