//! Decisions about changes that were not applied: send again, settle a conflict, give up.
//!
//! ```text
//!   parked ──retry────────► pending   new id, absorbs the old one
//!          ──mine, merged─► pending   the same, rebased onto the row that was shown
//!          ──theirs, drop─► dropped   what is left of its group: pending, likewise
//! ```
//!
//! Each decision is one write transaction. A group that goes again always has a new id that
//! absorbs the old one: of two copies of a device that both decide, one takes effect. What a
//! decision replaces stays in the history under its old name, with its outcome.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;

use afield_protocol::codec::cbor::{read_key, write_attributes};
use afield_protocol::{Attributes, Closing, Code, GroupId, Op, zoo};
use rusqlite::{OptionalExtension, params};

use super::actions::current;
use super::again::{leave, recompute, record, resume};
use super::conflict::{self, Parked, Resolution, Resolvers};
use super::db::{Db, Loaded};
use super::{erase, inbox, lookups, rebase, rules};
use crate::error::Error;

/// Sends a refused change again with its group, with `set` in place of the values it names.
/// Gives the change's new name.
pub(super) fn retry(db: &mut Db, name: &str, set: Option<&Attributes>) -> Result<String, Error> {
    let loaded = db.loaded()?;
    let parked = find(db, name)?;
    let mates = Parked::of_group(db, parked.group_n)?;
    if let Some(open) = mates.iter().find(|mate| mate.is_conflict()) {
        let message = format!(
            "{} is in conflict with the server's row: decide between mine, theirs and a merged row",
            open.name()
        );
        return Err(Error::new(Code::CONFLICT_OPEN, message));
    }
    for mate in &mates {
        let mut values = known(&loaded, mate);
        if let Some(set) = set.filter(|set| mate.n == parked.n && !set.is_empty()) {
            values.extend(writable(db, &loaded, &parked, set)?);
        }
        if values != mate.set {
            record(db, mate)?;
            let sql = "UPDATE afield_change SET sets = ?2 WHERE n = ?1";
            let bound = params![mate.n, write_attributes(&values)];
            db.conn.prepare_cached(sql)?.execute(bound)?;
            db.crash_point("retry-set")?;
            rebase::undone(db, &loaded, &mate.entity, &mate.key, mate.n, values)?;
        }
    }
    resume(db, &loaded, parked.group_n)?;
    recompute(db, &loaded, &rows(&mates))?;
    name_of(db, parked.n)
}

/// What a change sets, without attributes that have left the model since it was made: the server
/// would refuse it for them for ever. What was typed into them stays on record.
fn known(loaded: &Loaded, parked: &Parked) -> Attributes {
    let mut values = parked.set.clone();
    if let Some(entity) = loaded.model.entity(&parked.entity) {
        values.retain(|name, _| entity.attribute(name).is_some());
    }
    values
}

/// Settles a conflict. Gives the change's name if it is sent again: another one, or the same while
/// other conflicts of its transaction are open.
pub(super) fn resolve(
    db: &mut Db,
    name: &str,
    resolution: &Resolution,
) -> Result<Option<String>, Error> {
    let loaded = db.loaded()?;
    let parked = find(db, name)?;
    if !parked.is_conflict() {
        let why = parked.code.as_ref().map_or("refused", Code::as_str);
        let message =
            format!("{name} is not in conflict, it was refused ({why}): retry or drop it");
        return Err(Error::new(Code::NOT_PARKED, message));
    }
    let again = settle(db, &loaded, &parked, resolution)?;
    inbox::closed_as(db, parked.group, closing(resolution))?;
    Ok(again)
}

/// How the server is told of a decision.
fn closing(resolution: &Resolution) -> Closing {
    match resolution {
        Resolution::Mine => Closing::Mine,
        Resolution::Theirs => Closing::Theirs,
        Resolution::Merged(_) => Closing::Merged,
    }
}

/// Settles a conflict that is known to be one.
pub(super) fn settle(
    db: &mut Db,
    loaded: &Loaded,
    parked: &Parked,
    resolution: &Resolution,
) -> Result<Option<String>, Error> {
    let Some((op, base, set)) = rebased(db, loaded, parked, resolution)? else {
        return drop_parked(db, loaded, parked).map(|()| None);
    };
    let mates = Parked::of_group(db, parked.group_n)?;
    record(db, parked)?;
    let base = if zoo::planted("resolve-keeps-old-base") {
        &parked.base
    } else {
        &base
    };
    let sql = "UPDATE afield_change SET op = ?2, base = ?3, sets = ?4, theirs = NULL, \
               refreshed = 0 WHERE n = ?1";
    db.conn.prepare_cached(sql)?.execute(params![
        parked.n,
        op.as_str(),
        write_attributes(base),
        write_attributes(&set),
    ])?;
    db.crash_point("resolve-rebase")?;
    let after = rebase::lay(loaded, &parked.entity, Some(base), op, base, &set);
    rebase::onto(db, loaded, &parked.entity, &parked.key, parked.n, after)?;
    resume(db, loaded, parked.group_n)?;
    recompute(db, loaded, &rows(&mates))?;
    name_of(db, parked.n).map(Some)
}

