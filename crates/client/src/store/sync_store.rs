//! The engine's side of the store.

use std::collections::HashSet;
use std::path::Path;

use afield_protocol::{
    Checkpoint, Code, Frame, GroupId, GroupOutcome, Model, Page, PageEnd, Received, zoo,
};
use rusqlite::config::DbConfig;
use rusqlite::{OptionalExtension as _, Row, params};

use super::changed::Changed;
use super::conflict::{ConflictInfo, Resolution, Resolvers};
use super::db::Db;
use super::history::HISTORY_MS;
use super::outbox::{self, Envelope, GROUP_PAUSE_MAX_MS, Outgoing, RequestCaps, next_groups};
use super::page::{self, PageApplied};
use super::status::OutcomeInfo;
use super::{
    checkpoint, chosen, conflict,
    course::{self, Begun},
    decide, history, inbox, install, log, network, outcome, scope, uncaptured,
    unit::{self, UnitStatus},
    upgrade_failed, vacuum,
};
use crate::environment::Environment;
use crate::error::Error;
use crate::key::Key;

/// How a sync ended.
#[derive(Clone, Copy, Debug)]
pub struct SyncEnd<'a> {
    /// Why it failed.
    pub error: Option<&'a Code>,
    /// Whether it was of all units that there are: only then everything is known to be here.
    pub is_whole: bool,
    /// Units of which all rows are here, and when they were asked for, in milliseconds since 1970.
    pub received: &'a [(String, i64)],
    /// The unit in whose download it ended, and how far that had come.
    pub begun: Option<(&'a str, Begun)>,
}

/// Opened beside the app's [`super::Store`] on the same file: it sends what the app wrote and
/// applies what the server answers. Its connection has triggers switched off, so what it writes
/// is not captured.
pub struct SyncStore {
    pub(super) db: Db,
    resolvers: Resolvers,
    /// Groups that this sync was told to send later.
    sent_back: HashSet<i64>,
    /// Whether rows left whose scope has values since the write-ahead log was emptied, as far as
    /// is known: a process before this one may have died in between.
    pub(super) rows_left: bool,
    /// The newest checkpoint of the server's; empty if none came since the store was opened.
    pub(super) checkpoint: Checkpoint,
    /// Those that it stands for: its request told them to the server.
    pub(super) stands_for: Vec<Checkpoint>,
    /// Those that the newest request told.
    pub(super) told: Vec<Checkpoint>,
    /// Whether anything was settled since the history was last cut.
    history_grew: bool,
    /// Whether what a restore of the server took is sent again unasked.
    pub(super) resends_lost: bool,
    /// Rows that pages brought and took, if somebody wants to know.
    changed: Option<Changed>,
}

/// Pages that a sync keeps while it runs, in KiB. With SQLite's own 2 MiB a page of a download does
/// not fit: what it changed is written to the log, read again and written once more.
const SYNC_CACHE_KIB: i64 = 16 * 1024;

/// Bytes of the write-ahead log above which it is emptied at the end of a sync: SQLite itself never
/// makes it smaller, and much of a download lies in it twice.
const LOG_BYTES: u64 = 1024 * 1024;

impl SyncStore {
    /// Opens or makes the store at `path` for `user`.
    ///
    /// # Errors
    /// The file cannot be read, or belongs to another user.
    pub fn open(path: &Path, user: &str, env: Box<dyn Environment>) -> Result<Self, Error> {
        Self::open_with(path, user, None, env)
    }

