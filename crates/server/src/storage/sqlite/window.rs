//! Windows: which rows devices have at an instant, and which have come in since an earlier one.
//!
//! A row is held against the bound in canonical form, as devices do it. The range of an index that
//! finds the rows which came in is a few days wider than need be, since a table may store an
//! instant with any offset: every row of it is held against both bounds.

use afield_protocol::zoo::planted;
use afield_protocol::{Type, Window};
use rusqlite::{Connection, Row, params_from_iter};

use super::entity::EntityTable;
use super::raw::{Raw, read_raw_key};
use super::scope::LOOKED_AT_MAX;
use crate::position::{Place, Progress};
use crate::resolved::{Keep, ServerEntity};

/// Seconds of a day.
const DAY: i64 = 86_400;

/// The instants of a pull of one entity: none, if its rows do not stay for a time.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Instants {
    /// If it starts over.
    pub fresh: Option<i64>,
    /// If it goes on from its position.
    pub resumed: Option<i64>,
    /// That of an idle position, where rows may have come in since.
    pub before: Option<i64>,
}

impl Instants {
    /// Time never goes back for a device, and stands still within a pull: what is unfinished is
    /// finished by the instant at which it began.
    pub(super) fn of(table: &EntityTable, place: Option<&Place>, now: i64) -> Self {
        let Some(keep) = &table.entity.keep else {
            return Self::default();
        };
        let known = place.and_then(|place| Some((place, place.instant?)));
        let Some((place, instant)) = known else {
            return Self {
                fresh: Some(now),
                ..Self::default()
            };
        };
        let latest = match planted("server-window-goes-back") {
            true => now,
            false => now.max(instant),
        };
        let is_idle = place.progress == Progress::Idle;
        let may_grow = is_idle && keep.comparison.grows() && latest > instant;
        let may_grow = may_grow && !planted("server-window-range-not-read");
        let stands = !is_idle && !planted("server-window-moves-under-a-download");
        Self {
            fresh: Some(latest),
            resumed: Some(if stands { instant } else { latest }),
            before: may_grow.then_some(instant),
        }
    }
}

/// What a position of this entity stands for: its name, and what else decides which rows those
/// are, if not all, and what their attributes are. Another rule makes other tokens, so that its
/// entity starts over: devices cannot tell it by their own model.
pub(super) fn label(entity: &ServerEntity) -> String {
    let name = &entity.local.name;
    let keep = entity.keep.as_ref().map(|keep| {
        let column = entity.columns.get(keep.attribute);
        let column = column.map_or("", |column| &column.name);
        let sign = keep.comparison.as_str();
        format!("\0keep {column:?} {sign} {}", keep.seconds)
    });
    let delete = entity.delete.as_ref().map(|delete| {
        let (column, when) = (&delete.column.name, &delete.when);
        format!("\0delete {column:?} {when:?}")
    });
    let from = (entity.table != *name).then(|| format!("\0from {:?}", entity.table));
    let columns = entity.local.attributes.iter().zip(&entity.columns);
    let renamed = columns.filter(|(attribute, column)| attribute.name != column.name);
    let renamed: String = renamed
        .map(|(attribute, column)| format!("\0{:?} as {:?}", column.name, attribute.name))
        .collect();
    let parts = [keep, delete, from, Some(renamed)];
    parts
        .into_iter()
        .flatten()
        .fold(name.clone(), |all, part| all + &part)
}

/// The place behind which rows that came in go on, as a position has it: the attribute and the
/// key. `None` too if none was read yet.
pub(super) fn place(bytes: &[u8], width: usize) -> Option<Vec<Raw>> {
    read_raw_key(bytes).filter(|cells| cells.len() == width)
}

fn kind(table: &EntityTable, keep: &Keep) -> Type {
    table.form(keep.attribute).kind
}

