//! The command line.

use std::num::NonZeroUsize;
use std::ops::Range;

use clap::Parser;

/// Simulates Afield: devices, a server and the network between them, in one thread from one seed.
///
/// Each seed is a world: a few devices with the real local store and sync engine on real SQLite
/// files, one server with the real storage, other programs that write into the same files, and a
/// network and processes that fail in every way. An oracle keeps its own record of all that was
/// written and checks the promises after every step. The same seed is always the same world.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo sim", bin_name = "cargo sim", after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Run one world and say how it ended.
    #[arg(long, value_name = "N", group = "what")]
    pub(crate) seed: Option<u64>,

    /// Run the worlds from A to B, B not included; stop at a promise that is not kept.
    #[arg(long, value_name = "A..B", group = "what", value_parser = range)]
    pub(crate) seeds: Option<Range<u64>>,

    /// With --seeds: go on behind a promise that is not kept, and list those worlds at the end.
    #[arg(long, requires = "seeds")]
    pub(crate) keep_going: bool,

    /// Plant each fault of the zoo, or only NAME, and see in how many worlds it is found.
    #[arg(long, value_name = "NAME", group = "what", num_args = 0..=1,
          default_missing_value = "")]
    pub(crate) zoo: Option<String>,

    /// Plant the fault NAME of the zoo for --seed or --seeds.
    #[arg(long, value_name = "NAME")]
    pub(crate) plant: Option<String>,

    /// Print everything that happens in the world of --seed.
    #[arg(long, requires = "seed")]
    pub(crate) trace: bool,

    /// Cut the world of --seed down to the actions that break the promise.
    #[arg(long, requires = "seed")]
    pub(crate) shrink: bool,

    /// Worlds at the same time; the processors' number if not given.
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
}

const EXAMPLES: &str = "\
Examples:
  cargo sim --seeds 0..1000          a thousand worlds; exit 1 if one breaks a promise
  cargo sim --seeds 1000..20000 --keep-going
                                     … all of them, with a list of those that broke one
  cargo sim --seed 213               that world again
  cargo sim --seed 213 --trace       … with everything that happens in it
  cargo sim --seed 213 --shrink      … cut down to what breaks the promise
  cargo sim --zoo                    every planted fault must be found within 1,000 worlds
  cargo sim --zoo seal-later         only that one
  cargo sim --plant seal-later --seed 3 --shrink
                                     what a planted fault does

A world that breaks a promise is printed as: the seed, the step, the promise with what must
always hold, what was found instead, and the shortest list of actions that leads there.
docs/simulator.md says what is simulated and what is not.";

fn range(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text
        .split_once("..")
        .ok_or("expected two numbers like 0..1000")?;
    let number = |part: &str| {
        let digits = part.trim().replace('_', "");
        digits
            .parse::<u64>()
            .map_err(|_| format!("`{part}` is not a number"))
    };
    let range = number(from)?..number(to)?;
    match range.is_empty() {
        true => Err(format!("{text} holds no seed")),
        false => Ok(range),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_or_refused() {
        assert_eq!(range("0..1_000"), Ok(0..1000));
        for bad in ["5", "7..7", "9..3", "a..b", "1..-2"] {
            assert!(range(bad).is_err(), "{bad}");
        }
    }
}
