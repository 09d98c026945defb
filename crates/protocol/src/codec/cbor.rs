//! Values in CBOR.
//!
//! | type | CBOR |
//! |---|---|
//! | text | text string |
//! | integer | integer |
//! | real | float64; NaN as the float |
//! | decimal | tag 4 (decimal fraction); beyond 64 bits or 1000 digits of scale a text string |
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

use minicbor::data::Type as Kind;
use minicbor::{Decoder, Encoder};

use super::Malformed;
use super::tagged::{Tagged, write_tagged};
use crate::change::{Attributes, Key};
use crate::limits::FRAME_ITEMS_MAX;
use crate::value::{Type, Value, ValueRef};

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
pub(crate) type Written = Result<(), minicbor::encode::Error<Infallible>>;

/// Runs an encoding that cannot fail.
pub(crate) fn encode(out: &mut Vec<u8>, write: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Written) {
    write(&mut Encoder::new(out)).expect("writing to memory cannot fail");
}

/// Appends `value`, in the form that `kind` has on the wire if the value is canonical for it.
pub fn write_value(out: &mut Vec<u8>, kind: Type, value: ValueRef<'_>) {
    encode(out, |e| value_to(e, kind, value));
}

pub(super) fn value_to(e: &mut Encoder<&mut Vec<u8>>, kind: Type, value: ValueRef<'_>) -> Written {
    match (kind, value) {
        (Type::Boolean, ValueRef::Integer(n)) if n == 0 || n == 1 => e.bool(n == 1)?.ok(),
        (Type::Real, ValueRef::Text("NaN")) => e.f64(f64::NAN)?.ok(),
        (Type::Text, ValueRef::Text(text)) => e.str(text)?.ok(),
        (_, ValueRef::Text(text)) if kind.accepts(value) => write_tagged(e, kind, text),
        (_, value) => stored(e, value),
    }
}

/// Writes a value by what SQLite stores, whatever its attribute's type. NaN is stored as text.
pub(super) fn stored(e: &mut Encoder<&mut Vec<u8>>, value: ValueRef<'_>) -> Written {
    match value {
        ValueRef::Null => e.null()?,
        ValueRef::Integer(n) => e.i64(n)?,
        ValueRef::Real(x) if x.is_nan() => e.str("NaN")?,
        ValueRef::Real(x) => e.f64(x)?,
        ValueRef::Text(text) => e.str(text)?,
        ValueRef::Bytes(bytes) => e.bytes(bytes)?,
    };
    Ok(())
}

/// Reads one value.
///
/// # Errors
/// It is none of the forms above.
pub fn cell<'a>(d: &mut Decoder<'a>) -> Result<Cell<'a>, Malformed> {
    if let Some((cell, end)) = short(d.input(), d.position()) {
        d.set_position(end);
        return Ok(cell);
    }
    Ok(match d.datatype()? {
        Kind::Null => {
            d.null()?;
            Cell::Null
        }
        Kind::Bool => Cell::Integer(i64::from(d.bool()?)),
        Kind::F16 | Kind::F32 | Kind::F64 => match float(d)? {
            x if x.is_nan() => Cell::Text(Cow::Borrowed("NaN")),
            x => Cell::Real(x),
        },
        Kind::String => Cell::Text(Cow::Borrowed(d.str()?)),
        Kind::Bytes => Cell::Bytes(d.bytes()?),
        Kind::Tag => Cell::Text(Tagged::read(d)?.text()),
        _ => Cell::Integer(d.i64()?),
    })
}

/// The most frequent cells, which a download has millions of: text of less than 256 bytes, small
/// numbers, null; and where they end. `None` is for a closer look.
fn short(input: &[u8], at: usize) -> Option<(Cell<'_>, usize)> {
    let (first, rest) = input.get(at..)?.split_first()?;
    let (start, length) = match *first {
        n @ 0..=0x17 => return Some((Cell::Integer(n.into()), at + 1)),
        0xf6 => return Some((Cell::Null, at + 1)),
        n @ 0x60..=0x77 => (0, usize::from(n & 0x1f)),
        0x78 => (1, usize::from(*rest.first()?)),
        _ => return None,
    };
    let text = rest.get(start..start + length)?;
    let text = std::str::from_utf8(text).ok()?;
    Some((Cell::Text(Cow::Borrowed(text)), at + 1 + start + length))
}

