//! The statements that read an entity's rows: each a point or a range of an index.

use super::error::lasting;
use super::marks::mark_table;
use super::schema::{TableSchema, TermOf};
use super::scope::ScopeSql;
use super::sql_text::quote;
use crate::resolved::ServerEntity;
use crate::storage::StorageError;

/// One entity's statements.
#[derive(Debug)]
pub(super) struct Sql {
    pub scan_first: String,
    pub scan_after: String,
    pub by_key: String,
    pub by_rowid: Option<String>,
    /// The condition on a whole stored key, with parameters from 1 on.
    pub key_is: String,
    pub marks_after: String,
    pub any_mark_after: String,
    /// What an entity with a scope has in their place.
    pub scoped: Option<ScopedSql>,
    /// Of an entity whose window rows come into by time: the rows of a range of its attribute, in
    /// the order of that and of the key, and the same from behind one.
    pub entering: Option<(String, String)>,
}

/// The statements of an entity with a scope. `N` is a scope column of it.
#[derive(Debug)]
pub(super) struct ScopedSql {
    /// Attributes, then scope columns, of the row with a stored key.
    pub by_key: String,
    /// For each N: the same of the rows with a value, in the order of a download.
    pub first: Vec<String>,
    /// For each N: from behind a key, whose cells come before the value.
    pub after: Vec<String>,
    /// For each N: change, key and scope columns of marks under a list of values, above one
    /// number and up to another, so many at most.
    pub marks: Vec<String>,
    /// Whether the row with a stored key is in the caller's scope.
    pub is_mine: String,
}

/// A key column with the collation that its unique key compares it by, where that is not the
/// column's own: only then is it named, since naming it can keep SQLite from using the index.
pub(super) struct KeyTerm {
    column: String,
    collate: String,
    not_null: bool,
}

/// The order of the key's columns in their index, and the columns in the order of the key.
pub(super) fn key_terms(
    schema: &TableSchema,
    entity: &ServerEntity,
) -> Result<(Vec<usize>, Vec<KeyTerm>), StorageError> {
    let columns = entity.columns.get(..entity.local.key_width).unwrap_or(&[]);
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let unique = schema.unique_over(&names).ok_or_else(|| {
        lasting(format!(
            "`{}`: ({}) identifies no row",
            schema.name,
            names.join(", ")
        ))
    })?;
    let mut order = Vec::new();
    let mut terms: Vec<Option<KeyTerm>> = names.iter().map(|_| None).collect();
    for term in &unique.terms {
        let TermOf::Column(name) = &term.what else {
            continue;
        };
        let Some(at) = names
            .iter()
            .position(|known| known.eq_ignore_ascii_case(name))
        else {
            continue;
        };
        let column = schema.column(name);
        let own = column.map(|column| column.collation.as_str());
        let collate = term
            .collation
            .as_deref()
            .filter(|collation| own.is_none_or(|own| !own.eq_ignore_ascii_case(collation)));
        order.push(at);
        terms[at] = Some(KeyTerm {
            column: quote(name),
            collate: collate.map_or_else(String::new, |c| format!(" COLLATE {}", quote(c))),
            not_null: term.collation.is_none() || column.is_some_and(|column| column.not_null),
        });
    }
    Ok((order, terms.into_iter().flatten().collect()))
}

/// What the statements are made of.
pub(super) struct Parts<'a> {
    pub schema: &'a TableSchema,
    pub entity: &'a ServerEntity,
    /// A column that is read behind the attributes.
    pub beside: Option<&'a str>,
    pub scope: Option<&'a ScopeSql>,
}

