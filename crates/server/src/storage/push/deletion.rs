//! Rows that count as deleted: how one becomes one, and how it comes back.

use afield_protocol::zoo::planted;
use afield_protocol::{Attributes, Type};

use super::transaction::{Beside, Deleting, FoundRow, Table, Transaction, Written};
use crate::resolved::DeletedWhen;
use crate::storage::StorageError;

/// Makes a row a deleted one.
pub(super) fn delete<T: Transaction>(
    tx: &T,
    table: &T::Table,
    deletion: Deleting<'_>,
    row: &FoundRow<T::Place>,
) -> Result<Written<T::Place>, StorageError> {
    let value = match deletion.when {
        DeletedWhen::Is(value) => value.clone(),
        DeletedWhen::NotNull if deletion.kind == Type::Text => Type::Instant.at(tx.now()),
        DeletedWhen::NotNull => deletion.kind.at(tx.now()),
    };
    let beside = Beside {
        column: deletion.column,
        value: &value,
    };
    let written = tx.update(table, row, &Attributes::new(), Some(beside))?;
    // No row is left behind that its author would have to be allowed to leave.
    Ok(match written {
        Written::Row(Some(row)) if !row.is_deleted => Written::Kept,
        Written::Row(_) => Written::Row(None),
        other => other,
    })
}

/// Writes what a create says to a deleted row of its key, which thereby is none any more; unless
/// the create itself says that it is.
pub(super) fn revive<T: Transaction>(
    tx: &T,
    table: &T::Table,
    deletion: Deleting<'_>,
    row: &FoundRow<T::Place>,
    set: &Attributes,
) -> Result<Written<T::Place>, StorageError> {
    let attributes = &table.entity().local.attributes;
    let attribute = deletion.attribute.and_then(|at| attributes.get(at));
    let is_said = attribute.is_some_and(|attribute| set.contains_key(&attribute.name));
    let revives = !is_said && !planted("server-create-does-not-revive");
    let beside = revives.then_some(Beside {
        column: deletion.column,
        value: deletion.revived,
    });
    tx.update(table, row, set, beside)
}
