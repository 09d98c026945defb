//! What users do: orders with their lines in one transaction or in several, edits under the
//! identifiers of the first day, counts, values that a CHECK refuses, deletions.

use std::collections::HashSet;

use afield_protocol::Value;

use super::book::{TEAM, is_first};
use super::typist::{Job, Statement, typed};
use super::{COPY, Desk, FIRST, LINES, ROUNDS, Scenario};
use crate::app;
use crate::deed::{Deed, Kind, Picture};
use crate::tag::{HITS, Tag};
use crate::violation::Violation;

impl Scenario {
    /// A user sits down: he ends what he began, makes orders, and edits.
    pub(super) fn work(&mut self, device: usize) -> Result<(), Violation> {
        if self.random.u32(0..3) == 0 {
            let (points, power) = (self.random.u32(0..90), self.random.bool());
            self.world.devices[device].arm(points, power)?;
        }
        self.work_off(device)?;
        let jobs = self.new_orders(device);
        self.type_in(device, jobs)?;
        let jobs = self.later_lines(device);
        self.type_in(device, jobs)?;
        let edits = self.size.orders / 40 + 2;
        let jobs = self.edits(device, edits);
        self.type_in(device, jobs)
    }

    /// A user types; what a crash left undone is for later.
    pub(super) fn type_in(&mut self, device: usize, jobs: Vec<Job>) -> Result<(), Violation> {
        let left = self.sit(device, jobs)?;
        self.desks[device].again.extend(left);
        Ok(())
    }

    /// A user does again what a crash left undone.
    pub(super) fn work_off(&mut self, device: usize) -> Result<(), Violation> {
        while !self.desks[device].again.is_empty() {
            let again = std::mem::take(&mut self.desks[device].again);
            let (now, then) = apart(again);
            let mut left = self.sit(device, now)?;
            left.extend(then);
            self.desks[device].again = left;
        }
        Ok(())
    }

    /// This round's share of the orders.
    fn share(&self, device: usize) -> usize {
        let all = self.size.orders / 2;
        let share = |round: usize| all * (round + 1) / ROUNDS - all * round / ROUNDS;
        let mine = share(self.round);
        match device {
            COPY => mine / 5,
            FIRST if self.book.is_copied => mine - mine / 5,
            _ => mine,
        }
    }

    fn new_orders(&mut self, device: usize) -> Vec<Job> {
        let mut jobs = Vec::new();
        for _ in 0..self.share(device) {
            let number = self.number();
            let order = self.new_order(number);
            let lines: Vec<Statement> = (1..=LINES).map(|n| self.new_line(number, n)).collect();
            self.desks[device].orders.push(number);
            // All at once, some at once, or one by one; the last ones perhaps another day.
            let at_once = [5, 5, 3, 0][self.random.usize(0..4)];
            let mut lines = lines.into_iter();
            let first = lines.by_ref().take(at_once);
            jobs.push(std::iter::once(order).chain(first).collect());
            for line in lines {
                let place = line.place.unwrap_or(0);
                match place > 2 && self.random.bool() {
                    true => self.desks[device].later.push((number, place)),
                    false => jobs.push(vec![line]),
                }
            }
        }
        jobs
    }

    fn new_order(&mut self, number: u32) -> Statement {
        let n = self.number();
        let value = match self.random.u32(0..16) {
            0 => Value::Text(format!("{}{n}", app::BAD)),
            _ => typed(app::ORDER, 0, n).1,
        };
        let mut set = vec![(2, value)];
        if self.random.bool() {
            set.push(typed(app::ORDER, 1, n));
        }
        Statement {
            set,
            by: i64::from(self.random.u32(0..4)),
            ..self.statement(Kind::Make, Tag::order(number))
        }
    }

    fn new_line(&mut self, order: u32, place: i64) -> Statement {
        let n = self.number();
        let tag = Tag::line(n, Tag::order(order).name());
        Statement {
            place: Some(place),
            set: vec![typed(app::LINE, 0, n)],
            ..self.statement(Kind::Make, tag)
        }
    }

    fn statement(&mut self, kind: Kind, tag: Tag) -> Statement {
        Statement {
            kind,
            tag,
            place: None,
            set: Vec::new(),
            by: 0,
            by_action: self.random.bool(),
            old_id: self.random.u32(0..4) > 0,
            n: self.number(),
        }
    }

    /// Lines of orders that were made on another day; all of them before the last fault.
    fn later_lines(&mut self, device: usize) -> Vec<Job> {
        let later = std::mem::take(&mut self.desks[device].later);
        let is_last = self.round + 1 == ROUNDS;
        let mut jobs = Vec::new();
        for (order, place) in later {
            match is_last || self.random.u32(0..3) == 0 {
                true => jobs.push(vec![self.new_line(order, place)]),
                false => self.desks[device].later.push((order, place)),
            }
        }
        jobs
    }

