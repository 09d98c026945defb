//! Events, told to handlers and read as streams; and waiting for what a change is waiting for.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use afield_protocol::{Code, VerdictKind};

use super::environment::now;
use super::{Client, lock};
use crate::error::Error;
use crate::event::{Events, Numbered, SyncEvent};
use crate::store::{ChangeInfo, ChangeState, OutcomeInfo};

type Handler = dyn Fn(&Numbered) + Send + Sync;

/// How often a wait looks at the store though no sync of this process has said anything: another
/// process may synchronise it.
const LOOK: Duration = Duration::from_secs(1);

/// The events of one client.
#[derive(Default)]
pub(super) struct Bus {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    events: Events,
    handlers: Vec<Arc<Handler>>,
    is_closed: bool,
}

impl Bus {
    /// Notes what happened and tells handlers, with no lock held.
    pub(super) fn tell(&self, event: SyncEvent) {
        let (numbered, handlers) = {
            let mut state = lock(&self.state);
            (state.events.add(event), state.handlers.clone())
        };
        self.changed.notify_all();
        for handler in handlers {
            handler(&numbered);
        }
    }

    /// Outcomes that are not as the user wanted.
    pub(super) fn tell_outcomes(&self, outcomes: &[OutcomeInfo]) {
        for outcome in outcomes {
            match outcome.result {
                VerdictKind::Applied => {}
                VerdictKind::Conflict => self.tell(SyncEvent::Conflict(outcome.into())),
                VerdictKind::Rejected => self.tell(SyncEvent::Rejected(outcome.into())),
            }
        }
    }

    /// No more events come.
    pub(super) fn close(&self) {
        lock(&self.state).is_closed = true;
        self.changed.notify_all();
    }

    fn newest(&self) -> u64 {
        lock(&self.state).events.newest()
    }

    /// The oldest event behind `since`, waited for if there is none: until it is there, the time is
    /// over, or the client is closed.
    fn next(&self, since: u64, timeout: Option<Duration>) -> Option<Numbered> {
        let until = timeout.and_then(|timeout| now().checked_add(timeout));
        let mut state = lock(&self.state);
        loop {
            if let Some(event) = state.events.after(since) {
                return Some(event.clone());
            }
            if state.is_closed {
                return None;
            }
            state = match until {
                None => {
                    let waited = self.changed.wait(state);
                    waited.unwrap_or_else(PoisonError::into_inner)
                }
                Some(until) => {
                    let left = until.saturating_duration_since(now());
                    if left.is_zero() {
                        return None;
                    }
                    let waited = self.changed.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

/// A stream of events; as an iterator it waits for each, and ends with the client.
pub struct EventStream {
    bus: Arc<Bus>,
    since: u64,
}

impl EventStream {
    /// The next event, if one comes in time.
    pub fn next_within(&mut self, timeout: Duration) -> Option<Numbered> {
        self.read(Some(timeout))
    }

    fn read(&mut self, timeout: Option<Duration>) -> Option<Numbered> {
        let event = self.bus.next(self.since, timeout)?;
        self.since = event.n;
        Some(event)
    }
}

impl Iterator for EventStream {
    type Item = Numbered;

    fn next(&mut self) -> Option<Numbered> {
        self.read(None)
    }
}

impl Client {
    /// Tells `handler` of each event, on the thread on which it happened, which goes on when it
    /// returns.
    pub fn on_event(&self, handler: impl Fn(&Numbered) + Send + Sync + 'static) {
        lock(&self.shared.bus.state)
            .handlers
            .push(Arc::new(handler));
    }

    /// The events from now on.
    ///
    /// ```no_run
    /// # fn follow(client: &afield::native::Client) {
    /// use afield::event::SyncEvent;
    /// for numbered in client.events() {
    ///     if let SyncEvent::Progress(progress) = numbered.event {
    ///         println!("{:?} %", progress.percent);
    ///     }
    /// }
    /// # }
    /// ```
    pub fn events(&self) -> EventStream {
        EventStream {
            bus: Arc::clone(&self.shared.bus),
            since: self.shared.bus.newest(),
        }
    }

    /// The events behind number `since` that are kept, the oldest first. It waits so long for one
    /// if there is none.
    pub fn events_since(&self, since: u64, wait: Option<Duration>) -> Vec<Numbered> {
        let bus = &self.shared.bus;
        if let Some(wait) = wait {
            bus.next(since, Some(wait));
        }
        lock(&bus.state).events.since(since)
    }

    /// Waits until a change has its outcome, whoever synchronises; gives it as it stands then:
    /// settled, parked, or dropped. A later edit of its row may have been folded into it, or it
    /// into that one; what counts is the group that it is in. It begins no sync.
    ///
    /// ```no_run
    /// # fn save(client: &afield::native::Client, change: &str) -> Result<bool, afield::Error> {
    /// use afield::ChangeState;
    /// let change = client.wait(change, Some(std::time::Duration::from_secs(30)))?;
    /// # let _ =
    /// change.state == ChangeState::Settled
    /// # ; Ok(true) }
    /// ```
    ///
    /// # Errors
    /// There is no such change, or no more (`unknown-change`); the time is over (`timeout`); it is
    /// called in a handler on the thread that runs the syncs (`in-handler`); the store cannot be
    /// read.
    pub fn wait(&self, change: &str, timeout: Option<Duration>) -> Result<ChangeInfo, Error> {
        self.shared.check_handler()?;
        let until = timeout.and_then(|timeout| now().checked_add(timeout));
        loop {
            let since = self.shared.bus.newest();
            let found = self.store().change(change)?;
            let is_over = |state| {
                matches!(
                    state,
                    ChangeState::Settled | ChangeState::Parked | ChangeState::Dropped
                )
            };
            if is_over(found.state) {
                return Ok(found);
            }
            let left = until.map(|until| until.saturating_duration_since(now()));
            if left.is_some_and(|left| left.is_zero()) {
                let message = format!(
                    "{change} has no outcome yet: it is {}",
                    found.state.as_str()
                );
                return Err(Error::new(Code::TIMEOUT, message));
            }
            let wait = left.map_or(LOOK, |left| left.min(LOOK));
            self.shared.bus.next(since, Some(wait));
        }
    }
}
