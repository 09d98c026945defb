//! Hooks: what an app does before a sync sends, and after rows were applied.
//!
//! Each hook has a thread of its own, which does what it is given in order. The queue waits for it
//! until its deadline and goes on then: an app that hangs must not keep the device from
//! synchronising (P8). What was late is done all the same, unless too much of it waits.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::Duration;

use afield_protocol::Code;

use super::worker::Shared;
use super::{Client, lock};
use crate::error::Error;
use crate::event::SyncEvent;
use crate::store::Changed;

/// Calls that may wait for a hook that is late; more are not made.
const WAITING_MAX: usize = 100;

thread_local! {
    /// Whether this thread is a hook's, for which the queue may be waiting.
    static IS_HOOK: Cell<bool> = const { Cell::new(false) };
}

/// Whether this is the thread of a hook.
pub(super) fn is_hook() -> bool {
    IS_HOOK.get()
}

/// What a sync changed in a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The unit.
    pub unit: String,
    /// The rows.
    pub changed: Changed,
}

type Job = (Box<dyn FnOnce() + Send>, SyncSender<()>);

/// The thread of a hook.
#[derive(Clone)]
struct Runner {
    jobs: SyncSender<Job>,
    deadline: Duration,
}

impl Runner {
    fn start(deadline: Duration) -> Result<Self, Error> {
        let (jobs, asked): (SyncSender<Job>, Receiver<Job>) = sync_channel(WAITING_MAX);
        let work = move || {
            IS_HOOK.set(true);
            for (job, done) in asked {
                // The hook for panics has told of it.
                let _ = catch_unwind(AssertUnwindSafe(job));
                // Nobody may be waiting any more.
                let _ = done.send(());
            }
        };
        let thread = thread::Builder::new().name("afield hook".to_owned());
        thread.spawn(work).map_err(|error| {
            Error::new(Code::INTERNAL, format!("no thread for a hook: {error}"))
        })?;
        Ok(Self { jobs, deadline })
    }

    /// Has it done; false if it is not done in time.
    fn run(&self, job: impl FnOnce() + Send + 'static) -> bool {
        let (done, is_done) = sync_channel(1);
        match self.jobs.try_send((Box::new(job), done)) {
            Ok(()) => is_done.recv_timeout(self.deadline).is_ok(),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        }
    }
}

/// Does something before a sync sends; gets its unit.
type BeforeSend = dyn Fn(Option<&str>) + Send + Sync;

/// Does something with what was applied.
type AfterApply = dyn Fn(&Applied) + Send + Sync;

/// The hooks of a client.
#[derive(Default)]
pub(super) struct Hooks {
    before_send: Vec<(Runner, Arc<BeforeSend>)>,
    after_apply: Vec<(Runner, Arc<AfterApply>)>,
}

impl Shared {
    /// A sync is about to send.
    pub(super) fn before_send(&self, unit: Option<&str>) {
        let hooks = lock(&self.state).hooks.before_send.clone();
        for (runner, hook) in hooks {
            let of = unit.map(str::to_owned);
            if !runner.run(move || hook(of.as_deref())) {
                self.late("before-send", unit);
            }
        }
    }

    /// Rows of units were applied.
    pub(super) fn after_apply(&self, applied: Vec<Applied>) {
        let hooks = lock(&self.state).hooks.after_apply.clone();
        for applied in applied {
            for (runner, hook) in &hooks {
                let (hook, applied) = (hook.clone(), applied.clone());
                let unit = applied.unit.clone();
                if !runner.run(move || hook(&applied)) {
                    self.late("after-apply", Some(&unit));
                }
            }
        }
    }

    fn late(&self, hook: &'static str, unit: Option<&str>) {
        self.bus.tell(SyncEvent::HookLate {
            hook,
            unit: unit.map(str::to_owned),
        });
    }
}

impl Client {
    /// Calls `hook` before each sync that sends, with its unit: the last moment to write what
    /// belongs to what is sent. The sync waits for it, `deadline` at most; it goes on then, and
    /// says so by [`SyncEvent::HookLate`].
    ///
    /// ```no_run
    /// # fn totals(client: std::sync::Arc<afield::native::Client>) -> Result<(), afield::Error> {
    /// let device = std::sync::Arc::downgrade(&client);
    /// client.before_send(std::time::Duration::from_secs(2), move |_| {
    ///     if let Some(client) = device.upgrade() {
    ///         let sql = "UPDATE visit SET total = 2 WHERE total IS NULL";
    ///         let _ = client.store().transaction(|tx| tx.execute(sql, &afield::Params::none()));
    ///     }
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn before_send(
        &self,
        deadline: Duration,
        hook: impl Fn(Option<&str>) + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let runner = Runner::start(deadline)?;
        let mut state = lock(&self.shared.state);
        state.hooks.before_send.push((runner, Arc::new(hook)));
        Ok(())
    }

    /// Calls `hook` when a sync has applied rows of a unit, with the rows by their identifiers. The
    /// next sync waits for it, `deadline` at most. A sync that brought nothing calls nothing.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn after_apply(
        &self,
        deadline: Duration,
        hook: impl Fn(&Applied) + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let runner = Runner::start(deadline)?;
        lock(&self.shared.runner).collect_changed();
        let mut state = lock(&self.shared.state);
        state.hooks.after_apply.push((runner, Arc::new(hook)));
        Ok(())
    }
}
