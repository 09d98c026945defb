//! Requests that decide about changes that were not applied.

use afield::native::Client;
use afield::{Error, Resolution, Store};
use afield_protocol::{Attributes, Code, Entity};
use serde_json::{Value as Json, json};

use super::Answer;
use super::requests::{Request, malformed, object, text};
use crate::device::conflict_json;

pub(super) fn conflicts(client: &Client, _: &Request) -> Result<Answer, Error> {
    let mut store = client.store();
    let conflicts = store.conflicts()?;
    let model = store.model().ok();
    let conflicts = conflicts.iter().map(|it| conflict_json(model.as_ref(), it));
    Ok(object(
        json!({ "conflicts": conflicts.collect::<Vec<_>>() }),
    ))
}

pub(super) fn resolve(client: &Client, request: &Request) -> Result<Answer, Error> {
    let name = text(request, "conflict")?;
    let mut store = client.store();
    let resolution = match request.get("take") {
        Some(Json::String(word)) if word == "mine" => Resolution::Mine,
        Some(Json::String(word)) if word == "theirs" => Resolution::Theirs,
        Some(Json::Object(_)) => {
            Resolution::Merged(row(&mut store, name, request.get("take"), "take")?)
        }
        _ => {
            return Err(malformed(
                "take",
                "`mine`, `theirs`, or an object of values",
            ));
        }
    };
    Ok(match store.resolve(name, &resolution)? {
        Some(change) => object(json!({ "change": change })),
        None => Answer::new(),
    })
}

pub(super) fn retry(client: &Client, request: &Request) -> Result<Answer, Error> {
    let name = text(request, "change")?;
    let mut store = client.store();
    let set = match request.get("set") {
        None | Some(Json::Null) => None,
        values => Some(row(&mut store, name, values, "set")?),
    };
    store.retry(name, set.as_ref())?;
    Ok(Answer::new())
}

pub(super) fn drop_change(client: &Client, request: &Request) -> Result<Answer, Error> {
    let name = text(request, "change")?;
    client.store().drop_change(name)?;
    Ok(Answer::new())
}

pub(super) fn undo(client: &Client, request: &Request) -> Result<Answer, Error> {
    let name = text(request, "change")?;
    let taken_back = client.store().undo(name)?;
    Ok(object(json!({ "changes": taken_back })))
}

/// Values for the row of a change.
fn row(
    store: &mut Store,
    name: &str,
    values: Option<&Json>,
    field: &str,
) -> Result<Attributes, Error> {
    let entity = entity(store, name)?;
    super::steps::attributes(&entity, field, values)
}

fn entity(store: &mut Store, name: &str) -> Result<Entity, Error> {
    let changes = store.changes()?;
    let change = changes.iter().find(|change| change.change == name);
    let change = change.ok_or_else(|| {
        let message = format!("there is no change `{name}` on this device; `changes` lists them");
        Error::new(Code::UNKNOWN_CHANGE, message)
    })?;
    store.entity(&change.entity)
}
