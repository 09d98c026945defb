//! What the library takes from outside: time and randomness.

/// The clock and the source of randomness that a store uses. The native driver gives the
/// system's; the simulator gives its own, so that a run can be repeated.
pub trait Environment: Send {
    /// Milliseconds since 1970, for records that people read and for pauses; no decision about
    /// order or completeness rests on it.
    fn now_ms(&mut self) -> i64;

    /// Fills `bytes` with randomness fit for identities.
    fn fill(&mut self, bytes: &mut [u8]);
}
