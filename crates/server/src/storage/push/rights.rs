//! Whose rows: what a caller may see and write, asked in the transaction of his push.
//!
//! Nothing is kept between two questions: rows, grants and memberships that were written earlier
//! in the same transaction count, and so does what a trigger of the team's did. A row that is not
//! the caller's is treated like one that is not there, by the same statements; only a create must
//! be told that its identifier is taken.
//!
//! ```text
//!   row before ── in scope? ─ no ─► as if it were not there
//!                   │ yes
//!                 `write`? ─ no ─► forbidden          (updates and deletes)
//!                   │ yes
//!   row after ─── `write_to`? ─ no ─► forbidden       (creates and updates)
//! ```

use std::collections::{HashMap, HashSet};

use afield_protocol::zoo::planted;
use afield_protocol::{Attributes, Change, Code, Key, Op, Reference, Theirs, Value, Verdict};

use super::transaction::{FoundRow, Place, Purpose, Table, Transaction};
use crate::resolved::Scope;
use crate::storage::StorageError;

/// What stands under an identifier.
pub(super) enum Found<P> {
    /// A row in the caller's scope.
    Mine(FoundRow<P>),
    /// A row of somebody else's. Only a create finds it.
    Foreign,
    /// No row, or none that the caller may know of.
    Absent,
}

/// A row that a change wrote: what must still be looked at when its group is through.
pub(super) struct Wrote<P> {
    pub place: P,
    /// Places of the entity's references that the change gave another value.
    pub references: Vec<usize>,
}

/// Why the caller may not change or delete a row in his scope, if he may not.
pub(super) fn changing<T: Transaction>(
    tx: &T,
    table: &T::Table,
    change: &Change,
    row: &FoundRow<T::Place>,
) -> Result<Option<Verdict>, StorageError> {
    // A create brings a deleted row of its identifier back: it changes that row. To everything
    // else that row is not there.
    let is_revival = change.op == Op::Create;
    if is_revival != row.is_deleted || tx.may_write(table, &row.place)? {
        return Ok(None);
    }
    let decides = decide(table, table.entity().write.as_ref());
    let message = format!("this user may read the row and not change it, which {decides}");
    Ok(Some(Verdict::rejected(Code::FORBIDDEN, message)))
}

/// Whether a change of a row that is there now finds it, and may be made of it.
pub(super) fn has_before<T: Transaction>(
    tx: &T,
    table: &T::Table,
    change: &Change,
) -> Result<bool, StorageError> {
    let has = match find(tx, table, change.op, &change.key)? {
        Found::Mine(row) if row.is_deleted => false,
        Found::Mine(row) => changing(tx, table, change, &row)?.is_none(),
        Found::Foreign | Found::Absent => false,
    };
    Ok(has)
}

/// The row of a change, if it is in the caller's scope now.
pub(super) fn find<T: Transaction>(
    tx: &T,
    table: &T::Table,
    op: Op,
    key: &[Value],
) -> Result<Found<T::Place>, StorageError> {
    if table.entity().scope.is_everyone() || planted("server-push-skips-before-check") {
        let row = tx.find(table, key, Purpose::Change)?;
        return Ok(row.map_or(Found::Absent, Found::Mine));
    }
    if let Some(row) = tx.find_mine(table, key, Purpose::Change)? {
        return Ok(Found::Mine(row));
    }
    if op == Op::Create && tx.find(table, key, Purpose::Know)?.is_some() {
        return Ok(Found::Foreign);
    }
    Ok(Found::Absent)
}

/// Why the caller may not leave this row behind, which `change` just wrote, if he may not.
pub(super) fn leaving<T: Transaction>(
    tx: &T,
    table: &T::Table,
    change: &Change,
    row: &FoundRow<T::Place>,
) -> Result<Option<Verdict>, StorageError> {
    let is_fine = table.entity().becomes().is_everyone()
        || planted("server-push-skips-after-check")
        || tx.may_become(table, &row.place)?;
    Ok((!is_fine).then(|| forbidden(table, change)))
}

/// Why a row that a change of a group wrote may not stay as it is at the end of the group, if
/// it may not: another change, or a trigger, can have moved it, and only now must everything
/// be there that it refers to.
pub(super) fn staying<T: Transaction>(
    tx: &T,
    table: &T::Table,
    change: &Change,
    wrote: &Wrote<T::Place>,
    own: &Own<'_>,
) -> Result<Option<Verdict>, StorageError> {
    let Some(row) = tx.find_again(table, &wrote.place)? else {
        return Ok(None);
    };
    if let Some(verdict) = leaving(tx, table, change, &row)? {
        return Ok(Some(verdict));
    }
    let references = &table.entity().local.references;
    for reference in (wrote.references.iter()).filter_map(|at| references.get(*at)) {
        if !reaches(tx, table, reference, &row, own)? {
            return Ok(Some(refers_to_nothing(reference)));
        }
    }
    Ok(None)
}

