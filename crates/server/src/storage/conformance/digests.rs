//! Digests in pages: every device of the suite asks for them with each pull, and what it then holds
//! must add up to them.

use std::collections::BTreeSet;

use afield_protocol::digest::{RowHasher, Sum};
use afield_protocol::{Digest, Frame, Value, Verify};

use super::Database;
use crate::storage::{Compare, PulledPage};

/// A row that a device holds, and the numbers of the values that brought it.
pub(super) type Held = (Vec<Value>, Vec<Option<i64>>);

/// Asks for the digests of all entities, of each at another depth.
pub(super) fn asking(entities: &[&str]) -> Compare {
    let ask = |(at, entity): (usize, &&str)| Verify {
        entity: (*entity).to_owned(),
        depth: u8::try_from(at % 4).unwrap(),
        buckets: Vec::new(),
    };
    Compare {
        verify: entities.iter().enumerate().map(ask).collect(),
        fetch: Vec::new(),
    }
}

/// Holds what a device has after a page against the page's digests: all that were asked for, if
/// the page is complete, and none otherwise.
pub(super) fn check(
    db: &dyn Database,
    entities: &[&str],
    page: &PulledPage,
    mut rows: impl FnMut(&str) -> Vec<Held>,
) {
    let mut told = BTreeSet::new();
    for frame in &page.frames {
        if let Frame::Digest(digest) = frame {
            let own = sums(db, &digest.entity, digest.depth, &rows(&digest.entity));
            assert_eq!(own, digest.sums, "p5: the digest of {}", digest.entity);
            told.insert(digest.entity.as_str());
        }
    }
    let is_pulled = |entity: &&&str| !db.model().entity(entity).unwrap().local.insert_only;
    let asked: BTreeSet<&str> = entities.iter().filter(is_pulled).copied().collect();
    match page.end.complete {
        true => assert_eq!(told, asked, "digests of a complete page"),
        false => assert!(told.is_empty(), "a digest of half a state"),
    }
}

/// The sums of the buckets of these rows.
pub(super) fn sums(db: &dyn Database, entity: &str, depth: u8, rows: &[Held]) -> Vec<Sum> {
    let local = &db.model().entity(entity).unwrap().local;
    let mut hasher = RowHasher::new(local);
    let mut sums = vec![Sum::default(); 1 << depth];
    for (row, brought) in rows {
        let key = row.iter().take(local.key_width);
        let bucket = hasher.bucket(key.map(Value::as_ref), depth);
        sums[bucket].add(&hasher.row(row.iter().map(Value::as_ref), brought));
    }
    sums
}

/// Whether a frame of a page is about comparing alone.
pub(super) fn is_digest(frame: &Frame) -> bool {
    matches!(frame, Frame::Digest(Digest { .. }))
}
