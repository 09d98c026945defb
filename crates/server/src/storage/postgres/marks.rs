//! Which keys were touched since a snapshot, and the snapshot that says so, in one statement.
//!
//! A transaction that a snapshot does not see began at or after its `xmax`, or was running when it
//! was taken. That is two ranges of an index, however long the oldest transaction has been running.

use std::fmt;
use std::str::FromStr;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, GenericClient};

pub use super::capture::Kind;
use super::capture::mark_table;
use super::error::{While, lasting};
use crate::storage::StorageError;

/// Which transactions somebody has seen: PostgreSQL's `pg_snapshot`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// All before it have ended, and are seen if they were committed.
    pub xmin: u64,
    /// None from it on is seen.
    pub xmax: u64,
    /// Those between that had not ended, in order.
    pub running: Vec<u64>,
}

/// A captured table, as its capture was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Names its marks.
    pub id: i32,
    /// What they say.
    pub kind: Kind,
    /// `schema.table` when it was captured.
    pub table: String,
    /// The same in SQL, as it is called now; `None` if it is gone.
    pub table_sql: Option<String>,
    /// The columns of its key, in order.
    pub key: Vec<String>,
    /// The columns that its scope compares, in order.
    pub scope: Vec<String>,
    scope_types: Vec<String>,
    scope_equals: Vec<String>,
}

/// Values of a column that a scope compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeValues {
    /// Its place in [`Captured::scope`].
    pub column: usize,
    /// The values, as text.
    pub values: Vec<String>,
}

/// What was touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// Up to where.
    pub snapshot: Snapshot,
    /// Marks since the old snapshot have been forgotten: everything must be loaded again.
    pub is_forgotten: bool,
    /// Something was not marked since the old snapshot: this table must be loaded again.
    pub is_reset: bool,
    /// The keys as text, each once, in no order. Of the kind [`Kind::Table`], one of no columns if
    /// anything was touched.
    pub keys: Vec<Vec<String>>,
}

const DOING: &str = "reading marks";

impl Snapshot {
    /// Whether a transaction that has ended is seen.
    pub fn sees(&self, xid: u64) -> bool {
        xid < self.xmax && self.running.binary_search(&xid).is_err()
    }

    /// Whether it sees everything that `other` sees, of the same history.
    pub(super) fn contains(&self, other: &Self) -> bool {
        let is_hidden = |xid: &u64| other.running.binary_search(xid).is_ok();
        let running = self.running.iter().take_while(|xid| **xid < other.xmax);
        other.xmax <= self.xmax && running.into_iter().all(is_hidden)
    }

    /// The transactions that it does not see and `next` may: ranges, both ends included, in order.
    /// However long the oldest has been running, there are no more than are running.
    pub(super) fn unseen(&self, next: &Self) -> Vec<(u64, u64)> {
        let running = self.running.iter().copied();
        let ended = running.filter(|xid| next.sees(*xid)).map(|xid| (xid, xid));
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for (first, last) in ended.chain([(self.xmax, next.xmax.saturating_sub(1))]) {
            match ranges.last_mut() {
                _ if first > last => {}
                Some(before) if before.1 + 1 == first => before.1 = last,
                _ => ranges.push((first, last)),
            }
        }
        ranges
    }
}

impl Snapshot {
    /// The same, and one transaction more that is seen.
    pub(super) fn seeing(mut self, xid: u64) -> Self {
        self.running.retain(|running| *running != xid);
        if xid >= self.xmax {
            self.running.extend(self.xmax..xid);
            self.xmax = xid + 1;
        }
        self.xmin = self.running.first().copied().unwrap_or(self.xmax);
        self
    }

    /// What sees what either of them sees.
    pub(super) fn and(&self, other: &Self) -> Self {
        let (older, newer) = match self.xmax <= other.xmax {
            true => (self, other),
            false => (other, self),
        };
        let hidden = newer.running.iter().filter(|xid| !older.sees(**xid));
        let running: Vec<u64> = hidden.copied().collect();
        Self {
            xmin: running.first().copied().unwrap_or(newer.xmax),
            xmax: newer.xmax,
            running,
        }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let running: Vec<String> = self.running.iter().map(u64::to_string).collect();
        write!(f, "{}:{}:{}", self.xmin, self.xmax, running.join(","))
    }
}

/// The text was no snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a snapshot")]
pub struct NotASnapshot;

impl FromStr for Snapshot {
    type Err = NotASnapshot;

