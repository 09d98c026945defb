//! An entity over its table: the statements that read its rows, ready to run.

use afield_protocol::zoo::planted;
use afield_protocol::{Attribute, Key, Value};
use rusqlite::{Connection, OptionalExtension, Row as Stored, params_from_iter};

use super::cell::{Canonical, Form, Spelling};
use super::deletion::Deletion;
use super::error::{While, lasting};
use super::lookups::Lookups;
use super::raw::{Raw, write_raw_key};
use super::schema::TableSchema;
use super::scope::{self, ScopeSql};
use super::statements::{Parts, ScopedSql, Sql, key_terms};
use super::window;
use super::writes::Writes;
use crate::resolved::{ServerEntity, ServerModel};
use crate::storage::push::{Deleting, FoundRow, Place, Table};
use crate::storage::{Caller, StorageError};

/// A local entity and its table.
#[derive(Debug)]
pub(super) struct EntityTable {
    pub entity: ServerEntity,
    pub schema: TableSchema,
    /// One for each attribute that is no lookup.
    forms: Vec<Form>,
    /// Positions in the key of the columns of the index that a download follows, in its order.
    scan_order: Vec<usize>,
    /// For each attribute the entity whose server-made identifiers it holds, if it does.
    numbered_by: Vec<Option<String>>,
    /// Names of the attributes that are sent as differences.
    counters: Vec<String>,
    /// For each reference, whether a push must ask for the row that it names.
    asked: Vec<bool>,
    /// Whose rows they are; `None` if they are everyone's.
    pub scope: Option<ScopeSql>,
    /// What comes from other rows.
    pub lookups: Lookups,
    /// Which of them may be written, and what they may become.
    pub writes: Writes,
    /// When its rows count as deleted; `None` if none does.
    pub deletion: Option<Deletion>,
    /// What its positions stand for.
    pub label: String,
    sql: Sql,
}

/// Where a row is.
#[derive(Clone, Debug)]
pub(super) struct RowPlace {
    /// Its key as it is stored.
    pub key: Vec<Raw>,
    /// By which it is found if a trigger gave it another key.
    pub rowid: Option<i64>,
}

/// A row as the table has it.
pub(super) type Row = FoundRow<RowPlace>;

impl RowPlace {
    /// That of a key.
    pub(super) fn of_key(key: Vec<Raw>) -> Self {
        Self { key, rowid: None }
    }
}

impl Place for RowPlace {
    fn bytes(&self) -> Vec<u8> {
        write_raw_key(&self.key)
    }
}

/// What a statement counts, of a value or of all rows, up to `most`.
pub(super) fn counted(
    conn: &Connection,
    sql: &str,
    value: Option<&Raw>,
    most: usize,
) -> rusqlite::Result<usize> {
    let most = Raw::Integer(i64::try_from(most).unwrap_or(i64::MAX));
    let parameters = value.into_iter().chain([&most]);
    let mut statement = conn.prepare_cached(sql)?;
    let rows: i64 = statement.query_row(params_from_iter(parameters), |row| row.get(0))?;
    Ok(usize::try_from(rows).unwrap_or(usize::MAX))
}

impl EntityTable {
    /// Holds `entity` of `model` against the table as it is now.
    pub(super) fn load(
        conn: &Connection,
        model: &ServerModel,
        entity: &ServerEntity,
    ) -> Result<Self, StorageError> {
        let local = &entity.local;
        let numbered_by = |attribute: &Attribute| {
            let numbering = model.device.numbered_by(local, &attribute.name)?;
            Some(numbering.name.clone())
        };
        let schema = TableSchema::read(conn, &entity.table)?;
        let mut forms = Vec::new();
        for (at, column) in entity.columns.iter().enumerate() {
            let found = schema.column(&column.name).ok_or_else(|| {
                lasting(format!("`{}` has no column `{}`", schema.name, column.name))
            })?;
            let form = Form::learn(conn, &schema.name, found, column.kind, column.scale)
                .while_("looking at how a column is spelled")?;
            let keep = entity.keep.as_ref();
            forms.push(Form {
                is_bounded: keep.is_some_and(|keep| keep.attribute == at),
                ..form
            });
        }
        let (scan_order, key) = key_terms(&schema, entity)?;
        let scope = ScopeSql::compile(conn, &model.scopes, entity, &schema)?;
        let deletion = Deletion::learn(conn, entity, &schema)?;
        let beside = deletion.as_ref();
        let lookups = Lookups::compile(conn, model, entity, &schema)?;
        let parts = Parts {
            schema: &schema,
            entity,
            beside: beside.and_then(|deletion| deletion.beside.as_deref()),
            scope: scope.as_ref(),
            lookups: &lookups,
        };
        let sql = Sql::build(&parts, &scan_order, &key);
        Ok(Self {
            writes: Writes::compile(conn, model, entity, &schema, &sql.key_is)?,
            sql,
            scope,
            deletion,
            label: window::label(entity) + &lookups.meaning,
            lookups,
            entity: entity.clone(),
            numbered_by: local.attributes.iter().map(numbered_by).collect(),
            counters: local.counters(),
            schema,
            forms,
            scan_order,
            asked: Vec::new(),
        })
    }

