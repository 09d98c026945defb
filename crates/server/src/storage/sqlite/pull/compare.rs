//! Digests, and the rows that differ: what a device compares with its own, in the snapshot of the
//! page that completes its pull.
//!
//! One pass over the rows that the caller should have makes every sum; nothing is kept of a row but
//! what it adds. Whose rows these are is asked as for the pull itself: nothing that the device says
//! takes part.

use afield_protocol::{Fetch, Frame, Verify};
use rusqlite::Connection;

use super::super::cell::Canonical;
use super::super::page::PageWriter;
use super::super::scope::EachRow;
use super::State;
use super::part::Part;
use crate::storage::digests::{Counting, Room};

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
    let mut room = Room::new();
    for ask in asked {
        let Some(part) = of(entities, &ask.entity) else {
            continue;
        };
        let mut counting = Counting::new(&part.table().entity.local, ask, &mut room);
        each_row(conn, part, &mut |cells, brought| {
            Ok(counting.row(cells.iter().map(Canonical::as_ref), brought))
        })?;
        frames.push(counting.frame());
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
