//! Digests: what a device compares with its own rows, added up row by row. Nothing is kept of a row
//! but what it adds.

use afield_protocol::digest::{RowHasher, Sum};
use afield_protocol::limits::{PAGE_BYTES, VERIFY_COUNTED_MAX, VERIFY_ROWS_MAX};
use afield_protocol::{Digest, Entity, Frame, HashedRow, Hashes, ValueRef, Verify};

use super::page::size_at_most;

/// Bytes that a hashed row takes on the wire beside its identifier.
const HASHED_BYTES: usize = 32;

/// What may still be listed in an answer, of all entities together.
pub(super) struct Room {
    rows: usize,
    bytes: usize,
}

impl Room {
    pub(super) fn new() -> Self {
        Self {
            rows: VERIFY_ROWS_MAX,
            bytes: PAGE_BYTES,
        }
    }
}

/// The answer to one question about an entity's rows while these are gone through.
pub(super) struct Counting<'a> {
    ask: &'a Verify,
    key_width: usize,
    hasher: RowHasher<'a>,
    counted: u64,
    answer: Answer<'a>,
}

enum Answer<'a> {
    /// The sums of all buckets.
    Sums(Vec<Sum>),
    /// The rows of some of them.
    Rows {
        is_asked: Vec<bool>,
        found: Hashes,
        room: &'a mut Room,
    },
}

impl<'a> Counting<'a> {
    pub(super) fn new(entity: &'a Entity, ask: &'a Verify, room: &'a mut Room) -> Self {
        let answer = match ask.buckets.is_empty() {
            true => Answer::Sums(vec![Sum::default(); 1 << ask.depth]),
            false => {
                let mut is_asked = vec![false; 1 << ask.depth];
                for bucket in &ask.buckets {
                    let bucket = usize::try_from(*bucket).ok();
                    if let Some(asked) = bucket.and_then(|bucket| is_asked.get_mut(bucket)) {
                        *asked = true;
                    }
                }
                let found = Hashes {
                    entity: ask.entity.clone(),
                    depth: ask.depth,
                    complete: true,
                    rows: Vec::new(),
                };
                Answer::Rows {
                    is_asked,
                    found,
                    room,
                }
            }
        };
        Self {
            ask,
            key_width: entity.key_width,
            hasher: RowHasher::new(entity),
            counted: 0,
            answer,
        }
    }

    /// Takes a row's cells and the numbers that bring it; says whether to go on.
    pub(super) fn row<'r>(
        &mut self,
        cells: impl Iterator<Item = ValueRef<'r>> + Clone,
        brought: &[Option<i64>],
    ) -> bool {
        self.counted += 1;
        let goes_on = self.counted <= VERIFY_COUNTED_MAX;
        let key = || cells.clone().take(self.key_width);
        let bucket = self.hasher.bucket(key(), self.ask.depth);
        match &mut self.answer {
            Answer::Sums(sums) => {
                let hash = self.hasher.row(cells, brought);
                if let Some(sum) = sums.get_mut(bucket) {
                    sum.add(&hash);
                }
            }
            Answer::Rows {
                is_asked,
                found,
                room,
            } => {
                if !is_asked.get(bucket).copied().unwrap_or(false) {
                    return goes_on;
                }
                let bytes = HASHED_BYTES + key().map(size_at_most).sum::<usize>();
                if room.rows == 0 || bytes > room.bytes {
                    found.complete = false;
                    return false;
                }
                room.rows -= 1;
                room.bytes -= bytes;
                found.rows.push(HashedRow {
                    key: key().map(|part| part.to_value()).collect(),
                    hash: self.hasher.row(cells, brought),
                    value: brought.iter().copied().flatten().next(),
                });
            }
        }
        goes_on
    }

    /// The answer, when all rows were taken or no more were wanted.
    pub(super) fn frame(self) -> Frame {
        let is_all = self.counted <= VERIFY_COUNTED_MAX;
        match self.answer {
            Answer::Sums(sums) => Frame::Digest(Digest {
                entity: self.ask.entity.clone(),
                depth: self.ask.depth,
                sums: if is_all { sums } else { Vec::new() },
            }),
            Answer::Rows { mut found, .. } => {
                found.complete &= is_all;
                Frame::Hashes(found)
            }
        }
    }
}
