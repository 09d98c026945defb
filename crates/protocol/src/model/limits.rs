//! What the model says of the limits that a device keeps.

use serde::{Deserialize, Serialize};

use super::ModelError;
use crate::limits;

/// The limits that a device keeps, as the team set them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceLimits {
    /// Changes after which an envelope is cut, at a group's end.
    pub batch_changes: usize,
    /// Bytes after which it is cut.
    pub batch_bytes: usize,
    /// Changes of one group; a larger one is parked.
    pub group_changes_max: usize,
    /// How long to wait for a connection, in milliseconds.
    pub connect_timeout_ms: u64,
    /// How long to wait for a byte, in milliseconds.
    pub idle_timeout_ms: u64,
    /// How old the server's last answer may be for a device to count as up to date, and as online.
    pub freshness_ms: i64,
}

impl Default for DeviceLimits {
    fn default() -> Self {
        Self {
            batch_changes: limits::BATCH_CHANGES,
            batch_bytes: limits::BATCH_BYTES,
            group_changes_max: limits::GROUP_CHANGES_MAX,
            connect_timeout_ms: limits::CONNECT_TIMEOUT_MS,
            idle_timeout_ms: limits::IDLE_TIMEOUT_MS,
            freshness_ms: limits::FRESHNESS_MS,
        }
    }
}

impl DeviceLimits {
    /// Whether nothing was set: such a model says nothing of limits, as if there were none.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// A device that took everything could be told to send nothing, or to wait for ever.
    pub(super) fn check(&self) -> Result<(), ModelError> {
        let times = [
            self.connect_timeout_ms,
            self.idle_timeout_ms,
            u64::try_from(self.freshness_ms).unwrap_or(0),
        ];
        let day = 24 * 60 * 60 * 1_000;
        let is_fine = self.batch_changes > 0
            && self.batch_bytes > 0
            && self.group_changes_max > 0
            && self.group_changes_max <= limits::GROUP_CHANGES_MAX
            && times.iter().all(|time| (1..=day).contains(time));
        match is_fine {
            true => Ok(()),
            false => Err(ModelError("a limit is out of its range".to_owned())),
        }
    }
}
