//! Pull of an entity whose rows are everyone's: rows that came in by time, download, delta.

use std::collections::HashSet;
use std::pin::pin;

use afield_protocol::limits::VERIFY_COUNTED_MAX;
use afield_protocol::{Key, Pattern, Window};
use futures_util::TryStreamExt;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::super::cell::Canonical;
use super::super::entity::{EntityTable, as_parameter};
use super::super::key::RawKey;
use super::super::link::Link;
use super::super::lookups::is_any_shown;
use super::super::marks::Snapshot;
use super::super::position::{Place, Progress};
use super::telling::{Telling, is_touched};
use super::{At, Batch, DOING, Ranges, Round, State, Taken};
use crate::storage::StorageError;
use crate::storage::digests::Counting;
use crate::storage::page::{Content, LOOKED_AT_MAX, PageWriter};
use crate::storage::window::Instants;

/// An entity while its page is made.
pub(super) struct Pulled<'a> {
    pub name: &'a str,
    pub table: &'a EntityTable,
    pub state: State,
    /// The newest snapshot that rows were read from, if they are newer than the state's.
    seen: Option<Snapshot>,
    /// The instant by which rows are chosen, and which that are: if they stay for a time.
    at: Option<i64>,
    pub window: Option<Window>,
    /// The captures that have marks which the position's snapshot does not see; `None` if nobody
    /// asked. What follows in the same snapshot sees more and has no others.
    pub touched: Option<&'a HashSet<i32>>,
}

impl<'a> Pulled<'a> {
    pub(super) fn new(
        name: &'a str,
        table: &'a EntityTable,
        state: State,
        at: Option<i64>,
    ) -> Self {
        Self {
            name,
            table,
            state,
            seen: None,
            at,
            window: table.window(at),
            touched: None,
        }
    }

    /// Where an entity goes on; `None` if it starts over.
    pub(super) async fn resume(
        self,
        link: &Link,
        place: Place,
        instants: Instants,
        now: &Snapshot,
    ) -> Result<Option<Self>, StorageError> {
        let table = self.table;
        if place.held.is_some() || place.instant.is_some() != table.entity.keep.is_some() {
            return Ok(None);
        }
        let width = table.key_width();
        let from = place.from;
        let key =
            |bytes: &[u8], width| RawKey::parse_whole(bytes).filter(|key| key.0.len() == width);
        let state = match place.progress {
            Progress::BeforeFirst => Some(State::Scan {
                began: from,
                after: None,
            }),
            Progress::After { last } => key(&last, width).map(|last| State::Scan {
                began: from,
                after: Some(last),
            }),
            Progress::Entering { last, before } => {
                let after = key(&last, width + 1);
                (last.is_empty() || after.is_some()).then_some(State::Enter {
                    from,
                    before,
                    after,
                })
            }
            Progress::Delta { next, at } => At::read(&at, table).map(|at| State::Delta {
                from,
                round: Some(Round { next, at }),
            }),
            Progress::Closing => Some(State::Delta { from, round: None }),
            Progress::Idle => {
                let is_whole = table.entity.local.pattern == Pattern::ReadOnly;
                match is_whole && self.has_changed(link, &from, now, instants).await? {
                    true => None,
                    false => Some(match instants.before.filter(|_| !is_whole) {
                        Some(before) => State::Enter {
                            from,
                            before,
                            after: None,
                        },
                        None => State::Delta { from, round: None },
                    }),
                }
            }
        };
        Ok(state.map(|state| Self {
            state,
            seen: place.seen,
            ..self
        }))
    }

