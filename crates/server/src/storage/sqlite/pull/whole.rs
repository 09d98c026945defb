//! Pull of an entity whose rows are everyone's: rows that came in by time, download, delta.

use std::collections::HashSet;

use afield_protocol::Key;
use afield_protocol::zoo::planted;
use rusqlite::{Connection, Row, params_from_iter};

use super::super::entity::EntityTable;
use super::super::lookups::{Fan, Walked};
use super::super::page::{EntityWriter, PageWriter, Reading};
use super::super::raw::write_raw_key;
use super::super::scope::EachRow;
use super::{Pulled, Seen, State};
use crate::storage::page::LOOKED_AT_MAX;

impl<'a> Pulled<'a> {
    pub(super) fn new(
        name: &'a str,
        table: &'a EntityTable,
        state: State,
        at: Option<i64>,
    ) -> Self {
        Self {
            name,
            table,
            state,
            at,
            window: table.window(at),
        }
    }

    /// Sends the rows that have come into the window by time, if there may be any.
    fn enter(
        &mut self,
        conn: &Connection,
        page: &mut PageWriter,
        snapshot: i64,
    ) -> rusqlite::Result<()> {
        let (
            State::Enter {
                from,
                before,
                after,
            },
            Some(at),
        ) = (&mut self.state, self.at)
        else {
            return Ok(());
        };
        if page.is_full() {
            return Ok(());
        }
        let table = self.table;
        let mut content = EntityWriter::new(page, table);
        let mut has_read = after.is_some();
        let mut each = |row: &Row<'_>| {
            content.row(&table.cells(row)?);
            has_read = true;
            Ok(content.page().is_full())
        };
        let begins = after.as_ref().map(|after| after.last.as_slice());
        let last = table.entering(conn, (*before, at), begins, &mut each)?;
        content.finish();
        match last {
            Some(last) => {
                *after = Some(Seen {
                    seen: snapshot,
                    last,
                });
            }
            None => {
                self.state = State::Delta {
                    from: *from,
                    closing: has_read.then(|| Seen::all(snapshot)),
                    begun: None,
                };
            }
        }
        Ok(())
    }

    /// Goes on with a download, if this entity has one.
    pub(super) fn scan(
        &mut self,
        conn: &Connection,
        page: &mut PageWriter,
        snapshot: i64,
    ) -> rusqlite::Result<()> {
        self.enter(conn, page, snapshot)?;
        let State::Scan { began, after } = &mut self.state else {
            return Ok(());
        };
        if page.is_full() {
            return Ok(());
        }
        let mut content = EntityWriter::new(page, self.table);
        let (sql, from) = self
            .table
            .scan(after.as_ref().map(|after| after.last.as_slice()));
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query(params_from_iter(from))?;
        let mut last = None;
        let mut looked_at = 0;
        while let Some(row) = rows.next()? {
            if let Some(last) = last {
                *after = Some(Seen {
                    seen: snapshot,
                    last,
                });
                content.finish();
                return Ok(());
            }
            looked_at += 1;
            if self.table.is_sent(row, self.window.as_ref())? {
                content.row(&self.table.cells(row)?);
            }
            if content.page().is_full() || looked_at >= LOOKED_AT_MAX {
                last = Some(self.table.raw_key(row, 0)?);
            }
        }
        content.finish();
        self.state = if planted("server-scan-forgets-closing-delta") {
            State::Done
        } else {
            State::Delta {
                from: *began,
                closing: Some(Seen::all(snapshot)),
                begun: None,
            }
        };
        Ok(())
    }

    /// Calls `each` with every row that devices have.
    pub(super) fn each_row(
        &self,
        conn: &Connection,
        each: &mut EachRow<'_>,
    ) -> rusqlite::Result<()> {
        let (sql, _) = self.table.scan(None);
        let mut statement = conn.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let is_sent = self.table.is_sent(row, self.window.as_ref())?;
            if is_sent && !each(&self.table.cells(row)?, &[])? {
                break;
            }
        }
        Ok(())
    }

    /// Delivers rows that the device asks for by their identifiers, as far as the page goes.
    pub(super) fn fetch(
        &self,
        conn: &Connection,
        page: &mut PageWriter,
        keys: &[Key],
    ) -> rusqlite::Result<()> {
        let reading = Reading {
            sql: self.table.shown(),
            beside: &|_| Ok(Some(Vec::new())),
            window: self.window.as_ref(),
        };
        EntityWriter::new(page, self.table).fetch(conn, keys, &reading)
    }

    /// Delivers the rows that were touched since, and those that show what was, up to this
    /// snapshot's change number.
    pub(super) fn delta(
        &mut self,
        conn: &Connection,
        page: &mut PageWriter,
        snapshot: i64,
    ) -> rusqlite::Result<()> {
        let State::Delta {
            from,
            closing,
            begun,
        } = &mut self.state
        else {
            return Ok(());
        };
        let skipped = i64::from(planted("server-delta-skips-one"));
        let mut content = EntityWriter::new(page, self.table);
        let reading = Reading {
            sql: self.table.shown(),
            beside: &|_| Ok(Some(Vec::new())),
            window: self.window.as_ref(),
        };
        let has_lookups = !self.table.lookups.routes.is_empty();
        let mut told = HashSet::new();
        let mut fan = Fan::new(self.table, *from, snapshot, begun.take());
        let mut statement = conn.prepare_cached(self.table.marks_after())?;
        let mut marks = statement.query([*from + skipped])?;
        let mut own = self.table.mark(marks.next()?)?;
        let cut = loop {
            let shown = fan.next(conn)?;
            let is_own = |(change, _): &(i64, _)| shown.is_none_or(|shown| *change < shown);
            let Some((change, key)) = own.take_if(|mark| is_own(mark)) else {
                let Some(shown) = shown else {
                    break None;
                };
                let mut row = |row: &Row<'_>| content.shown(row, &reading, &mut told);
                if let Walked::Cut(below, begun) = fan.walk(conn, &mut row)? {
                    break Some((below, begun));
                }
                *from = shown;
                continue;
            };
            // Marks that share a number share a page: the position can only say "up to here".
            if content.page().is_full() && change != *from {
                break Some((*from, None));
            }
            if !has_lookups || told.insert(write_raw_key(&key)) {
                content.touched(conn, &key, &reading)?;
            }
            *from = change;
            own = self.table.mark(marks.next()?)?;
        };
        content.finish();
        let Some((below, rest)) = cut else {
            self.state = State::Done;
            return Ok(());
        };
        *from = match planted("server-cut-forgets-the-rest") {
            true => snapshot,
            false => below,
        };
        *begun = rest;
        // What was read may be newer than the number: a row's lookups, or a row by its lookups.
        if has_lookups {
            *closing = Some(Seen::all(snapshot));
        }
        Ok(())
    }
}
