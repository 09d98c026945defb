//! Canonical text that is no text string in CBOR: a tag, and the shortest exact content.
//!
//! The tags of RFC 8949 and its registry where there is one. Those from 44829 on are Afield's own:
//! no registered tag carries a bare time of day, an exact number of microseconds or JSON text.

use std::borrow::Cow;
use std::convert::Infallible;

use minicbor::data::Tag;
use minicbor::{Decoder, Encoder};

use super::Malformed;
use crate::moment::{from_micros, to_micros};
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

/// Reads what [`write_tagged`] wrote: a tag and its content.
pub(super) fn read_tagged<'a>(d: &mut Decoder<'a>) -> Result<Cow<'a, str>, Malformed> {
    let (kind, text) = match d.tag()?.as_u64() {
        TAG_UUID => return Ok(Cow::Owned(uuid_text(d.bytes()?)?)),
        TAG_INSTANT => return Ok(Cow::Owned(format!("{}Z", moment(d)?))),
        TAG_DATETIME => return Ok(Cow::Owned(moment(d)?)),
        TAG_DECIMAL => (Type::Decimal, Cow::Owned(decimal(d)?)),
        TAG_DATE => (Type::Date, Cow::Borrowed(d.str()?)),
        TAG_TIME => (Type::Time, Cow::Borrowed(d.str()?)),
        TAG_JSON => (Type::Json, Cow::Borrowed(d.str()?)),
        other => return Err(Malformed::new(format!("unknown tag {other}"))),
    };
    if kind.accepts(ValueRef::Text(&text)) {
        Ok(text)
    } else {
        Err(Malformed::new(format!("not a canonical {kind}")))
    }
}

fn moment(d: &mut Decoder<'_>) -> Result<String, Malformed> {
    from_micros(d.i64()?).ok_or_else(|| Malformed::new("an instant outside the years 1 to 9999"))
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

fn decimal(d: &mut Decoder<'_>) -> Result<String, Malformed> {
    if d.array()? != Some(2) {
        return Err(Malformed::new("a decimal fraction has two parts"));
    }
    let exponent = d.i64()?;
    let mantissa = d.i64()?;
    let scale = usize::try_from(-i128::from(exponent))
        .ok()
        .filter(|scale| *scale <= SCALE_MAX);
    let scale = scale.ok_or_else(|| Malformed::new("a decimal's exponent is out of range"))?;
    let sign = if mantissa < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", mantissa.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let point = if scale == 0 { "" } else { "." };
    Ok(format!("{sign}{whole}{point}{fraction}"))
}
