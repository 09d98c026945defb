//! A bounded look at the rows: how many, how large, and how far numbers have come.

use tokio_postgres::Client;

use super::super::name::quote;
use crate::catalog::{Catalog, Identity, ROWS_COUNTED_MAX, Table, TableKind};
use afield_protocol::Type;

/// Rows looked at for the size of bytes.
const SAMPLE_ROWS: u32 = 1_000;

/// Tables that one statement looks at.
const TABLES_AT_ONCE: usize = 100;

type Result<T> = std::result::Result<T, tokio_postgres::Error>;

/// The highest number that a row has, of each table that numbers its rows: one look at the end of
/// an index each.
pub(super) async fn highest(client: &Client, catalog: &mut Catalog) -> Result<()> {
    let mut asked = Vec::new();
    for (at, table) in catalog.tables.iter().enumerate() {
        if let [key] = table.primary_key.as_slice()
            && table.kind == TableKind::Ordinary
            && table.identity != Identity::None
        {
            let (key, from) = (quote(key), &table.quoted);
            asked.push(format!("SELECT {at}::int8, max({key})::int8 FROM {from}"));
        }
    }
    for some in asked.chunks(TABLES_AT_ONCE) {
        for row in client.query(&some.join(" UNION ALL "), &[]).await? {
            let (at, highest): (i64, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
            let table = usize::try_from(at).ok();
            if let Some(table) = table.and_then(|at| catalog.tables.get_mut(at)) {
                table.highest_number = table.highest_number.max(highest);
            }
        }
    }
    Ok(())
}

/// Fills in [`Table::measured`] of every ordinary table.
pub(super) async fn measure(client: &Client, catalog: &mut Catalog) -> Result<()> {
    let mut asked = Vec::new();
    for (at, table) in catalog.tables.iter().enumerate() {
        if table.kind == TableKind::Ordinary {
            asked.push(rows(at, table));
            asked.extend(sizes(at, table));
        }
    }
    for some in asked.chunks(TABLES_AT_ONCE) {
        for row in client.query(&some.join(" UNION ALL "), &[]).await? {
            let (at, column, found): (i64, Option<String>, i64) =
                (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
            let table = usize::try_from(at).ok();
            let Some(table) = table.and_then(|at| catalog.tables.get_mut(at)) else {
                continue;
            };
            let measured = table.measured.get_or_insert_default();
            match column {
                None => measured.rows = found.unsigned_abs(),
                Some(column) => measured.largest.push((column, found.unsigned_abs())),
            }
        }
    }
    Ok(())
}

fn rows(at: usize, table: &Table) -> String {
    let from = &table.quoted;
    // A column that may be read, where not all may.
    let column = table.columns.iter().find(|column| column.is_readable);
    let column = column.map_or_else(|| "1".to_owned(), |column| quote(&column.name));
    format!(
        "SELECT {at}::int8, NULL::text, (SELECT count(*) FROM (SELECT {column} FROM {from} \
         LIMIT {ROWS_COUNTED_MAX}) AS counted)"
    )
}

fn sizes(at: usize, table: &Table) -> Vec<String> {
    let from = &table.quoted;
    let columns = table
        .columns
        .iter()
        .filter(|column| column.kind == Type::Bytes && !column.generated && column.is_readable);
    let size = |name: &String| {
        let (column, text) = (quote(name), super::super::name::literal(name));
        format!(
            "SELECT {at}::int8, {text}::text, (SELECT coalesce(max(octet_length(v)), 0)::int8 \
             FROM (SELECT {column} AS v FROM {from} LIMIT {SAMPLE_ROWS}) AS sample)"
        )
    };
    columns.map(|column| size(&column.name)).collect()
}
