//! Requests: blocking HTTP on a thread of its own for each request, whose answer arrives through
//! a channel. So a sync can be cancelled, or reach its deadline, whatever the network is doing.
//!
//! There is no limit to how long an answer takes, only to how long nothing comes of it.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use afield_protocol::codec::Format;
use afield_protocol::{Code, DeviceLimits, MODEL_VERSION_HEADER};
use ureq::config::Config;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{Connector as _, TcpConnector};
use ureq::{Agent, Body, Timeout, http};

use super::address::Address;
use super::packed::Unpacker;
use super::problem;
use super::tls::TlsConnector;
use crate::engine::Failure;
use crate::error::Error;
use crate::live::Closed;

/// Bytes of an answer handed over at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Largest model that is read: a model of ten thousand attributes has about 1 MB.
const MODEL_BYTES: u64 = 16 * 1024 * 1024;

/// What a refusal of an Afield server comes as.
const PROBLEM_TYPE: &str = "application/problem+json";

/// An answer to a ping is a line.
const PING_BYTES: u64 = 1024;

/// How long the network may be silent; `None` is as long as the model says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// For a connection, TLS included.
    pub connect: Option<Duration>,
    /// Between two bytes, in either direction.
    pub idle: Option<Duration>,
}

impl Patience {
    /// For a stream, which is silent for long.
    pub(super) fn of_stream(self) -> Self {
        Self {
            idle: Duration::from_secs(60 * 60),
            ..self
        }
    }
}

/// How long the network may be silent, decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Patience {
    connect: Duration,
    idle: Duration,
}

impl Timeouts {
    /// What the app set, and of the rest what the model says.
    pub(super) fn within(self, limits: &DeviceLimits) -> Patience {
        let model = Duration::from_millis;
        Patience {
            connect: self.connect.unwrap_or(model(limits.connect_timeout_ms)),
            idle: self.idle.unwrap_or(model(limits.idle_timeout_ms)),
        }
    }
}

/// What a request brought, in the order in which it came.
pub(super) enum Answer {
    /// The model's JSON.
    Model(String),
    /// More of an answer to a sync request, unpacked, and how many bytes of the network it was.
    Bytes(Vec<u8>, usize),
    /// The answer ended as it should.
    Closed,
    /// It did not come, or not whole.
    Failed(Failure),
}

/// Something the sync loop waits for.
pub(super) enum Signal {
    /// Of the request with this number.
    Answer(u64, Answer),
    /// Look whether the sync is cancelled.
    Wake,
}

/// Takes a good answer: hands over pieces while somebody wants them, and gives the last.
type Read =
    fn(&Call, http::Response<Body>, &mut dyn FnMut(Answer) -> bool) -> Result<Answer, Failure>;

/// The connections of one client to its server.
pub(super) struct Line {
    agent: Agent,
    address: Address,
    token: String,
    timeouts: Patience,
    is_plain: Arc<AtomicBool>,
}

impl Line {
    /// `is_plain` says that answers are asked for as they are, and learns when one cannot be
    /// unpacked.
    ///
    /// # Errors
    /// The extra root certificates cannot be read.
    pub(super) fn new(
        address: Address,
        token: String,
        timeouts: Patience,
        roots: Option<&Path>,
        is_plain: Arc<AtomicBool>,
    ) -> Result<Self, Error> {
        // No redirect is followed: the token and the changes are for this server only.
        let config = Config::builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("afield/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(timeouts.connect))
            .timeout_connect(Some(timeouts.connect))
            .timeout_per_read(Some(timeouts.idle))
            .timeout_per_write(Some(timeouts.idle))
            .build();
        let connector = ().chain(TcpConnector::default()).chain(TlsConnector::new(roots)?);
        Ok(Self {
            agent: Agent::with_parts(config, connector, DefaultResolver::default()),
            address,
            token,
            timeouts,
            is_plain,
        })
    }

    /// Asks for the model.
    pub(super) fn fetch_model(&self, number: u64, signals: &SyncSender<Signal>) {
        let request = self.request("GET", "/v1/model", "application/json");
        self.spawn(number, signals, request, None, |call, response, _| {
            let reader = response.into_body().into_with_config().limit(MODEL_BYTES);
            let model = reader.read_to_string().map(Answer::Model);
            model.map_err(|error| call.failure(&error))
        });
    }

    /// Whether the server is there: it gives `nonce` back. No token goes with the question. Waits
    /// for the answer.
    pub(super) fn ping(&self, nonce: &str) -> bool {
        let address = self.address.join(&format!("/v1/ping?nonce={nonce}"));
        let answer = self.agent.get(address).call();
        let Some(answer) = answer.ok().filter(|answer| answer.status() == 200) else {
            return false;
        };
        let body = answer.into_body().into_with_config().limit(PING_BYTES);
        let json: Option<serde_json::Value> = body
            .read_to_string()
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok());
        json.is_some_and(|json| json.get("nonce").and_then(|it| it.as_str()) == Some(nonce))
    }

