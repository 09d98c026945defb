//! Reading and writing rows.

use afield::native::Client;
use afield::{Params, Rows};
use afield_protocol::codec::json;
use afield_protocol::{Type, Value};
use clap::Args;
use serde_json::json;

use super::answer::{key_json, kinds, rows_json};
use super::table::table;
use super::{done, values};
use crate::failure::Failure;
use crate::output::Output;

/// Rows that `list` shows to a person who does not say how many.
const LIST_ROWS: u64 = 100;

/// `afield device STORE list`.
#[derive(Args, Debug)]
pub(super) struct ListArgs {
    /// The entity.
    entity: String,
    /// Only rows for which this SQL is true.
    #[arg(long = "where", value_name = "SQL")]
    filter: Option<String>,
    /// At most so many rows; 0 for all. Without it 100, or all with --json.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

/// `afield device STORE get` and `delete`.
#[derive(Args, Debug)]
pub(super) struct RowArgs {
    /// The entity.
    entity: String,
    /// The identifier; its parts in order, if it has several.
    #[arg(required = true, value_name = "KEY", allow_negative_numbers = true)]
    key: Vec<String>,
}

/// `afield device STORE create`.
#[derive(Args, Debug)]
pub(super) struct CreateArgs {
    /// The entity.
    entity: String,
    /// Values, the identifier's included.
    #[arg(value_name = "NAME=VALUE")]
    values: Vec<String>,
}

/// `afield device STORE update`.
#[derive(Args, Debug)]
pub(super) struct UpdateArgs {
    /// The entity.
    entity: String,
    /// The identifier (its parts in order, if it has several), then values.
    #[arg(
        required = true,
        value_name = "KEY… NAME=VALUE…",
        allow_negative_numbers = true
    )]
    words: Vec<String>,
}

/// `afield device STORE sql`.
#[derive(Args, Debug)]
pub(super) struct SqlArgs {
    /// A query; or statements, separated by `;`, that are one transaction.
    sql: String,
}

pub(super) fn list(client: &Client, args: &ListArgs, out: &Output) -> Result<(), Failure> {
    let entity = client.store().entity(&args.entity)?;
    let name = quoted(&entity.name);
    let filter = match &args.filter {
        Some(filter) => format!(" WHERE ({filter}\n)"),
        None => String::new(),
    };
    let limit = match args.limit {
        Some(0) => None,
        None if out.is_json() => None,
        limit => Some(limit.unwrap_or(LIST_ROWS)),
    };
    let keys: Vec<_> = entity.key().iter().map(|a| quoted(&a.name)).collect();
    let bound = limit.map_or(String::new(), |limit| format!(" LIMIT {limit}"));
    let sql = format!(
        "SELECT * FROM {name}{filter} ORDER BY {}{bound}",
        keys.join(", ")
    );
    let rows = client.store().query(&sql, &Params::none())?;
    show(client, &sql, &rows, out);
    if limit.is_some_and(|limit| rows.rows.len() as u64 == limit) && !out.is_json() {
        let sql = format!("SELECT count(*) FROM {name}{filter}");
        let all = client.store().query(&sql, &Params::none())?;
        if let Some([Value::Integer(all)]) = all.rows.first().map(Vec::as_slice)
            && all.unsigned_abs() > rows.rows.len() as u64
        {
            out.note(&format!(
                "{} of {all} rows; --limit 0 shows all",
                rows.rows.len()
            ));
        }
    }
    Ok(())
}

pub(super) fn get(client: &Client, args: &RowArgs, out: &Output) -> Result<(), Failure> {
    let entity = client.store().entity(&args.entity)?;
    let key = values::whole_key(&entity, &args.key)?;
    let Some(row) = client.store().get(&entity.name, &key)? else {
        let message = format!(
            "{} {} is not on this device",
            entity.name,
            args.key.join(" ")
        );
        return Err(Failure::refused("not-found", message));
    };
    out.json(&json!({
        "id": key_json(Some(&entity), &key),
        "row": json::from_attributes(Some(&entity), &row),
    }));
    let width = entity
        .attributes
        .iter()
        .map(|a| a.name.chars().count())
        .max();
    for attribute in &entity.attributes {
        let value = row
            .get(&attribute.name)
            .map_or(String::new(), |value| shown(Some(attribute.kind), value));
        let pad = width
            .unwrap_or(0)
            .saturating_sub(attribute.name.chars().count());
        out.say(&format!("{}{}  {value}", attribute.name, " ".repeat(pad)));
    }
    Ok(())
}

