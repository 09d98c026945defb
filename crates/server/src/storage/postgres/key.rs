//! Keys exactly as PostgreSQL stores them, in its binary format: what places in pages are made of.

use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type as SqlType, private::BytesMut};

use super::cell::Stored;
use super::error::lasting;
use crate::position::{read_varint, write_varint};
use crate::storage::StorageError;

/// The cells of a key; none of them is null.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct RawKey(pub Vec<Vec<u8>>);

impl RawKey {
    /// The cells of a row from a place on.
    ///
    /// # Errors
    /// One of them is null: the row has no key.
    pub(super) fn read(row: &Row, first: usize, width: usize) -> Result<Self, StorageError> {
        let cell = |at| match stored(row, at)?.0 {
            Some(bytes) => Ok(bytes.to_vec()),
            None => Err(lasting("a row came without its key")),
        };
        (first..first + width)
            .map(cell)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Appends it to the bytes of a place.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_varint(out, self.0.len() as u64);
        for cell in &self.0 {
            write_varint(out, cell.len() as u64);
            out.extend_from_slice(cell);
        }
    }

    /// Its bytes.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// Reads what [`RawKey::write`] wrote, and what follows it.
    pub(super) fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let (count, mut rest) = read_varint(bytes)?;
        let mut cells = Vec::new();
        for _ in 0..count {
            let (length, behind) = read_varint(rest)?;
            let (cell, behind) = behind.split_at_checked(usize::try_from(length).ok()?)?;
            cells.push(cell.to_vec());
            rest = behind;
        }
        Some((Self(cells), rest))
    }

    /// Reads it where nothing follows.
    pub(super) fn parse_whole(bytes: &[u8]) -> Option<Self> {
        Self::parse(bytes)
            .filter(|(_, rest)| rest.is_empty())
            .map(|(key, _)| key)
    }
}

/// A cell's bytes.
pub(super) fn stored(row: &Row, at: usize) -> Result<Stored<'_>, StorageError> {
    row.try_get(at)
        .map_err(|_| lasting("a statement gave fewer columns than it was made with"))
}

/// A transaction's number as a parameter and in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Xid(pub u64);

impl ToSql for Xid {
    fn to_sql(
        &self,
        _: &SqlType,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        out.extend_from_slice(&self.0.to_be_bytes());
        Ok(IsNull::No)
    }

    fn accepts(kind: &SqlType) -> bool {
        *kind == SqlType::XID8
    }

    tokio_postgres::types::to_sql_checked!();
}

impl<'a> FromSql<'a> for Xid {
    fn from_sql(
        _: &SqlType,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(u64::from_be_bytes(raw.try_into()?)))
    }

    fn accepts(kind: &SqlType) -> bool {
        *kind == SqlType::XID8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_back_bit_by_bit() {
        for cells in [vec![], vec![vec![]], vec![vec![0; 300], vec![255], vec![]]] {
            let key = RawKey(cells);
            let mut bytes = key.bytes();
            assert_eq!(RawKey::parse_whole(&bytes), Some(key.clone()));
            assert_eq!(RawKey::parse_whole(&bytes[..bytes.len() - 1]), None);
            bytes.push(7);
            assert_eq!(RawKey::parse_whole(&bytes), None);
            assert_eq!(RawKey::parse(&bytes), Some((key, &[7][..])));
        }
    }
}
