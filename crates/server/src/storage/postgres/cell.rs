//! Between a cell in PostgreSQL's binary format and a canonical value of its attribute.
//!
//! The format is that of each type's `recv` and `send` function; PostgreSQL's manual leaves it to
//! their source. Every cell here was held against the text that the server itself makes of it.
//!
//! A cell that is no value of its attribute's type (a day before Christ, `infinity`, `24:00`) is
//! delivered as the text that PostgreSQL writes for it, and stops nothing.

use std::error::Error;
use std::fmt::Write as _;

use afield_protocol::moment::{self, MICROS};
use afield_protocol::{Type, Value, ValueRef};
use tokio_postgres::types::private::BytesMut;
use tokio_postgres::types::{Format, FromSql, IsNull, ToSql, Type as SqlType};

use super::numeric;

/// Days from 1970 to 2000, where PostgreSQL counts from.
const EPOCH_DAYS: i64 = 10_957;

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// How a column's cells travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// `bool`.
    Bool,
    /// `int2`.
    Int2,
    /// `int4`.
    Int4,
    /// `int8`.
    Int8,
    /// `float4`.
    Float4,
    /// `float8`.
    Float8,
    /// `numeric`.
    Numeric,
    /// `text`, `varchar`, `bpchar`, `citext`, `name`, and the labels of enums.
    Text,
    /// `uuid`.
    Uuid,
    /// `bytea`.
    Bytea,
    /// `date`.
    Date,
    /// `time` without a zone.
    Time,
    /// `timestamp` without a zone.
    Timestamp,
    /// `timestamp` with a zone.
    Timestamptz,
    /// `json`.
    Json,
    /// `jsonb`.
    Jsonb,
    /// Any other: statements cast it to text, and it is written as text.
    Other,
}

impl Wire {
    /// How a type travels, by its name in `pg_type`; of a domain, that of the type below it.
    pub fn of(name: &str, is_enum: bool) -> Self {
        match name {
            _ if is_enum => Self::Text,
            "bool" => Self::Bool,
            "int2" => Self::Int2,
            "int4" => Self::Int4,
            "int8" => Self::Int8,
            "float4" => Self::Float4,
            "float8" => Self::Float8,
            "numeric" => Self::Numeric,
            "text" | "varchar" | "bpchar" | "citext" | "name" => Self::Text,
            "uuid" => Self::Uuid,
            "bytea" => Self::Bytea,
            "date" => Self::Date,
            "time" => Self::Time,
            "timestamp" => Self::Timestamp,
            "timestamptz" => Self::Timestamptz,
            "json" => Self::Json,
            "jsonb" => Self::Jsonb,
            _ => Self::Other,
        }
    }
}

/// How the canonical values of an attribute travel to and from its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// The attribute's type.
    pub kind: Type,
    /// The column's.
    pub wire: Wire,
}

/// A value that is borrowed where it travels in canonical form.
#[derive(Debug)]
pub enum Canonical<'a> {
    /// As it came.
    Borrowed(ValueRef<'a>),
    /// As it was made.
    Owned(Value),
}

impl Canonical<'_> {
    /// The value.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Borrowed(value) => *value,
            Self::Owned(value) => value.as_ref(),
        }
    }
}

/// The bytes of a cell, as they came; `None` is null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored<'a>(pub Option<&'a [u8]>);

impl<'a> FromSql<'a> for Stored<'a> {
    fn from_sql(_: &SqlType, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Some(raw)))
    }

    fn from_sql_null(_: &SqlType) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &SqlType) -> bool {
        true
    }
}

/// A value as a statement's parameter, in the format of its column.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Param {
    bytes: Option<Vec<u8>>,
    is_text: bool,
}

impl Param {
    /// A cell as it was read, for a place of the same type; what was read as text is given as text.
    pub(super) fn stored(bytes: Option<Vec<u8>>, is_text: bool) -> Self {
        Self { bytes, is_text }
    }
}

impl ToSql for Param {
    fn to_sql(
        &self,
        _: &SqlType,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match &self.bytes {
            None => Ok(IsNull::Yes),
            Some(bytes) => {
                out.extend_from_slice(bytes);
                Ok(IsNull::No)
            }
        }
    }

    fn accepts(_: &SqlType) -> bool {
        true
    }

    fn to_sql_checked(
        &self,
        kind: &SqlType,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.to_sql(kind, out)
    }

    fn encode_format(&self, _: &SqlType) -> Format {
        match self.is_text {
            true => Format::Text,
            false => Format::Binary,
        }
    }
}

/// The bytes are no cell of the type that the column is said to have: it has another one since the
/// server looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cell is not in the format of its column's type; was the type changed?")]
pub struct OddCell;

/// The column has no such value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the column holds {holds}")]
pub struct Unwritable {
    /// What it holds instead.
    pub holds: &'static str,
}

