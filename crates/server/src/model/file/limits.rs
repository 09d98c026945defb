//! `[limits]`: each with a default, and bounds within which it means something.
//!
//! `docs/limits.md` says what each is for; a test holds that page against this file.

use std::ops::RangeInclusive;
use std::time::Duration;

use afield_protocol::{DeviceLimits, limits};

use super::settings::{set, some_time};
use crate::model::reader::{Node, Section};

/// `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsSection {
    /// Changes in one envelope.
    pub batch_changes: usize,
    /// Bytes in one envelope.
    pub batch_bytes: usize,
    /// Changes in one group.
    pub group_changes_max: usize,
    /// Bytes of one request's body, unpacked.
    pub body: usize,
    /// How many times as long as it came a body may be.
    pub ratio: usize,
    /// Frames of one request.
    pub frames: usize,
    /// Rows in one page.
    pub page_rows: usize,
    /// Bytes in one page.
    pub page_bytes: usize,
    /// Values of one scope that a user holds.
    pub scope_values: usize,
    /// Requests of one device in a minute.
    pub device_rate: u32,
    /// Connections at once.
    pub connections: usize,
    /// Connections to a PostgreSQL at once.
    pub database_connections: usize,
    /// Syncs at once.
    pub syncs: usize,
    /// Syncs at once of one user.
    pub syncs_of_user: usize,
    /// Syncs that wait until one of those is over.
    pub syncs_waiting: usize,
    /// How long they wait.
    pub sync_wait: Duration,
    /// Bytes of requests that have come and are not applied yet, of all devices together.
    pub uploads: usize,
    /// Live streams at once.
    pub live_streams: usize,
    /// Live streams at once of one user.
    pub live_streams_of_user: usize,
    /// Devices that are told in a second to synchronise because of news.
    pub live_rate: u32,
    /// Longest time between two signs of life of a live stream.
    pub live_heartbeat: Duration,
    /// Time between two looks at the database for news.
    pub live_poll: Duration,
    /// How long a request's head may take.
    pub header_timeout: Duration,
    /// How long a request's body may take.
    pub body_timeout: Duration,
    /// How long a device waits for a connection.
    pub connect_timeout: Duration,
    /// How long either side waits for a byte.
    pub idle_timeout: Duration,
    /// How long the server waits for a device that takes nothing of its answer.
    pub stall_timeout: Duration,
    /// How old a sign of life may be for "up to date".
    pub freshness: Duration,
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            batch_changes: limits::BATCH_CHANGES,
            batch_bytes: limits::BATCH_BYTES,
            group_changes_max: limits::GROUP_CHANGES_MAX,
            body: limits::BODY_BYTES,
            ratio: limits::UNPACKED_RATIO,
            frames: limits::REQUEST_FRAMES,
            page_rows: limits::PAGE_ROWS,
            page_bytes: limits::PAGE_BYTES,
            scope_values: limits::SCOPE_VALUES_MAX,
            device_rate: limits::DEVICE_RATE,
            connections: 4_096,
            database_connections: 16,
            syncs: 1_024,
            syncs_of_user: 64,
            syncs_waiting: 256,
            sync_wait: Duration::from_secs(2),
            uploads: 512 * MIB,
            live_streams: 3_072,
            live_streams_of_user: 64,
            live_rate: 100,
            live_heartbeat: Duration::from_secs(15),
            live_poll: Duration::from_secs(1),
            header_timeout: Duration::from_secs(20),
            body_timeout: Duration::from_secs(300),
            connect_timeout: Duration::from_millis(limits::CONNECT_TIMEOUT_MS),
            idle_timeout: Duration::from_millis(limits::IDLE_TIMEOUT_MS),
            stall_timeout: Duration::from_secs(300),
            freshness: Duration::from_millis(limits::FRESHNESS_MS.unsigned_abs()),
        }
    }
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Connections and syncs: beyond, the system's own limits come first.
const MANY: RangeInclusive<usize> = 1..=100_000;

impl LimitsSection {
    pub(super) fn read(section: Option<&Section<'_, '_>>) -> Self {
        let mut read = Self::default();
        let Some(section) = section else { return read };
        read.read_sizes(section);
        read.read_server(section);
        read.read_times(section);
        read.read_live(section);
        section.finish();
        read
    }

    /// Those that devices keep.
    pub(in crate::model) fn of_devices(&self) -> DeviceLimits {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        DeviceLimits {
            batch_changes: self.batch_changes,
            batch_bytes: self.batch_bytes,
            group_changes_max: self.group_changes_max,
            connect_timeout_ms: ms(self.connect_timeout),
            idle_timeout_ms: ms(self.idle_timeout),
            freshness_ms: i64::try_from(ms(self.freshness)).unwrap_or(i64::MAX),
        }
    }

