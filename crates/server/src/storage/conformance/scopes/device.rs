//! A device of one user that pulls entities with a scope, and watches every frame.

use std::collections::{BTreeMap, BTreeSet};

use afield_protocol::codec::Malformed;
use afield_protocol::{Cell, Code, Frame, Held, Position, Value};

use super::super::replica::key_bytes;
use super::super::{Database, Rows, digests};
use super::schema::{Holdings, SCOPED};
use crate::storage::{Caller, PullRequest, PulledPage};

/// Identifiers by entity.
type Keys = BTreeMap<String, BTreeSet<Vec<u8>>>;

/// A row, and the numbers of the ways in by which it came.
type Brought = (Vec<Value>, Vec<Option<i64>>);

/// What is kept of an entity: rows, and the numbers of the ways in by which each came.
#[derive(Clone, Debug, Default)]
struct Table {
    rows: BTreeMap<Vec<u8>, Brought>,
    values: BTreeSet<i64>,
}

/// A device that pulls, the promises in its hand.
#[derive(Clone, Debug)]
pub struct ScopedDevice {
    /// Whose it is.
    pub caller: Caller,
    tables: BTreeMap<String, Table>,
    /// Its position in each entity.
    pub positions: BTreeMap<String, Position>,
    /// How many entities started over.
    pub resets: usize,
    /// How many rows and gone identifiers came.
    pub delivered: usize,
    /// How often the server asked what the device has.
    pub asked: usize,
    /// How many values were told.
    pub told: usize,
    /// Whether each row that is told as gone must have been the user's at the end of some
    /// transaction: one that a single transaction puts into a scope and takes out again is told
    /// as well, since marks do not know where a transaction ends.
    pub is_strict: bool,
    /// Which identifiers the user was ever entitled to see.
    entitled: Keys,
    /// Everything that the user held when he pulled.
    once: Holdings,
}

impl ScopedDevice {
    /// A device of this user, whose token may claim a team.
    pub fn of(user: &str, team: Option<&str>) -> Self {
        let mut caller = Caller::user(user);
        if let Some(team) = team {
            caller.claims.insert("team".into(), team.into());
        }
        Self {
            caller,
            tables: BTreeMap::new(),
            positions: BTreeMap::new(),
            resets: 0,
            delivered: 0,
            asked: 0,
            told: 0,
            is_strict: true,
            entitled: Keys::new(),
            once: Holdings::default(),
        }
    }

    fn holdings(&self, db: &dyn Database) -> Holdings {
        let team = self.caller.claims.get("team");
        Holdings::of(db, &self.caller.user, team.and_then(|team| team.as_str()))
    }

    /// Notes which rows the user may know of now; called after every write.
    pub fn note(&mut self, db: &dyn Database) {
        let mut holdings = self.holdings(db);
        // What he held at some pull may have gone and come again since, unnoticed.
        holdings.and(&self.once);
        let is_there = |entity: &&str| db.model().entity(entity).is_some();
        for entity in SCOPED.into_iter().filter(is_there) {
            let rows = in_scope(db, entity, &holdings);
            self.entitled
                .entry(entity.to_owned())
                .or_default()
                .extend(rows.into_keys());
        }
    }

    /// What it holds of an entity.
    pub fn rows(&self, entity: &str) -> Rows {
        let rows = self.tables.get(entity).map(|table| &table.rows);
        let rows = rows.into_iter().flatten();
        rows.map(|(key, (row, _))| (key.clone(), row.clone()))
            .collect()
    }

    /// What it holds of an entity, with the numbers of the ways in.
    pub(super) fn held_rows(&self, entity: &str) -> Vec<Brought> {
        let tables = self.tables.get(entity).into_iter();
        tables
            .flat_map(|table| table.rows.values().cloned())
            .collect()
    }

    /// Pulls until a page is complete, and compares with the tables.
    pub fn pull(&mut self, db: &dyn Database, entities: &[&str], rows_max: usize) {
        for _ in 0..10_000 {
            if self.page(db, entities, rows_max).end.complete {
                return;
            }
        }
        panic!("the pull of {entities:?} never ends");
    }

