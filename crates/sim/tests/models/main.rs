//! Models that nobody wrote by hand: databases, models over them and everything that happens are
//! drawn at random, and every device is compared with what plain SQL says that it should hold.
//!
//! ```text
//!   number ──► plan ──► schema ──► SQLite file ◄── team (two connections)
//!               │          │              ▲
//!               ├──► model ┴─► TOML ──► server (real model code, real storage)
//!               │      │                  ▲
//!               │      └──► oracle        └──► devices (real store, real engine) ◄── typist
//!               │             │                    │
//!               └──► actions  └──── watch ── same? ┘
//! ```
//!
//! A case that fails prints its number, its model, and the shortest list of what happened that
//! still breaks the same rule. `AFIELD_CASES=0..1000 cargo test --release -p afield-sim --test
//! models` runs more of them; with `AFIELD_CASES=17..18` one is replayed.

mod device;
mod draw;
mod exchange;
mod model;
mod oracle;
mod plan;
mod schema;
mod server;
mod shrink;
mod team;
mod text;
mod typist;
mod watch;
mod world;
mod wrong;

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use self::plan::Plan;
use self::world::Seen;

/// Cases in an ordinary test run.
const CASES: Range<u64> = 0..40;

fn cases() -> Range<u64> {
    let Ok(text) = std::env::var("AFIELD_CASES") else {
        return CASES;
    };
    let parsed = text
        .split_once("..")
        .and_then(|(from, to)| Some(from.trim().parse().ok()?..to.trim().parse().ok()?));
    parsed.unwrap_or_else(|| panic!("AFIELD_CASES must look like 0..1000, not {text}"))
}

#[test]
fn p5_p7_every_device_holds_what_plain_sql_says() {
    let cases = cases();
    let next = AtomicU64::new(cases.start);
    let all = Mutex::new(Seen::default());
    let failures = Mutex::new(Vec::new());
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= cases.end {
                        return;
                    }
                    match shrink::run(&Plan::draw(number)) {
                        Ok(seen) => all.lock().unwrap().add(&seen),
                        Err(_) if std::env::var_os("AFIELD_GO_ON").is_some() => {
                            let failure = shrink::shortest(number);
                            println!("{failure}");
                            failures.lock().unwrap().push(number.to_string());
                        }
                        Err(_) => {
                            next.store(cases.end, Ordering::Relaxed);
                            failures.lock().unwrap().push(shrink::shortest(number));
                        }
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    let seen = all.into_inner().unwrap();
    println!("{seen:?}");
    // What never happens tests nothing.
    if seen.cases >= 40 {
        assert!(seen.complete > 10 * seen.cases, "{seen:?}");
        assert!(
            seen.staged > seen.cases && seen.left > seen.cases,
            "{seen:?}"
        );
        assert!(
            seen.applied > seen.cases && seen.refused > seen.cases,
            "{seen:?}"
        );
        assert!(
            seen.conflicts > 0 && seen.lists > seen.cases / 4,
            "{seen:?}"
        );
    }
}
