//! Typed values and their one canonical form.
//!
//! A [`Value`] is what SQLite stores: null, integer, real, text or bytes. An attribute's [`Type`]
//! says which of them is canonical for it, and how it travels: a uuid is lower-case text in a
//! table and sixteen tagged bytes on the wire. A cell of the server's database that does not fit
//! its type (SQLite lets a team store text in an INTEGER column) travels as it is stored, so that
//! no row is held back by one odd cell; a change that would write such a value is refused.

use std::fmt;

use crate::canonical::{is_decimal, is_json, is_uuid};
use crate::moment::{
    datetime_text, from_micros, instant_text, is_date, is_datetime, is_time, time_text,
};

/// The types an attribute can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// Text without NUL.
    Text,
    /// 64-bit integer.
    Integer,
    /// 64-bit floating point; NaN is kept as the text `NaN`.
    Real,
    /// Exact decimal number, as text without exponent, scale kept.
    Decimal,
    /// Truth value, stored as 0 or 1.
    Boolean,
    /// Calendar date, `YYYY-MM-DD`.
    Date,
    /// Time of day, `HH:MM:SS.ffffff`.
    Time,
    /// Point in time, `YYYY-MM-DDTHH:MM:SS.ffffffZ`, always UTC.
    Instant,
    /// Date and time without zone, `YYYY-MM-DDTHH:MM:SS.ffffff`.
    Datetime,
    /// UUID, lower case.
    Uuid,
    /// Bytes.
    Bytes,
    /// JSON, exactly as written.
    Json,
}

/// A value as SQLite stores it.
#[derive(Clone, Debug)]
pub enum Value {
    /// No value.
    Null,
    /// Integer, or a truth value as 0 or 1.
    Integer(i64),
    /// Real.
    Real(f64),
    /// Text in the canonical form of its type.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// A borrowed [`Value`].
#[derive(Clone, Copy, Debug)]
pub enum ValueRef<'a> {
    /// No value.
    Null,
    /// Integer.
    Integer(i64),
    /// Real.
    Real(f64),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Bytes(&'a [u8]),
}

/// A value that does not have its attribute's type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expects {expected}")]
pub struct TypeMismatch {
    /// What the type takes, in words.
    pub expected: &'static str,
}

impl Type {
    const ALL: [Self; 12] = [
        Self::Text,
        Self::Integer,
        Self::Real,
        Self::Decimal,
        Self::Boolean,
        Self::Date,
        Self::Time,
        Self::Instant,
        Self::Datetime,
        Self::Uuid,
        Self::Bytes,
        Self::Json,
    ];

