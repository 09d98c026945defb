//! Scopes: which rows of an entity are whose, as SQL over the team's tables.
//!
//! ```text
//!   condition:  row's own column ── path (keys of the rows it leads through) ── what is held
//!   compiled:   "company_id"  IN  (SELECT "id" FROM "company" WHERE "region_id" IN (query))
//! ```
//!
//! What is held is asked in the snapshot of each pull. Values are brought into the form in which
//! the row's column would store them, so that comparing them here is comparing them in SQL;
//! where that cannot be promised the model is refused.

mod check;
mod chosen;
mod marks;
pub(super) mod now;
mod pull;
mod tested;
#[cfg(test)]
mod tests;

use std::ops::Range;

use rusqlite::{Connection, Statement};

pub(super) use self::check::{columns, missing_index, missing_indexes, path_is_exact};
use self::chosen::ChosenSql;
pub(super) use self::pull::{EachRow, ScopedPull};
use super::raw::Raw;
use super::schema::{Affinity, TableSchema};
use super::sql_text::quote;
use crate::resolved::{Condition, Holds, NamedScope, Scope, ServerEntity};
pub(super) use crate::storage::lists::{Asking, LISTS_BYTES, Listed, Lists};
use crate::storage::{Caller, StorageError};

/// An entity's scope over its table.
#[derive(Debug)]
pub(super) struct ScopeSql {
    /// The columns of the row itself that decide, each once: what marks carry.
    pub columns: Vec<String>,
    /// The conditions of all ways in, one after another.
    pub conditions: Vec<ConditionSql>,
    /// Which conditions each way in has.
    pub ways: Vec<Range<usize>>,
}

/// A condition.
#[derive(Debug)]
pub(super) struct ConditionSql {
    /// Where its column stands in [`ScopeSql::columns`].
    pub column: usize,
    /// The way that it belongs to.
    pub way: usize,
    /// Lists the values that the user holds, as the column would store them; never null.
    list: String,
    /// The scope whose values the app chooses, if it is one, and the condition that a row's own
    /// value is one which the user may choose.
    chosen: Option<(ChosenSql, String)>,
}

impl ScopeSql {
    /// Compiles the scope of `entity`; `None` if all rows are everyone's.
    ///
    /// # Errors
    /// Something in it cannot be compared exactly, or does not exist.
    pub(super) fn compile(
        conn: &Connection,
        scopes: &[NamedScope],
        entity: &ServerEntity,
        schema: &TableSchema,
    ) -> Result<Option<Self>, StorageError> {
        check::told(entity)?;
        let name = &entity.local.name;
        Self::of(
            conn,
            scopes,
            &entity.scope,
            schema,
            &format!("`{name}`: its scope"),
        )
    }

    /// Compiles one of the rules about whose rows these are; `whose` begins what is said of it.
    ///
    /// # Errors
    /// As [`ScopeSql::compile`].
    pub(super) fn of(
        conn: &Connection,
        scopes: &[NamedScope],
        scope: &Scope,
        schema: &TableSchema,
        whose: &str,
    ) -> Result<Option<Self>, StorageError> {
        let Scope::Ways(ways) = scope else {
            return Ok(None);
        };
        check::check(conn, scopes, scope, schema, whose)?;
        let columns = columns(schema, scope);
        let mut compiled = Self {
            columns,
            conditions: Vec::new(),
            ways: Vec::new(),
        };
        for (way, conditions) in ways.iter().enumerate() {
            let first = compiled.conditions.len();
            for condition in conditions {
                let column = schema.column(&condition.column);
                let known = |name: &String| name.eq_ignore_ascii_case(&condition.column);
                let affinity = column.map_or(Affinity::Blob, |column| column.affinity);
                let chosen = ChosenSql::of(named(scopes, condition));
                if let Some(chosen) = &chosen {
                    chosen.check(conn, whose)?;
                }
                let last = last_affinity(conn, condition, affinity)?;
                compiled.conditions.push(ConditionSql {
                    column: compiled.columns.iter().position(known).unwrap_or(0),
                    way,
                    list: list(scopes, condition, (chosen.as_ref(), last), affinity),
                    chosen: chosen.map(|chosen| {
                        let is_allowed = chosen.is_allowed(&condition.column, &condition.path);
                        (chosen, is_allowed)
                    }),
                });
            }
            compiled.ways.push(first..compiled.conditions.len());
        }
        Ok(Some(compiled))
    }

    /// Whether the app on a device chooses values of it.
    pub(super) fn is_chosen(&self) -> bool {
        let mut conditions = self.conditions.iter();
        conditions.any(|condition| condition.chosen.is_some())
    }

    /// The condition, over a row of the table, that it is in the caller's scope: of values that are
    /// chosen, any that he may choose.
    pub(super) fn predicate(&self) -> String {
        let way = |way: &Range<usize>| {
            let conditions = self.conditions.get(way.clone()).unwrap_or(&[]);
            let held = |condition: &ConditionSql| {
                let column = quote(&self.columns[condition.column]);
                match &condition.chosen {
                    Some((_, is_allowed)) => is_allowed.clone(),
                    None => format!("{column} IN ({})", condition.list),
                }
            };
            let all: Vec<String> = conditions.iter().map(held).collect();
            format!("({})", all.join(" AND "))
        };
        let ways: Vec<String> = self.ways.iter().map(way).collect();
        format!("({})", ways.join(" OR "))
    }

