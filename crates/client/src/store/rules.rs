//! Rules as SQL, for the triggers that check a user's write: `afield_protocol::rule` in the words
//! of SQLite. What SQL cannot say, that a text matches an expression, is checked when a
//! transaction of our own ends; what another program wrote, the server refuses.

use std::cmp::Ordering;

use afield_protocol::rule::{Broken, decimal_parts};
use afield_protocol::{Attribute, Entity, Literal, Rule, Type, Value, zoo};

use super::sql::{literal, quoted};
use super::tables::sql_literal;
use super::triggers::raise;
use crate::error::Error;

/// The statements that refuse what breaks a rule of `attribute`, each where `when` holds too.
pub(super) fn refusals(entity: &Entity, attribute: &Attribute, when: &str) -> String {
    let value = format!("NEW.{}", quoted(&attribute.name));
    let rule = &attribute.rule;
    let mut broken = Vec::new();
    if rule.required {
        broken.push((Broken::required(), format!("{value} IS NULL")));
    }
    if let Some(most) = rule.max_length {
        broken.push((Broken::too_long(most), format!("length({value}) > {most}")));
    }
    let min = rule.min.as_ref().map(|min| (min, Ordering::Less));
    let max = rule.max.as_ref().map(|max| (max, Ordering::Greater));
    for (bound, beyond) in min.into_iter().chain(max) {
        let beyond = is_beyond(attribute.kind, &value, bound, beyond);
        broken.push((Broken::out_of_range(rule), beyond));
    }
    if !rule.one_of.is_empty() {
        let known = rule.one_of.iter().map(|one| sql_literal(&one.value()));
        let known = known.collect::<Vec<_>>().join(", ");
        broken.push((
            Broken::not_one_of(rule),
            format!("{value} NOT IN ({known})"),
        ));
    }
    let refuse = |(broken, is): (Broken, String)| {
        let message = format!("{}.{} {}", entity.name, attribute.name, broken.message);
        let refuse = raise(broken.code.as_str(), &attribute.name, &message);
        format!("SELECT {refuse} WHERE {when}({is});")
    };
    if zoo::planted("rule-unasked-on-the-device") {
        return String::new();
    }
    broken.into_iter().map(refuse).collect()
}

/// Holds what a transaction of our own set against the rules that SQL cannot check.
pub(super) fn check_matches(entity: &Entity, name: &str, value: &Value) -> Result<(), Error> {
    let Some(attribute) = entity.attribute(name) else {
        return Ok(());
    };
    let only = Rule {
        matches: attribute.rule.matches.clone(),
        ..Rule::default()
    };
    check_by(&only, entity, attribute, value)
}

/// Holds a value against all rules of its attribute.
pub(super) fn check(entity: &Entity, attribute: &Attribute, value: &Value) -> Result<(), Error> {
    check_by(&attribute.rule, entity, attribute, value)
}

fn check_by(
    rule: &Rule,
    entity: &Entity,
    attribute: &Attribute,
    value: &Value,
) -> Result<(), Error> {
    rule.check(attribute.kind, value).map_err(|broken| {
        let message = format!("{}.{} {}", entity.name, attribute.name, broken.message);
        Error::new(broken.code, message).of_attribute(&attribute.name)
    })
}

/// SQL that is true where a value of type `kind` lies beyond a bound, and null or false where it
/// is null.
fn is_beyond(kind: Type, value: &str, bound: &Literal, beyond: Ordering) -> String {
    let less = beyond == Ordering::Less;
    match (kind, bound) {
        (Type::Decimal, Literal::Text(bound)) => decimal_beyond(value, bound, less),
        // What is no number is stored as text, which SQLite takes for larger than all numbers.
        (Type::Real, _) => format!(
            "typeof({value}) = 'text' OR {value} {} {}",
            if less { "<" } else { ">" },
            sql_literal(&bound.value())
        ),
        _ => format!(
            "{value} {} {}",
            if less { "<" } else { ">" },
            sql_literal(&bound.value())
        ),
    }
}

/// Decimals by sign, then by how many digits they have before the point, then digit by digit.
fn decimal_beyond(value: &str, bound: &str, less: bool) -> String {
    let magnitude = format!("ltrim({value}, '-')");
    let point = format!("instr({magnitude}, '.')");
    let whole = format!(
        "CASE {point} WHEN 0 THEN {magnitude} ELSE substr({magnitude}, 1, {point} - 1) END"
    );
    let fraction = format!(
        "CASE {point} WHEN 0 THEN '' ELSE rtrim(substr({magnitude}, {point} + 1), '0') END"
    );
    let is_negative = format!("substr({value}, 1, 1) = '-'");
    let of_bound = bound.strip_prefix('-');
    let (bound_whole, bound_fraction) = decimal_parts(of_bound.unwrap_or(bound));
    let magnitudes = |sign: &str| {
        format!(
            "(length({whole}), {whole}, {fraction}) {sign} ({}, {}, {})",
            bound_whole.len(),
            literal(bound_whole),
            literal(bound_fraction)
        )
    };
    match (of_bound, less) {
        (None, true) => format!("{is_negative} OR {}", magnitudes("<")),
        (None, false) => format!("NOT {is_negative} AND {}", magnitudes(">")),
        (Some(_), true) => format!("{is_negative} AND {}", magnitudes(">")),
        (Some(_), false) => format!("NOT {is_negative} OR {}", magnitudes("<")),
    }
}
