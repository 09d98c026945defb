//! Upgrading a synced entity in place: its tables are made again from another definition, and its
//! rows and the user's changes stay.
//!
//! ```text
//! rows       carried by name; what the new definition adds is empty until it is fetched
//! changes    unsettled ones stay as they were typed; values are converted where nothing is lost
//! sent ones  keep the very bytes that were sent
//! position   kept if the server's rows hold nothing new, else all rows are fetched once more and
//!            replace the carried ones in one step
//! ```
//!
//! All of it runs inside the transaction that installs the model.

use std::collections::BTreeSet;

use afield_protocol::codec::cbor::{read_attributes, read_key, write_attributes, write_key};
use afield_protocol::{Attribute, Attributes, Code, Entity, Literal, Op, Pattern};
use rusqlite::params;

use super::db::{Db, Loaded};
use super::ids::numbering;
use super::sql::quoted;
use super::tables::Table;
use super::{overlay, scope, vacuum};
use crate::error::Error;

/// Whether rows made by `old` can be carried over to `new`: they are called by the same names, and
/// come to the user in the same ways. What somebody may see is not guessed.
pub(super) fn carries(old: &Entity, new: &Entity) -> bool {
    let key = |entity: &Entity| -> Vec<(String, &'static str)> {
        let key = entity.key().iter();
        key.map(|a| (a.name.clone(), a.kind.as_str())).collect()
    };
    old.name == new.name
        && old.is_synced()
        && new.is_synced()
        && old.identifier == new.identifier
        && old.scope == new.scope
        && key(old) == key(new)
}

/// Whether the server's rows have something under `new` that the carried ones do not.
fn is_fetched_again(old: &Entity, new: &Entity) -> bool {
    let is_delta = |entity: &Entity| entity.pattern != Pattern::ReadOnly;
    let mut values = new.values().iter();
    is_delta(old) != is_delta(new)
        || old.insert_only != new.insert_only
        || values.any(|attribute| !is_known(old, attribute))
}

/// Whether `old` has the attribute with these values.
fn is_known(old: &Entity, attribute: &Attribute) -> bool {
    let before = old.attribute(&attribute.name);
    before.is_some_and(|it| it.kind == attribute.kind && it.lookup == attribute.lookup)
}

/// Makes the tables of `old` again as `table`, with the rows that they hold.
pub(super) fn remake(db: &mut Db, old: &Entity, table: &Table) -> Result<(), Error> {
    let (before, new) = (Table::new(old.clone(), 0), &table.entity);
    let own = apps_own(db, old)?;
    let highest = numbering::highest(db, old)?;
    run(db, &aside(&before))?;
    run(db, &before.drop())?;
    numbering::keep(db, old, highest)?;
    run(db, &table.create())?;
    numbering::seed(db, table)?;
    run(db, &back(old, table))?;
    make_own(db, &own)?;
    if old.erase {
        vacuum::due_for(db)?;
    }
    scope::unstage(db, &old.name)?;
    stand(db, old, new)?;
    changes(db, old, new)
}

/// Notes where the download of a carried entity stands.
fn stand(db: &Db, old: &Entity, new: &Entity) -> Result<(), Error> {
    let sql = "SELECT unfetched FROM afield_entity WHERE name = ?1";
    let unfetched: String = db.conn.query_row(sql, [&old.name], |row| row.get(0))?;
    let unfetched: BTreeSet<&str> = unfetched.split('\n').collect();
    let is_unfetched = |attribute: &&Attribute| {
        unfetched.contains(attribute.name.as_str()) || !is_known(old, attribute)
    };
    let unfetched = new.values().iter().filter(is_unfetched);
    let unfetched: Vec<&str> = unfetched.map(|it| it.name.as_str()).collect();
    // A table that nothing was downloaded to has nothing to fetch again.
    let sql = "UPDATE afield_entity SET definition = ?2, touched = touched + 1, \
               complete = CASE WHEN ?3 AND position IS NOT NULL THEN 1 ELSE complete END, \
               unfetched = CASE WHEN position IS NULL AND complete = 0 THEN '' ELSE ?4 END, \
               position = CASE WHEN ?3 THEN NULL ELSE position END, stage_position = NULL \
               WHERE name = ?1";
    db.conn.execute(
        sql,
        params![
            old.name,
            super::install::json(new)?,
            is_fetched_again(old, new),
            unfetched.join("\n")
        ],
    )?;
    // Without a position the first page replaces what was carried.
    let sql = "UPDATE afield_entity SET stage_reset = (position IS NULL AND complete = 1) \
               WHERE name = ?1";
    db.conn.execute(sql, [&old.name])?;
    db.crash_point("upgrade-standing")
}

fn moved(name: &str) -> String {
    quoted(&format!("afield_moved_{name}"))
}

