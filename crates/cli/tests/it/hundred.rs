//! A hundred changes, some of which cannot be applied, on a device with a clock of its own against
//! a real server, on SQLite and on PostgreSQL.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use afield::engine::{Command, Engine, Event, Failure, Report};
use afield::protocol::codec::{Format, FrameReader};
use afield::protocol::{Attributes, Code, Frame, Group, Model, SyncConfig, Value};
use afield::queue::{Purpose, Wanted};
use afield::retry::{Ending, FailureClass};
use afield::schedule::Schedule;
use afield::{ChangeState, Environment, Store, SyncStore};
use afield_testbed::postgres::{Cluster, Database};
use tempfile::TempDir;

use crate::support::Site;

const SCHEMA: &str = "
    CREATE TABLE visit (id TEXT NOT NULL PRIMARY KEY, note TEXT CHECK (length(note) < 20),
      code TEXT UNIQUE);
    CREATE TABLE finding (id TEXT NOT NULL PRIMARY KEY,
      visit_id TEXT NOT NULL REFERENCES visit (id), words TEXT);
    INSERT INTO visit VALUES ('taken', 'the team''s', 'taken');";

/// A mistake of the team's that is no verdict about a row.
const FAILS_ON_SQLITE: &str = "CREATE TRIGGER mistake AFTER INSERT ON visit \
     WHEN NEW.note = 'poison' BEGIN SELECT json_extract('no json', '$'); END";
const FAILS_ON_POSTGRES: &str = "CREATE FUNCTION mistake() RETURNS trigger LANGUAGE plpgsql AS \
     $$ BEGIN PERFORM 1 FROM not_there; RETURN NEW; END $$; \
     CREATE TRIGGER mistake AFTER INSERT ON visit FOR EACH ROW WHEN (NEW.note = 'poison') \
     EXECUTE FUNCTION mistake()";

const MODEL: &str = r#"
    [local.visit]
    from = "visit"
    pattern = "last-write-wins"
    attributes = ["note", "code"]
    scope = "everyone"
    [local.finding]
    from = "finding"
    pattern = "last-write-wins"
    attributes = ["visit_id", "words"]
    scope = "everyone"
"#;

/// A clock that goes on only when the test says so.
#[derive(Clone)]
struct Clock(Arc<AtomicI64>);

