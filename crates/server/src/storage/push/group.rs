//! One group in a transaction: what the ledger knows of it, whether it must wait, how it ends.

use afield_protocol::zoo::planted;
use afield_protocol::{Code, Group, GroupId, GroupOutcome, Verdict, VerdictKind};

use super::inbox;
use super::ledger::Entry;
use super::numbers::{self, Numbers, Origins};
use super::rights;
use super::stops::{Settled, Stops};
use super::transaction::{Step, Table, Transaction};
use super::turns::{self, Through};
use super::write;
use crate::storage::StorageError;

/// How a group ended.
pub(super) enum Ended {
    /// Applied or refused, and the ledger says so.
    Settled(Settled),
    /// Refused by a trigger that rolled back the whole transaction, this group's ledger entry
    /// and everything before it included.
    Undone(Vec<Verdict>),
}

/// Applies a group, unless it is known or must wait.
pub(super) fn apply<T: Transaction>(
    tx: &T,
    group: &Group,
    stopped: &Stops<'_>,
) -> Result<Ended, StorageError> {
    let entry = tx.entry(group.id)?;
    let (numbers, is_complete) = match numbers::of_origins(tx, group)? {
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
            return known(shown(tx, group, &numbers, verdicts)?);
        }
        Some(Entry::Settled { .. }) => return known(altered(group)),
        Some(Entry::Folded { by }) => return known_in_part(tx, group, numbers, &[by]),
        None => {}
    }
    if group.changes.len() > tx.group_changes_max() {
        let most = tx.group_changes_max();
        let message = format!("one transaction may have {most} changes at most");
        let verdict = Verdict::rejected(Code::GROUP_TOO_LARGE, message);
        return settle(tx, group, vec![verdict; group.changes.len()], numbers);
    }
    if tx.took_effect(&group.absorbed)? {
        return known_in_part(tx, group, numbers, &group.absorbed);
    }
    let reason = match is_complete {
        Err(entity) => Some(format!(
            "it refers to a row of `{entity}` whose create was not applied"
        )),
        Ok(()) => stopped.hold(tx, group, &numbers),
    };
    match reason {
        Some(reason) if !planted("server-dependants-not-held") => {
            let verdict = Verdict::rejected(Code::WAITS_FOR, reason);
            settle(tx, group, vec![verdict; group.changes.len()], numbers)
        }
        _ if tx.may_be_forgotten(&group.checkpoint)? => unknown_before(tx, group, numbers),
        _ => carry_out(tx, group, numbers),
    }
}

/// Notes the refusal of a group whose transaction had to end without it.
pub(super) fn refused<T: Transaction>(
    tx: &T,
    group: &Group,
    verdicts: Vec<Verdict>,
) -> Result<Settled, StorageError> {
    let origins = numbers::of_origins(tx, group)?;
    let (Origins::Known(numbers) | Origins::Waits { known: numbers, .. }) = origins;
    record(tx, group, &verdicts)?;
    Ok(Settled { verdicts, numbers })
}

/// The verdicts of a group as they may be told now.
fn shown<T: Transaction>(
    tx: &T,
    group: &Group,
    numbers: &Numbers,
    verdicts: Vec<Verdict>,
) -> Result<Vec<Verdict>, StorageError> {
    let changes = numbers.put_all(tx, &group.changes);
    let pairs = changes.iter().zip(verdicts);
    pairs
        .map(|(change, verdict)| rights::shown(tx, change, verdict))
        .collect()
}

/// The same for a group that took effect just now: only where the model lets rows leave.
fn told<T: Transaction>(
    tx: &T,
    group: &Group,
    numbers: &Numbers,
    verdicts: Vec<Verdict>,
) -> Result<Vec<Verdict>, StorageError> {
    let mut tables = group.changes.iter().map(|c| tx.table(&c.entity));
    match tables.any(|table| table.is_some_and(Table::may_leave)) {
        true => shown(tx, group, numbers, verdicts),
        false => Ok(verdicts),
    }
}

