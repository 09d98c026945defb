//! Two devices of one user, a server that answers in this process, and the team beside it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use afield::engine::{Command, Direction, Engine, Event, Failure};
use afield::protocol::codec::{Format, FrameReader};
use afield::protocol::{
    Attribute, Attributes, Code, Entity, Frame, GroupId, Identifier, Merge, Model,
    PROTOCOL_VERSION, Pattern, Problem, Reference, Type, Unit, Value, Welcome,
};
use afield::{Environment, Params, Store, SyncStore};
use afield_server::resolved::{ServerColumn, ServerEntity, ServerModel};
use afield_server::storage::inbox::{Decide, DecideOutcome, InboxEntry, InboxQuery};
use afield_server::storage::sqlite::{SqliteStorage, prepare};
use afield_server::storage::{Caller, Compare, PullRequest, Storage};
use fastrand::Rng;
use rusqlite::Connection;
use tempfile::TempDir;

const USER: &str = "ann";

/// The team's tables, and everything that anybody ever wrote to them.
const SCHEMA: &str = "
    CREATE TABLE sheet (id TEXT NOT NULL PRIMARY KEY, a TEXT, b TEXT);
    CREATE TABLE item (id INTEGER PRIMARY KEY AUTOINCREMENT, label TEXT UNIQUE);
    CREATE TABLE mark (id TEXT NOT NULL PRIMARY KEY, item INTEGER NOT NULL REFERENCES item (id),
      words TEXT);
    CREATE TABLE audit (op TEXT, word TEXT);
    CREATE TRIGGER sheet_i AFTER INSERT ON sheet BEGIN
      INSERT INTO audit VALUES ('i', NEW.a), ('i', NEW.b); END;
    CREATE TRIGGER sheet_u AFTER UPDATE ON sheet BEGIN
      INSERT INTO audit VALUES ('u', NEW.a), ('u', NEW.b); END;
    CREATE TRIGGER item_i AFTER INSERT ON item BEGIN INSERT INTO audit VALUES ('i', NEW.label); END;
    CREATE TRIGGER item_u AFTER UPDATE ON item BEGIN INSERT INTO audit VALUES ('u', NEW.label); END;
    CREATE TRIGGER mark_i AFTER INSERT ON mark BEGIN INSERT INTO audit VALUES ('i', NEW.words); END;
    CREATE TRIGGER mark_u AFTER UPDATE ON mark BEGIN INSERT INTO audit VALUES ('u', NEW.words); END;
    INSERT INTO sheet VALUES ('s1', 'x', 'x'), ('s2', 'x', 'x'), ('s3', 'x', 'x');
    INSERT INTO item (label) VALUES ('taken');";

/// What is lost of an exchange.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    Nothing,
    /// The request never comes.
    Request,
    /// The answer, behind so many bytes.
    Answer(usize),
}

/// A device.
pub(super) struct Device {
    pub(super) store: Store,
    sync: SyncStore,
}

/// All of it.
pub(super) struct World {
    pub(super) devices: Vec<Device>,
    /// Whether the server is of a version that knows no inbox.
    pub(super) is_old: bool,
    storage: Option<SqliteStorage>,
    model: ServerModel,
    folder: TempDir,
    rng: Rng,
}

/// Where a device stands with each entity.
type Positions = Vec<(String, Option<Vec<u8>>)>;

/// What tables hold, each row as text.
pub(super) type Snapshot = BTreeMap<&'static str, Vec<String>>;

struct Seeded {
    clock: Arc<AtomicI64>,
    random: Rng,
}

impl Environment for Seeded {
    fn now_ms(&mut self) -> i64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        self.random.fill(bytes);
    }
}

pub(super) fn attributes<const N: usize>(pairs: [(&str, Value); N]) -> Attributes {
    let named = pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    named.collect()
}

