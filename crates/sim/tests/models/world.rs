//! A case while it happens: the team's connections, the server, the devices, and who watches.

use std::collections::HashMap;

use afield::Resolution;
use afield::engine::{Direction, Event, SyncStatus};
use afield::{ChangeState, Params};
use afield_protocol::Position;
use afield_server::storage::Caller;
use fastrand::Rng;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::device::{Clock, Device, Link};
use crate::draw::claim;
use crate::plan::{Action, Fate, Plan};
use crate::schema::USERS;
use crate::server::Server;
use crate::team::{Team, is_refused};
use crate::text::marks_in;
use crate::typist::Typist;
use crate::watch::Watch;
use crate::wrong::{Done, Wrong};

/// Messages of one sync, at most.
const STEPS_MAX: usize = 5_000;

/// Rounds in which everything must drain.
const ROUNDS: usize = 40;

/// More than the longest pause of a group that failed alone.
const ROUND_MS: i64 = 6 * 60 * 1_000;

/// How often what happened, which is asked of all cases together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) cases: u64,
    pub(crate) complete: u64,
    pub(crate) compared_rows: u64,
    pub(crate) pages: u64,
    pub(crate) staged: u64,
    pub(crate) left: u64,
    pub(crate) applied: u64,
    pub(crate) conflicts: u64,
    pub(crate) refused: u64,
    pub(crate) cut: u64,
    pub(crate) lists: u64,
    pub(crate) windows: u64,
}

impl Seen {
    /// Adds what happened in another case.
    pub(crate) fn add(&mut self, other: &Self) {
        self.cases += other.cases;
        self.complete += other.complete;
        self.compared_rows += other.compared_rows;
        self.pages += other.pages;
        self.staged += other.staged;
        self.left += other.left;
        self.applied += other.applied;
        self.conflicts += other.conflicts;
        self.refused += other.refused;
        self.cut += other.cut;
        self.lists += other.lists;
        self.windows += other.windows;
    }
}

/// Everything there is.
pub(crate) struct World<'a> {
    pub(crate) plan: &'a Plan,
    _folder: TempDir,
    pub(crate) server: Server,
    team: [Connection; 2],
    /// Whether the team's first connection is in a transaction.
    is_open: bool,
    pub(crate) callers: Vec<Caller>,
    pub(crate) devices: Vec<Device>,
    pub(crate) watch: Watch,
    clock: Clock,
    /// The instant of each entity's window at each position that was ever given, and whether the
    /// pull was through there.
    pub(crate) instants: HashMap<(String, Position), (i64, bool)>,
    /// Whether the watch has seen every state of every row.
    pub(crate) is_exact: bool,
    /// The number of the last mark.
    marks: u32,
    pub(crate) seen: Seen,
    pub(crate) trace: Vec<String>,
}

impl<'a> World<'a> {
    pub(crate) fn new(plan: &'a Plan) -> Done<Self> {
        let folder = folder()?;
        let path = folder.path().join("server.db");
        Connection::open(&path)?.execute_batch(&plan.schema.create())?;
        let toml = plan.model.toml(&plan.schema);
        let mut server = Server::new(&path, &toml, plan.number, plan.page_rows)?;
        server.start(plan.remembers)?;
        let team = [Connection::open(&path)?, Connection::open(&path)?];
        team[0].execute_batch("PRAGMA foreign_keys = ON; PRAGMA synchronous = OFF")?;
        team[1].execute_batch(
            "PRAGMA foreign_keys = OFF; PRAGMA recursive_triggers = ON; PRAGMA synchronous = OFF",
        )?;
        let clock = Clock::new();
        let mut devices = Vec::new();
        for (place, user) in plan.devices.iter().enumerate() {
            let path = folder.path().join(format!("device{place}.db"));
            let seed = plan.number.wrapping_mul(31).wrapping_add(place as u64 + 1);
            let user = (*user, USERS[*user]);
            let entities = plan.model.entities.len();
            devices.push(Device::new(&path, user, entities, seed, &clock)?);
        }
        let mut world = Self {
            plan,
            watch: Watch::new(
                &path,
                (USERS.len(), devices.len(), plan.model.entities.len()),
            )?,
            _folder: folder,
            server,
            team,
            is_open: false,
            callers: USERS.into_iter().map(Caller::user).collect(),
            devices,
            clock,
            instants: HashMap::new(),
            is_exact: plan.has_short_transactions,
            marks: 0,
            seen: Seen::default(),
            trace: Vec::new(),
        };
        for user in 0..USERS.len() {
            world.claims(user, plan.number)?;
        }
        Ok(world)
    }

