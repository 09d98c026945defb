//! Benches: ratios of CPU seconds in one run, against a limit measured in the same run.
//!
//! Wall-clock times of a shared machine say little, and CPU seconds of one day nothing about
//! another; so each figure is the CPU time of all processes together, divided by L, the CPU time
//! of a plain prepared INSERT of the same rows in one transaction. Every measurement is taken
//! several times in turn with the others, and the median is printed.
//!
//! Started by `cargo xtask bench`, which builds the `afield` program first.

mod download;
mod process;
mod rows;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

/// Measures what a sync costs.
#[derive(Parser)]
struct Arguments {
    /// The `afield` program to measure.
    #[arg(long, default_value = "target/release/afield")]
    afield: PathBuf,
    /// Rows of the first download.
    #[arg(long, default_value_t = 100_000)]
    rows: usize,
    /// Rounds; the median of them counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

#[expect(clippy::print_stderr, reason = "a program for people")]
fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    // The processes run in folders of their own.
    arguments.afield = std::path::absolute(&arguments.afield).unwrap_or(arguments.afield);
    match download::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}
