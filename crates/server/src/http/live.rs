//! `GET /v1/live`: a stream of server-sent events, and the one who looks for all streams.

use std::sync::Arc;
use std::time::Duration;

use afield_protocol::Code;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use tokio::time::Instant;

use super::ServerState;
use super::observe::Observed;
use super::problem::{RETRY_AFTER_S, Refusal};
use super::upgrade;
use crate::live::{Full, Listener};
use crate::resolved::ServerModel;
use crate::storage::{Caller, StorageError};

/// Between two looks however many people come, and part of the time that looks may take: the next
/// one waits nine times as long as the last one took.
const LOOKS_APART: Duration = Duration::from_millis(50);
const LOOKS_SHARE: u32 = 9;

/// Opens a stream.
pub(super) async fn live(State(server): State<ServerState>, request: Request) -> Response {
    let seen = Observed::of(&request);
    match open(&server, request.headers(), request.uri(), &seen) {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

fn open(
    server: &ServerState,
    headers: &HeaderMap,
    uri: &Uri,
    seen: &Observed,
) -> Result<Response, Refusal> {
    let claims = server.authenticate(headers, seen)?;
    upgrade::refuse_too_old_listener(server, headers)?;
    let units = units(&server.0.model, uri.query().unwrap_or_default())?;
    let ends_s = claims.ends_s();
    let listener = Listener {
        caller: Caller::from(claims),
        units,
        ends_s,
    };
    let (body, is_first) = server.0.live.open(listener).map_err(|full| match full {
        Full::Server => Refusal::busy(),
        Full::User => {
            let most = server.0.live.limits().streams_of_user;
            let message = format!("{most} live streams of this user are open, as many as may be");
            Refusal::too_often(message, RETRY_AFTER_S)
        }
    })?;
    if is_first {
        tokio::spawn(look(server.clone()));
    }
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    let media_type = HeaderValue::from_static("text/event-stream");
    headers.insert(header::CONTENT_TYPE, media_type);
    // Proxies that gather answers would keep every event back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// The places of the units that a query names; all, if it names none.
fn units(model: &ServerModel, query: &str) -> Result<Arc<[usize]>, Refusal> {
    let units = &model.device.units;
    let mut places = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        // What else stands there may mean something to a later server.
        let Some(name) = part.strip_prefix("unit=") else {
            continue;
        };
        let place = decoded(name).and_then(|name| units.iter().position(|unit| unit.name == name));
        places.push(place.ok_or_else(|| {
            let message = "the model has no sync unit of one of these names";
            Refusal::new(StatusCode::BAD_REQUEST, Code::UNKNOWN_UNIT, message)
        })?);
    }
    if places.is_empty() {
        places.extend(0..units.len());
    }
    places.sort_unstable();
    places.dedup();
    Ok(places.into())
}

/// A value of a query without its `%41` and `+`; `None` if it is none.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut found = Vec::new();
    while let Some(byte) = bytes.next() {
        found.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(found).ok()
}

/// Looks at the database as long as anybody listens, for all of them.
async fn look(server: ServerState) {
    let live = Arc::clone(&server.0.live);
    let poll = live.limits().poll;
    while let Some((since, watched)) = live.begin_look() {
        let began = Instant::now();
        let asks = Arc::clone(&live);
        let looked = server.blocking(move |inner| {
            let mut asked = |touched: &_| asks.asked(touched);
            let (storage, model) = (&inner.storage, &inner.model);
            storage.look(model, since.as_ref(), &watched, &mut asked)
        });
        let mut looked = std::pin::pin!(looked);
        // Whatever the database does, tokens end and connections are kept.
        let found: Result<_, StorageError> = loop {
            match tokio::time::timeout(poll, &mut looked).await {
                Ok(found) => break found,
                Err(_) => live.tick((server.0.clock)()),
            }
        };
        let took = began.elapsed();
        let pause = match found {
            Ok(found) => {
                live.tell(found);
                LOOKS_APART.max(took.saturating_mul(LOOKS_SHARE))
            }
            Err(error) => {
                live.failed(&error);
                poll
            }
        };
        live.tick((server.0.clock)());
        live.wait(pause.min(poll * LOOKS_SHARE), poll).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_of_a_query_is_decoded() {
        for (text, expected) in [
            ("main", Some("main")),
            ("two+words", Some("two words")),
            ("%c3%bc", Some("ü")),
            ("%C3%BC%26", Some("ü&")),
            ("%c3", None),
            ("%c", None),
            ("%", None),
            ("%zz", None),
            ("%+1", None),
            ("", Some("")),
        ] {
            assert_eq!(decoded(text).as_deref(), expected, "{text}");
        }
    }
}
