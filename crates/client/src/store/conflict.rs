//! Conflicts: what the user wrote and what the server has, side by side until somebody decides.
//!
//! A change in conflict stays in its parked group, and its row stays as the user wrote it. A later
//! edit of that row alone is folded into it, so that there is one version to decide about. When a
//! pull brings a newer row of the server's, [`conflicts`] shows that one from then on; a decision
//! is always about the row that was shown last.

use std::collections::HashMap;

use afield_protocol::codec::cbor::{read_attributes, read_key, write_attributes};
use afield_protocol::conflict::count;
use afield_protocol::{Attributes, Code, Entity, GroupId, Key, Op, Value, VerdictKind, zoo};
use rusqlite::{OptionalExtension, Row, params};

use super::db::{Db, Loaded};
use super::sql::row_attributes;
use super::status::change_name;
use crate::error::Error;

/// Two versions of a row that wait for a decision.
#[derive(Clone, Debug, PartialEq)]
pub struct ConflictInfo {
    /// Its name: the change's.
    pub conflict: String,
    /// The local entity.
    pub entity: String,
    /// The row.
    pub key: Key,
    /// What the user did.
    pub op: Op,
    /// The row as the user saw it before; empty for a create.
    pub base: Attributes,
    /// What the row becomes by [`Resolution::Mine`]: the user's values on top of the server's
    /// row. `None` if the user deleted it.
    pub mine: Option<Attributes>,
    /// The server's row; `None` if it is gone.
    pub theirs: Option<Attributes>,
    /// Attributes that differ between both; for a delete, those that somebody else changed.
    pub attributes: Vec<String>,
    /// When the conflict arrived, in milliseconds since 1970.
    pub since_ms: i64,
}

/// A decision about a conflict.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolution {
    /// The user's values stand; the server's row stays in the attributes that he did not set.
    Mine,
    /// The server's row stands; what the user wrote stays in the history.
    Theirs,
    /// These values stand; what is not named stays as the server has it.
    Merged(Attributes),
}

/// Decides conflicts of one entity by itself; `None` leaves one to a person.
pub(super) type Resolver = Box<dyn Fn(&ConflictInfo) -> Option<Resolution> + Send>;

/// Resolvers by entity.
pub(super) type Resolvers = HashMap<String, Resolver>;

/// A change of a parked group, or of one that is not sent.
#[derive(Clone, Debug)]
pub(super) struct Parked {
    pub(super) n: i64,
    pub(super) group_n: i64,
    pub(super) group: GroupId,
    pub(super) at: i64,
    pub(super) entity: String,
    pub(super) key: Vec<u8>,
    pub(super) op: Op,
    pub(super) base: Attributes,
    pub(super) set: Attributes,
    pub(super) overlay: bool,
    pub(super) theirs: Option<Attributes>,
    refreshed: bool,
    /// How it was refused itself; a change that shares a group with that one has its own code.
    pub(super) result: Option<VerdictKind>,
    pub(super) code: Option<Code>,
    since_ms: i64,
}

/// The newest outcome of change `c` under the id that its group `g` has now. Outcomes under former
/// ids are decided, and belong to the history.
pub(super) const NEWEST_OUTCOME: &str =
    "(SELECT max(n) FROM afield_outcome WHERE change_n = c.n AND group_id = g.id)";

/// Reads parked changes; `rest` may have conditions on group `g`, change `c` and outcome `o`.
fn parked(rest: &str) -> String {
    in_state("parked", rest)
}

/// The same of groups in another state.
fn in_state(state: &str, rest: &str) -> String {
    format!(
        "SELECT c.n, g.n, g.id, c.at, c.entity, c.key, c.op, c.base, c.sets, \
         c.overlay, c.theirs, c.refreshed, o.result, o.code, o.stored_at \
         FROM afield_group AS g JOIN afield_change AS c ON c.group_n = g.n \
         LEFT JOIN afield_outcome AS o ON o.n = {NEWEST_OUTCOME} \
         WHERE g.state = '{state}' {rest}"
    )
}

/// One group's, in its order.
const GROUP: &str = "AND g.n = ?1 ORDER BY c.at";

/// Whether change `c` of group `g` was decided and waits for open conflicts of its group: what was
/// decided about is in the history, and the outcome with it.
pub(super) const DECIDED: &str = "(g.state = 'parked' AND NOT EXISTS \
     (SELECT 1 FROM afield_outcome AS d WHERE d.change_n = c.n AND d.group_id = g.id))";

