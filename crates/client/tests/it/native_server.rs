//! A scripted server: real HTTP on a loopback port, speaking frames, with faults where the
//! script asks for them.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use afield::native::{Client, ClientOptions, Timeouts};
use afield::protocol::codec::{Format, FrameReader};
use afield::protocol::{
    Attribute, Entity, Frame, Group, GroupOutcome, Hello, Identifier, Model, Op, Page, PageEnd,
    Pattern, RowBlockWriter, Type, Unit, Value, ValueRef, Verdict, VerdictKind, Welcome,
};

/// One step of a script: what to answer the next request with.
pub(crate) enum Reply {
    /// The model.
    Model,
    /// A live stream: what comes through the channel, until its other end is gone.
    Live(Receiver<&'static str>),
    /// The nonce of a ping, as the server gives it back.
    Pong,
    /// Applies every group, then these rows of `note`, complete.
    /// With them come the notes that it took from the device.
    Notes(Vec<(&'static str, &'static str)>),
    /// These rows of `note`, with more to come: so many, if it says so. The answer ends there.
    Part(Vec<(&'static str, &'static str)>, Option<u64>),
    /// Applies or refuses groups as the function says, and no rows changed.
    Verdicts(fn(&Group) -> Verdict),
    /// A status with headers and a body.
    Status(u16, &'static str, &'static str),
    /// So many bytes of the answer's body, then the connection ends.
    Cut(usize, Box<Self>),
    /// A page that continues from where this device is not, and megabytes of nothing after it.
    Elsewhere,
    /// The answer in this content coding, its body made so.
    Packed(&'static str, Pack, Box<Self>),
    /// The connection ends before a byte of an answer.
    HangUp,
    /// Nothing, for as long as the client waits.
    Silence,
    /// The head of an answer and so many bytes of its body; then nothing.
    Stall(usize, Box<Self>),
    /// The answer in pieces of so many bytes, with pauses between them.
    Drip(usize, Duration, Box<Self>),
}

/// Packs an answer's body, or spoils it.
pub(crate) type Pack = fn(&[u8]) -> Vec<u8>;

/// A request as the server saw it.
pub(crate) struct Seen {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) hello: Option<Hello>,
    pub(crate) groups: Vec<Group>,
    /// Entries of the log that came.
    pub(crate) logs: usize,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) address: String,
    seen: Receiver<Seen>,
}

impl Server {
    /// Answers requests by `script`, one reply each; after its end connections are closed.
    pub(crate) fn start(script: impl IntoIterator<Item = Reply>) -> Self {
        Self::start_with(script, |stream| Box::new(stream))
    }

    /// The same, with something around each connection.
    pub(crate) fn start_with(
        script: impl IntoIterator<Item = Reply>,
        wrap: impl Fn(TcpStream) -> Box<dyn Connection> + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let script: Arc<Mutex<VecDeque<Reply>>> =
            Arc::new(Mutex::new(script.into_iter().collect()));
        let notes = Arc::<Mutex<Notes>>::default();
        let (sender, seen) = channel();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let (script, sender, notes) = (script.clone(), sender.clone(), notes.clone());
                let connection = wrap(stream);
                thread::spawn(move || serve(connection, &script, &sender, &notes));
            }
        });
        Self { address, seen }
    }

    /// The next request, in the order in which they arrived.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.recv_timeout(Duration::from_secs(10)).unwrap()
    }

    /// Whether a request arrived that nobody asked for yet.
    pub(crate) fn saw_more(&self) -> bool {
        self.seen.try_recv().is_ok()
    }
}

/// What a server speaks over.
pub(crate) trait Connection: Read + Write + Send {
    /// Ends it without a word.
    fn end(&mut self);
}

impl Connection for TcpStream {
    fn end(&mut self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

fn serve(
    connection: Box<dyn Connection>,
    script: &Mutex<VecDeque<Reply>>,
    seen: &Sender<Seen>,
    notes: &Mutex<Notes>,
) -> Option<()> {
    let mut reader = BufReader::new(connection);
    loop {
        let request = read_request(&mut reader)?;
        let reply = script.lock().unwrap().pop_front();
        let (hello, groups) = (request.hello.clone(), request.groups.clone());
        let line = request.line.clone();
        let _ = seen.send(request);
        let connection = reader.get_mut();
        let Some(reply) = reply else {
            connection.end();
            return None;
        };
        let asked = Asked {
            line: &line,
            hello: hello.as_ref(),
            groups: &groups,
            notes,
        };
        answer(connection.as_mut(), reply, &asked)?;
    }
}

fn read_request(reader: &mut BufReader<Box<dyn Connection>>) -> Option<Seen> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let (mut hello, mut groups, mut logs) = (None, Vec::new(), 0);
    let mut frames = FrameReader::new(Format::Cbor);
    frames.push(&body);
    while let Some(frame) = frames.next(&model()).unwrap() {
        match frame {
            Frame::Hello(it) => hello = Some(it),
            Frame::Group(group) => groups.push(group),
            Frame::Log { entries } => logs += entries.len(),
            _ => {}
        }
    }
    Some(Seen {
        line: line.trim().to_owned(),
        headers,
        hello,
        groups,
        logs,
    })
}

/// The notes that a server took.
type Notes = HashMap<Value, Value>;

/// What an answer depends on.
struct Asked<'a> {
    line: &'a str,
    hello: Option<&'a Hello>,
    groups: &'a [Group],
    notes: &'a Mutex<Notes>,
}