/// Reads past one value, and fails where [`cell`] would.
pub(super) fn check(d: &mut Decoder<'_>) -> Result<(), Malformed> {
    match d.input().get(d.position()) {
        // Any tag: its text is not made.
        Some(0xc0..=0xdb) => Tagged::read(d).map(drop),
        _ => cell(d).map(drop),
    }
}

/// Reads one value and owns it.
///
/// # Errors
/// It is none of the forms above.
pub fn value(d: &mut Decoder<'_>) -> Result<Value, Malformed> {
    Ok(cell(d)?.as_ref().to_value())
}

/// A float of any width: other encoders write the shortest that is exact.
fn float(d: &mut Decoder<'_>) -> Result<f64, Malformed> {
    let at = d.position();
    let Some([0xf9, high, low]) = d.input().get(at..at + 3) else {
        return Ok(d.f64()?);
    };
    d.set_position(at + 3);
    let bits = u16::from_be_bytes([*high, *low]);
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
    let size = match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        _ => (1024.0 + fraction) * 2_f64.powi(exponent - 25),
    };
    Ok(if bits >> 15 == 1 { -size } else { size })
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
    whole(bytes, attributes)
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
    whole(bytes, key)
}

/// Reads one item that takes all of `bytes`.
pub(crate) fn whole<'a, T>(
    bytes: &'a [u8],
    read: impl FnOnce(&mut Decoder<'a>) -> Result<T, Malformed>,
) -> Result<T, Malformed> {
    let d = &mut Decoder::new(bytes);
    let item = read(d)?;
    if d.position() == bytes.len() {
        Ok(item)
    } else {
        Err(Malformed::new("bytes are left over"))
    }
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

/// Values that an identifier gets room for at once: one that announces more may lie.
const KEY_ROOM: usize = 16;

pub(super) fn key(d: &mut Decoder<'_>) -> Result<Key, Malformed> {
    let width = length(d.array()?)?;
    let mut key = Key::with_capacity(bounded(width, d).min(KEY_ROOM));
    for _ in 0..width {
        key.push(value(d)?);
    }
    Ok(key)
}

/// Whether a frame's body has at most [`FRAME_ITEMS_MAX`] items. Its bytes are only looked over;
/// those that are no CBOR end the count, and whoever reads them says so.
pub(super) fn has_few_items(bytes: &[u8]) -> bool {
    let (mut rest, mut items) = (bytes, 0);
    while let Some((first, behind)) = rest.split_first() {
        items += 1;
        if items > FRAME_ITEMS_MAX {
            return false;
        }
        let width = match first & 0x1f {
            0..=23 => 0,
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => return true,
        };
        let Some((argument, behind)) = behind.split_at_checked(width) else {
            return true;
        };
        let number = |sum: usize, byte: &u8| (sum << 8) | usize::from(*byte);
        let length = match (first >> 5, width) {
            (2 | 3, 0) => usize::from(first & 0x1f),
            (2 | 3, _) => argument.iter().fold(0, number),
            _ => 0,
        };
        rest = behind.get(length..).unwrap_or(&[]);
    }
    true
}

/// The length of an array or map, which must be definite.
pub(super) fn length(length: Option<u64>) -> Result<u64, Malformed> {
    length.ok_or_else(|| Malformed::new("indefinite length"))
}

/// How many of `announced` items to make room for: each takes a byte at least, so a length that
/// lies gets no more than what is there.
pub(super) fn bounded(announced: u64, d: &Decoder<'_>) -> usize {
    let left = d.input().len() - d.position();
    usize::try_from(announced).map_or(left, |items| items.min(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p9_items_are_counted_without_reading_them() {
        for (items, expected) in [
            (FRAME_ITEMS_MAX - 1, true),
            (FRAME_ITEMS_MAX, true),
            (FRAME_ITEMS_MAX + 1, false),
        ] {
            assert_eq!(has_few_items(&vec![0; items]), expected, "{items}");
        }
        // What a string holds is no item, whatever its length is written in.
        for head in [
            &[0x5a, 0, 0x80, 0, 0][..],
            &[0x7b, 0, 0, 0, 0, 0, 0x80, 0, 0],
        ] {
            let string = [head, &vec![0; 8 << 20]].concat();
            assert!(has_few_items(&string));
            assert!(!has_few_items(
                &[&string[..], &string[head.len()..]].concat()
            ));
        }
        // Lengths that lie, or are no lengths, end the count.
        for end in [
            &[0x5b, 255, 255, 255, 255, 255, 255, 255, 255][..],
            &[0x5b, 1],
            &[0x5f],
        ] {
            assert!(has_few_items(end));
        }
    }
}
