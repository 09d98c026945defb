//! Syncs: the driver of each device's engine, and what the network does to it.

use afield::engine::{Command, Direction, Event, Failure, Report, SyncStatus};
use afield_protocol::Code;

use super::World;
use super::device::{Done, unexplained};
use super::link::Link;
use crate::action::{Step, Way};
use crate::app;
use crate::oracle::view::{Entry, GroupState};
use crate::violation::{Promise, Violation};

/// Steps after which a sync without faults should be over.
const STEPS_MAX: usize = 3_000;

impl World {
    /// A sync begins, unless one is running in this lane.
    pub(super) fn start(
        &mut self,
        device: usize,
        lane: usize,
        unit: Option<&'static str>,
        way: Way,
    ) -> Result<(), Violation> {
        if !self.devices[device].lanes[lane].link.is_idle() {
            return Ok(());
        }
        let direction = match way {
            Way::Both => Direction::Both,
            Way::Send => Direction::Send,
            Way::Receive => Direction::Receive,
        };
        let units = match (unit, way) {
            (_, Way::Send) => Vec::new(),
            (Some(unit), _) => vec![unit],
            (None, _) => vec![app::unit_name(0), app::unit_name(1)],
        };
        let process = &mut self.devices[device].lanes[lane];
        process.began = (self.server_record.now(), units);
        process.sent.clear();
        let unit = unit.map(str::to_owned);
        self.tally.count("sync");
        self.give(device, lane, Event::Start { unit, direction })
    }

    /// Gives a lane's engine an event and carries out what it asks for.
    pub(super) fn give(
        &mut self,
        device: usize,
        lane: usize,
        event: Event<'_>,
    ) -> Result<(), Violation> {
        let commands = match self.devices[device].handle(lane, event)? {
            Done::Well(commands) => commands,
            Done::Refused(error) => return Err(unexplained("a sync", &error)),
            Done::Died { power } => {
                self.died(device, power)?;
                return self.look();
            }
        };
        for command in commands {
            let process = &mut self.devices[device].lanes[lane];
            match command {
                Command::FetchModel => process.link = Link::Model,
                Command::Send { body } => {
                    if let Ok(request) = self.server.read(&body) {
                        self.asks(device, &request)?;
                        let groups = request.groups;
                        let process = &mut self.devices[device].lanes[lane];
                        let sent = groups.iter().map(|group| group.id);
                        process.sent.extend(sent.clone());
                        let sent = sent.collect();
                        self.look_now()?;
                        self.records[device].check_sent(&sent, &self.server_record)?;
                    }
                    self.devices[device].lanes[lane].link = Link::Request(body);
                }
                Command::Abort => process.link = Link::Idle,
                Command::Wait { ms } => process.link = Link::Pause(self.clock.now_ms() + ms),
                Command::Progress(_) | Command::UnitCompleted(_) | Command::Outcomes(_) => {}
                Command::Finished(report) => {
                    process.link = Link::Idle;
                    self.look_now()?;
                    self.finished(device, lane, &report)?;
                }
            }
        }
        self.look()
    }

    /// A sync goes on.
    pub(super) fn step(&mut self, device: usize, lane: usize, step: Step) -> Result<(), Violation> {
        let link = std::mem::replace(&mut self.devices[device].lanes[lane].link, Link::Busy);
        match link {
            Link::Idle | Link::Busy => {
                self.devices[device].lanes[lane].link = Link::Idle;
                Ok(())
            }
            Link::Model => match step {
                Step::LoseRequest | Step::LoseAnswer | Step::Delay => {
                    self.tally.count("model lost");
                    let failure = Failure::new(Code::UNREACHABLE, "simulated");
                    self.give(device, lane, Event::Failed(failure))
                }
                _ => {
                    let json = self.server.model_json();
                    self.give(device, lane, Event::Model(&json))
                }
            },
            Link::Pause(until) => {
                self.clock.advance(until - self.clock.now_ms());
                self.give(device, lane, Event::Waited)
            }
            Link::Request(body) => self.carry(device, lane, body, step),
            Link::Answer(answer) => self.read_on(device, lane, answer, step),
        }
    }

