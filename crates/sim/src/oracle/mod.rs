//! The oracle: it watches a world and keeps its own record of everything, without trusting the
//! code under test.
//!
//! ```text
//! audit    what the team's database says was written, cell by cell
//! server   every state that the server was in; what it answered; what took effect, and how often
//! intents  every value that a user of a device typed, and how often
//! device   what a device shows and holds, against all of that
//! folded   what a later write makes of a change in open conflict
//! rules    what a device may write, and what it may refuse
//! scopes   whose rows are, who may write them, and what a page may tell
//! files    what must not be in a device's file
//! timed    which rows stay for a time, and which count as deleted
//! drained  what must be true once nothing fails any more
//! tagged   all of that for rows whose identifiers the server makes
//! ```

pub(crate) mod audit;
pub(crate) mod device;
pub(crate) mod device_log;
pub(crate) mod drained;
pub(crate) mod files;
mod folded;
pub(crate) mod push;
pub(crate) mod rules;
#[cfg(test)]
mod scoped_tests;
pub(crate) mod scopes;
pub(crate) mod server;
pub(crate) mod tagged;
#[cfg(test)]
mod tests;
pub(crate) mod timed;
#[cfg(test)]
mod timed_tests;
pub(crate) mod view;

use std::collections::HashMap;

use self::audit::Effect;
use crate::rows::RowName;

/// How often which effect was wanted, or happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(HashMap<(RowName, Effect), u32>);

impl Counts {
    pub(crate) fn add(&mut self, row: &RowName, effect: Effect) -> u32 {
        let count = self.0.entry((row.clone(), effect)).or_default();
        *count += 1;
        *count
    }

    pub(crate) fn of(&self, row: &RowName, effect: &Effect) -> u32 {
        self.0
            .get(&(row.clone(), effect.clone()))
            .copied()
            .unwrap_or(0)
    }
}
