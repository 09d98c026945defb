//! A proxy between devices and the server that breaks connections as a test tells it to.
//!
//! ```text
//!   device ──► connection ──► rule(request) ──► server
//!      ▲                          │ fault          │
//!      └── answer, cut, lost, held, … ◄────────────┘
//! ```
//!
//! It understands just enough of HTTP/1.1 to find where a request and its answer end, and alters
//! nothing in either.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// Longest wait for a test to open a gate: it has failed long before.
const GATE: Duration = Duration::from_secs(60);

/// A request as it came from a device.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The request's head with its blank line.
    pub(crate) head: String,
    /// Its body.
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// Whether it is a sync, and no question about the model.
    pub(crate) fn is_sync(&self) -> bool {
        self.head.starts_with("POST /v1/sync")
    }
}

/// What happens to a request.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Nothing.
    Pass,
    /// The connection ends before the server hears of it.
    LoseRequest,
    /// The server gets this many bytes of the body, then the connection ends on both sides.
    CutRequest(usize),
    /// The server answers to the last byte, and the device gets none of it.
    LoseAnswer,
    /// The device gets this many bytes of the answer's body, then the connection ends.
    CutAnswer(u64),
    /// The request waits at the gate before the server hears of it.
    HoldRequest(Gate),
    /// The whole answer waits at the gate.
    HoldAnswer(Gate),
    /// The answer passes up to this byte of its body, and waits there at the gate.
    HoldAnswerAt(u64, Gate),
    /// The server gets the request twice; the device gets the second answer.
    Twice,
}

/// Where something waits until a test lets it go on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<(Mutex<GateState>, Condvar)>);

#[derive(Debug, Default)]
struct GateState {
    reached: bool,
    open: bool,
}

impl Gate {
    /// Waits until something has arrived at the gate.
    pub(crate) fn wait_reached(&self) {
        self.wait(|state| state.reached);
    }

    /// Whether something has arrived.
    pub(crate) fn is_reached(&self) -> bool {
        lock(&self.0.0).reached
    }

    /// Lets everything pass from now on.
    pub(crate) fn open(&self) {
        lock(&self.0.0).open = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        lock(&self.0.0).reached = true;
        self.0.1.notify_all();
        self.wait(|state| state.open);
    }

    fn wait(&self, done: impl Fn(&GateState) -> bool) {
        let state = lock(&self.0.0);
        let waited = self
            .0
            .1
            .wait_timeout_while(state, GATE, |state| !done(state));
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(done(&state), "nothing happened at the gate within {GATE:?}");
    }
}

type Rule = Box<dyn FnMut(&Request) -> Fault + Send>;

/// The proxy; it ends with the test's process.
pub(crate) struct Proxy {
    url: String,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: Mutex<SocketAddr>,
    rule: Mutex<Rule>,
    /// Bytes after which every connection dies, both directions together; 0 for never.
    lifetime: AtomicU64,
    /// Bytes of answers that devices got.
    answered: AtomicU64,
    /// Connections that were broken on purpose.
    broken: AtomicU64,
    closed: AtomicBool,
}

impl Proxy {
    /// Starts a proxy in front of `upstream` that breaks nothing.
    pub(crate) fn start(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            upstream: Mutex::new(upstream),
            rule: Mutex::new(Box::new(|_| Fault::Pass)),
            lifetime: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if accepting.closed.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), shared) = (stream, Arc::clone(&accepting)) else {
                    continue;
                };
                thread::spawn(move || Connection::new(stream, shared).serve());
            }
        });
        Self { url, shared }
    }

    /// Where devices find it.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Sends what comes from now on to another server.
    pub(crate) fn set_upstream(&self, upstream: SocketAddr) {
        *lock(&self.shared.upstream) = upstream;
    }

    /// Decides for each request from now on what happens to it.
    pub(crate) fn rule(&self, rule: impl FnMut(&Request) -> Fault + Send + 'static) {
        *lock(&self.shared.rule) = Box::new(rule);
    }

    /// Breaks nothing any more.
    pub(crate) fn heal(&self) {
        self.rule(|_| Fault::Pass);
        self.connections_live(0);
    }

    /// Ends every connection after so many bytes; 0 lets them live.
    pub(crate) fn connections_live(&self, bytes: u64) {
        self.shared.lifetime.store(bytes, Ordering::SeqCst);
    }

    /// Bytes of answers that devices got so far.
    pub(crate) fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::SeqCst)
    }

    /// Connections broken on purpose so far.
    pub(crate) fn broken(&self) -> u64 {
        self.shared.broken.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        // Wakes the listener, so that its thread ends.
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
    }
}

