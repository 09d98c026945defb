//! What the program prints.

use std::ops::Range;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use crate::args::{Arguments, OrdersArguments};
use crate::generate::Plan;
use crate::shrink::shrink;
use crate::tally::Tally;
use crate::world::thousand::Size;
use crate::worlds::{Broken, Go, jobs, play, play_all, play_each, play_orders, watch_each};
use crate::zoo::{Fault, SEEDS};

/// Worlds between two lines that say how far it is.
const PROGRESS: u64 = 500;

/// Runs the world of one seed.
pub(crate) fn one(seed: u64, planted: Option<&'static Fault>, arguments: &Arguments) -> ExitCode {
    let planted = planted.map(|fault| fault.name);
    let ended = play(&Plan::new(seed), planted, true);
    if arguments.trace {
        ended.trace.iter().for_each(|line| println!("{line}"));
    }
    match ended.violation {
        Some((step, violation)) => {
            let broken = Broken {
                seed,
                step,
                violation,
            };
            print_broken(&broken, planted, arguments.shrink);
            ExitCode::FAILURE
        }
        None => {
            println!("seed {seed}: every promise was kept");
            ExitCode::SUCCESS
        }
    }
}

/// Runs the worlds of many seeds.
pub(crate) fn many(seeds: Range<u64>, planted: Option<&'static Fault>, jobs: usize) -> ExitCode {
    let planted = planted.map(|fault| fault.name);
    let begun = now();
    let (broken, tally) = play_all(seeds.clone(), planted, jobs);
    let took = begun.elapsed();
    print_tally(&tally);
    if let Some(broken) = broken {
        print_broken(&broken, planted, true);
        return ExitCode::FAILURE;
    }
    println!(
        "seeds {}..{}: every promise was kept in {} worlds, {}",
        seeds.start,
        seeds.end,
        tally.of("world"),
        speed(tally.of("world"), took, jobs)
    );
    ExitCode::SUCCESS
}

/// Runs the worlds of all seeds, whatever they break, and says now and then how far it is.
pub(crate) fn all(seeds: Range<u64>, planted: Option<&'static Fault>, jobs: usize) -> ExitCode {
    let planted = planted.map(|fault| fault.name);
    let begun = now();
    let (mut tally, mut failed, mut done) = (Tally::default(), Vec::new(), 0_u64);
    let world = |seed| play(&Plan::new(seed), planted, false);
    watch_each(seeds.clone(), jobs, world, |played| {
        done += 1;
        tally.merge(&played.tally);
        if let Some(broken) = played.broken {
            print_broken(&broken, planted, false);
            failed.push(broken);
        }
        if done.is_multiple_of(PROGRESS) {
            let speed = speed(done, begun.elapsed(), jobs);
            let count = failed.len();
            println!(
                "{done} worlds from seed {}: {count} broken, {speed}",
                seeds.start
            );
        }
        Go::On
    });
    print_tally(&tally);
    failed.sort_by_key(|broken| broken.seed);
    for Broken {
        seed, violation, ..
    } in &failed
    {
        println!("seed {seed}: {}", violation.invariant);
    }
    println!(
        "seeds {}..{}: {} of {done} worlds broke a promise, {}",
        seeds.start,
        seeds.end,
        failed.len(),
        speed(done, begun.elapsed(), jobs)
    );
    match failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Lets the thousand orders happen, once or with several seeds.
pub(crate) fn orders(asked: &OrdersArguments, planted: Option<&'static Fault>) -> ExitCode {
    let planted = planted.map(|fault| fault.name);
    let orders = asked.orders;
    let seeds = asked.seeds.clone().unwrap_or(asked.seed..asked.seed + 1);
    let jobs = jobs(asked.jobs);
    let begun = now();
    let (broken, tally) = play_each(seeds.clone(), jobs, |seed| {
        let ended = play_orders(Size { seed, orders }, planted, asked.trace);
        ended.trace.iter().for_each(|line| println!("{line}"));
        ended
    });
    print_tally(&tally);
    if let Some(broken) = broken {
        let Broken {
            seed,
            step,
            violation,
        } = broken;
        println!("\norders, seed {seed}, round {step}: {violation}");
        let plant = planted.map_or_else(String::new, |name| format!(" --plant {name}"));
        println!("again: cargo sim orders --seed {seed} --orders {orders}{plant} --trace");
        return ExitCode::FAILURE;
    }
    println!(
        "orders, seeds {}..{}: every promise was kept, {}",
        seeds.start,
        seeds.end,
        speed(tally.of("world"), begun.elapsed(), jobs)
    );
    ExitCode::SUCCESS
}

/// Plants faults and looks for them.
pub(crate) fn zoo(faults: &[&'static Fault], jobs: usize) -> ExitCode {
    println!(
        "{:38} {:>5}  {:26} invariant",
        "planted", "seed", "promise broken"
    );
    let mut missed = 0;
    for fault in faults {
        // Where it was found last; elsewhere if that world happens in another way by now.
        let known = fault.seed..fault.seed + 1;
        let planted = Some(fault.name);
        let found = play_all(known, planted, jobs).0;
        match found.or_else(|| play_all(0..SEEDS, planted, jobs).0) {
            Some(Broken {
                seed, violation, ..
            }) => println!(
                "{:38} {seed:>5}  {:26} {}",
                fault.name,
                violation.promise.words(),
                violation.invariant
            ),
            None => {
                missed += 1;
                println!(
                    "{:38}     -  not found in {SEEDS} worlds: {}",
                    fault.name, fault.what
                );
            }
        }
    }
    println!(
        "{} of {} planted faults found",
        faults.len() - missed,
        faults.len()
    );
    match missed {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn print_broken(broken: &Broken, planted: Option<&'static str>, shortest: bool) {
    let Broken {
        seed,
        step,
        violation,
    } = broken;
    println!("\nseed {seed}, step {step}: {violation}");
    let again = match planted {
        Some(name) => format!("cargo sim --seed {seed} --plant {name}"),
        None => format!("cargo sim --seed {seed}"),
    };
    println!("again: {again} --trace");
    if !shortest {
        return;
    }
    let plan = Plan::new(*seed);
    let Some((shorter, violation)) = shrink(&plan, planted) else {
        println!("it did not happen again; that itself is a mistake of the simulator");
        return;
    };
    println!(
        "\nthe shortest way there: {} of {} actions, {} devices, pages of {} rows, model {}",
        shorter.actions.len(),
        plan.actions.len(),
        shorter.devices,
        shorter.page_rows,
        if shorter.model_installed {
            "at hand"
        } else {
            "fetched"
        }
    );
    play(&shorter, planted, true)
        .trace
        .iter()
        .for_each(|line| println!("{line}"));
    if violation.detail.is_empty() {
        println!("{violation}");
    }
    println!("as data: {:?}", shorter.actions);
}

fn print_tally(tally: &Tally) {
    println!("what happened:");
    let lines: Vec<String> = tally
        .iter()
        .map(|(what, times)| format!("{times:>9} {what:30}"))
        .collect();
    for line in lines.chunks(2) {
        println!("{}", line.concat().trim_end());
    }
}

fn speed(worlds: u64, took: Duration, jobs: usize) -> String {
    let seconds = took.as_secs_f64().max(0.001);
    #[expect(clippy::cast_precision_loss, reason = "a count of worlds is small")]
    let each_second = worlds as f64 / seconds;
    format!("{each_second:.1} seeds/s in {jobs} threads, {seconds:.1} s")
}

#[expect(
    clippy::disallowed_methods,
    reason = "how long it took is printed, nothing depends on it"
)]
fn now() -> Instant {
    Instant::now()
}
