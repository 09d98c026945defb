//! Values in CBOR.
//!
//! | type | CBOR |
//! |---|---|
//! | text | text string |
//! | integer | integer |
//! | real | float64; NaN as the float |
//! | decimal | tag 4 (decimal fraction); a mantissa beyond 64 bits as a text string |
//! | boolean | true, false |
//! | date | tag 1004 (RFC 8943) over the text |
//! | time | tag 44829 over the text |
//! | instant, datetime | tag 44830, 44831 over microseconds since 1970 |
//! | uuid | tag 37 over sixteen bytes |
//! | bytes | byte string |
//! | json | tag 44832 over the text |
//!
//! A cell that is not canonical for its type is written as it is stored, untagged. Reading needs
//! no type: every form names what it becomes.

use std::borrow::Cow;
use std::convert::Infallible;

use minicbor::data::{Tag, Type as Kind};
use minicbor::{Decoder, Encoder};

use super::Malformed;
use crate::change::{Attributes, Group, Key, Op};
use crate::value::{Type, Value, ValueRef, format_instant, parse_micros};

const TAG_DECIMAL: u64 = 4;
const TAG_UUID: u64 = 37;
const TAG_DATE: u64 = 1004;
const TAG_TIME: u64 = 44829;
const TAG_INSTANT: u64 = 44830;
const TAG_DATETIME: u64 = 44831;
const TAG_JSON: u64 = 44832;

/// The range of microseconds that canonical instants cover: years 1 to 9999.
const MICROS: std::ops::RangeInclusive<i64> = -62_135_596_800_000_000..=253_402_300_799_999_999;

/// A cell read from the wire: borrowed where the wire has it as stored.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// No value.
    Null,
    /// Integer or truth value.
    Integer(i64),
    /// Real.
    Real(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// Bytes.
    Bytes(&'a [u8]),
}

impl Cell<'_> {
    /// Borrows it as a value.
    pub fn as_ref(&self) -> ValueRef<'_> {
        match self {
            Self::Null => ValueRef::Null,
            Self::Integer(n) => ValueRef::Integer(*n),
            Self::Real(x) => ValueRef::Real(*x),
            Self::Text(text) => ValueRef::Text(text),
            Self::Bytes(bytes) => ValueRef::Bytes(bytes),
        }
    }
}

/// What an encoder into a `Vec` returns: it cannot fail.
type Written = Result<(), minicbor::encode::Error<Infallible>>;

/// Runs an encoding that cannot fail.
pub(super) fn encode(out: &mut Vec<u8>, write: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Written) {
    write(&mut Encoder::new(out)).expect("writing to memory cannot fail");
}

/// Appends `value`, in the form that `kind` has on the wire if the value is canonical for it.
pub fn write_value(out: &mut Vec<u8>, kind: Type, value: ValueRef<'_>) {
    encode(out, |e| value_to(e, kind, value));
}

pub(super) fn value_to(e: &mut Encoder<&mut Vec<u8>>, kind: Type, value: ValueRef<'_>) -> Written {
    match (kind, value) {
        (Type::Boolean, ValueRef::Integer(n)) if n == 0 || n == 1 => e.bool(n == 1)?,
        (Type::Real, ValueRef::Text("NaN")) => e.f64(f64::NAN)?,
        (Type::Text, ValueRef::Text(text)) => e.str(text)?,
        (_, ValueRef::Text(text)) if kind.accepts(value) => return tagged(e, kind, text),
        (_, value) => return stored(e, value),
    };
    Ok(())
}

/// Writes a value by what SQLite stores, whatever its attribute's type.
fn stored(e: &mut Encoder<&mut Vec<u8>>, value: ValueRef<'_>) -> Written {
    match value {
        ValueRef::Null => e.null()?,
        ValueRef::Integer(n) => e.i64(n)?,
        ValueRef::Real(x) => e.f64(x)?,
        ValueRef::Text(text) => e.str(text)?,
        ValueRef::Bytes(bytes) => e.bytes(bytes)?,
    };
    Ok(())
}

