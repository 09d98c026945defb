//! Refusals as problem documents (RFC 9457) with the stable code.

use afield_protocol::{Code, Problem};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::coding;
use crate::storage::StorageError;

/// Seconds after which a busy server is worth asking again.
pub(super) const RETRY_AFTER_S: u32 = 5;

/// Why a request is not answered.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) problem: Problem,
    /// After how many seconds it is worth asking again, if that is not said by the status.
    retry_after_s: Option<u32>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        Self {
            status,
            problem: Problem {
                code,
                message: message.into(),
            },
            retry_after_s: (status == StatusCode::SERVICE_UNAVAILABLE).then_some(RETRY_AFTER_S),
        }
    }

    /// Come back a little later.
    pub(super) fn busy() -> Self {
        let message = "the server has too much to do; come back a little later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::BUSY, message)
    }

    /// Come back after so many seconds.
    pub(super) fn too_often(message: impl Into<String>, seconds: u32) -> Self {
        Self {
            retry_after_s: Some(seconds.max(1)),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, Code::TOO_OFTEN, message)
        }
    }

    /// The message is for devices: what the storage says stays in the log.
    pub(super) fn of_storage(error: &StorageError) -> Self {
        let status = if error.code == Code::TOO_MANY_VALUES {
            StatusCode::FORBIDDEN
        } else if error.is_retryable {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        };
        let Problem { code, message } = storage_problem(error);
        Self::new(status, code, message)
    }
}

/// What a device is told of a failed storage.
pub(super) fn storage_problem(error: &StorageError) -> Problem {
    let message = if error.code == Code::TOO_MANY_VALUES {
        "this user holds more values of a scope than the server looks up; changes are kept"
    } else if error.is_retryable {
        "the server cannot answer now; changes are kept, try again"
    } else {
        "the server failed; its log says why"
    };
    Problem {
        code: error.code.clone(),
        message: message.to_owned(),
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self {
            status,
            problem,
            retry_after_s,
        } = self;
        let document = json!({
            "type": "about:blank",
            "title": status.canonical_reason().unwrap_or("Refused"),
            "status": status.as_u16(),
            "code": problem.code.as_str(),
            "detail": problem.message,
        });
        let mut response = (status, document.to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if problem.code == Code::UNKNOWN_CODING {
            let accepted = HeaderValue::from_static(coding::ACCEPTED);
            headers.insert(header::ACCEPT_ENCODING, accepted);
        }
        response
    }
}
