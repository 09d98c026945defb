//! The tables of a local entity: what is made for it, and the statements that use them.
//!
//! ```text
//! contact                   what the app sees and writes
//! afield_before_contact     capture: the row before the current group touched it, once
//! afield_server_contact     the server's row, for rows that carry unsettled changes
//! afield_stage_contact      pages of a download that is not complete
//! afield_scope_contact      which values of its scope brought each row, if it has such a scope
//! ```

use afield_protocol::{Entity, Identifier, SCOPE_COLUMN, Value, ValueRef};
use rusqlite::Connection;

use super::sql::{Bound, bound, literal, quoted, values};
use super::statements::Statements;
use crate::error::Error;

/// An entity with its quoted names and statements.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) entity: Entity,
    /// Place in the order of references: what an entity refers to comes before it.
    pub(crate) rank: usize,
    pub(crate) name: String,
    pub(crate) before: String,
    pub(crate) server: String,
    pub(crate) stage: String,
    pub(super) scope: String,
    /// The columns of the values that brought a row, quoted; none if its scope has no values.
    pub(super) scope_columns: Vec<String>,
    /// All columns, quoted, separated by commas.
    pub(crate) columns: String,
    /// The identifier's columns, likewise.
    pub(crate) key_columns: String,
    /// For each column the entity whose server-made identifiers it holds, if it does.
    pub(super) numbered: Vec<Option<String>>,
    pub(super) sql: Statements,
}

