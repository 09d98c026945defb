//! What `cargo xtask test` runs, in order: the cheap and the strict first, the tests last, so that
//! their summary closes the output.

use std::path::Path;
use std::process::Command;

use crate::process;
use crate::tally::Tally;
use crate::tools::{self, CARGO_DENY, Tool};

/// In the order in which they run.
pub(crate) const SUITES: &[Suite] = &[
    FMT,
    CLIPPY,
    CLIPPY_SIM,
    CLIPPY_ENCRYPTION,
    DOC,
    DENY,
    ADVISORIES,
    TYPOS,
    SIM,
    ORDERS,
    ZOO,
    ENCRYPTION,
    TEST,
];

const FMT: Suite = Suite {
    name: "fmt",
    about: "every file is formatted",
    step: Step::Cargo(&["fmt", "--all", "--check"]),
};

/// With `--locked`, because a `Cargo.lock` that does not fit the manifests was not committed.
const CLIPPY: Suite = Suite {
    name: "clippy",
    about: "no lint has anything to say",
    step: Step::Cargo(&[
        "clippy",
        "--locked",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]),
};

/// The simulator is behind a feature, so that planted faults are in no other program.
const CLIPPY_SIM: Suite = Suite {
    name: "clippy-sim",
    about: "nor about the simulator",
    step: Step::Cargo(&[
        "clippy",
        "--locked",
        "--package",
        "afield-sim",
        "--features",
        "simulate",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ]),
};

/// Encryption is behind a feature, because it needs OpenSSL to build.
const CLIPPY_ENCRYPTION: Suite = Suite {
    name: "clippy-encryption",
    about: "nor about encryption",
    step: Step::Encryption(&[
        "clippy",
        "--locked",
        "--package",
        "afield",
        "--features",
        "encryption",
        "--lib",
        "--",
        "-D",
        "warnings",
    ]),
};

const DOC: Suite = Suite {
    name: "doc",
    about: "the public documentation builds and its links lead somewhere",
    step: Step::Doc,
};

const DENY: Suite = Suite {
    name: "deny",
    about: "every dependency has a licence and a source we accept",
    step: Step::Tool(
        &CARGO_DENY,
        &[
            "check",
            "--hide-inclusion-graph",
            "bans",
            "licenses",
            "sources",
        ],
    ),
};

const ADVISORIES: Suite = Suite {
    name: "advisories",
    about: "no dependency has a known hole, or is yanked",
    step: Step::Advisories,
};

const TYPOS: Suite = Suite {
    name: "typos",
    about: "no word is misspelled",
    step: Step::Tool(&tools::TYPOS, &[]),
};

const SIM: Suite = Suite {
    name: "sim",
    about: "200 simulated worlds keep every promise",
    step: Step::Simulator(&["--seeds", "0..200"]),
};

const ORDERS: Suite = Suite {
    name: "orders",
    about: "a thousand simulated orders end up exactly right, twice",
    step: Step::Simulator(&["orders", "--seeds", "0..2"]),
};

const ZOO: Suite = Suite {
    name: "zoo",
    about: "the simulation finds every planted bug",
    step: Step::Simulator(&["--zoo"]),
};

/// The library's own tests, those of stores without a key among them, and what the program says of
/// keys, and that the cipher's library says nothing. One command, so that what is shared is built
/// once more only, with SQLCipher in place of SQLite.
const ENCRYPTION: Suite = Suite {
    name: "encryption",
    about: "with encryption built in, stores with a key and without keep every promise",
    step: Step::Encryption(&[
        "test",
        "--locked",
        "--package",
        "afield",
        "--package",
        "afield-cli",
        "--features",
        "afield/encryption,afield-cli/encryption",
        "--lib",
        "--test",
        "it",
        "--",
        "encryption",
        "rewrite",
        "cipher",
    ]),
};

const TEST: Suite = Suite {
    name: "test",
    about: "every test of every crate passes",
    step: Step::Tests,
};

/// One thing that must hold before a change is accepted.
#[derive(Debug)]
pub(crate) struct Suite {
    /// For `--only`.
    pub(crate) name: &'static str,
    /// What a pass says, in half a sentence.
    pub(crate) about: &'static str,
    step: Step,
}

/// How a suite is carried out.
#[derive(Debug)]
enum Step {
    /// `cargo` with these arguments.
    Cargo(&'static [&'static str]),
    /// The same, for what needs OpenSSL.
    Encryption(&'static [&'static str]),
    /// `cargo doc` of the libraries, warnings being errors. (Of the libraries alone: the program
    /// `afield` and the library `afield` would write to the same page.)
    Doc,
    /// The simulator with these arguments.
    Simulator(&'static [&'static str]),
    /// A tool from [`crate::tools`] with these arguments.
    Tool(&'static Tool, &'static [&'static str]),
    /// `cargo-deny check advisories`, which needs a list from the network.
    Advisories,
    /// `cargo test`, counted.
    Tests,
}

/// How a suite ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Everything holds.
    Passed,
    /// The tests hold; so many of them ran.
    Counted(Tally),
    /// It could not be asked, for this reason, which is nobody's mistake.
    Skipped(String),
    /// Something does not hold, or could not be run; with the tests' count if they ran.
    Failed(String, Option<Tally>),
}

impl Suite {
    /// Whether it ends with a count of tests, which is to close the output.
    pub(crate) fn counts_tests(&self) -> bool {
        matches!(self.step, Step::Tests)
    }

