//! What happens while the device synchronises, and waiting for it.

use afield::Error;
use afield::native::Client;
use serde_json::{Value as Json, json};

use super::Answer;
use super::requests::{Request, malformed, object, text};
use super::verify::deadline;
use crate::device::{change_json, event_json};

/// The events behind a number, waited for if so asked.
pub(super) fn events(client: &Client, request: &Request) -> Result<Answer, Error> {
    let since = match request.get("since") {
        None | Some(Json::Null) => 0,
        Some(n) => n
            .as_u64()
            .ok_or_else(|| malformed("since", "an event's number"))?,
    };
    let events = client.events_since(since, deadline(request)?);
    let model = client.store().model().ok();
    let events = events.iter().map(|it| event_json(model.as_ref(), it));
    Ok(object(json!({ "events": events.collect::<Vec<_>>() })))
}

/// Waits until a change has its outcome.
pub(super) fn wait(client: &Client, request: &Request) -> Result<Answer, Error> {
    let change = client.wait(text(request, "change")?, deadline(request)?)?;
    let model = client.store().model().ok();
    Ok(object(change_json(model.as_ref(), &change)))
}