fn entity(name: &str, pattern: Pattern, identifier: Identifier, of: &[(&str, Type)]) -> Entity {
    let attributes = of.iter().map(|(name, kind)| Attribute::new(*name, *kind));
    Entity::new(name, pattern, identifier, 1, attributes.collect())
}

fn model(by_record: bool) -> ServerModel {
    use Type::{Integer, Text};
    let of = [("id", Text), ("a", Text), ("b", Text)];
    let mut sheet = entity("sheet", Pattern::DetectConflicts, Identifier::Natural, &of);
    sheet.merge = if by_record {
        Merge::Record
    } else {
        Merge::Attribute
    };
    let of = [("id", Integer), ("label", Text)];
    let item = entity("item", Pattern::LastWriteWins, Identifier::Server, &of);
    let of = [("id", Text), ("item", Integer), ("words", Text)];
    let mut mark = entity("mark", Pattern::LastWriteWins, Identifier::Natural, &of);
    mark.references.push(Reference {
        attributes: vec!["item".into()],
        entity: "item".into(),
    });
    let local = vec![sheet, item, mark];
    let unit = Unit {
        name: "main".into(),
        entities: local.iter().map(|it| it.name.clone()).collect(),
    };
    let entities = local.iter().map(|entity| {
        let columns = entity.attributes.iter().map(|attribute| ServerColumn {
            name: attribute.name.clone(),
            kind: attribute.kind,
            scale: None,
        });
        ServerEntity::new(entity.clone(), entity.name.clone(), columns.collect())
    });
    ServerModel {
        entities: entities.collect(),
        device: Model::new(1, vec![unit], local),
        scopes: Vec::new(),
    }
}

impl World {
    pub(super) fn new(seed: u64, by_record: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut rng = Rng::with_seed(seed ^ 0x1b0c);
        let path = folder.path().join("team.sqlite");
        let model = model(by_record);
        Connection::open(&path)
            .unwrap()
            .execute_batch(SCHEMA)
            .unwrap();
        prepare(&path, &model, |bytes| rng.fill(bytes)).unwrap();
        let clock = Arc::new(AtomicI64::new(1_700_000_000_000));
        let mut env = |n: u64| -> Box<dyn Environment> {
            Box::new(Seeded {
                clock: clock.clone(),
                random: Rng::with_seed(rng.u64(..) ^ n),
            })
        };
        let devices = ["phone", "tablet"].map(|name| {
            let path = folder.path().join(name);
            let mut device = Device {
                store: Store::open(&path, USER, env(1)).unwrap(),
                sync: SyncStore::open(&path, USER, env(2)).unwrap(),
            };
            device.store.install_first(&model.device).unwrap();
            device
        });
        let mut world = Self {
            devices: devices.into(),
            is_old: false,
            storage: None,
            model,
            folder,
            rng,
        };
        world.restart();
        world
    }

    /// Ends the server and starts another.
    pub(super) fn restart(&mut self) {
        self.storage = None;
        let path = self.folder.path().join("team.sqlite");
        let rng = &mut self.rng;
        let storage = SqliteStorage::open(&path, &self.model, |bytes| rng.fill(bytes)).unwrap();
        self.storage = Some(storage);
    }

    fn storage(&self) -> &SqliteStorage {
        self.storage.as_ref().unwrap()
    }

    fn team(&self) -> Connection {
        Connection::open(self.folder.path().join("team.sqlite")).unwrap()
    }

    pub(super) fn team_writes(&self, sql: &str) {
        self.team().execute_batch(sql).unwrap();
    }

    pub(super) fn random_group(&mut self) -> GroupId {
        let mut id = [0; 16];
        self.rng.fill(&mut id);
        GroupId(id)
    }

    pub(super) fn random_id(&mut self) -> Value {
        Value::from(self.random_group().to_string())
    }

    pub(super) fn inbox(&self, all: bool) -> Vec<InboxEntry> {
        let query = InboxQuery {
            all,
            most: 100_000,
            ..InboxQuery::default()
        };
        self.storage().inbox(&query).unwrap()
    }

