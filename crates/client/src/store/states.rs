//! Views that say how each row stands, for the app's own SQL and for other programs' SQLite:
//! `afield_state_<entity>` has the identifier and the state of every row that is seen, by the rule
//! of [`row_state`](super::status::row_state).
//!
//! A view has no function of ours, so it writes the identifier as the outbox stores it, in
//! canonical CBOR, by SQL alone; the index on it finds the row's changes.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::conflict::NEWEST_OUTCOME;
use super::db::{Db, Loaded};
use super::outbox::GROUP_PAUSE_MAX_MS;
use super::sql::{literal, quoted};
use super::tables::Table;
use crate::error::Error;

/// What the views' names begin with.
const VIEW: &str = "afield_state_";

/// Milliseconds since 1970, by the clock of whoever asks.
const NOW: &str = "CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)";

/// Columns of an identifier up to which the first byte says how many there are.
const PARTS_MAX: usize = 23;

/// Removes the views, before tables that they read are made anew.
pub(super) fn drop_all(db: &Db) -> Result<(), Error> {
    for name in there(db)?.keys() {
        let sql = format!("DROP VIEW {}", quoted(name));
        super::install::run(db, &[sql])?;
    }
    Ok(())
}

/// Makes the views of a model.
pub(super) fn make(db: &Db, loaded: &Loaded) -> Result<(), Error> {
    for sql in wanted(loaded).into_values() {
        super::install::run(db, &[sql])?;
    }
    Ok(())
}

/// Makes the views in a store that was written by a version that had none, or others.
pub(super) fn renew(db: &mut Db) -> Result<(), Error> {
    let Some(loaded) = db.loaded.clone() else {
        return Ok(());
    };
    if there(db)? == wanted(&loaded) {
        return Ok(());
    }
    db.write("states", |db| {
        let loaded = db.loaded()?;
        drop_all(db)?;
        make(db, &loaded)?;
        db.outbox_changed();
        Ok(())
    })
}

