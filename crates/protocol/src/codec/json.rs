//! Values in JSON: for people, tests, and the command line.
//!
//! | type | JSON |
//! |---|---|
//! | integer | number within ±2^53, else a string |
//! | real | number, or `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | boolean | `true`, `false` |
//! | bytes | base64 string |
//! | decimal | string (an integer is read too) |
//! | all others | string |
//!
//! A cell that is not canonical for its type is written as `{"stored": …}` around what SQLite
//! stores, and read back as such. Where a type is not known, a value stands as it is stored: null,
//! number, string, and an object around what these cannot say: `{"integer": "9007199254740993"}`,
//! `{"real": "Infinity"}`, `{"base64": "…"}`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Number, Value as Json, json};

use super::Malformed;
use crate::change::Attributes;
use crate::model::Entity;
use crate::value::{Type, TypeMismatch, Value, ValueRef};

/// Integers beyond this are strings in JSON, because readers in other languages round them.
const EXACT: u64 = 1 << 53;

/// The JSON form of `value` in an attribute of type `kind`.
pub fn from_value(kind: Type, value: ValueRef<'_>) -> Json {
    match (kind, value) {
        (_, ValueRef::Null) => Json::Null,
        _ if !kind.accepts(value) => json!({ "stored": exact(value) }),
        (Type::Boolean, ValueRef::Integer(n)) => Json::Bool(n == 1),
        (_, ValueRef::Integer(n)) => integer(n),
        (_, ValueRef::Real(x)) => real(x),
        (_, ValueRef::Bytes(bytes)) => Json::String(BASE64.encode(bytes)),
        (_, ValueRef::Text(text)) => Json::String(text.to_owned()),
    }
}

/// The JSON form of a value whose type is not known, for people: as SQLite stores it, with large
/// integers as strings.
pub fn stored(value: ValueRef<'_>) -> Json {
    match value {
        ValueRef::Null => Json::Null,
        ValueRef::Integer(n) => integer(n),
        ValueRef::Real(x) => real(x),
        ValueRef::Text(text) => Json::String(text.to_owned()),
        ValueRef::Bytes(bytes) => json!({ "base64": BASE64.encode(bytes) }),
    }
}

/// The JSON form of a value whose type is not known, which [`to_untyped`] reads back exactly.
pub(super) fn exact(value: ValueRef<'_>) -> Json {
    match value {
        ValueRef::Integer(n) if n.unsigned_abs() > EXACT => json!({ "integer": n.to_string() }),
        ValueRef::Real(x) if x.is_nan() => Json::from("NaN"),
        ValueRef::Real(x) if x.is_infinite() => json!({ "real": real(x) }),
        value => stored(value),
    }
}

fn integer(n: i64) -> Json {
    if n.unsigned_abs() <= EXACT {
        Json::from(n)
    } else {
        Json::String(n.to_string())
    }
}

fn real(x: f64) -> Json {
    match Number::from_f64(x) {
        Some(number) => Json::Number(number),
        None if x.is_nan() => Json::from("NaN"),
        None if x > 0.0 => Json::from("Infinity"),
        None => Json::from("-Infinity"),
    }
}

