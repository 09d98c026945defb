//! What a store says about itself: status, changes, outcomes.

use std::collections::{BTreeMap, HashMap};

use afield_protocol::codec::cbor::{read_attributes, read_key, write_key};
use afield_protocol::{Attributes, Code, DeviceLimits, GroupId, Key, Op, Value, VerdictKind};
use rusqlite::{Row, params};

use super::actions::current_key;
use super::checked::VerifyStatus;
use super::conflict::{DECIDED, NEWEST_OUTCOME};
use super::db::Db;
use super::inbox::DecidedInfo;
use super::unit::{self, UnitStatus};
use super::upgrade_failed::{self, UpgradeFailed};
use super::{checked, conflict, decide, held, inbox, outbox, scope, vacuum};
use crate::error::Error;

/// Where a change stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChangeState {
    /// Not sent yet.
    Pending,
    /// Sent; its outcome is not known.
    Sent,
    /// Not sent, because it depends on a change that is parked or backs off.
    Held,
    /// Refused or in conflict: kept until the app decides.
    Parked,
    /// Applied on the server.
    Settled,
    /// Given up, or replaced by what was decided instead.
    Dropped,
}

impl ChangeState {
    /// The stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Held => "held",
            Self::Parked => "parked",
            Self::Settled => "settled",
            Self::Dropped => "dropped",
        }
    }
}

/// A change on this device.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeInfo {
    /// Its name: the group's id and its place in it.
    pub change: String,
    /// Its group.
    pub group: GroupId,
    /// The local entity.
    pub entity: String,
    /// The row.
    pub key: Key,
    /// What is done.
    pub op: Op,
    /// Where it stands.
    pub state: ChangeState,
    /// What was set.
    pub set: Attributes,
    /// The row before.
    pub base: Attributes,
    /// The server's row, with a conflict.
    pub theirs: Option<Attributes>,
    /// Why it is parked, or was before it was dropped; `waits-for` while it is held.
    pub code: Option<Code>,
    /// The attribute that the code speaks of.
    pub attribute: Option<String>,
    /// For a person.
    pub message: Option<String>,
    /// The change that a held one waits for.
    pub waits_for: Option<String>,
    /// Who decided about it on the server, if somebody did.
    pub decided: Option<DecidedInfo>,
}

/// A final outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct OutcomeInfo {
    /// Its number; outcomes are numbered in the order in which they arrived.
    pub n: i64,
    /// The change's name.
    pub change: String,
    /// The local entity.
    pub entity: String,
    /// The row.
    pub key: Key,
    /// What was done.
    pub op: Op,
    /// How it ended.
    pub result: VerdictKind,
    /// Why, unless applied.
    pub code: Option<Code>,
    /// The attribute that the code speaks of.
    pub attribute: Option<String>,
    /// For a person.
    pub message: Option<String>,
    /// The identifier that the server gave, if another.
    pub new_key: Option<Key>,
}

/// How a row stands to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RowState {
    /// No change of it waits for anything.
    Synced,
    /// It has changes that were not sent yet.
    Pending,
    /// It has changes whose outcome is not known.
    Sent,
    /// It has changes that wait for others.
    Held,
    /// A change of it was refused.
    Parked,
    /// Somebody else changed it too; a person decides.
    Conflict,
}

impl RowState {
    /// The stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Synced => "synced",
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Held => "held",
            Self::Parked => "parked",
            Self::Conflict => "conflict",
        }
    }
}

/// Counts and times for a status line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Changes that are not settled and neither held nor parked.
    pub pending: u64,
    /// Changes that wait for others.
    pub held: u64,
    /// Changes that were refused.
    pub parked: u64,
    /// Changes in conflict (counted in `parked` too).
    pub conflicts: u64,
    /// Where each sync unit stands, in the model's order.
    pub units: Vec<UnitStatus>,
    /// Changes that somebody decided about on the server, as long as they are remembered.
    pub decided: u64,
    /// Entities whose first download is not complete, or that a new model has fetched again.
    pub downloading: Vec<String>,
    /// How many values of its scope the user holds, as far as their rows are here, of each entity
    /// whose scope has values.
    pub scope_values: BTreeMap<String, u64>,
    /// Whether something of rows that left is still to be erased from the files, because others
    /// read or write: it is done at the end of a sync, or when the store is opened for one.
    pub erase_due: bool,
    /// When a sync last completed, in milliseconds since 1970.
    pub last_success_ms: Option<i64>,
    /// Why the newest sync failed, if it did.
    pub last_error: Option<Code>,
    /// What is known of whether this device has exactly the server's rows.
    pub verify: VerifyStatus,
    /// The server's newer model, if this store could not take it: the old one stays in use.
    pub upgrade_failed: Option<UpgradeFailed>,
    /// How old `last_success_ms` may be for the device to be up to date, in milliseconds: the
    /// model's `freshness`.
    pub freshness_ms: i64,
}