    /// With what is known of its references.
    pub(super) fn asking(self, asked: Vec<bool>) -> Self {
        Self { asked, ..self }
    }

    /// How many attributes its identifier has.
    pub(super) fn key_width(&self) -> usize {
        self.entity.local.key_width
    }

    pub(super) fn form(&self, attribute: usize) -> &Form {
        &self.forms[attribute]
    }

    /// The statement of a download, and its parameters, from behind a stored key.
    pub(super) fn scan(&self, after: Option<&[Raw]>) -> (&str, Vec<Raw>) {
        match after {
            None => (&self.sql.scan_first, Vec::new()),
            Some(key) => (&self.sql.scan_after, self.behind(key)),
        }
    }

    /// How many rows there are, up to `most`.
    pub(super) fn counted(&self, conn: &Connection, most: usize) -> rusqlite::Result<usize> {
        counted(conn, &self.sql.count, None, most)
    }

    /// The statements that read the rows which came into the window by time.
    pub(super) fn entering_sql(&self) -> Option<&(String, String)> {
        self.sql.entering.as_ref()
    }

    /// The statements of an entity with a scope.
    pub(super) fn scoped(&self) -> Option<(&ScopeSql, &ScopedSql)> {
        self.scope.as_ref().zip(self.sql.scoped.as_ref())
    }

    /// The parameters of a statement that goes on behind a stored key.
    pub(super) fn behind(&self, key: &[Raw]) -> Vec<Raw> {
        let cell = |at: &usize| key.get(*at).cloned().unwrap_or(Raw::Null);
        self.scan_order.iter().map(cell).collect()
    }

    /// Whether there is a row with this stored key and it is in the caller's scope.
    pub(super) fn is_in_scope(
        &self,
        conn: &Connection,
        caller: &Caller,
        raw_key: &[Raw],
    ) -> rusqlite::Result<bool> {
        match self.scoped() {
            Some((_, sql)) => self.asked(conn, caller, &sql.is_mine, raw_key),
            None => Ok(self.with_row(conn, raw_key, |_| Ok(()))?.is_some()),
        }
    }

    /// What a statement answers that asks one thing of the row with a stored key.
    pub(super) fn asked(
        &self,
        conn: &Connection,
        caller: &Caller,
        sql: &str,
        raw_key: &[Raw],
    ) -> rusqlite::Result<bool> {
        let mut statement = conn.prepare_cached(sql)?;
        scope::bind(&mut statement, caller)?;
        for (at, cell) in raw_key.iter().enumerate() {
            statement.raw_bind_parameter(at + 1, cell)?;
        }
        let mut rows = statement.raw_query();
        rows.next()?.map_or(Ok(false), |row| row.get(0))
    }

    /// The statement that reads the row with a stored key as devices get it.
    pub(super) fn shown(&self) -> &str {
        &self.sql.shown
    }

    /// The statement that reads the rows which refer to a value by `column`, one of those that
    /// lookups begin with, and its parameters before the value; from behind a stored key.
    pub(super) fn referring(&self, column: &str, after: &[Raw]) -> (&str, Vec<Raw>) {
        let mut all = self.sql.referring.iter();
        match all.find(|known| known.column == column) {
            Some(sql) if after.is_empty() => (&sql.first, Vec::new()),
            Some(sql) => (&sql.after, self.behind(after)),
            None => ("SELECT 1 WHERE ?1 IS NULL AND 0", Vec::new()),
        }
    }

    /// How many columns are read of a row as devices get it; others stand behind them.
    pub(super) fn width(&self) -> usize {
        self.own_width() + self.lookups.forms.len()
    }

    /// Change number and stored key of a mark that this statement returned.
    pub(super) fn mark(
        &self,
        row: Option<&Stored<'_>>,
    ) -> rusqlite::Result<Option<(i64, Vec<Raw>)>> {
        row.map(|row| Ok((row.get(0)?, self.raw_key(row, 1)?)))
            .transpose()
    }

    /// The statement that lists change number and stored key of the marks above a number.
    pub(super) fn marks_after(&self) -> &str {
        &self.sql.marks_after
    }

    /// Whether any row was touched after this change number.
    pub(super) fn is_marked_after(&self, conn: &Connection, change: i64) -> rusqlite::Result<bool> {
        conn.prepare_cached(&self.sql.any_mark_after)?
            .query_row([change], |row| row.get(0))
    }

