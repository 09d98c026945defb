//! Installing a model: tables for entities that are new, others again where the definition
//! changed. Rows of synced entities are carried over ([`super::upgrade`]); those of local-only
//! entities exist nowhere else, so their tables are only ever extended.

use std::collections::HashMap;
use std::sync::Arc;

use afield_protocol::{Code, Entity, Model};
use rusqlite::{OptionalExtension, params};

use super::db::{Db, Loaded};
use super::ids::numbering;
use super::tables::Table;
use super::{scope, seal, states, upgrade, upgrade_failed, vacuum};
use crate::error::Error;

/// Installs `model` inside a write transaction.
///
/// # Errors
/// The model is unusable, or rows or tables of the app stand in the way.
pub(super) fn install(db: &mut Db, model: &Model) -> Result<(), Error> {
    model.check()?;
    seal::seal(db, None)?;
    states::drop_all(db)?;
    let new = Loaded::new(model.clone());
    // A watch compares the counter of writes: it must not start over with the table.
    let mut touched = HashMap::new();
    let mut remade = Vec::new();
    for old in &made(db)? {
        let table = new
            .tables
            .iter()
            .find(|table| is_same_table(&table.entity, old));
        match table.map(|table| (table, &table.entity)) {
            Some((_, new)) if new == old => {}
            Some((_, new)) if new.as_tables() == old.as_tables() => remake_triggers(db, new)?,
            None if !old.is_synced() => {}
            Some((_, new)) if !old.is_synced() => extend_local_only(db, old, new)?,
            Some((table, new)) if upgrade::carries(old, new) => {
                upgrade::remake(db, old, table)?;
                remade.push(table);
            }
            _ => {
                touched.insert(old.name.clone(), drop_tables(db, old)? + 1);
            }
        }
    }
    for table in &new.tables {
        let touched = touched.get(&table.entity.name).copied().unwrap_or(0);
        if make_tables(db, table, touched)? && table.entity.is_synced() {
            upgrade::lay_again(db, &new, table)?;
        }
    }
    for table in remade {
        upgrade::recompute(db, &new, table)?;
    }
    let sql = "UPDATE afield_meta SET model = ?1, fingerprint = ?2";
    db.conn
        .execute(sql, params![model.to_json(), new.fingerprint])?;
    upgrade_failed::forget(db)?;
    states::make(db, &new)?;
    // Another model may know other references.
    db.outbox_changed();
    db.loaded = Some(Arc::new(new));
    Ok(())
}

/// SQLite's names of tables do not differ by case.
fn is_same_table(a: &Entity, b: &Entity) -> bool {
    a.name.eq_ignore_ascii_case(&b.name)
}

/// The entities that there are tables for, as they were made; local-only ones that the model
/// dropped since are among them.
fn made(db: &Db) -> Result<Vec<Entity>, Error> {
    let mut statement = db.conn.prepare("SELECT definition FROM afield_entity")?;
    let definitions = statement.query_map([], |row| row.get::<_, String>(0))?;
    let read = |json: String| {
        serde_json::from_str(&json).map_err(|error| {
            let message = format!("an entity's definition cannot be read: {error}");
            Error::new(Code::STORE_DAMAGED, message)
        })
    };
    definitions.map(|json| read(json?)).collect()
}

/// Drops an entity's tables; gives its counter of writes.
fn drop_tables(db: &Db, entity: &Entity) -> Result<i64, Error> {
    if entity.erase {
        vacuum::due_for(db)?;
    }
    let highest = numbering::highest(db, entity)?;
    run(db, &Table::new(entity.clone(), 0).drop())?;
    numbering::keep(db, entity, highest)?;
    scope::forget(db, &entity.name)?;
    let sql = "UPDATE afield_change SET overlay = 0 WHERE entity = ?1";
    db.conn.execute(sql, [&entity.name])?;
    let sql = "DELETE FROM afield_entity WHERE name = ?1 RETURNING touched";
    Ok(db.conn.query_row(sql, [&entity.name], |row| row.get(0))?)
}

/// Makes an entity's tables, unless they are there.
fn make_tables(db: &Db, table: &Table, touched: i64) -> Result<bool, Error> {
    let name = &table.entity.name;
    let sql = "SELECT 1 FROM afield_entity WHERE name = ?1";
    if db.conn.prepare_cached(sql)?.exists([name])? {
        return Ok(false);
    }
    let sql = "SELECT type FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE";
    let taken: Option<String> = (db.conn.query_row(sql, [name], |row| row.get(0))).optional()?;
    if let Some(taken) = taken {
        let message = format!("the app has a {taken} of its own with the entity's name `{name}`");
        return Err(Error::new(Code::UPDATE_REQUIRED, message));
    }
    run(db, &table.create())?;
    numbering::seed(db, table)?;
    let sql = "INSERT INTO afield_entity (name, definition, touched) VALUES (?1, ?2, ?3)";
    db.conn
        .execute(sql, params![name, json(&table.entity)?, touched])?;
    Ok(true)
}

fn extend_local_only(db: &Db, old: &Entity, new: &Entity) -> Result<(), Error> {
    let width = old.attributes.len();
    let before = old.as_tables().attributes;
    let kept = new.as_tables().attributes.get(..width) == Some(before.as_slice());
    if new.is_synced() || !kept || new.key_width != old.key_width || new.name != old.name {
        let message = format!(
            "`{}` is a local-only entity whose rows are nowhere else: a new model may add \
             attributes at its end, and nothing else",
            old.name
        );
        return Err(Error::new(Code::UPDATE_REQUIRED, message));
    }
    let table = Table::new(new.clone(), 0);
    run(db, &table.drop_triggers())?;
    run(db, &table.add_columns(width))?;
    run(db, &table.create_indexes())?;
    run(db, &table.create_triggers())?;
    redefine(db, new)
}

/// For a model that checks or erases other things: rows and changes stay as they are.
fn remake_triggers(db: &Db, new: &Entity) -> Result<(), Error> {
    let table = Table::new(new.clone(), 0);
    run(db, &table.drop_triggers())?;
    run(db, &table.create_triggers())?;
    redefine(db, new)
}

/// Notes another definition of the tables that are there.
fn redefine(db: &Db, new: &Entity) -> Result<(), Error> {
    let sql = "UPDATE afield_entity SET definition = ?2 WHERE name = ?1";
    db.conn.execute(sql, params![new.name, json(new)?])?;
    Ok(())
}

pub(super) fn json(entity: &Entity) -> Result<String, Error> {
    serde_json::to_string(entity)
        .map_err(|error| Error::new(Code::INTERNAL, format!("an entity as JSON: {error}")))
}

pub(super) fn run(db: &Db, statements: &[String]) -> Result<(), Error> {
    statements.iter().try_for_each(|sql| {
        db.conn.execute_batch(sql)?;
        db.crash_point("install-statement")
    })
}
