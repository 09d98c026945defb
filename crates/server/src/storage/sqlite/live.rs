//! Looks for live streams: what was marked above a change number.
//!
//! What the queries of scopes read is not captured here. So whenever anything was committed to the
//! file, by whomever, it may be that somebody holds other values; SQLite tells a connection whether
//! others committed.

use std::sync::Mutex;

use rusqlite::{Connection, Transaction};

use super::entity::EntityTable;
use super::error::While;
use super::marks::mark_table;
use super::raw::Raw;
use super::scope::now as held_now;
use super::scope::{Asking, ConditionSql, ScopeSql};
use super::sql_text::quote;
use super::tables::Tables;
use super::{SqliteStorage, history, replaced};
use crate::resolved::{Holds, Scope, ServerEntity, ServerModel};
use crate::storage::live::{
    At, HeldCondition, HeldEntity, Holdings, Look, MARKS_MAX, Moment, Touched, TouchedEntity,
    TouchedHeld, TouchedRows, Value, Watched, distinct,
};
use crate::storage::{Caller, StorageError};

const DOING: &str = "looking for news";

/// The connection that looks: whether anything was committed is told to a connection about the
/// time since it was asked before.
#[derive(Debug, Default)]
pub(super) struct Looking(Mutex<(u64, Option<Connection>)>);

/// See [`Storage::look`](crate::storage::Storage::look).
pub(super) fn look(
    storage: &SqliteStorage,
    model: &ServerModel,
    since: Option<&Moment>,
    watched: &Watched,
    asked: &mut dyn FnMut(&Touched) -> Vec<Caller>,
) -> Result<Look, StorageError> {
    let mut looking = (storage.looking.0.lock()).unwrap_or_else(std::sync::PoisonError::into_inner);
    let (number, kept) = &mut *looking;
    let mut conn = match kept.take() {
        Some(conn) => conn,
        None => {
            *number += 1;
            storage.open_reader()?
        }
    };
    // Read before the snapshot is taken, so that the snapshot cannot be older.
    let beacon = storage.told();
    let tx = conn.transaction().while_(DOING)?;
    let (change, horizon, version) = now(&tx)?;
    match history::beacon(&tx, storage.epoch)? {
        Some(found) if found >= beacon => {}
        _ => return Err(replaced()),
    }
    let at = At::Sqlite {
        epoch: storage.epoch,
        change,
        version,
        connection: *number,
    };
    let tables = storage.tables(&tx, model)?;
    let touched = match since.map(|Moment(at)| at) {
        None => Touched::default(),
        Some(since) => touched(&tx, &tables, model, (since, &at, horizon), watched)?,
    };
    let held = asked(&touched);
    let held = held
        .iter()
        .map(|caller| holdings(&tx, &tables, storage, model, caller));
    let look = Look {
        held: held.collect(),
        moment: Moment(at),
        touched,
    };
    tx.commit().while_(DOING)?;
    *kept = Some(conn);
    Ok(look)
}

/// Change number, horizon, and what differs whenever others have committed.
fn now(tx: &Transaction<'_>) -> Result<(i64, i64, i64), StorageError> {
    let (change, horizon) = tx
        .prepare_cached("SELECT change, horizon FROM afield_clock, afield_node")
        .and_then(|mut statement| statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?))))
        .while_(DOING)?;
    let version = tx
        .prepare_cached("PRAGMA data_version")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .while_(DOING)?;
    Ok((change, horizon, version))
}

fn touched(
    tx: &Transaction<'_>,
    tables: &Tables,
    model: &ServerModel,
    (since, now, horizon): (&At, &At, i64),
    watched: &Watched,
) -> Result<Touched, StorageError> {
    let numbers = |at: &At| match at {
        At::Sqlite {
            epoch,
            change,
            version,
            connection,
        } => Some((*epoch, *change, (*version, *connection))),
        At::Postgres { .. } => None,
    };
    let mut touched = Touched::default();
    let (Some((old, from, before)), Some((epoch, to, version))) = (numbers(since), numbers(now))
    else {
        return Ok(Touched::everything());
    };
    if old != epoch || to < from || from < horizon {
        return Ok(Touched::everything());
    }
    touched.is_anything = (from, before) != (to, version);
    if !touched.is_anything {
        return Ok(touched);
    }
    for (at, entity) in model.entities.iter().enumerate() {
        let (table, whole_from) = tables.pulled(&entity.local.name)?;
        let values = watched.entities.get(at).map_or(&[][..], Vec::as_slice);
        let rows = match whole_from > from {
            true if entity.local.insert_only => TouchedRows::None,
            true => TouchedRows::Any,
            false if to == from => TouchedRows::None,
            false => rows(tx, table, values, from).while_(DOING)?,
        };
        let held = match asks_database(&entity.scope) {
            true => TouchedHeld::Perhaps,
            false => TouchedHeld::No,
        };
        touched.entities.push(TouchedEntity { rows, held });
    }
    Ok(touched)
}

