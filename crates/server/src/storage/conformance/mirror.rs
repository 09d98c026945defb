//! A device that pulls any entity, with a scope or without, and holds what it is sent.

use std::collections::{BTreeMap, BTreeSet};

use afield_protocol::codec::Malformed;
use afield_protocol::{Cell, Code, Frame, Held, Position, Value, Window};

use super::replica::key_bytes;
use super::{Database, Rows, digests};
use crate::storage::{Caller, PullRequest, PulledPage};

/// A row without its numbers, and those.
type Brought = (Vec<Value>, Vec<Option<i64>>);

/// A device of one user.
#[derive(Clone, Debug)]
pub struct Mirror {
    /// Whose it is.
    pub caller: Caller,
    rows: BTreeMap<String, BTreeMap<Vec<u8>, Brought>>,
    values: BTreeMap<String, BTreeSet<i64>>,
    /// Its position in each entity.
    pub positions: BTreeMap<String, Position>,
    /// Entities that started over, each time.
    pub resets: Vec<String>,
    /// Rows that came, and identifiers of rows that are gone.
    pub delivered: usize,
    /// The server's clock when this device asks.
    pub now: i64,
    /// Which rows stay, as it was last told.
    pub windows: BTreeMap<String, Window>,
}

impl Mirror {
    /// One that holds nothing yet.
    pub fn of(caller: &Caller) -> Self {
        Self {
            caller: caller.clone(),
            rows: BTreeMap::new(),
            values: BTreeMap::new(),
            positions: BTreeMap::new(),
            resets: Vec::new(),
            delivered: 0,
            now: 1_000,
            windows: BTreeMap::new(),
        }
    }

    /// What it holds of an entity, by identifier.
    pub fn rows(&self, entity: &str) -> Rows {
        let rows = self.rows.get(entity).into_iter().flatten();
        rows.map(|(key, (row, _))| (key.clone(), row.clone()))
            .collect()
    }

    /// The first cells of the rows that it holds, in the order of their identifiers.
    pub fn keys(&self, entity: &str) -> Vec<Value> {
        let rows = self.rows(entity).into_values();
        rows.filter_map(|row| row.into_iter().next()).collect()
    }

    /// Pulls until a page is complete.
    ///
    /// # Panics
    /// As with a page, or there is no end.
    pub fn pull(&mut self, db: &dyn Database, entities: &[&str], rows_max: usize) {
        for _ in 0..10_000 {
            if self.page(db, entities, rows_max).end.complete {
                return;
            }
        }
        panic!("the pull of {entities:?} never ends");
    }

    /// Pulls one page and applies it.
    ///
    /// # Panics
    /// The pull fails, or a complete page's digests are others than of what it holds.
    pub fn page(&mut self, db: &dyn Database, entities: &[&str], rows_max: usize) -> PulledPage {
        let position = |name: &&str| ((*name).to_owned(), self.positions.get(*name).cloned());
        let request = PullRequest {
            caller: self.caller.clone(),
            held: Vec::new(),
            now: self.now,
            chosen: Vec::new(),
            entities: entities.iter().map(position).collect(),
            rows_max,
            bytes_max: usize::MAX,
            compare: digests::asking(entities),
        };
        let page = match db.storage().pull(db.model(), &request) {
            Err(error) if error.code == Code::HELD_WANTED => {
                let held = self.held();
                let request = PullRequest { held, ..request };
                db.storage().pull(db.model(), &request)
            }
            page => page,
        };
        let page = page.expect("the pull works");
        self.apply(db, &page);
        digests::check(db, entities, &page, |entity| {
            let rows = self.rows.get(entity).into_iter();
            rows.flat_map(|rows| rows.values().cloned()).collect()
        });
        page
    }

    fn held(&self) -> Vec<Held> {
        let held = |(entity, values): (&String, &BTreeSet<i64>)| Held {
            entity: entity.clone(),
            gained: values.iter().copied().collect(),
            lost: Vec::new(),
        };
        self.values.iter().map(held).collect()
    }

    fn apply(&mut self, db: &dyn Database, page: &PulledPage) {
        for frame in &page.frames {
            match frame {
                Frame::Page(head) => {
                    for entity in &head.reset {
                        self.rows.remove(entity);
                        self.values.remove(entity);
                    }
                    self.resets.extend(head.reset.iter().cloned());
                }
                Frame::Rows(block) => {
                    let local = &db.model().entity(&block.entity).unwrap().local;
                    let rows = self.rows.entry(block.entity.clone()).or_default();
                    let read = block.for_each(|cells| {
                        let cells = cells.iter().map(|cell| Cell::as_ref(cell).to_value());
                        let mut row: Vec<Value> = cells.collect();
                        let numbers = row.split_off(local.attributes.len());
                        let key = key_bytes(&row[..local.key_width]);
                        rows.insert(key, (row, numbers.iter().map(number).collect()));
                        Ok::<(), Malformed>(())
                    });
                    read.expect("the block reads");
                    self.delivered += block.count;
                }
                Frame::Gone { entity, keys } => {
                    let rows = self.rows.entry(entity.clone()).or_default();
                    for key in keys {
                        rows.remove(&key_bytes(key));
                    }
                    self.delivered += keys.len();
                }
                Frame::Held(held) => self.take(db, held),
                Frame::Window(window) => self.told(&page.frames, window),
                Frame::PageEnd(end) => self.positions.extend(end.to.iter().cloned()),
                other => assert!(digests::is_digest(other), "no part of a page: {other:?}"),
            }
        }
        self.evict(db);
    }

    /// A window is told in front of all rows, and time does not go back but for a fresh start.
    fn told(&mut self, frames: &[Frame], window: &Window) {
        let at = |is: &dyn Fn(&Frame) -> bool| frames.iter().position(is);
        let first_row = at(&|frame| matches!(frame, Frame::Rows(_) | Frame::Gone { .. }));
        let this = at(&|frame| matches!(frame, Frame::Window(it) if it == window));
        assert!(
            first_row.is_none() || this < first_row,
            "{window:?} behind rows"
        );
        let last = self.windows.insert(window.entity.clone(), window.clone());
        if let Some(last) = last {
            assert!(last.bound <= window.bound, "{last:?} went back: {window:?}");
        }
    }

    /// Rows that do not stay leave when all else of a page was applied.
    fn evict(&mut self, db: &dyn Database) {
        for (entity, window) in &self.windows {
            let local = &db.model().entity(entity).unwrap().local;
            let mut names = local.attributes.iter();
            let at = names.position(|attribute| attribute.name == window.attribute);
            let rows = self.rows.entry(entity.clone()).or_default();
            rows.retain(|_, (row, _)| window.keeps(row[at.unwrap()].as_ref()));
        }
    }

    /// A lost value goes from every row that is here, and with the last way in the row.
    fn take(&mut self, db: &dyn Database, held: &Held) {
        let values = self.values.entry(held.entity.clone()).or_default();
        values.retain(|number| !held.lost.contains(number));
        values.extend(&held.gained);
        let widths = &db.model().entity(&held.entity).unwrap().local.scope;
        let rows = self.rows.entry(held.entity.clone()).or_default();
        rows.retain(|_, (_, numbers)| {
            for number in numbers.iter_mut() {
                *number = number.filter(|number| !held.lost.contains(number));
            }
            let mut left = numbers.as_slice();
            widths.iter().any(|width| {
                let (way, rest) = left.split_at(*width);
                left = rest;
                way.iter().all(Option::is_some)
            })
        });
    }
}

fn number(value: &Value) -> Option<i64> {
    match value {
        Value::Integer(number) => Some(*number),
        _ => None,
    }
}
