//! The queue of syncs: which one runs next, and what becomes of those who asked.
//!
//! ```text
//!   ask ──► the same is waiting already? ── yes ──► it counts for both
//!                     │ no
//!                     ▼
//!           waiting, first come first served ──► next ──► running ──► finished
//!                     ▲
//!   discarding: all that wait are dropped, and what is asked is the only one
//! ```
//!
//! It performs nothing and holds no data that would be missed: a driver takes the next sync, runs
//! it to its end, and says so. One runs at a time. What is discarded is the wish to synchronise,
//! never a change; a sync that is running goes on.
//!
//! A handler that is told of the end of a sync may ask for another. That one waits behind what is
//! waiting, so the handler never runs inside itself; and a handler that asks again each time it is
//! told would have the device synchronise without a pause, so from its second time on such a sync
//! waits [`PAUSE_MS`].

use std::collections::VecDeque;

use crate::engine::Direction;

/// What a sync that a handler asked for waits, if the sync that the handler was told of was asked
/// for by a handler as well.
pub const PAUSE_MS: i64 = 5_000;

/// What a sync is to do. Two that are equal do the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The unit; all units in the model's order if `None`.
    pub unit: Option<String>,
    /// What for.
    pub purpose: Purpose,
    /// When it gives up at the latest, in milliseconds after it has begun.
    pub deadline_ms: Option<i64>,
}

impl Wanted {
    /// Whether it sends what was changed.
    pub fn sends(&self) -> bool {
        matches!(
            self.purpose,
            Purpose::Sync(Direction::Both | Direction::Send)
        )
    }

    /// A sync of all units, both ways.
    pub fn everything() -> Self {
        Self {
            unit: None,
            purpose: Purpose::Sync(Direction::Both),
            deadline_ms: None,
        }
    }
}

/// What a sync is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To send and receive.
    Sync(Direction),
    /// To compare all rows with the server's, and to repair what differs if so.
    Verify {
        /// Whether differences are repaired.
        repair: bool,
    },
}

/// Somebody who asked for a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// What became of the question for a sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Who asked.
    pub ticket: Ticket,
    /// Whether a sync that waited already counts for this one too.
    pub is_joined: bool,
    /// How many syncs wait now, this one among them.
    pub waiting: usize,
    /// Those who asked for what was discarded.
    pub discarded: Vec<Ticket>,
}

/// What a driver is to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Run this.
    Run(Wanted),
    /// Ask again at this time, in milliseconds of the clock that the times before were of.
    At(i64),
    /// Wait until somebody asks.
    Nothing,
}

/// The syncs that wait, and the one that runs.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: VecDeque<Entry>,
    running: Option<Entry>,
    tickets: u64,
}

#[derive(Debug)]
struct Entry {
    wanted: Wanted,
    tickets: Vec<Ticket>,
    /// Whether handlers alone asked for it.
    is_of_handler: bool,
    /// Not before this time.
    from: Option<i64>,
}

impl Queue {
    /// Asks for a sync. With `discards`, all that wait are dropped first.
    pub fn ask(&mut self, wanted: Wanted, discards: bool) -> Asked {
        self.add(wanted, discards, None)
    }

    /// The same, by a handler that is being told of the end of the running sync; `now` is the time.
    pub fn ask_in_handler(&mut self, wanted: Wanted, discards: bool, now: i64) -> Asked {
        self.add(wanted, discards, Some(now))
    }

    fn add(&mut self, wanted: Wanted, discards: bool, in_handler: Option<i64>) -> Asked {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let discarded = match discards {
            true => self.discard(),
            false => Vec::new(),
        };
        let is_again = self.running.as_ref().is_some_and(|it| it.is_of_handler);
        let from = in_handler
            .filter(|_| is_again)
            .map(|now| now.saturating_add(PAUSE_MS));
        let same = self.waiting.iter_mut().find(|it| it.wanted == wanted);
        let is_joined = same.is_some();
        match same {
            Some(entry) => {
                entry.tickets.push(ticket);
                entry.is_of_handler &= in_handler.is_some();
                // Whoever waits less is not kept waiting.
                entry.from = entry.from.zip(from).map(|(one, other)| one.min(other));
            }
            None => self.waiting.push_back(Entry {
                wanted,
                tickets: vec![ticket],
                is_of_handler: in_handler.is_some(),
                from,
            }),
        }
        Asked {
            ticket,
            is_joined,
            waiting: self.waiting.len(),
            discarded,
        }
    }

    /// Drops all that wait; gives those who asked for it.
    pub fn discard(&mut self) -> Vec<Ticket> {
        let dropped = self.waiting.drain(..);
        dropped.flat_map(|entry| entry.tickets).collect()
    }

    /// Somebody does not want his sync any more. If nobody else asked for it and it waits, it is
    /// dropped; true if it is the one that runs.
    pub fn forget(&mut self, ticket: Ticket) -> bool {
        for entry in &mut self.waiting {
            entry.tickets.retain(|known| *known != ticket);
        }
        self.waiting.retain(|entry| !entry.tickets.is_empty());
        let running = self.running.as_ref();
        running.is_some_and(|entry| entry.tickets.contains(&ticket))
    }

    /// Begins the next sync, unless one is running.
    pub fn next(&mut self, now: i64) -> Next {
        if self.running.is_some() {
            return Next::Nothing;
        }
        let is_due = |entry: &Entry| entry.from.is_none_or(|from| from <= now);
        if let Some(at) = self.waiting.iter().position(is_due)
            && let Some(entry) = self.waiting.remove(at)
        {
            let wanted = entry.wanted.clone();
            self.running = Some(entry);
            return Next::Run(wanted);
        }
        let first = self.waiting.iter().filter_map(|entry| entry.from).min();
        first.map_or(Next::Nothing, Next::At)
    }

