//! What is known of the network, kept up to date by syncs, probes and the platform.

use std::sync::Arc;
use std::thread;

use afield_protocol::DeviceLimits;

use super::attempt::random;
use super::http::Line;
use super::lock;
use super::worker::{Shared, State};
use crate::error::Error;
use crate::event::SyncEvent;
use crate::network::{NetworkInfo, NetworkStatus, Seen};

impl State {
    fn left_out(&self) -> &[String] {
        match self.network.status().info.counts_as_metered() {
            true => &self.unmetered_only,
            false => &[],
        }
    }

    /// Whether the rows of a unit that has news wait for another network.
    pub(super) fn is_left_out(&self, unit: Option<&String>) -> bool {
        unit.is_some_and(|unit| self.left_out().contains(unit))
    }
}

impl Shared {
    pub(super) fn network(&self) -> NetworkStatus {
        lock(&self.state).network.status()
    }

    /// The platform says what there is.
    pub(super) fn set_network(&self, info: NetworkInfo) {
        let mut state = lock(&self.state);
        let was_metered = state.network.status().info.counts_as_metered();
        let seen = state.network.told(info, self.now());
        let is_none = state.network.is_none();
        state.schedule.without_network(is_none);
        state.adapt(self.now());
        if !is_none {
            state.live.try_again(self.now());
        }
        if was_metered && !info.counts_as_metered() && !is_none {
            state.schedule.unmetered();
        }
        drop(state);
        self.noticed(seen);
    }

    pub(super) fn set_unmetered_only(&self, unit: String, is_on: bool) {
        let mut state = lock(&self.state);
        state.unmetered_only.retain(|known| *known != unit);
        if is_on {
            state.unmetered_only.push(unit);
        } else {
            state.schedule.unmetered();
            self.woken.notify_all();
        }
    }

    /// The units whose rows should not come over the network that there is.
    pub(super) fn left_out(&self) -> Vec<String> {
        lock(&self.state).left_out().to_vec()
    }

    /// The server was asked, and answered or not. What waits for the network goes when it is back.
    pub(super) fn heard(&self, is_there: bool) -> Seen {
        let mut state = lock(&self.state);
        let seen = match is_there {
            true => state.network.answered(),
            false => state.network.silent(self.now(), random()),
        };
        let is_none = state.network.is_none();
        state.schedule.without_network(is_none);
        if seen.is_back {
            state.schedule.reached(self.now());
            state.live.try_again(self.now());
        }
        drop(state);
        self.noticed(seen);
        seen
    }

    /// Tells whoever listens, with no lock held.
    fn noticed(&self, seen: Seen) {
        if seen.has_changed {
            self.bus.tell(SyncEvent::Network(self.network()));
        }
        self.woken.notify_all();
    }

    /// Asks the server whether it is there; a sync that waits for the network goes then. A sync
    /// that runs is not waited for: it finds out by itself.
    pub(super) fn probe(&self) -> Result<bool, Error> {
        let settings = lock(&self.settings).clone();
        let is_there = match settings.server {
            None => false,
            Some(server) => {
                let limits = DeviceLimits::default();
                let patience = match self.runner.try_lock() {
                    Ok(mut runner) => runner.patience(&settings.timeouts)?,
                    Err(_) => settings.timeouts.within(&limits),
                };
                let roots = settings.roots.as_deref();
                // The token is for the server, and nobody knows yet who answers.
                let line = Line::new(server, String::new(), patience, roots, Arc::default())?;
                line.ping(&format!("{:016x}{:016x}", random(), random()))
            }
        };
        let seen = self.heard(is_there);
        if let Ok(mut runner) = self.runner.try_lock() {
            runner.note_network(is_there)?;
        }
        if seen.is_back {
            lock(&self.state).schedule.online(self.now());
            self.woken.notify_all();
        }
        Ok(is_there)
    }

    /// The same on a thread of its own, since nothing waits for a probe.
    pub(super) fn probe_aside(self: &Arc<Self>) {
        if std::mem::replace(&mut lock(&self.state).is_probing, true) {
            return;
        }
        let shared = Arc::clone(self);
        let work = move || {
            let probed = shared.probe();
            lock(&shared.state).is_probing = false;
            if probed.is_err() {
                // What the store or the certificates lack is said to whoever synchronises.
                shared.heard(false);
            }
        };
        let name = "afield probe".to_owned();
        if thread::Builder::new().name(name).spawn(work).is_err() {
            lock(&self.state).is_probing = false;
            self.heard(false);
        }
    }
}
