//! The command line of `cargo xtask`: what may be asked for, and the help that teaches it.

use crate::suites::SUITES;

/// What `cargo xtask --help` prints.
pub(crate) const HELP: &str = "\
The project's chores.

  cargo xtask test                   everything CI runs, in CI's order, to the first failure
  cargo xtask test --only clippy     one suite; repeat --only for several
  cargo xtask test --list            the suites, and what a pass of each one says
  cargo xtask bench [ARGUMENT]...    the benchmarks, built for release
  cargo xtask bench encryption       what a key costs, with SQLCipher; only by this name

While you work:      cargo test -p afield            the tests of one crate
Before a commit:     cargo xtask test --only fmt --only clippy --only test
Before you push:     cargo xtask test

Encryption is tested with OpenSSL: `apt-get install --yes libssl-dev` on Debian or Ubuntu.
The tools that cargo does not bring (cargo-deny, typos) are installed into target/tools the first
time a suite needs them, and nowhere else. The suite `advisories` asks for a list of known holes
over the network and is skipped, visibly, where that cannot be reached.

Exit codes: 0 everything passed, 1 something failed, 2 the command line made no sense.
";

/// One chore, with what the command line said about it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Chore {
    /// Print [`HELP`].
    Help,
    /// Print the suites of `test`.
    List,
    /// Run the suites, or only those named, in the order of [`SUITES`] whatever order was given.
    Test {
        /// Names from [`SUITES`]; none means all.
        only: Vec<String>,
    },
    /// Run the benchmarks.
    Bench {
        /// Handed on as they are.
        arguments: Vec<String>,
    },
}

/// Reads the words after `cargo xtask`; the error is a sentence for the person who typed them.
pub(crate) fn parse(words: &[String]) -> Result<Chore, String> {
    let Some((chore, rest)) = words.split_first() else {
        return Ok(Chore::Help);
    };
    match chore.as_str() {
        "help" | "--help" | "-h" => Ok(Chore::Help),
        "test" => parse_test(rest),
        "bench" => Ok(Chore::Bench {
            arguments: rest.to_vec(),
        }),
        other => Err(format!(
            "there is no chore `{other}`; there are `test` and `bench`"
        )),
    }
}

fn parse_test(words: &[String]) -> Result<Chore, String> {
    let mut only = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--help" | "-h" => return Ok(Chore::Help),
            "--list" => return Ok(Chore::List),
            "--only" => match words.next() {
                Some(name) => only.push(known_suite(name)?),
                None => return Err("`--only` needs the name of a suite after it".to_owned()),
            },
            other => match other.strip_prefix("--only=") {
                Some(name) => only.push(known_suite(name)?),
                None => return Err(format!("`test` does not understand `{other}`")),
            },
        }
    }
    Ok(Chore::Test { only })
}

fn known_suite(name: &str) -> Result<String, String> {
    if SUITES.iter().any(|suite| suite.name == name) {
        return Ok(name.to_owned());
    }
    let names: Vec<&str> = SUITES.iter().map(|suite| suite.name).collect();
    Err(format!(
        "there is no suite `{name}`; there are {}",
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Chore, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        parse(&words)
    }

    fn test_only(names: &[&str]) -> Result<Chore, String> {
        Ok(Chore::Test {
            only: names.iter().map(|&name| name.to_owned()).collect(),
        })
    }

    #[test]
    fn nothing_and_every_spelling_of_help_print_the_help() {
        for line in [
            "",
            "help",
            "--help",
            "-h",
            "test --help",
            "test --only fmt -h",
        ] {
            assert_eq!(parsed(line), Ok(Chore::Help), "for `{line}`");
        }
    }

    #[test]
    fn test_takes_any_number_of_suites() {
        assert_eq!(parsed("test"), test_only(&[]));
        assert_eq!(
            parsed("test --only fmt --only=clippy"),
            test_only(&["fmt", "clippy"])
        );
        assert_eq!(parsed("test --list"), Ok(Chore::List));
    }

    #[test]
    fn what_does_not_exist_is_named() {
        for (line, named) in [
            ("tset", "`tset`"),
            ("test --only", "`--only`"),
            ("test --only fnt", "`fnt`"),
            ("test --only=fnt", "fmt, clippy"),
            ("test fmt", "`fmt`"),
        ] {
            let message = parsed(line).expect_err(line);
            assert!(message.contains(named), "for `{line}`: {message}");
        }
    }

    #[test]
    fn bench_hands_its_arguments_on() {
        let expected = Chore::Bench {
            arguments: vec!["--rows".to_owned(), "9".to_owned()],
        };
        assert_eq!(parsed("bench --rows 9"), Ok(expected));
    }
}
