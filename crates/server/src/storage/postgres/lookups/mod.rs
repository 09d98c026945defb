//! Lookups: attributes whose values other rows have, read where they are and never copied.
//!
//! ```text
//!   read:  row."company_id" ──► company."id" … "region_id" ──► region."id" … "name"
//!   back:  row  ◄── "company_id" = ?  ◄── company "region_id" = ?  ◄── a mark of region
//! ```
//!
//! Each table that a lookup reads, the ones on the way included, is captured as a source. A pull
//! goes from a mark *back*, in its own snapshot, to the rows that show it. One step back is enough
//! to be right, whatever moved: of a chain that leads elsewhere now, the first row that changed has
//! a mark, and all before it are as they were.

mod fan;
mod routes;

use afield_protocol::Type;
use tokio_postgres::Transaction;

pub(super) use self::fan::{Fan, is_any_shown};
pub(super) use self::routes::Route;
use super::capture::{Capture, Kind};
use super::cell::Form;
use super::columns::{KeyColumn, ReadColumn};
use super::entity::Parts;
use super::error::{While, lasting};
use super::quoted::quote;
use super::shape::Shape;
use crate::resolved::{Hop, Lookup, ServerColumn, ServerEntity};
use crate::storage::StorageError;

/// The lookups of an entity over its table.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    /// For each lookup the expression for its value, over a row `r` of the entity's table.
    pub selects: Vec<String>,
    /// For each lookup how its value travels.
    pub forms: Vec<Form>,
    /// The ways from rows that lookups read back to the rows that show them, each once.
    pub routes: Vec<Route>,
    /// The tables that are read: names in SQL and oids.
    pub tables: Vec<(String, u32)>,
    /// Their captures.
    pub captures: Vec<i32>,
    /// Says what the lookups mean: a position of another meaning is none of this entity.
    pub meaning: String,
}

/// A step of a path over its table.
#[derive(Clone, Debug)]
struct Step {
    shape: Shape,
    table: String,
    /// The column that is referred to.
    key: ReadColumn,
    /// The column with the next value.
    column: ReadColumn,
    /// Its names, as the model has them.
    hop: Hop,
    /// Whether there is an index on the column and then the key.
    is_indexed: bool,
}

impl Lookups {
    /// Compiles the lookups of `entity`.
    ///
    /// # Errors
    /// A step of one does not exist, is not captured, or cannot be compared exactly.
    pub(super) async fn compile(
        tx: &Transaction<'_>,
        entity: &ServerEntity,
        shape: &Shape,
        captures: &[Capture],
    ) -> Result<Self, StorageError> {
        let mut compiled = Self::default();
        let attributes = entity.local.attributes.iter().skip(entity.columns.len());
        let mut known: Vec<(&String, &[Hop])> = Vec::new();
        for (lookup, attribute) in entity.lookups.iter().zip(attributes) {
            let own = ReadColumn::new(shape.column(&lookup.column)?, Type::Text);
            let steps = steps(tx, lookup, attribute.kind).await?;
            let Some(last) = steps.last() else {
                return Err(lasting("a lookup leads nowhere"));
            };
            exact(entity, &lookup.column, &own, &steps)?;
            compiled.selects.push(select(&own, &steps));
            compiled.forms.push(last.column.form);
            compiled.meaning += &meaning(lookup);
            let key = names(entity);
            let is_indexed = has_index(tx, shape.oid, &lookup.column, &key).await?;
            for depth in 1..=steps.len() {
                let (Some(path), Some(steps)) = (lookup.path.get(..depth), steps.get(..depth))
                else {
                    continue;
                };
                let is_known = |(column, other): &(&String, &[Hop])| {
                    **column == lookup.column && is_same_route(other, path)
                };
                if known.iter().any(is_known) {
                    continue;
                }
                known.push((&lookup.column, path));
                compiled.add(captures, &own, steps, is_indexed)?;
            }
        }
        Ok(compiled)
    }

    fn add(
        &mut self,
        captures: &[Capture],
        own: &ReadColumn,
        steps: &[Step],
        is_indexed: bool,
    ) -> Result<(), StorageError> {
        let Some((source, between)) = steps.split_last() else {
            return Ok(());
        };
        let is_of = |capture: &&Capture| {
            capture.kind == Kind::Source
                && capture.shape.oid == source.shape.oid
                && capture.key.iter().map(|key| &key.of).eq([&source.hop.key])
        };
        let capture = captures.iter().find(is_of).ok_or_else(|| {
            let table = &source.table;
            lasting(format!(
                "{table} is not captured for lookups: run `afield prepare`"
            ))
        })?;
        let key = ServerColumn {
            name: source.hop.key.clone(),
            kind: Type::Text,
            scale: None,
        };
        self.routes.push(Route::new(
            capture.id,
            KeyColumn::of(&source.shape, 0, &key)?,
            between.iter().rev().cloned().collect(),
            own.clone(),
            is_indexed,
        ));
        let table = (source.table.clone(), source.shape.oid);
        if !self.tables.contains(&table) {
            self.tables.push(table);
        }
        if !self.captures.contains(&capture.id) {
            self.captures.push(capture.id);
        }
        Ok(())
    }

