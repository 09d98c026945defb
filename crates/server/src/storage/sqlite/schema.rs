//! What the database says about one of the team's tables: columns, and every way in which a row
//! of it must be unique, because each is a way in which `REPLACE` may delete a row.

use rusqlite::{Connection, OptionalExtension};

use super::error::{While, lasting};
use super::sql_text::{index_text, quote};
use crate::storage::StorageError;

/// A table of the team.
#[derive(Clone, Debug)]
pub(super) struct TableSchema {
    /// Its name as it was created.
    pub name: String,
    pub columns: Vec<Column>,
    /// Under which name its rowid can be read, if it has one and no column hides it.
    pub rowid: Option<String>,
    pub uniques: Vec<Unique>,
}

/// One of its columns.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub name: String,
    pub affinity: Affinity,
    /// The type as it was declared.
    pub declared: String,
    pub collation: String,
    pub not_null: bool,
    /// The text of its default.
    pub default: Option<String>,
}

/// SQLite's type affinities, decided as SQLite decides them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Affinity {
    Integer,
    Text,
    Blob,
    Real,
    Numeric,
}

/// A primary key, a UNIQUE constraint or a unique index.
#[derive(Clone, Debug)]
pub(super) struct Unique {
    pub terms: Vec<Term>,
    /// The condition of a partial index.
    pub condition: Option<String>,
}

/// A column or expression of a unique key.
#[derive(Clone, Debug)]
pub(super) struct Term {
    pub what: TermOf,
    /// How the key compares it; `None` for an integer primary key.
    pub collation: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TermOf {
    Column(String),
    Expression(String),
}

impl TableSchema {
    /// Reads what the database says about `table`.
    pub(super) fn read(conn: &Connection, table: &str) -> Result<Self, StorageError> {
        let doing = format!("reading the table `{table}`");
        let found: Option<(String, String, bool, bool)> = conn
            .query_row(
                "SELECT name, type, wr, strict FROM pragma_table_list(?1) WHERE schema = 'main'",
                [table],
                |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
            )
            .optional()
            .while_(&doing)?;
        let Some((name, kind, without_rowid, strict)) = found else {
            return Err(lasting(format!(
                "the database has no table `{table}`; check `from` in the model"
            )));
        };
        if kind != "table" {
            return Err(lasting(format!(
                "`{table}` is a {kind}; only ordinary tables can be synchronised"
            )));
        }
        let (columns, integer_key) = columns(conn, &name, without_rowid, strict).while_(&doing)?;
        let mut uniques = uniques(conn, &name, &doing)?;
        let rowid = (!without_rowid)
            .then_some(["rowid", "_rowid_", "oid"])
            .into_iter()
            .flatten()
            .find(|alias| columns.iter().all(|c| !c.name.eq_ignore_ascii_case(alias)))
            .map(str::to_owned);
        // A row may be replaced through its rowid even where the table names none.
        if let Some(alias) = integer_key.or_else(|| rowid.clone()) {
            uniques.push(Unique {
                terms: vec![Term {
                    what: TermOf::Column(alias),
                    collation: None,
                }],
                condition: None,
            });
        }
        Ok(Self {
            name,
            columns,
            rowid,
            uniques,
        })
    }

    /// The column of this name.
    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns
            .iter()
            .find(|column| column.name.eq_ignore_ascii_case(name))
    }

    /// Whether this column is the row's number, which SQLite gives where an insert does not.
    pub(super) fn is_numbered_by(&self, column: &str) -> bool {
        self.uniques
            .iter()
            .any(|unique| match unique.terms.as_slice() {
                [
                    Term {
                        what: TermOf::Column(name),
                        collation: None,
                    },
                ] => name.eq_ignore_ascii_case(column),
                _ => false,
            })
    }

    /// The unique key over exactly these columns, in whatever order.
    pub(super) fn unique_over(&self, key: &[&str]) -> Option<&Unique> {
        self.uniques.iter().find(|unique| {
            unique.condition.is_none()
                && unique.terms.len() == key.len()
                && key.iter().all(|name| {
                    let is_it = |term: &Term| match &term.what {
                        TermOf::Column(column) => column.eq_ignore_ascii_case(name),
                        TermOf::Expression(_) => false,
                    };
                    unique.terms.iter().any(is_it)
                })
        })
    }
}

