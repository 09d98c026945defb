//! What a scope must be like so that its values can be compared exactly: refusals, and warnings
//! about indexes that are missing.

use rusqlite::Connection;

use super::super::error::{While, lasting};
use super::super::schema::{Affinity, Column, TableSchema};
use super::super::sql_text::quote;
use super::bare;
use crate::resolved::{Condition, Holds, Hop, NamedScope, Scope, ServerEntity};
use crate::storage::StorageError;

/// The columns of the table that a scope compares, each once, as the table names them.
pub(in super::super) fn columns(schema: &TableSchema, scope: &Scope) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for condition in scope.conditions() {
        let name = schema.column(&condition.column);
        let name = name.map_or(condition.column.as_str(), |column| column.name.as_str());
        if !found.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            found.push(name.to_owned());
        }
    }
    found
}

/// Fails where devices are told of another scope.
pub(super) fn told(entity: &ServerEntity) -> Result<(), StorageError> {
    if entity.local.scope == entity.scope.widths() {
        return Ok(());
    }
    let name = &entity.local.name;
    Err(lasting(format!(
        "`{name}`: what devices are told of its scope is not its scope"
    )))
}

/// Fails on what cannot be compared exactly, or does not exist; `whose` begins the message.
pub(super) fn check(
    conn: &Connection,
    scopes: &[NamedScope],
    scope: &Scope,
    schema: &TableSchema,
    whose: &str,
) -> Result<(), StorageError> {
    for condition in scope.conditions() {
        condition_fits(conn, scopes, whose, schema, condition)?;
    }
    Ok(())
}

fn condition_fits(
    conn: &Connection,
    scopes: &[NamedScope],
    whose: &str,
    schema: &TableSchema,
    condition: &Condition,
) -> Result<(), StorageError> {
    let (last, last_name) = steps(conn, whose, schema, &condition.column, &condition.path)?;
    match &condition.holds {
        Holds::User => Ok(()),
        Holds::Claim(claim) => check_claim(whose, claim),
        Holds::Scope(scope) => {
            let named = scopes.iter().find(|named| named.name == *scope);
            let named = named
                .ok_or_else(|| lasting(format!("{whose}: the model has no scope `{scope}`")))?;
            match query_affinity(conn, named)? {
                Some(affinity) => {
                    let query = format!("scope `{scope}`");
                    same_kind(whose, (&last_name, last.affinity), (&query, affinity))
                }
                None => Ok(()),
            }
        }
    }
}

/// Fails unless each step of a lookup's path is an exact comparison; what stands in its last
/// column is only shown.
pub(in super::super) fn path_is_exact(
    conn: &Connection,
    entity: &str,
    schema: &TableSchema,
    column: &str,
    path: &[Hop],
) -> Result<(), StorageError> {
    let of = format!("`{entity}`: a lookup");
    let Some((last, before)) = path.split_last() else {
        return Err(lasting(format!("{of} goes through no foreign key")));
    };
    let (from, from_name) = steps(conn, &of, schema, column, before)?;
    step(conn, &of, (&from_name, &from), last)?;
    Ok(())
}

/// The column that a path ends in, and its name, where each step compares exactly.
fn steps(
    conn: &Connection,
    of: &str,
    schema: &TableSchema,
    column: &str,
    path: &[Hop],
) -> Result<(Column, String), StorageError> {
    let mut last = exact(of, schema, column)?;
    let mut last_name = format!("{}.{}", schema.name, last.name);
    for hop in path {
        let table = step(conn, of, (&last_name, &last), hop)?;
        last = exact(of, &table, &hop.column)?;
        last_name = format!("{}.{}", table.name, last.name);
    }
    Ok((last, last_name))
}

/// The table that a step leads to.
fn step(
    conn: &Connection,
    of: &str,
    (name, column): (&str, &Column),
    hop: &Hop,
) -> Result<TableSchema, StorageError> {
    let table = TableSchema::read(conn, &hop.table)?;
    let key = exact(of, &table, &hop.key)?;
    let key_name = format!("{}.{}", table.name, key.name);
    same_kind(of, (name, column.affinity), (&key_name, key.affinity))?;
    Ok(table)
}

/// The name stands in SQL as part of a parameter's name.
fn check_claim(whose: &str, claim: &str) -> Result<(), StorageError> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    if !claim.is_empty() && claim.chars().all(is_word) {
        return Ok(());
    }
    Err(lasting(format!(
        "{whose}: the claim `{}` must be named with letters, digits and `_`",
        claim.escape_debug()
    )))
}

/// The column, which compares byte by byte.
fn exact(whose: &str, schema: &TableSchema, column: &str) -> Result<Column, StorageError> {
    let table = &schema.name;
    let found = schema.column(column).ok_or_else(|| {
        lasting(format!(
            "{whose} names `{table}.{column}`, which does not exist"
        ))
    })?;
    if found.collation.eq_ignore_ascii_case("BINARY") {
        return Ok(found.clone());
    }
    Err(lasting(format!(
        "{whose} compares `{table}.{column}`, whose collation is {}: values could \
         be equal in the database that are not for a device. Give the column the collation \
         BINARY, or use another column",
        found.collation
    )))
}

