//! The download of the values whose rows a device lacks, one after another.

use std::pin::pin;

use futures_util::TryStreamExt;
use tokio_postgres::types::ToSql;

use super::super::super::cell::Param;
use super::super::super::entity::as_parameter;
use super::super::super::key::RawKey;
use super::super::super::link::Link;
use super::super::super::marks::Snapshot;
use super::super::super::pull::Batch;
use super::reached::Reached;
use super::{DOING, ScopedPull, send};
use crate::storage::StorageError;
use crate::storage::lists::NUMBER_BYTES;
use crate::storage::page::{Content, LOOKED_AT_MAX, PageWriter};

impl ScopedPull<'_> {
    /// Downloads missing values, as far as the page goes.
    pub(in super::super::super) async fn scan(
        &mut self,
        link: &Link,
        page: &mut PageWriter,
        now: &Snapshot,
    ) -> Result<(), StorageError> {
        self.enter(link, page, now).await?;
        if self.entering.is_some() {
            return Ok(());
        }
        let mut looked_at = 0;
        let conditions = self.scope.conditions.len();
        let missing = self.has.missing(&self.now, conditions, self.begun_value());
        for (condition, number) in missing {
            let resumed = self.scan.take_if(|reached| reached.number == number);
            if resumed.is_none() {
                self.delta(link, page, now).await?;
            }
            if page.is_full() || (resumed.is_none() && !self.is_level(now)) {
                self.scan = resumed;
                return Ok(());
            }
            let after = resumed.map(|reached| reached.last);
            let value = (condition, number);
            let last = self
                .scan_value(link, page, value, after, &mut looked_at)
                .await?;
            self.seen = Some(now.clone());
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

    /// Whether no row of a way comes by this condition yet: another has no value that the device
    /// has.
    fn is_empty(&self, condition: usize) -> bool {
        let way = self.scope.conditions.get(condition).map(|found| found.way);
        let way = way.and_then(|way| self.scope.ways.get(way)).cloned();
        let has_none = |other: usize| other != condition && self.ways().had(other).next().is_none();
        way.is_none_or(|mut way| way.any(has_none))
    }

    /// Sends the rows of a value. The last key that was looked at, if the page ended before.
    async fn scan_value(
        &self,
        link: &Link,
        page: &mut PageWriter,
        (condition, number): (usize, i64),
        mut after: Option<RawKey>,
        looked_at: &mut usize,
    ) -> Result<Option<RawKey>, StorageError> {
        let value = self.now.value(condition, number);
        let found = self.scope.conditions.get(condition);
        let sql = found.and_then(|found| self.sql.get(found.column));
        let (Some(value), Some(found), Some(sql)) = (value, found, sql) else {
            return Ok(None);
        };
        if self.is_empty(condition) {
            return Ok(None);
        }
        let way = self.scope.ways.get(found.way).cloned().unwrap_or_default();
        let (table, ways) = (self.table, self.ways());
        let value = Param::stored(Some(value.clone()), false);
        let mut batch = Batch::new(page.rows_left());
        let mut content = Content::new(page, &table.entity.local);
        let mut is_over = false;
        loop {
            let most = batch.next();
            let (sql, cells) = match &after {
                None => (&sql.first, Vec::new()),
                Some(key) => (&sql.after, table.behind(key)),
            };
            let statement = table.prepared(link, sql, 0).await?;
            let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&most, &value];
            parameters.extend(cells.iter().map(as_parameter));
            let rows = link.client.query_raw(&statement, parameters).await;
            let mut rows = pin!(link.noted(rows, DOING)?);
            let mut count = 0;
            while let Some(row) = link.noted(rows.try_next().await, DOING)? {
                // Only the next row tells whether a full page has all rows of the value.
                if is_over {
                    content.finish();
                    return Ok(after);
                }
                (count, *looked_at) = (count + 1, *looked_at + 1);
                let cells = ways.cells(&row, table.width())?;
                let held = ways.numbers(&cells, Some((condition, number)));
                let mut own = held.get(way.clone()).unwrap_or(&[]).iter();
                if own.all(Option::is_some)
                    && table.is_sent(&row, 0, self.window.as_ref())?
                    && let Some(beside) = ways.beside(&held)
                {
                    send(&mut content, &table.cells(&row, 0)?, &beside);
                }
                after = Some(table.raw_key(&row, 0)?);
                is_over = content.page.is_full() || *looked_at >= LOOKED_AT_MAX;
            }
            if count < most {
                content.finish();
                return Ok(None);
            }
        }
    }
}
