//! Running a sync: the engine's commands carried out, its events brought back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use afield_protocol::{
    Code, GroupId, INBOX_HEADER, LOG_HEADER, MODEL_VERSION_HEADER, Model, UPGRADE_FAILED_HEADER,
};

use super::environment::now;
use super::http::{Answer, Line, Patience, Signal, Timeouts};
use super::{Settings, lock};
use crate::engine::{Command, Engine, Event, Failure, Progress, Report, SyncStatus};
use crate::error::Error;
use crate::store::{Changed, ConflictInfo, OutcomeInfo, Resolution, SyncStore, UnitStatus};

/// Pieces of an answer that may wait: the network is not read faster than the store writes.
const SIGNALS: usize = 8;

/// What runs one sync after another.
pub(super) struct Runner {
    store: SyncStore,
    engine: Engine,
    line: Option<Line>,
    settings: Option<Settings>,
    /// How long the network may be silent, by these settings and the model.
    patience: Option<Patience>,
    /// Whether answers are asked for as they are, because one could not be unpacked.
    is_plain: Arc<AtomicBool>,
    /// Counts requests, so that what a given-up one still brings is told apart.
    requests: u64,
}

/// How other threads reach a running sync.
#[derive(Default)]
pub(super) struct Control {
    running: Mutex<Option<SyncSender<Signal>>>,
    cancelled: AtomicBool,
    /// Nothing is to run any more.
    stopped: AtomicBool,
}

impl Control {
    pub(super) fn cancel(&self) {
        if let Some(signals) = lock(&self.running).as_ref() {
            self.cancelled.store(true, Ordering::SeqCst);
            // A full channel wakes the sync anyway.
            let _ = signals.try_send(Signal::Wake);
        }
    }

    /// Cancels what runs, and whatever would begin.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.cancel();
    }

    fn begin(&self, signals: SyncSender<Signal>) {
        let mut running = lock(&self.running);
        self.cancelled.store(false, Ordering::SeqCst);
        *running = Some(signals);
    }

    fn end(&self) {
        *lock(&self.running) = None;
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst) || self.stopped.load(Ordering::SeqCst)
    }
}

impl Runner {
    pub(super) fn new(store: SyncStore, engine: Engine) -> Self {
        Self {
            store,
            engine,
            line: None,
            settings: None,
            patience: None,
            is_plain: Arc::default(),
            requests: 0,
        }
    }

    pub(super) fn resend_lost(&mut self, resends: bool) {
        self.store.resend_lost(resends);
    }

    pub(super) fn set_resolver(
        &mut self,
        entity: String,
        resolver: impl Fn(&ConflictInfo) -> Option<Resolution> + Send + 'static,
    ) {
        self.store.set_resolver(entity, resolver);
    }

    /// See [`SyncStore::newest_pending`].
    pub(super) fn newest_pending(&mut self) -> Result<Option<GroupId>, Error> {
        self.store.newest_pending()
    }

    /// See [`SyncStore::collect_changed`].
    pub(super) fn collect_changed(&mut self) {
        self.store.collect_changed();
    }

    /// See [`SyncStore::take_changed`].
    pub(super) fn take_changed(&mut self) -> Changed {
        self.store.take_changed()
    }

    /// See [`Engine::leave_out`].
    pub(super) fn leave_out(&mut self, units: Vec<String>) {
        self.engine.leave_out(units);
    }

    /// Where each unit stands, how old rows may be for the device to be up to date, and the time.
    pub(super) fn units(&mut self) -> Result<(Vec<UnitStatus>, i64, i64), Error> {
        let model = self.store.model()?;
        let limits = model.map(|model| model.limits).unwrap_or_default();
        Ok((
            self.store.units()?,
            limits.freshness_ms,
            self.store.now_ms(),
        ))
    }

    /// See [`SyncStore::backs_off_for`].
    pub(super) fn backs_off_for(&mut self) -> Result<Option<i64>, Error> {
        self.store.backs_off_for()
    }

    /// The model, if the store has one.
    pub(super) fn model(&mut self) -> Result<Option<Model>, Error> {
        self.store.model()
    }

    /// Makes sure that there is somebody to talk to.
    ///
    /// # Errors
    /// No server is known, or nobody is signed in.
    pub(super) fn connect(&mut self, settings: &Settings) -> Result<(), Error> {
        if settings.server.is_none() {
            let message = "this store knows no server yet; give its address once";
            return Err(Error::new(Code::UNREACHABLE, message));
        }
        if settings.token.is_none() {
            let message = "nobody is signed in; give a token";
            return Err(Error::new(Code::SIGN_IN, message));
        }
        let patience = self.patience(&settings.timeouts)?;
        let same = |old: &Settings| old.token == settings.token && old.server == settings.server;
        if !self.settings.as_ref().is_some_and(same) || self.patience != Some(patience) {
            self.cut();
            self.settings = Some(settings.clone());
            self.patience = Some(patience);
        }
        self.line().map(|_| ())
    }

