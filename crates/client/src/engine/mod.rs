//! The sync engine: it decides what a sync does next and performs none of it.
//!
//! ```text
//!             Event                    Command
//!   driver ─────────► Engine::handle ─────────► driver
//!                          │
//!                          ▼
//!                      SyncStore
//! ```
//!
//! A driver feeds events (an answer's bytes, a failure, a pause that is over) and carries out
//! commands (fetch the model, send a request, wait). Time and randomness come from the store's
//! environment, so the same engine runs in an app, in a browser and under the simulator.
//!
//! One sync is a series of exchanges, each a request and its streamed answer:
//!
//! ```text
//! start ─► (model?) ─► exchange ─► more groups? ─► exchange ─► … ─► next unit ─► … ─► finished
//!                         │ held wanted ─► again, at once, with the values held
//!                         │ history wanted ─► what was settled is offered ─► again, at once
//!                         │ another model ─► fetched and installed ─► again; if it cannot be
//!                         │                  installed, the rest is sent under the old one
//!                         │ failed
//!                         ├─ made progress ───────────────► again, at once
//!                         ├─ several groups ──────────────► some of them, until the one that the
//!                         │                                  server fails at is alone
//!                         ├─ one large group ─────────────► in parts of half the size
//!                         ├─ one group ───────────────────► it waits alone, the rest goes on
//!                         └─ nothing left to leave out ───► pause, again; in the end: failed
//! ```

mod answer;
mod course;
mod exchange;
mod failed;
mod report;
mod upgrade;
mod verify;

use std::collections::VecDeque;

use afield_protocol::{Code, GroupId, Model};

use self::course::Course;
use self::exchange::Exchange;
use self::verify::{Asked, Check};
use crate::error::Error;
use crate::store::{OutcomeInfo, Outgoing, RequestCaps, SyncEnd, SyncStore};

pub use report::{Direction, Failure, Phase, Progress, Report, SyncStatus};
pub use verify::{CheckPolicy, Differing, Verified};

/// What happened outside.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// Begin a sync.
    Start {
        /// The unit; all units in the model's order if `None`.
        unit: Option<String>,
        /// Send, receive or both.
        direction: Direction,
    },
    /// Receive, and compare the rows of the device with those of the server.
    Verify {
        /// The unit; all units in the model's order if `None`.
        unit: Option<String>,
        /// Whether to repair what differs.
        repair: bool,
    },
    /// The model that [`Command::FetchModel`] asked for, as JSON.
    Model(&'a str),
    /// More of the answer to [`Command::Send`].
    Bytes(&'a [u8]),
    /// The same, of an answer that came packed.
    Unpacked {
        /// What it unpacked to.
        bytes: &'a [u8],
        /// Bytes that the network carried for it.
        received: usize,
    },
    /// The answer ended as it should.
    Closed,
    /// The model or the answer did not come, or not whole.
    Failed(Failure),
    /// The pause that [`Command::Wait`] asked for is over.
    Waited,
    /// Stop as soon as possible; nothing is lost.
    Cancel,
}

/// What the driver should do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// `GET /v1/model`, then [`Event::Model`] or [`Event::Failed`].
    FetchModel,
    /// `POST /v1/sync` with this body, then [`Event::Bytes`] as they come, then
    /// [`Event::Closed`] or [`Event::Failed`].
    Send {
        /// The request's frames.
        body: Vec<u8>,
    },
    /// Stop reading the answer to the newest request; events of it are ignored from now on.
    Abort,
    /// Wait so long, then [`Event::Waited`].
    Wait {
        /// Milliseconds.
        ms: i64,
    },
    /// Tell whoever watches.
    Progress(Progress),
    /// The same: these outcomes were stored.
    Outcomes(Vec<OutcomeInfo>),
    /// The same: all rows of this unit, of a sync of several, are here.
    UnitCompleted(String),
    /// The sync is over.
    Finished(Report),
}