    /// Sends a sync request.
    pub(super) fn send(
        &self,
        number: u64,
        signals: &SyncSender<Signal>,
        headers: &[(&str, String)],
        body: Vec<u8>,
    ) {
        let media_type = Format::Cbor.media_type();
        let mut request = self
            .request("POST", "/v1/sync", media_type)
            .header("Content-Type", media_type);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        if !self.is_plain.load(Ordering::SeqCst) {
            request = request.header("Accept-Encoding", "zstd");
        }
        self.spawn(number, signals, request, Some(body), Call::read_sync);
    }

    /// Ends every connection, at once.
    pub(super) fn cut(&self) {
        self.agent.clone().shutdown();
    }

    /// Opens a live stream and hands over what comes, for as long as `take` wants it; gives why it
    /// is over, and whether the server answered.
    pub(super) fn listen(
        &self,
        version: u32,
        take: &mut dyn FnMut(&[u8]) -> bool,
    ) -> (Closed, bool) {
        let media_type = "text/event-stream";
        let request = self
            .request("GET", "/v1/live", media_type)
            .header(MODEL_VERSION_HEADER, version.to_string());
        let answer = request.body(()).map_err(ureq::Error::from);
        let Ok(answer) = answer.and_then(|request| self.agent.run(request)) else {
            return (Closed::Ended, false);
        };
        let header = |name: &str| answer.headers().get(name)?.to_str().ok();
        let content = header("content-type").unwrap_or_default();
        let is_stream = content.starts_with(media_type);
        if !is_stream && !content.starts_with(PROBLEM_TYPE) {
            // Something stands before the server, or this is none.
            return (Closed::Ended, false);
        }
        let closed = match answer.status().as_u16() {
            200 if is_stream => None,
            401 => Some(Closed::SignIn),
            429 | 503 => Some(Closed::Busy(
                header("retry-after").and_then(problem::retry_after),
            )),
            400..500 => Some(Closed::Unknown),
            _ => Some(Closed::Ended),
        };
        if let Some(closed) = closed {
            return (closed, true);
        }
        let mut reader = answer.into_body().into_reader();
        let mut chunk = vec![0; 4096];
        while let Ok(length) = reader.read(&mut chunk) {
            let bytes = chunk.get(..length).unwrap_or(&[]);
            if bytes.is_empty() || !take(bytes) {
                break;
            }
        }
        (Closed::Ended, true)
    }

    fn request(&self, method: &str, path: &str, accept: &str) -> http::request::Builder {
        http::Request::builder()
            .method(method)
            .uri(self.address.join(path))
            .header("Accept", accept)
            .header("Authorization", format!("Bearer {}", self.token))
    }

    /// Runs a request on a thread of its own; `read` takes a good answer.
    fn spawn(
        &self,
        number: u64,
        signals: &SyncSender<Signal>,
        request: http::request::Builder,
        body: Option<Vec<u8>>,
        read: Read,
    ) {
        let agent = self.agent.clone();
        let call = Call {
            address: self.address.clone(),
            timeouts: self.timeouts,
            is_plain: self.is_plain.clone(),
            expected: match &body {
                Some(_) => Format::Cbor.media_type(),
                None => "application/json",
            },
        };
        let to = signals.clone();
        let work = move || {
            let mut send = |answer| to.send(Signal::Answer(number, answer)).is_ok();
            let response = request
                .body(body.unwrap_or_default())
                .map_err(ureq::Error::from)
                .and_then(|request| agent.run(request));
            let answer = response
                .map_err(|error| call.failure(&error))
                .and_then(|response| {
                    let response = call.check(response)?;
                    read(&call, response, &mut send)
                })
                .unwrap_or_else(Answer::Failed);
            send(answer);
        };
        let name = "afield request".to_owned();
        if let Err(error) = thread::Builder::new().name(name).spawn(work) {
            let failure = Failure::new(Code::INTERNAL, format!("no thread for a request: {error}"));
            // Nobody reads the channel while this very thread writes to it, and it has room:
            // a request is only made when the one before it is over.
            let _ = signals.try_send(Signal::Answer(number, Answer::Failed(failure)));
        }
    }
}

/// What the messages about one request need.
struct Call {
    address: Address,
    timeouts: Patience,
    is_plain: Arc<AtomicBool>,
    expected: &'static str,
}

