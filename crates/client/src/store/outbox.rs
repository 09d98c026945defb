//! The outbox: groups that are not settled, and the requests that carry them.
//!
//! A group is frozen (its very bytes are stored, durably) before it is sent for the first time;
//! from then on it never changes. Groups go in order, but one that is parked or backing off
//! holds back only what depends on it: the same row, a reference to a row it was to create, and
//! what shares a group with such a change.

use std::collections::{HashSet, VecDeque};

use afield_protocol::codec::cbor::{read_attributes, read_key};
use afield_protocol::codec::{Format, has_few_items};
use afield_protocol::dependence::{Blocked, Step, Stopped};
use afield_protocol::{
    Change, Checkpoint, Code, Frame, Group, GroupHash, GroupId, Model, Op, Part, Pattern, Position,
    VerdictKind, limits, zoo,
};
use rusqlite::params;

use super::conflict::{DECIDED, NEWEST_OUTCOME};
use super::db::{Db, Loaded};
use super::doubt;
use crate::error::Error;

/// Longest pause of a group that failed alone.
pub(crate) const GROUP_PAUSE_MAX_MS: i64 = 5 * 60 * 1_000;

/// How much one request may carry.
#[derive(Clone, Copy, Debug)]
pub struct RequestCaps {
    /// Most groups; halved by the engine after a failure.
    pub groups: usize,
    /// Changes after which the envelope is cut, at a group border.
    pub changes: usize,
    /// Bytes after which it is cut.
    pub bytes: usize,
    /// Changes of one group; a larger one is parked.
    pub group_changes: usize,
    /// Bytes of a group that is sent whole, and of the parts of a larger one; halved by the
    /// engine after a failure.
    pub part: usize,
    /// Whether to list the values of scopes that are held: the server asked for them.
    pub held: bool,
    /// Whether the log may go with it.
    pub log: bool,
}

impl Default for RequestCaps {
    fn default() -> Self {
        Self {
            groups: usize::MAX,
            changes: limits::BATCH_CHANGES,
            bytes: limits::BATCH_BYTES,
            group_changes: limits::GROUP_CHANGES_MAX,
            part: limits::PART_BYTES,
            held: false,
            log: true,
        }
    }
}

/// A group as it is sent.
#[derive(Clone, Debug, PartialEq)]
pub struct FrozenGroup {
    /// Its identity.
    pub id: GroupId,
    /// How many changes it has.
    pub changes: usize,
    /// Its frame in the wire format.
    pub bytes: Vec<u8>,
    /// Its hash.
    pub hash: GroupHash,
}

/// Everything a request needs from the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Outgoing {
    /// This request's number; the answer's pages and outcomes are applied under it.
    pub request: i64,
    /// The device's identity.
    pub device: String,
    /// The model's fingerprint.
    pub fingerprint: String,
    /// The newest checkpoints that the device has.
    pub checkpoints: Vec<Checkpoint>,
    /// The groups, in order.
    pub groups: Vec<FrozenGroup>,
    /// A piece of a large group.
    pub part: Option<Part>,
    /// Whether more groups could be sent after these.
    pub more: bool,
    /// Positions of the entities to pull.
    pub pull: Vec<(String, Option<Position>)>,
    /// Values of their scopes whose rows the device has, if the server asked for them.
    pub held: Vec<afield_protocol::Held>,
    /// What the app chose.
    pub chosen: Vec<afield_protocol::Chosen>,
    /// What became here of groups that the server refused, if it understands that.
    pub closed: Vec<afield_protocol::Closed>,
    /// Entries of the log, if the server takes them.
    pub log: Vec<afield_protocol::LogEntry>,
}

/// What waits in the outbox, as far as the choice of groups needs it.
pub(super) struct Waiting {
    pub(super) n: i64,
    pub(super) id: [u8; 16],
    pub(super) state: String,
    pub(super) not_before: i64,
    /// Whether its very bytes are stored.
    pub(super) is_frozen: bool,
    absorbed: Vec<u8>,
    checkpoint: Vec<u8>,
    /// All of them, but for those of a parked group that hold nothing back.
    pub(super) changes: Vec<Held>,
}

/// A change as its dependants see it.
pub(super) struct Held {
    pub(super) entity: String,
    pub(super) key: Vec<u8>,
    pub(super) op: Op,
    base: Vec<u8>,
    sets: Vec<u8>,
    pub(super) at: usize,
    /// How it holds back later ones while its own group is not sent.
    pub(super) stopped: Option<Stopped>,
}

