//! The transaction of a push on PostgreSQL: see [`crate::storage::push`].
//!
//! What could lose a change or apply one twice, and why it does not:
//!
//! - Two requests bring one group at once, and neither finds it in the ledger: pushes of one
//!   user wait for each other, by an advisory lock.
//! - The row changes between its decision and the write: it is locked when it is found.
//! - A deadlock, or a transaction that cannot be serialized: the whole push runs again; the
//!   ledger has nothing of the first time.
//! - The commit is lost in a crash after it was told: it is synchronous, whatever the
//!   database's default.
//! - A restore goes unnoticed that took what was told as applied: the checkpoint that goes
//!   out with the outcomes sees this very transaction.
//! - A constraint fails when all groups are through: they are made immediate before a group
//!   is kept.
//! - A statement fails and takes the transaction with it: the innermost savepoint is taken
//!   back at once; a refused change refuses its group anyway.

mod ahead;
mod learn;
mod ledger;
mod refusal;
mod rows;
mod table;
mod writes;

use std::cell::Cell;

use afield_protocol::{
    Attributes, Change, Checkpoint, Group, GroupId, GroupOutcome, Value, Verdict,
};

use self::ahead::Ahead;
pub(super) use self::learn::has_deferrable;
use self::refusal::Target;
use self::rows::FoundKey;
pub(super) use self::table::PushTable;
use self::writes::Rows;
pub(super) use self::writes::Writes;
use super::entity::{EntityTable, Found};
use super::epoch::{snapshot, xid};
use super::error::{While, lasting};
use super::tables::Tables;
use super::{PostgresStorage, history, inbox};
use crate::resolved::ServerModel;
use crate::storage::inbox::Noted;
use crate::storage::push::{
    self, Beside, Commit, Entry, Purpose, Step, Temporary, Transaction, Written,
};
use crate::storage::{Caller, StorageError};

/// How often a push runs again that met a deadlock or could not be serialized.
const ATTEMPTS: usize = 5;

const DOING: &str = "applying changes";

const READING: &str = "reading the row of a change";

const ASKING: &str = "asking whose row it is";

/// What pushes of one user wait for each other by, together with a hash of his name: "afld" in
/// ASCII.
pub(super) const OF_ONE_USER: &str = "SELECT pg_advisory_xact_lock(1634102372, hashtext($1))";

/// See [`crate::storage::Storage::push`].
pub(super) fn push(
    storage: &PostgresStorage,
    model: &ServerModel,
    caller: &Caller,
    groups: &[Group],
) -> Result<Vec<GroupOutcome>, StorageError> {
    run_again(storage, model, |tables, remedy| {
        let begin = || Writes::begin(storage, tables, caller, remedy);
        push::push(model, groups, &begin)
    })
}

/// Runs what needs a transaction of a push, and again where that may make it succeed.
pub(super) fn run_again<T>(
    storage: &PostgresStorage,
    model: &ServerModel,
    work: impl Fn(&Tables, &Cell<Option<Remedy>>) -> Result<T, StorageError>,
) -> Result<T, StorageError> {
    let mut tables = storage.tables(model)?;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let remedy = Cell::new(None);
        let done = work(&tables, &remedy);
        match (done, remedy.get()) {
            (Err(_), Some(remedy)) if attempts < ATTEMPTS => match remedy {
                Remedy::Again => {}
                Remedy::LookAgain => tables = storage.look_again(model)?,
                Remedy::BeginEpoch => storage.begin_epoch()?,
            },
            (done, _) => return done,
        }
    }
}

/// What makes a push succeed that failed.
#[derive(Clone, Copy, Debug)]
pub(super) enum Remedy {
    /// It met a deadlock, or could not be serialized.
    Again,
    /// A table is another one than when it was looked at, or has other triggers.
    LookAgain,
    /// The database was started anew.
    BeginEpoch,
}