impl Table {
    pub(crate) fn new(entity: Entity, rank: usize) -> Self {
        let list = |attributes: &[afield_protocol::Attribute]| {
            attributes
                .iter()
                .map(|a| quoted(&a.name))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let mut table = Self {
            name: quoted(&entity.name),
            before: quoted(&format!("afield_before_{}", entity.name)),
            server: quoted(&format!("afield_server_{}", entity.name)),
            stage: quoted(&format!("afield_stage_{}", entity.name)),
            scope: quoted(&format!("afield_scope_{}", entity.name)),
            scope_columns: (1..=entity.scope_width())
                .map(|at| quoted(&format!("{SCOPE_COLUMN}{at}")))
                .collect(),
            columns: list(&entity.attributes),
            key_columns: list(entity.key()),
            numbered: vec![None; entity.attributes.len()],
            sql: Statements::default(),
            rank,
            entity,
        };
        table.sql = Statements::of(&table);
        table
    }

    /// How many columns a row has.
    pub(crate) fn width(&self) -> usize {
        self.entity.attributes.len()
    }

    /// `a."k1" = b."k1" AND …`, with `IS` semantics not needed: identifiers are never null.
    pub(crate) fn same_key(&self, a: &str, b: &str) -> String {
        let pairs = self.entity.key().iter().map(|attribute| {
            let name = quoted(&attribute.name);
            format!("{a}.{name} = {b}.{name}")
        });
        pairs.collect::<Vec<_>>().join(" AND ")
    }

    /// Whether row `a` is as row `b`. Where the column would keep 1 and 1.0 apart, so does this.
    pub(super) fn same_row(&self, a: &str, b: &str) -> String {
        let mut same = self.same_key(a, b);
        for attribute in self.entity.values() {
            let name = quoted(&attribute.name);
            same += &format!(" AND {a}.{name} IS {b}.{name}");
            if attribute.kind.sqlite() == "BLOB" {
                same += &format!(" AND typeof({a}.{name}) = typeof({b}.{name})");
            }
        }
        same
    }

    /// `"k1" = ?1 AND …`
    pub(super) fn key_bound(&self) -> String {
        let pairs = self.entity.key().iter().enumerate();
        let pairs = pairs.map(|(at, a)| format!("{} = ?{}", quoted(&a.name), at + 1));
        pairs.collect::<Vec<_>>().join(" AND ")
    }

    /// `prefix."c1", …`
    pub(super) fn prefixed(
        &self,
        prefix: &str,
        attributes: &[afield_protocol::Attribute],
    ) -> String {
        let names = attributes
            .iter()
            .map(|a| format!("{prefix}.{}", quoted(&a.name)));
        names.collect::<Vec<_>>().join(", ")
    }

    /// `DO UPDATE SET …` of an upsert, or `DO NOTHING` where there is nothing but the key.
    pub(super) fn on_conflict(&self) -> String {
        let sets = self.entity.values().iter().map(|a| {
            let name = quoted(&a.name);
            format!("{name} = excluded.{name}")
        });
        let sets = sets.collect::<Vec<_>>().join(", ");
        let action = if sets.is_empty() {
            "NOTHING".to_owned()
        } else {
            format!("UPDATE SET {sets}")
        };
        format!("ON CONFLICT ({}) DO {action}", self.key_columns)
    }

    /// `?1, ?2, …`, one for each column.
    pub(super) fn marks(&self) -> String {
        let marks = (1..=self.width()).map(|n| format!("?{n}"));
        marks.collect::<Vec<_>>().join(", ")
    }

    /// Inserts or overwrites a row; parameters in column order.
    pub(crate) fn upsert(&self) -> &str {
        &self.sql.upsert
    }

    /// Deletes the visible row of an identifier.
    pub(crate) fn delete(&self) -> &str {
        &self.sql.delete
    }

    /// Deletes the row of an identifier from `table`, one of this entity's.
    pub(super) fn delete_from(&self, table: &str) -> String {
        format!("DELETE FROM {table} WHERE {}", self.key_bound())
    }

    /// Reads the visible row of an identifier.
    pub(crate) fn row(&self, db: &Connection, key: &[Value]) -> Result<Option<Vec<Value>>, Error> {
        let mut statement = db.prepare_cached(&self.sql.row)?;
        let mut rows = statement.query(bound(key))?;
        Ok(rows
            .next()?
            .map(|row| values(row, 0, self.width()))
            .transpose()?)
    }

    /// Reads the server's row of an identifier that has overlays: the outer option says whether
    /// it has, the inner whether the server has the row.
    pub(crate) fn server_row(
        &self,
        db: &Connection,
        key: &[Value],
    ) -> Result<Option<Option<Vec<Value>>>, Error> {
        let mut statement = db.prepare_cached(&self.sql.server_row)?;
        let mut rows = statement.query(bound(key))?;
        let Some(row) = rows.next()? else {
            return Ok(None);
        };
        let existed: bool = row.get(0)?;
        Ok(Some(if existed {
            Some(values(row, 1, self.width())?)
        } else {
            None
        }))
    }

    /// Whether the server has the row of an identifier that has, or had, overlays, and whether that
    /// is what is seen.
    pub(super) fn is_seen(
        &self,
        db: &Connection,
        key: &[Value],
    ) -> Result<Option<(bool, bool)>, Error> {
        let mut statement = db.prepare_cached(&self.sql.is_seen)?;
        let mut rows = statement.query(bound(key))?;
        let row = rows.next()?;
        Ok(row
            .map(|row| Ok::<_, rusqlite::Error>((row.get(0)?, row.get(1)?)))
            .transpose()?)
    }

    /// The server's row of an identifier as far as this device knows: below overlays its copy,
    /// else the row that is seen.
    pub(super) fn known_row(
        &self,
        db: &Connection,
        key: &[Value],
    ) -> Result<Option<Vec<Value>>, Error> {
        match self.server_row(db, key)? {
            Some(server) => Ok(server),
            None => self.row(db, key),
        }
    }

    /// Writes the server's row of an identifier; `None` says that the server has none.
    pub(crate) fn put_server_row(
        &self,
        db: &Connection,
        key: &[Value],
        row: Option<&[Value]>,
    ) -> Result<(), Error> {
        let [gone, there] = &self.sql.put_server_row;
        match row {
            Some(row) => db.prepare_cached(there)?.execute(bound(row))?,
            None => {
                let mut padded = key.to_vec();
                padded.resize(self.width(), Value::Null);
                db.prepare_cached(gone)?.execute(bound(&padded))?
            }
        };
        Ok(())
    }

    /// The same where there is no such copy yet; the one that is there stays.
    pub(super) fn keep_server_row(
        &self,
        db: &Connection,
        key: &[Value],
        row: Option<&[Value]>,
    ) -> Result<(), Error> {
        let existed = Value::Integer(row.is_some().into());
        let given = row.unwrap_or(key).iter().map(Value::as_ref);
        let padding = std::iter::repeat(ValueRef::Null);
        let values = given.chain(padding).take(self.width());
        let values = values.chain([existed.as_ref()]).map(Bound);
        let mut statement = db.prepare_cached(&self.sql.keep_server_row)?;
        statement.execute(rusqlite::params_from_iter(values))?;
        Ok(())
    }

    /// Forgets the server's row: the identifier has no overlay any more.
    pub(crate) fn drop_server_row(&self, db: &Connection, key: &[Value]) -> Result<(), Error> {
        db.prepare_cached(&self.sql.drop_server_row)?
            .execute(bound(key))?;
        Ok(())
    }

    /// Makes the visible row what it should be.
    pub(crate) fn put_row(
        &self,
        db: &Connection,
        key: &[Value],
        row: Option<&[Value]>,
    ) -> Result<(), Error> {
        match row {
            Some(row) => db.prepare_cached(&self.sql.upsert)?.execute(bound(row))?,
            None => db.prepare_cached(&self.sql.delete)?.execute(bound(key))?,
        };
        Ok(())
    }

    /// Everything that makes the entity's tables, in order.
    pub(crate) fn create(&self) -> Vec<String> {
        let mut statements = vec![self.create_table(&self.name, "", true)];
        statements.extend(self.create_indexes());
        if self.entity.is_synced() {
            statements.push(self.create_stage());
            let existed = "existed INTEGER NOT NULL, ";
            statements.push(self.create_table(&self.before, existed, false));
            // One tree instead of a table and its index: it is written with every edit.
            let server = self.create_table(&self.server, existed, false);
            statements.push(format!("{server} WITHOUT ROWID"));
            statements.extend(self.create_scope());
        }
        statements.extend(self.create_triggers());
        statements
    }

    /// Everything that removes them. The app's own triggers on the table go with it.
    pub(crate) fn drop(&self) -> Vec<String> {
        [
            &self.name,
            &self.before,
            &self.server,
            &self.stage,
            &self.scope,
        ]
        .map(|table| format!("DROP TABLE IF EXISTS {table}"))
        .into()
    }

    fn create_table(&self, name: &str, extra: &str, defaults: bool) -> String {
        if defaults && self.numbers_itself() {
            return self.create_numbered_table();
        }
        let columns = (0..self.width()).map(|at| self.column(at, defaults));
        format!(
            "CREATE TABLE {name} ({extra}{}, PRIMARY KEY ({}))",
            columns.collect::<Vec<_>>().join(", "),
            self.key_columns
        )
    }

    fn create_stage(&self) -> String {
        let columns = (0..self.width()).map(|at| self.column(at, false));
        let scope = self.scope_columns.iter();
        let columns = columns.chain(scope.map(|name| format!("{name} INTEGER")));
        format!(
            "CREATE TABLE {} (gone INTEGER NOT NULL, {}, PRIMARY KEY ({}))",
            self.stage,
            columns.collect::<Vec<_>>().join(", "),
            self.key_columns
        )
    }

    /// What makes the table of the values that brought each row, if it has such a scope.
    fn create_scope(&self) -> Vec<String> {
        if self.scope_columns.is_empty() {
            return Vec::new();
        }
        let keys = (0..self.entity.key_width).map(|at| self.column(at, false));
        let values = self.scope_columns.iter();
        let columns: Vec<_> = keys
            .chain(values.map(|name| format!("{name} INTEGER")))
            .collect();
        let table = format!(
            "CREATE TABLE {} ({}, PRIMARY KEY ({}))",
            self.scope,
            columns.join(", "),
            self.key_columns
        );
        let indexes = self.scope_columns.iter().enumerate().map(|(at, column)| {
            let name = format!("{SCOPE_COLUMN}{}_of_{}", at + 1, self.entity.name);
            let name = quoted(&name);
            format!("CREATE INDEX {name} ON {} ({column})", self.scope)
        });
        [table].into_iter().chain(indexes).collect()
    }

    /// The definition of a column.
    pub(super) fn column(&self, at: usize, with_default: bool) -> String {
        let attribute = &self.entity.attributes[at];
        let is_key = at < self.entity.key_width;
        let kind = match attribute.kind.sqlite() {
            // An INTEGER PRIMARY KEY would give itself a number when the app forgets one.
            "INTEGER" if is_key => "BIGINT",
            kind => kind,
        };
        let not_null = if is_key { " NOT NULL" } else { "" };
        let default = match &attribute.default {
            Some(default) if with_default => format!(" DEFAULT {}", sql_literal(&default.value())),
            _ => String::new(),
        };
        format!("{} {kind}{not_null}{default}", quoted(&attribute.name))
    }

    /// Adds the columns from `first` on to a table that exists.
    pub(crate) fn add_columns(&self, first: usize) -> Vec<String> {
        let columns = (first..self.width()).map(|at| self.column(at, true));
        columns
            .map(|column| format!("ALTER TABLE {} ADD COLUMN {column}", self.name))
            .collect()
    }

    pub(crate) fn create_indexes(&self) -> Vec<String> {
        let indexes = self.entity.indexes.iter().map(|attributes| {
            let name = quoted(&format!(
                "afield_{}_{}",
                self.entity.name,
                attributes.join("_")
            ));
            let columns: Vec<_> = attributes.iter().map(|a| quoted(a)).collect();
            format!(
                "CREATE INDEX IF NOT EXISTS {name} ON {} ({})",
                self.name,
                columns.join(", ")
            )
        });
        indexes.collect()
    }
}

/// What an entity's identifier is called in messages.
pub(super) fn identifier_hint(entity: &Entity) -> &'static str {
    match entity.identifier {
        Identifier::Uuid => "a UUID in lower case",
        Identifier::Natural | Identifier::Server => "a value",
    }
}

pub(super) fn sql_literal(value: &Value) -> String {
    match value {
        Value::Null | Value::Bytes(_) => "NULL".to_owned(),
        Value::Integer(n) => n.to_string(),
        Value::Real(x) => format!("{x:?}"),
        Value::Text(text) => literal(text),
    }
}

/// Orders entities so that each comes after those it refers to, as far as references allow.
pub(crate) fn ranks(entities: &[Entity]) -> Vec<usize> {
    let at = |name: &str| entities.iter().position(|entity| entity.name == name);
    let mut ranks = vec![0; entities.len()];
    for _ in 0..entities.len() {
        for (from, entity) in entities.iter().enumerate() {
            for reference in &entity.references {
                let Some(to) = at(&reference.entity).filter(|to| *to != from) else {
                    continue;
                };
                ranks[from] = ranks[from].max(ranks[to] + 1).min(entities.len());
            }
        }
    }
    ranks
}
