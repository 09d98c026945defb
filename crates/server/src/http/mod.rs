//! The wire: `POST /v1/sync`, `GET /v1/live`, `GET /v1/model`, `GET /v1/health`, `GET /v1/ping`,
//! and nothing else. Handlers are thin: they authenticate, decode, ask the storage on a thread that
//! may block, and encode.
//!
//! ```text
//!   body ──► request ──► storage.push ──► answer ──► (storage.pull ──► page)* ──► body
//!   every request: observe (one log line, panics become 500, headers that forbid caching)
//! ```
//!
//! The clock comes in with the state; nothing here reads it.

mod answer;
mod body;
mod coding;
mod compare;
mod intake;
mod limits;
mod live;
mod observe;
mod parts;
mod places;
mod problem;
mod rate;
mod request;
mod sync;
mod upgrade;

use std::sync::Arc;

use afield_protocol::Code;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use tokio::sync::Semaphore;

use crate::auth::{Auth, Claims};
use crate::live::Live;
use crate::resolved::ServerModel;
use crate::storage::{Purged, Retention, Storage, StorageError};
pub(crate) use limits::live_room;
pub use limits::{HttpLimits, LiveLimits};
use observe::Observed;
use places::Places;
use problem::Refusal;
use rate::Rates;

/// Seconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Everything a request needs; cheap to clone.
#[derive(Clone)]
pub struct ServerState(Arc<Inner>);

struct Inner {
    storage: Arc<dyn Storage>,
    model: ServerModel,
    model_json: String,
    fingerprint: String,
    auth: Auth,
    limits: HttpLimits,
    clock: Clock,
    places: Places,
    rates: Rates,
    live: Arc<Live>,
    upload_bytes: Arc<Semaphore>,
    /// Turns of large requests that are being decoded.
    decoding: Semaphore,
}

/// Large requests that are decoded at once: as many as a small server has processors.
const DECODING_MAX: usize = 2;

impl ServerState {
    /// A state that serves `model` from `storage`.
    pub fn new(
        storage: Arc<dyn Storage>,
        model: ServerModel,
        auth: Auth,
        limits: HttpLimits,
        clock: Clock,
    ) -> Self {
        let model_json = model.device.to_json();
        let fingerprint = model.device.fingerprint();
        let live = Live::new(&model, limits.live);
        Self(Arc::new(Inner {
            storage,
            model,
            model_json,
            fingerprint,
            auth,
            limits,
            clock,
            places: Places::new(&limits),
            rates: Rates::new(limits.device_rate),
            live: Arc::new(live),
            upload_bytes: Arc::new(Semaphore::new(limits.uploads_bytes)),
            decoding: Semaphore::new(DECODING_MAX),
        }))
    }

    /// Ends all live streams, and opens none from now on: they would keep a server that stops.
    pub fn end_live(&self) {
        self.0.live.stop();
    }

    /// Has at most so many live streams from now on.
    pub(crate) fn bound_live(&self, streams: usize) {
        self.0.live.bound(streams);
    }

    /// Whose request this is.
    fn authenticate(&self, headers: &HeaderMap, seen: &Observed) -> Result<Claims, Refusal> {
        let header = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let claims = self
            .0
            .auth
            .verify_header(header, (self.0.clock)())
            .map_err(|error| {
                Refusal::new(StatusCode::UNAUTHORIZED, Code::SIGN_IN, error.to_string())
            })?;
        seen.set_user(&claims.user);
        Ok(claims)
    }

    /// Takes a request from what this device may ask in a minute.
    fn admit(&self, user: &str, device: &str) -> Result<(), Refusal> {
        let taken = self.0.rates.take(user, device, (self.0.clock)());
        taken.map_err(|seconds| {
            let rate = self.0.limits.device_rate;
            let message = format!("a device asks {rate} times a minute at most; come back later");
            Refusal::too_often(message, seconds)
        })
    }

    /// Forgets what is older than the retention.
    ///
    /// # Errors
    /// The database failed, which the log says.
    pub(crate) async fn purge(&self, retention: Retention) -> Result<Purged, StorageError> {
        self.blocking(move |inner| inner.storage.purge(retention, &mut || true))
            .await
    }

