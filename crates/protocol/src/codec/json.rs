//! Values in JSON: for people, tests, and the command line.
//!
//! | type | JSON |
//! |---|---|
//! | integer | number within ±2^53, else a string |
//! | real | number, or `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | boolean | `true`, `false` |
//! | bytes | base64 string |
//! | all others | string |
//!
//! A cell that is not canonical for its type is written as `{"stored": …}` and read back as such.

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
        (Type::Boolean, ValueRef::Integer(n)) if n == 0 || n == 1 => Json::Bool(n == 1),
        (Type::Integer, ValueRef::Integer(n)) => integer(n),
        (Type::Real, ValueRef::Real(x)) => real(x),
        (Type::Bytes, ValueRef::Bytes(bytes)) => Json::String(BASE64.encode(bytes)),
        (Type::Bytes | Type::Integer | Type::Boolean, ValueRef::Text(_)) => {
            json!({ "stored": stored(value) })
        }
        (_, ValueRef::Text(text)) => Json::String(text.to_owned()),
        (_, value) => json!({ "stored": stored(value) }),
    }
}

/// The JSON form of a value whose type is not known: as SQLite stores it.
pub fn stored(value: ValueRef<'_>) -> Json {
    match value {
        ValueRef::Null => Json::Null,
        ValueRef::Integer(n) => integer(n),
        ValueRef::Real(x) => real(x),
        ValueRef::Text(text) => Json::String(text.to_owned()),
        ValueRef::Bytes(bytes) => json!({ "base64": BASE64.encode(bytes) }),
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
        (Type::Real, Json::Number(number)) => Value::Real(number.as_f64().ok_or_else(mismatch)?),
        (Type::Real, Json::String(text)) => match text.as_str() {
            "NaN" => Value::from("NaN"),
            "Infinity" => Value::Real(f64::INFINITY),
            "-Infinity" => Value::Real(f64::NEG_INFINITY),
            _ => return Err(mismatch()),
        },
        (Type::Bytes, Json::String(text)) => {
            Value::Bytes(BASE64.decode(text).map_err(|_| mismatch())?)
        }
        (Type::Boolean | Type::Bytes, _) => return Err(mismatch()),
        (_, Json::String(text)) => Value::Text(text.clone()),
        (Type::Decimal, Json::Number(number)) => Value::Text(number.to_string()),
        _ => return Err(mismatch()),
    };
    kind.normalise(value)
}

/// Reads a JSON value whose attribute's type is not known (a parameter of a statement).
///
/// # Errors
/// It is an array or another object than `{"stored": …}` or `{"base64": …}`.
pub fn to_untyped(json: &Json) -> Result<Value, TypeMismatch> {
    let mismatch = TypeMismatch {
        expected: "null, true, false, a number, a string or base64",
    };
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::from(*truth),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(n), _) => Value::Integer(n),
            (None, Some(x)) => Value::Real(x),
            (None, None) => return Err(mismatch),
        },
        Json::String(text) => Value::Text(text.clone()),
        Json::Object(object) => to_stored(object).ok_or(mismatch)?,
        Json::Array(_) => return Err(mismatch),
    })
}

fn to_stored(object: &Map<String, Json>) -> Option<Value> {
    if let Some(text) = object.get("base64").and_then(Json::as_str) {
        return BASE64.decode(text).ok().map(Value::Bytes);
    }
    to_untyped(object.get("stored")?).ok()
}

/// Attributes of `entity` as a JSON object; a name the entity does not know is written as stored.
pub fn from_attributes(entity: Option<&Entity>, attributes: &Attributes) -> Json {
    let pairs = attributes.iter().map(|(name, value)| {
        let attribute = entity.and_then(|entity| entity.attribute(name));
        let json = match attribute {
            Some(attribute) => from_value(attribute.kind, value.as_ref()),
            None => stored(value.as_ref()),
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
