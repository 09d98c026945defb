//! Entries of a device's log, as an app writes them for whoever helps its users.

use crate::limits::{LOG_MESSAGE_BYTES, LOG_MODULE_BYTES};

/// What ends a text that was cut.
const CUT: char = '…';

/// How much an entry matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// For whoever looks for a fault.
    Debug,
    /// What happened.
    Info,
    /// What should not happen, and was dealt with.
    Warn,
    /// What should not happen.
    Error,
}

impl Level {
    /// All of them, the least first.
    pub const ALL: [Self; 4] = [Self::Debug, Self::Info, Self::Warn, Self::Error];

    /// The stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }

    /// The one with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == word)
    }
}

/// One entry of a device's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Random: an entry that comes again, or from a copy of the device, is known by it.
    pub id: [u8; 16],
    /// Its number on the device.
    pub n: i64,
    /// When, by the device's clock, in milliseconds since 1970.
    pub at_ms: i64,
    /// How much it matters.
    pub level: Level,
    /// The part of the app that it is about.
    pub module: String,
    /// What happened.
    pub message: String,
    /// Entries that were dropped here because there were too many; 0 if it tells of none.
    pub dropped: u32,
}

impl LogEntry {
    /// Whether no text of it is longer than it may be.
    pub fn is_short(&self) -> bool {
        self.module.len() <= LOG_MODULE_BYTES && self.message.len() <= LOG_MESSAGE_BYTES
    }
}

/// A text of at most `bytes` bytes: one that is longer is cut between two characters, and ends
/// with `…`.
pub fn cut(text: &str, bytes: usize) -> String {
    if text.len() <= bytes {
        return text.to_owned();
    }
    let room = bytes.saturating_sub(CUT.len_utf8());
    let ends = text.char_indices().map(|(at, char)| at + char.len_utf8());
    let end = ends.take_while(|end| *end <= room).last().unwrap_or(0);
    let mut cut = text.get(..end).unwrap_or_default().to_owned();
    cut.push(CUT);
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters_and_says_so() {
        assert_eq!(cut("häuser", 7), "häuser");
        assert_eq!(cut("häusern", 7), "häu…");
        assert_eq!(cut("hhä!", 5), "hhä!");
        assert_eq!(cut("hhää", 5), "hh…");
        assert_eq!(cut("aaäää", 6), "aa…");
        let long = "ä".repeat(5_000);
        for bytes in 3..40 {
            let cut = cut(&long, bytes);
            assert!(cut.len() <= bytes && cut.len() + 2 > bytes, "{bytes}");
        }
    }
}