impl Sql {
    pub(super) fn build(parts: &Parts<'_>, scan_order: &[usize], key: &[KeyTerm]) -> Self {
        let Parts {
            schema,
            entity,
            beside,
            scope,
        } = *parts;
        let table = quote(&schema.name);
        let mark = quote(&mark_table(&schema.name));
        let columns = entity.columns.iter().map(|column| column.name.as_str());
        let columns: Vec<String> = columns.chain(beside).map(quote).collect();
        let columns = columns.join(", ");
        let with_rowid = match &schema.rowid {
            Some(rowid) => format!("{columns}, {rowid}"),
            None => columns.clone(),
        };
        let term = |at: &usize| format!("{}{}", key[*at].column, key[*at].collate);
        let ordered: Vec<String> = scan_order.iter().map(term).collect();
        let ordered = ordered.join(", ");
        let holes: Vec<String> = (1..=key.len()).map(|at| format!("?{at}")).collect();
        let holes = holes.join(", ");
        let named: String = key
            .iter()
            .filter(|term| !term.not_null)
            .map(|term| format!(" AND {} IS NOT NULL", term.column))
            .collect();
        let equals: Vec<String> = key
            .iter()
            .enumerate()
            .map(|(at, term)| format!("{}{} = ?{}", term.column, term.collate, at + 1))
            .collect();
        let mark_key: Vec<String> = (1..=key.len()).map(|at| format!("key{at}")).collect();
        Self {
            scan_first: format!("SELECT {columns} FROM {table} WHERE 1{named} ORDER BY {ordered}"),
            scan_after: format!(
                "SELECT {columns} FROM {table} WHERE ({ordered}) > ({holes}){named} \
                 ORDER BY {ordered}"
            ),
            by_key: format!(
                "SELECT {with_rowid} FROM {table} WHERE {}",
                equals.join(" AND ")
            ),
            key_is: equals.join(" AND "),
            by_rowid: schema
                .rowid
                .as_ref()
                .map(|rowid| format!("SELECT {with_rowid} FROM {table} WHERE {rowid} = ?1")),
            marks_after: format!(
                "SELECT change, {} FROM {mark} WHERE change > ?1 ORDER BY change",
                mark_key.join(", ")
            ),
            any_mark_after: format!("SELECT EXISTS (SELECT 1 FROM {mark} WHERE change > ?1)"),
            entering: entering(parts, &columns, &ordered, &named, key.len()),
            scoped: scope.map(|scope| ScopedSql {
                by_key: String::new(),
                first: Vec::new(),
                after: Vec::new(),
                marks: marks_of_values(&mark, scope, key.len()),
                is_mine: format!(
                    "SELECT EXISTS (SELECT 1 FROM {table} WHERE {} AND {})",
                    equals.join(" AND "),
                    scope.predicate()
                ),
            }),
        }
        .with_rows(&table, &columns, scope, &ordered, &holes, &named)
    }

    /// Fills in the statements that read rows of a scope.
    fn with_rows(
        mut self,
        table: &str,
        columns: &str,
        scope: Option<&ScopeSql>,
        ordered: &str,
        holes: &str,
        named: &str,
    ) -> Self {
        let (Some(scoped), Some(scope)) = (&mut self.scoped, scope) else {
            return self;
        };
        let quoted: Vec<String> = scope.columns.iter().map(|column| quote(column)).collect();
        let read = format!("SELECT {columns}, {} FROM {table} WHERE", quoted.join(", "));
        scoped.by_key = format!("{read} {}", self.key_is);
        let value = holes.split(", ").count() + 1;
        for column in &quoted {
            let sorted = format!("{named} ORDER BY {ordered}");
            scoped.first.push(format!("{read} {column} = ?1{sorted}"));
            scoped.after.push(format!(
                "{read} ({ordered}) > ({holes}) AND {column} = ?{value}{sorted}"
            ));
        }
        self
    }
}

fn entering(
    parts: &Parts<'_>,
    columns: &str,
    ordered: &str,
    named: &str,
    key_width: usize,
) -> Option<(String, String)> {
    let keep = parts.entity.keep.as_ref()?;
    if !keep.comparison.grows() {
        return None;
    }
    let attribute = quote(&parts.entity.columns.get(keep.attribute)?.name);
    let scopes = parts.scope.iter().flat_map(|scope| &scope.columns);
    let scopes: String = scopes.map(|name| format!(", {}", quote(name))).collect();
    let read = format!(
        "SELECT {columns}{scopes} FROM {}",
        quote(&parts.schema.name)
    );
    let sorted = format!("{named} ORDER BY {attribute}, {ordered}");
    let end = key_width + 2;
    let holes: Vec<String> = (1..end).map(|at| format!("?{at}")).collect();
    Some((
        format!("{read} WHERE {attribute} >= ?1 AND {attribute} < ?2{sorted}"),
        format!(
            "{read} WHERE {attribute} >= ?1 AND {attribute} < ?{end} \
             AND ({attribute}, {ordered}) > ({}){sorted}",
            holes.join(", ")
        ),
    ))
}

fn marks_of_values(mark: &str, scope: &ScopeSql, key_width: usize) -> Vec<String> {
    let width = scope.columns.len();
    let keys: Vec<String> = (1..=key_width).map(|at| format!("m.key{at}")).collect();
    let scopes: Vec<String> = (1..=width).map(|at| format!("m.scope{at}")).collect();
    let cells = format!("{}, {}", keys.join(", "), scopes.join(", "));
    // The cross join keeps the list outside: one range of the index for each value.
    let sql = |at| {
        format!(
            "SELECT m.change, {cells} FROM rarray(?1) AS v CROSS JOIN {mark} AS m \
             WHERE m.scope{at} = v.value AND m.change > ?2 AND m.change <= ?3 LIMIT ?4"
        )
    };
    (1..=width).map(sql).collect()
}
