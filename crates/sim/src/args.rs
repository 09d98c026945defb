//! The command line.

use std::num::NonZeroUsize;
use std::ops::Range;

use clap::{Args, Parser, Subcommand};

/// Simulates Afield: devices, a server and the network between them, in one thread from one seed.
///
/// Each seed is a world: a few devices with the real local store and sync engine on real SQLite
/// files, one server with the real storage, other programs that write into the same files, and a
/// network and processes that fail in every way. An oracle keeps its own record of all that was
/// written and checks the promises after every step. The same seed is always the same world.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo sim", bin_name = "cargo sim", after_help = EXAMPLES,
          args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) scenario: Option<Scenario>,

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

/// One long story instead of many short worlds.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Scenario {
    /// A thousand orders with five lines each, made offline on two devices and a copy of one.
    ///
    /// Two users make them under temporary identifiers, in one transaction or in several, and edit
    /// them before and after they are sent, under the identifiers of the first day. Some orders
    /// are refused: their lines are held until the user sends a good value or gives the order up.
    /// There are deletions, counters, and writes of the team's on the server. Requests and answers
    /// are lost, repeated, late and cut; devices and the server die at any crash point, devices
    /// with the power. In the end exactly those orders and lines are on the server and on each
    /// device that should be, with the right parents, values and counts; no temporary identifier
    /// is left, and nothing waits.
    #[command(after_help = ORDERS_EXAMPLES)]
    Orders(OrdersArguments),
}

/// The arguments of the orders.
#[derive(Clone, Debug, Args)]
pub(crate) struct OrdersArguments {
    /// The seed; the same one is always the same story.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,

    /// The seeds from A to B, B not included; stop at a promise that is not kept.
    #[arg(long, value_name = "A..B", conflicts_with = "seed", value_parser = range)]
    pub(crate) seeds: Option<Range<u64>>,

    /// How many orders both users make together.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    pub(crate) orders: usize,

    /// Plant the fault NAME of the zoo.
    #[arg(long, value_name = "NAME")]
    pub(crate) plant: Option<String>,

    /// Print everything that happens.
    #[arg(long, conflicts_with = "seeds")]
    pub(crate) trace: bool,

    /// Stories at the same time; the processors' number if not given.
    #[arg(long, value_name = "N")]
    pub(crate) jobs: Option<NonZeroUsize>,
}

const ORDERS_EXAMPLES: &str = "\
Examples:
  cargo sim orders                   a thousand orders; exit 1 if a promise is not kept
  cargo sim orders --seeds 0..10     ten times, with other dice
  cargo sim orders --seed 3 --orders 40 --trace
                                     a small one, with all that happens in it
  cargo sim orders --plant ids-forget-references
                                     what a planted fault does to it

Up to 40 orders the oracle looks at every step; with more it looks at every 10th step, before and
after each sitting of a user, at each request that is sent and each report of a sync.";

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
  cargo sim orders                   a thousand orders with their lines; see --help of it

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
