//! The marks under the values that a device has, value by value.
//!
//! Of a way with several conditions the marks of one are looked up; whether the others held is the
//! caller's question. A page goes on under the same condition of that way as the one before: which
//! of them has the fewest values may have changed meanwhile.
//!
//! A transaction that moves a row leaves several marks of it, which a value may share and which
//! come in no order among themselves: `(7, ada, east)` and `(7, ada, west)` under `ada`. A page,
//! or what one statement gives, may end behind all of them or before all of them, and never in
//! between.

use std::pin::pin;

use futures_util::TryStreamExt;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::super::super::cell::Param;
use super::super::super::entity::EntityTable;
use super::super::super::error::lasting;
use super::super::super::key::{RawKey, Xid};
use super::super::super::link::Link;
use super::super::super::pull::{At, Batch, Ranges};
use super::super::ByValue;
use super::DOING;
use super::reached::Along;
use super::ways::Ways;
use crate::storage::StorageError;
use crate::storage::page::LOOKED_AT_MAX;

/// A mark, and the row that has its key now.
pub(super) struct Mark<'r> {
    pub row: &'r Row,
    pub key: RawKey,
    /// The column with which the bytes of its scope begin.
    pub scope: usize,
    /// The column that says whether there is a row; the row begins behind it.
    pub is_there: usize,
}

/// Takes a mark; says whether the page had room for it.
pub(super) type EachMark<'f> = dyn FnMut(&Mark<'_>) -> Result<bool, StorageError> + 'f;

/// The marks of some transactions.
pub(super) struct Marks<'a> {
    pub link: &'a Link,
    pub table: &'a EntityTable,
    pub sql: &'a [ByValue],
    pub ways: Ways<'a>,
    pub ranges: &'a Ranges,
}

/// What became of the values that one statement was asked for.
enum Read {
    /// All their marks were taken.
    All,
    /// There may be more of the value that the place names, and of those behind it.
    Some,
    /// The page ended.
    Full,
}

