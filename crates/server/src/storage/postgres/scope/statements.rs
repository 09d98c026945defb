//! The statements of an entity with a scope: the rows and the marks of values, each a range of an
//! index.
//!
//! The rows come as every statement of the entity gives them, with the bytes of the scope's columns
//! behind their attributes.

use tokio_postgres::Transaction;

use super::super::capture::mark_table;
use super::super::columns::{KeyColumn, behind};
use super::super::entity::Parts;
use super::super::lookups::has_index;
use super::super::statements::{named, ordered};
use super::{Compared, ScopeSql};
use crate::storage::StorageError;

/// The statements of one scope column. `$1` is how many rows they give at most.
#[derive(Debug)]
pub(in super::super) struct ByValue {
    /// The rows with the value `$2`, in the order of a download.
    pub first: String,
    /// Those of them behind a key, whose cells are `$3` and on.
    pub after: String,
    /// Those with one of the values `$2`, in no order.
    pub every: String,
    /// How many these are, counted up to `$1`.
    pub count: String,
    /// The marks under the value `$4` in the ranges `$2` to `$3`, those of `$5` behind the key `$6`
    /// and on before them: transaction, key, the bytes of the scope as it was, whether there is a
    /// row, and the row.
    pub marks: String,
    /// The same of the values `$4`, value by value, from the first mark on; the value's place comes
    /// first.
    pub marks_of_all: String,
}

impl ScopeSql {
    /// What every statement of the entity reads behind a row's attributes and lookups: the bytes of
    /// the columns that decide.
    pub(in super::super) fn beside(&self, row: &str) -> Vec<String> {
        let columns = self.columns.iter();
        columns.map(|column| column.identity(row)).collect()
    }

    /// The statements for each scope column of the table with this oid, whose rows come in the
    /// order of these columns.
    pub(in super::super) async fn statements(
        &self,
        tx: &Transaction<'_>,
        parts: &Parts<'_>,
        shown: &str,
        (table, order): (u32, Vec<String>),
    ) -> Result<Vec<ByValue>, StorageError> {
        let mut statements = Vec::new();
        for (at, column) in self.columns.iter().enumerate() {
            let is_indexed = has_index(tx, table, &column.name, &order).await?;
            statements.push(self.of_column(parts, shown, (at, column), is_indexed));
        }
        Ok(statements)
    }

    fn of_column(
        &self,
        parts: &Parts<'_>,
        shown: &str,
        (at, column): (usize, &Compared),
        is_indexed: bool,
    ) -> ByValue {
        let Parts { table, order, .. } = *parts;
        let named = named(order);
        let is_value = format!(
            "{} OPERATOR(pg_catalog.=) {}",
            column.cell("r"),
            column.given(2)
        );
        let sorted = ordered(order);
        let rows = |condition: &str| match is_indexed {
            true => format!(
                "SELECT {shown} FROM {table} r WHERE {condition} AND {named} ORDER BY {sorted} \
                 LIMIT $1"
            ),
            // Without such an index the rows of the value are sorted; never is the table gone
            // through in the order of its keys.
            false => format!(
                "SELECT {shown} FROM (SELECT * FROM {table} r WHERE {condition} AND {named} \
                 OFFSET 0) r ORDER BY {sorted} LIMIT $1"
            ),
        };
        let (marks, marks_of_all) = self.marks(parts, shown, (at, column));
        ByValue {
            first: rows(&is_value),
            after: rows(&format!("{is_value} AND {}", behind(order, "r", 3))),
            count: format!(
                "SELECT count(*) FROM (SELECT 1 FROM unnest($2::{}[]) a (value) CROSS JOIN LATERAL \
                 (SELECT 1 FROM {table} r WHERE {} OPERATOR(pg_catalog.=) {} AND {named} \
                  OFFSET 0) v LIMIT $1) c",
                column.given_type(),
                column.cell("r"),
                column.held("a.value"),
            ),
            every: format!(
                "SELECT v.* FROM unnest($2::{}[]) a (value) CROSS JOIN LATERAL (SELECT {shown} \
                 FROM {table} r WHERE {} OPERATOR(pg_catalog.=) {} AND {named} OFFSET 0) v \
                 LIMIT $1",
                column.given_type(),
                column.cell("r"),
                column.held("a.value"),
            ),
            marks,
            marks_of_all,
        }
    }

    fn marks(
        &self,
        parts: &Parts<'_>,
        shown: &str,
        (at, column): (usize, &Compared),
    ) -> (String, String) {
        let Parts { table, key, .. } = *parts;
        let mark = mark_table(parts.capture.unwrap_or_default());
        let keys: Vec<String> = key
            .iter()
            .map(|key| format!("m.{}", key.mark.name))
            .collect();
        let order = format!("m.xid, {}", keys.join(", "));
        let scopes = (1..=self.columns.len()).map(|at| format!(", m.scope{at}"));
        let cells = order.clone() + &scopes.collect::<String>();
        let kind = column.given_type();
        let under = |value: &str| format!("m.scope{} OPERATOR(pg_catalog.=) {value}", at + 1);
        let ranges = |value: &str| {
            format!(
                "SELECT {cells} FROM unnest($2::xid8[], $3::xid8[]) s (lo, hi) CROSS JOIN LATERAL \
                 (SELECT {cells} FROM {mark} m WHERE {} AND m.xid >= s.lo AND m.xid <= s.hi \
                 ORDER BY {order} LIMIT $1) m",
                under(value)
            )
        };
        let value = column.marked(&format!("$4::{kind}"));
        let holes: Vec<String> = (6..6 + key.len()).map(|at| format!("${at}")).collect();
        let behind = format!(
            "({}) OPERATOR(pg_catalog.>) ({})",
            keys.join(", "),
            holes.join(", ")
        );
        let one = format!(
            "(SELECT {cells} FROM {mark} m WHERE {} AND m.xid = $5 AND {behind} \
             ORDER BY {order} LIMIT $1) UNION ALL ({})",
            under(&value),
            ranges(&value)
        );
        let all = ranges(&column.marked("a.value"));
        let found = self.found(key);
        let read = self.read_marks(key);
        let row = format!(
            "LEFT JOIN LATERAL (SELECT true AS is_there, {shown} FROM {table} r WHERE {found} \
             LIMIT 1) v ON true LIMIT $1"
        );
        (
            format!("SELECT {read}, v.* FROM ({one}) m {row}"),
            format!(
                "SELECT a.at, {read}, v.* FROM unnest($4::{kind}[]) WITH ORDINALITY a (value, at) \
                 CROSS JOIN LATERAL ({all} LIMIT $1) m {row}"
            ),
        )
    }

    /// Transaction, key and the bytes of the scope of a mark `m`.
    fn read_marks(&self, key: &[KeyColumn]) -> String {
        let mut read = vec!["m.xid".to_owned()];
        read.extend(key.iter().map(|key| key.read_mark("m")));
        let columns = self.columns.iter().enumerate();
        read.extend(
            columns.map(|(at, column)| column.mark_identity(&format!("m.scope{}", at + 1))),
        );
        read.join(", ")
    }

    /// That a row `r` is the one that a mark `m` names.
    fn found(&self, key: &[KeyColumn]) -> String {
        let is_it = |key: &KeyColumn| {
            let cell = format!("m.{}", key.mark.name);
            key.column.is_marked("r", &key.mark, &cell)
        };
        let found: Vec<String> = key.iter().map(is_it).collect();
        found.join(" AND ")
    }
}