    /// The word for it in models and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "integer",
            Self::Real => "real",
            Self::Decimal => "decimal",
            Self::Boolean => "boolean",
            Self::Date => "date",
            Self::Time => "time",
            Self::Instant => "instant",
            Self::Datetime => "datetime",
            Self::Uuid => "uuid",
            Self::Bytes => "bytes",
            Self::Json => "json",
        }
    }

    /// The type for a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// What a value of this type looks like, for messages.
    pub fn expected(self) -> &'static str {
        match self {
            Self::Text => "text without NUL",
            Self::Integer => "a 64-bit integer",
            Self::Real => "a number",
            Self::Decimal => "a decimal number as text, like \"12.50\"",
            Self::Boolean => "true or false",
            Self::Date => "a date like \"2026-11-23\"",
            Self::Time => "a time like \"09:30:00\"",
            Self::Instant => "an instant like \"2026-11-23T09:30:00Z\"",
            Self::Datetime => "a date and time like \"2026-11-23T09:30:00\", without a zone",
            Self::Uuid => "a UUID like \"0190b3a1-5c1e-7cc3-98a1-0123456789ab\"",
            Self::Bytes => "bytes",
            Self::Json => "JSON text",
        }
    }

    /// The column type on the device and in an SQLite server file that Afield makes.
    pub fn sqlite(self) -> &'static str {
        match self {
            Self::Integer | Self::Boolean => "INTEGER",
            Self::Real => "REAL",
            Self::Bytes => "BLOB",
            _ => "TEXT",
        }
    }

    /// Whether `value` is null or in this type's canonical form.
    pub fn accepts(self, value: ValueRef<'_>) -> bool {
        match (self, value) {
            (_, ValueRef::Null) | (Self::Integer, ValueRef::Integer(_)) => true,
            (Self::Boolean, ValueRef::Integer(n)) => n == 0 || n == 1,
            (Self::Real, ValueRef::Real(x)) => !(x.is_nan() || x == 0.0 && x.is_sign_negative()),
            (Self::Real, ValueRef::Text(text)) => text == "NaN",
            (Self::Bytes, ValueRef::Bytes(_)) => true,
            (Self::Text, ValueRef::Text(text)) => !text.contains('\0'),
            (Self::Decimal, ValueRef::Text(text)) => is_decimal(text),
            (Self::Date, ValueRef::Text(text)) => is_date(text),
            (Self::Time, ValueRef::Text(text)) => is_time(text),
            (Self::Instant, ValueRef::Text(text)) => {
                text.strip_suffix('Z').is_some_and(is_datetime)
            }
            (Self::Datetime, ValueRef::Text(text)) => is_datetime(text),
            (Self::Uuid, ValueRef::Text(text)) => is_uuid(text),
            (Self::Json, ValueRef::Text(text)) => is_json(text),
            _ => false,
        }
    }

    /// Brings a value that an app wrote into canonical form: an integral number becomes a real,
    /// an instant with an offset becomes UTC, a UUID becomes lower case, and digits of time beyond
    /// the microsecond are cut off.
    ///
    /// # Errors
    /// The value cannot be one of this type.
    pub fn normalise(self, value: Value) -> Result<Value, TypeMismatch> {
        let value = match (self, value) {
            (Self::Real, Value::Integer(n)) => exact_real(n).map_or(Value::Integer(n), Value::Real),
            (Self::Real, Value::Real(x)) if x.is_nan() => Value::Text("NaN".into()),
            (Self::Decimal, Value::Integer(n)) => Value::Text(n.to_string()),
            (Self::Uuid, Value::Text(text)) => Value::Text(text.to_ascii_lowercase()),
            (Self::Instant, Value::Text(text)) => Value::Text(instant_text(&text).unwrap_or(text)),
            (Self::Datetime, Value::Text(text)) => {
                Value::Text(datetime_text(&text).unwrap_or(text))
            }
            (Self::Time, Value::Text(text)) => Value::Text(time_text(&text).unwrap_or(text)),
            (_, value) => value,
        };
        if self.accepts(value.as_ref()) {
            Ok(value)
        } else {
            Err(TypeMismatch {
                expected: self.expected(),
            })
        }
    }
}

impl Type {
    /// The canonical value of this type at a time in seconds since 1970, in UTC: a day, a date and
    /// time, or an instant. Null for other types.
    pub fn at(self, seconds: i64) -> Value {
        let text = from_micros(seconds.saturating_mul(1_000_000));
        match self {
            Self::Instant => Value::Text(format!("{text}Z")),
            Self::Datetime => Value::Text(text),
            Self::Date => Value::Text(text.chars().take(10).collect()),
            _ => Value::Null,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Value {
    /// Borrows it.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Null => ValueRef::Null,
            Self::Integer(n) => ValueRef::Integer(*n),
            Self::Real(x) => ValueRef::Real(*x),
            Self::Text(text) => ValueRef::Text(text),
            Self::Bytes(bytes) => ValueRef::Bytes(bytes),
        }
    }

    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// Rough size in memory and on the wire, in bytes.
    pub fn size(&self) -> usize {
        match self {
            Self::Null => 1,
            Self::Integer(_) | Self::Real(_) => 9,
            Self::Text(text) => text.len() + 5,
            Self::Bytes(bytes) => bytes.len() + 5,
        }
    }
}

/// Equal as stored: reals by their bits, so that every value equals itself.
impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl Eq for Value {}

impl std::hash::Hash for Value {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        std::mem::discriminant(self).hash(state);
        match self {
            Self::Null => {}
            Self::Integer(n) => n.hash(state),
            Self::Real(x) => x.to_bits().hash(state),
            Self::Text(text) => text.hash(state),
            Self::Bytes(bytes) => bytes.hash(state),
        }
    }
}

