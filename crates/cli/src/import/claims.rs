//! Claims of a token that nobody has shown.

use std::collections::BTreeSet;

use afield_protocol::Code;
use afield_server::resolved::{Holds, Scope, ServerModel};
use serde_json::{Map, Value as Json};

use crate::failure::Failure;

/// How a query names a claim.
const CLAIM: &str = ":claim_";

/// Refuses to go on while something depends on a claim of which nothing was said: without it rows
/// would be refused that the user may write.
pub(super) fn check(model: &ServerModel, given: &Map<String, Json>) -> Result<(), Failure> {
    let named = named(model);
    let missing: Vec<&String> = named.iter().filter(|it| !given.contains_key(*it)).collect();
    let Some(first) = missing.first() else {
        return Ok(());
    };
    let names: Vec<_> = missing.iter().map(|name| format!("`{name}`")).collect();
    let message = format!(
        "the model asks for the claim {} of the user's token: say what it is, as in \
         --claim '{first}=\"…\"', or {first}=null if he has none; nothing was imported",
        names.join(" and ")
    );
    Err(Failure::refused(Code::CLAIM_MISSING.as_str(), message))
}

/// The claims that decide about rows.
fn named(model: &ServerModel) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entity in &model.entities {
        let scopes = [
            Some(&entity.scope),
            entity.write.as_ref(),
            entity.write_to.as_ref(),
        ];
        for condition in scopes.into_iter().flatten().flat_map(Scope::conditions) {
            if let Holds::Claim(name) = &condition.holds {
                found.insert(name.clone());
            }
        }
    }
    for scope in &model.scopes {
        for rest in scope.query.split(CLAIM).skip(1) {
            let is_name = |c: &char| c.is_alphanumeric() || *c == '_';
            found.insert(rest.chars().take_while(is_name).collect());
        }
    }
    found
}
