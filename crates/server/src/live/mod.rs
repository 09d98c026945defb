//! Live: who listens for news, and what he is told.
//!
//! ```text
//!   GET /v1/live ──► a stream waits ──► the next look knows its user's values ──► hello
//!   look (about once a second, one for all streams) ──► touched ──► whose? ──► news, alive
//! ```
//!
//! This is the only thing that a server keeps between requests. It is lost with the process, and
//! nothing is lost with it: a device that comes back is told to synchronise once.
//!
//! What could leave a device out of date that is told it is not, and why it does not:
//!
//! - A change is committed between two looks, late or early: looks go by snapshots, each finds what
//!   the one before did not see. A stream says hello only behind a look.
//! - A user holds other values than before: what says so is watched too, and his values are asked
//!   in the snapshot of the look. Values that went and came back between two looks are news if his
//!   device could have synchronised between (see `TouchedHeld`), or has (see [`Live::pulled`]).
//! - Values are not asked yet, the database does not answer, or what the device chose is not known
//!   here: it gets no sign of life until it is told.
//! - A look is slow: signs of life are sent right behind a look, and by nothing else.
//!
//! What could tell somebody of what is not his: only rows under values that he holds are news, by
//! the same values and the same marks as in a pull.

mod hub;
#[cfg(feature = "conformance")]
mod listening;
mod mine;
mod stream;
mod turns;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use afield_protocol::Held;
use tokio::sync::Notify;
use tokio::time::Instant;

use self::hub::{Hub, Wanted};
#[cfg(feature = "conformance")]
pub(crate) use self::listening::{Heard, Listening};
pub(crate) use self::stream::StreamBody;
use crate::resolved::ServerModel;
use crate::storage::live::{Look, Moment, Touched, Watched};
use crate::storage::{Caller, StorageError};

/// What streams may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveLimits {
    /// Streams at once.
    pub streams: usize,
    /// Streams at once of one user.
    pub streams_of_user: usize,
    /// Devices that are told to synchronise in a second.
    pub rate: u32,
    /// Longest time between two signs of life.
    pub heartbeat: Duration,
    /// Time between two looks at the database.
    pub poll: Duration,
    /// How long a device may take nothing.
    pub stall: Duration,
}

/// Why a stream is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// There are as many as may be, or the server stops.
    Server,
    /// This user has as many as he may have.
    User,
}

/// Who asks for a stream.
pub(crate) struct Listener {
    pub caller: Caller,
    /// The places of the units that he watches.
    pub units: Arc<[usize]>,
    /// When his token ends, in seconds since 1970.
    pub ends_s: i64,
}

/// All streams of a server.
pub(crate) struct Live {
    limits: LiveLimits,
    started: Instant,
    hub: Mutex<Hub>,
    /// Somebody came, or all is to end.
    woken: Notify,
}

impl Live {
    pub(crate) fn new(model: &ServerModel, limits: LiveLimits) -> Self {
        // Signs of life are sent behind looks: these must not be further apart.
        let limits = LiveLimits {
            poll: limits.poll.min(limits.heartbeat / 2),
            ..limits
        };
        Self {
            limits,
            started: Instant::now(),
            hub: Mutex::new(Hub::new(model, &limits)),
            woken: Notify::new(),
        }
    }

    pub(crate) fn limits(&self) -> &LiveLimits {
        &self.limits
    }

    fn hub(&self) -> MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Has at most so many streams from now on.
    pub(crate) fn bound(&self, streams: usize) {
        self.hub().bound(streams);
    }

    /// Opens a stream, and says whether somebody has to begin to look.
    pub(crate) fn open(self: &Arc<Self>, who: Listener) -> Result<(StreamBody, bool), Full> {
        let opened = self.hub().open(who, &self.limits, self.now_ms())?;
        let body = StreamBody::new(Arc::clone(self), opened.id, opened.shared);
        self.woken.notify_one();
        Ok((body, opened.is_first))
    }

    fn close(&self, id: u64) {
        self.hub().close(id);
    }

    /// Ends all streams, and opens none from now on.
    pub(crate) fn stop(&self) {
        self.hub().stop();
        self.woken.notify_one();
    }

    /// Notes what a device was told that it holds, entity by entity: if that is not what is known
    /// here, it is news.
    pub(crate) fn pulled(&self, caller: &Caller, held: &[Held]) {
        if !held.is_empty() {
            self.hub().pulled(caller, held);
        }
    }

    /// Since when to look, and for what; `None` if nobody listens any more: then whoever looks
    /// stops.
    pub(crate) fn begin_look(&self) -> Option<(Option<Moment>, Arc<Watched>)> {
        self.hub().begin_look()
    }

    /// Whose holdings a look is to ask about.
    pub(crate) fn asked(&self, touched: &Touched) -> Vec<Caller> {
        self.hub().asked(touched, self.now_ms())
    }

    /// Tells everybody what a look has found.
    pub(crate) fn tell(&self, look: Look) {
        self.hub().tell(look, &self.limits, self.now_ms());
    }

    /// A look failed.
    pub(crate) fn failed(&self, error: &StorageError) {
        tracing::debug!(code = %error.code, "no look at the database, and no sign of life");
    }

    /// What time brings: tokens end, silent streams get a comment, devices that take nothing are
    /// given up.
    pub(crate) fn tick(&self, now_s: i64) {
        self.hub().tick(&self.limits, (self.now_ms(), now_s));
    }

    /// Waits `least`, and then up to `most` unless somebody waits for a look; not even `least` if
    /// nobody is there any more.
    pub(crate) async fn wait(&self, least: Duration, most: Duration) {
        let began = Instant::now();
        self.wait_until(began + least, |wanted| wanted == Wanted::End)
            .await;
        self.wait_until(began + most, |wanted| wanted != Wanted::Nothing)
            .await;
    }

    async fn wait_until(&self, until: Instant, is_over: impl Fn(Wanted) -> bool) {
        loop {
            let wanted = self.hub().wanted();
            let woken = tokio::time::timeout_at(until, self.woken.notified());
            if is_over(wanted) || woken.await.is_err() {
                return;
            }
        }
    }
}
