//! What a device should hold, in plain SQL: joins and EXISTS, made from the drawn model alone and
//! without anything of the product.

use afield_server::storage::Caller;

use crate::model::{Condition, Entity, Holds, Lookup, Scope, claim_sql};
use crate::schema::{Domain, MARK, Member, Schema, Source};
use crate::text::{literal, quoted};

/// The query for the rows of an entity that are the caller's: key, whole row, mark.
pub(crate) fn rows_of(schema: &Schema, entity: &Entity, caller: &Caller) -> String {
    let table = &schema.tables[entity.table];
    let own = entity.columns(schema).into_iter();
    let own = own.map(|(_, column)| format!("a0.{}", quoted(&column)));
    let shown = entity.lookups.iter();
    let shown = shown.map(|lookup| of_lookup(schema, entity.table, lookup));
    let columns: Vec<String> = own.chain(shown).collect();
    let mut conditions = vec![of_scope(schema, entity.table, &entity.scope, caller)];
    conditions.extend(further(schema, entity));
    format!(
        "SELECT {}, {}, a0.{MARK} FROM {} AS a0 WHERE {}",
        shown_row("", &columns[..table.key_columns().len()]),
        shown_row("", &columns),
        quoted(&table.name),
        conditions.join(" AND ")
    )
}

/// The query for the keys of the rows of an entity's table that `rule` lets the caller write.
pub(crate) fn keys_for(schema: &Schema, entity: &Entity, rule: &Scope, caller: &Caller) -> String {
    let table = &schema.tables[entity.table];
    let key: Vec<String> = table.key_columns().iter().map(|k| quoted(k)).collect();
    format!(
        "SELECT {} FROM {} AS a0 WHERE {}",
        shown_row("a0.", &key),
        quoted(&table.name),
        of_scope(schema, entity.table, rule, caller)
    )
}

/// Conditions on rows beside the scope.
fn further(_schema: &Schema, _entity: &Entity) -> Vec<String> {
    Vec::new()
}

/// The query for all rows of a table: key, whole row, mark.
pub(crate) fn all_rows(schema: &Schema, table: usize) -> String {
    let table = &schema.tables[table];
    let key: Vec<String> = table
        .key_columns()
        .iter()
        .map(|name| quoted(name))
        .collect();
    let others = table.other_columns();
    let all = others.iter().map(|name| quoted(name));
    let all: Vec<String> = key.iter().cloned().chain(all).collect();
    format!(
        "SELECT {}, {}, {MARK} FROM {}",
        shown_row("", &key),
        shown_row("", &all),
        quoted(&table.name)
    )
}

/// An expression for some columns, quoted already, as one text.
pub(crate) fn shown_row(prefix: &str, columns: &[String]) -> String {
    let shown = columns
        .iter()
        .map(|column| format!("quote({prefix}{column})"));
    shown.collect::<Vec<_>>().join(" || ',' || ")
}

fn of_scope(schema: &Schema, table: usize, scope: &Scope, caller: &Caller) -> String {
    let joined = |parts: &[Scope], word: &str| {
        let part = |part| of_scope(schema, table, part, caller);
        let parts: Vec<String> = parts.iter().map(part).collect();
        format!("({})", parts.join(word))
    };
    match scope {
        Scope::Everyone => "1".to_owned(),
        Scope::One(condition) => of_condition(schema, table, condition, caller),
        Scope::All(parts) => joined(parts, " AND "),
        Scope::Any(parts) => joined(parts, " OR "),
    }
}

/// What the row at the end of a path has.
fn of_lookup(schema: &Schema, table: usize, lookup: &Lookup) -> String {
    let (from, on) = joins(schema, table, &lookup.path);
    format!(
        "(SELECT a{}.{} FROM {} WHERE {})",
        lookup.path.len(),
        quoted(&lookup.column),
        from.join(", "),
        on.join(" AND ")
    )
}

/// The tables of a path, and how they are joined.
fn joins(schema: &Schema, table: usize, path: &[usize]) -> (Vec<String>, Vec<String>) {
    let mut at = table;
    let (mut from, mut on) = (Vec::new(), Vec::new());
    for (place, step) in path.iter().enumerate() {
        let foreign = &schema.tables[at].foreign[*step];
        at = foreign.target;
        let target = &schema.tables[at];
        let alias = place + 1;
        from.push(format!("{} AS a{alias}", quoted(&target.name)));
        on.push(format!(
            "a{alias}.{} = a{place}.{}",
            quoted(&target.key_columns()[0]),
            quoted(&foreign.columns[0])
        ));
    }
    (from, on)
}

/// The path becomes one join.
fn of_condition(schema: &Schema, table: usize, condition: &Condition, caller: &Caller) -> String {
    let (from, mut on) = joins(schema, table, &condition.path);
    let last = format!("a{}.{}", condition.path.len(), quoted(&condition.column));
    on.push(match &condition.holds {
        Holds::User => format!("{last} = {}", literal(&caller.user)),
        Holds::Claim(name) => format!("{last} = {}", claim_sql(caller.claims.get(*name))),
        Holds::Named(place) => holds(schema, &schema.members[*place], &last, caller),
    });
    match from.is_empty() {
        true => format!("({})", on.join(" AND ")),
        false => format!(
            "EXISTS (SELECT 1 FROM {} WHERE {})",
            from.join(", "),
            on.join(" AND ")
        ),
    }
}

/// Whether the caller holds a value of this scope.
fn holds(schema: &Schema, member: &Member, value: &str, caller: &Caller) -> String {
    let (name, user) = (&member.name, literal(&caller.user));
    let direct = format!("SELECT 1 FROM m{name} AS m WHERE m.user_id = {user} AND m.v = {value}");
    match member.source {
        Source::Direct => format!("EXISTS ({direct})"),
        Source::Switched => format!("EXISTS ({direct} AND m.active <> 0)"),
        Source::Blocked => {
            format!("EXISTS ({direct} AND NOT EXISTS (SELECT 1 FROM x{name} AS x WHERE x.v = m.v))")
        }
        Source::Grouped => format!(
            "EXISTS (SELECT 1 FROM m{name} AS m WHERE m.user_id = {user} AND EXISTS \
             (SELECT 1 FROM g{name} AS g WHERE g.grp = m.grp AND g.v = {value}))"
        ),
        Source::Claimed => format!(
            "EXISTS (SELECT 1 FROM m{name} AS m WHERE m.zone = {} AND m.v = {value})",
            claim_sql(caller.claims.get("zone"))
        ),
        Source::Owned(table) => {
            let table = &schema.tables[table];
            let column = match member.domain {
                Domain::KeyOf(_) => table.key_columns()[0].clone(),
                domain => domain.column().to_owned(),
            };
            format!(
                "EXISTS (SELECT 1 FROM {} AS m WHERE m.owner = {user} AND m.{} = {value})",
                quoted(&table.name),
                quoted(&column)
            )
        }
        // From the row upwards, where the model's query goes from what is given downwards.
        Source::Tree(table, foreign) => {
            let table = &schema.tables[table];
            let up = quoted(&table.foreign[foreign].columns[0]);
            format!(
                "EXISTS (WITH RECURSIVE above (v) AS (SELECT {value} UNION \
                 SELECT t.{up} FROM {} AS t JOIN above ON t.id = above.v) \
                 SELECT 1 FROM above JOIN m{name} AS m ON m.v = above.v \
                 WHERE m.user_id = {user})",
                quoted(&table.name)
            )
        }
    }
}