/// Gives a refused change up: it leaves the row and stays in the history. With a create goes what
/// depends on its row.
pub(super) fn drop_change(db: &mut Db, name: &str) -> Result<(), Error> {
    let loaded = db.loaded()?;
    let parked = find(db, name)?;
    drop_parked(db, &loaded, &parked)
}

/// Asks the resolvers about open conflicts. What one of them gets wrong stays open for a person.
pub(super) fn automatically(db: &mut Db, resolvers: &Resolvers) -> Result<(), Error> {
    if resolvers.is_empty() {
        return Ok(());
    }
    let loaded = db.loaded()?;
    for open in conflict::open(db)? {
        let Some(resolver) = resolvers.get(&open.entity) else {
            continue;
        };
        // Settling one before it may have changed it, or taken it along.
        let mut now = Parked::of_group(db, open.group_n)?.into_iter();
        let Some(mut open) = now.find(|it| it.n == open.n && it.is_conflict()) else {
            continue;
        };
        conflict::show(db, &loaded, &mut open)?;
        let info = conflict::info(&loaded, &open)?;
        let asked = std::panic::catch_unwind(AssertUnwindSafe(|| resolver(&info)));
        let Ok(Some(resolution)) = asked else {
            continue;
        };
        // Giving up a create takes what depends on it along: a person does that.
        let is_heavy = open.op == Op::Create && open.theirs.is_none();
        match rebased(db, &loaded, &open, &resolution) {
            Ok(None) if is_heavy => {}
            Ok(_) => {
                settle(db, &loaded, &open, &resolution)?;
                inbox::closed_as(db, open.group, closing(&resolution))?;
            }
            Err(_) => {}
        }
    }
    Ok(())
}

fn drop_parked(db: &mut Db, loaded: &Loaded, parked: &Parked) -> Result<(), Error> {
    let exists = server_row(db, loaded, parked)?;
    let mut concerned = rows(&Parked::of_group(db, parked.group_n)?);
    let mut leaving = BTreeMap::new();
    if parked.op == Op::Create && exists.is_none() {
        for (group, dependants) in rebase::dependants(db, loaded, parked)? {
            for later in &dependants {
                concerned.insert((later.entity.clone(), later.key.clone()));
                if later.op == Op::Update {
                    let base = before(&later.base, &later.set);
                    rebase::undone(db, loaded, &later.entity, &later.key, later.n, base)?;
                }
            }
            leaving.insert(group, dependants.iter().map(|later| later.n).collect());
        }
    }
    let group: &mut Vec<i64> = leaving.entry(parked.group_n).or_default();
    group.push(parked.n);
    rebase_behind(db, loaded, parked, exists)?;
    for (group, changes) in leaving {
        leave(db, loaded, group, &changes)?;
    }
    for (entity, key) in &concerned {
        // What only waited kept what it was made on, also of a row that has left meanwhile.
        erase::given_up(db, loaded, entity, key)?;
    }
    recompute(db, loaded, &concerned)
}

/// Gives a whole group up; nothing else depends on what it was to create.
pub(super) fn drop_group(
    db: &mut Db,
    loaded: &Loaded,
    group: i64,
    mates: &[Parked],
) -> Result<(), Error> {
    for mate in mates {
        let exists = server_row(db, loaded, mate)?;
        rebase_behind(db, loaded, mate, exists)?;
    }
    let numbers: Vec<i64> = mates.iter().map(|mate| mate.n).collect();
    leave(db, loaded, group, &numbers)?;
    let concerned = rows(mates);
    for (entity, key) in &concerned {
        erase::given_up(db, loaded, entity, key)?;
    }
    recompute(db, loaded, &concerned)
}

/// Rebases what comes after a change that is given up.
fn rebase_behind(
    db: &Db,
    loaded: &Loaded,
    parked: &Parked,
    exists: Option<Attributes>,
) -> Result<(), Error> {
    let (entity, key, n) = (&parked.entity, &parked.key, parked.n);
    match parked.op {
        // He decided about the row that was shown to him, and it is there.
        _ if parked.is_conflict() => match exists {
            Some(theirs) => rebase::onto(db, loaded, entity, key, n, Some(theirs)),
            None => Ok(()),
        },
        // Nobody decided about the server's row: what he saw below the change counts again.
        Op::Update => {
            let base = before(&parked.base, &parked.set);
            rebase::undone(db, loaded, entity, key, n, base)
        }
        Op::Delete if !parked.base.is_empty() => {
            rebase::onto(db, loaded, entity, key, n, Some(parked.base.clone()))
        }
        Op::Create if exists.is_some() => rebase::onto(db, loaded, entity, key, n, exists),
        Op::Create | Op::Delete => Ok(()),
    }
}

