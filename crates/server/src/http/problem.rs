//! Refusals as problem documents (RFC 9457) with the stable code.

use afield_protocol::{Code, Problem};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::storage::StorageError;

/// Seconds after which a busy server is worth asking again.
const RETRY_AFTER_S: u32 = 5;

/// Why a request is not answered.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) problem: Problem,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, code: Code, message: impl Into<String>) -> Self {
        Self {
            status,
            problem: Problem {
                code,
                message: message.into(),
            },
        }
    }

    /// Come back a little later.
    pub(super) fn busy() -> Self {
        let message = "the server has too much to do; come back a little later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, Code::BUSY, message)
    }

    /// The message is for devices: what the storage says stays in the log.
    pub(super) fn of_storage(error: &StorageError) -> Self {
        let status = if error.is_retryable {
            StatusCode::SERVICE_UNAVAILABLE
        } else {
            StatusCode::INTERNAL_SERVER_ERROR
        };
        Self {
            status,
            problem: storage_problem(error),
        }
    }
}

/// What a device is told of a failed storage.
pub(super) fn storage_problem(error: &StorageError) -> Problem {
    let message = if error.is_retryable {
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
        let Self { status, problem } = self;
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
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER_S.into());
        }
        response
    }
}
