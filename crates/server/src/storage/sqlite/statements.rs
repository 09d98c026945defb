//! The statements that read an entity's rows: each a point or a range of an index.

use super::error::lasting;
use super::lookups::Lookups;
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
    /// How many rows there are, counted up to a number.
    pub count: String,
    /// The row with a stored key, without its lookups: for who writes.
    pub by_key: String,
    pub by_rowid: Option<String>,
    /// The row with a stored key as devices get it.
    pub shown: String,
    /// For each column by which lookups go: the rows with a value, in the order of a download.
    pub referring: Vec<ByColumn>,
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
    /// For each N: how many rows have a value, counted up to a number.
    pub count: Vec<String>,
    /// For each N: change, key and scope columns of marks under a list of values, above one
    /// number and up to another, so many at most.
    pub marks: Vec<String>,
    /// Whether the row with a stored key is in the caller's scope.
    pub is_mine: String,
}

/// The rows that have a value in a column, in the order of a download.
#[derive(Debug)]
pub(super) struct ByColumn {
    pub column: String,
    /// All of them.
    pub first: String,
    /// Those behind a key, whose cells come before the value.
    pub after: String,
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
    pub lookups: &'a Lookups,
}

impl Sql {
    pub(super) fn build(parts: &Parts<'_>, scan_order: &[usize], key: &[KeyTerm]) -> Self {
        let Parts {
            schema,
            entity,
            beside,
            scope,
            lookups,
        } = *parts;
        let table = quote(&schema.name);
        let mark = quote(&mark_table(&schema.name));
        let columns = entity.columns.iter().map(|column| column.name.as_str());
        let columns: Vec<String> = columns.chain(beside).map(quote).collect();
        let shown = [columns.as_slice(), &lookups.selects].concat().join(", ");
        let columns = columns.join(", ");
        let with_rowid = match &schema.rowid {
            Some(rowid) => format!("{columns}, {rowid}"),
            None => columns,
        };
        let order = Order::of(scan_order, key);
        let (named, ordered, holes) = (&order.named, &order.ordered, &order.holes);
        let equals: Vec<String> = key
            .iter()
            .enumerate()
            .map(|(at, term)| format!("{}{} = ?{}", term.column, term.collate, at + 1))
            .collect();
        let key_is = equals.join(" AND ");
        let mark_key: Vec<String> = (1..=key.len()).map(|at| format!("key{at}")).collect();
        let scope_columns = scope.map_or(&[][..], |scope| &scope.columns).iter();
        let scope_columns: String = scope_columns.map(|c| format!(", {}", quote(c))).collect();
        let read = format!("SELECT {shown}{scope_columns} FROM {table} WHERE");
        let by_column = |column: &String| order.by_column(&read, column, key.len());
        Self {
            scan_first: format!("SELECT {shown} FROM {table} WHERE 1{named} ORDER BY {ordered}"),
            scan_after: format!(
                "SELECT {shown} FROM {table} WHERE ({ordered}) > ({holes}){named} \
                 ORDER BY {ordered}"
            ),
            count: order.count(&table, None),
            by_key: format!("SELECT {with_rowid} FROM {table} WHERE {key_is}"),
            by_rowid: schema
                .rowid
                .as_ref()
                .map(|rowid| format!("SELECT {with_rowid} FROM {table} WHERE {rowid} = ?1")),
            shown: format!("SELECT {shown} FROM {table} WHERE {key_is}"),
            referring: lookups.columns().map(by_column).collect(),
            marks_after: format!(
                "SELECT change, {} FROM {mark} WHERE change > ?1 ORDER BY change",
                mark_key.join(", ")
            ),
            any_mark_after: format!("SELECT EXISTS (SELECT 1 FROM {mark} WHERE change > ?1)"),
            entering: entering(parts, &read, &order),
            scoped: scope.map(|scope| {
                let sql = scope.columns.iter().map(by_column);
                let (first, after) = sql.map(|sql| (sql.first, sql.after)).unzip();
                let counts = scope.columns.iter().map(|it| order.count(&table, Some(it)));
                ScopedSql {
                    by_key: format!("{read} {key_is}"),
                    first,
                    after,
                    count: counts.collect(),
                    marks: marks_of_values(&mark, scope, key.len()),
                    is_mine: format!(
                        "SELECT EXISTS (SELECT 1 FROM {table} WHERE {key_is} AND {})",
                        scope.predicate()
                    ),
                }
            }),
            key_is,
        }
    }
}

/// The order of a download, as SQL.
struct Order {
    /// That a row has a whole key, where the columns do not promise it.
    named: String,
    /// The key's columns in the order of their index.
    ordered: String,
    /// A parameter for each of them.
    holes: String,
}

impl Order {
    fn of(scan_order: &[usize], key: &[KeyTerm]) -> Self {
        let term = |at: &usize| format!("{}{}", key[*at].column, key[*at].collate);
        let ordered: Vec<String> = scan_order.iter().map(term).collect();
        let holes: Vec<String> = (1..=key.len()).map(|at| format!("?{at}")).collect();
        Self {
            named: key
                .iter()
                .filter(|term| !term.not_null)
                .map(|term| format!(" AND {} IS NOT NULL", term.column))
                .collect(),
            ordered: ordered.join(", "),
            holes: holes.join(", "),
        }
    }

    /// How many rows there are, or of a value `?1`, counted up to the last parameter.
    fn count(&self, table: &str, column: Option<&String>) -> String {
        let is_value = column.map_or("1".to_owned(), |column| format!("{} = ?1", quote(column)));
        let (named, most) = (&self.named, 1 + usize::from(column.is_some()));
        format!(
            "SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {is_value}{named} LIMIT ?{most})"
        )
    }

    fn by_column(&self, read: &str, column: &str, key_width: usize) -> ByColumn {
        let Self {
            named,
            ordered,
            holes,
        } = self;
        let quoted = quote(column);
        let sorted = format!("{named} ORDER BY {ordered}");
        let value = key_width + 1;
        ByColumn {
            column: column.to_owned(),
            first: format!("{read} {quoted} = ?1{sorted}"),
            after: format!("{read} ({ordered}) > ({holes}) AND {quoted} = ?{value}{sorted}"),
        }
    }
}

/// The rows of a range of the window's attribute, and the same from behind one of them.
fn entering(parts: &Parts<'_>, read: &str, order: &Order) -> Option<(String, String)> {
    let keep = parts.entity.keep.as_ref()?;
    if !keep.comparison.grows() {
        return None;
    }
    let attribute = quote(&parts.entity.columns.get(keep.attribute)?.name);
    let Order { named, ordered, .. } = order;
    let sorted = format!("{named} ORDER BY {attribute}, {ordered}");
    let end = parts.entity.local.key_width + 2;
    let holes: Vec<String> = (1..end).map(|at| format!("?{at}")).collect();
    Some((
        format!("{read} {attribute} >= ?1 AND {attribute} < ?2{sorted}"),
        format!(
            "{read} {attribute} >= ?1 AND {attribute} < ?{end} \
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
