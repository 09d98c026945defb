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
#[derive(Clone, Copy, Debug)]
pub(crate) struct Death {
    /// At which of its requests, from 0 on.
    pub(crate) request: usize,
    pub(crate) place: Place,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// The server has not heard of it.
    Request,
    /// The server has answered to the last byte, and the process has none of it.
    Answer,
    /// The process has so many bytes of the answer.
    Byte(u64),
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
    let Death { request, place } = death;
    world.proxy.rule(move |it| {
        if !it.is_sync() || seeing.fetch_add(1, Ordering::SeqCst) != request {
            return Fault::Pass;
        }
        match place {
            Place::Request => Fault::HoldRequest(held.clone()),
            Place::Answer => Fault::HoldAnswer(held.clone()),
            Place::Byte(bytes) => Fault::HoldAnswerAt(bytes, held.clone()),
        }
    });
    let child = Child::start("sync", folder, policy, 0);
    eventually("it dies, or does not come to that", || {
        gate.is_reached() || seen.load(Ordering::SeqCst) > request + BEYOND
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
