//! An entity over its table: the statements that read its rows, and how these become values.

use afield_protocol::{Attribute, Entity, Key, Value, Window};
use tokio_postgres::{Row, Statement, Transaction};

use super::capture::{Capture, Kind};
use super::cell::{Canonical, Form, Param, Stored, Wire};
use super::columns::{KeyColumn, ReadColumn};
use super::deletion::Deletion;
use super::error::{While, lasting};
use super::key::{RawKey, stored};
use super::link::Link;
use super::lookups::Lookups;
use super::push::PushTable;
use super::scope::{ByValue, ScopeSql};
use super::scope_reads::ScopeReads;
use super::shape::Shape;
use super::statements::Sql;
use crate::resolved::{ServerEntity, ServerModel};
use crate::storage::StorageError;
use crate::storage::push::FoundRow;
use crate::storage::window::{label, window};

const DOING: &str = "reading rows";

/// A local entity and its table.
#[derive(Debug)]
pub(super) struct EntityTable {
    pub entity: ServerEntity,
    pub shape: Shape,
    /// The table in SQL.
    pub name: String,
    /// For each attribute that is no lookup, its column.
    pub columns: Vec<ReadColumn>,
    pub key: Vec<KeyColumn>,
    /// Positions in the key of the columns of the index that a download follows, in its order.
    scan_order: Vec<usize>,
    /// For each attribute the entity whose server-made identifiers it holds, if it does.
    pub numbered_by: Vec<Option<String>>,
    /// Names of the attributes that are sent as differences.
    pub counters: Vec<String>,
    /// Whose rows they are; `None` if they are everyone's.
    pub scope: Option<ScopeSql>,
    /// The statements of each of its columns.
    scoped: Vec<ByValue>,
    /// What comes from other rows.
    pub lookups: Lookups,
    /// When its rows count as deleted; `None` if none does.
    pub deletion: Option<Deletion>,
    /// What its positions stand for.
    pub label: String,
    /// The capture of its rows; `None` if these do not go to devices.
    pub capture: Option<i32>,
    /// What says who holds what of its scope.
    pub live: HeldBy,
    /// What pushes know of it.
    pub push: PushTable,
    pub sql: Sql,
    /// The types of that, as PostgreSQL gives them.
    types: Vec<u32>,
}

/// The captures of what says who holds what of a scope.
#[derive(Debug, Default)]
pub(super) struct HeldBy {
    /// Of the tables that paths lead through.
    pub paths: Vec<i32>,
    /// Of the tables that queries read, as far as they are known.
    pub queries: Vec<i32>,
}

impl HeldBy {
    fn of(scope: Option<&ScopeSql>, captures: &[Capture]) -> Self {
        let Some(scope) = scope else {
            return Self::default();
        };
        let on_path = |capture: &&Capture| {
            let is_it = |(_, oid): &(String, u32)| *oid == capture.shape.oid;
            capture.kind == Kind::Source && scope.tables.iter().any(is_it)
        };
        let of_query = |capture: &&Capture| capture.kind == Kind::Table && scope.has_queries();
        let id = |capture: &Capture| capture.id;
        Self {
            paths: captures.iter().filter(on_path).map(id).collect(),
            queries: captures.iter().filter(of_query).map(id).collect(),
        }
    }
}

/// A row as the table has it.
pub(super) type Found = FoundRow<RawKey>;

/// What the statements are made of.
pub(super) struct Parts<'a> {
    pub table: &'a str,
    pub key: &'a [KeyColumn],
    /// The key's columns in the order of their index.
    pub order: &'a [&'a ReadColumn],
    pub columns: &'a [ReadColumn],
    pub capture: Option<i32>,
    /// The attribute by which rows come into a window.
    pub entering: Option<usize>,
}

