//! Runs the suites one after the other and says how each one went.
//!
//! ```text
//! == fmt: every file is formatted       a heading
//! ...                                   whatever the suite prints
//! -- fmt: passed in 0.6 s               its result
//! ```
//!
//! A table of what ran so far comes before the tests, which are last, so that their own summary
//! closes the output; the very last line is their total, alone, for whoever reads it by program.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::suites::{Outcome, SUITES, Suite};
use crate::tally::Tally;

/// Prints the name and meaning of every suite.
pub(crate) fn print_list(suites: &[Suite]) {
    for suite in suites {
        println!("{:<18}{}", suite.name, suite.about);
    }
}

/// Runs those of [`SUITES`] that are named, or all, to the first failure; whether all passed.
pub(crate) fn run_suites(root: &Path, only: &[String]) -> bool {
    let mut table = Vec::new();
    let mut has_failed = false;
    let mut tally = None;
    for suite in SUITES.iter().filter(|suite| is_chosen(suite, only)) {
        if suite.counts_tests() {
            print_table(&table);
        }
        println!("\n== {}: {}", suite.name, suite.about);
        let ending = run(root, suite);
        println!("-- {}: {}", suite.name, ending.result);
        table.push((suite.name, ending.result));
        has_failed = ending.has_failed;
        tally = ending.tally;
        if has_failed {
            println!("Again: cargo xtask test --only {}", suite.name);
            break;
        }
    }
    match tally {
        Some(tally) => println!("{tally}"),
        None => print_table(&table),
    }
    !has_failed
}

/// How a suite ended, put into words.
struct Ending {
    result: String,
    tally: Option<Tally>,
    has_failed: bool,
}

fn is_chosen(suite: &Suite, only: &[String]) -> bool {
    only.is_empty() || only.iter().any(|name| name == suite.name)
}

fn run(root: &Path, suite: &Suite) -> Ending {
    let (outcome, took) = timed(|| suite.run(root));
    let seconds = took.as_secs_f64();
    let (result, tally, has_failed) = match outcome {
        Outcome::Passed => (format!("passed in {seconds:.1} s"), None, false),
        Outcome::Counted(tally) => (format!("passed in {seconds:.1} s"), Some(tally), false),
        Outcome::Skipped(why) => (format!("SKIPPED after {seconds:.1} s: {why}"), None, false),
        Outcome::Failed(why, tally) => (format!("FAILED after {seconds:.1} s: {why}"), tally, true),
    };
    Ending {
        result,
        tally,
        has_failed,
    }
}

/// One suite alone has said everything in its result.
fn print_table(rows: &[(&str, String)]) {
    if rows.len() < 2 {
        return;
    }
    println!("\n== so far");
    for (name, result) in rows {
        println!("   {name:<18}{result}");
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "says to a person how long a suite took"
)]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_names_every_suite_is_chosen_and_with_names_only_those() {
        assert!(SUITES.iter().all(|suite| is_chosen(suite, &[])));
        let only = ["typos".to_owned(), "fmt".to_owned()];
        let chosen: Vec<&str> = SUITES
            .iter()
            .filter(|suite| is_chosen(suite, &only))
            .map(|suite| suite.name)
            .collect();
        assert_eq!(chosen, ["fmt", "typos"]);
    }
}
