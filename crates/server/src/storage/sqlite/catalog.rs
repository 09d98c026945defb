//! Reads the catalog of an SQLite database: any valid one, whatever its names.
//!
//! Structure comes from pragmas, which quote for themselves and see what SQLite sees; the text of
//! `CREATE TABLE` is never parsed.

mod checks;
mod defaults;
mod measure;
mod query;
mod types;

use std::path::Path;

use afield_protocol::{Code, Type};
use rusqlite::{Connection, OpenFlags, Row};

use super::sql_text::quote;
use crate::catalog::{Catalog, Column, ForeignKey, Identity, Table, TableKind};
pub use measure::measure;
pub use query::SqliteQueries;
pub(super) use types::precision_and_scale;

/// The database cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CatalogError {
    /// The stable code.
    pub code: Code,
    /// What could not be read, and what to do about it.
    pub message: String,
}

/// Opens the database file for reading only and reads its catalog.
///
/// # Errors
/// There is no such file, or it is no SQLite database.
pub fn read_file(path: &Path) -> Result<Catalog, CatalogError> {
    read(&open(path)?)
}

/// Like [`read_file`], and looks at the rows too, with bounds: what `init` and `add` need.
///
/// # Errors
/// As [`read_file`].
pub fn read_file_measured(path: &Path) -> Result<Catalog, CatalogError> {
    let connection = open(path)?;
    let mut catalog = read(&connection)?;
    measure(&connection, &mut catalog)?;
    Ok(catalog)
}

/// Reads the catalog of an open database. Looks at no rows but the last of numbered tables.
///
/// # Errors
/// The database cannot be read.
pub fn read(connection: &Connection) -> Result<Catalog, CatalogError> {
    let mut listed = Vec::new();
    connection.pragma_query(Some("main"), "table_list", |row| {
        listed.push((
            row.get::<_, String>("schema")?,
            row.get::<_, String>("name")?,
            row.get::<_, String>("type")?,
        ));
        Ok(())
    })?;
    let mut tables = Vec::new();
    for (schema, name, word) in listed {
        if schema == "main" && !is_hidden(&name) {
            tables.push(table(connection, &name, &word)?);
        }
    }
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    let mut catalog = Catalog { tables };
    complete_targets(&mut catalog);
    Ok(catalog)
}

fn open(path: &Path) -> Result<Connection, CatalogError> {
    let named = |error: rusqlite::Error| CatalogError {
        code: Code::UNREACHABLE,
        message: format!(
            "cannot open the SQLite database {}: {error}; check the path and that this user may \
             read it",
            path.display()
        ),
    };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(named)?;
    connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))
        .map_err(named)?;
    Ok(connection)
}

/// SQLite's own tables and Afield's bookkeeping.
fn is_hidden(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("sqlite_") || name.starts_with("afield_")
}

fn table(connection: &Connection, name: &str, word: &str) -> Result<Table, CatalogError> {
    let kind = match word {
        "view" => TableKind::View,
        "virtual" => TableKind::Virtual,
        "shadow" => TableKind::Shadow,
        _ => TableKind::Ordinary,
    };
    let mut table = Table::named(name, name, quote(name), kind);
    if kind != TableKind::Ordinary {
        // A view over a table that is gone, or a module that is not there, has no columns to
        // tell. Neither can be synchronised, so that is all there is to know.
        let _ = columns(connection, &mut table);
        return Ok(table);
    }
    columns(connection, &mut table)?;
    collations(connection, &mut table)?;
    identity(connection, &mut table)?;
    foreign_keys(connection, &mut table)?;
    indexes(connection, &mut table)?;
    let sql = "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?1";
    let sql: String = connection.query_row(sql, [&table.name], |row| row.get(0))?;
    table.checks = checks::checks(&sql, &table);
    Ok(table)
}

fn columns(connection: &Connection, table: &mut Table) -> rusqlite::Result<()> {
    let mut key = Vec::new();
    let columns = &mut table.columns;
    connection.pragma(Some("main"), "table_xinfo", &table.name, |row| {
        let hidden: i64 = row.get("hidden")?;
        if hidden == 1 {
            return Ok(());
        }
        let column = column(row, hidden)?;
        let place: i64 = row.get("pk")?;
        if place > 0 {
            key.push((place, column.name.clone()));
        }
        columns.push(column);
        Ok(())
    })?;
    key.sort();
    table.primary_key = key.into_iter().map(|(_, name)| name).collect();
    Ok(())
}

fn column(row: &Row<'_>, hidden: i64) -> rusqlite::Result<Column> {
    let declared: String = row.get("type")?;
    let default: Option<String> = row.get("dflt_value")?;
    let known = types::afield_type(&declared);
    let kind = known.unwrap_or(Type::Text);
    let (precision, scale) = match kind {
        Type::Decimal => precision_and_scale(&declared),
        _ => (None, None),
    };
    Ok(Column {
        name: row.get("name")?,
        kind,
        is_kind_known: known.is_some(),
        precision,
        scale,
        not_null: row.get("notnull")?,
        has_default: default.is_some(),
        default: default.and_then(|text| defaults::literal(&text, kind)),
        generated: hidden >= 2,
        left_out: None,
        is_readable: true,
        collation: None,
        declared,
    })
}

/// What values of each column are compared by, where that is not byte by byte.
fn collations(connection: &Connection, table: &mut Table) -> rusqlite::Result<()> {
    for column in &mut table.columns {
        let (_, collation, ..) =
            connection.column_metadata(Some("main"), table.name.as_str(), column.name.as_str())?;
        let name = collation.map(|name| name.to_string_lossy().into_owned());
        column.collation = name.filter(|name| !name.eq_ignore_ascii_case("binary"));
    }
    Ok(())
}

