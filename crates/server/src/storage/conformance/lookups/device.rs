//! A device that pulls entities with lookups, and compares each row with the tables.

use std::collections::{BTreeMap, BTreeSet};

use afield_protocol::codec::Malformed;
use afield_protocol::{Cell, Code, Frame, Held, Position, Value};

use super::super::replica::key_bytes;
use super::super::{Database, Rows, digests};
use super::schema::truth;
use crate::storage::{Caller, PullRequest, PulledPage};

/// Pages after which a pull that is not complete counts as one that never ends.
const PAGES_MAX: usize = 20_000;

/// What it has of an entity: rows with the values that brought them.
#[derive(Clone, Debug, Default)]
struct Table {
    rows: BTreeMap<Vec<u8>, (Vec<Value>, Vec<Value>)>,
    values: BTreeSet<i64>,
}

/// A device of one user.
#[derive(Clone, Debug)]
pub struct ShowingDevice {
    user: String,
    tables: BTreeMap<String, Table>,
    positions: BTreeMap<String, Position>,
    /// How many entities started over.
    pub resets: usize,
    /// How many rows came.
    pub rows: usize,
    /// How many identifiers of rows that are gone came.
    pub gone: usize,
    /// How many pages came.
    pub pages: usize,
}

impl ShowingDevice {
    /// A device that has nothing.
    pub fn of(user: &str) -> Self {
        Self {
            user: user.to_owned(),
            tables: BTreeMap::new(),
            positions: BTreeMap::new(),
            resets: 0,
            rows: 0,
            gone: 0,
            pages: 0,
        }
    }

    /// Pulls until a page is complete; lets something happen after each page before that.
    pub fn pull_while(
        &mut self,
        db: &dyn Database,
        entities: &[&str],
        rows_max: usize,
        mut between: impl FnMut(usize),
    ) {
        for page in 0..PAGES_MAX {
            if self.page(db, entities, rows_max).end.complete {
                return;
            }
            between(page);
        }
        panic!("the pull of {entities:?} never ends");
    }

    /// Pulls until a page is complete.
    pub fn pull(&mut self, db: &dyn Database, entities: &[&str], rows_max: usize) {
        self.pull_while(db, entities, rows_max, |_| {});
    }

    /// How many rows a pull brings.
    pub fn brought(&mut self, db: &dyn Database, entities: &[&str], rows_max: usize) -> usize {
        let before = self.rows;
        self.pull(db, entities, rows_max);
        self.rows - before
    }

    /// Pulls one page. Each row must be as the tables have it, and the user's; a complete page
    /// must leave exactly these rows.
    pub fn page(&mut self, db: &dyn Database, entities: &[&str], rows_max: usize) -> PulledPage {
        let positions = entities.iter();
        let positions =
            positions.map(|name| ((*name).to_owned(), self.positions.get(*name).cloned()));
        let request = PullRequest {
            now: 1_000,
            caller: Caller::user(&*self.user),
            held: Vec::new(),
            chosen: Vec::new(),
            entities: positions.collect(),
            rows_max,
            bytes_max: usize::MAX,
            compare: digests::asking(entities),
        };
        let page = match db.storage().pull(db.model(), &request) {
            Err(error) if error.code == Code::HELD_WANTED => {
                let held = entities.iter().map(|entity| self.held(entity)).collect();
                let request = PullRequest { held, ..request };
                db.storage().pull(db.model(), &request)
            }
            page => page,
        };
        let page = page.expect("the pull works");
        let before = self.rows + self.gone;
        self.apply(db, &page);
        assert!(
            self.rows + self.gone - before <= rows_max,
            "a page too large"
        );
        if page.end.complete {
            for entity in entities {
                let own = self.tables.get(*entity);
                let rows = own.into_iter().flat_map(|table| &table.rows);
                let own: Rows = rows
                    .map(|(key, row)| (key.clone(), row.0.clone()))
                    .collect();
                assert_eq!(own, self.truth(db, entity), "{entity} of {}", self.user);
            }
        }
        digests::check(db, entities, &page, |entity| {
            let number = |number: &Value| match number {
                Value::Integer(number) => Some(*number),
                _ => None,
            };
            let tables = self.tables.get(entity).into_iter();
            let rows = tables.flat_map(|table| table.rows.values());
            rows.map(|(row, numbers)| (row.clone(), numbers.iter().map(number).collect()))
                .collect()
        });
        self.pages += 1;
        page
    }

    fn held(&self, entity: &str) -> Held {
        let table = self.tables.get(entity);
        Held {
            entity: entity.to_owned(),
            gained: table.map_or_else(Vec::new, |table| table.values.iter().copied().collect()),
            lost: Vec::new(),
        }
    }

    fn truth(&self, db: &dyn Database, entity: &str) -> Rows {
        if entity == "firm" {
            return super::super::table(db, entity);
        }
        let width = db.model().entity(entity).unwrap().local.key_width;
        let rows = db.query(&truth(entity, &self.user)).into_iter();
        rows.map(|row| (key_bytes(&row[..width]), row)).collect()
    }

    fn apply(&mut self, db: &dyn Database, page: &PulledPage) {
        let [Frame::Page(head), content @ .., Frame::PageEnd(end)] = page.frames.as_slice() else {
            panic!("a page begins with `page` and ends with `page-end`");
        };
        for entity in &head.reset {
            self.tables.remove(entity);
            self.resets += 1;
        }
        for frame in content {
            match frame {
                Frame::Rows(block) => {
                    let truth = self.truth(db, &block.entity);
                    let local = &db.model().entity(&block.entity).unwrap().local;
                    let table = self.tables.entry(block.entity.clone()).or_default();
                    let read = block.for_each(|cells| {
                        let cells = cells.iter().map(|cell| Cell::as_ref(cell).to_value());
                        let mut row: Vec<Value> = cells.collect();
                        let numbers = row.split_off(local.attributes.len());
                        let key = key_bytes(&row[..local.key_width]);
                        assert_eq!(truth.get(&key), Some(&row), "p7: {}", block.entity);
                        table.rows.insert(key, (row, numbers));
                        Ok::<(), Malformed>(())
                    });
                    read.expect("the block reads");
                    self.rows += block.count;
                }
                Frame::Gone { entity, keys } => {
                    let table = self.tables.entry(entity.clone()).or_default();
                    for key in keys {
                        table.rows.remove(&key_bytes(key));
                    }
                    self.gone += keys.len();
                }
                Frame::Held(held) => self.take(held),
                other => assert!(digests::is_digest(other), "no part of a page: {other:?}"),
            }
        }
        self.positions.extend(end.to.iter().cloned());
    }

    /// Scopes of these cases have one condition: a row leaves with its one value.
    fn take(&mut self, held: &Held) {
        let table = self.tables.entry(held.entity.clone()).or_default();
        table.values.extend(&held.gained);
        for number in &held.lost {
            table.values.remove(number);
            (table.rows).retain(|_, (_, numbers)| *numbers != [Value::Integer(*number)]);
        }
    }
}
