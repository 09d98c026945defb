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
//! Before a value is scanned, the delta of all others has come to this snapshot. So every mark
//! above the position's number that counts is of a row which was the user's when it was written
//! or read: the number stands at or behind the snapshot in which each of the values was first
//! held. A row comes with the numbers of those values alone that the device has, or is just told
//! the rows of: a value that is lost before its scan has begun leaves nothing on the device.

mod enter;
mod every;
mod reached;
mod ways;

use std::collections::HashSet;

use afield_protocol::zoo::planted;
use afield_protocol::{Frame, Held, Pattern, Window};
use rusqlite::{Connection, Row, params_from_iter};

pub(in super::super) use self::every::EachRow;
use self::reached::Reached;
use super::super::entity::{EntityTable, counted};
use super::super::error::While;
use super::super::lookups::{Begun, Fan, Walked, is_any_shown};
use super::super::page::{EntityWriter, PageWriter, Reading};
use super::super::raw::{Raw, write_raw_key};
use super::super::statements::ScopedSql;
use super::super::window::{self, Instants};
use super::marks::{Mark, Marks};
use super::now::{self, Now};
use super::{Asking, Listed, ScopeSql};
use crate::position::{CodeKey, Place, Progress};
use crate::storage::StorageError;
use crate::storage::lists::{NUMBER_BYTES, OnDevice};
use crate::storage::page::LOOKED_AT_MAX;

const DOING: &str = "reading a page of a scope";

/// An entity with a scope while its page is made.
pub(in super::super) struct ScopedPull<'a> {
    pub name: &'a str,
    pub table: &'a EntityTable,
    scope: &'a ScopeSql,
    sql: &'a ScopedSql,
    now: Now,
    has: OnDevice,
    /// The changes above this number are to come.
    from: i64,
    /// How far the rows are delivered that show what has the next number.
    begun: Option<Begun>,
    /// The newest snapshot that rows were read from, if they are newer than `from`.
    seen: Option<i64>,
    scan: Option<Reached>,
    is_done: bool,
    is_fresh: bool,
    /// The instant by which rows are chosen, and which that are: if they stay for a time.
    at: Option<i64>,
    pub window: Option<Window>,
    /// The rows that have come in by time are to be sent.
    entering: Option<Entering>,
}

/// The rows that have come into the window since an instant, behind one of them.
struct Entering {
    before: i64,
    after: Option<Vec<Raw>>,
}

impl<'a> ScopedPull<'a> {
    /// An entity of which the device has nothing.
    pub(in super::super) fn fresh(
        conn: &Connection,
        key: &CodeKey,
        (name, table): (&'a str, &'a EntityTable),
        (scope, sql): (&'a ScopeSql, &'a ScopedSql),
        asking: Asking<'_>,
        snapshot: i64,
        instants: Instants,
    ) -> Result<Self, StorageError> {
        let now = now::ask(conn, key, name, scope, asking)
            .while_(&format!("asking for the values of the scope of `{name}`"))?;
        if now.is_over {
            return Err(asking.too_many(name));
        }
        Ok(Self {
            at: instants.fresh,
            window: table.window(instants.fresh),
            entering: None,
            name,
            table,
            scope,
            sql,
            now,
            has: OnDevice::default(),
            from: snapshot,
            begun: None,
            seen: None,
            scan: None,
            is_done: false,
            is_fresh: true,
        })
    }

    /// Goes on from a place. False if the entity starts over.
    pub(in super::super) fn resume(
        &mut self,
        conn: &Connection,
        place: &Place,
        listed: &Listed<'_>,
        snapshot: i64,
        instants: Instants,
    ) -> Result<bool, StorageError> {
        let Some(held) = place.held else {
            return Ok(false);
        };
        if place.instant.is_some() != self.table.entity.keep.is_some() {
            return Ok(false);
        }
        let mut entering = instants.before.map(|before| Entering {
            before,
            after: None,
        });
        let (scan, seen) = match &place.progress {
            Progress::After { last, seen } => {
                match Reached::read(last, self.scope, self.table.key_width()) {
                    Some(reached) => (Some(reached), Some(*seen)),
                    None => return Ok(false),
                }
            }
            Progress::Entering { last, seen, before } => {
                let after = window::place(last, self.table.key_width() + 1);
                if after.is_none() && !last.is_empty() {
                    return Ok(false);
                }
                let before = *before;
                entering = Some(Entering { before, after });
                (None, Some(*seen))
            }
            Progress::Closing { seen } => (None, Some(*seen)),
            Progress::BeforeFirst | Progress::Idle => (None, None),
        };
        let is_idle = place.progress == Progress::Idle;
        let is_whole = is_idle && self.table.entity.local.pattern == Pattern::ReadOnly;
        if is_whole && held != self.now.digest {
            return Ok(false);
        }
        let Some(has) = listed.find(self.name, held, &self.now)? else {
            return Ok(false);
        };
        self.from = place.change;
        let begun = place.fan_out.as_deref();
        self.begun = begun.and_then(|bytes| Begun::read(bytes, self.table));
        self.has = OnDevice::of(has);
        let has_changed = is_whole
            && (self.is_touched(conn, snapshot).while_(DOING)?
                || self.has_entered(conn, instants).while_(DOING)?);
        if has_changed {
            self.has = OnDevice::default();
            self.from = snapshot;
            return Ok(false);
        }
        self.seen = seen;
        self.is_fresh = place.progress == Progress::BeforeFirst;
        self.scan = scan;
        self.at = instants.resumed;
        self.window = self.table.window(self.at);
        // What is sent whole has nothing that came in, or starts over.
        self.entering = entering.filter(|_| !is_whole);
        self.let_go();
        if planted("server-grant-without-touch-missed") && is_idle {
            self.has.take_for_there(self.now.all());
        }
        Ok(true)
    }

