//! The values that a user holds in one snapshot, each with the number that devices know it by.

use std::collections::HashMap;
use std::ops::Range;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::position::CodeKey;

/// The values held now, condition by condition: of chosen scopes, those that this device chose.
#[derive(Debug)]
pub(in super::super) struct Now<V> {
    /// For each condition: the bytes of a value, and its number.
    numbers: Vec<HashMap<Vec<u8>, i64>>,
    /// For each condition: number and value, in the order of the numbers.
    values: Vec<Vec<(i64, V)>>,
    /// Of all of them.
    pub digest: u64,
    /// Whether there are more than may be looked up; then those here are only some of them, and
    /// must not be taken for all.
    pub is_over: bool,
}

impl<V> Now<V> {
    /// Nothing is held yet.
    pub(in super::super) fn new() -> Self {
        Self {
            numbers: Vec::new(),
            values: Vec::new(),
            digest: 0,
            is_over: false,
        }
    }

    /// The next condition: each value with the bytes that are the same for what SQL calls equal.
    pub(in super::super) fn condition(
        &mut self,
        numbering: &Numbering,
        held: impl IntoIterator<Item = (Vec<u8>, V)>,
    ) {
        let mut numbers = HashMap::new();
        let mut values = Vec::new();
        for (bytes, value) in held {
            let number = numbering.number(&bytes);
            if numbers.insert(bytes, number).is_none() {
                self.digest = self.digest.wrapping_add(mixed(number));
                values.push((number, value));
            }
        }
        values.sort_by_key(|(number, _)| *number);
        self.numbers.push(numbers);
        self.values.push(values);
    }

    /// All numbers.
    pub(in super::super) fn all(&self) -> impl Iterator<Item = i64> {
        self.values.iter().flatten().map(|(number, _)| *number)
    }

    /// The number of a stored cell, if it is a value held for this condition.
    pub(in super::super) fn number(&self, condition: usize, cell: &[u8]) -> Option<i64> {
        self.numbers.get(condition)?.get(cell).copied()
    }

    /// The values held for a condition, in the order of their numbers.
    pub(in super::super) fn values(&self, condition: usize) -> &[(i64, V)] {
        self.values.get(condition).map_or(&[], Vec::as_slice)
    }

    /// The value behind a number of a condition.
    pub(in super::super) fn value(&self, condition: usize, number: i64) -> Option<&V> {
        let values = self.values(condition);
        let at = values.binary_search_by_key(&number, |(number, _)| *number);
        values.get(at.ok()?).map(|(_, value)| value)
    }
}

/// The digest of a list; that of none is 0.
pub(in super::super) fn digest(list: impl IntoIterator<Item = i64>) -> u64 {
    let add = |sum: u64, number| sum.wrapping_add(mixed(number));
    list.into_iter().fold(0, add)
}

/// What the numbers of a condition's values are made with.
pub(in super::super) struct Numbering(Hmac<Sha256>);

impl Numbering {
    /// Of a condition over a column. Whatever gives a value another meaning makes other numbers,
    /// so that a changed model takes every row anew.
    pub(in super::super) fn of(
        key: &CodeKey,
        (entity, column): (&str, &str),
        ways: &[Range<usize>],
        condition: usize,
    ) -> Self {
        let code = Hmac::<Sha256>::new_from_slice(key);
        let mut code = code.expect("a code takes a key of any length");
        code.update(b"afield value\0");
        for name in [entity, column] {
            code.update(&(name.len() as u64).to_be_bytes());
            code.update(name.as_bytes());
        }
        code.update(&(ways.len() as u64).to_be_bytes());
        for way in ways {
            code.update(&(way.end as u64).to_be_bytes());
        }
        code.update(&(condition as u64).to_be_bytes());
        Self(code)
    }

    fn number(&self, value: &[u8]) -> i64 {
        let mut code = self.0.clone();
        code.update(value);
        let code = code.finalize().into_bytes();
        let first = code.first_chunk::<8>().expect("a code has 32 bytes");
        i64::from_be_bytes(*first)
    }
}

/// Spreads a number, so that no sum of few numbers meets another by chance.
fn mixed(number: i64) -> u64 {
    let mut x = number.cast_unsigned().wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
