//! Pages: applied at once, or staged and switched.
//!
//! ```text
//! page ─┬─ not from our positions ──────────────► dropped
//!       ├─ complete, nothing staged ────────────► tables
//!       ├─ first download, not complete ────────► tables, as they grow
//!       └─ anything else ──► stage … complete ──► tables, in one transaction
//! ```
//!
//! The applying connection has triggers switched off, so nothing here is captured. Rows that
//! carry unsettled changes are never written directly: their copy of the server's row is, and
//! the visible row is recomputed from it.

use std::collections::{BTreeSet, HashSet};

use afield_protocol::codec::cbor::write_key;
use afield_protocol::{Code, Frame, Key, Page, PageEnd, Position, RowBlock, Value, zoo};
use rusqlite::{OptionalExtension, params};

use super::db::{Db, Loaded};
use super::sql::{Bound, bound};
use super::tables::Table;
use super::{conflict, erase, overlay, stage};
use crate::error::Error;

/// What became of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageApplied {
    /// Its rows are visible.
    Applied {
        /// Rows written and removed.
        rows: u64,
    },
    /// Its rows wait, durably, for the rest.
    Staged {
        /// Rows staged.
        rows: u64,
    },
    /// It does not continue from this device's positions: another sync of this store was
    /// faster. Nothing was written.
    Overtaken,
}

/// Where an entity's download stands.
struct Standing {
    position: Option<Vec<u8>>,
    complete: bool,
    stage_position: Option<Vec<u8>>,
}

impl Standing {
    /// The position that the next page must continue from.
    fn newest(&self) -> Option<&Vec<u8>> {
        self.stage_position.as_ref().or(self.position.as_ref())
    }
}

fn standing(db: &Db, entity: &str) -> Result<Standing, Error> {
    let sql = "SELECT position, complete, stage_position FROM afield_entity WHERE name = ?1";
    let found = db.conn.prepare_cached(sql)?.query_row([entity], |row| {
        Ok(Standing {
            position: row.get(0)?,
            complete: row.get(1)?,
            stage_position: row.get(2)?,
        })
    });
    found.optional()?.ok_or_else(|| {
        Error::new(
            Code::UNKNOWN_ENTITY,
            format!("the answer names an unknown entity `{entity}`"),
        )
    })
}

/// The positions to pull `entities` from.
pub(super) fn positions(
    db: &Db,
    entities: &[String],
) -> Result<Vec<(String, Option<Position>)>, Error> {
    let read = |name: &String| Ok((name.clone(), standing(db, name)?.newest().cloned()));
    entities.iter().map(read).collect()
}

/// Applies or stages one page of the answer to `request`. Runs inside a write transaction.
pub(super) fn apply(
    db: &mut Db,
    request: i64,
    page: &Page,
    content: &[Frame],
    end: &PageEnd,
) -> Result<PageApplied, Error> {
    let loaded = db.loaded()?;
    for (entity, from) in &page.from {
        if standing(db, entity)?.newest() != from.as_ref() && !zoo::planted("page-unchecked") {
            return Ok(PageApplied::Overtaken);
        }
    }
    check_names(page, end)?;
    let mut targets = Vec::new();
    for (entity, position) in &end.to {
        let reset = page.reset.contains(entity);
        targets.push(Target::new(
            db,
            &loaded,
            entity,
            reset,
            end.complete,
            position,
        )?);
    }
    if zoo::planted("position-before-rows") {
        store_positions_first(db, &targets)?;
    }
    let mut rows = 0;
    for frame in content {
        rows += write_frame(db, &mut targets, frame)?;
        db.crash_point("page-frame")?;
    }
    for target in &mut targets {
        target.finish(db, &loaded, end.complete)?;
        db.crash_point("page-entity")?;
    }
    if end.complete {
        for target in &targets {
            if end_overlays(db, &loaded, request, target.table)? || target.lost {
                erase::history(db, &loaded, target.table)?;
            }
        }
        return Ok(PageApplied::Applied { rows });
    }
    let is_visible = targets.iter().any(|target| !target.staged);
    Ok(if is_visible {
        PageApplied::Applied { rows }
    } else {
        PageApplied::Staged { rows }
    })
}