impl EntityTable {
    /// Which rows devices have at an instant.
    pub(super) fn window(&self, at: Option<i64>) -> Option<Window> {
        let keep = self.entity.keep.as_ref()?;
        let bound = kind(self, keep).at(at?.saturating_add(keep.seconds));
        Some(Window {
            entity: self.entity.local.name.clone(),
            attribute: self
                .entity
                .local
                .attributes
                .get(keep.attribute)?
                .name
                .clone(),
            keep: keep.comparison,
            bound: match bound {
                afield_protocol::Value::Text(text) => text,
                _ => return None,
            },
        })
    }

    /// Whether a row goes to devices: it does not count as deleted, and is in the window.
    pub(super) fn is_sent(&self, row: &Row<'_>, window: Option<&Window>) -> rusqlite::Result<bool> {
        let (Some(keep), Some(window)) = (&self.entity.keep, window) else {
            return self.is_alive(row);
        };
        let cell = self.form(keep.attribute).read(row.get_ref(keep.attribute)?);
        Ok(window.keeps(cell.as_ref()) && self.is_alive(row)?)
    }

    /// Calls `each` with the rows that have come into the window between two instants, in the
    /// order of attribute and key, until it says that no more fit. Gives the place behind which
    /// to go on, if there may be more.
    pub(super) fn entering(
        &self,
        conn: &Connection,
        (before, at): (i64, i64),
        after: Option<&[Raw]>,
        each: &mut dyn FnMut(&Row<'_>) -> rusqlite::Result<bool>,
    ) -> rusqlite::Result<Option<Vec<Raw>>> {
        let (Some(keep), Some(sql)) = (&self.entity.keep, self.entering_sql()) else {
            return Ok(None);
        };
        let (was, is) = (self.window(Some(before)), self.window(Some(at)));
        let day = |at: i64, days: i64| {
            let seconds = at.saturating_add(keep.seconds).saturating_add(days * DAY);
            Raw::from_value(&Type::Date.at(seconds))
        };
        let offset = i64::from(kind(self, keep) == Type::Instant);
        let end = day(at, 1 + offset);
        let (sql, cells) = match after {
            None => (&sql.0, vec![day(before, -offset), end]),
            Some(place) => (&sql.1, self.behind_place(place, end)),
        };
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query(params_from_iter(cells))?;
        let (mut last, mut looked_at) = (None, 0);
        while let Some(row) = rows.next()? {
            // Only the next row tells whether there are more.
            if last.is_some() {
                return Ok(last);
            }
            looked_at += 1;
            let has_come = self.is_sent(row, is.as_ref())? && !self.is_sent(row, was.as_ref())?;
            let is_full = has_come && each(row)?;
            if is_full || looked_at >= LOOKED_AT_MAX {
                let attribute = Raw::from_stored(row.get_ref(keep.attribute)?);
                let key = self.raw_key(row, 0)?;
                last = Some(std::iter::once(attribute).chain(key).collect());
            }
        }
        Ok(None)
    }

    /// Whether any row has come in, among those for which `is_mine` holds.
    pub(super) fn any_entered(
        &self,
        conn: &Connection,
        span: (i64, i64),
        is_mine: &dyn Fn(&Row<'_>) -> rusqlite::Result<bool>,
    ) -> rusqlite::Result<bool> {
        let mut after = None;
        loop {
            let mut has_one = false;
            let mut each = |row: &Row<'_>| {
                has_one |= is_mine(row)?;
                Ok(has_one)
            };
            after = self.entering(conn, span, after.as_deref(), &mut each)?;
            if has_one || after.is_none() {
                return Ok(has_one);
            }
        }
    }

    /// The parameters of the statement that goes on behind a place.
    fn behind_place(&self, place: &[Raw], end: Raw) -> Vec<Raw> {
        let (attribute, key) = match place.split_first() {
            Some((attribute, key)) => (attribute.clone(), key),
            None => (Raw::Null, place),
        };
        let mut cells = vec![attribute];
        cells.extend(self.behind(key));
        cells.push(end);
        cells
    }
}
