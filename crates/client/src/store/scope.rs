//! Scopes on the device: which values the user holds, and which of them brought each row.
//!
//! ```text
//! page: rows ──► afield_scope_<entity>: the values of each way in that brought the row
//!       held ──► afield_held: gained ones added, lost ones taken out
//!                   └─ lost ──► it is forgotten in every row; rows without a way in leave
//! ```
//!
//! A row stays while all values of one of its ways in are held. A lost value is taken out of the
//! rows it brought, so that one gained again brings only the rows that the server sends anew.
//!
//! While a first download grows, a value may have brought rows before it is told as gained. So a
//! lost value takes only those rows along that nothing else brought; when the download is
//! complete, rows go whose other ways in came to nothing. What is staged is decided upon as a
//! whole, at the switch.

use std::collections::BTreeSet;

use afield_protocol::{Code, Held, Key, Position, ValueRef, zoo};
use rusqlite::params;

use super::db::Db;
use super::sql::values;
use super::tables::Table;
use crate::error::Error;

/// Rows looked at in one step when a value is lost.
const CHUNK: i64 = 500;

/// What a page says of the values of one entity.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) gained: BTreeSet<i64>,
    pub(super) lost: BTreeSet<i64>,
}

impl Told {
    /// Takes one message of the page.
    pub(super) fn take(&mut self, table: &Table, held: &Held) -> Result<(), Error> {
        let name = &table.entity.name;
        if table.scope_columns.is_empty() {
            let message = format!("a page has values of `{name}`, whose scope has none");
            return Err(Error::new(Code::MALFORMED, message));
        }
        self.gained.extend(&held.gained);
        if !zoo::planted("scope-exit-ignored") {
            self.lost.extend(&held.lost);
        }
        if self.gained.is_disjoint(&self.lost) {
            return Ok(());
        }
        let message = format!("a page says that a value of `{name}` is both gained and lost");
        Err(Error::new(Code::MALFORMED, message))
    }
}

/// Checks the values that came with a row: numbers, and all of them for one way in at least.
pub(super) fn check<'a>(
    table: &Table,
    cells: impl Iterator<Item = ValueRef<'a>>,
) -> Result<(), Error> {
    let cells: Vec<ValueRef<'_>> = cells.collect();
    let mut rest = cells.as_slice();
    let mut is_whole = table.entity.scope.is_empty();
    for width in &table.entity.scope {
        let (way, others) = rest.split_at_checked(*width).unwrap_or((rest, &[]));
        is_whole |= way.iter().all(|cell| matches!(cell, ValueRef::Integer(_)));
        rest = others;
    }
    let is_number = |cell: &ValueRef<'_>| matches!(cell, ValueRef::Integer(_) | ValueRef::Null);
    if is_whole && cells.iter().all(is_number) {
        return Ok(());
    }
    let name = &table.entity.name;
    let message = format!("a row of `{name}` comes without the values that bring it");
    Err(Error::new(Code::MALFORMED, message))
}

/// Stores which values brought a row; parameters are the identifier and the values.
pub(super) fn upsert(table: &Table) -> String {
    let columns = table.scope_columns.join(", ");
    let last = table.entity.key_width + table.scope_columns.len();
    let marks: Vec<_> = (1..=last).map(|at| format!("?{at}")).collect();
    format!(
        "INSERT INTO {} ({}, {columns}) VALUES ({}) {}",
        table.scope,
        table.key_columns,
        marks.join(", "),
        overwrite(table)
    )
}

fn overwrite(table: &Table) -> String {
    let sets = table.scope_columns.iter();
    let sets: Vec<_> = sets
        .map(|name| format!("{name} = excluded.{name}"))
        .collect();
    format!(
        "ON CONFLICT ({}) DO UPDATE SET {}",
        table.key_columns,
        sets.join(", ")
    )
}

