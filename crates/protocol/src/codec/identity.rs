//! The bytes under a group's hash.
//!
//! They are the deterministic encoding of RFC 8949, section 4.2.1 (shortest heads, shortest exact
//! floats, map keys in the order of their encoded bytes), so that any CBOR library that has this
//! mode makes the same ones:
//!
//! ```text
//! [ [ entity, op, [ key value, … ], { attribute: value set, … } ], … ]
//! ```
//!
//! Values stand as they are stored, without tags: null, integer, float, text or byte string.

use minicbor::Encoder;

use super::cbor::{Written, encode, stored};
use crate::change::{Attributes, Group, Op};
use crate::value::ValueRef;

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
                .try_for_each(|value| identified(e, value.as_ref()))?;
            set_to(e, &change.set)?;
        }
        Ok(())
    });
    out
}

/// Begins an array of so many items.
pub(crate) fn head(out: &mut Vec<u8>, items: usize) {
    encode(out, |e| e.array(items as u64)?.ok());
}

/// A value as it is stored, without a tag.
pub(crate) fn cell(out: &mut Vec<u8>, value: ValueRef<'_>) {
    encode(out, |e| identified(e, value));
}

/// The op as a number.
pub(super) fn op_number(op: Op) -> u8 {
    match op {
        Op::Create => 0,
        Op::Update => 1,
        Op::Delete => 2,
    }
}

/// The head of a text string holds its length, so encoded names are in order by length first.
fn set_to(e: &mut Encoder<&mut Vec<u8>>, set: &Attributes) -> Written {
    let mut pairs: Vec<_> = set.iter().collect();
    pairs.sort_by_key(|(name, _)| (name.len(), *name));
    e.map(pairs.len() as u64)?;
    pairs
        .into_iter()
        .try_for_each(|(name, value)| identified(e.str(name)?, value.as_ref()))
}

fn identified(e: &mut Encoder<&mut Vec<u8>>, value: ValueRef<'_>) -> Written {
    match value {
        ValueRef::Real(x) if !x.is_nan() => real_to(e, x),
        value => stored(e, value),
    }
}

/// Writes the shortest float that is exactly `x`.
fn real_to(e: &mut Encoder<&mut Vec<u8>>, x: f64) -> Written {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "checked to read back the same"
    )]
    let single = x as f32;
    if f64::from(single).to_bits() != x.to_bits() {
        return e.f64(x)?.ok();
    }
    match half_bits(single) {
        Some(bits) => {
            let [high, low] = bits.to_be_bytes();
            e.writer_mut().extend_from_slice(&[0xf9, high, low]);
            Ok(())
        }
        None => e.f32(single)?.ok(),
    }
}

/// The bits of the half-precision float that is exactly `x`, if there is one.
fn half_bits(x: f32) -> Option<u16> {
    let bits = x.to_bits();
    let sign = u16::try_from(bits >> 16).ok()? & 0x8000;
    let (exponent, fraction) = (bits >> 23 & 0xff, bits & 0x007f_ffff);
    let size = match exponent {
        0 if fraction == 0 => 0,
        255 if fraction == 0 => 0x7c00,
        113..=142 if fraction & 0x1fff == 0 => (exponent - 112) << 10 | fraction >> 13,
        103..=112 => {
            let whole = fraction | 0x0080_0000;
            let shift = 126 - exponent;
            (whole.trailing_zeros() >= shift).then_some(whole >> shift)?
        }
        _ => return None,
    };
    Some(sign | u16::try_from(size).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;

    fn hex(x: f64) -> String {
        let mut out = Vec::new();
        encode(&mut out, |e| real_to(e, x));
        out.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn floats_are_as_short_as_in_the_examples_of_rfc_8949() {
        for (x, expected) in [
            (0.0, "f90000"),
            (-0.0, "f98000"),
            (1.0, "f93c00"),
            (1.1, "fb3ff199999999999a"),
            (1.5, "f93e00"),
            (65504.0, "f97bff"),
            (100_000.0, "fa47c35000"),
            (3.402_823_466_385_288_6e38, "fa7f7fffff"),
            (1.0e300, "fb7e37e43c8800759c"),
            (5.960_464_477_539_063e-8, "f90001"),
            (0.000_061_035_156_25, "f90400"),
            (-4.0, "f9c400"),
            (-4.1, "fbc010666666666666"),
            (f64::INFINITY, "f97c00"),
            (f64::NEG_INFINITY, "f9fc00"),
        ] {
            assert_eq!(hex(x), expected, "{x}");
        }
    }

    #[test]
    fn short_names_come_first() {
        let set = ["b", "aa", "a"].map(|name| (name.to_owned(), Value::Null));
        let mut out = Vec::new();
        encode(&mut out, |e| set_to(e, &Attributes::from(set)));
        assert_eq!(out, b"\xa3\x61a\xf6\x61b\xf6\x62aa\xf6");
    }
}
