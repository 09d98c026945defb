//! One stream: what is to be sent, and the body that sends it. A stream has no task and no timer of
//! its own.

use std::fmt::Write as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use afield_protocol::Code;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use serde_json::json;

use super::Live;

/// Bytes that wait for a device before it is given up: by then the connection's own room is full.
const WAITING_MAX: usize = 4 * 1024;

/// What the body and the hub share.
#[derive(Debug, Default)]
pub(super) struct Shared(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Since when they wait.
    since_ms: u64,
    end: End,
    waker: Option<Waker>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    /// When everything is sent.
    Proper,
    /// At once, and not as a whole answer.
    Broken,
}

impl Shared {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends an event. False if the device takes nothing: it is given up.
    pub(super) fn send(&self, event: &str, now_ms: u64) -> bool {
        let mut waiting = self.waiting();
        if waiting.bytes.len() + event.len() > WAITING_MAX {
            waiting.close(End::Broken);
            return false;
        }
        if waiting.bytes.is_empty() {
            waiting.since_ms = now_ms;
        }
        waiting.bytes.extend_from_slice(event.as_bytes());
        waiting.wake();
        true
    }

    /// Ends the stream behind what is to be sent.
    pub(super) fn end(&self, code: &Code) {
        let mut waiting = self.waiting();
        let event = event("end", &json!({ "code": code.as_str() }));
        waiting.bytes.extend_from_slice(event.as_bytes());
        waiting.close(End::Proper);
    }

    /// Gives the stream up if something has waited since before this.
    pub(super) fn gives_up(&self, before_ms: u64) -> bool {
        let mut waiting = self.waiting();
        let is_stalled = !waiting.bytes.is_empty() && waiting.since_ms < before_ms;
        if is_stalled {
            waiting.close(End::Broken);
        }
        is_stalled
    }
}

#[cfg(feature = "conformance")]
impl Shared {
    /// What would be sent, and whether the stream is over then.
    pub(super) fn taken(&self) -> (String, bool) {
        let mut waiting = self.waiting();
        let bytes = std::mem::take(&mut waiting.bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        (text, waiting.end != End::Open)
    }
}

impl Waiting {
    fn close(&mut self, end: End) {
        self.end = end;
        self.wake();
    }

    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// An event as it is sent.
pub(super) fn event(name: &str, data: &serde_json::Value) -> String {
    let mut text = String::new();
    // Writing into a string cannot fail.
    let _ = write!(text, "event: {name}\ndata: {data}\n\n");
    text
}

/// A comment: a sign that the connection is alive, and of nothing else.
pub(super) const COMMENT: &str = ":\n\n";

/// The body of a stream. When it is dropped the stream is over.
pub(crate) struct StreamBody {
    live: Arc<Live>,
    id: u64,
    shared: Arc<Shared>,
}

impl StreamBody {
    pub(super) fn new(live: Arc<Live>, id: u64, shared: Arc<Shared>) -> Self {
        Self { live, id, shared }
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        self.live.close(self.id);
    }
}

impl HttpBody for StreamBody {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let mut waiting = self.shared.waiting();
        if waiting.end == End::Broken {
            return Poll::Ready(Some(Err(std::io::ErrorKind::BrokenPipe.into())));
        }
        if !waiting.bytes.is_empty() {
            let bytes = std::mem::take(&mut waiting.bytes);
            return Poll::Ready(Some(Ok(Frame::data(bytes.into()))));
        }
        if waiting.end == End::Proper {
            return Poll::Ready(None);
        }
        waiting.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p9_who_takes_nothing_is_given_up_and_holds_little() {
        let shared = Shared::default();
        let event = event("alive", &json!({}));
        let mut sent = 0;
        while shared.send(&event, 7) {
            sent += event.len();
            assert!(sent <= WAITING_MAX);
        }
        assert_eq!(shared.waiting().end, End::Broken);
        assert!(shared.waiting().bytes.len() <= WAITING_MAX);
    }

    #[test]
    fn p9_what_waits_for_too_long_is_given_up() {
        let shared = Shared::default();
        assert!(!shared.gives_up(1_000), "nothing waits");
        assert!(shared.send(COMMENT, 10));
        assert!(shared.send(COMMENT, 20));
        assert!(!shared.gives_up(10), "not so long");
        assert!(shared.gives_up(11), "the first counts");
        assert_eq!(shared.waiting().end, End::Broken);
    }
}
