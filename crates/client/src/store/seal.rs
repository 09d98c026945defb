//! Sealing: turning captured rows into a change group.
//!
//! The capture tables hold, for each row that was touched since the last seal, the row as it was
//! before. Comparing it with the row as it is now gives the change; which statements ran in
//! between does not matter. Equal means no change.
//!
//! A group that changes one row and follows an unsent group of the same one row is folded into
//! it, under a new id that lists the old one. Anything more would break all-or-none.

use std::collections::HashSet;

use afield_protocol::codec::cbor::{read_attributes, read_key, write_attributes, write_key};
use afield_protocol::{Attributes, Entity, Op, Value, is_temporary, zoo};
use rusqlite::{OptionalExtension, params};

use super::conflict::{self, counted};
use super::db::{Db, Loaded};
use super::ids::captured::Uncaptured;
use super::sql::{row_attributes, values};
use super::tables::Table;
use super::{left, lookups, rebase, rules, upgrade};
use crate::error::Error;

/// A null that an entity action set explicitly: entity, identifier, attribute. A captured INSERT
/// alone cannot tell it from an attribute that was not mentioned.
pub(crate) type Mention = (String, Vec<Value>, String);

/// A change as it was derived.
pub(super) struct Derived {
    pub(super) entity: String,
    pub(super) rank: usize,
    pub(super) key: Vec<u8>,
    pub(super) op: Op,
    pub(super) base: Attributes,
    pub(super) set: Attributes,
}

/// Writes what was captured as one group and empties the capture tables. Returns the group's
/// number in the outbox, if anything changed. Runs inside a write transaction.
///
/// `mentions` are those of a transaction of our own, which can still be refused; without them it
/// is what other connections wrote and committed, whatever it is.
///
/// # Errors
/// A value of our own does not match what its rule asks for, or the store cannot be written.
pub(crate) fn seal(db: &mut Db, mentions: Option<&HashSet<Mention>>) -> Result<Option<i64>, Error> {
    if !db.has_model() {
        return Ok(None);
    }
    let loaded = db.loaded()?;
    let captured = captured(db, &loaded)?;
    if captured.is_empty() {
        return Ok(None);
    }
    super::ids::captured::rename(db, &loaded)?;
    let mut changes = Vec::new();
    for table in captured {
        derive(db, table, mentions.unwrap_or(&HashSet::new()), &mut changes)?;
    }
    if mentions.is_some() {
        check_rules(&loaded, &changes)?;
    }
    if changes.is_empty() {
        return Ok(None);
    }
    changes.sort_by_key(order);
    if let [change] = changes.as_slice()
        && (fold(db, &loaded, change)? || fold_into_conflict(db, &loaded, change)?)
    {
        return Ok(None);
    }
    let group = insert_group(db, &[])?;
    for (at, change) in changes.iter().enumerate() {
        insert_change(db, group, at, change)?;
        db.crash_point("seal-change")?;
    }
    Ok(Some(group))
}

/// Tables that one of the queries of [`captured_queries`] asks about.
const ASKED_AT_ONCE: usize = 500;

/// Queries that say for each table that is written whether it has captured rows, in order.
pub(super) fn captured_queries(tables: &[Table]) -> Vec<String> {
    let written: Vec<_> = written(tables).collect();
    let asks = |tables: &[&Table]| {
        let asks = tables.iter();
        let asks = asks.map(|table| format!("EXISTS (SELECT 1 FROM {})", table.before));
        format!("SELECT {}", asks.collect::<Vec<_>>().join(", "))
    };
    written.chunks(ASKED_AT_ONCE).map(asks).collect()
}

fn written(tables: &[Table]) -> impl Iterator<Item = &Table> {
    tables.iter().filter(|table| table.entity.is_written())
}

/// The tables that have captured rows.
fn captured<'a>(db: &Db, loaded: &'a Loaded) -> Result<Vec<&'a Table>, Error> {
    let mut tables = written(&loaded.tables);
    let mut found = Vec::new();
    for sql in &loaded.captured {
        let mut statement = db.conn.prepare_cached(sql)?;
        let width = statement.column_count();
        statement.query_row([], |row| {
            for (at, table) in (0..width).zip(&mut tables) {
                if row.get(at)? {
                    found.push(table);
                }
            }
            Ok(())
        })?;
    }
    Ok(found)
}

fn check_rules(loaded: &Loaded, changes: &[Derived]) -> Result<(), Error> {
    changes.iter().try_for_each(|change| {
        let entity = &loaded.table(&change.entity)?.entity;
        let mut set = change.set.iter();
        set.try_for_each(|(name, value)| rules::check_matches(entity, name, value))
    })
}

