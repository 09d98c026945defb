//! Shortening a plan that breaks a promise: cut actions for as long as the same thing happens.

use crate::action::Action;
use crate::generate::Plan;
use crate::violation::Violation;
use crate::worlds::play;

/// Worlds that one shortening may take.
const TRIES: usize = 600;

/// The shortest plan found that breaks the same promise in the same way, and how.
pub(crate) fn shrink(plan: &Plan, planted: Option<&'static str>) -> Option<(Plan, Violation)> {
    let mut shrinking = Shrinking::new(plan, planted)?;
    shrinking.cut_actions();
    shrinking.cut_edits();
    shrinking.simplify();
    shrinking.cut_actions();
    Some((shrinking.best, shrinking.violation))
}

struct Shrinking {
    best: Plan,
    violation: Violation,
    planted: Option<&'static str>,
    tries: usize,
}

impl Shrinking {
    fn new(plan: &Plan, planted: Option<&'static str>) -> Option<Self> {
        let (step, violation) = play(plan, planted, false).violation?;
        let mut best = plan.clone();
        best.actions.truncate(step + 1);
        let mut shrinking = Self {
            best: plan.clone(),
            violation,
            planted,
            tries: 0,
        };
        shrinking.attempt(best);
        Some(shrinking)
    }

    /// Takes `plan` if the same happens in it.
    fn attempt(&mut self, plan: Plan) -> bool {
        if self.tries >= TRIES {
            return false;
        }
        self.tries += 1;
        let Some((_, violation)) = play(&plan, self.planted, false).violation else {
            return false;
        };
        let is_same = violation.promise == self.violation.promise
            && violation.invariant == self.violation.invariant;
        if is_same {
            self.best = plan;
            self.violation = violation;
        }
        is_same
    }

    /// Cuts runs of actions, long ones first.
    fn cut_actions(&mut self) {
        let mut length = self.best.actions.len().div_ceil(2);
        while length > 0 {
            let mut at = 0;
            while at < self.best.actions.len() {
                let mut plan = self.best.clone();
                let end = (at + length).min(plan.actions.len());
                plan.actions.drain(at..end);
                if !self.attempt(plan) {
                    at += length;
                }
            }
            length /= 2;
        }
    }

    /// Cuts statements of transactions.
    fn cut_edits(&mut self) {
        for action in 0..self.best.actions.len() {
            let mut edit = 0;
            while edit < edits(&self.best.actions[action]) {
                let mut plan = self.best.clone();
                cut_edit(&mut plan.actions[action], edit);
                let is_cut = edits(&plan.actions[action]) > 0;
                if !(is_cut && self.attempt(plan)) {
                    edit += 1;
                }
            }
        }
    }

    /// Makes the world plainer: fewer devices, large pages, the model at hand.
    fn simplify(&mut self) {
        let simpler: [fn(&mut Plan); 4] = [
            |plan| plan.devices = 1,
            |plan| plan.devices = 2,
            |plan| plan.page_rows = 100,
            |plan| plan.model_installed = true,
        ];
        for change in simpler {
            let mut plan = self.best.clone();
            change(&mut plan);
            if plan.devices <= self.best.devices {
                self.attempt(plan);
            }
        }
    }
}

/// How many statements an action has.
fn edits(action: &Action) -> usize {
    match action {
        Action::User { edits, .. }
        | Action::OtherProcess { edits, .. }
        | Action::Foreign { edits } => edits.len(),
        Action::Orders { edits, .. } => edits.len(),
        Action::Team { edits } => edits.len(),
        _ => 0,
    }
}

fn cut_edit(action: &mut Action, at: usize) {
    match action {
        Action::User { edits, .. }
        | Action::OtherProcess { edits, .. }
        | Action::Foreign { edits } => drop(edits.remove(at)),
        Action::Orders { edits, .. } => drop(edits.remove(at)),
        Action::Team { edits } => drop(edits.remove(at)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planted_fault_shrinks_to_a_few_actions_that_still_show_it() {
        let planted = Some("seal-later");
        let mut plans = (0..50).map(Plan::new);
        let (plan, violation) = plans.find_map(|plan| shrink(&plan, planted)).unwrap();
        assert!(plan.actions.len() <= 6, "{:?}", plan.actions);
        let again = play(&plan, planted, false).violation.unwrap().1;
        assert_eq!(again, violation);
        assert!(play(&plan, None, false).violation.is_none());
    }
}
