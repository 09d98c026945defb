//! Asks PostgreSQL about the query of a scope: it is prepared and planned, and never run.
//!
//! What a query reads is what it holds locks on once it is planned, views and what stands behind
//! them included; that is told by the server and cannot be hidden by a clever spelling. What a
//! function of the team's reads inside is told only of the simplest ones in SQL.
//!
//! Names are looked up by the search path of the role, as in any other session of it.

pub mod parameters;

use std::collections::BTreeSet;

use serde_json::Value as Json;
use tokio_postgres::error::ErrorPosition;
use tokio_postgres::{Client, SimpleQueryMessage, Statement};

use self::parameters::{Numbered, numbered};
use super::connect::told;
use super::name::TableName;
use crate::catalog::{QueryColumn, QueryProblem, QueryShape};

/// The schema of Afield's own bookkeeping.
const OWN_SCHEMA: &str = "afield";

const ONLY_QUERIES: &str =
    "does something other than reading; write one SELECT, which changes nothing";

/// What a query finds and needs. Nothing is read, nothing can be written.
///
/// # Errors
/// It is no query, or more than one, or would change something.
pub async fn describe(client: &Client, sql: &str) -> Result<QueryShape, QueryProblem> {
    let numbered = numbered(sql).map_err(|(at, message)| QueryProblem {
        at: Some(at),
        message,
    })?;
    let begun = client.batch_execute("BEGIN READ ONLY").await;
    begun.map_err(|error| refused(&error))?;
    let shape = shape(client, &numbered).await;
    let ended = client.batch_execute("ROLLBACK").await;
    let shape = shape?;
    ended.map_err(|error| refused(&error))?;
    Ok(shape)
}

async fn shape(client: &Client, numbered: &Numbered) -> Result<QueryShape, QueryProblem> {
    let prepared = client.prepare(&numbered.sql).await;
    let statement = prepared.map_err(|error| QueryProblem {
        at: place(&error).map(|at| numbered.place(at)),
        ..refused(&error)
    })?;
    if statement.columns().is_empty() {
        return Err(problem("finds nothing; write a SELECT of one column"));
    }
    // Pulls put it into larger statements; what writes cannot stand there.
    let inside = format!("SELECT * FROM (\n{}\n) AS scope", numbered.sql);
    if client.prepare(&inside).await.is_err() {
        return Err(problem(
            "cannot stand in parentheses as a part of a larger query; write one plain SELECT, \
             which changes nothing",
        ));
    }
    let columns = columns(client, &statement).await?;
    let scanned = scanned(client, numbered).await?;
    // The plan has put simple functions into the query, so that what they read is locked too.
    let tables = tables(client).await?;
    if let Some(own) = tables.iter().find(|table| table.schema == OWN_SCHEMA) {
        return Err(problem(&format!(
            "reads Afield's own bookkeeping (`{own}`), which changes with every sync; read the \
             team's tables"
        )));
    }
    let mut parameters: Vec<String> = numbered.names.iter().map(|it| format!(":{it}")).collect();
    parameters.sort_unstable();
    let mut tables: Vec<String> = tables.iter().map(ToString::to_string).collect();
    tables.sort_unstable();
    Ok(QueryShape {
        columns,
        parameters,
        tables,
        scanned,
    })
}

/// What this transaction has locked: nothing but what its one statement reads. A partition stands
/// for the table that it is a part of.
async fn tables(client: &Client) -> Result<BTreeSet<TableName>, QueryProblem> {
    let sql = "
        SELECT DISTINCT n.nspname::text, c.relname::text
        FROM pg_catalog.pg_locks l
        JOIN pg_catalog.pg_class r ON r.oid = l.relation
        JOIN pg_catalog.pg_class c
            ON c.oid = coalesce(pg_catalog.pg_partition_root(r.oid)::oid, r.oid)
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation'
            AND l.database = (SELECT d.oid FROM pg_catalog.pg_database d
                              WHERE d.datname = pg_catalog.current_database())
            AND r.relkind IN ('r', 'p', 'v', 'm', 'f')
            AND n.nspname NOT IN ('pg_catalog', 'information_schema')";
    let rows = client.query(sql, &[]).await;
    let rows = rows.map_err(|error| refused(&error))?;
    let name = |row: &tokio_postgres::Row| {
        TableName::new(row.get::<_, String>(0), row.get::<_, String>(1))
    };
    Ok(rows.iter().map(name).collect())
}

