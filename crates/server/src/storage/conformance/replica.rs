//! A device as far as pulls are concerned: what it holds, and from where it goes on.

use std::collections::BTreeMap;

use afield_protocol::codec::{Malformed, cbor};
use afield_protocol::limits::ROWS_FRAME_BYTES;
use afield_protocol::{Cell, Frame, Position, Value};

use super::{Database, digests};
use crate::storage::{Compare, PullRequest, PulledPage};

/// Rows by the bytes of their identifier.
pub type Rows = BTreeMap<Vec<u8>, Vec<Value>>;

/// Pages after which a pull that is not complete counts as one that never ends.
const PAGES_MAX: usize = 100_000;

/// A device that pulls.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    tables: BTreeMap<String, Rows>,
    /// Its position in each entity.
    pub positions: BTreeMap<String, Position>,
    /// How many entities started over so far.
    pub resets: usize,
    /// How many rows and gone identifiers came so far.
    pub delivered: usize,
    /// How many pages came so far.
    pub pages: usize,
    /// Whether it asks for no digests: of rows that are one row to a device they always differ.
    is_blind: bool,
}

static NONE: Rows = Rows::new();

/// The bytes of an identifier.
pub(super) fn key_bytes(key: &[Value]) -> Vec<u8> {
    cbor::write_key(key)
}

impl Replica {
    /// One that is held against no digests.
    pub fn blind() -> Self {
        Self {
            is_blind: true,
            ..Self::default()
        }
    }

    /// What it holds of an entity.
    pub fn rows(&self, entity: &str) -> &Rows {
        self.tables.get(entity).unwrap_or(&NONE)
    }

    /// Pulls until a page is complete.
    pub fn pull(&mut self, db: &dyn Database, entities: &[&str], rows_max: usize) {
        self.pull_while(db, entities, rows_max, |_| {});
    }

    /// Pulls until a page is complete, and lets something happen after each page before that.
    pub fn pull_while(
        &mut self,
        db: &dyn Database,
        entities: &[&str],
        rows_max: usize,
        mut between: impl FnMut(usize),
    ) {
        for page in 0..PAGES_MAX {
            if self.page(db, entities, rows_max, usize::MAX).end.complete {
                return;
            }
            between(page);
        }
        panic!("the pull of {entities:?} never ends");
    }

    /// Pulls one page and applies it.
    pub fn page(
        &mut self,
        db: &dyn Database,
        entities: &[&str],
        rows_max: usize,
        bytes_max: usize,
    ) -> PulledPage {
        let from: Vec<(String, Option<Position>)> = entities
            .iter()
            .map(|name| ((*name).to_owned(), self.positions.get(*name).cloned()))
            .collect();
        let request = PullRequest {
            caller: crate::storage::Caller::user("ada"),
            held: Vec::new(),
            now: 1_000,
            chosen: Vec::new(),
            entities: from.clone(),
            rows_max,
            bytes_max,
            compare: match self.is_blind {
                true => Compare::default(),
                false => digests::asking(entities),
            },
        };
        let page = db
            .storage()
            .pull(db.model(), &request)
            .expect("the pull works");
        let [Frame::Page(head), content @ .., Frame::PageEnd(end)] = page.frames.as_slice() else {
            panic!("a page begins with `page` and ends with `page-end`");
        };
        assert_eq!((&head.from, end), (&from, &page.end));
        for entity in &head.reset {
            assert!(
                self.positions.contains_key(entity),
                "{entity} had no position to lose"
            );
            self.tables.remove(entity);
            self.resets += 1;
        }
        let before = self.delivered;
        for frame in content {
            self.apply(db, frame);
        }
        assert!(
            self.delivered - before <= rows_max.max(1),
            "more rows than the page may have"
        );
        let pulled: Vec<&String> = end.to.iter().map(|(entity, _)| entity).collect();
        assert_eq!(
            pulled,
            from.iter().map(|(entity, _)| entity).collect::<Vec<_>>()
        );
        self.positions.extend(end.to.iter().cloned());
        if !self.is_blind {
            digests::check(db, entities, &page, |entity| {
                let rows = self.rows(entity).values();
                rows.map(|row| (row.clone(), Vec::new())).collect()
            });
        }
        self.pages += 1;
        page
    }

    fn apply(&mut self, db: &dyn Database, frame: &Frame) {
        match frame {
            Frame::Rows(block) => {
                let entity = db.model().entity(&block.entity).unwrap();
                let key_width = entity.local.key_width;
                let rows = self.tables.entry(block.entity.clone()).or_default();
                let mut bytes = 0;
                block
                    .for_each(|cells| {
                        let values: Vec<Value> = cells
                            .iter()
                            .map(|cell| Cell::as_ref(cell).to_value())
                            .collect();
                        bytes += values.iter().map(Value::size).sum::<usize>();
                        let key = key_bytes(values.get(..key_width).unwrap());
                        rows.insert(key, values);
                        Ok::<(), Malformed>(())
                    })
                    .expect("the block reads");
                assert!(
                    block.count == 1 || bytes <= 2 * ROWS_FRAME_BYTES,
                    "frame of {bytes} B"
                );
                self.delivered += block.count;
            }
            Frame::Gone { entity, keys } => {
                let rows = self.tables.entry(entity.clone()).or_default();
                for key in keys {
                    rows.remove(&key_bytes(key));
                }
                self.delivered += keys.len();
            }
            other => assert!(digests::is_digest(other), "no part of a page: {other:?}"),
        }
    }
}
