//! What users decide about what was not applied, and the last look at everything.

use std::collections::BTreeSet;

use afield_protocol::{Code, FIRST_TEMPORARY, Op};

use super::Scenario;
use super::book::order_of;
use crate::action::Decision;
use crate::app;
use crate::oracle::tagged::drained::{check_same, check_settled};
use crate::tag::Tag;
use crate::violation::{Promise, Violation};
use crate::world::decide::Open;
use crate::world::device::{Done, unexplained};
use crate::world::drain::{ROUND_MS, at};

/// Rounds in which users decide about everything that was not applied.
const DECIDING_ROUNDS: usize = 10;

/// Decisions between two looks, each about another order.
const DECISIONS_AT_ONCE: usize = 12;

impl Scenario {
    /// Ends all faults, drains, decides, drains again, and looks.
    pub(super) fn end(&mut self) -> Result<(), Violation> {
        self.world.say(|| "     the last fault is over".into());
        self.world.end_faults()?;
        for device in 0..self.world.devices.len() {
            self.work_off(device)?;
        }
        self.rounds(4)?;
        self.check_moved_on()?;
        for round in 0..DECIDING_ROUNDS {
            for device in 0..self.world.devices.len() {
                while self.decide_all(device, round)? {}
            }
            self.rounds(1)?;
            let mut records = self.world.records.iter();
            if records.all(|record| check_settled(&record.view).is_ok()) {
                break;
            }
        }
        self.rounds(2)?;
        self.check_end()
    }

    /// Each device synchronises so many times.
    fn rounds(&mut self, count: usize) -> Result<(), Violation> {
        for _ in 0..count {
            self.world.clock.advance(ROUND_MS);
            for device in 0..self.world.devices.len() {
                self.world.whole_sync(device)?;
            }
        }
        self.world.look_now()
    }

    /// What was refused holds only what depends on it.
    fn check_moved_on(&mut self) -> Result<(), Violation> {
        for device in 0..self.world.devices.len() {
            let status = self.status(device)?;
            self.world
                .tally
                .add("parked after the last fault", status.parked);
            self.world.tally.add("held by them", status.held);
            if status.pending > 0 {
                let invariant = "a bad change delays only what depends on it";
                let detail = format!("d{device}: {status:?}");
                return Err(Violation::new(Promise::P8, invariant, detail));
            }
        }
        Ok(())
    }

    fn status(&mut self, device: usize) -> Result<afield::Status, Violation> {
        match self.world.devices[device].with_store(afield::Store::status)? {
            Done::Well(status) => Ok(status),
            Done::Refused(error) => Err(unexplained("status", &error)),
            Done::Died { .. } => Err(Violation::new(Promise::Sound, "no fault is left", "died")),
        }
    }

    /// In the middle of everything a user decides about a little.
    pub(super) fn decide_some(&mut self, device: usize) -> Result<(), Violation> {
        self.decide_all(device, 0).map(drop)
    }

    /// The user decides about some of what was not applied, each of another order; says whether
    /// there was any.
    fn decide_all(&mut self, device: usize, round: usize) -> Result<bool, Violation> {
        self.world.look_now()?;
        let (mut orders, mut groups) = (BTreeSet::new(), BTreeSet::new());
        let mut chosen = Vec::new();
        for open in self.world.open(device) {
            let tags = self.world.records[device].tagged.tags(&open.entry);
            let is_new = groups.insert(open.entry.group)
                && tags.iter().all(|tag| orders.insert(order_of(tag)));
            if is_new && chosen.len() < DECISIONS_AT_ONCE {
                chosen.push((open, tags));
            }
        }
        let any = !chosen.is_empty();
        for (open, tags) in chosen {
            self.decide(device, round, &open, &tags)?;
        }
        self.world.look_now()?;
        Ok(any)
    }

    fn decide(
        &mut self,
        device: usize,
        round: usize,
        open: &Open,
        tags: &[Tag],
    ) -> Result<(), Violation> {
        let is_check = open.code == Code::CHECK_FAILED;
        let is_last = round >= DECIDING_ROUNDS / 2;
        let n = self.number() * 10 + 1;
        if let Some(decision) = tags
            .first()
            .and_then(|tag| self.is_left(device, open, &order_of(tag)))
        {
            self.world.tally.count("left to the other device");
            return self.world.decide_one(device, open, decision, n);
        }
        let decision = match (open.is_conflict, is_check) {
            // Of a row that is gone only what was typed is left: made again, it would have no tag.
            (true, _) if open.entry.op == Op::Update && open.entry.base.is_empty() => {
                Decision::Theirs
            }
            (true, _) if is_last => Decision::Mine,
            (true, _) => {
                [Decision::Mine, Decision::Theirs, Decision::Merged][self.random.usize(0..3)]
            }
            // Whoever decides about the order decides the same.
            (false, true) if gives_up(tags, open) => Decision::Drop,
            (false, true) => Decision::Retry,
            (false, false) if is_last => Decision::Drop,
            (false, false) => [Decision::Retry, Decision::Drop][self.random.usize(0..2)],
        };
        self.world.tally.count(match (open.is_conflict, decision) {
            (true, _) => "conflict decided",
            (false, Decision::Drop) => "refused change given up",
            (false, _) => "refused change sent again",
        });
        self.note_decision(device, open, tags, decision, n);
        self.world.decide_one(device, open, decision, n)
    }

