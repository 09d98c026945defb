//! A group's changes on the team's tables, each once the rows that it names have their numbers.
//!
//! The group's own order, except that a change which refers to a row that a later change of the
//! same group creates comes right behind that one. Rows that refer to each other in a circle, or
//! to themselves, have no such order: they get the numbers that the tables would give next,
//! before they are inserted.
//!
//! A change whose row would not be the caller's is taken back and tried again behind the others:
//! one of them may create the membership that makes it his. It is never left standing in the hope
//! of that, or what it wrote could open rows to the changes behind it that are nobody's to open.
//! When all is done, each row that was written is looked at once more, with what it refers to.
//!
//! The other way round a change of the group can have taken a row from its author before the turn
//! of another change came: it handed on the row that leads to it. Then the run ends, and begins
//! again in another order ([`super::turns`]).

use std::collections::{HashMap, HashSet, VecDeque};

use afield_protocol::{Change, Code, Group, Key, Value, Verdict, VerdictKind};

use super::numbers::{self, Numbers, Temporary};
use super::rights::{self, Own, Wrote};
use super::transaction::{Step, Table, Transaction};
use super::write::{self, Done};
use crate::storage::StorageError;

/// How often forbidden changes are tried again behind others: more than any chain of grants that
/// one transaction makes, and a bound on what a forged group costs.
const ROUNDS_MAX: usize = 8;

/// How a group's changes went.
pub(super) enum Run {
    /// All of them took effect.
    Applied(Applied),
    /// One of them is refused, and with it the group; what the others wrote is still there.
    Refused {
        /// Its place in the group.
        at: usize,
        verdict: Verdict,
    },
    /// The row of a change was its author's no more when its turn came. Perhaps it was before.
    Late(Late),
}

/// A change whose turn came too late.
pub(super) struct Late {
    /// Its place in the group.
    pub at: usize,
    /// What refuses it; a delete of a row that is not there is not refused.
    pub verdict: Option<Verdict>,
    /// Places of the changes that came before.
    pub before: HashSet<usize>,
}

/// A group that took effect.
pub(super) struct Applied {
    /// One for each change.
    pub verdicts: Vec<Verdict>,
    /// The rows that it names by temporary identifiers, its own included.
    pub numbers: Numbers,
    /// The numbers of the rows that it created.
    pub made: Vec<(Temporary, i64)>,
}

/// Carries out the changes of `group` in this order; `numbers` are those of the rows that other
/// groups created. `may_be_late` says of which changes it is told that their turn came too late.
pub(super) fn changes<T: Transaction>(
    tx: &T,
    group: &Group,
    numbers: Numbers,
    order: &[usize],
    may_be_late: &dyn Fn(usize) -> bool,
) -> Result<Run, StorageError> {
    let own = |change: &Change| numbers::made_by(tx.table(&change.entity)?, change);
    let mut applying = Applying {
        tx,
        group,
        to_come: group.changes.iter().filter_map(own).collect(),
        numbers,
        made: Vec::new(),
        queue: order.iter().copied().collect(),
        may_be_late,
        waiting: HashMap::new(),
        postponed: Vec::new(),
        rounds: 0,
        stood: 0,
        standing: Vec::new(),
        verdicts: vec![Verdict::applied(); group.changes.len()],
    };
    loop {
        while let Some(at) = applying.queue.pop_front() {
            if let Some(end) = applying.change(at)? {
                return Ok(end);
            }
        }
        if applying.waiting.is_empty() && applying.postponed.is_empty() {
            return applying.end();
        }
        if let Some(end) = applying.again()? {
            return Ok(end);
        }
    }
}

