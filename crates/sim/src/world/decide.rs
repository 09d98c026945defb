//! Decisions of a device's user about what was not applied.

use super::World;
use crate::action::Decision;
use crate::violation::Violation;

impl World {
    /// The user decides about one parked change of a tagged row.
    pub(super) fn decide(
        &mut self,
        device: usize,
        pick: u32,
        decision: Decision,
        n: u32,
    ) -> Result<(), Violation> {
        let _ = (device, pick, decision, n);
        Ok(())
    }
}
