//! The statements by which a push finds and writes rows, and their parameters.

use afield_protocol::{Attributes, Change, Code, Op, Type, Value, Verdict};
use tokio_postgres::types::ToSql;

use super::super::cell::{Param, Wire};
use super::super::columns::ReadColumn;
use super::super::entity::EntityTable;
use super::super::error::lasting;
use super::super::key::RawKey;
use super::super::scope::{Asks, Bound, ScopeSql};
use crate::storage::lists::Asking;
use crate::storage::push::{Beside, FoundRow, Place, Purpose, made_by};
use crate::storage::{Caller, StorageError};

/// Where a row is: its key as it is stored.
pub(in super::super) type FoundKey = RawKey;

impl Place for RawKey {
    fn bytes(&self) -> Vec<u8> {
        Self::bytes(self)
    }
}

/// What locks a row that is to be changed: nobody else changes or deletes it, and rows that refer
/// to it are written all the same.
const LOCK: &str = " FOR NO KEY UPDATE OF r";

/// The statements of one entity. Their first parameters are the cells of a key.
#[derive(Debug)]
pub(in super::super) struct PushSql {
    know: String,
    change: String,
    mine: Option<Mine>,
    delete: String,
    before: Rule,
    after: Rule,
    /// The columns that decide about what rows become.
    deciding: Vec<Deciding>,
    /// What a statement returns of the row that it wrote.
    returning: String,
    key_is: String,
}

/// The row with a key, if it is in the caller's scope.
#[derive(Debug)]
struct Mine {
    know: String,
    change: String,
    asks: Asks,
}

/// A column that decides about what rows become.
#[derive(Debug)]
pub(in super::super) struct Deciding {
    /// The place of its attribute, if it is one.
    pub attribute: Option<usize>,
    pub column: ReadColumn,
    /// What a new row gets, in SQL.
    pub default: Option<String>,
}

/// A rule of the model about the rows that a user may write.
#[derive(Debug)]
enum Rule {
    /// Every row.
    Everyone,
    /// A statement that asks it of the row with a key.
    Asked(String, Asks),
}

impl PushSql {
    /// The statements over the table of an entity. `select` lists what is read of its row `r`,
    /// `key_is` says that this has a key of so many parts; the scopes are those of the entity, of
    /// what may be written, and of what rows may become.
    pub(in super::super) fn of(
        table: &str,
        (select, key_is, width): (&str, &str, usize),
        [scope, before, after]: [Option<&ScopeSql>; 3],
        deciding: Vec<Deciding>,
    ) -> Self {
        let compiled = |scope: &ScopeSql| scope.predicate("r", width + 1, "afield_list");
        let know = format!("SELECT {select} FROM {table} r WHERE {key_is}");
        let mine = scope.map(compiled).map(|asks| {
            let know = asks.statement(&format!("{know} AND {}", asks.sql));
            Mine {
                change: format!("{know}{LOCK}"),
                know,
                asks,
            }
        });
        let rule = |scope: Option<&ScopeSql>| match scope.map(compiled) {
            None => Rule::Everyone,
            Some(asks) => {
                let exists = format!("SELECT FROM {table} r WHERE {key_is} AND {}", asks.sql);
                Rule::Asked(asks.statement(&format!("SELECT EXISTS ({exists})")), asks)
            }
        };
        Self {
            before: rule(before),
            after: rule(after),
            mine,
            change: format!("{know}{LOCK}"),
            know,
            delete: format!("DELETE FROM {table} r WHERE {key_is} RETURNING true"),
            deciding,
            returning: select.to_owned(),
            key_is: key_is.to_owned(),
        }
    }

    /// The row with a key.
    pub(super) fn find(&self, to: Purpose) -> &str {
        match to {
            Purpose::Know => &self.know,
            Purpose::Change => &self.change,
        }
    }

    /// The row with a key, if it is in the caller's scope; and the parameters behind the key.
    pub(super) fn find_mine(&self, to: Purpose, caller: &Caller) -> (&str, Vec<Bound>) {
        match (&self.mine, to) {
            (None, to) => (self.find(to), Vec::new()),
            (Some(mine), Purpose::Know) => (&mine.know, bound(&mine.asks, caller)),
            (Some(mine), Purpose::Change) => (&mine.change, bound(&mine.asks, caller)),
        }
    }

    /// Whether the caller may change the row with a key; `None` if he may change all.
    pub(super) fn may_write(&self, caller: &Caller) -> Option<(&str, Vec<Bound>)> {
        self.before.asked(caller)
    }

    /// Whether the caller may leave the row with a key behind; `None` if he may leave all.
    pub(super) fn may_become(&self, caller: &Caller) -> Option<(&str, Vec<Bound>)> {
        self.after.asked(caller)
    }

    /// Removes the row with a key.
    pub(super) fn delete(&self) -> &str {
        &self.delete
    }
}

