//! Adds up what the test binaries of one `cargo test` say of themselves.

/// The sums over every line that starts with `test result:`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that ran and passed.
    pub(crate) passed: u64,
    /// Tests that ran and failed.
    pub(crate) failed: u64,
}

impl Tally {
    /// Takes one line of output into account, if it is a result.
    pub(crate) fn see(&mut self, line: &str) {
        let Some((_verdict, counts)) = line
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for count in counts.split(';') {
            match count.trim().split_once(' ') {
                Some((number, "passed")) => self.passed += number.parse().unwrap_or(0),
                Some((number, "failed")) => self.failed += number.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_summed_and_everything_else_is_not() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test outbox::folds ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 7 filtered out; \
             finished in 0.02s",
            "test result: FAILED. 40 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; \
             finished in 1.50s",
            "error: test failed, to rerun pass `-p afield --lib`",
            "said by a test: test result: ok. 99 passed; 99 failed",
        ] {
            tally.see(line);
        }
        assert_eq!(
            tally,
            Tally {
                passed: 43,
                failed: 2
            }
        );
        assert_eq!(tally.to_string(), "43 passed, 2 failed");
    }

    #[test]
    fn colours_do_not_hide_a_result() {
        let mut tally = Tally::default();
        tally.see("test result: \u{1b}[32mok\u{1b}(B\u{1b}[m. 5 passed; 1 failed; 0 ignored");
        assert_eq!(
            tally,
            Tally {
                passed: 5,
                failed: 1
            }
        );
    }
}
