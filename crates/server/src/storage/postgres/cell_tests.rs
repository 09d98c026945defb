//! Cells held against the text that the server itself makes of them.

use afield_protocol::{Type, Value};
use afield_testbed::postgres::Cluster;

use super::cell::{Form, Stored, Wire};

fn form(name: &str) -> Form {
    let kind = match name {
        "bool" => Type::Boolean,
        "int2" | "int4" | "int8" => Type::Integer,
        "float4" | "float8" => Type::Real,
        "numeric" => Type::Decimal,
        "uuid" => Type::Uuid,
        "bytea" => Type::Bytes,
        "date" => Type::Date,
        "time" => Type::Time,
        "timestamp" => Type::Datetime,
        "timestamptz" => Type::Instant,
        "json" | "jsonb" => Type::Json,
        _ => Type::Text,
    };
    let wire = Wire::of(name, name == "mood");
    Form { kind, wire }
}

/// Type, literal, canonical text of the value as JSON would show it.
const CELLS: &[(&str, &str, &str)] = &[
    ("bool", "true", "1"),
    ("bool", "false", "0"),
    ("int2", "-32768", "-32768"),
    ("int4", "2147483647", "2147483647"),
    ("int8", "-9223372036854775808", "-9223372036854775808"),
    ("float4", "0.1", "0.1"),
    ("float4", "16777216", "16777216.0"),
    ("float4", "3.4028235e38", "3.4028235e38"),
    ("float8", "0.1", "0.1"),
    ("float8", "-0", "0.0"),
    ("float8", "Infinity", "inf"),
    ("float8", "NaN", "NaN"),
    ("numeric", "0", "0"),
    ("numeric", "-0.00", "0.00"),
    ("numeric", "12.50", "12.50"),
    ("numeric", "0.00012", "0.00012"),
    ("numeric", "0.0000000012", "0.0000000012"),
    ("numeric", "10000", "10000"),
    ("numeric", "100000000", "100000000"),
    (
        "numeric",
        "-1234567890123456789012345678901234567890.12345",
        "",
    ),
    ("numeric", "NaN", "NaN"),
    ("numeric", "Infinity", "Infinity"),
    ("numeric", "-Infinity", "-Infinity"),
    ("text", "Grüße\t☃ ", ""),
    ("varchar", "a", ""),
    ("name", "a", ""),
    ("mood", "so so", ""),
    ("uuid", "0190b3a1-5c1e-7cc3-98a1-0123456789ab", ""),
    ("date", "2024-02-29", ""),
    ("date", "0001-01-01", ""),
    ("date", "9999-12-31", ""),
    ("date", "0044-03-15 BC", ""),
    ("date", "0001-02-29 BC", ""),
    ("date", "4714-11-24 BC", ""),
    ("date", "10000-01-01", ""),
    ("date", "5874897-12-31", ""),
    ("date", "infinity", ""),
    ("date", "-infinity", ""),
    ("time", "00:00:00", "00:00:00.000000"),
    ("time", "23:59:59.999999", ""),
    ("time", "24:00:00", ""),
    (
        "timestamp",
        "2024-02-29 10:00:00",
        "2024-02-29T10:00:00.000000",
    ),
    (
        "timestamp",
        "1999-12-31 23:59:59.5",
        "1999-12-31T23:59:59.500000",
    ),
    ("timestamp", "0044-03-15 12:00:00.25 BC", ""),
    ("timestamp", "294276-12-31 23:59:59.999999", ""),
    ("timestamp", "infinity", ""),
    (
        "timestamptz",
        "2024-02-29 12:00:00+02",
        "2024-02-29T10:00:00.000000Z",
    ),
    (
        "timestamptz",
        "1969-12-31 23:59:59.999999+00",
        "1969-12-31T23:59:59.999999Z",
    ),
    ("timestamptz", "4713-01-01 00:00:00+00 BC", ""),
    ("timestamptz", "-infinity", ""),
    ("json", " { \"b\" : 1, \"a\":1.50 , \"a\":2} ", ""),
    ("jsonb", "{\"a\": 1.50}", ""),
];

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Integer(n) => n.to_string(),
        Value::Real(x) => format!("{x:?}"),
        Value::Text(text) => text.clone(),
        Value::Bytes(bytes) => format!("{bytes:?}"),
    }
}