/// Moves rows out of the way.
fn aside(table: &Table) -> Vec<String> {
    let name = &table.entity.name;
    let copy = |of: &str, what: &str| {
        let to = moved(&format!("{what}_{name}"));
        format!("CREATE TABLE {to} AS SELECT * FROM {of}")
    };
    let mut statements = vec![copy(&table.name, "row"), copy(&table.server, "server")];
    if !table.scope_columns.is_empty() {
        statements.push(copy(&table.scope, "scope"));
    }
    statements
}

/// Brings them back; what the old tables did not have is empty.
fn back(old: &Entity, table: &Table) -> Vec<String> {
    let name = &old.name;
    let carried = table.entity.attributes.iter().map(|attribute| {
        let has = old.attribute(&attribute.name).is_some();
        match has {
            true => quoted(&attribute.name),
            false => "NULL".to_owned(),
        }
    });
    let carried = carried.collect::<Vec<_>>().join(", ");
    let columns = &table.columns;
    let [rows, server, ways] = ["row", "server", "scope"].map(|it| moved(&format!("{it}_{name}")));
    let mut statements = vec![
        format!(
            "INSERT INTO {} ({columns}) SELECT {carried} FROM {rows}",
            table.name
        ),
        format!("DROP TABLE {rows}"),
        format!(
            "INSERT INTO {} (existed, {columns}) SELECT existed, {carried} FROM {server}",
            table.server
        ),
        format!("DROP TABLE {server}"),
    ];
    if !table.scope_columns.is_empty() {
        statements.push(format!("INSERT INTO {} SELECT * FROM {ways}", table.scope));
        statements.push(format!("DROP TABLE {ways}"));
    }
    statements
}

/// The app's own triggers and indexes on an entity's table, as it made them.
fn apps_own(db: &Db, entity: &Entity) -> Result<Vec<String>, Error> {
    let sql = "SELECT sql FROM sqlite_schema WHERE type IN ('trigger', 'index') \
               AND tbl_name = ?1 COLLATE NOCASE AND sql IS NOT NULL \
               AND name NOT LIKE 'afield\\_%' ESCAPE '\\' ORDER BY rowid";
    let mut statement = db.conn.prepare(sql)?;
    let own = statement.query_map([&entity.name], |row| row.get(0))?;
    Ok(own.collect::<Result<_, _>>()?)
}

/// Makes them again. An index on what has left the model is none any more.
fn make_own(db: &Db, own: &[String]) -> Result<(), Error> {
    own.iter().try_for_each(|sql| {
        let is_index = !sql.to_ascii_uppercase().starts_with("CREATE TRIGGER");
        match run(db, std::slice::from_ref(sql)) {
            Err(error) if is_index && *error.code() == Code::SQL => Ok(()),
            made => made,
        }
    })
}

/// A change whose values may have other types, or none, in the new definition.
struct Typed {
    group: i64,
    is_unsent: bool,
    op: Op,
    base: Attributes,
    set: Attributes,
    theirs: Option<Attributes>,
}

/// Converts the values of changes that are not through. What was never sent has another id then:
/// a copy of this device may have sent it as it was.
fn changes(db: &mut Db, old: &Entity, new: &Entity) -> Result<(), Error> {
    let sql = "SELECT c.n FROM afield_change AS c JOIN afield_group AS g ON g.n = c.group_n \
               WHERE c.entity = ?1 AND (g.state IN ('pending', 'sent', 'parked') OR c.overlay = 1)";
    let mut statement = db.conn.prepare(sql)?;
    let numbers = statement.query_map([&old.name], |row| row.get(0))?;
    let numbers: Vec<i64> = numbers.collect::<Result<_, _>>()?;
    drop(statement);
    let mut altered = BTreeSet::new();
    for n in numbers {
        let before = typed(db, n)?;
        let mut after = Typed {
            base: converted(new, &before.base),
            set: converted(new, &before.set),
            theirs: before.theirs.as_ref().map(|it| converted(new, it)),
            ..before
        };
        if after.is_unsent && after.op == Op::Create {
            after
                .set
                .retain(|name, value| !is_left_out(old, new, name, value));
        }
        let is_same = after.base == before.base && after.theirs == before.theirs;
        if is_same && after.set == before.set {
            continue;
        }
        if after.is_unsent && after.set != before.set {
            altered.insert(after.group);
        }
        let sql = "UPDATE afield_change SET base = ?2, sets = ?3, theirs = ?4 WHERE n = ?1";
        db.conn.prepare_cached(sql)?.execute(params![
            n,
            write_attributes(&after.base),
            write_attributes(&after.set),
            after.theirs.as_ref().map(write_attributes),
        ])?;
        db.crash_point("upgrade-change")?;
    }
    for group in altered {
        super::again::rename(db, group)?;
        db.crash_point("upgrade-group")?;
    }
    Ok(())
}

