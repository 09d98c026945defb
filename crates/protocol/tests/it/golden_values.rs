//! The values of the golden files: for each type what is canonical, its limits, and cells that do
//! not fit it.

use afield_protocol::{Type, Value};

fn texts(texts: &[&str]) -> Vec<Value> {
    texts.iter().map(|text| Value::from(*text)).collect()
}

fn integers(integers: &[i64]) -> Vec<Value> {
    integers.iter().map(|n| Value::from(*n)).collect()
}

fn reals(reals: &[f64]) -> Vec<Value> {
    reals.iter().map(|x| Value::from(*x)).collect()
}

fn bytes(bytes: &[u8]) -> Value {
    Value::Bytes(bytes.to_vec())
}

/// Null and values that are canonical for `kind`.
pub(crate) fn canonical(kind: Type) -> Vec<Value> {
    let mut values = match kind {
        Type::Text => texts(&[
            "",
            "site 4",
            "ü e\u{301} \u{1f600} \u{feff}",
            "NaN",
            "2024-02-29",
        ]),
        Type::Integer => integers(&[0, 23, 24, -1, 1 << 53, (1 << 53) + 1, i64::MAX, i64::MIN]),
        Type::Real => reals_and_nan(),
        Type::Decimal => decimals(),
        Type::Boolean => integers(&[0, 1]),
        Type::Date => texts(&["2024-02-29", "0001-01-01", "9999-12-31"]),
        Type::Time => texts(&["09:30:00.000000", "00:00:00.000000", "23:59:59.999999"]),
        Type::Instant => texts(&[
            "2026-11-23T09:30:00.123456Z",
            "1970-01-01T00:00:00.000000Z",
            "1969-12-31T23:59:59.999999Z",
            "0001-01-01T00:00:00.000000Z",
            "9999-12-31T23:59:59.999999Z",
        ]),
        Type::Datetime => texts(&[
            "2026-11-23T09:30:00.123456",
            "0001-01-01T00:00:00.000000",
            "9999-12-31T23:59:59.999999",
        ]),
        Type::Uuid => texts(&[
            "0190b3a1-5c1e-7cc3-98a1-0123456789ab",
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
        ]),
        Type::Bytes => vec![bytes(b""), bytes(b"\0\xff"), bytes(b"photo")],
        Type::Json => texts(&["{\"a\": [1, 2.50, null]}", "null", "\"\\ud800\"", " [ ] "]),
    };
    values.insert(0, Value::Null);
    values
}

fn reals_and_nan() -> Vec<Value> {
    let (tiny, edge) = (f64::from_bits(1), 9_007_199_254_740_993.0);
    let special = [f64::INFINITY, f64::NEG_INFINITY];
    let numbers = [0.0, 5.0, -1.5, 0.1, 1e300, f64::MAX, tiny, edge];
    let mut values = reals(&[numbers.as_slice(), &special].concat());
    values.push("NaN".into());
    values
}

fn decimals() -> Vec<Value> {
    let long = format!("0.{}1", "0".repeat(1_000));
    let just = format!("0.{}1", "0".repeat(999));
    let mut values = texts(&[
        "0",
        "0.00",
        "12.50",
        "-0.5",
        "-12.50",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "1234567890123456789012345678901234567890.1",
    ]);
    values.extend([just, long].map(Value::from));
    values
}

/// Cells that a database may hold in an attribute of `kind` although they are not canonical: they
/// travel as they are stored.
pub(crate) fn off_type(kind: Type) -> Vec<Value> {
    match kind {
        Type::Text => vec![Value::from("a\0b"), 7.into(), 0.5.into(), bytes(b"\xff")],
        Type::Integer => vec![Value::from("7"), 7.5.into(), bytes(b"7")],
        Type::Real => vec![Value::from(-0.0), 7.into(), "1.5".into()],
        Type::Decimal => vec![Value::from("-0.00"), "1e5".into(), 7.into(), 7.5.into()],
        Type::Boolean => vec![Value::from(2), "true".into()],
        Type::Date => vec![
            Value::from("2023-02-29"),
            "infinity".into(),
            20_240_229.into(),
        ],
        Type::Time => vec![Value::from("24:00:00.000000"), "09:30".into()],
        Type::Instant => vec![
            Value::from("2026-11-23T09:30:00Z"),
            "2026-11-23 10:30:00+01:00".into(),
            1_795_426_200.into(),
        ],
        Type::Datetime => vec![Value::from("2026-11-23 09:30:00")],
        Type::Uuid => vec![
            Value::from("0190B3A1-5C1E-7CC3-98A1-0123456789AB"),
            bytes(&[7; 16]),
        ],
        Type::Bytes => vec![Value::from("text"), ((1 << 53) + 1).into()],
        Type::Json => vec![Value::from("{a: 1}"), f64::INFINITY.into()],
    }
}
