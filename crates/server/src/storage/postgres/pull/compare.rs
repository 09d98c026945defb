//! What a device compares with its own rows, in the snapshot of the page that completes its pull.
//! Whose rows these are is asked as for the pull itself: nothing that the device says takes part.

use afield_protocol::{Fetch, Frame, Verify};

use super::super::link::Link;
use super::part::Part;
use crate::storage::StorageError;
use crate::storage::digests::{Counting, Room};
use crate::storage::page::PageWriter;

/// Delivers rows that the device asks for by their identifiers.
pub(super) async fn fetch(
    link: &Link,
    entities: &[Part<'_>],
    asked: &[Fetch],
    page: &mut PageWriter,
) -> Result<(), StorageError> {
    for Fetch { entity, keys } in asked {
        match of(entities, entity) {
            Some(Part::Whole(entity)) => entity.fetch(link, page, keys).await?,
            Some(Part::Scoped(entity)) => entity.fetch(link, page, keys).await?,
            None => {}
        }
    }
    Ok(())
}

/// Answers what is asked about the rows of a complete page.
pub(super) async fn verify(
    link: &Link,
    entities: &[Part<'_>],
    asked: &[Verify],
) -> Result<Vec<Frame>, StorageError> {
    let mut frames = Vec::new();
    let mut room = Room::new();
    for ask in asked {
        let Some(part) = of(entities, &ask.entity) else {
            continue;
        };
        let mut counting = Counting::new(&part.table().entity.local, ask, &mut room);
        match part {
            Part::Whole(entity) => entity.count(link, &mut counting).await?,
            Part::Scoped(entity) => entity.count(link, &mut counting).await?,
        }
        frames.push(counting.frame());
    }
    Ok(frames)
}

/// The entity of this name, if its rows go to devices.
fn of<'p, 'a>(entities: &'p [Part<'a>], name: &str) -> Option<&'p Part<'a>> {
    let found = entities.iter().find(|part| part.name() == name)?;
    (!found.is_never()).then_some(found)
}