    /// The canonical cells of a row as devices get it, lookups included.
    pub(super) fn cells<'r>(&self, row: &'r Stored<'_>) -> rusqlite::Result<Vec<Canonical<'r>>> {
        let cell = |(at, form): (usize, &Form)| Ok(form.read(row.get_ref(at)?));
        let lookups = self.lookups.forms.iter().enumerate();
        let lookups = lookups.map(|(at, form)| (self.own_width() + at, form));
        let own = self.forms.iter().enumerate();
        own.chain(lookups).map(cell).collect()
    }

    /// How many columns of a row all of these statements read first: those of its attributes, and
    /// whether it counts as deleted.
    fn own_width(&self) -> usize {
        let beside = self
            .deletion
            .as_ref()
            .and_then(|found| found.beside.as_ref());
        self.forms.len() + usize::from(beside.is_some())
    }

    /// Whether a row that one of these statements returned does not count as deleted.
    pub(super) fn is_alive(&self, row: &Stored<'_>) -> rusqlite::Result<bool> {
        match &self.deletion {
            None => Ok(true),
            Some(_) if planted("server-soft-deleted-rows-sent") => Ok(true),
            Some(deletion) => Ok(!deletion.is_deleted(row)?),
        }
    }

    /// The key of such a row as it is stored.
    pub(super) fn raw_key(&self, row: &Stored<'_>, first: usize) -> rusqlite::Result<Vec<Raw>> {
        (first..first + self.key_width())
            .map(|at| Ok(Raw::from_stored(row.get_ref(at)?)))
            .collect()
    }

    /// The canonical form of a stored key.
    pub(super) fn canonical_key(&self, raw: &[Raw]) -> Key {
        let value = |(cell, form): (&Raw, &Form)| form.read(cell.as_stored()).as_ref().to_value();
        raw.iter().zip(&self.forms).map(value).collect()
    }

