//! Finds the column of a table that looks like the user whose row it is, for `init` and `add`.
//!
//! It is a guess, and only ever written as a comment. A column counts if its name says so
//! (`owner`, `user_id`, `assigned_to`, …), else if it refers to a table that is named after users
//! or employees. Who merely created a row (`created_by`) does not own it.

use afield_protocol::Type;

use super::propose::quoted;
use super::scope::name_in_scope;
use crate::catalog::{Column, Table};

/// Names of such columns, in order of how sure they are; `_id` may stand behind each.
const COLUMNS: [&str; 10] = [
    "owner",
    "owned_by",
    "assigned_to",
    "assignee",
    "assigned_user",
    "user",
    "username",
    "user_name",
    "app_user",
    "responsible",
];

/// Names of tables that hold the users.
const TABLES: [&str; 9] = [
    "user",
    "users",
    "app_user",
    "app_users",
    "employee",
    "employees",
    "staff",
    "inspector",
    "inspectors",
];

/// The line that gives every user his own rows, if the table has such a column.
pub(super) fn own_rows(table: &Table) -> Option<(&Column, String)> {
    let usable = |column: &&Column| {
        let is_exact = !matches!(column.kind, Type::Real | Type::Bytes | Type::Json);
        is_exact && column.collation.is_none() && column.left_out.is_none()
    };
    let named = COLUMNS.iter().find_map(|wanted| {
        let mut columns = table.columns.iter().filter(usable);
        columns.find(|column| is_called(&column.name, wanted))
    });
    let referring = || {
        let mut keys = table.foreign_keys.iter().filter(|key| {
            let is_users = TABLES
                .iter()
                .any(|name| key.table.eq_ignore_ascii_case(name));
            key.columns.len() == 1 && is_users
        });
        let column = keys.find_map(|key| table.column(key.columns.first()?))?;
        usable(&column).then_some(column)
    };
    let column = named.or_else(referring)?;
    let name = name_in_scope(&column.name);
    // The user's own name is text; a number comes as a claim of the token.
    let scope = match column.kind {
        Type::Integer | Type::Decimal | Type::Boolean => format!("{name} = :claim.{name}"),
        _ => format!("{name} = :user"),
    };
    Some((column, format!("scope = {}", quoted(&scope))))
}

/// `OwnerID`, `owner_id` and `owner` are all called `owner`.
fn is_called(name: &str, wanted: &str) -> bool {
    let plain = |name: &str| name.to_ascii_lowercase().replace('_', "");
    let (name, wanted) = (plain(name), plain(wanted));
    name == wanted || name.strip_suffix("id").is_some_and(|name| name == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_however_they_are_spelled() {
        for name in ["owner", "Owner_ID", "OWNERID", "ownerId"] {
            assert!(is_called(name, "owner"), "{name}");
        }
        assert!(is_called("assignedTo", "assigned_to"));
        for name in ["owners", "id", "", "owner_name", "created_by"] {
            assert!(
                !COLUMNS.iter().any(|wanted| is_called(name, wanted)),
                "{name}"
            );
        }
    }
}
