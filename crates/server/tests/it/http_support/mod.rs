//! A server over real HTTP with a storage that does what the test says, and a small client.

pub(crate) mod client;
pub(crate) mod storage;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use afield_protocol::codec::{Format, FrameReader};
use afield_protocol::{
    Change, Code, Frame, Group, GroupId, Hello, Op, PROTOCOL_VERSION, Position, Value,
};
use afield_server::auth::{Auth, Secret, TokenRules};
use afield_server::http::{Clock, HttpLimits, ServerState, router};
use afield_server::model::file::Overrides;
use afield_server::model::{ModelFile, resolve};
use afield_server::resolved::ServerModel;
use afield_server::serve::{ServeError, ServeOptions, serve_until};
use afield_server::storage::Storage;
use serde_json::Map;

use crate::model_catalog::database;
use client::{Answer, Ask};
use storage::StubStorage;

/// The time on the server's clock.
pub(crate) const NOW: i64 = 1_800_000_000;

const MODEL: &str = r#"
[server]
database = "sqlite:unused.db"
[local.visit]
from = "visit"
pattern = "last-write-wins"
attributes = ["note", "photo"]
scope = "everyone"
[local.draft.attribute]
title = "text"
"#;

pub(crate) fn model() -> ServerModel {
    let (_connection, catalog) =
        database("CREATE TABLE visit (id INTEGER PRIMARY KEY, note TEXT, photo BLOB)");
    let path = Path::new("afield.toml");
    let file = ModelFile::parse(MODEL, path, &Overrides::default()).unwrap();
    resolve(&file, &catalog).unwrap()
}

pub(crate) fn auth() -> Auth {
    Auth::new(
        Secret::from_bytes(vec![9; 32]).unwrap(),
        TokenRules::default(),
    )
}

pub(crate) fn token() -> String {
    token_of("ann")
}

pub(crate) fn token_of(user: &str) -> String {
    auth().issue(user, NOW + 3_600, &Map::new()).unwrap()
}

