//! The rows that were touched under values which a device has, and those that show what was.

use std::collections::HashSet;

use tokio_postgres::Row;

use super::super::super::cell::Canonical;
use super::super::super::entity::EntityTable;
use super::super::super::key::{RawKey, stored};
use super::super::super::link::Link;
use super::super::super::lookups::{Fan, is_any_shown};
use super::super::super::marks::Snapshot;
use super::super::super::pull::{At, Ranges};
use super::marks::{Mark, Marks};
use super::reached::Along;
use super::ways::Ways;
use super::{Round, ScopedPull, send};
use crate::storage::StorageError;
use crate::storage::page::{Content, PageWriter};

impl ScopedPull<'_> {
    /// Sends what the device's snapshot does not see of the values that it has, as far as the page
    /// goes.
    pub(super) async fn delta(
        &mut self,
        link: &Link,
        page: &mut PageWriter,
        now: &Snapshot,
    ) -> Result<(), StorageError> {
        if self.is_level(now) || page.is_full() {
            return Ok(());
        }
        let (mut from, mut round) = (self.from.clone(), self.round.take());
        let mut telling = Telling {
            pull: self,
            link,
            touched: HashSet::new(),
            told: HashSet::new(),
            fan: Fan::new(self.table),
            has_told: false,
        };
        let mut content = Content::new(page, &self.table.entity.local);
        loop {
            let Round { next, mut along } = round.take().unwrap_or_else(|| Round {
                next: now.clone(),
                along: Along::default(),
            });
            let ranges = Ranges::between(&from, &next);
            if !ranges.is_empty() && !telling.tell(&mut content, &ranges, &mut along).await? {
                // Where nothing was told of a round it begins with the next page.
                let has_begun = along != Along::default();
                round = has_begun.then_some(Round { next, along });
                break;
            }
            from = next;
            if Ranges::between(&from, now).is_empty() {
                break;
            }
        }
        content.finish();
        if telling.has_told {
            self.seen = Some(now.clone());
        }
        (self.from, self.round) = (from, round);
        Ok(())
    }

    /// Whether anything that the device has was touched since its snapshot.
    pub(super) async fn is_touched(
        &self,
        link: &Link,
        now: &Snapshot,
    ) -> Result<bool, StorageError> {
        let ranges = Ranges::between(&self.from, now);
        if ranges.is_empty() {
            return Ok(false);
        }
        let (table, ways) = (self.table, self.ways());
        let marks = self.marks(link, &ranges);
        let mut along = Along::default();
        let mut is_touched = false;
        while !is_touched {
            let mut each = |mark: &Mark<'_>| {
                is_touched |= ways.was_mine(&ways.cells(mark.row, mark.scope)?);
                Ok(!is_touched)
            };
            if marks.walk(&mut along, 1, &mut each).await? {
                break;
            }
        }
        let mut is_mine = |row: &Row, first: usize| {
            let is_mine = ways.of_row(table, row, first)?.is_some();
            Ok(is_mine && table.is_sent(row, first, self.window.as_ref())?)
        };
        Ok(is_touched || is_any_shown(link, table, &ranges, &mut is_mine).await?)
    }

    fn marks<'s>(&'s self, link: &'s Link, ranges: &'s Ranges) -> Marks<'s> {
        Marks {
            link,
            table: self.table,
            sql: self.sql,
            ways: self.ways(),
            ranges,
        }
    }
}

/// Tells a device of what was touched, within one page.
struct Telling<'a, 'p> {
    pull: &'a ScopedPull<'p>,
    link: &'a Link,
    /// The keys that were told by their marks: one row may be marked under several values.
    touched: HashSet<RawKey>,
    /// The rows that were sent, where one may be found in several ways.
    told: HashSet<RawKey>,
    fan: Fan<'a>,
    has_told: bool,
}

impl Telling<'_, '_> {
    /// Goes through the marks of some transactions from a place on. False if the page ends before;
    /// `along` says where.
    async fn tell(
        &mut self,
        content: &mut Content<'_>,
        ranges: &Ranges,
        along: &mut Along,
    ) -> Result<bool, StorageError> {
        let (pull, ways) = (self.pull, self.pull.ways());
        let left = content.page.rows_left();
        if along.at.stage == 0 {
            let marks = pull.marks(self.link, ranges);
            let mut each = |mark: &Mark<'_>| {
                let is_told = self.touched.contains(&mark.key);
                if is_told || !ways.was_mine(&ways.cells(mark.row, mark.scope)?) {
                    return Ok(true);
                }
                if content.page.is_full() {
                    return Ok(false);
                }
                self.touched(content, mark).map(|()| true)
            };
            if !marks.walk(along, left, &mut each).await? {
                return Ok(false);
            }
            *along = Along {
                under: None,
                at: At::of(1),
            };
        }
        let routes = &pull.table.lookups.routes;
        while let Some(route) = along.at.stage.checked_sub(1).and_then(|at| routes.get(at)) {
            let (told, has_told) = (&mut self.told, &mut self.has_told);
            let mut each = |row: &Row, first: usize| {
                Shown { pull, ways, told }.take(content, (row, first), has_told)
            };
            let walked = self
                .fan
                .walk(self.link, route, ranges, &mut along.at, left, &mut each);
            if !walked.await? {
                return Ok(false);
            }
            along.at = At::of(along.at.stage + 1);
        }
        Ok(true)
    }

    /// Delivers the row that was marked, or that it is gone.
    fn touched(&mut self, content: &mut Content<'_>, mark: &Mark<'_>) -> Result<(), StorageError> {
        let (table, ways) = (self.pull.table, self.pull.ways());
        self.has_told = true;
        self.touched.insert(mark.key.clone());
        let (row, first) = (mark.row, mark.is_there + 1);
        let key = table.marked_key(&mark.key)?;
        if stored(row, mark.is_there)?.0.is_some()
            && table.is_alive(row, first)?
            && let Some(beside) = ways.of_row(table, row, first)?
        {
            let cells = table.cells(row, first)?;
            // The device compares byte by byte. What the database finds under this key may have
            // another, and came to it in a transaction that marked that too.
            let mut both = cells.iter().zip(&key);
            if both.all(|(cell, part)| Canonical::as_ref(cell) == part.as_ref()) {
                if has_lookups(table) {
                    self.told.insert(table.raw_key(row, first)?);
                }
                send(content, &cells, &beside);
                return Ok(());
            }
        }
        content.gone(key);
        Ok(())
    }
}

fn has_lookups(table: &EntityTable) -> bool {
    !table.lookups.routes.is_empty()
}

/// Rows that show what changed elsewhere.
struct Shown<'s, 'p> {
    pull: &'s ScopedPull<'p>,
    ways: Ways<'s>,
    told: &'s mut HashSet<RawKey>,
}

impl Shown<'_, '_> {
    /// Delivers one of them, once a page and if it is the user's. False if the page is full.
    fn take(
        self,
        content: &mut Content<'_>,
        (row, first): (&Row, usize),
        has_told: &mut bool,
    ) -> Result<bool, StorageError> {
        let table = self.pull.table;
        if !table.is_sent(row, first, self.pull.window.as_ref())? {
            return Ok(true);
        }
        let Some(beside) = self.ways.of_row(table, row, first)? else {
            return Ok(true);
        };
        let key = table.raw_key(row, first)?;
        if self.told.contains(&key) {
            return Ok(true);
        }
        if content.page.is_full() {
            return Ok(false);
        }
        self.told.insert(key);
        *has_told = true;
        send(content, &table.cells(row, first)?, &beside);
        Ok(true)
    }
}
