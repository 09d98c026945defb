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

mod part;

use afield_protocol::zoo::planted;
use afield_protocol::{Frame, Page, PageEnd, Pattern, Position, Window};
use rusqlite::{Connection, OptionalExtension, Row, params_from_iter};

use self::part::Part;
use super::entity::EntityTable;
use super::error::While;
use super::page::{EntityWriter, Lookup, PageWriter};
use super::raw::{Raw, read_raw_key, write_raw_key};
use super::scope::{Asking, LOOKED_AT_MAX, Listed, ScopedPull};
use super::tables::Tables;
use super::window::{self, Instants};
use super::{SqliteStorage, replaced};
use crate::position::{self, Place, Progress};
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
    /// The changes above this number are to come; `closing` if they end a download.
    Delta {
        from: i64,
        closing: Option<Seen<()>>,
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
        },
        said: &request.held,
    };
    let mut reset = Vec::new();
    let mut entities = Vec::new();
    for (name, position) in &request.entities {
        let (table, since) = tables.pulled(name)?;
        let (entity, starts_over) = snapshot.begin(name, table, since, position, &listed)?;
        reset.extend((starts_over && position.is_some()).then(|| name.clone()));
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
    page.frames.extend(entities.iter().filter_map(Part::told));
    let held = entities.iter().filter_map(|entity| entity.held(&listed));
    let held = held.collect();
    let (frames, end, highest) = snapshot.page(request, reset, &entities, page.frames);
    Ok((PulledPage { frames, end, held }, highest))
}

/// What the transaction sees of the bookkeeping.
struct Snapshot<'a> {
    conn: &'a Connection,
    storage: &'a SqliteStorage,
    change: i64,
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
        let change = conn
            .prepare_cached("SELECT change FROM afield_clock")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .while_(DOING)?;
        let snapshot = Self {
            conn,
            storage,
            change,
            now,
        };
        // A beacon that went back, or an epoch that is gone: somebody copied an older database
        // over the one that this server opened.
        match snapshot.beacon(&storage.epoch)? {
            Some(found) if found >= beacon => Ok(snapshot),
            _ => Err(replaced()),
        }
    }

    fn beacon(&self, epoch: &[u8; 8]) -> Result<Option<i64>, StorageError> {
        self.conn
            .prepare_cached("SELECT beacon FROM afield_epoch WHERE epoch = ?1")
            .and_then(|mut statement| statement.query_row([epoch], |row| row.get(0)).optional())
            .while_(DOING)
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
        let instants = Instants::of(table, place.as_ref(), self.now);
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
            Some(place) if place.change >= since && self.is_our_history(&place)? => Some(place),
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
            }),
            Progress::Idle => {
                let is_whole = table.entity.local.pattern == Pattern::ReadOnly;
                let starts_over = is_whole
                    && (table.is_marked_after(self.conn, began).while_(DOING)?
                        || self.has_entered(table, instants).while_(DOING)?);
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
                    },
                };
                (!starts_over).then_some(state)
            }
        })
    }

    fn has_entered(&self, table: &EntityTable, instants: Instants) -> rusqlite::Result<bool> {
        match instants.before.zip(instants.resumed) {
            Some(span) => table.any_entered(self.conn, span, &|_| Ok(true)),
            None => Ok(false),
        }
    }

    /// Whether the place lies in the history that led to this snapshot: an epoch that this
    /// database knows, up to the last beacon that it has of it.
    fn is_our_history(&self, place: &Place) -> Result<bool, StorageError> {
        if planted("server-no-epoch-check") {
            return Ok(true);
        }
        let beacon = self.beacon(&place.epoch)?;
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
        content: Vec<Frame>,
    ) -> (Vec<Frame>, PageEnd, i64) {
        let mut highest = 0;
        let mut to = Vec::new();
        for entity in entities {
            let place = match entity {
                Part::Whole(entity) => self.place(entity),
                Part::Scoped(entity) => entity.place(self.storage.epoch, self.change),
            };
            highest = highest.max(place.seen());
            let token = position::seal(&self.storage.code_key, entity.label(), &place);
            to.push((entity.name().to_owned(), token));
        }
        let end = PageEnd {
            to,
            complete: entities.iter().all(Part::is_done),
            remaining: None,
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
            } => (*from, Progress::Closing { seen: *seen }),
            State::Delta {
                from,
                closing: None,
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
        }
    }
}