/// Writes canonical text of a type that is not text on the wire.
fn tagged(e: &mut Encoder<&mut Vec<u8>>, kind: Type, text: &str) -> Written {
    match kind {
        Type::Uuid => e.tag(Tag::new(TAG_UUID))?.bytes(&uuid_bytes(text))?,
        Type::Date => e.tag(Tag::new(TAG_DATE))?.str(text)?,
        Type::Time => e.tag(Tag::new(TAG_TIME))?.str(text)?,
        Type::Json => e.tag(Tag::new(TAG_JSON))?.str(text)?,
        Type::Instant | Type::Datetime => {
            let tag = if kind == Type::Instant {
                TAG_INSTANT
            } else {
                TAG_DATETIME
            };
            match parse_micros(text.trim_end_matches('Z')) {
                Some(micros) => e.tag(Tag::new(tag))?.i64(micros)?,
                None => e.str(text)?,
            }
        }
        Type::Decimal => match mantissa(text) {
            Some((mantissa, scale)) => e
                .tag(Tag::new(TAG_DECIMAL))?
                .array(2)?
                .i64(-scale)?
                .i64(mantissa)?,
            None => e.str(text)?,
        },
        _ => e.str(text)?,
    };
    Ok(())
}

/// Reads one value.
///
/// # Errors
/// It is none of the forms above.
pub fn cell<'a>(d: &mut Decoder<'a>) -> Result<Cell<'a>, Malformed> {
    Ok(match d.datatype()? {
        Kind::Null => {
            d.null()?;
            Cell::Null
        }
        Kind::Bool => Cell::Integer(i64::from(d.bool()?)),
        Kind::F16 | Kind::F32 | Kind::F64 => match d.f64()? {
            x if x.is_nan() => Cell::Text(Cow::Borrowed("NaN")),
            x => Cell::Real(x),
        },
        Kind::String => Cell::Text(Cow::Borrowed(d.str()?)),
        Kind::Bytes => Cell::Bytes(d.bytes()?),
        Kind::Tag => Cell::Text(tagged_text(d)?),
        _ => Cell::Integer(d.i64()?),
    })
}

/// Reads one value and owns it.
///
/// # Errors
/// It is none of the forms above.
pub fn value(d: &mut Decoder<'_>) -> Result<Value, Malformed> {
    Ok(cell(d)?.as_ref().to_value())
}

fn tagged_text<'a>(d: &mut Decoder<'a>) -> Result<Cow<'a, str>, Malformed> {
    let (kind, text) = match d.tag()?.as_u64() {
        TAG_UUID => (Type::Uuid, Cow::Owned(uuid_text(d.bytes()?)?)),
        TAG_DATE => (Type::Date, Cow::Borrowed(d.str()?)),
        TAG_TIME => (Type::Time, Cow::Borrowed(d.str()?)),
        TAG_JSON => (Type::Json, Cow::Borrowed(d.str()?)),
        TAG_INSTANT => (Type::Instant, Cow::Owned(format_instant(micros(d)?, true))),
        TAG_DATETIME => (
            Type::Datetime,
            Cow::Owned(format_instant(micros(d)?, false)),
        ),
        TAG_DECIMAL => (Type::Decimal, Cow::Owned(decimal(d)?)),
        other => return Err(Malformed::new(format!("unknown tag {other}"))),
    };
    if kind.accepts(ValueRef::Text(&text)) {
        Ok(text)
    } else {
        Err(Malformed::new(format!("not a canonical {kind}")))
    }
}

fn micros(d: &mut Decoder<'_>) -> Result<i64, Malformed> {
    let micros = d.i64()?;
    if MICROS.contains(&micros) {
        Ok(micros)
    } else {
        Err(Malformed::new("instant outside the years 1 to 9999"))
    }
}

fn uuid_bytes(text: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    let digits = text
        .bytes()
        .filter_map(|byte| char::from(byte).to_digit(16));
    for (at, digit) in digits.take(32).enumerate() {
        bytes[at / 2] = (bytes[at / 2] << 4) | u8::try_from(digit).unwrap_or(0);
    }
    bytes
}

