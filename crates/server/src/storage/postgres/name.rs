//! Names: in SQL always quoted, in model files as short as they can be without being mistaken.
//!
//! | table | in a model file |
//! |---|---|
//! | `t` of the schema `public` | `t` |
//! | `t` of the schema `sales` | `sales.t` |
//! | `a.b` of the schema `public` | `"a.b"` |

use std::fmt;

/// The schema that is not named.
const PUBLIC: &str = "public";

/// `name` as an identifier.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `text` as a string literal, whatever the server takes backslashes for.
pub fn literal(text: &str) -> String {
    let escape = if text.contains('\\') { " E" } else { "" };
    format!(
        "{escape}'{}'",
        text.replace('\\', "\\\\").replace('\'', "''")
    )
}

/// A table with its schema.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TableName {
    /// The schema, unquoted.
    pub schema: String,
    /// The table, unquoted.
    pub table: String,
}

impl TableName {
    /// A table of a schema.
    pub fn new(schema: impl Into<String>, table: impl Into<String>) -> Self {
        Self {
            schema: schema.into(),
            table: table.into(),
        }
    }

    /// Reads what [`Display`](fmt::Display) writes, which is what model files say.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, rest) = part(text)?;
        match rest.strip_prefix('.') {
            None if rest.is_empty() => Some(Self::new(PUBLIC, first)),
            None => None,
            Some(rest) => {
                let (table, rest) = part(rest)?;
                rest.is_empty().then(|| Self::new(first, table))
            }
        }
    }

    /// The name in SQL: always with its schema, always quoted.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.table))
    }

    /// A name for devices, before their rules are asked.
    pub fn title(&self) -> String {
        match self.schema.as_str() {
            PUBLIC => self.table.clone(),
            schema => format!("{schema}_{}", self.table),
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.schema != PUBLIC {
            write!(f, "{}.", short(&self.schema))?;
        }
        f.write_str(&short(&self.table))
    }
}

fn short(name: &str) -> String {
    match name.contains(['.', '"']) {
        true => quote(name),
        false => name.to_owned(),
    }
}

/// The first name of a text, unquoted, and what stands behind it.
fn part(text: &str) -> Option<(String, &str)> {
    let Some(inner) = text.strip_prefix('"') else {
        let end = text.find('.').unwrap_or(text.len());
        let (name, rest) = text.split_at_checked(end)?;
        return (!name.is_empty() && !name.contains('"')).then(|| (name.to_owned(), rest));
    };
    let mut name = String::new();
    let mut signs = inner.char_indices().peekable();
    while let Some((at, sign)) = signs.next() {
        match sign {
            '"' if signs.next_if(|(_, next)| *next == '"').is_some() => name.push('"'),
            '"' => return Some((name, inner.get(at + 1..)?)),
            sign => name.push(sign),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_comes_back_as_it_was() {
        let nasty = [
            "t",
            "a b",
            "a.b",
            "q\"q",
            "\"",
            ".",
            "select",
            "MixedCase",
            "é💥",
            "\"a\".b",
        ];
        for schema in nasty.iter().chain([&"public"]) {
            for table in nasty {
                let name = TableName::new(*schema, table);
                assert_eq!(TableName::parse(&name.to_string()), Some(name));
            }
        }
        for (name, text) in [
            (TableName::new("public", "order"), "order"),
            (TableName::new("sales", "Order Line"), "sales.Order Line"),
            (TableName::new("public", "a.b"), "\"a.b\""),
        ] {
            assert_eq!(name.to_string(), text);
        }
        for wrong in ["", ".", "a.", ".a", "a.b.c", "\"a", "\"a\"b", "a\"b"] {
            assert_eq!(TableName::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sql_is_quoted_whatever_it_is() {
        assert_eq!(
            TableName::new("a\"b", "select").quoted(),
            "\"a\"\"b\".\"select\""
        );
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), " E'a\\\\''b'");
    }
}