    /// Decides as the command does: beside the server, on a connection of its own.
    pub(super) fn decide(&self, wish: &Decide) -> DecideOutcome {
        let path = self.folder.path().join("team.sqlite");
        let beside = SqliteStorage::open_beside(&path, &self.model).unwrap();
        beside.decide(&self.model, wish).unwrap()
    }

    /// A sync from beginning to end, of which something may be lost.
    pub(super) fn sync(&mut self, at: usize, cut: Cut) {
        let mut engine = Engine::default();
        engine.set_check(None);
        let start = Event::Start {
            unit: None,
            direction: Direction::Both,
        };
        let device = &mut self.devices[at];
        let mut commands = engine.handle(&mut device.sync, start).unwrap();
        let mut left = Some(cut);
        while engine.is_running() {
            let Some(command) = commands.pop() else {
                panic!("the engine waits for nothing");
            };
            let event = match command {
                Command::Send { body } => {
                    let asks = !self.is_old && self.devices[at].sync.asks_inbox().unwrap();
                    let lost = left.take().unwrap_or(Cut::Nothing);
                    let answer = match lost {
                        Cut::Request => None,
                        _ if self.is_old && self.tells(&body) => {
                            let refused = Failure {
                                status: Some(400),
                                ..Failure::new(Code::MALFORMED, "unknown frame")
                            };
                            let device = &mut self.devices[at];
                            let refused = Event::Failed(refused);
                            commands = engine.handle(&mut device.sync, refused).unwrap();
                            continue;
                        }
                        Cut::Nothing | Cut::Answer(_) => Some(self.answer(&body, asks)),
                    };
                    let device = &mut self.devices[at];
                    let failed = Failure::new(Code::INTERRUPTED, "cut");
                    match (answer, lost) {
                        (Some(answer), Cut::Answer(bytes)) if bytes < answer.len() => {
                            let begun = Event::Bytes(&answer[..bytes]);
                            engine.handle(&mut device.sync, begun).unwrap();
                            Event::Failed(failed)
                        }
                        (Some(answer), _) => {
                            let bytes = Event::Bytes(&answer);
                            commands = engine.handle(&mut device.sync, bytes).unwrap();
                            if !engine.is_running() || commands.contains(&Command::Abort) {
                                commands.retain(|it| matches!(it, Command::Send { .. }));
                                continue;
                            }
                            Event::Closed
                        }
                        (None, _) => Event::Failed(failed),
                    }
                }
                Command::Wait { .. } => Event::Waited,
                Command::FetchModel => panic!("the model is installed"),
                Command::Abort
                | Command::Progress(_)
                | Command::UnitCompleted(_)
                | Command::Outcomes(_)
                | Command::Finished(_) => continue,
            };
            let device = &mut self.devices[at];
            commands = engine.handle(&mut device.sync, event).unwrap();
        }
    }

    /// What the server answers: the request is read, closed, pushed, decisions told, rows pulled.
    fn answer(&self, body: &[u8], asks: bool) -> Vec<u8> {
        let model = &self.model.device;
        let mut reader = FrameReader::new(Format::Cbor);
        reader.push(body);
        let mut frames = Vec::new();
        while let Some(frame) = reader.next(model).unwrap() {
            frames.push(frame);
        }
        let Frame::Hello(hello) = &frames[0] else {
            panic!("no hello");
        };
        let caller = Caller {
            device: hello.device.clone(),
            ..Caller::user(USER)
        };
        let storage = self.storage();
        let mut told = vec![Frame::Welcome(Welcome {
            protocol: PROTOCOL_VERSION,
            epoch: storage.epoch(),
        })];
        let is_known = |it: &Vec<u8>| storage.knows(it).unwrap();
        assert!(
            hello.checkpoints.iter().all(is_known),
            "nothing is set back here"
        );
        let mut groups = Vec::new();
        for frame in &frames[1..] {
            match frame {
                Frame::Group(group) => groups.push(group.clone()),
                Frame::Closed { groups } => storage.close(USER, groups).unwrap(),
                _ => {}
            }
        }
        let outcomes = storage.push(&self.model, &caller, &groups).unwrap();
        told.extend(outcomes.into_iter().map(Frame::Outcome));
        let decided = asks.then(|| storage.decisions(&self.model, &caller).unwrap());
        let checkpoint = storage.checkpoint();
        told.push(Frame::Settled { checkpoint });
        told.extend(decided.map(|decided| Frame::Inbox { decided }));
        self.pages(&caller, hello.pull.clone(), &mut told);
        if !matches!(told.last(), Some(Frame::Problem(_))) {
            told.push(Frame::End);
        }
        let mut bytes = Vec::new();
        let mut told = told.iter();
        told.by_ref()
            .for_each(|frame| Format::Cbor.write(model, frame, &mut bytes));
        bytes
    }