    /// Opens or makes the store at `path` for `user`, encrypted under `key` if there is one; see
    /// [`super::Store::open_with`].
    ///
    /// # Errors
    /// Those of [`super::Store::open_with`].
    pub fn open_with(
        path: &Path,
        user: &str,
        key: Option<&Key>,
        env: Box<dyn Environment>,
    ) -> Result<Self, Error> {
        let db = Db::open(path, user, key, env)?;
        db.conn
            .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
        // Otherwise SQLite plans a statement that was kept anew whenever a value is bound to it.
        // The app's connection stays as it is: its `LIKE ?1` may use an index.
        db.conn
            .set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        db.conn.pragma_update(None, "cache_size", -SYNC_CACHE_KIB)?;
        // Tables of the app's own may refer to ours; the server's rows must not fail on them.
        db.conn.pragma_update(None, "foreign_keys", "OFF")?;
        let mut store = Self {
            db,
            resolvers: Resolvers::new(),
            sent_back: HashSet::new(),
            rows_left: true,
            changed: None,
            checkpoint: Checkpoint::new(),
            stands_for: Vec::new(),
            told: Vec::new(),
            history_grew: true,
            resends_lost: false,
        };
        // A process before this one may have died in between; what cannot be done now is done at
        // the end of a sync.
        let _ = store.erase();
        Ok(store)
    }

    /// Erases what is due of rows that left, of entities with `erase`: writes the file anew and
    /// empties its log. It needs twice the space of the store for that time, and who writes
    /// meanwhile waits. False if it is still due, because others read or write at this moment:
    /// nobody is waited for.
    ///
    /// # Errors
    /// The store cannot be written, or there is no space; it is still due then.
    pub fn erase(&mut self) -> Result<bool, Error> {
        vacuum::vacuum(&mut self.db)
    }

    /// Lets `resolver` decide the conflicts of `entity`: those that arrive from now on in the
    /// transaction that stores them, and those still open before the next request. What it
    /// decides is recorded as any decision is.
    pub fn set_resolver(
        &mut self,
        entity: impl Into<String>,
        resolver: impl Fn(&ConflictInfo) -> Option<Resolution> + Send + 'static,
    ) {
        self.resolvers.insert(entity.into(), Box::new(resolver));
    }

    /// The first open conflict among entities of `unit` that stop their syncs: the entity and the
    /// conflict's name.
    ///
    /// # Errors
    /// There is no such unit, or the store cannot be read.
    pub fn stopped_by(&mut self, unit: &str) -> Result<Option<(String, String)>, Error> {
        let loaded = self.db.loaded()?;
        let names = synced(&loaded.model, unit)?;
        let is_strict = |name: &str| {
            let entity = loaded.model.entity(name);
            entity.is_some_and(|entity| entity.strict) && names.iter().any(|it| it == name)
        };
        if !loaded.model.entities.iter().any(|it| is_strict(&it.name)) {
            return Ok(None);
        }
        let resolvers = &self.resolvers;
        self.db
            .write("decide", |db| decide::automatically(db, resolvers))?;
        let mut open = conflict::open(&self.db)?.into_iter();
        let found = open.find(|conflict| is_strict(&conflict.entity));
        Ok(found.map(|conflict| (conflict.entity.clone(), conflict.name())))
    }

