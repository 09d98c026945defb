//! A bad network: everything between phone and server goes through here, and what goes wrong in the
//! day goes wrong here. Phone and server are the real ones and know nothing of it.
//!
//! ```text
//!   phone ──► request ──► fault? ──► server
//!     ▲                     │           │
//!     └── answer, a part of it, or none ┘
//! ```

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use crate::failure::Failure;

/// Longest silence of a connection before its thread ends.
const SILENCE: Duration = Duration::from_secs(60);

/// Largest request that is carried: more than the server takes.
const BODY_BYTES: usize = 64 * 1024 * 1024;

/// What a page in a hotel's network says to whoever asks for anything.
const PORTAL: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 39\r\n\
                      Connection: close\r\n\r\n<html>Welcome! Your room number?</html>";

/// What stands before the first digit of an answer's status.
const STATUS: &[u8] = b"HTTP/1.1 ";

/// What happens to a request that synchronises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The connection dies before the server hears of it.
    LoseRequest,
    /// The connection dies when the server has so many bytes of the request's body.
    CutRequest(usize),
    /// The server does it all and answers; nothing of the answer gets through.
    LoseAnswer,
    /// So many bytes of the answer get through.
    CutAnswer(u64),
    /// A page that asks for a room number answers in the server's place.
    Portal,
}

impl Fault {
    /// What happens, for people.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::LoseRequest => "a request is lost",
            Self::CutRequest(_) => "a connection dies within a request",
            Self::LoseAnswer => "an answer is lost when the work is done",
            Self::CutAnswer(_) => "a connection dies within an answer",
            Self::Portal => "a hotel's sign-in page answers",
        }
    }
}

/// What went over the network so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    /// Requests that synchronise.
    pub(super) requests: u64,
    /// Those of them that the server got whole.
    pub(super) reached: u64,
    /// Those of them at which the server failed, by the status of its answer.
    pub(super) failed: u64,
}

/// The network; it ends with its last connection.
pub(super) struct Network {
    url: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Where the server is, if it is anywhere.
    server: Option<SocketAddr>,
    is_away: bool,
    has_portal: bool,
    faults: VecDeque<Fault>,
    counts: Counts,
    /// What is done once, between an answer that gets lost and the phone's noticing it.
    meanwhile: Option<Meanwhile>,
}

type Meanwhile = Box<dyn FnOnce() + Send>;

impl Network {
    /// A network without faults, on a free port of this machine.
    pub(super) fn start() -> Result<Self, Failure> {
        let failed =
            |error: io::Error| Failure::refused("network", format!("cannot listen: {error}"));
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared::default());
        let carrier = Arc::clone(&shared);
        thread::spawn(move || {
            for device in listener.incoming().flatten() {
                let shared = Arc::clone(&carrier);
                thread::spawn(move || {
                    // However it ends, the phone sees a connection that is over.
                    let _ = carry(&shared, &device);
                    let _ = device.shutdown(Shutdown::Both);
                });
            }
        });
        let url = format!("http://{address}");
        Ok(Self { url, shared })
    }

    /// Where phones find the server.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Where the server is now; `None` while it is stopped.
    pub(super) fn leads_to(&self, server: Option<SocketAddr>) {
        self.shared.state().server = server;
    }

    /// Whether there is no network at all.
    pub(super) fn is_away(&self, is_away: bool) {
        self.shared.state().is_away = is_away;
    }

    /// Whether a page answers everything in the server's place.
    pub(super) fn has_portal(&self, has_portal: bool) {
        self.shared.state().has_portal = has_portal;
    }

    /// What happens to the next requests that synchronise, one fault each.
    pub(super) fn suffers(&self, faults: &[Fault]) {
        self.shared.state().faults = faults.iter().copied().collect();
    }

    /// What somebody else does when the next answer is lost, before the phone notices.
    pub(super) fn meanwhile(&self, act: impl FnOnce() + Send + 'static) {
        self.shared.state().meanwhile = Some(Box::new(act));
    }

    /// Faults that have not happened yet.
    pub(super) fn faults_left(&self) -> usize {
        self.shared.state().faults.len()
    }

    /// What went over it so far.
    pub(super) fn counts(&self) -> Counts {
        self.shared.state().counts
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request of a phone and its answer.
fn carry(shared: &Shared, device: &TcpStream) -> io::Result<()> {
    if shared.state().is_away {
        return Ok(());
    }
    device.set_read_timeout(Some(SILENCE))?;
    let mut reader = BufReader::new(device.try_clone()?);
    let request = Request::read(&mut reader)?;
    let (server, fault) = {
        let mut state = shared.state();
        let fault = match (state.has_portal, request.is_sync) {
            (true, _) => Some(Fault::Portal),
            (false, true) => state.faults.pop_front(),
            (false, false) => None,
        };
        state.counts.requests += u64::from(request.is_sync);
        (state.server, fault)
    };
    let Some(server) = server else { return Ok(()) };
    match fault {
        Some(Fault::LoseRequest) => return Ok(()),
        Some(Fault::Portal) => return (&mut &*device).write_all(PORTAL.as_bytes()),
        Some(Fault::CutRequest(bytes)) => {
            return request.send(server, bytes).map(drop);
        }
        Some(Fault::LoseAnswer | Fault::CutAnswer(_)) | None => {}
    }
    let mut answer = request.send(server, request.body.len())?;
    let mut status = [0; STATUS.len() + 1];
    answer.read_exact(&mut status)?;
    if request.is_sync {
        let counts = &mut shared.state().counts;
        counts.reached += 1;
        counts.failed += u64::from(status.starts_with(STATUS) && status.ends_with(b"5"));
    }
    let mut answer = status.chain(answer);
    match fault {
        Some(Fault::LoseAnswer) => {
            let lost = io::copy(&mut answer, &mut io::sink());
            let meanwhile = shared.state().meanwhile.take();
            if let Some(act) = meanwhile {
                act();
            }
            lost
        }
        Some(Fault::CutAnswer(bytes)) => io::copy(&mut answer.take(bytes), &mut &*device),
        _ => io::copy(&mut answer, &mut &*device),
    }
    .map(drop)
}

/// A request as it came from a phone.
struct Request {
    head: String,
    body: Vec<u8>,
    is_sync: bool,
}

impl Request {
    fn read(phone: &mut BufReader<TcpStream>) -> io::Result<Self> {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let start = head.len();
            if phone.read_line(&mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = head.get(start..).unwrap_or_default();
            if line == "\r\n" {
                break;
            }
            let (name, value) = line.split_once(':').unwrap_or_default();
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().unwrap_or(0);
            }
            if name.eq_ignore_ascii_case("connection") {
                head.truncate(start);
            }
        }
        if length > BODY_BYTES {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // The end of an answer is the end of its connection, so nobody here has to look into it.
        head.truncate(head.len() - 2);
        head.push_str("Connection: close\r\n\r\n");
        let mut body = vec![0; length];
        phone.read_exact(&mut body)?;
        let is_sync = head.starts_with("POST /v1/sync");
        Ok(Self {
            head,
            body,
            is_sync,
        })
    }

    /// Sends it with the first `bytes` of its body; what comes back is the answer.
    fn send(&self, server: SocketAddr, bytes: usize) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(server)?;
        stream.write_all(self.head.as_bytes())?;
        stream.write_all(self.body.get(..bytes).unwrap_or(&self.body))?;
        Ok(stream)
    }
}
