//! The simulated server: the real storage on a real file, and what the HTTP layer does with it.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use afield_protocol::codec::{Format, FrameReader};
use afield_protocol::{
    Checkpoint, Chosen, Code, Frame, Group, GroupId, GroupOutcome, Held, Hello, History,
    PROTOCOL_VERSION, Problem, Welcome, zoo,
};
use afield_server::resolved::ServerModel;
use afield_server::storage::sqlite::{SqliteStorage, prepare};
use afield_server::storage::{Compare, PullRequest, PulledPage, Storage, StorageError};
use rusqlite::Connection;

use super::link::Serving;
use crate::app::{self, Kinds};
use crate::environment::{BEGINNING_MS, Clock};
use crate::files;
use crate::oracle::audit;
use crate::statements::Statement;
use crate::violation::{Promise, Violation};
use crate::{jobs, scoped, timed};

/// The server's process with its file.
pub(crate) struct SimServer {
    pub(crate) model: Rc<ServerModel>,
    fingerprint: String,
    path: PathBuf,
    backup: PathBuf,
    storage: Option<SqliteStorage>,
    /// The team's own connection: the foreign writer's, and the oracle's.
    pub(crate) team: Connection,
    clock: Clock,
    /// What pulls take for the time, in seconds since 1970.
    pub(crate) time: i64,
    random: fastrand::Rng,
    /// How often it was set back.
    restores: i64,
    kinds: Kinds,
    /// Crash points until it dies.
    pub(crate) armed: Option<u32>,
}

/// What came of asking the storage.
pub(crate) enum Asked<T> {
    Answered(T),
    Failed(StorageError),
    /// The process died meanwhile; it was started again.
    Died,
}

/// A request, read.
pub(crate) struct Request {
    pub(crate) hello: Hello,
    /// The values that the device has rows of, if it says so.
    pub(crate) held: Vec<Held>,
    /// The values that the app on the device chose.
    pub(crate) chosen: Vec<Chosen>,
    /// What it compares.
    pub(crate) compare: Compare,
    pub(crate) groups: Vec<Group>,
    /// What the device knows to be settled, if that is what it tells.
    pub(crate) history: Vec<History>,
}

impl SimServer {
    /// Starts the server on a copy of the team's database.
    pub(crate) fn new(
        folder: &Path,
        template: &Path,
        (seed, kinds): (u64, Kinds),
        clock: &Clock,
    ) -> Result<Self, Violation> {
        let model = Rc::new(app::model(kinds));
        let path = folder.join("server.db");
        files::copy(template, &path)?;
        let mut server = Self {
            fingerprint: model.device.fingerprint(),
            model,
            backup: folder.join("backup.db"),
            path,
            storage: None,
            team: Connection::open_in_memory()?,
            clock: clock.clone(),
            time: BEGINNING_MS / 1000,
            random: fastrand::Rng::with_seed(seed ^ 0x5e1f),
            restores: 0,
            kinds,
            armed: None,
        };
        server.connect()?;
        server.start()?;
        Ok(server)
    }

    fn connect(&mut self) -> Result<(), Violation> {
        self.team = Connection::open(&self.path)?;
        self.team.set_prepared_statement_cache_capacity(128);
        self.team.execute_batch("PRAGMA foreign_keys = ON")?;
        Ok(())
    }

    /// Starts the process, in a new epoch.
    pub(crate) fn start(&mut self) -> Result<(), Violation> {
        self.storage = None;
        let random = &mut self.random;
        let storage = SqliteStorage::open(&self.path, &self.model, |bytes| random.fill(bytes));
        let clock = self.clock.clone();
        let storage = storage.map_err(refused)?;
        self.storage = Some(storage.with_clock(move || clock.now_ms() / 1000));
        Ok(())
    }

    /// Copies the file.
    pub(crate) fn back_up(&self) -> Result<(), Violation> {
        Ok(files::copy(&self.path, &self.backup)?)
    }

    /// Goes on from the copy.
    pub(crate) fn restore(&mut self) -> Result<(), Violation> {
        self.storage = None;
        self.team = Connection::open_in_memory()?;
        files::remove(&self.path)?;
        files::copy(&self.backup, &self.path)?;
        self.connect()?;
        // The team does not give a number twice that the lost history may have given.
        self.restores += 1;
        let sql = "UPDATE sqlite_sequence SET seq = seq + ?1 * 1000 \
                   WHERE name IN ('orders', 'remark')";
        self.team.execute(sql, [self.restores])?;
        self.start()
    }

    /// The team's trigger no longer fails.
    pub(crate) fn heal(&self) -> Result<(), Violation> {
        Ok(self.team.execute_batch(app::HEAL)?)
    }

    /// The answer to `GET /v1/model`.
    pub(crate) fn model_json(&self) -> String {
        self.model.device.to_json()
    }

    /// Reads a request's body.
    pub(crate) fn read(&self, body: &[u8]) -> Result<Request, Problem> {
        let malformed = |message: String| Problem {
            code: Code::MALFORMED,
            message,
        };
        let mut reader = FrameReader::new(Format::Cbor);
        reader.push(body);
        let mut next = || {
            reader
                .next(&self.model.device)
                .map_err(|e| malformed(e.to_string()))
        };
        let Some(Frame::Hello(hello)) = next()? else {
            return Err(malformed("no hello".into()));
        };
        if hello.model != self.fingerprint {
            return Err(Problem {
                code: Code::MODEL_CHANGED,
                message: "another model".into(),
            });
        }
        let (mut held, mut chosen) = (Vec::new(), Vec::new());
        let (mut groups, mut history) = (Vec::new(), Vec::new());
        let mut compare = Compare::default();
        loop {
            match next()? {
                Some(Frame::Held(said)) => held.push(said),
                Some(Frame::Chosen(said)) => chosen.push(said),
                Some(Frame::Verify(ask)) => compare.verify.push(ask),
                Some(Frame::Fetch(ask)) => compare.fetch.push(ask),
                Some(Frame::Group(group)) => groups.push(group),
                Some(Frame::History(said)) => history.push(said),
                Some(Frame::End) => {
                    return Ok(Request {
                        hello,
                        held,
                        chosen,
                        compare,
                        groups,
                        history,
                    });
                }
                _ => return Err(malformed("no end".into())),
            }
        }
    }

