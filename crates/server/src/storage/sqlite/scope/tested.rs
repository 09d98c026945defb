//! A condition held against one row, with everything on the way: for who asks why.

use rusqlite::{Connection, OptionalExtension};

use super::super::entity::EntityTable;
use super::super::raw::Raw;
use super::super::schema::Affinity;
use super::super::sql_text::quote;
use super::{ScopeSql, bind, list, of_claim};
use crate::model::scope::name_in_scope;
use crate::resolved::{Condition, Holds, NamedScope};
use crate::storage::Caller;
use crate::storage::why::{Answer, HELD_SHOWN_MAX, Held, HeldFrom, Step, Tested};

impl ScopeSql {
    /// Holds a condition, and its place in [`ScopeSql::conditions`], against the row with a stored
    /// key. What decides is the same list that pulls and pushes go by; the steps only explain it.
    pub(in super::super) fn test(
        &self,
        conn: &Connection,
        scopes: &[NamedScope],
        caller: &Caller,
        (at, condition): (usize, &Condition),
        table: &EntityTable,
        row: Option<&[Raw]>,
    ) -> rusqlite::Result<Tested> {
        let compiled = &self.conditions[at];
        let column = &self.columns[compiled.column];
        let held = held(conn, scopes, caller, condition)?;
        let mut tested = Tested {
            text: text(condition),
            column: column.clone(),
            value: afield_protocol::Value::Null,
            steps: Vec::new(),
            held,
            answer: Answer::NoRow,
        };
        let Some(row) = row else {
            return Ok(tested);
        };
        let name = quote(&table.schema.name);
        let is_key = table.key_is();
        let column = quote(column);
        let value = cell(
            conn,
            &format!("SELECT {column} FROM {name} WHERE {is_key}"),
            row,
        )?;
        let value = value.unwrap_or(Raw::Null);
        let holds = match &compiled.chosen {
            // What devices have chosen only they know: what counts here is what they may choose.
            Some((_, is_allowed)) => is_allowed.clone(),
            None => format!("{column} IN ({})", compiled.list),
        };
        let sql = format!("SELECT EXISTS (SELECT 1 FROM {name} WHERE {is_key} AND {holds})");
        let is_held = table.asked(conn, caller, &sql, row)?;
        tested.value = value.to_value();
        tested.steps = steps(conn, condition, value)?;
        tested.answer = match is_held {
            true => Answer::Held,
            false => missing(&tested, caller, condition),
        };
        Ok(tested)
    }
}

/// What is in the way of a condition that does not hold.
fn missing(tested: &Tested, caller: &Caller, condition: &Condition) -> Answer {
    let values = tested.steps.iter().map(|step| step.value.as_ref());
    let last = [Some(&tested.value)].into_iter().chain(values).last();
    match last.flatten() {
        None => return Answer::Broken,
        Some(value) if value.is_null() => return Answer::Null,
        Some(_) => {}
    }
    match &condition.holds {
        Holds::Claim(name) => match caller.claims.get(name) {
            None => Answer::ClaimMissing,
            Some(_) if of_claim(caller, name) == Raw::Null => Answer::ClaimUnusable,
            Some(_) => Answer::OthersHeld,
        },
        Holds::Scope(_) if matches!(tested.held.from, HeldFrom::Chosen { .. }) => {
            Answer::OthersHeld
        }
        Holds::Scope(_) if tested.held.count == 0 => Answer::NothingHeld,
        Holds::User | Holds::Scope(_) => Answer::OthersHeld,
    }
}

/// Where a value leads, row by row, until there is none.
fn steps(conn: &Connection, condition: &Condition, value: Raw) -> rusqlite::Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut wanted = value;
    for hop in &condition.path {
        if wanted == Raw::Null {
            break;
        }
        let sql = format!(
            "SELECT {} FROM {} WHERE {} = ?1",
            quote(&hop.column),
            quote(&hop.table),
            quote(&hop.key)
        );
        let found = cell(conn, &sql, std::slice::from_ref(&wanted))?;
        steps.push(Step {
            table: hop.table.clone(),
            key: hop.key.clone(),
            wanted: wanted.to_value(),
            column: hop.column.clone(),
            value: found.as_ref().map(Raw::to_value),
        });
        match found {
            Some(found) => wanted = found,
            None => break,
        }
    }
    Ok(steps)
}

/// The one cell that a statement finds.
fn cell(conn: &Connection, sql: &str, key: &[Raw]) -> rusqlite::Result<Option<Raw>> {
    conn.prepare(sql)?
        .query_row(rusqlite::params_from_iter(key), |row| {
            Ok(Raw::from_stored(row.get_ref(0)?))
        })
        .optional()
}

/// What the user holds at the end of the path.
fn held(
    conn: &Connection,
    scopes: &[NamedScope],
    caller: &Caller,
    condition: &Condition,
) -> rusqlite::Result<Held> {
    let from = match &condition.holds {
        Holds::User => HeldFrom::User,
        Holds::Claim(name) => HeldFrom::Claim {
            name: name.clone(),
            is_given: caller.claims.contains_key(name),
        },
        Holds::Scope(name) => {
            let named = scopes.iter().find(|scope| scope.name == *name);
            let sql = named.map_or_else(String::new, |scope| scope.query.clone());
            let name = name.clone();
            if named.is_some_and(|scope| scope.chosen.is_some()) {
                return Ok(Held {
                    from: HeldFrom::Chosen { name, sql },
                    values: Vec::new(),
                    count: 0,
                });
            }
            HeldFrom::Query { name, sql }
        }
    };
    let end = Condition {
        path: Vec::new(),
        ..condition.clone()
    };
    let sql = list(scopes, &end, (None, Affinity::Blob), Affinity::Blob);
    let mut statement = conn.prepare(&sql)?;
    bind(&mut statement, caller)?;
    let mut rows = statement.raw_query();
    let mut held = Held {
        from,
        values: Vec::new(),
        count: 0,
    };
    while let Some(row) = rows.next()? {
        held.count += 1;
        if held.values.len() < HELD_SHOWN_MAX {
            held.values
                .push(Raw::from_stored(row.get_ref(0)?).to_value());
        }
    }
    Ok(held)
}

/// The condition as the model file could say it.
fn text(condition: &Condition) -> String {
    let hops = condition.path.iter().map(|hop| hop.column.as_str());
    let names = [condition.column.as_str()].into_iter().chain(hops);
    let path: Vec<String> = names.map(name_in_scope).collect();
    let path = path.join(".");
    match &condition.holds {
        Holds::User => format!("{path} = :user"),
        Holds::Claim(name) => format!("{path} = :claim.{}", name_in_scope(name)),
        Holds::Scope(name) => format!("{path} in {}", name_in_scope(name)),
    }
}
