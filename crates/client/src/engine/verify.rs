//! Verifying a unit: which questions a request asks besides its pull, and what the answers mean.
//!
//! ```text
//! root ──► equal                                        one number of each entity
//!   └──► buckets ──► rows of those that differ ──┬──► told            (only to be reported)
//!                       ▲                        └──► fetch ──► root  (repaired, and proven)
//!                       └── more buckets ◄───────┘
//! ```
//!
//! Each step is a pull with questions: what a step compares, it compares at the snapshot of its own
//! page. A change that arrives between two steps is no difference in any of them.

use std::collections::{BTreeMap, HashSet};

use afield_protocol::codec::cbor::write_key;
use afield_protocol::limits::{VERIFY_DEPTH_MAX, VERIFY_ROWS_MAX};
use afield_protocol::{Fetch, Key, Verify};

use crate::error::Error;
use crate::store::{Checked, Difference, DifferentRow, Found, FoundWhat, Repaired, SyncStore};

/// Rows that a bucket should have: so few that listing them costs less than another step.
const BUCKET_ROWS: u64 = 16;

/// Requests that one unit is verified with at most. What is not through then is for the next time.
const STEPS_MAX: u32 = 64;

/// Times that an entity may differ as a whole while no row of it does, or differ again after its
/// repair, before nothing more is tried.
const ROOTS_MAX: u32 = 4;

/// How a device verifies by itself, at the end of a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckPolicy {
    /// Milliseconds between two checks of a unit, at least.
    pub every_ms: i64,
    /// Whether rows that differ are repaired. What stood in their place stays readable among
    /// [`crate::Store::uncaptured`].
    pub repair: bool,
}

/// Rows that differ under one value of an entity's scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differing {
    /// The local entity.
    pub entity: String,
    /// A value that brings the rows, as the number that the server made of it; `None` if the
    /// entity's scope has no values, or nothing brings them.
    pub scope: Option<i64>,
    /// How many rows.
    pub count: u64,
}

/// What verifying found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Whether the device had exactly the server's rows, of all entities.
    pub equal: bool,
    /// Whether it has now: it had, or differences were repaired and both sides compared again.
    pub equal_now: bool,
    /// The rows that differed, by entity and scope.
    pub differences: Vec<Differing>,
    /// How many of them the device lacked.
    pub missing: u64,
    /// How many it had with another content.
    pub changed: u64,
    /// How many only the device had.
    pub extra: u64,
    /// How many were repaired.
    pub repaired: u64,
    /// Entities of which the end was not reached: there is more that differs, the server does not
    /// count so many rows, or both sides kept changing.
    pub unknown: Vec<String>,
}

impl Verified {
    /// Rows that differed.
    pub fn found(&self) -> u64 {
        self.missing + self.changed + self.extra
    }
}

/// Where an entity stands.
#[derive(Clone, Debug, PartialEq)]
enum At {
    Root,
    Buckets(u8),
    /// Buckets that differ, each with its rows; the first ones are asked for.
    Rows {
        depth: u8,
        left: Vec<(u32, u64)>,
    },
    /// Rows to fetch, before the buckets that are left.
    Fetch {
        keys: Vec<Key>,
        depth: u8,
        left: Vec<(u32, u64)>,
    },
    Equal,
    /// It differs, and that was told.
    Told,
    Unknown,
}

#[derive(Debug)]
struct Entity {
    at: At,
    roots: u32,
    /// The rows of it that differed.
    differed: HashSet<Vec<u8>>,
}

impl Entity {
    fn has_differed(&self) -> bool {
        !self.differed.is_empty()
    }
}

/// The verification of one unit.
#[derive(Debug)]
pub(super) struct Check {
    unit: String,
    repair: bool,
    steps: u32,
    entities: BTreeMap<String, Entity>,
    by_scope: BTreeMap<(String, Option<i64>), u64>,
    verified: Verified,
    /// Rows below changes that were computed again.
    recomputed: HashSet<(String, Vec<u8>)>,
}

