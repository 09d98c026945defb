//! Places in a delta, and the transactions that it is of.
//!
//! A delta that is too large for one page is delivered in the order of its marks, which is that of
//! transactions and then of keys: first the marks of the rows themselves, then route by route those
//! of what lookups read. A mark that is written anew meanwhile has a transaction that the round's
//! end does not see, and comes in the next round: nothing depends on where it stood.

use tokio_postgres::types::ToSql;

use super::super::cell::Param;
use super::super::columns::KeyColumn;
use super::super::entity::EntityTable;
use super::super::key::{RawKey, Xid};
use super::super::marks::Snapshot;
use crate::position::{read_varint, write_varint};

/// How far a delta has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct At {
    /// 0: the rows' own marks; then one for each route.
    pub stage: usize,
    /// The transaction of the last mark; 0 if there was none.
    pub xid: u64,
    /// Its key.
    pub key: RawKey,
    /// Of a route, how far the rows of that mark have come: keys on the way, then the row's own;
    /// any part from the left.
    pub path: RawKey,
}

impl At {
    /// Before the first mark of a stage.
    pub(in super::super) fn of(stage: usize) -> Self {
        Self {
            stage,
            ..Self::default()
        }
    }

    pub(in super::super) fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_varint(&mut bytes, self.stage as u64);
        write_varint(&mut bytes, self.xid);
        self.key.write(&mut bytes);
        self.path.write(&mut bytes);
        bytes
    }

    /// `None` if it is none of this entity.
    pub(in super::super) fn read(bytes: &[u8], table: &EntityTable) -> Option<Self> {
        let (stage, rest) = read_varint(bytes)?;
        let (xid, rest) = read_varint(rest)?;
        let (key, rest) = RawKey::parse(rest)?;
        let path = RawKey::parse_whole(rest)?;
        let stage = usize::try_from(stage).ok()?;
        let (width, steps) = match stage.checked_sub(1) {
            None => (table.key_width(), None),
            Some(route) => (1, Some(table.lookups.routes.get(route)?.width())),
        };
        let own = table.key_width();
        let fits = |steps: usize| path.0.len() <= steps || path.0.len() == steps + own;
        let is_path = steps.map_or(path.0.is_empty(), fits);
        let is_key = key.0.len() == if xid == 0 { 0 } else { width };
        (is_path && is_key).then_some(Self {
            stage,
            xid,
            key,
            path,
        })
    }
}

/// Transactions whose marks are to come: ranges, both ends included.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// Those that one snapshot does not see and the other may.
    pub(in super::super) fn between(old: &Snapshot, new: &Snapshot) -> Self {
        Self(old.unseen(new))
    }

    /// Those that a snapshot does not see, whatever comes.
    pub(in super::super) fn since(old: &Snapshot) -> Self {
        let running = old.running.iter().map(|xid| (*xid, *xid));
        Self(running.chain([(old.xmax, u64::MAX)]).collect())
    }

    pub(in super::super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Both ends, as parameters.
    pub(in super::super) fn ends(&self) -> (Vec<Xid>, Vec<Xid>) {
        self.above(0)
    }

    fn above(&self, xid: u64) -> (Vec<Xid>, Vec<Xid>) {
        let rest = self.0.iter().filter(|(_, last)| *last > xid);
        rest.map(|(first, last)| (Xid(*first.max(&(xid + 1))), Xid(*last)))
            .unzip()
    }

    /// The parameters from `$2` on of a statement that goes through marks behind a place.
    pub(in super::super) fn behind(
        &self,
        at: &At,
        key: &[KeyColumn],
        parameters: &mut Vec<Box<dyn ToSql + Sync>>,
    ) {
        let (first, last) = self.above(at.xid);
        parameters.extend([Box::new(first) as Box<dyn ToSql + Sync>, Box::new(last)]);
        parameters.push(Box::new(Xid(at.xid)));
        for (place, key) in key.iter().enumerate() {
            let cell = at.key.0.get(place).map(|cell| key.stored_mark(cell));
            parameters.push(Box::new(cell.unwrap_or_else(|| Param::stored(None, false))));
        }
    }
}

/// How many rows statements are asked for, one after another: few at first, since rows may be
/// large and a page may end with any of them.
pub(in super::super) struct Batch {
    next: usize,
}

const FIRST: usize = 64;
const MOST: usize = 2_048;

impl Batch {
    /// One more than fit, to see whether that is all.
    pub(in super::super) fn new(rows_left: usize) -> Self {
        Self {
            next: rows_left.saturating_add(1).clamp(2, FIRST),
        }
    }

    pub(in super::super) fn next(&mut self) -> i64 {
        let now = self.next;
        self.next = now.max((now * 4).min(MOST));
        i64::try_from(now).unwrap_or(i64::MAX)
    }

    /// The last statement gave too few to come on with.
    pub(in super::super) fn widen(&mut self) {
        self.next = self.next.saturating_mul(4);
    }
}