/// The values that `set` names as they were in `base`.
pub(super) fn before(base: &Attributes, set: &Attributes) -> Attributes {
    let base = base.iter().filter(|(name, _)| set.contains_key(*name));
    base.map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// The server's row, as far as this device knows: the one that was shown with a conflict.
fn server_row(db: &Db, loaded: &Loaded, parked: &Parked) -> Result<Option<Attributes>, Error> {
    if parked.is_conflict() {
        return Ok(parked.theirs.clone());
    }
    let Ok(table) = loaded.table(&parked.entity) else {
        return Ok(None);
    };
    let server = table.server_row(&db.conn, &read_key(&parked.key)?)?;
    let row = server.flatten();
    Ok(row.map(|row| super::sql::row_attributes(&table.entity, &row)))
}

/// Op, base and set of a change that goes again, or `None` if the server's row stands.
type Rebased = Option<(Op, Attributes, Attributes)>;

fn rebased(db: &Db, loaded: &Loaded, parked: &Parked, how: &Resolution) -> Result<Rebased, Error> {
    let rebased = match how {
        Resolution::Theirs => None,
        Resolution::Mine => mine(loaded, parked)?,
        Resolution::Merged(values) => merged(db, loaded, parked, values)?,
    };
    let is_change = matches!(&rebased, Some((Op::Update | Op::Delete, ..)));
    if is_change && loaded.table(&parked.entity)?.entity.insert_only {
        // The server would refuse it, and the row would leave the device without a decision.
        let message = format!(
            "rows of `{}` are only created on a device, and this one is there: take theirs",
            parked.entity
        );
        return Err(Error::new(Code::INSERT_ONLY, message));
    }
    Ok(rebased)
}

/// The user's version on top of the row that was shown; `None` if that is the server's already.
fn mine(loaded: &Loaded, parked: &Parked) -> Result<Rebased, Error> {
    let entity = &loaded.table(&parked.entity)?.entity;
    let Some(theirs) = &parked.theirs else {
        if parked.op == Op::Delete {
            return Ok(Some((Op::Delete, Attributes::new(), Attributes::new())));
        }
        // What may not be written comes with the server's row, if ever.
        let mut row = parked.base.clone();
        row.retain(|name, _| entity.attribute(name).is_some_and(|a| !a.read_only));
        row.extend(known(loaded, parked));
        return Ok(Some((Op::Create, Attributes::new(), row)));
    };
    if parked.op == Op::Delete {
        return Ok(Some((Op::Delete, theirs.clone(), Attributes::new())));
    }
    let mut base = theirs.clone();
    let mut set = known(loaded, parked);
    if parked.op == Op::Update {
        for name in entity.counters() {
            // Only the difference counts, so it stays as it was made, if that is known.
            if set.contains_key(&name) {
                base.extend(parked.base.get(&name).map(|before| (name, before.clone())));
            }
        }
    }
    set.retain(|name, value| base.get(name) != Some(value));
    Ok((!set.is_empty()).then_some((Op::Update, base, set)))
}

/// The values of a person who looked at both versions; the same.
fn merged(
    db: &Db,
    loaded: &Loaded,
    parked: &Parked,
    values: &Attributes,
) -> Result<Rebased, Error> {
    let values = writable(db, loaded, parked, values)?;
    let Some(theirs) = &parked.theirs else {
        let kept = mine(loaded, parked)?;
        let (_, _, mut row) = kept.unwrap_or((Op::Create, Attributes::new(), Attributes::new()));
        row.extend(values);
        return Ok(Some((Op::Create, Attributes::new(), row)));
    };
    let mut set = values;
    set.retain(|name, value| theirs.get(name) != Some(value));
    Ok((!set.is_empty()).then_some((Op::Update, theirs.clone(), set)))
}

/// Checks values for a parked change; its own identifier may be among them.
fn writable(
    db: &Db,
    loaded: &Loaded,
    parked: &Parked,
    set: &Attributes,
) -> Result<Attributes, Error> {
    let table = loaded.table(&parked.entity)?;
    let entity = &table.entity;
    let mut set = current(&db.conn, table, set)?;
    let key = read_key(&parked.key)?;
    for (attribute, value) in entity.key().iter().zip(&key) {
        if set.remove(&attribute.name).is_some_and(|new| new != *value) {
            let message = format!("{}.{} is the identifier", entity.name, attribute.name);
            return Err(Error::new(Code::IDENTIFIER_CHANGED, message).of_attribute(&attribute.name));
        }
    }
    let seen = parked.theirs.as_ref().unwrap_or(&parked.base);
    for attribute in entity
        .values()
        .iter()
        .filter(|attribute| attribute.read_only)
    {
        let name = &attribute.name;
        if let Some(value) = set.remove(name)
            && seen.get(name) != Some(&value)
            && !(attribute.lookup && lookups::is_seen(db, table, &key, name, &value)?)
        {
            let message = format!("{}.{name} is read-only", entity.name);
            return Err(Error::new(Code::READ_ONLY, message).of_attribute(name));
        }
    }
    for attribute in entity.values() {
        if let Some(value) = set.get(&attribute.name)
            && seen.get(&attribute.name) != Some(value)
        {
            rules::check(entity, attribute, value)?;
        }
    }
    let in_conflict = parked.is_conflict();
    if parked.op == Op::Delete && !in_conflict && !set.is_empty() {
        let message = format!("{} is a delete: it has no values to set", parked.name());
        return Err(Error::new(Code::MALFORMED, message));
    }
    Ok(set)
}

/// There is no change of this name.
pub(super) fn unknown(name: &str) -> Error {
    let message = format!("there is no change `{name}` on this device; `changes` lists them");
    Error::new(Code::UNKNOWN_CHANGE, message)
}

/// What a change's name says: its group, and its place in it.
pub(super) fn parts(name: &str) -> Result<(GroupId, i64), Error> {
    let unknown = || unknown(name);
    let (group, at) = name.split_once('.').ok_or_else(unknown)?;
    let group = GroupId::parse(group).ok_or_else(unknown)?;
    let at = at.parse().ok().ok_or_else(unknown)?;
    Ok((group, at))
}

/// The group that stands in the place of one that is not here any more.
pub(super) fn successor(db: &Db, group: GroupId) -> Result<Option<GroupId>, Error> {
    let sql = "SELECT id, absorbed FROM afield_group WHERE instr(absorbed, ?1) > 0";
    let mut select = db.conn.prepare_cached(sql)?;
    let mut rows = select.query([group.0])?;
    while let Some(row) = rows.next()? {
        let absorbed: Vec<u8> = row.get(1)?;
        // Bytes of two neighbours may look like it.
        if absorbed.as_chunks::<16>().0.contains(&group.0) {
            return Ok(Some(GroupId(row.get(0)?)));
        }
    }
    Ok(None)
}

/// The parked change of this name.
fn find(db: &Db, name: &str) -> Result<Parked, Error> {
    let unknown = || unknown(name);
    let (group, at) = parts(name)?;
    let sql = "SELECT g.n, g.state FROM afield_group AS g \
               JOIN afield_change AS c ON c.group_n = g.n WHERE g.id = ?1 AND c.at = ?2";
    let found: Option<(i64, String)> = db
        .conn
        .prepare_cached(sql)?
        .query_row(params![group.0, at], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let settled = |state: &str| {
        let message = format!("{name} {state}: there is nothing to decide");
        Error::new(Code::NOT_PARKED, message)
    };
    match found {
        Some((n, state)) if state == "parked" => {
            let mut mates = Parked::of_group(db, n)?.into_iter();
            let found = mates.find(|mate| mate.at == at).ok_or_else(unknown)?;
            if found.is_decided() {
                let message = format!(
                    "{name} is decided; it is sent as soon as the other conflicts of its \
                     transaction are"
                );
                return Err(Error::new(Code::NOT_PARKED, message));
            }
            Ok(found)
        }
        Some((_, state)) => Err(settled(match state.as_str() {
            "settled" => "was applied",
            "dropped" => "was decided already",
            _ => "was not refused so far",
        })),
        None => {
            let again = successor(db, group)?.is_some();
            let sql = "SELECT 1 FROM afield_group AS g JOIN afield_change AS c ON c.group_n = g.n \
                       WHERE g.state = 'dropped' AND g.absorbed = ?1 AND c.at = ?2";
            let decided = db.conn.prepare_cached(sql)?.exists(params![group.0, at])?;
            Err(if decided {
                settled("was decided already")
            } else if again {
                settled("was sent again")
            } else {
                unknown()
            })
        }
    }
}

/// A change's name as it is now.
pub(super) fn name_of(db: &Db, n: i64) -> Result<String, Error> {
    let sql = "SELECT g.id, c.at FROM afield_change AS c \
               JOIN afield_group AS g ON g.n = c.group_n WHERE c.n = ?1";
    let (id, at): ([u8; 16], i64) = db
        .conn
        .prepare_cached(sql)?
        .query_row([n], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let at = usize::try_from(at).unwrap_or(0);
    Ok(super::status::change_name(&GroupId(id), at))
}

fn rows(changes: &[Parked]) -> BTreeSet<(String, Vec<u8>)> {
    let row = |change: &Parked| (change.entity.clone(), change.key.clone());
    changes.iter().map(row).collect()
}
