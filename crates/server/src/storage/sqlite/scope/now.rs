//! The values that a user holds in one snapshot, each with the number that devices know it by.

use std::collections::HashMap;
use std::rc::Rc;

use hmac::{Hmac, KeyInit, Mac};
use rusqlite::Connection;
use rusqlite::types::Value as Bound;
use sha2::Sha256;

use super::super::raw::{Raw, write_raw_key};
use super::{Asking, ScopeSql};
use crate::position::CodeKey;

/// The values held now, condition by condition: of chosen scopes, those that this device chose.
#[derive(Debug)]
pub(super) struct Now {
    /// For each condition: the bytes of a value, and its number.
    numbers: Vec<HashMap<Vec<u8>, i64>>,
    /// For each condition: number and value, in the order of the numbers.
    values: Vec<Vec<(i64, Raw)>>,
    /// Of all of them.
    pub digest: u64,
    /// Whether there are more than may be looked up; then those here are only some of them, and
    /// must not be taken for all.
    pub is_over: bool,
}

impl Now {
    /// Asks the database what is held.
    pub(super) fn ask(
        conn: &Connection,
        key: &CodeKey,
        entity: &str,
        scope: &ScopeSql,
        asking: Asking<'_>,
    ) -> rusqlite::Result<Self> {
        let mut now = Self {
            numbers: Vec::new(),
            values: Vec::new(),
            digest: 0,
            is_over: false,
        };
        for condition in 0..scope.conditions.len() {
            let numbering = numbering(key, entity, scope, condition);
            let mut numbers = HashMap::new();
            let mut values = Vec::new();
            let held = scope.held(conn, condition, asking)?;
            now.is_over |= held.len() > asking.values_max;
            for value in held {
                let Some(value) = comparable(&value) else {
                    continue;
                };
                let bytes = bytes_of(&value);
                let number = number(&numbering, &bytes);
                if numbers.insert(bytes, number).is_none() {
                    now.digest = now.digest.wrapping_add(mixed(number));
                    values.push((number, value));
                }
            }
            values.sort_by_key(|(number, _)| *number);
            now.numbers.push(numbers);
            now.values.push(values);
        }
        Ok(now)
    }

    /// All numbers.
    pub(super) fn all(&self) -> impl Iterator<Item = i64> {
        self.values.iter().flatten().map(|(number, _)| *number)
    }

    /// The number of a stored cell, if it is a value held for this condition.
    pub(super) fn number(&self, condition: usize, cell: &[u8]) -> Option<i64> {
        self.numbers.get(condition)?.get(cell).copied()
    }

    /// The values held for a condition, in the order of their numbers.
    pub(super) fn values(&self, condition: usize) -> &[(i64, Raw)] {
        self.values.get(condition).map_or(&[], Vec::as_slice)
    }

    /// The value behind a number of a condition.
    pub(super) fn value(&self, condition: usize, number: i64) -> Option<&Raw> {
        let values = self.values(condition);
        let at = values.binary_search_by_key(&number, |(number, _)| *number);
        values.get(at.ok()?).map(|(_, value)| value)
    }
}

/// The digest of a list; that of none is 0.
pub(super) fn digest(list: impl IntoIterator<Item = i64>) -> u64 {
    let add = |sum: u64, number| sum.wrapping_add(mixed(number));
    list.into_iter().fold(0, add)
}

/// Values for a statement that takes a list.
pub(super) fn bound<'v>(values: impl Iterator<Item = &'v Raw>) -> Rc<Vec<Bound>> {
    let value = |value: &Raw| match value {
        Raw::Null => Bound::Null,
        Raw::Integer(n) => Bound::Integer(*n),
        Raw::Real(x) => Bound::Real(*x),
        Raw::Text(text) => Bound::Text(String::from_utf8_lossy(text).into_owned()),
        Raw::Blob(bytes) => Bound::Blob(bytes.clone()),
    };
    Rc::new(values.map(value).collect())
}

/// The bytes under which a stored cell is looked up: the same for what SQL calls equal.
pub(super) fn bytes_of(cell: &Raw) -> Vec<u8> {
    write_raw_key(std::slice::from_ref(&whole(cell)))
}

/// A value that is compared here as SQL does; nothing else is ever held. The empty blob stands
/// for null in marks.
fn comparable(value: &Raw) -> Option<Raw> {
    match value {
        Raw::Null => None,
        Raw::Blob(bytes) if bytes.is_empty() => None,
        Raw::Text(text) if std::str::from_utf8(text).is_err() => None,
        _ => Some(whole(value)),
    }
}

/// A whole number as an integer: to SQL 7.0 is 7.
fn whole(value: &Raw) -> Raw {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    match value {
        Raw::Real(x) if x.fract() == 0.0 && *x >= -LIMIT && *x < LIMIT => Raw::Integer(*x as i64),
        other => other.clone(),
    }
}

/// What the numbers of a condition's values are made with. Whatever gives a value another meaning
/// makes other numbers, so that a changed model takes every row anew.
fn numbering(key: &CodeKey, entity: &str, scope: &ScopeSql, condition: usize) -> Hmac<Sha256> {
    let mut code = Hmac::<Sha256>::new_from_slice(key).expect("a code takes a key of any length");
    let column = &scope.columns[scope.conditions[condition].column];
    code.update(b"afield value\0");
    for name in [entity, column] {
        code.update(&(name.len() as u64).to_be_bytes());
        code.update(name.as_bytes());
    }
    code.update(&(scope.ways.len() as u64).to_be_bytes());
    for way in &scope.ways {
        code.update(&(way.end as u64).to_be_bytes());
    }
    code.update(&(condition as u64).to_be_bytes());
    code
}

fn number(numbering: &Hmac<Sha256>, value: &[u8]) -> i64 {
    let mut code = numbering.clone();
    code.update(value);
    let code = code.finalize().into_bytes();
    let first = code.first_chunk::<8>().expect("a code has 32 bytes");
    i64::from_be_bytes(*first)
}

/// Spreads a number, so that no sum of few numbers meets another by chance.
fn mixed(number: i64) -> u64 {
    let mut x = number.cast_unsigned().wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
