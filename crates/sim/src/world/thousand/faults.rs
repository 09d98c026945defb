//! Syncs that fail in every way, while users and the team write.

use super::Scenario;
use crate::action::{Step, Way};
use crate::violation::Violation;
use crate::world::drain::ROUND_MS;
use crate::world::link::Link;

/// Of a hundred steps of a sync, how many the network spoils.
const SPOILED: u32 = 25;

/// Of a hundred requests: there are few, and each takes all that is unsent.
const SPOILED_REQUESTS: u32 = 60;

impl Scenario {
    /// A sync that is cut short, perhaps beside another one on the same file, perhaps with the end
    /// of a process in it.
    pub(super) fn sync_badly(&mut self, device: usize) -> Result<(), Violation> {
        if self.random.u32(0..3) == 0 {
            let (points, power) = (self.random.u32(0..150), self.random.u32(0..3) == 0);
            self.world.devices[device].arm(points, power)?;
        }
        if self.random.u32(0..3) == 0 {
            self.world.server.armed = Some(self.random.u32(0..40));
        }
        if self.random.u32(0..4) == 0 {
            self.world.clock.advance(ROUND_MS);
        }
        let is_race = self.random.u32(0..4) == 0;
        let lanes = if is_race { 2 } else { 1 };
        for lane in 0..lanes {
            let way = [Way::Send, Way::Receive, Way::Both, Way::Both][self.random.usize(0..4)];
            self.world
                .say(|| format!("     d{device}/{lane} sync: {way:?}"));
            self.world.start(device, lane, None, way)?;
        }
        for _ in 0..self.random.usize(4..30) {
            let lane = self.random.usize(0..lanes);
            let link = &self.world.devices[device].lanes[lane].link;
            let step = match matches!(link, Link::Request(_)) {
                true => self.spoiled(SPOILED_REQUESTS),
                false => self.spoiled(SPOILED),
            };
            self.world.say(|| format!("     d{device}/{lane} {step:?}"));
            self.world.step(device, lane, step)?;
            match self.random.u32(0..40) {
                0 => {
                    let jobs = self.edits(device, 3);
                    self.type_in(device, jobs)?;
                }
                1 => self.team_writes()?,
                2 => self.world.arrive_late(0)?,
                3 => self.world.arrive_altered(1)?,
                _ => {}
            }
        }
        // Or it goes on some other time.
        if self.random.bool() {
            for lane in 0..lanes {
                self.world.bring_to_end(device, lane)?;
            }
        }
        Ok(())
    }

    /// What becomes of the next thing; of a hundred, so many are spoiled.
    fn spoiled(&mut self, share: u32) -> Step {
        if self.random.u32(0..100) >= share {
            return match self.random.u32(0..4) {
                0 => Step::Read(self.random.u32(1..40_000)),
                _ => Step::Go,
            };
        }
        match self.random.u32(0..12) {
            0 | 1 => Step::LoseRequest,
            2..4 => Step::LoseAnswer,
            4..7 => Step::Cut(self.random.u8(..)),
            7 => Step::Duplicate,
            8 | 9 => Step::Delay,
            10 => Step::Fail500,
            _ => Step::Busy,
        }
    }
}
