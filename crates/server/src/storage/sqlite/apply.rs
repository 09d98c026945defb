//! A group's changes on the team's tables, each once the rows that it names have their numbers.
//!
//! The group's own order, except that a change which refers to a row that a later change of the
//! same group creates comes right behind that one. Rows that refer to each other in a circle, or
//! to themselves, have no such order: they get the numbers that the tables would give next,
//! before they are inserted.

use std::collections::{HashMap, HashSet, VecDeque};

use afield_protocol::{Change, Code, Group, Value, Verdict, VerdictKind};
use rusqlite::Connection;

use super::error::While;
use super::numbers::{self, Numbers, Temporary};
use super::tables::Tables;
use super::write;
use crate::storage::StorageError;

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

/// Carries out the changes of `group`; `numbers` are those of the rows that other groups created.
pub(super) fn changes(
    conn: &Connection,
    tables: &Tables,
    group: &Group,
    numbers: Numbers,
) -> Result<Run, StorageError> {
    let own = |change: &Change| numbers::made_by(tables.entity(&change.entity)?, change);
    let mut applying = Applying {
        conn,
        tables,
        group,
        to_come: group.changes.iter().filter_map(own).collect(),
        numbers,
        made: Vec::new(),
        queue: (0..group.changes.len()).collect(),
        waiting: HashMap::new(),
        verdicts: vec![Verdict::applied(); group.changes.len()],
    };
    loop {
        while let Some(at) = applying.queue.pop_front() {
            if let Some(verdict) = applying.change(at)? {
                return Ok(Run::Refused { at, verdict });
            }
        }
        if applying.waiting.is_empty() {
            return Ok(Run::Applied(Applied {
                verdicts: applying.verdicts,
                numbers: applying.numbers,
                made: applying.made,
            }));
        }
        applying.reserve()?;
    }
}

struct Applying<'a> {
    conn: &'a Connection,
    tables: &'a Tables,
    group: &'a Group,
    numbers: Numbers,
    /// Rows that the group creates and has not created yet.
    to_come: HashSet<Temporary>,
    made: Vec<(Temporary, i64)>,
    /// Places of changes that can be tried.
    queue: VecDeque<usize>,
    /// Places of changes that name a row to come.
    waiting: HashMap<Temporary, Vec<usize>>,
    verdicts: Vec<Verdict>,
}

impl Applying<'_> {
    /// Tries one change; returns the verdict that refuses it, if one does.
    fn change(&mut self, at: usize) -> Result<Option<Verdict>, StorageError> {
        let Some(sent) = self.group.changes.get(at) else {
            return Ok(None);
        };
        let Some(table) = self.tables.entity(&sent.entity) else {
            let message = format!("the server has no entity `{}`", sent.entity);
            return Ok(Some(Verdict::rejected(Code::UNKNOWN_ENTITY, message)));
        };
        let numbered = self.numbers.put(table, sent);
        if let Some((attribute, row)) = numbered.unknown {
            if self.to_come.contains(&row) {
                self.waiting.entry(row).or_default().push(at);
                return Ok(None);
            }
            return Ok(Some(refers_to_nothing(attribute, &row)));
        }
        let verdict = write::change(self.conn, table, &numbered.change, &sent.key)?;
        if verdict.kind != VerdictKind::Applied {
            return Ok(Some(verdict));
        }
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

    /// Gives numbers to rows whose creates wait for each other, and tries them again.
    fn reserve(&mut self) -> Result<(), StorageError> {
        let mut places: Vec<usize> = self.waiting.drain().flat_map(|(_, at)| at).collect();
        places.sort_unstable();
        let mut next: HashMap<&str, i64> = HashMap::new();
        for change in places.iter().filter_map(|at| self.group.changes.get(*at)) {
            let Some(table) = self.tables.entity(&change.entity) else {
                continue;
            };
            let row = numbers::made_by(table, change);
            let Some(row) = row.filter(|row| self.numbers.get(row).is_none()) else {
                continue;
            };
            let number = match next.get(change.entity.as_str()) {
                Some(number) => *number,
                None => numbers::next(self.conn, table).while_("numbering a row")?,
            };
            next.insert(&change.entity, number.saturating_add(1));
            self.numbers.insert(row, number);
        }
        self.queue.extend(places);
        Ok(())
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
