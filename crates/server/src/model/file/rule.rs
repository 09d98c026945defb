//! `[local.NAME.rule]`: what the values of attributes must be like.

use afield_protocol::rule::Matches;
use afield_protocol::{Literal, Rule};

use super::At;
use crate::model::reader::{Node, Section};

/// Longest text that a rule may ask for, in characters: what fits a request.
const LENGTH_MAX: u64 = 16 * 1024 * 1024;

/// The rule of one attribute, its bounds as they are written.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenRule {
    /// The attribute's local name, where the rule begins.
    pub attribute: At<String>,
    /// What it asks for.
    pub rule: Rule,
}

/// The keys of a rule, for an attribute of a local-only entity, where they stand beside its type.
pub(super) fn beside(section: &Section<'_, '_>) -> Rule {
    Rule {
        required: section
            .take("required")
            .and_then(|node| node.truth())
            .unwrap_or_default(),
        max_length: section
            .take("max_length")
            .and_then(|node| node.number(1..=LENGTH_MAX))
            .and_then(|most| u32::try_from(most).ok()),
        matches: section.take("matches").and_then(|node| matches(&node)),
        min: section.take("min").and_then(|node| node.literal()),
        max: section.take("max").and_then(|node| node.literal()),
        one_of: section
            .take("one_of")
            .and_then(|node| one_of(&node))
            .unwrap_or_default(),
    }
}

/// All rules of an entity, in file order.
pub(super) fn read(all: &Section<'_, '_>) -> Vec<WrittenRule> {
    let rule = |(attribute, node): (At<String>, Node<'_, '_>)| {
        let section = node.section(node.name.clone())?;
        let rule = beside(&section);
        section.finish();
        Some(WrittenRule { attribute, rule })
    };
    all.take_all().into_iter().filter_map(rule).collect()
}

fn matches(node: &Node<'_, '_>) -> Option<Matches> {
    let text = node.text()?;
    let read = Matches::new(text);
    read.map_err(|error| node.wrong(format!("is no regular expression: {error}")))
        .ok()
}

fn one_of(node: &Node<'_, '_>) -> Option<Vec<Literal>> {
    let values: Vec<Literal> = node.list()?.iter().filter_map(Node::literal).collect();
    if values.is_empty() {
        node.wrong("lists no value; name the values that there are, or remove it");
    }
    Some(values)
}
