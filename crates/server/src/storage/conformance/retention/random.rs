//! Devices that stay away for as long as they like, against purges at any time that stop anywhere.

use std::collections::BTreeMap;

use afield_protocol::{Group, GroupId, Value, Verdict, VerdictKind};

use super::super::pushes::{set, update};
use super::super::{Database, Replica, assert_same, seeds};
use super::KEPT;
use crate::storage::{Caller, Retention};

const SEEDS: u64 = 20;
const STEPS: usize = 60;
const TABLES: [&str; 2] = ["stock", "paper"];

/// Whoever pulls has what the tables have; and a counter is what was added to it, each addition
/// once, though each group is sent again and again.
pub fn p2_p5_random_absences_against_random_purges(db: &mut dyn Database) {
    let mut next_group = 0_u32;
    let mut now = 10_000;
    for seed in seeds(db, SEEDS) {
        let mut rng = fastrand::Rng::with_seed(seed);
        db.execute(
            "DELETE FROM stock; DELETE FROM paper; INSERT INTO paper VALUES (1, 0, 0, 0, NULL)",
        );
        let mut devices = [Replica::default(), Replica::default(), Replica::default()];
        let mut checkpoints = vec![db.storage().checkpoint(); 3];
        let mut sent: BTreeMap<u32, (Group, Option<VerdictKind>)> = BTreeMap::new();
        let mut sum = 0;
        for step in 0..STEPS {
            let place = format!("seed {seed}, step {step}");
            let at = rng.usize(..3);
            match rng.u32(..12) {
                0 => db.restart(),
                1 | 2 => {
                    now += [1, 50, KEPT / 2, KEPT, 3 * KEPT][rng.usize(..5)];
                    db.set_time(now);
                }
                3 => {
                    let mut left = rng.u32(..4);
                    let mut goes_on = || {
                        left = left.saturating_sub(1);
                        left > 0
                    };
                    let purged = db.storage().purge(Retention::of(KEPT), &mut goes_on);
                    assert!(purged.is_ok(), "{place}: {purged:?}");
                }
                4..=6 => db.execute(&write(&mut rng, step)),
                7 | 8 => {
                    // Made by this device, which may send it much later.
                    next_group += 1;
                    let mut id = [0; 16];
                    id[..4].copy_from_slice(&next_group.to_be_bytes());
                    let mut add = update("paper", 1, &[("n", 1.into())]);
                    add.base = set(&[("n", 0.into())]);
                    let group = Group {
                        checkpoint: checkpoints[at].clone(),
                        ..Group::new(GroupId(id), vec![add])
                    };
                    sent.insert(next_group, (group, None));
                }
                9 | 10 if !sent.is_empty() => {
                    let any = rng.usize(..sent.len());
                    let (group, first) = sent.values_mut().nth(any).unwrap();
                    let verdict = push(db, group);
                    // Forgotten or not: never a second time.
                    sum += i64::from(first.is_none() && verdict.kind == VerdictKind::Applied);
                    first.get_or_insert(verdict.kind);
                    let n = super::super::pushes::cell(db, "SELECT n FROM paper");
                    assert_eq!(n, Some(Value::Integer(sum)), "{place}: added twice");
                }
                _ => {
                    let rows = rng.usize(1..6);
                    devices[at].pull(db, &TABLES, rows);
                    assert_same(db, &devices[at], &TABLES);
                    checkpoints[at] = db.storage().checkpoint();
                }
            }
        }
    }
}

/// A statement of the team's.
fn write(rng: &mut fastrand::Rng, step: usize) -> String {
    let id = rng.i64(1..9);
    match rng.u32(..3) {
        0 => format!("DELETE FROM stock WHERE id = {id}"),
        1 => format!("UPDATE stock SET words = '{step}' WHERE id = {id}"),
        _ => format!("INSERT INTO stock (id) VALUES ({id}) ON CONFLICT DO NOTHING"),
    }
}

fn push(db: &dyn Database, group: &Group) -> Verdict {
    let groups = std::slice::from_ref(group);
    let outcomes = db.storage().push(db.model(), &Caller::user("ada"), groups);
    let mut outcomes = outcomes.expect("the push works");
    outcomes.remove(0).verdicts.remove(0)
}
