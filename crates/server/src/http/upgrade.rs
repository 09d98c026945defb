//! Devices whose model is not the server's: which are too old, and which could not take it.

use afield_protocol::{Code, Hello, MODEL_VERSION_HEADER, UPGRADE_FAILED_HEADER};
use axum::http::{HeaderMap, StatusCode};

use super::ServerState;
use super::problem::Refusal;

/// Longest note of a failed upgrade that goes to the log: a fingerprint and a code.
const NOTE_BYTES: usize = 80;

/// Says in the log that a device could not take a model. Devices tell it once.
pub(super) fn note_failed(headers: &HeaderMap, user: &str) {
    if let Some((model, cause)) = failed(headers) {
        tracing::warn!(
            user,
            model,
            cause,
            "a device could not take the model and goes on with its old one"
        );
    }
}

/// The model and the cause that a device names, if they look like such.
fn failed(headers: &HeaderMap) -> Option<(&str, &str)> {
    let note = headers.get(UPGRADE_FAILED_HEADER)?.to_str().ok()?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b' ';
    let note = Some(note).filter(|note| note.len() <= NOTE_BYTES && note.bytes().all(is_plain));
    note?.split_once(' ')
}

/// Refuses a device whose model is older than the team still serves. Nothing of its request is
/// applied; its changes stay on it until it has a newer model.
pub(super) fn refuse_too_old(
    server: &ServerState,
    headers: &HeaderMap,
    hello: &Hello,
) -> Result<(), Refusal> {
    match hello.model == server.0.fingerprint {
        true => Ok(()),
        false => refuse_too_old_listener(server, headers),
    }
}

/// The same of a device that only listens: it says no fingerprint.
pub(super) fn refuse_too_old_listener(
    server: &ServerState,
    headers: &HeaderMap,
) -> Result<(), Refusal> {
    let least = server.0.limits.model_version_min;
    if least <= 1 {
        return Ok(());
    }
    let version = headers
        .get(MODEL_VERSION_HEADER)
        .and_then(|value| value.to_str().ok())
        .and_then(|version| version.parse::<u32>().ok());
    if version.is_some_and(|version| version >= least) {
        return Ok(());
    }
    let has = match version {
        Some(version) => format!("version {version}"),
        None => "a version that it does not say".to_owned(),
    };
    let message = format!(
        "the device's model has {has}, and the server takes {least} or newer; nothing was applied \
         and nothing on the device is lost"
    );
    let status = StatusCode::UPGRADE_REQUIRED;
    Err(Refusal::new(status, Code::UPDATE_REQUIRED, message))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_what_looks_like_a_note_goes_to_the_log() {
        let said = |note: &str| {
            let mut headers = HeaderMap::new();
            let note = HeaderValue::from_str(note).unwrap();
            headers.insert(UPGRADE_FAILED_HEADER, note);
            failed(&headers).map(|(model, cause)| (model.to_owned(), cause.to_owned()))
        };
        let noted = Some(("0123abcd".to_owned(), "store-full".to_owned()));
        assert_eq!(said("0123abcd store-full"), noted);
        assert_eq!(said("0123abcd"), None);
        assert_eq!(said("a b\u{7c}c"), None);
        assert_eq!(said(&format!("a {}", "b".repeat(80))), None);
        assert_eq!(failed(&HeaderMap::new()), None);
    }
}