impl Held {
    pub(super) fn with<T>(&self, look: impl FnOnce(Step<'_>) -> T) -> Result<T, Error> {
        let (base, set) = (read_attributes(&self.base)?, read_attributes(&self.sets)?);
        let key = read_key(&self.key)?;
        Ok(look(Step::new(&self.entity, &key, self.op, &base, &set)))
    }
}

impl Waiting {
    fn read(db: &Db, row: &rusqlite::Row<'_>) -> Result<Self, Error> {
        let mut waiting = Self {
            n: row.get(0)?,
            id: row.get(1)?,
            state: row.get(2)?,
            not_before: row.get(3)?,
            is_frozen: row.get(4)?,
            absorbed: row.get(5)?,
            checkpoint: row.get(6)?,
            changes: Vec::new(),
        };
        waiting.changes = held_changes(db, &waiting)?;
        Ok(waiting)
    }

    /// Whether the group failed alone and its pause is not over. One that would last longer than
    /// any pause is none: the clock was set back.
    pub(super) fn backs_off(&self, now: i64) -> bool {
        (1..=GROUP_PAUSE_MAX_MS).contains(&self.not_before.saturating_sub(now))
    }

    /// Notes that the group is not sent.
    pub(super) fn block(&self, blocked: &mut Blocked) -> Result<(), Error> {
        for change in &self.changes {
            if let Some(stopped) = change.stopped {
                change.with(|step| blocked.add(step, stopped))?;
            }
        }
        Ok(())
    }

    /// The group as it is sent, but for its origins.
    pub(super) fn group(&self, model: &Model) -> Result<Group, Error> {
        let mut changes = Vec::with_capacity(self.changes.len());
        for held in &self.changes {
            let (mut base, set) = (read_attributes(&held.base)?, read_attributes(&held.sets)?);
            let pattern = model.entity(&held.entity).map(|entity| entity.pattern);
            if pattern == Some(Pattern::LastWriteWins) && held.op == Op::Update {
                // Only what is overwritten matters here, so the rest of the row stays at home.
                base.retain(|name, _| set.contains_key(name));
            }
            changes.push(Change {
                entity: held.entity.clone(),
                op: held.op,
                key: read_key(&held.key)?,
                base,
                set,
            });
        }
        let absorbed = self.absorbed.chunks_exact(16);
        let absorbed = absorbed.filter_map(|id| Some(GroupId(id.try_into().ok()?)));
        Ok(Group {
            absorbed: absorbed.collect(),
            checkpoint: self.checkpoint.clone(),
            ..Group::new(GroupId(self.id), changes)
        })
    }

