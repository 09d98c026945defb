//! Refused groups: how they are noted, and how one is applied that somebody decided about.

use afield_protocol::codec::json::{from_attributes, from_value, stored};
use afield_protocol::{
    Attributes, Change, Code, Group, GroupId, Op, Theirs, Value, Verdict, VerdictKind,
};
use serde_json::Value as Json;

use super::group::{Ended, carry_out};
use super::ledger::is_applied;
use super::numbers::{self, Numbers, Origins};
use super::rights::{self, Found};
use super::transaction::{Table, Transaction};
use crate::storage::StorageError;
use crate::storage::inbox::{
    Choice, Decide, INBOX_BYTES, INBOX_CHANGES, Noted, NotedEntry, Refused, shown, write_group,
};

/// What is noted of a group with these verdicts; `None` if it was applied, or comes again by
/// itself.
pub(super) fn noted<T: Transaction>(tx: &T, group: &Group, verdicts: &[Verdict]) -> Option<Noted> {
    let waits = |verdict: &Verdict| verdict.code == Some(Code::WAITS_FOR);
    if is_applied(verdicts) || verdicts.iter().any(waits) {
        return None;
    }
    let is_small = group.changes.len() <= INBOX_CHANGES;
    let content = is_small.then(|| write_group(group));
    let content = content.filter(|bytes| bytes.len() <= INBOX_BYTES);
    let mut left = content.as_ref().map_or(0, |_| INBOX_BYTES);
    let entry = |(place, (change, verdict)): (usize, (&Change, &Verdict))| {
        let is_own = verdict.code != Some(Code::GROUP_REFUSED);
        (is_small || is_own).then(|| entry(tx, place, change, verdict, &mut left))
    };
    let pairs = group.changes.iter().zip(verdicts).enumerate();
    let entries = pairs.filter_map(entry).take(INBOX_CHANGES).collect();
    Some(Noted { content, entries })
}

fn entry<T: Transaction>(
    tx: &T,
    place: usize,
    change: &Change,
    verdict: &Verdict,
    left: &mut usize,
) -> NotedEntry {
    let entity = tx.table(&change.entity).map(|table| &table.entity().local);
    let mut kept = |json: Json| {
        let text = json.to_string();
        *left = left.checked_sub(text.len())?;
        Some(text)
    };
    let key = change.key.iter().enumerate().map(|(at, value)| {
        match entity.and_then(|entity| entity.key().get(at)) {
            Some(attribute) => from_value(attribute.kind, value.as_ref()),
            None => stored(value.as_ref()),
        }
    });
    let key = Json::Array(key.collect()).to_string();
    let theirs = match &verdict.theirs {
        Some(Theirs::Row(row)) => kept(from_attributes(entity, row)),
        Some(Theirs::Gone) | None => None,
    };
    NotedEntry {
        place: i64::try_from(place).unwrap_or(i64::MAX),
        entity: shown(&change.entity),
        key: match key.len() > INBOX_BYTES {
            true => "[]".to_owned(),
            false => key,
        },
        op: change.op.as_str(),
        result: verdict.kind.as_str(),
        code: verdict.code.as_ref().map(|code| code.as_str().to_owned()),
        attribute: verdict.attribute.as_deref().map(shown),
        message: verdict.message.as_deref().map(shown),
        base: kept(from_attributes(entity, &change.base)),
        mine: kept(from_attributes(entity, &change.set)),
        theirs,
    }
}

/// What came of applying a group that somebody decided about.
pub(in crate::storage) enum Made {
    /// It was applied; these verdicts are for its device.
    Applied(Vec<Verdict>),
    /// It took effect before.
    Known,
    /// A deleted row has no values.
    SetsDeleted,
    /// It is refused still, for this change.
    Refused(usize, Verdict),
}

/// Makes the changes of a refused group over the rows as they are, under another id that absorbs
/// its own. Whatever it wrote stands even if it is refused: the caller rolls back.
pub(in crate::storage) fn decide<T: Transaction>(
    tx: &T,
    refused: &Refused,
    group: &Group,
    decide: &Decide,
) -> Result<Made, StorageError> {
    if tx.took_effect(&[group.id])? {
        return Ok(Made::Known);
    }
    let mut numbers = match numbers::of_origins(tx, group)? {
        Origins::Known(numbers) => numbers,
        Origins::Waits { entity, .. } => {
            let message = format!("it refers to a row of `{entity}` whose create was not applied");
            return Ok(Made::Refused(
                0,
                Verdict::rejected(Code::WAITS_FOR, message),
            ));
        }
    };
    if refused.is_known_in_part {
        given_before(tx, group, &mut numbers)?;
    }
    let mut changes = Vec::with_capacity(group.changes.len());
    for (place, change) in group.changes.iter().enumerate() {
        let set = match &decide.choice {
            Choice::Set(values) if place == refused.place => values,
            _ => &Attributes::new(),
        };
        if change.op == Op::Delete && !set.is_empty() {
            return Ok(Made::SetsDeleted);
        }
        changes.push(over_now(tx, refused, change, set, &numbers)?);
    }
    let made = Group {
        absorbed: vec![group.id],
        origins: group.origins.clone(),
        ..Group::new(decide.into, changes)
    };
    let verdicts = match carry_out(tx, &made, numbers.clone())? {
        Ended::Settled(settled) => {
            numbers = settled.numbers;
            settled.verdicts
        }
        Ended::Undone(verdicts) => verdicts,
    };
    if !is_applied(&verdicts) {
        let own = |verdict: &Verdict| verdict.code != Some(Code::GROUP_REFUSED);
        let place = verdicts.iter().position(own).unwrap_or(0);
        let verdict = verdicts.into_iter().nth(place);
        let verdict = verdict.unwrap_or_else(|| Verdict::rejected(Code::GROUP_REFUSED, ""));
        return Ok(Made::Refused(place, verdict));
    }
    let pairs = verdicts.into_iter().zip(&made.changes).zip(&group.changes);
    let verdicts = pairs.map(|((verdict, made), sent)| corrected(verdict, made, sent));
    let told = told(tx, &made.changes, &numbers, verdicts.collect())?;
    Ok(Made::Applied(told))
}

