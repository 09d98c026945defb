//! The program around the router: a listener, TLS, and an orderly end.
//!
//! HTTP/1.1 only: devices need no more, and what speaks HTTP/2 to the outside is a proxy. Every
//! wait has a bound, so that a connection that says nothing costs a socket for a while and no
//! more. Administration is never on this listener.

mod tls;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::http::{Clock, ServerState, live_room, router};
use crate::model::file::LimitsSection;
pub use crate::model::file::TlsFiles;
use crate::storage::{Purged, Retention};

/// How the server listens.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The address.
    pub listen: SocketAddr,
    /// Certificate and key; without them the listener speaks plain HTTP.
    pub tls: Option<TlsFiles>,
    /// Whether a proxy on the way speaks TLS to the devices, so that plain HTTP on an address
    /// that other machines reach is meant.
    pub behind_proxy: bool,
    /// How long requests in flight may take after the server was told to stop.
    pub drain: Duration,
    /// Connections at once; more wait in the system's queue.
    pub connections_max: usize,
    /// Longest time for a request's head, and for a connection between two requests. Longer than
    /// devices keep a connection that they do not use: 15 seconds.
    pub head_timeout: Duration,
    /// How long the server remembers.
    pub retention: Retention,
}

impl ServeOptions {
    /// Plain HTTP at `listen`, with the limits of a model that says nothing of them.
    pub fn new(listen: SocketAddr) -> Self {
        Self::within(listen, &LimitsSection::default())
    }

    /// Plain HTTP at `listen`.
    pub fn within(listen: SocketAddr, limits: &LimitsSection) -> Self {
        Self {
            listen,
            tls: None,
            behind_proxy: false,
            drain: Duration::from_secs(20),
            connections_max: limits.connections,
            head_timeout: limits.header_timeout,
            retention: Retention::of(90 * 86_400),
        }
    }
}

/// The server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Tokens would travel in the clear.
    #[error(
        "refusing to listen on {0} without TLS: tokens and rows would travel in the clear; set \
         `tls_cert` and `tls_key`, or say --behind-proxy if a proxy speaks TLS to the devices"
    )]
    Exposed(SocketAddr),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; is another server running there?")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// Certificate or key cannot be used.
    #[error("{file}: {message}")]
    Tls {
        /// The file.
        file: String,
        /// What is wrong with it, and what it must be.
        message: String,
    },
    /// The system refuses threads or signals.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
}

/// Bytes of a request's head: a token with many claims, several times over. Each connection may
/// take as much memory before anybody knows who it is.
const HEAD_BYTES: usize = 64 * 1024;

/// Files that the server needs besides connections: the database's, and the log's.
const OTHER_FILES: u64 = 128;

/// Longest time for a TLS handshake: some round trips on a very slow network.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);

/// Between two looks at what the database needs.
const TENDED_APART: Duration = Duration::from_secs(1);

/// Pause after the system refused a connection, mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The system's clock, in seconds since 1970.
pub fn system_clock() -> Clock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the driver that hands time in"
    )]
    fn now() -> i64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        since.map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        })
    }
    Arc::new(now)
}

/// Serves until the process is told to stop (SIGINT, SIGTERM), on threads of its own. `ready` is
/// called with the address once connections are accepted.
///
/// # Errors
/// The server cannot start.
pub fn serve(
    options: &ServeOptions,
    state: ServerState,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let served = runtime.block_on(async {
        let told = stop_signal()?;
        let ending = state.clone();
        let stop = async move {
            told.await;
            ending.end_live();
        };
        state.bound_live(live_room(room_for(options.connections_max)));
        tokio::spawn(forget(state.clone(), options.retention));
        tokio::spawn(tend(state.clone()));
        serve_until(options, router(state), stop, ready).await
    });
    // A storage call that is still running has had the drain's time already.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

/// Forgets what is older than the retention, at the start and every hour at most, for ever. A
/// batch that is under way when the program ends is one transaction.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the driver that waits for time to pass"
)]
async fn forget(state: ServerState, retention: Retention) {
    let apart = u64::try_from(retention.marks / 100)
        .unwrap_or(1)
        .clamp(1, 3_600);
    loop {
        match state.purge(retention).await {
            Ok(Purged {
                is_clock_behind: true,
                ..
            }) => tracing::warn!(
                "the clock is behind a time that the database has noted: nothing is forgotten"
            ),
            Ok(purged) if purged != Purged::default() => {
                tracing::info!(
                    marks = purged.marks,
                    groups = purged.groups,
                    logs = purged.logs,
                    "forgot what is older than the retention"
                );
            }
            // What failed is in the log already.
            Ok(_) | Err(_) => {}
        }
        tokio::time::sleep(Duration::from_secs(apart)).await;
    }
}

/// Does what the database needs all the time, for ever; what the team should know goes to the log
/// once.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the driver that waits for time to pass"
)]
async fn tend(state: ServerState) {
    let mut before: Vec<String> = Vec::new();
    loop {
        // What failed is in the log already.
        let told = state.tend().await.unwrap_or_default();
        for message in told.iter().filter(|message| !before.contains(message)) {
            tracing::warn!("{message}");
        }
        before = told;
        tokio::time::sleep(TENDED_APART).await;
    }
}

