//! Cases of live streams: who hears of what was written, on the suite's own tables and on those of
//! lookups, soft deletes and chosen scopes.
//!
//! Each device watches every entity as a unit of its own, so that it can be told apart what it
//! heard of.

mod held;
mod news;
mod others;
mod random;

use std::collections::BTreeSet;

pub use self::held::*;
pub use self::news::*;
pub use self::others::*;
pub use self::random::*;
use super::Database;
use crate::live::{Heard, Listening};
use crate::storage::Caller;

/// A user with a team.
fn of_team(user: &str, team: &str) -> Caller {
    let mut caller = Caller::user(user);
    caller.claims.insert("team".into(), team.into());
    caller
}

fn news(entities: &[&str]) -> Heard {
    let names: BTreeSet<String> = entities.iter().map(|name| (*name).to_owned()).collect();
    match names.is_empty() {
        true => Heard::Alive,
        false => Heard::News(names),
    }
}

/// Devices of these people who have heard hello, and have nothing else to hear.
fn listening(db: &dyn Database, who: &[Caller]) -> Listening {
    let mut listening = Listening::new(db.model());
    for caller in who {
        listening.join(caller);
    }
    let hello = vec![Heard::Hello; who.len()];
    assert_eq!(listening.look(db.storage()), hello);
    let quiet = vec![Heard::Alive; who.len()];
    assert_eq!(listening.look(db.storage()), quiet, "nothing was written");
    listening
}

/// Fails unless a statement is news of these entities to these devices, in order, and once.
fn assert_heard(db: &dyn Database, to: &mut Listening, sql: &str, expected: &[&[&str]]) {
    db.execute(sql);
    let expected: Vec<Heard> = expected.iter().map(|entities| news(entities)).collect();
    assert_eq!(to.look(db.storage()), expected, "{sql}");
    let quiet = vec![Heard::Alive; expected.len()];
    assert_eq!(to.look(db.storage()), quiet, "told twice: {sql}");
}
