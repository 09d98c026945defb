//! A simulated device: its file, the app's process on it with up to two syncs, and what may
//! happen to them.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use afield::engine::{Command, Engine, Event};
use afield::{Error, Store, SyncStore};
use afield_protocol::{GroupId, zoo};
use rusqlite::Connection;

use super::link::Link;
use crate::environment::{Clock, SimEnvironment};
use crate::files;
use crate::scoped;
use crate::violation::{Promise, Violation};

/// How many syncs may run at once on one file: the app's and a background service's.
pub(crate) const LANES: usize = 2;

/// A device.
pub(crate) struct Device {
    /// For the trace.
    pub(crate) place: usize,
    pub(crate) user: String,
    folder: PathBuf,
    path: PathBuf,
    /// How often its file was moved or its process started.
    starts: u64,
    seed: u64,
    clock: Clock,
    store: Option<Store>,
    pub(crate) lanes: [Lane; LANES],
    /// Another process's connection, and the oracle's.
    pub(crate) other: Connection,
    /// Whether anything was done with its file since the last look.
    touched: bool,
    /// `PRAGMA data_version` at the last look.
    looked_at: Option<i64>,
    armed: Option<Armed>,
}

/// A crash that is to come.
#[derive(Clone, Copy, Debug)]
struct Armed {
    points: u32,
    power: bool,
}

/// A process that synchronises.
#[derive(Default)]
pub(crate) struct Lane {
    running: Option<(SyncStore, Engine)>,
    pub(crate) link: Link,
    /// Groups that the running sync sent.
    pub(crate) sent: Vec<GroupId>,
    /// The server's state when it began, and the units it pulls.
    pub(crate) began: (usize, Vec<&'static str>),
}

/// How an operation on a device ended.
pub(crate) enum Done<T> {
    Well(T),
    Refused(Error),
    /// The process died; its files are as it left them. With the power, what was not durable
    /// is gone.
    Died {
        power: bool,
    },
}

impl Device {
    /// A user's device on a copy of `made`, or without a file.
    pub(crate) fn new(
        folder: &Path,
        made: Option<&Path>,
        (place, user): (usize, usize),
        seed: u64,
        clock: &Clock,
    ) -> Result<Self, Violation> {
        let path = folder.join(format!("device{place}-0.db"));
        let user = scoped::user(user);
        if let Some(made) = made {
            files::copy(made, &path)?;
            Connection::open(&path)?.execute("UPDATE afield_meta SET user = ?1", [&user])?;
        }
        Self::on(folder, path, place, user, seed, clock)
    }