/// The refusal of a change that the database refused, since it refers to a row that is not there:
/// in the words for one that is somebody else's, so that nobody learns which of both it is. `row`
/// is the row as it is, if there is one, and `set` what it would get.
pub(super) fn missing<T: Transaction>(
    tx: &T,
    table: &T::Table,
    change: &Change,
    (row, set): (Option<&FoundRow<T::Place>>, &Attributes),
    verdict: Verdict,
) -> Result<Verdict, StorageError> {
    if !tx.could_become(table, row, change, set)? {
        return Ok(forbidden(table, change));
    }
    let local = &table.entity().local;
    let would_be = |name: &String| {
        let at = local.attributes.iter().position(|it| it.name == *name);
        let has = row.and_then(|row| row.values.get(at?));
        let given = at.and_then(|at| change.key.get(at));
        set.get(name)
            .or(given)
            .or(has)
            .cloned()
            .unwrap_or(Value::Null)
    };
    for (at, reference) in local.references.iter().enumerate() {
        let names = &reference.attributes;
        let is_changed = row.is_none() || names.iter().any(|name| set.contains_key(name));
        let key: Key = names.iter().map(would_be).collect();
        if is_changed && table.asks_reference(at) && !leads(tx, reference, &key, &Own::default())? {
            return Ok(refers_to_nothing(reference));
        }
    }
    Ok(verdict)
}

/// Whether the row that a reference names is there for the caller, or is none of our business.
fn reaches<T: Transaction>(
    tx: &T,
    table: &T::Table,
    reference: &Reference,
    row: &FoundRow<T::Place>,
    own: &Own<'_>,
) -> Result<bool, StorageError> {
    leads(tx, reference, &reference_key(table, reference, row), own)
}

/// The same of the identifier that its attributes hold.
fn leads<T: Transaction>(
    tx: &T,
    reference: &Reference,
    key: &[Value],
    own: &Own<'_>,
) -> Result<bool, StorageError> {
    let Some(target) = tx.table(&reference.entity) else {
        return Ok(true);
    };
    if key.iter().any(Value::is_null) {
        return Ok(true);
    }
    if target.entity().scope.is_everyone() || planted("server-reference-unchecked") {
        return Ok(is_there(tx.find(target, key, Purpose::Know)?.as_ref()));
    }
    if let Some(row) = tx.find_mine(target, key, Purpose::Know)? {
        return Ok(is_there(Some(&row)));
    }
    own.has(tx, target, key)
}

/// A verdict without what it says of a row that is not the caller's, or not there, at this
/// moment: it was when the verdict was made, and is to be told again, or the group was taken
/// back.
pub(super) fn shown<T: Transaction>(
    tx: &T,
    change: &Change,
    verdict: Verdict,
) -> Result<Verdict, StorageError> {
    if !tells(&verdict) || planted("server-repeat-tells-foreign") {
        return Ok(verdict);
    }
    let key = verdict.key.as_ref().unwrap_or(&change.key);
    let is_fine = match tx.table(&change.entity) {
        Some(table) if key.len() == table.key_width() => sees(tx, table, key)?,
        _ => false,
    };
    Ok(if is_fine { verdict } else { silent(verdict) })
}

/// Whether the row is there for the caller, whoever else's it is.
fn sees<T: Transaction>(tx: &T, table: &T::Table, key: &[Value]) -> Result<bool, StorageError> {
    let row = match table.entity().scope.is_everyone() {
        true => tx.find(table, key, Purpose::Know)?,
        false => tx.find_mine(table, key, Purpose::Know)?,
    };
    Ok(is_there(row.as_ref()))
}

/// Whether a row is found that does not count as deleted.
fn is_there<P>(row: Option<&FoundRow<P>>) -> bool {
    row.is_some_and(|row| !row.is_deleted)
}

/// The rows that a group wrote, by entity: its author knows them, even those that are handed on,
/// or made for others.
#[derive(Default)]
pub(super) struct Own<'g>(HashMap<&'g str, HashSet<Vec<u8>>>);

impl<'g> Own<'g> {
    pub(super) fn add(&mut self, entity: &'g str, wrote: &Wrote<impl Place>) {
        let keys = self.0.entry(entity).or_default();
        keys.insert(wrote.place.bytes());
    }

    /// Whether a row of these is there under a canonical key.
    fn has<T: Transaction>(
        &self,
        tx: &T,
        table: &T::Table,
        key: &[Value],
    ) -> Result<bool, StorageError> {
        let Some(keys) = self.0.get(table.entity().local.name.as_str()) else {
            return Ok(false);
        };
        let row = tx.find_known(table, key, &|place| keys.contains(place))?;
        Ok(is_there(row.as_ref()))
    }
}

