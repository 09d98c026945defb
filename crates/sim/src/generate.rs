//! From a seed to a world's actions.

mod jobs;
mod scoped;
mod timed;

use fastrand::Rng;

use crate::action::{Action, By, Decision, Edit, OrderEdit, OrderWhat, Step, Way, What};
use crate::app::{self, Kinds};

/// What a seed decides before anything happens.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// How many devices there are at first.
    pub(crate) devices: usize,
    /// Whose each of them is.
    pub(crate) users: [usize; 3],
    /// Whether there are rows that are not everyone's.
    pub(crate) is_scoped: bool,
    /// What there is beyond what every world has.
    pub(crate) kinds: Kinds,
    /// Whether devices have a model at first that knows of no rules.
    pub(crate) has_old_model: bool,
    /// Whether devices have their model from the start, or fetch it.
    pub(crate) model_installed: bool,
    /// Most rows in a page.
    pub(crate) page_rows: usize,
    pub(crate) actions: Vec<Action>,
}

/// Most devices a world may have, copies included.
pub(crate) const DEVICES_MAX: usize = 4;

/// Actions of a world: enough for several syncs of every device, few enough to read a trace.
const ACTIONS: std::ops::Range<usize> = 30..120;

/// One world in so many has rows that are not everyone's.
const SCOPED_ONE_IN: u32 = 3;

/// One world in so many has rows that stay for a time, or count as deleted.
const TIMED_ONE_IN: u32 = 4;

/// What makes a seed another one.
const SCOPED_SEED: u64 = 0x5c0e;
const TIMED_SEED: u64 = 0x71_3ed;

impl Plan {
    /// The plan of a seed.
    pub(crate) fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let devices = 1 + rng.usize(0..3);
        let length = rng.usize(ACTIONS);
        let model_installed = rng.u32(0..4) > 0;
        let page_rows = [1, 2, 3, 5, 8, 100][rng.usize(0..6)];
        // Drawn apart: worlds without such rows are what they were before there were any.
        let mut apart = Rng::with_seed(seed ^ SCOPED_SEED);
        let is_scoped = apart.u32(0..SCOPED_ONE_IN) == 0;
        let mut users = match is_scoped {
            true => [[0, 1, 0], [0, 0, 1], [0, 1, 1], [0, 1, 2]][apart.usize(0..4)],
            false => [0, 1, 2],
        };
        let mut themes = Themes::new(&mut rng);
        if is_scoped {
            themes.scoped = [60, 90][apart.usize(0..2)];
        }
        let mut apart = Rng::with_seed(seed ^ TIMED_SEED);
        let is_timed = apart.u32(0..TIMED_ONE_IN) == 0;
        if is_timed {
            themes.timed = [50, 85][apart.usize(0..2)];
        }
        let jobs = jobs::Chances::new(seed);
        let is_scoped = is_scoped || jobs.is_there;
        if jobs.is_there {
            themes.jobs = jobs.writes;
            users = jobs.users;
        }
        let mut generator = Generator {
            devices,
            users,
            next: 1_000,
            themes,
            rng,
            actions: Vec::new(),
        };
        if generator.themes.restores && generator.rng.bool() {
            // First downloads are long, and there is one for each device.
            generator.fork(0);
        }
        if is_timed && apart.bool() {
            generator.time_passes_in_a_download();
        }
        if jobs.is_there {
            generator.jobs_begin();
        }
        while generator.actions.len() < length {
            generator.add();
        }
        Self {
            seed,
            devices,
            users,
            is_scoped,
            kinds: Kinds {
                is_timed,
                has_jobs: jobs.is_there,
            },
            has_old_model: jobs.has_old_model,
            model_installed,
            page_rows,
            actions: generator.actions,
        }
    }
}

/// What kinds of trouble a world has. Each world has few, so that each comes often enough to
/// matter and a failure is short; and some are calm.
struct Themes {
    /// Of 100 steps of a sync, how many the network spoils.
    network: u32,
    device_crashes: bool,
    power: bool,
    server_crashes: bool,
    restores: bool,
    copies: bool,
    /// Two syncs on one file.
    lanes: bool,
    altered: bool,
    /// How many changes the team's trigger will fail on.
    poisons: u32,
    /// Of 100 writes, how many are of orders, lines and remarks.
    orders: u32,
    /// Of 100 writes, how many are of rows that are not everyone's.
    scoped: u32,
    /// Of 100 writes, how many are of rows that stay for a time, or count as deleted.
    timed: u32,
    /// Of 100 writes, how many are of projects and jobs.
    jobs: u32,
}

