//! Pull: one page, read in one snapshot.
//!
//! ```text
//!   before the first row ──► after some key ──► closing ──► idle
//!        ▲      (scan, in key order)      (delta since it began)
//!        └── position unknown, forged, of another history, or `read-only` and changed
//! ```
//!
//! An entity whose rows are not everyone's goes the way of [`super::scope`] instead, in the same
//! snapshot and the same page.
//!
//! Scans come first, since a delta before them would be read again. A page is cut only between
//! change numbers. What is delivered early and changes later has a mark with a higher number, so
//! that it is delivered again; the page that is complete closes every gap.

mod compare;
mod part;
mod whole;

use afield_protocol::zoo::planted;
use afield_protocol::{Frame, Page, PageEnd, Pattern, Position, Window};
use rusqlite::{Connection, Row};

use self::part::Part;
use super::entity::EntityTable;
use super::error::While;
use super::lookups::{Begun, is_any_shown};
use super::page::PageWriter;
use super::raw::{Raw, read_raw_key, write_raw_key};
use super::scope::{Asking, Listed, ScopedPull};
use super::tables::Tables;
use super::window::{self, Instants};
use super::{SqliteStorage, history, replaced};
use crate::position::{self, Place, Progress};
use crate::storage::estimate::Estimate;
use crate::storage::{PullRequest, PulledPage, StorageError};

const DOING: &str = "reading a page";

/// Where an entity stands while its page is made.
#[derive(Clone, Debug, PartialEq)]
enum State {
    /// A download that began at this change number goes on behind a key, up to which rows of
    /// snapshots up to `seen` were read.
    Scan {
        began: i64,
        after: Option<Seen<Vec<Raw>>>,
    },
    /// The rows that have come into the window since an instant go on behind one of them, before
    /// the changes above this number are to come.
    Enter {
        from: i64,
        before: i64,
        after: Option<Seen<Vec<Raw>>>,
    },
    /// The changes above this number are to come, of the next one perhaps only the rows behind
    /// those that a fan-out has reached. `closing` if rows are newer than the number: these end a
    /// download, or a page ended among rows with lookups.
    Delta {
        from: i64,
        closing: Option<Seen<()>>,
        begun: Option<Begun>,
    },
    /// The device has what this snapshot has.
    Done,
    /// Its rows do not go to devices.
    Never,
}

/// What a download has read, and the change number of the newest snapshot that it read from.
#[derive(Clone, Debug, PartialEq)]
struct Seen<T> {
    seen: i64,
    last: T,
}

impl Seen<()> {
    /// All rows of a download were read, or what a page brings is newer than its number.
    fn all(seen: i64) -> Self {
        Self { seen, last: () }
    }
}

struct Pulled<'a> {
    name: &'a str,
    table: &'a EntityTable,
    state: State,
    /// The instant by which rows are chosen, and which that are: if they stay for a time.
    at: Option<i64>,
    window: Option<Window>,
}

/// Reads one page and the highest change number that its positions speak of. `beacon` is the
/// highest that is known to be durable, read before this snapshot was taken.
pub(super) fn pull(
    conn: &Connection,
    tables: &Tables,
    storage: &SqliteStorage,
    beacon: i64,
    request: &PullRequest,
) -> Result<(PulledPage, i64), StorageError> {
    let snapshot = Snapshot::take(conn, storage, beacon, request.now)?;
    let listed = Listed {
        lists: &storage.lists,
        asking: Asking {
            caller: &request.caller,
            chosen: &request.chosen,
            values_max: storage.scope_values_max,
        },
        said: &request.held,
    };
    let (mut reset, mut begins) = (Vec::new(), Vec::new());
    let mut entities = Vec::new();
    for (name, position) in &request.entities {
        let (table, since) = tables.pulled(name)?;
        let (entity, starts_over) = snapshot.begin(name, table, since, position, &listed)?;
        reset.extend((starts_over && position.is_some()).then(|| name.clone()));
        begins.push(starts_over);
        entities.push(entity);
    }
    let mut page = PageWriter::new(request.rows_max, request.bytes_max);
    let now = snapshot.change;
    for entity in &mut entities {
        match entity {
            Part::Whole(entity) => entity.scan(conn, &mut page, now),
            Part::Scoped(entity) => entity.scan(conn, &mut page, now),
        }
        .while_(DOING)?;
    }
    if !entities.iter().any(Part::is_scanning) {
        for entity in &mut entities {
            match entity {
                Part::Whole(entity) => entity.delta(conn, &mut page, now),
                Part::Scoped(entity) => entity.close(conn, &mut page, now),
            }
            .while_(DOING)?;
        }
    }
    let is_complete = entities.iter().all(Part::is_done);
    let remaining = match is_complete {
        true => None,
        false => remaining(conn, &entities, &begins, page.rows()).while_(DOING)?,
    };
    if is_complete {
        compare::fetch(conn, &entities, &request.compare.fetch, &mut page).while_(DOING)?;
    }
    page.frames.extend(entities.iter().filter_map(Part::told));
    if is_complete {
        let digests = compare::verify(conn, &entities, &request.compare.verify);
        page.frames.extend(digests.while_("hashing rows")?);
    }
    let held = entities.iter().filter_map(|entity| entity.held(&listed));
    let held = held.collect();
    let content = (page.frames, remaining);
    let (frames, end, highest) = snapshot.page(request, reset, &entities, content);
    Ok((PulledPage { frames, end, held }, highest))
}

