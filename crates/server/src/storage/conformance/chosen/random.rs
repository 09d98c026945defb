//! Random choices, grants, writes and pages: after each complete pull a device has exactly what
//! plain SQL finds.

use super::super::Database;
use super::super::seeds;
use super::{ALL, ChoosingDevice};

const SEEDS: u64 = 30;
const STEPS: usize = 50;

/// Two devices of Ada's and one of Eve's.
pub fn p7_random_choices_against_random_pages(db: &mut dyn Database) {
    for seed in seeds(db, SEEDS) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut devices = ["ada", "ada", "eve"].map(ChoosingDevice::of);
        for _ in 0..STEPS {
            let device = &mut devices[rng.usize(..3)];
            match rng.u32(..10) {
                0..=1 => {
                    let all: Vec<i64> = (1..6).filter(|_| rng.bool()).collect();
                    device.choose(&all);
                }
                2..=4 => db.execute(&write(&mut rng)),
                5..=8 => {
                    device.page(db, &ALL, rng.usize(1..4));
                }
                _ => device.pull(db, &ALL, rng.usize(1..5)),
            }
        }
        for device in &mut devices {
            device.pull(db, &ALL, 3);
            assert_eq!(device.resets, 0, "seed {seed}: nothing gave a reason");
        }
    }
}

fn write(rng: &mut fastrand::Rng) -> String {
    let user = if rng.bool() { "ada" } else { "eve" };
    let project = rng.u32(1..6);
    let id = [10, 11, 20, 30, 40, 50, 70][rng.usize(..7)];
    match rng.u32(..6) {
        0 => format!(
            "DELETE FROM project_member WHERE user_id = '{user}' AND project_id = {project}"
        ),
        1 | 2 => format!(
            "DELETE FROM project_member WHERE user_id = '{user}' AND project_id = {project};
             INSERT INTO project_member VALUES ('{user}', {project})"
        ),
        3 => format!("UPDATE visit SET project_id = {project} WHERE id = {id}"),
        4 => format!("UPDATE visit SET words = 'w{project}' WHERE id = {id}"),
        _ => format!(
            "UPDATE remark SET visit_id = {id} WHERE id = {project} \
             AND EXISTS (SELECT 1 FROM visit WHERE id = {id})"
        ),
    }
}
