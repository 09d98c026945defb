//! What plain SQL says of every committed state: whose each row is, and who may know which mark.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::Path;

use afield_server::storage::Caller;
use rusqlite::{Connection, OpenFlags};

use crate::model::{Entity, Model, Scope};
use crate::oracle;
use crate::schema::Schema;
use crate::text::marks_in;
use crate::wrong::Done;

/// Rows by their keys, both as text.
pub(crate) type Rows = BTreeMap<String, String>;

/// The observer of the server's database.
pub(crate) struct Watch {
    conn: Connection,
    /// For each table all its rows.
    pub(crate) tables: Vec<Rows>,
    /// For each user and entity the rows that are his.
    pub(crate) views: Vec<Vec<Rows>>,
    /// For each user the marks that were ever in a row of his.
    allowed: Vec<HashSet<u32>>,
    /// The rows, as table and key, that each mark was ever in.
    homes: HashMap<u32, BTreeSet<(usize, String)>>,
    /// For each user and entity the keys of rows that were ever his.
    known: Vec<Vec<HashSet<String>>>,
    /// For each device the marks that its user typed there.
    typed: Vec<HashSet<u32>>,
    /// For each device the rows that its user deleted there: its history may show them.
    deleted: Vec<HashSet<(usize, String)>>,
}

impl Watch {
    pub(crate) fn new(
        path: &Path,
        (users, devices, entities): (usize, usize, usize),
    ) -> Done<Self> {
        let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        conn.set_prepared_statement_cache_capacity(256);
        Ok(Self {
            conn,
            tables: Vec::new(),
            views: Vec::new(),
            allowed: vec![HashSet::new(); users],
            homes: HashMap::new(),
            known: vec![vec![HashSet::new(); entities]; users],
            typed: vec![HashSet::new(); devices],
            deleted: vec![HashSet::new(); devices],
        })
    }

    /// Looks at what is committed now.
    pub(crate) fn look(&mut self, schema: &Schema, model: &Model, callers: &[Caller]) -> Done {
        self.tables.clear();
        for table in 0..schema.tables.len() {
            let mut found = Rows::new();
            let mut statement = self.conn.prepare_cached(&oracle::all_rows(schema, table))?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let (key, mark): (String, Option<String>) = (row.get(0)?, row.get(2)?);
                for mark in marks_in(mark.unwrap_or_default().as_bytes()) {
                    let homes = self.homes.entry(mark).or_default();
                    homes.insert((table, key.clone()));
                }
                found.insert(key, row.get(1)?);
            }
            self.tables.push(found);
        }
        self.views.clear();
        for (user, caller) in callers.iter().enumerate() {
            let mut views = Vec::new();
            for (place, entity) in model.entities.iter().enumerate() {
                let sql = oracle::rows_of(schema, entity, caller);
                let mut found = Rows::new();
                let mut statement = self.conn.prepare_cached(&sql)?;
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    let (key, shown): (String, String) = (row.get(0)?, row.get(1)?);
                    for mark in marks_in(shown.as_bytes()) {
                        self.allowed[user].insert(mark);
                        let homes = self.homes.entry(mark).or_default();
                        homes.insert((entity.table, key.clone()));
                    }
                    self.known[user][place].insert(key.clone());
                    found.insert(key, shown);
                }
                views.push(found);
            }
            self.views.push(views);
        }
        Ok(())
    }

    /// Whether a row was ever this user's.
    pub(crate) fn knows(&self, user: usize, entity: usize, key: &str) -> bool {
        self.known[user][entity].contains(key)
    }

    /// The keys of the rows that a rule lets a caller write now.
    pub(crate) fn keys_for(
        &self,
        schema: &Schema,
        entity: &Entity,
        rule: &Scope,
        caller: &Caller,
    ) -> Done<HashSet<String>> {
        let sql = oracle::keys_for(schema, entity, rule, caller);
        let mut statement = self.conn.prepare_cached(&sql)?;
        let keys = statement.query_map([], |row| row.get(0))?;
        Ok(keys.collect::<Result<_, _>>()?)
    }

    /// A user typed a mark on a device.
    pub(crate) fn typed(&mut self, device: usize, mark: u32) {
        self.typed[device].insert(mark);
    }

    /// A user deleted a row on a device.
    pub(crate) fn deleted(&mut self, device: usize, table: usize, key: String) {
        self.deleted[device].insert((table, key));
    }

    /// A mark in these bytes that neither was ever in a row of this user's, nor typed here.
    pub(crate) fn foreign(&self, user: usize, device: usize, bytes: &[u8]) -> Option<u32> {
        let mut marks = marks_in(bytes).into_iter();
        marks.find(|mark| !self.allowed[user].contains(mark) && !self.is_typed(device, *mark))
    }

    /// A mark in these bytes of rows that have left this user, was not typed here, and is of no
    /// row whose changes are on their way.
    pub(crate) fn left(
        &self,
        model: &Model,
        is_meant: impl Fn(&Entity) -> bool,
        (user, device): (usize, usize),
        on_their_way: &HashSet<(usize, String)>,
        bytes: &[u8],
    ) -> Option<u32> {
        let is_here = |home: &(usize, String)| {
            let (table, key) = home;
            if self.deleted[device].contains(home) || on_their_way.contains(home) {
                return true;
            }
            let mut views = model.entities.iter().zip(&self.views[user]);
            views.any(|(entity, rows)| entity.table == *table && rows.contains_key(key))
        };
        let is_of_meant = |(table, _): &(usize, String)| {
            let mut entities = model.entities.iter();
            entities.any(|entity| entity.table == *table && is_meant(entity))
        };
        let mut marks = marks_in(bytes).into_iter();
        marks.find(|mark| {
            let homes = || self.homes.get(mark).into_iter().flatten();
            let is_excused = self.is_typed(device, *mark) || homes().any(is_here);
            !is_excused && homes().all(is_of_meant)
        })
    }

    fn is_typed(&self, device: usize, mark: u32) -> bool {
        self.typed[device].contains(&mark)
    }
}
