//! Trouble with rows that stay for a time, or count as deleted.

use super::Generator;
use crate::action::{Action, Edit, Step, Way, What};
use crate::app;
use crate::scoped::USERS;
use crate::team::TeamEdit;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

impl Generator {
    /// Whether the next write is of such rows.
    pub(super) fn writes_timed(&mut self) -> bool {
        self.themes.timed > 0 && self.rng.u32(0..100) < self.themes.timed
    }

    /// The server's clock is moved, now and then back.
    pub(super) fn time(&mut self) {
        let steps = [
            MINUTE,
            10 * MINUTE,
            10 * MINUTE,
            3 * HOUR,
            3 * HOUR,
            DAY,
            2 * DAY,
            6 * DAY,
            20 * DAY,
            -MINUTE,
            -3 * HOUR,
            -5 * DAY,
            -40 * DAY,
        ];
        let seconds = steps[self.rng.usize(0..steps.len())];
        self.actions.push(Action::Time { seconds });
    }

    /// Edits of such rows, by the user of a device.
    pub(super) fn timed_edits(&mut self, device: usize) -> Vec<Edit> {
        let user = self.users[device % self.users.len()];
        let count = match self.rng.u32(0..6) {
            0..4 => 1,
            4 => 2,
            _ => self.rng.usize(2..5),
        };
        (0..count).map(|_| self.timed_edit(Some(user))).collect()
    }

    /// A transaction of the team's.
    pub(super) fn timed_team(&mut self) {
        let count = match self.rng.u32(0..3) {
            0 => self.rng.usize(2..5),
            _ => 1,
        };
        let edits = (0..count).map(|_| self.timed_team_edit()).collect();
        self.actions.push(Action::Team { edits });
    }

    fn timed_team_edit(&mut self) -> TeamEdit {
        match self.rng.u32(0..5) {
            0 | 1 => TeamEdit::Bury {
                entity: [app::SHIFT, app::CARD][self.rng.usize(0..2)],
                row: self.rng.u32(0..24),
                is_deleted: self.rng.u32(0..5) < 3,
            },
            _ => TeamEdit::Edit(self.timed_edit(None)),
        }
    }

    fn timed_edit(&mut self, by: Option<usize>) -> Edit {
        self.next += 1;
        let entity =
            [app::EVENT, app::EVENT, app::SHIFT, app::SHIFT, app::CARD][self.rng.usize(0..5)];
        let what = match self.rng.u32(0..18) {
            0..4 => What::Create,
            4..10 => What::Update,
            10 if by.is_some() => What::Back,
            11 => What::Empty,
            12..14 => What::Delete,
            14 => What::Upsert,
            15 => What::Replace,
            16 if by.is_none() => What::Rekey,
            16 => What::Again,
            _ => What::Update,
        };
        let makes = [What::Create, What::Upsert, What::Replace, What::Again].contains(&what);
        let mut attribute = self.rng.u32(0..8);
        if let Some(user) = by.filter(|_| entity == app::SHIFT) {
            // Who makes a shift mostly makes his own, and mostly keeps it.
            let is_own = self.rng.u32(0..8) > 0;
            if makes && is_own {
                while self.next % USERS != u32::try_from(user).unwrap_or(0) % USERS {
                    self.next += 1;
                }
            }
            if makes || is_own {
                attribute = if makes { 0 } else { 1 + attribute % 3 };
            }
        }
        let is_known = self.rng.u32(0..3) > 0;
        let row = match what {
            What::Create | What::Upsert | What::Replace if !is_known => self.next,
            _ => self.rng.u32(1..14),
        };
        Edit {
            entity,
            what,
            row,
            attribute,
            n: self.next,
        }
    }

    /// Hours pass between the pages of a first download.
    pub(super) fn time_passes_in_a_download(&mut self) {
        let (device, lane, way) = (0, 0, Way::Both);
        let unit = Some(1);
        self.actions.push(Action::Start {
            device,
            lane,
            unit,
            way,
        });
        for _ in 0..self.rng.usize(6..20) {
            self.steps(device, lane, 1);
            let seconds = [0, 0, 10 * MINUTE, 3 * HOUR, DAY][self.rng.usize(0..5)];
            if seconds > 0 {
                self.actions.push(Action::Time { seconds });
            }
        }
    }

    /// A user makes a shift that the team takes away, and makes it again; the answer may be lost.
    pub(super) fn made_again(&mut self, device: usize) {
        let user = self.users[device % self.users.len()];
        let row = self.rng.u32(1..14);
        let make = |generator: &mut Self| {
            let mut edit = generator.timed_edit(Some(user));
            while edit.entity != app::SHIFT || edit.what != What::Create {
                edit = generator.timed_edit(Some(user));
            }
            edit.row = row;
            let edits = vec![edit];
            generator.actions.push(Action::User { device, edits });
        };
        make(self);
        self.actions.push(Action::Sync { device });
        let bury = |n: u32| TeamEdit::Bury {
            entity: app::SHIFT,
            row: n,
            is_deleted: true,
        };
        let first = self.rng.u32(0..12);
        let edits = (first..first + 8).map(bury).collect();
        self.actions.push(Action::Team { edits });
        self.actions.push(Action::Sync { device });
        make(self);
        let (lane, unit, way) = (0, None, Way::Both);
        self.actions.push(Action::Start {
            device,
            lane,
            unit,
            way,
        });
        let step = [Step::Go, Step::LoseAnswer, Step::Duplicate][self.rng.usize(0..3)];
        self.actions.push(Action::Step { device, lane, step });
        if self.rng.bool() {
            self.timed_team();
        }
        self.actions.push(Action::Sync { device });
    }

    /// Time passes in the middle of a download of many pages, while rows move across its bounds.
    pub(super) fn time_passes_meanwhile(&mut self, device: usize) {
        if self.rng.bool() {
            self.actions.push(Action::Sync { device });
            self.time();
        }
        let (lane, unit, way) = (0, None, Way::Both);
        self.actions.push(Action::Start {
            device,
            lane,
            unit,
            way,
        });
        for _ in 0..self.rng.usize(2..7) {
            let steps = self.rng.usize(1..3);
            self.steps(device, lane, steps);
            match self.rng.u32(0..6) {
                0..3 => self.time(),
                3 | 4 => self.timed_team(),
                _ => {
                    let edits = self.timed_edits(device);
                    self.actions.push(Action::User { device, edits });
                }
            }
        }
        if self.rng.bool() {
            let step = Step::Cut(self.rng.u8(..));
            self.actions.push(Action::Step { device, lane, step });
        }
    }
}