impl EntityTable {
    /// Holds `entity` of `model` against the table as it is now, and its capture.
    pub(super) async fn load(
        tx: &Transaction<'_>,
        model: &ServerModel,
        entity: &ServerEntity,
        captures: &[Capture],
        reads: &ScopeReads,
    ) -> Result<Self, StorageError> {
        let local = &entity.local;
        let shape = Shape::named(tx, &entity.table).await?;
        let name = shape.sql();
        let (columns, key) = columns(&shape, entity)?;
        exact(&shape, entity, &key)?;
        let scan_order = scan_order(&shape, entity)?;
        let deletion = Deletion::learn(entity, &shape)?;
        let lookups = Lookups::compile(tx, entity, &shape, captures).await?;
        let scope = scope(tx, model, entity, &shape, captures).await?;
        let of_scope = scope.iter().flat_map(|scope| scope.beside("r"));
        let shown = std::iter::once(own(&columns, deletion.as_ref()))
            .chain(lookups.selects.iter().cloned());
        let shown = shown.chain(of_scope).collect::<Vec<_>>().join(", ");
        let order: Vec<&ReadColumn> = scan_order.iter().map(|at| &key[*at].column).collect();
        let capture = (captures.iter()).find(|it| !local.insert_only && is_of(it, &shape, entity));
        let parts = Parts {
            table: &name,
            key: &key,
            order: &order,
            columns: &columns,
            capture: capture.map(|capture| capture.id),
            entering: entering(entity, &columns)?,
        };
        let sql = Sql::build(&parts, &shown);
        let lookups = lookups.over(&parts, &shown);
        let scoped = match &scope {
            Some(scope) => {
                let table = (shape.oid, names(entity, &scan_order));
                scope.statements(tx, &parts, &shown, table).await?
            }
            None => Vec::new(),
        };
        let push = PushTable::of(
            tx,
            model,
            entity,
            (&shape, reads),
            (&columns, &key, &deletion),
        )
        .await?;
        let mut table = Self {
            live: HeldBy::of(scope.as_ref(), captures),
            push,
            capture: parts.capture,
            numbered_by: numbered_by(model, local),
            counters: local.counters(),
            label: label(entity) + &lookups.meaning,
            entity: entity.clone(),
            types: Vec::new(),
            shape,
            name: name.clone(),
            columns,
            key: key.clone(),
            scan_order: scan_order.clone(),
            scope,
            scoped,
            lookups,
            deletion,
            sql,
        };
        table.types = table.types_of(&tx.prepare(&table.sql.shown).await.while_(DOING)?)?;
        Ok(table)
    }

    /// The types of what a statement reads, which must be those that the forms are for.
    fn types_of(&self, statement: &Statement) -> Result<Vec<u32>, StorageError> {
        let mut types = Vec::new();
        let columns = statement.columns().iter().take(self.columns.len());
        for (column, read) in columns.zip(&self.columns) {
            let is_enum = matches!(column.type_().kind(), tokio_postgres::types::Kind::Enum(_));
            let wire = Wire::of(column.type_().name(), is_enum);
            let is_same =
                wire == read.form.wire || (read.form.wire == Wire::Other && wire == Wire::Text);
            if !is_same {
                return Err(StorageError {
                    is_retryable: true,
                    ..lasting(format!(
                        "a column of {} has just got another type",
                        self.name
                    ))
                });
            }
        }
        types.extend(
            statement
                .columns()
                .iter()
                .map(|column| column.type_().oid()),
        );
        Ok(types)
    }

    /// A statement that reads rows as devices get them from its column `first` on, prepared.
    ///
    /// # Errors
    /// The table is another one than when it was looked at.
    pub(super) async fn prepared(
        &self,
        link: &Link,
        sql: &str,
        first: usize,
    ) -> Result<Statement, StorageError> {
        let statement = link.prepare(sql, DOING).await?;
        let types = statement
            .columns()
            .iter()
            .skip(first)
            .take(self.types.len());
        match types
            .map(|column| column.type_().oid())
            .eq(self.types.iter().copied())
        {
            true => Ok(statement),
            false => Err(link.other_tables(DOING)),
        }
    }

