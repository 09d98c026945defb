//! Which Afield type a declared SQLite type stands for.
//!
//! By its words alone, never by data: the same declaration means the same on every server.

use afield_protocol::Type;

/// Words of a declared type, in the order in which they are asked for.
const WORDS: &[(Type, &[&str])] = &[
    (Type::Uuid, &["uuid", "guid", "uniqueidentifier"]),
    (Type::Boolean, &["bool", "boolean"]),
    (Type::Json, &["json", "jsonb"]),
    (
        Type::Instant,
        &["timestamptz", "datetimetz", "datetimeoffset", "instant"],
    ),
    (
        Type::Datetime,
        &["datetime", "datetime2", "smalldatetime", "timestamp"],
    ),
    (Type::Date, &["date"]),
    (Type::Time, &["time"]),
    (
        Type::Decimal,
        &["decimal", "numeric", "dec", "number", "money", "smallmoney"],
    ),
    (Type::Real, &["real", "float", "float4", "float8", "double"]),
    (
        Type::Text,
        &[
            "text",
            "char",
            "varchar",
            "varchar2",
            "nchar",
            "nvarchar",
            "nvarchar2",
            "character",
            "clob",
            "nclob",
            "string",
            "citext",
            "tinytext",
            "mediumtext",
            "longtext",
            "ntext",
            "bpchar",
            "name",
            "enum",
            "xml",
            "any",
        ],
    ),
    (
        Type::Bytes,
        &[
            "blob",
            "bytea",
            "binary",
            "varbinary",
            "tinyblob",
            "mediumblob",
            "longblob",
            "image",
            "bytes",
        ],
    ),
    (
        Type::Integer,
        &[
            "int",
            "integer",
            "smallint",
            "bigint",
            "tinyint",
            "mediumint",
            "int2",
            "int4",
            "int8",
            "int16",
            "int32",
            "int64",
            "serial",
            "bigserial",
            "smallserial",
            "year",
            "long",
        ],
    ),
];

/// The type that `declared` stands for; `None` if it says nothing that is known.
pub(super) fn afield_type(declared: &str) -> Option<Type> {
    let lower = declared.to_ascii_lowercase();
    let bare = lower.split('(').next().unwrap_or_default();
    let words: Vec<&str> = words(bare).collect();
    let has = |word: &str| words.contains(&word);
    // `timestamp(6) with time zone`: the zone may stand behind the parenthesis.
    let zoned = ["with time zone", "with local time zone"]
        .iter()
        .any(|zone| lower.contains(zone));
    if zoned && (has("timestamp") || has("datetime")) {
        return Some(Type::Instant);
    }
    WORDS
        .iter()
        .find(|(_, known)| known.iter().any(|word| has(word)))
        .map(|(kind, _)| *kind)
}

/// The `(p, s)` of a decimal, where it has them.
pub(in super::super) fn precision_and_scale(declared: &str) -> (Option<u32>, Option<u32>) {
    let inside = declared
        .split_once('(')
        .and_then(|(_, rest)| rest.split_once(')'))
        .map_or("", |(inside, _)| inside);
    let mut numbers = inside.split(',').map(|part| part.trim().parse().ok());
    (numbers.next().flatten(), numbers.next().flatten())
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_types_have_one_meaning() {
        for (declared, kind) in [
            ("INTEGER", Type::Integer),
            ("unsigned big int", Type::Integer),
            ("TINYINT(1)", Type::Integer),
            ("Bool", Type::Boolean),
            ("DOUBLE PRECISION", Type::Real),
            ("DECIMAL(10, 2)", Type::Decimal),
            ("character varying(20)", Type::Text),
            ("CHAR(36)", Type::Text),
            ("uuid", Type::Uuid),
            ("DATE", Type::Date),
            ("TIME", Type::Time),
            ("datetime", Type::Datetime),
            ("TIMESTAMP(6)", Type::Datetime),
            ("timestamp with time zone", Type::Instant),
            ("TIMESTAMP(6) WITH TIME ZONE", Type::Instant),
            ("timestamptz", Type::Instant),
            ("bytea", Type::Bytes),
            ("JSONB", Type::Json),
        ] {
            assert_eq!(afield_type(declared), Some(kind), "{declared}");
        }
        for unknown in ["", "POINT", "floating point", "geometry(Point,4326)", "💥"] {
            assert_eq!(afield_type(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn precision_and_scale_are_read_where_they_stand() {
        assert_eq!(precision_and_scale("DECIMAL(10,2)"), (Some(10), Some(2)));
        assert_eq!(precision_and_scale("NUMERIC( 8 )"), (Some(8), None));
        assert_eq!(precision_and_scale("NUMERIC"), (None, None));
        assert_eq!(precision_and_scale("NUMERIC(a,-1)"), (None, None));
    }
}
