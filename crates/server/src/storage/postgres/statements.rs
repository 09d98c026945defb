//! The statements that read an entity's rows: each a few ranges or points of an index. In them `r`
//! is a row of the team's table and `m` a mark.
//!
//! A row that is marked is looked up by `LATERAL (… LIMIT 1)`: nothing that a planner believes
//! turns the look-up of one row into a pass over the table.

use super::capture::mark_table;
use super::columns::{KeyColumn, ReadColumn, behind};
use super::entity::Parts;

/// One entity's statements. Those that may find many rows take the most as `$1`.
#[derive(Debug)]
pub(super) struct Sql {
    /// The rows in the order of their keys.
    pub scan_first: String,
    /// The same behind a key, which is `$2` and on.
    pub scan_after: String,
    /// All rows, in whatever order; `$1` at most.
    pub every: String,
    /// How many there are, counted up to `$1`.
    pub count: String,
    /// The row with a key, as devices get it; the key's cells are `$1` and on.
    pub shown: String,
    /// Transaction and key of marks, and what is there now. `$2` and `$3` are the ends of ranges of
    /// transactions; before these come the marks of `$4` behind the key that is `$5` and on.
    pub marks: Option<String>,
    /// Of an entity whose window rows come into by time: the rows whose attribute is between `$3`
    /// and `$2`, in the order of that and of the key; and those behind an attribute and a key, `$3`
    /// and on.
    pub entering: Option<(String, String)>,
}

impl Sql {
    pub(super) fn build(parts: &Parts<'_>, shown: &str) -> Self {
        let Parts {
            table,
            key,
            order,
            columns,
            ..
        } = *parts;
        let named = named(order);
        let ordered = ordered(order);
        let is_it = is_it(key);
        Self {
            scan_first: format!(
                "SELECT {shown} FROM {table} r WHERE {named} ORDER BY {ordered} LIMIT $1"
            ),
            scan_after: format!(
                "SELECT {shown} FROM {table} r WHERE {} AND {named} ORDER BY {ordered} LIMIT $1",
                behind(order, "r", 2)
            ),
            every: format!("SELECT {shown} FROM {table} r WHERE {named} LIMIT $1"),
            count: format!(
                "SELECT count(*) FROM (SELECT 1 FROM {table} r WHERE {named} LIMIT $1) c"
            ),
            shown: format!("SELECT {shown} FROM {table} r WHERE {is_it} LIMIT 1"),
            marks: parts.capture.map(|id| {
                let found = (key.iter())
                    .map(|key| {
                        let cell = format!("m.{}", key.mark.name);
                        key.column.is_marked("r", &key.mark, &cell)
                    })
                    .collect::<Vec<_>>()
                    .join(" AND ");
                let cells: String = key
                    .iter()
                    .map(|key| format!(", {}", key.read_mark("m")))
                    .collect();
                format!(
                    "SELECT m.xid{cells}, v.* FROM ({}) m LEFT JOIN LATERAL (\
                     SELECT true AS is_there, {shown} FROM {table} r WHERE {found} LIMIT 1) v \
                     ON true LIMIT $1",
                    marks(id, key)
                )
            }),
            entering: parts
                .entering
                .and_then(|at| entering(parts, columns.get(at)?, shown)),
        }
    }
}

/// Transaction and key of the marks of a capture: `$4` behind the key `$5` and on, then those of
/// the ranges `$2` to `$3`; each range gives `$1` at most.
pub(super) fn marks(capture: i32, key: &[KeyColumn]) -> String {
    let mark = mark_table(capture);
    let names: Vec<String> = key
        .iter()
        .map(|key| format!("m.{}", key.mark.name))
        .collect();
    let holes: Vec<String> = (5..5 + key.len()).map(|at| format!("${at}")).collect();
    let names = names.join(", ");
    let cells = format!("m.xid, {names}");
    let behind = match key.len() {
        1 => format!("{names} OPERATOR(pg_catalog.>) {}", holes.concat()),
        _ => format!("({names}) OPERATOR(pg_catalog.>) ({})", holes.join(", ")),
    };
    format!(
        "(SELECT {cells} FROM {mark} m WHERE m.xid = $4 AND {behind} ORDER BY {cells} LIMIT $1) \
         UNION ALL (SELECT {cells} FROM unnest($2::xid8[], $3::xid8[]) s (lo, hi) \
         CROSS JOIN LATERAL (SELECT {cells} FROM {mark} m \
         WHERE m.xid >= s.lo AND m.xid <= s.hi ORDER BY {cells} LIMIT $1) m)"
    )
}

/// Whether there are marks of a capture in the ranges `$1` to `$2`.
pub(super) fn any_mark(capture: i32) -> String {
    format!(
        "SELECT EXISTS (SELECT FROM unnest($1::xid8[], $2::xid8[]) s (lo, hi) \
         CROSS JOIN LATERAL (SELECT FROM {} m WHERE m.xid >= s.lo AND m.xid <= s.hi \
         ORDER BY m.xid LIMIT 1) m)",
        mark_table(capture)
    )
}

/// That a row's key is `$1` and on.
pub(super) fn is_it(key: &[KeyColumn]) -> String {
    let equal = |(at, key): (usize, &KeyColumn)| key.column.is_parameter("r", at + 1);
    let equal: Vec<String> = key.iter().enumerate().map(equal).collect();
    equal.join(" AND ")
}

/// That a row has a whole key: a unique one may be null in parts, and then it names nothing.
pub(super) fn named(order: &[&ReadColumn]) -> String {
    let named = order
        .iter()
        .map(|column| format!("r.{} IS NOT NULL", column.name));
    named.collect::<Vec<_>>().join(" AND ")
}

/// The key's columns in the order of their index.
pub(super) fn ordered(order: &[&ReadColumn]) -> String {
    let names = order.iter().map(|column| format!("r.{}", column.name));
    names.collect::<Vec<_>>().join(", ")
}

fn entering(parts: &Parts<'_>, attribute: &ReadColumn, shown: &str) -> Option<(String, String)> {
    let Parts { table, order, .. } = *parts;
    let name = &attribute.name;
    let (upto, from) = (attribute.operator("<="), attribute.operator(">="));
    let all = [&[attribute], order].concat();
    let sorted = format!("AND {} ORDER BY {} LIMIT $1", named(order), ordered(&all));
    let read = format!("SELECT {shown} FROM {table} r WHERE r.{name} {upto} $2");
    Some((
        format!("{read} AND r.{name} {from} $3 {sorted}"),
        format!("{read} AND {} {sorted}", behind(&all, "r", 3)),
    ))
}
