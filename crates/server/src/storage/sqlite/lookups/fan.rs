//! The fan-out: from the marks of what lookups read to the rows that show it, as far as a page
//! goes.
//!
//! Marks are taken in the order of their numbers, those of one number route by route and key by
//! key; the rows of one mark in the order of the keys on the way, then of their own. So a page may
//! end anywhere, and the position says where: everything up to a number, and of the next one up to
//! a row. If the mark has a higher number by then, because its row changed again, its rows are all
//! sent again when that number comes; nothing depends on where it stood.

use std::collections::VecDeque;

use afield_protocol::zoo::planted;
use rusqlite::{Connection, Row, params, params_from_iter};

use super::super::entity::EntityTable;
use super::super::raw::{Raw, read_raw_key, write_raw_key};
use super::Route;
use crate::position::{read_varint, write_varint};
use crate::storage::page::LOOKED_AT_MAX;

/// Marks that are read at once.
const MARKS_READ: usize = 64;

/// A fan-out that a page ended in: of the marks with the number behind the position's.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Begun {
    /// Its route, by its place.
    route: usize,
    /// The key that is marked.
    key: Raw,
    /// How far it has come: keys on the way, then the row's own; any part from the left.
    last: Vec<Raw>,
}

impl Begun {
    pub(in super::super) fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_varint(&mut bytes, self.route as u64);
        bytes.extend(write_raw_key(std::slice::from_ref(&self.key)));
        bytes.extend(write_raw_key(&self.last));
        bytes
    }

    /// `None` if it is none of this entity.
    pub(in super::super) fn read(bytes: &[u8], table: &EntityTable) -> Option<Self> {
        let (route, rest) = read_varint(bytes)?;
        let route = usize::try_from(route).ok()?;
        let steps = table.lookups.routes.get(route)?.steps.len();
        let mut cells = read_raw_key(rest)?.into_iter();
        let (key, last) = (cells.next()?, cells.collect::<Vec<_>>());
        let fits = last.len() <= steps || last.len() == steps + table.key_width();
        fits.then_some(Self { route, key, last })
    }
}

/// A mark of a row that lookups read.
#[derive(Clone, Debug)]
struct Mark {
    change: i64,
    key: Raw,
}

/// The marks of one route that are to come.
struct Ahead {
    marks: VecDeque<Mark>,
    /// Where to read on.
    next: Next,
    is_all: bool,
}

enum Next {
    /// Above a number.
    Above(i64),
    /// At this number and key.
    At(i64, Raw),
    /// Behind them.
    Behind(i64, Raw),
}

/// The fan-outs of an entity above a number, in one snapshot.
pub(in super::super) struct Fan<'a> {
    table: &'a EntityTable,
    routes: Vec<Ahead>,
    upto: i64,
    /// The number that the begun fan-out has, and how far it has come.
    begun: Option<(i64, Begun)>,
    looked_at: usize,
}

/// How far a fan-out went.
pub(in super::super) enum Walked {
    /// All rows of the marks with this number were looked at, or more are to come of it.
    Mark,
    /// The page ends before that is so: everything below the number was.
    Cut(i64, Option<Begun>),
}

impl<'a> Fan<'a> {
    /// The marks above `from` and up to `upto`; `begun` says how far the first of them has come.
    pub(in super::super) fn new(
        table: &'a EntityTable,
        from: i64,
        upto: i64,
        begun: Option<Begun>,
    ) -> Self {
        let ahead = |at: usize| {
            let next = match &begun {
                Some(begun) if at == begun.route => Next::At(from + 1, begun.key.clone()),
                // Routes before it are through with that number.
                Some(begun) if at < begun.route => Next::Above(from + 1),
                _ => Next::Above(from),
            };
            Ahead {
                marks: VecDeque::new(),
                next,
                is_all: false,
            }
        };
        Self {
            table,
            routes: (0..table.lookups.routes.len()).map(ahead).collect(),
            upto,
            begun: begun.map(|begun| (from + 1, begun)),
            looked_at: 0,
        }
    }

    /// The number of the next mark.
    pub(in super::super) fn next(&mut self, conn: &Connection) -> rusqlite::Result<Option<i64>> {
        Ok(self.nearest(conn)?.map(|(_, change)| change))
    }

    /// The route of the next mark, and its number.
    fn nearest(&mut self, conn: &Connection) -> rusqlite::Result<Option<(usize, i64)>> {
        let mut nearest: Option<(usize, i64)> = None;
        for at in 0..self.routes.len() {
            let Some(change) = self.head(conn, at)? else {
                continue;
            };
            if nearest.is_none_or(|(_, before)| change < before) {
                nearest = Some((at, change));
            }
        }
        Ok(nearest)
    }

    /// The number of a route's next mark.
    fn head(&mut self, conn: &Connection, at: usize) -> rusqlite::Result<Option<i64>> {
        let (Some(ahead), Some(route)) =
            (self.routes.get_mut(at), self.table.lookups.routes.get(at))
        else {
            return Ok(None);
        };
        if ahead.marks.is_empty() && !ahead.is_all {
            ahead.read(conn, route, self.upto)?;
        }
        Ok(ahead.marks.front().map(|mark| mark.change))
    }

