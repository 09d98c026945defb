//! SQL as text, and the texts that tell one state of a row from all others.

use afield_protocol::ValueRef;

/// A name in SQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in SQL.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A value as SQLite's `quote` writes it.
pub(crate) fn shown(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => "NULL".to_owned(),
        ValueRef::Integer(n) => n.to_string(),
        ValueRef::Real(x) => x.to_string(),
        ValueRef::Text(text) => literal(text),
        ValueRef::Bytes(bytes) => format!("{bytes:?}"),
    }
}

/// The text of a mark.
pub(crate) fn mark(number: u32) -> String {
    format!("<m{number}>")
}

/// The numbers of all marks that stand anywhere in some bytes.
pub(crate) fn marks_in(bytes: &[u8]) -> Vec<u32> {
    let mut found = Vec::new();
    for (at, pair) in bytes.windows(2).enumerate() {
        if pair == b"<m" {
            let digits = bytes[at + 2..]
                .iter()
                .take_while(|byte| byte.is_ascii_digit());
            let end = at + 2 + digits.count();
            let number = std::str::from_utf8(&bytes[at + 2..end]).unwrap_or_default();
            if bytes.get(end) == Some(&b'>')
                && let Ok(number) = number.parse()
            {
                found.push(number);
            }
        }
    }
    found
}
