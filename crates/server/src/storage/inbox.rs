//! The inbox: groups that were refused, for people on the server to look at and to decide.
//!
//! ```text
//!   push ── refused ──► open ── decide ──► decided ── the device says so ──► told
//!                        │
//!                        └── sent again, or the device says so ──► closed
//! ```
//!
//! An entry is written by the transaction that answers the group. A decision is one transaction
//! too: the group's changes, made anew over the rows as they are, under an id that absorbs the
//! refused one; its ledger entry; and what the device will be told.

use afield_protocol::{Attributes, Code, Group, GroupId, Op, Verdict, VerdictKind};
use serde_json::Value as Json;

use super::StorageError;

/// Groups of one user that are kept. More than a person decides about; beyond it those leave first
/// that are decided and told, or closed, then the oldest.
pub const INBOX_OF_USER: usize = 1_000;

/// Changes of one group that are noted with their values. A larger group is no work of a person:
/// only what was wrong with it is noted, and it is decided on its device.
pub const INBOX_CHANGES: usize = 1_000;

/// Bytes of one group, and of the values noted of it, likewise.
pub const INBOX_BYTES: usize = 1024 * 1024;

/// Bytes of answers after which the device is told the rest the next time.
pub(super) const TOLD_BYTES: usize = 1024 * 1024;

/// Characters of a name that came with a request, or of a message: enough for people.
const NAME_CHARS: usize = 500;

/// Which entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InboxQuery {
    /// Those of this user.
    pub user: Option<String>,
    /// Those of this local entity.
    pub entity: Option<String>,
    /// Those of the group that has the entry of this number.
    pub group_of: Option<i64>,
    /// Those that are decided or closed too.
    pub all: bool,
    /// Most entries, the oldest first.
    pub most: usize,
}

/// How a group stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InboxState {
    /// Nobody has decided.
    Open,
    /// Somebody on the server has.
    Decided,
    /// Its user has, on the device.
    Closed,
}

impl InboxState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Open, Self::Decided, Self::Closed];

    /// The stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Decided => "decided",
            Self::Closed => "closed",
        }
    }

    /// The one with this word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == word)
    }
}

/// A change of a refused group.
#[derive(Clone, Debug, PartialEq)]
pub struct InboxEntry {
    /// Its number.
    pub n: i64,
    /// Whose it is.
    pub user: String,
    /// The device that sent it, as it called itself.
    pub device: String,
    /// Its group.
    pub group: GroupId,
    /// Its place in the group.
    pub place: i64,
    /// When it came, in seconds since 1970.
    pub at: i64,
    /// The local entity.
    pub entity: String,
    /// The identifier as the device had it.
    pub key: Json,
    /// What was to be done.
    pub op: Op,
    /// How it was refused itself.
    pub result: VerdictKind,
    /// Why.
    pub code: Option<Code>,
    /// The attribute that the code speaks of.
    pub attribute: Option<String>,
    /// For people.
    pub message: Option<String>,
    /// The row as the user saw it; `None` if it was too large to be noted.
    pub base: Option<Json>,
    /// What he set, likewise.
    pub mine: Option<Json>,
    /// The server's row as he was told of it; `None` if he was told of none.
    pub theirs: Option<Json>,
    /// How its group stands.
    pub state: InboxState,
    /// What was decided.
    pub decision: Option<String>,
    /// Who decided, if that was on the server.
    pub decided_by: Option<String>,
    /// When, in seconds since 1970.
    pub decided_at: Option<i64>,
    /// The group that stands in the place of its own.
    pub into: Option<GroupId>,
    /// Whether the device has stored what was decided on the server.
    pub told: bool,
}

/// What somebody wants to become of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Decide {
    /// The number of an entry of it.
    pub n: i64,
    /// What.
    pub choice: Choice,
    /// Who decides, for people.
    pub by: String,
    /// The id of the group that is applied in its place: random, and never used before.
    pub into: GroupId,
}

/// A decision about a group.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// All its changes are made as they were typed, over the rows as they are.
    Mine,
    /// None is made.
    Theirs,
    /// The same as [`Choice::Mine`], with these values in the change of the entry.
    Set(Attributes),
}

impl Choice {
    /// The word that is noted.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Mine => "mine",
            Self::Theirs => "theirs",
            Self::Set(_) => "set",
        }
    }
}

/// What came of a decision.
#[derive(Clone, Debug, PartialEq)]
pub enum DecideOutcome {
    /// It is done; the device is told with its next sync.
    Done,
    /// There is no such entry.
    Unknown,
    /// Somebody decided before.
    Already,
    /// The group was too large to be noted whole.
    TooLarge,
    /// A deleted row has no values.
    SetsDeleted,
    /// The server refuses it still: the place of the change in its group, and why. Nothing is
    /// decided.
    Refused {
        /// From 0 on.
        place: usize,
        /// Why.
        verdict: Box<Verdict>,
    },
}