/// The views of the store, by name.
fn there(db: &Db) -> Result<BTreeMap<String, String>, Error> {
    let sql = "SELECT name, sql FROM sqlite_schema \
               WHERE type = 'view' AND substr(name, 1, length(?1)) = ?1";
    let mut select = db.conn.prepare_cached(sql)?;
    let views = select.query_map([VIEW], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(views.collect::<Result<_, _>>()?)
}

fn wanted(loaded: &Loaded) -> BTreeMap<String, String> {
    let views = loaded.tables.iter().filter_map(|table| {
        let name = format!("{VIEW}{}", table.entity.name);
        let sql = view(table, &name)?;
        Some((name, sql))
    });
    views.collect()
}

/// The statement that makes an entity's view; none if its identifier cannot be written by SQL.
fn view(table: &Table, name: &str) -> Option<String> {
    let key = key(table)?;
    let entity = &table.entity;
    let keys = table.prefixed("t", entity.key());
    let is_taken = (entity.key().iter()).any(|it| it.name.eq_ignore_ascii_case("state"));
    let column = if is_taken { "afield_state" } else { "state" };
    let state = match entity.is_synced() {
        true => state(table, &key),
        false => "'synced'".to_owned(),
    };
    let (name, rows) = (quoted(name), &table.name);
    Some(format!(
        "CREATE VIEW {name} AS SELECT {keys}, {state} AS {column} FROM {rows} AS t"
    ))
}

/// The state of row `t`: that of its change that needs most attention. What was written by others
/// and is no change yet is pending, if it is otherwise than before.
fn state(table: &Table, key: &str) -> String {
    let pauses = |until: &str| format!("{until} - {NOW} BETWEEN 1 AND {GROUP_PAUSE_MAX_MS}");
    let (backs_off, lasts) = (pauses("g.not_before"), pauses("w.until"));
    let waits = format!(
        "EXISTS (SELECT 1 FROM afield_waits AS w \
         WHERE w.group_n = g.n AND (w.until = 0 OR {lasts}))"
    );
    let result = format!("(SELECT o.result FROM afield_outcome AS o WHERE o.n = {NEWEST_OUTCOME})");
    let weight = format!(
        "CASE WHEN g.state = 'parked' THEN CASE ifnull({result}, '') \
         WHEN 'conflict' THEN 5 WHEN '' THEN 3 ELSE 4 END \
         WHEN NOT ({backs_off}) AND {waits} THEN 3 WHEN g.state = 'sent' THEN 2 ELSE 1 END"
    );
    let changes = format!(
        "SELECT max({weight}) FROM (SELECT {BYTES} AS x) AS y \
         CROSS JOIN afield_change AS c CROSS JOIN afield_group AS g \
         WHERE c.entity = {entity} AND c.key = CAST({key} AS BLOB) AND g.n = c.group_n \
         AND g.state IN ('pending', 'sent', 'parked')",
        BYTES = bytes(),
        entity = literal(&table.entity.name),
    );
    let captured = match table.entity.is_written() {
        true => format!(
            "EXISTS (SELECT 1 FROM {before} AS b WHERE {key} AND NOT (b.existed AND {row}))",
            before = table.before,
            key = table.same_key("b", "t"),
            row = table.same_row("b", "t"),
        ),
        false => "0".to_owned(),
    };
    format!(
        "CASE max(ifnull(({changes}), 0), {captured}) WHEN 0 THEN 'synced' WHEN 1 THEN 'pending' \
         WHEN 2 THEN 'sent' WHEN 3 THEN 'held' WHEN 4 THEN 'parked' ELSE 'conflict' END"
    )
}

/// Each byte at its own place, to be cut out.
fn bytes() -> String {
    let mut literal = "x'".to_owned();
    for byte in 0..=u8::MAX {
        // Writing to a string cannot fail.
        let _ = write!(literal, "{byte:02x}");
    }
    literal + "'"
}

/// The identifier of row `t` in canonical CBOR, as text of these very bytes.
fn key(table: &Table) -> Option<String> {
    let parts = table.entity.key();
    if parts.len() > PARTS_MAX {
        return None;
    }
    let mut key = format!("substr(y.x, {}, 1)", 0x80 + parts.len() + 1);
    for part in parts {
        let column = format!("t.{}", quoted(&part.name));
        let bytes = format!("length(CAST({column} AS BLOB))");
        let item = match part.kind.sqlite() {
            "INTEGER" => head(
                &format!("({column} < 0) * 32"),
                &format!("max({column}, ~{column})"),
            ),
            "TEXT" => format!("{} || {column}", head("96", &bytes)),
            "BLOB" => format!("{} || {column}", head("64", &bytes)),
            // Its bits are out of SQL's reach, and no server has such identifiers.
            _ => return None,
        };
        let _ = write!(key, " || {item}");
    }
    Some(key)
}

/// The head of an item: its kind in the upper bits of the first byte, and a number `n` in as few
/// bytes as hold it.
fn head(kind: &str, n: &str) -> String {
    let byte = |shift: u32| format!("substr(y.x, (({n} >> {shift}) & 255) + 1, 1)");
    let wide = |code: u32, bytes: u32| {
        let rest = (0..bytes).rev().map(|at| byte(at * 8));
        let rest: Vec<_> = rest.collect();
        format!(
            "substr(y.x, {kind} + {}, 1) || {}",
            code + 1,
            rest.join(" || ")
        )
    };
    format!(
        "CASE WHEN {n} < 24 THEN substr(y.x, {kind} + {n} + 1, 1) \
         WHEN {n} < 256 THEN {one} WHEN {n} < 65536 THEN {two} \
         WHEN {n} < 4294967296 THEN {four} ELSE {eight} END",
        one = wide(24, 1),
        two = wide(25, 2),
        four = wide(26, 4),
        eight = wide(27, 8),
    )
}
