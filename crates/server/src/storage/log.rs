//! Logs of devices: what their apps said, for whoever helps their users.
//!
//! Devices send them with their syncs; an entry is kept once. User and device are those of the
//! request. It is text of others: it is shown to people, and nothing is decided by it.

use afield_protocol::{Level, LogEntry};

use super::StorageError;

/// Entries that are taken of one user in a day, whatever his devices call themselves: five times
/// what a device keeps. What comes beyond is dropped, and an entry says how many these were.
pub const LOG_OF_USER_A_DAY: i64 = 5_000;

/// Entries that are kept altogether: a gibibyte, if all are as long as they may be. The oldest
/// leave.
pub const LOG_KEPT: i64 = 500_000;

/// Entries that leave in one transaction.
pub(super) const LOG_BATCH: i64 = 1_000;

/// Seconds for which what is taken of a user is counted.
const DAY: i64 = 24 * 60 * 60;

/// The module of what the server says.
pub(super) const OWN_MODULE: &str = "afield";

/// What stands for dropped entries, beside their number.
pub(super) const DROPPED: &str = "entries were dropped: too many of this user in a day";

/// Which entries are asked for.
#[derive(Clone, Debug)]
pub struct LogQuery {
    /// Of this user.
    pub user: Option<String>,
    /// Of this device.
    pub device: Option<String>,
    /// About this part of the app.
    pub module: Option<String>,
    /// That matter as much, or more.
    pub level: Level,
    /// That came at this time or later, by the server's clock, in seconds since 1970.
    pub since: i64,
    /// So many at most: the newest.
    pub most: usize,
}

/// An entry as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Its number here.
    pub n: i64,
    /// Whose device sent it.
    pub user: String,
    /// The device, as it calls itself.
    pub device: String,
    /// When it was written, by the device's clock, in milliseconds since 1970.
    pub at_ms: i64,
    /// When it came, by the server's clock, in seconds since 1970.
    pub came: i64,
    /// How much it matters.
    pub level: Level,
    /// The part of the app that it is about.
    pub module: String,
    /// What happened.
    pub message: String,
    /// Entries that were dropped in its place; 0 if it tells of none.
    pub dropped: i64,
}

/// A row of the table.
pub(super) struct Columns {
    pub(super) line: (i64, String, String, i64, i64),
    pub(super) level: String,
    pub(super) text: (String, String),
    pub(super) dropped: i64,
}

impl Columns {
    pub(super) fn line(self) -> Result<LogLine, StorageError> {
        let (n, user, device, at_ms, came) = self.line;
        let (module, message) = self.text;
        let level = Level::parse(&self.level);
        Ok(LogLine {
            n,
            user,
            device,
            at_ms,
            came,
            level: level.ok_or_else(|| super::inbox::damaged("a level in the log"))?,
            module,
            message,
            dropped: self.dropped,
        })
    }
}

/// The beginning of the day that is counted, and the id of the entry that says what was dropped in
/// it.
pub(super) fn day(now: i64) -> (i64, [u8; 16]) {
    let begins = now - now.rem_euclid(DAY);
    let mut id = [0; 16];
    for (place, byte) in id.iter_mut().skip(8).zip(begins.to_be_bytes()) {
        *place = byte;
    }
    (begins, id)
}

/// The entries as they are kept: each once, and without what no database takes.
pub(super) fn storable(entries: &[LogEntry]) -> Vec<LogEntry> {
    let mut ids = std::collections::HashSet::new();
    let fresh = entries.iter().filter(|entry| ids.insert(entry.id));
    let plain = |text: &str| text.replace('\0', "\u{fffd}");
    let kept = fresh.map(|entry| LogEntry {
        module: plain(&entry.module),
        message: plain(&entry.message),
        ..entry.clone()
    });
    kept.collect()
}

/// The words of the levels that matter as much as `level`, or more.
pub(super) fn words(level: Level) -> Vec<&'static str> {
    let levels = Level::ALL.into_iter().filter(|it| *it >= level);
    levels.map(Level::as_str).collect()
}
