//! The transaction of one push: how it begins, what its statements meet, and when it runs again.

use std::cell::{Cell, RefCell};

use afield_protocol::{Change, Verdict};
use tokio_postgres::Row;

use super::super::PostgresStorage;
use super::super::entity::{EntityTable, Found};
use super::super::epoch::{self, IS_NOW, xid};
use super::super::error::lasting;
use super::super::link::{Link, Parameters};
use super::super::pool::Lease;
use super::super::scope::Bound;
use super::super::tables::{TRIGGERS, Tables};
use super::ahead::Ahead;
use super::refusal::{Target, refusal};
use super::rows::FoundKey;
use super::{ASKING, DOING, OF_ONE_USER, Remedy, rows};
use crate::storage::push::{Purpose, Step, Table, Transaction, Written};
use crate::storage::{Caller, StorageError};

/// What came of a statement that writes.
pub(super) enum Rows {
    /// What it returns.
    Written(Vec<Row>),
    /// The refusal of the change.
    Refused(Verdict),
}

/// A transaction of a caller.
pub(in super::super) struct Writes<'a> {
    pub(super) storage: &'a PostgresStorage,
    pub(super) lease: Lease<'a>,
    pub(super) tables: &'a Tables,
    pub(super) caller: &'a Caller,
    pub(super) now: i64,
    pub(super) epoch: [u8; 8],
    /// The ledger is whole from this transaction on; 0 if nothing was forgotten.
    pub(super) ledger_horizon: u64,
    /// The savepoints that are open, the innermost last.
    pub(super) steps: RefCell<Vec<Step>>,
    /// What is decided before it is written.
    pub(super) ahead: RefCell<Option<Ahead>>,
    pub(super) remedy: &'a Cell<Option<Remedy>>,
}

impl<'a> Writes<'a> {
    pub(in super::super) fn begin(
        storage: &'a PostgresStorage,
        tables: &'a Tables,
        caller: &'a Caller,
        remedy: &'a Cell<Option<Remedy>>,
    ) -> Result<Self, StorageError> {
        let begin = "BEGIN; SET LOCAL synchronous_commit = on";
        let lease = storage.pool.lend(begin, DOING)?;
        let sql = format!(
            "SELECT n.ledger_horizon::text, \
             floor(extract(epoch FROM clock_timestamp()))::bigint, e.epoch, {TRIGGERS} \
             FROM afield.node n LEFT JOIN afield.epoch e \
             ON e.number = (SELECT max(number) FROM afield.epoch) AND {IS_NOW}"
        );
        let head = lease.wait(async |link| {
            link.query(OF_ONE_USER, &[&caller.user], DOING).await?;
            link.query_one(&sql, &[], DOING).await
        })?;
        let epoch: Option<&[u8]> = head.get(2);
        let epoch = epoch.map(epoch::bytes).transpose()?;
        // What is told with the outcomes must be of the history that they are in.
        let Some(epoch) = epoch.filter(|epoch| *epoch == storage.known_epoch().epoch) else {
            remedy.set(Some(Remedy::BeginEpoch));
            return Err(lasting("the database was started anew"));
        };
        if !tables.have(head.get(3)) {
            remedy.set(Some(Remedy::LookAgain));
            return Err(lasting("the triggers of the database changed"));
        }
        Ok(Self {
            now: storage.now(head.get(1)),
            ledger_horizon: xid(head.get(0))?,
            storage,
            tables,
            caller,
            epoch,
            steps: RefCell::default(),
            ahead: RefCell::default(),
            remedy,
            lease,
        })
    }

    pub(super) fn user(&self) -> &str {
        &self.caller.user
    }

    /// What comes of work in the transaction that no change is to blame for.
    pub(in super::super) fn waiting<T>(
        &self,
        work: impl AsyncFnOnce(&Link) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        self.noted(self.lease.wait(work))
    }

    /// The rows of a statement that no change is to blame for.
    pub(super) fn query(
        &self,
        sql: &str,
        parameters: Parameters<'_>,
        doing: &str,
    ) -> Result<Vec<Row>, StorageError> {
        let rows = self
            .lease
            .wait(async |link| link.query(sql, parameters, doing).await);
        self.noted(rows)
    }

    /// Remembers what may make the whole succeed.
    pub(super) fn noted<T>(&self, result: Result<T, StorageError>) -> Result<T, StorageError> {
        if result.is_err() {
            let state = self.lease.failed().unwrap_or_default();
            if state.starts_with("40") {
                self.remedy.set(Some(Remedy::Again));
            } else if self.lease.has_met_other_tables() {
                self.remedy.set(Some(Remedy::LookAgain));
            }
        }
        result
    }

    pub(super) fn run(&self, sql: &str) -> Result<(), StorageError> {
        self.noted(self.lease.wait(async |link| link.run(sql, DOING).await))
    }

    /// The row that a statement returned, if it returned one.
    pub(super) fn row(
        &self,
        table: &EntityTable,
        rows: &[Row],
    ) -> Result<Option<Found>, StorageError> {
        rows.first().map(|row| table.found(row, 0)).transpose()
    }

