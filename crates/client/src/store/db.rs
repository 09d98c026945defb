//! One connection with what both sides of the store need: the model's tables, the clock, and
//! write transactions that begin by sealing what other connections wrote.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use afield_protocol::{Code, Model, zoo};
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use super::tables::{Table, ranks};
use super::watch::{Watches, Written, data_version};
use super::{checkpoint, cipher, seal, states, waits};
use crate::environment::Environment;
use crate::error::Error;
use crate::key::Key;

/// The version of the bookkeeping tables.
const FORMAT: i64 = 1;

/// How long a write waits for another process before it looks again. SQLite's own handler waits
/// longer each time, up to 100 ms, and so hardly ever gets the lock from a process that writes
/// page after page.
const BUSY_PAUSE: Duration = Duration::from_millis(2);

/// How often it looks before it gives up: for ten seconds at least.
const BUSY_LOOKS: i32 = 5_000;

/// How often a new file's first openers step aside for each other before one gives up.
const WAL_ATTEMPTS: u32 = 100;

/// How often an encrypted store is opened anew that others make or replace at this moment.
const KEYED_ATTEMPTS: u32 = 5;

/// Prepared statements kept for each connection: a few for each entity.
const STATEMENTS: usize = 256;

/// A model and the tables made from it.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) model: Model,
    pub(crate) fingerprint: String,
    pub(crate) tables: Vec<Table>,
    /// Queries that say together which of the tables have captured rows; see [`seal::captured`].
    pub(super) captured: Vec<String>,
}

impl Loaded {
    pub(super) fn new(model: Model) -> Self {
        let ranks = ranks(&model.entities);
        let entities = model.entities.iter().cloned();
        let tables: Vec<_> = entities
            .zip(ranks)
            .map(|(entity, rank)| Table::new(entity, rank).numbered(&model))
            .collect();
        Self {
            fingerprint: model.fingerprint(),
            captured: seal::captured_queries(&tables),
            tables,
            model,
        }
    }

    pub(crate) fn table(&self, entity: &str) -> Result<&Table, Error> {
        self.tables
            .iter()
            .find(|table| table.entity.name == entity)
            .ok_or_else(|| {
                let known: Vec<_> = self.tables.iter().map(|t| t.entity.name.as_str()).collect();
                Error::new(
                    Code::UNKNOWN_ENTITY,
                    format!("no entity `{entity}`; there are: {}", known.join(", ")),
                )
            })
    }
}

/// A connection and what it works with.
pub(crate) struct Db {
    pub(crate) conn: Connection,
    pub(crate) env: Box<dyn Environment>,
    pub(super) watches: Watches,
    pub(super) written: Written,
    pub(super) loaded: Option<Arc<Loaded>>,
    pub(super) key: Option<Key>,
    step: Arc<Step>,
    /// SQLite's number for what others committed, as it was when this connection last committed
    /// and everything captured was sealed. As long as it stays, nobody wrote meanwhile.
    sealed_at: Option<i64>,
    /// Whether nothing was parked and nothing backed off then; see [`waits`].
    is_calm: bool,
    /// Told of each commit of this connection.
    pub(super) on_commit: Option<Arc<dyn Fn() + Send + Sync>>,
}

/// Whether a step of the app's runs, and whether it ended the transaction it runs in. SQLite's
/// commit and rollback hooks keep it, so that no wording of a statement gets round it.
#[derive(Debug, Default)]
struct Step(AtomicU8);

impl Step {
    const NONE: u8 = 0;
    const RUNS: u8 = 1;
    const ENDED: u8 = 2;

    /// Notes that the transaction is ending; true if a step may not do that.
    fn is_ending_it(&self) -> bool {
        let order = Ordering::SeqCst;
        let before = self
            .0
            .compare_exchange(Self::RUNS, Self::ENDED, order, order);
        before.unwrap_or_else(|before| before) != Self::NONE
    }
}

impl Db {
    /// Opens or makes the file for `user`, encrypted if there is a key.
    pub(crate) fn open(
        path: &Path,
        user: &str,
        key: Option<&Key>,
        mut env: Box<dyn Environment>,
    ) -> Result<Self, Error> {
        let mut conn =
            connect(path, user, key, env.as_mut()).map_err(|error| located(path, error))?;
        let step = Arc::new(Step::default());
        let (committing, rolling_back) = (step.clone(), step.clone());
        conn.commit_hook(Some(move || committing.is_ending_it()))?;
        conn.rollback_hook(Some(move || {
            rolling_back.is_ending_it();
        }))?;
        let mut db = Self {
            conn,
            env,
            watches: Watches::default(),
            written: Written::default(),
            loaded: None,
            key: key.cloned(),
            step,
            sealed_at: None,
            is_calm: false,
            on_commit: None,
        };
        db.reload()?;
        states::renew(&mut db)?;
        Ok(db)
    }

