//! Writes: by the app, by another process into the app's file, by others into the server's.

use afield::{Error, Params, Transaction};
use afield_protocol::Value;
use afield_protocol::codec::cbor::write_key;

use super::World;
use super::device::{Done, unexplained};
use crate::action::{Edit, What};
use crate::oracle::device::DeviceRecord;
use crate::oracle::rules::check_refused;
use crate::oracle::view::View;
use crate::rows::{RowName, Rows};
use crate::statements::{Settled, Side, Statement};
use crate::violation::Violation;
use crate::{app, jobs};

impl World {
    /// The app writes in one transaction.
    pub(super) fn user(&mut self, device: usize, edits: &[Edit]) -> Result<(), Violation> {
        let edits = self.settled(device, edits);
        if edits.is_empty() {
            return Ok(());
        }
        self.records[device].will_type(&edits);
        let done = self.devices[device].with_store(|store| {
            store.transaction(|tx| edits.iter().try_for_each(|edit| write(tx, edit)))
        })?;
        match done {
            Done::Well(()) => self.tally.count("app wrote"),
            Done::Refused(error) if jobs::is_rule(error.code()) => {
                self.tally.count("app was refused by a rule");
                check_refused(&edits, error.code())?;
            }
            // A statement that the model or SQLite refuses takes its transaction with it.
            Done::Refused(error) if !error.is_retryable() => self.tally.count("app was refused"),
            Done::Refused(error) => return Err(unexplained("the app writes", &error)),
            Done::Died { power: true } => {
                for edit in &edits {
                    let name = (edit.entity, write_key(&edit.key));
                    DeviceRecord::may_have_written(&name, &edit.set, &mut self.intents);
                }
                return self.died(device, true);
            }
            Done::Died { power: false } => self.died(device, false)?,
        }
        self.wrote(device, false)
    }

    /// Another process writes into the device's file in one transaction.
    pub(super) fn other_process(&mut self, device: usize, edits: &[Edit]) -> Result<(), Violation> {
        if !self.seal_apart(device, true)? {
            return Ok(());
        }
        let edits = self.settled(device, edits);
        if edits.is_empty() {
            return Ok(());
        }
        self.records[device].will_type(&edits);
        let conn = &self.devices[device].other;
        conn.execute_batch("BEGIN IMMEDIATE")?;
        let done = edits.iter().try_for_each(|edit| {
            let statements = edit.statements(Side::Device);
            statements
                .iter()
                .try_for_each(|statement| statement.run(conn).map(|_| ()))
        });
        match done {
            Ok(()) => conn.execute_batch("COMMIT")?,
            Err(rusqlite::Error::SqliteFailure(..)) => conn.execute_batch("ROLLBACK")?,
            Err(error) => return Err(error.into()),
        }
        if done.is_ok() {
            self.tally.count("another process wrote");
        }
        self.devices[device].other_wrote()?;
        self.devices[device].look_again();
        self.wrote(device, true)
    }

    /// Somebody else writes into the server's database in one transaction.
    pub(super) fn foreign(&mut self, edits: &[Edit]) -> Result<(), Violation> {
        let record = &self.server_record;
        let settled = edits.iter().filter_map(|edit| {
            let rows = record.rows(record.now(), edit.entity);
            let settled = Settled::new(edit, &rows, |_, _| None)?;
            Some(settled.moved(self.server.moved()))
        });
        let statements: Vec<Statement> = settled
            .flat_map(|settled| settled.statements(Side::Server))
            .collect();
        let done = self.server.foreign(&statements)?;
        let what = if done {
            "foreign transaction"
        } else {
            "foreign transaction failed"
        };
        self.tally.count(what);
        self.server_record.observe(&self.server.team)?;
        Ok(())
    }

    /// Seals what another process wrote.
    pub(super) fn seal(&mut self, device: usize) -> Result<(), Violation> {
        match self.devices[device].with_store(afield::Store::status)? {
            Done::Well(_) => {}
            Done::Refused(error) => return Err(unexplained("status", &error)),
            Done::Died { power } => self.died(device, power)?,
        }
        self.look()
    }

    /// Edits with rows and values of what the device shows now.
    fn settled(&self, device: usize, edits: &[Edit]) -> Vec<Settled> {
        let view = &self.records[device].view;
        if !view.has_model {
            return Vec::new();
        }
        let none = Rows::new();
        let settle = |edit: &Edit| {
            let rows = view.visible.get(edit.entity).unwrap_or(&none);
            let back = |key: &[u8], at: usize| self.back(device, &(edit.entity, key.to_vec()), at);
            Some(Settled::new(edit, rows, back)?.moved(self.server.moved()))
        };
        edits.iter().filter_map(settle).collect()
    }

    /// What the server last had in a cell that the device wrote.
    fn back(&self, device: usize, name: &RowName, at: usize) -> Option<Value> {
        let attribute = app::attribute_name(name.0, at);
        let view = &self.records[device].view;
        let entry = view
            .entries(name)
            .find(|entry| entry.base.contains_key(attribute))?;
        entry.base.get(attribute).cloned()
    }

    /// Notes what a write did to the app's tables.
    fn wrote(&mut self, device: usize, by_other: bool) -> Result<(), Violation> {
        let after = View::read(&self.devices[device].other)?;
        self.records[device].check_rules(&after, by_other)?;
        self.records[device].wrote(&after, by_other, &mut self.intents);
        Ok(())
    }

    /// A device's process died, perhaps with the power.
    pub(super) fn died(&mut self, device: usize, power: bool) -> Result<(), Violation> {
        self.say(|| {
            format!(
                "     d{device} died{}",
                if power { ", power lost" } else { "" }
            )
        });
        self.tally.count(if power {
            "device lost power"
        } else {
            "device died"
        });
        if power {
            let view = View::read(&self.devices[device].other)?;
            self.records[device].lost_power(&view);
        }
        Ok(())
    }
}

/// Writes one edit: by an entity action where there is one, or by SQL.
fn write(tx: &mut Transaction<'_>, edit: &Settled) -> Result<(), Error> {
    let entity = app::name(edit.entity);
    let by_action = edit.amount % 2 == 0;
    match edit.what {
        What::Create if by_action => tx.create(entity, &edit.row()).map(|_| ()),
        What::Upsert if by_action => tx.create_or_update(entity, &edit.row()).map(|_| ()),
        What::Delete if by_action => tx.delete(entity, &edit.key),
        What::Update | What::Back | What::Empty | What::Poison | What::Refused | What::Breaks
            if by_action =>
        {
            tx.update(entity, &edit.key, &edit.attributes())
        }
        _ => edit
            .statements(Side::Device)
            .iter()
            .try_for_each(|statement| {
                let params = Params::Positional(statement.params.clone());
                tx.execute(&statement.sql, &params).map(|_| ())
            }),
    }
}