    /// Pushes.
    pub(crate) fn push(
        &mut self,
        user: &str,
        groups: &[Group],
    ) -> Result<Asked<Vec<GroupOutcome>>, Violation> {
        self.ask(|storage, model| {
            storage.push(model, &afield_server::storage::Caller::user(user), groups)
        })
    }

    /// Whether its history contains what a device was told.
    pub(crate) fn knows(&mut self, checkpoints: &[Checkpoint]) -> Result<Asked<bool>, Violation> {
        self.ask(|storage, _| {
            let mut known = checkpoints.iter().map(|it| storage.knows(it));
            known.try_fold(true, |all, it| Ok(all && it?))
        })
    }

    /// Which groups of a device its history never had.
    pub(crate) fn lost(
        &mut self,
        user: &str,
        offered: &[History],
    ) -> Result<Asked<Vec<GroupId>>, Violation> {
        self.ask(|storage, _| storage.lost(user, offered))
    }

    /// The frame that closes the outcomes.
    pub(crate) fn settled(&self) -> Frame {
        let checkpoint = self.storage.as_ref().map(Storage::checkpoint);
        Frame::Settled {
            checkpoint: checkpoint.unwrap_or_default(),
        }
    }

    /// Reads a page.
    pub(crate) fn pull(
        &mut self,
        user: &str,
        serving: &Serving,
        rows_max: usize,
    ) -> Result<Asked<PulledPage>, Violation> {
        let request = PullRequest {
            caller: afield_server::storage::Caller::user(user),
            held: serving.held.clone(),
            now: self.time,
            chosen: serving.chosen.clone(),
            entities: serving.entities.clone(),
            rows_max,
            bytes_max: 1024 * 1024,
            compare: serving.compare.clone(),
        };
        self.ask(|storage, model| storage.pull(model, &request))
    }

    fn ask<T>(
        &mut self,
        call: impl FnOnce(&SqliteStorage, &ServerModel) -> Result<T, StorageError>,
    ) -> Result<Asked<T>, Violation> {
        let Some(storage) = &self.storage else {
            return Ok(Asked::Died);
        };
        zoo::crash_after(self.armed);
        let result = call(storage, &self.model);
        let left = zoo::crash_points_left();
        zoo::crash_after(None);
        let died = self.armed.is_some() && left.is_none();
        self.armed = left;
        if died {
            self.start()?;
            return Ok(Asked::Died);
        }
        Ok(match result {
            Ok(answer) => Asked::Answered(answer),
            Err(error) => Asked::Failed(error),
        })
    }

    /// The frame that opens an answer.
    pub(crate) fn welcome(&self) -> Frame {
        let epoch = self.storage.as_ref().map_or([0; 8], Storage::epoch);
        Frame::Welcome(Welcome {
            protocol: PROTOCOL_VERSION,
            epoch,
        })
    }

    /// A transaction of somebody else: all of it, or nothing if a rule of the team's refuses it.
    pub(crate) fn foreign(&self, statements: &[Statement]) -> Result<bool, Violation> {
        self.team
            .execute_batch("BEGIN IMMEDIATE; UPDATE sim_context SET who = 'foreign'")?;
        let done = statements
            .iter()
            .try_for_each(|statement| statement.run(&self.team).map(|_| ()));
        let end = match done {
            Ok(()) => "UPDATE sim_context SET who = 'push'; COMMIT",
            Err(rusqlite::Error::SqliteFailure(..)) => "ROLLBACK",
            Err(error) => return Err(error.into()),
        };
        self.team.execute_batch(end)?;
        Ok(done.is_ok())
    }

    /// By how many seconds its clock has moved since the world began.
    pub(crate) fn moved(&self) -> i64 {
        self.time - BEGINNING_MS / 1000
    }

    /// The team has rows that are not everyone's, if there are to be any, and whatever else its
    /// world has.
    pub(crate) fn team_begins(&self, is_scoped: bool) -> Result<(), Violation> {
        let mut sql = String::new();
        if is_scoped {
            sql += &scoped::beginnings();
        }
        if self.kinds.has_jobs {
            sql += &jobs::beginnings();
        }
        if self.kinds.is_timed {
            sql += &timed::beginnings();
        }
        if sql.is_empty() {
            return Ok(());
        }
        Ok(self.team.execute_batch(&format!(
            "UPDATE sim_context SET who = 'foreign'; {sql} UPDATE sim_context SET who = 'push'"
        ))?)
    }
}

/// Makes the team's database.
pub(crate) fn make(team: &Connection, kinds: Kinds) -> Result<(), Violation> {
    team.execute_batch(&app::server_schema(kinds))?;
    team.execute_batch(&audit::schema(kinds))?;
    Ok(team.execute_batch(&app::poison_triggers())?)
}

/// Does what `afield prepare` does.
pub(crate) fn prepare_file(path: &Path, kinds: Kinds) -> Result<(), Violation> {
    let mut random = fastrand::Rng::with_seed(1);
    prepare(path, &app::model(kinds), |bytes| random.fill(bytes)).map_err(refused)?;
    Ok(())
}

fn refused(error: StorageError) -> Violation {
    Violation::new(Promise::Sound, "the server starts", error.message)
}
