//! After the last fault: everything drains, and every device becomes like the server.

use std::collections::HashSet;

use afield_protocol::{Code, GroupId};

use super::World;
use super::device::LANES;
use crate::action::Decision;
use crate::oracle::tagged::drained::{check_same, check_settled, unsettled};
use crate::violation::Violation;

/// More than the longest pause of a group that failed alone.
pub(super) const ROUND_MS: i64 = 6 * 60 * 1_000;

/// Rounds of one sync of each device in which everything must drain. Two suffice for changes to
/// reach the others; the rest is for groups that fail alone beside others.
const ROUNDS: usize = 5;

/// Rounds in which users decide about everything that was not applied. A conflict can come again
/// once for each other device that decided in between. A group tells of one refused change at a
/// time: for each change that is not settled there may be two more, of which one decides.
const DECIDING_ROUNDS: usize = 8;

/// More than the changes that a device can have parked.
const DECISIONS_MAX: usize = 200;

impl World {
    /// Ends all faults but the team's failing trigger, drains, ends that too, drains again.
    pub(super) fn drain(&mut self) -> Result<(), Violation> {
        self.end_faults()?;
        self.rounds(true)?;
        self.server.heal()?;
        self.say(|| "     the team mends its trigger".into());
        self.rounds(false)?;
        self.verify_all()?;
        self.settle_all()?;
        self.verify_all()?;
        self.tally.count("world");
        Ok(())
    }

    /// Nothing fails any more but the team's trigger; what is under way comes to its end.
    pub(super) fn end_faults(&mut self) -> Result<(), Violation> {
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

    /// Every device has exactly the server's rows, below what was refused too.
    fn verify_all(&mut self) -> Result<(), Violation> {
        for device in 0..self.devices.len() {
            self.verify(device)?;
        }
        Ok(())
    }

    /// Every user decides about everything that was not applied, until nothing is left.
    fn settle_all(&mut self) -> Result<(), Violation> {
        let open = self.records.iter().map(|record| unsettled(&record.view));
        let rounds = DECIDING_ROUNDS + 2 * open.max().unwrap_or(0);
        for round in 0..rounds {
            for device in 0..self.devices.len() {
                self.decide_all(device, round)?;
                self.clock.advance(ROUND_MS);
                self.whole_sync(device)?;
            }
            let mut records = self.records.iter();
            if records.all(|record| check_settled(&record.view).is_ok()) {
                break;
            }
        }
        for device in 0..self.devices.len() {
            self.whole_sync(device)?;
        }
        for (device, record) in self.records.iter().enumerate() {
            check_settled(&record.view).map_err(|v| at(device, v))?;
            check_same(&record.view, &self.server_record).map_err(|v| at(device, v))?;
        }
        self.counters.check(&self.server_record)
    }

    /// At first at random; in the end what must work: his own version, a good value, or nothing.
    fn decide_all(&mut self, device: usize, round: usize) -> Result<(), Violation> {
        for n in 0..DECISIONS_MAX {
            let open = self.open(device);
            let Some(first) = open.first() else {
                return Ok(());
            };
            let is_last = round >= DECIDING_ROUNDS / 2;
            let decision = match (first.is_conflict, is_last) {
                (true, true) => Decision::Mine,
                (false, true) if first.code == Code::CHECK_FAILED => Decision::Retry,
                (false, true) => Decision::Drop,
                (true, false) => {
                    [Decision::Mine, Decision::Theirs, Decision::Merged][self.random.usize(0..3)]
                }
                (false, false) => [Decision::Retry, Decision::Drop][self.random.usize(0..2)],
            };
            let number = 1_000_000 + u32::try_from(round * DECISIONS_MAX + n).unwrap_or(0) * 10;
            let place = u32::try_from(device).unwrap_or(0);
            self.decide(device, 0, decision, number + place + 1)?;
            self.look()?;
        }
        Ok(())
    }

    /// Groups that any other device knows.
    fn groups_but_of(&self, device: usize) -> HashSet<GroupId> {
        let others = self.records.iter().enumerate();
        let others = others.filter(|(at, _)| *at != device);
        let logs = others.flat_map(|(_, it)| it.view.log.iter().chain(&it.view.tagged_log));
        logs.map(|entry| entry.group).collect()
    }

    pub(super) fn drained(&self, poisoned: bool) -> Result<(), Violation> {
        for (device, record) in self.records.iter().enumerate() {
            record.check_drained(poisoned).map_err(|v| at(device, v))?;
            let copied = self.groups_but_of(device);
            record
                .check_given_up(&self.server_record, &copied)
                .map_err(|v| at(device, v))?;
            if !poisoned {
                record
                    .check_converged(&self.server_record)
                    .and_then(|()| record.check_history(&self.server_record))
                    .and_then(|()| record.check_time(&self.server_record, self.server.time))
                    .map_err(|v| at(device, v))?;
            }
        }
        Ok(())
    }
}

pub(super) fn at(device: usize, mut violation: Violation) -> Violation {
    violation.detail = format!("d{device}: {}", violation.detail);
    violation
}
