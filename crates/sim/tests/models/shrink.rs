//! The shortest list of actions that still breaks the same rule.

use std::panic::AssertUnwindSafe;

use crate::plan::Plan;
use crate::world::{Seen, World};
use crate::wrong::Wrong;

/// Runs that a search for a shorter case takes at most.
const RUNS_MAX: usize = 400;

/// How a case failed.
struct Failure {
    wrong: Wrong,
    trace: Vec<String>,
}

/// Lets a case happen.
pub(crate) fn run(plan: &Plan) -> Result<Seen, Wrong> {
    attempt(plan).map_err(|failure| failure.wrong)
}

fn attempt(plan: &Plan) -> Result<Seen, Box<Failure>> {
    let mut trace = Vec::new();
    let done = std::panic::catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(plan)?;
        let done = world.run();
        trace = std::mem::take(&mut world.trace);
        let mut seen = world.seen;
        seen.cases = 1;
        done.map(|()| seen)
    }));
    let done = done.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Err(Wrong::new("nothing panics", text.unwrap_or_default()))
    });
    done.map_err(|wrong| Box::new(Failure { wrong, trace }))
}

/// The failure of a case, told with as little as possible.
pub(crate) fn shortest(number: u64) -> String {
    let mut plan = Plan::draw(number);
    let Err(mut failure) = attempt(&plan) else {
        return format!("case {number} fails no more: something is not drawn from its number");
    };
    let mut runs = 0;
    let mut size = plan.actions.len().div_ceil(2);
    while size > 0 && runs < RUNS_MAX {
        let mut from = 0;
        let mut is_shorter = false;
        while from < plan.actions.len() && runs < RUNS_MAX {
            let mut shorter = plan.clone();
            let to = (from + size).min(shorter.actions.len());
            shorter.actions.drain(from..to);
            runs += 1;
            match attempt(&shorter) {
                Err(other) if other.wrong.rule == failure.wrong.rule => {
                    (plan, failure, is_shorter) = (shorter, other, true);
                }
                _ => from = to,
            }
        }
        size = match (size, is_shorter) {
            (1, false) => 0,
            (size, _) => (size / 2).max(1),
        };
    }
    format!(
        "case {number}: {}\n\n{}\n{}\n{} devices of {:?}, pages of {} rows\n\n{}\n\n\
         AFIELD_CASES={number}..{} runs it again",
        failure.wrong,
        plan.schema.create(),
        plan.model.toml(&plan.schema),
        plan.devices.len(),
        plan.devices,
        plan.page_rows,
        failure.trace.join("\n"),
        number + 1
    )
}
