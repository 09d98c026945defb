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
        self.rounds()?;
        for (device, record) in self.records.iter().enumerate() {
            record.check_drained(true).map_err(|v| at(device, v))?;
        }
        self.server.heal()?;
        self.say(|| "     the team mends its trigger".into());
        self.rounds()?;
        for (device, record) in self.records.iter().enumerate() {
            record.check_drained(false).map_err(|v| at(device, v))?;
            record.check_converged(&self.server_record).map_err(|v| at(device, v))?;
        }
        self.tally.count("world");
        Ok(())
    }

    fn rounds(&mut self) -> Result<(), Violation> {
        for _ in 0..ROUNDS {
            self.clock.advance(ROUND_MS);
            for device in 0..self.devices.len() {
                self.whole_sync(device)?;
            }
        }
        Ok(())
    }
}

fn at(device: usize, mut violation: Violation) -> Violation {
    violation.detail = format!("d{device}: {}", violation.detail);
    violation
}