impl Themes {
    fn new(rng: &mut Rng) -> Self {
        let mut one_in = |n: u32| rng.u32(0..n) == 0;
        let restores = one_in(4);
        Self {
            device_crashes: one_in(3),
            power: one_in(3),
            server_crashes: one_in(4),
            restores,
            copies: one_in(4),
            lanes: one_in(3),
            altered: one_in(6),
            poisons: if one_in(4) { 2 } else { 0 },
            network: [0, 8, 20, 40][rng.usize(0..4)],
            // Numbers that a restore took back mean other rows afterwards, or none: what becomes
            // of changes that name them is not decided before a device notices epochs.
            orders: match restores {
                true => 0,
                false => [0, 50, 50, 100][rng.usize(0..4)],
            },
            scoped: 0,
            timed: 0,
            jobs: 0,
        }
    }
}

struct Generator {
    rng: Rng,
    devices: usize,
    users: [usize; 3],
    /// What the next value is made of.
    next: u32,
    themes: Themes,
    actions: Vec<Action>,
}

impl Generator {
    fn add(&mut self) {
        let device = self.rng.usize(0..self.devices);
        if self.themes.jobs > 0 && self.rng.u32(0..8) == 0 {
            return self.jobs_trouble(device);
        }
        if self.themes.scoped > 0 && self.rng.u32(0..16) == 0 {
            return self.lost_and_gained(device);
        }
        if self.themes.timed > 0 {
            match self.rng.u32(0..16) {
                0 => return self.time(),
                1 => return self.time_passes_meanwhile(device),
                2 if self.rng.bool() => return self.made_again(device),
                _ => {}
            }
        }
        match self.rng.u32(0..100) {
            0..3 if self.themes.orders > 0 => self.decide(device),
            0..24 => self.user(device),
            24..31 => self.other_process(device),
            31..46 => self.foreign(),
            46..66 => self.sync(device),
            66..73 => self.actions.push(Action::Sync { device }),
            73..77 => {
                let ms = [10, 1_000, 6_000, 90_000, 400_000][self.rng.usize(0..5)];
                self.actions.push(Action::Advance { ms });
            }
            77..79 => self.actions.push(Action::Late {
                pick: self.rng.u32(0..4),
            }),
            79 => self.actions.push(Action::Undo {
                device,
                pick: self.rng.u32(0..4),
            }),
            _ => self.trouble(device),
        }
    }

    /// The server is set back while a sync is under way.
    fn fork(&mut self, device: usize) {
        let way = Way::Both;
        self.actions.push(Action::Start {
            device,
            lane: 0,
            unit: None,
            way,
        });
        let lane = 0;
        let steps = self.rng.usize(0..5);
        self.steps(device, lane, steps);
        self.actions.push(Action::Backup);
        for _ in 0..self.rng.usize(1..8) {
            let step = self.step();
            self.actions.push(Action::Step { device, lane, step });
            match self.rng.u32(0..4) {
                0 => self.foreign(),
                1 => self.user(device),
                _ => {}
            }
        }
        let step = Step::Cut(255);
        self.actions.push(Action::Step { device, lane, step });
        self.actions.push(Action::Restore);
    }

    /// One of the things that this world has, if the dice fall on one.
    fn trouble(&mut self, device: usize) {
        if self.themes.restores && self.rng.u32(0..6) == 0 {
            return self.fork(device);
        }
        let themes = &self.themes;
        let rng = &mut self.rng;
        let action = match rng.u32(0..14) {
            0..4 if themes.device_crashes => Action::CrashDevice {
                device,
                points: rng.u32(0..40),
                power: themes.power && rng.bool(),
            },
            4 | 5 if themes.server_crashes => Action::CrashServer {
                points: rng.u32(0..6),
            },
            6 if themes.device_crashes => Action::RestartDevice { device },
            7 if themes.server_crashes => Action::RestartServer,
            8 if themes.copies => Action::Clone { device },
            9 | 10 if themes.restores => Action::Backup,
            11 if themes.restores => Action::Restore,
            12 | 13 if themes.altered => Action::Altered {
                pick: rng.u32(0..8),
            },
            _ => return,
        };
        if matches!(action, Action::Clone { .. }) && self.devices < DEVICES_MAX {
            self.devices += 1;
        }
        self.actions.push(action);
    }

