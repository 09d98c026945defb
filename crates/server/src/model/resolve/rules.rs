//! `[local.NAME.rule]` held against the attributes chosen.

use afield_protocol::{Literal, Rule, Type, Value};

use super::Resolver;
use crate::catalog::Table;
use crate::model::error::suggestion;
use crate::model::file::{FromServer, Source, WrittenRule};
use crate::resolved::ServerEntity;

impl Resolver<'_> {
    /// Gives attributes their rules, once it is known which of them devices write.
    pub(super) fn add_rules(&mut self, entities: &mut [ServerEntity]) {
        let file = self.file;
        for section in &file.entities {
            let Source::Server(server) = &section.source else {
                continue;
            };
            let name = &section.name.value;
            let entity = entities.iter_mut().find(|it| it.local.name == *name);
            let Some(entity) = entity else { continue };
            let Some(table) = self.catalog.table(&entity.table) else {
                continue;
            };
            for written in &server.rules {
                if let Err(problem) = give(server, table, written, entity) {
                    let attribute = &written.attribute;
                    let message = format!("[local.{name}] rule: `{}` {problem}", attribute.value);
                    self.wrong(attribute.place, message);
                }
            }
        }
    }
}

/// Gives an attribute its rule, or says why it cannot have it: in words that follow its name.
fn give(
    server: &FromServer,
    table: &Table,
    written: &WrittenRule,
    entity: &mut ServerEntity,
) -> Result<(), String> {
    let name = &written.attribute.value;
    let attributes = &mut entity.local.attributes;
    let at = attributes.iter().position(|a| a.name == *name);
    let found = at.and_then(|at| Some((at, entity.columns.get(at)?)));
    let Some((at, column)) = found else {
        let near = suggestion(name, attributes.iter().map(|a| a.name.as_str()));
        return Err(format!("is none of `attributes`; {near}"));
    };
    let Some(attribute) = attributes.get_mut(at) else {
        return Ok(());
    };
    let of_table = table.column(&column.name);
    let is_only_read = attribute.read_only || !server.is_written();
    let refers =
        (table.foreign_keys.iter().flat_map(|key| &key.columns)).any(|name| *name == column.name);
    let only_required = Rule {
        required: written.rule.required,
        ..Rule::default()
    };
    if table.is_key(&column.name) {
        return Err("is the identifier, which has rules of its own; remove it here".to_owned());
    }
    if is_only_read {
        return Err("is only read on devices, so nothing could break the rule; remove it".into());
    }
    if refers && written.rule != only_required {
        return Err(
            "refers to another row, whose identifier may be temporary on a device; leave \
             `required` alone"
                .to_owned(),
        );
    }
    if written.rule.required && of_table.is_some_and(|c| c.has_default && c.default.is_none()) {
        return Err(
            "has a default that the database computes, so a device may leave it out; remove \
             `required`"
                .to_owned(),
        );
    }
    attribute.rule = fitted(&written.rule, attribute.kind)?;
    Ok(())
}

/// The rule with its bounds in the form of the type.
pub(in crate::model) fn fitted(rule: &Rule, kind: Type) -> Result<Rule, String> {
    let fit = |bound: &Option<Literal>| bound.as_ref().map(|bound| in_form(kind, bound));
    let fitted = Rule {
        min: fit(&rule.min),
        max: fit(&rule.max),
        ..rule.clone()
    };
    match fitted.problem(kind) {
        Some(problem) => Err(format!("cannot have this rule: {problem}")),
        None => Ok(fitted),
    }
}

/// A bound in the form of the type; as it is, if it has none: that is told by who checks it.
fn in_form(kind: Type, bound: &Literal) -> Literal {
    let value = match (kind, bound) {
        (Type::Decimal, Literal::Integer(n)) => Value::Text(n.to_string()),
        _ => bound.value(),
    };
    match kind.normalise(value) {
        Ok(Value::Integer(n)) => Literal::Integer(n),
        Ok(Value::Real(x)) => Literal::Real(x),
        Ok(Value::Text(text)) => Literal::Text(text),
        _ => bound.clone(),
    }
}
