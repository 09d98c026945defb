//! Erasing what is no longer this user's: of a row that is gone only what the user typed stays.
//!
//! A change of such a row keeps what it set and loses its base and the server's version beside
//! it. Unsettled changes keep their base until their own outcome, which will be `gone` as well:
//! what was frozen must be sent as it is.

use std::collections::BTreeSet;

use afield_protocol::Attributes;
use afield_protocol::codec::cbor::{read_key, write_attributes};
use rusqlite::params;

use super::db::{Db, Loaded};
use super::tables::Table;
use super::{overlay, vacuum};
use crate::error::Error;

/// Erases what changes hold of a row that the server has just called gone. The row itself leaves
/// with the pull that says so, usually in the same answer: an outcome may be older than the
/// device's position, or of a history that the server went back from, and then the row is there
/// and no later pull would bring it again.
pub(super) fn row(db: &Db, table: &Table, key: &[u8]) -> Result<(), Error> {
    changes(db, table, key, Reach::Everything)
}

/// Erases what changes hold of a row that is not this user's any more, of which no pull says so
/// because it is not here.
pub(super) fn not_here(db: &Db, table: &Table, key: &[u8]) -> Result<(), Error> {
    changes(db, table, key, Reach::Seen)
}

/// Erases what the history and parked changes of an entity hold of rows that a pull removed: of
/// these if it is known which can be, else of any.
pub(super) fn history(
    db: &Db,
    loaded: &Loaded,
    table: &Table,
    only: Option<&BTreeSet<Vec<u8>>>,
) -> Result<(), Error> {
    let name = &table.entity.name;
    let nothing = write_attributes(&Attributes::new());
    let sql = "SELECT DISTINCT c.key FROM afield_change AS c \
               JOIN afield_group AS g ON g.n = c.group_n \
               WHERE c.entity = ?1 AND (c.base <> ?2 OR c.theirs IS NOT NULL) \
               AND (c.overlay = 0 OR g.state IN ('parked', 'dropped')) \
               AND (?3 OR NOT (c.op = 'delete' AND g.state = 'settled'))";
    let mut statement = db.conn.prepare_cached(sql)?;
    let values = params![name, nothing, table.entity.erase];
    let keys = statement.query_map(values, |row| row.get(0))?;
    let keys: Vec<Vec<u8>> = keys.collect::<Result<_, _>>()?;
    let may_be = |key: &&Vec<u8>| only.is_none_or(|only| only.contains(*key));
    for key in keys.iter().filter(may_be) {
        let values = read_key(key)?;
        if table.known_row(&db.conn, &values)?.is_none() {
            changes(db, table, key, Reach::Seen)?;
            overlay::release(db, loaded, name, key)?;
        }
    }
    Ok(())
}

/// Erases a row of which a pull already said that it is gone, now that a change of it is refused
/// for some other reason, or is given up.
pub(super) fn given_up(db: &Db, loaded: &Loaded, entity: &str, key: &[u8]) -> Result<(), Error> {
    // The entity may have left the model since.
    let Ok(table) = loaded.table(entity) else {
        return Ok(());
    };
    match table.server_row(&db.conn, &read_key(key)?)? {
        Some(None) => changes(db, table, key, Reach::Seen),
        _ => Ok(()),
    }
}

/// Which overlays of a row that is gone end with it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// All: the server said so when it was asked about a change of the row.
    Everything,
    /// All but the user's own deletes, which are why it is gone (unless the entity is erased), and
    /// applied changes that the pull may not contain yet.
    Seen,
}

/// Erases bases of a row's settled and parked changes and ends them as overlays. A row that the
/// user made and the server refused, or that no pull has shown yet, is not gone: from its create on
/// changes lose nothing but the server's version beside them. Those before it are of another row,
/// which had the same identifier.
fn changes(db: &Db, table: &Table, key: &[u8], reach: Reach) -> Result<(), Error> {
    let entity = &table.entity.name;
    vacuum::due(db, table)?;
    let sql = "UPDATE afield_change SET theirs = NULL WHERE entity = ?1 AND key = ?2";
    db.conn.prepare_cached(sql)?.execute(params![entity, key])?;
    let (own, spared) = match reach {
        Reach::Everything => ("seen_from IS NULL", "FALSE"),
        Reach::Seen if table.entity.erase => ("TRUE", "seen_from IS NOT NULL AND overlay = 1"),
        Reach::Seen => (
            "TRUE",
            "seen_from IS NOT NULL AND (overlay = 1 OR op = 'delete')",
        ),
    };
    let sql = format!(
        "SELECT min(n) FROM afield_change WHERE entity = ?1 AND key = ?2 \
         AND overlay = 1 AND op = 'create' AND {own}"
    );
    let mut statement = db.conn.prepare_cached(&sql)?;
    let made: Option<i64> = statement.query_row(params![entity, key], |row| row.get(0))?;
    let until = made.unwrap_or(i64::MAX);
    let nothing = write_attributes(&Attributes::new());
    let sql = "UPDATE afield_group SET frozen = NULL \
               WHERE state IN ('settled', 'parked', 'dropped') \
               AND n IN (SELECT group_n FROM afield_change \
                         WHERE entity = ?1 AND key = ?2 AND n < ?3)";
    (db.conn.prepare_cached(sql)?).execute(params![entity, key, until])?;
    let sql = format!(
        "UPDATE afield_change SET base = ?3, overlay = 0 \
         WHERE entity = ?1 AND key = ?2 AND n < ?4 AND NOT ({spared}) \
         AND group_n IN (SELECT n FROM afield_group \
                         WHERE state IN ('settled', 'parked', 'dropped'))"
    );
    let values = params![entity, key, nothing, until];
    db.conn.prepare_cached(&sql)?.execute(values)?;
    Ok(())
}