#[test]
fn every_cell_reads_as_the_server_shows_it_and_is_written_back() {
    let sql = "CREATE TYPE mood AS ENUM ('so so')";
    let mut client = Cluster::shared().database(sql).connect();
    for (name, literal, canonical) in CELLS {
        let form = form(name);
        let quoted = literal.replace('\'', "''");
        let cell = format!("'{quoted}'::{name}");
        let row = client.query_one(&format!("SELECT {cell}"), &[]).unwrap();
        let value = form.read(row.get::<_, Stored<'_>>(0)).unwrap();
        let value = value.as_ref().to_value();
        let expected = if canonical.is_empty() {
            literal
        } else {
            canonical
        };
        assert_eq!(shown(&value), **expected, "{cell}");
        // What is a value of its type is written, and is the same cell.
        if form.kind.accepts(value.as_ref()) && *literal != "-0" {
            let param = form.write(&value).unwrap();
            let same = format!("SELECT $1::{name}::text = {cell}::text");
            let same: bool = client.query_one(&same, &[&param]).unwrap().get(0);
            assert!(same, "{cell}");
        }
    }
}

#[test]
fn null_and_bytes_and_what_is_cast_to_text_go_there_and_back() {
    let mut client = Cluster::shared().database("").connect();
    let null = client.query_one("SELECT NULL::int4", &[]).unwrap();
    let value = form("int4").read(null.get::<_, Stored<'_>>(0)).unwrap();
    assert_eq!(value.as_ref().to_value(), Value::Null);
    let bytes = Value::Bytes((0..=255).collect());
    let param = form("bytea").write(&bytes).unwrap();
    let row = client.query_one("SELECT $1::bytea", &[&param]).unwrap();
    let value = form("bytea").read(row.get::<_, Stored<'_>>(0)).unwrap();
    assert_eq!(value.as_ref().to_value(), bytes);
    let param = form("inet").write(&"10.0.0.1/8".into()).unwrap();
    let sql = "SELECT ($1::inet)::text";
    let row = client.query_one(sql, &[&param]).unwrap();
    let value = form("inet").read(row.get::<_, Stored<'_>>(0)).unwrap();
    assert_eq!(value.as_ref().to_value(), "10.0.0.1/8".into());
    let none = form("numeric").write(&Value::Null).unwrap();
    let sql = "SELECT $1::numeric IS NULL";
    let is_null: bool = client.query_one(sql, &[&none]).unwrap().get(0);
    assert!(is_null);
}

#[test]
fn what_a_column_does_not_hold_is_not_written() {
    for (name, value) in [
        ("bool", Value::Integer(2)),
        ("int2", Value::Integer(32_768)),
        ("int4", Value::Integer(1 << 31)),
        ("int8", Value::Real(1.0)),
        ("float4", Value::Real(1e39)),
        ("float8", Value::Integer(1)),
        ("numeric", "1e5".into()),
        ("numeric", format!("0.{}", "1".repeat(0x4000)).into()),
        ("uuid", "0190b3a1".into()),
        ("date", "2024-02-30".into()),
        ("time", "24:00:00".into()),
        ("timestamp", "2024-02-29".into()),
        ("timestamptz", "2024-02-29T10:00:00.000000".into()),
        ("bytea", "text".into()),
        ("text", Value::Integer(1)),
    ] {
        assert!(form(name).write(&value).is_err(), "{name}: {value:?}");
    }
}

#[test]
fn bytes_of_another_type_are_an_error() {
    for (name, raw) in [
        ("int4", &[0, 0][..]),
        ("int8", &[0, 0, 0, 1]),
        ("uuid", &[1]),
        ("jsonb", &[2, b'1']),
        ("text", &[0xFF]),
        ("numeric", &[0, 9, 0, 0, 0, 0, 0, 0]),
        ("numeric", &[0, 0]),
        ("numeric", &[0, 0, 0, 0, 1, 0, 0, 0]),
        ("date", &[]),
    ] {
        assert!(form(name).read(Stored(Some(raw))).is_err(), "{name}");
    }
}

#[test]
fn random_numbers_and_moments_are_the_servers() {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut client = Cluster::shared().database("").connect();
    let digits = |rng: &mut fastrand::Rng, most: usize| -> String {
        (0..rng.usize(1..most))
            .map(|_| rng.char('0'..='9'))
            .collect()
    };
    for _ in 0..300 {
        let sign = if rng.bool() { "-" } else { "" };
        let number = format!("{sign}{}.{}", digits(&mut rng, 30), digits(&mut rng, 20));
        let seconds = rng.i64(-62_135_596_800..253_402_300_800);
        let moment = format!(
            "to_timestamp({seconds}) + interval '{} us'",
            rng.u32(..1_000_000)
        );
        for (name, cell) in [
            ("numeric", format!("'{number}'::numeric")),
            ("timestamptz", format!("({moment})")),
            ("date", format!("(({moment}) AT TIME ZONE 'UTC')::date")),
            (
                "float4",
                format!("(random() * 10 ^ {})::float4", rng.i32(-30..30)),
            ),
        ] {
            let form = form(name);
            let text = match name {
                "timestamptz" => format!(
                    "to_char({cell} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
                ),
                _ => format!("{cell}::text"),
            };
            let sql = format!(
                "SELECT c, t FROM (SELECT {cell} AS c) AS s, \
                               LATERAL (SELECT {} AS t) AS u",
                text.replace(&cell, "c")
            );
            let row = client.query_one(&sql, &[]).unwrap();
            let value = form
                .read(row.get::<_, Stored<'_>>(0))
                .unwrap()
                .as_ref()
                .to_value();
            let text: String = row.get(1);
            match &value {
                Value::Real(x) => assert_eq!(*x as f32, text.parse::<f32>().unwrap(), "{cell}"),
                value => assert_eq!(shown(value), text, "{cell}"),
            }
            assert!(form.kind.accepts(value.as_ref()), "{cell}: {value:?}");
            let param = form.write(&value).unwrap();
            let same = format!("SELECT ($1::{name})::text = ($2::text)::{name}::text");
            let same: bool = client.query_one(&same, &[&param, &text]).unwrap().get(0);
            assert!(same, "{cell}");
        }
    }
}