    /// The rows of a statement that writes; or the refusal of the change, and then everything since
    /// the innermost savepoint is taken back.
    pub(super) fn write(
        &self,
        target: &Target<'_>,
        sql: &str,
        parameters: Parameters<'_>,
    ) -> Result<Rows, StorageError> {
        let written = self.lease.wait(async |link| {
            let statement = link.prepare(sql, DOING).await?;
            Ok(link.client.query(&statement, parameters).await)
        });
        let error = match self.noted(written)? {
            Ok(rows) => return Ok(Rows::Written(rows)),
            Err(error) => error,
        };
        if let Some(verdict) = error.as_db_error().and_then(|told| refusal(told, target)) {
            let innermost = self.steps.borrow().last().copied();
            if let Some(step) = innermost {
                self.run(&format!("ROLLBACK TO {}", step.savepoint()))?;
            }
            return Ok(Rows::Refused(verdict));
        }
        let noted = async |link: &Link| link.noted(Err(error), "writing a change");
        self.noted(self.lease.wait(noted))
    }

    /// What became of a statement that writes a row.
    pub(super) fn written(
        &self,
        table: &EntityTable,
        rows: Rows,
    ) -> Result<Written<FoundKey>, StorageError> {
        let rows = match rows {
            Rows::Written(rows) => rows,
            Rows::Refused(verdict) => return Ok(Written::Refused(verdict)),
        };
        let Some(row) = self.row(table, &rows)? else {
            return Ok(Written::Nothing);
        };
        // What a trigger does after the statement is not in what the statement returns.
        match table.learned().has_triggers {
            true => Ok(Written::Row(self.find_again(table, &row.place)?)),
            false => Ok(Written::Row(Some(row))),
        }
    }
}

impl Writes<'_> {
    /// What is known ahead of the writes; nothing if every change is written when it is decided, or
    /// if a row is only to be known of, which nothing that is planned concerns.
    pub(super) fn ahead_of<T>(
        &self,
        table: &EntityTable,
        to: Purpose,
        known: impl FnOnce(&Ahead) -> Option<T>,
    ) -> Result<Option<T>, StorageError> {
        let found = match &*self.ahead.borrow() {
            None => return Ok(None),
            Some(ahead) if to == Purpose::Know && !ahead.writes(table) => return Ok(None),
            Some(ahead) => known(ahead),
        };
        match found {
            Some(found) => Ok(Some(found)),
            None => self.only_by_writing().map(|()| None),
        }
    }

    /// Fails if changes are decided ahead of their writes: this one cannot be.
    pub(super) fn only_by_writing(&self) -> Result<(), StorageError> {
        match &mut *self.ahead.borrow_mut() {
            Some(ahead) => {
                ahead.is_over = true;
                Err(lasting("a change that is only decided by writing it"))
            }
            None => Ok(()),
        }
    }

    /// Whether the whole transaction must run again.
    pub(super) fn must_begin_again(&self) -> bool {
        let state = self.lease.failed().unwrap_or_default();
        state.starts_with("40") || self.lease.has_met_other_tables()
    }

    /// What a statement answers that asks one thing of the row at a place; without one it is so.
    pub(super) fn asked(
        &self,
        table: &EntityTable,
        place: &FoundKey,
        ask: Option<(&str, Vec<Bound>)>,
    ) -> Result<bool, StorageError> {
        let Some((sql, asked)) = ask else {
            return Ok(true);
        };
        let key = rows::stored(table, place);
        let parameters: Vec<_> = key.into_iter().chain(asked).collect();
        let rows = self.query(sql, &rows::borrowed(&parameters), ASKING)?;
        Ok(rows.first().is_some_and(|row| row.get(0)))
    }

    /// The change to blame for a constraint that failed behind all of them: the first of the table
    /// that the error names which writes one of the constraint's columns, or the first of it.
    pub(super) fn blamed(
        &self,
        told: &tokio_postgres::error::DbError,
        changes: &[Change],
    ) -> Option<(usize, Verdict)> {
        let tables = changes
            .iter()
            .map(|change| self.tables.entity(&change.entity));
        let constraint = told.constraint().unwrap_or_default();
        let of_it: Vec<(usize, &EntityTable)> = tables
            .enumerate()
            .filter_map(|(at, table)| Some((at, table?)))
            .filter(|(_, table)| table.learned().constraints.contains_key(constraint))
            .collect();
        let writes = |at: usize, table: &EntityTable| {
            let known = table.learned().constraints.get(constraint);
            let columns = known.map_or(&[][..], |known| &known.columns);
            let attributes = table
                .entity
                .local
                .attributes
                .iter()
                .zip(&table.entity.columns);
            let set = changes.get(at).map(|change| &change.set);
            attributes
                .filter(|(_, column)| columns.contains(&column.name))
                .any(|(attribute, _)| set.is_some_and(|set| set.contains_key(&attribute.name)))
        };
        let found = (of_it.iter().find(|(at, table)| writes(*at, table))).or(of_it.first());
        let (at, table) = match found {
            Some((at, table)) => (*at, *table),
            None => (
                0,
                changes
                    .first()
                    .and_then(|c| self.tables.entity(&c.entity))?,
            ),
        };
        let verdict = refusal(told, &Target::of(table, false));
        Some((at, verdict?))
    }
}

impl<'a> Target<'a> {
    pub(super) fn of(table: &'a EntityTable, is_delete: bool) -> Self {
        Self {
            entity: Table::entity(table),
            learned: table.learned(),
            is_delete,
        }
    }
}
