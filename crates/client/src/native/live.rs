//! The live stream: a thread that reads it while one is open.

use std::sync::Arc;
use std::thread;

use super::attempt::random;
use super::environment::SystemEnvironment;
use super::http::Line;
use super::lock;
use super::worker::{Shared, State};
use crate::environment::Environment as _;
use crate::error::Error;
use crate::event::SyncEvent;
use crate::live::Closed;
use crate::sse::{Message, Reader};
use crate::store::UnitStatus;

/// The stream that is open.
#[derive(Default)]
pub(super) struct Stream {
    /// Counts streams, so that what an old one still brings is told apart.
    number: u64,
    line: Option<Arc<Line>>,
}

impl State {
    /// There is a stream while syncs begin by themselves and listening is wanted, the app is in
    /// front, and there may be a network.
    pub(super) fn listen_as_needed(&mut self, now: i64) {
        let is_wanted = self.schedule.config().is_some_and(|config| config.live);
        let is_on = is_wanted && !self.is_suspended && !self.network.is_none();
        self.live.turn_on(is_on, now);
        if !is_on {
            self.stream.end();
        }
    }

    /// What the stream says of units.
    pub(super) fn add_live(&self, units: &mut [UnitStatus], (now, now_ms): (i64, i64)) {
        for unit in units {
            let proven = self.live.proven_at(&unit.unit);
            unit.proven_ms = proven.map(|at| now_ms.saturating_sub(now.saturating_sub(at)));
            unit.is_behind = self.live.is_behind(&unit.unit);
        }
    }
}

impl Stream {
    /// Ends it; what it still brings counts no more.
    pub(super) fn end(&mut self) {
        self.number += 1;
        if let Some(line) = self.line.take() {
            line.cut();
        }
    }
}

impl Shared {
    /// Adds what the stream says of units.
    pub(super) fn add_live(&self, units: &mut [UnitStatus]) {
        let now_ms = SystemEnvironment.now_ms();
        lock(&self.state).add_live(units, (self.now(), now_ms));
    }

    /// Opens a stream, on a thread of its own.
    pub(super) fn listen(self: &Arc<Self>) {
        let opened = self.line_to_listen();
        let mut state = lock(&self.state);
        state.stream.end();
        let number = state.stream.number;
        let Ok(Some((line, version, units))) = opened else {
            // What is missing is said to whoever synchronises; a later start may have it.
            state.live.closed(Closed::Ended, self.now(), random());
            return;
        };
        let line = Arc::new(line);
        state.stream.line = Some(Arc::clone(&line));
        state.live.set_units(units);
        drop(state);
        let shared = Arc::clone(self);
        let work = move || shared.read_stream(number, &line, version);
        let thread = thread::Builder::new().name("afield live".to_owned());
        if thread.spawn(work).is_err() {
            self.stream_ended(number, Closed::Ended);
        }
    }

    /// The way to the server, with the version of the model and the names of its units; `None` if
    /// there is no server, token or model yet.
    fn line_to_listen(&self) -> Result<Option<(Line, u32, Vec<String>)>, Error> {
        let settings = lock(&self.settings).clone();
        let mut runner = lock(&self.runner);
        let (Some(server), Some(token), Some(model)) =
            (settings.server, settings.token, runner.model()?)
        else {
            return Ok(None);
        };
        let patience = runner.patience(&settings.timeouts)?.of_stream();
        let line = Line::new(
            server,
            token,
            patience,
            settings.roots.as_deref(),
            Arc::default(),
        )?;
        let units = model.units.iter().map(|unit| unit.name.clone()).collect();
        Ok(Some((line, model.version, units)))
    }

    fn read_stream(&self, number: u64, line: &Line, version: u32) {
        let mut reader = Reader::default();
        let mut why = None;
        let (closed, has_answered) = line.listen(version, &mut |bytes| {
            let Ok(messages) = reader.push(bytes) else {
                return false;
            };
            let mut messages = messages.iter();
            messages.all(|message| {
                why = self.take_message(number, message);
                why.is_none()
            })
        });
        if lock(&self.state).stream.number == number {
            self.heard(has_answered);
        }
        self.stream_ended(number, why.unwrap_or(closed));
    }

    /// Takes what came; gives why the stream is over, if that says so.
    fn take_message(&self, number: u64, message: &Message) -> Option<Closed> {
        let mut state = lock(&self.state);
        if state.stream.number != number {
            return Some(Closed::Ended);
        }
        let closed = state.live.heard(message, self.now());
        let behind: Vec<String> = (state.up_to_date.iter())
            .filter(|(unit, is_up_to_date)| **is_up_to_date && state.live.is_behind(unit))
            .map(|(unit, _)| unit.clone())
            .collect();
        for unit in &behind {
            state.up_to_date.insert(unit.clone(), false);
        }
        state.must_look = true;
        drop(state);
        // At once, and not when a sync that runs is over.
        for unit in behind {
            self.bus.tell(SyncEvent::UpToDate {
                unit,
                is_up_to_date: false,
            });
        }
        self.woken.notify_all();
        closed
    }

    pub(super) fn stream_ended(&self, number: u64, closed: Closed) {
        let mut state = lock(&self.state);
        if state.stream.number == number {
            state.stream.end();
            state.live.closed(closed, self.now(), random());
            state.must_look = true;
        }
        drop(state);
        self.woken.notify_all();
    }

    /// Ends the stream, if one is open.
    pub(super) fn end_stream(&self) {
        lock(&self.state).stream.end();
    }

    /// Ends a stream that says nothing any more.
    pub(super) fn stream_died(&self) {
        let number = lock(&self.state).stream.number;
        self.stream_ended(number, Closed::Ended);
    }
}
