//! What a token or a device says, as the value of a type; what is none is nothing, and holds
//! nothing. Decided here, so that no text from outside makes the database fail.

use afield_protocol::{Type, Value};
use serde_json::Value as Json;

use super::super::cell::Wire;

/// How a value is given to a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fill {
    pub wire: Wire,
    /// The type's name in SQL.
    pub sql: &'static str,
}

/// Longest number that is looked at.
const DIGITS_MAX: usize = 1_000;

/// Above this no whole number of double precision is sure to be an integer of 64 bits.
const LIMIT: f64 = 9_223_372_036_854_775_808.0;

impl Fill {
    /// A parameter of this type, if a query of a scope may have one.
    pub(super) fn of_type(name: &str) -> Option<Self> {
        let (wire, sql) = match name {
            "text" => (Wire::Text, "pg_catalog.text"),
            "varchar" => (Wire::Text, "pg_catalog.varchar"),
            "bpchar" => (Wire::Text, "pg_catalog.bpchar"),
            "int2" => (Wire::Int2, "pg_catalog.int2"),
            "int4" => (Wire::Int4, "pg_catalog.int4"),
            "int8" => (Wire::Int8, "pg_catalog.int8"),
            "numeric" => (Wire::Numeric, "pg_catalog.numeric"),
            "uuid" => (Wire::Uuid, "pg_catalog.uuid"),
            "bool" => (Wire::Bool, "pg_catalog.bool"),
            "date" => (Wire::Date, "pg_catalog.date"),
            _ => return None,
        };
        Some(Self { wire, sql })
    }

    /// The bytes of a text.
    pub(super) fn text(&self, text: &str) -> Option<Vec<u8>> {
        let value = match self.wire {
            Wire::Text => Value::from(text),
            // Another spelling of a number is another name.
            Wire::Int2 | Wire::Int4 | Wire::Int8 => {
                let number: i64 = text.parse().ok()?;
                (number.to_string() == text).then_some(Value::Integer(number))?
            }
            Wire::Bool => Value::Integer(match text {
                "true" | "1" => 1,
                "false" | "0" => 0,
                _ => return None,
            }),
            _ => Value::from(text),
        };
        self.value(self.kind()?, &value)
    }

    /// The bytes of a claim: text, a number or a truth value; anything else is nothing.
    pub(super) fn json(&self, json: &Json) -> Option<Vec<u8>> {
        match json {
            Json::String(text) => self.text(text),
            Json::Bool(truth) => self.text(if *truth { "1" } else { "0" }),
            Json::Number(number) => match number.as_f64() {
                _ if number.is_i64() || number.is_u64() => self.text(&number.to_string()),
                Some(x) if self.wire == Wire::Text => self.text(&format!("{x:?}")),
                Some(x) if x.fract() == 0.0 && (-LIMIT..LIMIT).contains(&x) => {
                    self.text(&(x as i64).to_string())
                }
                Some(x) => self.text(&x.to_string()),
                None => None,
            },
            Json::Null | Json::Array(_) | Json::Object(_) => None,
        }
    }

    /// The bytes of a value of a type that devices know.
    pub(super) fn value(&self, kind: Type, value: &Value) -> Option<Vec<u8>> {
        let value = kind.normalise(value.clone()).ok()?;
        let value = match (self.wire, &value) {
            (_, Value::Null) => return None,
            (Wire::Text, Value::Text(text)) if self.sql == "pg_catalog.bpchar" => {
                Value::from(text.trim_end_matches(' '))
            }
            (Wire::Numeric, Value::Text(text)) if text.len() > DIGITS_MAX => return None,
            (Wire::Numeric, Value::Text(text)) if text.contains('.') => {
                Value::from(text.trim_end_matches('0').trim_end_matches('.'))
            }
            _ => value,
        };
        self.wire.write(&value).ok()
    }

    /// The type that devices know such values by.
    pub(super) fn kind(&self) -> Option<Type> {
        Some(match self.wire {
            Wire::Text => Type::Text,
            Wire::Int2 | Wire::Int4 | Wire::Int8 => Type::Integer,
            Wire::Numeric => Type::Decimal,
            Wire::Bool => Type::Boolean,
            Wire::Uuid => Type::Uuid,
            Wire::Date => Type::Date,
            Wire::Time => Type::Time,
            Wire::Timestamp => Type::Datetime,
            Wire::Timestamptz => Type::Instant,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fill(name: &str) -> Fill {
        Fill::of_type(name).unwrap()
    }

    #[test]
    fn what_is_no_value_of_a_type_is_nothing() {
        for (name, wrong) in [
            ("text", json!("a\0b")),
            ("text", json!(["a"])),
            ("text", json!({})),
            ("text", json!(null)),
            ("int8", json!("9223372036854775808")),
            ("int8", json!(18_446_744_073_709_551_615_u64)),
            ("int8", json!(0.5)),
            ("int8", json!(9.3e18)),
            ("int8", json!("07")),
            ("int8", json!("+7")),
            ("int8", json!(" 7")),
            ("int8", json!("7; DROP TABLE t")),
            ("int2", json!(40_000)),
            ("int4", json!("2147483648")),
            ("uuid", json!("7")),
            ("uuid", json!("zzzzzzzz-0000-0000-0000-000000000000")),
            ("bool", json!("yes")),
            ("bool", json!(2)),
            ("date", json!("2026-02-30")),
            ("date", json!("infinity")),
            ("numeric", json!("1e3")),
            ("numeric", json!("")),
            ("numeric", json!("-0.0")),
            ("numeric", json!("1".repeat(DIGITS_MAX + 1))),
        ] {
            assert_eq!(fill(name).json(&wrong), None, "{name} {wrong}");
        }
    }

    #[test]
    fn what_is_equal_has_the_same_bytes() {
        for (name, one, other) in [
            ("int8", json!(7), json!("7")),
            ("int8", json!(7.0), json!(7)),
            ("int4", json!(true), json!(1)),
            ("bool", json!(true), json!("1")),
            ("numeric", json!("1.50"), json!(1.5)),
            ("numeric", json!("0.00"), json!(0)),
            ("numeric", json!("100"), json!("100.000")),
            ("bpchar", json!("ab  "), json!("ab")),
            (
                "uuid",
                json!("0190B3A1-5C1E-7CC3-98A1-0123456789AB"),
                json!("0190b3a1-5c1e-7cc3-98a1-0123456789ab"),
            ),
        ] {
            let bytes = fill(name).json(&one);
            assert!(bytes.is_some(), "{name} {one}");
            assert_eq!(bytes, fill(name).json(&other), "{name} {one} {other}");
        }
        let text = |json| fill("text").json(&json).unwrap();
        assert_eq!(text(json!("ab ")), b"ab ");
        assert_eq!(text(json!(7)), b"7");
        assert_eq!(text(json!(7.0)), b"7.0");
        assert_eq!(text(json!(true)), b"1");
    }
}