/// One device's sync engine. It holds no data that would be missed: a new one continues where
/// the last one was.
#[derive(Default)]
pub struct Engine {
    run: Option<Run>,
    /// When units are verified at the end of their syncs.
    policy: Option<CheckPolicy>,
    /// Units whose rows syncs of all units do not ask for.
    left_out: Vec<String>,
}

/// Whether a sync compares rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verifying {
    /// No.
    Never,
    /// In each unit where it is due; a check that fails never keeps a sync from getting through.
    Due(CheckPolicy),
    /// In each unit, since that is what it is for.
    Asked {
        /// Whether differences are repaired.
        repair: bool,
    },
}

/// A sync that is running.
struct Run {
    units: VecDeque<String>,
    all_units: bool,
    /// Units that are left out if all are meant.
    may_leave_out: Vec<String>,
    direction: Direction,
    caps: RequestCaps,
    exchange: Option<Exchange>,
    model: Option<Model>,
    attempts: u32,
    lone_failures: u32,
    /// Groups next to be sent among which one makes the server fail.
    suspects: usize,
    restarts: u32,
    /// How rows are compared, if they are.
    verifying: Verifying,
    /// The unit whose rows are being compared.
    check: Option<Check>,
    /// Answers in a row that wanted the values held in place of a page.
    held_wanted: u32,
    /// Times that this sync told the server all that was settled.
    offered: u32,
    /// Pieces of large groups of which the server kept nothing.
    stalls: u32,
    /// Every group that this sync sent, whoever gets its outcome: another sync of this store may
    /// be faster.
    sent: Vec<GroupId>,
    /// Units of which all rows are here, and when they were asked for.
    received: Vec<(String, i64)>,
    /// When the newest request was sent, in milliseconds since 1970.
    asked_ms: i64,
    course: Course,
    /// Outcomes that were told.
    told: usize,
    /// An open conflict that keeps units out of this sync.
    stopped: Option<(Code, String)>,
    /// The server has another model that this store could not take: changes are sent, and no rows
    /// are asked for.
    not_upgraded: Option<(Code, String)>,
    /// Whether the server refused this store's model and it asked for a newer one.
    tried_newer: bool,
    report: Report,
}

impl Engine {
    /// An engine that is not syncing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets syncs that receive verify each unit when its last comparison is old enough; never by
    /// itself if `None`, as at first.
    pub fn set_check(&mut self, policy: Option<CheckPolicy>) {
        self.policy = policy;
    }

    /// Has syncs of all units leave the rows of these units out, as long as the network is one that
    /// they should not come over. Changes are sent anyway.
    pub fn leave_out(&mut self, units: Vec<String>) {
        self.left_out = units;
    }

    /// Whether a sync is running.
    pub fn is_running(&self) -> bool {
        self.run.is_some()
    }

    /// Takes one event and says what to do.
    ///
    /// # Errors
    /// The store failed; the sync is over, and a later one continues from what was stored.
    pub fn handle(
        &mut self,
        store: &mut SyncStore,
        event: Event<'_>,
    ) -> Result<Vec<Command>, Error> {
        let mut commands = Vec::new();
        let result = self.step(store, event, &mut commands);
        if result.is_err() {
            self.run = None;
        }
        result.map(|()| commands)
    }

    fn step(
        &mut self,
        store: &mut SyncStore,
        event: Event<'_>,
        commands: &mut Vec<Command>,
    ) -> Result<(), Error> {
        let started = match &event {
            Event::Start { unit, direction } => {
                let verifying = self.policy.map_or(Verifying::Never, Verifying::Due);
                Some(Run::new(unit.clone(), *direction, verifying))
            }
            Event::Verify { unit, repair } => {
                let verifying = Verifying::Asked { repair: *repair };
                Some(Run::new(unit.clone(), Direction::Receive, verifying))
            }
            _ => None,
        };
        if let Some(mut run) = started {
            run.may_leave_out.clone_from(&self.left_out);
            run.begin(store, commands)?;
            self.run = Some(run);
            return self.drop_finished(commands);
        }
        let Some(run) = &mut self.run else {
            return Ok(());
        };
        match event {
            Event::Start { .. } | Event::Verify { .. } => {}
            Event::Model(json) => run.upgrade(store, json, commands)?,
            Event::Bytes(bytes) => run.receive(store, bytes, bytes.len(), commands)?,
            Event::Unpacked { bytes, received } => {
                run.receive(store, bytes, received, commands)?;
            }
            Event::Closed => run.closed(store, commands)?,
            Event::Failed(failure) => run.failed(store, failure, commands)?,
            Event::Waited => run.next(store, commands)?,
            Event::Cancel => {
                commands.push(Command::Abort);
                run.finish(
                    store,
                    Some((Code::INTERRUPTED, "cancelled".into())),
                    commands,
                )?;
            }
        }
        self.drop_finished(commands)
    }

