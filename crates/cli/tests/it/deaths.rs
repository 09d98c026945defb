//! Processes that synchronise and are killed in the middle of it.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::named_child::Child;
use crate::proxy::{Fault, Gate};
use crate::world::{World, eventually};

/// Requests after the one of a death that say that it did not come to pass.
const BEYOND: usize = 4;

/// Where a process dies.
pub(crate) struct Death {
    /// Which of its requests is held, from 0 on.
    request: usize,
    /// How.
    fault: Box<dyn Fn(Gate) -> Fault + Send>,
}

impl Death {
    /// At its request of this number.
    pub(crate) fn new(request: usize, fault: fn(Gate) -> Fault) -> Self {
        let fault = Box::new(fault);
        Self { request, fault }
    }

    /// Behind so many bytes of the answer.
    pub(crate) fn at_byte(request: usize, bytes: u64) -> Self {
        let fault = Box::new(move |gate| Fault::HoldAnswerAt(bytes, gate));
        Self { request, fault }
    }
}

/// Lets a process synchronise Ann's store, with the policy of this name, until it meets its death;
/// and the server too, if it is killed with it. Whether it met it.
pub(crate) fn die(
    world: &mut World,
    folder: &Path,
    policy: &str,
    death: Death,
    kills_server: bool,
) -> bool {
    let gate = Gate::default();
    let seen = Arc::new(AtomicUsize::new(0));
    let (held, seeing) = (gate.clone(), Arc::clone(&seen));
    let Death { request: nth, fault } = death;
    world.proxy.rule(move |request| {
        if request.is_sync() && seeing.fetch_add(1, Ordering::SeqCst) == nth {
            return fault(held.clone());
        }
        Fault::Pass
    });
    let child = Child::start("sync", folder, policy, 0);
    eventually("it dies, or does not come to that", || {
        gate.is_reached() || seen.load(Ordering::SeqCst) > nth + BEYOND
    });
    let is_reached = gate.is_reached();
    child.kill();
    if kills_server {
        world.kill_server();
    }
    gate.open();
    world.proxy.heal();
    if kills_server {
        world.start_server();
    }
    is_reached
}
