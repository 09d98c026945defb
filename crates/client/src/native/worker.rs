//! The thread that runs the queue: one sync after another, whoever asked for them.
//!
//! It starts with the first sync, or when syncs begin by themselves, and ends with the client. No
//! lock is held while a sync runs or a handler is told, but the runner's, which only the thread
//! takes for long.
//!
//! Whether anything was written that waits to be sent is asked of the file whenever somebody may
//! have committed: the app's side of this process says so at once, a look at the file about others.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use afield_protocol::{Code, GroupId, SyncConfig};

use super::attempt::random;
use super::environment::now;
use super::events::Bus;
use super::hooks::{Applied, Hooks, is_hook};
use super::live::Stream;
use super::sign_in::SignIn;
use super::sync::{Control, Runner};
use super::{Settings, lock};
use crate::engine::{Progress, Report};
use crate::error::Error;
use crate::event::SyncEvent;
use crate::live::Live;
use crate::network::Network;
use crate::queue::{Asked, Next, Queue, Ticket, Wanted};
use crate::retry::{Ending, FailureClass};
use crate::schedule::{Reason, Schedule};

/// A sync that is over, as handlers are told of it.
#[derive(Debug)]
pub struct Finished<'a> {
    /// What was wanted.
    pub wanted: &'a Wanted,
    /// How it ended.
    pub result: Result<&'a Report, &'a Error>,
}