    /// The model and its tables.
    ///
    /// # Errors
    /// The store has none yet: it never reached a server.
    pub(crate) fn loaded(&self) -> Result<Arc<Loaded>, Error> {
        self.loaded.clone().ok_or_else(|| {
            Error::new(
                Code::MODEL_CHANGED,
                "this store has no model yet; synchronise once, or give it one when opening",
            )
        })
    }

    pub(crate) fn has_model(&self) -> bool {
        self.loaded.is_some()
    }

    /// Reads the model again if another connection installed another one.
    pub(crate) fn reload(&mut self) -> Result<(), Error> {
        let sql = "SELECT fingerprint FROM afield_meta";
        let stored: Option<String> = self.conn.prepare_cached(sql)?.query_row([], |r| r.get(0))?;
        if stored.as_deref() == self.loaded.as_ref().map(|l| l.fingerprint.as_str()) {
            return Ok(());
        }
        let sql = "SELECT model FROM afield_meta";
        let json: Option<String> = self.conn.query_row(sql, [], |row| row.get(0))?;
        let model = json.map(|json| Model::from_json(&json)).transpose()?;
        self.loaded = model.map(|model| Arc::new(Loaded::new(model)));
        Ok(())
    }

    /// Runs `step` in one write transaction. Holding the write lock, it first seals what other
    /// connections wrote, if any of them did. `name` is the crash point before and after the
    /// commit.
    pub(crate) fn write<T>(
        &mut self,
        name: &'static str,
        step: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        if !self.conn.is_autocommit() {
            // A step panicked, and the app went on: what it had written must not be committed.
            self.step.0.store(Step::NONE, Ordering::SeqCst);
            self.conn.execute_batch("ROLLBACK")?;
        }
        self.hook_writes()?;
        let sealed_at = self.sealed_at.take();
        let was_calm = std::mem::take(&mut self.is_calm);
        self.run("BEGIN IMMEDIATE")?;
        let begun = data_version(&self.conn).and_then(|version| {
            if sealed_at != Some(version) {
                self.reload()?;
                seal::seal(self, None)?;
            }
            Ok(version)
        });
        let result = begun.and_then(|version| Ok((version, step(self)?)));
        let result = result.and_then(|(version, done)| {
            let was_calm = was_calm && sealed_at == Some(version);
            let is_calm = waits::refresh(self, self.outbox_written(), was_calm)?;
            zoo::crash_point(name)?;
            self.watches.clone().commit(self)?;
            zoo::committed(|| self.is_durable());
            zoo::crash_point(name)?;
            self.sealed_at = (!zoo::planted("seal-later")).then_some(version);
            self.is_calm = is_calm;
            Ok(done)
        });
        if result.is_ok()
            && let Some(on_commit) = &self.on_commit
        {
            on_commit();
        }
        if result.is_err() && !self.conn.is_autocommit() {
            // A failed rollback leaves a transaction that nobody can commit: the same effect.
            let _ = self.conn.execute_batch("ROLLBACK");
        }
        result
    }

    /// Runs a statement that begins or ends a transaction, planned once.
    pub(super) fn run(&self, sql: &str) -> Result<(), Error> {
        self.conn.prepare_cached(sql)?.execute([])?;
        Ok(())
    }

    /// Runs a step of the app's inside the transaction of [`Db::write`], which it cannot end: a
    /// COMMIT in it is refused, and after a rollback the step has failed whatever it says.
    pub(crate) fn guarded<T>(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.step.0.store(Step::RUNS, Ordering::SeqCst);
        let result = step(self);
        let ended = self.step.0.swap(Step::NONE, Ordering::SeqCst) == Step::ENDED;
        if ended && result.is_ok() {
            return Err(ended_transaction());
        }
        result
    }

    /// Moves what the write-ahead log holds into the main file and empties it, so that nothing
    /// stays there of what was deleted. False if others are reading or writing: nobody, and least
    /// of all the user, waits for this.
    pub(super) fn empty_log(&mut self) -> Result<bool, Error> {
        self.without_waiting(|conn| {
            let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
            let busy: bool = conn.query_row(sql, [], |row| row.get(0))?;
            Ok(!busy)
        })
    }

