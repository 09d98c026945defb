//! Answers that are none: a problem document (RFC 9457), or whatever a proxy says instead.

use std::io::Read as _;

use afield_protocol::Code;
use ureq::{Body, http};

use super::address::Address;
use crate::engine::Failure;
use crate::retry::RETRY_AFTER_MAX_MS;

/// A problem document is a few lines.
const PROBLEM_BYTES: u64 = 64 * 1024;

/// Reads an answer whose status says that it is no answer.
pub(super) fn read(address: &Address, response: http::Response<Body>) -> Failure {
    let status = response.status().as_u16();
    let header = |name: &str| {
        let value = response.headers().get(name)?.to_str().ok()?;
        Some(value.to_owned())
    };
    let retry_after_ms = header("retry-after").as_deref().and_then(retry_after);
    let location = header("location");
    // A gateway that looks at tokens itself says so (RFC 6750, section 3).
    let wants_token = status == 401
        && header("www-authenticate")
            .is_some_and(|scheme| scheme.to_ascii_lowercase().contains("bearer"));
    let mut text = Vec::new();
    // What cannot be read is only missing from the message.
    let _ = response
        .into_body()
        .into_reader()
        .take(PROBLEM_BYTES)
        .read_to_end(&mut text);
    let document = document(&text);
    let is_the_servers = document.is_some();
    let (code, message) = document.unwrap_or_else(|| {
        let address = address.as_str();
        let message = match location {
            Some(to) if (300..400).contains(&status) => format!(
                "{address} redirects to {to}, which is not followed; if that is the server, give \
                 its address"
            ),
            _ => format!("{address} answers with HTTP status {status}"),
        };
        match wants_token {
            true => (Code::SIGN_IN, message),
            false => (by_status(status), message),
        }
    });
    Failure {
        code,
        message,
        status: Some(status),
        retry_after_ms,
        is_the_servers,
    }
}

/// The pause that a header asks for, in milliseconds.
pub(super) fn retry_after(header: &str) -> Option<i64> {
    let seconds: i64 = header.trim().parse().ok()?;
    Some(seconds.max(0).saturating_mul(1_000).min(RETRY_AFTER_MAX_MS))
}

fn document(text: &[u8]) -> Option<(Code, String)> {
    let json: serde_json::Value = serde_json::from_slice(text).ok()?;
    let code = json.get("code")?.as_str()?;
    let word = |name: &str| json.get(name).and_then(serde_json::Value::as_str);
    let message = word("detail").or(word("title")).unwrap_or(code);
    Some((Code::parse(code), message.to_owned()))
}

/// The code for a status without a document of ours.
fn by_status(status: u16) -> Code {
    match status {
        408 => Code::TIMEOUT,
        413 => Code::TOO_LARGE,
        429 | 503 => Code::BUSY,
        500 | 501 => Code::INTERNAL,
        // No Afield server answers so: it is not there, or something stands before it. A 401
        // too, which a page that asks for a password may give: nobody need sign in to us for that.
        _ => Code::UNREACHABLE,
    }
}
