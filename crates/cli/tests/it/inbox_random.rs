//! Users and a dispatcher decide about the same changes at random, while answers are lost, requests
//! come again, the server is started anew and the team writes. In the end nothing waits, devices
//! and server hold the same, and everything that anybody typed can be read somewhere.
//!
//! `AFIELD_SEEDS=0..2000 cargo test -p afield-cli --release inbox_random` runs more seeds.

#[path = "inbox_random/world.rs"]
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use afield::protocol::{Attributes, GroupId, Value};
use afield::{ChangeInfo, ChangeState, Resolution};
use afield_server::storage::inbox::{Choice, Decide, DecideOutcome, InboxEntry, InboxState};
use fastrand::Rng;

use self::world::{Cut, World, attributes};

/// Seeds in an ordinary test run.
const SEEDS: u64 = 25;

fn text(value: &Value) -> Option<String> {
    match value {
        Value::Text(text) => Some(text.clone()),
        _ => None,
    }
}

/// Steps of a seed before everything is decided.
const STEPS: usize = 60;

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("AFIELD_SEEDS") else {
        return 0..SEEDS;
    };
    let (from, to) = text.split_once("..").unwrap();
    from.trim().parse().unwrap()..to.trim().parse().unwrap()
}

#[test]
fn p1_p2_p6_whoever_decides_nothing_is_lost_and_nothing_happens_twice() {
    let mut became: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in seeds() {
        let mut run = Run::new(seed);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| run.run())) {
            eprintln!("seed {seed}\n{}", run.log.join("\n"));
            resume_unwind(panic);
        }
        for word in run.became() {
            *became.entry(word).or_default() += 1;
        }
    }
    // Otherwise the seeds show less than they say.
    for word in ["applied", "dropped", "late", "kept"] {
        assert!(became.contains_key(word), "nothing was {word}: {became:?}");
    }
    println!("{became:?}");
}

/// A server that was replaced by an older one refuses what it does not know: the device leaves that
/// out, sends its changes all the same, and says it when the server is the newer one again.
#[test]
fn p1_an_older_server_gets_the_changes_and_is_told_nothing() {
    let mut world = World::new(1, true);
    let word = |word: &str| attributes([("a", Value::from(word))]);
    let key = |id: &str| [Value::from(id)];
    world.sync(0, Cut::Nothing);
    world.devices[0]
        .store
        .update("sheet", &key("s1"), &word("w1"))
        .unwrap();
    world.team_writes("UPDATE sheet SET a = 't' WHERE id = 's1'");
    for _ in 0..2 {
        world.sync(0, Cut::Nothing);
    }
    let device = &mut world.devices[0];
    let name = device.store.conflicts().unwrap().remove(0).conflict;
    device.store.resolve(&name, &Resolution::Theirs).unwrap();
    device
        .store
        .update("sheet", &key("s2"), &word("w2"))
        .unwrap();
    world.is_old = true;
    world.sync(0, Cut::Nothing);
    assert_eq!(world.devices[0].store.status().unwrap().pending, 0);
    assert_eq!(world.devices[0].snapshot(), world.snapshot());
    assert!(world.audit().contains(&"w2".to_owned()));
    world.is_old = false;
    for _ in 0..2 {
        world.sync(0, Cut::Nothing);
    }
    let entry = world.inbox(true).remove(0);
    assert_eq!(entry.state, InboxState::Closed);
    assert_eq!(entry.decision.as_deref(), Some("theirs"));
}

