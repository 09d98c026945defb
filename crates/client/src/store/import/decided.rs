//! What is parked here, and its user has decided about where the file was made: the file has what
//! goes in its place.

use std::collections::BTreeSet;

use afield_protocol::{Closing, Group};
use rusqlite::{OptionalExtension, params};

use crate::error::Error;
use crate::store::conflict::Parked;
use crate::store::db::{Db, Loaded};
use crate::store::{again, inbox, overlay};

/// The parked group in whose place `group` stands, by its place in the outbox.
pub(super) fn parked_here(db: &Db, group: &Group) -> Result<Option<i64>, Error> {
    let sql = "SELECT n FROM afield_group WHERE id = ?1 AND state = 'parked'";
    let mut select = db.conn.prepare_cached(sql)?;
    for id in &group.absorbed {
        let found = select.query_row([id.0], |row| row.get(0)).optional()?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Keeps a parked group as what was decided about, under its name and with its outcomes, and frees
/// its place in the outbox.
pub(super) fn make_way(db: &mut Db, loaded: &Loaded, parked: i64) -> Result<(), Error> {
    let mates = Parked::of_group(db, parked)?;
    for mate in &mates {
        // What was decided here has its record.
        if !mate.is_decided() {
            again::record(db, mate)?;
        }
    }
    let sql = "DELETE FROM afield_change WHERE group_n = ?1";
    db.conn.prepare_cached(sql)?.execute(params![parked])?;
    db.crash_point("import-decided")?;
    again::leave(db, loaded, parked, &[])?;
    if let Some(mate) = mates.first() {
        inbox::closed_as(db, mate.group, Closing::SentAgain)?;
    }
    let rows = mates.into_iter().map(|mate| (mate.entity, mate.key));
    for (entity, key) in rows.collect::<BTreeSet<_>>() {
        overlay::release(db, loaded, &entity, &key)?;
    }
    Ok(())
}
