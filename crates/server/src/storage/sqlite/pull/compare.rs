//! Digests, and the rows that differ: what a device compares with its own, in the snapshot of the
//! page that completes its pull.
//!
//! One pass over the rows that the caller should have makes every sum; nothing is kept of a row but
//! what it adds. Whose rows these are is asked as for the pull itself: nothing that the device says
//! takes part.

use afield_protocol::digest::{RowHasher, Sum};
use afield_protocol::limits::{PAGE_BYTES, VERIFY_COUNTED_MAX, VERIFY_ROWS_MAX};
use afield_protocol::{Digest, Fetch, Frame, HashedRow, Hashes, Verify};
use rusqlite::Connection;

use super::super::cell::Canonical;
use super::super::page::{PageWriter, size_at_most};
use super::super::scope::EachRow;
use super::State;
use super::part::Part;

/// Bytes that a hashed row takes on the wire beside its identifier.
const HASHED_BYTES: usize = 32;

/// Delivers rows that the device asks for by their identifiers.
pub(super) fn fetch(
    conn: &Connection,
    entities: &[Part<'_>],
    asked: &[Fetch],
    page: &mut PageWriter,
) -> rusqlite::Result<()> {
    for Fetch { entity, keys } in asked {
        match of(entities, entity) {
            Some(Part::Whole(entity)) => entity.fetch(conn, page, keys)?,
            Some(Part::Scoped(entity)) => entity.fetch(conn, page, keys)?,
            None => {}
        }
    }
    Ok(())
}

/// Answers what is asked about the rows of a complete page.
pub(super) fn verify(
    conn: &Connection,
    entities: &[Part<'_>],
    asked: &[Verify],
) -> rusqlite::Result<Vec<Frame>> {
    let mut frames = Vec::new();
    let mut room = Room {
        rows: VERIFY_ROWS_MAX,
        bytes: PAGE_BYTES,
    };
    for ask in asked {
        if let Some(part) = of(entities, &ask.entity) {
            frames.push(match ask.buckets.is_empty() {
                true => Frame::Digest(digest(conn, part, ask)?),
                false => Frame::Hashes(hashes(conn, part, ask, &mut room)?),
            });
        }
    }
    Ok(frames)
}

/// The entity of this name, if its rows go to devices.
fn of<'p, 'a>(entities: &'p [Part<'a>], name: &str) -> Option<&'p Part<'a>> {
    let found = entities.iter().find(|part| part.name() == name)?;
    let is_never = matches!(found, Part::Whole(entity) if entity.state == State::Never);
    (!is_never).then_some(found)
}

fn each_row(conn: &Connection, part: &Part<'_>, each: &mut EachRow<'_>) -> rusqlite::Result<()> {
    match part {
        Part::Whole(entity) => entity.each_row(conn, each),
        Part::Scoped(entity) => entity.each_row(conn, each),
    }
}

fn digest(conn: &Connection, part: &Part<'_>, ask: &Verify) -> rusqlite::Result<Digest> {
    let local = &part.table().entity.local;
    let mut hasher = RowHasher::new(local);
    let mut sums = vec![Sum::default(); 1 << ask.depth];
    let mut counted = 0;
    each_row(conn, part, &mut |cells, brought| {
        counted += 1;
        let key = cells.iter().take(local.key_width);
        let bucket = hasher.bucket(key.map(Canonical::as_ref), ask.depth);
        let hash = hasher.row(cells.iter().map(Canonical::as_ref), brought);
        if let Some(sum) = sums.get_mut(bucket) {
            sum.add(&hash);
        }
        Ok(counted <= VERIFY_COUNTED_MAX)
    })?;
    if counted > VERIFY_COUNTED_MAX {
        sums.clear();
    }
    Ok(Digest {
        entity: ask.entity.clone(),
        depth: ask.depth,
        sums,
    })
}

/// What may still be listed in an answer, of all entities together.
struct Room {
    rows: usize,
    bytes: usize,
}

fn hashes(
    conn: &Connection,
    part: &Part<'_>,
    ask: &Verify,
    room: &mut Room,
) -> rusqlite::Result<Hashes> {
    let local = &part.table().entity.local;
    let mut hasher = RowHasher::new(local);
    let mut is_asked = vec![false; 1 << ask.depth];
    for bucket in &ask.buckets {
        let bucket = usize::try_from(*bucket).ok();
        if let Some(asked) = bucket.and_then(|bucket| is_asked.get_mut(bucket)) {
            *asked = true;
        }
    }
    let mut found = Hashes {
        entity: ask.entity.clone(),
        depth: ask.depth,
        complete: true,
        rows: Vec::new(),
    };
    let mut counted = 0;
    each_row(conn, part, &mut |cells, brought| {
        counted += 1;
        let key = || cells.iter().take(local.key_width).map(Canonical::as_ref);
        let bucket = hasher.bucket(key(), ask.depth);
        if !is_asked.get(bucket).copied().unwrap_or(false) {
            return Ok(counted <= VERIFY_COUNTED_MAX);
        }
        let bytes = HASHED_BYTES + key().map(size_at_most).sum::<usize>();
        if room.rows == 0 || bytes > room.bytes {
            found.complete = false;
            return Ok(false);
        }
        room.rows -= 1;
        room.bytes -= bytes;
        found.rows.push(HashedRow {
            key: key().map(|part| part.to_value()).collect(),
            hash: hasher.row(cells.iter().map(Canonical::as_ref), brought),
            value: brought.iter().copied().flatten().next(),
        });
        Ok(counted <= VERIFY_COUNTED_MAX)
    })?;
    found.complete &= counted <= VERIFY_COUNTED_MAX;
    Ok(found)
}
