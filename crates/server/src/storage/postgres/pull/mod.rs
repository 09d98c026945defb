//! Pull: one page, read in one snapshot.
//!
//! ```text
//!   before the first row ──► after some key ──► closing ──► idle
//!        ▲      (scan, in key order)      (delta since it began, in rounds)
//!        └── position unknown, forged, of another history, or `read-only` and changed
//! ```
//!
//! **A page** is one transaction: the tables are held, then one snapshot is taken, in which all of
//! it is read. Scans come first, since a delta before them would be read again.
//!
//! **A delta** is of the transactions that the position's snapshot does not see. What fits is told
//! in one page and the device has that page's snapshot. Else it is a round: the marks that its first
//! page saw, in their order, each page reading the rows as they are in its own snapshot. When the
//! round is through, the device has everything that its first page's snapshot sees, and the next
//! round is of what that does not see. Each is shorter than the one before; the page that finds
//! nothing more is complete.
//!
//! What could lose, repeat or leak a change, and why it does not:
//!
//! - A row changes between two pages of a round: its mark then has a transaction that the first
//!   page did not see, so it comes in the next round, wherever the page had ended.
//! - A transaction commits late, with a low number: the position's snapshot names it as running,
//!   and the ranges begin with those.
//! - A table is truncated, or its capture had a hole: a reset that the position does not see starts
//!   the entity over; the table is held before the snapshot is taken, so that no truncation comes
//!   in between unseen.
//! - Marks were forgotten that the position needs: its oldest unseen transaction is below the
//!   horizon, and the entity starts over.
//! - The database is a copy or was set back: see [`epoch`](super::epoch).
//! - A page is told of what a crash of the database then undoes: it is given out only when the log
//!   is on disk up to what its snapshot sees.

mod at;
mod compare;
mod part;
mod whole;

use std::collections::HashMap;

use afield_protocol::{Frame, Page, PageEnd, Position};
use futures_util::future::{join, join3};

pub(super) use self::at::{At, Batch, Ranges};
use self::part::Part;
use self::whole::Pulled;
use super::entity::EntityTable;
use super::epoch::{self, Beacon, IS_NOW};
use super::error::lasting;
use super::key::{RawKey, Xid};
use super::marks::Snapshot;
use super::pool::Link;
use super::position::{self, Place};
use super::scope::{Now, Questions, ScopedPull};
use super::tables::Tables;
use crate::position::CodeKey;
use crate::storage::lists::{Asking, Listed, Lists};
use crate::storage::page::PageWriter;
use crate::storage::window::Instants;
use crate::storage::{PullRequest, PulledPage, StorageError};

const DOING: &str = "reading a page";

/// Where an entity whose rows are everyone's stands while its page is made.
#[derive(Clone, Debug, PartialEq)]
enum State {
    /// A download that began at this snapshot goes on behind a key.
    Scan {
        began: Snapshot,
        after: Option<RawKey>,
    },
    /// The rows that have come into the window since an instant go on behind an attribute and a
    /// key, before the changes since this snapshot are to come.
    Enter {
        from: Snapshot,
        before: i64,
        after: Option<RawKey>,
    },
    /// The changes since this snapshot are to come; of those that a round is of, the ones behind a
    /// place.
    Delta {
        from: Snapshot,
        round: Option<Round>,
    },
    /// The device has what this snapshot has.
    Done,
    /// Its rows do not go to devices.
    Never,
}

/// A delta of several pages.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Round {
    /// The snapshot of its first page: when it is through, the device has everything of that.
    pub next: Snapshot,
    /// How far it has come.
    pub at: At,
}

/// What the transaction of a page sees.
#[derive(Clone, Debug)]
pub(super) struct Taken {
    pub epoch: [u8; 8],
    pub snapshot: Snapshot,
}

/// A page and what must be durable before it is given out.
#[derive(Debug)]
pub(super) struct Read {
    pub page: PulledPage,
    pub taken: Taken,
    /// Whether the log is on disk up to what the snapshot sees.
    pub is_flushed: bool,
}

