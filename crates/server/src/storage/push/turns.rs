//! In which order a group's changes take their turns, where that decides whether they may.
//!
//! A user hands on a site and notes something about its tasks, in one transaction. Devices send
//! what is referred to before what refers to it, so the site's change comes first, and then the
//! tasks are no more in his scope. He might as well have sent them first. So a group whose change
//! came too late is taken back and run again with the changes that were to come, of rows which
//! are his before anything of the group is there, in front. Nothing but an order that he could
//! have chosen himself is ever tried: every change is asked for its rights when its turn comes.
//!
//! Several changes of one row stay in their order: what is handed on is handed on.

use std::collections::HashSet;

use afield_protocol::{Group, Op, Value, Verdict};

use super::apply::{self, Applied, Run};
use super::checks;
use super::numbers::Numbers;
use super::rights;
use super::transaction::{Step, Transaction};
use crate::storage::StorageError;

/// How many orders are tried: longer chains of rows that lead to each other, all handed on in one
/// transaction, have not been seen; and a bound on what a forged group costs.
const ORDERS_MAX: usize = 8;

/// How a group came through.
pub(super) enum Through {
    /// All of its changes took effect.
    Applied(Applied),
    /// One of them is refused, and with it the group; what the others wrote may still be there.
    Refused {
        /// Its place in the group.
        at: usize,
        verdict: Verdict,
    },
}

/// Carries out the changes of `group` in the savepoint `afield_group`, which is still there when
/// they are through, unless the whole transaction was rolled back by a trigger.
pub(super) fn run<T: Transaction>(
    tx: &T,
    group: &Group,
    numbers: &Numbers,
) -> Result<Through, StorageError> {
    let mut order: Vec<usize> = (0..group.changes.len()).collect();
    let mut allowed: Option<HashSet<usize>> = None;
    let mut tried = 0;
    loop {
        let is_last = tried == ORDERS_MAX;
        let may_be_late = |at: usize| match &allowed {
            _ if is_last => false,
            Some(allowed) => allowed.contains(&at),
            None => true,
        };
        let run = apply::changes(tx, group, numbers.clone(), &order, &may_be_late)?;
        let late = match run {
            Run::Applied(applied) => return Ok(Through::Applied(applied)),
            Run::Refused { at, verdict } => return Ok(Through::Refused { at, verdict }),
            Run::Late(late) => late,
        };
        tried += 1;
        tx.take_back(Step::Group)?;
        let known = match allowed.take() {
            Some(known) => known,
            None => allowed_before(tx, group, numbers)?,
        };
        if known.contains(&late.at) {
            let is_first = |at: &usize| known.contains(at) && !late.before.contains(at);
            let (first, rest): (Vec<usize>, Vec<usize>) = order.into_iter().partition(is_first);
            order = first.into_iter().chain(rest).collect();
        } else if let Some(verdict) = late.verdict {
            let at = late.at;
            return Ok(Through::Refused { at, verdict });
        }
        allowed = Some(known);
    }
}

/// Places of the updates and deletes whose rows their author may write before anything of the
/// group is there; of several of one row, the first.
fn allowed_before<T: Transaction>(
    tx: &T,
    group: &Group,
    numbers: &Numbers,
) -> Result<HashSet<usize>, StorageError> {
    let mut rows: HashSet<(&str, &[Value])> = HashSet::new();
    let mut allowed = HashSet::new();
    for (at, change) in group.changes.iter().enumerate() {
        let is_first = rows.insert((&change.entity, &change.key));
        let Some(table) = tx.table(&change.entity) else {
            continue;
        };
        if !is_first || change.op == Op::Create {
            continue;
        }
        let numbered = numbers.put(table, change);
        if checks::unwritable(table, &numbered.change).is_some() {
            continue;
        }
        if rights::has_before(tx, table, &numbered.change)? {
            allowed.insert(at);
        }
    }
    Ok(allowed)
}
