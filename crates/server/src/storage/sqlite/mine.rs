//! Whether a row is in a caller's scope, by plain SQL.

use rusqlite::Connection;

use super::entity::EntityTable;
use super::raw::Raw;
use super::sql_text::quote;
use crate::resolved::{Holds, Scope, ServerModel};
use crate::storage::Caller;

pub(super) fn is_in_scope(
    conn: &Connection,
    model: &ServerModel,
    caller: &Caller,
    table: &EntityTable,
    raw: &[Raw],
) -> rusqlite::Result<bool> {
    let Scope::Ways(ways) = &table.entity.scope else {
        return Ok(table.with_stored_key(conn, raw)?.is_some());
    };
    let mut ors = Vec::new();
    for way in ways {
        let mut ands = Vec::new();
        for condition in way {
            let mut list = match &condition.holds {
                Holds::User => "SELECT :user".to_owned(),
                Holds::Claim(name) => format!("SELECT :claim_{name}"),
                Holds::Scope(name) => model.scope(name).unwrap().query.clone(),
            };
            for hop in condition.path.iter().rev() {
                list = format!(
                    "SELECT {} FROM {} WHERE {} IN ({list})",
                    quote(&hop.key),
                    quote(&hop.table),
                    quote(&hop.column)
                );
            }
            ands.push(format!("{} IN ({list})", quote(&condition.column)));
        }
        ors.push(format!("({})", ands.join(" AND ")));
    }
    let sql = format!(
        "SELECT EXISTS (SELECT 1 FROM {} WHERE {} AND ({}))",
        quote(&table.schema.name),
        table.key_is(),
        ors.join(" OR ")
    );
    let mut statement = conn.prepare_cached(&sql)?;
    for (at, cell) in raw.iter().enumerate() {
        statement.raw_bind_parameter(at + 1, cell)?;
    }
    for at in 1..=statement.parameter_count() {
        let name = statement.parameter_name(at).unwrap_or_default().to_owned();
        if name == ":user" {
            statement.raw_bind_parameter(at, &caller.user)?;
        } else if let Some(claim) = name.strip_prefix(":claim_") {
            let value = caller.claims.get(claim).and_then(|v| v.as_str());
            statement.raw_bind_parameter(at, value)?;
        }
    }
    let mut rows = statement.raw_query();
    rows.next()?.map_or(Ok(false), |row| row.get(0))
}