    /// Drops what the user holds no more.
    fn let_go(&mut self) {
        let held: HashSet<i64> = match planted("server-scope-from-old-rights") {
            true => self.has.numbers().clone(),
            false => self.now.all().collect(),
        };
        if self.has.let_go(&held, &self.now, self.begun_value()) {
            self.scan = None;
        }
    }

    /// The value whose scan goes on.
    fn begun_value(&self) -> Option<(usize, i64)> {
        self.scan.as_ref().map(|scan| (scan.condition, scan.number))
    }

    /// Downloads missing values, as far as the page goes.
    pub(in super::super) fn scan(
        &mut self,
        conn: &Connection,
        page: &mut PageWriter,
        snapshot: i64,
    ) -> rusqlite::Result<()> {
        self.enter(conn, page, snapshot)?;
        if self.entering.is_some() {
            return Ok(());
        }
        let mut looked_at = 0;
        let conditions = self.scope.conditions.len();
        let missing = self.has.missing(&self.now, conditions, self.begun_value());
        for (condition, number) in missing {
            let resumed = self.scan.take_if(|reached| reached.number == number);
            if resumed.is_none() {
                self.delta(conn, page, snapshot)?;
            }
            if page.is_full() || (resumed.is_none() && self.from < snapshot) {
                self.scan = resumed;
                return Ok(());
            }
            let after = resumed.map(|reached| reached.last);
            let value = (condition, number);
            let last = self.scan_value(conn, page, value, after.as_deref(), &mut looked_at)?;
            self.seen = Some(snapshot);
            if let Some(last) = last {
                self.scan = Some(Reached {
                    condition,
                    number,
                    last,
                });
                return Ok(());
            }
            self.has.gain(number);
            page.count_bytes(NUMBER_BYTES);
        }
        Ok(())
    }

    /// How many rows are the user's, up to `most`, if counting those of each value tells.
    pub(in super::super) fn counted(
        &self,
        conn: &Connection,
        most: usize,
    ) -> rusqlite::Result<Option<usize>> {
        let [condition] = self.scope.conditions.as_slice() else {
            return Ok(None);
        };
        let sql = &self.sql.count[condition.column];
        let mut all = 0;
        for (_, value) in self.now.values(0) {
            if all >= most {
                break;
            }
            all += counted(conn, sql, Some(value), most - all)?;
        }
        Ok(Some(all))
    }

    /// Sends the rows of a value. The last key that was looked at, if the page ended before.
    fn scan_value(
        &self,
        conn: &Connection,
        page: &mut PageWriter,
        (condition, number): (usize, i64),
        after: Option<&[Raw]>,
        looked_at: &mut usize,
    ) -> rusqlite::Result<Option<Vec<Raw>>> {
        let Some(value) = self.now.value(condition, number) else {
            return Ok(None);
        };
        let way = self.scope.ways[self.scope.conditions[condition].way].clone();
        let is_empty = |other| {
            let mut values = self.now.values(other).iter();
            other != condition && !values.any(|(number, _)| self.has.contains(*number))
        };
        if way.clone().any(is_empty) {
            return Ok(None);
        }
        let column = self.scope.conditions[condition].column;
        let (sql, mut cells) = match after {
            None => (&self.sql.first[column], Vec::new()),
            Some(key) => (&self.sql.after[column], self.table.behind(key)),
        };
        cells.push(value.clone());
        let mut content = EntityWriter::new(page, self.table);
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query(params_from_iter(cells))?;
        let mut last = None;
        let mut is_cut = false;
        while let Some(row) = rows.next()? {
            // Only the next row tells whether a full page has all rows of the value.
            is_cut = last.is_some();
            if is_cut {
                break;
            }
            *looked_at += 1;
            let held = self.numbers(&self.scope_cells(row)?, Some((condition, number)));
            if self.table.is_sent(row, self.window.as_ref())?
                && way.clone().all(|at| held[at].is_some())
                && let Some(beside) = self.beside(&held)
            {
                let mut cells = self.table.cells(row)?;
                cells.extend(beside);
                content.row(&cells);
            }
            if content.page().is_full() || *looked_at >= LOOKED_AT_MAX {
                last = Some(self.table.raw_key(row, 0)?);
            }
        }
        content.finish();
        Ok(last.filter(|_| is_cut))
    }