    /// Its scope, and the statements of each of its columns.
    pub(super) fn scoped(&self) -> Option<(&ScopeSql, &[ByValue])> {
        Some((self.scope.as_ref()?, self.scoped.as_slice()))
    }

    pub(super) fn key_width(&self) -> usize {
        self.entity.local.key_width
    }

    pub(super) fn form(&self, attribute: usize) -> Option<&Form> {
        self.columns.get(attribute).map(|column| &column.form)
    }

    /// The parameters of a statement that goes on behind a stored key, in the order of the index.
    pub(super) fn behind(&self, key: &RawKey) -> Vec<Param> {
        let cell = |at: &usize| {
            let cell = key.0.get(*at).zip(self.key.get(*at));
            cell.map_or_else(
                || Param::stored(None, false),
                |(cell, key)| key.column.stored(cell),
            )
        };
        self.scan_order.iter().map(cell).collect()
    }

    /// How many columns are read of a row as devices get it; others stand behind them.
    pub(super) fn width(&self) -> usize {
        self.own_width() + self.lookups.forms.len()
    }

    fn own_width(&self) -> usize {
        let is_beside = self.deletion.as_ref().is_some_and(|found| found.is_beside);
        self.columns.len() + usize::from(is_beside)
    }

    /// The canonical cells of a row as devices get it, lookups included, from a column on.
    pub(super) fn cells<'r>(
        &self,
        row: &'r Row,
        first: usize,
    ) -> Result<Vec<Canonical<'r>>, StorageError> {
        let own = self.columns.iter().map(|column| &column.form).enumerate();
        let lookups = self.lookups.forms.iter().enumerate();
        let lookups = lookups.map(|(at, form)| (self.own_width() + at, form));
        let cell = |(at, form): (usize, &Form)| read(form, row, first + at);
        own.chain(lookups).map(cell).collect()
    }

    /// Whether such a row does not count as deleted.
    pub(super) fn is_alive(&self, row: &Row, first: usize) -> Result<bool, StorageError> {
        match &self.deletion {
            None => Ok(true),
            Some(deletion) => Ok(!deletion.is_deleted(row, first)?),
        }
    }

    /// Whether such a row goes to devices: it does not count as deleted, and is in the window.
    pub(super) fn is_sent(
        &self,
        row: &Row,
        first: usize,
        window: Option<&Window>,
    ) -> Result<bool, StorageError> {
        if let (Some(keep), Some(window)) = (&self.entity.keep, window)
            && let Some(form) = self.form(keep.attribute)
        {
            let cell = read(form, row, first + keep.attribute)?;
            return Ok(window.keeps(cell.as_ref()) && self.is_alive(row, first)?);
        }
        self.is_alive(row, first)
    }

    /// The key of such a row as it is stored.
    pub(super) fn raw_key(&self, row: &Row, first: usize) -> Result<RawKey, StorageError> {
        RawKey::read(row, first, self.key_width())
    }

    /// The canonical form of the key that a mark has.
    pub(super) fn marked_key(&self, mark: &RawKey) -> Result<Key, StorageError> {
        let cells = mark.0.iter().zip(&self.key);
        cells.map(|(cell, key)| key.canonical(cell)).collect()
    }

    /// Which rows devices have at an instant.
    pub(super) fn window(&self, at: Option<i64>) -> Option<Window> {
        window(&self.entity, at)
    }

    /// The parameters that name the row of a canonical key. `None`: there can be none.
    pub(super) fn named(&self, key: &[Value]) -> Option<Vec<Param>> {
        let cells = key.iter().zip(&self.key);
        let cells = cells.map(|(value, key)| match value {
            Value::Null => None,
            value => key.column.parameter(value),
        });
        cells
            .collect::<Option<Vec<_>>>()
            .filter(|cells| cells.len() == self.key.len())
    }

    /// A row that a statement read for a push: its attributes that are no lookups, and whether it
    /// counts as deleted, from a column on.
    pub(super) fn found(&self, row: &Row, first: usize) -> Result<Found, StorageError> {
        let cell = |(at, column): (usize, &ReadColumn)| {
            Ok(read(&column.form, row, first + at)?.as_ref().to_value())
        };
        let values = self.columns.iter().enumerate().map(cell);
        Ok(Found {
            place: self.raw_key(row, first)?,
            values: values.collect::<Result<_, StorageError>>()?,
            is_deleted: !self.is_alive(row, first)?,
        })
    }

    /// The canonical form of a stored key. `None`: it is none of this table.
    pub(super) fn canonical(&self, key: &RawKey) -> Option<Key> {
        let cells = key.0.iter().zip(&self.key);
        let value = |(cell, key): (&Vec<u8>, &KeyColumn)| {
            let value = key.column.form.read(Stored(Some(cell)));
            Some(value.ok()?.as_ref().to_value())
        };
        cells.map(value).collect()
    }

    /// The tables that a page of it must hold.
    pub(super) fn held(&self) -> impl Iterator<Item = (&str, u32)> {
        let own = (self.name.as_str(), self.shape.oid);
        let scope = self.scope.iter().flat_map(|scope| &scope.tables);
        let others = self.lookups.tables.iter().chain(scope);
        std::iter::once(own).chain(others.map(|(name, oid)| (name.as_str(), *oid)))
    }

    /// The captures whose resets mean that it starts over.
    pub(super) fn captures(&self) -> impl Iterator<Item = i32> {
        self.capture
            .into_iter()
            .chain(self.lookups.captures.iter().copied())
    }
}

