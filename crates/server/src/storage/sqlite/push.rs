//! The transaction of a push on SQLite: see [`crate::storage::push`].

use std::sync::Arc;
use std::sync::atomic::Ordering;

use afield_protocol::zoo::crash_point;
use afield_protocol::{
    Attributes, Change, Checkpoint, Group, GroupId, GroupOutcome, Value, Verdict,
};
use rusqlite::{Connection, ErrorCode, Transaction as Tx, TransactionBehavior};

use super::entity::{EntityTable, Row, RowPlace};
use super::error::{While, crashed, storage_error};
use super::tables::Tables;
use super::{SqliteStorage, column, constraint, history, inbox, ledger, references, write};
use crate::position::open_checkpoint;
use crate::resolved::ServerModel;
use crate::storage::inbox::Noted;
use crate::storage::push::{
    self, Beside, Commit, Entry, Place, Purpose, Step, Temporary, Transaction, Written,
};
use crate::storage::{Caller, StorageError};

const DOING: &str = "applying changes";

const ASKING: &str = "asking whose row it is";

const READING: &str = "reading the row of a change";

/// See [`crate::storage::Storage::push`].
pub(super) fn push(
    storage: &SqliteStorage,
    model: &ServerModel,
    caller: &Caller,
    groups: &[Group],
) -> Result<Vec<GroupOutcome>, StorageError> {
    let conn = &*storage.writer();
    push::push(model, groups, &|| {
        Writes::begin(storage, conn, model, caller)
    })
}

/// A transaction of a caller.
pub(super) struct Writes<'a> {
    storage: &'a SqliteStorage,
    tx: Tx<'a>,
    tables: Arc<Tables>,
    caller: &'a Caller,
    now: i64,
    /// The ledger is whole above this change number; 0 if nothing was forgotten.
    ledger_horizon: i64,
}

impl<'a> Writes<'a> {
    pub(super) fn begin(
        storage: &'a SqliteStorage,
        conn: &'a Connection,
        model: &ServerModel,
        caller: &'a Caller,
    ) -> Result<Self, StorageError> {
        let tx = Tx::new_unchecked(conn, TransactionBehavior::Immediate).while_(DOING)?;
        // Holds until the end of the transaction: the order within a group does not matter.
        tx.execute_batch("PRAGMA defer_foreign_keys = ON")
            .while_(DOING)?;
        let tables = storage.tables(&tx, model)?;
        let now = storage.seconds(&tx)?;
        let ledger_horizon = tx
            .prepare_cached("SELECT ledger_horizon FROM afield_node")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .while_(DOING)?;
        Ok(Self {
            storage,
            tx,
            tables,
            caller,
            now,
            ledger_horizon,
        })
    }

    fn user(&self) -> &str {
        &self.caller.user
    }

    fn run(&self, sql: &str) -> Result<(), StorageError> {
        self.tx
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute([]))
            .map(|_| ())
            .while_(DOING)
    }
}

/// What a statement came to; the refusal of one that the change is to blame for.
fn refusable(
    table: &EntityTable,
    written: rusqlite::Result<Written<RowPlace>>,
) -> Result<Written<RowPlace>, StorageError> {
    written.or_else(|error| match constraint::refusal(&error, table) {
        Some(verdict) => Ok(Written::Refused(verdict)),
        None => Err(storage_error(&error, "writing a change")),
    })
}