    /// What one message may have.
    fn read_sizes(&mut self, section: &Section<'_, '_>) {
        let take = |key| section.take(key);
        let envelope = 64 * KIB..=limits::BODY_BYTES;
        set(&mut self.batch_changes, take("batch_changes"), |node| {
            count(node, 1..=1_000_000)
        });
        set(&mut self.batch_bytes, take("batch_bytes"), |node| {
            bytes(node, envelope.clone())
        });
        set(
            &mut self.group_changes_max,
            take("group_changes_max"),
            |node| count(node, 1..=limits::GROUP_CHANGES_MAX),
        );
        set(&mut self.body, take("body"), |node| bytes(node, envelope));
        set(&mut self.ratio, take("ratio"), |node| {
            count(node, 2..=100_000)
        });
        set(&mut self.frames, take("frames"), |node| {
            count(node, 10..=1_000_000)
        });
        set(&mut self.page_rows, take("page_rows"), |node| {
            count(node, 1..=100_000)
        });
        set(&mut self.page_bytes, take("page_bytes"), |node| {
            bytes(node, limits::PAGE_BYTES_FIRST..=16 * MIB)
        });
        set(&mut self.scope_values, take("scope_values"), |node| {
            count(node, 1..=10_000_000)
        });
    }

    /// What all of them may have together.
    fn read_server(&mut self, section: &Section<'_, '_>) {
        let take = |key| section.take(key);
        set(&mut self.device_rate, take("device_rate"), |node| {
            let rate = node.number(1..=60_000)?;
            u32::try_from(rate).ok()
        });
        let many = |node: &Node<'_, '_>| count(node, MANY);
        set(&mut self.connections, take("connections"), many);
        set(
            &mut self.database_connections,
            take("database_connections"),
            |node| count(node, 1..=1_000),
        );
        set(&mut self.syncs, take("syncs"), many);
        set(&mut self.syncs_of_user, take("syncs_of_user"), many);
        set(&mut self.syncs_waiting, take("syncs_waiting"), |node| {
            count(node, 0..=*MANY.end())
        });
        // A semaphore counts them, in 32 bits.
        set(&mut self.uploads, take("uploads"), |node| {
            bytes(node, limits::BODY_BYTES..=3 * 1024 * MIB)
        });
    }

    fn read_live(&mut self, section: &Section<'_, '_>) {
        let take = |key| section.take(key);
        let many = |node: &Node<'_, '_>| count(node, MANY);
        set(&mut self.live_streams, take("live_streams"), many);
        let of_user = take("live_streams_of_user");
        set(&mut self.live_streams_of_user, of_user, many);
        set(&mut self.live_rate, take("live_rate"), |node| {
            let rate = node.number(1..=100_000)?;
            u32::try_from(rate).ok()
        });
        set(&mut self.live_heartbeat, take("live_heartbeat"), |node| {
            between(node, HEARTBEAT_LEAST, HEARTBEAT_MOST)
        });
        set(&mut self.live_poll, take("live_poll"), |node| {
            between(node, Duration::from_millis(100), Duration::from_secs(10))
        });
    }

    fn read_times(&mut self, section: &Section<'_, '_>) {
        let take = |key| section.take(key);
        set(&mut self.sync_wait, take("sync_wait"), some_time);
        set(&mut self.header_timeout, take("header_timeout"), some_time);
        set(&mut self.body_timeout, take("body_timeout"), some_time);
        set(
            &mut self.connect_timeout,
            take("connect_timeout"),
            some_time,
        );
        set(&mut self.idle_timeout, take("idle_timeout"), some_time);
        set(&mut self.stall_timeout, take("stall_timeout"), some_time);
        set(&mut self.freshness, take("freshness"), some_time);
    }
}

/// A shorter one keeps radios awake, a longer one is cut by what stands between.
const HEARTBEAT_LEAST: Duration = Duration::from_secs(1);
const HEARTBEAT_MOST: Duration = Duration::from_secs(300);

fn between(node: &Node<'_, '_>, least: Duration, most: Duration) -> Option<Duration> {
    let duration = node.duration()?;
    if duration < least || duration > most {
        node.wrong(format!(
            "must be from {} ms to {} s",
            least.as_millis(),
            most.as_secs()
        ));
        return None;
    }
    Some(duration)
}

fn count(node: &Node<'_, '_>, within: RangeInclusive<usize>) -> Option<usize> {
    let number = node.number(*within.start() as u64..=*within.end() as u64)?;
    usize::try_from(number).ok()
}

fn bytes(node: &Node<'_, '_>, within: RangeInclusive<usize>) -> Option<usize> {
    let size = node.size(*within.start() as u64..=*within.end() as u64)?;
    usize::try_from(size).ok()
}
