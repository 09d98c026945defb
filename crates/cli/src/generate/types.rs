//! How the model's types and names are told in Rust.

use afield_protocol::Type;

/// The Rust type of an attribute that is not null.
pub(super) fn rust_type(kind: Type) -> &'static str {
    match kind {
        Type::Integer => "i64",
        Type::Real => "f64",
        Type::Boolean => "bool",
        Type::Bytes => "Vec<u8>",
        _ => "String",
    }
}

/// Whether that type is copied and not cloned.
pub(super) fn is_copy(kind: Type) -> bool {
    matches!(kind, Type::Integer | Type::Real | Type::Boolean)
}

/// What a value is, for the doc of a field.
pub(super) fn description(kind: Type) -> &'static str {
    match kind {
        Type::Text => "Text",
        Type::Integer => "Integer of 64 bits",
        Type::Real => "Floating-point number",
        Type::Decimal => "Decimal number as text, like `12.50`",
        Type::Boolean => "True or false",
        Type::Date => "Date, `YYYY-MM-DD`",
        Type::Time => "Time of day, `HH:MM:SS.ffffff`",
        Type::Instant => "Point in time, `YYYY-MM-DDTHH:MM:SS.ffffffZ`, always UTC",
        Type::Datetime => "Date and time without zone, `YYYY-MM-DDTHH:MM:SS.ffffff`",
        Type::Uuid => "UUID, lower case",
        Type::Bytes => "Bytes",
        Type::Json => "JSON, exactly as written",
    }
}

/// The same inside a sentence.
pub(super) fn uncapitalised(text: &str) -> String {
    if text.starts_with("UUID") || text.starts_with("JSON") {
        return text.to_owned();
    }
    let (first, rest) = text.split_at(1);
    first.to_ascii_lowercase() + rest
}

/// A name as code in a comment, whatever it holds.
pub(super) fn code(name: &str) -> String {
    let name: String = name.chars().flat_map(char::escape_debug).collect();
    let name = name
        .replace("\\\"", "\"")
        .replace("\\'", "'")
        .replace("\\\\", "\\");
    if name.contains('`') {
        format!("``` {name} ```")
    } else {
        format!("`{name}`")
    }
}
