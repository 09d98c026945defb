//! Digests: how a device proves that it holds exactly the server's rows.
//!
//! ```text
//!   row ──► its hash ──► sum of a bucket's hashes ──► one comparison
//!   identifier ──► its hash, whose first bits name the bucket
//! ```
//!
//! Sums do not depend on the order in which rows are read, and one pass over the rows makes the
//! sums of all buckets. A row counts with the values that it is stored with, lookups included, and
//! with the values of its scope that bring it: a device that forgot one of those would keep the row
//! when it should drop it.
//!
//! The bytes under a hash are deterministic CBOR (RFC 8949, section 4.2.1), values untagged, as
//! those under a group's hash are.

use sha2::{Digest as _, Sha256};

use crate::codec::identity;
use crate::model::Entity;
use crate::value::{Type, ValueRef};

/// The hash of a row: the first sixteen bytes of a SHA-256.
pub type RowHash = [u8; 16];

/// The rows of a bucket: how many, and the sum of their hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// How many rows.
    pub rows: u64,
    /// The sum of their hashes, each taken as a number whose first byte weighs most, modulo 2^128.
    pub sum: u128,
}

impl Sum {
    /// Adds a row.
    pub fn add(&mut self, hash: &RowHash) {
        self.rows += 1;
        self.sum = self.sum.wrapping_add(u128::from_be_bytes(*hash));
    }
}

/// Hashes the rows of one entity.
#[derive(Debug)]
pub struct RowHasher<'e> {
    entity: &'e Entity,
    bytes: Vec<u8>,
}

impl<'e> RowHasher<'e> {
    /// A hasher for rows of `entity`.
    pub fn new(entity: &'e Entity) -> Self {
        Self {
            entity,
            bytes: Vec::new(),
        }
    }

    /// The hash of a row: its cells in the order of the entity's attributes, and for each value
    /// of its scope the number that brings it. Of a way in that is not whole none counts.
    pub fn row<'v>(
        &mut self,
        cells: impl Iterator<Item = ValueRef<'v>>,
        brought: &[Option<i64>],
    ) -> RowHash {
        let attributes = &self.entity.attributes;
        let width = attributes.len() + self.entity.scope_width();
        self.bytes.clear();
        identity::head(&mut self.bytes, width);
        for (cell, attribute) in cells.zip(attributes) {
            let cell = kept(attribute.kind, cell);
            identity::cell(&mut self.bytes, cell);
        }
        let mut rest = brought;
        for width in &self.entity.scope {
            let (way, others) = rest.split_at_checked(*width).unwrap_or((rest, &[]));
            let is_whole = way.len() == *width && way.iter().all(Option::is_some);
            for at in 0..*width {
                let number = way.get(at).copied().flatten().filter(|_| is_whole);
                let number = number.map_or(ValueRef::Null, ValueRef::Integer);
                identity::cell(&mut self.bytes, number);
            }
            rest = others;
        }
        let hash = Sha256::digest(&self.bytes);
        *hash.first_chunk().expect("a SHA-256 has 32 bytes")
    }

    /// The bucket, one of 2^`depth`, of the row with this identifier.
    pub fn bucket<'v>(&mut self, key: impl Iterator<Item = ValueRef<'v>>, depth: u8) -> usize {
        if depth == 0 {
            return 0;
        }
        let attributes = self.entity.key();
        self.bytes.clear();
        identity::head(&mut self.bytes, attributes.len());
        for (cell, attribute) in key.zip(attributes) {
            identity::cell(&mut self.bytes, kept(attribute.kind, cell));
        }
        let hash = Sha256::digest(&self.bytes);
        let first: &[u8; 4] = hash.first_chunk().expect("a SHA-256 has 32 bytes");
        let bits = u32::from_be_bytes(*first) >> (32 - u32::from(depth.min(32)));
        usize::try_from(bits).unwrap_or(usize::MAX)
    }
}

/// A cell as a device's column keeps it: SQLite makes numbers of texts that look like one, and
/// whole numbers of reals, where the column is declared so. Canonical values stay as they are.
fn kept(kind: Type, cell: ValueRef<'_>) -> ValueRef<'_> {
    if kind.accepts(cell) {
        return cell;
    }
    match (kind.sqlite(), cell) {
        ("INTEGER", ValueRef::Real(x)) => whole(x),
        ("INTEGER", ValueRef::Text(text)) => match (integer(text), number(text)) {
            (Some(n), _) => ValueRef::Integer(n),
            (None, Some(x)) => whole(x),
            (None, None) => cell,
        },
        ("REAL", ValueRef::Integer(n)) => ValueRef::Real(n as f64),
        ("REAL", ValueRef::Text(text)) => number(text).map_or(cell, ValueRef::Real),
        _ => cell,
    }
}

/// A whole real as an integer; another one as it is.
fn whole(x: f64) -> ValueRef<'static> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    match x.fract() == 0.0 && (-LIMIT..LIMIT).contains(&x) {
        true => ValueRef::Integer(x as i64),
        false => ValueRef::Real(x),
    }
}