    fn from_str(text: &str) -> Result<Self, NotASnapshot> {
        let number = |text: &str| text.parse().map_err(|_| NotASnapshot);
        let parts: Vec<&str> = text.split(':').collect();
        let [xmin, xmax, running] = parts.as_slice() else {
            return Err(NotASnapshot);
        };
        let running = running.split(',').filter(|xid| !xid.is_empty());
        let found = Self {
            xmin: number(xmin)?,
            xmax: number(xmax)?,
            running: running.map(number).collect::<Result<_, _>>()?,
        };
        let is_inside = |xid: &u64| (found.xmin..found.xmax).contains(xid);
        let is_ordered = found.running.is_sorted_by(|one, next| one < next);
        let is_sound = found.xmin <= found.xmax && found.running.iter().all(is_inside);
        match is_sound && is_ordered {
            true => Ok(found),
            false => Err(NotASnapshot),
        }
    }
}

/// The tables that are captured.
///
/// # Errors
/// The database failed, or is not prepared.
pub async fn captured(client: &Client) -> Result<Vec<Captured>, StorageError> {
    let sql = "SELECT c.id, c.kind, c.table_name, c.key_columns, c.scope_columns, c.scope_types, \
               c.scope_equals, format('%I.%I', n.nspname, r.relname), r.oid IS NOT NULL \
               FROM afield.capture c LEFT JOIN pg_class r ON r.oid = c.relation \
               LEFT JOIN pg_namespace n ON n.oid = r.relnamespace ORDER BY c.id";
    let rows = client.query(sql, &[]).await.while_(DOING)?;
    let read = |row: &tokio_postgres::Row| {
        let kind = Kind::of(row.get(1)).ok_or_else(|| lasting("a capture of an unknown kind"))?;
        Ok(Captured {
            id: row.get(0),
            kind,
            table: row.get(2),
            key: row.get(3),
            scope: row.get(4),
            scope_types: row.get(5),
            scope_equals: row.get(6),
            table_sql: row.get::<_, bool>(8).then(|| row.get(7)),
        })
    };
    rows.iter().map(read).collect()
}

/// Keeps tables from being truncated, rewritten or changed until the transaction ends. Before its
/// snapshot is taken: a truncation does not wait for older snapshots, which then find the table
/// empty and do not see the reset that says why.
///
/// # Errors
/// The database failed, or one of the tables is gone.
pub async fn hold(client: &impl GenericClient, captures: &[&Captured]) -> Result<(), StorageError> {
    let mut tables = Vec::new();
    for captured in captures {
        match &captured.table_sql {
            Some(table) => tables.push(table.as_str()),
            None => return Err(lasting(format!("the table `{}` is gone", captured.table))),
        }
    }
    if tables.is_empty() {
        return Ok(());
    }
    let sql = format!("LOCK TABLE {} IN ACCESS SHARE MODE", tables.join(", "));
    client.batch_execute(&sql).await.while_(DOING)
}

/// The keys that were touched by transactions that `since` does not see: all of them, or those of
/// rows that were or are in one of the `scopes`. What it does not see of a table that has a reset
/// since is of no use.
///
/// # Errors
/// The database failed.
pub async fn touched(
    client: &impl GenericClient,
    captured: &Captured,
    since: &Snapshot,
    scopes: Option<&[ScopeValues]>,
) -> Result<Touched, StorageError> {
    let sql = sql(captured, scopes)?;
    let running: Vec<String> = since.running.iter().map(u64::to_string).collect();
    let (xmin, xmax) = (since.xmin.to_string(), since.xmax.to_string());
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&xmax, &running, &xmin, &captured.id];
    for scope in scopes.unwrap_or_default() {
        parameters.push(&scope.values);
    }
    let rows = client.query(&sql, &parameters).await.while_(DOING)?;
    let Some(first) = rows.first() else {
        return Err(lasting("reading marks: the database answered nothing"));
    };
    let snapshot: &str = first.get(0);
    let keys = rows.iter().filter(|row| row.get::<_, bool>(3));
    let key = |row: &tokio_postgres::Row| (4..row.len()).map(|at| row.get(at)).collect();
    Ok(Touched {
        snapshot: (snapshot.parse()).map_err(|error: NotASnapshot| lasting(error.to_string()))?,
        is_forgotten: first.get(1),
        is_reset: first.get(2),
        keys: keys.map(key).collect(),
    })
}

