//! Refused groups that somebody decided about: on the server, or here.
//!
//! ```text
//!   parked ──applied on the server──► settled   under the id of the group applied in its place
//!          ──dropped on the server──► dropped
//! ```
//!
//! A decision is stored in one transaction with what follows from it, and acknowledged from then on
//! until the server has heard it. It is about what was sent. What its user changed since becomes a
//! change of its own, on what was decided ([`rest`]). What is decided here is told to the server
//! likewise.

mod rest;

use std::collections::{BTreeMap, HashMap};

use afield_protocol::codec::{Format, FrameReader};
use afield_protocol::limits::INBOX_GROUPS;
use afield_protocol::{
    Change, Closed, Closing, Code, Decided, Frame, GroupId, GroupOutcome, Op, Verdict,
};
use rusqlite::{OptionalExtension, params};

use self::rest::Rest;
use super::conflict::Parked;
use super::db::{Db, Loaded};
use super::status::OutcomeInfo;
use super::sync_store::SyncStore;
use super::{actions, again, conflict, decide, outcome, overlay, rebase};
use crate::error::Error;

/// What became here of a decision that was made on the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecidedWhat {
    /// The change is settled: it was applied there.
    Applied,
    /// It was dropped there, and here too.
    Dropped,
    /// It stays parked: the decision cannot be followed without losing what was made on it here.
    Kept,
    /// Its user had decided before the decision came.
    Late,
}

impl DecidedWhat {
    const ALL: [Self; 4] = [Self::Applied, Self::Dropped, Self::Kept, Self::Late];

    /// The stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Dropped => "dropped",
            Self::Kept => "kept",
            Self::Late => "late",
        }
    }
}

/// A decision about a refused change that somebody made on the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecidedInfo {
    /// Who.
    pub by: String,
    /// When, by the server's clock, in milliseconds since 1970.
    pub at_ms: i64,
    /// What became of it here.
    pub what: DecidedWhat,
}

impl SyncStore {
    /// Whether there is anything to ask or to tell about refused groups. A request for which this
    /// is true asks the server what was decided there.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn asks_inbox(&self) -> Result<bool, Error> {
        let sql = "SELECT EXISTS (SELECT 1 FROM afield_group WHERE state = 'parked') \
                   OR EXISTS (SELECT 1 FROM afield_closing)";
        let mut statement = self.db.conn.prepare_cached(sql)?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    /// Forgets what the server has been told.
    ///
    /// # Errors
    /// The store cannot be written; it is told again.
    pub fn closings_told(&mut self, told: &[Closed]) -> Result<(), Error> {
        self.db.write("closings-told", |db| {
            let sql = "DELETE FROM afield_closing WHERE group_id = ?1 AND how = ?2";
            for closed in told {
                let values = params![closed.group.0, closed.how.as_str()];
                db.conn.prepare_cached(sql)?.execute(values)?;
            }
            Ok(())
        })
    }

    /// Notes that the server does not understand what it is told: it is of an earlier version.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn inbox_refused(&mut self) -> Result<(), Error> {
        self.db.write("inbox-refused", |db| speaks(db, false))
    }

    /// Stores what was decided on the server, and what follows from it. Decisions about groups of
    /// which no outcome is here yet are passed over: they come again.
    ///
    /// # Errors
    /// A decision does not fit its group, or the store cannot be written.
    pub fn store_decided(
        &mut self,
        request: i64,
        decided: &[Decided],
    ) -> Result<Vec<OutcomeInfo>, Error> {
        self.synchronous("FULL")?;
        let outcomes = self.db.write("decided", |db| {
            speaks(db, true)?;
            let mut outcomes = Vec::new();
            for decided in decided {
                outcomes.extend(store(db, request, decided)?);
                db.crash_point("decided")?;
            }
            Ok(outcomes)
        })?;
        self.grew(!decided.is_empty());
        Ok(outcomes)
    }
}

/// Notes whether the server understands what it is told.
fn speaks(db: &Db, does: bool) -> Result<(), Error> {
    let sql = "UPDATE afield_meta SET inbox = ?1 WHERE inbox <> ?1";
    db.conn.prepare_cached(sql)?.execute([does])?;
    Ok(())
}

/// What the next request tells the server, if it understands that.
pub(super) fn to_tell(db: &Db) -> Result<Vec<Closed>, Error> {
    let sql = "SELECT group_id, how FROM afield_closing \
               WHERE (SELECT inbox FROM afield_meta) ORDER BY at, group_id LIMIT ?1";
    let mut statement = db.conn.prepare_cached(sql)?;
    let most = i64::try_from(INBOX_GROUPS).unwrap_or(i64::MAX);
    let mut rows = statement.query([most])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let word: String = row.get(1)?;
        let group = GroupId(row.get(0)?);
        found.extend(Closing::parse(&word).map(|how| Closed { group, how }));
    }
    Ok(found)
}