impl Parked {
    fn read(row: &Row<'_>) -> Result<Self, Error> {
        let op: String = row.get(6)?;
        let (base, set): (Vec<u8>, Vec<u8>) = (row.get(7)?, row.get(8)?);
        let theirs: Option<Vec<u8>> = row.get(10)?;
        let (result, code): (Option<String>, Option<String>) = (row.get(12)?, row.get(13)?);
        let since: Option<i64> = row.get(14)?;
        Ok(Self {
            n: row.get(0)?,
            group_n: row.get(1)?,
            group: GroupId(row.get(2)?),
            at: row.get(3)?,
            entity: row.get(4)?,
            key: row.get(5)?,
            op: super::outbox::op(&op)?,
            base: read_attributes(&base)?,
            set: read_attributes(&set)?,
            overlay: row.get(9)?,
            theirs: theirs.map(|theirs| read_attributes(&theirs)).transpose()?,
            refreshed: row.get(11)?,
            result: result.as_deref().and_then(VerdictKind::parse),
            code: code.map(|word| Code::parse(&word)),
            since_ms: since.unwrap_or(0),
        })
    }

    /// The parked changes of a group, in its order.
    pub(super) fn of_group(db: &Db, group: i64) -> Result<Vec<Self>, Error> {
        Self::read_group(db, &parked(GROUP), group)
    }

    /// The changes of a group that is not sent, in its order.
    pub(super) fn of_unsent(db: &Db, group: i64) -> Result<Vec<Self>, Error> {
        Self::read_group(db, &in_state("pending", GROUP), group)
    }

    fn read_group(db: &Db, sql: &str, group: i64) -> Result<Vec<Self>, Error> {
        let mut statement = db.conn.prepare_cached(sql)?;
        let mut rows = statement.query([group])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(Self::read(row)?);
        }
        Ok(found)
    }

    /// Its name.
    pub(super) fn name(&self) -> String {
        change_name(&self.group, usize::try_from(self.at).unwrap_or(0))
    }

    /// Whether it was decided and waits for open conflicts of its group.
    pub(super) fn is_decided(&self) -> bool {
        self.result.is_none()
    }

    /// Whether it is an open conflict.
    pub(super) fn is_conflict(&self) -> bool {
        self.result == Some(VerdictKind::Conflict)
    }
}

/// Every open conflict, oldest first, with the server's newest row of each. Runs inside a write
/// transaction: what is shown here is what a decision is about, and that is kept.
pub(super) fn conflicts(db: &mut Db) -> Result<Vec<ConflictInfo>, Error> {
    let loaded = db.loaded()?;
    let mut found = Vec::new();
    for mut parked in open(db)? {
        show(db, &loaded, &mut parked)?;
        found.push(info(&loaded, &parked)?);
    }
    Ok(found)
}

/// The changes in open conflict, oldest first.
pub(super) fn open(db: &Db) -> Result<Vec<Parked>, Error> {
    let sql = parked("AND o.result = 'conflict' ORDER BY c.n");
    let mut statement = db.conn.prepare_cached(&sql)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Parked::read(row)?);
    }
    Ok(found)
}

/// Takes over the row that a pull brought since, if any: from now on it is the one to decide on.
pub(super) fn show(db: &Db, loaded: &Loaded, parked: &mut Parked) -> Result<(), Error> {
    // Without its overlay the row was gone once; if it is there, a pull has brought it back.
    if !parked.refreshed && parked.overlay {
        return Ok(());
    }
    let Ok(table) = loaded.table(&parked.entity) else {
        return Ok(());
    };
    let now = table.known_row(&db.conn, &read_key(&parked.key)?)?;
    parked.theirs = now.map(|row| row_attributes(&table.entity, &row));
    parked.refreshed = false;
    let theirs = parked.theirs.as_ref().map(write_attributes);
    let sql = "UPDATE afield_change SET theirs = ?2, refreshed = 0 WHERE n = ?1";
    db.conn
        .prepare_cached(sql)?
        .execute(params![parked.n, theirs])?;
    Ok(())
}

/// Whether any change waits for its user.
pub(super) fn are_parked(db: &Db) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM afield_group WHERE state = 'parked'";
    Ok(db.conn.prepare_cached(sql)?.exists([])?)
}

/// Notes that a pull brought the server's row of an identifier that has parked changes.
pub(super) fn refreshed(db: &Db, entity: &str, key: &[u8]) -> Result<(), Error> {
    let sql = "UPDATE afield_change SET refreshed = 1 WHERE entity = ?1 AND key = ?2 \
               AND group_n IN (SELECT n FROM afield_group WHERE state = 'parked')";
    db.conn.prepare_cached(sql)?.execute(params![entity, key])?;
    Ok(())
}

/// A conflict as it is shown.
pub(super) fn info(loaded: &Loaded, parked: &Parked) -> Result<ConflictInfo, Error> {
    let entity = loaded.table(&parked.entity).ok().map(|table| &table.entity);
    let mine = (parked.op != Op::Delete).then(|| mine(entity, parked));
    let old = mine.as_ref().unwrap_or(&parked.base);
    let differs = |name: &&String| match &parked.theirs {
        Some(theirs) => old.get(*name) != theirs.get(*name),
        None => true,
    };
    let names = old
        .keys()
        .chain(parked.theirs.iter().flatten().map(|(name, _)| name));
    let mut attributes: Vec<String> = names.filter(differs).cloned().collect();
    attributes.sort();
    attributes.dedup();
    Ok(ConflictInfo {
        conflict: parked.name(),
        entity: parked.entity.clone(),
        key: read_key(&parked.key)?,
        op: parked.op,
        base: parked.base.clone(),
        mine,
        theirs: parked.theirs.clone(),
        attributes,
        since_ms: parked.since_ms,
    })
}

