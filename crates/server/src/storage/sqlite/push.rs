//! Push: groups of changes, each whole or not at all, with their ledger entries.
//!
//! All groups of a request share one transaction, each with a savepoint of its own. Two things
//! make SQLite end that transaction for all of them: a reference that points nowhere, which it
//! reports only at the commit, and a team's trigger that raises ROLLBACK. Then nothing is applied
//! yet, and the groups are run again, each in a transaction of its own, so that only the one to
//! blame is refused.

use std::sync::atomic::Ordering;

use afield_protocol::zoo::{crash_point, planted};
use afield_protocol::{Code, Group, GroupId, GroupOutcome, Verdict, VerdictKind};
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use super::entity::EntityTable;
use super::error::{While, crashed};
use super::ledger::{self, Entry};
use super::numbers::{self, Numbers, Origins};
use super::rights::Rights;
use super::stops::{Settled, Stops};
use super::tables::Tables;
use super::turns::{self, Through};
use super::{SqliteStorage, history, references, write};
use crate::position::{CodeKey, open_checkpoint};
use crate::resolved::ServerModel;
use crate::storage::{Caller, StorageError};

const DOING: &str = "applying changes";

/// See [`crate::storage::Storage::push`].
pub(super) fn push(
    storage: &SqliteStorage,
    model: &ServerModel,
    caller: &Caller,
    groups: &[Group],
) -> Result<Vec<GroupOutcome>, StorageError> {
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let conn = &mut *storage.writer();
    let envelope = Envelope {
        storage,
        model,
        caller,
    };
    if let Some(outcomes) = envelope.together(conn, groups)? {
        return Ok(outcomes);
    }
    let mut stopped = Stops::new(model);
    let mut outcomes = Vec::new();
    for group in groups {
        outcomes.push(envelope.alone(conn, group, &mut stopped)?);
    }
    Ok(outcomes)
}

/// What the groups of one request share.
struct Envelope<'a> {
    storage: &'a SqliteStorage,
    model: &'a ServerModel,
    caller: &'a Caller,
}

/// How a commit ended.
enum Commit {
    Durable,
    /// A reference points nowhere; the transaction is still open.
    BrokenReference,
}

impl Envelope<'_> {
    /// All groups in one transaction; `None` if the transaction could not be ended with all.
    fn together(
        &self,
        conn: &mut Connection,
        groups: &[Group],
    ) -> Result<Option<Vec<GroupOutcome>>, StorageError> {
        let tx = begin(conn)?;
        let tables = self.storage.tables(&tx, self.model)?;
        let applying = self.applying(&tx, &tables)?;
        let mut stopped = Stops::new(self.model);
        let mut outcomes = Vec::new();
        for group in groups {
            match applying.group(group, &stopped)? {
                Ended::Settled(settled) => {
                    stopped.add(&tables, group, &settled);
                    outcomes.push(outcome(group, settled.verdicts));
                }
                Ended::Undone(_) => return Ok(None),
            }
        }
        match self.commit(&tx)? {
            Commit::Durable => Ok(Some(outcomes)),
            Commit::BrokenReference => Ok(None),
        }
    }

    /// One group in a transaction of its own.
    fn alone(
        &self,
        conn: &mut Connection,
        group: &Group,
        stopped: &mut Stops<'_>,
    ) -> Result<GroupOutcome, StorageError> {
        let tx = begin(conn)?;
        let tables = self.storage.tables(&tx, self.model)?;
        let refused = match self.applying(&tx, &tables)?.group(group, stopped)? {
            Ended::Settled(settled) => match self.commit(&tx)? {
                Commit::Durable => {
                    stopped.add(&tables, group, &settled);
                    return Ok(outcome(group, settled.verdicts));
                }
                Commit::BrokenReference => {
                    let changes = settled.numbers.put_all(&tables, &group.changes);
                    let culprit = references::culprit(&tx, &tables, &changes);
                    let (at, verdict) = culprit.while_(DOING)?;
                    refusal(group, at, verdict)
                }
            },
            Ended::Undone(verdicts) => verdicts,
        };
        drop(tx);
        let tx = begin(conn)?;
        let tables = self.storage.tables(&tx, self.model)?;
        let settled = self.applying(&tx, &tables)?.refused(group, refused)?;
        self.commit(&tx)?;
        stopped.add(&tables, group, &settled);
        Ok(outcome(group, settled.verdicts))
    }

    fn applying<'a>(
        &'a self,
        conn: &'a Connection,
        tables: &'a Tables,
    ) -> Result<Applying<'a>, StorageError> {
        let now = self.storage.seconds(conn)?;
        Ok(Applying {
            rights: Rights {
                conn,
                tables,
                caller: self.caller,
                now,
            },
            conn,
            tables,
            user: &self.caller.user,
            at: now,
            changes_max: self.storage.group_changes_max,
            ledger_horizon: conn
                .prepare_cached("SELECT ledger_horizon FROM afield_node")
                .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
                .while_(DOING)?,
            code_key: &self.storage.code_key,
        })
    }
    /// Commits, with the beacon as high as what was written: the checkpoint that goes out with the
    /// outcomes lies behind it.
    ///
    /// Not by [`Transaction::commit`]: that rolls back at once when it fails, and the reference
    /// that failed could not be found any more.
    fn commit(&self, tx: &Transaction<'_>) -> Result<Commit, StorageError> {
        let told = history::raise(tx, self.storage.epoch)?;
        crash_point("server-push-before-commit").map_err(crashed)?;
        match tx.execute_batch("COMMIT") {
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
}

fn begin(conn: &mut Connection) -> Result<Transaction<'_>, StorageError> {
    let tx = conn
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .while_(DOING)?;
    // Holds until the end of the transaction: the order within a group does not matter.
    tx.execute_batch("PRAGMA defer_foreign_keys = ON")
        .while_(DOING)?;
    Ok(tx)
}

