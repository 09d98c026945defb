//! Random edits, foreign writes, refusals and decisions against one rule: in the end, when nobody
//! else writes any more and everything is decided, device and server hold the same; and nobody is
//! ever in conflict with himself.
//!
//! `AFIELD_SEEDS=0..10000 cargo test -p afield --release decide_random` runs more seeds.

use afield::protocol::{Attributes, Change, Code, Group, Merge, Op, Theirs, Verdict, VerdictKind};
use afield::{ChangeState, Resolution};
use fastrand::Rng;

use crate::sheets::{Desk, sheets};
use crate::world::{attributes, int, request, text};

/// Seeds in an ordinary test run.
const SEEDS: u64 = 120;

/// Steps of a seed before everything is decided.
const STEPS: usize = 30;

fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("AFIELD_SEEDS") else {
        return 0..SEEDS;
    };
    let (from, to) = text.split_once("..").unwrap();
    from.trim().parse().unwrap()..to.trim().parse().unwrap()
}

#[test]
fn p6_whatever_is_decided_device_and_server_end_the_same() {
    for seed in seeds() {
        let mut run = Run::new(seed);
        let log = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run.run()));
        if let Err(panic) = log {
            let log = run.log.join("\n");
            eprintln!("seed {seed}\n{log}");
            std::panic::resume_unwind(panic);
        }
    }
}

struct Run {
    desk: Desk,
    rng: Rng,
    /// Whether somebody else wrote anything in this seed.
    others: bool,
    typed: u32,
    log: Vec<String>,
}

