//! What the demo asks of devices and of the team's database.

use afield::{Params, Store};
use afield_protocol::{Attributes, Value};

use crate::failure::Failure;

/// Attributes with their values.
pub(super) fn row<const N: usize>(pairs: [(&str, Value); N]) -> Attributes {
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The first cell that a query finds on a device.
pub(super) fn text(store: &Store, sql: &str) -> Result<String, Failure> {
    first(store, sql, &Params::none())
}

/// The same for a query about one row.
pub(super) fn one(store: &Store, sql: &str, id: &str) -> Result<String, Failure> {
    first(store, sql, &Params::from([id.into()]))
}

fn first(store: &Store, sql: &str, params: &Params) -> Result<String, Failure> {
    let rows = store.query(sql, params)?.rows;
    let cell = rows.first().and_then(|row| row.first());
    cell.map(ToString::to_string)
        .ok_or_else(|| Failure::refused("demo", format!("nothing found: {sql}")))
}

/// The team's database refused something.
pub(super) fn sqlite(error: &rusqlite::Error) -> Failure {
    Failure::refused("sql", format!("the server's database: {error}"))
}