    /// The values that the caller holds for a condition, as they are stored; of those that are
    /// chosen, the ones that he may have.
    pub(super) fn held(
        &self,
        conn: &Connection,
        condition: usize,
        asking: Asking<'_>,
    ) -> rusqlite::Result<Vec<Raw>> {
        let condition = &self.conditions[condition];
        let mut statement = conn.prepare_cached(&condition.list)?;
        bind(&mut statement, asking.caller)?;
        if let Some((chosen, _)) = &condition.chosen {
            chosen.bind(&mut statement, asking.chosen)?;
        }
        let mut rows = statement.raw_query();
        let mut found = Vec::new();
        while let Some(row) = rows.next()?
            && found.len() <= asking.values_max
        {
            found.push(Raw::from_stored(row.get_ref(0)?));
        }
        Ok(found)
    }
}

/// Binds what the caller's token says by the names of the parameters; what has another name is
/// bound already, or stays null.
pub(super) fn bind(statement: &mut Statement<'_>, caller: &Caller) -> rusqlite::Result<()> {
    for at in 1..=statement.parameter_count() {
        let name = statement.parameter_name(at).unwrap_or_default();
        let value = if name == ":user" {
            Raw::Text(caller.user.as_bytes().to_vec())
        } else if let Some(claim) = name.strip_prefix(":claim_") {
            of_claim(caller, claim)
        } else {
            continue;
        };
        statement.raw_bind_parameter(at, value)?;
    }
    Ok(())
}

/// A claim as SQL takes it: text, a number or a truth value; anything else is nothing.
fn of_claim(caller: &Caller, name: &str) -> Raw {
    match caller.claims.get(name) {
        Some(serde_json::Value::String(text)) => Raw::Text(text.as_bytes().to_vec()),
        Some(serde_json::Value::Bool(truth)) => Raw::Integer(i64::from(*truth)),
        // A whole number that SQLite has no integer for would equal another one as a real.
        Some(serde_json::Value::Number(number)) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => Raw::Integer(whole),
            (None, Some(_)) => Raw::Null,
            (None, None) => number.as_f64().map_or(Raw::Null, Raw::Real),
        },
        _ => Raw::Null,
    }
}

/// The query that lists what is held for `condition`, in the form of a column of `affinity`.
///
/// Of a chosen scope it is told too how the column stores values that stands at the path's end.
fn list(
    scopes: &[NamedScope],
    condition: &Condition,
    (chosen, last): (Option<&ChosenSql>, Affinity),
    affinity: Affinity,
) -> String {
    let mut values = match &condition.holds {
        Holds::User => "SELECT :user".to_owned(),
        Holds::Claim(name) => format!("SELECT :claim_{name}"),
        Holds::Scope(_) => match chosen {
            Some(chosen) => chosen.list(last),
            None => {
                let named = named(scopes, condition);
                let query = named.map_or("SELECT NULL", |scope| scope.query.as_str());
                bare(query).to_owned()
            }
        },
    };
    for hop in condition.path.iter().rev() {
        values = format!(
            "SELECT {} FROM {} WHERE {} IN (\n{values}\n)",
            quote(&hop.key),
            quote(&hop.table),
            quote(&hop.column),
        );
    }
    format!(
        "WITH afield_held (v) AS (\n{values}\n) SELECT {} FROM afield_held \
         WHERE v IS NOT NULL AND v IS NOT x''",
        stored_as(affinity)
    )
}

/// The scope that a condition names, if it names one.
fn named<'s>(scopes: &'s [NamedScope], condition: &Condition) -> Option<&'s NamedScope> {
    match &condition.holds {
        Holds::Scope(name) => scopes.iter().find(|scope| scope.name == *name),
        Holds::User | Holds::Claim(_) => None,
    }
}

/// How the column at the end of a path stores values; `own` is that of the row itself.
fn last_affinity(
    conn: &Connection,
    condition: &Condition,
    own: Affinity,
) -> Result<Affinity, StorageError> {
    let Some(hop) = condition.path.last() else {
        return Ok(own);
    };
    let schema = TableSchema::read(conn, &hop.table)?;
    let column = schema.column(&hop.column);
    Ok(column.map_or(Affinity::Blob, |column| column.affinity))
}

/// `v` as a column of this affinity stores it.
fn stored_as(affinity: Affinity) -> &'static str {
    match affinity {
        Affinity::Blob => "+v",
        Affinity::Text => {
            "CASE WHEN typeof(v) IN ('integer', 'real') THEN CAST(v AS TEXT) ELSE v END"
        }
        // Text is a number if it equals what it is cast to: '7' does, '7a' does not.
        Affinity::Integer | Affinity::Numeric => {
            "CASE WHEN v = CAST(v AS NUMERIC) THEN CAST(v AS NUMERIC) ELSE v END"
        }
        // A whole number that no real is equal to is in no such column; IN would round it.
        Affinity::Real => {
            "CASE WHEN v <> CAST(v AS NUMERIC) THEN v \
             WHEN CAST(v AS REAL) = CAST(v AS NUMERIC) THEN CAST(v AS REAL) END"
        }
    }
}

/// A query without the semicolons at its end, where it becomes part of another.
fn bare(query: &str) -> &str {
    query.trim_end_matches(|c: char| c == ';' || c.is_whitespace())
}