/// Serves `router` until `stop` is done; then lets requests in flight finish, within
/// `options.drain`. Live streams finish by [`ServerState::end_live`] alone, so `stop` calls it.
///
/// # Errors
/// The server cannot start.
pub async fn serve_until(
    options: &ServeOptions,
    router: Router,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let tls = options.tls.as_ref().map(tls::acceptor).transpose()?;
    if tls.is_none() && !options.listen.ip().is_loopback() {
        if !options.behind_proxy {
            return Err(ServeError::Exposed(options.listen));
        }
        tracing::warn!(
            address = %options.listen,
            "plain HTTP: only a proxy that speaks TLS to the devices may reach this address"
        );
    }
    let failed = |source| ServeError::Listen {
        address: options.listen,
        source,
    };
    let listener = TcpListener::bind(options.listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    ready(address);
    tracing::info!(%address, tls = tls.is_some(), "listening");

    let graceful = GracefulShutdown::new();
    let (stopping, _) = watch::channel(());
    let mut connections = JoinSet::new();
    let serving = Serving {
        tls,
        router,
        graceful: &graceful,
        stopping: &stopping,
        connections_max: room_for(options.connections_max),
        head_timeout: options.head_timeout,
    };
    tokio::select! {
        () = stop => {}
        never = accept(&listener, &serving, &mut connections) => match never {},
    }
    drop(listener);
    stopping.send_replace(());
    tracing::info!("stopping: finishing what is in flight");
    let finished = tokio::time::timeout(options.drain, graceful.shutdown()).await;
    if finished.is_err() {
        tracing::warn!("some requests did not finish in time and were cut off");
    }
    connections.shutdown().await;
    Ok(())
}

/// What every connection needs.
struct Serving<'a> {
    tls: Option<TlsAcceptor>,
    router: Router,
    graceful: &'a GracefulShutdown,
    stopping: &'a watch::Sender<()>,
    connections_max: usize,
    head_timeout: Duration,
}

/// So many connections as the system lets this process have, after asking it for enough: without
/// that, a thousand slow connections could keep everybody else out.
fn room_for(connections: usize) -> usize {
    let wanted = connections as u64 + OTHER_FILES;
    let files = open_files(wanted);
    if files >= wanted {
        return connections;
    }
    let room = usize::try_from(files.saturating_sub(OTHER_FILES)).unwrap_or(usize::MAX);
    let room = room.clamp(1, connections);
    tracing::warn!(
        files,
        connections = room,
        "the system lets this process open few files; fewer connections are served at once"
    );
    room
}

/// How many files this process may open, raised to `wanted` as far as the system allows.
#[cfg(unix)]
fn open_files(wanted: u64) -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let Some(now) = current else { return wanted };
    let raised = wanted.min(maximum.unwrap_or(u64::MAX));
    if now >= raised {
        return now;
    }
    let limit = Rlimit {
        current: Some(raised),
        maximum,
    };
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => raised,
        Err(_) => now,
    }
}

#[cfg(not(unix))]
fn open_files(wanted: u64) -> u64 {
    wanted
}

/// Accepts connections for ever. Each is served, handshake included, in a task of its own.
async fn accept(
    listener: &TcpListener,
    serving: &Serving<'_>,
    connections: &mut JoinSet<()>,
) -> Infallible {
    let permits = Arc::new(Semaphore::new(serving.connections_max));
    loop {
        let permit = Arc::clone(&permits).acquire_owned().await;
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                pause().await;
                continue;
            }
        };
        while connections.try_join_next().is_some() {}
        // Frames are small and each counts; a failure here costs speed only.
        let _ = stream.set_nodelay(true);
        let router = serving.router.clone();
        let head_timeout = serving.head_timeout;
        let watcher = serving.graceful.watcher();
        let handshake = serving
            .tls
            .clone()
            .map(|tls| (tls, serving.stopping.subscribe()));
        connections.spawn(async move {
            match handshake {
                None => requests(stream, router, head_timeout, watcher).await,
                Some((tls, stopping)) => {
                    if let Some(stream) = handshaken(stream, &tls, stopping).await {
                        requests(stream, router, head_timeout, watcher).await;
                    }
                }
            }
            drop(permit);
        });
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the driver that waits")]
async fn pause() {
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// The stream after its handshake; a server that stops does not wait for one.
async fn handshaken(
    stream: TcpStream,
    tls: &TlsAcceptor,
    mut stopping: watch::Receiver<()>,
) -> Option<TlsStream<TcpStream>> {
    let handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream));
    let done = tokio::select! {
        _ = stopping.changed() => return None,
        done = handshake => done,
    };
    match done {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
        Err(_) => tracing::debug!("TLS handshake took too long"),
    }
    None
}

async fn requests(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    head_timeout: Duration,
    watcher: Watcher,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = watcher.watch(connection).await {
        // Mostly a device that went away, which is its right.
        tracing::debug!(%error, "connection ended");
    }
}

/// Done when the process is told to stop.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        Ok(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        })
    }
    #[cfg(not(unix))]
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