async fn columns(client: &Client, statement: &Statement) -> Result<Vec<QueryColumn>, QueryProblem> {
    let sql = "
        SELECT n.nspname::text, c.relname::text, a.attname::text
        FROM pg_catalog.pg_attribute a
        JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE a.attrelid = $1 AND a.attnum = $2";
    let mut columns = Vec::new();
    for column in statement.columns() {
        let mut origin = None;
        if let (Some(table), Some(number)) = (column.table_oid(), column.column_id()) {
            let row = client.query_opt(sql, &[&table, &number]).await;
            origin = row.map_err(|error| refused(&error))?.map(|row| {
                let name = TableName::new(row.get::<_, String>(0), row.get::<_, String>(1));
                (name.to_string(), row.get(2))
            });
        }
        columns.push(QueryColumn {
            name: column.name().to_owned(),
            origin,
        });
    }
    Ok(columns)
}

/// What the plan reads as a whole, however small it is: reading a small table whole is right, and
/// says nothing about the day when it is large.
async fn scanned(client: &Client, numbered: &Numbered) -> Result<Vec<String>, QueryProblem> {
    let settings = "SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off";
    let planned = async {
        client.batch_execute(settings).await?;
        // By the protocol that takes one statement alone.
        let prepare = format!("PREPARE afield_scope AS\n{}", numbered.sql);
        client.execute(&prepare, &[]).await?;
        let nulls = vec!["NULL"; numbered.names.len()].join(", ");
        let given = match numbered.names.is_empty() {
            true => String::new(),
            false => format!("({nulls})"),
        };
        let explain = format!("EXPLAIN (FORMAT JSON) EXECUTE afield_scope{given}");
        let plan = client.simple_query(&explain).await?;
        client.batch_execute("DEALLOCATE afield_scope").await?;
        Ok(plan)
    };
    let planned: Result<_, tokio_postgres::Error> = planned.await;
    let messages = planned.map_err(|error| refused(&error))?;
    let text: String = (messages.iter())
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        })
        .collect();
    let plan: Json = serde_json::from_str(&text).unwrap_or_default();
    let mut found = Vec::new();
    walk(&plan, &mut found)?;
    Ok(found)
}

fn walk(node: &Json, found: &mut Vec<String>) -> Result<(), QueryProblem> {
    let text = |name: &str| node.get(name).and_then(Json::as_str);
    let kind = text("Node Type").unwrap_or_default();
    if kind == "LockRows" || kind == "ModifyTable" {
        return Err(problem(ONLY_QUERIES));
    }
    let has_condition = ["Index Cond", "TID Cond"]
        .iter()
        .any(|it| node.get(it).is_some());
    if let Some(name) = text("Alias").or_else(|| text("Relation Name"))
        && text("Relation Name").is_some()
        && !has_condition
        && kind != "Bitmap Heap Scan"
        && !found.iter().any(|known| known == name)
    {
        found.push(name.to_owned());
    }
    let inner: Vec<&Json> = match node {
        Json::Array(all) => all.iter().collect(),
        Json::Object(all) => all
            .values()
            .filter(|one| one.is_array() || one.is_object())
            .collect(),
        _ => Vec::new(),
    };
    inner.into_iter().try_for_each(|one| walk(one, found))
}

/// Where in the text the server sees the problem: it counts characters, from 1.
fn place(error: &tokio_postgres::Error) -> Option<usize> {
    match error.as_db_error()?.position()? {
        ErrorPosition::Original(at) => usize::try_from(*at).ok()?.checked_sub(1),
        ErrorPosition::Internal { .. } => None,
    }
}

fn refused(error: &tokio_postgres::Error) -> QueryProblem {
    let several = "cannot insert multiple commands";
    match error.as_db_error() {
        Some(error) if error.message().starts_with(several) => problem(
            "holds several statements; write one SELECT, and combine with UNION what must be",
        ),
        _ => problem(&told(error)),
    }
}

fn problem(message: &str) -> QueryProblem {
    QueryProblem {
        at: None,
        message: message.to_owned(),
    }
}