/// SQLite converts text and numbers when it compares columns of different kinds, so that what is
/// equal depends on who asks.
fn same_kind(
    whose: &str,
    (one, is): (&str, Affinity),
    (other, as_is): (&str, Affinity),
) -> Result<(), StorageError> {
    if kind(is) == kind(as_is) {
        return Ok(());
    }
    Err(lasting(format!(
        "{whose} compares `{one}` ({}) with `{other}` ({}); give both columns the \
         same type, or CAST in the query of the scope",
        is.as_sql(),
        as_is.as_sql()
    )))
}

fn kind(affinity: Affinity) -> &'static str {
    match affinity {
        Affinity::Text => "text",
        Affinity::Blob => "any",
        Affinity::Integer | Affinity::Real | Affinity::Numeric => "number",
    }
}

/// The affinity of the one column of a scope's query, where it is a column of a table.
fn query_affinity(conn: &Connection, scope: &NamedScope) -> Result<Option<Affinity>, StorageError> {
    let name = &scope.name;
    let statement = conn
        .prepare(bare(&scope.query))
        .while_(&format!("reading the query of the scope `{name}`"))?;
    if statement.column_count() != 1 || !statement.readonly() {
        return Err(lasting(format!(
            "the query of the scope `{name}` must be a SELECT of one column"
        )));
    }
    for at in 1..=statement.parameter_count() {
        let parameter = statement.parameter_name(at).unwrap_or("?");
        let is_asked = scope.chosen.is_some() && parameter == ":value";
        if !is_asked && parameter != ":user" && !parameter.starts_with(":claim_") {
            return Err(lasting(format!(
                "the query of the scope `{name}` has the parameter `{parameter}`; there are \
                 `:user` and `:claim_NAME`"
            )));
        }
    }
    if scope.chosen.is_some() {
        // What it finds is an answer, and no value.
        return Ok(None);
    }
    let mut columns = statement.columns_with_metadata();
    let origin = columns.next().and_then(|column| {
        let table = column.table_name()?.to_owned();
        Some((table, column.origin_name()?.to_owned()))
    });
    let Some((table, column)) = origin else {
        return Ok(None);
    };
    // Of what is no ordinary table nothing is known.
    let schema = TableSchema::read(conn, &table).ok();
    let column = schema.as_ref().and_then(|schema| schema.column(&column));
    Ok(column.map(|column| column.affinity))
}

/// What is slow for want of an index, each with the statement that would make it.
pub(in super::super) fn missing_indexes(
    conn: &Connection,
    entity: &ServerEntity,
    schema: &TableSchema,
) -> Result<Vec<String>, StorageError> {
    let local = &entity.local;
    let key: Vec<String> = (entity.columns.iter().take(local.key_width))
        .map(|column| column.name.clone())
        .collect();
    let mut found = Vec::new();
    let mut add = |column: &str, missing: Option<String>| {
        found.extend(missing.map(|index| {
            let name = &local.name;
            format!("the scope of `{name}` has no index to find rows by `{column}`: {index}")
        }));
    };
    for column in columns(schema, &entity.scope) {
        add(&column, missing_index(conn, &schema.name, &column, &key)?);
    }
    for hop in entity
        .scope
        .conditions()
        .flat_map(|condition| &condition.path)
    {
        let missing = missing_index(conn, &hop.table, &hop.column, &[])?;
        add(&hop.column, missing);
    }
    found.dedup();
    Ok(found)
}

/// The statement that makes an index to find rows of `table` by `column`, in the order of `key`,
/// unless there is one.
pub(in super::super) fn missing_index(
    conn: &Connection,
    table: &str,
    column: &str,
    key: &[String],
) -> Result<Option<String>, StorageError> {
    let doing = "looking for an index";
    let order: Vec<String> = key.iter().map(|key| quote(key)).collect();
    let order = match order.as_slice() {
        [] => String::new(),
        some => format!(" ORDER BY {}", some.join(", ")),
    };
    let sql = format!(
        "EXPLAIN QUERY PLAN SELECT * FROM {} WHERE {} = ?1{order}",
        quote(table),
        quote(column)
    );
    let mut statement = conn.prepare(&sql).while_(doing)?;
    let plan = statement
        .query_map([""], |row| row.get::<_, String>(3))
        .and_then(Iterator::collect::<rusqlite::Result<Vec<_>>>)
        .while_(doing)?
        .join("; ");
    if plan.starts_with("SEARCH") && !plan.contains("TEMP B-TREE") {
        return Ok(None);
    }
    let others = key.iter().filter(|key| !key.eq_ignore_ascii_case(column));
    let wanted: Vec<&str> = std::iter::once(column)
        .chain(others.map(String::as_str))
        .collect();
    let listed: Vec<String> = wanted.iter().map(|column| quote(column)).collect();
    Ok(Some(format!(
        "CREATE INDEX {} ON {} ({})",
        quote(&format!("{table}_{}", wanted.join("_"))),
        quote(table),
        listed.join(", ")
    )))
}