/// Whether more than the token says what is held.
fn asks_database(scope: &Scope) -> bool {
    let mut conditions = scope.conditions();
    conditions.any(|it| !it.path.is_empty() || matches!(it.holds, Holds::Scope(_)))
}

/// The rows of an entity that are marked above a number, as far as anybody watches them.
fn rows(
    tx: &Transaction<'_>,
    table: &EntityTable,
    watched: &[(usize, Vec<Value>)],
    from: i64,
) -> rusqlite::Result<TouchedRows> {
    for source in &table.lookups.sources {
        let sql = format!(
            "SELECT EXISTS (SELECT 1 FROM {} WHERE change > ?1)",
            quote(&mark_table(source))
        );
        if tx
            .prepare_cached(&sql)?
            .query_row([from], |row| row.get(0))?
        {
            return Ok(TouchedRows::Any);
        }
    }
    let Some(scope) = &table.scope else {
        return Ok(match table.is_marked_after(tx, from)? {
            true => TouchedRows::Any,
            false => TouchedRows::None,
        });
    };
    let mut found = Vec::new();
    for (column, values) in watched {
        let sql = marks(table, scope, *column);
        let values = held_now::bound_bytes(values.iter().map(|value| &**value));
        let most = i64::try_from(MARKS_MAX + 1).unwrap_or(i64::MAX);
        let most = if scope.columns.len() == 1 { -1 } else { most };
        let mut statement = tx.prepare_cached(&sql)?;
        let mut rows = statement.query(rusqlite::params![values, from, most])?;
        while let Some(row) = rows.next()? {
            let cell = |at| Ok(held_now::bytes_of(&Raw::from_stored(row.get_ref(at)?)).into());
            let cells = (0..scope.columns.len()).map(cell);
            found.push(cells.collect::<rusqlite::Result<Vec<Value>>>()?);
        }
        if scope.columns.len() > 1 && found.len() > MARKS_MAX {
            return Ok(TouchedRows::Any);
        }
    }
    Ok(match scope.columns.len() {
        1 if found.is_empty() => TouchedRows::None,
        // No more than there are values.
        1 => TouchedRows::With(found),
        _ => distinct(found),
    })
}

/// The scope columns of the marks above `?2` under the values `?1` of one of these columns; where
/// there is only one, each value that has any.
fn marks(table: &EntityTable, scope: &ScopeSql, column: usize) -> String {
    let mark = quote(&mark_table(&table.schema.name));
    let at = column + 1;
    if scope.columns.len() == 1 {
        return format!(
            "SELECT v.value FROM rarray(?1) AS v WHERE EXISTS (SELECT 1 FROM {mark} AS m \
             WHERE m.scope1 = v.value AND m.change > ?2) LIMIT ?3"
        );
    }
    let cells: Vec<String> = (1..=scope.columns.len())
        .map(|at| format!("m.scope{at}"))
        .collect();
    format!(
        "SELECT {} FROM rarray(?1) AS v CROSS JOIN {mark} AS m \
         WHERE m.scope{at} = v.value AND m.change > ?2 LIMIT ?3",
        cells.join(", ")
    )
}

fn holdings(
    tx: &Transaction<'_>,
    tables: &Tables,
    storage: &SqliteStorage,
    model: &ServerModel,
    caller: &Caller,
) -> Result<Holdings, StorageError> {
    let asking = Asking {
        caller,
        chosen: &[],
        values_max: storage.scope_values_max,
    };
    let of = |entity: &ServerEntity| {
        let name = &entity.local.name;
        let (table, _) = tables.pulled(name)?;
        let Some(scope) = &table.scope else {
            return Ok(HeldEntity::Everyone);
        };
        if scope.is_chosen() {
            return Ok(HeldEntity::Chosen);
        }
        let now = held_now::ask(tx, &storage.code_key, name, scope, asking)
            .while_(&format!("asking for the values of the scope of `{name}`"))?;
        if now.is_over {
            return Err(asking.too_many(name));
        }
        let condition = |(at, condition): (usize, &ConditionSql)| HeldCondition {
            way: condition.way,
            column: condition.column,
            values: (now.values(at).iter())
                .map(|(_, value)| held_now::bytes_of(value).into())
                .collect(),
        };
        Ok(HeldEntity::Ways {
            conditions: scope.conditions.iter().enumerate().map(condition).collect(),
            digest: now.digest,
        })
    };
    let of = |entity: &ServerEntity| match entity.local.insert_only {
        true => Ok(HeldEntity::Nobody),
        false => of(entity),
    };
    Ok(Holdings {
        entities: model
            .entities
            .iter()
            .map(of)
            .collect::<Result<_, StorageError>>()?,
    })
}