    /// Whether a request says what became of refused groups.
    fn tells(&self, body: &[u8]) -> bool {
        let mut reader = FrameReader::new(Format::Cbor);
        reader.push(body);
        let mut frames = std::iter::from_fn(|| reader.next(&self.model.device).unwrap());
        frames.any(|frame| matches!(frame, Frame::Closed { .. }))
    }

    /// The rows from these positions on.
    fn pages(&self, caller: &Caller, mut positions: Positions, told: &mut Vec<Frame>) {
        while !positions.is_empty() {
            let request = PullRequest {
                caller: caller.clone(),
                held: Vec::new(),
                now: 0,
                chosen: Vec::new(),
                entities: positions,
                rows_max: 5,
                bytes_max: 1024,
                compare: Compare::default(),
            };
            match self.storage().pull(&self.model, &request) {
                Ok(page) => {
                    told.extend(page.frames);
                    let next = page.end.to.into_iter().map(|(name, to)| (name, Some(to)));
                    positions = next.filter(|_| !page.end.complete).collect();
                }
                Err(error) => {
                    let (code, message) = (error.code, error.message);
                    told.push(Frame::Problem(Problem { code, message }));
                    break;
                }
            }
        }
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        let team = self.team();
        snapshot(|sql| {
            let mut statement = team.prepare(sql).unwrap();
            let rows = statement.query_map([], |row| row.get(0)).unwrap();
            rows.map(Result::unwrap).collect()
        })
    }

    /// Every text that ever stood in a row.
    pub(super) fn audit(&self) -> Vec<String> {
        let team = self.team();
        let mut statement = team
            .prepare("SELECT word FROM audit WHERE word IS NOT NULL")
            .unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(Result::unwrap).collect()
    }

    /// How often a row was made with a label.
    pub(super) fn times_made(&self, label: &str) -> i64 {
        let sql = "SELECT count(*) FROM audit WHERE op = 'i' AND word = ?1";
        self.team()
            .query_row(sql, [label], |row| row.get(0))
            .unwrap()
    }
}

impl Device {
    pub(super) fn snapshot(&self) -> Snapshot {
        snapshot(|sql| {
            let found = self.store.query(sql, &Params::none()).unwrap();
            let cell = |row: &Vec<Value>| match &row[0] {
                Value::Text(text) => text.clone(),
                other => panic!("{other:?}"),
            };
            found.rows.iter().map(cell).collect()
        })
    }
}

fn snapshot(ask: impl Fn(&str) -> Vec<String>) -> Snapshot {
    [
        (
            "sheet",
            "SELECT concat_ws(' ', id, coalesce(a, '-'), coalesce(b, '-')) FROM sheet ORDER BY id",
        ),
        (
            "item",
            "SELECT id || ' ' || coalesce(label, '-') FROM item ORDER BY id",
        ),
        (
            "mark",
            "SELECT id || ' ' || item || ' ' || coalesce(words, '-') FROM mark ORDER BY id",
        ),
    ]
    .map(|(name, sql)| (name, ask(sql)))
    .into()
}
