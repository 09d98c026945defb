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
//! in one page and the device has that page's snapshot. Else it is a round: the marks that its
//! first page saw, in their order, each page reading the rows as they are in its own snapshot. When
//! the round is through, the device has everything that its first page's snapshot sees, and the
//! next round is of what that does not see. Each is shorter than the one before; the page that
//! finds nothing more is complete.
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
mod begin;
mod compare;
mod part;
mod telling;
mod whole;

use afield_protocol::{Frame, Page, PageEnd, Position};
use futures_util::future::join;

pub(super) use self::at::{At, Batch, Ranges};
use self::begin::{Asked, Opening, begin, prepare};
use self::part::Part;
use super::key::RawKey;
use super::link::Link;
use super::marks::Snapshot;
use super::position;
use super::scope::Questions;
use super::tables::Tables;
use crate::position::CodeKey;
use crate::storage::estimate::Estimate;
use crate::storage::lists::{Asking, Listed, Lists};
use crate::storage::page::PageWriter;
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
    /// The epoch, and its place among those of this database.
    pub epoch: [u8; 8],
    pub number: i64,
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
    let pulled = asked.iter().map(|asked| (asked.name, asked.table));
    let questions = Questions::prepare(link, pulled.collect(), listed.asking).await?;
    let asks_queries = questions.are_any();
    prepare(link, &asked, asks_queries).await?;
    // What is held is asked in the same go: all statements of it stand behind the snapshot's.
    let answers = questions.answers(link, known.code_key);
    let (begun, answers) = join(begin(link, &asked, asks_queries), answers).await;
    let begun = match begun? {
        Ok(begun) => begun,
        Err(outcome) => return Ok(outcome),
    };
    let mut opening = Opening::new(link, &begun, &listed, request.now);
    let (mut reset, mut begins) = (Vec::new(), Vec::new());
    let mut entities = Vec::new();
    let held = asked.into_iter().zip(answers?);
    for (at, ((asked, held), (name, position))) in held.zip(&request.entities).enumerate() {
        let (entity, starts_over) = opening.open(at, asked, held).await?;
        reset.extend((starts_over && position.is_some()).then(|| name.clone()));
        begins.push(starts_over);
        entities.push(entity);
    }
    let mut page = PageWriter::new(request.rows_max, request.bytes_max);
    let now = &begun.taken.snapshot;
    fill(link, &mut entities, &mut page, now).await?;
    let is_complete = entities.iter().all(Part::is_done);
    let remaining = match is_complete {
        true => None,
        false => remaining(link, &entities, &begins, page.rows()).await?,
    };
    if is_complete {
        compare::fetch(link, &entities, &request.compare.fetch, &mut page).await?;
    }
    page.frames.extend(entities.iter().filter_map(Part::told));
    if is_complete {
        let digests = compare::verify(link, &entities, &request.compare.verify).await?;
        page.frames.extend(digests);
    }
    let is_flushed = begun.is_flushed(link).await?;
    link.end_reading().await;
    let page = told(
        known.code_key,
        &begun.taken,
        request,
        &listed,
        (reset, &entities, page),
        remaining,
    );
    Ok(Outcome::Page(Box::new(Read {
        page,
        taken: begun.taken,
        is_flushed,
    })))
}

/// The entities of a request, and what their positions say.
fn asked<'a>(known: &Known<'a>, request: &'a PullRequest) -> Result<Vec<Asked<'a>>, StorageError> {
    let mut asked = Vec::new();
    for (name, position) in &request.entities {
        let table = known.tables.pulled(name)?;
        let place = position.as_ref();
        asked.push(Asked {
            name,
            table,
            place: place.and_then(|token| position::open(known.code_key, &table.label, token)),
        });
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

/// How many rows are to come behind a page with which entities start over, as far as that is known.
async fn remaining(
    link: &Link,
    entities: &[Part<'_>],
    begins: &[bool],
    sent: usize,
) -> Result<Option<u64>, StorageError> {
    let mut estimate = Estimate::new();
    for (entity, begins) in entities.iter().zip(begins) {
        match (begins, estimate.most()) {
            (_, None) => break,
            (true, Some(most)) => estimate.begins(entity.counted(link, most).await?),
            (false, _) if entity.is_scanning() => estimate.goes_on(),
            (false, _) => {}
        }
    }
    Ok(estimate.remaining(sent))
}

fn told(
    key: &CodeKey,
    taken: &Taken,
    request: &PullRequest,
    listed: &Listed<'_>,
    (reset, entities, content): (Vec<String>, &[Part<'_>], PageWriter),
    remaining: Option<u64>,
) -> PulledPage {
    let to = |entity: &Part<'_>| -> (String, Position) {
        let place = entity.place(taken);
        let token = position::seal(key, &entity.table().label, &place);
        (entity.name().to_owned(), token)
    };
    let end = PageEnd {
        to: entities.iter().map(to).collect(),
        complete: entities.iter().all(Part::is_done),
        remaining,
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
