//! Runs the suites one after the other and says how each one went.
//!
//! ```text
//! == fmt: every file is formatted       a heading
//! ...                                   whatever the suite prints
//! -- fmt: passed in 0.6 s               its result
//! ```
//!
//! A table of what ran so far comes before the tests, which are last; the very last line is their
//! total, alone, for whoever reads it with a program.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::suites::{Outcome, SUITES, Suite};

/// Prints the name and meaning of every suite.
pub(crate) fn print_list(suites: &[Suite]) {
    for suite in suites {
        let note = if suite.is_on {
            ""
        } else {
            " (off: not there yet)"
        };
        println!("{:<12}{}{note}", suite.name, suite.about);
    }
}

/// Runs those of [`SUITES`] that are named, or all, to the first failure; whether all passed.
pub(crate) fn run_suites(root: &Path, only: &[String]) -> bool {
    let chosen: Vec<&Suite> = SUITES
        .iter()
        .filter(|suite| is_chosen(suite, only))
        .collect();
    let mut table = Vec::new();
    for (index, suite) in chosen.iter().enumerate() {
        if index > 0 && index + 1 == chosen.len() {
            print_table(&table);
        }
        let Some(row) = run_one(root, suite, only) else {
            return false;
        };
        table.push(row);
    }
    true
}

/// One line of the table.
struct Row {
    name: &'static str,
    result: String,
}

fn is_chosen(suite: &Suite, only: &[String]) -> bool {
    only.is_empty() || only.iter().any(|name| name == suite.name)
}

/// Runs one suite and prints how it went; none if it failed.
fn run_one(root: &Path, suite: &Suite, only: &[String]) -> Option<Row> {
    let name = suite.name;
    println!("\n== {name}: {}", suite.about);
    if !suite.is_on {
        let result = "off: not there yet".to_owned();
        println!("-- {name}: {result}");
        let was_asked_for = !only.is_empty();
        return (!was_asked_for).then_some(Row { name, result });
    }
    let (outcome, took) = timed(|| suite.run(root));
    let seconds = took.as_secs_f64();
    let (result, tally) = match outcome {
        Outcome::Passed => (format!("passed in {seconds:.1} s"), None),
        Outcome::Counted(tally) => (format!("passed in {seconds:.1} s"), Some(tally)),
        Outcome::Skipped(why) => (format!("SKIPPED after {seconds:.1} s: {why}"), None),
        Outcome::Failed(why, tally) => {
            println!("-- {name}: FAILED after {seconds:.1} s: {why}");
            println!("Nothing after it was run. Again: cargo xtask test --only {name}");
            print_total(tally.as_ref());
            return None;
        }
    };
    println!("-- {name}: {result}");
    print_total(tally.as_ref());
    Some(Row { name, result })
}

fn print_total(tally: Option<&crate::tally::Tally>) {
    if let Some(tally) = tally {
        println!("{tally}");
    }
}

fn print_table(rows: &[Row]) {
    println!("\n== so far");
    for row in rows {
        println!("   {:<12}{}", row.name, row.result);
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
