//! Literal defaults as SQLite tells them: the text between DEFAULT and the next word.

use afield_protocol::{Literal, Type, Value};

/// The default's value, if it is a literal that is, or can be brought, into `kind`'s canonical
/// form. Anything computed (`CURRENT_TIMESTAMP`, an expression) is the server's business.
pub(super) fn literal(text: &str, kind: Type) -> Option<Literal> {
    let value = parse(trim_parentheses(text))?;
    let value = match (kind, value) {
        (Type::Boolean, Literal::Integer(n)) => Value::Integer(i64::from(n != 0)),
        (Type::Text | Type::Decimal, Literal::Integer(n)) => Value::Text(n.to_string()),
        (_, literal) => literal.value(),
    };
    match kind.normalise(value).ok()? {
        Value::Integer(n) => Some(Literal::Integer(n)),
        Value::Real(x) => Some(Literal::Real(x)),
        Value::Text(text) => Some(Literal::Text(text)),
        Value::Null | Value::Bytes(_) => None,
    }
}

fn parse(text: &str) -> Option<Literal> {
    if let Some(inner) = text.strip_prefix('\'')
        && let Some(inner) = inner.strip_suffix('\'')
    {
        let is_one_literal = !inner.replace("''", "").contains('\'');
        return is_one_literal.then(|| Literal::Text(inner.replace("''", "'")));
    }
    match text.to_ascii_lowercase().as_str() {
        "true" => return Some(Literal::Integer(1)),
        "false" => return Some(Literal::Integer(0)),
        _ => {}
    }
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if let Ok(n) = text.parse() {
        return Some(Literal::Integer(n));
    }
    text.parse()
        .ok()
        .filter(|x: &f64| x.is_finite())
        .map(Literal::Real)
}

fn trim_parentheses(text: &str) -> &str {
    let mut text = text.trim();
    while let Some(inner) = text.strip_prefix('(').and_then(|t| t.strip_suffix(')')) {
        text = inner.trim();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_read_and_computed_defaults_are_not() {
        let text = |t: &str| Some(Literal::Text(t.into()));
        assert_eq!(literal("'it''s'", Type::Text), text("it's"));
        assert_eq!(literal("7", Type::Text), text("7"));
        assert_eq!(literal("-7", Type::Integer), Some(Literal::Integer(-7)));
        assert_eq!(literal("(1)", Type::Real), Some(Literal::Real(1.0)));
        assert_eq!(literal("TRUE", Type::Boolean), Some(Literal::Integer(1)));
        assert_eq!(literal("'2026-01-31'", Type::Date), text("2026-01-31"));
        for computed in [
            "CURRENT_TIMESTAMP",
            "NULL",
            "x'00'",
            "(1)+(2)",
            "'a'||'b'",
            "0x10",
        ] {
            assert_eq!(literal(computed, Type::Text), None, "{computed}");
        }
        assert_eq!(literal("'n/a'", Type::Integer), None);
        assert_eq!(literal("1e999", Type::Real), None);
    }
}