    /// A sync with what may become of it, and with what happens meanwhile.
    fn sync(&mut self, device: usize) {
        if self.themes.lanes && self.rng.bool() {
            return self.race(device);
        }
        let lane = usize::from(self.themes.lanes && self.rng.bool());
        let unit = self.rng.bool().then(|| self.rng.usize(0..2));
        let way = self.way();
        self.actions.push(Action::Start {
            device,
            lane,
            unit,
            way,
        });
        for _ in 0..self.rng.usize(2..10) {
            let step = self.step();
            self.actions.push(Action::Step { device, lane, step });
            match self.rng.u32(0..12) {
                0 => self.user(device),
                1 => self.other_process(device),
                2 | 3 => self.foreign(),
                4 => {
                    let device = self.rng.usize(0..self.devices);
                    self.actions.push(Action::Sync { device });
                }
                6 if self.rng.bool() => self.trouble(device),
                _ => {}
            }
        }
    }

    /// Two processes synchronise the same file at the same time.
    fn race(&mut self, device: usize) {
        self.user(device);
        for lane in [0, 1] {
            // One that only sends and one that only receives are out of step for longest.
            let way = [Way::Send, Way::Receive][lane];
            let way = if self.rng.bool() { way } else { Way::Both };
            self.actions.push(Action::Start {
                device,
                lane,
                unit: None,
                way,
            });
        }
        if self.rng.bool() {
            // The server reads for the second, whose request is numbered later, before it applies
            // what the first one sends; and the first one's answer arrives first.
            for (lane, steps) in [(1, 1), (0, 4), (1, 4)] {
                self.steps(device, lane, steps);
            }
        }
        for _ in 0..self.rng.usize(3..8) {
            let lane = self.rng.usize(0..2);
            let steps = self.rng.usize(1..4);
            self.steps(device, lane, steps);
            match self.rng.u32(0..12) {
                0 => self.user(device),
                1 => self.other_process(device),
                2 => self.foreign(),
                _ => {}
            }
        }
    }

    /// A sync in this lane goes on.
    fn steps(&mut self, device: usize, lane: usize, steps: usize) {
        for _ in 0..steps {
            let step = self.step();
            self.actions.push(Action::Step { device, lane, step });
        }
    }

    fn way(&mut self) -> Way {
        match self.rng.u32(0..8) {
            0 | 1 => Way::Send,
            2 | 3 => Way::Receive,
            _ => Way::Both,
        }
    }

    fn step(&mut self) -> Step {
        if self.rng.u32(0..100) >= self.themes.network {
            return match self.rng.u32(0..5) {
                0 => Step::Read(self.rng.u32(1..200)),
                _ => Step::Go,
            };
        }
        match self.rng.u32(0..12) {
            0 => Step::LoseRequest,
            1 | 2 => Step::LoseAnswer,
            3..6 => Step::Cut(self.rng.u8(..)),
            6 => Step::Duplicate,
            7 | 8 => Step::Delay,
            9 => Step::Fail500,
            10 => Step::Busy,
            _ => Step::Nobody,
        }
    }

    fn user(&mut self, device: usize) {
        if self.writes_jobs() {
            let edits = self.jobs_edits();
            return self.actions.push(Action::User { device, edits });
        }
        if self.writes_timed() {
            let edits = self.timed_edits(device);
            return self.actions.push(Action::User { device, edits });
        }
        if self.writes_scoped() {
            let edits = self.scoped_edits();
            return self.actions.push(Action::User { device, edits });
        }
        if self.writes_orders() {
            return self.orders(By::App(device));
        }
        let edits = self.edits(false);
        self.actions.push(Action::User { device, edits });
    }

    fn other_process(&mut self, device: usize) {
        if self.writes_jobs() {
            let edits = self.jobs_edits();
            return self.actions.push(Action::OtherProcess { device, edits });
        }
        if self.writes_timed() {
            let edits = self.timed_edits(device);
            return self.actions.push(Action::OtherProcess { device, edits });
        }
        if self.writes_scoped() {
            let edits = self.scoped_edits();
            return self.actions.push(Action::OtherProcess { device, edits });
        }
        if self.writes_orders() {
            return self.orders(By::OtherProcess(device));
        }
        let edits = self.edits(false);
        self.actions.push(Action::OtherProcess { device, edits });
    }

    fn foreign(&mut self) {
        if self.writes_jobs() {
            return self.jobs_team();
        }
        if self.writes_timed() {
            return self.timed_team();
        }
        if self.writes_scoped() {
            return self.team();
        }
        if self.writes_orders() {
            return self.orders(By::Foreign);
        }
        let edits = self.edits(true);
        self.actions.push(Action::Foreign { edits });
    }