/// Stores what a page that takes effect says of the values that are held.
pub(super) fn hold(db: &Db, table: &Table, told: &Told) -> Result<(), Error> {
    let name = &table.entity.name;
    let sql = "INSERT OR IGNORE INTO afield_held (entity, value) VALUES (?1, ?2)";
    let mut gain = db.conn.prepare_cached(sql)?;
    for value in &told.gained {
        gain.execute(params![name, value])?;
    }
    db.crash_point("gained")?;
    let sql = "DELETE FROM afield_held WHERE entity = ?1 AND value = ?2";
    let mut lose = db.conn.prepare_cached(sql)?;
    for value in &told.lost {
        lose.execute(params![name, value])?;
    }
    db.crash_point("lost")
}

/// Why rows are looked at.
#[derive(Clone, Copy, Debug)]
pub(super) enum Question {
    /// A value was lost that may stand in this column, and the entity is as it should be.
    Lost(usize, i64),
    /// The same while values bring rows that are not told as gained yet.
    LostWhileGrowing(usize, i64),
    /// A first download is complete.
    Complete,
}

/// Some of the rows that no way in is left for.
pub(super) struct Leaving {
    pub(super) keys: Vec<Key>,
    /// Where to go on, if there may be more.
    pub(super) next: Option<i64>,
}

/// Rows that no way in is left for, from the place `after` on.
pub(super) fn leaving(
    db: &Db,
    table: &Table,
    question: Question,
    after: i64,
) -> Result<Leaving, Error> {
    let sql = leaving_sql(table, question);
    let value = match question {
        Question::Lost(_, value) | Question::LostWhileGrowing(_, value) => value,
        Question::Complete => 0,
    };
    let width = table.entity.key_width;
    let mut statement = db.conn.prepare_cached(&sql)?;
    let found = statement.query_map(params![table.entity.name, value, after, CHUNK], |row| {
        Ok((row.get::<_, i64>(0)?, values(row, 1, width)?))
    })?;
    let found: Vec<(i64, Key)> = found.collect::<Result<_, _>>()?;
    let is_full = i64::try_from(found.len()) == Ok(CHUNK);
    let next = found.last().map(|(at, _)| *at).filter(|_| is_full);
    let keys = found.into_iter().map(|(_, key)| key).collect();
    Ok(Leaving { keys, next })
}

/// Parameters: entity, value, place, limit.
fn leaving_sql(table: &Table, question: Question) -> String {
    let column = |at: usize| table.scope_columns.get(at).cloned().unwrap_or_default();
    let (touched, stays) = match question {
        Question::Lost(at, _) => (format!("w.{} = ?2", column(at)), any_way(table, "w", held)),
        Question::LostWhileGrowing(at, _) => (
            format!("w.{} = ?2", column(at)),
            any_way(table, "w", |it| {
                format!("({it} IS NOT NULL AND {it} <> ?2)")
            }),
        ),
        Question::Complete => ("?2 = 0".to_owned(), any_way(table, "w", held)),
    };
    format!(
        "SELECT w.rowid, {} FROM {} AS w WHERE {touched} AND w.rowid > ?3 AND NOT ({stays}) \
         ORDER BY w.rowid LIMIT ?4",
        table.prefixed("w", table.entity.key()),
        table.scope
    )
}

/// Takes a lost value out of the rows that stay; parameter 1 is the value.
pub(super) fn forget_value(table: &Table, column: usize) -> String {
    let name = table.scope_columns.get(column).cloned().unwrap_or_default();
    format!("UPDATE {} SET {name} = NULL WHERE {name} = ?1", table.scope)
}

/// Every statement that a lost value takes.
#[cfg(test)]
pub(super) fn losing(table: &Table) -> Vec<String> {
    let columns = 0..table.scope_columns.len();
    let questions = columns.flat_map(|at| {
        [
            leaving_sql(table, Question::Lost(at, 0)),
            leaving_sql(table, Question::LostWhileGrowing(at, 0)),
            forget_value(table, at),
        ]
    });
    questions.chain([delete(table)]).collect()
}

/// Deletes what is known of a row; parameters are the identifier.
pub(super) fn delete(table: &Table) -> String {
    table.delete_from(&table.scope)
}