/// A change's name.
pub(super) fn change_name(group: &GroupId, at: usize) -> String {
    format!("{group}.{at}")
}

/// Every change that is kept, oldest first. Runs inside a write transaction: it seals first, so
/// that what another process just wrote is counted.
pub(super) fn changes(db: &mut Db) -> Result<Vec<ChangeInfo>, Error> {
    read(db, "", params![])
}

/// The change of that name; or, where its group was folded into another one, that one's.
pub(super) fn named(db: &mut Db, name: &str) -> Result<ChangeInfo, Error> {
    let (group, at) = decide::parts(name)?;
    let found = read(db, "WHERE g.id = ?1 AND c.at = ?2", params![group.0, at])?;
    if let Some(found) = found.into_iter().next() {
        return Ok(found);
    }
    // Only groups of one change of one row are folded.
    let id = decide::successor(db, group)?.filter(|_| at == 0);
    let id = id.ok_or_else(|| decide::unknown(name))?.0;
    let found = read(db, "WHERE g.id = ?1 AND c.at = 0", params![id])?;
    (found.into_iter().next()).ok_or_else(|| decide::unknown(name))
}

/// The changes that `condition` on group `g` and change `c` selects, oldest first.
fn read(
    db: &mut Db,
    condition: &str,
    params: impl rusqlite::Params,
) -> Result<Vec<ChangeInfo>, Error> {
    let held = held::held(db)?;
    let sql = format!(
        "SELECT g.n, g.id, g.state, c.at, c.entity, c.key, c.op, c.base, c.sets, c.theirs, \
         o.code, o.attribute, o.message, {DECIDED} \
         FROM afield_group AS g JOIN afield_change AS c ON c.group_n = g.n \
         LEFT JOIN afield_outcome AS o ON g.state IN ('parked', 'dropped') \
         AND o.n = (SELECT max(n) FROM afield_outcome WHERE change_n = c.n) \
         {condition} ORDER BY c.n"
    );
    let open = open_by_group(db)?;
    let decided = inbox::decided(db)?;
    let mut statement = db.conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let waits_for = match row.get(13)? {
            true => &open,
            false => &held,
        };
        let mut change = change(row, waits_for.get(&row.get(0)?))?;
        change.decided = decided.get(&change.group).cloned();
        found.push(change);
    }
    Ok(found)
}

/// The first open conflict of each group: what was decided of it waits for that one.
fn open_by_group(db: &Db) -> Result<HashMap<i64, Option<String>>, Error> {
    let mut found = HashMap::new();
    for open in conflict::open(db)? {
        found
            .entry(open.group_n)
            .or_insert_with(|| Some(open.name()));
    }
    Ok(found)
}

/// A change; `reason` if it waits for another.
fn change(row: &Row<'_>, reason: Option<&Option<String>>) -> Result<ChangeInfo, Error> {
    let state: String = row.get(2)?;
    let state = match state.as_str() {
        _ if reason.is_some() => ChangeState::Held,
        "pending" => ChangeState::Pending,
        "sent" => ChangeState::Sent,
        "parked" => ChangeState::Parked,
        "dropped" => ChangeState::Dropped,
        _ => ChangeState::Settled,
    };
    let group = GroupId(row.get(1)?);
    let at: i64 = row.get(3)?;
    let (key, op): (Vec<u8>, String) = (row.get(5)?, row.get(6)?);
    let (base, set): (Vec<u8>, Vec<u8>) = (row.get(7)?, row.get(8)?);
    let theirs: Option<Vec<u8>> = row.get(9)?;
    let code: Option<String> = row.get(10)?;
    let code = code.map(|word| Code::parse(&word));
    Ok(ChangeInfo {
        change: change_name(&group, usize::try_from(at).unwrap_or(0)),
        group,
        entity: row.get(4)?,
        key: read_key(&key)?,
        op: outbox::op(&op)?,
        state,
        set: read_attributes(&set)?,
        base: read_attributes(&base)?,
        theirs: theirs.map(|theirs| read_attributes(&theirs)).transpose()?,
        code: reason.map_or(code, |_| Some(Code::WAITS_FOR)),
        attribute: row.get(11)?,
        message: row.get(12)?,
        waits_for: reason.cloned().flatten(),
        decided: None,
    })
}

