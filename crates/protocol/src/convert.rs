//! Values from one type to another, where nothing of them is lost: what was typed under one model
//! stays what it was under the next.

use crate::value::{Type, Value};

impl Type {
    /// `value`, of whatever type it was, as this type has it. `None` if this type has no value
    /// that reads back as the same: then a person decides.
    ///
    /// A value that this type accepts stays as it is. Numbers become text and text becomes numbers
    /// if they are written as a computer would; an integer becomes a real or a decimal, and a real
    /// an integer, if it is exactly that. Nothing is ever invented: a date is no point in time.
    pub fn converted(self, value: &Value) -> Option<Value> {
        if self.accepts(value.as_ref()) {
            return Some(value.clone());
        }
        let converted = match (self, value) {
            (Self::Text | Self::Decimal | Self::Json, Value::Integer(n)) => {
                Value::Text(n.to_string())
            }
            (Self::Text | Self::Json, Value::Real(x)) => Value::Text(format!("{x:?}")),
            (Self::Decimal, Value::Real(x)) => Value::Text(x.to_string()),
            (Self::Integer | Self::Boolean, Value::Text(text)) => Value::Integer(integer(text)?),
            (Self::Integer | Self::Boolean, Value::Real(x)) => Value::Integer(whole(*x)?),
            (Self::Real, Value::Integer(_)) => self.normalise(value.clone()).ok()?,
            (Self::Real, Value::Text(text)) => Value::Real(real(text)?),
            _ => return None,
        };
        self.accepts(converted.as_ref()).then_some(converted)
    }
}

/// The integer that is written exactly so.
fn integer(text: &str) -> Option<i64> {
    let n: i64 = text.parse().ok()?;
    (n.to_string() == text).then_some(n)
}

/// The real that is written exactly so, as text or as a decimal.
fn real(text: &str) -> Option<f64> {
    let x: f64 = text.parse().ok().filter(|x: &f64| x.is_finite())?;
    (format!("{x:?}") == text || x.to_string() == text).then_some(x)
}

/// The integer that a real is, among those that reals tell apart.
#[expect(
    clippy::cast_possible_truncation,
    reason = "whole and within what reals tell apart"
)]
fn whole(x: f64) -> Option<i64> {
    let exact = 9_007_199_254_740_992.0;
    (x.fract() == 0.0 && x.abs() < exact).then_some(x as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p6_what_is_converted_reads_back_and_the_rest_is_left_to_a_person() {
        let (int, text) = (Value::Integer, |text: &str| Value::from(text));
        for (to, value, converted) in [
            (Type::Text, int(-5), Some(text("-5"))),
            (Type::Text, Value::Real(0.1), Some(text("0.1"))),
            (Type::Text, text("2026-11-23"), Some(text("2026-11-23"))),
            (Type::Text, Value::Bytes(vec![1]), None),
            (Type::Integer, text("12"), Some(int(12))),
            (Type::Integer, text("012"), None),
            (Type::Integer, text("12 "), None),
            (Type::Integer, text("twelve"), None),
            (Type::Integer, Value::Real(3.0), Some(int(3))),
            (Type::Integer, Value::Real(3.5), None),
            (Type::Integer, Value::Real(1e300), None),
            (Type::Boolean, int(1), Some(int(1))),
            (Type::Boolean, int(2), None),
            (Type::Boolean, text("yes"), None),
            (Type::Real, int(7), Some(Value::Real(7.0))),
            (Type::Real, int((1 << 53) + 1), None),
            (Type::Real, text("1.5"), Some(Value::Real(1.5))),
            (Type::Real, text("1.50"), None),
            (Type::Real, text("inf"), None),
            (Type::Decimal, int(7), Some(text("7"))),
            (Type::Decimal, Value::Real(1.25), Some(text("1.25"))),
            (Type::Instant, text("2026-11-23T09:30:00.000000"), None),
            (Type::Datetime, text("2026-11-23"), None),
            (Type::Uuid, text("no"), None),
            (Type::Json, int(5), Some(text("5"))),
            (Type::Date, Value::Null, Some(Value::Null)),
        ] {
            assert_eq!(to.converted(&value), converted, "{to} {value:?}");
        }
    }
}