pub(super) fn carry_out<T: Transaction>(
    tx: &T,
    group: &Group,
    numbers: Numbers,
) -> Result<Ended, StorageError> {
    tx.begin(Step::Group)?;
    let through = match turns::run(tx, group, &numbers)? {
        Through::Applied(applied) => {
            let changes = applied.numbers.put_all(tx, &group.changes);
            match tx.look_now(&changes)? {
                None => Through::Applied(applied),
                Some((at, verdict)) => Through::Refused { at, verdict },
            }
        }
        refused => refused,
    };
    match through {
        Through::Applied(applied) => {
            tx.keep(Step::Group)?;
            tx.keep_numbers(group.id, &applied.made)?;
            let numbers = applied.numbers;
            record(tx, group, &applied.verdicts)?;
            // What a user handed on, or made for others, is not his to see any more.
            let verdicts = told(tx, group, &numbers, applied.verdicts)?;
            Ok(Ended::Settled(Settled { verdicts, numbers }))
        }
        Through::Refused { at, verdict } => {
            let verdicts = refusal(group, at, verdict);
            if tx.is_undone() {
                return Ok(Ended::Undone(verdicts));
            }
            if !planted("server-group-not-atomic") {
                tx.take_back(Step::Group)?;
            }
            tx.keep(Step::Group)?;
            let verdicts = shown(tx, group, &numbers, verdicts)?;
            settle(tx, group, verdicts, numbers)
        }
    }
}

/// A group that may have taken effect before: what it would change is for a person to decide.
fn unknown_before<T: Transaction>(
    tx: &T,
    group: &Group,
    numbers: Numbers,
) -> Result<Ended, StorageError> {
    let changes = numbers.put_all(tx, &group.changes);
    let mut verdicts = Vec::with_capacity(changes.len());
    for (change, sent) in changes.iter().zip(&group.changes) {
        let table = tx.table(&change.entity);
        verdicts.push(write::unknown_before(tx, table, change, &sent.key)?);
    }
    let is_open = |verdict: &Verdict| verdict.kind != VerdictKind::Applied;
    if let Some(at) = verdicts.iter().position(is_open) {
        let open = verdicts.swap_remove(at);
        verdicts = refusal(group, at, open);
    }
    settle(tx, group, verdicts, numbers)
}

/// A part of the group took effect with one of `others`, which may have created its rows.
fn known_in_part<T: Transaction>(
    tx: &T,
    group: &Group,
    mut numbers: Numbers,
    others: &[GroupId],
) -> Result<Ended, StorageError> {
    for change in &group.changes {
        let table = tx.table(&change.entity);
        if let Some(row) = table.and_then(|table| numbers::made_by(table, change))
            && let Some(number) = tx.given(others, &row)?
        {
            numbers.insert(row, number);
        }
    }
    let changes = numbers.put_all(tx, &group.changes);
    let mut verdicts = Vec::with_capacity(changes.len());
    for (change, sent) in changes.iter().zip(&group.changes) {
        let table = tx.table(&change.entity);
        verdicts.push(write::known_in_part(tx, table, change, &sent.key)?);
    }
    settle(tx, group, verdicts, numbers)
}

fn settle<T: Transaction>(
    tx: &T,
    group: &Group,
    verdicts: Vec<Verdict>,
    numbers: Numbers,
) -> Result<Ended, StorageError> {
    record(tx, group, &verdicts)?;
    Ok(Ended::Settled(Settled { verdicts, numbers }))
}

fn record<T: Transaction>(tx: &T, group: &Group, verdicts: &[Verdict]) -> Result<(), StorageError> {
    let is_forgotten = planted("server-forgets-refusals") && !super::is_applied(verdicts);
    if planted("server-skips-ledger") || is_forgotten {
        return Ok(());
    }
    tx.record(group, verdicts)?;
    if !group.absorbed.is_empty() {
        tx.sent_again(group.id, &group.absorbed)?;
    }
    match inbox::noted(tx, group, verdicts) {
        Some(noted) => tx.note(group.id, noted),
        None => Ok(()),
    }
}

pub(super) fn outcome(group: &Group, verdicts: Vec<Verdict>) -> GroupOutcome {
    GroupOutcome {
        group: group.id,
        verdicts,
    }
}

/// The verdicts of a group that is refused for the change `culprit`.
pub(super) fn refusal(group: &Group, culprit: usize, verdict: Verdict) -> Vec<Verdict> {
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