/// Every outcome after number `since`.
pub(super) fn outcomes(db: &Db, since: i64) -> Result<Vec<OutcomeInfo>, Error> {
    let sql = "SELECT n, group_id, at, entity, key, op, result, code, attribute, message, new_key \
               FROM afield_outcome WHERE n > ?1 ORDER BY n";
    let mut statement = db.conn.prepare_cached(sql)?;
    let mut rows = statement.query(params![since])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (key, op): (Vec<u8>, String) = (row.get(4)?, row.get(5)?);
        let (at, result): (i64, String) = (row.get(2)?, row.get(6)?);
        let code: Option<String> = row.get(7)?;
        let new_key: Option<Vec<u8>> = row.get(10)?;
        found.push(OutcomeInfo {
            n: row.get(0)?,
            change: change_name(&GroupId(row.get(1)?), usize::try_from(at).unwrap_or(0)),
            entity: row.get(3)?,
            key: read_key(&key)?,
            op: outbox::op(&op)?,
            result: VerdictKind::parse(&result).unwrap_or(VerdictKind::Rejected),
            code: code.map(|word| Code::parse(&word)),
            attribute: row.get(8)?,
            message: row.get(9)?,
            new_key: new_key.map(|key| read_key(&key)).transpose()?,
        });
    }
    Ok(found)
}

/// Counts where the changes stand.
pub(super) fn status(db: &mut Db) -> Result<Status, Error> {
    let mut status = Status::default();
    if db.has_model() {
        for change in changes(db)? {
            status.decided += u64::from(change.decided.is_some());
            match change.state {
                ChangeState::Pending | ChangeState::Sent => status.pending += 1,
                ChangeState::Held => status.held += 1,
                ChangeState::Parked => status.parked += 1,
                ChangeState::Settled | ChangeState::Dropped => {}
            }
        }
        status.conflicts = conflict::open(db)?.len() as u64;
        status.units = unit::status(db)?;
        let loaded = db.loaded()?;
        let sql = "SELECT name FROM afield_entity WHERE complete = 0 OR position IS NULL \
                   ORDER BY name";
        let mut statement = db.conn.prepare_cached(sql)?;
        let names = statement.query_map([], |row| row.get::<_, String>(0))?;
        for name in names {
            let name = name?;
            if loaded
                .model
                .entity(&name)
                .is_some_and(|entity| entity.is_synced() && !entity.insert_only)
            {
                status.downloading.push(name);
            }
        }
        for table in loaded
            .tables
            .iter()
            .filter(|it| !it.entity.scope.is_empty())
        {
            let name = table.entity.name.clone();
            let count = scope::count(db, &name)?;
            status.scope_values.insert(name, count);
        }
    }
    let sql = "SELECT last_success, last_error FROM afield_meta";
    let (success, error): (Option<i64>, Option<String>) = db
        .conn
        .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let model = db.loaded.as_ref().map(|loaded| &loaded.model);
    status.verify = checked::status(db, model)?;
    status.erase_due = vacuum::is_due(db)?;
    let limits = match db.has_model() {
        true => db.loaded()?.model.limits,
        false => DeviceLimits::default(),
    };
    status.freshness_ms = limits.freshness_ms;
    status.last_success_ms = success;
    status.last_error = error.map(|word| Code::parse(&word));
    status.upgrade_failed = upgrade_failed::failed(db)?;
    Ok(status)
}

/// How a row stands: by the change of it that needs most attention.
pub(super) fn row_state(db: &mut Db, entity: &str, key: &[Value]) -> Result<RowState, Error> {
    let loaded = db.loaded()?;
    let key = write_key(&current_key(&db.conn, loaded.table(entity)?, key)?);
    let sql = format!(
        "SELECT g.n, g.state, o.result FROM afield_change AS c \
         JOIN afield_group AS g ON g.n = c.group_n \
         LEFT JOIN afield_outcome AS o ON o.n = {NEWEST_OUTCOME} \
         WHERE c.entity = ?1 AND c.key = ?2 AND g.state IN ('pending', 'sent', 'parked')"
    );
    let mut statement = db.conn.prepare_cached(&sql)?;
    let found = statement.query_map(params![entity, key], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    })?;
    let found: Vec<(i64, String, Option<String>)> = found.collect::<Result<_, _>>()?;
    drop(statement);
    if found.is_empty() {
        return Ok(RowState::Synced);
    }
    let held = held::held(db)?;
    let state = |(n, state, result): &(i64, String, Option<String>)| match state.as_str() {
        "parked" if result.as_deref() == Some("conflict") => RowState::Conflict,
        "parked" if result.is_none() => RowState::Held,
        "parked" => RowState::Parked,
        _ if held.contains_key(n) => RowState::Held,
        "sent" => RowState::Sent,
        _ => RowState::Pending,
    };
    let weight = |state: &RowState| *state as u8;
    Ok(found
        .iter()
        .map(state)
        .max_by_key(weight)
        .unwrap_or(RowState::Synced))
}