/// A refused group as it is noted.
pub(super) struct Noted {
    /// All of it, in CBOR; `None` if it is too large.
    pub content: Option<Vec<u8>>,
    pub entries: Vec<NotedEntry>,
}

/// One of its changes; values in JSON.
pub(super) struct NotedEntry {
    pub place: i64,
    pub entity: String,
    pub key: String,
    pub op: &'static str,
    pub result: &'static str,
    pub code: Option<String>,
    pub attribute: Option<String>,
    pub message: Option<String>,
    pub base: Option<String>,
    pub mine: Option<String>,
    pub theirs: Option<String>,
}

/// What is kept of a group that somebody decides about.
pub(super) struct Refused {
    pub caller: super::Caller,
    pub group: GroupId,
    /// The place of the entry that the decision names.
    pub place: usize,
    pub is_open: bool,
    /// All of it, in CBOR; `None` if it was too large.
    pub content: Option<Vec<u8>>,
    /// Whether a part of it had been applied before, as part of another group.
    pub is_known_in_part: bool,
}

impl Refused {
    /// The group, as it was sent.
    pub(super) fn read(&self) -> Result<Option<Group>, StorageError> {
        self.content.as_deref().map(read_group).transpose()
    }
}

/// A text from a request as every database takes it, cut to what people read.
pub(crate) fn shown(text: &str) -> String {
    let chars = text.chars().take(NAME_CHARS);
    chars
        .map(|c| {
            if c == '\0' {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

/// A group in CBOR, its values as they are stored: it can be read under any model.
pub(super) fn write_group(group: &Group) -> Vec<u8> {
    let mut bytes = Vec::new();
    let frame = afield_protocol::Frame::Group(group.clone());
    afield_protocol::codec::Format::Cbor.write(&no_model(), &frame, &mut bytes);
    bytes
}

/// Reads what [`write_group`] wrote.
pub(super) fn read_group(bytes: &[u8]) -> Result<Group, StorageError> {
    let mut reader = afield_protocol::codec::FrameReader::new(Default::default());
    reader.push(bytes);
    match reader.next(&no_model()) {
        Ok(Some(afield_protocol::Frame::Group(group))) => Ok(group),
        _ => Err(damaged("a group in the inbox cannot be read")),
    }
}

fn no_model() -> afield_protocol::Model {
    afield_protocol::Model::new(1, Vec::new(), Vec::new())
}

/// What the bookkeeping holds is not what this program wrote.
pub(super) fn damaged(message: &str) -> StorageError {
    StorageError {
        code: Code::INTERNAL,
        message: message.to_owned(),
        is_retryable: false,
    }
}

/// Columns of an entry and its group in the order in which [`Columns::entry`] takes them.
pub(super) struct Columns {
    pub n: i64,
    pub user: String,
    pub device: String,
    pub group: Vec<u8>,
    pub place: i64,
    pub at: i64,
    pub entity: String,
    pub key: String,
    pub op: String,
    pub result: String,
    pub code: Option<String>,
    pub attribute: Option<String>,
    pub message: Option<String>,
    pub base: Option<String>,
    pub mine: Option<String>,
    pub theirs: Option<String>,
    pub state: String,
    pub decision: Option<String>,
    pub decided_by: Option<String>,
    pub decided_at: Option<i64>,
    pub into: Option<Vec<u8>>,
    pub told: bool,
}

impl Columns {
    /// The entry that they are.
    pub(super) fn entry(self) -> Result<InboxEntry, StorageError> {
        let odd = || damaged("an entry of the inbox cannot be read");
        let json = |text: &str| serde_json::from_str(text).map_err(|_| odd());
        let value = |text: Option<String>| text.map(|text| json(&text)).transpose();
        Ok(InboxEntry {
            n: self.n,
            user: self.user,
            device: self.device,
            group: id(&self.group)?,
            place: self.place,
            at: self.at,
            entity: self.entity,
            key: json(&self.key)?,
            op: Op::parse(&self.op).ok_or_else(odd)?,
            result: VerdictKind::parse(&self.result).ok_or_else(odd)?,
            code: self.code.map(|word| Code::parse(&word)),
            attribute: self.attribute,
            message: self.message,
            base: value(self.base)?,
            mine: value(self.mine)?,
            theirs: value(self.theirs)?,
            state: InboxState::parse(&self.state).ok_or_else(odd)?,
            decision: self.decision,
            decided_by: self.decided_by,
            decided_at: self.decided_at,
            into: self.into.map(|bytes| id(&bytes)).transpose()?,
            told: self.told,
        })
    }
}

/// A group's id.
pub(super) fn id(bytes: &[u8]) -> Result<GroupId, StorageError> {
    let id = bytes.try_into().map(GroupId);
    id.map_err(|_| damaged("an id in the inbox has another length"))
}