    /// A sync from beginning to end. What is running in the lane is brought to its end first.
    pub(super) fn whole_sync(&mut self, device: usize) -> Result<(), Violation> {
        self.bring_to_end(device, 0)?;
        self.start(device, 0, None, Way::Both)?;
        self.bring_to_end(device, 0)
    }

    /// Compares every row of a device with the server's: it must have exactly these.
    pub(super) fn verify(&mut self, device: usize) -> Result<(), Violation> {
        self.bring_to_end(device, 0)?;
        let units = vec![app::unit_name(0), app::unit_name(1)];
        let process = &mut self.devices[device].lanes[0];
        process.began = (self.server_record.now(), units);
        process.sent.clear();
        self.tally.count("verify");
        let verify = Event::Verify {
            unit: None,
            repair: false,
        };
        self.give(device, 0, verify)?;
        self.bring_to_end(device, 0)
    }

    /// Lets what runs in a lane end.
    pub(super) fn bring_to_end(&mut self, device: usize, lane: usize) -> Result<(), Violation> {
        for _ in 0..STEPS_MAX {
            if self.devices[device].lanes[lane].link.is_idle() {
                return Ok(());
            }
            self.step(device, lane, Step::Go)?;
        }
        let detail = format!("d{device} after {STEPS_MAX} steps");
        Err(Violation::new(
            Promise::P8,
            "a sync comes to an end",
            detail,
        ))
    }

    /// What a report says must be so.
    fn finished(&mut self, device: usize, lane: usize, report: &Report) -> Result<(), Violation> {
        self.say(|| {
            let error = report.error.as_ref().map(|(code, _)| code.to_string());
            format!(
                "     d{device}/{lane} {:?} {}",
                report.status,
                error.unwrap_or_default()
            )
        });
        self.tally.count(match report.status {
            SyncStatus::Completed => "sync completed",
            SyncStatus::Incomplete => "sync incomplete",
            SyncStatus::Failed => "sync failed",
        });
        if let Some(verified) = report.verified.as_ref().filter(|it| !it.equal) {
            let invariant = "a device that is up to date has exactly the server's rows";
            let detail = format!("d{device} {verified:?}");
            return Err(Violation::new(Promise::P5, invariant, detail));
        }
        let process = &self.devices[device].lanes[lane];
        if report.status == SyncStatus::Failed {
            return Ok(());
        }
        let view = &self.records[device].view;
        for id in process
            .sent
            .iter()
            .filter(|_| report.status == SyncStatus::Completed)
        {
            let mut entries = view.log.iter().chain(&view.tagged_log);
            // One that was lost in the middle of the sync is there under another name.
            let is_lost = self.server_record.is_lost(*id);
            let is_it =
                |entry: &&Entry| entry.group == *id || is_lost && entry.absorbed.contains(id);
            let entry = entries.find(is_it);
            if entry.is_none_or(|entry| entry.state != GroupState::Settled) {
                let invariant = "a sync is completed only if all it sent was applied";
                return Err(Violation::new(
                    Promise::P6,
                    invariant,
                    format!("group {id}"),
                ));
            }
        }
        self.look_into_file(device)?;
        let process = &self.devices[device].lanes[lane];
        let (began, units) = &process.began;
        let kinds = self.kinds;
        let pulled = (units.iter()).flat_map(|unit| app::unit_entities(unit, kinds));
        for entity in pulled.filter(|entity| view.has(*entity)) {
            let (position, is_complete) = &view.standing[entity];
            let token = position.as_deref().unwrap_or(&[]);
            let user = self.records[device].user;
            let state = self.server_record.state_of((user, entity), token);
            if !is_complete || state.is_none_or(|state| state < *began) {
                let detail = format!(
                    "d{device} {}: state {state:?}; the sync began at {began}",
                    app::name(entity)
                );
                let invariant = "what was committed before a sync is there after it";
                return Err(Violation::new(Promise::P5, invariant, detail));
            }
        }
        Ok(())
    }
}
