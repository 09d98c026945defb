//! Rules for the values of an attribute: the same function on the device, where the user can still
//! mend it, and on the server.
//!
//! A rule speaks of canonical values. Null is refused by `required` alone: what has no value cannot
//! be too long. Values that nobody writes are never looked at, so a row of the server's may have
//! what a rule refuses.

use std::cmp::Ordering;
use std::fmt;

use regex_lite::Regex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::code::Code;
use crate::model::{Attribute, Literal};
use crate::value::{Type, Value};

/// What the values of an attribute must be like.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// There must be a value.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// Most characters (Unicode scalar values) of a text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<u32>,
    /// What a text must match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<Matches>,
    /// The smallest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<Literal>,
    /// The largest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<Literal>,
    /// The values there are; empty if there are others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub one_of: Vec<Literal>,
}

/// A regular expression that a text must match somewhere; `^` and `$` hold it to the whole text.
/// The syntax is that of the crate `regex-lite`: classes like `\d` are ASCII.
#[derive(Clone)]
pub struct Matches {
    text: String,
    regex: Regex,
}

/// A rule that a value breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// The stable code.
    pub code: Code,
    /// What the value must be, without naming the attribute: `must have a value`.
    pub message: String,
}

impl Matches {
    /// Reads a regular expression.
    ///
    /// # Errors
    /// It is none; the message says what is wrong.
    pub fn new(text: impl Into<String>) -> Result<Self, String> {
        let text = text.into();
        let regex = Regex::new(&text).map_err(|error| error.to_string())?;
        Ok(Self { text, regex })
    }

    /// The expression as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Matches {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Debug for Matches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl Serialize for Matches {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Matches {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl Rule {
    /// Whether it asks for nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Why it makes no sense for values of this type, if it does not.
    pub fn problem(&self, kind: Type) -> Option<String> {
        let is_text = kind == Type::Text;
        if self.max_length.is_some() && !is_text {
            return Some(format!(
                "`max_length` is for texts, and this is {}",
                kind.as_str()
            ));
        }
        if self.matches.is_some() && !is_text {
            return Some(format!(
                "`matches` is for texts, and this is {}",
                kind.as_str()
            ));
        }
        for (name, bound) in [("min", &self.min), ("max", &self.max)] {
            if let Some(bound) = bound
                && let Some(problem) = bound_problem(kind, bound)
            {
                return Some(format!("`{name}` {problem}"));
            }
        }
        if let (Some(min), Some(max)) = (&self.min, &self.max)
            && compare(kind, &min.value(), &max.value()) == Some(Ordering::Greater)
        {
            return Some("`min` is above `max`".to_owned());
        }
        if !self.one_of.is_empty() && !matches!(kind, Type::Text | Type::Integer) {
            return Some(format!(
                "`one_of` is for texts and integers, and this is {}",
                kind.as_str()
            ));
        }
        let odd = (self.one_of.iter()).find(|one| !kind.accepts(one.value().as_ref()));
        odd.map(|_| format!("`one_of` expects {} each", kind.expected()))
    }

    /// Holds a canonical value of type `kind` against the rule.
    ///
    /// # Errors
    /// The rule that it breaks, the first of several.
    pub fn check(&self, kind: Type, value: &Value) -> Result<(), Broken> {
        if value.is_null() {
            return match self.required {
                true => Err(Broken::required()),
                false => Ok(()),
            };
        }
        if let (Some(most), Value::Text(text)) = (self.max_length, value)
            && text.chars().nth(most as usize).is_some()
        {
            return Err(Broken::too_long(most));
        }
        if let (Some(matches), Value::Text(text)) = (&self.matches, value)
            && !matches.regex.is_match(text)
        {
            return Err(Broken::no_match(matches));
        }
        let is_beyond = |bound: &Option<Literal>, beyond| {
            bound.as_ref().is_some_and(|bound| {
                compare(kind, value, &bound.value()).is_none_or(|order| order == beyond)
            })
        };
        if is_beyond(&self.min, Ordering::Less) || is_beyond(&self.max, Ordering::Greater) {
            return Err(Broken::out_of_range(self));
        }
        let is_known = |one: &Literal| one.value() == *value;
        if !self.one_of.is_empty() && !self.one_of.iter().any(is_known) {
            return Err(Broken::not_one_of(self));
        }
        Ok(())
    }
}

