//! Writes of orders, lines and remarks: by the app, by another process, by others on the server.

use afield::{Error, Params, Transaction};
use afield_protocol::{Key, Value};
use rusqlite::Connection;

use super::World;
use super::device::{Done, unexplained};
use crate::action::{By, OrderEdit};
use crate::app;
use crate::deed::{Deed, Kind, Picture, outcome};
use crate::oracle::view::View;
use crate::statements::{Side, Statement};
use crate::violation::{Promise, Violation};

/// Deeds of a transaction, each with the identifier of the row that it made.
pub(super) type Deeds = Vec<(Deed, Option<Key>)>;

impl World {
    /// Somebody writes orders, lines and remarks in one transaction.
    pub(super) fn orders(&mut self, by: By, edits: &[OrderEdit]) -> Result<(), Violation> {
        let present = self.devices.len();
        match by {
            By::App(device) => self.app_orders(device % present, edits),
            By::OtherProcess(device) => self.other_orders(device % present, edits),
            By::Foreign => self.foreign_orders(edits),
        }
    }

    fn app_orders(&mut self, device: usize, edits: &[OrderEdit]) -> Result<(), Violation> {
        if !self.records[device].view.has_model {
            return Ok(());
        }
        let picture = self.picture(device);
        let mut deeds = Deeds::new();
        let done = self.devices[device].with_store(|store| {
            store.transaction(|tx| write_all(tx, edits, picture, &mut deeds))
        })?;
        match done {
            Done::Well(()) => {
                self.tally.count("app wrote orders");
                for (deed, key) in deeds.iter().filter(|(deed, _)| deed.kind == Kind::Make) {
                    let key = key.clone().unwrap_or_else(|| deed.key.clone());
                    let remembered = &mut self.records[device].tagged.remembered;
                    remembered.insert(deed.tag.clone(), key);
                }
            }
            Done::Refused(error) => return Err(unexplained("the app writes orders", &error)),
            Done::Died { power } => {
                if power {
                    deeds
                        .iter()
                        .for_each(|(deed, _)| self.counters.forget(&deed.tag));
                    self.died(device, true)?;
                    let after = View::read(&self.devices[device].other)?;
                    let tagged = &mut self.records[device].tagged;
                    for (deed, _) in &deeds {
                        tagged.may_have_typed(&deed.tag, &deed.set, &after);
                    }
                    return Ok(());
                }
                self.died(device, false)?;
                return self.wrote_orders(device, None);
            }
        }
        self.wrote_orders(device, Some(&deeds))
    }

    fn other_orders(&mut self, device: usize, edits: &[OrderEdit]) -> Result<(), Violation> {
        if !self.seal_apart(device, false)? || !self.records[device].view.has_model {
            return Ok(());
        }
        let mut picture = self.picture(device);
        let conn = &self.devices[device].other;
        conn.execute_batch("BEGIN IMMEDIATE")?;
        let mut deeds = Deeds::new();
        for edit in edits {
            let Some(deed) = picture.deed(edit) else {
                continue;
            };
            match run(conn, &deed, Side::Device, edit.n.is_multiple_of(2)) {
                // A row under an old identifier that is not sealed yet: SQL does not find it.
                Ok(Ran::Nothing) => {}
                Ok(Ran::Done(id)) => {
                    picture.done(&deed, id);
                    deeds.push((deed, id.map(|id| vec![Value::Integer(id)])));
                }
                Err(error) => {
                    conn.execute_batch("ROLLBACK")?;
                    return Err(error.into());
                }
            }
        }
        conn.execute_batch("COMMIT")?;
        self.tally.count("another process wrote orders");
        self.devices[device].other_wrote()?;
        self.devices[device].look_again();
        self.wrote_orders(device, Some(&deeds))
    }

    fn foreign_orders(&mut self, edits: &[OrderEdit]) -> Result<(), Violation> {
        let mut picture = Picture {
            rows: self.server_record.tagged_rows(self.server_record.now())?,
            ..Picture::default()
        };
        let team = &self.server.team;
        team.execute_batch("BEGIN IMMEDIATE; UPDATE sim_context SET who = 'foreign'")?;
        let mut deeds = Vec::new();
        for edit in edits {
            let Some(deed) = picture.deed(edit) else {
                continue;
            };
            match run(team, &deed, Side::Server, false) {
                Ok(Ran::Done(id)) => picture.done(&deed, id),
                Ok(Ran::Nothing) => {}
                Err(rusqlite::Error::SqliteFailure(..)) => {
                    self.tally.count("foreign transaction failed");
                    return Ok(team.execute_batch("ROLLBACK")?);
                }
                Err(error) => return Err(error.into()),
            }
            deeds.push(deed);
        }
        team.execute_batch("UPDATE sim_context SET who = 'push'; COMMIT")?;
        self.tally.count("foreign transaction of orders");
        for deed in deeds.iter().filter(|deed| deed.tag.entity() == app::ORDER) {
            self.counters.add(&deed.tag, deed.by);
        }
        self.server_record.observe(&self.server.team)?;
        Ok(())
    }

    /// Somebody does one thing on the server.
    pub(super) fn team_does(&mut self, deed: &Deed) -> Result<(), Violation> {
        let team = &self.server.team;
        team.execute_batch("BEGIN IMMEDIATE; UPDATE sim_context SET who = 'foreign'")?;
        run(team, deed, Side::Server, false)?;
        team.execute_batch("UPDATE sim_context SET who = 'push'; COMMIT")?;
        self.tally.count("foreign transaction of orders");
        self.counters.add(&deed.tag, deed.by);
        self.server_record.observe(&self.server.team)?;
        Ok(())
    }