    /// Whether the group speaks of a row of which nobody knows whether it is still that one.
    pub(super) fn is_doubted(
        &self,
        loaded: &Loaded,
        doubted: &HashSet<String>,
    ) -> Result<bool, Error> {
        for change in &self.changes {
            let (entity, key, sets) = (&change.entity, &change.key, &change.sets);
            if !doubt::rows_of(loaded, doubted, entity, key, change.op, sets)?.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the group depends on one that is not sent.
    pub(super) fn is_held(&self, blocked: &Blocked, model: &Model) -> Result<bool, Error> {
        if blocked.is_empty() || zoo::planted("dependants-not-held") {
            return Ok(false);
        }
        for change in &self.changes {
            if change.with(|step| blocked.holds(model, step))? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// The groups of a request, a piece of one that is too large for it, and whether there are more.
#[derive(Default)]
pub(super) struct Envelope {
    pub(super) groups: Vec<FrozenGroup>,
    pub(super) part: Option<Part>,
    pub(super) more: bool,
}

/// Chooses and freezes the groups of the next request, and counts the request. Runs inside a
/// write transaction that must be durable before anything is sent.
///
/// `sent_back` names groups that wait for the next sync: this one was told that they depend on
/// something that was not applied.
pub(super) fn next_groups(
    db: &mut Db,
    caps: RequestCaps,
    sent_back: &HashSet<i64>,
) -> Result<Envelope, Error> {
    let loaded = db.loaded()?;
    let now = db.env.now_ms();
    let mut blocked = Blocked::default();
    let (mut envelope, mut changes, mut bytes) = (Envelope::default(), 0, 0);
    let doubted = doubt::entities(db)?;
    let mut queue = Queue::default();
    while let Some(waiting) = queue.next(db)? {
        let is_back = sent_back.contains(&waiting.n);
        let sendable = waiting.state != "parked" && !waiting.backs_off(now) && !is_back;
        let waits = !sendable || waiting.is_doubted(&loaded, &doubted)?;
        if waits || waiting.is_held(&blocked, &loaded.model)? {
            waiting.block(&mut blocked)?;
            continue;
        }
        let full = changes + waiting.changes.len() > caps.changes || bytes >= caps.bytes;
        let carried = envelope.groups.len() + usize::from(envelope.part.is_some());
        if carried >= caps.groups || (full && !envelope.groups.is_empty()) {
            envelope.more = true;
            break;
        }
        let frozen = freeze(db, &loaded, &waiting)?;
        // One that was sent may be applied already, under a limit that was higher: it goes again,
        // and the server's ledger knows.
        let changes_max = match waiting.state.as_str() {
            "sent" => limits::GROUP_CHANGES_MAX,
            _ => caps.group_changes,
        };
        if is_too_large(&frozen.bytes, frozen.changes, changes_max) {
            park_too_large(db, &waiting)?;
            waiting.block(&mut blocked)?;
            // That rebased the changes behind it.
            queue = Queue::behind(waiting.n);
            continue;
        }
        if frozen.bytes.len() > caps.part {
            if envelope.part.is_none() {
                envelope.part = Some(piece(db, &waiting, &frozen, caps.part)?);
                envelope.more = true;
            }
            waiting.block(&mut blocked)?;
            continue;
        }
        if bytes + frozen.bytes.len() > caps.bytes && !envelope.groups.is_empty() {
            envelope.more = true;
            break;
        }
        db.crash_point("freeze-group")?;
        changes += frozen.changes;
        bytes += frozen.bytes.len();
        envelope.groups.push(frozen);
    }
    Ok(envelope)
}

/// The next piece of a group, from where the server said that it has it.
fn piece(db: &Db, waiting: &Waiting, frozen: &FrozenGroup, bytes: usize) -> Result<Part, Error> {
    let sql = "SELECT received FROM afield_group WHERE n = ?1";
    let received: i64 = db
        .conn
        .prepare_cached(sql)?
        .query_row([waiting.n], |row| row.get(0))?;
    let at = usize::try_from(received)
        .unwrap_or(0)
        .min(frozen.bytes.len());
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Ok(Part {
        group: frozen.id,
        hash: frozen.hash,
        total: number(frozen.bytes.len()),
        at: number(at),
        bytes: frozen.bytes.iter().skip(at).take(bytes).copied().collect(),
    })
}

/// Whether the server does not take a group with so many changes in these bytes.
pub(super) fn is_too_large(bytes: &[u8], changes: usize, changes_max: usize) -> bool {
    bytes.len() > limits::GROUP_BYTES_MAX
        || changes > changes_max
        || bytes.len() > limits::FRAME_ITEMS_MAX && !has_few_items(bytes)
}

/// The outbox in order, read as far as it is asked for: a request takes its first groups only.
#[derive(Default)]
pub(super) struct Queue {
    after: i64,
    read: VecDeque<Waiting>,
}

/// Columns of [`Waiting::read`].
const WAITING: &str = "SELECT n, id, state, not_before, frozen IS NOT NULL AND hash IS NOT NULL, \
     absorbed, checkpoint FROM afield_group WHERE state IN ('pending', 'sent', 'parked')";

/// A group of the outbox, if it is still in it.
pub(super) fn waiting(db: &Db, n: i64) -> Result<Option<Waiting>, Error> {
    let sql = format!("{WAITING} AND n = ?1");
    let mut statement = db.conn.prepare_cached(&sql)?;
    let mut rows = statement.query([n])?;
    rows.next()?.map(|row| Waiting::read(db, row)).transpose()
}

/// Groups that are read at once.
const QUEUE_GROUPS: i64 = 200;

impl Queue {
    /// The outbox behind a group.
    pub(super) fn behind(n: i64) -> Self {
        Self {
            after: n,
            read: VecDeque::new(),
        }
    }

    pub(super) fn next(&mut self, db: &Db) -> Result<Option<Waiting>, Error> {
        loop {
            if let Some(next) = self.read.pop_front() {
                return Ok(Some(next));
            }
            let sql = format!("{WAITING} AND n > ?1 ORDER BY n LIMIT ?2");
            let mut statement = db.conn.prepare_cached(&sql)?;
            let mut rows = statement.query([self.after, QUEUE_GROUPS])?;
            let before = self.after;
            while let Some(row) = rows.next()? {
                let waiting = Waiting::read(db, row)?;
                self.after = waiting.n;
                if !waiting.changes.is_empty() {
                    self.read.push_back(waiting);
                }
            }
            if self.after == before {
                return Ok(None);
            }
        }
    }
}

/// A group's changes. A parked change of a row that is gone holds nothing back: there is no row
/// any more that a later change could be wrong about. One that was decided does: it goes first.
fn held_changes(db: &Db, waiting: &Waiting) -> Result<Vec<Held>, Error> {
    let sql = format!(
        "SELECT c.entity, c.key, c.op, c.base, c.sets, c.at, o.result, o.code \
         FROM afield_group AS g JOIN afield_change AS c ON c.group_n = g.n \
         LEFT JOIN afield_outcome AS o ON g.state = 'parked' AND o.n = {NEWEST_OUTCOME} \
         WHERE g.n = ?1 AND (c.overlay = 1 OR g.state <> 'parked' OR {DECIDED}) ORDER BY c.at"
    );
    let mut statement = db.conn.prepare_cached(&sql)?;
    let mut rows = statement.query([waiting.n])?;
    let model = &db.loaded()?.model;
    let mut changes = Vec::new();
    while let Some(row) = rows.next()? {
        let (entity, op): (String, String) = (row.get(0)?, row.get(2)?);
        let (result, code): (Option<String>, Option<String>) = (row.get(6)?, row.get(7)?);
        let code = code.map(|word| Code::parse(&word));
        let stopped = match result.as_deref().and_then(VerdictKind::parse) {
            Some(kind) => Stopped::by(model, &entity, kind, code.as_ref()),
            // Anything not yet tried holds back its whole row: sent in another order, a later
            // edit could be applied to a row that it was not made for.
            None => Some(Stopped::Undecided),
        };
        changes.push(Held {
            stopped,
            entity,
            key: row.get(1)?,
            op: self::op(&op)?,
            base: row.get(3)?,
            sets: row.get(4)?,
            at: usize::try_from(row.get::<_, i64>(5)?).unwrap_or(0),
        });
    }
    Ok(changes)
}

/// Freezes a group: from here on it is sent as these very bytes.
pub(super) fn freeze(db: &Db, loaded: &Loaded, waiting: &Waiting) -> Result<FrozenGroup, Error> {
    let changes = waiting.changes.len();
    if waiting.is_frozen && !zoo::planted("new-id-on-resend") {
        let sql = "SELECT frozen, hash FROM afield_group WHERE n = ?1";
        let (bytes, hash) = db
            .conn
            .prepare_cached(sql)?
            .query_row([waiting.n], |row| Ok((row.get(0)?, row.get(1)?)))?;
        return Ok(FrozenGroup {
            id: GroupId(waiting.id),
            changes,
            bytes,
            hash,
        });
    }
    let mut group = waiting.group(&loaded.model)?;
    group.origins = super::ids::origins::of(db, loaded, waiting.n, &group.changes)?;
    if zoo::planted("new-id-on-resend") {
        let sql = "UPDATE afield_group SET id = randomblob(16) WHERE n = ?1 RETURNING id";
        group.id = GroupId(db.conn.query_row(sql, [waiting.n], |row| row.get(0))?);
    }
    let (id, hash) = (group.id, group.hash());
    let mut bytes = Vec::new();
    Format::Cbor.write(&loaded.model, &Frame::Group(group), &mut bytes);
    let sql = "UPDATE afield_group SET state = 'sent', frozen = ?2, hash = ?3 WHERE n = ?1";
    db.conn
        .prepare_cached(sql)?
        .execute(params![waiting.n, bytes, hash])?;
    Ok(FrozenGroup {
        id,
        changes,
        bytes,
        hash,
    })
}

/// Parks a group that no server would take, with an outcome for each of its changes.
fn park_too_large(db: &mut Db, waiting: &Waiting) -> Result<(), Error> {
    let changes = waiting.changes.len();
    let message = format!("one transaction with {changes} changes is too large to send");
    park(db, GroupId(waiting.id), changes, message)
}

/// Parks a group that the server did not take, unless it is settled by now.
pub(super) fn park_refused(db: &mut Db, group: GroupId, message: &str) -> Result<(), Error> {
    let sql = "SELECT count(*) FROM afield_change AS c JOIN afield_group AS g ON g.n = c.group_n \
               WHERE g.id = ?1 AND g.state = 'sent'";
    let changes: i64 = db
        .conn
        .prepare_cached(sql)?
        .query_row([group.0], |row| row.get(0))?;
    match usize::try_from(changes).unwrap_or(0) {
        0 => Ok(()),
        changes => park(db, group, changes, message.to_owned()),
    }
}

fn park(db: &mut Db, group: GroupId, changes: usize, message: String) -> Result<(), Error> {
    let verdict = afield_protocol::Verdict::rejected(Code::GROUP_TOO_LARGE, message);
    let outcome = afield_protocol::GroupOutcome {
        group,
        verdicts: vec![verdict; changes],
    };
    super::outcome::store(db, 0, &[outcome]).map(|_| ())
}

/// Reads an op as the bookkeeping stores it.
pub(super) fn op(word: &str) -> Result<Op, Error> {
    Op::parse(word).ok_or_else(|| {
        Error::new(
            Code::STORE_DAMAGED,
            format!("the outbox holds an unknown op `{word}`"),
        )
    })
}
