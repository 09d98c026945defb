//! Rebasing: what a change was made on, once the change before it is settled.
//!
//! A later change is rebased onto exactly what its predecessor became, never onto the newest row:
//! nobody conflicts with himself, and nobody overwrites what he has not seen. Counters are left
//! alone, because only the difference between base and set counts.

use std::collections::BTreeMap;

use afield_protocol::codec::cbor::{read_attributes, read_key, write_attributes};
use afield_protocol::dependence::{Blocked, Step, Stopped};
use afield_protocol::{Attributes, Entity, Op, Pattern, Value};
use rusqlite::{Row, params};

use super::conflict::{Parked, counted};
use super::db::{Db, Loaded};
use crate::error::Error;

/// A change behind another one.
pub(super) struct Behind {
    pub(super) n: i64,
    pub(super) group_n: i64,
    pub(super) entity: String,
    pub(super) key: Vec<u8>,
    pub(super) op: Op,
    pub(super) base: Attributes,
    pub(super) set: Attributes,
    state: String,
    result: Option<String>,
}

/// Columns of [`Behind::read`].
const BEHIND: &str = "SELECT c.n, g.n, c.entity, c.key, c.op, c.base, c.sets, g.state, \
     (SELECT result FROM afield_outcome WHERE change_n = c.n AND group_id = g.id \
      ORDER BY n DESC LIMIT 1) FROM afield_change AS c JOIN afield_group AS g ON g.n = c.group_n";

impl Behind {
    fn read(row: &Row<'_>) -> Result<Self, Error> {
        let op: String = row.get(4)?;
        let (base, set): (Vec<u8>, Vec<u8>) = (row.get(5)?, row.get(6)?);
        Ok(Self {
            n: row.get(0)?,
            group_n: row.get(1)?,
            entity: row.get(2)?,
            key: row.get(3)?,
            op: super::outbox::op(&op)?,
            base: read_attributes(&base)?,
            set: read_attributes(&set)?,
            state: row.get(7)?,
            result: row.get(8)?,
        })
    }

    /// Whether it was refused, and nobody has decided about it.
    fn is_parked(&self) -> bool {
        self.state == "parked" && self.result.is_some()
    }

    fn is_conflict(&self) -> bool {
        self.is_parked() && self.result.as_deref() == Some("conflict")
    }

    /// Whether it is sent, or sent again, once nothing stands before it.
    fn goes(&self) -> bool {
        self.state == "pending" || self.state == "parked" && self.result.is_none()
    }
}

/// The overlays of a row that were made after change `n`, oldest first.
fn behind(db: &Db, entity: &str, key: &[u8], n: i64) -> Result<Vec<Behind>, Error> {
    let sql = format!(
        "{BEHIND} WHERE c.overlay = 1 AND c.entity = ?1 AND c.key = ?2 AND c.n > ?3 ORDER BY c.n"
    );
    let mut statement = db.conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params![entity, key, n])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Behind::read(row)?);
    }
    Ok(found)
}

/// What changes behind change `n` of its row set; `None` if one of them makes or deletes the row.
pub(super) fn set_behind(
    db: &Db,
    entity: &str,
    key: &[u8],
    n: i64,
) -> Result<Option<Attributes>, Error> {
    let mut set = Attributes::new();
    for later in behind(db, entity, key, n)? {
        if later.op != Op::Update {
            return Ok(None);
        }
        set.extend(later.set);
    }
    Ok(Some(set))
}

/// Names of the attributes of `entity` that are sent as differences.
pub(super) fn counters(loaded: &Loaded, entity: &str) -> Vec<String> {
    let entity = loaded.model.entity(entity);
    entity.map(Entity::counters).unwrap_or_default()
}

/// Puts what a settled change made of its values in the bases of later, unsent changes of its row,
/// each up to the change that sets it itself. Says whether there is none.
pub(super) fn became(
    db: &Db,
    loaded: &Loaded,
    entity: &str,
    key: &[u8],
    n: i64,
    became: Attributes,
) -> Result<bool, Error> {
    put_in_bases(db, loaded, entity, key, n, became, Behind::goes)
}

