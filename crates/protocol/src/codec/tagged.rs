//! Canonical text that is no text string in CBOR: a tag, and the shortest exact content.
//!
//! The tags of RFC 8949 and its registry where there is one. Those from 44829 on are Afield's own:
//! no registered tag carries a bare time of day, an exact number of microseconds or JSON text.

use std::borrow::Cow;
use std::convert::Infallible;

use minicbor::data::Tag;
use minicbor::{Decoder, Encoder};

use super::Malformed;
use crate::moment::{MICROS, from_micros, to_micros};
use crate::value::{Type, ValueRef};

const TAG_DECIMAL: u64 = 4;
const TAG_UUID: u64 = 37;
const TAG_DATE: u64 = 1004;
const TAG_TIME: u64 = 44829;
const TAG_INSTANT: u64 = 44830;
const TAG_DATETIME: u64 = 44831;
const TAG_JSON: u64 = 44832;

/// Most digits after the point under [`TAG_DECIMAL`]: a few bytes must not become a long text.
const SCALE_MAX: usize = 1_000;

/// Writes text that is canonical for `kind`.
pub(super) fn write_tagged(
    e: &mut Encoder<&mut Vec<u8>>,
    kind: Type,
    text: &str,
) -> Result<(), minicbor::encode::Error<Infallible>> {
    match kind {
        Type::Uuid => e.tag(Tag::new(TAG_UUID))?.bytes(&uuid_bytes(text))?,
        Type::Date => e.tag(Tag::new(TAG_DATE))?.str(text)?,
        Type::Time => e.tag(Tag::new(TAG_TIME))?.str(text)?,
        Type::Json => e.tag(Tag::new(TAG_JSON))?.str(text)?,
        Type::Instant | Type::Datetime => {
            let is_instant = kind == Type::Instant;
            let tag = if is_instant {
                TAG_INSTANT
            } else {
                TAG_DATETIME
            };
            match to_micros(text.trim_end_matches('Z')) {
                Some(micros) => e.tag(Tag::new(tag))?.i64(micros)?,
                None => e.str(text)?,
            }
        }
        Type::Decimal => match mantissa(text) {
            Some((mantissa, exponent)) => e
                .tag(Tag::new(TAG_DECIMAL))?
                .array(2)?
                .i64(exponent)?
                .i64(mantissa)?,
            None => e.str(text)?,
        },
        _ => e.str(text)?,
    };
    Ok(())
}

/// What a tag and its content say, checked: it has a canonical text.
pub(super) enum Tagged<'a> {
    Uuid(&'a [u8; 16]),
    Instant(i64),
    Datetime(i64),
    Decimal { mantissa: i64, scale: usize },
    Text(&'a str),
}

impl<'a> Tagged<'a> {
    /// Reads what [`write_tagged`] wrote.
    pub(super) fn read(d: &mut Decoder<'a>) -> Result<Self, Malformed> {
        match d.tag()?.as_u64() {
            TAG_UUID => uuid(d).map(Self::Uuid),
            TAG_INSTANT => micros(d).map(Self::Instant),
            TAG_DATETIME => micros(d).map(Self::Datetime),
            TAG_DECIMAL => decimal(d),
            TAG_DATE => text(d, Type::Date),
            TAG_TIME => text(d, Type::Time),
            TAG_JSON => text(d, Type::Json),
            other => Err(Malformed::new(format!("unknown tag {other}"))),
        }
    }

    /// The canonical text.
    pub(super) fn text(self) -> Cow<'a, str> {
        let text = match self {
            Self::Text(text) => return Cow::Borrowed(text),
            Self::Uuid(bytes) => uuid_text(bytes),
            Self::Instant(micros) => from_micros(micros) + "Z",
            Self::Datetime(micros) => from_micros(micros),
            Self::Decimal { mantissa, scale } => decimal_text(mantissa, scale),
        };
        Cow::Owned(text)
    }
}

fn text<'a>(d: &mut Decoder<'a>, kind: Type) -> Result<Tagged<'a>, Malformed> {
    let text = d.str()?;
    if kind.accepts(ValueRef::Text(text)) {
        Ok(Tagged::Text(text))
    } else {
        Err(Malformed::new(format!("not a canonical {kind}")))
    }
}

fn micros(d: &mut Decoder<'_>) -> Result<i64, Malformed> {
    let micros = d.i64()?;
    if MICROS.contains(&micros) {
        Ok(micros)
    } else {
        Err(Malformed::new("an instant outside the years 1 to 9999"))
    }
}

fn uuid<'a>(d: &mut Decoder<'a>) -> Result<&'a [u8; 16], Malformed> {
    let bytes = d.bytes()?.try_into();
    bytes.map_err(|_| Malformed::new("a UUID has sixteen bytes"))
}

fn decimal<'a>(d: &mut Decoder<'a>) -> Result<Tagged<'a>, Malformed> {
    if d.array()? != Some(2) {
        return Err(Malformed::new("a decimal fraction has two parts"));
    }
    let exponent = d.i64()?;
    let mantissa = d.i64()?;
    let scale = usize::try_from(-i128::from(exponent)).ok();
    match scale.filter(|scale| *scale <= SCALE_MAX) {
        Some(scale) => Ok(Tagged::Decimal { mantissa, scale }),
        None => Err(Malformed::new("a decimal's exponent is out of range")),
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

fn uuid_text(bytes: &[u8; 16]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text
}

/// Mantissa and exponent of canonical decimal text; `None` where they need more than a reader
/// takes.
fn mantissa(text: &str) -> Option<(i64, i64)> {
    let scale = text
        .split_once('.')
        .map_or(0, |(_, fraction)| fraction.len());
    if scale > SCALE_MAX {
        return None;
    }
    let digits: String = text.chars().filter(|c| *c != '.').collect();
    Some((digits.parse().ok()?, -i64::try_from(scale).ok()?))
}

fn decimal_text(mantissa: i64, scale: usize) -> String {
    let digits = mantissa.unsigned_abs().to_string();
    let whole = digits.len().saturating_sub(scale);
    let (whole, fraction) = digits.split_at(whole);
    let mut text = String::with_capacity(digits.len() + scale + 3);
    text.push_str(if mantissa < 0 { "-" } else { "" });
    text.push_str(if whole.is_empty() { "0" } else { whole });
    if scale > 0 {
        text.push('.');
        text.extend(std::iter::repeat_n('0', scale - fraction.len()));
        text.push_str(fraction);
    }
    text
}