/// What a request asks besides its pull.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    pub(super) verify: Vec<Verify>,
    pub(super) fetch: Vec<Fetch>,
}

impl Asked {
    pub(super) fn is_empty(&self) -> bool {
        self.verify.is_empty() && self.fetch.is_empty()
    }

    /// The buckets whose rows are asked for, by entity.
    pub(super) fn buckets(&self) -> Vec<(String, Vec<u32>)> {
        let asks = self.verify.iter();
        asks.map(|ask| (ask.entity.clone(), ask.buckets.clone()))
            .collect()
    }
}

impl Check {
    pub(super) fn new<'e>(
        unit: &str,
        repair: bool,
        entities: impl Iterator<Item = &'e String>,
    ) -> Self {
        let entity = |name: &String| {
            let entity = Entity {
                at: At::Root,
                roots: 0,
                differed: HashSet::new(),
            };
            (name.clone(), entity)
        };
        Self {
            unit: unit.to_owned(),
            repair,
            steps: 0,
            entities: entities.map(entity).collect(),
            by_scope: BTreeMap::new(),
            verified: Verified::default(),
            recomputed: HashSet::new(),
        }
    }

    pub(super) fn unit(&self) -> &str {
        &self.unit
    }

    /// What the next request asks; nothing if it is over.
    pub(super) fn ask(&self) -> Asked {
        let mut asked = Asked::default();
        let mut fetched = 0;
        let mut room = VERIFY_ROWS_MAX as u64;
        for (name, entity) in &self.entities {
            let verify = |depth: u8, buckets: Vec<u32>| Verify {
                entity: name.clone(),
                depth,
                buckets,
            };
            match &entity.at {
                At::Root => asked.verify.push(verify(0, Vec::new())),
                At::Buckets(depth) => asked.verify.push(verify(*depth, Vec::new())),
                At::Rows { depth, left } => {
                    let first = fitting(left, &mut room);
                    let buckets = first.iter().map(|(bucket, _)| *bucket);
                    let buckets: Vec<u32> = buckets.collect();
                    // What does not fit any more is for the next request.
                    if !buckets.is_empty() {
                        asked.verify.push(verify(*depth, buckets));
                    }
                }
                At::Fetch { keys, .. } => {
                    let fits = keys.len().min(VERIFY_ROWS_MAX - fetched);
                    fetched += fits;
                    if fits > 0 {
                        asked.fetch.push(Fetch {
                            entity: name.clone(),
                            keys: keys[..fits].to_vec(),
                        });
                    }
                }
                At::Equal | At::Told | At::Unknown => {}
            }
        }
        asked
    }

    /// Takes what a page that was complete and applied had to say.
    pub(super) fn take(
        &mut self,
        store: &mut SyncStore,
        asked: &Asked,
        found: Vec<Found>,
        repaired: &Repaired,
    ) -> Result<(), Error> {
        self.steps += 1;
        for (name, key) in &repaired.answered {
            if let Some(Entity {
                at: At::Fetch { keys, .. },
                ..
            }) = self.entities.get_mut(name)
            {
                keys.retain(|known| known != key);
            }
        }
        for fetch in &asked.fetch {
            self.go_on_fetching(&fetch.entity);
        }
        let mut answered: BTreeMap<String, Found> = found
            .into_iter()
            .map(|found| (found.entity.clone(), found))
            .collect();
        for ask in &asked.verify {
            match answered.remove(&ask.entity) {
                Some(found) => self.step(store, ask, found)?,
                None => self.set(&ask.entity, At::Unknown),
            }
        }
        if self.steps >= STEPS_MAX {
            for entity in self.entities.values_mut() {
                if !matches!(entity.at, At::Equal | At::Told) {
                    entity.at = At::Unknown;
                }
            }
        }
        Ok(())
    }

    fn set(&mut self, name: &str, at: At) {
        if let Some(entity) = self.entities.get_mut(name) {
            entity.at = at;
        }
    }

    /// Back to the root: what was repaired is proven, and what differed as a whole alone is
    /// compared anew.
    fn back_to_root(&mut self, name: &str) {
        if let Some(entity) = self.entities.get_mut(name) {
            entity.roots += 1;
            entity.at = match entity.roots < ROOTS_MAX {
                true => At::Root,
                false => At::Unknown,
            };
        }
    }

    fn go_on_fetching(&mut self, name: &str) {
        let entity = self.entities.get_mut(name);
        if let Some(Entity {
            at: At::Fetch { keys, depth, left },
            ..
        }) = entity
            && keys.is_empty()
        {
            let (depth, left) = (*depth, std::mem::take(left));
            self.on_from(name, depth, left);
        }
    }

    /// Goes on with the buckets that are left.
    fn on_from(&mut self, name: &str, depth: u8, left: Vec<(u32, u64)>) {
        let differed = self.entities.get(name).is_some_and(Entity::has_differed);
        match (left.is_empty(), differed && !self.repair) {
            (false, _) => self.set(name, At::Rows { depth, left }),
            (true, true) => self.set(name, At::Told),
            (true, false) => self.back_to_root(name),
        }
    }

    fn step(&mut self, store: &mut SyncStore, ask: &Verify, found: Found) -> Result<(), Error> {
        let name = &ask.entity;
        let Some(at) = self.entities.get(name).map(|entity| entity.at.clone()) else {
            return Ok(());
        };
        match (at, found.what) {
            (At::Root, FoundWhat::Buckets { differing, .. }) if differing.is_empty() => {
                // The server's rows below changes are proven: what is seen must follow from them.
                let rows = store.check_overlaid(name, self.repair)?;
                self.count(name, &rows);
                if self.repair {
                    let keys = rows.iter().map(|row| (name.clone(), write_key(&row.key)));
                    self.recomputed.extend(keys);
                }
                let differed = self.entities.get(name).is_some_and(Entity::has_differed);
                let is_equal = self.repair || !differed;
                self.set(name, if is_equal { At::Equal } else { At::Told });
            }
            (At::Root, FoundWhat::Buckets { differing, rows }) => match depth_of(rows) {
                0 => self.set(
                    name,
                    At::Rows {
                        depth: 0,
                        left: differing,
                    },
                ),
                depth => self.set(name, At::Buckets(depth)),
            },
            (At::Buckets(_), FoundWhat::Buckets { differing, .. }) if differing.is_empty() => {
                self.back_to_root(name);
            }
            (At::Buckets(depth), FoundWhat::Buckets { differing, .. }) => {
                let left = differing;
                self.set(name, At::Rows { depth, left });
            }
            (At::Rows { depth, mut left }, FoundWhat::Rows(rows)) => {
                left.drain(..ask.buckets.len().min(left.len()));
                self.take_rows(store, name, &rows, depth, left)?;
            }
            _ => self.set(name, At::Unknown),
        }
        Ok(())
    }

    fn take_rows(
        &mut self,
        store: &mut SyncStore,
        name: &str,
        rows: &[DifferentRow],
        depth: u8,
        left: Vec<(u32, u64)>,
    ) -> Result<(), Error> {
        self.count(name, rows);
        if rows.is_empty() {
            self.on_from(name, depth, left);
            return Ok(());
        }
        let keys = store.note_uncaptured(name, rows)?;
        match self.repair && !keys.is_empty() {
            true => self.set(name, At::Fetch { keys, depth, left }),
            false => self.on_from(name, depth, left),
        }
        Ok(())
    }

    /// Counts rows that differ.
    fn count(&mut self, name: &str, rows: &[DifferentRow]) {
        let Some(entity) = self.entities.get_mut(name) else {
            return;
        };
        for row in rows {
            // One that differs again after its repair is no other row.
            if !entity.differed.insert(write_key(&row.key)) {
                continue;
            }
            match row.difference {
                Difference::Missing => self.verified.missing += 1,
                Difference::Changed => self.verified.changed += 1,
                Difference::Extra => self.verified.extra += 1,
            }
            let scope = (name.to_owned(), row.value);
            *self.by_scope.entry(scope).or_default() += 1;
        }
    }

    /// Ends it, with these rows repaired: stores what came of it, and gives what is to be told.
    pub(super) fn conclude(
        mut self,
        store: &mut SyncStore,
        repaired: Vec<(String, Vec<u8>)>,
    ) -> Result<Verified, Error> {
        self.recomputed.extend(repaired);
        let repaired = self.recomputed.len() as u64;
        self.verified.repaired = repaired;
        let is = |wanted: At| {
            let entities = self.entities.iter();
            let found = entities.filter(move |(_, entity)| entity.at == wanted);
            found.map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        let equal = is(At::Equal);
        let unknown = is(At::Unknown);
        let all_equal = equal.len() == self.entities.len();
        self.verified.unknown = unknown;
        self.verified.equal_now = all_equal;
        self.verified.equal = all_equal && self.verified.found() == 0;
        let by_scope = self.by_scope.into_iter();
        let differing = |((entity, scope), count)| Differing {
            entity,
            scope,
            count,
        };
        self.verified.differences = by_scope.map(differing).collect();
        let checked = Checked {
            equal,
            all_equal,
            found: self.verified.found(),
            repaired,
        };
        store.note_checked(&self.unit, &checked)?;
        Ok(self.verified)
    }
}

