//! Why a row is on a user's devices, or is not: asked of the team's database in one snapshot, by
//! the statements that pulls and pushes go by. Nothing is written, and nothing of Afield's need be
//! in the database.

use std::path::Path;

use afield_protocol::{Key, Op, Value};
use rusqlite::{Connection, OpenFlags};

use super::entity::EntityTable;
use super::error::While;
use super::prepare::BUSY_TIMEOUT;
use super::raw::Raw;
use super::scope::ScopeSql;
use crate::resolved::{Scope, ServerEntity, ServerModel};
use crate::storage::why::{Barred, Decides, Rule, Stage, Way, Why, Writing};
use crate::storage::{Caller, StorageError};

const DOING: &str = "asking why a row is on a device";

/// Why the row of `entity` under `key` is on the devices of `caller`, or is not.
///
/// # Errors
/// The database cannot be read, or does not fit the model any more.
pub fn why(
    path: &Path,
    model: &ServerModel,
    caller: &Caller,
    entity: &ServerEntity,
    key: &Key,
) -> Result<Why, StorageError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let doing = format!("opening the database {}", path.display());
    let mut conn = Connection::open_with_flags(path, flags).while_(&doing)?;
    conn.busy_timeout(BUSY_TIMEOUT).while_(&doing)?;
    let snapshot = conn.transaction().while_(&doing)?;
    let table = EntityTable::load(&snapshot, model, entity)?;
    let asking = Asking {
        conn: &snapshot,
        model,
        caller,
        row: stored_key(&snapshot, &table, caller, key).while_(DOING)?,
        table,
    };
    asking.why(key)
}

/// The stored key of the row, of one in scope if a key in other spellings has several.
fn stored_key(
    conn: &Connection,
    table: &EntityTable,
    caller: &Caller,
    key: &[Value],
) -> rusqlite::Result<Option<Vec<Raw>>> {
    let mut found = None;
    for raw in table.spellings(key) {
        if table.is_in_scope(conn, caller, &raw)? {
            return Ok(Some(raw));
        }
        if found.is_none() && table.with_stored_key(conn, &raw)?.is_some() {
            found = Some(raw);
        }
    }
    Ok(found)
}

/// One question.
struct Asking<'a> {
    conn: &'a Connection,
    model: &'a ServerModel,
    caller: &'a Caller,
    table: EntityTable,
    /// The stored key of the row, if there is one.
    row: Option<Vec<Raw>>,
}

