//! The server: the real model code on the drawn file, the real storage on a real file, and what
//! the HTTP layer does with them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use afield_protocol::codec::{Format, FrameReader};
use afield_protocol::{
    Code, Frame, Group, GroupOutcome, Held, Hello, PROTOCOL_VERSION, Position, Problem, Welcome,
};
use afield_server::model::file::Overrides;
use afield_server::model::{ModelFile, check};
use afield_server::resolved::ServerModel;
use afield_server::storage::sqlite::catalog::{SqliteQueries, read_file_measured};
use afield_server::storage::sqlite::{SqliteStorage, prepare};
use afield_server::storage::{Caller, PullRequest, Storage as _};

use crate::wrong::{Done, Wrong};

/// Some Monday morning.
const BEGINNING: i64 = 1_795_000_000;

/// The server's process.
pub(crate) struct Server {
    pub(crate) model: ServerModel,
    fingerprint: String,
    path: PathBuf,
    storage: Option<SqliteStorage>,
    random: fastrand::Rng,
    page_rows: usize,
    /// The server's own clock, in seconds since 1970.
    clock: Arc<AtomicI64>,
}

/// A request, read.
pub(crate) struct Request {
    hello: Hello,
    held: Vec<Held>,
    pub(crate) groups: Vec<Group>,
}

/// Entities with positions, and the values that the device has rows of.
type Next = (Vec<(String, Option<Position>)>, Vec<Held>);

/// An answer that is being written.
#[derive(Default)]
pub(crate) struct Answer {
    /// What the device has not read yet.
    pub(crate) bytes: Vec<u8>,
    /// What the next page goes on from; none if the answer is whole.
    pub(crate) next: Option<Next>,
}

/// A page, written.
pub(crate) struct Page {
    pub(crate) frames: Vec<Frame>,
    /// The entities with the positions that it goes on from.
    pub(crate) from: Vec<(String, Option<Position>)>,
    /// The positions after it.
    pub(crate) to: Vec<(String, Position)>,
    /// Whether the entities stand at this snapshot now.
    pub(crate) is_complete: bool,
}

impl Server {
    /// Takes the model file, prepares the database, and starts.
    pub(crate) fn new(path: &Path, toml: &str, number: u64, page_rows: usize) -> Done<Self> {
        let model = taken(path, toml)?;
        let mut random = fastrand::Rng::with_seed(number ^ 0x5e1f);
        prepare(path, &model, |bytes| random.fill(bytes))?;
        Ok(Self {
            fingerprint: model.device.fingerprint(),
            model,
            path: path.to_owned(),
            storage: None,
            random,
            page_rows,
            clock: Arc::new(AtomicI64::new(BEGINNING)),
        })
    }

    /// Starts the process, in a new epoch.
    pub(crate) fn start(&mut self, remembers: bool) -> Done {
        self.storage = None;
        let random = &mut self.random;
        let storage = SqliteStorage::open(&self.path, &self.model, |bytes| random.fill(bytes))?;
        let clock = Arc::clone(&self.clock);
        let storage = storage.with_clock(move || clock.load(Ordering::Relaxed));
        self.storage = Some(match remembers {
            true => storage,
            false => storage.with_list_memory(0),
        });
        Ok(())
    }

    /// Its time, in seconds since 1970.
    pub(crate) fn now(&self) -> i64 {
        self.clock.load(Ordering::Relaxed)
    }

    /// Lets its clock go on, or back.
    pub(crate) fn pass(&self, seconds: i64) {
        self.clock.fetch_add(seconds, Ordering::Relaxed);
    }

    /// Reads a request's body.
    pub(crate) fn read(&self, body: &[u8]) -> Done<Request> {
        let wrong = |what: &str| Wrong::new("requests are in order", what);
        let mut reader = FrameReader::new(Format::Cbor);
        reader.push(body);
        let Some(Frame::Hello(hello)) = reader.next(&self.model.device)? else {
            return Err(wrong("no hello"));
        };
        if hello.model != self.fingerprint {
            return Err(wrong("another model"));
        }
        let (mut held, mut groups) = (Vec::new(), Vec::new());
        loop {
            match reader.next(&self.model.device)? {
                Some(Frame::Held(values)) => held.push(values),
                Some(Frame::Group(group)) => groups.push(group),
                Some(Frame::End) => break,
                other => return Err(wrong(&format!("{other:?}"))),
            }
        }
        Ok(Request {
            hello,
            held,
            groups,
        })
    }

