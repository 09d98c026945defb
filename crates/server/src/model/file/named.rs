//! `[scope.NAME]`: values that a user holds.

use super::At;
use crate::model::later;
use crate::model::reader::{Node, Section, Text};
use crate::model::resolve::name_problem;

/// Longest query: what a person writes, not what a program generates.
const QUERY_BYTES_MAX: usize = 64 * 1024;

/// `[scope.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ScopeSection {
    /// Its name.
    pub name: At<String>,
    /// The query that finds the values.
    pub query: Text,
}

pub(super) fn read(all: &Section<'_, '_>) -> Vec<ScopeSection> {
    let named = |(name, node): (At<String>, Node<'_, '_>)| scope(name, &node);
    all.take_all().into_iter().filter_map(named).collect()
}

fn scope(name: At<String>, node: &Node<'_, '_>) -> Option<ScopeSection> {
    let section = node.section(format!("[scope.{}]", name.value))?;
    if let Some(problem) = name_problem(&name.value, false) {
        let message = format!("{}: the name {problem}; choose another", section.name);
        section.reader.wrong(name.place, message);
    }
    let query = section.take("query");
    let is_chosen = section.has("chosen");
    section.refuse_later(later::SCOPE);
    section.finish();
    let Some(query) = query else {
        if !is_chosen {
            let message = format!(
                "{}: `query` is missing; write `query = \"SELECT …\"`, of one column, with \
                 `:user` and `:claim_NAME` for who asks",
                section.name
            );
            section.reader.wrong(section.place, message);
        }
        return None;
    };
    let text = query.placed_text()?;
    if text.value.len() > QUERY_BYTES_MAX {
        query.wrong(format!(
            "is longer than {QUERY_BYTES_MAX} bytes; make a view of it, and select from that"
        ));
        return None;
    }
    Some(ScopeSection { name, query: text })
}