/// Answers one request; `None` ends the connection.
fn answer(connection: &mut dyn Connection, reply: Reply, asked: &Asked<'_>) -> Option<()> {
    match reply {
        Reply::HangUp => {
            connection.end();
            None
        }
        Reply::Silence => silence(connection),
        Reply::Live(pieces) => {
            let head = "HTTP/1.1 200 X\r\nContent-Type: text/event-stream\r\n\
                        Connection: close\r\n\r\n";
            connection.write_all(head.as_bytes()).ok()?;
            connection.flush().ok()?;
            for piece in pieces {
                connection.write_all(piece.as_bytes()).ok()?;
                connection.flush().ok()?;
            }
            connection.end();
            None
        }
        Reply::Cut(bytes, reply) => {
            let (head, body) = render(&reply, asked);
            connection.write_all(head.as_bytes()).ok()?;
            connection.write_all(&body[..bytes.min(body.len())]).ok()?;
            connection.end();
            None
        }
        Reply::Stall(bytes, reply) => {
            let (head, body) = render(&reply, asked);
            connection.write_all(head.as_bytes()).ok()?;
            connection.write_all(&body[..bytes.min(body.len())]).ok()?;
            connection.flush().ok()?;
            silence(connection)
        }
        Reply::Drip(size, pause, reply) => {
            let (head, body) = render(&reply, asked);
            connection.write_all(head.as_bytes()).ok()?;
            let (_never, pauses) = channel::<()>();
            for piece in body.chunks(size) {
                // A slow network is what is tested here; nothing is waited for.
                let _ = pauses.recv_timeout(pause);
                connection.write_all(piece).ok()?;
                connection.flush().ok()?;
            }
            Some(())
        }
        reply => {
            let (head, body) = render(&reply, asked);
            connection.write_all(head.as_bytes()).ok()?;
            connection.write_all(&body).ok()?;
            connection.flush().ok()
        }
    }
}

/// Keeps the connection open and says nothing until the client ends it.
fn silence(connection: &mut dyn Connection) -> Option<()> {
    let mut byte = [0];
    while connection.read(&mut byte).ok()? > 0 {}
    None
}

fn render(reply: &Reply, asked: &Asked<'_>) -> (String, Vec<u8>) {
    let frames = Format::Cbor.media_type();
    match reply {
        Reply::Model => head(200, "application/json", "", model().to_json().into_bytes()),
        Reply::Pong => {
            let nonce = asked.line.split("nonce=").nth(1).unwrap();
            let nonce = nonce.split(' ').next().unwrap();
            let body = format!("{{\"nonce\":\"{nonce}\"}}");
            head(200, "application/json", "", body.into_bytes())
        }
        Reply::Notes(rows) => {
            let body = frames_of(asked, |_| Verdict::applied(), (rows, ALL));
            head(200, frames, "", body)
        }
        Reply::Part(rows, remaining) => {
            let body = frames_of(asked, |_| Verdict::applied(), (rows, (false, *remaining)));
            head(200, frames, "", body)
        }
        Reply::Verdicts(verdict) => head(200, frames, "", frames_of(asked, verdict, (&[], ALL))),
        Reply::Status(status, headers, body) => head(
            *status,
            "application/problem+json",
            headers,
            body.as_bytes().to_vec(),
        ),
        Reply::Elsewhere => {
            let mut hello = asked.hello.unwrap().clone();
            hello.pull[0].1 = Some(b"elsewhere".to_vec());
            let asked = Asked {
                hello: Some(&hello),
                ..*asked
            };
            let mut body = frames_of(&asked, |_| Verdict::applied(), (&[], ALL));
            body.resize(body.len() + 4_000_000, 0);
            head(200, frames, "", body)
        }
        Reply::Packed(coding, pack, reply) => {
            let (_, body) = render(reply, asked);
            let coding = format!("Content-Encoding: {coding}\r\n");
            head(200, frames, &coding, pack(&body))
        }
        Reply::HangUp
        | Reply::Silence
        | Reply::Live(_)
        | Reply::Cut(..)
        | Reply::Stall(..)
        | Reply::Drip(..) => panic!("a fault inside a fault"),
    }
}

