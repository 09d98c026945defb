//! A thousand orders: two people make them without a network, with five lines each, under
//! temporary identifiers, and edit them under these for ever; a copy of one device goes on beside
//! it; everything fails all the time. In the end exactly those orders and lines are there that
//! should be.
//!
//! ```text
//! book     what should be there in the end
//! typist   a user's transactions, and what a crash leaves of them
//! jobs     what users do
//! copy     a copy of a device, and what its user leaves to the other one
//! faults   syncs that fail in every way, while others write
//! ending   decisions about what was refused, and the last look
//! ```

mod book;
mod copy;
mod ending;
mod faults;
mod jobs;
#[cfg(test)]
mod tests;
mod typist;

use std::collections::BTreeSet;

use afield_protocol::zoo;

use self::book::Book;
use self::typist::Job;
use super::template::Template;
use super::{Ended, World};
use crate::app::Kinds;
use crate::generate::Plan;
use crate::tag::Tag;
use crate::tally::Tally;
use crate::violation::Violation;

/// What may be chosen about the scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) seed: u64,
    /// Orders of both users together.
    pub(crate) orders: usize,
}

/// Lines of each order.
const LINES: i64 = 5;

/// How often each user sits down to type before the last fault.
const ROUNDS: usize = 8;

/// The devices: the first user's, the second one's, and a copy of the first.
const FIRST: usize = 0;
const SECOND: usize = 1;
const COPY: usize = 2;

/// Up to this many orders the oracle looks at every step. A look reads all that a device has:
/// with more, it looks at every so many-th step, at all that is sent and at each report, and
/// before and after each sitting.
const ALWAYS_LOOKED_AT: usize = 40;
const LOOK_EACH: u32 = 10;

/// A world with its users.
struct Scenario {
    world: World,
    random: fastrand::Rng,
    book: Book,
    size: Size,
    round: usize,
    /// What the next tag or value is made of.
    next: u32,
    /// Orders that were refused, or not decided, when the first device was copied.
    left: BTreeSet<Tag>,
    /// What each device's user has in hand.
    desks: [Desk; 3],
}

/// What a user has in hand.
#[derive(Clone, Default)]
struct Desk {
    /// The numbers of the orders that he works on.
    orders: Vec<u32>,
    /// Lines that he will type another day: the order, and the place in it.
    later: Vec<(u32, i64)>,
    /// What he has to do again, because the device died.
    again: Vec<Job>,
}

/// Lets it happen, with the fault `planted`.
pub(crate) fn run(size: Size, planted: Option<&'static str>, traced: bool) -> Ended {
    let begun = Template::of(planted, Kinds::default())
        .and_then(|template| Scenario::new(size, &template, traced));
    let mut scenario = match begun {
        Ok(scenario) => scenario,
        Err(violation) => {
            return Ended {
                violation: Some((0, violation)),
                tally: Tally::default(),
                trace: Vec::new(),
            };
        }
    };
    let result = scenario.happen();
    zoo::crash_after(None);
    if let Err(violation) = &result {
        scenario.world.say(|| format!("     {violation}"));
    }
    Ended {
        violation: result.err().map(|violation| (scenario.round, violation)),
        tally: scenario.world.tally,
        trace: scenario.world.trace.unwrap_or_default(),
    }
}

impl Scenario {
    fn new(size: Size, template: &Template, traced: bool) -> Result<Self, Violation> {
        let mut random = fastrand::Rng::with_seed(size.seed ^ 0x0de5);
        let plan = Plan {
            seed: size.seed,
            devices: 2,
            users: [0, 1, 2],
            is_scoped: false,
            kinds: Kinds::default(),
            has_old_model: false,
            model_installed: true,
            page_rows: [7, 50, 400, 2_000][random.usize(0..4)].max(size.orders / 10),
            actions: Vec::new(),
        };
        let mut world = World::new(&plan, template, traced)?;
        if size.orders > ALWAYS_LOOKED_AT {
            world.look_each = LOOK_EACH;
        }
        Ok(Self {
            world,
            random,
            book: Book::default(),
            size,
            round: 0,
            next: 1_000,
            left: BTreeSet::new(),
            desks: Default::default(),
        })
    }

    fn happen(&mut self) -> Result<(), Violation> {
        for device in [FIRST, SECOND] {
            self.world.whole_sync(device)?;
        }
        for round in 0..ROUNDS {
            self.round = round;
            self.world.say(|| format!("{round:4} a round"));
            if round == ROUNDS / 2 {
                self.copy()?;
            }
            let mut devices: Vec<usize> = (0..self.world.devices.len()).collect();
            self.random.shuffle(&mut devices);
            for device in devices {
                self.work(device)?;
                // Two rounds are typed before anything is sent.
                for _ in 0..self.random.usize(0..6).min(round / 2) {
                    self.sync_badly(device)?;
                }
                if round > 2 && self.random.bool() {
                    self.decide_some(device)?;
                }
            }
            self.team_writes()?;
        }
        self.round = ROUNDS;
        self.end()
    }

    fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }
}