    /// Bytes of the write-ahead log, as far as they can be told.
    pub(super) fn log_bytes(&self) -> u64 {
        let log = self.conn.path().map(|path| format!("{path}-wal"));
        let bytes = log.and_then(|log| std::fs::metadata(log).ok());
        bytes.map_or(0, |file| file.len())
    }

    /// Writes the whole file anew, from what is there. False if somebody else writes: nobody is
    /// waited for. Who writes meanwhile waits for this.
    pub(super) fn vacuum(&mut self) -> Result<bool, Error> {
        self.without_waiting(|conn| conn.execute_batch("VACUUM").map(|()| true))
    }

    fn without_waiting(
        &mut self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<bool>,
    ) -> Result<bool, Error> {
        self.conn.busy_handler(None::<fn(i32) -> bool>)?;
        let done = work(&self.conn);
        self.conn.busy_handler(Some(wait_for_lock))?;
        match done {
            Ok(done) => Ok(done),
            Err(error) => match error.sqlite_error_code() {
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Ok(false),
                _ => Err(error.into()),
            },
        }
    }

    /// Whether a commit of this connection survives a power cut.
    fn is_durable(&self) -> bool {
        let level: Result<i64, _> =
            (self.conn).pragma_query_value(None, "synchronous", |row| row.get(0));
        level.is_ok_and(|level| level >= 2)
    }

    /// A point inside a write at which the simulator may let the process die.
    pub(crate) fn crash_point(&self, name: &'static str) -> Result<(), Error> {
        Ok(zoo::crash_point(name)?)
    }

    /// Sixteen random bytes.
    pub(crate) fn random_id(&mut self) -> [u8; 16] {
        let mut id = [0; 16];
        self.env.fill(&mut id);
        id
    }
}

/// A step that panicked leaves its transaction open. It is rolled back while SQLite's hooks are
/// still there: closing the connection would do it when they are gone.
impl Drop for Db {
    fn drop(&mut self) {
        if !self.conn.is_autocommit() {
            let _ = self.conn.execute_batch("ROLLBACK");
        }
    }
}

pub(super) fn ended_transaction() -> Error {
    let message = "a statement ended the transaction; leave BEGIN, COMMIT and ROLLBACK to it";
    Error::new(Code::SQL, message)
}

#[expect(
    clippy::disallowed_methods,
    reason = "SQLite asks for the pause, and only where another process has the lock"
)]
pub(super) fn wait_for_lock(looked: i32) -> bool {
    std::thread::sleep(BUSY_PAUSE);
    looked < BUSY_LOOKS
}

/// The same error, with the file it is about.
pub(super) fn located(path: &Path, error: Error) -> Error {
    let message = format!("{}: {error}", path.display());
    Error::new(error.code().clone(), message).caused_by(error)
}

/// Opens the file.
fn connect(
    path: &Path,
    user: &str,
    key: Option<&Key>,
    env: &mut dyn Environment,
) -> Result<Connection, Error> {
    let mut attempts = if key.is_some() { KEYED_ATTEMPTS } else { 1 };
    loop {
        let before = cipher::which_file(path);
        let connected = connect_once(path, user, key, env);
        attempts -= 1;
        // Whoever opened a file while another process made it an encrypted store, or gave it
        // another key, looks at it with the wrong eyes.
        match &connected {
            Err(error)
                if attempts > 0
                    // A simulated crash is the end, as a real one is.
                    && *error.code() != Code::INTERNAL
                    && (cipher::is_unreadable(error) || cipher::which_file(path) != before) => {}
            _ => return connected,
        }
    }
}

/// The file is looked at before anything is written, so that a file of somebody else stays as it
/// is.
fn connect_once(
    path: &Path,
    user: &str,
    key: Option<&Key>,
    env: &mut dyn Environment,
) -> Result<Connection, Error> {
    let conn = cipher::open(path, key, |conn| is_ours(conn, user))?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    is_ours(&conn, user)?;
    cipher::raise_cache(&conn, key)?;
    use_wal(&conn)?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    // What is deleted may be somebody's who must not see it any more: it is overwritten.
    conn.pragma_update(None, "secure_delete", "ON")?;
    if !has_table(&conn, "afield_meta")? {
        make(&conn, user, env)?;
    }
    check_owner(&conn, user)?;
    for (table, sql) in ADDED {
        add(&conn, table, sql)?;
    }
    checkpoint::add_columns(&conn)?;
    #[cfg(feature = "encryption")]
    if key.is_some() {
        super::rewrite::finish(path)?;
    }
    Ok(conn)
}

