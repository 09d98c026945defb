//! Requests about values of scopes that are chosen.

use afield::native::Client;
use afield::{Error, Store};
use afield_protocol::codec::json;
use afield_protocol::{Code, Value};
use serde_json::{Value as Json, json};

use super::Answer;
use super::requests::{Request, malformed, object, text};
use crate::device::chosen_json;

pub(super) fn choose(client: &Client, request: &Request) -> Result<Answer, Error> {
    let scope = text(request, "scope")?;
    let mut store = client.store();
    let value = value(&mut store, scope, request)?;
    store.choose(scope, value)?;
    Ok(Answer::new())
}

pub(super) fn unchoose(client: &Client, request: &Request) -> Result<Answer, Error> {
    let scope = text(request, "scope")?;
    let mut store = client.store();
    let value = value(&mut store, scope, request)?;
    let was_chosen = store.unchoose(scope, value)?;
    Ok(object(json!({ "unchosen": was_chosen })))
}

pub(super) fn chosen(client: &Client, request: &Request) -> Result<Answer, Error> {
    let scope = match request.get("scope") {
        None | Some(Json::Null) => None,
        Some(_) => Some(text(request, "scope")?),
    };
    let mut store = client.store();
    let chosen = store.chosen(scope)?;
    let model = store.model().ok();
    Ok(object(chosen_json(model.as_ref(), &chosen)))
}

/// The value by the type of its scope; the store refuses what is unknown.
fn value(store: &mut Store, scope: &str, request: &Request) -> Result<Value, Error> {
    let value = request.get("value");
    let value = value.ok_or_else(|| malformed("value", "a value of the scope"))?;
    let model = store.model()?;
    let read = match model.chosen(scope) {
        Some(scope) => json::to_value(scope.kind, value),
        None => json::to_untyped(value),
    };
    read.map_err(|error| {
        Error::new(
            Code::TYPE_MISMATCH,
            format!("a value of the scope `{scope}` {error}"),
        )
    })
}