struct Run {
    world: World,
    rng: Rng,
    /// How many words users typed.
    typed: usize,
    /// Labels of rows that were created.
    made: Vec<String>,
    /// What the dispatcher decided, by group.
    decided: Vec<GroupId>,
    log: Vec<String>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        Self {
            world: World::new(seed, rng.bool()),
            rng,
            typed: 0,
            made: Vec::new(),
            decided: Vec::new(),
            log: Vec::new(),
        }
    }

    fn run(&mut self) {
        for at in 0..2 {
            self.synchronise(at, Cut::Nothing);
        }
        for _ in 0..STEPS {
            let at = self.rng.usize(..2);
            match self.rng.u32(..16) {
                0..4 => self.edit(at),
                4 => self.make(at),
                5 | 6 => self.others(),
                7 | 8 => drop(self.dispatch()),
                9 => drop(self.decide(at)),
                10 => self.world.restart(),
                _ => self.sync(at),
            }
        }
        self.settle();
        self.check();
    }

    fn word(&mut self) -> String {
        self.typed += 1;
        format!("w{}", self.typed)
    }

    /// A sheet is edited, alone or with another one; sometimes it is deleted, or made again.
    fn edit(&mut self, at: usize) {
        let id = ["s1", "s2", "s3"][self.rng.usize(..3)];
        let (name, word) = (["a", "b"][self.rng.usize(..2)], self.word());
        self.log
            .push(format!("{at} types {word} in {name} of {id}"));
        let set = attributes([(name, Value::from(word))]);
        let other = self.rng.u32(..4) == 0;
        let deletes = self.rng.u32(..10) == 0;
        let again = other.then(|| self.word());
        let done = self.world.devices[at].store.transaction(|tx| {
            let key = [Value::from(id)];
            if tx.get("sheet", &key)?.is_none() {
                let mut row = set.clone();
                row.insert("id".into(), Value::from(id));
                return tx.create("sheet", &row).map(drop);
            }
            tx.update("sheet", &key, &set)?;
            let mate = [Value::from("s1")];
            if let Some(word) = again.filter(|_| id != "s1")
                && tx.get("sheet", &mate)?.is_some()
            {
                tx.update("sheet", &mate, &attributes([("b", Value::from(word))]))?;
            }
            match deletes {
                true => tx.delete("sheet", &key),
                false => Ok(()),
            }
        });
        done.unwrap();
    }

    /// An item, whose label may be taken, and a mark on it.
    fn make(&mut self, at: usize) {
        let (label, word) = (self.word(), self.word());
        let label = match self.rng.bool() {
            true => {
                self.made.push(label.clone());
                label
            }
            false => "taken".to_owned(),
        };
        self.log.push(format!("{at} makes {label} and {word}"));
        let apart = self.rng.bool();
        let id = self.world.random_id();
        let store = &mut self.world.devices[at].store;
        let mark = |item: Value| {
            attributes([
                ("id", id.clone()),
                ("item", item),
                ("words", word.as_str().into()),
            ])
        };
        let item = attributes([("label", label.as_str().into())]);
        match apart {
            true => {
                let key = store.create("item", &item).unwrap();
                store.create("mark", &mark(key[0].clone())).unwrap();
            }
            false => store
                .transaction(|tx| {
                    let key = tx.create("item", &item)?;
                    tx.create("mark", &mark(key[0].clone())).map(drop)
                })
                .unwrap(),
        }
    }

    fn others(&mut self) {
        let id = ["s1", "s2", "s3"][self.rng.usize(..3)];
        let name = ["a", "b"][self.rng.usize(..2)];
        let n = self.rng.u32(..1_000_000);
        self.log
            .push(format!("the team writes t{n} to {name} of {id}"));
        self.world.team_writes(&format!(
            "UPDATE sheet SET {name} = 't{n}' WHERE id = '{id}'"
        ));
    }

    fn sync(&mut self, at: usize) {
        let cut = match self.rng.u32(..5) {
            0 => Cut::Request,
            1 => Cut::Answer(self.rng.usize(..4_000)),
            _ => Cut::Nothing,
        };
        self.log.push(format!("{at} synchronises, {cut:?}"));
        self.synchronise(at, cut);
    }

    /// What stands in changes before is in changes behind it, or was written on the server.
    fn synchronise(&mut self, at: usize, cut: Cut) {
        let before = self.words(at);
        self.world.sync(at, cut);
        self.is_readable(at, &before);
    }

    /// The words in a device's changes, whatever became of these.
    fn words(&mut self, at: usize) -> BTreeSet<String> {
        let changes = self.world.devices[at].store.changes().unwrap();
        let values = changes.iter().flat_map(|it| it.set.values());
        values.filter_map(text).collect()
    }

    fn is_readable(&mut self, at: usize, before: &BTreeSet<String>) {
        let mut readable = self.words(at);
        readable.extend(self.world.audit());
        let lost: Vec<_> = before.difference(&readable).collect();
        assert!(lost.is_empty(), "device {at} lost {lost:?}");
    }

    /// Somebody on the server decides about an open entry.
    fn dispatch(&mut self) -> bool {
        let open = self.world.inbox(false);
        let Some(entry) = self.rng.choice(&open).cloned() else {
            return false;
        };
        let choice = self.choice(&entry);
        self.log
            .push(format!("the dispatcher: {} {choice:?}", entry.group));
        let wish = Decide {
            n: entry.n,
            choice: choice.clone(),
            by: "dora".into(),
            into: self.world.random_group(),
        };
        let before = self.world.snapshot();
        match self.world.decide(&wish) {
            DecideOutcome::Done => self.decided.push(entry.group),
            refused => {
                self.log.push(format!("  {refused:?}"));
                assert_eq!(self.world.snapshot(), before, "nothing is written");
                if choice != Choice::Theirs {
                    return false;
                }
                panic!("dropping is refused: {refused:?}");
            }
        }
        true
    }

    fn choice(&mut self, entry: &InboxEntry) -> Choice {
        let name = match entry.entity.as_str() {
            "sheet" => "a",
            "item" => "label",
            _ => "words",
        };
        match self.rng.u32(..3) {
            0 => Choice::Mine,
            1 => Choice::Theirs,
            _ if entry.op.as_str() == "delete" => Choice::Mine,
            _ => {
                let n = self.rng.u32(..1_000_000);
                let word = format!("d{n}");
                Choice::Set(attributes([(name, Value::from(word))]))
            }
        }
    }

    /// A user decides about one of his parked changes.
    fn decide(&mut self, at: usize) -> bool {
        let parked = self.parked(at);
        let Some(change) = self.rng.choice(&parked).cloned() else {
            return false;
        };
        let before = self.words(at);
        let done = self.decide_about(at, &change);
        self.is_readable(at, &before);
        done
    }

    fn decide_about(&mut self, at: usize, change: &ChangeInfo) -> bool {
        let store = &mut self.world.devices[at].store;
        let is_conflict =
            (store.conflicts().unwrap().iter()).any(|open| open.conflict == change.change);
        let how = self.rng.u32(..3);
        self.log
            .push(format!("{at} decides {} {how}", change.change));
        if is_conflict {
            let resolution = match how {
                0 => Resolution::Mine,
                1 => Resolution::Theirs,
                _ => {
                    self.typed += 1;
                    let word = format!("w{}", self.typed);
                    Resolution::Merged(attributes([("a", Value::from(word))]))
                }
            };
            return store.resolve(&change.change, &resolution).is_ok();
        }
        if how == 0 {
            return store.drop_change(&change.change).is_ok();
        }
        let n = self.rng.u32(..1_000_000);
        let set = match change.entity.as_str() {
            "item" => attributes([("label", Value::from(format!("u{n}")))]),
            _ => Attributes::new(),
        };
        store.retry(&change.change, Some(&set)).is_ok()
    }

    fn parked(&mut self, at: usize) -> Vec<ChangeInfo> {
        let mut changes = self.world.devices[at].store.changes().unwrap();
        changes.retain(|it| it.state == ChangeState::Parked);
        changes
    }

    /// Everything is sent, and decided by the one or the other.
    fn settle(&mut self) {
        self.log.push("from here on everything is settled".into());
        for turn in 0..200 {
            let mut waits = false;
            for at in 0..2 {
                self.synchronise(at, Cut::Nothing);
                let status = self.world.devices[at].store.status().unwrap();
                waits |= status.pending + status.held + status.parked > 0;
            }
            if !waits {
                break;
            }
            // A user drops what he cannot get through.
            for at in 0..2 {
                for change in self.parked(at) {
                    let store = &mut self.world.devices[at].store;
                    let name = change.change;
                    let done = match turn % 3 {
                        0 => false,
                        1 => store.resolve(&name, &Resolution::Mine).is_ok(),
                        _ => store.drop_change(&name).is_ok(),
                    };
                    self.log.push(format!("{at} settles {name}: {done}"));
                }
            }
            if turn % 3 == 0 {
                self.dispatch();
            }
        }
        for at in [0, 1, 0, 1] {
            self.world.sync(at, Cut::Nothing);
        }
    }

    /// What became on the devices of what was decided on the server.
    fn became(&mut self) -> Vec<&'static str> {
        let mut found = Vec::new();
        for device in &mut self.world.devices {
            let changes = device.store.changes().unwrap();
            let decided = changes.iter().filter_map(|it| it.decided.as_ref());
            found.extend(decided.map(|it| it.what.as_str()));
        }
        found
    }

    fn check(&mut self) {
        let server = self.world.snapshot();
        for at in 0..2 {
            let device = &mut self.world.devices[at];
            let status = device.store.status().unwrap();
            let left = (status.pending, status.held, status.parked);
            assert_eq!(left, (0, 0, 0), "device {at}");
            assert_eq!(device.snapshot(), server, "device {at}");
            for change in device.store.changes().unwrap() {
                let is_over = [ChangeState::Settled, ChangeState::Dropped].contains(&change.state);
                assert!(is_over, "{change:?}");
            }
        }
        for label in &self.made {
            let times = self.world.times_made(label);
            assert!(times <= 1, "{label} was made {times} times");
        }
        for entry in self.world.inbox(true) {
            match entry.state {
                InboxState::Open => panic!("{entry:?} is open"),
                InboxState::Decided => assert!(entry.told, "{entry:?} was never told"),
                InboxState::Closed => {}
            }
            let was_decided = self.decided.contains(&entry.group);
            assert_eq!(was_decided, entry.state == InboxState::Decided, "{entry:?}");
        }
    }
}
