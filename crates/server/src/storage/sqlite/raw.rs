//! Cells and keys exactly as SQLite stores them.

use afield_protocol::Value;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef as Stored};

use crate::position::{read_varint, write_varint};

/// A cell exactly as SQLite stores it, invalid text included: what keys are looked up by.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Raw {
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

impl Raw {
    pub(super) fn from_stored(stored: Stored<'_>) -> Self {
        match stored {
            Stored::Null => Self::Null,
            Stored::Integer(n) => Self::Integer(n),
            Stored::Real(x) => Self::Real(x),
            Stored::Text(text) => Self::Text(text.to_vec()),
            Stored::Blob(bytes) => Self::Blob(bytes.to_vec()),
        }
    }

    pub(super) fn from_value(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Integer(n) => Self::Integer(*n),
            Value::Real(x) => Self::Real(*x),
            Value::Text(text) => Self::Text(text.as_bytes().to_vec()),
            Value::Bytes(bytes) => Self::Blob(bytes.clone()),
        }
    }

    /// As a value; text that is no UTF-8 as near as text can come to it.
    pub(super) fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Integer(n) => Value::Integer(*n),
            Self::Real(x) => Value::Real(*x),
            Self::Text(text) => Value::Text(String::from_utf8_lossy(text).into_owned()),
            Self::Blob(bytes) => Value::Bytes(bytes.clone()),
        }
    }

    pub(super) fn as_stored(&self) -> Stored<'_> {
        match self {
            Self::Null => Stored::Null,
            Self::Integer(n) => Stored::Integer(*n),
            Self::Real(x) => Stored::Real(*x),
            Self::Text(text) => Stored::Text(text),
            Self::Blob(bytes) => Stored::Blob(bytes),
        }
    }
}

impl ToSql for Raw {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.as_stored()))
    }
}

/// A key as bytes, for a position.
pub(super) fn write_raw_key(key: &[Raw]) -> Vec<u8> {
    let mut out = Vec::new();
    for cell in key {
        let (tag, bytes): (u8, &[u8]) = match cell {
            Raw::Null => (0, &[]),
            Raw::Integer(n) => (1, &n.to_be_bytes()),
            Raw::Real(x) => (2, &x.to_bits().to_be_bytes()),
            Raw::Text(text) => (3, text),
            Raw::Blob(bytes) => (4, bytes),
        };
        out.push(tag);
        write_varint(&mut out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
    out
}

/// Reads what [`write_raw_key`] wrote.
pub(super) fn read_raw_key(mut bytes: &[u8]) -> Option<Vec<Raw>> {
    let mut key = Vec::new();
    while let Some((tag, rest)) = bytes.split_first() {
        let (length, rest) = read_varint(rest)?;
        let (cell, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        key.push(match tag {
            0 => Raw::Null,
            1 => Raw::Integer(i64::from_be_bytes(cell.try_into().ok()?)),
            2 => Raw::Real(f64::from_bits(u64::from_be_bytes(cell.try_into().ok()?))),
            3 => Raw::Text(cell.to_vec()),
            4 => Raw::Blob(cell.to_vec()),
            _ => return None,
        });
        bytes = rest;
    }
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_bit_by_bit() {
        let key = vec![
            Raw::Integer(i64::MIN),
            Raw::Real(-0.0),
            Raw::Text(vec![0xff, 0]),
            Raw::Blob(vec![7; 300]),
            Raw::Null,
        ];
        let bytes = write_raw_key(&key);
        assert_eq!(read_raw_key(&bytes), Some(key));
        assert_eq!(read_raw_key(&bytes[..bytes.len() - 3]), None);
    }
}