const ROWS: [&str; 3] = ["s1", "s2", "s3"];

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let merge = if rng.bool() {
            Merge::Record
        } else {
            Merge::Attribute
        };
        Self {
            desk: Desk::with(sheets(merge)),
            others: rng.u32(..3) > 0,
            rng,
            typed: 0,
            log: Vec::new(),
        }
    }

    fn run(&mut self) {
        for step in 0..STEPS {
            match self.rng.u32(..14) {
                0..5 => self.edit(),
                5 | 6 if self.others => self.other(),
                7 => self.desk.pull(),
                8 => {
                    self.decide();
                }
                9 => {
                    let outgoing = request(&mut self.desk.sync);
                    self.edit();
                    let done = self.desk.take(&outgoing);
                    self.check(&done);
                }
                10 => {
                    self.desk.sync.finished(None).unwrap();
                }
                11 => self.undo(),
                12 => self.edit_and_undo(),
                _ => self.round(),
            }
            if step % 4 == 3 {
                crate::store_states::agree(&self.desk.world, &mut self.desk.store);
            }
        }
        for _ in 0..60 {
            self.round();
            if !self.decide() && self.desk.store.status().unwrap().pending == 0 {
                break;
            }
        }
        self.round();
        let status = self.desk.store.status().unwrap();
        assert_eq!((status.pending, status.held, status.parked), (0, 0, 0));
        for id in ROWS {
            let row = self.desk.store.get("sheet", &[text(id)]).unwrap();
            let server = self.desk.rows.get(id);
            let row = row.map(|mut row| {
                row.remove("id");
                row.retain(|_, value| !value.is_null());
                row
            });
            let server = server.map(|row| {
                let mut row = row.clone();
                row.retain(|_, value| !value.is_null());
                row
            });
            assert_eq!(row, server, "{id}");
        }
        self.nothing_is_lost();
    }

    /// What was refused has its record, unless the very same values went again.
    fn nothing_is_lost(&mut self) {
        let changes = self.desk.store.changes().unwrap();
        let outcomes = self.desk.store.outcomes(0).unwrap();
        for outcome in &outcomes {
            let kept = changes.iter().any(|change| change.change == outcome.change);
            let retried = outcome.result == VerdictKind::Rejected;
            assert!(kept || retried, "{outcome:?} has no record");
        }
    }

    fn values(&mut self) -> Attributes {
        let mut set = Attributes::new();
        self.typed += 1;
        match self.rng.u32(..6) {
            0 => {
                set.insert("visits".into(), int(self.rng.i64(0..9)));
            }
            1 => {
                set.insert("a".into(), text("bad"));
            }
            n => {
                let name = if n % 2 == 0 { "a" } else { "b" };
                let value = format!("t{}", self.typed);
                set.insert(name.into(), text(&value));
            }
        }
        set
    }

    fn edit(&mut self) {
        let rows = if self.rng.u32(..4) == 0 { 2 } else { 1 };
        let mut ids = ROWS;
        self.rng.shuffle(&mut ids);
        let mut steps = Vec::new();
        for id in &ids[..rows] {
            let deletes = self.rng.u32(..8) == 0;
            let set = self.values();
            steps.push((*id, (!deletes).then_some(set)));
        }
        self.log.push(format!("edit {steps:?}"));
        let done = self.desk.store.transaction(|tx| {
            for (id, set) in &steps {
                let is_there = tx.get("sheet", &[text(id)])?.is_some();
                match set {
                    None if is_there => tx.delete("sheet", &[text(id)])?,
                    None => {}
                    Some(set) => {
                        let mut row = set.clone();
                        row.insert("id".into(), text(id));
                        tx.create_or_update("sheet", &row)?;
                    }
                }
            }
            Ok(())
        });
        done.unwrap();
    }

    fn other(&mut self) {
        let id = ROWS[self.rng.usize(..3)];
        let name = ["a", "b", "visits"][self.rng.usize(..3)];
        self.typed += 1;
        let value = match name {
            "visits" => int(self.rng.i64(20..40)),
            _ => text(&format!("o{}", self.typed)),
        };
        self.log.push(format!("other {id} {name} {value}"));
        match self.desk.rows.get_mut(id) {
            Some(_) if self.rng.u32(..6) == 0 => {
                self.desk.rows.remove(id);
            }
            Some(row) => {
                row.insert(name.into(), value);
            }
            None => {
                let row = attributes([(name, value), ("made", text("m"))]);
                self.desk.rows.insert(id.into(), row);
            }
        }
    }

    fn round(&mut self) {
        let done = self.desk.round();
        self.check(&done);
    }

    /// Without anybody else nothing is in conflict.
    fn check(&mut self, done: &[(Group, Vec<Verdict>)]) {
        for (group, verdicts) in done {
            self.log
                .push(format!("  {:?}\n  -> {verdicts:?}", group.changes));
            let mut both = group.changes.iter().zip(verdicts);
            let refused = both.any(|(change, it)| {
                it.kind == VerdictKind::Conflict && !deletes_what_was_counted(change, it)
            });
            assert!(self.others || !refused, "in conflict with himself");
            let made = verdicts.iter().any(|it| it.code == Some(Code::READ_ONLY));
            assert!(!made, "something that may not be written was sent");
        }
    }

    /// Takes something back that was not sent, if anything waits.
    fn undo(&mut self) {
        let unsent = self.unsent();
        if unsent.is_empty() {
            return;
        }
        let name = &unsent[self.rng.usize(..unsent.len())];
        self.log.push(format!("undo {name}"));
        match self.desk.store.undo(name) {
            Ok(taken) => self.is_given_up(&taken),
            // A row that others need, or one that waits in its group for other decisions.
            Err(error) if [Code::WAITS_FOR, Code::ALREADY_SENT].contains(error.code()) => {}
            Err(error) => panic!("{error:?}"),
        }
    }

    /// What is taken back at once leaves every row as it was before.
    fn edit_and_undo(&mut self) {
        let (before, rows) = (self.unsent(), self.rows());
        self.edit();
        let after = self.unsent();
        let is_new = |name: &&String| !before.contains(name);
        let Some(name) = after.iter().find(is_new) else {
            return;
        };
        // What was folded is taken back with what it was folded into.
        if before.iter().any(|name| !after.contains(name)) {
            return;
        }
        self.log.push(format!("undo at once {name}"));
        let taken = self.desk.store.undo(name).unwrap();
        self.is_given_up(&taken);
        assert_eq!(self.rows(), rows);
        assert_eq!(self.unsent(), before);
    }

    /// The rows as they are seen. Below an open conflict a count moves with the server's, as soon
    /// as anything has the row put together anew.
    fn rows(&mut self) -> Vec<Option<Attributes>> {
        let is_open = !self.desk.store.conflicts().unwrap().is_empty();
        let store = &mut self.desk.store;
        let rows = ROWS.iter();
        rows.map(|id| {
            let mut row = store.get("sheet", &[text(id)]).unwrap()?;
            row.retain(|name, _| !is_open || name != "visits");
            Some(row)
        })
        .collect()
    }

    /// Names of changes that nobody has sent.
    fn unsent(&mut self) -> Vec<String> {
        let mut changes = self.desk.store.changes().unwrap();
        changes.retain(|it| [ChangeState::Pending, ChangeState::Held].contains(&it.state));
        changes.into_iter().map(|it| it.change).collect()
    }

    fn is_given_up(&mut self, taken: &[String]) {
        assert!(!taken.is_empty());
        for name in taken {
            let change = self.desk.store.change(name).unwrap();
            assert_eq!(change.state, ChangeState::Dropped, "{change:?}");
        }
    }

    /// Decides something that is parked, if anything is.
    fn decide(&mut self) -> bool {
        let mut parked = self.desk.store.changes().unwrap();
        parked.retain(|change| {
            change.state == ChangeState::Parked && change.code != Some(Code::GROUP_REFUSED)
        });
        if parked.is_empty() {
            return false;
        }
        let change = parked.swap_remove(self.rng.usize(..parked.len()));
        let open = self.desk.store.conflicts().unwrap();
        let is_open = open.iter().any(|it| it.conflict == change.change);
        let how = self.rng.u32(..3);
        let values = attributes([("a", text(&format!("d{}", self.typed)))]);
        self.log.push(format!("decide {how} {is_open} {change:?}"));
        let store = &mut self.desk.store;
        let name = &change.change;
        match (is_open, how) {
            (true, 0) => store.resolve(name, &Resolution::Mine).map(|_| ()),
            (true, 1) => store.resolve(name, &Resolution::Theirs).map(|_| ()),
            (true, _) => store.resolve(name, &Resolution::Merged(values)).map(|_| ()),
            (false, 0) if change.set.get("a") == Some(&text("bad")) => {
                store.retry(name, Some(&values)).map(|_| ())
            }
            (false, _) => store.drop_change(name),
        }
        .or_else(|error| match *error.code() == Code::WAITS_FOR {
            true => Ok(()),
            false => Err(error),
        })
        .unwrap();
        true
    }
}

/// A delete on top of a count that was given up is in conflict: the number is another one than the
/// user saw, and only a difference could be put right.
fn deletes_what_was_counted(change: &Change, verdict: &Verdict) -> bool {
    let Some(Theirs::Row(theirs)) = &verdict.theirs else {
        return false;
    };
    let mut base = change.base.clone();
    base.retain(|name, value| name != "visits" && theirs.get(name) != Some(value));
    base.retain(|_, value| !value.is_null());
    change.op == Op::Delete && base.is_empty()
}