/// How many rows are to come behind a page with which entities start over, as far as that is known.
fn remaining(
    conn: &Connection,
    entities: &[Part<'_>],
    begins: &[bool],
    sent: usize,
) -> rusqlite::Result<Option<u64>> {
    let mut estimate = Estimate::new();
    for (entity, begins) in entities.iter().zip(begins) {
        match (begins, estimate.most()) {
            (_, None) => break,
            (true, Some(most)) => estimate.begins(entity.counted(conn, most)?),
            (false, _) if entity.is_scanning() => estimate.goes_on(),
            (false, _) => {}
        }
    }
    Ok(estimate.remaining(sent))
}

/// What the transaction sees of the bookkeeping.
struct Snapshot<'a> {
    conn: &'a Connection,
    storage: &'a SqliteStorage,
    change: i64,
    /// Marks are whole above this change number.
    horizon: i64,
    /// The time of the pull.
    now: i64,
}

impl<'a> Snapshot<'a> {
    fn take(
        conn: &'a Connection,
        storage: &'a SqliteStorage,
        beacon: i64,
        now: i64,
    ) -> Result<Self, StorageError> {
        let (change, horizon) = conn
            .prepare_cached("SELECT change, horizon FROM afield_clock, afield_node")
            .and_then(|mut statement| statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?))))
            .while_(DOING)?;
        let snapshot = Self {
            conn,
            storage,
            change,
            horizon,
            now,
        };
        // A beacon that went back, or an epoch that is gone: somebody copied an older database
        // over the one that this server opened.
        match history::beacon(conn, storage.epoch)? {
            Some(found) if found >= beacon => Ok(snapshot),
            _ => Err(replaced()),
        }
    }

    /// An entity from its position on, and whether it starts over.
    fn begin<'e>(
        &self,
        name: &'e str,
        table: &'e EntityTable,
        since: i64,
        position: &Option<Position>,
        listed: &Listed<'_>,
    ) -> Result<(Part<'e>, bool), StorageError> {
        if table.entity.local.insert_only {
            return Ok((
                Part::Whole(Pulled::new(name, table, State::Never, None)),
                false,
            ));
        }
        let place = self.place_of(table, since, position.as_ref())?;
        let is_idle = |place: &Place| place.progress == Progress::Idle;
        let known = place.as_ref();
        let known = known.and_then(|place| Some((place.instant?, is_idle(place))));
        let instants = Instants::of(&table.entity, known, self.now);
        if let Some(scoped) = table.scoped() {
            let key = &self.storage.code_key;
            let entity = (name, table);
            let asking = listed.asking;
            let change = self.change;
            let mut entity =
                ScopedPull::fresh(self.conn, key, entity, scoped, asking, change, instants)?;
            let resumed = match &place {
                Some(place) => entity.resume(self.conn, place, listed, self.change, instants)?,
                None => false,
            };
            return Ok((Part::Scoped(Box::new(entity)), !resumed));
        }
        let state = match place {
            Some(place) => self.resume(table, place, instants)?,
            None => None,
        };
        let starts_over = state.is_none();
        let at = match starts_over {
            true => instants.fresh,
            false => instants.resumed,
        };
        let state = state.unwrap_or(State::Scan {
            began: self.change,
            after: None,
        });
        Ok((
            Part::Whole(Pulled::new(name, table, state, at)),
            starts_over,
        ))
    }

    /// What a position says, if it is one of this database's history.
    fn place_of(
        &self,
        table: &EntityTable,
        since: i64,
        position: Option<&Position>,
    ) -> Result<Option<Place>, StorageError> {
        let key = &self.storage.code_key;
        let place = position.and_then(|token| position::open(key, &table.label, token));
        Ok(match place {
            Some(place)
                if place.change >= since
                    && place.change >= self.horizon
                    && self.is_our_history(&place)? =>
            {
                Some(place)
            }
            _ => None,
        })
    }

    /// Where an entity goes on whose rows are everyone's; `None` if it starts over.
    fn resume(
        &self,
        table: &EntityTable,
        place: Place,
        instants: Instants,
    ) -> Result<Option<State>, StorageError> {
        if place.held.is_some() || place.instant.is_some() != table.entity.keep.is_some() {
            return Ok(None);
        }
        let began = place.change;
        let begun = place.fan_out.as_deref();
        let begun = begun.and_then(|bytes| Begun::read(bytes, table));
        Ok(match place.progress {
            Progress::BeforeFirst => Some(State::Scan { began, after: None }),
            Progress::After { last, seen } => read_raw_key(&last)
                .filter(|key| key.len() == table.key_width())
                .map(|last| State::Scan {
                    began,
                    after: Some(Seen { seen, last }),
                }),
            Progress::Entering { last, seen, before } => {
                let (from, width) = (began, table.key_width() + 1);
                let after = window::place(&last, width).map(|last| Seen { seen, last });
                (last.is_empty() || after.is_some()).then_some(State::Enter {
                    from,
                    before,
                    after,
                })
            }
            Progress::Closing { seen } => Some(State::Delta {
                from: began,
                closing: Some(Seen { seen, last: () }),
                begun,
            }),
            Progress::Idle => {
                let is_whole = table.entity.local.pattern == Pattern::ReadOnly;
                let starts_over = is_whole && self.has_changed(table, began, instants)?;
                let from = began;
                let state = match instants.before.filter(|_| !is_whole) {
                    Some(before) => State::Enter {
                        from,
                        before,
                        after: None,
                    },
                    None => State::Delta {
                        from,
                        closing: None,
                        begun,
                    },
                };
                (!starts_over).then_some(state)
            }
        })
    }

    /// Whether a row, or something that a row shows, was touched after this change number, or a row
    /// has come into the window since.
    fn has_changed(
        &self,
        table: &EntityTable,
        from: i64,
        instants: Instants,
    ) -> Result<bool, StorageError> {
        let window = table.window(instants.resumed);
        let is_sent = |row: &Row<'_>| table.is_sent(row, window.as_ref());
        let is_marked = table.is_marked_after(self.conn, from).while_(DOING)?;
        let is_shown = || is_any_shown(self.conn, table, from, self.change, &is_sent);
        let has_entered = || match instants.before.zip(instants.resumed) {
            Some(span) => table.any_entered(self.conn, span, &|_| Ok(true)),
            None => Ok(false),
        };
        Ok(is_marked || is_shown().while_(DOING)? || has_entered().while_(DOING)?)
    }

    /// Whether the place lies in the history that led to this snapshot: an epoch that this
    /// database knows, up to the last beacon that it has of it.
    fn is_our_history(&self, place: &Place) -> Result<bool, StorageError> {
        if planted("server-no-epoch-check") {
            return Ok(true);
        }
        let beacon = history::beacon(self.conn, place.epoch)?;
        let seen = if planted("server-download-forgets-what-it-read") {
            place.change
        } else {
            place.seen()
        };
        Ok(seen <= self.change && beacon.is_some_and(|beacon| seen <= beacon))
    }

    fn page(
        &self,
        request: &PullRequest,
        reset: Vec<String>,
        entities: &[Part<'_>],
        (content, remaining): (Vec<Frame>, Option<u64>),
    ) -> (Vec<Frame>, PageEnd, i64) {
        let mut highest = 0;
        let mut to = Vec::new();
        for entity in entities {
            let place = match entity {
                Part::Whole(entity) => self.place(entity),
                Part::Scoped(entity) => entity.place(self.storage.epoch, self.change),
            };
            highest = highest.max(place.seen());
            let label = &entity.table().label;
            let token = position::seal(&self.storage.code_key, label, &place);
            to.push((entity.name().to_owned(), token));
        }
        let end = PageEnd {
            to,
            complete: entities.iter().all(Part::is_done),
            remaining,
        };
        let mut frames = vec![Frame::Page(Page {
            from: request.entities.clone(),
            reset,
        })];
        let windows = entities.iter().filter_map(Part::window);
        frames.extend(windows.cloned().map(Frame::Window));
        frames.extend(content);
        frames.push(Frame::PageEnd(end.clone()));
        (frames, end, highest)
    }

    fn place(&self, entity: &Pulled<'_>) -> Place {
        let fan_out = match &entity.state {
            State::Delta { begun, .. } => begun.as_ref().map(Begun::write),
            State::Scan { .. } | State::Enter { .. } | State::Done | State::Never => None,
        };
        let (change, progress) = match &entity.state {
            State::Scan { began, after: None } => (*began, Progress::BeforeFirst),
            State::Scan {
                began,
                after: Some(Seen { seen, last }),
            } => {
                let (seen, last) = (*seen, write_raw_key(last));
                (*began, Progress::After { last, seen })
            }
            State::Enter {
                from,
                before,
                after: None,
            } => {
                let (last, seen, before) = (Vec::new(), *from, *before);
                (*from, Progress::Entering { last, seen, before })
            }
            State::Enter {
                from,
                before,
                after: Some(Seen { seen, last }),
            } => {
                let (seen, before, last) = (*seen, *before, write_raw_key(last));
                (*from, Progress::Entering { last, seen, before })
            }
            State::Delta {
                from,
                closing: Some(Seen { seen, .. }),
                ..
            } => (*from, Progress::Closing { seen: *seen }),
            State::Delta {
                from,
                closing: None,
                ..
            } => (*from, Progress::Idle),
            State::Done => (self.change, Progress::Idle),
            // Should its rows go to devices one day, the download begins with the first.
            State::Never => (self.change, Progress::BeforeFirst),
        };
        Place {
            epoch: self.storage.epoch,
            change,
            progress,
            held: None,
            instant: entity.at,
            fan_out,
        }
    }
}