type Handler = dyn Fn(&Finished<'_>) + Send + Sync;

/// What somebody who waits for a sync is told.
pub(super) enum Told {
    Progress(Progress),
    Over(Result<Report, Error>),
    /// It was discarded before it began.
    Discarded,
}

impl Told {
    fn over(self) -> Option<Result<Report, Error>> {
        match self {
            Self::Over(result) => Some(result),
            Self::Progress(_) | Self::Discarded => None,
        }
    }
}

/// What the thread and the client share.
pub(super) struct Shared {
    pub runner: Mutex<Runner>,
    pub control: Control,
    pub settings: Mutex<Settings>,
    pub bus: Arc<Bus>,
    pub(super) state: Mutex<State>,
    pub(super) woken: Condvar,
    /// When the clock of the queue began.
    begun: Instant,
}

#[derive(Default)]
pub(super) struct State {
    queue: Queue,
    pub schedule: Schedule,
    pub sign_in: SignIn,
    pub network: Network,
    pub live: Live,
    pub stream: Stream,
    /// Whether a stream has said something of units.
    pub must_look: bool,
    pub hooks: Hooks,
    /// What syncs applied that the hooks were not told of yet.
    pub applied: Vec<Applied>,
    /// Units that syncs of all units leave out on a metered network.
    pub unmetered_only: Vec<String>,
    /// Whether each unit was up to date when it was last looked at.
    pub up_to_date: BTreeMap<String, bool>,
    /// When the first of them is too old to be called so.
    pub stale_at: Option<i64>,
    /// Whether a probe is under way.
    pub is_probing: bool,
    /// Whether the app is in the back.
    pub is_suspended: bool,
    /// Whether somebody may have written since it was looked last.
    may_have_written: bool,
    /// The newest group that waited to be sent then.
    newest: Option<GroupId>,
    waiting: HashMap<Ticket, Sender<Told>>,
    handlers: Vec<Arc<Handler>>,
    thread: Option<JoinHandle<()>>,
    id: Option<ThreadId>,
    pub is_stopping: bool,
}

impl Shared {
    pub(super) fn new(runner: Runner, settings: Settings) -> Self {
        Self {
            runner: Mutex::new(runner),
            control: Control::default(),
            settings: Mutex::new(settings),
            bus: Arc::default(),
            state: Mutex::default(),
            woken: Condvar::new(),
            begun: now(),
        }
    }

    /// Asks for a sync, and starts the thread that runs it.
    pub(super) fn trigger(
        self: &Arc<Self>,
        wanted: Wanted,
        discards: bool,
    ) -> Result<Asked, Error> {
        self.ask(wanted, discards, None)
    }

    /// The same, and gives what becomes of it.
    pub(super) fn begin(self: &Arc<Self>, wanted: Wanted) -> Result<Receiver<Told>, Error> {
        self.check_handler()?;
        let (sender, receiver) = channel();
        self.ask(wanted, false, Some(sender))?;
        Ok(receiver)
    }

    /// Refuses to wait on the thread that would have to do what is waited for.
    pub(super) fn check_handler(&self) -> Result<(), Error> {
        if lock(&self.state).is_on_thread() || is_hook() {
            let message = "a handler is told while the queue stands still: it cannot wait for a \
                           sync; trigger one";
            return Err(Error::new(Code::IN_HANDLER, message));
        }
        Ok(())
    }

    fn ask(
        self: &Arc<Self>,
        wanted: Wanted,
        discards: bool,
        sender: Option<Sender<Told>>,
    ) -> Result<Asked, Error> {
        let mut state = lock(&self.state);
        self.start(&mut state)?;
        let asked = match state.is_on_thread() {
            true => state.queue.ask_in_handler(wanted, discards, self.now()),
            false => state.queue.ask(wanted, discards),
        };
        for ticket in &asked.discarded {
            state.tell(*ticket, Told::Discarded);
        }
        if let Some(sender) = sender {
            state.waiting.insert(asked.ticket, sender);
        }
        drop(state);
        self.woken.notify_all();
        Ok(asked)
    }

    /// Synchronises everything within a time, its turn in the queue included.
    pub(super) fn sync_for(self: &Arc<Self>, budget: Duration) -> Result<Report, Error> {
        self.check_handler()?;
        let until = now().checked_add(budget);
        let deadline_ms = i64::try_from(budget.as_millis()).ok();
        let (sender, told) = channel();
        let wanted = Wanted {
            deadline_ms,
            ..Wanted::everything()
        };
        let ticket = self.ask(wanted, false, Some(sender))?.ticket;
        let late = || {
            Error::new(
                Code::TIMEOUT,
                "others synchronised all the time; nothing is lost",
            )
        };
        loop {
            let left = until.map_or(budget, |until| until.saturating_duration_since(now()));
            match told.recv_timeout(left) {
                Ok(Told::Progress(_)) => {}
                Ok(Told::Over(result)) => return result,
                Ok(Told::Discarded) => return Err(late()),
                Err(RecvTimeoutError::Disconnected) => return Err(stopped()),
                Err(RecvTimeoutError::Timeout) => {
                    let mut state = lock(&self.state);
                    let is_running = state.queue.forget(ticket);
                    drop(state);
                    if !is_running {
                        return Err(late());
                    }
                    // It ends with the step that it is at.
                    self.control.cancel();
                    let result = told.into_iter().find_map(Told::over);
                    return self.cut_short(result.unwrap_or_else(|| Err(stopped())));
                }
            }
        }
    }

    /// A sync was cancelled for want of time: it did not go through, and is tried again.
    fn cut_short(&self, result: Result<Report, Error>) -> Result<Report, Error> {
        let mut report = result?;
        if report.is_cancelled {
            let message = "not through within its time; what arrived is kept".to_owned();
            report.error = Some((Code::TIMEOUT, message));
            let failed = Ending::Failed {
                class: FailureClass::Transient,
                retry_after_ms: None,
            };
            let at = (self.now(), random());
            let everything = Wanted::everything();
            lock(&self.state)
                .schedule
                .ended(&everything, failed, None, at);
            self.woken.notify_all();
        }
        Ok(report)
    }

    /// Drops all syncs that wait; gives how many were dropped.
    pub(super) fn discard(&self) -> usize {
        let mut state = lock(&self.state);
        let count = state.queue.len();
        for ticket in state.queue.discard() {
            state.tell(ticket, Told::Discarded);
        }
        count
    }

    /// From now on syncs begin by themselves, by this configuration.
    pub(super) fn configure(self: &Arc<Self>, config: SyncConfig) -> Result<(), Error> {
        let mut state = lock(&self.state);
        self.start(&mut state)?;
        state.schedule.configure(Some(config), self.now());
        state.adapt(self.now());
        // What waits from before is sent too.
        state.newest = None;
        state.may_have_written = true;
        drop(state);
        self.woken.notify_all();
        Ok(())
    }

    /// No sync begins by itself any more.
    pub(super) fn unconfigure(&self) {
        let mut state = lock(&self.state);
        state.schedule.configure(None, self.now());
        state.adapt(self.now());
    }

    /// The configuration by which syncs begin by themselves.
    pub(super) fn config(&self) -> Option<SyncConfig> {
        lock(&self.state).schedule.config()
    }

    /// The app came to the front, or went to the back.
    pub(super) fn shown(&self, is_shown: bool) {
        let mut state = lock(&self.state);
        match is_shown {
            true => state.schedule.resumed(),
            false => state.schedule.suspended(),
        }
        state.is_suspended = !is_shown;
        state.adapt(self.now());
        drop(state);
        self.woken.notify_all();
    }

    /// Somebody may have written into the file.
    pub(super) fn may_have_written(&self) {
        let mut state = lock(&self.state);
        if state.schedule.config().is_some() {
            state.may_have_written = true;
            drop(state);
            self.woken.notify_all();
        }
    }

    /// Another token is there.
    pub(super) fn signed_in(&self, token: String) {
        lock(&self.settings).token = Some(token);
        let mut state = lock(&self.state);
        state.sign_in.signed_in();
        let now = self.now();
        state.schedule.signed_in(now);
        state.live.try_again(now);
        drop(state);
        self.woken.notify_all();
    }

    /// The user has signed in just before: a sync is due when syncs begin by themselves.
    pub(super) fn has_signed_in(&self) {
        let mut state = lock(&self.state);
        let now = self.now();
        state.schedule.signed_in(now);
    }

    /// Whether the server wants another token than there is.
    pub(super) fn needs_sign_in(&self) -> bool {
        lock(&self.state).sign_in.is_needed()
    }

    /// In how long the next sync begins by itself, and why.
    pub(super) fn next(&self) -> Option<(Duration, Reason)> {
        let (at, reason) = lock(&self.state).schedule.due()?;
        let ms = u64::try_from(at.saturating_sub(self.now())).unwrap_or(0);
        Some((Duration::from_millis(ms), reason))
    }

    /// How many syncs wait, and whether one runs.
    pub(super) fn queued(&self) -> (usize, bool) {
        let state = lock(&self.state);
        (state.queue.len(), state.queue.running().is_some())
    }

    pub(super) fn on_finished(&self, handler: Arc<Handler>) {
        lock(&self.state).handlers.push(handler);
    }

    fn start(self: &Arc<Self>, state: &mut State) -> Result<(), Error> {
        if state.thread.is_some() {
            return Ok(());
        }
        let shared = Arc::clone(self);
        let thread = thread::Builder::new().name("afield sync".to_owned());
        let thread = thread.spawn(move || shared.work()).map_err(|error| {
            Error::new(Code::INTERNAL, format!("no thread to synchronise: {error}"))
        })?;
        state.id = Some(thread.thread().id());
        state.thread = Some(thread);
        Ok(())
    }

    /// Ends the thread; a sync that runs is cancelled, and keeps what it did.
    pub(super) fn stop(&self) {
        let thread = {
            let mut state = lock(&self.state);
            state.is_stopping = true;
            state.stream.end();
            state.thread.take().filter(|_| !state.is_on_thread())
        };
        self.control.stop();
        self.bus.close();
        self.woken.notify_all();
        if let Some(thread) = thread {
            // A panic in it has been reported by its own thread.
            let _ = thread.join();
        }
    }

    /// Milliseconds on the queue's clock.
    pub(super) fn now(&self) -> i64 {
        let since = now().saturating_duration_since(self.begun);
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    /// Runs until the client goes, whatever panics: nobody may wait for ever.
    fn work(self: &Arc<Self>) {
        while catch_unwind(AssertUnwindSafe(|| self.run())).is_err() {
            let mut state = lock(&self.state);
            for ticket in state.queue.finished() {
                state.tell(ticket, Told::Over(Err(stopped())));
            }
        }
    }

    fn run(self: &Arc<Self>) {
        let mut state = lock(&self.state);
        while !state.is_stopping {
            let now = self.now();
            if let Some(chore) = state.chore(now) {
                drop(state);
                self.do_chore(chore);
                state = lock(&self.state);
                continue;
            }
            if let Some(wanted) = state.live.take(now)
                && !state.is_left_out(wanted.unit.as_ref())
            {
                state.queue.ask(wanted, false);
            }
            for wanted in state.schedule.take(now) {
                state.queue.ask(wanted, false);
            }
            let next = match state.queue.next(now) {
                Next::Run(wanted) => {
                    if wanted.sends() {
                        state.schedule.sends();
                    }
                    drop(state);
                    self.carry_out(&wanted);
                    state = lock(&self.state);
                    continue;
                }
                Next::At(at) => Some(at),
                Next::Nothing => None,
            };
            let due = state.schedule.due().map(|(at, _)| at);
            let probe = state.network.due();
            let until = [next, due, probe, state.stale_at, state.live.due()];
            let until = until.into_iter().flatten().min();
            state = match until {
                Some(at) => {
                    let ms = u64::try_from(at.saturating_sub(now)).unwrap_or(0);
                    let waited = self.woken.wait_timeout(state, Duration::from_millis(ms));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    let waited = self.woken.wait(state);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
            };
        }
        // Whoever waits hears that nothing comes any more.
        state.waiting.clear();
    }

    fn do_chore(self: &Arc<Self>, chore: Chore) {
        match chore {
            Chore::LookForWrites => self.look_for_writes(),
            Chore::LookAtUnits => self.look_at_units(),
            Chore::Probe => self.probe_aside(),
            Chore::GiveUpStream => self.stream_died(),
            Chore::Listen => self.listen(),
        }
    }

    /// Notes whether anything waits to be sent that did not before.
    fn look_for_writes(&self) {
        // A store that cannot be read says so to whoever reads it.
        let Ok(newest) = lock(&self.runner).newest_pending() else {
            return;
        };
        let mut state = lock(&self.state);
        if newest.is_some() && newest != state.newest {
            let now = self.now();
            state.schedule.wrote(now);
        }
        state.newest = newest;
        drop(state);
        self.look_at_units();
    }

    fn carry_out(&self, wanted: &Wanted) {
        let since = {
            let mut state = lock(&self.state);
            state.live.began();
            state.network.changes()
        };
        self.bus.tell(SyncEvent::Started {
            unit: wanted.unit.clone(),
        });
        if wanted.sends() {
            self.before_send(wanted.unit.as_deref());
        }
        let result = catch_unwind(AssertUnwindSafe(|| self.synchronise(wanted)));
        let result = result.unwrap_or_else(|_| Err(stopped()));
        self.note_end(wanted, &result, since);
        let applied = std::mem::take(&mut lock(&self.state).applied);
        self.after_apply(applied);
        self.bus.tell(match &result {
            Ok(report) => SyncEvent::ended(wanted, report),
            Err(error) => SyncEvent::Failed {
                unit: wanted.unit.clone(),
                class: Some(FailureClass::of(error.code())),
                code: error.code().clone(),
                message: error.to_string(),
            },
        });
        self.look_at_units();
        let handlers = lock(&self.state).handlers.clone();
        let finished = Finished {
            wanted,
            result: result.as_ref(),
        };
        for handler in handlers {
            // The hook for panics has told of it; others are still told of the sync.
            let _ = catch_unwind(AssertUnwindSafe(|| handler(&finished)));
        }
        let mut state = lock(&self.state);
        let mut result = Some(result);
        let tickets = state.queue.finished();
        // The last one gets the error with its cause; a copy has none.
        for (at, ticket) in tickets.iter().enumerate() {
            let told = match at + 1 == tickets.len() {
                true => result.take(),
                false => result.as_ref().map(copied),
            };
            if let Some(told) = told {
                state.tell(*ticket, Told::Over(told));
            }
        }
    }

    pub(super) fn progress(&self, progress: &Progress) {
        let state = lock(&self.state);
        let tickets = state
            .queue
            .running()
            .map_or(&[][..], |(_, tickets)| tickets);
        for ticket in tickets {
            if let Some(waiting) = state.waiting.get(ticket) {
                let _ = waiting.send(Told::Progress(progress.clone()));
            }
        }
    }
}

fn stopped() -> Error {
    let message =
        "the sync stopped in the middle, by a mistake of the program's; what it did is kept";
    Error::new(Code::INTERNAL, message)
}

/// What is to be done besides syncs.
#[derive(Clone, Copy)]
enum Chore {
    LookForWrites,
    LookAtUnits,
    Probe,
    GiveUpStream,
    Listen,
}

impl State {
    /// What is to be done now; it is begun then, as far as this is concerned.
    fn chore(&mut self, now: i64) -> Option<Chore> {
        if std::mem::take(&mut self.may_have_written) {
            return Some(Chore::LookForWrites);
        }
        let is_stale = self.stale_at.take_if(|at| *at <= now).is_some();
        if std::mem::take(&mut self.must_look) || is_stale {
            return Some(Chore::LookAtUnits);
        }
        if self.network.take(now) {
            return Some(Chore::Probe);
        }
        if self.live.is_dead(now) {
            return Some(Chore::GiveUpStream);
        }
        self.live.open(now).then_some(Chore::Listen)
    }

    /// The server is probed while a sync is to begin when it can be reached, and the app is in
    /// front; and so it is listened to.
    pub(super) fn adapt(&mut self, now: i64) {
        self.listen_as_needed(now);
        let is_wanted = self
            .schedule
            .config()
            .is_some_and(|config| config.on_online);
        self.network.probes(is_wanted && !self.is_suspended, now);
    }

    /// Whether this is the thread itself, which is telling a handler.
    fn is_on_thread(&self) -> bool {
        self.id == Some(thread::current().id())
    }

    fn tell(&mut self, ticket: Ticket, told: Told) {
        if let Some(waiting) = self.waiting.remove(&ticket) {
            // Somebody who has gone needs to know nothing.
            let _ = waiting.send(told);
        }
    }
}

fn copied(result: &Result<Report, Error>) -> Result<Report, Error> {
    match result {
        Ok(report) => Ok(report.clone()),
        Err(error) => {
            let copy = Error::new(error.code().clone(), error.to_string());
            Err(match error.attribute() {
                Some(attribute) => copy.of_attribute(attribute),
                None => copy,
            })
        }
    }
}