/// The same for what was before a change that did not take effect. The base of a change that is on
/// its way counts if the server sends the change back.
pub(super) fn undone(
    db: &Db,
    loaded: &Loaded,
    entity: &str,
    key: &[u8],
    n: i64,
    before: Attributes,
) -> Result<(), Error> {
    let counts = |later: &Behind| later.goes() || later.state == "sent";
    put_in_bases(db, loaded, entity, key, n, before, counts).map(|_| ())
}

/// A refused group goes again: its values are in the bases of later changes as before.
pub(super) fn resumed(db: &Db, loaded: &Loaded, group: i64) -> Result<(), Error> {
    let sql = format!("{BEHIND} WHERE g.n = ?1 AND c.op = 'update' ORDER BY c.at");
    let mut statement = db.conn.prepare_cached(&sql)?;
    let mut rows = statement.query([group])?;
    let mut changes = Vec::new();
    while let Some(row) = rows.next()? {
        changes.push(Behind::read(row)?);
    }
    for change in changes {
        if detects_conflicts(loaded, &change.entity) {
            undone(
                db,
                loaded,
                &change.entity,
                &change.key,
                change.n,
                change.set,
            )?;
        }
    }
    Ok(())
}

/// Says whether there is no later change.
fn put_in_bases(
    db: &Db,
    loaded: &Loaded,
    entity: &str,
    key: &[u8],
    n: i64,
    mut became: Attributes,
    counts: impl Fn(&Behind) -> bool,
) -> Result<bool, Error> {
    let later = behind(db, entity, key, n)?;
    if later.is_empty() {
        return Ok(true);
    }
    let counters = counters(loaded, entity);
    became.retain(|name, _| !counters.contains(name));
    for mut later in later {
        for (name, value) in &mut later.base {
            if let Some(became) = became.get(name) {
                *value = became.clone();
            }
        }
        if counts(&later) {
            write(db, &later)?;
        }
        became.retain(|name, _| !later.set.contains_key(name));
    }
    Ok(false)
}

/// Puts what an applied change made of its values in the bases of refused changes before it. They
/// may be sent again, and would be in conflict with what the user did himself.
pub(super) fn known(
    db: &Db,
    loaded: &Loaded,
    entity: &str,
    key: &[u8],
    n: i64,
    became: &Attributes,
) -> Result<(), Error> {
    if !detects_conflicts(loaded, entity) {
        return Ok(());
    }
    let counters = counters(loaded, entity);
    let before = behind(db, entity, key, 0)?.into_iter();
    let before = before.filter(|it| it.n < n && it.is_parked() && !it.is_conflict());
    for mut parked in before {
        for (name, value) in &mut parked.base {
            match became.get(name) {
                Some(became) if !counters.contains(name) => *value = became.clone(),
                _ => {}
            }
        }
        write(db, &parked)?;
    }
    Ok(())
}

/// Whether any change of a row counts, not only that of the same attribute.
pub(super) fn detects_conflicts(loaded: &Loaded, entity: &str) -> bool {
    let entity = loaded.model.entity(entity);
    entity.is_some_and(|entity| entity.pattern == Pattern::DetectConflicts)
}

/// Rebases the later changes of a row, up to one that is in conflict itself, onto the whole row
/// that the server has after change `n`. The base of a change that is on its way is replaced
/// too: it counts if the server sends the change back.
pub(super) fn onto(
    db: &Db,
    loaded: &Loaded,
    entity: &str,
    key: &[u8],
    n: i64,
    mut row: Option<Attributes>,
) -> Result<(), Error> {
    let counters = counters(loaded, entity);
    for mut later in behind(db, entity, key, n)? {
        if later.is_conflict() {
            return Ok(());
        }
        if let Some(row) = row.as_ref().filter(|_| later.state != "settled") {
            if later.op == Op::Create {
                update_instead(loaded, &mut later, row);
            }
            let kept = |name: &String| counters.contains(name) && later.set.contains_key(name);
            let before = std::mem::take(&mut later.base).into_iter();
            let before: Attributes = before.filter(|(name, _)| kept(name)).collect();
            later.base.clone_from(row);
            later.base.extend(before);
            write(db, &later)?;
        }
        if !later.is_parked() {
            let (op, base, set) = (later.op, &later.base, &later.set);
            row = lay(loaded, entity, row.as_ref(), op, base, set);
        }
    }
    Ok(())
}