/// The numbers of rows that a part of the group created, which took effect before.
fn given_before<T: Transaction>(
    tx: &T,
    group: &Group,
    numbers: &mut Numbers,
) -> Result<(), StorageError> {
    for change in &group.changes {
        let row = tx
            .table(&change.entity)
            .and_then(|table| numbers::made_by(table, change));
        if let Some(row) = row
            && let Some(number) = tx.given(&group.absorbed, &row)?
        {
            numbers.insert(row, number);
        }
    }
    Ok(())
}

/// A change as its user typed it, with `set` besides, as one of the row as it is now.
fn over_now<T: Transaction>(
    tx: &T,
    refused: &Refused,
    change: &Change,
    set: &Attributes,
    numbers: &Numbers,
) -> Result<Change, StorageError> {
    let mut made = change.clone();
    made.set.extend(set.clone());
    let Some(table) = tx.table(&change.entity) else {
        return Ok(made);
    };
    let numbered = numbers.put(table, change).change.into_owned();
    if numbers::made_by(table, &numbered).is_some() || numbered.key.len() != table.key_width() {
        return Ok(made);
    }
    let Found::Mine(row) = rights::find(tx, table, change.op, &numbered.key)? else {
        return Ok(made);
    };
    if row.is_deleted {
        return Ok(made);
    }
    let mut base = table.attributes(&row);
    for name in table.counters() {
        // The difference that was typed counts, unless it may have been counted already, or
        // somebody says the whole number.
        let before = change.base.get(name);
        let is_whole = refused.is_known_in_part || set.contains_key(name);
        if let Some(before) = before.filter(|_| change.set.contains_key(name) && !is_whole) {
            base.insert(name.clone(), before.clone());
        }
    }
    made.base = base;
    if made.op == Op::Create {
        made.op = Op::Update;
        made.key = numbered.key;
    }
    Ok(made)
}

/// A verdict with the values that its device does not know yet: those that were corrected.
fn corrected(mut verdict: Verdict, made: &Change, sent: &Change) -> Verdict {
    let is_new = |(name, value): &(&String, &Value)| sent.set.get(*name) != Some(*value);
    for (name, value) in made.set.iter().filter(is_new) {
        let values = &mut verdict.values;
        values.entry(name.clone()).or_insert_with(|| value.clone());
    }
    verdict.overwritten = Attributes::new();
    verdict
}

/// Verdicts as they may be told now.
fn told<T: Transaction>(
    tx: &T,
    changes: &[Change],
    numbers: &Numbers,
    verdicts: Vec<Verdict>,
) -> Result<Vec<Verdict>, StorageError> {
    let changes = numbers.put_all(tx, changes);
    let pairs = changes.iter().zip(verdicts);
    pairs
        .map(|(change, verdict)| rights::shown(tx, change, verdict))
        .collect()
}

/// What the device of a refused group is told of its decision, as it may be told now.
pub(in crate::storage) fn told_again<T: Transaction>(
    tx: &T,
    group: &Group,
    into: GroupId,
    verdicts: Vec<Verdict>,
) -> Result<Vec<Verdict>, StorageError> {
    let (Origins::Known(mut numbers)
    | Origins::Waits {
        known: mut numbers, ..
    }) = numbers::of_origins(tx, group)?;
    for change in &group.changes {
        let row = tx
            .table(&change.entity)
            .and_then(|table| numbers::made_by(table, change));
        if let Some(row) = row
            && let Some(number) = tx.given(&[into], &row)?
        {
            numbers.insert(row, number);
        }
    }
    let is_applied = |verdict: &Verdict| verdict.kind == VerdictKind::Applied;
    match verdicts.len() == group.changes.len() && verdicts.iter().all(is_applied) {
        true => told(tx, &group.changes, &numbers, verdicts),
        false => Ok(verdicts),
    }
}