/// What became of an attempt to read one.
#[derive(Debug)]
pub(super) enum Outcome {
    Page(Box<Read>),
    /// Another epoch has begun that nobody has noted yet.
    OtherEpoch,
    /// A table of the model is another one.
    OtherTables,
}

/// What a storage knows before it reads a page.
pub(super) struct Known<'a> {
    pub tables: &'a Tables,
    pub code_key: &'a CodeKey,
    pub lists: &'a Lists,
    /// Most values of a scope that are looked up for a user.
    pub scope_values_max: usize,
}

/// Reads one page.
pub(super) async fn pull(
    link: &Link,
    known: &Known<'_>,
    request: &PullRequest,
) -> Result<Outcome, StorageError> {
    let asked = asked(known, request)?;
    let listed = Listed {
        lists: known.lists,
        asking: Asking {
            caller: &request.caller,
            chosen: &request.chosen,
            values_max: known.scope_values_max,
        },
        said: &request.held,
    };
    let pulled = asked.iter().map(|(name, table, _)| (*name, *table));
    let questions = Questions::prepare(link, pulled.collect(), listed.asking).await?;
    // What is held is asked in the same go: all statements of it stand behind the snapshot's.
    let answers = questions.answers(link, known.code_key);
    let (begun, answers) = join(begin(link, &asked), answers).await;
    let begun = match begun? {
        Ok(begun) => begun,
        Err(outcome) => return Ok(outcome),
    };
    let mut opening = Opening {
        link,
        begun: &begun,
        listed: &listed,
        now: request.now,
        beacons: HashMap::new(),
    };
    let mut reset = Vec::new();
    let mut entities = Vec::new();
    let answers = answers?;
    let entities_asked = asked.into_iter().zip(&request.entities).zip(answers);
    for (((name, table, place), (_, position)), held) in entities_asked {
        let (entity, starts_over) = opening.open((name, table), place, held).await?;
        reset.extend((starts_over && position.is_some()).then(|| name.to_owned()));
        entities.push(entity);
    }
    let mut page = PageWriter::new(request.rows_max, request.bytes_max);
    let now = &begun.taken.snapshot;
    fill(link, &mut entities, &mut page, now).await?;
    let is_complete = entities.iter().all(Part::is_done);
    if is_complete {
        compare::fetch(link, &entities, &request.compare.fetch, &mut page).await?;
    }
    page.frames.extend(entities.iter().filter_map(Part::told));
    if is_complete {
        let digests = compare::verify(link, &entities, &request.compare.verify).await?;
        page.frames.extend(digests);
    }
    link.commit(DOING).await?;
    let page = told(
        known.code_key,
        &begun.taken,
        request,
        &listed,
        (reset, &entities, page),
    );
    Ok(Outcome::Page(Box::new(Read {
        page,
        taken: begun.taken,
        is_flushed: begun.is_flushed,
    })))
}

/// An entity of a request, and what its position says.
type Asked<'a> = (&'a str, &'a EntityTable, Option<Place>);

/// The entities of a request.
fn asked<'a>(known: &Known<'a>, request: &'a PullRequest) -> Result<Vec<Asked<'a>>, StorageError> {
    let mut asked = Vec::new();
    for (name, position) in &request.entities {
        let table = known.tables.pulled(name)?;
        let place = position.as_ref();
        let place = place.and_then(|token| position::open(known.code_key, &table.label, token));
        asked.push((name.as_str(), table, place));
    }
    Ok(asked)
}

