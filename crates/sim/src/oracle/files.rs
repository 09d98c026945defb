//! What must not be in a device's file: texts of rows that never were its user's, in any byte of
//! it; and once a sync is over, in any table, texts of rows that are his no more. What was typed
//! on the device may stay.

use std::collections::HashSet;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::device::DeviceRecord;
use super::server::ServerRecord;
use super::view::{Entry, GroupState};
use crate::app;
use crate::rows::RowName;
use crate::scoped;
use crate::violation::{Promise, Violation};

/// Changes and groups that are settled or parked: what is not sent yet, or not answered, is sent
/// as it is. Of a row that the user himself deleted the log keeps what it was.
const CHANGES: &str = "SELECT c.* FROM afield_change AS c \
     JOIN afield_group AS g ON g.n = c.group_n \
     WHERE g.state IN ('parked', 'dropped') \
     OR g.state = 'settled' AND c.overlay = 0 AND c.op <> 'delete'";
const GROUPS: &str = "SELECT g.* FROM afield_group AS g \
     WHERE g.state IN ('settled', 'parked', 'dropped') AND NOT EXISTS \
     (SELECT 1 FROM afield_change AS c WHERE c.group_n = g.n AND c.op = 'delete')";

/// Looks into the bytes of a device's file.
pub(crate) fn check_foreign(
    bytes: &[u8],
    device: &DeviceRecord,
    server: &ServerRecord,
) -> Result<(), Violation> {
    let memory = &server.scoped;
    let is_foreign = |text: &&str| {
        memory.texts.contains_key(*text)
            && !memory.seen[device.user].contains(*text)
            && !device.typed.contains(*text)
    };
    match scoped::texts(bytes).find(is_foreign) {
        None => Ok(()),
        Some(text) => {
            let invariant = "no byte of a device's file is of a row that never was its user's";
            let detail = format!("user{}: {text}", device.user);
            Err(Violation::new(Promise::P7, invariant, detail))
        }
    }
}

/// Looks into the tables of a device, after a sync.
pub(crate) fn check_left(
    conn: &Connection,
    device: &DeviceRecord,
    server: &ServerRecord,
) -> Result<(), Violation> {
    let mut stands = Vec::new();
    for entity in app::SCOPED.into_iter().filter(|at| device.view.has(*at)) {
        let (position, is_complete) = &device.view.standing[entity];
        let token = position.as_deref().unwrap_or(&[]);
        let Some(state) = server
            .state_of((device.user, entity), token)
            .filter(|_| *is_complete)
        else {
            return Ok(());
        };
        let rows = server.rows_at((device.user, entity), token);
        stands.push((entity, state, rows));
    }
    // Rows that are still on their way: their user sees them until he is told. Where another sync
    // has asked since, one may stay in sight for one pull more.
    let laid = laid(conn)?;
    let is_unsent = |name: &RowName| {
        let is_unsent = |entry: &Entry| !entry.state.is_final();
        device.view.captured.contains(name)
            || device.view.entries(name).any(is_unsent)
            || laid.contains(name)
    };
    // A verdict tells of a row that is in the way, whether its project is open here or not.
    let is_parked = |name: &RowName| {
        let mut entries = device.view.entries(name);
        entries.any(|entry| entry.state == GroupState::Parked)
    };
    // A verdict may have told of a row before a pull brings it.
    let is_mine = |(entity, key): &RowName| {
        let mut stands = stands.iter().filter(|(at, ..)| at == entity);
        stands.any(|(_, state, rows)| {
            let first = state + usize::from(!is_parked(&(*entity, key.clone())));
            let mut states = first..=server.now();
            rows.contains_key(key)
                || states.any(|s| server.rows_of(s, device.user, *entity).contains_key(key))
        })
    };
    let is_fine = |text: &str| {
        let rows = server.scoped.texts.get(text);
        device.typed.contains(text)
            || rows.is_none_or(|rows| rows.iter().any(|name| is_mine(name) || is_unsent(name)))
    };
    for (table, sql) in tables(conn)? {
        let mut statement = conn.prepare_cached(&sql)?;
        let width = statement.column_count();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            for at in 0..width {
                let (ValueRef::Text(bytes) | ValueRef::Blob(bytes)) = row.get_ref(at)? else {
                    continue;
                };
                if let Some(text) = scoped::texts(bytes).find(|text| !is_fine(text)) {
                    let invariant = "what left the scope left the device";
                    let column = row.as_ref().column_name(at)?;
                    let detail = format!("user{}: {text} in {table}, {column}", device.user);
                    return Err(Violation::new(Promise::P7, invariant, detail));
                }
            }
        }
    }
    Ok(())
}

/// Rows of which a settled change is still on top.
fn laid(conn: &Connection) -> Result<HashSet<RowName>, Violation> {
    let sql = "SELECT c.entity, c.key FROM afield_change AS c JOIN afield_group AS g \
               ON g.n = c.group_n WHERE c.overlay = 1 AND g.state = 'settled'";
    let mut statement = conn.prepare_cached(sql)?;
    let rows = statement.query_map([], |row| {
        let entity: String = row.get(0)?;
        Ok((app::place(&entity).unwrap_or(app::ENTITIES), row.get(1)?))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// The tables that may hold something of such rows, each with how it is read. What is staged is
/// of a newer state, and a captured row is what its user saw.
fn tables(conn: &Connection) -> Result<Vec<(String, String)>, Violation> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND (name LIKE '%shop' \
               OR name LIKE '%task' OR name LIKE '%project' OR name LIKE '%job' \
               OR name IN ('afield_change', 'afield_group', 'afield_outcome')) \
               AND name NOT LIKE 'afield_before_%' AND name NOT LIKE 'afield_stage_%'";
    let mut statement = conn.prepare_cached(sql)?;
    let names = statement.query_map([], |row| row.get(0))?;
    let named = |name: String| {
        let sql = match name.as_str() {
            "afield_change" => CHANGES.to_owned(),
            "afield_group" => GROUPS.to_owned(),
            name => format!("SELECT * FROM \"{name}\""),
        };
        (name, sql)
    };
    Ok(names
        .map(|name| name.map(named))
        .collect::<Result<_, _>>()?)
}
