//! Syncs that begin by themselves.

use afield::Error;
use afield::native::Client;
use afield::protocol::SyncConfig;
use serde_json::{Value as Json, json};

use super::Answer;
use super::requests::{Request, malformed, object};

/// From now on, as the model says, or as this request does.
pub(super) fn start(client: &Client, request: &Request) -> Result<Answer, Error> {
    let of_model = client.model_sync_config()?;
    let on_resume = match request.get("on_resume") {
        None => of_model.on_resume,
        Some(Json::Bool(is_on)) => *is_on,
        Some(_) => return Err(malformed("on_resume", "true or false")),
    };
    let config = SyncConfig {
        on_resume,
        on_write_ms: milliseconds(request, "on_write_ms", of_model.on_write_ms)?,
        interval_ms: milliseconds(request, "interval_ms", of_model.interval_ms)?,
        live: of_model.live,
    };
    client.configure(config)?;
    Ok(object(json!({
        "on_resume": config.on_resume,
        "on_write_ms": config.on_write_ms,
        "interval_ms": config.interval_ms,
    })))
}

fn milliseconds(request: &Request, name: &str, else_: Option<u64>) -> Result<Option<u64>, Error> {
    match request.get(name) {
        None => Ok(else_),
        Some(Json::Null) => Ok(None),
        Some(time) => match time.as_u64() {
            Some(time) => Ok(Some(time)),
            None => Err(malformed(name, "milliseconds, or null for never")),
        },
    }
}

/// No sync begins by itself any more.
pub(super) fn stop(client: &Client, _: &Request) -> Result<Answer, Error> {
    client.stop();
    Ok(Answer::new())
}

/// The app came to the front.
pub(super) fn resume(client: &Client, _: &Request) -> Result<Answer, Error> {
    client.resumed();
    Ok(Answer::new())
}

/// The app went to the back.
pub(super) fn suspend(client: &Client, _: &Request) -> Result<Answer, Error> {
    client.suspended();
    Ok(Answer::new())
}