    /// So many edits of what a user works on, each row once.
    pub(super) fn edits(&mut self, device: usize, count: usize) -> Vec<Job> {
        let mut jobs = Vec::new();
        for _ in 0..count {
            let Desk { orders, .. } = &self.desks[device];
            if orders.is_empty() {
                break;
            }
            let number = orders[self.random.usize(0..orders.len())];
            let job = self.edit(device, number);
            jobs.extend(job.filter(|job| !job.is_empty()));
        }
        apart(jobs).0
    }

    fn edit(&mut self, device: usize, number: u32) -> Option<Job> {
        let order = Tag::order(number);
        let n = self.number();
        let which = self.random.u32(0..2);
        let what = self.random.u32(0..30);
        if what >= 18 {
            let lines = self.lines(device, &order);
            let (tag, place) = lines.get(self.random.usize(0..lines.len().max(1)))?.clone();
            let kind = if what == 29 { Kind::Delete } else { Kind::Set };
            let set = match kind {
                Kind::Delete => Vec::new(),
                _ => vec![typed(app::LINE, which, n)],
            };
            let statement = self.statement(kind, tag);
            return Some(vec![Statement {
                place,
                set,
                ..statement
            }]);
        }
        if what == 17 {
            let mut job = Job::new();
            for (tag, place) in self.lines(device, &order) {
                let statement = self.statement(Kind::Delete, tag);
                job.push(Statement { place, ..statement });
            }
            job.push(self.statement(Kind::Delete, order));
            self.desks[device].orders.retain(|kept| *kept != number);
            self.desks[device].later.retain(|(kept, _)| *kept != number);
            return Some(job);
        }
        let (set, by) = match what {
            0..7 => (Vec::new(), i64::from(n % 7 + 1)),
            7 => (vec![(2, Value::Text(format!("{}{n}", app::BAD)))], 0),
            _ => (vec![typed(app::ORDER, which, n)], 0),
        };
        let statement = self.statement(Kind::Set, order);
        Some(vec![Statement {
            set,
            by,
            ..statement
        }])
    }

    /// The lines of an order that a device showed at the last look.
    fn lines(&self, device: usize, order: &Tag) -> Vec<(Tag, Option<i64>)> {
        let rows = self.world.records[device].view.tagged.iter();
        let lines = rows.filter(|row| row.tag.order_name() == Some(order.name()));
        let mut lines: Vec<_> = (lines.filter(|row| row.tag.entity() == app::LINE))
            .map(|row| {
                (
                    row.tag.clone(),
                    crate::oracle::tagged::rows::integer(&row.values[1]),
                )
            })
            .collect();
        lines.dedup();
        lines.sort();
        lines.dedup();
        lines
    }

    /// The team counts orders up and writes notes, with plain SQL.
    pub(super) fn team_writes(&mut self) -> Result<(), Violation> {
        let record = &self.world.server_record;
        let mut picture = Picture {
            rows: record.tagged_rows(record.now())?,
            ..Picture::default()
        };
        picture
            .rows
            .retain(|row| row.tag.entity() == app::ORDER && !is_first(&row.tag));
        if picture.rows.is_empty() {
            return Ok(());
        }
        let mut chosen = HashSet::new();
        for at in 0..self.size.orders / 100 + 2 {
            let n = self.number();
            let row = &picture.rows[self.random.usize(0..picture.rows.len())];
            if !chosen.insert(row.tag.clone()) {
                continue;
            }
            let by = if at % 3 == 0 { 0 } else { i64::from(n % 5 + 1) };
            let set = if by == 0 {
                vec![typed(app::ORDER, 1, n)]
            } else {
                Vec::new()
            };
            let deed = Deed {
                kind: Kind::Set,
                tag: row.tag.clone(),
                key: row.key().to_vec(),
                set: if by == 0 {
                    set.clone()
                } else {
                    vec![(HITS, Value::Integer(by))]
                },
                by,
            };
            self.world.team_does(&deed)?;
            let statement = self.statement(Kind::Set, deed.tag);
            self.book.wrote(
                TEAM,
                &Statement {
                    set,
                    by,
                    ..statement
                },
            );
        }
        Ok(())
    }
}

/// Jobs of which each writes other rows, and the rest.
fn apart(jobs: Vec<Job>) -> (Vec<Job>, Vec<Job>) {
    let mut written = HashSet::new();
    jobs.into_iter().partition(|job| {
        let tags: Vec<Tag> = job.iter().map(|statement| statement.tag.clone()).collect();
        let is_apart = tags.iter().all(|tag| !written.contains(tag));
        written.extend(tags);
        is_apart
    })
}
