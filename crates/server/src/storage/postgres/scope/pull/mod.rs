//! Pull of an entity whose rows are not everyone's.
//!
//! ```text
//!   what the device has ──► lost values are told
//!        │                                  ┌──────────────────────────────┐
//!        ▼                                  ▼                              │
//!   delta of the values it has ──► scan of a missing value ──► told as gained
//!        │
//!        └──► nothing missing, nothing marked: the device has this snapshot
//! ```
//!
//! What could lose a row or show it to somebody else, and why it does not:
//!
//! - A row changes its value while the values come one after another: before a value is scanned,
//!   the delta of all others has come to the page's snapshot. So every transaction that the
//!   position's snapshot does not see and whose marks count is one of rows which were the user's
//!   when it wrote them: the snapshot is, or sees less than, the one in which each of the values
//!   was first held.
//! - A delta of several pages goes value by value; one that is gained meanwhile waits, and one that
//!   is lost is told, with which its rows go.
//! - A row comes with the numbers of those values alone that the device has, or is just told the
//!   rows of: a value that is lost before its scan has begun leaves nothing on the device.
//! - A mark of a row that was another's: its own scope says whose it was, and it is not told.

mod delta;
mod enter;
mod every;
mod marks;
mod reached;
mod scan;
mod ways;

use std::collections::HashSet;

use afield_protocol::{Frame, Held, Pattern, ValueRef, Window};

use self::enter::Entering;
use self::reached::{Along, Reached};
use self::ways::Ways;
use super::super::cell::Canonical;
use super::super::entity::EntityTable;
use super::super::key::RawKey;
use super::super::link::Link;
use super::super::marks::Snapshot;
use super::super::position::{Place, Progress};
use super::super::pull::{Ranges, Taken};
use super::{ByValue, Now, ScopeSql};
use crate::storage::StorageError;
use crate::storage::lists::{Listed, OnDevice};
use crate::storage::page::{Content, PageWriter};
use crate::storage::window::Instants;

const DOING: &str = "reading a page of a scope";

/// An entity with a scope while its page is made.
pub(in super::super) struct ScopedPull<'a> {
    pub name: &'a str,
    pub table: &'a EntityTable,
    scope: &'a ScopeSql,
    sql: &'a [ByValue],
    now: Now,
    has: OnDevice,
    /// What this snapshot does not see is to come.
    from: Snapshot,
    /// A delta of several pages that has begun.
    round: Option<Round>,
    /// The newest snapshot that rows were read from, if they are newer than `from`.
    seen: Option<Snapshot>,
    scan: Option<Reached>,
    is_done: bool,
    is_fresh: bool,
    /// The instant by which rows are chosen, and which that are: if they stay for a time.
    at: Option<i64>,
    pub window: Option<Window>,
    /// The rows that have come in by time are to be sent.
    entering: Option<Entering>,
}

/// A delta of several pages.
#[derive(Clone, Debug, PartialEq)]
struct Round {
    /// The snapshot of its first page: when it is through, the device has everything of that.
    next: Snapshot,
    along: Along,
}

impl<'a> ScopedPull<'a> {
    /// An entity of which the device has nothing, at the snapshot in which `now` is held.
    pub(in super::super) fn fresh(
        (name, table): (&'a str, &'a EntityTable),
        (scope, sql): (&'a ScopeSql, &'a [ByValue]),
        now: Now,
        snapshot: &Snapshot,
        instants: Instants,
    ) -> Self {
        Self {
            at: instants.fresh,
            window: table.window(instants.fresh),
            entering: None,
            name,
            table,
            scope,
            sql,
            now,
            has: OnDevice::default(),
            from: snapshot.clone(),
            round: None,
            seen: None,
            scan: None,
            is_done: false,
            is_fresh: true,
        }
    }