impl Attribute {
    /// The rule that a row breaks which is created without this attribute.
    ///
    /// # Errors
    /// It needs a value, and has no default.
    pub fn check_left_out(&self) -> Result<(), Broken> {
        match self.rule.required && self.default.is_none() {
            true => Err(Broken::required()),
            false => Ok(()),
        }
    }
}

impl Broken {
    /// There is no value.
    pub fn required() -> Self {
        Self::new(Code::NOT_NULL, "must have a value")
    }

    /// More characters than `most`.
    pub fn too_long(most: u32) -> Self {
        Self::new(
            Code::TOO_LONG,
            format!("must have at most {most} characters"),
        )
    }

    /// A text that does not match.
    pub fn no_match(matches: &Matches) -> Self {
        Self::new(Code::NO_MATCH, format!("must match {}", matches.as_str()))
    }

    /// A value below the smallest or above the largest.
    pub fn out_of_range(rule: &Rule) -> Self {
        let message = match (&rule.min, &rule.max) {
            (Some(min), Some(max)) => format!("must be from {} to {}", min.value(), max.value()),
            (Some(min), None) => format!("must be {} or more", min.value()),
            (None, Some(max)) => format!("must be {} or less", max.value()),
            (None, None) => "must be in range".to_owned(),
        };
        Self::new(Code::OUT_OF_RANGE, message)
    }

    /// None of the values there are.
    pub fn not_one_of(rule: &Rule) -> Self {
        let known: Vec<String> = rule
            .one_of
            .iter()
            .map(|one| one.value().to_string())
            .collect();
        Self::new(
            Code::NOT_ONE_OF,
            format!("must be one of: {}", known.join(", ")),
        )
    }

    fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}

fn bound_problem(kind: Type, bound: &Literal) -> Option<String> {
    let has_order = matches!(
        kind,
        Type::Integer
            | Type::Real
            | Type::Decimal
            | Type::Date
            | Type::Time
            | Type::Datetime
            | Type::Instant
    );
    if !has_order {
        return Some(format!(
            "is for numbers and times, and this is {}",
            kind.as_str()
        ));
    }
    let value = bound.value();
    // JSON has no other reals.
    let is_finite = !matches!(value, Value::Real(x) if !x.is_finite());
    let fits = kind.accepts(value.as_ref()) && is_finite;
    (!fits).then(|| format!("expects {}", kind.expected()))
}

/// How two values of a type stand to each other; `None` if they have no order.
fn compare(kind: Type, a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Integer(a), Value::Integer(b)) => Some(a.cmp(b)),
        (Value::Text(a), Value::Text(b)) if kind == Type::Decimal => Some(decimals(a, b)),
        (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
        (Value::Real(a), Value::Real(b)) => a.partial_cmp(b),
        _ => None,
    }
}

