//! One entity of a page: where its rows go, and what becomes of it when the page ends.

use std::collections::{BTreeSet, HashSet};

use afield_protocol::codec::cbor::{read_key, write_key};
use afield_protocol::{Cell, Code, Frame, Held, Key, RowBlock, Value, Window, zoo};
use rusqlite::params;

use super::db::{Db, Loaded};
use super::page::{self, standing};
use super::scope::{self, Question, Told};
use super::sql::{Bound, bound};
use super::tables::Table;
use super::{conflict, overlay, stage, vacuum, window};
use crate::error::Error;

/// One entity of a page: where its rows go.
pub(super) struct Target<'a> {
    pub(super) table: &'a Table,
    pub(super) position: &'a Vec<u8>,
    /// Whether its rows go to the stage first.
    pub(super) staged: bool,
    /// Identifiers that have overlays.
    overlaid: HashSet<Vec<u8>>,
    /// Overlaid identifiers that this page brought something for.
    recompute: HashSet<Vec<u8>>,
    touched: bool,
    /// Whether this is, or belongs to, its first download.
    pub(super) is_first: bool,
    /// Whether rows may have left with this page or, in a first download, with one before it.
    pub(super) lost: bool,
    /// Whether rows left with this page.
    left: bool,
    /// Whether rows, or staged ones, were deleted with this page.
    pub(super) removed: bool,
    /// What the page says of the values of its scope.
    told: Told,
    /// Which rows stay, if the page says so.
    window: Option<Window>,
}

impl<'a> Target<'a> {
    pub(super) fn new(
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
        let removed = reset && stage::start_over(db, table)?;
        let is_first = !standing.complete;
        // Rows that an upgrade carried over are replaced as a whole.
        let carried = !is_first && standing.newest().is_none();
        let staged = reset || standing.stage_position.is_some() || !(is_first || complete);
        let staged = staged || carried;
        let overlaid = match staged && !complete {
            // Its rows are switched later.
            true => HashSet::new(),
            false => {
                let keys = overlay::keys(db, table)?;
                keys.iter().map(|key| write_key(key)).collect()
            }
        };
        let recompute = HashSet::new();
        Ok(Self {
            table,
            position,
            staged,
            overlaid,
            recompute,
            touched: false,
            is_first,
            lost: is_first,
            left: false,
            removed,
            told: Told::default(),
            window: None,
        })
    }

    /// Whether rows may have left with this page whose scope has values.
    pub(super) fn may_have_let_go(&self) -> bool {
        self.left && !self.table.scope_columns.is_empty()
    }

    /// Drops the rows that do not stay, now that this page takes effect. Gives how many left.
    pub(super) fn evict(&mut self, db: &mut Db) -> Result<u64, Error> {
        let Some(window) = &self.window else {
            return Ok(0);
        };
        let left = window::evict(db, self.table, window)?;
        if left > 0 {
            (self.lost, self.left, self.removed) = (true, true, true);
            page::touch(db, &self.table.entity.name)?;
        }
        Ok(left)
    }

    /// Stores the new values of its scope and the new position, and switches what was staged if
    /// the page completes it. Gives how many rows left with the values.
    pub(super) fn finish(&mut self, db: &Db, complete: bool) -> Result<u64, Error> {
        let name = &self.table.entity.name;
        let mut left = 0;
        if self.staged {
            scope::stage(db, self.table, &self.told)?;
        } else {
            left += self.take_values(db, complete)?;
        }
        if self.staged && !complete {
            let sql = "UPDATE afield_entity SET stage_position = ?2 WHERE name = ?1";
            db.conn
                .prepare_cached(sql)?
                .execute(params![name, self.position])?;
            return Ok(left);
        }
        if self.staged {
            let switched = stage::switch(db, self.table)?;
            left += switched.left;
            self.removed |= switched.removed;
            self.recompute.extend(self.overlaid.drain());
            self.touched = true;
            self.lost |= switched.removed || switched.left > 0;
            self.left = true;
        }
        let sql = "UPDATE afield_entity SET position = ?2, complete = max(complete, ?3), \
                   stage_position = NULL, stage_reset = 0, unfetched = '' WHERE name = ?1";
        db.conn
            .prepare_cached(sql)?
            .execute(params![name, self.position, complete])?;
        Ok(left)
    }

    /// Computes the rows again that this page brought something for, and those whose overlays have
    /// `ended` with it. Gives those of the latter that the server does not have.
    pub(super) fn recompute(
        &mut self,
        db: &Db,
        loaded: &Loaded,
        ended: &BTreeSet<Vec<u8>>,
        are_parked: bool,
    ) -> Result<BTreeSet<Vec<u8>>, Error> {
        let (table, name) = (self.table, &self.table.entity.name);
        let mut gone = BTreeSet::new();
        for key in &self.recompute {
            if are_parked {
                conflict::refreshed(db, name, key)?;
            }
            if !ended.contains(key) {
                overlay::release(db, loaded, name, key)?;
            }
        }
        for key in ended {
            let exists = match overlay::release(db, loaded, name, key)? {
                Some(exists) => exists,
                None => table.row(&db.conn, &read_key(key)?)?.is_some(),
            };
            if !exists {
                gone.insert(key.clone());
                if table.entity.erase {
                    vacuum::due(db, table)?;
                }
            }
        }
        self.touched |= !self.recompute.is_empty() || !ended.is_empty();
        if self.touched {
            page::touch(db, name)?;
        }
        Ok(gone)
    }

