//! What a mark's columns are: wide enough that the team can change its own columns' types and still
//! write, and fine enough that two keys which differ never share a mark.

use super::quoted::{qualified, quote};
use super::shape::Column;

/// A column of a mark.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct MarkColumn {
    /// `key1`, `scope2`.
    pub name: String,
    /// The row's column.
    pub of: String,
    /// Its type.
    pub sql_type: String,
    /// Behind the type in its declaration: a collation, or nothing.
    pub collate: String,
    /// The operator by which its values are equal.
    pub equals: String,
    /// Whether the row's value is brought over as text that keeps trailing blanks.
    is_formatted: bool,
}

const TEXT: &str = "pg_catalog.text";
const BYTEWISE: &str = " COLLATE pg_catalog.\"C\"";

impl MarkColumn {
    /// A column of the key: it tells apart whatever the team's type tells apart on a device.
    pub(super) fn key(at: usize, column: &Column) -> Result<Self, String> {
        let name = format!("key{}", at + 1);
        let text = |is_formatted| Self::new(name.clone(), column, TEXT, BYTEWISE, is_formatted);
        match column.type_name.as_str() {
            _ if column.is_enum || column.is_string() => Ok(text(column.is("bpchar"))),
            // 1.0 and 1.00 are one number and two keys.
            "numeric" if column.is("numeric") => Ok(text(false)),
            _ => Self::native(name, column),
        }
    }

    /// A column that the scope compares: its values are equal when the team's are.
    pub(super) fn scope(at: usize, column: &Column) -> Result<Self, String> {
        let name = format!("scope{}", at + 1);
        let collate = match &column.collation {
            Some((schema, name)) => format!(" COLLATE {}", qualified(schema, name)),
            None => String::new(),
        };
        match column.type_name.as_str() {
            // The labels of a type of the team's: the type may go, its words stay.
            _ if column.is_enum => Ok(Self::new(name, column, TEXT, BYTEWISE, false)),
            "varchar" | "name" if column.is_own_type() => {
                Ok(Self::new(name, column, TEXT, &collate, false))
            }
            _ if column.is_string() => {
                let sql_type = type_sql(column);
                let made = Self::new(name, column, &sql_type, &collate, false);
                let schema = quote(&column.type_schema);
                Ok(Self {
                    equals: format!("OPERATOR({schema}.=)"),
                    ..made
                })
            }
            // One of several arrays cannot be asked for.
            _ if column.is_array() => Err(format!("its column `{}` holds arrays", column.name)),
            _ => Self::native(name, column),
        }
    }

    /// The row's value of `row`, as the mark has it.
    pub(super) fn cell(&self, row: &str) -> String {
        let value = format!("{row}.{}", quote(&self.of));
        let Self {
            sql_type, collate, ..
        } = self;
        match self.is_formatted {
            true => format!("pg_catalog.format('%s', {value}){collate}"),
            false => format!("({value})::{sql_type}{collate}"),
        }
    }

    /// That the row has a value.
    pub(super) fn is_there(&self, row: &str) -> String {
        format!("{row}.{} IS NOT NULL", quote(&self.of))
    }

    fn native(name: String, column: &Column) -> Result<Self, String> {
        if !column.is_own_type() {
            return Err(format!(
                "its column `{}` is of the type `{}`, whose values cannot be told apart safely \
                 there",
                column.name, column.type_name
            ));
        }
        let sql_type = match column.type_name.as_str() {
            "int2" | "int4" | "int8" => "pg_catalog.int8".to_owned(),
            _ => type_sql(column),
        };
        Ok(Self::new(name, column, &sql_type, "", false))
    }

    fn new(name: String, column: &Column, kind: &str, collate: &str, is_formatted: bool) -> Self {
        Self {
            name,
            of: column.name.clone(),
            sql_type: kind.to_owned(),
            collate: collate.to_owned(),
            equals: "OPERATOR(pg_catalog.=)".to_owned(),
            is_formatted,
        }
    }
}

/// The type without length or precision.
fn type_sql(column: &Column) -> String {
    qualified(&column.type_schema, &column.type_name)
}
