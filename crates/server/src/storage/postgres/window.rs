//! Rows that have come into a window between two instants. The range of the attribute finds them;
//! each is held against both bounds in canonical form, as devices do it.

use std::pin::pin;

use futures_util::TryStreamExt;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::cell::Param;
use super::entity::{EntityTable, as_parameter};
use super::error::lasting;
use super::key::{RawKey, stored};
use super::link::Link;
use super::pull::Batch;
use crate::storage::StorageError;
use crate::storage::page::LOOKED_AT_MAX;

const DOING: &str = "reading rows that have come in";

impl EntityTable {
    /// Calls `each` with the rows that have come into the window between two instants, in the
    /// order of attribute and key, until it says that no more fit. Gives the place behind which
    /// to go on, if there may be more.
    pub(super) async fn entering(
        &self,
        link: &Link,
        (before, at): (i64, i64),
        mut after: Option<RawKey>,
        each: &mut dyn FnMut(&Row) -> Result<bool, StorageError>,
    ) -> Result<Option<RawKey>, StorageError> {
        let (Some(keep), Some(sql)) = (&self.entity.keep, &self.sql.entering) else {
            return Ok(None);
        };
        let (was, is) = (self.window(Some(before)), self.window(Some(at)));
        let Some(column) = self.columns.get(keep.attribute) else {
            return Ok(None);
        };
        let bound = |at: i64| {
            let value = column.form.kind.at(at.saturating_add(keep.seconds));
            column.parameter(&value)
        };
        let (Some(first), Some(end)) = (bound(before), bound(at)) else {
            return Err(lasting("an instant is in no column of its type"));
        };
        let mut batch = Batch::new(usize::MAX - 1);
        let mut looked_at = 0;
        loop {
            let most = batch.next();
            let (sql, cells) = match &after {
                None => (&sql.0, vec![first.clone()]),
                Some(place) => (&sql.1, self.behind_place(place)),
            };
            let statement = self.prepared(link, sql, 0).await?;
            let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&most, &end];
            parameters.extend(cells.iter().map(as_parameter));
            let rows = link.client.query_raw(&statement, parameters).await;
            let mut rows = pin!(link.noted(rows, DOING)?);
            let (mut count, mut is_over) = (0, false);
            while let Some(row) = link.noted(rows.try_next().await, DOING)? {
                // Only the next row tells that there are more.
                if is_over {
                    return Ok(after);
                }
                (count, looked_at) = (count + 1, looked_at + 1);
                let has_come =
                    self.is_sent(&row, 0, is.as_ref())? && !self.is_sent(&row, 0, was.as_ref())?;
                let is_full = has_come && each(&row)?;
                is_over = is_full || looked_at >= LOOKED_AT_MAX;
                let attribute = stored(&row, keep.attribute)?.0.unwrap_or_default();
                let key = self.raw_key(&row, 0)?.0;
                after = Some(RawKey([vec![attribute.to_vec()], key].concat()));
            }
            match (count < most, is_over) {
                (true, _) => return Ok(None),
                (false, true) => return Ok(after),
                (false, false) => {}
            }
        }
    }

    /// Whether any row has come in, among those for which `is_mine` holds.
    pub(super) async fn any_entered(
        &self,
        link: &Link,
        span: (i64, i64),
        is_mine: &mut dyn FnMut(&Row) -> Result<bool, StorageError>,
    ) -> Result<bool, StorageError> {
        let mut after = None;
        loop {
            let mut has_one = false;
            let mut each = |row: &Row| {
                has_one |= is_mine(row)?;
                Ok(has_one)
            };
            after = self.entering(link, span, after, &mut each).await?;
            if has_one || after.is_none() {
                return Ok(has_one);
            }
        }
    }

    /// The parameters of the statement that goes on behind a place.
    fn behind_place(&self, place: &RawKey) -> Vec<Param> {
        let mut cells = place.0.iter().cloned();
        let mut all = vec![Param::stored(cells.next(), false)];
        all.extend(self.behind(&RawKey(cells.collect())));
        all
    }
}
