//! Which Afield type a column's type stands for, and which it has none for.

use std::collections::HashMap;

use afield_protocol::Type;

use super::rows::{Attribute, TypeRow};

/// What a column's type comes down to, domains followed to their end.
pub(super) struct Meaning<'t> {
    pub kind: Type,
    /// Why devices cannot have it, if they cannot.
    pub left_out: Option<&'static str>,
    pub precision: Option<u32>,
    pub scale: Option<u32>,
    /// The most characters of a text.
    pub max_length: Option<u32>,
    pub collation: Option<&'static str>,
    /// The type at the end.
    pub base: Option<&'t TypeRow>,
    /// The domains on the way, the column's own first.
    pub domains: Vec<&'t TypeRow>,
}

/// Domains over domains that are followed; the database itself knows no end.
const DOMAINS_MAX: usize = 100;

/// What the type of a column means.
pub(super) fn meaning<'t>(column: &Attribute, types: &'t HashMap<u32, TypeRow>) -> Meaning<'t> {
    let mut modifier = column.modifier;
    let mut base = types.get(&column.type_oid);
    let mut domains = Vec::new();
    while let Some(domain) = base.filter(|base| base.sort == "d" && domains.len() < DOMAINS_MAX) {
        domains.push(domain);
        modifier = domain.modifier;
        base = types.get(&domain.base);
    }
    let known = base.and_then(known);
    let kind = known.unwrap_or(Type::Text);
    let (precision, scale) = match kind {
        Type::Decimal => digits(modifier),
        _ => (None, None),
    };
    let name = base.map_or("", |base| base.name.as_str());
    Meaning {
        kind,
        left_out: match (known, base) {
            (Some(_), _) => None,
            (None, Some(base)) => Some(other(base)),
            (None, None) => Some("a type that is gone"),
        },
        precision,
        scale,
        max_length: match name {
            "varchar" | "bpchar" if kind == Type::Text => u32::try_from(modifier - 4).ok(),
            _ => None,
        },
        collation: (name == "citext").then_some("citext"),
        base,
        domains,
    }
}

fn known(base: &TypeRow) -> Option<Type> {
    if base.sort == "e" || base.name == "citext" {
        return Some(Type::Text);
    }
    if !base.is_built_in {
        return None;
    }
    Some(match base.name.as_str() {
        "int2" | "int4" | "int8" => Type::Integer,
        "float4" | "float8" => Type::Real,
        "numeric" => Type::Decimal,
        "bool" => Type::Boolean,
        "date" => Type::Date,
        "time" => Type::Time,
        "timestamp" => Type::Datetime,
        "timestamptz" => Type::Instant,
        "uuid" => Type::Uuid,
        "bytea" => Type::Bytes,
        "json" | "jsonb" => Type::Json,
        "text" | "varchar" | "bpchar" | "name" | "char" => Type::Text,
        _ => return None,
    })
}

/// What a type is that there is none for, in words.
fn other(base: &TypeRow) -> &'static str {
    match (
        base.name.as_str(),
        base.category.as_str(),
        base.sort.as_str(),
    ) {
        ("money", ..) => "an amount whose text depends on the server's settings; numeric is exact",
        ("timetz", ..) => "a time of day with a zone",
        ("interval", ..) => "a span of time",
        ("xml", ..) => "XML",
        (_, "A", _) => "an array",
        (_, _, "r" | "m") => "a range",
        (_, _, "c") => "a row type",
        (_, "G", _) => "a geometric type",
        (_, "I", _) => "a network address",
        (_, "V", _) => "a string of bits",
        _ => "a type that Afield does not know",
    }
}

/// The `(p, s)` of a numeric; a negative scale rounds before the point.
fn digits(modifier: i32) -> (Option<u32>, Option<u32>) {
    if modifier < 4 {
        return (None, None);
    }
    let bits = modifier - 4;
    let (precision, scale) = ((bits >> 16) & 0xffff, ((bits & 0x7ff) ^ 1024) - 1024);
    let precision = precision + scale.min(0).abs();
    (
        u32::try_from(precision).ok(),
        u32::try_from(scale.max(0)).ok(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_that_were_declared() {
        let modifier = |precision: i32, scale: i32| ((precision << 16) | (scale & 0x7ff)) + 4;
        assert_eq!(digits(-1), (None, None));
        assert_eq!(digits(modifier(10, 2)), (Some(10), Some(2)));
        assert_eq!(digits(modifier(3, 5)), (Some(3), Some(5)));
        assert_eq!(digits(modifier(3, -2)), (Some(5), Some(0)));
    }
}
