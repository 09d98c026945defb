//! What a scope must be like so that its values can be compared exactly: refusals, each with what
//! to do.

use tokio_postgres::Transaction;

use super::super::error::{While, lasting};
use super::super::shape::Shape;
use super::asks::{Asks, Token};
use super::chosen::ChosenSql;
use super::class::{Class, Compared};
use super::query::TeamQuery;
use super::{HoldsSql, ScopeSql};
use crate::resolved::{Condition, Holds, NamedScope, Scope, ServerEntity};
use crate::storage::StorageError;

/// A step of a path.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// The table's name in SQL.
    pub table: String,
    pub oid: u32,
    pub key: Compared,
    pub column: Compared,
}

/// Where a path ends.
pub(super) struct Ends {
    pub path: Vec<Step>,
    pub last: Named,
}

/// A column, and its name for people.
pub(super) struct Named {
    pub column: Compared,
    pub label: String,
}

/// Fails where devices are told of another scope.
pub(super) fn told(entity: &ServerEntity) -> Result<(), StorageError> {
    if entity.local.scope == entity.scope.widths() {
        return Ok(());
    }
    let name = &entity.local.name;
    Err(lasting(format!(
        "`{name}`: what devices are told of its scope is not its scope"
    )))
}

/// The columns of the table that a scope compares, each once and in the table's order.
pub(super) fn columns(
    whose: &str,
    shape: &Shape,
    scope: &Scope,
) -> Result<Vec<Compared>, StorageError> {
    let mut names = Vec::new();
    for condition in scope.conditions() {
        exact(whose, shape, &condition.column)?;
        names.push(condition.column.clone());
    }
    let names = shape.ordered(&names);
    let column = |name: &String| Ok(exact(whose, shape, name)?.column);
    names.iter().map(column).collect()
}

/// The column, which compares exactly.
fn exact(whose: &str, shape: &Shape, column: &str) -> Result<Named, StorageError> {
    let label = format!("{}.{column}", label(shape));
    let Some(found) = shape.columns.iter().find(|known| known.name == column) else {
        return Err(lasting(format!(
            "{whose} names `{label}`, which does not exist"
        )));
    };
    let column = Compared::of(found).map_err(|why| {
        lasting(format!(
            "{whose} compares `{label}`, which {why}; use another column"
        ))
    })?;
    Ok(Named { column, label })
}

/// A table's name as a model file has it.
fn label(shape: &Shape) -> String {
    super::super::name::TableName::new(shape.schema.as_str(), shape.name.as_str()).to_string()
}

/// Follows the path of a condition.
pub(super) async fn ends(
    tx: &Transaction<'_>,
    whose: &str,
    shape: &Shape,
    own: &Compared,
    condition: &Condition,
) -> Result<Ends, StorageError> {
    let mut path = Vec::new();
    let mut last = Named {
        column: own.clone(),
        label: format!("{}.{}", label(shape), own.name),
    };
    for hop in &condition.path {
        let table = Shape::named(tx, &hop.table).await?;
        let key = exact(whose, &table, &hop.key)?;
        same_class(
            whose,
            (&last.label, &last.column.class),
            (&key.label, &key.column.class),
        )?;
        last = exact(whose, &table, &hop.column)?;
        path.push(Step {
            table: table.sql(),
            oid: table.oid,
            key: key.column,
            column: last.column.clone(),
        });
    }
    Ok(Ends { path, last })
}

/// What a condition holds, where it can be compared with the column at the end of its path.
pub(super) async fn holds(
    tx: &Transaction<'_>,
    whose: &str,
    scopes: &[NamedScope],
    last: &Named,
    condition: &Condition,
) -> Result<HoldsSql, StorageError> {
    let name = match &condition.holds {
        Holds::User => return token(whose, last, Token::User),
        Holds::Claim(claim) => return token(whose, last, Token::Claim(claim.clone())),
        Holds::Scope(name) => name,
    };
    let named = scopes.iter().find(|named| named.name == *name);
    let named =
        named.ok_or_else(|| lasting(format!("{whose}: the model has no scope `{name}`")))?;
    if let Some(kind) = named.chosen {
        return chosen(tx, whose, named, last, kind).await;
    }
    let query = TeamQuery::read(tx, named, None).await?;
    let Some(class) = query.class() else {
        return Err(lasting(format!(
            "the query of the scope `{name}` finds values of the type `{}`, which cannot be \
             compared exactly; CAST them in it",
            query.type_name()
        )));
    };
    match last.column.class.takes(&class) {
        true => Ok(HoldsSql::Query(query)),
        false => Err(differ(
            whose,
            (&last.label, &last.column.class),
            (&format!("scope `{name}`"), &class),
        )),
    }
}

async fn chosen(
    tx: &Transaction<'_>,
    whose: &str,
    named: &NamedScope,
    last: &Named,
    kind: afield_protocol::Type,
) -> Result<HoldsSql, StorageError> {
    let scope = named.name.clone();
    if !ChosenSql::fits(kind, &last.column.class)
        || named.query.to_ascii_lowercase().contains("afield_")
    {
        return Err(lasting(format!(
            "{whose}: the scope `{scope}` has values or names that cannot be asked about: it is \
             compared with `{}` ({})",
            last.label,
            last.column.class.label()
        )));
    }
    let query = TeamQuery::read(tx, named, Some(&last.column)).await?;
    Ok(HoldsSql::Chosen(ChosenSql { scope, kind, query }))
}

/// A claim, or the user's name: text that can be a value of the column.
fn token(whose: &str, last: &Named, token: Token) -> Result<HoldsSql, StorageError> {
    match last.column.class {
        Class::Bytea => Err(lasting(format!(
            "{whose} compares `{}` with what a token says, which is never bytes; use another \
             column",
            last.label
        ))),
        _ => Ok(HoldsSql::Token(token)),
    }
}

/// PostgreSQL has no `=` for some pairs of types, and turns values into others for the rest, so
/// that what is equal depends on who asks.
fn same_class(whose: &str, one: (&str, &Class), other: (&str, &Class)) -> Result<(), StorageError> {
    match one.1 == other.1 {
        true => Ok(()),
        false => Err(differ(whose, one, other)),
    }
}

fn differ(whose: &str, (one, is): (&str, &Class), (other, as_is): (&str, &Class)) -> StorageError {
    lasting(format!(
        "{whose} compares `{one}` ({}) with `{other}` ({}); give both columns the same type, or \
         CAST in the query of the scope",
        is.label(),
        as_is.label()
    ))
}

/// Fails unless PostgreSQL understands the list.
pub(super) async fn can_be_asked(
    tx: &Transaction<'_>,
    whose: &str,
    list: &Asks,
) -> Result<(), StorageError> {
    let doing = format!("{whose}: asking for what is held");
    tx.prepare(&list.sql).await.while_(&doing).map(|_| ())
}

/// Fails unless PostgreSQL understands the condition over a row.
pub(super) async fn can_be_told(
    tx: &Transaction<'_>,
    whose: &str,
    shape: &Shape,
    scope: &ScopeSql,
) -> Result<(), StorageError> {
    let asks = scope.predicate("afield_row", 1, "afield_list");
    let sql = asks.statement(&format!(
        "SELECT FROM {} AS afield_row WHERE {}",
        shape.sql(),
        asks.sql
    ));
    let doing = format!("{whose}: asking whose a row is");
    tx.prepare(&sql).await.while_(&doing).map(|_| ())
}