fn typed(db: &Db, n: i64) -> Result<Typed, Error> {
    let sql = "SELECT c.group_n, g.state = 'pending' AND g.frozen IS NULL, c.op, c.base, c.sets, \
               c.theirs FROM afield_change AS c JOIN afield_group AS g ON g.n = c.group_n \
               WHERE c.n = ?1";
    let mut statement = db.conn.prepare_cached(sql)?;
    let mut rows = statement.query([n])?;
    let Some(row) = rows.next()? else {
        return Err(rusqlite::Error::QueryReturnedNoRows.into());
    };
    let op: String = row.get(2)?;
    let (base, set): (Vec<u8>, Vec<u8>) = (row.get(3)?, row.get(4)?);
    let theirs: Option<Vec<u8>> = row.get(5)?;
    Ok(Typed {
        group: row.get(0)?,
        is_unsent: row.get(1)?,
        op: super::outbox::op(&op)?,
        base: read_attributes(&base)?,
        set: read_attributes(&set)?,
        theirs: theirs.map(|theirs| read_attributes(&theirs)).transpose()?,
    })
}

/// Values in the types of the new definition. One that would not read back as the same stays as
/// it was typed: the server refuses it, and a person decides.
fn converted(new: &Entity, values: &Attributes) -> Attributes {
    let mut converted = values.clone();
    for (name, value) in &mut converted {
        let kind = new.attribute(name).map(|attribute| attribute.kind);
        if let Some(other) = kind.and_then(|kind| kind.converted(value)) {
            *value = other;
        }
    }
    converted
}

/// Whether a create mentions the value only because it was the default of an attribute that may
/// not be written any more: nobody typed it.
fn is_left_out(old: &Entity, new: &Entity, name: &str, value: &afield_protocol::Value) -> bool {
    let default = old.attribute(name).and_then(|it| it.default.as_ref());
    let is_writable = new.attribute(name).is_some_and(|it| !it.read_only);
    !is_writable && default.map(Literal::value).as_ref() == Some(value)
}

/// Recomputes the rows of a carried entity that the user's changes lie over.
pub(super) fn recompute(db: &Db, loaded: &Loaded, table: &Table) -> Result<(), Error> {
    for key in overlay::keys(db, table)? {
        overlay::release(db, loaded, &table.entity.name, &write_key(&key))?;
        db.crash_point("upgrade-overlay")?;
    }
    Ok(())
}

/// Lays changes that are not through over the rows of an entity whose tables are new: it left the
/// model and is back, or its rows could not be carried.
pub(super) fn lay_again(db: &Db, loaded: &Loaded, table: &Table) -> Result<(), Error> {
    let name = &table.entity.name;
    let sql = "SELECT DISTINCT c.n, c.key FROM afield_change AS c \
               JOIN afield_group AS g ON g.n = c.group_n \
               WHERE c.entity = ?1 AND g.state IN ('pending', 'sent', 'parked') \
               AND NOT EXISTS (SELECT 1 FROM afield_outcome AS o \
                               WHERE o.change_n = c.n AND o.group_id = g.id AND o.code = 'gone')";
    let mut statement = db.conn.prepare(sql)?;
    let found = statement.query_map([name], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let found: Vec<(i64, Vec<u8>)> = found.collect::<Result<_, _>>()?;
    let mut keys = BTreeSet::new();
    for (n, bytes) in found {
        let key = read_key(&bytes)?;
        let mut parts = table.entity.key().iter().zip(&key);
        let fits = key.len() == table.entity.key_width
            && parts.all(|(attribute, value)| attribute.kind.accepts(value.as_ref()));
        if !fits {
            continue;
        }
        let sql = "UPDATE afield_change SET overlay = 1 WHERE n = ?1";
        db.conn.prepare_cached(sql)?.execute([n])?;
        if table.server_row(&db.conn, &key)?.is_none() {
            table.put_server_row(&db.conn, &key, None)?;
        }
        keys.insert(bytes);
    }
    for bytes in keys {
        overlay::release(db, loaded, name, &bytes)?;
        db.crash_point("upgrade-overlay")?;
    }
    Ok(())
}

/// What a new model added and the server has not sent yet, nobody saw: it is no part of a base,
/// unless the user wrote it himself where he saw nothing. `unfetched` is as `afield_entity` has it.
pub(super) fn without_unseen(unfetched: &str, base: &mut Attributes, set: &Attributes) {
    for name in unfetched
        .split('\n')
        .filter(|name| !set.contains_key(*name))
    {
        base.remove(name);
    }
}

fn run(db: &Db, statements: &[String]) -> Result<(), Error> {
    super::install::run(db, statements)
}