    /// Lets everything happen, and everything drain.
    pub(crate) fn run(&mut self) -> Done {
        let plan = self.plan;
        for (step, action) in plan.actions.iter().enumerate() {
            self.say(format!("{step:4} {action}"));
            self.happen(*action)?;
        }
        self.say("     nothing fails any more".into());
        self.drain()
    }

    pub(crate) fn say(&mut self, line: String) {
        self.trace.push(line);
    }

    fn happen(&mut self, action: Action) -> Done {
        match action {
            Action::Team { by, steps, salt } => self.team((by, false), steps, salt, true),
            Action::Fill { steps, salt } => self.team((1, true), steps, salt, true),
            Action::Open { steps, salt } => self.team((0, false), steps, salt, false),
            Action::Close { commits } => self.close(commits),
            Action::Claims { user, salt } => self.claims(user, salt),
            Action::Time { hours } => {
                self.server.pass(hours * 3_600);
                Ok(())
            }
            Action::Write {
                device,
                in_app,
                steps,
                salt,
            } => self.write(device, in_app, steps, salt),
            Action::Decide { device, salt } => self.decide(device, salt, false),
            Action::Start { device, salt } => self.start(device, salt),
            Action::Step { device, fate } => self.step(device, fate),
            Action::Sync { device } => self.whole_sync(device).map(|_| ()),
            Action::Restart { .. } if self.is_open => Ok(()),
            Action::Restart { remembers } => self.restart(remembers),
            Action::Reopen { device } => {
                self.devices[device].close();
                Ok(())
            }
        }
    }

    /// Looks at what is committed now.
    pub(crate) fn look(&mut self) -> Done {
        let Plan { schema, model, .. } = self.plan;
        self.watch.look(schema, model, &self.callers)
    }

    /// A transaction of the team's; if one is open already, statements of that one.
    fn team(&mut self, by: (usize, bool), steps: u8, salt: u64, commits: bool) -> Done {
        if self.plan.has_short_transactions && commits && !self.is_open {
            let mut salts = Rng::with_seed(salt);
            return (0..steps).try_for_each(|_| self.transaction(by, 1, salts.u64(..), true));
        }
        self.transaction(by, steps, salt, commits)
    }

    fn transaction(
        &mut self,
        (by, fills): (usize, bool),
        steps: u8,
        salt: u64,
        commits: bool,
    ) -> Done {
        let by = if self.is_open { 0 } else { by };
        if !self.is_open {
            if !commits {
                self.server.settle(&self.callers[0])?;
            }
            self.team[by].execute_batch("BEGIN IMMEDIATE")?;
        }
        let mut lines = Vec::new();
        let mut team = Team {
            schema: &self.plan.schema,
            conn: &self.team[by],
            rng: Rng::with_seed(salt),
            now: self.server.now(),
            next: &mut self.marks,
            style: self.plan.style,
            fills,
            is_short: self.plan.has_short_transactions,
        };
        let done = team.run(steps, |sql| lines.push(format!("       {sql}")));
        self.trace.extend(lines);
        done?;
        match commits && !self.is_open {
            true => self.commit(by),
            false => {
                (self.is_open, self.is_exact) = (true, false);
                Ok(())
            }
        }
    }

    fn close(&mut self, commits: bool) -> Done {
        if !std::mem::take(&mut self.is_open) {
            return Ok(());
        }
        match commits {
            true => self.commit(0),
            false => Ok(self.team[0].execute_batch("ROLLBACK")?),
        }
    }