/// Creates come first, what is referred to before what refers to it; deletes come last, the
/// other way round.
fn order(change: &Derived) -> (u8, usize) {
    match change.op {
        Op::Create => (0, change.rank),
        Op::Update => (1, change.rank),
        Op::Delete => (2, usize::MAX - change.rank),
    }
}

/// Derives the changes of one entity.
fn derive(
    db: &Db,
    table: &Table,
    mentions: &HashSet<Mention>,
    changes: &mut Vec<Derived>,
) -> Result<(), Error> {
    let (width, key_width) = (table.width(), table.entity.key_width);
    let mut statement = db.conn.prepare_cached(&table.sql.captured)?;
    let mut rows = statement.query([])?;
    let mut bare = Vec::new();
    while let Some(row) = rows.next()? {
        let existed: bool = row.get(0)?;
        let captured = values(row, 3, width)?;
        let key = captured.get(..key_width).unwrap_or(&[]).to_vec();
        let existed = existed && !is_new(db, table, &key)?;
        let before = existed.then_some(captured);
        let is_there: bool = row.get(1)?;
        let now = is_there
            .then(|| values(row, 3 + width, width))
            .transpose()?;
        bare.extend(lookups::lost(table, before.as_deref(), now.as_deref()));
        let change = compare(table, &key, before.as_deref(), now.as_deref(), mentions);
        if let Some((op, mut base, set)) = change {
            let written = write_key(&key);
            rebase::without_refused(db, &table.entity, &written, &mut base)?;
            unwritable(db, table, &key, &mut base)?;
            let unseen = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
            upgrade::without_unseen(unseen, &mut base, &set);
            table.keep_server_row(&db.conn, &key, before.as_deref())?;
            db.crash_point("seal-row")?;
            changes.push(Derived {
                entity: table.entity.name.clone(),
                rank: table.rank,
                key: written,
                op,
                base,
                set,
            });
        }
    }
    drop(rows);
    let forget = &table.sql.forget_captured;
    db.conn.prepare_cached(forget)?.execute([])?;
    lookups::put_back(db, table, &bare)
}

/// Whether a row that was recorded as if it had been there was made since the last seal: a row
/// with a temporary identifier has a copy of the server's from its create on.
fn is_new(db: &Db, table: &Table, key: &[Value]) -> Result<bool, Error> {
    let is_temporary = table.numbers_itself() && key.iter().all(is_temporary);
    Ok(is_temporary && table.server_row(&db.conn, key)?.is_none())
}

/// Where a row may not be written, the server's values are the base of a change, also after the
/// user made the row again and saw nothing there.
fn unwritable(db: &Db, table: &Table, key: &[Value], base: &mut Attributes) -> Result<(), Error> {
    let read_only = table.entity.values().iter().filter(|a| a.read_only);
    let empty: Vec<&String> = read_only
        .map(|attribute| &attribute.name)
        .filter(|name| base.get(*name) == Some(&Value::Null))
        .collect();
    if empty.is_empty() {
        return Ok(());
    }
    if let Some(Some(server)) = table.server_row(&db.conn, key)? {
        let server = row_attributes(&table.entity, &server);
        for name in empty {
            base.insert(
                name.clone(),
                server.get(name).cloned().unwrap_or(Value::Null),
            );
        }
    }
    Ok(())
}

/// What happened between a row before and now; `None` if nothing.
fn compare(
    table: &Table,
    key: &[Value],
    before: Option<&[Value]>,
    now: Option<&[Value]>,
    mentions: &HashSet<Mention>,
) -> Option<(Op, Attributes, Attributes)> {
    let entity = &table.entity;
    match (before, now) {
        (None, None) => None,
        (Some(before), None) => Some((
            Op::Delete,
            row_attributes(entity, before),
            Attributes::new(),
        )),
        (None, Some(now)) => {
            let mentioned = |name: &String| {
                let mention = || (entity.name.clone(), key.to_vec(), name.clone());
                !mentions.is_empty() && mentions.contains(&mention())
            };
            let mut set = row_attributes(entity, now);
            set.retain(|name, value| !value.is_null() || mentioned(name));
            Some((Op::Create, Attributes::new(), set))
        }
        (Some(before), Some(now)) => {
            let base = row_attributes(entity, before);
            let set = writable(entity, differences(&base, &row_attributes(entity, now)));
            (!set.is_empty()).then_some((Op::Update, base, set))
        }
    }
}

