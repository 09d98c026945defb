//! Around every request: one log line without row values or tokens, panics become 500, and
//! headers that keep answers out of caches.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use afield_protocol::Code;
use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use super::problem::Refusal;

/// What a request turns out to be, for its log line.
#[derive(Clone, Debug, Default)]
pub(super) struct Observed(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    user: OnceLock<String>,
    groups: AtomicUsize,
    rows: AtomicUsize,
}

impl Observed {
    /// The one that [`observe`] laid beside this request.
    pub(super) fn of(request: &Request) -> Self {
        request
            .extensions()
            .get::<Self>()
            .cloned()
            .unwrap_or_default()
    }

    pub(super) fn set_user(&self, user: &str) {
        // Set once: a request has one user.
        let _ = self.0.user.set(user.to_owned());
    }

    pub(super) fn add_groups(&self, groups: usize) {
        self.0.groups.fetch_add(groups, Ordering::Relaxed);
    }

    pub(super) fn add_rows(&self, rows: usize) {
        self.0.rows.fetch_add(rows, Ordering::Relaxed);
    }
}

/// The middleware.
pub(super) async fn observe(mut request: Request, next: Next) -> Response {
    let seen = Observed::default();
    request.extensions_mut().insert(seen.clone());
    let mut line = Line {
        method: request.method().clone(),
        // The route, not the path: a mistaken client may put anything there, a token too.
        path: request.extensions().get::<MatchedPath>().cloned(),
        started: Instant::now(),
        status: None,
        seen,
        bytes: 0,
        is_whole: false,
    };
    // In a task of its own, so that a panic ends the request and nothing else.
    let response = tokio::spawn(next.run(request)).await.unwrap_or_else(|_| {
        tracing::error!("a handler panicked");
        let message = "the server failed; its log says why";
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, Code::INTERNAL, message).into_response()
    });
    let (mut parts, body) = response.into_parts();
    let headers = &mut parts.headers;
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    line.status = Some(parts.status);
    line.is_whole = body.is_end_stream();
    Response::from_parts(parts, Body::new(Logged { body, line }))
}

/// Logged when it is dropped: the answer has been sent, or given up.
struct Line {
    method: Method,
    path: Option<MatchedPath>,
    started: Instant,
    /// None where the device went away before there was one.
    status: Option<StatusCode>,
    seen: Observed,
    bytes: usize,
    is_whole: bool,
}

impl Drop for Line {
    fn drop(&mut self) {
        let counts = &self.seen.0;
        tracing::info!(
            method = %self.method,
            path = self.path.as_ref().map_or("unknown", MatchedPath::as_str),
            status = self.status.map(|status| status.as_u16()),
            user = ?counts.user.get(),
            groups = counts.groups.load(Ordering::Relaxed),
            rows = counts.rows.load(Ordering::Relaxed),
            bytes = self.bytes,
            whole = self.is_whole,
            ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "request"
        );
    }
}

/// A body that counts for its line.
struct Logged {
    body: Body,
    line: Line,
}

impl HttpBody for Logged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.line.bytes += frame.data_ref().map_or(0, Bytes::len);
                self.line.is_whole = self.body.is_end_stream();
            }
            Poll::Ready(None) => self.line.is_whole = true,
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
