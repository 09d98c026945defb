//! Which ways in a row has, going by the values that the device has rows of.

use afield_protocol::zoo::planted;
use afield_protocol::{Value, ValueRef};
use rusqlite::Row;

use super::super::super::cell::Canonical;
use super::super::super::raw::Raw;
use super::super::ConditionSql;
use super::super::now::bytes_of;
use super::ScopedPull;

impl ScopedPull<'_> {
    /// Whether a row that had these cells came to the device by a value that it has.
    pub(super) fn was_mine(&self, cells: &[Vec<u8>]) -> bool {
        let held = self.numbers(cells, None);
        let mut ways = self.scope.ways.iter();
        ways.any(|way| way.clone().all(|at| held[at].is_some()))
    }

    /// For each condition the number of the row's value, if the device has the value or is just
    /// being told its rows.
    pub(super) fn numbers(
        &self,
        cells: &[Vec<u8>],
        told: Option<(usize, i64)>,
    ) -> Vec<Option<i64>> {
        let number = |(at, condition): (usize, &ConditionSql)| {
            let number = self.now.number(at, cells.get(condition.column)?)?;
            (self.has.contains(number) || told == Some((at, number))).then_some(number)
        };
        let conditions = self.scope.conditions.iter().enumerate();
        conditions.map(number).collect()
    }

    /// What stands behind the row's attributes: the numbers of each way that holds. `None` if
    /// none does.
    pub(super) fn beside(&self, held: &[Option<i64>]) -> Option<Vec<Canonical<'static>>> {
        let mut beside = Vec::with_capacity(held.len());
        let mut is_mine = false;
        for way in &self.scope.ways {
            let numbers = held.get(way.clone())?;
            let holds = match planted("server-any-condition-will-do") {
                true => numbers.iter().any(Option::is_some),
                false => numbers.iter().all(Option::is_some),
            };
            is_mine |= holds;
            beside.extend(numbers.iter().map(|number| match number {
                Some(number) if holds => Canonical::Owned(Value::Integer(*number)),
                _ => Canonical::Borrowed(ValueRef::Null),
            }));
        }
        is_mine.then_some(beside)
    }

    /// The bytes of the scope columns of a row that one of the statements returned.
    pub(super) fn scope_cells(&self, row: &Row<'_>) -> rusqlite::Result<Vec<Vec<u8>>> {
        let first = self.table.width();
        (first..first + self.scope.columns.len())
            .map(|at| Ok(bytes_of(&Raw::from_stored(row.get_ref(at)?))))
            .collect()
    }
}