/// Whether the caller could leave behind the row that a change would make, and its parameters;
/// `None` if he may leave all.
pub(super) fn could_become(
    table: &EntityTable,
    caller: &Caller,
    row: Option<&FoundRow<FoundKey>>,
    change: &Change,
    set: &Attributes,
) -> Option<(String, Vec<Bound>)> {
    let PushSql {
        after: Rule::Asked(_, asks),
        key_is,
        deciding,
        ..
    } = table.push_sql()
    else {
        return None;
    };
    let mut cells = match row {
        Some(row) => stored(table, &row.place),
        None => (table.key.iter().zip(&change.key))
            .map(|(key, value)| Box::new(key.column.parameter(value)) as Bound)
            .collect(),
    };
    cells.extend(bound(asks, caller));
    let mut would_be = Vec::new();
    for Deciding {
        attribute,
        column,
        default,
    } in deciding
    {
        let name = attribute.and_then(|at| table.entity.local.attributes.get(at));
        let given = attribute.and_then(|at| change.key.get(at));
        let value = name.and_then(|it| set.get(&it.name)).or(given);
        let cell = match (value, row, default) {
            (Some(value), ..) => {
                cells.push(Box::new(column.parameter(value)));
                hole(column, cells.len())
            }
            (None, Some(_), _) => format!("r.{}", column.name),
            (None, None, Some(default)) => format!("({default})"),
            (None, None, None) => "NULL".to_owned(),
        };
        would_be.push(format!("({cell})::{} AS {}", column.sql_type, column.name));
    }
    let from = match row {
        Some(_) => format!("{} r WHERE {key_is}", table.name),
        // Every parameter must stand somewhere.
        None => {
            let named = table.key.iter().enumerate().map(|(at, key)| {
                let cell = hole(&key.column, at + 1);
                format!("({cell})::{} IS NULL", key.column.sql_type)
            });
            let named: Vec<String> = named.collect();
            format!("(SELECT) AS one WHERE true OR {}", named.join(" OR "))
        }
    };
    let exists = format!(
        "SELECT FROM (SELECT {} FROM {from}) AS r WHERE {}",
        would_be.join(", "),
        asks.sql
    );
    Some((asks.statement(&format!("SELECT EXISTS ({exists})")), cells))
}

impl Rule {
    fn asked(&self, caller: &Caller) -> Option<(&str, Vec<Bound>)> {
        match self {
            Self::Everyone => None,
            Self::Asked(sql, asks) => Some((sql, bound(asks, caller))),
        }
    }
}

/// Rights never depend on what a device happens to have open.
pub(super) fn bound(asks: &Asks, caller: &Caller) -> Vec<Bound> {
    asks.bound(Asking {
        caller,
        chosen: &[],
        values_max: 0,
    })
}

/// Parameters as a statement takes them.
pub(super) fn borrowed(parameters: &[Bound]) -> Vec<&(dyn ToSql + Sync)> {
    fn borrowed(one: &Bound) -> &(dyn ToSql + Sync) {
        one.as_ref()
    }
    parameters.iter().map(borrowed).collect()
}

/// The cells of a canonical key; `None` if no row can have it.
pub(super) fn parameters(table: &EntityTable, key: &[Value]) -> Option<Vec<Bound>> {
    let cells = table.named(key)?.into_iter();
    Some(cells.map(|cell| Box::new(cell) as Bound).collect())
}

/// The cells of a stored key.
pub(super) fn stored(table: &EntityTable, place: &FoundKey) -> Vec<Bound> {
    let columns = table.key.iter().zip(&place.0);
    columns
        .map(|(key, cell)| Box::new(key.column.stored(cell)) as Bound)
        .collect()
}

/// What is read of a row `r` for a push: its attributes that are no lookups, then whether it counts
/// as deleted, if that is none of them.
pub(in super::super) fn select(columns: &[ReadColumn], beside: Option<&ReadColumn>) -> String {
    let columns: Vec<String> = (columns.iter().chain(beside))
        .map(|column| column.read("r"))
        .collect();
    columns.join(", ")
}

/// Where a value stands in a statement that writes a column.
fn hole(column: &ReadColumn, number: usize) -> String {
    match column.form.wire {
        Wire::Other => format!("${number}::pg_catalog.text::{}", column.sql_type),
        _ => format!("${number}"),
    }
}

/// What makes a row, and its parameters.
pub(super) fn insert(
    table: &EntityTable,
    change: &Change,
    set: &Attributes,
) -> Result<(String, Vec<Bound>), StorageError> {
    let (mut names, mut holes, mut cells) = (Vec::new(), Vec::new(), Vec::<Bound>::new());
    let given = match made_by(table, change) {
        Some(_) => &[],
        None => change.key.as_slice(),
    };
    for (at, column) in table.columns.iter().enumerate() {
        let name = table.entity.local.attributes.get(at).map(|it| &it.name);
        let value = given.get(at).or_else(|| set.get(name?));
        if let Some(value) = value {
            cells.push(Box::new(parameter(column, value)?));
            names.push(column.name.as_str());
            holes.push(hole(column, cells.len()));
        }
    }
    let overriding = match table.learned().is_always_numbered && !given.is_empty() {
        true => " OVERRIDING SYSTEM VALUE",
        false => "",
    };
    let values = match names.is_empty() {
        true => "DEFAULT VALUES".to_owned(),
        false => format!(
            "({}){overriding} VALUES ({})",
            names.join(", "),
            holes.join(", ")
        ),
    };
    let returning = &table.push_sql().returning;
    let sql = format!(
        "INSERT INTO {} AS r {values} RETURNING {returning}",
        table.name
    );
    Ok((sql, cells))
}

