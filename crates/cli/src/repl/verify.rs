//! Requests about whether the device has exactly the server's rows.

use std::time::Duration;

use afield::Error;
use afield::native::{Client, VerifyOptions};
use serde_json::{Value as Json, json};

use super::Answer;
use super::requests::{Request, malformed, object, text};
use crate::device::{self, uncaptured_json, verify_json};

pub(super) fn verify(client: &Client, request: &Request) -> Result<Answer, Error> {
    let options = VerifyOptions {
        unit: match request.get("unit") {
            None | Some(Json::Null) => None,
            Some(_) => Some(text(request, "unit")?.to_owned()),
        },
        repair: match request.get("repair") {
            None | Some(Json::Null) => false,
            Some(Json::Bool(repair)) => *repair,
            Some(_) => return Err(malformed("repair", "true or false")),
        },
        deadline: deadline(request)?,
    };
    let told = device::verify(client, &options)?;
    let model = client.store().model().ok();
    Ok(object(verify_json(model.as_ref(), &told)))
}

pub(super) fn uncaptured(client: &Client, _: &Request) -> Result<Answer, Error> {
    let mut store = client.store();
    let rows = store.uncaptured()?;
    let model = store.model().ok();
    let rows = uncaptured_json(model.as_ref(), &rows);
    Ok(object(json!({ "uncaptured": rows })))
}

/// `timeout_s` of a request.
pub(super) fn deadline(request: &Request) -> Result<Option<Duration>, Error> {
    seconds(request, "timeout_s")
}

/// A time in seconds, if the request has one under this name.
pub(super) fn seconds(request: &Request, name: &str) -> Result<Option<Duration>, Error> {
    match request.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(seconds) => {
            let seconds = seconds.as_f64().filter(|seconds| *seconds > 0.0);
            let deadline = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
            let deadline = deadline.ok_or_else(|| malformed(name, "a number of seconds"))?;
            Ok(Some(deadline))
        }
    }
}
