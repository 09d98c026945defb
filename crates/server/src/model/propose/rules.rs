//! `[local.NAME.rule]`: what the database refuses, so that a device can say it at once.

use std::fmt::Write as _;

use afield_protocol::{Literal, Rule};

use super::{Names, comment, key, line, quoted};
use crate::catalog::{Column, Table};
use crate::model::resolve::fitted_rule;

/// The rules of the columns that devices write, each with its local name.
pub(super) fn rules(
    text: &mut String,
    entity: &str,
    table: &Table,
    is_written: impl Fn(&Column) -> bool,
) {
    let mut locals = Names::default();
    let mut lines = Vec::new();
    for column in &table.columns {
        let local = locals.choose(&column.name, true);
        if !is_written(column) || column.generated || table.is_key(&column.name) {
            continue;
        }
        let rule = rule_of(table, column);
        if !rule.is_empty() {
            lines.push(format!("{} = {}", key(&local), written(&rule)));
        }
    }
    let others = table.checks.iter().filter(|check| check.rules.is_empty());
    let others: Vec<String> = others.map(|check| one_line(&check.text)).collect();
    if !others.is_empty() {
        comment(
            text,
            &format!(
                "The database also checks: {}. It refuses what breaks that when it is sent.",
                others.join("; ")
            ),
        );
    }
    if lines.is_empty() {
        return;
    }
    line(text, "");
    comment(
        text,
        "What the database refuses (NOT NULL without a default, CHECK, what the type asks), so \
         that a device says it where it can still be mended.",
    );
    line(text, &format!("[local.{}.rule]", key(entity)));
    for content in lines {
        line(text, &content);
    }
}

/// All that the database asks of a column.
fn rule_of(table: &Table, column: &Column) -> Rule {
    let refers =
        (table.foreign_keys.iter().flat_map(|key| &key.columns)).any(|name| *name == column.name);
    let mut all = Rule {
        required: column.not_null && !column.has_default,
        ..Rule::default()
    };
    let found = table.checks.iter().flat_map(|check| &check.rules);
    for (_, rule) in found.filter(|(name, _)| *name == column.name && !refers) {
        let mut joined = all.clone();
        joined.max_length = rule.max_length.or(joined.max_length);
        joined.min = rule.min.clone().or(joined.min);
        joined.max = rule.max.clone().or(joined.max);
        if !rule.one_of.is_empty() {
            joined.one_of.clone_from(&rule.one_of);
        }
        // A bound in another form than the column's type is left to the database.
        if let Ok(fitted) = fitted_rule(&joined, column.kind) {
            all = fitted;
        }
    }
    all
}

fn written(rule: &Rule) -> String {
    let mut parts = Vec::new();
    if rule.required {
        parts.push("required = true".to_owned());
    }
    if let Some(most) = rule.max_length {
        parts.push(format!("max_length = {most}"));
    }
    for (name, bound) in [("min", &rule.min), ("max", &rule.max)] {
        parts.extend(
            bound
                .iter()
                .map(|bound| format!("{name} = {}", literal(bound))),
        );
    }
    if !rule.one_of.is_empty() {
        let values: Vec<String> = rule.one_of.iter().map(literal).collect();
        parts.push(format!("one_of = [{}]", values.join(", ")));
    }
    format!("{{ {} }}", parts.join(", "))
}

fn literal(value: &Literal) -> String {
    match value {
        Literal::Integer(n) => n.to_string(),
        Literal::Real(x) => format!("{x:?}"),
        Literal::Text(text) => quoted(text),
    }
}

/// The text on one line, for a comment.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        let _ = write!(line, "{}{word}", if line.is_empty() { "" } else { " " });
    }
    line.escape_debug()
        .to_string()
        .replace("\\'", "'")
        .replace("\\\"", "\"")
}