impl Transaction for Writes<'_> {
    type Table = EntityTable;
    type Place = RowPlace;

    const DEFERS_REFERENCES: bool = true;

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
        ledger::find(&self.tx, self.user(), group)
    }

    fn took_effect(&self, groups: &[GroupId]) -> Result<bool, StorageError> {
        ledger::took_effect(&self.tx, self.user(), groups)
    }

    fn record(&self, group: &Group, verdicts: &[Verdict]) -> Result<(), StorageError> {
        ledger::record(&self.tx, self.user(), group, verdicts, self.now)
    }

    fn note(&self, group: GroupId, noted: Noted) -> Result<(), StorageError> {
        inbox::note(&self.tx, self.caller, group, &noted, self.now)
    }

    fn sent_again(&self, group: GroupId, refused: &[GroupId]) -> Result<(), StorageError> {
        inbox::sent_again(&self.tx, self.user(), group, refused, self.now)
    }

    /// It may unless the group was made behind everything that is forgotten, in a history that is
    /// known.
    fn may_be_forgotten(&self, checkpoint: &Checkpoint) -> Result<bool, StorageError> {
        if self.ledger_horizon == 0 {
            return Ok(false);
        }
        let Some((epoch, change)) = open_checkpoint(&self.storage.code_key, checkpoint) else {
            return Ok(true);
        };
        let is_known = history::beacon(&self.tx, epoch)?.is_some();
        Ok(!is_known || change < self.ledger_horizon)
    }

    fn given(&self, groups: &[GroupId], row: &Temporary) -> Result<Option<i64>, StorageError> {
        ledger::given(&self.tx, self.user(), groups, row)
    }

    fn keep_numbers(&self, group: GroupId, made: &[(Temporary, i64)]) -> Result<(), StorageError> {
        ledger::keep_numbers(&self.tx, self.user(), group, made)
    }

    fn next_number(&self, table: &EntityTable, before: Option<i64>) -> Result<i64, StorageError> {
        match before {
            Some(before) => Ok(before.saturating_add(1)),
            None => write::next_number(&self.tx, table).while_("numbering a row"),
        }
    }

    // Nobody else writes while this transaction is there, whatever a row is looked for.

    fn find(
        &self,
        table: &EntityTable,
        key: &[Value],
        _: Purpose,
    ) -> Result<Option<Row>, StorageError> {
        table.find(&self.tx, key).while_(READING)
    }

    fn find_mine(
        &self,
        table: &EntityTable,
        key: &[Value],
        _: Purpose,
    ) -> Result<Option<Row>, StorageError> {
        for raw in table.spellings(key) {
            let is_mine = table.is_in_scope(&self.tx, self.caller, &raw);
            if is_mine.while_(ASKING)? {
                return table.with_stored_key(&self.tx, &raw).while_(READING);
            }
        }
        Ok(None)
    }

    fn find_known(
        &self,
        table: &EntityTable,
        key: &[Value],
        is_known: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Option<Row>, StorageError> {
        for raw in table.spellings(key) {
            let place = RowPlace::of_key(raw);
            if is_known(&place.bytes()) {
                return table.with_stored_key(&self.tx, &place.key).while_(READING);
            }
        }
        Ok(None)
    }

    fn find_again(
        &self,
        table: &EntityTable,
        place: &RowPlace,
    ) -> Result<Option<Row>, StorageError> {
        match table
            .with_stored_key(&self.tx, &place.key)
            .while_(READING)?
        {
            Some(row) => Ok(Some(row)),
            None => table.find_by_rowid(&self.tx, place.rowid).while_(READING),
        }
    }

    fn may_write(&self, table: &EntityTable, place: &RowPlace) -> Result<bool, StorageError> {
        table
            .may_write(&self.tx, self.caller, &place.key)
            .while_(ASKING)
    }

    fn may_become(&self, table: &EntityTable, place: &RowPlace) -> Result<bool, StorageError> {
        table
            .may_become(&self.tx, self.caller, &place.key)
            .while_(ASKING)
    }

    fn unkept(
        &self,
        table: &EntityTable,
        change: &Change,
        row: Option<&Row>,
        set: &Attributes,
    ) -> Result<Option<Verdict>, StorageError> {
        column::unkept(&self.tx, table, change, row, set).while_(READING)
    }

    fn create(
        &self,
        table: &EntityTable,
        change: &Change,
        set: &Attributes,
    ) -> Result<Written<RowPlace>, StorageError> {
        refusable(table, write::create(&self.tx, table, change, set))
    }

    fn update(
        &self,
        table: &EntityTable,
        row: &Row,
        set: &Attributes,
        beside: Option<Beside<'_>>,
    ) -> Result<Written<RowPlace>, StorageError> {
        refusable(table, write::update(&self.tx, table, row, set, beside))
    }

    fn delete(&self, table: &EntityTable, row: &Row) -> Result<Written<RowPlace>, StorageError> {
        refusable(table, write::delete(&self.tx, table, row))
    }

    fn begin(&self, what: Step) -> Result<(), StorageError> {
        self.run(&format!("SAVEPOINT {}", what.savepoint()))
    }

    fn take_back(&self, what: Step) -> Result<(), StorageError> {
        self.run(&format!("ROLLBACK TO {}", what.savepoint()))
    }

    fn keep(&self, what: Step) -> Result<(), StorageError> {
        self.run(&format!("RELEASE {}", what.savepoint()))
    }

    fn is_undone(&self) -> bool {
        self.tx.is_autocommit()
    }

    /// SQLite looks at references when the transaction ends, and at nothing else.
    fn look_now(&self, _: &[Change]) -> Result<Option<(usize, Verdict)>, StorageError> {
        Ok(None)
    }

    /// Commits, with the beacon as high as what was written: the checkpoint that goes out with the
    /// outcomes lies behind it.
    ///
    /// Not by [`Tx::commit`]: that rolls back at once when it fails, and the reference that failed
    /// could not be found any more.
    fn commit(&self) -> Result<Commit, StorageError> {
        let told = match self.storage.is_beside {
            false => history::raise(&self.tx, self.storage.epoch)?,
            // Nothing is told to a device with it: whoever does that raises a beacon of its own.
            true => 0,
        };
        crash_point("server-push-before-commit").map_err(crashed)?;
        match self.tx.execute_batch("COMMIT") {
            Ok(()) => {
                self.storage.beacon.fetch_max(told, Ordering::AcqRel);
                crash_point("server-push-after-commit").map_err(crashed)?;
                Ok(Commit::Durable)
            }
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                Ok(Commit::BrokenReference)
            }
            Err(error) => Err(error).while_(DOING),
        }
    }

    fn culprit(&self, changes: &[Change]) -> Result<(usize, Verdict), StorageError> {
        references::culprit(&self.tx, &self.tables, changes).while_(DOING)
    }
}