    /// Whether a row, or something that a row shows, was touched since a snapshot, or a row has
    /// come into the window.
    async fn has_changed(
        &self,
        link: &Link,
        from: &Snapshot,
        now: &Snapshot,
        instants: Instants,
    ) -> Result<bool, StorageError> {
        let table = self.table;
        let is_touched = |capture| is_touched(self.touched, capture);
        if table.capture.is_some_and(is_touched) {
            return Ok(true);
        }
        if table.lookups.captures.iter().copied().any(is_touched) {
            let ranges = Ranges::between(from, now);
            let window = table.window(instants.resumed);
            let mut is_sent = |row: &Row, first: usize| table.is_sent(row, first, window.as_ref());
            if is_any_shown(link, table, &ranges, &mut is_sent).await? {
                return Ok(true);
            }
        }
        match instants.before.zip(instants.resumed) {
            Some(span) => table.any_entered(link, span, &mut |_| Ok(true)).await,
            None => Ok(false),
        }
    }

    /// Sends the rows that have come into the window by time, if there may be any.
    async fn enter(
        &mut self,
        link: &Link,
        page: &mut PageWriter,
        now: &Snapshot,
    ) -> Result<(), StorageError> {
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
        let mut content = Content::new(page, &table.entity.local);
        let mut has_read = after.is_some();
        let mut each = |row: &Row| {
            send(&mut content, &table.cells(row, 0)?);
            has_read = true;
            Ok(content.page.is_full())
        };
        let last = table
            .entering(link, (*before, at), after.clone(), &mut each)
            .await?;
        content.finish();
        if has_read {
            self.seen = Some(now.clone());
        }
        match last {
            Some(last) => *after = Some(last),
            None => {
                self.state = State::Delta {
                    from: from.clone(),
                    round: None,
                };
            }
        }
        Ok(())
    }

