//! One change on the team's table: is it allowed, what does the rule say, the statement, and how
//! the row ended.

use afield_protocol::conflict::{self, Decision, Now, Rule};
use afield_protocol::zoo::planted;
use afield_protocol::{
    Attributes, Change, Code, FIRST_TEMPORARY, Key, Op, Pattern, Theirs, Value, Verdict,
};

use super::checks::{breaks_rule, unwritable};
use super::rights::{self, Found, Wrote};
use super::transaction::{FoundRow, Table, Transaction, Written};
use super::{deletion, numbers, typed};
use crate::storage::StorageError;

const NUMBERS_USED_UP: &str = "the server's table numbers its rows beyond 2^52, where devices \
                               have their temporary identifiers";

const IGNORED: &str = "a trigger of the server's database ignored the change";

const KEPT: &str = "the server's database does not let the row count as deleted";

/// What became of a change.
pub(super) struct Done<P> {
    pub verdict: Verdict,
    /// The row that it wrote, where somebody must look at it again at the end of its group.
    pub written: Option<Wrote<P>>,
    /// Whether it came to nothing because of the row before: not in its author's scope, or not
    /// one that he may write.
    pub is_missed: bool,
}

impl<P> Done<P> {
    /// Nothing was written.
    fn settled(verdict: Verdict) -> Self {
        Self {
            verdict,
            written: None,
            is_missed: false,
        }
    }
}

/// Decides a change and carries it out. Its identifiers are the server's, except that of a row
/// which the table is to number; `sent` is the key as it came. What it wrote stands even if the
/// verdict refuses it: the caller rolls back.
pub(super) fn change<T: Transaction>(
    tx: &T,
    table: &T::Table,
    change: &Change,
    sent: &Key,
) -> Result<Done<T::Place>, StorageError> {
    if let Some(refused) = unwritable(table, change) {
        return Ok(Done::settled(refused));
    }
    let typed = &change.set;
    let change = &*typed::as_model_has_it(table, change);
    let change = &*typed::as_columns_have_it(table, change);
    let found = found(tx, table, change)?;
    if let Found::Mine(row) = &found
        && let Some(refused) = rights::changing(tx, table, change, row)?
    {
        return Ok(Done {
            is_missed: true,
            ..Done::settled(refused)
        });
    }
    let is_there = matches!(&found, Found::Mine(row) if !row.is_deleted);
    let is_missed = change.op != Op::Create && !is_there;
    let settled = |verdict| {
        Ok(Done {
            is_missed,
            ..Done::settled(verdict)
        })
    };
    let (row, now) = match found {
        Found::Mine(row) => {
            let attributes = table.attributes(&row);
            let is_deleted = row.is_deleted && !planted("server-soft-deleted-row-is-edited");
            let now = match is_deleted {
                true => Now::SoftDeleted(attributes),
                false => Now::Present(attributes),
            };
            (Some(row), now)
        }
        Found::Foreign => (None, Now::Foreign),
        Found::Absent => (None, Now::Absent),
    };
    match conflict::decide(rule(table), counters(table), change, &now) {
        Decision::Nothing => {
            let sent = (change.op == Op::Create).then_some(sent);
            let verdict = with_key(Verdict::applied(), table, sent, row.as_ref());
            settled(with_values(verdict, table, typed, row.as_ref()))
        }
        Decision::Conflict(code) => settled(Verdict::conflict(code, theirs(now))),
        Decision::Rejected(code) => settled(rejected(code)),
        Decision::Apply { set, overwritten } => {
            if let Some(refused) = breaks_rule(table, change.op, row.as_ref(), &set) {
                return settled(refused);
            }
            if let Some(refused) = tx.unkept(table, change, row.as_ref(), &set)? {
                return settled(refused);
            }
            let writing = Writing {
                tx,
                table,
                change,
                typed,
                row: row.as_ref(),
            };
            writing.carry_out(sent, &set, overwritten)
        }
    }
}

/// The row of a change as its author may see it.
fn found<T: Transaction>(
    tx: &T,
    table: &T::Table,
    change: &Change,
) -> Result<Found<T::Place>, StorageError> {
    match numbers::made_by(table, change) {
        // Whatever row has this number on the server is another one.
        Some(_) => Ok(Found::Absent),
        None => rights::find(tx, table, change.op, &change.key),
    }
}