/// What the row becomes if the user's version stands.
fn mine(entity: Option<&Entity>, parked: &Parked) -> Attributes {
    let mut row = parked.theirs.clone().unwrap_or_else(|| parked.base.clone());
    let is_counter = |name: &String| {
        let attribute = entity.and_then(|entity| entity.attribute(name));
        parked.op == Op::Update && attribute.is_some_and(|attribute| attribute.counter)
    };
    for (name, value) in &parked.set {
        let value = if is_counter(name) {
            counted(&parked.base, row.get(name), name, value)
        } else {
            value.clone()
        };
        row.insert(name.clone(), value);
    }
    row
}

/// Makes the counters of a change whole numbers instead of differences, as the user sees them: a
/// copy of this device may have counted the same, so that the difference is part of theirs already.
pub(super) fn count_as_seen(
    db: &Db,
    loaded: &Loaded,
    entity: &str,
    key: &[u8],
    n: i64,
) -> Result<(), Error> {
    let Ok(table) = loaded.table(entity) else {
        return Ok(());
    };
    let counters = table.entity.counters();
    if counters.is_empty() {
        return Ok(());
    }
    let seen = super::overlay::up_to(db, table, key, n)?;
    let seen = seen.map(|row| row_attributes(&table.entity, &row));
    let sql = "SELECT base, sets FROM afield_change WHERE n = ?1 AND op = 'update'";
    let stored: Option<(Vec<u8>, Vec<u8>)> = db
        .conn
        .prepare_cached(sql)?
        .query_row([n], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((base, set)) = stored else {
        return Ok(());
    };
    let (mut base, mut set) = (read_attributes(&base)?, read_attributes(&set)?);
    base.retain(|name, _| !counters.contains(name));
    for (name, value) in set.iter_mut().filter(|(name, _)| counters.contains(name)) {
        if let Some(seen) = seen.as_ref().and_then(|seen| seen.get(name)) {
            value.clone_from(seen);
        }
    }
    let sql = "UPDATE afield_change SET base = ?2, sets = ?3 WHERE n = ?1";
    let bound = params![n, write_attributes(&base), write_attributes(&set)];
    db.conn.prepare_cached(sql)?.execute(bound)?;
    db.crash_point("count-as-seen")
}

/// A counter's value on top of `now`: the difference that the user made counts. A sum out of range
/// shows the user's own number; the server refuses it. So does a number of which nobody knows any
/// more what it was counted from.
pub(super) fn counted(base: &Attributes, now: Option<&Value>, name: &str, set: &Value) -> Value {
    let Some(before) = base.get(name) else {
        return set.clone();
    };
    count(before, now.unwrap_or(before), set).unwrap_or_else(|| set.clone())
}

/// The newest change that lies over a row, if it is in open conflict: a later edit of that row
/// alone is folded into it. Between the two nothing else may lie over the row, or the order would
/// be lost.
pub(super) fn foldable(db: &Db, entity: &str, key: &[u8]) -> Result<Option<Parked>, Error> {
    // As bare parameters the two would make SQLite plan the statement anew for every edit.
    let sql = "SELECT c.n, g.n, g.state FROM afield_change AS c \
               JOIN afield_group AS g ON g.n = c.group_n \
               WHERE c.overlay = 1 AND c.entity = (SELECT ?1) AND c.key = (SELECT ?2) \
               ORDER BY c.n DESC LIMIT 1";
    let newest: Option<(i64, i64, String)> = db
        .conn
        .prepare_cached(sql)?
        .query_row(params![entity, key], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let Some((n, group, state)) = newest else {
        return Ok(None);
    };
    if state != "parked" {
        return Ok(None);
    }
    let changes: Vec<Parked> = Parked::of_group(db, group)?;
    let newest = |parked: &Parked| parked.n == n && parked.is_conflict();
    Ok(changes.into_iter().find(newest))
}

/// Writes a folded edit; the group keeps its name until the conflict is decided.
pub(super) fn fold(
    db: &Db,
    n: i64,
    op: Op,
    base: &Attributes,
    set: &Attributes,
) -> Result<(), Error> {
    if !zoo::planted("conflict-edit-lost") {
        let sql = "UPDATE afield_change SET op = ?2, base = ?3, sets = ?4 WHERE n = ?1";
        db.conn.prepare_cached(sql)?.execute(params![
            n,
            op.as_str(),
            write_attributes(base),
            write_attributes(set),
        ])?;
    }
    db.crash_point("fold-conflict")
}
