//! Servers on real databases, and devices that listen to them.

use std::io::{BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use afield_protocol::Unit;
use afield_server::http::{HttpLimits, LiveLimits};
use afield_server::resolved::ServerModel;
use afield_server::storage::Storage;
use afield_server::storage::conformance::Database;
use serde_json::Value as Json;

use crate::http_support::client::{Answer, connect, read_chunk, read_head};
use crate::http_support::{NOW, Server, auth, token_of};
use crate::postgres_database::PostgresDatabase;
use crate::sqlite_database::SqliteDatabase;

/// A database and a server on it.
pub(crate) struct Team<D> {
    pub(crate) db: D,
    pub(crate) server: Server,
    /// What the server's clock shows.
    pub(crate) clock: Arc<AtomicI64>,
}

/// Looks and signs of life in quick succession.
pub(crate) fn quick() -> LiveLimits {
    LiveLimits {
        streams: 1_000,
        streams_of_user: 1_000,
        rate: 100_000,
        heartbeat: Duration::from_millis(150),
        poll: Duration::from_millis(50),
        stall: Duration::from_secs(60),
    }
}

pub(crate) fn on_sqlite(limits: LiveLimits) -> Team<SqliteDatabase> {
    let mut db = SqliteDatabase::new();
    let storage = Arc::new(db.take_storage());
    Team::start(db, storage, limits)
}

pub(crate) fn on_postgres(limits: LiveLimits) -> Team<PostgresDatabase> {
    let db = PostgresDatabase::new();
    let storage = Arc::new(db.another());
    Team::start(db, storage, limits)
}

/// Two units of the suite's tables; the names of one need care in a query.
pub(crate) fn in_units(model: &ServerModel) -> ServerModel {
    let mut model = model.clone();
    let unit = |name: &str, entities: &[&str]| Unit {
        name: name.to_owned(),
        entities: entities.iter().map(|name| (*name).to_owned()).collect(),
    };
    model.device.units = vec![
        unit("tasks", &["own_task", "area_task"]),
        unit("fir&men ü", &["company"]),
    ];
    model
}

impl<D: Database> Team<D> {
    pub(crate) fn start(db: D, storage: Arc<dyn Storage>, live: LiveLimits) -> Self {
        let clock = Arc::new(AtomicI64::new(NOW));
        let shown = Arc::clone(&clock);
        let limits = HttpLimits {
            live,
            ..HttpLimits::default()
        };
        let server = Server::start_by(
            Arc::new(move || shown.load(Ordering::SeqCst)),
            storage,
            Arc::default(),
            in_units(db.model()),
            (auth(), limits),
            |_| {},
        );
        Self { db, server, clock }
    }

    /// A device of this user, which has heard hello.
    pub(crate) fn listens(&self, user: &str) -> Device {
        let mut device = Device::of(self.server.address, user, "");
        device.expects("hello");
        device
    }
}

/// A device that listens.
pub(crate) struct Device {
    stream: BufReader<TcpStream>,
    /// What has come of events that are not whole.
    text: String,
    /// Comments so far.
    pub(crate) comments: usize,
}

/// Asks for a stream; gives the head of the answer.
pub(crate) fn ask(to: SocketAddr, user: &str, query: &str) -> (Answer, BufReader<TcpStream>) {
    let mut stream = connect(to);
    let token = token_of(user);
    write!(
        stream,
        "GET /v1/live{query} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    .unwrap();
    let mut stream = BufReader::new(stream);
    let head = read_head(&mut stream);
    (head, stream)
}

impl Device {
    pub(crate) fn of(to: SocketAddr, user: &str, query: &str) -> Self {
        let (head, stream) = ask(to, user, query);
        assert_eq!(head.status, 200, "{head:?}");
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        assert_eq!(head.header("cache-control"), Some("no-store"));
        assert_eq!(head.header("content-encoding"), None);
        Self {
            stream,
            text: String::new(),
            comments: 0,
        }
    }

    /// The next event and its data; `None` at the end of the stream.
    pub(crate) fn next(&mut self) -> Option<(String, Json)> {
        loop {
            while let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                if event == ":" {
                    self.comments += 1;
                    continue;
                }
                let (name, data) = event.split_once('\n').expect("two lines");
                let name = name.strip_prefix("event: ").expect("a name");
                let data = data.strip_prefix("data: ").expect("data");
                return Some((name.to_owned(), serde_json::from_str(data).unwrap()));
            }
            let chunk = read_chunk(&mut self.stream).expect("a stream ends as a whole answer");
            if chunk.is_empty() {
                return None;
            }
            self.text += std::str::from_utf8(&chunk).unwrap();
        }
    }

    /// Waits for a comment; signs of life may come before.
    pub(crate) fn skips_to_comment(&mut self) {
        while !self.text.starts_with(":\n\n") {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                assert!(event.starts_with("event: alive"), "{event}");
                self.text = rest.to_owned();
                continue;
            }
            let chunk = read_chunk(&mut self.stream).expect("the stream goes on");
            self.text += std::str::from_utf8(&chunk).unwrap();
        }
        self.expects_comment();
    }

    /// Waits until another comment has come, and no event.
    pub(crate) fn expects_comment(&mut self) {
        let before = self.comments;
        while self.comments == before {
            assert!(!self.text.contains("event"), "{}", self.text);
            if let Some(rest) = self.text.strip_prefix(":\n\n") {
                self.text = rest.to_owned();
                self.comments += 1;
                continue;
            }
            let chunk = read_chunk(&mut self.stream).expect("the stream goes on");
            self.text += std::str::from_utf8(&chunk).unwrap();
        }
    }

    /// The next event, which has this name.
    pub(crate) fn expects(&mut self, name: &str) -> Json {
        let (found, data) = self.next().expect("the stream goes on");
        assert_eq!(found, name, "{data}");
        data
    }

    /// The next news; signs of life may come before.
    pub(crate) fn news(&mut self) -> Json {
        loop {
            match self.next().expect("the stream goes on") {
                (name, data) if name == "news" => return data,
                (name, data) => assert_eq!(name, "alive", "{data}"),
            }
        }
    }

    /// The end of the stream, and why; signs of life may come before.
    pub(crate) fn end(&mut self) -> String {
        loop {
            match self.next().expect("an end is told") {
                (name, data) if name == "end" => {
                    assert!(self.next().is_none(), "nothing comes behind the end");
                    return data["code"].as_str().unwrap().to_owned();
                }
                (name, data) => assert_eq!(name, "alive", "{data}"),
            }
        }
    }
}
