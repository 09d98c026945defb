//! A file with the changes of one outbox, to be carried to another device or to the server.
//!
//! ```text
//!   head ──► group: entry [sent] [now] ──► group … ──► end, with the hash of all before it
//! ```
//!
//! It is a sequence of embedded items like the messages, and a group that was sent stands in it as
//! the very bytes that go to the server. Nothing in it depends on a model. `spec/outbox-file.md`
//! describes every item.

mod read;
mod write;

use crate::change::Group;
use crate::code::Code;
use crate::frame::Checkpoint;
use crate::outcome::Verdict;

pub use read::FileReader;
pub use write::FileWriter;

/// What a file begins with.
pub const FILE_MAGIC: &str = "afield-outbox";

/// The version of the files that this one writes and reads.
pub const FILE_VERSION: u32 = 1;

/// Whose changes these are, and where and when the file was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileHead {
    /// The user.
    pub user: String,
    /// The device, as it calls itself.
    pub device: String,
    /// The fingerprint of the model that the device worked with.
    pub model: String,
    /// When the file was made, by the device's clock, in milliseconds since 1970.
    pub made_at_ms: i64,
    /// The newest checkpoints that the device had of the server.
    pub checkpoints: Vec<Checkpoint>,
}

/// Where a group stood on its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileState {
    /// It is sent as it is.
    Ready,
    /// It depends on one that was refused.
    Held,
    /// It was refused, or is in conflict: its user decides.
    Parked,
}

impl FileState {
    const ALL: [Self; 3] = [Self::Ready, Self::Held, Self::Parked];

    /// The stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Held => "held",
            Self::Parked => "parked",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// What a group says.
#[derive(Clone, Debug, PartialEq)]
pub enum FileContent {
    /// It stands on its device as it was sent.
    Sent {
        /// The very bytes: a frame in CBOR.
        bytes: Vec<u8>,
        /// What they say.
        group: Group,
    },
    /// It stands there otherwise: with other values under the rows, or with later edits.
    Changed {
        /// The very bytes that were sent.
        bytes: Vec<u8>,
        /// What they say.
        group: Group,
        /// What it says now.
        now: Group,
    },
    /// It was not sent, or the bytes are not kept any more.
    Unsent {
        /// What it says.
        now: Group,
    },
}

impl FileContent {
    /// The group as it stands on its device.
    pub fn now(&self) -> &Group {
        match self {
            Self::Sent { group, .. } => group,
            Self::Changed { now, .. } | Self::Unsent { now } => now,
        }
    }

    /// The very bytes that were sent, and what they say.
    pub fn sent(&self) -> Option<(&[u8], &Group)> {
        match self {
            Self::Sent { bytes, group } | Self::Changed { bytes, group, .. } => {
                Some((bytes, group))
            }
            Self::Unsent { .. } => None,
        }
    }
}

/// A group in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct FileGroup {
    /// Where it stood.
    pub state: FileState,
    /// When it was made, by the device's clock, in milliseconds since 1970.
    pub made_at_ms: i64,
    /// What it says.
    pub content: FileContent,
    /// Why it is parked: one for each change. Empty if it is not.
    pub verdicts: Vec<Verdict>,
}

/// How much a file has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FileEnd {
    /// Groups.
    pub groups: u64,
    /// Their changes.
    pub changes: u64,
}

/// The next piece of a file.
#[derive(Clone, Debug, PartialEq)]
pub enum FileItem {
    /// Its head.
    Head(FileHead),
    /// A group, oldest first.
    Group(Box<FileGroup>),
    /// Its end: everything before it is as it was written.
    End(FileEnd),
}

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FileProblem {
    code: Code,
    message: String,
}

impl FileProblem {
    fn damaged(what: impl std::fmt::Display) -> Self {
        Self {
            code: Code::FILE_DAMAGED,
            message: format!(
                "{what}: copy it again from where it was made, or export it again; nothing was \
                 imported"
            ),
        }
    }

    /// The stable code.
    pub fn code(&self) -> Code {
        self.code.clone()
    }
}