fn head(status: u16, media_type: &str, more: &str, body: Vec<u8>) -> (String, Vec<u8>) {
    let own = if more.to_ascii_lowercase().contains("content-type:") {
        String::new()
    } else {
        format!("Content-Type: {media_type}\r\n")
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status} X\r\n{own}{more}Content-Length: {length}\r\n\r\n");
    (head, body)
}

/// A page is complete, and no row is to come.
const ALL: (bool, Option<u64>) = (true, Some(0));

/// Rows, and whether they are all and how many are to come.
type Rows<'a> = (&'a [(&'a str, &'a str)], (bool, Option<u64>));

/// An answer: outcomes, then one page, and the end unless there are more.
fn frames_of(
    asked: &Asked<'_>,
    verdict: impl Fn(&Group) -> Verdict,
    (rows, (complete, remaining)): Rows<'_>,
) -> Vec<u8> {
    let mut frames = vec![Frame::Welcome(Welcome {
        protocol: 1,
        epoch: [7; 8],
    })];
    let mut notes = asked.notes.lock().unwrap();
    for group in asked.groups {
        let verdicts = vec![verdict(group); group.changes.len()];
        if verdicts[0].kind == VerdictKind::Applied {
            let creates = group.changes.iter().filter(|c| c.op == Op::Create);
            notes.extend(creates.map(|c| (c.key[0].clone(), c.set["text"].clone())));
        }
        frames.push(Frame::Outcome(GroupOutcome {
            group: group.id,
            verdicts,
        }));
    }
    frames.push(Frame::Settled {
        checkpoint: Vec::new(),
    });
    let pull = asked
        .hello
        .map(|hello| hello.pull.clone())
        .unwrap_or_default();
    if !pull.is_empty() {
        let to = pull
            .iter()
            .map(|(name, from)| (name.clone(), next(from.as_ref())));
        let to = to.collect();
        frames.push(Frame::Page(Page {
            from: pull,
            reset: Vec::new(),
        }));
        let note = &model().entities[0];
        let mut writer = RowBlockWriter::new("note", &note.columns());
        for (id, text) in rows {
            let row = [Value::from(*id), Value::from(*text), Value::Null];
            writer.push(row.iter().map(Value::as_ref));
        }
        for (id, text) in notes.iter() {
            writer.push([id.as_ref(), text.as_ref(), ValueRef::Null]);
        }
        if !writer.is_empty() {
            frames.push(Frame::Rows(writer.take()));
        }
        frames.push(Frame::PageEnd(PageEnd {
            to,
            complete,
            remaining,
        }));
    }
    if complete {
        frames.push(Frame::End);
    }
    let mut body = Vec::new();
    for frame in &frames {
        Format::Cbor.write(&model(), frame, &mut body);
    }
    body
}

/// Positions of this server count answers.
fn next(position: Option<&Vec<u8>>) -> Vec<u8> {
    vec![
        position
            .and_then(|bytes| bytes.first())
            .map_or(1, |n| n.wrapping_add(1)),
    ]
}

/// `note (id text, text text, stars integer)`, last-write-wins; `place (id, name)`, read-only.
pub(crate) fn model() -> Model {
    let entity = |name: &str, pattern, attributes| {
        Entity::new(name, pattern, Identifier::Natural, 1, attributes)
    };
    Model {
        version: 1,
        units: vec![Unit {
            name: "main".into(),
            entities: vec!["note".into(), "place".into()],
        }],
        entities: vec![
            entity(
                "note",
                Pattern::LastWriteWins,
                vec![
                    Attribute::new("id", Type::Text),
                    Attribute::new("text", Type::Text),
                    Attribute::new("stars", Type::Integer),
                ],
            ),
            entity(
                "place",
                Pattern::ReadOnlyOptimized,
                vec![
                    Attribute::new("id", Type::Text),
                    Attribute::new("name", Type::Text),
                ],
            ),
        ],
        chosen: Vec::new(),
        limits: Default::default(),
        sync: Default::default(),
    }
}

/// Opens Ann's store in `folder`, which knows the model and `server`.
pub(crate) fn client(folder: &Path, server: &Server) -> Client {
    Client::open(options(folder, &server.address)).unwrap()
}

/// Options for Ann's store, with short patience.
pub(crate) fn options(folder: &Path, server: &str) -> ClientOptions {
    ClientOptions {
        server: Some(server.to_owned()),
        token: Some("secret".to_owned()),
        model: Some(model()),
        timeouts: Timeouts {
            connect: Some(Duration::from_secs(5)),
            idle: Some(Duration::from_millis(400)),
        },
        ..ClientOptions::new(folder, "ann")
    }
}
