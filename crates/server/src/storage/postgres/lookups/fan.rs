//! The fan-out: from the marks of what lookups read to the rows that show it, as far as a page
//! goes.
//!
//! If a mark has a higher number by the next page, because its row changed again, its rows are all
//! sent again when that number comes; nothing depends on where it stood.

use std::pin::pin;

use futures_util::TryStreamExt;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::super::cell::Param;
use super::super::entity::EntityTable;
use super::super::key::{RawKey, Xid, stored};
use super::super::link::Link;
use super::super::pull::{At, Batch, Ranges};
use super::Route;
use crate::storage::StorageError;
use crate::storage::page::LOOKED_AT_MAX;

const DOING: &str = "reading rows that show what changed";

/// Takes a row whose cells begin at a column; says whether the page had room for it.
pub(in super::super) type EachShown<'f> = dyn FnMut(&Row, usize) -> Result<bool, StorageError> + 'f;

/// The fan-outs of an entity within one page.
pub(in super::super) struct Fan<'a> {
    table: &'a EntityTable,
    looked_at: usize,
}

impl<'a> Fan<'a> {
    pub(in super::super) fn new(table: &'a EntityTable) -> Self {
        Self {
            table,
            looked_at: 0,
        }
    }

    /// Goes through the rows that show the marks of one route in some ranges, from `at` on, each of
    /// which `each` takes. False if the page ends before; `at` says where.
    pub(in super::super) async fn walk(
        &mut self,
        link: &Link,
        route: &Route,
        ranges: &Ranges,
        at: &mut At,
        rows_left: usize,
        each: &mut EachShown<'_>,
    ) -> Result<bool, StorageError> {
        let mut batch = Batch::new(rows_left);
        loop {
            if self.looked_at >= LOOKED_AT_MAX {
                return Ok(false);
            }
            let level = level(route, at);
            let most = batch.next();
            let (sql, parameters) = self.statement(route, level, ranges, at, most);
            let first = first(route, level);
            let statement = self.table.prepared(link, sql, first).await?;
            let parameters = parameters.iter().map(|cell| &**cell as &(dyn ToSql + Sync));
            let rows = link.client.query_raw(&statement, parameters).await;
            let mut rows = pin!(link.noted(rows, DOING)?);
            let mut count = 0;
            while let Some(row) = link.noted(rows.try_next().await, DOING)? {
                count += 1;
                self.looked_at += 1;
                let reached = self.reached(route, level, at, &row)?;
                let is_there = stored(&row, first - 1)?.0.is_some();
                if is_there && !each(&row, first)? {
                    return Ok(false);
                }
                *at = reached;
            }
            if count < most {
                match level.checked_sub(1) {
                    None => return Ok(true),
                    Some(above) => at.path.0.truncate(above),
                }
            }
        }
    }

    /// The statement that goes on at a level, and its parameters.
    fn statement<'r>(
        &self,
        route: &'r Route,
        level: usize,
        ranges: &Ranges,
        at: &At,
        most: i64,
    ) -> (&'r str, Vec<Box<dyn ToSql + Sync>>) {
        let mut all: Vec<Box<dyn ToSql + Sync>> = vec![Box::new(most)];
        let Some(inner) = level.checked_sub(1) else {
            let key = std::slice::from_ref(&route.key);
            ranges.behind(at, key, &mut all);
            return (&route.marks, all);
        };
        let path = &at.path.0;
        let parent = match inner.checked_sub(1) {
            None => at.key.0.first().map(|cell| route.key.stored_mark(cell)),
            Some(above) => path
                .get(above)
                .map(|cell| Param::stored(Some(cell.clone()), false)),
        };
        all.push(Box::new(
            parent.unwrap_or_else(|| Param::stored(None, false)),
        ));
        if inner < route.width() {
            let begun = path.get(inner).cloned();
            all.push(Box::new(Param::stored(begun, false)));
        } else {
            let key = RawKey(path.get(inner..).unwrap_or(&[]).to_vec());
            for cell in self.table.behind(&key) {
                all.push(Box::new(cell));
            }
        }
        (route.levels.get(inner).map_or("", String::as_str), all)
    }

    /// Where a page goes on behind this row.
    fn reached(&self, route: &Route, level: usize, at: &At, row: &Row) -> Result<At, StorageError> {
        let mut reached = at.clone();
        let keys = match level.checked_sub(1) {
            None => {
                let Xid(xid) = link_xid(row)?;
                (reached.xid, reached.key) = (xid, RawKey::read(row, 1, 1)?);
                reached.path.0.clear();
                2..2 + route.width()
            }
            Some(above) => {
                reached.path.0.truncate(above.min(route.width()));
                0..route.width().saturating_sub(above)
            }
        };
        let first = keys.end + 1;
        for at in keys {
            match stored(row, at)?.0 {
                Some(cell) => reached.path.0.push(cell.to_vec()),
                None => break,
            }
        }
        if stored(row, first - 1)?.0.is_some() {
            reached.path.0.extend(self.table.raw_key(row, first)?.0);
        }
        Ok(reached)
    }
}

fn link_xid(row: &Row) -> Result<Xid, StorageError> {
    let found = row.try_get(0);
    found.map_err(|_| super::super::error::lasting("a mark came without its transaction"))
}

/// The level at which a route goes on: 0 for its marks, then one for each step, then the rows.
fn level(route: &Route, at: &At) -> usize {
    at.path.0.len().min(route.width() + 1)
}

/// The column of a level's statement with which the row begins.
fn first(route: &Route, level: usize) -> usize {
    match level.checked_sub(1) {
        None => 2 + route.width() + 1,
        Some(above) => route.width().saturating_sub(above) + 1,
    }
}

/// Whether a row shows something that is marked in these ranges, and `is_mine`. Where finding out
/// takes too long the answer is yes.
pub(in super::super) async fn is_any_shown(
    link: &Link,
    table: &EntityTable,
    ranges: &Ranges,
    is_mine: &mut EachShown<'_>,
) -> Result<bool, StorageError> {
    let mut fan = Fan::new(table);
    for (stage, route) in table.lookups.routes.iter().enumerate() {
        let mut at = At::of(stage + 1);
        let mut each = |row: &Row, first: usize| Ok(!is_mine(row, first)?);
        if !fan.walk(link, route, ranges, &mut at, 1, &mut each).await? {
            return Ok(true);
        }
    }
    Ok(false)
}
