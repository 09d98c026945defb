//! A storage in a team's PostgreSQL: whole decisions, each inside one transaction.
//!
//! Any number of servers may share the database. Nothing is kept between requests but connections,
//! what the tables look like, and what of the present epoch is known to be on disk.

use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use afield_protocol::{
    Checkpoint, Closed, Decided, Group, GroupId, GroupOutcome, History, LogEntry, Part, limits,
};

use super::duties::Changed;
use super::epoch::{self, Epoch};
use super::error::lasting;
use super::link::Link;
use super::marks::Snapshot;
use super::pool::Pool;
use super::pull::{self, Known, Outcome, Read};
use super::tables::Tables;
use super::{duties, history, inbox, live, log, parts, position, purge, push};
use crate::model::file::{LimitsSection, PostgresUrl};
use crate::position::CodeKey;
use crate::resolved::ServerModel;
use crate::storage::inbox::{Decide, DecideOutcome, InboxEntry, InboxQuery};
use crate::storage::lists::{LISTS_BYTES, Lists};
use crate::storage::live::{Look, Moment, Touched, Watched};
use crate::storage::log::{LogLine, LogQuery};
use crate::storage::{
    Caller, PartTaken, PullRequest, PulledPage, Purged, Retention, Storage, StorageError,
};

/// How often a page is read anew because the database is another one than it was: each time for
/// a reason that the next attempt has seen.
const ATTEMPTS: usize = 4;

/// A team's PostgreSQL database.
pub struct PostgresStorage {
    pub(super) pool: Pool,
    pub(super) code_key: CodeKey,
    epoch: Mutex<Epoch>,
    /// Held by who writes the beacon.
    raising: Mutex<()>,
    tables: Mutex<Arc<Tables>>,
    clock: Option<Box<dyn Fn() -> i64 + Send + Sync>>,
    lists: Lists,
    pub(super) scope_values_max: usize,
    pub(super) group_changes_max: usize,
}

impl std::fmt::Debug for PostgresStorage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresStorage").finish_non_exhaustive()
    }
}

impl PostgresStorage {
    /// Opens a prepared database. Not to be called, nor anything of it, from asynchronous code.
    ///
    /// # Errors
    /// The database cannot be reached, is not prepared for this model (run `afield prepare`), or
    /// cannot be written.
    pub fn open(url: &PostgresUrl, model: &ServerModel) -> Result<Self, StorageError> {
        Self::open_with(url, model, LimitsSection::default().database_connections)
    }

    /// The same with so many connections at most, of which each request has one.
    ///
    /// # Errors
    /// As [`PostgresStorage::open`].
    pub fn open_with(
        url: &PostgresUrl,
        model: &ServerModel,
        connections: usize,
    ) -> Result<Self, StorageError> {
        let pool = Pool::new(url.clone(), connections);
        let (tables, code_key, epoch) = pool.with(async |link| {
            let tables = Tables::load(link, model).await?;
            let sql = "SELECT code_key FROM afield.node";
            let row = link
                .query_one(sql, &[], "reading the key of the positions")
                .await?;
            let key: &[u8] = row.get(0);
            let key: CodeKey = key
                .try_into()
                .map_err(|_| lasting("`afield.node` has a key of another length"))?;
            Ok((tables, key, epoch::begin(link).await?))
        })?;
        Ok(Self {
            pool,
            code_key,
            epoch: Mutex::new(epoch),
            raising: Mutex::default(),
            tables: Mutex::new(Arc::new(tables)),
            clock: None,
            lists: Lists::new(LISTS_BYTES),
            scope_values_max: limits::SCOPE_VALUES_MAX,
            group_changes_max: limits::GROUP_CHANGES_MAX,
        })
    }

    /// Remembers so many bytes of lists of values. What is forgotten devices are asked for.
    #[must_use]
    pub fn with_list_memory(mut self, bytes: usize) -> Self {
        self.lists = Lists::new(bytes);
        self
    }

    /// Looks up so many values of a scope for a user, and takes so many changes in one group.
    #[must_use]
    pub fn with_limits(mut self, scope_values: usize, group_changes: usize) -> Self {
        self.scope_values_max = scope_values;
        self.group_changes_max = group_changes;
        self
    }

