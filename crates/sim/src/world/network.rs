//! The network between a device and the server: what becomes of requests and answers on their
//! way, and what the HTTP layer does with them.

use afield::engine::{Event, Failure};
use afield_protocol::codec::Format;
use afield_protocol::{Code, Frame, GroupOutcome, Problem, Value};

use super::link::{Answer, Late, Link, Serving};
use super::server::{Asked, Request};
use super::{LATE_MAX, World};
use crate::action::Step;
use crate::oracle::push::Pushed;
use crate::violation::{Promise, Violation};
use crate::{app, jobs};

/// Groups that are kept to come again altered.
const PUSHED_MAX: usize = 8;

/// How the server took a request.
enum Taken {
    Answer(Answer),
    Status(u16, Code),
    /// The connection broke: the server died.
    Broken,
}

impl World {
    /// Carries a request to the server, or not.
    pub(super) fn carry(
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
        if let Some(taken) = self.take_history(device, &request)? {
            return Ok(taken);
        }
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
        write(&self.server.settled(), &mut answer);
        if request.hello.pull.is_empty() {
            write(&Frame::End, &mut answer);
        } else {
            answer.serving = Some(Serving {
                held: request.held,
                chosen: request.chosen,
                compare: request.compare,
                entities: request.hello.pull,
            });
        }
        Ok(Taken::Answer(answer))
    }

    /// What the server answers a device that knows another history of it, or that tells what was
    /// settled in that.
    fn take_history(
        &mut self,
        device: usize,
        request: &Request,
    ) -> Result<Option<Taken>, Violation> {
        let frames = if request.history.is_empty() {
            match self.server.knows(&request.hello.checkpoints)? {
                Asked::Answered(true) => return Ok(None),
                Asked::Answered(false) => {
                    self.tally.count("history wanted");
                    let (code, message) = (Code::HISTORY_WANTED, String::new());
                    vec![Frame::Problem(Problem { code, message })]
                }
                Asked::Failed(_) => return Ok(Some(Taken::Status(500, Code::INTERNAL))),
                Asked::Died => return Ok(Some(self.server_died())),
            }
        } else {
            let user = self.devices[device].user.clone();
            match self.server.lost(&user, &request.history)? {
                Asked::Answered(groups) => {
                    self.tally
                        .add("group lost by a restore", groups.len() as u64);
                    self.server_record.check_lost(&request.history, &groups)?;
                    vec![Frame::Lost { groups }, self.server.settled(), Frame::End]
                }
                Asked::Failed(_) => return Ok(Some(Taken::Status(500, Code::INTERNAL))),
                Asked::Died => return Ok(Some(self.server_died())),
            }
        };
        let mut answer = Answer::default();
        let model = std::rc::Rc::clone(&self.server.model);
        for frame in std::iter::once(self.server.welcome()).chain(frames) {
            Format::Cbor.write(&model.device, &frame, &mut answer.bytes);
        }
        Ok(Some(Taken::Answer(answer)))
    }

    fn server_died(&mut self) -> Taken {
        self.tally.count("server died");
        self.break_off();
        Taken::Broken
    }

    fn push(
        &mut self,
        device: usize,
        request: &Request,
    ) -> Result<Asked<Vec<GroupOutcome>>, Violation> {
        let before = self.server_record.now();
        let user = self.devices[device].user.clone();
        let asked = self.server.push(&user, &request.groups)?;
        let lines = self.server_record.observe(&self.server.team)?;
        self.tally.add("group pushed", request.groups.len() as u64);
        for group in &request.groups {
            self.pushed.truncate(PUSHED_MAX - 1);
            self.pushed.insert(0, (user.clone(), group.clone()));
        }
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
            user: self.records[device].user,
            intents: &self.intents,
            shown: &self.records[device].shown,
            tagged: &self.records[device].tagged,
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
        let page = match self.server.pull(&user, &serving, self.page_rows)? {
            Asked::Answered(page) => page,
            Asked::Died => {
                self.tally.count("server died");
                answer.broken = true;
                self.break_off();
                return Ok(());
            }
            Asked::Failed(error) if error.code == Code::HELD_WANTED => {
                self.tally.count("held values wanted");
                let (code, message) = (error.code, error.message);
                let problem = Frame::Problem(Problem { code, message });
                Format::Cbor.write(&model.device, &problem, &mut answer.bytes);
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
        let owner = self.records[device].user;
        self.server_record.check_page(owner, &page.frames)?;
        let (from, now) = (&serving.entities, self.server.time);
        self.server_record.check_bounds(owner, from, &page, now)?;
        for frame in &page.frames {
            Format::Cbor.write(&model.device, frame, &mut answer.bytes);
        }
        if page.end.complete {
            let open = std::rc::Rc::new(jobs::open(&serving.chosen));
            for (entity, token) in &page.end.to {
                if let Some(entity) = app::place(entity) {
                    self.server_record
                        .gave_position((owner, entity), token, &open);
                }
            }
            Format::Cbor.write(&model.device, &Frame::End, &mut answer.bytes);
        } else {
            self.tally.count("page not complete");
            let to = page.end.to.into_iter();
            serving.entities = to.map(|(entity, token)| (entity, Some(token))).collect();
            serving.held = page.held;
            answer.serving = Some(serving);
        }
        Ok(())
    }

    /// The device reads more of an answer, or what the network leaves of it.
    pub(super) fn read_on(
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

    /// A settled group comes again under its id, with other contents: somebody's mistake, or an
    /// attack. It must not count as a repeat, and must not take effect.
    pub(super) fn arrive_altered(&mut self, pick: u32) -> Result<(), Violation> {
        if self.pushed.is_empty() {
            return Ok(());
        }
        let (user, mut group) = self.pushed[pick as usize % self.pushed.len()].clone();
        let settings = group
            .changes
            .iter_mut()
            .flat_map(|change| change.set.iter_mut());
        let texts = settings.filter(|(_, value)| matches!(value, Value::Text(_)));
        let Some((_, value)) = texts
            .last()
            .filter(|_| self.server_record.settled(group.id))
        else {
            return Ok(());
        };
        *value = Value::Text(format!("altered {pick}"));
        self.tally.count("group altered");
        let asked = self.server.push(&user, std::slice::from_ref(&group))?;
        let lines = self.server_record.observe(&self.server.team)?;
        let is_refused = match &asked {
            Asked::Answered(outcomes) => outcomes
                .iter()
                .flat_map(|o| &o.verdicts)
                .all(|verdict| verdict.code.as_ref() == Some(&Code::HASH_MISMATCH)),
            Asked::Failed(_) => true,
            Asked::Died => {
                self.break_off();
                true
            }
        };
        if is_refused && lines.is_empty() {
            return Ok(());
        }
        let invariant = "an id that comes again with other contents is refused";
        Err(Violation::new(
            Promise::P2,
            invariant,
            format!("{group:?}: {lines:?}"),
        ))
    }
}