impl Transaction for Writes<'_> {
    type Table = EntityTable;
    type Place = FoundKey;

    const DEFERS_REFERENCES: bool = false;

    const AHEAD_MAX: Option<usize> = Some(ahead::GROUPS);

    fn look_ahead(&self, groups: &[Group]) -> Result<bool, StorageError> {
        let table = |name: &str| self.tables.entity(name);
        if !ahead::is_fit(groups, table) {
            return Ok(false);
        }
        let begun = format!("SAVEPOINT {}", ahead::SAVEPOINT);
        let read = self.lease.wait(async |link| {
            link.run(&begun, DOING).await?;
            Ahead::read(link, self.caller, groups, table).await
        });
        *self.ahead.borrow_mut() = Some(self.noted(read)?);
        Ok(true)
    }

    fn write_ahead(&self) -> Result<bool, StorageError> {
        let ahead = self.ahead.borrow();
        let Some(ahead) = ahead.as_ref() else {
            return Ok(false);
        };
        let table = |name: &str| self.tables.entity(name);
        let written = self.lease.wait(async |link| {
            let written = ahead.write(link, self.caller, self.now, table).await?;
            if written && self.tables.has_deferrable() {
                link.run("SET CONSTRAINTS ALL IMMEDIATE", DOING).await?;
            }
            Ok(written)
        });
        match written {
            Ok(written) => Ok(written),
            // A row among many is refused: which one is found out one by one.
            Err(_) if !self.lease.is_closed() && !self.must_begin_again() => Ok(false),
            Err(error) => self.noted(Err(error)),
        }
    }

    fn end_ahead(&self, is_kept: bool) -> Result<bool, StorageError> {
        let ahead = self.ahead.take();
        let name = ahead::SAVEPOINT;
        match is_kept {
            true => self.run(&format!("RELEASE {name}"))?,
            false => self.run(&format!("ROLLBACK TO {name}; RELEASE {name}"))?,
        }
        Ok(ahead.is_some_and(|ahead| ahead.is_over))
    }

    fn table(&self, entity: &str) -> Option<&EntityTable> {
        self.tables.entity(entity)
    }

    fn now(&self) -> i64 {
        self.now
    }

    fn group_changes_max(&self) -> usize {
        self.storage.group_changes_max
    }

    fn entry(&self, group: GroupId) -> Result<Option<Entry>, StorageError> {
        if let Some(ahead) = &mut *self.ahead.borrow_mut() {
            return Ok(ahead.entry(group));
        }
        let user = self.user();
        self.noted(
            self.lease
                .wait(async |link| ledger::find(link, user, group).await),
        )
    }

    fn took_effect(&self, groups: &[GroupId]) -> Result<bool, StorageError> {
        if let Some(ahead) = &*self.ahead.borrow() {
            return Ok(ahead.took_effect(groups));
        }
        let user = self.user();
        self.noted(
            self.lease
                .wait(async |link| ledger::took_effect(link, user, groups).await),
        )
    }

    fn record(&self, group: &Group, verdicts: &[Verdict]) -> Result<(), StorageError> {
        if let Some(ahead) = &mut *self.ahead.borrow_mut() {
            ahead.record(group, verdicts);
            return Ok(());
        }
        let (user, now) = (self.user(), self.now);
        self.noted(
            self.lease
                .wait(async |link| ledger::record(link, user, group, verdicts, now).await),
        )
    }

    fn note(&self, group: GroupId, noted: Noted) -> Result<(), StorageError> {
        if let Some(ahead) = &mut *self.ahead.borrow_mut() {
            ahead.note(group, noted);
            return Ok(());
        }
        let (caller, now) = (self.caller, self.now);
        self.waiting(async |link| inbox::note(link, caller, group, &noted, now).await)
    }

    fn sent_again(&self, group: GroupId, refused: &[GroupId]) -> Result<(), StorageError> {
        // What is decided ahead says it when it is written.
        if self.ahead.borrow().is_some() {
            return Ok(());
        }
        let (user, now) = (self.user(), self.now);
        let pairs: Vec<_> = refused.iter().map(|old| (*old, group)).collect();
        self.waiting(async |link| inbox::sent_again(link, user, &pairs, now).await)
    }

    /// It may unless the group was made behind everything that is forgotten, in a history that is
    /// known.
    fn may_be_forgotten(&self, checkpoint: &Checkpoint) -> Result<bool, StorageError> {
        if self.ledger_horizon == 0 {
            return Ok(false);
        }
        let known = self
            .lease
            .wait(async |link| history::known(link, &self.storage.code_key, checkpoint).await);
        let seen = self.noted(known)?;
        Ok(seen.is_none_or(|snapshot| snapshot.xmin < self.ledger_horizon))
    }

    fn given(&self, groups: &[GroupId], row: &Temporary) -> Result<Option<i64>, StorageError> {
        let user = self.user();
        self.noted(
            self.lease
                .wait(async |link| ledger::given(link, user, groups, row).await),
        )
    }

    fn keep_numbers(&self, group: GroupId, made: &[(Temporary, i64)]) -> Result<(), StorageError> {
        let user = self.user();
        self.noted(
            self.lease
                .wait(async |link| ledger::keep_numbers(link, user, group, made).await),
        )
    }

    /// Numbers of a sequence are taken one by one, whether they are used or not.
    fn next_number(&self, table: &EntityTable, _: Option<i64>) -> Result<i64, StorageError> {
        let Some(next) = &table.learned().next_number else {
            return Err(lasting(format!(
                "`{}` does not number its rows",
                table.entity.table
            )));
        };
        let sql = format!("SELECT ({next})::bigint");
        let rows = self.query(&sql, &[], "numbering a row")?;
        rows.first()
            .map(|row| row.get(0))
            .ok_or_else(|| lasting("numbering a row: the database answered nothing"))
    }

    fn find(
        &self,
        table: &EntityTable,
        key: &[Value],
        to: Purpose,
    ) -> Result<Option<Found>, StorageError> {
        if let Some(known) = self.ahead_of(table, to, |ahead| ahead.find(table, key))? {
            return Ok(known);
        }
        let Some(key) = rows::parameters(table, key) else {
            return Ok(None);
        };
        let rows = self.query(table.push_sql().find(to), &rows::borrowed(&key), READING)?;
        self.row(table, &rows)
    }

    fn find_mine(
        &self,
        table: &EntityTable,
        key: &[Value],
        to: Purpose,
    ) -> Result<Option<Found>, StorageError> {
        if let Some(known) = self.ahead_of(table, to, |ahead| ahead.find_mine(table, key))? {
            return Ok(known);
        }
        let Some(key) = rows::parameters(table, key) else {
            return Ok(None);
        };
        let (sql, asked) = table.push_sql().find_mine(to, self.caller);
        let parameters: Vec<_> = key.into_iter().chain(asked).collect();
        let rows = self.query(sql, &rows::borrowed(&parameters), ASKING)?;
        self.row(table, &rows)
    }

    fn find_known(
        &self,
        table: &EntityTable,
        key: &[Value],
        is_known: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Option<Found>, StorageError> {
        let row = self.find(table, key, Purpose::Know)?;
        Ok(row.filter(|row| is_known(&push::Place::bytes(&row.place))))
    }

    fn find_again(
        &self,
        table: &EntityTable,
        place: &FoundKey,
    ) -> Result<Option<Found>, StorageError> {
        let to = Purpose::Change;
        if let Some(known) = self.ahead_of(table, to, |ahead| Some(ahead.at(table, place)))? {
            return Ok(known);
        }
        let key = rows::stored(table, place);
        let sql = table.push_sql().find(Purpose::Know);
        let rows = self.query(sql, &rows::borrowed(&key), READING)?;
        self.row(table, &rows)
    }

    fn may_write(&self, table: &EntityTable, place: &FoundKey) -> Result<bool, StorageError> {
        if let Some(may) = self.ahead_of(table, Purpose::Change, |it| it.may(table, place))? {
            return Ok(may.0);
        }
        self.asked(table, place, table.push_sql().may_write(self.caller))
    }

    fn may_become(&self, table: &EntityTable, place: &FoundKey) -> Result<bool, StorageError> {
        if let Some(may) = self.ahead_of(table, Purpose::Change, |it| it.may(table, place))? {
            return Ok(may.1);
        }
        self.asked(table, place, table.push_sql().may_become(self.caller))
    }

    fn could_become(
        &self,
        table: &EntityTable,
        row: Option<&Found>,
        change: &Change,
        set: &Attributes,
    ) -> Result<bool, StorageError> {
        let asked = rows::could_become(table, self.caller, row, change, set);
        let Some((sql, parameters)) = asked else {
            return Ok(true);
        };
        let rows = self.query(&sql, &rows::borrowed(&parameters), ASKING)?;
        Ok(rows.first().is_some_and(|row| row.get(0)))
    }

    fn unkept(
        &self,
        table: &EntityTable,
        change: &Change,
        row: Option<&Found>,
        set: &Attributes,
    ) -> Result<Option<Verdict>, StorageError> {
        Ok(rows::unkept(table, change, row, set))
    }

    fn create(
        &self,
        table: &EntityTable,
        change: &Change,
        set: &Attributes,
    ) -> Result<Written<FoundKey>, StorageError> {
        self.only_by_writing()?;
        let (sql, cells) = rows::insert(table, change, set)?;
        let target = Target::of(table, false);
        let rows = self.write(&target, &sql, &rows::borrowed(&cells))?;
        self.written(table, rows)
    }

    fn update(
        &self,
        table: &EntityTable,
        row: &Found,
        set: &Attributes,
        beside: Option<Beside<'_>>,
    ) -> Result<Written<FoundKey>, StorageError> {
        let planned = match &mut *self.ahead.borrow_mut() {
            Some(ahead) if beside.is_none() => Some(ahead.update(table, row, set)),
            Some(_) => Some(None),
            None => None,
        };
        match planned {
            Some(Some(row)) => return Ok(Written::Row(row)),
            Some(None) => self.only_by_writing()?,
            None => {}
        }
        let Some((sql, cells)) = rows::update(table, row, set, beside)? else {
            return Ok(Written::Row(None));
        };
        let target = Target::of(table, false);
        let rows = self.write(&target, &sql, &rows::borrowed(&cells))?;
        self.written(table, rows)
    }

    fn delete(&self, table: &EntityTable, row: &Found) -> Result<Written<FoundKey>, StorageError> {
        self.only_by_writing()?;
        let cells = rows::stored(table, &row.place);
        let target = Target::of(table, true);
        let sql = table.push_sql().delete();
        match self.write(&target, sql, &rows::borrowed(&cells))? {
            Rows::Written(rows) if rows.is_empty() => Ok(Written::Nothing),
            Rows::Written(_) => Ok(Written::Row(None)),
            Rows::Refused(verdict) => Ok(Written::Refused(verdict)),
        }
    }

    fn begin(&self, what: Step) -> Result<(), StorageError> {
        if let Some(ahead) = &mut *self.ahead.borrow_mut() {
            ahead.begin();
            return Ok(());
        }
        let defer = match what {
            Step::Group if self.tables.has_deferrable() => "; SET CONSTRAINTS ALL DEFERRED",
            Step::Group | Step::Change => "",
        };
        self.run(&format!("SAVEPOINT {}{defer}", what.savepoint()))?;
        self.steps.borrow_mut().push(what);
        Ok(())
    }

    fn take_back(&self, what: Step) -> Result<(), StorageError> {
        if let Some(ahead) = &mut *self.ahead.borrow_mut() {
            ahead.take_back();
            return Ok(());
        }
        self.run(&format!("ROLLBACK TO {}", what.savepoint()))
    }

    fn keep(&self, what: Step) -> Result<(), StorageError> {
        if let Some(ahead) = &mut *self.ahead.borrow_mut() {
            ahead.keep();
            return Ok(());
        }
        self.run(&format!("RELEASE {}", what.savepoint()))?;
        self.steps.borrow_mut().pop();
        Ok(())
    }

    fn is_undone(&self) -> bool {
        false
    }

    fn look_now(&self, changes: &[Change]) -> Result<Option<(usize, Verdict)>, StorageError> {
        if !self.tables.has_deferrable() || self.ahead.borrow().is_some() {
            return Ok(None);
        }
        let sql = "SET CONSTRAINTS ALL IMMEDIATE";
        let looked = self
            .lease
            .wait(async |link| Ok(link.client.batch_execute(sql).await));
        let error = match self.noted(looked)? {
            Ok(()) => return Ok(None),
            Err(error) => error,
        };
        let blamed = error
            .as_db_error()
            .and_then(|told| self.blamed(told, changes));
        match blamed {
            Some(blamed) => {
                self.run(&format!("ROLLBACK TO {}", Step::Group.savepoint()))?;
                Ok(Some(blamed))
            }
            None => Err(error).while_(DOING),
        }
    }

    /// Commits, and lets the checkpoint that goes out with the outcomes see what was written.
    fn commit(&self) -> Result<Commit, StorageError> {
        let sql = "SELECT pg_current_xact_id_if_assigned()::text, pg_current_snapshot()::text";
        let rows = self.query(sql, &[], DOING)?;
        let own = rows.first().and_then(|row| row.get::<_, Option<&str>>(0));
        let told = match (own, rows.first()) {
            (Some(own), Some(row)) => Some(snapshot(row.get(1))?.seeing(xid(own)?)),
            _ => None,
        };
        let committed = self.lease.wait(async |link| link.commit(DOING).await);
        self.noted(committed)?;
        if let Some(told) = told {
            self.storage.is_durable(self.epoch, &told);
        }
        Ok(Commit::Durable)
    }

    fn culprit(&self, _: &[Change]) -> Result<(usize, Verdict), StorageError> {
        Err(lasting("a commit that failed names no change"))
    }
}