    fn commit(&mut self, by: usize) -> Done {
        match self.team[by].execute_batch("COMMIT") {
            Err(error) if is_refused(&error) => {
                self.say("       -- refused: COMMIT".into());
                self.team[by].execute_batch("ROLLBACK")?;
            }
            committed => committed?,
        }
        self.look()
    }

    fn claims(&mut self, user: usize, salt: u64) -> Done {
        let mut rng = Rng::with_seed(salt ^ user as u64);
        for name in ["area", "zone"] {
            let value = claim(name, &mut rng);
            self.say(format!("       {} has {name} {value}", USERS[user]));
            self.callers[user].claims.insert(name.into(), value);
        }
        self.look()
    }

    fn restart(&mut self, remembers: bool) -> Done {
        self.server.start(remembers)?;
        for device in &mut self.devices {
            if let Link::Answer(_) = device.link {
                device.give(Event::Failed(crate::exchange::interrupted()))?;
            }
        }
        Ok(())
    }

    /// The user writes on a device, all of it or nothing.
    fn write(&mut self, at: usize, in_app: bool, steps: u8, salt: u64) -> Done {
        let device = &mut self.devices[at];
        if !device.has_model()? {
            return Ok(());
        }
        let mut typist = Typist {
            plan: self.plan,
            device: &device.other,
            server: &self.team[1],
            user: USERS[device.user],
            rng: Rng::with_seed(salt),
            now: self.server.now(),
            next: &mut self.marks,
        };
        let statements = typist.statements(steps)?;
        if statements.is_empty() {
            return Ok(());
        }
        let done: Result<(), String> = match in_app {
            true => device
                .store()?
                .transaction(|tx| {
                    let mut all = statements.iter();
                    all.try_for_each(|sql| tx.execute(sql, &Params::none()).map(|_| ()))
                })
                .map_err(|error| error.to_string()),
            false => {
                let sql = format!("BEGIN IMMEDIATE; {}; COMMIT", statements.join(";"));
                device.other.execute_batch(&sql).map_err(|error| {
                    let _ = device.other.execute_batch("ROLLBACK");
                    error.to_string()
                })
            }
        };
        let refused = match &done {
            Ok(()) => String::new(),
            Err(error) => format!("-- refused ({error}): "),
        };
        for sql in &statements {
            for mark in marks_in(sql.as_bytes()) {
                self.watch.typed(at, mark);
            }
            self.say(format!("       {refused}{sql}"));
        }
        Ok(())
    }

    /// The user decides about one change that was not applied, or about all.
    fn decide(&mut self, at: usize, salt: u64, all: bool) -> Done {
        let mut rng = Rng::with_seed(salt);
        let device = &mut self.devices[at];
        if !device.has_model()? {
            return Ok(());
        }
        let store = device.store()?;
        let open = store.conflicts()?;
        let parked = store.changes()?.into_iter();
        let parked: Vec<_> = parked
            .filter(|it| it.state == ChangeState::Parked)
            .collect();
        let mut lines = Vec::new();
        for change in parked {
            let name = &change.change;
            let is_open = open.iter().any(|conflict| conflict.conflict == *name);
            let (what, done) = match (is_open, rng.u8(..4)) {
                (true, 0 | 1) => {
                    let done = store.resolve(name, &Resolution::Mine).map(|_| ());
                    ("mine", done)
                }
                (true, _) => (
                    "theirs",
                    store.resolve(name, &Resolution::Theirs).map(|_| ()),
                ),
                (false, 0) if !all => ("retry", store.retry(name, None).map(|_| ())),
                (false, _) => ("drop", store.drop_change(name)),
            };
            let ended = done.map_or_else(|error| error.to_string(), |()| "done".into());
            let (entity, key, code) = (&change.entity, &change.key, &change.code);
            lines.push(format!("       {what} {entity} {key:?} {code:?}: {ended}"));
            if !all {
                break;
            }
        }
        let entities = self.plan.model.entities.iter();
        for (entity, has) in entities.zip(&mut self.devices[at].has) {
            // What is given up shows the server's row, in the window or not, until the next page.
            if entity.keep.is_some() && !lines.is_empty() {
                *has = None;
            }
        }
        self.trace.extend(lines);
        Ok(())
    }