impl Marks<'_> {
    /// Calls `each` with every mark from a place on. False if the page ends before; `along` says
    /// where.
    pub(super) async fn walk(
        &self,
        along: &mut Along,
        rows_left: usize,
        each: &mut EachMark<'_>,
    ) -> Result<bool, StorageError> {
        let mut batch = Batch::new(rows_left);
        let mut looked_at = 0;
        let conditions = &self.ways.scope.conditions;
        let begun = along
            .under
            .and_then(|(condition, _)| Some(conditions.get(condition)?.way));
        for way in begun.unwrap_or(0)..self.ways.scope.ways.len() {
            let condition = match along.under {
                Some((condition, _)) if begun == Some(way) => Some(condition),
                _ => self.ways.fewest(way),
            };
            let Some(condition) = condition else {
                continue;
            };
            let mut above = along
                .under
                .filter(|_| begun == Some(way))
                .map(|(_, number)| number);
            loop {
                if let Some(number) = above {
                    let mut had = self.ways.had(condition);
                    let value = had.find(|(known, _)| *known == number);
                    if let Some(value) = value
                        && !self
                            .of_value(condition, value, along, (&mut batch, &mut looked_at), each)
                            .await?
                    {
                        return Ok(false);
                    }
                }
                let rest = self.ways.had(condition);
                let rest = rest.filter(|(number, _)| above.is_none_or(|above| *number > above));
                let rest: Vec<(i64, &[u8])> = rest.collect();
                let counts = (&mut batch, &mut looked_at);
                match self.of_all(condition, &rest, along, counts, each).await? {
                    Read::All => break,
                    Read::Some => {
                        let under = along.under.filter(|(known, _)| *known == condition);
                        above = under.map(|(_, number)| number);
                    }
                    Read::Full => return Ok(false),
                }
            }
        }
        Ok(true)
    }

    /// The rest of the marks of one value.
    async fn of_value(
        &self,
        condition: usize,
        (number, value): (i64, &[u8]),
        along: &mut Along,
        (batch, looked_at): (&mut Batch, &mut usize),
        each: &mut EachMark<'_>,
    ) -> Result<bool, StorageError> {
        let Some(sql) = self.sql(condition) else {
            return Ok(true);
        };
        loop {
            let most = batch.next();
            let mut behind: Vec<Box<dyn ToSql + Sync>> = Vec::new();
            self.ranges.behind(&along.at, &self.table.key, &mut behind);
            // The ends of the ranges; the value; then the place.
            let place = behind.split_off(2);
            let mut parameters: Vec<Box<dyn ToSql + Sync>> = vec![Box::new(most)];
            parameters.extend(behind);
            parameters.push(Box::new(Param::stored(Some(value.to_vec()), false)));
            parameters.extend(place);
            let mut taking = Taking::new(along, looked_at, each);
            let take = |row: &Row, taking: &mut Taking<'_, '_>| {
                let mark = self.mark(row, 0)?;
                taking.take((condition, number), &mark)
            };
            let read = self.read(
                (&sql.marks, 0),
                &parameters,
                (batch, most),
                &mut taking,
                &take,
            );
            match read.await? {
                Read::All => return Ok(true),
                Read::Some => {}
                Read::Full => return Ok(false),
            }
        }
    }

    /// The marks of several values, from the first on.
    async fn of_all(
        &self,
        condition: usize,
        values: &[(i64, &[u8])],
        along: &mut Along,
        (batch, looked_at): (&mut Batch, &mut usize),
        each: &mut EachMark<'_>,
    ) -> Result<Read, StorageError> {
        let Some(sql) = self.sql(condition).filter(|_| !values.is_empty()) else {
            return Ok(Read::All);
        };
        let most = batch.next();
        let (first, last) = self.ranges.ends();
        let value = |(_, bytes): &(i64, &[u8])| Param::stored(Some(bytes.to_vec()), false);
        let all: Vec<Param> = values.iter().map(value).collect();
        let parameters: Vec<Box<dyn ToSql + Sync>> = vec![
            Box::new(most),
            Box::new(first),
            Box::new(last),
            Box::new(all),
        ];
        let mut taking = Taking::new(along, looked_at, each);
        let take = |row: &Row, taking: &mut Taking<'_, '_>| {
            let place: i64 = row.try_get(0).map_err(|_| unordered())?;
            let place = usize::try_from(place - 1).map_err(|_| unordered())?;
            let (number, _) = values.get(place).ok_or_else(unordered)?;
            let mark = self.mark(row, 1)?;
            taking.take((condition, *number), &mark)
        };
        let sql = (sql.marks_of_all.as_str(), 1);
        self.read(sql, &parameters, (batch, most), &mut taking, &take)
            .await
    }

    /// Takes what a statement gives, whose marks begin with a column; `most` is how many rows it
    /// was asked for. One that gave too few to come on with is asked for more the next time.
    async fn read(
        &self,
        (sql, first): (&str, usize),
        parameters: &[Box<dyn ToSql + Sync>],
        (batch, most): (&mut Batch, i64),
        taking: &mut Taking<'_, '_>,
        take: &dyn Fn(&Row, &mut Taking<'_, '_>) -> Result<bool, StorageError>,
    ) -> Result<Read, StorageError> {
        let row = first + self.table.key_width() + self.ways.scope.columns.len() + 2;
        let statement = self.table.prepared(self.link, sql, row).await?;
        let parameters = parameters.iter().map(|cell| &**cell as &(dyn ToSql + Sync));
        let rows = self.link.client.query_raw(&statement, parameters).await;
        let mut rows = pin!(self.link.noted(rows, DOING)?);
        let mut count = 0;
        while let Some(row) = self.link.noted(rows.try_next().await, DOING)? {
            count += 1;
            if !take(&row, taking)? {
                return Ok(Read::Full);
            }
        }
        if count < most {
            taking.is_through();
            return Ok(Read::All);
        }
        if !taking.has_come_on {
            batch.widen();
        }
        Ok(Read::Some)
    }

    fn mark<'r>(&self, row: &'r Row, first: usize) -> Result<Mark<'r>, StorageError> {
        let width = self.table.key_width();
        let scope = first + 1 + width;
        Ok(Mark {
            row,
            key: RawKey::read(row, first + 1, width)?,
            scope,
            is_there: scope + self.ways.scope.columns.len(),
        })
    }

    fn sql(&self, condition: usize) -> Option<&ByValue> {
        let condition = self.ways.scope.conditions.get(condition)?;
        self.sql.get(condition.column)
    }
}

/// Takes marks one after another and notes how far it has come: behind the last row all of whose
/// marks were taken.
struct Taking<'t, 'f> {
    along: &'t mut Along,
    looked_at: &'t mut usize,
    each: &'t mut EachMark<'f>,
    /// The row whose marks are being taken: the value that they are under, and the place behind
    /// them.
    row: Option<((usize, i64), At)>,
    /// Whether all marks of a row were taken.
    has_come_on: bool,
}

impl<'t, 'f> Taking<'t, 'f> {
    fn new(along: &'t mut Along, looked_at: &'t mut usize, each: &'t mut EachMark<'f>) -> Self {
        Self {
            along,
            looked_at,
            each,
            row: None,
            has_come_on: false,
        }
    }

    fn take(&mut self, under: (usize, i64), mark: &Mark<'_>) -> Result<bool, StorageError> {
        let column = mark.scope - mark.key.0.len() - 1;
        let Xid(xid) = mark.row.try_get(column).map_err(|_| unordered())?;
        let is_same = |(known, at): &((usize, i64), At)| {
            *known == under && at.xid == xid && at.key == mark.key
        };
        if !self.row.as_ref().is_some_and(is_same) {
            self.is_through();
            if self.along.under == Some(under) && xid < self.along.at.xid {
                return Err(unordered());
            }
            if *self.looked_at >= LOOKED_AT_MAX {
                return Ok(false);
            }
            *self.looked_at += 1;
            let at = At {
                xid,
                key: mark.key.clone(),
                ..At::default()
            };
            self.row = Some((under, at));
        }
        (self.each)(mark)
    }

    /// Notes that there are no more marks of the row.
    fn is_through(&mut self) {
        if let Some((under, at)) = self.row.take() {
            self.along.under = Some(under);
            self.along.at = at;
            self.has_come_on = true;
        }
    }
}

fn unordered() -> StorageError {
    lasting("marks came in another order than they were asked for")
}