/// What writes the values of a change to a row, and a cell beside them, and its parameters; `None`
/// if nothing is to be written.
pub(super) fn update(
    table: &EntityTable,
    row: &FoundRow<FoundKey>,
    set: &Attributes,
    beside: Option<Beside<'_>>,
) -> Result<Option<(String, Vec<Bound>)>, StorageError> {
    let mut cells = stored(table, &row.place);
    let mut assignments = Vec::new();
    for (at, column) in table.columns.iter().enumerate() {
        let name = table.entity.local.attributes.get(at).map(|it| &it.name);
        // A cell whose canonical form does not change keeps its spelling.
        let value = name
            .and_then(|name| set.get(name))
            .filter(|value| Some(*value) != row.values.get(at));
        if let Some(value) = value {
            cells.push(Box::new(parameter(column, value)?));
            assignments.push(format!("{} = {}", column.name, hole(column, cells.len())));
        }
    }
    if let Some(Beside { value, .. }) = beside
        && let Some(column) = table.deletion.as_ref().map(|deletion| &deletion.column)
    {
        cells.push(Box::new(parameter(column, value)?));
        assignments.push(format!("{} = {}", column.name, hole(column, cells.len())));
    }
    if assignments.is_empty() {
        return Ok(None);
    }
    let PushSql {
        returning, key_is, ..
    } = table.push_sql();
    let sql = format!(
        "UPDATE {} r SET {} WHERE {key_is} RETURNING {returning}",
        table.name,
        assignments.join(", ")
    );
    Ok(Some((sql, cells)))
}

fn parameter(column: &ReadColumn, value: &Value) -> Result<Param, StorageError> {
    let cell = column.parameter(value);
    cell.ok_or_else(|| lasting(format!("a value that {} cannot hold", column.name)))
}

/// The refusal of a change of which the columns would make something else. What the row has
/// already is not written.
pub(super) fn unkept(
    table: &EntityTable,
    change: &Change,
    row: Option<&FoundRow<FoundKey>>,
    set: &Attributes,
) -> Option<Verdict> {
    let local = &table.entity.local;
    let is_new = change.op == Op::Create && row.is_none();
    let has_key = is_new && made_by(table, change).is_none();
    let attributes = local.attributes.iter().enumerate();
    for (at, attribute) in attributes.filter(|(_, attribute)| !attribute.lookup) {
        let value = match at < local.key_width {
            true => change.key.get(at).filter(|_| has_key),
            false => set.get(&attribute.name),
        };
        let has = row.and_then(|row| row.values.get(at));
        let Some(value) = value.filter(|value| has != Some(*value)) else {
            continue;
        };
        if let Some(reason) = refuses(table, at, value) {
            return Some(Verdict {
                attribute: Some(attribute.name.clone()),
                ..Verdict::rejected(
                    Code::TYPE_MISMATCH,
                    format!("`{}` {reason}", attribute.name),
                )
            });
        }
    }
    None
}

/// Why a value cannot be in a column.
fn refuses(table: &EntityTable, at: usize, value: &Value) -> Option<String> {
    let column = table.columns.get(at)?;
    let scale = table.entity.columns.get(at)?.scale;
    if let (Type::Decimal, Value::Text(text), Some(scale)) = (column.form.kind, value, scale) {
        let digits = text
            .split_once('.')
            .map_or(0, |(_, fraction)| fraction.len());
        // PostgreSQL rounds, and says nothing.
        if usize::try_from(scale).is_ok_and(|scale| digits > scale) {
            return Some(format!(
                "expects a decimal number with at most {scale} digits behind the point"
            ));
        }
    }
    match column.parameter(value) {
        Some(_) => None,
        None => match column.form.write(value) {
            Err(error) => Some(format!("cannot have this value: {error}")),
            Ok(_) => Some("has a zero byte, which PostgreSQL cannot store".to_owned()),
        },
    }
}

/// A decimal with the zeros at its end that a column with this many digits behind the point gives
/// it.
pub(in super::super) fn spelled(kind: Type, scale: Option<u32>, value: &Value) -> Option<Value> {
    let (Type::Decimal, Value::Text(text)) = (kind, value) else {
        return None;
    };
    let scale = usize::try_from(scale?).ok()?;
    if !kind.accepts(value.as_ref()) || text.bytes().any(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let kept = fraction.trim_end_matches('0').len().max(scale);
    let fraction: String = fraction.chars().take(kept).collect();
    let zeros = "0".repeat(kept.saturating_sub(fraction.len()));
    Some(Value::Text(match kept {
        0 => whole.to_owned(),
        _ => format!("{whole}.{fraction}{zeros}"),
    }))
}
