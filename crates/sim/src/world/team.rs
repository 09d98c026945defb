//! What the team does with rows that are not everyone's.

use super::World;
use crate::oracle::files;
use crate::team::TeamEdit;
use crate::violation::Violation;

impl World {
    /// The team writes in one transaction.
    pub(super) fn team(&mut self, edits: &[TeamEdit]) -> Result<(), Violation> {
        let record = &self.server_record;
        let statements: Vec<_> = (edits.iter())
            .flat_map(|edit| {
                let rows = |entity| record.rows(record.now(), entity);
                edit.statements(rows, self.server.moved())
            })
            .collect();
        let what = match self.server.foreign(&statements)? {
            true => "team's transaction",
            false => "team's transaction failed",
        };
        self.tally.count(what);
        self.server_record.observe(&self.server.team)?;
        Ok(())
    }

    /// What must not be in a device's file, now that a sync of it is over.
    pub(super) fn look_into_file(&self, device: usize) -> Result<(), Violation> {
        if !self.is_scoped {
            return Ok(());
        }
        let record = &self.records[device];
        let other = &self.devices[device].other;
        files::check_left(other, record, &self.server_record)
            .and_then(|()| {
                let bytes = self.devices[device].bytes()?;
                files::check_foreign(&bytes, record, &self.server_record)
            })
            .map_err(|v| super::drain::at(device, v))
    }
}