/// The references that `change` gave another value than `before`, the row as it was.
pub(super) fn changed_references<P>(
    table: &impl Table,
    change: &Change,
    before: Option<&FoundRow<P>>,
    row: &FoundRow<P>,
) -> Vec<usize> {
    let local = &table.entity().local;
    let is_set = |name: &String| {
        let is_key = || local.key().iter().any(|key| key.name == *name);
        change.set.contains_key(name) || (change.op == Op::Create && is_key())
    };
    let is_changed = |reference: &Reference| {
        reference.attributes.iter().any(is_set)
            && before.is_none_or(|before| {
                reference_key(table, reference, before) != reference_key(table, reference, row)
            })
    };
    let asked = |(at, _): &(usize, &Reference)| table.asks_reference(*at);
    let references = local.references.iter().enumerate().filter(asked);
    references
        .filter(|(_, reference)| is_changed(reference))
        .map(|(at, _)| at)
        .collect()
}

/// The identifier that the attributes of a reference hold.
fn reference_key<P>(table: &impl Table, reference: &Reference, row: &FoundRow<P>) -> Key {
    let attributes = &table.entity().local.attributes;
    let value = |name: &String| {
        let at = attributes
            .iter()
            .position(|attribute| attribute.name == *name);
        at.and_then(|at| row.values.get(at))
            .cloned()
            .unwrap_or(Value::Null)
    };
    reference.attributes.iter().map(value).collect()
}

/// Whether a verdict holds values of a row.
pub(in crate::storage) fn tells(verdict: &Verdict) -> bool {
    matches!(verdict.theirs, Some(Theirs::Row(_)))
        || !verdict.values.is_empty()
        || !verdict.overwritten.is_empty()
}

fn silent(verdict: Verdict) -> Verdict {
    Verdict {
        values: Attributes::new(),
        overwritten: Attributes::new(),
        theirs: verdict.theirs.map(|_| Theirs::Gone),
        ..verdict
    }
}

/// One answer, whether the row is not there or not the caller's.
fn refers_to_nothing(reference: &Reference) -> Verdict {
    let message = format!(
        "it refers to a row of `{}` that is not there",
        reference.entity
    );
    Verdict {
        attribute: reference.attributes.first().cloned(),
        ..Verdict::rejected(Code::REFERENCE, message)
    }
}

/// The refusal of a change whose row would not be one that the caller may leave behind. It names
/// what the model names, and no value.
fn forbidden(table: &impl Table, change: &Change) -> Verdict {
    let named = Named::of(table, table.entity().becomes());
    let attribute = named.known.iter();
    let attribute = attribute
        .copied()
        .find(|name| change.set.contains_key(*name));
    let decides = decide(table, Some(table.entity().becomes()));
    let mut message = match table.entity().write_to {
        None => format!("the row would not be this user's, which {decides}"),
        Some(_) => format!("this user may not make such a row, which {decides}"),
    };
    if change.op == Op::Create && !named.hidden.is_empty() {
        message.push_str(&format!(
            "; no device can set {} of the server's `{}`: add it to the attributes of `{}`",
            listed(&named.hidden),
            table.entity().table,
            table.entity().local.name
        ));
    }
    Verdict {
        attribute: attribute.map(str::to_owned),
        ..Verdict::rejected(Code::FORBIDDEN, message)
    }
}

/// What of a row decides by a rule, in words.
fn decide(table: &impl Table, rule: Option<&Scope>) -> String {
    let named = Named::of(table, rule.unwrap_or(&Scope::Everyone));
    let all: Vec<&str> = named.known.iter().chain(&named.hidden).copied().collect();
    format!("{} decides", listed(&all))
}

/// The columns that a rule compares.
#[derive(Default)]
struct Named<'a> {
    /// Attributes, by their local names.
    known: Vec<&'a str>,
    /// Those that no device has.
    hidden: Vec<&'a str>,
}

impl<'a> Named<'a> {
    fn of(table: &'a impl Table, rule: &'a Scope) -> Self {
        let mut named = Self::default();
        for condition in rule.conditions() {
            let columns = &table.entity().columns;
            let at = columns
                .iter()
                .position(|column| column.name.eq_ignore_ascii_case(&condition.column));
            let attribute = at.and_then(|at| table.entity().local.attributes.get(at));
            let (list, name) = match attribute {
                Some(attribute) => (&mut named.known, attribute.name.as_str()),
                None => (&mut named.hidden, condition.column.as_str()),
            };
            if !list.contains(&name) {
                list.push(name);
            }
        }
        named
    }
}

fn listed(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(" or ")
}