    /// Notes that the server answered just now, or that it cannot be reached: entities with
    /// `edit = "online"` are written only while its last answer is fresh.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn note_network(&mut self, is_online: bool) -> Result<(), Error> {
        network::note(&mut self.db, is_online)
    }

    /// The model, if the store has one.
    pub fn model(&mut self) -> Result<Option<Model>, Error> {
        self.db.reload()?;
        Ok(if self.db.has_model() {
            Some(self.db.loaded()?.model.clone())
        } else {
            None
        })
    }

    /// Installs the server's model. Rows and unsettled changes of entities whose definition
    /// changed stay; what the definition adds is fetched with the next pull.
    ///
    /// # Errors
    /// A table of the app's own, or rows of a local-only entity, stand in the way, or the store
    /// cannot be written; nothing is changed then, and the old model stays in use.
    pub fn install(&mut self, model: &Model) -> Result<(), Error> {
        self.synchronous("FULL")?;
        self.db.write("install", |db| install::install(db, model))
    }

    /// Seals and freezes what is to be sent, durably, and counts the request. `unit` names what
    /// to pull; `None` pulls nothing.
    ///
    /// # Errors
    /// The store has no such unit, or cannot be written.
    pub fn next_request(
        &mut self,
        unit: Option<&str>,
        send: bool,
        caps: RequestCaps,
    ) -> Result<Outgoing, Error> {
        self.synchronous("FULL")?;
        let (resolvers, sent_back, told) = (&self.resolvers, &self.sent_back, &mut self.told);
        self.db.write("freeze", |db| {
            let loaded = db.loaded()?;
            let envelope = if send {
                decide::automatically(db, resolvers)?;
                next_groups(db, caps, sent_back)?
            } else {
                Envelope::default()
            };
            let pull = match unit {
                Some(unit) => page::positions(db, &synced(&loaded.model, unit)?)?,
                None => Vec::new(),
            };
            let held = match caps.held {
                true => scope::all(db, &pull)?,
                false => Vec::new(),
            };
            let chosen = match pull.is_empty() {
                true => Vec::new(),
                false => chosen::of_request(db)?,
            };
            let sql = "UPDATE afield_meta SET request = request + 1 RETURNING request, device";
            let row = |row: &Row<'_>| Ok((row.get(0)?, row.get(1)?));
            let (request, device) = db.conn.query_row(sql, [], row)?;
            let checkpoints = checkpoint::told(db)?;
            told.clone_from(&checkpoints);
            let fingerprint = loaded.fingerprint.clone();
            Ok(Outgoing {
                request,
                device,
                fingerprint,
                checkpoints,
                groups: envelope.groups,
                part: envelope.part,
                more: envelope.more,
                pull,
                held,
                chosen,
                closed: inbox::to_tell(db)?,
                // Never in the way of changes: behind the last of them.
                log: match caps.log && !envelope.more {
                    true => log::of_request(db)?,
                    false => Vec::new(),
                },
            })
        })
    }

    /// Stores outcomes that arrived with the answer to `request`; each leaves the outbox here.
    ///
    /// # Errors
    /// An outcome does not fit its group, or the store cannot be written.
    pub fn store_outcomes(
        &mut self,
        request: i64,
        outcomes: &[GroupOutcome],
    ) -> Result<Vec<OutcomeInfo>, Error> {
        self.synchronous("FULL")?;
        let (resolvers, reached) = (&self.resolvers, &self.checkpoint);
        let told = &self.stands_for;
        let stored = self.db.write("outcomes", |db| {
            checkpoint::keep(db, reached, told)?;
            let stored = outcome::store(db, request, outcomes)?;
            decide::automatically(db, resolvers)?;
            Ok(stored)
        })?;
        self.sent_back.extend(stored.sent_back);
        self.history_grew |= !stored.outcomes.is_empty();
        Ok(stored.outcomes)
    }

    /// Notes how much of a group the server keeps. If that is lost, the server says it again.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn received(&mut self, received: Received) -> Result<(), Error> {
        self.synchronous("NORMAL")?;
        self.db.write("received", |db| {
            let sql = "UPDATE afield_group SET received = ?2 WHERE id = ?1 AND state = 'sent'";
            db.conn
                .prepare_cached(sql)?
                .execute(params![received.group.0, received.bytes])?;
            Ok(())
        })
    }

    /// Applies or stages a page of the answer to `request`.
    ///
    /// # Errors
    /// The page is malformed, or the store cannot be written; nothing of it was applied then.
    pub fn apply_page(
        &mut self,
        request: i64,
        page: &Page,
        content: &[Frame],
        end: &PageEnd,
    ) -> Result<PageApplied, Error> {
        // What is lost with the power can be pulled again: the position goes with the rows.
        self.synchronous("NORMAL")?;
        let done = self
            .db
            .write("page", |db| page::apply(db, request, page, content, end))?;
        self.rows_left |= done.left;
        if let (Some(changed), PageApplied::Applied { rows } | PageApplied::Staged { rows }) =
            (&mut self.changed, done.page)
        {
            let loaded = self.db.loaded()?;
            changed.add(&loaded.model, content, end, rows)?;
        }
        Ok(done.page)
    }

    /// From now on remembers which rows pages bring and take, until they are asked for.
    pub fn collect_changed(&mut self) {
        self.changed.get_or_insert_default();
    }

    /// The rows that pages brought and took since this was last asked; nothing if nobody collects
    /// them.
    pub fn take_changed(&mut self) -> Changed {
        self.changed
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Moves what the write-ahead log holds into the main file and empties it, so that nothing
    /// stays there of rows that left. False if another connection is reading or writing at this
    /// moment: nobody waits for this.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn empty_log(&mut self) -> Result<bool, Error> {
        let is_empty = self.db.empty_log()?;
        self.rows_left &= !is_empty;
        Ok(is_empty)
    }

    /// Lets a group wait that failed alone, longer each time.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn back_off(&mut self, group: GroupId, pause_ms: i64) -> Result<(), Error> {
        self.db.write("back-off", |db| {
            let until = db.env.now_ms().saturating_add(pause_ms);
            let sql = "UPDATE afield_group SET attempts = attempts + 1, not_before = ?2 \
                       WHERE id = ?1 AND state = 'sent'";
            db.conn.execute(sql, params![group.0, until])?;
            Ok(())
        })
    }

    /// In how many milliseconds the first group that failed alone may be sent again.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn backs_off_for(&mut self) -> Result<Option<i64>, Error> {
        let now = self.db.env.now_ms();
        let sql = "SELECT min(not_before) FROM afield_group WHERE state = 'sent' \
                   AND not_before > ?1 AND not_before <= ?2";
        let until = now.saturating_add(GROUP_PAUSE_MAX_MS);
        let mut select = self.db.conn.prepare_cached(sql)?;
        let first: Option<i64> = select.query_row([now, until], |row| row.get(0))?;
        Ok(first.map(|at| at - now))
    }

    /// Parks a group that the server says is too large for it, with an outcome for each of its
    /// changes: a person decides, and everything else flows.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn park_too_large(&mut self, group: GroupId, message: &str) -> Result<(), Error> {
        self.db
            .write("park", |db| outbox::park_refused(db, group, message))
    }

    /// How often a group failed alone.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn attempts(&self, group: GroupId) -> Result<u32, Error> {
        let sql = "SELECT attempts FROM afield_group WHERE id = ?1";
        Ok(self
            .db
            .conn
            .prepare_cached(sql)?
            .query_row([group.0], |row| row.get(0))?)
    }

    /// Whether each of these groups took effect.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn are_settled(&self, groups: &[GroupId]) -> Result<bool, Error> {
        if groups.is_empty() {
            return Ok(true);
        }
        let groups: HashSet<[u8; 16]> = groups.iter().map(|group| group.0).collect();
        // Others stand in the place of some; what is not here left with its rows once applied.
        let sql = "SELECT id, absorbed FROM afield_group \
                   WHERE state IN ('pending', 'sent', 'parked', 'dropped')";
        let mut statement = self.db.conn.prepare_cached(sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (id, absorbed): ([u8; 16], Vec<u8>) = (row.get(0)?, row.get(1)?);
            let (absorbed, _) = absorbed.as_chunks::<16>();
            if groups.contains(&id) || absorbed.iter().any(|id| groups.contains(id)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Notes how a sync ended, and drops history that is old enough, or too much. If rows left
    /// whose scope has values, what there was of them leaves the write-ahead log too, as soon as
    /// nobody reads.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn finished(&mut self, error: Option<&Code>) -> Result<(), Error> {
        let is_whole = true;
        self.ended(&SyncEnd {
            error,
            is_whole,
            received: &[],
            begun: None,
        })
    }

    /// The same with more said of it.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn ended(&mut self, end: &SyncEnd<'_>) -> Result<(), Error> {
        let error = end.error;
        self.sent_back.clear();
        let (reached, told) = (&self.checkpoint, &self.stands_for);
        let grew = std::mem::take(&mut self.history_grew);
        self.db.write("finished", |db| {
            checkpoint::keep(db, reached, told)?;
            let now = db.env.now_ms();
            let sql = "UPDATE afield_meta SET last_error = ?1, \
                       last_success = CASE WHEN ?3 THEN ?2 ELSE last_success END";
            let has_all = error.is_none() && end.is_whole;
            let error_word = error.map(Code::as_str);
            db.conn.execute(sql, params![error_word, now, has_all])?;
            unit::received(db, end.received)?;
            course::keep(db, end.begun, end.received)?;
            match error {
                // The server goes by this store's model, whatever it had meanwhile.
                None => upgrade_failed::forget(db)?,
                Some(code) => log::failed(db, code)?,
            }
            uncaptured::prune(db, now - HISTORY_MS)?;
            history::prune(db, now, grew)
        })?;
        let is_scoped = self.db.loaded.as_ref().is_some_and(|loaded| {
            let mut entities = loaded.model.entities.iter();
            entities.any(|entity| !entity.scope.is_empty())
        });
        let wrote_much = self.db.log_bytes() > LOG_BYTES;
        if self.rows_left && is_scoped || wrote_much {
            // The sync is through whatever becomes of this; the next one tries again.
            let _ = self.empty_log();
        }
        let _ = self.erase();
        if wrote_much {
            // Until the next sync the app has better use for the memory.
            let _ = self.db.conn.execute_batch("PRAGMA shrink_memory");
        }
        Ok(())
    }

    /// Where each sync unit stands, in the model's order.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn units(&mut self) -> Result<Vec<UnitStatus>, Error> {
        self.db.write("units", unit::status)
    }

    /// Milliseconds since 1970, by the store's own clock.
    pub fn now_ms(&mut self) -> i64 {
        self.db.env.now_ms()
    }

    /// Random bytes, by the store's own source.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.db.env.fill(bytes);
    }

    /// The newest change group that waits to be sent, once what other connections wrote has become
    /// one. Another answer than before means that something was written since.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub fn newest_pending(&mut self) -> Result<Option<GroupId>, Error> {
        self.db.write("newest-pending", |db| {
            let sql = "SELECT id FROM afield_group WHERE state = 'pending' ORDER BY n DESC LIMIT 1";
            let mut select = db.conn.prepare_cached(sql)?;
            let id = select.query_row([], |row| row.get(0)).optional()?;
            Ok(id.map(GroupId))
        })
    }

    /// Where this store was last synchronised.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn server(&self) -> Result<Option<String>, Error> {
        let sql = "SELECT server FROM afield_meta";
        Ok(self.db.conn.query_row(sql, [], |row| row.get(0))?)
    }

    /// Remembers where to synchronise.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn set_server(&mut self, server: &str) -> Result<(), Error> {
        self.db
            .conn
            .execute("UPDATE afield_meta SET server = ?1", [server])?;
        Ok(())
    }

    /// Notes whether the history grew.
    pub(super) fn grew(&mut self, has_grown: bool) {
        self.history_grew |= has_grown;
    }

    pub(super) fn synchronous(&self, level: &str) -> Result<(), Error> {
        let level = if zoo::planted("freeze-not-durable") {
            "OFF"
        } else {
            level
        };
        Ok(self.db.conn.pragma_update(None, "synchronous", level)?)
    }
}

/// The synced entities of a unit.
pub(super) fn synced(model: &Model, unit: &str) -> Result<Vec<String>, Error> {
    let found = model.unit(unit).ok_or_else(|| {
        let known: Vec<_> = model.units.iter().map(|unit| unit.name.as_str()).collect();
        let message = format!("no sync unit `{unit}`; there are: {}", known.join(", "));
        Error::new(Code::UNKNOWN_UNIT, message)
    })?;
    let is_pulled = |name: &&String| {
        let entity = model.entity(name);
        entity.is_some_and(|entity| entity.is_synced() && !entity.insert_only)
    };
    Ok(found.entities.iter().filter(is_pulled).cloned().collect())
}