fn uuid_text(bytes: &[u8]) -> Result<String, Malformed> {
    if bytes.len() != 16 {
        return Err(Malformed::new("a UUID has sixteen bytes"));
    }
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    Ok(text)
}

/// Mantissa and scale of canonical decimal text; `None` where the mantissa needs over 64 bits.
fn mantissa(text: &str) -> Option<(i64, i64)> {
    let scale = text
        .split_once('.')
        .map_or(0, |(_, fraction)| fraction.len());
    let digits: String = text.chars().filter(|c| *c != '.').collect();
    Some((digits.parse().ok()?, i64::try_from(scale).ok()?))
}

fn decimal(d: &mut Decoder<'_>) -> Result<String, Malformed> {
    if d.array()? != Some(2) {
        return Err(Malformed::new("a decimal fraction has two parts"));
    }
    let exponent = d.i64()?;
    let mantissa = d.i64()?;
    let scale = usize::try_from(-i128::from(exponent))
        .ok()
        .filter(|scale| *scale <= 1_000);
    let scale = scale.ok_or_else(|| Malformed::new("decimal exponent out of range"))?;
    let sign = if mantissa < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", mantissa.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let point = if scale == 0 { "" } else { "." };
    Ok(format!("{sign}{whole}{point}{fraction}"))
}

/// The bytes under a group's hash: what was done, by stored value, in canonical CBOR.
pub(crate) fn group_identity(group: &Group) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out, |e| {
        e.array(group.changes.len() as u64)?;
        for change in &group.changes {
            e.array(4)?.str(&change.entity)?.u8(op_number(change.op))?;
            e.array(change.key.len() as u64)?;
            change
                .key
                .iter()
                .try_for_each(|value| stored(e, value.as_ref()))?;
            e.map(change.set.len() as u64)?;
            for (name, value) in &change.set {
                stored(e.str(name)?, value.as_ref())?;
            }
        }
        Ok(())
    });
    out
}

pub(super) fn op_number(op: Op) -> u8 {
    match op {
        Op::Create => 0,
        Op::Update => 1,
        Op::Delete => 2,
    }
}

/// Values by storage class, for bookkeeping on one side; [`read_attributes`] reads them.
pub fn write_attributes(attributes: &Attributes) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out, |e| {
        e.map(attributes.len() as u64)?;
        attributes
            .iter()
            .try_for_each(|(name, value)| stored(e.str(name)?, value.as_ref()))
    });
    out
}

/// Reads what [`write_attributes`] wrote.
///
/// # Errors
/// The bytes are something else.
pub fn read_attributes(bytes: &[u8]) -> Result<Attributes, Malformed> {
    attributes(&mut Decoder::new(bytes))
}

/// An identifier by storage class: equal bytes for equal keys; [`read_key`] reads it.
pub fn write_key(key: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out, |e| {
        e.array(key.len() as u64)?;
        key.iter().try_for_each(|value| stored(e, value.as_ref()))
    });
    out
}

/// Reads what [`write_key`] wrote.
///
/// # Errors
/// The bytes are something else.
pub fn read_key(bytes: &[u8]) -> Result<Key, Malformed> {
    key(&mut Decoder::new(bytes))
}

pub(super) fn attributes(d: &mut Decoder<'_>) -> Result<Attributes, Malformed> {
    let mut found = Attributes::new();
    for _ in 0..length(d.map()?)? {
        let name = d.str()?.to_owned();
        if found.insert(name, value(d)?).is_some() {
            return Err(Malformed::new("an attribute stands twice"));
        }
    }
    Ok(found)
}

pub(super) fn key(d: &mut Decoder<'_>) -> Result<Key, Malformed> {
    let width = length(d.array()?)?;
    (0..width).map(|_| value(d)).collect()
}

/// The length of an array or map, which must be definite.
pub(super) fn length(length: Option<u64>) -> Result<u64, Malformed> {
    length.ok_or_else(|| Malformed::new("indefinite length"))
}