/// The exact order of two canonical decimals.
fn decimals(a: &str, b: &str) -> Ordering {
    match (a.strip_prefix('-'), b.strip_prefix('-')) {
        (None, None) => magnitudes(a, b),
        (Some(a), Some(b)) => magnitudes(b, a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
    }
}

fn magnitudes(a: &str, b: &str) -> Ordering {
    let parts = |text| decimal_parts(text);
    let ((a, a_fraction), (b, b_fraction)) = (parts(a), parts(b));
    (a.len(), a, a_fraction).cmp(&(b.len(), b, b_fraction))
}

/// The digits before and behind the point of a canonical decimal without its sign; those behind
/// without zeros at their end.
pub fn decimal_parts(magnitude: &str) -> (&str, &str) {
    let (whole, fraction) = magnitude.split_once('.').unwrap_or((magnitude, ""));
    (whole, fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    fn code(rule: &Rule, kind: Type, value: &Value) -> Option<String> {
        let broken = rule.check(kind, value).err();
        broken.map(|broken| broken.code.to_string())
    }

    #[test]
    fn each_rule_refuses_what_it_says() {
        let rule = Rule {
            required: true,
            max_length: Some(3),
            matches: Some(Matches::new("^[a-zé]*$").unwrap()),
            ..Rule::default()
        };
        assert_eq!(code(&rule, Type::Text, &text("abé")), None);
        assert_eq!(code(&rule, Type::Text, &text("")), None, "empty is a value");
        let refused = |value: &Value| code(&rule, Type::Text, value).unwrap();
        assert_eq!(refused(&Value::Null), "not-null");
        assert_eq!(refused(&text("abcd")), "too-long");
        assert_eq!(refused(&text("AB")), "no-match");

        let rule = Rule {
            one_of: vec![Literal::Text("a".into()), Literal::Text("b".into())],
            ..Rule::default()
        };
        assert_eq!(code(&rule, Type::Text, &text("b")), None);
        assert_eq!(code(&rule, Type::Text, &Value::Null), None);
        assert_eq!(code(&rule, Type::Text, &text("c")).unwrap(), "not-one-of");
    }

    #[test]
    fn ranges_have_both_ends_and_decimals_are_exact() {
        let range = |min: Literal, max: Literal| Rule {
            min: Some(min),
            max: Some(max),
            ..Rule::default()
        };
        let whole = range(Literal::Integer(-1), Literal::Integer(5));
        for (n, fits) in [(-2, false), (-1, true), (5, true), (6, false)] {
            let is_fine = code(&whole, Type::Integer, &Value::Integer(n)).is_none();
            assert_eq!(is_fine, fits, "{n}");
        }
        let real = range(Literal::Real(0.0), Literal::Real(0.5));
        for (x, fits) in [
            (-0.1, false),
            (0.0, true),
            (0.5, true),
            (0.6, false),
            (f64::NAN, false),
        ] {
            let is_fine = code(&real, Type::Real, &Value::Real(x)).is_none();
            assert_eq!(is_fine, fits, "{x}");
        }
        let decimal = range(Literal::Text("-1.5".into()), Literal::Text("10".into()));
        for (x, fits) in [
            ("-1.50", true),
            ("-1.51", false),
            ("-2", false),
            ("-0.9", true),
            ("9.99999999999999999999", true),
            ("10.000", true),
            ("10.00000000000000000001", false),
            ("9", true),
            ("100", false),
        ] {
            let is_fine = code(&decimal, Type::Decimal, &text(x)).is_none();
            assert_eq!(is_fine, fits, "{x}");
        }
        let day = range(
            Literal::Text("2026-01-01".into()),
            Literal::Text("2026-12-31".into()),
        );
        assert_eq!(code(&day, Type::Date, &text("2026-12-31")), None);
        assert_eq!(
            code(&day, Type::Date, &text("2027-01-01")).unwrap(),
            "out-of-range"
        );
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        // The rules as the model's JSON has them.
        for (rule, kind) in [
            (r#"{"max_length":3}"#, Type::Integer),
            (r#"{"matches":"a"}"#, Type::Uuid),
            (r#"{"min":1}"#, Type::Text),
            (r#"{"min":"1"}"#, Type::Integer),
            (r#"{"max":"noon"}"#, Type::Time),
            (r#"{"min":"2.10","max":"2.09"}"#, Type::Decimal),
            (r#"{"one_of":[1]}"#, Type::Text),
            (r#"{"one_of":[1.5]}"#, Type::Real),
        ] {
            let read: Rule = serde_json::from_str(rule).unwrap();
            assert!(read.problem(kind).is_some(), "{rule} for {kind:?}");
        }
        let infinite = Rule {
            max: Some(Literal::Real(f64::INFINITY)),
            ..Rule::default()
        };
        assert!(
            infinite.problem(Type::Real).is_some(),
            "JSON has no infinity"
        );
        assert!(Matches::new("(").is_err());
        assert!(Matches::new("a{1000000}").is_err(), "too large");
    }

    #[test]
    fn json_reads_back_and_says_only_what_is_asked() {
        let rule = Rule {
            required: true,
            matches: Some(Matches::new("^a").unwrap()),
            min: Some(Literal::Integer(1)),
            ..Rule::default()
        };
        let json = serde_json::to_string(&rule).unwrap();
        assert_eq!(json, r#"{"required":true,"matches":"^a","min":1}"#);
        assert_eq!(serde_json::from_str::<Rule>(&json).unwrap(), rule);
        assert!(serde_json::from_str::<Rule>(r#"{"matches":"("}"#).is_err());
    }
}
