//! Which references a push must ask about itself, and which the database's own foreign keys answer.

use afield_protocol::Reference;

use crate::resolved::{ServerEntity, ServerModel};

/// A foreign key: from columns of one table to columns of another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::storage) struct ForeignKey {
    /// The table that is referred to, as the model names tables.
    pub parent: String,
    /// The columns that refer.
    pub from: Vec<String>,
    /// The columns that they refer to, in the same order.
    pub to: Vec<String>,
}

/// For each reference of an entity, whether a push must ask for the row itself: rows of everyone
/// are left to the database's own foreign key, if it has one for it. `folded` brings a name into
/// the form by which the database compares names.
pub(in crate::storage) fn asked(
    model: &ServerModel,
    entity: &ServerEntity,
    keys: &[ForeignKey],
    folded: fn(&str) -> String,
) -> Vec<bool> {
    let is_asked = |reference: &Reference| {
        let Some(parent) = model.entity(&reference.entity) else {
            return false;
        };
        let mut keys = keys.iter();
        !parent.scope.is_everyone()
            || parent.delete.is_some()
            || !keys.any(|key| is_the_same(entity, reference, parent, key, folded))
    };
    entity.local.references.iter().map(is_asked).collect()
}

/// Whether a foreign key says what a reference does.
fn is_the_same(
    entity: &ServerEntity,
    reference: &Reference,
    parent: &ServerEntity,
    key: &ForeignKey,
    folded: fn(&str) -> String,
) -> bool {
    let column = |name: &String| {
        let known = &entity.local.attributes;
        let at = known.iter().position(|attribute| attribute.name == *name)?;
        Some(folded(&entity.columns.get(at)?.name))
    };
    let columns: Option<Vec<String>> = reference.attributes.iter().map(column).collect();
    let Some(columns) = columns else {
        return false;
    };
    let identifier = parent.columns.iter().take(parent.local.key_width);
    let mut wanted: Vec<(String, String)> = columns
        .into_iter()
        .zip(identifier.map(|column| folded(&column.name)))
        .collect();
    let pairs = key.from.iter().zip(&key.to);
    let mut found: Vec<(String, String)> =
        pairs.map(|(from, to)| (folded(from), folded(to))).collect();
    wanted.sort();
    found.sort();
    folded(&key.parent) == folded(&parent.table) && wanted == found
}