    fn on(
        folder: &Path,
        path: PathBuf,
        place: usize,
        user: String,
        seed: u64,
        clock: &Clock,
    ) -> Result<Self, Violation> {
        Ok(Self {
            place,
            user,
            folder: folder.to_owned(),
            other: connect(&path)?,
            path,
            starts: 0,
            seed: seed ^ (place as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            clock: clock.clone(),
            store: None,
            lanes: Default::default(),
            touched: true,
            looked_at: None,
            armed: None,
        })
    }

    /// Another device on a copy of this one's file.
    pub(crate) fn copied(&self, place: usize, seed: u64) -> Result<Self, Violation> {
        let path = self.folder.join(format!("device{place}-0.db"));
        files::copy(&self.path, &path)?;
        Self::on(
            &self.folder,
            path,
            place,
            self.user.clone(),
            seed,
            &self.clock,
        )
    }

    fn environment(&mut self) -> Box<SimEnvironment> {
        self.starts += 1;
        let seed = self
            .seed
            .wrapping_add(self.starts.wrapping_mul(0x2545_f491_4f6c_dd1d));
        Box::new(SimEnvironment::new(&self.clock, seed))
    }

    /// Lets the process die at its n-th crash point from now.
    pub(crate) fn arm(&mut self, points: u32, power: bool) -> Result<(), Violation> {
        if power {
            files::copy(&self.path, &self.durable_path())?;
        }
        self.armed = Some(Armed { points, power });
        Ok(())
    }

    /// No crash is to come.
    pub(crate) fn disarm(&mut self) {
        self.armed = None;
    }

    fn durable_path(&self) -> PathBuf {
        self.folder.join(format!("device{}-durable.db", self.place))
    }

    /// What another process wrote is durable.
    pub(crate) fn other_wrote(&self) -> Result<(), Violation> {
        if self.armed.is_some_and(|armed| armed.power) {
            files::copy(&self.path, &self.durable_path())?;
        }
        Ok(())
    }

    /// Does something with the app's store.
    pub(crate) fn with_store<T>(
        &mut self,
        step: impl FnOnce(&mut Store) -> Result<T, Error>,
    ) -> Result<Done<T>, Violation> {
        self.operate(|device| {
            if device.store.is_none() {
                let env = device.environment();
                device.store = Some(Store::open(&device.path, &device.user, env)?);
            }
            match &mut device.store {
                Some(store) => step(store),
                None => unreachable!("it was opened a moment ago"),
            }
        })
    }

    /// Gives the engine of a lane an event.
    pub(crate) fn handle(
        &mut self,
        lane: usize,
        event: Event<'_>,
    ) -> Result<Done<Vec<Command>>, Violation> {
        self.operate(|device| {
            if device.lanes[lane].running.is_none() {
                let env = device.environment();
                let mut store = SyncStore::open(&device.path, &device.user, env)?;
                store.resend_lost(device.seed % 2 == 1);
                device.lanes[lane].running = Some((store, Engine::new()));
            }
            match &mut device.lanes[lane].running {
                Some((store, engine)) => engine.handle(store, event),
                None => unreachable!("it was opened a moment ago"),
            }
        })
    }

    fn operate<T>(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<Done<T>, Violation> {
        self.touched = true;
        let armed = self.armed;
        zoo::crash_after(armed.map(|armed| armed.points));
        let failed = self.watch_commits();
        let result = step(self);
        let left = zoo::crash_points_left();
        zoo::crash_after(None);
        zoo::on_commit(None);
        if let Some(error) = failed.take() {
            return Err(error.into());
        }
        match (armed, left) {
            (Some(armed), None) => {
                self.die(armed.power)?;
                Ok(Done::Died { power: armed.power })
            }
            (Some(armed), Some(points)) => {
                self.armed = Some(Armed { points, ..armed });
                Ok(result.map_or_else(Done::Refused, Done::Well))
            }
            (None, _) => Ok(result.map_or_else(Done::Refused, Done::Well)),
        }
    }

    /// While the power is about to go: keeps what each durable commit made durable.
    fn watch_commits(&self) -> Rc<RefCell<Option<std::io::Error>>> {
        let failed = Rc::new(RefCell::new(None));
        if self.armed.is_some_and(|armed| armed.power) {
            let (from, to) = (self.path.clone(), self.durable_path());
            let failed = Rc::clone(&failed);
            zoo::on_commit(Some(Box::new(move |is_durable| {
                if is_durable && let Err(error) = files::copy(&from, &to) {
                    failed.replace(Some(error));
                }
            })));
        }
        failed
    }

    /// The process ends at once, and another one is started on what it left.
    fn die(&mut self, power: bool) -> Result<(), Violation> {
        self.starts += 1;
        let place = self.place;
        let next = self
            .folder
            .join(format!("device{place}-{}.db", self.starts));
        let left = if power {
            self.durable_path()
        } else {
            self.path.clone()
        };
        files::copy(&left, &next)?;
        self.close();
        self.other = connect(&next)?;
        files::remove(&self.path)?;
        self.path = next;
        self.armed = None;
        Ok(())
    }

    /// Every byte of its file and of the log beside it.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, Violation> {
        Ok(files::bytes(&self.path)?)
    }

    /// The app is closed as it should be.
    pub(crate) fn close(&mut self) {
        self.store = None;
        self.lanes = Default::default();
        self.touched = true;
        self.looked_at = None;
    }

    /// Whether the file may have changed since this was asked last.
    pub(crate) fn is_changed(&mut self) -> Result<bool, Violation> {
        if !std::mem::take(&mut self.touched) {
            return Ok(false);
        }
        let sql = "PRAGMA data_version";
        let version: i64 = self
            .other
            .prepare_cached(sql)?
            .query_row([], |row| row.get(0))?;
        let is_changed = self.looked_at != Some(version);
        self.looked_at = Some(version);
        Ok(is_changed)
    }

    /// Our own connection wrote: its data version says nothing about that.
    pub(crate) fn look_again(&mut self) {
        self.touched = true;
        self.looked_at = None;
    }
}

fn connect(path: &Path) -> Result<Connection, Violation> {
    let conn = Connection::open(path)?;
    conn.set_prepared_statement_cache_capacity(128);
    Ok(conn)
}

/// An error that nothing in the world explains.
pub(crate) fn unexplained(what: &str, error: &Error) -> Violation {
    let detail = format!("{what}: {}: {error}", error.code());
    Violation::new(Promise::Sound, "no call fails without a reason", detail)
}
