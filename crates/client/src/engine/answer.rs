//! What a sync does with an answer as it comes.

use afield_protocol::{Code, Problem};

use super::exchange::{Exchange, Step};
use super::failed::{RESTARTS, part_of};
use super::report::{Direction, Failure, Phase};
use super::{Command, Run};
use crate::error::Error;
use crate::store::SyncStore;

impl Run {
    /// Takes more of an answer, which took `received` bytes of the network.
    pub(super) fn receive(
        &mut self,
        store: &mut SyncStore,
        bytes: &[u8],
        received: usize,
        commands: &mut Vec<Command>,
    ) -> Result<(), Error> {
        self.report.bytes_received += received as u64;
        let (Some(exchange), Some(model)) = (&mut self.exchange, &self.model) else {
            return Ok(());
        };
        exchange.push(bytes);
        loop {
            let frame = match exchange.frame(model) {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(()),
                Err(error) => return self.malformed(store, &error.to_string(), commands),
            };
            let step = match exchange.take(store, frame, &mut self.report) {
                Err(error) if *error.code() == Code::MALFORMED => {
                    return self.malformed(store, &error.to_string(), commands);
                }
                step => step?,
            };
            match step {
                Step::Continue => {}
                Step::Progressed => {
                    self.attempts = 0;
                    let new = self.report.outcomes.get(self.told..).unwrap_or_default();
                    if !new.is_empty() {
                        commands.push(Command::Outcomes(new.to_vec()));
                    }
                    self.told = self.report.outcomes.len();
                    let unit = self.units.front();
                    let told = self.course.progress(&self.report, unit, Phase::Sending);
                    commands.push(Command::Progress(told));
                }
                Step::Paged => {
                    self.attempts = 0;
                    self.held_wanted = 0;
                    self.caps.held = false;
                    let unit = self.units.front();
                    let phase = match &self.check {
                        Some(check) if !check.ask().is_empty() => Phase::Comparing,
                        _ => Phase::Receiving,
                    };
                    let told = self.course.progress(&self.report, unit, phase);
                    commands.push(Command::Progress(told));
                }
                Step::Ended => return Ok(()),
                Step::Overtaken => return self.restart(store, &Code::OVERTAKEN, commands),
                Step::Problem(problem) => return self.refused(store, problem, commands),
            }
        }
    }

    /// The server gives a problem in place of the rest of its answer.
    fn refused(
        &mut self,
        store: &mut SyncStore,
        problem: Problem,
        commands: &mut Vec<Command>,
    ) -> Result<(), Error> {
        let offers = |exchange: &Exchange| exchange.offered.is_some();
        let has_offered = self.exchange.as_ref().is_some_and(offers);
        if problem.code == Code::MODEL_CHANGED {
            return match self.not_upgraded {
                Some(_) => self.sent_only(store, commands),
                None => self.restart(store, &problem.code, commands),
            };
        }
        if problem.code == Code::HELD_WANTED {
            return self.tell_held(store, commands);
        }
        commands.push(Command::Abort);
        // The same question again is no answer to what was told.
        if problem.code == Code::HISTORY_WANTED && !has_offered {
            return self.offer(store, 0, commands);
        }
        self.failed(store, Failure::from_problem(problem), commands)
    }

    fn malformed(
        &mut self,
        store: &mut SyncStore,
        message: &str,
        commands: &mut Vec<Command>,
    ) -> Result<(), Error> {
        commands.push(Command::Abort);
        let failure = Failure::new(Code::MALFORMED, format!("the server's answer: {message}"));
        self.failed(store, failure, commands)
    }

    /// The answer closed: as it should after its last frame, or cut short.
    pub(super) fn closed(
        &mut self,
        store: &mut SyncStore,
        commands: &mut Vec<Command>,
    ) -> Result<(), Error> {
        let Some(exchange) = &self.exchange else {
            return Ok(());
        };
        if !exchange.is_ended() {
            let failure = Failure::new(Code::INTERRUPTED, "the answer ended in the middle");
            return self.failed(store, failure, commands);
        }
        if let Some(offered) = exchange.offered {
            self.attempts = 0;
            return match offered.more {
                true => self.offer(store, offered.last, commands),
                false => {
                    self.exchange = None;
                    self.offered += 1;
                    self.next(store, commands)
                }
            };
        }
        let stalled = exchange.part.filter(|_| !exchange.progressed);
        let (more, pulled, sent) = (exchange.more, exchange.pulled, exchange.groups.len());
        let is_checking = pulled && self.take_check(store)?;
        if let Some((group, _)) = stalled {
            // The server keeps less than it had, or nothing; whatever is wrong, the rest goes on.
            self.stalls += 1;
            if self.stalls > RESTARTS {
                self.wait_alone(store, group)?;
            }
        }
        self.exchange = None;
        self.attempts = 0;
        self.lone_failures = 0;
        self.suspects = self.suspects.saturating_sub(sent);
        self.caps.groups = match self.suspects {
            0 => self.caps.groups.saturating_mul(2),
            suspects => part_of(suspects),
        };
        if more || is_checking || !pulled && self.direction != Direction::Send {
            return self.next(store, commands);
        }
        match self.direction {
            Direction::Send => self.finish(store, None, commands),
            Direction::Both | Direction::Receive => self.advance(store, commands),
        }
    }

    /// Takes what the exchange compared. True if the unit needs another step.
    fn take_check(&mut self, store: &mut SyncStore) -> Result<bool, Error> {
        let (Some(check), Some(exchange)) = (&mut self.check, &mut self.exchange) else {
            return Ok(false);
        };
        if exchange.asked.is_empty() {
            self.check = None;
            return Ok(false);
        }
        let found = std::mem::take(&mut exchange.found);
        check.take(store, &exchange.asked, found, &exchange.repaired)?;
        if !check.ask().is_empty() {
            return Ok(true);
        }
        if let Some(check) = self.check.take() {
            let repaired = std::mem::take(&mut self.report.repaired);
            let verified = check.conclude(store, repaired)?;
            self.report.verified = Some(Box::new(match self.report.verified.take() {
                Some(others) => others.and(verified),
                None => verified,
            }));
        }
        Ok(false)
    }
}