impl Affinity {
    fn of(declared: &str, strict: bool) -> Self {
        let upper = declared.to_ascii_uppercase();
        let has = |part| upper.contains(part);
        if has("INT") {
            Self::Integer
        } else if has("CHAR") || has("CLOB") || has("TEXT") {
            Self::Text
        } else if has("BLOB") || upper.is_empty() || (strict && upper == "ANY") {
            Self::Blob
        } else if has("REAL") || has("FLOA") || has("DOUB") {
            Self::Real
        } else {
            Self::Numeric
        }
    }

    /// A declared type with this affinity.
    pub(super) fn as_sql(self) -> &'static str {
        match self {
            Self::Integer => "INTEGER",
            Self::Text => "TEXT",
            Self::Blob => "BLOB",
            Self::Real => "REAL",
            Self::Numeric => "NUMERIC",
        }
    }
}

/// All columns, and the name of the one that is the rowid.
fn columns(
    conn: &Connection,
    table: &str,
    without_rowid: bool,
    strict: bool,
) -> rusqlite::Result<(Vec<Column>, Option<String>)> {
    let mut statement = conn.prepare(
        "SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_xinfo(?1) ORDER BY cid",
    )?;
    let mut rows = statement.query([table])?;
    let mut columns = Vec::new();
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        let name: String = row.get(0)?;
        let declared: String = row.get(1)?;
        let (_, collation, ..) = conn.column_metadata(Some("main"), table, name.as_str())?;
        let collation = collation.map_or("BINARY".into(), |c| c.to_string_lossy().into_owned());
        if row.get::<_, i64>(4)? > 0 {
            keys.push((name.clone(), declared.eq_ignore_ascii_case("INTEGER")));
        }
        columns.push(Column {
            affinity: Affinity::of(&declared, strict),
            not_null: row.get(2)?,
            default: row.get(3)?,
            name,
            declared,
            collation,
        });
    }
    let key_index: bool = conn.query_row(
        "SELECT EXISTS (SELECT 1 FROM pragma_index_list(?1) WHERE origin = 'pk')",
        [table],
        |row| row.get(0),
    )?;
    // `INTEGER PRIMARY KEY DESC` is no rowid, and gives itself away by its index.
    let integer_key = match keys.as_slice() {
        [(name, true)] if !without_rowid && !key_index => Some(name.clone()),
        _ => None,
    };
    Ok((columns, integer_key))
}

fn uniques(conn: &Connection, table: &str, doing: &str) -> Result<Vec<Unique>, StorageError> {
    let mut statement = conn
        .prepare("SELECT name, partial FROM pragma_index_list(?1) WHERE \"unique\" ORDER BY seq")
        .while_(doing)?;
    let indexes = statement
        .query_map([table], |row| Ok((row.get(0)?, row.get(1)?)))
        .and_then(Iterator::collect::<rusqlite::Result<Vec<(String, bool)>>>)
        .while_(doing)?;
    indexes
        .into_iter()
        .map(|(index, partial)| unique(conn, &index, partial, doing))
        .collect()
}

fn unique(
    conn: &Connection,
    index: &str,
    partial: bool,
    doing: &str,
) -> Result<Unique, StorageError> {
    let mut statement = conn
        .prepare("SELECT cid, name, coll FROM pragma_index_xinfo(?1) WHERE key ORDER BY seqno")
        .while_(doing)?;
    let terms = statement
        .query_map([index], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .and_then(Iterator::collect::<rusqlite::Result<Vec<(i64, Option<String>, String)>>>)
        .while_(doing)?;
    let sql: Option<String> = conn
        .query_row(
            "SELECT sql FROM sqlite_schema WHERE type = 'index' AND name = ?1",
            [index],
            |row| row.get(0),
        )
        .optional()
        .while_(doing)?
        .flatten();
    let text = sql.as_deref().and_then(index_text);
    let unreadable = || {
        lasting(format!(
            "{doing}: the index {} is not understood",
            quote(index)
        ))
    };
    let condition = text.as_ref().and_then(|text| text.condition.clone());
    if partial && condition.is_none() {
        return Err(unreadable());
    }
    let term = |(at, (cid, name, collation)): (usize, (i64, Option<String>, String))| {
        let what = match (cid, name) {
            (0.., Some(name)) => TermOf::Column(name),
            (-1, _) => TermOf::Column("rowid".into()),
            _ => {
                let text = text.as_ref().and_then(|text| text.terms.get(at));
                TermOf::Expression(text.ok_or_else(unreadable)?.clone())
            }
        };
        Ok(Term {
            what,
            collation: Some(collation),
        })
    };
    Ok(Unique {
        terms: terms
            .into_iter()
            .enumerate()
            .map(term)
            .collect::<Result<_, _>>()?,
        condition,
    })
}