    /// Sends the rows that were touched since under values which the device has, up to this
    /// snapshot.
    pub(in super::super) fn delta(
        &mut self,
        conn: &Connection,
        page: &mut PageWriter,
        snapshot: i64,
    ) -> rusqlite::Result<()> {
        if self.from >= snapshot || page.is_full() {
            return Ok(());
        }
        let has = |number: i64| self.has.contains(number);
        let (sql, width) = (self.sql, self.table.key_width());
        let mut marks = Marks::of(sql, self.scope, width, &self.now, has);
        let beside = |row: &Row<'_>| {
            let held = self.numbers(&self.scope_cells(row)?, None);
            Ok(self.beside(&held))
        };
        let reading = Reading {
            sql: &sql.by_key,
            beside: &beside,
            window: self.window.as_ref(),
        };
        let (mut from, mut seen) = (self.from, self.seen);
        let mut fan = Fan::new(self.table, from, snapshot, self.begun.clone());
        let mut cut = None;
        let mut told = HashSet::new();
        let mut content = EntityWriter::new(page, self.table);
        'page: while from < snapshot && !content.page().is_full() {
            let batch = marks.next(conn, from, snapshot, content.page().rows_left())?;
            let is_told =
                |mark: &&Mark| self.was_mine(&mark.scope) || planted("server-gone-told-to-others");
            let mine = batch.marks.iter().filter(is_told);
            // Behind the last of them come the fan-outs up to the batch's end.
            for mark in mine.map(Some).chain([None]) {
                let below = mark.map_or(batch.upto, |mark| mark.change);
                while let Some(change) = fan.next(conn)?.filter(|change| *change <= below) {
                    seen = Some(snapshot);
                    let mut row = |row: &Row<'_>| content.shown(row, &reading, &mut told);
                    if let Walked::Cut(below, begun) = fan.walk(conn, &mut row)? {
                        (from, cut) = (below, begun);
                        break 'page;
                    }
                    from = change;
                }
                let Some(mark) = mark else {
                    continue;
                };
                // Marks that share a number share a page: the position only says "up to here".
                if content.page().is_full() && mark.change > from {
                    from = mark.change - 1;
                    break 'page;
                }
                from = mark.change;
                seen = Some(snapshot);
                if told.insert(write_raw_key(&mark.key)) {
                    content.touched(conn, &mark.key, &reading)?;
                }
            }
            from = batch.upto;
        }
        content.finish();
        (self.from, self.seen, self.begun) = (from, seen, cut);
        Ok(())
    }

    /// Ends the page for this entity, if nothing is missing.
    pub(in super::super) fn close(
        &mut self,
        conn: &Connection,
        page: &mut PageWriter,
        snapshot: i64,
    ) -> rusqlite::Result<()> {
        self.delta(conn, page, snapshot)?;
        self.is_done = self.from >= snapshot;
        Ok(())
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
    pub(in super::super) fn place(&self, epoch: [u8; 8], snapshot: i64) -> Place {
        let (change, progress) = match (&self.scan, self.seen) {
            _ if self.is_done => (snapshot, Progress::Idle),
            (_, seen) if let Some(entering) = &self.entering => {
                (self.from, entering.progress(seen.unwrap_or(self.from)))
            }
            (Some(reached), seen) => {
                let (last, seen) = (reached.write(), seen.unwrap_or(snapshot));
                (self.from, Progress::After { last, seen })
            }
            (None, Some(seen)) => (self.from, Progress::Closing { seen }),
            (None, None) if self.is_fresh => (self.from, Progress::BeforeFirst),
            (None, None) => (self.from, Progress::Idle),
        };
        Place {
            epoch,
            change,
            progress,
            held: Some(self.has.digest()),
            instant: self.at,
            fan_out: self.begun.as_ref().map(Begun::write),
        }
    }

    fn is_touched(&self, conn: &Connection, snapshot: i64) -> rusqlite::Result<bool> {
        let has = |number: i64| self.has.contains(number);
        let width = self.table.key_width();
        let mut marks = Marks::of(self.sql, self.scope, width, &self.now, has);
        let mut from = self.from;
        while from < snapshot {
            let batch = marks.next(conn, from, snapshot, 1)?;
            if batch.marks.iter().any(|mark| self.was_mine(&mark.scope)) {
                return Ok(true);
            }
            from = batch.upto;
        }
        let is_mine = |row: &Row<'_>| {
            let held = self.numbers(&self.scope_cells(row)?, None);
            Ok(self.beside(&held).is_some() && self.table.is_sent(row, self.window.as_ref())?)
        };
        is_any_shown(conn, self.table, self.from, snapshot, &is_mine)
    }
}