/// A change that is to take effect, and the row as it was.
struct Writing<'a, T: Transaction> {
    tx: &'a T,
    table: &'a T::Table,
    change: &'a Change,
    /// Its values as they were sent.
    typed: &'a Attributes,
    row: Option<&'a FoundRow<T::Place>>,
}

impl<T: Transaction> Writing<'_, T> {
    fn carry_out(
        &self,
        sent: &Key,
        set: &Attributes,
        overwritten: Attributes,
    ) -> Result<Done<T::Place>, StorageError> {
        let Self {
            tx, table, change, ..
        } = *self;
        let refused = |verdict| Ok(Done::settled(verdict));
        let row = match self.write(set)? {
            Written::Row(row) => row,
            Written::Nothing => return refused(Verdict::rejected(Code::CONSTRAINT, IGNORED)),
            Written::Kept => return refused(Verdict::rejected(Code::CONSTRAINT, KEPT)),
            Written::Refused(verdict) => {
                let is_missing = verdict.code == Some(Code::REFERENCE) && change.op != Op::Delete;
                return match is_missing && !T::DEFERS_REFERENCES {
                    true => refused(rights::missing(
                        tx,
                        table,
                        change,
                        (self.row, set),
                        verdict,
                    )?),
                    false => refused(verdict),
                };
            }
        };
        if let Some(row) = &row {
            if has_too_high_number(table, row) {
                return refused(Verdict::rejected(Code::CONSTRAINT, NUMBERS_USED_UP));
            }
            if let Some(verdict) = rights::leaving(tx, table, change, row)? {
                return refused(verdict);
            }
        }
        let sent = (change.op == Op::Create).then_some(sent);
        let verdict = with_key(Verdict::applied(), table, sent, row.as_ref());
        let verdict = with_values(verdict, table, self.typed, row.as_ref());
        Ok(Done {
            verdict: Verdict {
                overwritten,
                ..verdict
            },
            written: row.map(|row| self.wrote(row)),
            is_missed: false,
        })
    }

    fn write(&self, set: &Attributes) -> Result<Written<T::Place>, StorageError> {
        let Self {
            tx, table, change, ..
        } = *self;
        match (change.op, self.row) {
            (Op::Create, row) => match table.deletion().zip(row) {
                Some((deletion, row)) => deletion::revive(tx, table, deletion, row, set),
                None => tx.create(table, change, set),
            },
            (Op::Update, Some(row)) => tx.update(table, row, set, None),
            (Op::Delete, Some(row)) => match table.deletion() {
                Some(_) if planted("server-soft-delete-removes-the-row") => tx.delete(table, row),
                Some(deletion) => deletion::delete(tx, table, deletion, row),
                None => tx.delete(table, row),
            },
            (Op::Update | Op::Delete, None) => Ok(Written::Row(None)),
        }
    }

    fn wrote(&self, row: FoundRow<T::Place>) -> Wrote<T::Place> {
        // A row that comes back is asked like one that is new.
        let before = self.row.filter(|row| !row.is_deleted);
        let references = rights::changed_references(self.table, self.change, before, &row);
        Wrote {
            place: row.place,
            references,
        }
    }
}

/// The verdict for a change of a group of which a part took effect through a copy of the device.
pub(super) fn known_in_part<T: Transaction>(
    tx: &T,
    table: Option<&T::Table>,
    change: &Change,
    sent: &Key,
) -> Result<Verdict, StorageError> {
    let conflict = |theirs| Verdict {
        message: Some("part of it was already applied from a copy of this device".into()),
        ..Verdict::conflict(Code::ABSORBED_KNOWN, theirs)
    };
    let Some(table) = table.filter(|table| unwritable(*table, change).is_none()) else {
        return Ok(conflict(Theirs::Gone));
    };
    let row = match found(tx, table, change)? {
        Found::Mine(row) => Some(row).filter(|row| !row.is_deleted),
        Found::Foreign | Found::Absent => None,
    };
    let theirs = match &row {
        Some(row) => Theirs::Row(table.attributes(row)),
        None => Theirs::Gone,
    };
    let sent = (change.op == Op::Create).then_some(sent);
    Ok(with_key(conflict(theirs), table, sent, row.as_ref()))
}

