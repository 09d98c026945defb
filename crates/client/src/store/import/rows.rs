//! The rows under imported changes: the user sees here what he wrote there.

use afield_protocol::codec::cbor::read_key;
use afield_protocol::{Change, Code, Op};
use rusqlite::params;

use crate::error::Error;
use crate::store::db::{Db, Loaded};
use crate::store::ids::{translate, translate_attributes};
use crate::store::tables::Table;
use crate::store::{erase, outbox, overlay, page};

/// Puts the server's identifiers in place of temporary ones that are known here by now. Says
/// whether the model here knows everything that the change names.
pub(super) fn fit(db: &Db, loaded: &Loaded, change: &mut Change) -> Result<bool, Error> {
    let Some(table) = table(loaded, &change.entity) else {
        return Ok(false);
    };
    let entity = &table.entity;
    let mut cells = entity.key().iter().zip(&change.key);
    let fits = cells.all(|(column, value)| !value.is_null() && column.kind.accepts(value.as_ref()));
    if !fits || change.key.len() != entity.key_width {
        let message = format!(
            "rows of `{}` are identified otherwise here than where the file was made: \
             synchronise first, or import it on the server; nothing was imported",
            entity.name
        );
        return Err(Error::new(Code::MODEL_CHANGED, message));
    }
    translate(&db.conn, table, &mut change.key)?;
    translate_attributes(&db.conn, table, &mut change.base)?;
    translate_attributes(&db.conn, table, &mut change.set)?;
    Ok(change
        .set
        .keys()
        .all(|name| entity.attribute(name).is_some()))
}

/// The table of an entity whose changes are synchronised.
fn table<'a>(loaded: &'a Loaded, entity: &str) -> Option<&'a Table> {
    let table = loaded.table(entity).ok();
    table.filter(|table| table.entity.is_written() && table.entity.is_synced())
}

/// Lays the changes of a group over their rows. A row that is not here because its table has not
/// been downloaded gets its changes when it comes ([`lay_arrived`]). If the table is whole, the row
/// is not this user's any more: nothing of it is shown, and the server says what it is.
pub(super) fn lay(db: &Db, loaded: &Loaded, group: i64) -> Result<(), Error> {
    let sql = "SELECT n, entity, key, op FROM afield_change \
               WHERE group_n = ?1 AND overlay = 1 ORDER BY at";
    let mut statement = db.conn.prepare_cached(sql)?;
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?));
    let changes = statement.query_map([group], row)?;
    let changes: Vec<(i64, String, Vec<u8>, String)> = changes.collect::<Result<_, _>>()?;
    for (n, entity, key, op) in changes {
        let is_create = outbox::op(&op)? == Op::Create;
        let Some(table) = table(loaded, &entity) else {
            end(db, n)?;
            continue;
        };
        if !is_laid(db, loaded, table, &key, is_create)? && page::standing(db, &entity)?.complete {
            end(db, n)?;
            erase::not_here(db, table, &key)?;
        }
        page::touch(db, &entity)?;
        db.crash_point("import-row")?;
    }
    Ok(())
}

/// Shows the changes of a row over it, if it is here or one of them makes it.
fn is_laid(
    db: &Db,
    loaded: &Loaded,
    table: &Table,
    key: &[u8],
    is_create: bool,
) -> Result<bool, Error> {
    let values = read_key(key)?;
    if table.server_row(&db.conn, &values)?.is_none() {
        let row = table.row(&db.conn, &values)?;
        if row.is_none() && !is_create {
            return Ok(false);
        }
        table.keep_server_row(&db.conn, &values, row.as_deref())?;
    }
    overlay::release(db, loaded, &table.entity.name, key)?;
    Ok(true)
}

/// Ends a change as an overlay.
fn end(db: &Db, n: i64) -> Result<(), Error> {
    let sql = "UPDATE afield_change SET overlay = 0 WHERE n = ?1";
    db.conn.prepare_cached(sql)?.execute([n])?;
    Ok(())
}

/// Lays changes over rows that a page of the first download has brought, and that had none of
/// their own here when the changes came.
pub(in crate::store) fn lay_arrived(db: &Db, loaded: &Loaded, table: &Table) -> Result<(), Error> {
    let name = &table.entity.name;
    let sql = "SELECT DISTINCT key FROM afield_change WHERE entity = ?1 AND overlay = 1";
    let mut statement = db.conn.prepare_cached(sql)?;
    let keys = statement.query_map(params![name], |row| row.get(0))?;
    for key in keys.collect::<Result<Vec<Vec<u8>>, _>>()? {
        let values = read_key(&key)?;
        if table.server_row(&db.conn, &values)?.is_none() {
            is_laid(db, loaded, table, &key, false)?;
            db.crash_point("import-arrived")?;
        }
    }
    Ok(())
}
