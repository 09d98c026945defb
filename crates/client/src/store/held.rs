//! What is held, and which change it waits for in the end.

use std::collections::HashMap;

use afield_protocol::dependence::{Blocked, Stopped};
use afield_protocol::{GroupId, Model, Op};

use super::db::Db;
use super::outbox::{Queue, Waiting};
use crate::error::Error;

/// Groups that are held because of others before them, each with the name of the change that it
/// waits for in the end: one that is parked or backs off.
pub(super) fn held(db: &mut Db) -> Result<HashMap<i64, Option<String>>, Error> {
    let loaded = db.loaded()?;
    let now = db.env.now_ms();
    let mut blocked = Blocked::default();
    let mut held = HashMap::new();
    let mut reasons = Reasons::default();
    let mut queue = Queue::default();
    while let Some(waiting) = queue.next(db)? {
        if waiting.state == "parked" || waiting.backs_off(now) {
            waiting.block(&mut blocked)?;
            reasons.add(&waiting, None)?;
        } else if waiting.is_held(&blocked, &loaded.model)? {
            let reason = reasons.of(&waiting, &loaded.model)?;
            waiting.block(&mut blocked)?;
            reasons.add(&waiting, reason.as_ref())?;
            held.insert(waiting.n, reason);
        }
    }
    Ok(held)
}

/// What stopped groups are stopped by.
#[derive(Default)]
struct Reasons {
    /// By row.
    rows: HashMap<(String, Vec<u8>), String>,
    /// Creates among them, to be found by reference.
    creates: Vec<(Blocked, String)>,
}

impl Reasons {
    /// Adds a group that is stopped by itself, or by `root`.
    fn add(&mut self, waiting: &Waiting, root: Option<&String>) -> Result<(), Error> {
        for change in waiting.changes.iter().filter(|it| it.stopped.is_some()) {
            let name = match root {
                Some(root) => root.clone(),
                None => super::status::change_name(&GroupId(waiting.id), change.at),
            };
            let row = (change.entity.clone(), change.key.clone());
            self.rows.entry(row).or_insert_with(|| name.clone());
            if change.op == Op::Create {
                let mut blocked = Blocked::default();
                change.with(|step| blocked.add(step, Stopped::Refused))?;
                self.creates.push((blocked, name));
            }
        }
        Ok(())
    }

    /// The change that a held group waits for.
    fn of(&self, waiting: &Waiting, model: &Model) -> Result<Option<String>, Error> {
        for change in &waiting.changes {
            let row = (change.entity.clone(), change.key.clone());
            if let Some(name) = self.rows.get(&row) {
                return Ok(Some(name.clone()));
            }
            for (create, name) in &self.creates {
                if change.with(|step| create.holds(model, step))? {
                    return Ok(Some(name.clone()));
                }
            }
        }
        Ok(None)
    }
}