/// The verdict for a change that may have been carried out before: that it was, if the row is as it
/// would be then, and else a conflict. Nothing is written.
pub(super) fn unknown_before<T: Transaction>(
    tx: &T,
    table: Option<&T::Table>,
    change: &Change,
    sent: &Key,
) -> Result<Verdict, StorageError> {
    let table = match table {
        Some(table) if unwritable(table, change).is_none() => table,
        _ => return Ok(rejected(Code::GONE)),
    };
    let typed = &change.set;
    let change = &*typed::as_model_has_it(table, change);
    let change = &*typed::as_columns_have_it(table, change);
    let row = match found(tx, table, change)? {
        Found::Mine(row) => Some(row).filter(|row| !row.is_deleted),
        Found::Foreign | Found::Absent => None,
    };
    let is_so = |row: &FoundRow<T::Place>| {
        let now = table.attributes(row);
        let is_set = |(name, value): (&String, &Value)| {
            // How often a difference was added, no row tells.
            !table.counters().contains(name) && now.get(name) == Some(value)
        };
        change.set.iter().all(is_set)
    };
    let verdict = match (change.op, &row) {
        (Op::Delete, None) => Verdict::applied(),
        (Op::Create | Op::Update, Some(row)) if is_so(row) => {
            with_values(Verdict::applied(), table, typed, Some(row))
        }
        (Op::Update, None) => rejected(Code::GONE),
        (_, row) => Verdict {
            message: Some("it may have been applied before; nothing remembers it".into()),
            ..Verdict::conflict(
                Code::UNKNOWN_BEFORE,
                match row {
                    Some(row) => Theirs::Row(table.attributes(row)),
                    None => Theirs::Gone,
                },
            )
        },
    };
    let sent = (change.op == Op::Create).then_some(sent);
    Ok(with_key(verdict, table, sent, row.as_ref()))
}

fn rule(table: &impl Table) -> Rule {
    match table.entity().local.pattern {
        Pattern::DetectConflicts => Rule::Detect(table.entity().local.merge),
        _ => Rule::LastWriteWins,
    }
}

fn counters(table: &impl Table) -> &[String] {
    if planted("server-counter-overwrites") {
        &[]
    } else {
        table.counters()
    }
}

fn theirs(now: Now) -> Theirs {
    match now {
        Now::Present(row) | Now::SoftDeleted(row) => Theirs::Row(row),
        Now::Absent | Now::Foreign => Theirs::Gone,
    }
}

fn rejected(code: Code) -> Verdict {
    let glossary = Code::GLOSSARY
        .iter()
        .find(|(word, ..)| *word == code.as_str());
    let meaning = glossary.map_or("The server refuses it.", |(_, meaning, _)| meaning);
    Verdict::rejected(code, meaning)
}

/// Whether a row has got a number that devices take for a temporary one.
fn has_too_high_number<P>(table: &impl Table, row: &FoundRow<P>) -> bool {
    let number = row.values.first();
    table.is_numbered() && matches!(number, Some(Value::Integer(n)) if *n >= FIRST_TEMPORARY)
}

/// Adds the identifier that the row of a create has, where it is another than was sent.
fn with_key<P>(
    verdict: Verdict,
    table: &impl Table,
    sent: Option<&Key>,
    row: Option<&FoundRow<P>>,
) -> Verdict {
    let key = row.map(|row| table.key(row));
    Verdict {
        key: key.filter(|key| sent.is_some_and(|sent| key != sent)),
        ..verdict
    }
}

/// Adds the values that ended other than they were sent. A counter's is never among them: what
/// was sent of it is a difference.
fn with_values<P>(
    verdict: Verdict,
    table: &impl Table,
    set: &Attributes,
    row: Option<&FoundRow<P>>,
) -> Verdict {
    let Some(row) = row else {
        return verdict;
    };
    let values = set
        .iter()
        .filter(|(name, _)| !table.counters().contains(name))
        .filter_map(|(name, sent)| {
            let ended = table.value(row, name)?;
            (ended != sent).then(|| (name.clone(), ended.clone()))
        })
        .collect();
    Verdict { values, ..verdict }
}