/// A connection of a device.
struct Connection {
    device: BufReader<TcpStream>,
    shared: Arc<Shared>,
    /// Bytes that it has carried.
    carried: u64,
}

impl Connection {
    fn new(stream: TcpStream, shared: Arc<Shared>) -> Self {
        let _ = stream.set_nodelay(true);
        Self {
            device: BufReader::new(stream),
            shared,
            carried: 0,
        }
    }

    /// Serves requests until the connection ends; by whatever reason, the device sees a cut.
    fn serve(mut self) {
        while let Ok(Some(())) = self.exchange() {}
        let _ = self.device.get_ref().shutdown(Shutdown::Both);
    }

    /// One request and its answer.
    fn exchange(&mut self) -> io::Result<Option<()>> {
        let Some(head) = read_head(&mut self.device)? else {
            return Ok(None);
        };
        let length = header(&head, "content-length").map_or(0, |v| v.parse().unwrap_or(0));
        let allowed = self.carry(length);
        let mut body = vec![0; usize::try_from(length).unwrap_or(0)];
        self.device.read_exact(&mut body)?;
        // Answers are cut at bytes that tests count, so they pass as they are.
        let head = head.replace("accept-encoding: zstd", "accept-encoding: identity");
        let request = Request { head, body };
        if allowed < length {
            // The connection died while the request was on its way.
            let part = usize::try_from(allowed).unwrap_or(0);
            self.ask(&request, Some(part))?;
            return self.cut();
        }
        let fault = (lock(&self.shared.rule))(&request);
        self.suffer(&request, fault)
    }

    fn suffer(&mut self, request: &Request, fault: Fault) -> io::Result<Option<()>> {
        match fault {
            Fault::Pass => self.answer(request, None),
            Fault::LoseRequest => self.cut(),
            Fault::CutRequest(bytes) => {
                self.ask(request, Some(bytes))?;
                self.cut()
            }
            Fault::LoseAnswer => {
                swallow(self.ask(request, None)?)?;
                self.cut()
            }
            Fault::CutAnswer(bytes) => self.answer(request, Some((bytes, None))),
            Fault::HoldRequest(gate) => {
                gate.pass();
                self.answer(request, None)
            }
            Fault::HoldAnswer(gate) => {
                let mut whole = Vec::new();
                let server = self.ask(request, None)?;
                forward(server, |piece| {
                    whole.extend_from_slice(piece.bytes());
                    Ok(())
                })?;
                gate.pass();
                self.give(&whole)
            }
            Fault::HoldAnswerAt(bytes, gate) => self.answer(request, Some((bytes, Some(gate)))),
            Fault::Twice => {
                swallow(self.ask(request, None)?)?;
                self.answer(request, None)
            }
        }
    }

    /// Sends the request, or the first bytes of its body, to the server.
    fn ask(&self, request: &Request, bytes: Option<usize>) -> io::Result<BufReader<TcpStream>> {
        let upstream = *lock(&self.shared.upstream);
        let mut server = TcpStream::connect(upstream)?;
        server.set_nodelay(true)?;
        server.write_all(request.head.as_bytes())?;
        let length = bytes.map_or(request.body.len(), |bytes| bytes.min(request.body.len()));
        server.write_all(&request.body[..length])?;
        Ok(BufReader::new(server))
    }

    /// Passes the server's answer on, up to a byte of its body if there is a stop.
    fn answer(
        &mut self,
        request: &Request,
        stop: Option<(u64, Option<Gate>)>,
    ) -> io::Result<Option<()>> {
        let server = self.ask(request, None)?;
        let mut stop = stop;
        let mut seen = 0;
        let done = forward(server, |piece| {
            let bytes = piece.bytes();
            let Piece::Body(_) = piece else {
                return self.give(bytes).map(|_| ());
            };
            let before = seen;
            seen += bytes.len() as u64;
            if let Some((at, gate)) = &stop
                && seen >= *at
            {
                let part = usize::try_from(at - before).unwrap_or(0).min(bytes.len());
                self.give(&bytes[..part])?;
                let Some(gate) = gate.clone() else {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                };
                gate.pass();
                stop = None;
                return self.give(&bytes[part..]).map(|_| ());
            }
            self.give(bytes).map(|_| ())
        });
        match done {
            Ok(()) => Ok(Some(())),
            Err(_) => self.cut(),
        }
    }

