//! What a sync waits for: the simulated network between a device and the server.

use afield_protocol::{Chosen, Held, Position};
use afield_server::storage::Compare;

/// What a lane waits for.
#[derive(Default)]
pub(crate) enum Link {
    /// Nothing: no sync is running.
    #[default]
    Idle,
    /// The model.
    Model,
    /// A request is on its way.
    Request(Vec<u8>),
    /// An answer is on its way.
    Answer(Answer),
    /// A pause that ends at this time, in milliseconds since 1970.
    Pause(i64),
    /// The world is handing something over just now.
    Busy,
}

/// An answer that is being written and read.
#[derive(Default)]
pub(crate) struct Answer {
    /// What the server has written.
    pub(crate) bytes: Vec<u8>,
    /// How much of it the device has read.
    pub(crate) read: usize,
    /// Pages that the server has still to write; none if the answer is whole.
    pub(crate) serving: Option<Serving>,
    /// Whether the server died while it was writing.
    pub(crate) broken: bool,
}

/// Pages to come.
pub(crate) struct Serving {
    /// The values that the device has rows of, as far as somebody said so.
    pub(crate) held: Vec<Held>,
    /// The values that the app on the device chose.
    pub(crate) chosen: Vec<Chosen>,
    /// What it compares.
    pub(crate) compare: Compare,
    pub(crate) entities: Vec<(String, Option<Position>)>,
}

/// A request that a device gave up on and that may still arrive.
pub(crate) struct Late {
    pub(crate) device: usize,
    pub(crate) body: Vec<u8>,
}

impl Link {
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }

    /// The server's process ended: what it was writing breaks off.
    pub(crate) fn break_off(&mut self) {
        if let Self::Answer(answer) = self {
            answer.broken |= answer.serving.take().is_some();
        }
    }
}
