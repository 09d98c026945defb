//! Push: groups of changes, each whole or not at all, with their ledger entries.
//!
//! All groups of a request share one transaction, each with a savepoint of its own. Two things
//! make SQLite end that transaction for all of them: a reference that points nowhere, which it
//! reports only at the commit, and a team's trigger that raises ROLLBACK. Then nothing is applied
//! yet, and the groups are run again, each in a transaction of its own, so that only the one to
//! blame is refused.

use afield_protocol::limits::GROUP_CHANGES_MAX;
use afield_protocol::zoo::{crash_point, planted};
use afield_protocol::{Code, Group, GroupOutcome, Verdict, VerdictKind};
use rusqlite::{Connection, ErrorCode, Transaction, TransactionBehavior};

use super::error::{While, crashed};
use super::ledger::{self, Entry};
use super::tables::Tables;
use super::{SqliteStorage, references, write};
use crate::resolved::ServerModel;
use crate::storage::StorageError;

const DOING: &str = "applying changes";

/// See [`crate::storage::Storage::push`].
pub(super) fn push(
    storage: &SqliteStorage,
    model: &ServerModel,
    user: &str,
    groups: &[Group],
) -> Result<Vec<GroupOutcome>, StorageError> {
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    let conn = &mut *storage.writer();
    let envelope = Envelope {
        storage,
        model,
        user,
    };
    if let Some(outcomes) = envelope.together(conn, groups)? {
        return Ok(outcomes);
    }
    groups
        .iter()
        .map(|group| envelope.alone(conn, group))
        .collect()
}

/// What the groups of one request share.
struct Envelope<'a> {
    storage: &'a SqliteStorage,
    model: &'a ServerModel,
    user: &'a str,
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
        let mut outcomes = Vec::new();
        for group in groups {
            match applying.group(group)? {
                Ended::Settled(verdicts) => outcomes.push(outcome(group, verdicts)),
                Ended::Undone(_) => return Ok(None),
            }
        }
        match commit(&tx)? {
            Commit::Durable => Ok(Some(outcomes)),
            Commit::BrokenReference => Ok(None),
        }
    }

    /// One group in a transaction of its own.
    fn alone(&self, conn: &mut Connection, group: &Group) -> Result<GroupOutcome, StorageError> {
        let tx = begin(conn)?;
        let tables = self.storage.tables(&tx, self.model)?;
        let refused = match self.applying(&tx, &tables)?.group(group)? {
            Ended::Settled(verdicts) => match commit(&tx)? {
                Commit::Durable => return Ok(outcome(group, verdicts)),
                Commit::BrokenReference => {
                    let (at, verdict) = references::culprit(&tx, &tables, group).while_(DOING)?;
                    refusal(group, at, verdict)
                }
            },
            Ended::Undone(verdicts) => verdicts,
        };
        drop(tx);
        let tx = begin(conn)?;
        self.applying(&tx, &tables)?.record(group, &refused)?;
        commit(&tx)?;
        Ok(outcome(group, refused))
    }

    fn applying<'a>(
        &'a self,
        conn: &'a Connection,
        tables: &'a Tables,
    ) -> Result<Applying<'a>, StorageError> {
        Ok(Applying {
            conn,
            tables,
            user: self.user,
            at: self.storage.seconds(conn)?,
        })
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

/// Not [`Transaction::commit`]: that rolls back at once when it fails, and the reference that
/// failed could not be found any more.
fn commit(tx: &Transaction<'_>) -> Result<Commit, StorageError> {
    crash_point("server-push-before-commit").map_err(crashed)?;
    match tx.execute_batch("COMMIT") {
        Ok(()) => {
            crash_point("server-push-after-commit").map_err(crashed)?;
            Ok(Commit::Durable)
        }
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            Ok(Commit::BrokenReference)
        }
        Err(error) => Err(error).while_(DOING),
    }
}