    /// Gives bytes to the device, as many as the connection still carries.
    fn give(&mut self, bytes: &[u8]) -> io::Result<Option<()>> {
        let allowed = usize::try_from(self.carry(bytes.len() as u64)).unwrap_or(0);
        let mut device = self.device.get_ref();
        device.write_all(&bytes[..allowed])?;
        let given = u64::try_from(allowed).unwrap_or(0);
        self.shared.answered.fetch_add(given, Ordering::SeqCst);
        if allowed < bytes.len() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(Some(()))
    }

    /// Counts bytes; gives how many of them the connection still carries.
    fn carry(&mut self, bytes: u64) -> u64 {
        let lifetime = self.shared.lifetime.load(Ordering::SeqCst);
        let left = lifetime.saturating_sub(self.carried);
        self.carried += bytes;
        if lifetime == 0 {
            bytes
        } else {
            bytes.min(left)
        }
    }

    fn cut(&self) -> io::Result<Option<()>> {
        self.shared.broken.fetch_add(1, Ordering::SeqCst);
        Ok(None)
    }
}

/// Sends a request to a server as a device would have, and reads the answer's body.
pub(crate) fn send(server: SocketAddr, request: &Request) -> Vec<u8> {
    let mut stream = TcpStream::connect(server).unwrap();
    let length = header(&request.head, "content-length").unwrap();
    let head = (request.head).replace(&length, &request.body.len().to_string());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&request.body).unwrap();
    let (mut body, mut ended) = (Vec::new(), false);
    forward(BufReader::new(stream), |piece| {
        match piece {
            Piece::Head(head) => ended |= !head.starts_with(b"HTTP/1.1 200"),
            Piece::Body(bytes) => body.extend_from_slice(bytes),
            Piece::Framing(_) => {}
        }
        Ok(())
    })
    .unwrap();
    assert!(!ended, "{}", String::from_utf8_lossy(&body));
    body
}

/// A part of an answer.
enum Piece<'a> {
    Head(&'a [u8]),
    Body(&'a [u8]),
    Framing(&'a [u8]),
}

impl Piece<'_> {
    fn bytes(&self) -> &[u8] {
        let (Self::Head(bytes) | Self::Body(bytes) | Self::Framing(bytes)) = self;
        bytes
    }
}

/// Reads an answer to its end, piece by piece as it comes.
fn forward(
    mut server: BufReader<TcpStream>,
    mut pass: impl FnMut(Piece<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let head = read_head(&mut server)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    pass(Piece::Head(head.as_bytes()))?;
    if header(&head, "transfer-encoding").is_none() {
        let length = header(&head, "content-length").map_or(0, |v| v.parse().unwrap_or(0));
        let mut body = vec![0; length];
        server.read_exact(&mut body)?;
        return pass(Piece::Body(&body));
    }
    loop {
        let mut line = String::new();
        server.read_line(&mut line)?;
        let size = usize::from_str_radix(line.trim_end(), 16)
            .map_err(|_| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        pass(Piece::Framing(line.as_bytes()))?;
        let mut chunk = vec![0; size + 2];
        server.read_exact(&mut chunk)?;
        pass(Piece::Body(&chunk[..size]))?;
        pass(Piece::Framing(&chunk[size..]))?;
        if size == 0 {
            return Ok(());
        }
    }
}

fn swallow(server: BufReader<TcpStream>) -> io::Result<()> {
    forward(server, |_| Ok(()))
}

/// Reads a head up to its blank line; none if the connection ended before it.
fn read_head(stream: &mut BufReader<TcpStream>) -> io::Result<Option<String>> {
    let mut head = String::new();
    while stream.read_line(&mut head)? > 0 {
        if head.ends_with("\r\n\r\n") {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

fn header(head: &str, name: &str) -> Option<String> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(key, _)| key.eq_ignore_ascii_case(name))?;
    Some(found.1.trim().to_owned())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
