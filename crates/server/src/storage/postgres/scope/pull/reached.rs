//! How far the scan of a value, or a delta of several pages, has come, as bytes of a position.

use super::super::super::entity::EntityTable;
use super::super::super::key::RawKey;
use super::super::super::pull::At;
use super::super::ScopeSql;
use crate::position::{read_varint, write_varint};

/// How far the scan of a value has come.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reached {
    pub condition: usize,
    pub number: i64,
    pub last: RawKey,
}

impl Reached {
    pub(super) fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_value(&mut bytes, (self.condition, self.number));
        self.last.write(&mut bytes);
        bytes
    }

    /// `None` if it is not one of this scope.
    pub(super) fn read(bytes: &[u8], scope: &ScopeSql, key_width: usize) -> Option<Self> {
        let ((condition, number), rest) = read_value(bytes, scope)?;
        let last = RawKey::parse_whole(rest).filter(|last| last.0.len() == key_width)?;
        Some(Self {
            condition,
            number,
            last,
        })
    }
}

/// How far a delta has come.
///
/// Its marks come way by way, of each way under the values of one condition in the order of their
/// numbers, of each value in the order of transactions and keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Along {
    /// The condition and the number of the value whose marks come; none before the first, and none
    /// when the marks of what lookups read do.
    pub under: Option<(usize, i64)>,
    /// How far those have come.
    pub at: At,
}

impl Along {
    pub(super) fn write(&self) -> Vec<u8> {
        let mut bytes = vec![u8::from(self.under.is_some())];
        if let Some(value) = self.under {
            write_value(&mut bytes, value);
        }
        bytes.extend(self.at.write());
        bytes
    }

    /// `None` if it is not one of this entity.
    pub(super) fn read(bytes: &[u8], scope: &ScopeSql, table: &EntityTable) -> Option<Self> {
        let (has_value, rest) = bytes.split_first()?;
        let (under, rest) = match has_value {
            0 => (None, rest),
            _ => read_value(rest, scope).map(|(value, rest)| (Some(value), rest))?,
        };
        let at = At::read(rest, table)?;
        Some(Self { under, at })
    }
}

fn write_value(out: &mut Vec<u8>, (condition, number): (usize, i64)) {
    write_varint(out, condition as u64);
    out.extend_from_slice(&number.to_be_bytes());
}

fn read_value<'b>(bytes: &'b [u8], scope: &ScopeSql) -> Option<((usize, i64), &'b [u8])> {
    let (condition, rest) = read_varint(bytes)?;
    let condition = usize::try_from(condition).ok()?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let fits = condition < scope.conditions.len();
    fits.then_some(((condition, i64::from_be_bytes(*number)), rest))
}
