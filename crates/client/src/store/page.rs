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
//! the visible row is recomputed from it. Rows that stay for a time only leave last of all.

use std::collections::BTreeSet;

use afield_protocol::{Code, Frame, Page, PageEnd, Position, zoo};
use rusqlite::{OptionalExtension, params};

use super::db::{Db, Loaded};
use super::tables::Table;
use super::target::{Target, write_frame};
use super::{conflict, doubt, erase, import, uncaptured, vacuum};
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

/// What applying a page did.
pub(super) struct Done {
    pub(super) page: PageApplied,
    /// Whether rows may have left whose scope has values: what there was of them must not stay in
    /// the write-ahead log.
    pub(super) left: bool,
}

/// Where an entity's download stands.
pub(super) struct Standing {
    position: Option<Vec<u8>>,
    pub(super) complete: bool,
    pub(super) stage_position: Option<Vec<u8>>,
}

impl Standing {
    /// The position that the next page must continue from.
    pub(super) fn newest(&self) -> Option<&Vec<u8>> {
        self.stage_position.as_ref().or(self.position.as_ref())
    }
}

pub(super) fn standing(db: &Db, entity: &str) -> Result<Standing, Error> {
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
) -> Result<Done, Error> {
    let loaded = db.loaded()?;
    for (entity, from) in &page.from {
        if standing(db, entity)?.newest() != from.as_ref() && !zoo::planted("page-unchecked") {
            return Ok(Done {
                page: PageApplied::Overtaken,
                left: false,
            });
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
    let mut doubted = doubt::entities(db)?;
    doubted.retain(|name| end.complete && end.to.iter().any(|(entity, _)| entity == name));
    let doubts = doubt::collect(db, &loaded, &doubted)?;
    if zoo::planted("position-before-rows") {
        store_positions_first(db, &targets)?;
    }
    let mut rows = 0;
    for frame in content {
        rows += write_frame(db, &mut targets, frame)?;
        db.crash_point("page-frame")?;
    }
    for target in &mut targets {
        rows += target.finish(db, end.complete)?;
        db.crash_point("page-entity")?;
    }
    let are_parked = conflict::are_parked(db)?;
    for target in &mut targets {
        rows += show(db, &loaded, request, target, end.complete, are_parked)?;
    }
    let left = targets.iter().any(Target::may_have_let_go);
    let is_visible = end.complete || targets.iter().any(|target| !target.staged);
    let page = if is_visible {
        PageApplied::Applied { rows }
    } else {
        PageApplied::Staged { rows }
    };
    if !doubted.is_empty() {
        doubt::end(db, &loaded, &doubted, doubts)?;
    }
    Ok(Done { page, left })
}

/// Makes what a page brought of an entity what is seen. Gives how many rows left with that.
fn show(
    db: &mut Db,
    loaded: &Loaded,
    request: i64,
    target: &mut Target<'_>,
    complete: bool,
    are_parked: bool,
) -> Result<u64, Error> {
    let table = target.table;
    let ended = match complete {
        true => end_overlays(db, request, table)?,
        false => BTreeSet::new(),
    };
    let gone = target.recompute(db, loaded, &ended, are_parked)?;
    if target.is_first && (complete || !target.staged) {
        import::lay_arrived(db, loaded, table)?;
    }
    // Behind these: a change that has just ended keeps its row here no longer.
    let left = match complete || !target.staged {
        true => target.evict(db)?,
        false => 0,
    };
    if complete && !zoo::planted("scope-exit-keeps-history") {
        if target.lost {
            erase::history(db, loaded, table, None)?;
        } else if !gone.is_empty() {
            erase::history(db, loaded, table, Some(&gone))?;
        }
        if target.lost || !ended.is_empty() {
            uncaptured::left(db, table)?;
        }
    }
    if target.removed {
        vacuum::due(db, table)?;
    }
    Ok(left)
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

/// Ends the overlays that this complete pull has seen: those settled by the answer to an earlier
/// request, or by this very answer, whose outcomes came before its rows. Gives the identifiers of
/// their rows, which are to be computed again.
fn end_overlays(db: &Db, request: i64, table: &Table) -> Result<BTreeSet<Vec<u8>>, Error> {
    let seen = if zoo::planted("overlay-ends-early") {
        "overlay = 1 AND entity = ?1 AND seen_from <= ?2 + 9"
    } else {
        "overlay = 1 AND entity = ?1 AND seen_from <= ?2"
    };
    let sql = format!("UPDATE afield_change SET overlay = 0 WHERE {seen} RETURNING key");
    let mut statement = db.conn.prepare_cached(&sql)?;
    let keys = statement.query_map(params![table.entity.name, request], |row| row.get(0))?;
    Ok(keys.collect::<Result<_, _>>()?)
}

/// Counts a write of the entity, for watches of every process.
pub(super) fn touch(db: &Db, entity: &str) -> Result<(), Error> {
    let sql = "UPDATE afield_entity SET touched = touched + 1 WHERE name = ?1";
    db.conn.prepare_cached(sql)?.execute([entity])?;
    Ok(())
}
