//! What requests may take, each limit with its reason; `docs/limits.md` is the page for people.

use std::time::Duration;

use afield_protocol::limits;

pub use crate::live::LiveLimits;
use crate::model::file::LimitsSection;

/// What requests may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Bytes of a request's body, unpacked.
    pub body_bytes: usize,
    /// How many times as long as it came a body may be, once it is longer than
    /// [`limits::UNPACKED_FREE_BYTES`].
    pub ratio: usize,
    /// Frames of one request.
    pub frames: usize,
    /// Changes of one request, of all its groups together; a group alone may have more.
    pub batch_changes: usize,
    /// Rows in one page.
    pub page_rows: usize,
    /// Bytes in one page.
    pub page_bytes: usize,
    /// How long the server waits for the next piece of a request's body.
    pub idle: Duration,
    /// How long a whole body may take.
    pub body_time: Duration,
    /// How long the server waits for a device to take the next piece of an answer. Longer than
    /// `idle`: on a slow network the kernel's buffers empty in large steps.
    pub stall: Duration,
    /// Syncs at once, most of them slow downloads that hold about a page each. Beyond, a device
    /// waits for a moment, and is told to come back.
    pub syncs_max: usize,
    /// Syncs that wait for one of those places.
    pub syncs_waiting: usize,
    /// How long they wait.
    pub sync_wait: Duration,
    /// Syncs at once of one user.
    pub syncs_of_user: usize,
    /// Bytes of all requests that have come and are not applied yet. A slow upload takes of it
    /// only what has come.
    pub uploads_bytes: usize,
    /// Requests in a minute of one device, on the average; as many may come at once.
    pub device_rate: u32,
    /// What live streams may take.
    pub live: LiveLimits,
    /// The oldest version of the model with which a device is answered.
    pub model_version_min: u32,
}

impl Default for HttpLimits {
    fn default() -> Self {
        Self::from(&LimitsSection::default())
    }
}

impl From<&LimitsSection> for HttpLimits {
    fn from(file: &LimitsSection) -> Self {
        Self {
            body_bytes: file.body,
            ratio: file.ratio,
            frames: file.frames,
            batch_changes: file.batch_changes,
            page_rows: file.page_rows,
            page_bytes: file.page_bytes,
            idle: file.idle_timeout,
            body_time: file.body_timeout,
            stall: file.stall_timeout,
            syncs_max: file.syncs,
            syncs_waiting: file.syncs_waiting,
            sync_wait: file.sync_wait,
            syncs_of_user: file.syncs_of_user,
            uploads_bytes: file.uploads,
            device_rate: file.device_rate,
            live: LiveLimits {
                streams: file.live_streams.min(live_room(file.connections)),
                streams_of_user: file.live_streams_of_user,
                rate: file.live_rate,
                heartbeat: file.live_heartbeat,
                poll: file.live_poll,
                stall: file.stall_timeout,
            },
            model_version_min: 1,
        }
    }
}

/// Of so many connections as many may be live streams: the rest is for syncs, which would wait for
/// ever if everybody only listened.
pub(crate) fn live_room(connections: usize) -> usize {
    (connections - connections / 4).max(1)
}

/// Whether a body of `packed` bytes may have become `unpacked`.
pub(super) fn is_plausible(packed: usize, unpacked: usize, ratio: usize) -> bool {
    unpacked <= limits::UNPACKED_FREE_BYTES || unpacked <= packed.saturating_mul(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p9_the_ratio_counts_from_a_mebibyte_on() {
        let free = limits::UNPACKED_FREE_BYTES;
        assert!(is_plausible(1, free, 2));
        assert!(!is_plausible(1, free + 1, 2));
        let packed = free;
        for (unpacked, expected) in [(3 * packed - 1, true), (3 * packed, true)] {
            assert_eq!(is_plausible(packed, unpacked, 3), expected);
        }
        assert!(!is_plausible(packed, 3 * packed + 1, 3));
        assert!(is_plausible(usize::MAX, usize::MAX, 2));
    }
}
