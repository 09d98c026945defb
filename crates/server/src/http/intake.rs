//! A request's body as it comes: in time, unpacked step by step, never more than the limits say.

use std::sync::Arc;
use std::time::Duration;

use afield_protocol::Code;
use afield_protocol::codec::Format;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use tokio::time::{Instant, timeout_at};

use super::body::next_piece;
use super::coding::{Coding, Unpacker};
use super::limits::is_plausible;
use super::problem::Refusal;
use super::request::{Decoder, SyncRequest, malformed};
use super::{HttpLimits, ServerState};

/// Bytes that are decoded where they are: more could hold up other devices' requests, and go to a
/// thread of their own.
const INLINE_BYTES: usize = 64 * 1024;

/// How long a device that was refused may go on sending, at most.
const DISCARD_TIME: Duration = Duration::from_secs(5);

/// Reads the body to its end and decodes it as it comes; `admit` is asked once, when it is known
/// which device asks.
pub(super) async fn read(
    body: &mut Body,
    headers: &HeaderMap,
    (format, coding): (Format, Coding),
    server: &ServerState,
    admit: impl Fn(&str) -> Result<(), Refusal>,
) -> Result<SyncRequest, Refusal> {
    let limits = &server.0.limits;
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok());
    let announced: Option<usize> = announced.and_then(|length| length.parse().ok());
    if announced.is_some_and(|length| length > limits.body_bytes) {
        return Err(too_large(limits));
    }
    let mut intake = Intake {
        server,
        unpacker: Unpacker::new(coding).map_err(|_| Refusal::busy())?,
        decoder: Some(Decoder::new(format, limits)),
        packed: 0,
        unpacked: 0,
        is_admitted: false,
    };
    let mut clock = Clock::new(limits);
    while let Some(piece) = clock.next(body).await? {
        let piece = piece.map_err(|_| malformed("the connection ended inside the request"))?;
        intake.take(&piece, &admit).await?;
    }
    intake.finish()
}

/// Takes what is left of a body and drops it, within bounds: a device that is still sending
/// would otherwise find the connection closed instead of the answer.
pub(super) async fn discard(body: &mut Body, headers: &HeaderMap, limits: &HttpLimits) {
    if headers.contains_key(header::EXPECT) {
        // The device waits to be asked for the body.
        return;
    }
    let rest = async {
        let mut size = 0;
        while let Some(Ok(piece)) = next_piece(body).await {
            size += piece.len();
            if size > limits.body_bytes {
                break;
            }
        }
    };
    // Whatever has not come by then is not waited for.
    let _ = tokio::time::timeout(limits.idle.min(DISCARD_TIME), rest).await;
}

/// When the next piece must have come, and the whole body.
struct Clock<'l> {
    limits: &'l HttpLimits,
    end: Instant,
}

impl<'l> Clock<'l> {
    fn new(limits: &'l HttpLimits) -> Self {
        Self {
            limits,
            end: Instant::now() + limits.body_time,
        }
    }

    async fn next(
        &mut self,
        body: &mut Body,
    ) -> Result<Option<Result<bytes::Bytes, axum::Error>>, Refusal> {
        let idle = Instant::now() + self.limits.idle;
        let is_last_call = self.end < idle;
        timeout_at(idle.min(self.end), next_piece(body))
            .await
            .map_err(|_| match is_last_call {
                true => too_slow(format!(
                    "the request did not come within {:?}; send less at once",
                    self.limits.body_time
                )),
                false => too_slow(format!(
                    "no byte of the request came for {:?}",
                    self.limits.idle
                )),
            })
    }
}

/// What has come of a body.
struct Intake<'s> {
    server: &'s ServerState,
    unpacker: Unpacker,
    /// Gone only while it works on another thread.
    decoder: Option<Decoder>,
    packed: usize,
    unpacked: usize,
    is_admitted: bool,
}

impl Intake<'_> {
    async fn take(
        &mut self,
        piece: &[u8],
        admit: &impl Fn(&str) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let limits = &self.server.0.limits;
        self.packed += piece.len();
        let mut piece = piece;
        while !self.unpacker.is_through(piece.len()) {
            let step = self
                .unpacker
                .step(&mut piece)
                .map_err(|_| not_packed_so())?;
            self.unpacked += step.len();
            if self.unpacked > limits.body_bytes {
                return Err(too_large(limits));
            }
            if !is_plausible(self.packed, self.unpacked, limits.ratio) {
                return Err(too_compressed(limits));
            }
            self.decode(step).await?;
            if !self.is_admitted
                && let Some(device) = self.decoder.as_ref().and_then(Decoder::device)
            {
                admit(device)?;
                self.is_admitted = true;
            }
        }
        Ok(())
    }

    async fn decode(&mut self, step: Vec<u8>) -> Result<(), Refusal> {
        let Some(mut decoder) = self.decoder.take() else {
            return Err(malformed("the request could not be read further"));
        };
        let server = self.server.clone();
        let work = move || {
            let room = &server.0.upload_bytes;
            let result = decoder.push(&step, &server.0.model.device, room);
            (decoder, result)
        };
        let (decoder, result) = match self.unpacked <= INLINE_BYTES {
            true => work(),
            false => {
                // What a frame becomes is many times what it was, for a moment.
                let _turn = self.server.0.decoding.acquire().await;
                tokio::task::spawn_blocking(work)
                    .await
                    .map_err(|_| malformed("the request could not be read"))?
            }
        };
        self.decoder = Some(decoder);
        result
    }

    fn finish(mut self) -> Result<SyncRequest, Refusal> {
        self.unpacker.finish().map_err(|_| not_packed_so())?;
        let server = &self.server.0;
        let decoder = self.decoder.take();
        decoder
            .ok_or_else(|| malformed("the request could not be read"))?
            .finish(&server.model.device, &Arc::clone(&server.upload_bytes))
    }
}

fn too_large(limits: &HttpLimits) -> Refusal {
    let message = format!(
        "the body is larger than {} bytes; send less at once",
        limits.body_bytes
    );
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, Code::TOO_LARGE, message)
}

fn too_compressed(limits: &HttpLimits) -> Refusal {
    let message = format!(
        "the body is more than {} times as long as it came; send less at once, or as it is",
        limits.ratio
    );
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, Code::TOO_COMPRESSED, message)
}

fn too_slow(message: String) -> Refusal {
    Refusal::new(StatusCode::REQUEST_TIMEOUT, Code::TIMEOUT, message)
}

fn not_packed_so() -> Refusal {
    malformed("the body is not packed as its Content-Encoding says")
}