/// How the database would look for them: the plan, line by line.
///
/// # Errors
/// The database failed.
pub async fn explain(
    client: &impl GenericClient,
    captured: &Captured,
    since: &Snapshot,
    scopes: Option<&[ScopeValues]>,
) -> Result<Vec<String>, StorageError> {
    let sql = format!("EXPLAIN {}", sql(captured, scopes)?);
    let running: Vec<String> = since.running.iter().map(u64::to_string).collect();
    let (xmin, xmax) = (since.xmin.to_string(), since.xmax.to_string());
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&xmax, &running, &xmin, &captured.id];
    for scope in scopes.unwrap_or_default() {
        parameters.push(&scope.values);
    }
    let rows = client.query(&sql, &parameters).await.while_(DOING)?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

/// The statement: `$1` and `$2` are `xmax` and `running` of the old snapshot, `$3` its `xmin`, `$4`
/// the capture; then the values of each scope. One row comes back at least, with the new snapshot.
fn sql(captured: &Captured, scopes: Option<&[ScopeValues]>) -> Result<String, StorageError> {
    let mark = mark_table(captured.id);
    let keys: Vec<String> = (1..=captured.key.len())
        .map(|at| format!("key{at}"))
        .collect();
    let columns = [&["true AS is_there".to_owned()], keys.as_slice()]
        .concat()
        .join(", ");
    let places = match scopes {
        None => vec![String::new()],
        Some(scopes) => (scopes.iter().enumerate())
            .map(|(at, scope)| place(captured, scope, at + 5))
            .collect::<Result<_, _>>()?,
    };
    let unseen = ["xid >= $1::text::xid8", "xid = ANY ($2::text[]::xid8[])"];
    let selects: Vec<String> = (places.iter())
        .flat_map(|place| unseen.map(|unseen| (place, unseen)))
        .map(|(place, unseen)| format!("SELECT {columns} FROM {mark} WHERE {place}{unseen}"))
        .collect();
    let marks = match selects.is_empty() {
        true => format!("SELECT {columns} FROM {mark} WHERE false"),
        false => selects.join("\n  UNION "),
    };
    let texts: String = keys.iter().map(|key| format!(", m.{key}::text")).collect();
    Ok(format!(
        "SELECT pg_current_snapshot()::text,\n  \
         (SELECT horizon FROM afield.node) > $3::text::xid8,\n  \
         EXISTS (SELECT FROM afield.reset r WHERE r.capture = $4\n    \
         AND (r.xid >= $1::text::xid8 OR r.xid = ANY ($2::text[]::xid8[]))),\n  \
         m.is_there IS NOT NULL{texts}\nFROM (SELECT 1) one LEFT JOIN (\n  {marks}\n) m ON true"
    ))
}

fn place(captured: &Captured, scope: &ScopeValues, hole: usize) -> Result<String, StorageError> {
    let known = captured.scope_types.get(scope.column);
    let Some((kind, equals)) = known.zip(captured.scope_equals.get(scope.column)) else {
        let table = &captured.table;
        return Err(lasting(format!(
            "`{table}` has no scope {}",
            scope.column + 1
        )));
    };
    let column = scope.column + 1;
    Ok(format!(
        "scope{column} {equals} ANY (${hole}::text[]::{kind}[]) AND "
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_snapshot_does_not_see_is_few_ranges() {
        let ranges = |old: &str, new: &str| {
            let (old, new): (Snapshot, Snapshot) = (old.parse().unwrap(), new.parse().unwrap());
            old.unseen(&new)
        };
        assert_eq!(ranges("10:10:", "10:10:"), []);
        assert_eq!(ranges("10:20:10,14", "10:20:10,14"), []);
        assert_eq!(ranges("10:20:10,14", "14:20:14"), [(10, 10)]);
        assert_eq!(
            ranges("10:20:10,14,15", "30:30:"),
            [(10, 10), (14, 15), (20, 29)]
        );
        assert_eq!(ranges("19:20:19", "19:25:19,24"), [(20, 24)]);
        assert_eq!(ranges("19:20:19", "25:25:"), [(19, 24)]);
    }

    #[test]
    fn a_snapshot_is_read_and_written() {
        for text in ["10:10:", "10:20:10,14,19"] {
            let snapshot: Snapshot = text.parse().unwrap();
            assert_eq!(snapshot.to_string(), text);
        }
        let snapshot: Snapshot = "10:20:10,14".parse().unwrap();
        assert_eq!(
            [9, 10, 13, 14, 20].map(|x| snapshot.sees(x)),
            [true, false, true, false, false]
        );
        for text in [
            "",
            "10:20",
            "20:10:",
            "10:20:9",
            "10:20:20",
            "10:20:14,14",
            "a:b:",
            "1:2:3:4",
        ] {
            assert!(text.parse::<Snapshot>().is_err(), "{text}");
        }
    }
}
