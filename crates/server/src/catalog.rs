//! What a database has: tables, columns, keys, references. The same words for every storage, so
//! that the model is checked and proposed without knowing which database stands behind it.
//!
//! A catalog is read at the server's start and by `init`. Reading never looks at rows; `init`
//! also asks a storage to *measure* (how many rows, how large, which keys are null), with bounds.

use afield_protocol::{Literal, Rule, Type};

/// A database's tables in the order of their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalog {
    /// All tables and views but the database's own and Afield's.
    pub tables: Vec<Table>,
}

/// What stands behind a table's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// A table that stores rows.
    Ordinary,
    /// A view.
    View,
    /// A virtual table: rows come from a module (full-text search and others).
    Virtual,
    /// A table that a virtual table keeps its data in.
    Shadow,
}

/// Who numbers new rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nobody: whoever inserts gives the key.
    None,
    /// The database, with numbers it never uses twice.
    Autoincrement,
}

/// A table or view.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its name, unquoted.
    pub name: String,
    /// What it is.
    pub kind: TableKind,
    /// Its columns in their order; empty where the database itself cannot tell them.
    pub columns: Vec<Column>,
    /// Columns of the primary key in key order; empty if there is none.
    pub primary_key: Vec<String>,
    /// Whether the database numbers its rows.
    pub identity: Identity,
    /// Whether the key is the database's own row number (SQLite's `INTEGER PRIMARY KEY`).
    pub is_rowid_key: bool,
    /// The highest number that a row of such a key has, or that the database has given.
    pub highest_number: Option<i64>,
    /// References to other tables.
    pub foreign_keys: Vec<ForeignKey>,
    /// Columns of each unique constraint and unique index that covers all rows.
    pub unique: Vec<Vec<String>>,
    /// Columns of each index made of plain columns, the primary key's own left out.
    pub indexes: Vec<Vec<String>>,
    /// Its CHECK constraints.
    pub checks: Vec<Check>,
    /// What measuring found, if it was asked for.
    pub measured: Option<Measured>,
}

/// A CHECK constraint.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// The expression, as it was written.
    pub text: String,
    /// What it says as rules, each of a column; none where it says more than rules can.
    pub rules: Vec<(String, Rule)>,
}

/// A column.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Its name, unquoted.
    pub name: String,
    /// The type as the database declares it; may be empty.
    pub declared: String,
    /// The Afield type that the declared one stands for.
    pub kind: Type,
    /// Whether `kind` follows from the declared type, or is text for want of anything better.
    pub is_kind_known: bool,
    /// Digits of a decimal.
    pub precision: Option<u32>,
    /// Digits after the point of a decimal.
    pub scale: Option<u32>,
    /// Whether null is refused.
    pub not_null: bool,
    /// The default, if it is a literal.
    pub default: Option<Literal>,
    /// Whether there is a default, literal or computed.
    pub has_default: bool,
    /// Whether the database computes it.
    pub generated: bool,
    /// The collation, where values are compared otherwise than byte by byte.
    pub collation: Option<String>,
}

/// A reference to another table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignKey {
    /// The referring columns.
    pub columns: Vec<String>,
    /// The table referred to, as the constraint spells it; it need not exist.
    pub table: String,
    /// The columns referred to, in the same order: its primary key where the constraint names
    /// none. Empty if they cannot be told.
    pub targets: Vec<String>,
}

/// What a bounded look at the rows found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// How many rows there are, counted up to [`ROWS_COUNTED_MAX`].
    pub rows: u64,
    /// Whether a row has a null in its primary key, so that no device could name it.
    pub has_null_key: bool,
    /// The largest value in bytes found in each column that holds bytes, by column name.
    pub largest: Vec<(String, u64)>,
    /// Columns of type uuid that hold something other than UUIDs in lower case.
    pub odd_uuids: Vec<String>,
}

/// A database that can be asked about queries without running them.
pub trait Queries {
    /// What a query finds and needs. Nothing is read, nothing can be written.
    ///
    /// # Errors
    /// It is no query, or more than one, or would change something.
    fn describe(&self, sql: &str) -> Result<QueryShape, QueryProblem>;
}

/// What a query finds and needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueryShape {
    /// The columns of its result.
    pub columns: Vec<QueryColumn>,
    /// Its parameters as they are written, each once; `?` for those without a name.
    pub parameters: Vec<String>,
    /// The tables and views that it reads, each once, in the order of their names.
    pub tables: Vec<String>,
    /// What it reads from the first row to the last, by the names that the query gives them.
    pub scanned: Vec<String>,
}

/// A column of a query's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryColumn {
    /// Its name.
    pub name: String,
    /// Table and column that it shows as they are, if it is no expression.
    pub origin: Option<(String, String)>,
}

/// Why a query cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct QueryProblem {
    /// The byte of the query where the problem begins, if the database can tell.
    pub at: Option<usize>,
    /// What is wrong and what to do.
    pub message: String,
}

/// How far rows are counted: enough to tell large from small without reading a large table.
pub const ROWS_COUNTED_MAX: u64 = 1_000_000;

impl Catalog {
    /// The table of this name: as written, else the only one that differs in case alone.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|t| t.name == name).or_else(|| {
            self.tables
                .iter()
                .find(|t| t.name.eq_ignore_ascii_case(name))
        })
    }
}

impl Table {
    /// The column of this name, in any case: no database has two that differ in case alone
    /// unless one is spelled exactly so.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|c| c.name == name).or_else(|| {
            self.columns
                .iter()
                .find(|c| c.name.eq_ignore_ascii_case(name))
        })
    }

    /// Whether the column is part of the primary key.
    pub fn is_key(&self, column: &str) -> bool {
        self.primary_key
            .iter()
            .any(|key| key.eq_ignore_ascii_case(column))
    }
}
