//! The marks under the values that a user holds, in the order of their numbers.
//!
//! Each value has its own range of an index, and no index has the marks of many values in one
//! order. So what fits is sorted, and nothing more is read: first it is looked whether all marks
//! fit at once; if not, they come window by window of change numbers, which grow while little is
//! in them and shrink when too much is. The whole costs what its marks cost, once.

use std::rc::Rc;

use rusqlite::types::Value as Bound;
use rusqlite::{Connection, Row, params};

use super::super::raw::Raw;
use super::super::statements::ScopedSql;
use super::now::{Now, bound};
use super::{ScopeSql, now};

/// A mark.
pub(super) struct Mark {
    pub change: i64,
    pub key: Vec<Raw>,
    /// The bytes of each scope column as it was.
    pub scope: Vec<Vec<u8>>,
}

/// All marks above one number and up to another.
pub(super) struct Batch {
    /// In the order of their numbers.
    pub marks: Vec<Mark>,
    /// Up to this number nothing is missing.
    pub upto: i64,
}

/// Fewest marks that are read at once: pages of a few rows shall not make windows of a few.
const MARKS_MIN: usize = 64;

/// Reads marks; made for one snapshot and one set of values.
pub(super) struct Marks<'s> {
    sql: &'s ScopedSql,
    key_width: usize,
    /// For each way that can hold: the column whose values are looked up, and these.
    lists: Vec<(usize, Rc<Vec<Bound>>)>,
    /// How many change numbers the next window has; none before the first look.
    width: Option<i64>,
}

impl<'s> Marks<'s> {
    /// Marks under the values of `now` that `has` accepts. Of a way with several conditions those
    /// of one are looked up; whether the others hold is the caller's question.
    pub(super) fn of(
        sql: &'s ScopedSql,
        scope: &ScopeSql,
        key_width: usize,
        now: &Now,
        has: impl Fn(i64) -> bool,
    ) -> Self {
        let mut lists: Vec<(usize, Vec<&Raw>)> = Vec::new();
        for way in &scope.ways {
            let values = |condition: usize| -> Vec<&Raw> {
                let held = now.values(condition).iter();
                let held = held.filter(|(number, _)| has(*number));
                held.map(|(_, value)| value).collect()
            };
            let fewest = way
                .clone()
                .map(|at| (scope.conditions[at].column, values(at)));
            lists.extend(fewest.min_by_key(|(_, values)| values.len()));
        }
        Self {
            sql,
            key_width,
            lists: lists
                .into_iter()
                .filter(|(_, values)| !values.is_empty())
                .map(|(column, values)| (column, bound(values.into_iter())))
                .collect(),
            width: None,
        }
    }

    /// The next marks above `from`, none of them above `to`; about `most` of them.
    pub(super) fn next(
        &mut self,
        conn: &Connection,
        from: i64,
        to: i64,
        most: usize,
    ) -> rusqlite::Result<Batch> {
        let most = most.max(MARKS_MIN);
        let mut upto = match self.width {
            None => to,
            Some(width) => to.min(from.saturating_add(width)),
        };
        loop {
            // Marks of one number cannot be parted.
            let limit = (upto > from + 1).then_some(most);
            if let Some(mut marks) = self.read(conn, from, upto, limit)? {
                marks.sort_by_key(|mark| mark.change);
                if marks.len() < most / 2 {
                    self.width = self.width.map(|width| width.saturating_mul(2));
                }
                return Ok(Batch { marks, upto });
            }
            // Each write takes a number: so many numbers have hardly more marks.
            let width = match self.width {
                None => i64::try_from(most)
                    .unwrap_or(i64::MAX)
                    .min((upto - from) / 2),
                Some(_) => (upto - from) / 2,
            };
            self.width = Some(width.max(1));
            upto = from + width.max(1);
        }
    }

    /// All marks of a window; `None` if there are more than `limit`.
    fn read(
        &self,
        conn: &Connection,
        from: i64,
        to: i64,
        limit: Option<usize>,
    ) -> rusqlite::Result<Option<Vec<Mark>>> {
        let mut found = Vec::new();
        for (column, values) in &self.lists {
            let most = match limit {
                Some(limit) => i64::try_from(limit + 1 - found.len()).unwrap_or(i64::MAX),
                None => -1,
            };
            let mut statement = conn.prepare_cached(&self.sql.marks[*column])?;
            let mut rows = statement.query(params![values, from, to, most])?;
            while let Some(row) = rows.next()? {
                found.push(self.mark(row)?);
            }
            if limit.is_some_and(|limit| found.len() > limit) {
                return Ok(None);
            }
        }
        Ok(Some(found))
    }

    fn mark(&self, row: &Row<'_>) -> rusqlite::Result<Mark> {
        let width = row.as_ref().column_count();
        let cell = |at| Ok(Raw::from_stored(row.get_ref(at)?));
        Ok(Mark {
            change: row.get(0)?,
            key: (1..=self.key_width)
                .map(cell)
                .collect::<rusqlite::Result<_>>()?,
            scope: (self.key_width + 1..width)
                .map(|at| Ok(now::bytes_of(&cell(at)?)))
                .collect::<rusqlite::Result<_>>()?,
        })
    }
}