/// A parameter among others.
pub(super) fn as_parameter(cell: &Param) -> &(dyn tokio_postgres::types::ToSql + Sync) {
    cell
}

/// A canonical cell of a row.
pub(super) fn read<'r>(
    form: &Form,
    row: &'r Row,
    at: usize,
) -> Result<Canonical<'r>, StorageError> {
    let cell = form.read(stored(row, at)?);
    cell.map_err(|error| lasting(format!("{DOING}: {error}")))
}

/// For each attribute the entity whose server-made identifiers it holds, if it does.
fn numbered_by(model: &ServerModel, local: &Entity) -> Vec<Option<String>> {
    let numbered_by = |attribute: &Attribute| {
        let numbering = model.device.numbered_by(local, &attribute.name)?;
        Some(numbering.name.clone())
    };
    local.attributes.iter().map(numbered_by).collect()
}

/// The columns of the attributes that are no lookups, and those of the key.
fn columns(
    shape: &Shape,
    entity: &ServerEntity,
) -> Result<(Vec<ReadColumn>, Vec<KeyColumn>), StorageError> {
    let all = entity.columns.iter();
    let all = all.map(|column| ReadColumn::of(shape, column));
    let key = entity.columns.iter().take(entity.local.key_width);
    let key = key.enumerate();
    let key = key.map(|(at, column)| KeyColumn::of(shape, at, column));
    Ok((
        all.collect::<Result<_, _>>()?,
        key.collect::<Result<_, _>>()?,
    ))
}

/// What is read of a row without its lookups, in SQL.
fn own(columns: &[ReadColumn], deletion: Option<&Deletion>) -> String {
    let beside = deletion.filter(|deletion| deletion.is_beside);
    let beside = beside.map(|deletion| &deletion.column);
    let own = columns.iter().chain(beside).map(|column| column.read("r"));
    own.collect::<Vec<_>>().join(", ")
}

/// The columns of the key in the order of their index.
fn names(entity: &ServerEntity, scan_order: &[usize]) -> Vec<String> {
    let order = scan_order.iter().filter_map(|at| entity.columns.get(*at));
    order.map(|column| column.name.clone()).collect()
}