impl Clock {
    fn now(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl Environment for Clock {
    fn now_ms(&mut self) -> i64 {
        self.now()
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        // Jitter is drawn from this too: attempts differ from run to run, and their bound holds.
        bytes.fill_with(|| fastrand::u8(..));
    }
}

struct Device {
    store: Store,
    sync: SyncStore,
    engine: Engine,
    schedule: Schedule,
    clock: Clock,
    address: String,
    token: String,
    model: Option<Model>,
    /// When each request went that had the poison in it.
    poison: Vec<i64>,
    _folder: TempDir,
}

impl Device {
    fn new(site: &Site) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ann.afield");
        let clock = Clock(Arc::new(AtomicI64::new(1_700_000_000_000)));
        let open = |path| Store::open(path, "ann", Box::new(clock.clone())).unwrap();
        let mut device = Self {
            store: open(&path),
            sync: SyncStore::open(&path, "ann", Box::new(clock.clone())).unwrap(),
            engine: Engine::new(),
            schedule: Schedule::default(),
            address: site.address.trim_start_matches("http://").to_owned(),
            token: site.token.clone(),
            model: None,
            poison: Vec::new(),
            clock,
            _folder: folder,
        };
        let config = SyncConfig::default();
        device.schedule.configure(Some(config), device.clock.now());
        let report = device.run(&Wanted::everything());
        assert_eq!(report.error, None);
        device
    }

    fn create(&mut self, entity: &str, row: &[(&str, &str)]) {
        let row = row.iter();
        let row: Attributes = row
            .map(|&(name, value)| (name.to_owned(), value.into()))
            .collect();
        self.store.create(entity, &row).unwrap();
        self.schedule.wrote(self.clock.now());
    }

    /// Lets time pass until the next sync is due, and runs it; false if none is before `until`.
    fn next(&mut self, until: i64) -> bool {
        let Some((at, _)) = self.schedule.due().filter(|(at, _)| *at <= until) else {
            return false;
        };
        self.clock.0.fetch_max(at, Ordering::SeqCst);
        for wanted in self.schedule.take(self.clock.now()) {
            self.run(&wanted);
        }
        true
    }

    fn run(&mut self, wanted: &Wanted) -> Report {
        let Purpose::Sync(direction) = wanted.purpose else {
            panic!("only syncs are due");
        };
        if wanted.sends() {
            self.schedule.sends();
        }
        let unit = wanted.unit.clone();
        let start = Event::Start { unit, direction };
        let mut commands = self.engine.handle(&mut self.sync, start).unwrap();
        loop {
            let command = commands.remove(0);
            let answer = match command {
                Command::Finished(report) => {
                    self.ended(wanted, &report);
                    return report;
                }
                Command::FetchModel => self.ask("GET", "/v1/model", &[]),
                Command::Send { body } => {
                    self.count(&body);
                    self.ask("POST", "/v1/sync", &body)
                }
                Command::Wait { ms } => {
                    self.clock.0.fetch_add(ms, Ordering::SeqCst);
                    commands = self.engine.handle(&mut self.sync, Event::Waited).unwrap();
                    continue;
                }
                _ => continue,
            };
            let mut told = Vec::new();
            match answer {
                Ok((true, body)) => {
                    let text = String::from_utf8(body).unwrap();
                    self.model = Model::from_json(&text).ok();
                    told.extend(
                        self.engine
                            .handle(&mut self.sync, Event::Model(&text))
                            .unwrap(),
                    );
                }
                Ok((false, body)) => {
                    told.extend(
                        self.engine
                            .handle(&mut self.sync, Event::Bytes(&body))
                            .unwrap(),
                    );
                    if !told
                        .iter()
                        .any(|it| matches!(it, Command::Abort | Command::Finished(_)))
                    {
                        told.extend(self.engine.handle(&mut self.sync, Event::Closed).unwrap());
                    }
                }
                Err(failure) => {
                    let failed = Event::Failed(failure);
                    told.extend(self.engine.handle(&mut self.sync, failed).unwrap());
                }
            }
            commands = told;
        }
    }

    fn ended(&mut self, wanted: &Wanted, report: &Report) {
        let ending = match report.class {
            None => Ending::Done,
            Some(class) => Ending::Failed {
                class,
                retry_after_ms: report.retry_after_ms,
            },
        };
        assert_ne!(report.class, Some(FailureClass::SignIn));
        let alone = self.sync.backs_off_for().unwrap();
        let at = (self.clock.now(), fastrand::u64(..));
        self.schedule.ended(wanted, ending, alone, at);
    }

    /// Notes a request that has the poison in it.
    fn count(&mut self, body: &[u8]) {
        let Some(model) = &self.model else { return };
        let mut reader = FrameReader::new(Format::Cbor);
        reader.push(body);
        while let Some(frame) = reader.next(model).unwrap() {
            let is_poison = |group: &Group| {
                let mut changes = group.changes.iter();
                changes.any(|it| it.set.get("note") == Some(&Value::from("poison")))
            };
            if matches!(&frame, Frame::Group(group) if is_poison(group)) {
                self.poison.push(self.clock.now());
            }
        }
    }

    /// Asks the server, in HTTP/1.0 so that the answer ends with the connection. Gives whether it
    /// is the model, and the answer.
    fn ask(&self, method: &str, path: &str, body: &[u8]) -> Result<(bool, Vec<u8>), Failure> {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/cbor-seq\r\nAccept: {}\r\nContent-Length: {}\r\n\r\n",
            self.token,
            if method == "GET" {
                "application/json"
            } else {
                "application/cbor-seq"
            },
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let end = answer.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(answer[..end].to_vec()).unwrap();
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = answer.split_off(end + 4);
        if status == 200 {
            return Ok((method == "GET", body));
        }
        let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let code = Code::parse(problem["code"].as_str().unwrap());
        Err(Failure {
            status: Some(status),
            ..Failure::new(code, problem.to_string())
        })
    }

    fn dropped(&mut self) -> usize {
        let changes = self.store.changes().unwrap();
        let dropped = changes.iter().filter(|it| it.state == ChangeState::Dropped);
        dropped.count()
    }

    /// How many changes are in each state, with the codes of those that are parked.
    fn states(&mut self) -> (usize, usize, usize, Vec<(String, String)>) {
        let changes = self.store.changes().unwrap();
        let count = |state| changes.iter().filter(|it| it.state == state).count();
        let parked = changes.iter().filter(|it| it.state == ChangeState::Parked);
        let word = |code: &Option<Code>| code.as_ref().map_or("", |it| it.as_str()).to_owned();
        let mut parked: Vec<_> = parked
            .map(|it| (it.key[0].to_string(), word(&it.code)))
            .collect();
        parked.sort();
        let held = count(ChangeState::Held);
        (
            count(ChangeState::Settled),
            held,
            count(ChangeState::Sent),
            parked,
        )
    }
}

/// Ann makes a hundred changes: the server refuses four, one hangs on a refused one, and at one it
/// fails.
fn a_hundred(site: &Site, write: &dyn Fn(&str), fails: &str, mends: &str, count: &dyn Fn() -> i64) {
    write(fails);
    let mut device = Device::new(site);
    let too_long = "far too long for a note";
    for n in 0..94 {
        match n {
            10 => device.create("visit", &[("id", "parent"), ("note", too_long)]),
            20 => device.create("finding", &[("id", "child"), ("visit_id", "parent")]),
            30 => device.create("visit", &[("id", "long"), ("note", too_long)]),
            40 => device.create("visit", &[("id", "same"), ("code", "taken")]),
            50 => device.create("finding", &[("id", "orphan"), ("visit_id", "nowhere")]),
            57 => device.create("visit", &[("id", "bad"), ("note", "poison")]),
            _ => {}
        }
        let id = format!("v{n}");
        device.create("visit", &[("id", &id), ("note", "fine")]);
    }
    let begun = device.clock.now();
    while device.next(begun + 600_000) {}
    let (settled, held, sent, parked) = device.states();
    assert_eq!((settled, held, sent), (94, 1, 1));
    assert_eq!(device.dropped(), 0);
    let parked: Vec<(&str, &str)> = parked.iter().map(|(id, code)| (&**id, &**code)).collect();
    let refused = [
        ("long", "check"),
        ("orphan", "reference"),
        ("parent", "check"),
        ("same", "unique"),
    ];
    assert_eq!(parked, refused);
    assert_eq!(count(), 94 + 1, "with the team's own");
    let attempts = device
        .poison
        .iter()
        .filter(|at| **at <= begun + 600_000)
        .count();
    assert!(
        (2..=10).contains(&attempts),
        "{attempts}: {:?}",
        device.poison
    );
    // The causes are mended: on the server, and by the user.
    write(mends);
    let mended = device.clock.now();
    for change in device.store.changes().unwrap() {
        let set = match change.key[0].to_string().as_str() {
            _ if change.state != ChangeState::Parked => continue,
            "orphan" => ("visit_id", "v1"),
            "same" => ("code", "other"),
            _ => ("note", "short"),
        };
        let set: Attributes = [(set.0.to_owned(), Value::from(set.1))].into();
        device.store.retry(&change.change, Some(&set)).unwrap();
        device.schedule.wrote(mended);
    }
    // Within the longest pause of a group that failed alone.
    while device.next(mended + 300_000) {}
    let (settled, held, sent, parked) = device.states();
    assert_eq!((held, sent, parked.len()), (0, 0, 0));
    // The refused ones stand beside what the user sent in their place.
    assert_eq!((settled, device.dropped()), (100, 4));
    assert_eq!(count(), 98 + 1, "each once");
}

#[test]
fn p8_of_a_hundred_changes_what_can_be_applied_is_and_the_rest_waits_to_be_mended() {
    let site = Site::with(SCHEMA, Some(MODEL));
    let write = |sql: &str| site.write(sql);
    let count = || {
        site.ask("SELECT CAST(count(*) AS TEXT) FROM visit")[0]
            .parse()
            .unwrap()
    };
    a_hundred(
        &site,
        &write,
        FAILS_ON_SQLITE,
        "DROP TRIGGER mistake",
        &count,
    );
}

#[test]
fn p8_of_a_hundred_changes_on_postgres() {
    let database: Database = Cluster::shared().database(SCHEMA);
    let site = Site::on_with(&database.url, MODEL);
    let write = |sql: &str| database.execute(sql);
    let count = || {
        let row = database
            .connect()
            .query_one("SELECT count(*) FROM visit", &[])
            .unwrap();
        row.get(0)
    };
    a_hundred(
        &site,
        &write,
        FAILS_ON_POSTGRES,
        "DROP TRIGGER mistake ON visit",
        &count,
    );
}