    /// Goes on with a download, if this entity has one.
    pub(super) async fn scan(
        &mut self,
        link: &Link,
        page: &mut PageWriter,
        now: &Snapshot,
    ) -> Result<(), StorageError> {
        self.enter(link, page, now).await?;
        let State::Scan { began, after } = &mut self.state else {
            return Ok(());
        };
        if page.is_full() {
            return Ok(());
        }
        let table = self.table;
        let mut batch = Batch::new(page.rows_left());
        let mut content = Content::new(page, &table.entity.local);
        let mut looked_at = 0;
        loop {
            let most = batch.next();
            let (sql, cells) = match after.as_ref() {
                None => (&table.sql.scan_first, Vec::new()),
                Some(key) => (&table.sql.scan_after, table.behind(key)),
            };
            let statement = table.prepared(link, sql, 0).await?;
            let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&most];
            parameters.extend(cells.iter().map(as_parameter));
            let rows = link.client.query_raw(&statement, parameters).await;
            let mut rows = pin!(link.noted(rows, DOING)?);
            let mut count = 0;
            let mut is_over = false;
            while let Some(row) = link.noted(rows.try_next().await, DOING)? {
                // Only the next row tells that there are more.
                if is_over {
                    content.finish();
                    self.seen = Some(now.clone());
                    return Ok(());
                }
                count += 1;
                looked_at += 1;
                if table.is_sent(&row, 0, self.window.as_ref())? {
                    send(&mut content, &table.cells(&row, 0)?);
                }
                *after = Some(table.raw_key(&row, 0)?);
                is_over = content.page.is_full() || looked_at >= LOOKED_AT_MAX;
            }
            if count < most {
                break;
            }
            if is_over {
                content.finish();
                self.seen = Some(now.clone());
                return Ok(());
            }
        }
        content.finish();
        self.seen = Some(now.clone());
        self.state = State::Delta {
            from: began.clone(),
            round: None,
        };
        Ok(())
    }

    /// Delivers the rows that were touched since, and those that show what was.
    pub(super) async fn delta(
        &mut self,
        link: &Link,
        page: &mut PageWriter,
        now: &Snapshot,
    ) -> Result<(), StorageError> {
        let State::Delta { from, round } = &mut self.state else {
            return Ok(());
        };
        let mut content = Content::new(page, &self.table.entity.local);
        let (window, touched) = (self.window.as_ref(), self.touched);
        let mut telling = Telling::new(link, self.table, window, touched);
        let is_done = loop {
            let begun = round.take().unwrap_or_else(|| Round {
                next: now.clone(),
                at: At::default(),
            });
            let Round { next, mut at } = begun;
            let ranges = Ranges::between(from, &next);
            if !ranges.is_empty() && !telling.tell(&mut content, &ranges, &mut at).await? {
                // Where nothing was told of a round it begins with the next page.
                *round = (at != At::default()).then_some(Round { next, at });
                break false;
            }
            *from = next;
            if Ranges::between(from, now).is_empty() {
                break true;
            }
        };
        content.finish();
        if telling.has_told {
            self.seen = Some(now.clone());
        }
        if is_done {
            self.state = State::Done;
        }
        Ok(())
    }

    /// Counts every row that devices have.
    pub(super) async fn count(
        &self,
        link: &Link,
        counting: &mut Counting<'_>,
    ) -> Result<(), StorageError> {
        let table = self.table;
        let most = i64::try_from(VERIFY_COUNTED_MAX)
            .unwrap_or(i64::MAX)
            .saturating_add(1);
        let statement = table.prepared(link, &table.sql.every, 0).await?;
        let rows = link.client.query_raw(&statement, [most]).await;
        let mut rows = pin!(link.noted(rows, DOING)?);
        while let Some(row) = link.noted(rows.try_next().await, DOING)? {
            if table.is_sent(&row, 0, self.window.as_ref())? {
                let cells = table.cells(&row, 0)?;
                if !counting.row(cells.iter().map(Canonical::as_ref), &[]) {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Delivers rows that the device asks for by their identifiers, as far as the page goes.
    pub(super) async fn fetch(
        &self,
        link: &Link,
        page: &mut PageWriter,
        keys: &[Key],
    ) -> Result<(), StorageError> {
        let table = self.table;
        let mut content = Content::new(page, &table.entity.local);
        for key in keys.iter().filter(|key| key.len() == table.key_width()) {
            if content.page.is_full() {
                break;
            }
            let row = table.shown(link, key).await?;
            let row = match row {
                Some(row) if table.is_alive(&row, 0)? => Some(row),
                _ => None,
            };
            let is_it = match &row {
                Some(row) => {
                    let cells = table.cells(row, 0)?;
                    send(&mut content, &cells);
                    is_named(&cells, key)
                }
                None => false,
            };
            if !is_it {
                content.gone(key.clone());
            }
        }
        content.finish();
        Ok(())
    }

    /// Where the device stands after this page.
    pub(super) fn place(&self, taken: &Taken) -> Place {
        let last = |key: &Option<RawKey>| key.as_ref().map(RawKey::bytes);
        let (from, progress) = match &self.state {
            State::Scan { began, after } => match last(after) {
                None => (began, Progress::BeforeFirst),
                Some(last) => (began, Progress::After { last }),
            },
            State::Enter {
                from,
                before,
                after,
            } => {
                let (last, before) = (last(after).unwrap_or_default(), *before);
                (from, Progress::Entering { last, before })
            }
            State::Delta {
                from,
                round: Some(Round { next, at }),
            } => {
                let (next, at) = (next.clone(), at.write());
                (from, Progress::Delta { next, at })
            }
            State::Delta { from, round: None } => match self.seen {
                Some(_) => (from, Progress::Closing),
                None => (from, Progress::Idle),
            },
            State::Done => (&taken.snapshot, Progress::Idle),
            // Should its rows go to devices one day, the download begins with the first.
            State::Never => (&taken.snapshot, Progress::BeforeFirst),
        };
        let is_over = matches!(self.state, State::Done | State::Never);
        Place {
            epoch: taken.epoch,
            from: from.clone(),
            seen: self.seen.clone().filter(|seen| !is_over && seen != from),
            progress,
            held: None,
            instant: self.at,
        }
    }
}

pub(super) fn send(content: &mut Content<'_>, cells: &[Canonical<'_>]) {
    content.row(cells.iter().map(Canonical::as_ref));
}

/// Whether a row's cells begin with this key.
pub(super) fn is_named(cells: &[Canonical<'_>], key: &[afield_protocol::Value]) -> bool {
    let mut both = cells.iter().zip(key);
    both.all(|(cell, part)| cell.as_ref() == part.as_ref())
}
