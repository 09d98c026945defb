//! Benches: ratios of CPU seconds in one run, against a limit measured in the same run.
//!
//! Wall-clock times of a shared machine say little, and CPU seconds of one day nothing about
//! another; so each figure is the CPU time of all processes together, divided by L, the CPU time
//! of a plain prepared INSERT of the same rows in one transaction. Every measurement is taken
//! several times in turn with the others, and the median is printed.
//!
//! Started by `cargo xtask bench`, which builds the `afield` program first.

mod changed;
mod device;
mod download;
#[cfg(feature = "encryption")]
mod encryption;
mod limits;
mod live;
mod local;
mod postgres;
mod process;
mod quiet;
mod rows;
mod scopes;
mod served;
mod target;
mod upload;
mod wait;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

/// Measures what a sync costs.
#[derive(Parser)]
struct Arguments {
    /// What to measure; everything unless something is named.
    what: Vec<What>,
    /// The `afield` program to measure.
    #[arg(long, default_value = "target/release/afield")]
    afield: PathBuf,
    /// Rows on the server.
    #[arg(long, default_value_t = 100_000)]
    rows: usize,
    /// Rounds; the median of them counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Syncs with nothing new in a round.
    #[arg(long, default_value_t = 1_000)]
    syncs: u32,
}

/// A bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// A first download.
    Download,
    /// A sync with nothing new.
    Quiet,
    /// One per cent of the rows changed.
    Changed,
    /// Edits and reads on the device.
    Local,
    /// Edits made offline, sent and settled.
    Upload,
    /// The user's own writes while rows arrive.
    Wait,
    /// A sync with nothing new of a user with many values of a scope.
    Scopes,
    /// Syncs while the server is attacked.
    Limits,
    /// Live streams: memory, an idle server, and news for all of them.
    Live,
    /// A first download from PostgreSQL.
    PostgresDownload,
    /// Pulls from a large table of PostgreSQL.
    PostgresPulls,
    /// A thousand devices at once on PostgreSQL.
    PostgresCrowd,
    /// Edits made offline, sent to PostgreSQL and settled.
    PostgresPush,
    /// What the capture costs the team's own writes to PostgreSQL.
    PostgresTriggers,
    /// A store with a key. Only where it is asked for by name, because the whole run is with
    /// SQLCipher in place of SQLite then.
    #[cfg(feature = "encryption")]
    Encryption,
}

#[expect(clippy::print_stderr, reason = "a program for people")]
fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    // The processes run in folders of their own.
    arguments.afield = std::path::absolute(&arguments.afield).unwrap_or(arguments.afield);
    let is_asked = |what| arguments.what.is_empty() || arguments.what.contains(&what);
    let mut code = ExitCode::SUCCESS;
    for (what, run) in BENCHES.iter().copied() {
        if is_asked(what)
            && let Err(error) = run(&arguments)
        {
            eprintln!("bench: {error}");
            code = ExitCode::FAILURE;
        }
    }
    code
}

type Run = fn(&Arguments) -> Result<(), Box<dyn Error>>;

const BENCHES: &[(What, Run)] = &[
    (What::Download, download::run),
    (What::Quiet, quiet::run),
    (What::Changed, changed::run),
    (What::Local, local::run),
    (What::Upload, upload::run),
    (What::Wait, wait::run),
    (What::Scopes, scopes::run),
    (What::Limits, limits::run),
    (What::Live, live::run),
    (What::PostgresDownload, postgres::download),
    (What::PostgresPulls, postgres::pulls),
    (What::PostgresCrowd, postgres::crowd),
    (What::PostgresPush, postgres::push),
    (What::PostgresTriggers, postgres::triggers),
    #[cfg(feature = "encryption")]
    (What::Encryption, encryption::run),
];

/// The one in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
