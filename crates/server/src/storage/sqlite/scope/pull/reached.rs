//! How far the scan of a value has come, as bytes of a position.

use super::super::super::raw::{Raw, read_raw_key, write_raw_key};
use super::super::ScopeSql;
use crate::position::{read_varint, write_varint};

/// How far the scan of a value has come.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reached {
    pub condition: usize,
    pub number: i64,
    pub last: Vec<Raw>,
}

impl Reached {
    pub(super) fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        write_varint(&mut bytes, self.condition as u64);
        bytes.extend_from_slice(&self.number.to_be_bytes());
        bytes.extend_from_slice(&write_raw_key(&self.last));
        bytes
    }

    /// `None` if it is not one of this scope.
    pub(super) fn read(bytes: &[u8], scope: &ScopeSql, key_width: usize) -> Option<Self> {
        let (condition, rest) = read_varint(bytes)?;
        let condition = usize::try_from(condition).ok()?;
        let (number, key) = rest.split_first_chunk::<8>()?;
        let last = read_raw_key(key)?;
        let fits = condition < scope.conditions.len() && last.len() == key_width;
        fits.then_some(Self {
            condition,
            number: i64::from_be_bytes(*number),
            last,
        })
    }
}