/// Checks that a page speaks of the same entities at its beginning and its end.
fn check_names(page: &Page, end: &PageEnd) -> Result<(), Error> {
    let from: BTreeSet<&String> = page.from.iter().map(|(entity, _)| entity).collect();
    let to: BTreeSet<&String> = end.to.iter().map(|(entity, _)| entity).collect();
    let once = from.len() == page.from.len() && to.len() == end.to.len();
    if once && from == to && page.reset.iter().all(|entity| from.contains(entity)) {
        return Ok(());
    }
    Err(Error::new(
        Code::MALFORMED,
        "a page begins, starts over and ends with different entities",
    ))
}

/// A mistake for the zoo: positions in a transaction of their own, before the rows.
fn store_positions_first(db: &Db, targets: &[Target<'_>]) -> Result<(), Error> {
    for target in targets.iter().filter(|target| !target.staged) {
        let sql = "UPDATE afield_entity SET position = ?2 WHERE name = ?1";
        let values = params![target.table.entity.name, target.position];
        db.conn.execute(sql, values)?;
    }
    db.conn.execute_batch("COMMIT")?;
    db.crash_point("positions")?;
    Ok(db.conn.execute_batch("BEGIN IMMEDIATE")?)
}

/// One entity of a page: where its rows go.
struct Target<'a> {
    table: &'a Table,
    position: &'a Vec<u8>,
    /// Whether its rows go to the stage first.
    staged: bool,
    /// Identifiers that have overlays.
    overlaid: HashSet<Vec<u8>>,
    /// Overlaid identifiers that this page brought something for.
    recompute: HashSet<Vec<u8>>,
    touched: bool,
    /// Whether rows may have left with this page.
    lost: bool,
}

impl<'a> Target<'a> {
    fn new(
        db: &Db,
        loaded: &'a Loaded,
        entity: &str,
        reset: bool,
        complete: bool,
        position: &'a Vec<u8>,
    ) -> Result<Self, Error> {
        let table = loaded.table(entity)?;
        let standing = standing(db, entity)?;
        // With no position there is nothing yet that a fresh start could replace.
        let reset = reset && standing.newest().is_some();
        if reset {
            stage::start_over(db, table)?;
        }
        let is_first = !standing.complete;
        let staged = reset || standing.stage_position.is_some() || !(is_first || complete);
        let keys = overlay::keys(db, table)?;
        let overlaid = keys.iter().map(|key| write_key(key)).collect();
        let recompute = HashSet::new();
        Ok(Self {
            table,
            position,
            staged,
            overlaid,
            recompute,
            touched: false,
            lost: false,
        })
    }

    /// Stores the new position, and switches what was staged if the page completes it.
    fn finish(&mut self, db: &Db, loaded: &Loaded, complete: bool) -> Result<(), Error> {
        let name = &self.table.entity.name;
        if self.staged && !complete {
            let sql = "UPDATE afield_entity SET stage_position = ?2 WHERE name = ?1";
            db.conn
                .prepare_cached(sql)?
                .execute(params![name, self.position])?;
            return Ok(());
        }
        if self.staged {
            stage::switch(db, self.table)?;
            self.recompute.extend(self.overlaid.drain());
            self.touched = true;
            self.lost = true;
        }
        self.touched |= !self.recompute.is_empty();
        for key in &self.recompute {
            conflict::refreshed(db, name, key)?;
            overlay::release(db, loaded, name, key)?;
        }
        let sql = "UPDATE afield_entity SET position = ?2, complete = max(complete, ?3), \
                   stage_position = NULL, stage_reset = 0 WHERE name = ?1";
        db.conn
            .prepare_cached(sql)?
            .execute(params![name, self.position, complete])?;
        if self.touched {
            touch(db, name)?;
        }
        Ok(())
    }
}

