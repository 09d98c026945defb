//! The stage: pages of a pull that is not complete, and the switch that makes them visible.

use afield_protocol::zoo;
use rusqlite::params;

use super::db::Db;
use super::scope;
use super::sql::quoted;
use super::tables::Table;
use crate::error::Error;

/// Stages a row; parameters in column order, then the values that brought it.
pub(super) fn row(table: &Table) -> String {
    insert(table, 0)
}

/// Stages that a row is gone; parameters in column order, of which only the identifier counts.
pub(super) fn gone(table: &Table) -> String {
    insert(table, 1)
}

fn insert(table: &Table, gone: u8) -> String {
    let columns: String = table
        .scope_columns
        .iter()
        .map(|name| format!(", {name}"))
        .collect();
    let first = table.width() + 1;
    let marks: String = (first..first + table.scope_columns.len())
        .map(|at| format!(", ?{at}"))
        .collect();
    format!(
        "INSERT OR REPLACE INTO {} (gone, {}{columns}) VALUES ({gone}, {}{marks})",
        table.stage,
        table.columns,
        table.marks()
    )
}

/// Forgets what is staged: the entity starts over with the page at hand. Says whether anything
/// was.
pub(super) fn start_over(db: &Db, table: &Table) -> Result<bool, Error> {
    let sql = format!("DELETE FROM {}", table.stage);
    let forgotten = db.conn.prepare_cached(&sql)?.execute([])?;
    scope::unstage(db, &table.entity.name)?;
    let sql = "UPDATE afield_entity SET stage_reset = 1 WHERE name = ?1";
    db.conn.prepare_cached(sql)?.execute([&table.entity.name])?;
    Ok(forgotten > 0)
}

/// What a switch did.
pub(super) struct Switched {
    /// How many rows leave because nothing brings them any more.
    pub(super) left: u64,
    /// Whether rows were deleted, here or in the stage.
    pub(super) removed: bool,
}

/// Moves what is staged into the tables. Rows that are there already as staged are not written,
/// so that a `read-only` entity sent whole costs what differs.
pub(super) fn switch(db: &Db, table: &Table) -> Result<Switched, Error> {
    let sql = "SELECT stage_reset FROM afield_entity WHERE name = ?1";
    let starts_over: bool =
        (db.conn.prepare_cached(sql)?).query_row(params![table.entity.name], |row| row.get(0))?;
    let starts_over = starts_over && !zoo::planted("reset-keeps-rows");
    let left = scope::before_switch(db, table, starts_over)?;
    let sql = format!("SELECT 1 FROM {} WHERE gone = 1", table.stage);
    let mut removed = db.conn.prepare_cached(&sql)?.exists([])?;
    for (at, sql) in statements(table, starts_over).iter().enumerate() {
        let changed = db.conn.prepare_cached(sql)?.execute([])?;
        // The first two take rows away.
        removed |= at < 2 && changed > 0;
        db.crash_point("switch")?;
    }
    Ok(Switched { left, removed })
}

/// The statements of the switch. Without a fresh start each costs what is staged, not what the
/// table holds.
fn statements(table: &Table, starts_over: bool) -> Vec<String> {
    let Table {
        name,
        server,
        stage,
        columns,
        key_columns,
        ..
    } = table;
    let overlaid = format!(
        "EXISTS (SELECT 1 FROM {server} AS o WHERE {})",
        table.same_key("o", "t")
    );
    let leaves = if starts_over {
        let same = table.same_key("s", "t");
        format!("NOT EXISTS (SELECT 1 FROM {stage} AS s WHERE {same} AND s.gone = 0)")
    } else {
        format!("({key_columns}) IN (SELECT {key_columns} FROM {stage} WHERE gone = 1)")
    };
    let values = table.entity.values().iter();
    let emptied: String = values
        .map(|attribute| format!(", {} = NULL", quoted(&attribute.name)))
        .collect();
    let staged = table.prefixed("t", &table.entity.attributes);
    let rows = [
        format!("DELETE FROM {name} AS t WHERE {leaves} AND NOT {overlaid}"),
        format!("UPDATE {server} AS t SET existed = 0{emptied} WHERE {leaves}"),
        format!(
            "INSERT OR REPLACE INTO {server} (existed, {columns}) SELECT 1, {staged} \
             FROM {stage} AS t WHERE t.gone = 0 AND {overlaid}"
        ),
        format!(
            "INSERT INTO {name} ({columns}) SELECT {staged} FROM {stage} AS t \
             WHERE t.gone = 0 AND NOT {overlaid} \
             AND NOT EXISTS (SELECT 1 FROM {name} AS n WHERE {}) {}",
            table.same_row("n", "t"),
            table.on_conflict()
        ),
    ];
    let ways = scope::switched(table, &leaves);
    let end = format!("DELETE FROM {stage}");
    rows.into_iter().chain(ways).chain([end]).collect()
}

#[cfg(test)]
mod tests {
    use afield_protocol::{Attribute, Entity, Identifier, Pattern, Type};

    use super::*;

    #[test]
    fn p9_a_switch_never_scans_the_table() {
        for key_width in [1, 2] {
            let attributes = vec![
                Attribute::new("a", Type::Text),
                Attribute::new("b", Type::Integer),
                Attribute::new("c", Type::Bytes),
            ];
            let (pattern, identifier) = (Pattern::LastWriteWins, Identifier::Natural);
            let entity = Entity {
                scope: vec![1, key_width],
                ..Entity::new("visit", pattern, identifier, key_width, attributes)
            };
            let table = Table::new(entity, 0);
            let conn = rusqlite::Connection::open_in_memory().unwrap();
            conn.execute_batch("CREATE TABLE afield_entity (name, touched)")
                .unwrap();
            for sql in table.create() {
                conn.execute_batch(&sql).unwrap();
            }
            conn.execute_batch(include_str!("held.sql")).unwrap();
            let mut all = scope::prepared(&table, false);
            all.extend(statements(&table, false));
            all.extend(scope::losing(&table));
            for sql in all {
                let mut plan = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
                let nothing = vec![rusqlite::types::Null; plan.parameter_count()];
                let nothing = rusqlite::params_from_iter(nothing);
                let steps = plan
                    .query_map(nothing, |row| row.get::<_, String>(3))
                    .unwrap();
                let steps: Vec<_> = steps.collect::<Result<_, _>>().unwrap();
                let scans = |step: &&String| {
                    let scanned = ["SCAN n", "SCAN visit", "SCAN afield_scope", "SCAN w"];
                    scanned.iter().any(|scan| step.contains(scan))
                };
                assert_eq!(steps.iter().find(scans), None, "{sql}: {steps:?}");
                let is_delete = sql.starts_with("DELETE FROM \"visit\"")
                    || sql.starts_with("DELETE FROM \"afield_scope_visit\"");
                let scan = steps.iter().any(|step| step.as_str() == "SCAN t");
                assert!(!(is_delete && scan), "{sql}: {steps:?}");
            }
        }
    }
}
