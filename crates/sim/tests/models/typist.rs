//! What users write on their devices: what is theirs, and what is not.

use fastrand::Rng;
use rusqlite::Connection;

use crate::model::Entity;
use crate::plan::Plan;
use crate::schema::{CODE, DUE, Domain, Key, MARK, NUMBER, OFF, time};
use crate::team::{is_key, key_of, some_key, some_time};
use crate::text::{literal, mark, quoted};
use crate::wrong::Done;

/// Entities that are looked at for one statement, at most.
const TRIES: usize = 6;

/// Draws statements for a device's tables as they stand.
pub(crate) struct Typist<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) device: &'a Connection,
    /// Where names of rows are found that the user was never told.
    pub(crate) server: &'a Connection,
    pub(crate) user: &'a str,
    pub(crate) rng: Rng,
    /// In seconds since 1970.
    pub(crate) now: i64,
    /// The number of the next mark.
    pub(crate) next: &'a mut u32,
}

impl Typist<'_> {
    /// A few statements.
    pub(crate) fn statements(&mut self, steps: u8) -> Done<Vec<String>> {
        let mut all = Vec::new();
        for _ in 0..steps {
            // Where an entity has no rows here, another one may.
            for _ in 0..TRIES {
                if let Some(statement) = self.statement()? {
                    all.push(statement);
                    break;
                }
            }
        }
        Ok(all)
    }

    fn statement(&mut self) -> Done<Option<String>> {
        let at = self.rng.usize(..self.plan.model.entities.len());
        let entity = &self.plan.model.entities[at];
        if !entity.is_written() && self.rng.u8(..8) > 0 {
            return Ok(None);
        }
        match self.rng.u8(..10) {
            0 | 1 => self.insert(entity).map(Some),
            2..=8 => self.update(entity),
            _ => self.delete(entity),
        }
    }

    fn insert(&mut self, entity: &Entity) -> Done<String> {
        let schema = &self.plan.schema;
        let table = &schema.tables[entity.table];
        *self.next += 1;
        let n = *self.next;
        // Sometimes a name that somebody else's row has.
        let taken = match self.rng.u8(..12) {
            0 => key_of(self.server, schema, entity.table, &mut self.rng)?,
            _ => None,
        };
        let key = match (table.key, taken) {
            (Key::Numbered, _) => Vec::new(),
            (_, Some(key)) => table.key_columns().into_iter().zip(key).collect(),
            (Key::Integer, _) => vec![("id".to_owned(), (1000 + n).to_string())],
            (Key::Text, _) => vec![("id".to_owned(), literal(&format!("d{n}")))],
            (Key::Uuid, _) => {
                let uuid = format!("11111111-0000-4000-8000-{n:012x}");
                vec![("id".to_owned(), literal(&uuid))]
            }
            (Key::Pair, _) => vec![
                ("k".to_owned(), literal(&format!("k{}", n % 4))),
                ("nr".to_owned(), n.to_string()),
            ],
            (Key::Part, _) => vec![("nr".to_owned(), n.to_string())],
        };
        let mut cells: Vec<(String, String)> = key;
        // Mostly a row like one that is here, which makes it the user's too.
        let like = match self.rng.u8(..4) {
            0 => None,
            _ => self.one(entity)?,
        };
        for (local, column) in entity.columns(schema) {
            let is_own = [MARK, CODE, "id"].contains(&column.as_str());
            if let Some(like) = &like
                && !is_own
                && !cells.iter().any(|(known, _)| *known == local)
            {
                let (name, table) = (quoted(&local), quoted(&entity.name));
                let sql = format!("SELECT quote({name}) FROM {table} WHERE {like}");
                cells.push((local, self.device.query_row(&sql, [], |row| row.get(0))?));
                continue;
            }
            if !cells.iter().any(|(known, _)| *known == local)
                && let Some(value) = self.value(entity, &column)?
            {
                cells.push((local, value));
            }
        }
        let columns: Vec<String> = cells.iter().map(|(name, _)| quoted(name)).collect();
        let values: Vec<String> = cells.into_iter().map(|(_, value)| value).collect();
        Ok(format!(
            "INSERT INTO {} ({}) VALUES ({})",
            quoted(&entity.name),
            columns.join(", "),
            values.join(", ")
        ))
    }

    fn update(&mut self, entity: &Entity) -> Done<Option<String>> {
        let Some(condition) = self.one(entity)? else {
            return Ok(None);
        };
        let mut sets = Vec::new();
        for _ in 0..self.rng.usize(1..3) {
            let (local, column) = &entity.attributes[self.rng.usize(..entity.attributes.len())];
            // Rarely what decides whose the row is.
            if ![MARK, NUMBER, CODE, DUE].contains(&column.as_str()) && self.rng.u8(..3) > 0 {
                continue;
            }
            if let Some(value) = self.value(entity, column)? {
                let set = format!("{} = {value}", quoted(local));
                if !sets.contains(&set) {
                    sets.push(set);
                }
            }
        }
        if sets.is_empty() {
            return Ok(None);
        }
        let (name, sets) = (quoted(&entity.name), sets.join(", "));
        Ok(Some(format!("UPDATE {name} SET {sets} WHERE {condition}")))
    }

    fn delete(&mut self, entity: &Entity) -> Done<Option<String>> {
        let condition = self.one(entity)?;
        let sql = |condition| format!("DELETE FROM {} WHERE {condition}", quoted(&entity.name));
        Ok(condition.map(sql))
    }

    /// Some row of the entity that is here.
    fn one(&mut self, entity: &Entity) -> Done<Option<String>> {
        let key = self.plan.schema.tables[entity.table].key_columns();
        let found = some_key(self.device, &entity.name, &key, i64::MAX, &mut self.rng)?;
        Ok(found.map(|found| is_key(&key, &found)))
    }

    /// A value for a column; nothing where the draw finds none.
    fn value(&mut self, entity: &Entity, column: &str) -> Done<Option<String>> {
        let table = &self.plan.schema.tables[entity.table];
        if column == MARK {
            *self.next += 1;
            return Ok(Some(literal(&mark(*self.next))));
        }
        if column == NUMBER {
            return Ok(Some(self.rng.u8(..50).to_string()));
        }
        if column == CODE {
            return Ok(self.rng.bool().then(|| self.rng.u8(1..10).to_string()));
        }
        if column == OFF {
            let is_off = self.rng.u8(..6) == 0;
            return Ok(table.off.map(|off| off.value(is_off, self.now)));
        }
        if column == DUE {
            let seconds = self.now + some_time(&mut self.rng);
            return Ok(table.due.map(|kind| time(kind, seconds)));
        }
        let deciding = [Domain::Owner, Domain::Area, Domain::Zone];
        if let Some(domain) = deciding
            .into_iter()
            .find(|domain| domain.column() == column)
        {
            return Ok(Some(match (domain, self.rng.u8(..3)) {
                (Domain::Owner, 0 | 1) => literal(self.user),
                _ => domain.value(&mut self.rng),
            }));
        }
        for foreign in &table.foreign {
            if let Some(at) = foreign.columns.iter().position(|name| name == column) {
                if foreign.nullable && self.rng.u8(..6) == 0 {
                    return Ok(Some("NULL".to_owned()));
                }
                let mut key = None;
                let mut targets = self.plan.model.entities.iter();
                if let Some(target) = targets.find(|target| target.table == foreign.target)
                    && self.rng.u8(..8) > 0
                {
                    let columns = self.plan.schema.tables[foreign.target].key_columns();
                    key = some_key(self.device, &target.name, &columns, i64::MAX, &mut self.rng)?;
                }
                if key.is_none() {
                    let (schema, target) = (&self.plan.schema, foreign.target);
                    key = key_of(self.server, schema, target, &mut self.rng)?;
                }
                return Ok(key.map(|key| key[at].clone()));
            }
        }
        Ok(None)
    }
}
