//! Trouble with projects that are open, with jobs that show what others have, and with rules.

use fastrand::Rng;

use super::Generator;
use crate::action::{Action, Edit, Step, Way, What};
use crate::app;
use crate::jobs::{DEPOTS, PROJECTS};
use crate::jobs_team::{JobsEdit, Source};
use crate::scoped::USERS;
use crate::team::TeamEdit;

/// One world in so many has projects and jobs.
const ONE_IN: u32 = 4;

/// Numbers that are so far apart name the same project, and the same depot.
const SAME_SOURCE: u32 = (PROJECTS + 2) * (DEPOTS + 1);

/// What makes a seed another one.
const SEED: u64 = 0x10b5;

/// What a seed decides about such worlds. Drawn apart: worlds without are what they were before.
pub(super) struct Chances {
    pub(super) is_there: bool,
    pub(super) users: [usize; 3],
    /// Of 100 writes, how many are of projects and jobs.
    pub(super) writes: u32,
    pub(super) has_old_model: bool,
}

impl Chances {
    pub(super) fn new(seed: u64) -> Self {
        let mut apart = Rng::with_seed(seed ^ SEED);
        let is_there = apart.u32(0..ONE_IN) == 0;
        Self {
            is_there,
            users: [[0, 1, 0], [0, 0, 1], [0, 1, 1], [0, 1, 2]][apart.usize(0..4)],
            writes: [60, 90][apart.usize(0..2)],
            has_old_model: is_there && apart.u32(0..4) == 0,
        }
    }
}

impl Generator {
    /// Whether the next write is of projects and jobs.
    pub(super) fn writes_jobs(&mut self) -> bool {
        self.themes.jobs > 0 && self.rng.u32(0..100) < self.themes.jobs
    }

    /// Each user opens some projects at first.
    pub(super) fn jobs_begin(&mut self) {
        for device in 0..self.devices {
            for _ in 0..self.rng.u32(0..4) {
                let project = self.rng.u32(1..=PROJECTS);
                self.actions.push(Action::Open {
                    device,
                    project,
                    is_open: true,
                });
            }
            if self.rng.bool() {
                self.actions.push(Action::Sync { device });
            }
        }
    }

    /// Edits of projects and jobs, by the user of a device.
    pub(super) fn jobs_edits(&mut self) -> Vec<Edit> {
        let count = match self.rng.u32(0..6) {
            0..4 => 1,
            4 => 2,
            _ => self.rng.usize(2..5),
        };
        (0..count).map(|_| self.jobs_edit(false)).collect()
    }

    fn jobs_edit(&mut self, by_team: bool) -> Edit {
        self.next += 1;
        let entity = match self.rng.u32(0..4) {
            0 => app::PROJECT,
            _ => app::JOB,
        };
        let what = match self.rng.u32(0..18) {
            0..3 => What::Create,
            3..8 => What::Update,
            8 if !by_team => What::Back,
            9 => What::Empty,
            10 => What::Delete,
            11 => What::Upsert,
            12 => What::Replace,
            13 if by_team => What::Rekey,
            13 => What::Again,
            14..17 if entity == app::JOB => What::Breaks,
            _ => What::Update,
        };
        let is_known = self.rng.u32(0..3) > 0;
        let row = match what {
            What::Create | What::Upsert | What::Replace if !is_known => self.next,
            _ => self.rng.u32(1..14),
        };
        Edit {
            entity,
            what,
            row,
            attribute: self.rng.u32(0..8),
            n: self.next,
        }
    }

    /// A transaction of the team's.
    pub(super) fn jobs_team(&mut self) {
        let count = match self.rng.u32(0..4) {
            0 => self.rng.usize(2..5),
            _ => 1,
        };
        let edits = (0..count).map(|_| match self.rng.u32(0..5) {
            0 => TeamEdit::Edit(self.jobs_edit(true)),
            _ => TeamEdit::Jobs(self.jobs_team_edit()),
        });
        let edits = edits.collect();
        self.actions.push(Action::Team { edits });
    }