    /// Takes the seconds since 1970 that the ledger notes, and by which marks and ledger are
    /// forgotten, from `clock` instead of PostgreSQL's own.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        self.clock = Some(Box::new(clock));
        self
    }

    /// What the database needs about once a second, by any number of servers: one of them notes how
    /// far it has come, so that positions are known after its next start, and whether the capture
    /// is whole. Gives the captures that are not what they were.
    ///
    /// # Errors
    /// The database failed.
    pub fn duties(&self) -> Result<Vec<Changed>, StorageError> {
        let (epoch, changed) = self.pool.with(async |link| {
            let now = self.seconds(link).await?;
            let epoch = duties::keep_beacons(link, now).await?;
            let changed = duties::check_capture(&link.client).await?;
            Ok((epoch, changed))
        })?;
        if let Some(epoch) = epoch {
            self.learn(epoch);
        }
        Ok(changed)
    }

    /// Seconds since 1970.
    pub(super) async fn seconds(&self, link: &Link) -> Result<i64, StorageError> {
        if let Some(clock) = &self.clock {
            return Ok(clock());
        }
        let sql = "SELECT extract(epoch FROM clock_timestamp())::int8";
        Ok(link.query_one(sql, &[], "reading the clock").await?.get(0))
    }

    /// The time that a transaction read from the database, unless another clock counts.
    pub(super) fn now(&self, read: i64) -> i64 {
        self.clock.as_ref().map_or(read, |clock| clock())
    }

    /// The present epoch, as far as it is known here.
    pub(super) fn known_epoch(&self) -> Epoch {
        self.epoch_lock().clone()
    }

    fn epoch_lock(&self) -> MutexGuard<'_, Epoch> {
        self.epoch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that what a snapshot of the present epoch sees is on disk, beside what is known to be.
    pub(super) fn is_durable(&self, epoch: [u8; 8], told: &Snapshot) {
        let mut known = self.epoch_lock();
        if known.epoch == epoch {
            known.durable = known.durable.and(told);
        }
    }

    /// Remembers what is durable.
    pub(super) fn learn(&self, epoch: Epoch) {
        let mut known = self.epoch_lock();
        let is_newer = epoch.number > known.number
            || (epoch.number == known.number && epoch.durable.contains(&known.durable));
        if is_newer {
            *known = epoch;
        }
    }

    /// The tables of `model`.
    pub(super) fn tables(&self, model: &ServerModel) -> Result<Arc<Tables>, StorageError> {
        let known = Arc::clone(&self.tables.lock().unwrap_or_else(PoisonError::into_inner));
        match known.is_of(model) {
            true => Ok(known),
            false => self.look_again(model),
        }
    }

    /// The tables of `model` as they are now.
    pub(super) fn look_again(&self, model: &ServerModel) -> Result<Arc<Tables>, StorageError> {
        self.pool.clear();
        let fresh = self
            .pool
            .with(async |link| Tables::load(link, model).await)?;
        let fresh = Arc::new(fresh);
        *self.tables.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&fresh);
        Ok(fresh)
    }

    /// Notes that another epoch has begun, if it has.
    pub(super) fn begin_epoch(&self) -> Result<(), StorageError> {
        let epoch = self.pool.with(async |link| epoch::begin(link).await)?;
        self.learn(epoch);
        Ok(())
    }

    /// Sees to it that what a page says is on disk. False if it may be lost already: the database
    /// was started anew since.
    fn release(&self, read: &Read) -> Result<bool, StorageError> {
        let taken = &read.taken;
        if read.is_flushed {
            self.learn(Epoch {
                number: taken.number,
                epoch: taken.epoch,
                durable: taken.snapshot.clone(),
            });
            return Ok(true);
        }
        let is_durable = || {
            let known = self.known_epoch();
            known.epoch == taken.epoch && known.durable.contains(&taken.snapshot)
        };
        if is_durable() {
            return Ok(true);
        }
        // One writes for all who wait.
        let turn = self.raising.lock().unwrap_or_else(PoisonError::into_inner);
        if is_durable() {
            return Ok(true);
        }
        let raised = self.pool.with(async |link| epoch::raise(link).await)?;
        let is_same = raised
            .as_ref()
            .is_some_and(|epoch| epoch.epoch == taken.epoch);
        if let Some(epoch) = raised {
            self.learn(epoch);
        }
        drop(turn);
        Ok(is_same)
    }
}

impl Storage for PostgresStorage {
    fn epoch(&self) -> [u8; 8] {
        self.known_epoch().epoch
    }

    fn checkpoint(&self) -> Checkpoint {
        let Epoch { epoch, durable, .. } = self.known_epoch();
        position::seal_checkpoint(&self.code_key, epoch, &durable)
    }

    fn knows(&self, checkpoint: &Checkpoint) -> Result<bool, StorageError> {
        history::knows(self, checkpoint)
    }

    fn knows_as_read(&self, checkpoint: &Checkpoint) -> Result<bool, StorageError> {
        history::knows_as_read(self, checkpoint)
    }