/// Reads a value of an attribute of type `kind` and brings it into canonical form.
///
/// # Errors
/// The JSON is no value of this type.
pub fn to_value(kind: Type, json: &Json) -> Result<Value, TypeMismatch> {
    let mismatch = || TypeMismatch {
        expected: kind.expected(),
    };
    let value = match (kind, json) {
        (_, Json::Null) => Value::Null,
        (_, Json::Object(object)) => return to_stored(object).ok_or_else(mismatch),
        (Type::Boolean, Json::Bool(truth)) => Value::from(*truth),
        (Type::Integer, Json::Number(number)) => {
            Value::Integer(number.as_i64().ok_or_else(mismatch)?)
        }
        (Type::Integer, Json::String(text)) => {
            Value::Integer(text.parse().map_err(|_| mismatch())?)
        }
        (Type::Real, Json::Number(number)) => Value::Real(exact_real(number).ok_or_else(mismatch)?),
        (Type::Real, Json::String(text)) => match text.as_str() {
            "NaN" => Value::from("NaN"),
            word => Value::Real(infinity(word).ok_or_else(mismatch)?),
        },
        (Type::Bytes, Json::String(text)) => {
            Value::Bytes(BASE64.decode(text).map_err(|_| mismatch())?)
        }
        (Type::Boolean | Type::Bytes, _) => return Err(mismatch()),
        (_, Json::String(text)) => Value::Text(text.clone()),
        (Type::Decimal, Json::Number(number)) => {
            Value::Integer(number.as_i64().ok_or_else(mismatch)?)
        }
        _ => return Err(mismatch()),
    };
    kind.normalise(value)
}

/// Reads a JSON value whose attribute's type is not known (a parameter of a statement).
///
/// # Errors
/// It is an array, an integer beyond 64 bits, or another object than those of the table above.
pub fn to_untyped(json: &Json) -> Result<Value, TypeMismatch> {
    let mismatch = TypeMismatch {
        expected: "null, true, false, a number, a string or base64",
    };
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::from(*truth),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(n), _) => Value::Integer(n),
            (None, Some(x)) if number.is_f64() => Value::Real(x),
            (None, _) => return Err(mismatch),
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Object(object) => to_stored(object).ok_or(mismatch)?,
        Json::Array(_) => return Err(mismatch),
    })
}

fn to_stored(object: &Map<String, Json>) -> Option<Value> {
    let mut pairs = object.iter();
    let (Some((name, json)), None) = (pairs.next(), pairs.next()) else {
        return None;
    };
    match (name.as_str(), json) {
        ("base64", Json::String(text)) => BASE64.decode(text).ok().map(Value::Bytes),
        ("integer", Json::String(text)) => text.parse().ok().map(Value::Integer),
        ("real", Json::String(text)) => infinity(text).map(Value::Real),
        ("stored", Json::Object(inner)) if inner.contains_key("stored") => None,
        ("stored", json) => to_untyped(json).ok(),
        _ => None,
    }
}

/// The real that a number says. One without a fraction is not rounded: it may have been a number
/// of something.
#[expect(
    clippy::cast_possible_truncation,
    reason = "checked to read back the same"
)]
fn exact_real(number: &Number) -> Option<f64> {
    let real = number.as_f64()?;
    let signed = number.as_i64().map(i128::from);
    let whole = signed.or_else(|| number.as_u64().map(i128::from));
    whole.is_none_or(|n| real as i128 == n).then_some(real)
}

fn infinity(word: &str) -> Option<f64> {
    match word {
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// Attributes of `entity` as a JSON object; a name the entity does not know is written as stored.
pub fn from_attributes(entity: Option<&Entity>, attributes: &Attributes) -> Json {
    let pairs = attributes.iter().map(|(name, value)| {
        let attribute = entity.and_then(|entity| entity.attribute(name));
        let json = match attribute {
            Some(attribute) => from_value(attribute.kind, value.as_ref()),
            None => exact(value.as_ref()),
        };
        (name.clone(), json)
    });
    Json::Object(pairs.collect())
}

/// Reads a JSON object of attributes of `entity`.
///
/// # Errors
/// Not an object, or a value of another type.
pub fn to_attributes(entity: Option<&Entity>, json: &Json) -> Result<Attributes, Malformed> {
    let object = json
        .as_object()
        .ok_or_else(|| Malformed::new("expected an object"))?;
    let mut found = Attributes::new();
    for (name, json) in object {
        let value = match entity.and_then(|entity| entity.attribute(name)) {
            Some(attribute) => to_value(attribute.kind, json),
            None => to_untyped(json),
        };
        let value = value.map_err(|error| Malformed::new(format!("{name}: {error}")))?;
        found.insert(name.clone(), value);
    }
    Ok(found)
}
