//! A copy of the first device's file, which goes on beside it.
//!
//! Everything that can be sent is frozen before, and its answer is lost: both devices have groups
//! under the same ids, of which neither knows what became of them. (A group that was never sent,
//! and that two copies of a device send with different identifiers in it, is refused from the
//! second one: docs/PLAN.md. That is not looked for here.)

use afield::ChangeState;

use super::{COPY, FIRST, Scenario};
use crate::action::{Decision, Step, Way};
use crate::app;
use crate::oracle::view::GroupState;
use crate::tag::Tag;
use crate::violation::Violation;
use crate::world::decide::Open;
use crate::world::device::{Done, LANES, unexplained};

/// Requests of which the answer is lost.
const LOST_MAX: usize = 8;

impl Scenario {
    /// The first device's file is copied; both go on.
    pub(super) fn copy(&mut self) -> Result<(), Violation> {
        self.world.server.armed = None;
        self.world.devices[FIRST].disarm();
        self.work_off(FIRST)?;
        for lane in 0..LANES {
            self.world.bring_to_end(FIRST, lane)?;
        }
        self.world.start(FIRST, 0, None, Way::Send)?;
        for _ in 0..LOST_MAX {
            self.world.step(FIRST, 0, Step::LoseAnswer)?;
        }
        if self.has_unsent()? {
            self.world.bring_to_end(FIRST, 0)?;
            self.world.whole_sync(FIRST)?;
        }
        self.world.look_now()?;
        self.world.copy_device(FIRST)?;
        self.book.is_copied = true;
        let sent = &self.world.records[FIRST].view;
        let sent = sent.tagged_log.iter();
        let sent = sent.filter(|entry| entry.state == GroupState::Sent).count();
        self.world
            .tally
            .add("change copied without its answer", sent as u64);
        self.leave_refused();
        // The copy's user works on a few of the orders that are there, and on new ones.
        let mut orders = self.desks[FIRST].orders.clone();
        orders.retain(|number| !self.left.contains(&Tag::order(*number)));
        self.random.shuffle(&mut orders);
        orders.truncate(self.size.orders / 50);
        self.desks[COPY].orders = orders;
        Ok(())
    }

    /// Whether there is anything that could be sent and never was.
    fn has_unsent(&mut self) -> Result<bool, Violation> {
        match self.world.devices[FIRST].with_store(afield::Store::changes)? {
            Done::Well(changes) => {
                let mut changes = changes.iter();
                Ok(changes.any(|change| change.state == ChangeState::Pending))
            }
            Done::Refused(error) => Err(unexplained("changes", &error)),
            Done::Died { .. } => Ok(true),
        }
    }

    /// Orders that the server has not got stay with the first device's user.
    fn leave_refused(&mut self) {
        let record = &self.world.server_record;
        let rows = record.rows(record.now(), app::ORDER);
        let at = crate::tag::tag_place(app::ORDER);
        let there: std::collections::BTreeSet<Tag> =
            rows.values().filter_map(|row| Tag::of(&row[at])).collect();
        let orders = self.desks[FIRST].orders.iter();
        let orders = orders.map(|number| Tag::order(*number));
        self.left = orders.filter(|tag| !there.contains(tag)).collect();
    }

    /// Whether the copy's user leaves a decision to the first device's: he only takes it away
    /// from his own device.
    pub(super) fn is_left(&self, device: usize, open: &Open, order: &Tag) -> Option<Decision> {
        let is_left = device == COPY && self.left.contains(order);
        is_left.then_some(match open.is_conflict {
            true => Decision::Theirs,
            false => Decision::Drop,
        })
    }
}