/// The scope of an entity, and the tables that say what is held.
async fn scope(
    tx: &Transaction<'_>,
    model: &ServerModel,
    entity: &ServerEntity,
    shape: &Shape,
    captures: &[Capture],
) -> Result<Option<ScopeSql>, StorageError> {
    let Some(mut scope) = ScopeSql::compile(tx, &model.scopes, entity, shape).await? else {
        return Ok(None);
    };
    if scope.has_queries() {
        let read = captures
            .iter()
            .filter(|capture| capture.kind == Kind::Table);
        let read = read.map(|capture| (capture.shape.sql(), capture.shape.oid));
        scope.tables.extend(read);
    }
    Ok(Some(scope))
}

/// Whether a capture is that of this entity's rows.
fn is_of(capture: &Capture, shape: &Shape, entity: &ServerEntity) -> bool {
    let key = entity.columns.iter().take(entity.local.key_width);
    let scope: Vec<String> = entity
        .scope
        .conditions()
        .map(|condition| condition.column.clone())
        .collect();
    capture.kind == Kind::Rows
        && capture.shape.oid == shape.oid
        && capture
            .key
            .iter()
            .map(|column| &column.of)
            .eq(key.map(|column| &column.name))
        && capture
            .scope
            .iter()
            .map(|column| &column.of)
            .eq(&shape.ordered(&scope))
}

/// A key of which several stored forms are one on a device would be told apart here.
fn exact(shape: &Shape, entity: &ServerEntity, key: &[KeyColumn]) -> Result<(), StorageError> {
    use afield_protocol::Type;
    for (key, column) in key.iter().zip(&entity.columns) {
        let is_text = matches!(key.column.form.wire, Wire::Text | Wire::Json | Wire::Other);
        if is_text && column.kind != Type::Text {
            return Err(lasting(format!(
                "`{}`: its key `{}` is text in `{}` and none on devices; make it a column of that \
                 type",
                entity.local.name,
                column.name,
                shape.label()
            )));
        }
    }
    Ok(())
}

/// The order of the key's columns in their index.
fn scan_order(shape: &Shape, entity: &ServerEntity) -> Result<Vec<usize>, StorageError> {
    let columns = entity.columns.iter().take(entity.local.key_width);
    let names: Vec<String> = columns.map(|column| column.name.clone()).collect();
    let place = |name: &String| names.iter().position(|known| known == name);
    let of_index = |index: &(Vec<String>, bool)| {
        let places: Option<Vec<usize>> = index.0.iter().map(place).collect();
        places.filter(|places| places.len() == names.len())
    };
    shape.uniques.iter().find_map(of_index).ok_or_else(|| {
        lasting(format!(
            "`{}`: ({}) is neither its primary key nor unique, so it cannot identify a row",
            shape.label(),
            names.join(", ")
        ))
    })
}

/// The attribute by which rows come into the window as time passes.
fn entering(entity: &ServerEntity, columns: &[ReadColumn]) -> Result<Option<usize>, StorageError> {
    let Some(keep) = entity.keep.as_ref() else {
        return Ok(None);
    };
    let is_time = |column: &ReadColumn| {
        matches!(
            column.form.wire,
            Wire::Date | Wire::Timestamp | Wire::Timestamptz
        )
    };
    if !columns.get(keep.attribute).is_some_and(is_time) {
        return Err(lasting(format!(
            "`{}`: its window goes by a column that is no date, timestamp or timestamptz",
            entity.local.name
        )));
    }
    Ok(keep.comparison.grows().then_some(keep.attribute))
}

impl EntityTable {
    /// The row with this canonical key as devices get it.
    pub(super) async fn shown(
        &self,
        link: &Link,
        key: &[Value],
    ) -> Result<Option<Row>, StorageError> {
        let Some(cells) = self.named(key) else {
            return Ok(None);
        };
        let statement = self.prepared(link, &self.sql.shown, 0).await?;
        let cells: Vec<_> = cells.iter().map(as_parameter).collect();
        let row = link.client.query_opt(&statement, &cells).await;
        link.noted(row, DOING)
    }
}
