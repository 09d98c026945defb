//! Which tables a model needs captured, and what marks of them must say.

use tokio_postgres::Transaction;

use super::capture::{Capture, Kind};
use super::error::lasting;
use super::kinds::MarkColumn;
use super::scope_reads;
use super::shape::{Column, Shape};
use crate::resolved::{Holds, Hop, ServerEntity, ServerModel};
use crate::storage::StorageError;

/// The captures of a model, without numbers: of the entities' tables, then of what lookups and
/// paths read, then of what the queries of scopes read.
pub(super) async fn captures(
    tx: &Transaction<'_>,
    model: &ServerModel,
) -> Result<Vec<Capture>, StorageError> {
    let mut found = Vec::new();
    for entity in pulled(model) {
        add(&mut found, rows(tx, entity).await?);
    }
    for entity in pulled(model) {
        for hop in hops(entity) {
            add(&mut found, source(tx, hop).await?);
        }
    }
    for name in queried(model) {
        let Some(scope) = model.scope(name) else {
            return Err(lasting(format!("the model has no scope `{name}`")));
        };
        for oid in scope_reads::tables(tx, scope).await? {
            let shape = Shape::of(tx, oid).await?;
            // Pulls ask the query itself; its marks only tell sooner that they should.
            if shape.can_be_captured() {
                shape.must_be_captured()?;
                add(&mut found, table(shape));
            }
        }
    }
    Ok(found)
}

/// Rows that only come from devices are never pulled: marks of them would be of no use.
fn pulled(model: &ServerModel) -> impl Iterator<Item = &ServerEntity> {
    let entities = model.entities.iter();
    entities.filter(|entity| !entity.local.insert_only)
}

/// What an entity reads of other tables.
fn hops(entity: &ServerEntity) -> impl Iterator<Item = &Hop> {
    let lookups = entity.lookups.iter().flat_map(|lookup| &lookup.path);
    lookups.chain(entity.scope.conditions().flat_map(|c| &c.path))
}

/// The scopes whose values decide about rows, each once.
fn queried(model: &ServerModel) -> Vec<&String> {
    let conditions = pulled(model).flat_map(|entity| entity.scope.conditions());
    let mut names: Vec<&String> = conditions
        .filter_map(|condition| match &condition.holds {
            Holds::Scope(name) => Some(name),
            Holds::User | Holds::Claim(_) => None,
        })
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Adds a capture, or what it watches to one of the same marks.
fn add(found: &mut Vec<Capture>, capture: Capture) {
    match found.iter_mut().find(|known| known.is_like(&capture)) {
        None => found.push(capture),
        Some(known) => {
            let watched = [known.watched.as_slice(), &capture.watched].concat();
            known.watched = known.shape.ordered(&watched);
        }
    }
}

impl Capture {
    /// Whether its marks say the same of the same table.
    fn is_like(&self, other: &Self) -> bool {
        (self.kind, self.shape.oid, &self.key, &self.scope)
            == (other.kind, other.shape.oid, &other.key, &other.scope)
    }
}

async fn rows(tx: &Transaction<'_>, entity: &ServerEntity) -> Result<Capture, StorageError> {
    let shape = Shape::named(tx, &entity.table).await?;
    shape.must_be_captured()?;
    let names = |columns: &[crate::resolved::ServerColumn]| -> Vec<String> {
        columns.iter().map(|column| column.name.clone()).collect()
    };
    let key = names(entity.columns.get(..entity.local.key_width).unwrap_or(&[]));
    let is_immediate = shape.unique(&key).filter(|_| !key.is_empty());
    let Some(is_immediate) = is_immediate else {
        return Err(lasting(format!(
            "`{}`: ({}) is neither its primary key nor unique, so it cannot identify a row; give \
             the table a primary key",
            shape.label(),
            key.join(", ")
        )));
    };
    let scope: Vec<String> = (entity.scope.conditions())
        .map(|condition| condition.column.clone())
        .collect();
    let scope = shape.ordered(&{
        for name in &scope {
            shape.column(name)?;
        }
        scope
    });
    let mut watched = names(&entity.columns);
    watched.extend(
        entity
            .delete
            .iter()
            .map(|delete| delete.column.name.clone()),
    );
    watched.extend(entity.lookups.iter().map(|lookup| lookup.column.clone()));
    watched.extend(scope.iter().cloned());
    for name in &watched {
        shape.column(name)?;
    }
    Ok(Capture {
        id: 0,
        kind: Kind::Rows,
        key: columns(&shape, &key, MarkColumn::key)?,
        scope: columns(&shape, &scope, MarkColumn::scope)?,
        watched: shape.ordered(&watched),
        is_unique: is_immediate,
        shape,
    })
}

async fn source(tx: &Transaction<'_>, hop: &Hop) -> Result<Capture, StorageError> {
    let shape = Shape::named(tx, &hop.table).await?;
    shape.must_be_captured()?;
    shape.column(&hop.column)?;
    let key = vec![hop.key.clone()];
    Ok(Capture {
        id: 0,
        kind: Kind::Source,
        key: columns(&shape, &key, MarkColumn::key)?,
        scope: Vec::new(),
        watched: shape.ordered(&[hop.key.clone(), hop.column.clone()]),
        is_unique: shape.unique(&key).unwrap_or(false),
        shape,
    })
}

fn table(shape: Shape) -> Capture {
    Capture {
        id: 0,
        kind: Kind::Table,
        shape,
        key: Vec::new(),
        scope: Vec::new(),
        watched: Vec::new(),
        is_unique: true,
    }
}

fn columns(
    shape: &Shape,
    names: &[String],
    made: fn(usize, &Column) -> Result<MarkColumn, String>,
) -> Result<Vec<MarkColumn>, StorageError> {
    let columns = names.iter().enumerate().map(|(at, name)| {
        let column = shape.column(name)?;
        made(at, column).map_err(|why| {
            let label = shape.label();
            lasting(format!(
                "`{label}` cannot be captured by this key or scope: {why}"
            ))
        })
    });
    columns.collect()
}
