//! Every row that a device should have by the values that it has, once, and single rows of them.
//!
//! The rows of each value of the first condition of each way are read; a row counts where its first
//! way in that holds is the one whose value is being read, so that no memory of rows is needed.

use std::pin::pin;

use afield_protocol::Key;
use afield_protocol::limits::VERIFY_COUNTED_MAX;
use futures_util::TryStreamExt;
use tokio_postgres::types::ToSql;

use super::super::super::cell::{Canonical, Param};
use super::super::super::link::Link;
use super::{DOING, ScopedPull, send};
use crate::storage::StorageError;
use crate::storage::digests::Counting;
use crate::storage::page::{Content, PageWriter};

impl ScopedPull<'_> {
    /// Counts every row that the device should have.
    pub(in super::super::super) async fn count(
        &self,
        link: &Link,
        counting: &mut Counting<'_>,
    ) -> Result<(), StorageError> {
        let (table, ways) = (self.table, self.ways());
        let most = i64::try_from(VERIFY_COUNTED_MAX).unwrap_or(i64::MAX);
        // A row may stand under the values of several ways.
        let most = most
            .saturating_add(1)
            .saturating_mul(1 + self.scope.ways.len() as i64);
        for (at, way) in self.scope.ways.iter().enumerate() {
            let first = self.scope.conditions.get(way.start);
            let Some(sql) = first.and_then(|first| self.sql.get(first.column)) else {
                continue;
            };
            let values = self.now.values(way.start).iter();
            let values = values.map(|(_, bytes)| Param::stored(Some(bytes.clone()), false));
            let values: Vec<Param> = values.collect();
            let statement = table.prepared(link, &sql.every, 0).await?;
            let parameters: [&(dyn ToSql + Sync); 2] = [&most, &values];
            let rows = link.client.query_raw(&statement, parameters).await;
            let mut rows = pin!(link.noted(rows, DOING)?);
            while let Some(row) = link.noted(rows.try_next().await, DOING)? {
                let cells = ways.cells(&row, table.width())?;
                let held = ways.numbers(&cells, None);
                let holds = |at: usize| held.get(at).is_some_and(Option::is_some);
                let mut all = self.scope.ways.iter();
                let is_first = all.position(|way| way.clone().all(holds)) == Some(at);
                if !is_first || !table.is_sent(&row, 0, self.window.as_ref())? {
                    continue;
                }
                let brought = ways.beside(&held).unwrap_or_default();
                let cells = table.cells(&row, 0)?;
                if !counting.row(cells.iter().map(Canonical::as_ref), &brought) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// How many rows are the user's, up to `most`, if counting those of each value tells.
    pub(in super::super::super) async fn counted(
        &self,
        link: &Link,
        most: usize,
    ) -> Result<Option<usize>, StorageError> {
        let [condition] = self.scope.conditions.as_slice() else {
            return Ok(None);
        };
        let Some(sql) = self.sql.get(condition.column) else {
            return Ok(None);
        };
        let values = self.now.values(0).iter();
        let values = values.map(|(_, bytes)| Param::stored(Some(bytes.clone()), false));
        let values: Vec<Param> = values.collect();
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let counted = link.counted(&sql.count, &[&most, &values], DOING).await;
        counted.map(Some)
    }

    /// Delivers rows that the device asks for by their identifiers, as far as the page goes.
    pub(in super::super::super) async fn fetch(
        &self,
        link: &Link,
        page: &mut PageWriter,
        keys: &[Key],
    ) -> Result<(), StorageError> {
        let (table, ways) = (self.table, self.ways());
        let mut content = Content::new(page, &table.entity.local);
        for key in keys.iter().filter(|key| key.len() == table.key_width()) {
            if content.page.is_full() {
                break;
            }
            let mut is_it = false;
            if let Some(row) = table.shown(link, key).await?
                && table.is_alive(&row, 0)?
                && let Some(beside) = ways.of_row(table, &row, 0)?
            {
                let cells = table.cells(&row, 0)?;
                send(&mut content, &cells, &beside);
                let mut both = cells.iter().zip(key);
                is_it = both.all(|(cell, part)| Canonical::as_ref(cell) == part.as_ref());
            }
            if !is_it {
                content.gone(key.clone());
            }
        }
        content.finish();
        Ok(())
    }
}
