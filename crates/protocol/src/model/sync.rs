//! What the model says of when a device synchronises by itself.

use serde::{Deserialize, Serialize};

use super::ModelError;

/// The configuration that an app starts with; it may change it while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SyncConfig {
    /// When the server can be reached again.
    #[serde(skip_serializing_if = "is_true")]
    pub on_online: bool,
    /// When the user signs in.
    #[serde(skip_serializing_if = "is_true")]
    pub on_login: bool,
    /// When the app comes to the front.
    pub on_resume: bool,
    /// So many milliseconds after a local write; `None`: not then.
    pub on_write_ms: Option<u64>,
    /// So many milliseconds after the last sync was over; `None`: not then.
    pub interval_ms: Option<u64>,
    /// When what failed is tried again; `None`: not by itself.
    #[serde(skip_serializing_if = "is_usual")]
    pub retry: Option<RetryConfig>,
    /// Whether the device listens for news.
    #[serde(skip_serializing_if = "is_true")]
    pub live: bool,
}

/// When a sync that failed is tried again: after a pause that doubles each time, up to the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetryConfig {
    /// The first pause, in milliseconds.
    pub first_ms: u64,
    /// The longest pause, in milliseconds.
    pub longest_ms: u64,
}

/// The longest pause that a configuration may name: a year.
const LONGEST_MS: u64 = 366 * 24 * 60 * 60 * 1_000;

/// The shortest pause between two syncs that begin by themselves.
const SHORTEST_MS: u64 = 1_000;

/// A device that waits longer than this after a fault would not be there when the fault is mended.
const LONGEST_RETRY_MS: u64 = 24 * 60 * 60 * 1_000;

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            first_ms: 5_000,
            longest_ms: 300_000,
        }
    }
}

/// What nobody has set is left out, so that models of before are read and written as they were.
fn is_true(is: &bool) -> bool {
    *is
}

/// The same.
#[expect(
    clippy::ref_option,
    reason = "serde asks with a reference to the member"
)]
fn is_usual(retry: &Option<RetryConfig>) -> bool {
    *retry == Some(RetryConfig::default())
}

impl Default for SyncConfig {
    fn default() -> Self {
        Self {
            on_online: true,
            on_login: true,
            on_resume: true,
            on_write_ms: Some(2_000),
            interval_ms: None,
            retry: Some(RetryConfig::default()),
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
        let RetryConfig {
            first_ms,
            longest_ms,
        } = self.retry.unwrap_or_default();
        let retries = (SHORTEST_MS..=LONGEST_RETRY_MS).contains(&longest_ms)
            && (SHORTEST_MS..=longest_ms).contains(&first_ms);
        match writes <= LONGEST_MS && (SHORTEST_MS..=LONGEST_MS).contains(&interval) && retries {
            true => Ok(()),
            false => Err(ModelError(
                "a time of the sync configuration is out of its range: an interval and a pause \
                 before trying again have a second at least; trying again waits a day at most, \
                 not less in the end than at first, and everything else a year"
                    .to_owned(),
            )),
        }
    }
}