    /// Stores the values that were gained and lost, and lets go what no way in is left for. Gives
    /// how many rows that are.
    fn take_values(&mut self, db: &Db, complete: bool) -> Result<u64, Error> {
        let table = self.table;
        let told = std::mem::take(&mut self.told);
        scope::hold(db, table, &told)?;
        let mut left = 0;
        for value in &told.lost {
            for column in 0..table.scope_columns.len() {
                left += self.let_go(
                    db,
                    match complete {
                        true => Question::Lost(column, *value),
                        false => Question::LostWhileGrowing(column, *value),
                    },
                )?;
                let sql = scope::forget_value(table, column);
                db.conn.prepare_cached(&sql)?.execute([value])?;
                db.crash_point("value-forgotten")?;
            }
        }
        if complete && self.is_first && !table.scope_columns.is_empty() {
            left += self.let_go(db, Question::Complete)?;
        }
        Ok(left)
    }

    /// Keeps a row beside the visible one, if that has overlays.
    fn put_aside(&mut self, db: &Db, row: &[Cell<'_>]) -> Result<bool, Error> {
        if self.staged || self.overlaid.is_empty() {
            return Ok(false);
        }
        let values: Vec<Value> = row.iter().map(|cell| cell.as_ref().to_value()).collect();
        let key = values.get(..self.table.entity.key_width).unwrap_or(&[]);
        let bytes = write_key(key);
        let is_overlaid = self.overlaid.contains(&bytes) && !zoo::planted("pull-over-unsent");
        if is_overlaid {
            self.table.put_server_row(&db.conn, key, Some(&values))?;
            self.recompute.insert(bytes);
        }
        Ok(is_overlaid)
    }

    fn let_go(&mut self, db: &Db, question: Question) -> Result<u64, Error> {
        let mut left = 0;
        let mut after = Some(i64::MIN);
        while let Some(at) = after {
            let leaving = scope::leaving(db, self.table, question, at)?;
            left += write_gone(db, self, &leaving.keys)?;
            after = leaving.next;
            db.crash_point("let-go")?;
        }
        Ok(left)
    }
}

pub(super) fn write_frame(
    db: &Db,
    targets: &mut [Target<'_>],
    frame: &Frame,
) -> Result<u64, Error> {
    let (Frame::Rows(RowBlock { entity, .. })
    | Frame::Gone { entity, .. }
    | Frame::Held(Held { entity, .. })
    | Frame::Window(Window { entity, .. })) = frame
    else {
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
        Frame::Held(held) => target.told.take(target.table, held).map(|()| 0),
        Frame::Window(window) => {
            window::check(target.table, window)?;
            target.window = Some(window.clone());
            Ok(0)
        }
        _ => Ok(0),
    }
}

fn write_rows(db: &Db, target: &mut Target<'_>, block: &RowBlock) -> Result<u64, Error> {
    let table = target.table;
    let columns = table.entity.columns();
    let names = columns.iter().map(|(name, _)| name);
    if !names.eq(block.columns.iter()) {
        let message = format!(
            "rows of `{}` have other columns than the model",
            block.entity
        );
        return Err(Error::new(Code::MODEL_CHANGED, message));
    }
    let sql = if target.staged {
        stage::row(table)
    } else {
        table.upsert().to_owned()
    };
    let is_scoped = !table.scope_columns.is_empty();
    let written = match target.staged {
        true => columns.len(),
        false => table.width(),
    };
    let mut statement = db.conn.prepare_cached(&sql)?;
    let mut brought = match is_scoped && !target.staged {
        true => Some(db.conn.prepare_cached(&scope::upsert(table))?),
        false => None,
    };
    let mut count = 0;
    block.for_each(|cells| {
        count += 1;
        let (row, values) = cells
            .split_at_checked(table.width())
            .unwrap_or((cells, &[]));
        if is_scoped {
            scope::check(table, values.iter().map(|cell| cell.as_ref()))?;
        }
        let key = row.get(..table.entity.key_width).unwrap_or(row);
        if let Some(brought) = &mut brought {
            let cells = key.iter().chain(values).map(|cell| Bound(cell.as_ref()));
            brought.execute(rusqlite::params_from_iter(cells))?;
        }
        if target.put_aside(db, row)? {
            return Ok(());
        }
        let cells = cells.iter().take(written).map(|cell| Bound(cell.as_ref()));
        statement.execute(rusqlite::params_from_iter(cells))?;
        target.touched = true;
        Ok::<(), Error>(())
    })?;
    Ok(count)
}

fn write_gone(db: &Db, target: &mut Target<'_>, keys: &[Key]) -> Result<u64, Error> {
    let table = target.table;
    target.lost |= !keys.is_empty();
    target.left |= !keys.is_empty();
    target.removed |= !keys.is_empty();
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
            padded.resize(table.width() + table.scope_columns.len(), Value::Null);
            db.conn
                .prepare_cached(&stage::gone(table))?
                .execute(bound(&padded))?;
            continue;
        }
        if !table.scope_columns.is_empty() {
            db.conn
                .prepare_cached(&scope::delete(table))?
                .execute(bound(key))?;
        }
        if target.overlaid.contains(&bytes) {
            table.put_server_row(&db.conn, key, None)?;
            target.recompute.insert(bytes);
        } else {
            db.conn
                .prepare_cached(table.delete())?
                .execute(bound(key))?;
            target.touched = true;
        }
    }
    Ok(keys.len() as u64)
}
