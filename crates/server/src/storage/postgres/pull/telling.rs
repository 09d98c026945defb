//! The delta of an entity whose rows are everyone's: which rows were touched, and which show what
//! was.

use std::collections::HashSet;
use std::pin::pin;

use afield_protocol::Window;
use futures_util::TryStreamExt;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::super::entity::EntityTable;
use super::super::error::lasting;
use super::super::key::{RawKey, Xid, stored};
use super::super::link::Link;
use super::super::lookups::Fan;
use super::whole::{is_named, send};
use super::{At, Batch, DOING, Ranges};
use crate::storage::StorageError;
use crate::storage::page::Content;

/// Tells a device of what was touched, within one page.
pub(super) struct Telling<'a> {
    link: &'a Link,
    table: &'a EntityTable,
    window: Option<&'a Window>,
    touched: Option<&'a HashSet<i32>>,
    /// The rows that were sent, where one may be found in several ways.
    told: HashSet<RawKey>,
    fan: Fan<'a>,
    /// Whether anything was told.
    pub has_told: bool,
}

impl<'a> Telling<'a> {
    pub(super) fn new(
        link: &'a Link,
        table: &'a EntityTable,
        window: Option<&'a Window>,
        touched: Option<&'a HashSet<i32>>,
    ) -> Self {
        Self {
            link,
            table,
            window,
            touched,
            told: HashSet::new(),
            fan: Fan::new(table),
            has_told: false,
        }
    }

    /// Goes through the marks of some transactions from a place on. False if the page ends before;
    /// `at` says where.
    pub(super) async fn tell(
        &mut self,
        content: &mut Content<'_>,
        ranges: &Ranges,
        at: &mut At,
    ) -> Result<bool, StorageError> {
        let routes = &self.table.lookups.routes;
        if at.stage == 0 {
            if !self.own(content, ranges, at).await? {
                return Ok(false);
            }
            *at = At::of(1);
        }
        while let Some(route) = at.stage.checked_sub(1).and_then(|stage| routes.get(stage)) {
            if !is_touched(self.touched, route.capture) {
                *at = At::of(at.stage + 1);
                continue;
            }
            let (table, window, told) = (self.table, self.window, &mut self.told);
            let has_told = &mut self.has_told;
            let left = content.page.rows_left();
            let mut each = |row: &Row, first: usize| {
                if !table.is_sent(row, first, window)? {
                    return Ok(true);
                }
                let key = table.raw_key(row, first)?;
                if told.contains(&key) {
                    return Ok(true);
                }
                if content.page.is_full() {
                    return Ok(false);
                }
                told.insert(key);
                send(content, &table.cells(row, first)?);
                *has_told = true;
                Ok(true)
            };
            let walked = self.fan.walk(self.link, route, ranges, at, left, &mut each);
            if !walked.await? {
                return Ok(false);
            }
            *at = At::of(at.stage + 1);
        }
        Ok(true)
    }

    /// The rows' own marks.
    async fn own(
        &mut self,
        content: &mut Content<'_>,
        ranges: &Ranges,
        at: &mut At,
    ) -> Result<bool, StorageError> {
        let (link, table) = (self.link, self.table);
        let (Some(sql), Some(capture)) = (&table.sql.marks, table.capture) else {
            return Ok(true);
        };
        if !is_touched(self.touched, capture) {
            return Ok(true);
        }
        let mut batch = Batch::new(content.page.rows_left());
        let width = table.key_width();
        loop {
            let most = batch.next();
            let mut parameters: Vec<Box<dyn ToSql + Sync>> = vec![Box::new(most)];
            ranges.behind(at, &table.key, &mut parameters);
            let statement = table.prepared(link, sql, width + 2).await?;
            let parameters = parameters.iter().map(|cell| &**cell as &(dyn ToSql + Sync));
            let rows = link.client.query_raw(&statement, parameters).await;
            let mut rows = pin!(link.noted(rows, DOING)?);
            let mut count = 0;
            while let Some(row) = link.noted(rows.try_next().await, DOING)? {
                if content.page.is_full() {
                    return Ok(false);
                }
                count += 1;
                let Xid(xid) = row.try_get(0).map_err(|_| unordered())?;
                if xid < at.xid {
                    return Err(unordered());
                }
                let mark = RawKey::read(&row, 1, width)?;
                self.touched(content, &row, &mark)?;
                (at.xid, at.key) = (xid, mark);
            }
            if count < most {
                return Ok(true);
            }
        }
    }

    /// Delivers the row that was marked, or that it is gone.
    fn touched(
        &mut self,
        content: &mut Content<'_>,
        row: &Row,
        mark: &RawKey,
    ) -> Result<(), StorageError> {
        let (table, first) = (self.table, mark.0.len() + 2);
        self.has_told = true;
        let key = table.marked_key(mark)?;
        if stored(row, first - 1)?.0.is_some() && table.is_alive(row, first)? {
            let cells = table.cells(row, first)?;
            // The device compares byte by byte. What the database finds under this key may have
            // another, and came to it in a transaction that marked that too.
            if is_named(&cells, &key) {
                if !table.lookups.routes.is_empty() {
                    self.told.insert(table.raw_key(row, first)?);
                }
                send(content, &cells);
                return Ok(());
            }
        }
        content.gone(key);
        Ok(())
    }
}

/// Whether a capture may have marks to come.
pub(super) fn is_touched(touched: Option<&HashSet<i32>>, capture: i32) -> bool {
    touched.is_none_or(|touched| touched.contains(&capture))
}

fn unordered() -> StorageError {
    lasting("marks came in another order than they were asked for")
}