    /// The running sync, and whoever asked for it.
    pub fn running(&self) -> Option<(&Wanted, &[Ticket])> {
        let running = self.running.as_ref()?;
        Some((&running.wanted, &running.tickets))
    }

    /// The running sync is over, and its handlers have been told; gives those who asked for it.
    pub fn finished(&mut self) -> Vec<Ticket> {
        let running = self.running.take();
        running.map_or_else(Vec::new, |entry| entry.tickets)
    }

    /// How many syncs wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sync(unit: &str) -> Wanted {
        Wanted {
            unit: Some(unit.to_owned()),
            purpose: Purpose::Sync(Direction::Both),
            deadline_ms: None,
        }
    }

    fn sending(unit: &str) -> Wanted {
        Wanted {
            purpose: Purpose::Sync(Direction::Send),
            ..sync(unit)
        }
    }

    /// The units that run, in order, until nothing is due.
    fn ran(queue: &mut Queue, now: i64) -> Vec<(String, usize)> {
        let mut ran = Vec::new();
        while let Next::Run(wanted) = queue.next(now) {
            ran.push((wanted.unit.unwrap(), queue.finished().len()));
        }
        ran
    }

    fn units(ran: &[(String, usize)]) -> Vec<(&str, usize)> {
        ran.iter().map(|(unit, count)| (&**unit, *count)).collect()
    }

    #[test]
    fn equal_ones_that_wait_are_one_and_order_is_kept() {
        let mut queue = Queue::default();
        assert!(!queue.ask(sync("a"), false).is_joined);
        assert!(!queue.ask(sync("b"), false).is_joined);
        assert!(queue.ask(sync("a"), false).is_joined);
        assert!(
            !queue.ask(sending("a"), false).is_joined,
            "another direction"
        );
        assert_eq!(queue.len(), 3);
        assert_eq!(units(&ran(&mut queue, 0)), [("a", 2), ("b", 1), ("a", 1)]);
        assert_eq!(queue.next(0), Next::Nothing);
    }

    #[test]
    fn one_that_has_begun_does_not_count_for_who_asks_later() {
        let mut queue = Queue::default();
        queue.ask(sync("a"), false);
        assert_eq!(queue.next(0), Next::Run(sync("a")));
        assert!(!queue.ask(sync("a"), false).is_joined);
        assert_eq!(queue.next(0), Next::Nothing, "one at a time");
        assert_eq!(queue.finished().len(), 1);
        assert_eq!(units(&ran(&mut queue, 0)), [("a", 1)]);
    }

    #[test]
    fn discarding_drops_what_waits_and_leaves_what_runs() {
        let mut queue = Queue::default();
        let first = queue.ask(sync("a"), false).ticket;
        assert_eq!(queue.next(0), Next::Run(sync("a")));
        let waiting = [sync("b"), sync("c"), sync("b")].map(|it| queue.ask(it, false).ticket);
        let asked = queue.ask(sync("d"), true);
        // In the order of the queue: those of `b`, then that of `c`.
        assert_eq!(asked.discarded, [waiting[0], waiting[2], waiting[1]]);
        assert_eq!(queue.running().unwrap().1, [first]);
        assert_eq!(queue.finished(), [first]);
        assert_eq!(units(&ran(&mut queue, 0)), [("d", 1)]);
    }

    #[test]
    fn who_does_not_want_his_sync_any_more_takes_it_from_nobody_else() {
        let mut queue = Queue::default();
        let running = queue.ask(sync("a"), false).ticket;
        assert_eq!(queue.next(0), Next::Run(sync("a")));
        let alone = queue.ask(sync("b"), false).ticket;
        let shared = queue.ask(sync("c"), false).ticket;
        queue.ask(sync("c"), false);
        assert!(!queue.forget(alone));
        assert!(!queue.forget(shared));
        assert!(queue.forget(running), "it runs");
        queue.finished();
        assert_eq!(units(&ran(&mut queue, 0)), [("c", 1)]);
    }

    #[test]
    fn a_handler_that_asks_each_time_gets_a_pause_between() {
        let mut queue = Queue::default();
        queue.ask(sync("a"), false);
        let mut starts = Vec::new();
        let mut now = 1_000;
        while starts.len() < 4 {
            match queue.next(now) {
                Next::Run(wanted) => {
                    starts.push(now);
                    now += 10;
                    queue.ask_in_handler(wanted, false, now);
                    queue.finished();
                }
                Next::At(at) => now = at,
                Next::Nothing => panic!("somebody asked"),
            }
        }
        // The first time at once.
        assert_eq!(starts, [1_000, 1_010, 6_020, 11_030]);
    }

    #[test]
    fn a_pause_keeps_nobody_else_waiting() {
        let mut queue = Queue::default();
        for _ in 0..2 {
            queue.ask_in_handler(sync("a"), false, 0);
            assert_eq!(queue.next(0), Next::Run(sync("a")));
            queue.ask_in_handler(sync("a"), false, 0);
            queue.finished();
            assert_eq!(queue.next(0), Next::At(PAUSE_MS));
            queue.ask(sync("b"), false);
            assert_eq!(
                units(&ran(&mut queue, 0)),
                [("b", 1)],
                "another one is not held up"
            );
            // A person asks for the same: it is due now, and counts for both.
            assert!(queue.ask(sync("a"), false).is_joined);
            assert_eq!(units(&ran(&mut queue, 0)), [("a", 2)]);
        }
    }
}
