//! Push: groups of changes, each whole or not at all, with their ledger entries.
//!
//! The rules stand here once for every database; what they ask of it is the trait
//! [`Transaction`].
//!
//! ```text
//!   groups ──► group: ledger, origins, dependants ──► turns ──► apply ──► write ──► rule
//!                                                                 │          │
//!                                                                 └─ rights ─┴──► Transaction
//! ```
//!
//! All groups of a request share one transaction, each with a savepoint of its own. Two things can
//! make a database end that transaction for all of them: a reference that points nowhere, if it
//! reports that only at the commit, and a team's trigger that raises ROLLBACK. Then nothing is
//! applied yet, and the groups are run again, each in a transaction of its own, so that only the
//! one to blame is refused.

mod apply;
mod checks;
mod deletion;
mod group;
mod inbox;
mod ledger;
mod numbers;
mod references;
mod rights;
mod stops;
mod transaction;
mod turns;
mod typed;
mod write;

use afield_protocol::{Group, GroupOutcome};

use self::group::{Ended, outcome, refusal};
pub(in crate::storage) use self::inbox::{Made, decide, told_again};
pub(in crate::storage) use self::ledger::{Entry, folded, is_applied};
pub(in crate::storage) use self::numbers::{Temporary, made_by};
pub(in crate::storage) use self::references::{ForeignKey, asked};
pub(in crate::storage) use self::rights::tells;
use self::stops::Stops;
pub(in crate::storage) use self::transaction::{
    Beside, Commit, Deleting, FoundRow, Place, Purpose, Step, Table, Transaction, Written,
};
use crate::resolved::ServerModel;
use crate::storage::StorageError;

/// See [`crate::storage::Storage::push`]; `begin` begins a transaction for the caller, and one that
/// is dropped leaves nothing behind.
pub(in crate::storage) fn push<T: Transaction>(
    model: &ServerModel,
    groups: &[Group],
    begin: &dyn Fn() -> Result<T, StorageError>,
) -> Result<Vec<GroupOutcome>, StorageError> {
    if groups.is_empty() {
        return Ok(Vec::new());
    }
    if let Some(outcomes) = together(model, groups, &begin()?)? {
        return Ok(outcomes);
    }
    let mut stopped = Stops::new(model);
    let alone = |group| alone(group, &mut stopped, begin);
    groups.iter().map(alone).collect()
}

/// All groups in one transaction; `None` if the transaction could not be ended with all.
fn together<T: Transaction>(
    model: &ServerModel,
    groups: &[Group],
    tx: &T,
) -> Result<Option<Vec<GroupOutcome>>, StorageError> {
    let mut stopped = Stops::new(model);
    let mut outcomes = Vec::new();
    for some in groups.chunks(T::AHEAD_MAX.unwrap_or(usize::MAX)) {
        let ahead = match T::AHEAD_MAX {
            Some(_) => ahead(tx, some, &mut stopped)?,
            None => None,
        };
        let settled = match ahead {
            Some(settled) => Some(settled),
            None => one_by_one(tx, some, &mut stopped)?,
        };
        match settled {
            Some(settled) => outcomes.extend(settled),
            None => return Ok(None),
        }
    }
    match tx.commit()? {
        Commit::Durable => Ok(Some(outcomes)),
        Commit::BrokenReference => Ok(None),
    }
}

/// Groups that are decided before anything of them is written, and then written all at once. `None`
/// if they cannot be, or if the database made anything else of them: nothing of them is there then.
fn ahead<T: Transaction>(
    tx: &T,
    groups: &[Group],
    stopped: &mut Stops<'_>,
) -> Result<Option<Vec<GroupOutcome>>, StorageError> {
    if !tx.look_ahead(groups)? {
        return Ok(None);
    }
    let mut stopped_then = stopped.clone();
    let settled = one_by_one(tx, groups, &mut stopped_then);
    let is_as_decided = match &settled {
        Ok(Some(_)) => tx.write_ahead(),
        Ok(None) | Err(_) => Ok(false),
    };
    let is_over = tx.end_ahead(matches!(is_as_decided, Ok(true)))?;
    match (settled, is_as_decided?, is_over) {
        (Ok(settled), true, _) => {
            *stopped = stopped_then;
            Ok(settled)
        }
        // It could not be decided without writing, and that is no failure.
        (Err(error), _, false) => Err(error),
        _ => Ok(None),
    }
}

fn one_by_one<T: Transaction>(
    tx: &T,
    groups: &[Group],
    stopped: &mut Stops<'_>,
) -> Result<Option<Vec<GroupOutcome>>, StorageError> {
    let mut outcomes = Vec::with_capacity(groups.len());
    for group in groups {
        match group::apply(tx, group, stopped)? {
            Ended::Settled(settled) => {
                stopped.add(tx, group, &settled);
                outcomes.push(outcome(group, settled.verdicts));
            }
            Ended::Undone(_) => return Ok(None),
        }
    }
    Ok(Some(outcomes))
}

/// One group in a transaction of its own.
fn alone<T: Transaction>(
    group: &Group,
    stopped: &mut Stops<'_>,
    begin: &dyn Fn() -> Result<T, StorageError>,
) -> Result<GroupOutcome, StorageError> {
    let tx = begin()?;
    let refused = match group::apply(&tx, group, stopped)? {
        Ended::Settled(settled) => match tx.commit()? {
            Commit::Durable => {
                stopped.add(&tx, group, &settled);
                return Ok(outcome(group, settled.verdicts));
            }
            Commit::BrokenReference => {
                let changes = settled.numbers.put_all(&tx, &group.changes);
                let (at, verdict) = tx.culprit(&changes)?;
                refusal(group, at, verdict)
            }
        },
        Ended::Undone(verdicts) => verdicts,
    };
    drop(tx);
    let tx = begin()?;
    let settled = group::refused(&tx, group, refused)?;
    tx.commit()?;
    stopped.add(&tx, group, &settled);
    Ok(outcome(group, settled.verdicts))
}