/// Whether a way in is left for a row of `alias`: for all of its columns `is` holds.
fn any_way(table: &Table, alias: &str, is: impl Fn(&str) -> String) -> String {
    let mut columns = table.scope_columns.iter();
    let ways = table.entity.scope.iter().map(|width| {
        let way = columns.by_ref().take(*width);
        let way: Vec<_> = way.map(|name| is(&format!("{alias}.{name}"))).collect();
        format!("({})", way.join(" AND "))
    });
    ways.collect::<Vec<_>>().join(" OR ")
}

/// The value is held; parameter 1 is the entity.
fn held(column: &str) -> String {
    format!("EXISTS (SELECT 1 FROM afield_held AS h WHERE h.entity = ?1 AND h.value = {column})")
}

/// The value is held, and was all the time that pages were staged.
fn held_throughout(column: &str) -> String {
    format!(
        "{} AND NOT EXISTS (SELECT 1 FROM afield_held_staged AS l \
         WHERE l.entity = ?1 AND l.value = {column} AND l.lost = 1)",
        held(column)
    )
}

/// Values that were lost while pages were staged.
const LOST: &str = "SELECT value FROM afield_held_staged WHERE entity = ?1 AND lost = 1";

/// Stages what a page says of the values. What is staged so far under a lost one comes by it no
/// more, even if it is gained again: its rows are sent anew then.
pub(super) fn stage(db: &Db, table: &Table, told: &Told) -> Result<(), Error> {
    let name = &table.entity.name;
    let lost = match zoo::planted("scope-regained-keeps-stale") {
        true => "excluded.lost",
        false => "max(lost, excluded.lost)",
    };
    let sql = format!(
        "INSERT INTO afield_held_staged (entity, value, lost, gained) \
         VALUES (?1, ?2, ?3, ?4) ON CONFLICT (entity, value) \
         DO UPDATE SET lost = {lost}, gained = excluded.gained"
    );
    for (list, lost, gained) in [(&told.gained, 0, 1), (&told.lost, 1, 0)] {
        let mut statement = db.conn.prepare_cached(&sql)?;
        for value in list {
            statement.execute(params![name, value, lost, gained])?;
        }
        db.crash_point("held-staged")?;
    }
    if told.lost.is_empty() {
        return Ok(());
    }
    let lost: Vec<String> = told.lost.iter().map(i64::to_string).collect();
    let lost = format!("[{}]", lost.join(","));
    for column in &table.scope_columns {
        let sql = format!(
            "UPDATE {} SET {column} = NULL WHERE {column} IN (SELECT value FROM json_each(?1))",
            table.stage
        );
        db.conn.prepare_cached(&sql)?.execute([&lost])?;
        db.crash_point("lost-staged")?;
    }
    Ok(())
}

/// Makes what is staged ready for the switch: the values are as they will be, and rows that no way
/// in is left for are staged as gone. Gives how many of those the tables have.
pub(super) fn before_switch(db: &Db, table: &Table, starts_over: bool) -> Result<u64, Error> {
    let mut left = 0;
    for sql in prepared(table, starts_over) {
        let changed = db
            .conn
            .prepare_cached(&sql)?
            .execute([&table.entity.name])?;
        if sql.starts_with("INSERT OR IGNORE INTO \"") {
            left += changed as u64;
        }
        db.crash_point("before-switch")?;
    }
    Ok(left)
}

