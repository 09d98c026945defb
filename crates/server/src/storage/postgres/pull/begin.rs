//! How a page begins: the tables are held, the snapshot is taken, and every position is held
//! against what that says. All of it is sent in one go, with a question for each capture whether
//! anything was marked: where nothing was, nothing more is asked.

use std::collections::{HashMap, HashSet};

use futures_util::future::{join_all, join3};

use super::super::entity::EntityTable;
use super::super::epoch::{self, Beacon, IS_NOW};
use super::super::error::lasting;
use super::super::key::Xid;
use super::super::link::{AS_EVER, Link};
use super::super::position::{Place, Progress};
use super::super::scope::{Now, ScopedPull};
use super::super::statements::any_mark;
use super::part::Part;
use super::whole::Pulled;
use super::{DOING, Outcome, Ranges, State, Taken};
use crate::storage::StorageError;
use crate::storage::lists::Listed;
use crate::storage::window::Instants;

/// An entity that a page is asked for.
pub(super) struct Asked<'a> {
    pub name: &'a str,
    pub table: &'a EntityTable,
    /// What its position says, if it is one.
    pub place: Option<Place>,
}

/// What the first statements of a page say.
pub(super) struct Begun {
    pub taken: Taken,
    /// The end of the log behind the snapshot; `None` if it was on disk.
    unflushed: Option<String>,
    /// Marks of transactions from this one on are whole.
    horizon: u64,
    /// Captures that had a hole, and the transactions that noted it.
    resets: Vec<(i32, u64)>,
    /// For each entity, by its place, the captures that have marks since its position; not there
    /// if it was not asked.
    touched: HashMap<usize, HashSet<i32>>,
}

impl Begun {
    /// Whether the log is on disk now up to what the snapshot sees: others who commit see to it.
    pub(super) async fn is_flushed(&self, link: &Link) -> Result<bool, StorageError> {
        let Some(lsn) = &self.unflushed else {
            return Ok(true);
        };
        let sql = "SELECT pg_current_wal_flush_lsn() >= $1::text::pg_lsn";
        Ok(link.query_one(sql, &[lsn], DOING).await?.get(0))
    }
}

/// Prepares what [`begin`] sends, so that all of it is sent at once: what has to be prepared first
/// would come behind the team's queries, and be planned by their settings.
pub(super) async fn prepare(
    link: &Link,
    asked: &[Asked<'_>],
    asks_queries: bool,
) -> Result<(), StorageError> {
    link.prepare(&header_sql(asks_queries), DOING).await?;
    for asked in asked.iter().filter(|asked| asked.is_probed()) {
        for capture in asked.table.captures() {
            link.prepare(&any_mark(capture), DOING).await?;
        }
    }
    Ok(())
}

impl Asked<'_> {
    /// Whether it goes on with a delta, and it is worth while to ask if there is anything in it.
    fn is_probed(&self) -> bool {
        let goes_on = |place: &Place| {
            matches!(
                place.progress,
                Progress::Idle | Progress::Closing | Progress::Delta { .. }
            )
        };
        self.table.entity.scope.is_everyone() && self.place.as_ref().is_some_and(goes_on)
    }
}