fn integer(text: &str) -> Option<i64> {
    text.trim_matches(is_blank).parse().ok()
}

/// The number that a text is to SQLite, if the whole of it is one.
fn number(text: &str) -> Option<f64> {
    let text = text.trim_matches(is_blank);
    let is_plain = |c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E');
    let has_digit = text.contains(|c: char| c.is_ascii_digit());
    (has_digit && text.chars().all(is_plain)).then(|| text.parse().ok())?
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Attribute, Identifier, Pattern};

    fn entity(scope: &[usize]) -> Entity {
        let attributes = vec![
            Attribute::new("id", Type::Integer),
            Attribute::new("text", Type::Text),
        ];
        let (pattern, identifier) = (Pattern::ReadOnly, Identifier::Natural);
        Entity {
            scope: scope.to_vec(),
            ..Entity::new("visit", pattern, identifier, 1, attributes)
        }
    }

    fn hash(entity: &Entity, id: i64, text: &str, brought: &[Option<i64>]) -> RowHash {
        let cells = [ValueRef::Integer(id), ValueRef::Text(text)];
        RowHasher::new(entity).row(cells.into_iter(), brought)
    }

    #[test]
    fn p5_every_cell_and_every_way_in_counts() {
        let plain = entity(&[]);
        let scoped = entity(&[1, 2]);
        let rows = [
            hash(&plain, 1, "a", &[]),
            hash(&plain, 1, "b", &[]),
            hash(&plain, 2, "a", &[]),
            hash(&scoped, 1, "a", &[Some(1), None, None]),
            hash(&scoped, 1, "a", &[Some(2), None, None]),
            hash(&scoped, 1, "a", &[Some(1), Some(1), Some(2)]),
            hash(&scoped, 1, "a", &[None, Some(1), Some(2)]),
        ];
        for (at, row) in rows.iter().enumerate() {
            assert!(!rows[..at].contains(row), "{at}");
        }
        let half = hash(&scoped, 1, "a", &[Some(1), None, Some(2)]);
        assert_eq!(half, rows[3], "half a way brings nothing");
    }

    #[test]
    fn sums_do_not_depend_on_the_order() {
        let entity = entity(&[]);
        let rows: Vec<_> = (0..50).map(|id| hash(&entity, id, "x", &[])).collect();
        let (mut there, mut back) = (Sum::default(), Sum::default());
        rows.iter().for_each(|row| there.add(row));
        rows.iter().rev().for_each(|row| back.add(row));
        assert_eq!(there, back);
        back.add(&rows[0]);
        back.add(&rows[0]);
        assert_ne!(there.sum, back.sum, "a row that stands twice more is seen");
    }

    #[test]
    fn a_deeper_bucket_lies_in_the_one_above() {
        let entity = entity(&[]);
        let mut hasher = RowHasher::new(&entity);
        let mut used = std::collections::HashSet::new();
        for id in 0..500 {
            let mut at = |depth| hasher.bucket([ValueRef::Integer(id)].into_iter(), depth);
            assert_eq!(at(0), 0);
            assert_eq!(at(12) >> 8, at(4));
            used.insert(at(4));
        }
        assert_eq!(used.len(), 16);
    }

    #[test]
    fn cells_count_as_a_device_keeps_them() {
        for (kind, cell, expected) in [
            (Type::Integer, ValueRef::Text("7"), ValueRef::Integer(7)),
            (Type::Integer, ValueRef::Text(" 7.0 "), ValueRef::Integer(7)),
            (Type::Integer, ValueRef::Text("7a"), ValueRef::Text("7a")),
            (Type::Integer, ValueRef::Text(""), ValueRef::Text("")),
            (Type::Integer, ValueRef::Text("0x7"), ValueRef::Text("0x7")),
            (Type::Integer, ValueRef::Text("inf"), ValueRef::Text("inf")),
            (Type::Integer, ValueRef::Real(2.0), ValueRef::Integer(2)),
            (Type::Integer, ValueRef::Real(2.5), ValueRef::Real(2.5)),
            (Type::Boolean, ValueRef::Text("1e1"), ValueRef::Integer(10)),
            (Type::Real, ValueRef::Integer(7), ValueRef::Real(7.0)),
            (Type::Real, ValueRef::Text("1.5"), ValueRef::Real(1.5)),
            (Type::Real, ValueRef::Text("NaN"), ValueRef::Text("NaN")),
            (Type::Bytes, ValueRef::Integer(7), ValueRef::Integer(7)),
            (Type::Text, ValueRef::Text("7"), ValueRef::Text("7")),
        ] {
            assert_eq!(kept(kind, cell), expected, "{kind} {cell:?}");
        }
    }
}
