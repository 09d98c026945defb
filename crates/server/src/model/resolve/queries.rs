//! `[scope.NAME]`: the query that finds what a user holds, or that allows a value which the app
//! chose, as the database understands it.

use std::collections::HashSet;

use afield_protocol::{ChosenScope, Type};

use super::Resolver;
use crate::catalog::{Queries, QueryShape};
use crate::model::error::suggestion;
use crate::model::file::ScopeSection;
use crate::resolved::NamedScope;

/// How queries name a claim.
const CLAIM: &str = ":claim_";

/// How the query of a chosen scope names the value that it is asked about.
const VALUE: &str = ":value";

impl Resolver<'_> {
    /// All named scopes. Their queries are held against the database, if there is one.
    pub(super) fn named_scopes(&mut self, queries: Option<&dyn Queries>) -> Vec<NamedScope> {
        let file = self.file;
        let mut named = Vec::new();
        for scope in &file.scopes {
            // As a part of a larger statement it must not end itself.
            let is_end = |c: char| c == ';' || c.is_whitespace();
            let query = scope.query.value.trim_end_matches(is_end);
            if query.trim().is_empty() {
                self.refuse(scope, 0, "is empty; write a SELECT of one column");
                continue;
            }
            if scope.keep.is_some()
                && let Some(at) = query.to_ascii_lowercase().find("afield_")
            {
                let message = "has a name with `afield_` in it, which is Afield's own";
                self.refuse(scope, at, message);
            }
            if let Some(queries) = queries {
                match queries.describe(query) {
                    Ok(shape) => self.check_shape(scope, &shape),
                    Err(problem) => self.refuse(scope, problem.at.unwrap_or(0), &problem.message),
                }
            }
            named.push(NamedScope {
                name: scope.name.value.clone(),
                query: query.to_owned(),
                // Known when an entity uses it.
                chosen: scope.keep.map(|_| Type::Text),
            });
        }
        named
    }

    /// Gives the chosen scopes the type of the columns that they are compared with. What no entity
    /// uses is left out, on devices as well.
    pub(super) fn chosen_scopes(&self, named: &mut Vec<NamedScope>) -> Vec<ChosenScope> {
        let mut chosen = Vec::new();
        named.retain_mut(|scope| {
            let section = self
                .file
                .scopes
                .iter()
                .find(|it| it.name.value == scope.name);
            let Some(keep) = section.and_then(|section| section.keep) else {
                return true;
            };
            let Some((kind, _)) = self.chosen_kinds.get(&scope.name) else {
                return false;
            };
            scope.chosen = Some(*kind);
            chosen.push(ChosenScope {
                name: scope.name.clone(),
                kind: *kind,
                keep_ms: u64::try_from(keep.as_millis()).unwrap_or(u64::MAX),
            });
            true
        });
        chosen
    }

    /// Warns of scopes that no entity uses.
    pub(super) fn check_used(&mut self) {
        let file = self.file;
        let unused = file.scopes.iter().map(|scope| &scope.name);
        for name in unused {
            if !self.used_scopes.contains(&name.value) {
                let message = format!(
                    "[scope.{0}]: no entity uses it; write `COLUMN in {0}` in a scope, or \
                     remove it",
                    name.value
                );
                self.warn(name.place, message);
            }
        }
    }

    fn check_shape(&mut self, scope: &ScopeSection, shape: &QueryShape) {
        let name = &scope.name.value;
        match shape.columns.as_slice() {
            [column] => {
                let catalog = self.catalog;
                let found = column.origin.as_ref().and_then(|(table, column)| {
                    let table = catalog.table(table)?;
                    Some((table, table.column(column)?))
                });
                if let Some(found) = found.filter(|_| scope.keep.is_none()) {
                    self.query_columns.insert(name.clone(), found);
                }
            }
            several => {
                let names: Vec<String> = several
                    .iter()
                    .map(|column| format!("`{}`", column.name))
                    .collect();
                let message = format!(
                    "finds {} columns ({}); select the one whose values a user holds",
                    several.len(),
                    names.join(", ")
                );
                self.refuse(scope, 0, &message);
            }
        }
        let wrong: HashSet<&String> = shape
            .parameters
            .iter()
            .filter(|parameter| !is_known(parameter))
            .filter(|parameter| scope.keep.is_none() || *parameter != VALUE)
            .collect();
        for parameter in &wrong {
            let at = scope.query.value.find(parameter.as_str()).unwrap_or(0);
            let message = unknown_parameter(parameter);
            self.refuse(scope, at, &message);
        }
        if scope.keep.is_some() {
            return self.check_chosen(scope, shape);
        }
        if shape.parameters.is_empty() {
            let message = format!(
                "[scope.{name}] query: asks for neither `:user` nor `:claim_NAME`, so every user \
                 holds the same values"
            );
            self.warn(scope.query.place, message);
        }
    }

    fn check_chosen(&mut self, scope: &ScopeSection, shape: &QueryShape) {
        let name = &scope.name.value;
        if !shape.parameters.iter().any(|it| it == VALUE) {
            let message = "does not ask for `:value`, the value that the app chose; write \
                           `… AND COLUMN = :value`";
            self.refuse(scope, 0, message);
        }
        if !shape.parameters.iter().any(|it| is_known(it)) {
            let message = format!(
                "[scope.{name}] chosen: asks for neither `:user` nor `:claim_NAME`, so every user \
                 may choose the same values"
            );
            self.warn(scope.query.place, message);
        }
        for table in &shape.scanned {
            let message = format!(
                "[scope.{name}] chosen: looks at all rows of `{table}` for each value that is \
                 chosen; make an index of the columns that it compares there"
            );
            self.warn(scope.query.place, message);
        }
    }

    fn refuse(&mut self, scope: &ScopeSection, at: usize, message: &str) {
        let place = scope.query.place_of(at);
        let name = &scope.name.value;
        let key = scope.key();
        self.wrong(place, format!("[scope.{name}] {key}: {message}"));
    }
}

fn is_known(parameter: &str) -> bool {
    parameter == ":user"
        || parameter
            .strip_prefix(CLAIM)
            .is_some_and(|name| !name.is_empty())
}

fn unknown_parameter(parameter: &str) -> String {
    let named = match parameter.strip_prefix(['@', '$', ':']) {
        Some("value") => "only a scope with `chosen` has one".to_owned(),
        Some(":user" | "user") => "write `:user`".to_owned(),
        Some(name) if name.starts_with("claim_") && name.len() > CLAIM.len() - 1 => {
            format!("write `:{name}`")
        }
        Some(name) => match suggestion(name, ["user", "claim_NAME"]) {
            near if near.starts_with("did you mean") => near,
            _ => "there is `:user`, and `:claim_NAME` for a claim of the token".to_owned(),
        },
        None => "parameters have names: `:user`, or `:claim_NAME` for a claim".to_owned(),
    };
    format!("the parameter `{parameter}` is unknown; {named}")
}