    /// Fails unless it has exactly what is in the user's scope, as it is.
    pub fn must_be_up_to_date<'e>(
        &self,
        db: &dyn Database,
        entities: impl Iterator<Item = &'e str>,
    ) {
        let holdings = self.holdings(db);
        entities.for_each(|entity| self.assert_exact(db, entity, &holdings));
    }

    /// Pulls one page and applies it; if it is complete, the device must hold exactly the rows in
    /// the user's scope.
    pub fn page(&mut self, db: &dyn Database, entities: &[&str], rows_max: usize) -> PulledPage {
        self.note(db);
        let request = self.request(entities, rows_max);
        let mut page = match db.storage().pull(db.model(), &request) {
            Ok(page) => page,
            Err(error) if error.code == Code::HELD_WANTED => {
                self.asked += 1;
                let held = self.held(entities);
                let request = PullRequest { held, ..request };
                let page = db.storage().pull(db.model(), &request);
                page.expect("the device said what it has")
            }
            Err(error) => panic!("the pull fails: {error}"),
        };
        self.apply(db, &page);
        digests::check(db, entities, &page, |entity| self.held_rows(entity));
        page.frames.retain(|frame| !digests::is_digest(frame));
        let holdings = self.holdings(db);
        if page.end.complete {
            for entity in entities {
                self.assert_exact(db, entity, &holdings);
            }
        }
        self.once.and(&holdings);
        page
    }

    /// What it asks for.
    pub fn request(&self, entities: &[&str], rows_max: usize) -> PullRequest {
        let positions = entities.iter();
        let positions =
            positions.map(|name| ((*name).to_owned(), self.positions.get(*name).cloned()));
        PullRequest {
            caller: self.caller.clone(),
            held: Vec::new(),
            now: 1_000,
            chosen: Vec::new(),
            entities: positions.collect(),
            rows_max,
            bytes_max: usize::MAX,
            compare: digests::asking(entities),
        }
    }

    /// What it says that it has.
    pub fn held(&self, entities: &[&str]) -> Vec<Held> {
        let held = |entity: &&str| Held {
            entity: (*entity).to_owned(),
            gained: (self.tables.get(*entity))
                .map(|table| table.values.iter().copied().collect())
                .unwrap_or_default(),
            lost: Vec::new(),
        };
        entities.iter().map(held).collect()
    }

    /// Applies a page, every frame of which must be the user's.
    pub fn apply(&mut self, db: &dyn Database, page: &PulledPage) {
        let [Frame::Page(head), content @ .., Frame::PageEnd(end)] = page.frames.as_slice() else {
            panic!("a page begins with `page` and ends with `page-end`");
        };
        assert_eq!(end, &page.end);
        for entity in &head.reset {
            self.tables.remove(entity);
            self.resets += 1;
        }
        for frame in content {
            match frame {
                Frame::Rows(block) => {
                    let mine = in_scope(db, &block.entity, &self.holdings(db));
                    for (row, numbers) in rows_of(db, block) {
                        let width = db.model().entity(&block.entity).unwrap().local.key_width;
                        let key = key_bytes(&row[..width]);
                        assert_eq!(mine.get(&key), Some(&row), "p7: {}", block.entity);
                        assert!(is_in(db, &block.entity, &numbers), "a row without a way in");
                        let table = self.tables.entry(block.entity.clone()).or_default();
                        table.rows.insert(key, (row, numbers));
                        self.delivered += 1;
                    }
                }
                Frame::Gone { entity, keys } => {
                    let entitled = self.entitled.get(entity);
                    let table = self.tables.entry(entity.clone()).or_default();
                    for key in keys.iter().map(|key| key_bytes(key)) {
                        let was_mine = entitled.is_some_and(|keys| keys.contains(&key));
                        let was_mine = was_mine || !self.is_strict;
                        assert!(was_mine, "p7: {entity} {key:?} never was the user's");
                        table.rows.remove(&key);
                        self.delivered += 1;
                    }
                }
                Frame::Held(held) => self.take(db, held),
                other => assert!(digests::is_digest(other), "no part of a page: {other:?}"),
            }
        }
        self.positions.extend(end.to.iter().cloned());
    }

    /// A lost value goes from every row that is here, and with the last way in the row.
    fn take(&mut self, db: &dyn Database, held: &Held) {
        self.told += held.gained.len() + held.lost.len();
        let table = self.tables.entry(held.entity.clone()).or_default();
        for number in &held.lost {
            table.values.remove(number);
        }
        table.values.extend(&held.gained);
        for (_, numbers) in table.rows.values_mut() {
            for number in numbers.iter_mut() {
                *number = number.filter(|number| !held.lost.contains(number));
            }
        }
        (table.rows).retain(|_, (_, numbers)| is_in(db, &held.entity, numbers));
    }

    fn assert_exact(&self, db: &dyn Database, entity: &str, holdings: &Holdings) {
        let expected = in_scope(db, entity, holdings);
        let user = &self.caller.user;
        assert_eq!(self.rows(entity), expected, "{entity} of {user} differs");
        let Some(table) = self.tables.get(entity) else {
            return;
        };
        for (row, numbers) in table.rows.values() {
            let known = numbers.iter().flatten().all(|n| table.values.contains(n));
            assert!(
                known,
                "{entity}: {row:?} came by a value that was never told"
            );
        }
    }
}

/// Whether one way in is left, going by the numbers that stand with a row.
fn is_in(db: &dyn Database, entity: &str, numbers: &[Option<i64>]) -> bool {
    let mut left = numbers;
    let widths = &db.model().entity(entity).unwrap().local.scope;
    widths.iter().any(|width| {
        let (way, rest) = left.split_at(*width);
        left = rest;
        way.iter().all(Option::is_some)
    })
}

/// The rows of a block, and the numbers behind each.
fn rows_of(db: &dyn Database, block: &afield_protocol::RowBlock) -> Vec<Brought> {
    let local = &db.model().entity(&block.entity).unwrap().local;
    let names: Vec<String> = local.columns().into_iter().map(|(name, _)| name).collect();
    assert_eq!(block.columns, names);
    let mut found = Vec::new();
    let read = block.for_each(|cells| {
        let values = cells.iter().map(|cell| Cell::as_ref(cell).to_value());
        let mut row: Vec<Value> = values.collect();
        let numbers = row.split_off(local.attributes.len());
        let number = |value| match value {
            Value::Integer(number) => Some(number),
            Value::Null => None,
            other => panic!("no number of a value: {other:?}"),
        };
        found.push((row, numbers.into_iter().map(number).collect()));
        Ok::<(), Malformed>(())
    });
    read.expect("the block reads");
    found
}

/// The rows of an entity that are in a scope, by plain SQL.
fn in_scope(db: &dyn Database, entity: &str, holdings: &Holdings) -> Rows {
    let server = db.model().entity(entity).unwrap();
    let columns: Vec<&str> = server.columns.iter().map(|c| c.name.as_str()).collect();
    let sql = format!(
        "SELECT {} FROM {} WHERE {}",
        columns.join(", "),
        server.table,
        holdings.condition(entity)
    );
    let width = server.local.key_width;
    let rows = db.query(&sql).into_iter();
    rows.map(|row| (key_bytes(&row[..width]), row)).collect()
}