    fn drop_finished(&mut self, commands: &[Command]) -> Result<(), Error> {
        if commands
            .iter()
            .any(|command| matches!(command, Command::Finished(_)))
        {
            self.run = None;
        }
        Ok(())
    }
}

impl Run {
    fn new(unit: Option<String>, direction: Direction, verifying: Verifying) -> Self {
        Self {
            all_units: unit.is_none(),
            units: unit.into_iter().collect(),
            may_leave_out: Vec::new(),
            direction,
            caps: RequestCaps::default(),
            exchange: None,
            model: None,
            attempts: 0,
            lone_failures: 0,
            suspects: 0,
            restarts: 0,
            verifying,
            check: None,
            held_wanted: 0,
            offered: 0,
            stalls: 0,
            sent: Vec::new(),
            received: Vec::new(),
            asked_ms: 0,
            course: Course::default(),
            told: 0,
            stopped: None,
            not_upgraded: None,
            tried_newer: false,
            report: Report::default(),
        }
    }

    /// Begins with the model at hand, or asks for one.
    fn begin(&mut self, store: &mut SyncStore, commands: &mut Vec<Command>) -> Result<(), Error> {
        let Some(model) = store.model()? else {
            commands.push(Command::FetchModel);
            return Ok(());
        };
        if self.all_units {
            let names = model.units.iter().map(|unit| unit.name.clone());
            let (left_out, units): (Vec<_>, Vec<_>) =
                names.partition(|name| self.may_leave_out.contains(name));
            self.units = units.into();
            if self.direction != Direction::Send {
                self.report.left_out = left_out;
            }
        }
        self.caps.changes = model.limits.batch_changes;
        self.caps.bytes = model.limits.batch_bytes;
        self.caps.group_changes = model.limits.group_changes_max;
        self.model = Some(model);
        self.leave_out_stopped(store)?;
        self.take_up(store)?;
        if self.units.is_empty() && self.stopped.is_some() {
            return self.finish(store, None, commands);
        }
        self.next(store, commands)
    }

    /// Goes on telling how far the unit at hand has come, if an earlier sync did not end it.
    fn take_up(&mut self, store: &mut SyncStore) -> Result<(), Error> {
        let receives = self.direction != Direction::Send;
        let unit = self.units.front().filter(|_| receives);
        let begun = unit.map(|unit| store.begun(unit)).transpose()?.flatten();
        self.report.remaining = begun.map(|begun| begun.remaining);
        self.report.has_begun = false;
        begun
            .into_iter()
            .for_each(|begun| self.course.take_up(begun));
        Ok(())
    }

    /// Leaves units out in which an open conflict waits whose entity asks for that. The others
    /// are synchronised, and the sync fails in the end.
    fn leave_out_stopped(&mut self, store: &mut SyncStore) -> Result<(), Error> {
        for unit in std::mem::take(&mut self.units) {
            match store.stopped_by(&unit)? {
                None => self.units.push_back(unit),
                Some((entity, conflict)) => {
                    let message = format!(
                        "unit `{unit}` is not synchronised: {entity} has an open conflict \
                         ({conflict}); decide it first"
                    );
                    self.stopped = Some((Code::CONFLICT_OPEN, message));
                }
            }
        }
        Ok(())
    }