    /// Calls `read` with the row that has this stored key.
    pub(super) fn with_row<T>(
        &self,
        conn: &Connection,
        raw: &[Raw],
        read: impl FnOnce(&Stored<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        conn.prepare_cached(&self.sql.by_key)?
            .query_row(params_from_iter(raw), read)
            .optional()
    }

    /// The row with this canonical key, however the table spells it.
    pub(super) fn find(&self, conn: &Connection, key: &[Value]) -> rusqlite::Result<Option<Row>> {
        for raw in self.spellings(key) {
            if let Some(row) = self.with_stored_key(conn, &raw)? {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// The row with this stored key.
    pub(super) fn with_stored_key(
        &self,
        conn: &Connection,
        raw: &[Raw],
    ) -> rusqlite::Result<Option<Row>> {
        self.with_row(conn, raw, |row| self.found(row))
    }

    /// The row with this rowid; `None` too where rows have none.
    pub(super) fn find_by_rowid(
        &self,
        conn: &Connection,
        rowid: Option<i64>,
    ) -> rusqlite::Result<Option<Row>> {
        let (Some(sql), Some(rowid)) = (&self.sql.by_rowid, rowid) else {
            return Ok(None);
        };
        conn.prepare_cached(sql)?
            .query_row([rowid], |row| self.found(row))
            .optional()
    }

    /// The stored forms that a canonical key may have, the most likely one first.
    pub(super) fn spellings<'a>(&'a self, key: &'a [Value]) -> impl Iterator<Item = Vec<Raw>> + 'a {
        let keyed = move || key.iter().zip(&self.forms);
        let first = move || keyed().map(|(value, form)| form.write(value)).collect();
        let others = keyed().flat_map(|(_, form)| form.spellings());
        let others = others.map(move |spelling: &Spelling| {
            let cells = keyed().map(|(value, form)| form.write_as(*spelling, value));
            cells.collect::<Vec<_>>()
        });
        let mut found: Vec<Vec<Raw>> = Vec::new();
        std::iter::once_with(first)
            .chain(others)
            .filter(move |raw| {
                let is_new = !found.contains(raw);
                if is_new {
                    found.push(raw.clone());
                }
                is_new
            })
    }

    /// The condition that a row has a stored key, whose cells are the first parameters.
    pub(super) fn key_is(&self) -> &str {
        &self.sql.key_is
    }

    fn found(&self, row: &Stored<'_>) -> rusqlite::Result<Row> {
        let cell = |(at, form): (usize, &Form)| {
            let cell = form.read(row.get_ref(at)?);
            Ok(cell.as_ref().to_value())
        };
        let values = self.forms.iter().enumerate().map(cell);
        let values = values.collect::<rusqlite::Result<_>>()?;
        let rowid = match self.sql.by_rowid {
            Some(_) => row.get(self.own_width())?,
            None => None,
        };
        Ok(Row {
            place: RowPlace {
                key: self.raw_key(row, 0)?,
                rowid,
            },
            is_deleted: !self.is_alive(row)?,
            values,
        })
    }
}

impl Table for EntityTable {
    fn entity(&self) -> &ServerEntity {
        &self.entity
    }

    fn numbered_by(&self, attribute: usize) -> Option<&str> {
        self.numbered_by.get(attribute)?.as_deref()
    }

    fn counters(&self) -> &[String] {
        &self.counters
    }

    fn deletion(&self) -> Option<Deleting<'_>> {
        self.deletion.as_ref().map(Deletion::deleting)
    }

    fn spelled(&self, attribute: usize, value: &Value) -> Option<Value> {
        self.form(attribute).spelled(value)
    }

    fn asks_reference(&self, reference: usize) -> bool {
        self.asked.get(reference).copied().unwrap_or(true)
    }
}

#[cfg(test)]
mod tests {
    use afield_protocol::{Entity, Identifier, Model, Pattern, Type};

    use super::*;
    use crate::resolved::ServerColumn;
    use crate::storage::sqlite::marks::Capture;

    /// A table whose first columns are its identifier, loaded; the marks' tables are made too.
    fn load(conn: &Connection, sql: &str, key: &[&str], others: &[&str]) -> EntityTable {
        conn.execute_batch(sql).unwrap();
        let names: Vec<String> = key.iter().chain(others).map(|n| (*n).to_owned()).collect();
        let attribute = |name: &String| Attribute::new(name, Type::Text);
        let column = |name: &String| ServerColumn {
            name: name.clone(),
            kind: Type::Text,
            scale: None,
        };
        let local = Entity::new(
            "t",
            Pattern::ReadOnly,
            Identifier::Natural,
            key.len(),
            names.iter().map(attribute).collect(),
        );
        let entity = ServerEntity::new(local, "t", names.iter().map(column).collect());
        let model = ServerModel {
            device: Model {
                version: 1,
                units: Vec::new(),
                entities: vec![entity.local.clone()],
                chosen: Vec::new(),
                limits: Default::default(),
                sync: Default::default(),
            },
            entities: vec![entity.clone()],
            scopes: Vec::new(),
        };
        let table = EntityTable::load(conn, &model, &entity).unwrap();
        conn.execute_batch("CREATE TABLE afield_clock (change)")
            .unwrap();
        for object in Capture::new(&table.schema, &names[..key.len()], &[]).objects() {
            conn.execute_batch(&object.sql).unwrap();
        }
        table
    }

    fn plan(conn: &Connection, sql: &str) -> String {
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = statement.raw_query().mapped(|row| row.get::<_, String>(3));
        steps.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    }

    /// The cost of a pull follows what changed, never the table: every statement is a range or a
    /// point of an index, and none sorts.
    #[test]
    fn p9_every_statement_of_a_pull_follows_an_index() {
        for (sql, key) in [
            ("CREATE TABLE t (id INTEGER PRIMARY KEY, x)", &["id"][..]),
            ("CREATE TABLE t (id TEXT PRIMARY KEY, x)", &["id"]),
            (
                "CREATE TABLE t (id TEXT PRIMARY KEY COLLATE NOCASE, x)",
                &["id"],
            ),
            (
                "CREATE TABLE t (id TEXT PRIMARY KEY, x) WITHOUT ROWID",
                &["id"],
            ),
            (
                "CREATE TABLE t (a TEXT, b INT, x, PRIMARY KEY (a, b))",
                &["a", "b"],
            ),
            (
                "CREATE TABLE t (a TEXT, b INT, x, PRIMARY KEY (b, a)) WITHOUT ROWID",
                &["a", "b"],
            ),
            (
                "CREATE TABLE t (x, a TEXT NOT NULL COLLATE RTRIM, b, c, UNIQUE (c, a, b))",
                &["a", "b", "c"],
            ),
        ] {
            let conn = Connection::open_in_memory().unwrap();
            let table = load(&conn, sql, key, &["x"]);
            let point_or_range = [
                &table.sql.scan_after,
                &table.sql.by_key,
                &table.sql.marks_after,
            ];
            for statement in point_or_range {
                let plan = plan(&conn, statement);
                assert!(plan.starts_with("SEARCH"), "{sql}: {statement}: {plan}");
                assert!(!plan.contains("TEMP B-TREE"), "{sql}: {statement}: {plan}");
            }
            let first = plan(&conn, &table.sql.scan_first);
            assert!(!first.contains("TEMP B-TREE"), "{sql}: {first}");
            let any = plan(&conn, &table.sql.any_mark_after);
            assert!(any.contains("SEARCH afield_mark_t"), "{any}");
        }
    }
}