fn write_frame(db: &Db, targets: &mut [Target<'_>], frame: &Frame) -> Result<u64, Error> {
    let (Frame::Rows(RowBlock { entity, .. }) | Frame::Gone { entity, .. }) = frame else {
        return Err(Error::new(
            Code::MALFORMED,
            "a page holds a message that is no row",
        ));
    };
    let target = targets
        .iter_mut()
        .find(|target| target.table.entity.name == *entity);
    let target = target.ok_or_else(|| {
        Error::new(
            Code::MALFORMED,
            format!("a page has rows of `{entity}` unannounced"),
        )
    })?;
    match frame {
        Frame::Rows(block) => write_rows(db, target, block),
        Frame::Gone { keys, .. } => write_gone(db, target, keys),
        _ => Ok(0),
    }
}

fn write_rows(db: &Db, target: &mut Target<'_>, block: &RowBlock) -> Result<u64, Error> {
    let table = target.table;
    let names = table
        .entity
        .attributes
        .iter()
        .map(|attribute| &attribute.name);
    if !names.eq(block.columns.iter()) {
        let message = format!(
            "rows of `{}` have other columns than the model",
            block.entity
        );
        return Err(Error::new(Code::MODEL_CHANGED, message));
    }
    let width = table.entity.key_width;
    let sql = if target.staged {
        stage::row(table)
    } else {
        table.upsert()
    };
    let mut statement = db.conn.prepare_cached(&sql)?;
    let mut count = 0;
    block.for_each(|cells| {
        count += 1;
        if !target.staged && !target.overlaid.is_empty() {
            let values: Vec<Value> = cells.iter().map(|cell| cell.as_ref().to_value()).collect();
            let key = values.get(..width).unwrap_or(&[]);
            let bytes = write_key(key);
            if target.overlaid.contains(&bytes) && !zoo::planted("pull-over-unsent") {
                table.put_server_row(&db.conn, key, Some(&values))?;
                target.recompute.insert(bytes);
                return Ok(());
            }
        }
        let cells = cells.iter().map(|cell| Bound(cell.as_ref()));
        statement.execute(rusqlite::params_from_iter(cells))?;
        target.touched = true;
        Ok::<(), Error>(())
    })?;
    Ok(count)
}

fn write_gone(db: &Db, target: &mut Target<'_>, keys: &[Key]) -> Result<u64, Error> {
    let table = target.table;
    target.lost |= !keys.is_empty();
    for key in keys {
        if key.len() != table.entity.key_width {
            return Err(Error::new(
                Code::MALFORMED,
                "an identifier has the wrong width",
            ));
        }
        let bytes = write_key(key);
        if target.staged {
            let mut padded = key.clone();
            padded.resize(table.width(), Value::Null);
            db.conn
                .prepare_cached(&stage::gone(table))?
                .execute(bound(&padded))?;
        } else if target.overlaid.contains(&bytes) {
            table.put_server_row(&db.conn, key, None)?;
            target.recompute.insert(bytes);
        } else {
            db.conn
                .prepare_cached(&table.delete())?
                .execute(bound(key))?;
            target.touched = true;
        }
    }
    Ok(keys.len() as u64)
}

/// Ends the overlays that this complete pull has seen: those settled by the answer to an earlier
/// request, or by this very answer, whose outcomes came before its rows. Says whether any ended.
fn end_overlays(db: &Db, loaded: &Loaded, request: i64, table: &Table) -> Result<bool, Error> {
    let name = &table.entity.name;
    let seen = if zoo::planted("overlay-ends-early") {
        "overlay = 1 AND entity = ?1 AND seen_from <= ?2 + 9"
    } else {
        "overlay = 1 AND entity = ?1 AND seen_from <= ?2"
    };
    let sql = format!("SELECT DISTINCT key FROM afield_change WHERE {seen}");
    let mut statement = db.conn.prepare_cached(&sql)?;
    let keys = statement.query_map(params![name, request], |row| row.get(0))?;
    let keys: Vec<Vec<u8>> = keys.collect::<Result<_, _>>()?;
    if keys.is_empty() {
        return Ok(false);
    }
    let sql = format!("UPDATE afield_change SET overlay = 0 WHERE {seen}");
    db.conn
        .prepare_cached(&sql)?
        .execute(params![name, request])?;
    for key in keys {
        overlay::release(db, loaded, name, &key)?;
    }
    touch(db, name)?;
    Ok(true)
}

/// Counts a write of the entity, for watches of every process.
pub(super) fn touch(db: &Db, entity: &str) -> Result<(), Error> {
    let sql = "UPDATE afield_entity SET touched = touched + 1 WHERE name = ?1";
    db.conn.prepare_cached(sql)?.execute([entity])?;
    Ok(())
}
