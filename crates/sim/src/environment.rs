//! The clock and the randomness that a world gives to what runs in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use afield::Environment;

/// When every world begins: some Monday morning, in milliseconds since 1970.
pub(crate) const BEGINNING_MS: i64 = 1_795_000_000_000;

/// The one clock of a world. It moves only when the world says so. Whoever has a wrong one sees it
/// so many milliseconds off.
#[derive(Clone, Debug)]
pub(crate) struct Clock(Arc<AtomicI64>, i64);

impl Clock {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicI64::new(BEGINNING_MS)), 0)
    }

    /// The same clock, seen so many milliseconds off.
    pub(crate) fn off(&self, ms: i64) -> Self {
        Self(Arc::clone(&self.0), ms)
    }

    pub(crate) fn now_ms(&self) -> i64 {
        self.0.load(Ordering::Relaxed) + self.1
    }

    pub(crate) fn advance(&self, ms: i64) {
        self.0.fetch_add(ms.max(0), Ordering::Relaxed);
    }
}

/// What a simulated process sees of the world.
pub(crate) struct SimEnvironment {
    clock: Clock,
    random: fastrand::Rng,
}

impl SimEnvironment {
    pub(crate) fn new(clock: &Clock, seed: u64) -> Self {
        Self {
            clock: clock.clone(),
            random: fastrand::Rng::with_seed(seed),
        }
    }
}

impl Environment for SimEnvironment {
    fn now_ms(&mut self) -> i64 {
        self.clock.now_ms()
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        self.random.fill(bytes);
    }
}