/// Notes that the server is to be told what became of a group that it refused.
pub(super) fn close(db: &mut Db, group: GroupId, how: Closing) -> Result<(), Error> {
    let now = db.env.now_ms();
    let sql = "INSERT INTO afield_closing (group_id, how, at) VALUES (?1, ?2, ?3) \
               ON CONFLICT (group_id) DO UPDATE SET how = excluded.how, at = excluded.at";
    let values = params![group.0, how.as_str(), now];
    db.conn.prepare_cached(sql)?.execute(values)?;
    db.crash_point("closing")
}

/// Says how a group was decided that is to be told, if it is decided as a whole by now.
pub(super) fn closed_as(db: &Db, group: GroupId, how: Closing) -> Result<(), Error> {
    let sql = "UPDATE afield_closing SET how = ?2 WHERE group_id = ?1";
    let values = params![group.0, how.as_str()];
    db.conn.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// Forgets what is old: decisions, and what no server wanted to be told.
pub(super) fn prune(db: &Db, before: i64) -> Result<(), Error> {
    for sql in [
        "DELETE FROM afield_decided WHERE stored_at < ?1",
        "DELETE FROM afield_closing WHERE at < ?1",
    ] {
        db.conn.prepare_cached(sql)?.execute([before])?;
    }
    Ok(())
}

/// The decisions that are remembered, by either id of their group.
pub(super) fn decided(db: &Db) -> Result<HashMap<GroupId, DecidedInfo>, Error> {
    let sql = "SELECT group_id, into_id, what, decider, at FROM afield_decided";
    let mut statement = db.conn.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut found = HashMap::new();
    while let Some(row) = rows.next()? {
        let word: String = row.get(2)?;
        let mut known = DecidedWhat::ALL.into_iter();
        let info = DecidedInfo {
            by: row.get(3)?,
            at_ms: row.get(4)?,
            what: known
                .find(|it| it.as_str() == word)
                .unwrap_or(DecidedWhat::Late),
        };
        let into: Option<[u8; 16]> = row.get(1)?;
        found.extend(into.map(|into| (GroupId(into), info.clone())));
        found.insert(GroupId(row.get(0)?), info);
    }
    Ok(found)
}

/// Stores one decision.
fn store(db: &mut Db, request: i64, decided: &Decided) -> Result<Vec<OutcomeInfo>, Error> {
    let loaded = db.loaded()?;
    let sql = "SELECT n, state FROM afield_group WHERE id = ?1";
    let found: Option<(i64, String)> = (db.conn.prepare_cached(sql)?)
        .query_row([decided.group.0], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (what, outcomes) = match found {
        // Its outcome was lost; it goes again, and then there is something to decide about.
        Some((_, state)) if state == "pending" || state == "sent" => return Ok(Vec::new()),
        Some((n, state)) if state == "parked" => match decided.into {
            Some(into) => applied(db, &loaded, request, n, into, &decided.verdicts)?,
            None => (dropped(db, &loaded, n)?, Vec::new()),
        },
        _ => (DecidedWhat::Late, Vec::new()),
    };
    remember(db, decided, what)?;
    close(db, decided.group, Closing::Told)?;
    Ok(outcomes)
}

/// Remembers who decided, of a group that was ever here. The first that is told stays: told again,
/// a decision that was followed would be late.
fn remember(db: &mut Db, decided: &Decided, what: DecidedWhat) -> Result<(), Error> {
    let now = db.env.now_ms();
    let sql = "INSERT INTO afield_decided (group_id, into_id, what, decider, at, stored_at) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING";
    db.conn.prepare_cached(sql)?.execute(params![
        decided.group.0,
        decided.into.map(|into| into.0),
        what.as_str(),
        decided.by,
        decided.at_ms,
        now,
    ])?;
    Ok(())
}

/// The changes of a group as they were sent, by their place; none if they were erased, and nothing
/// is known to have been changed since.
type Sent = BTreeMap<i64, Change>;

/// Reads them. `None` if the bytes cannot be read any more.
fn sent(db: &Db, loaded: &Loaded, group: i64) -> Result<Option<Sent>, Error> {
    let sql = "SELECT frozen FROM afield_group WHERE n = ?1";
    let mut statement = db.conn.prepare_cached(sql)?;
    let frozen: Option<Vec<u8>> = statement.query_row([group], |row| row.get(0))?;
    let Some(frozen) = frozen else {
        return Ok(Some(Sent::new()));
    };
    let mut reader = FrameReader::new(Format::Cbor);
    reader.push(&frozen);
    let Ok(Some(Frame::Group(group))) = reader.next(&loaded.model) else {
        return Ok(None);
    };
    let mut found = Sent::new();
    for (at, mut change) in (0..).zip(group.changes) {
        if let Ok(table) = loaded.table(&change.entity) {
            let Ok(set) = actions::current(&db.conn, table, &change.set) else {
                return Ok(None);
            };
            change.set = set;
        }
        found.insert(at, change);
    }
    Ok(Some(found))
}

/// What is done here besides what was decided, by the number of its change.
type Rests = Vec<(i64, Rest)>;

fn rests(mates: &[Parked], sent: &Sent) -> Rests {
    let rest = |mate: &Parked| {
        let sent = sent.get(&mate.at)?;
        Some((mate.n, Rest::of(mate, sent)?))
    };
    mates.iter().filter_map(rest).collect()
}

/// A parked group was applied on the server, under another id: settles it.
fn applied(
    db: &mut Db,
    loaded: &Loaded,
    request: i64,
    group: i64,
    into: GroupId,
    verdicts: &[Verdict],
) -> Result<(DecidedWhat, Vec<OutcomeInfo>), Error> {
    let Some(sent) = sent(db, loaded, group)? else {
        return Ok((DecidedWhat::Kept, Vec::new()));
    };
    let mates = Parked::of_group(db, group)?;
    let rests = rests(&mates, &sent);
    let mut ended = Vec::with_capacity(mates.len());
    for mate in &mates {
        let at = usize::try_from(mate.at).unwrap_or(usize::MAX);
        let Some(verdict) = verdicts.get(at) else {
            let message = format!("what was decided about {} has the wrong length", mate.group);
            return Err(Error::new(Code::MALFORMED, message));
        };
        if !mate.is_decided() {
            again::record(db, mate)?;
        }
        as_decided(db, loaded, mate, sent.get(&mate.at), verdict)?;
        ended.push(verdict.clone());
    }
    again::became(db, group, into)?;
    let outcome = GroupOutcome {
        group: into,
        verdicts: ended,
    };
    let stored = outcome::store(db, request, &[outcome])?;
    for mate in &mates {
        // Without what was done besides, which is laid over it anew; its key may be another now.
        let sql = "SELECT key FROM afield_change WHERE n = ?1";
        let key: Option<Vec<u8>> = (db.conn.prepare_cached(sql)?)
            .query_row([mate.n], |row| row.get(0))
            .optional()?;
        if let Some(key) = key {
            overlay::release(db, loaded, &mate.entity, &key)?;
        }
    }
    for (n, rest) in rests {
        rest.lay(db, loaded, n)?;
    }
    Ok((DecidedWhat::Applied, stored.outcomes))
}

/// Makes a change what was decided about, on the row that was shown with it.
fn as_decided(
    db: &Db,
    loaded: &Loaded,
    mate: &Parked,
    sent: Option<&Change>,
    verdict: &Verdict,
) -> Result<(), Error> {
    let (mut op, mut base, mut set) = match sent {
        Some(sent) => (sent.op, mate.base.clone(), sent.set.clone()),
        None => (mate.op, mate.base.clone(), mate.set.clone()),
    };
    if let Some(theirs) = &mate.theirs {
        let counted = rebase::counters(loaded, &mate.entity);
        let before = base.into_iter().filter(|(name, _)| counted.contains(name));
        let before: Vec<_> = before.filter(|(name, _)| set.contains_key(name)).collect();
        base = theirs.clone();
        base.extend(before);
        if op == Op::Create {
            op = Op::Update;
        }
    }
    for name in rebase::counters(loaded, &mate.entity) {
        // A corrected one is the whole number.
        if let Some(value) = verdict.values.get(&name) {
            base.remove(&name);
            set.insert(name, value.clone());
        }
    }
    let sql = "UPDATE afield_change SET op = ?2, base = ?3, sets = ?4, theirs = NULL, \
               refreshed = 0 WHERE n = ?1";
    db.conn.prepare_cached(sql)?.execute(params![
        mate.n,
        op.as_str(),
        afield_protocol::codec::cbor::write_attributes(&base),
        afield_protocol::codec::cbor::write_attributes(&set),
    ])?;
    db.crash_point("as-decided")
}

/// A parked group was dropped on the server.
fn dropped(db: &mut Db, loaded: &Loaded, group: i64) -> Result<DecidedWhat, Error> {
    let Some(sent) = sent(db, loaded, group)? else {
        return Ok(DecidedWhat::Kept);
    };
    let mut mates = Parked::of_group(db, group)?;
    for mate in &mut mates {
        if mate.is_conflict() {
            conflict::show(db, loaded, mate)?;
        }
        let is_made = mate.op == Op::Create && mate.theirs.is_none();
        if is_made
            && rebase::dependants(db, loaded, mate)?
                .keys()
                .any(|it| *it != group)
        {
            // Nobody who decided knew of these.
            return Ok(DecidedWhat::Kept);
        }
    }
    let rests = rests(&mates, &sent);
    decide::drop_group(db, loaded, group, &mates)?;
    for (n, rest) in rests {
        rest.lay(db, loaded, n)?;
    }
    Ok(DecidedWhat::Dropped)
}