impl Form {
    /// The canonical value of a cell.
    ///
    /// # Errors
    /// The bytes are of another type.
    pub fn read<'a>(&self, cell: Stored<'a>) -> Result<Canonical<'a>, OddCell> {
        let Some(raw) = cell.0 else {
            return Ok(Canonical::Borrowed(ValueRef::Null));
        };
        let value = self.wire.read(raw)?;
        if self.kind.accepts(value.as_ref()) {
            return Ok(value);
        }
        let normal = self.kind.normalise(value.as_ref().to_value());
        Ok(normal.map_or(value, Canonical::Owned))
    }

    /// What to send for a canonical value.
    ///
    /// # Errors
    /// The column has no such value.
    pub fn write(&self, value: &Value) -> Result<Param, Unwritable> {
        let bytes = match value {
            Value::Null => None,
            value => Some(self.wire.write(value)?),
        };
        Ok(Param {
            bytes,
            is_text: self.wire == Wire::Other,
        })
    }
}

impl Wire {
    fn read(self, raw: &[u8]) -> Result<Canonical<'_>, OddCell> {
        let borrowed = |value| Ok(Canonical::Borrowed(value));
        let text = |raw| std::str::from_utf8(raw).map_err(|_| OddCell);
        match self {
            Self::Bool => borrowed(ValueRef::Integer(i64::from(fixed::<1>(raw)? != [0]))),
            Self::Int2 => borrowed(ValueRef::Integer(i16::from_be_bytes(fixed(raw)?).into())),
            Self::Int4 => borrowed(ValueRef::Integer(i32::from_be_bytes(fixed(raw)?).into())),
            Self::Int8 => borrowed(ValueRef::Integer(i64::from_be_bytes(fixed(raw)?))),
            Self::Float4 => Ok(real(widened(f32::from_be_bytes(fixed(raw)?)))),
            Self::Float8 => Ok(real(f64::from_be_bytes(fixed(raw)?))),
            Self::Numeric => {
                let text = numeric::read(raw).ok_or(OddCell)?;
                Ok(Canonical::Owned(Value::Text(text)))
            }
            Self::Text | Self::Json | Self::Other => borrowed(ValueRef::Text(text(raw)?)),
            Self::Jsonb => match raw {
                [1, json @ ..] => borrowed(ValueRef::Text(text(json)?)),
                _ => Err(OddCell),
            },
            Self::Uuid => Ok(owned(uuid(fixed(raw)?))),
            Self::Bytea => borrowed(ValueRef::Bytes(raw)),
            Self::Date => Ok(owned(date(i32::from_be_bytes(fixed(raw)?)))),
            Self::Time => Ok(owned(time(i64::from_be_bytes(fixed(raw)?)))),
            Self::Timestamp => Ok(owned(timestamp(i64::from_be_bytes(fixed(raw)?), "", ""))),
            Self::Timestamptz => Ok(owned(timestamp(
                i64::from_be_bytes(fixed(raw)?),
                "Z",
                "+00",
            ))),
        }
    }

    pub(super) fn write(self, value: &Value) -> Result<Vec<u8>, Unwritable> {
        let holds = self.holds();
        let cannot = || Unwritable { holds };
        match (self, value) {
            (Self::Bool, Value::Integer(n @ (0 | 1))) => Ok(vec![u8::from(*n == 1)]),
            (Self::Int2, Value::Integer(n)) => {
                let n = i16::try_from(*n).map_err(|_| cannot())?;
                Ok(n.to_be_bytes().into())
            }
            (Self::Int4, Value::Integer(n)) => {
                let n = i32::try_from(*n).map_err(|_| cannot())?;
                Ok(n.to_be_bytes().into())
            }
            (Self::Int8, Value::Integer(n)) => Ok(n.to_be_bytes().into()),
            (Self::Float4, value) => {
                let x = as_real(value).ok_or_else(cannot)?;
                let narrow = x as f32;
                match narrow.is_infinite() && x.is_finite() {
                    true => Err(cannot()),
                    false => Ok(narrow.to_be_bytes().into()),
                }
            }
            (Self::Float8, value) => Ok(as_real(value).ok_or_else(cannot)?.to_be_bytes().into()),
            (Self::Numeric, Value::Text(text)) => numeric::write(text).ok_or_else(cannot),
            (Self::Text | Self::Json | Self::Other, Value::Text(text)) => {
                Ok(text.as_bytes().to_vec())
            }
            (Self::Jsonb, Value::Text(text)) => Ok([&[1], text.as_bytes()].concat()),
            (Self::Uuid, Value::Text(text)) => uuid_bytes(text).ok_or_else(cannot),
            (Self::Bytea, Value::Bytes(bytes)) => Ok(bytes.clone()),
            (Self::Date, Value::Text(text)) => {
                let days = moment::to_micros(&format!("{text}T00:00:00.000000"))
                    .and_then(|micros| i32::try_from(micros / DAY - EPOCH_DAYS).ok());
                Ok(days.ok_or_else(cannot)?.to_be_bytes().into())
            }
            (Self::Time, Value::Text(text)) => {
                let of_day = moment::to_micros(&format!("1970-01-01T{text}"));
                Ok(of_day.ok_or_else(cannot)?.to_be_bytes().into())
            }
            (Self::Timestamp | Self::Timestamptz, Value::Text(text)) => {
                let text = match self {
                    Self::Timestamptz => text.strip_suffix('Z').ok_or_else(cannot)?,
                    _ => text,
                };
                let micros = moment::to_micros(text).ok_or_else(cannot)? - EPOCH_DAYS * DAY;
                Ok(micros.to_be_bytes().into())
            }
            _ => Err(cannot()),
        }
    }

    fn holds(self) -> &'static str {
        match self {
            Self::Bool => "truth values",
            Self::Int2 => "integers of 16 bits",
            Self::Int4 => "integers of 32 bits",
            Self::Int8 => "integers of 64 bits",
            Self::Float4 => "numbers of single precision",
            Self::Float8 => "numbers of double precision",
            Self::Numeric => "decimal numbers",
            Self::Text | Self::Other => "text",
            Self::Uuid => "UUIDs",
            Self::Bytea => "bytes",
            Self::Date => "dates",
            Self::Time => "times of day",
            Self::Timestamp | Self::Timestamptz => "dates with a time",
            Self::Json | Self::Jsonb => "JSON",
        }
    }
}