/// The statements of [`before_switch`]; parameter 1 is the entity. None look at rows of the table
/// that no lost value brought.
pub(super) fn prepared(table: &Table, starts_over: bool) -> Vec<String> {
    let Table { scope, stage, .. } = table;
    if table.scope_columns.is_empty() {
        return Vec::new();
    }
    let ended = match starts_over {
        true => "TRUE".to_owned(),
        false => format!("value IN ({LOST})"),
    };
    let mut statements = vec![
        format!("DELETE FROM afield_held WHERE entity = ?1 AND {ended}"),
        "INSERT OR IGNORE INTO afield_held (entity, value) \
         SELECT entity, value FROM afield_held_staged WHERE entity = ?1 AND gained = 1"
            .to_owned(),
        format!(
            "UPDATE {stage} AS t SET gone = 1 WHERE t.gone = 0 AND NOT ({})",
            any_way(table, "t", held)
        ),
    ];
    if !starts_over {
        let keys = table.prefixed("w", table.entity.key());
        let stays = any_way(table, "w", held_throughout);
        let columns = table.scope_columns.iter();
        statements.extend(columns.clone().map(|column| {
            format!(
                "INSERT OR IGNORE INTO {stage} (gone, {}) SELECT 1, {keys} FROM {scope} AS w \
                 WHERE w.{column} IN ({LOST}) AND NOT ({stays})",
                table.key_columns
            )
        }));
        statements.extend(columns.map(|column| {
            format!("UPDATE {scope} AS w SET {column} = NULL WHERE w.{column} IN ({LOST})")
        }));
    }
    statements.push("DELETE FROM afield_held_staged WHERE entity = ?1".to_owned());
    statements
}

/// The statements of the switch that move the values which brought the rows; `leaves` says of a
/// row `t` that it leaves.
pub(super) fn switched(table: &Table, leaves: &str) -> Vec<String> {
    let Table { scope, stage, .. } = table;
    if table.scope_columns.is_empty() {
        return Vec::new();
    }
    let columns = table.scope_columns.join(", ");
    let same = table.scope_columns.iter();
    let same: String = same
        .map(|name| format!(" AND n.{name} IS t.{name}"))
        .collect();
    vec![
        format!("DELETE FROM {scope} AS t WHERE {leaves}"),
        format!(
            "INSERT INTO {scope} ({keys}, {columns}) SELECT {keys}, {columns} FROM {stage} AS t \
             WHERE t.gone = 0 AND NOT EXISTS (SELECT 1 FROM {scope} AS n WHERE {}{same}) {}",
            table.same_key("n", "t"),
            overwrite(table),
            keys = table.key_columns
        ),
    ]
}

/// Forgets what pages that are staged say of an entity's values.
pub(super) fn unstage(db: &Db, entity: &str) -> Result<(), Error> {
    let sql = "DELETE FROM afield_held_staged WHERE entity = ?1";
    db.conn.prepare_cached(sql)?.execute([entity])?;
    Ok(())
}

/// Forgets an entity's values: its tables go.
pub(super) fn forget(db: &Db, entity: &str) -> Result<(), Error> {
    unstage(db, entity)?;
    let sql = "DELETE FROM afield_held WHERE entity = ?1";
    db.conn.prepare_cached(sql)?.execute([entity])?;
    Ok(())
}

/// All values whose rows the device has, staged pages included, of each entity of a pull that has
/// such a scope.
pub(super) fn all(db: &Db, pull: &[(String, Option<Position>)]) -> Result<Vec<Held>, Error> {
    let loaded = db.loaded()?;
    let sql = "SELECT value FROM afield_held AS h WHERE entity = ?1 \
               AND NOT (SELECT stage_reset FROM afield_entity WHERE name = ?1) \
               AND NOT EXISTS (SELECT 1 FROM afield_held_staged AS s \
                               WHERE s.entity = ?1 AND s.value = h.value AND s.lost = 1) \
               UNION SELECT value FROM afield_held_staged WHERE entity = ?1 AND gained = 1 \
               ORDER BY value";
    let mut found = Vec::new();
    for (entity, _) in pull {
        if loaded.table(entity)?.scope_columns.is_empty() {
            continue;
        }
        let mut statement = db.conn.prepare_cached(sql)?;
        let gained = statement.query_map([entity], |row| row.get(0))?;
        found.push(Held {
            entity: entity.clone(),
            gained: gained.collect::<Result<_, _>>()?,
            lost: Vec::new(),
        });
    }
    Ok(found)
}

/// How many values of its scope are held of an entity.
pub(super) fn count(db: &Db, entity: &str) -> Result<u64, Error> {
    let sql = "SELECT count(*) FROM afield_held WHERE entity = ?1";
    let count: i64 = (db.conn.prepare_cached(sql)?).query_row([entity], |row| row.get(0))?;
    Ok(u64::try_from(count).unwrap_or(0))
}