    /// What the app on a device sees.
    fn picture(&self, device: usize) -> Picture {
        let record = &self.records[device];
        Picture {
            rows: record.view.tagged.clone(),
            remembered: record.tagged.remembered.clone(),
        }
    }

    /// What another process wrote to rows of one kind is sealed before it writes to the other: the
    /// oracle wants each in groups of their own. Says whether that went well.
    pub(super) fn seal_apart(
        &mut self,
        device: usize,
        are_tagged: bool,
    ) -> Result<bool, Violation> {
        if View::read(&self.devices[device].other)?.has_captured(are_tagged) {
            self.seal(device)?;
        }
        Ok(!self.records[device].view.has_captured(are_tagged))
    }

    /// Notes what a write did, and that it can be read.
    pub(super) fn wrote_orders(
        &mut self,
        device: usize,
        deeds: Option<&Deeds>,
    ) -> Result<(), Violation> {
        let after = View::read(&self.devices[device].other)?;
        let record = &mut self.records[device];
        let counted = record.tagged.wrote(&record.view, &after);
        counted
            .iter()
            .for_each(|(tag, by)| self.counters.add(tag, *by));
        let unmade = record.tagged.unmade();
        unmade.for_each(|tag| self.counters.forget(tag));
        let deeds: Vec<Deed> = deeds
            .into_iter()
            .flatten()
            .map(|(deed, _)| deed.clone())
            .collect();
        for (tag, values) in outcome(&deeds) {
            let of_tag = |view: &View| view.tagged.iter().filter(|row| row.tag == tag).count();
            if values.is_none() && of_tag(&after) > 0 && of_tag(&after) < of_tag(&record.view) {
                // Its twin is still there, which a pull brought before the outcome came.
                continue;
            }
            let rows = after.tagged.iter().filter(|row| row.tag == tag);
            let mut rows = rows.filter(|row| {
                let mut values = values.iter().flatten();
                values.all(|(at, value)| row.values[*at] == *value)
            });
            if rows.next().is_some() != values.is_some() {
                let invariant = "what the user writes is what the user reads";
                let detail = format!("d{device} {tag}: wrote {values:?}");
                return Err(Violation::new(Promise::P3, invariant, detail));
            }
        }
        Ok(())
    }
}

/// Writes in a transaction of the app.
fn write_all(
    tx: &mut Transaction<'_>,
    edits: &[OrderEdit],
    mut picture: Picture,
    deeds: &mut Deeds,
) -> Result<(), Error> {
    for edit in edits {
        // A row that SQL made under an old identifier is found by actions once it is sealed, not
        // in its own transaction.
        let old_id = edit.old_id && (edit.by_action || edits.len() == 1);
        let edit = &OrderEdit { old_id, ..*edit };
        let Some(deed) = picture.deed(edit) else {
            continue;
        };
        deeds.push((deed.clone(), None));
        let key = write(tx, edit, &deed)?;
        let id = key.as_ref().and_then(|key| match key.first() {
            Some(Value::Integer(id)) => Some(*id),
            _ => None,
        });
        // The app goes on with the identifier that it was given: an old one may have been replaced.
        let done = match &key {
            Some(key) if !deed.is_numbered() => Deed {
                key: key.clone(),
                ..deed.clone()
            },
            _ => deed.clone(),
        };
        picture.done(&done, id.filter(|_| deed.is_numbered()));
        if let Some(last) = deeds.last_mut() {
            last.1 = key;
        }
    }
    Ok(())
}

/// Writes one deed; gives the identifier of a row that it made.
pub(super) fn write(
    tx: &mut Transaction<'_>,
    edit: &OrderEdit,
    deed: &Deed,
) -> Result<Option<Key>, Error> {
    let entity = app::name(deed.tag.entity());
    if edit.by_action {
        return match deed.kind {
            Kind::Make => tx.create(entity, &deed.attributes()).map(Some),
            Kind::Set => tx
                .update(entity, &deed.key, &deed.attributes())
                .map(|()| None),
            Kind::Delete => tx.delete(entity, &deed.key).map(|()| None),
        };
    }
    let returning = deed.is_numbered() && edit.n.is_multiple_of(2);
    let Statement { sql, params } = deed.statement(Side::Device, returning);
    let params = Params::Positional(params);
    if returning {
        let rows = tx.query(&sql, &params)?.rows;
        return Ok(rows.into_iter().next());
    }
    let executed = tx.execute(&sql, &params)?;
    Ok(match deed.kind {
        Kind::Make if deed.is_numbered() => {
            executed.last_insert_id.map(|id| vec![Value::Integer(id)])
        }
        Kind::Make => Some(deed.key.clone()),
        _ => None,
    })
}

/// What came of a statement.
enum Ran {
    Nothing,
    /// The identifier of the row that it made, if it is numbered.
    Done(Option<i64>),
}

/// Writes one deed with plain SQL.
fn run(conn: &Connection, deed: &Deed, side: Side, returning: bool) -> rusqlite::Result<Ran> {
    let returning = returning && deed.is_numbered();
    let statement = deed.statement(side, returning);
    if returning {
        let params = statement.params.iter().map(crate::rows::Bound);
        let params = rusqlite::params_from_iter(params);
        let id = conn.query_row(&statement.sql, params, |row| row.get(0))?;
        return Ok(Ran::Done(Some(id)));
    }
    match statement.run(conn)? {
        0 => Ok(Ran::Nothing),
        _ if deed.is_numbered() => Ok(Ran::Done(Some(conn.last_insert_rowid()))),
        _ => Ok(Ran::Done(None)),
    }
}
