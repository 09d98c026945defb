//! After the last fault: everything drains, and every device becomes like the server.

use super::World;
use super::device::LANES;
use crate::violation::Violation;

/// More than the longest pause of a group that failed alone.
const ROUND_MS: i64 = 6 * 60 * 1_000;

/// Rounds of one sync of each device in which everything must drain. Two suffice for changes to
/// reach the others; the rest is for groups that fail alone beside others.
const ROUNDS: usize = 5;

impl World {
    /// Ends all faults but the team's failing trigger, drains, ends that too, drains again.
    pub(super) fn drain(&mut self) -> Result<(), Violation> {
        self.server.armed = None;
        for device in 0..self.devices.len() {
            self.devices[device].disarm();
            self.devices[device].look_again();
            for lane in 0..LANES {
                self.bring_to_end(device, lane)?;
            }
        }
        while !self.late.is_empty() {
            self.arrive_late(0)?;
        }
        self.rounds(true)?;
        self.server.heal()?;
        self.say(|| "     the team mends its trigger".into());
        self.rounds(false)?;
        self.tally.count("world");
        Ok(())
    }

    /// Synchronises every device until all is drained; that must be soon.
    fn rounds(&mut self, poisoned: bool) -> Result<(), Violation> {
        let mut drained = Ok(());
        for _ in 0..ROUNDS {
            self.clock.advance(ROUND_MS);
            for device in 0..self.devices.len() {
                self.whole_sync(device)?;
            }
            drained = self.drained(poisoned);
            if drained.is_ok() {
                break;
            }
        }
        drained
    }

    fn drained(&self, poisoned: bool) -> Result<(), Violation> {
        for (device, record) in self.records.iter().enumerate() {
            record.check_drained(poisoned).map_err(|v| at(device, v))?;
            if !poisoned {
                record
                    .check_converged(&self.server_record)
                    .map_err(|v| at(device, v))?;
            }
        }
        Ok(())
    }
}

fn at(device: usize, mut violation: Violation) -> Violation {
    violation.detail = format!("d{device}: {}", violation.detail);
    violation
}
