//! Syncs that begin by themselves.

use afield::Error;
use afield::native::Client;
use afield::protocol::{RetryConfig, SyncConfig};
use serde_json::{Value as Json, json};

use super::Answer;
use super::requests::{Request, malformed, object, text};
use crate::device::{instant_after, network_json};

/// From now on, as the model says, or as this request does.
pub(super) fn start(client: &Client, request: &Request) -> Result<Answer, Error> {
    let of_model = client.model_sync_config()?;
    let flag = |name, else_| match request.get(name) {
        None => Ok(else_),
        Some(Json::Bool(is_on)) => Ok(*is_on),
        Some(_) => Err(malformed(name, "true or false")),
    };
    let config = SyncConfig {
        on_online: flag("on_online", of_model.on_online)?,
        on_login: flag("on_login", of_model.on_login)?,
        on_resume: flag("on_resume", of_model.on_resume)?,
        on_write_ms: milliseconds(request, "on_write_ms", of_model.on_write_ms)?,
        interval_ms: milliseconds(request, "interval_ms", of_model.interval_ms)?,
        retry: retry(request, of_model.retry)?,
        live: flag("live", of_model.live)?,
    };
    client.configure(config)?;
    let retry = config
        .retry
        .map(|retry| json!({ "first_ms": retry.first_ms, "longest_ms": retry.longest_ms }));
    Ok(object(json!({
        "on_online": config.on_online,
        "on_login": config.on_login,
        "on_resume": config.on_resume,
        "on_write_ms": config.on_write_ms,
        "interval_ms": config.interval_ms,
        "retry": retry,
        "live": config.live,
    })))
}

fn retry(request: &Request, else_: Option<RetryConfig>) -> Result<Option<RetryConfig>, Error> {
    let times = match request.get("retry") {
        None => return Ok(else_),
        Some(Json::Null) => return Ok(None),
        Some(Json::Object(times)) => times,
        Some(_) => {
            let expected = "{\"first_ms\":…,\"longest_ms\":…}, or null for never";
            return Err(malformed("retry", expected));
        }
    };
    let usual = else_.unwrap_or_default();
    let time = |name, else_| {
        let time = milliseconds(times, name, Some(else_))?;
        time.ok_or_else(|| malformed(name, "milliseconds"))
    };
    Ok(Some(RetryConfig {
        first_ms: time("first_ms", usual.first_ms)?,
        longest_ms: time("longest_ms", usual.longest_ms)?,
    }))
}

/// Another token for this user: what failed for want of it goes again.
pub(super) fn set_token(client: &Client, request: &Request) -> Result<Answer, Error> {
    client.set_token(text(request, "token")?, true)?;
    let status = client.store().status()?;
    Ok(object(json!({ "pending": status.pending + status.held })))
}

/// What an open client knows besides its store: whether a person must sign in, and when it
/// synchronises next.
pub(super) fn add_status(client: &Client, answer: &mut Answer) {
    answer.insert("network".into(), network_json(&client.network()));
    if client.needs_sign_in() {
        answer.insert("needs_sign_in".into(), true.into());
    }
    if let Some((after, why)) = client.next_sync() {
        let after = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
        answer.insert("next_attempt".into(), instant_after(after).into());
        answer.insert("next_attempt_by".into(), why.as_str().into());
    }
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