    /// Runs to the end; what it prints goes where ours goes.
    pub(crate) fn run(&self, root: &Path) -> Outcome {
        let result = match &self.step {
            Step::Cargo(arguments) => run_cargo(root, arguments),
            Step::Encryption(arguments) => {
                tools::require_openssl(root).and_then(|()| run_cargo(root, arguments))
            }
            Step::Doc => run_doc(root),
            Step::Simulator(arguments) => run_simulator(root, arguments),
            Step::Tool(tool, arguments) => run_tool(root, tool, arguments),
            Step::Advisories => run_advisories(root),
            Step::Tests => run_tests(root),
        };
        result.unwrap_or_else(|message| Outcome::Failed(message, None))
    }
}

fn run_cargo(root: &Path, arguments: &[&str]) -> Result<Outcome, String> {
    require_component(root, arguments[0])?;
    run_plainly(process::cargo(root).args(arguments))
}

fn run_doc(root: &Path) -> Result<Outcome, String> {
    let mut command = process::cargo(root);
    command
        .args(["doc", "--workspace", "--no-deps", "--lib"])
        .env("RUSTDOCFLAGS", "-D warnings");
    run_plainly(&mut command)
}

fn run_simulator(root: &Path, arguments: &[&str]) -> Result<Outcome, String> {
    let mut command = process::cargo(root);
    command.args([
        "run",
        "--package",
        "afield-sim",
        "--bin",
        "afield-sim",
        "--features",
        "simulate",
        "--",
    ]);
    run_plainly(command.args(arguments))
}

fn run_tool(root: &Path, tool: &Tool, arguments: &[&str]) -> Result<Outcome, String> {
    let path = tool.ensure(root)?;
    run_plainly(process::program(&path, root).args(arguments))
}

fn run_advisories(root: &Path) -> Result<Outcome, String> {
    let path = CARGO_DENY.ensure(root)?;
    let mut command = process::program(&path, root);
    command.args(["check", "--hide-inclusion-graph", "advisories"]);
    announce(&command);
    let (succeeded, text) = process::output(&mut command)?;
    if !succeeded && text.contains("failed to fetch advisory database") {
        return Ok(Outcome::Skipped(
            "the advisory database could not be reached".to_owned(),
        ));
    }
    print!("{text}");
    Ok(if succeeded {
        Outcome::Passed
    } else {
        said_no(&command)
    })
}

const WORKSPACE_TESTS: &[&str] = &["--workspace"];

/// The simulator's own tests, the worlds that once broke a promise among them. They are behind the
/// feature that plants faults, so the workspace's tests leave them out.
const SIMULATOR_TESTS: &[&str] = &[
    "--package",
    "afield-sim",
    "--bin",
    "afield-sim",
    "--features",
    "simulate",
];

fn run_tests(root: &Path) -> Result<Outcome, String> {
    let mut tally = Tally::default();
    let mut succeeded = true;
    for arguments in [WORKSPACE_TESTS, SIMULATOR_TESTS] {
        let mut command = process::cargo(root);
        command.arg("test").args(arguments).arg("--no-fail-fast");
        announce(&command);
        succeeded &= process::succeeds_seen(&mut command, &mut |line| tally.see(line))?;
    }
    Ok(judge_tests(succeeded, tally))
}

/// A run without one test is a failure, whatever its exit code: something was left out.
fn judge_tests(succeeded: bool, tally: Tally) -> Outcome {
    if !succeeded || tally.failed > 0 {
        let message = "a test failed, or did not build; what went wrong is said above".to_owned();
        return Outcome::Failed(message, Some(tally));
    }
    if tally.passed == 0 {
        return Outcome::Failed("no test ran".to_owned(), Some(tally));
    }
    Outcome::Counted(tally)
}

fn run_plainly(command: &mut Command) -> Result<Outcome, String> {
    announce(command);
    Ok(if process::succeeds(command)? {
        Outcome::Passed
    } else {
        said_no(command)
    })
}

fn announce(command: &Command) {
    println!("$ {}", process::spelled(command));
}

fn said_no(command: &Command) -> Outcome {
    Outcome::Failed(
        format!("`{}` found something, see above", process::spelled(command)),
        None,
    )
}

/// `fmt` and `clippy` are parts of Rust that an installation may lack.
fn require_component(root: &Path, subcommand: &str) -> Result<(), String> {
    let component = match subcommand {
        "fmt" => "rustfmt",
        "clippy" => "clippy",
        _ => return Ok(()),
    };
    match process::output(process::cargo(root).args([subcommand, "--version"])) {
        Ok((true, _)) => Ok(()),
        _ => Err(format!(
            "{component} is missing; install it: rustup component add {component}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: u64, failed: u64) -> Tally {
        Tally { passed, failed }
    }

    #[test]
    fn tests_pass_only_if_some_ran_and_none_failed() {
        assert!(matches!(
            judge_tests(true, tally(3, 0)),
            Outcome::Counted(_)
        ));
        for (succeeded, counted) in [
            (true, tally(0, 0)),
            (true, tally(3, 1)),
            (false, tally(3, 0)),
        ] {
            let outcome = judge_tests(succeeded, counted);
            assert!(
                matches!(outcome, Outcome::Failed(_, Some(_))),
                "{outcome:?}"
            );
        }
    }

    #[test]
    fn the_tests_come_last_and_names_are_unique() {
        let mut names: Vec<&str> = SUITES.iter().map(|suite| suite.name).collect();
        assert_eq!(names.last(), Some(&"test"));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SUITES.len());
    }
}
