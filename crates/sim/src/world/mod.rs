//! A world: devices, one server, the network between them, and the oracle, in one thread and
//! from one seed.

mod decide;
mod device;
mod drain;
mod jobs;
mod link;
mod network;
mod orders;
mod server;
mod sync;
mod team;
mod template;
pub(crate) mod thousand;
mod writes;

use afield_protocol::{Group, Value};
use tempfile::TempDir;

use self::device::Device;
use self::link::Late;
use self::server::SimServer;
use self::template::Template;
use crate::action::Action;
use crate::app::{self, Kinds};
use crate::environment::Clock;
use crate::files;
use crate::generate::{DEVICES_MAX, Plan};
use crate::oracle::Counts;
use crate::oracle::device::DeviceRecord;
use crate::oracle::server::ServerRecord;
use crate::oracle::tagged::drained::Counters;
use crate::oracle::view::View;
use crate::tag::HITS;
use crate::tally::Tally;
use crate::violation::Violation;

/// Requests that are kept to arrive late.
const LATE_MAX: usize = 4;

/// How far the devices' own clocks are off, where time matters.
const OFF_MS: [i64; 3] = [40 * DAY_MS, -40 * DAY_MS, 3_600_000];

const DAY_MS: i64 = 86_400_000;

/// Everything there is.
pub(crate) struct World {
    _folder: TempDir,
    seed: u64,
    clock: Clock,
    random: fastrand::Rng,
    page_rows: usize,
    server: SimServer,
    devices: Vec<Device>,
    late: Vec<Late>,
    /// Groups that were pushed of late, with their user.
    pushed: Vec<(String, Group)>,
    records: Vec<DeviceRecord>,
    server_record: ServerRecord,
    intents: Counts,
    /// What orders' counters should stand at.
    counters: Counters,
    has_backup: bool,
    /// Whether there are rows that are not everyone's.
    is_scoped: bool,
    /// What there is beyond what every world has.
    kinds: Kinds,
    /// The oracle looks at every so many-th step; at what is sent and at reports always.
    look_each: u32,
    /// Steps since it looked last.
    unseen: u32,
    pub(crate) tally: Tally,
    /// What happened, if somebody wants to read it.
    trace: Option<Vec<String>>,
}

/// How a world ended.
pub(crate) struct Ended {
    /// The step at which a promise was broken, and how.
    pub(crate) violation: Option<(usize, Violation)>,
    pub(crate) tally: Tally,
    pub(crate) trace: Vec<String>,
}

/// Lets the world of a plan happen.
pub(crate) fn run(plan: &Plan, planted: Option<&'static str>, traced: bool) -> Ended {
    let begun =
        Template::of(planted, plan.kinds).and_then(|template| World::new(plan, &template, traced));
    let mut world = match begun {
        Ok(world) => world,
        Err(violation) => {
            return Ended {
                violation: Some((0, violation)),
                tally: Tally::default(),
                trace: Vec::new(),
            };
        }
    };
    let mut result = Ok(());
    let mut at = 0;
    for (step, action) in plan.actions.iter().enumerate() {
        at = step;
        world.say(|| format!("{step:4} {action}"));
        result = world.happen(action).and_then(|()| world.look());
        if result.is_err() {
            break;
        }
    }
    if result.is_ok() {
        at = plan.actions.len();
        world.say(|| format!("{at:4} the last fault is over"));
        result = world.drain();
    }
    if let Err(violation) = &result {
        world.say(|| format!("     {violation}"));
    }
    Ended {
        violation: result.err().map(|violation| (at, violation)),
        tally: world.tally,
        trace: world.trace.unwrap_or_default(),
    }
}

impl World {
    fn new(plan: &Plan, template: &Template, traced: bool) -> Result<Self, Violation> {
        let folder = files::folder()?;
        let clock = Clock::new();
        let server = {
            let of = (plan.seed, plan.kinds);
            SimServer::new(folder.path(), &template.server(), of, &clock)?
        };
        let mut world = Self {
            seed: plan.seed,
            random: fastrand::Rng::with_seed(plan.seed ^ 0x7a11),
            page_rows: plan.page_rows,
            server,
            devices: Vec::new(),
            late: Vec::new(),
            pushed: Vec::new(),
            records: Vec::new(),
            server_record: ServerRecord::default(),
            intents: Counts::default(),
            counters: Counters::default(),
            has_backup: false,
            is_scoped: plan.is_scoped,
            kinds: plan.kinds,
            look_each: 1,
            unseen: 0,
            tally: Tally::default(),
            trace: traced.then(Vec::new),
            clock,
            _folder: folder,
        };
        world.server.team_begins(plan.is_scoped)?;
        world.server_record.kinds = plan.kinds;
        world.server_record.observe(&world.server.team)?;
        for row in world.server_record.tagged_rows(0)? {
            if let (app::ORDER, Value::Integer(hits)) = (row.tag.entity(), &row.values[HITS]) {
                world.counters.add(&row.tag, *hits);
            }
        }
        for (place, off) in OFF_MS.into_iter().enumerate().take(plan.devices) {
            let made = plan.model_installed.then(|| match plan.has_old_model {
                true => template.old_device(),
                false => template.device(),
            });
            // Nobody's clock but the server's is to decide what stays.
            let off = if plan.kinds.is_timed { off } else { 0 };
            let (folder, clock) = (world._folder.path(), &world.clock.off(off));
            let user = plan.users[place % plan.users.len()];
            let of = (place, user);
            let device = Device::new(folder, made.as_deref(), of, plan.seed, clock)?;
            world.devices.push(device);
            world.records.push(DeviceRecord::of(user));
        }
        world.look()?;
        Ok(world)
    }

    fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(line());
        }
    }

    fn happen(&mut self, action: &Action) -> Result<(), Violation> {
        let present = self.devices.len();
        match action {
            Action::User { device, edits } => self.user(device % present, edits),
            Action::OtherProcess { device, edits } => self.other_process(device % present, edits),
            Action::Foreign { edits } => self.foreign(edits),
            Action::Orders { by, edits } => self.orders(*by, edits),
            Action::Team { edits } => self.team(edits),
            Action::Open {
                device,
                project,
                is_open,
            } => self.open_project(device % present, *project, *is_open),
            Action::Decide {
                device,
                pick,
                decision,
                n,
            } => self.decide(device % present, *pick, *decision, *n),
            Action::Undo { device, pick } => self.undo(device % present, *pick),
            Action::Start {
                device,
                lane,
                unit,
                way,
            } => self.start(device % present, *lane, unit.map(app::unit_name), *way),
            Action::Step { device, lane, step } => self.step(device % present, *lane, *step),
            Action::Sync { device } => self.whole_sync(device % present).map(|_| ()),
            Action::Late { pick } => self.arrive_late(*pick),
            Action::Altered { pick } => self.arrive_altered(*pick),
            Action::Advance { ms } => {
                self.clock.advance(*ms);
                Ok(())
            }
            Action::Time { seconds } => {
                self.tally.count("server's clock moved");
                self.server.time += seconds;
                Ok(())
            }
            Action::CrashDevice {
                device,
                points,
                power,
            } => self.devices[device % present].arm(*points, *power),
            Action::CrashServer { points } => {
                self.server.armed = Some(*points);
                Ok(())
            }
            Action::RestartDevice { device } => {
                self.tally.count("device restarted");
                self.devices[device % present].close();
                Ok(())
            }
            Action::RestartServer => {
                self.tally.count("server restarted");
                self.server.start()?;
                self.break_off();
                Ok(())
            }
            Action::Clone { device } => self.copy_device(device % present),
            Action::Backup => {
                self.tally.count("server's file copied");
                self.has_backup = true;
                self.server_record.backed_up();
                self.server.back_up()
            }
            Action::Restore => self.restore(),
        }
    }

    fn copy_device(&mut self, device: usize) -> Result<(), Violation> {
        let place = self.devices.len();
        if place >= DEVICES_MAX {
            return Ok(());
        }
        // What another process wrote belongs to no group until it is sealed; a copy taken
        // before would make it two.
        self.seal(device)?;
        self.tally.count("device copied");
        let copy = self.devices[device].copied(place, self.seed)?;
        self.devices.push(copy);
        self.records.push(self.records[device].clone());
        Ok(())
    }

    fn restore(&mut self) -> Result<(), Violation> {
        if !self.has_backup {
            return Ok(());
        }
        self.tally.count("server restored from a copy");
        self.server.restore()?;
        self.break_off();
        self.counters.forget_all();
        self.server_record.restored(&self.server.team)
    }

    /// The server's process ended: answers in the middle break off.
    fn break_off(&mut self) {
        for lane in self.devices.iter_mut().flat_map(|device| &mut device.lanes) {
            lane.link.break_off();
        }
    }

    /// The oracle looks at every device that changed, if it is time.
    fn look(&mut self) -> Result<(), Violation> {
        self.unseen += 1;
        match self.unseen >= self.look_each {
            true => self.look_now(),
            false => Ok(()),
        }
    }

    /// The oracle looks at every device that changed.
    fn look_now(&mut self) -> Result<(), Violation> {
        self.unseen = 0;
        for at in 0..self.devices.len() {
            if self.devices[at].is_changed()? {
                let view = View::read(&self.devices[at].other)?;
                self.records[at]
                    .check(view, &self.server_record)
                    .map_err(|mut violation| {
                        violation.detail = format!("d{at}: {}", violation.detail);
                        violation
                    })?;
            }
        }
        Ok(())
    }
}