fn owned<'a>(text: String) -> Canonical<'a> {
    Canonical::Owned(Value::Text(text))
}

fn fixed<const N: usize>(raw: &[u8]) -> Result<[u8; N], OddCell> {
    raw.try_into().map_err(|_| OddCell)
}

/// A number in canonical form: −0.0 equals 0.0, and NaN is its name.
fn real<'a>(x: f64) -> Canonical<'a> {
    match x {
        _ if x.is_nan() => Canonical::Owned("NaN".into()),
        0.0 => Canonical::Borrowed(ValueRef::Real(0.0)),
        x => Canonical::Borrowed(ValueRef::Real(x)),
    }
}

/// A number of single precision as the one of double precision that is written with the same
/// digits: 0.1 stays 0.1, and comes back as it was.
fn widened(x: f32) -> f64 {
    x.to_string().parse().unwrap_or_else(|_| x.into())
}

fn as_real(value: &Value) -> Option<f64> {
    match value {
        Value::Real(x) => Some(*x),
        Value::Text(text) if text == "NaN" => Some(f64::NAN),
        _ => None,
    }
}

fn uuid(bytes: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn uuid_bytes(text: &str) -> Option<Vec<u8>> {
    let digits: String = text.split('-').collect();
    if digits.len() != 32 || !digits.is_ascii() {
        return None;
    }
    let byte = |at: usize| u8::from_str_radix(digits.get(at..at + 2)?, 16).ok();
    (0..32).step_by(2).map(byte).collect()
}

fn date(days: i32) -> String {
    match days {
        i32::MAX => "infinity".to_owned(),
        i32::MIN => "-infinity".to_owned(),
        days => {
            let (date, era) = civil(i64::from(days) + EPOCH_DAYS);
            date + era
        }
    }
}

fn time(micros: i64) -> String {
    match micros {
        DAY => "24:00:00".to_owned(),
        micros => moment::from_micros(micros).split_at(11).1.to_owned(),
    }
}

/// Canonical text ends with `zone`; that of PostgreSQL has `offset`.
fn timestamp(micros: i64, zone: &str, offset: &str) -> String {
    match micros {
        i64::MAX => return "infinity".to_owned(),
        i64::MIN => return "-infinity".to_owned(),
        _ => {}
    }
    let micros = i128::from(micros) + i128::from(EPOCH_DAYS) * i128::from(DAY);
    match i64::try_from(micros) {
        Ok(micros) if MICROS.contains(&micros) => moment::from_micros(micros) + zone,
        _ => {
            let day = i128::from(DAY);
            let days = i64::try_from(micros.div_euclid(day)).unwrap_or(i64::MAX);
            let of_day = i64::try_from(micros.rem_euclid(day)).unwrap_or(0);
            let of_day = time(of_day);
            let of_day = of_day.trim_end_matches('0').trim_end_matches('.');
            let (date, era) = civil(days);
            format!("{date} {of_day}{offset}{era}")
        }
    }
}

/// A day since 1970 as PostgreSQL writes it, and what stands behind it before Christ.
fn civil(days: i64) -> (String, &'static str) {
    let (year, month, day) = moment::civil(days);
    let (year, era) = match year {
        1.. => (year, ""),
        _ => (1 - year, " BC"),
    };
    (format!("{year:04}-{month:02}-{day:02}"), era)
}