/// Holds the tables and takes the snapshot. Where queries of the team's come next, these are
/// planned as everywhere else.
pub(super) async fn begin(
    link: &Link,
    asked: &[Asked<'_>],
    asks_queries: bool,
) -> Result<Result<Begun, Outcome>, StorageError> {
    let pulled = || asked.iter().filter(|asked| asked.table.capture.is_some());
    let mut held: Vec<(&str, u32)> = pulled().flat_map(|asked| asked.table.held()).collect();
    held.sort_unstable();
    held.dedup();
    let (names, oids): (Vec<&str>, Vec<u32>) = held.into_iter().unzip();
    let mut begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY".to_owned();
    if !names.is_empty() {
        begin += &format!("; LOCK TABLE {} IN ACCESS SHARE MODE", names.join(", "));
    }
    let captures: Vec<i32> = pulled().flat_map(|asked| asked.table.captures()).collect();
    let oldest = pulled()
        .filter_map(|asked| Some(asked.place.as_ref()?.from.xmin))
        .min();
    let oldest = Xid(oldest.unwrap_or(u64::MAX));
    let header = header_sql(asks_queries);
    // The first is through before the second takes the snapshot.
    let (begun, touched, header) = join3(
        link.begin(&begin, DOING),
        touched(link, asked),
        link.query_one(&header, &[&names, &oids, &captures, &oldest], DOING),
    )
    .await;
    begun?;
    let (touched, header) = (touched?, header?);
    if asks_queries {
        link.plans_as_ever();
    }
    let is_itself = header.get::<_, bool>(2) && header.get::<_, u32>(10) == link.database;
    if !is_itself {
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
    let resets: Vec<&str> = header.get(9);
    let resets = resets.into_iter().map(reset).collect::<Result<_, _>>()?;
    Ok(Ok(Begun {
        taken: Taken {
            epoch: epoch::bytes(header.get(3))?,
            number: header.get(8),
            snapshot: epoch::snapshot(header.get(0))?,
        },
        unflushed: header.get(5),
        horizon: epoch::xid(header.get(1))?,
        resets,
        touched,
    }))
}

/// What the snapshot is, and whether database, tables and epoch are those that the server knows:
/// `$1` and `$2` are the tables' names and oids. With it come the resets of the captures `$3` from
/// the transaction `$4` on. The end of the log is read behind the snapshot, and what of it is on
/// disk behind that.
fn header_sql(asks_queries: bool) -> String {
    let as_ever = match asks_queries {
        true => format!(", {AS_EVER}"),
        false => String::new(),
    };
    format!(
        "SELECT pg_current_snapshot()::text, n.horizon::text, \
         n.itself = 'afield.node'::regclass::oid, e.epoch, {IS_NOW}, \
         CASE WHEN l.lsn <= pg_current_wal_flush_lsn() THEN NULL ELSE l.lsn::text END, \
         coalesce(t.are_same, true), coalesce(t.sizes, '{{}}'), e.number, \
         ARRAY(SELECT format('%s %s', r.capture, r.xid) FROM afield.reset r \
         WHERE r.capture = ANY ($3) AND r.xid >= $4), n.database{as_ever} \
         FROM afield.node n CROSS JOIN LATERAL \
         (SELECT pg_current_wal_insert_lsn() AS lsn OFFSET 0) l CROSS JOIN LATERAL \
         (SELECT bool_and(to_regclass(u.name)::oid IS NOT DISTINCT FROM u.oid) AS are_same, \
         array_agg(coalesce(pg_relation_size(u.oid::regclass), 0)) AS sizes \
         FROM unnest($1::text[], $2::oid[]) u (name, oid)) t LEFT JOIN LATERAL \
         (SELECT * FROM afield.epoch e ORDER BY e.number DESC LIMIT 1) e ON true"
    )
}

/// The capture and the transaction of a reset.
fn reset(text: &str) -> Result<(i32, u64), StorageError> {
    let parts = text.split_once(' ');
    let parts = parts.and_then(|(capture, xid)| Some((capture.parse().ok()?, xid)));
    let (capture, xid) = parts.ok_or_else(|| lasting("`afield.reset` has a row that is none"))?;
    Ok((capture, epoch::xid(xid)?))
}

/// The captures that have marks since the positions of entities that go on with a delta.
async fn touched(
    link: &Link,
    asked: &[Asked<'_>],
) -> Result<HashMap<usize, HashSet<i32>>, StorageError> {
    let mut probes = Vec::new();
    for (at, asked) in asked.iter().enumerate() {
        let Some(place) = asked.place.as_ref().filter(|_| asked.is_probed()) else {
            continue;
        };
        let (first, last) = Ranges::since(&place.from).ends();
        for capture in asked.table.captures() {
            let (first, last) = (first.clone(), last.clone());
            probes.push(async move {
                let sql = any_mark(capture);
                let row = link.query_one(&sql, &[&first, &last], DOING).await?;
                Ok::<_, StorageError>((at, capture, row.get::<_, bool>(0)))
            });
        }
    }
    let mut touched: HashMap<usize, HashSet<i32>> = HashMap::new();
    for probed in join_all(probes).await {
        let (at, capture, is_touched) = probed?;
        let captures = touched.entry(at).or_default();
        captures.extend(is_touched.then_some(capture));
    }
    Ok(touched)
}

/// Finds where the entities of a page stand.
pub(super) struct Opening<'a> {
    link: &'a Link,
    begun: &'a Begun,
    listed: &'a Listed<'a>,
    /// The time of the pull.
    now: i64,
    /// The last beacons of other epochs.
    beacons: HashMap<[u8; 8], Option<Beacon>>,
}

impl<'b> Opening<'b> {
    pub(super) fn new(link: &'b Link, begun: &'b Begun, listed: &'b Listed<'b>, now: i64) -> Self {
        Self {
            link,
            begun,
            listed,
            now,
            beacons: HashMap::new(),
        }
    }

    /// An entity from its position on, and whether it starts over; `at` is its place in the page,
    /// and `held` are the values that the user holds, if it has a scope.
    pub(super) async fn open<'e>(
        &mut self,
        at: usize,
        asked: Asked<'e>,
        held: Option<Now>,
    ) -> Result<(Part<'e>, bool), StorageError>
    where
        'b: 'e,
    {
        let Asked { name, table, place } = asked;
        let snapshot = &self.begun.taken.snapshot;
        if table.capture.is_none() {
            let never = Pulled::new(name, table, State::Never, None);
            return Ok((Part::Whole(Box::new(never)), false));
        }
        let place = match place {
            Some(place) if self.is_known(table, &place).await? => Some(place),
            _ => None,
        };
        let is_idle = |place: &Place| place.progress == Progress::Idle;
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
        let mut entity = Pulled::new(name, table, State::Done, instants.resumed);
        entity.touched = self.begun.touched.get(&at);
        let resumed = match place {
            Some(place) => entity.resume(self.link, place, instants, snapshot).await?,
            None => None,
        };
        let starts_over = resumed.is_none();
        let entity = resumed.unwrap_or_else(|| {
            let state = State::Scan {
                began: snapshot.clone(),
                after: None,
            };
            Pulled::new(name, table, state, instants.fresh)
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
        let is_reset = |(capture, xid): &(i32, u64)| {
            !place.from.sees(*xid) && table.captures().any(|own| own == *capture)
        };
        if place.from.xmin < *horizon || resets.iter().any(is_reset) {
            return Ok(false);
        }
        if place.epoch == taken.epoch {
            return Ok(place
                .snapshots()
                .all(|told| told.xmax <= taken.snapshot.xmax));
        }
        let beacon = match self.beacons.get(&place.epoch) {
            Some(beacon) => beacon.clone(),
            None => {
                let beacon = epoch::beacon(self.link, place.epoch).await?;
                self.beacons.insert(place.epoch, beacon.clone());
                beacon
            }
        };
        let contains = |beacon: Beacon| place.snapshots().all(|told| beacon.contains(told));
        Ok(beacon.is_some_and(contains))
    }
}
