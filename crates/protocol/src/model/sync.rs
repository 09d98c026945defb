//! What the model says of when a device synchronises by itself.

use serde::{Deserialize, Serialize};

use super::ModelError;

/// The configuration that an app starts with; it may change it while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SyncConfig {
    /// When the app comes to the front.
    pub on_resume: bool,
    /// So many milliseconds after a local write; `None`: not then.
    pub on_write_ms: Option<u64>,
    /// So many milliseconds after the last sync was over; `None`: not then.
    pub interval_ms: Option<u64>,
    /// Whether the device listens for news. Left out where it does, as in models from before.
    #[serde(skip_serializing_if = "is_true")]
    pub live: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
fn is_true(truth: &bool) -> bool {
    *truth
}

/// The longest pause that a configuration may name: a year.
const LONGEST_MS: u64 = 366 * 24 * 60 * 60 * 1_000;

impl Default for SyncConfig {
    fn default() -> Self {
        Self {
            on_resume: true,
            on_write_ms: Some(2_000),
            interval_ms: None,
            live: true,
        }
    }
}

impl SyncConfig {
    /// Whether nothing was set: such a model says nothing of it.
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// A device that took everything could be told to synchronise without a pause.
    ///
    /// # Errors
    /// A time is out of its range.
    pub fn check(&self) -> Result<(), ModelError> {
        let writes = self.on_write_ms.unwrap_or(0);
        let interval = self.interval_ms.unwrap_or(LONGEST_MS);
        match writes <= LONGEST_MS && (1_000..=LONGEST_MS).contains(&interval) {
            true => Ok(()),
            false => Err(ModelError(
                "a time of the sync configuration is out of its range: an interval has a second \
                 at least, and everything a year at most"
                    .to_owned(),
            )),
        }
    }
}