    /// Goes on from a place. False if the entity starts over.
    pub(in super::super) async fn resume(
        &mut self,
        link: &Link,
        place: &Place,
        listed: &Listed<'_>,
        instants: Instants,
    ) -> Result<bool, StorageError> {
        let Some(held) = place.held else {
            return Ok(false);
        };
        if place.instant.is_some() != self.table.entity.keep.is_some() {
            return Ok(false);
        }
        let mut entering = instants.before.map(Entering::new);
        let (mut scan, mut round) = (None, None);
        let is_read = match &place.progress {
            Progress::After { last } => {
                scan = Reached::read(last, self.scope, self.table.key_width());
                scan.is_some()
            }
            Progress::Entering { last, before } => {
                entering = Entering::read(last, *before, self.table.key_width());
                entering.is_some()
            }
            Progress::Delta { next, at } => {
                let along = Along::read(at, self.scope, self.table);
                round = along.map(|along| Round {
                    next: next.clone(),
                    along,
                });
                round.is_some()
            }
            Progress::Closing | Progress::BeforeFirst | Progress::Idle => true,
        };
        if !is_read {
            return Ok(false);
        }
        let is_idle = place.progress == Progress::Idle;
        let is_whole = is_idle && self.table.entity.local.pattern == Pattern::ReadOnly;
        if is_whole && held != self.now.digest {
            return Ok(false);
        }
        let Some(has) = listed.find(self.name, held, &self.now)? else {
            return Ok(false);
        };
        let snapshot = std::mem::replace(&mut self.from, place.from.clone());
        self.has = OnDevice::of(has);
        let has_changed = is_whole
            && (self.is_touched(link, &snapshot).await?
                || self.has_entered(link, instants).await?);
        if has_changed {
            self.has = OnDevice::default();
            self.from = snapshot;
            return Ok(false);
        }
        self.seen = place.seen.clone();
        self.is_fresh = place.progress == Progress::BeforeFirst;
        self.scan = scan;
        self.round = round;
        self.at = instants.resumed;
        self.window = self.table.window(self.at);
        // What is sent whole has nothing that came in, or starts over.
        self.entering = entering.filter(|_| !is_whole);
        self.let_go();
        Ok(true)
    }

    /// Drops what the user holds no more.
    fn let_go(&mut self) {
        let held: HashSet<i64> = self.now.all().collect();
        if self.has.let_go(&held, &self.now, self.begun_value()) {
            self.scan = None;
        }
    }

    /// The value whose scan goes on.
    fn begun_value(&self) -> Option<(usize, i64)> {
        self.scan.as_ref().map(|scan| (scan.condition, scan.number))
    }

    /// Whose rows are whose, going by what the device has now.
    fn ways(&self) -> Ways<'_> {
        Ways {
            scope: self.scope,
            now: &self.now,
            has: self.has.numbers(),
        }
    }

    /// Ends the page for this entity, if nothing is missing.
    pub(in super::super) async fn close(
        &mut self,
        link: &Link,
        page: &mut PageWriter,
        now: &Snapshot,
    ) -> Result<(), StorageError> {
        self.delta(link, page, now).await?;
        self.is_done = self.is_level(now);
        Ok(())
    }

    /// Whether the device has everything that a snapshot sees of the values that it has.
    fn is_level(&self, now: &Snapshot) -> bool {
        self.round.is_none() && Ranges::between(&self.from, now).is_empty()
    }

    /// Whether values are missing, or rows that have come in by time.
    pub(in super::super) fn is_scanning(&self) -> bool {
        self.entering.is_some() || self.has.is_missing_any(&self.now)
    }

    /// Whether the device has this snapshot.
    pub(in super::super) fn is_done(&self) -> bool {
        self.is_done
    }

    /// What changed in the values, if anything did.
    pub(in super::super) fn told(&self) -> Option<Frame> {
        self.has.told(self.name)
    }

    /// What the device has after this page, which is remembered for its next one.
    pub(in super::super) fn held(&self, listed: &Listed<'_>) -> Held {
        self.has.held(self.name, &self.now, listed)
    }

    /// Where the device stands after this page.
    pub(in super::super) fn place(&self, taken: &Taken) -> Place {
        let now = &taken.snapshot;
        let (from, progress) = match (&self.entering, &self.scan, &self.round) {
            _ if self.is_done => (now, Progress::Idle),
            (Some(entering), ..) => (&self.from, entering.progress()),
            (None, Some(reached), _) => {
                let last = reached.write();
                (&self.from, Progress::After { last })
            }
            (None, None, Some(Round { next, along })) => {
                let (next, at) = (next.clone(), along.write());
                (&self.from, Progress::Delta { next, at })
            }
            (None, None, None) if self.seen.is_some() => (&self.from, Progress::Closing),
            (None, None, None) if self.is_fresh => (&self.from, Progress::BeforeFirst),
            (None, None, None) => (&self.from, Progress::Idle),
        };
        Place {
            epoch: taken.epoch,
            from: from.clone(),
            seen: self
                .seen
                .clone()
                .filter(|seen| !self.is_done && seen != from),
            progress,
            held: Some(self.has.digest()),
            instant: self.at,
        }
    }
}

/// Delivers a row with the numbers of the values that bring it.
fn send(content: &mut Content<'_>, cells: &[Canonical<'_>], beside: &[Option<i64>]) {
    let number = |number: &Option<i64>| number.map_or(ValueRef::Null, ValueRef::Integer);
    let beside = beside.iter().map(number);
    content.row(cells.iter().map(Canonical::as_ref).chain(beside));
}

/// The place of a row in the window's order: its attribute and its key.
fn place(bytes: &[u8], key_width: usize) -> Option<RawKey> {
    RawKey::parse_whole(bytes).filter(|place| place.0.len() == key_width + 1)
}
