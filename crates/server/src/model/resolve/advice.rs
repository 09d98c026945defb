//! What scopes and lookups mean for the database, said to the person who wrote it: an index that is
//! missing, a column whose nulls belong to nobody.

use super::Resolver;
use super::scope::Of;
use crate::catalog::{Column, Table};
use crate::model::error::Place;
use crate::resolved::{Condition, Hop};

impl Resolver<'_> {
    /// Warns of what makes pulls slow and of rows that nobody gets.
    pub(super) fn advise(
        &mut self,
        entity: &str,
        place: Place,
        table: &Table,
        ways: &[Vec<Condition>],
    ) {
        for condition in ways.iter().flatten() {
            self.advise_column(entity, place, table, &condition.column);
            for hop in &condition.path {
                if let Some(target) = self.catalog.table(&hop.table) {
                    self.advise_column(entity, place, target, &hop.column);
                }
            }
        }
    }

    /// Warns where the rows that show a changed row could not be found by an index.
    pub(super) fn advise_lookup(
        &mut self,
        of: &Of<'_>,
        place: Place,
        first: &Column,
        path: &[Hop],
    ) {
        self.advise_reference(of, place, of.table, &first.name);
        // The last column has the value; nobody looks for it.
        let referring = path
            .split_last()
            .map_or(&[][..], |(_, referring)| referring);
        for hop in referring {
            if let Some(target) = self.catalog.table(&hop.table) {
                self.advise_reference(of, place, target, &hop.column);
            }
        }
    }

    fn advise_reference(&mut self, of: &Of<'_>, place: Place, table: &Table, column: &str) {
        if !has_index(table, column) {
            let message = format!(
                "[local.{}] lookup: no index of `{}` begins with `{column}`, so a pull reads the \
                 whole table for each changed row that it shows: {}",
                of.entity,
                table.name,
                create_index(table, column)
            );
            self.warn(place, message);
        }
    }

    fn advise_column(&mut self, entity: &str, place: Place, table: &Table, column: &str) {
        if !has_index(table, column) {
            let message = format!(
                "[local.{entity}] scope: no index of `{}` begins with `{column}`, so a pull reads \
                 the whole table for each value: {}",
                table.name,
                create_index(table, column)
            );
            self.warn(place, message);
        }
        let is_nullable = table
            .column(column)
            .is_some_and(|known| !known.not_null && !table.is_key(column));
        if is_nullable {
            let message = format!(
                "[local.{entity}] scope: `{}.{column}` can be null; rows where it is are nobody's",
                table.name
            );
            self.warn(place, message);
        }
    }
}

pub(super) fn has_index(table: &Table, column: &str) -> bool {
    let indexes = table.indexes.iter().chain([&table.primary_key]);
    let mut first = indexes.filter_map(|columns| columns.first());
    first.any(|name| name == column)
}

/// With the key behind the column, because rows are read value by value, each in key order. A
/// row's number is part of every index.
pub(super) fn create_index(table: &Table, column: &str) -> String {
    let key: &[String] = match table.is_rowid_key {
        true => &[],
        false => &table.primary_key,
    };
    let key = key
        .iter()
        .map(String::as_str)
        .filter(|name| *name != column);
    let columns: Vec<String> = std::iter::once(column).chain(key).map(quoted).collect();
    let name = quoted(&format!("{}_{column}", table.title));
    let table = &table.quoted;
    format!("CREATE INDEX {name} ON {table} ({})", columns.join(", "))
}

/// A name in SQL.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
