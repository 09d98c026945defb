//! References and indexes: what the server's tables say, in the words of the local entities.

use afield_protocol::{Entity, Reference};

use crate::catalog::{Catalog, ForeignKey, Table};
use crate::resolved::ServerEntity;

/// Fills in references and indexes of every synced entity.
pub(super) fn add(entities: &mut [ServerEntity], catalog: &Catalog) {
    let targets: Vec<Target> = entities
        .iter()
        .filter(|entity| entity.local.is_synced())
        .filter_map(|entity| Target::new(entity, catalog))
        .collect();
    for entity in entities
        .iter_mut()
        .filter(|entity| entity.local.is_synced())
    {
        let Some(table) = catalog.table(&entity.table) else {
            continue;
        };
        let references = references(entity, table, &targets);
        entity.local.references = references;
        entity.local.indexes = indexes(entity, table);
    }
}

/// An entity that others may refer to.
struct Target {
    name: String,
    table: String,
    key: Vec<String>,
}

impl Target {
    fn new(entity: &ServerEntity, catalog: &Catalog) -> Option<Self> {
        Some(Self {
            name: entity.local.name.clone(),
            table: entity.table.clone(),
            key: catalog.table(&entity.table)?.primary_key.clone(),
        })
    }
}

/// The entity's foreign keys that hold the identifier of an entity in the model.
fn references(entity: &ServerEntity, table: &Table, targets: &[Target]) -> Vec<Reference> {
    let mut references: Vec<Reference> = Vec::new();
    for foreign in &table.foreign_keys {
        let target = targets.iter().find(|t| t.table == foreign.table);
        let Some(target) = target else { continue };
        let Some(columns) = in_key_order(foreign, &target.key) else {
            continue;
        };
        let Some(attributes) = local_names(entity, &columns) else {
            continue;
        };
        let reference = Reference {
            attributes,
            entity: target.name.clone(),
        };
        if !references.contains(&reference) {
            references.push(reference);
        }
    }
    references
}

/// The referring columns in the order of the other's key; `None` unless they are exactly it.
pub(super) fn in_key_order<'a>(foreign: &'a ForeignKey, key: &[String]) -> Option<Vec<&'a str>> {
    if foreign.targets.len() != key.len() || foreign.columns.len() != key.len() {
        return None;
    }
    let column = |wanted: &String| {
        let at = foreign.targets.iter().position(|t| t == wanted)?;
        foreign.columns.get(at).map(String::as_str)
    };
    key.iter().map(column).collect()
}

/// Useful indexes on the device: the server's, as far as their columns are there, and one for
/// each foreign key and for the window. None that another, or the identifier, begins with.
fn indexes(entity: &ServerEntity, table: &Table) -> Vec<Vec<String>> {
    let foreign = table.foreign_keys.iter().map(|foreign| &foreign.columns);
    let mut wanted: Vec<Vec<String>> = Vec::new();
    let window = entity.keep.as_ref();
    let window = window.and_then(|keep| entity.columns.get(keep.attribute));
    // Devices drop the rows that left a window.
    let window = window.map(|column| vec![column.name.clone()]);
    for columns in table.indexes.iter().chain(foreign).chain(&window) {
        let known: Vec<String> = columns
            .iter()
            .map_while(|column| local_name(entity, column))
            .collect();
        if !known.is_empty() && !wanted.contains(&known) {
            wanted.push(known);
        }
    }
    let key: Vec<String> = entity.local.key().iter().map(|a| a.name.clone()).collect();
    let is_covered = |index: &Vec<String>| {
        let mut longer = wanted.iter().filter(|other| *other != index);
        key.starts_with(index) || longer.any(|other| other.starts_with(index))
    };
    wanted
        .iter()
        .filter(|index| !is_covered(index))
        .cloned()
        .collect()
}

fn local_names(entity: &ServerEntity, columns: &[&str]) -> Option<Vec<String>> {
    columns
        .iter()
        .map(|column| local_name(entity, column))
        .collect()
}

fn local_name(entity: &ServerEntity, column: &str) -> Option<String> {
    let ServerEntity { local, columns, .. } = entity;
    let at = columns.iter().position(|known| known.name == column)?;
    attribute_name(local, at)
}

fn attribute_name(local: &Entity, at: usize) -> Option<String> {
    local
        .attributes
        .get(at)
        .map(|attribute| attribute.name.clone())
}
