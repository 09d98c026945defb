//! The project's chores, as `cargo xtask CHORE`.
//!
//! `test` is the one command that people and CI run alike; [`suites`] lists what it does, in order.
//! Only the standard library is used here, so that the first chore of a fresh clone starts at once.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a chore speaks to the person who started it"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

mod arguments;
mod process;
mod report;
mod suites;
mod tally;
mod tools;

use arguments::Chore;

/// The exit code for a command line that makes no sense, as usual for Unix programs.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments::parse(&arguments) {
        Ok(Chore::Help) => {
            println!("{}", arguments::HELP.trim_end());
            ExitCode::SUCCESS
        }
        Ok(Chore::List) => {
            report::print_list(suites::SUITES);
            ExitCode::SUCCESS
        }
        Ok(Chore::Test { only }) => success_if(report::run_suites(&root(), &only)),
        Ok(Chore::Bench { arguments }) => success_if(bench(&root(), &arguments)),
        Err(message) => {
            eprintln!("{message}\nTry `cargo xtask --help`.");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn success_if(succeeded: bool) -> ExitCode {
    if succeeded {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The folder of the workspace: every chore works there, wherever it was started.
fn root() -> PathBuf {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask
        .parent()
        .expect("xtask is a folder of the workspace")
        .to_path_buf()
}

fn bench(root: &Path, arguments: &[String]) -> bool {
    // The program under measurement is built by itself, as a team would: the simulator's own
    // features must not be in it.
    let program = ["build", "--release", "--locked", "--package", "afield-cli"];
    let bench = [
        "run",
        "--release",
        "--locked",
        "--package",
        "afield-sim",
        "--bin",
        "bench",
    ];
    let mut build = process::cargo(root);
    build.args(program);
    let mut run = process::cargo(root);
    run.args(bench);
    if arguments.iter().any(|argument| argument == "encryption") {
        // With SQLCipher in place of SQLite, for everything in this run.
        if let Err(message) = tools::require_openssl(root) {
            eprintln!("{message}");
            return false;
        }
        run.args(["--features", "encryption"]);
    }
    run.arg("--").args(arguments);
    [build, run].iter_mut().all(|command| {
        process::succeeds(command).unwrap_or_else(|message| {
            eprintln!("{message}");
            false
        })
    })
}