    fn jobs_team_edit(&mut self) -> JobsEdit {
        self.next += 1;
        let n = self.next;
        let source = [Source::Project, Source::Depot][self.rng.usize(0..2)];
        let rng = &mut self.rng;
        match rng.u32(0..15) {
            0..3 => JobsEdit::Seat {
                user: rng.u32(0..USERS),
                project: rng.u32(0..PROJECTS),
                is_held: rng.bool(),
            },
            3..5 => JobsEdit::Rename { source, n },
            5 => JobsEdit::Rekey {
                source,
                from: rng.u32(0..8),
                to: rng.u32(0..8),
            },
            6 => JobsEdit::Delete {
                source,
                at: rng.u32(0..8),
            },
            7 => JobsEdit::Make { source, n },
            8 | 9 => JobsEdit::Supply {
                project: rng.u32(0..PROJECTS),
                depot: (rng.u32(0..4) > 0).then(|| rng.u32(0..=DEPOTS)),
            },
            10 => JobsEdit::Move {
                job: rng.u32(0..24),
                project: (rng.u32(0..4) > 0).then(|| rng.u32(0..8)),
            },
            11 => JobsEdit::Hand {
                job: rng.u32(0..24),
                owner: rng.bool().then(|| rng.u32(0..USERS)),
            },
            13 => JobsEdit::Van {
                n,
                depot: (rng.u32(0..4) > 0).then(|| rng.u32(0..=DEPOTS)),
            },
            12 => JobsEdit::Job {
                n,
                project: rng.u32(0..8),
                owner: rng.bool().then(|| rng.u32(0..USERS)),
            },
            _ => JobsEdit::Count { n },
        }
    }

    /// A project is opened or closed; or a fan-out is cut while more happens to its source.
    pub(super) fn jobs_trouble(&mut self, device: usize) {
        match self.rng.u32(0..8) {
            0..4 => self.open_or_close(device),
            4 => {
                // What was opened a while ago closes.
                let ms = 60_000 * self.rng.i64(30..150);
                self.actions.push(Action::Advance { ms });
            }
            _ => self.fan_out(device),
        }
    }

    fn open_or_close(&mut self, device: usize) {
        let action = Action::Open {
            device,
            project: self.rng.u32(1..=PROJECTS + 1),
            is_open: self.rng.u32(0..5) > 1,
        };
        self.actions.push(action);
    }

    /// A source of many jobs changes, is pulled page by page, and changes again meanwhile.
    fn fan_out(&mut self, device: usize) {
        if self.rng.u32(0..4) > 0 {
            self.actions.push(Action::Sync { device });
        }
        self.next += 1;
        let (n, source) = (
            self.next,
            [Source::Project, Source::Depot][self.rng.usize(0..2)],
        );
        let rename = |n| Action::Team {
            edits: vec![TeamEdit::Jobs(JobsEdit::Rename { source, n })],
        };
        self.actions.push(rename(n));
        let (lane, unit, way) = (0, None, Way::Both);
        self.actions.push(Action::Start {
            device,
            lane,
            unit,
            way,
        });
        let go = |step| Action::Step { device, lane, step };
        for _ in 0..self.rng.usize(1..6) {
            self.actions.push(go(Step::Go));
        }
        match self.rng.u32(0..6) {
            0 => self.open_or_close(device),
            1 => self.jobs_team(),
            2..5 => {
                // Of the same source: see `Source::id`.
                self.next += SAME_SOURCE;
                self.actions.push(rename(n + SAME_SOURCE));
            }
            _ => {}
        }
        if self.rng.bool() {
            self.actions.push(go(Step::Cut(self.rng.u8(128..))));
        }
        let steps = self.rng.usize(0..8);
        self.steps(device, lane, steps);
    }
}
