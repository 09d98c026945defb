//! Syncs: the driver of each device's engine, and what the network does to it.

use afield::engine::{Command, Direction, Event, Failure, Report, SyncStatus};
use afield_protocol::codec::Format;
use afield_protocol::{Code, Frame};

use super::device::{Done, unexplained};
use super::link::{Answer, Late, Link, Serving};
use super::server::{Asked, Request};
use super::{LATE_MAX, World};
use crate::action::{Step, Way};
use crate::app;
use crate::oracle::push::Pushed;
use crate::oracle::view::GroupState;
use crate::violation::{Promise, Violation};

/// Steps after which a sync without faults should be over.
const STEPS_MAX: usize = 3_000;

/// How the server took a request.
enum Taken {
    Answer(Answer),
    Status(u16, Code),
    /// The connection broke: the server died.
    Broken,
}

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
    fn give(&mut self, device: usize, lane: usize, event: Event<'_>) -> Result<(), Violation> {
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
                    process.link = Link::Request(body.clone());
                    if let Ok(Request { groups, .. }) = self.server.read(&body) {
                        process.sent.extend(groups.iter().map(|group| group.id));
                    }
                }
                Command::Abort => process.link = Link::Idle,
                Command::Wait { ms } => process.link = Link::Pause(self.clock.now_ms() + ms),
                Command::Progress(_) => {}
                Command::Finished(report) => {
                    process.link = Link::Idle;
                    self.look()?;
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

    /// Carries a request to the server, or not.
    fn carry(
        &mut self,
        device: usize,
        lane: usize,
        body: Vec<u8>,
        step: Step,
    ) -> Result<(), Violation> {
        let fail = |world: &mut Self, what, code, status: Option<u16>| {
            world.tally.count(what);
            let mut failure = Failure::new(code, "simulated");
            failure.status = status;
            world.give(device, lane, Event::Failed(failure))
        };
        match step {
            Step::LoseRequest => {
                let code = [Code::UNREACHABLE, Code::TIMEOUT][self.random.usize(0..2)].clone();
                return fail(self, "request lost", code, None);
            }
            Step::Delay => {
                self.late.truncate(LATE_MAX - 1);
                self.late.insert(0, Late { device, body });
                return fail(self, "request late", Code::TIMEOUT, None);
            }
            Step::Fail500 => return fail(self, "status 500", Code::INTERNAL, Some(500)),
            Step::Busy => return fail(self, "status 503", Code::BUSY, Some(503)),
            Step::Nobody => return fail(self, "token of nobody", Code::SIGN_IN, Some(401)),
            Step::Duplicate => {
                self.tally.count("request duplicated");
                self.take(device, &body)?;
            }
            _ => {}
        }
        match self.take(device, &body)? {
            Taken::Broken => {
                let code = [Code::UNREACHABLE, Code::INTERRUPTED][self.random.usize(0..2)].clone();
                fail(self, "server died", code, None)
            }
            Taken::Status(status, code) => fail(self, "server failed", code, Some(status)),
            Taken::Answer(mut answer) => {
                if step != Step::LoseAnswer {
                    self.devices[device].lanes[lane].link = Link::Answer(answer);
                    return Ok(());
                }
                while answer.serving.is_some() {
                    self.serve_page(device, &mut answer)?;
                }
                fail(self, "answer lost", Code::TIMEOUT, None)
            }
        }
    }

    /// The server takes a request: reads it, pushes its groups, and begins the answer.
    fn take(&mut self, device: usize, body: &[u8]) -> Result<Taken, Violation> {
        let mut answer = Answer::default();
        let model = std::rc::Rc::clone(&self.server.model);
        let write = |frame: &Frame, answer: &mut Answer| {
            Format::Cbor.write(&model.device, frame, &mut answer.bytes);
        };
        let request = match self.server.read(body) {
            Ok(request) => request,
            Err(problem) => {
                write(&Frame::Problem(problem), &mut answer);
                return Ok(Taken::Answer(answer));
            }
        };
        let outcomes = match self.push(device, &request)? {
            Asked::Answered(outcomes) => outcomes,
            Asked::Failed(error) if error.is_retryable => {
                return Ok(Taken::Status(503, Code::BUSY));
            }
            Asked::Failed(_) => return Ok(Taken::Status(500, Code::INTERNAL)),
            Asked::Died => return Ok(Taken::Broken),
        };
        write(&self.server.welcome(), &mut answer);
        for outcome in outcomes {
            write(&Frame::Outcome(outcome), &mut answer);
        }
        write(&Frame::Settled, &mut answer);
        if request.hello.pull.is_empty() {
            write(&Frame::End, &mut answer);
        } else {
            answer.serving = Some(Serving {
                entities: request.hello.pull,
            });
        }
        Ok(Taken::Answer(answer))
    }

    fn push(
        &mut self,
        device: usize,
        request: &Request,
    ) -> Result<Asked<Vec<afield_protocol::GroupOutcome>>, Violation> {
        let before = self.server_record.now();
        let user = self.devices[device].user.clone();
        let asked = self.server.push(&user, &request.groups)?;
        let lines = self.server_record.observe(&self.server.team)?;
        self.tally.add("group pushed", request.groups.len() as u64);
        if matches!(asked, Asked::Died) {
            self.break_off();
        }
        self.server_record.check_push(&Pushed {
            groups: &request.groups,
            outcomes: match &asked {
                Asked::Answered(outcomes) => Some(outcomes),
                Asked::Failed(_) | Asked::Died => None,
            },
            lines: &lines,
            before,
            intents: &self.intents,
            shown: &self.records[device].shown,
        })?;
        Ok(asked)
    }

    /// The server writes one more page into an answer.
    fn serve_page(&mut self, device: usize, answer: &mut Answer) -> Result<(), Violation> {
        let Some(mut serving) = answer.serving.take() else {
            return Ok(());
        };
        let user = self.devices[device].user.clone();
        let model = std::rc::Rc::clone(&self.server.model);
        let page = match self.server.pull(&user, &serving.entities, self.page_rows)? {
            Asked::Answered(page) => page,
            Asked::Died => {
                self.tally.count("server died");
                answer.broken = true;
                self.break_off();
                return Ok(());
            }
            Asked::Failed(error) => {
                let detail = format!("{}: {}", error.code, error.message);
                return Err(Violation::new(
                    Promise::Sound,
                    "a pull does not fail",
                    detail,
                ));
            }
        };
        self.server_record.observe(&self.server.team)?;
        for frame in &page.frames {
            Format::Cbor.write(&model.device, frame, &mut answer.bytes);
        }
        if page.end.complete {
            for (entity, token) in &page.end.to {
                if let Some(entity) = app::place(entity) {
                    self.server_record.gave_position(entity, token);
                }
            }
            Format::Cbor.write(&model.device, &Frame::End, &mut answer.bytes);
        } else {
            self.tally.count("page not complete");
            let to = page.end.to.into_iter();
            serving.entities = to.map(|(entity, token)| (entity, Some(token))).collect();
            answer.serving = Some(serving);
        }
        Ok(())
    }

    /// The device reads more of an answer, or what the network leaves of it.
    fn read_on(
        &mut self,
        device: usize,
        lane: usize,
        mut answer: Answer,
        step: Step,
    ) -> Result<(), Violation> {
        let left = answer.bytes.len() - answer.read;
        let cut = match step {
            Step::Read(bytes) => return self.read(device, lane, answer, bytes as usize, None),
            Step::Cut(share) => Some(left * usize::from(share) / 256),
            Step::LoseAnswer | Step::LoseRequest | Step::Delay => Some(0),
            _ => None,
        };
        if let Some(bytes) = cut {
            self.tally.count("answer cut");
            let code = [Code::INTERRUPTED, Code::TIMEOUT][self.random.usize(0..2)].clone();
            return self.read(device, lane, answer, bytes, Some(code));
        }
        if answer.serving.is_some() {
            self.serve_page(device, &mut answer)?;
            self.devices[device].lanes[lane].link = Link::Answer(answer);
            return Ok(());
        }
        let ends = if answer.broken {
            Code::INTERRUPTED
        } else {
            Code::INTERNAL
        };
        self.read(device, lane, answer, left, Some(ends))
    }

    /// Hands over some bytes of an answer, in pieces; then the connection ends, if `ends` says
    /// so: properly if the device has all of it, else with this code.
    fn read(
        &mut self,
        device: usize,
        lane: usize,
        mut answer: Answer,
        bytes: usize,
        ends: Option<Code>,
    ) -> Result<(), Violation> {
        let until = (answer.read + bytes).min(answer.bytes.len());
        while answer.read < until {
            let piece = self
                .random
                .usize(1..=until - answer.read)
                .max((until - answer.read) / 3);
            let next = (answer.read + piece).min(until);
            let chunk = answer.bytes[answer.read..next].to_vec();
            answer.read = next;
            self.give(device, lane, Event::Bytes(&chunk))?;
            if !matches!(self.devices[device].lanes[lane].link, Link::Busy) {
                // The engine wants no more of this answer, or its process died.
                return Ok(());
            }
        }
        let Some(code) = ends else {
            self.devices[device].lanes[lane].link = Link::Answer(answer);
            return Ok(());
        };
        let is_whole =
            answer.read == answer.bytes.len() && answer.serving.is_none() && !answer.broken;
        if is_whole || self.random.u32(0..4) == 0 {
            return self.give(device, lane, Event::Closed);
        }
        let failure = Failure::new(code, "simulated");
        self.give(device, lane, Event::Failed(failure))
    }

    /// A request that its device gave up on arrives after all; nobody reads the answer.
    pub(super) fn arrive_late(&mut self, pick: u32) -> Result<(), Violation> {
        if self.late.is_empty() {
            return Ok(());
        }
        let late = self.late.remove(pick as usize % self.late.len());
        self.tally.count("late request arrived");
        if let Taken::Answer(mut answer) = self.take(late.device, &late.body)? {
            while answer.serving.is_some() {
                self.serve_page(late.device, &mut answer)?;
            }
        }
        Ok(())
    }

    /// A sync from beginning to end. What is running in the lane is brought to its end first.
    pub(super) fn whole_sync(&mut self, device: usize) -> Result<(), Violation> {
        self.bring_to_end(device, 0)?;
        self.start(device, 0, None, Way::Both)?;
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
            let entry = view.log.iter().find(|entry| entry.group == *id);
            if entry.is_none_or(|entry| entry.state != GroupState::Settled) {
                let invariant = "a sync is completed only if all it sent was applied";
                return Err(Violation::new(
                    Promise::P6,
                    invariant,
                    format!("group {id}"),
                ));
            }
        }
        let (began, units) = &process.began;
        for entity in units.iter().flat_map(|unit| app::unit_entities(unit)) {
            let (position, is_complete) = &view.standing[entity];
            let token = position.as_deref().unwrap_or(&[]);
            let state = self.server_record.state_of(entity, token);
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
