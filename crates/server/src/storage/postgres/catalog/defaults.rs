//! Defaults: literals are the device's too, what is computed is the database's business.

use afield_protocol::{Literal, Type, Value};

use super::super::expression::{Expr, parse};
use super::checks;

/// The default's value, if it is a literal that is, or can be brought, into `kind`'s canonical
/// form.
pub(super) fn literal(text: &str, kind: Type) -> Option<Literal> {
    let expr = parse(text)?;
    if let (Type::Boolean, Expr::Word(word)) = (kind, &expr) {
        return match word.as_str() {
            "true" => Some(Literal::Integer(1)),
            "false" => Some(Literal::Integer(0)),
            _ => None,
        };
    }
    match kind.normalise(checks::literal(&expr, kind)?.value()).ok()? {
        Value::Integer(n) => Some(Literal::Integer(n)),
        Value::Real(x) => Some(Literal::Real(x)),
        Value::Text(text) => Some(Literal::Text(text)),
        Value::Null | Value::Bytes(_) => None,
    }
}

/// Whether a default takes the next number of a sequence.
pub(super) fn is_next_number(text: &str) -> bool {
    matches!(parse(text), Some(Expr::Call(name, _)) if name == "nextval")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_are_read_and_computed_defaults_are_not() {
        let text = |text: &str| Some(Literal::Text(text.into()));
        for (written, kind, expected) in [
            ("'it''s'::text", Type::Text, text("it's")),
            ("'x'::character varying", Type::Text, text("x")),
            ("('x'::character varying)::text", Type::Text, text("x")),
            ("'sad'::public.mood", Type::Text, text("sad")),
            ("0", Type::Integer, Some(Literal::Integer(0))),
            ("'-1'::integer", Type::Integer, Some(Literal::Integer(-1))),
            ("(-1)", Type::Integer, Some(Literal::Integer(-1))),
            ("0", Type::Decimal, text("0")),
            ("1.50", Type::Decimal, text("1.50")),
            ("0.5", Type::Real, Some(Literal::Real(0.5))),
            ("true", Type::Boolean, Some(Literal::Integer(1))),
            ("'2026-01-31'::date", Type::Date, text("2026-01-31")),
            ("'{}'::jsonb", Type::Json, text("{}")),
        ] {
            assert_eq!(literal(written, kind), expected, "{written}");
        }
        for (computed, kind) in [
            ("now()", Type::Instant),
            ("CURRENT_TIMESTAMP", Type::Instant),
            ("CURRENT_USER", Type::Text),
            ("('now'::text)::date", Type::Date),
            ("NULL::character varying", Type::Text),
            ("(1 + 1)", Type::Integer),
            ("'\\x00'::bytea", Type::Bytes),
            ("gen_random_uuid()", Type::Uuid),
            ("nextval('s'::regclass)", Type::Integer),
            ("'infinity'::date", Type::Date),
            ("'NaN'::double precision", Type::Real),
        ] {
            assert_eq!(literal(computed, kind), None, "{computed}");
        }
        assert!(is_next_number("nextval('s'::regclass)"));
        assert!(is_next_number("nextval('\"S\"'::regclass)"));
        assert!(!is_next_number("currval('s'::regclass)"));
        assert!(!is_next_number("(nextval('s'::regclass) * 2)"));
    }
}