    /// With the statements of its routes, over the rows of the entity.
    pub(super) fn over(mut self, parts: &Parts<'_>, shown: &str) -> Self {
        for route in &mut self.routes {
            route.build(parts, shown);
        }
        self
    }
}

async fn steps(
    tx: &Transaction<'_>,
    lookup: &Lookup,
    kind: Type,
) -> Result<Vec<Step>, StorageError> {
    let mut steps = Vec::new();
    for hop in &lookup.path {
        let shape = Shape::named(tx, &hop.table).await?;
        let key = shape.column(&hop.key)?;
        if shape.unique(std::slice::from_ref(&hop.key)).is_none() {
            return Err(lasting(format!(
                "`{}.{}` does not identify a row, and a lookup goes through it",
                shape.label(),
                hop.key
            )));
        }
        let keys = [hop.key.clone()];
        steps.push(Step {
            table: shape.sql(),
            key: ReadColumn::new(key, Type::Text),
            column: ReadColumn::new(shape.column(&hop.column)?, kind),
            hop: hop.clone(),
            is_indexed: has_index(tx, shape.oid, &hop.column, &keys).await?,
            shape,
        });
    }
    Ok(steps)
}

fn names(entity: &ServerEntity) -> Vec<String> {
    let key = entity.columns.iter().take(entity.local.key_width);
    key.map(|column| column.name.clone()).collect()
}

/// Fails unless each reference is compared with its key by the same rule from both sides.
fn exact(
    entity: &ServerEntity,
    column: &str,
    own: &ReadColumn,
    steps: &[Step],
) -> Result<(), StorageError> {
    let references = std::iter::once(own).chain(steps.iter().map(|step| &step.column));
    for (reference, step) in references.zip(steps) {
        if !reference.can_be_compared(&step.key) {
            return Err(lasting(format!(
                "`{}`: the lookup by `{column}` compares {} with {} of {}, and their types or \
                 collations differ; give both the same",
                entity.local.name, reference.name, step.key.name, step.table
            )));
        }
    }
    Ok(())
}

/// Whether there is an index whose first columns are these: the rows of one value are then found in
/// the order of the key.
pub(super) async fn has_index(
    tx: &Transaction<'_>,
    table: u32,
    column: &str,
    key: &[String],
) -> Result<bool, StorageError> {
    let sql = "
        SELECT EXISTS (
          SELECT FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
          JOIN pg_am m ON m.oid = c.relam AND m.amname = 'btree'
          WHERE i.indrelid = $1 AND i.indisvalid AND i.indpred IS NULL AND ARRAY(
            SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (num, ord)
            JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.num
            WHERE k.ord <= cardinality($2::text[]) ORDER BY k.ord) = $2)";
    let columns = [&[column.to_owned()], key].concat();
    let row = tx.query_one(sql, &[&table, &columns]).await;
    Ok(row.while_("reading the indexes")?.get(0))
}

/// Whether two paths from the same column go through the same rows: which column of the last one
/// is shown makes no difference.
fn is_same_route(a: &[Hop], b: &[Hop]) -> bool {
    let ends = |hop: &Hop| (hop.table.clone(), hop.key.clone());
    let inner = |path: &[Hop]| -> Vec<String> {
        let all = path.iter().map(|hop| hop.column.clone());
        all.take(path.len().saturating_sub(1)).collect()
    };
    a.len() == b.len() && a.iter().map(ends).eq(b.iter().map(ends)) && inner(a) == inner(b)
}

/// What a lookup means, for the positions of its entity.
fn meaning(lookup: &Lookup) -> String {
    let hop = |hop: &Hop| {
        let [table, key, column] = [&hop.table, &hop.key, &hop.column].map(|name| quote(name));
        format!(" {table} {key} {column}")
    };
    let hops: String = lookup.path.iter().map(hop).collect();
    format!("\n{}{hops}", quote(&lookup.column))
}

/// The value of a lookup, for a row `r`: null if the path ends before. Step by step, each one row.
fn select(own: &ReadColumn, steps: &[Step]) -> String {
    let mut from = Vec::new();
    let mut value = format!("r.{}", own.name);
    for (at, step) in steps.iter().enumerate() {
        // A name of Afield's own, since a table may lead to itself.
        let (table, name) = (&step.table, format!("afield_{}", at + 1));
        let leads = step.key.is_same("t", &value);
        let read = match at + 1 == steps.len() {
            true => step.column.read("t"),
            false => format!("t.{}", step.column.name),
        };
        from.push(format!(
            "LATERAL (SELECT {read} AS v FROM {table} t WHERE {leads} LIMIT 1) {name}"
        ));
        value = format!("{name}.v");
    }
    format!("(SELECT {value} FROM {})", from.join(", "))
}