    /// What must be done about once a second.
    ///
    /// # Errors
    /// The database failed, which the log says.
    pub(crate) async fn tend(&self) -> Result<Vec<String>, StorageError> {
        self.blocking(move |inner| inner.storage.tend()).await
    }

    /// Runs `work` on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T, StorageError> + Send + 'static,
    ) -> Result<T, StorageError> {
        let inner = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&inner)).await;
        let result = done.unwrap_or_else(|stopped| {
            Err(StorageError {
                code: Code::INTERNAL,
                message: format!("a storage call ended early: panic = {}", stopped.is_panic()),
                is_retryable: false,
            })
        });
        if let Err(StorageError {
            code,
            message,
            is_retryable,
        }) = &result
        {
            if *code == Code::HELD_WANTED {
                tracing::debug!(%message, "the device is asked what it has");
            } else if *is_retryable {
                tracing::warn!(%code, %message, "the storage could not answer now");
            } else {
                tracing::error!(%code, %message, "the storage failed");
            }
        }
        result
    }
}

/// The public routes.
pub fn router(state: ServerState) -> Router {
    Router::new()
        .route("/v1/sync", post(sync::sync))
        .route("/v1/live", get(live::live))
        .route("/v1/model", get(model))
        .route("/v1/health", get(health))
        .route("/v1/ping", get(ping))
        .method_not_allowed_fallback(wrong_method)
        .fallback(not_found)
        .layer(axum::middleware::from_fn(observe::observe))
        .with_state(state)
}

/// The model as devices know it.
async fn model(State(server): State<ServerState>, request: Request) -> Response {
    let seen = Observed::of(&request);
    if let Err(refusal) = server.authenticate(request.headers(), &seen) {
        return refusal.into_response();
    }
    let etag = format!("\"{}\"", server.0.fingerprint);
    let known = request.headers().get(header::IF_NONE_MATCH);
    let tag = HeaderValue::from_str(&etag).expect("a fingerprint is hexadecimal");
    let is_known = known
        .and_then(|known| known.to_str().ok())
        .is_some_and(|known| known.split(',').any(|one| one.trim() == etag));
    if is_known {
        return (StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response();
    }
    let json = HeaderValue::from_static("application/json");
    let headers = [(header::ETAG, tag), (header::CONTENT_TYPE, json)];
    (headers, server.0.model_json.clone()).into_response()
}

/// Whether this server and its database are alive.
async fn health(State(server): State<ServerState>) -> Response {
    match server.blocking(|inner| inner.storage.health()).await {
        Ok(()) => axum::Json(serde_json::json!({ "status": "ok" })).into_response(),
        Err(error) => Refusal::of_storage(&error).into_response(),
    }
}

/// Bytes of a nonce: enough that nobody answers it by chance, and no more than a probe needs.
const NONCE_BYTES: std::ops::RangeInclusive<usize> = 16..=64;

/// Gives a nonce back, so that a device knows that it reached this server and not a page that asks
/// for a password. It needs no token, which such a page must not see, and asks no database.
async fn ping(request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let nonce = query.strip_prefix("nonce=").filter(|nonce| {
        NONCE_BYTES.contains(&nonce.len()) && nonce.bytes().all(|it| it.is_ascii_alphanumeric())
    });
    match nonce {
        Some(nonce) => axum::Json(serde_json::json!({ "nonce": nonce })).into_response(),
        None => {
            let message = "a ping is /v1/ping?nonce=… with 16 to 64 letters or digits";
            Refusal::new(StatusCode::BAD_REQUEST, Code::MALFORMED, message).into_response()
        }
    }
}

async fn wrong_method() -> Response {
    let message = "this address is not asked with this method";
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        Code::UNKNOWN_REQUEST,
        message,
    )
    .into_response()
}

async fn not_found() -> Response {
    let message = "there is /v1/sync, /v1/live, /v1/model, /v1/health and /v1/ping";
    Refusal::new(StatusCode::NOT_FOUND, Code::UNKNOWN_REQUEST, message).into_response()
}