    fn lost(&self, user: &str, offered: &[History]) -> Result<Vec<GroupId>, StorageError> {
        history::lost(self, user, offered)
    }

    fn purge(
        &self,
        retention: Retention,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> Result<Purged, StorageError> {
        purge::purge(self, retention, goes_on)
    }

    fn pull(&self, model: &ServerModel, request: &PullRequest) -> Result<PulledPage, StorageError> {
        let mut tables = self.tables(model)?;
        for _ in 0..ATTEMPTS {
            let known = Known {
                tables: &tables,
                code_key: &self.code_key,
                lists: &self.lists,
                scope_values_max: self.scope_values_max,
            };
            let outcome = self.pool.with(async |link| {
                let outcome = pull::pull(link, &known, request).await;
                if outcome.is_err() && link.has_met_other_tables() {
                    link.forget();
                    return Ok(Outcome::OtherTables);
                }
                outcome
            })?;
            match outcome {
                Outcome::Page(read) => {
                    if self.release(&read)? {
                        return Ok(read.page);
                    }
                }
                Outcome::OtherEpoch => self.begin_epoch()?,
                Outcome::OtherTables => tables = self.look_again(model)?,
            }
        }
        Err(StorageError {
            is_retryable: true,
            ..lasting("reading a page: the database was changed again and again")
        })
    }

    fn push(
        &self,
        model: &ServerModel,
        caller: &Caller,
        groups: &[Group],
    ) -> Result<Vec<GroupOutcome>, StorageError> {
        push::push(self, model, caller, groups)
    }

    fn tend(&self) -> Result<Vec<String>, StorageError> {
        let changed = self.duties()?;
        let of_capture = changed.into_iter().map(|changed| {
            let (table, difference) = (changed.table, changed.difference);
            format!("{table}: writes may have gone unmarked ({difference}); devices load it again")
        });
        let held = self.pool.with(async |link| duties::held_back(link).await)?;
        Ok(of_capture.chain(held).collect())
    }

    fn take_part(&self, user: &str, part: &Part) -> Result<PartTaken, StorageError> {
        parts::take(self, user, part)
    }

    fn forget_parts(&self, user: &str, group: GroupId) -> Result<(), StorageError> {
        parts::forget(self, user, group)
    }

    fn look(
        &self,
        model: &ServerModel,
        since: Option<&Moment>,
        watched: &Watched,
        asked: &mut dyn FnMut(&Touched) -> Vec<Caller>,
    ) -> Result<Look, StorageError> {
        let asked = RefCell::new(asked);
        for _ in 0..ATTEMPTS {
            let tables = self.tables(model)?;
            let known = live::Known {
                tables: &tables,
                model,
                code_key: &self.code_key,
                scope_values_max: self.scope_values_max,
            };
            let found = self.pool.with(async |link| {
                let found = live::look(link, &known, (since, watched), &asked).await;
                if found.is_err() && link.has_met_other_tables() {
                    link.forget();
                    return Ok(None);
                }
                found.map(Some)
            })?;
            match found {
                Some(live::Outcome::Found(look)) => return Ok(look),
                Some(live::Outcome::OtherEpoch) => self.begin_epoch()?,
                None => drop(self.look_again(model)?),
            }
        }
        Err(StorageError {
            is_retryable: true,
            ..lasting("looking for news: the database was changed again and again")
        })
    }

    fn inbox(&self, query: &InboxQuery) -> Result<Vec<InboxEntry>, StorageError> {
        inbox::entries(self, query)
    }

    fn decide(&self, model: &ServerModel, decide: &Decide) -> Result<DecideOutcome, StorageError> {
        inbox::decide(self, model, decide)
    }

    fn decisions(
        &self,
        model: &ServerModel,
        caller: &Caller,
    ) -> Result<Vec<Decided>, StorageError> {
        inbox::decisions(self, model, caller)
    }

    fn close(&self, user: &str, closed: &[Closed]) -> Result<(), StorageError> {
        inbox::close(self, user, closed)
    }

    fn log(&self, caller: &Caller, entries: &[LogEntry]) -> Result<(), StorageError> {
        log::log(self, caller, entries)
    }

    fn logs(&self, query: &LogQuery) -> Result<Vec<LogLine>, StorageError> {
        log::logs(self, query)
    }

    fn health(&self) -> Result<(), StorageError> {
        self.pool.with(async |link| {
            let sql = "SELECT schema_version FROM afield.node";
            let row = link.client.query_one(sql, &[]).await;
            link.noted(row, "asking for a sign of life").map(drop)
        })
    }
}