    fn start(&mut self, at: usize, salt: u64) -> Done {
        let mut rng = Rng::with_seed(salt);
        if !matches!(self.devices[at].link, Link::Idle) {
            return self.step(at, Fate::Arrives);
        }
        let names = self.plan.model.unit_names();
        let unit = (rng.bool()).then(|| names[rng.usize(..names.len())].to_owned());
        let direction = match rng.u8(..8) {
            0 => Direction::Send,
            1 => Direction::Receive,
            _ => Direction::Both,
        };
        self.say(format!("       {unit:?} {direction:?}"));
        self.devices[at].give(Event::Start { unit, direction })
    }

    /// A sync of everything from beginning to end; says whether all it sent was applied.
    pub(crate) fn whole_sync(&mut self, at: usize) -> Done<bool> {
        self.bring_to_end(at)?;
        self.devices[at].give(Event::Start {
            unit: None,
            direction: Direction::Both,
        })?;
        self.bring_to_end(at)?;
        let report = self.devices[at].report.take().unwrap_or_default();
        if let Some((code, message)) = &report.error
            && !self.is_open
        {
            let detail = format!("d{at}: {code}: {message}");
            return Err(Wrong::new("a sync without faults goes through", detail));
        }
        if report.status != SyncStatus::Failed {
            self.check_left(at)?;
        }
        Ok(report.status == SyncStatus::Completed)
    }

    fn bring_to_end(&mut self, at: usize) -> Done {
        for _ in 0..STEPS_MAX {
            if matches!(self.devices[at].link, Link::Idle) {
                return Ok(());
            }
            self.step(at, Fate::Arrives)?;
        }
        let detail = format!("d{at} after {STEPS_MAX} messages");
        Err(Wrong::new("a sync comes to its end", detail))
    }

    /// After the last fault: everything is sent, decided about, and received.
    fn drain(&mut self) -> Done {
        self.close(true)?;
        for round in 0..ROUNDS {
            self.clock.advance(ROUND_MS);
            let mut is_drained = true;
            for at in 0..self.devices.len() {
                self.decide(at, round as u64 ^ self.plan.number, round > 2)?;
                is_drained &= self.whole_sync(at)?;
                is_drained &= self.unsettled(at)?.is_empty();
            }
            if is_drained {
                break;
            }
        }
        for at in 0..self.devices.len() {
            self.whole_sync(at)?;
        }
        for at in 0..self.devices.len() {
            let unsettled = self.unsettled(at)?;
            if !unsettled.is_empty() {
                let detail = format!("d{at}: {}", unsettled.join("; "));
                return Err(Wrong::new("everything drains", detail));
            }
            let changed = self.check_rows(at)?;
            if changed > 0 {
                let detail = format!("d{at}: {changed} rows");
                return Err(Wrong::new(
                    "what is settled and pulled is no change",
                    detail,
                ));
            }
            self.check_left(at)?;
        }
        Ok(())
    }

    /// Whether somebody else is writing.
    pub(crate) fn is_busy(&self) -> bool {
        self.is_open
    }

    fn unsettled(&mut self, at: usize) -> Done<Vec<String>> {
        let changes = self.devices[at].store()?.changes()?.into_iter();
        let is_over = |state| matches!(state, ChangeState::Settled | ChangeState::Dropped);
        let open = changes.filter(|change| !is_over(change.state));
        Ok(open.map(|change| format!("{change:?}")).collect())
    }
}

/// A folder in memory, where there is one.
fn folder() -> std::io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("afield-models-");
    builder
        .tempdir_in("/dev/shm")
        .or_else(|_| builder.tempdir())
}