pub(super) fn create(client: &Client, args: &CreateArgs, out: &Output) -> Result<(), Failure> {
    let entity = client.store().entity(&args.entity)?;
    let row = values::assignments(&entity, &args.values)?;
    let key = client.store().create(&entity.name, &row)?;
    let id = key_json(Some(&entity), &key);
    done(
        out,
        &id,
        &format!("Created {} {}.", entity.name, words(&key)),
    );
    Ok(())
}

pub(super) fn update(client: &Client, args: &UpdateArgs, out: &Output) -> Result<(), Failure> {
    let entity = client.store().entity(&args.entity)?;
    let (key, rest) = values::key(&entity, &args.words)?;
    let set = values::assignments(&entity, rest)?;
    if set.is_empty() {
        return Err(Failure::usage("say what to set, as NAME=VALUE"));
    }
    client.store().update(&entity.name, &key, &set)?;
    let id = key_json(Some(&entity), &key);
    done(
        out,
        &id,
        &format!("Updated {} {}.", entity.name, words(&key)),
    );
    Ok(())
}

pub(super) fn delete(client: &Client, args: &RowArgs, out: &Output) -> Result<(), Failure> {
    let entity = client.store().entity(&args.entity)?;
    let key = values::whole_key(&entity, &args.key)?;
    client.store().delete(&entity.name, &key)?;
    let id = key_json(Some(&entity), &key);
    done(
        out,
        &id,
        &format!("Deleted {} {}.", entity.name, words(&key)),
    );
    Ok(())
}

pub(super) fn sql(client: &Client, args: &SqlArgs, out: &Output) -> Result<(), Failure> {
    let mut store = client.store();
    if store.is_query(&args.sql) {
        let rows = store.query(&args.sql, &Params::none())?;
        drop(store);
        show(client, &args.sql, &rows, out);
        return Ok(());
    }
    let executed = store.transaction(|tx| tx.execute(&args.sql, &Params::none()))?;
    let rows = executed.rows_changed;
    out.json(&json!({ "rows_changed": rows, "last_insert_id": executed.last_insert_id }));
    out.say(&match rows {
        1 => "1 row changed.".to_owned(),
        rows => format!("{rows} rows changed."),
    });
    Ok(())
}

fn show(client: &Client, sql: &str, rows: &Rows, out: &Output) {
    if out.is_json() {
        let cells = rows_json(&mut client.store(), sql, rows);
        out.json(&json!({ "columns": rows.columns, "rows": cells }));
        return;
    }
    if rows.rows.is_empty() {
        out.say("No rows.");
        return;
    }
    let columns: Vec<_> = rows.columns.iter().map(String::as_str).collect();
    let kinds = kinds(&mut client.store(), sql);
    let cell = |(at, value): (usize, &Value)| match value {
        Value::Null => String::new(),
        value => shown(kinds.get(at).copied().flatten(), value),
    };
    let row = |row: &Vec<Value>| row.iter().enumerate().map(cell).collect();
    let cells: Vec<Vec<_>> = rows.rows.iter().map(row).collect();
    out.say(&table(&columns, &cells));
}

/// A value for people.
pub(super) fn shown(kind: Option<Type>, value: &Value) -> String {
    match (kind, value) {
        (Some(Type::Boolean), Value::Integer(0)) => "false".to_owned(),
        (Some(Type::Boolean), Value::Integer(1)) => "true".to_owned(),
        (_, value) => value.to_string(),
    }
}

/// An identifier for people.
pub(crate) fn words(key: &[Value]) -> String {
    let parts: Vec<_> = key.iter().map(ToString::to_string).collect();
    parts.join(" ")
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