    /// Goes through the rows that show the next mark, each of which `row` takes; where it says no
    /// the page ends, and that row is looked at again.
    pub(in super::super) fn walk(
        &mut self,
        conn: &Connection,
        row: &mut dyn FnMut(&Row<'_>) -> rusqlite::Result<bool>,
    ) -> rusqlite::Result<Walked> {
        let Some((at, change)) = self.nearest(conn)? else {
            return Ok(Walked::Mark);
        };
        let routes = &self.table.lookups.routes;
        let mark = self.routes.get(at).and_then(|ahead| ahead.marks.front());
        let (Some(Mark { key, .. }), Some(route)) = (mark.cloned(), routes.get(at)) else {
            return Ok(Walked::Mark);
        };
        // Under a higher number it is touched anew, and all its rows are to come.
        let is_it = |(number, begun): &(i64, Begun)| {
            (*number == change || planted("server-fan-out-keeps-its-place"))
                && begun.route == at
                && begun.key == key
        };
        let after = self.begun.take().filter(is_it);
        let after = after.map_or_else(Vec::new, |(_, begun)| begun.last);
        let begun = |last| {
            Some(Begun {
                route: at,
                key: key.clone(),
                last,
            })
        };
        if self.looked_at >= LOOKED_AT_MAX {
            return Ok(Walked::Cut(change - 1, begun(after)));
        }
        self.looked_at += 1;
        let mut walk = Walk {
            conn,
            table: self.table,
            route,
            row,
            looked_at: &mut self.looked_at,
        };
        if let Some(last) = walk.step(0, &key, &after)? {
            return Ok(match planted("server-fan-out-cut-forgets") {
                true => Walked::Cut(change, None),
                false => Walked::Cut(change - 1, begun(last)),
            });
        }
        if let Some(ahead) = self.routes.get_mut(at) {
            ahead.marks.pop_front();
        }
        Ok(Walked::Mark)
    }
}

impl Ahead {
    fn read(&mut self, conn: &Connection, route: &Route, upto: i64) -> rusqlite::Result<()> {
        let (sql, change, key) = match &self.next {
            Next::Above(change) => (&route.marks_above, *change, &Raw::Null),
            Next::At(change, key) => (&route.marks_from, *change, key),
            Next::Behind(change, key) => (&route.marks_behind, *change, key),
        };
        let mut statement = conn.prepare_cached(sql)?;
        let most = i64::try_from(MARKS_READ).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![change, key, upto, most])?;
        while let Some(row) = rows.next()? {
            self.marks.push_back(Mark {
                change: row.get(0)?,
                key: Raw::from_stored(row.get_ref(1)?),
            });
        }
        self.is_all = self.marks.len() < MARKS_READ;
        if let Some(Mark { change, key }) = self.marks.back() {
            self.next = Next::Behind(*change, key.clone());
        }
        Ok(())
    }
}

/// A walk from a mark back to the rows that show it.
struct Walk<'w, 'r> {
    conn: &'w Connection,
    table: &'w EntityTable,
    route: &'w Route,
    row: &'r mut dyn FnMut(&Row<'_>) -> rusqlite::Result<bool>,
    looked_at: &'w mut usize,
}

impl Walk<'_, '_> {
    /// The rows that lead to `value` of the table before step `at`. If the page ends before all of
    /// them were looked at: how far it has come.
    fn step(
        &mut self,
        at: usize,
        value: &Raw,
        after: &[Raw],
    ) -> rusqlite::Result<Option<Vec<Raw>>> {
        let route = self.route;
        let Some(step) = route.steps.get(at) else {
            return self.rows(value, after);
        };
        let (sql, cells) = match after.first() {
            None => (&step.first, vec![value]),
            Some(key) => (&step.from, vec![value, key]),
        };
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query(params_from_iter(cells))?;
        while let Some(row) = rows.next()? {
            let key = Raw::from_stored(row.get_ref(0)?);
            let rest = match after.split_first() {
                Some((first, rest)) if *first == key => rest,
                _ => &[],
            };
            if *self.looked_at >= LOOKED_AT_MAX {
                return Ok(Some([&[key], rest].concat()));
            }
            *self.looked_at += 1;
            if let Some(last) = self.step(at + 1, &key, rest)? {
                return Ok(Some([vec![key], last].concat()));
            }
        }
        Ok(None)
    }

    fn rows(&mut self, value: &Raw, after: &[Raw]) -> rusqlite::Result<Option<Vec<Raw>>> {
        let (sql, mut cells) = self.table.referring(&self.route.column, after);
        cells.push(value.clone());
        let mut last = after.to_vec();
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query(params_from_iter(cells))?;
        while let Some(row) = rows.next()? {
            if *self.looked_at >= LOOKED_AT_MAX || !(self.row)(row)? {
                return Ok(Some(last));
            }
            *self.looked_at += 1;
            last = self.table.raw_key(row, 0)?;
        }
        Ok(None)
    }
}

/// Whether a row shows something that is marked above `from`, and `is_mine`. Where finding out
/// takes too long the answer is yes.
pub(in super::super) fn is_any_shown(
    conn: &Connection,
    table: &EntityTable,
    from: i64,
    upto: i64,
    is_mine: &dyn Fn(&Row<'_>) -> rusqlite::Result<bool>,
) -> rusqlite::Result<bool> {
    let mut fan = Fan::new(table, from, upto, None);
    while fan.next(conn)?.is_some() {
        if let Walked::Cut(..) = fan.walk(conn, &mut |row| Ok(!is_mine(row)?))? {
            return Ok(true);
        }
    }
    Ok(false)
}