/// Whether the key is SQLite's row number, and whether AUTOINCREMENT gives it. The database says
/// so itself: a column is the row number if no index had to be made for the key.
fn identity(connection: &Connection, table: &mut Table) -> rusqlite::Result<()> {
    let [key] = table.primary_key.as_slice() else {
        return Ok(());
    };
    let declared = table.column(key).map(|column| column.declared.as_str());
    if !declared.is_some_and(|word| word.eq_ignore_ascii_case("integer")) {
        return Ok(());
    }
    let mut has_key_index = false;
    connection.pragma(Some("main"), "index_list", &table.name, |row| {
        has_key_index |= row.get::<_, String>("origin")? == "pk";
        Ok(())
    })?;
    table.is_rowid_key = !has_key_index;
    let (.., autoincrement) =
        connection.column_metadata(Some("main"), table.name.as_str(), key.as_str())?;
    if autoincrement {
        table.identity = Identity::Autoincrement;
    }
    if table.is_rowid_key {
        table.highest_number = highest_number(connection, table, key)?;
    }
    Ok(())
}

/// One look at the end of the table, not at its rows.
fn highest_number(
    connection: &Connection,
    table: &Table,
    key: &str,
) -> rusqlite::Result<Option<i64>> {
    let sql = format!("SELECT max({}) FROM {}", quote(key), quote(&table.name));
    let of_rows: Option<i64> = connection.query_row(&sql, [], |row| row.get(0))?;
    if table.identity == Identity::None {
        return Ok(of_rows);
    }
    // A number that is not a number was put there by hand, and SQLite does not count on from it.
    let given: Option<i64> = connection.query_row(
        "SELECT max(seq) FROM sqlite_sequence WHERE name = ?1 AND typeof(seq) = 'integer'",
        [&table.name],
        |row| row.get(0),
    )?;
    Ok(of_rows.max(given))
}

fn foreign_keys(connection: &Connection, table: &mut Table) -> rusqlite::Result<()> {
    // Rows come by constraint (id), then by column (seq); a column that the constraint does not
    // name is null.
    let mut found: Vec<(i64, ForeignKey, bool)> = Vec::new();
    connection.pragma(Some("main"), "foreign_key_list", &table.name, |row| {
        let id: i64 = row.get("id")?;
        let target: Option<String> = row.get("to")?;
        if found.last().is_none_or(|(last, ..)| *last != id) {
            let key = ForeignKey {
                columns: Vec::new(),
                table: row.get("table")?,
                targets: Vec::new(),
            };
            found.push((id, key, target.is_some()));
        }
        if let Some((_, key, _)) = found.last_mut() {
            key.columns.push(row.get("from")?);
            key.targets.extend(target);
        }
        Ok(())
    })?;
    // SQLite lists the constraint written last first.
    found.sort_by_key(|(id, ..)| std::cmp::Reverse(*id));
    table.foreign_keys = found.into_iter().map(|(_, key, _)| key).collect();
    Ok(())
}

/// A constraint that names no columns means the other table's primary key. Names are spelled as
/// tables and columns spell them.
fn complete_targets(catalog: &mut Catalog) {
    let known = catalog.clone();
    for table in &mut catalog.tables {
        let own = known.table(&table.name);
        for foreign in &mut table.foreign_keys {
            spell(own, &mut foreign.columns);
            let Some(target) = known.table(&foreign.table) else {
                continue;
            };
            foreign.table.clone_from(&target.name);
            if foreign.targets.is_empty() && target.primary_key.len() == foreign.columns.len() {
                foreign.targets.clone_from(&target.primary_key);
            }
            spell(Some(target), &mut foreign.targets);
        }
    }
}

fn spell(table: Option<&Table>, columns: &mut [String]) {
    for name in columns {
        if let Some(column) = table.and_then(|table| table.column(name)) {
            name.clone_from(&column.name);
        }
    }
}

fn indexes(connection: &Connection, table: &mut Table) -> rusqlite::Result<()> {
    let mut listed: Vec<(String, bool, String, bool)> = Vec::new();
    connection.pragma(Some("main"), "index_list", &table.name, |row| {
        listed.push((
            row.get("name")?,
            row.get("unique")?,
            row.get("origin")?,
            row.get("partial")?,
        ));
        Ok(())
    })?;
    // SQLite lists the newest index first; the order of creation reads better.
    for (name, unique, origin, partial) in listed.into_iter().rev() {
        let Some(columns) = index_columns(connection, &name)? else {
            continue;
        };
        if origin == "pk" {
            continue;
        }
        if unique && !partial {
            table.unique.push(columns.clone());
        }
        table.indexes.push(columns);
    }
    Ok(())
}

/// The index's columns, or `None` if one of them is an expression.
fn index_columns(connection: &Connection, index: &str) -> rusqlite::Result<Option<Vec<String>>> {
    let mut columns = Some(Vec::new());
    connection.pragma(Some("main"), "index_info", index, |row| {
        match (row.get::<_, Option<String>>("name")?, &mut columns) {
            (Some(name), Some(columns)) => columns.push(name),
            _ => columns = None,
        }
        Ok(())
    })?;
    Ok(columns)
}

impl From<rusqlite::Error> for CatalogError {
    fn from(error: rusqlite::Error) -> Self {
        Self {
            code: Code::SQL,
            message: format!("the database's structure cannot be read: {error}"),
        }
    }
}