/// Reads what fits of every entity: scans come first.
async fn fill(
    link: &Link,
    entities: &mut [Part<'_>],
    page: &mut PageWriter,
    now: &Snapshot,
) -> Result<(), StorageError> {
    for entity in entities.iter_mut() {
        match entity {
            Part::Whole(entity) => entity.scan(link, page, now).await?,
            Part::Scoped(entity) => entity.scan(link, page, now).await?,
        }
    }
    if !entities.iter().any(Part::is_scanning) {
        for entity in entities.iter_mut() {
            match entity {
                Part::Whole(entity) => entity.delta(link, page, now).await?,
                Part::Scoped(entity) => entity.close(link, page, now).await?,
            }
        }
    }
    Ok(())
}

/// What the first statements of a page say.
struct Begun {
    taken: Taken,
    is_flushed: bool,
    /// Marks of transactions from this one on are whole.
    horizon: u64,
    /// Captures that had a hole, and the transactions that noted it.
    resets: Vec<(i32, u64)>,
}

/// Holds the tables and takes the snapshot.
async fn begin(
    link: &Link,
    asked: &[(&str, &EntityTable, Option<Place>)],
) -> Result<Result<Begun, Outcome>, StorageError> {
    let pulled = || asked.iter().filter(|(_, table, _)| table.capture.is_some());
    let mut held: Vec<(&str, u32)> = pulled().flat_map(|(_, table, _)| table.held()).collect();
    held.sort_unstable();
    held.dedup();
    let (names, oids): (Vec<&str>, Vec<u32>) = held.into_iter().unzip();
    let mut begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".to_owned();
    if !names.is_empty() {
        begin += &format!("; LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", "));
    }
    let captures: Vec<i32> = pulled()
        .flat_map(|(_, table, _)| table.captures())
        .collect();
    let oldest = pulled()
        .filter_map(|(.., place)| Some(place.as_ref()?.from.xmin))
        .min();
    let oldest = Xid(oldest.unwrap_or(u64::MAX));
    let header = format!(
        "SELECT pg_current_snapshot()::text, n.horizon::text, \
         n.itself = 'afield.node'::regclass::oid AND n.database = (SELECT d.oid \
         FROM pg_database d WHERE d.datname = current_database()), e.epoch, {IS_NOW}, \
         pg_current_wal_insert_lsn() <= pg_current_wal_flush_lsn(), \
         (SELECT count(*) = 0 FROM unnest($1::text[], $2::oid[]) u (name, oid) \
         WHERE to_regclass(u.name)::oid IS DISTINCT FROM u.oid), \
         ARRAY(SELECT coalesce(pg_relation_size(u.oid::regclass), 0) \
         FROM unnest($2::oid[]) WITH ORDINALITY u (oid, at) ORDER BY u.at) \
         FROM afield.node n LEFT JOIN LATERAL \
         (SELECT * FROM afield.epoch e ORDER BY e.number DESC LIMIT 1) e ON true"
    );
    let resets = "SELECT capture, xid FROM afield.reset WHERE capture = ANY ($1) AND xid >= $2";
    // Sent in one go: the first is through before the second takes the snapshot.
    let (begun, header, resets) = join3(
        link.begin(&begin, DOING),
        link.query_one(&header, &[&names, &oids], DOING),
        link.query(resets, &[&captures, &oldest], DOING),
    )
    .await;
    begun?;
    let (header, resets) = (header?, resets?);
    if !header.get::<_, bool>(2) {
        return Err(lasting(
            "the database is a copy of one that was prepared: run `afield prepare`; devices will \
             then load their tables again",
        ));
    }
    if !header.get::<_, bool>(6) {
        return Ok(Err(Outcome::OtherTables));
    }
    if header.get::<_, Option<bool>>(4) != Some(true) {
        return Ok(Err(Outcome::OtherEpoch));
    }
    link.has_sizes(&oids, &header.get::<_, Vec<i64>>(7));
    let reset = |row: &tokio_postgres::Row| (row.get(0), row.get::<_, Xid>(1).0);
    Ok(Ok(Begun {
        taken: Taken {
            epoch: epoch::bytes(header.get(3))?,
            snapshot: epoch::snapshot(header.get(0))?,
        },
        is_flushed: header.get(5),
        horizon: epoch::xid(header.get(1))?,
        resets: resets.iter().map(reset).collect(),
    }))
}

/// Finds where the entities of a page stand.
struct Opening<'a> {
    link: &'a Link,
    begun: &'a Begun,
    listed: &'a Listed<'a>,
    /// The time of the pull.
    now: i64,
    /// The last beacons of other epochs.
    beacons: HashMap<[u8; 8], Option<Beacon>>,
}

impl Opening<'_> {
    /// An entity from its position on, and whether it starts over.
    async fn open<'e>(
        &mut self,
        (name, table): (&'e str, &'e EntityTable),
        place: Option<Place>,
        held: Option<Now>,
    ) -> Result<(Part<'e>, bool), StorageError> {
        let snapshot = &self.begun.taken.snapshot;
        if table.capture.is_none() {
            let never = Pulled::new(name, table, State::Never, None, None);
            return Ok((Part::Whole(Box::new(never)), false));
        }
        let place = match place {
            Some(place) if self.is_known(table, &place).await? => Some(place),
            _ => None,
        };
        let is_idle = |place: &Place| place.progress == position::Progress::Idle;
        let known = place.as_ref();
        let known = known.and_then(|place| Some((place.instant?, is_idle(place))));
        let instants = Instants::of(&table.entity, known, self.now);
        if let Some((scoped, held)) = table.scoped().zip(held) {
            let fresh = ScopedPull::fresh((name, table), scoped, held, snapshot, instants);
            let mut entity = Box::new(fresh);
            let (link, listed) = (self.link, self.listed);
            let is_resumed = match &place {
                Some(place) => entity.resume(link, place, listed, instants).await?,
                None => false,
            };
            return Ok((Part::Scoped(entity), !is_resumed));
        }
        let resumed = match place {
            Some(place) => {
                Pulled::resume(self.link, name, table, place, instants, snapshot).await?
            }
            None => None,
        };
        let starts_over = resumed.is_none();
        let entity = resumed.unwrap_or_else(|| {
            let state = State::Scan {
                began: snapshot.clone(),
                after: None,
            };
            Pulled::new(name, table, state, instants.fresh, None)
        });
        Ok((Part::Whole(Box::new(entity)), starts_over))
    }

    /// Whether the database can go on from a place: it lies in this history, and everything that
    /// came since is marked.
    async fn is_known(&mut self, table: &EntityTable, place: &Place) -> Result<bool, StorageError> {
        let Begun {
            taken,
            horizon,
            resets,
            ..
        } = self.begun;
        let is_unseen = |xid: u64| !place.from.sees(xid);
        let is_reset = |(capture, xid): &(i32, u64)| {
            is_unseen(*xid) && table.captures().any(|own| own == *capture)
        };
        if place.from.xmin < *horizon || resets.iter().any(is_reset) {
            return Ok(false);
        }
        if place.epoch == taken.epoch {
            return Ok(place.newest().xmax <= taken.snapshot.xmax);
        }
        let beacon = match self.beacons.get(&place.epoch) {
            Some(beacon) => beacon.clone(),
            None => {
                let beacon = epoch::beacon(self.link, place.epoch).await?;
                self.beacons.insert(place.epoch, beacon.clone());
                beacon
            }
        };
        let contains = |beacon: Beacon| {
            let next = match &place.progress {
                position::Progress::Delta { next, .. } => beacon.contains(next),
                _ => true,
            };
            next && beacon.contains(&place.from) && beacon.contains(place.newest())
        };
        Ok(beacon.is_some_and(contains))
    }
}

fn told(
    key: &CodeKey,
    taken: &Taken,
    request: &PullRequest,
    listed: &Listed<'_>,
    (reset, entities, content): (Vec<String>, &[Part<'_>], PageWriter),
) -> PulledPage {
    let to = |entity: &Part<'_>| -> (String, Position) {
        let place = entity.place(taken);
        let token = position::seal(key, &entity.table().label, &place);
        (entity.name().to_owned(), token)
    };
    let end = PageEnd {
        to: entities.iter().map(to).collect(),
        complete: entities.iter().all(Part::is_done),
        remaining: None,
    };
    let mut frames = vec![Frame::Page(Page {
        from: request.entities.clone(),
        reset,
    })];
    let windows = entities.iter().filter_map(Part::window);
    frames.extend(windows.cloned().map(Frame::Window));
    frames.extend(content.frames);
    frames.push(Frame::PageEnd(end.clone()));
    PulledPage {
        frames,
        end,
        held: entities
            .iter()
            .filter_map(|part| part.held(listed))
            .collect(),
    }
}
