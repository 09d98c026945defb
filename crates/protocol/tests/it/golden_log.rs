//! The frames with a device's log.

use afield_protocol::{Frame, Level, LogEntry};

fn entries() -> Vec<LogEntry> {
    let entry = |at: u8, level, message: &str| LogEntry {
        id: [at; 16],
        n: i64::from(at),
        at_ms: 1_764_000_000_000 + i64::from(at),
        level,
        module: "camera".into(),
        message: message.into(),
        dropped: 0,
    };
    let dropped = LogEntry {
        module: "afield".into(),
        dropped: 12,
        ..entry(7, Level::Warn, "the log was full")
    };
    vec![
        dropped,
        entry(8, Level::Debug, ""),
        entry(9, Level::Info, "42 pictures"),
        entry(10, Level::Error, "no light\n\u{1f526} \"off\""),
    ]
}

pub(crate) fn frames() -> [(&'static str, Frame); 4] {
    let log = Frame::Log { entries: entries() };
    let nothing = Frame::Log {
        entries: Vec::new(),
    };
    [
        ("frame-log", log),
        ("frame-log-empty", nothing),
        ("frame-logged", Frame::Logged { to: 10 }),
        ("frame-logged-empty", Frame::Logged { to: 0 }),
    ]
}
