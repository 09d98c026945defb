//! The system's clock and randomness.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::environment::Environment;

/// The clock and randomness of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemEnvironment;

impl Environment for SystemEnvironment {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where the clock comes in"
    )]
    fn now_ms(&mut self) -> i64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        // Identities that repeat would lose data without anybody noticing.
        getrandom::fill(bytes).expect("the system gives randomness");
    }
}

/// The monotonic clock, for pauses and deadlines.
#[expect(clippy::disallowed_methods, reason = "the driver measures pauses")]
pub(super) fn now() -> Instant {
    Instant::now()
}