    /// What a decision does to the book.
    fn note_decision(
        &mut self,
        device: usize,
        open: &Open,
        tags: &[Tag],
        decision: Decision,
        n: u32,
    ) {
        let view = &self.world.records[device].view;
        let group = view
            .tagged_log
            .iter()
            .filter(|entry| entry.group == open.entry.group);
        let record = &self.world.server_record;
        let now = record.now();
        let mut is_doubtful = false;
        let mut mates: Vec<Tag> = Vec::new();
        for entry in group {
            is_doubtful |= entry.op == Op::Delete;
            mates.extend(self.world.records[device].tagged.tags(entry));
        }
        is_doubtful |= open.is_conflict
            && mates
                .iter()
                .any(|tag| record.was_there(tag) && record.tagged_row(now, tag).is_none());
        let typed = open.typed(decision, n);
        if open.code == Code::CHECK_FAILED && !is_doubtful {
            for tag in tags {
                let from = open.entry.set.get(app::attribute_name(app::ORDER, 2));
                match (&typed, from) {
                    (Some((at, to)), Some(from)) => self.book.corrected(device, tag, *at, from, to),
                    _ if decision == Decision::Drop && open.entry.op == Op::Create => {
                        self.book.dropped(&order_of(tag));
                    }
                    _ => self.book.contest(tag),
                }
            }
            return;
        }
        for tag in tags.iter().chain(&mates) {
            if let Some((at, value)) = typed.as_ref().filter(|_| tags.contains(tag)) {
                self.book.corrected(device, tag, *at, value, value);
            }
            match is_doubtful || !open.is_conflict {
                true => self.book.doubt(tag),
                false => self.book.contest(tag),
            }
        }
    }

    /// Exactly what should be there is there, on the server and on each device; nothing waits.
    fn check_end(&mut self) -> Result<(), Violation> {
        let server = &self.world.server_record;
        for (device, record) in self.world.records.iter().enumerate() {
            check_settled(&record.view).map_err(|v| at(device, v))?;
            check_same(&record.view, server).map_err(|v| at(device, v))?;
            self.book
                .check(&record.view.tagged)
                .map_err(|v| at(device, v))?;
        }
        self.world.drained(false)?;
        let (all, exact) = self.book.check(&server.tagged_rows(server.now())?)?;
        self.world.tally.add("order in the book", all as u64);
        self.world
            .tally
            .add("order known in every detail", exact as u64);
        self.world.counters.check(server)?;
        for device in 0..self.world.devices.len() {
            let status = self.status(device)?;
            if status.pending + status.held + status.parked > 0 {
                let invariant = "in the end nothing waits";
                let detail = format!("d{device}: {status:?}");
                return Err(Violation::new(Promise::P8, invariant, detail));
            }
            self.check_no_temporary(device)?;
        }
        self.world.tally.count("world");
        Ok(())
    }

    /// No temporary identifier is left in any table of a device: the app's, the server's copies,
    /// what was captured. (The list of what became of them keeps them, and the log what was sent;
    /// the numbers of a scope's values are as large, and are none.)
    fn check_no_temporary(&self, device: usize) -> Result<(), Violation> {
        let conn = &self.world.devices[device].other;
        let sql = "SELECT m.name, c.name FROM sqlite_schema AS m, pragma_table_info(m.name) AS c \
                   WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite%' \
                   AND m.name <> 'afield_ids' AND m.name NOT LIKE 'afield_held%' \
                   AND m.name NOT LIKE 'afield_scope%' AND m.sql NOT LIKE 'CREATE VIRTUAL%'";
        let mut statement = conn.prepare(sql)?;
        let columns = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let columns: Vec<(String, String)> = columns.collect::<rusqlite::Result<_>>()?;
        for (table, column) in columns {
            let sql = format!(
                "SELECT count(*) FROM \"{table}\" WHERE typeof(\"{column}\") = 'integer' \
                 AND \"{column}\" >= {FIRST_TEMPORARY}"
            );
            let left: i64 = conn.query_row(&sql, [], |row| row.get(0))?;
            if left > 0 {
                let invariant = "in the end no temporary identifier is left";
                let detail = format!("d{device}: {left} in {table}.{column}");
                return Err(Violation::new(Promise::P4, invariant, detail));
            }
        }
        Ok(())
    }
}

/// Some orders that were refused are given up, with all their lines; other changes are corrected.
fn gives_up(tags: &[Tag], open: &Open) -> bool {
    let number = |tag: &Tag| tag.name()[1..].parse::<u32>().unwrap_or(0);
    open.entry.op == Op::Create && tags.iter().any(|tag| number(tag).is_multiple_of(4))
}