impl<'a> Pulled<'a> {
    fn new(name: &'a str, table: &'a EntityTable, state: State, at: Option<i64>) -> Self {
        Self {
            name,
            table,
            state,
            at,
            window: table.window(at),
        }
    }

    /// Sends the rows that have come into the window by time, if there may be any.
    fn enter(
        &mut self,
        conn: &Connection,
        page: &mut PageWriter,
        snapshot: i64,
    ) -> rusqlite::Result<()> {
        let (
            State::Enter {
                from,
                before,
                after,
            },
            Some(at),
        ) = (&mut self.state, self.at)
        else {
            return Ok(());
        };
        if page.is_full() {
            return Ok(());
        }
        let table = self.table;
        let mut content = EntityWriter::new(page, table);
        let mut has_read = after.is_some();
        let mut each = |row: &Row<'_>| {
            content.row(&table.cells(row)?);
            has_read = true;
            Ok(content.page.is_full())
        };
        let begins = after.as_ref().map(|after| after.last.as_slice());
        let last = table.entering(conn, (*before, at), begins, &mut each)?;
        content.finish();
        let seen = |last| Seen {
            seen: snapshot,
            last,
        };
        match last {
            Some(last) => {
                *after = Some(Seen {
                    seen: snapshot,
                    last,
                });
            }
            None => {
                self.state = State::Delta {
                    from: *from,
                    closing: has_read.then(|| seen(())),
                };
            }
        }
        Ok(())
    }

    /// Goes on with a download, if this entity has one.
    fn scan(
        &mut self,
        conn: &Connection,
        page: &mut PageWriter,
        snapshot: i64,
    ) -> rusqlite::Result<()> {
        self.enter(conn, page, snapshot)?;
        let State::Scan { began, after } = &mut self.state else {
            return Ok(());
        };
        if page.is_full() {
            return Ok(());
        }
        let mut content = EntityWriter::new(page, self.table);
        let (sql, from) = self
            .table
            .scan(after.as_ref().map(|after| after.last.as_slice()));
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query(params_from_iter(from))?;
        let mut last = None;
        let mut looked_at = 0;
        while let Some(row) = rows.next()? {
            if let Some(last) = last {
                *after = Some(Seen {
                    seen: snapshot,
                    last,
                });
                content.finish();
                return Ok(());
            }
            looked_at += 1;
            if self.table.is_sent(row, self.window.as_ref())? {
                content.row(&self.table.cells(row)?);
            }
            if content.page.is_full() || looked_at >= LOOKED_AT_MAX {
                last = Some(self.table.raw_key(row, 0)?);
            }
        }
        content.finish();
        self.state = if planted("server-scan-forgets-closing-delta") {
            State::Done
        } else {
            State::Delta {
                from: *began,
                closing: Some(Seen {
                    seen: snapshot,
                    last: (),
                }),
            }
        };
        Ok(())
    }

    /// Delivers the rows that were touched since, up to this snapshot's change number.
    fn delta(
        &mut self,
        conn: &Connection,
        page: &mut PageWriter,
        snapshot: i64,
    ) -> rusqlite::Result<()> {
        let State::Delta { from, .. } = &mut self.state else {
            return Ok(());
        };
        let skipped = i64::from(planted("server-delta-skips-one"));
        let mut content = EntityWriter::new(page, self.table);
        let lookup = Lookup {
            sql: self.table.by_key(),
            beside: &|_| Ok(Some(Vec::new())),
        };
        let mut statement = conn.prepare_cached(self.table.marks_after())?;
        let mut marks = statement.query([*from + skipped])?;
        while let Some(mark) = marks.next()? {
            let change: i64 = mark.get(0)?;
            // Marks that share a number share a page: the position can only say "up to here".
            if content.page.is_full() && change != *from {
                content.finish();
                if planted("server-cut-forgets-the-rest") {
                    *from = snapshot;
                }
                return Ok(());
            }
            content.touched(conn, &self.table.raw_key(mark, 1)?, &lookup)?;
            *from = change;
        }
        content.finish();
        self.state = State::Done;
        Ok(())
    }
}