impl Verified {
    /// Puts what two units found together.
    pub(super) fn and(self, other: Self) -> Self {
        let mut differences = self.differences;
        differences.extend(other.differences);
        let mut unknown = self.unknown;
        unknown.extend(other.unknown);
        Self {
            equal: self.equal && other.equal,
            equal_now: self.equal_now && other.equal_now,
            differences,
            missing: self.missing + other.missing,
            changed: self.changed + other.changed,
            extra: self.extra + other.extra,
            repaired: self.repaired + other.repaired,
            unknown,
        }
    }
}

/// The buckets that an answer with so much room lists: one at least, if nothing is listed yet.
fn fitting<'b>(buckets: &'b [(u32, u64)], room: &mut u64) -> &'b [(u32, u64)] {
    let mut count = 0;
    for (_, rows) in buckets {
        let is_first = *room == VERIFY_ROWS_MAX as u64;
        if rows > room && !is_first {
            break;
        }
        *room = room.saturating_sub((*rows).max(1));
        count += 1;
    }
    &buckets[..count]
}

/// How many bits name buckets of a few rows each; none if a bucket has them all.
fn depth_of(rows: u64) -> u8 {
    let buckets = rows.div_ceil(BUCKET_ROWS).next_power_of_two();
    u8::try_from(buckets.trailing_zeros())
        .unwrap_or(VERIFY_DEPTH_MAX)
        .min(VERIFY_DEPTH_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p9_buckets_are_small_and_few() {
        for (rows, depth) in [
            (0, 0),
            (16, 0),
            (17, 1),
            (1_000, 6),
            (1_000_000, 12),
            (u64::MAX / 2, 12),
        ] {
            assert_eq!(depth_of(rows), depth, "{rows}");
        }
        let fits = |buckets: &[(u32, u64)], mut room: u64| fitting(buckets, &mut room).len();
        let all = VERIFY_ROWS_MAX as u64;
        assert_eq!(fits(&[(0, 4_000), (1, 1_000), (2, 1)], all), 2);
        assert_eq!(fits(&[(0, 9_000), (1, 1)], all), 1, "one bucket at least");
        assert_eq!(fits(&[(0, 9_000), (1, 1)], 10), 0, "but not behind others");
        assert_eq!(fits(&[(0, 10), (1, 1)], 10), 1);
        assert_eq!(fits(&[], all), 0);
    }
}
