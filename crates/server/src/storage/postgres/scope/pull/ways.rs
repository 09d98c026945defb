//! Which ways in a row has, going by the values that the device has rows of.

use std::collections::HashSet;

use tokio_postgres::Row;

use super::super::super::entity::EntityTable;
use super::super::super::key::stored;
use super::super::{ConditionSql, Now, ScopeSql};
use crate::storage::StorageError;

/// The bytes of a row's scope columns; `None` where one is null.
pub(super) type ScopeCells<'r> = Vec<Option<&'r [u8]>>;

/// The values that are held and those that the device has rows of.
#[derive(Clone, Copy)]
pub(super) struct Ways<'a> {
    pub scope: &'a ScopeSql,
    pub now: &'a Now,
    pub has: &'a HashSet<i64>,
}

impl<'a> Ways<'a> {
    /// The bytes of the scope that stand in a row from a column on.
    pub(super) fn cells<'r>(
        &self,
        row: &'r Row,
        first: usize,
    ) -> Result<ScopeCells<'r>, StorageError> {
        (first..first + self.scope.columns.len())
            .map(|at| Ok(stored(row, at)?.0))
            .collect()
    }

    /// Whether a row that had these cells came to the device by a value that it has.
    pub(super) fn was_mine(&self, cells: &ScopeCells<'_>) -> bool {
        let held = self.numbers(cells, None);
        let holds = |at: usize| held.get(at).is_some_and(Option::is_some);
        self.scope.ways.iter().any(|way| way.clone().all(holds))
    }

    /// For each condition the number of the row's value, if the device has the value or is just
    /// being told its rows.
    pub(super) fn numbers(
        &self,
        cells: &ScopeCells<'_>,
        told: Option<(usize, i64)>,
    ) -> Vec<Option<i64>> {
        let number = |(at, condition): (usize, &ConditionSql)| {
            let cell = cells.get(condition.column).copied().flatten()?;
            let number = self.now.number(at, cell)?;
            (self.has.contains(&number) || told == Some((at, number))).then_some(number)
        };
        let conditions = self.scope.conditions.iter().enumerate();
        conditions.map(number).collect()
    }

    /// What stands behind the row's attributes: the numbers of each way that holds. `None` if
    /// none does.
    pub(super) fn beside(&self, held: &[Option<i64>]) -> Option<Vec<Option<i64>>> {
        let mut beside = Vec::with_capacity(held.len());
        let mut is_mine = false;
        for way in &self.scope.ways {
            let numbers = held.get(way.clone())?;
            let holds = numbers.iter().all(Option::is_some);
            is_mine |= holds;
            beside.extend(numbers.iter().map(|number| number.filter(|_| holds)));
        }
        is_mine.then_some(beside)
    }

    /// The same of a row of the table that stands in a row of a statement from a column on.
    pub(super) fn of_row(
        &self,
        table: &EntityTable,
        row: &Row,
        first: usize,
    ) -> Result<Option<Vec<Option<i64>>>, StorageError> {
        let cells = self.cells(row, first + table.width())?;
        Ok(self.beside(&self.numbers(&cells, None)))
    }

    /// The values of a condition that the device has rows of, in the order of their numbers.
    pub(super) fn had(&self, condition: usize) -> impl Iterator<Item = (i64, &'a [u8])> {
        let (now, has) = (self.now, self.has);
        let all = now.values(condition).iter();
        let had = all.filter(|(number, _)| has.contains(number));
        had.map(|(number, bytes)| (*number, bytes.as_slice()))
    }

    /// The condition of a way whose values are the fewest: a row that came by that way is marked
    /// under a value of each.
    pub(super) fn fewest(&self, way: usize) -> Option<usize> {
        let conditions = self.scope.ways.get(way)?.clone();
        conditions.min_by_key(|condition| self.had(*condition).count())
    }
}
