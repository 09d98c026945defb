//! What a bench must not go beyond.

use std::error::Error;

/// Prints each figure beside its limit, and remembers what is beyond it.
#[derive(Default)]
pub(crate) struct Targets {
    missed: Vec<&'static str>,
}

impl Targets {
    /// A figure that may be `limit` at most.
    #[expect(clippy::print_stdout, reason = "a program for people")]
    pub(crate) fn at_most(&mut self, what: &'static str, figure: f64, limit: f64, unit: &str) {
        let ratio = figure / limit;
        let missed = if figure <= limit { "" } else { "  MISSED" };
        println!("  {what}: {figure:.3} {unit}, limit {limit} {unit}, {ratio:.2} of it{missed}");
        // What could not be measured is beyond every limit.
        if figure > limit || figure.is_nan() {
            self.missed.push(what);
        }
    }

    /// # Errors
    /// A limit is missed.
    pub(crate) fn finish(self) -> Result<(), Box<dyn Error>> {
        match self.missed.as_slice() {
            [] => Ok(()),
            missed => Err(format!("missed: {}", missed.join("; ")).into()),
        }
    }
}
