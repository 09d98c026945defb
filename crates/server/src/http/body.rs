//! Bodies: pieces of a request as they come, and an answer that is made while it is sent.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame};
use tokio::sync::mpsc;

/// The next piece of a body; `None` at its end.
pub(super) async fn next_piece(body: &mut Body) -> Option<Result<Bytes, axum::Error>> {
    loop {
        match std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await? {
            Err(error) => return Some(Err(error)),
            Ok(frame) => {
                // Trailers say nothing here.
                if let Ok(piece) = frame.into_data() {
                    return Some(Ok(piece));
                }
            }
        }
    }
}

/// A body whose pieces come through a channel. It breaks off with an error unless its last piece
/// is [`Piece::End`]: a receiver must be able to tell a whole answer from half of one.
pub(super) struct Streamed(pub(super) mpsc::Receiver<Piece>);

/// What comes through the channel.
pub(super) enum Piece {
    /// Some bytes.
    Bytes(Bytes),
    /// All bytes have come.
    End,
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        self.0.poll_recv(cx).map(|piece| match piece {
            Some(Piece::Bytes(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Piece::End) => None,
            None => Some(Err(std::io::ErrorKind::BrokenPipe.into())),
        })
    }
}