    /// How long the network may be silent, by the app and by the model.
    pub(super) fn patience(&mut self, timeouts: &Timeouts) -> Result<Patience, Error> {
        let model = self.store.model()?;
        let limits = model.map(|model| model.limits).unwrap_or_default();
        Ok(timeouts.within(&limits))
    }

    /// See [`SyncStore::note_network`].
    pub(super) fn note_network(&mut self, is_online: bool) -> Result<(), Error> {
        self.store.note_network(is_online)
    }

    fn line(&mut self) -> Result<&Line, Error> {
        if self.line.is_none()
            && let Some(settings) = &self.settings
            && let (Some(server), Some(token)) = (&settings.server, &settings.token)
            && let Some(patience) = self.patience
        {
            let roots = settings.roots.as_deref();
            let (server, token) = (server.clone(), token.clone());
            let line = Line::new(server, token, patience, roots, self.is_plain.clone())?;
            self.line = Some(line);
        }
        let unconnected = || Error::new(Code::UNREACHABLE, "this store knows no server yet");
        self.line.as_ref().ok_or_else(unconnected)
    }

    fn cut(&mut self) {
        if let Some(line) = self.line.take() {
            line.cut();
        }
    }
}

/// What a sync says while it runs.
pub(super) enum Told<'a> {
    Progress(&'a Progress),
    UnitCompleted(&'a str, Changed),
    Outcomes(&'a [OutcomeInfo]),
}

/// Runs what `event` starts to its end, or until the deadline.
pub(super) fn run(
    runner: &mut Runner,
    control: &Control,
    (event, deadline): (Event<'_>, Option<Duration>),
    on_told: &mut dyn FnMut(Told<'_>),
) -> Result<Report, Error> {
    let (sender, signals) = sync_channel(SIGNALS);
    control.begin(sender.clone());
    let started = now();
    let run = Run {
        runner,
        control,
        sender,
        signals,
        request: 0,
        tells: false,
        paused_until: None,
        deadline: deadline.and_then(|after| started.checked_add(after)),
    };
    let result = run.finish((event, deadline), on_told);
    control.end();
    result
}

struct Run<'a> {
    runner: &'a mut Runner,
    control: &'a Control,
    sender: SyncSender<Signal>,
    signals: Receiver<Signal>,
    /// The request whose answer counts; 0 if none does.
    request: u64,
    /// Whether that request tells the server of an upgrade that failed.
    tells: bool,
    paused_until: Option<Instant>,
    deadline: Option<Instant>,
}

/// What the sync loop woke up for.
enum Woken {
    Answer(Answer),
    PauseOver,
    Cancelled,
    DeadlineOver,
}

impl Woken {
    /// Whether the server itself said something; `None` if it was not asked.
    fn is_the_servers(&self) -> Option<bool> {
        match self {
            Self::Answer(Answer::Failed(failure)) => Some(failure.is_the_servers),
            Self::Answer(_) => Some(true),
            Self::PauseOver | Self::Cancelled | Self::DeadlineOver => None,
        }
    }
}

impl Run<'_> {
    fn finish(
        mut self,
        (event, deadline): (Event<'_>, Option<Duration>),
        on_told: &mut dyn FnMut(Told<'_>),
    ) -> Result<Report, Error> {
        let mut commands = self.handle(event)?;
        let (mut too_late, mut is_cancelled, mut has_answered) = (false, false, false);
        loop {
            for command in commands {
                match &command {
                    Command::Progress(progress) => on_told(Told::Progress(progress)),
                    Command::UnitCompleted(unit) => {
                        let changed = self.runner.store.take_changed();
                        on_told(Told::UnitCompleted(unit, changed));
                    }
                    Command::Outcomes(outcomes) => on_told(Told::Outcomes(outcomes)),
                    _ => {}
                }
                if let Some(mut report) = self.carry_out(command)? {
                    report.is_cancelled = is_cancelled;
                    report.has_answered = has_answered;
                    self.runner.store.note_network(has_answered)?;
                    return Ok(conclude(report, deadline, too_late));
                }
            }
            let woken = self.wait();
            has_answered = woken.is_the_servers().unwrap_or(has_answered);
            commands = match woken {
                Woken::Answer(Answer::Model(json)) => self.handle(Event::Model(&json))?,
                Woken::Answer(Answer::Bytes(bytes, received)) => {
                    self.answered()?;
                    self.handle(Event::Unpacked {
                        bytes: &bytes,
                        received,
                    })?
                }
                Woken::Answer(Answer::Closed) => self.handle(Event::Closed)?,
                Woken::Answer(Answer::Failed(failure)) => self.handle(Event::Failed(failure))?,
                Woken::PauseOver => self.handle(Event::Waited)?,
                Woken::Cancelled => {
                    is_cancelled = true;
                    self.handle(Event::Cancel)?
                }
                Woken::DeadlineOver => {
                    too_late = true;
                    self.handle(Event::Cancel)?
                }
            };
        }
    }

    /// Gives the engine an event. If the store fails the sync is over, and so is its request.
    fn handle(&mut self, event: Event<'_>) -> Result<Vec<Command>, Error> {
        let result = self.runner.engine.handle(&mut self.runner.store, event);
        if result.is_err() {
            self.runner.cut();
        }
        result
    }

    /// Carries out a command; gives the report if it was the last.
    fn carry_out(&mut self, command: Command) -> Result<Option<Report>, Error> {
        match command {
            Command::FetchModel => {
                let number = self.next_request();
                self.runner.line()?.fetch_model(number, &self.sender);
            }
            Command::Send { body } => {
                let number = self.next_request();
                let headers = self.headers()?;
                let line = self.runner.line()?;
                line.send(number, &self.sender, &headers, body);
            }
            Command::Abort => {
                self.request = 0;
                self.runner.cut();
            }
            Command::Wait { ms } => {
                let pause = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
                self.paused_until = now().checked_add(pause);
            }
            Command::Progress(_) | Command::UnitCompleted(_) | Command::Outcomes(_) => {}
            Command::Finished(report) => return Ok(Some(report)),
        }
        Ok(None)
    }

    /// What a request says of the store's model, and of a newer one that it could not take; and
    /// whether it asks what was decided about refused changes, and whether the log is taken.
    fn headers(&mut self) -> Result<Vec<(&'static str, String)>, Error> {
        let store = &mut self.runner.store;
        let version = store.model()?.map(|model| model.version.to_string());
        let failed = store.upgrade_to_tell()?;
        self.tells = failed.is_some();
        let failed = failed.map(|failed| format!("{} {}", failed.model, failed.code));
        let version = version.map(|version| (MODEL_VERSION_HEADER, version));
        let failed = failed.map(|failed| (UPGRADE_FAILED_HEADER, failed));
        let asks = store.asks_inbox()?;
        let asks = asks.then(|| (INBOX_HEADER, "1".to_owned()));
        let asks_log = store.asks_log()?.then(|| (LOG_HEADER, "1".to_owned()));
        let asks = asks.into_iter().chain(asks_log);
        Ok(version.into_iter().chain(failed).chain(asks).collect())
    }

    /// An answer began: what its request told the server is told.
    fn answered(&mut self) -> Result<(), Error> {
        match std::mem::take(&mut self.tells) {
            true => self.runner.store.upgrade_told(),
            false => Ok(()),
        }
    }

    fn next_request(&mut self) -> u64 {
        self.runner.requests += 1;
        self.request = self.runner.requests;
        self.request
    }

    /// Waits for the next thing that the engine must hear of.
    fn wait(&mut self) -> Woken {
        loop {
            if self.control.is_cancelled() {
                return Woken::Cancelled;
            }
            let now = now();
            if self.deadline.is_some_and(|at| at <= now) {
                return Woken::DeadlineOver;
            }
            if self.paused_until.is_some_and(|at| at <= now) {
                self.paused_until = None;
                return Woken::PauseOver;
            }
            let next = [self.deadline, self.paused_until].into_iter().flatten();
            let signal = match next.min() {
                Some(at) => self.signals.recv_timeout(at.saturating_duration_since(now)),
                None => self
                    .signals
                    .recv()
                    .map_err(|_| RecvTimeoutError::Disconnected),
            };
            match signal {
                Ok(Signal::Answer(number, answer)) if number == self.request => {
                    return Woken::Answer(answer);
                }
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                // It cannot be: this very struct holds a sender.
                Err(RecvTimeoutError::Disconnected) => {
                    let failure = Failure::new(Code::INTERNAL, "the request's thread is gone");
                    return Woken::Answer(Answer::Failed(failure));
                }
            }
        }
    }
}

/// Says that it was the deadline, where it was.
fn conclude(mut report: Report, deadline: Option<Duration>, too_late: bool) -> Report {
    if too_late && report.status == SyncStatus::Failed {
        let limit = deadline.unwrap_or_default();
        let message = format!("not through within {limit:?}; what arrived is kept");
        report.error = Some((Code::TIMEOUT, message));
    }
    report
}
