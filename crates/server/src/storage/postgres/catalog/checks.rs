//! CHECK constraints of the simple kinds that a rule of the model can say too. What is not
//! understood whole is left to the database.

use afield_protocol::{Literal, Rule, Type};

use super::super::expression::{Expr, parse};
use crate::catalog::{Check, Table};

/// A CHECK constraint of a table.
pub(super) fn of_table(text: &str, table: &Table) -> Check {
    let column = |name: &str| {
        let column = table.columns.iter().find(|column| column.name == name)?;
        // Rules compare as they are written; char(n) does not count blanks at the end.
        let is_exact = column.collation.is_none() && !column.declared.starts_with("character(");
        (is_exact && column.left_out.is_none()).then_some((column.name.clone(), column.kind))
    };
    check(text, &column)
}

/// A CHECK constraint of a domain, as it holds for a column of that domain.
pub(super) fn of_domain(text: &str, column: &str, kind: Type) -> Check {
    let value = |name: &str| (name == "value").then(|| (column.to_owned(), kind));
    Check {
        text: format!("{text} for {column} as VALUE"),
        ..check(text, &value)
    }
}

type Find<'f> = &'f dyn Fn(&str) -> Option<(String, Type)>;

fn check(text: &str, column: Find<'_>) -> Check {
    let expr = parse(text);
    let rules = expr.and_then(|expr| rules(&expr, column));
    Check {
        text: text.to_owned(),
        rules: rules.unwrap_or_default(),
    }
}

fn rules(expr: &Expr, column: Find<'_>) -> Option<Vec<(String, Rule)>> {
    match expr {
        Expr::And(all) => {
            let all: Option<Vec<_>> = all.iter().map(|one| rules(one, column)).collect();
            Some(all?.concat())
        }
        // Null passes every CHECK of these kinds anyway.
        Expr::Or(all) => match all.as_slice() {
            [Expr::IsNull(null), other] | [other, Expr::IsNull(null)] => {
                let (name, _) = named(null, column)?;
                let found = rules(other, column)?;
                found.iter().all(|(of, _)| *of == name).then_some(found)
            }
            _ => None,
        },
        Expr::Any(value, list) => {
            let (name, kind) = named(value, column)?;
            let Expr::Array(items) = uncast_list(list) else {
                return None;
            };
            let one_of: Option<Vec<_>> = items.iter().map(|one| literal(one, kind)).collect();
            Some(vec![(name, one_of_rule(one_of?))])
        }
        Expr::Compare(sign, left, right) => compared(sign, left, right, column)
            .or_else(|| compared(mirrored(sign), right, left, column))
            .map(|rule| vec![rule]),
        _ => None,
    }
}

fn compared(sign: &str, left: &Expr, right: &Expr, column: Find<'_>) -> Option<(String, Rule)> {
    if let Expr::Call(function, arguments) = left {
        let is_length = ["length", "char_length", "character_length"].contains(&function.as_str());
        let [argument] = arguments.as_slice() else {
            return None;
        };
        let (name, kind) = named(argument, column)?;
        let Literal::Integer(most) = literal(right, Type::Integer)? else {
            return None;
        };
        let most = match sign {
            "<=" => most,
            "<" => most.checked_sub(1)?,
            _ => return None,
        };
        let rule = Rule {
            max_length: Some(u32::try_from(most).ok()?),
            ..Rule::default()
        };
        return (is_length && kind == Type::Text).then_some((name, rule));
    }
    let (name, kind) = named(left, column)?;
    let bound = literal(right, kind)?;
    let next = |step: i64| match bound {
        Literal::Integer(n) if kind == Type::Integer => n.checked_add(step).map(Literal::Integer),
        _ => None,
    };
    let rule = match sign {
        "=" if matches!(kind, Type::Text | Type::Integer) => one_of_rule(vec![bound]),
        ">=" => min(bound),
        ">" => min(next(1)?),
        "<=" => max(bound),
        "<" => max(next(-1)?),
        _ => return None,
    };
    Some((name, rule))
}

fn one_of_rule(one_of: Vec<Literal>) -> Rule {
    Rule {
        one_of,
        ..Rule::default()
    }
}

fn min(bound: Literal) -> Rule {
    Rule {
        min: Some(bound),
        ..Rule::default()
    }
}

fn max(bound: Literal) -> Rule {
    Rule {
        max: Some(bound),
        ..Rule::default()
    }
}

fn mirrored(sign: &str) -> &str {
    match sign {
        "<" => ">",
        "<=" => ">=",
        ">" => "<",
        ">=" => "<=",
        sign => sign,
    }
}

/// The column that an expression is, whatever kind of text it is taken for.
fn named(expr: &Expr, column: Find<'_>) -> Option<(String, Type)> {
    match expr {
        Expr::Name(name) => column(name),
        Expr::Cast(inner, to) => named(inner, column).filter(|(_, kind)| match kind {
            Type::Text => is_text(to),
            Type::Integer => ["integer", "bigint"].contains(&to.as_str()),
            _ => false,
        }),
        _ => None,
    }
}

fn is_text(name: &str) -> bool {
    ["text", "character varying"].contains(&name)
}

/// A list without the casts around it.
fn uncast_list(expr: &Expr) -> &Expr {
    match expr {
        Expr::Cast(inner, to) if to.ends_with("[]") => uncast_list(inner),
        expr => expr,
    }
}

/// A literal, as a bound of values of this type is written.
pub(super) fn literal(expr: &Expr, kind: Type) -> Option<Literal> {
    match expr {
        Expr::Text(text) => match kind {
            Type::Integer => text.parse().ok().map(Literal::Integer),
            Type::Real => real(text),
            Type::Boolean | Type::Bytes => None,
            _ => Some(Literal::Text(text.clone())),
        },
        Expr::Number(number) => match kind {
            Type::Integer => number.parse().ok().map(Literal::Integer),
            Type::Real => real(number),
            Type::Decimal => Some(Literal::Text(number.clone())),
            _ => None,
        },
        Expr::Cast(inner, to) => match &**inner {
            // Text becomes a literal of the type that stands behind it.
            Expr::Text(_) => literal(inner, kind),
            Expr::Number(number) if !number.contains('.') => literal(inner, kind),
            Expr::Number(_) if ["numeric", "double precision", "real"].contains(&to.as_str()) => {
                literal(inner, kind)
            }
            // Anything else is computed: `('now'::text)::date`.
            _ if is_text(to) => literal(inner, kind),
            _ => None,
        },
        _ => None,
    }
}

fn real(text: &str) -> Option<Literal> {
    let number: Option<f64> = text.parse().ok();
    number
        .filter(|number| number.is_finite())
        .map(Literal::Real)
}