/// How a group ended.
enum Ended {
    /// Applied or refused, and the ledger says so.
    Settled(Vec<Verdict>),
    /// Refused by a trigger that rolled back the whole transaction, this group's ledger entry
    /// and everything before it included.
    Undone(Vec<Verdict>),
}

/// A transaction in which groups are applied.
struct Applying<'a> {
    conn: &'a Connection,
    tables: &'a Tables,
    user: &'a str,
    at: i64,
}

impl Applying<'_> {
    fn group(&self, group: &Group) -> Result<Ended, StorageError> {
        match ledger::find(self.conn, self.user, group.id)? {
            Some(Entry::Settled { hash, verdicts })
                if hash == group.hash() || planted("server-ignores-hash") =>
            {
                return Ok(Ended::Settled(verdicts));
            }
            Some(Entry::Settled { .. }) => return Ok(Ended::Settled(altered(group))),
            Some(Entry::Folded) => return self.known_in_part(group),
            None => {}
        }
        if group.changes.len() > GROUP_CHANGES_MAX {
            let message = format!("one transaction may have {GROUP_CHANGES_MAX} changes at most");
            let verdict = Verdict::rejected(Code::GROUP_TOO_LARGE, message);
            return self.settle(group, vec![verdict; group.changes.len()]);
        }
        if ledger::took_effect(self.conn, self.user, &group.absorbed)? {
            return self.known_in_part(group);
        }
        self.apply(group)
    }

    fn apply(&self, group: &Group) -> Result<Ended, StorageError> {
        self.run("SAVEPOINT afield_group")?;
        let mut verdicts = Vec::with_capacity(group.changes.len());
        for change in &group.changes {
            let verdict = match self.tables.entity(&change.entity) {
                Some(table) => write::change(self.conn, table, change)?,
                None => Verdict::rejected(
                    Code::UNKNOWN_ENTITY,
                    format!("the server has no entity `{}`", change.entity),
                ),
            };
            let is_applied = verdict.kind == VerdictKind::Applied;
            verdicts.push(verdict);
            if !is_applied {
                break;
            }
        }
        if self.conn.is_autocommit() {
            return Ok(Ended::Undone(completed(group, verdicts)));
        }
        let is_whole = verdicts.iter().all(|v| v.kind == VerdictKind::Applied);
        if !is_whole && !planted("server-group-not-atomic") {
            self.run("ROLLBACK TO afield_group")?;
        }
        self.run("RELEASE afield_group")?;
        self.settle(group, completed(group, verdicts))
    }

    fn known_in_part(&self, group: &Group) -> Result<Ended, StorageError> {
        let verdict = |change: &afield_protocol::Change| {
            write::known_in_part(self.conn, self.tables.entity(&change.entity), change)
        };
        let verdicts = group
            .changes
            .iter()
            .map(verdict)
            .collect::<Result<_, _>>()?;
        self.settle(group, verdicts)
    }

    fn settle(&self, group: &Group, verdicts: Vec<Verdict>) -> Result<Ended, StorageError> {
        self.record(group, &verdicts)?;
        Ok(Ended::Settled(verdicts))
    }

    fn record(&self, group: &Group, verdicts: &[Verdict]) -> Result<(), StorageError> {
        ledger::record(self.conn, self.user, group, verdicts, self.at)
    }

    fn run(&self, sql: &str) -> Result<(), StorageError> {
        self.conn.execute_batch(sql).while_(DOING)
    }
}

fn outcome(group: &Group, verdicts: Vec<Verdict>) -> GroupOutcome {
    GroupOutcome {
        group: group.id,
        verdicts,
    }
}

/// A verdict for each change: if the last one given refuses its change, it refuses the group.
fn completed(group: &Group, mut verdicts: Vec<Verdict>) -> Vec<Verdict> {
    match verdicts.pop() {
        Some(last) if last.kind != VerdictKind::Applied => refusal(group, verdicts.len(), last),
        last => verdicts.into_iter().chain(last).collect(),
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
