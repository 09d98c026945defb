//! The ledger: what became of every group that a user sent, so that a repeat takes no effect
//! and gets the same answer.

use afield_protocol::codec::read_verdicts;
use afield_protocol::{Code, Group, GroupHash, GroupId, Verdict, VerdictKind};

use crate::storage::StorageError;

/// What the ledger knows of a group.
pub(in crate::storage) enum Entry {
    /// It came, and this became of it.
    Settled {
        /// Of what the user did.
        hash: GroupHash,
        /// One for each change.
        verdicts: Vec<Verdict>,
    },
    /// It took effect as part of a later group of the same device, before it came itself.
    Folded {
        /// That group.
        by: GroupId,
    },
}

impl Entry {
    /// An entry from what is kept of it.
    pub(in crate::storage) fn read(
        group: GroupId,
        hash: Option<GroupHash>,
        verdicts: Option<&[u8]>,
        absorbed_by: Option<[u8; 16]>,
    ) -> Result<Self, StorageError> {
        let (Some(hash), Some(verdicts)) = (hash, verdicts) else {
            return Ok(Self::Folded {
                by: GroupId(absorbed_by.unwrap_or_default()),
            });
        };
        let verdicts = read_verdicts(verdicts).map_err(|error| StorageError {
            code: Code::INTERNAL,
            message: format!("reading the ledger: group {group}: {error}"),
            is_retryable: false,
        })?;
        Ok(Self::Settled { hash, verdicts })
    }
}

/// Whether a group with these verdicts took effect.
pub(in crate::storage) fn is_applied(verdicts: &[Verdict]) -> bool {
    verdicts
        .iter()
        .all(|verdict| verdict.kind == VerdictKind::Applied)
}

/// The groups that took effect with one, if it did.
pub(in crate::storage) fn folded<'g>(group: &'g Group, verdicts: &[Verdict]) -> &'g [GroupId] {
    match is_applied(verdicts) {
        true => &group.absorbed,
        false => &[],
    }
}