/// A row that was made again after a delete that did not happen is updated instead: whatever the
/// create does not mention is empty.
fn update_instead(loaded: &Loaded, later: &mut Behind, row: &Attributes) {
    let Some(entity) = loaded.model.entity(&later.entity) else {
        return;
    };
    later.op = Op::Update;
    for attribute in entity
        .values()
        .iter()
        .filter(|attribute| !attribute.read_only)
    {
        let set = later.set.entry(attribute.name.clone());
        set.or_insert(Value::Null);
    }
    later.set.retain(|name, value| row.get(name) != Some(value));
}

/// The row after a change.
pub(super) fn lay(
    loaded: &Loaded,
    entity: &str,
    row: Option<&Attributes>,
    op: Op,
    base: &Attributes,
    set: &Attributes,
) -> Option<Attributes> {
    if op == Op::Delete {
        return None;
    }
    let counters = counters(loaded, entity);
    let mut after = row.cloned().unwrap_or_default();
    for (name, value) in set {
        let value = if op == Op::Update && counters.contains(name) {
            counted(base, after.get(name), name, value)
        } else {
            value.clone()
        };
        after.insert(name.clone(), value);
    }
    Some(after)
}

fn write(db: &Db, change: &Behind) -> Result<(), Error> {
    let sql = "UPDATE afield_change SET op = ?2, base = ?3, sets = ?4 WHERE n = ?1";
    db.conn.prepare_cached(sql)?.execute(params![
        change.n,
        change.op.as_str(),
        write_attributes(&change.base),
        write_attributes(&change.set),
    ])?;
    db.crash_point("rebase")
}

/// Takes refused values out of the base of a new change. The user sees them on the device, the
/// server does not have them; where any change of a row counts as a conflict they would be one.
pub(super) fn without_refused(
    db: &Db,
    entity: &Entity,
    key: &[u8],
    base: &mut Attributes,
) -> Result<(), Error> {
    if entity.pattern != Pattern::DetectConflicts || base.is_empty() {
        return Ok(());
    }
    let changes = behind(db, &entity.name, key, 0)?.into_iter().rev();
    for change in changes.filter(|change| change.is_parked() && !change.is_conflict()) {
        for (name, value) in &change.set {
            let before = change.base.get(name);
            if let (Some(here), Some(before)) = (base.get_mut(name), before)
                && here == value
                && !entity
                    .attribute(name)
                    .is_some_and(|attribute| attribute.counter)
            {
                *here = before.clone();
            }
        }
    }
    Ok(())
}

/// Everything that depends on the row that a refused create was to make, by group. What was sent
/// is among it: it cannot have taken effect, and would be held for ever.
pub(super) fn dependants(
    db: &Db,
    loaded: &Loaded,
    create: &Parked,
) -> Result<BTreeMap<i64, Vec<Behind>>, Error> {
    let mut blocked = Blocked::default();
    let key = read_key(&create.key)?;
    let made = Step::new(&create.entity, &key, create.op, &create.base, &create.set);
    blocked.add(made, Stopped::Refused);
    let sql = format!(
        "{BEHIND} WHERE g.state IN ('pending', 'sent', 'parked') AND g.n >= ?1 AND c.n <> ?2 \
         ORDER BY g.n, c.at"
    );
    let mut statement = db.conn.prepare_cached(&sql)?;
    let mut rows = statement.query([create.group_n, create.n])?;
    let mut found: BTreeMap<i64, Vec<Behind>> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let later = Behind::read(row)?;
        let key = read_key(&later.key)?;
        let step = Step::new(&later.entity, &key, later.op, &later.base, &later.set);
        if !blocked.holds(&loaded.model, step) {
            continue;
        }
        if later.op == Op::Create {
            blocked.add(step, Stopped::Refused);
        }
        found.entry(later.group_n).or_default().push(later);
    }
    Ok(found)
}