struct Applying<'a, T: Transaction> {
    tx: &'a T,
    group: &'a Group,
    numbers: Numbers,
    /// Rows that the group creates and has not created yet.
    to_come: HashSet<Temporary>,
    made: Vec<(Temporary, i64)>,
    /// Places of changes that can be tried.
    queue: VecDeque<usize>,
    /// Places of changes that name a row to come.
    waiting: HashMap<Temporary, Vec<usize>>,
    /// Changes that were forbidden when they were tried.
    postponed: Vec<Postponed>,
    /// How often postponed changes were tried again, and how many stood then.
    rounds: usize,
    stood: usize,
    /// Places of the changes that stand, with what they wrote.
    standing: Vec<(usize, Option<Wrote<T::Place>>)>,
    verdicts: Vec<Verdict>,
    may_be_late: &'a dyn Fn(usize) -> bool,
}

/// A change that was forbidden when it was tried.
struct Postponed {
    at: usize,
    verdict: Verdict,
    /// Whether for the row before.
    is_missed: bool,
}

impl<T: Transaction> Applying<'_, T> {
    /// Tries one change; returns how the group ends, if it ends with it.
    fn change(&mut self, at: usize) -> Result<Option<Run>, StorageError> {
        let Some(sent) = self.group.changes.get(at) else {
            return Ok(None);
        };
        let Some(table) = self.tx.table(&sent.entity) else {
            let message = format!("the server has no entity `{}`", sent.entity);
            let verdict = Verdict::rejected(Code::UNKNOWN_ENTITY, message);
            return Ok(Some(Run::Refused { at, verdict }));
        };
        let numbered = self.numbers.put(table, sent);
        if let Some((attribute, row)) = numbered.unknown {
            if self.to_come.contains(&row) {
                self.waiting.entry(row).or_default().push(at);
                return Ok(None);
            }
            let verdict = refers_to_nothing(attribute, &row);
            return Ok(Some(Run::Refused { at, verdict }));
        }
        let done = self.carry_out(table, &numbered.change, &sent.key)?;
        let Done {
            verdict,
            written,
            is_missed,
        } = done;
        // Where nobody's rights are asked, a row that is missed is not there.
        let is_missed = is_missed && table.has_rights();
        if may_wait::<T>(&verdict) && self.can_wait(table) {
            self.postponed.push(Postponed {
                at,
                verdict,
                is_missed,
            });
            return Ok(None);
        }
        if verdict.kind != VerdictKind::Applied {
            return Ok(Some(self.refused(at, verdict, is_missed)));
        }
        if is_missed && self.is_late(at) {
            return Ok(Some(self.late(at, None)));
        }
        self.standing.push((at, written));
        if let Some(row) = numbers::made_by(table, sent) {
            if let Some([Value::Integer(number)]) = verdict.key.as_deref() {
                self.numbers.insert(row.clone(), *number);
                self.made.push((row.clone(), *number));
            }
            self.to_come.remove(&row);
            let woken = self.waiting.remove(&row).unwrap_or_default();
            woken
                .into_iter()
                .rev()
                .for_each(|at| self.queue.push_front(at));
        }
        if let Some(place) = self.verdicts.get_mut(at) {
            *place = verdict;
        }
        Ok(None)
    }

    /// Whether a change of this table that is forbidden now may be allowed behind the others.
    fn can_wait(&self, table: &T::Table) -> bool {
        (table.has_rights() || !T::DEFERS_REFERENCES) && self.group.changes.len() > 1
    }

    /// Whether a change whose row was none of its author's may have come too late.
    fn is_late(&self, at: usize) -> bool {
        !self.standing.is_empty() && (self.may_be_late)(at)
    }

    fn late(&self, at: usize, verdict: Option<Verdict>) -> Run {
        let before = self.standing.iter().map(|(at, _)| *at).collect();
        Run::Late(Late {
            at,
            verdict,
            before,
        })
    }

    fn refused(&self, at: usize, verdict: Verdict, is_missed: bool) -> Run {
        match is_missed && self.is_late(at) {
            true => self.late(at, Some(verdict)),
            false => Run::Refused { at, verdict },
        }
    }

    /// One change; what it wrote is taken back if it is forbidden.
    fn carry_out(
        &self,
        table: &T::Table,
        change: &Change,
        sent: &Key,
    ) -> Result<Done<T::Place>, StorageError> {
        if !self.can_wait(table) {
            return write::change(self.tx, table, change, sent);
        }
        self.tx.begin(Step::Change)?;
        let done = write::change(self.tx, table, change, sent)?;
        // A trigger that rolls back has ended the savepoint too.
        if !self.tx.is_undone() {
            if may_wait::<T>(&done.verdict) {
                self.tx.take_back(Step::Change)?;
            }
            self.tx.keep(Step::Change)?;
        }
        Ok(done)
    }

    /// Queues what could not be done so far; or says what never can be.
    fn again(&mut self) -> Result<Option<Run>, StorageError> {
        let has_moved = self.standing.len() > self.stood && self.rounds < ROUNDS_MAX;
        self.stood = self.standing.len();
        if has_moved && !self.postponed.is_empty() {
            self.rounds += 1;
            self.queue
                .extend(self.postponed.drain(..).map(|one| one.at));
            return Ok(None);
        }
        if self.waiting.is_empty() {
            let first = self.postponed.drain(..).min_by_key(|one| one.at);
            return Ok(first.map(|one| self.refused(one.at, one.verdict, one.is_missed)));
        }
        self.reserve()?;
        Ok(None)
    }

    /// Looks at what stands when all is done.
    fn end(self) -> Result<Run, StorageError> {
        let mut standing = self.standing;
        standing.sort_by_key(|(at, _)| *at);
        // Nothing came behind a change that stands alone, and it was looked at.
        if let [(_, Some(written))] = standing.as_slice()
            && written.references.is_empty()
        {
            standing.clear();
        }
        let mut own = Own::default();
        for (at, written) in &standing {
            if let (Some(written), Some(change)) = (written, self.group.changes.get(*at)) {
                own.add(&change.entity, written);
            }
        }
        for (at, written) in standing {
            let (Some(written), Some(change)) = (written, self.group.changes.get(at)) else {
                continue;
            };
            let Some(table) = self.tx.table(&change.entity) else {
                continue;
            };
            if let Some(verdict) = rights::staying(self.tx, table, change, &written, &own)? {
                return Ok(Run::Refused { at, verdict });
            }
        }
        Ok(Run::Applied(Applied {
            verdicts: self.verdicts,
            numbers: self.numbers,
            made: self.made,
        }))
    }

    /// Gives numbers to rows whose creates wait for each other, and tries them again.
    fn reserve(&mut self) -> Result<(), StorageError> {
        let waiting = self.waiting.drain().flat_map(|(_, at)| at);
        let postponed = self.postponed.drain(..).map(|one| one.at);
        let mut places: Vec<usize> = waiting.chain(postponed).collect();
        places.sort_unstable();
        let mut last: HashMap<&str, i64> = HashMap::new();
        for change in places.iter().filter_map(|at| self.group.changes.get(*at)) {
            let Some(table) = self.tx.table(&change.entity) else {
                continue;
            };
            let row = numbers::made_by(table, change);
            let Some(row) = row.filter(|row| self.numbers.get(row).is_none()) else {
                continue;
            };
            let before = last.get(change.entity.as_str()).copied();
            let number = self.tx.next_number(table, before)?;
            last.insert(&change.entity, number);
            self.numbers.insert(row, number);
        }
        self.queue.extend(places);
        Ok(())
    }
}

/// Whether a change that is refused so may be allowed behind others of its group.
fn may_wait<T: Transaction>(verdict: &Verdict) -> bool {
    match &verdict.code {
        Some(code) if *code == Code::FORBIDDEN => true,
        Some(code) if *code == Code::REFERENCE => !T::DEFERS_REFERENCES,
        _ => false,
    }
}

fn refers_to_nothing(attribute: String, (entity, temporary): &Temporary) -> Verdict {
    let message = format!(
        "`{attribute}` is {temporary}, a temporary identifier of a row of `{entity}` that no \
         group is known to have created"
    );
    Verdict {
        attribute: Some(attribute),
        ..Verdict::rejected(Code::REFERENCE, message)
    }
}