impl Asking<'_> {
    fn why(&self, key: &Key) -> Result<Why, StorageError> {
        let entity = &self.table.entity;
        let fixed = entity.local.attributes.iter().filter(|a| a.read_only);
        Ok(Why {
            entity: entity.local.name.clone(),
            table: self.table.schema.name.clone(),
            key: key.clone(),
            exists: self.row.is_some(),
            stages: self.stages()?,
            write: self.write()?,
            write_to: self.write_to()?,
            read_only: fixed.map(|attribute| attribute.name.clone()).collect(),
        })
    }

    /// Everything that decides whether the row goes to the user's devices, in order: whatever the
    /// model can say about that has its place here, and nowhere else.
    fn stages(&self) -> Result<Vec<Stage>, StorageError> {
        let scope = self.rule(&self.table.entity.scope, "scope")?;
        let mut stages = vec![Stage {
            decides: Decides::Row,
            lets: self.row.is_some(),
        }];
        stages.extend(self.deletion()?);
        stages.extend([
            Stage {
                decides: Decides::Pattern,
                lets: !self.table.entity.local.insert_only,
            },
            Stage {
                lets: scope.holds(),
                decides: Decides::Scope(scope),
            },
        ]);
        stages.extend(self.window().while_(DOING)?);
        Ok(stages)
    }

    /// Whether the row is in the window, where there is one.
    fn window(&self) -> rusqlite::Result<Option<Stage>> {
        let clock = "SELECT CAST(strftime('%s', 'now') AS INTEGER)";
        let now = self.conn.query_row(clock, [], |row| row.get(0))?;
        let Some(window) = self.table.window(Some(now)) else {
            return Ok(None);
        };
        let row = match &self.row {
            Some(raw) => self.table.with_stored_key(self.conn, raw)?,
            None => None,
        };
        let keep = self.table.entity.keep.as_ref();
        let value = keep.zip(row.as_ref());
        let value = value.and_then(|(keep, row)| row.values.get(keep.attribute));
        Ok(Some(Stage {
            lets: value.is_some_and(|value| window.keeps(value.as_ref())),
            decides: Decides::Window(window),
        }))
    }

    /// Whether the row counts as deleted, where rows can.
    fn deletion(&self) -> Result<Option<Stage>, StorageError> {
        let Some(delete) = &self.table.entity.delete else {
            return Ok(None);
        };
        Ok(Some(Stage {
            decides: Decides::Delete(delete.column.name.clone()),
            lets: self.has_live_row()?,
        }))
    }

    fn has_live_row(&self) -> Result<bool, StorageError> {
        let Some(raw) = &self.row else {
            return Ok(false);
        };
        let row = self.table.with_stored_key(self.conn, raw).while_(DOING)?;
        Ok(row.is_some_and(|row| !row.is_deleted))
    }

    fn write(&self) -> Result<Writing, StorageError> {
        let entity = &self.table.entity;
        let (key, scope) = match &entity.write {
            Some(write) => ("write", write),
            None => ("scope", &entity.scope),
        };
        let rule = self.rule(scope, key)?;
        let barred = self.barred(Op::Update)?;
        Ok(Writing {
            may: barred.is_none() && rule.holds(),
            barred,
            key,
            rule,
        })
    }

    fn write_to(&self) -> Result<Writing, StorageError> {
        let entity = &self.table.entity;
        let key = if entity.write_to.is_some() {
            "write_to"
        } else {
            "scope"
        };
        let rule = self.rule(entity.becomes(), key)?;
        // To create a row, none need be there.
        let barred = self.barred(Op::Create)?;
        let has_row = self.row.is_some();
        Ok(Writing {
            may: barred.is_none() && has_row && rule.holds(),
            barred,
            key,
            rule,
        })
    }

    /// Why no rule is asked about a change of this kind.
    fn barred(&self, op: Op) -> Result<Option<Barred>, StorageError> {
        let local = &self.table.entity.local;
        if !local.is_written() {
            return Ok(Some(Barred::ReadOnly));
        }
        if op == Op::Create {
            return Ok(None);
        }
        let is_live = self.has_live_row()?;
        let Some(row) = self.row.as_ref().filter(|_| is_live) else {
            return Ok(Some(Barred::NoRow));
        };
        if local.insert_only {
            return Ok(Some(Barred::InsertOnly));
        }
        let is_mine = self.table.is_in_scope(self.conn, self.caller, row);
        Ok((!is_mine.while_(DOING)?).then_some(Barred::OutOfScope))
    }

    /// A rule, held against the row.
    fn rule(&self, scope: &Scope, key: &str) -> Result<Rule, StorageError> {
        let schema = &self.table.schema;
        let scopes = &self.model.scopes;
        let whose = format!("`{}`: its `{key}`", self.table.entity.local.name);
        let compiled = ScopeSql::of(self.conn, scopes, scope, schema, &whose)?;
        let (Some(compiled), Scope::Ways(written)) = (compiled, scope) else {
            return Ok(Rule::Everyone);
        };
        let mut ways = Vec::new();
        for (way, conditions) in compiled.ways.iter().zip(written) {
            let mut tested = Vec::new();
            for (at, condition) in way.clone().zip(conditions) {
                let one = compiled.test(
                    self.conn,
                    scopes,
                    self.caller,
                    (at, condition),
                    &self.table,
                    self.row.as_deref(),
                );
                tested.push(one.while_(DOING)?);
            }
            ways.push(Way { conditions: tested });
        }
        Ok(Rule::Ways(ways))
    }
}
