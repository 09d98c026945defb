//! Random statements of several connections against the capture, the outbox and the pages.
//!
//! From one seed: transactions on our store, on plain connections with and without
//! `recursive_triggers`, and on one with triggers of its own, in a file with or without an app's
//! view, shadow table and full-text index; between them requests, outcomes and pages, late, twice
//! and out of order. After each step the store must hold what [`device::Device`], the same rules
//! written a second time, says: every group exactly, and every visible row.
//!
//! `AFIELD_SEEDS=0..10000 cargo test -p afield --release capture_random` runs more seeds. A seed
//! that fails prints itself and what it did.

mod actions;
mod check;
mod derive;
mod device;
mod exchange;
mod names;
mod run;
mod schema;
mod server;
mod statements;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds in an ordinary test run.
const SEEDS: Range<u64> = 0..600;

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("AFIELD_SEEDS") else {
        return SEEDS;
    };
    let parsed = text
        .split_once("..")
        .and_then(|(from, to)| Some(from.trim().parse().ok()?..to.trim().parse().ok()?));
    parsed.unwrap_or_else(|| panic!("AFIELD_SEEDS must look like 0..10000, not {text}"))
}

#[test]
fn p1_p3_what_any_connection_writes_becomes_exact_groups() {
    let seeds = seeds();
    let templates = run::Templates::new();
    let next = AtomicU64::new(seeds.start);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return;
                }
                if let Err(failure) = run::seed(&templates, seed) {
                    next.store(seeds.end, Ordering::Relaxed);
                    panic!("seed {seed}: {failure}");
                }
            }
        };
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            worker.join().unwrap();
        }
    });
}