/// Refuses a database of another program, or of another user.
fn is_ours(conn: &Connection, user: &str) -> Result<(), Error> {
    // One statement, so that a store that another process is making is never seen half made.
    let sql = "SELECT count(*), coalesce(sum(name = 'afield_meta'), 0) FROM sqlite_schema";
    let (tables, ours): (i64, bool) =
        conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if ours {
        check_owner(conn, user)?;
    } else if tables > 0 {
        let message = "this is a database of another program; give the store a file of its own";
        return Err(Error::new(Code::STORE_DAMAGED, message));
    }
    Ok(())
}

/// Switches to write-ahead logging, which the file remembers.
///
/// SQLite does not wait for others in the switch itself. Whoever meets them waits for the write
/// lock, as any write does, and looks again; most often they have switched meanwhile.
fn use_wal(conn: &Connection) -> Result<(), Error> {
    let switch = || -> rusqlite::Result<String> {
        conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
    };
    let mut mode = switch();
    for _ in 0..WAL_ATTEMPTS {
        let busy = [ErrorCode::DatabaseBusy, ErrorCode::DatabaseLocked];
        match &mode {
            Err(error)
                if error
                    .sqlite_error_code()
                    .is_some_and(|code| busy.contains(&code)) => {}
            _ => break,
        }
        conn.execute_batch("BEGIN IMMEDIATE; COMMIT")?;
        mode = switch();
    }
    let mode = mode?;
    if mode == "wal" {
        return Ok(());
    }
    let message = format!("write-ahead logging is not possible here (journal mode {mode})");
    Err(Error::new(Code::STORE_DAMAGED, message))
}

fn has_table(conn: &Connection, name: &str) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1";
    Ok(conn
        .query_row(sql, [name], |_| Ok(()))
        .optional()?
        .is_some())
}

/// Tables that stores of earlier versions do not have, and what makes them.
const ADDED: [(&str, &str); 13] = [
    ("afield_held", include_str!("held.sql")),
    ("afield_chosen", include_str!("chosen.sql")),
    ("afield_told", include_str!("told.sql")),
    ("afield_erase", include_str!("erase.sql")),
    ("afield_network", include_str!("network.sql")),
    ("afield_verify", include_str!("verify.sql")),
    ("afield_unit", include_str!("unit.sql")),
    ("afield_session", include_str!("session.sql")),
    ("afield_decided", include_str!("inbox.sql")),
    ("afield_waits", include_str!("waits.sql")),
    ("afield_log", include_str!("log.sql")),
    ("afield_course", include_str!("course.sql")),
    ("afield_left", include_str!("left.sql")),
];

/// Adds bookkeeping to a store of a version that had none of it.
fn add(conn: &Connection, table: &str, sql: &str) -> Result<(), Error> {
    if has_table(conn, table)? {
        return Ok(());
    }
    let transaction =
        rusqlite::Transaction::new_unchecked(conn, rusqlite::TransactionBehavior::Immediate)?;
    if !has_table(&transaction, table)? {
        transaction.execute_batch(sql)?;
    }
    Ok(transaction.commit()?)
}

fn make(conn: &Connection, user: &str, env: &mut dyn Environment) -> Result<(), Error> {
    let mut id = [0; 16];
    env.fill(&mut id);
    let device = afield_protocol::GroupId(id).to_string();
    let transaction =
        rusqlite::Transaction::new_unchecked(conn, rusqlite::TransactionBehavior::Immediate)?;
    if !has_table(&transaction, "afield_meta")? {
        transaction.execute_batch(include_str!("bookkeeping.sql"))?;
        for (_, sql) in ADDED {
            transaction.execute_batch(sql)?;
        }
        let sql = "INSERT INTO afield_meta (one, format, device, user) VALUES (1, ?1, ?2, ?3)";
        transaction.execute(sql, params![FORMAT, device, user])?;
    }
    transaction.commit()?;
    Ok(())
}

fn check_owner(conn: &Connection, user: &str) -> Result<(), Error> {
    let sql = "SELECT format, user FROM afield_meta";
    let (format, owner): (i64, String) =
        conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if format != FORMAT {
        let message = format!(
            "the store has format {format}, this version reads {FORMAT}: use a newer version \
             of the app"
        );
        return Err(Error::new(Code::UPDATE_REQUIRED, message));
    }
    if owner != user {
        let message = format!("the store belongs to the user `{owner}`");
        return Err(Error::new(Code::FORBIDDEN, message));
    }
    Ok(())
}