    fn writes_orders(&mut self) -> bool {
        self.rng.u32(0..100) < self.themes.orders
    }

    /// A transaction on orders, lines and remarks.
    fn orders(&mut self, by: By) {
        let count = match self.rng.u32(0..6) {
            0..4 => 1,
            4 => 2,
            _ => self.rng.usize(2..7),
        };
        let edits = (0..count).map(|_| self.order_edit(by)).collect();
        self.actions.push(Action::Orders { by, edits });
    }

    fn order_edit(&mut self, by: By) -> OrderEdit {
        self.next += 1;
        let what = match self.rng.u32(0..20) {
            0..4 => OrderWhat::Order,
            4..8 => OrderWhat::Line,
            8..11 => OrderWhat::Remark,
            11..15 => OrderWhat::Set,
            15 | 16 => OrderWhat::Hit,
            17 if by != By::Foreign => OrderWhat::Bad,
            18 => OrderWhat::Delete,
            _ => OrderWhat::Set,
        };
        // The newest rows are of most interest: they are still on their way.
        let row = match self.rng.u32(0..3) {
            0 => u32::MAX - self.rng.u32(0..4),
            _ => self.rng.u32(0..24),
        };
        OrderEdit {
            what,
            row,
            n: self.next,
            by_action: self.rng.bool(),
            old_id: self.rng.u32(0..3) == 0,
        }
    }

    fn decide(&mut self, device: usize) {
        self.next += 1;
        let decisions = [
            Decision::Mine,
            Decision::Theirs,
            Decision::Merged,
            Decision::Retry,
            Decision::Drop,
        ];
        self.actions.push(Action::Decide {
            device,
            pick: self.rng.u32(0..6),
            decision: decisions[self.rng.usize(0..5)],
            n: self.next,
        });
    }

    fn edits(&mut self, foreign: bool) -> Vec<Edit> {
        let count = match self.rng.u32(0..6) {
            0..4 => 1,
            4 => 2,
            _ => self.rng.usize(2..6),
        };
        (0..count).map(|_| self.edit(foreign)).collect()
    }

    fn edit(&mut self, foreign: bool) -> Edit {
        self.next += 1;
        let entity = self.entity(foreign);
        let mut what = self.what(entity, foreign);
        if entity == app::ACCOUNT && what != What::Rekey {
            what = match foreign {
                true if self.rng.u32(0..3) > 0 => What::Transfer,
                _ => [What::Update, What::Back, What::Empty][self.rng.usize(0..3)],
            };
        }
        if entity == app::VISIT && !foreign {
            what = self.vicious(what);
        }
        // A few identifiers are made again and again, on several devices and the server.
        let is_known = self.rng.u32(0..3) > 0;
        let row = match what {
            What::Create | What::Upsert | What::Replace | What::Ignore if !is_known => self.next,
            _ => self.rng.u32(1..12),
        };
        Edit {
            entity,
            what,
            row,
            attribute: self.rng.u32(0..8),
            n: self.next,
        }
    }

    fn entity(&mut self, foreign: bool) -> usize {
        match (foreign, self.rng.u32(0..24)) {
            (true, 0..3) => app::REGION,
            (true, 3..7) => app::PRICE,
            (false, 0) => app::PRICE,
            (false, 1) => app::DRAFT,
            (_, 0..12) => app::SITE,
            (_, 12..17) => app::VISIT,
            (_, 17..21) => app::READING,
            _ => app::ACCOUNT,
        }
    }

    fn what(&mut self, entity: usize, foreign: bool) -> What {
        match self.rng.u32(0..26) {
            0..6 => What::Create,
            6..13 => What::Update,
            13 | 14 if !foreign => What::Back,
            15 => What::Empty,
            16..19 => What::Delete,
            19 | 20 => What::Upsert,
            21 | 22 => What::Replace,
            23 => What::Ignore,
            24 if foreign && entity == app::SITE => What::Displace,
            24 => What::Again,
            25 => What::Rekey,
            _ => What::Update,
        }
    }

    /// Now and then, what the server will refuse or choke on.
    fn vicious(&mut self, what: What) -> What {
        match self.rng.u32(0..10) {
            0..3 if self.themes.poisons > 0 => {
                self.themes.poisons -= 1;
                What::Poison
            }
            3 => What::Refused,
            _ => what,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_always_makes_the_same_plan_and_another_seed_another() {
        assert_eq!(Plan::new(7), Plan::new(7));
        assert_ne!(Plan::new(7).actions, Plan::new(8).actions);
    }
}
