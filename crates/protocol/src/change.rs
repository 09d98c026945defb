//! Changes and the groups they travel in.

use std::collections::BTreeMap;
use std::fmt;

use sha2::{Digest, Sha256};

use crate::codec::identity::group_identity;
use crate::frame::Checkpoint;
use crate::value::Value;

/// Attribute values by local name, in the one canonical order.
pub type Attributes = BTreeMap<String, Value>;

/// A row's identifier: the values of the entity's key attributes, in key order.
pub type Key = Vec<Value>;

/// What a change does to its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Make the row.
    Create,
    /// Set some attributes of the row.
    Update,
    /// Delete the row.
    Delete,
}

impl Op {
    /// The stable word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    /// The op for a stable word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Create, Self::Update, Self::Delete]
            .into_iter()
            .find(|op| op.as_str() == word)
    }
}

/// One create, update or delete of one row made on a device.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The local entity's name.
    pub entity: String,
    /// What is done.
    pub op: Op,
    /// Which row.
    pub key: Key,
    /// The row as the user saw it before; empty for a create. Without the identifier.
    pub base: Attributes,
    /// What is set; only what the user mentioned. Empty for a delete. Without the identifier.
    pub set: Attributes,
}

/// A change group's random identity, made where and when the changes were.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupId(pub [u8; 16]);

impl GroupId {
    /// Reads the 32 hexadecimal digits that [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        hexadecimal(text).map(Self)
    }
}

/// The bytes that hexadecimal digits write, exactly `N` of them.
fn hexadecimal<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != N * 2 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where the row with a temporary identifier was created, so that the server can put the one that
/// it gave in its place. A temporary identifier means something on its own device only; the group
/// that created the row is the same for everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The entity whose identifiers the server makes.
    pub entity: String,
    /// The identifier that the device gave meanwhile.
    pub temporary: i64,
    /// The group that creates the row.
    pub group: GroupId,
    /// The place of that change in its group.
    pub at: u32,
}

/// SHA-256 over what the user did in a group: see [`Group::hash`].
pub type GroupHash = [u8; 32];

/// The changes of one local transaction: the server applies all of them or none.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Random, so that two copies of one device never make the same one.
    pub id: GroupId,
    /// Earlier groups in whose place this one stands: folded into it before they were sent, or
    /// refused and written again. None of them takes effect once this one has.
    pub absorbed: Vec<GroupId>,
    /// For each temporary identifier in the changes whose row another group creates: which one.
    pub origins: Vec<Origin>,
    /// The changes in the order in which they must be applied.
    pub changes: Vec<Change>,
    /// The newest checkpoint that the device had of the server when the changes were made; empty
    /// if none. No part of the hash.
    pub checkpoint: Checkpoint,
}

impl Group {
    /// A group that stands in no other's place and names no row of another.
    pub fn new(id: GroupId, changes: Vec<Change>) -> Self {
        Self {
            id,
            absorbed: Vec::new(),
            origins: Vec::new(),
            changes,
            checkpoint: Checkpoint::new(),
        }
    }

    /// The hash that tells a repeat from an altered repeat.
    ///
    /// It covers what the user did (entity, op, identifier, values set) by stored value, not the
    /// bytes of a message and not what he saw before: a group re-encoded by an upgraded app or
    /// sent by a copy of the device that saw newer rows is the same group.
    pub fn hash(&self) -> GroupHash {
        Sha256::digest(group_identity(self)).into()
    }

    /// Reads a hash of 64 hexadecimal digits.
    pub(crate) fn parse_hash(text: &str) -> Option<GroupHash> {
        hexadecimal(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(value: i64, seen: i64) -> Group {
        Group::new(
            GroupId([7; 16]),
            vec![Change {
                entity: "visit".into(),
                op: Op::Update,
                key: vec![Value::Integer(1)],
                base: Attributes::from([("a".into(), Value::Integer(seen))]),
                set: Attributes::from([("a".into(), Value::Integer(value))]),
            }],
        )
    }

    #[test]
    fn p2_the_hash_sees_what_was_done_and_not_what_was_seen() {
        assert_eq!(group(2, 1).hash(), group(2, 0).hash());
        assert_ne!(group(2, 1).hash(), group(3, 1).hash());
    }

    #[test]
    fn ids_read_back_as_written() {
        let id = GroupId(*b"0123456789abcdef");
        assert_eq!(GroupId::parse(&id.to_string()), Some(id));
        assert_eq!(GroupId::parse("zz"), None);
        assert_eq!(GroupId::parse(&"é".repeat(16)), None);
        assert_eq!(GroupId::parse(&"+f".repeat(16)), None);
    }
}
