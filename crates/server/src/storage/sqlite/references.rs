//! Which change of a group leaves a reference that points nowhere.
//!
//! References are checked at the end of a transaction, so that the order within a group does not
//! matter; SQLite then says only that one failed. This looks for it, and runs only after that.

use afield_protocol::{Change, Code, Op, Verdict};
use rusqlite::{Connection, params_from_iter};

use super::entity::EntityTable;
use super::raw::Raw;
use super::sql_text::quote;
use super::tables::Tables;
use crate::resolved::ServerModel;
use crate::storage::push::{self, ForeignKey};

/// The change to blame, and the verdict for it. No temporary identifier is left in `changes`.
pub(super) fn culprit(
    conn: &Connection,
    tables: &Tables,
    changes: &[Change],
) -> rusqlite::Result<(usize, Verdict)> {
    for (at, change) in changes.iter().enumerate() {
        let Some(table) = tables.entity(&change.entity) else {
            continue;
        };
        let found = match change.op {
            // It is there still, and so is what refers to it.
            Op::Delete if table.deletion.is_some() => None,
            Op::Delete => still_referred_to(conn, table, change)?,
            Op::Create | Op::Update => refers_to_nothing(conn, table, change)?,
        };
        if let Some(verdict) = found {
            return Ok((at, verdict));
        }
    }
    // A trigger of the team wrote the row, or a key that is not the identifier is referred to.
    let delete = changes.iter().position(|change| change.op == Op::Delete);
    let message = "the server's database would be left with a reference to a row that is not there";
    Ok((
        delete.unwrap_or(0),
        Verdict::rejected(Code::REFERENCE, message),
    ))
}

/// For each reference of an entity, whether a push must ask for the row itself.
pub(super) fn asked(
    conn: &Connection,
    model: &ServerModel,
    table: &EntityTable,
) -> rusqlite::Result<Vec<bool>> {
    let mut keys = Vec::new();
    for foreign in foreign_keys(conn, &table.schema.name)? {
        let to = target(conn, &foreign)?;
        keys.push(ForeignKey { to, ..foreign });
    }
    Ok(push::asked(
        model,
        &table.entity,
        &keys,
        str::to_ascii_lowercase,
    ))
}

fn refers_to_nothing(
    conn: &Connection,
    table: &EntityTable,
    change: &Change,
) -> rusqlite::Result<Option<Verdict>> {
    let Some(row) = table.find(conn, &change.key)? else {
        return Ok(None);
    };
    for foreign in foreign_keys(conn, &table.schema.name)? {
        let to = target(conn, &foreign)?;
        let name = quote(&table.schema.name);
        let pairs = foreign.from.iter().zip(&to);
        let equal: Vec<String> = pairs
            .map(|(from, to)| format!("parent.{} = {name}.{}", quote(to), quote(from)))
            .collect();
        let given: Vec<String> = foreign
            .from
            .iter()
            .map(|from| format!("{} IS NOT NULL", quote(from)))
            .collect();
        let sql = format!(
            "SELECT 1 FROM {name} WHERE {} AND {} AND NOT EXISTS (SELECT 1 FROM {} AS parent \
             WHERE {})",
            table.key_is(),
            given.join(" AND "),
            quote(&foreign.parent),
            equal.join(" AND "),
        );
        if exists(conn, &sql, &row.place.key)? {
            let message = format!(
                "it refers to a row of `{}` that is not there",
                foreign.parent
            );
            return Ok(Some(Verdict {
                attribute: local_attribute(table, foreign.from.first()),
                ..Verdict::rejected(Code::REFERENCE, message)
            }));
        }
    }
    Ok(None)
}

fn still_referred_to(
    conn: &Connection,
    table: &EntityTable,
    change: &Change,
) -> rusqlite::Result<Option<Verdict>> {
    let parent = &table.schema.name;
    let columns = table.entity.columns.iter().take(table.key_width());
    let key: Vec<&str> = columns.map(|column| column.name.as_str()).collect();
    let mut statement = conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    let tables = statement
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<Vec<String>>>()?;
    for child in tables {
        for foreign in foreign_keys(conn, &child)? {
            if !foreign.parent.eq_ignore_ascii_case(parent) {
                continue;
            }
            let to = target(conn, &foreign)?;
            let places: Option<Vec<usize>> = to
                .iter()
                .map(|to| key.iter().position(|name| name.eq_ignore_ascii_case(to)))
                .collect();
            let Some(places) = places else {
                continue;
            };
            let equal: Vec<String> = foreign
                .from
                .iter()
                .enumerate()
                .map(|(at, from)| format!("{} = ?{}", quote(from), at + 1))
                .collect();
            let sql = format!(
                "SELECT 1 FROM {} WHERE {}",
                quote(&child),
                equal.join(" AND ")
            );
            for raw in table.spellings(&change.key) {
                let cells: Vec<Raw> = places
                    .iter()
                    .filter_map(|at| raw.get(*at).cloned())
                    .collect();
                if exists(conn, &sql, &cells)? {
                    let message = format!("rows of `{child}` still refer to it");
                    return Ok(Some(Verdict::rejected(Code::REFERENCE, message)));
                }
            }
        }
    }
    Ok(None)
}

fn foreign_keys(conn: &Connection, table: &str) -> rusqlite::Result<Vec<ForeignKey>> {
    let mut statement = conn.prepare_cached(
        "SELECT id, \"table\", \"from\", \"to\" FROM pragma_foreign_key_list(?1) ORDER BY id, seq",
    )?;
    let mut rows = statement.query([table])?;
    let mut found: Vec<(i64, ForeignKey)> = Vec::new();
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        if found.last().is_none_or(|(last, _)| *last != id) {
            let parent = row.get(1)?;
            found.push((
                id,
                ForeignKey {
                    parent,
                    ..ForeignKey::default()
                },
            ));
        }
        if let Some((_, foreign)) = found.last_mut() {
            foreign.from.push(row.get(2)?);
            foreign.to.extend(row.get::<_, Option<String>>(3)?);
        }
    }
    Ok(found.into_iter().map(|(_, foreign)| foreign).collect())
}

/// The columns that a foreign key points to.
fn target(conn: &Connection, foreign: &ForeignKey) -> rusqlite::Result<Vec<String>> {
    if !foreign.to.is_empty() {
        return Ok(foreign.to.clone());
    }
    let mut statement =
        conn.prepare_cached("SELECT name FROM pragma_table_xinfo(?1) WHERE pk > 0 ORDER BY pk")?;
    statement
        .query_map([&foreign.parent], |row| row.get(0))?
        .collect()
}

fn exists(conn: &Connection, sql: &str, key: &[Raw]) -> rusqlite::Result<bool> {
    conn.prepare(sql)?.exists(params_from_iter(key))
}

fn local_attribute(table: &EntityTable, column: Option<&String>) -> Option<String> {
    let column = column?;
    let columns = &table.entity.columns;
    let at = columns
        .iter()
        .position(|known| known.name.eq_ignore_ascii_case(column))?;
    Some(table.entity.local.attributes.get(at)?.name.clone())
}