/// How a group ended.
enum Ended {
    /// Applied or refused, and the ledger says so.
    Settled(Settled),
    /// Refused by a trigger that rolled back the whole transaction, this group's ledger entry
    /// and everything before it included.
    Undone(Vec<Verdict>),
}

/// A transaction in which groups are applied.
struct Applying<'a> {
    rights: Rights<'a>,
    conn: &'a Connection,
    tables: &'a Tables,
    user: &'a str,
    at: i64,
    changes_max: usize,
    /// The ledger is whole above this change number; 0 if nothing was forgotten.
    ledger_horizon: i64,
    code_key: &'a CodeKey,
}

impl Applying<'_> {
    fn group(&self, group: &Group, stopped: &Stops<'_>) -> Result<Ended, StorageError> {
        let entry = ledger::find(self.conn, self.user, group.id)?;
        let (numbers, is_complete) = match numbers::of_origins(self.conn, self.user, group)? {
            Origins::Known(numbers) => (numbers, Ok(())),
            Origins::Waits { known, entity } => (known, Err(entity)),
        };
        let known = |verdicts| {
            let numbers = numbers.clone();
            Ok(Ended::Settled(Settled { verdicts, numbers }))
        };
        match entry {
            Some(Entry::Settled { hash, verdicts })
                if hash == group.hash() || planted("server-ignores-hash") =>
            {
                let verdicts = self.shown(group, &numbers, verdicts)?;
                return known(verdicts);
            }
            Some(Entry::Settled { .. }) => return known(altered(group)),
            Some(Entry::Folded { by }) => return self.known_in_part(group, numbers, &[by]),
            None => {}
        }
        if group.changes.len() > self.changes_max {
            let most = self.changes_max;
            let message = format!("one transaction may have {most} changes at most");
            let verdict = Verdict::rejected(Code::GROUP_TOO_LARGE, message);
            return self.settle(group, vec![verdict; group.changes.len()], numbers);
        }
        if ledger::took_effect(self.conn, self.user, &group.absorbed)? {
            return self.known_in_part(group, numbers, &group.absorbed);
        }
        let reason = match is_complete {
            Err(entity) => Some(format!(
                "it refers to a row of `{entity}` whose create was not applied"
            )),
            Ok(()) => stopped.hold(self.tables, group, &numbers),
        };
        match reason {
            Some(reason) if !planted("server-dependants-not-held") => {
                let verdict = Verdict::rejected(Code::WAITS_FOR, reason);
                self.settle(group, vec![verdict; group.changes.len()], numbers)
            }
            _ if self.may_be_forgotten(group)? => self.unknown_before(group, numbers),
            _ => self.apply(group, numbers),
        }
    }

    /// The verdicts of a group as they may be told now.
    fn shown(
        &self,
        group: &Group,
        numbers: &Numbers,
        verdicts: Vec<Verdict>,
    ) -> Result<Vec<Verdict>, StorageError> {
        let changes = numbers.put_all(self.tables, &group.changes);
        let pairs = changes.iter().zip(verdicts);
        pairs
            .map(|(change, verdict)| self.rights.shown(change, verdict))
            .collect()
    }

    /// The same for a group that took effect just now: only where the model lets rows leave.
    fn told(
        &self,
        group: &Group,
        numbers: &Numbers,
        verdicts: Vec<Verdict>,
    ) -> Result<Vec<Verdict>, StorageError> {
        let mut tables = group.changes.iter().map(|c| self.tables.entity(&c.entity));
        match tables.any(|table| table.is_some_and(EntityTable::may_leave)) {
            true => self.shown(group, numbers, verdicts),
            false => Ok(verdicts),
        }
    }

    fn apply(&self, group: &Group, numbers: Numbers) -> Result<Ended, StorageError> {
        self.run("SAVEPOINT afield_group")?;
        let run = turns::run(self.rights, group, &numbers)?;
        match run {
            Through::Applied(applied) => {
                self.run("RELEASE afield_group")?;
                numbers::record(self.conn, self.user, group.id, &applied.made)?;
                let numbers = applied.numbers;
                ledger::record(self.conn, self.user, group, &applied.verdicts, self.at)?;
                // What a user handed on, or made for others, is not his to see any more.
                let verdicts = self.told(group, &numbers, applied.verdicts)?;
                Ok(Ended::Settled(Settled { verdicts, numbers }))
            }
            Through::Refused { at, verdict } => {
                let verdicts = refusal(group, at, verdict);
                if self.conn.is_autocommit() {
                    return Ok(Ended::Undone(verdicts));
                }
                if !planted("server-group-not-atomic") {
                    self.run("ROLLBACK TO afield_group")?;
                }
                self.run("RELEASE afield_group")?;
                let verdicts = self.shown(group, &numbers, verdicts)?;
                self.settle(group, verdicts, numbers)
            }
        }
    }

    /// Whether the ledger may have forgotten that this group took effect: it was not made behind
    /// everything that is forgotten, in a history that is known.
    fn may_be_forgotten(&self, group: &Group) -> Result<bool, StorageError> {
        if self.ledger_horizon == 0 {
            return Ok(false);
        }
        let Some((epoch, change)) = open_checkpoint(self.code_key, &group.checkpoint) else {
            return Ok(true);
        };
        let is_known = history::beacon(self.conn, epoch)?.is_some();
        Ok(!is_known || change < self.ledger_horizon)
    }

    /// A group that may have taken effect before: what it would change is for a person to decide.
    fn unknown_before(&self, group: &Group, numbers: Numbers) -> Result<Ended, StorageError> {
        let changes = numbers.put_all(self.tables, &group.changes);
        let mut verdicts = Vec::with_capacity(changes.len());
        for (change, sent) in changes.iter().zip(&group.changes) {
            let table = self.tables.entity(&change.entity);
            verdicts.push(write::unknown_before(
                self.rights,
                table,
                change,
                &sent.key,
            )?);
        }
        let is_open = |verdict: &Verdict| verdict.kind != VerdictKind::Applied;
        if let Some(at) = verdicts.iter().position(is_open) {
            let open = verdicts.swap_remove(at);
            verdicts = refusal(group, at, open);
        }
        self.settle(group, verdicts, numbers)
    }

    /// A part of the group took effect with one of `others`, which may have created its rows.
    fn known_in_part(
        &self,
        group: &Group,
        mut numbers: Numbers,
        others: &[GroupId],
    ) -> Result<Ended, StorageError> {
        for change in &group.changes {
            let table = self.tables.entity(&change.entity);
            if let Some(row) = table.and_then(|table| numbers::made_by(table, change))
                && let Some(number) = numbers::given(self.conn, self.user, others, &row)?
            {
                numbers.insert(row, number);
            }
        }
        let changes = numbers.put_all(self.tables, &group.changes);
        let mut verdicts = Vec::with_capacity(changes.len());
        for (change, sent) in changes.iter().zip(&group.changes) {
            let table = self.tables.entity(&change.entity);
            let verdict = write::known_in_part(self.rights, table, change, &sent.key)?;
            verdicts.push(verdict);
        }
        self.settle(group, verdicts, numbers)
    }

    /// Notes the refusal of a group whose transaction had to end without it.
    fn refused(&self, group: &Group, verdicts: Vec<Verdict>) -> Result<Settled, StorageError> {
        let origins = numbers::of_origins(self.conn, self.user, group)?;
        let (Origins::Known(numbers) | Origins::Waits { known: numbers, .. }) = origins;
        ledger::record(self.conn, self.user, group, &verdicts, self.at)?;
        Ok(Settled { verdicts, numbers })
    }

    fn settle(
        &self,
        group: &Group,
        verdicts: Vec<Verdict>,
        numbers: Numbers,
    ) -> Result<Ended, StorageError> {
        ledger::record(self.conn, self.user, group, &verdicts, self.at)?;
        Ok(Ended::Settled(Settled { verdicts, numbers }))
    }

    fn run(&self, sql: &str) -> Result<(), StorageError> {
        self.conn
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute([]))
            .map(|_| ())
            .while_(DOING)
    }
}

fn outcome(group: &Group, verdicts: Vec<Verdict>) -> GroupOutcome {
    GroupOutcome {
        group: group.id,
        verdicts,
    }
}

/// The verdicts of a group that is refused for the change `culprit`.
fn refusal(group: &Group, culprit: usize, verdict: Verdict) -> Vec<Verdict> {
    let entity = group
        .changes
        .get(culprit)
        .map_or("", |change| &change.entity);
    let code = verdict.code.as_ref().map_or("", Code::as_str);
    let message = format!(
        "refused with change {} of the same transaction (`{entity}`): {code}",
        culprit + 1
    );
    let mut verdicts = vec![Verdict::rejected(Code::GROUP_REFUSED, message); group.changes.len()];
    if let Some(place) = verdicts.get_mut(culprit) {
        *place = verdict;
    }
    verdicts
}

fn altered(group: &Group) -> Vec<Verdict> {
    let message = "another group with the same id was settled before; nothing was applied";
    vec![Verdict::rejected(Code::HASH_MISMATCH, message); group.changes.len()]
}