/// A running server; stops when dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) storage: Arc<StubStorage>,
    pub(crate) model: ServerModel,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_with(HttpLimits::default(), |_| {})
    }

    pub(crate) fn start_with(limits: HttpLimits, change: impl FnOnce(&mut ServeOptions)) -> Self {
        let stub = Arc::new(StubStorage::default());
        Self::start_all(
            Arc::clone(&stub) as _,
            stub,
            model(),
            (auth(), limits),
            change,
        )
    }

    /// A server whose clock the test turns.
    pub(crate) fn start_timed(
        limits: HttpLimits,
        clock: impl Fn() -> i64 + Send + Sync + 'static,
    ) -> Self {
        let stub = Arc::new(StubStorage::default());
        let storage = Arc::clone(&stub) as _;
        let auth = (auth(), limits);
        Self::start_by(Arc::new(clock), storage, stub, model(), auth, |_| {})
    }

    /// A server that checks tokens with this.
    pub(crate) fn start_as(auth: Auth) -> Self {
        let stub = Arc::new(StubStorage::default());
        let limits = HttpLimits::default();
        Self::start_all(
            Arc::clone(&stub) as _,
            stub,
            model(),
            (auth, limits),
            |_| {},
        )
    }

    /// A server on a storage of the test's own.
    pub(crate) fn start_on(storage: Arc<dyn Storage>, model: ServerModel) -> Self {
        Self::start_all(
            storage,
            Arc::default(),
            model,
            (auth(), HttpLimits::default()),
            |_| {},
        )
    }

    /// The same, whose clock shows a time of the test's own.
    pub(crate) fn start_at(storage: Arc<dyn Storage>, model: ServerModel, now: i64) -> Self {
        let auth = (auth(), HttpLimits::default());
        Self::start_by(
            Arc::new(move || now),
            storage,
            Arc::default(),
            model,
            auth,
            |_| {},
        )
    }

    fn start_all(
        storage: Arc<dyn Storage>,
        stub: Arc<StubStorage>,
        model: ServerModel,
        (auth, limits): (Auth, HttpLimits),
        change: impl FnOnce(&mut ServeOptions),
    ) -> Self {
        Self::start_by(
            Arc::new(|| NOW),
            storage,
            stub,
            model,
            (auth, limits),
            change,
        )
    }

    pub(crate) fn start_by(
        clock: Clock,
        storage: Arc<dyn Storage>,
        stub: Arc<StubStorage>,
        model: ServerModel,
        (auth, limits): (Auth, HttpLimits),
        change: impl FnOnce(&mut ServeOptions),
    ) -> Self {
        let state = ServerState::new(storage, model.clone(), auth, limits, clock);
        let ending = state.clone();
        let mut options = ServeOptions::new("127.0.0.1:0".parse().unwrap());
        change(&mut options);
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (ready, address) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let stop = async move {
                stopped.await.unwrap_or_default();
                ending.end_live();
            };
            let served = serve_until(&options, router(state), stop, |at| ready.send(at).unwrap());
            runtime.block_on(served)
        });
        Self {
            address: address.recv().expect("the server starts"),
            storage: stub,
            model,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Tells the server to stop, without waiting for it.
    pub(crate) fn tell_to_stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    /// Waits until it has stopped.
    pub(crate) fn wait(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }

    pub(crate) fn hello(&self, pull: &[(&str, Option<Position>)]) -> Hello {
        Hello {
            protocol: PROTOCOL_VERSION,
            model: self.model.device.fingerprint(),
            device: "d1".into(),
            unit: "main".into(),
            pull: pull
                .iter()
                .map(|(name, at)| ((*name).to_owned(), at.clone()))
                .collect(),
            checkpoints: Vec::new(),
        }
    }

    pub(crate) fn encode(&self, format: Format, frames: &[Frame]) -> Vec<u8> {
        let mut bytes = Vec::new();
        frames
            .iter()
            .for_each(|frame| format.write(&self.model.device, frame, &mut bytes));
        bytes
    }

    pub(crate) fn decode(&self, format: Format, bytes: &[u8]) -> Vec<Frame> {
        let mut reader = FrameReader::new(format);
        reader.push(bytes);
        let mut frames = Vec::new();
        while let Some(frame) = reader.next(&self.model.device).unwrap() {
            frames.push(frame);
        }
        assert!(reader.is_drained(), "bytes left over");
        frames
    }

    /// A whole sync of these frames, in CBOR.
    pub(crate) fn sync(&self, frames: &[Frame]) -> Answer {
        let body = self.encode(Format::Cbor, frames);
        Ask::sync(&token()).body(body).send(self.address)
    }

    /// The frames of a sync that is answered with 200.
    pub(crate) fn synced(&self, frames: &[Frame]) -> Vec<Frame> {
        let answer = self.sync(frames);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.is_whole);
        self.decode(Format::Cbor, &answer.body)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.storage.release();
        self.tell_to_stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A group with one create of row `id`.
pub(crate) fn group(id: u8, note: &str) -> Group {
    Group::new(
        GroupId([id; 16]),
        vec![Change {
            entity: "visit".into(),
            op: Op::Create,
            key: vec![Value::Integer(i64::from(id))],
            base: [].into(),
            set: [("note".to_owned(), Value::from(note))].into(),
        }],
    )
}

/// What kinds of frames came, shortly.
pub(crate) fn kinds(frames: &[Frame]) -> Vec<&'static str> {
    let kind = |frame: &Frame| match frame {
        Frame::Hello(_) => "hello",
        Frame::Group(_) => "group",
        Frame::Welcome(_) => "welcome",
        Frame::Outcome(_) => "outcome",
        Frame::Settled { .. } => "settled",
        Frame::Page(_) => "page",
        Frame::Rows(_) => "rows",
        Frame::Gone { .. } => "gone",
        Frame::PageEnd(_) => "page-end",
        Frame::End => "end",
        Frame::Problem(_) => "problem",
        Frame::Part(_) => "part",
        Frame::Received(_) => "received",
        Frame::Chosen(_) => "chosen",
        Frame::Held(_) => "held",
        Frame::Window(_) => "window",
        Frame::History(_) => "history",
        Frame::Lost { .. } => "lost",
        Frame::Verify(_) => "verify",
        Frame::Fetch(_) => "fetch",
        Frame::Digest(_) => "digest",
        Frame::Hashes(_) => "hashes",
        Frame::Inbox { .. } => "inbox",
        Frame::Closed { .. } => "closed",
        Frame::Log { .. } => "log",
        Frame::Logged { .. } => "logged",
    };
    frames.iter().map(kind).collect()
}

/// The code of the problem that closes an answer.
pub(crate) fn problem(frames: &[Frame]) -> &Code {
    match frames.last() {
        Some(Frame::Problem(problem)) => &problem.code,
        other => panic!("{other:?}"),
    }
}