/// The values of `after` that `before` does not have.
fn differences(before: &Attributes, after: &Attributes) -> Attributes {
    let changed = after
        .iter()
        .filter(|(name, value)| before.get(*name) != Some(value));
    changed
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// A row that was deleted and made again is empty where it may not be written. That says nothing:
/// the server's values stay there, and are put back here.
fn writable(entity: &Entity, set: Attributes) -> Attributes {
    let is_written = |name: &String| entity.attribute(name).is_none_or(|a| !a.read_only);
    // A value that somebody typed under an earlier model is not dropped without a word.
    if !set.keys().any(is_written) && !set.values().all(Value::is_null) {
        return set;
    }
    set.into_iter()
        .filter(|(name, _)| is_written(name))
        .collect()
}

pub(super) fn insert_group(db: &mut Db, absorbed: &[u8]) -> Result<i64, Error> {
    let id = db.random_id();
    let now = db.env.now_ms();
    let sql = "INSERT INTO afield_group (id, absorbed, state, made_at, checkpoint) \
               SELECT ?1, ?2, 'pending', ?3, checkpoint FROM afield_meta";
    db.conn
        .prepare_cached(sql)?
        .execute(params![id, absorbed, now])?;
    Ok(db.conn.last_insert_rowid())
}

/// The number of a new change: above those of all changes, and of those whose outcomes are kept
/// longer than they are, which would otherwise be taken for its own.
pub(super) const NEXT_CHANGE: &str = "(SELECT max(coalesce((SELECT max(n) FROM afield_change), 0), \
     coalesce((SELECT max(change_n) FROM afield_outcome), 0)) + 1)";

pub(super) fn insert_change(db: &Db, group: i64, at: usize, change: &Derived) -> Result<(), Error> {
    let row = (change.entity.as_str(), change.key.as_slice());
    let values = (&change.base, &change.set);
    insert_values(db, (group, at), row, change.op, values)
}

/// Writes a change of a row at a place of a group: what was there before, and what is set.
pub(super) fn insert_values(
    db: &Db,
    (group, at): (i64, usize),
    (entity, key): (&str, &[u8]),
    op: Op,
    (base, set): (&Attributes, &Attributes),
) -> Result<(), Error> {
    let sql = format!(
        "INSERT INTO afield_change (n, group_n, at, entity, key, op, base, sets) \
         VALUES ({NEXT_CHANGE}, ?1, ?2, ?3, ?4, ?5, ?6, ?7)"
    );
    db.conn.prepare_cached(&sql)?.execute(params![
        group,
        i64::try_from(at).unwrap_or(i64::MAX),
        entity,
        key,
        op.as_str(),
        write_attributes(base),
        write_attributes(set),
    ])?;
    Ok(())
}

/// The one change of the outbox's last group, if a new change of the same row may be folded in.
struct Last {
    group: i64,
    change: i64,
    absorbed: Vec<u8>,
    op: Op,
    base: Attributes,
    set: Attributes,
}

/// Folds `change` into the change of its row that is in open conflict, if nothing came between.
fn fold_into_conflict(db: &Db, loaded: &Loaded, change: &Derived) -> Result<bool, Error> {
    let Some(open) = conflict::foldable(db, &change.entity, &change.key)? else {
        return Ok(false);
    };
    let table = loaded.table(&change.entity)?;
    let key = read_key(&change.key)?;
    let server = table.server_row(&db.conn, &key)?.flatten();
    let server = server.map(|row| row_attributes(&table.entity, &row));
    let n = open.n;
    let combined = combine(
        open.op,
        open.base,
        open.set,
        change,
        server.as_ref(),
        &table.entity,
    );
    match combined {
        // Taking it all back is a decision of its own: it waits for the other one.
        Some((op, base, set)) if op != Op::Update || !set.is_empty() => {
            if op == Op::Delete && base.is_empty() {
                return Ok(false);
            }
            conflict::fold(db, n, op, &base, &set)?;
            if op == Op::Update && change.op == Op::Create {
                lookups::show_again(db, table, &key)?;
            }
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// Folds `change` into the last group if that is unsent and consists of the same one row.
fn fold(db: &mut Db, loaded: &Loaded, change: &Derived) -> Result<bool, Error> {
    let Some(last) = last(db, change)? else {
        return Ok(false);
    };
    if left::has_left(db, last.group)? {
        return Ok(false);
    }
    let table = loaded.table(&change.entity)?;
    let key = read_key(&change.key)?;
    let server = table.server_row(&db.conn, &key)?.flatten();
    let server = server.map(|row| row_attributes(&table.entity, &row));
    let combined = combine(
        last.op,
        last.base,
        last.set,
        change,
        server.as_ref(),
        &table.entity,
    );
    let Some((op, base, set)) = combined else {
        return Ok(false);
    };
    if op == Op::Update && set.is_empty() || op == Op::Delete && base.is_empty() {
        let sql = "DELETE FROM afield_change WHERE n = ?1";
        db.conn.prepare_cached(sql)?.execute([last.change])?;
        db.crash_point("fold-away")?;
        let sql = "DELETE FROM afield_group WHERE n = ?1";
        db.conn.prepare_cached(sql)?.execute([last.group])?;
        // The row that was made again is empty where nobody may write, and gets that back.
        let _uncaptured = Uncaptured::new(&db.conn)?;
        super::overlay::release(db, loaded, &change.entity, &change.key)?;
        return Ok(true);
    }
    let sql = "UPDATE afield_change SET op = ?2, base = ?3, sets = ?4 WHERE n = ?1";
    db.conn.prepare_cached(sql)?.execute(params![
        last.change,
        op.as_str(),
        write_attributes(&base),
        write_attributes(&set),
    ])?;
    db.crash_point("fold")?;
    let id = db.random_id();
    let sql = "UPDATE afield_group SET id = ?2, absorbed = ?3 WHERE n = ?1";
    db.conn
        .prepare_cached(sql)?
        .execute(params![last.group, id, last.absorbed])?;
    if op == Op::Update && change.op == Op::Create {
        lookups::show_again(db, loaded.table(&change.entity)?, &key)?;
    }
    Ok(true)
}

fn last(db: &Db, change: &Derived) -> Result<Option<Last>, Error> {
    let sql = "SELECT g.n, g.id, g.absorbed, c.n, c.op, c.base, c.sets, c.entity, c.key \
               FROM afield_group AS g JOIN afield_change AS c ON c.group_n = g.n \
               WHERE g.n = (SELECT max(n) FROM afield_group WHERE state <> 'dropped') \
               AND g.state IN ('pending', ?1) \
               AND g.not_before = 0 \
               AND NOT EXISTS (SELECT 1 FROM afield_change WHERE group_n = g.n AND at > 0)";
    let foldable = if zoo::planted("fold-into-sent") {
        "sent"
    } else {
        "pending"
    };
    let mut statement = db.conn.prepare_cached(sql)?;
    let found = statement
        .query_row([foldable], |row| {
            let is_same = row.get_ref(7)?.as_str()? == change.entity
                && row.get_ref(8)?.as_blob()? == change.key;
            if !is_same {
                return Ok(None);
            }
            let id: [u8; 16] = row.get(1)?;
            let mut absorbed: Vec<u8> = row.get(2)?;
            absorbed.extend_from_slice(&id);
            let op: String = row.get(4)?;
            let stored: (Vec<u8>, Vec<u8>) = (row.get(5)?, row.get(6)?);
            Ok(Some((row.get(0)?, row.get(3)?, absorbed, op, stored)))
        })
        .optional()?;
    let Some((group, row, absorbed, op, (base, set))) = found.flatten() else {
        return Ok(None);
    };
    Ok(Some(Last {
        group,
        change: row,
        absorbed,
        op: super::outbox::op(&op)?,
        base: read_attributes(&base)?,
        set: read_attributes(&set)?,
    }))
}

/// What two changes of one row are together; `None` if they must stay apart. A delete without a
/// base stands for nothing at all: the row was made and deleted before anybody heard of it.
///
/// A value that is back where it was is dropped only if the server still has it so; otherwise it
/// is what the user wants in place of somebody else's.
fn combine(
    op: Op,
    base: Attributes,
    mut set: Attributes,
    next: &Derived,
    server: Option<&Attributes>,
    entity: &Entity,
) -> Option<(Op, Attributes, Attributes)> {
    let counters = entity.counters();
    let unchanged = |name: &String, value: &Value| {
        let on_server = server.is_some_and(|row| row.get(name) == Some(value));
        base.get(name) == Some(value) && (on_server || counters.contains(name))
    };
    match (op, next.op) {
        (Op::Create | Op::Update, Op::Update) => {
            let mut later = next.set.clone();
            for name in counters.iter().filter(|_| op == Op::Update) {
                // Both differences count, whatever a pull did to the row between them.
                let before = set.get(name).or_else(|| base.get(name));
                if let Some(value) = later.get_mut(name) {
                    *value = counted(&next.base, before, name, value);
                }
            }
            set.extend(later);
            set.retain(|name, value| !unchanged(name, value));
            Some((op, base, set))
        }
        (Op::Create, Op::Delete) if server.is_none() => {
            Some((Op::Delete, Attributes::new(), Attributes::new()))
        }
        (Op::Update, Op::Delete) => Some((Op::Delete, base, Attributes::new())),
        // If the server deleted the row too, it has to be made again, not updated.
        (Op::Delete, Op::Create) if server.is_some() => {
            // The row is there again: whatever it does not mention now is empty.
            let mut after: Attributes = base
                .keys()
                .map(|name| (name.clone(), Value::Null))
                .collect();
            after.extend(next.set.clone());
            after.retain(|name, value| !unchanged(name, value));
            let after = writable(entity, after);
            Some((Op::Update, base, after))
        }
        _ => None,
    }
}
