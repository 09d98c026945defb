//! `delete`: which rows count as deleted, and whether that can be said of the column.

use afield_protocol::{Literal, Type, Value};

use super::Resolver;
use crate::catalog::{Column, Table};
use crate::model::condition::{WrittenDelete, WrittenWhen};
use crate::model::error::suggestion;
use crate::model::file::{At, FromServer};
use crate::resolved::{DeletedWhen, ServerColumn, SoftDelete};

impl<'a> Resolver<'a> {
    /// When rows of an entity count as deleted; mistakes are noted.
    pub(super) fn deletion(
        &mut self,
        entity: &str,
        server: &FromServer,
        table: &'a Table,
    ) -> Option<SoftDelete> {
        let WrittenDelete { column: name, when } = server.delete.as_ref()?;
        let column = self.own_column(entity, "delete", server, table, name)?;
        if server.insert_only.is_some() {
            let message = format!(
                "[local.{entity}] delete: rows are only created on devices (`insert_only`) and \
                 never go there; remove one of them"
            );
            self.wrong(name.place, message);
            return None;
        }
        if let Some(problem) = column_problem(server, table, column) {
            let message = format!(
                "[local.{entity}] delete: `{}.{}` {problem}",
                table.name, column.name
            );
            self.wrong(name.place, message);
            return None;
        }
        let fits = match &when.value {
            WrittenWhen::IsNotNull => not_null(column),
            WrittenWhen::Truth(truth) => literal(column, &truth_value(column, *truth), truth),
            WrittenWhen::Is(value) => literal(column, &value.value(), &shown(value)),
        };
        match fits {
            Ok(when) => Some(SoftDelete {
                revived: revived(column, &when),
                column: ServerColumn {
                    name: column.name.clone(),
                    kind: column.kind,
                    scale: column.scale,
                },
                when,
            }),
            Err(problem) => {
                let message = format!(
                    "[local.{entity}] delete: `{}.{}` {problem}",
                    table.name, column.name
                );
                self.wrong(when.place, message);
                None
            }
        }
    }

    /// The column of an entity's own table that `key` names; a local name of it is no name on the
    /// server.
    pub(super) fn own_column(
        &mut self,
        entity: &str,
        key: &str,
        server: &FromServer,
        table: &'a Table,
        name: &At<String>,
    ) -> Option<&'a Column> {
        if let Some(column) = table.column(&name.value) {
            return Some(column);
        }
        let mut renamed = server.attributes.iter();
        let near = match renamed.find(|listed| listed.local.value == name.value) {
            Some(listed) => format!(
                "`{}` is the local name of the column `{}`: write that",
                name.value, listed.column.value
            ),
            None => suggestion(&name.value, table.columns.iter().map(|c| &*c.name)),
        };
        let message = format!(
            "[local.{entity}] {key}: the table `{}` has no column `{}`; {near}",
            table.name, name.value
        );
        self.wrong(name.place, message);
        None
    }
}

fn column_problem(server: &FromServer, table: &Table, column: &Column) -> Option<&'static str> {
    if table.is_key(&column.name) {
        return Some("is part of the identifier, which is never changed; name another column");
    }
    if column.generated && server.is_written() {
        return Some(
            "is computed by the database, so that no device's delete could set it; name the \
             column that it is computed from",
        );
    }
    None
}

fn not_null(column: &Column) -> Result<DeletedWhen, String> {
    let kinds = [Type::Instant, Type::Datetime, Type::Date, Type::Text];
    if !kinds.contains(&column.kind) {
        return Err(format!(
            "is {}, and a device's delete would set the time: `is not null` needs an instant, a \
             datetime, a date or a text; write `= LITERAL` here",
            column.kind.as_str()
        ));
    }
    if column.not_null {
        return Err(
            "can never be null, so every row would count as deleted; write \
                    `= LITERAL`, or let the column be null"
                .to_owned(),
        );
    }
    Ok(DeletedWhen::NotNull)
}

/// A truth value where the column takes one.
fn truth_value(column: &Column, truth: bool) -> Value {
    match column.kind {
        Type::Boolean => Value::Integer(i64::from(truth)),
        // No column takes it: the error says what this one does.
        _ => Value::Null,
    }
}

fn literal(
    column: &Column,
    value: &Value,
    shown: &dyn std::fmt::Display,
) -> Result<DeletedWhen, String> {
    let kind = column.kind;
    let can_equal = !matches!(kind, Type::Json | Type::Bytes) && !value.is_null();
    let is_quoted = matches!(value, Value::Text(_));
    let is_number = matches!(kind, Type::Integer | Type::Real | Type::Boolean);
    let canonical = kind.normalise(value.clone()).ok();
    match canonical.filter(|_| can_equal && !(is_quoted && is_number)) {
        Some(value) => Ok(DeletedWhen::Is(value)),
        None => Err(format!(
            "is {}, which is never {shown}; {}",
            kind.as_str(),
            remedy(kind)
        )),
    }
}

fn remedy(kind: Type) -> &'static str {
    match kind {
        Type::Boolean => "write `true` or `false`",
        Type::Integer => "write a whole number",
        Type::Real | Type::Decimal => "write a number",
        Type::Text => "write a text in 'single quotes'",
        Type::Date => "write a day like '2024-02-29', or `is not null`",
        Type::Time => "write a time like '10:30:00'",
        Type::Datetime => "write a time like '2024-02-29T10:30:00', or `is not null`",
        Type::Instant => "write an instant like '2024-02-29T10:30:00Z', or `is not null`",
        Type::Uuid => "write a UUID in 'single quotes'",
        Type::Json | Type::Bytes => "name a column of another type",
    }
}

fn shown(value: &Literal) -> String {
    match value {
        Literal::Integer(n) => n.to_string(),
        Literal::Real(x) => x.to_string(),
        Literal::Text(text) => format!("'{}'", text.escape_debug()),
    }
}

/// What a row gets that is created anew under the identifier of a deleted one, where its author
/// says nothing of the column: what a new row would have, unless that is deleted too.
fn revived(column: &Column, when: &DeletedWhen) -> Value {
    let DeletedWhen::Is(deleted) = when else {
        return Value::Null;
    };
    let default = column.default.as_ref().map(Literal::value);
    match (deleted, default) {
        (_, Some(default)) if default != *deleted => default,
        (Value::Integer(truth), _) if column.kind == Type::Boolean => Value::Integer(1 - truth),
        _ => Value::Null,
    }
}