impl PartialEq for ValueRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Integer(a), Self::Integer(b)) => a == b,
            (Self::Real(a), Self::Real(b)) => a.to_bits() == b.to_bits(),
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Bytes(a), Self::Bytes(b)) => a == b,
            _ => false,
        }
    }
}

impl ValueRef<'_> {
    /// An owned copy.
    pub fn to_value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Integer(n) => Value::Integer(n),
            Self::Real(x) => Value::Real(x),
            Self::Text(text) => Value::Text(text.to_owned()),
            Self::Bytes(bytes) => Value::Bytes(bytes.to_vec()),
        }
    }
}

/// For people: SQL-like, without quoting.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Integer(n) => write!(f, "{n}"),
            Self::Real(x) => write!(f, "{x:?}"),
            Self::Text(text) => f.write_str(text),
            Self::Bytes(bytes) => write!(f, "{} bytes", bytes.len()),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Self::Integer(n)
    }
}

impl From<f64> for Value {
    fn from(x: f64) -> Self {
        Self::Real(x)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Integer(i64::from(truth))
    }
}

/// The real that is exactly `n`, if there is one.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "checked to read back the same"
)]
fn exact_real(n: i64) -> Option<f64> {
    let real = n as f64;
    (real as i128 == i128::from(n)).then_some(real)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(kind: Type, value: &str) -> bool {
        kind.accepts(ValueRef::Text(value))
    }

    #[test]
    fn canonical_forms_are_accepted_and_others_are_not() {
        for (kind, good, bad) in [
            (Type::Date, "2024-02-29", "2023-02-29"),
            (Type::Date, "0001-01-01", "0000-01-01"),
            (Type::Time, "23:59:59.999999", "24:00:00.000000"),
            (Type::Time, "00:00:00.000000", "00:00:60.000000"),
            (
                Type::Instant,
                "2026-11-23T09:30:00.000000Z",
                "2026-11-23T09:30:00Z",
            ),
            (
                Type::Datetime,
                "9999-12-31T23:59:59.999999",
                "2026-11-23 09:30:00.000000",
            ),
            (
                Type::Uuid,
                "0190b3a1-5c1e-7cc3-98a1-0123456789ab",
                "0190B3A1-5c1e-7cc3-98a1-0123456789ab",
            ),
            (Type::Decimal, "-12.50", "-0.00"),
            (Type::Decimal, "0", "00"),
            (
                Type::Decimal,
                "1234567890123456789012345678901234567890.1",
                "1e5",
            ),
            (Type::Json, "{\"a\": [1, 2]}", "{a: 1}"),
            (Type::Text, "ü", "a\0b"),
        ] {
            assert!(text(kind, good), "{kind} should take {good}");
            assert!(!text(kind, bad), "{kind} should not take {bad}");
        }
        assert!(!Type::Boolean.accepts(ValueRef::Integer(2)));
        assert!(!Type::Integer.accepts(ValueRef::Text("1")));
        assert!(!Type::Real.accepts(ValueRef::Real(-0.0)));
    }

    #[test]
    fn what_an_app_writes_becomes_canonical() {
        for (kind, given, expected) in [
            (
                Type::Instant,
                "2026-11-23T10:30:00+01:00",
                "2026-11-23T09:30:00.000000Z",
            ),
            (
                Type::Datetime,
                "2026-11-23 10:30:00.5",
                "2026-11-23T10:30:00.500000",
            ),
            (Type::Time, "09:30", "09:30:00.000000"),
            (
                Type::Uuid,
                "0190B3A1-5C1E-7CC3-98A1-0123456789AB",
                "0190b3a1-5c1e-7cc3-98a1-0123456789ab",
            ),
        ] {
            assert_eq!(
                kind.normalise(Value::from(given)),
                Ok(Value::from(expected))
            );
        }
        assert_eq!(
            Type::Real.normalise(Value::Integer(5)),
            Ok(Value::Real(5.0))
        );
        for n in [(1 << 53) + 1, i64::MAX] {
            assert!(Type::Real.normalise(Value::Integer(n)).is_err());
        }
        assert!(Type::Uuid.normalise(Value::from("not a uuid")).is_err());
    }
}