impl Call {
    /// Lets a good answer pass.
    fn check(&self, response: http::Response<Body>) -> Result<http::Response<Body>, Failure> {
        if !response.status().is_success() {
            return Err(problem::read(&self.address, response));
        }
        let content = response.headers().get("content-type");
        let content = content.and_then(|value| value.to_str().ok()).unwrap_or("");
        let media_type = content.split(';').next().unwrap_or_default().trim();
        if media_type.eq_ignore_ascii_case(self.expected) {
            return Ok(response);
        }
        let message = format!(
            "{} answers, but not as an Afield server ({}): is the address right, or does this \
             network ask to sign in first?",
            self.address.as_str(),
            if media_type.is_empty() {
                "no content type"
            } else {
                media_type
            }
        );
        Err(Failure::new(Code::UNREACHABLE, message))
    }

    /// Hands over an answer to a sync request as it comes.
    fn read_sync(
        &self,
        response: http::Response<Body>,
        send: &mut dyn FnMut(Answer) -> bool,
    ) -> Result<Answer, Failure> {
        let mut unpacker = self.unpacker(&response)?;
        let mut reader = response.into_body().into_reader();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let read = reader.read(&mut chunk);
            let length = read.map_err(|error| self.failure(&ureq::Error::from(error)))?;
            let bytes = chunk.get(..length).unwrap_or(&[]);
            let is_wanted = match &mut unpacker {
                _ if bytes.is_empty() => break,
                None => send(Answer::Bytes(bytes.to_vec(), length)),
                Some(unpacker) => {
                    let give = &mut |bytes: &[u8], came| send(Answer::Bytes(bytes.to_vec(), came));
                    let unpacked = unpacker.unpack(bytes, give);
                    unpacked.map_err(|error| self.unpackable(&error.to_string()))?
                }
            };
            if !is_wanted {
                return Ok(Answer::Closed);
            }
        }
        if unpacker.is_some_and(|unpacker| !unpacker.is_whole()) {
            return Err(self.unpackable("it ends too early"));
        }
        Ok(Answer::Closed)
    }

    /// What unpacks an answer, if it is packed.
    fn unpacker(&self, response: &http::Response<Body>) -> Result<Option<Unpacker>, Failure> {
        let coding = response.headers().get("content-encoding");
        match coding.map(|coding| coding.to_str().unwrap_or("?").trim()) {
            None => Ok(None),
            Some(coding) if coding.eq_ignore_ascii_case("identity") => Ok(None),
            Some(coding) if coding.eq_ignore_ascii_case("zstd") => Unpacker::new()
                .map(Some)
                .map_err(|error| self.unpackable(&error.to_string())),
            Some(coding) => Err(self.unpackable(&format!("`{}`", coding.escape_debug()))),
        }
    }

    /// An answer cannot be unpacked: a proxy may have spoilt it, or nobody would pack it so. It is
    /// asked for once more as it is, so that the device moves on.
    fn unpackable(&self, why: &str) -> Failure {
        let was_plain = self.is_plain.swap(true, Ordering::SeqCst);
        let message = format!(
            "the answer of {} cannot be unpacked: {why}",
            self.address.as_str()
        );
        match was_plain {
            false => Failure::new(Code::INTERRUPTED, message),
            true => Failure {
                status: Some(200),
                ..Failure::new(Code::MALFORMED, message)
            },
        }
    }

    fn failure(&self, error: &ureq::Error) -> Failure {
        use std::io::ErrorKind as Kind;
        let address = self.address.as_str();
        let unreachable =
            |why: String| Failure::new(Code::UNREACHABLE, format!("cannot reach {address}: {why}"));
        match error {
            ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
                unreachable(format!("no connection within {:?}", self.timeouts.connect))
            }
            ureq::Error::Timeout(_) => Failure::new(
                Code::TIMEOUT,
                format!("no byte from {address} for {:?}", self.timeouts.idle),
            ),
            ureq::Error::Io(error)
                if matches!(
                    error.kind(),
                    Kind::ConnectionReset
                        | Kind::ConnectionAborted
                        | Kind::BrokenPipe
                        | Kind::UnexpectedEof
                        | Kind::WriteZero
                        | Kind::NotConnected
                ) =>
            {
                let message = format!("the connection to {address} ended: {error}");
                Failure::new(Code::INTERRUPTED, message)
            }
            ureq::Error::Protocol(error) => Failure::new(
                Code::INTERRUPTED,
                format!("the answer of {address} is not whole: {error}"),
            ),
            ureq::Error::Io(error) => unreachable(error.to_string()),
            ureq::Error::HostNotFound => unreachable("no such host".to_owned()),
            ureq::Error::BodyExceedsLimit(limit) => Failure {
                status: Some(200),
                ..Failure::new(
                    Code::MALFORMED,
                    format!("the model of {address} is larger than {limit} bytes"),
                )
            },
            other => unreachable(other.to_string()),
        }
    }
}
