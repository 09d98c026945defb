//! `[scope.NAME]`: values that a user holds, or that the app chooses.

use std::time::Duration;

use super::At;
use crate::model::reader::{Node, Section, Text};
use crate::model::resolve::name_problem;

/// Longest query: what a person writes, not what a program generates.
const QUERY_BYTES_MAX: usize = 64 * 1024;

const DAY: Duration = Duration::from_secs(86_400);

/// How long a value stays chosen if nobody says otherwise: longer than a weekend.
const KEEP: Duration = DAY.saturating_mul(7);

/// How long a value may stay chosen. What is kept for ever would never leave a device.
const KEEP_RANGE: (Duration, Duration) = (Duration::from_secs(1), DAY.saturating_mul(3650));

/// `[scope.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ScopeSection {
    /// Its name.
    pub name: At<String>,
    /// The query that finds the values, or says of one that was chosen whether it is allowed.
    pub query: Text,
    /// How long a value stays chosen, if the app chooses them.
    pub keep: Option<Duration>,
}

impl ScopeSection {
    /// The key under which the query stands.
    pub fn key(&self) -> &'static str {
        match self.keep {
            Some(_) => "chosen",
            None => "query",
        }
    }
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
    let (query, chosen) = (section.take("query"), section.take("chosen"));
    let keep = section.take("keep_chosen");
    section.finish();
    let (query, keep) = match (query, chosen) {
        (Some(_), Some(chosen)) => {
            chosen.wrong(
                "stands beside `query`; write `query` for values that a user simply holds, or \
                 `chosen` for those that the app chooses from",
            );
            return None;
        }
        (Some(query), None) => {
            if let Some(keep) = keep {
                keep.wrong("is for values that the app chooses; write `chosen`, or remove it");
            }
            (query, None)
        }
        (None, Some(chosen)) => (chosen, Some(keep.map_or(Some(KEEP), |it| kept(&it))?)),
        (None, None) => {
            let message = format!(
                "{}: `query` is missing; write `query = \"SELECT …\"`, of one column, with \
                 `:user` and `:claim_NAME` for who asks, or `chosen = \"SELECT 1 …\"` with \
                 `:value` for a value that the app chose",
                section.name
            );
            section.reader.wrong(section.place, message);
            return None;
        }
    };
    let text = query.placed_text()?;
    if text.value.len() > QUERY_BYTES_MAX {
        query.wrong(format!(
            "is longer than {QUERY_BYTES_MAX} bytes; make a view of it, and select from that"
        ));
        return None;
    }
    Some(ScopeSection {
        name,
        query: text,
        keep,
    })
}

fn kept(node: &Node<'_, '_>) -> Option<Duration> {
    let keep = node.duration()?;
    if keep < KEEP_RANGE.0 || keep > KEEP_RANGE.1 {
        node.wrong("must be from \"1 s\" to \"3650 days\"");
        return None;
    }
    Some(keep)
}