    /// Applies groups.
    pub(crate) fn push(&self, caller: &Caller, groups: &[Group]) -> Done<Vec<GroupOutcome>> {
        match groups {
            [] => Ok(Vec::new()),
            groups => Ok(self.storage()?.push(&self.model, caller, groups)?),
        }
    }

    /// The beginning of an answer: the outcomes.
    pub(crate) fn answer(&self, request: Request, outcomes: Vec<GroupOutcome>) -> Done<Answer> {
        let mut answer = Answer::default();
        let epoch = self.storage()?.epoch();
        let welcome = Welcome {
            protocol: PROTOCOL_VERSION,
            epoch,
        };
        self.write(&mut answer, &Frame::Welcome(welcome));
        for outcome in outcomes {
            self.write(&mut answer, &Frame::Outcome(outcome));
        }
        self.write(
            &mut answer,
            &Frame::Settled {
                checkpoint: Vec::new(),
            },
        );
        match request.hello.pull.is_empty() {
            true => self.write(&mut answer, &Frame::End),
            false => answer.next = Some((request.hello.pull, request.held)),
        }
        Ok(answer)
    }

    /// Reads the next page into an answer. None if the device must say first what it has.
    pub(crate) fn page(&self, caller: &Caller, answer: &mut Answer) -> Done<Option<Page>> {
        let Some((entities, held)) = answer.next.take() else {
            return Ok(None);
        };
        let said = !held.is_empty();
        let request = PullRequest {
            caller: caller.clone(),
            held,
            chosen: Vec::new(),
            now: self.now(),
            entities,
            rows_max: self.page_rows,
            bytes_max: 1024 * 1024,
            compare: Default::default(),
        };
        let page = match self.storage()?.pull(&self.model, &request) {
            Ok(page) => page,
            Err(error) if error.code == Code::HELD_WANTED && !said => {
                let problem = Problem {
                    code: error.code,
                    message: "say it".into(),
                };
                self.write(answer, &Frame::Problem(problem));
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        for frame in &page.frames {
            self.write(answer, frame);
        }
        let to = page.end.to;
        let next = to
            .iter()
            .map(|(entity, to)| (entity.clone(), Some(to.clone())));
        let next: Vec<_> = next.collect();
        let is_complete = page.end.complete;
        if is_complete {
            self.write(answer, &Frame::End);
        } else if next == request.entities {
            return Err(Wrong::new("every page leads on", format!("{next:?}")));
        } else {
            answer.next = Some((next, page.held));
        }
        Ok(Some(Page {
            frames: page.frames,
            from: request.entities,
            to,
            is_complete,
        }))
    }

    /// Makes it durable that positions up to now were given out, which no pull has to do then
    /// while somebody else is writing.
    pub(crate) fn settle(&self, caller: &Caller) -> Done {
        let first = self.model.entities[0].local.name.clone();
        let request = PullRequest {
            caller: caller.clone(),
            held: Vec::new(),
            chosen: Vec::new(),
            now: self.now(),
            entities: vec![(first, None)],
            rows_max: 1,
            bytes_max: 1024,
            compare: Default::default(),
        };
        self.storage()?.pull(&self.model, &request)?;
        Ok(())
    }

    fn storage(&self) -> Done<&SqliteStorage> {
        let stopped = || Wrong::new("the server runs", "it was not started");
        self.storage.as_ref().ok_or_else(stopped)
    }

    fn write(&self, answer: &mut Answer, frame: &Frame) {
        Format::Cbor.write(&self.model.device, frame, &mut answer.bytes);
    }
}

/// The model as the server takes it from the text of a file.
fn taken(database: &Path, toml: &str) -> Done<ServerModel> {
    let unread = |error: &dyn std::fmt::Display| {
        Wrong::new("every drawn database can be read", error.to_string())
    };
    let file = ModelFile::parse(toml, Path::new("afield.toml"), &Overrides::default())?;
    let catalog = read_file_measured(database).map_err(|error| unread(&error))?;
    let queries = SqliteQueries::open(database).map_err(|error| unread(&error))?;
    Ok(check(&file, &catalog, &queries)?.model)
}
