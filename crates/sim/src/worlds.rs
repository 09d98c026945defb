//! Many worlds: each in one thread, several threads at once.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use afield_protocol::zoo;

use crate::generate::Plan;
use crate::tally::Tally;
use crate::violation::{Promise, Violation};
use crate::world::thousand::{self, Size};
use crate::world::{self, Ended};

/// A seed whose world broke a promise.
#[derive(Clone, Debug)]
pub(crate) struct Broken {
    pub(crate) seed: u64,
    pub(crate) step: usize,
    pub(crate) violation: Violation,
}

/// How many worlds run at once: as many as asked for, or as the machine has processors.
pub(crate) fn jobs(asked: Option<NonZeroUsize>) -> usize {
    let processors = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    asked.map_or_else(processors, NonZeroUsize::get)
}

/// Lets the world of `plan` happen with the fault `planted`. A panic is a broken promise too.
pub(crate) fn play(plan: &Plan, planted: Option<&'static str>, traced: bool) -> Ended {
    guarded(planted, || world::run(plan, planted, traced))
}

/// Lets the thousand orders happen.
pub(crate) fn play_orders(size: Size, planted: Option<&'static str>, traced: bool) -> Ended {
    guarded(planted, || thousand::run(size, planted, traced))
}

fn guarded(planted: Option<&'static str>, world: impl FnOnce() -> Ended) -> Ended {
    zoo::plant(planted);
    let played = catch_unwind(AssertUnwindSafe(world));
    zoo::plant(None);
    zoo::crash_after(None);
    zoo::on_commit(None);
    played.unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().map(String::as_str);
        let words = words
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("");
        let violation = Violation::new(Promise::Sound, "nothing panics", words);
        Ended {
            violation: Some((0, violation)),
            tally: Tally::default(),
            trace: Vec::new(),
        }
    })
}

/// Runs the worlds of `seeds` until one of them breaks a promise; gives the lowest such seed and
/// counts of what happened.
pub(crate) fn play_all(
    seeds: Range<u64>,
    planted: Option<&'static str>,
    jobs: usize,
) -> (Option<Broken>, Tally) {
    play_each(seeds, jobs, |seed| play(&Plan::new(seed), planted, false))
}

/// Runs one world for each seed, as long as none breaks a promise; gives the lowest seed that
/// does, and counts of what happened.
pub(crate) fn play_each(
    seeds: Range<u64>,
    jobs: usize,
    world: impl Fn(u64) -> Ended + Sync,
) -> (Option<Broken>, Tally) {
    let (mut lowest, mut tally) = (None::<Broken>, Tally::default());
    watch_each(seeds, jobs, world, |played| {
        tally.merge(&played.tally);
        if let Some(broken) = played.broken
            && lowest.as_ref().is_none_or(|known| broken.seed < known.seed)
        {
            lowest = Some(broken);
        }
        lowest.as_ref().map_or(Go::On, |known| Go::To(known.seed))
    });
    (lowest, tally)
}

/// A world that is over.
pub(crate) struct Played {
    pub(crate) broken: Option<Broken>,
    pub(crate) tally: Tally,
}

/// How far to go.
pub(crate) enum Go {
    On,
    /// No seed above this one is of interest any more.
    To(u64),
}

/// Runs one world for each seed; `each` is told of every one, in the order in which they end.
pub(crate) fn watch_each(
    seeds: Range<u64>,
    jobs: usize,
    world: impl Fn(u64) -> Ended + Sync,
    each: impl FnMut(Played) -> Go + Send,
) {
    let next = AtomicU64::new(seeds.start);
    let last = AtomicU64::new(u64::MAX);
    let each = Mutex::new(each);
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || seed > last.load(Ordering::Relaxed) {
                        return;
                    }
                    let ended = world(seed);
                    let broken = ended.violation.map(|(step, violation)| Broken {
                        seed,
                        step,
                        violation,
                    });
                    let tally = ended.tally;
                    let mut each = each.lock().unwrap_or_else(|error| error.into_inner());
                    if let Go::To(seed) = each(Played { broken, tally }) {
                        last.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}