    /// Sends the next request, or finishes.
    fn next(&mut self, store: &mut SyncStore, commands: &mut Vec<Command>) -> Result<(), Error> {
        let Some(model) = &self.model else {
            commands.push(Command::FetchModel);
            return Ok(());
        };
        let sends = self.direction != Direction::Receive;
        let unit = match self.direction {
            _ if self.not_upgraded.is_some() => None,
            Direction::Send => None,
            Direction::Both | Direction::Receive => self.units.front().map(String::as_str),
        };
        let mut outgoing = store.next_request(unit, sends, self.caps)?;
        if outgoing.more {
            // Rows come with the last envelope; until then they would only be sent twice.
            outgoing.pull.clear();
            outgoing.held.clear();
            outgoing.chosen.clear();
        }
        let sends_nothing =
            outgoing.groups.is_empty() && outgoing.part.is_none() && outgoing.closed.is_empty();
        if sends_nothing && outgoing.pull.is_empty() {
            return match unit.is_some() && self.units.len() > 1 {
                true => self.advance(store, commands),
                false => self.finish(store, None, commands),
            };
        }
        let asked = match outgoing.pull.is_empty() {
            true => Asked::default(),
            false => {
                begin_check(&mut self.check, self.verifying, store, unit, &outgoing)?;
                self.check.as_ref().map(Check::ask).unwrap_or_default()
            }
        };
        let unit = unit.unwrap_or_default();
        let (exchange, body) = Exchange::begin(model, unit, outgoing, asked);
        self.sent.extend(&exchange.groups);
        self.sent.extend(exchange.part.map(|(group, _)| group));
        self.report.bytes_sent += body.len() as u64;
        self.exchange = Some(exchange);
        self.asked_ms = store.now_ms();
        commands.push(Command::Send { body });
        Ok(())
    }

    /// Goes on with the next unit, or finishes.
    fn advance(&mut self, store: &mut SyncStore, commands: &mut Vec<Command>) -> Result<(), Error> {
        if let Some(unit) = self.units.pop_front() {
            self.received.push((unit.clone(), self.asked_ms));
            if self.all_units {
                commands.push(Command::UnitCompleted(unit));
            }
        }
        self.course.next_unit(&self.report);
        self.take_up(store)?;
        match self.units.is_empty() {
            // What waited for rows of another history goes once they are there.
            true if self.offered > 0 => self.next(store, commands),
            true => self.finish(store, None, commands),
            false => self.next(store, commands),
        }
    }

    fn finish(
        &mut self,
        store: &mut SyncStore,
        error: Option<(Code, String)>,
        commands: &mut Vec<Command>,
    ) -> Result<(), Error> {
        let error = error.or_else(|| self.not_upgraded.take());
        let error = error.or_else(|| self.stopped.take());
        store.ended(&SyncEnd {
            error: error.as_ref().map(|(code, _)| code),
            is_whole: self.report.left_out.is_empty(),
            received: &self.received,
            begun: self
                .units
                .front()
                .map(String::as_str)
                .zip(self.course.begun(&self.report)),
        })?;
        let mut report = std::mem::take(&mut self.report);
        report.units = self.received.drain(..).map(|(unit, _)| unit).collect();
        report.conclude(error, store.are_settled(&self.sent)?);
        commands.push(Command::Finished(report));
        Ok(())
    }
}

/// Begins to compare the rows of a unit, if that was asked for or is due, and has not begun.
fn begin_check(
    check: &mut Option<Check>,
    verifying: Verifying,
    store: &mut SyncStore,
    unit: Option<&str>,
    outgoing: &Outgoing,
) -> Result<(), Error> {
    let Some(unit) = unit.filter(|unit| check.as_ref().is_none_or(|it| it.unit() != *unit)) else {
        return Ok(());
    };
    let repair = match verifying {
        Verifying::Never => return Ok(()),
        Verifying::Asked { repair } => repair,
        Verifying::Due(policy) if store.is_check_due(unit, policy.every_ms)? => policy.repair,
        Verifying::Due(_) => return Ok(()),
    };
    let entities = outgoing.pull.iter().map(|(entity, _)| entity);
    *check = Some(Check::new(unit, repair, entities));
    Ok(())
}
